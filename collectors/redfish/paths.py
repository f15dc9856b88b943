"""Where a reading lies within a Redfish resource: "SupplyTemperatureCelsius.Reading", "RailVoltage[0].Reading"."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from collectors.profile import Raw

Resource = Mapping[str, Any]

_NAME = re.compile(r"[^.\[\]{}\s]+")
_ITEM = re.compile(r"\[(?:(\d{1,4})|(only)|([^=\]]+)=([^\]]+))\]")
_EXAMPLE = "SupplyTemperatureCelsius.Reading, Voltages[0].Reading or MetricValues[MetricId=Power].MetricValue"


@dataclass(frozen=True, slots=True)
class Only:
    """The item of a list that has no other."""


@dataclass(frozen=True, slots=True)
class Select:
    """The last item of a list that says `value` under `key`; `{name}` in the value is a row's variable."""

    key: str
    value: str


Step = str | int | Only | Select
Path = tuple[Step, ...]


def parse_path(text: str) -> Path:
    """Return the steps of a path: names, numbers of list items, `[only]`, `[Key=value]`.

    Raises:
        ValueError: not such a path.
    """
    steps = tuple(_steps(text))
    if not steps:
        raise ValueError(f"{text!r} is no path like {_EXAMPLE}")
    return steps


def _steps(text: str) -> Iterator[Step]:
    place = 0
    while place < len(text):
        if place and text[place] == ".":
            place += 1
        elif place and text[place] != "[":
            raise ValueError(f"{text!r} is no path like {_EXAMPLE}")
        pattern = _ITEM if place and text[place : place + 1] == "[" and text[place - 1] != "." else _NAME
        found = pattern.match(text, place)
        if found is None:
            raise ValueError(f"{text!r} is no path like {_EXAMPLE}")
        yield found[0] if pattern is _NAME else _item(found)
        place = found.end()


def _item(found: "re.Match[str]") -> Step:
    if found[1]:
        return int(found[1])
    return Only() if found[2] else Select(found[3], found[4])


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with each `{name}` replaced by that variable; unknown ones stay."""
    for name, value in variables.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def find(resource: Resource, path: Path, variables: Mapping[str, str] | None = None) -> object:
    """Return what stands at this path, or None where it, or something on the way to it, is null.

    Raises:
        KeyError: the resource has no such property.
    """
    here: object = resource
    for step in path:
        if here is None:
            return None
        here = _step(here, step, variables or {})
    return here


def look_up(resource: Resource, path: Path, variables: Mapping[str, str] | None = None) -> Raw | None:
    """Return the value at this path, or None where it is null, an object or a list.

    Raises:
        KeyError: the resource has no such property.
    """
    value = find(resource, path, variables)
    return value if isinstance(value, int | float | str) else None


def _step(here: object, step: Step, variables: Mapping[str, str]) -> object:
    if isinstance(step, str):
        if isinstance(here, dict):
            return here[step]
        raise KeyError(step)
    if not isinstance(here, list):
        raise KeyError(str(step))
    if isinstance(step, Select):
        wanted = fill(step.value, variables)
        found = [item for item in here if isinstance(item, Mapping) and item.get(step.key) == wanted]
        if not found:
            raise KeyError(wanted)
        return found[-1]  # a report that appends has the newest last
    if isinstance(step, Only):
        if len(here) != 1:
            raise KeyError("only")
        return here[0]
    if step >= len(here):
        raise KeyError(str(step))
    return here[step]
