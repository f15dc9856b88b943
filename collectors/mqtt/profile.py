"""What an MQTT profile may say under `transport`, `match` and `each`, and what is wrong with it, each at its place."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from collectors.profile import Mistake, PointSpec, Profile
from collectors.row_rules import Patterns, Rule, Strict
from storage.config import InvalidValueError, parse_duration, suggest

PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


#: one key, or several of which the first that says something counts
Keys = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
#: one rule, or several of which the first that fits counts
Rules = Annotated[tuple[Rule, ...], BeforeValidator(lambda value: (value,) if isinstance(value, Mapping) else value)]


class Served(Strict):
    """How objects of one type stand in the inventory."""

    kind: Literal["rack", "meter", "cdu", "feed", "pdu", "shelf", "switch", "host", "row", "loop"]
    #: what `servesId` of such an object means; none where it serves nothing
    relation: Literal["feeds", "cools", ""] = ""


class Transport(Strict):
    """The value of `transport`; its keys are explained in `collectors/mqtt/collector.py`."""

    subscribe: tuple[str, ...]
    metadata: str
    values: str
    integrations: str = ""
    variables: Mapping[str, Keys]
    units: Mapping[str, str]
    stale_after: str
    heartbeat: str = ""
    heartbeat_limit: str = "30s"
    topology: Mapping[str, Served] = Field(default_factory=dict)

    @field_validator("stale_after", "heartbeat_limit")
    @classmethod
    def _duration(cls, value: str) -> str:
        parse_duration(value)
        return value

    @field_validator("subscribe")
    @classmethod
    def _filters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise InvalidValueError("names no topic", "give at least one filter: BMS/v1/PUB/#")
        for number, topic in enumerate(value):
            levels = topic.split("/")
            if not topic or any("#" in level for level in levels[:-1]) or any(_is_mixed(level) for level in levels):
                hint = "# stands for the rest and + for one level, each alone between slashes"
                raise InvalidValueError(f"{topic!r} is no topic filter", hint, (number,))
        return value

    @field_validator("metadata", "values")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if not value.endswith("/") or "#" in value or "+" in value:
            raise InvalidValueError(f"{value!r} is no prefix of topics", "end it with / and write no # or +")
        return value

    @field_validator("integrations")
    @classmethod
    def _integrations(cls, value: str) -> str:
        if value and (value.count("+") != 1 or not value.endswith("/") or "#" in value):
            hint = "write + where the integration's name stands: BMS/v1/+/Value/"
            raise InvalidValueError(f"{value!r} is no prefix of topics of integrations", hint)
        return value


class Each(Strict):
    """The value of `each`: which of the topics are rows of the group, and their further variables."""

    set: Mapping[str, Rules] = Field(default_factory=dict)
    where: Mapping[str, Patterns] = Field(default_factory=dict)
    units: Literal["fixed", "any"] = "fixed"


_TOPIC_HINT = "write {topic: FILTER}, as BMS/v1/PUB/#"


def _is_mixed(level: str) -> bool:
    return len(level) > 1 and ("#" in level or "+" in level)


def check_profile(profile: Profile) -> Iterator[Mistake]:
    """Yield every mistake in `transport`, `match`, `each` and in the points' addresses."""
    yield from _model_mistakes(("transport",), Transport, profile.transport)
    for key, value in profile.match.items():
        if key != "topic":
            yield ("match", key), InvalidValueError(f"unknown key {key!r}", _TOPIC_HINT)
        elif not isinstance(value, str) or not value:
            yield ("match", key), InvalidValueError(f"{value!r} is no topic filter", _TOPIC_HINT)
    named = profile.transport.get("variables", {})
    for number, group in enumerate(profile.groups):
        at: tuple[object, ...] = ("groups", number)
        yield from _model_mistakes((*at, "each"), Each, group.each)
        made = group.each.get("set", {})
        known = {*(named if isinstance(named, Mapping) else ()), *(made if isinstance(made, Mapping) else ())}
        yield from _variable_mistakes((*at, "tags"), group.tags, known)
        for index, spec in enumerate(group.points):
            yield from _point_mistakes((*at, "points", index), spec, profile)
            yield from _variable_mistakes((*at, "points", index, "tags"), spec.tags, known)


def _model_mistakes(at: tuple[object, ...], model: type[Strict], section: Mapping[str, Any]) -> Iterator[Mistake]:
    try:
        model.model_validate(section)
    except ValidationError as e:
        for error in e.errors(include_url=False):
            place = error["loc"]
            cause = error.get("ctx", {}).get("error")
            if isinstance(cause, InvalidValueError):
                yield (*at, *place, *cause.at), cause
            elif error["type"] == "extra_forbidden":
                yield (*at, *place), InvalidValueError("unknown key", suggest(str(place[-1]), model.model_fields))
            elif error["type"] == "missing":
                yield (*at, *place), InvalidValueError("is missing", "see collectors/mqtt/collector.py")
            else:
                yield (*at, *place), InvalidValueError(error["msg"], "see collectors/mqtt/collector.py")


def _variable_mistakes(at: tuple[object, ...], tags: Mapping[str, str], known: set[str]) -> Iterator[Mistake]:
    for tag, text in tags.items():
        for name in PLACEHOLDER.findall(text):
            if name not in known:
                yield (*at, tag), InvalidValueError(f"there is no variable {name!r}", suggest(name, known))


def _point_mistakes(at: tuple[object, ...], spec: PointSpec, profile: Profile) -> Iterator[Mistake]:
    for address in spec.addresses:
        object_type, slash, point = address.partition("/")
        if not slash or not object_type or not point or "/" in point or "#" in point or "+" in point:
            hint = "write objectType/pointType: Rack/RackPower"
            yield (*at, "at"), InvalidValueError(f"{address!r} is no objectType/pointType", hint)
    units = profile.transport.get("units")
    if spec.unit is not None and isinstance(units, Mapping) and spec.unit not in units.values():
        hint = f"add what the metadata calls it to transport.units: {{{spec.unit}: {spec.unit}}}"
        yield (*at, "unit"), InvalidValueError(f"no engUnit is read as {spec.unit}", hint)
