"""An ORv3 power shelf: one Modbus unit per power supply of the first generation, before HPR.

Only listed registers exist: a request that spans another one is refused.
Source: facebook/openbmc rackmon2 map orv3_psu.
"""

from collections.abc import Mapping

from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_past import Past
from collectors.simulator.gear.modbus_serve import ModbusDevice
from collectors.simulator.modbus_link import Unit
from collectors.simulator.supplies import Supplies
from collectors.simulator.words import i16, text, u16, u32

#: unit ids in the order in which shelves fill up
UNITS = (*range(200, 206), *range(232, 238), *range(240, 243))
FACTOR, HARMONICS, BULK_VOLTS, HERTZ = 0.99, 0.03, 420.0, 50.0
#: what the supply is set to: 51 V and 48 V
SET_POINTS = (51.0, 48.0)
FAN_RPM = 5_400
UP_SECONDS = 30 * 86_400
#: kelvins above the inlet at the outlet
OUTLET_KELVIN = 11.0
#: general alarm: PFC, PFC failed; PFC alarm: AC not OK, PFC failed
GENERAL_FAILED, PFC_FAILED = 0x0101, 0x0900
#: settings: output voltage 51 V, active current sharing
SETTINGS = 1 << 9 | 1 << 11


class Orv3Shelf(ModbusDevice):
    """A 50 V shelf of the factory with ORv3 supplies; those beyond the unit ids of the map are not reached."""

    def __init__(self, factory: Factory, index: int, past: Past) -> None:
        self._factory = factory
        self._index = index
        self._past = past
        self._opened = factory.state.time
        self.name = factory.layout.shelves[index].name
        self._supplies = Supplies(factory, index, UNITS[: len(factory.layout.shelves[index].units)])

    def unit(self, number: int) -> Unit | None:
        """Return the tables of a supply, or None where none answers."""
        slot = self._supplies.find(number)
        if slot is None:
            return None
        registers = {**self._label(slot), **self._alarms(slot), **self._settings(), **self._heat(), **self._power(slot)}
        return {"holding": registers}

    def _label(self, slot: int) -> Mapping[int, int]:
        up = UP_SECONDS + self._factory.state.time - self._opened
        return {
            **text(0, 8, "03-200001"),
            **text(8, 8, "SIM-ORV3-3000"),
            **text(16, 8, "02/2023"),
            **text(24, 16, f"{self.name}-{slot + 1:02d}".upper()),
            **text(40, 4, "W01"),
            **text(44, 4, "3.0"),
            **text(48, 4, "1.4.2"),
            **u32(52, up),
            **u32(54, up),
            56: 1,
            57: 0,
            **u32(73, slot + 1),
            **u32(75, 0),
            **u32(77, 0),
            **text(106, 4, "1.0"),
        }

    def _alarms(self, slot: int) -> Mapping[int, int]:
        is_good = bool(self._factory.state.shelves.psu_ok[self._index, slot])
        alarms = {60: 0, 61: 0} if is_good else {60: GENERAL_FAILED, 61: PFC_FAILED}
        return {**alarms, 62: 0, 63: 0, 64: 0, 90: int(not is_good)}

    def _settings(self) -> Mapping[int, int]:
        high, low = (u16(volts * 1024) for volts in SET_POINTS)
        seconds = self._factory.state.time
        return {**u32(92, 0), 94: SETTINGS, 95: 19_200 // 100, 96: 0, 97: 0, **u32(98, seconds), 100: 20,
                103: high, 104: low, 105: 10}  # fmt: skip

    def _heat(self) -> Mapping[int, int]:
        inlet = float(self._factory.state.shelves.inlet_celsius[self._index])
        celsius = {69: inlet, 70: inlet + OUTLET_KELVIN, 71: inlet + OUTLET_KELVIN, 72: inlet}
        return {67: FAN_RPM, 68: FAN_RPM, **{register: i16(value * 128) for register, value in celsius.items()}}

    def _power(self, slot: int) -> Mapping[int, int]:
        shelves, index = self._factory.state.shelves, self._index
        taken, given = float(shelves.psu_input_watts[index, slot]), float(shelves.psu_output_watts[index, slot])
        bus, mains = float(shelves.bus_volts[index]), shelves.input_volts
        kilo = 1e3 if self.name in self._factory.kilowatts else 1.0
        return {
            79: u16(bus * 1024),
            80: u16(given / bus * 64),
            81: u16(given / bus * 64),
            82: u16(given / kilo * 8),
            83: u16(BULK_VOLTS * 64),
            84: u16(HERTZ),
            85: u16(HARMONICS * 512),
            86: u16(FACTOR * 512),
            87: u16(taken / kilo * 8),
            88: u16(mains * 64),
            89: u16(taken / mains / FACTOR * 1024),
            101: u16((mains - 1.0) * 64),
            102: u16((mains + 1.0) * 64),
        }
