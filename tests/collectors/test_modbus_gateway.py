"""Several targets behind one gateway: one connection, one request at a time, turns that are fair."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from modbus_bus import MemoryLoop, Request, all_but, all_but_in_memory, answering, frame, registers, run_in_memory
from services import free_port

from collectors.collector import CollectError, DeviceTimeoutError, Target
from collectors.modbus.address import Address
from collectors.modbus.client import Connection, NoTimeError, Wire
from collectors.modbus.gateway import Gateway, Gateways
from collectors.poller import UNREACHABLE, Poller, Shared
from collectors.profile import Library

ONE = Address(3, 0, 1)
PROFILE = """profile: acme
model: M
kind: meter
protocol: modbus
source: none
transport: {timeout: 20s}
match: {units: [9], at: "holding:0", min: 7, max: 7}
groups:
  - tags: {kind: meter, circuit: total, side: input}
    points: [{to: power.active_watts, at: "holding:0"}]
"""


def targets(port: int, units: Sequence[int], profile: str | None = "acme") -> list[Target]:
    timeout = timedelta(seconds=20)
    return [
        Target(f"meter-{unit}", "modbus", f"127.0.0.1:{port}", profile, timeout=timeout, options={"unit": str(unit)})
        for unit in units
    ]


def library(folder: Path) -> Library:
    (folder / "acme.yaml").write_text(PROFILE)
    return Library([folder])


async def test_targets_of_one_address_share_a_connection_and_never_have_two_requests_in_flight(tmp_path: Path) -> None:
    shared: Shared = {}
    in_flight, most, connections = 0, 0, set[object]()

    async def answer(unit: int, pdu: bytes) -> bytes | None:
        nonlocal in_flight, most
        connections.add(asyncio.current_task())
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return b"\x03\x02\0\x07"

    async with answering(answer) as port:
        # The last two name no profile: they are recognised over the same connection.
        whole = [*targets(port, range(1, 7)), *targets(port, (8, 9), profile=None)]
        pollers = [Poller(each, library(tmp_path), shared=shared) for each in whole]
        for stamp in (1, 2):
            polls = await asyncio.gather(*(poller.poll(stamp) for poller in pollers))
            assert [points[0].fields["active_watts"] for points in polls] == [7.0] * 8
        await asyncio.gather(*(poller.aclose() for poller in pollers))
    assert (most, len(connections)) == (1, 1)


def test_a_silent_device_takes_no_reading_from_those_behind_the_same_gateway(tmp_path: Path) -> None:
    short = [replace(each, options={**each.options, "timeout": "1s"}) for each in targets(502, range(1, 6))]
    shared: Shared = {}
    pollers = [Poller(each, library(tmp_path), shared=shared) for each in short]

    async def work(loop: MemoryLoop) -> list[float | int | str | None]:
        polls = await asyncio.gather(*(poller.poll(1) for poller in pollers))
        await asyncio.gather(*(poller.aclose() for poller in pollers))
        return [points[0].fields.get("active_watts") for points in polls]

    assert run_in_memory(all_but_in_memory(3, []), work) == [7.0, 7.0, None, 7.0, 7.0]
    assert [poller.health.state for poller in pollers] == [0, 0, UNREACHABLE, 0, 0]


def test_requests_are_made_in_the_order_in_which_they_were_wanted() -> None:
    asked: list[int] = []

    def answer(request: Request) -> list[bytes]:
        asked.append(request[1])
        return [frame(request[0], request[1], registers(3, request[1]))]

    async def work(loop: MemoryLoop) -> None:
        gateway = Gateway("10.0.0.7:502")
        many, few = (Connection(Target(name, "modbus", "10.0.0.7:502"), gateway=gateway) for name in "ab")

        async def read(connection: Connection, units: Sequence[int]) -> None:
            for unit in units:
                assert list(await connection.read(unit, ONE)) == [unit]

        await asyncio.gather(read(many, (1, 2, 3, 4)), read(few, (11, 12)))

    run_in_memory(answer, work)
    assert asked == [1, 11, 2, 12, 3, 4]


def test_a_turn_that_does_not_come_is_no_silence_of_the_unit() -> None:
    def silent(request: Request) -> list[bytes]:
        return []

    async def work(loop: MemoryLoop) -> None:
        gateway = Gateway("10.0.0.7:502")
        slow, quick = (Connection(Target(name, "modbus", "10.0.0.7:502"), gateway=gateway) for name in "ab")
        reading = asyncio.ensure_future(slow.read(1, ONE))
        await asyncio.sleep(0.1)
        with pytest.raises(NoTimeError, match=r"b 10.0.0.7:502: unit 2 holding 0: the gateway was busy with its other"):
            await quick.read(2, ONE, 0.5)
        # Its time-out begins with its turn: the whole second, though it waited for 0.4 s before.
        with pytest.raises(DeviceTimeoutError, match=r"unit 3 holding 0: timeout") as caught:
            await quick.read(3, ONE, 5.0)
        assert not isinstance(caught.value, NoTimeError)
        assert loop.time() == pytest.approx(2.0, abs=0.01)
        with pytest.raises(DeviceTimeoutError):
            await reading

    run_in_memory(silent, work)


def test_one_that_is_cut_off_while_it_waits_takes_nothing_from_the_one_in_flight() -> None:
    asked: list[int] = []
    gateway = Gateway("10.0.0.7:502")

    def later(request: Request) -> list[bytes]:
        transaction, unit, _ = request
        asked.append(unit)
        assert gateway.link is not None
        answer = frame(transaction, unit, registers(3, unit))
        asyncio.get_running_loop().call_later(0.5, gateway.link.data_received, answer)
        return []

    async def work(loop: MemoryLoop) -> list[int]:
        first, second = (Connection(Target(name, "modbus", "10.0.0.7:502"), gateway=gateway) for name in "ab")
        await first.open()
        reading = asyncio.ensure_future(first.read(1, ONE))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await second.read(2, ONE)
        second.close()
        return list(await reading)

    assert run_in_memory(later, work) == [1]
    assert asked == [1]


def test_a_pause_that_one_device_wants_is_kept_by_all_of_its_gateway() -> None:
    sent: list[float] = []

    def answer(request: Request) -> list[bytes]:
        sent.append(asyncio.get_running_loop().time())
        return [frame(request[0], request[1], registers(3, 1))]

    async def work(loop: MemoryLoop) -> None:
        gateway = Gateway("10.0.0.7:502")
        slow = Connection(Target("a", "modbus", "10.0.0.7:502"), wire=Wire(1.0, 0.05), gateway=gateway)
        quick = Connection(Target("b", "modbus", "10.0.0.7:502"), gateway=gateway)
        for connection in (slow, quick, quick, slow):
            await connection.read(1, ONE)

    run_in_memory(answer, work)
    assert sent == pytest.approx([0.0, 0.05, 0.10, 0.15])


async def test_a_gateway_that_is_down_is_told_once_per_device_in_the_same_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared: Shared = {}
    pollers = [Poller(each, library(tmp_path), shared=shared) for each in targets(free_port(), (1, 2, 3))]
    with caplog.at_level(logging.WARNING):
        for stamp in (1, 2):
            await asyncio.gather(*(poller.poll(stamp) for poller in pollers))
    told = [record.getMessage().partition(" ") for record in caplog.records]
    assert sorted(name for name, _, _ in told) == ["meter-1", "meter-2", "meter-3"]
    assert len({words for _, _, words in told}) == 1
    assert {poller.health.state for poller in pollers} == {UNREACHABLE}
    assert len({poller.health.error.partition(" ")[2] for poller in pollers}) == 1


def test_one_attempt_to_connect_speaks_for_all_that_wait_for_it() -> None:
    """A gateway that swallows packets costs a second, not a second for each device behind it."""

    async def work(loop: MemoryLoop) -> tuple[float, set[str]]:
        async def swallow(*_: object, **__: object) -> None:
            await asyncio.sleep(3600.0)

        loop.create_connection = swallow  # type: ignore[method-assign]
        gateway = Gateway("10.0.0.7:502")
        all_of = [Connection(Target(f"m{n}", "modbus", "10.0.0.7:502"), gateway=gateway) for n in range(20)]
        found = await asyncio.gather(*(each.open(2.7) for each in all_of), return_exceptions=True)
        return loop.time(), {str(error).partition(" ")[2] for error in found if isinstance(error, CollectError)}

    assert run_in_memory(lambda _: [], work) == (pytest.approx(1.0, abs=0.01), {"10.0.0.7:502: connect: timeout"})


async def test_the_last_of_them_closes_the_connection(tmp_path: Path) -> None:
    shared: Shared = {}
    async with answering(all_but(0, [])) as port:
        first, second = (Poller(each, library(tmp_path), shared=shared) for each in targets(port, (1, 2)))
        for poller in (first, second):
            await poller.poll(1)
        gateways = shared["modbus"]
        assert isinstance(gateways, Gateways)
        gateway = gateways.at(f"127.0.0.1:{port}")
        link = gateway.link
        await first.aclose()
        await first.aclose()
        assert (await second.poll(2))[0].fields["active_watts"] == 7.0
        assert gateway.link is link is not None
        assert second.health.reconnects == 0
        await second.aclose()
        assert gateway.link is None
        assert not link.is_open


async def test_a_name_of_two_addresses_is_reached_though_the_first_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def resolve(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (own, port)) for own in ("127.0.0.2", "127.0.0.1")]

    async def swallow(sock: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.2":
            await asyncio.Event().wait()
        await connect(sock, address)

    async with answering(all_but(0, [])) as port:
        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        monkeypatch.setattr(loop, "sock_connect", swallow)
        connection = Connection(Target("m1", "modbus", f"gateway.example:{port}"), timeout_s=20.0)
        assert list(await connection.read(1, ONE)) == [7]
        connection.close()


def test_a_name_that_is_no_name_is_an_error_in_words() -> None:
    async def work() -> None:
        with pytest.raises(CollectError, match=r"m1 a\.\.b:502: connect: refused or unreachable: .*label"):
            await Connection(Target("m1", "modbus", "a..b:502")).open()

    asyncio.run(work())
