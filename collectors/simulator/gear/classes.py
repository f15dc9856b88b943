"""Which gear there is: a class of devices by the profile that reads it, its protocol, and what makes one."""

from collections.abc import Callable, Mapping
from typing import Any

from collectors.simulator import apc_mib
from collectors.simulator.factory import Factory
from collectors.simulator.gear import (
    snmp_eaton,
    snmp_eltek,
    snmp_raritan,
    snmp_servertech,
    snmp_supermicro,
    snmp_vertiv,
)
from collectors.simulator.layout import Layout

#: makes a device of its place among its like in the layout: of SNMP a `Mib`
Maker = Callable[[Factory, int], Any]

#: class -> protocol, layout's things that it plays, maker
CLASSES: dict[str, tuple[str, str, Maker]] = {
    "apc_rpdu2": ("snmp", "pdus", apc_mib.build),
    "raritan_pdu2": ("snmp", "pdus", snmp_raritan.build),
    "servertech_sentry4": ("snmp", "pdus", snmp_servertech.build),
    "vertiv_v5": ("snmp", "pdus", snmp_vertiv.build),
    "eaton_epdu": ("snmp", "pdus", snmp_eaton.build),
    "eltek_smartpack2": ("snmp", "shelves", snmp_eltek.build),
    "supermicro_scdu_snmp": ("snmp", "cdus", snmp_supermicro.build),
}
#: makers of the site's rack PDUs, in turn
PDU_CLASSES = ("apc_rpdu2", "raritan_pdu2", "servertech_sentry4", "vertiv_v5", "eaton_epdu")


def count_played(layout: Layout) -> Mapping[str, int]:
    """Return how many things of a layout devices of a class may play."""
    return {"pdus": len(layout.pdus), "shelves": len(layout.shelves), "cdus": len(layout.cdus)}
