"""The fabric's view as the browser gets it: plain values, base units, null where unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dashboard.fabric.ports import ADMIN_DOWN, DOWN, OK, STATES
from dashboard.fabric.switches import SwitchNow
from dashboard.fabric.view import View, abnormal
from dashboard.kpis.fabric import PAUSE_SOURCES, WATTS_NOTE
from dashboard.kpis.windows import Floats, Ints

SCHEMA = 1
WORST = 500


@dataclass(frozen=True, slots=True)
class Metric:
    """What the heat map can show. `bad` under `warn`: low values are bad; `log`: its scale is logarithmic."""

    name: str
    title: str
    unit: str
    warn: float
    bad: float
    low: float
    high: float
    log: bool
    help: str


METRICS = (
    Metric("utilization", "Utilisation", "ratio", 0.9, 0.98, 0.0, 1.0, False, "8 x bytes/s / speed, busier direction"),
    Metric("error_ppm", "Errors", "ppm", 1.0, 10.0, 0.01, 1e4, True, "1e6 x broken packets / packets, worse direction"),
    Metric("discard_ppm", "Discards", "ppm", 10.0, 100.0, 0.01, 1e5, True, "1e6 x dropped packets / packets"),
    Metric("pause_ratio", "PFC pause", "ratio", 0.1, 0.5, 0.0, 1.0, False, "seconds paused / s, worst priority"),
    Metric("ecn_ratio", "ECN marks", "ratio", 0.01, 0.1, 0.0, 0.2, False, "marked / sent packets, over all queues"),
    Metric(
        "pre_fec_ber", "Pre-FEC BER", "", 1e-6, 1e-5, 1e-12, 1e-3, True, "corrected bits/s / (lanes x signalling rate)"
    ),
    Metric(
        "uncorrected_per_hour", "FEC uncorrectable", "per_hour", 1.0, 12.0, 0.0, 60.0, False, "codewords beyond repair"
    ),
    Metric("flaps_per_hour", "Flaps", "per_hour", 1.0, 12.0, 0.0, 24.0, False, "times the link went down, last hour"),
    Metric(
        "optics_margin_db", "Optics margin", "dB", 2.0, 1.0, 0.0, 10.0, False,
        "10 x log10(power received / the module's low alarm limit), darkest lane",
    ),
)  # fmt: skip
METRIC_NAMES = tuple(metric.name for metric in METRICS)


def plain(value: float | None, digits: int = 6) -> float | None:
    """Return a number for JSON: null where unknown."""
    return None if value is None or value != value or abs(value) == np.inf else float(f"{value:.{digits}g}")


def column(values: Floats, digits: int = 6) -> list[float | None]:
    """Return a column for JSON."""
    return [None if value != value else float(f"{value:.{digits}g}") for value in values.tolist()]


def to_json(view: View, metric: str) -> dict[str, Any]:
    """Return the view with one metric on its ports."""
    return {
        "schema": SCHEMA,
        "time": round(view.time, 3),
        "data_time": None if view.data_time is None else round(view.data_time, 3),
        "synthetic": view.synthetic,
        "metrics": [asdict(each) for each in METRICS],
        "metric": metric,
        "summary": _summary(view),
        "switches": _switches(view, metric),
        "worst": [port_json(view, port) for port in worst_ports(view)],
    }


def _summary(view: View) -> dict[str, Any]:
    ports, switches = view.ports, view.now.switches
    states = np.bincount(ports.state[ports.physical], minlength=len(STATES))
    watts = [switch.watts for switch in switches if switch.watts is not None]
    sides = {switch.watts_side for switch in switches if switch.watts is not None}
    return {
        "switches": len(switches),
        "switches_ok": sum(switch.state == "ok" for switch in switches),
        "ports": int(states.sum()),
        "up": int(states[OK]),
        "down": int(states[DOWN]),
        "admin_down": int(states[ADMIN_DOWN]),
        "unknown": int(states.sum() - states[OK] - states[DOWN] - states[ADMIN_DOWN]),
        "watts": plain(sum(watts)) if watts else None,
        "watts_note": "; ".join(WATTS_NOTE[side] for side in sorted(sides)),
        "hints": list(view.hints),
    }


def _switches(view: View, metric: str) -> list[dict[str, Any]]:
    cells = _cells(view, metric)
    ages = _counter_ages(view)
    return [_switch(switch, view, cells.get(switch.name, []), ages.get(switch.name)) for switch in view.fleet.switches]


def _cells(view: View, metric: str) -> dict[str, list[list[Any]]]:
    """Return switch -> its ports as [name, alias, value, state]."""
    ports, of = view.ports, view.roster
    shown = np.flatnonzero(ports.physical)
    found: dict[str, list[list[Any]]] = {}
    columns = (
        of.device[shown],
        of.interface[shown],
        ports.alias[shown],
        column(ports.values[metric][shown], 4),
        ports.state[shown].tolist(),
    )
    for device, interface, alias, value, state in zip(*columns, strict=True):
        found.setdefault(device, []).append([interface, alias, value, STATES[state]])
    return found


def _counter_ages(view: View) -> dict[str, float]:
    """Return switch -> since when its ports' counters stand, by their stamps: the median. Units: s."""
    ages = view.ports.values["counter_age"]
    known = ~np.isnan(ages) & view.ports.physical
    found: dict[str, list[float]] = {}
    for device, age in zip(view.roster.device[known], ages[known].tolist(), strict=True):
        found.setdefault(device, []).append(age)
    return {device: float(np.median(told)) for device, told in found.items()}


