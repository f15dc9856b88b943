"""Who tells of a model's tokens: one level per model and time. Engines are believed before frontends before gateways.

Source: attribution rules of the product's KPI definition, section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dashboard.kpis.windows import Bools, Floats, Ints, Samples, Windowed, counted, filled, newest, oldest

#: from the most to the least authoritative; a series without level is an engine's
LEVELS = ("engine", "frontend", "gateway")
ENGINE = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """Whose word each inference series is: one element per series."""

    #: index into `models`
    model: Ints
    #: index into LEVELS
    level: Ints
    #: models by their last path part, lower case; "" where the server does not name it
    models: tuple[str, ...]


def model_key(name: str) -> str:
    """Return the name by which levels agree on a model: the last part of its path, lower case."""
    return name.rstrip("/").rpartition("/")[2].lower()


def ranked(models: Sequence[str], levels: Sequence[str]) -> Ranked:
    """Return whose word each series is; `models` and `levels` hold its tags."""
    keys = {name: model_key(name) for name in set(models)}
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys[name] for name in models))}
    number_of = {name: numbers[key] for name, key in keys.items()}
    rank_of = {name: LEVELS.index(name) if name in LEVELS else ENGINE for name in set(levels)}
    model, level = [number_of[name] for name in models], [rank_of[name] for name in levels]
    return Ranked(np.array(model, dtype=np.int64), np.array(level, dtype=np.int64), tuple(numbers))


def believed(who: Ranked, alive: Bools) -> Bools:
    """Return the series of each model's best level of which a series lives; of the best one where none lives.

    An engine that does not name its model may serve any: beside it no frontend and no gateway is believed.
    """
    best = np.full(len(who.models), len(LEVELS))
    living = alive if alive.any() else np.ones_like(alive)
    np.minimum.at(best, who.model[living], who.level[living])
    silent = np.setdiff1d(np.arange(len(best)), who.model[living])
    dead = np.isin(who.model, silent)
    np.minimum.at(best, who.model[dead], who.level[dead])
    if _nameless(who, living).any():
        best[:] = ENGINE
    told: Bools = who.level == best[who.model]
    return told


def _nameless(who: Ranked, among: Bools) -> Bools:
    named = np.array([name != "" for name in who.models], dtype=bool)
    nameless: Bools = among & (who.level == ENGINE) & ~named[who.model]
    return nameless


def growth_by_level(who: Ranked, samples: Samples, start: float, end: float, *, fill: bool) -> Windowed:
    """Return what each series adds to the sum over [start, end]: no token is counted at two levels.

    A lesser level counts for the time before the first and after the last sample of all better ones of its model.
    `fill`: what is missing of a nearly whole window is filled, as `increase` does.
    """
    first, final = oldest(samples), newest(samples)
    opened, closed = np.full(len(who.models), np.inf), np.full(len(who.models), -np.inf)
    amount, covered = np.zeros(samples.count), np.zeros(samples.count)
    for level in range(len(LEVELS)):
        told = (who.level == level) & np.isfinite(first)
        if not told.any():
            continue
        before, after = opened[who.model], closed[who.model]
        grown = _outside(samples.only(told), before, after, start, end)
        if fill:
            alone = told & (final >= end) & ((before >= end) | (after <= start))
            grown = filled(grown.amount, grown.covered, end - start, alone)
        amount, covered = amount + grown.amount, covered + grown.covered
        np.minimum.at(opened, who.model[told], first[told])
        np.maximum.at(closed, who.model[told], final[told])
        nameless = _nameless(who, told)
        if nameless.any():
            opened, closed = np.minimum(opened, first[nameless].min()), np.maximum(closed, final[nameless].max())
    return Windowed(amount, covered)


def _outside(samples: Samples, before: Floats, after: Floats, start: float, end: float) -> Windowed:
    """Return the growth within [start, end] up to `before` and from `after` on; both hold one time per series."""
    ends = np.minimum(before, end)
    early = counted(samples, np.full_like(ends, start), ends)
    late = counted(samples, np.maximum(np.maximum(after, start), ends), np.full_like(ends, end))
    return Windowed(early.amount + late.amount, early.covered + late.covered)


def best_per_step(who: Ranked, heard: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which cells of series x steps count: those of the best level that is heard of the model in that step."""
    counts = np.zeros_like(heard)
    taken = np.zeros((len(who.models), heard.shape[1]), dtype=bool)
    for level in range(len(LEVELS)):
        own = heard & (who.level == level)[:, np.newaxis]
        counts |= own & ~taken[who.model]
        np.logical_or.at(taken, who.model, own)
        taken |= heard[_nameless(who, who.level == level)].any(axis=0)
    return counts
