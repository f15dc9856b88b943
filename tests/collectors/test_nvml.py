"""The NVML collector through the real binding, against the simulator's library."""

import asyncio
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from nvml_scenario import say, start_simulator

from collectors.collector import (
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    MaintenanceError,
    PollResult,
    Target,
)
from collectors.nvml import collector as nvml
from collectors.nvml import process as nvml_process
from collectors.nvml.agent.settings import Settings
from collectors.nvml.collector import NvmlCollector
from collectors.profile import load_profile
from collectors.simulator import nvml as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host, build_layout
from collectors.simulator.nvml_python import STATE
from collectors.simulator.service import Service
from storage.point import FieldValue, Point

TIME_NS = 1_760_000_000 * 10**9
HOUR_NS = 3600 * 10**9


@dataclass(slots=True)
class Site:
    """A factory that stands still, its NVML host's library, and a collector on it."""

    factory: Factory
    directory: Path
    service: Service
    collector: NvmlCollector = field(init=False)

    def __post_init__(self) -> None:
        library = self.directory / self.host.name / simulator.LIBRARY
        tags = {"site": "DEMO", "rack": "A01"}
        target = Target(self.host.name, "nvml", str(library), timeout=timedelta(seconds=20), tags=tags)
        # It samples when it is polled, and then in all tiers.
        settings = Settings(
            str(library), fast_s=3600.0, medium_s=0.0, slow_s=0.0, first_delay_s=0.0, event_wait_s=0.1, workload=False,
            release=str(self.directory / "release"),
        )  # fmt: skip
        self.collector = NvmlCollector(target, settings)

    @property
    def host(self) -> Host:
        return self.factory.layout.hosts[0]

    def uuid(self, place: int) -> str:
        return self.factory.layout.gpu_uuids[self.host.gpu_start + place]

    def write(self, change: Callable[[dict[str, list[float]]], None] = lambda columns: None) -> None:
        """Put the factory's present state, changed, before the library."""
        columns = simulator.read_columns(self.factory, self.host)
        change(columns)
        data = simulator.encode_state(self.factory, self.host, columns)
        simulator.replace_file(self.directory / self.host.name / STATE, data)

    async def poll(self, time_ns: int = TIME_NS) -> PollResult:
        return await self.collector.poll(time_ns)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    factory = Factory(build_layout(8), seed=1, start=time.time())
    made = Site(factory, tmp_path, await start_simulator(factory, tmp_path))
    yield made
    await made.collector.aclose()
    await made.service.close()


def gpu(result: PollResult, uuid: str) -> Point:
    return next(p for p in result.points if p.measurement == "gpu" and p.tags["gpu"] == uuid)


async def test_readings_are_those_of_the_factory(site: Site) -> None:
    result = await site.poll()
    assert (result.missing, result.rejected) == ((), ())
    state = site.factory.state.gpus
    for place in range(8):
        point = gpu(result, site.uuid(place))
        assert dict(point.tags) == {
            "site": "DEMO",
            "rack": "A01",
            "host": site.host.name,
            "gpu": site.uuid(place),
            "gpu_index": str(place),
            "model": "NVIDIA B200",
            "vendor": "nvidia",
            "exporter": "nvml",
        }
        assert point.time_ns == TIME_NS
        fields = point.fields
        assert fields["lost"] == 0
        assert (
            fields["power_watts"] == fields["power_instant_watts"] == math.floor(state.power_watts[place] * 1e3) / 1e3
        )
        assert fields["power_limit_watts"] == state.power_limit_watts
        assert fields["utilization_ratio"] == pytest.approx(state.utilization_ratio[place], abs=0.005001)
        assert fields["memory_copy_ratio"] == pytest.approx(state.memory_copy_ratio[place], abs=0.005001)
        # total - reserved - free, not NVML's own `used`
        assert fields["memory_used_bytes"] == pytest.approx(state.memory_used_bytes[place], abs=2)
        assert fields["memory_reserved_bytes"] == math.floor(state.memory_reserved_bytes)
        assert fields["memory_total_bytes"] == state.memory_total_bytes
        assert fields["temperature_celsius"] == math.floor(state.temperature_celsius[place])
        assert fields["memory_temperature_celsius"] == math.floor(state.memory_temperature_celsius[place])
        assert fields["temperature_margin_celsius"] == 87 - math.floor(state.temperature_celsius[place])
        assert fields["sm_clock_hertz"] == pytest.approx(state.sm_clock_hertz[place], abs=1e6)
        assert fields["sm_clock_max_hertz"] == state.sm_clock_max_hertz
        assert fields["memory_clock_hertz"] == state.memory_clock_hertz
        assert fields["clock_event_mask"] == state.clock_event_mask[place]
        assert fields["process_count"] == state.process_count[place]
        assert fields["nvlink_down_count"] == 0
        assert (fields["pcie_generation"], fields["pcie_width"]) == (5, 16)
        assert (fields["ecc_uncorrected_total"], fields["rows_remapped_total"]) == (0, 0)
        assert fields["recovery_action"] == 0


