"""The keys of a Redfish profile, the mistakes in them, and what the shipped profiles make of a service."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from redfish_service import CDU, Service, served

from collectors.collector import Collector, PollResult, UnknownDeviceError
from collectors.profile import Profile, load_profile
from collectors.redfish import collector as redfish
from collectors.redfish.coolant import heat_watts
from storage.config import ConfigError

NODE = "/redfish/v1/Chassis/Node"
REPORT = "/redfish/v1/TelemetryService/MetricReports/Power"


def shipped() -> list[Profile]:
    names = ("redfish_cdu", "redfish_environment", "redfish_leak_detectors", "redfish_power_shelf", "redfish_rack_pdu")
    return [load_profile(name) for name in names]


async def polled(service: Service, profile: Profile, **options: str) -> PollResult:
    collector: Collector = redfish.open_collector(service.target(options={"tls": "off", **options}), profile)
    try:
        return await collector.poll(1)
    finally:
        await collector.aclose()


def fields(result: PollResult, **tags: str) -> Mapping[str, object]:
    found = [p for p in result.points if {k: v for k, v in p.tags.items() if k not in ("device", "host")} == tags]
    assert len(found) == 1, (tags, [p.tags for p in result.points])
    return found[0].fields


GOOD = """
profile: acme
model: Acme
kind: cdu
protocol: redfish
source: test
match: {root_has: ThermalEquipment, has: "/redfish/v1/ThermalEquipment/CDUs/*"}
transport: {max_connections: 1, expand: off, events: false, variables: {level: [tray, rack]}}
groups:
  - each:
      {uri: "/redfish/v1/Chassis/*/Leaks/*", as: [chassis, leak], of: "/redfish/v1/Chassis/{chassis}", where: {A.B: 1}}
    tags: {level: "{level}", detector: "{leak}"}
    points:
      - {to: leak.state, at: [DetectorState, "S[0].State", "S[Id={leak}].State"], enum: {OK: 0}}
  - each: {uri: "/redfish/v1/Connector"}
    tags: {kind: cdu, loop: tcs}
    points:
      - {to: coolant.heat_watts, at: "@heat"}
