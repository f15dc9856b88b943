"""Messages that no building system should send: nothing crashes, nothing that cannot be true is stored.

A case is one damaged message, as bytes, as JSON or in its topic, put on the board between sound ones; after some cases
the board is read as a poll reads it. The sound points must come as they come alone. Each case depends on its number.
Environment: TOKENWATT_FUZZ_CASES the number of cases (10000; all: `make fuzz`).
"""

import asyncio
import json
import math
import os
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import aiomqtt
import pytest

from collectors.collector import PollResult, Target
from collectors.mqtt import client as mqtt_client
from collectors.mqtt import collector as mqtt
from collectors.mqtt.client import Board, Message, take
from collectors.mqtt.collector import MqttCollector
from collectors.profile import Profile, load_profile
from collectors.simulator.replay_mqtt import played
from storage import schema
from storage.point import Point

CASES = int(os.environ.get("TOKENWATT_FUZZ_CASES", "10000"))
CHUNKS, BLOCK = 8, 200
CLOCK = 1_760_000_000.0
STAMP = int(CLOCK) * 1_000_000_000

Random = random.Random

ODD: Sequence[Any] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1e308,
        -1e308,
        1e-320,
        2**63,
        10**40,
        math.nan,
        math.inf,
        -math.inf,
        "",
        "nan",
        "1",
        "high",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"value": 1},
        [{"value": 0, "text": "leak"}],
        "x" * 600,
        "\x00",
        "\ud800",
        "é\n",
        "A" * 280,
    ),
    *(["Primary", "Inlet"], ["Secondary"], [["Pump 1"]], {"a": {"b": {"c": []}}}, "C", "kW", "%", [1] * 300, -999.9),
)
BYTES = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b"\xff\xfe",
    b'{"value":',
    b'{"value": 1}',
    b"[" * 1500,
    b"9" * 5000,
    b"{" * 400,
)
LEVELS = ("", "+", "#", "$SYS", "Rack", "Rack/RackPower", "Value", "\u2028", "é" * 40, "x" * 2000, "..", " ")


def describe(address: str, number: int) -> dict[str, Any]:
    """Return sound metadata of an objectType/pointType."""
    kind, _, point = address.partition("/")
    body: dict[str, Any] = {
        "objectType": kind,
        "pointType": point,
        "processArea": ["Secondary", "Supply"],
        "phase": "A",
    }
    body |= (
        {"rackLocationId": f"B{number:02}"} if kind == "Rack" else {"objectId": f"thing-{number}", "servesId": ["B01"]}
    )
    units = {"Temperature": "C", "Flow": "LPM", "Pressure": "kPa", "Power": "kW", "Current": "A", "Voltage": "V"}
    unit = next((unit for word, unit in units.items() if word in point), None)
    return {**body, "engUnit": unit} if unit else {**body, "stateText": [{"value": 0, "text": "NoLeak"}]}


class Plant:
    """A board with a sound rack and meter, and what it gives."""

    def __init__(self, profile: Profile) -> None:
        self.collector = MqttCollector(Target("bms", "mqtt", "127.0.0.1:1"), profile)
        self.wanted = sorted(self.collector.topics.wanted)
        self.board = Board(heartbeat=0.0)
        self.hear_sound()
        self.sound = {key(point): point.fields for point in self.read().points}
        assert len(self.sound) == 5

    def hear(self, topic: str, payload: bytes, *, is_retained: bool = False) -> None:
        take(self.board, self.collector.topics, Message(topic, payload, is_retained), 0.0, CLOCK)

    def hear_sound(self) -> None:
        for topic, payload in sound_messages():
            self.hear(topic, payload)

    def read(self) -> PollResult:
        return self.collector.read(self.board, STAMP, 1.0)


