"""What the facility's devices say now: racks, coolant distribution units, bus bars, leaks, silent devices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from dashboard.kpis.cooling import HEAT_SOURCES
from dashboard.site import Site, natural

#: a gauge older than this is not what is so now
GAUGE_AGE = timedelta(seconds=90)
COOLANT_FIELDS = (
    "temperature_celsius",
    "flow_liters_per_second",
    "differential_pressure_pascals",
    "heat_watts",
    "heat_reported_watts",
    "pump_speed_ratio",
)
DEVICE_FIELDS = ("up", "last_success_age_seconds", "state")
#: `device.state` of a server that no profile fits, and of one that its operator released
UNKNOWN_SERVER, MAINTENANCE = 5, 6
#: a collector's clock may be ahead of ours by so much before it is told, and before its data is refused (E15). Units: s
CLOCK_SECONDS, CLOCK_REFUSED_SECONDS = 2.0, 30.0
#: leak.state of a broken sensor, which is not worse than a leak
SENSOR_FAULT = 3
_LEAK_ORDER = (0, SENSOR_FAULT, 1, 2)


@dataclass(frozen=True, slots=True)
class RackNow:
    """A rack now; None where unknown. `leak`: 0 dry, 1 warning, 2 critical, 3 sensor fault."""

    name: str
    row: str
    watts: float | None
    rated_watts: float | None
    supply_celsius: float | None
    return_celsius: float | None
    flow_liters_per_second: float | None
    rated_flow_liters_per_second: float | None
    leak: int


@dataclass(frozen=True, slots=True)
class CduNow:
    """A coolant distribution unit now; None where unknown. `age`: of its newest reading, s."""

    name: str
    racks: tuple[str, ...]
    tcs_supply_celsius: float | None
    tcs_return_celsius: float | None
    fws_supply_celsius: float | None
    fws_return_celsius: float | None
    tcs_flow_liters_per_second: float | None
    heat_watts: float | None
    pumps: tuple[float, ...]
    differential_pressure_pascals: float | None
    rated_watts: float | None
    rated_flow_liters_per_second: float | None
    age: float | None


@dataclass(frozen=True, slots=True)
class Leak:
    """A leak detector that is not dry."""

    device: str
    rack: str
    level: str
    state: int


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """A polled device. `age`: seconds since a poll brought something."""

    name: str
    rack: str
    up: bool
    age: float
    #: `device.state`; 0 where it is not told
    state: int = 0
    host: str = ""


def _key(kind: str, device: str, loop: str, point: str) -> tuple[str, str, str, str]:
    return kind, device, loop, point if point != "" else "-"


@dataclass(frozen=True, slots=True)
class Coolant:
    """The coolant rows of one tick, by (kind, device, loop, point)."""

    rows: Mapping[tuple[str, str, str, str], Mapping[str, float]]
    pumps: Mapping[str, tuple[float, ...]]
    #: device -> time of its oldest temperature or flow reading, epoch s
    times: Mapping[str, float]

    def get(self, kind: str, device: str, loop: str, point: str, name: str) -> float | None:
        """Return one reading, None where there is none."""
        return self.rows.get(_key(kind, device, loop, point), {}).get(name)


def stamps(frame: pd.DataFrame) -> list[float]:
    """Return the column `time` of a frame. Units: epoch s."""
    times: list[float] = (frame["time"].dt.as_unit("ns").astype("int64").to_numpy() / 1e9).tolist()
    return times


def _columns(frame: pd.DataFrame, *names: str) -> list[list[Any]]:
    """Return columns as lists: a loop over them is ten times faster than one over the frame's own."""
    return [frame[name].to_numpy(dtype=object).tolist() for name in names]


def read_coolant(frame: pd.DataFrame) -> Coolant:
    """Return the coolant rows of a `latest` frame."""
    rows: dict[tuple[str, str, str, str], dict[str, float]] = {}
    pumps: dict[str, list[tuple[str, float]]] = {}
    times: dict[str, float] = {}
    columns = _columns(frame, "kind", "device", "loop", "point", "pump")
    values = frame[list(COOLANT_FIELDS)].astype("float64").to_numpy().tolist()
    for kind, device, loop, point, pump, time, row in zip(*columns, stamps(frame), values, strict=True):
        readings = dict(zip(COOLANT_FIELDS, row, strict=True))
        if pump not in ("", "-"):
            if readings["pump_speed_ratio"] == readings["pump_speed_ratio"]:
                pumps.setdefault(device, []).append((pump, readings["pump_speed_ratio"]))
            continue
        merged = rows.setdefault(_key(kind, device, loop, point), {})
        merged.update({name: value for name, value in readings.items() if value == value})
        times[device] = max(time, times.get(device, -np.inf))
    sorted_pumps = {d: tuple(v for _, v in sorted(p, key=lambda item: natural(item[0]))) for d, p in pumps.items()}
    return Coolant(rows, sorted_pumps, times)


