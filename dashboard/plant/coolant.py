"""Coolant units: both loops, approach, dew margin, flow against what is needed, pumps, filter, heat."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dashboard.facility_settings import Gear
from dashboard.kpis import cooling, fluids
from dashboard.plant.read import AIR, COOLANT, Seen
from dashboard.settings import Limits
from dashboard.site import Cdu, Site, natural

#: kinds of `coolant` rows that are units with loops of their own
_UNITS = ("cdu", "rpu")
_RUNNING, _FAULT = 1, 2


@dataclass(frozen=True, slots=True)
class LoopNow:
    """One loop of a unit; None where unknown."""

    supply_celsius: float | None = None
    return_celsius: float | None = None
    flow_liters_per_second: float | None = None
    supply_pascals: float | None = None
    return_pascals: float | None = None
    differential_pressure_pascals: float | None = None
    heat_watts: float | None = None
    heat_reported_watts: float | None = None
    valve_ratio: float | None = None

    @property
    def rise_celsius(self) -> float | None:
        """Return the return above the supply. Units: K."""
        if self.supply_celsius is None or self.return_celsius is None:
            return None
        return self.return_celsius - self.supply_celsius


@dataclass(frozen=True, slots=True)
class PumpNow:
    """One pump. `running`: None where neither state nor speed is known."""

    name: str
    running: bool | None
    fault: bool
    speed_ratio: float | None
    speed_rpm: float | None
    silent: bool
    #: of its newest reading, s
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class UnitNow:
    """A coolant distribution unit now; None where unknown."""

    name: str
    racks: tuple[str, ...]
    tcs: LoopNow
    fws: LoopNow
    approach_celsius: float | None
    rated_approach_celsius: float
    effectiveness_ratio: float | None
    dew_point_celsius: float | None
    dew_margin_celsius: float | None
    heat_watts: float | None
    rated_watts: float | None
    load_ratio: float | None
    #: liters per second for each watt of heat
    flow_liters_per_joule: float | None
    #: flow that keeps the return at its limit, and the present one over it
    least_flow_liters_per_second: float | None
    flow_margin_ratio: float | None
    rated_flow_liters_per_second: float | None
    pumps: tuple[PumpNow, ...]
    pumps_needed: int
    level_ratio: float | None
    filter_pascals: float | None
    #: pressure drop of the filter over the clean one's at this flow
    filter_ratio: float | None
    ph: float | None
    conductivity_siemens_per_meter: float | None
    turbidity_ntu: float | None
    #: heat reported over heat computed, minus 1
    heat_mismatch_ratio: float | None
    age: float | None
    #: share of what it told within the last hour that it tells now
    coverage: float

    @property
    def pumps_running(self) -> int:
        """Return how many pumps run."""
        return sum(pump.running is True for pump in self.pumps)


@dataclass(slots=True)
class _Told:
    """The rows of one unit."""

    #: (loop, point) -> field -> value
    rows: dict[tuple[str, str], dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    #: (pump) -> field -> value
    pumps: dict[str, dict[str, float]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    pump_times: dict[str, float] = field(default_factory=dict)
    newest: float = -np.inf
    series: int = 0
    alive: int = 0

    def get(self, loop: str, point: str, name: str) -> float | None:
        return self.rows.get((loop, point), {}).get(name)

    def any(self, name: str) -> float | None:
        """Return the reading of whatever loop and point has it."""
        return next((row[name] for row in self.rows.values() if name in row), None)


def units(seen: Seen, site: Site, gear: Gear, limits: Limits, now: float) -> tuple[UnitNow, ...]:
    """Return every unit of the inventory, and every other that tells of itself, in natural order."""
    told, dew = _read(seen, now), dew_points(seen, now)
    known = {cdu.name: cdu for cdu in site.cdus}
    names = sorted(known.keys() | told.keys(), key=natural)
    return tuple(
        _unit(known.get(name) or Cdu(name), told.get(name) or _Told(), dew.get(name), gear, limits, now)
        for name in names
    )


def _read(seen: Seen, now: float) -> dict[str, _Told]:
    held = seen[COOLANT]
    fresh, newest, stale = held.fresh(now), held.newest().tolist(), held.stale(now).tolist()
    told: dict[str, _Told] = defaultdict(_Told)
    for i, (_, device, kind, loop, point, pump) in enumerate(held.rows()):
        if kind not in _UNITS:
            continue
        row = {name: column[i] for name, column in fresh.items() if column[i] == column[i]}
        unit = told[device]
        unit.series += 1
        unit.alive += not stale[i]
        unit.newest = max(unit.newest, newest[i])
        if pump not in ("", "-"):
            unit.pumps.setdefault(pump, {}).update(row)
            unit.pump_times[pump] = max(newest[i], unit.pump_times.get(pump, -np.inf))
            if stale[i]:
                unit.silent.add(pump)
            continue
        unit.rows[loop or "tcs", point or "-"].update(row)
    return told


def dew_points(seen: Seen, now: float) -> dict[str, float]:
    """Return device -> dew point of the air around it: told, else from temperature and humidity; the dampest point."""
    held = seen[AIR]
    fresh = held.fresh(now)
    found: dict[str, float] = {}
    for i, (device, _) in enumerate(held.rows()):
        dew: float | None = fresh["dew_point_celsius"][i]
        warm, damp = fresh["temperature_celsius"][i], fresh["humidity_ratio"][i]
        if dew != dew:
            dew = fluids.dew_point_celsius(warm, damp) if warm == warm and damp == damp else None
        if dew is not None:
            found[device] = max(dew, found.get(device, -np.inf))
    return found


def _loop(told: _Told, name: str) -> LoopNow:
    return LoopNow(
        supply_celsius=told.get(name, "supply", "temperature_celsius"),
        return_celsius=told.get(name, "return", "temperature_celsius"),
        flow_liters_per_second=told.get(name, "-", "flow_liters_per_second"),
        supply_pascals=told.get(name, "supply", "pressure_pascals"),
        return_pascals=told.get(name, "return", "pressure_pascals"),
        differential_pressure_pascals=told.get(name, "-", "differential_pressure_pascals"),
        heat_watts=told.get(name, "-", "heat_watts"),
        heat_reported_watts=told.get(name, "-", "heat_reported_watts"),
        valve_ratio=told.get(name, "-", "valve_ratio"),
    )


def _unit(cdu: Cdu, told: _Told, dew: float | None, gear: Gear, limits: Limits, now: float) -> UnitNow:
    tcs, fws = _loop(told, "tcs"), _loop(told, "fws")
    sources = (tcs.heat_watts, fws.heat_watts, tcs.heat_reported_watts, fws.heat_reported_watts)
    heat = next((watts for watts in sources if watts is not None), None)
    flow, needed = tcs.flow_liters_per_second, _needed_flow(tcs, heat, gear, limits)
    drop = _filter_pascals(told)
    pumps = _pumps(told, now)
    return UnitNow(
        name=cdu.name,
        racks=cdu.racks,
        tcs=tcs,
        fws=fws,
        approach_celsius=_approach(told, tcs, fws),
        rated_approach_celsius=gear.approaches.get(cdu.name, gear.approach_celsius),
        effectiveness_ratio=_effectiveness(tcs, fws),
        dew_point_celsius=dew,
        dew_margin_celsius=_dew_margin(told, tcs, dew),
        heat_watts=heat,
        rated_watts=cdu.rated_watts,
        load_ratio=heat / cdu.rated_watts if heat is not None and cdu.rated_watts else None,
        flow_liters_per_joule=cooling.flow_per_watt(flow, heat) if flow is not None and heat is not None else None,
        least_flow_liters_per_second=needed,
        flow_margin_ratio=flow / needed if flow is not None and needed else None,
        rated_flow_liters_per_second=cdu.rated_flow_liters_per_second,
        pumps=pumps,
        pumps_needed=max(len(pumps) - max(gear.standby_pumps.get(cdu.name, 1), 1), 1) if pumps else 0,
        level_ratio=told.any("level_ratio"),
        filter_pascals=drop,
        filter_ratio=_filter_ratio(cdu.name, drop, flow, gear),
        ph=told.any("ph"),
        conductivity_siemens_per_meter=told.any("conductivity_siemens_per_meter"),
        turbidity_ntu=told.any("turbidity_ntu"),
        heat_mismatch_ratio=_mismatch(tcs, fws),
        age=max(0.0, now - told.newest) if np.isfinite(told.newest) else None,
        coverage=told.alive / told.series if told.series else 0.0,
    )


def _needed_flow(tcs: LoopNow, heat: float | None, gear: Gear, limits: Limits) -> float | None:
    """Return the least flow that keeps the return at its limit; None where no heat is carried. Units: L/s."""
    if heat is None or heat <= 0 or tcs.supply_celsius is None:
        return None
    return fluids.least_flow(gear.coolant, heat, tcs.supply_celsius, limits.coolant_return_celsius)


def _dew_margin(told: _Told, tcs: LoopNow, dew: float | None) -> float | None:
    given = told.any("dew_margin_celsius")
    if given is None and tcs.supply_celsius is not None and dew is not None:
        return tcs.supply_celsius - dew
    return given


def _approach(told: _Told, tcs: LoopNow, fws: LoopNow) -> float | None:
    given = told.any("approach_celsius")
    if given is None and tcs.supply_celsius is not None and fws.supply_celsius is not None:
        return cooling.approach_celsius(tcs.supply_celsius, fws.supply_celsius)
    return given


def _effectiveness(tcs: LoopNow, fws: LoopNow) -> float | None:
    temperatures = tcs.return_celsius, tcs.supply_celsius, fws.supply_celsius
    back, supply, cold = temperatures
    return None if back is None or supply is None or cold is None else cooling.effectiveness(back, supply, cold)


def _mismatch(tcs: LoopNow, fws: LoopNow) -> float | None:
    for loop in (tcs, fws):
        if loop.heat_reported_watts is not None and loop.heat_watts is not None:
            return cooling.mismatch_ratio(loop.heat_reported_watts, loop.heat_watts)
    return None


def _filter_pascals(told: _Told) -> float | None:
    for loop in ("tcs", "fws"):
        drop = told.get(loop, "filter_in", "differential_pressure_pascals")
        before, after = (told.get(loop, point, "pressure_pascals") for point in ("filter_in", "filter_out"))
        if drop is not None:
            return drop
        if before is not None and after is not None:
            return before - after
    return None


def _filter_ratio(name: str, drop: float | None, flow: float | None, gear: Gear) -> float | None:
    clean = gear.filters.get(name)
    if clean is None or drop is None or flow is None:
        return None
    corrected = cooling.corrected_pascals(drop, flow, clean.liters_per_second)
    return None if corrected is None else corrected / clean.pascals


def _pumps(told: _Told, now: float) -> tuple[PumpNow, ...]:
    ages = {name: max(0.0, now - time) for name, time in told.pump_times.items()}
    names = sorted(told.pumps, key=natural)
    return tuple(_pump(name, told.pumps[name], name in told.silent, ages[name]) for name in names)


def _pump(name: str, row: Mapping[str, float], silent: bool, age: float) -> PumpNow:
    state, speed, rpm = (row.get(field) for field in ("pump_state", "pump_speed_ratio", "pump_speed_rpm"))
    speeds = [value for value in (speed, rpm) if value is not None]
    running = None if state is None else state == _RUNNING
    if speeds and running is not False:  # an enabled pump that does not turn does not run
        running = max(speeds) > 0
    return PumpNow(name, running, state == _FAULT, speed, rpm, silent, age)
