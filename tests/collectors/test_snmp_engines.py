"""Both engines against real agents: privacy protocols, contexts, wrong keys, answers that are too large or broken."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from pyasn1.codec.ber import decoder, encoder  # type: ignore[import-untyped]
from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c
from pysnmp.smi.instrum import AbstractMibInstrumController
from switches import Switches, running_switches

from collectors.collector import AuthenticationError, CollectError, DeviceTimeoutError, Target
from collectors.snmp.client import SnmpClient
from collectors.snmp.pdu_size import FIRST_WAIT_S, LARGEST, PduSize
from storage.config import Secret

AUTH, PRIV = "auth-of-the-test", "priv-of-the-test"
UPTIME = "1.3.6.1.2.1.1.3.0"
COLUMN = "1.3.6.1.2.1.31.1.1.1.6"
#: for what gets no answer; what must come has the time of a busy machine
QUICK, PATIENT = timedelta(seconds=2), timedelta(seconds=60)


class Table(AbstractMibInstrumController):  # type: ignore[misc]
    """A column of three rows, whose values are `base` and on."""

    def __init__(self, base: int) -> None:
        self._cells = {tuple(map(int, f"{COLUMN}.{i}".split("."))): base + i for i in (1, 2, 3)}

    def read_variables(self, *varbinds: Any, **_: Any) -> list[tuple[Any, Any]]:
        return [(oid, self._value(oid.asTuple())) for oid, _ in varbinds]

    def read_next_variables(self, *varbinds: Any, **_: Any) -> list[tuple[Any, Any]]:
        found = []
        for oid, _ in varbinds:
            after = [cell for cell in sorted(self._cells) if cell > oid.asTuple()]
            found.append((oid.clone(after[0]), self._value(after[0])) if after else (oid, rfc1905.endOfMibView))
        return found

    def _value(self, oid: tuple[int, ...]) -> Any:
        return rfc1902.Counter64(self._cells[oid]) if oid in self._cells else rfc1905.noSuchInstance


USERS = {
    "3des": (config.USM_AUTH_HMAC96_SHA, config.USM_PRIV_CBC168_3DES),
    "aes192c": (config.USM_AUTH_HMAC96_SHA, config.USM_PRIV_CFB192_AES),
    "aes256c": (config.USM_AUTH_HMAC96_SHA, config.USM_PRIV_CFB256_AES),
    "aes192": (config.USM_AUTH_HMAC96_SHA, config.USM_PRIV_CFB192_AES_BLUMENTHAL),
    "aes256": (config.USM_AUTH_HMAC96_SHA, config.USM_PRIV_CFB256_AES_BLUMENTHAL),
    "aes128": (config.USM_AUTH_HMAC96_SHA, config.USM_PRIV_CFB128_AES),
}


@pytest.fixture
async def agent() -> AsyncIterator[Target]:
    """Serve an agent with one user per privacy protocol and a second context, `blue`, whose values are 100 higher."""
    engine = SnmpEngine()
    for name, (auth, priv) in USERS.items():
        config.add_v3_user(engine, name, auth, AUTH, priv, PRIV)
    served = context.SnmpContext(engine)
    served.unregister_context_name(b"")
    served.register_context_name(b"", Table(0))
    served.register_context_name(b"blue", Table(100))
    for responder in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder, cmdrsp.BulkCommandResponder):
        responder(engine, served)
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.setblocking(False)
    listening.bind(("127.0.0.1", 0))
    transport = udp.UdpTransport(loop=asyncio.get_running_loop())
    config.add_transport(engine, udp.DOMAIN_NAME, transport)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: transport, sock=listening)
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    options = {"version": "3", "auth": "sha", "priv": "aes128"}
    yield Target("leaf-9", "snmp", address, None, QUICK, PATIENT, "aes128", Secret(AUTH), Secret(PRIV), options)
    engine.close_dispatcher()
    await asyncio.sleep(0)


async def ask(target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a GET of a cell and one of none, and what a walk brings."""
    client = SnmpClient(target)
    try:
        return await client.get([f"{COLUMN}.2", f"{COLUMN}.9"]), await client.walk(COLUMN)
    finally:
        client.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("engine", ["gufo", "pysnmp"])
