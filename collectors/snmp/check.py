"""What is wrong with an SNMP profile beyond its form: OIDs, row variables, keys of `each`, `match` and `transport`.

How a profile writes them stands in `collectors/snmp/collector.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError

from collectors.profile import Group, Mistake, PointSpec, Profile
from collectors.snmp.rows import Each
from collectors.snmp.tables import AGENT
from storage.config import InvalidValueError, suggest

MATCH_KEYS = ("sysobjectid_prefix", "sysdescr", "has")
TRANSPORT_KEYS = ("anchor",)

_OID = re.compile(r"[0-9]+(\.[0-9]+)+")
_ADDRESS = re.compile(r"[0-9]+(\.([0-9]+|\{\w+\}))+")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_OID_HINT = "an OID is numbers with dots between, as 1.3.6.1.4.1.318.1.1.26.4.3.1.5"
_AT_HINT = "write `OID`, or `OID /regex/`"
#: row variables that every row has
_GIVEN = ("index", "target")


def check_profile(profile: Profile) -> Iterator[Mistake]:
    """Yield what SNMP does not understand of a profile, each with its place in the file."""
    yield from _keys(("match",), profile.match, MATCH_KEYS)
    yield from _keys(("transport",), profile.transport, TRANSPORT_KEYS)
    for key in ("sysobjectid_prefix", "has"):
        if key in profile.match:
            yield from _oid(("match", key), profile.match[key])
    if "sysdescr" in profile.match:
        yield from _pattern(("match", "sysdescr"), str(profile.match["sysdescr"]))
    if "anchor" in profile.transport:
        yield from _oid(("transport", "anchor"), profile.transport["anchor"])
    for number, group in enumerate(profile.groups):
        yield from _group(("groups", number), group)


def _group(at: tuple[object, ...], group: Group) -> Iterator[Mistake]:
    try:
        each = Each.model_validate(dict(group.each))
    except ValidationError as error:
        yield from _form(at, error)
        return
    known = _variables(each)
    yield from _each((*at, "each"), each, known)
    yield from _sources((*at, "each", "set"), each, _used(group, each), known)
    for name, text in group.tags.items():
        yield from _placeholders((*at, "tags", name), text, known)
    for number, spec in enumerate(group.points):
        yield from _point((*at, "points", number), spec, each, known)


def _form(at: tuple[object, ...], error: ValidationError) -> Iterator[Mistake]:
    """Yield what the model of `each` says, in plain words."""
    for found in error.errors(include_url=False):
        place = tuple(part for part in found["loc"] if not isinstance(part, str) or "[" not in part)
        if found["type"] == "extra_forbidden":
            hint = suggest(place[-1], {info.alias or name for name, info in Each.model_fields.items()})
            yield (*at, "each", *place), InvalidValueError("unknown key", hint)
        else:
            reason = found["msg"].replace("Input should be ", "must be ")
            yield (*at, "each", *place), InvalidValueError(reason[:1].lower() + reason[1:])


def _each(at: tuple[object, ...], each: Each, known: set[str]) -> Iterator[Mistake]:
    if each.column:
        yield from _oid((*at, "column"), each.column)
    for number, column in enumerate(each.union):
        yield from _oid((*at, "union", number), column)
    for name, text in each.labels.items():
        yield from _address((*at, "labels", name), text, known)
    for name, text in each.settings.items():
        yield from _oid((*at, "settings", name), text)
    for column in each.require:
        yield from _oid((*at, "require", column), column)
    for name in each.where:
        if name not in known:
            yield (*at, "where", name), _no_variable(name, known)
    for key in ("index", "labels", "require", "withhold", "optional", "times", "anchored"):
        if not each.columns and getattr(each, key):
            yield (*at, key), InvalidValueError("is of rows, and there is no column to find them", "add `column: OID`")


def _sources(at: tuple[object, ...], each: Each, used: set[str], known: set[str]) -> Iterator[Mistake]:
    """Yield the rules that have nothing to make their variable of; a shared one that nobody uses here does no harm."""
    for name, rules in each.set.items():
        for number, rule in enumerate(rules):
            if name in used and rule.source not in known:
                yield (*at, name, number, "from"), _no_variable(rule.source, known)


def _used(group: Group, each: Each) -> set[str]:
    """Return the variables that tags, addresses, scales and rules of a group use."""
    texts = [*group.tags.values(), *each.labels.values()]
    used = {*each.where, *(name for rules in each.set.values() for rule in rules for name in (rule.source, *rule.when))}
    for spec in group.points:
        texts += [*spec.addresses, *spec.tags.values(), *(spec.flags or {}).values()]
        used |= {*spec.scale_from, *spec.scale_if, *spec.unit_if, spec.factor_from}
    return used | {name for text in texts for name in _PLACEHOLDER.findall(text)}


def _point(at: tuple[object, ...], spec: PointSpec, each: Each, known: set[str]) -> Iterator[Mistake]:
    for number, text in enumerate(spec.addresses):
        place = (*at, "at") if isinstance(spec.at, str) else (*at, "at", number)
        if text != AGENT:
            yield from _reading(place, text, known)
        elif each.columns:
            yield place, InvalidValueError("`agent` is of the whole device", "move it to a group without a column")
    for name, text in spec.tags.items():
        yield from _placeholders((*at, "tags", name), text, known)
    for bit, text in (spec.flags or {}).items():
        yield from _placeholders((*at, "flags", bit), text, known)
    for key in ("scale_from", "scale_if", "unit_if"):
        for name in getattr(spec, key):
            if name not in known:
                yield (*at, key, name), _no_variable(name, known)
    if spec.factor_from and spec.factor_from not in known:
        yield (*at, "factor_from"), _no_variable(spec.factor_from, known)


def _reading(at: tuple[object, ...], text: str, known: set[str]) -> Iterator[Mistake]:
    oid, _, pattern = text.partition(" ")
    yield from _address(at, oid, known)
    if not pattern:
        return
    if not re.fullmatch(r"/.+/", pattern):
        yield at, InvalidValueError(f"the pattern {pattern!r} does not stand between slashes", _AT_HINT)
        return
    yield from _pattern(at, pattern[1:-1])
    if not re.search(r"\((?!\?[:=!<])", pattern):
        yield at, InvalidValueError("the pattern has no group to take", "put ( ) around what counts")


def _variables(each: Each) -> set[str]:
    """Return the variables that a row of the group may have."""
    parts = each.index if isinstance(each.index, tuple) else each.index.groupindex
    return {*_GIVEN, *parts, *each.labels, *each.times, *each.set, *each.settings}


def _no_variable(name: str, known: Iterable[str]) -> InvalidValueError:
    return InvalidValueError(f"the rows of this group have no variable {name!r}", suggest(name, known))


def _placeholders(at: tuple[object, ...], text: str, known: set[str]) -> Iterator[Mistake]:
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            yield at, _no_variable(name, known)


def _address(at: tuple[object, ...], text: str, known: set[str]) -> Iterator[Mistake]:
    if _ADDRESS.fullmatch(text):
        yield from _placeholders(at, text, known)
    else:
        yield at, InvalidValueError(f"{text!r} is no OID", _OID_HINT)


def _oid(at: tuple[object, ...], text: object) -> Iterator[Mistake]:
    if not isinstance(text, str) or not _OID.fullmatch(text):
        yield at, InvalidValueError(f"{text!r} is no OID", _OID_HINT)


def _pattern(at: tuple[object, ...], text: str) -> Iterator[Mistake]:
    try:
        re.compile(text)
    except re.error as error:
        yield at, InvalidValueError(f"{text!r} is no regular expression: {error}", "escape it, or mend it")


def _keys(at: tuple[object, ...], given: Mapping[str, object], known: Iterable[str]) -> Iterator[Mistake]:
    for key in given:
        if key not in known:
            yield (*at, key), InvalidValueError("unknown key", suggest(key, known))
