"""The rows of one group of a metrics page: the value of `each` (see `collectors/exposition/collector.py`)."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

#: labels that tell of a person, a key or a single request: they never become a tag
PERSONAL = frozenset(
    (
        *("user", "user_id", "user_email", "user_alias", "end_user", "end_user_id", "email", "client_ip", "customer"),
        *("key", "key_alias", "key_hash", "api_key", "api_key_alias", "api_key_hash", "hashed_api_key", "token"),
        *("pid", "process_id", "request_id", "session_id", "trace_id", "span_id", "exception_message", "error_message"),
    )
)

_RANGE = re.compile(r"(-?[\d.e+]+)\.\.(-?[\d.e+]+)")


class Each(BaseModel):
    """The rows of one group."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    labels: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    filter: Mapping[str, str] = {}
    combine: Literal["sum", "max", "min", "first"] = "sum"
    parts: tuple[str, ...] = ()
    page: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    #: all of its points, or these fields
    optional: bool | tuple[str, ...] = False

    @field_validator("filter")
    @classmethod
    def _patterns(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for pattern in value.values():
            re.compile(pattern)
        return value

    @field_validator("labels", "also")
    @classmethod
    def _not_personal(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return no_person(value)

    @field_validator("blank", "labels", "also", "parts", "page", "optional", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | int | float) and not isinstance(value, bool) else value

    @field_validator("blank")
    @classmethod
    def _numbers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_range(text)
        return value

    def is_optional(self, to: str) -> bool:
        """Tell whether a page without this field is complete all the same."""
        return self.optional if isinstance(self.optional, bool) else to in self.optional


def no_person(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return these labels, each with all its spellings.

    Raises:
        ValueError: one tells of a person, a key or a request.
    """
    for label in labels:
        wrong = next((name for name in label.split("|") if name.lower() in PERSONAL), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} tells of a person, a key or a request: it must not become a tag")
    return labels


def parse_range(text: str) -> tuple[float, float]:
    """Return the bounds that `low..high` or one number names, both included.

    Raises:
        ValueError: it is neither.
    """
    found = _RANGE.fullmatch(text)
    try:
        low, high = (float(found[1]), float(found[2])) if found else (float(text),) * 2
    except ValueError:
        raise ValueError(f"{text!r} is neither a number nor low..high") from None
    if not low <= high:
        raise ValueError(f"{text!r}: write the lower number first")
    return low, high
