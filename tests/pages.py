"""Metrics pages for tests: the recorded ones, a server for them, and what collectors make of them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from typing import Any

from aiohttp import web

from collectors.collector import PollResult, Target
from collectors.exposition import collector as exposition
from collectors.exposition.collector import ExpositionCollector
from collectors.profile import Profile, load_profile
from storage.point import FieldValue, Point

DATA = Path(__file__).parent / "collectors" / "data" / "expositions"
TIME_NS = 1_760_000_000 * 10**9
#: "measurement tag=value ..." without the target's own tags -> fields
Told = dict[str, dict[str, FieldValue]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page(name: str) -> str:
    """Return a recorded page by its stem."""
    return (DATA / f"{name}.prom").read_text("utf-8")


def target(url: str = "http://127.0.0.1:1/metrics", **more: Any) -> Target:
    """Return the target `engine-1`."""
    return Target("engine-1", "exposition", url, **more)


def read(text: str, profile: str | Profile, polls: int = 1) -> PollResult:
    """Return the last of some polls of one page, without the network."""
    collector = ExpositionCollector(target(), load_profile(profile) if isinstance(profile, str) else profile)
    for _ in range(polls):
        result = collector.read(text, TIME_NS)
    return result


def one(result: PollResult, measurement: str, **tags: str) -> Point:
    """Return the only point of this measurement that has these tags."""
    found = [p for p in result.points if p.measurement == measurement and tags.items() <= dict(p.tags).items()]
    assert len(found) == 1, found
    return found[0]


def told(points: Iterable[Point], measurement: str = "") -> Told:
    """Return points as text and fields, for comparison with what a person reads off the page."""
    found: Told = {}
    for point in points:
        if point.measurement.startswith(measurement):
            own = {name: value for name, value in point.tags.items() if value != "engine-1"}
            key = " ".join([point.measurement, *(f"{name}={value}" for name, value in own.items())])
            assert key not in found, f"two points of {key}"
            found[key] = dict(point.fields)
    return found


def exactly(name: str, profile: str) -> Told:
    """Return what a recorded page tells, and make sure that nothing of it was missing or refused."""
    result = read(page(name), profile)
    assert (result.missing, result.rejected) == ((), ())
    return told(result.points)


def profile_of(
    points: list[dict[str, object]], *, name: str = "x", match: dict[str, object] | None = None, **each: object
) -> Profile:
    """Return a profile of one group of these points and this `each`."""
    group = {"each": each, "tags": {"model": "{model}", "engine": "{engine}", "tenant": "{team}"}, "points": points}
    return Profile.model_validate(
        {
            "profile": name,
            "model": "x",
            "kind": "inference",
            "protocol": "exposition",
            "source": "a test",
            "match": match or {},
            "groups": [group],
        }
    )


@asynccontextmanager
async def serve(handler: Handler, tls: SSLContext | None = None) -> AsyncIterator[str]:
    """Answer every path with `handler` while the block runs; give the URL of /metrics."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        host, port = runner.addresses[0][:2]
        yield f"{'https' if tls else 'http'}://{host}:{port}/metrics"
    finally:
        await runner.cleanup()


async def poll(url: str, profile: str | Profile = "vllm", **more: Any) -> PollResult:
    """Return one poll of a server."""
    own = load_profile(profile) if isinstance(profile, str) else profile
    collector = exposition.open_collector(target(url, **more), own)
    try:
        return await collector.poll(TIME_NS)
    finally:
        await collector.aclose()
