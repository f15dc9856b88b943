"""The questions to a store, as Flux text for InfluxDB 2.x, and its answers, as frames.

Every query gives one table of long rows: tags, `_field`, `_time`, `_value`. Names come from the schema, values are
quoted. Source: Flux standard library reference, package `universe`; annotated CSV reference.
"""

import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from storage.question import lay_out
from storage.schema import Measurement
from storage.store import Aggregate, StoreUnavailableError, Tags

_FUNCTIONS: Mapping[Aggregate, str] = {
    "mean": "mean",
    "min": "min",
    "max": "max",
    "sum": "sum",
    "increase": "sum",
    "p50": '(column, tables=<-) => tables |> quantile(q: 0.5, column: column, method: "exact_mean")',
    "p95": '(column, tables=<-) => tables |> quantile(q: 0.95, column: column, method: "exact_mean")',
}
# A counter that falls was restarted from 0 (initialZero); the first value has nothing before it and did not grow.
_GROWTH = """|> difference(nonNegative: true, keepFirst: true, initialZero: true)
  |> fill(column: "_value", value: 0.0)"""
_SECONDS = "|> elapsed(unit: 1ns) |> map(fn: (r) => ({r with _value: float(v: r.elapsed) / 1000000000.0}))"


def source(bucket: str, own: Measurement, fields: Sequence[str], where: Tags, start: int, end: int) -> str:
    """Return the pipe that reads the samples of `fields` in [start, end), in ns since the epoch."""
    tests = [f"r._measurement == {quote(own.name)}", _one_of("_field", fields)]
    tests += [_one_of(tag, [values] if isinstance(values, str) else values) for tag, values in where.items()]
    return f"""from(bucket: {quote(bucket)})
  |> range(start: time(v: {start}), stop: time(v: {end}))
  |> filter(fn: (r) => {" and ".join(tests)})"""


def latest(samples: str) -> str:
    """Return the pipe for the newest value of each field of each series."""
    return f"{samples}\n  |> last()"


def windows(samples: str, aggregate: Aggregate, every: int) -> str:
    """Return the pipe for one value per series, field and window of `every` ns; not for `increase` and `rate`."""
    if aggregate == "last":
        return f"{samples}\n  |> window(every: {every}ns)\n  |> last()"
    return f"{samples}\n  {_windowed(_FUNCTIONS[aggregate], every)}"


def growth(samples: str, every: int, start: int) -> str:
    """Return the pipe for the growth of counters per window, of samples that begin before `start`."""
    return f"{samples}\n  |> toFloat()\n  {_GROWTH}\n  {_from(start)}\n  {_windowed('sum', every)}"


def growing(samples: str, every: int, start: int) -> str:
    """Return the pipe for the seconds in which the counters of each window grew."""
    return f"{samples}\n  |> toFloat()\n  {_SECONDS}\n  {_from(start)}\n  {_windowed('sum', every)}"


def table(pipe: str, own: Measurement, *, number: bool) -> str:
    """Return the query that gives the rows of a pipe as one table."""
    columns = ", ".join(map(quote, (*own.tags, "_field", "_time", "_value")))
    cast = "\n  |> toFloat()" if number else ""
    return f"{pipe}{cast}\n  |> keep(columns: [{columns}])\n  |> group()"


def quote(text: str) -> str:
    """Return a Flux string literal."""
    # In Flux `${` begins an expression within a string; a dollar written as a byte does not.
    escapes = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t", "$": r"\x24"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'


def _one_of(column: str, values: Iterable[str]) -> str:
    tests = [f'r["{column}"] == {quote(value)}' if value else f'not exists r["{column}"]' for value in values]
    return f"({' or '.join(tests) or 'false'})"


def _from(start: int) -> str:
    return f"|> filter(fn: (r) => r._time >= time(v: {start}))"


def _windowed(function: str, every: int) -> str:
    return f'|> aggregateWindow(every: {every}ns, fn: {function}, timeSrc: "_start", createEmpty: false)'


def parse(answer: bytes, own: Measurement, *, number: bool) -> pd.DataFrame:
    """Return the long rows of an answer in CSV: every tag, `_field`, `ns` and `_value`.

    Raises:
        StoreUnavailableError: the server failed in the midst of the answer.
    """
    rows = pd.read_csv(io.BytesIO(answer.strip() or b"_field,_time,_value"), dtype=str, keep_default_na=False)
    if "error" in rows:
        raise StoreUnavailableError(f"the query failed: {rows['error'].iloc[0]!r}")
    rows = rows[rows["_value"] != ""] if number else rows
    moments = pd.DatetimeIndex(pd.to_datetime(rows["_time"], utc=True, format="ISO8601")).as_unit("ns")
    columns = {tag: rows.get(tag, "") for tag in own.tags}
    values = rows["_value"].astype("float64" if number else "object")
    return pd.DataFrame({**columns, "_field": rows["_field"], "ns": moments.asi8, "_value": values}, index=rows.index)


def wide(rows: pd.DataFrame, tags: Sequence[str], fields: Sequence[str], own: Measurement) -> pd.DataFrame:
    """Return long rows as the frame that stores give: one row per value of `tags` and `ns`, one column per field."""
    keys = list(tags)
    names = rows[keys].drop_duplicates().sort_values(keys)
    place = rows.groupby(keys, sort=True).ngroup()
    table = rows.assign(place=place).pivot_table(
        index=["place", "ns"], columns="_field", values="_value", aggfunc="last"
    )
    for name in fields:
        if name not in table:
            table[name] = None
        if own.fields[name].kind != "text":
            table[name] = table[name].astype("float64")
    places, times = (table.index.get_level_values(level).to_numpy(dtype=np.int64) for level in ("place", "ns"))
    return lay_out(names, places, times, {name: table[name].to_numpy() for name in fields}, fields)
