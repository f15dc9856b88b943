"""Who a board is: what `gpu_info` tells, and what decides how it is read.

Source: NVIDIA nvml.h, API 13.
"""

import ctypes
import re
from collections.abc import Mapping
from typing import Any

import pynvml

from collectors.nvml.agent.calls import LOST, Calls

_AMPERE, _UNKNOWN = 7, 0xFFFFFFFF
#: products on GA100, whose power call gives the instant though they are Ampere
_GA100 = re.compile(r"\b(A100|A800|A30|A30X|A100X)\b")


def read_info(calls: Calls, handle: Any, driver: str) -> dict[str, str]:
    """Return the fields of `gpu_info` that the board can tell.

    Raises:
        NVMLError: the board is lost.
    """
    pci = calls.probe("nvmlDeviceGetPciInfo_v3", handle)
    found: dict[str, Any] = {
        "driver": driver,
        "vbios": calls.probe("nvmlDeviceGetVbiosVersion", handle),
        "serial": calls.probe("nvmlDeviceGetSerial", handle),
        "pci_bus_id": pci and pci.busId,
        "module_id": calls.probe("nvmlDeviceGetModuleId", handle),
        **_platform(calls, handle),
        **read_fabric(calls, handle),
    }
    texts = {name: _text(value) for name, value in found.items() if value is not None}
    return {name: text for name, text in texts.items() if text}


def _text(value: Any) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()


def _platform(calls: Calls, handle: Any) -> Mapping[str, Any]:
    """Blackwell and later tell where they stand in the rack."""
    if not hasattr(pynvml, "c_nvmlPlatformInfo_v2_t"):
        return {}
    platform = pynvml.c_nvmlPlatformInfo_v2_t()
    if calls.probe("nvmlDeviceGetPlatformInfo", handle, ctypes.byref(platform)) is None:
        return {}
    return {
        "chassis_serial": platform.chassisSerialNumber,
        "slot": ord(platform.slotNumber),
        "tray": ord(platform.trayIndex),
        "module_id": ord(platform.moduleId),
    }


def read_fabric(calls: Calls, handle: Any) -> Mapping[str, str]:
    """Return the NVLink domain of `gpu_info`: cluster UUID and clique; nothing where there is none yet."""
    for name in ("c_nvmlGpuFabricInfo_v3_t", "c_nvmlGpuFabricInfo_v2_t"):
        if not hasattr(pynvml, name):
            continue
        fabric = getattr(pynvml, name)()
        if calls.probe("nvmlDeviceGetGpuFabricInfoV", handle, ctypes.byref(fabric)) is not None:
            cluster = bytes(fabric.clusterUuid)
            return {"cluster_uuid": cluster.hex(), "clique_id": str(fabric.cliqueId)} if any(cluster) else {}
    return {}


def averages_power(calls: Calls, handle: Any, model: str) -> bool:
    """Say whether nvmlDeviceGetPowerUsage gives the mean over a second: on Ampere and later, but not on GA100."""
    architecture = calls.probe("nvmlDeviceGetArchitecture", handle)
    if architecture is None or architecture == _UNKNOWN:
        return True
    return bool(architecture >= _AMPERE) and not _GA100.search(model)


def has_module(calls: Calls, handle: Any) -> bool:
    """Say whether the board stands on a module with a CPU: they are joined by C2C.

    A driver without that call is older than any module, and knows no scope of power either: it would give the board's.
    """
    try:
        return bool(calls("nvmlDeviceGetC2cModeInfoV", handle).isC2cEnabled)
    except pynvml.NVMLError as error:
        if error.value in LOST:
            raise
        return False


def socket_of(devices: str, bus_id: str) -> str:
    """Return the NUMA node that a board is at, by its PCI address: of a module, its CPU; "" where that is unknown.

    NVML's module id is no key of a module: NVIDIA gives it as the id of the GPU within the node, one per GPU. Boards on
    one CPU are on one module, and tell one and the same module power.
    Source: NVIDIA's own exporter of module power, 2026, which groups by this file: `cat
    /sys/bus/pci/devices/*/numa_node`.
    """
    # NVML has eight digits of domain, in capitals; Linux four or more, in small letters.
    domain, _, rest = bus_id.lower().partition(":")
    try:
        with open(f"{devices}/{domain[-4:]}:{rest}/numa_node", encoding="ascii") as file:  # noqa: PTH123
            node = file.read().strip()
    except (OSError, ValueError):
        return ""
    return node if node.isdigit() else ""
