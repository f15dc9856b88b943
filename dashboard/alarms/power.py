"""The rules of power: supplies, buses, batteries, phases, feeds. A lost feed is one finding, its supplies are none."""

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from itertools import chain

from dashboard.alarms.findings import Finding, Scene
from dashboard.alarms.levels import CRITICAL, FINE, WARNING, level
from dashboard.alarms.words import impact, signed, those, where_is
from dashboard.kpis.words import percent
from dashboard.plant.buses import BusNow
from dashboard.plant.feeds import AcNow, hangs_on
from dashboard.plant.parts import BatteryNow
from dashboard.plant.racks import RackPower
from dashboard.plant.shelves import ShelfNow


def find(scene: Scene) -> Iterator[Finding]:
    """Yield what is the matter with power."""
    yield from _feeds(scene)
    yield from _supplies(scene)
    short = list(_redundancy(scene))
    yield from short
    told = {finding.object for finding in short} | _behind_lost_feeds(scene)
    yield from chain.from_iterable(_headroom(scene, rack) for rack in scene.plant.racks if rack.name not in told)
    for shelf in scene.plant.shelves:
        yield from _shelf(scene, shelf)
    for battery in scene.plant.batteries:
        yield from _battery(scene, battery)
    upstream = {device.name for device in scene.plant.ac if device.lost}
    for device in scene.plant.ac:
        yield from _phases(scene, device, upstream)


def _of_rack(scene: Scene, rule: str, name: str, how: int, priority: int, title: str, rack: str) -> Finding:
    """Return a finding about something in a rack."""
    place, racks = where_is(scene, name, rack), those(rack)
    return Finding(rule, name, priority, title, place, impact(scene, *racks), racks, how)


def _feeds(scene: Scene) -> Iterator[Finding]:
    short = {rack.name for rack in scene.plant.racks if rack.spare is not None and rack.spare < 0}
    for feed in scene.plant.feeds:
        if feed.lost:
            title, hit = f"Feed {feed.name} carries nothing", impact(scene, *feed.racks)
            few = sum(rack in short for rack in feed.racks)
            title += f": {few} rack{'s' if few > 1 else ''} short of supplies" if few else ""
            yield Finding("feed_lost", feed.name, 1, title, "Site", hit or "redundancy lost", feed.racks, CRITICAL)
    lost = {feed.name for feed in scene.plant.feeds if feed.lost}
    for group in scene.plant.failovers:
        name, gone = " + ".join(group.feeds), [feed for feed in group.feeds if feed in lost]
        how = level(scene, "feed_failover_overload", name, group.ratio)
        if how and group.ratio is not None:
            rest = " + ".join(feed for feed in group.feeds if feed not in lost)
            title = f"If one of {name} is lost, the rest carries {percent(group.ratio)} of its rating"
            if gone:
                title = f"{rest} carries {percent(group.ratio)} of its rating, without {', '.join(gone)}"
            priority, hit = (2 if how == CRITICAL else 3), impact(scene, *group.racks)
            yield Finding("feed_failover_overload", name, priority, title, "Site", hit, group.racks, how)


def folded(scene: Scene) -> set[tuple[str, str]]:
    """Return (shelf, supply) of what hangs on a lost feed; a supply whose feed is not known hangs on any."""
    found: set[tuple[str, str]] = set()
    for shelf in scene.plant.shelves:
        own = [feed for feed in scene.plant.feeds if shelf.name in feed.parts]
        lost = [feed.name for feed in own if feed.lost]
        for supply in shelf.supplies if lost else ():
            known = [feed.name for feed in own if hangs_on(supply.feed, feed.name)]
            if not known or set(known) & set(lost):
                found.add((shelf.name, supply.name))
    return found


def unpowered(scene: Scene) -> set[str]:
    """Return the shelves, PDUs and racks all of whose feeds are lost, and the meters of those."""
    feeds = scene.plant.feeds
    lost = {name for feed in feeds if feed.lost for name in (*feed.parts, *feed.racks)}
    lost -= {name for feed in feeds if not feed.lost for name in (*feed.parts, *feed.racks)}
    return lost | {feed.name for feed in feeds if feed.lost}


