"""Counters that only rise: narrow ones go on where they wrapped, and a counter that began anew is told as such.

Readers take a fall for a restart from 0 and count the whole new value as growth. So what is written falls only where
that is true:

- wrap: a counter fell that begins anew at a known value, its modulus; the device did not boot, no counter of its row
  that never wraps fell too, and what it grew by over the wrap can be true. That is less than 2^31 for 32 bits. For
  other moduli it is 1 % of them or 4 times the pace of the last interval, for their counters are reset by users: a
  fall from the middle is a reset. The modulus is added from then on;
- reset to 0: the device booted, or the new value is no more than twice what the counter grew by in the last interval:
  the raw value is written, and a reader counts what came since the reset;
- any other fall (a port that left a sum, a value set by hand, a gap too long to tell a wrap): the interval counts 0 and
  the counter goes on from where it was written last. When the old value comes back the fall was a glitch and leaves
  no trace.

A device without a boot clock (gNMI) has booted when most rows that had counted fell below half at once.

Source: rules C10 and C11 of the SONiC facts; RFC 2578 section 7.1.6 (Counter32), RFC 2790 (hrSystemUptime).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import lt
from sys import intern
from types import MappingProxyType
from typing import Literal

WRAP = 2**32
#: a counter's bits are below, its modulus is from here on
_MODULUS_FROM = 64
#: growth over a wrap, of moduli other than 2^32: share of the modulus, or so many times the pace
_NEAR_END, _NEAR_PACE = 0.01, 4
#: the boot clock may run so much behind ours between two polls. Units: s
CLOCK_S = 5.0
#: and so much before it: a collector that slept. Units: s
AHEAD_S = 86_400.0
#: intervals after which a wrap cannot be told any more
GAP_INTERVALS = 5
#: growth since a reset to 0 is at most so many times that of the last interval
FROM_ZERO = 2
#: rows that are remembered; a device has fewer, and what does not stop growing must not eat the memory
REMEMBERED = 100_000
#: columns that a text of a reset names
NAMED = 3

TICKS = 100

#: what most rows have added to them, and of falls
_NOTHING: Mapping[str, float] = MappingProxyType({})
_NO_FALL: Mapping[str, tuple[float, float, float]] = MappingProxyType({})


#: what a reading is kept in: a tuple, which is exact, or an array of floats, in a quarter of the memory
Keep = Callable[[Iterable[float]], Sequence[float]]


@dataclass(slots=True)
class _Row:
    """One row: what its counters said last and what is added to each; of a fall: from, to, what was added before.

    There are ten thousands of them: readings are in the order of `columns`, which alike rows share.
    """

    seen_s: float
    boots: int
    columns: tuple[str, ...]
    raw: Sequence[float]
    keep: Keep
    #: the reading before, which may lack the last columns, and the time between both. Units: s
    before: Sequence[float] = ()
    before_s: float = 0.0
    #: shortest time between two readings so far: that of its poll tier; 0 before the second. Units: s
    step_s: float = 0.0
    added: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    fallen: Mapping[str, tuple[float, float, float]] = field(default_factory=lambda: _NO_FALL)

    def falls(self, raw: Mapping[str, float]) -> bool:
        """Return whether any column of a reading is lower than it was."""
        if tuple(raw) == self.columns[: len(raw)]:
            return any(map(lt, raw.values(), self.raw))
        last = self.last()
        return any(value < last.get(column, 0) for column, value in raw.items())

    def see(self, now_s: float, raw: Mapping[str, float]) -> bool:
        """Take a reading as the last one; return whether it brought columns that the row did not have."""
        seconds = now_s - self.seen_s
        if seconds > 0:
            self.before, self.before_s = self.raw, seconds
            if seconds < self.step_s or not self.step_s:
                self.step_s = seconds
        self.seen_s = now_s
        columns = tuple(raw)
        # Of less than all columns, what the others said last stays: those that are read less often stand at the end.
        if columns == self.columns[: len(columns)]:
            others = self.raw[len(columns) :]
            self.raw = self.keep((*raw.values(), *others) if others else raw.values())
            return False
        merged = {**self.last(), **raw}
        self.raw = self.keep(merged.values())
        if len(merged) == len(self.columns):
            return False
        self.columns = tuple(merged)
        return True

    def last(self) -> dict[str, float]:
        """Return what each column said last."""
        return dict(zip(self.columns, self.raw, strict=True))

    def put(self, column: str, value: float) -> None:
        """Replace what one column said last."""
        at = self.columns.index(column)
        self.raw = self.keep((*self.raw[:at], value, *self.raw[at + 1 :]))

    def pace(self, column: str) -> float:
        """Return what a column grew by per second in the last interval."""
        at = self.columns.index(column)
        known = at < len(self.before) and self.before_s
        return (self.raw[at] - self.before[at]) / self.before_s if known else 0.0


@dataclass(frozen=True, slots=True)
class Reset:
    """A row whose counters began anew in a poll: the columns that fell."""

    row: str
    columns: tuple[str, ...]


Scope = Literal["port", "device"]


def modulus(wrap: int) -> int:
    """Return the raw value at which a counter begins anew; `wrap` is that, or its bits where it is below 64."""
    return 2**wrap if wrap < _MODULUS_FROM else wrap


def describe(names: Iterable[str]) -> str:
    """Return what to tell of counters that began anew: `rx_bytes_total, tx_bytes_total and 3 more began anew`."""
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - NAMED} more" if len(each) > NAMED else ""
    return f"{', '.join(each[:NAMED])}{more} began anew"


def _plausible(end: int, grown: float) -> float:
    """Return what growth over a wrap must stay below; `grown` is what the last interval's pace makes."""
    if end == WRAP:
        return end / 2
    return min(end / 2, max(_NEAR_END * end, _NEAR_PACE * grown))