def _switch(switch: SwitchNow, view: View, cells: Sequence[Any], counter_age: float | None) -> dict[str, Any]:
    told = {name: plain(value) if isinstance(value, float) else value for name, value in asdict(switch).items()}
    del told["watts_side"]
    return {
        **told,
        "counter_age": plain(counter_age),
        "hosts": list(view.hosts.get(switch.name, ())),
        "ports": cells,
    }


def worst_ports(view: View) -> list[int]:
    """Return every abnormal port, worst first, then the busiest; at most 500."""
    bad = abnormal(view.judged) & ~view.ports.gone
    busy = np.nan_to_num(view.ports.values["utilization"])
    priority: Ints = np.where(bad, view.judged.priority, 9)
    rest = ~bad & ~view.ports.gone & ~np.isnan(view.ports.values["utilization"])
    order = np.lexsort((-busy, priority))
    chosen: list[int] = order[(bad | rest)[order]][:WORST].tolist()
    return chosen


def port_json(view: View, port: int) -> dict[str, Any]:
    """Return one port's row."""
    ports, far, of = view.ports, view.ends, view.roster
    values: Mapping[str, Floats] = ports.values
    source = int(ports.pause_source[port])
    paused = values["pause_ratio"][port]
    priority = int(view.judged.priority[port])

    def tell(name: str) -> float | None:
        return plain(values[name][port])

    return {
        "switch": of.device[port],
        "interface": of.interface[port],
        "alias": ports.alias[port],
        "rack": ports.rack[port],
        "neighbor": far.host[port] or far.neighbor[port],
        "neighbor_interface": far.neighbor_interface[port],
        "gpus": int(far.gpus[port]),
        "priority": priority if 0 < priority <= 3 else None,
        "reason": view.judged.reasons.get(port, ""),
        "state": STATES[ports.state[port]],
        "speed_bits_per_second": tell("speed"),
        "rx_bits_per_second": tell("rx_bits"),
        "tx_bits_per_second": tell("tx_bits"),
        **{name: tell(name) for name in METRIC_NAMES},
        "pause_source": PAUSE_SOURCES[source] if source >= 0 and paused == paused else "",
        "rx_power_dbm": tell("rx_power_dbm"),
        "age": tell("age"),
    }
