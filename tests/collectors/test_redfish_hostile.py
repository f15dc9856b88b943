"""A Redfish service that is half broken: what it costs the rest of the device, and what it may make us do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest
from aiohttp import web
from redfish_service import CDU, SESSIONS, Service, served

from collectors.collector import (
    AuthenticationError,
    CollectError,
    Collector,
    DeviceTimeoutError,
    PollResult,
    ProtocolError,
)
from collectors.profile import Profile, load_profile
from collectors.redfish import collector as redfish
from collectors.redfish.client import Session
from collectors.redfish.events import EventParser, Hint, Watch
from storage.config import Secret

PUMPS = f"{CDU}/Pumps"
OPTIONS = {"tls": "off", "events": "off", "expand": "off"}


@pytest.fixture
def profile() -> Profile:
    return load_profile("redfish_cdu")


@asynccontextmanager
async def opened(service: Service, profile: Profile, *, login: bool = False) -> AsyncIterator[Collector]:
    target = service.target(options=OPTIONS)
    if login:
        target = service.target(options=OPTIONS, username="watt", password=Secret("hour"))
    collector = redfish.open_collector(target, profile)
    try:
        yield collector
    finally:
        await collector.aclose()


def series(result: PollResult) -> set[tuple[object, ...]]:
    return {(point.measurement, *point.tags.items()) for point in result.points}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"Members": {"@odata.id": f"{PUMPS}/1"}}, "Members is no list of at most 2000"),
        ({"Members": [{"@odata.id": f"{PUMPS}/{n}"} for n in range(10_000)]}, "Members is no list of at most 2000"),
        (b"<html>busy</html>", "Expecting value"),
    ],
)
async def test_a_broken_collection_costs_its_own_rows_alone(
    service: Service, profile: Profile, body: object, why: str
) -> None:
    async with opened(service, profile) as collector:
        whole = await collector.poll(1)
    service.overlay[PUMPS] = body
    async with opened(service, profile) as collector:
        result = await collector.poll(2)
    lost = series(whole) - series(result)
    assert series(result) < series(whole)
    assert {dict(cast(Any, each[1:])).get("pump") for each in lost} == {"1", "2"}
    assert any(why in line and f"GET {PUMPS}" in line for line in result.missing)


async def test_the_members_that_were_known_are_read_while_their_collection_is_broken(
    service: Service, profile: Profile
) -> None:
    often = profile.model_copy(update={"poll": profile.poll.model_copy(update={"slow": "0s"})})
    async with opened(service, often) as collector:
        whole = await collector.poll(1)
        service.overlay[PUMPS] = b"<html>busy</html>"
        again = await collector.poll(2)
    assert series(again) == series(whole)


async def test_a_resource_that_refuses_any_token_does_not_fill_the_table_of_sessions(
    service: Service, profile: Profile
) -> None:
    real = Service._plain

    def plain(self: Service, path: str) -> web.Response:
        return web.Response(status=401) if path == f"{PUMPS}/1" else real(self, path)

    service.token = "nobody's"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "_plain", plain)
        async with opened(service, profile, login=True) as collector:
            for number in range(5):
                result = await collector.poll(number)
    assert any(f"GET {PUMPS}/1: 401" in line for line in result.missing)
    assert service.logins == 2
    # The session that went before was given back first.
    writes = [method for method, _, _ in service.requests if method != "GET"]
    assert writes == ["POST", "DELETE", "POST", "DELETE"]


@asynccontextmanager
async def moved(locate: Callable[[str], str]) -> AsyncIterator[None]:
    """Have the service name its pumps by paths with a slash at the end, as iLO does."""
    real = Service.answer

    async def answer(self: Service, request: web.Request) -> web.StreamResponse:
        if request.path.startswith(f"{PUMPS}/") and not request.path.endswith("/"):
            self.requests.append((request.method, request.path_qs, 308))
            return web.Response(status=308, headers={"Location": locate(request.path)})
        answered: web.StreamResponse = await real(self, request)
        return answered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "answer", answer)
        yield


async def test_a_redirection_on_the_same_device_is_followed_and_remembered(profile: Profile) -> None:
    async with served() as plain, opened(plain, profile) as collector:
        whole = await collector.poll(1)

    def locate(path: str) -> str:
        return f"http://127.0.0.1:{service.port}{path}/"

    async with moved(locate), served() as service, opened(service, profile) as collector:
        first = await collector.poll(1)
        service.requests.clear()
        second = await collector.poll(2)
    assert series(first) == series(whole)
    assert not second.missing
    assert {status for _, _, status in service.requests} == {200}


@pytest.mark.parametrize("location", ["http://127.0.0.1:1/redfish/v1/x", "/admin/reboot", "http://[", ""])
async def test_a_redirection_off_the_service_is_told_and_not_followed(profile: Profile, location: str) -> None:
    async with moved(lambda _: location), served() as service, opened(service, profile) as collector:
        result = await collector.poll(1)
    lines = [line for line in result.missing if f"{PUMPS}/1" in line]
    assert lines
    assert all("308 to" in line or "not a path on this device" in line for line in lines)
    assert all(path.startswith("/redfish/v1") for path in service.paths)


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Any]) -> AsyncIterator[Service]:
    """Serve `answer` on a port of 127.0.0.1."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    server = await asyncio.get_running_loop().create_server(cast(Any, runner.server), "127.0.0.1", 0)
    try:
        yield Service(port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await runner.cleanup()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_device_that_has_too_much_to_do_is_left_alone_as_long_as_it_asks(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "99999999999"})

    async with serving(answer) as service:
        session = Session(service.target())
        with pytest.raises(CollectError, match=rf"{status} busy, retry after 600 s") as caught:
            await session.get("/redfish/v1/x")
        with pytest.raises(CollectError, match="asked to wait"):
            await session.get("/redfish/v1/y")
        await session.close()
    assert caught.value.rest_seconds == 600.0
    assert session.requests == 1