async def test_counters_are_exact_at_the_moment_of_the_call(site: Site) -> None:
    state = site.factory.state.gpus
    fields: Mapping[str, FieldValue] = {}
    end = time.monotonic() + 60
    # While the process starts the factory runs ahead of its clock, so that the energy grows faster than it can.
    while "energy_joules_total" not in fields and time.monotonic() < end:
        await site.poll()
        site.factory.advance(time.time())
        site.write()
        before = time.time()
        fields = gpu(await site.poll(), site.uuid(0)).fields
        after = time.time()
    for name, counters, resolution in (
        ("energy_joules_total", state.energy_joules, 1e-3),
        ("nvlink_tx_bytes_total", state.nvlink_tx_bytes, 1024),
        ("nvlink_rx_bytes_total", state.nvlink_rx_bytes, 1024),
        ("throttle_power_seconds_total", state.throttle_power_seconds, 1e-6),
        ("throttle_thermal_seconds_total", state.throttle_thermal_seconds, 1e-6),
    ):
        low, high = counters.at(before)[0] - resolution, counters.at(after)[0] + resolution
        assert low <= float(fields[name]) <= high, name


async def test_identity_is_told_once_an_hour_and_when_it_changes(site: Site) -> None:
    def told(result: PollResult) -> list[Point]:
        return [point for point in result.points if point.measurement == "gpu_info"]

    first = told(await site.poll())
    assert len(first) == 8
    assert dict(first[0].tags) == {"site": "DEMO", "rack": "A01", "host": site.host.name, "gpu": site.uuid(0)}
    assert first[0].fields["pci_bus_id"] == "00000000:19:00.0"
    assert first[0].fields["driver"] == simulator.DRIVER
    assert set(first[0].fields) == {"driver", "vbios", "serial", "pci_bus_id", "module_id"}
    assert told(await site.poll(TIME_NS + HOUR_NS - 1)) == []
    assert len(told(await site.poll(TIME_NS + HOUR_NS))) == 8


