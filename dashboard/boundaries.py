"""The five power boundaries of a site, from GPU board to facility: what measures each, and its energy over a window."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from dashboard.kpis.efficiency import OK_COVERAGE
from dashboard.kpis.energy import BoardEnergy, board_energy
from dashboard.kpis.power import RACK_SOURCES, implausible
from dashboard.kpis.sources import one_source
from dashboard.kpis.windows import (
    Bools,
    Floats,
    Ints,
    Samples,
    Windowed,
    filled,
    integral,
    last,
    live,
    mean,
    newest,
    span,
    tally,
)
from dashboard.tables import Tables

Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy over one window, by group: hosts, racks, or the site as one."""

    joules: Floats
    #: seconds for which it is known, summed over the group's sources
    covered: Floats
    #: sources that the inventory expects in the group
    expected: Floats

    def whole(self) -> "Energy":
        """Return all groups as one."""
        return Energy(*(part.sum(keepdims=True) for part in (self.joules, self.covered, self.expected)))

    def only(self, groups: Bools) -> "Energy":
        """Return the same groups, with nothing expected of the others."""
        return Energy(self.joules * groups, self.covered * groups, self.expected * groups)


@dataclass(frozen=True, slots=True)
class Boundary:
    """One power boundary: what it is called, when it is known, how much energy went through it."""

    name: str
    #: window that its live sources can speak of; None where there are none
    window: Window | None
    #: what tells its energy
    samples: Samples
    energy: Callable[[Window], Energy]
    #: group of each inference series; -1 where its host is not known
    engine_group: Ints
    #: group of each host of the floor; -1 for none
    host_group: Ints
    formula: str
    #: why there is nothing, where there is nothing
    missing: str


def boundaries(tables: Tables) -> tuple[Boundary, ...]:
    """Return the five boundaries, from the smallest to the largest."""
    places = tables.power_places
    hosts = np.arange(len(tables.places.hosts))
    number = {rack.name: i for i, rack in enumerate(tables.site.racks)}
    racks = np.array([number.get(rack, -1) for rack in tables.places.rack_of_host], dtype=np.int64)
    holds_gpus = np.isin(np.arange(len(number)), racks)
    metered = _metered(tables)
    by_racks = _it_by_racks(tables, metered)
    site = np.zeros(len(hosts), dtype=np.int64)

    def meters(scope: str) -> Callable[[Window], Energy]:
        return lambda window: _meters(tables, scope, window)

    def it(window: Window) -> Energy:
        return rack_energies(tables, window).whole() if by_racks else _meters(tables, "it", window)

    boards = tables.gpu.any_of("energy_joules_total", "power_watts")
    gpu_rack = metered & np.isin(places.rack, racks)
    return (
        _boundary(tables, "gpu_board", boards, lambda window: _boards(tables, window), hosts),
        _boundary(tables, "node", _inputs(tables, places.host >= 0), lambda window: _nodes(tables, window), hosts),
        _boundary(
            tables, "rack", _inputs(tables, gpu_rack), lambda w: rack_energies(tables, w).only(holds_gpus), racks
        ),
        _boundary(tables, "it", _inputs(tables, metered if by_racks else places.meter == "it"), it, site),
        _boundary(tables, "facility", _inputs(tables, places.meter == "facility"), meters("facility"), site),
    )


_TEXTS = {
    "gpu_board": ("sum over GPUs of board energy (its counter, else its power integrated)", "no GPU tells its power"),
    "node": ("sum over hosts of node input energy", "no node meter"),
    "rack": (
        "sum over GPU racks of input energy (power shelves, else rack PDUs, else the building's)",
        "no rack meter",
    ),
    "it": ("sum over all racks of input energy, network racks included (else IT meters)", "no rack or IT meter"),
    "facility": ("sum over facility meters of energy", "no facility meter"),
}


def _boundary(
    tables: Tables, name: str, samples: Samples, energy: Callable[[Window], Energy], host_group: Ints
) -> Boundary:
    window = span(samples, tables.now, tables.window_seconds)
    host = tables.engine_host
    padded = np.append(host_group, -1)
    return Boundary(name, window, samples, cache(energy), padded[host], host_group, *_TEXTS[name])


def board_energies(tables: Tables, window: Window) -> BoardEnergy:
    """Return the energy of each GPU over the window; of one that is nearly whole the rest at its mean."""
    gpu, (start, end) = tables.gpu, window
    counter, power = gpu.samples("energy_joules_total"), gpu.samples("power_watts")
    limit, prefer = last(gpu.samples("power_limit_watts")), tables.settings.energy.prefer
    drawn = board_energy(counter, power, limit, start, end, prefer=prefer)
    lasts = np.maximum(newest(counter), newest(power)) >= end
    return replace(drawn, joules=filled(drawn.joules, drawn.covered, end - start, lasts).amount)


def _boards(tables: Tables, window: Window) -> Energy:
    boards, places = board_energies(tables, window), tables.places
    return _by_group(Windowed(boards.joules, boards.covered), places.host, places.gpus_of_host)


