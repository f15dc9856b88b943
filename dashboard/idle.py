"""Which GPUs work, which stand idle, and why: one state machine over all GPUs at once. Pure: no I/O, no clock.

A condition is what the last seconds look like; a state is a condition that has held for its entry time. The order of
the conditions is that of the product's KPI definition, section 6.4; the first that matches wins. A gap in telemetry is
`unknown`, never idle. `light` is neither busy nor idle (yet).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dashboard.kpis.windows import Bools, Floats, Ints
from dashboard.kpis.words import percent

Column = TypeVar("Column", Ints, Floats, Bools)

STATES = (
    "unknown", "lost", "ghost", "busy", "stalled", "starved", "parked", "reserved_idle", "unallocated_idle", "light",
)  # fmt: skip
UNKNOWN, LOST, GHOST, BUSY, STALLED, STARVED, PARKED, RESERVED, UNALLOCATED, LIGHT = range(len(STATES))
#: nothing matches: the condition before goes on
NONE = len(STATES)
#: what is counted as idle
IDLE = (GHOST, STALLED, PARKED, RESERVED, UNALLOCATED)
_IDLE_MASK = np.isin(np.arange(len(STATES) + 1), IDLE)

ACTIVE = 0.05
QUIET = 0.01
FULL = 0.95
SPINNING = 0.90
STARVING = 0.20
TENSOR_WORK = 0.01
DRAM_WORK = 0.05
GHOST_BYTES = 64 * 2**20
#: a GPU whose processes nobody counts holds one when more memory than this is taken (a CUDA context and its weights)
PROCESS_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Limits:
    """The entry times and shares of the settings, in seconds and ratios."""

    #: entry time of each state, in the order of STATES; that of light is how long a busy GPU may rest. Units: s
    hold: tuple[float, ...]
    grace: float
    leave: float
    parked_power: float
    working_power: float
    bare_power: float


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of each GPU now; NaN where it is not known."""

    #: telemetry is there: the newest sample is younger than three periods
    live: Bools
    lost: Bools
    #: share of time with work: SMs active, else utilization
    activity: Floats
    #: share of time in which any kernel ran
    utilization: Floats
    tensor: Floats
    dram: Floats
    #: board power over its limit
    power: Floats
    processes: Floats
    memory_bytes: Floats
    #: a workload is assigned to it
    assigned: Bools
    #: tokens per second, running and waiting requests of the engines on its host; NaN without engine, and where an
    #: engine counts its tokens at the end of requests that still run
    tokens: Floats
    running: Floats
    waiting: Floats
    #: what the switch ports of its host suffer, in words, "" for nothing; empty where no fabric is watched
    fabric: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """State of each GPU. Times are epoch seconds."""

    state: Ints
    since: Floats
    #: the condition that may become the state, and since when it has held
    condition: Ints
    condition_since: Floats
    #: since when another condition interrupts it; NaN while none does
    interrupted: Floats
    first_seen: Floats
    #: workload assigned when last evaluated: a change starts the grace again
    assigned: Bools


def start(count: int, now: float, *, grace: bool, seconds: float) -> Verdicts:
    """Return `count` GPUs of which nothing is known yet; with `grace` they are new, without they were always there."""
    seen = now if grace else now - seconds
    return Verdicts(
        state=np.full(count, UNKNOWN),
        since=np.full(count, now),
        condition=np.full(count, UNKNOWN),
        condition_since=np.full(count, now),
        interrupted=np.full(count, np.nan),
        first_seen=np.full(count, seen),
        assigned=np.zeros(count, dtype=bool),
    )


