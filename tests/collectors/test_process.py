"""Our child processes: the pollers, heard, stopped however busy, started again when they die; and the simulator."""

import json
import logging
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from command import lives, offspring
from polling import tell_without_pause
from services import until

from collectors.process import Pollers, SimulatorError, simulator
from storage.point import Point


def started(put: Callable[[Sequence[Point]], None]) -> Pollers:
    pollers = Pollers(tell_without_pause, Path("site.yaml"), put)
    pollers.start()
    return pollers


def test_points_come_whole_and_in_order_and_a_stop_is_heard_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # One that does not hear it is not killed here: the close would not come to an end.
    monkeypatch.setattr("collectors.process.STOP_S", 3600.0)
    points: list[Point] = []
    pollers = started(points.extend)
    until(lambda: len(points) > 200, 60, "200 points")
    pollers.close()
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


def test_ctrl_c_reaches_no_pollers_from_their_first_moment() -> None:
    """A terminal sends it to the whole group; one that is still importing would end with a traceback."""
    before = offspring(os.getpid())
    points: list[Point] = []
    pollers = started(points.extend)
    open_to_it: list[int] = []

    def look_until_a_point_comes() -> bool:
        new = offspring(os.getpid()) - before
        open_to_it.extend(pid for pid in new if not blocked(pid) & 1 << signal.SIGINT - 1)
        return bool(points)

    until(look_until_a_point_comes, 60, "a point")
    pollers.close()
    assert open_to_it == []


def blocked(pid: int) -> int:
    """Return the signals that a process blocks or ignores, as a mask (Linux); all for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return -1
    values = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(values.get("SigBlk", "0"), 16) | int(values.get("SigIgn", "0"), 16)


def test_a_simulator_that_dies_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "collectors.process")
    with simulator(tmp_path, ["--gpus", "8"]) as pid:
        assert json.loads((tmp_path / "control.json").read_text())["pid"] == pid
        assert caplog.records == []
        os.kill(pid, signal.SIGKILL)
        until(lambda: caplog.records, what="a word about it")
    (record,) = caplog.records
    assert record.getMessage().startswith("the simulator has died with exit code -9")


def test_a_simulator_that_is_stopped_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with simulator(tmp_path, ["--gpus", "8"]) as pid:
        pass
    assert not lives(pid)
    assert caplog.records == []


def test_a_simulator_that_does_not_start_says_why_and_with_which_code(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="exit code 2 before") as caught, simulator(tmp_path, ["--gpus", "9"]):
        pass
    assert caught.value.code == 2
