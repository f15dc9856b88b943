"""What is wrong with a Modbus profile, each mistake where it stands in the file."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from collectors.modbus.address import MOST_REGISTERS, WORD_ORDERS, parse_address, wire_type
from collectors.modbus.plan import parse_setting
from collectors.profile import Mistake, PointSpec, Profile
from storage.config import InvalidValueError, parse_duration, suggest
from storage.schema import MEASUREMENTS

AFTER_TIMEOUT = ("reconnect", "keep")
#: 0 and 248 to 255 are outside the standard's range and used all the same
UNIT_IDS = range(256)

_EACH = ("units", "as", "probe", "settings", "once")
_SETTING = ("at", "type", "map")
_CONDITION = ("at", "type", "min", "max", "text", "not")
_NAME = re.compile(r"[A-Za-z_]\w*")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")

_At = tuple[object, ...]


def check_profile(profile: Profile) -> Iterator[Mistake]:
    """Yield every mistake in `transport`, `match`, `each` and in the points' addresses and types."""
    yield from _transport_mistakes(profile.transport)
    yield from _match_mistakes(profile.match)
    for number, group in enumerate(profile.groups):
        at: _At = ("groups", number)
        yield from _each_mistakes((*at, "each"), group.each)
        variables = {str(group.each.get("as", "unit")), *_names(group.each.get("settings"))}
        yield from _tag_mistakes((*at, "tags"), group.tags, variables)
        for index, spec in enumerate(group.points):
            yield from _point_mistakes((*at, "points", index), spec, variables)


def _names(settings: Any) -> Collection[str]:
    return [str(name) for name in settings] if isinstance(settings, Mapping) else ()


def _transport_mistakes(transport: Mapping[str, Any]) -> Iterator[Mistake]:
    for key, value in transport.items():
        check = TRANSPORT.get(key)
        if check is None:
            yield ("transport", key), InvalidValueError("unknown key", suggest(key, TRANSPORT))
            continue
        try:
            check(value)
        except InvalidValueError as e:
            yield ("transport", key), e