def extend(old: Verdicts, rows: Ints, now: float) -> Verdicts:
    """Return verdicts for a new list of GPUs: `rows` names each one's old row, -1 for a new GPU."""
    fresh = start(len(rows), now, grace=True, seconds=0.0)
    known = rows >= 0

    def carry(new: Column, before: Column) -> Column:
        column = new.copy()
        column[known] = before[rows[known]]
        return column

    return Verdicts(
        state=carry(fresh.state, old.state),
        since=carry(fresh.since, old.since),
        condition=carry(fresh.condition, old.condition),
        condition_since=carry(fresh.condition_since, old.condition_since),
        interrupted=carry(fresh.interrupted, old.interrupted),
        first_seen=carry(fresh.first_seen, old.first_seen),
        assigned=carry(fresh.assigned, old.assigned),
    )


def processes(signals: Signals) -> tuple[Bools, Bools]:
    """Return (holds a process, holds none). Both are false where neither count nor memory is known."""
    counted, held = ~np.isnan(signals.processes), ~np.isnan(signals.memory_bytes)
    some = np.where(counted, signals.processes > 0, held & (signals.memory_bytes > PROCESS_BYTES))
    none = np.where(counted, signals.processes == 0, held & (signals.memory_bytes <= PROCESS_BYTES))
    return some.astype(bool), none.astype(bool)


def conditions(signals: Signals, limits: Limits) -> Ints:
    """Return what each GPU looks like now: an index into STATES, or NONE; the first that matches wins.

    Tokens of the host's engine vouch for a GPU only while that GPU itself is not quiet: an engine may span half a host,
    and tokens that flow without a GPU prove that its requests are not its own.
    """
    act, power = signals.activity, signals.power
    some, none = processes(signals)
    quiet, calm = act <= QUIET, ~(power >= limits.parked_power)
    tokens = signals.tokens > 0
    requests = (np.nan_to_num(signals.running) + np.nan_to_num(signals.waiting)) > 0
    working = (signals.tensor >= TENSOR_WORK) | (signals.dram >= DRAM_WORK) | (power >= limits.working_power)
    working |= np.isnan(signals.tensor) & np.isnan(signals.dram) & np.isnan(power)
    weak = power < limits.working_power
    # Without a context's memory there is no process, also where nobody counts them.
    bare = ~(signals.processes > 0) & (signals.memory_bytes <= GHOST_BYTES) & (power < limits.bare_power)
    matches = {
        UNKNOWN: ~signals.live,
        LOST: signals.lost,
        GHOST: (signals.utilization >= FULL) & bare,
        BUSY: (tokens & ~quiet) | ((act >= ACTIVE) & working),
        STALLED: ~tokens & weak & (((signals.running > 0) & (signals.tokens <= 0) & ~none) | (act >= SPINNING)),
        STARVED: signals.assigned & some & (act < STARVING) & (signals.waiting > 0) & ~tokens,
        PARKED: some & quiet & calm & (tokens | ~requests),
        RESERVED: none & quiet & signals.assigned,
        UNALLOCATED: none & quiet & ~signals.assigned,
    }
    order = (LOST, UNKNOWN, *range(GHOST, LIGHT))
    found: Ints = np.select([matches[state] for state in order], order, default=NONE).astype(np.int64)
    return found


def evaluate(old: Verdicts, signals: Signals, limits: Limits, now: float) -> Verdicts:
    """Return the verdicts after what the signals say at `now`.

    A condition becomes the state when it has held for its entry time (busy, lost and unknown at once). An idle
    condition survives activity shorter than `leave`, unless tokens flow, and a gap in telemetry shorter than `grace`;
    the state is `unknown` during the gap all the same.
    """
    found = conditions(signals, limits)
    kept = np.where(np.isin(old.condition, (UNKNOWN, BUSY)), LIGHT, old.condition)
    found = np.where(found == NONE, kept, found)
    changed, gap = found != old.condition, found == UNKNOWN
    broken = np.where(changed, np.where(np.isnan(old.interrupted), now, old.interrupted), np.nan)
    at_once = (found == LOST) | ((signals.tokens > 0) & (found == BUSY))
    patience = np.where(gap, limits.grace, np.where(at_once, 0.0, limits.leave))
    survives = changed & _IDLE_MASK[old.condition] & (now - broken < patience)
    switch = changed & ~survives
    condition = np.where(switch, found, old.condition)
    condition_since = np.where(switch, broken, old.condition_since)
    first_seen = np.where(signals.assigned & ~old.assigned & (old.state != UNKNOWN), now, old.first_seen)
    held = now - condition_since
    settled = ~_IDLE_MASK[condition] | (now - first_seen >= limits.grace)
    enters = (condition != old.state) & settled & (held >= np.asarray(limits.hold)[condition])
    state = np.where(enters, condition, np.where(_fades(old, condition, held, limits), LIGHT, old.state))
    state = np.where(gap, UNKNOWN, state)
    moved = state != old.state
    since = np.where(moved, np.where(enters & ~gap, condition_since, now), old.since)
    interrupted = np.where(survives, broken, np.nan)
    return Verdicts(state, since, condition, condition_since, interrupted, first_seen, signals.assigned.copy())