def _nodes(tables: Tables, window: Window) -> Energy:
    host = tables.power_places.host
    drawn = integral(_inputs(tables, host >= 0), *window)
    return _by_group(drawn, host, np.minimum(tables.places.gpus_of_host, 1.0))


def _by_group(drawn: Windowed, group: Ints, expected: Floats) -> Energy:
    placed = group >= 0
    joules, covered = (tally(group[placed], part[placed], len(expected)) for part in (drawn.amount, drawn.covered))
    return Energy(joules, covered, expected)


def _metered(tables: Tables) -> Bools:
    """Return which power series tell the power of a rack."""
    metered: Bools = (tables.power_places.rack >= 0) & (tables.power_places.source >= 0)
    return metered if tables.doubted is None else metered & ~tables.doubted


def doubtful(tables: Tables) -> tuple[Bools, tuple[tuple[str, str, str], ...]]:
    """Return which power series cannot be right, as racks that read less than their GPUs, and what they are.

    Each of those is (rack, why, kind of source).
    """
    none = np.zeros(tables.power.count, dtype=bool)
    window = rack_window(tables)
    if window is None:
        return none, ()
    places, seconds, metered = tables.power_places, window[1] - window[0], _metered(tables)
    drawn = _drawn(tables, metered, window)
    shape = (len(tables.site.racks), len(RACK_SOURCES))
    joules, covered, seen = (np.zeros(shape) for _ in range(3))
    at = places.rack[metered], places.source[metered]
    for table, part in ((joules, drawn.amount[metered]), (covered, drawn.covered[metered])):
        np.add.at(table, at, part)
    np.add.at(seen, at, 1.0)
    whole = covered >= OK_COVERAGE * np.maximum(places.expected, np.maximum(seen, 1.0)) * seconds
    boards, watts = _board_watts(tables, window), joules / seconds
    wrong = whole & implausible(watts, boards[:, None])
    told = tuple(
        (tables.site.racks[r].name, f"{watts[r, s]:.0f} W, its GPUs alone draw {boards[r]:.0f} W", RACK_SOURCES[s])
        for r, s in zip(*np.nonzero(wrong), strict=True)
    )
    found: Bools = metered & wrong[np.maximum(places.rack, 0), np.maximum(places.source, 0)]
    return found, told


def _board_watts(tables: Tables, window: Window) -> Floats:
    """Return the mean power of the GPUs of each rack that tell it: at least so much goes into the rack. Units: W."""
    samples = tables.gpu.samples("power_watts")
    number = {rack.name: i for i, rack in enumerate(tables.site.racks)}
    rack_of_host = np.array([number.get(rack, -1) for rack in tables.places.rack_of_host] + [-1], dtype=np.int64)
    rack = rack_of_host[tables.places.host]
    told = (rack >= 0) & live(samples, tables.now)
    return tally(rack[told], np.nan_to_num(mean(samples, *window)[told]), len(number))


def rack_window(tables: Tables) -> Window | None:
    """Return the window that all live sources of rack power can speak of."""
    return span(_inputs(tables, _metered(tables)), tables.now, tables.window_seconds)


def rack_samples(tables: Tables, racks: Bools) -> Samples:
    """Return the input power of the sources of these racks."""
    return _inputs(tables, _metered(tables) & np.append(racks, False)[tables.power_places.rack])


def rack_energies(tables: Tables, window: Window) -> Energy:
    """Return the energy of each rack of the site from its one source; a rack counts as one source. Units: J."""
    places, seconds, metered = tables.power_places, window[1] - window[0], _metered(tables)
    drawn = _drawn(tables, metered, window)
    told = metered & (drawn.covered > 0)
    racks = one_source(
        places.rack[told], places.source[told], drawn.amount[told], drawn.covered[told], places.expected, seconds
    )
    return Energy(racks.joules, racks.coverage * seconds, np.ones(len(racks.joules)))


def _meters(tables: Tables, scope: str, window: Window) -> Energy:
    chosen = tables.power_places.meter == scope
    drawn = integral(_inputs(tables, chosen), *window)
    known = {name for name, of in tables.site.meters.items() if of == scope}
    seen = set(tables.power.tags["device"][chosen & (drawn.covered > 0)])
    expected = float(len(known | seen))
    return Energy(drawn.amount.sum(keepdims=True), drawn.covered.sum(keepdims=True), np.array([expected]))


def _inputs(tables: Tables, chosen: Bools) -> Samples:
    """Return the input power of the chosen devices; the others have no samples."""
    return tables.power.samples("active_watts").only(chosen)


def _drawn(tables: Tables, chosen: Bools, window: Window) -> Windowed:
    """Return what the chosen devices took; one that speaks of a part of its supplies is known in part. Units: J, s."""
    drawn = integral(_inputs(tables, chosen), *window)
    return drawn if tables.heard is None else Windowed(drawn.amount, drawn.covered * tables.heard)


def _it_by_racks(tables: Tables, metered: Bools) -> bool:
    """Return whether IT power is the sum of the racks: at least half of them are metered now."""
    alive = live(tables.power.samples("active_watts"), tables.now)
    racks = np.unique(tables.power_places.rack[metered & alive])
    return len(racks) > 0 and 2 * len(racks) >= len(tables.site.racks)
