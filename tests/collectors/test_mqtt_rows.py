"""What a board gives: messages put on it as the broker brings them, read at a time that is passed in."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from collectors.collector import DeviceTimeoutError, PollResult, Target
from collectors.mqtt.client import Board, Message, take
from collectors.mqtt.collector import MqttCollector
from collectors.profile import PACKAGED, load_profile
from storage.config import ConfigError
from storage.point import FieldValue

CLOCK = 1_760_000_000.0
HOUR_NS = 3_600_000_000_000
NO_LEAK = [{"value": 0, "text": "NoLeak"}, {"value": 1, "text": "Leak"}]


shipped = cache(load_profile)


class Bms:
    """A board of the shipped profile, a loop that began at 0 s, and a clock that runs with it."""

    def __init__(self) -> None:
        target = Target("bms", "mqtt", "127.0.0.1:1", interval=timedelta(seconds=5))
        self.collector = MqttCollector(target, shipped("nvidia_dsx_bms"))
        self.board = Board(heartbeat=0.0)
        self.now = 0.0

    def hear(self, topic: str, body: Mapping[str, Any] | None, *, is_retained: bool = False) -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        take(self.board, self.collector.topics, Message(topic, payload, is_retained), self.now, CLOCK + self.now)

    def describe(self, point: str, tail: str = "x", **body: Any) -> None:
        kind = point.split("/")[0]
        name = {"rackLocationId": "A07"} if kind == "Rack" else {"objectId": "thing-1"}
        name = {} if "associateId" in body else name
        self.hear(f"BMS/v1/PUB/Metadata/{point}/{tail}", {"objectType": kind, **name, **body})

    def tell(
        self, point: str, value: Any, tail: str = "x", *, by: str = "PUB", stamp_s: float | None = None, **more: Any
    ) -> None:
        at_s = CLOCK + self.now if stamp_s is None else stamp_s
        body = {"value": value, "timestamp": at_s * 1e3, "quality": 1}
        self.hear(f"BMS/v1/{by}/Value/{point}/{tail}", body, **more)

    def beat(self, tail: str = "bms") -> None:
        self.tell("System/HeartbeatTimestampBms", CLOCK, tail)

    def poll(self) -> PollResult:
        return self.collector.read(self.board, int((CLOCK + self.now) * 1e9), self.now)

    def fields(self) -> dict[str, FieldValue]:
        """Return what a poll gives, by device, measurement and field."""
        points = [p for p in self.poll().points if p.measurement != "inventory"]
        return {f"{p.tags['device']} {p.measurement}.{n}": v for p in points for n, v in p.fields.items()}


@pytest.fixture
def bms() -> Bms:
    return Bms()


@pytest.mark.parametrize(
    ("unit", "told", "watts"),
    [("kW", 2_500.0, 2_500_000.0), ("W", 2_500_000.0, 2_500_000.0), ("MW", 2.5, 2_500_000.0)],
)
def test_a_meter_may_tell_in_any_unit_of_power(bms: Bms, unit: str, told: float, watts: float) -> None:
    bms.describe("PowerMeter/ActivePower", engUnit=unit)
    bms.tell("PowerMeter/ActivePower", told)
    assert bms.fields() == {"thing-1 power.active_watts": pytest.approx(watts)}


def test_temperatures_in_fahrenheit_become_celsius(bms: Bms) -> None:
    bms.describe("CDU/AirTemperature", engUnit="F")
    bms.tell("CDU/AirTemperature", 77.0)
    assert bms.fields() == {"thing-1 environment.temperature_celsius": pytest.approx(25.0)}


@pytest.mark.parametrize("unit", ["kVA", "furlongs", None])
def test_a_unit_of_another_quantity_is_refused(bms: Bms, unit: str | None) -> None:
    bms.describe("PowerMeter/ActivePower", "x", **({"engUnit": unit} if unit else {}))
    bms.tell("PowerMeter/ActivePower", 1.0)
    result = bms.poll()
    assert result.points == ()
    assert result.rejected == (f"PowerMeter/ActivePower/x=1.0: engUnit {unit!r} where the profile has kW",)


@pytest.mark.parametrize(
    ("metadata", "value", "expected"),
    [
        ({"engUnit": "%"}, 70.0, {"thing-1 coolant.pump_speed_ratio": pytest.approx(0.7)}),
        ({"engUnit": "RPM"}, 2_880.0, {"thing-1 coolant.pump_speed_rpm": 2_880.0}),
        (
            {"stateText": [{"value": 0, "text": "Off"}, {"value": 1, "text": "ON"}]},
            1.0,
            {"thing-1 coolant.pump_state": 1},
        ),
    ],
)
def test_a_pump_speed_is_what_its_metadata_says(
    bms: Bms, metadata: Mapping[str, Any], value: float, expected: Mapping[str, FieldValue]
) -> None:
    bms.describe("CDU/PumpSpeed", **metadata)
    bms.tell("CDU/PumpSpeed", value)
    result = bms.poll()
    assert (result.rejected, result.missing) == ((), ())
    assert bms.fields() == expected


@pytest.mark.parametrize("text", ["No Leak", "no_leak", "NOLEAK", "No-leak"])
def test_words_of_states_are_known_whatever_their_case_and_blanks(bms: Bms, text: str) -> None:
    # This maker counts the other way round: 1 is dry.
    bms.describe("CDU/LeakDetect", stateText=[{"value": 0, "text": "Leak"}, {"value": 1, "text": text}])
    bms.tell("CDU/LeakDetect", 1)
    assert bms.fields() == {"thing-1 leak.state": 0}
    bms.tell("CDU/LeakDetect", 0)
    assert bms.fields() == {"thing-1 leak.state": 2}


@pytest.mark.parametrize(
    ("states", "value", "why"),
    [
        (NO_LEAK, 2, "not in its stateText"),
        ([{"value": 0, "text": "Maybe"}], 0, "not among the profile's states"),
        (None, 0, "its metadata has no stateText"),
        ("Leak", 0, "its metadata has no stateText"),
        ([{"value": "x"}, 5, {"text": "Leak"}], 0, "its metadata has no stateText"),
    ],
)
def test_a_state_without_a_known_word_is_refused(bms: Bms, states: object, value: int, why: str) -> None:
    bms.describe("CDU/LeakDetect", "x", **({"stateText": states} if states is not None else {}))
    bms.tell("CDU/LeakDetect", value)
    result = bms.poll()
    assert result.points == ()
    assert why in result.rejected[0]


@pytest.mark.parametrize(("letter", "phase"), [("A", "1"), ("B", "2"), ("C", "3"), ("1", "1"), ("3", "3"), (2, "2")])
def test_phases_are_told_by_letter_or_number(bms: Bms, letter: str | int, phase: str) -> None:
    bms.describe("PowerMeter/PhaseCurrent", engUnit="A", phase=letter)
    bms.tell("PowerMeter/PhaseCurrent", 140.0)
    (point,) = bms.poll().points
    assert (point.tags["circuit"], point.tags["phase"]) == ("phase", phase)


@pytest.mark.parametrize(
    ("area", "loop", "place"),
    [
        (["Primary", "Inlet"], "fws", "supply"),
        (["Primary", "Outlet"], "fws", "return"),
        (["Secondary", "Supply"], "tcs", "supply"),
        (["secondary", "return"], "tcs", "return"),
        (["TCS", "Supply"], "tcs", "supply"),
    ],
)
def test_the_process_area_names_loop_and_point(bms: Bms, area: list[str], loop: str, place: str) -> None:
    bms.describe("CDU/LiquidTemperature", engUnit="C", processArea=area)
    bms.tell("CDU/LiquidTemperature", 30.0)
    (point,) = bms.poll().points
    assert (point.tags["kind"], point.tags["loop"], point.tags["point"]) == ("cdu", loop, place)


@pytest.mark.parametrize("area", [["Filter"], ["Primary"], [], None])
def test_a_temperature_of_no_known_place_is_left_out(bms: Bms, area: list[str] | None) -> None:
    bms.describe("CDU/LiquidTemperature", "x", engUnit="C", **({} if area is None else {"processArea": area}))
    bms.tell("CDU/LiquidTemperature", 30.0)
    result = bms.poll()
    assert (result.points, result.missing, result.rejected) == ((), (), ())


def test_a_set_point_is_no_reading(bms: Bms) -> None:
    bms.describe("CDU/LiquidTemperature", engUnit="C", processArea=["Secondary", "Supply"], isSetpoint=True)
    bms.tell("CDU/LiquidTemperature", 45.0)
    assert bms.fields() == {}


def test_an_associate_speaks_for_its_parent(bms: Bms) -> None:
    bms.describe("UPS/Status", associateId="meter-7", stateText=[{"value": 5, "text": "On Battery"}])
    bms.tell("UPS/Status", 5)
    assert bms.fields() == {"meter-7 battery.state": 2}


def test_isolation_is_told_as_a_bit(bms: Bms) -> None:
    bms.describe("Rack/RackLiquidIsolationStatus", stateText=[])
    bms.tell("Rack/RackLiquidIsolationStatus", 1.0)
    (point,) = bms.poll().points
    assert (point.tags["bit"], point.tags["rack"], point.fields) == ("liquid-isolated", "A07", {"active": 1})


def test_the_leak_of_a_tray_counts_from_the_integration_that_its_metadata_names(bms: Bms) -> None:
    bms.describe("Rack/RackLeakDetectTray", stateText=NO_LEAK, integration="manager")
    bms.tell("Rack/RackLeakDetectTray", 1, by="stranger")
    result = bms.poll()
    assert result.points == ()
    assert "published by stranger, not by manager" in result.rejected[0]
    bms.tell("Rack/RackLeakDetectTray", 1)
    assert "published by the BMS, not by manager" in bms.poll().rejected[0]
    bms.tell("Rack/RackLeakDetectTray", 1, by="manager")
    (point,) = bms.poll().points
    assert (point.tags["level"], point.fields) == ("tray", {"state": 2})


def test_an_integration_cannot_speak_in_place_of_the_bms(bms: Bms) -> None:
    bms.describe("Rack/RackLeakDetectTray", stateText=NO_LEAK)
    bms.tell("Rack/RackLeakDetectTray", 1, by="stranger")
    assert "published by stranger, not by the BMS" in bms.poll().rejected[0]


def power(bms: Bms, **told: Any) -> Callable[[float], bool]:
    """Describe and tell a rack's power now; return whether it is there some seconds later."""
    bms.describe("Rack/RackPower", engUnit="kW")
    bms.tell("Rack/RackPower", 100.0, **told)

    def is_there(later_s: float) -> bool:
        bms.now = later_s
        bms.board.heartbeat = later_s
        return bool(bms.fields())

    return is_there


