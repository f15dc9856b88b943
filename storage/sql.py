"""The questions to a store, as SQL text for DuckDB. Every name in them comes from the schema.

Tables: one per measurement with `sid`, `time_ns` and its fields; `chosen (sid, grp)`: the series asked for and the
group of each.
"""

from collections.abc import Container, Iterator, Mapping, Sequence

from storage.schema import Measurement
from storage.store import Aggregate

_TYPES = {"gauge": "DOUBLE", "counter": "DOUBLE", "state": "BIGINT", "text": "VARCHAR"}

#: how the samples of one series in one window become one value
_WITHIN: Mapping[Aggregate, str] = {
    "mean": 'avg("{f}")',
    "min": 'min("{f}")',
    "max": 'max("{f}")',
    "last": 'arg_max("{f}", time_ns)',
    "sum": 'sum("{f}")',
    "p50": 'quantile_cont("{f}", 0.5)',
    "p95": 'quantile_cont("{f}", 0.95)',
    "increase": 'sum("{f}")',
    # Growth over the time in which it grew, so that a window that is only half full does not look half as fast.
    "rate": 'sum("{f}") FILTER ("{f}__ns" > 0) / (sum("{f}__ns") / 1e9)',
}
#: how the values of several series in one window become one
_ACROSS: Mapping[Aggregate, str] = {
    "mean": 'avg("{f}")',
    "min": 'min("{f}")',
    "max": 'max("{f}")',
    "last": """arg_max("{f}", {{'time': "{f}__time", 'sid': sid}})""",
    "sum": 'sum("{f}")',
    "p50": 'avg("{f}")',
    "p95": 'avg("{f}")',
    "increase": 'sum("{f}")',
    "rate": 'sum("{f}")',
}
# A counter that falls was restarted from 0: all of its new value is growth.
_GROWTH = """CASE WHEN "{f}" IS NULL THEN NULL WHEN "{f}__before" IS NULL THEN 0
        WHEN "{f}" < "{f}__before" THEN "{f}" ELSE "{f}" - "{f}__before" END AS "{f}",
    time_ns - "{f}__when" AS "{f}__ns\""""
_BEFORE = """lag("{f}" IGNORE NULLS) OVER w AS "{f}__before",
    CASE WHEN "{f}" IS NOT NULL THEN lag(CASE WHEN "{f}" IS NOT NULL THEN time_ns END IGNORE NULLS) OVER w END
        AS "{f}__when\""""


#: schema, table and name of every column there is
COLUMNS = "SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE NOT internal"


def create(own: Measurement, existing: Container[tuple[str, str, str]]) -> list[str]:
    """Return the statements that make the tables of a measurement, or add the columns that an older schema lacked."""
    tags = {"sid": "INTEGER", **dict.fromkeys(own.tags, "VARCHAR DEFAULT ''")}
    fields = {"sid": "INTEGER", "time_ns": "BIGINT"} | {f.name: _TYPES[f.kind] for f in own.fields.values()}
    return [*_create("series", own.name, tags, existing), *_create("main", own.name, fields, existing)]


def _create(
    schema: str, table: str, columns: Mapping[str, str], existing: Container[tuple[str, str, str]]
) -> Iterator[str]:
    missing = [f'"{name}" {kind}' for name, kind in columns.items() if (schema, table, name) not in existing]
    if len(missing) == len(columns):
        yield f'CREATE TABLE {schema}."{table}" ({", ".join(missing)})'
    else:
        yield from (f'ALTER TABLE {schema}."{table}" ADD COLUMN {column}' for column in missing)


def insert(table: str, columns: Sequence[str]) -> str:
    """Return the statement that appends the rows of `batch`."""
    return f'INSERT INTO main."{table}" ({_names(columns)}) SELECT {_names(columns)} FROM batch'


def insert_series(own: Measurement) -> str:
    """Return the statement that adds the series of `batch`."""
    columns = _names(("sid", *own.tags))
    return f'INSERT INTO series."{own.name}" ({columns}) SELECT {columns} FROM batch'


