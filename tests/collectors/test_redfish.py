"""The Redfish collector against the DMTF mock-up of a cooling unit, served as plain files, and against its moods."""

import base64
from dataclasses import replace

import pytest
from redfish_service import CDU, Service

from collectors.collector import (
    AuthenticationError,
    CollectError,
    Collector,
    DeviceRefusedError,
    PollResult,
    ProtocolError,
    Target,
)
from collectors.profile import Profile, load_profile
from collectors.redfish import collector as redfish
from collectors.redfish.collector import look_up, parse_path
from storage.config import ConfigError, Secret


@pytest.fixture
def profile() -> Profile:
    return load_profile("redfish_cdu")


def open_(service: Service, profile: Profile, **changes: object) -> Collector:
    return redfish.open_collector(service.target(**changes), profile)


def fields(result: PollResult, measurement: str, **tags: str) -> dict[str, object]:
    """Return the fields of the one point with exactly these tags, the device's aside."""
    found = [p for p in result.points if p.measurement == measurement and {**p.tags} == {"device": "cdu-9", **tags}]
    assert len(found) == 1, (measurement, tags, [p.tags for p in result.points])
    return dict(found[0].fields)


async def test_the_mock_up_reads_as_by_hand(service: Service, profile: Profile) -> None:
    collector = open_(service, profile)
    result = await collector.poll(1)
    await collector.aclose()
    assert result.missing == ()
    assert result.rejected == ()
    facility, technology = {"kind": "cdu", "loop": "fws"}, {"kind": "cdu", "loop": "tcs"}
    supply = fields(result, "coolant", **facility, point="supply")
    assert supply == {"temperature_celsius": 30.0, "pressure_pascals": 827_000.0}
    back = fields(result, "coolant", **facility, point="return")
    assert back == {"temperature_celsius": 40.0, "pressure_pascals": 965_000.0}
    # 42 L/min over 10 K of water is 29.05 kW by IAPWS properties at 35 degC; the mock-up itself says 25.48.
    whole = fields(result, "coolant", **facility)
    assert whole == {
        "flow_liters_per_second": pytest.approx(0.7),
        "differential_pressure_pascals": 138_000.0,
        "heat_reported_watts": pytest.approx(25_480.0),
        "heat_watts": pytest.approx(0.7 * 4.1781 * 0.99403 * 10e3, rel=1e-3),
    }
    assert fields(result, "coolant", **technology, point="return")["temperature_celsius"] == 48.0
    assert fields(result, "coolant", **technology)["heat_reported_watts"] == pytest.approx(25_310.0)
    first = fields(result, "coolant", **technology, pump="1")
    assert first == {"pump_speed_ratio": pytest.approx(0.385), "pump_state": 1}
    assert fields(result, "coolant", **technology, pump="2") == {"pump_speed_ratio": 0.0, "pump_state": 2}
    for detector in ("Moisture", "Overflow"):
        assert fields(result, "leak", detector=detector, level="hall") == {"state": 0}
    air = fields(result, "environment", point="ambient")
    # Magnus: ln 0.26 + 17.625 x 24 / 267.04 = 0.23696, 243.04 x 0.23696 / (17.625 - 0.23696) = 3.312
    assert air == {
        "temperature_celsius": 24.0,
        "humidity_ratio": pytest.approx(0.26),
        "dew_point_celsius": pytest.approx(3.312, abs=1e-3),
    }


async def test_one_get_per_resource_and_collections_only_at_the_slow_rate(service: Service, profile: Profile) -> None:
    collector = open_(service, profile)
    await collector.poll(1)
    assert ("GET", "/redfish/v1/ThermalEquipment/CDUs", 200) in service.requests
    service.requests.clear()
    await collector.poll(2)
    await collector.aclose()
    paths = [path for _, path, _ in service.requests]
    assert len(paths) == len(set(paths)) == 9
    assert all(path.startswith(CDU + "/") for path in paths)


async def test_an_unchanged_resource_is_confirmed_by_its_etag(service: Service, profile: Profile) -> None:
    service.etag = '"v0"'
    pump = f"{CDU}/Pumps/1"
    service.overlay[pump] = {"PumpSpeedPercent": {"Reading": 1}}
    collector = open_(service, profile)
    await collector.poll(0)
    # ETags that change with their resources are worth something.
    service.etag = '"v1"'
    del service.overlay[pump]
    first = await collector.poll(1)
    service.requests.clear()
    second = await collector.poll(2)
    await collector.aclose()
    assert {status for *_, status in service.requests} == {304}
    assert [(p.tags, p.fields) for p in second.points] == [(p.tags, p.fields) for p in first.points]
    assert {p.time_ns for p in second.points} == {2}


async def test_null_members_are_no_rows_and_null_readings_are_missing(service: Service, profile: Profile) -> None:
    service.overlay[f"{CDU}/Pumps"] = {"Members": None}
    connector = f"{CDU}/SecondaryCoolantConnectors/1"
    service.overlay[connector] = {"FlowLitersPerMinute": {"Reading": None}, "SupplyPressurekPa": None}
    collector = open_(service, profile)
    result = await collector.poll(1)
    await collector.aclose()
    assert not [p for p in result.points if "pump" in p.tags]
    assert set(result.missing) == {
        f"{connector} FlowLitersPerMinute.Reading: no value",
        f"{connector} SupplyPressurekPa.Reading: no value",
    }


