"""The MIB of a Raritan PX3 rack PDU: three poles, one inlet, a breaker per pole; every sensor a row of its own.

Source: PDU2-MIB (1.3.6.1.4.1.13742.6), sensor configuration and measurement tables.
"""

from collections.abc import Callable, Iterable
from functools import partial

from collectors.simulator.ber import Oid
from collectors.simulator.factory import Factory
from collectors.simulator.gear.readings import MAINS_HERTZ, PHASES, PduReadings
from collectors.simulator.mib import Mib, MibBuilder

PDU2 = (1, 3, 6, 1, 4, 1, 13742, 6)
DESCRIPTION = "PX3-5665V 030600-46500"
#: configuration and measurement entries of inlets, their poles, and overcurrent protectors
INLET = ((*PDU2, 3, 3, 4, 1), (*PDU2, 5, 2, 3, 1))
POLE = ((*PDU2, 3, 3, 6, 1), (*PDU2, 5, 2, 4, 1))
BREAKER = ((*PDU2, 3, 4, 4, 1), (*PDU2, 5, 3, 3, 1))
#: columns of a configuration entry
UNITS, DECIMAL_DIGITS = 6, 7
#: columns of a measurement entry
IS_AVAILABLE, STATE, VALUE, SIGNED_VALUE = 2, 3, 4, 6
TRUE, CLOSED, NORMAL = 1, 1, 4
#: SensorTypeEnumeration
CURRENT, VOLTAGE, ACTIVE, APPARENT, FACTOR, ENERGY, TRIP, FREQUENCY = 1, 4, 5, 6, 7, 8, 15, 23
#: SensorUnitsEnumeration
NONE, VOLT, AMPERE, WATT, VOLT_AMPERE, WATT_HOUR, HERTZ = -1, 1, 2, 3, 4, 5, 8

#: type, unit, decimals, reading
Sensor = tuple[int, int, int, Callable[[], float]]
Entries = tuple[Oid, Oid]
PDU = 1


def build(factory: Factory, index: int) -> Mib:
    """Return the MIB of one rack PDU of the factory."""
    pdu = PduReadings(factory, index)
    mib = MibBuilder()
    mib.system(DESCRIPTION, PDU2, pdu.name, pdu.uptime)
    inlet = (
        (VOLTAGE, VOLT, 0, lambda: max(map(pdu.volts, PHASES))),
        (ACTIVE, WATT, 0, pdu.watts),
        (APPARENT, VOLT_AMPERE, 0, pdu.volt_amperes),
        (FACTOR, NONE, 2, pdu.power_factor),
        (FREQUENCY, HERTZ, 1, lambda: MAINS_HERTZ),
        (CURRENT, AMPERE, 3, lambda: max(map(pdu.amperes, PHASES))),
    )
    _add(mib, INLET, (PDU, 1), inlet)
    _describe(mib, INLET, (PDU, 1, ENERGY), WATT_HOUR, 0)
    mib.counting_gauge((*INLET[1], VALUE, PDU, 1, ENERGY), lambda now: int(pdu.watt_hours(now)))
    for phase in PHASES:
        _add(mib, POLE, (PDU, 1, phase + 1), _pole(pdu, phase))
        _add(mib, BREAKER, (PDU, phase + 1), [(CURRENT, AMPERE, 3, partial(pdu.amperes, phase))])
        mib.constant((*BREAKER[1], IS_AVAILABLE, PDU, phase + 1, TRIP), TRUE)
        mib.constant((*BREAKER[1], STATE, PDU, phase + 1, TRIP), CLOSED)
        mib.constant_gauge((*BREAKER[1], VALUE, PDU, phase + 1, TRIP), 0)
    return mib.build()


def _pole(pdu: PduReadings, phase: int) -> Iterable[Sensor]:
    return (
        (CURRENT, AMPERE, 3, partial(pdu.amperes, phase)),
        (VOLTAGE, VOLT, 0, partial(pdu.volts, phase)),
        (ACTIVE, WATT, 0, partial(pdu.phase_watts, phase)),
        (APPARENT, VOLT_AMPERE, 0, partial(pdu.phase_volt_amperes, phase)),
        (FACTOR, NONE, 2, pdu.power_factor),
    )


def _add(mib: MibBuilder, entries: Entries, part: Oid, sensors: Iterable[Sensor]) -> None:
    for kind, unit, decimals, read in sensors:
        _describe(mib, entries, (*part, kind), unit, decimals)
        raw = partial(_raw, read, decimals)
        mib.gauge((*entries[1], VALUE, *part, kind), raw)
        mib.integer((*entries[1], SIGNED_VALUE, *part, kind), raw)


def _describe(mib: MibBuilder, entries: Entries, row: Oid, unit: int, decimals: int) -> None:
    configuration, measurement = entries
    mib.constant((*configuration, UNITS, *row), unit)
    mib.constant_gauge((*configuration, DECIMAL_DIGITS, *row), decimals)
    mib.constant((*measurement, IS_AVAILABLE, *row), TRUE)
    mib.constant((*measurement, STATE, *row), NORMAL)


def _raw(read: Callable[[], float], decimals: int) -> float:
    return read() * 10.0**decimals
