"""One entry of a profile made ready to run: raw answer in, value in the base unit or the reason for a refusal out."""

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from collectors.series import SeriesTemplate
from collectors.units import Conversion, conversion
from storage.point import FieldValue
from storage.schema import MEASUREMENTS, Field

if TYPE_CHECKING:
    from collectors.profile import Group, PointSpec, Raw

_Choice = TypeVar("_Choice")

_LARGEST = sys.float_info.max
#: entPhySensorScale ends at 10^24, entPhySensorPrecision at 9 digits
_LARGEST_EXPONENT = 40
#: a float of registers nearer to 0 is none that was measured, but one whose words are in the other order; of
#: temperatures, which never rest at 0, much less will do
_LEAST, _LEAST_CELSIUS = 1e-30, 1e-6


#: why a value is refused by which a device says that it has none
BLANK = "blank value"


class RefusedError(Exception):
    """The reading says nothing; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How a raw number becomes a value in the base unit, and which of these are plausible."""

    #: value = factor * raw + offset, in the base unit
    factor: float
    offset: float
    decibel: bool
    #: limits in the base unit; open ends are the largest floats, so that an infinite value never fits
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One entry of a profile, compiled; `Profile.readings` makes each once."""

    group: "Group"
    spec: "PointSpec"
    name: str
    into: Field
    series: SeriesTemplate
    #: mask and series of each named bit of an alarm word
    bits: tuple[tuple[int, SeriesTemplate], ...]
    #: value = factor * raw + offset, in the base unit
    factor: float
    offset: float
    decibel: bool
    #: limits in the base unit; open ends are the largest floats, so that an infinite value never fits
    low: float
    high: float
    nulls: frozenset["Raw"]
    states: Mapping["Raw", int | None]
    #: raw values that it is for; open ends are the largest floats
    applies: tuple[float, float]
    #: a number that needs scale and limits alone
    plain: bool
    #: its scale depends on the row's variables
    by_row: bool
    #: floats of registers that are nearer to 0 and not 0 are refused; 0 for all others
    least: float
    #: row variable -> its value -> factor of the raw value
    factors: tuple[tuple[str, Mapping[str, float]], ...]
    #: row variable -> its value -> scale in place of that of `unit`
    scales: tuple[tuple[str, Mapping[str, Scale]], ...]

    @property
    def unbounded(self) -> bool:
        """Return whether any finite number from 0 up is its value as it stands, as of most counters."""
        bare = self.plain and not (self.nulls or self.bits or self.by_row or self.decibel or self.least)
        return bare and self.factor == 1.0 and self.offset == 0.0 and self.low <= 0.0 and self.high == _LARGEST

    def whole(self, raws: "Sequence[Raw | None]") -> Sequence[FieldValue] | None:
        """Return the values of a column in base units where every row has a plausible one, else None."""
        if self.bits or self.by_row or self.nulls or self.least:
            return None
        try:
            return self._numbers(cast("Sequence[float]", raws)) if self.plain else self._decoded(raws)
        except (TypeError, ValueError, OverflowError, RefusedError):
            return None

    def _numbers(self, numbers: Sequence[float]) -> Sequence[float] | None:
        # What is no number raises.
        if self.factor != 1.0 or self.offset != 0.0 or {*map(type, numbers)} != {float}:
            factor, offset = self.factor, self.offset
            numbers = [factor * number + offset for number in numbers]
        if self.decibel:
            numbers = [1e-3 * 10 ** (number / 10) for number in numbers]
        # A NaN may hide from min and max, not from a sum.
        plausible = self.low <= min(numbers) and max(numbers) <= self.high and not math.isnan(sum(numbers))
        return numbers if plausible else None

    def _decoded(self, raws: "Sequence[Raw | None]") -> Sequence[FieldValue] | None:
        """Decode each text once: the rows of a table share a few states."""
        types = {*map(type, raws)}
        if types == {int} and self.into.kind == "state" and not self.states and self.factor == 1.0 and not self.offset:
            numbers = cast("Sequence[int]", raws)
            return numbers if self.low <= min(numbers) and max(numbers) <= self.high else None
        if types != {str}:
            return None
        known = {raw: self.decode(cast("Raw", raw)) for raw in set(raws)}
        return None if None in known.values() else [cast(FieldValue, known[raw]) for raw in raws]

    def decode(self, raw: "Raw") -> FieldValue | None:
        """Return the value in the base unit, or None for a state that the profile maps to nothing.

        Raises:
            RefusedError: blank, malformed or implausible.
        """
        if self.nulls and raw in self.nulls:
            raise RefusedError(BLANK)
        if self.least:
            self._refuse_swapped(raw)
        if self.plain:
            return self._number(raw)
        if not self._is_meant(raw):
            return None
        if self.states:
            return self._state(raw)
        if self.into.kind == "text":
            return self._text(raw)
        if self.into.kind == "state":
            unscaled = self.factor == 1.0 and self.offset == 0.0
            return self._whole(raw if unscaled else self._number(raw))
        return self._number(raw)

    def decode_in(self, raw: "Raw", row: Mapping[str, str]) -> FieldValue | None:
        """Return the value of a reading that the row's variables scale, as `decode` does.

        Raises:
            RefusedError: blank, malformed or implausible, or the row does not tell its scale.
        """
        if raw in self.nulls:
            raise RefusedError(BLANK)
        if self.least:
            self._refuse_swapped(raw)
        if not self._is_meant(raw):
            return None
        number = self._scaled(raw, row)
        for name, scales in self.scales:
            return self._number(number, _chosen(name, scales, row, "unit"))
        return self._number(number)

    def _refuse_swapped(self, raw: "Raw") -> None:
        if isinstance(raw, float) and 0.0 < abs(raw) < self.least:
            raise RefusedError(f"{raw:.3g} is next to nothing: are its words in the other order?")

    def _is_meant(self, raw: "Raw") -> bool:
        return not isinstance(raw, int | float) or self.applies[0] <= raw <= self.applies[1]

    def _scaled(self, raw: "Raw", row: Mapping[str, str]) -> float:
        try:
            number = _parse(raw) if isinstance(raw, str) else raw
            if self.spec.factor_from:
                number *= float(row[self.spec.factor_from])
            exponent = sum(weight * int(row[name]) for name, weight in self.spec.scale_from.items())
        except (KeyError, ValueError):
            raise RefusedError("its scale is not told") from None
        for name, factors in self.factors:
            number *= _chosen(name, factors, row, "scale")
        if abs(exponent) > _LARGEST_EXPONENT:
            raise RefusedError(f"a scale of 10^{exponent} is none")
        # A division by a whole power of ten rounds once, a multiplication by its inverse twice.
        return float(number * 10**exponent if exponent >= 0 else number / 10**-exponent)

    def mask(self, raw: "Raw") -> int:
        """Return an alarm word as a number.

        Raises:
            RefusedError: blank, or no whole number.
        """
        if self.nulls and raw in self.nulls:
            raise RefusedError(BLANK)
        return _integer(raw)

    def _number(self, raw: "Raw", scale: Scale | None = None) -> float:
        own = self if scale is None else scale
        try:
            number = _parse(raw) if isinstance(raw, str) else raw
            value = own.factor * number + own.offset
            if own.decibel:
                value = 1e-3 * 10 ** (value / 10)
        except (ValueError, TypeError):
            raise RefusedError("not a number") from None
        except OverflowError:
            raise RefusedError("not finite") from None
        if own.low <= value <= own.high:
            return value
        raise RefusedError(_why(value, own.low, own.high, self.into.unit))

    def _whole(self, raw: "Raw") -> int:
        value = _integer(raw)
        if self.low <= value <= self.high:
            return value
        raise RefusedError(_why(value, self.low, self.high, self.into.unit))

    def _text(self, raw: "Raw") -> str:
        text = str(raw).strip() if isinstance(raw, str | int | float) else ""
        if not text:
            raise RefusedError(BLANK)
        return text

    def _state(self, raw: "Raw") -> int | None:
        for form in (raw, raw.strip() if isinstance(raw, str) else str(raw)):
            if form in self.states:
                return self.states[form]
        if self.spec.otherwise is not None:
            return self.spec.otherwise
        raise RefusedError("not among the profile's states")


def _chosen(name: str, choices: Mapping[str, _Choice], row: Mapping[str, str], what: str) -> _Choice:
    """Return what the value of a row variable chooses."""
    if row.get(name, "") == "":
        raise RefusedError(f"its {what} is not told: {name} is not known")
    try:
        return choices[_canonical(row[name])]
    except KeyError:
        raise RefusedError(f"its {what} is not told by {name}={row[name]!r}") from None


def _canonical(value: "Raw") -> str:
    """Return one form of what may come as number or as text: 1, 1.0, "1" and " 1 " are one."""
    text = str(value).strip()
    return text.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", text) else text


def _parse(text: str) -> float:
    if "_" in text:  # Python reads 1_000 as a number; no device means that
        raise ValueError
    return float(text)


def _integer(raw: "Raw") -> int:
    try:
        value = int(raw, 0) if isinstance(raw, str) else int(raw)
        exact = isinstance(raw, str) or value == raw
    except (ValueError, TypeError, OverflowError):
        exact = False
    if not exact:
        raise RefusedError("not a whole number")
    return value


def _why(value: float, low: float, high: float, unit: str) -> str:
    if not math.isfinite(value):
        return "not finite"
    side, limit = ("below", low) if value < low else ("above", high)
    # A meter behind which the site generates: what it consumes is not known then.
    hint = "; fed back, or current transformers turned round" if unit == "watts" and value < low == 0.0 else ""
    return f"{value:g} is {side} {limit:g} {unit}".rstrip() + hint


def limits(field: Field, low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """Return the narrower of the schema's and the given range; open ends are the largest floats."""
    lows = [limit for limit in (field.low, low) if limit is not None]
    highs = [limit for limit in (field.high, high) if limit is not None]
    return max(lows, default=-_LARGEST), min(highs, default=_LARGEST)


