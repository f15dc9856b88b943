"""The gNMI server of the simulator, read by our collector; and the manners of SONiC's server that it must have."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from pygnmi.spec.v080 import gnmi_pb2, gnmi_pb2_grpc

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    PollResult,
    ProtocolError,
    Target,
)
from collectors.gnmi import collector
from collectors.gnmi.client import GnmiClient, GnmiStream, PollRefusedError, make_path
from collectors.profile import Group, PointSpec, Profile, load_profile
from collectors.simulator import gnmi as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.sonic import Leaf
from storage.config import Secret
from storage.point import Point

START = 1_760_000_000.0
#: the second of two leaf switches speaks gNMI
LEAF = 1
#: fields of the optics' lanes
LANES = ("rx_power_watts", "tx_power_watts", "bias_amperes", "rx_dark", "pre_fec_ber")
Mode = gnmi_pb2.SubscriptionList.Mode


@dataclass(slots=True)
class Site:
    """A factory, the server of its gNMI switch, and the clock that both live by."""

    factory: Factory
    now: float
    port: int = 0
    server: Any = None

    async def open(self) -> None:
        self.server, self.port = await simulator.serve(Leaf(self.factory, LEAF), lambda: self.now, self.port)

    async def close(self) -> None:
        await self.server.stop(None)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.factory.advance(self.now)

    def target(self, seconds: float = 10.0) -> Target:
        options = {"tls": "off"}
        return Target("leaf-2", "gnmi", f"127.0.0.1:{self.port}", timeout=timedelta(seconds=seconds), options=options)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(Factory(build_layout(64), seed=1, start=START), START + 0.25)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def opened(site: Site) -> AsyncIterator[Any]:
    made = collector.open_collector(site.target(), load_profile("sonic_gnmi"))
    yield made
    await made.aclose()


@pytest.fixture
async def stub(site: Site) -> AsyncIterator[Any]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{site.port}", options=options) as channel:
        yield gnmi_pb2_grpc.gNMIStub(channel)


def of(result: PollResult, measurement: str, **tags: str) -> Point:
    found = [p for p in result.points if p.measurement == measurement and tags.items() <= p.tags.items()]
    assert len(found) == 1, (measurement, tags, len(found))
    return found[0]


def subscription(kind: int, target: str, *paths: str, **each: Any) -> Any:
    wanted = [gnmi_pb2.Subscription(path=make_path(path), **each) for path in paths]
    prefix = gnmi_pb2.Path(target=target)
    return gnmi_pb2.SubscribeRequest(subscribe=gnmi_pb2.SubscriptionList(prefix=prefix, mode=kind, subscription=wanted))


async def status_of(stub: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    """Return how the server ends a Subscribe with this first message."""
    call = stub.Subscribe()
    await call.write(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return caught.value.code(), caught.value.details()


async def test_start_gives_a_device_per_gnmi_switch() -> None:
    factory = Factory(build_layout(256), seed=1, start=START)
    service = await simulator.start(factory)
    names = [switch.name for switch in factory.layout.switches if switch.protocol == "gnmi"]
    assert [device.name for device in service.devices] == names
    assert {device.profile for device in service.devices} == {"sonic_gnmi"}
    await service.close()


async def test_counters_equal_the_factory_to_the_last_byte(site: Site, opened: Any) -> None:
    site.factory.faults.inject("pfc_storm", "leaf-2/Ethernet16", site.now, None)
    site.pass_time(30)
    result = await opened.poll(int(site.now * 1e9))
    state, switch = site.factory.state.switches, site.factory.layout.switches[LEAF]
    for port, name in enumerate(switch.ports):
        fields = of(result, "interface", interface=name).fields
        assert fields["rx_bytes_total"] == int(state.rx_bytes.at(site.now, (LEAF, port)))
        assert fields["tx_bytes_total"] == int(state.tx_bytes.at(site.now, (LEAF, port)))
        assert fields["rx_discards_total"] == int(state.rx_discards.at(site.now, (LEAF, port)))
        assert fields["oper_up"] == int(state.oper_up[LEAF, port])
        assert fields["speed_bits_per_second"] == switch.speed_bits_per_second
        marked = of(result, "queue", interface=name, queue="3").fields["ecn_marked_packets_total"]
        assert marked == int(state.ecn_marked.at(site.now, (LEAF, port)))
    storm = of(result, "pfc", interface="Ethernet16", priority="3").fields
    assert storm["rx_frames_total"] == int(state.pfc_rx.at(site.now, (LEAF, 2))) > 10_000
    assert storm["rx_pause_seconds_total"] == pytest.approx(
        state.pfc_rx_pause_seconds.at(site.now, (LEAF, 2)), abs=1e-6
    )
    # what no healthy switch of this make has: an estimated pause, lanes 5 to 8 of a module, the end of a link that held
    lacking = {line.split(":")[0].split(".")[1] for line in result.missing}
    assert lacking <= {"rx_pause_estimated_seconds_total", "last_down_time_seconds", *LANES}
    assert result.rejected == ()


async def test_ports_bear_sonic_names_though_wildcards_answer_by_alias(site: Site, opened: Any) -> None:
    result = await opened.poll(0)
    switch = site.factory.layout.switches[LEAF]
    tags = [(p.tags["interface"], p.tags["alias"]) for p in result.points if p.measurement == "interface"]
    assert set(tags) == set(zip(switch.ports, switch.aliases, strict=True))
    assert len(tags) == len(switch.ports)


async def test_switch_power_is_the_sum_of_its_supplies(site: Site, opened: Any) -> None:
    result = await opened.poll(0)
    watts = site.factory.state.switches.psu_watts[LEAF]
    for supply, expected in enumerate(watts):
        assert of(result, "power", circuit=f"psu-{supply + 1}", side="output").fields["active_watts"] == pytest.approx(
            expected, abs=1e-3
        )
    total = of(result, "power", circuit="total")
    assert total.fields["active_watts"] == pytest.approx(watts.sum(), abs=2e-3)
    assert (total.tags["kind"], total.tags["side"]) == ("switch", "output")


async def test_whole_tables_are_read_each_thirty_seconds_only(opened: Any) -> None:
    with_status = [
        any("oper_up" in point.fields for point in (await opened.poll(second * 10**9)).points)
        for second in (0, 10, 20, 30, 40)
    ]
    assert with_status == [True, False, False, True, False]


async def test_streams_of_three_databases_go_on_side_by_side(site: Site, opened: Any) -> None:
    """The server ends a stream when a second one opens on its connection: each round still brings all."""
    for number in range(3):
        site.pass_time(30)
        result = await opened.poll(int(number * 30e9))
        assert {"interface", "queue", "pfc", "power", "environment"} <= {p.measurement for p in result.points}


async def test_server_that_died_and_came_back_is_polled_again(site: Site, opened: Any) -> None:
    before = of(await opened.poll(0), "interface", interface="Ethernet0").fields["rx_bytes_total"]
    await site.close()
    with pytest.raises(DeviceRefusedError, match="leaf-2"):
        await opened.poll(10**10)
    await site.open()
    site.pass_time(20)
    after = of(await opened.poll(2 * 10**10), "interface", interface="Ethernet0").fields["rx_bytes_total"]
    assert after > before


@pytest.mark.parametrize(
    ("details", "kind"), [("Internal error from Core", DeviceRefusedError), ("redis is gone", ProtocolError)]
)
async def test_connection_that_breaks_while_writing_is_lost_and_no_fault_of_the_device(
    site: Site, details: str, kind: type[CollectError]
) -> None:
    error = GnmiClient(site.target()).explain(grpc.StatusCode.INTERNAL, details, "Subscribe COUNTERS_DB")
    assert type(error) is kind


async def test_silent_switch_times_out_and_recovers(site: Site) -> None:
    site.factory.faults.register_devices(["leaf-2"])
    site.factory.faults.inject("device_silent", "leaf-2", site.now, 30.0)
    site.pass_time(1)
    opened = collector.open_collector(site.target(0.4), load_profile("sonic_gnmi"))
    with pytest.raises(DeviceTimeoutError, match="leaf-2"):
        await opened.poll(0)
    await opened.aclose()
    site.pass_time(31)
    again = collector.open_collector(site.target(), load_profile("sonic_gnmi"))
    assert len((await again.poll(0)).points) > 64
    await again.aclose()


async def test_path_that_the_switch_lacks_is_dropped_and_the_rest_goes_on_by_poll(site: Site) -> None:
    def group(path: str, at: str) -> Group:
        each = {"target": "STATE_DB", "path": path, "as": ["name"]}
        return Group(
            each=each, tags={"point": "{name}"}, points=(PointSpec(to="environment.temperature_celsius", at=at),)
        )

    groups = (group("TEMPERATURE_INFO", "temperature"), group("CABLE_INFO", "leaking"))
    profile = Profile(profile="test", model="t", kind="switch", protocol="gnmi", source="t", groups=groups)
    opened = collector.open_collector(site.target(), profile)
    missing: set[str] = set()
    for number in range(3):
        result = await opened.poll(number)
        assert [p.measurement for p in result.points] == ["environment"]
        missing |= set(result.missing)
    assert len(missing) == 1
    assert "STATE_DB CABLE_INFO" in missing.pop()
    await opened.aclose()


async def test_unknown_database_spoils_only_itself(site: Site) -> None:
    profile = load_profile("sonic_gnmi")
    stray = Group(each={"target": "NO_DB", "path": "X"}, points=(PointSpec(to="switch.version", at="build"),))
    opened = collector.open_collector(site.target(), profile.model_copy(update={"groups": (*profile.groups, stray)}))
    result = await opened.poll(0)
    assert len(result.points) > 64
    assert any("Invalid target NO_DB" in line for line in result.missing)
    await opened.aclose()


async def test_identify_reads_the_models_of_capabilities(site: Site) -> None:
    assert (await collector.identify(site.target(), [load_profile("sonic_gnmi")])).profile == "sonic_gnmi"
    with pytest.raises(CollectError, match="Capabilities lists sonic-db: none of sonic_snmp fits"):
        await collector.identify(site.target(), [load_profile("sonic_snmp")])


async def test_get_answers_one_path_and_refuses_an_unknown_one(site: Site) -> None:
    client = GnmiClient(site.target())
    flat = await client.get("COUNTERS_DB", "COUNTERS/Ethernet0")
    assert flat == await client.get("COUNTERS_DB", "COUNTERS/etp1")
    assert int(flat["SAI_PORT_STAT_IF_IN_OCTETS"]) == int(site.factory.state.switches.rx_bytes.at(site.now, (LEAF, 0)))
    assert (
        await client.get("COUNTERS_DB", "COUNTERS/etp1/SAI_PORT_STAT_IF_IN_ERRORS")
        == flat["SAI_PORT_STAT_IF_IN_ERRORS"]
    )
    with pytest.raises(PollRefusedError, match="NOT_FOUND"):
        await client.get("STATE_DB", "NO_SUCH_TABLE")


async def test_every_leaf_is_text(site: Site) -> None:
    table = await GnmiClient(site.target()).get("APPL_DB", "PORT_TABLE")
    assert {type(leaf) for fields in table.values() for leaf in fields.values()} == {str}


async def test_second_subscribe_on_one_connection_ends_the_first(stub: Any) -> None:
    first = stub.Subscribe()
    await first.write(subscription(Mode.POLL, "STATE_DB", "PSU_INFO"))
    assert (await first.read()).HasField("update")
    assert (await first.read()).sync_response
    second = stub.Subscribe()
    await second.write(subscription(Mode.POLL, "STATE_DB", "FAN_INFO"))
    assert (await second.read()).HasField("update")
    assert await first.read() is grpc.aio.EOF
    assert (await second.read()).sync_response
    await second.write(gnmi_pb2.SubscribeRequest(poll=gnmi_pb2.Poll()))
    assert (await second.read()).HasField("update")
    second.cancel()


async def test_refusals_are_sonics(stub: Any) -> None:
    code, text = await status_of(stub, subscription(Mode.POLL, "", "PORT_TABLE"))
    assert (code, text) == (grpc.StatusCode.UNIMPLEMENTED, "Empty target data not supported")
    code, text = await status_of(stub, subscription(Mode.STREAM, "APPL_DB", "PORT_TABLE"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "TARGET_DEFINED" in text
    fast = subscription(Mode.STREAM, "APPL_DB", "PORT_TABLE", mode=gnmi_pb2.SAMPLE, sample_interval=500_000_000)
    assert (await status_of(stub, fast))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await status_of(stub, subscription(Mode.ONCE, "APPL_DB", "PORT_TABLE")))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_sample_sends_the_whole_object_again_each_interval(stub: Any) -> None:
    call = stub.Subscribe()
    sampled = subscription(Mode.STREAM, "STATE_DB", "PSU_INFO", mode=gnmi_pb2.SAMPLE, sample_interval=10**9)
    await call.write(sampled)
    first = await call.read()
    assert (await call.read()).sync_response
    again = await call.read()
    assert first.update.update[0].val == again.update.update[0].val
    call.cancel()


async def test_each_round_of_a_stream_reads_anew(site: Site) -> None:
    stream = GnmiStream(GnmiClient(site.target()), "COUNTERS_DB", ("COUNTERS/Ethernet0",))
    counts = []
    for _ in range(3):
        answers = await stream.poll()
        counts.append(int(answers["COUNTERS/Ethernet0"]["SAI_PORT_STAT_IF_IN_OCTETS"]))
        site.pass_time(1)
    assert counts == sorted(set(counts))
    await stream.aclose()


async def test_tls_is_strict_and_takes_the_authority_that_is_named(site: Site, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=leaf-2", "-days", "2"]
    command += ["-addext", "subjectAltName=DNS:leaf-2"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    server = grpc.aio.server()
    service = simulator.SwitchService(Leaf(site.factory, LEAF), lambda: site.now)
    gnmi_pb2_grpc.add_gNMIServicer_to_server(service, server)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    target = replace(site.target(), address=f"127.0.0.1:{port}", options={})
    with pytest.raises(CollectError, match="leaf-2"):
        await polled(target)
    trusting = replace(target, options={"tls": "on", "ca": str(certificate), "server_name": "leaf-2"})
    assert len((await polled(trusting)).points) > 64
    with pytest.raises(CollectError, match="leaf-2"):
        await polled(replace(target, options={"ca": str(certificate), "server_name": "leaf-3"}))
    await server.stop(None)


async def polled(target: Target) -> PollResult:
    opened = collector.open_collector(target, load_profile("sonic_gnmi"))
    try:
        return await opened.poll(0)
    finally:
        await opened.aclose()


class Guarded(gnmi_pb2_grpc.gNMIServicer):
    """A server that answers one user only, as SONiC does with `client_auth` password."""

    async def Capabilities(self, request: Any, context: Any) -> Any:
        given = dict(context.invocation_metadata())
        if (given.get("username"), given.get("password")) != ("admin", "right"):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid Username or Password")
        return gnmi_pb2.CapabilityResponse(supported_models=[gnmi_pb2.ModelData(name="sonic-db")])


async def test_wrong_password_is_an_authentication_error_that_does_not_tell_it() -> None:
    server = grpc.aio.server()
    gnmi_pb2_grpc.add_gNMIServicer_to_server(Guarded(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    target = Target("leaf-2", "gnmi", f"127.0.0.1:{port}", username="admin", options={"tls": "off"})
    profiles = [load_profile("sonic_gnmi")]
    assert await collector.identify(replace(target, password=Secret("right")), profiles) is profiles[0]
    with pytest.raises(AuthenticationError, match="Invalid Username or Password") as caught:
        await collector.identify(replace(target, password=Secret("sesame")), profiles)
    assert "sesame" not in str(caught.value)
    await server.stop(None)
