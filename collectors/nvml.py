"""The GPUs of this host, through NVML and the binding `pynvml` (distribution nvidia-ml-py).

NVML is asked in a child process (`collectors/nvml_worker.py`): a driver that hangs or crashes takes that one with it.
After 10 s of silence it is killed and started anew, at once the first time, then after 5, 10, 20 .. 300 s.

Target address: "" for the driver's own library, the path of another `libnvidia-ml.so.1`, or of a Python file to stand
in for it. Each poll gives one point `gpu` per board, and `gpu_info` hourly and when it changed. A lost board gives
`lost=1` and nothing else; the others go on. What a board lacks is left out. No root needed.

Source: NVIDIA nvml.h, API 13. The same numbers: `nvidia-smi -q`.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.collector import (
    AuthenticationError,
    CollectError,
    Collector,
    DeviceRefusedError,
    DeviceTimeoutError,
    PollResult,
    ProtocolError,
    Target,
)
from collectors.profile import Profile
from collectors.reading import implausible
from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS

logger = logging.getLogger(__name__)

WORKER = Path(__file__).with_name("nvml_worker.py")
SILENCE_S = 10.0
FIRST_DELAY_S, LAST_DELAY_S = 5.0, 300.0
INFO_PERIOD_NS = 3600 * 10**9
#: an answer of 16 boards is about 20 kB
MAX_LINE_BYTES = 2**20

#: a board draws at most so many times its limit, and its energy grows at most so many times as fast
POWER_LIMIT_RATIO, ENERGY_LIMIT_RATIO = 2.0, 1.3
#: an energy counter that stands still so long, at a load above that share of the limit, is broken
FROZEN_S, FROZEN_LIMIT_RATIO = 5.0, 0.1

#: NVML error -> what to raise and the way out; others are protocol errors
_ERRORS: Mapping[int, tuple[type[CollectError], str]] = {
    4: (AuthenticationError, "this user may not open /dev/nvidia*; see `ls -l /dev/nvidia*`"),
    9: (
        DeviceRefusedError,
        "load the NVIDIA driver (`modprobe nvidia`), or install it (Debian: apt-get install nvidia-driver)",
    ),
    12: (
        DeviceRefusedError,
        "install the NVIDIA driver (Debian: libnvidia-ml1), or name the library: nvml:///path/libnvidia-ml.so.1",
    ),
    17: (DeviceRefusedError, "access to the GPUs was taken away; in a container, restart it"),
    18: (DeviceRefusedError, "the driver was upgraded under the library: reload the kernel module or reboot"),
}


class Worker:
    """The child process and its supervision."""

    def __init__(self, where: str, arguments: Sequence[str]) -> None:
        self._where = where
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._request = 0
        #: monotonic seconds of the oldest request without an answer
        self._asked_at: float | None = None
        self._failures = 0
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        """Return the child's process id, or None while there is none."""
        return self._process.pid if self._process else None

    async def ask(self) -> dict[str, Any]:
        """Return the answer to one request. The caller sets the deadline; a child that died is replaced once.

        Raises:
            DeviceTimeoutError: the child hangs and is not to be started again yet.
            DeviceRefusedError: it dies each time.
        """
        now = time.monotonic()
        if self._process and self._asked_at is not None and now - self._asked_at > SILENCE_S:
            logger.warning("%s: NVML is silent for %.0f s, its process %d is killed", self._where, SILENCE_S, self.pid)
            await self._give_up()
        for _ in range(2):
            answer = await self._try()
            if answer is not None:
                self._failures = 0
                return answer
            status = self._process.returncode if self._process else None
            logger.warning("%s: the NVML process ended with status %s", self._where, status)
            await self._give_up()
        raise DeviceRefusedError(f"{self._where}: the NVML process ends at once; its own words are on standard error")

    async def _try(self) -> dict[str, Any] | None:
        """Return the answer, or None when the child is gone."""
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        self._request += 1
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        with suppress(ConnectionError):
            process.stdin.write(b"%d\n" % self._request)
            await process.stdin.drain()
        while line := await process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            # Answers to polls that were given up come first.
            if answer["request"] == self._request:
                self._asked_at = None
                return answer
        await process.wait()
        return None

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            if (wait := self._start_at - time.monotonic()) > 0:
                raise DeviceTimeoutError(f"{self._where}: the NVML process failed; it starts again in {wait:.0f} s")
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", str(WORKER), *self._arguments, limit=MAX_LINE_BYTES,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            self._asked_at = None
        return self._process

    async def _give_up(self) -> None:
        """Kill the child and say when the next may start."""
        await self.stop()
        self._failures += 1
        delay = min(LAST_DELAY_S, FIRST_DELAY_S * 2.0 ** (self._failures - 2)) if self._failures > 1 else 0.0
        self._start_at = time.monotonic() + delay

    async def stop(self) -> None:
        """End the child; one that hangs in the driver is left behind after a second."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        with suppress(ProcessLookupError):
            process.kill()
        try:
            async with asyncio.timeout(1.0):
                await process.wait()
        except TimeoutError:
            logger.warning("%s: process %d hangs in the driver and cannot be killed", self._where, process.pid)


@dataclass(slots=True)
class Energy:
    """The last energy reading of a board that was believed. Units: J, seconds of the worker's clock."""

    joules: float
    read_at: float
    changed_at: float


