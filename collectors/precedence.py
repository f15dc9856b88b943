"""Which source tells of a GPU when several do: NVML here and dcgm-exporter there read the same board.

Of the sources of one board (or MIG slice) the best one counts: nvml, then dcgm, then amd and xpum, telegraf, triton.
Points of the others are dropped and counted as long as the best one goes on telling of that board; when it has been
silent for three of its own periods, and 30 s at least, the next one takes over. Among equals the one that told first
stays. Tags of the workload that only a lesser source knows (pods, jobs) are lent to the better one's points.

The tag `exporter` makes a series of each source, so no counter jumps at a hand-over. The energy counters of nvml and
dcgm are one register of the board and go on from each other; amd and xpum have their own, telegraf and triton have none
that could (no energy at all, or energy since the server started): over such a hand-over energy comes from power.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from storage.point import Point
from storage.schema import MEASUREMENTS

#: tag `exporter` -> rank; the lowest counts
RANKS: Mapping[str, int] = MappingProxyType({"nvml": 0, "dcgm": 1, "amd": 2, "xpum": 2, "telegraf": 3, "triton": 4})
#: an exporter that is not known comes last
LAST_RANK = 5
#: tags that are lent
WORKLOAD = ("deployment", "namespace", "pod", "job", "tenant")

HOLD_PERIODS = 3
SHORTEST_HOLD_NS = 30 * 10**9
#: a board of which nobody has told for so long is forgotten
FORGET_NS = 3600 * 10**9
_SWEEP_NS = 600 * 10**9

#: board and GPU instance; the instance is "" for the board as a whole
Key = tuple[str, str]


@dataclass(slots=True)
class Source:
    """What one target has told of one board."""

    rank: int
    #: when it began to tell; the older one of two equals stays
    since_ns: int
    last_ns: int
    #: shortest time between two of its points, 0 before the second: gaps do not count
    period_ns: int = 0
    workload: Mapping[str, str] = field(default_factory=dict)

    def tells(self, time_ns: int) -> bool:
        """Return whether the source speaks at that time; a stamp from the future is a clock that was set back."""
        return abs(time_ns - self.last_ns) <= max(SHORTEST_HOLD_NS, HOLD_PERIODS * self.period_ns)

    def hear(self, point: Point) -> None:
        """Note a point of this source."""
        if not self.tells(point.time_ns):
            self.since_ns = point.time_ns
        step = point.time_ns - self.last_ns
        if step > 0:
            self.period_ns = min(self.period_ns, step) if self.period_ns else step
        self.last_ns = point.time_ns
        self.workload = {tag: point.tags[tag] for tag in WORKLOAD if point.tags.get(tag)}


class Precedence:
    """The sources of all boards that one collector hears of."""

    def __init__(self) -> None:
        self._boards: dict[Key, dict[str, Source]] = {}
        self._swept_ns = 0

    def filter(self, target_name: str, points: Sequence[Point]) -> tuple[list[Point], int]:
        """Return the points of one poll of a target that count, and the number of those that were dropped."""
        kept: list[Point] = []
        self._hear(target_name, points)
        for point in points:
            if _names_board(point):
                sources = self._boards[_key(point)]
                if _best(sources, point.time_ns) == target_name:
                    kept.append(_lend(point, target_name, sources))
            elif point.measurement != "gpu_info" or self._may_identify(target_name, point):
                kept.append(point)
        if points:
            self._sweep(points[0].time_ns)
        return kept, len(points) - len(kept)

    def __len__(self) -> int:
        """Return the number of boards and slices remembered."""
        return len(self._boards)

    def _hear(self, target_name: str, points: Sequence[Point]) -> None:
        for point in points:
            if not _names_board(point):
                continue
            sources = self._boards.setdefault(_key(point), {})
            rank = RANKS.get(point.tags.get("exporter", ""), LAST_RANK)
            if target_name not in sources or sources[target_name].rank != rank:
                sources[target_name] = Source(rank, point.time_ns, point.time_ns)
            sources[target_name].hear(point)

    def _may_identify(self, target_name: str, point: Point) -> bool:
        """Return whether this target's word on the identity of a board counts; `gpu_info` has no tag `exporter`."""
        board = _key(point)[0]
        sources = self._boards.get((board, ""), {})
        return target_name not in sources or _best(sources, point.time_ns) == target_name

    def _sweep(self, time_ns: int) -> None:
        if abs(time_ns - self._swept_ns) < _SWEEP_NS:
            return
        self._swept_ns = time_ns
        for key, sources in list(self._boards.items()):
            alive = {name: source for name, source in sources.items() if abs(time_ns - source.last_ns) < FORGET_NS}
            if alive:
                self._boards[key] = alive
            else:
                del self._boards[key]


def normal_uuid(text: str) -> str:
    """Return a GPU's UUID as it is compared: lower case, without `GPU-`."""
    return text.strip().lower().removeprefix("gpu-")


def _names_board(point: Point) -> bool:
    return point.measurement == "gpu" and bool(point.tags.get("gpu"))


def _key(point: Point) -> Key:
    # NVML names a slice "<GPU instance>/<compute instance>", dcgm-exporter by the GPU instance alone.
    return normal_uuid(point.tags.get("gpu", "")), point.tags.get("mig", "").partition("/")[0]


def _best(sources: Mapping[str, Source], time_ns: int) -> str:
    """Return the target that counts, or "" where none speaks."""
    telling = ((source.rank, source.since_ns, name) for name, source in sources.items() if source.tells(time_ns))
    return min(telling, default=(0, 0, ""))[2]


def _lend(point: Point, target_name: str, sources: Mapping[str, Source]) -> Point:
    """Return the point with what the other sources know of its workload."""
    lent = {tag: value for other in _lenders(point, target_name, sources) for tag, value in other.items()}
    own = point.tags
    if not lent.keys() - own.keys():
        return point
    merged = {**lent, **own}
    return replace(point, tags={tag: merged[tag] for tag in MEASUREMENTS["gpu"].tags if tag in merged})


def _lenders(point: Point, target_name: str, sources: Mapping[str, Source]) -> Iterator[Mapping[str, str]]:
    """Yield the workloads that others tell of and that contradict neither the point nor each other; best one last."""
    known = {tag: point.tags[tag] for tag in WORKLOAD if point.tags.get(tag)}
    agreed = []
    for _, name in sorted((source.rank, name) for name, source in sources.items() if name != target_name):
        source = sources[name]
        fits = all(known.get(tag, value) == value for tag, value in source.workload.items())
        if fits and source.tells(point.time_ns):
            known |= source.workload
            agreed.append(source.workload)
    yield from reversed(agreed)
