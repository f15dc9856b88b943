"""The rows of a metrics page: samples that belong together, as a profile says it (see `collectors/exposition.py`)."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from collectors.decode import Batch
from collectors.exposition_text import MAX_BLOCKS, Labels, Page, Parser
from collectors.profile import Group, PointSpec

#: values of the row's labels, in the order of `each.labels`
Key = tuple[str, ...]

_SELECTOR = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*")
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)')


class Each(BaseModel):
    """The rows of one group: the value of `each`."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    labels: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    filter: Mapping[str, str] = {}
    combine: Literal["sum", "max", "first"] = "sum"
    optional: bool = False

    @field_validator("filter")
    @classmethod
    def _patterns(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for pattern in value.values():
            re.compile(pattern)
        return value


@dataclass(frozen=True, slots=True)
class Selector:
    """One `at`: a metric and the labels that its samples must have."""

    metric: str
    matchers: tuple[tuple[str, re.Pattern[str], bool], ...]

    def takes(self, labels: Labels) -> bool:
        """Tell whether a sample with these labels is meant."""
        return all(
            (pattern.fullmatch(labels.get(name, "")) is not None) is wanted for name, pattern, wanted in self.matchers
        )


def parse_selector(text: str) -> Selector:
    """Return what `metric` or `metric{label="value", other=~"pattern"}` selects.

    Raises:
        ValueError: it is not written like that.
    """
    found = _SELECTOR.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no metric name")
    matchers = []
    block, at = found[2] or "", 0
    while matcher := _MATCHER.match(block, at):
        name, operator, value = matcher.groups()
        pattern = re.compile(value if "~" in operator else re.escape(value))
        matchers.append((name, pattern, not operator.startswith("!")))
        at = matcher.end()
    if block[at:].strip():
        raise ValueError(f"{text!r}: {block[at:]!r} is no matcher")
    return Selector(found[1], tuple(matchers))


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
        self._filter = [(label.split("|"), re.compile(pattern)) for label, pattern in each.filter.items()]
        self._points = [(spec, [parse_selector(at) for at in spec.addresses]) for spec in group.points]
        self._keys: dict[str, Key | None] = {}

    def metrics(self, *, slow: bool) -> set[str]:
        """Return the metrics that it reads, those of slow points if asked for."""
        return {each.metric for _, selectors in self._due(slow) for each in selectors}

    def read(self, page: Page, batch: Batch, *, slow: bool) -> None:
        """Give the page's readings to the batch, and name what is missing."""
        if len(self._keys) > MAX_BLOCKS:
            self._keys = {}
        blocks: dict[Key, set[str]] = {}
        taken: list[tuple[PointSpec, dict[Key, float]]] = []
        for spec, selectors in self._due(slow):
            found = (self._gather(page, selector, blocks) for selector in selectors)
            values = next((values for values in found if values), None)
            if values is not None:
                taken.append((spec, values))
            elif not self._each.optional:
                batch.miss(f"{spec.to}: no sample of {' or '.join(spec.addresses)}", self._group, spec)
        rows = {key: self._variables(key, where) for key, where in blocks.items()}
        for spec, values in taken:
            for key, value in values.items():
                batch.add(self._group, spec, value, rows[key])

    def _due(self, slow: bool) -> Iterator[tuple[PointSpec, list[Selector]]]:
        return (point for point in self._points if slow or point[0].every == "fast")

    def _gather(self, page: Page, selector: Selector, blocks: dict[Key, set[str]]) -> dict[Key, float]:
        combine = _COMBINE[self._each.combine]
        values: dict[Key, float] = {}
        for block, value in page.samples.get(selector.metric, {}).items():
            key = self._key(block)
            if key is None or (selector.matchers and not selector.takes(self._parser.labels(block))):
                continue
            values[key] = combine(values[key], value) if key in values else value
            blocks.setdefault(key, set()).add(block)
        return values

    def _key(self, block: str) -> Key | None:
        """Return the row of a sample, or None where the filter leaves it out."""
        if block not in self._keys:
            labels = self._parser.labels(block)
            fits = all(pattern.fullmatch(_first(labels, names)) for names, pattern in self._filter)
            self._keys[block] = tuple(_first(labels, names) for names in self._key_labels.values()) if fits else None
        return self._keys[block]

    def _variables(self, key: Key, blocks: set[str]) -> dict[str, str]:
        row = dict(zip(self._key_labels, key, strict=True))
        for name, dialects in self._also.items():
            said = {_first(self._parser.labels(block), dialects) for block in blocks} - {""}
            row[name] = said.pop() if len(said) == 1 else ""
        return row


def _dialects(labels: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the spellings of each label by the first of them, which names the row variable."""
    return {spellings[0]: spellings for spellings in (label.split("|") for label in labels)}


def _first(labels: Labels, names: list[str]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _keep(first: float, _: float) -> float:
    return first


def _add(first: float, second: float) -> float:
    return first + second


_COMBINE: Mapping[str, Callable[[float, float], float]] = {"sum": _add, "max": max, "first": _keep}
