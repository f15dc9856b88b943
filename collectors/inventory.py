"""What belongs to the site and how it hangs together: `inventory.csv`, one line per relation.

Columns: kind, id, parent, relation, and where they say something model, scope, expected_count, rated_watts,
rated_flow_liters_per_second. An id has one kind and one line for each thing that it hangs on:

- `contains`: parent is where it stands: site, row, rack, host. Everything but the site has at most one such line.
- `cools`: parent is the CDU or the loop of a rack, or the CDU of a loop.
- `feeds`: parent is the meter, feed (A or B), PDU or shelf that powers it. A feed's own meter has the feed's name.
- `uplinks`: parent is the switch that a host (or a switch) is connected to.

`expected_count` is the number of parts in it: GPUs of a host, supplies of a shelf. Lines that begin with # are notes.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

from storage.config import ConfigError, InvalidValueError, Problem, suggest
from storage.document import read_text
from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS

COLUMNS = ("kind", "id", "parent", "relation", "model", "scope")
NUMBERS = ("expected_count", "rated_watts", "rated_flow_liters_per_second")
SCOPES = ("node", "rack", "it", "facility")
_NEEDED = ("kind", "id", "parent", "relation")

_FED = ("row", "rack", "host", "shelf", "pdu", "cdu", "switch", "meter", "feed")
#: relation -> kind -> kinds that its parent may have
_PARENTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "contains": {
        "site": (),
        "row": ("site",),
        "rack": ("row", "site"),
        "host": ("rack",),
        "shelf": ("rack",),
        "engine": ("host",),
        "pdu": ("rack", "row", "site"),
        "switch": ("rack", "row", "site"),
        "cdu": ("rack", "row", "site"),
        "meter": ("rack", "row", "site"),
        "feed": ("row", "site"),
        "loop": ("row", "site"),
    },
    "cools": {"rack": ("cdu", "loop"), "host": ("cdu", "loop"), "loop": ("cdu",)},
    "feeds": dict.fromkeys(_FED, ("meter", "feed", "pdu", "shelf")),
    "uplinks": {"host": ("switch",), "switch": ("switch",)},
}
KINDS = tuple(_PARENTS["contains"])
#: kinds that are places, and the tag that carries their id
_PLACES = ("row", "rack", "host")


@dataclass(frozen=True, slots=True)
class Item:
    """One line: a thing and one relation of it."""

    line: int
    kind: str
    id: str
    parent: str
    relation: str
    model: str = ""
    scope: str = ""
    #: expected_count (parts), rated_watts (W), rated_flow_liters_per_second (L/s)
    numbers: Mapping[str, float] = field(default_factory=dict)


class Inventory:
    """The site's things and their relations, checked by `load_inventory`."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self.items = tuple(items)
        self._kinds = {item.id: item.kind for item in self.items}
        self._holders = {item.id: item.parent for item in self.items if item.relation == "contains"}

    def locate(self, name: str) -> dict[str, str]:
        """Return the tags row, rack and host of a thing, itself included; what is unknown is left out."""
        place: dict[str, str] = {}
        at = name
        while at:
            kind = self._kinds.get(at, "")
            if kind in _PLACES:
                place[kind] = at
            at = self._holders.get(at, "")
        return {kind: place[kind] for kind in _PLACES if kind in place}

    def places(self) -> dict[str, dict[str, str]]:
        """Return for each thing its tags row, rack, host and scope, for gateways that speak for others."""
        scopes = {item.id: {"scope": item.scope} for item in self.items if item.scope}
        return {name: {**self.locate(name), **scopes.get(name, {})} for name in self._kinds}

    def points(self, tags: Mapping[str, str], time_ns: int) -> list[Point]:
        """Return one `inventory` point per line with the site's own tags (site, source, synthetic), at `time_ns`."""
        return [self._point(item, tags, time_ns) for item in self.items]

    def _point(self, item: Item, common: Mapping[str, str], time_ns: int) -> Point:
        own = {"kind": item.kind, "id": item.id, "parent": item.parent, "relation": item.relation}
        tags = {**common, **self.locate(item.id), **own, "model": item.model, "scope": item.scope}
        fields: dict[str, FieldValue] = {"present": 1, **item.numbers}
        known = MEASUREMENTS["inventory"].tags
        return Point("inventory", {name: tags[name] for name in known if tags.get(name)}, fields, time_ns)


