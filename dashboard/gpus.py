"""What the GPUs do now: signals for the idle state machine, throttling, the cells of the floor."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dashboard import idle
from dashboard.kpis.levels import believed
from dashboard.kpis.windows import (
    GAP_PERIODS,
    LIVE_SECONDS,
    Bools,
    Floats,
    increase,
    last,
    live,
    mean,
    newest,
    period,
    tally,
)
from dashboard.places import Places
from dashboard.settings import DashboardSettings
from dashboard.tables import Tables
from dashboard.tokens import final_only, output_samples, who

#: clocks event reasons that slow a board for heat or by an external brake: 0x8, 0x20, 0x40, 0x80 (NVML)
THROTTLE_MASK = 0xE8
#: share of time slowed down from which a board is throttled
THROTTLE_SHARE = 0.01
#: tokens of the last so many seconds tell that an engine works
TOKEN_SECONDS = 30.0

CELL_IDLE, CELL_THROTTLED, CELL_LOST, CELL_NO_DATA, CELL_FREE = 200, 210, 220, 240, 250


@dataclass(frozen=True, slots=True)
class Fleet:
    """One element per GPU series."""

    signals: idle.Signals
    verdicts: idle.Verdicts
    throttled: Bools
    #: mean board power; NaN where unknown
    watts: Floats


def limits(settings: DashboardSettings) -> idle.Limits:
    """Return the state machine's limits from the settings. Units: s, ratios."""
    hold = settings.idle.hold
    named = {name: getattr(hold, name).total_seconds() for name in type(hold).model_fields}
    named["light"] = settings.idle.grace.total_seconds()
    return idle.Limits(
        hold=tuple(named.get(state, 0.0) for state in idle.STATES),
        grace=settings.idle.grace.total_seconds(),
        leave=settings.idle.leave.total_seconds(),
        parked_power=settings.idle.parked_power_ratio,
        working_power=settings.idle.working_power_ratio,
        bare_power=settings.idle.bare_power_ratio,
    )


def observe(tables: Tables, verdicts: idle.Verdicts, fell_off: Bools) -> Fleet:
    """Return what the GPUs do now, and the verdicts after it. `fell_off`: lost, as an event says."""
    gpu, now = tables.gpu, tables.now
    presence = gpu.presence()
    since = now - max(tables.settings.idle.window.total_seconds(), 1.0)

    def level(name: str) -> Floats:
        return mean(gpu.samples(name), since, now)

    watts, utilization, active = level("power_watts"), level("utilization_ratio"), level("sm_active_ratio")
    lost = gpu.samples("lost")
    heard, vanished = live(presence, now), _vanished(tables, newest(presence), period(presence))
    tokens, running, waiting = _engines(tables)
    signals = idle.Signals(
        live=heard | vanished,
        lost=((last(lost) == 1) & (newest(lost) >= newest(presence))) | vanished | fell_off,
        activity=np.where(np.isnan(active), utilization, active),
        utilization=utilization,
        tensor=level("tensor_active_ratio"),
        dram=level("dram_active_ratio"),
        power=watts / last(gpu.samples("power_limit_watts")),
        processes=last(gpu.samples("process_count")),
        memory_bytes=last(gpu.samples("memory_used_bytes")),
        assigned=assigned(tables),
        tokens=tokens,
        running=running,
        waiting=waiting,
        fabric=_fabric(tables),
    )
    after = idle.evaluate(verdicts, signals, limits(tables.settings), now)
    return Fleet(signals, after, _throttled(tables) & signals.live, watts)


def _fabric(tables: Tables) -> list[str]:
    """Return what the switch ports of each GPU's host suffer; nothing at all while no host's suffer."""
    notes, hosts = tables.fabric_notes, tables.places.hosts
    if not notes:
        return []
    return [notes.get(hosts[host], "") if host >= 0 else "" for host in tables.places.host.tolist()]


def _vanished(tables: Tables, heard: Floats, periods: Floats) -> Bools:
    """Return which GPUs are gone while their host goes on telling of others: an exporter just leaves them out.

    `heard` is each GPU's newest sample (epoch s), `periods` its own period (s).
    """
    host, count = tables.places.host, len(tables.places.hosts)
    latest = np.full(count + 1, -np.inf)
    np.maximum.at(latest, host, heard)
    gone: Bools = (host >= 0) & (latest[host] > heard + np.maximum(GAP_PERIODS * periods, LIVE_SECONDS))
    return gone & (latest[host] > tables.now - LIVE_SECONDS)


