"""What drivers, old and new, and their changes do to the NVML agent: through the real binding and the C library."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest
from nvml_agent_host import ADDRESSES, Host, agent_host

from collectors.nvml.agent.calls import NOT_SUPPORTED, Calls
from collectors.nvml.agent.identity import socket_of


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with agent_host(tmp_path, monkeypatch) as made:
        yield made


def module_watts(host: Host, answer: dict[str, Any]) -> list[float | None]:
    return [host.values(answer, board["index"]).get("module_power_watts") for board in answer["gpus"]]


def test_module_power_of_one_gpu_per_cpu(host: Host) -> None:
    host.place(range(8))
    host.say("-1 module_power 900000", "-1 module_id 1")
    assert module_watts(host, host.after(0)) == [900] * 8


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([-1] * 8, [None] * 8),
        ([0] * 8, [None] * 8),
        ([0, 0, 0, 1, 1, 2, 2, 2], [None, None, None, 2400, None, None, None, None]),
    ],
)
def test_module_power_is_left_out_where_nobody_knows_who_shares_a_module(
    host: Host, nodes: list[int], told: list[float | None]
) -> None:
    host.place(nodes)
    host.say("-1 module_power 2400000")
    answer = host.after(0)
    assert module_watts(host, answer) == told
    assert len([note for note in answer["notes"] if "which of these share a module is not known" in note]) == 1
    assert host.values(answer)["power_watts"] > 0
    assert host.after(60)["notes"] == []


def test_module_power_of_the_only_board_needs_no_place(host: Host) -> None:
    host.say("-1 count 1", "-1 module_power 900000")
    answer = host.after(0)
    assert module_watts(host, answer) == [900]
    assert answer["notes"] == []


def test_module_power_of_zero_is_none_and_its_error_spoils_no_other_power(host: Host) -> None:
    host.place(range(8))
    host.say("-1 module_power 0")
    answer = host.after(0)
    assert module_watts(host, answer) == [None] * 8
    assert answer["missing"] == []
    host.say("0 power 400000", "-1 module_power 900000")
    assert host.values(host.after(1))["power_watts"] == 400


def test_driver_that_cannot_tell_of_modules_gives_no_module_power(host: Host) -> None:
    # It knows no scope of power either, and would give the board's own.
    host.place(range(8))
    host.say("-1 nvmlDeviceGetC2cModeInfoV 13", "-1 module_power 700000")
    assert module_watts(host, host.after(0)) == [None] * 8


def test_socket_is_the_numa_node_of_the_pci_device(tmp_path: Path) -> None:
    for address, node in (("0008:01:00.0", "0\n"), ("0009:01:00.0", "-1\n"), ("0018:01:00.0", "rubbish\n")):
        (tmp_path / address).mkdir()
        (tmp_path / address / "numa_node").write_text(node)
    found = [socket_of(str(tmp_path), f"0000{domain}:01:00.0") for domain in ("0008", "0009", "0018", "0019")]
    assert found == ["0", "", "", ""]


def test_places_of_the_boards_are_those_of_their_pci_addresses(host: Host) -> None:
    told = [board["info"]["pci_bus_id"].lower()[4:] for board in host.after(0)["gpus"]]
    assert tuple(told) == ADDRESSES


def test_field_that_an_old_driver_does_not_know_leaves_its_neighbours(host: Host) -> None:
    host.say("0 viol_power 3000000000", *(f"0 field_{each}_error 2" for each in (269, 270, 271)))
    answer = host.after(0)
    assert host.values(answer)["throttle_power_seconds_total"] == 3
    assert "throttle_brake_seconds_total" not in host.values(answer)
    assert (answer["missing"], host.after(15)["missing"]) == ([], [])


def test_call_that_an_old_driver_takes_for_invalid_falls_back(host: Host) -> None:
    host.say("0 nvmlDeviceGetTemperatureV 2", "0 temp 61")
    assert host.values(host.after(0))["temperature_celsius"] == 61


def test_value_of_a_type_that_the_binding_does_not_know_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    field = pynvml.c_nvmlFieldValue_t(valueType=7, nvmlReturn=0)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetFieldValues", lambda handle, asked: [field])
    assert Calls().fields(None, [(999, 0)]) == [(NOT_SUPPORTED, 0)]


@pytest.mark.parametrize("code", [14, 10])
def test_board_that_cannot_tell_its_serial_number_is_read_all_the_same(host: Host, code: int) -> None:
    host.say(f"-1 nvmlDeviceGetSerial {code}")
    answer = host.after(0)
    assert answer["missing"] == []
    assert "serial" not in answer["gpus"][0]["info"]
    assert answer["gpus"][0]["info"]["vbios"]


def test_text_that_is_none_of_a_corrupted_inforom_is_left_out(host: Host) -> None:
    state = host.directory / "nvml.state"
    serial = host.after(0)["gpus"][0]["info"]["serial"].encode()
    data = state.read_bytes()
    assert data.count(serial) >= 1
    state.write_bytes(data.replace(serial, b"\xff" * len(serial), 1))
    state.touch()
    host.driver.close()
    host.driver.boards.clear()
    answer = host.after(0)
    assert "serial" not in answer["gpus"][0]["info"]
    assert len(answer["gpus"]) == 8


def test_driver_that_is_gone_may_refuse_to_be_closed(host: Host) -> None:
    host.after(0)
    host.say("-1 error 1", "-1 nvmlShutdown 1")
    assert host.after(1)["error"] == 1
    host.say()
    assert len(host.after(5)["gpus"]) == 8


def test_driver_of_another_version_ends_the_process_which_keeps_the_old_library(host: Host) -> None:
    host.after(0)
    host.say("-1 error 18")
    answer = host.after(1)
    assert (answer["error"], answer["ends"]) == (18, True)
    host.say("-1 error 999")
    assert "ends" not in host.after(5)


def test_limit_that_was_raised_is_seen_before_its_power_is_refused(host: Host) -> None:
    host.say("0 power_limit 300000", "0 power 290000")
    assert host.values(host.after(0))["power_limit_watts"] == 300
    host.say("0 power_limit 1000000", "0 power 900000", "0 energy 5000000")
    host.after(1)
    host.say("0 power_limit 1000000", "0 power 900000", "0 energy 5900000")
    answer = host.after(1)
    assert answer["rejected"] == []
    values = host.values(answer)
    assert (values["power_watts"], values["power_limit_watts"], values["energy_joules_total"]) == (900, 1000, 5900)


def test_instance_that_vanishes_while_it_is_listed_spoils_nothing(host: Host) -> None:
    host.say("0 mig 2", "0 nvmlDeviceGetComputeInstanceId 6")
    answer = host.after(0)
    assert answer["missing"] == []
    assert [board["mig"] for board in answer["gpus"] if board["index"] == 0] == [""]
    host.say("0 mig 2")
    assert [board["mig"] for board in host.after(60)["gpus"] if board["index"] == 0] == ["", "1/0", "2/0"]


def test_board_lost_while_it_is_partitioned_anew(host: Host) -> None:
    host.say("0 mig 2")
    host.after(0)
    host.say("0 mig 3", "0 nvmlDeviceGetMigDeviceHandleByIndex 15")
    answer = host.after(60)
    assert [host.values(answer), host.values(answer, 1)["lost"]] == [{"lost": 1}, 0]
    assert [board["mig"] for board in answer["gpus"] if board["index"] == 0] == [""]


def test_links_that_were_never_up_are_not_down(host: Host) -> None:
    host.say("0 nvlink_down 18", "1 nvlink_down 3")
    answer = host.after(0)
    assert "nvlink_down_count" not in host.values(answer)
    assert host.values(answer, 1)["nvlink_down_count"] == 3
    host.say("1 nvlink_down 18")
    assert host.values(host.after(15), 1)["nvlink_down_count"] == 18


def test_host_without_boards_says_nothing_and_waits_for_some(host: Host) -> None:
    host.say("-1 count 0")
    answer = host.after(0)
    assert (answer["gpus"], answer["missing"], answer["events"]) == ([], [], [])
    assert host.after(5)["gpus"] == []
    host.say()
    assert len(host.after(60)["gpus"]) == 8


def test_event_that_waits_while_another_board_is_lost_is_told(host: Host) -> None:
    host.after(0)
    watch = host.driver._watch
    assert watch is not None
    # The driver answers waits with the error of the lost board, and the thread rests; then the Xid comes, unseen.
    host.say("-1 nvmlEventSetWait_v2 15")
    host.until(lambda: watch._calls.counts["nvmlEventSetWait_v2"][1] > 1)
    handles = {board.uuid: board.handle for board in host.driver.boards.values()}
    lost = next(iter(handles))
    host.say("1 xid 74")
    watch.watch({uuid: handle for uuid, handle in handles.items() if uuid != lost})
    host.until(lambda: len(watch._boards) == 7 and not watch._new.empty())
    assert [(event["gpu"], event["data"]) for event in watch.drain()] == [(list(handles)[1], 74)]


def test_board_whose_handle_changed_is_watched_anew(host: Host) -> None:
    host.after(0)
    watch = host.driver._watch
    assert watch is not None
    uuids, handles = zip(*((board.uuid, board.handle) for board in host.driver.boards.values()), strict=True)
    watch.watch({uuids[0]: handles[1]})
    host.until(lambda: set(watch._boards) == {uuids[0]})
    watch.watch({uuids[0]: handles[2]})
    host.until(lambda: watch._boards[uuids[0]] is handles[2] and host.registrations() == 10)
    host.say("2 xid 31")
    host.until(lambda: not watch._new.empty())
    assert [(event["gpu"], event["data"]) for event in watch.drain()] == [(uuids[0], 31)]


def test_no_single_bit_errors_are_listened_to(host: Host) -> None:
    host.after(0)
    host.say("0 event 1")
    asked = host.driver.context.calls.counts["nvmlDeviceGetCount"][0]
    for _ in range(5):
        host.after(0.01)
    assert host.driver.context.calls.counts["nvmlDeviceGetCount"][0] == asked


def test_events_that_a_driver_refuses_for_a_moment_are_asked_again_in_a_minute(host: Host) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pynvml, "nvmlEventSetCreate", _refuse)
        assert "are not seen: Unknown Error" in host.after(0)["notes"][0]
    host.after(59)
    assert host.driver._watch is None
    host.after(1)
    assert host.driver._watch is not None


def _refuse() -> None:
    raise pynvml.NVMLError(999)
