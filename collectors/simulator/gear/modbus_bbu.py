"""Battery shelves at the bus bar of a rack, of both generations: one Modbus unit per battery module.

The batteries float until the bus sags, then carry a part of its load. Only listed registers exist.
Source: facebook/openbmc rackmon2 maps orv3_bbu and orv3_hpr_bbu. Voltages without a scale there are millivolts,
temperatures tenths of a kelvin, capacities milliampere-hours; a run time of 65,535 min stands for no discharge
(Smart Battery Data 1.1, section 5.1.17).
"""

from collections.abc import Mapping

from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_past import MODULES, SHELF_JOULES, Past
from collectors.simulator.gear.modbus_serve import ModbusDevice
from collectors.simulator.modbus_link import Unit
from collectors.simulator.words import i16, text, u16, u32

ORV3_UNITS, HPR_UNITS = range(64, 64 + MODULES), range(48, 48 + MODULES)
ORV3_CELLS, HPR_CELLS = 11, 13
#: of a cell: empty, and what a full charge adds
CELL_VOLTS, CELL_RISE_VOLTS = 3.3, 0.85
#: how far apart the cells of a module are
CELL_STEP_VOLTS = 0.001
ZERO_KELVIN = 273.15
#: kelvins above the inlet: cells, outlet
CELL_KELVIN, OUTLET_KELVIN = 4.0, 6.0
NOT_DISCHARGING = 0xFFFF
CHARGING, DISCHARGE = 1 << 0, 1 << 1
FULLY_DISCHARGED, FULLY_CHARGED, DISCHARGING, INITIALIZED = 1 << 4, 1 << 5, 1 << 6, 1 << 7
FULL_RATIO = 0.995
HEALTH_PERCENT, CYCLES = 98, 3
FAN_RPM = 2_400


class _Battery:
    """What both generations measure at the battery shelf of one rack."""

    def __init__(self, factory: Factory, index: int, past: Past, cells: int) -> None:
        self.factory = factory
        self.index = index
        self.past = past
        self.cells = cells

    @property
    def charge(self) -> float:
        """Return the state of charge, 0 to 1."""
        return float(self.past.charge_ratio[self.index])

    @property
    def cell_volts(self) -> float:
        """Return the voltage of the middle cell."""
        return CELL_VOLTS + CELL_RISE_VOLTS * self.charge

    @property
    def volts(self) -> float:
        """Return the voltage of a module's cells in series."""
        return self.cells * self.cell_volts

    @property
    def amperes(self) -> float:
        """Return what a module takes (above 0) or gives."""
        return -float(self.past.battery_watts[self.index]) / MODULES / self.volts

    @property
    def bus_volts(self) -> float:
        """Return the voltage of the bus bar."""
        return float(self.factory.state.shelves.bus_volts[self.index])

    @property
    def inlet_celsius(self) -> float:
        """Return the temperature of the air."""
        return float(self.factory.state.shelves.inlet_celsius[self.index])

    def cell_registers(self, first: int, count: int) -> Mapping[int, int]:
        """Return the millivolts of `count` cells."""
        middle = (self.cells - 1) / 2
        return {first + cell: u16((self.cell_volts + (cell - middle) * CELL_STEP_VOLTS) * 1e3) for cell in range(count)}

    def capacity_ampere_hours(self) -> float:
        """Return what a full module holds."""
        return SHELF_JOULES / MODULES / 3600.0 / (self.cells * (CELL_VOLTS + 0.5 * CELL_RISE_VOLTS))

    def charge_registers(self, first: int, counts_per_ampere: int) -> Mapping[int, int]:
        """Return charge, voltage, current and capacity, in that order from `first` on."""
        percent, counts = u16(self.charge * 100), i16(self.amperes * counts_per_ampere)
        full = self.capacity_ampere_hours() * 1e3
        values = (percent, percent, u16(self.volts * 1e3), counts, counts, u16(self.charge * full), u16(full))
        return dict(enumerate(values, first))

    def run_minutes(self) -> int:
        """Return how long it lasts at the present current."""
        watts = float(self.past.battery_watts[self.index])
        return u16(self.charge * SHELF_JOULES / watts / 60.0) if watts > 0 else NOT_DISCHARGING

    def states(self) -> Mapping[int, int]:
        """Return the words of status, mode and fault."""
        watts, is_full = float(self.past.battery_watts[self.index]), self.charge >= FULL_RATIO
        mode = DISCHARGE if watts > 0 else CHARGING if watts < 0 else 0
        status = INITIALIZED | FULLY_CHARGED * is_full | DISCHARGING * (watts > 0)
        status |= FULLY_DISCHARGED * (self.charge <= 0.0)
        return {104: 0, 105: 0, 106: 0, 107: mode, 108: status, **dict.fromkeys(range(153, 159), 0)}

    def common(self) -> Mapping[int, int]:
        """Return what stands at the same registers in both generations."""
        return {
            **self.states(),
            121: 1,
            133: self.run_minutes(),
            134: self.run_minutes(),
            135: CYCLES,
            142: HEALTH_PERCENT,
            147: u16(self.bus_volts * 1e3),
            148: decikelvin(self.inlet_celsius),
            149: decikelvin(self.inlet_celsius + OUTLET_KELVIN),
            152: FAN_RPM,
        }


