"""The store's answers on a grid of equal steps: series x steps, NaN where unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dashboard.kpis.windows import Floats, Ints
from storage.store import Store

STEP = 20.0
#: rates and powers are means over so many steps, as the live numbers are over their window
MEAN_STEPS = 3
#: a device that is polled seldom stands for its last value over so many steps
HOLD_STEPS = 4


@dataclass(frozen=True, slots=True)
class Grid:
    """The steps of [start, end), and how to ask the store for them."""

    store: Store
    start: float
    end: float
    real: bool

    @property
    def steps(self) -> int:
        """Return the number of steps."""
        return round((self.end - self.start) / STEP)

    def ask(self, measurement: str, fields: Sequence[str], **question: Any) -> pd.DataFrame:
        """Return windows of one step with the column `step`."""
        start, end = (datetime.fromtimestamp(time, UTC) for time in (self.start, self.end))
        frame = self.store.range(measurement, fields, start, end, every=timedelta(seconds=STEP), **question)
        if self.real:
            frame = frame[frame["synthetic"] != "true"]
        times = frame["time"].dt.as_unit("ns").astype("int64").to_numpy() / 1e9
        return frame.assign(step=np.rint((times - self.start) / STEP).astype(np.int64))

    def matrix(self, frame: pd.DataFrame, rows: npt.NDArray[np.int64], field: str, count: int) -> Floats:
        """Return rows x steps of one field; NaN where unknown."""
        values = np.full((count, self.steps), np.nan)
        values[rows, frame["step"].to_numpy()] = frame[field].to_numpy(dtype=np.float64)
        return values


def series(frame: pd.DataFrame, *tags: str) -> tuple[Ints, pd.DataFrame]:
    """Return the series number of each row, and one row of tags per series."""
    if not len(frame):
        return np.empty(0, dtype=np.int64), frame[list(tags)]
    numbers = np.asarray(frame.groupby(list(tags), sort=False).ngroup(), dtype=np.int64)
    return numbers, frame[list(tags)].drop_duplicates().reset_index(drop=True)


def hold(values: Floats) -> Floats:
    """Return rows in which a value stands for up to HOLD_STEPS steps after it."""
    held: Floats = pd.DataFrame(values.T).ffill(limit=HOLD_STEPS).to_numpy(dtype=np.float64).T
    return held


def mean(values: Floats) -> Floats:
    """Return the mean over the last MEAN_STEPS steps, of those that are known; steps are the last dimension."""
    rows = pd.DataFrame(values.reshape(-1, values.shape[-1]).T)
    means = rows.rolling(MEAN_STEPS, min_periods=1).mean().to_numpy(dtype=np.float64).T.reshape(values.shape)
    return np.where(np.isnan(values), np.nan, means)