def implausible(field: Field, value: FieldValue) -> str:
    """Return why the schema cannot believe a value of this field, or "" where it can."""
    low, high = limits(field)
    return "" if isinstance(value, str) or low <= value <= high else _why(value, low, high, field.unit)


def own_tags(group: "Group", spec: "PointSpec", measurement: str) -> dict[str, str]:
    """Return a reading's tags: the point's over the group's, of both those that the measurement has, in its order."""
    merged = {**group.tags, **spec.tags}
    return {name: merged[name] for name in MEASUREMENTS[measurement].tags if name in merged}


def compile_readings(group: "Group") -> Iterable[Reading]:
    """Yield the readings of a group; points that end in the same series share its template.

    Raises:
        KeyError: a measurement or field that the schema lacks.
        InvalidValueError: a unit that does not fit the field.
    """
    templates: dict[tuple[object, ...], SeriesTemplate] = {}
    for spec in group.points:
        measurement = spec.to.partition(".")[0]
        tags = own_tags(group, spec, measurement)
        key = (measurement, *sorted(tags.items()))
        yield _compile(group, spec, templates.setdefault(key, SeriesTemplate(measurement, tags)), tags)


def _compile(group: "Group", spec: "PointSpec", series: SeriesTemplate, tags: Mapping[str, str]) -> Reading:
    name = spec.to.partition(".")[2]
    into = MEASUREMENTS[series.measurement].fields[name]
    scale = _scale(spec, name, into, conversion(spec.unit, name, into.unit))
    scales = {
        variable: {_canonical(raw): _scale(spec, name, into, conversion(unit, name, into.unit)) for raw, unit in units}
        for variable, units in ((variable, choices.items()) for variable, choices in spec.unit_if.items())
    }
    factors = {name: {_canonical(raw): by for raw, by in choices.items()} for name, choices in spec.scale_if.items()}
    flags = (spec.flags or {}).items()
    return Reading(
        group,
        spec,
        name,
        into,
        series,
        bits=tuple((1 << bit, SeriesTemplate(series.measurement, {**tags, "bit": text})) for bit, text in flags),
        factor=scale.factor,
        offset=scale.offset,
        decibel=scale.decibel,
        low=scale.low,
        high=scale.high,
        nulls=frozenset(form for raw in spec.null_if for form in _forms(raw)),
        states={form: state for raw, state in (spec.enum or {}).items() for form in _forms(raw)},
        applies=(
            -_LARGEST if spec.applies[0] is None else spec.applies[0],
            _LARGEST if spec.applies[1] is None else spec.applies[1],
        ),
        plain=into.kind in ("gauge", "counter") and not spec.enum and spec.applies == (None, None),
        least=_least(spec, into),
        by_row=bool(spec.scale_from or spec.factor_from or factors or scales),
        factors=tuple(factors.items()),
        scales=tuple(scales.items()),
    )


def _least(spec: "PointSpec", into: Field) -> float:
    if not spec.type.startswith(("f32", "f64")):
        return 0.0
    return _LEAST_CELSIUS if into.unit == "celsius" else _LEAST


def _scale(spec: "PointSpec", name: str, into: Field, unit: Conversion) -> Scale:
    low, high = limits(into, *(limit if limit is None else unit.to_base(limit) for limit in (spec.min, spec.max)))
    factor = spec.scale / 2**spec.frac_bits * unit.factor
    return Scale(factor, spec.offset * unit.factor + unit.offset, unit.decibel_milliwatts, low, high)


def _forms(raw: "Raw") -> "list[Raw]":
    """Return a raw value as it stands and in its other form: 1 and "1", "-1" and -1."""
    whole = isinstance(raw, str) and re.fullmatch(r"[-+]?\d{1,30}", raw)
    return [raw, str(raw), int(raw)] if whole else [raw, str(raw)]
