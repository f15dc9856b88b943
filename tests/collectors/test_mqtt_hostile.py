"""The MQTT collector against a broker that does what none should: bytes of our own on a real socket."""

import asyncio
import json
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from collectors.collector import AuthenticationError, DeviceRefusedError, DeviceTimeoutError, PollResult, Target
from collectors.mqtt import client as mqtt_client
from collectors.mqtt import collector as mqtt
from collectors.mqtt.client import Board, Message, take
from collectors.mqtt.collector import MqttCollector
from collectors.profile import Profile, load_profile
from storage.point import Point

PROFILE = load_profile("nvidia_dsx_bms")
CONNECT, SUBSCRIBE = 1, 8
POWER, LEAK = "Rack/RackPower/x", "Rack/RackLeakDetect/x"


def length(size: int) -> bytes:
    """Return a remaining length as it stands on the wire (MQTT 3.1.1 section 2.2.3)."""
    low, rest = size % 128, size // 128
    return bytes([low | 0x80]) + length(rest) if rest else bytes([low])


def publish(topic: bytes, payload: bytes, *, retain: bool = False) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + payload
    return bytes([0x30 | retain]) + length(len(body)) + body


def metadata(tail: str, **keys: object) -> bytes:
    body = {"objectType": "Rack", "pointType": tail.split("/")[1], "rackLocationId": "A07", **keys}
    return publish(f"BMS/v1/PUB/Metadata/{tail}".encode(), json.dumps(body).encode(), retain=True)


def value(tail: str, number: float) -> bytes:
    body = json.dumps({"value": number, "quality": 1}).encode()
    return publish(f"BMS/v1/PUB/Value/{tail}".encode(), body)


