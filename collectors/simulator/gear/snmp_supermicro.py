"""The SNMP values of a Supermicro sidecar CDU: texts under one node, numbered as its maker's list has them.

Source: LCS-SCDU-200AR001 value list (1.3.6.1.4.1.10876.301.1.1.4.1).
"""

import math
from collections.abc import Callable

from collectors.simulator.factory import Factory
from collectors.simulator.gear.readings import UPTIME_SECONDS
from collectors.simulator.mib import Mib, MibBuilder
from collectors.simulator.state import Cdus

OBJECT_ID = (1, 3, 6, 1, 4, 1, 10876)
VALUES = (*OBJECT_ID, 301, 1, 1, 4, 1)
DESCRIPTION = "Supermicro SCDU"
KILO, PERCENT, MINUTE = 1e-3, 100.0, 60.0
MICROSIEMENS_PER_CM = 1e4
MAINS_VOLTS, POWER_FACTOR = 400.0, 0.95
FANS = 8

#: number in the list -> factor and array of the state
ARRAYS = {
    1: (1.0, "tcs_supply_celsius"),
    2: (1.0, "tcs_supply_celsius"),
    3: (1.0, "tcs_return_celsius"),
    4: (1.0, "tcs_return_celsius"),
    5: (KILO, "tcs_supply_pascals"),
    6: (KILO, "tcs_supply_pascals"),
    7: (KILO, "tcs_return_pascals"),
    8: (KILO, "tcs_return_pascals"),
    9: (KILO, "filter_in_pascals"),
    10: (KILO, "filter_out_pascals"),
    11: (MINUTE, "tcs_flow_liters_per_second"),
    12: (1.0, "ambient_celsius"),
    13: (PERCENT, "humidity_ratio"),
    14: (1.0, "dew_point_celsius"),
    15: (1.0, "ph"),
    16: (MICROSIEMENS_PER_CM, "conductivity_siemens_per_meter"),
    17: (1.0, "turbidity_ntu"),
    18: (KILO, "power_watts"),
    23: (KILO, "heat_watts"),
}
CURRENT, FIRST_PUMP, FIRST_FAN = 19, 20, 24
PUMPS = 3


def build(factory: Factory, index: int) -> Mib:
    """Return the MIB of one CDU of the factory."""
    opened = factory.state.time
    rated = factory.layout.cdus[index].rated_watts
    mib = MibBuilder()
    name = factory.layout.cdus[index].name
    mib.system(DESCRIPTION, OBJECT_ID, name, lambda now: UPTIME_SECONDS + now - opened)

    def cdus() -> Cdus:
        return factory.state.cdus

    def array(factor: float, of: str) -> Callable[[], float]:
        return lambda: factor * float(getattr(cdus(), of)[index])

    def pump(number: int) -> Callable[[], float]:
        # The third place is empty.
        return lambda: PERCENT * float(cdus().pump_ratio[index, number]) if number < 2 else 0.0

    for number, (factor, of) in ARRAYS.items():
        _add(mib, number, array(factor, of))
    line = math.sqrt(3.0) * MAINS_VOLTS * POWER_FACTOR
    _add(mib, CURRENT, lambda: float(cdus().power_watts[index]) / line)
    for place in range(PUMPS):
        _add(mib, FIRST_PUMP + place, pump(place))
    for fan in range(FANS):
        _add(mib, FIRST_FAN + fan, lambda: PERCENT * min(1.0, float(cdus().heat_watts[index]) / rated))
    return mib.build()


def _add(mib: MibBuilder, number: int, read: Callable[[], float]) -> None:
    mib.octets((*VALUES, number, 0), lambda: f"{read():.2f}".encode())
