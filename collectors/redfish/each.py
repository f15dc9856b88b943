"""The keys of a Redfish profile, checked and made ready: `each`, `at`, `match`, `transport`; the target's options."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from collectors.collector import CollectError, Target
from collectors.profile import Group, Mistake, PointSpec, Profile
from collectors.redfish.client import CONNECTIONS
from collectors.redfish.paths import Path, Resource, find, parse_path
from storage.config import InvalidValueError, suggest

#: address of the heat that a connector's own coolant carries (`collectors/redfish/coolant.py`)
HEAT = "@heat"

EACH = ("uri", "as", "where", "of")
MATCH = ("root_has", "root_lacks", "has")
TRANSPORT = ("max_connections", "expand", "events", "variables")
#: options of any Redfish target and their values
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "tls": ("on", "off", "insecure"),
    "max_connections": ("1", "2"),
    "expand": ("auto", "off"),
    "events": ("on", "off"),
}
_URI = re.compile(r"/redfish/v1(/([\w.@~-]+|\*))+")
_VARIABLE = re.compile(r"\{(\w+)\}")
_EXAMPLE = "uri: /redfish/v1/ThermalEquipment/CDUs/*/Pumps/*"

#: property -> what it may be; None among it: absent or null
Where = tuple[tuple[Path, frozenset[str | None]], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One group of a profile, ready to be asked for."""

    group: Group
    #: "/redfish/v1/CDUs", "*", "/Pumps", "*"
    parts: Sequence[str]
    names: Sequence[str]
    where: Where
    #: URI of the resource that `where` looks at, with the row's variables; "": the row's own
    of: str
    paths: Sequence[tuple[PointSpec, Sequence[Path]]]

    def specs(self, is_slow: bool) -> Sequence[tuple[PointSpec, Sequence[Path]]]:
        """Return the readings that are due."""
        return [(spec, paths) for spec, paths in self.paths if is_slow or spec.every == "fast"]


@dataclass(frozen=True, slots=True)
class Options:
    """How one device is asked: the profile's `transport` with the target's options over it."""

    connections: int = CONNECTIONS
    expand: Literal["auto", "off"] = "auto"
    events: bool = False
    #: row variables of all rows
    variables: Mapping[str, str] = field(default_factory=dict)
    #: row variable -> pattern of those that are read
    only: Mapping[str, str] = field(default_factory=dict)

    def wants(self, variables: Mapping[str, str]) -> bool:
        """Return whether a row is among those that the target names."""
        return all(fnmatchcase(variables.get(name, pattern), pattern) for name, pattern in self.only.items())

    def names(self, table: Table) -> bool:
        """Return whether the target names the very thing that `of` looks at: then its `where` does not count."""
        variables = _VARIABLE.findall(table.of)
        return bool(variables) and variables[-1] in self.only


def fits(resource: Resource, where: Where) -> bool:
    """Return whether a resource has what `where` asks for."""
    for path, wanted in where:
        try:
            value = find(resource, path)
        except KeyError:
            value = None
        if (None if value is None else str(value)) not in wanted:
            return False
    return True


def read_tables(profile: Profile) -> Sequence[Table]:
    """Return the groups of a checked profile, ready."""
    return [_read_table(group) for group in profile.groups]


def _read_table(group: Group) -> Table:
    each = group.each
    paths = [(spec, [() if text == HEAT else parse_path(text) for text in spec.addresses]) for spec in group.points]
    where = tuple((parse_path(path), _wanted(value)) for path, value in each.get("where", {}).items())
    return Table(group, split_uri(str(each["uri"])), _names(each), where, str(each.get("of", "")), paths)


def split_uri(uri: str) -> Sequence[str]:
    """Return a path with wildcards as "/redfish/v1/CDUs", "*", "/Pumps", "*"."""
    return [part.rstrip("/") or "/" for part in re.split(r"/(?=\*)|(?<=\*)", uri) if part]


