"""Open an embedded store whose write-ahead log is damaged: keep everything before the damage, lose nothing silently."""

import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb

from storage.store import StoreError

logger = logging.getLogger(__name__)

_POSITION = re.compile(r"entry at byte position (\d+)")

T = TypeVar("T")


def open_repaired(path: Path, connect: Callable[[], T]) -> T:
    """Return what `connect` opens. A damaged log is copied aside, cut where DuckDB says that the damage begins, and
    `connect` tried once more; what lay behind the cut is lost, and the log says so.

    Raises:
        StoreError: the store stays unreadable; nothing of it was deleted.
        duckdb.Error: it cannot be opened for another reason.
    """
    try:
        return connect()
    except duckdb.Error as error:
        log = path.with_name(path.name + ".wal")
        if "WAL" not in str(error) or not log.exists():
            raise
        reason = str(error)
    aside = log.with_name(f"{log.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}")
    shutil.copy2(log, aside)
    lost = _cut(log, reason)
    logger.error(
        "%s: the write-ahead log is damaged (%s); the last %d of its %d bytes are given up, a copy of it is %s",
        path, reason, lost, aside.stat().st_size, aside,
    )  # fmt: skip
    try:
        return connect()
    except duckdb.Error as error:
        raise StoreError(f"{path}: unreadable even with its log cut: {error}; the log as it was: {aside}") from error


def _cut(log: Path, reason: str) -> int:
    """Cut the log at the byte position that the message names, or remove it; return the bytes given up."""
    size = log.stat().st_size
    position = _POSITION.search(reason)
    if position is None:
        log.unlink()
        return size
    keep = int(position[1])
    with log.open("r+b") as file:
        file.truncate(keep)
    return size - keep
