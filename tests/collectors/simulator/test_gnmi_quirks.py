"""The weaknesses of the simulator's gNMI server and what its databases hold, asked by the bare protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from pygnmi.spec.v080 import gnmi_pb2, gnmi_pb2_grpc

from collectors.simulator import gnmi as simulator
from collectors.simulator import quirks
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.sonic import Leaf
from collectors.simulator.state import Switches

START = 1_760_000_000.0
LEAF = 1
Mode = gnmi_pb2.SubscriptionList.Mode


@dataclass(slots=True)
class Site:
    """leaf-2 of a site of 64 GPUs and a stub of its server, on a clock of its own."""

    factory: Factory
    now: float
    stub: Any = field(init=False)

    @property
    def switches(self) -> Switches:
        return self.factory.state.switches

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.factory.advance(self.now)

    def set(self, name: str, value: object) -> None:
        quirks.switch(self.factory.quirks["leaf-2"], name, value, self.factory.layout.switches[LEAF].ports)

    def play(self, kind: str, name: str, seconds: float = 2) -> None:
        self.factory.faults.inject(kind, name, self.now)
        self.pass_time(seconds)

    async def get(self, database: str, *path: str) -> Any:
        request = gnmi_pb2.GetRequest(prefix=gnmi_pb2.Path(target=database), path=[make_path(*path)])
        answer = await self.stub.Get(request)
        return value_of(answer.notification[0].update[0])

    async def subscribe(self, kind: int, database: str, *path: str, **each: Any) -> Any:
        call = self.stub.Subscribe()
        one = gnmi_pb2.Subscription(path=make_path(*path), **each)
        prefix = gnmi_pb2.Path(target=database)
        wanted = gnmi_pb2.SubscriptionList(prefix=prefix, mode=kind, subscription=[one])
        await call.write(gnmi_pb2.SubscribeRequest(subscribe=wanted))
        return call


def make_path(*names: str) -> Any:
    return gnmi_pb2.Path(elem=[gnmi_pb2.PathElem(name=name) for name in names])


def value_of(update: Any) -> Any:
    kind = update.val.WhichOneof("value")
    return update.val.string_val if kind == "string_val" else json.loads(update.val.json_ietf_val)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(Factory(build_layout(64), seed=1, start=START), START + 0.25)
    server, port = await simulator.serve(Leaf(made.factory, LEAF), lambda: made.now)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        made.stub = gnmi_pb2_grpc.gNMIStub(channel)
        yield made
    await server.stop(None)


def leaves(value: Any) -> set[type]:
    if isinstance(value, dict):
        return {kind for each in value.values() for kind in leaves(each)}
    return {type(value)}


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return caught.value.code(), caught.value.details()


PATHS = (
    ("COUNTERS_DB", "COUNTERS", "Ethernet*"),
    ("COUNTERS_DB", "COUNTERS", "Ethernet*", "Queues"),
    ("COUNTERS_DB", "COUNTERS", "Ethernet*", "Pfcwd"),
    ("COUNTERS_DB", "COUNTERS", "Ethernet*", "SAI_PORT_STAT_IF_IN_OCTETS"),
    ("COUNTERS_DB", "COUNTERS", "Ethernet0"),
    ("COUNTERS_DB", "COUNTERS", "oid:0x1000000000002"),
    ("COUNTERS_DB", "COUNTERS", "oid:0x15000000000103"),
    ("COUNTERS_DB", "RATES", "Ethernet*"),
    ("COUNTERS_DB", "RATES", "Ethernet*", "FEC_PRE_BER"),
    ("COUNTERS_DB", "PERIODIC_WATERMARKS", "Ethernet*", "PriorityGroups"),
    ("COUNTERS_DB", "INTERFACE_COUNTERS"),
    ("COUNTERS_DB", "COUNTERS_PORT_NAME_MAP"),
    ("COUNTERS_DB", "COUNTERS_QUEUE_NAME_MAP"),
    ("APPL_DB", "PORT_TABLE"),
    ("APPL_DB", "LAG_TABLE"),
    ("APPL_DB", "LAG_MEMBER_TABLE"),
    ("APPL_DB", "LLDP_ENTRY_TABLE"),
    ("STATE_DB", "TRANSCEIVER_DOM_SENSOR"),
    ("STATE_DB", "TRANSCEIVER_DOM_THRESHOLD"),
    ("STATE_DB", "TRANSCEIVER_INFO"),
    ("STATE_DB", "TRANSCEIVER_VDM_REAL_VALUE"),
    ("STATE_DB", "PSU_INFO"),
    ("STATE_DB", "FAN_INFO"),
    ("STATE_DB", "TEMPERATURE_INFO"),
    ("STATE_DB", "CHASSIS_INFO"),
    ("STATE_DB", "LIQUID_COOLING_INFO"),
    ("STATE_DB", "SYSTEM_LEAK_STATUS"),
    ("STATE_DB", "queue-counter-capabilities"),
    ("CONFIG_DB", "DEVICE_METADATA"),
    ("CONFIG_DB", "PORT"),
    ("CONFIG_DB", "FLEX_COUNTER_TABLE"),
)


@pytest.mark.parametrize("path", PATHS, ids="/".join)
async def test_every_path_has_text_leaves_only(site: Site, path: tuple[str, ...]) -> None:
    assert leaves(await site.get(*path)) == {str}


async def test_one_port_is_the_same_by_every_path(site: Site) -> None:
    site.pass_time(5)
    flat = await site.get("COUNTERS_DB", "COUNTERS", "Ethernet40")
    assert 120 <= len(flat) <= 160
    oid = (await site.get("COUNTERS_DB", "COUNTERS_PORT_NAME_MAP"))["Ethernet40"]
    for path in (("COUNTERS", "etp6"), ("COUNTERS", oid)):
        assert await site.get("COUNTERS_DB", *path) == flat
    assert (await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*"))["etp6"] == flat
    assert (await site.get("COUNTERS_DB", "INTERFACE_COUNTERS"))["Ethernet40"] == flat
    field = "SAI_PORT_STAT_IF_IN_OCTETS"
    assert await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*", field) == {
        f"etp{port + 1}": {field: str(int(site.switches.rx_bytes.at(site.now, (LEAF, port))))} for port in range(64)
    }


async def test_fec_counters_are_the_factorys(site: Site) -> None:
    site.play("optics_dim", "leaf-2/Ethernet40", 30)
    flat = await site.get("COUNTERS_DB", "COUNTERS", "Ethernet40")
    at = (LEAF, 5)
    for name, counters in (
        ("CORRECTABLE_FRAMES", site.switches.fec_corrected),
        ("NOT_CORRECTABLE_FRAMES", site.switches.fec_uncorrected),
        ("SYMBOL_ERRORS", site.switches.fec_symbols),
        ("CORRECTED_BITS", site.switches.fec_corrected_bits),
    ):
        assert flat[f"SAI_PORT_STAT_IF_IN_FEC_{name}"] == str(int(counters.at(site.now, at)))
    bins = [flat[f"SAI_PORT_STAT_IF_IN_FEC_CODEWORD_ERRORS_S{number}"] for number in range(16)]
    assert bins == [str(int(count)) for count in site.switches.fec_bins.at(site.now, at)]
    assert int(flat["SAI_PORT_STAT_IF_IN_FEC_NOT_CORRECTABLE_FRAMES"]) > 1_000
    rates = await site.get("COUNTERS_DB", "RATES", "Ethernet40")
    assert float(rates["FEC_PRE_BER"]) == pytest.approx(8e-4)
    # what is left after FEC: 17 bits of each codeword that is lost
    lost = site.switches.fec_uncorrected.rate[at]
    assert float(rates["FEC_POST_BER"]) == pytest.approx(17 * lost / 425e9)
    assert rates["FEC_MAX_T"] == "15"


async def test_a_congested_queue_marks_drops_and_fills(site: Site) -> None:
    site.play("congestion", "leaf-2/Ethernet40", 10)
    queues = await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*", "Queues")
    assert len(queues) == 64 * 8 * 2
    marked, at = queues["etp6:3"], (LEAF, 5)
    count = int(site.switches.ecn_marked.at(site.now, at))
    assert marked["SAI_QUEUE_STAT_WRED_ECN_MARKED_PACKETS"] == str(count)
    assert marked["SAI_QUEUE_STAT_WRED_ECN_MARKED_BYTES"] == str(4096 * count)
    assert marked["SAI_QUEUE_STAT_DROPPED_PACKETS"] == str(int(site.switches.queue_drops.at(site.now, at))) != "0"
    assert queues["etp6:3:periodic"] == {"SAI_QUEUE_STAT_SHARED_WATERMARK_BYTES": "9000000"}
    assert queues["etp6:2"]["SAI_QUEUE_STAT_BYTES"] == queues["etp6:2:periodic"].popitem()[1] == "0"
    oid = (await site.get("COUNTERS_DB", "COUNTERS_QUEUE_NAME_MAP"))["Ethernet40:3"]
    assert await site.get("COUNTERS_DB", "COUNTERS", oid) == marked


async def test_the_watchdog_tells_of_a_storm(site: Site) -> None:
    site.play("pfc_storm", "leaf-2/Ethernet40", 3)
    found = await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*", "Pfcwd")
    assert len(found) == 64 * 2
    storm = found["etp6:3"]
    assert (storm["PFC_WD_STATUS"], storm["PFC_WD_QUEUE_STATS_DEADLOCK_DETECTED"]) == ("stormed", "1")
    assert [key for key, fields in found.items() if fields["PFC_WD_STATUS"] != "operational"] == ["etp6:3"]
    site.factory.faults.clear("pfc_storm", "leaf-2/Ethernet40")
    site.pass_time(2)
    storm = (await site.get("COUNTERS_DB", "COUNTERS", "Ethernet40", "Pfcwd"))["etp6:3"]
    assert (storm["PFC_WD_STATUS"], storm["PFC_WD_QUEUE_STATS_DEADLOCK_RESTORED"]) == ("operational", "1")


async def test_headroom_fills_while_a_port_pauses_its_peer(site: Site) -> None:
    site.factory.hold_rates("leaf-2", "Ethernet40", pfc_tx=10.0)
    site.pass_time(3)
    groups = await site.get("COUNTERS_DB", "PERIODIC_WATERMARKS", "Ethernet*", "PriorityGroups")
    assert len(groups) == 64 * 8
    assert {group for group in groups if groups[group].popitem()[1] != "0"} <= {f"etp{port}:3" for port in range(1, 65)}
    assert (await site.get("COUNTERS_DB", "PERIODIC_WATERMARKS", "Ethernet40", "PriorityGroups"))["etp6:3"].keys() == {
        "SAI_INGRESS_PRIORITY_GROUP_STAT_SHARED_WATERMARK_BYTES",
        "SAI_INGRESS_PRIORITY_GROUP_STAT_XOFF_ROOM_WATERMARK_BYTES",
    }


async def test_a_port_tells_its_states_and_when_they_changed(site: Site) -> None:
    before = int((await site.get("APPL_DB", "PORT_TABLE", "Ethernet40"))["flap_count"])
    site.play("port_down", "leaf-2/Ethernet40")
    row = await site.get("APPL_DB", "PORT_TABLE", "Ethernet40")
    assert (row["admin_status"], row["oper_status"], row["speed"], row["fec"]) == ("up", "down", "400000", "rs")
    assert row["lanes"] == "41,42,43,44,45,46,47,48"
    assert int(row["flap_count"]) == before + 1
    # second 1,760,000,001
    assert row["last_down_time"] == "Thu Oct 09 08:53:21 2025"
    optics = await site.get("STATE_DB", "TRANSCEIVER_DOM_SENSOR", "Ethernet40")
    assert [optics[f"rx{lane}power"] for lane in (1, 4, 5)] == ["-inf", "-inf", "N/A"]
    lit = await site.get("STATE_DB", "TRANSCEIVER_DOM_SENSOR", "Ethernet48")
    assert float(lit["rx1power"]) == pytest.approx(site.switches.rx_dbm[LEAF, 6, 0], abs=5e-4)
    members = await site.get("APPL_DB", "LAG_MEMBER_TABLE")
    assert members == {f"PortChannel1:Ethernet{number}": {"status": "enabled"} for number in (496, 504)}


async def test_a_lost_supply_gives_nothing_and_a_wet_switch_says_so(site: Site) -> None:
    site.play("switch_psu_lost", "leaf-2/PSU2")
    supplies = await site.get("STATE_DB", "PSU_INFO")
    assert [row["status"] for row in supplies.values()] == ["true", "false"]
    assert float(supplies["PSU 1"]["power"]) == pytest.approx(site.switches.psu_watts[LEAF].sum(), abs=1e-3)
    assert (supplies["PSU 2"]["power"], supplies["PSU 2"]["presence"]) == ("0.000", "true")
    assert (await site.get("STATE_DB", "SYSTEM_LEAK_STATUS"))["system"]["device_leak_status"] == "None"
    site.play("switch_leak", "leaf-2")
    assert (await site.get("STATE_DB", "SYSTEM_LEAK_STATUS"))["system"]["device_leak_status"] == "CRITICAL"
    assert (await site.get("STATE_DB", "LIQUID_COOLING_INFO"))["leakage1"]["leaking"] == "Yes"


async def test_neighbours_are_the_nics_of_hosts(site: Site) -> None:
    table = await site.get("APPL_DB", "LLDP_ENTRY_TABLE")
    host = next(host for host in site.factory.layout.hosts if host.switch == "leaf-2" and 5 in host.ports)
    row = table["Ethernet40"]
    assert (row["lldp_rem_sys_name"], row["lldp_rem_port_id"]) == (host.name, f"eth{host.ports.index(5)}")
    assert {row["lldp_rem_sys_name"] for name, row in table.items() if int(name[8:]) >= 256} == {"spine-1", "spine-2"}


@pytest.mark.parametrize(
    ("quirk", "gone", "there"),
    [
        ("no_ecn", "WRED_ECN_MARKED", "SAI_QUEUE_STAT_BYTES"),
        ("no_pause", "PFC_WD_", "SAI_QUEUE_STAT_WRED_ECN_MARKED_PACKETS"),
    ],
)
async def test_queues_lack_what_is_switched_off(site: Site, quirk: str, gone: str, there: str) -> None:
    site.set(quirk, True)
    queues = await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*", "Queues")
    assert not any(field for fields in queues.values() for field in fields if gone in field)
    assert there in queues["etp6:3"]
    site.set(quirk, False)
    assert gone in str(await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*", "Queues"))


async def test_pause_time_goes_by_its_name(site: Site) -> None:
    async def pauses() -> dict[str, str]:
        flat = await site.get("COUNTERS_DB", "COUNTERS", "Ethernet40")
        return {field: text for field, text in flat.items() if "PAUSE_DURATION" in field}

    site.play("pfc_storm", "leaf-2/Ethernet40", 5)
    paused = str(int(1e6 * site.switches.pfc_rx_pause_seconds.at(site.now, (LEAF, 5))))
    fields = [f"PFC_{priority}_RX_PAUSE_DURATION_US" for priority in (3, 4)]
    assert await pauses() == {f"SAI_PORT_STAT_{fields[0]}": paused, f"SAI_PORT_STAT_{fields[1]}": "0"}
    site.set("estimated_pause", True)
    assert await pauses() == {f"EST_PORT_STAT_{fields[0]}": paused, f"EST_PORT_STAT_{fields[1]}": "0"}
    site.set("no_pause", True)
    assert await pauses() == {}


async def test_a_missing_cell_is_missing_by_every_path(site: Site) -> None:
    field = "SAI_PORT_STAT_IF_IN_OCTETS"
    site.set("missing", [f"Ethernet40 {field}", "Ethernet40:3 SAI_QUEUE_STAT_BYTES"])
    whole = await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*")
    assert [alias for alias, fields in whole.items() if field not in fields] == ["etp6"]
    assert field not in await site.get("COUNTERS_DB", "COUNTERS", "Ethernet40")
    assert "etp6" not in await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*", field)
    assert await site.get("COUNTERS_DB", "COUNTERS", "Ethernet40", field) == ""
    queues = await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*", "Queues")
    lacking = [key for key in queues if "periodic" not in key and "SAI_QUEUE_STAT_BYTES" not in queues[key]]
    assert lacking == ["etp6:3"]


async def test_a_stale_map_hides_the_last_ports_from_virtual_paths_alone(site: Site) -> None:
    site.set("stale_map", True)
    assert len(await site.get("COUNTERS_DB", "COUNTERS", "Ethernet*")) == 56
    with pytest.raises(grpc.aio.AioRpcError, match="not a valid SONiC interface"):
        await site.get("COUNTERS_DB", "COUNTERS", "Ethernet504")
    names = await site.get("COUNTERS_DB", "COUNTERS_PORT_NAME_MAP")
    assert len(names) == 64
    assert "SAI_PORT_STAT_IF_IN_OCTETS" in await site.get("COUNTERS_DB", "COUNTERS", names["Ethernet504"])


async def test_refusals_by_quirk(site: Site) -> None:
    site.set("no_poll", True)
    call = await site.subscribe(Mode.POLL, "STATE_DB", "PSU_INFO")
    assert (await refusal(call))[0] is grpc.StatusCode.UNIMPLEMENTED
    site.set("at_capacity", True)
    call = await site.subscribe(Mode.STREAM, "STATE_DB", "PSU_INFO", mode=gnmi_pb2.SAMPLE)
    assert await refusal(call) == (grpc.StatusCode.UNAVAILABLE, "Server connections are at capacity.")


async def test_streams_share_a_connection_where_they_may(site: Site) -> None:
    site.set("one_subscribe", False)
    first = await site.subscribe(Mode.POLL, "STATE_DB", "PSU_INFO")
    assert (await first.read()).HasField("update")
    second = await site.subscribe(Mode.POLL, "STATE_DB", "FAN_INFO")
    assert (await second.read()).HasField("update")
    assert (await first.read()).sync_response
    await first.write(gnmi_pb2.SubscribeRequest(poll=gnmi_pb2.Poll()))
    assert (await first.read()).HasField("update")
    first.cancel()
    second.cancel()


async def test_a_silent_sample_sends_its_first_update_only(site: Site) -> None:
    site.set("silent_sample", True)
    each = {"mode": gnmi_pb2.SAMPLE, "sample_interval": 10**9}
    call = await site.subscribe(Mode.STREAM, "COUNTERS_DB", "COUNTERS", "Ethernet*", **each)
    assert (await call.read()).HasField("update")
    assert (await call.read()).sync_response
    reading = asyncio.ensure_future(call.read())
    # another stream, of a path that is not silent, samples twice meanwhile
    site.set("one_subscribe", False)
    other = await site.subscribe(Mode.STREAM, "STATE_DB", "PSU_INFO", **each)
    for _ in range(4):
        await other.read()
    assert not reading.done()
    reading.cancel()
    call.cancel()
    other.cancel()


async def test_on_change_sends_the_table_then_the_hash_that_changed(site: Site) -> None:
    call = await site.subscribe(Mode.STREAM, "APPL_DB", "PORT_TABLE", mode=gnmi_pb2.ON_CHANGE)
    whole = value_of((await call.read()).update.update[0])
    assert len(whole) == 66
    assert (await call.read()).sync_response
    site.play("port_down", "leaf-2/Ethernet40")
    changed = value_of((await call.read()).update.update[0])
    assert list(changed) == ["Ethernet40"]
    assert changed["Ethernet40"]["oper_status"] == "down"
    call.cancel()


async def test_the_host_is_sampled_and_never_polled(site: Site) -> None:
    call = await site.subscribe(Mode.POLL, "OTHERS", "proc", "uptime")
    assert (await refusal(call))[0] is grpc.StatusCode.UNIMPLEMENTED
    each = {"mode": gnmi_pb2.SAMPLE, "sample_interval": 10**9}
    call = await site.subscribe(Mode.STREAM, "OTHERS", "proc", "uptime", **each)
    found = value_of((await call.read()).update.update[0])
    assert found["total"] == pytest.approx(site.now - site.switches.boot_time[LEAF], abs=0.01)
    call.cancel()
    assert (await site.get("OTHERS", "osversion", "build"))["build_version"].startswith("SONiC.202411")
