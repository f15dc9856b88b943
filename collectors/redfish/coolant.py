"""Heat that a connector's own coolant carries, where the device tells density and specific heat of it.

Q[W] = V[L/min] / 60000 * rho[kg/m3] * cp[kJ/(kg K)] * 1000 * (T_return - T_supply)[K]. Where the device does not tell
them, the profile's `heat` rule takes the fluid that the profile names.

Source: DMTF DSP8010 2025.4, CoolantConnector 1.3 and CoolingLoop 1.1, `Coolant`.
"""

import math
from collections.abc import Mapping

from collectors.redfish.paths import Resource, find, look_up, parse_path

_FLOW = parse_path("FlowLitersPerMinute.Reading")
_SUPPLY = parse_path("SupplyTemperatureCelsius.Reading")
_RETURN = parse_path("ReturnTemperatureCelsius.Reading")
_LOOP = parse_path("Links.ConnectedCoolingLoop")
_DENSITY = parse_path("Coolant.DensityKgPerCubicMeter")
_HEAT_CAPACITY = parse_path("Coolant.SpecificHeatkJoulesPerKgK")

#: what a liquid can be: from hydrocarbons to fluorocarbons and water
_DENSITIES = (500.0, 2500.0)
_HEAT_CAPACITIES = (0.8, 4.5)
_FLOWS, _TEMPERATURES = (0.0, 60_000.0), (-30.0, 130.0)


def loop_of(connector: Resource) -> str:
    """Return the URI of the loop that a connector hangs on, where the connector does not tell of its coolant itself."""
    try:
        link = find(connector, _LOOP)
    except KeyError:
        return ""
    uri = link.get("@odata.id") if isinstance(link, Mapping) else None
    return uri if isinstance(uri, str) and _properties(connector) is None else ""


def heat_watts(connector: Resource, loop: Resource) -> float | None:
    """Return the heat that a connector's coolant carries, or None where anything of it is not told. Units: W."""
    fluid = _properties(connector) or _properties(loop)
    flow = _number(connector, _FLOW, _FLOWS)
    supply, back = (_number(connector, path, _TEMPERATURES) for path in (_SUPPLY, _RETURN))
    if fluid is None or flow is None or supply is None or back is None:
        return None
    density, heat_capacity = fluid
    return flow / 60_000 * density * heat_capacity * 1000 * (back - supply)


def _properties(resource: Resource) -> tuple[float, float] | None:
    density = _number(resource, _DENSITY, _DENSITIES)
    heat_capacity = _number(resource, _HEAT_CAPACITY, _HEAT_CAPACITIES)
    return None if density is None or heat_capacity is None else (density, heat_capacity)


def _number(resource: Resource, path: tuple[object, ...], limits: tuple[float, float]) -> float | None:
    try:
        raw = look_up(resource, path)  # type: ignore[arg-type]
        value = None if raw is None or isinstance(raw, bool) else float(raw)
    except (KeyError, ValueError, OverflowError):
        return None
    return value if value is not None and math.isfinite(value) and limits[0] <= value <= limits[1] else None
