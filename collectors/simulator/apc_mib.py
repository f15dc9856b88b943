"""The MIB of an APC metered rack PDU, rPDU2 generation.

Source: PowerNet-MIB (APC by Schneider Electric), rPDU2DeviceStatusTable, rPDU2DevicePropertiesTable,
rPDU2PhaseStatusTable.
"""

from collections.abc import Callable

import numpy as np

from collectors.simulator.factory import Factory
from collectors.simulator.mib import Mib, MibBuilder
from collectors.simulator.state import Pdus

#: masterSwitchrPDU2
OBJECT_ID = (1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 6)
RPDU2 = (1, 3, 6, 1, 4, 1, 318, 1, 1, 26)
IDENT = (*RPDU2, 2, 1)
PROPERTIES = (*RPDU2, 4, 2, 1)
STATUS = (*RPDU2, 4, 3, 1)
PHASE = (*RPDU2, 6, 3, 1)

DESCRIPTION = (
    "APC Web/SNMP Management Card (MB:v4.3.0 PF:v7.1.2 PN:apc_hw05_aos_712.bin AF1:v7.1.2 AN1:apc_hw05_rpdu2g_712.bin "
    "MN:AP8886 HR:02 SN:5A0000E00001 MD:01/01/2025)"
)
JOULES_PER_TENTH_KWH = 3.6e5
LOW_LOAD, NORMAL, NEAR_OVERLOAD, OVERLOAD = 1, 2, 3, 4
MAX_AMPERES = 32
#: the card has run that long when the factory opens
UPTIME_SECONDS = 40 * 86400.0


def build(factory: Factory, index: int) -> Mib:
    """Return the MIB of one rack PDU of the factory."""
    pdu = factory.layout.pdus[index]
    opened = factory.state.time
    mib = MibBuilder()
    mib.system(DESCRIPTION, OBJECT_ID, pdu.name, lambda now: UPTIME_SECONDS + now - opened)
    mib.constant((*IDENT, 1, 1), 1)
    mib.constant((*IDENT, 2, 1), 1)
    mib.text((*IDENT, 3, 1), pdu.name)
    mib.text((*IDENT, 8, 1), "AP8886")
    mib.constant((*PROPERTIES, 2, 1), 1)
    mib.constant((*PROPERTIES, 9, 1), MAX_AMPERES)
    mib.constant((*PROPERTIES, 13, 1), round(pdu.rated_watts / 100))
    _add_device(mib, factory, index)
    for phase in range(factory.state.pdus.phase_amperes.shape[1]):
        _add_phase(mib, factory, index, phase)
    return mib.build()


def _add_device(mib: MibBuilder, factory: Factory, index: int) -> None:
    rated = factory.layout.pdus[index].rated_watts

    def pdus() -> Pdus:
        return factory.state.pdus

    for column, value in ((1, 1), (2, 1), (11, 2), (12, 1), (13, 1), (14, 3)):
        mib.constant((*STATUS, column, 1), value)
    mib.text((*STATUS, 3, 1), factory.layout.pdus[index].name)
    mib.integer((*STATUS, 4, 1), lambda: _load_state(pdus().watts[index] / rated))
    mib.integer((*STATUS, 5, 1), lambda: pdus().watts[index] / 10)
    mib.counting_integer((*STATUS, 9, 1), lambda now: int(pdus().energy_joules.at(now, index) / JOULES_PER_TENTH_KWH))
    mib.text((*STATUS, 10, 1), "01/01/2025 00:00:00")
    mib.integer((*STATUS, 16, 1), lambda: pdus().volt_amperes[index] / 10)
    mib.integer((*STATUS, 17, 1), lambda: 100 * _ratio(pdus().watts[index], pdus().volt_amperes[index]))


def _add_phase(mib: MibBuilder, factory: Factory, index: int, phase: int) -> None:
    row = phase + 1

    def reading(name: str) -> Callable[[], float]:
        return lambda: float(getattr(factory.state.pdus, name)[index, phase])

    amperes, volts = reading("phase_amperes"), reading("phase_volts")

    def power_factor() -> float:
        return _ratio(factory.state.pdus.watts[index], factory.state.pdus.volt_amperes[index])

    mib.constant((*PHASE, 1, row), row)
    mib.constant((*PHASE, 2, row), 1)
    mib.constant((*PHASE, 3, row), row)
    mib.integer((*PHASE, 4, row), lambda: _load_state(amperes() / MAX_AMPERES))
    mib.integer((*PHASE, 5, row), lambda: 10 * amperes())
    mib.integer((*PHASE, 6, row), volts)
    mib.integer((*PHASE, 7, row), lambda: amperes() * volts() * power_factor() / 10)
    mib.integer((*PHASE, 8, row), lambda: amperes() * volts() / 10)
    mib.integer((*PHASE, 9, row), lambda: 100 * power_factor())


def _load_state(load: float) -> int:
    return int(np.searchsorted((0.05, 0.8, 1.0), load, side="right")) + 1


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
