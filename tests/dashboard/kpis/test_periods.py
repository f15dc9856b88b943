"""Rules E7 and E8: how often a source says something new, and how long the live window is for it."""

import numpy as np
import pytest

from dashboard.kpis.periods import live_window, quantile_seconds, update_period
from dashboard.kpis.windows import Samples


def polled(values: list[float], step: float = 5.0) -> Samples:
    return Samples(np.zeros(len(values), dtype=np.int64), np.arange(len(values)) * step, np.array(values), 1)


def test_e8_the_update_period_is_the_time_between_changes_not_between_polls() -> None:
    # an exporter that refreshes every 30 s, polled every 15 s
    assert update_period(polled([1, 2, 2, 3, 3, 4, 4, 5], 15.0))[0] == 30


def test_e8_two_changes_are_not_enough() -> None:
    assert np.isnan(update_period(polled([1, 2, 2, 2, 3, 3]))[0])
    assert np.isnan(update_period(polled([1.0]))[0])


def test_e8_a_time_without_requests_says_nothing_of_the_source() -> None:
    values = [0, 10, 20, 30, 30, 30, 30, 30, 40, 50, 60]
    resting = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0], dtype=bool)
    assert update_period(polled(values), resting)[0] == 5
    slow = [0, 10, 10, 10, 20, 20, 20, 30, 30]
    assert update_period(polled(slow))[0] == 15


def test_e8_series_are_told_apart() -> None:
    series = np.repeat([0, 1], 6)
    times = np.tile(np.arange(6) * 10.0, 2)
    values = np.array([0, 1, 2, 3, 4, 5, 0, 1, 1, 2, 2, 3], dtype=float)
    assert update_period(Samples(series, times, values, 3)).tolist() == pytest.approx([10, 20, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("update", "request_length", "expected"),
    [(0, 0, 60), (30, 0, 60), (45, 0, 90), (5, 100, 200), (5, 4000, 600), (np.nan, 0, 60)],
)
def test_e7_the_window_holds_two_updates_and_two_long_requests(
    update: float, request_length: float, expected: float
) -> None:
    assert live_window(60.0, update, request_length) == expected


def test_e7_a_window_that_the_settings_make_longer_stays_so() -> None:
    assert live_window(900.0, 5.0, 0.0) == 900


def test_the_95th_percentile_of_a_histogram() -> None:
    bounds = np.array([1.0, 5.0, 10.0, np.inf])
    # 100 requests, 90 within 5 s, 98 within 10 s: the 95th is 5/8 of the way from 5 to 10 s
    assert quantile_seconds(bounds, np.array([50.0, 90.0, 98.0, 100.0]), 0.95) == pytest.approx(8.125)
    assert quantile_seconds(bounds, np.array([0.0, 0.0, 10.0, 100.0]), 0.95) == 10.0
    assert quantile_seconds(bounds, np.zeros(4), 0.95) == 0.0
    assert quantile_seconds(np.empty(0), np.empty(0), 0.95) == 0.0