def _supplies(scene: Scene) -> Iterator[Finding]:
    """Supplies that their device judges failed, and those that carry nothing while the others do."""
    spoken = folded(scene)
    working = {
        (shelf.name, supply.name)
        for shelf in scene.plant.shelves
        for supply in shelf.supplies
        if supply.state in ("ok", "warning") and (supply.output_watts or 0.0) > 0.0
    }
    lost: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for supply in scene.supplies:
        if (supply.device, supply.name) not in working | spoken:
            lost[supply.device, supply.rack][supply.name] = None
    for shelf in scene.plant.shelves:
        for name in shelf.gone:
            if (shelf.name, name) not in spoken:
                lost[shelf.name, shelf.rack][name] = None
    for (device, rack), names in lost.items():
        what = f"Power supply {next(iter(names))} failed" if len(names) == 1 else f"{len(names)} power supplies failed"
        place, racks = where_is(scene, device, rack), those(rack)
        yield Finding("supply_lost", device, 2, f"{what} in {device}", place, "redundancy lost", racks)


def _behind_lost_feeds(scene: Scene) -> set[str]:
    """Return the racks that lack no other supplies than those on a lost feed."""
    spoken = folded(scene)
    gone = {rack.name: {(s.name, supply) for s in rack.shelves for supply in s.gone} for rack in scene.plant.racks}
    return {rack for rack, supplies in gone.items() if supplies and supplies <= spoken}


def _redundancy(scene: Scene) -> Iterator[Finding]:
    explained = _behind_lost_feeds(scene)
    for rack in scene.plant.racks:
        gone = sum(len(shelf.gone) for shelf in rack.shelves)
        if not gone or rack.spare is None or rack.spare > 0 or rack.name in explained:
            continue
        what = "carries the load on its last supplies" if rack.spare == 0 else "has too few supplies for its load"
        title = f"Rack {rack.name} {what}: {rack.running} work, {rack.needed} needed"
        how = CRITICAL if rack.spare < 0 else WARNING
        yield _of_rack(scene, "shelf_redundancy_lost", rack.name, how, 1 if rack.spare < 0 else 2, title, rack.name)


def _headroom(scene: Scene, rack: RackPower) -> Iterator[Finding]:
    how = level(scene, "bus_headroom_low", rack.name, rack.headroom_ratio)
    if how and rack.headroom_ratio is not None:
        title = f"Rack {rack.name} has {percent(rack.headroom_ratio)} of its usable power left"
        yield _of_rack(scene, "bus_headroom_low", rack.name, how, 2 if how == CRITICAL else 3, title, rack.name)


def _shelf(scene: Scene, shelf: ShelfNow) -> Iterator[Finding]:
    if shelf.bus is not None:
        yield from _bus(scene, shelf, shelf.bus)
    # Without a rating nobody knows whether the load is enough to judge by.
    how = level(scene, "share_error", shelf.name, shelf.share_error_ratio if shelf.unit_watts else None)
    if how and shelf.share_error_ratio is not None:
        title = f"A supply of {shelf.name} is {percent(shelf.share_error_ratio)} off its share of the load"
        yield _of_rack(scene, "share_error", shelf.name, how, 4, title, shelf.rack)
    rated, gear = scene.settings.gear.supply_efficiency_ratio, scene.settings.gear
    if rated is None or shelf.efficiency_ratio is None or (shelf.load_ratio or 0.0) < gear.least_load_ratio:
        return
    how = level(scene, "rectifier_efficiency_low", shelf.name, rated - shelf.efficiency_ratio)
    if how:
        now, best = 100 * shelf.efficiency_ratio, 100 * rated
        title = f"Supplies of {shelf.name} at {now:.1f} % efficiency, rated {best:.1f} %"
        yield _of_rack(scene, "rectifier_efficiency_low", shelf.name, how, 4, title, shelf.rack)


