"""One source per GPU: where several exporters tell of the same board, the best one that lives is taken."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dashboard.kpis.sources import best_of_each, exporter_ranks
from dashboard.kpis.windows import Ints, live, newest, oldest
from dashboard.recent import Names, Recent

#: a source that has been there for less is taken only where no other is known for longer. Units: s
SETTLED_SECONDS = 60.0
#: added to the rank of a source without any sample: it comes behind all others
_UNHEARD = 100


@dataclass(frozen=True, slots=True)
class Boards:
    """The GPUs, each by one source; series are UUIDs."""

    gpu: Recent
    #: as read: one series per GPU and source
    raw: Recent
    #: per GPU: the series of `raw` that was taken
    taken: Ints
    #: GPUs of which more than one source tells now
    doubled: int

    @property
    def exporters(self) -> Names:
        """Return the name of each GPU's source; "" where it does not say."""
        names: Names = self.raw.tags["exporter"][self.taken]
        return names


def choose(raw: Recent, old: Boards | None, now: float) -> Boards:
    """Return each GPU by the best source that lives at `now` (epoch s).

    Keys and tags are the very same objects as in `old` while nothing changed, so that what follows is kept.
    """
    gpu_of, uuids = pd.factorize(raw.tags["gpu"])
    group = gpu_of.astype(np.int64)
    present = raw.presence()
    alive = live(present, now)
    known = newest(present) >= oldest(present) + SETTLED_SECONDS
    rank = exporter_ranks(raw.tags["exporter"].tolist()) + _UNHEARD * np.isneginf(newest(present))
    taken = best_of_each(group, rank, alive, known, len(uuids))
    doubled = int((np.bincount(group[alive], minlength=len(uuids)) > 1).sum())
    same_keys = old is not None and len(old.gpu.keys) == len(uuids) and np.array_equal(old.gpu.keys, uuids)
    keys = old.gpu.keys if old is not None and same_keys else pd.Index(uuids, dtype=object)
    same = old is not None and same_keys and old.raw.tags is raw.tags and np.array_equal(old.taken, taken)
    tags: Mapping[str, Names] = (
        old.gpu.tags if old is not None and same else {tag: names[taken] for tag, names in raw.tags.items()}
    )
    return Boards(_renumbered(raw, group, taken, keys, tags), raw, taken, doubled)


def _renumbered(raw: Recent, group: Ints, taken: Ints, keys: pd.Index, tags: Mapping[str, Names]) -> Recent:
    if len(taken) == raw.count:  # one source per GPU: nothing is left out, and the order is the same
        return replace(raw, keys=keys, tags=tags)
    chosen = np.zeros(raw.count, dtype=bool)
    chosen[taken] = True
    rows = np.flatnonzero(chosen[raw.series])
    series = group[raw.series[rows]]
    order = np.argsort(series, kind="stable")
    rows = rows[order]
    values = {name: column[rows] for name, column in raw.values.items()}
    return replace(raw, keys=keys, tags=tags, series=series[order], times=raw.times[rows], values=values)
