"""A Supermicro sidecar CDU over Modbus TCP: unit 1, float32 with the low word first, inputs for leak and level.

Source: Supermicro LCS-SCDU-200AR001 register list.
"""

import math
from collections.abc import Mapping

from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_serve import ModbusDevice
from collectors.simulator.modbus_link import Unit
from collectors.simulator.words import f32_swapped

UNIT = 1
MAINS_VOLTS, POWER_FACTOR = 400.0, 507 / 512
#: below this the reservoir's switch closes
LOW_LEVEL_RATIO = 0.4


class SupermicroCdu(ModbusDevice):
    """One CDU of the factory."""

    def __init__(self, factory: Factory, index: int) -> None:
        self._factory = factory
        self._index = index
        self.name = factory.layout.cdus[index].name

    def unit(self, number: int) -> Unit | None:
        """Return the tables of the CDU, or None for another unit."""
        if number != UNIT:
            return None
        registers = dict.fromkeys((*range(1700, 1710), *range(5000, 5040)), 0)
        for first, value in self._values().items():
            registers |= f32_swapped(first, value)
        cdus, index = self._factory.state.cdus, self._index
        is_low = cdus.level_ratio[index] < LOW_LEVEL_RATIO
        inputs = dict.fromkeys(range(1, 24), 0) | {2: int(cdus.leak[index] > 0), 12: int(is_low)}
        return {"holding": registers, "discrete": inputs}

    def _values(self) -> Mapping[int, float]:
        """Return each reading by its register, in the device's units."""
        cdus, index = self._factory.state.cdus, self._index
        return {
            5000: cdus.tcs_supply_celsius[index],
            5004: cdus.tcs_return_celsius[index],
            5010: cdus.tcs_supply_pascals[index] / 1e3,
            5014: cdus.tcs_return_pascals[index] / 1e3,
            5018: cdus.filter_in_pascals[index] / 1e3,
            5020: cdus.filter_out_pascals[index] / 1e3,
            5022: cdus.tcs_flow_liters_per_second[index] * 60,
            5024: cdus.ambient_celsius[index],
            5026: cdus.humidity_ratio[index] * 100,
            5028: cdus.dew_point_celsius[index],
            5030: cdus.ph[index],
            5032: cdus.conductivity_siemens_per_meter[index] * 1e4,
            5034: cdus.turbidity_ntu[index],
            5036: cdus.power_watts[index] / 1e3,
            5038: cdus.power_watts[index] / (math.sqrt(3) * MAINS_VOLTS * POWER_FACTOR),
        }
