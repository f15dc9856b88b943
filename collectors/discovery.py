"""Targets from lists that others keep: Prometheus' service discovery, `http_sd` and `file_sd`.

A list is `[{"targets": ["host:port"], "labels": {"name": "value"}}]`, JSON over HTTP, JSON or YAML in files. The labels
`__scheme__` (http), `__metrics_path__` (/metrics) and `__param_<name>` make the URL, those in `TAGS` become tags, all
others are left out. A target is named `host:port`, with its path where that is not /metrics and its parameters.

A list that cannot be had leaves its targets as they are; that is logged once, and once when it is back. A target that
is wrong in itself is left out and logged once. An address that is polled already is not polled twice, and one name is
used once: targets of the site's file come first, then the lists in their order.

Source: prometheus.io/docs/prometheus/latest/http_sd and .../configuration/configuration/#file_sd_config.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import yaml

from collectors.address import parse_target_url
from collectors.collector import CollectError, Target
from collectors.inventory import Inventory
from collectors.profile import Library
from collectors.settings import CollectorsSettings, DiscoverySettings, HttpList, place_of
from collectors.timing import cadence
from storage.config import InvalidValueError

if TYPE_CHECKING:
    from collectors.exposition.http import Client

logger = logging.getLogger(__name__)

#: labels that become tags of the target's points
TAGS = ("rack", "row", "host", "deployment", "namespace", "pod", "job", "tenant")
#: time that a list may take to come. Units: s
LIST_TIMEOUT = timedelta(seconds=10)
#: a longer file is refused. Units: bytes
MAX_BYTES = 32 * 2**20
#: a name with more letters is refused, as in site.yaml
LONGEST_NAME = 128
#: levels of brackets in a YAML file; a list has four
_DEEPEST = 10
_NO_NAME = re.compile(r'[\s,="\\]')
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Entry:
    """One address of a list with its labels, and where in the list it stands."""

    address: str
    labels: Mapping[str, str]
    where: str


class TargetList:
    """One list, and the targets that it named when it could last be had."""

    def __init__(self, source: DiscoverySettings, make: Callable[[Entry], Target]) -> None:
        self.name = source.http_sd.url.address if source.http_sd else str(source.file_sd)
        self.refresh = source.refresh
        self._source = source
        self._make = make
        #: file or URL -> what it said last
        self._entries: dict[str, list[Entry]] = {}
        #: files that cannot be read, targets that are left out
        self._lost: set[str] = set()
        self._wrong: set[str] = set()

    async def look(self) -> list[Target]:
        """Return the targets that the list names; what cannot be had says what it said before."""
        if self._source.http_sd is not None:
            await self._read(self.name, _fetch(self._source.http_sd))
        else:
            await self._look_at_files(Path(self.name))
        wrong: dict[str, str] = {}
        # ten thousand targets take half a second to make, in which polls would wait
        targets = await asyncio.to_thread(lambda: [self._target(entry, wrong) for entry in self._all()])
        _tell_new(wrong, self._wrong)
        return [target for target in targets if target is not None]

    async def _look_at_files(self, pattern: Path) -> None:
        several = "*" in pattern.name
        paths = (
            sorted(await asyncio.to_thread(lambda: list(pattern.parent.glob(pattern.name)))) if several else [pattern]
        )
        for gone in self._entries.keys() - {str(path) for path in paths}:
            del self._entries[gone]
        for path in paths:
            await self._read(str(path), asyncio.to_thread(_read_file, path))

    async def _read(self, name: str, reading: Awaitable[list[Entry]]) -> None:
        try:
            self._entries[name] = await reading
        except CollectError as error:
            if name not in self._lost:
                logger.warning("%s; its %d targets stay as they are", error, len(self._entries.get(name, ())))
            self._lost.add(name)
        else:
            if name in self._lost:
                logger.info("%s: can be read again, %d targets", name, len(self._entries[name]))
            self._lost.discard(name)

    def _all(self) -> Iterator[Entry]:
        for name in sorted(self._entries):
            yield from self._entries[name]

    def _target(self, entry: Entry, wrong: dict[str, str]) -> Target | None:
        try:
            return self._make(entry)
        except InvalidValueError as error:
            what = f"{entry.address!r}: {error.reason}"
            wrong[what] = f"{entry.where}: {what}; it is left out ({error.hint})"
            return None


def _tell_new(wrong: Mapping[str, str], known: set[str]) -> None:
    """Log what was not wrong the last time, and keep what is wrong this time."""
    for what in wrong.keys() - known:
        logger.warning("%s", wrong[what])
    known.clear()
    known.update(wrong)


class Lists:
    """All lists of a site, and the targets that they name together beside the fixed ones."""

    def __init__(self, lists: Sequence[TargetList], fixed: Sequence[Target]) -> None:
        self.lists = tuple(lists)
        self._names = {target.name: _page(target) for target in fixed}
        self._pages = set(self._names.values())
        self._found: dict[TargetList, list[Target]] = {}
        self._wrong: set[str] = set()

    async def look(self, which: TargetList) -> None:
        """Look at one list again."""
        self._found[which] = await which.look()

    def targets(self) -> list[Target]:
        """Return the targets of all lists as they were last seen, without those that are fixed or named twice."""
        names, pages = dict(self._names), set(self._pages)
        chosen: list[Target] = []
        wrong: dict[str, str] = {}
        for target in (t for each in self.lists for t in self._found.get(each, ())):
            page = _page(target)
            if page in pages or _server(page) in pages:
                continue
            if target.name in names:
                what = f"{target.name} {target.address}"
                wrong[what] = f"{what}: is left out: a target of that name has another address"
                continue
            names[target.name] = page
            pages.add(page)
            chosen.append(target)
        _tell_new(wrong, self._wrong)
        return chosen


def build_lists(settings: CollectorsSettings, inventory: Inventory, library: Library) -> list[TargetList]:
    """Return the site's lists of targets, with the site's tags and what the inventory knows of each target's place.

    Raises:
        ConfigError: a profile is wrong.
    """
    return [TargetList(source, _maker(source, settings, inventory, library)) for source in settings.discovery]


def _maker(
    source: DiscoverySettings, settings: CollectorsSettings, inventory: Inventory, library: Library
) -> Callable[[Entry], Target]:
    interval = source.interval or cadence(library.profile(source.profile) if source.profile else None)
    # one mapping for all: a site may have ten thousand of them
    options, common = dict(source.options), settings.tags

    def make(entry: Entry) -> Target:
        url, name = _url(entry), _name(entry)
        labels = {key: value for key in TAGS if (value := entry.labels.get(key)) and value.isprintable()}
        return Target(
            name=name,
            protocol="exposition",
            address=parse_target_url(url).address,
            profile=source.profile,
            interval=interval,
            follows_profile=source.interval is None,
            timeout=source.timeout,
            username=source.username or "",
            password=source.password,
            options=options,
            tags={**labels, **place_of(inventory, name, labels.get("host", "")), **common},
        )

    return make


def _url(entry: Entry) -> str:
    if re.search(r"[/@?#\s]", entry.address) or not entry.address:
        raise InvalidValueError("is no host:port", 'write "10.0.0.1:9400"; scheme and path are labels')
    scheme = entry.labels.get("__scheme__") or "http"
    if scheme not in _PORTS:
        raise InvalidValueError(f"__scheme__ {scheme!r} is not allowed", "allowed: http, https")
    query = urlencode(_parameters(entry))
    return f"{scheme}://{entry.address}{_path(entry)}" + (f"?{query}" if query else "")


def _path(entry: Entry) -> str:
    path = entry.labels.get("__metrics_path__") or "/metrics"
    return quote(path if path.startswith("/") else f"/{path}", safe="/%:@!$&'()*+;~")


def _parameters(entry: Entry) -> dict[str, str]:
    return {
        label.removeprefix("__param_"): value
        for label, value in sorted(entry.labels.items())
        if label.startswith("__param_") and label != "__param_"
    }


def _name(entry: Entry) -> str:
    path = _path(entry)
    parameters = "&".join(f"{name}:{value}" for name, value in _parameters(entry).items())
    name = entry.address + (path if path != "/metrics" else "") + (f"?{parameters}" if parameters else "")
    if len(name) > LONGEST_NAME:
        raise InvalidValueError(f"makes a name of {len(name)} letters", f"at most {LONGEST_NAME}")
    return _NO_NAME.sub("_", name)


def _page(target: Target) -> tuple[object, ...]:
    """Return what two targets share that ask for the same page; its path is "" where the target looks for it."""
    if target.protocol != "exposition":
        return target.protocol, target.address
    parts = urlsplit(target.address)
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], parts.path.rstrip("/"), parts.query


def _server(page: tuple[object, ...]) -> tuple[object, ...]:
    """Return the page of a target that looks for the page of this one's server by itself."""
    return *page[:3], "", ""


