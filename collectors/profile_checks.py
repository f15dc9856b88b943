"""What a profile's model cannot see: names against the schema and against each other."""

import re
from collections.abc import Iterator

from collectors.profile_derived import derived_mistakes
from collectors.profile_model import Group, Mistake, PointSpec, Profile
from collectors.profile_names import tag_mistakes, unknown_field, value_mistakes
from collectors.reading import limits, own_tags
from collectors.units import conversion
from storage.config import InvalidValueError, suggest
from storage.schema import MEASUREMENTS, Field, field_of

#: protocols whose devices give one of several readings of the same name
_ALTERNATIVE = ("exposition", "gnmi")
#: Modbus: an address of one bit; one of whole registers; the integers among its types
_SINGLE_BIT = re.compile(r"(?:coil|discrete):\d+$|[a-z]+:\d+\.\d+$")
_PLAIN = re.compile(r"(?:holding|input):\d+")
_INTEGER = re.compile(r"([iu])(16|32|64)(?:-\w+)?")


def mistakes(profile: Profile, stem: str) -> Iterator[Mistake]:
    """Yield what a model cannot see: names against the schema and against each other."""
    if profile.profile != stem:
        yield ("profile",), InvalidValueError(f"{profile.profile!r} is not the file's name", f"write profile: {stem}")
    for number, group in enumerate(profile.groups):
        yield from _group_mistakes(("groups", number), group, profile.protocol)
    if profile.protocol not in _ALTERNATIVE:
        yield from _repeated(profile)
    if profile.protocol == "modbus":
        yield from _mixed(profile)
    yield from derived_mistakes(profile)
    for path in profile.lacks:
        if wrong := unknown_field(path):
            yield ("lacks", path), wrong


def _group_mistakes(at: tuple[object, ...], group: Group, protocol: str) -> Iterator[Mistake]:
    known: set[str] = set()
    seen: dict[tuple[object, ...], tuple[int, int | None]] = {}
    for number, spec in enumerate(group.points):
        here = (*at, "points", number)
        wrong = unknown_field(spec.to)
        if wrong:
            yield (*here, "to"), wrong
            continue
        measurement = spec.to.partition(".")[0]
        known.update(MEASUREMENTS[measurement].tags)
        yield from tag_mistakes((*here, "tags"), spec.tags, measurement)
        yield from value_mistakes((*here, "tags"), spec.tags, measurement)
        inherited = {tag: text for tag, text in group.tags.items() if tag not in spec.tags}
        yield from value_mistakes((*at, "tags"), inherited, measurement)
        yield from _value_mistakes(here, spec)
        yield from _row_mistakes(here, spec, protocol)
        if protocol == "modbus":
            yield from _register_mistakes(here, spec, field_of(spec.to))
        tags = sorted(own_tags(group, spec, measurement).items())
        bits: list[tuple[int | None, str]] = [*spec.flags.items()] if spec.flags else [(None, "")]
        for bit, name in bits:
            series = (spec.to, name, *tags)
            if seen.setdefault(series, (number, bit)) != (number, bit):
                yield _twice(here, seen[series][0], bit, name)
    for name in group.tags.keys() - known if known else ():
        yield (*at, "tags", name), InvalidValueError("no measurement of this group has this tag", suggest(name, known))


def _repeated(profile: Profile) -> Iterator[Mistake]:
    """Yield readings that another group of the very same rows gives too: only one of them could be taken."""
    seen: dict[tuple[str, str, str], tuple[int, str]] = {}
    for number, group in enumerate(profile.groups):
        rows = repr(sorted(group.each.items(), key=str))
        for index, spec in enumerate(group.points):
            measurement = spec.to.partition(".")[0]
            if spec.flags or unknown_field(spec.to):
                continue
            series = (rows, spec.to, repr(sorted(own_tags(group, spec, measurement).items())))
            first, address = seen.setdefault(series, (number, spec.addresses[0] if spec.addresses else ""))
            if first != number:
                reason = f"the same field and tags as {address} in another group of these rows"
                hint = "give one of them another tag, or list both in one `at`"
                yield ("groups", number, "points", index, "to"), InvalidValueError(reason, hint)


def _mixed(profile: Profile) -> Iterator[Mistake]:
    """Yield readings that several units of a bus give under the same tags: one unit's would stand for another's."""
    for number, group in enumerate(profile.groups):
        units = group.each.get("units")
        if not isinstance(units, list) or len(units) < 2 or group.each.get("once"):
            continue
        for index, spec in enumerate(group.points):
            tags = own_tags(group, spec, spec.to.partition(".")[0]) if not unknown_field(spec.to) else {"": "{"}
            if not any("{" in text for text in (*tags.values(), *(spec.flags or {}).values())):
                variable = group.each.get("as", "unit")
                reason = f"the same field and tags for each of {len(units)} units"
                hint = f'tell them apart by a tag with {{{variable}}}, as circuit: "psu-{{{variable}}}"'
                yield ("groups", number, "points", index, "to"), InvalidValueError(reason, hint)


def _twice(at: tuple[object, ...], first: int, bit: int | None, name: str) -> Mistake:
    if bit is not None:
        return (*at, "flags", bit), InvalidValueError(f"a bit {name!r} is there already", "give it another name")
    hint = "give one of them another tag, or list both in one `at`"
    return (*at, "to"), InvalidValueError(f"the same field and tags as points[{first}]", hint)