@pytest.mark.parametrize("priv", sorted(USERS.keys() - {"3des"}))
async def test_both_engines_speak_every_privacy_protocol_alike(agent: Target, priv: str, engine: str) -> None:
    target = replace(agent, username=priv, options={**agent.options, "priv": priv, "engine": engine})
    assert await ask(target) == ({f"{COLUMN}.2": 2}, {"1": 1, "2": 2, "3": 3})


async def test_3des_is_spoken_by_pysnmp_unasked(agent: Target) -> None:
    target = replace(agent, username="3des", options={**agent.options, "priv": "3des"})
    assert await ask(target) == ({f"{COLUMN}.2": 2}, {"1": 1, "2": 2, "3": 3})


async def test_a_context_is_another_table_of_the_same_agent(agent: Target) -> None:
    target = replace(agent, options={**agent.options, "context": "blue"})
    assert await ask(target) == ({f"{COLUMN}.2": 102}, {"1": 101, "2": 102, "3": 103})


@pytest.mark.parametrize("engine", ["gufo", "pysnmp"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"username": "nobody"}, "user 'nobody'"),
        ({"password": Secret("not-the-password")}, "authentication password"),
        ({"priv_password": Secret("not-the-password")}, "privacy password"),
    ],
)
async def test_what_is_wrong_with_the_login_is_said(
    agent: Target, engine: str, change: dict[str, Any], words: str
) -> None:
    target = replace(agent, options={**agent.options, "engine": engine}, **change)
    with pytest.raises(AuthenticationError, match=words) as caught:
        await ask(target)
    assert "not-the-password" not in str(caught.value)
    assert str(caught.value).startswith(f"leaf-9 {agent.address}: ")


async def test_the_simulated_switch_refuses_wrong_keys() -> None:
    async with running_switches() as switches:
        good = switches.target(_v3(switches))
        assert await SnmpClient(good).get([UPTIME])
        wrong = replace(good, priv_password=Secret("not-the-password"), timeout=QUICK)
        with pytest.raises(AuthenticationError, match=r"privacy password or protocol .*is wrong"):
            await SnmpClient(wrong).get([UPTIME])
        with pytest.raises(AuthenticationError, match="authentication password"):
            await SnmpClient(replace(good, password=Secret("not-the-password"), timeout=QUICK)).get([UPTIME])


async def test_an_agent_that_went_right_after_its_discovery_is_not_taken_for_one_with_another_key() -> None:
    """Only an agent that tells its engine id again right after the silence has other keys."""
    async with running_switches() as switches:
        target = replace(switches.target(_v3(switches)), timeout=QUICK)
        host, port = target.address.rsplit(":", 1)
        relay = Relay((host, int(port)), answers=1)
        front, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0))
        through = replace(target, address=f"127.0.0.1:{front.get_extra_info('sockname')[1]}")
        with pytest.raises(DeviceTimeoutError, match="agent or network down"):
            await SnmpClient(through).get([UPTIME])
        front.close()
        relay.close()


@dataclass(slots=True)
class Relay(asyncio.DatagramProtocol):
    """A path to an agent that lets so many answers through."""

    agent: tuple[str, int]
    answers: int
    transport: Any = None
    backs: list[asyncio.DatagramTransport] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._pass(data, addr))
        self.tasks.add(task)

    def close(self) -> None:
        for back in self.backs:
            back.close()

    async def _pass(self, data: bytes, addr: Any) -> None:
        relay = self

        class Back(asyncio.DatagramProtocol):
            def datagram_received(self, answer: bytes, _: Any) -> None:
                relay.answers -= 1
                if relay.answers >= 0:
                    relay.transport.sendto(answer, addr)

        back, _ = await asyncio.get_running_loop().create_datagram_endpoint(Back, remote_addr=self.agent)
        self.backs.append(back)
        back.sendto(data)


