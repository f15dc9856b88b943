"""A MIB as a sorted table: what an agent has, and how each value is made when it is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pysnmp.proto.rfc1902 import Counter32, Counter64, Gauge32, Integer32, ObjectIdentifier, OctetString, TimeTicks

Oid = tuple[int, ...]
#: epoch seconds -> the value as pysnmp writes it
Getter = Callable[[float], Any]

SYSTEM = (1, 3, 6, 1, 2, 1, 1)


@dataclass(frozen=True, slots=True)
class Mib:
    """All instances of one agent."""

    values: Mapping[Oid, Getter]
    #: the same OIDs in the order of GETNEXT
    order: list[Oid]


@dataclass(slots=True)
class MibBuilder:
    """Collects the instances of one agent, typed as the MIB types them."""

    _values: dict[Oid, Getter] = field(default_factory=dict)

    def text(self, oid: Oid, value: str) -> None:
        """Add an octet string that never changes."""
        fixed = OctetString(value)
        self._values[oid] = lambda _: fixed

    def object_id(self, oid: Oid, value: Oid) -> None:
        """Add an object identifier that never changes."""
        fixed = ObjectIdentifier(value)
        self._values[oid] = lambda _: fixed

    def constant(self, oid: Oid, value: int) -> None:
        """Add an INTEGER that never changes."""
        fixed = Integer32(value)
        self._values[oid] = lambda _: fixed

    def integer(self, oid: Oid, value: Callable[[], float]) -> None:
        """Add an INTEGER."""
        self._values[oid] = lambda _: Integer32(round(value()))

    def counting_integer(self, oid: Oid, value: Callable[[float], int]) -> None:
        """Add an INTEGER that counts, as APC types its energy."""
        self._values[oid] = lambda now: Integer32(value(now) & 0x7FFFFFFF)

    def gauge(self, oid: Oid, value: Callable[[], float]) -> None:
        """Add a Gauge32."""
        self._values[oid] = lambda _: Gauge32(min(2**32 - 1, round(value())))

    def counter32(self, oid: Oid, value: Callable[[float], int]) -> None:
        """Add a Counter32: the low 32 bits of a count."""
        self._values[oid] = lambda now: Counter32(value(now) & 0xFFFFFFFF)

    def counter64(self, oid: Oid, value: Callable[[float], int]) -> None:
        """Add a Counter64."""
        self._values[oid] = lambda now: Counter64(value(now))

    def ticks(self, oid: Oid, seconds: Callable[[float], float]) -> None:
        """Add TimeTicks, hundredths of a second that wrap at 2^32."""
        self._values[oid] = lambda now: TimeTicks(int(seconds(now) * 100) & 0xFFFFFFFF)

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
        return Mib(self._values, sorted(self._values))
