"""Device profiles: what a device model says, as data.

A profile is one YAML file in `collectors/profiles/` (or in the site's own folder, which wins by name). Files whose name
begins with `_` are shared parts for `extends`. How a protocol reads `each` and `at` stands in that protocol's module.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from collectors.reading import Reading, compile_readings, own_tags
from collectors.units import conversion
from storage.config import ConfigError, InvalidValueError, Problem, parse_duration, problem_at, suggest, validate
from storage.document import Items, Section, read_document
from storage.schema import MEASUREMENTS

PACKAGED = Path(__file__).parent / "profiles"

Raw = int | float | str | bool

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PointSpec(_Strict):
    """One reading and where it goes.

    Value = offset + scale * raw / 2**frac_bits, in `unit`, then turned to the base unit.
    """

    #: measurement.field of the schema
    to: str
    #: address in the protocol's own notation; of several, the first that the device has
    at: str | tuple[str, ...]
    #: wire type where the protocol has none of its own (Modbus): u16 i16 u32 i32 u64 f32 string
    type: str = "u16"
    scale: float = 1.0
    offset: float = 0.0
    frac_bits: int = 0
    #: unit after scaling; None means the field's base unit already
    unit: str | None = None
    #: raw values that mean "no value", before scaling
    null_if: tuple[Raw, ...] = ()
    #: row variable -> weight: the raw value is multiplied by 10^(weight x variable), summed over all of them
    scale_from: Mapping[str, int] = Field(default_factory=dict)
    #: row variable that the raw value is multiplied by
    factor_from: str = ""
    #: lowest and highest raw value that this reading is for; others belong to another reading of the same address
    applies: tuple[float | None, float | None] = (None, None)
    #: row variable -> its value -> factor of the raw value: {amperes: {0: 1, 1: 0.1}} for a device-wide setting
    scale_if: Mapping[str, Mapping[Raw, float]] = Field(default_factory=dict)
    #: row variable -> its value -> unit after scaling, in place of `unit`: {degrees: {0: C, 1: F}}
    unit_if: Mapping[str, Mapping[Raw, str]] = Field(default_factory=dict)
    #: bits (32) of a counter that wraps before 64, or the raw value at which it begins anew (9999001): it goes on where
    #: it wrapped, and is told apart from one that was reset
    wrap: Annotated[int, Field(ge=16)] | None = None
    #: plausible range in `unit`, after scaling
    min: float | None = None
    max: float | None = None
    #: raw value -> state number of the schema, or null for "no value"
    enum: Mapping[Raw, int | None] | None = None
    #: state of the raw values that `enum` does not name; without it they are refused
    otherwise: int | None = None
    #: bit number -> name; each bit becomes a row of `alarm_bits` with that name in the tag `bit`
    flags: Mapping[int, str] | None = None
    tags: Mapping[str, str] = Field(default_factory=dict)
    #: fast: each poll; medium: each `poll.medium` (SNMP only); slow: each `poll.slow`
    every: Literal["fast", "medium", "slow"] = "fast"
    #: what to set on the device where this reading is not there; told by `tokenwatt probe`
    hint: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the candidate addresses in order."""
        return (self.at,) if isinstance(self.at, str) else self.at


class Derived(_Strict):
    """A value computed from the readings of one poll; exactly one rule is set (rules: `collectors/derived.py`)."""

    to: str
    tags: Mapping[str, str] = Field(default_factory=dict)
    #: sum the field `to` over the rows whose tags match these patterns (fnmatch); no sum if an expected row is missing
    sum: Mapping[str, str] | None = None
    #: heat carried by each loop that has flow, supply and return temperature: water | pg25
    heat: Literal["water", "pg25"] | None = None
    #: value at the first point minus that at the second: [coolant.pressure_pascals, filter_in, filter_out]
    difference: tuple[str, str, str] | None = None
    #: median of a field over the rows whose tags match: [power.voltage_volts, {circuit: "psu-*", side: output}]
    median: tuple[str, Mapping[str, str]] | None = None
    #: largest deviation from the mean, over the mean, of a field over the rows whose tags match
    imbalance: tuple[str, Mapping[str, str]] | None = None
    #: quotient of a field over two rows: [power.active_watts, {circuit: total, side: output}, {circuit: total,
    #: side: input}]
    quotient: tuple[str, Mapping[str, str], Mapping[str, str]] | None = None
    #: supply of one loop above that of another, in kelvins: [tcs, fws]
    approach: tuple[str, str] | None = None
    #: supply of each selected loop above the dew point of the air, told or computed from temperature and humidity
    dew_margin: Literal[True] | None = None
    #: dew point of the air at each point that has temperature and humidity
    dew_point: Literal[True] | None = None
    #: voltage difference of two poles over their sum: [positive, negative]
    poles: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> "Derived":
        rules = type(self).model_fields.keys() - {"to", "tags"}
        if sum(getattr(self, rule) is not None for rule in rules) != 1:
            raise ValueError(f"a derived value has exactly one of {', '.join(sorted(rules))}")
        return self


