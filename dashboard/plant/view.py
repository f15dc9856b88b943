"""Power and coolant as one view, made at each tick for all browsers (contract: docs/contracts.md section 7)."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

from dashboard.plant import balance, coolant, feeds, gaps, parts, racks, read, shelves
from dashboard.plant.balance import RackHeat
from dashboard.plant.checks import Check
from dashboard.plant.coolant import UnitNow
from dashboard.plant.feeds import AcNow, Failover, FeedNow
from dashboard.plant.gaps import Refused, Silent
from dashboard.plant.memory import Memory, remember
from dashboard.plant.parts import BatteryNow, LeakNow
from dashboard.plant.racks import RackPower
from dashboard.plant.read import Seen
from dashboard.plant.roster import roster
from dashboard.plant.shelves import ShelfNow
from dashboard.settings import DashboardSettings
from dashboard.site import Site
from storage.store import Store


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
    refused: Sequence[Refused] = ()
    #: shelves that stand in no known rack
    loose: Sequence[ShelfNow] = ()
    memory: Memory = field(default_factory=Memory)

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
    gear, before = settings.gear, (old or NOTHING).memory
    listed = roster(seen, before.roster)
    made = shelves.shelves(seen, listed, site, gear, before.usual, now)
    memory = remember(before, listed, made, racks.wrong_shelves(doubted), now)
    drawn = racks.racks(seen, site, made, memory.p99, gear, now, doubted)
    ac = feeds.ac_devices(seen, site, now)
    fed = feeds.feeds(site, ac, made, memory.carried, gear.reserve_feeds)
    units = coolant.units(seen, site, gear, settings.limits, now)
    batteries = parts.batteries(seen, now)
    named = {rack.name for rack in site.racks}
    return View(
        time=now,
        seen=seen,
        racks=drawn,
        ac=ac,
        feeds=fed,
        failovers=feeds.failovers(fed),
        units=units,
        heats=balance.rack_heats(seen, drawn, gear, now),
        batteries=batteries,
        leaks=parts.leaks(seen, now),
        checks=seen.checks,
        silent=gaps.silent(seen, made, units, batteries, memory.answering, now),
        refused=gaps.refused(seen, site),
        loose=tuple(shelf for shelf in made if shelf.rack not in named),
        memory=memory,
    )
