"""Energy of everything that tells its power, integrated by us, and how far the device's own counter is from it.

People reset the counters of PDUs, shelves and CDUs, and they wrap: so energy is the trapezoid of active power between
two polls, and what a device tells between them. Nothing is added over a gap of more than three intervals; it is counted
as a gap. A row of a slow tier has the interval at which it comes. Both counters begin at 0 with the collector, and go
on where a target's profile is read again.

`counter_deviation_ratio` compares the growth of the device's counter with ours over one day, hour by hour, or since an
hour at least. Both are taken between two changes of the counter, so that its step costs no accuracy; the time between
two changes within which there was a gap, a reset or a wrap is left out.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage.point import FieldValue, Point

GAP_INTERVALS = 3
HOUR_S, DAY_HOURS = 3600.0, 24
#: a row that comes again within a day goes on where it was: its absence is a gap
FORGET_S = 86_400.0
MOST_SERIES = 20_000
MOST_DEVIATION = 2.0
_PLANS = 4

_WATTS, _COUNTER = "active_watts", "energy_joules_total"


@dataclass(slots=True)
class _Hour:
    """Growth of both counters within one hour. Units: J, J, s."""

    number: int
    device: float = 0.0
    own: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class _Comparison:
    """The device's counter beside ours."""

    read: float
    #: both counters and the time when the device's last changed; None until a change was seen
    anchor: tuple[float, float, float] | None = None
    hours: deque[_Hour] = field(default_factory=lambda: deque(maxlen=DAY_HOURS))

    def compare(self, read: float, own: float, now_s: float, *, is_whole: bool) -> float | None:
        """Take both counters; return the device's growth over ours minus 1, once an hour of both is known."""
        if read < self.read or not is_whole:
            self.anchor = None
        if read > self.read:
            if self.anchor is not None and is_whole:
                self._note(read - self.anchor[0], own - self.anchor[1], now_s - self.anchor[2], now_s)
            self.anchor = (read, own, now_s) if is_whole else None
        self.read = read
        own_growth = sum(hour.own for hour in self.hours)
        if sum(hour.seconds for hour in self.hours) < HOUR_S or own_growth <= 0.0:
            return None
        return min(MOST_DEVIATION, sum(hour.device for hour in self.hours) / own_growth - 1.0)

    def _note(self, device: float, own: float, seconds: float, now_s: float) -> None:
        number = int(now_s // HOUR_S)
        while self.hours and self.hours[0].number <= number - DAY_HOURS:
            self.hours.popleft()
        if not self.hours or self.hours[-1].number != number:
            self.hours.append(_Hour(number))
        hour = self.hours[-1]
        hour.device, hour.own, hour.seconds = hour.device + device, hour.own + own, hour.seconds + seconds


@dataclass(slots=True)
class _Series:
    """What is remembered of one row. Units: s since the epoch, W, J, s."""

    heard_s: float
    watts: float
    joules: float = 0.0
    gap_seconds: float = 0.0
    #: shortest time between two readings, what the row's tier gives
    cadence_s: float | None = None
    comparison: _Comparison | None = None

    def hear(self, watts: float, now_s: float, interval_s: float, slowest_s: float, *, is_poll: bool) -> bool:
        """Take a reading; return whether the time since the last one is covered."""
        seconds = now_s - self.heard_s
        cadence_s = max(interval_s, min(self.cadence_s or interval_s, slowest_s))
        if -GAP_INTERVALS * cadence_s <= seconds <= 0.0:  # a poll that was under way while the device told of itself
            return False
        if seconds < 0.0:  # the clock was set back: nothing is known of the time between
            self.heard_s, self.watts = now_s, watts
            return False
        is_covered = seconds <= GAP_INTERVALS * cadence_s * 1.001
        if is_covered:
            self.joules += 0.5 * (self.watts + watts) * seconds
        else:
            self.gap_seconds += seconds
        if is_poll:
            self.cadence_s = seconds if self.cadence_s is None else min(self.cadence_s, seconds)
        self.heard_s, self.watts = now_s, watts
        return is_covered


class Energy:
    """The rows of one target."""

    def __init__(self, interval_s: float, slowest_s: float = 0.0) -> None:
        """`interval_s` is the time between two polls, `slowest_s` between two readings of the slow tier."""
        self._interval_s = interval_s
        self._slowest_s = max(interval_s, slowest_s)
        self._series: dict[tuple[object, ...], _Series] = {}
        self._plans: list[tuple[Sequence[Mapping[str, str]], Sequence[tuple[object, ...]]]] = []
        self._swept_s = 0.0

    def __len__(self) -> int:
        """Return the number of rows remembered."""
        return len(self._series)

    def go_on(self, before: "Energy") -> None:
        """Go on where the energy of the same target stood; counters of devices are compared anew."""
        self._series = before._series
        for series in self._series.values():
            series.comparison = series.cadence_s = None

    def integrate(self, points: Sequence[Point], *, is_poll: bool = True) -> Sequence[Point]:
        """Return the points of one poll, those with active power with the energy since the collector began.

        `is_poll` is False for what a device tells between polls: it says nothing of how often a row comes.
        """
        powered = [point for point in points if point.measurement == "power" and _WATTS in point.fields]
        if not powered:
            return points
        self._sweep(powered[0].time_ns / 1e9)
        keys = self._keys(powered)
        fields = {id(p): self._fields(p, key, is_poll=is_poll) for p, key in zip(powered, keys, strict=True)}
        return [Point(p.measurement, p.tags, fields[id(p)], p.time_ns) if id(p) in fields else p for p in points]

    def _keys(self, points: Sequence[Point]) -> Sequence[tuple[object, ...]]:
        """Return the key of each row, made once for polls that bring the same rows."""
        tags = [point.tags for point in points]
        for known, keys in self._plans:
            if known == tags:
                return keys
        keys = [(*own.items(),) for own in tags]
        self._plans = [(tags, keys), *self._plans[: _PLANS - 1]]
        return keys

    def _fields(self, point: Point, key: tuple[object, ...], *, is_poll: bool) -> Mapping[str, FieldValue]:
        watts, now_s = float(point.fields[_WATTS]), point.time_ns / 1e9
        series, is_covered = self._series.get(key), False
        if series is not None:
            is_covered = series.hear(watts, now_s, self._interval_s, self._slowest_s, is_poll=is_poll)
        elif len(self._series) >= MOST_SERIES:
            return point.fields
        else:
            series = self._series[key] = _Series(now_s, watts)
        added: dict[str, FieldValue] = {
            "integrated_joules_total": series.joules,
            "integrated_gap_seconds_total": series.gap_seconds,
        }
        if _COUNTER in point.fields:
            deviation = _compare(series, float(point.fields[_COUNTER]), now_s, is_covered=is_covered)
            if deviation is not None:
                added["counter_deviation_ratio"] = deviation
        return {**point.fields, **added}

    def _sweep(self, now_s: float) -> None:
        if abs(now_s - self._swept_s) < FORGET_S / 24.0:
            return
        self._swept_s = now_s
        self._series = {key: series for key, series in self._series.items() if abs(now_s - series.heard_s) < FORGET_S}


def _compare(series: _Series, read: float, now_s: float, *, is_covered: bool) -> float | None:
    if series.comparison is None:
        series.comparison = _Comparison(read)
    return series.comparison.compare(read, series.joules, now_s, is_whole=is_covered)
