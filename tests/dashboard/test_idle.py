"""The idle state machine: each condition, its entry time, what ends it, and what must never be called idle."""

from dataclasses import replace

import numpy as np
import pytest

from dashboard import idle
from dashboard.gpus import limits
from dashboard.idle import NONE, Signals, Verdicts, conditions, evaluate
from dashboard.settings import DashboardSettings

LIMITS = limits(DashboardSettings())
NAN = np.nan


def signals(**given: float) -> Signals:
    """Return one GPU: working, with processes and a workload, unless said otherwise."""
    usual = {
        "live": 1, "lost": 0, "activity": 0.8, "utilization": 0.8, "tensor": 0.3, "dram": 0.4, "power": 0.7,
        "processes": 1, "memory_bytes": 6e10, "assigned": 1, "tokens": 1000, "running": 4, "waiting": 0,
    }  # fmt: skip
    booleans = ("live", "lost", "assigned")
    return Signals(**{n: np.array([v], dtype=bool if n in booleans else float) for n, v in {**usual, **given}.items()})


QUIET = {"activity": 0.0, "utilization": 0.0, "tensor": 0.0, "dram": 0.0, "power": 0.15, "tokens": 0, "running": 0}
PARKED = signals(**QUIET)
BUSY = signals()
GONE = signals(live=0)


def watch(verdicts: Verdicts, seen: Signals, start: float, end: float, step: float = 2.0) -> Verdicts:
    """Return the verdicts after looking at the same signals every step of (start, end]."""
    for now in np.arange(start + step, end + step / 2, step):
        verdicts = evaluate(verdicts, seen, LIMITS, float(now))
    return verdicts


def state(verdicts: Verdicts) -> str:
    return idle.STATES[int(verdicts.state[0])]


def old_gpu() -> Verdicts:
    """Return a GPU that was busy at 0 s and long known."""
    return evaluate(idle.start(1, 0.0, grace=False, seconds=LIMITS.grace), BUSY, LIMITS, 0.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"live": 0}, "unknown"),
        ({"live": 0, "lost": 1}, "lost"),
        ({"lost": 1}, "lost"),
        ({}, "busy"),
        ({"tokens": 0, "running": 0}, "busy"),
        ({"tokens": NAN, "running": NAN, "waiting": NAN}, "busy"),
        ({"utilization": 1.0, "activity": 1.0, "processes": 0, "memory_bytes": 2**20, "power": 0.1}, "ghost"),
        ({"tokens": 0, "tensor": 0, "dram": 0.01, "power": 0.2, "activity": 1.0}, "stalled"),
        ({"tokens": 0, "tensor": 0, "dram": 0, "power": 0.2, "activity": 0.0, "running": 3}, "stalled"),
        ({**QUIET, "activity": 0.02, "waiting": 5}, "starved"),
        (QUIET, "parked"),
        ({**QUIET, "tokens": 500, "running": 9}, "parked"),
        ({**QUIET, "processes": 0}, "reserved_idle"),
        ({**QUIET, "processes": 0, "assigned": 0}, "unallocated_idle"),
        ({**QUIET, "processes": NAN, "memory_bytes": 6e10}, "parked"),
        ({**QUIET, "processes": NAN, "memory_bytes": 5e8, "assigned": 0}, "unallocated_idle"),
    ],
)
def test_conditions(given: dict[str, float], expected: str) -> None:
    assert idle.STATES[conditions(signals(**given), LIMITS)[0]] == expected


def test_a_little_activity_is_no_condition() -> None:
    assert conditions(signals(**{**QUIET, "activity": 0.03}), LIMITS)[0] == NONE


def test_a_quiet_gpu_that_draws_power_is_not_parked() -> None:
    assert conditions(signals(**{**QUIET, "power": 0.5}), LIMITS)[0] == NONE


def test_parked_after_its_entry_time_and_since_it_began() -> None:
    verdicts = watch(old_gpu(), PARKED, 0, 29 * 60 + 58)
    assert state(verdicts) != "parked"
    verdicts = watch(verdicts, PARKED, 29 * 60 + 58, 30 * 60 + 4)
    assert state(verdicts) == "parked"
    assert verdicts.since[0] == 2.0


def test_stalled_after_two_minutes() -> None:
    stalled = signals(tokens=0, tensor=0, dram=0, power=0.2, activity=1.0)
    assert state(watch(old_gpu(), stalled, 0, 118)) == "busy"
    assert state(watch(old_gpu(), stalled, 0, 124)) == "stalled"


def test_a_busy_gpu_at_rest_is_light_before_it_is_parked() -> None:
    assert state(watch(old_gpu(), PARKED, 0, 280)) == "busy"
    assert state(watch(old_gpu(), PARKED, 0, 320)) == "light"


def test_a_health_check_does_not_end_parking_or_its_timer() -> None:
    working = signals(tokens=0, running=0)
    verdicts = watch(old_gpu(), PARKED, 0, 20 * 60)
    verdicts = watch(verdicts, working, 20 * 60, 20 * 60 + 20)
    verdicts = watch(verdicts, PARKED, 20 * 60 + 20, 30 * 60 + 4)
    assert state(verdicts) == "parked"
    assert state(watch(verdicts, working, 1804, 1804 + 20)) == "parked"
    assert state(watch(verdicts, working, 1804, 1804 + 40)) == "busy"


def test_one_token_ends_it_at_once() -> None:
    verdicts = watch(old_gpu(), PARKED, 0, 31 * 60)
    assert state(evaluate(verdicts, BUSY, LIMITS, 31 * 60 + 2)) == "busy"


