"""STREAM subscriptions: values sampled at the device's own clock, and changes as they happen.

Each has a task that does nothing but read, so that a store or a poll that is late never makes the device's queue grow
(SONiC's is unbounded: a slow reader drives its container out of memory). What is read and not fetched yet is bounded:
of a sampled path the newest value, of changes the last `CHANGES_KEPT`; older ones are dropped and counted.

Source: gNMI specification 0.8.0, section 3.5.1.5.2; sonic-net/sonic-gnmi #26 (queue), #541 (SAMPLE goes silent).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from pygnmi.spec.v080 import gnmi_pb2_grpc

from collectors.collector import CollectError, DeviceRefusedError
from collectors.gnmi.answers import Round, change_request, make_path, sample_request
from collectors.gnmi.client import GnmiClient

CHANGES_KEPT = 1000

Take = Callable[[Any], None]


@dataclass(slots=True)
class Reader:
    """One STREAM subscription and the task that reads it; `take` gets each notification as it comes."""

    client: GnmiClient
    request: Any
    what: str
    take: Take
    #: called when the device has sent all that there was at the start
    on_sync: Callable[[], None] = lambda: None
    #: the device has sent all that there was at the start
    synced: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    #: why it ended
    error: CollectError | None = field(default=None, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    def start(self) -> None:
        """Open the subscription on a connection of its own and read until it ends."""
        self._task = asyncio.create_task(self._run())

    async def wait(self, event: asyncio.Event, timeout_s: float | None = None) -> bool:
        """Wait for the event or the end, no longer than `timeout_s`; return whether the reading has ended."""
        waiting = asyncio.ensure_future(event.wait())
        reading = {self._task} if self._task is not None else set()
        try:
            await asyncio.wait({waiting, *reading}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        return self._task is None or self._task.done()

    async def aclose(self) -> None:
        """Cancel the subscription and close its connection."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        channel = None
        try:
            metadata = self.client.metadata()
            channel = self.client.open_channel()
            call = gnmi_pb2_grpc.gNMIStub(channel).Subscribe(metadata=metadata)
            await self._read(call)
            self.error = self.client.explain(await call.code(), await call.details(), self.what)
        except grpc.aio.AioRpcError as error:
            self.error = self.client.explain(error.code(), error.details(), self.what)
        except asyncio.InvalidStateError:
            # gRPC says so when the stream ended while we wrote.
            self.error = self.client.explain(grpc.StatusCode.UNAVAILABLE, "stream ended", self.what)
        except CollectError as error:
            self.error = error
        finally:
            if channel is not None:
                await channel.close()

    async def _read(self, call: Any) -> None:
        self.client.requests += 1
        await call.write(self.request)
        while (response := await call.read()) is not grpc.aio.EOF:
            if response.HasField("update"):
                self.take(response.update)
            if response.HasField("sync_response"):
                self.synced.set()
                self.on_sync()


class Sampler:
    """Paths of one database that the device sends by itself at an interval; the newest of each is kept."""

    def __init__(
        self,
        client: GnmiClient,
        database: str,
        paths: tuple[str, ...],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval_s` under 1 s is refused by SONiC, so it is raised to that."""
        self.paths = paths
        self.interval_s = max(1.0, interval_s)
        #: values that a newer one replaced before they were fetched
        self.dropped = 0
        self._clock = clock
        self._keys = {tuple(element.name for element in make_path(path).elem): path for path in paths}
        self._unfetched: dict[str, Any] = {}
        self._updates = dict.fromkeys(paths, 0)
        self._updated = dict.fromkeys(paths, clock())
        self._fresh = asyncio.Event()
        self._received_ns = 0
        what = f"Subscribe SAMPLE {database} {', '.join(paths)}"
        self._reader = Reader(client, sample_request(database, paths, int(self.interval_s * 1e9)), what, self._take)
        self._client = client

    def start(self) -> None:
        """Begin to read."""
        self._reader.start()

    @property
    def error(self) -> CollectError | None:
        """Return why the stream ended, or None while it runs."""
        return self._reader.error

    @property
    def proven(self) -> bool:
        """Return whether every path brought a second value: images up to 202511 fall silent after the first."""
        return all(count > 1 for count in self._updates.values())

    def silent_s(self) -> float:
        """Return for how long the most silent path has sent nothing. Units: s."""
        return self._clock() - min(self._updated.values())

    async def fetch(self, wait_s: float) -> Round:
        """Return what came since the last fetch, one value per path; wait at most `wait_s` for paths that lack one."""
        await self._reader.wait(self._fresh, wait_s)
        if self.error is not None:
            raise self.error
        found = Round(self.paths, list(self._unfetched.values()))
        if found.notifications:
            # The device was not asked: what it says of its time is as old as the way of its message.
            found.stamp(self._received_ns, self._received_ns)
        self._unfetched.clear()
        self._fresh.clear()
        return found

    async def aclose(self) -> None:
        """End the subscription."""
        await self._reader.aclose()

    def _take(self, notification: Any) -> None:
        for changed in (*(update.path for update in notification.update), *notification.delete):
            path = self._keys.get(tuple(element.name for element in changed.elem))
            if path is None:
                continue
            self.dropped += path in self._unfetched
            self._unfetched.pop(path, None)
            self._unfetched[path] = notification
            self._updates[path] += 1
            self._updated[path] = self._clock()
        if self._unfetched and next(iter(self._unfetched.values())) is notification:
            self._received_ns = self._client.wall_ns()
        if len(self._unfetched) == len(self.paths):
            self._fresh.set()


class Changes:
    """A table of one database whose changes the device tells as they happen."""

    def __init__(self, client: GnmiClient, database: str, path: str) -> None:
        self.path = path
        self._client = client
        #: changes that nobody fetched in time
        self.dropped = 0
        self._waiting: deque[Any] = deque(maxlen=CHANGES_KEPT)
        self._arrived = asyncio.Event()
        what = f"Subscribe ON_CHANGE {database} {path}"
        self._reader = Reader(client, change_request(database, (path,)), what, self._take, self._arrived.set)

    def start(self) -> None:
        """Begin to read."""
        self._reader.start()

    @property
    def error(self) -> CollectError | None:
        """Return why the stream ended, or None while it runs."""
        return self._reader.error

    @property
    def synced(self) -> bool:
        """Return whether the device sent the whole table and said so: the mode is proven."""
        return self._reader.synced.is_set()

    async def fetch(self) -> list[Any]:
        """Wait for changes and return their notifications in order; nothing where the device only became `synced`.

        Raises:
            CollectError: why the stream ended, when all changes are fetched.
        """
        ended = await self._reader.wait(self._arrived)
        found, arrived = list(self._waiting), self._arrived.is_set()
        self._waiting.clear()
        self._arrived.clear()
        if ended and not arrived:
            raise self.error or DeviceRefusedError(f"{self._client.where}: {self.path}: reading ended")
        return found

    async def aclose(self) -> None:
        """End the subscription."""
        await self._reader.aclose()

    def _take(self, notification: Any) -> None:
        self.dropped += len(self._waiting) == CHANGES_KEPT
        self._waiting.append(notification)
        self._arrived.set()
