"""Coolant of a site from its coolant distribution units (CDU): worst supply, mixed return, heat and flow once."""

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
