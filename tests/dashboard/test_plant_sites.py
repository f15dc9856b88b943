"""Power and coolant of sites that are built or equipped otherwise than the stated one."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from facility_site import SHELVES, SUPPLIES, FacilitySite
from plant import Plant

from dashboard.alarms import engine
from dashboard.heat import loops
from dashboard.plant.feeds import FeedNow, failovers, feeds, groups, hangs_on
from dashboard.plant.view import View, update
from dashboard.settings import DashboardSettings
from dashboard.site import Cdu, Site, read_site
from dashboard.snapshot import Snapshot, build

SETTINGS = DashboardSettings()


@pytest.fixture
def gear(plant: Plant) -> FacilitySite:
    made = FacilitySite(plant)
    made.inventory()
    return made


def seen(of: FacilitySite, old: View | None = None, after: float = 1.0, **settings: object) -> View:
    """Return the view `after` seconds past the plant's now."""
    of.plant.settle()
    own = DashboardSettings.model_validate(settings)
    return update(of.plant.store, read_site(of.plant.store), own, old, of.plant.now + after)


def feed(name: str, watts: float | None, *, parts: Iterable[str] = (), racks: Iterable[str] = ("A01",)) -> FeedNow:
    return FeedNow(name, watts, 10e3, None, tuple(racks), tuple(parts), 0, 0, lost=False, age=1.0)


@pytest.mark.parametrize("name", ["feed-a", "Feed A", "ups_a", "hall 1/A", "a"])
def test_a_supply_finds_its_feed_by_the_last_word_of_its_name(name: str) -> None:
    assert hangs_on("A", name)
    assert not hangs_on("B", name)
    assert not hangs_on("", name)


def test_feeds_of_two_pdus_in_one_rack_stand_in_for_each_other() -> None:
    one, two = feed("a", 4e3, parts=["pdu-1a"]), feed("b", 3e3, parts=["pdu-1b"])
    other = feed("c", 0.0, parts=["pdu-9c"], racks=["Z09"])
    assert groups([one, two, other]) == [["a", "b"], ["c"]]
    (group,) = failovers([one, two, other])
    assert (group.watts, group.rated_watts, group.ratio, group.headroom_watts) == (7e3, 10e3, 0.7, 3e3)


def test_of_feeds_without_the_lost_one_the_others_are_what_is_left() -> None:
    lost = replace(feed("a", 0.0), lost=True, rated_watts=8e3)
    (group,) = failovers([lost, feed("b", 6e3), feed("c", 5e3)])
    assert (group.rated_watts, group.ratio, group.headroom_watts) == (20e3, 0.55, 9e3)
    (blackout,) = failovers([lost, replace(feed("b", 0.0), lost=True)])
    assert (blackout.ratio, blackout.rated_watts) == (None, 0)


def test_a_feed_of_an_empty_hall_is_not_lost(gear: FacilitySite, plant: Plant) -> None:
    gear.feeds["feed-c"] = 0.0
    gear._part("feed", "feed-c", "S1", rated_watts=10e3)
    gear.run([-4, -2, 0])
    assert [each.lost for each in seen(gear).feeds] == [False, False, False]
    assert plant.pending == []


def test_a_feed_held_in_reserve_is_not_lost(gear: FacilitySite) -> None:
    gear.feeds = {"feed-a": 6400.0, "feed-b": 0.0}
    gear.run([-4, -2, 0])
    assert [each.lost for each in seen(gear).feeds] == [False, True]
    assert [each.lost for each in seen(gear, gear={"reserve_feeds": ["feed-b"]}).feeds] == [False, False]


def test_when_all_feeds_carry_nothing_all_are_lost_if_racks_hang_on_them(gear: FacilitySite) -> None:
    gear.run([-4, -2, 0])
    first = seen(gear)
    gear.feeds = {"feed-a": 0.0, "feed-b": 0.0}
    gear.run([10, 12])
    assert [each.lost for each in seen(gear, first, 13).feeds] == [True, True]
    # Before anything drew power there, nothing is lost.
    site = read_site(gear.plant.store)
    assert not any(each.lost for each in feeds(site, first.ac, (), {}))


def test_of_a_silent_shelf_nobody_knows_what_its_rack_can_carry(gear: FacilitySite, plant: Plant) -> None:
    gear._part("shelf", "shelf-2", "A01", expected_count=4, rated_watts=8000.0)
    plant.settle()
    whole = {"device": "shelf-2", "rack": "A01", "kind": "power_shelf", "circuit": "total", "side": "output"}
    for at in (-4, -2, 0):
        gear.write(at)
        plant.put("power", whole, {"active_watts": 4000.0}, at)
    first = seen(gear)
    # 8 supplies of 2 kW, one in reserve, and 2,925 + 4,000 W; the second shelf tells of itself as a whole alone.
    rack = first.racks[0]
    assert (rack.usable_watts, rack.needed, rack.running, rack.spare) == (14e3, 4, 8, 4)
    for at in range(2, 16, 2):
        gear.write(at)
    rack = seen(gear, first, 15).racks[0]
    assert (rack.usable_watts, rack.headroom_ratio, rack.needed, rack.spare) == (None, None, None, None)


def test_what_is_told_between_two_polls_does_not_age_the_polls(gear: FacilitySite, plant: Plant) -> None:
    """A leak told at once, by event, and polled each 10 s."""
    rope = {"device": "B01", "rack": "B01", "detector": "rope", "level": "rack"}
    made: View | None = None
    for at in (-20, -10, 0, 0.2, 10, 20):
        plant.put("leak", rope, {"state": int(at == 0.2)}, at)
        made = seen(gear, made, at + 1)
    states = [leak.state for leak in seen(gear, made, 32).leaks if leak.device == "B01"]
    assert states == ["normal"]


