"""From points to columns: what a batch holds, checked against the schema before anything is written."""

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.point import FieldValue, Point
from storage.schema import Field, Measurement, check_value, field_of, measurement
from storage.series import SeriesIndex


@dataclass(frozen=True, slots=True)
class Columns:
    """The points of one measurement, one row per series and time."""

    measurement: Measurement
    #: columns `sid`, `time_ns` and each field that occurs; null where a point lacks it
    table: pa.Table
    sids: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64]


def by_measurement(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Return the points by measurement, in the order in which they came."""
    found: defaultdict[str, list[Point]] = defaultdict(list)
    for point in points:
        found[point.measurement].append(point)
    return found


def gather(points: Sequence[Point], series: SeriesIndex) -> Columns:
    """Return points of one measurement as columns; points of one series and time become one row.

    Raises:
        KeyError: a measurement, tag or field that the schema does not know.
        ValueError: a value that its field cannot hold.
    """
    own = measurement(points[0].measurement)
    sids = [series.number(point.tags) for point in points]
    times = [point.time_ns for point in points]
    keys = dict.fromkeys(zip(sids, times, strict=True))
    if len(keys) < len(points):
        points = _merged(points, sids)
        sids, times = [sid for sid, _ in keys], [time_ns for _, time_ns in keys]
    shapes: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, point in enumerate(points):
        shapes[tuple(point.fields)].append(row)
    all_sids, all_times = np.array(sids, dtype=np.int32), np.array(times, dtype=np.int64)
    tables = []
    for names, rows in shapes.items():
        columns = {"sid": all_sids[rows], "time_ns": all_times[rows]}
        values = {field: _column(own, field, [points[row].fields[field] for row in rows]) for field in names}
        tables.append(pa.table(columns | values))
    return Columns(own, pa.concat_tables(tables, promote_options="default"), all_sids, all_times)


def _merged(points: Sequence[Point], sids: Sequence[int]) -> list[Point]:
    """Return the points merged by series and time, field by field, the later one winning."""
    merged: dict[tuple[int, int], Point] = {}
    for sid, point in zip(sids, points, strict=True):
        key = (sid, point.time_ns)
        old = merged.get(key)
        fields = point.fields if old is None else {**old.fields, **point.fields}
        merged[key] = Point(point.measurement, point.tags, fields, point.time_ns)
    return list(merged.values())


def _column(own: Measurement, name: str, values: list[FieldValue]) -> pa.Array:
    field = own.fields.get(name) or field_of(f"{own.name}.{name}")
    try:
        # array refuses text where a number belongs, which numpy would parse.
        match field.kind:
            case "text":
                return pa.array(values, pa.string())
            case "state":
                return pa.array(np.frombuffer(array("q", cast(list[int], values)), dtype=np.int64))
            case _:
                numbers = np.frombuffer(array("d", cast(list[float], values)), dtype=np.float64)
    except (TypeError, OverflowError, pa.ArrowException) as error:
        return _checked(own, field, values, error)
    return pa.array(numbers) if np.isfinite(numbers).all() else _checked(own, field, values, None)


def _checked(own: Measurement, field: Field, values: list[FieldValue], cause: Exception | None) -> pa.Array:
    """Return whole floats as states; name the first value that cannot be held."""
    for value in values:
        check_value(own, field, value)
    if field.kind != "state":
        raise ValueError(f"{own.name}.{field.name}: values that cannot be held") from cause
    return pa.array([int(value) for value in values], pa.int64())
