"""The MIB of an Eltek SmartPack2 DC plant, made of a 50 V power shelf: its supplies are the rectifiers.

The controller tells tenths of amperes, degC and percent. Its batteries are full and idle.

Source: SP2-MIB (1.3.6.1.4.1.12148.10).
"""

from collectors.simulator.factory import Factory
from collectors.simulator.gear.readings import UPTIME_SECONDS
from collectors.simulator.mib import Mib, MibBuilder
from collectors.simulator.state import Shelves

SP2 = (1, 3, 6, 1, 4, 1, 12148, 10)
DESCRIPTION = "SmartPack2"
SYSTEM, MAINS_VOLTAGE, RECTIFIERS = (*SP2, 2), (*SP2, 3, 4, 1), (*SP2, 5)
LOAD_CURRENT, BATTERY = (*SP2, 9, 2), (*SP2, 10)
SMARTPACK2, NORMAL_STATUS, MAJOR_ALARM, DISCONNECTED = 1, 1, 3, 5
DECI_AMPERE, CELSIUS, PERCENT = 1, 0, 1
VALUE = 5


def build(factory: Factory, index: int) -> Mib:
    """Return the MIB of one power shelf of the factory: the `index`th of those of 50 V, round and round."""
    low = [number for number, shelf in enumerate(factory.layout.shelves) if shelf.bus == "hpr"]
    row = low[index % len(low)]
    opened = factory.state.time
    mib = MibBuilder()
    name = factory.layout.shelves[row].name
    mib.system(DESCRIPTION, SP2, name, lambda now: UPTIME_SECONDS + now - opened)
    mib.constant((*SYSTEM, 1, 0), NORMAL_STATUS)
    mib.constant((*SYSTEM, 2, 0), SMARTPACK2)
    for column, setting in ((15, DECI_AMPERE), (16, CELSIUS), (17, PERCENT)):
        mib.constant((*SYSTEM, column, 0), setting)
    _add_plant(mib, factory, row)
    _add_battery(mib, factory, row)
    for place in range(len(factory.layout.shelves[row].units)):
        _add_rectifier(mib, factory, row, place)
    return mib.build()


def _add_plant(mib: MibBuilder, factory: Factory, row: int) -> None:
    rated = factory.layout.shelves[row].psu_rated_watts

    def shelves() -> Shelves:
        return factory.state.shelves

    def deci_amperes() -> float:
        return 10 * float(shelves().output_watts[row] / shelves().bus_volts[row])

    for phase in (1, 2, 3):
        mib.integer((*MAINS_VOLTAGE, 6, phase), lambda: shelves().input_volts)
    mib.integer((*RECTIFIERS, 2, VALUE, 0), deci_amperes)
    mib.integer(
        (*RECTIFIERS, 3, VALUE, 0),
        lambda: 100 * float(shelves().output_watts[row]) / (rated * max(1, int(shelves().psu_ok[row].sum()))),
    )
    mib.integer((*RECTIFIERS, 4, VALUE, 0), lambda: float((~shelves().psu_ok[row]).sum()))
    mib.integer((*LOAD_CURRENT, VALUE, 0), deci_amperes)


def _add_battery(mib: MibBuilder, factory: Factory, row: int) -> None:
    mib.integer((*BATTERY, 5, VALUE, 0), lambda: 100 * float(factory.state.shelves.bus_volts[row]))
    mib.constant((*BATTERY, 6, VALUE, 0), 0)
    mib.integer((*BATTERY, 7, VALUE, 0), lambda: float(factory.state.shelves.inlet_celsius[row]))
    mib.constant((*BATTERY, 9, VALUE, 0), 100)
    mib.constant((*BATTERY, 12, VALUE, 0), 100)


def _add_rectifier(mib: MibBuilder, factory: Factory, row: int, place: int) -> None:
    entry = (*RECTIFIERS, 6, 1)

    def status() -> float:
        shelves = factory.state.shelves
        if shelves.psu_silent[row, place]:
            return DISCONNECTED
        return NORMAL_STATUS if shelves.psu_ok[row, place] else MAJOR_ALARM

    def deci_amperes() -> float:
        shelves = factory.state.shelves
        return 10 * float(shelves.psu_output_watts[row, place] / shelves.bus_volts[row])

    mib.integer((*entry, 2, place + 1), status)
    mib.integer((*entry, 3, place + 1), deci_amperes)
    mib.integer((*entry, 4, place + 1), lambda: factory.state.shelves.input_volts)
