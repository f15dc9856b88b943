"""Read the store for power and coolant: the newest value of each field, with its own age. Nothing is worked out here.

A look asks only for the time since the last one and ten seconds more, for what comes late; what was told before is held
with the time at which it was told, so that a value that is no longer told grows old by itself, however often others of
its row are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from dashboard.facility import GAUGE_AGE, stamps
from dashboard.kpis.windows import Bools, Floats, Ints
from dashboard.plant import checks
from dashboard.plant.checks import Check
from dashboard.recent import AHEAD, Names, accepted, identity
from storage.store import ALL, Store, Tags

#: a reading is stale after three of its periods, and not before this. Units: s
STALE_PERIODS, LEAST_STALE = 3.0, 10.0
#: before its period is known. Units: s
FIRST_STALE = GAUGE_AGE.total_seconds()
#: points come this long after their stamp: time-out of a poll, batch of the writer. Units: s
_LATE = 10.0
#: the first look goes back so far for each sample. Units: s
_FIRST = 20.0
#: between two looks at what is slow or absent. Units: s
SLOW_SECONDS = 10.0
#: a part that told of itself is missed for so long, then forgotten. Units: s
FORGET_SECONDS = 3600.0
_FORGET_EVERY = 300.0


@dataclass(frozen=True, slots=True)
class Table:
    """What to read of one measurement."""

    measurement: str
    tags: tuple[str, ...]
    fields: tuple[str, ...]
    where: Tags = field(default_factory=lambda: ALL)
    #: least time between two looks. Units: s
    every: float = 0.0


POWER = Table(
    "power",
    ("rack", "device", "kind", "circuit", "side", "phase", "feed"),
    (
        "active_watts",
        "voltage_volts",
        "current_amperes",
        "load_ratio",
        "rated_watts",
        "rated_amperes",
        "efficiency_ratio",
        "state",
    ),
    {"kind": ("", "power_shelf", "psu", "rectifier", "rack_pdu", "meter", "rack")},
)
BUS = Table(
    "bus",
    ("rack", "device", "pole"),
    (
        "voltage_volts",
        "voltage_min_volts",
        "voltage_max_volts",
        "ripple_volts",
        "current_amperes",
        "power_watts",
        "insulation_ohms",
        "imbalance_ratio",
        "set_point_volts",
        "ground_fault",
    ),
)
BATTERY = Table(
    "battery",
    ("rack", "device", "unit"),
    (
        "charge_ratio",
        "health_ratio",
        "voltage_volts",
        "current_amperes",
        "energy_joules",
        "runtime_seconds",
        "temperature_celsius",
        "state",
    ),
)
COOLANT = Table(
    "coolant",
    ("rack", "device", "kind", "loop", "point", "pump"),
    (
        "temperature_celsius",
        "flow_liters_per_second",
        "pressure_pascals",
        "differential_pressure_pascals",
        "heat_watts",
        "heat_reported_watts",
        "approach_celsius",
        "dew_margin_celsius",
        "valve_ratio",
        "pump_speed_ratio",
        "pump_speed_rpm",
        "pump_state",
        "level_ratio",
        "ph",
        "conductivity_siemens_per_meter",
        "turbidity_ntu",
    ),
    # leaks, flows and temperatures reach the snapshot by themselves, at each tick
    every=4.0,
)
LEAK = Table("leak", ("rack", "device", "detector", "level"), ("state",), every=4.0)
AIR = Table(
    "environment",
    ("device", "point"),
    ("temperature_celsius", "humidity_ratio", "dew_point_celsius"),
    every=SLOW_SECONDS,
)
TABLES = (POWER, BUS, BATTERY, COOLANT, LEAK, AIR)


@dataclass(frozen=True, slots=True)
class Held:
    """The newest value of each field of each series. `times`, `periods`, `values`: series x fields."""

    table: Table
    keys: pd.Index
    tags: Mapping[str, Names]
    #: epoch s, -inf where it was never told
    times: Floats
    #: usual step between two tellings, NaN before the second. Units: s
    periods: Floats
    values: Floats
    #: when it was last read. Units: epoch s
    read: float = -np.inf

    def limits(self) -> Floats:
        """Return the age at which each value is stale. Units: s."""
        known = np.where(np.isnan(self.periods), FIRST_STALE, STALE_PERIODS * self.periods)
        return np.maximum(known, LEAST_STALE)

    def known(self, now: float) -> Floats:
        """Return the values, NaN where one is stale or was never told; series x fields."""
        values: Floats = np.where(now - self.times <= self.limits(), self.values, np.nan)
        return values

    def fresh(self, now: float) -> Mapping[str, list[float]]:
        """Return field -> its value per series, NaN where it is stale or was never told."""
        return dict(zip(self.table.fields, self.known(now).T.tolist(), strict=True))

    def newest(self) -> Floats:
        """Return the time of each series' newest value. Units: epoch s."""
        newest: Floats = self.times.max(axis=1, initial=-np.inf)
        return newest

    def stale(self, now: float) -> Bools:
        """Return which series tell nothing any more: their newest value is older than its limit."""
        told: Bools = np.any(now - self.times <= self.limits(), axis=1)
        return np.logical_not(told)

    def rows(self, chosen: Ints | None = None) -> Iterator[tuple[str, ...]]:
        """Yield the tags of each series, or of these, in the order of the table's."""
        at = slice(None) if chosen is None else chosen
        return zip(*(self.tags[name][at].tolist() for name in self.table.tags), strict=True)


