"""The state file of the simulated NVML, and a stand-in for the library in Python where no C compiler is at hand.

A collector loads a copy of this file by its path, the state beside it: `pynvml.nvmlLib = open_library()`. It has the
symbols of a healthy board behind the same binding as `nvml.c`, with the same answers; what it cannot show is loading
and calling a shared library, scenarios, MIG and events. It uses the standard library only, since it runs outside our
package.
"""

import ctypes
import math
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

STATE = "nvml.state"
VERSION = b"TWNVML2\0"
#: length of one step of the physics: counters are carried on so far beyond the file's time
STEP_SECONDS = 1.0
SLOWDOWN_CELSIUS = 87.0
#: one number per GPU, in this order; a counter is followed by its rate per second; NaN: the board has no such quantity
COLUMNS = (
    "power_watts", "power_limit_watts", "energy_joules", "energy_rate", "utilization_ratio", "memory_copy_ratio",
    "memory_total_bytes", "memory_reserved_bytes", "memory_used_bytes", "temperature_celsius",
    "memory_temperature_celsius", "sm_clock_hertz", "sm_clock_max_hertz", "memory_clock_hertz", "clock_event_mask",
    "throttle_power_seconds", "throttle_power_rate", "throttle_thermal_seconds", "throttle_thermal_rate",
    "nvlink_tx_bytes", "nvlink_tx_rate", "nvlink_rx_bytes", "nvlink_rx_rate", "process_count", "lost",
    "sm_active_ratio", "sm_occupancy_ratio", "tensor_active_ratio", "dram_active_ratio", "xid",
)  # fmt: skip
#: version, number of GPUs, calls block, epoch seconds of the state, factory's clock minus the system's, seconds by
#: which the first board's energy comes late, texts
HEADER = struct.Struct("<8siiddd64s32s32s")
#: UUID, serial number, PCI address, the columns
GPU = struct.Struct(f"<48s32s32s{len(COLUMNS)}d")

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, INSUFFICIENT_SIZE = 0, 1, 2, 3, 6, 7
DRIVER_NOT_LOADED, GPU_IS_LOST, ARGUMENT_VERSION_MISMATCH = 9, 15, 25
LINKS, ALL_LINKS = 18, 0xFFFFFFFF

_ERRORS = {
    SUCCESS: b"Success",
    UNINITIALIZED: b"Uninitialized",
    INVALID_ARGUMENT: b"Invalid Argument",
    NOT_SUPPORTED: b"Not Supported",
    NOT_FOUND: b"Not Found",
    INSUFFICIENT_SIZE: b"Insufficient Size",
    DRIVER_NOT_LOADED: b"Driver Not Loaded",
    GPU_IS_LOST: b"GPU is lost",
    ARGUMENT_VERSION_MISMATCH: b"Argument version mismatch",
}


Names = dict[str, bytes]


class Board:
    """One GPU as the state file has it, its counters carried on to now."""

    def __init__(self, index: int, record: tuple[Any, ...], seconds: float) -> None:
        self.index = index
        self.uuid, self.serial, self.pci = (text.rstrip(b"\0") for text in record[:3])
        self.value = dict(zip(COLUMNS, record[3:], strict=True))
        self._seconds = seconds

    def counter(self, name: str, factor: float = 1.0) -> float:
        """Return a counter as it is now."""
        count = factor * (self.value[name] + self.value[COLUMNS[COLUMNS.index(name) + 1]] * self._seconds)
        return count if math.isnan(count) else float(math.floor(count))


