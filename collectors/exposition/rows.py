"""From the samples of a metrics page to the rows of a profile's group (see `collectors/exposition/collector.py`)."""

import math
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from collectors.decode import Batch
from collectors.exposition.address import Address, Term, parse_address
from collectors.exposition.each import Each, no_person, parse_range
from collectors.exposition.text import MAX_BLOCKS, Labels, Page, Parser
from collectors.profile import Group, PointSpec
from storage.schema import field_of

#: values of the row's labels, in the order of `each.labels`
Key = tuple[str, ...]
#: values by row; the blank ones as text that no field takes, so that they are refused and counted
Values = dict[Key, float | str]

_LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a sample belongs: its row, and its part of that row. There is one object per place: it hashes fast."""

    key: Key
    part: Key


@dataclass(frozen=True, slots=True)
class _Asked:
    """One point of the group, ready to be read."""

    spec: PointSpec
    addresses: tuple[Address, ...]
    #: a sample below this says nothing; open: the largest float
    low: float
    #: what a text field takes: the first of these labels that the row has
    labels: tuple[str, ...] = ()


class Table:
    """One group of a profile, ready to read pages of one endpoint."""

    def __init__(self, group: Group, parser: Parser) -> None:
        """Check the group.

        Raises:
            ValueError: `each` or an `at` is not written as it should be.
        """
        each = Each.model_validate(dict(group.each))
        self._group = group
        self._parser = parser
        self._each = each
        self._key_labels = _dialects(each.labels)
        self._also = _dialects(each.also)
        self._parts = list(_dialects(each.parts).values())
        self._filter = [(label.split("|"), re.compile(pattern)) for label, pattern in each.filter.items()]
        self._blanks = tuple(parse_range(text) for text in each.blank)
        self._points = [_asked(spec) for spec in group.points]
        if isinstance(each.optional, tuple) and (unknown := set(each.optional) - {spec.to for spec in group.points}):
            raise ValueError(f"optional: {', '.join(sorted(unknown))} is no point of this group")
        self._blocks: dict[str, _Place | None] = {}
        self._places: dict[tuple[Key, Key], _Place] = {}
        #: the variables of a row by its label blocks, which repeat from page to page
        self._rows: dict[tuple[Key, frozenset[str]], dict[str, str]] = {}
        #: no value below it is blank
        self._least_blank = min((least for least, _ in self._blanks), default=math.inf)

    def metrics(self, *, slow: bool) -> set[str]:
        """Return the metrics that it reads, those of slow points if asked for."""
        return {term.metric for asked in self._due(slow) for at in asked.addresses for term in at.terms}

    def read(self, page: Page, batch: Batch, *, slow: bool) -> None:
        """Give the page's readings to the batch, and name what is missing."""
        if len(self._blocks) > MAX_BLOCKS or len(self._rows) > MAX_BLOCKS:
            self._blocks, self._places, self._rows = {}, {}, {}
        blocks: dict[Key, set[str]] = {}
        taken: list[tuple[PointSpec, Values | float]] = []
        for asked in (each for each in self._due(slow) if not each.labels):
            values = self._first_present(page, asked, blocks)
            if values is not None:
                taken.append((asked.spec, values))
            elif not self._each.is_optional(asked.spec.to):
                what = f"{asked.spec.to}: no sample of {' or '.join(asked.spec.addresses)}"
                batch.miss(what, self._group, asked.spec)
        rows = {key: self._variables(key, where) for key, where in blocks.items()}
        for spec, values in taken:
            for key, value in (values if isinstance(values, dict) else dict.fromkeys(rows, values)).items():
                batch.add(self._group, spec, value, rows[key])
        for asked in (each for each in self._due(slow) if each.labels):
            for key, where in blocks.items():
                if text := self._agreed(where, asked.labels):
                    batch.add(self._group, asked.spec, text, rows[key])

    def _due(self, slow: bool) -> Iterator[_Asked]:
        return (asked for asked in self._points if slow or asked.spec.every == "fast")

    def _first_present(self, page: Page, asked: _Asked, blocks: dict[Key, set[str]]) -> Values | float | None:
        """Return the values of the first address that this page has, per row or one for all rows; blank ones last."""
        blank: Values | None = None
        for address in asked.addresses:
            found = [self._gather(page, term, asked.low, blocks) for term in address.terms]
            if {} in found:
                continue
            values = found[0] if len(found) == 1 else _calculate(address.operator, found)
            if isinstance(values, float) or (values and any(isinstance(value, float) for value in values.values())):
                return values
            blank = blank or values
        return blank

    def _gather(self, page: Page, term: Term, low: float, blocks: dict[Key, set[str]]) -> Values | float:
        samples = page.samples.get(term.metric)
        if not samples:
            return {}
        if self._key_labels and term.metric in self._each.page:
            numbers = [value for value in samples.values() if low <= value <= _LARGEST]
            return reduce(_COMBINE[term.combine or "max"], numbers) if numbers else {}
        combine = _COMBINE[term.combine or self._each.combine]
        values: dict[_Place, float] = {}
        blanks: dict[_Place, float] = {}
        for block, value in samples.items():
            place = self._place(block)
            if place is None or (term.matchers and not term.takes(self._parser.labels(block))):
                continue
            blocks.setdefault(place.key, set()).add(block)
            if not low <= value <= _LARGEST or (value >= self._least_blank and self._is_blank(value)):
                blanks[place] = value
            else:
                values[place] = combine(values[place], value) if place in values else value
        return self._whole_rows(values, blanks, combine, by_part=not term.combine)

    def _whole_rows(
        self, values: Mapping[_Place, float], blanks: Mapping[_Place, float], combine: "_Combine", *, by_part: bool
    ) -> Values:
        """Return one value per row: parts added up; a blank sample withholds the sum that it belongs to."""
        join = _add if self._parts and by_part else combine
        rows: dict[Key, float] = {}
        for place, value in values.items():
            rows[place.key] = join(rows[place.key], value) if place.key in rows else value
        found: Values = {**rows}
        for place, value in blanks.items():
            alone = place not in values if join is _add else place.key not in rows
            if combine is _add or alone:
                found[place.key] = f"blank {value:.17g}"
        return found

    def _is_blank(self, value: float) -> bool:
        return any(low <= value <= high for low, high in self._blanks)

    def _place(self, block: str) -> _Place | None:
        """Return the row and part of a sample, or None where the filter leaves it out."""
        if block not in self._blocks:
            labels = self._parser.labels(block)
            fits = all(pattern.fullmatch(_first(labels, names)) for names, pattern in self._filter)
            key = tuple(_first(labels, names) for names in self._key_labels.values())
            part = tuple(_first(labels, names) for names in self._parts)
            self._blocks[block] = self._places.setdefault((key, part), _Place(key, part)) if fits else None
        return self._blocks[block]

    def _variables(self, key: Key, blocks: Collection[str]) -> dict[str, str]:
        known = (key, frozenset(blocks))
        if known not in self._rows:
            row = dict(zip(self._key_labels, key, strict=True))
            self._rows[known] = row | {name: self._agreed(blocks, names) for name, names in self._also.items()}
        return self._rows[known]

    def _agreed(self, blocks: Collection[str], labels: Sequence[str]) -> str:
        """Return the label that all samples of a row have or lack, by any of its spellings; "" where they disagree."""
        said = {_first(self._parser.labels(block), labels) for block in blocks} - {""}
        return said.pop() if len(said) == 1 else ""


