"""The writer against a real store behind a door that can be shut: `Gate` passes each call on or raises."""

import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from services import until

from storage.duckdb import DuckDBStore
from storage.point import Point
from storage.settings import BatchSettings
from storage.store import StoreRejectedError, StoreUnavailableError
from storage.writer import Writer

START = datetime(2025, 10, 9, tzinfo=UTC)
FAST = BatchSettings(interval=timedelta(milliseconds=5), close_timeout=timedelta(seconds=5))


class Gate(DuckDBStore):
    """A store in memory whose way in can be shut, and which refuses the series BAD for good."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.shut = threading.Event()
        self.tries = 0
        self.batches: list[int] = []

    def write(self, points: Sequence[Point]) -> None:
        self.tries += 1
        if self.shut.is_set():
            raise StoreUnavailableError("gate: connection refused")
        if any(point.tags["gpu"] == "BAD" for point in points):
            raise StoreRejectedError("gate: field type conflict")
        super().write(points)
        self.batches.append(len(points))

    def watts(self) -> list[float]:
        end = START + timedelta(days=1)
        frame = self.range("gpu", ["power_watts"], START, end, every=None, aggregate="last")
        values: list[float] = frame.sort_values("time")["power_watts"].tolist()
        return values


def gpu(number: int, name: str = "G1", **fields: float | str) -> Point:
    time_ns = round(START.timestamp()) * 10**9 + number * 10**9
    return Point("gpu", {"gpu": name}, fields or {"power_watts": float(number)}, time_ns)


@pytest.fixture
def gate() -> Iterator[Gate]:
    store = Gate()
    yield store
    store.close()


def test_points_of_many_threads_are_written_in_few_batches(gate: Gate) -> None:
    writer = Writer(gate, BatchSettings(interval=timedelta(milliseconds=100)))

    def put(worker: int) -> None:
        for tick in range(50):
            writer.put([gpu(1000 * worker + tick)])

    workers = [threading.Thread(target=put, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    until(lambda: writer.stats()["points_written_total"] == 200, what="all points to be written")
    writer.close()
    assert len(gate.watts()) == 200
    assert len(gate.batches) < 100
    assert writer.stats()["queue_points"] == 0
    assert writer.stats()["last_success_age_seconds"] < 60


def test_close_writes_what_waits_and_drops_what_comes_after(gate: Gate) -> None:
    writer = Writer(gate, BatchSettings(interval=timedelta(hours=1)))
    writer.put([gpu(0), gpu(1)])
    writer.put([])
    writer.close()
    writer.close()
    assert gate.watts() == [0.0, 1.0]
    writer.put([gpu(2)])
    assert writer.stats()["points_dropped_total"] == 1


def test_a_full_batch_does_not_wait_for_the_interval(gate: Gate) -> None:
    writer = Writer(gate, BatchSettings(interval=timedelta(hours=1), size=10))
    writer.put([gpu(n) for n in range(9)])
    writer.put([gpu(9)])
    until(lambda: writer.stats()["points_written_total"] == 10, what="the full batch to be written")
    writer.close()


def test_points_wait_in_order_while_the_store_is_away(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    gate.shut.set()
    writer = Writer(gate, FAST)
    with caplog.at_level(logging.INFO, logger="storage.writer"):
        for n in range(100):
            writer.put([gpu(n)])
        until(lambda: gate.tries >= 3, what="three tries")
        assert writer.last_error == "gate: connection refused"
        assert writer.stats()["queue_points"] == 100
        gate.shut.clear()
        until(lambda: writer.stats()["points_written_total"] == 100, what="the backlog to be written")
    writer.close()
    assert gate.watts() == [float(n) for n in range(100)]
    assert writer.stats()["points_dropped_total"] == 0
    assert writer.last_error == ""
    # Changes are logged, not states: one line when it went, one when it came back.
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_full_queue_drops_the_oldest_and_counts_them(gate: Gate) -> None:
    gate.shut.set()
    writer = Writer(gate, FAST.model_copy(update={"queue": 30}))
    for n in range(100):
        writer.put([gpu(n)])
    until(lambda: gate.tries >= 2, what="two tries")
    assert writer.stats()["queue_points"] <= 30
    gate.shut.clear()
    until(lambda: writer.stats()["queue_points"] == 0, what="the backlog to be written")
    writer.close()
    stats = writer.stats()
    assert stats["points_written_total"] + stats["points_dropped_total"] == 100
    assert gate.watts() == [float(n) for n in range(100)][-len(gate.watts()) :]


def test_points_that_the_store_refuses_do_not_hold_up_the_others(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(gate, BatchSettings(interval=timedelta(hours=1)))
    points = [gpu(n) for n in range(100)]
    points[17] = gpu(17, "BAD")
    points[40] = gpu(40, watts=1.0)
    points[41] = gpu(41, power_watts="612")
    points[99] = gpu(99, "BAD")
    writer.put(points)
    writer.close()
    assert len(gate.watts()) == 96
    assert writer.stats()["points_rejected_total"] == 4
    assert writer.stats()["points_written_total"] == 96
    # Each reason once, with the point that it was found at.
    reasons = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(reasons) == 3
    assert "{'gpu': 'BAD'}: gate: field type conflict" in reasons[0]


def test_a_batch_that_is_refused_as_a_whole_costs_a_bounded_search(gate: Gate) -> None:
    writer = Writer(gate, BatchSettings(interval=timedelta(hours=1), size=10_000))
    writer.put([gpu(n, "BAD") for n in range(10_000)])
    writer.put([gpu(0)])
    writer.close()
    assert writer.stats()["points_rejected_total"] == 10_000
    assert gate.watts() == [0.0]
    assert gate.tries < 200


def test_close_gives_up_on_a_store_that_stays_away(gate: Gate) -> None:
    gate.shut.set()
    writer = Writer(gate, FAST.model_copy(update={"close_timeout": timedelta(milliseconds=50)}))
    writer.put([gpu(n) for n in range(10)])
    writer.close()
    assert writer.stats()["points_dropped_total"] == 10
    assert writer.stats()["queue_points"] == 0
