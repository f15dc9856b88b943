"""The heat that the coolant distribution units (CDU) move: a mean over the window, one loop per CDU."""

from collections.abc import Sequence

import numpy as np

from dashboard.boundaries import rack_energies, rack_samples
from dashboard.kpis.cooling import HEAT_SOURCES
from dashboard.kpis.efficiency import GROUP_COVERAGE, coverage
from dashboard.kpis.sources import OneSource, one_source
from dashboard.kpis.windows import Floats, Samples, integral, span
from dashboard.number import Number, number, withheld
from dashboard.numbers import common
from dashboard.site import Site
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
    _, units = _units(tables, window)
    return float(units.joules.sum()), float(units.coverage.sum()) * (window[1] - window[0])


def _units(tables: Tables, window: tuple[float, float]) -> tuple[list[str], OneSource]:
    """Return the CDUs that tell their heat, and what each moved in the window, by one loop."""
    heat, seconds = tables.heat, window[1] - window[0]
    names, cdu = np.unique(heat.tags["device"].astype(str), return_inverse=True)
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
    return names.tolist(), units


def liquid_ratio_number(tables: Tables) -> Number:
    """Return the share of the liquid-cooled racks' power that the coolant carries away. Units: W/W.

    A loop counts when all of its CDUs and all of its racks are known: half of its heat says nothing of its racks.
    """
    formula = "heat of all CDUs / input of the racks on them, over the same window"
    cooled = {rack for cdu in tables.site.cdus for rack in cdu.racks}
    racks = np.array([rack.name in cooled for rack in tables.site.racks], dtype=bool)
    if not racks.any():
        return withheld("ratio", "rack", formula, "no rack is cooled by a CDU")
    window = common(tables, heat_samples(tables), rack_samples(tables, racks))
    if window is None:
        return withheld("ratio", "rack", formula, "heat or power of the racks is not known")
    names, units = _units(tables, window)
    drawn, seconds = rack_energies(tables, window), window[1] - window[0]
    moved = _known(names, units.joules, units.coverage)
    taken = _known([rack.name for rack in tables.site.racks], drawn.joules, drawn.covered / seconds)
    whole = [loop for loop in loops(tables.site) if loop[0] <= moved.keys() and loop[1] <= taken.keys()]
    heat = sum(moved[cdu] for cdus, _ in whole for cdu in cdus)
    power = sum(taken[rack] for _, held in whole for rack in held)
    share = sum(len(held) for _, held in whole) / len(cooled)
    return number(heat / power if power > 0 else None, "ratio", "rack", formula, window=window, coverage=share)


def _known(names: Sequence[str], joules: Floats, covered: Floats) -> dict[str, float]:
    """Return name -> J over the whole window, of those that are known for nearly all of it."""
    pairs = zip(names, joules.tolist(), covered.tolist(), strict=True)
    return {name: amount / share for name, amount, share in pairs if share >= GROUP_COVERAGE}


def loops(site: Site) -> list[tuple[set[str], set[str]]]:
    """Return (CDUs, racks) of each technology loop: CDUs with a rack in common are on one."""
    found: list[tuple[set[str], set[str]]] = []
    for cdu in site.cdus:
        joined = ({cdu.name}, set(cdu.racks))
        for loop in [loop for loop in found if loop[1] & joined[1]]:
            found.remove(loop)
            joined = (joined[0] | loop[0], joined[1] | loop[1])
        if joined[1]:
            found.append(joined)
    return found
