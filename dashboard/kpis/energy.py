"""Energy of GPU boards over one window: the board's own counter first, the trapezoid of its power second."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dashboard.kpis.windows import Bools, Floats, Samples, Windowed, counted, integrated, moves, newest, oldest

#: a counter may not grow faster than this share of the power limit (E4)
MOST_OF_LIMIT = 1.3
#: a board above this share of its limit draws enough to move its counter at each poll (E6)
FROZEN_LIMIT_RATIO = 0.1
#: plausible top of a board whose limit is unknown. Units: W
UNKNOWN_LIMIT_WATTS = 3000.0
#: counter and trapezoid may differ by this much before the energy is suspect (E5)
SUSPECT_RATIO = 0.05


#: a board whose limit is unknown moves its counter at each poll when it draws more than this. Units: W
FROZEN_WATTS = 50.0
#: power is taken where it is known for this share of the time for which the counter is
KNOWN_RATIO = 0.99

Prefer = Literal["counter", "trapezoid"]
Edges = tuple[bool, bool]


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


def board_energy(
    counter: Samples,
    power: Samples,
    limit_watts: Floats,
    start: float | Floats,
    end: float | Floats,
    *,
    prefer: Prefer = "counter",
    edges: Edges = (True, True),
) -> BoardEnergy:
    """Return the energy of each board in [start, end]. Units: J = counter growth, else the integral of W over s.

    The counter counts when it grows plausibly (0 <= J/s <= 1.3 x limit, E4) and moves at least at every second poll
    while the board draws power (E6; some exporters repeat one reading for 30 s). Before its first and after its last
    sample power stands in, where `edges` (first, last) allow. `limit_watts`: NaN where unknown. `prefer`: which of the
    two is taken where both are good (E5). Nothing is filled in.
    """
    grown, summed = counted(counter, start, end), integrated(power, start, end)
    limit = np.where(np.isnan(limit_watts), UNKNOWN_LIMIT_WATTS, limit_watts)
    enough = np.where(np.isnan(limit_watts), FROZEN_WATTS, FROZEN_LIMIT_RATIO * limit)
    watts = summed.amount / np.maximum(summed.covered, 1e-9)
    frozen = (summed.covered > 0) & (watts > enough) & (np.nan_to_num(moves(counter), nan=1) < 0.5)
    fast = grown.amount > MOST_OF_LIMIT * limit * np.maximum(grown.covered, 1e-9)
    good = (grown.covered > 0) & ~frozen & ~fast
    differ = np.abs(grown.amount - summed.amount) > SUSPECT_RATIO * np.maximum(summed.amount, 1.0)
    both = good & (np.abs(grown.covered - summed.covered) < 1e-6) & (summed.covered >= 60.0 - 1e-6)
    by_counter = good if prefer == "counter" else good & (summed.covered < KNOWN_RATIO * grown.covered)
    around = _around(counter, power, start, end, edges)
    return BoardEnergy(
        joules=np.where(by_counter, grown.amount + around.amount, summed.amount),
        covered=np.where(by_counter, grown.covered + around.covered, summed.covered),
        by_counter=by_counter,
        suspect=both & differ,
    )


def _around(counter: Samples, power: Samples, start: float | Floats, end: float | Floats, edges: Edges) -> Windowed:
    """Return the integral of power before the counter's first and after its last sample, within [start, end]."""
    nothing = np.zeros(counter.count)
    amount, covered = nothing, nothing
    first, final = np.clip(oldest(counter), start, end), np.clip(newest(counter), start, end)
    pieces = ((np.full_like(first, start), first), (final, np.full_like(final, end)))
    for (opens, closes), wanted in zip(pieces, edges, strict=True):
        if wanted and (closes > opens).any():
            piece = integrated(power, opens, closes)
            amount, covered = amount + piece.amount, covered + piece.covered
    return Windowed(amount, covered)
