"""What a building's broker tells: its metadata topics, and the points that they describe."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiomqtt

from collectors.collector import CollectError, Target
from collectors.drafting import Draft, DraftGroup, Found, Walk, as_keys, known_points, shown
from collectors.mqtt.client import Message, explain, make_client, subscribe
from collectors.profile import Group, Library, PointSpec

#: most topics that are kept: a building has some thousand
_MOST = 20_000
#: most bytes of a message that is looked at
_LONGEST = 65_536
_DEFAULTS: Mapping[str, Any] = {"variables": {}, "units": {}, "stale_after": "250s"}

Known = Mapping[str, Sequence[tuple[Group, PointSpec]]]


@dataclass(slots=True)
class _Heard:
    """Messages by topic, in the order in which the topics were first heard."""

    retained: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)


async def draft(target: Target, library: Library, walk: Walk) -> Draft:
    """Return the points that a broker's metadata describe, as far as they are told within `walk.listen_s`.

    Raises:
        CollectError: no connection, or no metadata: messages that name objectType and pointType.
    """
    heard = await _listen(target, walk.listen_s)
    points = {topic: body for topic, body in heard.retained.items() if _is_metadata(body)}
    if not points:
        raise CollectError(
            f"{target.name} {target.address}: no retained metadata with objectType and pointType in "
            f"{walk.listen_s:g} s, {len(heard.retained) + len(heard.told)} other topics; listen longer with --listen 60"
        )
    metadata = _prefix(*next(iter(points.items())))
    values = _values_prefix(metadata, points, heard)
    known = known_points(library, "mqtt")
    transport = _transport(library, metadata, values, points)
    return Draft(
        "mqtt",
        "unknown building management system",
        _groups(points, metadata, values, heard, known, transport),
        _messages(heard),
        match={"topic": f"{metadata}#"},
        transport=transport,
        notes=[] if values else ["No value was told for any of these points while the draft listened."],
    )


async def _listen(target: Target, seconds: float) -> _Heard:
    heard = _Heard()
    try:
        async with make_client(target, lambda message: _keep(heard, message)) as client:
            await subscribe(client, target, ["#"])
            try:
                async with asyncio.timeout(seconds):
                    async for _ in client.messages:  # none comes: it waits for the connection's end
                        pass
            except TimeoutError:
                pass
    except aiomqtt.MqttError as error:
        raise explain(target, error) from error
    return heard


def _keep(heard: _Heard, message: Message) -> None:
    kept, payload = heard.retained if message.is_retained else heard.told, message.payload
    if len(heard.retained) + len(heard.told) >= _MOST or not isinstance(payload, bytes | bytearray):
        return
    if len(payload) > _LONGEST:
        return
    try:
        kept[message.topic] = json.loads(payload)
    except (ValueError, RecursionError):
        kept[message.topic] = payload.decode("utf-8", "replace")


def _is_metadata(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("objectType"), str) and isinstance(body.get("pointType"), str)


def _point(body: Mapping[str, Any]) -> str:
    return f"{body['objectType']}/{body['pointType']}"


def _prefix(topic: str, body: Mapping[str, Any]) -> str:
    """Return what stands before objectType/pointType in a topic."""
    head, found, _ = topic.partition(_point(body))
    return head if found else topic.rpartition("/")[0] + "/"


def _values_prefix(metadata: str, points: Mapping[str, Any], heard: _Heard) -> str:
    """Return what stands before the same tails in the topics of values, or "" where none was heard."""
    for topic in points:
        tail = topic.removeprefix(metadata)
        for other in [*heard.told, *heard.retained]:
            if other.endswith(f"/{tail}") and other != topic:
                return other.removesuffix(tail)
    return ""


def _transport(library: Library, metadata: str, values: str, points: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the topics are read: as the packaged profile with these topics does, else with what was heard."""
    for profile in library.of_protocol("mqtt"):
        if profile.transport.get("metadata") == metadata:
            return {**_DEFAULTS, **profile.transport}
    values = values or metadata.replace("Metadata", "Value")
    keys = {key for body in points.values() for key in body}
    packaged = [profile.transport for profile in library.of_protocol("mqtt")]
    asked = [(name, own) for each in packaged for name, own in each.get("variables", {}).items()]
    variables = {name: own for name, own in asked if keys & _names(own)}
    taken = {key for own in variables.values() for key in _names(own)}
    variables |= {key: key for key in sorted(keys - taken) if key.endswith(("Id", "Name"))}
    told = {str(body["engUnit"]) for body in points.values() if body.get("engUnit")}
    known = {name: unit for each in packaged for name, unit in each.get("units", {}).items()}
    units = {name: unit for name, unit in {**{unit: unit for unit in known.values()}, **known}.items() if name in told}
    own = {"subscribe": [f"{metadata}#", f"{values}#"], "metadata": metadata, "values": values}
    return {**own, **_DEFAULTS, "variables": variables, "units": units}


def _names(own: str | Sequence[str]) -> set[str]:
    """Return the keys of the metadata that fill a variable: one, or the first of several that is there."""
    return {own} if isinstance(own, str) else set(own)


def _groups(
    points: Mapping[str, Any],
    metadata: str,
    values: str,
    heard: _Heard,
    known: Known,
    transport: Mapping[str, Any],
) -> list[DraftGroup]:
    """Return the points by the packaged group that knows them; those that none knows come last."""
    groups: dict[int, dict[str, Found]] = {}
    for topic, body in points.items():
        at = _point(body)
        group, spec = known[at][0] if at in known else (None, None)
        value = heard.told.get(values + topic.removeprefix(metadata), heard.retained.get(values + topic))
        seen = shown(value.get("value")) if isinstance(value, dict) else "no value heard"
        unit = body.get("engUnit")
        keys = _keys(group, spec, transport, unit)
        found = groups.setdefault(id(group), {})
        found.setdefault(at, Found(at, f"{seen} {unit or ''} at {topic}".replace("  ", " "), keys))
    made = [DraftGroup({}, [*found.values()]) for found in groups.values()]
    return sorted(made, key=lambda group: not any("to" in found.point for found in group.found))


def _keys(group: Group | None, spec: PointSpec | None, transport: Mapping[str, Any], unit: object) -> Mapping[str, Any]:
    if group is not None and spec is not None:
        return as_keys(group, spec, transport["variables"])
    return {"unit": transport["units"].get(str(unit), str(unit))} if unit else {}


def _messages(heard: _Heard) -> list[Mapping[str, Any]]:
    retained = [{"topic": topic, "retain": True, "payload": body} for topic, body in heard.retained.items()]
    return retained + [{"topic": topic, "payload": _anew(body)} for topic, body in heard.told.items()]


def _anew(body: Any) -> Any:
    """Return a value whose time stamp, and which heartbeat, is the moment at which it is played."""
    if not isinstance(body, dict) or "timestamp" not in body:
        return body
    beats = body.get("value") == body["timestamp"]
    return {**body, "timestamp": "now", **({"value": "now"} if beats else {})}
