"""How a Redfish service is asked: connections, sessions, ETags, $expand, and what it is spared."""

from collections.abc import Mapping
from email.utils import formatdate

import pytest
from redfish_service import CDU, SESSIONS, Service

from collectors.collector import CollectError, Collector, PollResult, ProtocolError
from collectors.profile import Profile, load_profile
from collectors.redfish import collector as redfish
from collectors.redfish.client import Session, retry_after
from collectors.redfish.rows import agrees
from storage.config import Secret

#: what a fast poll of the mock-up reads: two connectors, two pumps, two detectors, reservoir, filter, environment
RESOURCES = 9
NOW = 1_760_000_000.0


@pytest.fixture
def profile() -> Profile:
    return load_profile("redfish_cdu")


def open_(service: Service, profile: Profile, **options: str) -> Collector:
    target = service.target(
        options={"tls": "off", "events": "off", **options}, username="watt", password=Secret("hour")
    )
    return redfish.open_collector(target, profile)


def read(result: PollResult) -> set[tuple[object, ...]]:
    return {(p.measurement, *p.tags.items(), *p.fields.items()) for p in result.points}


@pytest.mark.parametrize("allowed", [1, 2])
async def test_never_more_connections_than_allowed(service: Service, profile: Profile, allowed: int) -> None:
    service.token, service.expand = "nobody's", "good"
    collector = open_(service, profile, max_connections=str(allowed))
    for time_ns in range(1, 4):
        result = await collector.poll(time_ns)
    service.token = "forgotten"
    await collector.poll(4)
    await collector.aclose()
    assert (service.most_open, service.opened) == (allowed, allowed)
    assert service.logins == 2
    assert result.reconnects == 0


async def test_a_profile_may_allow_one_connection_only(service: Service) -> None:
    profile = load_profile("redfish_environment")
    service.overlay["/redfish/v1/Chassis/CDU/EnvironmentMetrics"] = {"PowerWatts": {"Reading": 5}}
    collector = redfish.open_collector(service.target(), profile)
    await collector.poll(1)
    await collector.aclose()
    assert service.most_open == 1


async def test_requests_and_lost_connections_are_counted(service: Service, profile: Profile) -> None:
    collector = open_(service, profile, max_connections="1", expand="off")
    service.token = "nobody's"
    first = await collector.poll(1)
    assert first.requests == len(service.requests) > RESOURCES
    service.overlay[f"{CDU}/Filters/1"] = b"\x00" * 100
    await collector.poll(2)
    service.overlay.clear()
    second = await collector.poll(3)
    await collector.aclose()
    assert second.requests == len(service.requests) - 1
    assert second.reconnects == service.opened - 1


async def test_a_session_resource_elsewhere_is_not_deleted(service: Service, profile: Profile) -> None:
    service.location = "/redfish/v1/Managers/1/Actions/Manager.Reset"
    service.token = "nobody's"
    collector = open_(service, profile)
    await collector.poll(1)
    await collector.aclose()
    assert [method for method, _, _ in service.requests if method != "GET"] == ["POST"]


async def test_expand_saves_requests_where_it_gives_what_the_members_give(service: Service, profile: Profile) -> None:
    service.overlay["/redfish/v1"] = {
        "ThermalEquipment": {},
        "ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": True}},
    }
    service.expand = "good"
    collector = open_(service, profile)
    plain = await collector.poll(1)
    service.requests.clear()
    expanded = await collector.poll(2)
    await collector.aclose()
    # Two pumps and two detectors come by two requests instead of four.
    assert len([path for path in service.paths if "$expand" in path]) == 2
    assert len(service.requests) == RESOURCES - 2 + 1  # and the log-out
    assert read(expanded) == read(plain)


@pytest.mark.parametrize("way", ["drops", "refuses", "garbles"])
async def test_expand_that_fails_once_is_never_asked_again(service: Service, profile: Profile, way: str) -> None:
    service.overlay["/redfish/v1"] = {"ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": True}}}
    service.expand = way
    slow_each_time = profile.model_copy(update={"poll": profile.poll.model_copy(update={"slow": "0s"})})
    collector = open_(service, slow_each_time)
    first = await collector.poll(1)
    second = await collector.poll(2)
    await collector.aclose()
    assert len([path for path in service.paths if "$expand" in path]) == 1
    assert read(first) == read(second)
    assert first.missing == second.missing == ()


async def test_expand_that_breaks_later_costs_no_reading(service: Service, profile: Profile) -> None:
    service.overlay["/redfish/v1"] = {"ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": True}}}
    service.expand = "good"
    collector = open_(service, profile)
    first = await collector.poll(1)
    service.expand = "garbles"
    second = await collector.poll(2)
    assert read(second) == read(first)
    service.requests.clear()
    await collector.poll(3)
    await collector.aclose()
    assert not [path for path in service.paths if "$expand" in path]


async def test_expand_is_not_tried_where_it_is_off_or_not_offered(service: Service, profile: Profile) -> None:
    service.expand = "good"
    for options in ({"expand": "off"}, {}):
        service.overlay["/redfish/v1"] = {"ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": bool(options)}}}
        collector = open_(service, profile, **options)
        await collector.poll(1)
        await collector.poll(2)
        await collector.aclose()
    assert not [path for path in service.paths if "$expand" in path]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"A": 2.5, "B": [{"C": "y"}], "N": None, "@x": 1}, True),
        ({"A": 2, "B": [{"C": "y"}], "N": None, "More": 1}, True),
        ({"A": "2", "B": [{"C": "y"}], "N": None}, False),
        ({"A": 2, "B": [], "N": None}, False),
        ({"A": 2, "B": [{}], "N": None}, False),
        ({"A": None, "B": [{"C": "y"}], "N": None}, False),
        ({"B": [{"C": "y"}], "N": None}, False),
        (None, False),
    ],
)
def test_an_answer_agrees_when_it_has_every_property(other: object, same: bool) -> None:
    assert agrees({"A": 1, "B": [{"C": "x"}], "N": None, "@odata.etag": "1"}, other) is same