def _fades(old: Verdicts, condition: Ints, held: Floats, limits: Limits) -> Bools:
    """Return which GPUs left their state without having entered the next: they are light.

    An idle state that turns into another idle condition stays until that one has held; a busy one rests for a while.
    """
    gone = np.isin(old.state, (UNKNOWN, LOST, STARVED)) & (condition != old.state)
    ended = _IDLE_MASK[old.state] & ~_IDLE_MASK[condition]
    tired = (old.state == BUSY) & (condition != BUSY) & (held >= limits.hold[LIGHT])
    faded: Bools = gone | ended | tired
    return faded


def confidence(signals: Signals) -> Floats:
    """Return how sure the verdicts are: 1.0 with profiling, processes and tokens, 0.7 without profiling, else 0.5."""
    profiled = ~np.isnan(signals.tensor) | ~np.isnan(signals.dram)
    counted = ~np.isnan(signals.processes)
    return np.where(profiled & counted, 1.0, np.where(counted | profiled, 0.7, 0.5))


def reason(state: int, signals: Signals, row: int) -> str:
    """Return why a GPU is in its state: the evidence in words, with the readings."""
    facts = [
        _fact("activity", signals.activity[row], percent),
        _fact("power", signals.power[row], lambda share: f"{percent(share)} of limit"),
        _fact("processes", signals.processes[row], "{:.0f}".format),
        _fact("memory", signals.memory_bytes[row] / 2**30, "{:.1f} GiB".format),
        _fact("running requests", signals.running[row], "{:.0f}".format),
        _fact("waiting requests", signals.waiting[row], "{:.0f}".format),
    ]
    why = f"{_WHY[STATES[state]]}: {', '.join(fact for fact in facts if fact)}".rstrip(": ")
    held_up = signals.fabric[row] if len(signals.fabric) else ""
    return f"{why}; fabric: {held_up}" if held_up else why


_WHY: Mapping[str, str] = {
    "unknown": "no telemetry",
    "lost": "does not answer any more",
    "ghost": "reports full use without a process",
    "busy": "works",
    "stalled": "has requests or spins, but no tokens come out",
    "starved": "waits for input",
    "parked": "holds a process and memory, does no work",
    "reserved_idle": "assigned to a workload that never started",
    "unallocated_idle": "free, nothing assigned",
    "light": "little to do",
}


def _fact(name: str, value: float, write: Callable[[float], str]) -> str:
    return "" if np.isnan(value) else f"{name} {write(value)}"


def count(states: Ints) -> dict[str, int]:
    """Return how many GPUs are in each state; states without GPUs are left out."""
    numbers = np.bincount(states, minlength=len(STATES))
    return {name: int(number) for name, number in zip(STATES, numbers, strict=True) if number}


def is_idle(states: Ints | Sequence[int]) -> Bools:
    """Return which of these states count as idle."""
    idle: Bools = _IDLE_MASK[np.asarray(states, dtype=np.int64)]
    return idle
