"""An HVDC power shelf: unit 1 is the shelf with its bus, units 11 and up are its rectifiers.

No maker has published a register list: this is the neutral one of docs/contracts.md, section 8. Input registers, the
high word first.
"""

from collections.abc import Mapping

from collectors.simulator.bus_history import BusHistory
from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_serve import ModbusDevice
from collectors.simulator.modbus_link import Unit
from collectors.simulator.supplies import Supplies
from collectors.simulator.words import i16, u16, u32

SHELF_UNIT = 1
#: where lowest and highest voltage stand, which begin anew when they are read
EXTREMES = range(8, 10)
INPUT_FUNCTION = 4
GROUND_FAULT, OVER_VOLTAGE, UNDER_VOLTAGE, NO_COMMUNICATION = 1 << 0, 1 << 1, 1 << 2, 1 << 4
#: limits of the shelf's own alarms: insulation per volt, voltage over set point
ALARM_OHMS_PER_VOLT, ALARM_VOLTS_RATIO = 500.0, 0.04
RUNNING, FAILED = 1, 3
RECTIFIER_KELVIN = 18.0


class HvdcShelf(ModbusDevice):
    """One HVDC shelf of the factory."""

    def __init__(self, factory: Factory, index: int, history: BusHistory) -> None:
        self._factory = factory
        self._index = index
        self._history = history
        shelf = factory.layout.shelves[index]
        self.name = shelf.name
        self.profile = f"generic_{shelf.bus}"
        self._supplies = Supplies(factory, index, shelf.units)
        self._is_bipolar = shelf.bus == "hvdc_400"
        self._read_at = factory.state.time

    def unit(self, number: int) -> Unit | None:
        """Return the tables of the shelf or of a rectifier, or None where none answers."""
        if number == SHELF_UNIT:
            return {"input": self._shelf()}
        slot = self._supplies.find(number)
        return None if slot is None else {"input": self._rectifier(slot)}

    def was_read(self, number: int, function: int, start: int, count: int) -> None:
        """Begin lowest and highest voltage anew where they were read."""
        if (
            number == SHELF_UNIT
            and function == INPUT_FUNCTION
            and start <= EXTREMES[0]
            and EXTREMES[-1] < start + count
        ):
            self._read_at = self._factory.state.time

    @property
    def _kilo(self) -> float:
        return 1e3 if self.name in self._factory.kilowatts else 1.0

    def _shelf(self) -> Mapping[int, int]:
        shelves, index = self._factory.state.shelves, self._index
        bus, output = float(shelves.bus_volts[index]), float(shelves.output_watts[index])
        positive, negative = self._poles(bus)
        lowest, highest = self._history.since(index, self._read_at)
        return {
            0: u16(bus * 10),
            1: u16(positive * 10) if self._is_bipolar else 0,
            2: i16(negative * 10) if self._is_bipolar else 0,
            3: u16(0.5 * output / positive * 10),
            4: u16(0.5 * output / -negative * 10),
            **u32(5, output / self._kilo),
            7: u16(float(shelves.ripple_volts[index]) * 1e3),
            8: u16(lowest * 10),
            9: u16(highest * 10),
            10: u16(float(shelves.insulation_ohms[index, 0]) / 1e3),
            11: u16(float(shelves.insulation_ohms[index, 1]) / 1e3),
            12: self._alarms(bus),
            13: len(self._supplies.slots),
            **u32(14, float(shelves.input_watts[index]) / self._kilo),
            16: u16(float(shelves.set_point_volts[index]) * 10),
        }

    def _poles(self, bus: float) -> tuple[float, float]:
        """Return the voltage of both poles to the midpoint, the real one or the one half way. Units: V."""
        if not self._is_bipolar:
            return 0.5 * bus, -0.5 * bus
        shelves = self._factory.state.shelves
        return float(shelves.positive_volts[self._index]), float(shelves.negative_volts[self._index])

    def _alarms(self, bus: float) -> int:
        shelves, index = self._factory.state.shelves, self._index
        deviation = bus / float(shelves.set_point_volts[index]) - 1.0
        raised = {
            GROUND_FAULT: shelves.insulation_ohms[index].min() < ALARM_OHMS_PER_VOLT * bus,
            OVER_VOLTAGE: deviation > ALARM_VOLTS_RATIO,
            UNDER_VOLTAGE: deviation < -ALARM_VOLTS_RATIO,
            NO_COMMUNICATION: shelves.psu_silent[index].any(),
        }
        return sum(bit for bit, is_raised in raised.items() if is_raised)

    def _rectifier(self, slot: int) -> Mapping[int, int]:
        shelves, index = self._factory.state.shelves, self._index
        is_good = bool(shelves.psu_ok[index, slot])
        output = float(shelves.psu_output_watts[index, slot])
        volts = float(shelves.bus_volts[index]) if is_good else 0.0
        return {
            0: u16(volts * 10),
            1: u16(output / volts * 100) if volts else 0,
            **u32(2, output / self._kilo),
            **u32(4, float(shelves.psu_input_watts[index, slot]) / self._kilo),
            6: u16(shelves.input_volts * 10),
            7: RUNNING if is_good else FAILED,
            8: i16((float(shelves.inlet_celsius[index]) + RECTIFIER_KELVIN) * 10),
            9: slot % 2 + 1,
        }
