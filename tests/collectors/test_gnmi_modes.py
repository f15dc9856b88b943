"""How the gNMI collector keeps its streams: modes, paths that are refused, rests, watchdog, and a reader that waits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from gnmi_site import START, Site, every, json_value, of, small_profile, until
from pygnmi.spec.v080 import gnmi_pb2

from collectors.collector import AuthenticationError, DeviceRefusedError, DeviceTimeoutError, ProtocolError
from collectors.gnmi.answers import make_path, read_notifications
from collectors.gnmi.client import GnmiClient, GnmiStream
from collectors.gnmi.collector import GnmiCollector
from collectors.gnmi.rows import parse_leaf
from collectors.gnmi.source import Source, rest_s
from collectors.poller import Poller
from collectors.profile import Group, Library, PointSpec

Mode = gnmi_pb2.SubscriptionList.Mode


@pytest.fixture
async def opened(site: Site) -> AsyncIterator[GnmiCollector]:
    made = site.collector(profile=small_profile())
    yield made
    await made.aclose()


def wait_at_most(seconds: float, collector: GnmiCollector) -> None:
    """Let its next polls wait so long: little for what hangs, much for what must come."""
    collector._target = replace(collector._target, timeout=timedelta(seconds=seconds))


def source_of(collector: GnmiCollector, database: str) -> Source:
    return next(source for source in collector._sources if source.database == database)


def subscriptions(site: Site) -> list[Any]:
    return [r.subscribe for r in site.service.requests if hasattr(r, "subscribe") and r.HasField("subscribe")]


def poller_of(site: Site) -> Poller:
    """Return the device's poller with a collector that lives by the same clock."""
    made = Poller(site.target(), Library(), lambda: site.seconds)
    made._collector = site.collector()
    return made


async def test_streams_of_three_databases_go_on_side_by_side_each_on_its_own_connection(
    site: Site, opened: GnmiCollector
) -> None:
    for _ in range(5):
        result = await site.poll(opened)
        assert {"interface", "environment"} <= {p.measurement for p in result.points}
        assert (result.missing, result.reconnects) == ((), 0)
        site.pass_time(30)
    # the first round is the probe's, by Get
    assert [s.stream.rounds for s in opened._sources if s.stream] == [4, 4, 4]
    assert len(set(site.service.connections)) == len(site.service.connections) == 3
    assert {wanted.mode for wanted in subscriptions(site)} == {Mode.POLL}


async def test_requests_are_counted(site: Site, opened: GnmiCollector) -> None:
    # four paths are probed: the counters, the map, the ports' table, the sensors
    assert (await site.poll(opened)).requests == 4
    site.pass_time(10)
    assert (await site.poll(opened)).requests == 5


async def test_counters_beyond_2_to_the_53_stay_exact_whether_text_or_number() -> None:
    value = json_value('{"etp1": {"A": "9007199254740993", "B": 18446744073709551615}}')
    update = gnmi_pb2.Update(path=gnmi_pb2.Path(elem=[gnmi_pb2.PathElem(name="X")]), val=value)
    answers, broken = read_notifications([gnmi_pb2.Notification(update=[update])], ("X",))
    assert broken == []
    assert [parse_leaf(leaf) for leaf in answers["X"]["etp1"].values()] == [2**53 + 1, 2**64 - 1]


def test_values_of_every_type_that_gnmi_has_are_read_exactly() -> None:
    """SONiC sends JSON of text; other servers send typed values. What is no leaf is absent."""
    typed = {
        "json": gnmi_pb2.TypedValue(json_val=b'"5"'),
        "ietf": gnmi_pb2.TypedValue(json_ietf_val=b"18446744073709551615"),
        "uint": gnmi_pb2.TypedValue(uint_val=2**64 - 1),
        "decimal": gnmi_pb2.TypedValue(decimal_val=gnmi_pb2.Decimal64(digits=-125, precision=2)),
        "double": gnmi_pb2.TypedValue(double_val=1.25),
        "string": gnmi_pb2.TypedValue(string_val="N/A"),
        "proto": gnmi_pb2.TypedValue(proto_bytes=b"\x08\x01"),
        "list": gnmi_pb2.TypedValue(leaflist_val=gnmi_pb2.ScalarArray()),
        "none": gnmi_pb2.TypedValue(),
    }
    updates = [gnmi_pb2.Update(path=make_path(f"X/{name}"), val=value) for name, value in typed.items()]
    answers, broken = read_notifications([gnmi_pb2.Notification(update=updates)], ("X",))
    assert broken == []
    read = {name: parse_leaf(leaf) for name, leaf in answers["X"].items()}
    assert read == {
        "json": 5,
        "ietf": 2**64 - 1,
        "uint": 2**64 - 1,
        "decimal": -1.25,
        "double": 1.25,
        "string": None,
        "proto": None,
        "list": None,
        "none": None,
    }