def _value_mistakes(at: tuple[object, ...], spec: PointSpec) -> Iterator[Mistake]:
    measurement, _, name = spec.to.partition(".")
    field = MEASUREMENTS[measurement].fields[name]
    yield from _unit_mistakes(at, spec, name, field)
    for raw, state in (spec.enum or {}).items():
        if state is not None and field.states and state not in field.states:
            states = ", ".join(f"{number} {word}" for number, word in field.states.items())
            yield (*at, "enum", raw), InvalidValueError(f"{state} is no state of {spec.to}", f"states: {states}")
    if (spec.flags is not None) != (spec.to == "alarm_bits.active"):
        yield (*at, "flags"), InvalidValueError("flags and alarm_bits.active go together", "set both or neither")
    for bit in spec.flags or {}:
        if not 0 <= bit <= 63:
            yield (*at, "flags", bit), InvalidValueError(f"there is no bit {bit}", "bit 0 is the lowest; 0 to 63")
    if not 0 <= spec.frac_bits <= 63:
        yield (*at, "frac_bits"), InvalidValueError(f"{spec.frac_bits} is out of range", "0 to 63")
    if not spec.scale:
        yield (*at, "scale"), InvalidValueError("makes every value 0", "leave it out for 1")
    if not spec.addresses:
        yield (*at, "at"), InvalidValueError("names no address", "give at least one")


def _unit_mistakes(at: tuple[object, ...], spec: PointSpec, name: str, field: Field) -> Iterator[Mistake]:
    """Yield units that do not fit the field, and limits that leave nothing of its range."""
    chosen = [((*at, "unit_if", n, raw), unit) for n, units in spec.unit_if.items() for raw, unit in units.items()]
    bad = False
    for place, text in [((*at, "unit"), spec.unit), *chosen]:
        try:
            unit = conversion(text, name, field.unit)
        except InvalidValueError as e:
            bad = True
            yield place, e
    if spec.unit is not None and spec.unit_if:
        yield (*at, "unit"), InvalidValueError("`unit_if` says the unit", "leave one of them out")
    elif spec.min is not None and spec.max is not None and spec.min > spec.max:
        yield (*at, "min"), InvalidValueError(f"{spec.min:g} is above max {spec.max:g}", "swap them")
    elif not bad and not chosen:
        ends = (None if limit is None else unit.to_base(limit) for limit in (spec.min, spec.max))
        low, high = limits(field, *ends)
        if low > high:
            key = "min" if spec.min is not None else "max"
            own = f"{field.low:g} to {field.high:g}" if field.high is not None else f"{field.low:g} and more"
            reason = f"no value is left: {spec.to} is {own} {field.unit}".rstrip()
            yield (*at, key), InvalidValueError(reason, "limits stand in `unit`; check both")


def _row_mistakes(at: tuple[object, ...], spec: PointSpec, protocol: str) -> Iterator[Mistake]:
    """Yield what is wrong with how a reading depends on its kind, its row and its raw value."""
    measurement, _, name = spec.to.partition(".")
    field = MEASUREMENTS[measurement].fields[name]
    if spec.wrap and field.kind != "counter":
        yield (*at, "wrap"), InvalidValueError(f"{spec.to} is a {field.kind}: it does not wrap", "leave it out")
    if spec.enum or spec.flags or field.kind not in ("gauge", "counter"):
        for key in ("scale_from", "factor_from", "scale_if", "unit_if"):
            if getattr(spec, key):
                yield (*at, key), InvalidValueError("only numbers are scaled", "leave it out")
    if len(spec.unit_if) > 1:
        yield (*at, "unit_if"), InvalidValueError("one variable says the unit", "keep one of them")
    if spec.otherwise is not None and (not spec.enum or spec.otherwise not in (field.states or {spec.otherwise})):
        yield (*at, "otherwise"), InvalidValueError(f"{spec.otherwise} is no state of an `enum`", "add an enum")
    low, high = spec.applies
    if low is not None and high is not None and low > high:
        yield (*at, "applies"), InvalidValueError(f"{low:g} is above {high:g}", "swap them")
    if spec.every == "medium" and protocol != "snmp":
        yield (*at, "every"), InvalidValueError(f"{protocol} knows fast and slow only", "write fast or slow")


def _register_mistakes(at: tuple[object, ...], spec: PointSpec, field: Field) -> Iterator[Mistake]:
    """Yield quantities that are read from a single bit, and raw values that the type can never give."""
    bits = [address for address in spec.addresses if _SINGLE_BIT.match(address)]
    if bits and field.kind in ("gauge", "counter"):
        reason = f"{bits[0]!r} is one bit, {spec.to} is a quantity"
        yield (*at, "at"), InvalidValueError(reason, "write holding:N or input:N; bits are for states and flags")
    span = _INTEGER.fullmatch(spec.type)
    if span is None or any(":" in address and not _PLAIN.fullmatch(address) for address in spec.addresses):
        return
    size, signed = int(span[2]), span[1] == "i"
    low, high = (-(1 << size - 1), (1 << size - 1) - 1) if signed else (0, (1 << size) - 1)
    for place, raw in [*(((*at, "null_if", n), raw) for n, raw in enumerate(spec.null_if)), *_enum_keys(at, spec)]:
        if isinstance(raw, int) and not isinstance(raw, bool) and not low <= raw <= high:
            other = raw + (1 << size) if not signed else raw - (1 << size)
            way = f"write {other}, or another `type`" if low <= other <= high else "write a raw value of the register"
            yield place, InvalidValueError(f"{spec.type} is never {raw}: it is {low} to {high}", way)


def _enum_keys(at: tuple[object, ...], spec: PointSpec) -> Iterator[tuple[tuple[object, ...], object]]:
    yield from (((*at, "enum", raw), raw) for raw in spec.enum or {})
