"""Supplies of the inventory that never told of themselves: their shelf's total is a sum over the others."""

import orjson
import pytest
from facility_site import FacilitySite
from plant import Plant

from dashboard.live import Live
from dashboard.plant.gaps import Silent
from dashboard.plant.view import View, update
from dashboard.settings import DashboardSettings
from dashboard.site import Site, read_site
from dashboard.snapshot import Snapshot, build

SETTINGS = DashboardSettings()
SHELF = {"device": "shelf-A01", "rack": "A01", "kind": "power_shelf"}


@pytest.fixture
def gear(plant: Plant) -> FacilitySite:
    """The stated site, whose first shelf is written by the tests themselves."""
    made = FacilitySite(plant)
    made.inventory()
    made.silent = {"shelf-A01"}
    return made


def tell(gear: FacilitySite, at: float, *, supplies: int = 3, total: float | None = 2250.0, state: int = 0) -> None:
    """Write the shelf of four with so many supplies of 750 W, and what it takes in all."""
    put = gear.plant.put
    for name in ("psu-11", "psu-12", "psu-13", "psu-14")[:supplies]:
        for side, watts in (("input", 750.0), ("output", 731.25)):
            put("power", {**SHELF, "circuit": name, "side": side}, {"active_watts": watts}, at)
    if total is not None:
        whole = {**SHELF, "circuit": "total", "side": "input", "scope": "rack"}
        put("power", whole, {"active_watts": total, "state": state}, at)
    put("device", {"device": "shelf-A01", "rack": "A01"}, {"up": 1, "state": 0}, at)


def seen(gear: FacilitySite, old: View | None = None, at: float = 1.0, site: Site | None = None) -> View:
    gear.plant.settle()
    return update(gear.plant.store, site or read_site(gear.plant.store), SETTINGS, old, gear.plant.now + at)


def test_they_are_missed_once_their_shelf_has_answered_for_half_a_minute(gear: FacilitySite) -> None:
    tell(gear, 0)
    view = seen(gear)
    assert (view.racks[0].coverage, view.racks[0].shelves[0].unheard, view.silent) == (0.75, 1, ())
    for at in (2, 12, 22, 30):
        tell(gear, at)
    view = seen(gear, view, 30.9)
    assert view.silent == ()
    view = seen(gear, view, 31)
    assert view.silent == (Silent("shelf-A01", "A01", (), "", 1, 4),)
    # One that told of itself and tells nothing any more is missed with them.
    for at in (32, 42, 52, 62):
        tell(gear, at, supplies=2, total=1500.0)
    view = seen(gear, view, 65)
    assert view.silent == (Silent("shelf-A01", "A01", ("psu-13",), "", 1, 4),)
    assert view.racks[0].coverage == 0.5
    # The one that had never told does, and so do all others.
    for at in (64, 66):
        tell(gear, at, supplies=4, total=3000.0)
    view = seen(gear, view, 67)
    assert (view.silent, view.racks[0].coverage) == ((), 1.0)


def test_a_shelf_that_tells_nothing_itself_has_none_that_were_never_heard(gear: FacilitySite) -> None:
    for at in (-4, -2, 0):
        tell(gear, at)
    view = seen(gear, seen(gear), 60)
    assert (view.silent, view.racks[0].shelves[0].unheard, view.racks[0].coverage) == ((), 0, 0.0)


@pytest.mark.parametrize(
    ("told", "unheard", "coverage"),
    [
        ({}, 1, 0.75),
        ({"supplies": 4, "total": 3000.0}, 0, 1.0),
        ({"supplies": 2, "total": 1500.0}, 2, 0.5),
        # The shelf measures the whole itself: what four supplies take, of which three tell.
        ({"total": 3000.0}, 1, 1.0),
        # Half of what the fourth would add at an even share: 2,250 W x (1 + 0.5 / 3) = 2,625 W.
        ({"total": 2624.0}, 1, 0.75),
        ({"total": 2626.0}, 1, 1.0),
        # A shelf that tells of itself as a whole alone, and one that is switched off.
        ({"supplies": 0, "total": 3000.0}, 0, 1.0),
        ({"state": 3}, 0, 1.0),
    ],
)
def test_what_a_total_speaks_of(gear: FacilitySite, told: dict[str, float], unheard: int, coverage: float) -> None:
    tell(gear, 0, **told)  # type: ignore[arg-type]
    (shelf,) = seen(gear).racks[0].shelves
    assert (shelf.unheard, shelf.coverage) == (unheard, coverage)


def test_without_a_count_in_the_inventory_those_seen_are_all(gear: FacilitySite, plant: Plant) -> None:
    plant.pending = [p for p in plant.pending if (p.tags.get("id"), p.tags.get("parent")) != ("shelf-A01", "A01")]
    tell(gear, 0)
    (shelf,) = seen(gear).racks[0].shelves
    assert (shelf.expected, shelf.unheard, shelf.coverage) == (3, 0, 1.0)