@pytest.mark.parametrize("status", [503, 507])
async def test_a_full_table_of_sessions_is_told_with_the_way_out(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status if request.method == "POST" else 200)

    async with serving(answer) as service:
        session = Session(service.target(username="watt", password=Secret("hour")))
        with pytest.raises(CollectError, match=rf"log-in as 'watt': .*{status}.*end those of others"):
            await session.get("/redfish/v1/x")
        await session.close()


async def test_an_etag_that_cannot_be_sent_back_is_not_kept() -> None:
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "\xff"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}')
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    session = Session(Service(port=server.sockets[0].getsockname()[1]).target())
    for _ in range(2):
        assert await session.get("/redfish/v1/x") == {}
    await session.close()
    server.close()
    await server.wait_closed()
    assert len(seen) == 2
    assert not any("If-None-Match" in request for request in seen)


@pytest.mark.parametrize(
    "uri",
    ["/redfish/v1/../../reboot", "/redfish/v1/%2e%2E/x", "/redfish/v1/x/..", "/redfish/v1/a/.%2e?b", "/redfish/v1/./x"],
)
async def test_a_path_that_climbs_out_of_the_service_is_not_asked_for(uri: str) -> None:
    session = Session(Service(port=1).target())
    with pytest.raises(ProtocolError, match="not a path on this device"):
        await session.get(uri)
    assert session.requests == 0


async def test_a_resource_that_never_answers_keeps_the_others_waiting_once(profile: Profile) -> None:
    real = Service.answer

    async def answer(self: Service, request: web.Request) -> web.StreamResponse:
        if request.path == f"{CDU}/EnvironmentMetrics":
            await asyncio.sleep(3600)
        answered: web.StreamResponse = await real(self, request)
        return answered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "answer", answer)
        async with served() as service:
            options = {**OPTIONS, "max_connections": "1"}
            target = service.target(options=options, timeout=timedelta(seconds=4))
            collector = redfish.open_collector(target, profile)
            # It is the first by name, and there is one connection.
            with pytest.raises(DeviceTimeoutError, match="EnvironmentMetrics: timeout"):
                await collector.poll(1)
            result = await collector.poll(2)
            await collector.aclose()
    assert {line.partition("GET ")[2] for line in result.missing} == {f"{CDU}/EnvironmentMetrics: timeout"}


def test_an_event_of_very_many_lines_comes_out_whole() -> None:
    parser = EventParser()
    assert list(parser.feed(b"data:\n" * 50_000 + b"\n")) == ["\n" * 49_999]
    assert list(parser.feed(b"data: {}\n\n")) == ["{}"]


def test_a_line_without_end_is_passed_over_in_pieces() -> None:
    parser = EventParser()
    for _ in range(1000):
        assert list(parser.feed(b"data: " + b"x" * 1000)) == []
    assert parser._rest_size <= 256 << 10
    assert list(parser.feed(b"\n\ndata: {}\n\n")) == ["{}"]


