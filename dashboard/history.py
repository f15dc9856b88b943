"""One hour of the site at 20 s steps, from the store; after the first time only what is new is asked for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dashboard.kpis import cooling, hvdc
from dashboard.kpis.efficiency import OK_COVERAGE
from dashboard.kpis.levels import best_per_step, ranked
from dashboard.kpis.sources import one_source
from dashboard.kpis.windows import Floats
from dashboard.places import power_places
from dashboard.plant.shelves import OFF
from dashboard.site import Site
from dashboard.tables import INFERENCE
from storage.store import Store

STEP = 20.0
STEPS = 180
#: rates and powers are means over so many steps, as the live numbers are over their window
MEAN_STEPS = 3
#: a device that is polled seldom stands for its last value over so many steps
HOLD_STEPS = 4
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


def update(
    store: Store,
    site: Site,
    old: History | None,
    now: float,
    idle: Sequence[tuple[float, float]],
    *,
    real: bool,
    in_part: Collection[str] = (),
) -> History:
    """Return the hour that ends now. `idle`: (epoch s, idle GPUs) as the snapshots told; `real`: drop simulated data.

    `in_part`: shelves whose power spoke of a part of their supplies within the hour: their supplies are read too.

    Raises:
        StoreError: the store does not answer.
    """
    end = np.floor((now - UNDER_WAY) / STEP) * STEP
    start = float(end - STEPS * STEP)
    series = {name: np.full(STEPS, np.nan) for name in SERIES}
    fresh = start
    if old is not None and 0 <= start - old.start < STEPS * STEP:
        gone = round((start - old.start) / STEP)
        for name, values in series.items():
            values[: STEPS - gone] = old.series[name][gone:]
        fresh = max(start, float(end - gone * STEP - np.ceil(LATE / STEP) * STEP))
    lead = fresh - MEAN_STEPS * STEP  # the means of the first fresh step reach back
    computed = _compute(_Grid(store, lead, float(end), real), site, in_part)
    first = round((fresh - start) / STEP)
    for name, values in computed.items():
        series[name][first:] = values[MEAN_STEPS:]
    series["gpus_idle"][first:] = _by_step(idle, fresh, STEPS - first)
    return History(now, start, series)


def to_json(history: History) -> dict[str, Any]:
    """Return the history as the browser gets it; null where unknown."""
    series = {name: [_plain(value) for value in values.tolist()] for name, values in history.series.items()}
    return {"time": round(history.time, 3), "start": history.start, "step": int(STEP), "series": series}


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


def _compute(grid: "_Grid", site: Site, in_part: Collection[str]) -> dict[str, Floats]:
    """Return the series that the store knows, one value per step of the grid."""
    tokens = _mean(_tokens(grid, site))
    it, facility = _power(grid, site, in_part)
    it, facility = _mean(it), _mean(facility)
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


@dataclass(frozen=True, slots=True)
class _Grid:
    """The steps of [start, end), and how to ask the store for them."""

    store: Store
    start: float
    end: float
    real: bool

    @property
    def steps(self) -> int:
        return round((self.end - self.start) / STEP)

    def ask(self, measurement: str, fields: Sequence[str], **question: Any) -> pd.DataFrame:
        """Return windows of one step with the column `step`."""
        start, end = (datetime.fromtimestamp(time, UTC) for time in (self.start, self.end))
        frame = self.store.range(measurement, fields, start, end, every=timedelta(seconds=STEP), **question)
        if self.real:
            frame = frame[frame["synthetic"] != "true"]
        times = frame["time"].dt.as_unit("ns").astype("int64").to_numpy() / 1e9
        return frame.assign(step=np.rint((times - self.start) / STEP).astype(np.int64))

    def matrix(self, frame: pd.DataFrame, rows: npt.NDArray[np.int64], field: str, count: int) -> Floats:
        """Return rows x steps of one field; NaN where unknown."""
        values = np.full((count, self.steps), np.nan)
        values[rows, frame["step"].to_numpy()] = frame[field].to_numpy(dtype=np.float64)
        return values


def _series(frame: pd.DataFrame, *tags: str) -> tuple[npt.NDArray[np.int64], pd.DataFrame]:
    """Return the series number of each row, and one row of tags per series."""
    if not len(frame):
        return np.empty(0, dtype=np.int64), frame[list(tags)]
    numbers = np.asarray(frame.groupby(list(tags), sort=False).ngroup(), dtype=np.int64)
    return numbers, frame[list(tags)].drop_duplicates().reset_index(drop=True)


def _tokens(grid: _Grid, site: Site) -> Floats:
    """Return output tokens per second; NaN where not nearly every engine reports."""
    names = ["live_output_tokens_total", "output_tokens_total"]
    frame = grid.ask("inference", names, aggregate="rate")
    numbers, tags = _series(frame, *INFERENCE.identity)
    live, done = (grid.matrix(frame, numbers, name, len(tags)) for name in names)
    rates = _hold(np.where(np.isfinite(live).any(axis=1, keepdims=True), live, done))
    counts = best_per_step(ranked(tags["model"].tolist(), tags["level"].tolist()), np.isfinite(rates))
    rates = np.where(counts, rates, np.nan)
    codes, known = pd.factorize(tags["endpoint"].to_numpy(dtype=object))
    reporting = np.zeros((len(known), grid.steps), dtype=bool)
    np.logical_or.at(reporting, codes, counts)
    expected = max(len(site.engines), 1)
    told = reporting.sum(axis=0) >= OK_COVERAGE * expected
    return np.where(told, np.nansum(rates, axis=0), np.nan)


def _power(grid: _Grid, site: Site, in_part: Collection[str]) -> tuple[Floats, Floats]:
    """Return IT and facility power; NaN where not nearly every source reports. Units: W."""
    frame = grid.ask("power", ["active_watts", "state"], aggregate="mean", where={"circuit": "total", "side": "input"})
    numbers, tags = _series(frame, "device", "kind", "rack", "host", "scope", "feed", "phase")
    told, state = (grid.matrix(frame, numbers, name, len(tags)) for name in ("active_watts", "state"))
    watts, heard = _hold(told), _heard(grid, site, in_part, tags, told, state)
    places = power_places(site, {name: tags[name].to_numpy(dtype=object) for name in tags.columns}, ())
    rack, source, meter = places.rack, places.source, places.meter
    it = np.full(grid.steps, np.nan)
    of_rack = (rack >= 0) & (source >= 0)
    for step in range(grid.steps if of_rack.any() else 0):
        known = of_rack & np.isfinite(watts[:, step])
        racks = one_source(rack[known], source[known], watts[known, step], heard[known, step], places.expected, 1.0)
        if racks.coverage.sum() >= OK_COVERAGE * len(site.racks):
            it[step] = racks.joules.sum()
    it = np.where(np.isnan(it), _metered(watts, meter == "it", site, "it"), it)
    return it, _metered(watts, meter == "facility", site, "facility")


def _heard(
    grid: _Grid, site: Site, in_part: Collection[str], tags: pd.DataFrame, totals: Floats, states: Floats
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
    numbers, parts = _series(frame, "device", "circuit")
    watts = grid.matrix(frame, numbers, "active_watts", len(parts))
    for row in rows:
        device = tags["device"].iloc[row]
        own = watts[(parts["device"] == device).to_numpy()]
        known = site.shelves.get(device)
        expected = max((known.supplies if known else None) or 0, len(own))
        heard[row] = _hold(_share_told(own, expected, totals[row], states[row])[None])[0]
    return np.where(np.isnan(heard), 1.0, heard)


def _share_told(parts: Floats, expected: int, total: Floats, state: Floats) -> Floats:
    """Return the share of a shelf's supplies that its total speaks of, per step; NaN where none of them tells."""
    count = np.isfinite(parts).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = total > hvdc.whole_above(np.nansum(parts, axis=0), count.astype(float), expected)
    share = np.where((count >= expected) | whole | (state == OFF), 1.0, count / max(expected, 1))
    return np.where((count > 0) & np.isfinite(total), share, np.nan)