class Group(_Strict):
    """Readings that repeat over rows: table indexes, unit ids, URIs, label sets."""

    #: how rows are found, in the protocol's own terms; empty means one row
    each: Mapping[str, Any] = Field(default_factory=dict)
    #: tags of those of its points whose measurement has them; `{name}` is replaced by the row's variables
    tags: Mapping[str, str] = Field(default_factory=dict)
    points: tuple[PointSpec, ...]


class Poll(_Strict):
    """Suggested cadence; the target's interval wins."""

    fast: str = "10s"
    medium: str = "60s"
    slow: str = "300s"
    #: time that a poll of this model may take at least; a target's shorter timeout is raised to it
    deadline: str = "0s"

    @field_validator("fast", "medium", "slow", "deadline")
    @classmethod
    def _duration(cls, value: str) -> str:
        parse_duration(value)
        return value


class Profile(_Strict):
    """What one device model (exporter, server) says and how to ask for it."""

    profile: str
    model: str
    kind: str
    protocol: Literal["snmp", "modbus", "redfish", "mqtt", "gnmi", "exposition"]
    #: document, revision, page that the addresses come from
    source: str
    extends: str | None = None
    #: which common tag carries the target's name
    identity: Literal["device", "host", "endpoint"] = "device"
    #: how the device is recognised, in the protocol's own terms
    match: Mapping[str, Any] = Field(default_factory=dict)
    #: protocol switches; the target's options win
    transport: Mapping[str, Any] = Field(default_factory=dict)
    poll: Poll = Poll()
    groups: tuple[Group, ...]
    derived: tuple[Derived, ...] = ()
    #: measurement.field that this device never gives -> why; told by `tokenwatt probe`
    lacks: Mapping[str, str] = Field(default_factory=dict)

    @cached_property
    def readings(self) -> Mapping[tuple[int, int], Reading]:
        """Return each entry made ready to run, by the identities of its group and its point."""
        return {(id(g), id(made.spec)): made for g in self.groups for made in compile_readings(g)}


def load_profile(name: str, folders: Sequence[Path] = (PACKAGED,)) -> Profile:
    """Return the profile `name`, with its `extends` resolved, from the first folder that has it.

    A parent (`extends: _name`) is merged key by key, the child's keys win; its `groups` and `derived` come before the
    child's.

    Raises:
        ConfigError: every mistake with file, line and key: unknown keys, fields that the schema lacks, units that do
            not fit the field, two readings for one (to, tags).
    """
    path = _find(name, folders) if _NAME.fullmatch(name) else None
    if path is None:
        where = ", ".join(str(folder) for folder in folders)
        hint = suggest(name, list_profiles(folders))
        raise ConfigError([Problem(where, 0, "profile", f"there is no profile {name!r}", hint)])
    document = _read(path, folders, ())
    profile = validate(document, Profile, folder=path.parent)
    problems = [problem_at(document, location, error) for location, error in _mistakes(profile, path.stem)]
    if problems:
        raise ConfigError(sorted(problems, key=lambda p: (p.file, p.line)))
    return profile


def list_profiles(folders: Sequence[Path] = (PACKAGED,)) -> Sequence[str]:
    """Return the names of all profiles in these folders, sorted, without shared parts."""
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml") if not path.stem.startswith("_")})


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    paths = (folder / f"{name}.yaml" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path, folders: Sequence[Path], children: tuple[Path, ...]) -> Section:
    """Return a profile file merged over its parents."""
    document = read_document(path)
    if "extends" not in document:
        return document
    parent = document["extends"]
    found = _find(parent, folders) if isinstance(parent, str) and _NAME.fullmatch(parent.lstrip("_")) else None
    if found is None:
        shared = {p.stem for folder in folders for p in folder.glob("_*.yaml")}
        raise _extends_error(
            document, InvalidValueError(f"there is no shared part {parent!r}", suggest(parent, shared))
        )
    if found in (path, *children):
        chain = " -> ".join(p.stem for p in (*children, path, found))
        raise _extends_error(document, InvalidValueError(f"goes in a circle: {chain}", "take one `extends` out"))
    return _merge(_read(found, folders, (*children, path)), document, joined=("groups", "derived"))


