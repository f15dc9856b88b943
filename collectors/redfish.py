"""Redfish: coolant distribution units, power shelves and rack PDUs over HTTP, read only.

How a profile with `protocol: redfish` is read:

each:
    {uri: "/redfish/v1/ThermalEquipment/CDUs/*/Pumps/*", as: [cdu, pump]}
    Each `*` stands for the members of the collection before it; the row variables of `as` hold the last part of their
    paths, in order. Collections are read at the first poll and again each `poll.slow`; one that the device lacks, or
    whose `Members` is null, has no rows.
at:
    "SupplyTemperatureCelsius.Reading", "CellVoltages[0].Reading": properties from the resource down, list items by
    number. Of several, the first that is there and not null. All points of one resource share one GET.

    Most properties are optional. One that the resource does not have is none of this device's; one that is null has no
    value now and is missing.
match:
    {root_has: ThermalEquipment}: the service root has this property.

A resource that did not change is confirmed by ETag (304) and not sent again. Options of the target: `tls` on (default),
off, insecure (no check of the certificate).

Source: DMTF DSP0266 1.20 and DSP2046 2025.4.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collectors.collector import CollectError, Collector, DeviceTimeoutError, PollResult, ProtocolError, Target
from collectors.decode import Batch
from collectors.profile import Group, PointSpec, Profile, Raw
from collectors.redfish_client import ROOT, NoResourceError, Resource, Session
from storage.config import ConfigError, Problem, parse_duration

#: part of the target's time-out that a poll uses, so that what came is still handed on
_BUDGET = 0.9
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """One resource as one group sees it."""

    group: Group
    uri: str
    variables: Mapping[str, str]


def parse_path(text: str) -> Path:
    """Return the steps of "Voltages[0].Reading": names, and numbers of list items.

    Raises:
        ValueError: not such a path.
    """
    steps = tuple(name or int(number) for name, number in _STEP.findall(text))
    written = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    if not steps or written != f".{text}":
        raise ValueError(f"{text!r} is no path like SupplyTemperatureCelsius.Reading or Voltages[0].Reading")
    return steps


def look_up(resource: Resource, path: Path) -> Raw | None:
    """Return the value at this path, or None where it is null, an object or a list.

    Raises:
        KeyError: the resource has no such property.
    """
    here: object = resource
    for step in path:
        if here is None:
            return None
        try:
            here = here[step]  # type: ignore[index]
        except (TypeError, IndexError) as e:
            raise KeyError(step) from e
    return here if isinstance(here, int | float | str) else None


class RedfishCollector:
    """Poll the resources of one Redfish service."""

    def __init__(self, target: Target, profile: Profile) -> None:
        self._target = target
        self._profile = profile
        self._paths = _check(profile)
        #: a sum must not be made without one of its parts, whatever the reason
        self._summed = {rule.to for rule in profile.derived if rule.sum is not None}
        self._slow_s = parse_duration(profile.poll.slow).total_seconds()
        self._session = Session(target)
        self._rows: Sequence[_Row] = ()
        self._next_slow = 0.0

    async def poll(self, time_ns: int) -> PollResult:
        """Read each resource once and return the points; a resource that fails or is late is missing.

        Raises:
            CollectError: no resource could be read.
        """
        now = asyncio.get_running_loop().time()
        deadline = now + self._target.timeout.total_seconds() * _BUDGET
        is_slow = now >= self._next_slow
        if is_slow:
            self._rows = await self._find_rows(deadline)
            self._next_slow = now + self._slow_s
        wanted = [(row, self._specs(row.group, is_slow)) for row in self._rows]
        resources = await self._read({row.uri for row, specs in wanted if specs}, deadline)
        errors = [answer for answer in resources.values() if isinstance(answer, CollectError)]
        if len(errors) == len(resources):
            raise errors[0]
        batch = Batch(self._target, self._profile)
        for row, specs in wanted:
            for spec in specs:
                self._take(batch, row, spec, resources[row.uri])
        return batch.finish(time_ns)

    async def aclose(self) -> None:
        """Log out and close the connections."""
        await self._session.close()

    def _specs(self, group: Group, is_slow: bool) -> Sequence[PointSpec]:
        return [spec for spec in group.points if is_slow or spec.every == "fast"]

    def _take(self, batch: Batch, row: _Row, spec: PointSpec, answer: Resource | Exception) -> None:
        if isinstance(answer, CollectError):
            batch.miss(str(answer), row.group, spec, row.variables)
            return
        is_known = spec.to in self._summed
        resource = {} if isinstance(answer, Exception) else answer
        for path in self._paths[id(spec)]:
            try:
                raw = look_up(resource, path)
            except KeyError:
                continue
            if raw is not None:
                batch.add(row.group, spec, raw, row.variables)
                return
            is_known = True
        if is_known:
            batch.miss(f"{row.uri} {' or '.join(spec.addresses)}: no value", row.group, spec, row.variables)

    async def _read(self, uris: set[str], deadline: float) -> dict[str, Resource | Exception]:
        """Return each resource, or why it did not come."""
        tasks = {uri: asyncio.ensure_future(self._session.get(uri)) for uri in sorted(uris)}
        if not tasks:
            raise ProtocolError(f"{self._where}: has nothing that profile {self._profile.profile} asks for")
        try:
            await asyncio.wait(tasks.values(), timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return {uri: self._outcome(uri, task) for uri, task in tasks.items()}

    def _outcome(self, uri: str, task: "asyncio.Future[Resource]") -> Resource | Exception:
        if task.cancelled():
            return DeviceTimeoutError(f"{self._where}: GET {uri}: timeout")
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, CollectError | NoResourceError):
            return error
        raise error

    async def _find_rows(self, deadline: float) -> Sequence[_Row]:
        try:
            async with asyncio.timeout_at(deadline):
                members: dict[str, Sequence[str]] = {}
                return [row for group in self._profile.groups for row in await self._expand(group, members)]
        except TimeoutError as e:
            raise DeviceTimeoutError(f"{self._where}: reading the collections: timeout") from e

    async def _expand(self, group: Group, members: dict[str, Sequence[str]]) -> Sequence[_Row]:
        names = group.each.get("as", ())
        found: list[tuple[str, tuple[str, ...]]] = [("", ())]
        for part in _parts(str(group.each["uri"])):
            if part != "*":
                found = [(uri + part, taken) for uri, taken in found]
                continue
            deeper = []
            for uri, taken in found:
                if uri not in members:
                    members[uri] = await self._members(uri)
                deeper += [(member, (*taken, member.rsplit("/", 1)[-1])) for member in members[uri]]
            found = deeper
        return [_Row(group, uri, dict(zip(names, taken, strict=True))) for uri, taken in found]

    async def _members(self, uri: str) -> Sequence[str]:
        try:
            collection = await self._session.get(uri)
        except NoResourceError:
            return ()
        links = collection.get("Members") or ()
        paths = [link.get("@odata.id") for link in links if isinstance(link, Mapping)]
        return [path.rstrip("/") for path in paths if isinstance(path, str)]

    @property
    def _where(self) -> str:
        return f"{self._target.name} {self._target.address}"


def _parts(uri: str) -> Sequence[str]:
    """Return a path with wildcards as "/redfish/v1/CDUs", "*", "/Pumps", "*"."""
    return [part.rstrip("/") or "/" for part in re.split(r"/(?=\*)|(?<=\*)", uri) if part]


def _check(profile: Profile) -> Mapping[int, Sequence[Path]]:
    """Return the paths of each point, by its identity."""
    problems: list[Problem] = []
    paths: dict[int, Sequence[Path]] = {}
    for number, group in enumerate(profile.groups):
        try:
            uri, names = str(group.each["uri"]), list(group.each.get("as", ()))
            if uri.count("*") != len(names) or set(group.each) > {"uri", "as"}:
                raise ValueError(f"each: needs a uri, and in `as` one name per * of {uri!r}")
            paths |= {id(spec): [parse_path(text) for text in spec.addresses] for spec in group.points}
        except (KeyError, ValueError) as e:
            problems.append(Problem(f"{profile.profile}.yaml", 0, f"groups[{number}]", str(e)))
    if problems:
        raise ConfigError(problems)
    return paths


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one Redfish service; nothing is opened yet.

    Raises:
        ConfigError: URIs or paths in the profile that cannot be.
    """
    if profile is None:
        raise ValueError(f"{target.name}: a Redfish target needs a profile")
    return RedfishCollector(target, profile)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Return the first profile whose `match` the service root fits.

    Raises:
        CollectError: no answer, or none fits; the message names the profiles tried.
    """
    session = Session(target)
    try:
        root = await session.get(ROOT)
    except NoResourceError as e:
        raise ProtocolError(f"{target.name} {target.address}: no Redfish service: {e}") from e
    finally:
        await session.close()
    for profile in candidates:
        wanted = profile.match.get("root_has")
        if wanted is not None and str(wanted) in root:
            return profile
    names = ", ".join(profile.profile for profile in candidates)
    raise CollectError(f"{target.name} {target.address}: fits none of the profiles {names}; name one in the target")
