"""When an agent refreshed its counters: SONiC's answers from a cache, each 3 to 7 s, and does not say of when it is.

A rate over two polls of such a cache is wrong by up to the refresh over the interval. So a poll asks one column of the
busiest ports until an answer changes, and takes the counters then: they are as old as the change, which lies between
the last answer that was the same and the first that was not.

Some images refresh each 60 s (`--enable_dynamic_frequency`). A switch that was busy, or is not known yet, is taken for
one of them for `SLOWEST_S` while all its counters stand where they stood: the same sample read again says nothing, and
with a stamp of its own it would make the next growth look as if it came within one poll.

An idle switch changes nothing and is not waited for: a wait begins only when some port moved by `PACE` between the last
two polls. A poll without a wait that finds a port so busy waits after all and takes the counters again.

Source: rule C8 of the SONiC facts; measured there: 10 s samples wrong by 60 % without it, by 13 % with it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.snmp.session import Value

#: time between two looks, and the longest wait for a change. Units: s
LOOK_S = 0.5
LONGEST_S = 8.0
#: ports looked at: the busiest may have been unplugged since
WATCHED = 3
#: growth per second above which each refresh moves the counter: about a packet a second, in bytes
PACE = 1000.0

#: longest time between two refreshes: 60 s, and how much the agent spreads them. Units: s
SLOWEST_S = 70.0

MILLISECOND_NS = 1_000_000

Ask = Callable[[Sequence[str]], Awaitable[Mapping[str, Value]]]


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks that a poll reads and how it waits; tests pass their own."""

    time_ns: Callable[[], int] = time.time_ns
    #: seconds that never go back
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh that was seen: its instant in epoch ns, in whole milliseconds, and on the monotonic clock in s."""

    time_ns: int
    at_s: float


class Anchor:
    """The refreshes of one agent."""

    def __init__(self, column: str, clock: Clock) -> None:
        """`column` is a counter's that the agent refreshes with those that matter."""
        self._column = column
        self._clock = clock
        self._before: dict[str, int] = {}
        self._before_s = 0.0
        #: whether two sets were compared yet
        self._paced = False
        #: the busiest instances, the busiest first; before two polls nobody knows which they are
        self._busy: list[str] | None = None
        #: the last refresh that was seen, and the time between two in a row. Units: s
        self.last: Refresh | None = None
        self.period_s: float | None = None
        #: whether the last poll waited for a refresh
        self.waited = False
        #: whether the last set is the one before it, read again
        self.stale = False

    def instances(self, indexes: Iterable[str]) -> list[str]:
        """Return the instances to look at before the next set: those of all rows until the busy ones are known."""
        if self._busy is None:
            return [f"{self._column}.{index}" for index in indexes]
        return self._busy[:WATCHED]

    async def wait(
        self, ask: Ask, oids: Sequence[str], longest_s: float, since: Refresh | None = None
    ) -> Refresh | None:
        """Return the next refresh that one of the instances shows, None where none comes in time.

        With `since`, the refresh before it, the time between both is noted.
        """
        self.waited = bool(oids)
        until = self._clock.monotonic() + min(LONGEST_S, longest_s)
        same, same_ns, same_s = await self._look(ask, oids)
        while same and self._clock.monotonic() < until:
            await self._clock.sleep(LOOK_S)
            now, now_ns, now_s = await self._look(ask, oids)
            if changed := [oid for oid, value in same.items() if now.get(oid, value) != value]:
                if self._busy is None:
                    self._busy = changed[:WATCHED]
                middle = (same_ns + now_ns) // 2 // MILLISECOND_NS * MILLISECOND_NS
                self.last = Refresh(middle, (same_s + now_s) / 2)
                if since is not None:
                    self.period_s = self.last.at_s - since.at_s
                return self.last
            same_ns, same_s = now_ns, now_s
        if same and self._busy is None:
            self._busy = []
        return None

    def note(self, values: Mapping[str, Value], indexes: Iterable[str]) -> None:
        """Take the counters of a set, to know which ports are busy."""
        now, now_s = {}, self._clock.monotonic()
        for index in indexes:
            oid = f"{self._column}.{index}"
            value = values.get(oid)
            if isinstance(value, int):
                now[oid] = value
        unsure = bool(self._busy) or not self._paced
        self.stale = unsure and bool(now) and now == self._before and now_s - self._before_s < SLOWEST_S
        if self.stale:
            return
        if self._before and now_s > self._before_s:
            self._paced = True
            least = PACE * (now_s - self._before_s)
            grown = {oid: value - self._before.get(oid, value) for oid, value in now.items()}
            busy = sorted(
                (oid for oid, growth in grown.items() if growth >= least), key=grown.__getitem__, reverse=True
            )
            self._busy = busy[:WATCHED]
        if now:
            self._before, self._before_s = now, now_s

    async def _look(self, ask: Ask, oids: Sequence[str]) -> tuple[dict[str, Value], int, float]:
        """Return the answers and when they were given: in the middle between request and receipt."""
        sent_ns, sent_s = self._clock.time_ns(), self._clock.monotonic()
        values = dict(await ask(oids)) if oids else {}
        return values, (sent_ns + self._clock.time_ns()) // 2, (sent_s + self._clock.monotonic()) / 2
