"""MQTT: what a building management system publishes, listened to and never written to.

The broker pushes; a background task keeps the newest value and the metadata of each topic, and a poll hands out what is
known. How a profile with `protocol: mqtt` is read:

transport:
    subscribe: [...]        topic filters; nothing else is asked for
    metadata: BMS/v1/PUB/Metadata/     prefixes of the two kinds of message; what follows is the topic's tail, equal for
    values: BMS/v1/PUB/Value/          a value and its metadata: objectType/pointType/anything
    variables: {rack: rackLocationId}  row variables and the metadata keys that fill them; lists are joined by `/`
    units: {LPM: L/min}     the metadata's `engUnit` -> our unit; another one than the point's refuses the value
    stale_after: 250s       an older value is missing
    heartbeat: System/HeartbeatTimestampBms    objectType/pointType that must come ...
    heartbeat_limit: 30s    ... this often, or the poll fails
at:
    "Rack/RackPower": objectType/pointType. `each` is empty: every tail whose metadata is known is a row.
match:
    {topic: "BMS/v1/PUB/#"}: something retained is published under this filter.

A value counts only once its metadata has arrived, and with quality 1. After a lost connection nothing is carried over:
values come again with the next change, by the contract within 100 s. Options of the target: `tls` off (default), on,
insecure (no check of the certificate); `ca`, `cert`, `key`: files, for a private authority and for mutual TLS.

Source: NVIDIA dsx-exchange bms.yaml and its companion guide; OASIS MQTT 3.1.1.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiomqtt

from collectors.collector import CollectError, Collector, DeviceTimeoutError, PollResult, Target
from collectors.decode import Batch
from collectors.mqtt_client import Board, Listener, Topics, Value, explain, make_client, point_of
from collectors.profile import Group, PointSpec, Profile
from storage.config import ConfigError, InvalidValueError, Problem, parse_duration

#: part of the target's time-out that a poll waits for the first connection
_BUDGET = 0.9
_GOOD = 1
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class _RefusedError(Exception):
    """The value says nothing; the message is the reason."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One point of a group, and the row variables that its tags cannot do without."""

    group: Group
    spec: PointSpec
    variables: Sequence[str]


def _find_wanted(profile: Profile) -> Mapping[str, Sequence[_Wanted]]:
    """Return the points made from each objectType/pointType."""
    found: dict[str, list[_Wanted]] = {}
    for group in profile.groups:
        for spec in group.points:
            names = _PLACEHOLDER.findall(" ".join([*group.tags.values(), *spec.tags.values()]))
            for address in spec.addresses:
                found.setdefault(address, []).append(_Wanted(group, spec, tuple(dict.fromkeys(names))))
    return found


class MqttCollector:
    """Hand out what a broker has pushed."""

    def __init__(self, target: Target, profile: Profile) -> None:
        self._target = target
        self._profile = profile
        self._wanted = _find_wanted(profile)
        transport = _check(profile)
        self._variables: Mapping[str, str] = transport["variables"]
        self._units: Mapping[str, str] = transport["units"]
        self._stale_s = parse_duration(transport["stale_after"]).total_seconds()
        self._heartbeat = str(transport.get("heartbeat", ""))
        self._heartbeat_s = parse_duration(transport.get("heartbeat_limit", "30s")).total_seconds()
        filters = [str(topic) for topic in transport["subscribe"]]
        metadata, values = str(transport["metadata"]), str(transport["values"])
        self._listener = Listener(target, Topics(filters, metadata, values, self._heartbeat, self._wanted.keys()))

    async def poll(self, time_ns: int) -> PollResult:
        """Return the newest good value of each topic whose metadata is known.

        Raises:
            CollectError: no connection, or no heartbeat for longer than its limit.
        """
        board = await self._listener.ready(self._target.timeout.total_seconds() * _BUDGET)
        now = asyncio.get_running_loop().time()
        silence = now - board.heartbeat
        if self._heartbeat and silence > self._heartbeat_s:
            where = f"{self._target.name} {self._target.address}"
            raise DeviceTimeoutError(f"{where}: BMS silent: no {self._heartbeat} for {silence:.0f} s")
        batch = Batch(self._target, self._profile)
        refused = [f"{topic}: malformed message" for topic in board.malformed]
        board.malformed.clear()
        for tail, metadata in board.metadata.items():
            refused += self._take(batch, tail, metadata, board, now)
        result = batch.finish(time_ns)
        return replace(result, rejected=(*refused, *result.rejected))

    async def aclose(self) -> None:
        """Leave the broker."""
        await self._listener.close()

    def _take(self, batch: Batch, tail: str, metadata: Mapping[str, Any], board: Board, now: float) -> Sequence[str]:
        """Put one topic's value into the batch; return why it was refused, for each point made from it."""
        row = {name: _text(metadata.get(key)) for name, key in self._variables.items()}
        refused: list[str] = []
        for wanted in self._wanted[point_of(tail)]:
            group, spec = wanted.group, wanted.spec
            value = board.values.get(tail)
            if value is None or now - value.arrived > self._stale_s or value.raw is None:
                why = "not heard yet" if value is None else "no valid reading" if value.raw is None else "stale"
                batch.miss(f"{tail}: {why}", group, spec, row)
                continue
            try:
                raw = self._trusted(value, wanted, metadata, row)
            except _RefusedError as e:
                refused.append(f"{tail}={value.raw!r:.60}: {e}")
                batch.miss(f"{tail}: refused", group, spec, row)
                continue
            batch.add(group, spec, raw, row)
        return refused

    def _trusted(
        self, value: Value, wanted: _Wanted, metadata: Mapping[str, Any], row: Mapping[str, str]
    ) -> float | int:
        """Return the number.

        Raises:
            _RefusedError: quality, type, unit or metadata forbid to use it.
        """
        if value.quality != _GOOD:
            raise _RefusedError(f"quality {value.quality!r}")
        if isinstance(value.raw, bool) or not isinstance(value.raw, int | float):
            raise _RefusedError("not a number")
        unit = metadata.get("engUnit")
        if wanted.spec.unit is not None and self._units.get(str(unit)) != wanted.spec.unit:
            raise _RefusedError(f"engUnit {unit!r} where the profile has {wanted.spec.unit}")
        for name in wanted.variables:
            if not row.get(name):
                raise _RefusedError(f"its metadata has no {self._variables.get(name, name)}")
        return value.raw


def _text(value: object) -> str:
    return "/".join(str(part) for part in value) if isinstance(value, list) else "" if value is None else str(value)


def _check(profile: Profile) -> Mapping[str, Any]:
    """Return the profile's transport, complete."""
    needed = {"subscribe", "metadata", "values", "variables", "units", "stale_after"}
    file = f"{profile.profile}.yaml"
    problems = [
        Problem(file, 0, f"transport.{key}", "is missing", "see collectors/mqtt.py")
        for key in sorted(needed - profile.transport.keys())
    ]
    for key in ("stale_after", "heartbeat_limit"):
        try:
            parse_duration(profile.transport.get(key, "30s"))
        except InvalidValueError as e:
            problems.append(Problem(file, 0, f"transport.{key}", e.reason, e.hint))
    if problems:
        raise ConfigError(problems)
    return profile.transport


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one broker; nothing is opened yet.

    Raises:
        ConfigError: the profile's transport is not complete.
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
                await client.subscribe(str(profile.match["topic"]))
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