def _v3(switches: Switches) -> str:
    return next(s.name for s in switches.factory.layout.switches if s.protocol == "snmp" and s.snmp_version == "3")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"version": "2c", "context": "blue"}, "context='blue' exists in SNMPv3 alone"),
        ({"version": "3", "auth": "sha", "priv": "3des", "engine": "gufo"}, "engine=gufo has no priv=3des"),
        ({"version": "3", "engine": "netsnmp"}, "engine='netsnmp' is not one of gufo, pysnmp"),
    ],
)
def test_options_that_no_engine_can_serve_are_refused(options: dict[str, str], words: str) -> None:
    target = Target("leaf-9", "snmp", "127.0.0.1:1161", None, QUICK, QUICK, "a", Secret(AUTH), Secret(PRIV), options)
    with pytest.raises(CollectError) as caught:
        SnmpClient(target)
    assert words in str(caught.value)


@pytest.mark.parametrize(("auth", "key"), [("", "password"), (AUTH, "priv_password")])
def test_a_missing_password_is_told_with_its_key(auth: str, key: str) -> None:
    options = {"version": "3", "auth": "sha256", "priv": "aes128"}
    target = Target("leaf-9", "snmp", "127.0.0.1:1161", None, QUICK, QUICK, "a", Secret(auth), None, options)
    with pytest.raises(CollectError, match=f"8 characters or more: give it as {key} of the target in site.yaml"):
        SnmpClient(target)


