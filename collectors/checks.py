"""Whether the readings of one device agree with each other: what contradicts itself is told and never used.

Applied to each poll after `derived`. Of a failed rule the doubted readings leave the poll, with all that the profile
derived from them, and a row of `check` tells of it while it fails and for ten minutes after. The rules stand in
`collectors/checks_rules.py` and `collectors/checks_stuck.py`, and why they are so in `docs/plausibility.md`; boards are
judged in `collectors/plausibility.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from collectors.checks_rules import RULES, Finding, Layout, Rows, make_layout, own_tags
from collectors.checks_stuck import FORGET_S, Stuck, Watched
from collectors.derived import Gap, Row, derive
from collectors.profile import Derived
from collectors.series import make_series
from storage.point import FieldValue, Point
from storage.schema import COMMON_TAGS

#: time for which a rule that failed is told of afterwards
TELL_S = 600.0
MOST_FAILURES = 1000
MOST_DEVIATION = 2.0
_JUDGED = frozenset(("power", "coolant", "battery"))
_PLANS = 4


@dataclass(slots=True)
class _Failure:
    """What is remembered of one rule that failed of one row."""

    tags: Mapping[str, str]
    failures: int = 0
    failed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Checked:
    """What is left of a poll."""

    points: Sequence[Point]
    #: a line for each reading that was withheld
    rejected: Sequence[str] = ()


class Doubts:
    """The readings that are not to be used, and why."""

    def __init__(self) -> None:
        self._reasons: dict[int, dict[str, str]] = {}
        self.rejected: list[str] = []

    def __bool__(self) -> bool:
        """Return whether anything is doubted."""
        return bool(self._reasons)

    def add(self, point: Point, name: str, why: str) -> None:
        """Doubt a reading; the first reason stands."""
        reasons = self._reasons.setdefault(id(point), {})
        if name not in reasons:
            reasons[name] = why
            tags = ",".join(f"{tag}={value}" for tag, value in own_tags(point).items())
            self.rejected.append(f"{point.measurement}.{name}[{tags}]={point.fields[name]!r:.60}: {why}")

    def take(self, findings: Iterable[Finding]) -> None:
        """Doubt the readings of findings."""
        for finding in findings:
            for point, name in finding.doubted:
                self.add(point, name, finding.text)

    def of(self, point: Point) -> Mapping[str, str]:
        """Return the reasons by field of a row."""
        return self._reasons.get(id(point), {})

    def without(self, point: Point) -> dict[str, FieldValue]:
        """Return the fields of a row that are not doubted."""
        reasons = self.of(point)
        return {name: value for name, value in point.fields.items() if name not in reasons}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is looked at in polls that bring the same rows."""

    measurements: Sequence[str]
    tags: Sequence[Mapping[str, str]]
    #: of each device
    layouts: Sequence[tuple[Layout, Watched]]


class Checks:
    """The devices of one target."""

    def __init__(self) -> None:
        self._stuck = Stuck()
        self._failures: dict[tuple[str, str, str], _Failure] = {}
        #: slow readings come with some polls only: a few plans take turns
        self._plans: list[_Plan] = []
        self._before: Sequence[Point] = ()

    def __len__(self) -> int:
        """Return the number of readings and failures remembered."""
        return len(self._stuck) + len(self._failures)

    def check(self, points: Sequence[Point], derived: Sequence[Derived] = ()) -> Checked:
        """Return the points of one poll without what contradicts itself, with `check` rows that tell of it."""
        judged = [point for point in points if point.measurement in _JUDGED]
        if not judged and not self._failures:
            return Checked(points)
        findings, doubts = self._judge(judged, points, derived)
        self._before = judged
        if points:
            self._stuck.sweep(points[0].time_ns / 1e9)
        if not findings and not self._failures:
            return Checked(points)
        if doubts:
            points = [replace(p, fields=doubts.without(p)) if doubts.of(p) else p for p in points]
            points = [point for point in points if point.fields]
        return Checked([*points, *self._tell(findings, points)], doubts.rejected)

    def _judge(
        self, judged: Sequence[Point], points: Sequence[Point], derived: Sequence[Derived]
    ) -> tuple[Sequence[Finding], Doubts]:
        """Return what the rules find and all that is not to be used therefore; each rule trusts what is left."""
        doubts = Doubts()
        findings: list[Finding] = []
        if not judged:
            return findings, doubts
        plan, before = self._plan(judged), _Before(self._before).find
        for layout, _ in plan.layouts:
            rows = Rows(judged, layout, before)
            for rule in RULES:
                for finding in rule(rows):
                    rows.doubt(finding)
                    findings.append(finding)
        doubts.take(findings)
        if doubts:
            _follow(points, derived, doubts)
        hanging = [found for _, watched in plan.layouts for found in self._stuck.check(judged, watched)]
        # What is made of withheld readings may well stand still.
        hanging = [found for found in hanging if not any(name in doubts.of(point) for point, name in found.doubted)]
        if hanging:
            doubts.take(hanging)
            _follow(points, derived, doubts)
        return [*findings, *hanging], doubts

    def _plan(self, points: Sequence[Point]) -> _Plan:
        tags, measurements = [point.tags for point in points], [point.measurement for point in points]
        for plan in self._plans:
            if tags == plan.tags and measurements == plan.measurements:
                return plan
        devices: dict[str | None, list[int]] = {}
        for number, own in enumerate(tags):
            devices.setdefault(own.get("device"), []).append(number)
        layouts = [
            (make_layout(points, numbers), self._stuck.watch(device, points, numbers))
            for device, numbers in devices.items()
        ]
        plan = _Plan(measurements, tags, layouts)
        self._plans = [plan, *self._plans[: _PLANS - 1]]
        return plan

    def _tell(self, findings: Sequence[Finding], points: Sequence[Point]) -> Sequence[Point]:
        """Return the `check` rows of what fails and of what failed lately."""
        time_ns = next((point.time_ns for point in (*(finding.row for finding in findings), *points[:1])), None)
        if time_ns is None:
            return ()
        now_s = time_ns / 1e9
        failing: dict[tuple[str, str, str], Finding] = {}
        for finding in findings:
            key = (finding.row.tags.get("device", ""), finding.rule, finding.subject)
            if key in failing or (key not in self._failures and len(self._failures) >= MOST_FAILURES):
                continue
            failing[key] = finding
            failure = self._failures.setdefault(key, _Failure(_tags(finding)))
            failure.failures += 1
            failure.failed_s = now_s
        told = [
            Point("check", failure.tags, _fields(failure, failing.get(key)), time_ns)
            for key, failure in self._failures.items()
            if key in failing or now_s - failure.failed_s < TELL_S
        ]
        if len(told) < len(self._failures):
            ages = ((key, abs(now_s - failure.failed_s)) for key, failure in self._failures.items())
            kept = {key for key, age in ages if age < FORGET_S}
            self._failures = {key: failure for key, failure in self._failures.items() if key in kept}
        return told


