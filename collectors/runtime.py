"""All targets of one collector: one scheduled job each, aligned, spread, skipped rather than stacked."""

import asyncio
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from collectors.collector import Target, Trap
from collectors.discovery import Lists, TargetList
from collectors.poller import Poller, Shared, place, slot_ns
from collectors.precedence import Precedence
from collectors.profile import Library
from storage.point import Point

if TYPE_CHECKING:
    from collectors.snmp.traps import TrapReceiver

logger = logging.getLogger(__name__)

SELF_PERIOD_S = 10.0
PROFILES_PERIOD = timedelta(seconds=5)
INVENTORY_PERIOD_S = 3600.0
#: targets that are taken from a list before polls get their turn
_AT_ONCE = 200
#: names told of those that come or go
_TOLD = 5

Put = Callable[[Sequence[Point]], None]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What one collector looks after."""

    targets: Sequence[Target]
    library: Library
    #: tags of the collector's own points: site, source, synthetic
    tags: Mapping[str, str] = field(default_factory=dict)
    #: device -> row, rack, host, scope, for gateways that speak for others
    places: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: the inventory as points, stamped with the epoch ns given
    inventory: Callable[[int], Sequence[Point]] = lambda _: ()
    #: polls in flight at once; more wait their turn
    concurrency: int = 256
    #: lists of further targets, which come and go while it runs
    lists: Sequence[TargetList] = ()
    #: host and UDP port for SNMP traps; None: they are not heard
    traps: tuple[str, int] | None = None
    #: time between two looks at the profiles' files
    profiles_every: timedelta = PROFILES_PERIOD


class Runtime:
    """Poll a fleet until told to stop and hand every point to `put`, which must not block."""

    def __init__(self, fleet: Fleet, put: Put, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._fleet = fleet
        self._put = put
        self._clock_ns = clock_ns
        self._precedence = Precedence()
        self._shared: Shared = {}
        self._pollers = {target.name: self._poller(target) for target in fleet.targets}
        self._lists = Lists(fleet.lists, fleet.targets)
        #: names of the targets that a list has brought
        self._found: set[str] = set()
        self._changing = asyncio.Lock()
        self._gate = asyncio.Semaphore(fleet.concurrency)
        #: what is in flight, and the target that it asks
        self._running: dict[asyncio.Task[None], str] = {}
        self._written = 0
        self._skipped = 0
        self._traps: TrapReceiver | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set, then cancel what is in flight and close every connection."""
        scheduler = self._schedule()
        scheduler.start()
        hearing = asyncio.create_task(self._hear())
        try:
            await stop.wait()
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            scheduler.remove_all_jobs()
            await self._cancel(self._running)
            scheduler.shutdown(wait=False)
            await asyncio.gather(*(poller.aclose() for poller in self._pollers.values()), return_exceptions=True)

    async def _hear(self) -> None:
        """Hear the targets' notifications until cancelled."""
        if self._fleet.traps is None:
            return
        from collectors.snmp.traps import Door, TrapReceiver  # pysnmp: only who listens pays for it

        snmp = [poller.target for poller in self._pollers.values() if poller.target.protocol == "snmp"]
        doors = [Door(target, partial(self._take_trap, target.name)) for target in snmp]
        self._traps = TrapReceiver(self._fleet.traps, doors)
        while True:
            try:
                await self._traps.run()
            except Exception:
                logger.exception("SNMP traps: unexpected; heard again in %g s", SELF_PERIOD_S)
            await asyncio.sleep(SELF_PERIOD_S)

    def _take_trap(self, name: str, trap: Trap) -> None:
        if name in self._pollers:
            self._pollers[name].take_trap(trap, self._clock_ns())

    def _schedule(self) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        scheduler.add_listener(self._count_skip, EVENT_JOB_MAX_INSTANCES)
        for poller in self._pollers.values():
            self._add_poller(scheduler, poller)
        for number, each in enumerate(self._lists.lists):
            look, seconds = partial(self._look, scheduler, each), each.refresh.total_seconds()
            scheduler.add_job(
                look, "interval", seconds=seconds, id=f"tokenwatt:list-{number}", next_run_time=datetime.now(UTC)
            )
        look, seconds = partial(self._reload, scheduler), self._fleet.profiles_every.total_seconds()
        scheduler.add_job(look, "interval", seconds=seconds, id="tokenwatt:profiles")
        self._add(scheduler, self._report_self, "tokenwatt:self", timedelta(seconds=SELF_PERIOD_S))
        self._add(scheduler, self._report_inventory, "tokenwatt:inventory", timedelta(seconds=INVENTORY_PERIOD_S))
        scheduler.add_job(self._report_inventory, "date", run_date=datetime.now(UTC))
        return scheduler

    def _add(self, scheduler: AsyncIOScheduler, job: Callable[[], object], name: str, interval: timedelta) -> None:
        # A fixed phase per name spreads the load; `jitter` would move it at each run and break the grid.
        scheduler.add_job(job, "interval", **self._grid(name, interval), id=name)

    def _grid(self, name: str, interval: timedelta) -> dict[str, Any]:
        """Return the scheduler's words for the grid of that name, from its next instant on."""
        start_ns = slot_ns(name, _ns(interval), self._clock_ns()) + _ns(interval)
        return {"seconds": interval.total_seconds(), "start_date": datetime.fromtimestamp(start_ns / 1e9, UTC)}

    def _poller(self, target: Target) -> Poller:
        return Poller(
            target, self._fleet.library, precedence=self._precedence, push=self._take_pushed, shared=self._shared
        )

    def _add_poller(self, scheduler: AsyncIOScheduler, poller: Poller) -> None:
        self._add(scheduler, partial(self._poll, scheduler, poller), poller.target.name, poller.interval)

    def _keep_time(self, scheduler: AsyncIOScheduler, poller: Poller, before: timedelta) -> None:
        """Have a target polled on the grid of its interval where that was another one before."""
        if poller.interval != before:
            name = poller.target.name
            scheduler.reschedule_job(name, trigger="interval", **self._grid(name, poller.interval))

    async def _look(self, scheduler: AsyncIOScheduler, which: TargetList) -> None:
        """Look at a list of targets; poll those that came, let those go that vanished, replace those that changed."""
        with self._cancellable():
            await self._lists.look(which)
            async with self._changing:
                wanted = {target.name: target for target in self._lists.targets()}
                gone = [name for name in self._found if wanted.get(name) != self._pollers[name].target]
                await self._drop(scheduler, gone)
                await self._take(scheduler, [target for name, target in wanted.items() if name not in self._found])

    async def _drop(self, scheduler: AsyncIOScheduler, names: Sequence[str]) -> None:
        """Forget targets: none of their polls gives a point any more."""
        if not names:
            return
        for name in names:
            scheduler.remove_job(name)
        vanished = set(names)
        await self._cancel(task for task, name in self._running.items() if name in vanished)
        self._found -= vanished
        closing = [self._pollers.pop(name).aclose() for name in names]
        await asyncio.gather(*closing, return_exceptions=True)
        logger.info("%d targets have gone from the lists: %s", len(names), _first(names))

    async def _take(self, scheduler: AsyncIOScheduler, targets: Sequence[Target]) -> None:
        for number, target in enumerate(targets):
            poller = self._pollers[target.name] = self._poller(target)
            self._found.add(target.name)
            self._add_poller(scheduler, poller)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)  # thousands come at once, and polls must not wait for them
        if targets:
            logger.info("%d targets have come from the lists: %s", len(targets), _first([t.name for t in targets]))

    async def _reload(self, scheduler: AsyncIOScheduler) -> None:
        """Look at the profiles' files again; targets whose profile changed are asked by the new one from then on.

        A target that was to be recognised is recognised again when a profile of its protocol changed.
        """
        with self._cancellable():
            if changed := await asyncio.to_thread(self._fleet.library.refresh):
                await self._change(scheduler, changed)

    async def _change(self, scheduler: AsyncIOScheduler, changed: Collection[str]) -> None:
        library = self._fleet.library
        protocols = {library.profile(name).protocol for name in changed}
        async with self._changing:
            targets = [poller.target for poller in self._pollers.values()]
            concerned = [t for t in targets if t.profile in changed or (not t.profile and t.protocol in protocols)]
            old = [self._exchange(scheduler, target) for target in concerned]
        logger.info("%d targets are asked by changed profiles: %s", len(concerned), _first(sorted(changed)))
        moved = [each.target.name for each in old if self._pollers[each.target.name].interval != each.interval]
        if moved:
            logger.info("%d targets have another interval by poll.fast of their profile: %s", len(moved), _first(moved))
        await asyncio.gather(*(self._retire(poller) for poller in old), return_exceptions=True)

    def _exchange(self, scheduler: AsyncIOScheduler, target: Target) -> Poller:
        """Begin a target anew from its next poll on; return what polled it."""
        old, new = self._pollers[target.name], self._poller(target)
        new.go_on(old)
        self._pollers[target.name] = new
        scheduler.modify_job(target.name, func=partial(self._poll, scheduler, new))
        self._keep_time(scheduler, new, old.interval)
        return old

    async def _retire(self, poller: Poller) -> None:
        """Close what polled a target, once its last poll is over."""
        own = [task for task, name in self._running.items() if name == poller.target.name]
        await asyncio.gather(*own, return_exceptions=True)
        await poller.aclose()

    async def _cancel(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        cancelled = list(tasks)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)

    async def _poll(self, scheduler: AsyncIOScheduler, poller: Poller) -> None:
        with self._cancellable(poller.target.name):
            async with self._gate:
                if self._pollers.get(poller.target.name) is not poller:
                    return  # it vanished from its list between being due and its turn
                interval = poller.interval
                stamp = slot_ns(poller.target.name, _ns(interval), self._clock_ns())
                self._give(place(await poller.poll(stamp), self._fleet.places))
                if self._pollers.get(poller.target.name) is poller:
                    self._keep_time(scheduler, poller, interval)  # it was recognised

    @contextmanager
    def _cancellable(self, name: str = "") -> Iterator[None]:
        """Have the end of the collector, or of the target `name`, cancel this job; it ends quietly then.

        The scheduler logs a traceback for each job that is cancelled otherwise.
        """
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = name
        try:
            yield
        except asyncio.CancelledError:
            return
        finally:
            self._running.pop(task, None)

    def _take_pushed(self, points: Sequence[Point]) -> None:
        self._give(place(points, self._fleet.places))

    def _give(self, points: Sequence[Point]) -> None:
        self._written += len(points)
        self._put(points)

    def _count_skip(self, event: JobSubmissionEvent) -> None:
        self._skipped += len(event.scheduled_run_times)

    async def _report_inventory(self) -> None:
        self._give(self._fleet.inventory(self._clock_ns()))

    async def _report_self(self) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        stamp = slot_ns("tokenwatt:self", int(SELF_PERIOD_S * 1e9), self._clock_ns())
        fields: dict[str, float | int | str] = {
            "points_written_total": self._written,
            "skipped_polls_total": self._skipped,
            "cpu_seconds_total": usage.ru_utime + usage.ru_stime,
            "memory_bytes": resident_bytes(),
        }
        if self._traps is not None:
            fields["traps_total"] = self._traps.counts.taken
            fields["traps_dropped_total"] = self._traps.counts.dropped.total()
        collector = self._fleet.tags.get("source", os.uname().nodename)
        self._give([Point("collector", {**self._fleet.tags, "collector": collector}, fields, stamp)])


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_TOLD]) + (", ..." if len(names) > _TOLD else "")


def _ns(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000


def resident_bytes() -> int:
    """Return this process's resident memory, or its peak where the system tells only that. Units: bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
