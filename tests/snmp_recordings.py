"""SNMP agents that answer what a text file says, on the simulator's machinery over real UDP.

A line is an OID, a type and a value: `text` (\\n for a new line), `oid`, `integer`, `gauge`, `counter32`, `counter64`,
`ticks` (hundredths of a second), `missing` (a cell that the agent lacks: its walks stumble over it; the value is its
column). What a poll brings stands beside it, a series a line.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from devices import target_of

from collectors.collector import PollResult, Target
from collectors.simulator.ber import Oid
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.mib import Mib, MibBuilder
from collectors.simulator.snmp import serve
from collectors.simulator.snmp_agent import Agent

DATA = Path(__file__).parent / "collectors" / "data"
START = 1_760_000_000.0


@dataclass
class OwnClock:
    """Time that passes only by pauses. Units: s."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int((START + self.now) * 1e9)

    async def pause(self, seconds: float) -> None:
        self.now += seconds


Series = tuple[str, frozenset[tuple[str, str]]]


def read_agent(text: str) -> Mib:
    """Return the MIB that the lines of a recording tell."""
    mib = MibBuilder()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            oid, kind, *rest = line.split(" ", 2)
            _add(mib, _oid(oid), kind, rest[0] if rest else "")
    return mib.build()


def _add(mib: MibBuilder, oid: Oid, kind: str, value: str) -> None:
    match kind:
        case "text":
            mib.text(oid, value.replace("\\n", "\n"))
        case "oid":
            mib.object_id(oid, _oid(value))
        case "integer":
            mib.constant(oid, int(value))
        case "gauge":
            mib.gauge(oid, lambda: int(value))
        case "ticks":
            mib.ticks(oid, lambda _: int(value) / 100)
        case "counter32":
            mib.counter32(oid, lambda _: int(value))
        case "counter64":
            mib.counter64(oid, lambda _: int(value))
        case "missing":
            mib.counter64(oid, lambda _: 0)
            mib.miss(oid, _oid(value))
        case _:
            raise ValueError(f"{kind!r} is no type of a recording")


def _oid(text: str) -> Oid:
    return tuple(map(int, text.split(".")))


def read_points(text: str) -> tuple[dict[Series, dict[str, str]], list[str], list[str]]:
    """Return the series that a poll must bring with their fields, then what is missing and what is rejected."""
    series: dict[Series, dict[str, str]] = {}
    told: Mapping[str, list[str]] = {"missing": [], "rejected": []}
    for line in text.splitlines():
        head, _, tail = line.partition(" | ")
        if head in told:
            told[head].append(tail)
        elif line and not line.startswith("#"):
            measurement, *tags = head.split()
            key = (measurement, frozenset(_pair(tag) for tag in tags))
            series[key] = dict(_pair(field) for field in tail.split())
    return series, told["missing"], told["rejected"]


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def found_points(result: PollResult) -> dict[Series, dict[str, float | int | str]]:
    """Return the series of a poll and their fields, without the tag that names the device."""
    found: dict[Series, dict[str, float | int | str]] = {}
    for point in result.points:
        tags = frozenset((name, value) for name, value in point.tags.items() if name != "device")
        found.setdefault((point.measurement, tags), {}).update(point.fields)
    return found


def same_fields(found: Mapping[str, float | int | str], expected: Mapping[str, str]) -> bool:
    """Return whether the fields are the expected ones: texts and numbers exactly."""
    return found.keys() == expected.keys() and all(
        value == expected[name] if isinstance(value, str) else value == float(expected[name])
        for name, value in found.items()
    )


@asynccontextmanager
async def played(text: str, **options: str) -> AsyncIterator[tuple[Target, Agent]]:
    """Serve a recording as the device leaf-9 while the block runs; its MIB may be exchanged."""
    agent = Agent("leaf-9", read_agent(text), "2c", "sonic_snmp")
    service = await serve(Factory(build_layout(8), seed=1, start=START), [agent], lambda: START)
    try:
        target = target_of(service.devices[0])
        yield replace(target, options={**target.options, **options}), agent
    finally:
        await service.close()
