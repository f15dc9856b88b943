"""gNMI devices, SONiC switches first. The wire is `client.py`, one database of a device `source.py`.

How a profile of `protocol: gnmi` reads:

- `match: {model: NAME}`: a data model that Capabilities must list.
- `each: {target: COUNTERS_DB, path: "COUNTERS/Ethernet*", as: [port]}`: `target` is the database, `path` what is asked;
  `collectors/gnmi/rows.py` tells what becomes of the answer.
- the variable `port` becomes SONiC's own name of the port (`Ethernet0`), whatever the device calls it; `alias` becomes
  its alias. Both come from PORT_TABLE of APPL_DB, read each `poll.slow`.

The paths of a database share one POLL stream; a database with slow points only is polled each `poll.slow`, and a path
with slow points only in another database is asked by Get on the stream's connection as often. A path that the device
refuses is told once and tried again each hour; a stream that dies never stops the others. Options of a
target: `mode` poll, sample, get instead of what is found; `on_change` off keeps link changes to the polls.

A port is told of while `COUNTERS_PORT_NAME_MAP` has it (`collectors/gnmi/map.py`).

Source: sonic-net/sonic-gnmi `sonic_data_client/virtual_db.go`; sonic-net/sonic-swss `orchagent/`.
"""

import asyncio
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from collectors.collector import (
    CollectError,
    Collector,
    DeviceTimeoutError,
    PollResult,
    ProtocolError,
    Target,
    UnknownDeviceError,
)
from collectors.decode import Batch
from collectors.gnmi.answers import Round
from collectors.gnmi.check import check_profile as check_profile
from collectors.gnmi.client import GnmiClient
from collectors.gnmi.health import MAP_DATABASE, MAP_PATH, PORTS_PATH, Health
from collectors.gnmi.links import PORT_DATABASE, PORT_TABLE, Fields, LinkWatch, Push
from collectors.gnmi.probe import examine as examine
from collectors.gnmi.rows import Each, Ports, Table, read_tables
from collectors.gnmi.source import Mode, Source
from collectors.profile import Profile
from storage.config import parse_duration
from storage.point import Point

#: share of the target's timeout that a round may take: what is whole then is told
BUDGET = 0.9
LINK_FIELDS = ("interface.oper_up", "interface.admin_up")

#: (database, path) -> what it answered
Found = Mapping[tuple[str, str], Any]