PUMP = f"{CDU}/Pumps/1"


def spin(service: Service, percent: int, etag: str) -> Mapping[str, object]:
    """Let a pump run at this speed under this ETag; return what is served."""
    service.etag = etag
    service.overlay[PUMP] = body = {"PumpSpeedPercent": {"Reading": percent}}
    return body


async def test_etags_that_never_change_hide_nothing(service: Service) -> None:
    session = Session(service.target())
    for percent in (70, 71, 71, 72):
        body = spin(service, percent, '"constant"')
        assert await session.get(PUMP) == body
    await session.close()
    assert {status for _, _, status in service.requests} == {200}


async def test_an_etag_that_stops_to_change_with_its_resource_is_not_trusted_any_more(service: Service) -> None:
    session = Session(service.target())
    for percent, etag in ((70, '"a"'), (71, '"b"')):
        body = spin(service, percent, etag)
        assert await session.get(PUMP) == body
    assert await session.get(PUMP) == body
    stale, body = body, spin(service, 72, '"b"')
    assert await session.get(PUMP) == stale
    # The slow tier reads everything anew: only then the lie comes out.
    assert await session.get(PUMP, whole=True) == body
    body = spin(service, 73, '"b"')
    assert await session.get(PUMP) == body
    await session.close()
    assert [status for _, _, status in service.requests] == [200, 200, 304, 304, 200, 200]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "999999999999"}, 600.0),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True)}, 90.0),
        # The device's clock is an hour late: what counts is how far ahead of its own time the date is.
        ({"Retry-After": formatdate(NOW - 3570, usegmt=True), "Date": formatdate(NOW - 3600, usegmt=True)}, 30.0),
        ({"Retry-After": formatdate(NOW - 5, usegmt=True)}, 0.0),
        ({"Retry-After": "soon"}, 5.0),
        ({"Retry-After": "-3"}, 5.0),
        ({"Retry-After": "٣"}, 5.0),
        ({}, 5.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, NOW) == seconds


async def test_a_busy_device_gets_no_further_request_of_the_same_poll(service: Service, profile: Profile) -> None:
    collector = open_(service, profile, max_connections="1")
    await collector.poll(1)
    service.requests.clear()
    service.busy = "30"
    with pytest.raises(CollectError, match="503 busy, retry after 30 s") as caught:
        await collector.poll(2)
    await collector.aclose()
    assert caught.value.rest_seconds == 30.0
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_connections": "3"}, "max_connections='3': must be one of 1, 2"),
        ({"expand": "always"}, "expand='always': must be one of auto, off"),
        ({"primary_loop": "third"}, "primary_loop='third': must be one of fws, tcs"),
        ({"max_conections": "1"}, "there is none; there are tls, max_connections, expand, events, primary_loop, cdu"),
    ],
)
def test_wrong_options_name_what_there_is(profile: Profile, options: dict[str, str], message: str) -> None:
    with pytest.raises(CollectError, match=message):
        redfish.open_collector(Service().target(options=options), profile)


@pytest.mark.parametrize(
    "link",
    ["http://127.0.0.1:1/x", "//127.0.0.1:1/redfish/v1/x", "/etc/passwd", "/redfish/v1/a b", "/redfish/v1\\@h/x"],
)
async def test_links_out_of_the_service_are_not_followed(service: Service, profile: Profile, link: str) -> None:
    service.overlay[f"{CDU}/Pumps"] = {"Members": [{"@odata.id": link}]}
    collector = open_(service, profile)
    service.token = "nobody's"
    result = await collector.poll(1)
    await collector.aclose()
    assert [line for line in result.missing if "not a path on this device" in line]
    assert not [path for path in service.paths if "passwd" in path or path.endswith("/x")]


async def test_an_answer_without_end_is_cut_off(service: Service, profile: Profile) -> None:
    service.overlay[f"{CDU}/Filters/1"] = b'{"a": "' + b"x" * (9 << 20) + b'"}'
    service.overlay[f"{CDU}/Pumps/1"] = b"[" * 100_000
    collector = open_(service, profile)
    result = await collector.poll(1)
    await collector.aclose()
    assert [line for line in result.missing if "Filters/1: more than 8 MiB" in line]
    assert [line for line in result.missing if "Pumps/1: " in line]
    assert [p for p in result.points if p.tags.get("pump") == "2"]


async def test_a_service_with_nothing_of_the_profile_says_so(service: Service) -> None:
    collector = open_(service, load_profile("redfish_rack_pdu"))
    with pytest.raises(ProtocolError, match="has nothing that profile redfish_rack_pdu asks for"):
        await collector.poll(1)
    await collector.aclose()


async def test_closing_twice_and_before_the_first_poll_does_nothing(service: Service, profile: Profile) -> None:
    collector = open_(service, profile, max_connections="1")
    await collector.aclose()
    await collector.poll(1)
    await collector.aclose()
    await collector.aclose()
    assert service.paths.count(SESSIONS) == service.logins
