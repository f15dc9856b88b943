"""Rates of a switch whose agent answers from a cache of 3 to 7 s, through our store, by a clock that tests move."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from switches import START_NS, Switches, points_of, running_switches, value_of

from collectors.snmp.anchor import Anchor, Clock
from storage.duckdb import DuckDBStore
from storage.point import Point

BYTES_PER_SECOND = 25e9
FIELD = "interface.rx_bytes_total"


@pytest.fixture
async def switches() -> AsyncIterator[Switches]:
    async with running_switches() as made:
        yield made


def at(second: float) -> datetime:
    return datetime.fromtimestamp(START_NS / 1e9 + second, UTC)


async def samples(switches: Switches, polls: int, every_s: float) -> list[tuple[float, float, list[Point]]]:
    """Poll leaf-1 on its grid; return stamp (seconds since the start), bytes received by Ethernet0, and all points."""
    opened = switches.open("leaf-1", interval_s=every_s)
    found = []
    for number in range(polls):
        # Polls begin late by up to a second, or all looks would lie alike between two refreshes.
        switches.pass_to((number + 1) * every_s + number * 0.137 % 1.0)
        result = await switches.poll(opened)
        point = next(p for p in points_of(result, "interface", interface="Ethernet0") if "rx_bytes_total" in p.fields)
        value = point.fields["rx_bytes_total"]
        assert not isinstance(value, str)
        found.append(((point.time_ns - START_NS) / 1e9, value, list(result.points)))
    return found


async def test_rates_hold_within_15_percent_over_10_s_and_2_percent_over_60_s(switches: Switches) -> None:
    switches.factory.hold_rates("leaf-1", "Ethernet0", rx_bytes=BYTES_PER_SECOND)
    found = await samples(switches, 40, 10.0)
    stamps, values = [s for s, _, _ in found], [v for _, v, _ in found]
    rates = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(zip(stamps, values, strict=True))]
    assert max(abs(rate / BYTES_PER_SECOND - 1) for rate in rates) < 0.15
    minutes = [(values[i + 6] - values[i]) / (stamps[i + 6] - stamps[i]) for i in range(len(values) - 6)]
    assert max(abs(rate / BYTES_PER_SECOND - 1) for rate in minutes) < 0.02


async def test_a_store_reads_the_same_rates(switches: Switches, tmp_path: Path) -> None:
    switches.factory.hold_rates("leaf-1", "Ethernet0", rx_bytes=BYTES_PER_SECOND)
    store = DuckDBStore(tmp_path / "rates.duckdb")
    for _, _, points in await samples(switches, 20, 30.0):
        store.write(points)
    where = {"device": "leaf-1", "interface": "Ethernet0"}
    every = timedelta(seconds=60)
    frame = store.range("interface", ["rx_bytes_total"], at(60), at(600), every=every, aggregate="rate", where=where)
    store.close()
    assert len(frame) == 9
    assert frame["rx_bytes_total"].sub(BYTES_PER_SECOND).abs().max() < 0.02 * BYTES_PER_SECOND


async def test_points_are_stamped_by_the_refresh_and_all_others_by_the_poll(switches: Switches) -> None:
    switches.factory.hold_rates("leaf-1", "Ethernet0", rx_bytes=BYTES_PER_SECOND)
    opened = switches.open("leaf-1")
    switches.pass_to(10)
    result = await switches.poll(opened)
    stamps = {p.time_ns for p in points_of(result, "interface", interface="Ethernet0") if "rx_bytes_total" in p.fields}
    assert len(stamps) == 1
    stamp = stamps.pop()
    # The agent's longest period is 7 s; it is looked at each 0.5 s.
    assert START_NS + 10 * 10**9 < stamp <= START_NS + 17.5 * 10**9
    assert stamp % 10**6 == 0
    assert {p.time_ns for p in points_of(result, "switch")} == {START_NS + 10 * 10**9}
    assert value_of(result, "interface.counter_age_seconds", interface="Ethernet0") == 0.0


async def test_the_time_between_two_refreshes_is_measured_with_the_second_poll(switches: Switches) -> None:
    switches.factory.hold_rates("leaf-1", "Ethernet0", rx_bytes=BYTES_PER_SECOND)
    found = await samples(switches, 2, 30.0)
    told = [p.fields for _, _, points in found for p in points if p.measurement == "switch"]
    refresh = [fields["counter_refresh_seconds"] for fields in told if "counter_refresh_seconds" in fields]
    assert len(refresh) == 1
    # 3 to 7 s, seen by two looks that are 0.5 s wide.
    assert 2.5 <= float(refresh[0]) <= 7.5


async def test_an_idle_switch_is_waited_for_once(switches: Switches) -> None:
    for port in switches.factory.layout.switches[0].ports:
        switches.factory.hold_rates("leaf-1", port, rx_bytes=0.0)
    opened = switches.open("leaf-1")
    waits = []
    for number in range(4):
        switches.pass_to(30 * (number + 1))
        began = switches.now
        result = await switches.poll(opened)
        waits.append(switches.now - began)
    assert waits[0] == pytest.approx(8.0, abs=0.6)
    assert waits[1:] == [0.0, 0.0, 0.0]
    assert {p.time_ns for p in points_of(result, "interface")} == {START_NS + 120 * 10**9}


async def test_a_switch_that_wakes_up_is_anchored_in_the_same_poll(switches: Switches) -> None:
    for port in switches.factory.layout.switches[0].ports:
        switches.factory.hold_rates("leaf-1", port, rx_bytes=0.0)
    opened = switches.open("leaf-1")
    for number in range(2):
        switches.pass_to(30 * (number + 1))
        await switches.poll(opened)
    switches.factory.hold_rates("leaf-1", "Ethernet0", rx_bytes=BYTES_PER_SECOND)
    switches.pass_to(90)
    result = await switches.poll(opened)
    stamps = {p.time_ns for p in points_of(result, "interface", interface="Ethernet0") if "rx_bytes_total" in p.fields}
    assert min(stamps) > START_NS + 90 * 10**9


async def test_a_busy_port_that_stands_still_shows_the_age_of_its_counters() -> None:
    """The cache stops: after the wait the age is the time since the last change that was seen."""
    clock = FakeClock()
    anchor = Anchor("1.2", clock.clock)
    answers = {"1.2.5": 0}

    async def ask(oids: object) -> dict[str, int | float | str]:
        return dict(answers)

    anchor.note({"1.2.5": 1_000}, ["5"])
    clock.seconds += 10
    anchor.note({"1.2.5": 10**9}, ["5"])
    assert anchor.instances(["5", "6"]) == ["1.2.5"]
    assert await anchor.wait(ask, ["1.2.5"], 20.0) is None
    assert clock.seconds == pytest.approx(10 + 8.0)
    assert anchor.waited


async def test_a_change_is_told_in_the_middle_of_the_two_looks_that_saw_it() -> None:
    clock = FakeClock()
    anchor = Anchor("1.2", clock.clock)

    async def ask(oids: object) -> dict[str, int | float | str]:
        return {"1.2.5": 0 if clock.seconds < 2.2 else 7}

    refresh = await anchor.wait(ask, ["1.2.5"], 20.0)
    assert refresh is not None
    # Looks at 2.0 s (same) and 2.5 s (changed).
    assert (refresh.time_ns, refresh.at_s) == (2_250_000_000, 2.25)


class FakeClock:
    """Seconds that pass while someone sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(lambda: round(self.seconds * 1e9), lambda: self.seconds, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
