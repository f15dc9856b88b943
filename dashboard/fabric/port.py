"""One port in depth, made when somebody looks at it (contract: docs/contracts.md section 6)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from dashboard import idle
from dashboard.fabric.answer import plain, port_json
from dashboard.fabric.optics import column
from dashboard.fabric.view import View
from dashboard.facility import stamps
from dashboard.kpis import optics
from dashboard.kpis.fabric import PAUSE_SOURCES, ecn_ratio
from dashboard.kpis.windows import Bools, Floats, period, select
from dashboard.recent import accepted
from dashboard.site import natural
from dashboard.snapshot import Snapshot
from storage.store import Store

HOUR = timedelta(hours=1)
#: how far back, and how many things that happened are told
EVENTS, MOST_EVENTS = timedelta(hours=24), 50
#: shortest step of the series. Units: s
STEP = 30.0
_COUNTERS = ("rx_bytes_total", "tx_bytes_total", "rx_discards_total", "tx_discards_total", "fec_uncorrected_total")
_PAUSED = ("rx_pause_seconds_total", "rx_pause_estimated_seconds_total")


def port_detail(store: Store, view: View, snapshot: Snapshot | None, port: int, now: float) -> dict[str, Any]:
    """Return all that is known of the view's port of that number.

    Raises:
        StoreError: the store does not answer.
    """
    of = view.roster
    where = {"device": of.device[port], "interface": of.interface[port]}
    end = datetime.fromtimestamp(now, UTC)
    frames = [
        store.range(name, fields, end - HOUR, end, every=None, aggregate="last", where=where)
        for name, fields in (("interface", _COUNTERS), ("pfc", _PAUSED))
    ]
    real = view.seen.ports.real
    counters, pauses = (accepted(frame, real=real) for frame in frames)
    host = view.ends.host[port]
    return {
        "port": port_json(view, port),
        "lanes": _lanes(view, port),
        "module": _module(view, port),
        "priorities": _priorities(view, port),
        "queues": _queues(view, port),
        "fec": _fec(view, port, counters),
        "gpus": host_gpus(snapshot, host) if snapshot and host else [],
        "events": _events(store, where, end, real=real),
        "series": _series(counters, pauses, now),
    }


def _rows(view: View, port: int) -> pd.DataFrame:
    rows: pd.DataFrame = view.seen.optics.lanes[view.optics.port == port]
    return rows


def _lanes(view: View, port: int) -> list[dict[str, Any]]:
    at = np.flatnonzero(view.optics.port == port)
    frame = view.seen.optics.lanes
    sent, bias = optics.dbm(column(frame, "tx_power_watts")), column(frame, "bias_amperes")
    lanes = [
        {
            "lane": view.optics.lane[row],
            "rx_power_dbm": plain(view.optics.rx_dbm[row]),
            "tx_power_dbm": plain(sent[row]),
            "bias_amperes": plain(bias[row]),
            "margin_db": plain(view.optics.margin_db[row]),
            "dark": bool(view.optics.dark[row]),
        }
        for row in at.tolist()
        if view.optics.lane[row] not in ("", "-")
    ]
    return sorted(lanes, key=lambda lane: natural(lane["lane"]))


def _module(view: View, port: int) -> dict[str, Any]:
    rows, limits = _rows(view, port), view.seen.optics.limits
    whole = rows[rows["lane"].isin(["", "-"])] if len(rows) else rows
    own = limits[_same(limits, view, port)] if len(limits) else limits

    def number(name: str) -> float | None:
        told = whole[name].dropna().tolist() if len(whole) else []
        return plain(float(told[-1])) if told else None

    def text(name: str) -> str:
        told = own[name].dropna().tolist() if len(own) else []
        return str(told[-1]) if told else ""

    return {
        "model": text("model"),
        "serial": text("serial"),
        "temperature_celsius": number("temperature_celsius"),
        "voltage_volts": number("voltage_volts"),
    }


def _same(frame: pd.DataFrame, view: View, port: int) -> Bools:
    of = view.roster
    same: Bools = (frame["device"] == of.device[port]) & (frame["interface"] == of.interface[port])
    return same


def _priorities(view: View, port: int) -> list[dict[str, Any]]:
    now, parts = view.ports.pauses, view.pfc
    told = [
        {
            "priority": parts.name[part],
            "rx_frames_per_second": plain(now.rx_frames[part]),
            "tx_frames_per_second": plain(now.tx_frames[part]),
            "pause_ratio": plain(now.ratio[part]),
            "pause_source": PAUSE_SOURCES[now.source[part]] if now.source[part] >= 0 else "",
            "stormed": bool(now.stormed[part] > 0),
            "storms": round(now.storms[part]),
        }
        for part in np.flatnonzero(parts.port == port).tolist()
    ]
    return sorted(told, key=lambda row: natural(row["priority"]))


def _queues(view: View, port: int) -> list[dict[str, Any]]:
    now, parts = view.ports.queues, view.queues
    marked = ecn_ratio(now.marked, now.packets)
    told = [
        {
            "queue": parts.name[part],
            "bytes_per_second": plain(now.bytes_per_second[part]),
            "dropped_per_second": plain(now.dropped_per_second[part]),
            "ecn_ratio": plain(marked[part]),
            "watermark_bytes": plain(now.watermark[part]),
        }
        for part in np.flatnonzero(parts.port == port).tolist()
    ]
    return sorted(told, key=lambda row: natural(row["queue"]))


def _fec(view: View, port: int, counters: pd.DataFrame) -> dict[str, Any]:
    values = view.ports.values
    computed, shown = values["computed_ber"][port], values["pre_fec_ber"][port]
    broken = counters.sort_values("time")["fec_uncorrected_total"].dropna()
    return {
        "corrected_per_second": plain(values["fec_corrected"][port]),
        "uncorrected_total": plain(float(broken.iloc[-1]), 15) if len(broken) else None,
        "pre_ber": plain(shown),
        "pre_ber_source": "" if shown != shown else ("computed" if computed == computed else "switch"),
        "max_symbols": plain(values["fec_max_symbols"][port]),
    }


def host_gpus(snapshot: Snapshot, host: str) -> list[dict[str, Any]]:
    """Return the GPUs of a host as the snapshot has them; `busy` is null where a GPU is not at work."""
    places, states = snapshot.memory.places, np.append(snapshot.memory.verdicts.state, idle.UNKNOWN)
    reasons = {row["gpu"]: row["reason"] for row in snapshot.idle_gpus}
    layout = places.layout
    cells = [cell for cell, name in enumerate(layout.hosts) if name == host]
    return [
        {
            "gpu": layout.gpus[cell],
            "host": host,
            "rack": layout.racks[cell],
            "state": idle.STATES[states[places.series[cell]]],
            "busy": snapshot.cells[cell] / 100.0 if snapshot.cells[cell] <= 100 else None,
            "reason": reasons.get(layout.gpus[cell], ""),
        }
        for cell in cells
    ]


def _events(store: Store, where: Mapping[str, str], end: datetime, *, real: bool) -> list[dict[str, Any]]:
    """Return what happened to the port, or to its whole switch; the newest first.

    Raises:
        StoreError: the store does not answer.
    """
    asked = {"device": where["device"], "interface": ("", "-", where["interface"])}
    fields = ["severity", "text"]
    frame = store.range("switch_event", fields, end - EVENTS, end, every=None, aggregate="last", where=asked)
    frame = accepted(frame, real=real).sort_values("time", ascending=False, kind="stable").head(MOST_EVENTS)
    rows = zip(stamps(frame) if len(frame) else [], frame["kind"], frame["severity"], frame["text"], strict=True)
    return [
        {
            "time": round(time, 3),
            "kind": kind,
            "severity": 0 if severity != severity else int(severity),
            "text": text if isinstance(text, str) else "",
        }
        for time, kind, severity, text in rows
    ]


def _series(counters: pd.DataFrame, pauses: pd.DataFrame, now: float) -> dict[str, Any]:
    """Return one hour of rates. The step grows with the poll interval, so that none is empty because of it."""
    seconds = _slowest(counters)
    step = STEP * max(1.0, np.ceil(2.0 * seconds / STEP)) if seconds > STEP / 2 else STEP
    start = np.floor((now - HOUR.total_seconds()) / step) * step
    steps = round(HOUR.total_seconds() / step) + 1

    def rate(frame: pd.DataFrame, *names: str) -> Floats:
        return _stepped(frame, names, start, step, steps)

    discards = [rate(counters, f"{way}_discards_total") for way in ("rx", "tx")]
    known = ~np.isnan(discards[0]) | ~np.isnan(discards[1])
    return {
        "start": float(start),
        "step": float(step),
        "rx_bits_per_second": _list(8.0 * rate(counters, "rx_bytes_total")),
        "tx_bits_per_second": _list(8.0 * rate(counters, "tx_bytes_total")),
        "pause_ratio": _list(np.clip(_paused(pauses, rate), 0.0, 1.0)),
        "discards_per_second": _list(np.where(known, np.nansum(discards, axis=0), np.nan)),
    }


def _list(values: Floats) -> list[float | None]:
    return [plain(value) for value in values.tolist()]


def _slowest(counters: pd.DataFrame) -> float:
    """Return the period of the port's octets. Units: s; 0 without two samples."""
    known = counters.dropna(subset=["rx_bytes_total"])
    if not len(known):
        return 0.0
    times = np.sort(np.array(stamps(known)))
    zeros = np.zeros(len(times), dtype=np.int64)
    return float(period(select(zeros, times, times, 1))[0])


