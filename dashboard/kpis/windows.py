"""Many series over one window: growth of counters, integrals of gauges, means, periods. Pure numpy.

A `Samples` holds all series of one quantity in one flat table, sorted by series, then time. Every function costs a few
passes over it, so 10,240 series of 12 samples take milliseconds. Rules E1 to E4 are those of the product's KPI
definition: deltas first, resets taken as a new start, edges interpolated, gaps never invented.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: a gauge is not known across a gap of more than this many of its own periods
GAP_PERIODS = 3.0
#: a series counts as live while its newest sample is younger than this, however short its period
LIVE_SECONDS = 15.0
#: a window is never shorter
LEAST_SECONDS = 10.0
#: a series known for this share of a window speaks for all of it
FILLED_RATIO = 0.9
#: a counter that falls under this share of its last value has started again (E2)
RESET_RATIO = 0.5
#: start times that differ by less are one start; clocks of device and collector may differ by the second. Units: s
SAME_START_SECONDS = 1.0
CLOCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Samples:
    """One quantity of `count` series: flat arrays sorted by series, then time; no NaN, no time twice in a series."""

    #: 0 .. count - 1
    series: Ints
    #: epoch seconds
    times: Floats
    values: Floats
    count: int
    #: when the counter began, as the device says it, NaN where it does not. Units: epoch s
    starts: Floats | None = None

    def only(self, series: Bools) -> "Samples":
        """Return the samples of these series; the others have none."""
        return self.rows(series[self.series])

    def rows(self, inside: Bools) -> "Samples":
        """Return some of the samples."""
        starts = None if self.starts is None else self.starts[inside]
        return Samples(self.series[inside], self.times[inside], self.values[inside], self.count, starts)


@dataclass(frozen=True, slots=True)
class Windowed:
    """What one window holds, per series."""

    #: growth of the counter, or integral of the gauge; 0 where nothing is covered
    amount: Floats
    #: seconds of the window for which it is known
    covered: Floats


def tally(series: Ints, weights: Floats | Bools, count: int) -> Floats:
    """Return the sum of the weights per series."""
    return np.bincount(series, weights=weights, minlength=count).astype(np.float64, copy=False)


def select(series: Ints, times: Floats, values: Floats, count: int, starts: Floats | None = None) -> Samples:
    """Return the samples of one quantity from a sorted table; rows without a value are left out.

    Of rows with equal series and time the last wins (E1). `starts`: when the counter of each row began, epoch s.
    """
    found = Samples(series, times, values, count, starts)
    known = ~np.isnan(values)
    if not known.all():
        found = found.rows(known)
    again = (found.series[1:] == found.series[:-1]) & (found.times[1:] == found.times[:-1])
    return found.rows(np.append(~again, True)) if again.any() else found


def newest(samples: Samples) -> Floats:
    """Return the time of each series' newest sample. Units: epoch s; -inf where it has none."""
    times = np.full(samples.count, -np.inf)
    times[samples.series] = samples.times
    return times


def oldest(samples: Samples) -> Floats:
    """Return the time of each series' oldest sample. Units: epoch s; inf where it has none."""
    times = np.full(samples.count, np.inf)
    times[samples.series[::-1]] = samples.times[::-1]
    return times


def last(samples: Samples) -> Floats:
    """Return each series' newest value; NaN where it has none."""
    values = np.full(samples.count, np.nan)
    values[samples.series] = samples.values
    return values


def period(samples: Samples) -> Floats:
    """Return each series' own period: the median time between its samples (E8). Units: s; 0 with fewer than two."""
    periods = np.zeros(samples.count)
    inside = samples.series[1:] == samples.series[:-1]
    series, steps = samples.series[1:][inside], np.diff(samples.times)[inside]
    if len(series):
        steps = steps[np.lexsort((steps, series))]
        counts = np.bincount(series, minlength=samples.count)
        middle = np.cumsum(counts) - counts + (counts - 1) // 2
        seen = counts > 0
        periods[seen] = steps[middle[seen]]
    return periods


