"""Energy that we integrate beside the device's own counter; numbers worked out by hand."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.energy import MOST_SERIES, Energy
from storage.point import FieldValue, Point

SECOND = 1_000_000_000
TOTAL = {"device": "pdu-1", "kind": "rack_pdu", "circuit": "total", "side": "input"}


def row(at_s: float, watts: float | None, *, counter: float | None = None, **tags: str) -> Point:
    fields: dict[str, FieldValue] = {} if watts is None else {"active_watts": watts}
    if counter is not None:
        fields["energy_joules_total"] = counter
    return Point("power", {**TOTAL, **tags}, fields, round(at_s * SECOND))


def poll(energy: Energy, *args: float | None, **more: float | None) -> Mapping[str, FieldValue]:
    at_s, watts = args
    assert at_s is not None
    return energy.integrate([row(at_s, watts, **more)])[0].fields  # type: ignore[arg-type]


def told(fields: Mapping[str, FieldValue]) -> tuple[FieldValue, FieldValue]:
    return fields["integrated_joules_total"], fields["integrated_gap_seconds_total"]


def test_energy_is_the_trapezoid_between_polls() -> None:
    energy = Energy(10.0)
    assert told(poll(energy, 0.0, 1_000.0)) == (0.0, 0.0)
    assert told(poll(energy, 10.0, 1_000.0)) == (10_000.0, 0.0)
    # 10 s from 1000 to 3000 W: 20 kJ; then 30 s, three intervals, from 3000 to 1000 W: 60 kJ
    assert told(poll(energy, 20.0, 3_000.0)) == (30_000.0, 0.0)
    assert told(poll(energy, 50.0, 1_000.0)) == (90_000.0, 0.0)


def test_a_gap_adds_its_time_and_no_energy() -> None:
    energy = Energy(10.0)
    poll(energy, 0.0, 1_000.0)
    assert told(poll(energy, 10.0, 1_000.0)) == (10_000.0, 0.0)
    assert told(poll(energy, 41.0, 1_000.0)) == (10_000.0, 31.0)
    assert told(poll(energy, 51.0, 1_000.0)) == (20_000.0, 31.0)


def test_watts_that_were_withheld_once_leave_no_gap() -> None:
    energy = Energy(10.0)
    poll(energy, 0.0, 1_000.0)
    assert poll(energy, 10.0, None) == {}
    assert told(poll(energy, 20.0, 2_000.0)) == (30_000.0, 0.0)


def test_a_slow_row_has_the_interval_at_which_it_comes() -> None:
    energy = Energy(10.0, slowest_s=60.0)
    poll(energy, 0.0, 100.0)
    # Nothing says yet that it comes each minute.
    assert told(poll(energy, 60.0, 100.0)) == (0.0, 60.0)
    assert told(poll(energy, 120.0, 100.0)) == (6_000.0, 60.0)
    assert told(poll(energy, 300.0, 100.0)) == (24_000.0, 60.0)
    assert told(poll(energy, 481.0, 100.0)) == (24_000.0, 241.0)


def test_no_row_comes_more_slowly_than_its_profile_says() -> None:
    energy = Energy(10.0, slowest_s=60.0)
    assert [told(poll(energy, at, 100.0)) for at in (0.0, 600.0, 1_200.0)] == [(0.0, 0.0), (0.0, 600.0), (0.0, 1_200.0)]


def test_a_clock_that_is_set_back_adds_nothing() -> None:
    energy = Energy(10.0)
    poll(energy, 1_000.0, 1_000.0)
    assert told(poll(energy, 900.0, 1_000.0)) == (0.0, 0.0)
    assert told(poll(energy, 910.0, 1_000.0)) == (10_000.0, 0.0)
    # By less than three intervals: nothing counts until it is as late again as it was.
    assert told(poll(energy, 890.0, 1_000.0)) == (10_000.0, 0.0)
    assert told(poll(energy, 900.0, 1_000.0)) == (10_000.0, 0.0)
    assert told(poll(energy, 920.0, 1_000.0)) == (20_000.0, 0.0)


def test_what_a_device_tells_between_polls_is_integrated_and_teaches_no_cadence() -> None:
    energy = Energy(10.0, slowest_s=60.0)
    for at_s, joules in ((0.0, 0.0), (60.0, 0.0), (120.0, 6_000.0)):
        assert poll(energy, at_s, 100.0)["integrated_joules_total"] == joules
    # 100 to 300 W within 4 s: 800 J; 300 W for 56 s: 16.8 kJ
    [told_between] = energy.integrate([row(124.0, 300.0)], is_poll=False)
    assert told(told_between.fields) == (6_800.0, 60.0)
    assert told(poll(energy, 180.0, 300.0)) == (23_600.0, 60.0)
    assert told(poll(energy, 300.0, 300.0)) == (59_600.0, 60.0)


def test_a_poll_that_is_older_than_what_was_told_counts_no_time_twice() -> None:
    energy = Energy(10.0)
    poll(energy, 0.0, 100.0)
    energy.integrate([row(10.3, 100.0)], is_poll=False)
    # The poll of 10 s was under way while the device told of itself at 10.3 s.
    assert told(poll(energy, 10.0, 100.0)) == (1_030.0, 0.0)
    assert told(poll(energy, 20.0, 100.0)) == (2_000.0, 0.0)


def test_energy_goes_on_where_the_one_before_it_stood_and_compares_counters_anew() -> None:
    before = Energy(10.0)
    for number in range(400):
        fields = poll(before, 10.0 * number, 1_000.0, counter=10_000.0 * number)
    assert told(fields) == (3_990_000.0, 0.0)
    assert fields["counter_deviation_ratio"] == pytest.approx(0.0)
    energy = Energy(20.0)
    energy.go_on(before)
    # A profile that takes kWh where Wh were meant must not be held against the counter of before.
    fields = poll(energy, 4_010.0, 1_000.0, counter=4e9)
    assert told(fields) == (4_010_000.0, 0.0)
    assert "counter_deviation_ratio" not in fields


def test_rows_are_integrated_each_by_itself_and_others_left_alone() -> None:
    energy = Energy(10.0)
    for at_s in (0.0, 10.0):
        points: Sequence[Point] = [
            row(at_s, 100.0, circuit="outlet-1"),
            row(at_s, 200.0, circuit="outlet-2"),
            row(at_s, None, counter=5.0, circuit="outlet-3"),
            Point("coolant", {"device": "pdu-1"}, {"heat_watts": 1.0}, round(at_s * SECOND)),
        ]
        made = energy.integrate(points)
    assert [p.fields.get("integrated_joules_total") for p in made] == [1_000.0, 2_000.0, None, None]
    assert made[2:] == points[2:]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 200.0), st.one_of(st.none(), st.floats(0.0, 1e6))),
        min_size=2,
        max_size=40,
    )
)
def test_growth_between_any_two_polls_is_their_trapezoid_or_a_gap_and_never_negative(
    steps: Sequence[tuple[float, float | None]],
) -> None:
    energy, at_s = Energy(10.0), 0.0
    last: tuple[float, float] | None = None
    joules = gap_seconds = 0.0
    for seconds, watts in steps:
        at_s = round(at_s + seconds, 6)
        fields = poll(energy, at_s, watts)
        if watts is None:
            assert fields == {}
            continue
        grown = float(fields["integrated_joules_total"]) - joules
        lost = float(fields["integrated_gap_seconds_total"]) - gap_seconds
        if last is None:
            assert (grown, lost) == (0.0, 0.0)
        elif at_s - last[0] <= 30.0:
            assert grown == pytest.approx((last[1] + watts) / 2 * (at_s - last[0]), rel=1e-6, abs=1e-3)
            assert lost == 0.0
        else:
            assert grown == 0.0
            assert lost == pytest.approx(at_s - last[0], rel=1e-6)
        last, joules, gap_seconds = (at_s, watts), joules + grown, gap_seconds + lost


def run(
    energy: Energy, start_s: float, hours: float, *, scale: float, quantum: float = 1.0, base: float = 0.0
) -> FieldValue | None:
    """Poll 1 kW each 10 s beside a counter that grows `scale` times as fast in steps; return the last deviation."""
    found: FieldValue | None = None
    for number in range(round(hours * 360) + 1):
        at_s = start_s + 10.0 * number
        counter = base + (1_000.0 * scale * 10.0 * number) // quantum * quantum
        found = poll(energy, at_s, 1_000.0, counter=counter).get("counter_deviation_ratio")
    return found


def test_the_devices_counter_is_compared_once_an_hour_of_both_is_known() -> None:
    energy = Energy(10.0)
    # The first change is seen at 10 s: an hour after it at 3610 s.
    assert run(energy, 0.0, 1.0, scale=1.03) is None
    energy = Energy(10.0)
    assert run(energy, 0.0, 1.01, scale=1.03) == pytest.approx(0.03, abs=1e-9)


def test_a_coarse_counter_costs_no_accuracy() -> None:
    # 0.1 kWh is 360 kJ: one step each 360 s of 1 kW
    assert run(Energy(10.0), 0.0, 2.0, scale=1.0, quantum=360_000.0) == pytest.approx(0.0, abs=0.002)


def test_a_reset_or_wrap_takes_no_part() -> None:
    energy = Energy(10.0)
    run(energy, 0.0, 2.0, scale=0.98, base=5e9)
    assert run(energy, 7_210.0, 1.0, scale=0.98) == pytest.approx(-0.02, abs=1e-9)


def test_a_gap_takes_no_part() -> None:
    energy = Energy(10.0)
    run(energy, 0.0, 2.0, scale=1.0)
    # Two hours later the counter has gone on; we were away.
    assert run(energy, 14_400.0, 1.0, scale=1.0, base=14.4e6) == pytest.approx(0.0, abs=1e-9)


def test_the_comparison_is_of_the_last_day() -> None:
    energy = Energy(60.0)
    for minute in range(60 * 50):
        scale = 1.5 if minute < 60 * 25 else 1.0
        base = 0.0 if scale == 1.5 else 60 * 25 * 60 * 1_000.0 * 0.5
        fields = poll(energy, 60.0 * minute, 1_000.0, counter=base + 60_000.0 * scale * minute)
    assert fields["counter_deviation_ratio"] == pytest.approx(0.0, abs=1e-9)


def test_a_counter_far_off_is_cut_where_the_schema_ends() -> None:
    assert run(Energy(10.0), 0.0, 1.1, scale=1_000.0) == 2.0


def test_memory_is_bounded_and_forgets_after_a_day() -> None:
    energy = Energy(10.0)
    for batch in range(0, MOST_SERIES + 1_000, 1_000):
        energy.integrate([row(0.0, 1.0, circuit=f"outlet-{batch + n}") for n in range(1_000)])
    assert len(energy) == MOST_SERIES
    assert energy.integrate([row(1.0, 1.0, circuit="one-more")])[0].fields == {"active_watts": 1.0}
    energy.integrate([row(100_000.0, 1.0)])
    assert len(energy) == 1
