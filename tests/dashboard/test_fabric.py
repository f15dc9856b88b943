"""The fabric's view over a real store, with points as collectors write them. Every expected number is by hand."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from leaf import ANCHORS, SPEED, Fields, Leaf

from dashboard.fabric.answer import METRIC_NAMES, port_json, to_json
from dashboard.fabric.links import doubled
from dashboard.fabric.view import View, update
from dashboard.settings import DashboardSettings
from dashboard.site import Site
from storage.duckdb import DuckDBStore

SETTINGS = DashboardSettings()
SITE = Site(switches={"leaf-1": "N01"}, uplinks={"leaf-1": ("node-1", "node-2")})
GPUS = {"node-1": 8, "node-2": 8}


@pytest.fixture
def leaf(store: DuckDBStore) -> Leaf:
    return Leaf(store, float(int(time.time())))


def view(leaf: Leaf, old: View | None = None, after: float = 5.0, site: Site = SITE) -> View:
    leaf.settle()
    return update(leaf.store, site, SETTINGS, old, leaf.now + after, gpus_of_host=dict(GPUS))


def port(made: View, interface: str, device: str = "leaf-1") -> dict[str, Any]:
    return port_json(made, made.roster.find(device, interface))


def states(made: View) -> list[str]:
    (switch,) = to_json(made, "utilization")["switches"]
    return [state for _, _, _, state in switch["ports"]]


@pytest.mark.parametrize("protocol", ["gnmi", "snmp"])
def test_rates_between_the_stamps_of_either_transport(leaf: Leaf, protocol: str) -> None:
    leaf.protocol = protocol
    leaf.run()
    told = to_json(view(leaf), "utilization")
    (switch,) = told["switches"]
    # Port k: 8 x (k + 1) x 1e9 / 4e11
    assert switch["ports"] == [
        ["Ethernet0", "etp1", 0.02, "ok"], ["Ethernet8", "etp2", 0.04, "ok"],
        ["Ethernet16", "etp3", 0.06, "ok"], ["Ethernet24", "etp4", 0.08, "ok"],
    ]  # fmt: skip
    assert (switch["state"], switch["protocol"], switch["rack"], switch["version"]) == (
        "ok", protocol, "N01", "SONiC.202411",
    )  # fmt: skip
    row = told["worst"][0]
    assert (row["interface"], row["priority"], row["reason"]) == ("Ethernet24", None, "")
    assert row["rx_bits_per_second"] == pytest.approx(3.2e10)
    assert row["tx_bits_per_second"] == pytest.approx(1.6e10)
    assert row["error_ppm"] == 0
    assert told["summary"] | {"hints": []} == {
        "switches": 1, "switches_ok": 1, "ports": 4, "up": 4, "down": 0, "admin_down": 0, "unknown": 0,
        "watts": None, "watts_note": "", "hints": [],
    }  # fmt: skip


def test_a_reset_leaves_a_gap_and_no_spike(leaf: Leaf) -> None:
    leaf.also = lambda number, at: {"rx_bytes_total": 1e9 * (at + 3)} if number == 0 and at > -3 else {}
    leaf.run()
    made = view(leaf)
    # The sending side was not reset: 5e8 bytes/s.
    assert port(made, "Ethernet0")["rx_bits_per_second"] is None
    assert port(made, "Ethernet0")["utilization"] == pytest.approx(8 * 5e8 / SPEED)
    assert port(made, "Ethernet8")["utilization"] == pytest.approx(0.04)
    leaf.run(start=10, end=10)
    assert port(view(leaf, made, after=15), "Ethernet0")["rx_bits_per_second"] == pytest.approx(8e9)


def test_a_port_without_counters_hides_itself_alone(leaf: Leaf) -> None:
    leaf.run(end=-50)
    leaf.run(start=-40, skip=("Ethernet8",))
    made = view(leaf)
    assert states(made) == ["ok", "stale", "ok", "ok"]
    stale = port(made, "Ethernet8")
    assert (stale["utilization"], stale["rx_bits_per_second"], stale["age"]) == (None, None, 55)
    assert to_json(made, "utilization")["summary"]["unknown"] == 1


def test_speed_told_each_five_minutes_stands(leaf: Leaf) -> None:
    leaf.also = lambda number, at: {"speed_bits_per_second": 1e11 if at == -280 else SPEED}
    for number, name in enumerate(leaf.ports):
        tags = {"interface": name, "alias": f"etp{number + 1}", "kind": "port"}
        leaf.put("interface", tags, {"speed_bits_per_second": 1e11, "oper_up": 1}, -280)
        for at in range(-60, 1, 10):
            leaf.put("interface", tags, {**leaf.counters(number, at), "oper_up": 1, "admin_up": 1}, at)
            del leaf.pending[-1].fields["speed_bits_per_second"]  # type: ignore[attr-defined]
    leaf.health(0)
    assert port(view(leaf), "Ethernet0")["utilization"] == pytest.approx(0.08)


def test_down_admin_down_and_what_is_unknown(leaf: Leaf) -> None:
    leaf.also = lambda number, at: {0: {"oper_up": 0}, 1: {"oper_up": 0, "admin_up": 0}}.get(number, {})
    leaf.link("Ethernet0", "node-1.example.com", "eth3")
    leaf.run()
    made = view(leaf)
    assert states(made) == ["down", "admin_down", "ok", "ok"]
    row = to_json(made, "utilization")["worst"][0]
    names = ("interface", "priority", "reason", "neighbor", "neighbor_interface", "gpus")
    assert [row[name] for name in names] == ["Ethernet0", 2, "link down", "node-1", "eth3", 8]
    assert port(made, "Ethernet8")["priority"] is None
    assert (made.now.ports_down, made.now.abnormal) == (1, 1)
    assert made.now.notes == {"node-1": "Ethernet0 of leaf-1 is down"}


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


def test_ports_of_a_switch_that_does_not_answer_stop_looking_live_after_two_periods(leaf: Leaf) -> None:
    leaf.run(end=-20)
    for at in (-10, 0):
        leaf.health(at, state=2, error="leaf-1: no answer", up=0)
    # Polled each 10 s and last told of at -20 s: 19 s are under two periods, 25 s are not.
    assert states(view(leaf, after=-1)) == ["ok"] * 4
    assert states(view(leaf, after=5)) == ["stale"] * 4


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


def optics(leaf: Leaf, port_name: str, lanes: Sequence[float], low: float = 1e-4) -> None:
    for number, watts in enumerate(lanes, start=1):
        tags = {"interface": port_name, "lane": str(number)}
        leaf.put("transceiver", tags, {"rx_power_watts": watts, "tx_power_watts": 1e-3, "bias_amperes": 0.007}, -30)
    whole = {"temperature_celsius": 45.0, "voltage_volts": 3.3, "rx_power_low_watts": low, "model": "M", "serial": "1"}
    leaf.put("transceiver", {"interface": port_name}, whole, -30)


def test_dark_weak_and_uneven_light(leaf: Leaf) -> None:
    leaf.run()
    optics(leaf, "Ethernet0", [1e-3, 1e-3, 0.0, 1e-3])
    optics(leaf, "Ethernet8", [1.1e-4, 1.2e-4])
    optics(leaf, "Ethernet16", [1e-3, 4e-4])
    made = view(leaf)
    found = {name: port(made, name) for name in leaf.ports}
    assert [found[name]["reason"] for name in leaf.ports] == [
        "1 lane dark",
        "light 0.4 dB above its alarm limit",  # 10 log10(1.1) = 0.414
        "lanes differ by 4.0 dB",  # 10 log10(2.5) = 3.979
        "",
    ]
    assert [found[name]["priority"] for name in leaf.ports] == [2, 3, 3, None]
    assert found["Ethernet0"]["optics_margin_db"] == pytest.approx(10)
    assert found["Ethernet16"]["rx_power_dbm"] == pytest.approx(-3.9794, abs=1e-4)


def test_a_dark_lane_has_no_margin_whatever_power_it_told_before(leaf: Leaf) -> None:
    leaf.run()
    leaf.put("transceiver", {"interface": "Ethernet0"}, {"rx_power_low_watts": 1e-4}, -20)
    for lane, dark in (("1", 1), ("2", 0)):
        tags = {"interface": "Ethernet0", "lane": lane}
        leaf.put("transceiver", tags, {"rx_power_watts": 5e-4 if dark else 4e-4, "rx_dark": dark}, -10)
    row = port(view(leaf), "Ethernet0")
    # Lane 2: 10 x log10(4) dB above its limit.
    assert row["optics_margin_db"] == pytest.approx(6.0206)
    assert row["rx_power_dbm"] == pytest.approx(-3.9794)
    assert row["reason"] == "1 lane dark"


@pytest.mark.parametrize(("down_at", "said"), [(-115, ""), (-125, "1 lane dark"), (None, "1 lane dark")])
def test_light_is_judged_when_the_link_has_been_up_for_two_minutes(leaf: Leaf, down_at: int | None, said: str) -> None:
    """A module may still tell of the minute in which there was no light."""
    leaf.run()
    if down_at is not None:
        leaf.put("interface", {"interface": "Ethernet0"}, {"oper_up": 0, "admin_up": 1}, down_at)
    optics(leaf, "Ethernet0", [1e-3, 0.0])
    row = port(view(leaf, after=0.0), "Ethernet0")
    assert row["reason"].removeprefix("1 flap in 5 min as polls saw it").removeprefix(", ") == said


def test_neighbours_by_whole_name_then_by_what_stands_before_the_dot(leaf: Leaf) -> None:
    leaf.run()
    leaf.link("Ethernet0", "NODE-1")
    leaf.link("Ethernet8", "node-2.cluster.local")
    leaf.link("Ethernet16", "spine-1")
    leaf.link("Ethernet24", "node-10")
    made = view(leaf)
    rows = [port(made, name) for name in leaf.ports]
    assert [(row["neighbor"], row["gpus"]) for row in rows] == [
        ("node-1", 8), ("node-2", 8), ("spine-1", 0), ("node-10", 0),
    ]  # fmt: skip
    assert to_json(made, "utilization")["switches"][0]["hosts"] == ["node-1", "node-2"]


def test_pauses_with_their_source(leaf: Leaf) -> None:
    leaf.run()
    for at in range(-120, 1, 10):
        moved = at + 200
        for name, fields in (
            ("Ethernet0", {"rx_frames_total": 900.0 * moved, "rx_pause_seconds_total": 0.55 * moved}),
            ("Ethernet8", {"rx_frames_total": 10.0 * moved, "rx_pause_estimated_seconds_total": 0.2 * moved}),
            ("Ethernet16", {"rx_frames_total": 900.0 * moved}),
        ):
            leaf.put("pfc", {"interface": name, "priority": "3"}, fields, at)
    leaf.link("Ethernet0", "node-1")
    made = view(leaf)
    rows = [port(made, name) for name in leaf.ports]
    assert [(row["pause_source"], row["pause_ratio"] and round(row["pause_ratio"], 4)) for row in rows] == [
        ("measured", 0.55), ("estimated", 0.2), ("bound", 0.0755), ("", None),
    ]  # fmt: skip  # 900 x 65535 x 512 / 4e11 = 0.0755
    assert [row["reason"] for row in rows] == ["paused 55 % of the time", "", "", ""]
    assert made.now.notes == {"node-1": "Ethernet0 of leaf-1 paused 55 % of the time"}


def test_frames_alone_are_a_storm_from_a_thousand_per_second(leaf: Leaf) -> None:
    leaf.run()
    for at in range(-120, 1, 10):
        leaf.put("pfc", {"interface": "Ethernet8", "priority": "4"}, {"rx_frames_total": 2000.0 * (at + 200)}, at)
    (fault,) = view(leaf).now.faults
    assert (fault.kind, fault.interface, fault.priority, fault.text) == (
        "pfc_storm", "Ethernet8", 3, "paused up to 17 % of the time",
    )  # fmt: skip


def test_the_watchdog_s_catches_stand_for_five_minutes(leaf: Leaf) -> None:
    leaf.run()
    tags = {"interface": "Ethernet0", "priority": "3"}
    for at in range(-120, 1, 10):
        fields = {"watchdog_detected_total": 7.0 + (at >= -60), "watchdog_stormed": 0}
        leaf.put("pfc", tags, fields, at)
    made = view(leaf)
    assert [(fault.kind, fault.priority, fault.text) for fault in made.now.faults] == [
        ("pfc_watchdog", 2, "PFC watchdog caught 1 storm")
    ]
    leaf.put("pfc", tags, {"watchdog_detected_total": 8.0, "watchdog_stormed": 1}, 10)
    leaf.poll(10)
    assert view(leaf, made, after=15).now.faults[0].text == "PFC watchdog holds a queue"


def test_ecn_over_all_queues_of_a_port(leaf: Leaf) -> None:
    leaf.run()
    for at in range(-120, 1, 10):
        moved = at + 200
        queues = {"3": (1000.0, 150.0), "4": (500.0, 0.0)}
        for queue, (packets, marked) in queues.items():
            fields = {"packets_total": packets * moved, "ecn_marked_packets_total": marked * moved}
            leaf.put("queue", {"interface": "Ethernet0", "queue": queue}, fields, at)
        quiet = {"packets_total": 1.0 * moved, "ecn_marked_packets_total": 1.0 * moved}
        leaf.put("queue", {"interface": "Ethernet8", "queue": "3"}, quiet, at)
    made = view(leaf)
    # 150 of 1,500 marked; a port with 1 packet per second has fewer than 100 in 30 s.
    assert port(made, "Ethernet0")["ecn_ratio"] == pytest.approx(0.1)
    assert port(made, "Ethernet8")["ecn_ratio"] is None
    (fault,) = made.now.faults
    assert (fault.kind, fault.priority) == ("congestion", 4)
    assert port(made, "Ethernet0")["priority"] is None


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


def cables(*switches: str, port: int = 0, end: str = "mlx5_{n}") -> dict[tuple[str, str], tuple[str, str]]:
    """Return four hosts at the ports of each of these switches."""
    return {(s, f"Ethernet{8 * n + port}"): (f"node-{n}", end.format(n=n)) for s in switches for n in range(4)}


def test_a_switch_that_is_polled_under_two_names_is_told(leaf: Leaf) -> None:
    for name in ("leaf-1", "10.0.0.1"):
        other = replace(leaf, name=name, pending=[])
        other.run(start=-30)
        for number, host in ((0, "node-1"), (8, "node-2")):
            tags = {"kind": "link", "relation": "links", "parent": name, "interface": f"Ethernet{number}", "id": host}
            other.put("inventory", tags, {"present": 1, "neighbor_interface": "mlx5_0"}, -20)
        other.settle()
    (hint,) = [hint for hint in view(leaf).hints if "two names" in hint]
    assert hint.startswith("10.0.0.1, leaf-1: one switch under two names?")


@pytest.mark.parametrize(
    ("neighbors", "pairs"),
    [
        ({**cables("leaf-1", "leaf-2"), **cables("leaf-3", port=4)}, [("leaf-1", "leaf-2")]),
        # rails: each host has a card at every switch
        ({**cables("leaf-1", end="mlx5_0"), **cables("leaf-2", end="mlx5_1")}, []),
        # a port whose name the neighbour does not tell, and one cable alone, prove nothing
        (cables("leaf-1", "leaf-2", end=""), []),
        (dict(list(cables("leaf-1").items())[:1] + list(cables("leaf-2").items())[:1]), []),
        ({(s, f"Ethernet{n}"): ("localhost", "eth0") for s in ("leaf-1", "leaf-2") for n in range(4)}, []),
    ],
)
def test_switches_are_one_where_the_very_same_ports_lie_behind_theirs(
    neighbors: dict[tuple[str, str], tuple[str, str]], pairs: list[tuple[str, str]]
) -> None:
    assert doubled(neighbors) == pairs


def test_traffic_above_the_speed_is_a_hint_and_no_alarm(leaf: Leaf) -> None:
    leaf.also = lambda number, at: {"speed_bits_per_second": 1e10} if number == 3 else {}
    leaf.run()
    made = view(leaf)
    # 3.2e10 bit/s of 1e10.
    assert port(made, "Ethernet24")["utilization"] == pytest.approx(3.2)
    assert made.now.faults == ()
    assert made.hints == ("leaf-1: traffic over the speed of a port: its speed is told wrongly",)


def test_errors_and_discards_in_ppm(leaf: Leaf) -> None:
    # Port 0 receives 1e6 packets/s: 50 broken per second are 50 ppm; it sends 5e5: 100 dropped per second are 200 ppm.
    leaf.also = lambda number, at: (
        {"rx_errors_total": 50.0 * (at + 200), "tx_discards_total": 100.0 * (at + 200)} if number == 0 else {}
    )
    leaf.run()
    row = port(view(leaf), "Ethernet0")
    assert (row["error_ppm"], row["discard_ppm"]) == (pytest.approx(50), pytest.approx(200))
    assert row["reason"] == "50 ppm of packets broken, 200 ppm of packets dropped"


def test_a_few_broken_packets_of_a_quiet_port_are_nothing(leaf: Leaf) -> None:
    leaf.also = lambda number, at: {"rx_unicast_total": 100.0 * (at >= -5), "rx_errors_total": 3.0 * (at >= -5)}
    leaf.run()
    made = view(leaf)
    assert port(made, "Ethernet0")["error_ppm"] == pytest.approx(30_000)
    assert made.now.faults == ()


def test_fec_and_bit_errors(leaf: Leaf) -> None:
    # 8 lanes of 53.125e9: 8,500,000 corrected bits per second are 2e-5.
    leaf.also = lambda number, at: (
        {
            "fec_corrected_bits_total": 8.5e6 * (at + 200),
            "fec_corrected_total": 1e6 * (at + 200),
            "fec_uncorrected_total": 4.0 + 3.0 * (at >= -20),
            "fec_pre_ber": 6.5e-5,
        }
        if number == 0
        else {"fec_pre_ber": 1e-9}
    )
    leaf.run()
    made = view(leaf)
    row = port(made, "Ethernet0")
    assert row["pre_fec_ber"] == pytest.approx(2e-5)
    assert row["priority"] == 2
    assert row["reason"] == "3 codewords beyond repair, bit errors 2.0e-05 before FEC"
    # 3 in the last hour, of which 2 minutes are known: as many per 5 minutes.
    assert row["uncorrected_per_hour"] == pytest.approx(36)
    assert port(made, "Ethernet8")["pre_fec_ber"] == 1e-9
    assert made.hints[-1].startswith("leaf-1: its own bit error ratio differs")


def test_flaps_as_the_switch_counts_them_and_as_polls_see_them(leaf: Leaf) -> None:
    down = {0: {"flaps_total": 12.0}, 1: {}, 2: {"flaps_total": 3.0}}
    leaf.also = lambda number, at: {0: {"flaps_total": 12.0 + 2.0 * (at >= -40)}, 1: {"oper_up": int(at != -40)}}.get(
        number, down.get(number, {})
    )
    leaf.run()
    made = view(leaf)
    assert [port(made, name)["reason"] for name in leaf.ports] == [
        "2 flaps in 5 min", "1 flap in 5 min as polls saw it", "", "",
    ]  # fmt: skip
    assert port(made, "Ethernet16")["flaps_per_hour"] == 0
    assert port(made, "Ethernet0")["flaps_per_hour"] == pytest.approx(24)


def test_a_port_that_was_shut_did_not_flap(leaf: Leaf) -> None:
    def shut(number: int, at: float) -> Fields:
        return {"admin_up": int(not -60 <= at <= -40), "oper_up": int(not -60 <= at <= -30)} if number == 0 else {}

    leaf.also = shut
    leaf.run()
    made = view(leaf)
    # It came back a poll after it was opened; the others never left.
    assert port(made, "Ethernet0")["flaps_per_hour"] == 0
    assert made.now.faults == ()


def test_flaps_age_out_of_the_alarm_and_stay_in_the_hour(leaf: Leaf) -> None:
    leaf.also = lambda number, at: {"flaps_total": 1.0 + (at >= -100)}
    leaf.run()
    made = view(leaf)
    assert len(made.now.faults) == 4
    for at in range(10, 331, 10):
        leaf.poll(at)
        if at % 30 == 0:
            made = view(leaf, made, after=at + 1)
    # Known for 450 s: 1 x 3600 / 450.
    assert made.now.faults == ()
    assert port(made, "Ethernet0")["flaps_per_hour"] == pytest.approx(8)


def test_a_lag_is_its_members(leaf: Leaf) -> None:
    leaf.run()
    for name, selected in (("Ethernet0", 1), ("Ethernet8", 1), ("Ethernet16", 0)):
        leaf.put("lag_member", {"interface": name, "lag": "PortChannel1"}, {"selected": selected}, -20)
    made = view(leaf)
    row = port(made, "PortChannel1")
    # 1e9 + 2e9 bytes/s of 2 x 4e11 bit/s.
    assert (row["rx_bits_per_second"], row["speed_bits_per_second"]) == (pytest.approx(2.4e10), 8e11)
    assert (row["utilization"], row["state"]) == (pytest.approx(0.03), "ok")
    assert to_json(made, "utilization")["summary"]["ports"] == 4


def test_the_agent_s_own_sum_where_no_member_is_known(leaf: Leaf) -> None:
    leaf.run()
    for at in range(-120, 1, 10):
        fields = {"rx_bytes_total": 7e9 * (at + 200), "oper_up": 1, "admin_up": 1}
        leaf.put("interface", {"interface": "PortChannel2", "kind": "lag"}, fields, at)
    row = port(view(leaf), "PortChannel2")
    assert (row["rx_bits_per_second"], row["utilization"]) == (pytest.approx(5.6e10), None)


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


def test_neighbours_told_just_after_the_ports_are_there_at_the_next_look(leaf: Leaf) -> None:
    leaf.run()
    made = view(leaf)
    assert port(made, "Ethernet0")["neighbor"] == ""
    leaf.link("Ethernet0", "node-1", at=10)
    assert port(view(leaf, made, after=15), "Ethernet0")["neighbor"] == "node-1"


def test_two_collectors_of_one_switch_are_one_set_of_ports(leaf: Leaf) -> None:
    leaf.run()
    twin = replace(leaf, source="c2", pending=[])
    # The other one is 40 s behind: its counters are lower, which must not look like resets.
    twin.run(end=-40)
    made = view(leaf)
    assert made.roster.count == 4
    assert port(made, "Ethernet0")["utilization"] == pytest.approx(0.02)


def test_simulated_switches_go_when_real_ones_come(leaf: Leaf) -> None:
    played = replace(leaf, name="sim-1", synthetic=True, pending=[])
    played.run()
    assert view(played, site=Site()).synthetic
    leaf.run()
    made = view(leaf, site=Site())
    assert [switch.name for switch in made.fleet.switches] == ["leaf-1"]
    assert not made.synthetic


def test_every_metric_can_be_shown(leaf: Leaf) -> None:
    leaf.run()
    made = view(leaf)
    for name in METRIC_NAMES:
        told = to_json(made, name)
        assert told["metric"] == name
        assert len(told["switches"][0]["ports"]) == 4


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