def sound_messages() -> list[tuple[str, bytes]]:
    told = (
        ("Rack", "RackLiquidSupplyTemperature", "C", 45.0),
        ("Rack", "RackLiquidReturnTemperature", "C", 55.0),
        ("Rack", "RackLiquidFlow", "LPM", 177.0),
        ("Rack", "RackPower", "kW", 139.0),
        ("PowerMeter", "ActivePower", "kW", 2500.0),
    )
    messages: list[tuple[str, bytes]] = []
    for kind, point, unit, value in told:
        name = {"rackLocationId": "SOUND"} if kind == "Rack" else {"objectId": "sound"}
        metadata = {"objectType": kind, "pointType": point, "engUnit": unit, **name}
        body = {"value": value, "timestamp": CLOCK * 1e3, "quality": 1}
        messages.append((f"BMS/v1/PUB/Metadata/{kind}/{point}/sound", json.dumps(metadata).encode()))
        messages.append((f"BMS/v1/PUB/Value/{kind}/{point}/sound", json.dumps(body).encode()))
    return messages


def key(point: Point) -> tuple[object, ...]:
    return point.measurement, *sorted(point.tags.items())


def damage_bytes(rng: Random, payload: bytes) -> bytes:
    how = rng.randrange(4)
    if how == 0:
        return rng.choice(BYTES)
    if how == 1:
        return payload[: rng.randrange(len(payload))]
    spoilt = bytearray(payload)
    for _ in range(rng.randint(1, 4)):
        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
    return bytes(spoilt) if how == 2 else bytes(spoilt) + rng.randbytes(rng.randrange(20))


def damaged(rng: Random, wanted: Sequence[str]) -> tuple[str, bytes]:
    """Return topic and payload of one damaged message."""
    point, number = rng.choice(wanted), rng.randrange(20)
    kind = rng.choice(("Metadata", "Value"))
    body: dict[str, Any] = (
        describe(point, number)
        if kind == "Metadata"
        else {"value": rng.uniform(-10.0, 100.0), "timestamp": CLOCK * 1e3, "quality": 1}
    )
    for name in rng.sample(sorted(body), rng.randrange(3)):
        body[name] = rng.choice(ODD)
    payload = json.dumps(body).encode()
    publisher = rng.choice(("PUB", "PUB", "PUB", "PUB", "manager", ""))
    topic = f"BMS/v1/{publisher}/{kind}/{point}/odd/{number}"
    if rng.random() < 0.3:
        payload = damage_bytes(rng, payload)
    if rng.random() < 0.1:
        levels = topic.split("/")
        levels[rng.randrange(len(levels))] = rng.choice(LEVELS)
        topic = "/".join(levels)
    return topic, payload


