"""The MIB of an APC metered rack PDU, rPDU2 generation.

Source: PowerNet-MIB (APC by Schneider Electric), rPDU2DeviceStatusTable, rPDU2DevicePropertiesTable,
rPDU2PhaseStatusTable.
"""

import numpy as np

from collectors.simulator.factory import Factory
from collectors.simulator.gear.readings import LINE_AMPERES, PHASES, PduReadings
from collectors.simulator.mib import Mib, MibBuilder

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
WATT_HOURS_PER_COUNT = 100
LOW_LOAD, NORMAL, NEAR_OVERLOAD, OVERLOAD = 1, 2, 3, 4


def build(factory: Factory, index: int) -> Mib:
    """Return the MIB of one rack PDU of the factory."""
    pdu = PduReadings(factory, index)
    mib = MibBuilder()
    mib.system(DESCRIPTION, OBJECT_ID, pdu.name, pdu.uptime)
    mib.constant((*IDENT, 1, 1), 1)
    mib.constant((*IDENT, 2, 1), 1)
    mib.text((*IDENT, 3, 1), pdu.name)
    mib.text((*IDENT, 8, 1), "AP8886")
    mib.constant((*PROPERTIES, 2, 1), 1)
    mib.constant((*PROPERTIES, 9, 1), LINE_AMPERES)
    mib.constant((*PROPERTIES, 12, 1), LINE_AMPERES)
    mib.constant((*PROPERTIES, 13, 1), round(pdu.rated_watts / 100))
    _add_device(mib, pdu)
    for phase in PHASES:
        _add_phase(mib, pdu, phase)
    return mib.build()


def _add_device(mib: MibBuilder, pdu: PduReadings) -> None:
    for column, value in ((1, 1), (2, 1), (11, 2), (12, 1), (13, 1), (14, 3)):
        mib.constant((*STATUS, column, 1), value)
    mib.text((*STATUS, 3, 1), pdu.name)
    mib.integer((*STATUS, 4, 1), lambda: _load_state(pdu.watts() / pdu.rated_watts))
    mib.integer((*STATUS, 5, 1), lambda: pdu.watts() / 10)
    mib.counting_integer((*STATUS, 9, 1), lambda now: int(pdu.watt_hours(now) / WATT_HOURS_PER_COUNT))
    mib.text((*STATUS, 10, 1), "01/01/2025 00:00:00")
    mib.integer((*STATUS, 16, 1), lambda: pdu.volt_amperes() / 10)
    mib.integer((*STATUS, 17, 1), lambda: 100 * pdu.power_factor())


def _add_phase(mib: MibBuilder, pdu: PduReadings, phase: int) -> None:
    row = phase + 1
    mib.constant((*PHASE, 1, row), row)
    mib.constant((*PHASE, 2, row), 1)
    mib.constant((*PHASE, 3, row), row)
    mib.integer((*PHASE, 4, row), lambda: _load_state(pdu.load(phase)))
    mib.integer((*PHASE, 5, row), lambda: 10 * pdu.amperes(phase))
    mib.integer((*PHASE, 6, row), lambda: pdu.volts(phase))
    mib.integer((*PHASE, 7, row), lambda: pdu.phase_watts(phase) / 10)
    mib.integer((*PHASE, 8, row), lambda: pdu.phase_volt_amperes(phase) / 10)
    mib.integer((*PHASE, 9, row), lambda: 100 * pdu.power_factor())


def _load_state(load: float) -> int:
    return int(np.searchsorted((0.05, 0.8, 1.0), load, side="right")) + 1
