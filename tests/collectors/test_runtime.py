"""The runtime among real sockets: alignment, spread, skips, back-off, and one dead device among live ones."""

import asyncio
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from aiohttp import web
from nvml_scenario import start_simulator
from pages import serve

from collectors.collector import Target
from collectors.poller import MAINTENANCE, OK, PARTIAL, UNKNOWN, Poller, phase_ns, place, slot_ns
from collectors.profile import Library
from collectors.runtime import Fleet, Runtime
from collectors.simulator import nvml
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from storage.point import Point

SECOND = 1_000_000_000
TOKENS = 'vllm:generation_tokens_total{model_name="m",engine="0"} 42\n'


def engine(body: str = TOKENS, delay_s: float = 0.0) -> AbstractAsyncContextManager[str]:
    async def metrics(_: web.Request) -> web.Response:
        await asyncio.sleep(delay_s)
        return web.Response(text=body)

    return serve(metrics)


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"


def target(name: str, url: str, interval_s: float = 1.0, timeout_s: float = 20.0) -> Target:
    return Target(
        name, "exposition", url, "vllm", interval=timedelta(seconds=interval_s), timeout=timedelta(seconds=timeout_s)
    )


async def collect(targets: Sequence[Target], enough: int) -> list[Point]:
    """Run until the first target gave `enough` polls."""
    points: list[Point] = []
    stop = asyncio.Event()

    def put(batch: Sequence[Point]) -> None:
        points.extend(batch)
        polls = sum(p.measurement == "device" and p.tags["device"] == targets[0].name for p in points)
        if polls >= enough:
            stop.set()

    async with asyncio.timeout(60):
        await Runtime(Fleet(targets, Library()), put).run(stop)
    return points


def test_phases_are_spread_stable_and_inside_the_interval() -> None:
    phases = [phase_ns(f"node-{n}", 5 * SECOND) for n in range(500)]
    assert phases == [phase_ns(f"node-{n}", 5 * SECOND) for n in range(500)]
    assert all(0 <= phase < 5 * SECOND for phase in phases)
    tenths = defaultdict(int)
    for phase in phases:
        tenths[phase * 10 // (5 * SECOND)] += 1
    assert len(tenths) == 10
    assert max(tenths.values()) < 100


def test_two_collectors_stamp_one_poll_alike() -> None:
    slot = slot_ns("cdu-1", 5 * SECOND, 1_700_000_003 * SECOND)
    assert slot_ns("cdu-1", 5 * SECOND, slot) == slot
    assert slot_ns("cdu-1", 5 * SECOND, slot + 5 * SECOND - 1) == slot
    assert slot_ns("cdu-1", 5 * SECOND, slot + 5 * SECOND) == slot + 5 * SECOND


async def test_a_black_holed_device_changes_nothing_for_the_others() -> None:
    async with engine() as live, black_hole() as dead:
        points = await collect(
            [*(target(f"live-{n}", live) for n in range(5)), target("dead", dead, timeout_s=0.4)], enough=4
        )
    stamps = defaultdict(list)
    for point in points:
        if point.measurement == "inference":
            stamps[point.tags["endpoint"]].append(point.time_ns)
    assert set(stamps) == {f"live-{n}" for n in range(5)}
    for name, times in stamps.items():
        assert all(0 < b - a < 30 * SECOND and not (b - a) % SECOND for a, b in pairwise(times)), name
    health = [p for p in points if p.measurement == "device" and p.tags["device"] == "dead"]
    assert {p.fields["up"] for p in health} == {0}
    assert health[-1].fields["timeouts_total"] >= 1
    assert "last_success_age_seconds" not in health[-1].fields


async def test_a_slow_poll_is_skipped_not_stacked() -> None:
    async with engine() as live, engine(delay_s=1.5) as slow:
        points = await collect([target("live", live), target("slow", slow)], enough=5)
    stamps = [p.time_ns for p in points if p.measurement == "inference" and p.tags["endpoint"] == "slow"]
    assert stamps
    assert all(b - a >= 2 * SECOND and not (b - a) % SECOND for a, b in pairwise(stamps))


async def test_back_off_doubles_and_ends_with_the_first_answer() -> None:
    now = 0.0
    async with engine() as live, black_hole() as dead:
        poller = Poller(target("x", dead, timeout_s=0.05), Library(), monotonic=lambda: now)
        waits = []
        for _ in range(9):
            await poller.poll(0)
            waits.append(poller.health.next_try - now if poller.health.next_try else 0.0)
            now += waits[-1]
        assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]
        before = poller.health.errors
        now -= 1.0
        await poller.poll(0)
        assert poller.health.errors == before
        await poller.aclose()
        revived = Poller(target("x", live), Library(), monotonic=lambda: now)
        revived.health = poller.health
        now += 1.0
        (answer, health) = await revived.poll(0)
        assert answer.measurement == "inference"
        assert health.fields["up"] == 1
        assert poller.health.next_try == 0.0
        await revived.aclose()