def cdus(site: Site, coolant: Coolant, now: float) -> tuple[CduNow, ...]:
    """Return every CDU of the inventory, and every other that reports, in natural order."""
    known = {cdu.name: cdu for cdu in site.cdus}
    names = sorted(known.keys() | {device for kind, device, _, _ in coolant.rows if kind == "cdu"}, key=natural)
    return tuple(
        CduNow(
            name=name,
            racks=known[name].racks if name in known else (),
            tcs_supply_celsius=coolant.get("cdu", name, "tcs", "supply", "temperature_celsius"),
            tcs_return_celsius=coolant.get("cdu", name, "tcs", "return", "temperature_celsius"),
            fws_supply_celsius=coolant.get("cdu", name, "fws", "supply", "temperature_celsius"),
            fws_return_celsius=coolant.get("cdu", name, "fws", "return", "temperature_celsius"),
            tcs_flow_liters_per_second=coolant.get("cdu", name, "tcs", "-", "flow_liters_per_second"),
            heat_watts=_heat(coolant, name),
            pumps=coolant.pumps.get(name, ()),
            differential_pressure_pascals=coolant.get("cdu", name, "tcs", "-", "differential_pressure_pascals"),
            rated_watts=known[name].rated_watts if name in known else None,
            rated_flow_liters_per_second=known[name].rated_flow_liters_per_second if name in known else None,
            age=round(max(0.0, now - coolant.times[name]), 3) if name in coolant.times else None,
        )
        for name in names
    )


def _heat(coolant: Coolant, cdu: str) -> float | None:
    told = (coolant.get("cdu", cdu, loop, "-", name) for name, loop in HEAT_SOURCES)
    return next((heat for heat in told if heat is not None), None)


def leaks(frame: pd.DataFrame) -> tuple[Leak, ...]:
    """Return the detectors of a `latest` frame that are not dry."""
    wet = frame[frame["state"] > 0] if len(frame) else frame
    columns = _columns(wet, "device", "rack", "level", "state")
    return tuple(Leak(device, rack, level, int(state)) for device, rack, level, state in zip(*columns, strict=True))


def racks(site: Site, watts: Mapping[str, float], coolant: Coolant, wet: Sequence[Leak]) -> tuple[RackNow, ...]:
    """Return every rack of the inventory, in its order. `watts`: mean power of the racks that are metered."""
    worst: dict[str, int] = {}
    for leak in wet:
        worst[leak.rack] = max(worst.get(leak.rack, 0), leak.state, key=_LEAK_ORDER.index)
    return tuple(
        RackNow(
            name=rack.name,
            row=rack.row,
            watts=watts.get(rack.name),
            rated_watts=rack.rated_watts,
            supply_celsius=coolant.get("rack", rack.name, "tcs", "supply", "temperature_celsius"),
            return_celsius=coolant.get("rack", rack.name, "tcs", "return", "temperature_celsius"),
            flow_liters_per_second=coolant.get("rack", rack.name, "tcs", "-", "flow_liters_per_second"),
            rated_flow_liters_per_second=rack.rated_flow_liters_per_second,
            leak=worst.get(rack.name, 0),
        )
        for rack in site.racks
    )


def buses(frame: pd.DataFrame) -> tuple[tuple[str, float], ...]:
    """Return (rack, volts) of each rack's bus bar, the whole of it where poles are told apart; in natural order."""
    volts: dict[str, float] = {}
    columns = _columns(frame, "rack", "pole", "voltage_volts")
    for rack, pole, value in zip(*columns, strict=True):
        if rack and value == value and pole in ("total", "-", ""):
            volts[rack] = float(value)
    return tuple(sorted(volts.items(), key=lambda item: natural(item[0])))


def devices(frame: pd.DataFrame, before: Sequence[DeviceNow], elapsed: float, now: float) -> tuple[DeviceNow, ...]:
    """Return every polled device: those that report, and those that did and fell silent with their collector.

    `elapsed`: seconds since `before` was made.
    """
    told: dict[str, DeviceNow] = {}
    columns = _columns(frame, "device", "host", "rack", *DEVICE_FIELDS)
    for time, device, host, rack, up, age, state in zip(stamps(frame), *columns, strict=True):
        since = round(max(0.0, float(now - time if age != age else age + now - time)), 3)
        ended = int(state) if state == state else 0
        told[device or host] = DeviceNow(device or host, rack, bool(up == 1), since, ended, host)
    gone = (d for d in before if d.name not in told)
    silent = [replace(d, up=False, age=round(d.age + elapsed, 3)) for d in gone]
    return tuple(sorted([*told.values(), *silent], key=lambda d: d.name))


def clocks_ahead(frame: pd.DataFrame, now: float) -> dict[str, float]:
    """Return collector -> seconds by which the stamps of its polls are ahead of our clock, of more than 2 s (E15)."""
    ahead: dict[str, float] = {}
    for time, collector in zip(stamps(frame), *_columns(frame, "source"), strict=True):
        if time - now > CLOCK_SECONDS:
            ahead[collector] = max(round(time - now, 1), ahead.get(collector, 0.0))
    return ahead
