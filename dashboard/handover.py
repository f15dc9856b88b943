"""Energy of GPU boards over a long window, read part by part: one source tells of each moment, and none tells twice.

In a part the best source of a board speaks, as in the live numbers. The next best one speaks for the time before its
first sample, and after its last one once it has fallen silent: NVML goes, dcgm-exporter takes over, NVML comes back.
Only what neither saw is lost. A source that did not speak last counts from where the other stopped, however far back
its own counter reaches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from dashboard.exporters import Boards, choose
from dashboard.kpis.energy import Edges, Prefer, board_energy
from dashboard.kpis.windows import Floats, Samples, changes, last, live, moves, newest, oldest, resets
from dashboard.recent import Recent

#: a counter that moves at fewer polls than this is read where it changes: between renewals it tells old values
_MOVES = 0.9


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the window [start, end]; samples are known up to `until`. Units: epoch s."""

    start: float
    end: float
    until: float
    prefer: Prefer
    #: power may stand in before the counter's first sample, after its last one
    edges: Edges


@dataclass(slots=True)
class Handover:
    """What boards told up to now, and who told last of each."""

    joules: float = 0.0
    resets: int = 0
    #: UUIDs of those that told something
    boards: set[str] = field(default_factory=set)
    #: UUID -> exporter that told last, and up to when (epoch s)
    last: dict[str, tuple[str, float]] = field(default_factory=dict)

    def read(self, known: Recent, part: Part) -> Recent:
        """Count one part, later than those before, and return the boards, each by its best source."""
        best: Recent | None = None
        spoken: dict[str, tuple[str, float]] = {}
        opened = closed = np.empty(0)
        for boards in _by_rank(known, part.until):
            gpu, begins = boards.gpu, self._begins(boards, part.start)
            if best is None:
                best, opened, closed = gpu, np.full(gpu.count, np.inf), np.full(gpu.count, -np.inf)
            early = np.minimum(opened, part.end)
            late = np.minimum(np.maximum(np.maximum(closed, begins), early), part.end)
            for opens, closes in ((begins, early), (late, np.full_like(late, part.end))):
                self._count(boards, part, opens, closes, spoken)
            present = gpu.presence()
            opened = np.minimum(opened, oldest(present))
            closed = np.maximum(closed, np.where(live(present, part.until), np.inf, newest(present)))
        self.last.update(spoken)
        return known if best is None else best

    def _begins(self, boards: Boards, start: float) -> Floats:
        """Return from when each source may count: one that takes over, from where the other stopped."""
        begins = np.full(boards.gpu.count, start)
        for board, (uuid, exporter) in enumerate(zip(boards.gpu.keys, boards.exporters, strict=True)):
            other, until = self.last.get(uuid, (exporter, start))
            if other != exporter:
                begins[board] = max(start, until)
        return begins

    def _count(
        self, boards: Boards, part: Part, opens: Floats, closes: Floats, spoken: dict[str, tuple[str, float]]
    ) -> None:
        """Add what the sources told of [opens, closes], and note in `spoken` who told latest of each board."""
        gpu = boards.gpu
        counter, power = _stepwise(gpu.samples("energy_joules_total")), gpu.samples("power_watts")
        limit = last(gpu.samples("power_limit_watts"))
        energy = board_energy(counter, power, limit, opens, closes, prefer=part.prefer, edges=part.edges)
        self.joules += float(energy.joules.sum())
        self.resets += resets(counter.only(energy.by_counter), opens, closes)
        reached = np.minimum(np.where(energy.by_counter, newest(counter), newest(power)), closes)
        for board in np.flatnonzero(energy.covered > 0).tolist():
            uuid = gpu.keys[board]
            self.boards.add(uuid)
            if uuid not in spoken or reached[board] > spoken[uuid][1]:
                spoken[uuid] = (boards.exporters[board], float(reached[board]))


def _by_rank(known: Recent, until: float) -> Iterator[Boards]:
    """Yield every board by its best source, then by the next best one, until all sources had their turn."""
    rest = known
    while len(rest.times):
        boards = choose(rest, None, until)
        yield boards
        waits = np.ones(rest.count, dtype=bool)
        waits[boards.taken] = False
        rows = waits[rest.series]
        values = {name: column[rows] for name, column in rest.values.items()}
        rest = replace(rest, series=rest.series[rows], times=rest.times[rows], values=values)


def _stepwise(counter: Samples) -> Samples:
    """Return the samples; of counters that repeat readings only those where it changed."""
    slow = np.nan_to_num(moves(counter), nan=1.0) < _MOVES
    return changes(counter, slow) if slow.any() else counter
