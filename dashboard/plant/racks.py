"""Racks: what each draws, what its supplies can carry, what that leaves for more load."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from dashboard.facility_settings import Gear
from dashboard.kpis import hvdc
from dashboard.kpis.efficiency import OK_COVERAGE
from dashboard.kpis.power import RACK_SOURCES
from dashboard.plant.read import POWER, Seen
from dashboard.plant.shelves import ShelfNow, sum_of_all
from dashboard.site import Site


@dataclass(frozen=True, slots=True)
class RackPower:
    """A rack's power: what it draws, what its supplies can carry, what is left."""

    name: str
    row: str
    #: input, from the best source that tells it
    watts: float | None
    source: str
    shelves: tuple[ShelfNow, ...]
    output_watts: float | None
    p99_watts: float | None
    #: span that the percentile speaks of, s
    p99_seconds: float
    usable_watts: float | None
    headroom_ratio: float | None
    stranded_watts: float | None
    running: int
    needed: int | None
    spare: int | None

    @property
    def coverage(self) -> float:
        """Return the share of what feeds the rack that its power speaks of."""
        if self.source not in ("", "power_shelf") or not self.shelves:
            return float(self.watts is not None)
        return supplies_told(self.shelves)

    @property
    def silent(self) -> tuple[str, ...]:
        """Return the supplies that tell nothing, with their shelf."""
        return tuple(f"{shelf.name} {name}" for shelf in self.shelves for name in shelf.silent)


def supplies_told(own: Sequence[ShelfNow]) -> float:
    """Return the share of the shelves' supplies that their input power speaks of; a silent shelf tells of none."""
    counts = [max(shelf.expected, 1) for shelf in own]
    told = (shelf.coverage * count for shelf, count in zip(own, counts, strict=True) if shelf.answers)
    return sum(told) / sum(counts) if counts else 0.0


def _in_part(made: Sequence[ShelfNow]) -> set[str]:
    """Return the racks whose shelves speak of a part of their supplies alone."""
    return {rack for rack, own in by_rack(made).items() if supplies_told(own) < OK_COVERAGE}


def by_rack(made: Sequence[ShelfNow]) -> Mapping[str, list[ShelfNow]]:
    """Return rack -> its shelves."""
    of: dict[str, list[ShelfNow]] = defaultdict(list)
    for shelf in made:
        of[shelf.rack].append(shelf)
    return of


def wrong_shelves(doubted: Set[tuple[str, str]]) -> set[str]:
    """Return the racks whose shelves cannot be right. `doubted`: (rack, kind of source)."""
    return {rack for rack, source in doubted if source == "power_shelf"}


def _input_watts(
    seen: Seen, site: Site, now: float, doubted: Set[tuple[str, str]], partial: Set[str]
) -> dict[str, tuple[float, str]]:
    """Return rack -> (watts drawn, kind of source): shelves, else PDUs, else the building system.

    `doubted`: (rack, kind of source) that cannot be right; `partial`: racks whose shelves speak of a part alone, and
    come last.
    """
    named = {rack.name for rack in site.racks}
    held = seen[POWER]
    inputs = np.flatnonzero((held.tags["circuit"] == "total") & (held.tags["side"] == "input"))
    watts = held.known(now)[inputs, held.table.fields.index("active_watts")].tolist()
    owner = {part: rack.name for rack in site.racks for part in (*rack.shelves, *rack.pdus, rack.name)}
    sums: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for (rack, device, kind, _, _, phase, _), own in zip(held.rows(inputs), watts, strict=True):
        if phase in ("", "-") and kind in RACK_SOURCES:
            sums[rack if rack in named else owner.get(device, ""), kind][device] = own
    expected = {
        (r.name, kind): held_by
        for r in site.racks
        for kind, held_by in (("power_shelf", r.shelves), ("rack_pdu", r.pdus))
    }
    found: dict[str, tuple[float, str]] = {}
    for source in reversed(RACK_SOURCES):
        for (rack, kind), parts in sums.items():
            whole, complete = sum(parts.values()), parts.keys() >= set(expected.get((rack, kind), ()))
            stands = rack in found and kind == "power_shelf" and rack in partial
            if kind == source and rack and (rack, kind) not in doubted and whole == whole and complete and not stands:
                found[rack] = (whole, kind)
    return found


def racks(
    seen: Seen,
    site: Site,
    made: Sequence[ShelfNow],
    p99: Mapping[str, tuple[float, float]],
    gear: Gear,
    now: float,
    doubted: Set[tuple[str, str]],
) -> tuple[RackPower, ...]:
    """Return every rack of the inventory in its order.

    `p99`: rack -> (watts of its supplies, seconds known); `doubted`: (rack, kind of source) that cannot be right.
    """
    of, wrong = by_rack(made), wrong_shelves(doubted)
    drawn = _input_watts(seen, site, now, doubted, _in_part(made))
    output = {rack: None if rack in wrong else output_of(own) for rack, own in of.items()}
    return tuple(
        _rack(r.name, r.row, tuple(of.get(r.name, ())), output.get(r.name), drawn.get(r.name), p99.get(r.name), gear)
        for r in site.racks
    )


def _rack(
    name: str,
    row: str,
    own: tuple[ShelfNow, ...],
    output: float | None,
    drawn: tuple[float, str] | None,
    p99: tuple[float, float] | None,
    gear: Gear,
) -> RackPower:
    watts, seconds = p99 or (output, 0.0)
    units, spare = sum(shelf.expected for shelf in own), gear.spare_supplies
    unit = min((shelf.unit_watts for shelf in own if shelf.unit_watts), default=None)
    working = sum(shelf.working for shelf in own if shelf.answers)
    usable = needed = left = None
    # Of a shelf that tells nothing nobody knows what it can give.
    if not all(shelf.answers for shelf in own):
        unit = None
    if unit and units:
        # What fails beyond the reserve is gone from what can be used.
        usable = min(hvdc.usable_watts(units, unit, spare), working * unit if working else 0.0)
    if unit and watts is not None:
        needed = hvdc.units_needed(watts, unit)
        left = working - needed
    headroom = hvdc.headroom_ratio(watts, usable) if usable and watts is not None else None
    stranded = (
        max(0.0, hvdc.stranded_watts(usable, watts, gear.reserve_ratio * usable))
        if usable and watts is not None
        else None
    )
    drawn_watts, source = drawn or (None, "")
    return RackPower(
        name, row, drawn_watts, source, own, output, watts, seconds, usable, headroom, stranded, working, needed, left
    )


def output_of(own: Sequence[ShelfNow]) -> float | None:
    """Return what all shelves of a rack give; None where one does not tell. Units: W."""
    return sum_of_all(shelf.output_watts for shelf in own) if own else None
