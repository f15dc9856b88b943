"""Device profiles: what a device model says, as data.

A profile is one YAML file in `collectors/profiles/` (or in the site's own folder, which wins by name). Files whose name
begins with `_` are shared parts for `extends`. The keys are those of `collectors/profile_model.py`.

A protocol's module may offer `check_profile(profile: Profile) -> Iterator[Mistake]`: what that protocol does not
understand, each at its place in the profile (`("groups", 2, "each", "units")`). It is called whenever a profile of the
protocol is loaded; the loader finds file and line, also where the place came from a parent.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from collectors.profile_checks import mistakes
from collectors.profile_model import Derived, Group, Mistake, PointSpec, Poll, Profile, Raw
from storage.config import ConfigError, InvalidValueError, Problem, problem_at, suggest, validate
from storage.document import Items, Section, dotted, read_document

__all__ = [
    "PACKAGED",
    "Derived",
    "Group",
    "Library",
    "Mistake",
    "PointSpec",
    "Poll",
    "Profile",
    "Raw",
    "list_profiles",
    "load_profile",
    "refuse_mistakes",
]

logger = logging.getLogger(__name__)

PACKAGED = Path(__file__).parent / "profiles"

#: a sign that YAML keeps for itself, without quotes
_UNQUOTED = re.compile(r"[:,\[]\s*([%@`][^\s,}\]]*)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: keys of a recording that a profile lacks
_RECORDED = frozenset(("snmp", "modbus", "redfish", "mqtt", "expect"))
#: keys of a parent that a child's are added to
_JOINED = ("groups", "derived")


#: what tells one version of a file from another: change time in ns, size, inode
Version = tuple[int, int, int] | None
#: files that a profile is made of, its own first, as they were just before they were read
Files = dict[Path, Version]


def load_profile(name: str, folders: Sequence[Path] = (PACKAGED,)) -> Profile:
    """Return the profile `name`, with its `extends` resolved, from the first folder that has it.

    A parent (`extends: _name`) is merged key by key, the child's keys win; its `groups` and `derived` come before the
    child's.

    Raises:
        ConfigError: every mistake with file, line and key: unknown keys, fields that the schema lacks, units that do
            not fit the field, two readings for one (to, tags), what the protocol does not understand.
    """
    return _load(name, folders, {})


def _load(name: str, folders: Sequence[Path], files: Files) -> Profile:
    """Return the profile `name`; `files` takes those that it was made of, also of one that is wrong."""
    path = _find(name, folders) if not name.startswith((".", "_")) and "/" not in name else None
    if path is None:
        raise _absent(name, folders)
    document = _read(path, folders, files)
    if not _NAME.fullmatch(name):
        better = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")
        reason = "a profile's name has letters of English, digits, _, . and - only"
        raise ConfigError([Problem(str(path), 0, "", reason, f"rename the file: {better or 'my_device'}.yaml")])
    if "groups" not in document and (found := _RECORDED & document.keys()):
        reason = f"is no profile: it looks like a recording, for it has `{min(found)}`"
        raise ConfigError([Problem(str(path), 0, "", reason, "keep recordings in another folder than profiles")])
    try:
        profile = validate(document, Profile, folder=path.parent)
        problems = [problem_at(document, *mistake) for mistake in _all_mistakes(profile, path.stem)]
    except ConfigError as error:
        problems = error.problems
    if problems:
        told = dict.fromkeys(_hinted(_renumbered(document, problem)) for problem in problems)
        raise ConfigError(sorted(told, key=lambda p: (p.file, p.line)))
    return profile


def list_profiles(folders: Sequence[Path] = (PACKAGED,)) -> Sequence[str]:
    """Return the names of all profiles in these folders, sorted, without shared parts.

    Left out too: hidden files, as editors and network folders put beside a file, links that lead nowhere, and folders.
    """
    paths = (path for folder in folders for path in _listed(folder))
    return sorted({path.stem for path in paths if not path.stem.startswith(("_", ".")) and _is_file(path)})


def _listed(folder: Path, pattern: str = "*.yaml") -> Sequence[Path]:
    try:
        return list(folder.glob(pattern))
    except OSError:  # a network folder that is away
        return ()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _absent(name: str, folders: Sequence[Path]) -> ConfigError:
    where = ", ".join(str(folder) for folder in folders)
    return ConfigError([Problem(where, 0, "profile", f"there is no profile {name!r}", _whereabouts(name, folders))])


def _whereabouts(name: str, folders: Sequence[Path]) -> str:
    """Return where a profile lies that was not found: its file ends otherwise, or lies one folder deeper."""
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) or "/" in name else name
    for folder in folders:
        for path in (*_listed(folder, "*.[Yy]*[Mm][Ll]"), *_listed(folder, "*/*.yaml")):
            if path.stem.lower() != stem.lower() or not _is_file(path):
                continue
            if path.parent != folder:
                return f"{path} is in a folder of its own: move it to {folder}"
            if path.name != f"{name}.yaml":
                return f"write {path.stem}" if path.suffix == ".yaml" else f"rename {path} to {path.stem}.yaml"
    near = suggest(name, list_profiles(folders))
    return near if near.startswith("did") else f"{near}; a profile of your own: its folder is `collectors.profiles`"


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    paths = (folder / f"{name}.yaml" for folder in folders)
    return next((path for path in paths if _is_file(path)), None)


def refuse_mistakes(profile: Profile) -> None:
    """Refuse a profile that its protocol does not understand, wherever it came from: files are checked as they load.

    Raises:
        ConfigError: every mistake, with its place in the profile.
    """
    file = f"{profile.profile}.yaml"
    found = [Problem(file, 0, dotted(at), error.reason, error.hint) for at, error in _mistakes_of_protocol(profile)]
    if found:
        raise ConfigError(found)


def _all_mistakes(profile: Profile, stem: str) -> Iterator[Mistake]:
    yield from mistakes(profile, stem)
    yield from _mistakes_of_protocol(profile)


def _mistakes_of_protocol(profile: Profile) -> Iterator[Mistake]:
    check = getattr(import_module(f"collectors.{profile.protocol}.collector"), "check_profile", None)
    if check is not None:
        yield from check(profile)


def _version(path: Path) -> Version:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path, folders: Sequence[Path], files: Files) -> Section:
    """Return a profile file merged over its parents; `files` takes those read."""
    files[path] = _version(path)
    document = _document(path)
    if "extends" not in document:
        return document
    parent = document["extends"]
    found = _find(parent, folders) if isinstance(parent, str) and _NAME.fullmatch(parent.lstrip("_")) else None
    if found is None:
        files.update({folder / f"{parent}.yaml": None for folder in folders})
        shared = {p.stem for folder in folders for p in _listed(folder, "_*.yaml")}
        hint = suggest(parent, shared) or "a shared part is a file _name.yaml beside the profile"
        raise _extends_error(document, InvalidValueError(f"there is no shared part {parent!r}", hint))
    if found in files:
        chain = " -> ".join(p.stem for p in (*files, found))
        raise _extends_error(document, InvalidValueError(f"goes in a circle: {chain}", "take one `extends` out"))
    return _merge(_read(found, folders, files), document, joined=_JOINED)


def _document(path: Path) -> Section:
    """Return what a file says; what is wrong with it as YAML is told in words for profiles."""
    try:
        return read_document(path)
    except ConfigError as error:
        raise ConfigError([_as_yaml(problem, path) for problem in error.problems]) from error


def _as_yaml(problem: Problem, path: Path) -> Problem:
    if problem.reason == "is empty":
        return replace(problem, hint="docs/profiles.md has examples; `tokenwatt profile new` drafts one")
    if "cannot start any token" in problem.reason and problem.line:
        line = path.read_text("utf-8-sig").splitlines()[problem.line - 1]
        if found := _UNQUOTED.search(line):
            return replace(problem, hint=f'put it in quotes: "{found[1]}"')
    return problem


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


def _renumbered(document: Section, problem: Problem) -> Problem:
    """Return the problem with its group's number in the file where it stands: a parent's groups come before."""
    for key in _JOINED:
        found = re.match(rf"{key}\[(\d+)\]", problem.key)
        items = document.get(key)
        if found and isinstance(items, Items):
            number = int(found[1])
            own = sum(place.file == items.places[number].file for place in items.places[:number])
            return replace(problem, key=dotted((key, own)) + problem.key[found.end() :])
    return problem


def _hinted(problem: Problem) -> Problem:
    """Return the problem with the way out where only its kind says it."""
    reason, _, given = problem.reason.partition(", not ")
    if reason.startswith("keys should be strings"):
        number = given.strip("'") or problem.key.rpartition("[")[2].rstrip("]")
        return replace(problem, reason=f"{number} is no key", hint="a number has a point, no comma: 0.1")
    if reason == "must be a list" and given and given not in ("a mapping", "empty"):
        return replace(problem, hint=f"write [{given}]")
    if problem.hint:
        return problem
    if reason == "is missing":
        return replace(problem, hint=f"add `{problem.key.rpartition('.')[2]}: …`")
    if reason == "must be a whole number":
        hint = "the number of the state, not its name" if ".enum[" in problem.key else "digits without a point: 10"
        return replace(problem, hint=hint)
    if reason in ("must be a number", "must be a finite number"):
        comma = re.fullmatch(r"'(-?\d+),(\d+)'", given)
        return replace(problem, hint=f"write {comma[1]}.{comma[2]}" if comma else "digits, with a point: 0.1")
    return problem


#: a file that was written less than this before may not be whole. Units: s
_SETTLED_S = 1.0
#: in place of a protocol, of a profile that is wrong
_WRONG = "?"


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of one name: the files as they were when it was last read, and what came of them."""

    files: Files
    protocol: str
    profile: Profile | None = None


