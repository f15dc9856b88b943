"""The rows of a gNMI answer and the points that a profile makes of them.

How a group of a profile finds its rows, beside what `collectors/gnmi/collector.py` says of `target`, `path` and `as`:

- `labels: {name: LEAF}`: leaves whose text becomes a row variable; of several leaves the first that the row has.
- `times: {lane: {default: [1, 2], all: [1, 2], option: NAME}}`: each row stands once for every value; `{lane}` in an
  `at` is replaced by it. The target's option NAME chooses other values than `default`: `all`, or a list with commas.
  Where `as` gives the variable already, rows with other values are left out.
- `optional: true`: a device without any such row lacks nothing.
- `unless: PATH`: these rows are read only where the device refuses that path of the same database.
- the variable `target` is the target's name.
- `at`: a leaf or a function of leaves, as `collectors/gnmi/leaves.py` says.

A row that never had a leaf lacks it: that is told once. A row that had it and has it no longer is told with each poll.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from operator import itemgetter
from sys import intern

from pydantic import Field, ValidationError

from collectors.collector import CollectError, Target
from collectors.decode import Batch
from collectors.gnmi.leaves import (
    Address,
    Leaves,
    parse_leaf,
    read_address,
    read_digits,
    read_leaf,
    read_light,
    read_number,
    read_text,
)
from collectors.profile import Group, PointSpec, Profile, Raw
from collectors.row_rules import Patterns, Rule, Strict, Times, make_variables, matches
from collectors.series import Rows, Variables
from storage.config import ConfigError, Problem
from storage.schema import field_of

__all__ = ["Each", "Ports", "Table", "parse_leaf", "read_groups", "read_tables"]

#: rows that a table remembers to have seen; a device has fewer, and what does not stop growing must not eat the memory
REMEMBERED = 20_000

#: fewer columns of counters than these are not worth a look of their own
FEWEST_COUNTERS = 2

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Each(Strict):
    """The rows of one group: the value of `each`."""

    target: str
    path: str
    names: tuple[str, ...] = Field((), alias="as")
    labels: Mapping[str, Patterns] = Field(default_factory=dict)
    times: Mapping[str, Times] = Field(default_factory=dict)
    set: Mapping[str, tuple[Rule, ...]] = Field(default_factory=dict)
    where: Mapping[str, Patterns] = Field(default_factory=dict)
    #: a device without any such row lacks nothing
    optional: bool = False
    #: these rows are read only where the device refuses this path of the same database
    unless: str = ""

    def parts(self, key: str) -> dict[str, str] | None:
        """Return the variables that a row's key holds, or None where it is not the key of such a row."""
        parts = key.rsplit(":", len(self.names) - 1)
        return dict(zip(self.names, parts, strict=True)) if len(parts) == len(self.names) else None

    def label(self, leaves: object) -> tuple[str, ...]:
        """Return the texts of a row's labels; none of what is no row."""
        if not isinstance(leaves, Mapping):
            return ()
        return tuple(
            next((text for leaf in _listed(candidates) if (text := read_text(leaves.get(leaf)))), "")
            for candidates in self.labels.values()
        )

    def row(self, parts: dict[str, str], texts: tuple[str, ...] = ()) -> dict[str, str] | None:
        """Return all variables of a row, or None where `where` leaves it out."""
        made = make_variables(self.set, {**parts, **dict(zip(self.labels, texts, strict=True))})
        return made if matches(made, self.where) else None


@dataclass(frozen=True, slots=True)
class Ports:
    """SONiC's names of the ports and their aliases."""

    names: Mapping[str, str]
    aliases: Mapping[str, str]

    @classmethod
    def read(cls, table: object) -> "Ports":
        """Read PORT_TABLE; what is no port, or has no alias, is left out."""
        found = {
            name: str(fields["alias"])
            for name, fields in (table.items() if isinstance(table, Mapping) else ())
            if isinstance(fields, Mapping) and fields.get("alias")
        }
        return cls({alias: name for name, alias in found.items()}, found)

    def rename(self, row: dict[str, str]) -> dict[str, str]:
        """Return the row with its port under SONiC's name, and its alias where it has one."""
        if "port" in row:
            row["port"] = self.names.get(row["port"], row["port"])
            row["alias"] = self.aliases.get(row["port"], "")
        return row


