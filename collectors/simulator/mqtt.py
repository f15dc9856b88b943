"""The building management system: an MQTT broker and the publisher of the DSX Exchange contract, in one loop.

Metadata is retained and told again every 100 s. Values are sent when they change by more than a small dead-band, power
with every period, and all of them again after 10 s, so that a new listener soon knows the whole site. Racks and meters
take turns, one share of them each second; leaks are told in the second in which they are seen.

Source: NVIDIA dsx-exchange bms.yaml (AsyncAPI) and its companion guide.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.simulator.broker import Broker
from collectors.simulator.factory import Factory
from collectors.simulator.layout import FEEDS, Layout
from collectors.simulator.service import Device, Service

_NAME = "bms"
_METADATA_SECONDS = 100
#: an unchanged value is told again; the contract allows 100 s
_REPEAT_SECONDS = 10
_HEARTBEAT_SECONDS = 10
_NOMINAL_VOLTS = 400.0
_STATES: Mapping[str, Sequence[str]] = {
    "RackLeakDetect": ("NoLeak", "Leak"),
    "RackLeakSensorFault": ("NoFault", "Fault"),
}


@dataclass(slots=True)
class _Topic:
    """One point of one object, and what was last told about it."""

    tail: str
    metadata: Mapping[str, Any]
    read: Callable[[], float]
    #: smallest change that is told; 0 with every period
    dead_band: float
    decimals: int
    #: told at once, not with its turn
    urgent: bool = False
    told: float | None = None
    #: publisher's second in which it was told
    told_at: int = 0


def _rack_topics(factory: Factory, index: int) -> Iterator[_Topic]:
    rack = factory.layout.racks[index]
    loops = factory.state.racks
    points: Sequence[tuple[str, str, float, int, Callable[[], float]]] = (
        ("RackLiquidSupplyTemperature", "C", 0.02, 3, lambda: loops.supply_celsius[index]),
        ("RackLiquidReturnTemperature", "C", 0.02, 3, lambda: loops.return_celsius[index]),
        ("RackLiquidFlow", "LPM", 0.05, 3, lambda: loops.flow_liters_per_second[index] * 60),
        ("RackLiquidDifferentialPressure", "kPa", 0.1, 2, lambda: loops.differential_pressure_pascals[index] / 1e3),
        ("RackControlValvePosition", "%", 0.1, 2, lambda: loops.valve_ratio[index] * 100),
        ("RackPower", "kW", 0.0, 4, lambda: factory.state.shelves.input_watts[index] / 1e3),
        ("RackLeakDetect", "", 0.5, 0, lambda: float(loops.leak[index] > 0)),
        ("RackLeakSensorFault", "", 0.5, 0, lambda: 0.0),
    )
    for point, unit, dead_band, decimals, read in points:
        states = [{"value": number, "text": text} for number, text in enumerate(_STATES.get(point, ()))]
        metadata = {
            "objectType": "Rack",
            "pointType": point,
            "rackLocationName": rack.name,
            "rackLocationId": rack.name,
            **({"engUnit": unit} if unit else {"stateText": states}),
        }
        tail = f"Rack/{point}/{factory.layout.site}/{rack.row}/{rack.name}/{point}"
        yield _Topic(tail, metadata, read, dead_band, decimals, urgent=bool(states))


def _meter_topics(factory: Factory, index: int) -> Iterator[_Topic]:
    meter = factory.layout.meters[index]
    meters = factory.state.meters
    points: list[tuple[str, str, float, int, Callable[[], float]]] = [
        ("ActivePower", "kW", 0.0, 4, lambda: meters.watts[index] / 1e3),
        ("Voltage", "V", 0.1, 2, lambda: meters.volts[index]),
        ("Current", "A", 0.1, 2, lambda: meters.amperes[index]),
        ("PowerFactor", "", 0.001, 4, lambda: meters.power_factor[index]),
        ("Frequency", "Hz", 0.005, 3, lambda: meters.hertz[index]),
    ]
    if not meter.scope:
        volt_amperes = meter.rated_watts / float(meters.power_factor[index])
        limit = volt_amperes / (math.sqrt(3.0) * _NOMINAL_VOLTS)
        points.append(("CurrentLimit", "A", 0.1, 1, lambda: limit))
    for point, unit, dead_band, decimals, read in points:
        metadata = {
            "objectType": "PowerMeter",
            "pointType": point,
            "objectName": meter.name,
            "objectId": meter.name,
            "servesId": _served(factory.layout, meter.name),
            **({"engUnit": unit} if unit else {}),
        }
        yield _Topic(f"PowerMeter/{point}/{factory.layout.site}/{meter.name}", metadata, read, dead_band, decimals)


def _served(layout: Layout, meter: str) -> Sequence[str]:
    """Return what hangs on a meter: meters behind it, or what a feed supplies."""
    if meter in FEEDS:
        return [shelf.name for shelf in layout.shelves] + [pdu.name for pdu in layout.pdus if meter == FEEDS[0]]
    return FEEDS if meter == "meter-it" else ["meter-it"]


class _Publisher:
    """Tell the broker what there is to tell, once a second."""

    def __init__(self, factory: Factory, broker: Broker, clock: Callable[[], float], second: float) -> None:
        self._factory = factory
        self._broker = broker
        self._clock = clock
        self._second = second
        layout = factory.layout
        self.period_seconds = round(layout.plant_seconds)
        shares: list[list[_Topic]] = [[] for _ in range(self.period_seconds)]
        for index in range(len(layout.racks)):
            shares[index % len(shares)] += _rack_topics(factory, index)
        for index in range(len(layout.meters)):
            shares[index % len(shares)] += _meter_topics(factory, index)
        self._shares = shares
        self._topics = [topic for share in shares for topic in share]
        self._urgent = [topic for topic in self._topics if topic.urgent]

    async def run(self) -> None:
        """Publish for ever."""
        for topic in self._topics:
            await self._tell_metadata(topic)
        await self._tell_own_metadata()
        second = 0
        while True:
            if _NAME not in self._factory.silent:
                await self._tell_second(second)
            second += 1
            await asyncio.sleep(self._second)

    async def _tell_second(self, second: int) -> None:
        if second % _HEARTBEAT_SECONDS == 0:
            await self._tell(f"Value/System/HeartbeatTimestampBms/{_NAME}", self._value(round(self._clock() * 1e3)))
        for topic in (*self._urgent, *self._shares[second % len(self._shares)]):
            value = round(float(topic.read()), topic.decimals)
            is_news = topic.told is None or abs(value - topic.told) >= topic.dead_band
            if is_news or second - topic.told_at >= _REPEAT_SECONDS:
                topic.told, topic.told_at = value, second
                await self._tell(f"Value/{topic.tail}", self._value(value))
        for topic in self._topics[second % _METADATA_SECONDS :: _METADATA_SECONDS] if second else ():
            await self._tell_metadata(topic)

    def _value(self, value: float) -> Mapping[str, Any]:
        return {"value": value, "timestamp": round(self._clock() * 1e3), "quality": 1}

    async def _tell_metadata(self, topic: _Topic) -> None:
        await self._tell(f"Metadata/{topic.tail}", topic.metadata, is_retained=True)

    async def _tell_own_metadata(self) -> None:
        point = "HeartbeatTimestampBms"
        metadata = {"objectType": "System", "pointType": point, "objectName": "BMS", "objectId": "BMS"}
        await self._tell(f"Metadata/System/{point}/{_NAME}", metadata, is_retained=True)

    async def _tell(self, tail: str, body: Mapping[str, Any], *, is_retained: bool = False) -> None:
        topic, payload = f"BMS/v1/PUB/{tail}", json.dumps(body).encode()
        if is_retained:
            await self._broker.retain_message(None, topic, payload, 0)
        await self._broker.internal_message_broadcast(topic, payload, 0)


async def start(factory: Factory, clock: Callable[[], float] = time.time, *, second: float = 1.0) -> Service:
    """Run the broker on a port of 127.0.0.1 and publish racks and meters there; `second` is the publisher's second."""
    config = {
        "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(config)
    await broker.start()
    # The broker has no public way to tell the port that the system picked.
    port = broker._servers["default"].instance.sockets[0].getsockname()[1]
    publisher = _Publisher(factory, broker, clock, second)
    task = asyncio.create_task(publisher.run(), name="simulated BMS")
    interval = factory.layout.plant_seconds

    async def close() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # The broker would complain of what it has no time left to tell, and offers no way to take it back.
        while not broker._broadcast_queue.empty():
            broker._broadcast_queue.get_nowait()
        await broker.shutdown()

    return Service((Device(_NAME, f"mqtt://127.0.0.1:{port}", "nvidia_dsx_bms", interval),), close)
