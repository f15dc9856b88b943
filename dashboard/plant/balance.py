"""Heat balance: what racks draw against what their coolant carries away.

A rack's air side is measured by nobody: with the site's `gear.liquid_ratio` its share is taken from there, without it
only what cannot be is told: coolant that carries more than the rack draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.facility_settings import Gear
from dashboard.kpis import cooling
from dashboard.plant.racks import RackPower
from dashboard.plant.read import COOLANT, Seen


@dataclass(frozen=True, slots=True)
class RackHeat:
    """What a rack draws against what its coolant carries away."""

    name: str
    watts: float | None
    liquid_watts: float | None
    #: |heat into liquid and air - power| / power; without a known air share only what liquid carries too much
    balance_ratio: float | None


def rack_heats(seen: Seen, racks: Sequence[RackPower], gear: Gear, now: float) -> tuple[RackHeat, ...]:
    """Return the heat balance of every rack that tells the heat of its loop."""
    held = seen[COOLANT]
    heat = held.fresh(now)["heat_watts"]
    carried = {
        rack or device: heat[i]
        for i, (rack, device, kind, _, _, _) in enumerate(held.rows())
        if kind == "rack" and heat[i] == heat[i]
    }
    return tuple(
        RackHeat(rack.name, rack.watts, carried[rack.name], _balance(carried[rack.name], rack.watts, gear))
        for rack in racks
        if rack.name in carried
    )


def _balance(liquid: float, watts: float | None, gear: Gear) -> float | None:
    if watts is None or watts <= 0:
        return None
    if gear.liquid_ratio is None:
        return max(0.0, liquid / watts - 1.0)
    return cooling.heat_balance_ratio(liquid, (1.0 - gear.liquid_ratio) * watts, watts)
