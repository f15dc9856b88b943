"""What is read of a board, by which NVML call, in which tier; of several ways, the first that the board has.

Never called: nvmlDeviceGetPcieThroughput (blocks for 20 ms), nvmlDeviceGetSamples, nvmlDeviceGetViolationStatus,
nvmlDeviceGetTemperatureThreshold.

Source: NVIDIA nvml.h, API 13. The same numbers: `nvidia-smi -q`.
"""

import ctypes
from typing import Any

import pynvml

from collectors.nvml.agent import links
from collectors.nvml.agent.board import Board, Readings
from collectors.nvml.agent.calls import NOT_SUPPORTED, FieldId, Values
from collectors.nvml.agent.gpm import Gpm

AVERAGE, INSTANT = (185, 0), (186, 0)
MODULE_AVERAGE, MODULE_INSTANT = (185, 1), (186, 1)
SM_THERMAL, HW_THERMAL = (269, 0), (270, 0)
#: field -> schema field
THROTTLE: dict[FieldId, str] = {
    (74, 0): "throttle_power_seconds_total",
    (75, 0): "throttle_thermal_seconds_total",
    (76, 0): "throttle_sync_seconds_total",
    (271, 0): "throttle_brake_seconds_total",
}


def _power(board: Board) -> Values:
    """185 is the mean over a second, 186 the instant. Source: mW."""
    got = board.fields([AVERAGE, INSTANT])
    if AVERAGE not in got and INSTANT not in got:
        raise pynvml.NVMLError(NOT_SUPPORTED)
    instant = got.get(INSTANT)
    values = {"power_watts": got[AVERAGE] / 1e3 if AVERAGE in got else _usage(board, got[INSTANT]) / 1e3}
    if instant is not None:
        values["power_instant_watts"] = instant / 1e3
    return values


def _module_power(board: Board) -> Values:
    """Scope 1 is the module with its CPU, memory and GPUs; 0 is no reading. Source: mW."""
    got = board.fields([MODULE_AVERAGE, MODULE_INSTANT]) if board.tells_module else {}
    watts = got.get(MODULE_AVERAGE) or got.get(MODULE_INSTANT)
    return {"module_power_watts": watts / 1e3} if watts else {}


def _usage(board: Board, instant_mw: float) -> float:
    """A board without 185 may still keep a mean under the old call. Units: mW."""
    return float(board.call("nvmlDeviceGetPowerUsage")) if board.averages_power else instant_mw


def _power_usage(board: Board) -> Values:
    watts = board.call("nvmlDeviceGetPowerUsage") / 1e3
    return {"power_watts": watts} if board.averages_power else {"power_watts": watts, "power_instant_watts": watts}


def _energy(board: Board) -> Values:
    return {"energy_joules_total": board.call("nvmlDeviceGetTotalEnergyConsumption") / 1e3}


def _utilization(board: Board) -> Values:
    rates = board.call("nvmlDeviceGetUtilizationRates")
    return {"utilization_ratio": rates.gpu / 100, "memory_copy_ratio": rates.memory / 100}


def _sm_clock(board: Board) -> Values:
    return {"sm_clock_hertz": board.call("nvmlDeviceGetClockInfo", 1) * 1e6}


def _memory_clock(board: Board) -> Values:
    return {"memory_clock_hertz": board.call("nvmlDeviceGetClockInfo", 2) * 1e6}


def _events(board: Board) -> Values:
    return {"clock_event_mask": board.call("nvmlDeviceGetCurrentClocksEventReasons")}


def _events_old(board: Board) -> Values:
    return {"clock_event_mask": board.call("nvmlDeviceGetCurrentClocksThrottleReasons")}


def _gpm(board: Board) -> Values:
    if board.gpm is None:
        handle = board.handle if board.parent is None else board.parent
        board.gpm = Gpm(board.context.calls, handle, board.gpu_instance)
    return board.gpm.read(board.context.clock())


def _power_limit(board: Board) -> Values:
    return {"power_limit_watts": board.call("nvmlDeviceGetEnforcedPowerLimit") / 1e3}


def _memory(board: Board) -> Values:
    # nvml.h contradicts itself on what `used` holds; total - reserved - free is what is allocated.
    memory = board.call("nvmlDeviceGetMemoryInfo", version=pynvml.nvmlMemory_v2)
    used = memory.total - memory.reserved - memory.free
    return {"memory_used_bytes": used, "memory_reserved_bytes": memory.reserved, "memory_total_bytes": memory.total}


def _memory_v1(board: Board) -> Values:
    memory = board.call("nvmlDeviceGetMemoryInfo")
    return {"memory_used_bytes": memory.used, "memory_total_bytes": memory.total}


def _temperature(board: Board) -> Values:
    return {"temperature_celsius": board.call("nvmlDeviceGetTemperatureV", 0)}


def _temperature_old(board: Board) -> Values:
    return {"temperature_celsius": board.call("nvmlDeviceGetTemperature", 0)}


def _memory_temperature(board: Board) -> Values:
    # Boards without a sensor at the memory say 0.
    celsius = board.fields([(82, 0)]).get((82, 0))
    return {"memory_temperature_celsius": celsius} if celsius else {}


def _margin(board: Board) -> Values:
    return {"temperature_margin_celsius": board.call("nvmlDeviceGetMarginTemperature")}


