"""What `tokenwatt probe` tells of a switch beyond its points, over real UDP; the clock is the test's own."""

from collections.abc import Sequence
from io import StringIO

import pytest
from rich.console import Console
from snmp_recordings import DATA, OwnClock, played

from collectors.collector import Target
from collectors.probe import examine as look
from collectors.profile import load_profile
from collectors.simulator.mib import Mib
from collectors.snmp import collector as snmp
from collectors.snmp.probe import Watch, examine
from collectors.terminal import print_offer

FOLDER = DATA / "sonic_snmp"
OCTETS_OF_ETHERNET0 = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 6, 1)


def recording(case: str) -> str:
    return (FOLDER / f"{case}.agent").read_text("utf-8")


async def told(text: str, period_s: float = 0.0) -> Sequence[str]:
    """Return the lines of a switch whose busiest port's octets grow each `period_s`, 0 for never."""
    clock = OwnClock()
    watch = Watch(changes=4, every_s=0.5, limit_s=30.0, clock=clock, pause=clock.pause)
    async with played(text) as (target, agent):
        if period_s:
            agent.mib = growing(agent.mib, clock, period_s)
        return await examine(target, load_profile("sonic_snmp"), watch)


def growing(mib: Mib, clock: OwnClock, period_s: float) -> Mib:
    """Return the MIB with octets of Ethernet0 that gain 1000 at each refresh of the cache."""
    first = mib.values[OCTETS_OF_ETHERNET0]
    kind, start = first(0.0)
    assert isinstance(start, int)
    values = {**mib.values, OCTETS_OF_ETHERNET0: lambda _: (kind, start + 1000 * int(clock.now / period_s))}
    return Mib(values, mib.order, mib.holes)


async def test_a_community_switch_tells_itself_and_its_numbering() -> None:
    lines = await told(recording("community"))
    assert lines[0] == "SONiC 202411.3, HwSKU ACS-MSN4700, sysName leaf-1, host up 86400 s, snmpd up 3600 s"
    assert lines[1].startswith("numbering: that of community images")
    assert lines[2] == "interfaces: 3 ports (2 up), 2 LAGs (1 up), 1 VLANs (1 up), 1 management ports (1 up)"


@pytest.mark.parametrize("case", ["edgecore", "dell"])
async def test_the_numbering_of_the_vendors_is_seen(case: str) -> None:
    assert (await told(recording(case)))[1].startswith("numbering: that of Edgecore and Dell Enterprise")


async def test_another_numbering_is_told_as_such() -> None:
    text = recording("community").replace(".1002 ", ".5002 ")
    assert (await told(text))[1].startswith("numbering: its own")


async def test_a_walk_that_ends_at_a_missing_cell_is_told_with_what_get_brings() -> None:
    """Ethernet4 lacks its octets: the walk ends behind Ethernet0, and the five ports behind it answer to GET."""
    lines = await told(recording("community"))
    got = "walk of ifHCInOctets: 1 of 7 rows; 5 more by GET, as polled here"
    assert f"{got}; no HC counter: Ethernet4: enable FLEX_COUNTER_TABLE|PORT" in lines
    assert sum(line.startswith("walk of") for line in lines) == 2
    assert "walks: none of 8 counter columns is cut short" in await told(recording("edgecore"))


async def test_the_refresh_of_the_counters_is_measured() -> None:
    assert (await told(recording("community"), 5.0))[-1] == (
        "refresh of the counters: each 5.0 s (5.0 to 5.0, 3 seen): polls wait for it"
    )


async def test_counters_that_stand_still_are_told_after_a_bounded_time() -> None:
    assert (await told(recording("community")))[-1] == (
        "refresh of the counters: 0 seen in 30 s: no traffic, or the agent is stuck: systemctl restart snmp"
    )


async def test_tables_that_answer_and_those_that_do_not_with_the_setting_that_brings_them() -> None:
    lines = await told(recording("community"))
    answers = next(line for line in lines if line.startswith("answers: "))
    for part in ("PFC of priorities 0, 3-4", "unicast queues 0, 3-4", "sensors (20 live of 27)", "supplies (3 rows)"):
        assert part in answers
    silent = [line for line in await told(recording("edgecore")) if line.startswith("silent: ")]
    queues = "enable FLEX_COUNTER_TABLE|QUEUE; max_queues in STATE_DB BUFFER_MAX_PARAM_TABLE"
    assert f"silent: queue statistics: {queues}" in silent
    assert any(line.startswith("silent: PFC by priority: ") and "FLEX_COUNTER_TABLE|PORT" in line for line in silent)
    assert any(line.startswith("silent: neighbours (LLDP): enable the lldp container") for line in silent)


async def test_an_agent_that_is_no_switch_tells_what_it_is_alone() -> None:
    text = "1.3.6.1.2.1.1.1.0 text APC\n1.3.6.1.2.1.1.2.0 oid 1.3.6.1.4.1.318.1.3.4.6\n1.3.6.1.2.1.1.5.0 text pdu-1\n"
    async with played(text) as (target, _):
        lines = await examine(target, load_profile("apc_rpdu2"))
    assert lines == ["'APC', sysObjectID 1.3.6.1.4.1.318.1.3.4.6, sysName pdu-1"]


async def test_the_probe_finds_the_look_by_the_protocol_and_prints_its_lines() -> None:
    assert snmp.examine is examine
    text = "1.3.6.1.2.1.1.1.0 text APC [2]\n1.3.6.1.2.1.1.2.0 oid 1.3.6.1.4.1.318.1.3.4.6\n"
    async with played(text) as (target, _):
        lines = await look(target, load_profile("apc_rpdu2"))
    out = StringIO()
    print_offer(Console(file=out, width=200), lines)
    assert out.getvalue() == "offers 'APC [2]', sysObjectID 1.3.6.1.4.1.318.1.3.4.6, sysName -\n"


async def test_what_stops_the_look_is_a_line_too() -> None:
    """The points are there already, and are not lost."""
    target = Target("leaf-9", "snmp", "127.0.0.1:161", options={"version": "4"})
    (line,) = await look(target, load_profile("sonic_snmp"))
    assert line.startswith(f"not examined: leaf-9 {target.address}: version='4' is not one of")


async def test_a_protocol_without_such_a_look_tells_nothing() -> None:
    assert await look(Target("cdu-1", "modbus", "127.0.0.1:502"), load_profile("supermicro_scdu")) == []