def assert_plausible(points: Sequence[Point]) -> None:
    """Everything that would be stored is in the schema, in its range, and under tags that any store can keep."""
    for point in points:
        own = schema.measurement(point.measurement)
        schema.check_tags(own, point.tags)
        assert all(value and value.isprintable() and len(value) < 2_000 for value in point.tags.values())
        for name, value in point.fields.items():
            schema.check_value(own, own.fields[name], value)
            field = own.fields[name]
            if not isinstance(value, str):
                assert math.isfinite(value)
                assert field.low is None or value >= field.low
                assert field.high is None or value <= field.high


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("nvidia_dsx_bms")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_damaged_messages_disturb_nobody(profile: Profile, chunk: int) -> None:
    plant = Plant(profile)
    for start in range(chunk * CASES // CHUNKS, (chunk + 1) * CASES // CHUNKS, BLOCK):
        for case in range(start, start + BLOCK):
            topic, payload = damaged(Random(case), plant.wanted)
            try:
                plant.hear(topic, payload, is_retained=case % 7 == 0)
            except Exception as e:
                raise AssertionError(f"case {case}: {topic!r} {payload!r:.200}") from e
        plant.board.heartbeat = 0.0
        result = plant.read()
        assert_plausible(result.points)
        found = {key(point): point.fields for point in result.points}
        assert plant.sound == {name: found.get(name) for name in plant.sound}, f"cases {start} to {start + BLOCK}"
    assert len(plant.board.metadata) < 5_000
    assert len(plant.board.values) < 5_000


@pytest.mark.parametrize("key_", ["quality", "value"])
def test_no_odd_quality_and_no_odd_value_is_stored(profile: Profile, key_: str) -> None:
    plant = Plant(profile)
    for number, odd in enumerate((*ODD, 2, 0.999, -1e-9)):
        metadata = {**describe("Rack/RackPower", number), "rackLocationId": f"ODD{number}"}
        # As a value 0 and 1e-320 are fine: a rack may draw nothing.
        body = {"value": 50.0, "quality": 1, "timestamp": CLOCK * 1e3, key_: odd}
        if key_ == "quality" or isinstance(odd, bool) or not isinstance(odd, int | float) or not 0 <= odd < 1e6:
            plant.hear(f"BMS/v1/PUB/Metadata/Rack/RackPower/odd/{number}", json.dumps(metadata).encode())
            plant.hear(f"BMS/v1/PUB/Value/Rack/RackPower/odd/{number}", json.dumps(body).encode())
    told = plant.read()
    assert {key(point) for point in told.points} == plant.sound.keys()
    assert len(plant.board.values) > len(ODD) // 2


def test_a_flood_of_topics_takes_no_more_memory_than_allowed(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_client, "_MAX_TOPICS", 100)
    plant = Plant(profile)
    metadata = json.dumps({**describe("Rack/RackPower", 1), "stranger": ["x" * 100] * 100}).encode()
    for number in range(1_000):
        plant.hear(f"BMS/v1/PUB/Metadata/Rack/RackPower/{number}", metadata)
        plant.hear(f"BMS/v1/PUB/Value/Rack/RackPower/{number}", b'{"value": 1, "quality": 1}')
        plant.hear(f"BMS/v1/PUB/Metadata/System/HeartbeatTimestampBms/{number}", b'{"scope": "x"}')
        plant.hear(f"BMS/v1/PUB/Value/System/HeartbeatTimestampBms/{number}", b"{}")
    board = plant.board
    assert [len(part) for part in (board.metadata, board.values, board.heartbeats, board.scopes)] == [100] * 4
    assert len(board.malformed) <= 100
    assert all("stranger" not in body for body in board.metadata.values())
    assert len(plant.read().rejected) <= 300
    assert plant.board.malformed == []


async def test_damaged_messages_through_a_broker_disturb_nobody(profile: Profile) -> None:
    async with played([]) as url:
        host, port = url.removeprefix("mqtt://").split(":")
        collector = mqtt.open_collector(Target("bms", "mqtt", f"{host}:{port}", timeout=timedelta(seconds=10)), profile)
        try:
            await collector.poll(STAMP)
            async with aiomqtt.Client(host, int(port)) as client:
                result = await hear_all(client, lambda: collector.poll(STAMP))
        finally:
            await collector.aclose()
    assert_plausible(result.points)
    rows = {point.tags["device"]: point.fields for point in result.points if point.measurement == "power"}
    assert rows["SOUND"] == {"active_watts": pytest.approx(139_000.0)}


async def hear_all(client: aiomqtt.Client, poll: Callable[[], Any]) -> PollResult:
    """Publish three hundred damaged messages with the sound ones after them; return the poll that has heard all."""
    wanted = sorted({f"{kind}/{point}" for kind, point in (("Rack", "RackPower"), ("Rack", "RackLeakDetect"))})
    for case in range(300):
        topic, payload = damaged(Random(case), wanted)
        if "+" not in topic and "#" not in topic and not topic.startswith(("$", "/")) and topic.isprintable():
            await client.publish(topic, payload)
    for topic, payload in sound_messages():
        await client.publish(topic, payload)
    async with asyncio.timeout(60):
        while True:
            result: PollResult = await poll()
            if any(p.tags.get("device") == "sound" for p in result.points):
                return result
            await asyncio.sleep(0.02)
