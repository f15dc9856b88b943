"""Read the store for the fabric: ports by what is new, what moves slowly less often. Nothing is worked out here."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pandas as pd

from dashboard.fabric.hour import HELD_SECONDS, Held, Hour, count_events, growths, hold, no_hour
from dashboard.kpis.fabric import falls
from dashboard.kpis.windows import Samples
from dashboard.recent import Names, Query, Recent, accepted, empty, identity, merge, refresh
from storage.store import Store

#: rates need no more than this and a few periods. Units: s
_WINDOW = 30.0
#: time between two looks at what is many and slow. Units: s
QUEUE_EVERY, OPTICS_EVERY, LINKS_EVERY, LIMITS_EVERY = 30.0, 30.0, 60.0, 600.0
#: after a port was first seen links are looked at each so often, for so long. Units: s
_SOON, _YOUNG = 10.0, 120.0
_OPTICS_AGE = timedelta(minutes=5)
_LIMITS_AGE = timedelta(minutes=25)
#: links come with the inventory of a switch, each five minutes at most
_LINKS_AGE = timedelta(minutes=20)
_MEMBERS_AGE = timedelta(minutes=15)

#: told seldom, or only on change
HELD = ("admin_up", "oper_up", "speed_bits_per_second", "lanes", "fec_pre_ber", "fec_max_symbols")
PORT = Query(
    "interface",
    identity=("device", "interface", "source"),
    tags=("device", "interface", "source", "alias", "kind", "rack", "neighbor"),
    fields=(
        *HELD,
        *(f"{way}_{what}_total" for way in ("rx", "tx") for what in ("bytes", "unicast", "multicast", "broadcast")),
        *(f"{way}_{what}_total" for way in ("rx", "tx") for what in ("errors", "discards")),
        "flaps_total",
        "fec_corrected_total",
        "fec_uncorrected_total",
        "fec_corrected_bits_total",
    ),
    where={"kind": ("", "port", "lag")},
)
PFC = Query(
    "pfc",
    identity=("device", "interface", "priority", "source"),
    tags=("device", "interface", "priority", "source"),
    fields=(
        "rx_frames_total",
        "tx_frames_total",
        "rx_pause_seconds_total",
        "rx_pause_estimated_seconds_total",
        "watchdog_detected_total",
        "watchdog_stormed",
    ),
)
QUEUE = Query(
    "queue",
    identity=("device", "interface", "queue", "source"),
    tags=("device", "interface", "queue", "source"),
    fields=(
        "packets_total",
        "bytes_total",
        "dropped_packets_total",
        "ecn_marked_packets_total",
        "watermark_bytes",
    ),
)
LANE_FIELDS = (
    "temperature_celsius",
    "voltage_volts",
    "rx_power_watts",
    "tx_power_watts",
    "bias_amperes",
    "rx_dark",
)
LIMIT_FIELDS = ("rx_power_low_watts", "model", "serial")


@dataclass(frozen=True, slots=True)
class Optics:
    """Modules and lanes as `latest` frames; `limits` has what modules say of themselves once."""

    time: float = -np.inf
    lanes: pd.DataFrame = field(default_factory=pd.DataFrame)
    limits_time: float = -np.inf
    limits: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True, slots=True)
class Links:
    """What is joined to what: (switch, interface) -> (neighbour, its interface); (switch, port) -> its LAG."""

    time: float = -np.inf
    neighbors: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    lags: Mapping[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store told of the fabric."""

    #: epoch seconds
    time: float
    ports: Recent
    pfc: Recent
    queues: Recent
    queue_time: float
    held: Mapping[str, Held]
    #: octets, whose newest stamp is the age of a port, and any sample at all
    counters: Held
    presence: Held
    #: when a link was last told not to be up
    unlit: Held
    #: flaps as the switch counts them, as polls saw them; codewords beyond repair; storms that the watchdog caught
    flaps: Hour
    polled_flaps: Hour
    uncorrected: Hour
    storms: Hour
    optics: Optics
    links: Links
    #: devices that are left out
    without: frozenset[str]
    #: when the set of ports last changed, epoch s
    changed: float


