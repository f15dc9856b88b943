"""Power and coolant as one view, from points in a real store; every figure worked out from what the site states."""

from collections.abc import Iterator
from typing import Any

import pytest
from facility_site import SHELVES, FacilitySite
from plant import Plant

from dashboard.kpis import fluids
from dashboard.plant import hour
from dashboard.plant.read import BUS, COOLANT, look
from dashboard.plant.view import View, update
from dashboard.settings import DashboardSettings
from dashboard.site import Feed, Shelf, Site, read_site

SETTINGS = DashboardSettings()


@pytest.fixture
def gear(plant: Plant) -> FacilitySite:
    made = FacilitySite(plant)
    made.inventory()
    return made


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-6)


def seen(of: FacilitySite, old: View | None = None, after: float = 1.0, **settings: object) -> View:
    """Return the view `after` seconds past the plant's now."""
    of.plant.settle()
    own = DashboardSettings.model_validate(settings) if settings else SETTINGS
    return update(of.plant.store, site(of), own, old, of.plant.now + after)


def known(of: FacilitySite) -> View:
    """Return the view of three readings: the period of each, 2 s, is known."""
    of.run([-4.0, -2.0, 0.0])
    return seen(of)


def site(gear: FacilitySite) -> Site:
    return read_site(gear.plant.store)


def steps(start: float = -4.0, end: float = 0.0, step: float = 2.0) -> Iterator[float]:
    at = start
    while at <= end:
        yield at
        at += step


def test_the_inventory_names_feeds_shelves_and_loops(gear: FacilitySite) -> None:
    for kind, name, parent in (("loop", "tcs-1", "cdu-2"), ("rack", "N01", "tcs-1")):
        gear._part(kind, name, parent, relation="cools")
    gear._part("cdu", "cdu-2", "S1")
    gear.plant.settle()
    made = site(gear)
    assert made.shelves["shelf-A01"] == Shelf("shelf-A01", "A01", 4, 8000.0)
    assert made.power_feeds[0] == Feed("feed-a", 10_000.0, SHELVES, ("A01", "A02"))
    assert (made.cdus[1].loops, made.cdus[1].racks, made.racks[2].cdu) == (("tcs-1",), ("N01",), "cdu-2")


def test_a_healthy_rack(gear: FacilitySite) -> None:
    gear.run(steps())
    rack = seen(gear).racks[0]
    assert (rack.name, rack.watts, rack.source, rack.output_watts) == ("A01", 3000, "power_shelf", 2925)
    # 4 supplies of 2 kW, one in reserve: 6 kW; 2,925 W take two; 5 % of 6 kW are held back.
    assert (rack.usable_watts, rack.needed, rack.running, rack.spare) == (6000, 2, 4, 2)
    assert rack.headroom_ratio == near(1 - 2925 / 6000)
    assert rack.stranded_watts == near(6000 - 2925 - 300)
    (shelf,) = rack.shelves
    assert (shelf.efficiency_ratio, shelf.load_ratio) == (near(0.975), near(2925 / 8000))
    assert [(s.name, s.feed, s.state, s.efficiency_ratio) for s in shelf.supplies[:2]] == [
        ("psu-11", "A", "ok", near(0.975)), ("psu-12", "B", "ok", near(0.975)),
    ]  # fmt: skip
    bus = shelf.bus
    assert bus is not None
    assert (bus.kind, bus.volts, bus.deviation_ratio, bus.set_point_source) == ("+/-400 V", 800, 0, "told")
    assert (bus.imbalance_ratio, bus.insulation_ohms, bus.ohms_per_volt) == (0, 4e6, 5000)


def test_half_of_the_supplies_is_usable_where_each_feed_carries_all(gear: FacilitySite) -> None:
    gear.run(steps())
    rack = seen(gear, gear={"redundancy": "n+n"}).racks[0]
    assert (rack.usable_watts, rack.headroom_ratio) == (4000, near(1 - 2925 / 4000))


def test_a_supply_that_carries_nothing_is_lost_and_the_others_share(gear: FacilitySite) -> None:
    gear.supply_watts = {("shelf-A01", "psu-11"): (0.0, 0.0)}
    for name, watts in (("psu-12", 1000.0), ("psu-13", 900.0), ("psu-14", 1100.0)):
        gear.supply_watts["shelf-A01", name] = (watts / 0.975, watts)
    gear.run(steps())
    rack = seen(gear).racks[0]
    (shelf,) = rack.shelves
    assert (shelf.gone, shelf.running, rack.spare) == (("psu-11",), 3, 1)
    assert [s.share_error_ratio for s in shelf.supplies] == [None, *map(pytest.approx, (0.0, -0.1, 0.1))]
    assert shelf.share_error_ratio == near(0.1)


