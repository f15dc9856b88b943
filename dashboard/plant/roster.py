"""Which power supplies there are, shelf by shelf, and where each one's readings stand in the table of power."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.kpis.windows import Ints
from dashboard.plant.read import POWER, Seen
from dashboard.site import natural

_SUPPLIES = ("psu", "rectifier")


@dataclass(frozen=True, slots=True)
class Roster:
    """Which supplies there are, kept while no series comes or goes. Rows are those of the table of power."""

    keys: pd.Index
    #: shelf -> where its supplies stand in what follows: in natural order, shelf by shelf
    supplies: Mapping[str, slice]
    names: list[str]
    feeds: list[str]
    #: rows of their input, output; -1 where there is none
    input: Ints
    output: Ints
    #: every row of each, -1 beyond the last: supplies x most rows
    rows: Ints
    #: shelf -> (side, row) of what tells of the whole of it
    totals: Mapping[str, tuple[tuple[str, int], ...]]
    racks: Mapping[str, str]


def roster(seen: Seen, old: Roster | None) -> Roster:
    """Return which supplies the table of power holds; the very same object while its series are the same."""
    held = seen[POWER]
    if old is not None and old.keys is held.keys:
        return old
    found: dict[str, dict[str, list[tuple[int, str, str]]]] = defaultdict(lambda: defaultdict(list))
    totals: dict[str, list[tuple[str, int]]] = defaultdict(list)
    racks: dict[str, str] = {}
    for i, (rack, device, kind, circuit, side, phase, feed) in enumerate(held.rows()):
        if circuit.startswith(_SUPPLIES):
            found[device][circuit].append((i, side, "" if feed == "-" else feed))
        elif kind == "power_shelf" and circuit == "total" and phase in ("", "-"):
            totals[device].append((side, i))
        else:
            continue
        racks[device] = rack or racks.get(device, "")
    return _listed(held.keys, found, {shelf: tuple(own) for shelf, own in totals.items()}, racks)


def _listed(
    keys: pd.Index,
    found: Mapping[str, Mapping[str, Sequence[tuple[int, str, str]]]],
    totals: Mapping[str, tuple[tuple[str, int], ...]],
    racks: Mapping[str, str],
) -> Roster:
    """Return the roster of shelf -> supply -> (row, side, feed) of its readings."""
    spans: dict[str, slice] = {}
    names: list[str] = []
    for shelf, own in found.items():
        spans[shelf] = slice(len(names), len(names) + len(own))
        names += sorted(own, key=natural)
    parts = [found[shelf][name] for shelf, span in spans.items() for name in names[span]]
    sides = [{side: row for row, side, _ in part} for part in parts]
    rows = np.full((len(parts), max(map(len, parts), default=1)), -1, dtype=np.int64)
    for i, part in enumerate(parts):
        rows[i, : len(part)] = [row for row, _, _ in part]
    return Roster(
        keys=keys,
        supplies=spans,
        names=names,
        feeds=[next((feed for _, _, feed in reversed(part) if feed), "") for part in parts],
        input=np.array([side.get("input", -1) for side in sides], dtype=np.int64),
        output=np.array([side.get("output", -1) for side in sides], dtype=np.int64),
        rows=rows,
        totals=totals,
        racks=racks,
    )
