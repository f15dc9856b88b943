"""The heat that the coolant distribution units (CDU) move: a mean over the window, one loop per CDU."""

import numpy as np

from dashboard.boundaries import rack_energies, rack_samples
from dashboard.kpis.cooling import HEAT_SOURCES
from dashboard.kpis.efficiency import coverage
from dashboard.kpis.sources import one_source
from dashboard.kpis.windows import Samples, integral, span
from dashboard.number import Number, number, withheld
from dashboard.numbers import common
from dashboard.tables import Tables


def heat_number(tables: Tables, expected: int) -> Number:
    """Return the mean heat of all CDUs over the window. Units: W; `expected`: number of CDUs."""
    formula = "sum over CDUs of the heat of one loop (technology, else facility; computed, else reported)"
    window = span(heat_samples(tables), tables.now, tables.window_seconds)
    if window is None:
        return withheld("W", "cdu", formula, "no CDU tells its heat")
    seconds = window[1] - window[0]
    joules, covered = heat_energy(tables, window)
    share = coverage(covered, expected, seconds)
    return number(joules / seconds, "W", "cdu", formula, window=window, coverage=share)


def heat_samples(tables: Tables) -> Samples:
    """Return the heat that the units tell, computed or reported. Units: W."""
    return tables.heat.any_of("heat_watts", "heat_reported_watts")


def heat_energy(tables: Tables, window: tuple[float, float]) -> tuple[float, float]:
    """Return what all CDUs moved in the window, one loop each (J), and the seconds known, summed over CDUs."""
    heat, seconds = tables.heat, window[1] - window[0]
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
    return float(units.joules.sum()), float(units.coverage.sum()) * seconds


def liquid_ratio_number(tables: Tables, expected: int) -> Number:
    """Return the share of the liquid-cooled racks' power that the coolant carries away. Units: W/W."""
    formula = "heat of all CDUs / input of the racks on them, over the same window"
    racks = np.array([bool(rack.cdu) for rack in tables.site.racks], dtype=bool)
    if not racks.any() or not expected:
        return withheld("ratio", "rack", formula, "no rack is cooled by a CDU")
    window = common(tables, heat_samples(tables), rack_samples(tables, racks))
    if window is None:
        return withheld("ratio", "rack", formula, "heat or power of the racks is not known")
    seconds = window[1] - window[0]
    joules, covered = heat_energy(tables, window)
    drawn = rack_energies(tables, window).only(racks).whole()
    shares = coverage(covered, expected, seconds), coverage(float(drawn.covered[0]), float(drawn.expected[0]), seconds)
    ratio = joules / float(drawn.joules[0]) if drawn.joules[0] > 0 else None
    return number(ratio, "ratio", "rack", formula, window=window, coverage=min(shares))
