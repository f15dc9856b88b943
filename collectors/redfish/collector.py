"""Redfish: coolant distribution units, power shelves, rack PDUs, leak detectors and nodes over HTTP, read only.

How a profile with `protocol: redfish` is read:

each:
    {uri: "/redfish/v1/ThermalEquipment/CDUs/*/Pumps/*", as: [cdu, pump]}
    Each `*` stands for the members of the collection before it; the row variables of `as` hold the last part of their
    paths, in order. Collections are read at the first poll and again each `poll.slow`; one that the device lacks, or
    whose `Members` is null, has no rows; one that is broken or hangs costs its own rows alone, where they were not
    known before. An option of the target with the name of a row variable names those that are
    read: `chassis: HGX_*`.
    where: {VoltageType: DC, "Links.ContainedBy": null}: only resources that say so; a list names several values, null
    means absent or null. of: "/redfish/v1/Chassis/{chassis}": another resource is looked at instead, each `poll.slow`.
at:
    "SupplyTemperatureCelsius.Reading", "CellVoltages[0].Reading": properties from the resource down, list items by
    number; `[only]` is the item of a list that has no other; `MetricValues[MetricId={chassis}_Power].MetricValue` the
    last item of a list that says so, as in a metric report. Of several, the first that is there and not null. All
    points of one resource share one GET. "@heat" is the heat of a connector whose device tells density and specific
    heat of its coolant.

    Most properties are optional. One that the resource does not have is none of this device's; one that is null has no
    value now and is missing.
match:
    {root_has: ThermalEquipment, root_lacks: [Systems], has: "/redfish/v1/ThermalEquipment/CDUs/*"}: properties that the
    service root has, has not, and resources of which there is one at least.
transport:
    {max_connections: 2, expand: auto, events: true, variables: {level: [tray, rack]}}, each of which the target's
    option of that name overrides. `max_connections` 1 or 2. `expand` auto: members of a collection are read at once
    where that was seen to work, or off. `events`: server-sent events lead to an immediate look; never with one
    connection. `variables`: row variables of all rows with the values that an option may give them, the default first.

A resource that did not change is confirmed by ETag (304) and not sent again, once an ETag of the service was seen to
change with its resource: some never change. Further option of the target: `tls` on
(default), off, insecure (no check of the certificate).

Source: DMTF DSP0266 1.20 and DSP2046 2025.4.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from collectors.collector import (
    CollectError,
    Collector,
    DeviceTimeoutError,
    PollResult,
    ProtocolError,
    Target,
)
from collectors.decode import Batch
from collectors.profile import Mistake, PointSpec, Profile, Raw, refuse_mistakes
from collectors.redfish.client import Session
from collectors.redfish.coolant import heat_watts, loop_of
from collectors.redfish.each import HEAT, Table, fits, mistakes, read_options, read_tables
from collectors.redfish.events import Hint, Watch
from collectors.redfish.paths import Path, Resource, fill, look_up, parse_path
from collectors.redfish.probe import describe, find_profile
from collectors.redfish.rows import Expander, Finder, Outcome, Row, gather
from storage.config import parse_duration
from storage.point import Point

__all__ = ["RedfishCollector", "check_profile", "examine", "identify", "look_up", "open_collector", "parse_path"]

#: part of the target's time-out that a poll uses, so that what came is still handed on
_BUDGET = 0.9
#: a collection that did not come as it should is read again after that long at the latest
_AGAIN_S = 30.0


class RedfishCollector:
    """Poll the resources of one Redfish service."""

    def __init__(self, target: Target, profile: Profile, wall_ns: Callable[[], int] = time.time_ns) -> None:
        """`wall_ns` tells the epoch nanoseconds at which an event's readings are stamped.

        Raises:
            CollectError: the target's options are wrong.
        """
        self._target = target
        self._profile = profile
        self._wall_ns = wall_ns
        self._options = read_options(target, profile)
        self._tables = profile.once(read_tables)
        self._sums = [(rule.to, rule.sum) for rule in profile.derived if rule.sum is not None]
        self._bare = profile.once(_without_derived)
        self._slow_s = parse_duration(profile.poll.slow).total_seconds()
        self._session = Session(target, self._options.connections)
        self._expander = Expander(self._session, is_off=self._options.expand == "off")
        self._watch = Watch(self._session, self._read_again)
        self._rows: Sequence[Row] = ()
        #: groups whose collections did not come as they should, and why
        self._failed: Sequence[tuple[Table, CollectError]] = ()
        #: cooling loop of a connector's URI
        self._loops: dict[str, Resource] = {}
        self._next_slow = 0.0
        self._push: Callable[[Sequence[Point]], None] | None = None
        self._pushed_ns = 0

    def listen(self, push: Callable[[Sequence[Point]], None]) -> None:
        """Hand what events lead to to `push`, from the first poll that succeeds on."""
        self._push = push

    async def poll(self, time_ns: int) -> PollResult:
        """Read each resource once and return the points; a resource that fails or is late is missing.

        Raises:
            CollectError: no resource could be read.
        """
        now = asyncio.get_running_loop().time()
        deadline = now + self._target.timeout.total_seconds() * _BUDGET
        is_slow = now >= self._next_slow
        collections = await self._find_rows(deadline) if is_slow else {}
        wanted = {row.uri for row in self._rows if row.table.specs(is_slow)}
        resources = await self._read(wanted, deadline, is_slow)
        errors = [answer for answer in resources.values() if isinstance(answer, CollectError)]
        if len(errors) == len(resources):
            # One that says for how long to leave the device alone speaks for all.
            raise max(errors, key=lambda error: error.rest_seconds)
        if is_slow:
            await self._read_loops(resources, deadline)
            await self._expander.learn(collections, resources, deadline)
            self._next_slow = now + (min(self._slow_s, _AGAIN_S) if self._failed else self._slow_s)
        result = self.decode(resources, time_ns, is_slow=is_slow)
        if self._push is not None and self._options.events:
            self._watch.start()
        return replace(result, requests=self._session.requests, reconnects=self._session.reconnects)

    def decode(self, resources: Mapping[str, Outcome], time_ns: int, *, is_slow: bool) -> PollResult:
        """Return the points of resources that were read, and what those that were not leave missing."""
        batch = Batch(self._target, self._profile)
        for row in self._rows:
            self._take_row(batch, row, row.table.specs(is_slow), resources)
        for table, error in self._failed:
            batch.miss(str(error), table.group, row=self._options.variables)
        return batch.finish(time_ns)

    async def aclose(self) -> None:
        """Stop listening, log out and close the connections."""
        await self._watch.close()
        await self._session.close()

    def _take_row(
        self,
        batch: Batch,
        row: Row,
        specs: Sequence[tuple[PointSpec, Sequence[Path]]],
        resources: Mapping[str, Outcome],
    ) -> None:
        answer = resources.get(row.uri)
        if isinstance(answer, Mapping) and not row.table.of and not fits(answer, row.table.where):
            return
        for spec, paths in specs:
            if isinstance(answer, CollectError):
                batch.miss(str(answer), row.table.group, spec, row.variables)
            else:
                self._take(batch, row, spec, paths, answer if isinstance(answer, Mapping) else {})

    def _take(self, batch: Batch, row: Row, spec: PointSpec, paths: Sequence[Path], resource: Resource) -> None:
        is_null = False
        for path in paths:
            try:
                raw = look_up(resource, path, row.variables) if path else self._heat(row, resource)
            except KeyError:
                continue
            if raw is not None:
                batch.add(row.table.group, spec, _plain(raw, spec), row.variables)
                return
            is_null = True
        if is_null:
            what = f"{row.uri} {' or '.join(spec.addresses)}: no value"
            batch.miss(what, row.table.group, spec, row.variables)
        elif self._is_part(row, spec):
            # A sum must not be made without one of its parts, whatever the reason.
            batch.withhold(row.table.group, spec, [tuple(row.variables.items())])

    def _is_part(self, row: Row, spec: PointSpec) -> bool:
        """Return whether a reading is one that a sum of the profile takes."""
        tags = {**row.table.group.tags, **spec.tags}
        return any(
            to == spec.to
            and all(fnmatchcase(fill(tags.get(tag, "-"), row.variables), want) for tag, want in own.items())
            for to, own in self._sums
        )

    def _heat(self, row: Row, resource: Resource) -> Raw:
        heat = heat_watts(resource, self._loops.get(row.uri, {}))
        if heat is None:
            raise KeyError(HEAT)
        return heat

    async def _read(self, uris: set[str], deadline: float, is_slow: bool) -> dict[str, Outcome]:
        """Return each resource, or why it did not come."""
        if not uris:
            raise ProtocolError(f"{self._session.where}: has nothing that profile {self._profile.profile} asks for")
        if is_slow:
            # ETags are put to the proof with the slow tier.
            self._session.keep(uris)
            return await gather(self._session, uris, deadline, whole=True)
        found = await self._expander.read(uris, deadline)
        return {**found, **await gather(self._session, uris - found.keys(), deadline, whole=False)}

    async def _find_rows(self, deadline: float) -> Mapping[str, Sequence[str]]:
        """Find the rows of all groups; return the collections that were read for it, with their members."""
        finder = Finder(self._session, self._options, deadline - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout_at(deadline):
                # Once for all groups: each attempt may take a place in a small table of sessions.
                await self._session.log_in()
                found = await finder.rows(self._tables)
        except TimeoutError as e:
            raise DeviceTimeoutError(f"{self._session.where}: reading the collections: timeout") from e
        # What was known of a group whose collection is broken for now is still asked for.
        broken = {id(table) for table, _ in finder.failed}
        kept = [row for row in self._rows if id(row.table) in broken]
        known = {id(row.table) for row in kept}
        self._rows = [*found, *kept]
        self._failed = [(table, error) for table, error in finder.failed if id(table) not in known]
        fast = {row.uri for row in self._rows if row.table.specs(is_slow=False)}
        return {uri: members for uri, members in finder.collections.items() if fast.issuperset(members)}

    async def _read_loops(self, resources: Mapping[str, Outcome], deadline: float) -> None:
        """Read the cooling loops of connectors that do not tell of their coolant themselves."""
        heated = {row.uri for row in self._rows if any(HEAT in spec.addresses for spec in row.table.group.points)}
        links = {uri: loop_of(one) for uri in heated if isinstance(one := resources.get(uri), Mapping)}
        loops = await gather(self._session, {uri for uri in links.values() if uri}, deadline, whole=False)
        self._loops = {uri: one for uri, link in links.items() if isinstance(one := loops.get(link), Mapping)}

    async def _read_again(self, hints: Sequence[Hint]) -> None:
        """Read what events name, and push it."""
        known = {row.uri for row in self._rows}
        rows = [row for row in self._rows if any(_concerns(hint, row, known) for hint in hints)]
        deadline = asyncio.get_running_loop().time() + self._target.timeout.total_seconds()
        resources = await gather(self._session, {row.uri for row in rows}, deadline, whole=True)
        batch = Batch(self._target, self._bare)
        for row in rows:
            if isinstance(resources[row.uri], Mapping):
                self._take_row(batch, row, row.table.specs(is_slow=True), resources)
        points = batch.finish(self._stamp()).points
        if points and self._push is not None:
            self._push(points)

    def _stamp(self) -> int:
        """Return an instant of its own: polls are stamped on whole milliseconds, and must not be replaced."""
        self._pushed_ns = max(self._wall_ns(), self._pushed_ns + 1)
        self._pushed_ns += self._pushed_ns % 1_000_000 == 0
        return self._pushed_ns


def _concerns(hint: Hint, row: Row, known: set[str]) -> bool:
    return hint.concerns(row.uri, {spec.to.partition(".")[0] for spec in row.table.group.points}, known)


def _without_derived(profile: Profile) -> Profile:
    return profile.model_copy(update={"derived": ()})


def _plain(raw: Raw, spec: PointSpec) -> Raw:
    """Return a value as it is to be decoded: true is no number, but a state's name."""
    return str(raw) if isinstance(raw, bool) and not spec.enum else raw


def check_profile(profile: Profile) -> Iterator[Mistake]:
    """Yield what is wrong with `each`, `at`, `match` and `transport`, each with its location in the file."""
    yield from mistakes(profile)


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one Redfish service; nothing is opened yet.

    Raises:
        CollectError: the target's options are wrong.
        ConfigError: URIs or paths in the profile that cannot be.
    """
    if profile is None:
        raise CollectError(f"{target.name} {target.address}: Redfish needs a profile")
    profile.once(refuse_mistakes)
    return RedfishCollector(target, profile)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Return the first profile whose `match` the service fits.

    Raises:
        CollectError: no answer.
        UnknownDeviceError: none fits; the message names the profiles tried.
    """
    session = Session(target, connections=1)
    try:
        return await find_profile(session, candidates)
    finally:
        await session.close()


async def examine(target: Target, profile: Profile) -> Sequence[str]:
    """Return what the service is and offers beyond the readings, a line each.

    Raises:
        CollectError: it does not answer.
    """
    session = Session(target, connections=1)
    try:
        return await describe(session, profile, read_options(target, profile))
    finally:
        await session.close()
