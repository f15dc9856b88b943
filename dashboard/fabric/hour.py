"""What is rare and what is told seldom, per series: events of the last hour by minute, and values that stand until the
next one comes. Both are grown by each look, so that an hour costs no more than a minute."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from dashboard.kpis.windows import Bools, Floats, Samples, last, newest, oldest

MINUTES = 60
#: a value that was told longer ago is not known any more: three rounds of the slowest collector. Units: s
HELD_SECONDS = 900.0

Counts = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hour:
    """Events of each series by minute; the last column is the minute `minute` (epoch s / 60)."""

    keys: pd.Index
    minute: int
    counts: Counts
    #: stamps of the first and the last sample that were counted. Units: epoch s; inf and -inf before any
    first: Floats
    final: Floats

    def events(self, seconds: float) -> Floats:
        """Return the events of the last so many seconds, rounded up to whole minutes."""
        events: Floats = self.counts[:, MINUTES - round(np.ceil(seconds / 60.0)) :].sum(axis=1, dtype=np.float64)
        return events

    @property
    def known(self) -> Floats:
        """Return for how much of the last hour each series is known. Units: s."""
        with np.errstate(invalid="ignore"):
            return np.clip(self.final - self.first, 0.0, 60.0 * MINUTES)


def no_hour(now: float) -> Hour:
    """Return the hour of which nothing is known yet."""
    return Hour(pd.Index([], dtype=object), int(now // 60), _none(0), np.empty(0), np.empty(0))


def _none(count: int) -> Counts:
    return np.zeros((count, MINUTES), dtype=np.float32)


def _carry(values: Floats, rows: npt.NDArray[np.int64], fill: float) -> Floats:
    """Return values for new keys: `rows` names each one's old row, -1 for a new one."""
    carried: Floats = np.append(values, fill)[rows]
    return carried


def count_events(old: Hour, keys: pd.Index, samples: Samples, amounts: Floats, now: float) -> Hour:
    """Return the hour with the pairs of samples that are newer than what it has counted. `amounts`: one per pair."""
    first, final = old.first, old.final
    counts = old.counts
    if keys is not old.keys:
        rows = old.keys.get_indexer(keys).astype(np.int64)
        first, final = _carry(first, rows, np.inf), _carry(final, rows, -np.inf)
        counts = np.concatenate([counts, _none(1)])[rows]
    minute = max(int(now // 60), old.minute)
    counts = _shift(counts, minute - old.minute)
    series = samples.series[1:]
    fresh = (samples.series[:-1] == series) & (samples.times[1:] > final[series]) & (amounts > 0)
    column = MINUTES - 1 - minute + (samples.times[1:] // 60).astype(np.int64)
    fresh &= column >= 0
    np.add.at(counts, (series[fresh], np.minimum(column[fresh], MINUTES - 1)), amounts[fresh].astype(np.float32))
    return Hour(keys, minute, counts, np.minimum(first, oldest(samples)), np.maximum(final, newest(samples)))


def _shift(counts: Counts, minutes: int) -> Counts:
    """Return the counts so many minutes later, as a copy."""
    if not minutes:
        return counts.copy()
    moved = np.zeros_like(counts)
    if minutes < MINUTES:
        moved[:, : MINUTES - minutes] = counts[:, minutes:]
    return moved


def growths(samples: Samples) -> Floats:
    """Return the growth of each pair of neighbouring samples; a fall is a reset and grows nothing."""
    return np.maximum(np.diff(samples.values), 0.0)


@dataclass(frozen=True, slots=True)
class Held:
    """The newest value of one field per series, and its stamp (epoch s; -inf without)."""

    keys: pd.Index
    values: Floats
    times: Floats

    def at(self, now: float) -> Floats:
        """Return the values that still stand; NaN for the others."""
        return np.where(now - self.times <= HELD_SECONDS, self.values, np.nan)


def hold(old: Held | None, keys: pd.Index, samples: Samples) -> Held:
    """Return the newest values of a field, those of `old` where the last minutes have none."""
    values, times = last(samples), newest(samples)
    if old is None:
        return Held(keys, values, times)
    rows = np.arange(len(keys)) if old.keys is keys else old.keys.get_indexer(keys).astype(np.int64)
    before, at = _carry(old.values, rows, np.nan), _carry(old.times, rows, -np.inf)
    told: Bools = times >= at
    return Held(keys, np.where(told, values, before), np.where(told, times, at))
