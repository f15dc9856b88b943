"""A MIB as a sorted table: what an agent has, and how each value is made when it is asked for."""

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from collectors.simulator.ber import (
    COUNTER32,
    COUNTER64,
    END_OF_MIB,
    GAUGE32,
    INTEGER,
    NO_INSTANCE,
    OBJECT_ID,
    OCTETS,
    TICKS,
    Oid,
    Value,
    VarBind,
)

#: epoch seconds -> the value with its type
Getter = Callable[[float], Value]

SYSTEM = (1, 3, 6, 1, 2, 1, 1)


@dataclass(frozen=True, slots=True)
class Mib:
    """All instances of one agent."""

    values: Mapping[Oid, Getter]
    #: the same OIDs in the order of GETNEXT, and where cells are missing those too
    order: list[Oid]
    #: missing cell -> its column
    holes: Mapping[Oid, Oid] = field(default_factory=dict)

    def read(self, oid: Oid, now: float) -> Value:
        """Return one instance at `now` (epoch seconds), or noSuchInstance."""
        get = self.values.get(oid)
        return NO_INSTANCE if get is None else get(now)

    def read_next(self, oid: Oid, now: float, *, truncated: bool = True) -> VarBind:
        """Return the instance behind `oid`, or endOfMibView.

        At a missing cell a truncated walk jumps to the next column, as SONiC's agent does; another one passes it over.
        """
        place = bisect.bisect_right(self.order, oid)
        while place < len(self.order):
            following = self.order[place]
            if (column := self.holes.get(following)) is None:
                return following, self.values[following](now)
            if truncated:
                place = bisect.bisect_left(self.order, (*column[:-1], column[-1] + 1), place + 1)
            else:
                place += 1
        return oid, END_OF_MIB

    def part(self, wanted: Callable[[Oid], bool]) -> "Mib":
        """Return a MIB of those instances only."""
        order = [oid for oid in self.order if wanted(oid)]
        return Mib(self.values, order, self.holes) if len(order) == len(self.order) else self._cut(order)

    def _cut(self, order: list[Oid]) -> "Mib":
        values = {oid: self.values[oid] for oid in order if oid in self.values}
        return Mib(values, order, {oid: column for oid, column in self.holes.items() if oid in set(order)})


@dataclass(slots=True)
class MibBuilder:
    """Collects the instances of one agent, typed as the MIB types them."""

    _values: dict[Oid, Getter] = field(default_factory=dict)
    _fixed: dict[Value, Getter] = field(default_factory=dict)
    _holes: dict[Oid, Oid] = field(default_factory=dict)

    def fixed(self, oid: Oid, value: Value) -> None:
        """Add a value that never changes; equal ones share their getter."""
        get = self._fixed.get(value)
        if get is None:
            get = self._fixed[value] = lambda _: value
        self._values[oid] = get

    def text(self, oid: Oid, value: str | bytes) -> None:
        """Add an octet string that never changes."""
        self.fixed(oid, (OCTETS, value.encode() if isinstance(value, str) else value))

    def object_id(self, oid: Oid, value: Oid) -> None:
        """Add an object identifier that never changes."""
        self.fixed(oid, (OBJECT_ID, value))

    def constant(self, oid: Oid, value: int) -> None:
        """Add an INTEGER that never changes."""
        self.fixed(oid, (INTEGER, value))

    def integer(self, oid: Oid, value: Callable[[], float]) -> None:
        """Add an INTEGER."""
        self._values[oid] = lambda _: (INTEGER, round(value()))

    def counting_integer(self, oid: Oid, value: Callable[[float], int]) -> None:
        """Add an INTEGER that counts, as APC types its energy."""
        self._values[oid] = lambda now: (INTEGER, value(now) & 0x7FFFFFFF)

    def gauge(self, oid: Oid, value: Callable[[], float]) -> None:
        """Add a Gauge32."""
        self._values[oid] = lambda _: (GAUGE32, min(2**32 - 1, round(value())))

    def counting_gauge(self, oid: Oid, value: Callable[[float], int]) -> None:
        """Add a Gauge32 that counts, as makers of PDUs type their energy."""
        self._values[oid] = lambda now: (GAUGE32, value(now) & 0xFFFFFFFF)

    def octets(self, oid: Oid, value: Callable[[], bytes]) -> None:
        """Add an octet string."""
        self._values[oid] = lambda _: (OCTETS, value())

    def constant_gauge(self, oid: Oid, value: float) -> None:
        """Add a Gauge32 that never changes."""
        self.fixed(oid, (GAUGE32, min(2**32 - 1, round(value))))

    def counter32(self, oid: Oid, value: Callable[[float], int]) -> None:
        """Add a Counter32: the low 32 bits of a count."""
        self._values[oid] = lambda now: (COUNTER32, value(now) & 0xFFFFFFFF)

    def counter64(self, oid: Oid, value: Callable[[float], int]) -> None:
        """Add a Counter64."""
        self._values[oid] = lambda now: (COUNTER64, value(now))

    def ticks(self, oid: Oid, seconds: Callable[[float], float]) -> None:
        """Add TimeTicks, hundredths of a second that wrap at 2^32."""
        self._values[oid] = lambda now: (TICKS, int(seconds(now) * 100) & 0xFFFFFFFF)

    def zero(self, tag: int, oids: Iterable[Oid]) -> None:
        """Add counters that stay at 0."""
        for oid in oids:
            self.fixed(oid, (tag, 0))

    def miss(self, oid: Oid, column: Oid) -> None:
        """Take a cell of a column out: a walk stumbles over it."""
        if self._values.pop(oid, None) is not None:
            self._holes[oid] = column

    def system(self, descr: str, object_id: Oid, name: str, uptime: Callable[[float], float]) -> None:
        """Add the system group. Source: RFC 3418."""
        self.text((*SYSTEM, 1, 0), descr)
        self.object_id((*SYSTEM, 2, 0), object_id)
        self.ticks((*SYSTEM, 3, 0), uptime)
        self.text((*SYSTEM, 4, 0), "noc@demo.example")
        self.text((*SYSTEM, 5, 0), name)
        self.text((*SYSTEM, 6, 0), "DEMO-1")

    def build(self) -> Mib:
        """Return the finished table."""
        return Mib(self._values, sorted([*self._values, *self._holes]), self._holes)
