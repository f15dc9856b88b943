"""The `at` of a metrics page: metrics, PromQL's matchers, and the little arithmetic that adapters need."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_METRIC = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*")
_BLOCK = re.compile(r'\{((?:[^"{}]|"[^"]*")*)\}\s*')
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)')

#: how the samples of a row become one value
COMBINES = ("sum", "max", "min", "first")


@dataclass(frozen=True, slots=True)
class Term:
    """One metric and the labels that its samples must have."""

    metric: str
    matchers: tuple[tuple[str, re.Pattern[str], bool], ...] = ()
    #: one of COMBINES, or "": as the group says
    combine: str = ""

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a sample with these labels is meant."""
        return all(
            (pattern.fullmatch(labels.get(name, "")) is not None) is wanted for name, pattern, wanted in self.matchers
        )


@dataclass(frozen=True, slots=True)
class Address:
    """One `at`: a term, or several with the same operator between them."""

    terms: tuple[Term, ...]
    #: + - / or "" for a single term
    operator: str = ""


def parse_address(text: str) -> Address:
    """Return what `metric`, `metric{label="value", other=~"pattern"}`, `max(metric)`, `a / b`, `a - b`, `a + b` mean.

    Raises:
        ValueError: it is not written like that.
    """
    terms, operators, at = list[Term](), set[str](), 0
    while True:
        term, at = _term(text, at)
        terms.append(term)
        if at == len(text):
            break
        operator = text[at]
        if operator not in "+-/":
            raise ValueError(f"{text!r}: {text[at:]!r} is neither a matcher nor one of + - /")
        operators.add(operator)
        at += 1
    if len(operators) > 1:
        raise ValueError(f"{text!r}: + - and / do not mix in one address")
    return Address(tuple(terms), operators.pop() if operators else "")


def _term(text: str, at: int) -> tuple[Term, int]:
    found = _METRIC.match(text, at)
    if found is None:
        raise ValueError(f"{text!r}: {text[at:]!r} is no metric name")
    if text[found.end() : found.end() + 1] == "(":
        if found[1] not in COMBINES:
            raise ValueError(f"{text!r}: {found[1]!r} is none of {', '.join(COMBINES)}")
        inner, end = _term(text, found.end() + 1)
        if inner.combine or text[end : end + 1] != ")":
            raise ValueError(f"{text!r}: no ) behind {inner.metric}")
        return Term(inner.metric, inner.matchers, found[1]), _skip_blanks(text, end + 1)
    block = _BLOCK.match(text, found.end())
    matchers = _matchers(text, block[1]) if block else ()
    return Term(found[1], matchers), block.end() if block else found.end()


def _matchers(text: str, block: str) -> tuple[tuple[str, re.Pattern[str], bool], ...]:
    matchers, at = [], 0
    while found := _MATCHER.match(block, at):
        name, operator, value = found.groups()
        pattern = re.compile(value if "~" in operator else re.escape(value))
        matchers.append((name, pattern, not operator.startswith("!")))
        at = found.end()
    if block[at:].strip():
        raise ValueError(f"{text!r}: {block[at:]!r} is no matcher")
    return tuple(matchers)


def _skip_blanks(text: str, at: int) -> int:
    return at + len(text[at:]) - len(text[at:].lstrip())
