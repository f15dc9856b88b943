"""Light, pauses, marks and bit errors of ports over a real store. Every expected number is by hand."""

from collections.abc import Sequence

import pytest
from fabric_view import port, view
from leaf import Leaf


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