@pytest.mark.parametrize(
    ("told", "lasts_until"),
    [
        ({"stamp_s": CLOCK - 4.0}, 246.0),  # near our clock: its age begins 4 s ago
        ({"stamp_s": CLOCK + 4.0}, 250.0),  # it is not younger than its arrival
        ({"stamp_s": CLOCK - 3_600.0}, 250.0),  # its clock is wrong: age since it came
        ({"stamp_s": CLOCK - 200.0, "is_retained": True}, 50.0),  # it lay there: how long, only its stamp knows
    ],
)
def test_the_age_of_a_value_begins_with_its_stamp_only_where_that_is_to_be_believed(
    bms: Bms, told: Mapping[str, Any], lasts_until: float
) -> None:
    is_there = power(bms, **told)
    assert is_there(lasts_until - 0.5)
    assert not is_there(lasts_until + 0.5)
    assert bms.poll().missing == ("Rack/RackPower/x: stale",)


def test_a_retained_value_of_yesterday_is_stale_at_once(bms: Bms) -> None:
    assert not power(bms, stamp_s=CLOCK - 86_400.0, is_retained=True)(0.0)


def test_a_silent_client_of_the_bms_takes_only_its_own_values_with_it(bms: Bms) -> None:
    for name, scope in (("north", "Rack/RackPower/north/"), ("south", "BMS/v1/PUB/Value/Rack/RackPower/south/#")):
        heart = {"objectId": "BMS", "scope": scope}
        bms.hear(f"BMS/v1/PUB/Metadata/System/HeartbeatTimestampBms/{name}", heart)
        bms.hear(f"BMS/v1/PUB/Metadata/Rack/RackPower/{name}/p", {"rackLocationId": name, "engUnit": "kW"})
        bms.tell("Rack/RackPower", 100.0, f"{name}/p")
        bms.beat(name)
    assert len(bms.fields()) == 2
    bms.now = 31.0
    bms.beat("north")
    assert set(bms.fields()) == {"north power.active_watts"}
    assert bms.poll().missing == ("Rack/RackPower/south/p: its client of the BMS is silent",)
    bms.beat("south")
    assert len(bms.fields()) == 2
    bms.now = 62.0
    with pytest.raises(DeviceTimeoutError, match="BMS silent"):
        bms.poll()


