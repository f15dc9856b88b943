"""Power shelves: each supply's state and share of the load, and the whole of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from dashboard.facility_settings import Gear
from dashboard.kpis import hvdc
from dashboard.plant.buses import BusNow, read_buses
from dashboard.plant.read import POWER, Seen
from dashboard.site import Shelf, Site, natural

SupplyState = Literal["ok", "warning", "failed", "off", "lost", "silent"]
#: what `power.state` calls the supply
_TOLD: Mapping[int, SupplyState] = {1: "warning", 2: "failed", 3: "off"}
_OFF = 3
GONE: tuple[SupplyState, ...] = ("failed", "off", "lost")
WORKING: tuple[SupplyState, ...] = ("ok", "warning")
_SUPPLIES = ("psu", "rectifier")
#: a supply carries nothing under this share of what the others carry on average, once that is some watts
_IDLE_RATIO, _SOME_WATTS = 0.01, 50.0


@dataclass(frozen=True, slots=True)
class SupplyNow:
    """One power supply or rectifier. Ratios are of one; None where unknown. `age`: of its newest reading, s."""

    name: str
    feed: str
    input_watts: float | None
    output_watts: float | None
    output_amperes: float | None
    share_error_ratio: float | None
    efficiency_ratio: float | None
    state: SupplyState
    age: float


@dataclass(frozen=True, slots=True)
class ShelfNow:
    """A power shelf: its supplies and its bus."""

    name: str
    rack: str
    supplies: tuple[SupplyNow, ...]
    #: by inventory, else those seen
    expected: int
    unit_watts: float | None
    input_watts: float | None
    output_watts: float | None
    efficiency_ratio: float | None
    #: largest deviation of a supply from an even share
    share_error_ratio: float | None
    load_ratio: float | None
    bus: BusNow | None
    age: float | None
    #: some part of it tells something
    answers: bool = True
    #: supplies of the inventory that never told of themselves, while others do
    unheard: int = 0
    #: share of its supplies that its input power speaks of
    coverage: float = 1.0

    @property
    def running(self) -> int:
        """Return how many supplies work."""
        return sum(supply.state in WORKING for supply in self.supplies)

    @property
    def working(self) -> int:
        """Return how many supplies work as far as is known: where none is told of, all that it should have."""
        return self.running + len(self.silent) if self.supplies else self.expected

    @property
    def gone(self) -> tuple[str, ...]:
        """Return the supplies that do not work."""
        return tuple(supply.name for supply in self.supplies if supply.state in GONE)

    @property
    def silent(self) -> tuple[str, ...]:
        """Return the supplies that tell nothing, while their shelf does."""
        return tuple(supply.name for supply in self.supplies if supply.state == "silent" and self.answers)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the readings of one supply stand in the table of power."""

    feed: str
    #: side -> row; -1 where there is none
    input: int
    output: int
    #: every row of it
    all: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Roster:
    """Which supplies there are, kept while no series comes or goes."""

    keys: pd.Index
    #: shelf -> supply -> its rows, both in natural order
    supplies: Mapping[str, Mapping[str, _Rows]]
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
    supplies = {
        shelf: {name: _rows(found[shelf][name]) for name in sorted(found[shelf], key=natural)} for shelf in found
    }
    return Roster(held.keys, supplies, {shelf: tuple(own) for shelf, own in totals.items()}, racks)


def _rows(told: Sequence[tuple[int, str, str]]) -> _Rows:
    sides = {side: row for row, side, _ in told}
    feed = next((feed for _, _, feed in reversed(told) if feed), "")
    return _Rows(feed, sides.get("input", -1), sides.get("output", -1), tuple(row for row, _, _ in told))


@dataclass(frozen=True, slots=True)
class _Fresh:
    """The table of power at one look: lists by row, None where a value is not known."""

    watts: list[float | None]
    amperes: list[float | None]
    efficiency: list[float | None]
    state: list[float | None]
    newest: list[float]
    stale: list[bool]


def _fresh(seen: Seen, now: float) -> _Fresh:
    held = seen[POWER]
    told = held.fresh(now)

    def column(name: str) -> list[float | None]:
        return [*(None if value != value else value for value in told[name]), None]

    return _Fresh(
        watts=column("active_watts"),
        amperes=column("current_amperes"),
        efficiency=column("efficiency_ratio"),
        state=column("state"),
        newest=held.newest().tolist(),
        stale=held.stale(now).tolist(),
    )


def shelves(
    seen: Seen, of: Roster, site: Site, gear: Gear, usual: Mapping[str, tuple[float, float]], now: float
) -> list[ShelfNow]:
    """Return every shelf that tells of supplies or a bus, or that the inventory names, in natural order.

    `usual`: shelf -> (median of its bus voltage over the last hour, seconds known).
    """
    buses, bus_racks = read_buses(seen, gear, usual, now)
    named = {name for rack in site.racks for name in rack.shelves}
    fresh = _fresh(seen, now)
    made = []
    for name in sorted(of.supplies.keys() | of.totals.keys() | buses.keys() | named, key=natural):
        known = site.shelves.get(name) or Shelf(name, "")
        rack = known.rack or of.racks.get(name) or bus_racks.get(name, "")
        made.append(_shelf(replace(known, rack=rack), of, fresh, buses.get(name), gear, now))
    return made