def _number(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        text = str(value)
        if isinstance(value, bool) or not text.isdecimal() or not low <= int(text) <= high:
            raise InvalidValueError(f"{value!r} is no whole number of {low} to {high}", f"{low} to {high}")
        return int(text)

    return check


def _seconds(value: Any) -> float:
    return parse_duration(value).total_seconds()


def _among(names: Sequence[str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in names:
            raise InvalidValueError(f"{value!r} is none of {', '.join(names)}", suggest(value, names))
        return str(value)

    return check


#: key of `transport` -> what takes its value, or raises InvalidValueError
TRANSPORT: Mapping[str, Callable[[Any], Any]] = {
    "max_span": _number(1, MOST_REGISTERS),
    "gap": _number(0, MOST_REGISTERS),
    "word_order": _among(WORD_ORDERS),
    "timeout": _seconds,
    "retries": _number(0, 5),
    "pause": _seconds,
    "after_timeout": _among(AFTER_TIMEOUT),
}


def _match_mistakes(match: Mapping[str, Any]) -> Iterator[Mistake]:
    if not match:
        return
    yield from _unknown_keys(("match",), match, (*_CONDITION, "units", "and"))
    yield from _unit_mistakes(("match", "units"), match.get("units", [1]))
    yield from _condition_mistakes(("match",), match)
    others = match.get("and", [])
    if not isinstance(others, Sequence) or isinstance(others, str):
        yield ("match", "and"), InvalidValueError("must be a list of conditions", "and: [{at: ..., min: ...}]")
        return
    for number, other in enumerate(others):
        here: _At = ("match", "and", number)
        if not isinstance(other, Mapping):
            yield here, InvalidValueError("is no condition", "{at: ..., min: ..., max: ...}")
            continue
        yield from _unknown_keys(here, other, _CONDITION)
        yield from _condition_mistakes(here, other)


def _condition_mistakes(at: _At, condition: Mapping[str, Any]) -> Iterator[Mistake]:
    if "at" not in condition:
        yield at, InvalidValueError("names no address", "add at: holding:N")
        return
    yield from _address_mistakes((*at, "at"), str(condition["at"]), str(condition.get("type", "u16")), (*at, "type"))
    for key in ("min", "max"):
        limit = condition.get(key, 0)
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            yield (*at, key), InvalidValueError(f"{limit!r} is no number", "a raw value of the register")
    text = "text" in condition
    if text != (condition.get("type") == "string"):
        yield (*at, "text" if text else "type"), InvalidValueError("text and type: string go together", "set both")


def _each_mistakes(at: _At, each: Mapping[str, Any]) -> Iterator[Mistake]:
    yield from _unknown_keys(at, each, _EACH)
    yield from _unit_mistakes((*at, "units"), each.get("units", [1]))
    name = each.get("as", "unit")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield (*at, "as"), InvalidValueError(f"{name!r} is no name of a variable", "letters, digits, _: as: psu")
    if not isinstance(each.get("once", False), bool):
        yield (*at, "once"), InvalidValueError("must be true or false")
    if "probe" in each:
        yield from _address_mistakes((*at, "probe"), str(each["probe"]), "u16")
    settings = each.get("settings", {})
    if not isinstance(settings, Mapping):
        yield (*at, "settings"), InvalidValueError("must be a mapping of names", "settings: {amperes: holding:15}")
        return
    for variable, entry in settings.items():
        yield from _setting_mistakes((*at, "settings", variable), str(variable), entry)


def _setting_mistakes(at: _At, variable: str, entry: Any) -> Iterator[Mistake]:
    if not _NAME.fullmatch(variable):
        yield at, InvalidValueError(f"{variable!r} is no name of a variable", "letters, digits, _: amperes")
    if isinstance(entry, Mapping):
        yield from _unknown_keys(at, entry, _SETTING)
        if "at" not in entry:
            yield at, InvalidValueError("names no address", "{at: holding:15, map: {0: ..., 1: ...}}")
            return
        if not isinstance(entry.get("map", {}), Mapping):
            yield (*at, "map"), InvalidValueError("must be a mapping of raw values", "map: {1: A, 2: B}")
            return
    try:
        parse_setting(variable, entry)
    except InvalidValueError as e:
        yield (*at, "at") if isinstance(entry, Mapping) else at, e


def _unit_mistakes(at: _At, units: Any) -> Iterator[Mistake]:
    if not isinstance(units, Sequence) or isinstance(units, str) or not units:
        yield at, InvalidValueError("must be a list of unit ids", "units: [1]")
        return
    seen: set[object] = set()
    for place, unit in enumerate(units):
        if isinstance(unit, bool) or not isinstance(unit, int) or unit not in UNIT_IDS:
            yield (*at, place), InvalidValueError(f"{unit!r} is no unit id", "0 to 255")
        elif unit in seen:
            yield (*at, place), InvalidValueError(f"unit {unit} is there already", "take it out")
        seen.add(str(unit) if isinstance(unit, Mapping | list) else unit)


def _point_mistakes(at: _At, spec: PointSpec, variables: Collection[str]) -> Iterator[Mistake]:
    yield from _tag_mistakes((*at, "tags"), spec.tags, variables)
    here: _At = (*at, "at")
    for place, address in enumerate(spec.addresses):
        yield from _address_mistakes(
            here if isinstance(spec.at, str) else (*here, place), address, spec.type, (*at, "type")
        )
    for key in ("scale_from", "scale_if", "unit_if"):
        for name in getattr(spec, key):
            yield from _variable_mistakes((*at, key, name), name, variables)
    if spec.factor_from:
        yield from _variable_mistakes((*at, "factor_from"), spec.factor_from, variables)
    yield from _type_mistakes(at, spec)


def _type_mistakes(at: _At, spec: PointSpec) -> Iterator[Mistake]:
    measurement, _, name = spec.to.partition(".")
    field = MEASUREMENTS[measurement].fields.get(name) if measurement in MEASUREMENTS else None
    if field is None:
        return
    is_text = spec.type == "string"
    if is_text != (field.kind == "text") and not (is_text and spec.enum):
        hint = "write type: string" if field.kind == "text" else "write the type of a number: u16, i16, f32"
        yield (*at, "type"), InvalidValueError(f"{spec.to} is a {field.kind}: {spec.type} does not fit", hint)
    try:
        wire = wire_type(spec.type)
    except InvalidValueError:
        return
    bits = 16 * wire.registers if wire.is_integer else 0
    for bit in spec.flags or {}:
        if not 0 <= bit < bits:
            hint = f"bits 0 to {bits - 1}" if bits else "flags need type: u16, u32 or u64"
            yield (*at, "flags", bit), InvalidValueError(f"{spec.type} has no bit {bit}", hint)


def _address_mistakes(at: _At, text: str, type_: str, type_at: _At | None = None) -> Iterator[Mistake]:
    try:
        wire_type(type_)
    except InvalidValueError as e:
        yield type_at or at, e
        return
    try:
        parse_address(text, type_)
    except InvalidValueError as e:
        yield at, e


def _tag_mistakes(at: _At, tags: Mapping[str, str], variables: Collection[str]) -> Iterator[Mistake]:
    for tag, text in tags.items():
        for name in _PLACEHOLDER.findall(text):
            yield from _variable_mistakes((*at, tag), name, variables)


def _variable_mistakes(at: _At, name: str, variables: Collection[str]) -> Iterator[Mistake]:
    if name not in variables:
        yield at, InvalidValueError(f"no row of this group has a variable {name!r}", suggest(name, variables))


def _unknown_keys(at: _At, section: Mapping[str, Any], known: Collection[str]) -> Iterator[Mistake]:
    for key in section:
        if key not in known:
            yield (*at, key), InvalidValueError("unknown key", suggest(key, known))
