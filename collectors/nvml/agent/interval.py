"""The fast samples of one board since the last point: means, extremes of power, last values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.nvml.agent.calls import Values

#: what is told as its last value; the rest is told as a mean
LAST = ("energy_joules_total", "power_instant_watts")
POWERS = ("power_watts", "power_instant_watts")
#: the clock event of a board with nothing to do
IDLE_BIT = 1


@dataclass(slots=True)
class Interval:
    """Sums over samples; two that follow each other can be merged."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    last: Values = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    any_event: int = 0
    every_event: int | None = None

    def add(self, sample: Mapping[str, float]) -> None:
        """Take up one sample."""
        for name, value in sample.items():
            if name == "clock_event_mask":
                self._add_events(int(value), int(value))
            elif name in LAST:
                self.last[name] = value
            else:
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1
        powers = [sample[name] for name in POWERS if name in sample]
        if powers:
            self._widen(min(powers), max(powers))

    def put_before(self, older: "Interval") -> None:
        """Take up the samples of an interval whose answer was never read."""
        for name, value in older.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + older.counts[name]
        self.last = older.last | self.last
        if older.low is not None and older.high is not None:
            self._widen(older.low, older.high)
        if older.every_event is not None:
            self._add_events(older.any_event, older.every_event)

    def values(self) -> Values:
        """Return what the interval says, under the schema's names."""
        values: Values = {name: value / self.counts[name] for name, value in self.sums.items()}
        values |= self.last
        if self.low is not None and self.high is not None:
            values |= {"power_min_watts": self.low, "power_max_watts": self.high}
        if self.every_event is not None:
            # Short events show in one sample alone; idle is the board that was so all the time.
            values["clock_event_mask"] = self.any_event & ~IDLE_BIT | self.every_event & IDLE_BIT
        return values

    def _widen(self, low: float, high: float) -> None:
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def _add_events(self, any_event: int, every_event: int) -> None:
        self.any_event |= any_event
        self.every_event = every_event if self.every_event is None else self.every_event & every_event