def _shelf(known: Shelf, of: Roster, fresh: _Fresh, bus: BusNow | None, gear: Gear, now: float) -> ShelfNow:
    parts = of.supplies.get(known.name, {})
    expected = known.supplies or len(parts)
    unit = known.rated_watts / expected if known.rated_watts and expected else None
    totals = {side: fresh.watts[row] for side, row in of.totals.get(known.name, ())}
    rows = [*(row for part in parts.values() for row in part.all), *(row for _, row in of.totals.get(known.name, ()))]
    states = _states(parts, fresh, unit)
    output, given = totals.get("output"), totals.get("input")
    if output is None:
        output = sum_of_all(fresh.watts[part.output] for part in parts.values())
    if given is None:
        given = sum_of_all(fresh.watts[part.input] for part in parts.values())
    load = output / (unit * expected) if output is not None and unit else None
    errors = _errors(parts, states, fresh)
    if (part := _load_of_working(parts, states, fresh, unit)) is not None and part < gear.least_load_ratio:
        errors = {}
    whole = hvdc.efficiency(output, given, unit * expected if unit else None) if output and given else None
    newest = max((fresh.newest[row] for row in rows), default=-np.inf)
    answers = any(not fresh.stale[row] for row in rows)
    off = any(fresh.state[row] == _OFF for _, row in of.totals.get(known.name, ()))
    unheard = max(0, (known.supplies or 0) - len(parts)) if parts and answers and not off else 0
    return ShelfNow(
        name=known.name,
        rack=known.rack,
        supplies=tuple(
            _supply(name, part, states[name], errors.get(name), fresh, unit, now) for name, part in parts.items()
        ),
        expected=expected,
        unit_watts=unit,
        input_watts=given,
        output_watts=output,
        efficiency_ratio=whole if whole is None or whole <= 1 else None,
        share_error_ratio=max(map(abs, errors.values()), default=None),
        load_ratio=load,
        bus=bus,
        age=now - newest if np.isfinite(newest) else (bus.age if bus else None),
        answers=answers,
        unheard=unheard,
        coverage=_coverage(parts, states, fresh, expected, totals.get("input")) if answers and not off else 1.0,
    )


def _coverage(
    parts: Mapping[str, _Rows], states: Mapping[str, SupplyState], fresh: _Fresh, expected: int, total: float | None
) -> float:
    """Return the share of the supplies that the input power speaks of.

    A total that the shelf measures itself is whole: it is over the sum of those that tell by more than half of what the
    others would add at an even share. A shelf whose supplies do not tell their input measures it so too.
    """
    told = sum(state != "silent" for state in states.values())
    count = max(expected, len(parts))
    inputs = [fresh.watts[part.input] for part in parts.values() if part.input >= 0]
    if told >= count or not inputs:
        return 1.0
    known = sum(watts for watts in inputs if watts is not None)
    measured = total is not None and (not told or total > known * (1.0 + 0.5 * (count - told) / told))
    return 1.0 if measured else told / count


def _supply(
    name: str, part: _Rows, state: SupplyState, error: float | None, fresh: _Fresh, unit: float | None, now: float
) -> SupplyNow:
    given, output = fresh.watts[part.input], fresh.watts[part.output]
    ratio = next((value for row in part.all if (value := fresh.efficiency[row]) is not None), None)
    if ratio is None and given is not None and output is not None:
        ratio = hvdc.efficiency(output, given, unit)
    age = max(0.0, now - max(fresh.newest[row] for row in part.all))
    return SupplyNow(name, part.feed, given, output, fresh.amperes[part.output], error, ratio, state, age)


def _states(parts: Mapping[str, _Rows], fresh: _Fresh, unit: float | None) -> dict[str, SupplyState]:
    """Return supply -> state; lost are those that carry nothing while the others carry the load."""
    states: dict[str, SupplyState] = {}
    for name, part in parts.items():
        told = next((value for row in part.all if (value := fresh.state[row]) is not None), 0.0)
        silent = all(fresh.stale[row] for row in part.all)
        states[name] = "silent" if silent else _TOLD.get(int(told), "ok")
    outputs = {n: watts for n, p in parts.items() if (watts := fresh.watts[p.output]) is not None}
    busy = [watts for name, watts in outputs.items() if watts > _SOME_WATTS and states[name] in WORKING]
    mean = sum(busy) / len(busy) if busy else 0.0
    if mean >= max(_SOME_WATTS, 0.02 * (unit or 0.0)):
        idle = (n for n, watts in outputs.items() if watts < _IDLE_RATIO * mean and states[n] in WORKING)
        states.update(dict.fromkeys(list(idle), "lost"))
    return states


def _load_of_working(
    parts: Mapping[str, _Rows], states: Mapping[str, SupplyState], fresh: _Fresh, unit: float | None
) -> float | None:
    """Return the mean output of those that work over the rating of one; None where that is not known."""
    told = [fresh.watts[part.output] for name, part in parts.items() if states[name] in WORKING]
    known = [watts for watts in told if watts is not None]
    return sum(known) / len(known) / unit if known and unit else None


def _errors(parts: Mapping[str, _Rows], states: Mapping[str, SupplyState], fresh: _Fresh) -> dict[str, float]:
    """Return supply -> deviation from an even share, of those that work: by current, else by power."""
    working = {name: part.output for name, part in parts.items() if states[name] in WORKING}
    for column in (fresh.amperes, fresh.watts):
        values = {name: value for name, row in working.items() if (value := column[row]) is not None}
        if len(values) > 1 and len(values) == len(working):
            return dict(zip(values, hvdc.share_errors(list(values.values())), strict=False))
    return {}


def sum_of_all(values: Iterable[float | None]) -> float | None:
    """Return the sum; None where one is not known, or there is none."""
    known = list(values)
    told = [value for value in known if value is not None]
    return sum(told) if told and len(told) == len(known) else None