#: symbol -> the number that it gives
_GETTERS: dict[str, Callable[[Board], float]] = {
    "nvmlDeviceGetIndex": lambda b: b.index,
    "nvmlDeviceGetMinorNumber": lambda b: b.index,
    "nvmlDeviceGetModuleId": lambda b: b.index + 1,
    "nvmlDeviceGetPowerUsage": lambda b: b.value["power_watts"] * 1e3,
    "nvmlDeviceGetEnforcedPowerLimit": lambda b: b.value["power_limit_watts"] * 1e3,
    "nvmlDeviceGetPowerManagementLimit": lambda b: b.value["power_limit_watts"] * 1e3,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda b: b.value["clock_event_mask"],
    "nvmlDeviceGetPcieReplayCounter": lambda b: 0,
    "nvmlDeviceGetCurrPcieLinkGeneration": lambda b: 5,
    "nvmlDeviceGetCurrPcieLinkWidth": lambda b: 16,
}
#: GPM metric -> the number that it gives, in percent
_METRICS: dict[int, Callable[[Board], float]] = {
    2: lambda b: b.value["sm_active_ratio"] * 100,
    3: lambda b: b.value["sm_occupancy_ratio"] * 100,
    5: lambda b: b.value["tensor_active_ratio"] * 100,
    10: lambda b: b.value["dram_active_ratio"] * 100,
}
_Field = tuple[Callable[[Board], float], int, bool]
_ZERO: _Field = (lambda b: 0, 0, True)
_LIMIT: _Field = (lambda b: b.value["power_limit_watts"] * 1e3, 0, False)
#: field id -> the number that it gives, its scope, and whether it is 64 bits wide
_FIELDS: dict[int, _Field] = {
    38: _ZERO,
    45: _ZERO,
    52: _ZERO,
    59: _ZERO,
    74: (lambda b: b.counter("throttle_power_seconds", 1e9), 0, True),
    75: (lambda b: b.counter("throttle_thermal_seconds", 1e9), 0, True),
    76: _ZERO,
    77: _ZERO,
    78: _ZERO,
    79: _ZERO,
    82: (lambda b: b.value["memory_temperature_celsius"], 0, False),
    83: (lambda b: b.counter("energy_joules", 1e3), 0, True),
    138: (lambda b: b.counter("nvlink_tx_bytes", 1 / 1024), ALL_LINKS, True),
    139: (lambda b: b.counter("nvlink_rx_bytes", 1 / 1024), ALL_LINKS, True),
    185: (lambda b: b.value["power_watts"] * 1e3, 0, False),
    186: (lambda b: b.value["power_watts"] * 1e3, 0, False),
    188: _LIMIT,
    189: _LIMIT,
    190: _LIMIT,
    191: (lambda b: b.counter("energy_joules", 1e3), 0, True),
    192: _LIMIT,
    230: (lambda b: 0, 0, False),
}


class Library:
    """What `ctypes.CDLL("libnvidia-ml.so.1")` would be: its attributes are the symbols, which return NVML's codes."""

    def __init__(self, state: Path) -> None:
        self._path = state
        self.references = 0
        self.delay = 0.0
        #: GPM samples by number: the board and the epoch seconds at which it was asked
        self.samples: dict[int, tuple[Board, float] | None] = {}

    def __getattr__(self, symbol: str) -> Callable[..., Any]:
        if symbol in _GETTERS:
            return partial(_get, self, _GETTERS[symbol])
        if symbol in _TEXTS:
            return partial(_text, self, _TEXTS[symbol])
        if symbol in _CALLS:
            return partial(_CALLS[symbol], self)
        raise AttributeError(symbol)

    def read(self) -> tuple[Names, list[Board]]:
        """Return the names and boards of the state file; blocks while the file says so.

        Raises:
            OSError: there is no such state.
        """
        while True:
            data = self._path.read_bytes()
            version, count, hang, when, offset, self.delay, *texts = HEADER.unpack_from(data)
            if version != VERSION:
                raise OSError(f"{self._path}: not a state of this version")
            if not hang:
                break
            time.sleep(0.02)
        seconds = min(max(0.0, time.time() + offset - when), STEP_SECONDS)
        records = GPU.iter_unpack(data[HEADER.size : HEADER.size + count * GPU.size])
        names = dict(zip(("model", "driver", "vbios"), (text.rstrip(b"\0") for text in texts), strict=True))
        return names, [Board(index, record, seconds) for index, record in enumerate(records)]

    def open(self, handle: Any) -> tuple[int, Names, Board]:
        """Return an error code, the names and the board behind a handle, which is its number from one on."""
        nothing: tuple[Names, Board] = ({}, Board(0, (b"", b"", b"", *(math.nan for _ in COLUMNS)), 0.0))
        if not self.references:
            return UNINITIALIZED, *nothing
        try:
            names, boards = self.read()
        except OSError:
            return DRIVER_NOT_LOADED, *nothing
        number = ctypes.c_void_p.from_buffer(handle).value or 0
        if not 1 <= number <= len(boards):
            return INVALID_ARGUMENT, *nothing
        board = boards[number - 1]
        return GPU_IS_LOST if board.value["lost"] else SUCCESS, names, board


