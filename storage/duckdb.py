"""The embedded store: one DuckDB file, one process, any number of threads.

Each measurement has a wide table of samples (in the schema `main`) and a table of its series (in `series`).
Source: DuckDB documentation, "Concurrency" and "Import from Apache Arrow".
"""

import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from storage import sql
from storage.columns import Columns, by_measurement, gather
from storage.point import Point
from storage.question import LOOKBACK, check_question, epoch_ns, lay_out, to_ns
from storage.recovery import open_repaired
from storage.schema import MEASUREMENTS, Measurement
from storage.schema import measurement as measurement_of
from storage.series import Numbers, SeriesIndex
from storage.store import ALL, Aggregate, StoreError, StoreLockedError, StoreUnavailableError, Tags

_MEMORY = ":memory:"


class _Table:
    """What is known in memory about one measurement's table."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, own: Measurement, *, empty: bool) -> None:
        rows: list[tuple[str, ...]] = []
        newest: tuple[Any, ...] | None = None
        if not empty:
            tags = ", ".join(f'"{tag}"' for tag in own.tags)
            rows = cursor.execute(f'SELECT {tags} FROM series."{own.name}" ORDER BY sid').fetchall()
            newest = cursor.execute(f'SELECT max(time_ns) FROM main."{own.name}"').fetchone()
        self.index = SeriesIndex(own, rows)
        self._floor: int = newest[0] if newest and newest[0] is not None else np.iinfo(np.int64).min
        self._newest = np.full(len(rows), self._floor, dtype=np.int64)

    def is_new(self, batch: Columns) -> bool:
        """Return whether every row is newer than all that its series has on disk."""
        missing = int(batch.sids.max()) + 1 - len(self._newest)
        if missing > 0:
            # Twice as many as needed, so that many small batches of new series do not copy the array each time.
            room = np.full(missing + len(self._newest), self._floor, dtype=np.int64)
            self._newest = np.concatenate([self._newest, room])
        return bool((batch.times > self._newest[batch.sids]).all())

    def mark_saved(self, batch: Columns) -> None:
        """Take note that the batch is on disk."""
        self.index.mark_saved()
        np.maximum.at(self._newest, batch.sids, batch.times)


class DuckDBStore:
    """Keep points in the file `path`, or in memory for ":memory:"."""

    def __init__(self, path: Path | str) -> None:
        """Open the file, made when it is missing, with every table of the schema.

        Raises:
            StoreLockedError: another process, or another store of this one, has it open.
            StoreError: it cannot be opened.
        """
        self.path = str(path)
        self._write_lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = _open(self.path)
        try:
            with self._cursor() as cursor:
                known = _migrate(cursor)
                self._tables = {m.name: _Table(cursor, m, empty=m.name not in known) for m in MEASUREMENTS.values()}
        except StoreError:
            self.close()
            raise

    def write(self, points: Sequence[Point]) -> None:
        """Keep all points in one transaction, or raise; see `Store.write`."""
        with self._write_lock, self._cursor() as cursor:
            batches = []
            for name, own in by_measurement(points).items():
                batches.append(gather(own, self._tables[measurement_of(name).name].index))
            cursor.begin()
            for batch in batches:
                self._append(cursor, batch)
            cursor.commit()
            for batch in batches:
                self._tables[batch.measurement.name].mark_saved(batch)

    def latest(self, measurement: str, fields: Sequence[str], within: timedelta, where: Tags = ALL) -> pd.DataFrame:
        """Return the newest value of each field per series; see `Store.latest`."""
        own = check_question(measurement, fields)
        query = sql.latest(own, fields, chosen=bool(where))
        return self._ask(own, fields, query, (time.time_ns() - to_ns(within),), where=where)

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
    ) -> pd.DataFrame:
        """Return samples or windows of [start, end); see `Store.range`.

        The growth into the first sample counts from the last one before `start`, if it is no older than `LOOKBACK` (or
        `every`, when that is longer).
        """
        own = check_question(measurement, fields, every, aggregate)
        first, last = epoch_ns(start), epoch_ns(end)
        if every is None:
            return self._ask(own, fields, sql.raw(own, fields, chosen=bool(where)), (first, last), where=where)
        before = to_ns(max(LOOKBACK, every)) if aggregate in ("increase", "rate") else 0
        query = sql.windows(
            own, fields, aggregate, every=to_ns(every), start=first, chosen=bool(where), grouped=bool(by)
        )
        return self._ask(own, fields, query, (first - before, last), by=by, where=where)

    def close(self) -> None:
        """Write everything into the one file and release it; calling it again does nothing."""
        with self._write_lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _append(self, cursor: duckdb.DuckDBPyConnection, batch: Columns) -> None:
        own = batch.measurement
        table = self._tables[own.name]
        unsaved = table.index.unsaved()
        if unsaved:
            columns = dict(zip(("sid", *own.tags), map(list, zip(*unsaved, strict=True)), strict=True))
            with _registered(cursor, "batch", pa.table(columns)):
                cursor.execute(sql.insert_series(own))
        names = batch.table.column_names
        with _registered(cursor, "batch", batch.table):
            if table.is_new(batch):
                cursor.execute(sql.insert(own.name, names))
            else:
                cursor.execute(sql.merge(own.name, names), (int(batch.times.min()), int(batch.times.max())))

    def _ask(
        self,
        own: Measurement,
        fields: Sequence[str],
        query: str,
        parameters: Sequence[int],
        by: Sequence[str] = (),
        where: Tags = ALL,
    ) -> pd.DataFrame:
        names, group = self._tables[own.name].index.groups(by, where)
        with self._cursor() as cursor, ExitStack() as registered:
            if by or where:
                registered.enter_context(_registered(cursor, "chosen", _chosen(group)))
            columns: dict[str, Any] = cursor.execute(query, parameters).fetchnumpy()
        found = {name: _plain(column) for name, column in columns.items()}
        if "sid" in found:
            # A series that came while we asked has no row in `names` yet.
            known = found["sid"] < len(group)
            found = {name: column[known] for name, column in found.items()}
            rows = group[found["sid"]]
        else:
            rows = found["grp"]
        return lay_out(names, rows, found["time_ns"], found, fields)

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a connection of this call's own; what it has not committed at the end is rolled back."""
        connection = self._connection
        if connection is None:
            raise StoreError(f"{self.path}: the store is closed")
        try:
            with connection.cursor() as cursor:
                yield cursor
        except duckdb.Error as error:
            raise StoreUnavailableError(f"{self.path}: DuckDB: {error}") from error


