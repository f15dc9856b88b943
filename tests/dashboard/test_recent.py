"""What a tick keeps of the last minutes, read on from a real store."""

from collections.abc import Iterator

import pytest

from dashboard.recent import Query, Recent, empty, refresh
from storage.duckdb import DuckDBStore
from storage.point import Point

NOW = 1_760_000_000
BOARD = Query("gpu", ("gpu",), ("host",), ("power_watts",))


@pytest.fixture
def store() -> Iterator[DuckDBStore]:
    store = DuckDBStore(":memory:")
    yield store
    store.close()


def give(store: DuckDBStore, gpu: str, *seconds: int) -> None:
    store.write([Point("gpu", {"gpu": gpu}, {"power_watts": float(s)}, (NOW + s) * 1_000_000_000) for s in seconds])


def told(recent: Recent, gpu: str) -> list[float]:
    number = recent.keys.get_loc(gpu)
    return recent.times[recent.series == number].tolist()


def tick(store: DuckDBStore, old: Recent, at: int) -> Recent:
    return refresh(store, BOARD, old, float(NOW + at), 60.0, real=False)


def test_what_one_slow_source_of_many_sends_late_is_not_lost(store: DuckDBStore) -> None:
    for gpu in range(99):
        give(store, f"fast-{gpu}", 0, 10, 20)
    give(store, "late", 0, 10)
    first = tick(store, empty(BOARD), 21)
    # Its answer of second 20 comes when all others have told second 30.
    for gpu in range(99):
        give(store, f"fast-{gpu}", 30)
    second = tick(store, first, 31)
    give(store, "late", 20, 30)
    third = tick(store, second, 33)
    assert told(third, "late") == [NOW + s for s in (0, 10, 20, 30)]
    assert told(third, "fast-7") == [NOW + s for s in (0, 10, 20, 30)]


def test_a_source_that_died_is_not_waited_for(store: DuckDBStore) -> None:
    give(store, "dead", 0, 5, 10)
    give(store, "live", *range(0, 60, 5))
    recent = tick(store, empty(BOARD), 56)
    give(store, "live", 60)
    later = tick(store, recent, 61)
    assert told(later, "live")[-1] == NOW + 60
    assert told(later, "dead") == [NOW + s for s in (0, 5, 10)]