def test_a_gap_is_unknown_never_idle_and_a_short_one_is_forgiven() -> None:
    verdicts = watch(old_gpu(), PARKED, 0, 31 * 60)
    gap = watch(verdicts, GONE, 31 * 60, 31 * 60 + 120)
    assert state(gap) == "unknown"
    assert state(evaluate(gap, PARKED, LIMITS, 31 * 60 + 122)) == "parked"


def test_a_long_gap_starts_the_timer_again() -> None:
    verdicts = watch(old_gpu(), PARKED, 0, 31 * 60)
    gap = watch(verdicts, GONE, 31 * 60, 37 * 60)
    back = watch(gap, PARKED, 37 * 60, 38 * 60)
    assert state(back) == "light"
    assert state(watch(back, PARKED, 38 * 60, 67 * 60 + 4)) == "parked"


def test_a_gap_of_a_day_is_never_idle() -> None:
    verdicts = watch(old_gpu(), GONE, 0, 86_400, step=60.0)
    assert state(verdicts) == "unknown"
    assert not idle.is_idle(verdicts.state)[0]


def test_a_new_gpu_is_left_alone_for_its_grace() -> None:
    impatient = replace(LIMITS, hold=tuple(0.0 for _ in idle.STATES))
    verdicts = idle.extend(old_gpu(), np.array([-1]), 0.0)
    for now in (2.0, 100.0, 298.0):
        verdicts = evaluate(verdicts, PARKED, impatient, now)
    assert state(verdicts) == "light"
    assert state(evaluate(verdicts, PARKED, impatient, 302.0)) == "parked"


def test_a_new_workload_begins_the_grace_again() -> None:
    free = signals(**{**QUIET, "processes": 0, "assigned": 0})
    verdicts = watch(old_gpu(), free, 0, 31 * 60)
    assert state(verdicts) == "unallocated_idle"
    taken = signals(**{**QUIET, "processes": 0})
    verdicts = watch(verdicts, taken, 31 * 60, 31 * 60 + 120)
    assert verdicts.first_seen[0] > 31 * 60


def test_one_idle_state_turns_into_another_without_a_break() -> None:
    verdicts = watch(old_gpu(), PARKED, 0, 31 * 60)
    reserved = signals(**{**QUIET, "processes": 0})
    assert state(watch(verdicts, reserved, 31 * 60, 45 * 60)) == "parked"
    assert state(watch(verdicts, reserved, 31 * 60, 47 * 60)) == "reserved_idle"


def test_lost_and_back() -> None:
    verdicts = evaluate(old_gpu(), signals(lost=1), LIMITS, 2.0)
    assert state(verdicts) == "lost"
    assert state(evaluate(verdicts, BUSY, LIMITS, 4.0)) == "busy"


def test_extend_keeps_what_is_known() -> None:
    verdicts = watch(old_gpu(), PARKED, 0, 31 * 60)
    both = idle.extend(verdicts, np.array([-1, 0]), 1900.0)
    assert [idle.STATES[s] for s in both.state] == ["unknown", "parked"]


def test_the_reason_names_the_evidence() -> None:
    told = idle.reason(idle.PARKED, PARKED, 0)
    assert told == (
        "holds a process and memory, does no work: activity 0 %, power 15 % of limit, processes 1, "
        "memory 55.9 GiB, running requests 0, waiting requests 0"
    )


def test_confidence_falls_with_what_is_not_known() -> None:
    assert idle.confidence(BUSY)[0] == 1.0
    assert idle.confidence(signals(tensor=NAN, dram=NAN))[0] == 0.7
    assert idle.confidence(signals(tensor=NAN, dram=NAN, processes=NAN))[0] == 0.5


def test_a_day_of_known_idleness_is_found_with_no_false_alarm() -> None:
    """Labelled day of 40 GPUs at 15 s: ten parked for two hours, ten with gaps, ten with health checks, ten busy."""
    rng = np.random.default_rng(1)
    count, step = 40, 15.0
    verdicts = idle.start(count, 0.0, grace=False, seconds=LIMITS.grace)
    hits = misses = false = 0
    for now in np.arange(step, 8 * 3600, step):
        parked = (np.arange(count) < 10) & (3600 <= now < 3 * 3600)
        gap = (np.arange(count) >= 10) & (np.arange(count) < 20) & (now % 3600 < 900)
        activity = np.where(parked, 0.0, rng.uniform(0.5, 1.0, count))
        one = np.ones(count)
        seen = Signals(
            live=~gap, lost=np.zeros(count, dtype=bool), activity=activity, utilization=activity,
            tensor=activity * 0.5, dram=activity * 0.5, power=np.where(parked, 0.15, 0.6), processes=one,
            memory_bytes=6e10 * one, assigned=one.astype(bool), tokens=np.where(parked, 0.0, 100.0),
            running=np.where(parked, 0.0, 4.0), waiting=0 * one,
        )  # fmt: skip
        verdicts = evaluate(verdicts, seen, LIMITS, float(now))
        called = verdicts.state == idle.PARKED
        due = parked & (now >= 3600 + LIMITS.hold[idle.PARKED] + 60)
        hits += int((called & parked).sum())
        false += int((called & ~parked).sum())
        misses += int((due & ~called).sum())
    assert (misses, false) == (0, 0)
    assert hits > 0


def test_what_the_fabric_does_stands_in_the_reason_and_changes_no_state() -> None:
    held_up = replace(PARKED, fabric=("Ethernet8 of leaf-1 paused 55 % of the time",))
    assert conditions(held_up, LIMITS) == conditions(PARKED, LIMITS)
    said = idle.reason(idle.PARKED, held_up, 0)
    assert said == f"{idle.reason(idle.PARKED, PARKED, 0)}; fabric: Ethernet8 of leaf-1 paused 55 % of the time"
    assert idle.reason(idle.PARKED, replace(PARKED, fabric=("",)), 0) == idle.reason(idle.PARKED, PARKED, 0)