class BootClock:
    """Whether a device booted between two polls, by a clock that starts at its boot and wraps at 2^32 ticks."""

    def __init__(self) -> None:
        self._last: tuple[float, int, float] | None = None

    def booted(self, ticks: int | None, now_s: float, unsure_s: float = 0.0) -> bool:
        """Take the clock's value (1/100 s, None where it is unknown); return whether it went back by over 5 s.

        It was read at `now_s`, give or take `unsure_s`. A clock that is ahead tells of a pause of ours, not of a boot.
        """
        before = self._last
        if ticks is None:
            return False
        self._last = (now_s, ticks, unsure_s)
        if before is None:
            return False
        expected = before[1] + (now_s - before[0]) * TICKS
        late = (expected - ticks) % WRAP
        return (CLOCK_S + before[2] + unsure_s) * TICKS < late < WRAP - AHEAD_S * TICKS


class Unwrap:
    """The counters of one device."""

    def __init__(self, interval_s: float, keep: Keep = tuple) -> None:
        """`interval_s` is the time between polls. Units: s."""
        self._keep = keep
        self._gap_s = GAP_INTERVALS * interval_s
        self._rows: dict[str, _Row] = {}
        self._columns: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._resets: list[Reset] = []
        self._judged = 0
        self._booted = self._calm = False
        #: boots so far, and the last of them that a device's reset told of
        self._boots = self._told_boots = 0

    def begin(self, booted: bool, *, calm: bool = False) -> None:
        """Begin a poll; `booted` says that all counters of the device began at 0 since the last one.

        `calm` says that no row that will be taken `falls`.
        """
        self._resets.clear()
        self._judged = 0
        self._booted, self._calm = booted, calm
        self._boots += booted

    def any_falls(self, rows: Mapping[str, Mapping[str, float]]) -> bool:
        """Return whether any counter of these rows (row -> column -> raw value) is lower than it was."""
        known = self._rows
        return any(known[row].falls(raw) for row, raw in rows.items() if row in known)

    def booted(self, rows: Mapping[str, Mapping[str, float]]) -> bool:
        """Return whether the device has booted, by what its counters say (row -> column -> raw value)."""
        last = {row: self._rows[row].last() for row in rows if row in self._rows}
        counted = [row for row, each in last.items() if any(each.values())]
        fell = [
            row for row in counted if any(2 * value < last[row].get(column, 0) for column, value in rows[row].items())
        ]
        return len(fell) > 1 and 2 * len(fell) >= len(counted)

    def take(self, row: str, raw: Mapping[str, float], narrow: Mapping[str, int], now_s: float) -> Mapping[str, float]:
        """Return what to write for the counters of one row (column -> raw value); `narrow`: column -> modulus."""
        self._judged += 1
        known = self._rows.get(row)
        if known is None:
            if len(self._rows) >= REMEMBERED:
                self._rows.clear()
            keep = self._keep
            self._rows[intern(row)] = _Row(now_s, self._boots, self._shared(tuple(raw)), keep(raw.values()), keep)
            return raw
        if known.boots != self._boots or known.fallen or (not self._calm and known.falls(raw)):
            self._judge(known, row, raw, narrow, now_s - known.seen_s)
        if known.see(now_s, raw):
            known.columns = self._shared(known.columns)
        added = known.added
        return {column: value + added.get(column, 0) for column, value in raw.items()} if added else raw

    def finish(self) -> tuple[Scope, list[Reset]]:
        """Return whether the device began anew in this poll (it booted, or most rows did), and the rows that did."""
        many = len(self._resets) > 1 and 2 * len(self._resets) >= self._judged
        scope: Scope = "device" if self._booted or many else "port"
        if scope == "device" and self._resets:
            self._told_boots = self._boots
        return scope, list(self._resets)

    def _judge(
        self, known: _Row, row: str, raw: Mapping[str, float], narrow: Mapping[str, int], seconds: float
    ) -> None:
        last = known.last()
        fell = [column for column, value in raw.items() if value < last.get(column, 0)]
        if known.boots != self._boots:
            self._restart(known, row, tuple(raw))
        elif fell:
            self._fall(known, row, raw, fell, narrow, seconds)
        if known.fallen:
            self._recover(known, raw)

    def _shared(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns as the rows that are alike have them."""
        if len(self._columns) >= REMEMBERED:
            self._columns.clear()
        return self._columns.setdefault(columns, columns)

    def _restart(self, known: _Row, row: str, columns: tuple[str, ...]) -> None:
        known.boots = self._boots
        known.added, known.fallen = _NOTHING, _NO_FALL
        # Rows that are read less often come after the others: their reset is told already.
        if self._told_boots != self._boots:
            self._resets.append(Reset(row, columns))

    def _fall(
        self,
        known: _Row,
        row: str,
        raw: Mapping[str, float],
        fell: list[str],
        narrow: Mapping[str, int],
        seconds: float,
    ) -> None:
        gap = seconds > max(self._gap_s, GAP_INTERVALS * known.step_s)
        wide_fell = any(column not in narrow for column in fell)
        anew, last, added, fallen = [], known.last(), dict(known.added), dict(known.fallen)
        for column in fell:
            before = last[column]
            end = 0 if wide_fell or gap else narrow.get(column, 0)
            grown = known.pace(column) * seconds
            if end and raw[column] + end - before < _plausible(end, grown):
                added[column] = added.get(column, 0) + end
                known.put(column, before - end)  # growth counts over the wrap
                continue
            anew.append(column)
            if raw[column] <= FROM_ZERO * max(0.0, grown) and not gap:
                added.pop(column, None)
                fallen.pop(column, None)
                continue
            fallen.setdefault(column, (before, raw[column], added.get(column, 0)))
            added[column] = added.get(column, 0) + before - raw[column]
        known.added, known.fallen = added, fallen
        if anew:
            self._resets.append(Reset(row, tuple(anew)))

    def _recover(self, known: _Row, raw: Mapping[str, float]) -> None:
        """Undo a fall where the old value came back in one step: most of the way up at once."""
        last = known.last()
        for column, (before, fell_to, added) in known.fallen.items():
            value = raw.get(column)
            if value is None or value < before:
                continue
            known.fallen = {other: fall for other, fall in known.fallen.items() if other != column}
            written = last[column] + known.added.get(column, 0)
            if 2 * (value - last[column]) >= before - fell_to and value + added >= written:
                known.added = {**known.added, column: added}