async def test_server_that_was_killed_is_told_again_within_30_s_of_its_return(site: Site) -> None:
    poller = poller_of(site)

    async def counters() -> bool:
        return bool(every(await poller.poll(int(site.now * 1e9)), "interface", kind="port"))

    assert await counters()
    await site.close()
    for _ in range(4):
        site.pass_time(10)
        assert not await counters()
    await site.open()
    waited = 0
    while not await counters():
        site.pass_time(10)
        waited += 10
        assert waited < 30
    await poller.aclose()


async def test_database_that_hangs_does_not_stop_the_others(site: Site) -> None:
    opened = site.collector(site.target(), small_profile())
    await site.poll(opened)
    wait_at_most(2, opened)
    site.service.hung.add("APPL_DB")
    site.pass_time(30)
    result = await site.poll(opened)
    assert len(every(result.points, "interface")) == len(site.switch.ports)
    assert len(every(result.points, "environment")) == 1
    assert result.missing[0].endswith("APPL_DB: round not complete: give a longer timeout if this goes on")
    await opened.aclose()


async def test_stream_without_a_round_for_three_intervals_is_closed_and_opened_again(site: Site) -> None:
    opened = site.collector(site.target(), small_profile())
    await site.poll(opened)
    wait_at_most(2, opened)
    site.service.hung.add("APPL_DB")
    missing = []
    for _ in range(4):
        site.pass_time(30)
        missing.append((await site.poll(opened)).missing[0])
    assert ["stream closed" in line for line in missing] == [False, False, False, True]
    assert "APPL_DB: round not complete in 90 s" in missing[-1]
    site.service.hung.clear()
    wait_at_most(20, opened)
    site.pass_time(30)
    result = await site.poll(opened)
    assert result.missing == ()
    assert result.reconnects == 1
    assert every(result.points, "interface")[0].fields["oper_up"] == 1
    await opened.aclose()


async def test_round_that_comes_after_its_poll_is_thrown_away(site: Site) -> None:
    opened = site.collector(site.target(), small_profile())
    await site.poll(opened)
    wait_at_most(1, opened)
    site.service.hung.add("COUNTERS_DB")
    site.pass_time(10)
    # the counters are all that this poll is for
    with pytest.raises(DeviceTimeoutError, match=r"poll not complete in 1 s"):
        await site.poll(opened)
    late = source_of(opened, "COUNTERS_DB")._task
    assert late is not None
    site.service.hung.clear()
    wait_at_most(20, opened)
    await until(late.done)
    site.pass_time(10)
    told = of((await site.poll(opened)).points, "interface", interface="Ethernet0").fields["rx_bytes_total"]
    assert told == int(site.factory.state.switches.rx_bytes.at(site.now, (1, 0)))
    await opened.aclose()


def with_queues() -> Any:
    """Return the small profile with readings that are due with slow rounds only, beside fast ones."""
    profile = small_profile()
    queues = Group(
        each={"target": "COUNTERS_DB", "path": "COUNTERS/Ethernet*/Queues", "as": ["port", "queue"]},
        tags={"interface": "{port}", "queue": "{queue}"},
        points=(PointSpec(to="queue.packets_total", at="SAI_QUEUE_STAT_PACKETS", every="slow"),),
    )
    return profile.model_copy(update={"groups": (*profile.groups, queues)})


