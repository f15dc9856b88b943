"""Noise with a memory: what makes gauges wander instead of jump."""

import math

import numpy as np

from collectors.simulator.state import STEP_SECONDS, Floats


class Wander:
    """First-order autoregressive noise around zero, one value per element, stationary from the first step.

    Source: AR(1) with decay exp(-1 s / tau), scaled so that its standard deviation is `sigma` at any tau.
    """

    def __init__(self, rng: np.random.Generator, size: int, *, tau_seconds: float, sigma: float) -> None:
        self._rng = rng
        self._decay = math.exp(-STEP_SECONDS / tau_seconds)
        self._kick = sigma * math.sqrt(1.0 - self._decay**2)
        self.value: Floats = sigma * rng.standard_normal(size)

    def step(self) -> Floats:
        """Return the values of the next second."""
        self.value = self._decay * self.value + self._kick * self._rng.standard_normal(self.value.size)
        return self.value


def lag(tau_seconds: float) -> float:
    """Return the share of a difference that a first-order lag makes good in one step."""
    return 1.0 - math.exp(-STEP_SECONDS / tau_seconds)
