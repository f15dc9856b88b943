"""Broken Redfish answers by the hundred thousand: nothing crashes, nothing that cannot be true is stored.

Some answers of a sound poll are damaged, in their bytes, their JSON, their status or their headers, and go the way of a
poll: judged by the session, decoded into points. The other resources must bring what they bring in a sound poll. Each
case depends on its number alone; a failure names it. Environment: TOKENWATT_FUZZ_CASES the number of damaged answers
(10000; all: `make fuzz`), TOKENWATT_FUZZ_CASE one poll to run alone.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from redfish_service import TREES, Service, served

from collectors.collector import CollectError, PollResult, Target
from collectors.profile import load_profile
from collectors.redfish.client import Answer, NoResourceError, Session, explained, retry_after
from collectors.redfish.collector import RedfishCollector
from collectors.redfish.events import EventParser, read_hints
from collectors.redfish.rows import Outcome
from storage.schema import MEASUREMENTS, check_value

CASES = int(os.environ.get("TOKENWATT_FUZZ_CASES", "10000"))
ONLY = os.environ.get("TOKENWATT_FUZZ_CASE")
#: share of the answers of a poll that are damaged
DAMAGED = 0.75
CHUNKS = 5
SOCKET_CASES = 300

VALUES: Sequence[object] = (
    *(None, True, False, 0, -1, 1.5, 2**63, 10**400, -(10**400), 1e308, -1e308, 5e-324, float("nan"), float("inf")),
    *("", " ", "nan", "NaN", "Infinity", "-inf", "1e999", "1_000", "0x1F", "12,5", "12.5", "\x00", "١٢", "é" * 500),
    *([], {}, [None], [[]], [{}], {"Reading": None}, {"Reading": "7"}, {"Reading": {"Reading": 1}}, {"@odata.id": 7}),
    *("OK", "Critical", "Enabled", "Absent", "None", "9" * 5000, {"Line1": []}, [{"Reading": 1e300}] * 3),
)
WHOLE: Sequence[bytes] = (
    *(b"", b"null", b"[]", b"7", b'"x"', b"{", b"}", b"NaN", b"\xff\xfe{}", b"\x00", b"[" * 5000, b'{"a":' * 5000),
    *(b"<html>busy</html>", b"{}{}", b'{"a": 1e', b"9" * 5000, "{\u2028}".encode(), b"{}" + b" " * 10_000),
)
STATUSES = (200, 200, 200, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 410, 412, 418, 429, 500, 501, 503, 599)
HEADERS = ("", "0", "-1", "120", "soon", "Wed, 99 Foo 2025 25:61:61 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", '"e"', "W/")


@dataclass(frozen=True, slots=True)
class Sound:
    """A device in order: its collector, each resource's bytes and outcome, and who tells which value."""

    collector: RedfishCollector
    session: Session
    raws: Mapping[str, bytes]
    outcomes: Mapping[str, Outcome]
    #: measurement, tags, field -> resource, value
    owners: Mapping[tuple[object, ...], tuple[str, object]]


def values(result: PollResult) -> dict[tuple[object, ...], object]:
    return {(p.measurement, *p.tags.items(), name): v for p in result.points for name, v in p.fields.items()}


async def _learn(tree: str, profile: str) -> Sound:
    async with served(tree) as service:
        collector = RedfishCollector(service.target(), load_profile(profile))
        await collector.poll(1)
        await collector.aclose()
        raws = {row.uri: body for row in collector._rows if (body := service.body(row.uri)) is not None}
    outcomes: dict[str, Outcome] = {uri: json.loads(raw) for uri, raw in raws.items()}
    owners: dict[tuple[object, ...], tuple[str, object]] = {}
    bare = RedfishCollector(Service().target(), load_profile(profile).model_copy(update={"derived": ()}))
    bare._rows = collector._rows
    for uri, outcome in outcomes.items():
        owners |= {key: (uri, v) for key, v in values(bare.decode({uri: outcome}, 1, is_slow=True)).items()}
    return Sound(collector, Session(Target("cdu-9", "redfish", "127.0.0.1:1")), raws, outcomes, owners)


@cache
def sound(tree: str, profile: str) -> Sound:
    return asyncio.run(_learn(tree, profile))


def damaged_tree(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """Return a JSON value with one thing in it replaced, removed or wrapped."""
    if isinstance(value, dict) and value and (depth == 0 or rng.random() < 0.8):
        key = rng.choice([*value])
        way = rng.random()
        if way < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: [value[key]] if way < 0.2 else damaged_tree(rng, value[key], depth + 1)}
    return rng.choice(VALUES)


def damaged_bytes(rng: random.Random, raw: bytes) -> bytes:
    way = rng.random()
    if way < 0.6:
        return json.dumps(damaged_tree(rng, json.loads(raw))).encode()
    if way < 0.7:
        return rng.choice(WHOLE)
    place = rng.randrange(len(raw))
    if way < 0.8:
        return raw[:place]
    if way < 0.9:
        return raw[:place] + rng.randbytes(rng.randrange(1, 5)) + raw[place:]
    return raw[:place] + rng.randbytes(1) + raw[place + 1 :]


