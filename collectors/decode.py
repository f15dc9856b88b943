"""From raw answers to points: scale once, refuse what cannot be true, merge by series."""

from collections.abc import Mapping
from dataclasses import replace

from collectors.collector import PollResult, Target
from collectors.derived import Gap, Row, derive
from collectors.profile import Group, PointSpec, Profile, Raw
from collectors.reading import Reading, RefusedError, compile_readings, implausible
from collectors.series import Series, SeriesTemplate, Variables
from storage.point import FieldValue, Point
from storage.schema import COMMON_TAGS, MEASUREMENTS

_SHOWN = 60


class Batch:
    """Gather the raw readings of one poll and turn them into points.

    Row variables fill the `{name}` placeholders of group and point tags; a tag whose value ends empty or as `-` is
    left out. Readings of one poll that end in the same measurement and tags become one point. A point's tags are the
    target's, then the target's name under the profile's `identity`, then the group's, then the point's own; later ones
    win, so that a gateway's profile takes `device` and `rack` from the data. Only tags that the measurement has stay.
    """

    def __init__(self, target: Target, profile: Profile) -> None:
        self._profile = profile
        # the inventory's host wins: of a host several targets may speak, and only one can have its name
        self._base = {profile.identity: target.name, **target.tags}
        self._readings = profile.readings
        self._foreign: dict[tuple[int, int], Reading] = {}
        self._shadowed = frozenset((*COMMON_TAGS, *self._base))
        self._bases: dict[str, dict[str, str]] = {}
        self._rows: dict[tuple[object, ...], Row] = {}
        self._fields: dict[tuple[SeriesTemplate, Variables], dict[str, FieldValue]] = {}
        self._gaps: list[Gap] = []
        self._missing: list[str] = []
        self._rejected: list[str] = []

    def add(self, group: Group, spec: PointSpec, raw: Raw, row: Mapping[str, str] | None = None) -> None:
        """Take one raw reading; a blank, implausible or malformed one is kept as a rejection, never raised."""
        reading = self._readings.get((id(group), id(spec)))
        if reading is None or reading.spec is not spec or reading.group is not group:
            reading = self._reading(group, spec)
        variables = tuple(row.items()) if row else ()
        try:
            if reading.bits:
                word = reading.mask(raw)
                for mask, template in reading.bits:
                    self._put(reading.name, template, variables, int(word & mask != 0))
            elif (value := reading.decode(raw)) is not None:
                self._put(reading.name, reading.series, variables, value)
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
        for rule in self._profile.derived:
            for found in derive(rule, list(self._rows.values()), self._gaps):
                self._take(found)
        points: dict[tuple[object, ...], Point] = {}
        for row in self._rows.values():
            tags = self._all_tags(row.series)
            key = (row.series.measurement, *tags.items())
            if key in points:  # one row named its device, the other took the target's
                row.fields = {**points[key].fields, **row.fields}
            if row.fields:
                points[key] = Point(row.series.measurement, tags, row.fields, time_ns)
        return PollResult(tuple(points.values()), tuple(self._missing), tuple(self._rejected))

    def _all_tags(self, series: Series) -> dict[str, str]:
        """Return the target's and the series' own tags in the schema's order."""
        base = self._bases.get(series.measurement)
        if base is None:
            known = MEASUREMENTS[series.measurement].tags
            base = {name: self._base[name] for name in known if self._base.get(name, "-") not in ("", "-")}
            self._bases[series.measurement] = base
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
        return row

    def _put(self, name: str, template: SeriesTemplate, variables: Variables, value: FieldValue) -> None:
        fields = self._fields.get((template, variables))
        if fields is None:
            fields = self._fields[(template, variables)] = self._row(template.fill(variables)).fields
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
                self._reject(f"{measurement}.{name}", found.series, value, why)
            else:
                self._row(found.series).fields[name] = value
