"""Counters and gauges over a window: rules E1 to E4 of the KPI definition, each with numbers worked out by hand."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.kpis.windows import (
    Samples,
    increase,
    integral,
    last,
    live,
    mean,
    moves,
    newest,
    oldest,
    period,
    select,
    span,
)


def table(*series: list[tuple[float, float]]) -> Samples:
    """Return the samples of several series of (time, value), sorted as the caller of `select` must."""
    rows = sorted((number, *sample) for number, samples in enumerate(series) for sample in samples)
    numbers, times, values = (np.array(column) for column in zip(*rows, strict=True))
    return select(numbers.astype(np.int64), times.astype(float), values.astype(float), len(series))


def test_increase_is_linear_between_samples_at_both_edges() -> None:
    # 1,000 per second, sampled every 5 s at odd phases; the window's edges fall between samples.
    counter = table([(2 + 5 * i, 1000.0 * (2 + 5 * i)) for i in range(14)])
    grown = increase(counter, 4.0, 60.0)
    assert grown.amount[0] == pytest.approx(56_000)
    assert grown.covered[0] == pytest.approx(56)


def test_increase_of_unequal_steps_takes_the_shares_of_the_edge_pairs() -> None:
    counter = table([(0, 0), (10, 100), (20, 100), (30, 400)])
    # 5/10 of the first pair, all of the second, 2/10 of the third: 50 + 0 + 60
    assert increase(counter, 5.0, 22.0).amount[0] == pytest.approx(110)


def test_e1_equal_time_stamps_keep_the_last_value() -> None:
    assert increase(table([(0, 0), (10, 70), (10, 100), (20, 200)]), 0.0, 20.0).amount[0] == pytest.approx(200)


def test_e1_unsorted_values_of_one_stamp_do_not_count_as_resets() -> None:
    rows = select(np.array([0, 0, 0]), np.array([0.0, 5.0, 5.0]), np.array([10.0, 40.0, 30.0]), 1)
    assert increase(rows, 0.0, 5.0).amount[0] == pytest.approx(20)


def test_e2_a_fall_to_under_half_is_a_reset_and_counts_the_new_value() -> None:
    # 0..100 in 10 s, restart, 30 after the restart, then 130: 100 + 30 + 100
    assert increase(table([(0, 0), (10, 100), (20, 30), (30, 130)]), 0.0, 30.0).amount[0] == pytest.approx(230)


def test_e2_a_small_fall_is_a_glitch_and_adds_nothing() -> None:
    assert increase(table([(0, 0), (10, 100), (20, 90)]), 0.0, 20.0).amount[0] == pytest.approx(100)


def test_after_a_glitch_growth_goes_on_from_before_it() -> None:
    # The counter truly went 0, 100, 110, 120; one reading of 90 came late.
    assert increase(table([(0, 0), (10, 100), (20, 90), (30, 120)]), 0.0, 30.0).amount[0] == pytest.approx(120)


def test_e3_a_gap_spreads_a_counters_growth_and_stays_covered() -> None:
    counter = table([(0, 0), (5, 50), (10, 100), (70, 700), (75, 750)])
    grown = increase(counter, 10.0, 40.0)
    assert grown.amount[0] == pytest.approx(300)
    assert grown.covered[0] == pytest.approx(30)


def test_e3_e4_a_gap_of_a_gauge_is_not_covered() -> None:
    gauge = table([(0, 500), (5, 500), (10, 500), (30, 500), (35, 500), (40, 500)])
    drawn = integral(gauge, 0.0, 40.0)
    assert drawn.covered[0] == pytest.approx(20)
    assert drawn.amount[0] == pytest.approx(10_000)


def test_a_gauge_with_one_poll_missed_is_covered() -> None:
    gauge = table([(0, 500), (5, 500), (10, 500), (20, 500), (25, 500)])
    assert integral(gauge, 0.0, 25.0).covered[0] == pytest.approx(25)


def test_integral_is_the_trapezoid_cut_at_the_windows_edges() -> None:
    # P(t) = 100 + 10 t from 0 to 20 s; between 3 and 17 s: 100 x 14 + 10 x (17^2 - 3^2) / 2 = 1,400 + 1,400
    gauge = table([(t, 100 + 10 * t) for t in range(0, 21, 5)])
    assert integral(gauge, 3.0, 17.0).amount[0] == pytest.approx(2800)


def test_series_do_not_bleed_into_each_other() -> None:
    both = table([(0, 0), (10, 100)], [(0, 5000), (10, 5001)])
    assert increase(both, 0.0, 10.0).amount.tolist() == pytest.approx([100, 1])


def test_a_series_without_samples_has_nothing() -> None:
    samples = Samples(np.array([1, 1]), np.array([0.0, 5.0]), np.array([1.0, 2.0]), 3)
    assert increase(samples, 0.0, 5.0).covered.tolist() == [0, 5, 0]
    assert np.isnan(last(samples)).tolist() == [True, False, True]
    assert newest(samples).tolist() == [-np.inf, 5, -np.inf]
    assert oldest(samples).tolist() == [np.inf, 0, np.inf]
    assert period(samples).tolist() == [0, 5, 0]


def test_no_samples_at_all() -> None:
    nothing = select(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), 0)
    assert len(increase(nothing, 0.0, 10.0).amount) == 0
    assert len(integral(nothing, 0.0, 10.0).amount) == 0
    assert span(nothing, 10.0, 60.0) is None


def test_period_is_the_median_so_one_gap_does_not_change_it() -> None:
    assert period(table([(0, 0), (5, 0), (10, 0), (70, 0), (75, 0)]))[0] == 5


def test_mean_takes_the_samples_of_the_span_else_the_newest() -> None:
    gauge = table([(0, 9), (50, 1), (55, 2), (60, 3)], [(0, 7)])
    assert mean(gauge, 45.0, 60.0).tolist() == [2, 7]


def test_moves_tells_a_frozen_counter_from_a_running_one() -> None:
    assert moves(table([(0, 1), (5, 1), (10, 1)], [(0, 1), (5, 2), (10, 3)])).tolist() == [0, 1]


def test_live_is_three_own_periods_and_at_least_fifteen_seconds() -> None:
    samples = table([(80, 0), (85, 0)], [(80, 0), (86, 0)], [(0, 0), (30, 0)], [(0, 0), (5, 0)])
    assert live(samples, 100.5).tolist() == [False, True, True, False]


def test_span_ends_at_the_slowest_live_series_and_lasts_the_window() -> None:
    fast, slow = [(t, 0.0) for t in range(0, 101, 5)], [(t, 0.0) for t in range(3, 100, 5)]
    assert span(table(fast, slow), 101.0, 60.0) == (38.0, 98.0)


def test_span_ignores_a_dead_series() -> None:
    alive, dead = [(t, 0.0) for t in range(0, 101, 5)], [(t, 0.0) for t in range(0, 60, 5)]
    assert span(table(alive, dead), 101.0, 60.0) == (40.0, 100.0)


def test_young_data_gives_a_shorter_window_but_never_under_ten_seconds() -> None:
    assert span(table([(t, 0.0) for t in range(80, 101, 5)]), 101.0, 60.0) == (80.0, 100.0)
    assert span(table([(95, 0.0), (100, 0.0)]), 101.0, 60.0) is None


def test_one_newcomer_does_not_shorten_the_window_of_many() -> None:
    old = [[(t, 0.0) for t in range(0, 101, 5)] for _ in range(40)]
    assert span(table(*old, [(95, 0.0), (100, 0.0)]), 101.0, 60.0) == (40.0, 100.0)


@given(
    st.lists(st.floats(0, 1e6), min_size=3, max_size=40),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_two_windows_that_meet_hold_what_the_whole_holds(growth: list[float], a: float, b: float) -> None:
    times = np.arange(len(growth)) * 5.0
    counter = Samples(np.zeros(len(growth), dtype=np.int64), times, np.cumsum(growth), 1)
    start, middle = sorted((a, b))
    parts = increase(counter, start, middle).amount[0] + increase(counter, middle, 200.0).amount[0]
    assert parts == pytest.approx(increase(counter, start, 200.0).amount[0], rel=1e-9, abs=1e-6)


def test_ten_thousand_series_take_less_than_sixty_milliseconds() -> None:
    count, each = 10_240, 12
    series = np.repeat(np.arange(count), each)
    times = np.tile(np.arange(each) * 5.0, count) + np.repeat(np.linspace(0, 5, count), each)
    samples = Samples(series, times, 500 * times, count)
    costs = []
    for _ in range(3):
        began = time.process_time()
        grown, drawn = increase(samples, 5.0, 50.0), integral(samples, 5.0, 50.0)
        costs.append(time.process_time() - began)
    assert grown.amount == pytest.approx(np.full(count, 22_500))
    assert drawn.covered == pytest.approx(np.full(count, 45))
    assert min(costs) < 0.060
