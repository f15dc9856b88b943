"""The GPUs of this host, through NVML and the binding `pynvml` (distribution nvidia-ml-py).

NVML is asked in a child process (`collectors/nvml/worker.py`), which samples each second: a driver that hangs or
crashes takes that one with it. After 10 s of silence (60 s until its first answer) it is killed and started anew, at
once the first time, then after 5, 10, 20 .. 300 s.

Target address: "" for the driver's own library, the path of another `libnvidia-ml.so.1`, or of a Python file to stand
in for it. Options: `release`, a file; while it is there NVML is closed and a poll raises MaintenanceError.
`workload=off` leaves pod and job of the processes alone.

Each poll gives one point `gpu` per board and MIG instance: means since the poll before, extremes of power, last values
of counters. `gpu_info` comes hourly and when it changed, `gpu_event` at its own time, `nvml_call` each minute. A lost
board gives `lost=1` and nothing else; the others go on. What a board lacks is left out. No root needed.

Source: NVIDIA nvml.h, API 13. The same numbers: `nvidia-smi -q`.
"""

import asyncio
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from collectors.collector import (
    AuthenticationError,
    CollectError,
    Collector,
    DeviceRefusedError,
    DeviceTimeoutError,
    MaintenanceError,
    PollResult,
    ProtocolError,
    Target,
)
from collectors.nvml.agent.settings import Settings
from collectors.nvml.events import describe
from collectors.nvml.process import Worker
from collectors.profile import Profile
from collectors.reading import implausible
from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS

logger = logging.getLogger(__name__)

RELEASE = "/run/tokenwatt/nvml-release"
INFO_PERIOD_NS = 3600 * 10**9