def live(samples: Samples, now: float, periods: Floats | None = None) -> Bools:
    """Return which series live: newest sample younger than 3 of its own periods, and at least than 15 s."""
    limits = GAP_PERIODS * (period(samples) if periods is None else periods)
    alive: Bools = now - newest(samples) <= np.maximum(limits, LIVE_SECONDS)
    return alive


def growth(samples: Samples) -> tuple[Floats, Bools]:
    """Return how much each counter grew from each sample to the next, and where it was reset (E1, E2).

    Length is one less than that of the samples; pairs across two series mean nothing. A fall to under half, or a start
    time that moved on, is a reset: the growth is the new value. Any other fall is a glitch: it counts 0, and if the
    counter then passes the value before the glitch, growth goes on from there.
    """
    old, new = samples.values[:-1], samples.values[1:]
    delta = new - old
    falls = delta < 0
    resets = (falls & (new < RESET_RATIO * old)) | _restarted(samples)
    glitches = falls & ~resets
    delta = np.where(resets, new, np.where(glitches, 0.0, delta))
    at = np.flatnonzero(glitches[:-1] & (samples.series[:-2] == samples.series[2:])) + 1
    at = at[~resets[at]]
    recovered = samples.values[at + 1] - samples.values[at - 1]
    delta[at] = np.where(recovered >= 0, recovered, delta[at])
    return delta, resets


def _restarted(samples: Samples) -> Bools:
    """Return the pairs between which the counter began anew: its start moved on to after the pair's first sample."""
    if samples.starts is None:
        return np.zeros(max(len(samples.times) - 1, 0), dtype=bool)
    before, after = samples.starts[:-1], samples.starts[1:]
    moved: Bools = (after > before + SAME_START_SECONDS) & (after > samples.times[:-1] - CLOCK_SECONDS)
    return moved


def resets(samples: Samples, start: float | Floats, end: float | Floats) -> int:
    """Return how many resets all counters together had within (start, end]; both may differ by series."""
    _, again = growth(samples)
    times, series = samples.times[1:], samples.series[1:]
    opens, closes = (edge[series] if isinstance(edge, np.ndarray) else edge for edge in (start, end))
    inside = (times > opens) & (times <= closes) & (series == samples.series[:-1])
    return int((again & inside).sum())


def increase(samples: Samples, start: float, end: float) -> Windowed:
    """Return the growth of each counter within [start, end], linear between samples, reset-safe.

    A pair of samples far apart stays valid: its growth is spread over the gap (E3). What is missing of a window that
    is nearly whole is filled at the mean, but not after the end of a series that vanished.
    """
    grown = counted(samples, start, end)
    return filled(grown.amount, grown.covered, end - start, newest(samples) >= end)


def counted(samples: Samples, start: float | Floats, end: float | Floats) -> Windowed:
    """Return the growth of each counter within [start, end] as far as it was seen, nothing filled in.

    `start` and `end` may differ by series; where the end is not after the start nothing is counted.
    """
    delta, _ = growth(samples)
    covered, series = _clip(samples, start, end, None)
    steps = np.maximum(np.diff(samples.times), 1e-9)
    amount = tally(series, np.where(covered > 0, delta * covered / steps, 0.0), samples.count)
    return Windowed(amount, tally(series, covered, samples.count))


def integral(samples: Samples, start: float, end: float, periods: Floats | None = None) -> Windowed:
    """Return the trapezoid of each gauge over [start, end]; watts give joules.

    Gaps of more than three of the series' own periods are not covered (E3, E4). What is missing is filled in as
    `increase` does.
    """
    drawn = integrated(samples, start, end, periods)
    return filled(drawn.amount, drawn.covered, end - start, newest(samples) >= end)