class Library:
    """The profiles of these folders, each read once: a site's thousands of targets share a handful."""

    def __init__(self, folders: Sequence[Path] = (PACKAGED,), clock: Callable[[], float] = time.time) -> None:
        """`clock` gives the time of the files' own clock. Units: s since the epoch."""
        self._folders = folders
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._names = frozenset(list_profiles(folders))

    def profile(self, name: str) -> Profile:
        """Return the profile `name`; raise ConfigError as `load_profile` does."""
        entry = self._entries.get(name)
        if entry is None or entry.profile is None:
            files: Files = {}
            profile = _load(name, self._folders, files)
            self._entries[name] = _Entry(files, profile.protocol, profile)
            return profile
        return entry.profile

    def path(self, name: str) -> Path:
        """Return the file of the profile `name`.

        Raises:
            ConfigError: there is none, or none any more.
        """
        path = _find(name, self._folders)
        if path is None:
            raise _absent(name, self._folders)
        return path

    def of_protocol(self, protocol: str) -> list[Profile]:
        """Return all profiles that speak `protocol`, by name; of the others no more than the protocol is read.

        Those that `refresh` found wrong are left out.
        """
        names = [name for name in list_profiles(self._folders) if self._protocol(name) in (protocol, "")]
        return [found for name in names if (found := self.profile(name)).protocol == protocol]

    def refresh(self) -> frozenset[str]:
        """Look at the files again; return the names of the profiles that are other ones than before, or new.

        What became wrong, or is gone, is logged once, and what was read of it before stays in force. A file that was
        written just before is left for the next look: half of it may be a profile too.
        """
        names = frozenset(list_profiles(self._folders))
        looked_at = {*(names - self._names), *self._entries}
        young = {name for name in looked_at if self._is_young(name)}
        self._names = names - (young - self._entries.keys())
        return frozenset(name for name in looked_at - young if self._is_other(name))

    def _is_young(self, name: str) -> bool:
        entry = self._entries.get(name)
        paths = entry.files if entry else [folder / f"{name}.yaml" for folder in self._folders]
        written = (found[0] / 1e9 for path in paths if (found := _version(path)))
        return any(0.0 <= self._clock() - each < _SETTLED_S for each in written)

    def _is_other(self, name: str) -> bool:
        entry = self._entries.get(name)
        if entry is not None and all(self._is_as_read(path, version) for path, version in entry.files.items()):
            return False
        before = entry.profile if entry else None
        if entry is not None and before is None and entry.protocol != _WRONG:
            del self._entries[name]  # nobody uses it: it is read again when somebody asks
            return False
        files: Files = {}
        try:
            profile = _load(name, self._folders, files)
        except ConfigError as error:
            files = files or {folder / f"{name}.yaml": None for folder in self._folders}
            self._entries[name] = _Entry(files, before.protocol if before else _WRONG, before)
            then = "is not used" if before is None else "what was read of it before stays in force"
            logger.error("profile %s: %s:\n%s", name, then, error)
            return False
        self._entries[name] = _Entry(files, profile.protocol, profile)
        return profile != before

    def _is_as_read(self, path: Path, version: Version) -> bool:
        return _version(path) == version and (version is None or _find(path.stem, self._folders) == path)

    def _protocol(self, name: str) -> str:
        """Return the protocol that a profile speaks, "" where its file does not tell."""
        entry = self._entries.get(name)  # `refresh` runs in another thread
        if entry is None:
            files: Files = {}
            try:
                protocol = str(_read(self.path(name), self._folders, files).get("protocol", ""))
            except ConfigError:
                return ""
            entry = self._entries[name] = _Entry(files, protocol)
        return entry.protocol
