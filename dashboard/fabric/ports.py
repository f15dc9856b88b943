"""What each port does now: rates, shares and states, one element per port of the roster."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dashboard.fabric.optics import OpticsNow
from dashboard.fabric.places import Parts, Roster, winners
from dashboard.fabric.read import HELD, Seen
from dashboard.kpis import fabric
from dashboard.kpis.windows import GAP_PERIODS, LIVE_SECONDS, Bools, Floats, Ints, last, newest, period
from dashboard.recent import Names, Recent

STATES = ("ok", "down", "admin_down", "unknown", "stale")
OK, DOWN, ADMIN_DOWN, UNKNOWN, STALE = range(len(STATES))
#: a port that told one sample so far may be silent for so long. Units: s
_FIRST_SECONDS = 90.0
#: SONiC reads its modules once a minute, and they are polled no more often. Units: s
_LIGHT_SECONDS = 120.0
#: a port that is gone for so long while its switch lives has been taken out of it. Units: s
GONE_SECONDS = 3600.0
_WAYS = ("rx", "tx")
_SUMMED = ("bytes", "packets", "errors", "discards")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports now; NaN where unknown. Units are in the names; counters are per second."""

    roster: Roster
    alias: Names
    kind: Names
    rack: Names
    #: what the collector itself took for the neighbour
    neighbor: Names
    state: Ints
    #: whose light may be judged: the link is up, and has been for as long as a module may tell of the time before
    lit: Bools
    #: name -> one number per port
    values: Mapping[str, Floats]
    #: index into PAUSE_SOURCES, -1 without
    pause_source: Ints
    #: where the flaps come from: polls saw them, else the switch counted them
    polled_flaps: Bools
    #: ports that count nowhere: gone for good, or of a switch that counts under another name
    gone: Bools
    pauses: "Pauses"
    queues: "Queues"

    @property
    def physical(self) -> Bools:
        """Return which are ports, not bundles of them."""
        single: Bools = (self.kind != "lag") & ~self.gone
        return single


class Rates:
    """Growths of the counters of one read; what depends on the stamps alone is worked out once."""

    def __init__(self, recent: Recent, least: float) -> None:
        self._recent, self._least = recent, least
        self._known: list[tuple[npt.NDArray[np.bool_], fabric.Pairs]] = []

    def of(self, name: str) -> fabric.Grown:
        """Return the growth of one counter, per series."""
        mask = np.isnan(self._recent.values[name])
        if mask.all():
            none = np.zeros(self._recent.count)
            return fabric.Grown(none + np.nan, none, none)
        samples = self._recent.samples(name)
        over = next((pairs for known, pairs in self._known if np.array_equal(known, mask)), None)
        if over is None:
            over = fabric.pairs(samples, self._least)
            self._known.append((mask, over))
        return fabric.grown(samples, over)


def pick(values: Floats, rows: Ints, fill: float = np.nan) -> Floats:
    """Return the values of these rows; `fill` where the row is -1."""
    picked: Floats = np.append(values, fill)[rows]
    return picked


