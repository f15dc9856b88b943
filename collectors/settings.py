"""The section `collectors:` of site.yaml, and the targets that it and the inventory make together."""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from collectors.address import PATHS, TargetUrl, add_options, check_option, parse_target_url
from collectors.collector import Target
from collectors.inventory import Inventory
from collectors.profile import PACKAGED, Profile, list_profiles, load_profile
from collectors.timing import cadence
from storage.config import ConfigError, Duration, InvalidValueError, RelativePath, Secret, suggest
from storage.document import FromOutside

__all__ = [
    "CollectorsSettings",
    "DiscoverySettings",
    "HttpList",
    "TargetSettings",
    "TargetUrl",
    "TrapSettings",
    "build_targets",
    "parse_target_url",
]

INTERVALS = (timedelta(milliseconds=500), timedelta(hours=1))
TIMEOUTS = (timedelta(milliseconds=100), timedelta(minutes=5))
REFRESHES = (timedelta(seconds=1), timedelta(hours=1))
#: what a file of file_sd may be called, as in Prometheus
LISTS = (".json", ".yml", ".yaml")


def _between(shortest: timedelta, longest: timedelta, allowed: str) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not shortest <= value <= longest:
            raise InvalidValueError(f"{value.total_seconds():g}s is out of range", f"allowed: {allowed}")
        if value % timedelta(milliseconds=1):
            raise InvalidValueError("is finer than a millisecond", "time stamps lie on whole milliseconds")
        return value

    return AfterValidator(check)


def _one_word(value: str) -> str:
    if not value or len(value) > 128 or not value.isprintable() or any(c.isspace() or c in '"\\,=' for c in value):
        raise InvalidValueError(f"{value!r} is no name", 'a word of at most 128 letters without , = " \\ and spaces')
    return value


def _url(value: Any, info: ValidationInfo) -> TargetUrl:
    if isinstance(value, TargetUrl):
        return value
    if not isinstance(value, str):
        raise InvalidValueError("must be text", 'for example "snmp://public@10.0.0.1:161"')
    url = parse_target_url(value)
    plain = (info.context or {}).get("secrets_from_outside") and not isinstance(value, FromOutside)
    if url.password is not None and url.password.reveal() and plain:
        hint = "use `password:` with ${NAME} or file:/path, or ${NAME} in the URL"
        raise InvalidValueError("a secret stands here in plain text", hint)
    return replace(url, options=_from_folder(url.options, info))


def _page_url(value: Any, info: ValidationInfo) -> TargetUrl:
    url = _url(value, info)
    if url.protocol != "exposition":
        raise InvalidValueError(f"{url.protocol} is no protocol for a list", "write http://host:port/path or https://")
    return url


def _texts(value: Any) -> Any:
    """Return the switches with numbers as the text that they are written as; what else is wrong pydantic says."""
    if not isinstance(value, Mapping):
        return value
    for name, each in value.items():
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise InvalidValueError("must be text", f'write {name}: "value", for example tls: on', (name,))
    return {str(name): str(each) for name, each in value.items()}


def _from_folder(options: Mapping[str, str], info: ValidationInfo) -> dict[str, str]:
    """Return the switches with files that start at the folder of the file in which they stand."""
    folder = (info.context or {}).get("folder")
    return {
        name: str(folder / Path(value).expanduser()) if folder and value and name in PATHS else value
        for name, value in options.items()
    }


def _page_options(options: dict[str, str]) -> dict[str, str]:
    for name, value in options.items():
        try:
            check_option("exposition", name, value)
        except InvalidValueError as error:
            raise InvalidValueError(error.reason, error.hint, (name,)) from error
    return options


