"""gNMI servers of the factory's SONiC switches, with the manners of sonic-gnmi.

Played: the database goes in the prefix's target; one Subscribe per TCP connection, a second one ends the first; POLL
answers at once, then once per Poll, each round ends with `sync_response`, a path that lost its data is deleted; SAMPLE
sends the whole value each time, what was deleted too; ON_CHANGE sends the table, then each hash that changed, by key;
TARGET_DEFINED and intervals under 1 s are refused; at most 100 subscriptions; connections without a call are closed
after 5 s; answers are at most 4 MiB. More weaknesses are switched by `quirks`.

Source: sonic-net/sonic-gnmi `gnmi_server/{server,client_subscribe}.go`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from pygnmi.spec.v080 import gnmi_pb2, gnmi_pb2_grpc

from collectors.simulator.factory import Factory
from collectors.simulator.service import Device, Service
from collectors.simulator.sonic import Leaf, leaves, poll_seconds
from collectors.simulator.sonic_db import DATABASES, OTHERS, Json, SonicDatabases, UnknownPathError

SUBSCRIPTION_LIMIT = 100
#: seconds: what an interval of 0 means, the least that is taken, how often a change is looked for, how deaf we stay
DEFAULT_INTERVAL, LEAST_INTERVAL, CHANGE_INTERVAL, SILENCE_INTERVAL = 1.0, 1.0, 0.2, 0.2
#: the path that a silent SAMPLE sends once
SILENT_PATH = ["COUNTERS", "Ethernet*"]
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_connection_idle_ms", 5_000),
    ("grpc.max_send_message_length", 4 * 2**20),
)

Mode = gnmi_pb2.SubscriptionList.Mode
Sampling = gnmi_pb2.SubscriptionMode


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Start a server for each gNMI switch on ports of 127.0.0.1, in clear."""
    opened = [(leaf, *await serve(leaf, clock)) for leaf in leaves(factory, "gnmi")]

    async def close() -> None:
        await asyncio.gather(*(server.stop(None) for _, server, _ in opened))

    interval = poll_seconds(factory)
    devices = tuple(
        Device(leaf.switch.name, f"gnmi://127.0.0.1:{port}?tls=off", "sonic_gnmi", interval) for leaf, _, port in opened
    )
    return Service(devices, close)


