"""Coolant: a site's from its coolant distribution units (CDU), each unit's own figures, heat and flow counted once."""

import numpy as np

from dashboard.kpis.windows import Floats

#: what tells the heat that a CDU moves, best first, as (field, loop). Both loops carry the same heat: never added
HEAT_SOURCES = (
    ("heat_watts", "tcs"),
    ("heat_watts", "fws"),
    ("heat_reported_watts", "tcs"),
    ("heat_reported_watts", "fws"),
)


def worst_supply_celsius(supply: Floats) -> float | None:
    """Return the warmest technology-loop supply. Units: degC = max over CDUs of degC; None where none is known."""
    known = supply[~np.isnan(supply)]
    return float(known.max()) if len(known) else None


def return_celsius(returns: Floats, flows: Floats) -> float | None:
    """Return the mixed return. Units: degC = sum(degC x L/s) / sum(L/s).

    When a flow is unknown the mix is too, and the warmest return is given. None where no return is known.
    """
    known = ~np.isnan(returns)
    if not known.any():
        return None
    weights, values = flows[known], returns[known]
    if np.isnan(weights).any() or weights.sum() <= 0:
        return float(values.max())
    return float((values * weights).sum() / weights.sum())


def total(values: Floats) -> float | None:
    """Return the sum of what is known, in the unit of `values`; None where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else None


def approach_celsius(tcs_supply: float, fws_supply: float) -> float:
    """Return how far the coolant supply stays above the facility's. Units: K = degC - degC."""
    return tcs_supply - fws_supply


def effectiveness(tcs_return: float, tcs_supply: float, fws_supply: float) -> float | None:
    """Return (T return - T supply) / (T return - T facility supply) (K/K); None where there is nothing to cool with."""
    return (tcs_return - tcs_supply) / (tcs_return - fws_supply) if tcs_return > fws_supply else None


def corrected_pascals(pascals: float, flow: float, reference_flow: float) -> float | None:
    """Return a filter's pressure drop as it would be at the reference flow. Units: Pa = Pa / (L/s / L/s)^2.

    None under a fifth of that flow: the square then blows up the gauges' own error.
    """
    share = flow / reference_flow if reference_flow > 0 else 0.0
    return pascals / share**2 if share >= 0.2 else None


def flow_per_watt(flow: float, heat: float) -> float | None:
    """Return liters per second for each watt of heat. Units: L/s / W = L/J; None without heat."""
    return flow / heat if heat > 0 else None


def heat_balance_ratio(liquid_watts: float, air_watts: float, power_watts: float) -> float | None:
    """Return |W into liquid + W into air - W drawn| / W drawn (W/W); None where nothing is drawn."""
    return abs(liquid_watts + air_watts - power_watts) / power_watts if power_watts > 0 else None


def mismatch_ratio(reported_watts: float, computed_watts: float) -> float | None:
    """Return (W reported - W computed) / W computed (W/W); None where nothing is computed."""
    return (reported_watts - computed_watts) / computed_watts if computed_watts > 0 else None
