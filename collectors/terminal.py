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
from storage.point import Point


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


Print = Callable[[Console, Sequence[Point]], None]


def _print_table(out: Console, points: Sequence[Point]) -> None:
    table = Table("measurement", "tags", "field", "value")
    for point in points:
        tags = " ".join(f"{k}={v}" for k, v in point.tags.items())
        for name, value in point.fields.items():
            shown = f"{value:.10g}" if isinstance(value, float) else str(value)
            table.add_row(point.measurement, escape(tags), name, escape(shown))
    out.print(table)


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
