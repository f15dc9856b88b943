"""The page that NVIDIA dcgm-exporter 4.8 prints for one host: same families, labels, order and number formats.

Source: NVIDIA/dcgm-exporter, row template of internal/pkg/rendermetrics and etc/default-counters.csv; label `hostname`
as spelled since May 2026. A GPU that is lost vanishes from the page, as it does from DCGM.
"""

from typing import NamedTuple

import numpy as np

from collectors.simulator.factory import Factory
from collectors.simulator.host_gpus import HostGpus, Read
from collectors.simulator.layout import Host
from collectors.simulator.state import Floats, Gpus

DRIVER = "580.95.05"
#: what the page's rates of PCIe make of a full copy engine. Units: bytes per second
_PCIE_BYTES_PER_SECOND = 20e9
_MIB = 2.0**20


class Family(NamedTuple):
    """One metric: how it is named and printed, and where the factory has it (at epoch seconds, for counters)."""

    name: str
    kind: str
    help: str
    form: str
    read: Read


def _none(_gpus: Gpus, _part: slice, _now: float) -> float:
    return 0.0


def _used_mib(gpus: Gpus, part: slice, _now: float) -> Floats:
    return gpus.memory_used_bytes[part] / _MIB


def _free_mib(gpus: Gpus, part: slice, now: float) -> Floats:
    return (gpus.memory_total_bytes - gpus.memory_reserved_bytes) / _MIB - _used_mib(gpus, part, now)


def _nvlink_mib(gpus: Gpus, part: slice, now: float) -> Floats:
    return (gpus.nvlink_tx_bytes.at(now, part) + gpus.nvlink_rx_bytes.at(now, part)) / _MIB


def _pcie(gpus: Gpus, part: slice, _now: float) -> Floats:
    return gpus.memory_copy_ratio[part] * _PCIE_BYTES_PER_SECOND


FAMILIES = (
    Family("DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).", "%d", lambda g, i, t: g.sm_clock_hertz[i] / 1e6),
    Family("DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", "%d",
           lambda g, i, t: g.memory_clock_hertz / 1e6),
    Family("DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C).", "%d",
           lambda g, i, t: g.memory_temperature_celsius[i]),
    Family("DEV_GPU_TEMP", "gauge", "GPU temperature (in C).", "%d", lambda g, i, t: g.temperature_celsius[i]),
    Family("DEV_POWER_USAGE", "gauge", "Power draw (in W).", "%.6f", lambda g, i, t: g.power_watts[i]),
    Family("DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ).", "%d",
           lambda g, i, t: g.energy_joules.at(t, i) * 1e3),
    Family("DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", "%d", _none),
    Family("DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", "%d",
           lambda g, i, t: np.rint(g.utilization_ratio[i] * 100)),
    Family("DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %).", "%d",
           lambda g, i, t: np.rint(g.memory_copy_ratio[i] * 100)),
    Family("DEV_ENC_UTIL", "gauge", "Encoder utilization (in %).", "%d", _none),
    Family("DEV_DEC_UTIL", "gauge", "Decoder utilization (in %).", "%d", _none),
    Family("DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered.", "%d", lambda g, i, t: g.xid[i]),
    Family("DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB).", "%d", _free_mib),
    Family("DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", "%d", _used_mib),
    Family("DEV_FB_RESERVED", "gauge", "Framebuffer memory reserved (in MiB).", "%d",
           lambda g, i, t: g.memory_reserved_bytes / _MIB),
    Family("DEV_FB_TOTAL", "gauge", "Total framebuffer memory (in MiB).", "%d",
           lambda g, i, t: g.memory_total_bytes / _MIB),
    Family("DEV_NVLINK_BANDWIDTH_TOTAL", "counter", "Total number of NVLink bandwidth counters for all lanes.", "%d",
           _nvlink_mib),
    Family("DEV_VGPU_LICENSE_STATUS", "gauge", "vGPU License status", "%d", _none),
    Family("DEV_UNCORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for uncorrectable errors", "%d",
           _none),
    Family("DEV_CORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for correctable errors", "%d", _none),
    Family("DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed", "%d", _none),
    Family("DEV_ENFORCED_POWER_LIMIT", "gauge", "Power limit that the driver enforces (in W).", "%.6f",
           lambda g, i, t: g.power_limit_watts),
    Family("DEV_CLOCKS_EVENT_REASONS", "gauge", "Current clock event reasons (bit mask).", "%d",
           lambda g, i, t: g.clock_event_mask[i]),
    Family("DEV_POWER_VIOLATION", "counter", "Throttling duration due to power constraints (in ns).", "%d",
           lambda g, i, t: g.throttle_power_seconds.at(t, i) * 1e9),
    Family("DEV_THERMAL_VIOLATION", "counter", "Throttling duration due to thermal constraints (in ns).", "%d",
           lambda g, i, t: g.throttle_thermal_seconds.at(t, i) * 1e9),
    Family("PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active.", "%.6f",
           lambda g, i, t: g.utilization_ratio[i]),
    Family("PROF_SM_ACTIVE", "gauge", "Ratio of cycles an SM has at least one warp assigned.", "%.6f",
           lambda g, i, t: g.sm_active_ratio[i]),
    Family("PROF_SM_OCCUPANCY", "gauge", "Ratio of warps resident on an SM.", "%.6f",
           lambda g, i, t: g.sm_occupancy_ratio[i]),
    Family("PROF_PIPE_TENSOR_ACTIVE", "gauge", "Ratio of cycles the tensor (HMMA) pipe is active.", "%.6f",
           lambda g, i, t: g.tensor_active_ratio[i]),
    Family("PROF_DRAM_ACTIVE", "gauge", "Ratio of cycles the device memory interface is active.", "%.6f",
           lambda g, i, t: g.dram_active_ratio[i]),
    Family("PROF_PCIE_TX_BYTES", "gauge", "Rate of data sent over PCIe, in bytes per second.", "%d", _pcie),
    Family("PROF_PCIE_RX_BYTES", "gauge", "Rate of data received over PCIe, in bytes per second.", "%d", _pcie),
)  # fmt: skip