def load_inventory(path: Path) -> Inventory:
    """Return the inventory in a CSV file.

    Raises:
        ConfigError: every mistake with its line: unknown columns, kinds, relations and parents, things that contain
            themselves, a line twice, what is no number.
    """
    rows = _read_rows(path)
    problems: list[Problem] = []
    items: list[Item] = []
    for line, row in rows:
        mistakes = list(_row_mistakes(row))
        problems += [_problem(path, line, mistake) for mistake in mistakes]
        if not mistakes:
            items.append(_item(line, row))
    whole = not problems
    problems += [_problem(path, line, mistake) for line, mistake in _mistakes_between(items, whole)]
    if problems:
        raise ConfigError(sorted(problems, key=lambda p: p.line))
    return Inventory(items)


def _problem(path: Path, line: int, mistake: InvalidValueError) -> Problem:
    return Problem(str(path), line, ".".join(map(str, mistake.at)), mistake.reason, mistake.hint)


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return line number and cells by column of each line with content."""
    text = read_text(path)
    lines = ["\n" if line.startswith("#") else line for line in text.splitlines(keepends=True)]
    reader = csv.reader(lines, strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as e:
        raise ConfigError([Problem(str(path), reader.line_num, "", f"is not CSV: {e}", "check the quotes")]) from e
    if not rows:
        raise ConfigError([Problem(str(path), 0, "", "is empty", f"begin with the line {','.join(_NEEDED)}")])
    (head, columns), *body = rows
    problems = [_problem(path, head, mistake) for mistake in _head_mistakes(columns)]
    for line, row in body:
        if len(row) > len(columns):
            reason = f"has {len(row)} cells under {len(columns)} columns"
            problems.append(Problem(str(path), line, "", reason, "put text with commas in quotes"))
    if problems:
        raise ConfigError(problems)
    return [(line, dict(zip(columns, row, strict=False))) for line, row in body]


def _head_mistakes(columns: list[str]) -> Iterator[InvalidValueError]:
    for column in columns:
        if column not in (*COLUMNS, *NUMBERS):
            hint = "columns are separated by commas" if ";" in column else suggest(column, (*COLUMNS, *NUMBERS))
            yield InvalidValueError("unknown column", hint, (column,))
        elif columns.count(column) > 1:
            yield InvalidValueError("stands in the head twice", "keep one of them", (column,))
    for column in _NEEDED:
        if column not in columns:
            yield InvalidValueError("the column is missing", f"the head is {','.join((*COLUMNS, *NUMBERS))}", (column,))


def _row_mistakes(row: Mapping[str, str]) -> Iterator[InvalidValueError]:
    """Yield what is wrong within one line."""
    kind, relation, parent = row["kind"], row.get("relation", ""), row.get("parent", "")
    if kind not in KINDS:
        yield InvalidValueError(f"unknown kind {kind!r}", suggest(kind, KINDS), ("kind",))
    if relation not in _PARENTS:
        yield InvalidValueError(f"unknown relation {relation!r}", suggest(relation, _PARENTS), ("relation",))
    elif kind in KINDS and kind not in _PARENTS[relation]:
        kinds = ", ".join(_PARENTS[relation])
        yield InvalidValueError(f"{relation} is not for a {kind}", f"it is for: {kinds}", ("relation",))
    if not row.get("id") or not row["id"].isprintable():
        yield InvalidValueError("is empty or unprintable", "name it as its target is named", ("id",))
    if kind == "site" and parent:
        yield InvalidValueError("a site stands in nothing", "leave `parent` empty", ("parent",))
    elif kind in KINDS and kind != "site" and not parent:
        yield InvalidValueError("is missing", f"name what {relation or 'contains'} it", ("parent",))
    if row.get("scope", "") not in ("", *SCOPES):
        yield InvalidValueError(f"unknown scope {row['scope']!r}", suggest(row["scope"], SCOPES), ("scope",))
    for column in NUMBERS:
        if row.get(column) and not _is_amount(row[column], whole=column == "expected_count"):
            what = "whole number" if column == "expected_count" else "number"
            yield InvalidValueError(f"{row[column]!r} is no {what}", "digits and a point, without its unit", (column,))


def _is_amount(text: str, *, whole: bool) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return "_" not in text and math.isfinite(value) and value >= 0 and (not whole or value.is_integer())


def _item(line: int, row: Mapping[str, str]) -> Item:
    numbers = {column: float(row[column]) for column in NUMBERS if row.get(column)}
    texts = {column: row.get(column, "") for column in COLUMNS}
    return Item(line, **texts, numbers=numbers)


def _mistakes_between(items: list[Item], whole: bool) -> Iterator[tuple[int, InvalidValueError]]:
    """Yield what is wrong between lines; unknown parents only where `whole`, that is no line is missing here."""
    first: dict[str, Item] = {}
    seen: dict[tuple[str, str, str], int] = {}
    holders: dict[str, Item] = {}
    for item in items:
        if first.setdefault(item.id, item).kind != item.kind:
            other = first[item.id]
            reason = f"{item.id!r} is a {other.kind} on line {other.line}"
            yield item.line, InvalidValueError(reason, "an id has one kind", ("kind",))
        relation = (item.id, item.parent, item.relation)
        if seen.setdefault(relation, item.line) != item.line:
            reason = f"{item.id!r} {item.relation} {item.parent!r} stands on line {seen[relation]} already"
            yield item.line, InvalidValueError(reason, "keep one of them", ("id",))
        elif item.relation == "contains" and holders.setdefault(item.id, item) is not item:
            other = holders[item.id]
            reason = f"{item.id!r} stands in {other.parent!r} already, on line {other.line}"
            yield item.line, InvalidValueError(reason, "a thing stands in one place", ("parent",))
    for item in items:
        yield from ((item.line, mistake) for mistake in _parent_mistakes(item, first, whole))
    yield from _circles(items)


def _parent_mistakes(item: Item, known: Mapping[str, Item], whole: bool) -> Iterator[InvalidValueError]:
    allowed = _PARENTS[item.relation][item.kind]
    parent = known.get(item.parent)
    if parent is None:
        if item.parent and whole:
            named = [name for name, other in known.items() if other.kind in allowed]
            yield InvalidValueError(f"there is no {item.parent!r}", suggest(item.parent, named), ("parent",))
    elif parent.kind not in allowed:
        reason = f"{item.parent!r} is a {parent.kind}: {item.relation} of a {item.kind} needs {' or '.join(allowed)}"
        yield InvalidValueError(reason, "check kind and relation", ("parent",))


def _circles(items: list[Item]) -> Iterator[tuple[int, InvalidValueError]]:
    """Yield the first circle of each relation that has one."""
    for relation in _PARENTS:
        lines = {(item.id, item.parent): item.line for item in items if item.relation == relation}
        graph: dict[str, set[str]] = {}
        for name, parent in lines:
            graph.setdefault(name, set()).add(parent)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as e:
            circle: list[str] = e.args[1]
            pairs = list(pairwise(circle))
            line = max(lines.get(pair, lines.get(pair[::-1], 0)) for pair in pairs)
            yield line, InvalidValueError(f"{relation} in a circle: {', '.join(circle)}", "take one out", ("parent",))
