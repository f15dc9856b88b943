"""NVML on one host: opened, listed, read in tiers, closed; it goes on whatever the driver does.

Source: facts of GPU telemetry, sections 3 and 5.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pynvml

from collectors.nvml.agent import listing
from collectors.nvml.agent.absent import Absent
from collectors.nvml.agent.board import Board, Context
from collectors.nvml.agent.calls import ABSENT, DENIED, GONE, LOST, MISMATCH, NOWHERE, Calls
from collectors.nvml.agent.events import TOLD, Event, Watch
from collectors.nvml.agent.interval import Interval
from collectors.nvml.agent.reads import FAST, MEDIUM, SLOW
from collectors.nvml.agent.sampling import read_fast, read_tier
from collectors.nvml.agent.settings import Settings
from collectors.nvml.agent.workload import Processes

#: more wait for nobody
MOST_EVENTS = 1000
CLOSED_TEXT = "NVML is closed"


class Driver:
    """NVML with all boards that it ever showed."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.context = Context(Calls(), Absent(settings.retry_s), clock)
        self.boards: dict[str, Board] = {}
        self.version = ""
        self.is_open = False
        self.released = False
        #: NVML's code and words, while it cannot be used
        self.error: tuple[int, str] | None = None
        #: what the operator should know once
        self.notes: list[str] = []
        #: handles that the driver refuses
        self.refused: list[str] = []
        self.events: list[Event] = []
        #: boards that the driver had when NVML was opened or last listed
        self.nodes: set[str] | None = None
        self.wants_reopening = False
        self.noted_modules = False
        #: fast samples since the last answer
        self.samples = 0
        self._recent: deque[tuple[str, int]] = deque(maxlen=16)
        self._processes = Processes(settings.proc, self.notes.append)
        self._watch: Watch | None = None
        self._failures = 0
        self._open_at = clock()
        self._due = {"medium": clock(), "slow": clock()}

    def tick(self) -> None:
        """Take one fast sample, and the slower readings that are due."""
        self.released = self.is_released()
        if self.released:
            self.close()
            self._open_at, self._failures = self.context.clock(), 0
            return
        try:
            if not self._opened():
                return
            self._read()
            self._failures, self.error = 0, None
            if self.wants_reopening:
                self.wants_reopening = False
                self.close()
                self._opened()
                self._read()
        except pynvml.NVMLError as error:
            self._fail(error)

    def is_released(self) -> bool:
        """Say whether a person wants NVML closed."""
        return bool(self.settings.release) and os.path.exists(self.settings.release)  # noqa: PTH110

    def close(self) -> None:
        """Let go of NVML, so that no file of the driver is open."""
        if self._watch is not None:
            self._collect_events()
            self._watch.stop()
            self._watch = None
        for board in self.boards.values():
            board.forget()
            board.instances.clear()
            board.energy.reopened = True
        if self.is_open:
            self.is_open = False
            self.context.calls.free("nvmlShutdown")

    def mark_lost(self, board: Board, code: int, text: str) -> None:
        """Take a board as lost and tell it once."""
        board.forget()
        board.instances.clear()
        board.info = {}
        if not board.lost:
            board.lost, board.looks = True, 0
            self.tell(board, "lost", code, 2, text)
        self.look_later(board)

    def look_later(self, board: Board) -> None:
        """Look for a lost board after 5 s, 10 s .. a slow period: after a reset or a reload it is soon back."""
        delay = min(self.settings.slow_s, self.settings.first_delay_s * 2.0**board.looks)
        board.looks += 1
        board.look_again_at = self.context.clock() + delay
        self._due["slow"] = min(self._due["slow"], board.look_again_at)

    def tell(self, board: Board, kind: str, code: int, severity: int, text: str) -> None:
        """Put an event that we found ourselves beside those of the driver."""
        event = {"gpu": board.uuid, "kind": kind, "code": code, "severity": severity, "text": text}
        self._add_event({**event, "time_ns": time.time_ns()})

    def has_told(self, board: Board, types: int) -> bool:
        """Say whether the driver told one of these events of a board, lately."""
        return any(uuid == board.uuid and kind & types for uuid, kind in self._recent)

    def _opened(self) -> bool:
        now = self.context.clock()
        if not self.is_open:
            if now < self._open_at:
                return False
            self.context.calls("nvmlInit")
            self.is_open = True
            self._due = {"medium": now, "slow": now}
        return True

    def _fail(self, error: pynvml.NVMLError) -> None:
        """Close and try again later, after 5 s, 10 s .. 5 min."""
        self.close()
        delay = min(self.settings.last_delay_s, self.settings.first_delay_s * 2.0**self._failures)
        self._failures += 1
        self._open_at = self.context.clock() + delay
        self.error = (error.value, str(error))

    def _read(self) -> None:
        self._collect_events()
        now = self.context.clock()
        slow, medium = now >= self._due["slow"], now >= self._due["medium"]
        if slow:
            awaited = (each.look_again_at for each in self.boards.values() if each.lost and each.look_again_at > now)
            self._due["slow"] = min([now + self.settings.slow_s, *awaited])
            listing.update(self)
        if medium:
            self._due["medium"] = now + self.settings.medium_s
        for board in list(self.boards.values()):
            if not board.lost:
                self._read_board(board, medium, slow)
        self._follow_boards()
        self.samples += 1

    def _read_board(self, board: Board, medium: bool, slow: bool) -> None:
        try:
            if slow or not board.values:
                read_tier(self, board, SLOW)
            if medium or not board.values:
                read_tier(self, board, MEDIUM)
                self._find_workload(board)
            code = read_fast(self, board, FAST)
        except pynvml.NVMLError as error:
            if error.value not in LOST:
                raise
            self.mark_lost(board, error.value, str(error))
            return
        if code in NOWHERE:
            # Its handle is no longer one: see what the driver lists.
            self._due["slow"] = self.context.clock()
        self._raise_if_all_are_gone(board, code)

    def _raise_if_all_are_gone(self, board: Board, code: int) -> None:
        board.gone = code if code in GONE else 0
        present = [each for each in self.boards.values() if not each.lost]
        if present and all(each.gone for each in present):
            raise pynvml.NVMLError(code)

    def _find_workload(self, board: Board) -> None:
        if self.settings.workload:
            for each in (board, *board.instances.values()):
                each.workload = self._processes.tags(each.pids) if each.pids else {}

    def _follow_boards(self) -> None:
        handles = {board.uuid: board.handle for board in self.boards.values() if not board.lost}
        if self._watch is not None:
            self._watch.watch(handles)
        elif not self.context.absent.lacks("", "events", self.context.clock()):
            try:
                self._watch = Watch(self.settings.event_wait_s, handles, self.notes.append)
            except pynvml.NVMLError as error:
                if error.value not in ABSENT:
                    self.notes.append(f"Xids and other events are not seen: {error}")
                for_long = error.value in ABSENT | DENIED
                rest = None if for_long else self.settings.slow_s
                self.context.absent.note("", "events", error.value, self.context.clock(), rest)

    def _collect_events(self) -> None:
        for event in self._watch.drain() if self._watch is not None else ():
            # Whatever it is, the slower readings show more of it.
            self._due = dict.fromkeys(self._due, self.context.clock())
            if event["type"] & TOLD:
                self._recent.append((event["gpu"], event["type"]))
                self._add_event(event)

    def _add_event(self, event: Event) -> None:
        if self.events and event["time_ns"] <= self.events[-1]["time_ns"]:
            event["time_ns"] = self.events[-1]["time_ns"] + 1
        self.events = [*self.events, event][-MOST_EVENTS:]

    def answer(self) -> dict[str, Any]:
        """Return what is known since the last answer; the intervals begin anew. Without NVML, events wait."""
        self._collect_events()
        self.samples = 0
        told: dict[str, Any] = {"notes": _take(self.notes)}
        if self.released:
            return told | {"released": self.settings.release}
        if self.error is not None or not self.is_open:
            code, text = self.error or (0, CLOSED_TEXT)
            return told | {"error": code, "text": text} | ({"ends": True} if code == MISMATCH else {})
        everything = [each for board in self.boards.values() for each in (board, *board.instances.values())]
        failed = [why for each in everything for why in _failed(each)]
        return told | {
            "gpus": [_told(each) for each in everything],
            "events": self.events,
            "missing": [*self.refused, *self.context.absent.denied(), *failed],
            "rejected": [line for each in everything for line in _take(each.rejected)],
        }

    def resume(self, heard_events: int) -> None:
        """Take what the last answer said as heard: so many events, and the intervals; -1 where it was not read."""
        for board in self.boards.values():
            for each in (board, *board.instances.values()):
                if heard_events < 0 and each.told is not None:
                    each.interval.put_before(each.told)
                each.told = None
        if heard_events > 0:
            self.events = self.events[heard_events:]


def _take(lines: list[str]) -> list[str]:
    taken = list(lines)
    lines.clear()
    return taken


def _failed(board: Board) -> list[str]:
    lines = [f"{board.key}: {name}: {why}" for name, why in board.failed.items()]
    board.failed.clear()
    return lines


def _told(board: Board) -> dict[str, Any]:
    """Return one board or instance for the answer, and begin its next interval."""
    identity = {"gpu": board.uuid, "index": board.index, "model": board.model, "mig": board.mig, "info": board.info}
    if board.lost:
        return {**identity, "values": {"lost": 1}, "workload": {}}
    values = board.held() | board.interval.values()
    board.told, board.interval = board.interval, Interval()
    return {**identity, "values": values | ({} if board.mig else {"lost": 0}), "workload": board.workload}
