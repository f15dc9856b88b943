"""One database of one gNMI device: which paths it answers, by which mode, and when it may be asked again.

The first question is a probe: each path by itself by Get, whose answers are the first round. A path that is refused is
left out and asked again each hour. Then POLL, on one stream; a device that refuses POLL is asked by Get while SAMPLE is
on trial; SAMPLE is taken once every path brought a second value. There is never more than one stream: rare paths, which
are not due with each round, are asked by Get on its connection. Where Get is unknown they are part of the stream.

A round that is not complete when its poll ends goes on, and is thrown away when it comes: its stamp would be wrong. Not
complete in three intervals: the stream is closed. After a failure in a row the source rests 1, 2, 4 .. 60 s, longer
where the error says so, and up to a quarter more, by its name.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from collectors.collector import CollectError, DeviceTimeoutError
from collectors.gnmi.answers import Round
from collectors.gnmi.client import GnmiClient, GnmiStream
from collectors.gnmi.errors import PollRefusedError
from collectors.gnmi.stream import Sampler

Mode = Literal["poll", "sample", "get"]

REST_LIMIT_S = 60.0
#: share of a rest that is added by name, so that a fleet does not come back in one instant
JITTER = 0.25
#: seconds until a refused path or mode is tried again
RETRY_S = 3600.0
#: intervals without a complete round until the stream is closed
PATIENCE = 3
#: share of its deadline that a sampled round may wait for its values
WAIT_SHARE = 0.8


def rest_s(name: str, failures: int, least_s: float = 0.0) -> float:
    """Return how long to rest after so many failures in a row: doubling, bounded, spread by the name. Units: s."""
    # The first failure costs no poll: a server that was restarted is there again.
    delay = max(least_s, min(REST_LIMIT_S, 2.0 ** min(failures - 2, 10)) if failures > 1 else 0.0)
    return delay * (1.0 + JITTER * zlib.crc32(f"{name} {failures}".encode()) / 2**32)


@dataclass(slots=True, eq=False)
class Source:
    """All paths of one database at one cadence; use `begin`, then `take`."""

    client: GnmiClient
    database: str
    #: all that the profile asks for
    wanted: tuple[str, ...]
    slow: bool
    interval_s: float
    clock: Callable[[], float] = time.monotonic
    #: the mode that the operator wants, None to find one
    forced: Mode | None = None
    #: those of them that are due with slow rounds only
    rare: tuple[str, ...] = ()
    #: paths beyond those of the profile that are asked by Get with each round
    extra: tuple[str, ...] = ()
    #: path -> why the device refuses it
    refused: dict[str, PollRefusedError] = field(default_factory=dict)
    mode: Mode = "poll"
    reconnects: int = 0
    stream: GnmiStream | None = None
    sampler: Sampler | None = None
    _paths: tuple[str, ...] = ()
    _rare: tuple[str, ...] = ()
    _probed_at: float | None = None
    _poll_after: float = 0.0
    _trial_after: float = 0.0
    _failures: int = 0
    _error: CollectError | None = None
    _rest_until: float = 0.0
    _task: asyncio.Task[Sequence[Round]] | None = None
    _begun_at: float = 0.0
    _late: bool = False
    _dropped: int = 0

    @property
    def dropped(self) -> int:
        """Return how many sampled values were replaced before they were fetched."""
        return self._dropped + (self.sampler.dropped if self.sampler else 0)

    @property
    def has_nothing(self) -> bool:
        """Return whether the device refuses every path of it, until the next time to try them."""
        return self._probed_at is not None and not self._paths and self.clock() - self._probed_at < RETRY_S

    def begin(self, deadline_s: float, *, slow: bool) -> asyncio.Task[Sequence[Round]]:
        """Return the task of a round, with the rare paths where it is a slow one.

        A round that is still under way goes on, one that came too late is forgotten.
        """
        if self._task is not None and self._task.done():
            self._forget()
        if self._task is None:
            self._begun_at = self.clock()
            self._late = False
            self._task = asyncio.create_task(self._ask(deadline_s, slow))
        return self._task

    async def take(self) -> Sequence[Round]:
        """Return the round that `begin` began, after it was waited for.

        Raises:
            CollectError: it failed, is not complete, or the source rests after a failure.
        """
        task = self._task
        assert task is not None
        waited = self.clock() - self._begun_at
        if not task.done():
            self._late = True
            what = f"{self.client.where}: {self.database}: round not complete"
            if waited < PATIENCE * self.interval_s:
                raise DeviceTimeoutError(f"{what}: give a longer timeout if this goes on")
            await self._stop_task()
            raise await self._fail(DeviceTimeoutError(f"{what} in {waited:.0f} s: stream closed"))
        late = self._late
        self._task = None
        if late:
            self._swallow(task)
            raise DeviceTimeoutError(f"{self.client.where}: {self.database}: round came after its poll: thrown away")
        return task.result()

    async def aclose(self) -> None:
        """End what is under way and close every stream."""
        await self._stop_task()
        await self._close_streams()

    async def _ask(self, deadline_s: float, slow: bool) -> Sequence[Round]:
        if self._error is not None and self.clock() < self._rest_until:
            raise self._error
        try:
            rounds = await self._round(deadline_s, slow)
        except CollectError as error:
            raise await self._fail(error) from error
        self._failures = 0
        self._error = None
        return rounds

    async def _round(self, deadline_s: float, slow: bool) -> Sequence[Round]:
        if self._probed_at is None or (self.refused and self.clock() - self._probed_at >= RETRY_S):
            rounds, rare = await self._probe(), self._rare[:0]
        else:
            rounds, rare = await self._by_mode(deadline_s), self._rare if slow else ()
        beside = (*rare, *self.extra)
        return [*rounds, *await self._by_get(beside, {})] if beside else rounds

    async def _by_mode(self, deadline_s: float) -> list[Round]:
        if self.mode != "poll" and self.forced is None and self.clock() >= self._poll_after:
            await self._close_streams()
            self.mode = "poll"
        if self.mode == "poll":
            try:
                return [await self._poll()]
            except PollRefusedError:
                if self._is_probe_old():
                    return await self._probe()
                if self.forced == "poll":
                    raise
                self.mode = "get"
                self._poll_after = self.clock() + RETRY_S
        return await self._sample(deadline_s) or await self._by_get(self._paths, self.refused)

    def _is_probe_old(self) -> bool:
        """Tell whether a refusal may come from a path that vanished since it was probed."""
        return self._probed_at is None or self.clock() - self._probed_at > 2 * PATIENCE * self.interval_s

    async def _poll(self) -> Round:
        if self.stream is None or self.stream.paths != self._paths:
            await self._close_streams()
            self.stream = GnmiStream(self.client, self.database, self._paths)
        return await self.stream.ask()

    async def _sample(self, deadline_s: float) -> list[Round]:
        """Return a sampled round, or nothing while the mode is on trial or known to fall silent."""
        if self.forced == "get":
            return []
        if self.sampler is None and self.clock() >= self._trial_after:
            self.sampler = Sampler(self.client, self.database, self._paths, self.interval_s, self.clock)
            self.sampler.start()
        sampler = self.sampler
        if sampler is None:
            return []
        failed = sampler.error is not None or sampler.silent_s() > PATIENCE * sampler.interval_s
        if self.mode == "sample" and failed:
            silent = f"{self.client.where}: {self.database}: SAMPLE silent for {sampler.silent_s():.0f} s"
            raise sampler.error or DeviceTimeoutError(silent)
        if failed:
            await self._close_streams()
            self._trial_after = self.clock() + RETRY_S
        elif sampler.proven:
            self.mode = "sample"
            return [await sampler.fetch(WAIT_SHARE * deadline_s)]
        return []

    async def _by_get(self, paths: Sequence[str], refused: dict[str, PollRefusedError]) -> list[Round]:
        """Ask path by path: one that is refused costs only itself, and is noted in `refused`."""
        rounds = []
        shared = self.stream.channel if self.stream is not None else None
        channel = shared or self.client.open_channel()
        try:
            for path in paths:
                try:
                    rounds.append(await self.client.get_round(self.database, (path,), channel))
                except PollRefusedError as error:
                    refused[path] = error
        finally:
            if channel is not shared:
                await channel.close()
        self._paths = tuple(path for path in self._paths if path not in self.refused)
        return rounds

    async def _probe(self) -> list[Round]:
        """Try each path by itself: by Get, or where that is unknown by a POLL of its own."""
        self.refused.clear()
        self._paths = self.wanted
        await self._close_streams()
        rounds, rare = await self._by_get(self.wanted, self.refused), self.rare
        if not rounds and all("UNIMPLEMENTED" in str(error) for error in self.refused.values()):
            refused = dict(self.refused)
            self.refused.clear()
            rounds, rare = await self._probe_by_poll(), ()
            self.refused = {path: refused.get(path, error) for path, error in self.refused.items()}
        self._rare = tuple(path for path in rare if path not in self.refused)
        good = tuple(path for path in self.wanted if path not in self.refused)
        self._paths = tuple(path for path in good if path not in self._rare)
        if not self._paths:
            self._paths, self._rare = good, ()
        self._probed_at = self.clock()
        if self.forced in ("sample", "get"):
            self.mode = "get"
        return rounds

    async def _probe_by_poll(self) -> list[Round]:
        rounds = []
        for path in self.wanted:
            stream = GnmiStream(self.client, self.database, (path,))
            try:
                rounds.append(await stream.ask())
            except PollRefusedError as error:
                self.refused[path] = error
            finally:
                await stream.aclose()
        return rounds

    async def _fail(self, error: CollectError) -> CollectError:
        """Close the stream, rest, and return the error that is told meanwhile."""
        if error is self._error:
            return error
        had_stream = self.stream is not None or self.sampler is not None
        await self._close_streams()
        self.reconnects += had_stream
        self._failures += 1
        rest = rest_s(f"{self.client.where} {self.database}", self._failures, error.rest_seconds)
        self._rest_until = self.clock() + rest
        self._error = error
        return error

    async def _close_streams(self) -> None:
        stream, sampler = self.stream, self.sampler
        self.stream = self.sampler = None
        if self.mode == "sample":
            self.mode = "get"
        if stream is not None:
            await stream.aclose()
        if sampler is not None:
            self._dropped += sampler.dropped
            await sampler.aclose()

    async def _stop_task(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _forget(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            self._swallow(task)

    @staticmethod
    def _swallow(task: asyncio.Task[Sequence[Round]]) -> None:
        """Take the outcome of a task that nobody wants, so that asyncio does not complain."""
        if not task.cancelled():
            task.exception()