@dataclass(slots=True, eq=False)
class _Column:
    """One point of the profile over the rows of a table."""

    spec: PointSpec
    addresses: tuple[Address, ...]
    read: Callable[[object], Raw | None]
    #: rows that have not had it since they came; what this poll and the one before lacked; of those what is told
    never: set[Variables] = field(default_factory=set)
    absent: Sequence[Variables] = ()
    gone: Sequence[Variables] = ()
    #: the one leaf that is its value, None where it takes more than that
    leaf: str | None = field(init=False)
    #: whether `Batch.add_counters` takes it; None while it was not asked
    is_counter: bool | None = None

    def __post_init__(self) -> None:
        address = self.addresses[0]
        self.leaf = address.names[0] if len(self.addresses) == 1 and address.function == "" else None

    def is_lacked(self, leaves: Sequence[Leaves]) -> bool:
        """Return whether no row has it, as none had in the poll before: most devices lack some of a profile."""
        leaf = self.leaf
        return len(self.absent) == len(leaves) > 0 and leaf is not None and not any(leaf in row for row in leaves)


@dataclass(slots=True)
class _Part:
    """The rows of a table for one choice of its `times`."""

    own: Mapping[str, str]
    columns: Sequence[_Column]
    rows: Rows = field(default_factory=lambda: Rows(()))
    #: rows ever seen, and those seen in this poll for the first time
    seen: set[Variables] = field(default_factory=set)
    fresh: frozenset[Variables] = frozenset()
    #: the columns that were counters of plain digits in every row, and what takes their leaves from a row
    counters: Sequence[_Column] = ()
    take: Callable[[Leaves], tuple[str, ...]] = tuple


class Table:
    """One group of a profile for one target: its rows are found and named once, then only looked up."""

    def __init__(self, group: Group, each: Each, target: Target, summed: frozenset[str] = frozenset()) -> None:
        """Compile the group.

        Raises:
            ValueError: an `at` that does not read.
            CollectError: an option of the target names a value that `times` does not have.
        """
        self.group = group
        self.each = each
        #: only where it is asked for: rows without it have the same series objects on every switch
        self._base = {"target": target.name} if _names_target(group, each) else {}
        self._summed = summed
        chosen = {name: _chosen(times, target) for name, times in each.times.items()}
        #: values of the variables that the keys give already
        self._wanted = {name: frozenset(values) for name, values in chosen.items() if name in each.names}
        apart = {name: values for name, values in chosen.items() if name not in each.names}
        columns = [(spec, tuple(map(read_address, spec.addresses))) for spec in group.points]
        _check_placeholders(columns, apart)
        self._parts = [
            _make_part(columns, dict(zip(apart, values, strict=True))) for values in product(*apart.values())
        ]
        self._ports = Ports({}, {})
        #: keys and labels of the last answer, those that are rows, and their variables
        self._keys: list[str] | None = None
        self._texts: Sequence[tuple[str, ...]] = ()
        self._row_keys: list[str] = []
        self._kept: list[Variables] = []
        self._had_rows = False
        self._told_empty = False

    @property
    def is_fast(self) -> bool:
        """Return whether any of its points is read with each poll."""
        return any(spec.every == "fast" for spec in self.group.points)

    def add(self, answer: object, ports: Ports, slow: bool, batch: Batch) -> int:
        """Add the points of an answer to the batch, None for a path without data; return the number of its rows."""
        if self._ports is not ports:
            if self._ports != ports:
                self._keys = None
            self._ports = ports
        kept, leaves = self._find(answer)
        changed = kept is not self._kept and kept != self._kept
        if changed:
            self._kept = kept
        for part in self._parts:
            if changed:
                _take_rows(part, kept)
            elif part.fresh:
                part.fresh = frozenset()
            self._add_part(part, leaves, slow, batch)
        if kept:
            self._had_rows = True
        elif not self.each.optional and (self._had_rows or not self._told_empty):
            self._told_empty = True
            batch.miss(f"{self.group.points[0].to}: {self.each.target} {self.each.path} has no rows")
        return len(kept)

    def _add_part(self, part: _Part, leaves: Sequence[Leaves], slow: bool, batch: Batch) -> None:
        wanted = [column for column in part.columns if slow or column.spec.every == "fast"]
        lacked = [column for column in wanted if column.absent and column.is_lacked(leaves)]
        there = [column for column in wanted if column not in lacked] if lacked else wanted
        due = _add_counters(self.group, part, there, leaves, batch)
        columns = [(column.spec, _read_column(column, part.rows, leaves)) for column in due]
        for column, absent in zip(due, batch.add_columns(self.group, part.rows, columns), strict=True):
            if absent or column.absent:
                self._note(part, column, absent, batch)
        for column in lacked:
            self._note(part, column, part.rows.variables, batch)

    def _find(self, answer: object) -> tuple[list[Variables], list[Leaves]]:
        """Return the variables of each row and its leaves."""
        if not isinstance(answer, dict):
            self._keys = None
            return [], []
        objects: Mapping[str, Leaves] = answer if self.each.names else {"": answer}
        keys = list(objects)
        texts = [self.each.label(leaves) for leaves in objects.values()] if self.each.labels else ()
        if keys == self._keys and texts == self._texts:
            found = [objects[key] for key in self._row_keys]
            if set(map(type, found)) <= {dict}:
                return self._kept, found
        self._keys, self._texts = [intern(key) for key in keys], texts
        named = {key: self._name(key, objects[key]) for key in self._keys}
        kept = {key: variables for key, variables in named.items() if variables is not None}
        self._row_keys = list(kept)
        return list(kept.values()), [objects[key] for key in kept]

    def _name(self, key: str, leaves: object) -> Variables | None:
        """Return the variables of a row, or None where the profile or the target's options leave it out."""
        parts = self.each.parts(key) if self.each.names else {}
        if parts is None or not isinstance(leaves, dict):
            return None
        if any(parts[name] not in values for name, values in self._wanted.items()):
            return None
        row = self.each.row({**self._base, **self._ports.rename(parts)}, self.each.label(leaves))
        return None if row is None else _alike(tuple((name, intern(value)) for name, value in row.items()))

    def _note(self, part: _Part, column: _Column, absent: Sequence[Variables], batch: Batch) -> None:
        """Withhold sums over what is absent, and tell what was not told before."""
        _remember(part, column, absent)
        if column.spec.to in self._summed:
            batch.withhold(self.group, column.spec, absent)
        if column.gone:
            _tell(column, (*self.each.names, *part.own), len(part.rows.variables), batch)