async def test_paths_that_are_due_seldom_are_asked_by_get_beside_the_stream(site: Site) -> None:
    opened = site.collector(profile=with_queues())
    told = []
    for _ in range(5):
        result = await site.poll(opened)
        told.append(bool(every(result.points, "queue")))
        assert len(every(result.points, "interface", kind="port")) == len(site.switch.ports)
        site.pass_time(10)
    assert told == [True, False, False, True, False]
    streamed = [[one.path.elem[-1].name for one in s.subscription] for s in subscriptions(site)]
    assert ["Ethernet*", "COUNTERS_PORT_NAME_MAP"] in streamed
    assert not any("Queues" in names for names in streamed)
    gets = [r.path[0].elem[-1].name for r in site.service.requests if isinstance(r, gnmi_pb2.GetRequest)]
    assert gets.count("Queues") == 2
    # the stream of each database and nothing beside it
    assert len(set(site.service.connections)) == len(site.service.connections) == 3
    assert (result.reconnects, result.missing) == (0, ())
    await opened.aclose()


async def test_seldom_path_that_is_gone_for_a_round_is_told_and_asked_again_with_the_next(site: Site) -> None:
    opened = site.collector(profile=with_queues())
    await site.poll(opened)
    site.service.lost.add("Queues")
    site.pass_time(30)
    result = await site.poll(opened)
    assert result.missing == ("queue.packets_total: COUNTERS_DB COUNTERS/Ethernet*/Queues has no rows",)
    assert every(result.points, "interface", kind="port")
    site.service.lost.clear()
    site.pass_time(30)
    result = await site.poll(opened)
    assert result.missing == ()
    assert every(result.points, "queue")
    await opened.aclose()


async def test_rows_meant_for_a_refused_path_are_read_while_it_is_refused(site: Site) -> None:
    def stormed(path: str, unless: str) -> Group:
        each = {"target": "COUNTERS_DB", "path": path, "as": ["port", "queue"], "unless": unless, "optional": True}
        points = (PointSpec(to="pfc.watchdog_stormed", at="PFC_WD_STATUS", enum={"operational": 0, "stormed": 1}),)
        return Group(each=each, tags={"interface": "{port}", "priority": "{queue}"}, points=points)

    watchdog, queues = "COUNTERS/Ethernet*/Pfcwd", "COUNTERS/Ethernet*/Queues"
    groups = (*small_profile().groups, stormed(watchdog, ""), stormed(queues, watchdog))
    for lost in (set(), {"Pfcwd"}):
        site.service.lost = lost
        opened = site.collector(profile=small_profile().model_copy(update={"groups": groups}))
        result = await site.poll(opened)
        assert every(result.points, "pfc")
        assert result.rejected == ()
        await opened.aclose()


async def test_second_subscribe_on_a_connection_would_end_the_first_so_each_has_its_own(site: Site) -> None:
    client = GnmiClient(site.target())
    streams = [
        GnmiStream(client, name, (path,)) for name, path in (("APPL_DB", "PORT_TABLE"), ("STATE_DB", "FAN_INFO"))
    ]
    for _ in range(3):
        for stream in streams:
            assert await stream.poll()
    assert [stream.rounds for stream in streams] == [3, 3]
    await asyncio.gather(*(stream.aclose() for stream in streams))


def with_strange_paths() -> Any:
    profile = small_profile()
    stray = Group(
        each={"target": "STATE_DB", "path": "LIQUID_COOLING_XYZ", "as": ["name"]},
        tags={"detector": "{name}"},
        points=(PointSpec(to="leak.state", at="leaking", enum={"Yes": 1}),),
    )
    return profile.model_copy(update={"groups": (*profile.groups, stray)})


async def test_path_that_is_refused_is_told_once_left_out_and_tried_again_each_hour(site: Site) -> None:
    opened = site.collector(profile=with_strange_paths())
    first = await site.poll(opened)
    assert len(first.missing) == 1
    assert first.missing[0].startswith("leak.state: Get STATE_DB LIQUID_COOLING_XYZ: NOT_FOUND ")
    assert len(every(first.points, "environment")) == 1
    site.pass_time(30)
    assert (await site.poll(opened)).missing == ()
    streamed = next(wanted for wanted in subscriptions(site) if wanted.prefix.target == "STATE_DB")
    assert [one.path.elem[0].name for one in streamed.subscription] == ["TEMPERATURE_INFO"]
    asked = len(site.service.requests)
    site.seconds += 3600
    site.now += 30
    assert (await site.poll(opened)).missing == ()
    again = [r for r in site.service.requests[asked:] if isinstance(r, gnmi_pb2.GetRequest)]
    assert [r.path[0].elem[0].name for r in again] == ["TEMPERATURE_INFO", "LIQUID_COOLING_XYZ"]
    await opened.aclose()