def pci_bus_id(place: int) -> str:
    """Return the PCI address of the GPU at that place of its host, as on an eight-GPU baseboard."""
    return f"00000000:{0x19 + 0x11 * place:02X}:00.0"


class DcgmPage:
    """One host's page. Lines are made once per set of living and assigned GPUs, then only numbers change."""

    def __init__(self, factory: Factory, host: Host) -> None:
        self._uuids = factory.layout.gpu_uuids[host.gpu_start : host.gpu_start + host.gpu_count]
        self._host = host
        self._gpus = HostGpus(factory, host)
        self._lines: tuple[bytes, str] = (b"", "")

    def render(self, now: float) -> str:
        """Return the page as it is at `now` (epoch seconds)."""
        alive = self._gpus.alive()
        assigned = self._gpus.state.assigned[self._gpus.part]
        key = alive.tobytes() + assigned.tobytes()
        if self._lines[0] != key:
            self._lines = (key, self._template(alive.tolist(), assigned.tolist()))
        return self._lines[1] % tuple(self._gpus.values((family.read for family in FAMILIES), now))

    def _template(self, alive: list[int], assigned: list[bool]) -> str:
        labels = [self._labels(place, assigned[place]) for place in alive]
        if not labels:
            return ""
        lines: list[str] = []
        for short, kind, words, form, _ in FAMILIES:
            name = f"DCGM_FI_{short}"
            lines += [f"# HELP {name} {words.replace('%', '%%')}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{{{block}}} {form}" for block in labels]
        return "\n".join(lines) + "\n"

    def _labels(self, place: int, assigned: bool) -> str:
        labels = {
            "gpu": place,
            "UUID": self._uuids[place],
            "pci_bus_id": pci_bus_id(place),
            "device": f"nvidia{place}",
            "modelName": self._host.gpu_model,
            "hostname": self._host.name,
            "DCGM_FI_DRIVER_VERSION": DRIVER,
        }
        if assigned and self._gpus.workload:
            labels |= {"container": "main", "namespace": self._gpus.namespace, "pod": self._gpus.pod}
        return ",".join(f'{name}="{value}"' for name, value in labels.items()).replace("%", "%%")
