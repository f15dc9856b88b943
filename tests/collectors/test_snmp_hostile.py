"""A switch that does what it likes: renumbers, renames, is silent, late, says things twice or in part."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from collectors.address import parse_target_url
from collectors.collector import CollectError, DeviceTimeoutError, PollResult, Target
from collectors.profile import load_profile
from collectors.simulator.ber import (
    COUNTER32,
    COUNTER64,
    GAUGE32,
    GET,
    GETBULK,
    INTEGER,
    NO_INSTANCE,
    OCTETS,
    RESPONSE,
    TICKS,
    Oid,
    Value,
    read_request,
    write_message,
)
from collectors.simulator.ber import END_OF_MIB as END
from collectors.snmp.anchor import Clock
from collectors.snmp.collector import SnmpCollector
from collectors.timing import timed
from storage.duckdb import DuckDBStore
from storage.point import Point

START_NS = 1_760_000_000 * 10**9
SECOND_NS = 10**9
IF, IFX = "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1"
DESCR = "SONiC Software Version: SONiC.202411.1 - HwSku: ACS-1 - Distribution: Debian 12 - Kernel: 6.1"


def oid(text: str) -> Oid:
    return tuple(map(int, text.split(".")))


@dataclass(slots=True)
class Port:
    """A port: its alias and what it counts per second; counters began at `since` with `base`."""

    alias: str
    rate: float = 1e9
    base: int = 0
    since: float = 0.0
    errors: int = 0


@dataclass(slots=True)
class Box(asyncio.DatagramProtocol):
    """An agent of one switch; `now` is seconds since the start, moved by who sleeps."""

    now: float = 0.25
    ports: dict[int, Port] = field(default_factory=dict)
    #: seconds between two refreshes of the counters
    period: float = 5.0
    #: when the host, the agent and its tables began
    booted: float = -1e6
    started: float = -1e6
    dead: bool = False
    uptime_hidden: bool = False
    #: requests that get no answer: instances -> whether
    mute: Callable[[Sequence[Oid]], bool] = lambda _: False
    twice: bool = False
    community: bytes = b""
    too_big: bool = False
    asked: int = 0
    transport: Any = None
    _told: tuple[Any, dict[Oid, Value], list[Oid]] = (None, {}, [])

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = read_request(data)
        self.asked += 1
        if self.mute(request.oids) or (self.community and request.community != self.community):
            return
        answer = write_message(RESPONSE, request.community, request.number, self._binds(request))
        if self.too_big:
            # RFC 3416 section 4.2.1: error-status 1, no variable bindings.
            answer = write_message(RESPONSE, request.community, request.number, [])
            answer = answer[:-8] + b"\x02\x01\x01" + answer[-5:]
        for _ in range(2 if self.twice else 1):
            self.transport.sendto(answer, addr)

    def cells(self) -> dict[Oid, Value]:
        told: dict[str, Value] = {
            "1.3.6.1.2.1.1.1.0": (OCTETS, DESCR.encode()),
            "1.3.6.1.2.1.1.3.0": (TICKS, int((self.now - self.started) * 100) % 2**32),
        }
        if not self.uptime_hidden:
            told["1.3.6.1.2.1.25.1.1.0"] = (TICKS, int((self.now - self.booted) * 100) % 2**32)
        if not self.dead:
            told["1.3.6.1.2.1.2.1.0"] = (INTEGER, len(self.ports))
        at = self.now // self.period * self.period
        for index, port in () if self.dead else self.ports.items():
            count = int(port.base + max(0.0, at - port.since) * port.rate) % 2**64
            told |= {
                f"{IF}.2.{index}": (OCTETS, port.alias.encode()),
                f"{IF}.3.{index}": (INTEGER, 6),
                f"{IF}.7.{index}": (INTEGER, 1),
                f"{IF}.8.{index}": (INTEGER, 1),
                f"{IF}.14.{index}": (COUNTER32, port.errors % 2**32),
                f"{IFX}.1.{index}": (OCTETS, port.alias.encode()),
                f"{IFX}.15.{index}": (GAUGE32, 400_000),
                **{f"{IFX}.{column}.{index}": (COUNTER64, count) for column in range(6, 14)},
            }
        return {oid(text): value for text, value in told.items()}

    def _binds(self, request: Any) -> list[tuple[Oid, Value]]:
        if self._told[0] != (self.now, self.dead, len(self.ports)):
            cells = self.cells()
            self._told = ((self.now, self.dead, len(self.ports)), cells, sorted(cells))
        _, cells, ordered = self._told
        if request.pdu == GET:
            return [(each, cells.get(each, NO_INSTANCE)) for each in request.oids]
        start = bisect_right(ordered, request.oids[0])
        after = ordered[start : start + (request.max_repetitions if request.pdu == GETBULK else 1)]
        return [(each, cells[each]) for each in after] or [(request.oids[0], END)]

    def pass_to(self, second: float) -> None:
        self.now = max(self.now, second)


@dataclass(slots=True)
class Rig:
    """A box, and a collector that lives by its clock; `wall` is what the collector's wall clock is off."""

    box: Box
    target: Target
    wall: float = 0.0
    opened: SnmpCollector = field(init=False)

    def __post_init__(self) -> None:
        self.opened = self.open()

    def open(self) -> SnmpCollector:
        clock = Clock(self._wall_ns, self._monotonic, self._sleep)
        profile = load_profile("sonic_snmp")
        return SnmpCollector(timed(self.target, profile), profile, clock)

    async def step(self, every: float = 30.0) -> PollResult:
        """Poll at the next instant of the grid of the wall clock."""
        self.box.pass_to((self.box.now // every + 1) * every)
        return await self.opened.poll(self._wall_ns() // SECOND_NS * SECOND_NS)

    def _wall_ns(self) -> int:
        return START_NS + round((self.box.now + self.wall) * SECOND_NS)

    def _monotonic(self) -> float:
        return self.box.now

    async def _sleep(self, seconds: float) -> None:
        self.box.now += seconds


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    box = Box(ports={1: Port("etp1", 1e9), 5: Port("etp2", 3e9), 9: Port("etp3", 0.0)})
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: box, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    made = Rig(box, Target("leaf-1", "snmp", f"127.0.0.1:{port}", interval=timedelta(seconds=30)))
    yield made
    await made.opened.aclose()
    transport.close()


def octets(result: PollResult) -> dict[str, tuple[float, float]]:
    """Return interface -> (seconds since the start, octets received)."""
    return {
        p.tags["interface"]: ((p.time_ns - START_NS) / 1e9, float(p.fields["rx_bytes_total"]))
        for p in result.points
        if p.measurement == "interface" and "rx_bytes_total" in p.fields
    }


def rates(folder: Path, results: Sequence[PollResult], name: str = "rx_bytes_total") -> Mapping[str, Sequence[float]]:
    """Return what the store makes of the points: interface -> rates per minute, without the first."""
    store = DuckDBStore(folder / "rates.duckdb")
    for result in results:
        store.write(result.points)
    begin = datetime.fromtimestamp(START_NS / 1e9 + 60, UTC)
    span = timedelta(hours=1)
    frame = store.range(
        "interface",
        [name],
        begin,
        begin + span,
        every=timedelta(seconds=30),
        aggregate="rate",
        by=["interface"],
        where={"device": "leaf-1"},
    )
    store.close()
    return {str(port): list(rows[name].dropna()) for port, rows in frame.groupby("interface")}


def kinds(result: PollResult, kind: str) -> list[Point]:
    return [p for p in result.points if p.measurement == "switch_event" and p.tags["kind"] == kind]


async def test_a_port_that_gets_another_ifindex_keeps_its_own_counters(rig: Rig, tmp_path: Path) -> None:
    """The container restarts and numbers anew: Ethernet0 and Ethernet4 change places, their counters go on."""
    for port, name in zip(rig.box.ports.values(), ("Ethernet0", "Ethernet4", "Ethernet8"), strict=True):
        port.alias = name
    results = [await rig.step() for _ in range(4)]
    rig.box.ports[1], rig.box.ports[5] = rig.box.ports[5], rig.box.ports[1]
    rig.box.started = rig.box.now + 10
    results += [await rig.step() for _ in range(4)]
    found = rates(tmp_path, results)
    assert max(found["Ethernet0"]) < 1.15e9
    assert min(found["Ethernet4"]) > 0.85 * 3e9
    assert max(found["Ethernet4"]) < 1.15 * 3e9
    assert sum(len(kinds(result, "reset")) for result in results) == 0


async def test_names_that_change_places_without_a_restart_are_seen_within_a_minute(rig: Rig) -> None:
    for port, name in zip(rig.box.ports.values(), ("Ethernet0", "Ethernet4", "Ethernet8"), strict=True):
        port.alias = name
    for _ in range(3):
        await rig.step(60)
    rig.box.ports[1], rig.box.ports[5] = rig.box.ports[5], rig.box.ports[1]
    at, value = octets(await rig.step(60))["Ethernet0"]
    assert value == pytest.approx(1e9 * at, rel=0.05)


async def test_ports_that_come_by_a_breakout_are_there_within_a_minute_and_gone_ones_are_not(rig: Rig) -> None:
    for _ in range(3):
        await rig.step(60)
    rig.box.ports |= {10: Port("etp3b")}
    assert "Ethernet9" in octets(await rig.step(60))
    del rig.box.ports[9], rig.box.ports[10]
    rig.box.ports |= {11: Port("etp3c"), 12: Port("etp3d")}
    result = await rig.step(60)
    assert octets(result).keys() == {"Ethernet0", "Ethernet4", "Ethernet10", "Ethernet11"}
    assert not [line for line in result.missing if "(9)" in line]


async def test_wraps_told_before_a_renumbering_are_not_lost(rig: Rig) -> None:
    """A 32-bit counter past its wrap must not fall where its port gets another ifIndex."""
    rig.box.ports[1] = Port("Ethernet0", errors=2**32 - 100)
    await rig.step()
    rig.box.ports[1].errors = 2**32 + 50
    await rig.step()
    rig.box.ports[21] = rig.box.ports.pop(1)
    rig.box.ports[21].errors = 2**32 + 80
    rig.box.started = rig.box.now
    result = await rig.step()
    told = [
        p.fields["rx_errors_total"]
        for p in result.points
        if p.tags.get("interface") == "Ethernet0" and "rx_errors_total" in p.fields
    ]
    assert told == [2**32 + 80]


async def test_an_agent_that_dies_and_comes_back_renumbered_mixes_no_counters(rig: Rig, tmp_path: Path) -> None:
    """snmpd restarts, its tables come two polls later with other indexes: the old ones must not be read once more."""
    for port, name in zip(rig.box.ports.values(), ("Ethernet0", "Ethernet4", "Ethernet8"), strict=True):
        port.alias = name
    results = [await rig.step() for _ in range(4)]
    rig.box.dead, rig.box.started = True, rig.box.now
    results += [await rig.step() for _ in range(2)]
    rig.box.dead = False
    rig.box.ports[1], rig.box.ports[5] = rig.box.ports[5], rig.box.ports[1]
    results += [await rig.step() for _ in range(4)]
    found = rates(tmp_path, results)
    assert max(found["Ethernet0"]) < 1.15e9
    assert max(found["Ethernet4"]) < 1.15 * 3e9


async def test_a_restart_is_seen_though_the_agent_is_up_longer_than_before(rig: Rig) -> None:
    """It was up for 40 s, restarts, and is up for 50 s when it is asked again: only what was expected shows it."""
    rig.box.started = -10.0
    await rig.step()
    rig.box.started = 40.0
    rig.box.ports[13] = Port("etp4")
    rig.box.pass_to(89.0)
    assert "Ethernet12" in octets(await rig.step())


async def test_of_two_ports_of_one_name_the_one_that_the_index_fits_keeps_it(rig: Rig) -> None:
    """The alias of Ethernet0 is Ethernet4: the counters of neither may be taken for the other's."""
    rig.box.ports[1].alias = "Ethernet4"
    results = [await rig.step() for _ in range(2)]
    at, value = octets(results[1])["Ethernet4"]
    assert value == pytest.approx(3e9 * at, rel=0.05)
    assert "ifIndex 1 is left out: it calls itself 'Ethernet4', which is ifIndex 5" in results[0].missing
    assert not any("second reading" in line for line in results[1].rejected)


async def test_an_agent_that_falls_silent_in_the_middle_brings_what_it_said_at_its_right_time(
    rig: Rig, tmp_path: Path
) -> None:
    """Half of the answers come, after a refresh that was waited for: they keep its stamp, or the next rate jumps."""
    rig.opened._client._session._timeout_s = 0.1  # type: ignore[attr-defined]
    results = [await rig.step() for _ in range(4)]
    errors = oid(f"{IF}.14")
    rig.box.mute = lambda oids: any(each[: len(errors)] == errors for each in oids)
    results.append(await rig.step())
    rig.box.mute = lambda _: False
    results += [await rig.step() for _ in range(3)]
    assert "its tables do not" in results[4].missing[0]
    assert octets(results[4])
    found = rates(tmp_path, results)
    assert max(found["Ethernet0"]) < 1.15e9
    assert min(found["Ethernet0"]) > 0.85e9


async def test_answers_that_come_twice_are_read_once(rig: Rig) -> None:
    rig.box.twice = True
    results = [await rig.step() for _ in range(3)]
    for result in results:
        at, value = octets(result)["Ethernet4"]
        assert value == pytest.approx(3e9 * at, rel=0.2)


async def test_an_agent_to_which_every_answer_is_too_big_is_told_as_such(rig: Rig) -> None:
    rig.box.too_big = True
    with pytest.raises(CollectError) as caught:
        await rig.step()
    assert not isinstance(caught.value, DeviceTimeoutError)
    assert rig.box.asked < 1_000


@pytest.mark.parametrize("every", [10.0, 30.0, 60.0])
async def test_an_agent_that_refreshes_each_minute_gives_no_spike(rig: Rig, tmp_path: Path, every: float) -> None:
    rig.box.period = 60.0
    results = [await rig.step(every) for _ in range(round(900 / every))]
    # How old the very first set is nobody can know.
    found = rates(tmp_path, results)["Ethernet0"][1:]
    assert max(found) < 1.5e9
    assert min(found) > 0.5e9


async def test_a_switch_that_falls_idle_tells_so_after_a_while(rig: Rig) -> None:
    for _ in range(4):
        await rig.step()
    for port in rig.box.ports.values():
        port.base, port.rate = int(rig.box.now * port.rate), 0.0
    results = [await rig.step() for _ in range(5)]
    assert [bool(octets(result)) for result in results][-1]
    assert octets(results[-1])["Ethernet0"][0] >= (results[-1].points[0].time_ns - START_NS) / 1e9 - 30


async def test_an_idle_switch_is_told_with_each_poll_for_hours(rig: Rig) -> None:
    for port in rig.box.ports.values():
        port.rate = 0.0
    # The first minute it may be one that refreshes each minute.
    results = [await rig.step() for _ in range(240)][3:]
    assert all(octets(result).keys() == {"Ethernet0", "Ethernet4", "Ethernet8"} for result in results)
    assert results[-1].resets == 0


@pytest.mark.parametrize("step_s", [-3600.0, -29.0, -5.0, 5.0, 3600.0])
async def test_a_wall_clock_that_is_set_makes_no_rate_jump(rig: Rig, step_s: float) -> None:
    results = [await rig.step() for _ in range(4)]
    rig.wall = step_s
    results += [await rig.step() for _ in range(8)]
    samples = [octets(result)["Ethernet4"] for result in results if octets(result)]
    for (t0, v0), (t1, v1) in pairwise(samples):
        assert t1 > t0
        assert (v1 - v0) / (t1 - t0) < 1.6 * 3e9
    assert len(samples) > 4 or any("clock was set back" in line for result in results for line in result.missing)


async def test_long_and_short_polls_are_no_boots(rig: Rig) -> None:
    """A wait for a refresh makes one poll 8 s longer than the next: the boot clock is read at the start of each."""
    rig.box.period = 7.9
    results = [await rig.step(10) for _ in range(60)]
    assert results[-1].resets == 0


async def test_the_boot_clock_may_wrap_and_the_agent_may_lack_it(rig: Rig) -> None:
    rig.box.booted = -(2**32 / 100) + 100
    results = [await rig.step() for _ in range(6)]
    assert results[-1].resets == 0
    rig.box.uptime_hidden = True
    rig.box.started = rig.box.now
    results = [await rig.step() for _ in range(2)]
    assert results[-1].resets == 0


async def test_counters_at_the_end_of_64_bits_wrap_without_a_spike(rig: Rig, tmp_path: Path) -> None:
    for port in rig.box.ports.values():
        port.base = 2**64 - int(150 * port.rate) - 1
    results = [await rig.step() for _ in range(10)]
    found = rates(tmp_path, results)["Ethernet0"]
    assert min(found) >= 0
    assert max(found) < 1.15e9


async def test_a_chassis_of_a_thousand_ports_is_read_within_its_deadline(rig: Rig) -> None:
    rig.box.ports = {index: Port(f"etp{index}", 1e8) for index in range(1, 1001)}
    results = [await rig.step() for _ in range(2)]
    assert [len(octets(result)) for result in results] == [1000, 1000]


async def test_an_agent_that_hangs_from_the_start_is_told_as_such(rig: Rig) -> None:
    rig.opened._client._session._timeout_s = 0.1  # type: ignore[attr-defined]
    rig.box.mute = lambda oids: any(each[:7] != (1, 3, 6, 1, 2, 1, 1) and each[6] != 25 for each in oids)
    result = await rig.step()
    assert "a subagent hangs or is slow" in result.missing[0]
    states = [p.fields["agent_state"] for p in result.points if p.measurement == "switch"]
    assert states == [2]


async def test_sessions_that_silence_opened_anew_are_counted(rig: Rig) -> None:
    rig.opened._client._session._timeout_s = 0.1  # type: ignore[attr-defined]
    assert (await rig.step()).reconnects == 0
    rig.box.mute = lambda _: True
    with pytest.raises(DeviceTimeoutError):
        await rig.step()
    rig.box.mute = lambda _: False
    assert (await rig.step()).reconnects == 2


@pytest.mark.parametrize("community", ["p@ss:w/rd?#%", "Gruß"])
async def test_a_community_may_hold_any_character(rig: Rig, community: str) -> None:
    url = parse_target_url(f"snmp://{quote(community, safe='')}@{rig.target.address}?priorities=all")
    rig.target = replace(rig.target, username=url.username, options=url.options)
    rig.box.community = community.encode()
    rig.opened = rig.open()
    assert octets(await rig.step()).keys() == {"Ethernet0", "Ethernet4", "Ethernet8"}


async def test_a_name_with_an_address_that_nobody_answers_at_is_asked_at_the_next(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """localhost is ::1 and 127.0.0.1; the agent has the second alone."""
    port = int(rig.target.address.rpartition(":")[2])

    async def both(*_: object, **__: object) -> list[Any]:
        return [(0, 0, 0, "", ("::1", port, 0, 0)), (0, 0, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    rig.target = replace(rig.target, address=f"leaf-1.example:{port}")
    rig.opened = rig.open()
    rig.opened._client._session._timeout_s = 0.2  # type: ignore[attr-defined]
    assert octets(await rig.step())