def test_a_supply_that_falls_silent_is_missed_while_its_shelf_answers(gear: FacilitySite) -> None:
    second = known(gear)
    gear.silent = {("shelf-A01", "psu-12")}
    gear.run(steps(2, 8))
    assert seen(gear, second, 9).silent == ()  # 9 s old: three periods of 2 s are under the least of 10 s
    gear.run(steps(10, 14))
    made = seen(gear, second, 14)
    assert [(s.device, s.rack, s.parts, s.why) for s in made.silent] == [
        ("shelf-A01", "A01", ("psu-12",), "unit 12: no answer")
    ]
    assert made.racks[0].running == 4  # nothing says that it does not work
    assert made.racks[0].output_watts is None  # a part of the sum is not known


def test_a_shelf_that_is_silent_as_a_whole_has_no_silent_parts(gear: FacilitySite) -> None:
    first = known(gear)
    gear.silent = {"shelf-A01"}
    gear.run(steps(2, 14))
    made = seen(gear, first, 14)
    assert made.silent == ()
    assert {supply.state for supply in made.racks[0].shelves[0].supplies} == {"silent"}
    assert made.racks[0].watts is None


def test_a_reading_that_is_left_out_grows_stale_while_others_of_its_row_go_on(gear: FacilitySite) -> None:
    first = known(gear)
    del gear.coolant["tcs", "-"]["heat_watts"]
    for end in (10, 20, 30):
        gear.run(steps(end - 8, end))
        first = seen(gear, first, end + 1)
    unit = first.units[0]
    assert (unit.tcs.heat_watts, unit.tcs.flow_liters_per_second) == (None, 0.125)
    assert unit.heat_watts == 5050  # what the unit reports


def test_what_is_stale_is_no_value(gear: FacilitySite) -> None:
    first = known(gear)
    made = seen(gear, first, 14)
    assert (made.units[0].tcs.supply_celsius, made.racks[0].watts, made.units[0].coverage) == (None, None, 0)
    assert made.units[0].age == 14


def test_of_two_collectors_the_later_stamp_wins(gear: FacilitySite, plant: Plant) -> None:
    bus = {"device": "shelf-A01", "rack": "A01", "pole": "total"}
    plant.put("bus", {**bus, "source": "c1"}, {"voltage_volts": 799.0, "ripple_volts": 0.4}, -2)
    plant.put("bus", {**bus, "source": "c2"}, {"voltage_volts": 801.0}, -1)
    plant.settle()
    held = look(plant.store, None, plant.now, real=False)[BUS]
    assert held.fresh(plant.now)["voltage_volts"] == [801]
    assert held.fresh(plant.now)["ripple_volts"] == [0.4]


def test_simulated_readings_are_left_out_beside_real_ones(gear: FacilitySite, plant: Plant) -> None:
    cdu = {"device": "cdu-9", "kind": "cdu", "loop": "tcs", "point": "supply", "synthetic": "true"}
    plant.put("coolant", cdu, {"temperature_celsius": 30.0}, -1)
    plant.settle()
    first = look(plant.store, None, plant.now, real=False)
    assert len(first[COOLANT].keys) == 1
    assert len(look(plant.store, first, plant.now + 2, real=True)[COOLANT].keys) == 0


def test_a_part_is_forgotten_after_an_hour(gear: FacilitySite) -> None:
    gear.run(steps())
    first = seen(gear)
    assert len(seen(gear, first, 3500).shelves[0].supplies) == 4
    assert seen(gear, first, 3700).shelves[0].supplies == ()


def test_the_load_of_the_last_hour_decides_the_headroom(gear: FacilitySite) -> None:
    now = 1.8e9
    load = hour.Hour()
    for slot in range(200):
        load = hour.add(load, now + 10 * slot, {"A01": 5000.0 if slot < 3 else 1000.0})
    (watts, seconds) = load.percentile(0.99)["A01"]
    # Of 200 values the 99th percentile lies between the second and the third from the top.
    assert (watts, seconds) == (near(5000), 2000)
    assert hour.add(load, now + 1990, {"A01": 9e9}).values[0, -1] == 1000  # the slot is taken
    later = hour.add(load, now + 10 * 199 + 3590, {"B": 1.0})
    assert later.percentile(0.5) == {"A01": (1000.0, 10.0), "B": (1.0, 10.0)}


def test_feeds_and_what_is_left_when_one_is_lost(gear: FacilitySite) -> None:
    gear.run(steps())
    made = seen(gear)
    assert [(f.name, f.watts, f.load_ratio, f.supplies, f.lost) for f in made.feeds] == [
        ("feed-a", 3200, 0.32, 4, False), ("feed-b", 3200, 0.32, 4, False),
    ]  # fmt: skip
    (group,) = made.failovers
    assert (group.feeds, group.watts, group.rated_watts) == (("feed-a", "feed-b"), 6400, 10_000)
    assert (group.ratio, group.headroom_watts) == (near(0.64), 3600)