def test_pysnmp_is_not_loaded_for_devices_that_do_not_need_it() -> None:
    code = (
        "import sys; from collectors.snmp import collector as snmp; from collectors.collector import Target; "
        "from collectors.profile import load_profile; "
        "snmp.open_collector(Target('a', 'snmp', '127.0.0.1:161'), load_profile('sonic_snmp')); "
        "sys.exit(any(name.split('.')[0] == 'pysnmp' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@dataclass(slots=True)
class Raw(asyncio.DatagramProtocol):
    """An agent that answers 7 for any instance, but for what `spoil` makes of the answer."""

    #: instances asked -> error-status of the answer (0: none), or the bytes to send
    spoil: Callable[[list[str]], int | bytes] = lambda _: 0
    asked: list[list[str]] = field(default_factory=list)
    transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message, _ = decoder.decode(data, asn1Spec=v2c.Message())
        request = v2c.apiMessage.get_pdu(message)
        oids = [oid for oid, _ in v2c.apiPDU.get_varbinds(request)]
        self.asked.append([str(oid) for oid in oids])
        spoilt = self.spoil(self.asked[-1])
        if isinstance(spoilt, bytes):
            self.transport.sendto(spoilt, addr)
            return
        answer = v2c.apiMessage.get_response(message)
        pdu = v2c.apiMessage.get_pdu(answer)
        v2c.apiPDU.set_varbinds(pdu, [(oid, rfc1902.Null("") if spoilt else rfc1902.Counter64(7)) for oid in oids])
        v2c.apiPDU.set_error_status(pdu, spoilt)
        self.transport.sendto(encoder.encode(answer), addr)


@pytest.fixture
async def raw() -> AsyncIterator[tuple[Raw, Target]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Raw, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    yield protocol, Target("leaf-9", "snmp", f"127.0.0.1:{port}", timeout=PATIENT)
    transport.close()


OIDS = [f"{COLUMN}.{index}" for index in range(1, 101)]


async def test_instances_are_asked_forty_at_a_time(raw: tuple[Raw, Target]) -> None:
    agent, target = raw
    client = SnmpClient(target)
    assert await client.get(OIDS) == dict.fromkeys(OIDS, 7)
    assert [len(asked) for asked in agent.asked] == [40, 40, 20]
    assert client.requests == 3


async def test_a_size_that_is_too_big_is_halved_and_remembered(raw: tuple[Raw, Target]) -> None:
    agent, target = raw
    agent.spoil = lambda oids: 1 if len(oids) > 12 else 0
    client = SnmpClient(target)
    assert await client.get(OIDS) == dict.fromkeys(OIDS, 7)
    agent.asked.clear()
    assert await client.get(OIDS) == dict.fromkeys(OIDS, 7)
    # 40 and 20 were too many, 10 came.
    assert [len(asked) for asked in agent.asked] == [10] * 10


async def test_one_bad_instance_hides_no_other_and_is_asked_alone_from_then_on(raw: tuple[Raw, Target]) -> None:
    agent, target = raw
    bad = OIDS[17]
    agent.spoil = lambda oids: 5 if bad in oids else 0
    client = SnmpClient(target)
    others = {oid: 7 for oid in OIDS if oid != bad}
    assert await client.get(OIDS) == others
    agent.asked.clear()
    assert await client.get(OIDS) == others
    assert [asked for asked in agent.asked if bad in asked and len(asked) > 1] == []
    assert [len(asked) for asked in agent.asked if bad not in asked] == [40, 40, 19]
    agent.spoil = lambda _: 0
    assert await client.get(OIDS) == dict.fromkeys(OIDS, 7)


async def test_an_instance_that_gufo_cannot_decode_is_read_by_pysnmp(raw: tuple[Raw, Target]) -> None:
    agent, target = raw
    bad, asked_bad = OIDS[3], 0

    def spoil(oids: list[str]) -> int | bytes:
        nonlocal asked_bad
        asked_bad += bad in oids
        # What is broken for the fast engine: the sixth request for it, pysnmp's, is answered well.
        return b"\x30\x03\x02\x01" if bad in oids and not _by_pysnmp() else 0

    def _by_pysnmp() -> bool:
        return client._other is not None

    agent.spoil = spoil
    client = SnmpClient(target)
    assert await client.get(OIDS[:8]) == dict.fromkeys(OIDS[:8], 7)
    client.close()
    await asyncio.sleep(0)


async def test_silence_is_asked_twice_and_told(raw: tuple[Raw, Target]) -> None:
    agent, target = raw
    agent.spoil = lambda _: b""
    transport = agent.transport

    class Deaf:
        def sendto(self, *_: Any) -> None:
            return

    agent.transport = Deaf()
    with pytest.raises(DeviceTimeoutError, match=r"GET of .* and 1 more: no answer in 0\.8 s"):
        await SnmpClient(replace(target, timeout=QUICK)).get(OIDS[:2])
    agent.transport = transport
    assert [len(asked) for asked in agent.asked] == [2, 2]


def test_a_request_waits_five_seconds_where_the_deadline_allows(raw: tuple[Raw, Target]) -> None:
    _, target = raw
    assert SnmpClient(replace(target, timeout=timedelta(seconds=20)))._request_s == 5.0
    assert SnmpClient(replace(target, timeout=timedelta(seconds=5)))._request_s == 2.0
    assert SnmpClient(replace(target, timeout=QUICK), timedelta(seconds=5))._request_s == 2.0


def test_a_size_grows_back_after_a_while_and_more_slowly_each_time() -> None:
    size = PduSize()
    assert size.take(0.0) == LARGEST
    size.shrink(10, 0.0)
    assert size.take(FIRST_WAIT_S - 1) == 10
    assert size.take(FIRST_WAIT_S) == 15
    size.shrink(10, FIRST_WAIT_S)
    assert size.take(2 * FIRST_WAIT_S) == 10
    assert size.take(3 * FIRST_WAIT_S) == 15


def test_a_size_never_leaves_one_to_forty() -> None:
    size = PduSize()
    size.shrink(0, 0.0)
    assert size.take(0.0) == 1
    assert [size.take(at * 86_400.0) for at in range(1, 12)][-1] == LARGEST
