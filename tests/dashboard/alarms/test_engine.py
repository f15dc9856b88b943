"""Delays and order of alarms, by a clock that the test moves."""

from dashboard.alarms.engine import Key, Timer, alarms, counts, step
from dashboard.alarms.findings import Finding
from dashboard.settings import Alarms

SETTINGS = Alarms()  # on 10 s, off 30 s; slow 60 s and 120 s


def finding(rule: str, name: str = "x", priority: int = 3, title: str = "t") -> Finding:
    return Finding(rule, name, priority, title, "Site", "")


def run(*ticks: tuple[float, list[Finding]]) -> dict[Key, Timer]:
    timers: dict[Key, Timer] = {}
    for now, found in ticks:
        timers = step(timers, found, SETTINGS, now)
    return timers


SILENT = finding("device_silent")


def test_a_condition_must_hold_before_it_is_an_alarm() -> None:
    assert alarms(run((0, [SILENT]), (9, [SILENT]))) == ()
    (alarm,) = alarms(run((0, [SILENT]), (9, [SILENT]), (10, [SILENT])))
    assert alarm.since == 0


def test_a_blink_starts_the_on_delay_again() -> None:
    assert alarms(run((0, [SILENT]), (8, []), (9, [SILENT]), (12, [SILENT]))) == ()


def test_an_alarm_ends_only_after_its_off_delay() -> None:
    begun = [(0.0, [SILENT]), (10.0, [SILENT])]
    assert len(alarms(run(*begun, (12, []), (41, [])))) == 1
    assert alarms(run(*begun, (12, []), (42, []))) == ()


def test_a_condition_that_comes_back_keeps_its_first_time() -> None:
    (alarm,) = alarms(run((0, [SILENT]), (10, [SILENT]), (12, []), (30, [SILENT]), (55, [SILENT])))
    assert alarm.since == 0


def test_water_and_lost_power_do_not_wait() -> None:
    assert len(alarms(run((0, [finding("leak_detected", priority=1)])))) == 1
    assert len(alarms(run((0, [finding("rack_no_power", priority=1)])))) == 1
    assert len(alarms(run((0, [finding("idle_parked")])))) == 1


def test_a_leak_stays_for_a_minute_of_dry_sensor() -> None:
    leak = finding("leak_detected", priority=1)
    assert len(alarms(run((0, [leak]), (2, []), (61, [])))) == 1
    assert alarms(run((0, [leak]), (2, []), (62, []))) == ()


def test_what_moves_slowly_waits_longer() -> None:
    warm = finding("coolant_supply_high", priority=2)
    assert alarms(run((0, [warm]), (59, [warm]))) == ()
    assert len(alarms(run((0, [warm]), (60, [warm])))) == 1


def test_order_is_priority_then_newest() -> None:
    old, new, worst = finding("idle_parked", "old"), finding("idle_parked", "new"), finding("leak_detected", "w", 1)
    timers = run((0, [old]), (5, [old, worst]), (9, [old, worst, new]))
    assert [alarm.finding.object for alarm in alarms(timers)] == ["w", "new", "old"]
    assert counts(alarms(timers)) == (1, 0, 2, 0)


def test_the_text_follows_what_is_found_now() -> None:
    timers = run(
        (0, [finding("idle_parked", title="1 GPU parked")]), (2, [finding("idle_parked", title="2 GPUs parked")])
    )
    assert alarms(timers)[0].finding.title == "2 GPUs parked"
