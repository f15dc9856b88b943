"""Coolants and moist air: density, specific heat, the heat that a flow carries, the dew point.

Source: density and specific heat are own polynomial fits (at Chebyshev nodes) to CoolProp 8 at 101325 Pa over 5 to 90
degC; largest errors there: water rho 0.007 %, cp 0.010 %; propylene glycol, 25 % by mass (CoolProp's
INCOMP::MPG-25%), rho 0.0001 %, cp 0.011 %. Pressure up to 3 bar adds 0.02 %. Dew point: Magnus formula with the
coefficients of Alduchov and Eskridge 1996, J. Appl. Meteor. 35, 601.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

Fluid = Literal["water", "pg25"]

#: coefficients of rising powers of the temperature in degC. Units: kg/m3
WATER_DENSITY = (1000.112, 0.01309585, -0.005869762, 1.592583e-5)
PG25_DENSITY = (1025.813, -0.2444925, -0.00440142, 1.434573e-5)
#: likewise. Units: J/(kg K)
WATER_SPECIFIC_HEAT = (4216.764, -2.74896, 0.06872273, -7.038866e-4, 2.935129e-6)
PG25_SPECIFIC_HEAT = (3871.269, 2.514211, -0.001867118)
#: temperatures that the fits are for. Units: degC
FITTED_CELSIUS = (5.0, 90.0)

#: Magnus formula over water: dimensionless, and degC
MAGNUS = (17.625, 243.04)

_DENSITY: Mapping[Fluid, Sequence[float]] = {"water": WATER_DENSITY, "pg25": PG25_DENSITY}
_SPECIFIC_HEAT: Mapping[Fluid, Sequence[float]] = {"water": WATER_SPECIFIC_HEAT, "pg25": PG25_SPECIFIC_HEAT}


def density(fluid: Fluid, celsius: float) -> float:
    """Return the density of a coolant. Units: kg/m3."""
    return _polynomial(_DENSITY[fluid], celsius)


def specific_heat(fluid: Fluid, celsius: float) -> float:
    """Return the specific heat of a coolant. Units: J/(kg K)."""
    return _polynomial(_SPECIFIC_HEAT[fluid], celsius)


def heat_watts(fluid: Fluid, liters_per_second: float, supply_celsius: float, return_celsius: float) -> float | None:
    """Return the heat that a loop carries off, or None where the mean temperature is outside 5 to 90 degC. Units: W.

    Q[W] = V[L/s] / 1000 * rho(T)[kg/m3] * cp(T)[J/(kg K)] * (T_return - T_supply)[K], T the mean of both.
    """
    mean = (supply_celsius + return_celsius) / 2
    if not FITTED_CELSIUS[0] <= mean <= FITTED_CELSIUS[1]:
        return None
    mass_flow = liters_per_second / 1000 * density(fluid, mean)
    return mass_flow * specific_heat(fluid, mean) * (return_celsius - supply_celsius)


def dew_point_celsius(celsius: float, humidity_ratio: float) -> float | None:
    """Return the dew point of air, or None for air without any water and for impossible inputs. Units: degC.

    g = ln(RH) + a T / (b + T), T_dew = b g / (a - g), a = 17.625, b = 243.04 degC.
    """
    a, b = MAGNUS
    if not (0.0 < humidity_ratio <= 1.0 and celsius > -b):
        return None
    gamma = math.log(humidity_ratio) + a * celsius / (b + celsius)
    return b * gamma / (a - gamma)


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    return sum(c * x**power for power, c in enumerate(coefficients))
