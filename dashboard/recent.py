"""The last minutes of one measurement, kept in memory and grown by what is new at each tick.

A tick asks the store only for the time that has passed since the slowest source's newest sample, so its cost follows
the poll rate, not the length of the window.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dashboard.kpis.windows import Floats, Ints, Samples, live, newest, period, select
from storage.store import ALL, Store, Tags

Names = npt.NDArray[np.object_]

#: a stamp may lie this far ahead of our clock (a collector's clock, a poll just begun)
AHEAD = timedelta(seconds=2)
#: forget vanished series when they outnumber the present ones by this
VANISHED = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """What to keep of one measurement."""

    measurement: str
    #: tags that together name a series; its other tags may change (a GPU that changes its pod is the same GPU)
    identity: tuple[str, ...]
    #: tags to keep of each series, newest value
    tags: tuple[str, ...]
    fields: tuple[str, ...]
    where: Tags = field(default_factory=lambda: ALL)


@dataclass(frozen=True, slots=True)
class Recent:
    """Samples of the last minutes, sorted by series, then time; `count` series."""

    #: identity of each series, joined by a unit separator
    keys: pd.Index
    #: tag -> newest value per series
    tags: Mapping[str, Names]
    series: Ints
    #: epoch seconds
    times: Floats
    #: field -> values, NaN where the sample has none
    values: Mapping[str, Floats]
    #: data of real devices is among it, data of simulated ones
    real: bool
    synthetic: bool

    @property
    def mixed(self) -> bool:
        """Return whether both are among it."""
        return self.real and self.synthetic

    @property
    def count(self) -> int:
        """Return the number of series."""
        return len(self.keys)

    def samples(self, name: str) -> Samples:
        """Return the samples of one field."""
        return self.pick(self.values[name])

    def pick(self, values: Floats) -> Samples:
        """Return the samples of one value per row, NaN where the row has none."""
        return select(self.series, self.times, values, self.count, self.values.get("start_time_seconds"))

    def any_of(self, *names: str) -> Samples:
        """Return a sample wherever one of these fields has a value (the first that has one)."""
        values = self.values[names[0]]
        for name in names[1:]:
            values = np.where(np.isnan(values), self.values[name], values)
        return self.pick(values)

    def presence(self) -> Samples:
        """Return one sample per row, whatever fields it has."""
        return self.pick(self.times)


def empty(query: Query) -> Recent:
    """Return what is known before anything was read."""
    return Recent(
        keys=pd.Index([], dtype=object),
        tags={tag: np.empty(0, dtype=object) for tag in query.tags},
        series=np.empty(0, dtype=np.int64),
        times=np.empty(0),
        values={name: np.empty(0) for name in query.fields},
        real=False,
        synthetic=False,
    )


def accepted(
    frame: pd.DataFrame, *, real: bool, refused: Sequence[str] = (), without: Collection[str] = ()
) -> pd.DataFrame:
    """Return the rows without simulated ones, when `real`, and without those of refused collectors or of devices."""
    if real and len(frame):
        frame = frame[frame["synthetic"] != "true"]
    for tag, left_out in (("source", refused), ("device", without)):
        if left_out and len(frame):
            frame = frame[~frame[tag].isin(left_out)]
    return frame


def refresh(
    store: Store,
    query: Query,
    old: Recent,
    now: float,
    window: float,
    *,
    real: bool,
    refused: Sequence[str] = (),
    without: Collection[str] = (),
) -> Recent:
    """Return `old` with what the store got since, and without what is older than the window needs.

    `real`: devices of the real world report, so rows tagged `synthetic` are left out; `refused`: collectors that are
    not believed; `without`: devices that are left out.

    Raises:
        StoreError: the store does not answer; `old` is untouched.
    """
    keep = window + float(np.clip(4 * _slowest(old), 30.0, 120.0)) if old.count else window + 120.0
    start = max(_resume(old, now), now - keep)
    frame = store.range(
        query.measurement,
        query.fields,
        datetime.fromtimestamp(start, UTC),
        datetime.fromtimestamp(now, UTC) + AHEAD,
        every=None,
        aggregate="last",
        where=query.where,
    )
    frame = accepted(frame, real=real, refused=refused, without=without)
    return merge(query, _compact(query, old), frame, start, now - keep)


def _compact(query: Query, old: Recent) -> Recent:
    """Return `old` without vanished series once there are many of them."""
    present = np.unique(old.series)
    if old.count <= 2 * len(present) + VANISHED:
        return old
    renumber = np.zeros(old.count, dtype=np.int64)
    renumber[present] = np.arange(len(present))
    tags = {tag: names[present] for tag, names in old.tags.items()}
    return Recent(old.keys[present], tags, renumber[old.series], old.times, old.values, old.real, old.synthetic)


def _slowest(old: Recent) -> float:
    """Return the period of the slowest series but for a few odd ones. Units: s."""
    return float(np.quantile(period(old.presence()), 0.95))


def _resume(old: Recent, now: float) -> float:
    """Return the time from which to read on: the newest sample of the slowest live source. Units: epoch s.

    What comes next of a live source is newer than its own newest sample, however late it arrives.
    """
    present = old.presence()
    alive = live(present, now)
    return min(float(newest(present)[alive].min()), now) if alive.any() else -np.inf


def merge(query: Query, old: Recent, frame: pd.DataFrame, start: float, oldest: float) -> Recent:
    """Return `old` before `start` and all of `frame`, from `oldest` on. Units: epoch s."""
    names = identity(frame, query.identity)
    codes, found = pd.factorize(names)
    uniques = pd.Index(found, dtype=object)
    unknown = uniques[old.keys.get_indexer(uniques) < 0]
    keys = old.keys.append(unknown) if len(unknown) else old.keys
    ids = keys.get_indexer(uniques).astype(np.int64)[codes]
    times = frame["time"].dt.as_unit("ns").astype("int64").to_numpy() / 1e9 if len(frame) else np.empty(0)
    kept = (old.times < start) & (old.times >= oldest)
    series = np.concatenate([old.series[kept], ids])
    stamps = np.concatenate([old.times[kept], times])
    order = np.lexsort((stamps, series))
    fresh = frame[list(query.fields)].astype("float64")
    values = {n: np.concatenate([old.values[n][kept], fresh[n].to_numpy()])[order] for n in query.fields}
    simulated = (frame["synthetic"] == "true").to_numpy(dtype=bool)
    return Recent(
        keys=keys,
        tags=_tags(query, old, frame, ids, times, len(keys)),
        series=series[order],
        times=stamps[order],
        values=values,
        real=old.real or not simulated.all(),
        synthetic=old.synthetic or bool(simulated.any()),
    )


def identity(frame: pd.DataFrame, tags: Sequence[str]) -> Names:
    """Return the name of each row's series: the values of these tags, joined by a unit separator."""
    text = pa.large_string()
    columns = (pa.array(frame[tag], text) for tag in tags)
    joined = pc.binary_join_element_wise(*columns, pa.scalar("\x1f", text))
    names: Names = joined.to_numpy(zero_copy_only=False)
    return names


def _tags(query: Query, old: Recent, frame: pd.DataFrame, ids: Ints, times: Floats, count: int) -> Mapping[str, Names]:
    """Return the newest tags per series; the very same object while nothing changed, so that what follows is kept."""
    order = np.lexsort((times, ids))
    ends = order[np.append(ids[order][1:] != ids[order][:-1], True)] if len(order) else order
    rows, targets = frame.iloc[ends], ids[ends]
    tags: dict[str, Names] = {}
    for tag in query.tags:
        names = np.full(count, "", dtype=object)
        names[: old.count] = old.tags[tag]
        names[targets] = rows[tag].to_numpy(dtype=object)
        tags[tag] = names
    same = count == old.count and all(np.array_equal(tags[tag], old.tags[tag]) for tag in query.tags)
    return old.tags if same else tags