def test_metadata_that_is_taken_back_takes_the_value_with_it(bms: Bms) -> None:
    assert power(bms)(0.0)
    bms.hear("BMS/v1/PUB/Metadata/Rack/RackPower/x", None)
    assert bms.fields() == {}


def edges(result: PollResult) -> dict[tuple[str, ...], FieldValue]:
    rows = [point for point in result.points if point.measurement == "inventory"]
    assert all(point.tags["device"] == "bms" for point in rows)
    names = ("kind", "id", "relation", "parent")
    return {tuple(point.tags[name] for name in names): point.fields["present"] for point in rows}


def test_relations_are_told_in_the_first_minute_when_they_change_and_once_an_hour(bms: Bms) -> None:
    bms.describe("Rack/RackPower", engUnit="kW")
    bms.describe("PowerMeter/ActivePower", "a", objectId="main", servesId=["thing-1", "nobody", "main"], engUnit="kW")
    bms.describe("PowerMeter/ActivePower", "b", servesId=["A07"], engUnit="kW")
    bms.describe("CDU/ValvePosition", "c", objectId="cdu-1", servesId=["A07", "main"], engUnit="%")
    first = {
        ("meter", "thing-1", "feeds", "main"): 1,
        ("rack", "A07", "feeds", "thing-1"): 1,
        ("rack", "A07", "cools", "cdu-1"): 1,  # and no meter is cooled
    }
    assert edges(bms.poll()) == first
    bms.now = bms.board.heartbeat = 59.0
    assert edges(bms.poll()) == first
    bms.now = bms.board.heartbeat = 61.0
    assert edges(bms.poll()) == {}
    bms.describe("PowerMeter/ActivePower", "b", servesId=[], engUnit="kW")
    assert edges(bms.poll()) == {("rack", "A07", "feeds", "thing-1"): 0}
    bms.now = bms.board.heartbeat = 59.0 + 3_600.0
    del first["rack", "A07", "feeds", "thing-1"]
    assert edges(bms.poll()) == first