def _bus(scene: Scene, shelf: ShelfNow, bus: BusNow) -> Iterator[Finding]:
    name = shelf.name

    def tell(rule: str, how: int, title: str, *, urgent: int = 1) -> Finding:
        return _of_rack(scene, rule, name, how, urgent if how == CRITICAL else 2, title, shelf.rack)

    off = bus.deviation_ratio
    how = level(scene, "bus_voltage", name, None if off is None else abs(off))
    if how and off is not None and bus.set_point_volts is not None:
        against = "usual" if bus.set_point_source == "usual" else "set point"
        side = "under" if off < 0 else "over"
        should = f"{percent(abs(off))} {side} its {against} of {bus.set_point_volts:.1f} V"
        title = f"Bus of {name} at {bus.volts:.1f} V, {should}"
        yield tell("bus_voltage", how, title)
    how = level(scene, "bus_pole_imbalance", name, bus.imbalance_ratio)
    if how and bus.imbalance_ratio is not None:
        title = f"Poles of {name} differ by {percent(bus.imbalance_ratio)}"
        if bus.positive_volts and bus.negative_volts:
            title += f": {signed(bus.positive_volts)} V and {signed(bus.negative_volts)} V"
        yield tell("bus_pole_imbalance", how, title, urgent=2)
    how = CRITICAL if bus.ground_fault else level(scene, "insulation_low", name, bus.ohms_per_volt)
    if how:
        seen = f"{bus.ohms_per_volt:.0f} ohm/V" if bus.ohms_per_volt is not None else "earth fault"
        yield tell("insulation_low", how, f"Insulation of the bus of {name} low: {seen}")


def _battery(scene: Scene, battery: BatteryNow) -> Iterator[Finding]:
    name = f"{battery.device} {battery.unit}".strip(" -")

    def tell(rule: str, how: int, priority: int, title: str) -> Finding:
        return _of_rack(scene, rule, name, how, priority, title, battery.rack)

    discharging = battery.state == "discharging"
    # Without any feed every battery does, which is no news.
    if discharging and battery.rack not in unpowered(scene):
        yield tell("bbu_discharging", WARNING, 2, f"Battery {name} carries the load")
    how = level(scene, "bbu_runtime_low", name, battery.runtime_seconds if discharging else None)
    if how:
        yield tell("bbu_runtime_low", how, 1, f"Battery {name} lasts {battery.runtime_seconds:.0f} s more")
    # While it carries the load, that is what is the matter.
    how = level(scene, "bbu_soc_low", name, None if discharging else battery.charge_ratio)
    if how and battery.charge_ratio is not None:
        title = f"Battery {name} charged to {percent(battery.charge_ratio)}"
        yield tell("bbu_soc_low", how, 2 if how == CRITICAL else 3, title)
    how = level(scene, "bbu_soh_low", name, battery.health_ratio)
    if how and battery.health_ratio is not None:
        title = f"Battery {name} holds {percent(battery.health_ratio)} of what it did: replace it"
        yield tell("bbu_soh_low", how, 2 if how == CRITICAL else 3, title)


def _phases(scene: Scene, device: AcNow, upstream: Set[str]) -> Iterator[Finding]:
    """Yield what is the matter with a device's phases. `upstream`: devices that miss a phase, feeds among them."""
    name = device.name

    def tell(rule: str, how: int, priority: int, title: str) -> Finding:
        return _of_rack(scene, rule, name, how, priority, title, device.rack)

    above = any(feed.name in upstream and name in feed.parts for feed in scene.plant.feeds)
    if device.lost and not above:
        yield tell("phase_lost", CRITICAL, 2, f"Phase {_list(device.lost)} lost at {name}")
    how = level(scene, "ac_phase_overload", name, device.load_ratio)
    if how and device.load_ratio is not None:
        worst = max(
            (p for p in device.phases if p.amperes is not None and p.rated_amperes),
            key=lambda p: (p.amperes or 0.0) / (p.rated_amperes or 1.0),
            default=None,
        )
        where = f"phase {worst.name} of {name}" if worst else name
        title = f"{where[0].upper()}{where[1:]} at {percent(device.load_ratio)} of its rated current"
        yield tell("ac_phase_overload", how, 2 if how == CRITICAL else 3, title)
    how = FINE if device.lost else level(scene, "ac_imbalance", name, _uneven(scene, device))
    if how and device.imbalance_ratio is not None:
        yield tell("ac_imbalance", how, 4, f"Phase currents of {name} uneven by {percent(device.imbalance_ratio)}")


def _uneven(scene: Scene, device: AcNow) -> float | None:
    """Return the imbalance of a device that carries enough for it to mean something."""
    load = device.load_ratio
    if load is None and device.watts is not None and device.rated_watts:
        load = device.watts / device.rated_watts
    return device.imbalance_ratio if load is not None and load > scene.settings.gear.coolant_load_ratio else None


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
