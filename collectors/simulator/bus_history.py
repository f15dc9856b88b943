"""What the buses of all shelves read in the last minute and ever: for devices that tell the lowest and the highest."""

import numpy as np

from collectors.simulator.factory import Factory

KEPT_STEPS = 61


class BusHistory:
    """Lowest and highest voltage of each bus, half of its ripple left and right of what its meter reads."""

    def __init__(self, factory: Factory) -> None:
        count = len(factory.layout.shelves)
        self._factory = factory
        self._times = np.full(KEPT_STEPS, -np.inf)
        self._low = np.full((KEPT_STEPS, count), np.inf)
        self._high = np.full((KEPT_STEPS, count), -np.inf)
        self._lowest, self._highest = np.full(count, np.inf), np.full(count, -np.inf)
        self._place = 0
        self.note(factory.state.time)
        factory.after_step.append(self.note)

    def note(self, now: float) -> None:
        """Take what the buses read at `now` (epoch seconds)."""
        shelves = self._factory.state.shelves
        place = self._place = (self._place + 1) % KEPT_STEPS
        self._times[place] = now
        self._low[place] = shelves.bus_volts - 0.5 * shelves.ripple_volts
        self._high[place] = shelves.bus_volts + 0.5 * shelves.ripple_volts
        np.minimum(self._lowest, self._low[place], out=self._lowest)
        np.maximum(self._highest, self._high[place], out=self._highest)

    def close(self) -> None:
        """Take no more."""
        self._factory.after_step.remove(self.note)

    def since(self, index: int, time: float) -> tuple[float, float]:
        """Return the lowest and highest voltage of a bus since `time` (epoch seconds), a minute at most. Units: V."""
        kept = self._times >= min(time, self._times[self._place])
        return float(self._low[kept, index].min()), float(self._high[kept, index].max())

    def ever(self, index: int) -> tuple[float, float]:
        """Return the lowest and highest voltage of a bus since the factory opened. Units: V."""
        return float(self._lowest[index]), float(self._highest[index])