async def test_a_device_without_profile_is_recognised_by_its_answer() -> None:
    async with engine() as url:
        poller = Poller(Target("e", "exposition", url, timeout=timedelta(seconds=20)), Library())
        points = await poller.poll(7)
        await poller.aclose()
    assert points[-1].tags["profile"] == "vllm"
    assert points[0].fields["output_tokens_total"] == 42
    assert {p.time_ns for p in points} == {7}


async def test_an_unknown_device_is_identified_again_with_the_usual_back_off() -> None:
    """An exporter that starts before its server says nothing yet by which it could be known."""
    now, page = 0.0, ["go_goroutines 7\n"]
    asked = 0

    async def metrics(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(text=page[0])

    async with serve(metrics) as url:
        own = Target("e", "exposition", url, timeout=timedelta(seconds=20))
        poller = Poller(own, Library(), monotonic=lambda: now)
        for wait in (0, 1, 2, 4):
            (health,) = await poller.poll(0)
            assert (health.fields["state"], health.fields["up"], health.tags.get("profile")) == (UNKNOWN, 0, None)
            assert poller.health.next_try == (now + wait if wait else 0.0)
            now += wait
        before = asked
        now -= 0.5
        assert (await poller.poll(0))[-1].fields["state"] == UNKNOWN
        assert asked == before  # it is left alone until its time
        now += 0.5
        page[0] = TOKENS
        (answer, health) = await poller.poll(0)
        assert answer.fields["output_tokens_total"] == 42
        assert (health.fields["up"], health.tags["profile"]) == (1, "vllm")
        assert health.fields["state"] in (OK, PARTIAL)  # the page is a short one
        await poller.aclose()


async def test_a_host_released_for_maintenance_is_not_a_dead_one(tmp_path: Path) -> None:
    """NVML is let go while the file of its option `release` is there."""
    release = tmp_path / "release"
    release.touch()
    factory = Factory(build_layout(8), seed=1, start=time.time())
    service = await start_simulator(factory, tmp_path)
    library = str(tmp_path / factory.layout.hosts[0].name / nvml.LIBRARY)
    own = Target("node", "nvml", library, timeout=timedelta(seconds=20), options={"release": str(release)})
    now = 0.0
    poller = Poller(own, Library(), monotonic=lambda: now)
    (health,) = await poller.poll(0)
    assert (health.fields["state"], health.fields["up"]) == (MAINTENANCE, 0)
    release.unlink()
    points = await poller.poll(10**9)
    assert points[-1].fields["up"] == 1
    assert {p.tags["host"] for p in points if p.measurement == "gpu"} == {"node"}
    await poller.aclose()
    await service.close()


def test_a_gateways_objects_are_placed_by_the_inventory() -> None:
    places = {"meter-main": {"scope": "facility"}, "A01": {"row": "A", "rack": "A01"}}
    meter = Point("power", {"device": "meter-main", "circuit": "total"}, {"active_watts": 1.0}, 0)
    phase = Point("power", {"device": "meter-main", "circuit": "phase"}, {"active_watts": 1.0}, 0)
    rack = Point("coolant", {"device": "A01", "row": "B"}, {"ph": 8.0}, 0)
    placed = place([meter, phase, rack], places)
    assert placed[0].tags["scope"] == "facility"
    assert "scope" not in placed[1].tags
    assert placed[2].tags == {"device": "A01", "row": "B", "rack": "A01"}