def look(
    store: Store,
    old: Seen | None,
    now: float,
    *,
    real: bool,
    refused: Sequence[str] = (),
    without: frozenset[str] = frozenset(),
) -> Seen:
    """Return what the store tells at `now` (epoch s), grown from the last look. `without`: devices left out.

    Raises:
        StoreError: the store does not answer; `old` stays good for the next try.
    """
    if old is not None and old.without != without:
        old = None

    def grow(query: Query, before: Recent | None) -> Recent:
        made = before or empty(query)
        return refresh(store, query, made, now, _WINDOW, real=real, refused=refused, without=without)

    ports = grow(PORT, old.ports if old else None)
    if old is None:
        ports = _with_silent(store, ports, real=real, without=without)
    pfc = grow(PFC, old.pfc if old else None)
    due = old is None or now - old.queue_time >= QUEUE_EVERY
    queues = grow(QUEUE, old.queues if old else None) if old is None or due else old.queues
    flaps, polled_flaps, uncorrected, storms = _hours(ports, pfc, old, now)
    changed = old.changed if old and len(old.ports.keys) == len(ports.keys) else now
    # What neighbours a port has is told a little after it is first seen.
    soon = _SOON if now - changed < _YOUNG else 0.0
    return Seen(
        time=now,
        ports=ports,
        pfc=pfc,
        queues=queues,
        queue_time=now if old is None or due else old.queue_time,
        held={name: hold(old.held[name] if old else None, ports.keys, ports.samples(name)) for name in HELD},
        counters=hold(old.counters if old else None, ports.keys, ports.any_of("rx_bytes_total", "tx_bytes_total")),
        presence=hold(old.presence if old else None, ports.keys, ports.presence()),
        unlit=hold(old.unlit if old else None, ports.keys, _links_not_up(ports)),
        flaps=flaps,
        polled_flaps=polled_flaps,
        uncorrected=uncorrected,
        storms=storms,
        optics=_optics(store, old.optics if old else Optics(), now, real=real),
        links=_links(store, old.links if old else Links(), now, real=real, every=soon or LINKS_EVERY),
        without=without,
        changed=changed,
    )


def _hours(ports: Recent, pfc: Recent, old: Seen | None, now: float) -> tuple[Hour, Hour, Hour, Hour]:
    """Return the hour's flaps as the switch counts them and as polls saw them, lost codewords, storms."""
    none = no_hour(now)
    flaps, down = ports.samples("flaps_total"), _links_up(ports)
    broken, caught = ports.samples("fec_uncorrected_total"), pfc.samples("watchdog_detected_total")
    return (
        count_events(old.flaps if old else none, ports.keys, flaps, growths(flaps), now),
        count_events(old.polled_flaps if old else none, ports.keys, down, falls(down).astype(np.float64), now),
        count_events(old.uncorrected if old else none, ports.keys, broken, growths(broken), now),
        count_events(old.storms if old else none, pfc.keys, caught, growths(caught), now),
    )


def _with_silent(store: Store, ports: Recent, *, real: bool, without: Collection[str]) -> Recent:
    """Return the ports with what was told of them in the last quarter of an hour, and those that fell silent in it.

    Of ports that live only what is held is taken: their counters have stamps of their own.
    """
    fields = (*HELD, "rx_bytes_total")
    told = store.latest("interface", fields, timedelta(seconds=HELD_SECONDS), PORT.where)
    frame = accepted(told, real=real, without=without)
    silent = ports.keys.get_indexer(pd.Index(identity(frame, PORT.identity), dtype=object)) < 0
    told = frame.assign(**{name: np.nan for name in PORT.fields if name not in fields})
    told = told.assign(rx_bytes_total=np.where(silent, frame["rx_bytes_total"], np.nan))
    return merge(PORT, ports, told, np.inf, -np.inf)


def _links_up(ports: Recent) -> Samples:
    """Return 1 where a link is up, 0 where it is down, -1 where it was shut: that is no flap."""
    up, shut = ports.values["oper_up"], ports.values["admin_up"] == 0
    return ports.pick(np.where(shut & ~np.isnan(up), -1.0, up))


def _links_not_up(ports: Recent) -> Samples:
    """Return 0 where a link is down or shut."""
    return ports.pick(np.where(ports.values["oper_up"] == 0, 0.0, np.nan))


def _optics(store: Store, old: Optics, now: float, *, real: bool) -> Optics:
    if now - old.time < OPTICS_EVERY:
        return old
    lanes = accepted(store.latest("transceiver", LANE_FIELDS, _OPTICS_AGE), real=real)
    if now - old.limits_time < LIMITS_EVERY and len(old.limits):
        return Optics(now, lanes, old.limits_time, old.limits)
    limits = accepted(store.latest("transceiver", LIMIT_FIELDS, _LIMITS_AGE), real=real)
    return Optics(now, lanes, now, limits)


def _links(store: Store, old: Links, now: float, *, real: bool, every: float) -> Links:
    if now - old.time < every:
        return old
    frame = store.latest("inventory", ["present", "neighbor_interface"], _LINKS_AGE, {"kind": "link"})
    told = accepted(frame, real=real)
    told = told[told["present"] != 0].sort_values("time", kind="stable") if len(told) else told
    rows = zip(*(_column(told, name) for name in ("parent", "interface", "id", "neighbor_interface")), strict=True)
    neighbors = {(switch, port): (name, end or "") for switch, port, name, end in rows}
    members = accepted(store.latest("lag_member", ["selected"], _MEMBERS_AGE), real=real)
    members = members.sort_values("time", kind="stable") if len(members) else members
    lags = zip(*(_column(members, name) for name in ("device", "interface", "lag", "selected")), strict=True)
    return Links(now, neighbors, {(device, port): (lag, chosen != 0) for device, port, lag, chosen in lags})


def _column(frame: pd.DataFrame, name: str) -> Names:
    column: Names = frame[name].to_numpy(dtype=object)
    return column
