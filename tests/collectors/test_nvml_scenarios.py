"""The NVML agent against the simulator's library in this process: every scenario, through the real binding.

The clock is the test's own; what takes a minute on a host takes none here.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest
from nvml_agent_host import Host, agent_host

LIMIT_WATTS = 1000.0
DAY_S = 86_400.0


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with agent_host(tmp_path, monkeypatch) as made:
        yield made


def events(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return list(answer["events"])


def test_busy(host: Host) -> None:
    host.say(
        "0 power 700000",
        "0 util 98",
        "0 memutil 61",
        "0 sm_util 55.5",
        "0 tensor_util 40",
        "0 dram_util 70",
        "0 nproc 2",
    )
    host.after(0)
    values = host.values(host.after(1))
    assert (values["power_watts"], values["power_limit_watts"]) == (700, LIMIT_WATTS)
    assert (values["utilization_ratio"], values["memory_copy_ratio"]) == (0.98, 0.61)
    assert (values["sm_active_ratio"], values["tensor_active_ratio"], values["dram_active_ratio"]) == (0.555, 0.4, 0.7)
    assert (values["process_count"], values["lost"]) == (2, 0)


def test_bare_idle(host: Host) -> None:
    host.say("0 power 95000", "0 util 0", "0 sm_util 0", "0 nproc 0", "0 memused 0", "0 sm_clock 345", "0 reasons 1")
    values = host.values(host.after(0))
    assert (values["process_count"], values["process_memory_bytes"], values["memory_used_bytes"]) == (0, 0, 0)
    assert (values["sm_clock_hertz"], values["clock_event_mask"], values["power_watts"]) == (345e6, 1, 95)


def test_parked_holds_memory_without_work(host: Host) -> None:
    host.say("0 power 135000", "0 util 0", "0 nproc 1", "0 memused 150000000000")
    values = host.values(host.after(0))
    assert (values["process_count"], values["memory_used_bytes"], values["utilization_ratio"]) == (1, 150e9, 0)


def test_ghost_utilisation_is_told_as_it_is(host: Host) -> None:
    host.say("0 power 100000", "0 util 100", "0 nproc 0", "0 memused 0")
    values = host.values(host.after(0))
    assert (values["utilization_ratio"], values["process_count"], values["power_watts"]) == (1, 0, 100)


def test_stuck_at_full_utilisation_with_little_power(host: Host) -> None:
    host.say("0 power 71000", "0 util 100", "0 sm_util 100", "0 tensor_util 0", "0 nproc 1")
    host.after(0)
    values = host.values(host.after(1))
    assert (values["utilization_ratio"], values["sm_active_ratio"], values["tensor_active_ratio"]) == (1, 1, 0)
    assert values["power_watts"] == 71


def test_thermal_throttle(host: Host) -> None:
    host.say("0 temp 89", "0 margin -2", "0 reasons 32", "0 viol_thermal 2500000000", "0 viol_sync 7000000")
    values = host.values(host.after(0))
    assert (values["temperature_celsius"], values["temperature_margin_celsius"]) == (89, -2)
    assert (values["throttle_thermal_seconds_total"], values["throttle_sync_seconds_total"]) == (2.5, 0.007)
    assert values["clock_event_mask"] == 32


def test_power_brake(host: Host) -> None:
    host.say("0 reasons 128", "0 viol_brake 1500000000", "0 viol_power 3000000000")
    values = host.values(host.after(0))
    assert (values["throttle_brake_seconds_total"], values["throttle_power_seconds_total"]) == (1.5, 3)
    assert values["clock_event_mask"] == 128


def test_short_clock_event_shows_and_idle_only_when_it_was_so_all_the_time(host: Host) -> None:
    host.say("0 reasons 1")
    host.driver.tick()
    host.say("0 reasons 64")
    host.driver.tick()
    host.say("0 reasons 1")
    assert host.values(host.after(1))["clock_event_mask"] == 64
    assert host.values(host.after(1))["clock_event_mask"] == 1


def test_point_has_means_and_extremes_of_the_interval(host: Host) -> None:
    for watts, instant in ((500, 480), (700, 930), (600, 610)):
        host.say(f"0 power {instant}000", f"0 power_average {watts}000", f"0 util {watts / 10}")
        host.now += 1
        host.driver.tick()
    answer = host.driver.answer()
    values = host.values(answer)
    assert (values["power_watts"], values["power_instant_watts"]) == (600, 610)
    assert (values["power_min_watts"], values["power_max_watts"]) == (480, 930)
    assert values["utilization_ratio"] == pytest.approx(0.6)
    host.driver.resume(0)
    assert host.values(host.after(1))["power_max_watts"] == 610


def test_interval_whose_answer_nobody_read_is_told_again(host: Host) -> None:
    host.say("0 power 900000")
    host.after(1)
    host.say("0 power 300000")
    host.now += 1
    host.driver.tick()
    host.driver.answer()
    host.driver.resume(-1)
    host.say("0 power 500000")
    values = host.values(host.after(1))
    assert (values["power_watts"], values["power_min_watts"], values["power_max_watts"]) == (400, 300, 500)


def test_slower_readings_are_carried_and_read_anew_in_their_time(host: Host) -> None:
    host.say("0 temp 50", "0 ecc_sbe 1")
    host.after(0)
    host.say("0 temp 60", "0 ecc_sbe 2")
    assert host.values(host.after(14))["temperature_celsius"] == 50
    values = host.values(host.after(1))
    assert (values["temperature_celsius"], values["ecc_corrected_total"]) == (60, 1)
    assert host.values(host.after(45))["ecc_corrected_total"] == 2


def test_reading_that_failed_twice_running_is_given_up(host: Host) -> None:
    host.after(0)
    host.say("0 nvmlDeviceGetTemperatureV 999")
    answer = host.after(15)
    assert "temperature_celsius" in host.values(answer)
    assert [line for line in answer["missing"] if "temperature: Unknown" in line]
    assert "temperature_celsius" not in host.values(host.after(15))
    host.say()
    assert "temperature_celsius" in host.values(host.after(15))


def test_xid_79_followed_by_loss(host: Host) -> None:
    host.after(0)
    host.say("2 xid 79")
    xid = events(host.wait_for(lambda answer: bool(answer["events"])))
    assert [(event["type"], event["data"]) for event in xid] == [(8, 79)]
    assert abs(xid[0]["time_ns"] - time.time_ns()) < 60e9
    host.say("2 xid 79", "2 error 15")
    answer = host.after(1)
    assert host.values(answer, 2) == {"lost": 1}
    assert host.values(answer, 3)["lost"] == 0
    assert len(answer["gpus"]) == 8
    assert [(event["kind"], event["code"], event["severity"]) for event in events(answer)] == [("lost", 15, 2)]
    for wait in (5, 10, 20, 40):  # it is looked for after so long, and told once
        assert host.values(host.after(wait - 1), 2) == {"lost": 1}
        assert events(host.after(1)) == []
    host.say()
    assert host.values(host.after(59), 2) == {"lost": 1}  # each minute from then on
    values = host.values(host.after(1), 2)
    assert values["lost"] == 0
    assert values["power_watts"]


def test_a_board_that_is_reset_is_back_within_five_seconds(host: Host) -> None:
    host.after(0)
    host.say("2 error 15")
    assert host.values(host.after(1), 2) == {"lost": 1}
    host.say()
    assert host.values(host.after(4), 2) == {"lost": 1}
    assert host.values(host.after(1), 2)["lost"] == 0


def test_events_are_told_once_and_again_while_nobody_heard_them(host: Host) -> None:
    host.after(0)
    host.say("1 xid 31")
    host.until(lambda: bool(host.driver.answer()["events"]))
    first = host.driver.answer()["events"]
    assert [(event["gpu"], event["data"]) for event in first] == [(list(host.driver.boards)[1], 31)]
    host.driver.resume(-1)
    assert host.after(1)["events"] == first
    assert host.after(1)["events"] == []


def test_energy_that_is_not_supported_is_left_out_and_not_asked_for_a_day(host: Host) -> None:
    host.say("0 no_energy 1")
    answer = host.after(0)
    assert "energy_joules_total" not in host.values(answer)
    assert "energy_joules_total" in host.values(answer, 1)
    assert (answer["missing"], answer["rejected"]) == ([], [])
    host.say()
    asked = host.driver.context.calls.counts["nvmlDeviceGetTotalEnergyConsumption"][0]
    assert "energy_joules_total" not in host.values(host.after(DAY_S - 1))
    assert host.driver.context.calls.counts["nvmlDeviceGetTotalEnergyConsumption"][0] == asked + 7
    assert "energy_joules_total" in host.values(host.after(1))


def test_driver_reload_resets_the_energy_and_is_told(host: Host) -> None:
    host.say("0 power 500000", "0 energy 5000000")
    assert host.values(host.after(0))["energy_joules_total"] == 5000
    host.say("0 power 500000", "0 energy 200000")
    answer = host.after(1)
    assert host.values(answer)["energy_joules_total"] == 200
    assert [(event["kind"], event["severity"]) for event in events(answer)] == [("reset", 1)]
    assert answer["rejected"] == []
    host.say("0 power 500000", "0 energy 700000")
    assert events(host.after(1)) == []


def test_impossible_readings_are_refused_and_spoil_no_mean(host: Host) -> None:
    host.say("0 power 400000")
    host.driver.tick()
    host.say("0 power 2000001", "0 sm_util 101")
    host.now += 1
    host.driver.tick()
    answer = host.driver.answer()
    values = host.values(answer)
    assert (values["power_watts"], values["power_max_watts"]) == (400, 400)
    assert "sm_active_ratio" not in values
    assert [line.split("]=")[1] for line in answer["rejected"]] == [
        "2000.001: more than 2 times the limit of 1000 W",
        "2000.001: more than 2 times the limit of 1000 W",
        "1.01: outside 0 to 1",
    ]


def test_frozen_energy_counter_is_not_asked_for_ten_minutes(host: Host) -> None:
    host.say("0 power 500000", "0 energy 5000000")
    host.after(0)
    assert host.values(host.after(5))["energy_joules_total"] == 5000
    answer = host.after(1)
    assert "energy_joules_total" not in host.values(answer)
    assert [line for line in answer["rejected"] if "stands still for 6 s under load" in line]
    host.say("0 power 500000", "0 energy 5500000")
    assert "energy_joules_total" not in host.values(host.after(599))
    assert host.values(host.after(1))["energy_joules_total"] == 5500


def test_partitioned_board_has_a_point_per_instance(host: Host) -> None:
    host.say("0 mig 3", "0 nproc 3", "0 sm_util 50", "0 power 600000", "0 memused 30000000000")
    host.after(0)
    answer = host.after(1)
    board = host.values(answer)
    assert (board["power_watts"], board["temperature_celsius"]) == (600, board["temperature_celsius"])
    assert "utilization_ratio" not in board
    marks = [each["mig"] for each in answer["gpus"] if each["index"] == 0]
    assert marks == ["", "1/0", "2/0", "3/0"]
    for mark in marks[1:]:
        values = host.values(answer, mig=mark)
        assert values["sm_active_ratio"] == 0.5
        assert values["process_count"] == 1
        assert values["memory_used_bytes"] == pytest.approx(1e10, abs=4)
        assert not {"power_watts", "energy_joules_total", "temperature_celsius", "lost"} & values.keys()
    host.say("0 mig 2")  # partitioned anew
    assert [each["mig"] for each in host.after(60)["gpus"] if each["index"] == 0] == ["", "1/0", "2/0"]
    host.say()
    answer = host.after(60)
    assert [each["mig"] for each in answer["gpus"] if each["index"] == 0] == [""]
    assert host.values(answer)["utilization_ratio"] > 0  # which MIG did not have


def test_nvlink_that_goes_down_is_counted_and_told(host: Host) -> None:
    assert host.values(host.after(0))["nvlink_down_count"] == 0
    host.say("0 nvlink_down 2", "0 nvlink_errors 5", "0 nvlink_recovery 3", "0 nvlink_tx 10240")
    answer = host.after(15)
    values = host.values(answer)
    assert (values["nvlink_down_count"], values["nvlink_error_total"], values["nvlink_recovery_total"]) == (2, 5, 3)
    assert values["nvlink_tx_bytes_total"] == 10240
    assert [(e["kind"], e["code"], e["text"]) for e in events(answer)] == [("link", 2, "2 of 18 NVLinks are down")]
    assert events(host.after(15)) == []


def test_nvlink_5_is_summed_over_its_links(host: Host) -> None:
    host.say(
        "-1 nvlink_gen 5", "0 nvlink_tx 123456789", "0 nvlink_rx 987654321", "0 nvlink_errors 5", "0 nvlink_recovery 3"
    )
    values = host.values(host.after(0))
    assert (values["nvlink_tx_bytes_total"], values["nvlink_rx_bytes_total"]) == (123456789, 987654321)
    assert (values["nvlink_error_total"], values["nvlink_recovery_total"]) == (5, 3)


def test_power_of_a_module_is_told_once(host: Host) -> None:
    # NVML's module id is that of the GPU within the node: it says nothing of who shares a module.
    lines = [f"{gpu} module_id {gpu + 1}" for gpu in range(8)]
    host.place(gpu // 2 for gpu in range(8))
    host.say(*lines, "-1 module_power 2400000")
    answer = host.after(0)
    told = [host.values(answer, gpu).get("module_power_watts") for gpu in range(8)]
    assert told == [2400, None] * 4
    host.say(*lines, "-1 module_power 2400000", "0 error 15")
    host.after(60)
    assert host.values(host.after(60), 1)["module_power_watts"] == 2400


def test_place_in_the_rack_is_told(host: Host) -> None:
    host.say("-1 platform 1", "0 slot 14", "0 tray 9", "0 module_id 2", "0 fabric_state 3", "0 clique 7")
    info = host.after(0)["gpus"][0]["info"]
    assert (info["slot"], info["tray"], info["module_id"], info["clique_id"]) == ("14", "9", "2", "7")
    assert len(info["chassis_serial"]) > 3
    assert len(info["cluster_uuid"]) == 32


def test_fabric_mask_tells_only_what_is_wrong(host: Host) -> None:
    # Healthy is not 0 in NVML: 2 says no in each of the four two-bit parts, 1 none for the configuration.
    host.say("-1 fabric_state 3", "0 fabric_mask 426", "1 fabric_mask 425", "2 fabric_mask 1194")
    answer = host.after(0)
    assert 426 == 1 << 8 | 0b10101010
    assert [host.values(answer, gpu)["fabric_health_mask"] for gpu in range(3)] == [0, 1, 4 << 8]
    assert host.values(answer)["fabric_state"] == 3


def test_hot_added_board_appears_within_a_minute(host: Host) -> None:
    host.say("-1 count 6")
    assert len(host.after(0)["gpus"]) == 6
    host.say("-1 count 8")
    assert len(host.after(59)["gpus"]) == 6
    answer = host.after(1)
    assert len(answer["gpus"]) == 8
    assert host.values(answer, 7)["power_watts"]
    host.until(lambda: host.registrations() == 8)
    host.say("-1 count 8", "7 xid 31")
    assert [e["data"] for e in events(host.wait_for(lambda a: bool(a["events"])))] == [31]


def test_board_that_only_the_driver_knows_makes_nvml_open_again(host: Host) -> None:
    nodes = host.directory / "nodes"
    nodes.mkdir()
    for number in range(8):
        (nodes / f"0000:0{number}:00.0").mkdir()
    host.after(0)
    (nodes / "0000:0a:00.0").mkdir()
    assert len(host.after(60)["gpus"]) == 8
    assert host.driver.context.calls.counts["nvmlInit"][0] == 2
    host.after(60)
    assert host.driver.context.calls.counts["nvmlInit"][0] == 2  # once for each that is new


def test_board_that_vanishes_is_lost_and_found_again(host: Host) -> None:
    host.after(0)
    host.say("-1 count 7")
    answer = host.after(60)
    assert host.values(answer, 7) == {"lost": 1}
    assert [(e["kind"], e["text"]) for e in events(answer)] == [("lost", "no longer listed by the driver")]
    host.say()
    assert host.values(host.after(60), 7)["power_watts"]


def test_all_boards_are_told_when_one_is_allocated(host: Host) -> None:
    host.say("-1 nproc 0", "3 nproc 1")
    answer = host.after(0)
    assert [host.values(answer, gpu)["process_count"] for gpu in range(8)] == [0, 0, 0, 1, 0, 0, 0, 0]


def test_health(host: Host) -> None:
    host.say(
        "0 ecc_sbe 9", "0 ecc_dbe 2", "0 remap_unc 3", "0 remap_cor 1", "0 recovery 1", "0 replay 4", "0 viol_brake 1"
    )
    values = host.values(host.after(0))
    assert (values["ecc_corrected_total"], values["ecc_uncorrected_total"], values["rows_remapped_total"]) == (9, 2, 4)
    assert (values["recovery_action"], values["pcie_replay_total"]) == (1, 4)
    host.say("0 remap_pending 1")
    told = events(host.after(60))
    assert [(e["kind"], e["text"]) for e in told] == [("remap", "a remapped row waits for a reset")]


def test_event_of_the_driver_makes_the_slow_readings_fresh(host: Host) -> None:
    host.after(0)
    host.say("0 event 32768", "0 recovery 2")
    answer = host.wait_for(lambda a: bool(a["events"]), seconds=0.001)
    assert [(e["type"], e["data"]) for e in events(answer)] == [(0x8000, 2)]
    assert host.values(host.after(0.001))["recovery_action"] == 2


def test_refused_call_is_told_to_the_operator_and_not_repeated(host: Host) -> None:
    host.say("0 nvmlDeviceGetTotalEccErrors 4")
    board = next(iter(host.after(0)["gpus"]))["gpu"]
    answer = host.after(60)
    assert answer["missing"] == [f"{board}: ecc_corrected: no permission", f"{board}: ecc_uncorrected: no permission"]
    assert host.driver.context.calls.counts["nvmlDeviceGetTotalEccErrors"][:2] == [2 + 14 * 2, 2]


@pytest.mark.parametrize("code", [1, 18, 999, 9, 17])
def test_nvml_that_is_gone_for_all_is_opened_again_with_a_back_off(host: Host, code: int) -> None:
    host.after(0)
    host.say(f"-1 error {code}")
    assert host.after(1)["error"] == code
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlSystemGetDriverVersion()
    host.after(4.9)
    assert host.driver.context.calls.counts["nvmlInit"][0] == 1
    host.after(0.1)
    assert host.driver.context.calls.counts["nvmlInit"][0] == 2
    host.say()
    assert "error" in host.after(9.9)
    assert len(host.after(0.1)["gpus"]) == 8


def test_back_off_ends_at_five_minutes(host: Host) -> None:
    host.say("-1 init_error 9")
    waits = [5, 10, 20, 40, 80, 160, 300, 300]
    host.after(0)
    for number, wait in enumerate(waits, 1):
        host.after(wait - 0.1)
        assert host.driver.context.calls.counts["nvmlInit"][0] == number
        assert host.after(0.1)["text"] == "Driver Not Loaded"


def test_unknown_error_of_one_board_leaves_the_others_alone(host: Host) -> None:
    host.after(0)
    host.say("4 error 999")
    answer = host.after(1)
    assert len(answer["gpus"]) == 8
    assert host.values(answer, 5)["power_watts"]
    assert "power_watts" not in host.values(answer, 4)
    assert host.values(answer, 4)["lost"] == 0
    assert [line for line in answer["missing"] if "energy: Unknown" in line]


def test_board_whose_handle_is_refused_from_the_start_is_named(host: Host) -> None:
    host.say("3 handle_error 15")
    answer = host.after(0)
    assert len(answer["gpus"]) == 7
    assert answer["missing"] == ["GPU 3: GPU is lost"]


def test_new_driver_is_asked_for_everything_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.say("0 no_energy 1")
    host.after(0)
    host.say()
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "999.1")
    answer = host.after(60)
    assert "energy_joules_total" in host.values(answer)
    assert answer["gpus"][0]["info"]["driver"] == "999.1"
    assert {event["kind"] for event in events(answer)} == {"reset"}
    assert len(events(answer)) == 8


def test_release_closes_nvml_and_its_end_opens_it_again(host: Host, tmp_path: Path) -> None:
    release = tmp_path / "release"
    host.settings = {"release": str(release)}
    host.after(0)
    release.touch()
    assert host.after(1) == {"notes": [], "released": str(release)}
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlSystemGetDriverVersion()
    release.unlink()
    assert len(host.after(1)["gpus"]) == 8


def test_events_before_a_release_are_told_after_it(host: Host, tmp_path: Path) -> None:
    release = tmp_path / "release"
    host.settings = {"release": str(release)}
    host.say("0 energy 5000000")
    host.after(0)
    host.say("0 energy 100000")
    host.now += 1
    host.driver.tick()
    release.touch()
    assert "events" not in host.after(1)
    release.unlink()
    assert [event["kind"] for event in events(host.after(1))] == ["reset"]


def test_workload_is_the_one_that_all_processes_share(host: Host, tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/ns/pid").symlink_to("pid:[4026531836]")
    for pid, job in ((4100, 7), (4101, 7), (4200, 7), (4201, 8)):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "cgroup").write_text(f"0::/system.slice/slurmstepd.scope/job_{job}/step_0/user/task_0\n")
    host.settings = {"workload": True, "proc": str(proc)}
    host.say("0 pid 4100", "0 nproc 2", "1 pid 4200", "1 nproc 2", "2 nproc 0")
    answer = host.after(0)
    assert [board["workload"] for board in answer["gpus"][:3]] == [{"job": "7"}, {}, {}]
    assert "pid" not in json.dumps(answer["gpus"])


def test_no_call_is_made_that_is_forbidden(host: Host) -> None:
    forbidden = ("PcieThroughput", "GetSamples", "ViolationStatus", "TemperatureThreshold")
    host.say("0 mig 2", "-1 platform 1", "-1 nvlink_gen 5")
    for _ in range(3):
        host.after(60)
    resolved = pynvml._nvmlGetFunctionPointer_cache
    assert len(resolved) > 30
    assert not [name for name in resolved if any(part in name for part in forbidden)]


def test_calls_are_counted_and_timed(host: Host) -> None:
    host.say("0 nvmlDeviceGetPcieReplayCounter 999")
    host.after(0)
    counts = host.driver.context.calls.counts
    assert counts["nvmlDeviceGetUtilizationRates"][:2] == [8, 0]
    assert counts["nvmlDeviceGetPcieReplayCounter"][:2] == [8, 1]
    assert counts["nvmlDeviceGetUtilizationRates"][2] > 0