class GnmiCollector:
    """One device, asked for what its profile says."""

    def __init__(
        self,
        target: Target,
        profile: Profile,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Check the target and the profile's groups; open nothing. `clock` is monotonic seconds.

        Raises:
            ConfigError: a group that gNMI does not understand.
            CollectError: the target's options are wrong.
        """
        self._target = target
        self._profile = profile
        self._clock = clock
        self._client = GnmiClient(target, wall_ns)
        self._tables = read_tables(profile, target)
        self._link_tables = _link_tables(self._tables, target)
        self._slow_ns = int(parse_duration(profile.poll.slow).total_seconds() * 1e9)
        self._sources = self._plan()
        self._last_slow_ns: int | None = None
        self._ports = Ports.read({})
        self._health = Health(target, profile)
        self._told: dict[tuple[str, str], str] = {}
        self._push: Push | None = None
        self._watch = LinkWatch(self._client, self._changed, lambda: self._ports)

    def listen(self, push: Push) -> None:
        """Hand link changes to `push` as they come, from the first poll that names the ports until closed."""
        self._push = push

    async def poll(self, time_ns: int) -> PollResult:
        """Ask every database once, side by side; return what is whole in time, stamped `time_ns`.

        Raises:
            CollectError: no database answered.
        """
        slow = self._last_slow_ns is None or time_ns - self._last_slow_ns >= self._slow_ns
        asked = [source for source in self._sources if not source.has_nothing]
        due = [source for source in asked if slow or not source.slow]
        deadline_s = BUDGET * self._target.timeout.total_seconds()
        if due:
            await asyncio.wait([source.begin(deadline_s, slow=slow) for source in due], timeout=deadline_s)
        rounds, failures = await self._take(due)
        if failures and len(failures) == len(due):
            raise self._whole(failures)
        self._check_any(asked)
        if slow:
            self._last_slow_ns = None if failures else time_ns
        return self._unwrapped(self.read(rounds, failures, time_ns, slow=slow))

    async def aclose(self) -> None:
        """Close every stream."""
        await self._watch.aclose()
        for source in self._sources:
            await source.aclose()

    def read(
        self, rounds: Mapping[str, Sequence[Round]], failures: Sequence[CollectError], time_ns: int, *, slow: bool
    ) -> PollResult:
        """Return what these rounds say, by database, and what each failure leaves missing; asks nothing."""
        batch = Batch(self._target, self._profile)
        for failure in failures:
            batch.miss(str(failure))
        answers, broken = self._answers(rounds)
        self._tell_refused(batch)
        if (PORT_DATABASE, PORT_TABLE) in answers:
            ports = Ports.read(answers[PORT_DATABASE, PORT_TABLE])
            # The tables keep the names that they made while these are the same.
            self._ports = self._ports if ports == self._ports else ports
        extra = self._health.look(answers, self._ports, self._clock(), self._client.wall_ns())
        self._mend(answers)
        self._decode(answers, rounds.keys(), slow, batch)
        result = batch.finish(time_ns)
        return self._finish(result, rounds, extra, broken, time_ns)

    def _finish(
        self,
        result: PollResult,
        rounds: Mapping[str, Sequence[Round]],
        extra: Sequence[Point],
        broken: Sequence[str],
        time_ns: int,
    ) -> PollResult:
        points = self._health.with_state(result.points, rounds, time_ns)
        late = self._health.skew_line()
        return replace(
            result,
            points=(*points, *extra),
            missing=(*result.missing, *([late] if late else [])),
            rejected=(*broken, *result.rejected),
            requests=self._client.requests,
            reconnects=self._watch.reconnects + sum(source.reconnects for source in self._sources),
        )

    def _unwrapped(self, result: PollResult) -> PollResult:
        """Return a poll with counters that fall only where they began anew, and the events of those that did."""
        points, events = self._health.unwrap(result.points, self._clock(), self._client.wall_ns())
        return replace(result, points=(*points, *events), resets=self._health.reset_count)

    async def _take(self, due: Sequence[Source]) -> tuple[dict[str, Sequence[Round]], list[CollectError]]:
        rounds: dict[str, Sequence[Round]] = {}
        failures = []
        for source in due:
            try:
                rounds[source.database] = await source.take()
            except CollectError as error:
                failures.append(error)
                if source.database == MAP_DATABASE:
                    # Another process may answer when it comes back, with a map of its own.
                    self._health.map.restart()
        if self._push is not None and self._target.options.get("on_change") != "off" and PORT_DATABASE in rounds:
            self._watch.start(self._push)
        return rounds, failures

    def _check_any(self, asked: Sequence[Source]) -> None:
        """Raise ProtocolError when the device refuses all that the profile asks for."""
        if all(source.has_nothing for source in asked):
            refused = next(iter(self._sources[0].refused.values()))
            raise ProtocolError(f"{refused}: it has nothing of profile {self._profile.profile!r}")

    def _whole(self, failures: Sequence[CollectError]) -> CollectError:
        """Return what all databases failing means: the first failure, or that the device was too slow."""
        if all(isinstance(failure, DeviceTimeoutError) for failure in failures):
            seconds = self._target.timeout.total_seconds()
            return DeviceTimeoutError(f"{self._client.where}: poll not complete in {seconds:g} s: {failures[0]}")
        worst = max(failures, key=lambda failure: failure.rest_seconds)
        return worst if all(failure.rest_seconds for failure in failures) else failures[0]

    def _answers(self, rounds: Mapping[str, Sequence[Round]]) -> tuple[dict[tuple[str, str], Any], list[str]]:
        answers: dict[tuple[str, str], Any] = {}
        broken = []
        for database, each in rounds.items():
            for one in each:
                found, wrong = one.read()
                answers.update({(database, path): value for path, value in found.items()})
                broken += [f"{database} {line}" for line in wrong]
        return answers, broken

    def _tell_refused(self, batch: Batch) -> None:
        """Tell once of each path that the device refuses, by the first reading that it would have brought."""
        where = f"{self._client.where}: "
        refused = {
            (source.database, path): str(why).removeprefix(where)
            for source in self._sources
            for path, why in source.refused.items()
        }
        for place in refused.keys() - self._told.keys():
            first = next((t.group.points[0].to for t in self._tables if _place(t.each) == place), "switch")
            batch.miss(f"{first}: {refused[place]}")
        self._told = refused

    def _mend(self, answers: dict[tuple[str, str], Any]) -> None:
        """Put the counters of lost ports, read by their object ids, where the wildcard should have had them."""
        guard = self._health.map
        mended = {
            name: answers[MAP_DATABASE, path]
            for name, path in zip(guard.lost, guard.oid_paths(), strict=False)
            if (MAP_DATABASE, path) in answers
        }
        if mended:
            told = answers.get((MAP_DATABASE, PORTS_PATH), {})
            answers[MAP_DATABASE, PORTS_PATH] = {**told, **mended}
        for source in self._sources:
            if source.database == MAP_DATABASE:
                source.extra = guard.oid_paths()

    def _decode(self, answers: Found, asked: Container[str], slow: bool, batch: Batch) -> None:
        for table in self._tables:
            place = _place(table.each)
            # Of a database that failed, and of a path that is refused, all is told already.
            if table.each.target not in asked or place in self._told or not (slow or table.is_fast):
                continue
            if table.each.unless and (table.each.target, table.each.unless) not in self._told:
                continue
            kept = self._health.keep(table.each, answers.get(place), self._ports)
            table.add(kept, self._ports, slow, batch)

    def _changed(self, table: Fields) -> Sequence[Point]:
        """Return the points of a change of PORT_TABLE: the states of its ports, and the events."""
        now_ns = self._client.wall_ns()
        known = {port: fields for port, fields in table.items() if self._health.map.has(port)}
        events = self._health.links_seen(known, now_ns)
        changed = {event.tags["interface"] for event in events}
        moved = {port: fields for port, fields in known.items() if port in changed}
        return [*self._link_points(moved, now_ns), *events] if events else []

    def _link_points(self, table: Fields, time_ns: int) -> Sequence[Point]:
        batch = Batch(self._target, self._profile)
        for each in self._link_tables:
            each.add(table, self._ports, slow=True, batch=batch)
        return [point for point in batch.finish(time_ns).points if point.measurement == "interface"]

    def _plan(self) -> list[Source]:
        """Return one source per database: never two streams on one; names and map of the ports ride along."""
        #: database -> path -> whether it is due with each poll
        paths: dict[str, dict[str, bool]] = {}
        for table in self._tables:
            wanted = paths.setdefault(table.each.target, {})
            wanted[table.each.path] = wanted.get(table.each.path, False) or table.is_fast
        if any("port" in table.each.names for table in self._tables):
            paths.setdefault(PORT_DATABASE, {}).setdefault(PORT_TABLE, False)
        if PORTS_PATH in paths.get(MAP_DATABASE, ()):
            paths[MAP_DATABASE][MAP_PATH] = paths[MAP_DATABASE][PORTS_PATH]
        return [self._source(database, wanted) for database, wanted in paths.items()]

    def _source(self, database: str, wanted: Mapping[str, bool]) -> Source:
        forced = cast("Mode | None", self._target.options.get("mode"))
        interval_s = self._target.interval.total_seconds()
        slow = not any(wanted.values())
        period_s = max(interval_s, self._slow_ns / 1e9) if slow else interval_s
        rare = () if slow else tuple(path for path, fast in wanted.items() if not fast)
        return Source(self._client, database, tuple(wanted), slow, period_s, self._clock, forced, rare)


def _place(each: Each) -> tuple[str, str]:
    return each.target, each.path


def _link_tables(tables: Sequence[Table], target: Target) -> list[Table]:
    """Return what a profile makes of PORT_TABLE, less all but the state of links."""
    found = []
    for table in tables:
        points = tuple(spec for spec in table.group.points if spec.to in LINK_FIELDS)
        if _place(table.each) == (PORT_DATABASE, PORT_TABLE) and points:
            found.append(Table(table.group.model_copy(update={"points": points}), table.each, target))
    return found


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one gNMI device; nothing is opened yet.

    Raises:
        CollectError: no profile, or the target's options are wrong.
        ConfigError: the profile has a group that gNMI does not understand.
    """
    if profile is None:
        raise CollectError(f"{target.name} {target.address}: gNMI needs a profile")
    return GnmiCollector(target, profile)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Ask for the device's capabilities and return the profile that names one of its models.

    Raises:
        CollectError: no answer, or no candidate fits; names the device's models and the candidates.
    """
    client = GnmiClient(target)
    try:
        async with asyncio.timeout(target.timeout.total_seconds()):
            models = await client.models()
    except TimeoutError as error:
        raise DeviceTimeoutError(f"{client.where}: Capabilities: no answer") from error
    for profile in candidates:
        if profile.match.get("model") in models:
            return profile
    names = ", ".join(profile.profile for profile in candidates)
    raise UnknownDeviceError(
        f"{client.where}: Capabilities lists {', '.join(models) or 'no models'}: none of {names} fits"
    )
