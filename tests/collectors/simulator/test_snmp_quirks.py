"""The weaknesses of the simulator's SNMP agents and the tables that they serve, asked by gufo-snmp and by bytes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from gufo.snmp import SnmpVersion
from gufo.snmp.aio import SnmpSession

from collectors.simulator import ber, quirks, sonic_entity, sonic_lldp, sonic_mib
from collectors.simulator import snmp as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Service

START = 1_760_000_000.0
HC_IN, HC_OUT = (*sonic_mib.IFX, 6), (*sonic_mib.IFX, 10)
SYS_UPTIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)
#: Ethernet40
INDEX = 41


@dataclass(slots=True)
class Site:
    """leaf-1 of a site of 64 GPUs, by SNMP, on a clock of its own."""

    factory: Factory
    now: float
    service: Service = field(init=False)
    session: Any = field(init=False)

    @property
    def port(self) -> int:
        url = next(device.url for device in self.service.devices if device.name == "leaf-1")
        return int(url.rpartition(":")[2].partition("?")[0])

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.factory.advance(self.now)

    def set(self, name: str, value: object) -> None:
        quirks.switch(self.factory.quirks["leaf-1"], name, value, self.factory.layout.switches[0].ports)

    async def get(self, *oids: tuple[int, ...]) -> dict[tuple[int, ...], Any]:
        found = await self.session.get_many([text(oid) for oid in oids])
        return {tuple(map(int, oid.split("."))): value for oid, value in found.items()}

    async def walk(self, oid: tuple[int, ...]) -> dict[tuple[int, ...], Any]:
        return {tuple(map(int, found.split("."))): value async for found, value in self.session.getbulk(text(oid))}


def text(oid: tuple[int, ...]) -> str:
    return ".".join(map(str, oid))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(Factory(build_layout(64), seed=1, start=START), START + 0.25)
    made.service = await simulator.start(made.factory, lambda: made.now)
    async with SnmpSession(
        addr="127.0.0.1", port=made.port, community="public", version=SnmpVersion.v2c, timeout=60.0
    ) as session:
        made.session = session
        yield made
    await made.service.close()


async def test_tables_are_refreshed_three_to_seven_seconds_apart_each_by_its_own_clock(site: Site) -> None:
    site.factory.hold_rates("leaf-1", "Ethernet40", rx_bytes=1e6, pfc_rx=1e6)
    site.pass_time(10)
    cells = {"ifXTable": (*HC_IN, INDEX), "ifTable": (*sonic_mib.IF, 10, INDEX), "pfc": (*sonic_mib.PFC, 3, INDEX, 3)}
    changes: dict[str, list[float]] = {name: [] for name in cells}
    last: dict[str, int] = {}
    for _ in range(240):
        site.now += 0.25
        site.factory.advance(site.now)
        found = await site.get(*cells.values())
        for name, oid in cells.items():
            if name in last and found[oid] != last[name]:
                changes[name].append(site.now)
            last[name] = found[oid]
    for times in changes.values():
        gaps = [later - sooner for sooner, later in pairwise(times)]
        # seen on a grid of 0.25 s
        assert min(gaps) >= 2.75
        assert max(gaps) <= 7.25
        assert 9 <= len(times) <= 20
    assert len({tuple(times) for times in changes.values()}) == 3


async def test_a_refresh_shows_what_was_so_at_its_instant(site: Site) -> None:
    """Values grow by 1e6 a second exactly: between two refreshes by 1e6 x their distance, a whole number of seconds."""
    site.factory.hold_rates("leaf-1", "Ethernet40", rx_bytes=1e6)
    site.pass_time(10)
    seen = []
    for _ in range(60):
        site.pass_time(1)
        seen.append((await site.get((*HC_IN, INDEX)))[(*HC_IN, INDEX)])
    steps = {later - sooner for sooner, later in pairwise(seen)} - {0}
    assert {round(step / 1e6) for step in steps} <= {3, 4, 5, 6, 7}
    assert all(step == pytest.approx(1e6 * round(step / 1e6), abs=2) for step in steps)


async def test_without_the_cache_counters_are_exact_and_states_are_always_live(site: Site) -> None:
    site.pass_time(20)
    site.set("cache", False)
    switches = site.factory.state.switches
    assert (await site.get((*HC_IN, INDEX)))[(*HC_IN, INDEX)] == int(switches.rx_bytes.at(site.now, (0, 5)))
    site.set("cache", True)
    site.factory.faults.inject("port_down", "leaf-1/Ethernet40", site.now)
    site.pass_time(1)
    status = [(*sonic_mib.IF, column, INDEX) for column in (7, 8)]
    assert list((await site.get(*status)).values()) == [1, 2]


async def test_a_walk_stops_at_a_missing_cell_and_a_get_does_not(site: Site) -> None:
    site.set("missing", ["Ethernet40 SAI_PORT_STAT_IF_IN_OCTETS"])
    walked = [oid[-1] for oid in await site.walk(HC_IN)]
    # Ethernet0 to Ethernet32
    assert walked == [1, 9, 17, 25, 33]
    found = await site.get((*HC_IN, INDEX), (*HC_IN, INDEX + 8), (*HC_OUT, INDEX))
    assert (*HC_IN, INDEX) not in found
    assert len(found) == 2
    assert len(await site.walk(HC_OUT)) == 64 + 3
    site.set("truncated_walks", False)
    assert len(await site.walk(HC_IN)) == 64 + 3 - 1
    site.set("missing", [])
    assert len(await site.walk(HC_IN)) == 64 + 3


async def test_pfc_and_queue_cells_can_be_missing_too(site: Site) -> None:
    pfc, queue = (*sonic_mib.PFC, 3, INDEX, 3), (*sonic_mib.QUEUE, INDEX, 2, 4, 2)
    assert len(await site.get(pfc, queue)) == 2
    site.set("missing", ["Ethernet40 SAI_PORT_STAT_PFC_3_RX_PKTS", "Ethernet40:3 SAI_QUEUE_STAT_BYTES"])
    assert await site.get(pfc, queue) == {}


async def test_a_dead_agent_has_no_tables_while_system_and_host_answer(site: Site) -> None:
    own = ((*HC_IN, INDEX), (*sonic_mib.PFC, 3, INDEX, 3), (*sonic_entity.SENSOR, 4, 200_990_110))
    host = (SYS_UPTIME, sonic_mib.HR_UPTIME, (*sonic_mib.UCD_MEMORY, 5, 0))
    assert len(await site.get(*own, *host)) == 6
    site.set("agent", "dead")
    assert (await site.get(*own, *host)).keys() == set(host)
    assert await site.walk(sonic_mib.IFX) == {}
    site.set("agent", "ok")
    site.factory.faults.inject("snmp_agent_dead", "leaf-1", site.now, 5)
    site.pass_time(1)
    assert (await site.get(*own, *host)).keys() == set(host)
    site.pass_time(6)
    assert len(await site.get(*own, *host)) == 6


async def test_a_hung_agent_never_answers_for_tables(site: Site) -> None:
    """The request for a table is answered by nothing; the one behind it, for the host, is the first answer."""
    site.set("agent", "hung")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        loop = asyncio.get_running_loop()
        for number, oid in enumerate(((*HC_IN, INDEX), (*HC_IN, INDEX), sonic_mib.HR_UPTIME), start=1):
            tag = ber.GETNEXT if number == 2 else ber.GET
            message = ber.write_message(tag, b"public", number, [(oid, (ber.NULL, None))])
            await loop.sock_sendto(asking, message, ("127.0.0.1", site.port))
        answer, _ = await asyncio.wait_for(loop.sock_recvfrom(asking, 65_535), 60)
    assert answer.find(b"\x02\x01\x03") > 0
    assert ber.encode_oid(sonic_mib.HR_UPTIME) in answer


@pytest.mark.parametrize(
    ("vendor", "indexes", "descr", "name"),
    [
        ("community", {10_000, 1_001, 2_100}, "etp6", "etp6"),
        ("edgecore", {1_000, 10_001, 30_100}, "Ethernet40", "etp6"),
        ("dell", {1_000, 10_001, 30_100}, "Eth1/6", "Eth1/6"),
    ],
)
async def test_vendors_number_and_name_in_their_own_way(
    site: Site, vendor: str, indexes: set[int], descr: str, name: str
) -> None:
    site.set("vendor", vendor)
    types = {oid[-1]: value for oid, value in (await site.walk((*sonic_mib.IF, 3))).items()}
    assert {index for index in types if index > 505} == indexes
    assert sorted(types.values())[-2:] == [136, 161]
    found = await site.get((*sonic_mib.IF, 2, INDEX), (*sonic_mib.IFX, 1, INDEX), (1, 3, 6, 1, 2, 1, 1, 1, 0))
    assert [value.decode() for value in found.values()][:2] == [descr, name]
    described = found[(1, 3, 6, 1, 2, 1, 1, 1, 0)].decode()
    assert described.startswith('"SONiC Software' if vendor == "dell" else "SONiC Software")
    fan = (await site.get((*sonic_entity.SENSOR, 4, 501_020_120)))[(*sonic_entity.SENSOR, 4, 501_020_120)]
    ratio = site.factory.state.switches.fan_ratio[0]
    assert fan == round((12_000 if vendor == "dell" else 100) * ratio)


async def test_a_lag_is_the_sum_of_its_members_that_are_up(site: Site) -> None:
    site.set("cache", False)
    site.pass_time(5)
    oids = ((*HC_IN, 1_001), (*sonic_mib.IFX, 15, 1_001), (*sonic_mib.IF, 8, 1_001), (*sonic_mib.IF, 5, 1_001))
    octets = site.factory.state.switches.rx_bytes.at(site.now, 0)
    assert list((await site.get(*oids)).values()) == [int(octets[62]) + int(octets[63]), 800_000, 1, 0]
    site.factory.faults.inject("port_down", "leaf-1/Ethernet504", site.now)
    site.pass_time(1)
    octets = site.factory.state.switches.rx_bytes.at(site.now, 0)
    assert list((await site.get(*oids)).values()) == [int(octets[62]), 400_000, 1, 0]
    site.factory.faults.inject("port_down", "leaf-1/Ethernet496", site.now)
    site.pass_time(1)
    assert list((await site.get(*oids)).values()) == [0, 0, 2, 0]


async def test_queues_count_from_one(site: Site) -> None:
    site.set("cache", False)
    site.factory.faults.inject("congestion", "leaf-1/Ethernet40", site.now)
    site.pass_time(10)
    row = (*sonic_mib.QUEUE, INDEX, 2)
    found = await site.walk(row)
    assert {oid[-2] for oid in found} == set(range(1, 9))
    assert {oid[-1] for oid in found} == set(range(1, 9))
    switches, at = site.factory.state.switches, (0, 5)
    lossless = [found[(*row, 4, stat)] for stat in (1, 2, 5, 6)]
    counters = (switches.tx_unicast, switches.tx_bytes, switches.queue_drops, switches.queue_drop_bytes)
    assert lossless == [int(each.at(site.now, at)) for each in counters]
    assert lossless[2] > 2_000
    assert not any(value for oid, value in found.items() if oid[-2] != 4)


async def test_optics_are_milliwatts_by_lane_and_lanes_without_light_read_zero(site: Site) -> None:
    site.pass_time(12)
    base = 1_000_000_000 + 100 * INDEX
    value, status = (*sonic_entity.SENSOR, 4), (*sonic_entity.SENSOR, 5)
    found = await site.get(
        *((*value, base + 30 + lane) for lane in (1, 4, 5)), (*status, base + 31), (*status, base + 35)
    )
    dbm = site.factory.state.switches.rx_dbm[0, 5]
    expected = [round(1e4 * 10 ** (dbm[lane] / 10)) for lane in (0, 3)]
    assert list(found.values()) == [*expected, 0, 1, 2]
    scales = await site.get(*((*sonic_entity.SENSOR, column, base + 31) for column in (1, 2, 3)))
    # watts, milli, four digits
    assert list(scales.values()) == [6, 8, 4]
    celsius = (await site.get((*value, base + 10)))[(*value, base + 10)]
    assert celsius / 1e6 == pytest.approx(site.factory.state.switches.module_celsius[0, 5], abs=1e-6)
    site.factory.faults.inject("port_down", "leaf-1/Ethernet40", site.now)
    site.pass_time(1)
    dark = await site.get((*value, base + 31), (*status, base + 31))
    assert list(dark.values()) == [0, 1]


async def test_supplies_tell_their_state_and_parts_their_makers(site: Site) -> None:
    supplies = ((*sonic_entity.PSU_STATE, 1), (*sonic_entity.PSU_STATE, 2))
    assert list((await site.get(*supplies)).values()) == [2, 2]
    site.factory.faults.inject("switch_psu_lost", "leaf-1/PSU2", site.now)
    site.pass_time(1)
    assert list((await site.get(*supplies)).values()) == [2, 7]
    module = 1_000_000_000 + 100 * INDEX
    made = await site.get(*((*sonic_entity.PHYSICAL, column, module) for column in (7, 11, 12, 13)))
    assert [value.decode() for value in made.values()] == ["Ethernet40", "Q0000005", "ACME", "Q56-400G-DR4"]
    # a lane that the module lacks has a sensor, but no row among the parts
    assert await site.get((*sonic_entity.PHYSICAL, 2, module + 35)) == {}


@pytest.mark.parametrize(("vendor", "mark"), [("community", 0), ("dell", sonic_lldp.TIME_MARK)])
async def test_lldp_names_the_nic_behind_a_port(site: Site, vendor: str, mark: int) -> None:
    site.set("vendor", vendor)
    row = (mark, INDEX, 6)
    found = await site.get(*((*sonic_lldp.REMOTE, column, *row) for column in (5, 7, 9)))
    host = next(host for host in site.factory.layout.hosts if host.switch == "leaf-1" and 5 in host.ports)
    assert [value.decode() for value in found.values()] == ["02:10:00:00:00:00", "eth5", host.name]
    addresses = [
        oid
        for oid in await site.walk((*sonic_lldp.REMOTE_ADDRESS, 3))
        if oid[len(sonic_lldp.REMOTE_ADDRESS) + 2] == INDEX
    ]
    # the real time mark, ifIndex, remote index, IPv4 of four bytes, and the address
    assert [oid[len(sonic_lldp.REMOTE_ADDRESS) + 1 :] for oid in addresses] == [
        (sonic_lldp.TIME_MARK, INDEX, 6, 1, 4, 10, 1, 0, 0)
    ]
    far = await site.get((*sonic_lldp.REMOTE, 9, mark, 505, 64))
    assert next(iter(far.values())).decode() == "spine-2"


async def test_restarts_show_on_their_clocks(site: Site) -> None:
    site.set("cache", False)
    site.pass_time(10)
    oids = (SYS_UPTIME, sonic_mib.HR_UPTIME, (*HC_IN, INDEX))
    before = list((await site.get(*oids)).values())
    site.factory.restart_snmp("leaf-1")
    site.pass_time(2)
    after = list((await site.get(*oids)).values())
    assert after[0] == 225
    assert after[1] > before[1]
    assert after[2] >= before[2]
    site.factory.reboot_switch("leaf-1")
    site.pass_time(3)
    again = list((await site.get(*oids)).values())
    assert again[:2] == [325, 325]
    assert again[2] < before[2]
