"""MQTT: what a building management system publishes, listened to and never written to.

The broker pushes; a background task keeps the newest value and the metadata of each topic, and a poll hands out what is
known. How a profile with `protocol: mqtt` is read:

transport:
    subscribe: [...]        topic filters; nothing else is asked for
    metadata: BMS/v1/PUB/Metadata/     prefixes of the two kinds of message; what follows is the topic's tail, equal for
    values: BMS/v1/PUB/Value/          a value and its metadata: objectType/pointType/anything
    integrations: BMS/v1/+/Value/      values of points whose metadata names an `integration`, which stands for the +
    variables: {rack: rackLocationId}  row variables and the metadata keys that fill them, of several the first that is
                                       there; lists are joined by `/`
    units: {LPM: L/min}     the metadata's `engUnit` -> our unit
    stale_after: 250s       an older value is missing
    heartbeat: System/HeartbeatTimestampBms    objectType/pointType that must come ...
    heartbeat_limit: 30s    ... this often, or the poll fails; one with a `scope` speaks for the topics that begin so
    topology: {PowerMeter: {kind: meter, relation: feeds}}    objectType -> kind of the inventory, meaning of `servesId`
at:
    "Rack/RackPower": objectType/pointType.
each:
    every tail whose metadata is known is a row of the groups that ask for its point.
    set: {loop: [{from: area, match: "(?i)^primary", text: fws}]}    further variables, as in SNMP tables
    where: {loop: [fws, tcs]}          rows that are meant: variables and their patterns
    units: fixed            another `engUnit` than the point's refuses the value; `any`: it is converted where it fits
match:
    {topic: "BMS/v1/PUB/#"}: something retained is published under this filter.

A point with `enum` whose keys are words takes the word that the metadata's `stateText` gives the value, whatever its
case, blanks and dashes. Where several points ask for one topic, those count that its engUnit or stateText fits.

A value counts only once its metadata has arrived, with quality 1, and if it is no set point. Its age begins with its
own time stamp where that is within 5 s of our clock, or where the message lay at the broker, else with its arrival.
Leaks are handed on as soon as they are heard, without waiting for the poll.
After a lost connection nothing is carried over: values come again with the next change, by the contract within 100 s.
Options of the target: `tls` off (default), on, insecure (no check of the certificate); `ca`, `cert`, `key`: files, for
a private authority and for mutual TLS.

Source: NVIDIA dsx-exchange bms.yaml and its companion guide; OASIS MQTT 3.1.1.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

import aiomqtt

from collectors.collector import CollectError, Collector, DeviceTimeoutError, PollResult, Target
from collectors.decode import Batch, finish
from collectors.mqtt.client import Board, Listener, Topics, explain, make_client, point_of, subscribe
from collectors.mqtt.profile import Transport, check_profile
from collectors.mqtt.rows import KEYS, Ready, RefusedValueError, Rows, find_wanted, trusted
from collectors.mqtt.topology import Topology
from collectors.profile import Profile, refuse_mistakes
from storage.config import parse_duration
from storage.point import Point

__all__ = ["MqttCollector", "check_profile", "identify", "open_collector"]

#: part of the target's time-out that a poll waits for the first connection
_BUDGET = 0.9
#: what cannot wait for a poll
_URGENT = ("leak.state",)
#: changes of a topic that are handed on at once within so many seconds: a rope may chatter
_BURST, _BURST_S = 5, 10.0
#: topics that are worked through before others on the loop have their turn
_SLICE = 500


class MqttCollector:
    """Hand out what a broker has pushed."""

    def __init__(self, target: Target, profile: Profile) -> None:
        self._target = target
        self._profile = profile
        wanted = find_wanted(profile)
        transport = _transport(profile)
        self._rows = Rows(wanted, transport)
        self._stale_s = parse_duration(transport.stale_after).total_seconds()
        self._heartbeat = transport.heartbeat
        self._heartbeat_s = parse_duration(transport.heartbeat_limit).total_seconds()
        self._values = transport.values
        self._topology = Topology(transport.topology, {profile.identity: target.name, **target.tags})
        keys = {*KEYS, *(key for keys in transport.variables.values() for key in keys)}
        prefixes = (transport.metadata, transport.values, transport.integrations)
        #: what is listened to
        self.topics = Topics(transport.subscribe, *prefixes, self._heartbeat, wanted.keys(), keys)
        self._listener = Listener(target, self.topics)
        #: objectType/pointType that cannot wait for a poll, and what each topic of them said last
        self._urgent = frozenset(at for at, all_of in wanted.items() if any(w.spec.to in _URGENT for w in all_of))
        self._said: dict[str, object] = {}
        #: loop time of the first of those that were handed on lately, and their number
        self._burst: dict[str, tuple[float, int]] = {}

    def listen(self, push: Callable[[Sequence[Point]], None]) -> None:
        """Hand on leaks as soon as they are heard; all else waits for the poll."""
        self._listener.heard = lambda board, topic: self._hear(board, topic, push)

    def _hear(self, board: Board, topic: str, push: Callable[[Sequence[Point]], None]) -> None:
        found = self.topics.publisher(topic)
        tail = found[1] if found else ""
        value, metadata = board.values.get(tail), board.metadata.get(tail)
        if point_of(tail) not in self._urgent or value is None or metadata is None or self._said.get(tail) == value.raw:
            return
        now = asyncio.get_running_loop().time()
        began, number = self._burst.get(tail, (now, 0))
        began, number = (now, 0) if now - began >= _BURST_S else (began, number)
        if number == _BURST:
            return
        self._said[tail], self._burst[tail] = value.raw, (began, number + 1)
        batch = Batch(self._target, self._profile)
        for ready in self._rows.of(tail, metadata):
            self._take(batch, ready, board, now, is_silent=False)
        if points := batch.finish(time.time_ns()).points:
            push(points)

    async def poll(self, time_ns: int) -> PollResult:
        """Return the newest good value of each topic whose metadata is known.

        Raises:
            CollectError: no connection, or no heartbeat for longer than its limit.
        """
        board = await self._listener.ready(self._target.timeout.total_seconds() * _BUDGET)
        steps = self._steps(board, time_ns, asyncio.get_running_loop().time())
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: PollResult = end.value
                return result
            await asyncio.sleep(0)

    def read(self, board: Board, time_ns: int, now: float) -> PollResult:
        """Return what a board tells at the loop's time `now`, as `poll` does."""
        return finish(self._steps(board, time_ns, now))

    def _steps(self, board: Board, time_ns: int, now: float) -> Generator[None, None, PollResult]:
        """Work through a board bit by bit, so that others on the loop have their turn between."""
        batch = Batch(self._target, self._profile)
        yield from self._fill(batch, board, now)
        result = yield from batch.steps(time_ns)
        topology = self._topology.points(board.metadata.values(), time_ns)
        return replace(result, points=(*result.points, *topology)) if topology else result

    def _fill(self, batch: Batch, board: Board, now: float) -> Iterator[None]:
        """Put what a board tells into the batch, a slice of its topics at a time."""
        silence = now - board.heartbeat
        if self._heartbeat and silence > self._heartbeat_s:
            where = f"{self._target.name} {self._target.address}"
            raise DeviceTimeoutError(f"{where}: BMS silent: no {self._heartbeat} for {silence:.0f} s")
        for denied in board.denied:
            batch.miss(f"{denied}: the broker refuses to subscribe it: give user {self._target.username!r} the right")
        for topic in board.malformed:
            batch.reject(f"{topic}: malformed message")
        board.malformed.clear()
        silent = self._silent_scopes(board, now)
        self._rows.keep(board.metadata)
        self._said = {tail: raw for tail, raw in self._said.items() if tail in board.values}
        self._burst = {tail: burst for tail, burst in self._burst.items() if tail in board.values}
        for number, (tail, metadata) in enumerate(list(board.metadata.items()), 1):
            is_silent = bool(silent) and any(_covers(scope, self._values, tail) for scope in silent)
            for ready in self._rows.of(tail, metadata):
                self._take(batch, ready, board, now, is_silent=is_silent)
            if number % _SLICE == 0:
                yield

    async def aclose(self) -> None:
        """Leave the broker."""
        await self._listener.close()

    def _silent_scopes(self, board: Board, now: float) -> Sequence[str]:
        """Return the topics of those clients of the building system whose heart stands still."""
        beats = board.heartbeats
        return [scope for tail, scope in board.scopes.items() if now - beats.get(tail, now) > self._heartbeat_s]

    def _take(self, batch: Batch, ready: Ready, board: Board, now: float, *, is_silent: bool) -> None:
        """Put one topic's value into the batch, or say why it is missing or refused."""
        group, spec, row, tail = ready.group, ready.spec, ready.row, ready.tail
        value = board.values.get(tail)
        if value is None or value.raw is None or is_silent or now - value.time > self._stale_s:
            why = "not heard yet" if value is None else "no valid reading" if value.raw is None else "stale"
            batch.miss(f"{tail}: {'its client of the BMS is silent' if is_silent else why}", group, spec, row)
            return
        try:
            raw = trusted(value, ready)
        except RefusedValueError as e:
            batch.reject(f"{tail}={value.raw!r:.60}: {e}")
            batch.miss(f"{tail}: refused", group, spec, row)
            return
        batch.add(group, spec, raw, row)