def ports(seen: Seen, of: Roster, pfc: Parts, queues: Parts, optics: OpticsNow, hold: float, telling: Bools) -> Ports:
    """Return what all ports do now. `hold`: how long events are recent, s; `telling`: whose switch answers."""
    counted, told = seen.counters.times, seen.presence.times
    rows = winners(of.codes, np.where(np.isinf(counted), told - GONE_SECONDS, counted), of.count)
    base = _base(seen, of, rows)
    times = _times(seen, of, rows)
    state = _states(base, times, seen.time, telling)
    values = {**_traffic(base), **_fec(seen, base, rows, hold), **optics.values, "age": seen.time - times["newest"]}
    held_back, queued = pauses(seen, pfc, base["speed"], hold), queues_now(seen, queues)
    paused, source, storms = _pauses(held_back, pfc)
    values |= {**paused, **_queues(queued, queues)}
    flaps, polled = _flaps(seen, rows, hold)
    values |= flaps
    dead = np.isin(state, (STALE, UNKNOWN))
    values["counter_age"] = np.where(np.isinf(times["counters"]), np.nan, seen.time - times["counters"])
    kept = {"age", "counter_age", "speed"}
    values = {name: column if name in kept else np.where(dead, np.nan, column) for name, column in values.items()}
    tags = {name: np.append(seen.ports.tags[name], "")[rows] for name in ("alias", "kind", "rack", "neighbor")}
    tags["kind"] = np.where(rows < 0, "lag", tags["kind"])
    gone = (rows >= 0) & (seen.time - times["presence"] > GONE_SECONDS)
    return Ports(
        of,
        **tags,
        state=state,
        lit=(state == OK) & (seen.time - pick(seen.unlit.times, rows, -np.inf) > _LIGHT_SECONDS),
        values=values | storms,
        pause_source=source,
        polled_flaps=polled,
        gone=gone,
        pauses=held_back,
        queues=queued,
    )


def _base(seen: Seen, of: Roster, rows: Ints) -> dict[str, Floats]:
    """Return rates and what is held, per port; a LAG's from its members where they are known (C12)."""
    rates = Rates(seen.ports, fabric.PORT_SECONDS)
    found: dict[str, Floats] = {}
    for way in _WAYS:
        for what in ("bytes", "errors", "discards"):
            grown = rates.of(f"{way}_{what}_total")
            found[f"{way}_{what}"] = pick(grown.per_second, rows)
            found[f"{way}_{what}_grown"] = pick(grown.amount, rows, 0.0)
        casts = [rates.of(f"{way}_{what}_total").per_second for what in ("unicast", "multicast", "broadcast")]
        packets = np.where(np.isnan(casts[0]), np.nan, np.nansum(casts, axis=0))
        found[f"{way}_packets"] = pick(packets, rows)
    for what in ("fec_corrected", "fec_corrected_bits"):
        found[what] = pick(rates.of(f"{what}_total").per_second, rows)
    for name in HELD:
        found[name] = pick(seen.held[name].at(seen.time), rows)
    found["speed"] = found.pop("speed_bits_per_second")
    return _bundled(found, of)


def _bundled(found: dict[str, Floats], of: Roster) -> dict[str, Floats]:
    if not (of.lag >= 0).any():
        return found
    counts = of.selected > 0
    up = counts & (found["oper_up"] != 0)
    bundles = of.bundles
    for name in (*(f"{way}_{what}" for way in _WAYS for what in _SUMMED), "speed"):
        sums = fabric.sum_members(found[name], of.lag, up if name == "speed" else counts, of.count)
        found[name] = np.where(bundles, sums, found[name])
    alive = fabric.sum_members(found["oper_up"], of.lag, counts, of.count)
    own = bundles & np.isnan(found["oper_up"])
    found["oper_up"] = np.where(own, np.where(np.isnan(alive), np.nan, alive > 0), found["oper_up"])
    return found


def _times(seen: Seen, of: Roster, rows: Ints) -> dict[str, Floats]:
    """Return each port's newest stamps and periods. Units: epoch s, s."""
    octets = seen.ports.any_of("rx_bytes_total", "tx_bytes_total")
    counters, presence = (pick(held.times, rows, -np.inf) for held in (seen.counters, seen.presence))
    counter_period, any_period = pick(period(octets), rows, 0.0), pick(period(seen.ports.presence()), rows, 0.0)
    for column in (counters, presence, counter_period, any_period):
        bundle = of.lag >= 0
        alone = rows[of.lag[bundle]] < 0
        np.maximum.at(column, of.lag[bundle][alone], column[bundle][alone])
    return {
        "counters": counters,
        "presence": presence,
        "newest": np.where(np.isinf(counters), presence, counters),
        "counter_period": counter_period,
        "period": any_period,
    }


