"""Readings that stand still while their neighbours move: a sensor that hangs, a gateway that repeats its last value.

Only what never rests can be called stuck. Known it is after ten changes: of a noisy reading several went back and most
were larger than the finest step that was seen; a fine one changed with each poll and by far more than its finest step.
A coarse reading rests for minutes at a steady load, and nobody can tell that from a sensor that hangs.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from collectors.checks_rules import Finding, subject
from storage.point import Point

#: changes that teach how a reading behaves
LEARNT = 10
STILL_S = 60.0
STILL_TIMES = 20.0
#: neighbours that must go on changing, and how often they have done so meanwhile
NEIGHBOURS, NEIGHBOUR_CHANGES = 2, 5
#: of the last changes: reversals, and changes larger than so many of the finest step
REVERSALS, LARGE, FINEST_STEPS = 3, 5, 2.5
#: or: the median of the last changes is as many of the finest step, and no rest was longer than so many mean ones
FINE_STEPS, RESTS = 8.0, 3.0
#: a rest that ended by itself was none of a stuck sensor: it counts as typical with this share
REST_RATIO = 0.2
FORGET_S = 3600.0
MOST_SERIES = 20_000

#: measurement -> readings that are watched
WATCHED: Mapping[str, Sequence[str]] = {
    "power": ("active_watts",),
    "coolant": (
        "temperature_celsius",
        "flow_liters_per_second",
        "pressure_pascals",
        "differential_pressure_pascals",
    ),
}


@dataclass(slots=True)
class Series:
    """What is remembered of one reading. Units: s since the epoch."""

    heard_s: float
    value: float = math.nan
    changed_s: float = math.nan
    intervals: deque[float] = field(default_factory=lambda: deque(maxlen=LEARNT))
    steps: deque[float] = field(default_factory=lambda: deque(maxlen=LEARNT))
    finest: float = math.inf
    longest_s: float = 0.0

    @property
    def typical_s(self) -> float:
        """Return the typical time between two changes."""
        return max(sum(self.intervals) / len(self.intervals), REST_RATIO * self.longest_s)

    @property
    def is_restless(self) -> bool:
        """Return whether the reading never comes to rest: it is noisy, or finer than anything that it measures."""
        if len(self.steps) < LEARNT:
            return False
        sizes = [abs(step) for step in self.steps]
        reversals = sum(first * second < 0.0 for first, second in pairwise(self.steps))
        large = sum(size >= FINEST_STEPS * self.finest for size in sizes)
        if reversals >= REVERSALS and large >= LARGE:
            return True
        mean_s = sum(self.intervals) / len(self.intervals)
        return median(sizes) >= FINE_STEPS * self.finest and self.longest_s <= RESTS * mean_s

    def hear(self, value: float, now_s: float) -> None:
        """Take a reading that differs from the last one."""
        step, interval = value - self.value, now_s - self.changed_s
        if not interval > 0.0:  # the first reading, or the clock was set back
            self.value, self.changed_s = value, now_s
            return
        self.intervals.append(interval)
        self.steps.append(step)
        self.finest = min(self.finest, abs(step))
        self.longest_s = max(self.longest_s, interval)
        self.value, self.changed_s = value, now_s

    def still_moves(self, since_s: float, now_s: float) -> bool:
        """Return whether it changed often since then, and lately."""
        if len(self.intervals) < LEARNT or now_s - self.changed_s > 3.0 * self.typical_s:
            return False
        last = list(self.intervals)[-(NEIGHBOUR_CHANGES - 1) :]
        return self.changed_s - sum(last) > since_s


#: number of a row, name of a field, what is remembered of it
Watched = Sequence[tuple[int, str, Series]]


class Stuck:
    """The readings of one target, remembered for an hour."""

    def __init__(self) -> None:
        self._devices: dict[str | None, dict[tuple[object, ...], Series]] = {}
        self._count = 0
        self._swept_s = 0.0

    def __len__(self) -> int:
        """Return the number of readings remembered."""
        return self._count

    def watch(self, device: str | None, points: Sequence[Point], numbers: Iterable[int]) -> Watched:
        """Return the readings to watch among the rows of one device, those of these numbers."""
        known = self._devices.setdefault(device, {})
        watched: list[tuple[int, str, Series]] = []
        for number in numbers:
            point = points[number]
            for name in WATCHED.get(point.measurement, ()):
                key = (point.measurement, name, *point.tags.items())
                if key not in known and self._count < MOST_SERIES:
                    known[key] = Series(heard_s=point.time_ns / 1e9)
                    self._count += 1
                if key in known:
                    watched.append((number, name, known[key]))
        return watched

    def check(self, points: Sequence[Point], watched: Watched) -> Iterator[Finding]:
        """Yield what stands still among the readings of one device."""
        now_s = points[0].time_ns / 1e9
        for number, name, series in watched:
            value = points[number].fields.get(name)
            if value is None:
                continue
            series.heard_s = now_s
            if value != series.value:
                series.hear(value, now_s)  # type: ignore[arg-type]
            elif now_s - series.changed_s > STILL_S and value:
                yield from _judge(points[number], name, series, watched, now_s)

    def sweep(self, now_s: float) -> None:
        """Forget what was not heard for an hour."""
        if abs(now_s - self._swept_s) < FORGET_S / 6.0:
            return
        self._swept_s = now_s
        for device, known in list(self._devices.items()):
            kept = {key: series for key, series in known.items() if abs(now_s - series.heard_s) < FORGET_S}
            self._devices[device] = kept
            if not kept:
                del self._devices[device]
        self._count = sum(len(known) for known in self._devices.values())


def _judge(point: Point, name: str, series: Series, watched: Watched, now_s: float) -> Iterator[Finding]:
    still_s = now_s - series.changed_s
    if not series.is_restless or still_s <= STILL_TIMES * series.typical_s:
        return
    moving = sum(other.still_moves(series.changed_s, now_s) for _, _, other in watched if other is not series)
    if moving >= NEIGHBOURS:
        text = f"the same for {still_s:.0f} s, while {moving} readings beside it move: a sensor that hangs?"
        yield Finding("stuck", f"{subject(point)} {name}", text, None, point, ((point, name),))
