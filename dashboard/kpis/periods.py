"""How often a source really says something new, and how long a window must be for it. Rules E7 and E8."""

import numpy as np

from dashboard.kpis.windows import Bools, Floats, Samples

#: a live window is never longer. Units: s
LONGEST_SECONDS = 600.0
#: a window holds this many updates of the slowest source, and requests of this many times the 95th percentile's length
UPDATES = 2.0


def update_period(samples: Samples, resting: Bools | None = None) -> Floats:
    """Return the median time between changes of each series' value (E8). Units: s; NaN with fewer than three changes.

    `resting`: samples at which nothing was to be counted; a time that holds one says nothing of the source.
    """
    periods = np.full(samples.count, np.nan)
    if len(samples.times) < 2:
        return periods
    inside = samples.series[1:] == samples.series[:-1]
    at = np.flatnonzero(inside & (np.diff(samples.values) != 0)) + 1
    idle = np.zeros(len(samples.times)) if resting is None else resting
    rests = np.append(0, np.cumsum(idle))
    worked = (samples.series[at[1:]] == samples.series[at[:-1]]) & (rests[at[1:]] == rests[at[:-1]])
    series, steps = samples.series[at[1:]][worked], np.diff(samples.times[at])[worked]
    order = np.lexsort((steps, series))
    series, steps = series[order], steps[order]
    counts = np.bincount(series, minlength=samples.count)
    middle = np.cumsum(counts) - counts + (counts - 1) // 2
    seen = counts > 1
    periods[seen] = steps[middle[seen]]
    return periods


def live_window(least: float, slowest_update: float, slowest_request: float) -> float:
    """Return the length of the live window (E7). Units: s = max(least, 2 x update period, 2 x p95 of E2E), at most 600.

    `slowest_request`: 95th percentile of the length of requests whose tokens are counted at their end; 0 without.
    """
    needed = UPDATES * np.nan_to_num(max(slowest_update, slowest_request))
    return float(max(least, min(needed, LONGEST_SECONDS)))


def quantile_seconds(bounds: Floats, counts: Floats, share: float) -> float:
    """Return the time within which this share of requests ended, linear within its bucket. Units: s; 0 without any.

    `bounds`: upper bounds, ascending, the last may be infinite; `counts`: requests of at most that long.
    """
    if not len(counts) or counts[-1] <= 0:
        return 0.0
    at = int(np.searchsorted(counts, share * counts[-1]))
    low, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    if not np.isfinite(bounds[at]):
        return float(low)
    return float(low + (bounds[at] - low) * (share * counts[-1] - below) / max(counts[at] - below, 1e-9))
