"""The SNMP agents of the simulator, read by our collector (gufo-snmp) and by net-snmp's own commands."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from devices import target_of
from services import program

from collectors.collector import AuthenticationError, DeviceTimeoutError, PollResult
from collectors.profile import Profile, load_profile
from collectors.simulator import snmp as simulator
from collectors.simulator import sonic_mib
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.mib import Mib, MibBuilder
from collectors.simulator.service import Device, Service
from collectors.simulator.sonic import Leaf
from collectors.snmp import collector
from storage.point import Point

START = 1_760_000_000.0
#: sixteen racks: two SNMP switches, one of v2c and one of v3
GPUS = 256


@dataclass(slots=True)
class Site:
    """A factory, its agents, and the clock that both live by."""

    factory: Factory
    now: float
    service: Service = field(init=False)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.factory.advance(self.now)

    def device(self, name: str) -> Device:
        return next(device for device in self.service.devices if device.name == name)

    def index(self, name: str) -> int:
        return next(i for i, switch in enumerate(self.factory.layout.switches) if switch.name == name)

    async def poll(self, name: str) -> PollResult:
        device = self.device(name)
        profile = load_still(device.profile or "")
        opened = collector.open_collector(target_of(device), profile)
        return await opened.poll(int(self.now * 1e9))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(Factory(build_layout(GPUS), seed=1, start=START), START + 0.25)
    for quirks in made.factory.quirks.values():
        quirks.cache = False
    made.service = await simulator.start(made.factory, lambda: made.now)
    yield made
    await made.service.close()


def load_still(name: str) -> Profile:
    """Return a profile that waits for no refresh, of which a clock that stands brings none, nor beyond its target's."""
    profile = load_profile(name)
    transport = {key: value for key, value in profile.transport.items() if key != "anchor"}
    poll = profile.poll.model_copy(update={"deadline": "0s"})
    return profile.model_copy(update={"transport": transport, "poll": poll})


def of(result: PollResult, measurement: str, **tags: str) -> Point:
    found = [p for p in result.points if p.measurement == measurement and tags.items() <= p.tags.items()]
    assert len(found) == 1, (measurement, tags, len(found))
    return found[0]


async def test_each_snmp_switch_and_each_pdu_has_an_agent_of_its_version(site: Site) -> None:
    layout = site.factory.layout
    switches = {s.name: s.snmp_version for s in layout.switches if s.protocol == "snmp"}
    assert {d.name for d in site.service.devices} == {*switches, *(pdu.name for pdu in layout.pdus)}
    assert set(switches.values()) == {"2c", "3"}
    for name, version in switches.items():
        assert f"version={version}" in site.device(name).url


@pytest.mark.parametrize("name", ["leaf-1", "leaf-3"])
async def test_interface_counters_equal_the_factory_to_the_last_byte(site: Site, name: str) -> None:
    site.pass_time(30)
    result = await site.poll(name)
    state, row, switch = site.factory.state.switches, site.index(name), site.factory.layout.switches[site.index(name)]
    for port in range(len(switch.ports)):
        fields = of(result, "interface", interface=switch.ports[port]).fields
        for to, counters in {
            "rx_bytes_total": state.rx_bytes,
            "tx_bytes_total": state.tx_bytes,
            "rx_unicast_total": state.rx_unicast,
            "tx_discards_total": state.tx_discards,
            "rx_errors_total": state.rx_errors,
        }.items():
            assert fields[to] == int(counters.at(site.now, (row, port))), (switch.ports[port], to)
        assert fields["oper_up"] == int(state.oper_up[row, port])
        assert fields["speed_bits_per_second"] == switch.speed_bits_per_second
    assert result.missing == ()
    assert result.rejected == ()


async def test_ports_bear_sonic_names_though_the_agent_says_aliases(site: Site) -> None:
    result = await site.poll("leaf-1")
    switch = site.factory.layout.switches[0]
    ports = [p.tags for p in result.points if p.measurement == "interface" and p.tags["kind"] == "port"]
    assert {(tags["interface"], tags["alias"]) for tags in ports} == set(zip(switch.ports, switch.aliases, strict=True))
    assert of(result, "interface", kind="mgmt").tags["interface"] == "eth0"


async def test_pfc_of_the_lossless_priority_and_zero_of_the_other(site: Site) -> None:
    site.factory.faults.inject("pfc_storm", "leaf-1/Ethernet8", site.now, None)
    site.pass_time(20)
    result = await site.poll("leaf-1")
    received = site.factory.state.switches.pfc_rx.at(site.now, (0, 1))
    assert int(received) > 10_000
    assert of(result, "pfc", interface="Ethernet8", priority="3").fields["rx_frames_total"] == int(received)
    assert of(result, "pfc", interface="Ethernet8", priority="4").fields["rx_frames_total"] == 0