def integrated(samples: Samples, start: float | Floats, end: float | Floats, periods: Floats | None = None) -> Windowed:
    """Return the trapezoid of each gauge over [start, end] as far as it was seen, nothing filled in.

    `start` and `end` may differ by series; where the end is not after the start nothing is counted.
    """
    limits = GAP_PERIODS * (period(samples) if periods is None else periods)
    covered, series = _clip(samples, start, end, limits)
    first, step = samples.times[:-1], np.diff(samples.times)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(covered > 0, np.diff(samples.values) / step, 0.0)
    begins = start[series] if isinstance(start, np.ndarray) else start
    middle = np.maximum(first, begins) + covered / 2 - first
    area = np.where(covered > 0, (samples.values[:-1] + slope * middle) * covered, 0.0)
    return Windowed(tally(series, area, samples.count), tally(series, covered, samples.count))


def filled(amount: Floats, covered: Floats, seconds: float, lasts: Bools) -> Windowed:
    """Return the amounts of the whole window where no more than a tenth of it is uncovered: that part at their mean.

    Without this a sum over series that began within the window, or paused in it, would be low by what they missed.
    `lasts`: series that reach to the end of the window.
    """
    short = (covered < seconds) & (covered >= FILLED_RATIO * seconds) & lasts
    return Windowed(np.where(short, amount * seconds / np.where(short, covered, 1.0), amount), covered)


def mean(samples: Samples, start: float, end: float) -> Floats:
    """Return each series' mean over its samples in (start, end]; its newest value where there are none, NaN without."""
    inside = (samples.times > start) & (samples.times <= end)
    counts = np.bincount(samples.series[inside], minlength=samples.count)
    sums = tally(samples.series[inside], samples.values[inside], samples.count)
    means: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), last(samples))
    return means


def moves(samples: Samples) -> Floats:
    """Return the share of each series' steps that changed its value: 0 for a frozen counter (E6); NaN without steps."""
    inside = samples.series[1:] == samples.series[:-1]
    series = samples.series[1:][inside]
    steps = np.bincount(series, minlength=samples.count)
    changed = tally(series, (np.diff(samples.values) != 0)[inside], samples.count)
    shares: Floats = np.where(steps > 0, changed / np.maximum(steps, 1), np.nan)
    return shares


def changes(samples: Samples, series: Bools) -> Samples:
    """Return the samples, of these series only the first and those that differ from the one before (E8)."""
    again = (samples.series[1:] == samples.series[:-1]) & (np.diff(samples.values) == 0) & series[samples.series[1:]]
    return samples.rows(np.append(True, ~again)[: len(samples.times)])


def known_since(samples: Samples, now: float) -> float:
    """Return the time from which at least 95 % of the live series are known, all of a few.

    Units: epoch s; inf when none lives.
    """
    first = oldest(samples)[live(samples, now)]
    return float(np.quantile(first, 0.95, method="higher")) if len(first) else np.inf


def span(samples: Samples, now: float, window: float, end: float = np.inf) -> tuple[float, float] | None:
    """Return the window (start, end) that the live series can speak of. Units: epoch s.

    It ends at the oldest of the newest samples among live series, or at `end` when that is earlier. It starts `window`
    before, or later while most of the live series have not been there for so long. None: no series lives, or they have
    not been there for LEAST_SECONDS.
    """
    alive = live(samples, now)
    if not alive.any():
        return None
    end = min(end, float(newest(samples)[alive].min()))
    start = max(end - window, known_since(samples, now))
    if end - start >= LEAST_SECONDS:
        return start, end
    start = end - LEAST_SECONDS  # newcomers are many; the others still tell enough
    return (start, end) if float(oldest(samples)[alive].min()) <= start else None


def _clip(samples: Samples, start: float | Floats, end: float | Floats, limits: Floats | None) -> tuple[Floats, Ints]:
    """Return per pair of neighbours: seconds of it inside the window, and its series. `limits`: longest gap, s."""
    first, second, series = samples.times[:-1], samples.times[1:], samples.series[1:]
    opens, closes = (edge[series] if isinstance(edge, np.ndarray) else edge for edge in (start, end))
    covered = np.minimum(second, closes) - np.maximum(first, opens)
    known = (covered > 0) & (samples.series[:-1] == series)
    if limits is not None:
        known &= second - first <= limits[series] * (1 + 1e-9)
    return np.where(known, covered, 0.0), series