def open_library() -> Library:
    """Return the stand-in that answers from the state file beside this one."""
    return Library(Path(__file__).with_name(STATE))


def _give(out: Any, name: str, number: float) -> int:
    if math.isnan(number):
        return NOT_SUPPORTED
    setattr(out, name, int(number))
    return SUCCESS


def _get(library: Library, read: Callable[[Board], float], handle: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    return error or _give(out._obj, "value", read(board))


def _text(library: Library, read: Callable[[Names, Board], bytes], handle: Any, out: Any, _size: Any) -> int:
    error, names, board = library.open(handle)
    if not error:
        out.value = read(names, board)
    return error


def _init(library: Library, _flags: Any) -> int:
    try:
        library.read()
    except OSError:
        return DRIVER_NOT_LOADED
    library.references += 1
    return SUCCESS


def _shutdown(library: Library) -> int:
    library.references -= 1
    return SUCCESS


def _error_string(_library: Library, error: int) -> bytes:
    return _ERRORS.get(error, b"Unknown Error")


def _driver(library: Library, out: Any, _size: Any) -> int:
    out.value = library.read()[0]["driver"]
    return SUCCESS


def _count(library: Library, out: Any) -> int:
    out._obj.value = len(library.read()[1])
    return SUCCESS


def _handle(library: Library, index: Any, out: Any) -> int:
    ctypes.c_void_p.from_buffer(out._obj).value = getattr(index, "value", index) + 1
    return library.open(out._obj)[0]


def _handle_by_uuid(library: Library, uuid: Any, out: Any) -> int:
    index = next((board.index for board in library.read()[1] if board.uuid == uuid.value), None)
    return NOT_FOUND if index is None else _handle(library, index, out)


def _energy(library: Library, handle: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    if not error and not board.index:
        time.sleep(library.delay)
    return error or _get(library, lambda board: board.counter("energy_joules", 1e3), handle, out)


def _pci(library: Library, handle: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    if not error:
        out._obj.busId = board.pci
        out._obj.busIdLegacy = board.pci[4:]
    return error


def _utilization(library: Library, handle: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    if error or math.isnan(board.value["utilization_ratio"]):
        return error or NOT_SUPPORTED
    out._obj.gpu = round(board.value["utilization_ratio"] * 100)
    out._obj.memory = round(board.value["memory_copy_ratio"] * 100)
    return SUCCESS


def _memory(library: Library, handle: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    if not error:
        memory = out._obj
        memory.total, memory.reserved, memory.used = (
            int(board.value[f"memory_{name}_bytes"]) for name in ("total", "reserved", "used")
        )
        memory.free = memory.total - memory.reserved - memory.used
    return error


def _temperature(library: Library, handle: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    return error or _give(out._obj, "temperature", board.value["temperature_celsius"])


def _margin(library: Library, handle: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    return error or _give(out._obj, "marginTemperature", SLOWDOWN_CELSIUS - int(board.value["temperature_celsius"]))


def _clock(library: Library, handle: Any, kind: Any, out: Any) -> int:
    column = "memory_clock_hertz" if getattr(kind, "value", kind) == 2 else "sm_clock_hertz"
    return _get(library, lambda board: board.value[column] / 1e6, handle, out)


def _max_clock(library: Library, handle: Any, kind: Any, out: Any) -> int:
    column = "memory_clock_hertz" if getattr(kind, "value", kind) == 2 else "sm_clock_max_hertz"
    return _get(library, lambda board: board.value[column] / 1e6, handle, out)


def _ecc(library: Library, handle: Any, _type: Any, _place: Any, out: Any) -> int:
    return _get(library, lambda board: 0, handle, out)


def _remapped_rows(library: Library, handle: Any, *out: Any) -> int:
    return max(_get(library, lambda board: 0, handle, each) for each in out)


def _link_state(library: Library, handle: Any, link: Any, out: Any) -> int:
    if getattr(link, "value", link) >= LINKS:
        return INVALID_ARGUMENT
    return _get(library, lambda board: 1, handle, out)


def _processes(library: Library, handle: Any, count: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    if error:
        return error
    running, room = int(board.value["process_count"]), count._obj.value
    count._obj.value = running
    if running > room:
        return INSUFFICIENT_SIZE
    for index in range(running):
        out[index].pid = 1000 + index
        out[index].usedGpuMemory = int(board.value["memory_used_bytes"] / running)
    return SUCCESS


def _fields(library: Library, handle: Any, _count: Any, out: Any) -> int:
    error, _, board = library.open(handle)
    for field in () if error else out._obj:
        read, scope, wide = _FIELDS.get(field.fieldId, (None, 0, False))
        number = read(board) if read is not None and scope == field.scopeId else math.nan
        field.nvmlReturn = _give(field.value, "ullVal" if wide else "uiVal", number)
        if not field.nvmlReturn:
            field.valueType = 3 if wide else 1
    return error


def _gpm_support(library: Library, handle: Any, out: Any) -> int:
    error, _, _ = library.open(handle)
    out._obj.isSupportedDevice = int(not error)
    return error


def _gpm_alloc(library: Library, out: Any) -> int:
    number = max(library.samples, default=0) + 1
    library.samples[number] = None
    ctypes.c_void_p.from_buffer(out._obj).value = number
    return SUCCESS


def _number(sample: Any) -> int:
    return ctypes.cast(sample, ctypes.c_void_p).value or 0


def _gpm_free(library: Library, sample: Any) -> int:
    return INVALID_ARGUMENT if library.samples.pop(_number(sample), 0) == 0 else SUCCESS


def _gpm_sample(library: Library, handle: Any, sample: Any) -> int:
    error, _, board = library.open(handle)
    if not error:
        library.samples[_number(sample)] = (board, time.time())
    return error


def _gpm_metrics(library: Library, out: Any) -> int:
    request = out._obj
    first, last = (library.samples.get(_number(sample)) for sample in (request.sample1, request.sample2))
    if not first or not last or last[0].index != first[0].index or last[1] <= first[1]:
        return INVALID_ARGUMENT
    for metric in request.metrics[: request.numMetrics]:
        read = _METRICS.get(metric.metricId)
        metric.value = read(last[0]) if read else 0.0
        metric.nvmlReturn = SUCCESS if read else NOT_SUPPORTED
    return SUCCESS


_TEXTS: dict[str, Callable[[Names, Board], bytes]] = {
    "nvmlDeviceGetUUID": lambda names, board: board.uuid,
    "nvmlDeviceGetSerial": lambda names, board: board.serial,
    "nvmlDeviceGetName": lambda names, board: names["model"],
    "nvmlDeviceGetVbiosVersion": lambda names, board: names["vbios"],
}
_CALLS: dict[str, Callable[..., Any]] = {
    "nvmlInitWithFlags": _init,
    "nvmlShutdown": _shutdown,
    "nvmlErrorString": _error_string,
    "nvmlSystemGetDriverVersion": _driver,
    "nvmlSystemGetNVMLVersion": _driver,
    "nvmlDeviceGetCount_v2": _count,
    "nvmlDeviceGetHandleByIndex_v2": _handle,
    "nvmlDeviceGetHandleByUUID": _handle_by_uuid,
    "nvmlDeviceGetTotalEnergyConsumption": _energy,
    "nvmlDeviceGetPciInfo_v3": _pci,
    "nvmlDeviceGetUtilizationRates": _utilization,
    "nvmlDeviceGetMemoryInfo_v2": _memory,
    "nvmlDeviceGetTemperatureV": _temperature,
    "nvmlDeviceGetMarginTemperature": _margin,
    "nvmlDeviceGetClockInfo": _clock,
    "nvmlDeviceGetMaxClockInfo": _max_clock,
    "nvmlDeviceGetTotalEccErrors": _ecc,
    "nvmlDeviceGetRemappedRows": _remapped_rows,
    "nvmlDeviceGetNvLinkState": _link_state,
    "nvmlDeviceGetComputeRunningProcesses_v3": _processes,
    "nvmlDeviceGetFieldValues": _fields,
    "nvmlGpmQueryDeviceSupport": _gpm_support,
    "nvmlGpmSampleAlloc": _gpm_alloc,
    "nvmlGpmSampleFree": _gpm_free,
    "nvmlGpmSampleGet": _gpm_sample,
    "nvmlGpmMetricsGet": _gpm_metrics,
}
