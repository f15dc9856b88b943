"""Coolants and moist air: density, specific heat, dew point. The collectors' own copy is held equal by a test.

Source: density and specific heat are the polynomial fits of collectors/fluids.py to CoolProp 8 at 101325 Pa over 5 to
90 degC (water; propylene glycol, 25 % by mass). Dew point: Magnus formula, Alduchov and Eskridge 1996.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

Fluid = Literal["water", "pg25"]

#: coefficients of rising powers of the temperature in degC. Units: kg/m3, then J/(kg K)
DENSITY: Mapping[Fluid, Sequence[float]] = {
    "water": (1000.112, 0.01309585, -0.005869762, 1.592583e-5),
    "pg25": (1025.813, -0.2444925, -0.00440142, 1.434573e-5),
}
SPECIFIC_HEAT: Mapping[Fluid, Sequence[float]] = {
    "water": (4216.764, -2.74896, 0.06872273, -7.038866e-4, 2.935129e-6),
    "pg25": (3871.269, 2.514211, -0.001867118),
}
#: temperatures that the fits are for. Units: degC
FITTED_CELSIUS = (5.0, 90.0)
#: Magnus formula over water: dimensionless, and degC
MAGNUS = (17.625, 243.04)


def heat_per_liter(fluid: Fluid, celsius: float) -> float | None:
    """Return what a liter holds per kelvin. Units: J/(L K) = kg/m3 x J/(kg K) / 1000; None outside 5 to 90 degC."""
    if not FITTED_CELSIUS[0] <= celsius <= FITTED_CELSIUS[1]:
        return None
    return _polynomial(DENSITY[fluid], celsius) * _polynomial(SPECIFIC_HEAT[fluid], celsius) / 1000.0


def heat_watts(fluid: Fluid, liters_per_second: float, supply_celsius: float, return_celsius: float) -> float | None:
    """Return the heat that a flow carries. Units: W = L/s x J/(L K) x K; None outside 5 to 90 degC."""
    per_liter = heat_per_liter(fluid, (supply_celsius + return_celsius) / 2)
    return None if per_liter is None else liters_per_second * per_liter * (return_celsius - supply_celsius)


def least_flow(fluid: Fluid, heat: float, supply_celsius: float, return_limit_celsius: float) -> float | None:
    """Return the flow that keeps the return at its limit. Units: L/s = W / (J/(L K) x K).

    None where the supply is at the limit already: no flow is enough.
    """
    per_liter = heat_per_liter(fluid, (supply_celsius + return_limit_celsius) / 2)
    rise = return_limit_celsius - supply_celsius
    return None if per_liter is None or rise <= 0 else heat / (per_liter * rise)


def dew_point_celsius(celsius: float, humidity_ratio: float) -> float | None:
    """Return the dew point of air. Units: degC; None for dry air and for what cannot be.

    g = ln(RH) + a T / (b + T), T_dew = b g / (a - g).
    """
    a, b = MAGNUS
    if not (0.0 < humidity_ratio <= 1.0 and celsius > -b):
        return None
    gamma = math.log(humidity_ratio) + a * celsius / (b + celsius)
    return b * gamma / (a - gamma)


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    return sum(c * x**power for power, c in enumerate(coefficients))