@dataclass(frozen=True, slots=True)
class Device:
    """How the last poll of a device ended."""

    up: bool
    state: int
    error: str
    rack: str
    #: of the poll, epoch s
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store told of power and coolant."""

    time: float
    held: Mapping[str, Held]
    checks: tuple[Check, ...]
    #: how the last poll of each device ended
    devices: Mapping[str, Device]
    #: when checks and devices were read. Units: epoch s
    slow_time: float
    forgot: float
    real: bool

    def __getitem__(self, table: Table) -> Held:
        return self.held[table.measurement]

    @property
    def data_time(self) -> float | None:
        """Return the time of the newest value. Units: epoch s; None without any."""
        newest = max((float(held.times.max(initial=-np.inf)) for held in self.held.values()), default=-np.inf)
        return newest if np.isfinite(newest) else None


def look(store: Store, old: Seen | None, now: float, *, real: bool, refused: Sequence[str] = ()) -> Seen:
    """Return what the store tells at `now` (epoch s), grown from the last look.

    `real`: leave simulated data out; `refused`: collectors that are not believed.

    Raises:
        StoreError: the store does not answer; `old` stays good for the next try.
    """
    if old is not None and real and not old.real:
        old = None
    held = {t.measurement: _grow(store, t, old, now, real=real, refused=refused) for t in TABLES}
    forget = old is not None and now - old.forgot >= _FORGET_EVERY
    held = {name: _without_old(one, now) for name, one in held.items()} if forget else held
    forgot = now if forget or old is None else old.forgot
    if old is not None and now - old.slow_time < SLOW_SECONDS / 2:
        return Seen(now, held, old.checks, old.devices, old.slow_time, forgot, real)
    before, looked = (old.checks, old.slow_time) if old else ((), None)
    failing = checks.look(store, before, looked, now, real=real, refused=refused)
    return Seen(now, held, failing, _devices(store, real=real, refused=refused), now, forgot, real)


def _grow(store: Store, table: Table, old: Seen | None, now: float, *, real: bool, refused: Sequence[str]) -> Held:
    before = old[table] if old else _nothing(table)
    if now - before.read < (table.every if len(before.keys) else SLOW_SECONDS):
        return before
    first = not np.isfinite(before.read)
    start, end = now - _FIRST if first else max(before.read - _LATE, now - FIRST_STALE), now + AHEAD.total_seconds()
    begin, until = (datetime.fromtimestamp(time, UTC) for time in (start, end))
    frame = store.range(table.measurement, table.fields, begin, until, every=None, aggregate="last", where=table.where)
    grown = merge(before, accepted(frame, real=real, refused=refused))
    if first:  # and what is told less often
        told = store.latest(table.measurement, table.fields, GAUGE_AGE, table.where)
        grown = merge(grown, accepted(told, real=real, refused=refused))
    return replace(grown, read=now)


def _nothing(table: Table) -> Held:
    none = np.empty((0, len(table.fields)))
    tags = {tag: np.empty(0, dtype=object) for tag in table.tags}
    return Held(table, pd.Index([], dtype=object), tags, none, none, none)


def merge(old: Held, frame: pd.DataFrame) -> Held:
    """Return what was held with what a frame tells; of two collectors the later stamp wins, field by field."""
    if not len(frame):
        return old
    times = np.array(stamps(frame))
    order = np.argsort(times, kind="stable")
    times = times[order]
    codes, found = pd.factorize(identity(frame, old.table.tags)[order])
    names = pd.Index(found, dtype=object)
    unknown = names[old.keys.get_indexer(names) < 0]
    keys = old.keys.append(unknown) if len(unknown) else old.keys
    at = keys.get_indexer(names).astype(np.int64)[codes]
    count = len(keys)
    stamped, steps, values = (
        _longer(part, count, fill) for part, fill in ((old.times, -np.inf), (old.periods, np.nan), (old.values, np.nan))
    )
    given = frame[list(old.table.fields)].to_numpy(dtype=np.float64)[order]
    later = np.flatnonzero(np.any(~np.isnan(given) & (times[:, None] > stamped[at]), axis=1))
    turns = pd.Series(codes[later]).groupby(codes[later]).cumcount().to_numpy()
    for turn in range(int(turns.max(initial=-1)) + 1):
        rows = later[turns == turn]
        _put(stamped, steps, values, at[rows], times[rows], given[rows])
    tags = old.tags if count == len(old.keys) else _tags(old, frame.iloc[order], at, count)
    return replace(old, keys=keys, tags=tags, times=stamped, periods=steps, values=values)


def _longer(part: Floats, count: int, fill: float) -> Floats:
    grown = np.full((count, part.shape[1]), fill)
    grown[: len(part)] = part
    return grown


def _put(times: Floats, periods: Floats, values: Floats, at: Ints, told: Floats, given: Floats) -> None:
    stamps_of = np.broadcast_to(told[:, None], given.shape)
    known = ~np.isnan(given) & (stamps_of > times[at])
    step = np.where(known & np.isfinite(times[at]), stamps_of - times[at], np.nan)
    periods[at] = _period(periods[at], step)
    times[at] = np.where(known, stamps_of, times[at])
    values[at] = np.where(known, given, values[at])


#: a longer step lengthens the period by so much at most: of a gap it must not learn
_SLOWER = 1.25


def _period(period: Floats, step: Floats) -> Floats:
    """Return the periods after these steps (s, NaN for none): half of the way to a shorter one, slowly to a longer.

    What tells something between two polls, as leak detectors do, is not polled that often; and a device may be asked
    less often than it was.
    """
    known = np.where(step < period, (step + period) / 2.0, np.fmin(step, _SLOWER * period))
    met: Floats = np.where(np.isnan(step), period, np.where(np.isnan(period), step, known))
    return met


def _tags(old: Held, frame: pd.DataFrame, at: Ints, count: int) -> Mapping[str, Names]:
    tags: dict[str, Names] = {}
    for tag in old.table.tags:
        names = np.full(count, "", dtype=object)
        names[: len(old.keys)] = old.tags[tag]
        names[at] = frame[tag].to_numpy(dtype=object)
        tags[tag] = names
    return tags


def _without_old(held: Held, now: float) -> Held:
    kept = now - held.newest() <= FORGET_SECONDS
    if kept.all():
        return held
    tags = {name: names[kept] for name, names in held.tags.items()}
    return replace(
        held,
        keys=held.keys[kept],
        tags=tags,
        times=held.times[kept],
        periods=held.periods[kept],
        values=held.values[kept],
    )


def _devices(store: Store, *, real: bool, refused: Sequence[str]) -> Mapping[str, Device]:
    """Return how the last poll of each device ended."""

    def newest(*fields: str) -> Iterator[tuple[Any, ...]]:
        frame = accepted(store.latest("device", fields, GAUGE_AGE), real=real, refused=refused)
        frame = frame.assign(device=frame["device"].where(frame["device"] != "", frame["host"]))
        columns = (frame[name].to_numpy(dtype=object).tolist() for name in ("device", "rack", *fields))
        return zip(*columns, stamps(frame), strict=True)

    errors = {(name, time): error for name, _, error, time in newest("error")}
    return {
        # An error stands only as long as the newest poll tells of one.
        name: Device(up == 1, int(state) if state == state else 0, errors.get((name, time), ""), rack, time)
        for name, rack, up, state, time in newest("up", "state")
    }
