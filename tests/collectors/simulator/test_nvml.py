"""The simulated NVML library: its ABI, its state file, and what it says when loaded for real."""

import asyncio
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml
import pytest
from devices import target_of
from nvml_scenario import start_simulator
from services import program

from collectors.nvml import collector
from collectors.simulator import nvml as simulator
from collectors.simulator import nvml_python
from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host, build_layout
from collectors.simulator.nvml_python import COLUMNS, STATE
from collectors.simulator.service import Service

#: bytes; facts of the NVML API 13, re-measured against nvidia-ml-py 13.615.71
SIZES = {
    pynvml.c_nvmlMemory_v2_t: 40,
    pynvml.c_nvmlMemory_t: 24,
    pynvml.c_nvmlBAR1Memory_t: 24,
    pynvml.c_nvmlUtilization_t: 8,
    pynvml.c_nvmlFieldValue_t: 40,
    pynvml.c_nvmlProcessInfo_v3_t: 24,
    pynvml.nvmlPciInfo_t: 68,
    pynvml.c_nvmlEventData_t: 32,
    pynvml.c_nvmlGpuFabricInfo_v3_t: 40,
    pynvml.c_nvmlPlatformInfo_v2_t: 44,
    pynvml.c_nvmlMarginTemperature_v1_t: 8,
    pynvml.c_nvmlTemperature_v1_t: 12,
    pynvml.c_nvmlProcessUtilizationSample_t: 32,
    pynvml.c_nvmlGpmMetric_t: 40,
    pynvml.c_nvmlGpmMetricsGet_t: 19104,
    pynvml.c_nvmlGpmSupport_t: 8,
    pynvml.c_nvmlC2cModeInfo_v1_t: 4,
    pynvml.c_nvmlSample_t: 16,
    pynvml.c_nvmlViolationTime_t: 16,
}
#: the versions that the library wants of a struct: number of the version and size
VERSIONS = {
    pynvml.nvmlMemory_v2: 2 << 24 | 40,
    pynvml.nvmlMarginTemperature_v1: 1 << 24 | 8,
    pynvml.nvmlTemperature_v1: 1 << 24 | 12,
    pynvml.nvmlPlatformInfo_v2: 2 << 24 | 44,
    pynvml.nvmlGpuFabricInfo_v2: 2 << 24 | 36,
    pynvml.nvmlGpuFabricInfo_v3: 3 << 24 | 40,
    pynvml.NVML_GPM_METRICS_GET_VERSION: 1,
    pynvml.NVML_GPM_SUPPORT_VERSION: 1,
}
#: the calls of a full collector loop, MIG and superchips included; each has `nvml` in front
SYMBOLS = (
    "InitWithFlags", "Shutdown", "ErrorString", "SystemGetDriverVersion", "SystemGetNVMLVersion",
    "SystemGetCudaDriverVersion_v2", "DeviceGetCount_v2", "DeviceGetHandleByIndex_v2", "DeviceGetHandleByUUID",
    "DeviceGetUUID", "DeviceGetName", "DeviceGetSerial", "DeviceGetIndex", "DeviceGetMinorNumber", "DeviceGetModuleId",
    "DeviceGetVbiosVersion", "DeviceGetArchitecture", "DeviceGetPciInfo_v3", "DeviceGetPlatformInfo",
    "DeviceGetGpuFabricInfoV", "DeviceGetUtilizationRates", "DeviceGetMemoryInfo", "DeviceGetMemoryInfo_v2",
    "DeviceGetBAR1MemoryInfo", "DeviceGetPowerUsage", "DeviceGetEnforcedPowerLimit", "DeviceGetPowerManagementLimit",
    "DeviceGetTotalEnergyConsumption", "DeviceGetTemperature", "DeviceGetTemperatureV", "DeviceGetMarginTemperature",
    "DeviceGetTemperatureThreshold", "DeviceGetClockInfo", "DeviceGetMaxClockInfo", "DeviceGetPerformanceState",
    "DeviceGetCurrentClocksEventReasons", "DeviceGetCurrentClocksThrottleReasons", "DeviceGetTotalEccErrors",
    "DeviceGetRemappedRows", "DeviceGetPcieThroughput", "DeviceGetPcieReplayCounter", "DeviceGetCurrPcieLinkGeneration",
    "DeviceGetCurrPcieLinkWidth", "DeviceGetNvLinkState", "DeviceGetMigMode", "DeviceGetPersistenceMode",
    "DeviceGetEccMode", "DeviceGetFieldValues", "DeviceGetComputeRunningProcesses_v3", "DeviceGetProcessUtilization",
    "DeviceGetSamples", "DeviceGetViolationStatus", "DeviceGetC2cModeInfoV", "DeviceGetMaxMigDeviceCount",
    "DeviceGetMigDeviceHandleByIndex", "DeviceIsMigDeviceHandle", "DeviceGetDeviceHandleFromMigDeviceHandle",
    "DeviceGetGpuInstanceId", "DeviceGetComputeInstanceId", "GpmQueryDeviceSupport", "GpmSampleAlloc", "GpmSampleFree",
    "GpmSampleGet", "GpmMigSampleGet", "GpmMetricsGet", "EventSetCreate", "EventSetFree",
    "DeviceGetSupportedEventTypes", "DeviceRegisterEvents", "EventSetWait_v2",
)  # fmt: skip


