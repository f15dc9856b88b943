"""The rows of a board: which points a topic's metadata asks for, with which variables, and whether a value counts."""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.mqtt.client import Value, point_of
from collectors.mqtt.profile import PLACEHOLDER, Each, Transport
from collectors.profile import Group, PointSpec, Profile, Raw
from collectors.row_rules import make_variables, matches
from collectors.units import conversion
from storage.config import InvalidValueError
from storage.schema import MEASUREMENTS

#: keys of metadata that are read here, beside those of the variables
KEYS = (
    "objectType", "objectId", "rackLocationId", "associateId", "servesId",
    "engUnit", "stateText", "isSetpoint", "integration",
)  # fmt: skip
_GOOD = 1
_IDLE = re.compile(r"[\s_-]+")


class RefusedValueError(Exception):
    """The value says nothing; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One point of a group."""

    group: Group
    spec: PointSpec
    each: Each
    #: row variables that its tags cannot do without
    variables: Sequence[str]
    #: words of its enum without case and blanks -> as the profile writes them
    words: Mapping[str, Raw]


@dataclass(frozen=True, slots=True)
class Ready:
    """One point of one topic, ready for values."""

    tail: str
    group: Group
    spec: PointSpec
    row: Mapping[str, str]
    #: why no value counts, or ""
    refusal: str
    #: who is to publish it
    publisher: str
    #: value in the point's unit = factor * raw + offset
    factor: float = 1.0
    offset: float = 0.0
    #: number -> the profile's word for it; None where numbers count as they stand
    states: Mapping[float, Raw | str] | None = None


def find_wanted(profile: Profile) -> Mapping[str, Sequence[Wanted]]:
    """Return the points made from each objectType/pointType."""
    found: dict[str, list[Wanted]] = {}
    for group in profile.groups:
        each = Each.model_validate(group.each)
        for spec in group.points:
            names = PLACEHOLDER.findall(" ".join([*group.tags.values(), *spec.tags.values()]))
            words = {_plain(str(raw)): raw for raw in spec.enum or {} if not _is_number(raw)}
            wanted = Wanted(group, spec, each, tuple(dict.fromkeys(names)), words)
            for address in spec.addresses:
                found.setdefault(address, []).append(wanted)
    return found


class Rows:
    """What each topic gives, worked out once for as long as its metadata stays the same."""

    def __init__(self, wanted: Mapping[str, Sequence[Wanted]], transport: Transport) -> None:
        self._wanted = wanted
        self._transport = transport
        self._known: dict[str, tuple[Mapping[str, Any], Sequence[Ready]]] = {}

    def of(self, tail: str, metadata: Mapping[str, Any]) -> Sequence[Ready]:
        """Return the points that a topic with this metadata gives."""
        known = self._known.get(tail)
        if known is None or known[0] is not metadata:
            known = self._known[tail] = (metadata, self._find(tail, metadata))
        return known[1]

    def keep(self, tails: Container[str]) -> None:
        """Forget all topics but these."""
        if gone := [tail for tail in self._known if tail not in tails]:
            for tail in gone:
                del self._known[tail]

    def _find(self, tail: str, metadata: Mapping[str, Any]) -> Sequence[Ready]:
        if metadata.get("isSetpoint") is True:
            return ()
        told = {name: self._text(metadata, keys) for name, keys in self._transport.variables.items()}
        ready: list[Ready] = []
        misfits: list[Ready] = []
        for wanted in self._wanted[point_of(tail)]:
            row = make_variables(wanted.each.set, told)
            if matches(row, wanted.each.where):
                made = self._ready(tail, metadata, wanted, row)
                (misfits if made.refusal and not _lacks(row, wanted) else ready).append(made)
        # Of the readings that one topic may be, those it is; where it is none, all say why.
        return ready or misfits

    def _ready(self, tail: str, metadata: Mapping[str, Any], wanted: Wanted, row: Mapping[str, str]) -> Ready:
        spec, publisher = wanted.spec, metadata.get("integration")
        by = str(publisher) if publisher else ""
        if lacking := _lacks(row, wanted):
            keys = "/".join(self._transport.variables.get(lacking, (lacking,)))
            return Ready(tail, wanted.group, spec, row, f"its metadata has no {keys}", by)
        if wanted.words:
            states = _states(metadata.get("stateText"), wanted.words)
            refusal = "" if states else "its metadata has no stateText"
            return Ready(tail, wanted.group, spec, row, refusal, by, states=states)
        unit = metadata.get("engUnit")
        ours = self._transport.units.get(str(unit))
        if spec.unit is None or ours == spec.unit:
            return Ready(tail, wanted.group, spec, row, "", by)
        if wanted.each.units == "any" and ours is not None and (found := _convert(ours, spec)):
            return Ready(tail, wanted.group, spec, row, "", by, *found)
        return Ready(tail, wanted.group, spec, row, f"engUnit {unit!r} where the profile has {spec.unit}", by)

    def _text(self, metadata: Mapping[str, Any], keys: Sequence[str]) -> str:
        return next((text for key in keys if (text := _text(metadata.get(key)))), "")


def trusted(value: Value, ready: Ready) -> Raw:
    """Return the raw reading in the point's unit, or its word.

    Raises:
        RefusedValueError: quality, type, unit, publisher or metadata forbid to use it.
    """
    if value.quality != _GOOD or isinstance(value.quality, bool):
        raise RefusedValueError(f"quality {value.quality!r}")
    if isinstance(value.raw, bool) or not isinstance(value.raw, int | float):
        raise RefusedValueError("not a number")
    if ready.refusal:
        raise RefusedValueError(ready.refusal)
    if value.publisher != ready.publisher:
        raise RefusedValueError(f"published by {value.publisher or 'the BMS'}, not by {ready.publisher or 'the BMS'}")
    if ready.states is not None:
        word = ready.states.get(value.raw)
        if word is None:
            raise RefusedValueError("not in its stateText")
        return word
    return value.raw if ready.factor == 1.0 and not ready.offset else ready.factor * value.raw + ready.offset


def _lacks(row: Mapping[str, str], wanted: Wanted) -> str:
    return next((name for name in wanted.variables if not row.get(name)), "")


def _text(value: object) -> str:
    if isinstance(value, list):
        return "/".join(str(part) for part in value)
    return "" if value is None else str(value)


def _convert(told: str, spec: PointSpec) -> tuple[float, float] | None:
    """Return factor and offset from a told unit to the point's own, or None where it is no unit of that quantity."""
    measurement, _, name = spec.to.partition(".")
    base = MEASUREMENTS[measurement].fields[name].unit
    try:
        source, own = conversion(told, name, base), conversion(spec.unit, name, base)
    except InvalidValueError:
        return None
    if source.decibel_milliwatts or own.decibel_milliwatts:
        return None
    return source.factor / own.factor, (source.offset - own.offset) / own.factor


def _states(told: object, words: Mapping[str, Raw]) -> Mapping[float, Raw | str]:
    """Return number -> the profile's word; a word that the profile lacks stands as it was told."""
    states: dict[float, Raw | str] = {}
    for entry in told if isinstance(told, list) else ():
        if isinstance(entry, dict) and isinstance(text := entry.get("text"), str):
            try:
                states[float(entry["value"])] = words.get(_plain(text), text)
            except (KeyError, TypeError, ValueError):
                continue
    return states


def _plain(text: str) -> str:
    return _IDLE.sub("", text).casefold()


def _is_number(raw: Raw) -> bool:
    try:
        float(raw)
    except ValueError:
        return False
    return True
