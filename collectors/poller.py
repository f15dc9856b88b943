"""One target and its life: find its profile, poll it within its deadline, back off, tell its health."""

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import import_module
from typing import Any

from collectors.checks import Checks
from collectors.collector import (
    AuthenticationError,
    CollectError,
    Collector,
    DeviceRefusedError,
    DeviceTimeoutError,
    MaintenanceError,
    PollResult,
    Pushing,
    TakesTraps,
    Target,
    Trap,
    UnknownDeviceError,
)
from collectors.energy import Energy
from collectors.plausibility import Plausibility
from collectors.precedence import Precedence
from collectors.profile import Library, Profile
from collectors.reading import BLANK
from collectors.timing import timed
from storage.config import parse_duration
from storage.point import Point
from storage.schema import MEASUREMENTS

logger = logging.getLogger(__name__)

#: seconds to leave a failing device alone, by number of failures in a row: 1, 2, 4 .. 60
BACK_OFF_LIMIT_S = 60.0

#: what is kept of an error's text
ERROR_LENGTH = 300

Push = Callable[[Sequence[Point]], None]
#: protocol -> what its targets have in common: the connections to gateways that serve several devices
Shared = dict[str, Any]

#: values of `device.state`
OK, PARTIAL, UNREACHABLE, UNAUTHORISED, MALFORMED, UNKNOWN, MAINTENANCE = range(7)