async def test_a_flood_of_events_waits_at_the_device() -> None:
    event = json.dumps({"Events": [{"MessageId": "Environmental.1.4.LeakDetected"}]})
    part = f"data: {event}\n\n".encode() * 20
    taken = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += len(part)
            yield part
            await asyncio.sleep(0)

    class Endless(Session):
        """A service whose stream never pauses."""

        async def get(self, uri: str, *, whole: bool = False) -> dict[str, object]:
            return {"ServerSentEventUri": "/redfish/v1/SSE"}

        @asynccontextmanager
        async def stream(self, uri: str) -> AsyncIterator[AsyncIterator[bytes]]:
            yield flood()

    heard: list[Sequence[Hint]] = []

    async def read_again(hints: Sequence[Hint]) -> None:
        heard.append(hints)

    watch = Watch(Endless(Service(port=1).target()), read_again, calm_s=3600.0)
    watch.start()
    for _ in range(2000):
        await asyncio.sleep(0)
    await watch.close()
    assert [[hint.measurements for hint in hints] for hints in heard] == [[frozenset({"leak"})]]
    assert 256 << 10 < taken < (256 << 10) + 2 * len(part)


async def test_a_wrong_password_is_tried_once_for_all_groups(service: Service, profile: Profile) -> None:
    service.token = "nobody's"
    target = service.target(options=OPTIONS, username="watt", password=Secret("wrong"))
    collector = redfish.open_collector(target, profile)
    with pytest.raises(AuthenticationError, match="check user and password"):
        await collector.poll(1)
    await collector.aclose()
    assert service.logins == 1


@asynccontextmanager
async def hanging(*paths: str) -> AsyncIterator[list[str]]:
    """Have the service not answer for some paths; those asked for are yielded."""
    real, asked = Service._answer, list[str]()

    async def answer(self: Service, request: web.Request) -> web.Response:
        if request.path in paths:
            asked.append(request.path)
            await asyncio.Event().wait()
        return await real(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "_answer", answer)
        yield asked


async def test_collections_that_hang_are_named_and_cost_their_own_rows_alone(
    service: Service, profile: Profile
) -> None:
    async with opened(service, profile) as collector:
        whole = await collector.poll(1)
    filters = f"{CDU}/Filters"
    async with hanging(PUMPS, filters), opened(service, profile) as collector:
        result = await collector.poll(2)
    told = {dict(cast(Any, each[1:])).get("pump") for each in series(whole) - series(result)}
    assert {"1", "2"} <= told
    assert {each[0] for each in series(result)} >= {"coolant", "leak"}
    assert any(f"GET {PUMPS}: timeout" in line for line in result.missing)


async def test_a_collection_that_hangs_is_asked_once_however_many_groups_want_it(
    service: Service, profile: Profile
) -> None:
    cdus = "/redfish/v1/ThermalEquipment/CDUs"
    assert sum(cdus in str(group.each["uri"]) for group in profile.groups) > 3
    async with hanging(cdus) as asked, opened(service, profile) as collector:
        with pytest.raises(DeviceTimeoutError, match=f"GET {cdus}: timeout"):
            await collector.poll(1)
    assert asked == [cdus]


async def test_members_that_were_known_are_read_while_their_collection_hangs(
    service: Service, profile: Profile
) -> None:
    often = profile.model_copy(update={"poll": profile.poll.model_copy(update={"slow": "0s"})})
    async with opened(service, often) as collector:
        whole = await collector.poll(1)
        async with hanging(PUMPS):
            again = await collector.poll(2)
    assert series(again) == series(whole)


@pytest.mark.parametrize("has_sessions", [True, False])
async def test_a_password_that_was_changed_is_not_tried_until_the_account_is_locked(
    profile: Profile, has_sessions: bool
) -> None:
    """A controller takes its time to refuse; some lock an account at the fifth wrong password."""
    tried: list[str] = []

    async def refuse(self: Service, request: web.Request) -> web.Response:
        if request.path == SESSIONS and not has_sessions:
            return web.Response(status=404)
        if request.path == SESSIONS or "Authorization" in request.headers:
            tried.append(request.path)
            await asyncio.sleep(0.02)
        return web.Response(status=401)

    async with served() as service:
        service.has_sessions = has_sessions
        async with opened(service, profile, login=True) as collector:
            await collector.poll(1)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Service, "_answer", refuse)
                for number in range(2, 6):
                    with pytest.raises(AuthenticationError, match="401; check user and password") as caught:
                        await collector.poll(number)
            assert caught.value.rest_seconds == 30.0
    # Two connections may each have a request with the old password under way.
    assert 1 <= len(tried) <= (1 if has_sessions else 3)
