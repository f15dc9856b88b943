"""Traps and informs from net-snmp's own commands, and what strangers, mistakes and floods may not do."""

import asyncio
import errno
import logging
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from command import call
from pydantic import ValidationError
from services import program

from collectors.collector import Target, Trap
from collectors.poller import Poller
from collectors.profile import Library
from collectors.settings import CollectorsSettings, TrapSettings
from collectors.snmp.traps import BURST, Door, Source, TrapReceiver
from collectors.snmp.traps_port import open_port, plain_address
from storage.config import Secret
from storage.point import Point

pytestmark = [pytest.mark.service("snmptrap"), pytest.mark.service("snmpinform")]

LINK_DOWN = "1.3.6.1.6.3.1.1.5.3"
UPTIME = "1.3.6.1.2.1.1.3.0"
IF = "1.3.6.1.2.1.2.2.1"
VARBINDS = (f"{IF}.1.7", "i", "7", f"{IF}.8.7", "i", "2", f"{IF}.2.7", "s", "Ethernet6")
VALUES = {f"{IF}.1.7": 7, f"{IF}.8.7": 2, f"{IF}.2.7": "Ethernet6"}
AUTH, PRIV = "auth-of-the-test", "priv-of-the-test"
#: a linkDown of v2c with community public, as snmptrap 5.9.3 sent it
RECORDED = bytes.fromhex(
    "30819202010104067075626c6963a781840204399b62310201000201003076300f06082b060102010103004303242ecd3017060a2b06010603010104"
    "010006092b0601060301010503300f060a2b060102010202010107020107300f060a2b060102010202010707020101300f060a2b060102010202010807"
    "0201023017060a2b060102010202010207040945746865726e657436"
)

Taken = list[tuple[str, Trap]]
Send = Callable[..., asyncio.Future[tuple[int, str]]]


def community(name: str = "leaf-1", community: str = "public", address: str = "127.0.0.1:161") -> Target:
    return Target(name, "snmp", address, username=community, options={"version": "2c"})


def user(name: str = "leaf-3", address: str = "127.0.0.1:161", **options: str) -> Target:
    chosen = {"version": "3", "auth": "sha256", "priv": "aes128"} | options
    kept = {key: value for key, value in chosen.items() if value}
    return Target(
        name, "snmp", address, username="watt", password=Secret(AUTH), priv_password=Secret(PRIV), options=kept
    )


