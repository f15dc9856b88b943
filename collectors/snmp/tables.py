"""The tables of an SNMP profile: which instances a poll asks for and what of their text counts.

How a profile writes them stands in `collectors/snmp/collector.py`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from pydantic import ValidationError

from collectors.collector import CollectError, Target
from collectors.profile import Group, PointSpec, Profile
from collectors.row_rules import Row, Times
from collectors.snmp.client import Value
from collectors.snmp.rows import Each
from storage.config import ConfigError, Problem

#: the address that is not on the wire
AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Address:
    """One `at`: where its instances are and what of their text counts."""

    oid: str
    pattern: re.Pattern[str] | None
    #: values of the table's `times`, so that a priority that is not there is told apart from one that is
    times: str = ""

    def instance(self, row: Row | None) -> str:
        """Return the OID to ask for in this row."""
        if row is None:
            return self.oid
        if "{" in self.oid:
            return self.oid.format(**row)
        return f"{self.oid}.{row['index']}" if row["index"] else self.oid

    def value(self, raw: Value) -> Value | None:
        """Return what counts of an answer."""
        if self.pattern is None:
            return raw
        found = self.pattern.search(str(raw))
        return found[1] if found else None


@dataclass(slots=True)
class Table:
    """One group of the profile and the rows found for it."""

    group: Group
    each: Each
    addresses: Sequence[tuple[PointSpec, tuple[Address, ...]]]
    rows: list[Row] = field(default_factory=list)
    #: variables that each of its rows has: those of `times`, and `target` where its tags name it
    given: Mapping[str, str] = field(default_factory=dict)

    def due(self, slow: bool, medium: bool = True) -> list[tuple[PointSpec, tuple[Address, ...]]]:
        """Return the points of this poll, each with its addresses."""
        wanted = {"fast", *(["medium"] if medium or slow else []), *(["slow"] if slow else [])}
        return [(spec, found) for spec, found in self.addresses if spec.every in wanted]

    def wanted(self) -> Sequence[Row | None]:
        """Return the rows to read: the one of plain scalars has no variables."""
        return [None] if self.each.is_plain else self.rows


def read_groups(profile: Profile, target: Target) -> list[Table]:
    """Return the tables of a profile for one target; a group with `times` makes one table for each of its values.

    Raises:
        ConfigError: a group that SNMP does not understand.
        CollectError: an option of the target names a value that `times` does not have.
    """
    groups = enumerate(profile.once(_read_eaches))
    return [table for number, (group, each) in groups for table in _make_tables(profile, number, group, each, target)]


def _read_eaches(profile: Profile) -> list[tuple[Group, Each]]:
    """Return each group with how its rows are found, once all of its addresses can be read."""
    read, problems = [], []
    for number, group in enumerate(profile.groups):
        key = f"groups[{number}]"
        try:
            read.append((group, Each.model_validate(dict(group.each))))
            profile.once(_read_addresses, number, "")
        except ValidationError as error:
            for found in error.errors():
                place = ".".join(map(str, found["loc"]))
                problems.append(Problem(profile.profile, 0, f"{key}.each.{place}", found["msg"]))
        except (ValueError, re.error) as error:
            problems.append(Problem(profile.profile, 0, key, str(error), "at: an OID, or `OID /regex/`"))
    if problems:
        raise ConfigError(problems)
    return read


def _read_addresses(profile: Profile, number: int, times: str) -> list[tuple[PointSpec, tuple[Address, ...]]]:
    """Return the points of a group, each with its addresses for these values of its `times`."""
    points = profile.groups[number].points
    return [(spec, tuple(_read_address(text, times) for text in spec.addresses)) for spec in points]


def _make_tables(profile: Profile, number: int, group: Group, each: Each, target: Target) -> Iterator[Table]:
    named = any("{target}" in text for tags in (group.tags, *(s.tags for s in group.points)) for text in tags.values())
    base = {"target": target.name} if named else {}
    for values in product(*(_chosen(times, target) for times in each.times.values())):
        own = dict(zip(each.times, values, strict=True))
        name = ",".join(f"{key}={value}" for key, value in own.items())
        yield Table(group, each, profile.once(_read_addresses, number, name), given={**base, **own})


def _chosen(times: Times, target: Target) -> tuple[str, ...]:
    try:
        return times.chosen(target.options)
    except ValueError as error:
        raise CollectError(f"{target.name} {target.address}: option {error}") from error


def _read_address(text: str, times: str) -> Address:
    oid, _, pattern = text.partition(" ")
    if text != AGENT and not re.fullmatch(r"[0-9]+(\.([0-9]+|\{\w+\}))+", oid):
        raise ValueError(f"{text!r} does not begin with an OID")
    if not pattern:
        return Address(oid, None, times)
    if not re.fullmatch(r"/.+/", pattern):
        raise ValueError(f"{text!r}: the pattern stands between slashes")
    return Address(oid, re.compile(pattern[1:-1], re.DOTALL), times)


def first_value(
    candidates: Sequence[Address], row: Row | None, values: Mapping[str, Value], seen: set[Address]
) -> Value | None:
    """Return the value of the first address that answered for this row, and remember that it did."""
    for address in candidates:
        raw = values.get(address.instance(row))
        if raw is not None:
            seen.add(address)
            return address.value(raw)
    return None
