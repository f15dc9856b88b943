"""Every live number of the site, each from the module that knows it, with its aims and with what it lacks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dashboard import idle
from dashboard.alarms.findings import Doubt
from dashboard.boundaries import boundaries
from dashboard.facility import CduNow
from dashboard.gpus import Fleet
from dashboard.heat import heat_number, liquid_ratio_number
from dashboard.kpis import cooling
from dashboard.kpis.cost import idle_cost_per_hour
from dashboard.kpis.windows import Floats
from dashboard.kpis.words import percent
from dashboard.number import Number, number, withheld
from dashboard.numbers import (
    efficiency_numbers,
    headroom_number,
    it_limit_watts,
    power_numbers,
    pue_number,
    token_numbers,
    with_aims,
)
from dashboard.plant.numbers import bus_headroom_number, feed_headroom_number
from dashboard.plant.view import View
from dashboard.tables import Tables


def site_numbers(
    tables: Tables,
    fleet: Fleet,
    cdus: Sequence[CduNow],
    plant: View,
    doubts: Sequence[Doubt],
) -> dict[str, Number]:
    """Return every number of the site by its name. `doubts`: sources of rack power that were left out."""
    bounds = boundaries(tables)
    watts = power_numbers(bounds)
    limit = it_limit_watts(tables.settings, [rack.rated_watts for rack in tables.site.racks])
    found = {
        **token_numbers(tables),
        **watts,
        **efficiency_numbers(tables, bounds),
        "it_headroom_watts": headroom_number(watts["it_watts"], limit),
        "pue": pue_number(tables, bounds),
        "coolant_heat_watts": heat_number(tables, len(cdus)),
        "liquid_heat_ratio": liquid_ratio_number(tables),
        "feed_headroom_watts": feed_headroom_number(tables),
        "bus_headroom_ratio": bus_headroom_number(plant),
    }
    found |= _gpu_numbers(tables, fleet, found["pue"].value or 1.0)
    return _doubted(with_aims(found | _coolant_numbers(tables.now, cdus), tables.settings, limit), doubts, plant)


def _gpu_numbers(tables: Tables, fleet: Fleet, pue: float) -> dict[str, Number]:
    """Return how many GPUs there are, are seen, are idle, and what the idle ones cost and draw."""
    total = len(tables.places.layout.gpus)
    if not total:
        names = ("gpus_total", "gpus_seen", "gpus_idle", "gpus_idle_ratio", "idle_watts", "idle_cost_per_hour")
        return {name: withheld("", "site", "", "no GPU is known") for name in names}
    placed = tables.places.cell >= 0
    state = fleet.verdicts.state
    idle_now = placed & idle.is_idle(state)
    seen, lost = int((placed & fleet.signals.live).sum()), int((placed & (state == idle.LOST)).sum())
    count, watts = int(idle_now.sum()), float(np.nan_to_num(fleet.watts[idle_now]).sum())
    cost = tables.settings.cost
    now, known = (tables.now, tables.now), seen / total
    money = idle_cost_per_hour(count, watts, cost.gpu_hour, cost.tariff_per_kwh, pue)
    idle_formula = "GPUs parked, reserved but idle, unallocated, stalled or stuck"

    def tell(value: float | None, unit: str, boundary: str, formula: str, coverage: float) -> Number:
        return number(value, unit, boundary, formula, window=now, coverage=coverage)

    return {
        "gpus_total": tell(total, "", "site", "GPUs of the inventory and others that report", 1.0),
        "gpus_seen": tell(seen, "", "site", "GPUs whose newest sample is younger than 3 periods", 1.0),
        "gpus_idle": tell(count, "", "site", idle_formula, known),
        "gpus_idle_ratio": tell(
            count / max(total - lost, 1), "ratio", "site", f"{idle_formula} / GPUs not lost", known
        ),
        "idle_watts": tell(watts, "W", "gpu_board", "sum of board power of idle GPUs", known),
        "idle_cost_per_hour": tell(
            money, f"{cost.currency}/h", "facility", "idle GPUs x cost of a GPU hour + idle watts x PUE x tariff", known
        ),
    }


def _coolant_numbers(now: float, cdus: Sequence[CduNow]) -> dict[str, Number]:
    """Return the site's coolant from its CDUs: worst supply, mixed return, flow."""

    def column(name: str) -> Floats:
        return np.array([getattr(cdu, name) for cdu in cdus], dtype=np.float64)

    supply, back = column("tcs_supply_celsius"), column("tcs_return_celsius")
    flow = column("tcs_flow_liters_per_second")
    oldest = max((cdu.age for cdu in cdus if cdu.age is not None), default=None)
    window = None if oldest is None else (now - oldest, now - oldest)

    def tell(value: float | None, unit: str, formula: str, readings: Floats) -> Number:
        known = float(np.mean(~np.isnan(readings))) if len(readings) else 0.0
        return number(value, unit, "cdu", formula, window=window, coverage=known)

    mixed = "flow-weighted mean of the CDUs' technology-loop return (the warmest, where a flow is unknown)"
    return {
        "coolant_supply_celsius": tell(
            cooling.worst_supply_celsius(supply), "degC", "warmest technology-loop supply of the CDUs", supply
        ),
        "coolant_return_celsius": tell(cooling.return_celsius(back, flow), "degC", mixed, back),
        "coolant_flow_liters_per_second": tell(
            cooling.total(flow), "L/s", "sum over CDUs of technology-loop flow", flow
        ),
    }


def _doubted(numbers: dict[str, Number], doubts: Sequence[Doubt], plant: View) -> dict[str, Number]:
    """Return the numbers, those of rack power with what was left out of them."""
    lacking = [f"rack {doubt.rack} left out: {doubt.text}" for doubt in doubts]
    lacking += [
        f"{rack.name}: {percent(rack.coverage)} of its supplies are known"
        for rack in plant.racks
        if rack.source == "power_shelf" and rack.coverage < 1
    ]
    why = "; ".join(lacking[:3])
    names = ("rack_watts", "it_watts") if why else ()
    return numbers | {name: replace(numbers[name], why=numbers[name].why or why) for name in names}