@lru_cache(maxsize=REMEMBERED)
def _alike(variables: Variables) -> Variables:
    """Return the variables as rows of other devices have them: switches have the same ports."""
    return variables


def _listed(patterns: Patterns) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else patterns


def _names_target(group: Group, each: Each) -> bool:
    tags = [text for own in (group.tags, *(spec.tags for spec in group.points)) for text in own.values()]
    rules = [rule.source for choices in each.set.values() for rule in choices]
    return "target" in rules or any("{target}" in text for text in tags)


def _chosen(times: Times, target: Target) -> tuple[str, ...]:
    try:
        return times.chosen(target.options)
    except ValueError as error:
        raise CollectError(f"{target.name} {target.address}: option {error}") from error


def _check_placeholders(
    columns: Sequence[tuple[PointSpec, tuple[Address, ...]]], apart: Mapping[str, tuple[str, ...]]
) -> None:
    for spec, addresses in columns:
        for name in (name for address in addresses for text in address.names for name in _PLACEHOLDER.findall(text)):
            if name not in apart:
                known = ", ".join(apart) or "none"
                raise ValueError(
                    f"at: {spec.at!r}: {{{name}}} is no variable of `times` that keys do not give ({known})"
                )


def _make_part(columns: Sequence[tuple[PointSpec, tuple[Address, ...]]], own: Mapping[str, str]) -> _Part:
    filled = [
        _Column(spec, tuple(address.fill(own) for address in addresses), _reader(spec)) for spec, addresses in columns
    ]
    return _Part(own, filled)


def _reader(spec: PointSpec) -> Callable[[object], Raw | None]:
    """Return what makes a raw value of a plain leaf of this point."""
    kind = field_of(spec.to).kind
    if kind == "text":
        return read_text
    if kind == "state" or spec.enum is not None:
        return read_leaf
    return read_light if spec.unit == "dBm" else read_number