def _metered(watts: Floats, chosen: npt.NDArray[np.bool_], site: Site, scope: str) -> Floats:
    """Return the sum of the meters of one scope; NaN in steps where one is missing. Units: W."""
    expected = max(sum(of == scope for of in site.meters.values()), 1)
    own = watts[chosen]
    told = np.isfinite(own).sum(axis=0) >= expected
    return np.where(told, np.nansum(own, axis=0), np.nan)


def _coolant(grid: _Grid) -> tuple[Floats, Floats]:
    """Return the warmest supply and the mixed return of the CDUs' technology loops. Units: degC."""
    fields = ["temperature_celsius", "flow_liters_per_second"]
    frame = grid.ask("coolant", fields, aggregate="mean", where={"kind": "cdu", "loop": "tcs", "pump": ("", "-")})
    numbers, tags = _series(frame, "device", "point")
    temperature, flow = (_hold(grid.matrix(frame, numbers, name, len(tags))) for name in fields)
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


def _hold(values: Floats) -> Floats:
    """Return rows in which a value stands for up to HOLD_STEPS steps after it."""
    held: Floats = pd.DataFrame(values.T).ffill(limit=HOLD_STEPS).to_numpy(dtype=np.float64).T
    return held


def _mean(values: Floats) -> Floats:
    """Return the mean over the last MEAN_STEPS steps, of those that are known."""
    means: Floats = pd.Series(values).rolling(MEAN_STEPS, min_periods=1).mean().to_numpy(dtype=np.float64)
    return np.where(np.isnan(values), np.nan, means)