def phase_ns(name: str, interval_ns: int) -> int:
    """Return a target's fixed offset within its interval, in whole milliseconds as ns, the same on every collector."""
    return zlib.crc32(name.encode()) * 1_000_000 % (interval_ns // 1_000_000 * 1_000_000)


def slot_ns(name: str, interval_ns: int, now_ns: int) -> int:
    """Return the instant of the target's grid at or before `now_ns` (epoch ns): the time stamp of a poll begun now."""
    phase = phase_ns(name, interval_ns)
    return (now_ns - phase) // interval_ns * interval_ns + phase


_STATES: Mapping[type[CollectError], int] = {
    DeviceTimeoutError: UNREACHABLE,
    DeviceRefusedError: UNREACHABLE,
    AuthenticationError: UNAUTHORISED,
    UnknownDeviceError: UNKNOWN,
    MaintenanceError: MAINTENANCE,
}


@dataclass(slots=True)
class Health:
    """What is known of one device, cumulative since start."""

    values: int = 0
    rejected: int = 0
    timeouts: int = 0
    errors: int = 0
    duplicates: int = 0
    requests: int = 0
    reconnects: int = 0
    resets: int = 0
    missing: int = 0
    #: what was wrong with the last poll
    error: str = ""
    failures_in_row: int = 0
    state: int = UNREACHABLE
    poll_seconds: float = 0.0
    #: monotonic seconds
    last_success: float | None = None
    next_try: float = 0.0


class Poller:
    """Poll one target; never raises, whatever the device does."""

    def __init__(
        self,
        target: Target,
        library: Library,
        monotonic: Callable[[], float] = time.monotonic,
        precedence: Precedence | None = None,
        push: Push = lambda _: None,
        shared: Shared | None = None,
    ) -> None:
        """`push` takes the points that a device tells between polls; `shared` is the same for a collector's targets."""
        self.target = target
        self.health = Health()
        self._library = library
        self._monotonic = monotonic
        #: shared by all targets of a collector; alone, nobody tells of the same GPU
        self._precedence = Precedence() if precedence is None else precedence
        self._plausibility = Plausibility()
        self._checks = Checks()
        self._push = push
        self._shared: Shared = {} if shared is None else shared
        self._collector: Collector | None = None
        #: stamp of the last notification: no two share one. Units: epoch ns
        self._trap_ns = 0
        self._profile = library.profile(target.profile) if target.profile else None
        #: the target as its profile has it polled
        self._timed = timed(target, self._profile)
        self._energy = self._make_energy()

    async def poll(self, time_ns: int) -> list[Point]:
        """Return the points of one poll and the device's health point, all stamped `time_ns`."""
        now = self._monotonic()
        if now < self.health.next_try:
            return [self._health_point(time_ns)]
        points: Sequence[Point] = ()
        try:
            result = self._screen(await self._ask(time_ns))
            points = result.points
            self._succeed(result)
        except TimeoutError:
            self._fail(DeviceTimeoutError(f"{self._where}: no complete answer in {_seconds(self._timed):g} s"))
        except CollectError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("%s: unexpected", self._where)
            self._fail(CollectError(str(error)))
        self.health.poll_seconds = self._monotonic() - now
        return [*points, self._health_point(time_ns)]

    @property
    def interval(self) -> timedelta:
        """Return the time between two polls: the site's, or the profile's from when it is known."""
        return self._timed.interval

    def go_on(self, before: "Poller") -> None:
        """Go on with the energy of what polled the same target by another version of its profile.

        A target that is to be recognised again keeps its interval until then.
        """
        if self._profile is None:
            self._timed = replace(self._timed, interval=before.interval)
            self._energy = self._make_energy()
        self._energy.go_on(before._energy)

    def take_trap(self, trap: Trap, now_ns: int) -> None:
        """Push what a notification of the device tells, stamped now, beside the grid of the polls; it never raises.

        Nothing is told where the device was not polled yet: a notification means something to a collector alone.
        """
        collector: object = self._collector
        if not isinstance(collector, TakesTraps):
            return
        self._trap_ns = max(now_ns, self._trap_ns + 1)
        # Polls are stamped on whole milliseconds: a point of ours must not replace one of theirs.
        self._trap_ns += self._trap_ns % 1_000_000 == 0
        try:
            points = collector.take_trap(trap, self._trap_ns)
        except Exception:
            logger.exception("%s: unexpected, from trap %s", self._where, trap.name)
            return
        if points:
            self._push(points)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._collector is not None:
            await self._collector.aclose()

    @property
    def _where(self) -> str:
        return f"{self.target.name} {self.target.address}".rstrip()

    async def _ask(self, time_ns: int) -> PollResult:
        if self._profile is None and self.target.protocol != "nvml":
            async with asyncio.timeout(_seconds(self.target)):
                await self._recognise()
        if self._collector is None:
            self._collector = open_collector(self.target, self._profile, self._shared)
            if isinstance(self._collector, Pushing):
                self._collector.listen(self._pass_on)
        async with asyncio.timeout(_seconds(self._timed)):
            return await self._collector.poll(time_ns)

    async def _recognise(self) -> None:
        self._profile = await identify(self.target, self._library, self._shared)
        self._timed = timed(self.target, self._profile)
        energy, self._energy = self._energy, self._make_energy()
        self._energy.go_on(energy)
        logger.info("%s: recognised as %s", self._where, self._profile.profile)

    def _pass_on(self, points: Sequence[Point]) -> None:
        """Push what the device tells between polls, without what contradicts itself."""
        checked = Checks().check(points, self._profile.derived if self._profile else ())
        self.health.rejected += len(checked.rejected)
        # Failures are told with the polls: a part of the rows says nothing of the others.
        kept = [point for point in checked.points if point.measurement != "check"]
        if kept:
            self._push(self._energy.integrate(kept, is_poll=False))

    def _make_energy(self) -> Energy:
        slow = parse_duration(self._profile.poll.slow) if self._profile else timedelta()
        return Energy(self.interval.total_seconds(), slow.total_seconds())

    def _screen(self, result: PollResult) -> PollResult:
        """Return what can be true of it, and of boards that several sources tell of what this target is to tell."""
        points, refused = self._plausibility.check(result.points)
        points, dropped = self._precedence.filter(self.target.name, points)
        self.health.duplicates += dropped
        checked = self._checks.check(points, self._profile.derived if self._profile else ())
        whole = self._energy.integrate(checked.points)
        return replace(result, points=whole, rejected=(*result.rejected, *refused, *checked.rejected))

    def _succeed(self, result: PollResult) -> None:
        health = self.health
        if health.failures_in_row:
            logger.info("%s: answers again", self._where)
        health.failures_in_row = 0
        health.next_try = 0.0
        health.last_success = self._monotonic()
        health.values += sum(len(point.fields) for point in result.points)
        health.rejected += len(result.rejected)
        health.requests, health.reconnects, health.resets = result.requests, result.reconnects, result.resets
        health.missing = len(result.missing)
        health.error = next(iter((*result.missing, *(why for why in result.rejected if not why.endswith(BLANK)))), "")
        health.state = PARTIAL if result.missing else OK

    def _fail(self, error: CollectError) -> None:
        health = self.health
        if not health.failures_in_row:
            logger.warning("%s", error)
        health.failures_in_row += 1
        health.errors += 1
        health.timeouts += isinstance(error, DeviceTimeoutError)
        health.state = _state_of(error)
        health.error = str(error)
        # The first failure costs no poll: a lost datagram is no dead device.
        if health.failures_in_row > 1:
            health.next_try = self._monotonic() + min(BACK_OFF_LIMIT_S, 2.0 ** (health.failures_in_row - 2))
        if error.rest_seconds:
            health.next_try = self._monotonic() + error.rest_seconds

    def _health_point(self, time_ns: int) -> Point:
        health = self.health
        fields: dict[str, float | int | str] = {
            "up": int(health.failures_in_row == 0 and health.last_success is not None),
            "poll_seconds": health.poll_seconds,
            "values_total": health.values,
            "values_rejected_total": health.rejected,
            "timeouts_total": health.timeouts,
            "errors_total": health.errors,
            "duplicates_total": health.duplicates,
            "requests_total": health.requests,
            "reconnects_total": health.reconnects,
            "counter_resets_total": health.resets,
            "missing_values": health.missing,
            "state": health.state,
        }
        if health.last_success is not None:
            fields["last_success_age_seconds"] = self._monotonic() - health.last_success
        if health.error:
            fields["error"] = health.error[:ERROR_LENGTH]
        profile = self._profile.profile if self._profile else ""
        tags = {**self.target.tags, "device": self.target.name, "protocol": self.target.protocol, "profile": profile}
        return Point("device", {k: tags[k] for k in MEASUREMENTS["device"].tags if tags.get(k)}, fields, time_ns)


def _seconds(target: Target) -> float:
    return target.timeout.total_seconds()


def _state_of(error: CollectError) -> int:
    return next((state for kind, state in _STATES.items() if isinstance(error, kind)), MALFORMED)


def _module(protocol: str, shared: Shared | None) -> tuple[Any, Mapping[str, Any]]:
    """Return a protocol's module, loaded now, and what its functions take beside the rest: what targets share."""
    module = import_module(f"collectors.{protocol}.collector")
    if shared is None or not hasattr(module, "make_shared"):
        return module, {}
    if protocol not in shared:
        shared[protocol] = module.make_shared()
    return module, {"shared": shared[protocol]}


def open_collector(target: Target, profile: Profile | None, shared: Shared | None = None) -> Collector:
    """Return the target's collector, unopened, from the module that its protocol names; that module is loaded now.

    Its target has the interval and the deadline that hold with this profile.

    Raises:
        CollectError: the target's options are wrong.
        ConfigError: the profile is not written as its protocol wants.
    """
    module, more = _module(target.protocol, shared)
    collector: Collector = module.open_collector(timed(target, profile), profile, **more)
    return collector


async def identify(target: Target, library: Library, shared: Shared | None = None) -> Profile:
    """Ask the device which profile fits it.

    Raises:
        CollectError: it does not answer, or none fits; the message names the profiles tried.
    """
    candidates = library.of_protocol(target.protocol)
    module, more = _module(target.protocol, shared)
    found: Profile = await module.identify(target, candidates, **more)
    return found


def place(points: Sequence[Point], places: Mapping[str, Mapping[str, str]]) -> list[Point]:
    """Return the points with what the inventory knows of the object they name: row, rack, host, and a meter's scope."""
    return [_placed(point, places) for point in points]


def _placed(point: Point, places: Mapping[str, Mapping[str, str]]) -> Point:
    known = places.get(point.tags.get("device", ""))
    if not known:
        return point
    extra = {k: v for k, v in known.items() if k not in point.tags}
    if point.measurement != "power" or point.tags.get("circuit") != "total":
        extra.pop("scope", None)
    return replace(point, tags={**point.tags, **extra}) if extra else point
