"""Each switch as a whole over a real store: does it answer, what it lacks, what its insides say."""

from dataclasses import replace
from typing import Any

import pytest
from fabric_view import SETTINGS, SITE, port, states, view
from leaf import ANCHORS, Leaf

from dashboard.fabric.answer import to_json
from dashboard.fabric.view import update
from dashboard.site import Site
from storage.duckdb import DuckDBStore


def test_silent_and_unreachable_switches_with_the_reason(leaf: Leaf) -> None:
    leaf.run(end=-60)
    reason = "leaf-1 10.0.0.1:161: no answer in 5 s"
    for at in range(-50, 1, 10):
        leaf.health(at, state=2, error=reason, up=0)
    made = view(leaf)
    (switch,) = to_json(made, "utilization")["switches"]
    assert (switch["state"], switch["error"], switch["age"]) == (
        "unreachable",
        "leaf-1 10.0.0.1:161: no answer in 5 s",
        45,
    )
    assert states(made) == ["stale"] * 4
    assert made.now.faults == ()  # the switch has its own alarm
    leaf.health(10)
    (switch,) = to_json(view(leaf, made, after=12), "utilization")["switches"]
    assert (switch["state"], switch["error"]) == ("ok", "")


def test_a_switch_without_a_collector_is_silent_and_keeps_its_ports(leaf: Leaf) -> None:
    leaf.run(start=-400, end=-300)
    made = view(leaf)
    (switch,) = to_json(made, "utilization")["switches"]
    assert (switch["name"], switch["state"]) == ("leaf-1", "silent")
    assert "collector" in switch["error"]
    assert states(made) == ["stale"] * 4
    assert port(made, "Ethernet0")["age"] == 305


def test_a_switch_that_never_answered_comes_from_the_inventory(leaf: Leaf) -> None:
    (switch,) = to_json(view(leaf), "utilization")["switches"]
    assert (switch["name"], switch["rack"], switch["state"], switch["age"], switch["ports"]) == (
        "leaf-1", "N01", "silent", None, [],
    )  # fmt: skip
    assert switch["hosts"] == ["node-1", "node-2"]


def test_an_agent_that_is_gone_while_its_host_answers(leaf: Leaf) -> None:
    leaf.run(end=-60)
    for at in range(-50, 1, 10):
        leaf.health(at, state=1)
        leaf.put("switch", {}, {"agent_state": 2}, at)
    assert to_json(view(leaf), "utilization")["switches"][0]["state"] == "agent_missing"


def test_what_a_switch_lacks_is_said_once_with_the_setting(leaf: Leaf) -> None:
    leaf.run()
    for at in range(-120, 1, 10):
        for name in leaf.ports:
            leaf.put("queue", {"interface": name, "queue": "3"}, {"packets_total": 1e3 * (at + 200)}, at)
            leaf.put("pfc", {"interface": name, "priority": "3"}, {"rx_frames_total": 1.0 * (at + 200)}, at)
    leaf.put("switch", {}, {"map_state": 1, "clock_skew_seconds": -4.0}, 0)
    assert view(leaf).hints == (
        "leaf-1: no ECN counters: enable FLEX_COUNTER_TABLE|WRED_ECN_QUEUE",
        "leaf-1: no pause time: start the PFC watchdog (pfcwd start)",
        "leaf-1: stale port map: restart the telemetry or gnmi container",
        "leaf-1: its clock is off by more than 2 s: set NTP",
    )


def test_what_snmp_cannot_tell_needs_gnmi(leaf: Leaf) -> None:
    leaf.protocol = "snmp"
    leaf.run(skip=("Ethernet8",))
    for at in range(-120, 1, 30):
        leaf.put("queue", {"interface": "Ethernet0", "queue": "3"}, {"packets_total": 1e3 * (at + 200)}, at)
        leaf.put("pfc", {"interface": "Ethernet0", "priority": "3"}, {"rx_frames_total": 1.0 * (at + 200)}, at)
    made = view(leaf)
    assert made.hints == (
        "leaf-1: no ECN counters over SNMP: poll it by gNMI instead",
        "leaf-1: no pause time over SNMP, only the bound that frames give: poll it by gNMI instead",
        "leaf-1: ports without 64-bit octet counters: their traffic is not known",
    )
    row = port(made, "Ethernet8")
    assert (row["state"], row["utilization"], row["rx_bits_per_second"]) == ("ok", None, None)


def test_equal_hints_of_many_switches_are_one(leaf: Leaf) -> None:
    for number in range(1, 6):
        other = replace(leaf, name=f"leaf-{number}", pending=[])
        other.run(start=-30)
        other.put("switch", {}, {"map_state": 1}, 0)
        other.settle()
    assert view(leaf).hints == (
        "leaf-1, leaf-2, leaf-3 and 2 more: stale port map: restart the telemetry or gnmi container",
    )