async def packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return type and body of the next packet of a client."""
    kind, size, shift = (await reader.readexactly(1))[0] >> 4, 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size, shift = size | (byte & 0x7F) << shift, shift + 7
        if not byte & 0x80:
            return kind, await reader.readexactly(size)


class Broker:
    """Takes every client, answers subscriptions with `codes`, then sends `told`."""

    def __init__(self, told: Sequence[bytes] = (), codes: Sequence[int] = (0, 0, 0)) -> None:
        self.told, self.codes = told, codes
        self.is_mute = False
        self.port = 0
        #: connections that there were, and that are open
        self.met, self.open = 0, 0
        self.is_empty = asyncio.Event()
        #: names that clients gave themselves
        self.names: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met, self.open = self.met + 1, self.open + 1
        self.is_empty.clear()
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await self.answer(*await packet(reader), writer)
        finally:
            self.open -= 1
            if not self.open:
                self.is_empty.set()
            writer.transport.abort()

    async def answer(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if self.is_mute:
            return
        if kind == CONNECT:
            # Name and level of the protocol, flags, keep-alive: ten bytes; then the client's own name.
            self.names.append(body[12 : 12 + int.from_bytes(body[10:12])].decode())
            writer.write(b"\x20\x02\x00\x00")
        if kind == SUBSCRIBE:
            writer.write(b"\x90" + length(2 + len(self.codes)) + body[:2] + bytes(self.codes))
            for message in self.told:
                writer.write(message)
                await writer.drain()

    def target(self) -> Target:
        return Target("bms", "mqtt", f"127.0.0.1:{self.port}", timeout=timedelta(seconds=20), username="watt")


@asynccontextmanager
async def listening(broker: Broker, profile: Profile = PROFILE) -> AsyncIterator[MqttCollector]:
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    collector = mqtt.open_collector(broker.target(), profile)
    assert isinstance(collector, MqttCollector)
    try:
        yield collector
    finally:
        await collector.aclose()
        server.close()
        await server.wait_closed()


async def until(collector: MqttCollector, good: Callable[[PollResult], object]) -> PollResult:
    async with asyncio.timeout(60):
        while not good(result := await collector.poll(1)):
            await asyncio.sleep(0.01)
    return result


def watts(result: PollResult) -> list[object]:
    return [point.fields["active_watts"] for point in result.points if point.measurement == "power"]


@pytest.mark.parametrize("topic", [b"BMS/v1/PUB/Value/\xff\xfe", b"BMS/v1/PUB/Value/Rack/RackPower/#", b"BMS/+/x"])
async def test_a_topic_that_cannot_be_costs_no_connection(topic: bytes) -> None:
    told = [metadata(POWER, engUnit="kW"), value(POWER, 100.0), publish(topic, b"{}"), value(POWER, 120.0)]
    broker = Broker(told)
    async with listening(broker) as collector:
        await until(collector, lambda result: watts(result) == [120_000.0])
    assert broker.met == 1


async def test_a_flood_is_not_kept_in_memory() -> None:
    large = publish(f"BMS/v1/PUB/Value/{POWER}".encode(), b'{"value": 1, "quality": 0, "x": "' + b"y" * 60_000 + b'"}')
    broker = Broker([metadata(POWER, engUnit="kW"), *[large] * 400, value(POWER, 90.0)])
    async with listening(broker) as collector:
        tracemalloc.start()
        try:
            # Whoever polls seldom must not find what came since in a queue.
            await collector.poll(1)
            await until(collector, lambda result: watts(result) == [90_000.0])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 << 20  # 24 MB came


async def test_a_message_too_large_is_refused_and_told() -> None:
    topic = f"BMS/v1/PUB/Value/{POWER}".encode()
    broker = Broker([metadata(POWER, engUnit="kW"), publish(topic, b" " * (10 << 20)), value(POWER, 90.0)])
    refused: list[str] = []

    def good(result: PollResult) -> bool:
        refused.extend(result.rejected)
        return watts(result) == [90_000.0]

    async with listening(broker) as collector:
        await until(collector, good)
    assert refused == [f"BMS/v1/PUB/Value/{POWER}: malformed message"]


async def test_a_broker_that_denies_every_topic_is_told_with_the_way_out() -> None:
    async with listening(Broker(codes=[0x80] * 3)) as collector:
        with pytest.raises(
            AuthenticationError, match=r"bms 127\.0\.0\.1:\d+: .*BMS/v1/PUB/Value/#.*user 'watt' the right"
        ):
            await collector.poll(1)


async def test_a_broker_that_denies_one_topic_is_heard_on_the_others() -> None:
    broker = Broker([metadata(POWER, engUnit="kW"), value(POWER, 90.0)], codes=[0, 0, 0x80])
    async with listening(broker) as collector:
        result = await until(collector, lambda result: watts(result) == [90_000.0])
    denied = PROFILE.transport["subscribe"][2]
    assert result.missing == (f"{denied}: the broker refuses to subscribe it: give user 'watt' the right",)


async def test_a_broker_that_never_says_hello_is_a_timeout_and_leaves_nothing_open() -> None:
    broker = Broker()
    broker.is_mute = True
    before = asyncio.all_tasks()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    short = Target("bms", "mqtt", f"127.0.0.1:{broker.port}", timeout=timedelta(seconds=0.3))
    collector = mqtt.open_collector(short, PROFILE)
    async with asyncio.timeout(60):
        while not broker.met:  # a busy machine may need more than one poll to come so far
            with pytest.raises((DeviceTimeoutError, DeviceRefusedError), match=r"bms 127\.0\.0\.1:\d+: "):
                await collector.poll(1)
            await asyncio.sleep(0.01)
        await collector.aclose()
        await broker.is_empty.wait()
    server.close()
    await server.wait_closed()
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


async def test_who_stumbles_over_a_leak_does_not_end_the_listening() -> None:
    stumbles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: stumbles.append(context))
    states = [{"value": 0, "text": "NoLeak"}, {"value": 1, "text": "Leak"}]
    told = [metadata(LEAK, stateText=states), metadata(POWER, engUnit="kW"), value(LEAK, 1), value(POWER, 90.0)]
    broker = Broker(told)

    def push(points: Sequence[Point]) -> None:
        raise RuntimeError(points[0].measurement)

    async with listening(broker) as collector:
        collector.listen(push)
        await until(collector, lambda result: watts(result) == [90_000.0])
    assert [str(each["exception"]) for each in stumbles] == ["leak"]
    assert broker.met == 1


async def test_a_rope_that_chatters_is_handed_on_five_times_and_its_last_word_with_the_poll() -> None:
    collector = MqttCollector(Target("bms", "mqtt", "127.0.0.1:1"), PROFILE)
    pushed: list[Sequence[Point]] = []
    collector.listen(pushed.append)
    now = asyncio.get_running_loop().time()
    board = Board(heartbeat=now)

    def hear(kind: str, body: dict[str, object]) -> None:
        topic = f"BMS/v1/PUB/{kind}/{LEAK}"
        take(board, collector.topics, Message(topic, json.dumps(body).encode()), now, 0.0)
        assert collector._listener.heard is not None
        collector._listener.heard(board, topic)

    hear("Metadata", {"objectType": "Rack", "pointType": "RackLeakDetect", "rackLocationId": "A07"})
    for number in range(100):
        hear("Value", {"value": number % 2, "quality": 1})
    assert [point.fields["state"] for points in pushed for point in points] == [0, 2, 0, 2, 0]
    told = collector.read(board, 1, now).points
    assert [dict(point.fields) for point in told if point.measurement == "leak"] == [{"state": 2}]


def test_metadata_takes_no_more_memory_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_client, "_MAX_METADATA", 1_000)
    collector = MqttCollector(Target("bms", "mqtt", "127.0.0.1:1"), PROFILE)
    board = Board(heartbeat=0.0)

    def hear(number: int, payload: bytes) -> None:
        topic = f"BMS/v1/PUB/Metadata/Rack/RackPower/{number}"
        take(board, collector.topics, Message(topic, payload), 0.0, 0.0)

    body = json.dumps({"rackLocationId": "A07", "x": "y" * 371}).encode()
    assert len(body) == 405
    for _ in range(5):
        hear(1, body)
    hear(2, body)
    hear(3, body)
    assert (sorted(board.metadata), board.size) == (["Rack/RackPower/1", "Rack/RackPower/2"], 810)
    assert board.malformed == ["BMS/v1/PUB/Metadata/Rack/RackPower/3"]
    hear(1, b"")
    hear(3, body)
    assert (sorted(board.metadata), board.size) == (["Rack/RackPower/2", "Rack/RackPower/3"], 810)


async def test_two_collectors_of_one_broker_have_names_of_their_own_that_any_broker_takes() -> None:
    broker = Broker([metadata("PowerMeter/ActivePower/1"), value("PowerMeter/ActivePower/1", 5.0)])
    async with listening(broker) as one:
        other = mqtt.open_collector(broker.target(), PROFILE)
        await asyncio.gather(one.poll(1), other.poll(1))
        await other.aclose()
    assert len(set(broker.names)) == 2
    for name in broker.names:
        assert name.isalnum()
        assert name.startswith("tokenwatt")
        assert len(name) <= 23
