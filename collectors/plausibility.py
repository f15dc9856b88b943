"""Whether a GPU's energy and power can be true, judged by what the same source said before.

For metrics pages: they come through programs that cache, scale and restart. (`collectors/nvml/agent/truth.py` judges
NVML itself.)

- Power above twice the limit is refused.
- Energy that grew by more than 1.3 times the limit (3000 W where it is unknown) allows is refused. An exporter renews
  its page when it likes, each 30 s for instance, so growth is judged over the last two changes that were seen.
- Energy that fell counts once the next change goes on from there: Intel's counter drops to some 200 J and comes back.
  A fall to more than half of it is no restart: it is refused until the counter is back, for ten minutes at most.
- Energy that stands still for a minute under load is broken: refused for ten minutes, so that power is integrated.
- A board under load of which all values, energy among them, stand still for five minutes is told by an exporter that
  hangs and repeats its last page: nothing of it is taken until a value moves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from storage.point import FieldValue, Point

POWER_LIMIT_RATIO, ENERGY_LIMIT_RATIO = 2.0, 1.3
#: no board draws more
LIMIT_WATTS = 3000.0
#: load under which an energy counter must move, as a share of the limit
LOAD_RATIO = 0.1
FROZEN_S = 60.0
#: longer than exporters let pass between two renewals of their page
HANGS_S = 300.0
REFUSED_S = 600.0
#: a page may be that old when it is first seen
RENEWAL_S = 60.0
#: a counter that starts anew is below this share of what it was
RESTART_RATIO = 0.5
FORGET_S = 3600.0

_ENERGY = "energy_joules_total"
_POWERS = ("power_watts", "power_instant_watts")


@dataclass(slots=True)
class Counter:
    """The energy counter of one board as one source tells it. Units: J, s since the epoch."""

    joules: float
    read_s: float
    changed_s: float
    #: the change before the last one, from which growth is judged
    anchor_joules: float
    anchor_s: float
    changes: int = 0
    #: a lower reading that waits for its confirmation, and when it was first seen
    fallen: tuple[float, float] | None = None
    refused_until_s: float = 0.0


@dataclass(slots=True)
class Board:
    """What is remembered of one board or slice."""

    heard_s: float
    limit_watts: float | None = None
    counter: Counter | None = None
    #: what it said last, and since when
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    said_s: float = 0.0


class Plausibility:
    """The boards of one target."""

    def __init__(self) -> None:
        self._boards: dict[tuple[str, str], Board] = {}
        self._swept_s = 0.0

    def check(self, points: Sequence[Point]) -> tuple[list[Point], list[str]]:
        """Return the points of one poll without what cannot be true, and what was refused, a line each."""
        kept: list[Point] = []
        refused: list[str] = []
        for point in points:
            # NVML's own readings were judged where they were read.
            judged = point.measurement == "gpu" and point.tags.get("exporter") != "nvml"
            checked = self._check(point, refused) if judged else point
            if checked.fields:
                kept.append(checked)
        if points:
            self._sweep(points[0].time_ns / 1e9)
        return kept, refused

    def __len__(self) -> int:
        """Return the number of boards and slices remembered."""
        return len(self._boards)

    def _check(self, point: Point, refused: list[str]) -> Point:
        now = point.time_ns / 1e9
        gpu = point.tags.get("gpu", "")
        board = self._boards.setdefault((gpu, point.tags.get("mig", "")), Board(now))
        board.heard_s = now
        limit = _number(point, "power_limit_watts")
        board.limit_watts = limit if limit else board.limit_watts
        if why := _hangs(point, board, now):
            refused.append(f"gpu[gpu={gpu}]: {why}")
            return replace(point, fields={})
        wrong = dict([*_impossible_power(point, board), *_impossible_energy(point, board, now)])
        refused += [f"gpu.{name}[gpu={gpu}]={point.fields[name]}: {why}" for name, why in wrong.items()]
        if not wrong:
            return point
        fields: dict[str, FieldValue] = {name: value for name, value in point.fields.items() if name not in wrong}
        return replace(point, fields=fields)

    def _sweep(self, now: float) -> None:
        if abs(now - self._swept_s) < FORGET_S / 6:
            return
        self._swept_s = now
        self._boards = {key: board for key, board in self._boards.items() if abs(now - board.heard_s) < FORGET_S}


def _number(point: Point, name: str) -> float | None:
    value = point.fields.get(name)
    return float(value) if isinstance(value, int | float) else None


def _hangs(point: Point, board: Board, now: float) -> str:
    """Return why nothing of a point is taken, or "": an exporter that hangs repeats its last page for ever."""
    if point.fields != board.fields or now < board.said_s:
        board.fields, board.said_s = point.fields, now
    still, power = now - board.said_s, _number(point, "power_watts")
    load = LOAD_RATIO * (board.limit_watts or LIMIT_WATTS)
    if still <= HANGS_S or _ENERGY not in point.fields or power is None or power <= load:
        return ""
    return f"repeats itself for {still:.0f} s at {power:g} W: the exporter hangs"


def _impossible_power(point: Point, board: Board) -> Iterator[tuple[str, str]]:
    for name in _POWERS:
        watts = _number(point, name)
        if watts is not None and board.limit_watts and watts > POWER_LIMIT_RATIO * board.limit_watts:
            yield name, f"more than {POWER_LIMIT_RATIO:g} times the limit of {board.limit_watts:g} W"


def _impossible_energy(point: Point, board: Board, now: float) -> Iterator[tuple[str, str]]:
    joules = _number(point, _ENERGY)
    if joules is None:
        return
    counter = board.counter
    if counter is None or now < counter.read_s or (counter.refused_until_s and now >= counter.refused_until_s):
        # The first reading, or one after the clock was set back, or after ten minutes of distrust.
        board.counter = Counter(joules, now, now, joules, now)
        return
    limit = board.limit_watts or LIMIT_WATTS
    power = _number(point, "power_watts")
    why = _judge(counter, joules, now, limit, power)
    counter.read_s = now
    if why:
        yield _ENERGY, why


def _judge(counter: Counter, joules: float, now: float, limit: float, power: float | None) -> str:
    """Return why a reading cannot be believed, or "" after noting it."""
    if counter.refused_until_s:
        return f"not trusted for another {counter.refused_until_s - now:.0f} s"
    if joules < counter.joules:
        return _fall(counter, joules, now, limit)
    counter.fallen = None
    if joules == counter.joules:
        return _stand(counter, now, limit, power)
    # The page may be one poll older than its stamp at either end, and of any age before two changes were seen.
    slack = now - counter.read_s if counter.changes >= 2 else RENEWAL_S
    grown, seconds = joules - counter.anchor_joules, now - counter.anchor_s + slack
    if grown > ENERGY_LIMIT_RATIO * limit * seconds:
        return f"grew by {grown:.0f} J in {seconds:.0f} s, with a limit of {limit:g} W"
    _note(counter, joules, now)
    return ""


def _note(counter: Counter, joules: float, now: float) -> None:
    counter.changes += 1
    if counter.changes >= 2:
        counter.anchor_joules, counter.anchor_s = counter.joules, counter.changed_s
    counter.joules, counter.changed_s = joules, now


def _fall(counter: Counter, joules: float, now: float, limit: float) -> str:
    """Judge a reading below the last one: a restart is believed when the next change goes on from it."""
    if counter.fallen is None or joules < counter.fallen[0]:
        counter.fallen = (joules, now)
    first, since = counter.fallen
    restarts = first < RESTART_RATIO * counter.joules
    goes_on = 0 < joules - first <= ENERGY_LIMIT_RATIO * limit * (now - since + RENEWAL_S)
    if not (restarts and goes_on) and now - since < REFUSED_S:
        return f"fell from {counter.joules:.0f} J" + ("" if restarts else ", which is no restart")
    counter.fallen = None
    counter.joules, counter.changed_s = joules, now
    counter.anchor_joules, counter.anchor_s, counter.changes = joules, now, 0
    return ""


def _stand(counter: Counter, now: float, limit: float, power: float | None) -> str:
    still = now - counter.changed_s
    if still <= FROZEN_S or power is None or power <= LOAD_RATIO * limit:
        return ""
    counter.refused_until_s = now + REFUSED_S
    return f"stands still for {still:.0f} s at {power:g} W"
