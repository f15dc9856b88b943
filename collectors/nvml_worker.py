"""The process that talks to NVML, so that a driver that hangs or crashes takes nothing else with it.

It reads lines on standard input; each is a number, and each is answered with one line of JSON: `{"request": 7, "gpus":
[...]}` or `{"request": 7, "error": 9, "text": "Driver Not Loaded"}`. It ends with its input. Values are in SI units
under the schema's names. It runs by its path and imports nothing of ours.

    python nvml_worker.py [library | stand-in.py]

Each board remembers which calls it lacks, so that they are asked once a day. A board that is lost is looked up again by
its UUID at every poll; all boards are listed anew each minute.

Source: NVIDIA nvml.h, API 13; nvidia-ml-py 13 (`pynvml`), which also works with older drivers.
"""

import ctypes
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pynvml

Values = dict[str, float | int]

#: not supported, function not found, version mismatch, no permission, in use
ABSENT = {3, 13, 25, 4, 19}
#: GPU is lost, reset required
LOST = {15, 16}
#: uninitialised, library and driver versions differ, unknown: the driver went away under us
STALE = {1, 18, 999}

LIST_AGAIN_SECONDS = 60.0
TRY_AGAIN_SECONDS = 86_400.0
ALL_LINKS = 0xFFFFFFFF
#: field id -> schema field and what one unit of the source is
FIELDS: Mapping[int, tuple[str, float]] = {
    74: ("throttle_power_seconds_total", 1e-9),
    75: ("throttle_thermal_seconds_total", 1e-9),
    271: ("throttle_brake_seconds_total", 1e-9),
    82: ("memory_temperature_celsius", 1),
    197: ("pcie_tx_bytes_total", 1),
    198: ("pcie_rx_bytes_total", 1),
    213: ("nvlink_recovery_total", 1),
    230: ("recovery_action", 1),
}
#: attribute of the value union by value type: double, uint, ulong, ulonglong, longlong, int, ushort
_UNION = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


@dataclass
class Board:
    """One GPU and what is known of it."""

    uuid: str
    index: int
    model: str
    handle: Any
    info: dict[str, str]
    lost: bool = False
    #: call -> which of its alternatives this board has; past the last: none
    known: dict[str, int] = field(default_factory=dict)
    #: field ids that this board has
    fields: list[int] = field(default_factory=lambda: list(FIELDS))
    try_again_at: float = field(default_factory=lambda: time.monotonic() + TRY_AGAIN_SECONDS)


def read_fields(handle: Any, asked: list[Any]) -> list[float | None]:
    """Return the values of NVML fields (ids, or ids with scope); None for those that the board lacks."""
    values = pynvml.nvmlDeviceGetFieldValues(handle, asked)
    return [getattr(v.value, _UNION[v.valueType]) if v.nvmlReturn == 0 else None for v in values]


def _power(handle: Any) -> Values:
    # 185 is the mean over a second, 186 the instant; both need Ampere or newer, but not GA100.
    average, instant = read_fields(handle, [(185, 0), (186, 0)])
    if average is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return {"power_watts": average / 1e3} | ({} if instant is None else {"power_instant_watts": instant / 1e3})


def _power_usage(handle: Any) -> Values:
    return {"power_watts": pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3}


def _power_limit(handle: Any) -> Values:
    return {"power_limit_watts": pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3}


def _energy(handle: Any) -> Values:
    return {"energy_joules_total": pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3}


def _utilization(handle: Any) -> Values:
    rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return {"utilization_ratio": rates.gpu / 100, "memory_copy_ratio": rates.memory / 100}


def _memory(handle: Any) -> Values:
    # nvml.h contradicts itself on what `used` holds; total - reserved - free is what is allocated.
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    used = memory.total - memory.reserved - memory.free
    return {"memory_used_bytes": used, "memory_reserved_bytes": memory.reserved, "memory_total_bytes": memory.total}


def _memory_v1(handle: Any) -> Values:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return {"memory_used_bytes": memory.used, "memory_total_bytes": memory.total}


def _temperature(handle: Any) -> Values:
    return {"temperature_celsius": pynvml.nvmlDeviceGetTemperatureV(handle, 0)}


def _temperature_old(handle: Any) -> Values:
    return {"temperature_celsius": pynvml.nvmlDeviceGetTemperature(handle, 0)}


def _margin(handle: Any) -> Values:
    return {"temperature_margin_celsius": pynvml.nvmlDeviceGetMarginTemperature(handle)}


def _clocks(handle: Any) -> Values:
    return {
        "sm_clock_hertz": pynvml.nvmlDeviceGetClockInfo(handle, 1) * 1e6,
        "memory_clock_hertz": pynvml.nvmlDeviceGetClockInfo(handle, 2) * 1e6,
        "sm_clock_max_hertz": pynvml.nvmlDeviceGetMaxClockInfo(handle, 1) * 1e6,
    }


def _events(handle: Any) -> Values:
    return {"clock_event_mask": pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)}


