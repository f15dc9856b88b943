"""Buses: 48 V bar, 800 V, or two poles of 400 V around an earthed midpoint."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dashboard.facility_settings import Gear
from dashboard.kpis import hvdc
from dashboard.plant.read import BUS, Seen

Rows = Mapping[str, float]
#: voltage of a bus, pole to pole -> how people call it
_CLASSES = ((35.0, 65.0, "48 V"), (200.0, 450.0, "400 V"), (600.0, 1000.0, "800 V"))


@dataclass(frozen=True, slots=True)
class BusNow:
    """The bus that a shelf holds. Volts are pole to pole, of poles to the midpoint."""

    kind: str
    volts: float | None
    set_point_volts: float | None
    #: where the set point comes from: told, set, usual; "" where there is none
    set_point_source: str
    deviation_ratio: float | None
    positive_volts: float | None
    negative_volts: float | None
    imbalance_ratio: float | None
    min_volts: float | None
    max_volts: float | None
    ripple_volts: float | None
    amperes: float | None
    insulation_ohms: float | None
    ohms_per_volt: float | None
    ground_fault: bool | None
    age: float


def read_buses(
    seen: Seen, gear: Gear, usual: Mapping[str, tuple[float, float]], now: float
) -> tuple[dict[str, BusNow], dict[str, str]]:
    """Return shelf -> its bus, and shelf -> rack as it is told."""
    held = seen[BUS]
    fresh, newest = held.fresh(now), held.newest().tolist()
    poles: dict[str, dict[str, Rows]] = defaultdict(dict)
    times: dict[str, float] = {}
    racks: dict[str, str] = {}
    for i, (rack, device, pole) in enumerate(held.rows()):
        row = {name: column[i] for name, column in fresh.items() if column[i] == column[i]}
        poles[device]["total" if pole in ("", "-") else pole] = row
        times[device] = max(newest[i], times.get(device, -np.inf))
        racks[device] = rack or racks.get(device, "")
    made = {d: _bus(d, own, gear, usual.get(d), max(0.0, now - times[d])) for d, own in poles.items()}
    return made, racks


def _bus(device: str, poles: Mapping[str, Rows], gear: Gear, usual: tuple[float, float] | None, age: float) -> BusNow:
    total, plus, minus = (poles.get(pole, {}) for pole in ("total", "positive", "negative"))
    up, down = plus.get("voltage_volts"), minus.get("voltage_volts")
    volts = total.get("voltage_volts")
    if volts is None and up is not None and down is not None:
        volts = abs(up) + abs(down)
    imbalance = total.get("imbalance_ratio")
    if imbalance is None and up is not None and down is not None:
        imbalance = hvdc.pole_imbalance(up, down)
    point, source = _set_point(device, total, gear, usual)
    insulation = min((row["insulation_ohms"] for row in poles.values() if "insulation_ohms" in row), default=None)
    faults = [row["ground_fault"] for row in poles.values() if "ground_fault" in row]
    return BusNow(
        kind=_kind(volts, bipolar=bool(minus.get("voltage_volts"))),
        volts=volts,
        set_point_volts=point,
        set_point_source=source,
        deviation_ratio=volts / point - 1 if volts is not None and point else None,
        positive_volts=up,
        negative_volts=down,
        imbalance_ratio=imbalance,
        min_volts=total.get("voltage_min_volts"),
        max_volts=total.get("voltage_max_volts"),
        ripple_volts=_most(poles, "ripple_volts"),
        amperes=_most(poles, "current_amperes"),
        insulation_ohms=insulation,
        ohms_per_volt=hvdc.ohms_per_volt(insulation, volts) if insulation is not None and volts else None,
        ground_fault=any(fault == 1 for fault in faults) if faults else None,
        age=age,
    )


#: the usual voltage stands in for a set point once it is known for so long. Units: s
USUAL_SECONDS = 120.0


def _set_point(device: str, total: Rows, gear: Gear, usual: tuple[float, float] | None) -> tuple[float | None, str]:
    """Return the voltage that the bus should have: the site's word, else the device's, else its own median."""
    if device in gear.bus_volts:
        return gear.bus_volts[device], "set"
    if total.get("set_point_volts"):
        return total["set_point_volts"], "told"
    if usual is not None and usual[1] >= USUAL_SECONDS:
        return usual[0], "usual"
    return None, ""


def _most(poles: Mapping[str, Rows], name: str) -> float | None:
    return max((row[name] for row in poles.values() if name in row), default=None)


def _kind(volts: float | None, *, bipolar: bool) -> str:
    if volts is None:
        return ""
    if bipolar and volts > 500:
        return "+/-400 V"
    return next((name for low, high, name in _CLASSES if low <= volts <= high), f"{volts:.0f} V")