def _take_rows(part: _Part, kept: Sequence[Variables]) -> None:
    own = tuple(part.own.items())
    part.rows = Rows([_alike((*variables, *own)) for variables in kept] if own else kept)
    part.fresh = frozenset(row for row in part.rows.variables if row not in part.seen)
    part.seen = {*part.rows.variables} if len(part.seen) > REMEMBERED else part.seen | part.fresh


def _add_counters(
    group: Group, part: _Part, due: Sequence[_Column], leaves: Sequence[Leaves], batch: Batch
) -> Sequence[_Column]:
    """Take the columns of counters at once, row by row; return the columns that are left.

    Most of an answer are counters that every row has, all digits: they are told from others by one look at all of them.
    """
    for column in due:
        if column.is_counter is None:
            column.is_counter = column.leaf is not None and batch.is_counter(group, column.spec)
    counters = [column for column in due if column.is_counter and not column.absent]
    if len(counters) < FEWEST_COUNTERS or not leaves:
        return due
    if counters != part.counters:
        part.counters, part.take = counters, itemgetter(*(column.leaf for column in counters))
    try:
        numbers = read_digits([text for row in leaves for text in part.take(row)])
    except (KeyError, TypeError):
        return due
    if numbers is None:
        return due
    batch.add_counters(group, [column.spec for column in counters], part.rows, numbers)
    return [column for column in due if column not in counters]


def _read_column(column: _Column, rows: Rows, leaves: Sequence[Leaves]) -> list[Raw | None]:
    """Return the raw value of each row: of several addresses the first that the row has."""
    found: list[Raw | None] = []
    for number, address in enumerate(column.addresses):
        if number and None not in found:
            break
        variables = [dict(row) for row in rows.variables] if address.function == "row" else ()
        raws = address.column(leaves, variables, column.read)
        found = [raw if had is None else had for had, raw in zip(found, raws, strict=True)] if number else raws
    return found


def _remember(part: _Part, column: _Column, absent: Sequence[Variables]) -> None:
    """Tell rows that never had a leaf from those that lost it."""
    if absent == column.absent and not part.fresh:
        # What was told for the first time is not told again.
        column.gone = [row for row in column.gone if row not in column.never]
        return
    column.absent = absent
    column.gone = [row for row in absent if row not in column.never]
    # Rows that are away, of a port that a stale map hides, are judged when they come back.
    column.never.difference_update(set(part.rows.variables).difference(absent))
    column.never.update(row for row in column.gone if row in part.fresh)


def _tell(column: _Column, names: Sequence[str], rows: int, batch: Batch) -> None:
    what = " or ".join(_shown(address) for address in column.addresses)
    first = " ".join(value for name, value in column.gone[0] if name in names)
    where = f" ({first})" if first else ""
    batch.miss(f"{column.spec.to}: no {what} in {len(column.gone)} of {rows} rows{where}")


def _shown(address: Address) -> str:
    return f"{address.function}({', '.join(address.names)})" if address.function else address.names[0]


def read_groups(profile: Profile) -> list[tuple[Group, Each]]:
    """Return the groups of a profile and how their rows are found.

    Raises:
        ConfigError: a group that gNMI does not understand.
    """
    groups, problems = [], []
    for number, group in enumerate(profile.groups):
        try:
            groups.append((group, Each.model_validate(dict(group.each))))
        except ValidationError as error:
            for found in error.errors():
                place = ".".join(map(str, found["loc"]))
                problems.append(Problem(profile.profile, 0, f"groups[{number}].each.{place}", found["msg"]))
    if problems:
        raise ConfigError(problems)
    return groups


def read_tables(profile: Profile, target: Target) -> list[Table]:
    """Return the groups of a profile, made ready for one target.

    Raises:
        ConfigError: a group that gNMI does not understand.
        CollectError: an option of the target names a value that a group's `times` does not have.
    """
    summed = frozenset(rule.to for rule in profile.derived if rule.sum is not None)
    tables, problems = [], []
    for number, (group, each) in enumerate(profile.once(read_groups)):
        try:
            tables.append(Table(group, each, target, summed))
        except ValueError as error:
            problems.append(Problem(profile.profile, 0, f"groups[{number}].points", str(error)))
    if problems:
        raise ConfigError(problems)
    return tables
