"""The MQTT collector against Debian's mosquitto, with messages of the DSX Exchange contract."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiomqtt
import pytest
from services import free_port, listens, program, running
from wire import tapped

from collectors.collector import (
    AuthenticationError,
    CollectError,
    Collector,
    DeviceRefusedError,
    DeviceTimeoutError,
    PollResult,
    Pushing,
    Target,
)
from collectors.mqtt import collector as mqtt
from collectors.profile import Profile, load_profile
from storage.config import ConfigError
from storage.point import Point

pytestmark = pytest.mark.service("mosquitto")

RACK = {"objectType": "Rack", "rackLocationName": "Rack seven", "rackLocationId": "A07"}
METER = {"objectType": "PowerMeter", "objectName": "Main", "objectId": "meter-main", "servesId": ["A07"]}


@dataclass(slots=True)
class Broker:
    """mosquitto on one port, to be stopped and started again."""

    port: int
    conf: Path
    _life: ExitStack | None = None

    def start(self, *settings: str) -> None:
        self.conf.write_text("\n".join([f"listener {self.port} 127.0.0.1", "persistence false", *settings]) + "\n")
        self._life = ExitStack()
        self._life.enter_context(running([program("mosquitto"), "-c", self.conf], lambda: listens(self.port)))

    def stop(self) -> None:
        if self._life is not None:
            self._life.close()
            self._life = None

    def target(self, port: int | None = None) -> Target:
        return Target("bms", "mqtt", f"127.0.0.1:{port or self.port}", timeout=timedelta(seconds=20))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(free_port(), tmp_path / "mosquitto.conf")
    made.start("allow_anonymous true")
    yield made
    made.stop()


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        yield client


@pytest.fixture
async def opened(broker: Broker) -> AsyncIterator[Callable[..., Collector]]:
    made: list[Collector] = []

    def open_(port: int | None = None, **transport: str) -> Collector:
        made.append(mqtt.open_collector(broker.target(port), profile(**transport)))
        return made[-1]

    yield open_
    for each in made:
        await each.aclose()


def profile(**transport: str) -> Profile:
    loaded = load_profile("nvidia_dsx_bms")
    return loaded.model_copy(update={"transport": {**loaded.transport, **transport}})


async def describe(client: aiomqtt.Client, kind: str, point: str, unit: str | None, **other: object) -> None:
    body = {**(RACK if kind == "Rack" else METER), "pointType": point, **({"engUnit": unit} if unit else {}), **other}
    await client.publish(f"BMS/v1/PUB/Metadata/{kind}/{point}/dc1/x", json.dumps(body), retain=True)


async def tell(client: aiomqtt.Client, kind: str, point: str, value: object, quality: object = 1) -> None:
    body = {"value": value, "timestamp": 1_743_620_423_000, "quality": quality}
    await client.publish(f"BMS/v1/PUB/Value/{kind}/{point}/dc1/x", json.dumps(body))


async def until(poll: Callable[[], Awaitable[PollResult]], good: Callable[[PollResult], object]) -> PollResult:
    """Poll until the result is good, or fail."""
    async with asyncio.timeout(60):
        while not good(result := await poll()):
            await asyncio.sleep(0.02)
    return result


def values(result: PollResult) -> dict[str, object]:
    return dict(told_fields(result))


def told_fields(result: PollResult) -> Iterator[tuple[str, object]]:
    told = (point for point in result.points if point.measurement != "inventory")
    return ((f"{p.measurement}.{name}", value) for p in told for name, value in p.fields.items())


async def test_values_become_points_with_rack_and_device_from_their_metadata(
    opened: Callable[..., Collector], publisher: aiomqtt.Client
) -> None:
    told = (
        ("Rack", "RackLiquidSupplyTemperature", "C", 45.0),
        ("Rack", "RackLiquidReturnTemperature", "C", 55.0),
        ("Rack", "RackLiquidFlow", "LPM", 177.0),
        ("Rack", "RackPower", "kW", 120.5),
        ("Rack", "RackLeakDetect", None, 1),
        ("PowerMeter", "ActivePower", "kW", 2500.125),
        ("PowerMeter", "PowerFactor", None, 0.97),
    )
    collector = opened()
    await collector.poll(1)
    for kind, point, unit, value in told:
        await describe(publisher, kind, point, unit)
        await tell(publisher, kind, point, value)
    result = await until(lambda: collector.poll(2), lambda r: len(list(told_fields(r))) == 8)
    rows = {tuple(sorted(p.tags.items())): p.fields for p in result.points}
    rack = (("device", "A07"), ("kind", "rack"))
    coolant = (*rack, ("loop", "tcs"))
    assert rows[(*coolant, ("point", "supply"), ("rack", "A07"))] == {"temperature_celsius": 45.0}
    # facts section 8: 177 L/min of PG25 from 45 to 55 degC carry 118.3 kW
    assert rows[(*coolant, ("rack", "A07"))] == {
        "flow_liters_per_second": pytest.approx(2.95),
        "heat_watts": pytest.approx(118_300.0, abs=50.0),
    }
    power = (("circuit", "total"), *rack, ("rack", "A07"), ("scope", "rack"), ("side", "input"))
    assert rows[power] == {"active_watts": pytest.approx(120_500.0)}
    meter = (("circuit", "total"), ("device", "meter-main"), ("kind", "meter"), ("side", "input"))
    assert rows[meter] == {"active_watts": pytest.approx(2_500_125.0), "power_factor_ratio": 0.97}
    assert rows[(("detector", "rope"), ("device", "A07"), ("level", "rack"), ("rack", "A07"))] == {"state": 2}
    assert {p.time_ns for p in result.points} == {2}


async def test_a_leak_does_not_wait_for_the_poll(opened: Callable[..., Collector], publisher: aiomqtt.Client) -> None:
    collector = opened()
    pushed: asyncio.Queue[Sequence[Point]] = asyncio.Queue()
    assert isinstance(collector, Pushing)
    collector.listen(pushed.put_nowait)
    await collector.poll(1)
    await describe(publisher, "Rack", "RackLeakDetect", None)
    await describe(publisher, "Rack", "RackPower", "kW")
    for point, value in (("RackLeakDetect", 0), ("RackPower", 90.0), ("RackLeakDetect", 0), ("RackLeakDetect", 1)):
        await tell(publisher, "Rack", point, value)
    async with asyncio.timeout(60):
        told = [await pushed.get(), await pushed.get()]
    # neither the power, nor the same state once more
    assert [(p.tags["device"], p.tags["detector"], dict(p.fields)) for points in told for p in points] == [
        ("A07", "rope", {"state": 0}),
        ("A07", "rope", {"state": 2}),
    ]
    assert pushed.empty()


async def test_a_value_waits_for_its_metadata(opened: Callable[..., Collector], publisher: aiomqtt.Client) -> None:
    collector = opened()
    await collector.poll(1)
    await tell(publisher, "Rack", "RackPower", 100.0)
    await tell(publisher, "Rack", "RackLeakDetect", 0)
    await describe(publisher, "Rack", "RackLeakDetect", None)
    # Messages keep their order, so the power has been heard by now.
    result = await until(lambda: collector.poll(2), lambda r: r.points)
    assert values(result) == {"leak.state": 0}
    await describe(publisher, "Rack", "RackPower", "kW")
    result = await until(lambda: collector.poll(3), lambda r: len(r.points) == 2)
    assert values(result)["power.active_watts"] == 100_000.0


@pytest.mark.parametrize(
    ("value", "quality", "unit", "why"),
    [
        (100.0, 0, "kW", "quality 0"),
        (100.0, None, "kW", "quality None"),
        (100.0, 1, "W", "engUnit 'W' where the profile has kW"),
        (100.0, 1, None, "engUnit None where the profile has kW"),
        ("high", 1, "kW", "not a number"),
        (True, 1, "kW", "not a number"),
        (-5.0, 1, "kW", "below 0"),
    ],
)
async def test_what_cannot_be_trusted_is_refused_with_its_reason(
    opened: Callable[..., Collector],
    publisher: aiomqtt.Client,
    value: object,
    quality: object,
    unit: str | None,
    why: str,
) -> None:
    collector = opened()
    await collector.poll(1)
    await describe(publisher, "Rack", "RackPower", unit)
    await tell(publisher, "Rack", "RackPower", value, quality)
    result = await until(lambda: collector.poll(2), lambda r: r.rejected)
    assert values(result) == {}
    assert len(result.rejected) == 1
    assert why in result.rejected[0]


async def test_metadata_without_its_rack_is_refused_and_not_put_on_the_gateway(
    opened: Callable[..., Collector], publisher: aiomqtt.Client
) -> None:
    collector = opened()
    await collector.poll(1)
    await describe(publisher, "Rack", "RackPower", "kW", rackLocationId=None)
    await tell(publisher, "Rack", "RackPower", 100.0)
    result = await until(lambda: collector.poll(2), lambda r: r.rejected)
    assert result.points == ()
    assert "its metadata has no rackLocationId" in result.rejected[0]


async def test_null_and_malformed_messages_are_told(
    opened: Callable[..., Collector], publisher: aiomqtt.Client
) -> None:
    collector = opened()
    await collector.poll(1)
    await describe(publisher, "Rack", "RackPower", "kW")
    await publisher.publish("BMS/v1/PUB/Value/Rack/RackPower/dc1/x", b'{"value": 1')
    await tell(publisher, "Rack", "RackPower", None)
    seen: list[str] = []

    async def poll() -> PollResult:
        result = await collector.poll(2)
        seen.extend(result.rejected)
        return result

    result = await until(poll, lambda r: any("no valid reading" in text for text in r.missing))
    assert result.points == ()
    assert seen == ["BMS/v1/PUB/Value/Rack/RackPower/dc1/x: malformed message"]


async def test_an_old_value_is_missing(opened: Callable[..., Collector], publisher: aiomqtt.Client) -> None:
    collector = opened(stale_after="300ms")
    await collector.poll(1)
    await describe(publisher, "Rack", "RackPower", "kW")

    async def told() -> PollResult:
        await tell(publisher, "Rack", "RackPower", 100.0)
        return await collector.poll(2)

    await until(told, lambda r: r.points)
    result = await until(lambda: collector.poll(3), lambda r: not r.points)
    assert result.missing == ("Rack/RackPower/dc1/x: stale",)


async def test_a_silent_bms_fails_the_poll_until_its_heart_beats_again(
    opened: Callable[..., Collector], publisher: aiomqtt.Client
) -> None:
    collector = opened(heartbeat_limit="300ms")

    async def error() -> str:
        try:
            await collector.poll(2)
        except DeviceTimeoutError as e:
            return str(e)
        return ""

    async with asyncio.timeout(60):
        while not (text := await error()):
            await asyncio.sleep(0.02)
        assert "BMS silent: no System/HeartbeatTimestampBms for " in text
        while await error():
            await tell(publisher, "System", "HeartbeatTimestampBms", 1_743_620_423_000)
            await asyncio.sleep(0.02)


async def test_a_restarted_broker_is_found_again_and_old_values_are_not_carried_over(
    broker: Broker, opened: Callable[..., Collector]
) -> None:
    collector = opened()
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await collector.poll(1)
        await describe(client, "Rack", "RackPower", "kW")
        await tell(client, "Rack", "RackPower", 100.0)
        await until(lambda: collector.poll(2), lambda r: r.points)
    broker.stop()
    with pytest.raises(DeviceRefusedError, match=rf"bms 127\.0\.0\.1:{broker.port}: "):
        await until(lambda: collector.poll(3), lambda r: False)
    broker.start("allow_anonymous true")

    async def poll() -> PollResult:
        try:
            return await collector.poll(4)
        except DeviceRefusedError:
            return PollResult((), ("down",))

    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        assert (await until(poll, lambda r: not r.missing)).points == ()
        await describe(client, "Rack", "RackPower", "kW")
        await tell(client, "Rack", "RackPower", 90.0)
        result = await until(poll, lambda r: r.points)
    assert values(result) == {"power.active_watts": 90_000.0}


async def test_nothing_is_ever_published(
    broker: Broker, opened: Callable[..., Collector], publisher: aiomqtt.Client
) -> None:
    async with tapped(broker.port) as wire:
        await describe(publisher, "Rack", "RackPower", "kW")
        await mqtt.identify(broker.target(wire.port), [profile()])
        collector = opened(wire.port, heartbeat_limit="60s")
        await collector.poll(1)
        for unit in ("kW", "furlongs"):
            await describe(publisher, "Rack", "RackPower", unit)
            await tell(publisher, "Rack", "RackPower", 100.0)
        await publisher.publish("BMS/v1/PUB/Value/Rack/RackPower/dc1/x", b"{", qos=1)
        await until(lambda: collector.poll(2), lambda r: any("malformed" in text for text in r.rejected))
        await collector.aclose()
        kinds = {kind for sent in wire.sent for kind in packet_kinds(bytes(sent))}
    connect, acknowledge, subscribe, ping, disconnect = 1, 4, 8, 12, 14
    assert {connect, subscribe, disconnect} <= kinds <= {connect, acknowledge, subscribe, ping, disconnect}


async def test_wrong_credentials_and_a_closed_port_are_told(broker: Broker, opened: Callable[..., Collector]) -> None:
    broker.stop()
    with pytest.raises(DeviceRefusedError, match=r"bms 127\.0\.0\.1:\d+: .*refused"):
        await opened().poll(1)
    broker.start("allow_anonymous false")
    with pytest.raises(AuthenticationError, match="check user and password"):
        await opened().poll(1)


async def test_identify_hears_what_is_retained(broker: Broker, publisher: aiomqtt.Client) -> None:
    candidates = [profile()]
    short = Target("bms", "mqtt", broker.target().address, timeout=timedelta(seconds=0.5))
    with pytest.raises(CollectError, match="nothing heard that the profiles nvidia_dsx_bms know"):
        await mqtt.identify(short, candidates)
    await describe(publisher, "Rack", "RackPower", "kW")
    assert await mqtt.identify(broker.target(), candidates) is candidates[0]


def test_an_incomplete_transport_is_refused() -> None:
    loaded = load_profile("nvidia_dsx_bms")
    broken = loaded.model_copy(update={"transport": {**loaded.transport, "stale_after": "soon", "values": None}})
    del broken.transport["values"]  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"transport\.values: is missing") as caught:
        mqtt.open_collector(Target("bms", "mqtt", "h:1"), broken)
    assert "transport.stale_after" in str(caught.value)


def packet_kinds(sent: bytes) -> list[int]:
    """Return the type of each MQTT control packet in a client's bytes (MQTT 3.1.1 section 2.2)."""
    kinds, at = [], 0
    while at < len(sent):
        kinds.append(sent[at] >> 4)
        length, shift, at = 0, 0, at + 1
        while True:
            length |= (sent[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not sent[at - 1] & 0x80:
                break
        at += length
    return kinds
