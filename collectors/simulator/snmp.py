"""SNMP agents of the factory: SONiC switches (v2c, v3) and rack PDUs of five makers, on pysnmp's engine.

Reads of v2c are answered from bytes to bytes; v1 and v3 go through one engine for all devices: making one costs 0.13 s,
and it costs some 30 times as much per request. The port that a request came in on says which device is meant. pysnmp's
own MIB tree would cost milliseconds per instance, so a sorted table of OIDs takes its place.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context
from pysnmp.error import PySnmpError
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.smi.error import AuthorizationError
from pysnmp.smi.instrum import AbstractMibInstrumController

from collectors.simulator import ber, sonic_mib
from collectors.simulator.factory import Factory
from collectors.simulator.gear.classes import CLASSES, PDU_CLASSES
from collectors.simulator.link_traps import LinkTraps
from collectors.simulator.port_cache import PortCache
from collectors.simulator.service import Device, Service
from collectors.simulator.snmp_agent import Agent, SilentError
from collectors.simulator.sonic import leaves, poll_seconds

COMMUNITY = "public"
USER = "tokenwatt"
AUTH_PASSWORD = "tokenwatt-auth"
PRIV_PASSWORD = "tokenwatt-priv"

#: securityModel and securityLevel of RFC 3411
V2C, V3 = 2, 3
AUTH_PRIV = 3

_TYPES: dict[int, type] = {
    ber.INTEGER: rfc1902.Integer32,
    ber.OCTETS: rfc1902.OctetString,
    ber.OBJECT_ID: rfc1902.ObjectIdentifier,
    ber.COUNTER32: rfc1902.Counter32,
    ber.GAUGE32: rfc1902.Gauge32,
    ber.TICKS: rfc1902.TimeTicks,
    ber.COUNTER64: rfc1902.Counter64,
}
_NOTHING = {ber.NO_INSTANCE: rfc1905.noSuchInstance, ber.END_OF_MIB: rfc1905.endOfMibView}


async def start(
    factory: Factory, clock: Callable[[], float] = time.time, traps: tuple[str, int] | None = None
) -> Service:
    """Start an agent for each SNMP switch and each rack PDU on ports of 127.0.0.1; they send their traps to `traps`."""
    factory.traps_to = traps or factory.traps_to
    return await serve(factory, _make_agents(factory), clock)


async def serve(factory: Factory, agents: Sequence[Agent], clock: Callable[[], float]) -> Service:
    """Start these agents, each on a port of its own."""
    engine = SnmpEngine()
    _add_users(engine)
    _answer(engine, _Instrumentation(engine, factory, agents, clock))
    transports = [await _listen(engine, factory, number, agent, clock) for number, agent in enumerate(agents)]
    senders = {a.name: t.send_bytes for a, t in zip(agents, transports, strict=True) if a.version == "2c"}
    LinkTraps(factory, senders, COMMUNITY.encode())

    async def close() -> None:
        engine.close_dispatcher()
        # The sockets close in the loop's next round.
        await asyncio.sleep(0)

    interval = poll_seconds(factory)
    return Service(tuple(_device(a, t.port, interval) for a, t in zip(agents, transports, strict=True)), close)


def _make_agents(factory: Factory) -> list[Agent]:
    agents = []
    for leaf in leaves(factory, "snmp"):
        make = partial(sonic_mib.build, leaf, PortCache(leaf))
        agents.append(Agent(leaf.switch.name, make(), leaf.switch.snmp_version, "sonic_snmp", make))
    for index, pdu in enumerate(factory.layout.pdus):
        kind = PDU_CLASSES[index % len(PDU_CLASSES)]
        agents.append(Agent(pdu.name, CLASSES[kind][2](factory, index), "2c", kind))
    return agents


class _Port(udp.UdpTransport):  # type: ignore[misc]
    """One device's UDP port: deaf or late when a fault says so."""

    def __init__(self, agent: Agent, factory: Factory, clock: Callable[[], float]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._agent = agent
        self._factory = factory
        self._clock = clock

    def datagram_received(self, datagram: bytes, transportAddress: Any) -> None:  # noqa: N803 (pysnmp's signature)
        name = self._agent.name
        if name in self._factory.silent:
            return
        if delay := self._factory.slow.get(name, 0.0):
            self.loop.call_later(delay, self._take, datagram, transportAddress)
        else:
            self._take(datagram, transportAddress)

    @property
    def port(self) -> int:
        """Return the UDP port that it listens on."""
        port: int = self.transport.get_extra_info("sockname")[1]
        return port

    def send_bytes(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Send a datagram from this port."""
        self.transport.sendto(datagram, address)

    def _take(self, datagram: bytes, address: Any) -> None:
        answer = self._agent.answer(self._factory, datagram, COMMUNITY.encode(), self._clock())
        if answer is None:
            super().datagram_received(datagram, address)
        elif answer:
            self.transport.sendto(answer, address)


class _Instrumentation(AbstractMibInstrumController):  # type: ignore[misc]
    """Answer reads from the table of the device that was asked; nothing can be written."""

    def __init__(
        self, engine: SnmpEngine, factory: Factory, agents: Sequence[Agent], clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._factory = factory
        self._agents = agents
        self._clock = clock

    def read_variables(self, *varbinds: Any, **_: Any) -> list[tuple[Any, Any]]:
        return self._read(self._agent().read, varbinds)

    def read_next_variables(self, *varbinds: Any, **_: Any) -> list[tuple[Any, Any]]:
        return self._read(self._agent().read_next, varbinds)

    def _read(self, read: Callable[..., list[ber.VarBind]], varbinds: Sequence[Any]) -> list[tuple[Any, Any]]:
        try:
            found = read(self._factory, [oid.asTuple() for oid, _ in varbinds], self._clock())
        except SilentError as error:
            # pysnmp drops the request then, as a hung subagent does.
            raise PySnmpError(str(error)) from error
        return [
            (asked.clone(oid), _NOTHING[value] if value in _NOTHING else _TYPES[value[0]](value[1]))
            for (asked, _), (oid, value) in zip(varbinds, found, strict=True)
        ]

    def _agent(self) -> Agent:
        request = self._engine.observer.get_execution_context("rfc3412.receiveMessage:request")
        agent: Agent = self._agents[request["transportDomain"][-1]]
        if agent.version == "3":
            allowed = request["securityModel"] == V3 and request["securityLevel"] == AUTH_PRIV
        else:
            allowed = request["securityModel"] <= V2C
        if not allowed:
            raise AuthorizationError(idx=0)
        return agent


def _add_users(engine: SnmpEngine) -> None:
    config.add_v1_system(engine, COMMUNITY, COMMUNITY)
    config.add_v3_user(
        engine,
        USER,
        config.USM_AUTH_HMAC192_SHA256,
        AUTH_PASSWORD,
        config.USM_PRIV_CFB128_AES,
        PRIV_PASSWORD,
    )


def _answer(engine: SnmpEngine, instrumentation: _Instrumentation) -> None:
    served = context.SnmpContext(engine)
    served.unregister_context_name(b"")
    served.register_context_name(b"", instrumentation)
    for responder in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder, cmdrsp.BulkCommandResponder):
        responder(engine, served)


async def _listen(engine: SnmpEngine, factory: Factory, number: int, agent: Agent, clock: Callable[[], float]) -> _Port:
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.setblocking(False)
    listening.bind(("127.0.0.1", 0))
    transport = _Port(agent, factory, clock)
    config.add_transport(engine, (*udp.DOMAIN_NAME, number), transport)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: transport, sock=listening)
    return transport


def _device(agent: Agent, port: int, interval: float) -> Device:
    if agent.version == "3":
        url = f"snmp://{USER}@127.0.0.1:{port}?version=3&auth=sha256&priv=aes128"
        return Device(agent.name, url, agent.profile, interval, AUTH_PASSWORD, PRIV_PASSWORD)
    return Device(agent.name, f"snmp://{COMMUNITY}@127.0.0.1:{port}?version=2c", agent.profile, interval)