def _events_old(handle: Any) -> Values:
    return {"clock_event_mask": pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)}


def _nvlink(handle: Any) -> Values:
    sent, received = read_fields(handle, [(138, ALL_LINKS), (139, ALL_LINKS)])
    if sent is None or received is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return {"nvlink_tx_bytes_total": sent * 1024, "nvlink_rx_bytes_total": received * 1024}


def _nvlink_per_link(handle: Any) -> Values:
    # NVLink 5 (Blackwell) counts bytes per link.
    links = range(pynvml.NVML_NVLINK_MAX_LINKS)
    values = read_fields(handle, [(field_id, link) for field_id in (202, 204) for link in links])
    sent, received = ([v for v in part if v is not None] for part in (values[: len(links)], values[len(links) :]))
    if not sent or not received:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return {"nvlink_tx_bytes_total": sum(sent), "nvlink_rx_bytes_total": sum(received)}


def _nvlink_down(handle: Any) -> Values:
    states = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            states.append(pynvml.nvmlDeviceGetNvLinkState(handle, link))
        except pynvml.NVMLError as error:
            if error.value in LOST or not states:
                raise
            break
    return {"nvlink_down_count": states.count(0)}


def _pcie(handle: Any) -> Values:
    return {
        "pcie_replay_total": pynvml.nvmlDeviceGetPcieReplayCounter(handle),
        "pcie_generation": pynvml.nvmlDeviceGetCurrPcieLinkGeneration(handle),
        "pcie_width": pynvml.nvmlDeviceGetCurrPcieLinkWidth(handle),
    }


def _ecc(handle: Any) -> Values:
    return {
        "ecc_corrected_total": pynvml.nvmlDeviceGetTotalEccErrors(handle, 0, 0),
        "ecc_uncorrected_total": pynvml.nvmlDeviceGetTotalEccErrors(handle, 1, 0),
    }


def _rows(handle: Any) -> Values:
    corrected, uncorrected, pending, failure = pynvml.nvmlDeviceGetRemappedRows(handle)
    return {
        "rows_remapped_total": corrected + uncorrected,
        "row_remap_pending": int(pending != 0),
        "row_remap_failure": int(failure != 0),
    }


def _processes(handle: Any) -> Values:
    return {"process_count": len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle))}


def _fabric(handle: Any) -> Values:
    fabric = pynvml.c_nvmlGpuFabricInfo_v3_t()
    pynvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(fabric))
    return {"fabric_state": fabric.state, "fabric_health_mask": fabric.healthMask}


Call = Callable[[Any], Values]
#: what is read at each poll; of several ways, the first that the board has
CALLS: Mapping[str, tuple[Call, ...]] = {
    "power": (_power, _power_usage),
    "limit": (_power_limit,),
    "energy": (_energy,),
    "utilization": (_utilization,),
    "memory": (_memory, _memory_v1),
    "temperature": (_temperature, _temperature_old),
    "margin": (_margin,),
    "clocks": (_clocks,),
    "events": (_events, _events_old),
    "nvlink": (_nvlink, _nvlink_per_link),
    "nvlink_down": (_nvlink_down,),
    "pcie": (_pcie,),
    "ecc": (_ecc,),
    "rows": (_rows,),
    "processes": (_processes,),
    "fabric": (_fabric,),
}


def read_info(handle: Any) -> dict[str, str]:
    """Return who the board is: the fields of `gpu_info` that it can tell."""
    platform, fabric = pynvml.c_nvmlPlatformInfo_v2_t(), pynvml.c_nvmlGpuFabricInfo_v3_t()

    def about_platform() -> dict[str, Any]:
        pynvml.nvmlDeviceGetPlatformInfo(handle, ctypes.byref(platform))
        serial = platform.chassisSerialNumber.decode(errors="replace").strip()
        return {"chassis_serial": serial, "slot": ord(platform.slotNumber), "tray": ord(platform.trayIndex)}

    def about_fabric() -> dict[str, Any]:
        pynvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(fabric))
        cluster = bytes(fabric.clusterUuid)
        return {"cluster_uuid": cluster.hex(), "clique_id": fabric.cliqueId} if any(cluster) else {}

    sources: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: {"driver": pynvml.nvmlSystemGetDriverVersion()},
        lambda: {"vbios": pynvml.nvmlDeviceGetVbiosVersion(handle)},
        lambda: {"serial": pynvml.nvmlDeviceGetSerial(handle)},
        lambda: {"pci_bus_id": pynvml.nvmlDeviceGetPciInfo_v3(handle).busId},
        lambda: {"module_id": pynvml.nvmlDeviceGetModuleId(handle)},
        about_platform,
        about_fabric,
    )
    info: dict[str, str] = {}
    for source in sources:
        try:
            found = source()
        except AttributeError:
            continue  # the installed binding is older than the call
        except pynvml.NVMLError as error:
            if error.value in LOST:
                raise
            continue
        texts = {name: v.decode() if isinstance(v, bytes) else str(v) for name, v in found.items()}
        info |= {name: text for name, text in texts.items() if text}
    return info