async def test_switch_power_is_the_sum_of_its_supplies(site: Site) -> None:
    result = await site.poll("leaf-1")
    watts = site.factory.state.switches.psu_watts[0]
    for supply, expected in enumerate(watts):
        point = of(result, "power", circuit=f"psu-{supply + 1}")
        assert point.tags["side"] == "output"
        assert point.fields["active_watts"] == pytest.approx(expected, abs=0.001)
    assert of(result, "power", circuit="total").fields["active_watts"] == pytest.approx(watts.sum(), abs=0.002)


async def test_switch_tells_version_model_and_boot_clock(site: Site) -> None:
    fields = of(await site.poll("leaf-3"), "switch").fields
    assert str(fields["version"]).startswith("SONiC.202411")
    assert fields["hwsku"] == "ACS-TW6400-64x400G"
    row = site.index("leaf-3")
    booted = site.now - site.factory.state.switches.boot_time[row]
    assert fields["uptime_seconds"] == pytest.approx(booted % (2**32 / 100), abs=0.01)
    assert fields["cpu_ratio"] == pytest.approx(site.factory.state.switches.cpu_ratio[row], abs=0.005)


async def test_pdu_gives_total_and_phases_in_the_steps_of_its_mib(site: Site) -> None:
    site.pass_time(10)
    result = await site.poll(site.factory.layout.pdus[0].name)
    pdus = site.factory.state.pdus
    total = of(result, "power", circuit="total")
    assert total.tags["kind"] == "rack_pdu"
    assert total.tags["side"] == "input"
    assert total.fields["active_watts"] == pytest.approx(pdus.watts[0], abs=5.01)
    assert total.fields["apparent_volt_amperes"] == pytest.approx(pdus.volt_amperes[0], abs=5.01)
    assert total.fields["energy_joules_total"] == pytest.approx(pdus.energy_joules.at(site.now, 0), abs=3.6e5)
    assert total.fields["rated_watts"] == site.factory.layout.pdus[0].rated_watts
    for phase in range(3):
        fields = of(result, "power", circuit="phase", phase=str(phase + 1)).fields
        assert fields["current_amperes"] == pytest.approx(pdus.phase_amperes[0, phase], abs=0.051)
        assert fields["voltage_volts"] == pytest.approx(pdus.phase_volts[0, phase], abs=0.51)


async def test_identify_recognises_switch_and_pdu_among_all(site: Site) -> None:
    candidates = [load_still(name) for name in ("net_snmp", "sonic_snmp", "apc_rpdu2")]
    for device in site.service.devices:
        assert (await collector.identify(target_of(device), candidates)).profile == device.profile


async def test_a_silent_device_times_out_while_its_neighbour_answers(site: Site) -> None:
    site.factory.faults.register_devices(d.name for d in site.service.devices)
    site.factory.faults.inject("device_silent", "leaf-1", site.now, 30.0)
    site.pass_time(1)
    target = target_of(site.device("leaf-1"), timeout=timedelta(milliseconds=300))
    opened = collector.open_collector(target, load_still("sonic_snmp"))
    with pytest.raises(DeviceTimeoutError, match="leaf-1"):
        await opened.poll(int(site.now * 1e9))
    assert len((await site.poll("leaf-3")).points) > 64
    site.pass_time(31)
    recovered = collector.open_collector(target_of(site.device("leaf-1")), load_still("sonic_snmp"))
    assert len((await recovered.poll(int(site.now * 1e9))).points) > 64


async def test_a_v3_switch_does_not_answer_to_the_community(site: Site) -> None:
    v2c = replace(target_of(site.device("leaf-3")), options={"version": "2c"}, username="public", password=None)
    opened = collector.open_collector(v2c, load_still("sonic_snmp"))
    with pytest.raises(AuthenticationError, match="refuses this community"):
        await opened.poll(int(site.now * 1e9))


