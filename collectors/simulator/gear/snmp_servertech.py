"""The MIB of a Server Technology PRO2 rack PDU: one cord of three lines and phases, a branch per phase.

Source: Sentry4-MIB (1.3.6.1.4.1.1718.4).
"""

from functools import partial

from collectors.simulator.factory import Factory
from collectors.simulator.gear.readings import LINE_AMPERES, MAINS_HERTZ, PHASES, PduReadings
from collectors.simulator.mib import Mib, MibBuilder

OBJECT_ID = (1, 3, 6, 1, 4, 1, 1718, 4)
ST4 = (*OBJECT_ID, 1)
DESCRIPTION = "Sentry Switched PDU, PRO2 C2X, 8.0v"
UNIT_CONFIG = (*ST4, 2, 2, 1)
CORD_CONFIG, CORD = (*ST4, 3, 2, 1), (*ST4, 3, 3, 1)
LINE_CONFIG, LINE = (*ST4, 4, 2, 1), (*ST4, 4, 3, 1)
PHASE_CONFIG, PHASE = (*ST4, 5, 2, 1), (*ST4, 5, 3, 1)
BREAKER_CONFIG, BREAKER = (*ST4, 6, 2, 1), (*ST4, 6, 3, 1)
BRANCH_CONFIG, BRANCH = (*ST4, 7, 2, 1), (*ST4, 7, 3, 1)
ID = 2
UNIT_CORDS = 30
ON, NORMAL = 1, 0
#: the only cord: unit 1, cord 1
AA = (1, 1)
PERMILLE = 1000.0


def build(factory: Factory, index: int) -> Mib:
    """Return the MIB of one rack PDU of the factory."""
    pdu = PduReadings(factory, index)
    mib = MibBuilder()
    mib.system(DESCRIPTION, OBJECT_ID, pdu.name, pdu.uptime)
    mib.constant((*UNIT_CONFIG, UNIT_CORDS, 1), 1)
    _add_cord(mib, pdu)
    for phase in PHASES:
        _add_phase(mib, pdu, phase)
    return mib.build()


def _add_cord(mib: MibBuilder, pdu: PduReadings) -> None:
    mib.text((*CORD_CONFIG, ID, *AA), "AA")
    mib.constant((*CORD_CONFIG, 10, *AA), LINE_AMPERES)
    mib.constant((*CORD, 1, *AA), ON)
    mib.constant((*CORD, 2, *AA), NORMAL)
    mib.integer((*CORD, 3, *AA), pdu.watts)
    mib.integer((*CORD, 5, *AA), pdu.volt_amperes)
    mib.integer((*CORD, 7, *AA), lambda: PERMILLE * pdu.volt_amperes() / pdu.rated_watts)
    mib.integer((*CORD, 8, *AA), lambda: 100 * pdu.power_factor())
    mib.counting_integer((*CORD, 10, *AA), lambda now: int(pdu.watt_hours(now) / 100))
    mib.constant((*CORD, 11, *AA), round(10 * MAINS_HERTZ))
    # Out of balance stands in whole percent where the MIB says tenths, as real units have it.
    mib.integer((*CORD, 12, *AA), lambda: 100 * _imbalance([pdu.amperes(phase) for phase in PHASES]))


def _add_phase(mib: MibBuilder, pdu: PduReadings, phase: int) -> None:
    row, name = (*AA, phase + 1), f"AA{phase + 1}"
    amperes = partial(pdu.amperes, phase)

    def hundredths() -> float:
        return 100 * amperes()

    for config in (LINE_CONFIG, PHASE_CONFIG, BREAKER_CONFIG, BRANCH_CONFIG):
        mib.text((*config, ID, *row), name)
    for table in (LINE, PHASE, BRANCH):
        mib.constant((*table, 1, *row), ON)
        mib.constant((*table, 2, *row), NORMAL)
    for config, table in ((LINE_CONFIG, LINE), (BRANCH_CONFIG, BRANCH)):
        mib.constant((*config, 6, *row), LINE_AMPERES)
        mib.integer((*table, 3, *row), hundredths)
        mib.integer((*table, 5, *row), lambda: PERMILLE * pdu.load(phase))
    mib.constant((*BREAKER_CONFIG, 7, *row), LINE_AMPERES)
    mib.constant((*BREAKER, 1, *row), NORMAL)
    mib.integer((*PHASE, 3, *row), lambda: 10 * pdu.volts(phase))
    mib.integer((*PHASE, 6, *row), hundredths)
    mib.integer((*PHASE, 8, *row), partial(pdu.phase_watts, phase))
    mib.integer((*PHASE, 9, *row), partial(pdu.phase_volt_amperes, phase))
    mib.integer((*PHASE, 10, *row), lambda: 100 * pdu.power_factor())
    # Energy of a phase is a third of the cord's.
    mib.counting_integer((*PHASE, 13, *row), lambda now: int(pdu.watt_hours(now) / 300))


def _imbalance(amperes: list[float]) -> float:
    mean = sum(amperes) / len(amperes)
    return max(abs(value - mean) for value in amperes) / mean if mean else 0.0
