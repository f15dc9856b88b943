"""Power shelves and half of the coolant distribution units, each a Modbus TCP server with its maker's registers.

Registers are computed from the factory's state when they are asked for, with the device's own scaling. A unit id that
no power supply has, or whose supply is silent, is answered as gateways do, with exception 0x0B.

The server is our own, because the one of pymodbus 3.16 sends a late answer under the transaction id of the request that
came after it: a slow device would hand out the values of another unit.

Source: Supermicro LCS-SCDU-200AR001 register list.
"""

import asyncio
import math
import struct
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from collectors.simulator.bus_history import BusHistory
from collectors.simulator.factory import Factory
from collectors.simulator.hpr import POWER_FACTOR, HprShelf
from collectors.simulator.hvdc import HvdcShelf
from collectors.simulator.modbus_link import Link, Unit, answer_read
from collectors.simulator.service import Device, Service
from collectors.simulator.words import f32_swapped

_CDU_VOLTS = 400.0
#: below this the reservoir's switch closes
_LOW_LEVEL_RATIO = 0.4


class _Device(Protocol):
    """What one server answers from: the tables of a unit, or None for one that does not answer."""

    name: str

    def unit(self, number: int) -> Unit | None: ...

    def was_read(self, number: int, function: int, start: int, count: int) -> None: ...


class _CduDevice:
    """One Supermicro CDU: unit 1, float32 with the low word first, inputs for leak and level."""

    def __init__(self, factory: Factory, index: int) -> None:
        self._factory = factory
        self._index = index
        self.name = factory.layout.cdus[index].name

    def unit(self, number: int) -> Unit | None:
        if number != 1:
            return None
        registers = dict.fromkeys((*range(1700, 1710), *range(5000, 5040)), 0)
        for first, value in self._values().items():
            registers |= f32_swapped(first, value)
        cdus, index = self._factory.state.cdus, self._index
        is_low = cdus.level_ratio[index] < _LOW_LEVEL_RATIO
        inputs = dict.fromkeys(range(1, 24), 0) | {2: int(cdus.leak[index] > 0), 12: int(is_low)}
        return {"holding": registers, "discrete": inputs}

    def was_read(self, number: int, function: int, start: int, count: int) -> None:
        """Nothing in a CDU changes by being read."""

    def _values(self) -> Mapping[int, float]:
        """Return each reading by its register, in the device's units."""
        cdus, index = self._factory.state.cdus, self._index
        return {
            5000: cdus.tcs_supply_celsius[index],
            5004: cdus.tcs_return_celsius[index],
            5010: cdus.tcs_supply_pascals[index] / 1e3,
            5014: cdus.tcs_return_pascals[index] / 1e3,
            5018: cdus.filter_in_pascals[index] / 1e3,
            5020: cdus.filter_out_pascals[index] / 1e3,
            5022: cdus.tcs_flow_liters_per_second[index] * 60,
            5024: cdus.ambient_celsius[index],
            5026: cdus.humidity_ratio[index] * 100,
            5028: cdus.dew_point_celsius[index],
            5030: cdus.ph[index],
            5032: cdus.conductivity_siemens_per_meter[index] * 1e4,
            5034: cdus.turbidity_ntu[index],
            5036: cdus.power_watts[index] / 1e3,
            5038: cdus.power_watts[index] / (math.sqrt(3) * _CDU_VOLTS * POWER_FACTOR),
        }


def _answer(factory: Factory, device: _Device, unit: int, pdu: bytes) -> bytes | None:
    """Return the answer of a device to one request, or None where a fault silences it."""
    if device.name in factory.silent:
        return None
    answer = answer_read(device.unit(unit), pdu)
    if answer[0] == pdu[0]:
        device.was_read(unit, *struct.unpack(">BHH", pdu))
    return answer


def _devices(factory: Factory, history: BusHistory) -> list[tuple[_Device, str, float]]:
    """Return all devices, each with its profile and interval (s)."""
    layout = factory.layout
    devices: list[tuple[_Device, str, float]] = []
    for index, shelf in enumerate(layout.shelves):
        if shelf.bus == "hpr":
            devices.append((HprShelf(factory, index, history), "ocp_hpr_shelf", layout.plant_seconds))
        else:
            hvdc = HvdcShelf(factory, index, history)
            devices.append((hvdc, hvdc.profile, layout.plant_seconds))
    seconds = min(5.0, layout.plant_seconds)
    return devices + [
        (_CduDevice(factory, index), "supermicro_scdu", seconds)
        for index, cdu in enumerate(layout.cdus)
        if cdu.protocol == "modbus"
    ]


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Serve each power shelf and each CDU with protocol modbus on its own port of 127.0.0.1."""
    history = BusHistory(factory)
    links: set[Link] = set()
    servers: list[asyncio.Server] = []
    found: list[Device] = []
    for device, profile, interval in _devices(factory, history):
        answer = partial(_answer, factory, device)
        delay = partial(_delay, factory, device.name)
        server = await asyncio.get_running_loop().create_server(partial(Link, answer, links, delay), "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        found.append(Device(device.name, f"modbus://127.0.0.1:{port}", profile, interval))

    async def close() -> None:
        history.close()
        for server in servers:
            server.close()
        for link in list(links):
            if link.transport is not None:
                link.transport.abort()
        for server in servers:
            await server.wait_closed()

    return Service(tuple(found), close)


def _delay(factory: Factory, name: str) -> float:
    """Return by how much a fault makes the device late. Units: s."""
    return factory.slow.get(name, 0.0)
