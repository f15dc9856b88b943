"""Readings of a device that contradict each other, as its collector tells of them, and since when they do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dashboard.facility import GAUGE_AGE, stamps
from dashboard.recent import AHEAD, accepted
from storage.store import Store

#: for the first of the failures the store is asked so far back, when nobody looked before. Units: s
BACK_SECONDS = 3600.0
#: points come this long after their stamp. Units: s
_LATE = 10.0
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """Readings of a device that contradict each other."""

    device: str
    rack: str
    rule: str
    subject: str
    text: str
    deviation: float | None
    failures: float
    #: epoch s of the newest row
    time: float
    #: epoch s of the first of the failures that go on
    since: float = 0.0

    @property
    def key(self) -> Key:
        """Return what it is about."""
        return self.device, self.rule, self.subject


def look(
    store: Store, old: Sequence[Check], looked: float | None, now: float, *, real: bool, refused: Sequence[str]
) -> tuple[Check, ...]:
    """Return the checks that fail. `old`: those of the last look, at `looked` (epoch s, None before the first).

    Raises:
        StoreError: the store does not answer.
    """
    found = _failing(store, real=real, refused=refused)
    since = {check.key: check.since for check in old}
    fresh = [check for check in found if check.key not in since]
    if fresh:
        start = now - BACK_SECONDS if looked is None else max(looked - _LATE, now - BACK_SECONDS)
        since = {**_firsts(store, fresh, start, now, real=real, refused=refused), **since}
    return tuple(replace(check, since=since.get(check.key, check.time)) for check in found)


def _failing(store: Store, *, real: bool, refused: Sequence[str]) -> tuple[Check, ...]:
    fields = ("failed", "deviation_ratio", "failures_total", "text")
    frame = accepted(store.latest("check", fields, GAUGE_AGE), real=real, refused=refused)
    frame = frame[frame["failed"] == 1] if len(frame) else frame
    names = ("device", "rack", "rule", "subject", "text", "deviation_ratio", "failures_total")
    columns = (frame[name].to_numpy(dtype=object).tolist() for name in names)
    return tuple(
        Check(device, rack, rule, subject, text or "", _known(deviation), _known(failures) or 1.0, time)
        for device, rack, rule, subject, text, deviation, failures, time in zip(*columns, stamps(frame), strict=True)
    )


def _firsts(
    store: Store, fresh: Sequence[Check], start: float, now: float, *, real: bool, refused: Sequence[str]
) -> Mapping[Key, float]:
    """Return the time of the first failure after the last pass, of what failed since `start`. Units: epoch s."""
    begin, end = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(now, UTC) + AHEAD
    where = {"device": tuple({check.device for check in fresh})}
    frame = store.range("check", ["failed"], begin, end, every=None, aggregate="last", where=where)
    frame = accepted(frame, real=real, refused=refused).sort_values("time")
    names = ("device", "rule", "subject", "failed")
    columns = (frame[name].to_numpy(dtype=object).tolist() for name in names)
    found: dict[Key, float] = {}
    for device, rule, subject, failed, time in zip(*columns, stamps(frame), strict=True):
        if failed == 1:
            found.setdefault((device, rule, subject), time)
        else:
            found.pop((device, rule, subject), None)
    return found


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)