def test_power_fans_temperature_and_leak(leaf: Leaf) -> None:
    leaf.run()
    for supply, watts in (("psu-1", 72.0), ("psu-2", 66.0)):
        tags = {"kind": "switch", "side": "output", "circuit": supply}
        leaf.put("power", tags, {"active_watts": watts, "state": 2 if supply == "psu-2" else 0}, -10)
    leaf.put("fan", {"fan": "fan1"}, {"state": 2}, -10)
    leaf.put("environment", {"point": "asic"}, {"temperature_celsius": 71.0}, -10)
    leaf.put("environment", {"point": "inlet"}, {"temperature_celsius": 26.0}, -10)
    leaf.put("leak", {"detector": "l1", "level": "switch"}, {"state": 2}, -10)
    made = view(leaf)
    told = to_json(made, "utilization")
    (switch,) = told["switches"]
    names = ("watts", "fans_failed", "supplies_failed", "temperature_celsius", "leak")
    assert [switch[name] for name in names] == [138.0, 1, 1, 71.0, 2]
    assert (told["summary"]["watts"], told["summary"]["watts_note"]) == (138.0, "output, PSU loss not included")


def test_what_no_switch_tells_is_null_and_not_zero(leaf: Leaf) -> None:
    leaf.run()
    told = to_json(view(leaf), "utilization")["switches"][0]
    # Leaf counts requests, timeouts and missing values; of fans, supplies, leaks and resets it says nothing.
    names = ("fans_failed", "supplies_failed", "leak", "resets", "reconnects")
    assert [told[name] for name in names] == [None] * 5
    assert [told[name] for name in ("requests", "timeouts", "missing")] == [100, 2, 0]


def test_parts_that_say_they_are_well_are_zero_failed(leaf: Leaf) -> None:
    leaf.run()
    leaf.put("fan", {"fan": "fan1"}, {"state": 0}, -10)
    leaf.put("power", {"kind": "psu", "circuit": "psu-1"}, {"state": 0}, -10)
    leaf.put("leak", {"detector": "l1", "level": "switch"}, {"state": 0}, -10)
    (switch,) = to_json(view(leaf), "utilization")["switches"]
    assert [switch[name] for name in ("fans_failed", "supplies_failed", "leak")] == [0, 0, 0]


def test_a_switch_that_no_profile_fits_is_unknown(leaf: Leaf) -> None:
    leaf.health(0, state=5, error="leaf-1: no profile fits", up=0)
    (switch,) = to_json(view(leaf), "utilization")["switches"]
    assert (switch["state"], switch["error"]) == ("unknown", "leaf-1: no profile fits")


def test_counters_are_as_old_as_their_stamps(leaf: Leaf) -> None:
    leaf.protocol = "snmp"
    leaf.run(end=-30)
    made = view(leaf)
    # The newest poll, at -30 s, saw the counters move 2.7 s later, and it is 5 s past now: 30 - 2.7 + 5.
    anchor = ANCHORS[round(-30 / 30) % len(ANCHORS)]
    (switch,) = to_json(made, "utilization")["switches"]
    assert switch["counter_age"] == pytest.approx(35 - anchor)
    (later,) = to_json(view(leaf, made, after=15), "utilization")["switches"]
    assert later["counter_age"] == pytest.approx(45 - anchor)


def test_a_host_with_the_agent_of_any_linux_is_no_switch_unless_the_inventory_says_so(leaf: Leaf) -> None:
    leaf.run()
    host = replace(leaf, name="node-7", ports=("eth0", "eth1"), pending=[])
    for at in range(-120, 1, 10):
        host.poll(at)
    agent = {"protocol": "snmp", "profile": "net_snmp"}
    polls = [point for point in host.pending if point.measurement == "device"]
    leaf.store.write([replace(point, tags={**point.tags, **agent}) for point in polls])
    leaf.store.write([point for point in host.pending if point.measurement != "device"])
    made = view(leaf)
    assert [switch.name for switch in made.fleet.switches] == ["leaf-1"]
    assert set(made.roster.device) == {"leaf-1"}
    # Named as one later, it is one, with all its ports.
    named = view(leaf, made, after=15, site=replace(SITE, switches={**SITE.switches, "node-7": "A01"}))
    assert [switch.name for switch in named.fleet.switches] == ["leaf-1", "node-7"]
    assert (named.roster.device == "node-7").sum() == 2


def test_simulated_switches_go_when_real_ones_come(leaf: Leaf) -> None:
    played = replace(leaf, name="sim-1", synthetic=True, pending=[])
    played.run()
    assert view(played, site=Site()).synthetic
    leaf.run()
    made = view(leaf, site=Site())
    assert [switch.name for switch in made.fleet.switches] == ["leaf-1"]
    assert not made.synthetic


class CountingStore(DuckDBStore):
    """A store that counts what it is asked."""

    asked = 0

    def latest(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().latest(*args, **kwargs)

    def range(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().range(*args, **kwargs)


def test_a_site_without_switches_asks_once_a_minute() -> None:
    store = CountingStore(":memory:")
    made = update(store, Site(), SETTINGS, None, 1e9, gpus_of_host={})
    first = store.asked
    for after in range(10, 60, 10):
        made = update(store, Site(), SETTINGS, made, 1e9 + after, gpus_of_host={})
    assert store.asked == first
    assert to_json(made, "utilization")["switches"] == []
    update(store, Site(), SETTINGS, made, 1e9 + 60, gpus_of_host={})
    assert store.asked > first
    store.close()
