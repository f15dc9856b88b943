"""AC side: devices with their phases, feeds A and B, and what the others carry when one feed is lost."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.kpis import hvdc
from dashboard.plant.read import POWER, Seen
from dashboard.plant.shelves import ShelfNow
from dashboard.site import Feed, Site, natural

#: circuits that are parts of a device, not its input
_PARTS = ("outlet", "branch", "bank", "breaker", "psu", "rectifier", "group")
#: a phase under this share of the others' voltage is lost; a feed under this share of its rating carries nothing
LOST_RATIO, _NOTHING_RATIO = 0.10, 0.01
_LIVE_VOLTS, _LIVE_AMPERES = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class PhaseNow:
    """One phase or line of a device; None where unknown."""

    name: str
    volts: float | None
    amperes: float | None
    watts: float | None
    rated_amperes: float | None


@dataclass(frozen=True, slots=True)
class AcNow:
    """A meter or rack PDU: the whole of it and its phases."""

    name: str
    kind: str
    rack: str
    watts: float | None
    rated_watts: float | None
    #: the most loaded phase's current over its rating, else what the device says of its load
    load_ratio: float | None
    imbalance_ratio: float | None
    phases: tuple[PhaseNow, ...]
    lost: tuple[str, ...]
    age: float


@dataclass(frozen=True, slots=True)
class FeedNow:
    """A feed of the building; None where unknown."""

    name: str
    watts: float | None
    rated_watts: float | None
    load_ratio: float | None
    racks: tuple[str, ...]
    parts: tuple[str, ...]
    #: supplies that hang on it, as they tell it; and those of them that carry nothing
    supplies: int
    supplies_lost: int
    #: the feed carries nothing while another does
    lost: bool
    age: float | None


@dataclass(frozen=True, slots=True)
class Failover:
    """Feeds that stand in for each other: what the others carry when the worst one is lost."""

    feeds: tuple[str, ...]
    watts: float | None
    #: rating of those that stay
    rated_watts: float | None
    ratio: float | None
    headroom_watts: float | None
    racks: tuple[str, ...]


def ac_devices(seen: Seen, site: Site, now: float) -> tuple[AcNow, ...]:
    """Return every meter and rack PDU that tells something, in natural order."""
    held = seen[POWER]
    kinds = held.tags["kind"]
    chosen = np.flatnonzero((kinds == "meter") | (kinds == "rack_pdu"))
    names = ("active_watts", "voltage_volts", "current_amperes", "rated_watts", "rated_amperes", "load_ratio")
    rows = held.known(now)[chosen][:, [held.table.fields.index(name) for name in names]].tolist()
    newest = held.newest()[chosen].tolist()
    totals: dict[str, dict[str, float]] = defaultdict(dict)
    phases: dict[str, dict[tuple[str, str], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    about: dict[str, tuple[str, str]] = {}
    times: dict[str, float] = {}
    for (rack, device, kind, circuit, side, phase, _), values, told in zip(
        held.rows(chosen), rows, newest, strict=True
    ):
        if side == "output" or circuit.startswith(_PARTS):
            continue
        row = {name: value for name, value in zip(names, values, strict=True) if value == value}
        if phase not in ("", "-"):
            phases[device][circuit, phase].update(row)
        elif circuit == "total":
            totals[device].update(row)
        about[device] = (kind, rack)
        times[device] = max(told, times.get(device, -np.inf))
    return tuple(
        _ac(name, *about[name], totals.get(name, {}), phases.get(name, {}), site, max(0.0, now - times[name]))
        for name in sorted(about, key=natural)
    )


def _ac(
    name: str,
    kind: str,
    rack: str,
    total: Mapping[str, float],
    phases: Mapping[tuple[str, str], Mapping[str, float]],
    site: Site,
    age: float,
) -> AcNow:
    rated_amperes = total.get("rated_amperes")
    several = len({circuit for circuit, _ in phases}) > 1
    by_circuit: dict[str, list[PhaseNow]] = defaultdict(list)
    for (circuit, phase), row in sorted(phases.items(), key=lambda item: (natural(item[0][0]), natural(item[0][1]))):
        own_rating = row.get("rated_amperes", rated_amperes)
        by_circuit[circuit].append(
            PhaseNow(
                f"{circuit} {phase}" if several else phase,
                row.get("voltage_volts"),
                row.get("current_amperes"),
                row.get("active_watts"),
                own_rating,
            )
        )
    own = tuple(phase for group in by_circuit.values() for phase in group)
    shelf = site.shelves.get(name)
    rated = total.get("rated_watts") or (shelf.rated_watts if shelf else None)
    loads = [p.amperes / p.rated_amperes for p in own if p.amperes is not None and p.rated_amperes]
    if not loads and rated_amperes and "current_amperes" in total:
        loads = [total["current_amperes"] / rated_amperes]
    lost = tuple(name for group in by_circuit.values() for name in lost_phases(group))
    uneven = max((found for group in by_circuit.values() if (found := _imbalance(group)) is not None), default=None)
    load = max(loads, default=total.get("load_ratio"))
    return AcNow(name, kind, rack, total.get("active_watts"), rated, load, uneven, own, lost, age)


def _imbalance(phases: Sequence[PhaseNow]) -> float | None:
    amperes = [phase.amperes for phase in phases if phase.amperes is not None]
    return hvdc.imbalance(amperes) if max(amperes, default=0.0) > _LIVE_AMPERES else None


def lost_phases(phases: Sequence[PhaseNow]) -> tuple[str, ...]:
    """Return the phases whose voltage is under a tenth of the others' mean."""
    volts = {phase.name: abs(phase.volts) for phase in phases if phase.volts is not None}
    lost = []
    for name, own in volts.items():
        others = [value for other, value in volts.items() if other != name]
        mean = sum(others) / len(others) if others else 0.0
        if mean > _LIVE_VOLTS and own < LOST_RATIO * mean:
            lost.append(name)
    return tuple(lost)