def check_source(source: DiscoverySettings) -> None:
    """Raise CollectError for credentials and TLS switches that do not fit each other."""
    if source.http_sd is not None:
        _client(source.http_sd)


def _client(source: HttpList) -> "Client":
    from collectors.exposition.http import Client  # aiohttp, for those who use it

    url = source.url
    asked = Target(
        name="http_sd",
        protocol="exposition",
        address=url.address,
        timeout=LIST_TIMEOUT,
        username=url.username or source.username or "",
        password=url.password or source.password,
        options=source.options,
    )
    return Client(asked)


async def _fetch(source: HttpList) -> list[Entry]:
    client = _client(source)
    try:
        text = await client.get(source.url.address)
    finally:
        await client.aclose()
    return await asyncio.to_thread(_parse, f"http_sd {source.url.address}", text, _from_json)


def _read_file(path: Path) -> list[Entry]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CollectError(f"file_sd {path}: is longer than {MAX_BYTES >> 20} MiB")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise CollectError(f"file_sd {path}: is not UTF-8 text") from e
    except OSError as e:
        raise CollectError(f"file_sd {path}: cannot be read: {e.strerror}") from e
    return _parse(f"file_sd {path}", text, _from_json if path.suffix == ".json" else _from_yaml)


def _parse(where: str, text: str, load: Callable[[str], Any]) -> list[Entry]:
    try:
        return list(_entries(where, load(text)))
    except (ValueError, RecursionError, yaml.YAMLError) as e:
        said = " ".join(str(e).split())
        raise CollectError(f"{where}: {said}") from e


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"is not JSON: {e.msg}, line {e.lineno} column {e.colno}: {_near(e.doc, e.pos)!r}") from e


