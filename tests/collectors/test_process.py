"""The pollers' process: heard, stopped however busy, started again when it dies."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from polling import tell_without_pause
from services import until

from collectors.process import STOP_S, Pollers
from storage.point import Point


def started(put: Callable[[Sequence[Point]], None]) -> Pollers:
    pollers = Pollers(tell_without_pause, Path("site.yaml"), put)
    pollers.start()
    return pollers


def test_points_come_whole_and_in_order_and_a_stop_is_heard_among_them() -> None:
    points: list[Point] = []
    pollers = started(points.extend)
    until(lambda: len(points) > 200, 60, "200 points")
    began = time.monotonic()
    pollers.close()
    assert time.monotonic() - began < STOP_S
    assert [p.time_ns for p in points] == list(range(1, len(points) + 1))
    assert points[6].fields == {"points_written_total": 7}


def test_a_process_that_dies_is_started_again() -> None:
    points: list[Point] = []
    pollers = started(points.extend)
    until(lambda: points, 60, "a point")
    first = points[0].tags["collector"]
    os.kill(int(first), signal.SIGKILL)
    until(lambda: points[-1].tags["collector"] != first, 90, "points of another process")
    pollers.close()
