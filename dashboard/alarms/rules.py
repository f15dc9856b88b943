"""The rules: each looks at the scene and yields what needs a person. Titles name the thing and its place.

Source: priorities and limits of the product's rule table; ISA-18.2 asks that each alarm has an action, so free GPUs,
power capping and single blinks are none.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence, Set

from dashboard.alarms import cooling, fabric, power, trust
from dashboard.alarms.duty import duties
from dashboard.alarms.findings import Fault, Finding, HostNow, Scene
from dashboard.alarms.levels import CRITICAL, FINE, WARNING, level
from dashboard.alarms.words import beside, cooled, impact, say_gpus, where_is
from dashboard.facility import CLOCK_REFUSED_SECONDS, MAINTENANCE, SENSOR_FAULT, UNKNOWN_SERVER, CduNow
from dashboard.kpis.words import percent

#: idle states that need a person, and how urgently
_IDLE_PRIORITY = {"stalled": 2, "parked": 3, "reserved_idle": 3, "ghost": 3}
_IDLE_WORD = {"stalled": "stalled", "parked": "parked", "reserved_idle": "reserved but idle", "ghost": "stuck at 100 %"}


def find(scene: Scene) -> list[Finding]:
    """Return all that is the matter, each root cause once."""
    found = [finding for rule in _RULES for finding in rule(scene)]
    return [*found, *_bits(scene, found)]


def _watched(scene: Scene) -> list[HostNow]:
    """Return the hosts of which telemetry is expected."""
    return [host for host in scene.hosts if not host.maintenance]


def _by_rack(scene: Scene) -> dict[str, list[HostNow]]:
    hosts: dict[str, list[HostNow]] = defaultdict(list)
    for host in _watched(scene):
        hosts[host.rack].append(host)
    return hosts


def _dead(scene: Scene) -> set[str]:
    """Return racks that draw nothing while none of their GPUs answers."""
    ratio = scene.settings.alarms.dead_rack_power_ratio
    silent = _silent(scene)
    return {
        rack.name
        for rack in scene.racks
        if rack.name in silent and rack.watts is not None and rack.watts <= ratio * (rack.rated_watts or 1000.0)
    }


def _silent(scene: Scene) -> set[str]:
    """Return racks with GPUs of which none answers."""
    return {r for r, hosts in _by_rack(scene).items() if sum(h.gpus for h in hosts) and not any(h.live for h in hosts)}


def _leak(scene: Scene) -> Iterator[Finding]:
    wet: dict[tuple[str, str], int] = {}
    for leak in scene.leaks:
        key = (leak.rack, "" if leak.rack else leak.device)
        if leak.state != SENSOR_FAULT and leak.level != "switch":
            wet[key] = max(leak.state, wet.get(key, 0))
    # A detector that falls silent when it is wet is not dry.
    drowned = {
        (leak.rack, "" if leak.rack else leak.device)
        for leak in scene.plant.leaks
        if leak.state == "silent" and leak.last in ("warning", "critical") and leak.level != "switch"
    }
    for rack, device in dict.fromkeys([*wet, *sorted(drowned)]):
        where = f"rack {rack}" if rack else device
        where += ", and its detector is silent" if (rack, device) in drowned - wet.keys() else ""
        racks = (rack,) if rack else cooled(scene, device)
        place = where_is(scene, rack or device, rack)
        yield Finding("leak_detected", rack or device, 1, f"Leak in {where}", place, impact(scene, *racks), racks)


def _leak_sensor(scene: Scene) -> Iterator[Finding]:
    for leak in scene.leaks:
        if leak.state == SENSOR_FAULT:
            where = f"rack {leak.rack}" if leak.rack else leak.device
            title = f"Leak sensor broken in {where}"
            place, racks = where_is(scene, leak.device, leak.rack), (leak.rack,) if leak.rack else ()
            yield Finding("leak_sensor_fault", leak.device, 3, title, place, "leaks unseen", racks)


def _rack_power(scene: Scene) -> Iterator[Finding]:
    for rack in sorted(_dead(scene) - power.unpowered(scene)):
        place = where_is(scene, rack, rack)
        yield Finding("rack_no_power", rack, 1, f"No power in rack {rack}", place, impact(scene, rack), (rack,))


def _rack_telemetry(scene: Scene) -> Iterator[Finding]:
    seen = any(host.live for host in scene.hosts)
    for rack in sorted(_silent(scene) - _dead(scene)):
        if seen:  # with no GPU anywhere, the collectors are the matter, and every device says so
            title = f"Telemetry lost in rack {rack}"
            yield Finding("telemetry_lost", rack, 3, title, where_is(scene, rack, rack), impact(scene, rack), (rack,))


def _gpu_lost(scene: Scene) -> Iterator[Finding]:
    for host in _watched(scene):
        if host.lost:
            title = f"{say_gpus(host.lost)} lost on {host.name}"
            place = where_is(scene, host.name, host.rack)
            yield Finding("gpu_lost", host.name, 2, title, place, say_gpus(host.lost), (host.rack,))


def _gpu_faults(scene: Scene) -> Iterator[Finding]:
    """What boards and drivers report, one alarm per host and kind."""
    resting = {host.name for host in scene.hosts if host.maintenance}
    by_host: dict[tuple[str, str, str], list[Fault]] = defaultdict(list)
    for fault in scene.faults:
        if fault.host not in resting:
            by_host[fault.rule, fault.host or fault.gpu, fault.rack].append(fault)
    for (rule, name, rack), same in by_host.items():
        worst = min(same, key=lambda fault: fault.priority)
        gpus = worst.gpu if len(same) == 1 else say_gpus(len(same))
        title = worst.what.replace("{gpu}", gpus).replace("{host}", worst.host or "no known host")
        place = where_is(scene, name, rack)
        yield Finding(rule, name, worst.priority, title, place, say_gpus(len(same)), (rack,) if rack else ())


def _throttled(scene: Scene) -> Iterator[Finding]:
    for rack, hosts in _by_rack(scene).items():
        hot, gpus = sum(host.throttled for host in hosts), sum(host.gpus for host in hosts)
        if hot and hot >= scene.settings.alarms.throttled_rack_ratio * gpus:
            title = f"GPUs slowed by heat or power brake in rack {rack}"
            yield Finding("throttled", rack, 2, title, where_is(scene, rack, rack), say_gpus(hot), (rack,))


def _idle(scene: Scene) -> Iterator[Finding]:
    for rack, hosts in _by_rack(scene).items():
        total: Counter[str] = Counter()
        for host in hosts:
            total.update(host.idle)
        gpus = sum(host.gpus for host in hosts)
        for state, priority in _IDLE_PRIORITY.items():
            count = total[state]
            if not count:
                continue
            named = [host for host in hosts if host.idle.get(state)]
            if len(named) > 1 and count >= scene.settings.alarms.idle_rack_ratio * gpus:
                yield _idle_finding(scene, state, priority, count, rack, rack)
                continue
            for host in named:
                yield _idle_finding(scene, state, priority, host.idle[state], host.name, rack)


def _idle_finding(scene: Scene, state: str, priority: int, count: int, name: str, rack: str) -> Finding:
    where = f"in rack {rack}" if name == rack else f"on {name}"
    title, place = f"{say_gpus(count)} {_IDLE_WORD[state]} {where}", where_is(scene, name, rack)
    return Finding(f"idle_{state}", name, priority, title, place, say_gpus(count), (rack,))


def _device_silent(scene: Scene) -> Iterator[Finding]:
    folded, unpowered = _dead(scene) | _silent(scene), power.unpowered(scene)
    watched = [device for device in scene.devices if device.state not in (UNKNOWN_SERVER, MAINTENANCE)]
    down = [d for d in watched if not d.up and d.rack not in folded and not {d.name, d.rack} & unpowered]
    if len(down) > 1 and len(down) == len(watched):
        yield Finding("device_silent", "site", 2, f"No device answers ({len(down)})", "Site", "no telemetry")
        return
    by_rack: dict[str, list[str]] = defaultdict(list)
    for device in down:
        by_rack[device.rack].append(device.name)
    for rack, names in by_rack.items():
        racks = (rack,) if rack else ()
        if rack and len(names) > 2:
            title, place = f"{len(names)} devices silent in rack {rack}", where_is(scene, rack, rack)
            yield Finding("device_silent", rack, 3, title, place, ", ".join(names), racks)
            continue
        for name in names:
            behind = sum(host.gpus for host in scene.hosts if host.name in scene.uplinks.get(name, ()))
            place, hit = where_is(scene, name, rack), say_gpus(behind) if behind else ""
            yield Finding("device_silent", name, 3, f"No answer from {name}", place, hit, racks)


def _device_resting(scene: Scene) -> Iterator[Finding]:
    """What is no fault of a device: it is in maintenance, or nobody knows what it is."""
    for device in scene.devices:
        racks = (device.rack,) if device.rack else ()
        place = where_is(scene, device.name, device.rack)
        if device.state == MAINTENANCE:
            title = f"{device.name} is in maintenance"
            yield Finding("device_maintenance", device.name, 4, title, place, "not watched", racks)
        elif device.state == UNKNOWN_SERVER:
            title = f"Unknown server at {device.name}: give it a profile"
            yield Finding("device_unknown", device.name, 3, title, place, "nothing is read", racks)


def _coolant(scene: Scene, starved: Set[str]) -> Iterator[Finding]:
    low, high = scene.settings.limits.coolant_supply_celsius
    hottest = scene.settings.limits.coolant_return_celsius
    todo = duties(scene)
    for cdu in scene.cdus:
        if todo[cdu.name].standing_by:  # what stands in its pipes is as warm as the room
            continue
        hit = impact(scene, *cdu.racks)
        supply, back = cdu.tcs_supply_celsius, cdu.tcs_return_celsius
        if supply is not None and supply > high:
            title = f"Coolant supply {supply:.1f} °C at {cdu.name}, limit {high:.0f} °C"
            yield Finding("coolant_supply_high", cdu.name, 2, title, "Cooling", hit, cdu.racks)
        if supply is not None and supply < low:
            title = f"Coolant supply {supply:.1f} °C at {cdu.name}, lowest {low:.0f} °C"
            yield Finding("coolant_supply_low", cdu.name, 2, title, "Cooling", "condensation", cdu.racks)
        if back is not None and back > hottest and cdu.name not in starved:
            title = f"Coolant return {back:.1f} °C at {cdu.name}, limit {hottest:.0f} °C"
            yield Finding("coolant_return_high", cdu.name, 2, title, "Cooling", hit, cdu.racks)


def _pumps(scene: Scene) -> Iterator[Finding]:
    """A pump that stands while another of its unit runs, by its state, or by its speed where no state is known."""
    yield from cooling.pumps(scene)
    known = {unit.name for unit in scene.plant.units if unit.pumps}
    for cdu in scene.cdus:
        standing = [str(number) for number, speed in enumerate(cdu.pumps, start=1) if speed == 0.0]
        if cdu.name not in known and standing and len(standing) < len(cdu.pumps):
            what = f"Pump {standing[0]}" if len(standing) == 1 else f"{len(standing)} pumps"
            title = f"{what} of {cdu.name} stopped"
            yield Finding("pump_failed", cdu.name, 2, title, "Cooling", "redundancy lost", cdu.racks)


def _flow(scene: Scene) -> Iterator[Finding]:
    """Flow low, and what it explains left out: a unit's folds its racks', and the return that it lets grow hot.

    Against what the load needs: rated flow x load / rated load; and against the least flow that keeps the return at
    its limit.
    """
    low = dict(_low_units(scene))
    folded = {rack for cdu in scene.cdus if cdu.name in low for rack in cdu.racks}
    dry = {finding.object for finding in cooling.pumps(scene) if finding.rule == "pump_redundancy_lost"}
    for cdu in scene.cdus:
        if cdu.name in low and cdu.name not in dry:
            yield _flow_finding(scene, cdu, low[cdu.name])
    for rack in scene.racks:
        needs = (rack.flow_liters_per_second, rack.rated_flow_liters_per_second, rack.watts or 0.0, rack.rated_watts)
        if rack.name not in folded and _starved(scene, *needs):
            title, place = f"Coolant flow low in rack {rack.name}", where_is(scene, rack.name, rack.name)
            yield Finding("coolant_flow_low", rack.name, 2, title, place, impact(scene, rack.name), (rack.name,))
    yield from _coolant(scene, low.keys())
    yield from cooling.find(scene, low.keys())


def _low_units(scene: Scene) -> Iterator[tuple[str, int]]:
    """Yield (unit, level) of each coolant unit with too little flow for its part of the load."""
    todo = duties(scene)
    margins = {unit.name: unit.flow_margin_ratio for unit in scene.plant.units}
    for cdu in scene.cdus:
        if todo[cdu.name].standing_by:
            continue
        load = todo[cdu.name].watts
        how = level(scene, "coolant_flow_low", cdu.name, margins.get(cdu.name))
        if _starved(scene, cdu.tcs_flow_liters_per_second, cdu.rated_flow_liters_per_second, load, cdu.rated_watts):
            how = max(how, WARNING)
        if how != FINE:
            yield cdu.name, how


def _flow_finding(scene: Scene, cdu: CduNow, how: int) -> Finding:
    title, priority = f"Coolant flow low at {cdu.name}", 1 if how == CRITICAL else 2
    return Finding("coolant_flow_low", cdu.name, priority, title, "Cooling", impact(scene, *cdu.racks), cdu.racks, how)


def _starved(scene: Scene, flow: float | None, rated: float | None, load: float, rated_load: float | None) -> bool:
    if flow is None or not rated or not rated_load:
        return False
    return flow < scene.settings.alarms.flow_ratio * rated * min(1.0, load / rated_load)


#: what a rule tells already -> words in a device's own alarm of the same
_SAME = {
    "leak": ("leak",),
    "insulation": ("ground", "earth", "insulation"),
    "bus_": ("voltage", "bus"),
    "pump": ("pump",),
    "reservoir": ("level", "reservoir"),
    "coolant_flow": ("flow",),
    "phase": ("phase", "voltage"),
    "shelf_": ("psu", "supply", "rectifier"),
    "supply_": ("supply", "rectifier"),
    "part_": ("comm", "missing"),
}


def _bits(scene: Scene, found: Sequence[Finding]) -> Iterator[Finding]:
    """Alarms that devices raise themselves, but for those of what is told already about the device or its rack."""
    told: dict[str, set[str]] = defaultdict(set)
    for finding in found:
        told[finding.object].update(word for rule, of in _SAME.items() if finding.rule.startswith(rule) for word in of)
    by_device: dict[tuple[str, str], list[str]] = defaultdict(list)
    for bit in scene.bits:
        words = told.get(bit.device, set()) | (told.get(bit.rack, set()) if bit.rack else set())
        if not any(word in bit.name.lower() for word in words):
            by_device[bit.device, bit.rack].append(bit.name)
    for (device, rack), names in by_device.items():
        title = f"{device} reports {names[0]}" if len(names) == 1 else f"{device} reports {len(names)} alarms"
        racks = (rack,) if rack else cooled(scene, device)
        place = where_is(scene, device, rack)
        yield Finding("device_alarm", device, 3, title, place, ", ".join(names[:3]), racks)


def _targets(scene: Scene) -> Iterator[Finding]:
    pue, aim = scene.numbers["pue"].value, scene.settings.targets.pue
    if pue is not None and aim is not None and pue > aim:
        now, target = beside(pue, aim)
        yield Finding("pue_high", "site", 3, f"PUE {now} above its target of {target}", "Site", "energy cost")
    yielded, goal = scene.numbers["tokens_per_joule_it"].value, scene.settings.targets.tokens_per_joule_it
    if yielded is not None and goal is not None and yielded < goal:
        now, target = beside(yielded, goal)
        title = f"Tokens per watt {now} below the target of {target}"
        yield Finding("efficiency_low", "site", 3, title, "Site", "energy cost")


def _unmapped(scene: Scene) -> Iterator[Finding]:
    """Tokens without GPUs, energy without engines (E14): neither belongs into a figure of a rack or model."""
    most = scene.settings.alarms.unmapped_ratio
    tokens, energy = scene.trust.unmapped_tokens_ratio, scene.trust.unmapped_energy_ratio
    if tokens is not None and tokens > most:
        title = f"{percent(tokens)} of the tokens come from engines on no known host: add them to the inventory"
        yield Finding("unmapped_tokens", "site", 3, title, "Site", "tokens per watt by rack")
    if energy is not None and energy > most:
        share = percent(energy)
        title = f"{share} of the GPU energy goes to work of no known engine: add targets or the engines' hosts"
        yield Finding("unmapped_energy", "site", 3, title, "Site", "tokens per watt")


def _suspects(scene: Scene) -> Iterator[Finding]:
    count = len(scene.trust.suspects)
    if count:
        title = f"Energy counter and power of {say_gpus(count)} differ by more than 5 %"
        yield Finding("energy_suspect", "site", 3, title, "Site", "GPU board energy")


def _clocks(scene: Scene) -> Iterator[Finding]:
    for collector, seconds in scene.trust.clocks_ahead.items():
        refused = seconds > CLOCK_REFUSED_SECONDS
        title = f"Clock of collector {collector} is {seconds:.0f} s ahead: set its time" + (
            "; its data is refused" if refused else ""
        )
        yield Finding("clock_skew", collector, 2 if refused else 3, title, "Site", "ages and windows")


_RULES: tuple[Callable[[Scene], Iterator[Finding]], ...] = (
    _leak,
    _rack_power,
    _gpu_lost,
    _gpu_faults,
    _throttled,
    _pumps,
    _flow,
    power.find,
    _idle,
    _rack_telemetry,
    _device_silent,
    _device_resting,
    _leak_sensor,
    fabric.find,
    _targets,
    _unmapped,
    _suspects,
    _clocks,
    trust.find,
)
