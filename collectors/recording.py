"""Recorded devices: one YAML file is one device at one instant, and what a poll of it must give.

The format stands in `docs/contracts.md`, section 7; `collectors/simulator/replay.py` plays such a file over the
device's real protocol, so that the real collector can be held against it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from collectors.address import add_options, parse_target_url
from collectors.collector import PollResult, Target
from collectors.probe import probe, target_of
from collectors.profile import Profile
from storage.config import ConfigError, InvalidValueError, Problem, problem_at, validate
from storage.document import read_document
from storage.point import FieldValue, Point
from storage.schema import COMMON_TAGS, check_tags, field_of, measurement

PROTOCOLS = ("snmp", "modbus", "redfish", "mqtt")
#: numbers that differ by less are the same: relative, and for those beside 0 absolute
_RELATIVE, _ABSOLUTE = 1e-6, 1e-9


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


#: text that may be written as a number: {phase: 1}
_Text = Annotated[str, BeforeValidator(_text)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Expected(_Strict):
    """One point of `expect`; common tags are compared where they stand here."""

    measurement: str
    tags: Mapping[str, _Text] = Field(default_factory=dict)
    fields: Mapping[str, float | int | str]


class Message(_Strict):
    """One MQTT message."""

    topic: str
    retain: bool = False
    payload: Any = None


#: int gauge counter32 counter64 ticks oid text hex, and the value
Typed = tuple[Literal["int", "gauge", "counter32", "counter64", "ticks", "oid", "text", "hex"], int | _Text]
#: first number -> values from there on
Runs = Mapping[int, tuple[int, ...]]
Table = Literal["coil", "discrete", "holding", "input"]


class Recording(_Strict):
    """A recording as it is written."""

    #: the profile that reads this device; without it `tokenwatt profile test` needs it named
    profile: str = ""
    #: what was recorded, or from which document it was worked out
    source: str = ""
    snmp: Mapping[_Text, Typed] | None = None
    modbus: Mapping[int, Mapping[Table, Runs]] | None = None
    redfish: Mapping[str, Any] | None = None
    mqtt: tuple[Message, ...] | None = None
    #: options of the target
    options: Mapping[str, _Text] = Field(default_factory=dict)
    #: every point that a poll gives; None where nobody has said yet
    expect: tuple[Expected, ...] | None = None
    #: how many readings the device lacks
    missing: int = 0

    @model_validator(mode="after")
    def _one_protocol(self) -> "Recording":
        found = [protocol for protocol in PROTOCOLS if getattr(self, protocol) is not None]
        if len(found) != 1:
            told = ", ".join(found) or "none"
            raise InvalidValueError(f"a recording holds one protocol's answers, not {told}", _PROTOCOL_HINT)
        return self

    @property
    def protocol(self) -> str:
        """Return the protocol whose answers were recorded."""
        return next(protocol for protocol in PROTOCOLS if getattr(self, protocol) is not None)

    @property
    def answers(self) -> Mapping[str, Any]:
        """Return what a player plays: the protocol and its answers as plain data."""
        return {self.protocol: self.model_dump()[self.protocol]}


_PROTOCOL_HINT = f"write one of the keys {', '.join(PROTOCOLS)}; see docs/contracts.md, section 7"


def load_recording(path: Path) -> Recording:
    """Return the recording in a file.

    Raises:
        ConfigError: every mistake with file and line: unknown keys, types, points that the schema lacks.
    """
    document = read_document(path)
    recording = validate(document, Recording, folder=path.parent)
    problems = [problem_at(document, location, error) for location, error in _mistakes(recording)]
    if problems:
        raise ConfigError(problems)
    return recording


def _mistakes(recording: Recording) -> Iterator[tuple[tuple[object, ...], InvalidValueError]]:
    """Yield what is not in the schema."""
    for number, point in enumerate(recording.expect or ()):
        at: tuple[object, ...] = ("expect", number, "measurement")
        try:
            own = measurement(point.measurement)
            at = ("expect", number, "tags")
            check_tags(own, point.tags)
            at = ("expect", number, "fields")
            for name in point.fields:
                field_of(f"{own.name}.{name}")
        except KeyError as error:
            yield at, InvalidValueError(str(error.args[0]), "take it out or write one that the schema has")


def target_at(url: str, profile: Profile, options: Mapping[str, str]) -> Target:
    """Return the target that polls a device at this URL with a profile.

    Raises:
        InvalidValueError: a URL or an option that cannot be, or the profile speaks another protocol.
    """
    full = add_options(parse_target_url(url), options)
    if full.protocol != profile.protocol:
        reason = f"the profile {profile.profile} speaks {profile.protocol}, {url} {full.protocol}"
        raise InvalidValueError(reason, f"name a profile of {full.protocol}")
    return replace(target_of(url), address=full.address, options=full.options, profile=profile.profile)


async def poll_recorded(recording: Recording, url: str, profile: Profile, timeout_s: float) -> PollResult:
    """Return what one poll of a recording played at `url` gives.

    A broker tells its values when it likes: it is listened to until all has come that is expected (where nobody has
    said yet what that is: until nothing is missing), or the time is up.

    Raises:
        CollectError: the poll failed as a whole.
    """
    target = replace(target_at(url, profile, recording.options), name=profile.profile)
    if recording.expect is None:
        return await probe(target, profile, timeout_s)
    return await probe(target, profile, timeout_s, lambda result: not differences(recording, result))


def differences(recording: Recording, result: PollResult) -> list[str]:
    """Return what a poll gave more, less or otherwise than the recording expects, a line each."""
    if recording.expect is None:
        return []
    left = list(_merged(result.points))
    lines = []
    # Those that name more tags choose first.
    for expected in sorted(recording.expect, key=lambda e: -len(e.tags)):
        found = next((point for point in left if _is_meant(expected, point)), None)
        if found is None:
            lines.append(f"{_name(expected.measurement, expected.tags)}: did not come")
            continue
        left.remove(found)
        lines += _field_differences(expected, found)
    lines += [f"{_name(p.measurement, _own(p.tags))}: came, not expected: {_shown(p.fields)}" for p in left]
    if len(result.missing) != recording.missing:
        lines.append(f"missing: {len(result.missing)} readings, expected {recording.missing}")
    return lines


def expectation(result: PollResult) -> list[Mapping[str, Any]]:
    """Return the points of a poll as `expect` holds them: of the common tags those alone that tell points apart."""
    points = list(_merged(result.points))
    apart = [tag for tag in COMMON_TAGS if len({point.tags.get(tag) for point in points}) > 1]
    return [
        {
            "measurement": point.measurement,
            "tags": {tag: text for tag, text in point.tags.items() if tag in apart or tag not in COMMON_TAGS},
            "fields": dict(point.fields),
        }
        for point in points
    ]


def _merged(points: Sequence[Point]) -> Iterator[Point]:
    """Yield one point per series, without the tags that say nothing."""
    fields: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, FieldValue]] = {}
    for point in points:
        tags = tuple(sorted((name, value) for name, value in point.tags.items() if value not in ("", "-")))
        fields.setdefault((point.measurement, tags), {}).update(point.fields)
    for (name, pairs), values in fields.items():
        yield Point(name, dict(pairs), values, 0)


def _own(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name not in COMMON_TAGS and value not in ("", "-")}


def _is_meant(expected: Expected, point: Point) -> bool:
    common = {name: value for name, value in expected.tags.items() if name in COMMON_TAGS}
    return (
        point.measurement == expected.measurement
        and _own(point.tags) == _own(expected.tags)
        and all(point.tags.get(name) == value for name, value in common.items())
    )


def _field_differences(expected: Expected, found: Point) -> Iterator[str]:
    where = _name(expected.measurement, expected.tags)
    for name in [*expected.fields, *(name for name in found.fields if name not in expected.fields)]:
        if name not in found.fields:
            yield f"{where} {name}: did not come, expected {expected.fields[name]!r}"
        elif name not in expected.fields:
            yield f"{where} {name}: came, not expected: {found.fields[name]!r}"
        elif not _same(expected.fields[name], found.fields[name]):
            yield f"{where} {name}: {found.fields[name]!r}, expected {expected.fields[name]!r}"


def _same(one: FieldValue, other: FieldValue) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)


def _name(name: str, tags: Mapping[str, str]) -> str:
    told = ",".join(f"{tag}={value}" for tag, value in sorted(tags.items()))
    return f"{name}[{told}]" if told else name


def _shown(fields: Mapping[str, FieldValue]) -> str:
    return " ".join(f"{name}={value!r}" for name, value in fields.items())


def not_played(path: Path, recording: Recording, error: ValueError) -> ConfigError:
    """Return the error for answers that cannot be played."""
    return ConfigError([Problem(str(path), 0, recording.protocol, str(error), "see docs/contracts.md, section 7")])