def _wanted(value: object) -> frozenset[str | None]:
    values = value if isinstance(value, list | tuple) else (value,)
    return frozenset(None if one is None else str(one) for one in values)


def _names(each: Mapping[str, object]) -> Sequence[str]:
    names = each.get("as", ())
    return (
        [names] if isinstance(names, str) else [str(name) for name in names] if isinstance(names, list | tuple) else []
    )


def read_options(target: Target, profile: Profile) -> Options:
    """Return how the target is asked.

    Raises:
        CollectError: an option that there is not, or a value that it cannot have; names those that there are.
    """
    variables = _variables(profile)
    names = {name for group in profile.groups for name in _names(group.each)}
    for name, value in target.options.items():
        known = OPTIONS.get(name) or variables.get(name)
        where = f"{target.name} {target.address}: option {name}={value!r}"
        if known is None and name not in names:
            raise CollectError(f"{where}: there is none; there are {', '.join((*OPTIONS, *variables, *sorted(names)))}")
        if known is not None and value not in known:
            raise CollectError(f"{where}: must be one of {', '.join(known)}")
    return _options(target.options, profile.transport, variables, names)


def _options(
    given: Mapping[str, str],
    transport: Mapping[str, object],
    variables: Mapping[str, Sequence[str]],
    names: set[str],
) -> Options:
    connections = int(given.get("max_connections", str(transport.get("max_connections", CONNECTIONS))))
    expand = given.get("expand", "off" if transport.get("expand") in ("off", False) else "auto")
    events = given["events"] == "on" if "events" in given else bool(transport.get("events"))
    return Options(
        connections,
        "off" if expand == "off" else "auto",
        # A stream holds a connection for good: one must be left for the readings.
        events and connections > 1,
        {name: given.get(name, values[0]) for name, values in variables.items()},
        {name: value for name, value in given.items() if name in names and name not in variables},
    )


def _variables(profile: Profile) -> Mapping[str, Sequence[str]]:
    found = profile.transport.get("variables", {})
    return {str(name): [str(value) for value in values] for name, values in found.items()}


def mistakes(profile: Profile) -> Iterator[Mistake]:
    """Yield what is wrong with the Redfish keys of a profile, each with its location in the file."""
    yield from _match_mistakes(profile.match)
    yield from _transport_mistakes(profile.transport)
    variables = profile.transport.get("variables")
    shared = {str(name) for name in variables} if isinstance(variables, Mapping) else set()
    for number, group in enumerate(profile.groups):
        at = ("groups", number)
        yield from _each_mistakes((*at, "each"), group.each)
        yield from _tag_mistakes((*at, "tags"), group.tags, shared | {*_names(group.each)})
        for place, spec in enumerate(group.points):
            here = (*at, "points", place)
            yield from _address_mistakes(here, spec, shared | {*_names(group.each)})
            yield from _tag_mistakes((*here, "tags"), spec.tags, shared | {*_names(group.each)})


def _unknown(at: tuple[object, ...], keys: Mapping[str, object], known: Sequence[str]) -> Iterator[Mistake]:
    for key in keys:
        if key not in known:
            yield (*at, key), InvalidValueError("unknown key", suggest(key, known))


def _uri_mistake(value: object) -> InvalidValueError | None:
    if isinstance(value, str) and _URI.fullmatch(value):
        return None
    return InvalidValueError(f"{value!r} is no path of a Redfish service", _EXAMPLE)


def _each_mistakes(at: tuple[object, ...], each: Mapping[str, object]) -> Iterator[Mistake]:
    yield from _unknown(at, each, EACH)
    if "uri" not in each:
        yield at, InvalidValueError("needs a uri", _EXAMPLE)
        return
    if wrong := _uri_mistake(each["uri"]):
        yield (*at, "uri"), wrong
        return
    names, stars = _names(each), str(each["uri"]).count("*")
    if stars != len(names) or len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        hint = f"write as: [{', '.join(f'name{n + 1}' for n in range(stars))}]" if stars else "leave `as` out"
        yield (*at, "as") if "as" in each else at, InvalidValueError(f"needs one name per * of the uri: {stars}", hint)
    yield from _where_mistakes(at, each, names)


