"""Names of a profile held against the schema."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from collectors.profile_model import Mistake
from storage.config import InvalidValueError, suggest
from storage.schema import MEASUREMENTS

#: measurement and tag -> the values that the dashboard knows (`docs/contracts.md`, section 2, and the schema)
_VALUES: Mapping[tuple[str, str], Sequence[str]] = {
    ("coolant", "loop"): ("fws", "tcs"),
    ("power", "side"): ("input", "output"),
    ("bus", "pole"): ("positive", "negative", "total"),
    ("leak", "level"): ("tray", "switch", "rack", "hall"),
}
#: likewise, but a device may have others: these are told where they are written in other letters alone
_USUAL: Mapping[tuple[str, str], Sequence[str]] = {
    ("coolant", "point"): ("supply", "return", "filter_in", "filter_out"),
    ("coolant", "kind"): ("cdu", "rpu", "rack", "valve"),
    ("power", "kind"): ("rack_pdu", "power_shelf", "psu", "rectifier", "meter", "switch", "node", "rack"),
    ("power", "circuit"): ("total",),
}


def unknown_field(path: str) -> InvalidValueError | None:
    """Return what is wrong with `measurement.field`, or None where the schema has it."""
    measurement, _, name = path.partition(".")
    if measurement in MEASUREMENTS and name in MEASUREMENTS[measurement].fields:
        return None
    names = MEASUREMENTS[measurement].fields if measurement in MEASUREMENTS else ()
    every = [f"{measurement}.{n}" for n in names] or [f"{m}.{n}" for m, own in MEASUREMENTS.items() for n in own.fields]
    return InvalidValueError(f"the schema has no field {path!r}", suggest(path, every))


def tag_mistakes(at: tuple[object, ...], tags: Mapping[str, str], measurement: str) -> Iterator[Mistake]:
    """Yield the names of tags that the measurement lacks."""
    known = MEASUREMENTS[measurement].tags
    for name in tags:
        if name not in known:
            yield (*at, name), InvalidValueError(f"{measurement} has no tag {name!r}", suggest(name, known))


def value_mistakes(at: tuple[object, ...], tags: Mapping[str, str], measurement: str) -> Iterator[Mistake]:
    """Yield the values of tags by which the dashboard would not find a reading; `{name}` is the device's to say."""
    for name, text in tags.items():
        allowed, usual = _VALUES.get((measurement, name), ()), _USUAL.get((measurement, name), ())
        meant = text.strip().lower().replace("-", "_").replace(" ", "_")
        is_strange = allowed and text not in (*allowed, "", "-")
        if "{" not in text and (is_strange or (text not in usual and meant in usual)):
            hint = f"write {meant}" if meant in (*allowed, *usual) else f"allowed: {', '.join(allowed)}"
            yield (*at, name), InvalidValueError(f"{measurement} knows no {name} {text!r}", hint)


def section_mistakes(at: tuple[object, ...], data: Mapping[str, Any], model: type[BaseModel]) -> Iterator[Mistake]:
    """Yield what a protocol's model of `each`, `match` or `transport` says against that section."""
    try:
        model.model_validate(dict(data))
    except re.error as error:  # raised while an entry is looked at, so pydantic cannot say of which
        reason = f"{error.pattern!r} is no regular expression: {error}"
        yield (*at, *_place_of(error.pattern, data)), InvalidValueError(reason, "escape it, or mend it")
    except ValidationError as error:
        for found in error.errors(include_url=False):
            # The members of a union name themselves in the location.
            place = tuple(part for part in found["loc"] if not isinstance(part, str) or "[" not in part)
            yield (*at, *place), _in_words(found, model)


def _place_of(wanted: object, data: object) -> tuple[object, ...]:
    """Return where a value stands in a section, or nothing where it does not."""
    items = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list | tuple) else ()
    for key, value in items:
        if value == wanted:
            return (key,)
        if inner := _place_of(wanted, value):
            return (key, *inner)
    return ()


def _in_words(found: ErrorDetails, model: type[BaseModel]) -> InvalidValueError:
    cause = found.get("ctx", {}).get("error")
    if isinstance(cause, InvalidValueError):
        return cause
    keys = {info.alias or name for name, info in model.model_fields.items()}
    if found["type"] == "extra_forbidden":
        return InvalidValueError("unknown key", suggest(found["loc"][-1], keys))
    if found["type"] == "missing":
        return InvalidValueError("is missing", f"add {found['loc'][-1]}: …")
    if found["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", found["ctx"]["expected"])
        return InvalidValueError(f"{found['input']!r} is not allowed", suggest(found["input"], allowed))
    reason = str(cause or found["msg"].replace("Input should be ", "must be "))
    given = found["input"]
    shown = f", not {given!r}" if isinstance(given, str | int | float) and not cause else ""
    return InvalidValueError(reason[:1].lower() + reason[1:] + shown, "leave it out, or write another")
