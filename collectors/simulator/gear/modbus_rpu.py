"""A reservoir and pumping unit with its air heat exchanger (RPU, AALC) on a coolant loop.

It plays a CDU of the factory. Only listed registers exist; powers are tenths of a watt in one register, so what is
above 6,553.5 W is cut. Source: facebook/openbmc rackmon2 map orv3_rpu.
"""

from collections.abc import Mapping

from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_past import Past
from collectors.simulator.gear.modbus_serve import ModbusDevice
from collectors.simulator.modbus_link import Unit
from collectors.simulator.words import i16, text, u16, u32

UNIT = 12
PUMPS, FANS = 4, 14
INPUT_VOLTS = 50.0
#: registers of the fans of the heat exchanger: 1 to 10, 11 to 14
FAN_REGISTERS = (*range(37124, 37134), *range(41286, 41290))
FAN_RPM = 8_000.0
#: below this the reservoir's gauge closes
LOW_LEVEL_RATIO = 0.4
RESERVOIR_ALARM, PUMP_ALARM = 1 << 0, 1 << 6
INTERNAL_LEAK = 1 << 4
#: what the fans of the heat exchanger draw of the whole
EXCHANGER_RATIO = 0.4
PUMP_UP_SECONDS = 1_000 * 3_600


class ReservoirPumpUnit(ModbusDevice):
    """One RPU."""

    def __init__(self, factory: Factory, index: int, _: Past) -> None:
        self._factory = factory
        self._index = index
        self._opened = factory.state.time
        self.name = factory.layout.cdus[index].name

    def unit(self, number: int) -> Unit | None:
        """Return the tables of the unit, or None for another one."""
        if number != UNIT:
            return None
        return {"holding": {**self._label(), **self._loop(), **self._pumps(), **self._exchanger(), **self._alarms()}}

    @property
    def _is_low(self) -> bool:
        return bool(self._factory.state.cdus.level_ratio[self._index] < LOW_LEVEL_RATIO)

    @property
    def _is_wet(self) -> bool:
        return bool(self._factory.state.cdus.leak[self._index])

    def _label(self) -> Mapping[int, int]:
        sticky = {6565: int(self._is_wet)}
        return {
            **dict.fromkeys(range(6561, 6573), 0),
            **sticky,
            **text(6596, 8, "03-500001"),
            **text(6604, 8, "SIM-RPU"),
            **text(6612, 4, "05/2024"),
            **text(6616, 8, self.name.upper()),
            **text(6632, 4, "1.3"),
        }

    def _loop(self) -> Mapping[int, int]:
        cdus, index = self._factory.state.cdus, self._index
        watts = float(cdus.power_watts[index])
        return {
            36864: u16(float(cdus.tcs_flow_liters_per_second[index]) * 60 * 10),
            36865: i16(float(cdus.tcs_supply_celsius[index]) * 10),
            36866: i16(float(cdus.tcs_return_celsius[index]) * 10),
            36867: i16(float(cdus.tcs_supply_pascals[index]) / 1e3 * 10),
            36868: i16(float(cdus.tcs_return_pascals[index]) / 1e3 * 10),
            36869: u16(watts * (1.0 - EXCHANGER_RATIO) * 10),
            36870: u16(watts * 10),
            36871: u16(INPUT_VOLTS * 10),
            36872: i16(float(cdus.ambient_celsius[index]) * 10),
            36873: u16(float(cdus.pump_ratio[index].max()) * 100),
            36881: u16(float(cdus.heat_watts[index]) * 10),
        }

    def _pumps(self) -> Mapping[int, int]:
        cdus, index = self._factory.state.cdus, self._index
        up = PUMP_UP_SECONDS + self._factory.state.time - self._opened
        rpm = [u16(float(each)) for each in cdus.pump_rpm[index]]
        good = [int(each) for each in cdus.pump_ok[index]]
        registers = dict.fromkeys((*range(36874, 36878), *range(36882, 36886)), 0)
        registers |= dict(enumerate(rpm, 36874)) | dict(enumerate(good, 36882))
        for pump in range(PUMPS):
            registers |= u32(36912 + 2 * pump, up if pump < len(rpm) else 0)
        return {**registers, 36886: int(not self._is_low)}

    def _exchanger(self) -> Mapping[int, int]:
        cdus, index = self._factory.state.cdus, self._index
        load = float(cdus.heat_watts[index]) / self._factory.layout.cdus[index].rated_watts
        inlet, outlet = float(cdus.ambient_celsius[index]), float(cdus.tcs_return_celsius[index]) - 2.0
        return {
            37120: u16(load * 100),
            37121: u16(float(cdus.power_watts[index]) * EXCHANGER_RATIO * 10),
            **dict.fromkeys(FAN_REGISTERS, u16(FAN_RPM * load)),
            37134: i16(outlet * 10),
            37135: i16(outlet * 10),
            37136: i16(inlet * 10),
            37137: i16(inlet * 10),
            37138: i16(float(cdus.tcs_return_celsius[index]) * 10),
            37140: i16(float(cdus.filter_in_pascals[index]) / 1e3 * 10),
        }

    def _alarms(self) -> Mapping[int, int]:
        cdus, index = self._factory.state.cdus, self._index
        status = RESERVOIR_ALARM * self._is_low | PUMP_ALARM * (not cdus.pump_ok[index].all())
        return {37375: 0, 37376: 0, 37377: status, 37378: INTERNAL_LEAK * self._is_wet, 37379: 0}
