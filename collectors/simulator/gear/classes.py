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
from collectors.simulator.gear.modbus_bbu import HprBbu, Orv3Bbu
from collectors.simulator.gear.modbus_generic import GenericCdu, GenericMeter
from collectors.simulator.gear.modbus_orv3 import Orv3Shelf
from collectors.simulator.gear.modbus_past import Past
from collectors.simulator.gear.modbus_pmm import PowerShelfController
from collectors.simulator.gear.modbus_rpu import ReservoirPumpUnit
from collectors.simulator.gear.modbus_supermicro import SupermicroCdu
from collectors.simulator.hpr import HprShelf
from collectors.simulator.hvdc import HvdcShelf
from collectors.simulator.layout import Layout

#: makes a device of the factory and an index in its layout: of SNMP a `Mib`; of Modbus what answers, given `Past` too
Maker = Callable[..., Any]


def _make_hpr(factory: Factory, index: int, past: Past) -> HprShelf:
    return HprShelf(factory, index, past.history)


def _make_hvdc(factory: Factory, index: int, past: Past) -> HvdcShelf:
    return HvdcShelf(factory, index, past.history)


def _make_supermicro(factory: Factory, index: int, _: Past) -> SupermicroCdu:
    return SupermicroCdu(factory, index)


#: class -> protocol, layout's things that it plays, maker
CLASSES: dict[str, tuple[str, str, Maker]] = {
    "apc_rpdu2": ("snmp", "pdus", apc_mib.build),
    "raritan_pdu2": ("snmp", "pdus", snmp_raritan.build),
    "servertech_sentry4": ("snmp", "pdus", snmp_servertech.build),
    "vertiv_v5": ("snmp", "pdus", snmp_vertiv.build),
    "eaton_epdu": ("snmp", "pdus", snmp_eaton.build),
    "eltek_smartpack2": ("snmp", "shelves", snmp_eltek.build),
    "supermicro_scdu_snmp": ("snmp", "cdus", snmp_supermicro.build),
    "ocp_hpr_shelf": ("modbus", "hpr shelves", _make_hpr),
    "ocp_orv3_shelf": ("modbus", "hpr shelves", Orv3Shelf),
    "ocp_pmm": ("modbus", "hpr shelves", PowerShelfController),
    "ocp_orv3_bbu": ("modbus", "hpr shelves", Orv3Bbu),
    "ocp_hpr_bbu": ("modbus", "hpr shelves", HprBbu),
    "generic_hvdc_800": ("modbus", "hvdc_800 shelves", _make_hvdc),
    "generic_hvdc_400": ("modbus", "hvdc_400 shelves", _make_hvdc),
    "ocp_rpu": ("modbus", "cdus", ReservoirPumpUnit),
    "supermicro_scdu": ("modbus", "cdus", _make_supermicro),
    "generic_cdu": ("modbus", "cdus", GenericCdu),
    "generic_meter": ("modbus", "meters", GenericMeter),
}
#: makers of the site's rack PDUs, in turn
PDU_CLASSES = ("apc_rpdu2", "raritan_pdu2", "servertech_sentry4", "vertiv_v5", "eaton_epdu")


def list_played(layout: Layout) -> Mapping[str, list[int]]:
    """Return the indices of a layout's things that devices of a class may play."""
    things = {"pdus": layout.pdus, "shelves": layout.shelves, "cdus": layout.cdus, "meters": layout.meters}
    found = {name: list(range(len(each))) for name, each in things.items()}
    for bus in ("hpr", "hvdc_800", "hvdc_400"):
        found[f"{bus} shelves"] = [index for index, shelf in enumerate(layout.shelves) if shelf.bus == bus]
    return found