class Orv3Bbu(ModbusDevice):
    """The ORv3 battery modules of one rack."""

    def __init__(self, factory: Factory, index: int, past: Past) -> None:
        self._battery = _Battery(factory, index, past, ORV3_CELLS)
        self.name = factory.layout.shelves[index].name

    def unit(self, number: int) -> Unit | None:
        """Return the tables of a module, or None where there is none."""
        if number not in ORV3_UNITS:
            return None
        battery = self._battery
        registers = {
            **_label(self.name, number - ORV3_UNITS[0], "SIM-BBU-3000"),
            **battery.common(),
            **battery.cell_registers(109, ORV3_CELLS),
            **dict.fromkeys(range(122, 126), decikelvin(battery.inlet_celsius + CELL_KELVIN)),
            **battery.charge_registers(126, 1000),
        }
        return {"holding": registers}


class HprBbu(ModbusDevice):
    """The HPR battery modules of one rack: charge, current and temperatures stand elsewhere than in ORv3."""

    def __init__(self, factory: Factory, index: int, past: Past) -> None:
        self._battery = _Battery(factory, index, past, HPR_CELLS)
        self._past = past
        self._factory = factory
        self._index = index
        self.name = factory.layout.shelves[index].name

    def unit(self, number: int) -> Unit | None:
        """Return the tables of a module, or None where there is none."""
        if number not in HPR_UNITS:
            return None
        battery = self._battery
        registers = {
            **_label(self.name, number - HPR_UNITS[0], "SIM-BBU-5500"),
            **battery.common(),
            **dict.fromkeys(range(88, 94), decikelvin(battery.inlet_celsius + CELL_KELVIN)),
            **battery.charge_registers(94, 100),
            **u32(101, self._factory.state.time),
            **battery.cell_registers(109, 12),
            122: battery.cell_registers(109, 13)[121],
            146: u16(max(0.0, -battery.amperes) * 100),
            159: u16(battery.bus_volts * 1e3),
            **self._bus(),
            235: decikelvin(battery.inlet_celsius + CELL_KELVIN),
            **u32(256, 0),
            **u32(258, 0),
            260: 0,
        }
        return {"holding": registers}

    def _bus(self) -> Mapping[int, int]:
        lowest, highest = self._past.history.ever(self._index)
        low, high = self._past.history.since(self._index, self._factory.state.time - 60.0)
        return {224 + place: u16(volts * 1e3) for place, volts in enumerate((highest, lowest, high, low))}


def decikelvin(celsius: float) -> int:
    """Return a register in tenths of a kelvin."""
    return u16((celsius + ZERO_KELVIN) * 10)


def _label(shelf: str, module: int, model: str) -> Mapping[int, int]:
    return {
        **text(0, 8, "SIMULATED"),
        **text(8, 8, model),
        **text(16, 8, "03/2024"),
        **text(24, 8, "03-300001"),
        **text(48, 2, "A"),
        **text(52, 4, "2.0"),
        **text(56, 4, "1.1.0"),
        **text(60, 4, "W02"),
        **text(64, 16, f"{shelf}-B{module + 1}".upper()),
        80: 7,
    }
