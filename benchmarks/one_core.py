"""What the benchmarks of one core share: our process, the players' on another, what came of the polls."""

import asyncio
import cProfile
import json
import logging
import os
import pstats
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from storage.point import Point  # noqa: E402

OURS, THEIRS = 0, 1


@dataclass(slots=True)
class Seen:
    """What the runtime gave since the last look."""

    points: int = 0
    #: device -> how long its polls took, and how late they began. Units: s
    polls: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    #: device -> requests since it was opened
    requests: dict[str, int] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)

    def put(self, points: Sequence[Point]) -> None:
        """Take a batch as the writer would."""
        now_ns = time.time_ns()
        self.points += len(points)
        for point in points:
            if point.measurement != "device":
                continue
            name, took = point.tags["device"], float(point.fields["poll_seconds"])
            self.requests[name] = int(point.fields.get("requests_total", 0))
            if point.fields["up"]:
                self.polls[name].append((took, (now_ns - point.time_ns) / 1e9 - took))
            else:
                self.down.add(name)

    def forget(self) -> None:
        """Begin anew."""
        self.points = 0
        self.polls.clear()
        self.down.clear()


class Lines(logging.Handler):
    """Counts what the collectors would log, instead of it, and keeps the first tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: dict[str, int] = {}
        self.unexpected: list[str] = []
        logging.getLogger("collectors").addHandler(self)
        logging.getLogger("collectors").propagate = False
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """Count by the words of the message, names and numbers left out."""
        words = record.getMessage().split(": ", 1)[-1][:60]
        self.counts[words] = self.counts.get(words, 0) + 1
        if record.exc_info and record.exc_info[1] is not None:
            self.unexpected.append(repr(record.exc_info[1]))

    def print(self) -> None:
        """Print what was counted."""
        print("logged: " + ("; ".join(f"{count} x {words!r}" for words, count in self.counts.items()) or "nothing"))
        for what in dict.fromkeys(self.unexpected):
            print(f"  unexpected: {what}")


class Players:
    """The process of `benchmarks/SCRIPT`: it says a JSON object when it is ready, and one for each line."""

    def __init__(self, script: str, *arguments: str) -> None:
        command = [sys.executable, str(ROOT / "benchmarks" / script), "--cpu", str(THEIRS), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._read()

    def tell(self, line: str) -> dict[str, Any]:
        """Send a line and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def run_on_core(work: Callable[[], Coroutine[Any, Any, None]], *, rows: int) -> None:
    """Run it on our core; with `rows` print that many functions in which the time went."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {OURS})
    if not rows:
        asyncio.run(work())
        return
    profile = cProfile.Profile()
    profile.runcall(lambda: asyncio.run(work()))
    pstats.Stats(profile).sort_stats("tottime").print_stats(rows)


def waited_s() -> float:
    """Return how long this process was ready to run and another one had the core; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


class Held:
    """What kept this process from running since it was made: other processes, and the hypervisor that took cores."""

    def __init__(self) -> None:
        self._began, self._waited, self._ticks = time.monotonic(), waited_s(), _cpu_ticks()

    def told(self) -> str:
        """Return both as shares: of the time that passed, and of all cores' time."""
        waited = (waited_s() - self._waited) / (time.monotonic() - self._began)
        stolen = stolen_ratio(self._ticks, _cpu_ticks())
        return f"waited for the core {waited:6.1%}, stolen by the hypervisor {stolen:6.1%}"


def stolen_ratio(before: Sequence[int], after: Sequence[int]) -> float:
    """Return which share of all cores' time the hypervisor took between two readings of the line `cpu`.

    Source: proc(5), /proc/stat: user nice system idle iowait irq softirq steal; guest is in user already.
    """
    spent = [late - early for early, late in zip(before, after, strict=True)][:8]
    return spent[7] / sum(spent) if len(spent) == 8 and sum(spent) else 0.0


def _cpu_ticks() -> list[int]:
    try:
        return [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    except OSError:
        return []


def percentile(values: Sequence[float], ratio: float) -> float:
    """Return the value under which that share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(ratio * len(ordered)))] if ordered else float("nan")
