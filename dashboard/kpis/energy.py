"""Energy of GPU boards over one window: the board's own counter first, the trapezoid of its power second."""

from dataclasses import dataclass

import numpy as np

from dashboard.kpis.windows import Bools, Floats, Samples, increase, integral, moves

#: a counter may not grow faster than this share of the power limit (E4)
MOST_OF_LIMIT = 1.3
#: a board above this share of its limit draws enough to move its counter at each poll (E6)
FROZEN_LIMIT_RATIO = 0.1
#: plausible top of a board whose limit is unknown. Units: W
UNKNOWN_LIMIT_WATTS = 3000.0
#: counter and trapezoid may differ by this much before the energy is suspect (E5)
SUSPECT_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class BoardEnergy:
    """One element per GPU."""

    joules: Floats
    #: seconds of the window for which the energy is known
    covered: Floats
    #: taken from the board's counter, not from the trapezoid of its power
    by_counter: Bools
    #: counter and trapezoid both exist and differ by more than 5 % (E5)
    suspect: Bools


def board_energy(counter: Samples, power: Samples, limit_watts: Floats, start: float, end: float) -> BoardEnergy:
    """Return the energy of each board in [start, end]. Units: J = counter growth, else the integral of W over s.

    The counter counts when it grows plausibly (0 <= J/s <= 1.3 x limit, E4) and moves at least at every second poll
    while the board draws power (E6; some exporters repeat one reading for 30 s). `limit_watts`: NaN where unknown.
    """
    counted, summed = increase(counter, start, end), integral(power, start, end)
    limit = np.where(np.isnan(limit_watts), UNKNOWN_LIMIT_WATTS, limit_watts)
    watts = summed.amount / np.maximum(summed.covered, 1e-9)
    frozen = (summed.covered > 0) & (watts > FROZEN_LIMIT_RATIO * limit) & (np.nan_to_num(moves(counter), nan=1) < 0.5)
    fast = counted.amount > MOST_OF_LIMIT * limit * np.maximum(counted.covered, 1e-9)
    by_counter = (counted.covered > 0) & ~frozen & ~fast
    differ = np.abs(counted.amount - summed.amount) > SUSPECT_RATIO * np.maximum(summed.amount, 1.0)
    both = by_counter & (np.abs(counted.covered - summed.covered) < 1e-6) & (summed.covered >= 60.0 - 1e-6)
    return BoardEnergy(
        joules=np.where(by_counter, counted.amount, summed.amount),
        covered=np.where(by_counter, counted.covered, summed.covered),
        by_counter=by_counter,
        suspect=both & differ,
    )
