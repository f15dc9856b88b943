"""One hour of the site at 20 s steps, from the store; after the first time only what is new is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dashboard.grid import MEAN_STEPS, STEP, Grid, hold, mean, series
from dashboard.kpis import cooling
from dashboard.kpis.efficiency import OK_COVERAGE
from dashboard.kpis.levels import best_per_step, ranked
from dashboard.kpis.windows import Floats
from dashboard.power_hour import PowerHour, Watched, power
from dashboard.site import Site
from dashboard.tables import INFERENCE
from storage.store import Store

STEPS = 180
SECONDS = STEPS * STEP
#: samples may come so late (a spool that was emptied); steps this fresh are asked for again (E18). Units: s
LATE = 600.0
UNDER_WAY = 10.0
SERIES = (
    "tokens_per_joule_it",
    "it_watts",
    "facility_watts",
    "output_tokens_per_second",
    "gpus_idle",
    "pue",
    "coolant_supply_celsius",
    "coolant_return_celsius",
)


@dataclass(frozen=True, slots=True)
class History:
    """Values per step; NaN where unknown. `start`: of the first step, epoch s."""

    time: float
    start: float
    series: Mapping[str, Floats]
    #: racks of which some power was left out among the steps that are asked for again
    doubted: frozenset[str] = frozenset()


def update(
    store: Store,
    site: Site,
    old: History | None,
    now: float,
    idle: Sequence[tuple[float, float]],
    *,
    real: bool,
    watched: Watched,
) -> History:
    """Return the hour that ends now. `idle`: (epoch s, idle GPUs) as the snapshots told; `real`: drop simulated data.

    `watched`: what the live view saw within the hour; of an hour that is read as a whole every rack is doubted.

    Raises:
        StoreError: the store does not answer.
    """
    end = np.floor((now - UNDER_WAY) / STEP) * STEP
    start = float(end - SECONDS)
    told = {name: np.full(STEPS, np.nan) for name in SERIES}
    fresh, doubted = start, frozenset({*watched.doubted, *(old.doubted if old else ())})
    if old is not None and 0 <= start - old.start < SECONDS:
        gone = round((start - old.start) / STEP)
        for name, values in told.items():
            values[: STEPS - gone] = old.series[name][gone:]
        fresh = max(start, float(end - gone * STEP - np.ceil(LATE / STEP) * STEP))
    if fresh == start:
        doubted = frozenset(watched.rack_of_host.values())
    lead = fresh - MEAN_STEPS * STEP  # the means of the first fresh step reach back
    grid = Grid(store, lead, float(end), real)
    drawn = power(grid, site, replace(watched, doubted=doubted))
    computed = _compute(grid, site, drawn)
    first = round((fresh - start) / STEP)
    for name, values in computed.items():
        told[name][first:] = values[MEAN_STEPS:]
    told["gpus_idle"][first:] = _by_step(idle, fresh, STEPS - first)
    return History(now, start, told, drawn.doubted)


def to_json(history: History) -> dict[str, Any]:
    """Return the history as the browser gets it; null where unknown."""
    told = {name: [_plain(value) for value in values.tolist()] for name, values in history.series.items()}
    return {"time": round(history.time, 3), "start": history.start, "step": int(STEP), "series": told}


def _plain(value: float) -> float | None:
    return None if value != value else float(f"{value:.6g}")


def _by_step(samples: Sequence[tuple[float, float]], start: float, steps: int) -> Floats:
    """Return the last sample of each step."""
    values = np.full(steps, np.nan)
    for time, value in samples:
        step = int((time - start) // STEP)
        if 0 <= step < steps:
            values[step] = value
    return values


def _compute(grid: Grid, site: Site, drawn: PowerHour) -> dict[str, Floats]:
    """Return the series that the store knows, one value per step of the grid."""
    tokens = mean(_tokens(grid, site))
    it, facility = mean(drawn.it_watts), mean(drawn.facility_watts)
    supply, back = _coolant(grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        efficiency = np.where(it > 0, tokens / it, np.nan)
        pue = np.where((it > 0) & (facility >= it), facility / it, np.nan)
    return {
        "output_tokens_per_second": tokens,
        "it_watts": it,
        "facility_watts": facility,
        "tokens_per_joule_it": efficiency,
        "pue": pue,
        "coolant_supply_celsius": supply,
        "coolant_return_celsius": back,
    }


def _tokens(grid: Grid, site: Site) -> Floats:
    """Return output tokens per second; NaN where not nearly every engine reports."""
    names = ["live_output_tokens_total", "output_tokens_total"]
    frame = grid.ask("inference", names, aggregate="rate")
    numbers, tags = series(frame, *INFERENCE.identity)
    live, done = (grid.matrix(frame, numbers, name, len(tags)) for name in names)
    rates = hold(np.where(np.isfinite(live).any(axis=1, keepdims=True), live, done))
    counts = best_per_step(ranked(tags["model"].tolist(), tags["level"].tolist()), np.isfinite(rates))
    rates = np.where(counts, rates, np.nan)
    codes, known = pd.factorize(tags["endpoint"].to_numpy(dtype=object))
    reporting = np.zeros((len(known), grid.steps), dtype=bool)
    np.logical_or.at(reporting, codes, counts)
    expected = max(len(site.engines), 1)
    told = reporting.sum(axis=0) >= OK_COVERAGE * expected
    return np.where(told, np.nansum(rates, axis=0), np.nan)


def _coolant(grid: Grid) -> tuple[Floats, Floats]:
    """Return the warmest supply and the mixed return of the CDUs' technology loops. Units: degC."""
    fields = ["temperature_celsius", "flow_liters_per_second"]
    frame = grid.ask("coolant", fields, aggregate="mean", where={"kind": "cdu", "loop": "tcs", "pump": ("", "-")})
    numbers, tags = series(frame, "device", "point")
    temperature, flow = (hold(grid.matrix(frame, numbers, name, len(tags))) for name in fields)
    point = tags["point"].to_numpy(dtype=object)
    devices = tags["device"].to_numpy(dtype=object)
    supply, back = np.full(grid.steps, np.nan), np.full(grid.steps, np.nan)
    flow_of = {device: i for i, device in enumerate(devices) if point[i] in ("", "-")}
    returns = np.flatnonzero(point == "return")
    rows = np.array([flow_of.get(devices[i], -1) for i in returns], dtype=np.int64)
    padded = np.vstack([flow, np.full((1, grid.steps), np.nan)])
    for step in range(grid.steps if len(tags) else 0):
        warmest = cooling.worst_supply_celsius(temperature[point == "supply", step])
        mixed = cooling.return_celsius(temperature[returns, step], padded[rows, step])
        supply[step] = np.nan if warmest is None else warmest
        back[step] = np.nan if mixed is None else mixed
    return supply, back
