"""Read the store for one tick: only what is new, only the fields that are needed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from dashboard import facility, faults, recent
from dashboard.alarms.findings import Bit, Supply
from dashboard.exporters import Boards, choose
from dashboard.kpis.periods import LONGEST_SECONDS, live_window, quantile_seconds, update_period
from dashboard.recent import Recent
from dashboard.settings import DashboardSettings
from dashboard.tables import GPU, HEAT, INFERENCE, POWER
from dashboard.tokens import final_only, update_periods
from storage.store import Store

#: time between two looks at what moves slowly or is large: power supplies, alarm bits, events
SLOW_SECONDS = 10.0
#: `power.state`: 2 critical, 3 off
SUPPLY_FAILED = 2
#: an alarm bit of one power supply: psu-208-fan
_SUPPLY = re.compile(r"psu-?\d+")


@dataclass(frozen=True, slots=True)
class Slow:
    """What is looked at every ten seconds."""

    #: epoch seconds of the look
    time: float
    supplies: tuple[Supply, ...] = ()
    bits: tuple[Bit, ...] = ()
    events: tuple[faults.Event, ...] = ()
    #: GPU -> what its driver says of it
    verdicts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: 95th percentile of the length of requests whose tokens are counted at their end; 0 without. Units: s
    final_request_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What the store told at one tick."""

    boards: Boards
    inference: Recent
    power: Recent
    heat: Recent
    coolant: facility.Coolant
    leaks: tuple[facility.Leak, ...]
    buses: tuple[tuple[str, float], ...]
    devices: tuple[facility.DeviceNow, ...]
    slow: Slow
    #: collector -> seconds by which its clock is ahead of ours; data of the worst is refused
    clocks_ahead: Mapping[str, float]
    #: epoch seconds
    time: float
    #: length of the live window, seconds
    window: float
    #: devices of the real world report: simulated data is left out
    real: bool = field(default=False)

    @property
    def gpu(self) -> Recent:
        """Return the GPUs, each by its one source."""
        return self.boards.gpu

    @property
    def data_time(self) -> float | None:
        """Return the time of the newest sample. Units: epoch s; None without samples."""
        newest = [float(r.times.max()) for r in (self.gpu, self.inference, self.power) if len(r.times)]
        return max(newest, default=None)


def observe(store: Store, settings: DashboardSettings, old: Observation | None, now: float) -> Observation:
    """Return what the store tells at `now` (epoch s), grown from the last tick's observation.

    When the first real device reports beside simulated ones, all is read anew without the simulated ones.

    Raises:
        StoreError: the store does not answer.
    """
    found = _observe(store, settings, old, now, real=old.real if old else False)
    tables = (found.gpu, found.inference, found.power)
    if found.real and not (old and old.real) and any(table.synthetic for table in tables):
        return _observe(store, settings, None, now, real=True)
    return found


def _observe(
    store: Store, settings: DashboardSettings, old: Observation | None, now: float, *, real: bool
) -> Observation:
    least = settings.window.total_seconds()
    window = old.window if old else least

    age = facility.GAUGE_AGE
    polls = store.latest("device", facility.DEVICE_FIELDS, age)
    ahead = facility.clocks_ahead(polls, now)
    refused = [collector for collector, seconds in ahead.items() if seconds > facility.CLOCK_REFUSED_SECONDS]

    def grow(query: recent.Query, before: Recent | None) -> Recent:
        return recent.refresh(store, query, before or recent.empty(query), now, window, real=real, refused=refused)

    def latest(measurement: str, fields: Sequence[str]) -> pd.DataFrame:
        return recent.accepted(store.latest(measurement, fields, age), real=real, refused=refused)

    before = (old.boards.raw, old.inference, old.power, old.heat) if old else (None,) * 4
    gpu, inference, power, heat = map(grow, (GPU, INFERENCE, POWER, HEAT), before)
    boards = choose(gpu, old.boards if old else None, now)
    rested = old is not None and now - old.slow.time < SLOW_SECONDS
    slow = old.slow if old and rested else look_slowly(store, inference, settings, now, real=real)
    device_rows = recent.accepted(polls, real=real)
    return Observation(
        boards=boards,
        inference=inference,
        power=power,
        heat=heat,
        coolant=facility.read_coolant(latest("coolant", facility.COOLANT_FIELDS)),
        leaks=facility.leaks(latest("leak", ["state"])),
        buses=facility.buses(latest("bus", ["voltage_volts"])),
        devices=facility.devices(device_rows, old.devices if old else (), now - old.time if old else 0.0, now),
        slow=slow,
        clocks_ahead=ahead,
        time=now,
        window=live_window(least, slowest_update(inference, boards.gpu), slow.final_request_seconds),
        real=real or gpu.real or inference.real or power.real,
    )


