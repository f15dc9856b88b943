"""What stands where in the simulated factory. Nothing here moves."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Host:
    """A node of up to eight GPUs."""

    name: str  # node-a01-1
    rack: str
    gpu_start: int  # its GPUs are gpu_start .. gpu_start + gpu_count - 1 of all arrays
    gpu_count: int
    deployment: str  # "" where it serves none
    workload: Literal["inference", "training", "none"]
    engine: int | None  # index into the engine arrays when it serves
    gpu_source: Literal["nvml", "dcgm"]
    switch: str  # leaf switch of its NICs
    ports: tuple[int, ...]  # port numbers there, one per NIC


@dataclass(frozen=True, slots=True)
class Rack:
    """A GPU rack, fed by one power shelf, cooled by one CDU."""

    name: str  # A01
    row: str  # A
    hosts: tuple[str, ...]
    gpu_start: int
    gpu_count: int
    cdu: str
    shelf: str
    rated_watts: float
    rated_flow_liters_per_second: float


@dataclass(frozen=True, slots=True)
class Shelf:
    """An ORv3 HPR power shelf: Modbus units behind one shelf controller."""

    name: str  # shelf-a01
    rack: str
    units: tuple[int, ...]  # Modbus unit ids of its power supplies
    psu_rated_watts: float


@dataclass(frozen=True, slots=True)
class Cdu:
    """A coolant distribution unit and the racks on its technology loop."""

    name: str  # cdu-1
    protocol: Literal["modbus", "redfish"]
    racks: tuple[str, ...]
    rated_watts: float


@dataclass(frozen=True, slots=True)
class Switch:
    """A SONiC leaf switch."""

    name: str  # leaf-1
    protocol: Literal["snmp", "gnmi"]
    snmp_version: Literal["2c", "3"]
    ports: tuple[str, ...]  # Ethernet0, Ethernet8, ...; port number p is ports[p]
    aliases: tuple[str, ...]  # etp1, etp2, ...
    speed_bits_per_second: float
    pdu: str


@dataclass(frozen=True, slots=True)
class Pdu:
    """A rack PDU of a network rack."""

    name: str  # pdu-n01
    rack: str  # N01
    rated_watts: float


@dataclass(frozen=True, slots=True)
class Meter:
    """A power meter of the building system."""

    name: str  # meter-main
    scope: Literal["facility", "it"]
    rated_watts: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """A served model and its hosts."""

    name: str
    model: str
    tenant: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that stands in the factory; arrays of the state follow the order of these tuples."""

    site: str
    rows: tuple[str, ...]
    racks: tuple[Rack, ...]
    hosts: tuple[Host, ...]
    gpu_uuids: tuple[str, ...]
    gpu_model: str
    shelves: tuple[Shelf, ...]  # one per rack, same order
    cdus: tuple[Cdu, ...]
    switches: tuple[Switch, ...]
    pdus: tuple[Pdu, ...]
    meters: tuple[Meter, ...]
    deployments: tuple[Deployment, ...]

    @property
    def gpus(self) -> int:
        """Return the number of GPUs."""
        return len(self.gpu_uuids)


def build_layout(gpus: int, *, seed: int = 1) -> Layout:
    """Lay out a site of `gpus` GPUs (8 to 10,240, a multiple of 8)."""
    raise NotImplementedError
