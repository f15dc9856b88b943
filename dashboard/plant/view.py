"""Power and coolant as one view, made at each tick for all browsers (contract: docs/contracts.md section 7)."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from dashboard.plant import balance, coolant, feeds, hour, parts, racks, read, shelves
from dashboard.plant.balance import RackHeat
from dashboard.plant.checks import Check
from dashboard.plant.coolant import UnitNow
from dashboard.plant.feeds import AcNow, Failover, FeedNow
from dashboard.plant.hour import Hour
from dashboard.plant.parts import BatteryNow, LeakNow
from dashboard.plant.racks import RackPower
from dashboard.plant.read import Seen
from dashboard.plant.roster import Roster, roster
from dashboard.plant.shelves import ShelfNow
from dashboard.settings import DashboardSettings
from dashboard.site import Site
from storage.store import Store

#: `device.state` of a poll that brought only a part
_PARTIAL = 1
#: a bus further than this from its usual voltage does not change what is usual
_USUAL_RATIO = 0.02
#: a device that answers has told of all its parts after so long. Units: s
FIRST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Silent:
    """Parts of one device that tell nothing, while the device answers: they did before, or never did."""

    device: str
    rack: str
    parts: tuple[str, ...]
    #: what the device's last poll lacked, in its collector's words
    why: str
    #: supplies that never told of themselves, of so many that there should be; 0 of 0 where all did
    unheard: int = 0
    expected: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """Power and coolant at one look. Times are epoch seconds."""

    time: float
    seen: Seen | None = None
    racks: Sequence[RackPower] = ()
    ac: Sequence[AcNow] = ()
    feeds: Sequence[FeedNow] = ()
    failovers: Sequence[Failover] = ()
    units: Sequence[UnitNow] = ()
    heats: Sequence[RackHeat] = ()
    batteries: Sequence[BatteryNow] = ()
    leaks: Sequence[LeakNow] = ()
    checks: Sequence[Check] = ()
    silent: Sequence[Silent] = ()
    #: shelves that stand in no known rack
    loose: Sequence[ShelfNow] = ()
    #: rack -> output of its supplies, shelf -> voltage of its bus, over the last hour
    load_hour: Hour = field(default_factory=Hour)
    volts_hour: Hour = field(default_factory=Hour)
    p99: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    roster: Roster | None = None
    #: shelf that answers -> the first look at which it did, epoch s
    answering: Mapping[str, float] = field(default_factory=dict)

    @property
    def shelves(self) -> list[ShelfNow]:
        """Return every shelf."""
        return [*(shelf for rack in self.racks for shelf in rack.shelves), *self.loose]

    @property
    def headroom_ratio(self) -> float | None:
        """Return the least headroom of all racks; None where none is known."""
        return min((rack.headroom_ratio for rack in self.racks if rack.headroom_ratio is not None), default=None)


#: before the first look
NOTHING = View(0.0)


def update(
    store: Store,
    site: Site,
    settings: DashboardSettings,
    old: View | None,
    now: float,
    *,
    real: bool = False,
    refused: Sequence[str] = (),
    doubted: Set[tuple[str, str]] = frozenset(),
) -> View:
    """Return the view at `now` (epoch s), grown from the last one.

    `real`: leave simulated data out; `refused`: collectors that are not believed; `doubted`: (rack, kind of source) of
    power that cannot be right, which enters nothing.

    Raises:
        StoreError: the store does not answer; `old` stays good for the next try.
    """
    seen = read.look(store, old.seen if old else None, now, real=real, refused=refused)
    gear, before = settings.gear, old or NOTHING
    listed = roster(seen, before.roster)
    made = shelves.shelves(seen, listed, site, gear, before.usual, now)
    wrong = {rack for rack, source in doubted if source == "power_shelf"}
    load, p99 = _load(before, [shelf for shelf in made if shelf.rack not in wrong], now)
    volts, usual = _volts(before, made, now)
    named = {rack.name for rack in site.racks}
    drawn = racks.input_watts(seen, site, now, doubted, racks.in_part(made))
    answering = {shelf.name: before.answering.get(shelf.name, now) for shelf in made if shelf.answers}
    ac = feeds.ac_devices(seen, site, now)
    carried = {rack: watts for rack, (watts, _) in p99.items()}
    fed = feeds.feeds(site, ac, made, carried, gear.reserve_feeds)
    units = coolant.units(seen, site, gear, settings.limits, now)
    batteries = parts.batteries(seen, now)
    return View(
        time=now,
        seen=seen,
        racks=racks.racks(site, made, drawn, p99, gear, wrong),
        ac=ac,
        feeds=fed,
        failovers=feeds.failovers(fed),
        units=units,
        heats=balance.rack_heats(seen, {name: watts for name, (watts, _) in drawn.items()}, site, gear, now),
        batteries=batteries,
        leaks=parts.leaks(seen, now),
        checks=seen.checks,
        silent=_explained(
            store, _silent(made, units, batteries), _unheard(made, answering, now), now, real=real, refused=refused
        ),
        loose=tuple(shelf for shelf in made if shelf.rack not in named),
        load_hour=load,
        volts_hour=volts,
        p99=p99,
        usual=usual,
        roster=listed,
        answering=answering,
    )


def _load(before: View, made: Sequence[ShelfNow], now: float) -> tuple[Hour, Mapping[str, tuple[float, float]]]:
    """Return the hour of each rack's load and its 99th percentile."""
    if hour.number_of(now) <= before.load_hour.slot:
        return before.load_hour, before.p99
    of: dict[str, list[ShelfNow]] = {}
    for shelf in made:
        if shelf.rack:
            of.setdefault(shelf.rack, []).append(shelf)
    outputs = {rack: watts for rack, own in of.items() if (watts := racks.output_of(own)) is not None}
    grown = hour.add(before.load_hour, now, outputs)
    return grown, grown.percentile(0.99)


