"""Gear after the neutral templates: a coolant distribution unit and a meter. Input registers, high word first.

Source: docs/contracts.md, section 8.
"""

import math
import struct
from collections.abc import Iterable, Mapping

from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_past import Past
from collectors.simulator.gear.modbus_serve import ModbusDevice
from collectors.simulator.modbus_link import Unit
from collectors.simulator.words import u16

UNIT = 1
LOW_LEVEL_RATIO = 0.4
RUNNING, FAULT = 1, 2
JOULES_PER_WATT_HOUR = 3600
#: register -> array of the CDUs, and what it is times in the device's unit
CDU_FLOATS: Mapping[int, tuple[str, float]] = {
    0: ("tcs_supply_celsius", 1.0),
    2: ("tcs_return_celsius", 1.0),
    4: ("tcs_flow_liters_per_second", 60.0),
    6: ("tcs_supply_pascals", 1e-3),
    8: ("tcs_return_pascals", 1e-3),
    10: ("fws_supply_celsius", 1.0),
    12: ("fws_return_celsius", 1.0),
    14: ("fws_flow_liters_per_second", 60.0),
    16: ("fws_supply_pascals", 1e-3),
    18: ("fws_return_pascals", 1e-3),
    20: ("heat_watts", 1e-3),
    22: ("valve_ratio", 100.0),
    24: ("level_ratio", 100.0),
    26: ("filter_in_pascals", 1e-3),
    28: ("filter_out_pascals", 1e-3),
    30: ("dew_point_celsius", 1.0),
    32: ("ambient_celsius", 1.0),
    34: ("humidity_ratio", 100.0),
    36: ("power_watts", 1e-3),
    38: ("ph", 1.0),
    40: ("conductivity_siemens_per_meter", 1e4),
    42: ("turbidity_ntu", 1.0),
}


def floats(values: Iterable[tuple[int, float]]) -> dict[int, int]:
    """Return two registers for each value, float32 with the high word first."""
    registers: dict[int, int] = {}
    for first, value in values:
        registers[first], registers[first + 1] = struct.unpack(">HH", struct.pack(">f", value))
    return registers


class GenericCdu(ModbusDevice):
    """One CDU with two pumps; registers of the third and fourth do not exist."""

    def __init__(self, factory: Factory, index: int, _: Past) -> None:
        self._factory = factory
        self._index = index
        self.name = factory.layout.cdus[index].name

    def unit(self, number: int) -> Unit | None:
        """Return the tables of the CDU, or None for another unit."""
        if number != UNIT:
            return None
        cdus, index = self._factory.state.cdus, self._index
        registers = floats((at, factor * float(getattr(cdus, of)[index])) for at, (of, factor) in CDU_FLOATS.items())
        is_wet, is_low = bool(cdus.leak[index]), bool(cdus.level_ratio[index] < LOW_LEVEL_RATIO)
        return {"input": registers | self._pumps(), "discrete": {0: int(is_wet), 1: 0, 2: 0, 3: int(is_low)}}

    def _pumps(self) -> dict[int, int]:
        cdus, index = self._factory.state.cdus, self._index
        registers: dict[int, int] = {}
        for pump, is_good in enumerate(cdus.pump_ok[index]):
            first = 100 + 10 * pump
            registers[first] = u16(float(cdus.pump_ratio[index, pump]) * 1000)
            registers[first + 1] = u16(float(cdus.pump_rpm[index, pump]))
            registers[first + 2] = RUNNING if is_good else FAULT
        return registers


class GenericMeter(ModbusDevice):
    """One meter with an even load on its three phases."""

    def __init__(self, factory: Factory, index: int, _: Past) -> None:
        self._factory = factory
        self._index = index
        self.name = factory.layout.meters[index].name

    def unit(self, number: int) -> Unit | None:
        """Return the tables of the meter, or None for another unit."""
        return {"input": floats(self._values()) | self._energy()} if number == UNIT else None

    def _values(self) -> Iterable[tuple[int, float]]:
        meters, index = self._factory.state.meters, self._index
        watts, factor = float(meters.watts[index]), float(meters.power_factor[index])
        for phase in range(3):
            yield 2 * phase, float(meters.volts[index]) / math.sqrt(3.0)
            yield 6 + 2 * phase, float(meters.amperes[index])
            yield 30 + 2 * phase, watts / 3.0
        yield from ((12, watts / 1e3), (14, watts / factor / 1e3), (16, factor), (18, float(meters.hertz[index])))

    def _energy(self) -> dict[int, int]:
        joules = float(self._factory.state.meters.energy_joules.at(self._factory.state.time, self._index))
        words = struct.unpack(">4H", struct.pack(">Q", int(joules / JOULES_PER_WATT_HOUR)))
        return dict(enumerate(words, 24))
