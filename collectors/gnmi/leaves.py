"""What a gNMI leaf says, and what an `at` of a profile makes of the leaves of one row.

SONiC sends every leaf as text. `at` is the name of a leaf, or a function of one or two:

- `count(NAME)`: how many parts a comma list has; `time(NAME)`: the epoch seconds of `Mon Nov 17 14:03:10 2025`, in UTC
- `dark(NAME)`: 1 where a power in dBm reads `-inf`, no light, and 0 where it is a number
- `json(NAME, MEMBER)`: a member of an object that the leaf holds as text
- `join(NAME, NAME)`: both texts with a space between; `text(NAME)`: the text as it stands, `None` too
- `row(VARIABLE)`: not a leaf, a variable of the row

`{variable}` in it is replaced by the value of a variable of `times` (`collectors/gnmi/rows.py`).
"""

import calendar
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import orjson

from collectors.profile import Raw
from storage.config import suggest

_NO_VALUE = frozenset({"", "n/a", "none", "null"})
_NOT_FINITE = frozenset({"inf", "+inf", "-inf", "nan", "infinity", "+infinity", "-infinity"})
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NUMBERS = re.compile(r"[0-9.eE+-]+")
_CALL = re.compile(r"(\w+)\((.*)\)")
_TIME_FORMAT = "%a %b %d %H:%M:%S %Y"

Leaves = Mapping[str, object]


def parse_leaf(leaf: object) -> Raw | None:
    """Return a leaf as a number where its text is one, exact beyond 2^53, as text otherwise; None for "no value"."""
    value = read_leaf(leaf)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_leaf(leaf: object) -> Raw | None:
    """Return a leaf as `parse_leaf` does, but infinite and NaN where it says so: that is an answer, to be refused."""
    if isinstance(leaf, str):
        try:
            return int(leaf) if leaf.isdecimal() and leaf.isascii() else _read_text(leaf.strip())
        except ValueError:  # more digits than Python turns into a number
            return leaf
    return leaf if isinstance(leaf, bool | int | float) else None


def _read_text(text: str) -> Raw | None:
    if _DECIMAL.fullmatch(text):
        return int(text) if _INTEGER.fullmatch(text) else float(text)
    word = text.lower()
    if word in _NO_VALUE:
        return None
    return float(word) if word in _NOT_FINITE else text


def read_number(leaf: object) -> Raw | None:
    """Return a leaf of a gauge or a counter; those end as floats."""
    return read_leaf(leaf)


def read_text(leaf: object) -> str | None:
    """Return a leaf as text, digits as they were sent; None for "no value"."""
    if isinstance(leaf, bool | int | float):
        return str(leaf)
    text = leaf.strip() if isinstance(leaf, str) else ""
    return None if text.lower() in _NO_VALUE else text


def read_light(leaf: object) -> Raw | None:
    """Return a power in dBm; None for -inf too: no light is no power in decibels, and `dark` tells of it."""
    value = read_leaf(leaf)
    return None if value == -math.inf else value


def _dark(leaf: object) -> int | None:
    value = read_leaf(leaf)
    if value == -math.inf:
        return 1
    return 0 if isinstance(value, int | float) and math.isfinite(value) else None


def _count(leaf: object) -> int | None:
    text = read_text(leaf)
    return None if text is None else len([part for part in text.split(",") if part.strip()])


def _time(leaf: object) -> Raw | None:
    text = read_text(leaf)
    return None if text is None else _epoch_seconds(text)


@lru_cache(maxsize=4096)
def _epoch_seconds(text: str) -> Raw:
    """Return the time that a text says, or the text where it says none."""
    try:
        return calendar.timegm(time.strptime(text, _TIME_FORMAT))
    except (ValueError, OverflowError):
        return text


def _as_it_stands(leaf: object) -> str | None:
    return leaf.strip() if isinstance(leaf, str) else read_text(leaf)


def _member(leaf: object, name: str) -> Raw | None:
    """Return a member of an object in text; text that is no object is returned as it is, to be refused."""
    try:
        found = orjson.loads(leaf) if isinstance(leaf, str) and leaf.strip().startswith("{") else leaf
    except orjson.JSONDecodeError:
        return read_leaf(leaf)
    return read_leaf(found.get(name)) if isinstance(found, Mapping) else read_leaf(found)


