"""Read the store for one tick: only what is new, only the fields that are needed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from dashboard import facility, recent
from dashboard.alarms.findings import Bit, Storm, Supply
from dashboard.recent import Recent
from dashboard.settings import DashboardSettings
from dashboard.tables import GPU, HEAT, INFERENCE, POWER
from storage.store import Store

#: time between two looks at what moves slowly or is large: power supplies, pause frames
SLOW_SECONDS = 10.0
#: span over which pause frames are counted; the last whole one, for windows are aligned to the epoch
STORM_SPAN = timedelta(seconds=30)
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
    storms: tuple[Storm, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What the store told at one tick."""

    gpu: Recent
    inference: Recent
    power: Recent
    heat: Recent
    coolant: facility.Coolant
    leaks: tuple[facility.Leak, ...]
    buses: tuple[tuple[str, float], ...]
    devices: tuple[facility.DeviceNow, ...]
    slow: Slow
    #: epoch seconds
    time: float
    #: devices of the real world report: simulated data is left out
    real: bool = field(default=False)

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
    window = settings.window.total_seconds()

    def grow(query: recent.Query, before: Recent | None) -> Recent:
        return recent.refresh(store, query, before or recent.empty(query), now, window, real=real)

    def latest(measurement: str, fields: Sequence[str], within: timedelta, where: Mapping[str, str]) -> pd.DataFrame:
        frame = store.latest(measurement, fields, within, where)
        return frame[frame["synthetic"] != "true"] if real else frame

    before = (old.gpu, old.inference, old.power, old.heat) if old else (None,) * 4
    gpu, inference, power, heat = map(grow, (GPU, INFERENCE, POWER, HEAT), before)
    age = facility.GAUGE_AGE
    device_rows = latest("device", facility.DEVICE_FIELDS, age, {})
    return Observation(
        gpu=gpu,
        inference=inference,
        power=power,
        heat=heat,
        coolant=facility.read_coolant(latest("coolant", facility.COOLANT_FIELDS, age, {})),
        leaks=facility.leaks(latest("leak", ["state"], age, {})),
        buses=facility.buses(latest("bus", ["voltage_volts"], age, {})),
        devices=facility.devices(device_rows, old.devices if old else (), now - old.time if old else 0.0, now),
        slow=old.slow if old and now - old.slow.time < SLOW_SECONDS else look_slowly(store, now, real=real),
        time=now,
        real=real or gpu.real or inference.real or power.real,
    )


def look_slowly(store: Store, now: float, *, real: bool) -> Slow:
    """Return failed power supplies, raised alarm bits and paused ports.

    Raises:
        StoreError: the store does not answer.
    """
    end = datetime.fromtimestamp(now // STORM_SPAN.total_seconds() * STORM_SPAN.total_seconds(), UTC)
    frames = [
        store.latest("power", ["state"], facility.GAUGE_AGE),
        store.latest("alarm_bits", ["active"], facility.GAUGE_AGE),
        store.range("pfc", ["rx_frames_total"], end - STORM_SPAN, end, every=STORM_SPAN, aggregate="rate"),
    ]
    states, bits, frames_rates = (frame[frame["synthetic"] != "true"] if real else frame for frame in frames)
    raised = _rows(bits[bits["active"] == 1], "device", "rack", "bit")
    failed = _rows(states[states["state"] >= SUPPLY_FAILED], "device", "rack", "circuit", "phase", "feed")
    supplies = [Supply(device, rack, supply[0]) for device, rack, bit in raised if (supply := _SUPPLY.match(bit))]
    supplies += [Supply(device, rack, phase or feed or circuit) for device, rack, circuit, phase, feed in failed]
    bits_left = tuple(Bit(device, rack, bit) for device, rack, bit in raised if not _SUPPLY.match(bit))
    storms = _rows(frames_rates, "device", "interface", "rack", "rx_frames_total")
    return Slow(
        time=now,
        supplies=tuple(dict.fromkeys(supplies)),
        bits=bits_left,
        storms=tuple(Storm(device, port, rack, float(rate)) for device, port, rack, rate in storms if rate > 0),
    )


def _rows(frame: pd.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(frame[name].to_numpy(dtype=object).tolist() for name in names), strict=True))
