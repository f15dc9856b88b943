"""IT and facility power of the last hour, step by step, by the rules of the live view."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from dashboard.grid import Grid, hold, mean, series
from dashboard.kpis import hvdc
from dashboard.kpis.efficiency import OK_COVERAGE
from dashboard.kpis.power import implausible
from dashboard.kpis.sources import one_source
from dashboard.kpis.windows import Bools, Floats
from dashboard.places import PowerPlaces, power_places
from dashboard.plant.shelves import OFF
from dashboard.site import Site
from dashboard.tables import GPU


@dataclass(frozen=True, slots=True)
class Watched:
    """What the live view saw within the hour: of these alone the hour asks for more than totals."""

    #: shelves whose power spoke of a part of their supplies
    in_part: Collection[str] = ()
    #: racks whose power could not be right
    doubted: Collection[str] = ()
    #: host of the floor -> its rack
    rack_of_host: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PowerHour:
    """Power per step; NaN where not nearly every source reports. Units: W."""

    it_watts: Floats
    facility_watts: Floats
    #: racks of which a source was left out in some step
    doubted: frozenset[str]


def power(grid: Grid, site: Site, watched: Watched) -> PowerHour:
    """Return IT and facility power."""
    frame = grid.ask("power", ["active_watts", "state"], aggregate="mean", where={"circuit": "total", "side": "input"})
    numbers, tags = series(frame, "device", "kind", "rack", "host", "scope", "feed", "phase")
    told, state = (grid.matrix(frame, numbers, name, len(tags)) for name in ("active_watts", "state"))
    watts, heard = hold(told), _heard(grid, site, watched.in_part, tags, told, state)
    places = power_places(site, {name: tags[name].to_numpy(dtype=object) for name in tags.columns}, ())
    rack, source, meter = places.rack, places.source, places.meter
    it = np.full(grid.steps, np.nan)
    of_rack = (rack >= 0) & (source >= 0)
    wrong = _doubted(grid, site, watched, places, watts, heard)
    believed = np.isfinite(watts) & of_rack[:, None] & ~wrong
    for step in range(grid.steps if of_rack.any() else 0):
        known = believed[:, step]
        racks = one_source(rack[known], source[known], watts[known, step], heard[known, step], places.expected, 1.0)
        if racks.coverage.sum() >= OK_COVERAGE * len(site.racks):
            it[step] = racks.joules.sum()
    it = np.where(np.isnan(it), _metered(watts, meter == "it", site, "it"), it)
    doubted = frozenset(site.racks[i].name for i in np.unique(rack[wrong.any(axis=1)]))
    return PowerHour(it, _metered(watts, meter == "facility", site, "facility"), doubted)


def _heard(
    grid: Grid, site: Site, in_part: Collection[str], tags: pd.DataFrame, totals: Floats, states: Floats
) -> Floats:
    """Return the share of its supplies that each device's power speaks of, as the live view counts them; 1 of others.

    What a shelf and its supplies tell in one step belongs together; a step in which none tells is like the last.
    """
    heard = np.ones(totals.shape)
    rows = np.flatnonzero(tags["device"].isin(in_part))
    if not len(rows):
        return heard
    where = {"device": tuple(sorted(in_part)), "kind": "power_shelf", "side": "input"}
    frame = grid.ask("power", ["active_watts"], aggregate="mean", where=where)
    frame = frame[frame["circuit"] != "total"]
    numbers, parts = series(frame, "device", "circuit")
    watts = grid.matrix(frame, numbers, "active_watts", len(parts))
    for row in rows:
        device = tags["device"].iloc[row]
        own = watts[(parts["device"] == device).to_numpy()]
        known = site.shelves.get(device)
        expected = max((known.supplies if known else None) or 0, len(own))
        heard[row] = hold(_share_told(own, expected, totals[row], states[row])[None])[0]
    return np.where(np.isnan(heard), 1.0, heard)


def _share_told(parts: Floats, expected: int, total: Floats, state: Floats) -> Floats:
    """Return the share of a shelf's supplies that its total speaks of, per step; NaN where none of them tells."""
    count = np.isfinite(parts).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = total > hvdc.whole_above(np.nansum(parts, axis=0), count.astype(float), expected)
    share = np.where((count >= expected) | whole | (state == OFF), 1.0, count / max(expected, 1))
    return np.where((count > 0) & np.isfinite(total), share, np.nan)


def _doubted(
    grid: Grid, site: Site, watched: Watched, places: PowerPlaces, watts: Floats, heard: Floats
) -> npt.NDArray[np.bool_]:
    """Return in which steps a source of rack power reads less than the rack's GPUs draw; series x steps."""
    none = np.zeros(watts.shape, dtype=bool)
    at = np.flatnonzero((places.rack >= 0) & (places.source >= 0))
    boards = _board_watts(grid, site, watched) if len(at) else None
    if boards is None:
        return none
    shape = (*places.expected.shape, grid.steps)
    sums, told, seen = np.zeros(shape), np.zeros(shape), np.zeros(places.expected.shape)
    group, known = (places.rack[at], places.source[at]), np.isfinite(watts[at])
    np.add.at(sums, group, np.where(known, watts[at], 0.0))
    np.add.at(told, group, np.where(known, heard[at], 0.0))
    np.add.at(seen, group, 1.0)
    whole = told >= OK_COVERAGE * np.maximum(places.expected, np.maximum(seen, 1.0))[..., None]
    wrong = implausible(mean(np.where(whole, sums, np.nan)), boards[:, None])
    none[at] = wrong[group]
    return none


def _board_watts(grid: Grid, site: Site, watched: Watched) -> Floats | None:
    """Return the mean power of the GPUs of each rack that was doubted, racks x steps; None where none was. Units: W."""
    number = {rack.name: i for i, rack in enumerate(site.racks)}
    hosts = {h: number[r] for h, r in watched.rack_of_host.items() if r in watched.doubted and r in number}
    if not hosts:
        return None
    question = {"where": {**GPU.where, "host": tuple(hosts)}}
    frame = grid.ask("gpu", ["power_watts"], aggregate="mean", by=("host", "gpu", "synthetic"), **question)
    numbers, tags = series(frame, "host", "gpu")
    watts = mean(hold(grid.matrix(frame, numbers, "power_watts", len(tags))))
    boards = np.zeros((len(site.racks), grid.steps))
    np.add.at(boards, np.array([hosts[host] for host in tags["host"]], dtype=np.int64), np.nan_to_num(watts))
    return boards


def _metered(watts: Floats, chosen: Bools, site: Site, scope: str) -> Floats:
    """Return the sum of the meters of one scope; NaN in steps where one is missing. Units: W."""
    expected = max(sum(of == scope for of in site.meters.values()), 1)
    own = watts[chosen]
    told = np.isfinite(own).sum(axis=0) >= expected
    return np.where(told, np.nansum(own, axis=0), np.nan)
