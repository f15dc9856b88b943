"""One source per thing: where several devices tell the same watts, only one of them counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.kpis.efficiency import OK_COVERAGE
from dashboard.kpis.windows import Bools, Floats, Ints

#: who is believed about a GPU; a name that is not here comes last
EXPORTER_RANK = {"nvml": 0, "dcgm": 1, "amd": 2, "xpum": 2, "telegraf": 3, "triton": 4}
_LAST_RANK = max(EXPORTER_RANK.values()) + 1


@dataclass(frozen=True, slots=True)
class OneSource:
    """One element per group (rack, CDU)."""

    joules: Floats
    #: covered share of the window, 0 to 1, of the source that was taken
    coverage: Floats
    #: rank of that source; -1 where the group has none
    source: Ints


def one_source(
    group: Ints, source: Ints, joules: Floats, covered: Floats, expected: Floats, window: float
) -> OneSource:
    """Return each group's energy from one kind of source. Units: J = sum over the group's devices of that kind.

    `group`, `source` (rank of the kind, 0 is best), `joules` and `covered` (s) hold one element per device; `expected`
    is groups x kinds, the number of devices by inventory. Taken is the best kind that is fully covered, else the best
    covered one, so a silent PDU never halves a rack that its building system sees.
    """
    sums, known, seen = (np.zeros(expected.shape) for _ in range(3))
    np.add.at(sums, (group, source), joules)
    np.add.at(known, (group, source), covered)
    np.add.at(seen, (group, source), 1.0)
    share = np.minimum(known / np.maximum(np.maximum(expected, seen) * window, 1e-9), 1.0)
    full = share >= OK_COVERAGE
    chosen = np.where(full.any(axis=1), full.argmax(axis=1), share.argmax(axis=1))
    rows = np.arange(len(chosen))
    told = share[rows, chosen] > 0
    return OneSource(
        joules=np.where(told, sums[rows, chosen], 0.0),
        coverage=np.where(told, share[rows, chosen], 0.0),
        source=np.where(told, chosen, -1),
    )


def exporter_ranks(names: Sequence[str]) -> Ints:
    """Return the rank of each exporter, 0 is best."""
    return np.array([EXPORTER_RANK.get(name, _LAST_RANK) for name in names], dtype=np.int64)


def best_of_each(group: Ints, rank: Ints, alive: Bools, known: Bools, count: int) -> Ints:
    """Return for each of `count` groups its best member: the one that lives, is known for long, and ranks best.

    Of equals the first wins. Every group has a member.
    """
    score = rank + (~known) * (_LAST_RANK + 1) + (~alive) * 2 * (_LAST_RANK + 1)
    order = np.lexsort((score, group))
    chosen = np.zeros(count, dtype=np.int64)
    chosen[group[order][::-1]] = order[::-1]
    return chosen