def judged(session: Session, rng: random.Random, uri: str, raw: bytes) -> Outcome:
    """Return what the session makes of an answer; only its clock of busy devices needs a loop, and is left out."""
    headers = {name: rng.choice(HEADERS) for name in ("ETag", "Retry-After", "Date") if rng.random() < 0.5}
    retry_after(headers, 1_760_000_000.0)
    status = rng.choice(STATUSES) if rng.random() < 0.3 else 200
    try:
        with explained(uri):
            body = json.loads(raw) if status == 200 else None
        return session._take(uri, Answer(500 if status in (429, 503) else status, headers, body))
    except (CollectError, NoResourceError) as error:
        return error


def check(device: Sound, result: PollResult, broken: set[str]) -> None:
    told = values(result)
    for key, (uri, value) in device.owners.items():
        if uri not in broken:
            assert told.get(key) == value, (key, told.get(key), value)
    for point in result.points:
        measurement = MEASUREMENTS[point.measurement]
        for name, value in point.fields.items():
            field = measurement.fields[name]
            check_value(measurement, field, value)
            assert isinstance(value, str) or field.low is None or value >= field.low, (point, name)
            assert isinstance(value, str) or field.high is None or value <= field.high, (point, name)


def run(number: int) -> int:
    """Damage some answers of one poll; return how many."""
    rng = random.Random(number)
    device = sound(*(("public-cooling-unit", "redfish_cdu"), ("public-power-shelf", "redfish_power_shelf"))[number % 2])
    broken = set(rng.sample([*device.raws], int(DAMAGED * len(device.raws))))
    outcomes = dict(device.outcomes)
    for uri in broken:
        outcomes[uri] = judged(device.session, rng, uri, damaged_bytes(rng, device.raws[uri]))
    check(device, device.collector.decode(outcomes, number, is_slow=True), broken)
    return len(broken)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_damaged_answers_store_nothing_implausible_and_disturb_no_other(chunk: int) -> None:
    done, number = 0, int(ONLY) if ONLY else chunk * CASES
    while done < CASES // CHUNKS:
        try:
            done += CASES if ONLY else 0
            done += run(number)
        except BaseException as error:
            raise AssertionError(f"case {number}") from error
        number += 1


def test_damaged_event_streams_do_no_harm() -> None:
    record = {"MessageId": "Environmental.1.4.PumpFailed", "OriginOfCondition": {"@odata.id": "/redfish/v1/x"}}
    good = f"id: 1\ndata: {json.dumps({'Events': [record]})}\n\n".encode()
    for number in range(CASES // 10):
        rng = random.Random(number)
        body = json.dumps({"Events": [damaged_tree(rng, record)]}).encode()
        parser, parts = EventParser(), [damaged_bytes(rng, b"1"), b"\n\ndata: ", body, b"\n\n", good, b"\n\n"]
        heard = [hint for part in parts for text in parser.feed(part) for hint in read_hints(text)]
        assert heard[-1].origin == "/redfish/v1/x"


def _wire(rng: random.Random, body: bytes) -> bytes:
    """Return an answer as no server should write it; the connection ends with it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    ways: Sequence[Callable[[], bytes]] = (
        lambda: b"",
        lambda: rng.randbytes(200),
        lambda: head + b"Content-Length: 100000\r\n\r\n" + body,
        lambda: head + b"Content-Length: -5\r\n\r\n" + body,
        lambda: head + b"Content-Length: x\r\n\r\n" + body,
        lambda: chunked + b"zz\r\n" + body,
        lambda: chunked + b"%x\r\n" % (len(body) + 10) + body + b"\r\n0\r\n\r\n",
        lambda: chunked + b"%x\r\n" % len(body) + body,
        lambda: head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        lambda: head + b"X: " + b"y" * 70_000 + b"\r\n\r\n" + body,
        lambda: b"HTTP/9.9 abc\r\n\r\n" + body,
        lambda: b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        lambda: b'HTTP/1.1 304 Not Modified\r\nETag: "other"\r\n\r\n',
        lambda: head + b"ETag: \xff\r\nContent-Length: %d\r\n\r\n" % len(body) + damaged_bytes(rng, body)[: len(body)],
        lambda: head + b"Connection: close\r\n\r\n" + damaged_bytes(rng, body),
    )
    return rng.choice(ways)()


@asynccontextmanager
async def misbehaving(service: Service, victim: str, rng: random.Random) -> AsyncIterator[int]:
    """Serve the mock-up as plain bytes, but for one resource, whose answers are broken and end the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                path = request.split(b" ", 2)[1].decode().partition("?")[0].rstrip("/")
                body = service.body(path)
                if path == victim:
                    writer.write(_wire(rng, body or b"{}"))
                    break
                status = b"200 OK" if body is not None else b"404 Not Found"
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body or b"")) + (body or b""))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_broken_answers_on_a_socket_disturb_no_neighbour() -> None:
    device = await _learn("public-cooling-unit", "redfish_cdu")
    victim = "/redfish/v1/ThermalEquipment/CDUs/1/Pumps/1"
    service = Service(TREES / "public-cooling-unit")
    async with misbehaving(service, victim, random.Random(1)) as port:
        service.port = port
        collector = RedfishCollector(service.target(), load_profile("redfish_cdu"))
        for number in range(SOCKET_CASES):
            check(device, await collector.poll(number), {victim})
        await collector.aclose()
