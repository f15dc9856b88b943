"""What a switch's collector tells while its agent lacks cells, hangs, dies, boots or counts from anew."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from switches import START_NS, Switches, points_of, running_switches, value_of

from collectors.collector import DeviceTimeoutError, PollResult
from collectors.snmp.collector import SnmpCollector
from storage.duckdb import DuckDBStore

NAME = "leaf-1"
BYTES_PER_SECOND = 25e9


@pytest.fixture
async def switches() -> AsyncIterator[Switches]:
    async with running_switches() as made:
        made.factory.hold_rates(NAME, "Ethernet0", rx_bytes=BYTES_PER_SECOND)
        yield made


async def polls(switches: Switches, count: int, every_s: float = 30.0) -> tuple[SnmpCollector, list[PollResult]]:
    opened = switches.open(NAME, interval_s=every_s)
    return opened, [await step(switches, opened, every_s) for _ in range(count)]


async def step(switches: Switches, opened: SnmpCollector, every_s: float = 30.0) -> PollResult:
    """Poll at the next instant of the grid."""
    second = (switches.now_ns - START_NS) / 1e9
    switches.pass_to((second // every_s + 1) * every_s)
    return await switches.poll(opened)


def impatient(switches: Switches) -> SnmpCollector:
    """Return a collector that waits 5 s: what is silent here stays silent."""
    return switches.open(NAME, timeout=timedelta(seconds=5))


def received(result: PollResult) -> set[str]:
    return {p.tags["interface"] for p in points_of(result, "interface") if "rx_bytes_total" in p.fields}


def events(result: PollResult, kind: str) -> list[tuple[str | None, object]]:
    return [(p.tags.get("interface"), p.fields["severity"]) for p in points_of(result, "switch_event", kind=kind)]


async def test_a_healthy_switch_is_ok_and_lacks_nothing(switches: Switches) -> None:
    _, results = await polls(switches, 2)
    assert [value_of(result, "switch.agent_state") for result in results] == [0, 0]
    assert results[1].missing == ()
    assert 0 < results[0].requests < results[1].requests


async def test_one_field_deleted_hides_one_port_only(switches: Switches) -> None:
    opened, (before,) = await polls(switches, 1)
    switches.quirks(NAME).missing.add("Ethernet40 SAI_PORT_STAT_IF_IN_OCTETS")
    after = await step(switches, opened)
    assert received(before) - received(after) == {"Ethernet40"}
    assert value_of(after, "switch.agent_state") == 1
    assert any("interface.rx_bytes_total" in line and "(41)" in line for line in after.missing)
    switches.quirks(NAME).missing.clear()
    again = await step(switches, opened)
    assert received(again) == received(before)
    assert value_of(again, "switch.agent_state") == 0


async def test_ports_are_found_though_a_field_was_missing_from_the_start(switches: Switches) -> None:
    switches.quirks(NAME).missing.add("Ethernet40 SAI_PORT_STAT_IF_IN_OCTETS")
    _, (result,) = await polls(switches, 1)
    ports = set(switches.factory.layout.switches[0].ports)
    assert ports - received(result) == {"Ethernet40"}


async def test_a_dead_agent_is_missing_and_its_ports_come_back_within_two_polls(switches: Switches) -> None:
    opened, (before, _) = await polls(switches, 2)
    switches.quirks(NAME).agent = "dead"
    dead = [await step(switches, opened) for _ in range(3)]
    assert [value_of(result, "switch.agent_state") for result in dead] == [2, 2, 2]
    assert [received(result) for result in dead] == [set(), set(), set()]
    assert [events(result, "agent") for result in dead] == [[(None, 1)], [], []]
    assert all(result.missing for result in dead)
    switches.quirks(NAME).agent = "ok"
    back = [await step(switches, opened) for _ in range(2)]
    assert received(back[1]) == received(before)
    assert value_of(back[1], "switch.agent_state") == 0
    assert events(back[0], "agent") == [(None, 0)]


async def test_an_agent_that_was_dead_from_the_start_is_found_within_two_polls(switches: Switches) -> None:
    switches.quirks(NAME).agent = "dead"
    opened, results = await polls(switches, 2)
    assert [value_of(result, "switch.agent_state") for result in results] == [2, 2]
    switches.quirks(NAME).agent = "ok"
    back = [await step(switches, opened) for _ in range(2)]
    assert len(received(back[1])) >= 64
    assert value_of(back[1], "switch.agent_state") == 0


async def test_a_hung_agent_is_missing_while_the_switch_answers(switches: Switches) -> None:
    opened = impatient(switches)
    before = await step(switches, opened)
    switches.quirks(NAME).agent = "hung"
    hung = await step(switches, opened)
    assert value_of(hung, "switch.agent_state") == 2
    assert value_of(hung, "switch.uptime_seconds") > 0
    assert "its tables do not" in hung.missing[0]
    assert received(hung) == set()
    switches.quirks(NAME).agent = "ok"
    back = [await step(switches, opened) for _ in range(2)]
    assert received(back[1]) == received(before)


async def test_a_switch_that_does_not_answer_at_all_is_a_timeout(switches: Switches) -> None:
    opened = impatient(switches)
    switches.factory.silent.add(NAME)
    with pytest.raises(DeviceTimeoutError, match=r"leaf-1 127\.0\.0\.1:\d+: GET of 1\.3\.6\.1\.2\.1\.1\.3\.0"):
        await step(switches, opened)


async def test_a_boot_is_one_event_and_no_spike_in_the_store(switches: Switches, tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "boot.duckdb")
    opened, results = await polls(switches, 4)
    for result in results:
        store.write(result.points)
    switches.factory.reboot_switch(NAME)
    switches.factory.hold_rates(NAME, "Ethernet0", rx_bytes=BYTES_PER_SECOND)
    after = [await step(switches, opened) for _ in range(4)]
    for result in after:
        store.write(result.points)
    assert [e for result in after for e in events(result, "reset")] == [(None, 0)]
    assert [result.resets for result in (results[-1], *after)] == [0, 1, 1, 1, 1]
    assert rates(store, "rx_bytes_total").min() >= 0
    assert rates(store, "rx_bytes_total").max() < 1.15 * BYTES_PER_SECOND
    store.close()


async def test_a_counter_set_back_by_hand_gives_no_negative_and_no_spike(switches: Switches, tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "back.duckdb")
    opened, results = await polls(switches, 4)
    counters = switches.factory.state.switches.rx_bytes
    # Half of what the port counted: far more than it receives in an interval.
    counters.base[0, 0] = counters.base[0, 0] / 2 + 10**15
    results += [await step(switches, opened) for _ in range(2)]
    counters.base[0, 0] -= 10**15
    after = [await step(switches, opened) for _ in range(4)]
    for result in (*results, *after):
        store.write(result.points)
    assert [e for result in after for e in events(result, "reset")] == [("Ethernet0", 0)]
    assert rates(store, "rx_bytes_total", start=200).min() >= 0
    assert rates(store, "rx_bytes_total", start=200).max() < 1.15 * BYTES_PER_SECOND
    store.close()


async def test_32_bit_errors_go_on_where_they_wrapped(switches: Switches, tmp_path: Path) -> None:
    errors = switches.factory.state.switches.rx_errors
    errors.base[0, 0] = 2**32 - 10_000
    switches.factory.hold_rates(NAME, "Ethernet0", rx_errors=100.0)
    store = DuckDBStore(tmp_path / "wrap.duckdb")
    _, results = await polls(switches, 6)
    for result in results:
        store.write(result.points)
    last = value_of(results[-1], "interface.rx_errors_total", interface="Ethernet0")
    assert last > 2**32
    assert [result.resets for result in results] == [0] * 6
    # The errors' table has a clock of its own: 7 s of 30 may lie in the neighbouring interval.
    found = rates(store, "rx_errors_total")
    assert found.min() > 100 * (1 - 7 / 30)
    assert found.max() < 100 * (1 + 7 / 30)
    store.close()


async def test_a_restart_of_the_agent_keeps_the_counters_baselines(switches: Switches) -> None:
    opened, _ = await polls(switches, 2)
    switches.factory.restart_snmp(NAME)
    after = await step(switches, opened)
    assert after.resets == 0
    assert events(after, "reset") == []
    assert "Ethernet0" in received(after)


def rates(store: DuckDBStore, field: str, start: float = 60) -> "pd.Series[float]":
    begin = datetime.fromtimestamp(START_NS / 1e9 + start, UTC)
    frame = store.range(
        "interface",
        [field],
        begin,
        begin + timedelta(hours=1),
        every=timedelta(seconds=30),
        aggregate="rate",
        where={"device": NAME, "interface": "Ethernet0"},
    )
    assert len(frame) >= 2
    return frame[field].dropna()