class NvmlCollector:
    """Ask the boards of this host."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._where = f"{target.name} nvml {target.address}".rstrip()
        self._worker = Worker(self._where, [target.address] if target.address else [])
        self._energy: dict[str, Energy] = {}
        self._told: dict[str, tuple[Mapping[str, str], int]] = {}
        self._lost: set[str] = set()

    async def poll(self, time_ns: int) -> PollResult:
        """Read all boards once and stamp every point with `time_ns`.

        Raises:
            DeviceTimeoutError: no answer within the target's timeout, or NVML hangs.
            DeviceRefusedError: no driver, no library, or its process dies.
            AuthenticationError: this user may not use the GPUs.
            ProtocolError: any other NVML error on all boards.
        """
        try:
            async with asyncio.timeout(self._target.timeout.total_seconds()):
                answer = await self._worker.ask()
        except TimeoutError as e:
            wait = self._target.timeout.total_seconds()
            raise DeviceTimeoutError(f"{self._where}: NVML gave no answer within {wait:g} s") from e
        if "error" in answer:
            kind, hint = _ERRORS.get(answer["error"], (ProtocolError, "see `nvidia-smi -q` and the kernel log"))
            raise kind(f"{self._where}: NVML error {answer['error']} {answer['text']!r}: {hint}")
        points: list[Point] = []
        rejected: list[str] = []
        for board in answer["gpus"]:
            points += self._points(board, time_ns, rejected)
        return PollResult(tuple(points), (), tuple(rejected))

    async def aclose(self) -> None:
        """End the child process; calling it again does nothing."""
        await self._worker.stop()

    def _points(self, board: dict[str, Any], time_ns: int, rejected: list[str]) -> Iterator[Point]:
        uuid, values = board["gpu"], board["values"]
        self._note_loss(uuid, values.get("lost"))
        refused = [*_impossible(values), *self._broken_energy(uuid, values, board["read_at"])]
        rejected += [f"gpu.{name}[gpu={uuid}]={values[name]}: {why}" for name, why in refused]
        rejected += [f"gpu[gpu={uuid}]: {name}: {error}" for name, error in board["errors"].items()]
        out = {name for name, _ in refused}
        fields: dict[str, FieldValue] = {name: value for name, value in values.items() if name not in out}
        own = {"gpu": uuid, "gpu_index": str(board["index"]), "model": board["model"], "vendor": "nvidia"}
        if fields:
            yield self._point("gpu", own, fields, time_ns)
        info, told_ns = self._told.get(uuid, ({}, 0))
        if board["info"] and (info != board["info"] or time_ns - told_ns >= INFO_PERIOD_NS):
            self._told[uuid] = (board["info"], time_ns)
            yield self._point("gpu_info", own, board["info"], time_ns)

    def _point(self, name: str, own: Mapping[str, str], fields: Mapping[str, FieldValue], time_ns: int) -> Point:
        tags = {**self._target.tags, "host": self._target.name, **own}
        return Point(name, {tag: tags[tag] for tag in MEASUREMENTS[name].tags if tags.get(tag)}, fields, time_ns)

    def _note_loss(self, uuid: str, lost: int | None) -> None:
        if lost == 1 and uuid not in self._lost:
            self._lost.add(uuid)
            logger.warning("%s: %s is lost", self._where, uuid)
        elif lost == 0 and uuid in self._lost:
            self._lost.discard(uuid)
            logger.info("%s: %s is back", self._where, uuid)

    def _broken_energy(self, uuid: str, values: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
        """Yield why the energy counter cannot be believed; a fall is a reset and is."""
        joules, limit = values.get("energy_joules_total"), values.get("power_limit_watts")
        if joules is None:
            return
        last = self._energy.get(uuid)
        if last is None or joules < last.joules or limit is None:
            self._energy[uuid] = Energy(joules, now, now)
        elif now - last.read_at >= 1.0 and joules - last.joules > ENERGY_LIMIT_RATIO * limit * (now - last.read_at):
            yield "energy_joules_total", f"grew by {joules - last.joules:.0f} J in {now - last.read_at:.1f} s"
        elif joules > last.joules:
            self._energy[uuid] = Energy(joules, now, now)
        elif now - last.changed_at > FROZEN_S and values.get("power_watts", 0.0) > FROZEN_LIMIT_RATIO * limit:
            yield "energy_joules_total", f"stands still for {now - last.changed_at:.0f} s under load"
        else:
            last.read_at = now


def _impossible(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the readings that cannot be true, and why."""
    limit = values.get("power_limit_watts")
    for name, value in values.items():
        why = implausible(MEASUREMENTS["gpu"].fields[name], value)
        if not why and limit and name in ("power_watts", "power_instant_watts") and value > POWER_LIMIT_RATIO * limit:
            why = f"more than {POWER_LIMIT_RATIO:g} times the limit of {limit:g} W"
        if why:
            yield name, why


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of this host's GPUs; nothing is opened yet.

    Raises:
        CollectError: a profile is given; NVML has none.
    """
    if profile is not None:
        raise CollectError(f"{target.name} nvml: leave the profile {profile.profile!r} out, NVML needs none")
    return NvmlCollector(target)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Raise: NVML needs no profile.

    Raises:
        CollectError: always.
    """
    tried = ", ".join(profile.profile for profile in candidates) or "none"
    raise CollectError(f"{target.name} nvml: NVML needs no profile (profiles: {tried})")
