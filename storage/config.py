"""Files that people write: checked by a pydantic model, secrets from outside, and every mistake told at once."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, GetCoreSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from storage.document import (
    ConfigError,
    FromOutside,
    InvalidValueError,
    Items,
    Problem,
    Section,
    dotted,
    locate,
    read_document,
    suggest,
)

__all__ = [
    "ConfigError",
    "Duration",
    "InvalidValueError",
    "Problem",
    "RelativePath",
    "Secret",
    "load_yaml",
    "parse_duration",
    "problem_at",
    "suggest",
    "validate",
]

Model = TypeVar("Model", bound=BaseModel)

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_STRUCTURE = ("must be a mapping of keys", "write `key: value` lines")
#: pydantic's error type -> reason and hint
_PLAIN = {
    "model_type": _STRUCTURE,
    "model_attributes_type": _STRUCTURE,
    "dict_type": _STRUCTURE,
    "mapping_type": _STRUCTURE,
    "list_type": ("must be a list", "write `- item` lines"),
    "tuple_type": ("must be a list", "write `- item` lines"),
    "string_type": ("must be text", "put it in quotes"),
    "bool_type": ("must be true or false", ""),
    "bool_parsing": ("must be true or false", ""),
    "int_type": ("must be a whole number", ""),
    "int_parsing": ("must be a whole number", ""),
    "int_from_float": ("must be a whole number", ""),
    "float_type": ("must be a number", ""),
    "float_parsing": ("must be a number", ""),
    "finite_number": ("must be a finite number", ""),
}


class Secret:
    """A value that prints as `<secret>`; `reveal` gives it.

    In a file it is written `${NAME}` or `file:/path` (the file's text without the newline at its end). A literal is
    refused there, but for files with `allow_plaintext_secrets: true` at their top.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _take_secret, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def _take_secret(value: Any, info: ValidationInfo) -> Secret:
    context = info.context or {}
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise InvalidValueError("must be text", 'use ${NAME} or file:/path; quote numbers: "..."')
    if value.startswith("file:"):
        return Secret(_read_secret(Path(value.removeprefix("file:")), context.get("folder")))
    if context.get("secrets_from_outside") and value and not isinstance(value, FromOutside):
        raise InvalidValueError("a secret stands here in plain text", "use ${NAME} or file:/path")
    return Secret(str(value))


def _read_secret(path: Path, folder: Path | None) -> str:
    try:
        return (folder / path if folder else path).read_text("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as e:
        raise InvalidValueError(f"the secret's file {str(path)!r} is not UTF-8 text") from e
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or "not a path"
        raise InvalidValueError(f"the secret's file {str(path)!r} cannot be read: {reason}", "write file:/path") from e


def parse_duration(value: object) -> timedelta:
    """Return the time span that `500ms`, `5s`, `2m`, `1h` or `1d` names.

    Raises:
        InvalidValueError: anything else; a number without its unit too.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise InvalidValueError(f"{value!r} is no duration", "a number and its unit: 500ms, 5s, 2m, 1h, 1d")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return folder / path.expanduser() if folder else path


#: a time span written `500ms`, `5s`, `2m`, `1h`
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
#: a path; a relative one starts at the folder of the file in which it stands
RelativePath = Annotated[Path, AfterValidator(_from_folder)]


def load_yaml(path: Path, model: type[Model], environment: Mapping[str, str] | None = None) -> Model:
    """Return the model that a YAML file describes; `environment` (default: the process's) fills `${NAME}`.

    Raises:
        ConfigError: every mistake in the file, in the order of its lines.
    """
    document = read_document(path, os.environ if environment is None else environment)
    return validate(document, model, folder=path.parent, secrets_from_outside=True)


def validate(document: Section, model: type[Model], *, folder: Path, secrets_from_outside: bool = False) -> Model:
    """Return the model made of a document; relative paths in it start at `folder`.

    Raises:
        ConfigError: every mistake, in the order of the lines.
    """
    plaintext = document.get("allow_plaintext_secrets") is True
    _open_empty(document, model)
    context = {"folder": folder, "secrets_from_outside": secrets_from_outside and not plaintext}
    try:
        return model.model_validate(document, context=context)
    except ValidationError as e:
        problems = [p for error in e.errors(include_url=False) for p in _problems(document, model, error)]
        raise ConfigError(sorted(_joined(problems), key=lambda p: (p.file, p.line))) from None


def _open_empty(section: Section, model: type[BaseModel]) -> None:
    """Turn keys without a value into empty mappings or lists where the model wants such.

    In a sample file whose settings are all commented out, the section's own key stands there alone.
    """
    for name, info in model.model_fields.items():
        key = info.alias or name
        if key not in section:
            continue
        kind = info.annotation
        if section[key] is None and get_origin(kind) in (list, tuple):
            section[key] = Items(section.places[key])
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if section[key] is None:
                section[key] = Section(section.places[key])
            if isinstance(section[key], Section):
                _open_empty(section[key], kind)


def _problems(document: Section, model: type[BaseModel], error: ErrorDetails) -> Iterator[Problem]:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, InvalidValueError):
        for each in (cause, *cause.also):
            yield problem_at(document, (*error["loc"], *each.at), each)
    else:
        reason, hint = _words(model, error)
        yield problem_at(document, error["loc"], InvalidValueError(reason, hint))


def _joined(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems with those of one place made one: each member of a union says what it would take."""
    places: dict[tuple[str, int, str], Problem] = {}
    for problem in problems:
        place = (problem.file, problem.line, problem.key)
        first = places.setdefault(place, problem)
        head, _, tail = first.reason.partition(", not ")
        other = problem.reason.partition(", not ")[0]
        if other not in head:
            reason = f"{head} or {other.removeprefix('must be ')}" + (f", not {tail}" if tail else "")
            places[place] = replace(first, reason=reason)
    return list(places.values())


def problem_at(document: Section, location: Sequence[object], error: InvalidValueError) -> Problem:
    """Return the problem with file and line of the place where `location` leads in the document."""
    place, path = locate(document, location)
    return Problem(place.file, place.line, dotted(path), error.reason, error.hint)


def _words(model: type[BaseModel], error: ErrorDetails) -> tuple[str, str]:
    """Return reason and hint in plain words; only short scalars of the input are quoted, and never a secret."""
    kind, context, loc = error["type"], error.get("ctx", {}), error["loc"]
    if kind == "value_error":
        return str(context.get("error")), ""
    if kind == "missing":
        return "is missing", ""
    if kind == "extra_forbidden":
        return "unknown key", suggest(loc[-1], _keys(model, loc[:-1]))
    if kind in ("literal_error", "enum"):
        allowed = re.findall(r"'([^']*)'|(\d+)", str(context["expected"]))
        return f"{_shown(error['input'])} is not allowed", _choices(error["input"], [a or b for a, b in allowed])
    if kind in _PLAIN:
        reason, hint = _PLAIN[kind]
        return reason + _got(error["input"]), hint
    message = error["msg"].replace("Input should be ", "must be ")
    return message[:1].lower() + message[1:] + _got(error["input"]), ""


def _choices(given: object, allowed: list[str]) -> str:
    near = suggest(given, allowed)
    every = "allowed: " + ", ".join(allowed)
    return near if near == every else f"{near} {every}" if near.startswith("did") else every


def _shown(value: object) -> str:
    if isinstance(value, FromOutside):  # may be a secret that went to the wrong key
        return "the environment's value"
    return repr(value) if isinstance(value, str | int | float) and len(str(value)) <= 60 else "this"


def _got(value: object) -> str:
    if value is None:
        return ", not empty"
    if isinstance(value, dict | list):
        return f", not a {'mapping' if isinstance(value, dict) else 'list'}"
    return f", not {_shown(value)}"


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> set[str]:
    """Return the keys that the model allows at a location."""
    models = {model}
    for part in location:
        if isinstance(part, int):
            continue
        fields = [info for m in models for name, info in m.model_fields.items() if part in (name, info.alias)]
        models = {found for info in fields for found in _models(info.annotation)} or models
    return {info.alias or name for m in models for name, info in m.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Return the models that an annotation holds at any depth: `list[A] | None` gives A."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