def _missed(now: float, times: Floats, periods: Floats) -> Bools:
    """Return which were not told of for more than two of their periods: late already, where the switch is silent."""
    missed: Bools = now - times > np.where(periods > 0, 2.0 * periods, _FIRST_SECONDS)
    return missed


def _late(now: float, times: Floats, periods: Floats) -> Bools:
    allowed = np.where(periods > 0, np.maximum(GAP_PERIODS * periods, LIVE_SECONDS), _FIRST_SECONDS)
    late: Bools = now - times > allowed
    return late


def _states(base: Mapping[str, Floats], times: Mapping[str, Floats], now: float, telling: Bools) -> Ints:
    """Return each port's state, the first that holds: stale, admin_down, down, stale by its counters, unknown, ok."""
    silent = _late(now, times["presence"], times["period"])
    silent |= ~telling & _missed(now, times["presence"], times["period"])
    counted = ~np.isinf(times["counters"])
    old = counted & _late(now, times["counters"], times["counter_period"])
    nothing = np.isnan(base["oper_up"]) & np.isnan(base["admin_up"]) & ~counted
    which = [silent, base["admin_up"] == 0, base["oper_up"] == 0, old, nothing]
    states: Ints = np.select(which, [STALE, ADMIN_DOWN, DOWN, STALE, UNKNOWN], default=OK).astype(np.int64)
    return states


def _traffic(base: Mapping[str, Floats]) -> dict[str, Floats]:
    speed = fabric.usable_speed(base["speed"], base["oper_up"])

    def worst(what: str) -> Floats:
        shares = [fabric.ppm(base[f"{way}_{what}"], base[f"{way}_packets"]) for way in _WAYS]
        worse: Floats = np.fmax(*shares)
        return worse

    return {
        "speed": base["speed"],
        "rx_bits": 8.0 * base["rx_bytes"],
        "tx_bits": 8.0 * base["tx_bytes"],
        "utilization": fabric.utilization(base["rx_bytes"], base["tx_bytes"], speed),
        "error_ppm": worst("errors"),
        "discard_ppm": worst("discards"),
        "errors_grown": base["rx_errors_grown"] + base["tx_errors_grown"],
        "discards_grown": base["rx_discards_grown"] + base["tx_discards_grown"],
    }


def _fec(seen: Seen, base: Mapping[str, Floats], rows: Ints, hold: float) -> dict[str, Floats]:
    computed = fabric.pre_fec_ber(base["fec_corrected_bits"], base["speed"], base["lanes"])
    own = base["fec_pre_ber"]
    hour = seen.uncorrected
    return {
        "computed_ber": computed,
        "own_ber": own,
        "pre_fec_ber": np.where(np.isnan(computed), own, computed),
        "uncorrected_per_hour": pick(fabric.per_hour(hour.events(3600.0), hour.known), rows),
        "uncorrected_recent": pick(hour.events(hold), rows, 0.0),
        "fec_corrected": base["fec_corrected"],
        "lanes": base["lanes"],
        "fec_max_symbols": base["fec_max_symbols"],
    }


def _flaps(seen: Seen, rows: Ints, hold: float) -> tuple[dict[str, Floats], Bools]:
    """Return flaps per hour and the recent ones: as the switch counts them, else as polls saw them (C28)."""
    told = ~np.isinf(pick(seen.flaps.final, rows, -np.inf))

    def of(counted: Floats, polled: Floats, fill: float = np.nan) -> Floats:
        return np.where(told, pick(counted, rows, fill), pick(polled, rows, fill))

    own, seen_by_polls = seen.flaps, seen.polled_flaps
    hourly = [fabric.per_hour(hour.events(3600.0), hour.known) for hour in (own, seen_by_polls)]
    return {
        "flaps_per_hour": of(hourly[0], hourly[1]),
        "flaps_recent": of(own.events(hold), seen_by_polls.events(hold), 0.0),
    }, ~told