def _migrate(cursor: duckdb.DuckDBPyConnection) -> set[str]:
    """Make the tables and columns that the file lacks; return the tables that it had."""
    cursor.begin()
    cursor.execute("CREATE SCHEMA IF NOT EXISTS series")
    existing = set(cursor.execute(sql.COLUMNS).fetchall())
    if missing := [statement for own in MEASUREMENTS.values() for statement in sql.create(own, existing)]:
        cursor.execute(";".join(missing))
    cursor.commit()
    return {table for _, table, _ in existing}


def _plain(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a column with NaN, or None among texts, where it has nothing."""
    if not isinstance(column, np.ma.MaskedArray):
        return column
    plain: npt.NDArray[Any] = column.data
    plain[np.ma.getmaskarray(column)] = None if plain.dtype == object else np.nan
    return plain


def _chosen(group: Numbers) -> pa.Table:
    wanted = np.flatnonzero(group >= 0)
    return pa.table({"sid": wanted, "grp": group[wanted]})


@contextmanager
def _registered(cursor: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    cursor.register(name, table)
    try:
        yield
    finally:
        cursor.unregister(name)


def _open(path: str) -> duckdb.DuckDBPyConnection:
    # DuckDB shares one database among equal connects of a process. An own user agent makes a second connect to the same
    # file unequal, hence refused: two stores would number their series apart from each other.
    options: dict[str, Any] = {"memory_limit": "512MB", "threads": 2, "custom_user_agent": f"tokenwatt {uuid.uuid4()}"}
    way_out = "stop the other one, give storage.path another file, or set storage.engine to a server (influxdb)"
    try:
        if path == _MEMORY:
            return duckdb.connect(path, config=options)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open_repaired(Path(path), lambda: duckdb.connect(path, config=options))
    except duckdb.ConnectionException as error:
        raise StoreLockedError(f"{path}: this process has it open already; {way_out}") from error
    except (duckdb.Error, OSError) as error:
        if "Could not set lock" in str(error):
            raise StoreLockedError(f"{path}: {_holder(str(error))} has it open; {way_out}") from error
        raise StoreError(f"{path}: cannot be opened: {error}") from error


def _holder(message: str) -> str:
    found = re.search(r"held in (.+?) \(PID (\d+)\)", message)
    return f"another process ({found[1]}, pid {found[2]})" if found else "another process"
