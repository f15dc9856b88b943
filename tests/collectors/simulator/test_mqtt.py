"""The building's broker: our collector against the simulator's, and a foreign client against its contract."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import aiomqtt
import pytest
from devices import target_of
from wire import tapped

from collectors.collector import CollectError, Collector, DeviceTimeoutError, PollResult
from collectors.mqtt import collector
from collectors.profile import load_profile
from collectors.simulator import mqtt as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Device, Service

START = 1_760_000_000.0


@dataclass(slots=True)
class Site:
    """A factory whose clock stands still, and its broker."""

    factory: Factory
    service: Service = field(init=False)
    opened: list[Collector] = field(default_factory=list)

    @property
    def device(self) -> Device:
        return self.service.devices[0]

    @property
    def port(self) -> int:
        return int(target_of(self.device).address.rpartition(":")[2])

    def open(self, port: int | None = None, **transport: str) -> Collector:
        target = replace(
            target_of(self.device, timeout=timedelta(seconds=20)), address=f"127.0.0.1:{port or self.port}"
        )
        profile = load_profile("nvidia_dsx_bms")
        profile = profile.model_copy(update={"transport": {**profile.transport, **transport}})
        self.opened.append(collector.open_collector(target, profile))
        return self.opened[-1]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(Factory(build_layout(64), seed=1, start=START))
    made.service = await simulator.start(made.factory, lambda: START, second=0.1)
    yield made
    for each in made.opened:
        await each.aclose()
    await made.service.close()


async def until(poll: Callable[[], Awaitable[PollResult]], good: Callable[[PollResult], object]) -> PollResult:
    """Poll until the result is good, or fail."""
    async with asyncio.timeout(60):
        while True:
            try:
                result = await poll()
                if good(result):
                    return result
            except CollectError:
                pass
            await asyncio.sleep(0.05)


async def polled_until_it_fails(bms: Collector) -> None:
    async with asyncio.timeout(60):
        while True:
            await bms.poll(2)
            await asyncio.sleep(0.02)


def is_whole(result: PollResult) -> bool:
    return bool(result.points) and not result.missing


def fields(result: PollResult, measurement: str, device: str, **tags: str) -> dict[str, Any]:
    """Return the fields of the one point of this device that has these tags and no point tag beside them."""
    found = [
        p.fields
        for p in result.points
        if p.measurement == measurement
        and p.tags["device"] == device
        and tags.items() <= p.tags.items()
        and ("point" in tags or "point" not in p.tags)
    ]
    assert len(found) == 1, (measurement, device, tags, len(found))
    return dict(found[0])


async def test_racks_and_meters_say_what_the_factory_knows(site: Site) -> None:
    bms = site.open()
    result = await until(lambda: bms.poll(1), is_whole)
    assert result.rejected == ()
    loops, shelves, meters = site.factory.state.racks, site.factory.state.shelves, site.factory.state.meters
    for index, rack in enumerate(site.factory.layout.racks):
        supply = fields(result, "coolant", rack.name, point="supply", loop="tcs", rack=rack.name)["temperature_celsius"]
        assert supply == pytest.approx(float(loops.supply_celsius[index]), abs=0.0005)
        whole = fields(result, "coolant", rack.name, kind="rack", loop="tcs")
        flow = float(loops.flow_liters_per_second[index])
        assert whole["flow_liters_per_second"] == pytest.approx(flow, abs=0.00051 / 60)
        assert whole["heat_watts"] == pytest.approx(float(loops.heat_watts[index]), rel=5e-4)
        assert whole["valve_ratio"] == pytest.approx(float(loops.valve_ratio[index]), abs=5.1e-5)
        power = fields(result, "power", rack.name, kind="rack", scope="rack", circuit="total", side="input")
        assert power["active_watts"] == pytest.approx(float(shelves.input_watts[index]), abs=0.051)
        assert fields(result, "leak", rack.name, detector="rope") == {"state": 0}
    for index, meter in enumerate(site.factory.layout.meters):
        read = fields(result, "power", meter.name, kind="meter", circuit="total", side="input")
        assert read["active_watts"] == pytest.approx(float(meters.watts[index]), abs=0.051)
        assert read["current_amperes"] == pytest.approx(float(meters.amperes[index]), abs=0.0051)
        assert read["frequency_hertz"] == pytest.approx(float(meters.hertz[index]), abs=0.00051)


async def test_a_leak_and_new_power_come_with_the_next_period(site: Site) -> None:
    bms = site.open()
    await until(lambda: bms.poll(1), is_whole)
    site.factory.faults.inject("leak", "A01", START, None)
    site.factory.advance(START + 1.0)
    watts = float(site.factory.state.shelves.input_watts[0])

    def is_news(result: PollResult) -> bool:
        power = fields(result, "power", "A01", kind="rack")["active_watts"]
        return abs(power - watts) < 0.051 and fields(result, "leak", "A01", detector="rope") == {"state": 2}

    await until(lambda: bms.poll(2), is_news)


async def test_a_silent_bms_is_noticed_by_its_heart(site: Site) -> None:
    bms = site.open(heartbeat_limit="500ms")
    site.factory.silent.add("bms")
    with pytest.raises(DeviceTimeoutError, match="BMS silent"):
        await polled_until_it_fails(bms)


async def test_a_broken_line_to_the_broker_mends(site: Site) -> None:
    async with tapped(site.port) as wire:
        bms = site.open(wire.port)
        await until(lambda: bms.poll(1), is_whole)
        await wire.pull()
        with pytest.raises(CollectError, match=r"bms 127\.0\.0\.1"):
            await polled_until_it_fails(bms)
        await wire.plug()
        await until(lambda: bms.poll(3), is_whole)
        await bms.aclose()


async def test_who_connects_and_says_nothing_is_let_go() -> None:
    """A connection that the broker forgets is an error of whichever test runs when its socket is collected."""
    service = await simulator.start(Factory(build_layout(8), seed=1, start=START), lambda: START)
    address = "127.0.0.1", int(target_of(service.devices[0]).address.rpartition(":")[2])
    async with asyncio.timeout(60):
        (hearing, leaving), (waiting, staying) = [await asyncio.open_connection(*address) for _ in range(2)]
        leaving.write_eof()
        assert await hearing.read() == b""
        await service.close()
        with suppress(ConnectionError):
            assert await waiting.read() == b""
    for writer in (leaving, staying):
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_every_value_has_retained_metadata_as_the_contract_wants(site: Site) -> None:
    metadata: dict[str, Any] = {}
    values: dict[str, Any] = {}
    wanted = len(site.factory.layout.racks) * 8 + len(site.factory.layout.meters) * 5 + 2  # limits of the feeds
    async with asyncio.timeout(60), aiomqtt.Client("127.0.0.1", site.port) as client:
        await client.subscribe("BMS/v1/PUB/#")
        async for message in client.messages:
            tail = str(message.topic).split("/", 4)[4]
            is_metadata = str(message.topic).startswith("BMS/v1/PUB/Metadata/")
            assert not (message.retain and not is_metadata), "values are not retained"
            (metadata if is_metadata else values)[tail] = json.loads(message.payload)
            if len(values.keys() - {"System/HeartbeatTimestampBms/bms"}) == wanted:
                break
    assert values.keys() <= metadata.keys()
    units = {
        "RackLiquidSupplyTemperature": "C",
        "RackLiquidFlow": "LPM",
        "RackPower": "kW",
        "RackControlValvePosition": "%",
    }
    for tail, about in metadata.items():
        kind, point, _ = tail.split("/", 2)
        assert (about["objectType"], about["pointType"]) == (kind, point)
        assert not {"engUnit", "stateText"} <= about.keys()
        assert about.get("engUnit") == units.get(point, about.get("engUnit"))
        if kind == "Rack":
            assert about["rackLocationId"] == about["rackLocationName"]
        else:
            assert about["objectId"]
    for body in values.values():
        assert body.keys() == {"value", "timestamp", "quality"}
        assert (body["timestamp"], body["quality"]) == (round(START * 1000), 1)