#: NVML error -> what to raise and the way out; others are protocol errors. -1: the binding is not there, or is another
_ERRORS: Mapping[int, tuple[type[CollectError], str]] = {
    -1: (DeviceRefusedError, "then poll again"),
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


class NvmlCollector:
    """Ask the boards of this host."""

    def __init__(self, target: Target, settings: Settings) -> None:
        self._target = target
        self._where = f"{target.name} nvml {target.address}".rstrip()
        self._release = settings.release
        self._worker = Worker(self._where, [json.dumps(asdict(settings))])
        self._told: dict[str, tuple[Mapping[str, str], int]] = {}
        self._lost: set[str] = set()
        #: driver and fields of each board, to see what a new driver took away
        self._had: dict[str, tuple[str, set[str]]] = {}

    async def poll(self, time_ns: int) -> PollResult:
        """Read what was gathered since the last poll and stamp every point but events with `time_ns`.

        Raises:
            DeviceTimeoutError: no answer within the target's timeout, or NVML hangs.
            DeviceRefusedError: no driver, no library, no binding, or its process dies.
            AuthenticationError: this user may not use the GPUs.
            MaintenanceError: the release file is there; NVML is closed.
            ProtocolError: any other NVML error on all boards.
        """
        if self._worker.pid is None and self._is_released():
            raise self._maintenance()
        answer = await self._ask()
        for note in answer.get("notes", ()):
            logger.info("%s: %s", self._where, note)
        if answer.get("ends"):
            await self._worker.end(answer)
        if "released" in answer:
            raise self._maintenance()
        if "error" in answer:
            kind, hint = _ERRORS.get(answer["error"], (ProtocolError, "see `nvidia-smi -q` and the kernel log"))
            raise kind(f"{self._where}: NVML error {answer['error']} {answer['text']!r}: {hint}")
        rejected: list[str] = list(answer["rejected"])
        points = list(self._points(answer, time_ns, rejected))
        return PollResult(tuple(points), tuple(answer["missing"]), tuple(rejected))

    async def aclose(self) -> None:
        """End the child process; calling it again does nothing."""
        await self._worker.stop()

    async def _ask(self) -> dict[str, Any]:
        wait = self._target.timeout.total_seconds()
        try:
            async with asyncio.timeout(wait):
                return await self._worker.ask()
        except TimeoutError as e:
            if self._is_released():
                # A driver that hangs must not be held back from maintenance.
                await self._worker.stop()
                raise self._maintenance() from e
            raise DeviceTimeoutError(f"{self._where}: NVML gave no answer within {wait:g} s") from e

    def _is_released(self) -> bool:
        # Path.exists raises where the folder may not be searched; what cannot be seen is not there, as in the child.
        return bool(self._release) and os.path.exists(self._release)  # noqa: PTH110

    def _maintenance(self) -> MaintenanceError:
        return MaintenanceError(f"{self._where}: NVML is released: {self._release} is there; remove it to go on")

    def _points(self, answer: Mapping[str, Any], time_ns: int, rejected: list[str]) -> Iterator[Point]:
        for board in answer["gpus"]:
            yield from self._of_board(board, time_ns, rejected)
        for event in answer["events"]:
            kind, fields = describe(event)
            yield self._point("gpu_event", {"gpu": event["gpu"], "kind": kind}, fields, event["time_ns"])
        for call, (calls, errors, seconds) in answer.get("calls", {}).items():
            counts = {"calls_total": calls, "errors_total": errors, "seconds_total": seconds}
            yield self._point("nvml_call", {"call": call}, counts, time_ns)

    def _of_board(self, board: Mapping[str, Any], time_ns: int, rejected: list[str]) -> Iterator[Point]:
        uuid, mig, info = board["gpu"], board["mig"], board["info"]
        own = {"gpu": uuid, "gpu_index": str(board["index"]), "model": board["model"], "vendor": "nvidia", "mig": mig}
        tags = own | board["workload"] | {"exporter": "nvml"}
        fields = dict(_plausible(tags, board["values"], rejected))
        if fields:
            yield self._point("gpu", tags, fields, time_ns)
        if mig:
            return
        self._note_loss(uuid, board["values"].get("lost"))
        if info:
            self._note_fields(uuid, info.get("driver", ""), set(fields))
        told, told_ns = self._told.get(uuid, ({}, 0))
        if info and (info != told or not 0 <= time_ns - told_ns < INFO_PERIOD_NS):
            self._told[uuid] = (info, time_ns)
            yield self._point("gpu_info", own, info, time_ns)

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

    def _note_fields(self, uuid: str, driver: str, fields: set[str]) -> None:
        """Warn of fields that went away with a change of the driver."""
        known, had = self._had.get(uuid, (driver, set()))
        if known != driver and had - fields:
            gone = ", ".join(sorted(had - fields))
            logger.warning("%s: %s: fields lost from driver %s to %s: %s", self._where, uuid, known, driver, gone)
        self._had[uuid] = (driver, fields if known != driver else had | fields)


def _plausible(
    tags: Mapping[str, str], values: Mapping[str, float], rejected: list[str]
) -> Iterator[tuple[str, FieldValue]]:
    """Yield the readings that the schema can believe; note the others."""
    for name, value in values.items():
        field = MEASUREMENTS["gpu"].fields[name]
        if why := implausible(field, value):
            rejected.append(f"gpu.{name}[gpu={tags['gpu']}]={value}: {why}")
        else:
            yield name, int(value) if field.kind == "state" else value


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of this host's GPUs; nothing is opened yet.

    Raises:
        CollectError: a profile is given; NVML has none.
    """
    if profile is not None:
        raise CollectError(f"{target.name} nvml: leave the profile {profile.profile!r} out, NVML needs none")
    options = target.options
    workload = options.get("workload", "on") == "on"
    settings = Settings(library=target.address, release=options.get("release", RELEASE), workload=workload)
    return NvmlCollector(target, settings)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Raise: NVML needs no profile.

    Raises:
        CollectError: always.
    """
    tried = ", ".join(profile.profile for profile in candidates) or "none"
    raise CollectError(f"{target.name} nvml: NVML needs no profile (profiles: {tried})")