async def test_device_that_has_nothing_of_the_profile_fails(site: Site) -> None:
    points = (PointSpec(to="switch.version", at="build"),)
    groups = (Group(each={"target": "NO_DB", "path": "X"}, points=points),)
    opened = site.collector(profile=small_profile().model_copy(update={"groups": groups}))
    for _ in range(2):
        with pytest.raises(ProtocolError, match=r"Invalid target NO_DB.* it has nothing of profile 'small'"):
            await site.poll(opened)
    await opened.aclose()


async def test_device_that_refuses_poll_is_asked_by_get_until_sample_is_proven(site: Site) -> None:
    site.quirks.no_poll = True
    opened = site.collector(site.target(interval_s=1.0), small_profile())
    modes = []
    for _ in range(3):
        result = await site.poll(opened)
        assert len(every(result.points, "interface")) == len(site.switch.ports)
        modes.append(source_of(opened, "COUNTERS_DB").mode)
        site.pass_time(1)
    assert modes == ["poll", "get", "get"]
    sampler = source_of(opened, "COUNTERS_DB").sampler
    assert sampler is not None
    await until(lambda: sampler.proven)
    result = await site.poll(opened)
    assert source_of(opened, "COUNTERS_DB").mode == "sample"
    assert len(every(result.points, "interface")) == len(site.switch.ports)
    await opened.aclose()


async def test_sample_that_falls_silent_is_not_proven_and_get_goes_on(site: Site) -> None:
    site.quirks.no_poll = site.quirks.silent_sample = True
    opened = site.collector(profile=small_profile())
    for _ in range(2):
        await site.poll(opened)
        site.pass_time(10)
    source = source_of(opened, "COUNTERS_DB")
    assert source.sampler is not None
    site.pass_time(40)
    for _ in range(2):
        result = await site.poll(opened)
        assert len(every(result.points, "interface")) == len(site.switch.ports)
        assert (source.mode, source.sampler) == ("get", None)
        site.pass_time(10)
    await opened.aclose()


async def test_mode_get_opens_no_stream(site: Site) -> None:
    opened = site.collector(site.target(mode="get"), small_profile())
    for _ in range(3):
        assert (await site.poll(opened)).missing == ()
        site.pass_time(30)
    assert subscriptions(site) == []
    await opened.aclose()


async def test_mode_poll_has_no_way_out(site: Site) -> None:
    site.quirks.no_poll = True
    opened = site.collector(site.target(mode="poll"), small_profile())
    await site.poll(opened)
    site.pass_time(30)
    with pytest.raises(ProtocolError, match="Subscribe COUNTERS_DB"):
        await site.poll(opened)
    await opened.aclose()


async def test_mode_sample_is_asked_for_at_once(site: Site) -> None:
    opened = site.collector(site.target(mode="sample", interval_s=1.0), small_profile())
    for _ in range(2):
        await site.poll(opened)
        site.pass_time(1)
    source = source_of(opened, "COUNTERS_DB")
    await until(lambda: source.sampler is not None and source.sampler.proven)
    assert len(every((await site.poll(opened)).points, "interface")) == len(site.switch.ports)
    assert source.mode == "sample"
    assert {(s.mode, one.mode) for s in subscriptions(site) for one in s.subscription} == {
        (Mode.STREAM, gnmi_pb2.SAMPLE)
    }
    await opened.aclose()


async def test_target_defined_is_never_sent(site: Site) -> None:
    for mode in ("poll", "sample"):
        opened = site.collector(site.target(mode=mode, interval_s=1.0), small_profile())
        opened.listen(lambda _: None)
        for _ in range(2):
            await site.poll(opened)
            site.pass_time(30)
        await until(lambda: any(s.mode == Mode.STREAM for s in subscriptions(site)))
        await opened.aclose()
    streamed = [one.mode for s in subscriptions(site) if s.mode == Mode.STREAM for one in s.subscription]
    assert streamed
    assert gnmi_pb2.TARGET_DEFINED not in streamed