def _extends_error(document: Section, error: InvalidValueError) -> ConfigError:
    return ConfigError([problem_at(document, ("extends",), error)])


def _merge(parent: Section, child: Section, joined: tuple[str, ...] = ()) -> Section:
    merged = Section(child.place)
    for key in [*parent, *(key for key in child if key not in parent)]:
        value, place = (child[key], child.places[key]) if key in child else (parent[key], parent.places[key])
        base = parent.get(key)
        if key in child and isinstance(value, Section) and isinstance(base, Section):
            value = _merge(base, value)
        elif key in child and key in joined and isinstance(value, Items) and isinstance(base, Items):
            value = _join(base, value)
        merged.put(key, value, place)
    return merged


def _join(first: Items, second: Items) -> Items:
    items = Items(second.place)
    for part in (first, second):
        for value, place in zip(part, part.places, strict=True):
            items.put(value, place)
    return items


Mistake = tuple[tuple[object, ...], InvalidValueError]


def _mistakes(profile: Profile, stem: str) -> Iterator[Mistake]:
    """Yield what a model cannot see: names against the schema and against each other."""
    if profile.profile != stem:
        yield ("profile",), InvalidValueError(f"{profile.profile!r} is not the file's name", f"write profile: {stem}")
    for number, group in enumerate(profile.groups):
        yield from _group_mistakes(("groups", number), group, profile.protocol)
    for number, rule in enumerate(profile.derived):
        yield from _derived_mistakes(("derived", number), rule)
    for path in profile.lacks:
        if wrong := _unknown_field(path):
            yield ("lacks", path), wrong


def _group_mistakes(at: tuple[object, ...], group: Group, protocol: str) -> Iterator[Mistake]:
    known: set[str] = set()
    seen: dict[tuple[object, ...], tuple[int, int | None]] = {}
    for number, spec in enumerate(group.points):
        here = (*at, "points", number)
        wrong = _unknown_field(spec.to)
        if wrong:
            yield (*here, "to"), wrong
            continue
        measurement = spec.to.partition(".")[0]
        known.update(MEASUREMENTS[measurement].tags)
        yield from _tag_mistakes((*here, "tags"), spec.tags, measurement)
        yield from _value_mistakes(here, spec)
        yield from _row_mistakes(here, spec, protocol)
        tags = sorted(own_tags(group, spec, measurement).items())
        bits: list[tuple[int | None, str]] = [*spec.flags.items()] if spec.flags else [(None, "")]
        for bit, name in bits:
            series = (spec.to, name, *tags)
            if seen.setdefault(series, (number, bit)) != (number, bit):
                yield _twice(here, seen[series][0], bit, name)
    for name in group.tags.keys() - known if known else ():
        yield (*at, "tags", name), InvalidValueError("no measurement of this group has this tag", suggest(name, known))


def _twice(at: tuple[object, ...], first: int, bit: int | None, name: str) -> Mistake:
    if bit is not None:
        return (*at, "flags", bit), InvalidValueError(f"a bit {name!r} is there already", "give it another name")
    hint = "give one of them another tag, or list both in one `at`"
    return (*at, "to"), InvalidValueError(f"the same field and tags as points[{first}]", hint)


def _unknown_field(path: str) -> InvalidValueError | None:
    measurement, _, name = path.partition(".")
    if measurement in MEASUREMENTS and name in MEASUREMENTS[measurement].fields:
        return None
    names = MEASUREMENTS[measurement].fields if measurement in MEASUREMENTS else ()
    every = [f"{measurement}.{n}" for n in names] or [f"{m}.{n}" for m, own in MEASUREMENTS.items() for n in own.fields]
    return InvalidValueError(f"the schema has no field {path!r}", suggest(path, every))


def _tag_mistakes(at: tuple[object, ...], tags: Mapping[str, str], measurement: str) -> Iterator[Mistake]:
    known = MEASUREMENTS[measurement].tags
    for name in tags:
        if name not in known:
            yield (*at, name), InvalidValueError(f"{measurement} has no tag {name!r}", suggest(name, known))


