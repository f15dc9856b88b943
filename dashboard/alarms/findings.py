"""What the rules look at, and what they say. Plain values: no I/O, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dashboard.fabric.switches import SwitchNow
from dashboard.facility import CduNow, DeviceNow, Leak, RackNow
from dashboard.number import Number
from dashboard.plant.view import NOTHING, View
from dashboard.settings import DashboardSettings


@dataclass(frozen=True, slots=True)
class HostNow:
    """The GPUs of one host now."""

    name: str
    rack: str
    gpus: int
    #: telemetry is there
    live: int
    lost: int
    throttled: int
    #: idle state -> GPUs in it
    idle: Mapping[str, int]
    #: its collector released it: nothing is expected of it
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What a GPU or its driver reports; `what` is a title in which {gpu} and {host} are filled in."""

    rule: str
    #: "" where the GPU stands nowhere
    host: str
    rack: str
    gpu: str
    priority: int
    what: str


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the sources behind the numbers are to be trusted; None where it is not known."""

    #: share of the site's tokens whose engine has no known host, of its GPU energy whose GPUs work for no known engine
    unmapped_tokens_ratio: float | None = None
    unmapped_energy_ratio: float | None = None
    #: GPUs whose energy counter and power disagree
    suspects: Sequence[str] = ()
    #: collector -> seconds by which its clock is ahead of ours
    clocks_ahead: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Supply:
    """A power supply or feed that the device itself judges failed."""

    device: str
    rack: str
    name: str


@dataclass(frozen=True, slots=True)
class Bit:
    """An alarm that a device raises itself, by its own name for it."""

    device: str
    rack: str
    name: str


@dataclass(frozen=True, slots=True)
class PortFault:
    """What is wrong with one switch port; `text` says it in words."""

    kind: str
    device: str
    interface: str
    #: of the switch, "" where it stands in none
    rack: str
    #: the other end as the inventory or LLDP names it, "" where it is not known
    neighbor: str
    #: the host that it is, "" for none; and the GPUs in it
    host: str
    gpus: int
    priority: int
    text: str


@dataclass(frozen=True, slots=True)
class FabricNow:
    """The fabric: what is wrong with ports, and every switch."""

    faults: Sequence[PortFault] = ()
    switches: Sequence[SwitchNow] = ()
    #: ports that are meant to work and are down; ports that need a person
    ports_down: int = 0
    abnormal: int = 0
    #: host -> what its ports suffer that can hold its GPUs up
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A source of rack power that cannot be right; `text` says why."""

    rack: str
    text: str
    #: kind of the source, one of RACK_SOURCES
    source: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that one evaluation looks at."""

    settings: DashboardSettings
    racks: Sequence[RackNow]
    hosts: Sequence[HostNow]
    cdus: Sequence[CduNow]
    leaks: Sequence[Leak]
    devices: Sequence[DeviceNow]
    supplies: Sequence[Supply]
    bits: Sequence[Bit]
    numbers: Mapping[str, Number]
    #: switch -> hosts behind it
    uplinks: Mapping[str, Sequence[str]]
    faults: Sequence[Fault] = ()
    trust: Trust = Trust()
    fabric: FabricNow = FabricNow()
    plant: View = NOTHING
    doubts: Sequence[Doubt] = ()
    #: (rule, object) -> level at which it stands already: hysteresis
    held: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that needs a person, as long as it holds."""

    rule: str
    #: rack, host or device that it is about; with the rule it identifies the alarm
    object: str
    #: 1 act now, 2 act today, 3 look into it, 4 know it
    priority: int
    title: str
    place: str
    impact: str
    racks: tuple[str, ...] = ()
    #: 1 warning, 2 critical: which of its rule's limits was passed
    level: int = 1
