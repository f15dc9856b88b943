"""The tags of a series as a profile writes them down: constants and values that hold `{name}`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: the variables of one row: name and text
Variables = tuple[tuple[str, str], ...]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
#: rows remembered per template; a device has fewer, and what does not stop growing must not eat the memory
_REMEMBERED = 40_000


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a device, without what the target adds."""

    measurement: str
    #: no empty values and no `-`
    tags: Mapping[str, str]
    #: tags written `-`: the target's are not to be put there either
    without: frozenset[str]
    #: measurement and tags as one text, whose hash Python keeps
    key: str
    #: which loop it belongs to, by what a rule asks for (`collectors/derived.py`): worked out once per row
    loops: dict[object, frozenset[tuple[str, str]] | None] = field(default_factory=dict, compare=False, repr=False)


def make_series(measurement: str, tags: Mapping[str, str]) -> Series:
    """Return the series of these tags; an empty value leaves its tag out, `-` keeps the target's away too."""
    own = {name: value for name, value in tags.items() if value not in ("", "-")}
    without = frozenset(name for name, value in tags.items() if value == "-")
    key = "\0".join((measurement, *(f"{name}={value}" for name, value in sorted(own.items()))))
    return Series(measurement, own, without, key)


class SeriesTemplate:
    """Measurement and tags of the series that one entry of a profile feeds, one series per row."""

    __slots__ = ("_rows", "_tags", "measurement")

    def __init__(self, measurement: str, tags: Mapping[str, str]) -> None:
        self.measurement = measurement
        self._tags = dict(tags)
        self._rows: dict[Variables, Series] = {}

    def fill(self, row: Variables) -> Series:
        """Return the series of one row; a variable that the row lacks is empty."""
        series = self._rows.get(row)
        if series is None:
            if len(self._rows) >= _REMEMBERED:
                self._rows.clear()
            variables = dict(row)
            tags = {
                name: _PLACEHOLDER.sub(lambda m: str(variables.get(m[1], "")), value)
                for name, value in self._tags.items()
            }
            series = self._rows[row] = make_series(self.measurement, tags)
        return series

    def __len__(self) -> int:
        """Return the number of rows remembered."""
        return len(self._rows)


class Rows:
    """The rows of one table, kept from poll to poll while they stay the same: each finds its series once."""

    __slots__ = ("_series", "variables")

    def __init__(self, variables: Sequence[Variables]) -> None:
        self.variables = variables
        self._series: dict[SeriesTemplate, Sequence[Series]] = {}

    def series(self, template: SeriesTemplate) -> Sequence[Series]:
        """Return the series of each row under one template."""
        found = self._series.get(template)
        if found is None:
            found = self._series[template] = [template.fill(row) for row in self.variables]
        return found
