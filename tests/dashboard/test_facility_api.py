"""Power and coolant on their way to the browser: the numbers of the snapshot, its alarms, `/api/v1/facility`."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from facility_site import FacilitySite
from flask.testing import FlaskClient
from plant import Clock, Plant

from dashboard.live import Live
from dashboard.plant import answer
from dashboard.plant.gaps import Silent
from dashboard.plant.view import View
from dashboard.settings import DashboardSettings


@pytest.fixture
def gear(plant: Plant) -> FacilitySite:
    made = FacilitySite(plant)
    made.inventory()
    return made


@pytest.fixture
def clock(plant: Plant) -> Clock:
    return Clock(plant.now + 1)


@pytest.fixture
def live(plant: Plant, clock: Clock) -> Iterator[Live]:
    made = Live(plant.store, DashboardSettings(), dict, clock)
    yield made
    made.close()


def fill(plant: Plant, gear: FacilitySite, *, start: float = -70.0) -> None:
    """Write GPUs, the meter of all and the gear."""
    plant.run(start=start, skip=("shelf-A01", "shelf-A02"), also=gear.write)
    plant.settle()


def numbers(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/v1/snapshot").json["numbers"]
    return found


def alarms(client: FlaskClient) -> list[tuple[str, str]]:
    return [(alarm["rule"], alarm["object"]) for alarm in client.get("/api/v1/snapshot").json["alarms"]]


def test_the_numbers_of_the_snapshot(plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient) -> None:
    gear.coolant["tcs", "-"]["heat_watts"] = 5100.0
    plant.write_coolant = lambda at: None  # type: ignore[method-assign]
    fill(plant, gear)
    live.tick()
    told = numbers(client)
    assert told["rack_watts"]["value"] == pytest.approx(6000)
    # 5,100 W of the 6,000 W that the racks on the unit draw.
    assert told["liquid_heat_ratio"]["value"] == pytest.approx(0.85)
    # Feeds of 10 kW that carry 3,200 W each: one of them would carry 6,400 W.
    assert told["feed_headroom_watts"]["value"] == pytest.approx(3600)
    # 2,925 W of 3 x 2 kW.
    assert told["bus_headroom_ratio"]["value"] == pytest.approx(1 - 2925 / 6000)
    same = [(told[name]["from"], told[name]["to"]) for name in ("liquid_heat_ratio", "rack_watts")]
    assert same[0] == same[1]
    assert alarms(client) == []


def test_numbers_are_withheld_with_their_reason(plant: Plant, live: Live, client: FlaskClient) -> None:
    plant.run(start=-70)
    plant.settle()
    live.tick()
    told = numbers(client)
    assert (told["feed_headroom_watts"]["value"], told["bus_headroom_ratio"]["value"]) == (None, None)
    assert told["feed_headroom_watts"]["why"] == "the inventory names no two feeds with a shelf or rack in common"


def test_a_feed_whose_meter_is_silent_withholds_the_headroom(
    plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient
) -> None:
    del gear.feeds["feed-b"]
    fill(plant, gear)
    live.tick()
    assert numbers(client)["feed_headroom_watts"]["value"] is None


def test_a_rack_that_reads_less_than_its_gpus_is_left_out(
    plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient, clock: Clock
) -> None:
    for supply in ("psu-11", "psu-12", "psu-13", "psu-14"):
        gear.supply_watts["shelf-A01", supply] = (0.75, 0.73125)
    fill(plant, gear)
    live.tick()
    clock.now += 10
    live.tick()
    told = numbers(client)["rack_watts"]
    # Four GPUs of 500 W stand in the rack: 3 W cannot be. Half of the racks are known.
    assert (told["value"], told["coverage"], told["quality"]) == (pytest.approx(3000), 0.5, 1)
    assert told["why"] == "rack A01 left out: 3 W, its GPUs alone draw 2000 W"
    assert ("value_implausible", "A01") in alarms(client)


def test_another_source_stands_in_for_one_that_cannot_be(
    plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient
) -> None:
    for supply in ("psu-11", "psu-12", "psu-13", "psu-14"):
        gear.supply_watts["shelf-A01", supply] = (0.75, 0.73125)
    bms = {"device": "A01", "rack": "A01", "kind": "rack", "scope": "rack", "circuit": "total", "side": "input"}
    for at in range(-70, 1, 5):
        plant.put("power", bms, {"active_watts": 3010.0}, at)
    fill(plant, gear)
    live.tick()
    told = numbers(client)["rack_watts"]
    assert (told["value"], told["coverage"]) == (pytest.approx(6010), 1.0)


def test_water_reaches_the_screen_with_the_next_tick(
    plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient, clock: Clock
) -> None:
    fill(plant, gear, start=-10)
    live.tick()
    gear.leak = 2
    gear.run([2.0])
    clock.now += 2
    live.tick()
    assert alarms(client) == [("leak_detected", "A01")]
    assert client.get("/api/v1/snapshot").json["racks"][0]["leak"] == 2


def test_a_sagging_bus_is_an_alarm_after_its_dwell_of_two_seconds(
    plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient, clock: Clock
) -> None:
    fill(plant, gear, start=-10)
    live.tick()
    gear.bus["shelf-A01", "total"]["voltage_volts"] = 760.0
    for at in (2.0, 4.0):
        gear.run([at])
        clock.now += 2
        live.tick()
    (alarm,) = client.get("/api/v1/snapshot").json["alarms"]
    assert alarm["title"] == "Bus of shelf-A01 at 760.0 V, 5.0 % under its set point of 800.0 V"
    assert "level" not in alarm


def test_the_answer_has_what_its_contract_shows(
    plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient
) -> None:
    assert client.get("/api/v1/facility").status_code == 503
    plant.put("coolant", {"device": "A01", "rack": "A01", "kind": "rack", "loop": "tcs"}, {"heat_watts": 2500.0}, 0)
    gear.check("shelf-A02", "product", "4.87 W ...", 0)
    fill(plant, gear, start=-10)
    live.tick()
    told = client.get("/api/v1/facility").json
    shown = json.loads((answer.__doc__ or "").split("```")[1].removeprefix("json"))
    for unit in (shown["units"][0], told["units"][0]):
        del unit["fws"]  # the same as the other loop, shown short
    told["ac"] = [device for device in told["ac"] if device["phases"]]
    assert told["limits"] == shown["limits"]
    compared = ("summary", "racks", "feeds", "failovers", "ac", "units", "batteries", "leaks", "checks")
    assert told.keys() == shown.keys()
    for name in compared:
        assert _shape(told[name]) == _shape(shown[name]), name
    assert told["supply_columns"] == shown["supply_columns"]
    assert told["racks"][0]["shelves"][0]["supplies"][0][:5] == ["psu-11", "A", 750.0, 731.25, 731.25 / 800]
    assert (told["summary"]["supplies"], told["summary"]["checks_failed"]) == (8, 1)
    assert (told["checks"][0]["text"], told["checks"][0]["since"]) == ("4.87 W ...", plant.now)
    assert told["silent"] == []
    assert shown["silent"][0].keys() == {field.name for field in fields(Silent)}


def test_limits_are_those_of_the_settings() -> None:
    given = {"reservoir_low": {"warning": 0.3, "warning_clear": 0.35, "critical": None, "critical_clear": None}}
    rules = DashboardSettings.model_validate({"alarms": {"facility": given}}).alarms.facility
    assert answer.to_json(View(0.0), None, rules)["limits"] == {
        "dew_margin_low": {"warning": 5.0, "critical": 2.0},
        "reservoir_low": {"warning": 0.3, "critical": None},
        "bus_headroom_low": {"warning": 0.15, "critical": 0.05},
        "feed_failover_overload": {"warning": 0.9, "critical": 1.0},
    }


def _shape(value: Any, path: str = "") -> set[str]:
    """Return the paths of all keys; of lists those of the first element that has any."""
    if isinstance(value, dict):
        return {path, *(inner for key, each in value.items() for inner in _shape(each, f"{path}.{key}"))}
    if isinstance(value, list):
        return _shape(value[0], path) if value and isinstance(value[0], dict | list) else {path}
    return {path}


def test_the_answer_is_conditional_and_compressed(
    plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient, clock: Clock
) -> None:
    fill(plant, gear, start=-10)
    live.tick()
    plain = client.get("/api/v1/facility")
    zipped = client.get("/api/v1/facility", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(zipped.data) == plain.data
    held = {"If-None-Match": plain.headers["ETag"]}
    assert client.get("/api/v1/facility", headers=held).status_code == 304
    clock.now += 60
    live.tick()
    assert client.get("/api/v1/facility", headers=held).status_code == 200
    assert live.numbers()["facility_build_seconds"] > 0


def test_when_the_store_fails_the_last_answer_stays(
    plant: Plant, gear: FacilitySite, live: Live, client: FlaskClient, clock: Clock
) -> None:
    fill(plant, gear, start=-10)
    live.tick()
    before = client.get("/api/v1/facility").data
    plant.store.close()
    clock.now += 60
    live.tick()
    assert client.get("/api/v1/facility").data == before
    assert "closed" in live.problem
