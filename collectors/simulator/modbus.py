"""Power shelves and half of the coolant distribution units, each a Modbus TCP server with its maker's registers.

Registers are computed from the factory's state when they are asked for, with the device's own scaling. A unit id that
no power supply has, or whose supply is silent, is answered as gateways do, with exception 0x0B.

The server is our own, because the one of pymodbus 3.16 sends a late answer under the transaction id of the request that
came after it: a slow device would hand out the values of another unit.
"""

import time
from collections.abc import Callable

from collectors.simulator.bus_history import BusHistory
from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_serve import Served, serve
from collectors.simulator.gear.modbus_supermicro import SupermicroCdu
from collectors.simulator.hpr import HprShelf
from collectors.simulator.hvdc import HvdcShelf
from collectors.simulator.service import Service


def _devices(factory: Factory, history: BusHistory) -> list[Served]:
    """Return all devices, each with its profile and interval (s)."""
    layout = factory.layout
    served: list[Served] = []
    for index, shelf in enumerate(layout.shelves):
        if shelf.bus == "hpr":
            hpr = HprShelf(factory, index, history)
            served.append(Served(hpr, shelf.name, "ocp_hpr_shelf", layout.plant_seconds))
        else:
            hvdc = HvdcShelf(factory, index, history)
            served.append(Served(hvdc, shelf.name, hvdc.profile, layout.plant_seconds))
    seconds = min(5.0, layout.plant_seconds)
    return served + [
        Served(SupermicroCdu(factory, index), cdu.name, "supermicro_scdu", seconds)
        for index, cdu in enumerate(layout.cdus)
        if cdu.protocol == "modbus"
    ]


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Serve each power shelf and each CDU with protocol modbus on its own port of 127.0.0.1."""
    history = BusHistory(factory)
    return await serve(factory, _devices(factory, history), history.close)