MISTAKES = [
    ("subscribe: [", "subscribes: [", "transport.subscribes", "unknown key", "did you mean 'subscribe'?"),
    ('"BMS/v1/PUB/Metadata/#"', '"BMS/#/x"', "transport.subscribe[0]", "is no topic filter", "# stands for the rest"),
    ("values: BMS/v1/PUB/Value/", "values: BMS/v1/PUB/Value", "transport.values", "no prefix", "end it with /"),
    ("integrations: BMS/v1/+/Value/", "integrations: BMS/v1/Value/", "transport.integrations", "no prefix", "write +"),
    ("stale_after: 250s", "stale_after: 250", "transport.stale_after", "", ""),
    ("relation: feeds", "relation: feds", "transport.topology.PowerMeter.relation", "feeds", ""),
    ("at: Rack/RackPower,", "at: RackPower,", "groups[1].points[0].at", "no objectType/pointType", "Rack/RackPower"),
    ('match: {topic: "BMS', 'match: {topics: "BMS', "match.topics", "unknown key", "{topic: FILTER}"),
    ("where: {what: charge}", "were: {what: charge}", "each.were", "unknown key", "did you mean 'where'?"),
    ("units: any}\n    tags: {kind: meter", "units: few}\n    tags: {kind: meter", "each.units", "'any'", ""),
    ('kind: rack, device: "{rack}"', 'kind: rack, device: "{rak}"', "tags.device", "variable 'rak'", "mean 'rack'?"),
    ("kW: kW, ", "", "groups[1].points[0].unit", "no engUnit is read as kW", "add what the metadata calls it"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "key", "reason", "hint"), MISTAKES, ids=[mistake[2] for mistake in MISTAKES])
def test_each_mistake_of_a_profile_is_told_with_its_line(
    tmp_path: Path, good: str, bad: str, key: str, reason: str, hint: str
) -> None:
    text = (PACKAGED / "nvidia_dsx_bms.yaml").read_text()
    assert good in text
    (tmp_path / "nvidia_dsx_bms.yaml").write_text(text.replace(good, bad))
    line = text[: text.index(good)].count("\n") + 1
    with pytest.raises(ConfigError) as caught:
        load_profile("nvidia_dsx_bms", [tmp_path])
    problem = next(problem for problem in caught.value.problems if problem.key.endswith(key))
    assert reason in problem.reason
    assert hint in problem.hint
    if key != "groups[1].points[0].unit":
        assert abs(problem.line - line) <= 1
