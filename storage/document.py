"""YAML as data that still knows where each key stands.

Scalars follow the core schema of YAML 1.2 (section 10.3.2): `off`, `yes`, `12:30` and dates are text, only `true` and
`false` are booleans. PyYAML's own resolver follows YAML 1.1, where a port `22:22` is the number 1342.

Errors: ConfigError         the files are wrong; carries every Problem
        InvalidValueError   one value is wrong; becomes a Problem where it stands in a file
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{([^}]*)\}?")
_DEEPEST = 50
_PLAIN_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: where, what, and the way out."""

    file: str
    #: 1-based; 0 when the file as a whole is meant
    line: int
    #: dotted path: storage.engine, collectors.targets[3].url
    key: str
    reason: str
    #: what would be right: allowed values, or the command that helps
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        what = f"{self.key}: {self.reason}" if self.key else self.reason
        return f"{where}: {what}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(Exception):
    """Everything that is wrong with the files, found in one pass."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = list(problems)


class InvalidValueError(ValueError):
    """One value is wrong: the reason, and what would be right."""

    def __init__(
        self, reason: str, hint: str = "", at: Sequence[object] = (), also: Sequence["InvalidValueError"] = ()
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        #: where within the value that was checked: ("targets", 3, "name")
        self.at = tuple(at)
        #: what else is wrong with that value
        self.also = tuple(also)


class FromOutside(str):
    """Text of which an environment variable gave a part."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands."""

    file: str
    line: int


class Section(dict[Any, Any]):
    """A mapping that knows where its keys stand."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: dict[Any, Place] = {}

    def put(self, key: Any, value: Any, place: Place) -> None:
        """Set a key and where it stands."""
        self[key] = value
        self.places[key] = place


class Items(list[Any]):
    """A list that knows where its items stand."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place] = []

    def put(self, value: Any, place: Place) -> None:
        """Append an item and where it stands."""
        self.append(value)
        self.places.append(place)


def suggest(name: object, allowed: Iterable[object]) -> str:
    """Return a hint: the allowed name that was probably meant, or all of them when none is near."""
    names = sorted(str(a) for a in allowed)
    by_lower = {each.lower(): each for each in names}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    if near:
        return f"did you mean {by_lower[near[0]]!r}?"
    return "allowed: " + ", ".join(names[:40]) + (", ..." if len(names) > 40 else "") if names else ""


def dotted(location: Iterable[object]) -> str:
    """Return `collectors.targets[3].url` for the parts of a path."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def locate(root: Section, location: Sequence[object]) -> tuple[Place, tuple[object, ...]]:
    """Return where the last part of `location` that exists stands, and the location without foreign parts.

    Parts that are no key of the data (pydantic names the members of a union so) are left out, but for the last.
    """
    at: Any = root
    place = root.place
    path: list[object] = []
    for number, part in enumerate(location):
        here: Mapping[Any, Place] = (
            at.places if isinstance(at, Section) else dict(enumerate(at.places)) if isinstance(at, Items) else {}
        )
        if part in here:
            place, at = here[part], at[part]
        elif number < len(location) - 1 or not isinstance(at, Section):
            continue
        path.append(part)
    return place, tuple(path)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        ConfigError: missing, a directory, unreadable, not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = e.object.count(b"\n", 0, e.start) + 1
        raise ConfigError([Problem(str(path), line, "", "is not UTF-8 text", "save it as UTF-8")]) from e
    except FileNotFoundError as e:
        raise ConfigError([Problem(str(path), 0, "", "does not exist", "check the path")]) from e
    except IsADirectoryError as e:
        raise ConfigError([Problem(str(path), 0, "", "is a directory, not a file", "name the file in it")]) from e
    except OSError as e:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {e.strerror}", "check its rights")]) from e


def read_document(path: Path, environment: Mapping[str, str] | None = None) -> Section:
    """Return the mapping in a YAML file, with `${NAME}` and `${NAME:-default}` replaced when an environment is given.

    Raises:
        ConfigError: unreadable, not YAML, not one mapping, a key twice, a variable that is not set.
    """
    text = read_text(path)
    root = _compose(text, str(path))
    if root is None:
        raise ConfigError([Problem(str(path), 0, "", "is empty", "see config/site.yaml for an example")])
    builder = _Builder(str(path), environment)
    data = builder.build(root, ())
    if not isinstance(data, Section):
        builder.fault(root, (), "is not a mapping", "write `key: value` lines")
    if builder.problems or not isinstance(data, Section):
        raise ConfigError(builder.problems)
    return data


def _compose(text: str, file: str) -> yaml.Node | None:
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        _check_depth(text, loader, file)
        node: yaml.Node | None = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        if not mark and (position := getattr(e, "position", None)) is not None:
            line = text.count("\n", 0, position) + 1
        raise ConfigError([Problem(file, line, "", *_explain(e, text, line))]) from e
    return node


def _check_depth(text: str, loader: Any, file: str) -> None:
    """Raise ConfigError for a file nested so deeply that composing it, which recurses in C, could end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise ConfigError([Problem(file, line, "", "is nested too deeply", f"at most {_DEEPEST} levels")])