def _paused(pauses: pd.DataFrame, rate: Any) -> Floats:
    """Return the worst priority's share of time paused, by step: measured where it is, else estimated."""
    rows: Sequence[Floats] = [rate(own, *_PAUSED) for _, own in pauses.groupby(["priority", "source"])] or [
        rate(pauses, *_PAUSED)
    ]
    worst: Floats = np.fmax.reduce(rows)
    return worst


def _stepped(frame: pd.DataFrame, names: Sequence[str], start: float, step: float, steps: int) -> Floats:
    """Return the rate of the first of these counters that has one, by step; NaN where unknown. A fall is a reset."""
    grown, seconds = np.zeros(steps), np.zeros(steps)
    name = next((name for name in names if frame[name].notna().any()), names[0])
    for _, own in frame.dropna(subset=[name]).groupby("source"):
        own = own.sort_values("time", kind="stable")
        times, values = np.array(stamps(own)), own[name].to_numpy(dtype=np.float64)
        delta, took = np.diff(values), np.diff(times)
        good = (delta >= 0) & (took > 0)
        at = ((times[1:] - start) // step).astype(np.int64)
        good &= (at >= 0) & (at < steps)
        np.add.at(grown, at[good], delta[good])
        np.add.at(seconds, at[good], took[good])
    return np.where(seconds > 0, grown / np.where(seconds > 0, seconds, 1.0), np.nan)
