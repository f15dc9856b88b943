"""Where the numbers come from: the source of each GPU, the level of each model, what is mapped and what is not."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dashboard import idle
from dashboard.boundaries import board_energies
from dashboard.exporters import Boards
from dashboard.gpus import Fleet, assigned
from dashboard.kpis.efficiency import share_outside
from dashboard.kpis.levels import LEVELS, believed
from dashboard.kpis.windows import counted, live, span
from dashboard.tables import Tables
from dashboard.tokens import output_samples, trusted, who

#: time between two looks. Units: s
EVERY_SECONDS = 10.0
#: names that are listed at most
MOST = 20


@dataclass(frozen=True, slots=True)
class Model:
    """One model: the level whose tokens count, and what each level tells. Units: tokens/s."""

    model: str
    level: str
    tokens_per_second: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the numbers come from, as of `time` (epoch s)."""

    time: float
    #: exporter -> GPUs taken from it; "unknown" where it does not say
    exporters: Mapping[str, int]
    #: GPUs of which more than one exporter tells; only the best one counts
    doubled: int
    #: GPUs whose energy comes from their own counter, from their power
    by_counter: int
    by_power: int
    suspects: tuple[str, ...]
    models: tuple[Model, ...]
    #: share of tokens of engines on no known host; of GPU energy that works for no known engine; None where unknown
    unmapped_tokens_ratio: float | None
    unmapped_energy_ratio: float | None


def look(tables: Tables, boards: Boards, fleet: Fleet) -> Provenance:
    """Return where the numbers of this tick come from."""
    names = Counter(name or "unknown" for name in boards.exporters[fleet.signals.live])
    samples = tables.gpu.any_of("energy_joules_total", "power_watts")
    window = span(samples, tables.now, tables.window_seconds)
    tokens, models = _models(tables)
    if window is None:
        return Provenance(tables.now, dict(names), boards.doubled, 0, 0, (), models, tokens, None)
    energy = board_energies(tables, window)
    known = energy.covered > 0
    working = ~assigned(tables) & ~np.isin(fleet.verdicts.state, (idle.UNALLOCATED, idle.UNKNOWN, idle.LOST))
    return Provenance(
        time=tables.now,
        exporters=dict(names),
        doubled=boards.doubled,
        by_counter=int((known & energy.by_counter).sum()),
        by_power=int((known & ~energy.by_counter).sum()),
        suspects=tuple(tables.gpu.keys[energy.suspect]),
        models=models,
        unmapped_tokens_ratio=tokens,
        unmapped_energy_ratio=share_outside(energy.joules, working) if models else None,
    )


def _models(tables: Tables) -> tuple[float | None, tuple[Model, ...]]:
    """Return the share of tokens without a known host, and what each level tells of each model, most tokens first."""
    inference, samples = tables.inference, output_samples(tables.inference)
    window = span(trusted(inference, samples, tables.now), tables.now, tables.window_seconds)
    if window is None:
        return None, ()
    order, alive = who(inference), live(samples, tables.now)
    counts = believed(order, alive)
    rates = counted(samples, *window).amount / (window[1] - window[0])
    models = []
    for number, name in enumerate(order.models):
        own = order.model == number
        told = {LEVELS[n]: float(rates[own & (order.level == n)].sum()) for n in np.unique(order.level[own & alive])}
        level = next((LEVELS[n] for n in np.unique(order.level[own & counts & alive])), "")
        if told:
            models.append(Model(name or "not named", level, told))
    models.sort(key=lambda model: -max(model.tokens_per_second.values()))
    return share_outside(rates * counts, tables.engine_host < 0), tuple(models)


def to_plain(found: Provenance, prefer: str, clocks: Mapping[str, float]) -> dict[str, Any]:
    """Return the block `sources` of the snapshot (contract: docs/contracts.md section 3)."""
    return {
        "gpus": {
            "exporters": dict(found.exporters),
            "doubled": found.doubled,
            "by_counter": found.by_counter,
            "by_power": found.by_power,
            "prefer": prefer,
            "suspect": len(found.suspects),
            "suspects": list(found.suspects[:MOST]),
        },
        "models": [asdict(model) for model in found.models[:MOST]],
        "unmapped_tokens_ratio": found.unmapped_tokens_ratio,
        "unmapped_energy_ratio": found.unmapped_energy_ratio,
        "clocks_ahead": dict(clocks),
    }