@dataclass(slots=True)
class Site:
    """A factory whose clock is the system's, and its NVML host."""

    factory: Factory
    directory: Path
    service: Service

    @property
    def host(self) -> Host:
        return self.factory.layout.hosts[0]

    @property
    def state(self) -> Path:
        return self.directory / self.host.name / STATE


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    factory = Factory(build_layout(16), seed=1, start=time.time())
    made = Site(factory, tmp_path, await start_simulator(factory, tmp_path))
    yield made
    await made.service.close()


@pytest.mark.parametrize(("struct", "size"), SIZES.items(), ids=lambda value: getattr(value, "__name__", value))
def test_binding_has_the_layout_that_the_library_is_built_for(struct: Any, size: int) -> None:
    assert ctypes.sizeof(struct) == size


@pytest.mark.parametrize(("version", "expected"), VERSIONS.items())
def test_binding_names_the_versions_that_the_library_wants(version: int, expected: int) -> None:
    assert version == expected


def test_library_has_all_calls_and_keeps_its_own_names_to_itself(site: Site) -> None:
    library = site.directory / site.host.name / simulator.LIBRARY
    done = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
    names = {line.split()[2] for line in done.stdout.splitlines()}
    assert {f"nvml{symbol}" for symbol in SYMBOLS} <= names
    assert [name for name in names if not name.startswith("nvml")] == []


