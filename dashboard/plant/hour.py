"""The last hour of many quantities, one value per ten seconds: percentiles of it, and for how long it is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dashboard.kpis.windows import Floats

#: width of a slot, and the slots of an hour. Units: s
SLOT_SECONDS = 10.0
SLOTS = 360


@dataclass(frozen=True, slots=True)
class Hour:
    """One row per name, one column per slot; the newest slot is the last column. NaN where nothing is known."""

    names: Mapping[str, int] = field(default_factory=dict)
    values: Floats = field(default_factory=lambda: np.empty((0, SLOTS)))
    #: number of the newest slot since the epoch
    slot: int = 0

    def percentile(self, share: float) -> dict[str, tuple[float, float]]:
        """Return name -> (percentile of the hour, seconds that are known)."""
        known = (~np.isnan(self.values)).sum(axis=1)
        ranks = np.sort(self.values, axis=1)  # what is not known comes last
        at = share * np.maximum(known - 1, 0)
        low = np.floor(at).astype(np.int64)
        rows = np.arange(len(ranks))
        below, above = ranks[rows, low], ranks[rows, np.minimum(low + 1, np.maximum(known - 1, 0))]
        found = (below + (above - below) * (at - low)).tolist()
        return {n: (found[r], float(known[r]) * SLOT_SECONDS) for n, r in self.names.items() if known[r]}


def number_of(time: float) -> int:
    """Return the slot that a time (epoch s) lies in."""
    return int(time // SLOT_SECONDS)


def add(hour: Hour, now: float, values: Mapping[str, float]) -> Hour:
    """Return the hour with these values in the slot of `now` (epoch s); the first of a slot stands."""
    slot = number_of(now)
    if slot <= hour.slot:
        return hour
    return put(hour, slot, values)


def put(hour: Hour, slot: int, values: Mapping[str, float]) -> Hour:
    """Return the hour moved on to `slot`, with these values in it."""
    names = dict(hour.names)
    for name in values:
        names.setdefault(name, len(names))
    moved = min(max(slot - hour.slot, 0), SLOTS)
    grown = np.full((len(names), SLOTS), np.nan)
    grown[: len(hour.values), : SLOTS - moved] = hour.values[:, moved:]
    for name, value in values.items():
        grown[names[name], -1] = value
    return Hour(names, grown, slot)