"""


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("", "", "", ""),
        ('uri: "/redfish/v1/Chassis/*/Leaks/*", ', "", "groups[0].each", "needs a uri"),
        (
            "/redfish/v1/Chassis/*/Leaks/*",
            "/Chassis/*/Leaks/*",
            "groups[0].each.uri",
            "is no path of a Redfish service",
        ),
        ("/redfish/v1/Chassis/*/Leaks/*", "/redfish/v1/Chass*/L/*", "groups[0].each.uri", "is no path"),
        ("[chassis, leak]", "[chassis]", "groups[0].each.as", "one name per * of the uri: 2"),
        ("[chassis, leak]", "[chassis, chassis]", "groups[0].each.as", "one name per * of the uri: 2"),
        ('Connector"', 'Connector/*"', "groups[1].each", "one name per * of the uri: 1"),
        ("where:", "were:", "groups[0].each.were", "unknown key"),
        ("where: {A.B: 1}", "where: A.B", "groups[0].each.where", "is no table of properties"),
        ("{A.B: 1}", "{A..B: 1}", "groups[0].each.where.A..B", "is no path like"),
        ("Chassis/{chassis}", "Chassis/{case}", "groups[0].each.of", "no row variable 'case'"),
        ('of: "/redfish/v1/', 'of: "/', "groups[0].each.of", "is no path of a Redfish service"),
        ("S[0].State", "S[x].State", "groups[0].points[0].at[1]", "is no path like"),
        ("S[Id={leak}]", "S[Id={lek}]", "groups[0].points[0].at[2]", "no row variable 'lek'"),
        ('level: "{level}"', 'level: "{levle}"', "groups[0].tags.level", "no row variable 'levle'"),
        (
            "coolant.heat_watts, at",
            "coolant.heat_reported_watts, at",
            "groups[1].points[0].at",
            "goes to coolant.heat_watts",
        ),
        ("root_has: ThermalEquipment", "root: ThermalEquipment", "match.root", "unknown key"),
        ("root_has: ThermalEquipment", "root_has: 7", "match.root_has", "is no property of the service root"),
        ('has: "/redfish/v1/Therm', 'has: "redfish/v1/Therm', "match.has", "is no path of a Redfish service"),
        ("max_connections: 1", "max_connections: 3", "transport.max_connections", "must be 1 or 2"),
        ("max_connections: 1", "connections: 1", "transport.connections", "unknown key"),
        ("expand: off", "expand: maybe", "transport.expand", "'maybe' is no such way"),
        ("events: false", "events: 2", "transport.events", "must be true or false"),
        ("[tray, rack]", "tray", "transport.variables", "needs a list of values for each name"),
    ],
)
def test_each_mistake_is_told_with_its_place(old: str, new: str, key: str, reason: str) -> None:
    assert GOOD.count(old) == 1 or not old
    profile = Profile.model_validate(yaml.safe_load(GOOD.replace(old, new) if old else GOOD))
    problems = [(_dotted(at), wrong.reason) for at, wrong in redfish.check_profile(profile)]
    if not key:
        assert problems == []
        return
    assert problems[0][0] == key
    assert reason in problems[0][1]
    with pytest.raises(ConfigError, match=r"acme\.yaml"):
        redfish.open_collector(Service().target(), profile)


def _dotted(at: tuple[object, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at).removeprefix(".")


async def test_a_cdu_whose_only_loop_is_the_racks_calls_it_primary(service: Service) -> None:
    service.overlay[f"{CDU}/SecondaryCoolantConnectors"] = {"Members": []}
    plain = await polled(service, load_profile("redfish_cdu"))
    assert "temperature_celsius" in fields(plain, kind="cdu", loop="fws", point="supply")
    told = await polled(service, load_profile("redfish_cdu"), primary_loop="tcs")
    assert fields(told, kind="cdu", loop="tcs", point="supply")["temperature_celsius"] == 30.0
    assert not [p for p in told.points if p.tags.get("loop") == "fws"]
    # 0.7 L/s of PG25 over 10 K at 35 degC: 0.7 x 1.0125 x 3.957 x 10 = 28.05 kW
    assert fields(told, kind="cdu", loop="tcs")["heat_watts"] == pytest.approx(28_050, rel=2e-3)
    lines = await redfish.examine(service.target(), load_profile("redfish_cdu"))
    assert [line for line in lines if "set option primary_loop: tcs" in line]


COOLANT = {"DensityKgPerCubicMeter": 1030, "SpecificHeatkJoulesPerKgK": 3.7}
CONNECTOR = {
    "FlowLitersPerMinute": {"Reading": 60},
    "SupplyTemperatureCelsius": {"Reading": 30},
    "ReturnTemperatureCelsius": {"Reading": "40"},
}


@pytest.mark.parametrize("place", ["connector", "loop"])
async def test_heat_takes_density_and_specific_heat_from_the_device(service: Service, place: str) -> None:
    loop = "/redfish/v1/ThermalEquipment/CoolingLoops/Rack"
    link = {"Links": {"ConnectedCoolingLoop": {"@odata.id": loop}}}
    own = {"Coolant": COOLANT} if place == "connector" else link
    service.overlay[f"{CDU}/SecondaryCoolantConnectors/1"] = {**CONNECTOR, **own}
    service.overlay[loop] = {"Coolant": COOLANT}
    result = await polled(service, load_profile("redfish_cdu"))
    # 1 L/s x 1.030 kg/L x 3.7 kJ/(kg K) x 10 K = 38.11 kW
    assert fields(result, kind="cdu", loop="tcs")["heat_watts"] == pytest.approx(38_110)


@pytest.mark.parametrize(
    ("connector", "expected"),
    [
        ({**CONNECTOR, "Coolant": COOLANT}, 38_110.0),
        ({**CONNECTOR, "Coolant": {**COOLANT, "DensityKgPerCubicMeter": 1.03}}, None),
        ({**CONNECTOR, "Coolant": {**COOLANT, "SpecificHeatkJoulesPerKgK": 3700}}, None),
        ({**CONNECTOR, "Coolant": {**COOLANT, "SpecificHeatkJoulesPerKgK": None}}, None),
        ({**CONNECTOR, "Coolant": COOLANT, "FlowLitersPerMinute": {"Reading": -1}}, None),
        ({**CONNECTOR, "Coolant": COOLANT, "SupplyTemperatureCelsius": {"Reading": 999}}, None),
        ({**CONNECTOR, "Coolant": COOLANT, "ReturnTemperatureCelsius": {"Reading": True}}, None),
        ({**CONNECTOR, "Coolant": "PG25"}, None),
    ],
)
def test_no_heat_of_a_coolant_that_cannot_be(connector: dict[str, Any], expected: float | None) -> None:
    heat = heat_watts(connector, {})
    assert heat == (None if expected is None else pytest.approx(expected))


def node(**chassis: object) -> dict[str, object]:
    root = {"Systems": {}, "Chassis": {}}
    collection = {"Members": [{"@odata.id": f"/redfish/v1/Chassis/{name}"} for name in chassis]}
    return {"/redfish/v1": root, "/redfish/v1/Chassis": collection} | {
        f"/redfish/v1/Chassis/{name}": body for name, body in chassis.items()
    }


async def test_a_node_is_the_chassis_that_none_contains(service: Service) -> None:
    board = {"Links": {"ContainedBy": {"@odata.id": NODE}}}
    service.overlay = node(Board=board, Node={})
    service.overlay[f"{NODE}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": "9000"}}
    service.overlay["/redfish/v1/Chassis/Board/EnvironmentMetrics"] = {"PowerWatts": {"Reading": 700}}
    profile = load_profile("redfish_environment")
    total = {"kind": "node", "scope": "node", "circuit": "total", "side": "input"}
    whole = await polled(service, profile)
    assert fields(whole, **total) == {"active_watts": 9000.0}
    assert {p.tags["host"] for p in whole.points} == {"cdu-9"}
    # A person who names a chassis means it, whatever contains it.
    assert fields(await polled(service, profile, chassis="Board"), **total) == {"active_watts": 700.0}


async def test_several_nodes_of_one_service_are_told_apart_by_option(service: Service) -> None:
    service.overlay = node(Left={}, Right={})
    for name, watts in (("Left", 1000), ("Right", 2000)):
        service.overlay[f"/redfish/v1/Chassis/{name}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": watts}}
    profile = load_profile("redfish_environment")
    both = await polled(service, profile)
    assert [line for line in both.rejected if "second reading for the same series" in line]
    lines = await redfish.examine(service.target(), profile)
    assert "several of chassis: Left, Right: name one by option chassis, a target for each" in lines
    right = await polled(service, profile, chassis="Ri*")
    assert right.rejected == ()
    assert [p.fields["active_watts"] for p in right.points] == [2000.0]


async def test_a_metric_report_gives_the_newest_value_as_text(service: Service) -> None:
    prop = f"{NODE}/EnvironmentMetrics#/PowerWatts"
    values = [
        {"MetricProperty": prop, "MetricValue": "8000.0", "Timestamp": "2025-02-12T12:25:00-0600"},
        {"MetricProperty": f"{prop}/Other", "MetricValue": "1"},
        {"MetricProperty": prop, "MetricValue": "9500.25"},
        {"MetricId": "Temp", "MetricValue": "on fire"},
    ]
    service.overlay[REPORT] = {"MetricValues": values}
    text = {
        "groups": [
            {
                "each": {"uri": REPORT},
                "tags": {"circuit": "total"},
                "points": [
                    {"to": "power.active_watts", "at": f"MetricValues[MetricProperty={prop}].MetricValue"},
                    {"to": "environment.temperature_celsius", "at": "MetricValues[MetricId=Temp].MetricValue"},
                    {"to": "power.voltage_volts", "at": "MetricValues[MetricId=Volt].MetricValue"},
                ],
            }
        ]
    }
    head = {"profile": "acme", "model": "Acme", "kind": "bmc", "protocol": "redfish", "source": "test"}
    result = await polled(service, Profile.model_validate(head | text))
    assert [dict(p.fields) for p in result.points] == [{"active_watts": 9500.25}]
    assert result.missing == ()
    assert result.rejected == ("environment.temperature_celsius='on fire': not a number",)


async def test_a_boolean_is_no_number(service: Service) -> None:
    service.overlay[f"{CDU}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": True}}
    result = await polled(service, load_profile("redfish_cdu"))
    assert not [p for p in result.points if p.measurement == "power"]
    assert [line for line in result.rejected if "'True': not a number" in line]


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ({"ThermalEquipment": {}}, "redfish_cdu"),
        ({"PowerEquipment": {}, "Chassis": {}}, "redfish_power_shelf"),
        ({"Systems": {}, "Chassis": {}}, "redfish_environment"),
    ],
)
async def test_each_kind_of_service_is_known(service: Service, root: dict[str, object], expected: str) -> None:
    service.overlay["/redfish/v1"] = root
    service.overlay["/redfish/v1/PowerEquipment/PowerShelves"] = {"Members": [{"@odata.id": "/redfish/v1/x"}]}
    assert (await redfish.identify(service.target(), shipped())).profile == expected


async def test_a_service_that_nothing_fits_is_unknown_and_nothing_is_guessed(service: Service) -> None:
    service.overlay["/redfish/v1"] = {"PowerEquipment": {}}
    with pytest.raises(UnknownDeviceError, match="fits none of the profiles redfish_cdu, redfish_environment"):
        await redfish.identify(service.target(), shipped())


async def test_an_empty_bay_withholds_no_sum_and_a_supply_without_reading_does() -> None:
    async with served("public-power-shelf") as service:
        supplies = "/redfish/v1/Chassis/PowerShelf/PowerSubsystem/PowerSupplies"
        profile = load_profile("redfish_power_shelf")
        total = {"kind": "power_shelf", "circuit": "total", "side": "output"}
        assert fields(await polled(service, profile), **total) == {"active_watts": 937.4}
        service.overlay[f"{supplies}/Bay3"] = {"Status": {"State": "Enabled", "Health": "OK"}}
        service.overlay[f"{supplies}/Bay3/Metrics"] = {"OutputPowerWatts": {"Reading": None}}
        result = await polled(service, profile)
    assert not [p for p in result.points if total.items() <= p.tags.items()]
    assert result.missing == (f"{supplies}/Bay3/Metrics OutputPowerWatts.Reading: no value",)