class Driver:
    """NVML with all boards that it ever showed."""

    def __init__(self, library: str) -> None:
        """Attach another library than the system's, if one is named.

        Raises:
            OSError: it cannot be loaded.
        """
        self._boards: dict[str, Board] = {}
        self._list_at = 0.0
        self._open = False
        if library.endswith(".py"):
            spec = importlib.util.spec_from_file_location("stand_in", library)
            if spec is None or spec.loader is None:
                raise OSError(f"{library}: no Python file")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            pynvml.nvmlLib = module.open_library()
        elif library:
            # Loaded first and for all, it is what the binding's own CDLL("libnvidia-ml.so.1") then finds.
            self._library = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)

    def poll(self) -> dict[str, Any]:
        """Return the readings of all boards, or the error that keeps us from any."""
        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open = True
            if time.monotonic() >= self._list_at:
                self._list()
            gpus = [self._read(board) for board in self._boards.values()]
            if gpus and all("stale" in gpu for gpu in gpus):
                raise pynvml.NVMLError(gpus[0]["stale"])
            return {"gpus": gpus}
        except pynvml.NVMLError as error:
            self._close()
            return {"error": error.value, "text": str(error)}

    def _close(self) -> None:
        self._list_at = 0.0
        if self._open:
            self._open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                pass  # it is gone already

    def _list(self) -> None:
        """Take up boards that are new or back; those that are not to be seen are lost."""
        count, missing = pynvml.nvmlDeviceGetCount(), set(self._boards)
        refused: pynvml.NVMLError | None = None
        for index in range(count):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = pynvml.nvmlDeviceGetUUID(handle)
                board = Board(uuid, index, pynvml.nvmlDeviceGetName(handle), handle, read_info(handle))
            except pynvml.NVMLError as error:
                refused = error
                continue
            old = self._boards.get(uuid)
            if old is not None and old.info == board.info and time.monotonic() < old.try_again_at:
                board.known, board.fields, board.try_again_at = old.known, old.fields, old.try_again_at
            self._boards[uuid] = board
            missing.discard(uuid)
        if refused is not None and not self._boards:
            raise refused
        for uuid in missing:
            self._boards[uuid].lost = True
        self._list_at = time.monotonic() + LIST_AGAIN_SECONDS

    def _read(self, board: Board) -> dict[str, Any]:
        answer: dict[str, Any] = {"gpu": board.uuid, "index": board.index, "model": board.model, "info": board.info}
        values: Values = {"lost": 0}
        errors: dict[str, str] = {}
        try:
            if board.lost:
                board.handle = pynvml.nvmlDeviceGetHandleByUUID(board.uuid)
                board.lost = False
            for name, ways in CALLS.items():
                values |= _call(board, name, ways, errors)
            values |= _call(board, "fields", (lambda _: _read_batch(board),), errors)
        except pynvml.NVMLError as error:
            if error.value in STALE:
                return answer | {"values": {}, "errors": {"nvml": str(error)}, "stale": error.value, "read_at": 0.0}
            # Whatever was read before it fell is not believed.
            board.lost, values, errors = True, {"lost": 1}, {}
        return answer | {"values": values, "errors": errors, "read_at": time.monotonic()}


def _call(board: Board, name: str, ways: tuple[Call, ...], errors: dict[str, str]) -> Values:
    """Return what the first way that the board has gives; an error that is of this call alone is noted.

    Raises:
        NVMLError: the board is lost, or NVML itself is gone.
    """
    while (way := board.known.get(name, 0)) < len(ways):
        try:
            return ways[way](board.handle)
        except AttributeError:
            board.known[name] = way + 1  # the installed binding is older than the call
        except pynvml.NVMLError as error:
            if error.value in LOST or error.value in STALE:
                raise
            if error.value not in ABSENT:
                errors[name] = str(error)
                return {}
            board.known[name] = way + 1
    return {}


def _read_batch(board: Board) -> Values:
    """Return the single fields, all in one call."""
    if not board.fields:
        return {}
    values = dict(zip(board.fields, read_fields(board.handle, list(board.fields)), strict=True))
    board.fields = [field_id for field_id in board.fields if values[field_id] is not None]
    readings: Values = {}
    for field_id, value in values.items():
        name, unit = FIELDS[field_id]
        if value is not None:
            readings[name] = value * unit
    # Boards without a memory sensor say 0.
    if not readings.get("memory_temperature_celsius", 1):
        del readings["memory_temperature_celsius"]
    return readings


def main(arguments: list[str]) -> None:
    """Answer requests until the input ends."""
    driver: Driver | None = None
    for line in sys.stdin:
        answer: dict[str, Any] = {"request": int(line)}
        try:
            driver = driver or Driver(arguments[0] if arguments else "")
            answer |= driver.poll()
        except OSError as error:
            answer |= {"error": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "text": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