def _near(text: str, position: int) -> str:
    return text[max(0, position - 10) : position + 30]


def _from_yaml(text: str) -> Any:
    # All scalars are text, as labels are; composing deep nesting recurses in C and could end the process.
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError("is nested too deeply for a list of targets")
    return yaml.load(text, Loader=loader) or []


def _entries(where: str, groups: Any) -> Iterator[Entry]:
    """Yield the addresses of a list.

    Raises:
        ValueError: it is not built as a list of targets; says what stands where.
    """
    for number, group in enumerate(_expect(list, groups, "the whole")):
        at = f"[{number}]"
        keys = _expect(dict, group, at)
        for key in keys.keys() - {"targets", "labels"}:
            raise ValueError(f"{at}: unknown key {key!r}; a group has `targets` and `labels`")
        labels = _expect(dict, keys.get("labels") or {}, f"{at}.labels")
        for name, value in labels.items():
            _expect(str, value, f"{at}.labels.{name}")
        for place, address in enumerate(_expect(list, keys.get("targets") or [], f"{at}.targets")):
            spot = f"{at}.targets[{place}]"
            yield Entry(_expect(str, address, spot).strip(), labels, f"{where}: {spot}")


_KINDS: Mapping[type, str] = {list: "a list", dict: "a mapping", str: "text"}


def _expect(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, kind):
        got = "null" if value is None else _KINDS.get(type(value)) or repr(value)
        raise ValueError(f"{where} must be {_KINDS[kind]}, not {got}")
    return value