def _explain(error: yaml.YAMLError, text: str, line: int) -> tuple[str, str]:
    lines = text.splitlines()
    if 0 < line <= len(lines) and "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]:
        return "a tab in the indentation", "YAML is indented with spaces"
    reason = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable as YAML")
    context = getattr(error, "context", None)
    return f"is not YAML: {reason}" + (f", {context}" if context else ""), "check indentation, quotes and brackets"


class _Builder:
    """Turns nodes into data; gathers what is wrong."""

    def __init__(self, file: str, environment: Mapping[str, str] | None) -> None:
        self.file = file
        self.environment = environment
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._built: dict[int, Any] = {}

    def fault(self, node: yaml.Node, path: tuple[object, ...], reason: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, dotted(path), reason, hint))

    def build(self, node: yaml.Node, path: tuple[object, ...]) -> Any:
        if id(node) in self._built:  # an alias: built once, or else few lines could unfold to billions
            return self._built[id(node)]
        if id(node) in self._open:
            return self.fault(node, path, "contains itself through an alias")
        if node.tag not in _PLAIN_TAGS:
            return self.fault(node, path, f"the tag {node.tag!r} is not allowed", "write plain values")
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            data: Any = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            data = self._sequence(node, path)
        else:
            data = self._scalar(cast(yaml.ScalarNode, node), path)
        self._open.discard(id(node))
        self._built[id(node)] = data
        return data

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1)

    def _mapping(self, node: yaml.MappingNode, path: tuple[object, ...]) -> Section:
        section = Section(self._place(node))
        seen: dict[Any, int] = {}
        merged: list[Any] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, path, "a key must be one word or number", "quote text that holds brackets")
                continue
            key = _resolve(key_node)
            value = self.build(value_node, (*path, key))
            if key == "<<" and not key_node.style:
                merged.extend(value if isinstance(value, list) else [value])
            elif key in seen:
                self.fault(key_node, (*path, key), f"stands here again, first on line {seen[key]}", "keep one of them")
            else:
                seen[key] = key_node.start_mark.line + 1
                section.put(key, value, self._place(key_node))
        for other in merged:
            self._merge(section, other, node, path)
        return section

    def _merge(self, section: Section, other: Any, node: yaml.Node, path: tuple[object, ...]) -> None:
        if not isinstance(other, Section):
            return self.fault(node, path, "`<<` takes a mapping", "write `<<: *anchor`")
        for key in other.keys() - section.keys():
            section.put(key, other[key], other.places[key])
        return None

    def _sequence(self, node: yaml.SequenceNode, path: tuple[object, ...]) -> Items:
        items = Items(self._place(node))
        for number, item in enumerate(node.value):
            items.put(self.build(item, (*path, number)), self._place(item))
        return items

    def _scalar(self, node: yaml.ScalarNode, path: tuple[object, ...]) -> Any:
        if self.environment is None or "${" not in node.value:
            return _resolve(node)
        outside = False
        environment = self.environment

        def replace(match: re.Match[str]) -> str:
            nonlocal outside
            name, default, malformed = match.groups()
            if malformed is not None:
                self.fault(node, path, f"{match.group()!r} is no variable", "write ${NAME} or ${NAME:-default}")
            elif name is None:
                return "${"
            elif environment.get(name) or (name in environment and default is None):
                outside = True
                return environment[name]
            elif default is not None:
                return default
            else:
                hint = f"export {name}=..., or write ${{{name}:-default}}"
                self.fault(node, path, f"the environment variable {name} is not set", hint)
            return ""

        text = _VARIABLE.sub(replace, node.value)
        return FromOutside(text) if outside else text


def _resolve(node: yaml.ScalarNode) -> Any:
    """Return a scalar's value by the core schema of YAML 1.2; quoted ones are text."""
    text = node.value
    if node.style:  # libyaml says "" for plain, Python None
        return text
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text
