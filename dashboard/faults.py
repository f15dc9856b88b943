"""What boards and their drivers report of themselves: events that pass, and verdicts that stand until someone acts.

Sources: NVML event types and field 230 (recovery action), dcgm-exporter's list of Xids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from dashboard.alarms.findings import Fault
from dashboard.kpis.windows import LIVE_SECONDS, Bools, Floats, newest
from dashboard.tables import GPU, Tables
from storage.store import Store

#: verdicts come every minute
VERDICT_AGE = timedelta(minutes=5)
VERDICTS = ("recovery_action", "row_remap_failure", "row_remap_pending", "nvlink_down_count")
#: the board has fallen off the bus
XID_LOST = 79
INFO, WARNING, CRITICAL = range(3)
_PRIORITY = {INFO: 4, WARNING: 3, CRITICAL: 2}
_MOST_TEXT = 60
#: kind of event -> how it is named; one that is lost or not is a state, and told as such
_KINDS = {"xid": "Xid {code}", "reset": "Reset", "remap": "Memory row remap", "link": "Link event {code}"}
#: `gpu.recovery_action` -> (priority, what to do; {gpu} and {host} are filled in)
_RECOVERY = {
    1: (2, "Reset {gpu} on {host}: the driver asks for it"),
    2: (2, "Reboot {host}: the driver asks for it ({gpu})"),
    3: (3, "Drain {host}: the driver asks to end peer traffic of {gpu}"),
    4: (2, "Drain and reset {gpu} on {host}: the driver asks for it"),
    5: (3, "Restart IMEX on {host}: the driver asks for it ({gpu})"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a board within the hold time; equal events are one with a count."""

    gpu: str
    kind: str
    code: int
    severity: int
    text: str
    count: int
    #: of the newest, epoch s
    time: float


def read_events(store: Store, now: float, hold: timedelta, *, real: bool) -> tuple[Event, ...]:
    """Return the events of the last `hold`, newest last. An event seen by two devices is one.

    Raises:
        StoreError: the store does not answer.
    """
    end = datetime.fromtimestamp(now, UTC)
    frame = store.range("gpu_event", ["code", "severity", "text"], end - hold, end, every=None, aggregate="last")
    if real:
        frame = frame[frame["synthetic"] != "true"]
    if not len(frame):
        return ()
    frame = frame.assign(
        code=frame["code"].fillna(-1).astype(int),
        severity=frame["severity"].fillna(WARNING).astype(int),
        text=frame["text"].fillna(""),
        seconds=frame["time"].dt.as_unit("ns").astype("int64") / 1e9,
    ).sort_values("seconds")
    found = []
    for _, same in frame.groupby(["gpu", "kind", "code"]):
        final: Mapping[Any, Any] = same.iloc[-1].to_dict()
        count, severity = int(same.groupby("device").size().max()), int(same["severity"].max())
        named = (str(final["gpu"]), str(final["kind"]), int(final["code"]), severity, str(final["text"]))
        found.append(Event(*named, count, float(final["seconds"])))
    return tuple(sorted(found, key=lambda event: event.time))


def read_verdicts(store: Store, *, real: bool) -> Mapping[str, Mapping[str, int]]:
    """Return GPU -> what its driver says about it, without what is well.

    Raises:
        StoreError: the store does not answer.
    """
    frame = store.latest("gpu", VERDICTS, VERDICT_AGE, GPU.where)
    if real:
        frame = frame[frame["synthetic"] != "true"]
    told = frame[(frame[list(VERDICTS)].fillna(0) > 0).any(axis=1)] if len(frame) else frame
    columns = told[["gpu", *VERDICTS]].to_dict("records")
    return {
        str(row["gpu"]): {name: int(row[name]) for name in VERDICTS if row[name] == row[name] and row[name] > 0}
        for row in columns
    }


def fell_off(tables: Tables, events: Sequence[Event]) -> Bools:
    """Return which GPUs are lost by an event (Xid 79) after which they told nothing of themselves any more."""
    at: Floats = np.full(tables.gpu.count, -np.inf)
    rows = tables.gpu.keys.get_indexer(pd.Index([event.gpu for event in events], dtype=object))
    for event, row in zip(events, rows.tolist(), strict=True):
        if row >= 0 and (event.kind == "lost" or (event.kind == "xid" and event.code == XID_LOST)):
            at[row] = max(at[row], event.time)
    heard = newest(tables.gpu.any_of("power_watts", "utilization_ratio"))
    gone: Bools = np.isfinite(at) & (heard <= at + LIVE_SECONDS)
    return gone


def faults(tables: Tables, events: Sequence[Event], verdicts: Mapping[str, Mapping[str, int]]) -> tuple[Fault, ...]:
    """Return what each board of the floor reports, with where it stands."""
    found = [fault for event in events for fault in _of_event(tables, event)]
    for gpu, told in verdicts.items():
        found += _of_verdicts(tables, gpu, told)
    return tuple(found)


def _place(tables: Tables, gpu: str) -> tuple[str, str, str]:
    """Return (host, rack, short name) of a GPU; its UUID where it has no index."""
    row = tables.gpu.keys.get_indexer(pd.Index([gpu], dtype=object))[0]
    cell = int(tables.places.cell[row]) if row >= 0 else -1
    if cell < 0:
        return "", "", gpu
    index = str(tables.gpu.tags["gpu_index"][row])
    return tables.places.layout.hosts[cell], tables.places.layout.racks[cell], f"GPU {index}" if index else gpu


def _of_event(tables: Tables, event: Event) -> list[Fault]:
    name = _KINDS.get(event.kind)
    if name is None or (event.severity == INFO and event.kind != "reset"):
        return []
    times = f", {event.count} times" if event.count > 1 else ""
    said = f": {event.text[:_MOST_TEXT]}" if event.text else ""
    what = f"{name.format(code=event.code)} on {{gpu}} of {{host}}{said}{times}"
    priority = _PRIORITY.get(event.severity, 3)
    return [Fault(f"gpu_{event.kind}_{event.code}", *_place(tables, event.gpu), priority, what)]


def _of_verdicts(tables: Tables, gpu: str, told: Mapping[str, int]) -> list[Fault]:
    where = _place(tables, gpu)
    found = []
    if told.get("recovery_action") in _RECOVERY:
        priority, what = _RECOVERY[told["recovery_action"]]
        found.append(Fault(f"gpu_recovery_{told['recovery_action']}", *where, priority, what))
    if "row_remap_failure" in told:
        found.append(
            Fault("gpu_remap_failed", *where, 2, "Memory of {gpu} on {host} cannot be repaired: replace the board")
        )
    elif "row_remap_pending" in told:
        found.append(
            Fault("gpu_remap_pending", *where, 3, "Reset {gpu} on {host} when it is free: memory repair waits")
        )
    if "nvlink_down_count" in told:
        links = told["nvlink_down_count"]
        what = f"{links} NVLink{'s' if links > 1 else ''} down on {{gpu}} of {{host}}: check link and switch tray"
        found.append(Fault("gpu_nvlink_down", *where, 2, what))
    return found
