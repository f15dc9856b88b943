"""An ORv3 HPR power shelf behind its shelf controller: one Modbus unit per power supply, with its maker's registers.

Source: facebook/openbmc rackmon2 map orv3_hpr_psu.
"""

from collections.abc import Mapping

from collectors.simulator.bus_history import BusHistory
from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_serve import ModbusDevice
from collectors.simulator.modbus_link import Unit
from collectors.simulator.supplies import Supplies
from collectors.simulator.words import i16, text, u16, u32

MAINS_HERTZ = 50.0
POWER_FACTOR = 507 / 512
HARMONIC_RATIO = 0.03
BULK_VOLTS = 420.0
#: the supplies have been on that long when the factory opens
UPTIME_SECONDS = 40 * 86_400
#: kelvins above the inlet: outlet, hottest and coolest part, bus clips
OUTLET_KELVIN, CLIP_KELVIN = 12.0, 6.0
#: general alarm: PFC, PFC failed; PFC alarm: AC not good, PFC failed
GENERAL_ALARM, PFC_ALARM = 1 << 0 | 1 << 8, 1 << 8 | 1 << 11
#: where a period of registers 115 and 116 begins: this long ago
PERIOD_SECONDS = 60.0


class HprShelf(ModbusDevice):
    """One HPR shelf of the factory; registers 0 to 118 of each supply, those that a poller reads filled."""

    def __init__(self, factory: Factory, index: int, history: BusHistory) -> None:
        self._factory = factory
        self._index = index
        self._history = history
        self._opened = factory.state.time
        self.name = factory.layout.shelves[index].name
        self._supplies = Supplies(factory, index, factory.layout.shelves[index].units)
        self._labels = [_label(self.name, slot) for slot in self._supplies.slots.values()]

    def unit(self, number: int) -> Unit | None:
        """Return the tables of a supply, or None where none answers."""
        slot = self._supplies.find(number)
        if slot is None:
            return None
        return {"holding": {**dict.fromkeys(range(119), 0), **self._labels[slot], **self._readings(slot)}}

    def _readings(self, slot: int) -> Mapping[int, int]:
        shelves, index = self._factory.state.shelves, self._index
        kilo = 1e3 if self.name in self._factory.kilowatts else 1.0
        input_watts = float(shelves.psu_input_watts[index, slot])
        output_watts = float(shelves.psu_output_watts[index, slot])
        input_volts, bus_volts = shelves.input_volts, float(shelves.bus_volts[index])
        input_amperes = u16(input_watts / input_volts / POWER_FACTOR * 1024)
        output_amperes = u16(output_watts / bus_volts * 64)
        is_good = bool(shelves.psu_ok[index, slot])
        up = round(UPTIME_SECONDS + self._factory.state.time - self._opened)
        return {
            **u32(52, up),
            **u32(54, up),
            56: 1,
            60: 0 if is_good else GENERAL_ALARM,
            61: 0 if is_good else PFC_ALARM,
            65: u16(input_watts * 8 / kilo),
            66: input_amperes,
            67: 6_000,
            68: 6_000,
            **self._temperatures(),
            79: u16(bus_volts * 1024),
            80: output_amperes,
            81: output_amperes,
            82: u16(output_watts * 8 / kilo),
            83: u16(BULK_VOLTS * 64),
            84: u16(MAINS_HERTZ),
            85: u16(HARMONIC_RATIO * 512),
            86: u16(POWER_FACTOR * 512),
            87: u16(input_watts * 8 / kilo),
            88: u16(input_volts * 64),
            89: input_amperes,
            98: int(not is_good),
            101: u16((input_volts - 1.0) * 64),
            102: u16((input_volts + 1.0) * 64),
            **self._bus(),
        }

    def _temperatures(self) -> Mapping[int, int]:
        inlet = float(self._factory.state.shelves.inlet_celsius[self._index])
        outlet, clip = inlet + OUTLET_KELVIN, inlet + CLIP_KELVIN
        celsius = {69: inlet, 70: outlet, 71: outlet, 72: inlet, 111: clip, 112: clip}
        return {register: i16(value * 128) for register, value in celsius.items()}

    def _bus(self) -> Mapping[int, int]:
        shelves, index = self._factory.state.shelves, self._index
        lowest, highest = self._history.ever(index)
        low, high = self._history.since(index, self._factory.state.time - PERIOD_SECONDS)
        volts = {
            103: float(shelves.set_point_volts[index]),
            113: highest,
            114: lowest,
            115: high,
            116: low,
            118: float(shelves.bus_volts[index]),
        }
        return {register: u16(value * 1024) for register, value in volts.items()}


def _label(shelf: str, slot: int) -> Mapping[int, int]:
    return {
        **text(0, 8, "SIM-HPR-5500"),
        **text(8, 8, "HPR 5.5 kW"),
        **text(16, 8, "01/2025"),
        **text(24, 16, f"{shelf}-{slot + 1:02d}".upper()),
        **text(44, 4, "1.0"),
        **text(48, 4, "2.1.0"),
    }
