"""What really happened: totals of tokens and energy over the last hours, exact between any two moments."""

from dataclasses import dataclass, fields

import numpy as np

from collectors.simulator.state import STEP_SECONDS, Floats

#: steps kept: two hours and a minute
KEPT_STEPS = 7_260


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens and joules over some time; as rates, per second."""

    #: as they pass the engines
    output_tokens: float
    input_tokens: float
    gpu_board_joules: float
    node_joules: float
    #: shelves of the GPU racks and PDUs of the network racks, at their inputs
    rack_joules: float
    #: what the IT meter counts: the same sum
    it_joules: float
    facility_joules: float
    #: carried by the technology loops of all CDUs
    coolant_heat_joules: float
    #: drawn from feed A and from feed B, which make the IT power together
    feed_a_joules: float
    feed_b_joules: float
    #: taken from the racks by their loops
    rack_liquid_joules: float
    #: tokens by the final clock: a server that counts a request at its end (SGLang) counts it there
    final_output_tokens: float
    final_input_tokens: float


_NAMES = tuple(item.name for item in fields(Totals))


class Ledger:
    """Cumulative totals at every step, linear in between."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._times = np.zeros(KEPT_STEPS)  # since the start: whole seconds stay exact
        self._totals = np.zeros((KEPT_STEPS, len(_NAMES)))
        self._rate = np.zeros(len(_NAMES))
        self._count = 1

    @property
    def _last(self) -> int:
        return (self._count - 1) % KEPT_STEPS

    def set_rates(self, rates: Totals) -> None:
        """Say what flows per second from the last step on."""
        self._rate = np.array([getattr(rates, name) for name in _NAMES])

    def step(self, now: float) -> None:
        """Carry the totals on to `now` (epoch seconds) at the present rates."""
        time = now - self._start
        last = self._last
        self._count += 1
        self._times[self._last] = time
        self._totals[self._last] = self._totals[last] + self._rate * (time - self._times[last])

    def between(self, start: float, end: float) -> Totals:
        """Return the totals from `start` to `end` (epoch seconds).

        Raises:
            ValueError: `end` is not after `start`, or the ledger does not reach that far back or forward.
        """
        kept = np.arange(max(0, self._count - KEPT_STEPS), self._count) % KEPT_STEPS
        times, totals = self._times[kept], self._totals[kept]
        ahead = times[-1] + STEP_SECONDS
        since, until = start - self._start, end - self._start
        if not (times[0] <= since < until <= ahead):
            first, last = times[0] + self._start, ahead + self._start
            raise ValueError(f"no truth from {start} to {end}: give start < end within {first} to {last}")
        times = np.append(times, ahead)
        totals = np.vstack([totals, totals[-1] + self._rate * STEP_SECONDS])
        return Totals(*(_interpolate(times, column, since, until) for column in totals.T))


def _interpolate(times: Floats, column: Floats, since: float, until: float) -> float:
    first, last = np.interp([since, until], times, column)
    return float(last - first)
