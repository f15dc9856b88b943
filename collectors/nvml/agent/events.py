"""The thread that waits for events of the driver: Xids, memory errors and repairs, loss, recovery action.

Source: NVIDIA nvml.h, API 13, nvmlEventSetWait_v2.
"""

import ctypes
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pynvml

from collectors.nvml.agent.calls import ABSENT, DENIED, Calls

XID = 0x8
#: event types that a board is registered for: double bit errors, Xid, change of MIG, memory repaired, repair failed,
#: GPU unavailable, recovery action; not single bit errors, which can come in storms and are counted in any case
WANTED = 0x2 | XID | 0x100 | 0x400 | 0x800 | 0x4000 | 0x8000
#: those that are told as events; the others only make the agent look at once
TOLD = 0x2 | XID | 0x400 | 0x800 | 0x4000 | 0x8000
TIMEOUT = 10
#: after an error that is no event; it would come again at once
PAUSE_S = 5.0
#: taken over from a set that is given up
MOST_AT_ONCE = 1000

Event = dict[str, Any]


class Watch:
    """Waits in its own thread, so that an event is seen at once and delivered once."""

    def __init__(self, wait_s: float, boards: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """Register for the events of boards (UUID and handle); those that come from here on are seen.

        Raises:
            NVMLError: this driver has no events.
        """
        self._calls = Calls()
        self._wait_ms = max(1, int(wait_s * 1000))
        self._say = say
        self._told: set[str] = set()
        self._wanted = dict(boards)
        self._boards: dict[str, Any] = {}
        self._set: Any = self._calls("nvmlEventSetCreate")
        self._register(self._wanted)
        self._stopped = False
        self._changed = threading.Event()
        self._new: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="nvml-events", daemon=True)
        self._thread.start()

    def watch(self, boards: Mapping[str, Any]) -> None:
        """Watch these boards from the next wait on."""
        if _numbers(boards) != _numbers(self._wanted):
            self._wanted = dict(boards)
            self._changed.set()

    def drain(self) -> list[Event]:
        """Return the events since the last call: board, type, data, epoch ns."""
        found = []
        while not self._new.empty():
            found.append(self._new.get())
        return found

    def stop(self) -> None:
        """End the thread and free its set, so that NVML can be closed."""
        self._stopped = True
        self._changed.set()
        self._thread.join()
        self._calls.free("nvmlEventSetFree", self._set)

    def _run(self) -> None:
        while True:
            # Before the look at `_stopped`, which is set first: the end is then never slept over.
            self._changed.clear()
            if self._stopped:
                return
            try:
                self._follow()
                self._take(self._calls("nvmlEventSetWait_v2", self._set, self._wait_ms), self._boards)
            except pynvml.NVMLError as error:
                # Timeout is the normal end of a quiet wait.
                if error.value != TIMEOUT:
                    self._changed.wait(PAUSE_S)

    def _follow(self) -> None:
        """Take up new boards; a set with a board that is lost brings nothing but that error, so it is made anew."""
        wanted = self._wanted
        if _numbers(self._boards).items() - _numbers(wanted).items():
            self._renew(wanted)
        self._register({uuid: handle for uuid, handle in wanted.items() if uuid not in self._boards})

    def _renew(self, wanted: Mapping[str, Any]) -> None:
        """Change over to another set; what waits in the old one is told, and what came to both only once.

        When a board is lost its neighbours have Xids of their own, at just this moment.
        """
        old, boards = self._set, self._boards
        self._set, self._boards = self._calls("nvmlEventSetCreate"), {}
        self._register(wanted)
        before = self._waiting(old)
        self._calls.free("nvmlEventSetFree", old)
        after = self._waiting(self._set)
        for data in before:
            self._take(data, boards)
        seen = [_content(data) for data in before]
        for data in after:
            if _content(data) in seen:
                seen.remove(_content(data))
            else:
                self._take(data, self._boards)

    def _waiting(self, events: Any) -> list[Any]:
        """Return the events that wait in a set."""
        found: list[Any] = []
        with suppress(pynvml.NVMLError):
            while len(found) < MOST_AT_ONCE:
                found.append(self._calls("nvmlEventSetWait_v2", events, 0))
        return found

    def _register(self, boards: Mapping[str, Any]) -> None:
        for uuid, handle in boards.items():
            self._boards[uuid] = handle
            try:
                wanted = WANTED & self._calls("nvmlDeviceGetSupportedEventTypes", handle)
                if wanted:
                    self._calls("nvmlDeviceRegisterEvents", handle, wanted, self._set)
            except pynvml.NVMLError as error:
                self._complain(uuid, error)

    def _complain(self, uuid: str, error: pynvml.NVMLError) -> None:
        if error.value not in ABSENT and uuid not in self._told:
            self._told.add(uuid)
            hint = "; under MIG that needs privileges" if error.value in DENIED else ""
            self._say(f"{uuid}: Xids and other events are not seen: {error}{hint}")

    def _take(self, data: Any, boards: Mapping[str, Any]) -> None:
        number = _number(data.device)
        uuid = next((uuid for uuid, handle in boards.items() if _number(handle) == number), None)
        if uuid is not None:
            event = {"gpu": uuid, "type": int(data.eventType), "data": int(data.eventData), "time_ns": time.time_ns()}
            self._new.put(event)


def _content(data: Any) -> tuple[int, int, int]:
    return _number(data.device), data.eventType, data.eventData


def _numbers(boards: Mapping[str, Any]) -> dict[str, int]:
    return {uuid: _number(handle) for uuid, handle in boards.items()}


def _number(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
