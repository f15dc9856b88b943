"""The fabric's rules: what each says, how urgent, what folds, and what waits."""

from dataclasses import replace

import pytest

from dashboard.alarms.engine import on_delay
from dashboard.alarms.fabric import RULES, find
from dashboard.alarms.findings import FabricNow, Finding, HostNow, PortFault, Scene
from dashboard.alarms.rules import find as find_all
from dashboard.fabric.switches import SwitchNow
from dashboard.facility import Leak
from dashboard.number import withheld
from dashboard.settings import Alarms, DashboardSettings

STORM = PortFault("pfc_storm", "leaf-1", "Ethernet8", "N01", "n1", "n1", 8, 2, "paused 55 % of the time")
DOWN = replace(STORM, kind="port_down", text="link down")
LEAF = SwitchNow("leaf-1", "N01", state="ok")
NONE = withheld("", "site", "", "no data")
SCENE = Scene(
    settings=DashboardSettings(),
    racks=(),
    hosts=(HostNow("n1", "A01", 8, 8, 0, 0, {}), HostNow("n2", "A02", 8, 8, 0, 0, {})),
    cdus=(),
    leaks=(),
    devices=(),
    supplies=(),
    bits=(),
    numbers={"pue": NONE, "tokens_per_joule_it": NONE},
    uplinks={},
)


def found(*faults: PortFault, switch: SwitchNow = LEAF, scene: Scene = SCENE) -> list[Finding]:
    return list(find(replace(scene, fabric=FabricNow(faults, (switch,)))))


def test_a_healthy_fabric_says_nothing() -> None:
    assert found() == []


def test_an_alarm_names_port_neighbour_and_gpus() -> None:
    (finding,) = found(STORM)
    assert finding == Finding(
        "pfc_storm",
        "leaf-1 Ethernet8",
        2,
        "PFC storm on leaf-1 Ethernet8 to n1: paused 55 % of the time",
        "Rack N01",
        "8 GPUs",
        ("A01",),
    )


def test_a_port_of_which_no_neighbour_is_known() -> None:
    (finding,) = found(replace(DOWN, neighbor="", host="", gpus=0, priority=3))
    assert (finding.title, finding.priority, finding.impact, finding.racks) == (
        "Link down on leaf-1 Ethernet8", 3, "", ("N01",),
    )  # fmt: skip


def test_more_than_three_ports_of_a_switch_are_one_alarm() -> None:
    ports = [replace(DOWN, interface=f"Ethernet{8 * number}") for number in range(4)]
    assert len(found(*ports[:3])) == 3
    (finding,) = found(*ports[:3], replace(ports[3], host="n2", neighbor="n2"))
    # Three ports of n1 and one of n2: 8 + 8 GPUs.
    assert (finding.title, finding.object, finding.impact) == ("4 links down on leaf-1", "leaf-1", "16 GPUs")
    assert finding.racks == ("A01", "A02")


def test_what_follows_from_one_cause_on_a_port_is_one_alarm() -> None:
    weak = replace(STORM, kind="optics_margin", priority=3, text="light 1.5 dB below its alarm limit")
    lost = replace(STORM, kind="fec_uncorrected", text="26 codewords beyond repair")
    broken = replace(STORM, kind="port_errors", priority=3, text="74 ppm of packets broken")
    (finding,) = found(broken, weak, lost)
    assert (finding.rule, finding.priority) == ("fec_uncorrected", 2)
    assert finding.title == (
        "FEC fails on leaf-1 Ethernet8 to n1: "
        "26 codewords beyond repair, light 1.5 dB below its alarm limit, 74 ppm of packets broken"
    )
    # Drops of a port that is paused, and a link of another: two causes.
    drops = replace(STORM, kind="port_discards", priority=3, text="2 % of packets dropped")
    assert [one.rule for one in found(drops, STORM, replace(lost, interface="Ethernet16"))] == [
        "pfc_storm", "fec_uncorrected",
    ]  # fmt: skip