async def serve(leaf: Leaf, clock: Callable[[], float] = time.time, port: int = 0) -> tuple[Any, int]:
    """Start the server of one switch; return it and its port."""
    server = grpc.aio.server(options=OPTIONS)
    gnmi_pb2_grpc.add_gNMIServicer_to_server(SwitchService(leaf, clock), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, bound


@dataclass(slots=True)
class _Subscription:
    """What one Subscribe asked for, and which of its paths had data in the last round."""

    prefix: Any
    paths: Sequence[Any]
    had_data: set[int] = field(default_factory=set)


class SwitchService(gnmi_pb2_grpc.gNMIServicer):  # type: ignore[misc]
    """The gNMI service of one switch."""

    def __init__(self, leaf: Leaf, clock: Callable[[], float]) -> None:
        self._leaf = leaf
        self._name = leaf.switch.name
        self._factory = leaf.factory
        self._databases = SonicDatabases(leaf)
        self._clock = clock
        #: one per Subscribe that lives -> its TCP connection; set when a newer Subscribe there takes over
        self._streams: dict[asyncio.Event, str] = {}

    async def Capabilities(self, request: Any, context: Any) -> Any:  # noqa: N802 (gNMI's name)
        """Answer what this server speaks."""
        await self._behave()
        model = gnmi_pb2.ModelData(name="sonic-db", organization="SONiC", version="0.1.0")
        encodings = [gnmi_pb2.Encoding.JSON, gnmi_pb2.Encoding.JSON_IETF, gnmi_pb2.Encoding.PROTO]
        return gnmi_pb2.CapabilityResponse(
            supported_models=[model], supported_encodings=encodings, gNMI_version="0.7.0"
        )

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer each path once; one that does not exist fails the call."""
        await self._behave()
        await self._check_target(request.prefix, context)
        updates = []
        for path in request.path:
            try:
                updates.append(self._update(request.prefix, path))
            except UnknownPathError as error:
                await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return gnmi_pb2.GetResponse(notification=[self._notification(request.prefix, update) for update in updates])

    async def Subscribe(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Stream, or answer polls, until the client leaves or opens another Subscribe on this connection."""
        first: Any = await anext(requests, None)
        if first is None or not first.HasField("subscribe"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "first message must be a subscription list")
        # Asked for once: after the call ended the context must not be touched, grpc crashes there.
        connection = context.peer()
        taken = self._take_over(connection)
        try:
            if self._leaf.quirks.at_capacity or len(self._streams) > SUBSCRIPTION_LIMIT:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Server connections are at capacity.")
            wanted = first.subscribe
            await self._check_target(wanted.prefix, context)
            await self._check_modes(wanted, context)
            answers = self._poll(wanted, requests) if wanted.mode == Mode.POLL else self._stream(wanted)
            async for response in _until(answers, taken):
                yield response
        except UnknownPathError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        finally:
            self._streams.pop(taken, None)

    def _take_over(self, connection: str) -> asyncio.Event:
        if self._leaf.quirks.one_subscribe:
            for before in [event for event, other in self._streams.items() if other == connection]:
                before.set()
                del self._streams[before]
        taken = asyncio.Event()
        self._streams[taken] = connection
        return taken

    async def _check_target(self, prefix: Any, context: Any) -> None:
        if not prefix.target:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Empty target data not supported")
        if prefix.target not in (*DATABASES, OTHERS):
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"Invalid target {prefix.target}")

    async def _check_modes(self, wanted: Any, context: Any) -> None:
        no_poll = wanted.mode == Mode.POLL and (self._leaf.quirks.no_poll or wanted.prefix.target == OTHERS)
        if no_poll:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "POLL subscription not supported for this target")
        if wanted.mode == Mode.ONCE:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "ONCE subscription not supported for this target")
        if wanted.mode != Mode.STREAM:
            return
        for one in wanted.subscription:
            if one.mode == Sampling.TARGET_DEFINED:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unsupported subscription mode, TARGET_DEFINED")
            if 0 < one.sample_interval < LEAST_INTERVAL * 1e9:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"invalid interval: {one.sample_interval} is under 1 s"
                )

    async def _poll(self, wanted: Any, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        subscription = _Subscription(wanted.prefix, [one.path for one in wanted.subscription])
        for path in subscription.paths:
            self._update(wanted.prefix, path)
        while True:
            await self._behave()
            for notification in self._round(subscription):
                yield gnmi_pb2.SubscribeResponse(update=notification)
            yield gnmi_pb2.SubscribeResponse(sync_response=True)
            if await anext(requests, None) is None:
                return

    async def _stream(self, wanted: Any) -> AsyncIterator[Any]:
        """Send each subscription's whole value at its interval, of those ON_CHANGE what differs."""
        monotonic = asyncio.get_running_loop().time
        due = dict.fromkeys(range(len(wanted.subscription)), monotonic())
        sent: dict[int, Any] = {}
        synced = False
        while True:
            await self._behave()
            for number, one in enumerate(wanted.subscription):
                if due[number] > monotonic():
                    continue
                on_change = one.mode == Sampling.ON_CHANGE
                for notification in (self._changed if on_change else self._sampled)(wanted.prefix, one, number, sent):
                    yield gnmi_pb2.SubscribeResponse(update=notification)
                due[number] += CHANGE_INTERVAL if on_change else one.sample_interval / 1e9 or DEFAULT_INTERVAL
            if not synced:
                synced = True
                yield gnmi_pb2.SubscribeResponse(sync_response=True)
            await asyncio.sleep(max(0.01, min(due.values(), default=0.0) - monotonic()))

    def _sampled(self, prefix: Any, one: Any, number: int, sent: dict[int, Any]) -> list[Any]:
        """Return the whole value; one that was deleted is sent on as it was, with a fresh time stamp."""
        if number in sent and self._leaf.quirks.silent_sample and _names(prefix, one.path) == SILENT_PATH:
            return []
        try:
            sent[number] = self._update(prefix, one.path)
        except UnknownPathError:
            if number not in sent:
                raise
        return [self._notification(prefix, sent[number])]

    def _changed(self, prefix: Any, one: Any, number: int, sent: dict[int, Any]) -> list[Any]:
        """Return the value at first, then an update per key whose hash differs, and deletes of keys that are gone."""
        found = self._read(prefix, one.path)
        value = json.loads(found) if isinstance(found, Json) else found
        before, sent[number] = sent.get(number), value
        if before is None:
            return [self._notification(prefix, _update(one.path, value))]
        if not all(isinstance(each, dict) for table in (before, value) for each in _hashes(table)):
            return [] if before == value else [self._notification(prefix, _update(one.path, value))]
        changed = [{key: fields} for key, fields in value.items() if before.get(key) != fields]
        gone = [gnmi_pb2.Path(elem=[*one.path.elem, gnmi_pb2.PathElem(name=key)]) for key in before if key not in value]
        return [
            *(self._notification(prefix, _update(one.path, each)) for each in changed),
            *(gnmi_pb2.Notification(timestamp=self._now_ns(), prefix=prefix, delete=[path]) for path in gone),
        ]

    def _round(self, subscription: _Subscription) -> list[Any]:
        notifications = []
        for number, path in enumerate(subscription.paths):
            try:
                update = self._update(subscription.prefix, path)
            except UnknownPathError:
                if number in subscription.had_data:
                    subscription.had_data.discard(number)
                    notifications.append(
                        gnmi_pb2.Notification(timestamp=self._now_ns(), prefix=subscription.prefix, delete=[path])
                    )
                continue
            subscription.had_data.add(number)
            notifications.append(self._notification(subscription.prefix, update))
        return notifications

    def _update(self, prefix: Any, path: Any) -> Any:
        return _update(path, self._read(prefix, path))

    def _read(self, prefix: Any, path: Any) -> Any:
        return self._databases.read(prefix.target, _names(prefix, path), self._clock())

    def _notification(self, prefix: Any, update: Any) -> Any:
        return gnmi_pb2.Notification(timestamp=self._now_ns(), prefix=prefix, update=[update])

    def _now_ns(self) -> int:
        return int(self._clock() * 1e9)

    async def _behave(self) -> None:
        """Answer late, or not at all, while a fault says so."""
        await asyncio.sleep(self._factory.slow.get(self._name, 0.0))
        while self._name in self._factory.silent:
            await asyncio.sleep(SILENCE_INTERVAL)


def _names(prefix: Any, path: Any) -> list[str]:
    return [element.name for element in (*prefix.elem, *path.elem)]


def _hashes(value: Any) -> list[Any]:
    """Return the rows of a table; text has none and counts as no table."""
    return list(value.values()) if isinstance(value, dict) else [value]


def _update(path: Any, found: Any) -> Any:
    if isinstance(found, str) and not isinstance(found, Json):
        return gnmi_pb2.Update(path=path, val=gnmi_pb2.TypedValue(string_val=found))
    text = found if isinstance(found, Json) else json.dumps(found)
    return gnmi_pb2.Update(path=path, val=gnmi_pb2.TypedValue(json_ietf_val=text.encode()))


async def _until(answers: AsyncIterator[Any], taken: asyncio.Event) -> AsyncIterator[Any]:
    """Pass answers on until a newer Subscribe takes the connection over."""
    ended = asyncio.ensure_future(taken.wait())
    try:
        while True:
            following = asyncio.ensure_future(anext(answers, None))
            try:
                await asyncio.wait((following, ended), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                following.cancel()
                raise
            if ended.done():
                following.cancel()
                return
            response = following.result()
            if response is None:
                return
            yield response
    finally:
        ended.cancel()