def feeds(
    site: Site,
    devices: Sequence[AcNow],
    shelves: Sequence[ShelfNow],
    carried: Mapping[str, float],
    reserve: Collection[str] = (),
) -> tuple[FeedNow, ...]:
    """Return the feeds of the inventory. A feed's own meter has its name.

    `carried`: rack -> W that its supplies gave within the last hour; `reserve`: feeds that carry nothing by design.
    """
    meters = {device.name: device for device in devices}
    watts = {feed.name: meters[feed.name].watts for feed in site.power_feeds if feed.name in meters}
    together = {name: group for group in groups(site.power_feeds) for name in group}
    made = []
    for feed in site.power_feeds:
        meter, supplies = meters.get(feed.name), _supplies_of(feed, shelves)
        rated = feed.rated_watts or (meter.rated_watts if meter else None)
        drawn = watts.get(feed.name)
        others = [watts.get(name) or 0.0 for name in together[feed.name] if name != feed.name]
        behind = sum(carried.get(rack, 0.0) for rack in feed.racks)
        gone = sum(state != "ok" for state in supplies)
        lost = _is_lost(drawn, rated, max(*others, behind, 0.0), len(supplies), gone)
        made.append(
            FeedNow(
                name=feed.name,
                watts=drawn,
                rated_watts=rated,
                load_ratio=drawn / rated if drawn is not None and rated else None,
                racks=feed.racks,
                parts=feed.parts,
                supplies=len(supplies),
                supplies_lost=gone,
                lost=lost and feed.name not in reserve,
                age=meter.age if meter else None,
            )
        )
    return tuple(made)


def hangs_on(supply_feed: str, feed: str) -> bool:
    """Return whether a supply that tells the feed A hangs on the feed of that name: `feed-a`, `Feed A`, `ups_a`."""
    told = supply_feed.upper()
    return bool(told) and told in (feed.upper(), re.split(r"[^A-Z0-9]+", feed.upper())[-1])


def _supplies_of(feed: Feed, shelves: Sequence[ShelfNow]) -> list[str]:
    """Return what is so with each supply that says it hangs on this feed: ok or gone."""
    parts = frozenset(feed.parts)
    own = [supply for shelf in shelves if shelf.name in parts for supply in shelf.supplies]
    names = {told for told in {supply.feed for supply in own} if hangs_on(told, feed.name)}
    return ["ok" if supply.state in ("ok", "warning", "silent") else "gone" for supply in own if supply.feed in names]


def _is_lost(watts: float | None, rated: float | None, elsewhere: float, supplies: int, gone: int) -> bool:
    """Return whether the feed carries nothing that it should: by its meter, else by all of its supplies.

    `elsewhere`: W that a feed beside it carries, or that the racks behind it took within the last hour.
    """
    if watts is not None and rated:
        return watts < _NOTHING_RATIO * rated and elsewhere > _NOTHING_RATIO * rated
    return supplies > 1 and gone == supplies


def failovers(made: Sequence[FeedNow]) -> tuple[Failover, ...]:
    """Return the groups of feeds that stand in for each other: two at least."""
    by_name = {feed.name: feed for feed in made}
    return tuple(_failover([by_name[name] for name in names]) for names in groups(made) if len(names) > 1)


def groups(feeds: Sequence[Feed | FeedNow]) -> list[list[str]]:
    """Return the names of the feeds that hang together through a shelf, PDU or rack that they have in common."""
    shared = {feed.name: {*feed.parts, *feed.racks} for feed in feeds}
    found: list[list[str]] = []
    for feed, own in shared.items():
        touching = [group for group in found if any(own & shared[other] for other in group)]
        joined = [feed, *(other for group in touching for other in group)]
        found = [group for group in found if group not in touching] + [joined]
    return [sorted(group, key=natural) for group in found]


def _failover(group: Sequence[FeedNow]) -> Failover:
    """Return what the others carry when the worst feed is lost; where one is lost already, what the others do carry."""
    names, racks = tuple(feed.name for feed in group), tuple(dict.fromkeys(r for f in group for r in f.racks))
    watts = [0.0 if feed.lost else feed.watts for feed in group]
    told = [value for value in watts if value is not None]
    rated = [feed.rated_watts for feed in group if feed.rated_watts]
    whole = sum(told) if len(told) == len(group) else None
    if len(rated) < len(group):
        return Failover(names, whole, None, None, None, racks)
    gone = any(feed.lost for feed in group)
    left = sum(rated) - (sum(f.rated_watts or 0.0 for f in group if f.lost) if gone else max(rated))
    if whole is None:
        return Failover(names, whole, left, None, None, racks)
    ratio = (whole / left if left > 0 else None) if gone else hvdc.failover_ratio(told, rated)
    return Failover(names, whole, left, ratio, left - whole, racks)
