"""CDUs over Redfish: our collector against the simulator's web servers."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import aiohttp
import pytest
from devices import target_of
from wire import tapped

from collectors.collector import CollectError, Collector, DeviceRefusedError, PollResult, Pushing
from collectors.profile import load_profile
from collectors.redfish import collector
from collectors.simulator import redfish as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Device, Service
from storage.point import Point

START = 1_760_000_000.0
SESSIONS = "/redfish/v1/SessionService/Sessions"
REQUEST_LINE = re.compile(rb"([A-Z]+) (/\S*) HTTP/1\.1\r\n")


@dataclass(slots=True)
class Site:
    """A factory whose clock stands still, and its Redfish servers."""

    factory: Factory
    service: Service = field(init=False)
    opened: list[Collector] = field(default_factory=list)

    @property
    def device(self) -> Device:
        return self.service.devices[0]

    @property
    def index(self) -> int:
        return next(i for i, cdu in enumerate(self.factory.layout.cdus) if cdu.name == self.device.name)

    def open(self, name: str = "", **changes: object) -> Collector:
        device = next(device for device in self.service.devices if device.name == (name or self.device.name))
        target = replace(target_of(device, timeout=timedelta(seconds=20)), **changes)  # type: ignore[arg-type]
        made = collector.open_collector(target, load_profile(str(device.profile)))
        self.opened.append(made)
        return made


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(Factory(build_layout(64), seed=1, start=START))
    made.service = await simulator.start(made.factory, lambda: START)
    yield made
    for each in made.opened:
        await each.aclose()
    await made.service.close()


def of(result: PollResult, measurement: str, **tags: str) -> Point:
    found = [p for p in result.points if p.measurement == measurement and tags.items() <= p.tags.items()]
    assert len(found) == 1, (measurement, tags, len(found))
    return found[0]


async def test_a_cdu_says_what_the_factory_knows_to_the_last_decimal_it_shows(site: Site) -> None:
    result = await site.open().poll(1)
    cdus, index = site.factory.state.cdus, site.index
    assert result.missing == ()
    assert result.rejected == ()
    for loop in ("fws", "tcs"):
        here = {"kind": "cdu", "loop": loop}
        for point in ("supply", "return"):
            read = of(result, "coolant", point=point, **here).fields
            celsius = float(getattr(cdus, f"{loop}_{point}_celsius")[index])
            pascals = float(getattr(cdus, f"{loop}_{point}_pascals")[index])
            assert read["temperature_celsius"] == pytest.approx(celsius, abs=0.0005)
            assert read["pressure_pascals"] == pytest.approx(pascals, abs=5.0)
        [whole] = [
            p.fields for p in result.points if p.tags.get("loop") == loop and not {"point", "pump"} & p.tags.keys()
        ]
        flow = float(getattr(cdus, f"{loop}_flow_liters_per_second")[index])
        assert whole["flow_liters_per_second"] == pytest.approx(flow, abs=0.005 / 60 * 1.001)
        assert whole["heat_reported_watts"] == pytest.approx(float(cdus.heat_watts[index]), abs=0.5)
        # 0.001 K at both ends of 8 K or more, and 0.005 L/min of 30: within 0.03 %
        assert whole["heat_watts"] == pytest.approx(float(cdus.heat_watts[index]), rel=5e-4)
    for pump in range(2):
        read = of(result, "coolant", pump=str(pump + 1)).fields
        assert read["pump_speed_ratio"] == pytest.approx(float(cdus.pump_ratio[index, pump]), abs=5.1e-5)
        assert read["pump_speed_rpm"] == pytest.approx(float(cdus.pump_rpm[index, pump]), abs=0.5)
        assert read["pump_state"] == 1
    power = of(result, "power", circuit="total", side="input", kind="cdu").fields["active_watts"]
    assert power == pytest.approx(float(cdus.power_watts[index]), abs=0.005)
    assert of(result, "leak", detector="Moisture").fields["state"] == 0


async def test_leak_and_pump_faults_reach_the_next_poll(site: Site) -> None:
    cdu = site.open()
    await cdu.poll(1)
    for kind in ("leak", "pump_lost"):
        site.factory.faults.inject(kind, site.device.name, START, None)
    site.factory.advance(START + 1.0)
    result = await cdu.poll(2)
    assert of(result, "leak", detector="Moisture").fields["state"] == 2
    assert of(result, "coolant", pump="1").fields["pump_state"] == 2


async def test_nothing_but_the_own_session_is_written(site: Site) -> None:
    async with tapped(int(target_of(site.device).address.rpartition(":")[2])) as wire:
        cdu = site.open(address=f"127.0.0.1:{wire.port}")
        await cdu.poll(1)
        await cdu.poll(2)
        await cdu.aclose()
        requests = [found for sent in wire.sent for found in REQUEST_LINE.findall(bytes(sent))]
        assert len(wire.sent) <= 2  # the allowed connections
    writes = {request for request in requests if request[0] != b"GET"}
    assert writes == {(b"POST", SESSIONS.encode()), (b"DELETE", f"{SESSIONS}/1".encode())}
    assert len(requests) > 20


async def test_a_silent_cdu_fails_and_comes_back(site: Site) -> None:
    cdu = site.open()
    await cdu.poll(1)
    site.factory.silent.add(site.device.name)
    with pytest.raises(DeviceRefusedError, match=rf"{site.device.name} 127\.0\.0\.1:\d+: GET /redfish/v1"):
        await cdu.poll(2)
    site.factory.silent.clear()
    assert (await cdu.poll(3)).missing == ()


async def test_a_slow_cdu_gives_what_came_in_time(site: Site) -> None:
    cdu = site.open()
    await cdu.poll(1)
    site.factory.slow[site.device.name] = 6.0
    assert isinstance(cdu, collector.RedfishCollector)
    cdu._target = replace(cdu._target, timeout=timedelta(seconds=2))
    with pytest.raises(CollectError, match="timeout"):
        await cdu.poll(2)


async def test_a_restarted_server_is_found_again(site: Site) -> None:
    async with tapped(int(target_of(site.device).address.rpartition(":")[2])) as wire:
        cdu = site.open(address=f"127.0.0.1:{wire.port}")
        await cdu.poll(1)
        await wire.pull()
        with pytest.raises(DeviceRefusedError):
            await cdu.poll(2)
        await wire.plug()
        assert (await cdu.poll(3)).points
        await cdu.aclose()


async def test_strangers_see_the_root_only_and_change_nothing(site: Site) -> None:
    address = target_of(site.device).address
    async with aiohttp.ClientSession(f"http://{address}") as session:
        for method, path, status in (
            ("GET", "/redfish/v1/", 200),
            ("GET", "/redfish/v1/ThermalEquipment/CDUs/1", 401),
            ("POST", SESSIONS, 401),
            ("PATCH", "/redfish/v1/ThermalEquipment/CDUs/1/Pumps/1", 405),
            ("DELETE", f"{SESSIONS}/99", 404),
        ):
            body = {"UserName": "monitor", "Password": "guess"} if method == "POST" else None
            async with session.request(method, path, json=body) as answer:
                assert answer.status == status, (method, path)


#: classes that no device of the site itself is of
OTHERS = [("redfish_power_shelf", "shelf", 0), ("redfish_rack_pdu", "pdu", 0), ("redfish_leak_detectors", "leak", 0)]


@pytest.fixture
async def others(site: Site) -> Site:
    await site.service.close()
    site.service = await simulator.serve(site.factory, OTHERS, lambda: START)
    return site


async def test_small_sites_have_a_bmc_for_each_node_that_tells_its_power(site: Site) -> None:
    hosts, nodes = site.factory.layout.hosts, site.factory.state.nodes
    bmcs = [device for device in site.service.devices if device.profile == "redfish_environment"]
    assert [(device.name, device.host) for device in bmcs] == [(f"bmc-{host.name}", host.name) for host in hosts]
    result = await site.open("bmc-" + hosts[3].name, tags={"host": hosts[3].name}).poll(1)
    [whole] = [p for p in result.points if p.measurement == "power"]
    assert whole.tags == {"host": hosts[3].name, "kind": "node", "scope": "node", "circuit": "total", "side": "input"}
    assert whole.fields["active_watts"] == pytest.approx(float(nodes.power_watts[3]), abs=0.05)
    # 0.0001 kWh are 360 J
    assert whole.fields["energy_joules_total"] == pytest.approx(float(nodes.energy_joules.at(START, 3)), abs=181.0)


async def test_large_sites_have_none() -> None:
    service = await simulator.start(Factory(build_layout(136), seed=1, start=START), lambda: START)
    await service.close()
    assert not [device for device in service.devices if device.profile != "redfish_cdu"]


async def test_a_shelf_tells_sum_bus_and_supplies(others: Site) -> None:
    shelves = others.factory.state.shelves
    result = await others.open("shelf").poll(1)
    assert result.missing == result.rejected == ()
    count = len(others.factory.layout.shelves[0].units)
    total = of(result, "power", circuit="total", side="input").fields["active_watts"]
    assert total == pytest.approx(float(shelves.input_watts[0]), abs=0.05)
    output = of(result, "power", circuit="total", side="output").fields["active_watts"]
    assert output == pytest.approx(float(shelves.output_watts[0]), abs=0.05 * count)
    assert of(result, "bus", pole="total").fields["voltage_volts"] == pytest.approx(
        float(shelves.bus_volts[0]), abs=0.005
    )
    for place, unit in enumerate(others.factory.layout.shelves[0].units):
        supply = of(result, "power", circuit=f"psu-{unit}", side="output").fields
        assert supply["active_watts"] == pytest.approx(float(shelves.psu_output_watts[0, place]), abs=0.05)
        assert supply["state"] == 0


async def test_a_silent_supply_withholds_the_sum_over_all_and_a_lost_one_is_told(others: Site) -> None:
    shelf = others.factory.layout.shelves[0]
    others.factory.state.shelves.psu_silent[0, 1] = True
    others.factory.state.shelves.psu_ok[0, 2] = False
    result = await others.open("shelf").poll(1)
    assert not [p for p in result.points if p.tags.get("circuit") == "total" and p.tags["side"] == "output"]
    assert [line for line in result.missing if f"{shelf.units[1]}/Metrics OutputPowerWatts.Reading" in line]
    assert of(result, "power", circuit=f"psu-{shelf.units[2]}", side="output").fields["state"] == 2


async def test_a_rack_pdu_tells_sum_and_phases(others: Site) -> None:
    pdus = others.factory.state.pdus
    result = await others.open("pdu").poll(1)
    assert result.missing == result.rejected == ()
    total = of(result, "power", circuit="total", side="input").fields
    assert total["active_watts"] == pytest.approx(float(pdus.watts[0]), abs=0.05)
    assert total["apparent_volt_amperes"] == pytest.approx(float(pdus.volt_amperes[0]), abs=0.05)
    amperes = pdus.phase_amperes[0]
    spread = max(abs(amperes - amperes.mean())) / amperes.mean()
    # 0.005 A at each phase of some 5 A or more
    assert total["imbalance_ratio"] == pytest.approx(float(spread), abs=4e-3)
    for phase in range(3):
        line = of(result, "power", circuit="mains-AC1", phase=f"L{phase + 1}").fields
        assert line["current_amperes"] == pytest.approx(float(amperes[phase]), abs=0.005)
        assert line["voltage_volts"] == pytest.approx(float(pdus.phase_volts[0, phase]), abs=0.05)


async def test_a_leak_comes_by_event_before_the_next_poll(others: Site) -> None:
    pushed: asyncio.Queue[Sequence[Point]] = asyncio.Queue()
    box = others.open("leak")
    assert isinstance(box, Pushing)
    box.listen(pushed.put_nowait)
    assert of(await box.poll(1), "leak", level="rack").fields == {"state": 0}
    # Until the stream is open nothing is told: what is wet before is seen by a poll.
    async with asyncio.timeout(60):
        while not pushed.qsize():
            others.factory.state.racks.leak[0] ^= 1
            await asyncio.sleep(0.3)
    others.factory.state.racks.leak[0] = 1
    async with asyncio.timeout(60):
        while dict((await pushed.get())[0].fields) != {"state": 2}:
            pass