def _value_mistakes(at: tuple[object, ...], spec: PointSpec) -> Iterator[Mistake]:
    measurement, _, name = spec.to.partition(".")
    field = MEASUREMENTS[measurement].fields[name]
    try:
        conversion(spec.unit, name, field.unit)
    except InvalidValueError as e:
        yield (*at, "unit"), e
    for raw, state in (spec.enum or {}).items():
        if state is not None and field.states and state not in field.states:
            states = ", ".join(f"{number} {word}" for number, word in field.states.items())
            yield (*at, "enum", raw), InvalidValueError(f"{state} is no state of {spec.to}", f"states: {states}")
    if (spec.flags is not None) != (spec.to == "alarm_bits.active"):
        yield (*at, "flags"), InvalidValueError("flags and alarm_bits.active go together", "set both or neither")
    if spec.min is not None and spec.max is not None and spec.min > spec.max:
        yield (*at, "min"), InvalidValueError(f"{spec.min:g} is above max {spec.max:g}", "swap them")
    if not 0 <= spec.frac_bits <= 63:
        yield (*at, "frac_bits"), InvalidValueError(f"{spec.frac_bits} is out of range", "0 to 63")
    if not spec.addresses:
        yield (*at, "at"), InvalidValueError("names no address", "give at least one")


def _row_mistakes(at: tuple[object, ...], spec: PointSpec, protocol: str) -> Iterator[Mistake]:
    """Yield what is wrong with how a reading depends on its kind, its row and its raw value."""
    measurement, _, name = spec.to.partition(".")
    field = MEASUREMENTS[measurement].fields[name]
    if spec.wrap and field.kind != "counter":
        yield (*at, "wrap"), InvalidValueError(f"{spec.to} is a {field.kind}: it does not wrap", "leave it out")
    if (spec.scale_from or spec.factor_from) and (spec.enum or spec.flags or field.kind not in ("gauge", "counter")):
        key = "scale_from" if spec.scale_from else "factor_from"
        yield (*at, key), InvalidValueError("only numbers are scaled", "leave it out")
    if spec.otherwise is not None and (not spec.enum or spec.otherwise not in (field.states or {spec.otherwise})):
        yield (*at, "otherwise"), InvalidValueError(f"{spec.otherwise} is no state of an `enum`", "add an enum")
    low, high = spec.applies
    if low is not None and high is not None and low > high:
        yield (*at, "applies"), InvalidValueError(f"{low:g} is above {high:g}", "swap them")
    if spec.every == "medium" and protocol != "snmp":
        yield (*at, "every"), InvalidValueError(f"{protocol} knows fast and slow only", "write fast or slow")


def _derived_mistakes(at: tuple[object, ...], rule: Derived) -> Iterator[Mistake]:
    wrong = _unknown_field(rule.to)
    if wrong:
        yield (*at, "to"), wrong
        return
    measurement = rule.to.partition(".")[0]
    yield from _tag_mistakes((*at, "tags"), rule.tags, measurement)
    yield from _tag_mistakes((*at, "sum"), rule.sum or {}, measurement)
    if rule.heat and rule.to != "coolant.heat_watts":
        yield (*at, "to"), InvalidValueError("heat goes to coolant.heat_watts", "write to: coolant.heat_watts")
    if rule.median:
        if wrong := _unknown_field(rule.median[0]):
            yield (*at, "median", 0), wrong
        else:
            yield from _tag_mistakes((*at, "median", 1), rule.median[1], rule.median[0].partition(".")[0])
    if rule.difference:
        if wrong := _unknown_field(rule.difference[0]):
            yield (*at, "difference", 0), wrong
        elif rule.difference[0].partition(".")[0] != measurement:
            yield (*at, "difference", 0), InvalidValueError("is of another measurement than `to`", f"{measurement}.…")


class Library:
    """The profiles of these folders, each read once: a site's thousands of targets share a handful."""

    def __init__(self, folders: Sequence[Path] = (PACKAGED,)) -> None:
        self._folders = folders
        self._read: dict[str, Profile] = {}

    def profile(self, name: str) -> Profile:
        """Return the profile `name`; raise ConfigError as `load_profile` does."""
        if name not in self._read:
            self._read[name] = load_profile(name, self._folders)
        return self._read[name]

    def path(self, name: str) -> Path:
        """Return the file of the profile `name`, one that `profile` has returned."""
        return next(path for folder in self._folders if (path := folder / f"{name}.yaml").is_file())

    def of_protocol(self, protocol: str) -> list[Profile]:
        """Return all profiles that speak `protocol`, by name."""
        profiles = (self.profile(name) for name in list_profiles(self._folders))
        return [profile for profile in profiles if profile.protocol == protocol]
