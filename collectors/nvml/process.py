"""The child process that asks NVML, and its supervision: killed when it is silent, started anew with a back-off."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from collectors.collector import DeviceRefusedError, DeviceTimeoutError

logger = logging.getLogger(__name__)

WORKER = Path(__file__).with_name("worker.py")
SILENCE_S = 10.0
#: until its first answer: without persistence mode opening NVML starts the boards, some seconds each
FIRST_SILENCE_S = 60.0
FIRST_DELAY_S, LAST_DELAY_S = 5.0, 300.0
#: a process that ended with an answer is replaced so often at once, then after 5 s, 10 s .. 1 min
ENDS_AT_ONCE, LAST_REST_S = 2, 60.0
#: an answer of 16 boards is about 30 kB, one of 8 boards in 56 instances too
MAX_LINE_BYTES = 2**20


class Worker:
    """The child process and its supervision."""

    def __init__(self, where: str, arguments: Sequence[str]) -> None:
        self._where = where
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        #: numbers of the last request and of the last answer that was read
        self._request = self._heard = 0
        #: monotonic seconds of the oldest request without an answer
        self._asked_at: float | None = None
        self._answered = False
        self._failures = 0
        self._start_at = 0.0
        self._ends = 0
        #: what the last process ended with, while there is no other
        self._last_words: dict[str, Any] | None = None

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
        if self._process is None and self._last_words is not None and time.monotonic() < self._start_at:
            return self._last_words
        silence = SILENCE_S if self._answered else FIRST_SILENCE_S
        is_silent = self._asked_at is not None and time.monotonic() - self._asked_at > silence
        if self._process and is_silent and not await self._has_spoken(self._process):
            logger.warning("%s: NVML is silent for %.0f s, its process %s is killed", self._where, silence, self.pid)
            await self._give_up()
        for _ in range(2):
            answer = await self._try()
            if answer is not None:
                self._failures = 0
                self._ends = self._ends if answer.get("ends") else 0
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
            process.stdin.write(b"%d %d\n" % (self._request, self._heard))
            await process.stdin.drain()
        while line := await process.stdout.readline():
            if not line.startswith(b"{"):
                continue  # printed before the child took its output for itself
            answer: dict[str, Any] = json.loads(line)
            # Answers to polls that were given up come first; what they said is said again.
            if answer["request"] == self._request:
                self._asked_at, self._answered = None, True
                self._heard = self._request
                return answer
        await process.wait()
        if self._process is not process:
            raise DeviceRefusedError(f"{self._where}: the NVML process was ended while it was asked")
        return None

    async def _has_spoken(self, process: asyncio.subprocess.Process) -> bool:
        """Say whether an answer waits that came after its poll was given up; what it said will be said again."""
        assert process.stdout is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                if await process.stdout.readline():
                    self._asked_at, self._answered = None, True
                    return True
        return False

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            if (wait := self._start_at - time.monotonic()) > 0:
                raise DeviceTimeoutError(f"{self._where}: the NVML process failed; it starts again in {wait:.0f} s")
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", str(WORKER), *self._arguments, limit=MAX_LINE_BYTES,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            self._asked_at, self._answered, self._last_words = None, False, None
        return self._process

    async def end(self, answer: dict[str, Any]) -> None:
        """End the child after an answer that it cannot better; the next may, and is started soon."""
        await self.stop()
        self._ends += 1
        waits = self._ends - ENDS_AT_ONCE
        rest = min(LAST_REST_S, FIRST_DELAY_S * 2.0 ** (waits - 1)) if waits > 0 else 0.0
        self._start_at = time.monotonic() + rest
        self._last_words = {**answer, "notes": [], "ends": False}

    async def _give_up(self) -> None:
        """Kill the child and say when the next may start."""
        self._failures += 1
        delay = min(LAST_DELAY_S, FIRST_DELAY_S * 2.0 ** (self._failures - 2)) if self._failures > 1 else 0.0
        self._start_at = time.monotonic() + delay
        await self.stop()  # the poll's deadline may end it here

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