def test_each_shelf_of_a_rack_counts_by_its_supplies(gear: FacilitySite, plant: Plant) -> None:
    gear._part("shelf", "shelf-2", "A01", expected_count=2)
    tell(gear, 0)
    for name in ("psu-1", "psu-2"):
        tags = {"device": "shelf-2", "rack": "A01", "kind": "power_shelf", "circuit": name, "side": "input"}
        plant.put("power", tags, {"active_watts": 750.0}, 0)
    assert seen(gear).racks[0].coverage == pytest.approx(5 / 6)


def shot(gear: FacilitySite, **told: float) -> tuple[View, Snapshot]:
    """Return view and snapshot of 70 s in which three of the four supplies tell."""

    def write(at: float) -> None:
        gear.write(at)
        tell(gear, at, **told)  # type: ignore[arg-type]

    gear.plant.run(start=-70, skip=("shelf-A01", "shelf-A02"), also=write)
    gear.plant.settle()
    site = read_site(gear.plant.store)
    view = seen(gear, None, 1.0, site)
    return view, build(gear.plant.store, site, SETTINGS, None, gear.plant.now + 1, plant=view)


def test_numbers_over_a_part_say_so(gear: FacilitySite) -> None:
    numbers = shot(gear)[1].numbers
    # 2,250 W of three supplies and 3,000 W of the other rack: 3 of 4 and 4 of 4 are known.
    told = numbers["rack_watts"]
    assert (told.value, told.coverage, told.quality) == (pytest.approx(5250), pytest.approx(0.875), 1)
    assert told.why == "A01: 75 % of its supplies are known"
    # 400 W of the network rack beside them.
    told = numbers["it_watts"]
    assert (told.value, told.coverage, told.quality) == (pytest.approx(5650), pytest.approx(2.75 / 3), 1)
    assert (numbers["pue"].quality, numbers["pue"].coverage) == (1, pytest.approx(2.75 / 3))


def test_a_rack_too_little_of_which_is_known_is_withheld_where_all_is(gear: FacilitySite) -> None:
    gear.silent.add("shelf-A02")
    told = shot(gear, supplies=2, total=1500.0)[1].numbers["rack_watts"]
    # 2 of 4 supplies of one rack and none of the other.
    assert (told.value, told.coverage, told.quality) == (None, pytest.approx(0.25), 2)


def test_the_building_system_stands_in_for_a_shelf_that_is_known_in_part(gear: FacilitySite, plant: Plant) -> None:
    building = {"device": "A01", "rack": "A01", "kind": "rack", "scope": "rack", "circuit": "total", "side": "input"}
    for at in range(-70, 1, 5):
        plant.put("power", building, {"active_watts": 3010.0}, at)
    view, made = shot(gear)
    assert (made.numbers["rack_watts"].value, made.numbers["rack_watts"].coverage) == (pytest.approx(6010), 1.0)
    assert (view.racks[0].watts, view.racks[0].source, view.racks[0].coverage) == (3010, "rack", 1.0)
    assert made.numbers["rack_watts"].why == ""


def test_a_shelf_that_measures_the_whole_is_whole(gear: FacilitySite) -> None:
    told = shot(gear, total=3000.0)[1].numbers["rack_watts"]
    assert (told.value, told.coverage, told.why) == (pytest.approx(6000), 1.0, "")


def test_low_headroom_has_its_limits(gear: FacilitySite) -> None:
    numbers = shot(gear, supplies=4, total=3000.0)[1].numbers
    # Told from 15 % of the usable power down, and from 90 % of the 10 kW of the feed that stays up.
    assert numbers["bus_headroom_ratio"].limit == 0.15
    assert numbers["feed_headroom_watts"].limit == pytest.approx(1000)


BUILDING = {"device": "A01", "rack": "A01", "kind": "rack", "scope": "rack", "circuit": "total", "side": "input"}


@pytest.mark.parametrize(
    ("told", "building", "it_watts"),
    [
        # 3,000 W of each rack and 400 W of the network rack.
        ({"supplies": 4, "total": 3000.0}, False, 6400.0),
        # 3 of 4 supplies of one of three racks: 2.75 / 3 = 92 % are known, too few for the hour.
        ({}, False, None),
        ({}, True, 6410.0),
        # What the shelf measures itself is whole, and so is one that is switched off.
        ({"total": 3000.0}, False, 6400.0),
        ({"total": 2250.0, "state": 3}, False, 5650.0),
    ],
)
def test_the_hour_counts_them_as_the_live_numbers_do(
    gear: FacilitySite, told: dict[str, float], building: bool, it_watts: float | None
) -> None:
    def write(at: float) -> None:
        gear.write(at)
        tell(gear, at, **told)  # type: ignore[arg-type]
        if building:
            gear.plant.put("power", BUILDING, {"active_watts": 3010.0}, at)

    gear.plant.run(start=-70, skip=("shelf-A01", "shelf-A02"), also=write)
    gear.plant.settle()
    live = Live(gear.plant.store, SETTINGS, clock=lambda: gear.plant.now + 1)
    live.tick()
    live.tick_history()
    assert live.history is not None
    assert live.snapshot is not None
    hour = orjson.loads(live.history.body)["series"]["it_watts"]
    now = orjson.loads(live.snapshot.body)["numbers"]["it_watts"]
    assert hour[-1] == (it_watts if it_watts is None else pytest.approx(it_watts))
    assert (now["quality"] == 0) == (it_watts is not None)
