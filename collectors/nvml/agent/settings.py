"""What the agent is told at its start. Units: seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Where NVML is, how often it is asked, what else is looked at."""

    #: path of the library, of a Python file to stand in for it, or "" for the driver's own
    library: str = ""
    fast_s: float = 1.0
    medium_s: float = 15.0
    slow_s: float = 60.0
    #: what a board lacks is asked again after so long
    retry_s: float = 86_400.0
    #: NVML that cannot be opened is tried again after so long, twice as long each time
    first_delay_s: float = 5.0
    last_delay_s: float = 300.0
    #: how long the event thread waits at a time
    event_wait_s: float = 1.0
    #: while this file is there NVML is closed; "" for never
    release: str = ""
    #: look up pod and job of the processes
    workload: bool = True
    proc: str = "/proc"
    #: PCI devices, each with its NUMA node
    devices: str = "/sys/bus/pci/devices"
    #: one entry per board that the driver has
    nodes: str = "/proc/driver/nvidia/gpus"
