"""From raw answers to points: scale once, refuse what cannot be true, merge by series."""

from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from collectors.collector import PollResult, Target
from collectors.derived import Gap, Row, each_derived, measurements_of
from collectors.profile import Group, PointSpec, Profile, Raw
from collectors.reading import Reading, RefusedError, compile_readings, implausible
from collectors.series import Rows, Series, SeriesTemplate, Variables
from collectors.unwrap import WRAP, Unwrap, modulus
from storage.point import FieldValue, Point
from storage.schema import COMMON_TAGS, MEASUREMENTS

_SHOWN = 60
#: rows after which others have their turn
_SLICE = 500


@dataclass(frozen=True, slots=True)
class _Wrapping:
    """A counter of this poll that wraps, as the device gave it."""

    reading: Reading
    variables: Variables
    raw: int


def finish(steps: Generator[None, None, PollResult]) -> PollResult:
    """Do at once what can be done bit by bit."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: PollResult = end.value
            return result


class Batch:
    """Gather the raw readings of one poll and turn them into points.

    Row variables fill the `{name}` placeholders of group and point tags; a tag whose value ends empty or as `-` is
    left out. Readings of one poll that end in the same measurement and tags become one point. A point's tags are the
    target's, then the target's name under the profile's `identity`, then the group's, then the point's own; later ones
    win, so that a gateway's profile takes `device` and `rack` from the data. Only tags that the measurement has stay.
    """

    def __init__(self, target: Target, profile: Profile, unwrap: Unwrap | None = None) -> None:
        """`unwrap` keeps the counters of this device from poll to poll: readings with `wrap` go on where they wrapped.

        Without it they are written as they come; SNMP's own counters were unwrapped before.
        """
        self._profile = profile
        self._unwrap = unwrap
        self._wrapping: list[_Wrapping] = []
        # the inventory's host wins: of a host several targets may speak, and only one can have its name
        self._base = {profile.identity: target.name, **target.tags}
        self._readings = profile.readings
        self._foreign: dict[tuple[int, int], Reading] = {}
        self._shadowed = frozenset((*COMMON_TAGS, *self._base))
        self._bases: dict[str, dict[str, str]] = {}
        self._rows: dict[str, Row] = {}
        self._by_measurement: defaultdict[str, list[Row]] = defaultdict(list)
        self._columns: dict[tuple[Rows, SeriesTemplate], Sequence[dict[str, FieldValue]]] = {}
        self._gaps: list[Gap] = []
        self._missing: list[str] = []
        self._rejected: list[str] = []

    def add(self, group: Group, spec: PointSpec, raw: Raw, row: Mapping[str, str] | None = None) -> None:
        """Take one raw reading; a blank, implausible or malformed one is kept as a rejection, never raised."""
        reading = self._readings.get((id(group), id(spec)))
        if reading is None or reading.spec is not spec or reading.group is not group:
            reading = self._reading(group, spec)
        self._add(reading, tuple(row.items()) if row else (), raw)

    def add_columns(
        self, group: Group, rows: Rows, columns: Sequence[tuple[PointSpec, Sequence[Raw | None]]]
    ) -> Sequence[Sequence[Variables]]:
        """Take whole columns of a table, each in the rows' order; return for each the rows that have None.

        The same as `add` for every value, at a fraction of its cost where a column is whole and plausible.
        """
        absent: list[Sequence[Variables]] = []
        whole: dict[SeriesTemplate, dict[str, Sequence[FieldValue]]] = {}
        for spec, raws in columns:
            reading = self._reading(group, spec)
            values = reading.whole(raws)
            alike = whole.setdefault(reading.series, {})
            if values is None or reading.name in alike:
                absent.append(self._add_column(reading, rows, raws))
            else:
                alike[reading.name] = values
                absent.append(())
        for template, alike in whole.items():
            if alike:
                self._put_columns(template, rows, alike)
        return absent

    def is_counter(self, group: Group, spec: PointSpec) -> bool:
        """Return whether `add_counters` takes this reading, beside the first of its group."""
        reading = self._reading(group, spec)
        return reading.unbounded and reading.series is self._reading(group, group.points[0]).series

    def add_counters(self, group: Group, specs: Sequence[PointSpec], rows: Rows, numbers: Sequence[float]) -> None:
        """Take readings that `is_counter` allows, row by row: numbers from 0 up, all of a row before the next.

        The same as `add` for every value, at the least cost that Python can do it for.
        """
        readings = [self._reading(group, spec) for spec in specs]
        names, width = [reading.name for reading in readings], len(specs)
        for number, fields in enumerate(self._column(rows, readings[0].series)):
            values = numbers[number * width : (number + 1) * width]
            if fields.keys().isdisjoint(names) and max(values) <= readings[0].high:
                fields.update(zip(names, values, strict=True))
                continue
            for reading, value in zip(readings, values, strict=True):
                self._add(reading, rows.variables[number], value)

    def _put_columns(self, template: SeriesTemplate, rows: Rows, columns: Mapping[str, Sequence[FieldValue]]) -> None:
        """Put values that are as they should be into the points of their rows."""
        by_row = zip(*columns.values(), strict=True)
        for variables, fields, values in zip(rows.variables, self._column(rows, template), by_row, strict=True):
            if fields.keys().isdisjoint(columns):
                fields.update(zip(columns, values, strict=True))
            else:
                self._put_one_by_one(template, variables, zip(columns, values, strict=True))

    def _put_one_by_one(
        self, template: SeriesTemplate, variables: Variables, values: Iterable[tuple[str, FieldValue]]
    ) -> None:
        for name, value in values:
            try:
                self._put(name, template, variables, value)
            except RefusedError as e:
                self._reject(f"{template.measurement}.{name}", template.fill(variables), value, str(e))

    def _add_column(self, reading: Reading, rows: Rows, raws: Sequence[Raw | None]) -> Sequence[Variables]:
        """Take a column value by value; return the rows that have None."""
        absent: list[Variables] = []
        for raw, variables in zip(raws, rows.variables, strict=True):
            if raw is None:
                absent.append(variables)
            else:
                self._add(reading, variables, raw)
        return absent

    def withhold(self, group: Group, spec: PointSpec, rows: Iterable[Variables]) -> None:
        """Withhold sums over a point in these rows, which the device did not give, without a word about it."""
        reading = self._reading(group, spec)
        self._gaps.extend(Gap(reading.series.fill(row), reading.name) for row in rows)

    def reject(self, what: str) -> None:
        """Note an answer that was refused before it came to a reading."""
        self._rejected.append(what)

    def _add(self, reading: Reading, variables: Variables, raw: Raw) -> None:
        try:
            if reading.bits:
                word = reading.mask(raw)
                for mask, template in reading.bits:
                    self._put(reading.name, template, variables, int(word & mask != 0))
            elif (
                value := reading.decode_in(raw, dict(variables)) if reading.by_row else reading.decode(raw)
            ) is not None:
                self._put(reading.name, reading.series, variables, value)
                if reading.spec.wrap and self._unwrap is not None and isinstance(raw, int):
                    self._wrapping.append(_Wrapping(reading, variables, raw))
        except RefusedError as e:
            self._refuse(reading, variables, raw, str(e))

    def miss(
        self,
        what: str,
        group: Group | None = None,
        spec: PointSpec | None = None,
        row: Mapping[str, str] | None = None,
    ) -> None:
        """Note a reading that the profile asks for and the device did not give.

        With the group, sums over its points in that row (with `spec`: over that point) are withheld in this poll.
        """
        self._missing.append(what)
        if group is not None:
            for each in (spec,) if spec is not None else group.points:
                reading = self._reading(group, each)
                self._gaps.append(Gap(reading.series.fill(tuple((row or {}).items())), reading.name))

    def finish(self, time_ns: int) -> PollResult:
        """Return the points, the profile's derived values included, all stamped `time_ns`."""
        return finish(self.steps(time_ns))

    def steps(self, time_ns: int) -> Generator[None, None, PollResult]:
        """Do what `finish` does, bit by bit: whoever has ten thousands of rows lets others have their turn between."""
        if self._wrapping and self._unwrap is not None:
            self._go_on(self._unwrap, time_ns / 1e9)
        for rule in self._profile.derived:
            rows = [row for name in measurements_of(rule) for row in self._by_measurement.get(name, ())]
            for number, found in enumerate(each_derived(rule, rows, tuple(self._gaps)), 1):
                if isinstance(found, Gap):
                    self._gaps.append(found)
                else:
                    self._take(found)
                if number % _SLICE == 0:
                    yield
            yield
        points: list[Point] = []
        rows = [row for row in self._rows.values() if row.fields]
        shadowed = self._shadowed
        if any(row.series.without or not shadowed.isdisjoint(row.series.tags) for row in rows):
            points += yield from self._merged(rows, time_ns)
        else:
            points += self._points(rows, time_ns)
        return PollResult(tuple(points), tuple(self._missing), tuple(self._rejected))

    def _go_on(self, unwrap: Unwrap, now_s: float) -> None:
        """Put counters that wrapped since the last poll where they would stand had they not."""
        unwrap.begin(booted=False)
        for each in self._wrapping:
            reading, raw, row = each.reading, each.raw, dict(each.variables)
            series = reading.series.fill(each.variables)
            key, end = f"{series.key}\0{reading.name}", modulus(reading.spec.wrap or WRAP)
            written = unwrap.take(key, {"": raw}, {"": end}, now_s)[""]
            if written != raw:
                value = reading.decode_in(written, row) if reading.by_row else reading.decode(written)
                self._row(series).fields[reading.name] = raw if value is None else value
        unwrap.finish()

    def _points(self, rows: Sequence[Row], time_ns: int) -> Sequence[Point]:
        # Both are in the schema's order already.
        bases = {measurement: self._base_tags(measurement) for measurement in {row.series.measurement for row in rows}}
        series = [(row.series, row.fields) for row in rows]
        return [Point(s.measurement, {**bases[s.measurement], **s.tags}, fields, time_ns) for s, fields in series]

    def _merged(self, rows: Iterable[Row], time_ns: int) -> Generator[None, None, Sequence[Point]]:
        """Return the points of rows of which some name their device and others take the target's."""
        points: dict[tuple[object, ...], Point] = {}
        for number, row in enumerate(rows, 1):
            if number % _SLICE == 0:
                yield
            tags = self._all_tags(row.series)
            key = (row.series.measurement, *tags.items())
            if key in points:
                row.fields = {**points[key].fields, **row.fields}
            points[key] = Point(row.series.measurement, tags, row.fields, time_ns)
        return list(points.values())

    def _base_tags(self, measurement: str) -> Mapping[str, str]:
        """Return the target's own tags of a measurement in the schema's order."""
        base = self._bases.get(measurement)
        if base is None:
            known = MEASUREMENTS[measurement].tags
            base = {name: self._base[name] for name in known if self._base.get(name, "-") not in ("", "-")}
            self._bases[measurement] = base
        return base

    def _all_tags(self, series: Series) -> dict[str, str]:
        """Return the target's and the series' own tags in the schema's order."""
        base = self._base_tags(series.measurement)
        own = series.tags
        if self._shadowed.isdisjoint(own) and not series.without:
            return {**base, **own}  # both are in the schema's order already
        merged = {**base, **own}
        known = MEASUREMENTS[series.measurement].tags
        return {name: merged[name] for name in known if name in merged and name not in series.without}

    def _reading(self, group: Group, spec: PointSpec) -> Reading:
        key = (id(group), id(spec))
        reading = self._readings.get(key) or self._foreign.get(key)
        if reading is None or reading.spec is not spec or reading.group is not group:
            # a point that the protocol module made itself, for a scale that only the device knows
            reading = next(iter(compile_readings(group.model_copy(update={"points": (spec,)}))))
            reading = self._foreign[key] = replace(reading, group=group)
        return reading

    def _row(self, series: Series) -> Row:
        row = self._rows.get(series.key)
        if row is None:
            row = self._rows[series.key] = Row(series, {})
            self._by_measurement[series.measurement].append(row)
        return row

    def _column(self, rows: Rows, template: SeriesTemplate) -> Sequence[dict[str, FieldValue]]:
        """Return the fields of each row's point under one template."""
        columns = self._columns.get((rows, template))
        if columns is None:
            columns = self._columns[rows, template] = [self._row(series).fields for series in rows.series(template)]
        return columns

    def _put(self, name: str, template: SeriesTemplate, variables: Variables, value: FieldValue) -> None:
        fields = self._row(template.fill(variables)).fields
        if name in fields:
            raise RefusedError("a second reading for the same series")
        fields[name] = value

    def _refuse(self, reading: Reading, variables: Variables, raw: Raw, reason: str) -> None:
        series = reading.series.fill(variables)
        self._gaps.append(Gap(series, reading.name))
        self._reject(reading.spec.to, series, raw, reason)

    def _reject(self, to: str, series: Series, raw: FieldValue, reason: str) -> None:
        where = ",".join(f"{name}={value}" for name, value in series.tags.items())
        shown = repr(raw)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
        self._rejected.append(f"{to}[{where}]={shown}: {reason}" if where else f"{to}={shown}: {reason}")

    def _take(self, found: Row) -> None:
        """Take a derived value, if the schema finds it plausible."""
        measurement = found.series.measurement
        for name, value in found.fields.items():
            why = implausible(MEASUREMENTS[measurement].fields[name], value)
            if why:
                self._gaps.append(Gap(found.series, name))
                self._reject(f"{measurement}.{name}", found.series, value, why)
            else:
                self._row(found.series).fields[name] = value
