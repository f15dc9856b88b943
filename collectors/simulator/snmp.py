"""SNMP agents of the factory: SONiC switches (v2c, v3) and APC rack PDUs, on pysnmp's engine.

One engine answers for all devices: making one costs 0.13 s. The port that a request came in on says which device is
meant. pysnmp's own MIB tree would cost milliseconds per instance, so a sorted table of OIDs takes its place.
"""

import asyncio
import bisect
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context
from pysnmp.proto import rfc1905
from pysnmp.smi.error import AuthorizationError
from pysnmp.smi.instrum import AbstractMibInstrumController

from collectors.simulator import apc_mib, sonic_mib
from collectors.simulator.factory import Factory
from collectors.simulator.mib import Mib
from collectors.simulator.service import Device, Service
from collectors.simulator.sonic import leaves, poll_seconds

COMMUNITY = "public"
USER = "tokenwatt"
AUTH_PASSWORD = "tokenwatt-auth"
PRIV_PASSWORD = "tokenwatt-priv"

#: securityModel and securityLevel of RFC 3411
V2C, V3 = 2, 3
AUTH_PRIV = 3


@dataclass(slots=True)
class Agent:
    """One device: what it says and which version it speaks. Its MIB may be exchanged while it is served."""

    name: str
    mib: Mib
    version: str
    profile: str


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Start an agent for each SNMP switch and each rack PDU on ports of 127.0.0.1."""
    return await serve(factory, _make_agents(factory), clock)


async def serve(factory: Factory, agents: Sequence[Agent], clock: Callable[[], float]) -> Service:
    """Start these agents, each on a port of its own."""
    engine = SnmpEngine()
    _add_users(engine)
    _answer(engine, _Instrumentation(engine, agents, clock))
    ports = [await _listen(engine, factory, number, agent) for number, agent in enumerate(agents)]

    async def close() -> None:
        engine.close_dispatcher()
        # The sockets close in the loop's next round.
        await asyncio.sleep(0)

    interval = poll_seconds(factory)
    return Service(tuple(_device(agent, port, interval) for agent, port in zip(agents, ports, strict=True)), close)


def _make_agents(factory: Factory) -> list[Agent]:
    agents = []
    for leaf in leaves(factory, "snmp"):
        agents.append(Agent(leaf.switch.name, sonic_mib.build(leaf), leaf.switch.snmp_version, "sonic_snmp"))
    for index, pdu in enumerate(factory.layout.pdus):
        agents.append(Agent(pdu.name, apc_mib.build(factory, index), "2c", "apc_rpdu2"))
    return agents


class _Port(udp.UdpTransport):  # type: ignore[misc]
    """One device's UDP port: deaf or late when a fault says so."""

    def __init__(self, name: str, factory: Factory) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._device = name
        self._factory = factory

    def datagram_received(self, datagram: bytes, transportAddress: Any) -> None:  # noqa: N803 (pysnmp's signature)
        if self._device in self._factory.silent:
            return
        delay = self._factory.slow.get(self._device, 0.0)
        self.loop.call_later(delay, super().datagram_received, datagram, transportAddress)


class _Instrumentation(AbstractMibInstrumController):  # type: ignore[misc]
    """Answer reads from the table of the device that was asked; nothing can be written."""

    def __init__(self, engine: SnmpEngine, agents: Sequence[Agent], clock: Callable[[], float]) -> None:
        self._engine = engine
        self._agents = agents
        self._clock = clock

    def read_variables(self, *varbinds: Any, **_: Any) -> list[tuple[Any, Any]]:
        values, now = self._agent().mib.values, self._clock()
        return [
            (oid, get(now) if (get := values.get(oid.asTuple())) else rfc1905.noSuchInstance) for oid, _v in varbinds
        ]

    def read_next_variables(self, *varbinds: Any, **_: Any) -> list[tuple[Any, Any]]:
        mib, now = self._agent().mib, self._clock()
        answers = []
        for oid, _v in varbinds:
            place = bisect.bisect_right(mib.order, oid.asTuple())
            if place == len(mib.order):
                answers.append((oid, rfc1905.endOfMibView))
            else:
                following = mib.order[place]
                answers.append((oid.clone(following), mib.values[following](now)))
        return answers

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


async def _listen(engine: SnmpEngine, factory: Factory, number: int, agent: Agent) -> int:
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.setblocking(False)
    listening.bind(("127.0.0.1", 0))
    transport = _Port(agent.name, factory)
    config.add_transport(engine, (*udp.DOMAIN_NAME, number), transport)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: transport, sock=listening)
    port: int = listening.getsockname()[1]
    return port


def _device(agent: Agent, port: int, interval: float) -> Device:
    if agent.version == "3":
        url = f"snmp://{USER}@127.0.0.1:{port}?version=3&auth=sha256&priv=aes128"
        return Device(agent.name, url, agent.profile, interval, AUTH_PASSWORD, PRIV_PASSWORD)
    return Device(agent.name, f"snmp://{COMMUNITY}@127.0.0.1:{port}?version=2c", agent.profile, interval)
