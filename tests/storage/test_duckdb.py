import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from storage.duckdb import DuckDBStore
from storage.point import Point
from storage.store import StoreError, StoreLockedError

ROOT = Path(__file__).parents[2]
MINUTE = timedelta(minutes=1)
START = datetime(2025, 10, 9, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "points.duckdb"


def gpu(name: str, seconds: float, watts: float) -> Point:
    return Point("gpu", {"gpu": name}, {"power_watts": watts}, round((START.timestamp() + seconds) * 1e9))


def watts(store: DuckDBStore) -> list[float]:
    values: list[float] = store.range(
        "gpu", ["power_watts"], START, START + timedelta(days=1), every=None, aggregate="last"
    )["power_watts"].tolist()
    return values


def in_another_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_what_was_written_is_there_after_opening_again(file: Path) -> None:
    store = DuckDBStore(file)
    store.write([gpu("G1", 0, 1.0), gpu("G2", 0, 2.0)])
    store.close()
    store.close()
    store = DuckDBStore(file)
    # An old series, a new one, and the same point again: numbers of series must not start anew.
    store.write([gpu("G2", 10, 22.0), gpu("G3", 0, 3.0), gpu("G1", 0, 1.0)])
    assert watts(store) == [1.0, 2.0, 22.0, 3.0]
    store.close()


def test_a_closed_store_says_so(file: Path) -> None:
    store = DuckDBStore(file)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.write([gpu("G1", 0, 1.0)])
    with pytest.raises(StoreError, match="closed"):
        store.latest("gpu", ["power_watts"], MINUTE)


def test_memory_stores_are_apart_from_each_other() -> None:
    one, other = DuckDBStore(":memory:"), DuckDBStore(":memory:")
    one.write([gpu("G1", 0, 1.0)])
    assert watts(one) == [1.0]
    assert watts(other) == []
    one.close()
    other.close()


def test_a_second_process_is_refused_and_told_the_way_out(file: Path) -> None:
    store = DuckDBStore(file)
    code = "import sys; from storage.duckdb import DuckDBStore; DuckDBStore(sys.argv[1])"
    result = in_another_process(code, str(file))
    store.close()
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    assert message.startswith("storage.store.StoreLockedError")
    assert str(file) in message
    assert f"pid {os.getpid()}" in message
    assert "storage.path" in message
    assert "influxdb" in message


def test_a_second_store_of_the_same_process_is_refused(file: Path) -> None:
    store = DuckDBStore(file)
    with pytest.raises(StoreLockedError, match="this process"):
        DuckDBStore(file)
    store.close()
    DuckDBStore(file).close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(file: Path) -> None:
    file.write_text("power_watts,612\n" * 1000)
    with pytest.raises(StoreError, match=r"points\.duckdb: cannot be opened"):
        DuckDBStore(file)
    assert file.read_text().startswith("power_watts")


def test_fields_tags_and_measurements_that_an_older_schema_lacked_are_added(file: Path) -> None:
    store = DuckDBStore(file)
    store.write([gpu("G1", 0, 1.0)])
    store.close()
    with duckdb.connect(file) as older:
        older.execute("ALTER TABLE main.gpu DROP COLUMN temperature_celsius")
        older.execute("ALTER TABLE series.gpu DROP COLUMN tenant")
        older.execute("DROP TABLE main.leak")
        older.execute("DROP TABLE series.leak")
    store = DuckDBStore(file)
    time_ns = time.time_ns()
    store.write([Point("gpu", {"gpu": "G1"}, {"temperature_celsius": 60.0, "power_watts": 2.0}, time_ns)])
    store.write([Point("gpu", {"gpu": "G1", "tenant": "x"}, {"power_watts": 3.0}, time_ns)])
    store.write([Point("leak", {"detector": "rope"}, {"state": 1}, time_ns)])
    frame = store.latest("gpu", ["power_watts", "temperature_celsius"], MINUTE)
    assert frame["tenant"].tolist() == ["", "x"]
    assert frame["power_watts"].tolist() == [2.0, 3.0]
    assert frame["temperature_celsius"].iloc[0] == 60.0
    assert store.latest("leak", ["state"], MINUTE)["state"].tolist() == [1.0]
    # The point from before has no temperature and keeps its series.
    assert watts(store) == [1.0]
    store.close()


def test_latest_of_ten_thousand_series_is_right(file: Path) -> None:
    store = DuckDBStore(file)
    count, now = 10_240, time.time_ns()
    names = ["power_watts", "energy_joules_total", "temperature_celsius"]
    for tick in range(3):
        # Every third GPU has no temperature in the last tick: the value of the tick before is its newest.
        points = [
            Point(
                "gpu",
                {"host": f"h{n // 8}", "gpu": f"GPU-{n:05d}"},
                {"power_watts": n + tick, "energy_joules_total": n * 100 + tick}
                | ({} if tick == 2 and n % 3 == 0 else {"temperature_celsius": 40 + tick}),
                now - (20 - 10 * tick) * 10**9,
            )
            for n in range(count)
        ]
        store.write(points)
    frame = store.latest("gpu", names, MINUTE).sort_values("gpu")
    assert len(frame) == count
    assert frame["gpu"].is_unique
    assert frame["power_watts"].tolist() == [n + 2 for n in range(count)]
    assert frame["energy_joules_total"].tolist() == [n * 100 + 2 for n in range(count)]
    assert frame["temperature_celsius"].tolist() == [41 if n % 3 == 0 else 42 for n in range(count)]
    assert (frame["time"].astype("int64") == now).all()
    store.close()


def test_readers_see_whole_writes_while_a_writer_writes(file: Path) -> None:
    store = DuckDBStore(file)
    series, writes, stop = 50, 25, threading.Event()
    faults: list[str] = []

    def write() -> None:
        for tick in range(writes):
            store.write([gpu(f"G{n:02d}", tick, float(tick)) for n in range(series)])

    def read() -> Iterator[None]:
        seen = 0
        while not stop.is_set():
            found = watts(store)
            if len(found) % series or len(found) < seen:
                faults.append(f"{len(found)} rows after {seen}")
            seen = len(found)
            windows = store.range(
                "gpu", ["power_watts"], START, START + MINUTE, every=MINUTE, aggregate="max", by=["gpu"]
            )
            if windows["power_watts"].nunique() > 1:
                faults.append("series of one write differ")
            yield

    def run() -> None:
        try:
            for _ in read():
                pass
        except Exception as error:  # noqa: BLE001 (told to the test below)
            faults.append(repr(error))

    readers = [threading.Thread(target=run) for _ in range(8)]
    for reader in readers:
        reader.start()
    write()
    stop.set()
    for reader in readers:
        reader.join()
    assert not faults
    assert len(watts(store)) == series * writes
    store.close()


def test_many_writers_lose_nothing(file: Path) -> None:
    store = DuckDBStore(file)

    def write(worker: int) -> None:
        for tick in range(20):
            store.write([gpu(f"G{worker}", tick, 1.0), gpu("SHARED", tick, 2.0)])

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(watts(store)) == [1.0] * 120 + [2.0] * 20
    store.close()


def killed_in_mid_write(file: Path, writes: int) -> Path:
    """Leave what a process leaves that is killed after some writes; return the write-ahead log."""
    code = (
        "import os, signal, sys; from storage.duckdb import DuckDBStore; from storage.point import Point\n"
        "store = DuckDBStore(sys.argv[1])\n"
        f"for n in range({writes}):\n"
        f"    time_ns = {round(START.timestamp() * 1e9)} + n * 10**9\n"
        "    store.write([Point('gpu', {'gpu': 'G1'}, {'power_watts': float(n)}, time_ns)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = in_another_process(code, str(file))
    assert result.returncode == -9, result.stderr
    log = file.with_name(file.name + ".wal")
    assert log.stat().st_size > 0
    return log


def test_a_killed_process_loses_nothing_that_was_written(file: Path) -> None:
    killed_in_mid_write(file, 20)
    store = DuckDBStore(file)
    assert watts(store) == [float(n) for n in range(20)]
    store.close()


@pytest.mark.parametrize("damage", ["flip", "zeros"])
def test_a_damaged_log_keeps_all_before_the_damage_and_says_so(
    file: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = killed_in_mid_write(file, 200)
    content = bytearray(log.read_bytes())
    # The last tenth of the log holds the last writes only.
    place = len(content) * 9 // 10
    content[place:] = (
        bytes([content[place] ^ 0xFF]) + content[place + 1 :] if damage == "flip" else bytes(len(content) - place)
    )
    log.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        store = DuckDBStore(file)
    found = watts(store)
    assert found == [float(n) for n in range(len(found))]
    assert 100 < len(found) < 200
    copies = list(file.parent.glob("*.damaged-*"))
    assert [copy.read_bytes() for copy in copies] == [bytes(content)]
    assert str(copies[0]) in caplog.text
    store.write([gpu("G1", 500, 500.0)])
    store.close()
    store = DuckDBStore(file)
    assert watts(store) == [*found, 500.0]
    store.close()