Name = Annotated[str, AfterValidator(_one_word)]
Interval = Annotated[Duration, _between(*INTERVALS, "500ms to 1h")]
Timeout = Annotated[Duration, _between(*TIMEOUTS, "100ms to 5m")]
Refresh = Annotated[Duration, _between(*REFRESHES, "1s to 1h")]
Options = Annotated[dict[str, str], BeforeValidator(_texts), AfterValidator(_from_folder)]
PageOptions = Annotated[Options, AfterValidator(_page_options)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class TargetSettings(_Strict):
    """One device to poll."""

    #: the inventory's id of it
    name: Name
    url: Annotated[TargetUrl, BeforeValidator(_url)]
    #: None: the URL's, else the device is asked what it is
    profile: str | None = None
    #: None: the profile's own cadence, else 5 s
    interval: Interval | None = None
    timeout: Timeout = timedelta(seconds=3)
    username: str | None = None
    password: Secret | None = None
    #: SNMPv3 privacy password
    priv_password: Secret | None = None
    #: switches of the protocol beside those in the URL
    options: Options = Field(default_factory=dict)
    #: the inventory's id of the host that it speaks of, where its own name is not in the inventory
    host: Name | None = None

    @property
    def full_url(self) -> TargetUrl:
        """Return the URL with all switches; raise InvalidValueError where they do not fit it or each other."""
        return add_options(self.url, self.options, self.username or "")

    @model_validator(mode="after")
    def _once(self) -> "TargetSettings":
        inside = {"username": self.url.username, "password": self.url.password, "profile": self.url.profile}
        for key, value in inside.items():
            if value and getattr(self, key) is not None:
                raise InvalidValueError(f"{key} stands in the URL and beside it", "keep one of them", (key,))
        try:
            self.full_url  # noqa: B018 - it raises
        except InvalidValueError as error:
            raise InvalidValueError(error.reason, error.hint, ("options", *error.at)) from error
        return self


class HttpList(_Strict):
    """Where a list of targets is served: Prometheus' http_sd."""

    url: Annotated[TargetUrl, BeforeValidator(_page_url)]
    #: a password alone is a bearer token
    username: str | None = None
    password: Secret | None = None
    options: PageOptions = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _once(self) -> "HttpList":
        for key, inside in (("username", self.url.username), ("password", self.url.password)):
            if inside and getattr(self, key) is not None:
                raise InvalidValueError(f"{key} stands in the URL and beside it", "keep one of them", (key,))
        return self


class DiscoverySettings(_Strict):
    """A list of targets that others keep, and what holds for each target in it."""

    http_sd: HttpList | None = None
    #: JSON or YAML; the last part may hold *
    file_sd: RelativePath | None = None
    refresh: Refresh = timedelta(seconds=60)
    #: None: each target is asked what it is
    profile: str | None = None
    #: None: the profile's own cadence, else 5 s
    interval: Interval | None = None
    timeout: Timeout = timedelta(seconds=3)
    username: str | None = None
    password: Secret | None = None
    options: PageOptions = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> "DiscoverySettings":
        if (self.http_sd is None) == (self.file_sd is None):
            raise InvalidValueError("names one list: http_sd or file_sd", "write - http_sd: URL, or - file_sd: FILE")
        path = self.file_sd
        if path is not None and (path.suffix not in LISTS or any("*" in part for part in path.parent.parts)):
            hint = f"a file ends in {', '.join(LISTS)}, and * stands in its name alone"
            raise InvalidValueError(f"{str(path)!r} is no list of targets", hint, ("file_sd",))
        return self


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host):
        raise InvalidValueError(f"{value!r} is no HOST:PORT", 'for example "0.0.0.0:1162", or "[::]:1162"')
    if not port.isdecimal() or int(port) > 65_535:
        raise InvalidValueError(f"{port!r} is no port", "0 to 65535; 0 picks one")
    return value


