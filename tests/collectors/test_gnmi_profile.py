"""What the packaged profile makes of SONiC's answers: own pages in `data/gnmi`, values worked out by hand from them."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.collector import CollectError, PollResult, Target
from collectors.decode import Batch
from collectors.gnmi.rows import Ports, Table, read_tables
from collectors.probe import missing, not_given
from collectors.profile import load_profile

CASES = Path(__file__).parent / "data" / "gnmi"
TARGET = Target("leaf-1", "gnmi", "10.0.0.1:8080", options={"tls": "off"})
PROFILE = load_profile("sonic_gnmi")

Answers = dict[str, Any]
Found = dict[tuple[str, ...], Mapping[str, float | int | str]]


def load(case: str) -> Answers:
    answers: Answers = json.loads((CASES / f"{case}.json").read_text())
    return answers


def decode(tables: list[Table], answers: Answers, *, slow: bool = True) -> PollResult:
    """Return what one poll makes of the answers; tables whose path is not among them are left alone."""
    ports = Ports.read(answers.get("APPL_DB PORT_TABLE"))
    batch = Batch(TARGET, PROFILE)
    for table in tables:
        place = f"{table.each.target} {table.each.path}"
        replaced = table.each.unless and f"{table.each.target} {table.each.unless}" in answers
        if place in answers and not replaced and (slow or table.is_fast):
            table.add(answers[place], ports, slow, batch)
    return batch.finish(7)


def by_series(result: PollResult) -> Found:
    """Return the fields by measurement and the tags' values without the target's own."""
    return {
        (point.measurement, *(value for name, value in point.tags.items() if name != "device")): point.fields
        for point in result.points
    }


def read(case: str, **options: str) -> Found:
    target = replace(TARGET, options={**TARGET.options, **options})
    return by_series(decode(read_tables(PROFILE, target), load(case)))


def test_ports_have_all_counters_exactly_and_under_their_own_name() -> None:
    assert read("healthy")["interface", "Ethernet0", "etp1", "port"] == {
        "rx_bytes_total": float(9007199254740993),
        "tx_bytes_total": float(18446744073709551615),
        "rx_unicast_total": 1001.0,
        "tx_unicast_total": 1002.0,
        "rx_multicast_total": 3.0,
        "tx_multicast_total": 4.0,
        "rx_broadcast_total": 5.0,
        "tx_broadcast_total": 6.0,
        "rx_discards_total": 7.0,
        "tx_discards_total": 8.0,
        "rx_errors_total": 9.0,
        "tx_errors_total": 10.0,
        "rx_buffer_drops_total": 11.0,
        "tx_buffer_drops_total": 12.0,
        "fec_corrected_total": 1580.0,
        "fec_uncorrected_total": 0.0,
        "fec_symbol_errors_total": 23.0,
        "fec_corrected_bits_total": 31.0,
        "fec_pre_ber": 1.2e-08,
        "fec_post_ber": 0.0,
        "fec_max_symbols": 5.0,
        "oper_up": 0,
        "admin_up": 1,
        "speed_bits_per_second": 4e11,
        "lanes": 8.0,
        "flaps_total": 3.0,
        # date -u -d "2025-11-17 14:03:10" +%s
        "last_down_time_seconds": 1763388190.0,
    }


def test_priorities_have_frames_measured_pause_and_watchdog() -> None:
    found = read("healthy")
    assert found["pfc", "Ethernet0", "3"] == {
        "rx_frames_total": 103.0,
        "tx_frames_total": 203.0,
        "rx_pause_seconds_total": 2.5,
        "watchdog_stormed": 1,
        "watchdog_detected_total": 6.0,
        "watchdog_restored_total": 5.0,
    }
    assert found["pfc", "Ethernet0", "4"]["watchdog_stormed"] == 0
    assert ("pfc", "Ethernet0", "0") not in found


def test_a_switch_without_the_watchdog_s_path_tells_of_storms_by_its_queues() -> None:
    answers = load("healthy")
    del answers["COUNTERS_DB COUNTERS/Ethernet*/Pfcwd"]
    found = by_series(decode(read_tables(PROFILE, TARGET), answers))["pfc", "Ethernet0", "3"]
    assert (found["watchdog_stormed"], found["watchdog_detected_total"], found["watchdog_restored_total"]) == (1, 6, 5)


def test_queues_have_ecn_drops_fill_and_watermark() -> None:
    found = read("healthy")
    assert found["queue", "Ethernet0", "3"] == {
        "packets_total": 5000.0,
        "bytes_total": 7500000.0,
        "dropped_packets_total": 2.0,
        "dropped_bytes_total": 3000.0,
        "occupancy_bytes": 4096.0,
        "ecn_marked_packets_total": 25.0,
        "ecn_marked_bytes_total": 37500.0,
        "wred_dropped_packets_total": 0.0,
        "watermark_bytes": 1048576.0,
    }
    assert found["priority_group", "Ethernet0", "3"] == {"shared_watermark_bytes": 208.0, "xoff_watermark_bytes": 416.0}
    assert [key[2] for key in found if key[0] in ("queue", "priority_group")] == ["3", "4", "3", "4"]


def test_the_target_s_option_takes_all_priorities_or_a_list() -> None:
    every = read("healthy", priorities="all")
    assert every["pfc", "Ethernet0", "0"]["rx_frames_total"] == 100.0
    assert every["queue", "Ethernet0", "0"] == {"packets_total": 1.0, "bytes_total": 64.0}
    assert every["priority_group", "Ethernet0", "0"] == {"shared_watermark_bytes": 1.0}
    assert {key[2] for key in read("healthy", priorities="0, 3") if key[0] == "pfc"} == {"0", "3"}
    with pytest.raises(
        CollectError, match=r"leaf-1 10\.0\.0\.1:8080: option priorities='33': '33' is not one of 0, 1,"
    ):
        read("healthy", priorities="33")


def test_lag_and_neighbours_are_told() -> None:
    found = read("healthy")
    assert found["lag_member", "Ethernet0", "PortChannel0001"] == {"selected": 1}
    link = ("inventory", "link", "node-a01-1.example", "leaf-1", "links", "Ethernet0")
    assert found[link] == {"present": 1, "neighbor_interface": "enp1s0f0np0"}
    assert [key for key in found if key[0] == "inventory"] == [link]


def test_optics_have_lanes_in_watts_and_the_module_its_own_row() -> None:
    found = read("healthy")
    assert found["transceiver", "Ethernet0"] == {
        "temperature_celsius": 45.5,
        "voltage_volts": 3.31,
        "rx_power_low_watts": pytest.approx(1e-4),
        "rx_power_high_watts": pytest.approx(1e-2),
        "tx_power_low_watts": pytest.approx(1e-5),
        "tx_power_high_watts": pytest.approx(1e-3),
        "bias_high_amperes": pytest.approx(0.012),
        "temperature_high_celsius": 75.0,
        "model": "ACME Q56-400G-DR4",
        "serial": "0012345",
    }
    assert found["transceiver", "Ethernet0", "1"] == {
        "rx_power_watts": pytest.approx(1e-3),  # 0 dBm
        "rx_dark": 0,
        "tx_power_watts": pytest.approx(2e-3, rel=1e-5),  # 3.0103 dBm
        "bias_amperes": pytest.approx(0.0075),
        "pre_fec_ber": 2.5e-07,
    }
    assert found["transceiver", "Ethernet0", "2"] == {
        "rx_power_watts": pytest.approx(1e-4),  # -10 dBm
        "rx_dark": 0,
        "pre_fec_ber": 3e-07,
    }
    assert ("transceiver", "Ethernet0", "3") not in found


def test_supplies_fans_and_sensors_are_told_and_the_supplies_summed() -> None:
    found = read("healthy")
    assert found["power", "switch", "psu-1", "output"] == {
        "state": 0,
        "active_watts": 500.5,
        "voltage_volts": 12.0,
        "current_amperes": 41.7,
        "rated_watts": 1500.0,
    }
    assert found["power", "switch", "psu-1", "input"] == {"voltage_volts": 230.0, "current_amperes": 2.4}
    assert ("power", "switch", "psu-2", "input") not in found
    assert found["power", "switch", "total", "output"] == {"active_watts": 750.0, "rated_watts": 3000.0}
    assert found["environment", "psu-2"] == {"temperature_celsius": 37.0}
    assert found["environment", "ASIC"] == {"temperature_celsius": 61.5}
    assert found["fan", "Fantray1_1"] == {"state": 0, "speed_ratio": pytest.approx(0.55)}
    assert found["fan", "Fantray2_1"] == {"state": 2, "speed_ratio": 0.0}
    assert found["fan", "Fantray3_1"] == {"state": 3}
    assert found["switch",] == {"hwsku": "ACS-TW6400-64x400G"}


def test_an_absent_and_a_failed_supply_are_no_part_of_the_sum() -> None:
    found = read("supplies")
    assert found["power", "switch", "total", "output"] == {"active_watts": 700.25}
    assert found["power", "switch", "psu-2", "output"] == {"state": 3}
    assert found["power", "switch", "psu-3", "output"] == {"state": 2}


def test_a_running_supply_without_its_power_withholds_the_sum() -> None:
    tables = read_tables(PROFILE, TARGET)
    for _ in range(2):  # also once its silence is known
        found = by_series(decode(tables, load("silent_supply")))
        assert ("power", "switch", "total", "output") not in found
        assert found["power", "switch", "psu-1", "output"] == {"state": 0, "active_watts": 700.25}


def test_a_dark_lane_is_told_and_has_no_power() -> None:
    result = decode(read_tables(PROFILE, TARGET), load("dark_lane"))
    found = by_series(result)
    assert found["transceiver", "Ethernet0", "1"]["rx_power_watts"] == pytest.approx(5e-4, rel=1e-5)
    assert found["transceiver", "Ethernet0", "2"] == {"rx_dark": 1, "tx_power_watts": pytest.approx(1e-3)}
    assert result.rejected == ("transceiver.bias_amperes[interface=Ethernet0,lane=2]=inf: not finite",)


def test_broadcom_s_pause_time_is_an_estimate() -> None:
    assert read("broadcom")["pfc", "Ethernet0", "3"] == {
        "rx_frames_total": 7.0,
        "tx_frames_total": 8.0,
        "rx_pause_estimated_seconds_total": 0.125,
    }


def test_marvell_s_pause_time_is_measured_and_slashes_stay_in_the_alias() -> None:
    found = read("marvell")
    assert found["pfc", "Ethernet0", "3"] == {"rx_frames_total": 7.0, "rx_pause_seconds_total": 0.75}
    assert found["queue", "Ethernet0", "3"] == {"packets_total": 30.0, "watermark_bytes": 512.0}
    assert ("interface", "Ethernet0", "Eth1/1/1", "port") in found


def test_leaks_are_told_by_detector_and_for_the_switch() -> None:
    found = read("liquid_cooled")
    states = {key[1]: fields["state"] for key, fields in found.items()}
    assert states == {"leakage1": 0, "leakage2": 1, "leakage3": 2, "leakage4": 3, "leakage5": 0, "system": 0}
    assert {key[2] for key in found} == {"switch"}
    answers = load("liquid_cooled")
    for text, state in (("MINOR", 1), ("MAJOR", 2), ("CRITICAL", 2)):
        answers["STATE_DB SYSTEM_LEAK_STATUS"]["system"]["device_leak_status"] = text
        assert by_series(decode(read_tables(PROFILE, TARGET), answers))["leak", "system", "switch"] == {"state": state}


def test_an_old_image_gives_what_it_has_and_one_hint_for_ecn() -> None:
    tables = read_tables(PROFILE, TARGET)
    result = decode(tables, load("old_image"))
    found = by_series(result)
    assert found["interface", "Ethernet4", "Ethernet4", "port"] == {"rx_bytes_total": 20.0, "oper_up": 0, "lanes": 4.0}
    assert found["queue", "Ethernet0", "4"] == {"packets_total": 40.0, "bytes_total": 400.0}
    told = [*missing(PROFILE, result), *not_given(PROFILE, result)]
    assert sum("WRED_ECN_QUEUE" in line for line in told) == 1
    assert "pfc.rx_frames_total" not in "".join(told)
    ecn = "queue.ecn_marked_packets_total: no SAI_QUEUE_STAT_WRED_ECN_MARKED_PACKETS in 4 of 4 rows (Ethernet0 3)"
    assert ecn in result.missing
    assert "COUNTERS/Ethernet*/Queues has no rows" in " ".join(result.missing)  # its watermarks
    assert decode(tables, load("old_image")).missing == ()


def test_what_a_port_loses_is_told_with_each_poll_until_it_is_back() -> None:
    tables, answers = read_tables(PROFILE, TARGET), load("old_image")
    decode(tables, answers)
    octets = answers["COUNTERS_DB COUNTERS/Ethernet*"]["Ethernet4"].pop("SAI_PORT_STAT_IF_IN_OCTETS")
    line = "interface.rx_bytes_total: no SAI_PORT_STAT_IF_IN_OCTETS in 1 of 2 rows (Ethernet4)"
    for _ in range(2):
        result = decode(tables, answers, slow=False)
        assert result.missing == (line,)
        assert ("interface", "Ethernet0", "Ethernet0", "port") in by_series(result)
    answers["COUNTERS_DB COUNTERS/Ethernet*"]["Ethernet4"]["SAI_PORT_STAT_IF_IN_OCTETS"] = octets
    assert decode(tables, answers, slow=False).missing == ()


def test_a_port_that_comes_later_and_lacks_a_leaf_is_told_once() -> None:
    tables, answers = read_tables(PROFILE, TARGET), load("old_image")
    decode(tables, answers)
    answers["COUNTERS_DB COUNTERS/Ethernet*"]["Ethernet8"] = {"SAI_PORT_STAT_PFC_3_RX_PKTS": "5"}
    first = decode(tables, answers, slow=False)
    assert by_series(first)["pfc", "Ethernet8", "3"] == {"rx_frames_total": 5.0}
    assert "interface.rx_bytes_total: no SAI_PORT_STAT_IF_IN_OCTETS in 1 of 3 rows (Ethernet8)" in first.missing
    assert decode(tables, answers, slow=False).missing == ()


def test_a_table_that_empties_is_told_and_an_optional_one_is_not() -> None:
    tables, answers = read_tables(PROFILE, TARGET), load("healthy")
    assert decode(tables, answers).rejected == ()
    answers["COUNTERS_DB COUNTERS/Ethernet*"] = {}
    answers["APPL_DB LAG_MEMBER_TABLE"] = {}
    for _ in range(2):
        lines = decode(tables, answers).missing
        assert "interface.rx_bytes_total: COUNTERS_DB COUNTERS/Ethernet* has no rows" in lines
        assert not any("LAG_MEMBER" in line for line in lines)


def test_names_follow_the_port_table() -> None:
    tables, answers = read_tables(PROFILE, TARGET), load("healthy")
    decode(tables, answers)
    answers["APPL_DB PORT_TABLE"] = {"Ethernet4": {**answers["APPL_DB PORT_TABLE"]["Ethernet0"]}}
    assert by_series(decode(tables, answers))["pfc", "Ethernet4", "3"]["rx_frames_total"] == 103.0


def test_answers_of_another_shape_do_no_harm() -> None:
    tables = read_tables(PROFILE, TARGET)
    for strange in (
        None,
        3,
        "text",
        [],
        {"etp1": "text"},
        {"etp1": None, "etp2:3": ["x"]},
        {"": {}},
        {"etp1": {"a": {}}},
    ):
        places = {f"{table.each.target} {table.each.path}": strange for table in tables}
        for point in decode(tables, places).points:
            assert all(isinstance(value, str) or math.isfinite(value) for value in point.fields.values())
