"""What is wrong with a profile of a metrics page, each mistake where it stands in the file."""

import re
from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from collectors.exposition.address import parse_address
from collectors.exposition.each import Each, no_person
from collectors.exposition.match import Match
from collectors.profile import Group, Mistake, PointSpec, Profile
from collectors.profile_names import section_mistakes, unknown_field
from storage.config import InvalidValueError, suggest
from storage.schema import field_of

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_FORMS = "write metric, 'metric{label=\"value\"}', 'max(metric)' or 'a / b'"


def check_profile(profile: Profile) -> Iterator[Mistake]:
    """Yield every mistake in `transport`, `match`, `each`, in the points' addresses and in the variables of tags."""
    for key in profile.transport:
        yield ("transport", key), InvalidValueError("a metrics page has no switches", "take `transport` out")
    yield from section_mistakes(("match",), profile.match, Match)
    for number, group in enumerate(profile.groups):
        at = ("groups", number)
        wrong = list(section_mistakes((*at, "each"), group.each, Each))
        yield from wrong or _group_mistakes(at, group)
        for index, spec in enumerate(group.points):
            if unknown_field(spec.to) is None:
                yield from _address_mistakes((*at, "points", index, "at"), spec)


def _group_mistakes(at: tuple[object, ...], group: Group) -> Iterator[Mistake]:
    with suppress(ValidationError):
        each = Each.model_validate(dict(group.each))
        fields = {spec.to for spec in group.points}
        for path in each.optional if isinstance(each.optional, tuple) else ():
            if path not in fields:
                reason = f"{path} is no point of this group"
                yield (*at, "each", "optional"), InvalidValueError(reason, suggest(path, fields))
        known = {label.split("|")[0] for label in (*each.labels, *each.also)}
        places = [((*at, "tags"), group.tags)]
        places += [((*at, "points", index, "tags"), spec.tags) for index, spec in enumerate(group.points)]
        for place, tags in places:
            for tag, text in tags.items():
                for name in set(_PLACEHOLDER.findall(text)) - known:
                    reason = f"the rows of this group have no label {name!r}"
                    yield (*place, tag), InvalidValueError(reason, suggest(name, known) or "add it to each.labels")


def _address_mistakes(at: tuple[object, ...], spec: PointSpec) -> Iterator[Mistake]:
    try:
        if field_of(spec.to).kind == "text":
            no_person(spec.addresses)
            return
        for text in spec.addresses:
            parse_address(text)
    except re.error as error:
        yield at, InvalidValueError(f"{spec.at!r} is no regular expression: {error}", "escape it, or mend it")
    except ValueError as error:
        yield at, InvalidValueError(str(error), _FORMS)