def slowest_update(inference: Recent, gpu: Recent) -> float:
    """Return the longest update period among token counters and, but for a few odd ones, energy counters. Units: s."""
    tokens, energy = update_periods(inference), update_period(gpu.samples("energy_joules_total"))
    slowest = [np.nanmax(tokens)] if not np.isnan(tokens).all() else []
    slowest += [np.nanquantile(energy, 0.95)] if not np.isnan(energy).all() else []
    return float(max(slowest, default=0.0))


def final_request_seconds(store: Store, inference: Recent, now: float) -> float:
    """Return the 95th percentile of the length of requests, of servers that count tokens at their end. Units: s.

    Raises:
        StoreError: the store does not answer.
    """
    endpoints = np.unique(inference.tags["endpoint"][final_only(inference)].astype(str)).tolist()
    if not endpoints:
        return 0.0
    begin, end = (datetime.fromtimestamp(time, UTC) for time in (now - LONGEST_SECONDS, now))
    frame = store.range(
        "inference_latency", ["count_total"], begin, end, every=timedelta(seconds=LONGEST_SECONDS),
        aggregate="increase", by=("endpoint", "le"), where={"metric": "e2e", "endpoint": endpoints},
    )  # fmt: skip
    slowest = 0.0
    for _, own in frame.groupby("endpoint"):
        grown = own.groupby(own["le"].astype(float))["count_total"].sum().sort_index()
        slowest = max(slowest, quantile_seconds(grown.index.to_numpy(), grown.to_numpy(dtype=np.float64), 0.95))
    return slowest


def look_slowly(store: Store, inference: Recent, settings: DashboardSettings, now: float, *, real: bool) -> Slow:
    """Return failed power supplies, raised alarm bits, what boards report, how long requests take.

    Raises:
        StoreError: the store does not answer.
    """
    frames = [
        store.latest("power", ["state"], facility.GAUGE_AGE),
        store.latest("alarm_bits", ["active"], facility.GAUGE_AGE),
    ]
    states, bits = (recent.accepted(frame, real=real) for frame in frames)
    raised = _rows(bits[bits["active"] == 1], "device", "rack", "bit")
    failed = _rows(states[states["state"] >= SUPPLY_FAILED], "device", "rack", "circuit", "phase", "feed")
    supplies = [Supply(device, rack, supply[0]) for device, rack, bit in raised if (supply := _SUPPLY.match(bit))]
    supplies += [
        Supply(device, rack, circuit if _SUPPLY.match(circuit) else phase or feed or circuit)
        for device, rack, circuit, phase, feed in failed
    ]
    bits_left = tuple(Bit(device, rack, bit) for device, rack, bit in raised if not _SUPPLY.match(bit))
    return Slow(
        time=now,
        supplies=tuple(dict.fromkeys(supplies)),
        bits=bits_left,
        events=faults.read_events(store, now, settings.alarms.event_hold, real=real),
        verdicts=faults.read_verdicts(store, real=real),
        final_request_seconds=final_request_seconds(store, inference, now),
    )


def _rows(frame: pd.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(frame[name].to_numpy(dtype=object).tolist() for name in names), strict=True))