def test_a_feed_that_carries_nothing_is_lost(gear: FacilitySite) -> None:
    gear.feeds = {"feed-a": 0.0, "feed-b": 6400.0}
    gear.run(steps())
    assert [feed.lost for feed in seen(gear).feeds] == [True, False]


def test_phases_of_a_rack_pdu(gear: FacilitySite) -> None:
    for phase, amperes in (("L1", 8.02), ("L2", 8.66), ("L3", 6.91)):
        gear.phases[phase]["current_amperes"] = amperes
    gear.run(steps())
    pdu = next(device for device in seen(gear).ac if device.name == "pdu-N01")
    assert (pdu.imbalance_ratio, pdu.load_ratio) == (near(1 - 6.91 / (23.59 / 3)), near(8.66 / 16))
    gear.phases["L2"] |= {"voltage_volts": 20.0}
    gear.run(steps(2, 4))
    assert next(device for device in seen(gear, None, 5).ac if device.name == "pdu-N01").lost == ("L2",)


def test_a_coolant_unit(gear: FacilitySite) -> None:
    gear.run(steps())
    filters = {"cdu-1": {"pascals": 40e3, "liters_per_second": 0.25}}
    (unit,) = seen(gear, gear={"filters": filters}).units
    assert (unit.approach_celsius, unit.dew_margin_celsius, unit.tcs.rise_celsius) == (4, 20, 10)
    assert (unit.load_ratio, unit.flow_liters_per_joule) == (0.5, near(0.125 / 5000))
    # 5 kW from 32 to at most 55 degC.
    needed = fluids.least_flow("pg25", 5000.0, 32.0, 55.0)
    assert needed is not None
    assert unit.least_flow_liters_per_second == near(needed)
    assert unit.effectiveness_ratio == near(10 / 14)
    assert (unit.heat_mismatch_ratio, unit.pumps_running, unit.pumps_needed) == (near(0.01), 2, 1)
    # 20 kPa at half the flow are 80 kPa at all of it: twice the clean filter's.
    assert unit.filter_ratio == near(2.0)


def test_an_enabled_pump_that_does_not_turn_does_not_run(gear: FacilitySite) -> None:
    gear.pumps["2"] = {"pump_speed_ratio": 0.0, "pump_state": 1}
    gear.run(steps())
    assert [pump.running for pump in seen(gear).units[0].pumps] == [True, False]


def test_the_dew_point_is_computed_where_it_is_not_told(gear: FacilitySite, plant: Plant) -> None:
    plant.put(
        "environment", {"device": "cdu-7", "point": "a"}, {"temperature_celsius": 26.5, "humidity_ratio": 0.41}, 0
    )
    cdu = {"device": "cdu-7", "kind": "cdu", "loop": "tcs", "point": "supply"}
    plant.put("coolant", cdu, {"temperature_celsius": 20.0}, 0)
    made = {unit.name: unit for unit in seen(gear).units}
    assert made["cdu-7"].dew_margin_celsius == pytest.approx(20 - 12.18, rel=1e-3)


def test_the_heat_balance_of_a_rack(gear: FacilitySite, plant: Plant) -> None:
    gear.run(steps())
    plant.put("coolant", {"device": "A01", "rack": "A01", "kind": "rack", "loop": "tcs"}, {"heat_watts": 2250.0}, 0)
    (told,) = seen(gear).heats
    assert (told.liquid_watts, told.balance_ratio) == (2250, 0)  # air is not measured: only too much is wrong
    (told,) = seen(gear, gear={"liquid_ratio": 0.85}).heats
    assert told.balance_ratio == near(0.10)  # 75 % went into liquid, 85 % should


def test_a_bus_without_a_set_point_is_compared_with_what_is_usual(gear: FacilitySite) -> None:
    made: View | None = None
    for shelf in SHELVES:
        del gear.bus[shelf, "total"]["set_point_volts"]
    for at in range(0, 140, 10):
        gear.run([at])
        made = seen(gear, made, at + 1)
    assert made is not None
    bus = made.racks[0].shelves[0].bus
    assert bus is not None
    assert (bus.set_point_volts, bus.set_point_source, bus.deviation_ratio) == (800, "usual", 0)
    gear.bus["shelf-A01", "total"]["voltage_volts"] = 760.0
    for at in (140, 150, 160):
        gear.run([at])
        made = seen(gear, made, at + 1)
    sagging = made.racks[0].shelves[0].bus
    assert sagging is not None
    assert sagging.deviation_ratio == near(-0.05)  # what is usual does not follow the sag


def test_an_empty_site_has_an_empty_view(plant: Plant) -> None:
    made = update(plant.store, Site(), SETTINGS, None, plant.now)
    assert (made.racks, made.units, made.feeds, made.silent, made.headroom_ratio) == ((), (), (), (), None)