async def test_a_session_is_taken_once_and_given_back(service: Service, profile: Profile) -> None:
    collector = open_(service, profile, username="watt", password=Secret("hour"))
    service.token = "nobody's"
    await collector.poll(1)
    await collector.poll(2)
    await collector.aclose()
    writes = [(method, path, status) for method, path, status in service.requests if method != "GET"]
    sessions = "/redfish/v1/SessionService/Sessions"
    assert writes == [("POST", sessions, 201), ("DELETE", f"{sessions}/7", 204)]


async def test_a_forgotten_token_is_taken_anew(service: Service, profile: Profile) -> None:
    collector = open_(service, profile, username="watt", password=Secret("hour"))
    service.token = "nobody's"
    before = await collector.poll(1)
    service.token = "restarted"
    after = await collector.poll(2)
    await collector.aclose()
    assert len(after.points) == len(before.points)
    assert service.logins == 2


async def test_a_device_without_sessions_gets_basic_authentication(service: Service, profile: Profile) -> None:
    service.has_sessions = False
    collector = open_(service, profile, username="watt", password=Secret("hour"))
    assert (await collector.poll(1)).points
    await collector.aclose()
    assert service.credentials == {"", "Basic " + base64.b64encode(b"watt:hour").decode()}


async def test_a_wrong_password_is_told_and_never_shown(service: Service, profile: Profile) -> None:
    collector = open_(service, profile, username="watt", password=Secret("wrong-word"))
    with pytest.raises(AuthenticationError, match=r"cdu-9 127\.0\.0\.1:\d+: log-in as 'watt': 401") as caught:
        await collector.poll(1)
    await collector.aclose()
    assert "wrong-word" not in str(caught.value)
    assert service.logins == 1


async def test_a_busy_device_is_left_alone_as_long_as_it_asks(service: Service, profile: Profile) -> None:
    collector = open_(service, profile)
    await collector.poll(1)
    service.busy = "120"
    with pytest.raises(CollectError, match="503 busy, retry after 120 s"):
        await collector.poll(2)
    service.busy = None
    service.requests.clear()
    with pytest.raises(CollectError, match=r"asked to wait 1[12]\d s more"):
        await collector.poll(3)
    await collector.aclose()
    assert service.requests == []


async def test_errors_name_device_and_request(service: Service, profile: Profile) -> None:
    service.overlay["/redfish/v1/ThermalEquipment/CDUs"] = ["no", "object"]
    collector = open_(service, profile)
    with pytest.raises(ProtocolError, match=r"cdu-9 .*GET /redfish/v1/ThermalEquipment/CDUs: status 200, list"):
        await collector.poll(1)
    await collector.aclose()
    gone = redfish.open_collector(replace(service.target(), address="127.0.0.1:1"), profile)
    with pytest.raises(DeviceRefusedError, match=r"cdu-9 127\.0\.0\.1:1: GET"):
        await gone.poll(1)
    await gone.aclose()


async def test_the_token_does_not_follow_a_foreign_link(service: Service, profile: Profile) -> None:
    service.overlay[f"{CDU}/Pumps"] = {"Members": [{"@odata.id": "http://127.0.0.1:1/steal"}]}
    collector = open_(service, profile)
    result = await collector.poll(1)
    await collector.aclose()
    assert [text for text in result.missing if "not a path on this device" in text]


async def test_identify_knows_the_service_root(service: Service, profile: Profile) -> None:
    assert await redfish.identify(service.target(), [profile]) is profile
    service.overlay["/redfish/v1"] = {"Chassis": {}}
    with pytest.raises(CollectError, match="fits none of the profiles redfish_cdu"):
        await redfish.identify(service.target(), [profile])


@pytest.mark.parametrize(
    ("path", "value"),
    [("A.Reading", 1), ("B[1].C", "x"), ("B[0].C", None), ("A", None), ("N.Reading", None)],
)
def test_paths_reach_into_a_resource(path: str, value: object) -> None:
    resource = {"A": {"Reading": 1}, "B": [{"C": None}, {"C": "x"}], "N": None}
    assert look_up(resource, parse_path(path)) == value


@pytest.mark.parametrize("path", ["A.Missing", "B[7]", "A.Reading.Deeper", "C"])
def test_what_a_resource_does_not_have_is_told_apart_from_null(path: str) -> None:
    with pytest.raises(KeyError):
        look_up({"A": {"Reading": 1}, "B": []}, parse_path(path))


@pytest.mark.parametrize("path", ["", "A..B", "A[x]", "[", "A.B[1"])
def test_a_profile_with_a_path_that_cannot_be_is_refused(profile: Profile, path: str) -> None:
    group = profile.groups[0]
    spec = group.points[0].model_copy(update={"at": path})
    broken = profile.model_copy(update={"groups": (group.model_copy(update={"points": (spec,)}),)})
    with pytest.raises(ConfigError, match=r"redfish_cdu\.yaml: groups\[0\]"):
        redfish.open_collector(Target("cdu-9", "redfish", "h:1"), broken)
