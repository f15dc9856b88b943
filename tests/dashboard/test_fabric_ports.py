"""What each port does, over a real store, with points as collectors write them. Every expected number is by hand."""

from dataclasses import replace

import pytest
from fabric_view import port, states, view
from leaf import SPEED, Fields, Leaf

from dashboard.fabric.answer import METRIC_NAMES, to_json


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


def test_ports_of_a_switch_that_does_not_answer_stop_looking_live_after_two_periods(leaf: Leaf) -> None:
    leaf.run(end=-20)
    for at in (-10, 0):
        leaf.health(at, state=2, error="leaf-1: no answer", up=0)
    # Polled each 10 s and last told of at -20 s: 19 s are under two periods, 25 s are not.
    assert states(view(leaf, after=-1)) == ["ok"] * 4
    assert states(view(leaf, after=5)) == ["stale"] * 4


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


def test_every_metric_can_be_shown(leaf: Leaf) -> None:
    leaf.run()
    made = view(leaf)
    for name in METRIC_NAMES:
        told = to_json(made, name)
        assert told["metric"] == name
        assert len(told["switches"][0]["ports"]) == 4