@dataclass(frozen=True, slots=True)
class Pauses:
    """PFC by part: one element per priority of a port."""

    rx_frames: Floats
    tx_frames: Floats
    ratio: Floats
    source: Ints
    #: the watchdog holds the queue; storms that it caught
    stormed: Floats
    storms: Floats
    storms_recent: Floats


def pauses(seen: Seen, pfc: Parts, speed: Floats, hold: float) -> Pauses:
    """Return the pauses of each priority. `speed`: per port, bit/s; `hold`: for how long a storm is recent, s."""
    rates = Rates(seen.pfc, fabric.PORT_SECONDS)
    rows = winners(pfc.codes, newest(seen.pfc.presence()), pfc.count)
    frames, sent, measured, estimated = (
        pick(rates.of(name).per_second, rows)
        for name in ("rx_frames_total", "tx_frames_total", "rx_pause_seconds_total", "rx_pause_estimated_seconds_total")
    )
    ratio, source = fabric.pause_ratio(measured, estimated, fabric.pause_bound(frames, pick(speed, pfc.port)))
    stormed = seen.pfc.samples("watchdog_stormed")
    storms = seen.storms.events(3600.0), seen.storms.events(hold)
    return Pauses(frames, sent, ratio, source, pick(last(stormed), rows), *(pick(count, rows, 0.0) for count in storms))


def _pauses(now: Pauses, pfc: Parts) -> tuple[dict[str, Floats], Ints, dict[str, Floats]]:
    """Return per port: its worst pause and how it is known, and what the watchdog says."""
    count = pfc.roster.count
    ratio, source = fabric.worst_pause(now.ratio, now.source, pfc.port, count)
    frames = np.zeros(count)
    known = (pfc.port >= 0) & ~np.isnan(now.rx_frames)
    np.maximum.at(frames, pfc.port[known], now.rx_frames[known])
    stormed, storms = np.zeros(count), np.zeros(count)
    placed = pfc.port >= 0
    np.maximum.at(stormed, pfc.port[placed], np.nan_to_num(now.stormed[placed]))
    np.add.at(storms, pfc.port[placed], now.storms_recent[placed])
    return {"pause_ratio": ratio, "pause_frames": frames}, source, {"stormed": stormed, "storms_recent": storms}


@dataclass(frozen=True, slots=True)
class Queues:
    """Egress queues by part; growths over their window of at least 30 s."""

    bytes_per_second: Floats
    dropped_per_second: Floats
    packets: Floats
    #: NaN where the switch does not count them
    marked: Floats
    #: newest watermark
    watermark: Floats


def queues_now(seen: Seen, queues: Parts) -> Queues:
    """Return what each queue does."""
    rates = Rates(seen.queues, fabric.QUEUE_SECONDS)
    rows = winners(queues.codes, newest(seen.queues.presence()), queues.count)
    octets, dropped, packets, marked = (
        rates.of(f"{name}_total") for name in ("bytes", "dropped_packets", "packets", "ecn_marked_packets")
    )
    counted = np.where(np.isnan(marked.per_second), np.nan, marked.amount)
    return Queues(
        pick(octets.per_second, rows),
        pick(dropped.per_second, rows),
        pick(packets.amount, rows, 0.0),
        pick(counted, rows),
        pick(last(seen.queues.samples("watermark_bytes")), rows),
    )


def _queues(now: Queues, queues: Parts) -> dict[str, Floats]:
    """Return each port's share of marked packets and its drops, over all its queues (C23)."""
    count = queues.roster.count
    told = ~np.isnan(now.marked)
    marked = fabric.sum_members(now.marked, queues.port, told, count)
    packets = fabric.sum_members(now.packets, queues.port, told, count)
    everything = np.ones(queues.count, dtype=bool)
    return {
        "ecn_ratio": fabric.ecn_ratio(marked, packets),
        "queue_drops": fabric.sum_members(now.dropped_per_second, queues.port, everything, count),
    }
