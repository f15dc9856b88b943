"""From collectors to the store: a bounded queue, a thread, batches, retries."""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from storage.point import Point
from storage.settings import BatchSettings
from storage.store import Store, StoreError, StoreRejectedError

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 30.0
_CLOSING_PAUSE_S = 0.2
#: writes spent on searching one batch for the points that the store refuses; then what is left of it is refused whole
_SEARCHES = 64
#: what a store raises when the points, and not the store, are at fault
_REFUSALS = (KeyError, ValueError, TypeError, StoreRejectedError)


class Writer:
    """Write points from a thread of its own, so that no collector waits for the store.

    While the store is away points wait in order; beyond the queue's bound the oldest are dropped. Points that the store
    refuses for good are searched out of their batch, and the rest is written.
    """

    def __init__(self, store: Store, settings: BatchSettings | None = None) -> None:
        self._store = store
        self._settings = settings or BatchSettings()
        self._changed = threading.Condition()
        self._queue: deque[Sequence[Point]] = deque()
        #: points in the queue and in the write under way
        self._waiting = 0
        self._written = self._dropped = self._rejected = 0
        self._last_error = ""
        self._last_success = time.monotonic()
        self._refused: set[str] = set()
        #: monotonic seconds by which a closing writer ends; None while open
        self._end: float | None = None
        self._thread = threading.Thread(target=self._run, name="storage-writer", daemon=True)
        self._thread.start()

    def put(self, points: Sequence[Point]) -> None:
        """Take points to be written; never blocks. After `close` they are dropped and counted."""
        with self._changed:
            if self._end is not None:
                self._dropped += len(points)
            elif points:
                self._queue.append(points)
                self._waiting += len(points)
                self._drop_oldest()
                self._changed.notify()

    def stats(self) -> dict[str, float]:
        """Return points written, dropped and rejected so far, points that wait, and the age of the last success."""
        with self._changed:
            return {
                "points_written_total": self._written,
                "points_dropped_total": self._dropped,
                "points_rejected_total": self._rejected,
                "queue_points": self._waiting,
                "last_success_age_seconds": time.monotonic() - self._last_success,
            }

    @property
    def last_error(self) -> str:
        """What the store said when it failed; "" while it works."""
        return self._last_error

    def close(self) -> None:
        """Write what waits, for as long as `close_timeout` allows, and stop; calling it again does nothing."""
        with self._changed:
            if self._end is None:
                self._end = time.monotonic() + self._settings.close_timeout.total_seconds()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        interval = self._settings.interval.total_seconds()
        pause = interval
        while batch := self._next(pause):
            if self._write(batch):
                pause = interval
                continue
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            with self._changed:
                self._queue.appendleft(batch)
                self._drop_oldest()
                if self._end is not None and time.monotonic() > self._end:
                    self._give_up()

    def _next(self, pause: float) -> list[Point]:
        """Return the oldest points once `pause` seconds have passed or a batch is full; nothing when all is done."""
        with self._changed:
            if self._end is None:
                self._changed.wait_for(self._is_due, pause)
            elif self._last_error:
                self._changed.wait(min(pause, _CLOSING_PAUSE_S))
            self._changed.wait_for(lambda: self._queue or self._end is not None)
            batch: list[Point] = []
            while self._queue and len(batch) < self._settings.size:
                batch.extend(self._queue.popleft())
            return batch

    def _is_due(self) -> bool:
        return self._end is not None or (not self._last_error and self._waiting >= self._settings.size)

    def _write(self, batch: list[Point]) -> bool:
        """Write a batch but for the points that are refused; return False, counting nothing, when the store is away."""
        try:
            refused = self._write_accepted(batch)
        except StoreError as error:
            if not self._last_error:
                logger.warning("the store is away, points wait: %s", error)
            self._last_error = str(error) or repr(error)
            return False
        if self._last_error:
            logger.info("the store is back, %d points wait", self._waiting)
        with self._changed:
            self._last_error = ""
            self._last_success = time.monotonic()
            self._written += len(batch) - refused
            self._rejected += refused
            self._waiting -= len(batch)
        return True

    def _write_accepted(self, batch: list[Point]) -> int:
        """Write the batch, or halves of halves of it around the points that are refused; return how many are."""
        parts, refused, searches = [batch], 0, 0
        while parts:
            part = parts.pop()
            try:
                self._store.write(part)
            except _REFUSALS as error:
                searches += 1
                if len(part) == 1 or searches > _SEARCHES:
                    refused += len(part)
                    self._note_refusal(part[0], error)
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
        return refused

    def _note_refusal(self, point: Point, error: Exception) -> None:
        reason = str(error)[:500]
        if reason not in self._refused and len(self._refused) < _SEARCHES:
            self._refused.add(reason)
            logger.error("refused by the store, said once: %s of %s: %s", point.measurement, dict(point.tags), reason)

    def _drop_oldest(self) -> None:
        """Drop the oldest points that the queue has no room for. Needs the lock."""
        while self._waiting > self._settings.queue and self._queue:
            gone = len(self._queue.popleft())
            if not self._dropped:
                logger.error("the queue of %d points is full: the oldest are dropped", self._settings.queue)
            self._waiting -= gone
            self._dropped += gone

    def _give_up(self) -> None:
        """Drop all that waits. Needs the lock."""
        logger.error("closing without the store, %d points are lost: %s", self._waiting, self._last_error)
        self._queue.clear()
        self._dropped += self._waiting
        self._waiting = 0