async def test_device_at_capacity_is_left_alone_for_a_minute(site: Site, opened: GnmiCollector) -> None:
    await site.poll(opened)
    site.quirks.at_capacity = True
    site.pass_time(30)
    with pytest.raises(DeviceRefusedError, match=r"at capacity.*other clients hold") as caught:
        await site.poll(opened)
    assert caught.value.rest_seconds == 60
    asked = len(site.service.connections)
    site.pass_time(50)
    with pytest.raises(DeviceRefusedError, match="at capacity"):
        await site.poll(opened)
    assert len(site.service.connections) == asked
    site.quirks.at_capacity = False
    site.pass_time(30)
    assert (await site.poll(opened)).missing == ()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
async def test_wrong_credentials_are_told_and_not_tried_for_five_minutes(site: Site, code: Any) -> None:
    site.service.wanted = {"username": "admin", "password": "other"}
    site.service.refusal = (code, "Invalid Username or Password")
    poller = poller_of(site)
    health = (await poller.poll(0))[-1].fields
    assert (health["state"], health["up"]) == (3, 0)
    assert "check user, password, token or client certificate" in str(health["error"])
    assert "sesame" not in str(health["error"])
    asked = len(site.service.requests)
    site.pass_time(299)
    await poller.poll(10**9)
    assert len(site.service.requests) == asked
    site.service.wanted = {"username": "admin", "password": "sesame"}
    site.pass_time(80)
    assert every(await poller.poll(2 * 10**9), "interface")
    await poller.aclose()


async def test_rests_double_to_a_minute_and_differ_by_name() -> None:
    rests = [rest_s("leaf-1", failures) for failures in range(1, 12)]
    assert rests[0] == 0
    for rest, least in zip(rests[1:], (1, 2, 4, 8, 16, 32, 60, 60, 60, 60), strict=True):
        assert least <= rest <= 1.25 * least
    assert rest_s("leaf-1", 3) == rest_s("leaf-1", 3) != rest_s("leaf-2", 3)
    assert 300 <= rest_s("leaf-1", 1, 300.0) <= 375


async def test_clock_of_the_switch_is_compared_by_the_middle_of_request_and_answer(site: Site) -> None:
    opened = site.collector(profile=small_profile())
    skew = of((await site.poll(opened)).points, "switch").fields["clock_skew_seconds"]
    assert skew == 0
    opened._client.wall_ns = lambda: int((site.now + 3.5) * 1e9)
    site.pass_time(10)
    result = await site.poll(opened)
    assert of(result.points, "switch").fields["clock_skew_seconds"] == pytest.approx(-3.5)
    assert result.missing == ("switch.clock_skew_seconds: its clock is 3.5 s behind ours: check NTP on both",)
    opened._client.wall_ns = lambda: int((START + 5e6) * 1e9)
    site.pass_time(10)
    result = await site.poll(opened)
    assert "clock_skew_seconds" not in of(result.points, "switch").fields
    assert result.missing == ()
    await opened.aclose()


async def test_token_goes_along_as_sonic_wants_it(site: Site) -> None:
    site.service.wanted = {"access_token": "sesame"}
    opened = site.collector(site.target(auth="jwt"), small_profile())
    assert (await site.poll(opened)).points
    await opened.aclose()


async def test_expired_token_is_told_before_anything_is_asked(site: Site) -> None:
    from dataclasses import replace

    from storage.config import Secret

    # {"exp": 1760000000}, unsigned: only its end is read here
    token = Secret("eyJhbGciOiJub25lIn0.eyJleHAiOjE3NjAwMDAwMDB9.x")
    opened = site.collector(replace(site.target(auth="jwt"), password=token), small_profile())
    with pytest.raises(
        AuthenticationError, match=r"token expired at 2025-10-09T08:53:20\+00:00: give a fresh"
    ) as caught:
        await site.poll(opened)
    assert caught.value.rest_seconds == 300
    assert site.service.requests == []
    await opened.aclose()
