"""Growth of all counters over exactly one window, from raw samples through the functions of the live numbers.

Unlike a live number a total fills in nothing: what nobody saw is not counted. Reports read the final token clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from dashboard.handover import Handover, Part
from dashboard.kpis.energy import Prefer
from dashboard.kpis.levels import growth_by_level
from dashboard.kpis.windows import live, newest, resets
from dashboard.recent import Query, Recent, empty, merge
from dashboard.tables import GPU, INFERENCE
from dashboard.tokens import input_samples, output_samples, who
from storage.store import Store

LONGEST_SECONDS = 7200.0
#: how far before and after the window samples are looked for, to interpolate at its edges. Units: s
MARGIN_SECONDS = 600.0
AFTER_SECONDS = 60.0
#: boards are read in parts of this length; per part the counter or the power of a board is taken. Units: s
PART_SECONDS = 600.0
BOARDS = Query(
    "gpu",
    identity=GPU.identity,
    tags=("gpu", "exporter"),
    fields=("energy_joules_total", "power_watts", "power_limit_watts"),
    where=GPU.where,
)


class WindowError(ValueError):
    """The window cannot be asked for: not two times, empty, or too long."""


class TooEarlyError(Exception):
    """The end of the window has not been told by all that live; `data_time` has. Units: epoch s."""

    def __init__(self, message: str, data_time: float | None) -> None:
        super().__init__(message)
        self.data_time = data_time


@dataclass(frozen=True, slots=True)
class Totals:
    """What was counted in [start, end]. Units: epoch s, tokens, J."""

    start: float
    end: float
    output_tokens: float
    input_tokens: float
    gpu_board_joules: float
    resets: int
    #: measurement -> series that told something
    series: dict[str, int]


def window(start: str | None, end: str | None) -> tuple[float, float]:
    """Return the window that two texts name. Units: epoch s.

    Raises:
        WindowError: one is missing or no number, the end is not after the start, or they are over two hours apart.
    """
    try:
        first, final = float(start or ""), float(end or "")
    except ValueError:
        raise WindowError(f"start={start!r}, end={end!r}: give both in epoch seconds") from None
    if not (0 < first < final < 1e11):
        raise WindowError(f"start={start!r}, end={end!r}: the end must be after the start, both in epoch seconds")
    if final - first > LONGEST_SECONDS:
        raise WindowError(f"{final - first:.0f} s between start and end: at most {LONGEST_SECONDS:.0f} s, ask in parts")
    return first, final


def totals(store: Store, start: float, end: float, now: float, *, real: bool, prefer: Prefer) -> Totals:
    """Return the growth of all counters over [start, end]. Units: epoch s; `real`: simulated data is left out.

    Raises:
        TooEarlyError: a series that lives has not told of `end` yet.
        StoreError: the store does not answer.
    """
    inference = _read(store, INFERENCE, empty(INFERENCE), start - MARGIN_SECONDS, min(end + AFTER_SECONDS, now), real)
    boards = _boards(store, start, end, now, real=real, prefer=prefer)
    _check_end(end, now, [*_reach(inference, now), *boards.reach])
    output, given = output_samples(inference, "final"), input_samples(inference, "final")
    order = who(inference)
    grown, taken = (growth_by_level(order, samples, start, end, fill=False) for samples in (output, given))
    return Totals(
        start=start,
        end=end,
        output_tokens=float(grown.amount.sum()),
        input_tokens=float(taken.amount.sum()),
        gpu_board_joules=boards.joules,
        resets=resets(output.only(grown.covered > 0), start, end) + boards.resets,
        series={"inference": int((grown.covered > 0).sum()), "gpu": boards.count},
    )


def _read(store: Store, query: Query, old: Recent, start: float, end: float, real: bool) -> Recent:
    """Return `old` with what the store has in [start, end)."""
    first, final = (datetime.fromtimestamp(time, UTC) for time in (start, end))
    frame = store.range(
        query.measurement, query.fields, first, final + timedelta(microseconds=1),
        every=None, aggregate="last", where=query.where,
    )  # fmt: skip
    if real:
        frame = frame[frame["synthetic"] != "true"]
    return merge(query, old, frame, start, -np.inf)


def _reach(recent: Recent, now: float) -> list[float]:
    """Return the time of the newest sample of each series that lives. Units: epoch s."""
    presence = recent.presence()
    reached: list[float] = newest(presence)[live(presence, now)].tolist()
    return reached


def _check_end(end: float, now: float, reached: Sequence[float]) -> None:
    """Raise TooEarlyError when a series that lives has not told of `end` yet; of a window long past nobody is asked."""
    if now - end > AFTER_SECONDS or (reached and min(reached) >= end):
        return
    told = f"all that lives has told up to {end - min(reached):.1f} s before it" if reached else "nothing lives"
    raise TooEarlyError(f"end={end}: {told}; ask again later or for an earlier end", min(reached, default=None))


@dataclass(frozen=True, slots=True)
class _Boards:
    """What all boards told."""

    joules: float
    count: int
    resets: int
    #: newest sample of each that lives, epoch s
    reach: list[float]


def _boards(store: Store, start: float, end: float, now: float, *, real: bool, prefer: Prefer) -> _Boards:
    """Return the energy of all boards over [start, end], read in parts."""
    known, told, reach = empty(BOARDS), Handover(), list[float]()
    begin, final = start - MARGIN_SECONDS, min(end + AFTER_SECONDS, now)
    while begin < final:
        until = min(begin + PART_SECONDS, final) if begin >= start else min(start + PART_SECONDS, final)
        known = _read(store, BOARDS, known, begin, until, real)
        gpu = told.read(known, Part(start, end, until, prefer, edges=(begin < start, until >= final)))
        reach = _reach(gpu, now)
        known, begin = _ends(known), until
    return _Boards(told.joules, len(told.boards), told.resets, reach)


def _ends(recent: Recent) -> Recent:
    """Return each series' newest value of each field: the next part goes on from there, and counts nothing twice.

    Of a counter that repeats its value it is the first of the last repetition.
    """
    kept = np.zeros(len(recent.times), dtype=bool)
    values = {}
    for name, column in recent.values.items():
        rows = np.flatnonzero(~np.isnan(column))
        if name.endswith("_total"):
            moved = (np.diff(column[rows]) != 0) | (np.diff(recent.series[rows]) != 0)
            rows = rows[np.append(True, moved)[: len(rows)]]
        final = rows[np.append(recent.series[rows][1:] != recent.series[rows][:-1], True)[: len(rows)]]
        values[name] = np.full(len(column), np.nan)
        values[name][final] = column[final]
        kept[final] = True
    values = {name: column[kept] for name, column in values.items()}
    return replace(recent, series=recent.series[kept], times=recent.times[kept], values=values)
