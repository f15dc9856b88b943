"""The MIB of a Vertiv (Geist) rack PDU: one PDU of three phases and lines, a breaker per phase.

Source: VERTIV-V5-MIB, pdu (1.3.6.1.4.1.21239.5.2.3).
"""

from functools import partial

from collectors.simulator.factory import Factory
from collectors.simulator.gear.readings import PHASES, PduReadings
from collectors.simulator.mib import Mib, MibBuilder

OBJECT_ID = (1, 3, 6, 1, 4, 1, 21239, 5, 2)
PDUS = (*OBJECT_ID, 3)
MAIN, PHASE, BREAKER, LINE = ((*PDUS, table, 1) for table in (1, 2, 3, 4))
DESCRIPTION = "GU2"
#: after 9,999,000 Wh the counter begins at 0
LARGEST_WATT_HOURS = 9_999_000


def build(factory: Factory, index: int) -> Mib:
    """Return the MIB of one rack PDU of the factory."""
    pdu = PduReadings(factory, index)
    mib = MibBuilder()
    mib.system(DESCRIPTION, OBJECT_ID, pdu.name, pdu.uptime)
    mib.text((*MAIN, 3, 1), pdu.name)
    mib.constant_gauge((*MAIN, 5, 1), 1)
    mib.gauge((*MAIN, 9, 1), pdu.watts)
    mib.gauge((*MAIN, 10, 1), pdu.volt_amperes)
    mib.gauge((*MAIN, 11, 1), lambda: 100 * pdu.power_factor())
    mib.counting_gauge((*MAIN, 12, 1), lambda now: _wrapped(pdu.watt_hours(now)))
    for phase in PHASES:
        _add_phase(mib, pdu, phase)
    return mib.build()


def _add_phase(mib: MibBuilder, pdu: PduReadings, phase: int) -> None:
    row = phase + 1

    def hundredths() -> float:
        return 100 * pdu.amperes(phase)

    mib.text((*PHASE, 2, row), f"Phase {'ABC'[phase]}")
    mib.gauge((*PHASE, 4, row), lambda: 10 * pdu.volts(phase))
    mib.gauge((*PHASE, 8, row), hundredths)
    mib.gauge((*PHASE, 12, row), partial(pdu.phase_watts, phase))
    mib.gauge((*PHASE, 13, row), partial(pdu.phase_volt_amperes, phase))
    mib.gauge((*PHASE, 14, row), lambda: 100 * pdu.power_factor())
    mib.counting_gauge((*PHASE, 15, row), lambda now: _wrapped(pdu.watt_hours(now) / len(PHASES)))
    mib.text((*BREAKER, 2, row), f"Breaker {row}")
    mib.gauge((*BREAKER, 4, row), hundredths)
    mib.gauge((*BREAKER, 8, row), lambda: 10 * pdu.volts(phase))
    mib.gauge((*BREAKER, 12, row), partial(pdu.phase_watts, phase))
    mib.text((*LINE, 2, row), f"Line {row}")
    mib.gauge((*LINE, 4, row), hundredths)


def _wrapped(watt_hours: float) -> int:
    return int(watt_hours) % (LARGEST_WATT_HOURS + 1)
