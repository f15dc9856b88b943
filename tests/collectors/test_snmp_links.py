"""linkUp and linkDown as the collector of a switch understands them."""

from collections.abc import AsyncIterator

import pytest
from switches import Switches, points_of, running_switches

from collectors.collector import PollResult, TakesTraps, Trap
from collectors.snmp.collector import SnmpCollector
from storage.point import Point

DOWN, UP = "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4"
COLD_START = "1.3.6.1.6.3.1.1.5.1"
IF, IFX = "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1"
TRAP_NS = 1_760_000_123_456_000_000


@pytest.fixture
async def switches() -> AsyncIterator[Switches]:
    async with running_switches() as made:
        yield made


@pytest.fixture
async def known(switches: Switches) -> SnmpCollector:
    """Return a collector that has polled its switch once."""
    opened = switches.open("leaf-1")
    await switches.poll(opened)
    return opened


def told(known: SnmpCollector, name: str, **values: int) -> list[Point]:
    varbinds = {f"{IF}.{column[1:]}.41": value for column, value in values.items()}
    return list(known.take_trap(Trap(name, varbinds), TRAP_NS))


def test_a_collector_of_snmp_takes_traps(known: SnmpCollector) -> None:
    assert isinstance(known, TakesTraps)


async def test_link_down_puts_the_port_down_at_once(known: SnmpCollector) -> None:
    # ifIndex 41 is Ethernet40; SONiC's own column ifIndex says 40.
    points = told(known, DOWN, c1=40, c7=1, c8=2)
    state = next(p for p in points if p.measurement == "interface")
    assert state.fields == {"oper_up": 0, "admin_up": 1}
    assert state.tags["interface"] == "Ethernet40"
    event = next(p for p in points if p.measurement == "switch_event")
    assert event.tags == {"device": "leaf-1", "interface": "Ethernet40", "kind": "link"}
    assert event.fields == {"severity": 1, "text": "link down"}
    assert {p.time_ns for p in points} == {TRAP_NS}


async def test_the_series_is_the_one_that_polls_write(switches: Switches, known: SnmpCollector) -> None:
    result = await switches.poll(known)
    polled = next(p for p in points_of(result, "interface", interface="Ethernet40") if "oper_up" in p.fields)
    state = next(p for p in told(known, DOWN, c1=40) if p.measurement == "interface")
    assert state.tags == polled.tags


async def test_link_up_and_a_port_that_was_shut_are_no_warnings(known: SnmpCollector) -> None:
    up = told(known, UP, c1=40, c7=1, c8=1)
    assert [p.fields.get("oper_up") for p in up] == [1, None]
    assert [p.fields.get("severity") for p in up] == [None, 0]
    shut = told(known, DOWN, c1=40, c7=2)
    assert shut[0].fields == {"oper_up": 0, "admin_up": 0}
    assert shut[1].fields["severity"] == 0


@pytest.mark.parametrize(
    "values",
    [
        {f"{IF}.1.41": 40},
        {f"{IF}.8.41": 2},
        {f"{IFX}.1.41": "etp11"},
        {"1.3.6.1.2.1.1.3.0": 5, f"{IFX}.18.41": "x", f"{IF}.1": 40},
        {f"{IF}.1": 41},
    ],
)
async def test_the_port_is_found_by_any_instance_of_its_row(
    known: SnmpCollector, values: dict[str, int | float | str]
) -> None:
    points = known.take_trap(Trap(DOWN, values), TRAP_NS)
    assert {p.tags["interface"] for p in points} == {"Ethernet40"}


async def test_unknown_ports_are_counted_and_other_notifications_are_not(
    switches: Switches, known: SnmpCollector
) -> None:
    assert known.take_trap(Trap(DOWN, {f"{IF}.1.999999": 999_998}), TRAP_NS) == ()
    assert known.take_trap(Trap(COLD_START, {f"{IF}.1.41": 40}), TRAP_NS) == ()
    assert known.take_trap(Trap(DOWN, {"1.3.6.1.2.1.1.3.0": 1}), TRAP_NS) == ()
    result: PollResult = await switches.poll(known)
    assert [line for line in result.missing if "999999" in line] == [
        "notification of a link at ifIndex 999999, which no row has"
    ]
    assert (await switches.poll(known)).missing == ()


def test_a_collector_that_never_polled_knows_no_port(switches: Switches) -> None:
    opened = switches.open("leaf-1")
    assert opened.take_trap(Trap(DOWN, {f"{IF}.1.41": 40}), TRAP_NS) == ()
