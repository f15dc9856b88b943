"""The page that AMD's device-metrics-exporter prints for one host: names, labels, units and number format of v1.5.

Source: ROCm/device-metrics-exporter, pkg/amdgpu/gpuagent/gpuagent_gpu_metrics.go. All types are gauges, those that
count included; values are whole numbers. The UUID has no prefix and stands there because an operator asked for the
label `gpu_uuid`; labels without a value are there and empty. Profiler metrics are switched on. A GPU that is away is
left out.
"""

import math
from typing import NamedTuple

import numpy as np

from collectors.simulator.factory import Factory
from collectors.simulator.host_gpus import HostGpus, Read
from collectors.simulator.layout import Host
from collectors.simulator.state import Floats, Gpus
from collectors.simulator.vllm import go_float

#: what the exporter prints of an MI355X of 288 GB, in its "MB"
VRAM_MB = 294_896.0
XGMI_LINKS = 7
#: a full copy engine, in megabits per second
_PCIE_MBITS = 400_000.0
#: ticks of the residency counters in a second of throttling
_TICKS = 1_000.0


class Family(NamedTuple):
    """One metric: its name, its further labels, and where the factory has it (at epoch seconds, for counters)."""

    name: str
    help: str
    read: Read
    labels: str = ""


def _zero(_gpus: Gpus, _part: slice, _now: float) -> float:
    return 0.0


def _used(gpus: Gpus, part: slice) -> Floats:
    used: Floats = np.floor(gpus.memory_used_bytes[part] / gpus.memory_total_bytes * VRAM_MB)
    return used


def _xgmi(name: str) -> Read:
    def read(gpus: Gpus, part: slice, now: float) -> Floats:
        moved: Floats = getattr(gpus, name).at(now, part) / 1024.0 / XGMI_LINKS
        return moved

    return read


FAMILIES = (
    Family("gpu_clock", "List of current GPU clock frequencies in MHz", lambda g, i, t: g.sm_clock_hertz[i] / 1e6,
           'clock_index="0",clock_type="system"'),
    Family("gpu_clock", "List of current GPU clock frequencies in MHz", lambda g, i, t: g.memory_clock_hertz / 1e6,
           'clock_index="8",clock_type="memory"'),
    Family("gpu_ecc_correct_total", "Total Correctable error count", _zero),
    Family("gpu_ecc_uncorrect_total", "Total Uncorrectable error count", _zero),
    Family("gpu_energy_consumed", "Accumulated energy consumed by the GPU in uJ",
           lambda g, i, t: g.energy_joules.at(t, i) * 1e6),
    Family("gpu_free_vram", "Free VRAM memory of the GPU (in MB)", lambda g, i, t: VRAM_MB - _used(g, i)),
    Family("gpu_gfx_activity", "Graphics engine usage in Percentage (0-100)",
           lambda g, i, t: np.rint(g.utilization_ratio[i] * 100)),
    Family("gpu_health", "Health of the GPU (0 = Unhealthy | 1 = Healthy)", lambda g, i, t: 1.0),
    Family("gpu_junction_temperature", "Current junction/hotspot temperature in Celsius",
           lambda g, i, t: g.temperature_celsius[i]),
    Family("gpu_memory_temperature", "Current memory temperature in Celsius",
           lambda g, i, t: g.memory_temperature_celsius[i]),
    Family("gpu_package_power", "Current package power in Watts", lambda g, i, t: g.power_watts[i]),
    Family("gpu_power_usage", "GPU Power usage in Watts", lambda g, i, t: g.power_watts[i]),
    Family("gpu_prof_occupancy_percent", "Wave occupancy in percentage",
           lambda g, i, t: np.rint(g.sm_occupancy_ratio[i] * 100)),
    Family("gpu_prof_sm_active", "Percentage of time in which compute units had work",
           lambda g, i, t: np.rint(g.sm_active_ratio[i] * 100)),
    Family("gpu_prof_tensor_active_percent", "Percentage of time in which the MFMA units were busy",
           lambda g, i, t: np.rint(g.tensor_active_ratio[i] * 100)),
    Family("gpu_total_vram", "Total VRAM memory of the GPU (in MB)", lambda g, i, t: VRAM_MB),
    Family("gpu_umc_activity", "Memory engine usage in Percentage (0-100)",
           lambda g, i, t: np.rint(g.memory_copy_ratio[i] * 100)),
    Family("gpu_used_vram", "Used VRAM memory of the GPU (in MB)", lambda g, i, t: _used(g, i)),
    Family("gpu_violation_ppt_residency_accumulated", "Package power tracking residency accumulated",
           lambda g, i, t: g.throttle_power_seconds.at(t, i) * _TICKS),
    Family("gpu_violation_socket_thermal_residency_accumulated", "Socket thermal residency accumulated",
           lambda g, i, t: g.throttle_thermal_seconds.at(t, i) * _TICKS),
    *(Family("gpu_xgmi_link_rx", "Accumulated XGMI Link Data Read in KB", _xgmi("nvlink_rx_bytes"),
             f'link_index="{link}"') for link in range(XGMI_LINKS)),
    *(Family("gpu_xgmi_link_tx", "Accumulated XGMI Link Data Write in KB", _xgmi("nvlink_tx_bytes"),
             f'link_index="{link}"') for link in range(XGMI_LINKS)),
    Family("pcie_bandwidth", "Current PCIe bandwidth in Mb/s", lambda g, i, t: g.memory_copy_ratio[i] * _PCIE_MBITS),
    Family("pcie_max_speed", "Maximum PCIe speed in GT/s", lambda g, i, t: 32.0),
    Family("pcie_replay_count", "Total number of PCIe replays", _zero),
    Family("pcie_speed", "Current PCIe speed in GT/s", lambda g, i, t: 32.0),
)  # fmt: skip


