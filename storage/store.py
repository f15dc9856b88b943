"""The one interface behind which every store stands.

Errors: StoreError
          StoreLockedError    another process holds the embedded file
          StoreUnavailableError  the server does not answer, or not in time: keep the points and try again
          StoreRejectedError  the server refuses these points for good: do not try again
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from storage.point import Point

if TYPE_CHECKING:
    import pandas as pd

Aggregate = Literal["mean", "min", "max", "last", "sum", "p50", "p95", "increase", "rate"]
#: tag name -> the value it must have, or one of several
Tags = Mapping[str, str | Sequence[str]]

ALL: Tags = {}


class StoreError(Exception):
    """Base of what a store raises; the message names the store, its address and the way out."""


class StoreLockedError(StoreError):
    """Another process holds the embedded store."""


class StoreUnavailableError(StoreError):
    """The store does not answer (in time): the points are to be kept and written again."""


class StoreRejectedError(StoreError):
    """The store refuses these points for good; the message holds its reason."""


class Store(Protocol):
    """Keep points and give them back as frames. Every method may be called from any thread."""

    def write(self, points: Sequence[Point]) -> None:
        """Keep all points or raise. Points of the same series and time merge field by field, the later write wins,
        so writing the same points again changes nothing.

        Raises:
            StoreError: nothing of this batch is promised to be kept.
            KeyError: a measurement, tag or field that the schema does not know; nothing was written.
            ValueError: a value that its field cannot hold (NaN, text in a number); nothing was written.
        """
        ...

    def latest(self, measurement: str, fields: Sequence[str], within: timedelta, where: Tags = ALL) -> "pd.DataFrame":
        """Return the newest value of each field per series, no older than `within` before now.

        Returns:
            One row per series. Columns: every tag of the measurement (str, "" where the series has none),
            `time` (datetime64[ns, UTC]: the newest point of the series that has one of the fields) and each field:
            numbers as float64, NaN where the series has no value within the span; text as str, None where it has none.
            Sorted by tags. With no data: no rows, the same columns.
        """
        ...

    def range(
        self,
        measurement: str,
        fields: Sequence[str],
        start: datetime,
        end: datetime,
        *,
        every: timedelta | None,
        aggregate: Aggregate,
        by: Sequence[str] = (),
        where: Tags = ALL,
    ) -> "pd.DataFrame":
        """Return what lies in [start, end), in windows of `every` aligned to the epoch, or raw when `every` is None.

        Raw (`every=None`): `aggregate` and `by` are ignored; every stored point that has one of the fields is one row
        with all tags of the measurement, `time` and the fields, sorted by tags, then time.
        Windowed: first each series is reduced per window with `aggregate` (`increase`: reset-safe growth of a counter
        from the last value before the window, or the first in it, to the last in it; `rate`: that per second of the
        time in which it grew), then, when `by` names tags, series of the same tags are summed for sum, increase and
        rate, averaged for mean, p50 and p95, and reduced with their own aggregate for min, max and last. With `by=()`
        series stay apart.
        Columns: the tags (all, or `by`), `time` (the window's start, datetime64[ns, UTC]) and the fields; windows
        without data are absent. `df.attrs["tier"]` names the retention tier that answered.
        """
        ...

    def close(self) -> None:
        """Finish writing and release the store; calling it again does nothing."""
        ...
