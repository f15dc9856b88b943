"""Modbus devices on ports of 127.0.0.1: each a server of its own that answers from the tables of its units."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from collectors.simulator.factory import Factory
from collectors.simulator.modbus_link import Link, Unit, answer_read
from collectors.simulator.service import Device, Service


class ModbusDevice(Protocol):
    """What one server answers from: the tables of a unit, or None for one that does not answer."""

    name: str

    def unit(self, number: int) -> Unit | None:
        """Return the tables of a unit, or None where none answers."""

    def was_read(self, number: int, function: int, start: int, count: int) -> None:
        """Take note that a request was answered with values; most devices do not change by being read."""
        return  # a body: without one, a protocol's method is abstract


class Served(NamedTuple):
    """A device, the name under which it is found, the profile that reads it, and how often it is to be read."""

    device: ModbusDevice
    name: str
    profile: str
    interval_seconds: float


async def serve(factory: Factory, devices: Sequence[Served], forget: Callable[[], None]) -> Service:
    """Serve each device on a port that the system picks; `forget` is called when the service closes."""
    links: set[Link] = set()
    servers: list[asyncio.Server] = []
    found: list[Device] = []
    for device, name, profile, interval in devices:
        answer, delay = partial(_answer, factory, device, name), partial(_delay, factory, name)
        server = await asyncio.get_running_loop().create_server(partial(Link, answer, links, delay), "127.0.0.1", 0)
        servers.append(server)
        found.append(Device(name, f"modbus://127.0.0.1:{server.sockets[0].getsockname()[1]}", profile, interval))

    async def close() -> None:
        forget()
        for server in servers:
            server.close()
        for link in list(links):
            if link.transport is not None:
                link.transport.abort()
        for server in servers:
            await server.wait_closed()

    return Service(tuple(found), close)


def _answer(factory: Factory, device: ModbusDevice, name: str, unit: int, pdu: bytes) -> bytes | None:
    """Return the answer of a device to one request, or None where a fault silences it."""
    if name in factory.silent:
        return None
    answer = answer_read(device.unit(unit), pdu)
    if answer[0] == pdu[0]:
        device.was_read(unit, *struct.unpack(">BHH", pdu))
    return answer


def _delay(factory: Factory, name: str) -> float:
    """Return by how much a fault makes the device late. Units: s."""
    return factory.slow.get(name, 0.0)