async def test_a_dead_subagent_under_a_living_agent_shows_and_its_ports_come_back(site: Site) -> None:
    """SONiC: the counters' subagent dies, sysUpTime answers on. The rows are kept and asked for until they return."""
    leaf = Leaf(site.factory, 0)
    system = MibBuilder()
    system.system(leaf.description, (1, 3, 6, 1, 4, 1, 8072, 3, 2, 10), "leaf-1", leaf.uptime_seconds)
    system.ticks(sonic_mib.HR_UPTIME, leaf.uptime_seconds)
    whole, bare = sonic_mib.build(leaf), system.build()
    agent = simulator.Agent("leaf-1", whole, "2c", "sonic_snmp")
    service = await simulator.serve(site.factory, [agent], lambda: site.now)
    opened = collector.open_collector(target_of(service.devices[0]), load_still("sonic_snmp"))
    states = []
    for number, mib in enumerate((whole, bare, bare, whole)):
        agent.mib = mib
        result = await opened.poll(int((site.now + 10 * number) * 1e9))
        found = sum(p.measurement == "interface" for p in result.points)
        states.append((of(result, "switch").fields["agent_state"], found))
    ports = len(leaf.switch.ports) + 2  # and eth0 and Vlan100; all ports have hosts, so there is no LAG
    assert states == [(0, ports), (2, 0), (2, 0), (0, ports)]
    await service.close()


async def test_ports_are_looked_for_again_when_the_agent_restarted(site: Site) -> None:
    """The new agent has one port less and its clock went back: long before `poll.slow` the old port is forgotten."""
    leaf = Leaf(site.factory, 0)
    whole = sonic_mib.build(leaf)
    last = sonic_mib.if_index(leaf.switch.ports[-1])
    values = {oid: get for oid, get in whole.values.items() if last not in oid}
    agent = simulator.Agent("leaf-1", whole, "2c", "sonic_snmp")
    service = await simulator.serve(site.factory, [agent], lambda: site.now)
    opened = collector.open_collector(target_of(service.devices[0]), load_still("sonic_snmp"))
    await opened.poll(int(site.now * 1e9))
    agent.mib = Mib(values, sorted(values))
    site.factory.reboot_switch("leaf-1")
    result = await opened.poll(int((site.now + 10) * 1e9))
    assert result.missing == ()
    assert sum(p.measurement == "interface" for p in result.points) == len(leaf.switch.ports) + 1
    await service.close()


async def test_one_port_without_counters_costs_no_other_port(site: Site) -> None:
    """SONiC's walks end at the first missing cell: explicit instances do not."""
    leaf = Leaf(site.factory, 0)
    whole = sonic_mib.build(leaf)
    gone = {(*sonic_mib.IFX, column, 41) for column in (6, 10)}
    values = {oid: get for oid, get in whole.values.items() if oid not in gone}
    agent = simulator.Agent("leaf-1", Mib(values, sorted(values)), "2c", "sonic_snmp")
    service = await simulator.serve(site.factory, [agent], lambda: site.now)
    opened = collector.open_collector(target_of(service.devices[0]), load_still("sonic_snmp"))
    result = await opened.poll(int(site.now * 1e9))
    without = [
        p.tags["interface"] for p in result.points if p.measurement == "interface" and "rx_bytes_total" not in p.fields
    ]
    assert without == ["Ethernet40"]
    assert [line for line in result.missing if "rx_bytes" in line] == [
        "interface.rx_bytes_total: no such instance at 1.3.6.1.2.1.31.1.1.1.6 for 1 of 66 rows (41)"
    ]
    again = await opened.poll(int((site.now + 10) * 1e9))
    assert of(again, "switch").fields["agent_state"] == 1
    await service.close()


async def test_net_snmp_walks_the_whole_switch_in_growing_order(site: Site) -> None:
    """An independent client reads every instance; the row without an index does not stop it."""
    port = site.device("leaf-1").url.rpartition(":")[2].partition("?")[0]
    command = [str(program("snmpget")).replace("snmpget", "snmpbulkwalk"), "-v2c", "-cpublic", "-On", "-m", "", "-t5"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, f"127.0.0.1:{port}", "1.3.6.1.2.1.31"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    ports = len(site.factory.layout.switches[0].ports)
    assert sum(line.startswith(".1.3.6.1.2.1.31.1.1.1.6.") for line in lines) == ports + 2
    assert sum(line.startswith(".1.3.6.1.2.1.31.1.1.1.17 ") for line in lines) == 1
    first = f"Counter64: {int(site.factory.state.switches.rx_bytes.at(site.now, (0, 0)))}"
    assert f".1.3.6.1.2.1.31.1.1.1.6.1 = {first}" in lines


async def test_net_snmp_reads_the_v3_switch(site: Site) -> None:
    port = site.device("leaf-3").url.rpartition(":")[2].partition("?")[0]
    command = [str(program("snmpget")), "-v3", "-l", "authPriv", "-u", simulator.USER, "-a", "SHA-256", "-x", "AES"]
    command += ["-A", simulator.AUTH_PASSWORD, "-X", simulator.PRIV_PASSWORD, "-Oqv", "-m", "", f"127.0.0.1:{port}"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "1.3.6.1.2.1.1.5.0"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().strip('"') == "leaf-3"
