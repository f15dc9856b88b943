"""gNMI devices, SONiC switches first. The wire is `collectors/gnmi_client.py`.

How a profile of `protocol: gnmi` reads:

- `match: {model: NAME}`: a data model that Capabilities must list.
- `each: {target: COUNTERS_DB, path: "COUNTERS/Ethernet*", as: [port]}`: `target` is the database, `path` what is asked.
  With `as` the answer is an object of objects, one row per key; a key is cut at its last colons into as many variables
  as `as` names (`etp1:3` -> port, queue), keys with other parts are left out. Without `as` the answer is one row.
- the variable `port` becomes SONiC's own name of the port (`Ethernet0`), whatever the device calls it; `alias` becomes
  its alias. Both come from PORT_TABLE of APPL_DB, read each `poll.slow`.
- `set` makes variables from others and `where` keeps the rows that match, as in `collectors/snmp.py`.
- `at` is a field of the row's object. Of several the first that the row has counts.

All paths of a database share one POLL stream; a database with slow points only is polled each `poll.slow`. A device
that refuses POLL is asked by Get, path by path; a path that it refuses is left alone until the collector is opened
again.

SONiC sends every leaf as text: digits become integers of any size, `N/A`, `None`, `inf`, `nan` and "" are no value.

Source: sonic-net/sonic-gnmi `sonic_data_client/virtual_db.go`; sonic-net/sonic-swss `orchagent/`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.collector import CollectError, Collector, DeviceTimeoutError, PollResult, ProtocolError, Target
from collectors.decode import Batch
from collectors.gnmi_client import Answers, GnmiClient, GnmiStream, PollRefusedError
from collectors.gnmi_rows import Ports, add_all, read_groups
from collectors.profile import Profile
from storage.config import parse_duration

#: where SONiC keeps the names of its ports
PORT_DATABASE, PORT_TABLE = "APPL_DB", "PORT_TABLE"


@dataclass(slots=True)
class _Source:
    """What is asked of one database at one cadence, and how."""

    stream: GnmiStream
    slow: bool
    by_get: bool = False


class GnmiCollector:
    """One device, asked for what its profile says."""

    def __init__(self, target: Target, profile: Profile) -> None:
        """Check the target and the profile's groups; open nothing.

        Raises:
            ConfigError: a group that gNMI does not understand.
            CollectError: the target's options are wrong.
        """
        self._target = target
        self._profile = profile
        self._client = GnmiClient(target)
        self._groups = read_groups(profile)
        self._sources = self._plan()
        self._slow_ns = int(parse_duration(profile.poll.slow).total_seconds() * 1e9)
        self._last_slow_ns: int | None = None
        self._ports = Ports({}, {})

    async def poll(self, time_ns: int) -> PollResult:
        """Ask every database once, side by side; return their points stamped `time_ns`.

        Raises:
            CollectError: no database answered.
        """
        try:
            async with asyncio.timeout(self._target.timeout.total_seconds()):
                return await self._poll(time_ns)
        except TimeoutError as error:
            raise DeviceTimeoutError(
                f"{self._client.where}: poll not complete in {self._target.timeout.total_seconds():g} s"
            ) from error

    async def aclose(self) -> None:
        """Close every stream."""
        for source in self._sources:
            await source.stream.aclose()

    async def _poll(self, time_ns: int) -> PollResult:
        slow = self._last_slow_ns is None or time_ns - self._last_slow_ns >= self._slow_ns
        due = [source for source in self._sources if slow or not source.slow]
        rounds = await asyncio.gather(*(self._read(source) for source in due), return_exceptions=True)
        batch = Batch(self._target, self._profile)
        answers: dict[tuple[str, str], Any] = {}
        failures = []
        for source, outcome in zip(due, rounds, strict=True):
            if isinstance(outcome, CollectError):
                failures.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers.update({(source.stream.database, path): value for path, value in outcome.items()})
        if failures and len(failures) == len(due):
            raise failures[0]
        for failure in failures:
            batch.miss(str(failure))
        if slow:
            # What the device refuses it will refuse again; what was lost on the way is asked for with the next poll.
            refused = all(isinstance(failure, ProtocolError) for failure in failures)
            self._last_slow_ns = time_ns if refused else None
        if (PORT_DATABASE, PORT_TABLE) in answers:
            self._ports = Ports.read(answers[PORT_DATABASE, PORT_TABLE])
        self._decode(answers, slow, batch)
        return batch.finish(time_ns)

    async def _read(self, source: _Source) -> Answers:
        if not source.by_get:
            try:
                return await source.stream.poll()
            except PollRefusedError:
                source.by_get = True
        return await self._get(source)

    async def _get(self, source: _Source) -> Answers:
        """Ask path by path; leave alone what the device refuses, and subscribe again to the rest if that was all."""
        answers, refused = {}, []
        for path in source.stream.paths:
            try:
                value = await self._client.get(source.stream.database, path)
            except PollRefusedError as error:
                refused.append((path, error))
                continue
            if value is not None:
                answers[path] = value
        if len(refused) == len(source.stream.paths):
            source.by_get = False
            raise ProtocolError(str(refused[0][1])) from refused[0][1]
        if refused:
            kept = tuple(path for path in source.stream.paths if path not in dict(refused))
            source.stream = GnmiStream(self._client, source.stream.database, kept)
            source.by_get = False
        return answers

    def _decode(self, answers: Mapping[tuple[str, str], Any], slow: bool, batch: Batch) -> None:
        for group, each in self._groups:
            specs = [spec for spec in group.points if slow or spec.every == "fast"]
            rows = list(each.rows(answers.get((each.target, each.path)), self._ports)) if specs else []
            if specs and not rows:
                batch.miss(f"{specs[0].to}: {each.target} {each.path} has no rows")
            for spec in specs:
                add_all(group, spec, rows, batch)

    def _plan(self) -> list[_Source]:
        """Return one source per database: never two streams on one; the ports' names ride with their database."""
        paths: dict[str, dict[str, None]] = {}
        fast: set[str] = set()
        for group, each in self._groups:
            paths.setdefault(each.target, {})[each.path] = None
            if any(spec.every == "fast" for spec in group.points):
                fast.add(each.target)
        if any("port" in each.names for _, each in self._groups):
            paths.setdefault(PORT_DATABASE, {})[PORT_TABLE] = None
        return [
            _Source(GnmiStream(self._client, database, tuple(wanted)), slow=database not in fast)
            for database, wanted in paths.items()
        ]


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
    raise CollectError(f"{client.where}: Capabilities lists {', '.join(models) or 'no models'}: none of {names} fits")