def _volts(before: View, made: Sequence[ShelfNow], now: float) -> tuple[Hour, Mapping[str, tuple[float, float]]]:
    """Return the hour of each bus's voltage and its median. A bus that is off does not shift what is usual."""
    if hour.number_of(now) <= before.volts_hour.slot:
        return before.volts_hour, before.usual
    usual = before.usual
    volts = {shelf.name: shelf.bus.volts for shelf in made if shelf.bus is not None and shelf.bus.volts is not None}
    near = {
        name: value
        for name, value in volts.items()
        if name not in usual or abs(value / usual[name][0] - 1) <= _USUAL_RATIO
    }
    grown = hour.add(before.volts_hour, now, near)
    return grown, grown.percentile(0.5)


def _silent(
    made: Sequence[ShelfNow], units: Sequence[UnitNow], batteries: Sequence[BatteryNow]
) -> dict[str, tuple[str, dict[str, float]]]:
    """Return device -> (rack, its parts that tell nothing, with the age of what they told last, s)."""
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for shelf in made:
        for supply in shelf.supplies if shelf.answers else ():
            if supply.state == "silent":
                found.setdefault(shelf.name, (shelf.rack, {}))[1][supply.name] = supply.age
    for unit in units:
        for pump in unit.pumps:
            if pump.silent:
                found.setdefault(unit.name, ("", {}))[1][f"pump {pump.name}"] = pump.age
    for battery in batteries:
        if battery.silent:
            found.setdefault(battery.device, (battery.rack, {}))[1][f"battery {battery.unit}"] = battery.age
    return found


def _unheard(made: Sequence[ShelfNow], answering: Mapping[str, float], now: float) -> dict[str, ShelfNow]:
    """Return the shelves that have answered for long enough for all of their supplies to tell, and some never did."""
    return {
        shelf.name: shelf for shelf in made if shelf.unheard and now - answering.get(shelf.name, now) >= FIRST_SECONDS
    }


def _explained(
    store: Store,
    found: Mapping[str, tuple[str, dict[str, float]]],
    unheard: Mapping[str, ShelfNow],
    now: float,
    *,
    real: bool,
    refused: Sequence[str],
) -> tuple[Silent, ...]:
    """Return those of devices that have answered since without them, with what their last poll lacked."""
    devices = read.devices(store, real=real, refused=refused) if found or unheard else {}
    told = []
    for name in dict.fromkeys((*found, *unheard)):
        device, shelf = devices.get(name), unheard.get(name)
        if device is None or not device.up:
            continue
        rack, ages = found.get(name, (shelf.rack if shelf else "", {}))
        parts = tuple(part for part, age in ages.items() if device.time > now - age)
        if parts or shelf:
            why = device.error if device.state == _PARTIAL else ""
            never = (shelf.unheard, shelf.expected) if shelf else (0, 0)
            told.append(Silent(name, rack, parts, why, *never))
    return tuple(told)
