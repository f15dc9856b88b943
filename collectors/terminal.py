"""Points, what was found and what was proved, as people and programs read them on a terminal."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from collectors.local import Surroundings
from storage.lineprotocol import encode
from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS


class Proof(Protocol):
    """One quantity as shown and as it was: a row of `collectors/simulator/check.py`."""

    @property
    def quantity(self) -> str:
        """Its name."""
        ...

    @property
    def shown(self) -> float | None:
        """As the dashboard says it."""
        ...

    @property
    def truth(self) -> float | None:
        """As the factory knows it."""
        ...

    @property
    def error(self) -> float | None:
        """How far apart they are. Units: ratio."""
        ...

    @property
    def ok(self) -> bool:
        """Whether that is near enough."""
        ...

    @property
    def note(self) -> str:
        """What the comparison speaks of."""
        ...


#: from here on digits behind the point say nothing
_WHOLE = 1e9

Print = Callable[[Console, Sequence[Point]], None]


def _print_table(out: Console, points: Sequence[Point]) -> None:
    """Print each series under its tags, a field a line; the buckets of a histogram are one line together."""
    buckets: dict[str, list[str]] = {}
    for point in points:
        head = _head(point)
        if "le" in point.tags:
            buckets.setdefault(head, []).append(f"{point.tags['le']}: {_shown(point.fields['count_total'])}")
            continue
        out.print(head, highlight=False, soft_wrap=True)
        lines = Table.grid(padding=(0, 1))
        for name, value in point.fields.items():
            lines.add_row("   ", name, escape(_shown(value)), _meaning(point.measurement, name, value))
        out.print(lines)
    for head, counts in buckets.items():
        out.print(f"{head}\n    le {', '.join(counts)}", highlight=False, soft_wrap=True)


def _head(point: Point) -> str:
    """Return measurement and tags, without those that are the probe's own and the bound of a bucket."""
    tags = " ".join(f"{name}={value}" for name, value in point.tags.items() if name not in ("site", "source", "le"))
    return f"[bold]{point.measurement}[/] {escape(tags)}"


def _shown(value: FieldValue) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= _WHOLE else f"{value:.10g}"


def _meaning(measurement: str, name: str, value: FieldValue) -> str:
    """Return the unit of a value, or the word for a state."""
    field = MEASUREMENTS[measurement].fields[name]
    return field.states.get(value, "") if isinstance(value, int) and field.states else field.unit.replace("_", " ")


def _print_lines(_: Console, points: Sequence[Point]) -> None:
    sys.stdout.buffer.write(encode(points))


def _print_json(_: Console, points: Sequence[Point]) -> None:
    rows: list[dict[str, Any]] = [
        {"measurement": p.measurement, "tags": dict(p.tags), "fields": dict(p.fields), "time_ns": p.time_ns}
        for p in points
    ]
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")


#: --format -> how points are printed
PRINTERS: Mapping[str, Print] = {"table": _print_table, "lp": _print_lines, "json": _print_json}


def complain(out: Console, what: object, word: str = "[red]error[/]") -> None:
    """Print one line behind a word of markup; what it says is no markup."""
    out.print(f"{word} {escape(str(what))}", highlight=False, soft_wrap=True)


def print_offer(out: Console, lines: Sequence[str]) -> None:
    """Print what the device offers beyond its points, a line each."""
    for line in lines:
        out.print(f"[bold]offers[/] {escape(line)}", highlight=False, soft_wrap=True)


def print_found(out: Console, around: Surroundings) -> None:
    """Print a table of what was found, then one line of what was not."""
    table = Table("name", "url", "profile", title="Found on this host")
    for each in around.found:
        table.add_row(escape(each.name), escape(each.url), each.profile or f"{each.gpus} GPUs")
    for each in around.unknown:
        table.add_row("", escape(each.url), escape(f"server=unknown, not polled: {each.why}"), style="yellow")
    if table.row_count:
        out.print(table)
    if around.missing:
        out.print(f"Looked for and not found: {escape('; '.join(around.missing))}", highlight=False, soft_wrap=True)


def print_proof(out: Console, rows: Sequence[Proof]) -> None:
    """Print a table of quantities against the truth; those that are off in red."""
    table = Table("quantity", "shown", "truth", "error", "window", title="Shown against the factory's own state")
    for row in rows:
        numbers = ("" if value is None else f"{value:,.6g}" for value in (row.shown, row.truth))
        off = "" if row.error is None else f"{row.error:.3%}"
        table.add_row(row.quantity, *numbers, off, row.note, style="" if row.ok else "bold red")
    out.print(table)
