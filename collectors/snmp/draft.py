"""What an SNMP agent has: the subtree of its maker, walked, its tables told apart by the shape of their indexes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from collectors.collector import CollectError, Target, UnknownDeviceError
from collectors.drafting import Draft, DraftGroup, Found, Walk, as_keys, known_points, shown
from collectors.poller import identify
from collectors.profile import Group, Library, PointSpec
from collectors.snmp.client import SnmpClient, Value

_DESCR, _OBJECT_ID, _UPTIME = "1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.2.0", "1.3.6.1.2.1.1.3.0"
_ENTERPRISES = (1, 3, 6, 1, 4, 1)
#: instances of one column that a comment shows
_SHOWN = 3
#: an agent that walks all it has answers late
_PATIENCE = timedelta(seconds=60)

Oid = tuple[int, ...]
Known = Mapping[str, Sequence[tuple[Group, PointSpec]]]


async def draft(target: Target, library: Library, walk: Walk) -> Draft:
    """Return what the agent has under its maker's number; columns that a packaged profile reads are mapped.

    Raises:
        CollectError: no answer, or nothing under the maker's number.
    """
    client = SnmpClient(target, _PATIENCE)
    try:
        system = await client.get([_DESCR, _OBJECT_ID, _UPTIME])
        prefix = _maker(target, system)
        walked = await client.walk(_text(prefix))
    finally:
        client.close()
    values = {(*prefix, *_oid(index)): value for index, value in walked.items()}
    if not values:
        raise CollectError(f"{target.name} {target.address}: the agent has nothing under {_text(prefix)}")
    known = known_points(library, "snmp")
    scalars, tables = _shape(values)
    groups = [DraftGroup({}, _scalar_lines(scalars, known))] if scalars else []
    groups += [group for columns in tables.values() for group in _tables(columns, known)]
    return Draft(
        "snmp",
        " ".join(str(system.get(_DESCR, "unknown SNMP device")).split())[:80],
        groups,
        _answers(system, values),
        match={"sysobjectid_prefix": str(system[_OBJECT_ID])},
        notes=await _notes(target, library),
    )


def _maker(target: Target, system: Mapping[str, Value]) -> Oid:
    own = _oid(str(system.get(_OBJECT_ID, "")))
    if own[:6] != _ENTERPRISES or len(own) < 7:
        raise CollectError(f"{target.name} {target.address}: sysObjectID {system.get(_OBJECT_ID)!r} names no maker")
    return own[:7]


async def _notes(target: Target, library: Library) -> Sequence[str]:
    try:
        profile = await identify(target, library)
    except UnknownDeviceError:
        return []
    return [f"The packaged profile {profile.profile} fits this device already: tokenwatt probe shows what it gives."]


def _oid(text: str) -> Oid:
    return tuple(int(part) for part in text.strip(".").split(".") if part.isdecimal())


def _text(oid: Oid) -> str:
    return ".".join(map(str, oid))


def _shape(values: Mapping[Oid, Value]) -> tuple[dict[Oid, Value], dict[Oid, dict[Oid, dict[Oid, Value]]]]:
    """Return the scalars, and the tables: entry -> column -> index -> value."""
    scalars = {oid: value for oid, value in values.items() if oid[-1] == 0 and _is_alone(oid, values)}
    cells = [oid for oid in values if oid not in scalars]
    tables: dict[Oid, dict[Oid, dict[Oid, Value]]] = {}
    entries = _entries(cells)
    for oid in cells:
        entry = next((entry for length in range(7, len(oid) - 1) if (entry := oid[:length]) in entries), oid[:-2])
        column, index = oid[: len(entry) + 1], oid[len(entry) + 1 :]
        tables.setdefault(entry, {}).setdefault(column, {})[index] = values[oid]
    return scalars, tables


def _is_alone(oid: Oid, values: Mapping[Oid, Value]) -> bool:
    return (*oid[:-1], 1) not in values


def _entries(cells: Sequence[Oid]) -> set[Oid]:
    """Return the prefixes under which most columns have the same indexes: a table's entry ends in 1 (RFC 2578, 7.7)."""
    columns: dict[Oid, dict[int, set[Oid]]] = {}
    for oid in cells:
        for length in range(8, len(oid) - 1):
            if oid[length - 1] == 1:
                columns.setdefault(oid[:length], {}).setdefault(oid[length], set()).add(oid[length + 1 :])
    return {entry for entry, found in columns.items() if _is_table(found)}


def _is_table(columns: Mapping[int, set[Oid]]) -> bool:
    most = Counter(frozenset(indexes) for indexes in columns.values()).most_common(1)[0][1]
    return most >= 2 and most * 2 >= len(columns)


def _scalar_lines(scalars: Mapping[Oid, Value], known: Known) -> list[Found]:
    return [Found(_text(oid), shown(value), _known(_text(oid), known)[0]) for oid, value in sorted(scalars.items())]


def _tables(columns: Mapping[Oid, Mapping[Oid, Value]], known: Known) -> Iterator[DraftGroup]:
    """Yield one table: what each packaged group reads of it with that group's rows, then what none reads."""
    read: dict[int, tuple[Group | None, list[Found]]] = {}
    for column, cells in sorted(columns.items()):
        seen = ", ".join(f"{_text(index)}: {shown(value)}" for index, value in list(cells.items())[:_SHOWN])
        keys, group = _known(_text(column), known)
        _, found = read.setdefault(id(group), (group, []))
        found.append(Found(_text(column), seen + (", ..." if len(cells) > _SHOWN else ""), keys))
    for group, found in sorted(read.values(), key=lambda part: part[0] is None):
        yield DraftGroup(group.each if group else {"column": found[0].at}, found)


def _known(address: str, known: Known) -> tuple[Mapping[str, Any], Group | None]:
    if address not in known:
        return {}, None
    group, spec = known[address][0]
    return as_keys(group, spec), group


def _answers(system: Mapping[str, Value], values: Mapping[Oid, Value]) -> Mapping[str, Sequence[Any]]:
    answers: dict[str, Sequence[Any]] = {oid: _typed(value) for oid, value in system.items()}
    answers[_OBJECT_ID] = ["oid", str(system[_OBJECT_ID])]
    if _UPTIME in system:
        answers[_UPTIME] = ["ticks", system[_UPTIME]]
    return answers | {_text(oid): _typed(value) for oid, value in sorted(values.items())}


def _typed(value: Value) -> Sequence[Any]:
    """Return a value with a type that holds it; which of the counters and gauges it was is not told any more."""
    if isinstance(value, int):
        return ["int" if -(2**31) <= value < 2**31 else "counter64", value]
    return ["text", str(value)]
