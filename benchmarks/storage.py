"""What we claim about the write path, each against a named peer in the same run: `python benchmarks/storage.py`.

Absolute figures depend on the machine and its load; the ratios are what counts.
"""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import influxdb_client

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from storage.duckdb import DuckDBStore  # noqa: E402
from storage.lineprotocol import Encoder  # noqa: E402
from storage.point import Point  # noqa: E402

GPUS, TICKS = 1024, 120
FIELDS = (
    "power_watts", "utilization_ratio", "memory_copy_ratio", "sm_active_ratio", "sm_occupancy_ratio",
    "tensor_active_ratio", "dram_active_ratio", "memory_used_bytes", "memory_total_bytes", "temperature_celsius",
    "memory_temperature_celsius", "sm_clock_hertz", "memory_clock_hertz", "energy_joules_total",
    "nvlink_tx_bytes_total", "nvlink_rx_bytes_total", "throttle_power_seconds_total", "process_count",
    "clock_event_mask", "lost",
)  # fmt: skip
STATES = ("clock_event_mask", "lost")


def ticks() -> list[list[Point]]:
    """Return polls of all GPUs, 5 s apart, the last one now."""
    tags = [
        {"site": "DEMO-1", "row": "A", "rack": f"A{n // 72:02d}", "host": f"node-{n // 8:04d}", "gpu": f"GPU-{n:08x}"}
        for n in range(GPUS)
    ]
    now = time.time_ns()
    return [
        [
            Point(
                "gpu",
                tags[n],
                {
                    name: int(name == "lost") if name in STATES else n * 1.01 + k * 7.3 + tick
                    for k, name in enumerate(FIELDS)
                },
                now - (TICKS - 1 - tick) * 5 * 10**9,
            )
            for n in range(GPUS)
        ]
        for tick in range(TICKS)
    ]


def cpu_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the fewest CPU seconds of the process that `work` took in some runs."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def with_peers_encoder(points: Sequence[Point]) -> bytes:
    """Encode with influxdb-client's own Point."""
    lines = []
    for point in points:
        peer = influxdb_client.Point(point.measurement).time(point.time_ns)
        for tag, text in point.tags.items():
            peer.tag(tag, text)
        for name, value in point.fields.items():
            peer.field(name, value)
        lines.append(peer.to_line_protocol())
    return "\n".join(lines).encode()


def into_duckdb(store: DuckDBStore, batches: Sequence[Sequence[Point]]) -> None:
    """Write to our store, one transaction per tick."""
    for batch in batches:
        store.write(batch)


def into_sqlite(connection: sqlite3.Connection, batches: Sequence[Sequence[Point]]) -> None:
    """Write to a wide table with the key (time, series), one transaction per tick, safe to replay as ours is."""
    series: dict[tuple[str, ...], int] = {}
    statement = f"INSERT OR REPLACE INTO gpu VALUES ({', '.join('?' * (len(FIELDS) + 2))})"
    for batch in batches:
        rows = [
            (point.time_ns, series.setdefault(tuple(point.tags.values()), len(series)), *map(point.fields.get, FIELDS))
            for point in batch
        ]
        with connection:
            connection.executemany(statement, rows)
    with connection:
        connection.executemany(
            "INSERT OR REPLACE INTO series VALUES (?, ?)", [(n, key[2]) for key, n in series.items()]
        )


def sqlite_at(path: Path) -> sqlite3.Connection:
    """Open a SQLite file as its documentation advises for many writes."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(
        f"CREATE TABLE gpu (time_ns, sid, {', '.join(FIELDS)}, PRIMARY KEY (time_ns, sid)) WITHOUT ROWID"
    )
    connection.execute("CREATE TABLE series (sid INTEGER PRIMARY KEY, rack)")
    return connection


SQLITE_MEANS = """SELECT rack, time_ns / 60000000000 AS minute, avg(power_watts) FROM gpu JOIN series USING (sid)
    GROUP BY rack, minute"""


def show(what: str, ours: float, peer: str, theirs: float, amount: int, unit: str) -> None:
    """Print both in units per CPU-second, and how many times less CPU ours takes."""
    print(what)
    print(f"  ours              {amount / ours:14,.0f} {unit} per CPU-second")
    print(f"  {peer:<17} {amount / theirs:14,.0f} {unit} per CPU-second")
    print(f"  ratio             {theirs / ours:14.1f}")


def main() -> None:
    """Run everything once; about a minute."""
    batches = ticks()
    points = [point for batch in batches for point in batch]
    values = len(points) * len(FIELDS)
    encoder, some = Encoder(), points[: 12 * GPUS]
    ours, theirs = cpu_seconds(lambda: encoder.encode(some)), cpu_seconds(lambda: with_peers_encoder(some))
    show("line protocol, 5 tags, 20 fields", ours, "influxdb-client", theirs, len(some), "points")
    with tempfile.TemporaryDirectory() as name:
        store, connection = DuckDBStore(Path(name) / "ours.duckdb"), sqlite_at(Path(name) / "peer.sqlite")
        ours = cpu_seconds(lambda: into_duckdb(store, batches), repeats=1)
        theirs = cpu_seconds(lambda: into_sqlite(connection, batches), repeats=1)
        show(f"write, {GPUS} points a tick, {TICKS} ticks", ours, "sqlite3", theirs, values, "values")
        start, end = datetime.now(UTC) - timedelta(hours=2), datetime.now(UTC) + timedelta(minutes=1)
        minute = timedelta(minutes=1)
        ours = cpu_seconds(
            lambda: store.range("gpu", ["power_watts"], start, end, every=minute, aggregate="mean", by=["rack"])
        )
        theirs = cpu_seconds(lambda: connection.execute(SQLITE_MEANS).fetchall())
        show("mean power by rack and minute, all of it", ours, "sqlite3", theirs, len(points), "samples")
        latest = cpu_seconds(lambda: store.latest("gpu", FIELDS, minute)) * 1000
        replay = cpu_seconds(lambda: store.write(batches[-1])) * 1000
        store.close()
        connection.close()
    print(f"latest of {GPUS} GPUs x {len(FIELDS)} fields {latest:.0f} ms CPU; the same tick again {replay:.0f} ms CPU")


if __name__ == "__main__":
    main()
