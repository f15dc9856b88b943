"""What every store does alike: check what is asked, and lay out what it found."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from storage.schema import Measurement, field_of
from storage.schema import measurement as measurement_of
from storage.series import Numbers
from storage.store import Aggregate

#: how far before a question's start the last value of a counter is looked for, at least
LOOKBACK = timedelta(minutes=10)
#: aggregates that mean something for text
_OF_TEXT = ("last", "min", "max")


def epoch_ns(moment: datetime) -> int:
    """Return nanoseconds since the epoch.

    Raises:
        ValueError: the datetime has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; give an aware datetime")
    since = moment - datetime.fromtimestamp(0, moment.tzinfo)
    return to_ns(since)


def to_ns(span: timedelta) -> int:
    """Return a time span in nanoseconds."""
    return ((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) * 1_000


def check_question(
    measurement: str, fields: Sequence[str], every: timedelta | None = None, aggregate: Aggregate = "last"
) -> Measurement:
    """Return the measurement that is asked for.

    Raises:
        KeyError: a measurement or field that the schema does not know.
        ValueError: no field, a window that is not positive, an aggregate that does not fit.
    """
    own = measurement_of(measurement)
    if not fields:
        raise ValueError(f"{measurement}: name at least one field")
    if every is not None and every <= timedelta(0):
        raise ValueError(f"{measurement}: windows of {every} are not positive")
    if aggregate not in get_args(Aggregate):
        raise ValueError(f"{measurement}: aggregate {aggregate!r} is none of {', '.join(get_args(Aggregate))}")
    for name in fields:
        field = field_of(f"{measurement}.{name}")
        if field.kind == "text" and every is not None and aggregate not in _OF_TEXT:
            raise ValueError(f"{measurement}.{name} is text, which has no {aggregate}; use {', '.join(_OF_TEXT)}")
    return own


def lay_out(
    names: pd.DataFrame,
    rows: Numbers,
    times: npt.NDArray[np.int64],
    values: Mapping[str, npt.NDArray[Any]],
    fields: Sequence[str],
) -> pd.DataFrame:
    """Return tags, `time` and fields, sorted by tags, then time.

    Args:
        names: one row of tags per series or group, sorted
        rows: for each row of `values` its row in `names`
        times: for each row of `values` its time, epoch ns
        values: the fields, in any order; NaN or None where one has nothing
        fields: the fields that are wanted, in their order
    """
    order = np.lexsort((times, rows))
    tags = names.take(rows[order]).reset_index(drop=True)
    columns = {"time": pd.DatetimeIndex(times[order].view("M8[ns]"), tz="UTC")}
    # All at once: pandas takes half a millisecond for each column that is added.
    told = pd.DataFrame(columns | {name: values[name][order] for name in fields})
    frame = pd.concat([tags, told], axis=1)
    frame.attrs["tier"] = "raw"
    return frame
