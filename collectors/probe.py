"""One target asked once, outside a site: what `tokenwatt probe` does."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from socket import gethostname
from time import time_ns
from urllib.parse import urlsplit

from collectors.address import add_options, parse_options, parse_target_url
from collectors.collector import CollectError, PollResult, Target
from collectors.inventory import Inventory
from collectors.poller import identify, open_collector
from collectors.profile import Library, Profile
from collectors.settings import CollectorsSettings, TargetSettings, build_targets
from collectors.timing import timed
from storage.config import InvalidValueError, suggest

#: seconds between two looks at what a broker has pushed
_LOOK_S = 0.2
#: seconds that a look at all that a device offers may take: counters are watched for some of their refreshes
_EXAMINE_S = 60.0
#: what ends the field's name in a line of a poll: `inference.awake: no sample`, `gpu.power_watts[gpu=x]=-1: ...`
_PATH = re.compile(r"[:\[=]")


def target_of(url: str) -> Target:
    """Return the target that a URL names, called by its address.

    Raises:
        InvalidValueError: what is wrong with the URL, and its right form.
    """
    parsed = parse_target_url(url)
    name = gethostname() if parsed.protocol == "nvml" else urlsplit(parsed.address).netloc or parsed.address
    # The profile is the caller's to find: here it would be looked up, and refused, as a site's.
    only = TargetSettings(name=name, url=replace(parsed, profile=None))
    target = build_targets(CollectorsSettings(site="probe", targets=(only,)), Inventory())[0]
    return replace(target, profile=parsed.profile)


def find_target(device: str, targets: Sequence[Target], file: Path, options: Sequence[str]) -> Target:
    """Return the target that a name of the site's file, or a URL with these `name=value` switches, means.

    Raises:
        InvalidValueError: there is none of that name, or what is wrong with the URL or a switch.
    """
    if "://" in device:
        full = add_options(parse_target_url(device), parse_options(options))
        return replace(target_of(device), address=full.address, options=full.options)
    found = next((target for target in targets if target.name == device), None)
    if found is None:
        hint = suggest(device, (target.name for target in targets)) or "it has none"
        raise InvalidValueError(f"{file} has no target {device!r}", hint)
    if options:
        raise InvalidValueError(f"the switches of {device!r} stand in {file}", "leave --option out", ("option",))
    return found


async def find_profile(target: Target, library: Library, timeout_s: float) -> Profile | None:
    """Return the target's profile, found by asking the device where it has none; NVML needs none.

    Raises:
        CollectError: it does not answer within `timeout_s`, or no profile fits.
    """
    if target.protocol == "nvml":
        return None
    if target.profile:
        return library.profile(target.profile)
    try:
        async with asyncio.timeout(timeout_s):
            return await identify(target, library)
    except TimeoutError as error:
        raise _late(target, timeout_s) from error


def _is_whole(result: PollResult) -> bool:
    return bool(result.points) and not result.missing


async def probe(
    target: Target, profile: Profile | None, timeout_s: float, enough: Callable[[PollResult], bool] = _is_whole
) -> PollResult:
    """Return the points of one poll; of a broker, what it has pushed until it is `enough` or the time is up.

    Raises:
        CollectError: the device does not answer within `timeout_s`, or answers what the profile cannot be.
    """
    collector = open_collector(target, profile)
    result: PollResult | None = None
    timeout_s = timed(replace(target, timeout=timedelta(seconds=timeout_s)), profile).timeout.total_seconds()
    try:
        async with asyncio.timeout(timeout_s):
            result = await collector.poll(time_ns())
            # A broker's values come when they change: at first there are few, or none.
            while target.protocol == "mqtt" and not enough(result):
                await asyncio.sleep(_LOOK_S)
                result = await collector.poll(time_ns())
    except TimeoutError as error:
        if result is None:
            raise _late(target, timeout_s) from error
    finally:
        await collector.aclose()
    return result


async def ask(
    target: Target, library: Library, timeout_s: float, tell: Callable[[object, str], None]
) -> tuple[PollResult, Profile | None]:
    """Return one poll of a target, and its profile, found by asking where it has none; `tell` is told of both at once.

    Raises:
        CollectError: as `find_profile` and `probe` do.
    """
    profile = await find_profile(target, library, timeout_s)
    if profile is not None:
        tell(f"profile {profile.profile}, {profile.model}", f"{target.name}:")
    result = await probe(target, profile, timeout_s)
    if profile is None:
        return result, None
    for what in not_given(profile, result):
        tell(what, "[dim]not given[/]")
    return replace(result, missing=missing(profile, result)), profile


async def examine(target: Target, profile: Profile | None) -> list[str]:
    """Return what the device offers beyond its points, a line each; nothing where its protocol has no such look.

    What stops it is a line too: the points are there already.
    """
    look = getattr(import_module(f"collectors.{target.protocol}.collector"), "examine", None)
    if look is None or profile is None:
        return []
    try:
        async with asyncio.timeout(_EXAMINE_S):
            return list(await look(timed(target, profile), profile))
    except TimeoutError:
        return [f"not examined: no end of it within {_EXAMINE_S:g} s"]
    except CollectError as error:
        return [f"not examined: {error}"]


def not_given(profile: Profile, result: PollResult) -> list[str]:
    """Return what the profile knows and this device did not give, a line each, with what to set on the device.

    What the poll names as missing or rejected is left out, for it is told already: see `missing`.
    """
    given = {f"{point.measurement}.{name}" for point in result.points for name in point.fields}
    told = {_PATH.split(line, maxsplit=1)[0] for line in (*result.missing, *result.rejected)}
    hints = {path: hint for path, hint in _hints(profile).items() if path not in given and path not in told}
    lacks = {path: why for path, why in profile.lacks.items() if path not in given and path not in told}
    return [f"{path}: {hint}" if hint else path for path, hint in {**hints, **lacks}.items()]


def missing(profile: Profile, result: PollResult) -> list[str]:
    """Return what the poll names as missing, each line with what to set on the device where the profile knows it."""
    hints = _hints(profile)
    found = ((line, hints.get(_PATH.split(line, maxsplit=1)[0])) for line in result.missing)
    return [f"{line}: {hint}" if hint else line for line, hint in found]


def _hints(profile: Profile) -> dict[str, str]:
    """Return each field that the profile reads and its hint, the first that one of its points gives."""
    hints: dict[str, str] = {}
    for spec in (spec for group in profile.groups for spec in group.points):
        hints[spec.to] = hints.get(spec.to) or spec.hint
    return hints


def _late(target: Target, timeout_s: float) -> CollectError:
    return CollectError(f"{target.name} {target.address}: no complete answer in {timeout_s:g} s")
