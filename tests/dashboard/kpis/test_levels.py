"""One level per model and time: whose tokens count, by numbers worked out by hand."""

import numpy as np
import pytest

from dashboard.kpis.levels import believed, best_per_step, growth_by_level, model_key, ranked
from dashboard.kpis.windows import Samples, live


def rates(*series: tuple[float, float, float]) -> Samples:
    """Return counters of (rate, first, last), sampled every 5 s."""
    rows = [(n, t, rate * t) for n, (rate, first, last) in enumerate(series) for t in np.arange(first, last + 1, 5.0)]
    numbers, times, values = (np.array(column) for column in zip(*rows, strict=True))
    return Samples(numbers.astype(np.int64), times.astype(float), values.astype(float), len(series))


def test_models_are_the_same_by_their_last_path_part() -> None:
    assert {model_key(name) for name in ("meta-llama/Llama-3.1-70B", "llama-3.1-70b", "/models/Llama-3.1-70B/")} == {
        "llama-3.1-70b"
    }


def test_engines_before_frontends_before_gateways() -> None:
    who = ranked(["a/M", "m", "M", "other"], ["gateway", "frontend", "", "gateway"])
    assert believed(who, np.ones(4, dtype=bool)).tolist() == [False, False, True, True]
    assert believed(who, np.array([True, True, False, True])).tolist() == [False, True, False, True]


def test_beside_an_engine_that_does_not_name_its_model_no_gateway_is_believed() -> None:
    who = ranked(["", "m", "n"], ["engine", "gateway", "engine"])
    assert believed(who, np.ones(3, dtype=bool)).tolist() == [True, False, True]
    samples = rates((10, 0, 60), (7, 0, 60), (1, 0, 60))
    assert growth_by_level(who, samples, 0.0, 60.0, fill=False).amount.tolist() == [600, 0, 60]


def test_a_lesser_level_counts_only_outside_the_better_one() -> None:
    who = ranked(["m", "m", "m"], ["engine", "engine", "gateway"])
    # engines: 10/s in 20..40 s and 5/s in 25..60 s; together they reach from 20 to 60 s of the window 0..100 s
    samples = rates((10, 20, 40), (5, 25, 60), (16, 0, 100))
    grown = growth_by_level(who, samples, 0.0, 100.0, fill=False)
    assert grown.amount.tolist() == pytest.approx([200, 175, 16 * 20 + 16 * 40])
    assert grown.covered.tolist() == pytest.approx([20, 35, 60])


def test_what_a_dead_series_missed_is_not_filled_in_and_a_young_one_is() -> None:
    who = ranked(["m", "n"], ["engine", "engine"])
    samples = rates((10, 0, 95), (10, 5, 100))
    assert growth_by_level(who, samples, 0.0, 100.0, fill=True).amount.tolist() == pytest.approx([950, 1000])
    assert live(samples, 115.0).tolist() == [False, True]


def test_per_step_the_best_level_that_is_heard() -> None:
    who = ranked(["m", "m", "x"], ["engine", "gateway", "gateway"])
    heard = np.array([[True, False, False], [True, True, False], [True, True, True]])
    assert best_per_step(who, heard).tolist() == [[True, False, False], [False, True, False], [True, True, True]]
