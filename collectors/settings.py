"""The section `collectors:` of site.yaml, and the targets that it and the inventory make together."""

import socket
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from collectors.address import TargetUrl, parse_target_url
from collectors.collector import Target
from collectors.inventory import Inventory
from collectors.profile import PACKAGED, Profile, list_profiles, load_profile
from storage.config import ConfigError, Duration, InvalidValueError, RelativePath, Secret, parse_duration, suggest
from storage.document import FromOutside

__all__ = ["CollectorsSettings", "TargetSettings", "TargetUrl", "build_targets", "parse_target_url"]

#: where neither the target nor its profile says otherwise
INTERVAL = timedelta(seconds=5)
INTERVALS = (timedelta(milliseconds=500), timedelta(hours=1))
TIMEOUTS = (timedelta(milliseconds=100), timedelta(minutes=5))


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
    return url


Name = Annotated[str, AfterValidator(_one_word)]
Interval = Annotated[Duration, _between(*INTERVALS, "500ms to 1h")]
Timeout = Annotated[Duration, _between(*TIMEOUTS, "100ms to 5m")]


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

    @model_validator(mode="after")
    def _once(self) -> "TargetSettings":
        inside = {"username": self.url.username, "password": self.url.password, "profile": self.url.profile}
        for key, value in inside.items():
            if value and getattr(self, key) is not None:
                raise InvalidValueError(f"{key} stands in the URL and beside it", "keep one of them", (key,))
        return self


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
            yield from _profile_mistakes(target, protocols, at)

    def _protocols(self) -> dict[str, str]:
        """Return the protocol of each profile that a target names, "" where the profile itself is wrong."""
        wanted = {target.profile or target.url.profile for target in self.targets}
        found = dict.fromkeys(list_profiles(self.folders), "")
        for name in wanted & found.keys():
            try:
                found[str(name)] = load_profile(str(name), self.folders).protocol
            except ConfigError:
                continue  # told by build_targets, with the lines of the profile's own file
        return found


def _profile_mistakes(
    target: TargetSettings, protocols: Mapping[str, str], at: tuple[object, ...]
) -> Iterator[InvalidValueError]:
    name, protocol = target.profile or target.url.profile, target.url.protocol
    if name is None:
        return
    at = (*at, "profile" if target.profile else "url")
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
    url = target.url
    profile = target.profile or url.profile
    cadence = parse_duration(profiles[profile].poll.fast) if profile else INTERVAL
    return Target(
        name=target.name,
        protocol=url.protocol,
        address=url.address,
        profile=profile,
        interval=target.interval or cadence,
        timeout=target.timeout,
        username=url.username if target.username is None else target.username,
        password=url.password or target.password,
        priv_password=target.priv_password,
        options=url.options,
        tags={**settings.tags, **inventory.locate(target.name)},
    )