def merge(table: str, columns: Sequence[str]) -> str:
    """Return the statement that merges `batch` into what is there; parameters: the batch's oldest and newest time."""
    news = ", ".join(f'b."{name}"' for name in columns)
    updates = ", ".join(f'"{f}" = coalesce(b."{f}", t."{f}")' for f in columns if f not in ("sid", "time_ns"))
    return f"""MERGE INTO main."{table}" AS t USING batch AS b
        ON t.sid = b.sid AND t.time_ns = b.time_ns AND t.time_ns BETWEEN ? AND ?
        WHEN MATCHED THEN UPDATE SET {updates}
        WHEN NOT MATCHED THEN INSERT ({_names(columns)}) VALUES ({news})"""


def latest(own: Measurement, fields: Sequence[str], *, chosen: bool) -> str:
    """Return the query for the newest value of each field per series; parameter: the oldest time that counts.

    Columns: sid, time_ns, the fields.
    """
    values = ", ".join(_as_read(own, f, f'arg_max("{f}", time_ns)') for f in fields)
    return f"""SELECT sid, max(time_ns) AS time_ns, {values} FROM main."{own.name}"
        WHERE time_ns >= ? AND {_any(fields)} {_only(chosen)} GROUP BY sid"""


def raw(own: Measurement, fields: Sequence[str], *, chosen: bool) -> str:
    """Return the query for every sample; parameters: start and end. Columns: sid, time_ns, the fields."""
    values = ", ".join(_as_read(own, f, f'"{f}"') for f in fields)
    return f"""SELECT sid, time_ns, {values} FROM main."{own.name}"
        WHERE time_ns >= ? AND time_ns < ? AND {_any(fields)} {_only(chosen)}"""


def windows(
    own: Measurement,
    fields: Sequence[str],
    aggregate: Aggregate,
    *,
    every: int,
    start: int,
    chosen: bool,
    grouped: bool,
) -> str:
    """Return the query for windows of `every` ns; parameters: from where samples are read (before `start` for
    counters), and the end. Columns: sid, or grp when `grouped`, time_ns of the window's start, the fields.
    """
    samples = raw(own, fields, chosen=chosen)
    if aggregate in ("increase", "rate"):
        samples = _growth(samples, fields, start)
    within = ", ".join(
        f'{_WITHIN[aggregate].format(f=f)} AS "{f}", max(time_ns) FILTER ("{f}" IS NOT NULL) AS "{f}__time"'
        for f in fields
    )
    series = f"""SELECT sid, time_ns - time_ns % {every} AS start_ns, {within} FROM ({samples}) GROUP BY ALL"""
    if not grouped:
        return f"SELECT sid, start_ns AS time_ns, {_names(fields)} FROM ({series}) WHERE {_any(fields)}"
    across = ", ".join(f'{_ACROSS[aggregate].format(f=f)} AS "{f}"' for f in fields)
    return f"""SELECT grp, start_ns AS time_ns, {across} FROM ({series}) JOIN chosen USING (sid)
        WHERE {_any(fields)} GROUP BY grp, start_ns"""


def _growth(samples: str, fields: Sequence[str], start: int) -> str:
    before = ", ".join(_BEFORE.format(f=f) for f in fields)
    growth = ", ".join(_GROWTH.format(f=f) for f in fields)
    return f"""SELECT sid, time_ns, {growth}
        FROM (SELECT *, {before} FROM ({samples}) WINDOW w AS (PARTITION BY sid ORDER BY time_ns))
        WHERE time_ns >= {start}"""


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _as_read(own: Measurement, field: str, expression: str) -> str:
    """Return the expression as a column: numbers always as DOUBLE, so that a frame's type hangs on no null."""
    cast = "" if own.fields[field].kind == "text" else "::DOUBLE"
    return f'({expression}){cast} AS "{field}"'


def _any(fields: Sequence[str]) -> str:
    return "(" + " OR ".join(f'"{f}" IS NOT NULL' for f in fields) + ")"


def _only(chosen: bool) -> str:
    return "AND sid IN (SELECT sid FROM chosen)" if chosen else ""
