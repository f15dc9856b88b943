"""Server-sent events: what they bid us read, how their stream is followed, and what they cannot break."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from redfish_service import CDU, STREAM, Service

from collectors.collector import Collector, Pushing
from collectors.profile import load_profile
from collectors.redfish import collector as redfish
from collectors.redfish.client import Session
from collectors.redfish.events import EventParser, Hint, Watch, read_hints
from storage.point import Point

MOISTURE = f"{CDU}/LeakDetection/LeakDetectors/Moisture"
MOMENT_NS = 1_760_000_000_000_000_000


@pytest.fixture
def service(service: Service) -> Service:
    """The mock-up, with an event stream."""
    service.overlay["/redfish/v1/EventService"] = {"ServerSentEventUri": STREAM}
    return service


def event(**record: object) -> bytes:
    """Return one event as it stands on the wire."""
    return f"id: 1\ndata: {json.dumps({'Events': [record]})}\n\n".encode()


LEAK = {"MessageId": "Environmental.1.4.LeakDetectedCritical", "OriginOfCondition": {"@odata.id": MOISTURE}}


class Listener:
    """Keeps what was pushed and lets a test wait for the next."""

    def __init__(self) -> None:
        self.pushed: asyncio.Queue[Sequence[Point]] = asyncio.Queue()

    async def next(self) -> Sequence[Point]:
        async with asyncio.timeout(60):
            return await self.pushed.get()


def listening(service: Service, **options: str) -> tuple[Collector, Listener]:
    target = service.target(options={"tls": "off", **options})
    made = redfish.RedfishCollector(target, load_profile("redfish_cdu"), wall_ns=lambda: MOMENT_NS)
    assert isinstance(made, Pushing)
    listener = Listener()
    made.listen(listener.pushed.put_nowait)
    return made, listener


async def test_a_leak_event_has_that_detector_read_at_once(service: Service) -> None:
    collector, listener = listening(service)
    await collector.poll(1)
    service.requests.clear()
    service.overlay[MOISTURE] = {"DetectorState": "Critical"}
    service.events.put_nowait(event(**LEAK, EventType="Alert", MemberId="1"))
    [point] = await listener.next()
    await collector.aclose()
    assert (point.measurement, dict(point.fields)) == ("leak", {"state": 2})
    assert point.tags == {"device": "cdu-9", "detector": "Moisture", "level": "hall"}
    # Not on a whole millisecond, where polls are stamped, and at the time that the clock tells.
    assert point.time_ns == MOMENT_NS + 1
    assert [path for path in service.paths if "EventService" not in path] == [MOISTURE]
    assert service.most_open == 2


async def test_an_event_without_an_origin_has_all_of_its_kind_read(service: Service) -> None:
    collector, listener = listening(service)
    await collector.poll(1)
    service.requests.clear()
    service.events.put_nowait(event(MessageId="Acme.3.LiquidLeak"))
    points = await listener.next()
    await collector.aclose()
    assert {p.tags["detector"] for p in points} == {"Moisture", "Overflow"}


async def test_malformed_events_do_no_harm(service: Service) -> None:
    collector, listener = listening(service)
    await collector.poll(1)
    for part in (
        b"data: \n\n",
        b"data: {\n\n",
        b"data: [1, 2]\n\n",
        b'data: {"Events": null}\n\n',
        b'data: {"Events": [null, 7, {}, {"MessageId": 3}, {"OriginOfCondition": []}]}\n\n',
        b"\xff\xfe\n\r\n\r\n: comment\nretry: x\n\n",
        b"data: " + b"[" * 200_000 + b"\n\n",
        event(MessageId="Base.1.0.Success", EventTimestamp="2025-02-12T12:25:00-0600"),
        event(EventTimestamp="2025-02-12T12:25:00-0600", **LEAK),
    ):
        service.events.put_nowait(part)
    [point] = await listener.next()
    assert point.fields == {"state": 0}
    assert (await collector.poll(2)).missing == ()
    await collector.aclose()
    assert listener.pushed.empty()


async def test_a_lost_stream_is_opened_again(service: Service) -> None:
    session = Session(service.target())
    heard: asyncio.Queue[Sequence[Hint]] = asyncio.Queue()

    async def hear(hints: Sequence[Hint]) -> None:
        heard.put_nowait(hints)

    watch = Watch(session, hear, calm_s=0.0, back_off_s=0.001)
    watch.start()
    watch.start()
    for number in range(3):
        service.events.put_nowait(event(MessageId=f"Power.1.2.BreakerTripped{number}"))
        service.events.put_nowait(None)
        async with asyncio.timeout(60):
            [hint] = await heard.get()
        assert hint == Hint("", frozenset(("power", "bus")))
    await watch.close()
    await session.close()
    assert service.streams >= 3


@pytest.mark.parametrize(
    ("options", "has_stream"), [({"max_connections": "1"}, True), ({"events": "off"}, True), ({}, False)]
)
async def test_no_stream_where_it_is_off_or_would_take_the_only_connection(
    service: Service, options: dict[str, str], has_stream: bool
) -> None:
    if not has_stream:
        service.overlay["/redfish/v1/EventService"] = {"ServiceEnabled": True}
    collector, _ = listening(service, **options)
    for time_ns in range(1, 4):
        assert (await collector.poll(time_ns)).points
    await collector.aclose()
    assert service.streams == 0


@pytest.mark.parametrize(
    ("parts", "events"),
    [
        ([b"data: a\n\n"], ["a"]),
        ([b"da", b"ta: a", b"\n", b"\n"], ["a"]),
        ([b"data: a\r\n\r\ndata:b\r\n\r\n"], ["a", "b"]),
        ([b"data: a\ndata: b\n\n"], ["a\nb"]),
        ([b": hello\nid: 1\nevent: x\nretry: 10\n\n"], []),
        ([b"data: \xff\n\n"], ["\ufffd"]),
        ([b"data: " + b"x" * 300_000 + b"\n\ndata: b\n\n"], ["b"]),
        ([b"y" * 200_000] * 3 + [b"\n\ndata: b\n\n"], ["b"]),
        ([b"\n\n\n"], []),
    ],
)
def test_a_stream_is_cut_into_events(parts: list[bytes], events: list[str]) -> None:
    parser = EventParser()
    assert [text for part in parts for text in parser.feed(part)] == events


@pytest.mark.parametrize(
    ("message", "measurements"),
    [
        ("Environmental.1.4.LeakDetectorFailure", "leak"),
        ("Environmental.1.4.PumpFailed", "coolant"),
        ("Environmental.1.4.FlowRateBelowLowerCriticalThreshold", "coolant"),
        ("Environmental.1.4.ValveUnableToReachSetPoint", "coolant"),
        ("Environmental.1.4.FilterRequiresService", "coolant"),
        ("Environmental.1.4.TemperatureAboveUpperCriticalThreshold", "coolant environment"),
        ("Environmental.1.4.FanFailed", "fan"),
        ("Power.1.2.BreakerTripped", "power bus"),
        ("Power.1.2.LossOfInputPower", "power bus"),
        ("Power.1.2.PowerSupplyFailed", "power bus"),
        ("PumpFailed", "coolant"),
    ],
)
def test_messages_of_the_registries_say_what_to_read(message: str, measurements: str) -> None:
    [hint] = read_hints(json.dumps({"Events": [{"MessageId": message}]}))
    assert hint.measurements == set(measurements.split())


def test_an_origin_that_is_read_narrows_an_event_down_and_a_foreign_one_does_not() -> None:
    known = {"/redfish/v1/a", "/redfish/v1/b"}
    here, elsewhere = Hint("/redfish/v1/a", frozenset(("leak",))), Hint("/redfish/v1/x", frozenset(("leak",)))
    assert here.concerns("/redfish/v1/a", {"coolant"}, known)
    assert not here.concerns("/redfish/v1/b", {"leak"}, known)
    assert elsewhere.concerns("/redfish/v1/b", {"leak"}, known)
    assert not Hint("/redfish/v1/x", frozenset()).concerns("/redfish/v1/b", {"leak"}, known)
