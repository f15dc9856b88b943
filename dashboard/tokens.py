"""Tokens of a site: by which clock each series is read, whose word counts per model, and how well that is covered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dashboard.kpis.efficiency import coverage
from dashboard.kpis.levels import Ranked, believed, growth_by_level, ranked
from dashboard.kpis.periods import update_period
from dashboard.kpis.windows import Bools, Floats, Samples, live
from dashboard.recent import Recent
from dashboard.site import Site

#: live: as tokens leave the engine, where it says so; final: as the server counts them in the end
Clock = Literal["live", "final"]
#: tag `clock` of a server whose `output_tokens_total` moves only when a request ends
FINAL = "final"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens over one window, per inference series."""

    counted: Floats
    #: covered seconds of the series' endpoint, given to the first of its series
    covered: Floats
    #: endpoint -> a series of it; those that the inventory names or that report
    endpoints: Mapping[str, int]

    def coverage(self, seconds: float, series: Bools | None = None) -> float:
        """Return covered endpoint-seconds over expected ones, of all or of some series."""
        covered = self.covered if series is None else self.covered[series]
        return coverage(float(covered.sum()), len(self.endpoints), seconds)


def who(inference: Recent) -> Ranked:
    """Return whose word each inference series is, by its tags."""
    return ranked(inference.tags["model"].tolist(), inference.tags["level"].tolist())


def output_samples(inference: Recent, clock: Clock = "live") -> Samples:
    """Return the samples of each series' output counter by that clock; by the other where it has none."""
    return inference.pick(_output(inference, clock))


def input_samples(inference: Recent, clock: Clock = "live") -> Samples:
    """Return the samples of each series' input counter, cached tokens included; by the other clock where it has none.

    A server that has not met its cache yet may not name the cached tokens: computed ones are then all.
    """
    values = inference.values
    moving = values["live_input_computed_tokens_total"] + np.nan_to_num(values["live_input_cached_tokens_total"])
    return inference.pick(_by_clock(inference, moving, values["input_tokens_total"], clock))


def _output(inference: Recent, clock: Clock) -> Floats:
    values = inference.values
    return _by_clock(inference, values["live_output_tokens_total"], values["output_tokens_total"], clock)


def _by_clock(inference: Recent, moving: Floats, final: Floats, clock: Clock) -> Floats:
    first, second = (moving, final) if clock == "live" else (final, moving)
    has = np.zeros(inference.count, dtype=bool)
    has[inference.series[~np.isnan(first)]] = True
    return np.where(has[inference.series], first, second)


def update_periods(inference: Recent) -> Floats:
    """Return the median time between changes of each series' output counter while it has requests. Units: s (E8)."""
    values = _output(inference, "live")
    running = np.nan_to_num(inference.values["requests_running"], nan=1.0)
    resting = inference.pick(np.where(np.isnan(values), np.nan, running)).values == 0
    return update_period(inference.pick(values), resting)


def final_only(inference: Recent) -> Bools:
    """Return the series whose tokens move only when a request ends."""
    moving = np.zeros(inference.count, dtype=bool)
    moving[inference.series[~np.isnan(inference.values["live_output_tokens_total"])]] = True
    told: Bools = (inference.tags["clock"].astype(str) == FINAL) & ~moving
    return told


def trusted(inference: Recent, samples: Samples, now: float) -> Samples:
    """Return the samples of the level that counts now for each model: windows are laid by them."""
    return samples.only(believed(who(inference), live(samples, now)))


def count_tokens(site: Site, inference: Recent, samples: Samples, window: tuple[float, float], now: float) -> Tokens:
    """Return the tokens of each series over the window, and how well each endpoint is covered.

    An endpoint is expected when the inventory names it or when it lives; one that was scaled down is not.
    """
    order, alive = who(inference), live(samples, now)
    grown = growth_by_level(order, samples, *window, fill=True)
    names, first, codes = np.unique(inference.tags["endpoint"].astype(str), return_index=True, return_inverse=True)
    best, answers = np.zeros(len(names)), np.zeros(len(names), dtype=bool)
    counts = believed(order, alive)
    np.maximum.at(best, codes[counts], grown.covered[counts])
    np.logical_or.at(answers, codes[counts], alive[counts])
    series = dict(zip(names.tolist(), first.tolist(), strict=True))
    expected = set(site.engines) | set(names[answers & (best > 0)].tolist())
    covered = np.zeros(samples.count)
    covered[first] = np.where(np.isin(names, list(expected)), best, 0.0)
    return Tokens(grown.amount, covered, {name: series.get(name, -1) for name in expected})
