"""The rules of coolant units: what the temperatures, flows, pumps, filters and the liquid itself say."""

from collections.abc import Iterator, Set

from dashboard.alarms.duty import Duty, duties
from dashboard.alarms.findings import Finding, Scene
from dashboard.alarms.levels import CRITICAL, FINE, WARNING, level, outside
from dashboard.alarms.words import impact, where_is
from dashboard.facility_settings import Band
from dashboard.kpis.words import percent
from dashboard.plant.coolant import PumpNow, UnitNow

#: a valve that is open so far gives all it can
_OPEN_VALVE = 0.9


def find(scene: Scene, starved: Set[str]) -> Iterator[Finding]:
    """Yield what is the matter with coolant. `starved`: units whose low flow is told already; it explains the rest."""
    for unit in scene.plant.units:
        yield from _condensation(scene, unit)
        yield from _exchanger(scene, unit)
        yield from _upkeep(scene, unit)
        if unit.name not in starved:
            yield from _heat(scene, unit)
    rated = {rack.name: rack.rated_watts or 0.0 for rack in scene.racks}
    for rack in scene.plant.heats:
        least = scene.settings.gear.least_load_ratio * rated.get(rack.name, 0.0)
        told = rack.balance_ratio if (rack.watts or 0.0) >= least else None
        how = level(scene, "heat_balance", rack.name, told)
        if how and rack.balance_ratio is not None:
            title = f"Coolant and power of rack {rack.name} differ by {percent(rack.balance_ratio)}"
            place = where_is(scene, rack.name, rack.name)
            yield Finding("heat_balance", rack.name, 4, title, place, "a sensor drifts", (rack.name,), how)


def _tell(
    scene: Scene, unit: UnitNow, rule: str, how: int, title: str, *, priority: tuple[int, int], hit: str = ""
) -> Finding:
    """Return a finding about a unit. `priority`: of a warning, of what is critical."""
    return Finding(
        rule, unit.name, priority[how == CRITICAL], title, "Cooling", hit or impact(scene, *unit.racks), unit.racks, how
    )


def _condensation(scene: Scene, unit: UnitNow) -> Iterator[Finding]:
    margin = unit.dew_margin_celsius
    how = level(scene, "dew_margin_low", unit.name, margin)
    if how and margin is not None:
        title = f"Coolant of {unit.name} {margin:.1f} K above the dew point"
        yield _tell(scene, unit, "dew_margin_low", how, title, priority=(2, 1), hit="condensation")


def _exchanger(scene: Scene, unit: UnitNow) -> Iterator[Finding]:
    approach, rated = unit.approach_celsius, unit.rated_approach_celsius
    valve = unit.tcs.valve_ratio if unit.fws.valve_ratio is None else unit.fws.valve_ratio
    loaded = unit.load_ratio is not None and unit.load_ratio > scene.settings.gear.coolant_load_ratio
    # A valve that throttles the facility's water has cooling in hand: the supply is held up on purpose.
    throttled = valve is not None and valve < _OPEN_VALVE
    over = approach - rated if approach is not None and loaded and not throttled else None
    how = level(scene, "approach_high", unit.name, over)
    if how:
        title = f"Approach of {unit.name} {approach:.1f} K, rated {rated:.1f} K: foul or short of facility water"
        yield _tell(scene, unit, "approach_high", how, title, priority=(3, 2))


def _heat(scene: Scene, unit: UnitNow) -> Iterator[Finding]:
    rise, band = unit.tcs.rise_celsius, scene.settings.alarms.facility.delta_t_out
    loaded = unit.load_ratio is not None and unit.load_ratio > scene.settings.gear.coolant_load_ratio
    if rise is not None and loaded and _is_out(scene, unit.name, rise, band):
        title = f"Coolant of {unit.name} warms by {rise:.1f} K, meant are {band.low:g} to {band.high:g} K"
        yield _tell(scene, unit, "delta_t_out", WARNING, title, priority=(4, 4))
    # Of little heat a small error of a sensor is a large part.
    off = unit.heat_mismatch_ratio if loaded or unit.load_ratio is None else None
    how = level(scene, "heat_mismatch", unit.name, None if off is None else abs(off))
    if how and off is not None:
        against = f"{percent(abs(off))} {'more' if off > 0 else 'less'} heat than flow and temperatures give"
        title = f"{unit.name} reports {against}"
        yield _tell(scene, unit, "heat_mismatch", how, title, priority=(4, 4), hit="a sensor drifts")