class _Before:
    """The rows of the poll before, found by their tags."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points
        self._known: dict[tuple[object, ...], Point] | None = None

    def find(self, point: Point) -> Point | None:
        """Return the same row one poll before."""
        if self._known is None:
            self._known = {(p.measurement, *p.tags.items()): p for p in self._points}
        return self._known.get((point.measurement, *point.tags.items()))


def _tags(finding: Finding) -> Mapping[str, str]:
    common = {name: value for name, value in finding.row.tags.items() if name in COMMON_TAGS}
    return {**common, "rule": finding.rule, "subject": finding.subject}


def _fields(failure: _Failure, finding: Finding | None) -> dict[str, FieldValue]:
    fields: dict[str, FieldValue] = {"failed": int(finding is not None), "failures_total": failure.failures}
    if finding is not None:
        fields["text"] = finding.text
        if finding.deviation is not None:
            fields["deviation_ratio"] = max(-MOST_DEVIATION, min(MOST_DEVIATION, finding.deviation))
    return fields


def _follow(points: Sequence[Point], derived: Sequence[Derived], doubts: Doubts) -> None:
    """Doubt also what the profile derived from doubted readings: each rule is worked out with and without them."""
    for rule in derived:
        measurement, _, name = rule.to.partition(".")
        results = [p for p in points if p.measurement == measurement and name in p.fields and _is_result(rule, p.tags)]
        if not results:
            continue
        taken = {id(point) for point in results}
        whole = [_row(point, name if id(point) in taken else "", {}) for point in points]
        rest = [_row(point, name if id(point) in taken else "", doubts.of(point)) for point in points]
        gaps = [Gap(row.series, gone) for row, point in zip(whole, points, strict=True) for gone in doubts.of(point)]
        before, after = _values(rule, whole, ()), _values(rule, rest, gaps)
        for point in results:
            for key, (tags, value) in before.items():
                of_it = tags.items() <= point.tags.items() and value == point.fields[name]
                if of_it and after.get(key, (tags, None))[1] != value:
                    doubts.add(point, name, "is made of readings that are withheld")


def _is_result(rule: Derived, tags: Mapping[str, str]) -> bool:
    """Return whether a row may be what a rule gives."""
    fixed = ((tag, text) for tag, text in rule.tags.items() if not text.startswith("{"))
    return all(tags.get(tag, "-") == text for tag, text in fixed)


def _row(point: Point, result: str, without: Mapping[str, str]) -> Row:
    fields = {name: value for name, value in point.fields.items() if name != result and name not in without}
    return Row(make_series(point.measurement, point.tags), fields)


def _values(
    rule: Derived, rows: Sequence[Row], gaps: Sequence[Gap]
) -> Mapping[str, tuple[Mapping[str, str], FieldValue]]:
    """Return what a rule gives, by series: its tags and its value."""
    name = rule.to.partition(".")[2]
    found = (each for each in derive(rule, rows, gaps) if isinstance(each, Row))
    return {row.series.key: (row.series.tags, row.fields[name]) for row in found}