class TrapSettings(_Strict):
    """Where SNMP traps and informs of the targets are heard."""

    #: HOST:PORT of UDP; from 1024 on no rights are needed
    listen: Annotated[str, AfterValidator(_listen)] = "0.0.0.0:1162"

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class CollectorsSettings(_Strict):
    """The section `collectors:`."""

    #: tag `site` of every point
    site: Name
    #: tag `source`: the collector's name
    source: Name = Field(default_factory=socket.gethostname)
    #: marks every point as simulated
    synthetic: bool = False
    #: a relative path starts at the folder of site.yaml
    inventory: RelativePath | None = None
    #: the site's own profiles, which win over the packaged ones
    profiles: RelativePath | None = None
    #: polls in flight at once
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 256
    targets: tuple[TargetSettings, ...] = ()
    #: lists of further targets, kept by others
    discovery: tuple[DiscoverySettings, ...] = ()
    #: None: no notifications are heard
    traps: TrapSettings | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return where profiles are found, in order."""
        return (self.profiles, PACKAGED) if self.profiles else (PACKAGED,)

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of every point: site, source and, where simulated, synthetic."""
        return {"site": self.site, "source": self.source} | ({"synthetic": "true"} if self.synthetic else {})

    @model_validator(mode="after")
    def _fits(self) -> "CollectorsSettings":
        mistakes = list(self._mistakes())
        if mistakes:
            first, *others = mistakes
            raise InvalidValueError(first.reason, first.hint, first.at, others)
        return self

    def _mistakes(self) -> Iterator[InvalidValueError]:
        if self.profiles and not self.profiles.is_dir():
            reason = f"{str(self.profiles)!r} is no folder"
            yield InvalidValueError(reason, "make it, or leave the key out", ("profiles",))
        first: dict[str, int] = {}
        protocols = self._protocols()
        for number, target in enumerate(self.targets):
            at = ("targets", number)
            if first.setdefault(target.name, number) != number:
                reason = f"{target.name!r} is the name of targets[{first[target.name]}] already"
                yield InvalidValueError(reason, "give each target a name of its own", (*at, "name"))
            name, key = (target.profile, "profile") if target.profile else (target.url.profile, "url")
            yield from _profile_mistakes(name, target.url.protocol, protocols, (*at, key))
        for number, found in enumerate(self.discovery):
            yield from _profile_mistakes(found.profile, "exposition", protocols, ("discovery", number, "profile"))

    def _protocols(self) -> dict[str, str]:
        """Return the protocol of each profile that a target names, "" where the profile itself is wrong."""
        wanted = {target.profile or target.url.profile for target in self.targets}
        wanted |= {found.profile for found in self.discovery}
        found = dict.fromkeys(list_profiles(self.folders), "")
        for name in wanted & found.keys():
            try:
                found[str(name)] = load_profile(str(name), self.folders).protocol
            except ConfigError:
                continue  # told by build_targets, with the lines of the profile's own file
        return found


def _profile_mistakes(
    name: str | None, protocol: str, protocols: Mapping[str, str], at: tuple[object, ...]
) -> Iterator[InvalidValueError]:
    if name is None:
        return
    if protocol == "nvml":
        yield InvalidValueError("NVML needs no profile", "leave `profile` out", at)
    elif name not in protocols:
        yield InvalidValueError(f"there is no profile {name!r}", suggest(name, protocols), at)
    elif protocols[name] not in ("", protocol):
        reason = f"the profile {name!r} speaks {protocols[name]}, the URL {protocol}"
        yield InvalidValueError(reason, "change one of them", at)


def build_targets(settings: CollectorsSettings, inventory: Inventory) -> list[Target]:
    """Return the targets with the site's tags and what the inventory knows of their place.

    Raises:
        ConfigError: a profile is wrong.
    """
    names = {target.profile or target.url.profile for target in settings.targets}
    profiles = {name: load_profile(name, settings.folders) for name in sorted(filter(None, names))}
    return [_build_target(target, settings, inventory, profiles) for target in settings.targets]


def _build_target(
    target: TargetSettings, settings: CollectorsSettings, inventory: Inventory, profiles: Mapping[str, Profile]
) -> Target:
    url = target.full_url
    profile = target.profile or url.profile
    return Target(
        name=target.name,
        protocol=url.protocol,
        address=url.address,
        profile=profile,
        interval=target.interval or cadence(profiles[profile] if profile else None),
        follows_profile=target.interval is None,
        timeout=target.timeout,
        username=url.username if target.username is None else target.username,
        password=url.password or target.password,
        priv_password=target.priv_password,
        options=url.options,
        tags={**settings.tags, **place_of(inventory, target.name, target.host or "")},
    )


def place_of(inventory: Inventory, name: str, host: str) -> dict[str, str]:
    """Return the tags row, rack and host of a target: where its name stands, else where the host named stands."""
    named = {"host": host, **inventory.locate(host)} if host else {}
    return {**named, **inventory.locate(name)}
