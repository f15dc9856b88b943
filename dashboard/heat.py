"""The heat that the coolant distribution units (CDU) move: a mean over the window, one loop per CDU."""

import numpy as np

from dashboard.kpis.cooling import HEAT_SOURCES
from dashboard.kpis.efficiency import coverage
from dashboard.kpis.sources import one_source
from dashboard.kpis.windows import integral, span
from dashboard.number import Number, number, withheld
from dashboard.tables import Tables


def heat_number(tables: Tables, expected: int) -> Number:
    """Return the mean heat of all CDUs over the window. Units: W; `expected`: number of CDUs."""
    formula = "sum over CDUs of the heat of one loop (technology, else facility; computed, else reported)"
    heat = tables.heat
    window = span(heat.any_of("heat_watts", "heat_reported_watts"), tables.now, tables.window_seconds)
    if window is None:
        return withheld("W", "cdu", formula, "no CDU tells its heat")
    seconds = window[1] - window[0]
    _, cdu = np.unique(heat.tags["device"].astype(str), return_inverse=True)
    loops = heat.tags["loop"]
    groups, sources, joules, covered = [], [], [], []
    for rank, (name, loop) in enumerate(HEAT_SOURCES):
        moved = integral(heat.samples(name), *window)
        told = (loops == loop) & (moved.covered > 0)
        groups.append(cdu[told])
        sources.append(np.full(int(told.sum()), rank))
        joules.append(moved.amount[told])
        covered.append(moved.covered[told])
    units = one_source(
        np.concatenate(groups),
        np.concatenate(sources),
        np.concatenate(joules),
        np.concatenate(covered),
        np.zeros((int(cdu.max()) + 1, len(HEAT_SOURCES))),
        seconds,
    )
    share = coverage(float(units.coverage.sum()) * seconds, expected, seconds)
    return number(float(units.joules.sum()) / seconds, "W", "cdu", formula, window=window, coverage=share)