def _is_out(scene: Scene, name: str, rise: float, band: Band) -> bool:
    inside = band.hysteresis if scene.held.get(("delta_t_out", name)) else 0.0
    return rise < band.low + inside or rise > band.high - inside


def _upkeep(scene: Scene, unit: UnitNow) -> Iterator[Finding]:
    how = level(scene, "filter_dp_high", unit.name, unit.filter_ratio)
    if how:
        title = f"Filter of {unit.name} at {unit.filter_ratio:.1f} times its clean pressure drop: change it"
        yield _tell(scene, unit, "filter_dp_high", how, title, priority=(4, 3))
    how = level(scene, "reservoir_low", unit.name, unit.level_ratio)
    if how and unit.level_ratio is not None:
        title = f"Reservoir of {unit.name} at {percent(unit.level_ratio)}"
        yield _tell(scene, unit, "reservoir_low", how, title, priority=(3, 2))
    how, what = quality(scene, unit)
    if how:
        title = f"Coolant of {unit.name}: {what}"
        yield _tell(scene, unit, "coolant_quality", how, title, priority=(4, 3), hit="corrosion")


def quality(scene: Scene, unit: UnitNow) -> tuple[int, str]:
    """Return how far the liquid is from what it must be, and in what."""
    limits = scene.settings.alarms.facility.coolant_quality
    wrong = [f"pH {unit.ph:.2f}"] if outside(unit.ph, limits.ph) else []
    if outside(unit.conductivity_siemens_per_meter, limits.conductivity_siemens_per_meter):
        wrong.append(f"conductivity {unit.conductivity_siemens_per_meter:.3f} S/m")
    if outside(unit.turbidity_ntu, limits.turbidity_ntu):
        wrong.append(f"turbidity {unit.turbidity_ntu:.1f} NTU")
    critical = outside(unit.ph, limits.ph_critical)
    return (CRITICAL if critical else WARNING if wrong else FINE), ", ".join(wrong)


def pumps(scene: Scene) -> Iterator[Finding]:
    """Yield pumps that stand while another runs, or have a fault; and units where fewer run than are needed."""
    todo = duties(scene)
    for unit in scene.plant.units:
        duty = todo.get(unit.name, Duty(0.0, standing_by=False))
        if not unit.pumps or duty.standing_by:
            continue
        load = duty.watts
        loaded = unit.rated_watts is not None and load > scene.settings.gear.coolant_load_ratio * unit.rated_watts
        known = [pump for pump in unit.pumps if pump.running is not None]
        if loaded and len(known) == len(unit.pumps) and unit.pumps_running < unit.pumps_needed:
            count = unit.pumps_running
            title = f"{count or 'No'} pump{'s' if count > 1 else ''} of {unit.name} running, {unit.pumps_needed} needed"
            yield _tell(scene, unit, "pump_redundancy_lost", CRITICAL, title, priority=(2, 1))
            continue
        idle = [p for p in unit.pumps if p.running is False and not p.fault and unit.pumps_running]
        in_turns = len(idle) <= scene.settings.gear.standby_pumps.get(unit.name, 0)
        standing = [p for p in unit.pumps if p.fault or (p in idle and not in_turns)]
        if standing:
            hit = "redundancy lost"
            yield _tell(scene, unit, "pump_failed", WARNING, _stopped(unit.name, standing), priority=(2, 2), hit=hit)


def _stopped(unit: str, standing: list[PumpNow]) -> str:
    name = standing[0].name.lower().removeprefix("pump").strip(" -_")
    what = f"Pump {name}" if len(standing) == 1 else f"{len(standing)} pumps"
    return f"{what} of {unit} stopped"