async def test_lost_gpu_says_so_and_the_others_go_on(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.poll()
    site.write(lambda columns: columns["lost"].__setitem__(2, 1.0))
    with caplog.at_level(logging.INFO, logger="collectors.nvml.collector"):
        for _ in range(2):
            result = await site.poll()
            assert gpu(result, site.uuid(2)).fields == {"lost": 1}
            assert gpu(result, site.uuid(3)).fields["power_watts"]
            assert len([point for point in result.points if point.measurement == "gpu"]) == 8
        site.write()
        back = gpu(await site.poll(), site.uuid(2)).fields
    assert back["lost"] == 0
    assert back["power_watts"]
    assert [record.message.split()[-1] for record in caplog.records] == ["lost", "back"]


async def test_what_a_board_lacks_is_left_out(site: Site) -> None:
    def lack(columns: dict[str, list[float]]) -> None:
        for name in ("energy_joules", "memory_temperature_celsius", "utilization_ratio", "clock_event_mask"):
            columns[name][1] = math.nan

    site.write(lack)
    result = await site.poll()
    lacking = {"energy_joules_total", "memory_temperature_celsius", "utilization_ratio", "memory_copy_ratio"}
    lacking.add("clock_event_mask")
    assert not lacking & set(gpu(result, site.uuid(1)).fields)
    assert lacking <= set(gpu(result, site.uuid(0)).fields)
    assert result.rejected == ()


async def test_unsupported_call_is_not_asked_again(site: Site) -> None:
    site.write(lambda columns: columns["energy_joules"].__setitem__(0, math.nan))
    assert "energy_joules_total" not in gpu(await site.poll(), site.uuid(0)).fields
    site.write()  # it would answer again, if it was asked
    assert "energy_joules_total" not in gpu(await site.poll(), site.uuid(0)).fields
    await site.collector.aclose()  # a new process knows nothing
    assert "energy_joules_total" in gpu(await site.poll(), site.uuid(0)).fields


async def test_memory_temperature_of_zero_is_none(site: Site) -> None:
    site.write(lambda columns: columns["memory_temperature_celsius"].__setitem__(0, 0.0))
    assert "memory_temperature_celsius" not in gpu(await site.poll(), site.uuid(0)).fields


async def test_impossible_values_are_rejected_and_named(site: Site) -> None:
    def lie(columns: dict[str, list[float]]) -> None:
        columns["power_watts"][0] = 2_100.0
        columns["temperature_celsius"][0] = 255.0

    site.write(lie)
    result = await site.poll()
    fields = gpu(result, site.uuid(0)).fields
    assert not {"power_watts", "power_instant_watts", "temperature_celsius"} & set(fields)
    where = f"gpu.power_watts[gpu={site.uuid(0)}]=2100.0: more than 2 times the limit of 1000 W"
    assert where in result.rejected
    assert [line for line in result.rejected if "temperature_celsius" in line and "255" in line]
    assert fields["energy_joules_total"]


async def test_killed_process_is_replaced_in_the_next_poll(site: Site) -> None:
    await site.poll()
    pid = site.collector._worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert len([p for p in (await site.poll()).points if p.measurement == "gpu"]) == 8
    assert site.collector._worker.pid not in (None, pid)


async def test_hanging_driver_is_a_timeout_then_its_process_is_replaced(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.poll()
    pid = site.collector._worker.pid
    site.factory.silent.add(site.host.name)
    site.write()
    site.collector._target = Target(site.host.name, "nvml", "", timeout=timedelta(seconds=0.3))
    with pytest.raises(DeviceTimeoutError, match=r"no answer within 0\.3 s"):
        await site.poll()
    assert site.collector._worker.pid == pid
    monkeypatch.setattr(nvml_process, "SILENCE_S", 0.0)
    monkeypatch.setattr(nvml_process, "FIRST_SILENCE_S", 0.0)
    site.collector._target = Target(site.host.name, "nvml", "", timeout=timedelta(seconds=60))
    poll = asyncio.create_task(site.poll())  # kills it and starts another, which hangs too
    while site.collector._worker.pid in (None, pid):
        await asyncio.sleep(0.01)
    poll.cancel()
    await asyncio.wait([poll])
    with pytest.raises(DeviceTimeoutError, match=r"starts again in \d s"):  # not at once for ever
        await site.poll()
    assert site.collector._worker.pid is None
    site.factory.silent.discard(site.host.name)
    site.write()
    site.collector._worker._start_at = 0.0
    site.collector._target = Target(site.host.name, "nvml", "", timeout=timedelta(seconds=20))
    assert (await site.poll()).points


async def test_late_answer_is_not_taken_for_the_next(site: Site) -> None:
    await site.poll()
    old = gpu(await site.poll(), site.uuid(1)).fields["power_instant_watts"]
    site.factory.silent.add(site.host.name)
    site.write()
    site.collector._target = Target(site.host.name, "nvml", "", timeout=timedelta(seconds=0.3))
    with pytest.raises(DeviceTimeoutError):
        await site.poll()
    site.factory.silent.discard(site.host.name)
    site.write()
    site.factory.advance(site.factory.state.time + 5)
    site.write()
    site.collector._target = Target(site.host.name, "nvml", "", timeout=timedelta(seconds=20))
    new = gpu(await site.poll(), site.uuid(1)).fields["power_instant_watts"]
    assert new == math.floor(site.factory.state.gpus.power_watts[1] * 1e3) / 1e3 != old


@pytest.mark.parametrize("place", ["missing", "empty"])
async def test_no_library_says_what_to_install(tmp_path: Path, place: str) -> None:
    library = tmp_path / "libnvidia-ml.so.1"
    if place == "empty":
        library.write_bytes(b"")
    collector = nvml.open_collector(Target("node-1", "nvml", str(library), timeout=timedelta(seconds=20)), None)
    try:
        with pytest.raises(DeviceRefusedError, match=r"node-1 nvml .*install the NVIDIA driver"):
            await collector.poll(TIME_NS)
    finally:
        await collector.aclose()


async def test_no_driver_says_what_to_load_and_the_next_poll_tries_again(site: Site) -> None:
    state = site.directory / site.host.name / STATE
    state.rename(state.with_name("away"))
    with pytest.raises(DeviceRefusedError, match=r"Driver Not Loaded.*modprobe nvidia"):
        await site.poll()
    site.write()
    assert (await site.poll()).points


async def test_process_that_dies_at_once_is_an_error_and_waits(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no GPU today')\n")
    collector = nvml.open_collector(Target("node-1", "nvml", str(broken), timeout=timedelta(seconds=20)), None)
    try:
        with pytest.raises(DeviceRefusedError, match="the NVML process ends at once"):
            await collector.poll(TIME_NS)
        with pytest.raises(DeviceTimeoutError, match="starts again in"):
            await collector.poll(TIME_NS)
    finally:
        await collector.aclose()
    assert "no GPU today" in capfd.readouterr().err


async def test_closing_twice_ends_the_process(site: Site) -> None:
    await site.poll()
    pid = site.collector._worker.pid
    await site.collector.aclose()
    await site.collector.aclose()
    assert not Path(f"/proc/{pid}").exists()


async def test_nvml_takes_no_profile() -> None:
    target = Target("node-1", "nvml", "")
    with pytest.raises(CollectError, match="leave the profile 'vllm' out"):
        nvml.open_collector(target, load_profile("vllm"))
    with pytest.raises(CollectError, match="NVML needs no profile"):
        await nvml.identify(target, [])


async def test_agent_is_small(site: Site) -> None:
    await site.poll()
    status = Path(f"/proc/{site.collector._worker.pid}/status").read_text()
    assert int(status.split("VmRSS:")[1].split()[0]) * 1024 < 80e6


def others(result: PollResult, measurement: str) -> list[Point]:
    return [point for point in result.points if point.measurement == measurement]


async def test_loss_is_an_event_with_its_own_time(site: Site) -> None:
    await site.poll()
    before = time.time_ns()
    site.write(lambda columns: columns["lost"].__setitem__(2, 1.0))
    (event,) = [e for e in others(await site.poll(), "gpu_event") if e.tags["kind"] == "lost"]
    assert before < event.time_ns < time.time_ns()
    assert dict(event.fields) == {"code": 15, "severity": 2, "text": "GPU is lost"}
    assert dict(event.tags) == {
        "site": "DEMO",
        "rack": "A01",
        "host": site.host.name,
        "gpu": site.uuid(2),
        "kind": "lost",
    }
    assert [e for e in others(await site.poll(), "gpu_event") if e.tags["kind"] == "lost"] == []


async def test_xid_is_told_with_its_meaning(site: Site) -> None:
    await site.poll()
    say(site.directory / site.host.name, "3 xid 63")
    events: list[Point] = []
    end = time.monotonic() + 60
    while not events and time.monotonic() < end:
        events = others(await site.poll(), "gpu_event")
    assert [(event.tags["gpu"], event.tags["kind"]) for event in events] == [(site.uuid(3), "xid")]
    assert (events[0].fields["code"], events[0].fields["severity"]) == (63, 1)
    assert str(events[0].fields["text"]).startswith("Xid 63: a memory row was remapped")


async def test_calls_of_the_agent_are_told_each_minute(site: Site) -> None:
    calls = {point.tags["call"]: point for point in others(await site.poll(), "nvml_call")}
    energy = calls["nvmlDeviceGetTotalEnergyConsumption"]
    assert dict(energy.tags) == {"site": "DEMO", "rack": "A01", "host": site.host.name, "call": energy.tags["call"]}
    # The first poll takes two samples, which the profiling counters need, of 8 boards.
    assert (energy.fields["calls_total"], energy.fields["errors_total"]) == (16, 0)
    assert others(await site.poll(), "nvml_call") == []


async def test_released_agent_is_in_maintenance_until_the_file_is_gone(site: Site) -> None:
    await site.poll()
    release = site.directory / "release"
    release.touch()
    for _ in range(2):
        with pytest.raises(MaintenanceError, match=f"NVML is released: {release} is there; remove it"):
            await site.poll()
    release.unlink()
    assert len(others(await site.poll(), "gpu")) == 8


async def test_released_agent_is_not_even_started(site: Site) -> None:
    (site.directory / "release").touch()
    with pytest.raises(MaintenanceError):
        await site.poll()
    assert site.collector._worker.pid is None


async def test_hanging_driver_does_not_hold_maintenance_back(site: Site) -> None:
    await site.poll()
    pid = site.collector._worker.pid
    site.factory.silent.add(site.host.name)
    site.write()
    site.collector._target = Target(site.host.name, "nvml", "", timeout=timedelta(seconds=0.3))
    with pytest.raises(DeviceTimeoutError):
        await site.poll()
    (site.directory / "release").touch()
    with pytest.raises(MaintenanceError):
        await site.poll()
    assert not Path(f"/proc/{pid}").exists()


async def test_answer_that_came_too_late_is_said_again(site: Site) -> None:
    await site.poll()
    site.factory.silent.add(site.host.name)
    site.write(lambda columns: columns["lost"].__setitem__(2, 1.0))
    timeout = site.collector._target
    site.collector._target = Target(site.host.name, "nvml", "", timeout=timedelta(seconds=0.3))
    for _ in range(2):
        with pytest.raises(DeviceTimeoutError):
            await site.poll()
    site.factory.silent.discard(site.host.name)
    site.write(lambda columns: columns["lost"].__setitem__(2, 1.0))
    site.collector._target = timeout
    told = [*others(await site.poll(), "gpu_event"), *others(await site.poll(), "gpu_event")]
    assert [event.tags["kind"] for event in told if event.tags["kind"] == "lost"] == ["lost"]


async def test_old_binding_is_named_with_the_way_out(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "old" / "pynvml"
    old.mkdir(parents=True)
    (old / "__init__.py").write_text("nvmlLib = None\ndef nvmlDeviceGetFieldValues(handle, ids): ...\n")
    monkeypatch.setenv("PYTHONPATH", str(old.parent))
    message = rf"pynvml in {old} is not that of nvidia-ml-py, it lacks nvmlInitWithFlags.*pip uninstall pynvml"
    for _ in range(2):
        with pytest.raises(DeviceRefusedError, match=message):
            await site.poll()
    assert caplog.records == []
    monkeypatch.undo()
    assert (await site.poll()).points


async def test_missing_binding_is_named(tmp_path: Path) -> None:
    worker = Path(nvml_process.WORKER)
    done = subprocess.run(
        [sys.executable, "-S", "-P", worker], input=b"1 0\n", capture_output=True, check=True, timeout=60
    )
    answer = json.loads(done.stdout)
    assert (answer["error"], answer["ends"]) == (-1, True)
    assert "pip install nvidia-ml-py" in answer["text"]


def test_options_reach_the_agent() -> None:
    def settings(**options: str) -> dict[str, object]:
        collector = nvml.open_collector(Target("node-1", "nvml", "/a.so", options=options), None)
        assert isinstance(collector, NvmlCollector)
        found: dict[str, object] = json.loads(collector._worker._arguments[0])
        return found

    assert (settings()["release"], settings()["workload"]) == ("/run/tokenwatt/nvml-release", True)
    assert (settings(release="/x", workload="off")["release"], settings(workload="off")["workload"]) == ("/x", False)
    assert (settings()["fast_s"], settings()["medium_s"], settings()["slow_s"]) == (1, 15, 60)


def test_field_that_a_new_driver_took_away_is_told(caplog: pytest.LogCaptureFixture) -> None:
    collector = NvmlCollector(Target("node-1", "nvml", ""), Settings())
    for driver, fields in (("570", {"a", "b"}), ("570", {"a"}), ("580", {"a"}), ("580", {"a"})):
        collector._note_fields("GPU-1", driver, fields)
    assert [record.message for record in caplog.records] == [
        "node-1 nvml: GPU-1: fields lost from driver 570 to 580: b",
    ]