def _asked(spec: PointSpec) -> _Asked:
    if field_of(spec.to).kind == "text":
        return _Asked(spec, (), 0.0, no_person(spec.addresses))
    low = field_of(spec.to).low
    # Nothing that is counted or weighed is negative before scaling either, unless the profile shifts it.
    shifted = spec.scale < 0 or spec.offset or spec.unit in ("C", "F") or spec.enum
    never_negative = low is not None and low >= 0 and not shifted
    return _Asked(spec, tuple(map(parse_address, spec.addresses)), 0.0 if never_negative else -_LARGEST)


def _calculate(operator: str, found: list[Values | float]) -> Values | float | None:
    """Return the terms joined by their operator, for the rows that have them all; a division by zero has no value."""
    tables = [values for values in found if isinstance(values, dict)]
    if not tables:
        return _join(operator, [values for values in found if isinstance(values, float)])
    keys = [key for key in tables[0] if all(key in table for table in tables)]
    values: Values = {}
    for key in keys:
        terms = [term[key] if isinstance(term, dict) else term for term in found]
        blank = next((term for term in terms if isinstance(term, str)), None)
        value = blank or _join(operator, [term for term in terms if isinstance(term, float)])
        if value is not None:
            values[key] = value
    return values


def _join(operator: str, terms: list[float]) -> float | None:
    first, *others = terms
    if operator == "/":
        return reduce(lambda a, b: a / b, others, first) if all(others) else None
    return first + sum(others) if operator == "+" else first - sum(others)


def _dialects(labels: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the spellings of each label by the first of them, which names the row variable."""
    return {spellings[0]: spellings for spellings in (label.split("|") for label in labels)}


def _first(labels: Labels, names: Sequence[str]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


_Combine = Callable[[float, float], float]


def _keep(first: float, _: float) -> float:
    return first


def _add(first: float, second: float) -> float:
    return first + second


_COMBINE: Mapping[str, _Combine] = {"sum": _add, "max": max, "min": min, "first": _keep}
