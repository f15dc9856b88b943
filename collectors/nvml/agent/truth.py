"""What of a fast sample cannot be true, so that one wrong reading spoils no mean.

Source: facts of GPU telemetry, section 4; energy rules E2, E4 and E6.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.nvml.agent.calls import Values
from collectors.nvml.agent.interval import POWERS

#: a board draws at most so many times its limit, and its energy grows at most so many times as fast
POWER_LIMIT_RATIO, ENERGY_LIMIT_RATIO = 2.0, 1.3
#: an energy counter that stands still so long, above that share of the limit, is not asked for the time after
FROZEN_S, FROZEN_LIMIT_RATIO, FROZEN_REST_S = 5.0, 0.1, 600.0
#: the counter moves on in steps, and readings are a second apart: over less time a rate says nothing
SHORTEST_S, UPDATE_S = 1.0, 0.1
#: a counter that begins anew is below that share of what it was; less of a fall counts when it stays
RESET_RATIO, RESET_READINGS = 0.5, 3


def impossible(sample: Values, limit_watts: float | None) -> Iterator[tuple[str, str]]:
    """Yield the readings that cannot be true, and why."""
    for name, value in sample.items():
        if name in POWERS and value < 0:
            yield name, "below 0 W"
        elif name in POWERS and limit_watts and value > POWER_LIMIT_RATIO * limit_watts:
            yield name, f"more than {POWER_LIMIT_RATIO:g} times the limit of {limit_watts:g} W"
        elif name.endswith("_ratio") and not 0 <= value <= 1:
            yield name, "outside 0 to 1"


@dataclass(slots=True)
class Energy:
    """The last reading of an energy counter that was believed. Units: J, seconds of the clock that is passed in."""

    joules: float | None = None
    changed_at: float = 0.0
    #: since then it stands still under load
    loaded_at: float = 0.0
    frozen: bool = False
    #: readings in a row that fell, by too little for a reset
    falls: int = 0
    #: NVML was opened again since: any fall is a reset
    reopened: bool = False
    #: it began anew and nobody was told yet
    was_reset: bool = False

    def judge(self, joules: float, now: float, watts: float, limit: float | None) -> str:
        """Return why a reading cannot be believed, or "" where it can; a fall is a reset."""
        if self.joules is None:
            return self._believe(joules, now)
        if joules < self.joules:
            return self._judge_fall(joules, now)
        self.falls = 0
        growth, elapsed = joules - self.joules, now - self.changed_at
        if limit and growth > ENERGY_LIMIT_RATIO * limit * max(elapsed + UPDATE_S, SHORTEST_S):
            return f"grew by {growth:.0f} J in {elapsed:.1f} s"
        if growth > 0:
            return self._believe(joules, now)
        return self._judge_stop(now, limit is not None and watts > FROZEN_LIMIT_RATIO * limit)

    def _judge_fall(self, joules: float, now: float) -> str:
        assert self.joules is not None
        self.falls += 1
        if joules < RESET_RATIO * self.joules or self.reopened or self.falls >= RESET_READINGS:
            self.was_reset = True
            return self._believe(joules, now)
        return f"fell by {self.joules - joules:.0f} J, which is no reset"

    def _judge_stop(self, now: float, under_load: bool) -> str:
        if not under_load and not self.frozen:
            self.loaded_at = now
        self.frozen = self.frozen or now - self.loaded_at > FROZEN_S
        return f"stands still for {now - self.loaded_at:.0f} s under load" if self.frozen else ""

    def _believe(self, joules: float, now: float) -> str:
        self.joules, self.changed_at, self.loaded_at = joules, now, now
        self.frozen = self.reopened = False
        self.falls = 0
        return ""