class AmdPage:
    """One host's page. Lines are made once per set of GPUs and of what runs on them, then only numbers change."""

    def __init__(self, factory: Factory, host: Host) -> None:
        self._factory = factory
        self._host = host
        self._gpus = HostGpus(factory, host)
        self._lines: tuple[bytes, str] = (b"", "")

    def render(self, now: float) -> str:
        """Return the page as it is at `now` (epoch seconds)."""
        gpus, part, alive = self._gpus.state, self._gpus.part, self._gpus.alive()
        assigned, processes = gpus.assigned[part], gpus.process_count[part]
        key = alive.tobytes() + assigned.tobytes() + processes.tobytes()
        if self._lines[0] != key:
            self._lines = (key, self._template(alive.tolist(), assigned.tolist(), processes.tolist()))
        values = self._gpus.values((family.read for family in FAMILIES), now)
        return self._lines[1] % tuple(go_float(float(math.floor(value))).removesuffix(".0") for value in values)

    def _template(self, alive: list[int], assigned: list[bool], processes: list[int]) -> str:
        lines = ["# HELP gpu_nodes_total Number of GPUs in the node", "# TYPE gpu_nodes_total gauge"]
        lines.append(f'gpu_nodes_total{{hostname="{self._host.name}"}} {len(alive)}')
        own = {place: self._labels(place, assigned[place], processes[place]) for place in alive}
        head = ""
        for name, words, _, labels in FAMILIES:
            if name != head and alive:
                head = name
                lines += [f"# HELP {name} {words.replace('%', '%%')}", f"# TYPE {name} gauge"]
            lines += [f"{name}{{{_sorted(own[place], labels)}}} %s" for place in alive]
        return "\n".join(lines) + "\n"

    def _labels(self, place: int, assigned: bool, processes: int) -> list[str]:
        host, at = self._host, self._host.gpu_start + place
        works = assigned and bool(self._gpus.workload)
        labels = {
            "card_model": host.gpu_model,
            "container": "main" if works else "",
            "deployment_mode": "baremetal",
            "gpu_compute_partition_type": "spx",
            "gpu_id": place,
            "gpu_memory_partition_type": "nps1",
            "gpu_partition_id": 0,
            "gpu_uuid": self._factory.layout.gpu_uuids[at],
            "hostname": host.name,
            "job_id": "",
            "job_partition": "",
            "job_user": "",
            "kfd_process_id": 40_000 + at if processes else "",
            "namespace": self._gpus.namespace if works else "",
            "pod": self._gpus.pod if works else "",
            "serial_number": f"69{2_400_000_000 + at}",
        }
        return [f'{name}="{value}"' for name, value in labels.items()]


def _sorted(labels: list[str], further: str) -> str:
    """Return all labels in alphabetical order, as client_golang prints them."""
    return ",".join(sorted([*labels, *further.split(",")] if further else labels))
