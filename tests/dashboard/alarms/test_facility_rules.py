"""The rules of power and coolant: both sides of each limit, hysteresis, and one root cause once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dashboard.alarms.engine import held, off_delay, on_delay, step
from dashboard.alarms.findings import Bit, Doubt, Finding, Scene, Supply
from dashboard.alarms.rules import find
from dashboard.facility import CduNow, DeviceNow, RackNow
from dashboard.facility_settings import Gear
from dashboard.number import withheld
from dashboard.plant.balance import RackHeat
from dashboard.plant.buses import BusNow
from dashboard.plant.checks import Check
from dashboard.plant.coolant import LoopNow, PumpNow, UnitNow
from dashboard.plant.feeds import AcNow, Failover, FeedNow, PhaseNow
from dashboard.plant.gaps import Silent
from dashboard.plant.parts import BatteryNow, LeakNow
from dashboard.plant.racks import RackPower
from dashboard.plant.shelves import ShelfNow, SupplyNow
from dashboard.plant.view import View
from dashboard.settings import Alarms, DashboardSettings

BUS = BusNow("+/-400 V", 800.0, 800.0, "told", 0.0, 400.0, -400.0, 0.0, 799.0, 801.0, 0.5, 4.0, 5e6, 6250.0, False, 1.0)
SUPPLIES = tuple(SupplyNow(f"psu-{11 + i}", "AB"[i % 2], 750.0, 731.25, 0.9, 0.0, 0.975, "ok", 1.0) for i in range(4))
SHELF = ShelfNow("shelf-A01", "A01", SUPPLIES, 4, 2000.0, 3000.0, 2925.0, 0.975, 0.01, 0.37, BUS, 1.0)
RACK = RackPower("A01", "A", 3e3, "power_shelf", (SHELF,), 2925.0, 2925.0, 3600.0, 6e3, 0.5125, 2775.0, 4, 2, 2)
PUMPS = tuple(PumpNow(name, True, False, 0.6, 2160.0, False) for name in ("1", "2"))
UNIT = UnitNow(
    "cdu-1", ("A01",), LoopNow(32.0, 42.0, 0.125), LoopNow(28.0, 36.0), 4.0, 5.0, 0.7, 12.0, 20.0, 5e3, 10e3, 0.5,
    2.5e-5, 0.054, 2.3, 0.25, PUMPS, 1, 0.8, 20e3, 1.0, 7.5, 0.44, 4.0, 0.01, 1.0, 1.0,
)  # fmt: skip
FEEDS = tuple(FeedNow(f"feed-{x}", 3200.0, 1e4, 0.32, ("A01",), ("shelf-A01",), 2, 0, False, 1.0) for x in "ab")
FAILOVER = Failover(("feed-a", "feed-b"), 6400.0, 1e4, 0.64, 3600.0, ("A01",))
PHASES = tuple(PhaseNow(f"L{i}", 230.0, 8.0, 1800.0, 16.0) for i in (1, 2, 3))
PDU = AcNow("pdu-N01", "rack_pdu", "N01", 5400.0, 1e4, 0.5, 0.02, PHASES, (), 1.0)
BATTERY = BatteryNow("bbu-A01", "64", "A01", "ready", 1.0, 0.98, 50.0, 0.0, None, 240.0, 25.0, False, 1.0)
VIEW = View(1.0, None, (RACK,), (PDU,), FEEDS, (FAILOVER,), (UNIT,), (RackHeat("A01", 3e3, 2550.0, 0.0),), (BATTERY,))
NONE = withheld("", "site", "", "no data")
SETTINGS = DashboardSettings(gear=Gear(supply_efficiency_ratio=0.975))
HEALTHY = Scene(
    settings=SETTINGS,
    racks=(RackNow("A01", "A", 8e3, 10e3, 32.0, 42.0, 0.2, 0.25, 0),),
    hosts=(),
    cdus=(CduNow("cdu-1", ("A01",), 32.0, 42.0, 28.0, 36.0, 0.2, 5e3, (0.6, 0.6), 1e5, 1e4, 0.25, 1.0),),
    leaks=(),
    devices=(),
    supplies=(),
    bits=(),
    numbers={"pue": NONE, "tokens_per_joule_it": NONE},
    uplinks={},
    plant=VIEW,
)


def with_shelf(**change: Any) -> View:
    return replace(VIEW, racks=(replace(RACK, shelves=(replace(SHELF, **change),)),))


def with_bus(**change: Any) -> View:
    return with_shelf(bus=replace(BUS, **change))


def with_rack(**change: Any) -> View:
    return replace(VIEW, racks=(replace(RACK, **change),))


def with_unit(**change: Any) -> View:
    return replace(VIEW, units=(replace(UNIT, **change),))


def with_pdu(**change: Any) -> View:
    return replace(VIEW, ac=(replace(PDU, **change),))


def with_battery(**change: Any) -> View:
    return replace(VIEW, batteries=(replace(BATTERY, **change),))


def found(view: View, before: dict[tuple[str, str], int] | None = None, **change: Any) -> list[Finding]:
    return find(replace(HEALTHY, plant=view, held=before or {}, **change))


def told(view: View, before: dict[tuple[str, str], int] | None = None, **change: Any) -> list[tuple[str, str, int]]:
    return [(finding.rule, finding.object, finding.level) for finding in found(view, before, **change)]


def test_a_healthy_plant_says_nothing() -> None:
    assert found(VIEW) == []


#: rule, object, value -> view, values that are: fine, warning, fine once it was told (clear), critical, warning again
LIMITS: tuple[tuple[str, str, Callable[[float], View], tuple[float, float, float, float, float]], ...] = (
    ("bus_voltage", "shelf-A01", lambda v: with_bus(deviation_ratio=v), (-0.0199, -0.0201, -0.0149, -0.0501, -0.0399)),
    ("bus_voltage", "shelf-A01", lambda v: with_bus(deviation_ratio=v), (0.0199, 0.0201, 0.0149, 0.0501, 0.0399)),
    (
        "bus_pole_imbalance",
        "shelf-A01",
        lambda v: with_bus(imbalance_ratio=v),
        (0.0199, 0.0201, 0.0149, 0.0501, 0.0399),
    ),
    ("insulation_low", "shelf-A01", lambda v: with_bus(ohms_per_volt=v), (501.0, 499.0, 551.0, 99.0, 121.0)),
    ("bus_headroom_low", "A01", lambda v: with_rack(headroom_ratio=v), (0.151, 0.149, 0.181, 0.049, 0.081)),
    ("bbu_soc_low", "bbu-A01 64", lambda v: with_battery(charge_ratio=v), (0.91, 0.89, 0.94, 0.49, 0.54)),
    ("bbu_soh_low", "bbu-A01 64", lambda v: with_battery(health_ratio=v), (0.81, 0.79, 0.83, 0.69, 0.73)),
    ("ac_phase_overload", "pdu-N01", lambda v: with_pdu(load_ratio=v), (0.79, 0.81, 0.76, 0.96, 0.91)),
    ("ac_imbalance", "pdu-N01", lambda v: with_pdu(imbalance_ratio=v), (0.14, 0.16, 0.11, 0.31, 0.24)),
    (
        "feed_failover_overload",
        "feed-a + feed-b",
        lambda v: replace(VIEW, failovers=(replace(FAILOVER, ratio=v),)),
        (0.89, 0.91, 0.86, 1.01, 0.96),
    ),
    ("dew_margin_low", "cdu-1", lambda v: with_unit(dew_margin_celsius=v), (5.1, 4.9, 5.6, 1.9, 2.6)),
    # Rated 5 K: over it by 2 K and 5 K, gone at 1 K and 3 K.
    ("approach_high", "cdu-1", lambda v: with_unit(approach_celsius=v), (6.9, 7.1, 5.9, 10.1, 7.9)),
    ("filter_dp_high", "cdu-1", lambda v: with_unit(filter_ratio=v), (1.49, 1.51, 1.39, 2.01, 1.79)),
    ("reservoir_low", "cdu-1", lambda v: with_unit(level_ratio=v), (0.41, 0.39, 0.46, 0.19, 0.26)),
    ("heat_mismatch", "cdu-1", lambda v: with_unit(heat_mismatch_ratio=v), (0.09, 0.11, 0.06, 0.26, 0.19)),
    ("heat_mismatch", "cdu-1", lambda v: with_unit(heat_mismatch_ratio=v), (-0.09, -0.11, -0.06, -0.26, -0.19)),
    ("coolant_flow_low", "cdu-1", lambda v: with_unit(flow_margin_ratio=v), (1.16, 1.14, 1.26, 0.99, 1.11)),
)


@pytest.mark.parametrize(("rule", "name", "view", "values"), LIMITS)
def test_limits_and_hysteresis(
    rule: str, name: str, view: Callable[[float], View], values: tuple[float, float, float, float, float]
) -> None:
    fine, warning, clear, critical, again = map(view, values)
    as_warning, as_critical = [(rule, name, 1)], [(rule, name, 2)]
    assert told(fine) == []
    assert told(warning) == as_warning
    # What is told stays until its clear limit, and comes back only at its limit.
    assert told(fine, {(rule, name): 1}) == as_warning
    assert told(clear, {(rule, name): 1}) == []
    assert told(critical) == as_critical
    assert told(critical, {(rule, name): 1}) == as_critical
    assert told(again, {(rule, name): 2}) == as_warning


@pytest.mark.parametrize(
    ("rule", "name", "view", "fine", "told_at", "clear"),
    [
        ("share_error", "shelf-A01", lambda v: with_shelf(share_error_ratio=v), 0.099, 0.101, 0.079),
        # Rated 97.5 %: told under 96.0 %, gone over 96.5 %.
        ("rectifier_efficiency_low", "shelf-A01", lambda v: with_shelf(efficiency_ratio=v), 0.961, 0.959, 0.966),
        ("delta_t_out", "cdu-1", lambda v: with_unit(tcs=LoopNow(32.0, 32.0 + v, 0.125)), 14.9, 15.1, 13.9),
        ("delta_t_out", "cdu-1", lambda v: with_unit(tcs=LoopNow(32.0, 32.0 + v, 0.125)), 4.1, 3.9, 5.1),
        ("heat_balance", "A01", lambda v: replace(VIEW, heats=(RackHeat("A01", 3e3, 3e3, v),)), 0.09, 0.11, 0.07),
    ],
)
def test_rules_of_one_level(
    rule: str, name: str, view: Callable[[float], View], fine: float, told_at: float, clear: float
) -> None:
    assert told(view(fine)) == []
    assert told(view(told_at)) == [(rule, name, 1)]
    assert told(view(fine), {(rule, name): 1}) == [(rule, name, 1)]
    assert told(view(clear), {(rule, name): 1}) == []


@pytest.mark.parametrize(
    "view",
    [
        with_pdu(imbalance_ratio=0.4, load_ratio=0.2),
        with_unit(approach_celsius=20.0, load_ratio=0.2),
        with_unit(tcs=LoopNow(32.0, 33.0, 0.125), load_ratio=0.2),
        with_shelf(efficiency_ratio=0.9, load_ratio=0.15),
        with_bus(deviation_ratio=None, ohms_per_volt=None, imbalance_ratio=None),
        with_unit(dew_margin_celsius=None, level_ratio=None, flow_margin_ratio=None, ph=None),
    ],
)
def test_little_load_and_unknown_values_are_not_judged(view: View) -> None:
    assert found(view) == []


def lost(*names: str) -> tuple[SupplyNow, ...]:
    return tuple(replace(s, state="lost", output_watts=0.0) if s.name in names else s for s in SUPPLIES)


def test_lost_supplies_and_what_is_left() -> None:
    (one,) = found(with_shelf(supplies=lost("psu-12")))
    assert (one.rule, one.object, one.title) == ("supply_lost", "shelf-A01", "Power supply psu-12 failed in shelf-A01")
    short = replace(RACK, shelves=(replace(SHELF, supplies=lost("psu-11", "psu-12")),), running=2, needed=2, spare=0)
    assert told(replace(VIEW, racks=(short,))) == [
        ("supply_lost", "shelf-A01", 1), ("shelf_redundancy_lost", "A01", 1)
    ]  # fmt: skip
    over = replace(short, running=1, needed=2, spare=-1, headroom_ratio=-0.4)
    assert told(replace(VIEW, racks=(over,)))[1:] == [("shelf_redundancy_lost", "A01", 2)]


def test_a_supplys_own_alarm_is_no_loss_while_it_carries_its_share() -> None:
    assert told(VIEW, supplies=(Supply("shelf-A01", "A01", "psu-11"),)) == []
    assert told(VIEW, supplies=(Supply("shelf-A01", "A01", "psu-99"),)) == [("supply_lost", "shelf-A01", 1)]


def test_a_lost_feed_is_one_finding_and_its_supplies_are_none() -> None:
    gone = (replace(FEEDS[0], watts=0.0, lost=True, supplies_lost=2), FEEDS[1])
    view = replace(with_shelf(supplies=lost("psu-11", "psu-13")), feeds=gone, failovers=())
    assert told(view) == [("feed_lost", "feed-a", 2)]
    # A supply of the other feed has its own trouble.
    other = replace(with_shelf(supplies=lost("psu-11", "psu-12", "psu-13")), feeds=gone, failovers=())
    assert told(other) == [("feed_lost", "feed-a", 2), ("supply_lost", "shelf-A01", 1)]


def test_a_lost_phase_explains_uneven_currents() -> None:
    assert told(with_pdu(lost=("L2",), imbalance_ratio=1.0)) == [("phase_lost", "pdu-N01", 2)]


def test_a_discharging_battery_explains_its_falling_charge() -> None:
    assert told(with_battery(state="discharging", charge_ratio=0.6)) == [("bbu_discharging", "bbu-A01 64", 1)]
    short = with_battery(state="discharging", runtime_seconds=59.0)
    assert told(short) == [("bbu_discharging", "bbu-A01 64", 1), ("bbu_runtime_low", "bbu-A01 64", 2)]


def test_an_earth_fault_is_told_once() -> None:
    bits = (Bit("shelf-A01", "A01", "ground_fault"), Bit("shelf-A01", "A01", "door_open"))
    assert told(with_bus(ground_fault=True), bits=bits) == [
        ("insulation_low", "shelf-A01", 2), ("device_alarm", "shelf-A01", 1)
    ]  # fmt: skip


def test_low_flow_explains_the_hot_return_and_the_racks() -> None:
    hot = with_unit(flow_margin_ratio=0.9, tcs=LoopNow(32.0, 57.0, 0.05), heat_mismatch_ratio=0.5)
    dry = {"racks": (replace(HEALTHY.racks[0], flow_liters_per_second=0.0),)}
    dry["cdus"] = (replace(HEALTHY.cdus[0], tcs_return_celsius=57.0),)  # type: ignore[assignment]
    assert told(hot, **dry) == [("coolant_flow_low", "cdu-1", 2)]


def test_pumps() -> None:
    one = (PUMPS[0], replace(PUMPS[1], running=False))
    assert told(with_unit(pumps=one)) == [("pump_failed", "cdu-1", 1)]
    assert told(with_unit(pumps=(PUMPS[0], replace(PUMPS[1], fault=True)))) == [("pump_failed", "cdu-1", 1)]
    both = tuple(replace(pump, running=False) for pump in PUMPS)
    # Without any pump the flow is low too: one cause, one finding.
    assert told(with_unit(pumps=both, flow_margin_ratio=0.0)) == [("pump_redundancy_lost", "cdu-1", 2)]
    resting = {"racks": (replace(HEALTHY.racks[0], watts=100.0),)}
    assert told(with_unit(pumps=both), **resting) == []


@pytest.mark.parametrize(("ph", "level"), [(7.2, 0), (7.19, 1), (7.91, 1), (8.01, 2), (6.99, 2)])
def test_coolant_quality(ph: float, level: int) -> None:
    assert told(with_unit(ph=ph)) == ([("coolant_quality", "cdu-1", level)] if level else [])


def test_readings_that_cannot_be() -> None:
    check = Check("shelf-A01", "A01", "product", "power", "4.87 W: 50.2 V x 97.0 A is 4869 W", -0.999, 3.0, 1.0)
    (one,) = found(replace(VIEW, checks=(check,)))
    assert (one.rule, one.object, one.racks) == ("value_implausible", "shelf-A01", ("A01",))
    assert one.title == "Readings of shelf-A01 left out: 4.87 W: 50.2 V x 97.0 A is 4869 W"
    silent = Silent("shelf-A01", "A01", ("psu-12",), "unit 12: no answer")
    (two,) = found(replace(VIEW, silent=(silent,)))
    assert (two.rule, two.title, two.impact) == (
        "part_silent", "No answer from psu-12 of shelf-A01", "power partly unknown",
    )  # fmt: skip
    (three,) = found(replace(VIEW, silent=(Silent("cdu-1", "", ("pump 1",), "unit 3: no answer"),)))
    assert three.impact == "readings missing"
    assert told(VIEW, doubts=(Doubt("A01", "4 W, its GPUs alone draw 4000 W"),)) == [("value_implausible", "A01", 1)]


@pytest.mark.parametrize(
    ("rule", "dwell", "clear"),
    [
        ("leak_detected", 0, 60), ("coolant_flow_low", 15, 60), ("bus_voltage", 2, 10), ("bus_pole_imbalance", 10, 30),
        ("dew_margin_low", 60, 30), ("delta_t_out", 300, 30), ("ac_phase_overload", 30, 120),
        ("rectifier_efficiency_low", 900, 30), ("part_silent", 0, 30),
    ],
)  # fmt: skip
def test_each_rule_has_its_own_dwell(rule: str, dwell: float, clear: float) -> None:
    assert (on_delay(rule, Alarms()), off_delay(rule, Alarms())) == (dwell, clear)


def test_a_site_sets_one_limit_and_keeps_the_others() -> None:
    given = {"alarms": {"facility": {"bus_voltage": {"warning": 0.03, "warning_clear": 0.02, "dwell": "4s"}}}}
    rules = DashboardSettings.model_validate(given).alarms.facility
    assert (rules.bus_voltage.warning, rules.bus_voltage.critical) == (0.03, 0.05)
    assert (rules.bus_voltage.dwell, rules.bus_voltage.clear_dwell) == (timedelta(seconds=4), timedelta(seconds=10))
    assert rules.insulation_low == Alarms().facility.insulation_low


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"bus_voltage": {"warning_clear": 0.03}}, "must not be over warning"),
        ({"reservoir_low": {"critical_clear": 0.1}}, "must not be under critical"),
        ({"bus_voltge": {}}, "bus_voltge"),
        ({"share_error": {"dwel": "1s"}}, "dwel"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(rule: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DashboardSettings.model_validate({"alarms": {"facility": rule}})


def test_the_level_at_which_a_condition_stands_decides_when_it_is_gone() -> None:
    timers = step({}, found(with_bus(deviation_ratio=-0.06)), Alarms(), 0.0)
    assert held(timers) == {("bus_voltage", "shelf-A01"): 2}
    back = found(with_bus(deviation_ratio=-0.018), held(timers))
    timers = step(timers, back, Alarms(), 2.0)
    assert held(timers) == {("bus_voltage", "shelf-A01"): 1}
    timers = step(timers, found(with_bus(deviation_ratio=-0.014), held(timers)), Alarms(), 4.0)
    assert held(timers) == {}


A_LOST = (replace(FEEDS[0], watts=0.0, lost=True, supplies_lost=2), FEEDS[1])
BOTH_LOST = tuple(replace(feed, watts=0.0, lost=True) for feed in FEEDS)


def test_a_lost_feed_explains_the_reserve_that_its_racks_lack() -> None:
    shelf = replace(SHELF, supplies=lost("psu-11", "psu-13"))
    short = replace(RACK, shelves=(shelf,), running=2, needed=3, spare=-1, headroom_ratio=-0.1)
    (one,) = found(replace(VIEW, racks=(short,), feeds=A_LOST, failovers=()))
    assert (one.rule, one.title) == ("feed_lost", "Feed feed-a carries nothing: 1 rack short of supplies")


def test_what_hangs_on_the_lost_feed_alone_is_silent_because_of_it() -> None:
    feeds = (replace(A_LOST[0], parts=("shelf-A01", "pdu-N01")), FEEDS[1])
    gone = tuple(DeviceNow(name, rack, False, 60.0) for name, rack in (("pdu-N01", "N01"), ("feed-a", "")))
    other = DeviceNow("cdu-1", "", True, 1.0)
    view = replace(VIEW, feeds=feeds, failovers=(), silent=(Silent("shelf-A01", "A01", ("psu-11",), ""),))
    assert told(view, devices=(*gone, other)) == [("feed_lost", "feed-a", 2)]
    # With the feed there, each of them is a finding of its own.
    rules = {finding.rule for finding in found(replace(view, feeds=FEEDS), devices=(*gone, other))}
    assert rules == {"device_silent", "part_silent"}


@pytest.mark.parametrize(
    ("parts", "feeds", "titles"),
    [
        ((), FEEDS, ["6 of 7 supplies of shelf-A01 answer"]),
        (("psu-12",), FEEDS, ["5 of 7 supplies of shelf-A01 answer"]),
        # Nobody knows on which feed a supply hangs that never told: it may be on the lost one.
        ((), A_LOST, ["Feed feed-a carries nothing"]),
        (("psu-12",), A_LOST, ["Feed feed-a carries nothing", "No answer from psu-12 of shelf-A01"]),
    ],
)
def test_supplies_that_were_never_heard_are_one_finding_with_the_silent_ones(
    parts: tuple[str, ...], feeds: tuple[FeedNow, ...], titles: list[str]
) -> None:
    view = replace(VIEW, feeds=feeds, failovers=(), silent=(Silent("shelf-A01", "A01", parts, "", 1, 7),))
    said = found(view)
    assert [finding.title for finding in said] == titles
    assert [finding.object for finding in said if finding.rule == "part_silent"] in ([], ["shelf-A01"])


def test_without_any_feed_batteries_are_no_news_of_their_own() -> None:
    on_battery = {"batteries": (replace(BATTERY, state="discharging"),), "failovers": ()}
    assert told(replace(VIEW, feeds=BOTH_LOST, **on_battery)) == [
        ("feed_lost", "feed-a", 2),
        ("feed_lost", "feed-b", 2),
    ]
    # With feed B there, a battery that carries the load says that B does not reach its rack.
    view = replace(VIEW, feeds=A_LOST, **on_battery)
    assert told(view) == [("feed_lost", "feed-a", 2), ("bbu_discharging", "bbu-A01 64", 1)]


def test_what_the_other_feed_carries_is_told_as_what_is() -> None:
    left = replace(FAILOVER, ratio=0.98)
    titles = [finding.title for finding in found(replace(VIEW, feeds=A_LOST, failovers=(left,)))]
    assert titles == ["Feed feed-a carries nothing", "feed-b carries 98 % of its rating, without feed-a"]


def test_a_phase_that_the_feed_lost_is_told_of_the_feed_alone() -> None:
    feed = replace(PDU, name="feed-a", kind="meter", rack="", lost=("L2",))
    feeds = (replace(FEEDS[0], parts=("shelf-A01", "pdu-N01")), FEEDS[1])
    view = replace(VIEW, ac=(feed, replace(PDU, lost=("L2",))), feeds=feeds)
    assert told(view) == [("phase_lost", "feed-a", 2)]


STILL = tuple(replace(pump, running=False) for pump in PUMPS)
SPARE = replace(UNIT, name="cdu-2", pumps=STILL, flow_margin_ratio=None, heat_watts=0.0, load_ratio=0.0)
SPARE_CDU = replace(HEALTHY.cdus[0], name="cdu-2", tcs_supply_celsius=12.0, tcs_flow_liters_per_second=0.0)


def test_a_unit_that_stands_by_for_another_on_its_racks_is_no_finding() -> None:
    both = {"cdus": (HEALTHY.cdus[0], replace(SPARE_CDU, pumps=(0.0, 0.0)))}
    assert told(replace(VIEW, units=(UNIT, SPARE)), **both) == []
    # The one at work has to carry all, and is held to it: 8 kW of 10 kW want 0.8 x 0.5 of 0.25 L/s.
    dry = {"cdus": (replace(HEALTHY.cdus[0], tcs_flow_liters_per_second=0.09), both["cdus"][1])}
    assert told(replace(VIEW, units=(UNIT, SPARE)), **dry) == [("coolant_flow_low", "cdu-1", 1)]
    # A fault is no standby, and neither is a unit that stands while none serves its racks.
    broken = replace(SPARE, pumps=(replace(STILL[0], fault=True), STILL[1]))
    assert ("pump_redundancy_lost", "cdu-2", 2) in told(replace(VIEW, units=(UNIT, broken)), **both)
    assert ("pump_redundancy_lost", "cdu-2", 2) in told(
        replace(VIEW, units=(replace(UNIT, pumps=STILL), SPARE)), **both
    )


def test_units_on_one_loop_share_its_load() -> None:
    # Each carries 4 of 8 kW: 0.4 x 0.5 of 0.25 L/s is enough, where 0.8 of it would be asked of one alone.
    half = replace(HEALTHY.cdus[0], tcs_flow_liters_per_second=0.06)
    two = {"cdus": (half, replace(half, name="cdu-2"))}
    assert told(replace(VIEW, units=(UNIT, replace(UNIT, name="cdu-2"))), **two) == []
    assert told(VIEW, cdus=(half,)) == [("coolant_flow_low", "cdu-1", 1)]


@pytest.mark.parametrize("standing", [0, 1])
def test_pumps_that_take_turns_are_no_finding(standing: int) -> None:
    pumps = tuple(replace(pump, running=i != standing) for i, pump in enumerate(PUMPS))
    assert told(with_unit(pumps=pumps)) == [("pump_failed", "cdu-1", 1)]
    gear = Gear(standby_pumps={"cdu-1": 1})
    assert told(with_unit(pumps=pumps), settings=DashboardSettings(gear=gear)) == []
    broken = tuple(replace(pump, fault=pump.running is False) for pump in pumps)
    assert told(with_unit(pumps=broken), settings=DashboardSettings(gear=gear)) == [("pump_failed", "cdu-1", 1)]


@pytest.mark.parametrize(("valve", "is_told"), [(None, True), (0.95, True), (0.3, False)])
def test_a_supply_that_the_valve_holds_up_is_no_foul_exchanger(valve: float | None, is_told: bool) -> None:
    # Winter: facility water of 10 degC, supply held at 32 degC.
    view = with_unit(approach_celsius=22.0, fws=LoopNow(10.0, 36.0, valve_ratio=valve))
    assert told(view) == ([("approach_high", "cdu-1", 2)] if is_told else [])


def test_little_heat_and_little_load_are_not_judged() -> None:
    assert told(with_unit(load_ratio=0.29, heat_mismatch_ratio=0.5)) == []
    assert told(replace(VIEW, heats=(RackHeat("A01", 1900.0, 2900.0, 0.53),))) == []  # under 20 % of 10 kW
    assert told(with_shelf(unit_watts=None, share_error_ratio=0.3)) == []


def test_a_wet_detector_that_falls_silent_is_not_dry() -> None:
    silent = LeakNow("A01", "A01", "rope", "rack", "silent", 300.0, "critical")
    (one,) = found(replace(VIEW, leaks=(silent,)))
    assert (one.rule, one.object, one.title) == ("leak_detected", "A01", "Leak in rack A01, and its detector is silent")
    assert told(replace(VIEW, leaks=(replace(silent, last="normal"),))) == []
