"""The MIB of an Eaton ePDU G3: strap 0 with one three-phase input, a breaker per phase.

Source: EATON-EPDU-MIB (1.3.6.1.4.1.534.6.6.7).
"""

from functools import partial

from collectors.simulator.factory import Factory
from collectors.simulator.gear.readings import LINE_AMPERES, MAINS_HERTZ, PHASES, PduReadings
from collectors.simulator.mib import Mib, MibBuilder

EPDU = (1, 3, 6, 1, 4, 1, 534, 6, 6, 7)
DESCRIPTION = "EATON ePDU MA 0U (309 32A 3P)24XC13:6XC19"
UNIT = (*EPDU, 1, 2, 1)
INPUT, VOLTAGE, CURRENT, POWER, TOTAL = ((*EPDU, 3, table, 1) for table in range(1, 6))
GROUP = (*EPDU, 5, 1, 1)
GROUP_VOLTAGE, GROUP_CURRENT, GROUP_POWER = ((*EPDU, 5, table, 1) for table in (3, 4, 5))
CELSIUS, GOOD, BREAKER_ONE_POLE, BREAKER_ON = 0, 0, 1, 1
#: kinds of measurements: of phase 1 to the neutral, of phase 1, of phase 1
FIRST_VOLTAGE, FIRST_CURRENT, FIRST_POWER = 2, 3, 1
MILLI = 1000
STRAP, IN = 0, 1


def build(factory: Factory, index: int) -> Mib:
    """Return the MIB of one rack PDU of the factory."""
    pdu = PduReadings(factory, index)
    mib = MibBuilder()
    mib.system(DESCRIPTION, EPDU, pdu.name, pdu.uptime)
    mib.constant((*UNIT, 9, STRAP), CELSIUS)
    mib.constant((*UNIT, 20, STRAP), 1)
    mib.constant((*UNIT, 21, STRAP), len(PHASES))
    mib.constant((*INPUT, 3, STRAP, IN), round(10 * MAINS_HERTZ))
    mib.integer((*TOTAL, 3, STRAP, IN), pdu.volt_amperes)
    mib.integer((*TOTAL, 4, STRAP, IN), pdu.watts)
    mib.counting_gauge((*TOTAL, 5, STRAP, IN), lambda now: int(pdu.watt_hours(now)))
    mib.integer((*TOTAL, 7, STRAP, IN), lambda: MILLI * pdu.power_factor())
    for phase in PHASES:
        _add_phase(mib, pdu, phase)
        _add_group(mib, pdu, phase)
    return mib.build()


def _add_phase(mib: MibBuilder, pdu: PduReadings, phase: int) -> None:
    row = (STRAP, IN, phase + 1)
    mib.constant((*VOLTAGE, 2, *row), FIRST_VOLTAGE + phase)
    mib.integer((*VOLTAGE, 3, *row), lambda: MILLI * pdu.volts(phase))
    mib.constant((*CURRENT, 2, *row), FIRST_CURRENT + phase)
    mib.constant((*CURRENT, 3, *row), MILLI * LINE_AMPERES)
    mib.integer((*CURRENT, 4, *row), lambda: MILLI * pdu.amperes(phase))
    mib.constant((*CURRENT, 5, *row), GOOD)
    mib.integer((*CURRENT, 11, *row), lambda: 100 * pdu.load(phase))
    mib.constant((*POWER, 2, *row), FIRST_POWER + phase)
    mib.integer((*POWER, 3, *row), partial(pdu.phase_volt_amperes, phase))
    mib.integer((*POWER, 4, *row), partial(pdu.phase_watts, phase))
    mib.integer((*POWER, 7, *row), lambda: MILLI * pdu.power_factor())


def _add_group(mib: MibBuilder, pdu: PduReadings, phase: int) -> None:
    row = (STRAP, phase + 1)
    mib.constant((*GROUP, 4, *row), BREAKER_ONE_POLE)
    mib.constant((*GROUP, 5, *row), BREAKER_ON)
    mib.integer((*GROUP_VOLTAGE, 3, *row), lambda: MILLI * pdu.volts(phase))
    mib.constant((*GROUP_CURRENT, 2, *row), MILLI * LINE_AMPERES)
    mib.integer((*GROUP_CURRENT, 3, *row), lambda: MILLI * pdu.amperes(phase))
    mib.integer((*GROUP_CURRENT, 10, *row), lambda: 100 * pdu.load(phase))
    mib.integer((*GROUP_POWER, 3, *row), partial(pdu.phase_watts, phase))
