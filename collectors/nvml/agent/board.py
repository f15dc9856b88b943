"""One GPU, or one MIG instance of it: what is known of it, what it last said, what it lacks."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pynvml

from collectors.nvml.agent.absent import Absent
from collectors.nvml.agent.calls import ABSENT, DENIED, INVALID_ARGUMENT, LOST, NOT_SUPPORTED, Calls, FieldId, Values
from collectors.nvml.agent.gpm import Gpm
from collectors.nvml.agent.interval import Interval
from collectors.nvml.agent.truth import Energy

#: of one field, invalid argument is an id that this driver does not know
_NO_FIELD = ABSENT | DENIED | {INVALID_ARGUMENT}
#: readings in a row that may fail before the value before them is given up
PATIENCE = 2


@dataclass(slots=True)
class Context:
    """What all boards share: the calls, the memory of refusals, the clock."""

    calls: Calls
    absent: Absent
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class Board:
    """One GPU, or one MIG instance of it."""

    context: Context
    uuid: str
    index: int
    model: str
    handle: Any
    #: "gi/ci" for an instance
    mig: str = ""
    #: of an instance: the handle of its GPU, and the number of its GPU instance
    parent: Any = None
    gpu_instance: int | None = None
    info: dict[str, str] = field(default_factory=dict)
    #: it keeps a mean of its power over a second
    averages_power: bool = True
    #: it stands on a module with a CPU, and that module's power is to be told by it
    has_module: bool = False
    #: the CPU of that module, as its NUMA node; "" where that is unknown
    socket: str = ""
    tells_module: bool = False
    is_partitioned: bool = False
    lost: bool = False
    #: how often it was looked for since it was lost, and when next
    looks: int = 0
    look_again_at: float = 0.0
    #: by reading
    values: dict[str, Values] = field(default_factory=dict)
    misses: dict[str, int] = field(default_factory=dict)
    interval: Interval = field(default_factory=Interval)
    #: told, but not yet known to have been heard
    told: Interval | None = None
    energy: Energy = field(default_factory=Energy)
    gpm: Gpm | None = None
    #: last value of each counter of each NVLink
    link_counts: dict[FieldId, float] = field(default_factory=dict)
    links: int | None = None
    #: one of its NVLinks was active once: a board without a bridge has none that could go down
    is_linked: bool = False
    pids: tuple[int, ...] = ()
    workload: dict[str, str] = field(default_factory=dict)
    instances: dict[str, "Board"] = field(default_factory=dict)
    #: why readings failed since the last answer, and readings that were refused
    failed: dict[str, str] = field(default_factory=dict)
    #: NVML's codes of the fast readings that failed, by reading
    codes: dict[str, int] = field(default_factory=dict)
    #: the one code of all its fast readings when the driver itself went away, or 0
    gone: int = 0
    rejected: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Return the name under which refusals are remembered."""
        return f"{self.uuid} {self.mig}".rstrip()

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Make a call on the board's handle; as `Calls`."""
        return self.context.calls(name, self.handle, *arguments, **options)

    def fields(self, asked: list[FieldId]) -> dict[FieldId, float]:
        """Return the fields that the board has, read in one call; what it lacks is not asked again.

        Raises:
            NVMLError: the board is lost, or a field failed that it has.
        """
        context, now = self.context, self.context.clock()
        wanted = [each for each in asked if not context.absent.lacks(self.key, f"field {each[0]}/{each[1]}", now)]
        got: dict[FieldId, float] = {}
        for each, (code, value) in zip(
            wanted, context.calls.fields(self.handle, wanted) if wanted else (), strict=True
        ):
            if code == 0:
                got[each] = value
            elif code in _NO_FIELD:
                context.absent.note(self.key, f"field {each[0]}/{each[1]}", code, now)
            else:
                raise pynvml.NVMLError(code)
        return got

    def link_sum(self, ids: tuple[int, ...]) -> float:
        """Return counters of each link, summed; a link that does not tell keeps what it told last.

        Raises:
            NVMLError: no link has them.
        """
        asked = [(field_id, link) for field_id in ids for link in range(self.links or 0)]
        got = self.context.calls.fields(self.handle, asked) if asked else []
        codes = {code for code, _ in got if code}
        if codes & LOST:
            raise pynvml.NVMLError(min(codes & LOST))
        self.link_counts |= {each: value for each, (code, value) in zip(asked, got, strict=True) if code == 0}
        counts = [self.link_counts[each] for each in asked if each in self.link_counts]
        if not counts:
            raise pynvml.NVMLError(min(codes - ABSENT, default=NOT_SUPPORTED))
        return sum(counts)

    def read(self, name: str, ways: "tuple[Way, ...]") -> Values | None:
        """Return what the first way gives that the board has: {} where it has none, None where it failed.

        Raises:
            NVMLError: the board is lost.
        """
        context, now = self.context, self.context.clock()
        for number, way in enumerate(ways):
            call = name if number == 0 else f"{name} ({number})"
            if context.absent.lacks(self.key, call, now):
                continue
            try:
                return way(self)
            except pynvml.NVMLError as error:
                if error.value in LOST:
                    raise
                if error.value == INVALID_ARGUMENT and number + 1 < len(ways):
                    continue  # an older driver may answer so to a newer structure
                if error.value not in ABSENT | DENIED:
                    self.failed[name], self.codes[name] = str(error), error.value
                    return None
                context.absent.note(self.key, call, error.value, now)
        return {}

    def keep(self, name: str, values: Values | None) -> None:
        """Hold a reading until the next; one that failed twice running is given up."""
        if values is not None:
            self.values[name] = values
            self.misses.pop(name, None)
            return
        self.misses[name] = self.misses.get(name, 0) + 1
        if self.misses[name] >= PATIENCE:
            self.values.pop(name, None)

    def held(self) -> Values:
        """Return all that is held of the slower readings."""
        return {name: value for values in self.values.values() for name, value in values.items()}

    def forget(self) -> None:
        """Drop what it said: it is lost, or was reset."""
        self.values.clear()
        self.misses.clear()
        self.failed.clear()
        self.link_counts.clear()
        self.links = None
        self.interval, self.told = Interval(), None
        self.pids, self.workload = (), {}
        self.close()

    def close(self) -> None:
        """Give back what NVML keeps for it."""
        if self.gpm is not None:
            self.gpm.close()
            self.gpm = None
        for instance in self.instances.values():
            instance.close()


Way = Callable[[Board], Values]
Readings = Mapping[str, tuple[Way, ...]]
