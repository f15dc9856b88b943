"""Power shelves: each supply's state and share of the load, and the whole of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dashboard.facility_settings import Gear
from dashboard.kpis import hvdc
from dashboard.kpis.windows import Floats
from dashboard.plant.buses import BusNow, read_buses
from dashboard.plant.read import POWER, Seen
from dashboard.plant.roster import Roster
from dashboard.site import Shelf, Site, natural

SupplyState = Literal["ok", "warning", "failed", "off", "lost", "silent"]
#: what `power.state` calls the supply
_TOLD: Mapping[int, SupplyState] = {1: "warning", 2: "failed", 3: "off"}
OFF = 3
GONE: tuple[SupplyState, ...] = ("failed", "off", "lost")
WORKING: tuple[SupplyState, ...] = ("ok", "warning")
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
class _Parts:
    """The supplies of one shelf at one look, or of all; None where a value is not known."""

    names: Sequence[str]
    feeds: Sequence[str]
    #: it has a reading of its input
    metered: Sequence[bool]
    input: Sequence[float | None]
    output: Sequence[float | None]
    amperes: Sequence[float | None]
    efficiency: Sequence[float | None]
    state: Sequence[float | None]
    silent: Sequence[bool]
    newest: Sequence[float]

    def of(self, span: slice) -> "_Parts":
        """Return some of them."""
        return _Parts(*(getattr(self, name)[span] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class _Whole:
    """What tells of the whole of a shelf: side -> W; when it did, whether it does, whether it says that it is off."""

    watts: Mapping[str, float | None]
    newest: float
    answers: bool
    off: bool


@dataclass(frozen=True, slots=True)
class _Fresh:
    """The table of power at one look."""

    parts: _Parts
    wholes: Mapping[str, _Whole]


def _fresh(seen: Seen, of: Roster, now: float) -> _Fresh:
    held = seen[POWER]
    # One row more at the end, which knows nothing: there point the rows that are none.
    known = np.vstack([held.known(now), np.full(len(held.table.fields), np.nan)])
    newest, stale = np.append(held.newest(), -np.inf), np.append(held.stale(now), np.True_)
    watts, amperes, ratio, state = (
        known[:, held.table.fields.index(name)]
        for name in ("active_watts", "current_amperes", "efficiency_ratio", "state")
    )
    parts = _Parts(
        names=of.names,
        feeds=of.feeds,
        metered=(of.input >= 0).tolist(),
        input=_told(watts[of.input]),
        output=_told(watts[of.output]),
        amperes=_told(amperes[of.output]),
        efficiency=_told(_first(ratio[of.rows])),
        state=_told(_first(state[of.rows])),
        silent=np.all(stale[of.rows], axis=1).tolist(),
        newest=newest[of.rows].max(axis=1).tolist(),
    )
    wholes = {
        shelf: _Whole(
            watts=dict(zip((side for side, _ in own), _told(watts[rows]), strict=True)),
            newest=float(newest[rows].max()),
            answers=not stale[rows].all(),
            off=bool((state[rows] == OFF).any()),
        )
        for shelf, own in of.totals.items()
        if (rows := [row for _, row in own])
    }
    return _Fresh(parts, wholes)


def _first(values: Floats) -> Floats:
    """Return the first of each row that is known."""
    first: Floats = values[np.arange(len(values)), np.argmax(~np.isnan(values), axis=1)]
    return first


def _told(values: Floats) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


#: of a shelf without rows for the whole of it
_NO_WHOLE = _Whole({}, -np.inf, answers=False, off=False)


def shelves(
    seen: Seen, of: Roster, site: Site, gear: Gear, usual: Mapping[str, tuple[float, float]], now: float
) -> list[ShelfNow]:
    """Return every shelf that tells of supplies or a bus, or that the inventory names, in natural order.

    `usual`: shelf -> (median of its bus voltage over the last hour, seconds known).
    """
    buses, bus_racks = read_buses(seen, gear, usual, now)
    named = {name for rack in site.racks for name in rack.shelves}
    fresh = _fresh(seen, of, now)
    made = []
    for name in sorted(of.supplies.keys() | of.totals.keys() | buses.keys() | named, key=natural):
        known = site.shelves.get(name) or Shelf(name, "")
        rack = known.rack or of.racks.get(name) or bus_racks.get(name, "")
        parts = fresh.parts.of(of.supplies.get(name, slice(0)))
        whole = fresh.wholes.get(name, _NO_WHOLE)
        made.append(_shelf(replace(known, rack=rack), parts, whole, buses.get(name), gear, now))
    return made


def _shelf(known: Shelf, parts: _Parts, whole: _Whole, bus: BusNow | None, gear: Gear, now: float) -> ShelfNow:
    count = len(parts.names)
    expected = known.supplies or count
    unit = known.rated_watts / expected if known.rated_watts and expected else None
    states = _states(parts, unit)
    total = whole.watts.get("input")
    output, given = whole.watts.get("output"), total
    if output is None:
        output = sum_of_all(parts.output)
    if given is None:
        given = sum_of_all(parts.input)
    errors = _errors(parts, states)
    if (load := _load_of_working(parts, states, unit)) is not None and load < gear.least_load_ratio:
        errors = {}
    ratio = hvdc.efficiency(output, given, unit * expected if unit else None) if output and given else None
    newest = max(whole.newest, max(parts.newest, default=-np.inf))
    answers = whole.answers or not all(parts.silent)
    telling = answers and not whole.off
    return ShelfNow(
        name=known.name,
        rack=known.rack,
        supplies=_supplies(parts, states, errors, unit, now),
        expected=expected,
        unit_watts=unit,
        input_watts=given,
        output_watts=output,
        efficiency_ratio=ratio if ratio is None or ratio <= 1 else None,
        share_error_ratio=max(map(abs, errors.values()), default=None),
        load_ratio=output / (unit * expected) if output is not None and unit else None,
        bus=bus,
        age=now - newest if np.isfinite(newest) else (bus.age if bus else None),
        answers=answers,
        unheard=max(0, (known.supplies or 0) - count) if count and telling else 0,
        coverage=_coverage(parts, states, expected, total) if telling else 1.0,
    )


def _coverage(parts: _Parts, states: Sequence[SupplyState], expected: int, total: float | None) -> float:
    """Return the share of the supplies that the input power speaks of.

    A total that the shelf measures itself is whole, and so is that of a shelf whose supplies do not tell their input.
    """
    told = sum(state != "silent" for state in states)
    count = max(expected, len(states))
    if told >= count or not any(parts.metered):
        return 1.0
    known = sum(watts for watts in parts.input if watts is not None)
    measured = total is not None and (not told or total > hvdc.whole_above(known, told, count))
    return 1.0 if measured else told / count


def _supplies(
    parts: _Parts, states: Sequence[SupplyState], errors: Mapping[int, float], unit: float | None, now: float
) -> tuple[SupplyNow, ...]:
    made = []
    for i, (name, given, output, ratio) in enumerate(
        zip(parts.names, parts.input, parts.output, parts.efficiency, strict=True)
    ):
        if ratio is None and given is not None and output is not None:
            ratio = hvdc.efficiency(output, given, unit)
        age = max(0.0, now - parts.newest[i])
        feed, amperes, error = parts.feeds[i], parts.amperes[i], errors.get(i)
        made.append(SupplyNow(name, feed, given, output, amperes, error, ratio, states[i], age))
    return tuple(made)


def _states(parts: _Parts, unit: float | None) -> list[SupplyState]:
    """Return the state of each; lost are those that carry nothing while the others carry the load."""
    states: list[SupplyState] = [
        "silent" if silent else _TOLD.get(int(told or 0), "ok")
        for silent, told in zip(parts.silent, parts.state, strict=True)
    ]
    given = [(i, watts) for i, watts in enumerate(parts.output) if watts is not None and states[i] in WORKING]
    busy = [watts for _, watts in given if watts > _SOME_WATTS]
    mean = sum(busy) / len(busy) if busy else 0.0
    if mean >= max(_SOME_WATTS, 0.02 * (unit or 0.0)):
        for i, watts in given:
            states[i] = "lost" if watts < _IDLE_RATIO * mean else states[i]
    return states


def _load_of_working(parts: _Parts, states: Sequence[SupplyState], unit: float | None) -> float | None:
    """Return the mean output of those that work over the rating of one; None where that is not known."""
    known = [w for w, state in zip(parts.output, states, strict=True) if w is not None and state in WORKING]
    return sum(known) / len(known) / unit if known and unit else None


def _errors(parts: _Parts, states: Sequence[SupplyState]) -> dict[int, float]:
    """Return which supply -> its deviation from an even share, of those that work: by current, else by power."""
    working = [i for i, state in enumerate(states) if state in WORKING]
    for column in (parts.amperes, parts.output):
        values = [value for i in working if (value := column[i]) is not None]
        if len(values) > 1 and len(values) == len(working):
            return dict(zip(working, hvdc.share_errors(values), strict=False))
    return {}


def sum_of_all(values: Iterable[float | None]) -> float | None:
    """Return the sum; None where one is not known, or there is none."""
    known = list(values)
    told = [value for value in known if value is not None]
    return sum(told) if told and len(told) == len(known) else None
