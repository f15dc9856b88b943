"""Coolant units that share racks: which of them are at work, and what part of the load each has to carry."""

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.alarms.findings import Scene
from dashboard.facility import CduNow
from dashboard.plant.coolant import UnitNow


@dataclass(frozen=True, slots=True)
class Duty:
    """What a unit has to do now."""

    #: its part of what its racks draw, W
    watts: float
    #: it stands while another one serves its racks
    standing_by: bool


def duties(scene: Scene) -> Mapping[str, Duty]:
    """Return unit -> its duty. Units at work share the load of their racks as they are rated, else evenly."""
    watts = {rack.name: rack.watts or 0.0 for rack in scene.racks}
    units = {unit.name: unit for unit in scene.plant.units}
    working = {cdu.name: _works(cdu, units.get(cdu.name)) for cdu in scene.cdus}
    found = {}
    for cdu in scene.cdus:
        beside = [other for other in scene.cdus if set(other.racks) & set(cdu.racks) and working[other.name]]
        standing_by = bool(beside) and not working[cdu.name]
        shared = [other for other in beside if other.name != cdu.name]
        load = sum(watts.get(rack, 0.0) for rack in cdu.racks)
        found[cdu.name] = Duty(0.0 if standing_by else load * _part(cdu, shared), standing_by)
    return found


def _works(cdu: CduNow, unit: UnitNow | None) -> bool:
    """Return whether a unit runs; one of which neither pumps nor flow are known is held to, and a faulty one too."""
    if unit is not None and any(pump.running is not None or pump.fault for pump in unit.pumps):
        return unit.pumps_running > 0 or any(pump.fault for pump in unit.pumps)
    if cdu.pumps:
        return any(speed > 0 for speed in cdu.pumps)
    return cdu.tcs_flow_liters_per_second is None or cdu.tcs_flow_liters_per_second > 0


def _part(cdu: CduNow, shared: list[CduNow]) -> float:
    rated = [other.rated_watts for other in (cdu, *shared)]
    known = [watts for watts in rated if watts]
    return (cdu.rated_watts or 0.0) / sum(known) if len(known) == len(rated) else 1.0 / len(rated)