def _throttle(board: Board) -> Values:
    """Time slowed down, by cause. 75 counts all that is thermal; without it 269 and 270 are its parts. Source: ns."""
    got = board.fields([*THROTTLE, SM_THERMAL, HW_THERMAL])
    values = {name: got[each] / 1e9 for each, name in THROTTLE.items() if each in got}
    parts = [got[each] for each in (SM_THERMAL, HW_THERMAL) if each in got]
    if (75, 0) not in got and parts:
        values["throttle_thermal_seconds_total"] = sum(parts) / 1e9
    return values


def _pcie_bytes(board: Board) -> Values:
    got = board.fields([(197, 0), (198, 0)])
    names = {(197, 0): "pcie_tx_bytes_total", (198, 0): "pcie_rx_bytes_total"}
    return {names[each]: value for each, value in got.items()}


def _pcie_replay(board: Board) -> Values:
    return {"pcie_replay_total": board.call("nvmlDeviceGetPcieReplayCounter")}


def _processes(board: Board) -> Values:
    return _of_processes(board, board.call("nvmlDeviceGetComputeRunningProcesses_v3"))


def _processes_old(board: Board) -> Values:
    return _of_processes(board, board.call("nvmlDeviceGetComputeRunningProcesses_v2"))


def _of_processes(board: Board, processes: list[Any]) -> Values:
    board.pids = tuple(process.pid for process in processes)
    held = [process.usedGpuMemory for process in processes if process.usedGpuMemory is not None]
    values: Values = {"process_count": len(processes)}
    return values | {"process_memory_bytes": sum(held)} if len(held) == len(processes) else values


def _ecc_corrected(board: Board) -> Values:
    return {"ecc_corrected_total": board.call("nvmlDeviceGetTotalEccErrors", 0, 0)}


def _ecc_uncorrected(board: Board) -> Values:
    return {"ecc_uncorrected_total": board.call("nvmlDeviceGetTotalEccErrors", 1, 0)}


def _rows(board: Board) -> Values:
    corrected, uncorrected, pending, failure = board.call("nvmlDeviceGetRemappedRows")
    return {
        "rows_remapped_total": corrected + uncorrected,
        "row_remap_pending": int(pending != 0),
        "row_remap_failure": int(failure != 0),
    }


def _recovery(board: Board) -> Values:
    got = board.fields([(230, 0)])
    return {"recovery_action": got[230, 0]} if got else {}


def _pcie_generation(board: Board) -> Values:
    return {"pcie_generation": board.call("nvmlDeviceGetCurrPcieLinkGeneration")}


def _pcie_width(board: Board) -> Values:
    return {"pcie_width": board.call("nvmlDeviceGetCurrPcieLinkWidth")}


def _max_clock(board: Board) -> Values:
    return {"sm_clock_max_hertz": board.call("nvmlDeviceGetMaxClockInfo", 1) * 1e6}


def _fabric(board: Board) -> Values:
    return _of_fabric(board, pynvml.c_nvmlGpuFabricInfo_v3_t)


def _fabric_v2(board: Board) -> Values:
    return _of_fabric(board, pynvml.c_nvmlGpuFabricInfo_v2_t)


def _of_fabric(board: Board, struct: Any) -> Values:
    fabric = struct()
    board.call("nvmlDeviceGetGpuFabricInfoV", ctypes.byref(fabric))
    values: Values = {"fabric_state": fabric.state}
    return values | {"fabric_health_mask": unhealthy(fabric.healthMask)} if fabric.state == 3 else values


def unhealthy(mask: int) -> int:
    """Return of NVML's fabric health mask what says that something is wrong, at its own bits; 0 is healthy.

    Degraded bandwidth, route recovery, route unhealthy and access timeout have two bits each, of which 1 is yes and
    2 is no; the four bits of incorrect configuration have 1 for none.
    """
    wrong = sum(1 << shift for shift in (0, 2, 4, 6) if mask >> shift & 0x3 == 1)
    configuration = mask >> 8 & 0xF
    return wrong | (configuration << 8 if configuration > 1 else 0)


FAST: Readings = {
    "power": (_power, _power_usage),
    "module_power": (_module_power,),
    "energy": (_energy,),
    "utilization": (_utilization,),
    "sm_clock": (_sm_clock,),
    "memory_clock": (_memory_clock,),
    "events": (_events, _events_old),
    "gpm": (_gpm,),
}
MEDIUM: Readings = {
    "power_limit": (_power_limit,),
    "memory": (_memory, _memory_v1),
    "temperature": (_temperature, _temperature_old),
    "memory_temperature": (_memory_temperature,),
    "margin": (_margin,),
    "throttle": (_throttle,),
    "nvlink": (links.traffic, links.traffic_per_link),
    "nvlink_recovery": (links.recoveries_per_link, links.recoveries),
    "nvlink_errors": (links.errors_per_link, links.errors),
    "nvlink_down": (links.down,),
    "pcie_bytes": (_pcie_bytes,),
    "pcie_replay": (_pcie_replay,),
    "processes": (_processes, _processes_old),
}
SLOW: Readings = {
    "ecc_corrected": (_ecc_corrected,),
    "ecc_uncorrected": (_ecc_uncorrected,),
    "rows": (_rows,),
    "recovery": (_recovery,),
    "pcie_generation": (_pcie_generation,),
    "pcie_width": (_pcie_width,),
    "fabric": (_fabric, _fabric_v2),
}
ONCE: Readings = {"max_clock": (_max_clock,)}
#: what an instance of a partitioned board has of its own
MIG_FAST: Readings = {"gpm": (_gpm,)}
MIG_MEDIUM: Readings = {"memory": (_memory, _memory_v1), "processes": (_processes, _processes_old)}
