"""Which findings count as a fault's own, how soon, and which belong to none."""

from typing import Any

import pytest

from collectors.simulator.effects import KINDS
from collectors.simulator.findings import EXPECTED, Watch, falsifies

START = 1_760_000_000.0


def snapshot(second: float, *alarms: tuple[str, str]) -> dict[str, Any]:
    return {"time": START + second, "alarms": [{"rule": rule, "object": name} for rule, name in alarms]}


def fault(kind: str, name: str, start: float, end: float, *places: str) -> dict[str, Any]:
    return {"kind": kind, "object": name, "start": START + start, "end": START + end, "places": [name, *places]}


def watched(known: dict[str, Any], *looks: dict[str, Any]) -> Watch:
    watch = Watch(snapshot(0, ("idle_parked", "node-a02-1")))
    for look in looks:
        watch.look(look, [known])
    return watch


LOST = fault("psu_lost", "shelf-a01/208", 10, 30, "shelf-a01", "A01")


def test_a_fault_is_seen_with_the_first_snapshot_that_tells_it() -> None:
    alarm = ("supply_lost", "shelf-a01")
    watch = watched(LOST, snapshot(12), snapshot(14, alarm), snapshot(16, alarm))
    [seen] = watch.seen()
    assert (seen.kind, seen.object, seen.seconds, seen.limit) == ("psu_lost", "shelf-a01/208", 4.0, 15)
    assert seen.what == "supply_lost on shelf-a01"
    assert watch.strangers == ()


def test_a_fault_that_nobody_sees_says_what_was_wanted() -> None:
    [seen] = watched(LOST, snapshot(12), snapshot(32)).seen()
    assert (seen.seconds, seen.what) == (None, "no supply_lost")


@pytest.mark.parametrize("name", ["shelf-a01/208", "shelf-a01", "A01", "shelf-a01 psu-208"])
def test_a_part_or_the_place_of_an_object_is_its_own(name: str) -> None:
    [seen] = watched(LOST, snapshot(14, ("supply_lost", name))).seen()
    assert seen.seconds == 4.0


@pytest.mark.parametrize(
    ("second", "alarm"),
    [
        (9, ("supply_lost", "shelf-a01")),  # before the fault
        (61, ("supply_lost", "shelf-a01")),  # more than half a minute after it
        (14, ("supply_lost", "shelf-a011")),  # another shelf
        (14, ("bus_voltage", "shelf-a01")),  # no consequence of a lost supply
        (14, ("efficiency_low", "site")),
    ],
)
def test_what_comes_of_no_fault_is_a_stranger(second: float, alarm: tuple[str, str]) -> None:
    watch = watched(LOST, snapshot(second, alarm), snapshot(second + 2))
    assert watch.strangers == (" on ".join(alarm),)
    assert next(watch.seen()).seconds is None


def test_direct_consequences_and_what_was_there_before_are_no_strangers() -> None:
    watch = watched(
        LOST,
        snapshot(14, ("share_error", "shelf-a01"), ("idle_parked", "node-a02-1")),
        snapshot(16),
        snapshot(59, ("shelf_redundancy_lost", "A01"), ("idle_parked", "node-a02-1")),
    )
    assert watch.strangers == ()


def test_an_alarm_that_stands_before_any_fault_belongs_to_none() -> None:
    watch = Watch(snapshot(0, ("approach_high", "cdu-1"), ("idle_parked", "node-a02-1")))
    watch.look(snapshot(2, ("approach_high", "cdu-1"), ("idle_parked", "node-a02-1")), [LOST])
    assert watch.strangers == ("approach_high on cdu-1",)


def test_an_alarm_that_stays_on_after_its_fault_is_no_stranger_and_one_that_returns_late_is() -> None:
    alarm = ("supply_lost", "shelf-a01")
    assert watched(LOST, snapshot(14, alarm), snapshot(90, alarm), snapshot(120)).strangers == ()
    assert watched(LOST, snapshot(14, alarm), snapshot(16), snapshot(61, alarm)).strangers == (" on ".join(alarm),)


def test_an_alarm_that_was_on_before_a_fault_does_not_show_it() -> None:
    alarm = ("supply_lost", "shelf-a01")
    [seen] = watched(LOST, snapshot(9, alarm), snapshot(14, alarm)).seen()
    assert seen.seconds is None


def test_a_fault_of_which_nothing_is_said_may_show_as_anything_at_its_places_or_at_the_site() -> None:
    crash = fault("engine_crash", "node-a01-1", 10, 30, "A01", "vllm-node-a01-1")
    own = snapshot(14, ("device_silent", "vllm-node-a01-1"), ("efficiency_low", "site"), ("telemetry_lost", "A01"))
    watch = watched(crash, own, snapshot(20, ("pump_failed", "cdu-1")))
    assert list(watch.seen()) == []
    assert watch.strangers == ("pump_failed on cdu-1",)


@pytest.mark.parametrize(("at", "strangers"), [(209, ()), (211, ("efficiency_low on site",))])
def test_what_speaks_of_the_whole_site_may_follow_for_three_minutes(at: float, strangers: tuple[str, ...]) -> None:
    crash = fault("engine_crash", "node-a01-1", 10, 30, "A01", "vllm-node-a01-1")
    assert watched(crash, snapshot(20), snapshot(at, ("efficiency_low", "site"))).strangers == strangers


def test_patience_lengthens_what_is_allowed() -> None:
    watch = Watch({"time": 0.0, "alarms": []}, patience=4)
    watch.look(snapshot(20), [fault("leak", "A01", 10, 40, "A01")])
    assert [seen.limit for seen in watch.seen()] == [20]


def test_the_mapping_speaks_of_kinds_that_there_are_and_of_all_that_the_facility_can_suffer() -> None:
    facility = "leak pump_lost low_flow psu_lost bus_sag pole_imbalance phase_loss sensor_stuck unit_silent kw_for_w"
    assert EXPECTED.keys() == {*facility.split(), "insulation_low"}
    assert EXPECTED.keys() <= KINDS.keys()
    assert falsifies("gpu_reset")
    assert falsifies("kw_for_w")
    assert not falsifies("leak")