@asynccontextmanager
async def hearing(
    *targets: Target, monotonic: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[tuple[TrapReceiver, Taken]]:
    taken: Taken = []

    def door(target: Target) -> Door:
        return Door(target, lambda trap: taken.append((target.name, trap)))

    receiver = TrapReceiver(("127.0.0.1", 0), map(door, targets), monotonic=monotonic)
    await receiver.start()
    try:
        yield receiver, taken
    finally:
        await receiver.aclose()


async def tell(tmp_path: Path, command: str, port: int, *options: str, trap: Sequence[str] = ("", LINK_DOWN)) -> int:
    """Run snmptrap or snmpinform and return its exit code; 1 is an inform that nobody answered."""
    process = await asyncio.create_subprocess_exec(
        program(command),
        *("-r", "1", "-t", "2") if command == "snmpinform" else (),
        *options,
        f"127.0.0.1:{port}",
        *trap,
        *VARBINDS,
        env={"MIBS": "", "SNMPCONFPATH": str(tmp_path), "SNMP_PERSISTENT_DIR": str(tmp_path), "PATH": os.defpath},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def total(receiver: TrapReceiver) -> int:
    return receiver.counts.taken + receiver.counts.reports + receiver.counts.dropped.total()


def v3(
    level: str = "authPriv",
    auth: str = "SHA-256",
    priv: str = "AES",
    name: str = "watt",
    passwords: tuple[str, str] = (AUTH, PRIV),
) -> tuple[str, ...]:
    """Return the options of net-snmp's commands for a user of SNMPv3."""
    signed = ("-a", auth, "-A", passwords[0]) if level != "noAuthNoPriv" else ()
    enciphered = ("-x", priv, "-X", passwords[1]) if level == "authPriv" else ()
    return ("-v", "3", "-u", name, "-l", level, *signed, *enciphered)


def without_uptime(trap: Trap) -> tuple[str, dict[str, object]]:
    """Return name and values; the sender's uptime is its own."""
    values = dict(trap.values)
    uptime = values.pop(UPTIME)
    assert isinstance(uptime, int)
    assert uptime > 0
    return trap.name, dict(values)


@contextmanager
def sender(host: str = "127.0.0.1", port: int = 0) -> "AsyncIterator[socket.socket]":  # type: ignore[misc]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((host, port))
        yield opened


@pytest.mark.parametrize("command", ["snmptrap", "snmpinform"])
async def test_a_link_trap_of_v2c_reaches_its_target(tmp_path: Path, command: str) -> None:
    async with hearing(community(), user()) as (receiver, taken):
        assert await tell(tmp_path, command, receiver.port, "-v", "2c", "-c", "public") == 0
        await until(lambda: total(receiver))
        assert [(name, *without_uptime(trap)) for name, trap in taken] == [("leaf-1", LINK_DOWN, VALUES)]
        assert receiver.counts.dropped.total() == 0


@pytest.mark.parametrize(
    ("generic", "specific", "name"),
    [("0", "0", "1.3.6.1.6.3.1.1.5.1"), ("2", "0", LINK_DOWN), ("6", "17", "1.3.6.1.4.1.8072.0.17")],
)
async def test_a_trap_of_v1_is_told_as_one_of_v2(tmp_path: Path, generic: str, specific: str, name: str) -> None:
    """RFC 3584, 3.1: generic traps are .1 to .6 of snmpTraps, others are enterprise.0.specific."""
    trap = ("1.3.6.1.4.1.8072", "10.1.1.1", generic, specific, "4711")
    async with hearing(community()) as (receiver, taken):
        assert await tell(tmp_path, "snmptrap", receiver.port, "-v", "1", "-c", "public", trap=trap) == 0
        await until(lambda: taken)
        assert taken == [("leaf-1", Trap(name, {UPTIME: 4711, **VALUES}))]


@pytest.mark.parametrize(
    ("level", "options"),
    [("authPriv", {}), ("authNoPriv", {"priv": ""}), ("noAuthNoPriv", {"auth": "", "priv": ""})],
)
@pytest.mark.parametrize("command", ["snmptrap", "snmpinform"])
async def test_v3_is_taken_at_the_target_s_level_of_security(
    tmp_path: Path, command: str, level: str, options: dict[str, str]
) -> None:
    async with hearing(community(), user(**options)) as (receiver, taken):
        assert await tell(tmp_path, command, receiver.port, *v3(level)) == 0
        await until(lambda: taken)
        assert [(name, *without_uptime(trap)) for name, trap in taken] == [("leaf-3", LINK_DOWN, VALUES)]
        assert receiver.counts.dropped.total() == 0


@pytest.mark.parametrize(
    ("auth", "priv"),
    [("SHA", "AES"), ("SHA-224", "AES"), ("SHA-384", "AES-192"), ("SHA-512", "AES-256"), ("MD5", "DES")],
)
@pytest.mark.parametrize("command", ["snmptrap", "snmpinform"])
async def test_v3_is_taken_with_every_algorithm_that_is_polled(
    tmp_path: Path, command: str, auth: str, priv: str
) -> None:
    target = user(auth=auth.lower().replace("-", ""), priv=priv.lower().replace("-", ""))
    async with hearing(target) as (receiver, taken):
        assert await tell(tmp_path, command, receiver.port, *v3(auth=auth, priv=priv)) == 0
        await until(lambda: taken)
        assert [(name, *without_uptime(trap)) for name, trap in taken] == [("leaf-3", LINK_DOWN, VALUES)]


async def test_a_v3_trap_may_come_from_any_engine(tmp_path: Path) -> None:
    async with hearing(user()) as (receiver, taken):
        for engine in ("0x8000000001020304", "0x80001f8880aabbccdd"):
            await tell(tmp_path, "snmptrap", receiver.port, "-e", engine, *v3())
        await until(lambda: len(taken) == 2)


WRONG = [
    ("-v", "2c", "-c", "wrong"),
    v3(name="other"),
    v3(passwords=("another-password", PRIV)),
    v3(passwords=(AUTH, "another-password")),
    v3("authNoPriv"),
    v3("noAuthNoPriv"),
]


@pytest.mark.parametrize(
    ("command", "options"),
    [*((c, o) for c in ("snmptrap", "snmpinform") for o in WRONG), ("snmptrap", ("-v", "1", "-c", "wrong"))],
)
async def test_wrong_credentials_are_refused_and_not_answered(
    tmp_path: Path, command: str, options: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    trap = ("1.3.6.1.4.1.8072", "10.1.1.1", "2", "0", "1") if options[1] == "1" else ("", LINK_DOWN)
    async with hearing(community(), user()) as (receiver, taken):
        code = await tell(tmp_path, command, receiver.port, *options, trap=trap)
        assert code == (command == "snmpinform")
        await until(lambda: receiver.counts.dropped["refused"])
        assert taken == []
        assert set(receiver.counts.dropped) == {"refused"}
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("SNMP traps of 127.0.0.1 are dropped: ")


async def test_a_community_does_not_open_the_door_of_a_v3_target(tmp_path: Path) -> None:
    async with hearing(user()) as (receiver, taken):
        await tell(tmp_path, "snmptrap", receiver.port, "-v", "2c", "-c", "watt")
        await until(lambda: total(receiver))
        assert (taken, receiver.counts.dropped) == ([], {"refused": 1})


async def test_a_recorded_v3_trap_is_not_played_again(tmp_path: Path) -> None:
    """RFC 3414, 3.2.7b: fewer boots, or over 150 s before what the engine has told."""
    async with hearing(user()) as (receiver, taken):
        for number, clock in enumerate(("5,1000", "4,9999", "5,849", "5,850", "6,1"), 1):
            await tell(tmp_path, "snmptrap", receiver.port, "-Z", clock, *v3())
            await until(lambda told=number: total(receiver) == told)
        assert (len(taken), receiver.counts.dropped) == (3, {"refused": 2})


async def test_an_unlisted_sender_is_dropped_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with hearing(community(address="127.0.0.2:161")) as (receiver, taken):
        with sender("127.0.0.1") as stranger, sender("127.0.0.2") as own:
            for _ in range(5):
                stranger.sendto(RECORDED, ("127.0.0.1", receiver.port))
            own.sendto(RECORDED, ("127.0.0.1", receiver.port))
            await until(lambda: total(receiver) == 6)
        assert receiver.counts.dropped == {"unlisted": 5}
        assert taken == [("leaf-1", Trap(LINK_DOWN, {UPTIME: 2371277, **VALUES, f"{IF}.7.7": 1}))]
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == ["SNMP traps of 127.0.0.1 are dropped: it is the address of no target of protocol snmp"]


async def test_a_switch_may_send_from_another_address_than_it_is_polled_at() -> None:
    """Its loopback interface's: option trap_from names it. Another one is nobody's still."""
    target = replace(community(address="192.0.2.7:161"), options={"version": "2c", "trap_from": "127.0.0.2, 127.0.0.3"})
    async with hearing(target) as (receiver, taken):
        for number in (2, 3, 4):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.bind((f"127.0.0.{number}", 0))
                out.sendto(RECORDED, ("127.0.0.1", receiver.port))
        await until(lambda: total(receiver) == 3)
        assert [name for name, _ in taken] == ["leaf-1", "leaf-1"]
        assert receiver.counts.dropped == {"unlisted": 1}


async def test_a_target_s_name_is_resolved() -> None:
    async with hearing(community(address="localhost:161")) as (receiver, taken):
        with sender() as own:
            own.sendto(RECORDED, ("127.0.0.1", receiver.port))
            await until(lambda: taken)


async def test_a_name_that_nobody_knows_costs_its_own_traps_only(caplog: pytest.LogCaptureFixture) -> None:
    async with hearing(community("gone", address="no-such-host.invalid:161"), community()) as (receiver, taken):
        with sender() as own:
            own.sendto(RECORDED, ("127.0.0.1", receiver.port))
            await until(lambda: taken)
    assert "traps of gone are not taken: no-such-host.invalid" in caplog.text


async def test_targets_behind_one_address_are_told_apart_by_community_or_port(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sender() as first, sender() as other:
        address = f"127.0.0.1:{first.getsockname()[1]}"
        same = (community("leaf-1", address=address), community("leaf-2"), community("leaf-3", community="else"))
        async with hearing(*same) as (receiver, taken):
            port = receiver.port
            first.sendto(RECORDED, ("127.0.0.1", port))
            await until(lambda: total(receiver) == 1)
            other.sendto(RECORDED, ("127.0.0.1", port))
            await until(lambda: total(receiver) == 2)
            other.sendto(RECORDED.replace(b"public", b"else\0\0"), ("127.0.0.1", port))
            await until(lambda: total(receiver) == 3)
            assert [name for name, _ in taken] == ["leaf-1"]
            assert receiver.counts.dropped == {"ambiguous": 1, "refused": 1}
    assert "leaf-1, leaf-2 share address and credentials: give each a community or user of its own" in caplog.text


async def recorded_v3(tmp_path: Path, command: str) -> bytes:
    """Return a message of SNMPv3 as net-snmp sends it."""
    with sender() as catcher:
        catcher.setblocking(False)
        telling = asyncio.create_task(tell(tmp_path, command, catcher.getsockname()[1], *v3()))
        message = await asyncio.get_running_loop().sock_recv(catcher, 65_535)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        return message


@pytest.mark.parametrize("kind", ["v2c", "v3"])
async def test_malformed_bytes_are_counted_and_never_raise(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = RECORDED if kind == "v2c" else await recorded_v3(tmp_path, "snmptrap")
    chance = random.Random(4)
    bad = [good[:length] for length in range(len(good))]
    for _ in range(400):
        spoiled = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        bad.append(bytes(spoiled))
    bad += [chance.randbytes(chance.randrange(1, 200)) for _ in range(100)]
    bad += [b"\x30\x80" * 700, b"\x30\x84\xff\xff\xff\xff" * 9, good + b"\0", b"\x30\x82\x7f\xff\x02\x01\x01"]
    seconds = iter(range(10**9))
    raised: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    async with hearing(community(), user(), monotonic=lambda: float(next(seconds))) as (receiver, taken):
        with sender() as own:
            for number, datagram in enumerate(bad, 1):
                own.sendto(datagram, ("127.0.0.1", receiver.port))
                if number % 50 == 0 or number == len(bad):
                    await until(lambda told=number: total(receiver) >= told)
            dropped = receiver.counts.dropped
            told = receiver.counts.taken + receiver.counts.reports
            assert told + dropped["malformed"] + dropped["refused"] == len(bad)
            assert dropped["malformed"] >= len(good)  # each cut one
            before = len(taken)
            own.sendto(good, ("127.0.0.1", receiver.port))
            await until(lambda: total(receiver) > len(bad))
            assert len(taken) == before + 1  # it hears as before
    assert raised == []
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 2


async def test_a_flood_is_cut_counted_and_leaves_polls_their_turn() -> None:
    """One sender's 10,000 datagrams bring its burst of 600; another one is heard, and the loop runs on between them."""
    turns = 0

    async def poll() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    two = (community("loud", address="127.0.0.1:161"), community("calm", address="127.0.0.2:161"))
    async with hearing(*two) as (receiver, taken):
        polling = asyncio.create_task(poll())
        with sender() as loud, sender("127.0.0.2") as calm:
            for sent in range(50, 10_001, 50):
                for _ in range(50):
                    loud.sendto(RECORDED, ("127.0.0.1", receiver.port))
                seen = min(sent, BURST)
                await until(lambda count=sent - seen: receiver.counts.dropped["flooded"] >= count)
            calm.sendto(RECORDED, ("127.0.0.1", receiver.port))
            await until(lambda: total(receiver) == 10_001)
        polling.cancel()
        names = [name for name, _ in taken]
        assert (names.count("loud"), names.count("calm")) == (BURST, 1)
        assert receiver.counts.dropped == {"flooded": 10_000 - BURST}
        assert turns > BURST


def test_a_sender_may_speak_again_after_its_flood() -> None:
    """Its burst, and then 20 in a second: 2 after a tenth of it."""
    source = Source()
    assert [source.spend(0.0) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert [source.spend(0.1) for _ in range(3)] == [True, True, False]
    assert [source.spend(10**6) for _ in range(BURST + 1)].count(True) == BURST


async def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with open_port(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"listen 127.0.0.1:{port}: Address already in use") as caught:
            await TrapReceiver(("127.0.0.1", port), []).start()
    assert "choose another port" in str(caught.value)


def test_an_address_that_is_not_this_host_s_is_named() -> None:
    with pytest.raises(OSError, match=r"listen 192\.0\.2\.1:1162: .*0\.0\.0\.0 is all of them") as caught:
        open_port(("192.0.2.1", 1162))
    assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_a_port_that_is_given_up_is_taken_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.snmp.traps.RETRY_S", 0.01)
    caplog.set_level(logging.INFO)
    with open_port(("127.0.0.1", 0)) as taken:
        address = ("127.0.0.1", taken.getsockname()[1])
        running = asyncio.create_task(TrapReceiver(address, [Door(community(), lambda _: None)]).run())
        await until(lambda: "Address already in use" in caplog.text)
    await until(lambda: f"listening for SNMP traps on 127.0.0.1:{address[1]}" in caplog.text)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert caplog.text.count("Address already in use") == 1
    open_port(address).close()  # it is free again


@pytest.mark.parametrize(
    ("told", "plain"), [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::1")]
)
def test_an_address_is_one_text_whatever_socket_it_came_through(told: str, plain: str) -> None:
    assert plain_address(told) == plain


@pytest.mark.parametrize(
    ("listen", "address"),
    [("0.0.0.0:1162", ("0.0.0.0", 1162)), ("[::]:162", ("::", 162)), ("traps.local:0", ("traps.local", 0))],
)
def test_the_setting_is_host_and_port(listen: str, address: tuple[str, int]) -> None:
    assert TrapSettings.model_validate({"listen": listen}).address == address


@pytest.mark.parametrize("listen", ["1162", ":1162", "::1:1162", "0.0.0.0", "0.0.0.0:x", "0.0.0.0:65536", "h:-1"])
def test_a_setting_that_is_no_host_and_port_is_refused(listen: str) -> None:
    with pytest.raises(ValidationError):
        TrapSettings.model_validate({"listen": listen})


def test_traps_are_not_heard_by_default() -> None:
    assert CollectorsSettings.model_validate({"site": "DC1"}).traps is None
    assert TrapSettings().address == ("0.0.0.0", 1162)


def test_collect_says_at_once_that_the_port_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "site.yaml"
    with open_port(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        config.write_text(f"collectors: {{site: T, traps: {{listen: '{listen}'}}}}\n")
        answer = call(capsys, monkeypatch, ("collect", "--config", config))
    assert answer.code == 1
    assert f"collectors.traps.listen {listen}: Address already in use: another collector or a trap daemon" in answer.err


def test_a_device_that_was_not_polled_yet_tells_nothing() -> None:
    told: list[Point] = []
    Poller(community(), Library(), push=told.extend).take_trap(Trap(LINK_DOWN, VALUES), 1)
    assert told == []