async def test_library_compiles_without_warnings(tmp_path: Path) -> None:
    assert await simulator.build_library(tmp_path) == tmp_path / simulator.LIBRARY
    # The layouts of the C side are static assertions in the source.
    flags = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{tmp_path}"]
    done = subprocess.run([program("cc"), *flags, *simulator.SOURCES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_library_names_itself_as_the_driver_does(site: Site) -> None:
    data = (site.directory / site.host.name / simulator.LIBRARY).read_bytes()
    assert b"\0libnvidia-ml.so.1\0" in data


def test_each_column_of_the_state_is_a_quantity_of_the_factory(site: Site) -> None:
    columns = simulator.read_columns(site.factory, site.host)
    assert set(columns) == set(COLUMNS)
    assert {len(column) for column in columns.values()} == {site.host.gpu_count}


def test_state_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    simulator.replace_file(path, b"one")
    with path.open("rb") as reader:
        simulator.replace_file(path, b"three")
        assert reader.read() == b"one"
    assert path.read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [path]


async def test_state_follows_the_factory(site: Site) -> None:
    before = site.state.stat().st_mtime_ns
    site.factory.advance(site.factory.state.time + 1)
    deadline = time.monotonic() + 60
    while site.state.stat().st_mtime_ns == before:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def answers(library: Path, *calls: str) -> list[Any]:
    """Return what expressions over `pynvml` and a handle `h` of GPU 0 give in a process of their own."""
    code = f"""
import ctypes, importlib.util, json, pynvml
path = {str(library)!r}
if path.endswith(".py"):
    spec = importlib.util.spec_from_file_location("stand_in", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pynvml.nvmlLib = module.open_library()
else:
    pynvml.nvmlLib = ctypes.CDLL(path)
def request(*metrics):
    made = pynvml.c_nvmlGpmMetricsGet_t(version=1, numMetrics=len(metrics))
    made.sample1, made.sample2 = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
    for metric, place in zip(metrics, made.metrics):
        place.metricId = metric
    return made
def profile(*metrics):
    assert pynvml.nvmlGpmQueryDeviceSupport(h).isSupportedDevice
    made = request(*metrics)
    for sample in (made.sample1, made.sample2):
        pynvml.nvmlGpmSampleGet(h, sample)
    pynvml.nvmlGpmMetricsGet(made)
    for sample in (made.sample1, made.sample2):
        pynvml.nvmlGpmSampleFree(sample)
    return [(m.value, m.nvmlReturn) for m in made.metrics[: len(metrics)]]
pynvml.nvmlInit()
h = pynvml.nvmlDeviceGetHandleByIndex(0)
def value(call):
    try:
        return eval(call)
    except pynvml.NVMLError as error:
        return str(error)
print(json.dumps([value(call) for call in {calls!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[Any] = json.loads(done.stdout)
    return found


CALLS = (
    "pynvml.nvmlDeviceGetCount()",
    "pynvml.nvmlSystemGetDriverVersion()",
    "pynvml.nvmlDeviceGetName(h)",
    "pynvml.nvmlDeviceGetUUID(h)",
    "pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByIndex(5))",
    "pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(3))))",
    "pynvml.nvmlDeviceGetPciInfo(h).busId",
    "pynvml.nvmlDeviceGetPowerUsage(h)",
    "pynvml.nvmlDeviceGetEnforcedPowerLimit(h)",
    "pynvml.nvmlDeviceGetUtilizationRates(h).gpu",
    "pynvml.nvmlDeviceGetUtilizationRates(h).memory",
    "pynvml.nvmlDeviceGetMemoryInfo(h, version=pynvml.nvmlMemory_v2).used",
    "pynvml.nvmlDeviceGetTemperatureV(h, 0)",
    "pynvml.nvmlDeviceGetMarginTemperature(h)",
    "pynvml.nvmlDeviceGetClockInfo(h, 1)",
    "pynvml.nvmlDeviceGetMaxClockInfo(h, 2)",
    "pynvml.nvmlDeviceGetCurrentClocksEventReasons(h)",
    "pynvml.nvmlDeviceGetTotalEccErrors(h, 0, 0)",
    "pynvml.nvmlDeviceGetRemappedRows(h)",
    "pynvml.nvmlDeviceGetNvLinkState(h, 17)",
    "pynvml.nvmlDeviceGetNvLinkState(h, 18)",
    "[p.usedGpuMemory for p in pynvml.nvmlDeviceGetComputeRunningProcesses(h)]",
    "[(v.fieldId, v.valueType, v.nvmlReturn, v.value.uiVal)"
    " for v in pynvml.nvmlDeviceGetFieldValues(h, [38, 45, 52, 59, 76, 77, 78, 79, 82, 185, (186, 1), 188, 189,"
    " 190, 192, 230, 5])]",
    "profile(2, 3, 5, 10, 11)",
    "pynvml.nvmlGpmMetricsGet(request())",
    "pynvml.nvmlDeviceGetHandleByUUID('GPU-nobody')",
    "pynvml.nvmlDeviceGetHandleByIndex(99)",
    "pynvml.nvmlDeviceGetFanSpeed(h)",
)  # fmt: skip


def test_library_and_stand_in_answer_alike(site: Site, tmp_path: Path) -> None:
    stand_in = site.state.with_name("nvml_python.py")
    stand_in.write_bytes(Path(nvml_python.__file__).read_bytes())
    own = answers(site.state.with_name(simulator.LIBRARY), *CALLS)
    assert own == answers(stand_in, *CALLS)
    named = dict(zip(CALLS, own, strict=True))
    gpus = site.factory.state.gpus
    assert named["pynvml.nvmlDeviceGetCount()"] == 8
    assert named["pynvml.nvmlDeviceGetUUID(h)"] == site.factory.layout.gpu_uuids[0]
    assert named["pynvml.nvmlDeviceGetPowerUsage(h)"] == int(gpus.power_watts[0] * 1000)
    assert own[4:7] == [5, 3, "00000000:19:00.0"]
    assert named["pynvml.nvmlDeviceGetNvLinkState(h, 18)"] == "Invalid Argument"
    assert named["pynvml.nvmlDeviceGetHandleByUUID('GPU-nobody')"] == "Not Found"
    assert named["pynvml.nvmlDeviceGetFanSpeed(h)"] == "Function Not Found"


def test_quantity_that_is_nan_is_not_supported(site: Site) -> None:
    columns = simulator.read_columns(site.factory, site.host)
    columns["energy_joules"][0] = columns["memory_temperature_celsius"][0] = float("nan")
    simulator.replace_file(site.state, simulator.encode_state(site.factory, site.host, columns))
    calls = (
        "pynvml.nvmlDeviceGetTotalEnergyConsumption(h)",
        "[v.nvmlReturn for v in pynvml.nvmlDeviceGetFieldValues(h, [82, 83, 185])]",
    )
    assert answers(site.state.with_name(simulator.LIBRARY), *calls) == ["Not Supported", [3, 3, 0]]


def test_energy_stands_still_after_the_step_and_never_runs_ahead(site: Site) -> None:
    # The state is of the past: a ticker that is late must not make a counter go back later.
    columns = simulator.read_columns(site.factory, site.host)
    data = simulator.encode_state(site.factory, site.host, columns, offset=3600.0)
    simulator.replace_file(site.state, data)
    joules = columns["energy_joules"][0] + columns["energy_rate"][0]
    call = "pynvml.nvmlDeviceGetTotalEnergyConsumption(h)"
    assert answers(site.state.with_name(simulator.LIBRARY), call, call) == [int(joules * 1000)] * 2


def test_library_of_another_version_says_that_no_driver_is_loaded(site: Site) -> None:
    simulator.replace_file(site.state, b"TWNVML0\0" + site.state.read_bytes()[8:])
    library = ctypes.CDLL(str(site.state.with_name(simulator.LIBRARY)))
    assert library.nvmlInitWithFlags(0) == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    simulator.replace_file(site.state, b"TWNVML2\0")
    assert library.nvmlInitWithFlags(0) == pynvml.NVML_ERROR_DRIVER_NOT_LOADED


async def test_without_a_compiler_a_stand_in_gives_the_same_points(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "without"
    other.mkdir()
    monkeypatch.setenv("PATH", str(other))
    service = await simulator.start(site.factory, time.time, other)
    monkeypatch.undo()
    assert "no C compiler (cc)" in caplog.text
    assert service.devices[0].url.endswith("/nvml_python.py?workload=off")
    seen = []
    for device in (*site.service.devices, *service.devices):
        asked = collector.open_collector(target_of(device), None)
        try:
            result = await asked.poll(0)
        finally:
            await asked.aclose()
        assert result.rejected == ()
        boards = (point for point in result.points if point.measurement in ("gpu", "gpu_info"))
        seen.append([(p.measurement, dict(p.tags), _steady(dict(p.fields))) for p in boards])
    await service.close()
    assert len(seen[0]) >= site.host.gpu_count
    assert seen[0] == seen[1]


def _steady(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what grows between two polls."""
    growing = {"energy_joules_total", "nvlink_tx_bytes_total", "nvlink_rx_bytes_total"}
    assert growing <= set(fields) or "driver" in fields
    return {name: value for name, value in fields.items() if name not in growing and not name.startswith("throttle")}
