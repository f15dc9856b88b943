"""Values computed from the readings of one poll: sums, medians, heat carried by a liquid, differences of two points.

A rule (but `median`) writes nothing where one of its inputs is missing; none replaces a value that the device gave.

`sum`: over the rows whose tags match all patterns (`fnmatch`; a tag that a row lacks reads `-`). A row that was asked
for and missed or refused in this poll withholds the sum: a shelf with a silent supply has no known total.
`median`: likewise over those rows of a field that came: the voltage of a bus bar, which each of its supplies reads.
`heat`, `difference`: per loop, that is over rows whose tags are equal but for `point`. Tags of the rule select the
loops (`loop: tcs`); its `point`, when given, is the point of the result, which else carries none.

Source of the fluid properties: polynomial fits over 5 to 90 degC, largest errors against CoolProp: water rho 0.08 %,
cp 0.38 %; propylene glycol, 25 % by mass, rho 0.001 %, cp 0.52 %.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median
from typing import Literal

from collectors.profile import Derived
from collectors.series import Series, make_series
from storage.point import FieldValue
from storage.schema import MEASUREMENTS

Fluid = Literal["water", "pg25"]

#: coefficients of rising powers of the temperature in degC: density in kg/m3, specific heat in J/(kg K)
_DENSITY: Mapping[Fluid, Sequence[float]] = {
    "water": (1000.23, 0.011039, -0.00584122, 1.58393e-5),
    "pg25": (1025.81, -0.244492, -0.00440142, 1.43457e-5),
}
_SPECIFIC_HEAT: Mapping[Fluid, Sequence[float]] = {
    "water": (4215.76, -2.71322, 0.0678669, -6.95401e-4, 2.90636e-6),
    "pg25": (3871.12, 2.51727, -0.00186712),
}
_FITTED_CELSIUS = (5.0, 90.0)


@dataclass(slots=True)
class Row:
    """One series of a poll and what was read of it."""

    series: Series
    fields: dict[str, FieldValue]


@dataclass(frozen=True, slots=True)
class Gap:
    """A reading that was asked for and did not come, or was refused."""

    series: Series
    field: str


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    return sum(c * x**power for power, c in enumerate(coefficients))


def density(fluid: Fluid, celsius: float) -> float:
    """Return the density of a coolant. Units: kg/m3."""
    return _polynomial(_DENSITY[fluid], celsius)


def specific_heat(fluid: Fluid, celsius: float) -> float:
    """Return the specific heat of a coolant. Units: J/(kg K)."""
    return _polynomial(_SPECIFIC_HEAT[fluid], celsius)


def heat_watts(fluid: Fluid, liters_per_second: float, supply_celsius: float, return_celsius: float) -> float | None:
    """Return the heat that a loop carries off, or None where the mean temperature is outside 5 to 90 degC. Units: W.

    Q[W] = V[L/s] / 1000 * rho(T)[kg/m3] * cp(T)[J/(kg K)] * (T_return - T_supply)[K], T the mean of both.
    """
    mean = (supply_celsius + return_celsius) / 2
    if not _FITTED_CELSIUS[0] <= mean <= _FITTED_CELSIUS[1]:
        return None
    mass_flow = liters_per_second / 1000 * density(fluid, mean)
    return mass_flow * specific_heat(fluid, mean) * (return_celsius - supply_celsius)


def derive(rule: Derived, rows: Sequence[Row], gaps: Iterable[Gap]) -> list[Row]:
    """Return the rows that the rule adds to those of one poll, each of one field, in its base unit."""
    measurement, _, name = rule.to.partition(".")
    if rule.sum is not None:
        results = _sum(rule.sum, measurement, name, rule.tags, rows, gaps)
    elif rule.heat is not None:
        results = _heat(rule.heat, rule.tags, rows)
    elif rule.difference is not None:
        results = _difference(rule.difference, rule.tags, rows)
    elif rule.median is not None:
        results = _median(rule.median, rule.tags, rows)
    else:
        return []
    known = MEASUREMENTS[measurement].tags
    made = [
        (make_series(measurement, {tag: tags[tag] for tag in known if tag in tags}), value) for tags, value in results
    ]
    measured = {row.series.key for row in rows if name in row.fields}
    return [Row(series, {name: value}) for series, value in made if series.key not in measured]


def _matches(patterns: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    return all(fnmatchcase(tags.get(tag, "-"), pattern) for tag, pattern in patterns.items())


def _sum(
    patterns: Mapping[str, str],
    measurement: str,
    name: str,
    tags: Mapping[str, str],
    rows: Sequence[Row],
    gaps: Iterable[Gap],
) -> Iterator[tuple[Mapping[str, str], float]]:
    asked = (gap.series for gap in gaps if gap.field == name)
    if any(series.measurement == measurement and _matches(patterns, series.tags) for series in asked):
        return
    parts = [value for own, value in _readings(rows, measurement, name) if _matches(patterns, own)]
    if parts:
        yield tags, sum(parts)


def _median(
    rule: tuple[str, Mapping[str, str]], tags: Mapping[str, str], rows: Sequence[Row]
) -> Iterator[tuple[Mapping[str, str], float]]:
    path, patterns = rule
    measurement, _, name = path.partition(".")
    parts = [value for own, value in _readings(rows, measurement, name) if _matches(patterns, own)]
    if parts:
        yield tags, median(parts)


def _readings(rows: Sequence[Row], measurement: str, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for row in rows:
        value = row.fields.get(name) if row.series.measurement == measurement else None
        if isinstance(value, int | float):
            yield row.series.tags, value


def _loops(
    rows: Sequence[Row], measurement: str, name: str, point: str, tags: Mapping[str, str]
) -> dict[frozenset[tuple[str, str]], float]:
    """Return the readings at one point, by the tags of their loop: all but `point`."""
    loops = {}
    for own, value in _readings(rows, measurement, name):
        selected = all(own.get(tag, "-") == wanted for tag, wanted in tags.items() if tag != "point")
        if selected and own.get("point", "-") == point:
            loops[frozenset((tag, text) for tag, text in own.items() if tag != "point")] = value
    return loops


def _result(loop: frozenset[tuple[str, str]], tags: Mapping[str, str]) -> Mapping[str, str]:
    return {**dict(loop), "point": tags.get("point", "-")}


def _heat(fluid: Fluid, tags: Mapping[str, str], rows: Sequence[Row]) -> Iterator[tuple[Mapping[str, str], float]]:
    supplies = _loops(rows, "coolant", "temperature_celsius", "supply", tags)
    returns = _loops(rows, "coolant", "temperature_celsius", "return", tags)
    for loop, flow in _loops(rows, "coolant", "flow_liters_per_second", "-", tags).items():
        if loop in supplies and loop in returns:
            heat = heat_watts(fluid, flow, supplies[loop], returns[loop])
            if heat is not None:
                yield _result(loop, tags), heat


def _difference(
    rule: tuple[str, str, str], tags: Mapping[str, str], rows: Sequence[Row]
) -> Iterator[tuple[Mapping[str, str], float]]:
    path, first, second = rule
    measurement, _, name = path.partition(".")
    subtrahends = _loops(rows, measurement, name, second, tags)
    for loop, value in _loops(rows, measurement, name, first, tags).items():
        if loop in subtrahends:
            yield _result(loop, tags), value - subtrahends[loop]