def _covers(scope: str, values: str, tail: str) -> bool:
    """Return whether a heartbeat's scope, the beginning of topics or of tails, speaks for a value."""
    scope = scope.rstrip("#/")
    return tail.startswith(scope) or f"{values}{tail}".startswith(scope)


def _transport(profile: Profile) -> Transport:
    """Return the profile's transport."""
    refuse_mistakes(profile)
    return Transport.model_validate(profile.transport)


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one broker; nothing is opened yet.

    Raises:
        ConfigError: the profile is not written as this protocol wants.
    """
    if profile is None:
        raise ValueError(f"{target.name}: an MQTT target needs a profile")
    return MqttCollector(target, profile)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Return the first profile under whose `match.topic` something is published within the target's time-out.

    Raises:
        CollectError: no connection, or nothing is heard; the message names the profiles tried.
    """
    limit = target.timeout.total_seconds() * _BUDGET
    for profile in candidates:
        if "topic" not in profile.match:
            continue
        try:
            async with asyncio.timeout(limit), make_client(target) as client:
                await subscribe(client, target, [str(profile.match["topic"])])
                async for _ in client.messages:
                    return profile
        except TimeoutError:
            continue
        except aiomqtt.MqttError as e:
            raise explain(target, e) from e
    names = ", ".join(profile.profile for profile in candidates)
    raise CollectError(
        f"{target.name} {target.address}: nothing heard that the profiles {names} know; name one in the target"
    )
