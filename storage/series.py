"""Numbers for series: which tags mean which number, kept in memory beside an embedded store."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pandas as pd

from storage.schema import Measurement, check_tags
from storage.store import Tags

Numbers = npt.NDArray[np.int64]


def matches(frame: pd.DataFrame, where: Tags) -> npt.NDArray[np.bool_]:
    """Return for each row of a frame of tags whether it has the values of `where`."""
    keep = np.ones(len(frame), dtype=bool)
    for tag, values in where.items():
        keep &= frame[tag].isin([values] if isinstance(values, str) else list(values)).to_numpy(dtype=bool)
    return keep


class SeriesIndex:
    """The series of one measurement, numbered from 0 in the order in which they came. One thread adds, many read."""

    def __init__(self, own: Measurement, rows: Iterable[tuple[str, ...]] = ()) -> None:
        self._own = own
        self.tags = own.tags
        self._numbers = {row: number for number, row in enumerate(rows)}
        self._saved = len(self._numbers)
        self._sorted: tuple[pd.DataFrame, Numbers] | None = None

    def number(self, tags: Mapping[str, str]) -> int:
        """Return the number of the series with these tags; a new series gets the next one.

        Raises:
            KeyError: a tag that the schema does not know.
        """
        key = tuple(map(tags.get, self.tags, repeat("")))
        if len(tags) != len(key) - key.count(""):
            check_tags(self._own, tags)
        return self._numbers.setdefault(key, len(self._numbers))

    def unsaved(self) -> list[tuple[int, *tuple[str, ...]]]:
        """Return (number, tag values...) of the series that `mark_saved` has not covered."""
        new = list(self._numbers)[self._saved :] if len(self._numbers) > self._saved else []
        return [(self._saved + offset, *row) for offset, row in enumerate(new)]

    def mark_saved(self) -> None:
        """Take note that every series known so far is on disk."""
        self._saved = len(self._numbers)

    def sorted(self) -> tuple[pd.DataFrame, Numbers]:
        """Return all series as a frame of tags sorted by them, and the row in it of each series number."""
        if self._sorted is None or len(self._sorted[1]) != len(self._numbers):
            frame = pd.DataFrame(list(self._numbers), columns=list(self.tags))
            frame = frame.sort_values(list(self.tags), kind="stable")
            place = np.empty(len(frame), dtype=np.int64)
            place[frame.index.to_numpy()] = np.arange(len(frame))
            self._sorted = frame.reset_index(drop=True), place
        return self._sorted

    def groups(self, by: Sequence[str], where: Tags) -> tuple[pd.DataFrame, Numbers]:
        """Return the groups of series that `by` makes, as a frame of those tags sorted by them, and the row in it
        of each series number, -1 for series that `where` leaves out. Without `by` each series is a group.

        Raises:
            KeyError: a tag that the schema does not know.
        """
        check_tags(self._own, (*by, *where))
        frame, place = self.sorted()
        names = frame
        group: Numbers = np.arange(len(frame), dtype=np.int64)
        if by:
            names = frame[list(by)].drop_duplicates().sort_values(list(by))
            group = np.asarray(frame.groupby(list(by), sort=True).ngroup(), dtype=np.int64)
        if where:
            group = np.where(matches(frame, where), group, -1)
        return names.reset_index(drop=True), group[place]
