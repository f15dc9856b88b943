"""Values computed from the readings of one poll: sums, quotients, heat carried by a liquid, margins to the dew point.

A rule (but `median`) writes nothing where one of its inputs is missing; none replaces a value that the device gave.
Rules run in the order of the profile: each sees what the device gave and what those before it made.

Over rows whose tags match all patterns (`fnmatch`; a tag that a row lacks reads `-`). A tag of the rule written
`{circuit}` takes that tag of the rows, and the rule runs once for each of its values.

`sum`: a row that was asked for and missed or refused in this poll withholds it: a shelf with a silent supply has no
known total.
`median`: over what came: the voltage of a bus bar, which each of its supplies reads.
`imbalance`: max |x - mean| / |mean| over two rows or more; withheld as a sum is. Of none where the mean is 0.
`quotient`: of one row over one row; of none where several match or the second is 0, or under 50 W of power: a supply
that idles has no efficiency, only noise.

Per loop, that is over rows whose tags are equal but for `point`. Tags of the rule select the loops (`loop: tcs`); its
`point`, when given, is the point of the result, which else carries none.

`heat`: from flow and both temperatures (`collectors/fluids.py`). `difference`: of two points.
`approach`: supply temperature of one loop above that of another; the result is a row of the first.
`dew_margin`: supply temperature above the highest dew point of the air that the device tells of, or of the air of the
row's own `device` where it tells of many; withheld while one of these dew points is not known.
`dew_point`: of each point that has temperature and humidity.
`poles`: ||V+| - |V-|| / (|V+| + |V-|); the result is a row of `pole: total`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import fmean, median

from collectors.checks_rules import FLOOR_WATTS
from collectors.fluids import Fluid, dew_point_celsius, heat_watts
from collectors.profile import Derived
from collectors.series import Series, make_series
from storage.point import FieldValue
from storage.schema import COMMON_TAGS, MEASUREMENTS

Patterns = Mapping[str, str]
#: tags of one result and its value; None where an input that was asked for is missing
_Result = tuple[Mapping[str, str], float | None]
_Loop = frozenset[tuple[str, str]]
#: tags of a rule, filled in
_Filled = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Row:
    """One series of a poll and what was read of it."""

    series: Series
    fields: dict[str, FieldValue]


@dataclass(frozen=True, slots=True)
class Gap:
    """A reading that was asked for and did not come, was refused, or was withheld."""

    series: Series
    field: str


@dataclass(frozen=True, slots=True)
class _Poll:
    """What a poll brought so far."""

    rows: Sequence[Row]
    gaps: Sequence[Gap]

    def read(self, path: str) -> Iterator[tuple[Series, float]]:
        """Yield series and value of each row that has the field `measurement.field`."""
        measurement, _, name = path.partition(".")
        for row in self.rows:
            value = row.fields.get(name) if row.series.measurement == measurement else None
            if isinstance(value, int | float):
                yield row.series, value

    def values(self, path: str) -> Iterator[tuple[Mapping[str, str], float]]:
        """Yield tags and value of each row that has the field `measurement.field`."""
        return ((series.tags, value) for series, value in self.read(path))

    def missing(self, path: str) -> Iterator[Mapping[str, str]]:
        """Yield the tags of each row that was to have the field and lacks it."""
        measurement, _, name = path.partition(".")
        for gap in self.gaps:
            if gap.field == name and gap.series.measurement == measurement:
                yield gap.series.tags


def derive(rule: Derived, rows: Sequence[Row], gaps: Sequence[Gap]) -> list[Row | Gap]:
    """Return the rows that the rule adds to those of one poll, each of one field, in its base unit.

    A gap stands for a value that is withheld: what is made of it must be withheld too.
    """
    return list(each_derived(rule, rows, gaps))


def each_derived(rule: Derived, rows: Sequence[Row], gaps: Sequence[Gap]) -> Iterator[Row | Gap]:
    """Yield what `derive` returns, one by one, each worked out when it is wanted."""
    measurement, _, name = rule.to.partition(".")
    known = MEASUREMENTS[measurement].tags
    measured = {row.series.key for row in rows if row.series.measurement == measurement and name in row.fields}
    for tags, value in _results(rule, _Poll(rows, gaps)):
        series = make_series(measurement, {tag: tags[tag] for tag in known if tag in tags})
        if series.key not in measured:
            yield Gap(series, name) if value is None else Row(series, {name: value})


def measurements_of(rule: Derived) -> frozenset[str]:
    """Return the measurements that a rule reads or writes."""
    paths = [rule.to, rule.sum]
    for each in (rule.median, rule.imbalance, rule.quotient, rule.difference):
        paths.append(each[0] if each else None)
    read = {path.partition(".")[0] for path in paths if isinstance(path, str)}
    if rule.poles:
        read.add("bus")
    if rule.heat or rule.approach or rule.dew_margin or rule.dew_point:
        read |= {"coolant", "environment"}
    return frozenset(read)


def _results(rule: Derived, poll: _Poll) -> Iterator[_Result]:
    if rule.sum is not None:
        yield from _fold(poll, rule.to, rule.sum, rule.tags, sum, is_whole=True)
    elif rule.median is not None:
        yield from _fold(poll, *rule.median, rule.tags, median, is_whole=False)
    elif rule.imbalance is not None:
        yield from _fold(poll, *rule.imbalance, rule.tags, imbalance, is_whole=True)
    elif rule.quotient is not None:
        yield from _quotient(poll, rule.quotient, rule.tags)
    elif rule.heat is not None:
        yield from _heat(poll, rule.heat, rule.tags)
    elif rule.difference is not None:
        yield from _difference(poll, rule.difference, rule.tags)
    elif rule.approach is not None:
        yield from _approach(poll, rule.approach, rule.tags)
    elif rule.poles is not None:
        yield from _poles(poll, rule.poles, rule.tags)
    elif rule.dew_margin:
        yield from _dew_margin(poll, rule.tags)
    else:
        yield from ((tags, value) for tags, value in _dew_points(poll) if _is_of(tags, rule.tags))


def imbalance(values: Sequence[float]) -> float | None:
    """Return max |x - mean| / |mean|, or None for less than two values and for a mean of 0. Units: ratio."""
    mean = fmean(values)
    return max(abs(value - mean) for value in values) / abs(mean) if len(values) > 1 and mean else None


def _matches(patterns: Patterns, tags: Mapping[str, str]) -> bool:
    for tag, pattern in patterns.items():
        value = tags.get(tag, "-")
        if value != pattern and not fnmatchcase(value, pattern):
            return False
    return True


def _filled(tags: Mapping[str, str], own: Mapping[str, str]) -> _Filled:
    """Return the tags of a rule with those of a row in place of `{tag}`."""
    return tuple((tag, own.get(text[1:-1], "-") if text[:1] == "{" else text) for tag, text in tags.items())


def _grouped(poll: _Poll, path: str, patterns: Patterns, tags: Mapping[str, str]) -> dict[_Filled, list[float]]:
    groups: dict[_Filled, list[float]] = {}
    for own, value in poll.values(path):
        if _matches(patterns, own):
            groups.setdefault(_filled(tags, own), []).append(value)
    return groups


def _fold(
    poll: _Poll,
    path: str,
    patterns: Patterns,
    tags: Mapping[str, str],
    fold: Callable[[Sequence[float]], float | None],
    *,
    is_whole: bool,
) -> Iterator[_Result]:
    """Yield what `fold` makes of the rows of each group; of none that lacks a row, where it must be whole."""
    lacking = {_filled(tags, own) for own in poll.missing(path) if _matches(patterns, own)} if is_whole else set()
    yield from ((dict(group), None) for group in lacking)
    for group, values in _grouped(poll, path, patterns, tags).items():
        if group not in lacking and (value := fold(values)) is not None:
            yield dict(group), value


def _quotient(poll: _Poll, rule: tuple[str, Patterns, Patterns], tags: Mapping[str, str]) -> Iterator[_Result]:
    path, above, below = rule
    divisors = _grouped(poll, path, below, tags)
    least = FLOOR_WATTS if path == "power.active_watts" else 0.0
    for group, dividends in _grouped(poll, path, above, tags).items():
        both = (*dividends, *divisors.get(group, ()))
        if len(dividends) == 1 and len(both) == 2 and both[1] and both[1] >= least:
            yield dict(group), both[0] / both[1]


def _is_of(own: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    """Return whether a row is among those that the tags of a rule select."""
    return all(own.get(tag, "-") == wanted for tag, wanted in tags.items())


def _loops(poll: _Poll, path: str, point: str, tags: Mapping[str, str], but: str = "") -> dict[_Loop, float]:
    """Return the readings at one point, by the tags of their loop: all but `point` and the tag `but`."""
    selected = tuple((tag, text) for tag, text in tags.items() if tag not in ("point", but))
    asked = (point, but, selected)
    found: dict[_Loop, float] = {}
    for series, value in poll.read(path):
        try:
            loop = series.loops[asked]
        except KeyError:
            loop = series.loops[asked] = _loop_of(series.tags, point, but, selected)
        if loop is not None:
            found[loop] = value
    return found


def _loop_of(own: Mapping[str, str], point: str, but: str, selected: _Filled) -> _Loop | None:
    """Return the loop of a row, or None of one at another point or in another loop."""
    if own.get("point", "-") != point or not _is_of(own, dict(selected)):
        return None
    return frozenset((tag, text) for tag, text in own.items() if tag not in ("point", but))


def _heat(poll: _Poll, fluid: Fluid, tags: Mapping[str, str]) -> Iterator[_Result]:
    supplies = _loops(poll, "coolant.temperature_celsius", "supply", tags)
    returns = _loops(poll, "coolant.temperature_celsius", "return", tags)
    for loop, flow in _loops(poll, "coolant.flow_liters_per_second", "-", tags).items():
        if loop in supplies and loop in returns:
            heat = heat_watts(fluid, flow, supplies[loop], returns[loop])
            if heat is not None:
                yield _at(loop, tags), heat


def _at(loop: _Loop, tags: Mapping[str, str]) -> Mapping[str, str]:
    return {**dict(loop), "point": tags.get("point", "-")}


def _difference(poll: _Poll, rule: tuple[str, str, str], tags: Mapping[str, str]) -> Iterator[_Result]:
    path, first, second = rule
    subtrahends = _loops(poll, path, second, tags)
    for loop, value in _loops(poll, path, first, tags).items():
        if loop in subtrahends:
            yield _at(loop, tags), value - subtrahends[loop]


def _approach(poll: _Poll, rule: tuple[str, str], tags: Mapping[str, str]) -> Iterator[_Result]:
    cooled, cooling = (_loops(poll, "coolant.temperature_celsius", "supply", {**tags, "loop": loop}) for loop in rule)
    facility = {loop - {("loop", rule[1])}: value for loop, value in cooling.items()}
    for loop, value in cooled.items():
        rest = loop - {("loop", rule[0])}
        if rest in facility:
            yield {**_at(loop, tags), "loop": tags.get("loop", rule[0])}, value - facility[rest]


def _poles(poll: _Poll, rule: tuple[str, str], tags: Mapping[str, str]) -> Iterator[_Result]:
    poles: dict[str, dict[_Loop, float]] = {pole: {} for pole in rule}
    for own, value in poll.values("bus.voltage_volts"):
        if own.get("pole") in poles:
            poles[own["pole"]][frozenset(own.items()) - {("pole", own["pole"])}] = abs(value)
    first, second = (poles[pole] for pole in rule)
    for bus in first.keys() & second.keys():
        if whole := first[bus] + second[bus]:
            yield {**dict(bus), "pole": "total", **tags}, abs(first[bus] - second[bus]) / whole


def _dew_points(poll: _Poll) -> Iterator[_Result]:
    """Yield the dew point at each point of the air from temperature and humidity; None where one of both is missing."""
    temperatures = {frozenset(own.items()): value for own, value in poll.values("environment.temperature_celsius")}
    humidities = {frozenset(own.items()): value for own, value in poll.values("environment.humidity_ratio")}
    for point, humidity in humidities.items():
        if point in temperatures:
            yield dict(point), dew_point_celsius(temperatures[point], humidity)
    hot = {frozenset(own.items()) for own in poll.missing("environment.temperature_celsius")}
    wet = {frozenset(own.items()) for own in poll.missing("environment.humidity_ratio")}
    for point in (hot & (wet | humidities.keys())) | (wet & temperatures.keys()):
        yield dict(point), None


def _dew_margin(poll: _Poll, tags: Mapping[str, str]) -> Iterator[_Result]:
    told = {frozenset(own.items()): value for own, value in poll.values("environment.dew_point_celsius")}
    made = {frozenset(own.items()): value for own, value in _dew_points(poll)}
    asked = {frozenset(own.items()): None for own in poll.missing("environment.dew_point_celsius")}
    air: dict[_Loop, float | None] = {**asked, **made, **told}
    for loop, supply in _loops(poll, "coolant.temperature_celsius", "supply", tags).items():
        around = [value for point, value in air.items() if _is_around(dict(point), dict(loop))]
        dew = None if None in around else max((value for value in around if value is not None), default=None)
        if around:
            yield _at(loop, tags), None if dew is None else supply - dew


def _is_around(air: Mapping[str, str], loop: Mapping[str, str]) -> bool:
    return all(air[tag] == loop.get(tag) for tag in COMMON_TAGS if tag in air)
