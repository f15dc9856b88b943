"""How long a poll may take and how often it comes: one rule for all protocols, shown on devices that never answer."""

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from pages import serve

from collectors.collector import CollectError, Target
from collectors.poller import open_collector, slot_ns
from collectors.profile import Library, Profile, load_profile
from collectors.runtime import Fleet, Runtime
from collectors.timing import first_period_s, timed
from storage.point import Point

TARGET = Target("dev-1", "modbus", "127.0.0.1:502", interval=timedelta(seconds=7), timeout=timedelta(seconds=3))
PROFILES = {
    "modbus": "generic_meter",
    "snmp": "apc_rpdu2",
    "redfish": "redfish_rack_pdu",
    "mqtt": "nvidia_dsx_bms",
    "gnmi": "sonic_gnmi",
    "exposition": "vllm",
}


def with_poll(profile: Profile, **poll: str) -> Profile:
    return profile.model_copy(update={"poll": profile.poll.model_copy(update=poll)})


METER = load_profile("generic_meter")


@pytest.mark.parametrize(("deadline", "seconds"), [("0s", 3.0), ("2s", 3.0), ("3s", 3.0), ("20s", 20.0)])
def test_the_larger_of_time_out_and_deadline_holds(deadline: str, seconds: float) -> None:
    assert timed(TARGET, with_poll(METER, deadline=deadline)).timeout == timedelta(seconds=seconds)


def test_the_profile_s_cadence_holds_where_the_site_gives_none() -> None:
    profile = with_poll(METER, fast="4s")
    assert timed(TARGET, profile).interval == timedelta(seconds=7)
    assert timed(replace(TARGET, follows_profile=True), profile).interval == timedelta(seconds=4)
    assert timed(TARGET, None) == TARGET


def test_devices_that_began_together_are_searched_apart_from_then_on() -> None:
    firsts = [first_period_s(f"shelf-{n}", 60.0) for n in range(300)]
    assert firsts == [first_period_s(f"shelf-{n}", 60.0) for n in range(300)]
    assert 30.0 <= min(firsts) <= max(firsts) < 60.0
    within_two_s = Counter(first // 2 for first in firsts)  # 300 over 15 spans of 2 s: 20 each
    assert len(within_two_s) == 15
    assert max(within_two_s.values()) < 45


def test_gnmi_has_the_ten_seconds_of_rule_c15() -> None:
    assert timed(TARGET, load_profile("sonic_gnmi")).timeout == timedelta(seconds=10)


@pytest.mark.parametrize("protocol", PROFILES)
async def test_a_poll_of_any_protocol_waits_as_long_as_its_profile_says(protocol: str) -> None:
    """By its target's time-out alone it would end within 50 ms; Redfish leaves a collection 270."""
    profile = with_poll(load_profile(PROFILES[protocol]), deadline="600ms")
    kind = socket.SOCK_DGRAM if protocol == "snmp" else socket.SOCK_STREAM
    with socket.socket(type=kind) as silent:
        silent.bind(("127.0.0.1", 0))
        if protocol != "snmp":
            silent.listen(8)
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        address = f"http://{where}/metrics" if protocol == "exposition" else where
        options = {} if protocol in ("snmp", "modbus", "exposition") else {"tls": "off"}
        target = Target("dev-1", protocol, address, timeout=timedelta(milliseconds=50), options=options)
        collector = open_collector(target, profile)
        began = asyncio.get_running_loop().time()
        with pytest.raises((CollectError, TimeoutError)):
            await collector.poll(0)
        waited = asyncio.get_running_loop().time() - began
        await collector.aclose()
    assert waited > 0.2


def slow_exporter(seconds: float, asked: list[int]) -> AbstractAsyncContextManager[str]:
    """Answer after so many seconds; `asked` takes how many requests were under way with each."""
    under_way = 0

    async def metrics(_: web.Request) -> web.Response:
        nonlocal under_way
        under_way += 1
        asked.append(under_way)
        await asyncio.sleep(seconds)
        under_way -= 1
        return web.Response(text="acme_busy 0.25\n")

    return serve(metrics)


async def test_a_deadline_longer_than_the_interval_skips_polls_and_stacks_none(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(
        "profile: acme\nmodel: M\nkind: exporter\nprotocol: exposition\nsource: none\n"
        "poll: {fast: 100ms, deadline: 30s}\ngroups:\n  - points:\n      - {to: coolant.valve_ratio, at: acme_busy}\n"
    )
    tenth, asked, stamps, stop = timedelta(seconds=0.1), list[int](), list[int](), asyncio.Event()

    def put(points: Sequence[Point]) -> None:
        stamps.extend(p.time_ns for p in points if p.measurement == "coolant")
        if len(stamps) >= 3:
            stop.set()

    async with slow_exporter(0.25, asked) as url:
        slow = Target("slow", "exposition", url, "acme", interval=tenth, timeout=timedelta(milliseconds=50))
        async with asyncio.timeout(60):
            await Runtime(Fleet([slow], Library([tmp_path])), put).run(stop)
    assert set(asked) == {1}
    assert all(b - a >= 200_000_000 for a, b in pairwise(stamps))
    assert all(slot_ns("slow", 100_000_000, stamp) == stamp for stamp in stamps)