def test_a_device_that_is_asked_less_often_is_not_silent_for_ever(gear: FacilitySite, plant: Plant) -> None:
    bus = {"device": "shelf-9", "rack": "A01", "pole": "total"}
    made: View | None = None
    at = 0.0
    while at < 600:
        plant.put("bus", bus, {"voltage_volts": 800.0}, at)
        made = seen(gear, made, at + 1)
        at += 2.0 if at < 10 else 20.0
    later = seen(gear, made, at - 1)
    assert [shelf.bus.volts for shelf in later.shelves if shelf.name == "shelf-9" and shelf.bus] == [800]


def test_a_rack_power_that_cannot_be_enters_nothing(gear: FacilitySite, plant: Plant) -> None:
    gear.run([-4, -2, 0])
    wrong = {("A01", "power_shelf")}
    made = update(plant.store, read_site(plant.store), SETTINGS, None, plant.now + 1, doubted=wrong)
    assert [(rack.name, rack.watts) for rack in made.racks[:2]] == [("A01", None), ("A02", 3000)]
    assert (made.racks[0].output_watts, made.racks[0].headroom_ratio, "A01" in made.memory.p99) == (None, None, False)


def test_coolant_units_with_a_rack_in_common_are_on_one_loop() -> None:
    cdus = (Cdu("1", ("A", "B")), Cdu("2", ("C",)), Cdu("3", ("B", "C")), Cdu("4", ("D",)), Cdu("5"))
    assert loops(Site(cdus=cdus)) == [({"1", "2", "3"}, {"A", "B", "C"}), ({"4"}, {"D"})]


def snapshot(plant: Plant, heats: dict[str, float], **settings: object) -> Snapshot:
    """Return the snapshot of 70 s in which these units tell their heat, W."""
    plant._part("cdu", "cdu-2", "S1")
    plant._part("rack", "A02", "cdu-2", relation="cools")
    plant.write_coolant = lambda at: [  # type: ignore[method-assign]
        plant.put("coolant", {"device": name, "kind": "cdu", "loop": "tcs", "point": "-"}, {"heat_watts": watts}, at)
        for name, watts in heats.items()
    ]
    plant.run(start=-70)
    plant.settle()
    own = DashboardSettings.model_validate(settings)
    return build(plant.store, read_site(plant.store), own, None, plant.now + 1)


def test_the_heat_of_a_unit_is_compared_with_the_racks_on_it_alone(plant: Plant) -> None:
    plant.inventory()
    plant.pending = [p for p in plant.pending if (p.tags["id"], p.tags.get("parent")) != ("A02", "cdu-1")]
    told = snapshot(plant, {"cdu-1": 2550.0}).numbers["liquid_heat_ratio"]
    # cdu-2 is silent: 2,550 of the 3,000 W of A01, and one of two racks is known.
    assert (told.value, told.coverage, told.quality) == (pytest.approx(0.85), 0.5, 1)


def test_half_of_the_units_of_a_loop_say_nothing_of_its_racks(plant: Plant) -> None:
    plant.inventory()
    told = snapshot(plant, {"cdu-1": 2550.0}).numbers["liquid_heat_ratio"]
    assert (told.value, told.coverage) == (None, 0)


def test_both_units_of_a_loop_together(plant: Plant) -> None:
    plant.inventory()
    told = snapshot(plant, {"cdu-1": 2550.0, "cdu-2": 2400.0}).numbers["liquid_heat_ratio"]
    assert (told.value, told.coverage) == (pytest.approx(4950 / 6000), 1)


def findings(gear: FacilitySite, times: Iterable[float]) -> set[tuple[str, str]]:
    """Write and look each two seconds; return every finding that came up."""
    view: View | None = None
    last: Snapshot | None = None
    found: set[tuple[str, str]] = set()
    site = None
    for at in times:
        gear.plant.write_gpus(at)
        gear.write(at)
        gear.plant.settle()
        site = site or read_site(gear.plant.store)
        view = update(gear.plant.store, site, SETTINGS, view, gear.plant.now + at + 1)
        last = build(gear.plant.store, site, SETTINGS, last, gear.plant.now + at + 1, plant=view)
        found |= {(alarm.finding.rule, alarm.finding.object) for alarm in engine.alarms(last.memory.timers)}
    return found


def test_a_lost_feed_is_one_finding_while_half_of_all_supplies_stand(gear: FacilitySite, plant: Plant) -> None:
    plant.inventory()
    gear.feeds = {"feed-a": 0.0, "feed-b": 6400.0}
    for shelf in SHELVES:
        for number, name in enumerate(SUPPLIES):
            gear.supply_watts[shelf, name] = (1500.0, 1462.5) if number % 2 else (0.0, 0.0)
    assert findings(gear, range(0, 40, 4)) == {("feed_lost", "feed-a")}


def test_when_a_whole_device_tells_nothing_its_parts_are_not_missed_one_by_one(gear: FacilitySite) -> None:
    """A collector that dies leaves each device's last word: it answered."""
    gear.run([-4, -2, 0])
    first = seen(gear)
    assert seen(gear, first, 40).silent == ()
    # One that goes on without its battery and a pump is told of both.
    gear.silent, gear.battery = {("pump", "1")}, {}
    for at in range(2, 16, 2):
        gear._unit(at)
        gear.plant.put("device", {"device": "bbu-A01", "rack": "A01"}, {"up": 1, "state": 0}, at)
    told = {one.device: one.parts for one in seen(gear, first, 15).silent}
    assert told == {"cdu-1": ("pump 1",), "bbu-A01": ("battery 64",)}