def _engines(tables: Tables) -> tuple[Floats, Floats, Floats]:
    """Return tokens per second, running and waiting requests of each GPU's host; NaN where no engine tells."""
    inference, host, now = tables.inference, tables.engine_host, tables.now
    count = len(tables.places.hosts)
    heard = live(inference.presence(), now) & (host >= 0)
    heard &= believed(who(inference), heard)
    rates = increase(output_samples(inference), now - TOKEN_SECONDS, now).amount / TOKEN_SECONDS
    running, waiting = (last(inference.samples(name)) for name in ("requests_running", "requests_waiting"))
    # A server that counts at the end says nothing of the requests that it still works on.
    rates[final_only(inference) & (rates == 0) & (running > 0)] = np.nan

    def per_gpu(values: Floats) -> Floats:
        told = heard & ~np.isnan(values)
        engines = tally(host[told], np.ones(int(told.sum())), count)
        return np.append(np.where(engines > 0, tally(host[told], values[told], count), np.nan), np.nan)[
            tables.places.host
        ]

    return per_gpu(rates), per_gpu(running), per_gpu(waiting)


def assigned(tables: Tables) -> Bools:
    """Return which GPUs have a workload: by their own tags; where no GPU of a host has tags, by an engine there."""
    tags, host, count = tables.gpu.tags, tables.places.host, len(tables.places.hosts)
    own = np.zeros(tables.gpu.count, dtype=bool)
    for tag in ("pod", "deployment"):
        own |= (tags[tag] != "") & (tags[tag] != "-")
    placed = host >= 0
    tagged = np.append(tally(host[placed], own[placed], count) > 0, False)
    served = np.zeros(count + 1, dtype=bool)
    served[tables.engine_host[tables.engine_host >= 0]] = True
    told: Bools = own | (served[host] & ~tagged[host])
    return told


def _throttled(tables: Tables) -> Bools:
    """Return which boards heat or brake slowed over the window: 1 % of the time, or with the reason set throughout."""
    gpu, now = tables.gpu, tables.now
    start = now - tables.window_seconds
    spent = np.zeros(gpu.count)
    for name in ("throttle_thermal_seconds_total", "throttle_brake_seconds_total"):
        slowed = increase(gpu.samples(name), start, now)
        spent += np.where(slowed.covered > 0, slowed.amount / np.maximum(slowed.covered, 1e-9), 0.0)
    mask = gpu.samples("clock_event_mask")
    slow = (mask.values.astype(np.int64) & THROTTLE_MASK) != 0
    inside = mask.times > start
    seen = tally(mask.series[inside], np.ones(int(inside.sum())), gpu.count)
    always = tally(mask.series[inside], slow[inside], gpu.count)
    throttled: Bools = (spent > THROTTLE_SHARE) | ((seen > 1) & (always == seen))
    return throttled


def cells(places: Places, fleet: Fleet) -> bytes:
    """Return one byte per cell: 0-100 busy percent, or what is the matter (contract: docs/contracts.md section 3)."""
    activity = np.nan_to_num(fleet.signals.activity)
    byte = np.clip(np.rint(100 * activity), 0, 100).astype(np.uint8)
    state = fleet.verdicts.state
    byte[idle.is_idle(state)] = CELL_IDLE
    byte[state == idle.UNALLOCATED] = CELL_FREE
    byte[fleet.throttled] = CELL_THROTTLED
    byte[state == idle.UNKNOWN] = CELL_NO_DATA
    byte[state == idle.LOST] = CELL_LOST
    return np.append(byte, np.uint8(CELL_NO_DATA))[places.series].tobytes()


def idle_list(tables: Tables, fleet: Fleet) -> list[dict[str, Any]]:
    """Return the idle GPUs in the order of their cells, each with its evidence."""
    places, state = tables.places, fleet.verdicts.state
    sure = idle.confidence(fleet.signals)
    rows = places.series[places.series >= 0]
    return [
        {
            "gpu": places.layout.gpus[cell],
            "rack": places.layout.racks[cell],
            "host": places.layout.hosts[cell],
            "state": idle.STATES[state[row]],
            "since": round(float(fleet.verdicts.since[row]), 3),
            "reason": idle.reason(int(state[row]), fleet.signals, int(row)),
            "confidence": float(sure[row]),
        }
        for row in rows[idle.is_idle(state[rows])].tolist()
        for cell in (int(places.cell[row]),)
    ]


def state_counts(places: Places, fleet: Fleet) -> dict[str, int]:
    """Return how many cells are in each state; a GPU that was never seen is unknown."""
    states = np.append(fleet.verdicts.state, idle.UNKNOWN)[places.series]
    return idle.count(states)
