"""Traps of the simulated switches, heard on a real socket and read by pysnmp's codec."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pyasn1.codec.ber import decoder
from pysnmp.proto.api import v2c

from collectors.simulator import snmp as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Service

START = 1_760_000_000.0
SYS_UPTIME, TRAP_OID = (1, 3, 6, 1, 2, 1, 1, 3, 0), (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
TRAPS = (1, 3, 6, 1, 6, 3, 1, 1, 5)
IF = (1, 3, 6, 1, 2, 1, 2, 2, 1)


@dataclass(slots=True)
class Heard:
    """A factory whose switches send their traps to a socket."""

    factory: Factory
    service: Service
    listening: socket.socket

    async def next(self) -> tuple[int, dict[tuple[int, ...], Any]]:
        """Return the port that the next trap came from, and its variables."""
        receiving = asyncio.get_running_loop().sock_recvfrom(self.listening, 65_535)
        datagram, address = await asyncio.wait_for(receiving, 60)
        message, _ = decoder.decode(datagram, asn1Spec=v2c.Message())
        assert bytes(v2c.apiMessage.get_community(message)) == b"public"
        pdu = v2c.apiMessage.get_pdu(message)
        assert pdu.isSameTypeWith(v2c.SNMPv2TrapPDU())
        return address[1], {oid.asTuple(): value for oid, value in v2c.apiPDU.get_varbinds(pdu)}

    def port(self, name: str) -> int:
        url = next(device.url for device in self.service.devices if device.name == name)
        return int(url.rpartition(":")[2].partition("?")[0])


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.setblocking(False)
        listening.bind(("127.0.0.1", 0))
        factory = Factory(build_layout(512), seed=1, start=START)
        service = await simulator.start(factory, lambda: factory.state.time, listening.getsockname())
        yield Heard(factory, service, listening)
        await service.close()


async def test_a_link_that_falls_and_rises_is_told_with_its_states(heard: Heard) -> None:
    heard.factory.faults.inject("port_down", "leaf-1/Ethernet16", START + 1, 5)
    heard.factory.advance(START + 2)
    port, found = await heard.next()
    assert port == heard.port("leaf-1")
    assert list(found)[:2] == [SYS_UPTIME, TRAP_OID]
    uptime = START + 1 - heard.factory.state.switches.boot_time[0]
    assert int(found[SYS_UPTIME]) == int(uptime * 100) % 2**32
    assert found[TRAP_OID].asTuple() == (*TRAPS, 3)
    assert {oid: int(value) for oid, value in list(found.items())[2:]} == {
        (*IF, 1, 17): 17,
        (*IF, 7, 17): 1,
        (*IF, 8, 17): 2,
    }
    heard.factory.advance(START + 7)
    _, found = await heard.next()
    assert found[TRAP_OID].asTuple() == (*TRAPS, 4)
    assert int(found[(*IF, 8, 17)]) == 1


async def test_a_shut_port_tells_that_its_operator_did_it(heard: Heard) -> None:
    heard.factory.faults.inject("port_shut", "leaf-5/Ethernet0", START + 1)
    heard.factory.advance(START + 2)
    port, found = await heard.next()
    assert port == heard.port("leaf-5")
    assert (int(found[(*IF, 7, 1)]), int(found[(*IF, 8, 1)])) == (2, 2)


async def test_a_switch_that_started_anew_tells_so_once_it_is_there(heard: Heard) -> None:
    heard.factory.faults.inject("switch_reboot", "leaf-1", START + 1)
    # what falls while it is silent is told by nobody; the link of another switch is
    heard.factory.faults.inject("port_down", "leaf-1/Ethernet0", START + 5, 5)
    heard.factory.advance(START + 30)
    heard.factory.faults.inject("port_down", "leaf-5/Ethernet0", START + 31)
    heard.factory.advance(START + 32)
    first, second = await heard.next(), await heard.next()
    assert (first[0], first[1][TRAP_OID].asTuple()) == (heard.port("leaf-1"), (*TRAPS, 1))
    assert (second[0], second[1][TRAP_OID].asTuple()) == (heard.port("leaf-5"), (*TRAPS, 3))


async def test_v3_switches_and_a_factory_without_receiver_send_nothing(heard: Heard) -> None:
    receiver = heard.factory.traps_to
    heard.factory.faults.inject("port_down", "leaf-3/Ethernet0", START + 1)
    heard.factory.advance(START + 2)
    heard.factory.traps_to = None
    heard.factory.faults.inject("port_down", "leaf-1/Ethernet0", START + 3)
    heard.factory.advance(START + 4)
    heard.factory.traps_to = receiver
    heard.factory.faults.inject("port_down", "leaf-1/Ethernet8", START + 5)
    heard.factory.advance(START + 6)
    port, found = await heard.next()
    assert port == heard.port("leaf-1")
    assert (*IF, 8, 9) in found