def _join(first: object, second: object) -> str | None:
    parts = [text for text in (read_text(first), read_text(second)) if text]
    return " ".join(parts) or None


_ONE: Mapping[str, Callable[[object], Raw | None]] = {
    "count": _count,
    "time": _time,
    "dark": _dark,
    "text": _as_it_stands,
}
#: every function and how many names it takes
FUNCTIONS: Mapping[str, int] = {**dict.fromkeys(_ONE, 1), "row": 1, "json": 2, "join": 2}


@dataclass(frozen=True, slots=True)
class Address:
    """One `at`: the leaves that it takes, and the function that makes a value of them."""

    function: str
    names: tuple[str, ...]

    def fill(self, variables: Mapping[str, str]) -> "Address":
        """Return the address with the values of `times` in its names."""
        return Address(self.function, tuple(fill(name, variables) for name in self.names))

    def column(
        self, rows: Sequence[Leaves], variables: Sequence[Mapping[str, str]], read: Callable[[object], Raw | None]
    ) -> list[Raw | None]:
        """Return its value in each row; `read` makes one of a plain leaf."""
        name = self.names[0]
        if self.function == "row":
            return [read(row.get(name)) for row in variables]
        if self.function == "json":
            return [_member(row.get(name), self.names[1]) for row in rows]
        if self.function == "join":
            return [_join(row.get(name), row.get(self.names[1])) for row in rows]
        if self.function == "dark" or (not self.function and read in (read_number, read_light)):
            numbers = _numbers(name, rows)
            if numbers is not None:
                return [0] * len(numbers) if self.function == "dark" else numbers
        return _each_once(_ONE[self.function] if self.function else read, [row.get(name) for row in rows])


def _each_once(make: Callable[[object], Raw | None], leaves: Sequence[object]) -> list[Raw | None]:
    """Return what `make` makes of each leaf; each text is read once, for the rows of a table share a few."""
    if {*map(type, leaves)} != {str}:
        return [make(leaf) for leaf in leaves]
    known = {leaf: make(leaf) for leaf in {*leaves}}
    return [known[leaf] for leaf in leaves]


def _numbers(name: str, rows: Sequence[Leaves]) -> "list[Raw | None] | None":
    """Return a column in which every row has a plain number, as nearly all have, or None where it is another one.

    A float of digits is the float nearest to them, as that of the integer they mean.
    """
    try:
        texts = cast(Sequence[str], [row[name] for row in rows])
        together = "".join(texts)
        plain = (together.isdecimal() and together.isascii()) or _NUMBERS.fullmatch(together)
        return list(map(float, texts)) if plain else None
    except (KeyError, TypeError, ValueError):
        return None


def read_digits(texts: Sequence[str]) -> list[float] | None:
    """Return the numbers that texts of digits are, or None where any is something else.

    They are read as one array of JSON, in a third of the time that Python takes for as many texts. With `.0` behind
    each there is no other way to as many numbers.
    """
    together = ".0,".join(texts)
    if "-" in together:
        return None
    try:
        found: list[object] = orjson.loads(f"[{together}.0]")
    except orjson.JSONDecodeError:
        return None
    return cast("list[float]", found) if len(found) == len(texts) and {*map(type, found)} == {float} else None


def read_address(text: str) -> Address:
    """Return what an `at` says.

    Raises:
        ValueError: a function that is not known, or with another number of names.
    """
    call = _CALL.fullmatch(text)
    if call is None:
        return Address("", (text,))
    names = tuple(part.strip() for part in call[2].split(","))
    if call[1] not in FUNCTIONS:
        raise ValueError(f"at: {text!r}: there is no function {call[1]!r}; {suggest(call[1], FUNCTIONS)}")
    if len(names) != FUNCTIONS[call[1]] or not all(names):
        raise ValueError(f"at: {text!r}: {call[1]} takes {FUNCTIONS[call[1]]} name{'s'[: FUNCTIONS[call[1]] - 1]}")
    return Address(call[1], names)


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with `{variable}` replaced."""
    for name, value in variables.items():
        text = text.replace(f"{{{name}}}", value)
    return text
