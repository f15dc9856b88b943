"""A page over real HTTP: packing, status, time limits, redirects, credentials."""

import asyncio
import gzip
import tracemalloc
import zlib
from datetime import timedelta

import pytest
from aiohttp import web
from pages import TIME_NS, Handler, one, page, poll, read, serve, target
from services import free_port

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    ProtocolError,
)
from collectors.exposition import collector as exposition
from collectors.exposition import http as exposition_http
from collectors.profile import load_profile
from storage.config import Secret


async def test_gzip_is_understood() -> None:
    body = gzip.compress(page("vllm_0.33.0_generated").encode())

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})

    async with serve(answer) as url:
        assert one(await poll(url), "inference", engine="0").fields["output_tokens_total"] == 23097.0


def packed(body: bytes, encoding: str) -> Handler:
    """Return a server of these bytes, in pieces that fit no boundary of the packing."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": encoding})
        await response.prepare(request)
        for at in range(0, len(body), 1000):
            await response.write(body[at : at + 1000])
        return response

    return answer


TEXT = page("vllm_0.33.0_generated").encode()
HALF = TEXT.index(b"\n", len(TEXT) // 2) + 1


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT[:HALF]) + gzip.compress(TEXT[HALF:])),
        ("x-gzip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("identity", TEXT),
    ],
)
async def test_packings(encoding: str, body: bytes) -> None:
    async with serve(packed(body, encoding)) as url:
        assert await poll(url) == read(TEXT.decode(), "vllm")


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("gzip", gzip.compress(TEXT)[:-9], "the gzip page ends before its end"),
        ("gzip", TEXT, "not gzip as its header says"),
        ("br", TEXT, "packed as 'br'; only gzip and deflate are understood"),
    ],
)
async def test_a_badly_packed_page_is_refused(encoding: str, body: bytes, message: str) -> None:
    async with serve(packed(body, encoding)) as url:
        with pytest.raises(ProtocolError, match=message):
            await poll(url)


async def test_a_page_that_blows_up_is_refused_before_it_is_unpacked() -> None:
    # two members of 256 MiB of zeros each, in a page of about two MiB
    body = gzip.compress(bytes(256 * 2**20), compresslevel=1) * 2
    tracemalloc.start()
    try:
        async with serve(packed(body, "gzip")) as url:
            with pytest.raises(ProtocolError, match="longer than 32 MiB"):
                await poll(url, timeout=timedelta(seconds=60))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * exposition_http.MAX_BYTES


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationError), (403, AuthenticationError), (404, ProtocolError), (500, ProtocolError)],
)
async def test_status_is_named(status: int, error: type[CollectError]) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serve(answer) as url:
        with pytest.raises(error, match=f"engine-1 {url}: HTTP {status}"):
            await poll(url)


async def test_nobody_listens() -> None:
    port = free_port()
    with pytest.raises(DeviceRefusedError, match=rf"engine-1 http://127.0.0.1:{port}/: cannot connect"):
        await poll(f"http://127.0.0.1:{port}/")


async def test_no_answer_in_time() -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serve(answer) as url:
        with pytest.raises(DeviceTimeoutError, match=r"no whole page within 0\.2 s"):
            await poll(url, timeout=timedelta(seconds=0.2))


async def test_server_that_hangs_up() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serve(answer) as url:
        with pytest.raises(DeviceRefusedError, match="the connection broke"):
            await poll(url)


async def test_page_cut_short() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"vllm:generation_tokens_total 1\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serve(answer) as url:
        with pytest.raises((ProtocolError, DeviceRefusedError)):
            await poll(url)


async def test_page_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition_http, "MAX_BYTES", 2**20)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with serve(answer) as url:
        with pytest.raises(ProtocolError, match="longer than 1 MiB"):
            await poll(url)


async def test_a_long_page_holds_up_no_other_poll() -> None:
    sent, ended = asyncio.Event(), list[str]()
    text = TEXT + b"a 1\n" * 3_000_000

    async def long(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(text)
        await response.write_eof()
        sent.set()
        return response

    async def short(_: web.Request) -> web.Response:
        return web.Response(body=TEXT)

    async def ask(name: str, url: str) -> None:
        assert one(await poll(url, timeout=timedelta(seconds=60)), "inference", engine="0")
        ended.append(name)

    async with serve(long) as long_url, serve(short) as short_url:
        reading = asyncio.create_task(ask("long", long_url))
        await sent.wait()
        for _ in range(5):
            await ask("short", short_url)
        await reading
    assert ended == [*["short"] * 5, "long"]


async def test_a_page_that_is_still_being_read_is_not_read_a_second_time() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=TEXT + b"a 1\n" * 3_000_000)

    async with serve(answer) as url:
        collector = exposition.open_collector(target(url, timeout=timedelta(seconds=60)), load_profile("vllm"))
        results = await asyncio.gather(collector.poll(TIME_NS), collector.poll(TIME_NS), return_exceptions=True)
        await collector.aclose()
    (late,) = [result for result in results if isinstance(result, Exception)]
    assert isinstance(late, DeviceTimeoutError)
    assert "still being read" in str(late)


async def test_login_page_is_no_exposition() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")

    async with serve(answer) as url:
        with pytest.raises(ProtocolError, match=r"no metric of vllm in it: begins with '<html>"):
            await poll(url)
        with pytest.raises(ProtocolError, match="not a page of metrics"):
            await exposition.identify(target(url), [load_profile("vllm")])


@pytest.mark.parametrize(("username", "expected"), [("eve", "Basic ZXZlOnNlc2FtZQ=="), ("", "Bearer sesame")])
async def test_credentials_are_sent_and_kept_over_a_redirect(username: str, expected: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != expected:
            return web.Response(status=401)
        if request.path == "/metrics":
            raise web.HTTPTemporaryRedirect("/metrics/")
        return web.Response(text=page("vllm_0.33.0_generated"))

    async with serve(answer) as url:
        result = await poll(url, username=username, password=Secret("sesame"))
        assert one(result, "inference", engine="0")
        with pytest.raises(AuthenticationError) as refused:
            await poll(url, username=username, password=Secret("open"))
        assert "open" not in str(refused.value)


async def test_credentials_do_not_follow_to_another_server() -> None:
    seen: list[str | None] = []

    async def other(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(text=page("vllm_0.33.0_generated"))

    async with serve(other) as elsewhere:

        async def answer(_: web.Request) -> web.Response:
            raise web.HTTPFound(elsewhere)

        async with serve(answer) as url:
            await poll(url, password=Secret("sesame"))
    assert seen == [None]


async def test_next_poll_reconnects() -> None:
    collector = exposition.open_collector(target(f"http://127.0.0.1:{(port := free_port())}/"), load_profile("vllm"))
    with pytest.raises(DeviceRefusedError):
        await collector.poll(TIME_NS)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=page("vllm_0.33.0_generated"))

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        assert (await collector.poll(TIME_NS)).points
    finally:
        await collector.aclose()
        await collector.aclose()
        await runner.cleanup()


async def test_a_redirect_to_another_host_is_refused() -> None:
    seen = []

    async def other(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(text=TEXT.decode())

    async with serve(other) as elsewhere:

        async def answer(_: web.Request) -> web.Response:
            raise web.HTTPMovedPermanently(elsewhere.replace("127.0.0.1", "localhost"))

        async with serve(answer) as url:
            with pytest.raises(ProtocolError, match=r"redirects to 'http://localhost:\d+/metrics', another host"):
                await poll(url, password=Secret("sesame"))
    assert seen == []


@pytest.mark.parametrize("location", ["", "ftp://127.0.0.1/metrics", "http://[::1"])
async def test_a_redirect_to_nowhere_is_named(location: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": location})

    async with serve(answer) as url:
        with pytest.raises(ProtocolError, match=r"redirect without a place to go|not HTTP as it should be"):
            await poll(url)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "mailto:root"])
async def test_a_redirect_out_of_the_web_is_named_as_it_stands(location: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    async with serve(answer) as url:
        with pytest.raises(ProtocolError, match=f"redirect without a place to go: '{location}'"):
            await poll(url)


async def test_redirects_in_a_circle_end() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/b" if request.path == "/a" else "/a")

    async with serve(answer) as url:
        with pytest.raises(ProtocolError, match="more than 5 redirects"):
            await poll(url)
    assert len(asked) == 6