def test_all_links_of_a_host_that_is_gone_are_one_alarm() -> None:
    dead = replace(SCENE, hosts=(HostNow("n1", "A01", 8, 0, 0, 0, {}), HostNow("n2", "A02", 8, 8, 0, 0, {})))
    links = [replace(DOWN, device=f"leaf-{n}", interface=f"Ethernet{8 * n}") for n in range(1, 9)]
    other = replace(DOWN, host="n2", neighbor="n2")
    one, both = found(*links, scene=dead), found(*links, other, scene=dead)
    assert [(f.rule, f.object, f.priority, f.title, f.impact, f.racks) for f in one] == [
        ("port_down", "n1", 2, "8 links down to n1, whose GPUs do not answer", "8 GPUs", ("A01",))
    ]
    assert [f.object for f in both] == ["n1", "leaf-1 Ethernet8"]
    # With no GPU anywhere the collectors of GPUs are the matter, and the links speak for themselves.
    blind = replace(SCENE, hosts=(HostNow("n1", "A01", 8, 0, 0, 0, {}),))
    assert len(found(*links, scene=blind)) == 8


def test_other_kinds_and_switches_fold_apart() -> None:
    ports = [replace(DOWN, interface=f"Ethernet{8 * number}") for number in range(3)]
    titles = [finding.title for finding in found(*ports, STORM, replace(DOWN, device="leaf-2"))]
    assert len(titles) == 5


def test_the_links_of_a_host_in_maintenance_are_no_alarm() -> None:
    resting = replace(SCENE, hosts=(HostNow("n1", "A01", 8, 0, 0, 0, {}, maintenance=True),))
    assert found(DOWN, scene=resting) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"state": "agent_missing"},
            ("switch_agent", 3, "leaf-1 answers without its counters: restart its SNMP agent"),
        ),
        ({"state": "partial", "error": "x"}, ("switch_partial", 4, "leaf-1 tells only part of what was asked: x")),
        ({"map": "stale"}, ("switch_map", 3, "Port map of leaf-1 is stale: restart its telemetry or gnmi container")),
        ({"fans_failed": 2}, ("switch_fan", 3, "2 fans failed in leaf-1")),
        ({"leak": 2}, ("leak_detected", 1, "Leak in switch leaf-1")),
    ],
)
def test_switches(change: dict[str, object], expected: tuple[str, int, str]) -> None:
    (finding,) = found(switch=replace(LEAF, **change))  # type: ignore[arg-type]
    assert (finding.rule, finding.priority, finding.title) == expected


@pytest.mark.parametrize("state", ["unreachable", "silent", "maintenance", "unauthorised"])
def test_a_switch_that_does_not_answer_is_left_to_its_own_alarm(state: str) -> None:
    assert found(switch=replace(LEAF, state=state, map="stale")) == []


def test_a_broken_leak_sensor_of_a_switch_is_no_leak() -> None:
    assert found(switch=replace(LEAF, leak=3)) == []


def test_a_leak_in_a_switch_is_one_alarm() -> None:
    wet = replace(SCENE, leaks=(Leak("leaf-1", "N01", "switch", 2),), fabric=FabricNow((), (replace(LEAF, leak=2),)))
    assert [finding.title for finding in find_all(wet)] == ["Leak in switch leaf-1"]


def test_every_kind_has_a_title_for_one_and_for_many() -> None:
    for kind in RULES:
        assert len(found(replace(STORM, kind=kind))) == 1
        many = [replace(STORM, kind=kind, interface=f"Ethernet{n}") for n in range(9)]
        assert found(*many)[0].title.startswith("9 ")


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [("port_down", 10), ("pfc_storm", 10), ("port_flapping", 0), ("fec_uncorrected", 0), ("pfc_watchdog", 0),
     ("congestion", 120), ("switch_partial", 900), ("switch_agent", 10)],
)  # fmt: skip
def test_how_long_each_must_hold(rule: str, seconds: float) -> None:
    assert on_delay(rule, Alarms()) == seconds