def _where_mistakes(at: tuple[object, ...], each: Mapping[str, object], names: Sequence[str]) -> Iterator[Mistake]:
    where = each.get("where", {})
    if not isinstance(where, Mapping):
        yield (*at, "where"), InvalidValueError("is no table of properties", "where: {VoltageType: DC}")
        return
    for path in where:
        if wrong := _path_mistake(path):
            yield (*at, "where", path), wrong
    if "of" in each:
        text = str(each["of"])
        if wrong := _uri_mistake(_VARIABLE.sub("x", text)):
            yield (*at, "of"), wrong
        for name in _VARIABLE.findall(text):
            if name not in names:
                yield (*at, "of"), _no_variable(name, names)


def _path_mistake(text: object) -> InvalidValueError | None:
    try:
        parse_path(str(text))
    except ValueError as e:
        return InvalidValueError(str(e), "names with dots between them, [0] for an item of a list")
    return None


def _address_mistakes(at: tuple[object, ...], spec: PointSpec, names: set[str]) -> Iterator[Mistake]:
    for number, text in enumerate(spec.addresses):
        here = (*at, "at") if isinstance(spec.at, str) else (*at, "at", number)
        if text == HEAT:
            if spec.to != "coolant.heat_watts":
                yield here, InvalidValueError(f"{HEAT} goes to coolant.heat_watts", "write to: coolant.heat_watts")
        elif wrong := _path_mistake(_VARIABLE.sub("x", text)):
            yield here, wrong
        for name in _VARIABLE.findall(text):
            if name not in names:
                yield here, _no_variable(name, sorted(names))


def _tag_mistakes(at: tuple[object, ...], tags: Mapping[str, str], names: set[str]) -> Iterator[Mistake]:
    for tag, value in tags.items():
        for name in _VARIABLE.findall(value):
            if name not in names:
                yield (*at, tag), _no_variable(name, sorted(names))


def _no_variable(name: str, names: Sequence[str]) -> InvalidValueError:
    return InvalidValueError(f"there is no row variable {name!r}", suggest(name, names) or "name it in `as`")


def _match_mistakes(match: Mapping[str, object]) -> Iterator[Mistake]:
    yield from _unknown(("match",), match, MATCH)
    for key in ("root_has", "root_lacks"):
        value = match.get(key, "")
        if not isinstance(value, str) and not (
            isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        ):
            hint = f"{key}: ThermalEquipment"
            yield ("match", key), InvalidValueError("is no property of the service root, nor a list of them", hint)
    if "has" in match and (wrong := _uri_mistake(match["has"])):
        yield ("match", "has"), wrong


def _transport_mistakes(transport: Mapping[str, object]) -> Iterator[Mistake]:
    yield from _unknown(("transport",), transport, TRANSPORT)
    if transport.get("max_connections", 1) not in (1, 2) or transport.get("max_connections") is True:
        yield ("transport", "max_connections"), InvalidValueError("must be 1 or 2", "a BMC takes few clients")
    if "expand" in transport and transport["expand"] not in ("auto", "off", False):
        yield ("transport", "expand"), InvalidValueError(f"{transport['expand']!r} is no such way", "auto or off")
    if not isinstance(transport.get("events", False), bool):
        yield ("transport", "events"), InvalidValueError("must be true or false", "events: true")
    variables = transport.get("variables", {})
    if not isinstance(variables, Mapping) or not all(isinstance(v, list | tuple) and v for v in variables.values()):
        hint = "variables: {level: [tray, rack]}, the default first"
        yield ("transport", "variables"), InvalidValueError("needs a list of values for each name", hint)
