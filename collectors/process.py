"""Our child processes: the pollers, started, heard, started again when they die, stopped; and the simulator."""

import asyncio
import gc
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from storage.point import Point

logger = logging.getLogger(__name__)

RESTART_S = 5.0
#: time that the pollers may take to close their connections
STOP_S = 10.0

#: new objects until the garbage collector looks at them, and how many such looks until it goes on to older ones
GC_THRESHOLDS = (50_000, 20, 100)

Put = Callable[[Sequence[Point]], None]
#: (the site's file, where points go, stop) -> the coroutine that polls; importable by name, it runs in the child
Work = Callable[[Path, Put, asyncio.Event], Awaitable[None]]


class Pollers:
    """Run `work` in a child process and hand every batch that it gives to `put`, in a thread of this one."""

    def __init__(self, work: Work, config: Path, put: Put) -> None:
        self._work = work
        self._config = config
        self._put = put
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="pollers")

    def start(self) -> None:
        """Start the child and the thread that listens to it."""
        self._thread.start()

    def close(self) -> None:
        """Stop the child, take what it still gives, and end the thread; calling it again does nothing."""
        self._closing.set()
        self._thread.join()

    def _supervise(self) -> None:
        # Ctrl-C reaches the whole foreground group, a child that still starts too: it would end with a traceback. A
        # child has the mask of the thread that starts it. The tracker, started with the first child, would clear it.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while not self._closing.is_set():
            self._run_once()
            if not self._closing.wait(RESTART_S):
                logger.warning("starting the pollers again")

    def _run_once(self) -> None:
        # spawn: a fork would copy locks that other threads hold
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        child = context.Process(target=_child, args=(self._work, self._config, theirs), name="tokenwatt-pollers")
        child.start()
        theirs.close()
        self._listen(ours)
        child.join(STOP_S)
        if child.exitcode is None:
            child.kill()
            child.join()
        if not self._closing.is_set():
            logger.error("the pollers' process ended with exit code %s", child.exitcode)
        ours.close()

    def _listen(self, connection: Connection) -> None:
        """Pass on what comes until the child has closed its end; tell it to stop when we close."""
        told = False
        while True:
            try:
                if self._closing.is_set() and not told:
                    connection.send(None)
                    told = True
                if connection.poll(0.2):
                    self._put([Point(*parts) for parts in connection.recv()])
            except (EOFError, OSError):
                return


def spare_gc() -> None:
    """Let the garbage collector look less often in a process that polls.

    Answers and points hold no cycles: they are freed as they go, and at Python's thresholds one poll of a switch makes
    the collector walk the state of all other devices. Measured with gNMI: 13 % of a round with all tables.
    """
    gc.set_threshold(*GC_THRESHOLDS)


def _child(work: Work, config: Path, connection: Connection) -> None:
    spare_gc()
    # The parent decides when we stop, also for a Ctrl-C that waits behind the mask.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_poll(work, config, connection))
    connection.close()


async def _poll(work: Work, config: Path, connection: Connection) -> None:
    stopped = asyncio.Event()
    loop, said = asyncio.get_running_loop(), connection.fileno()

    def end() -> None:
        loop.remove_reader(said)  # the message stays unread, and readable
        stopped.set()

    # The parent says stop with one message, or by going away.
    loop.add_reader(said, end)
    batches: SimpleQueue[Sequence[Point] | None] = SimpleQueue()
    # A parent that is busy for a moment must not hold up the polls.
    sender = threading.Thread(target=_send, args=(batches, connection), name="sender")
    sender.start()
    try:
        await work(config, batches.put, stopped)
    finally:
        loop.remove_reader(said)
        batches.put(None)
        sender.join()


def _send(batches: "SimpleQueue[Sequence[Point] | None]", connection: Connection) -> None:
    try:
        while (batch := batches.get()) is not None:
            connection.send([(p.measurement, p.tags, p.fields, p.time_ns) for p in batch])
    except OSError:
        logger.warning("nobody takes the points: the main process is gone")


class SimulatorError(OSError):
    """The simulator ended before it was ready; `code` is its exit code, 2 when it has told what is wrong."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the simulator ended with exit code {code} before it was ready")
        self.code = code


@contextmanager
def simulator(directory: Path, options: Sequence[str]) -> Iterator[int]:
    """Run `tokenwatt simulate` as a child process while the block runs, ready when it begins; yield its process id.

    A child that dies before its time is told once.

    Raises:
        SimulatorError: it ends before it is ready.
    """
    command = [sys.executable, "-m", "tokenwatt", "simulate", "--dir", str(directory), "--child", *options]
    # Its own session: Ctrl-C reaches us alone, and we stop it after the collectors have closed. It ends with its stdin.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        ending = threading.Event()
        try:
            assert child.stdout is not None
            if child.stdout.readline() != "ready\n":
                raise SimulatorError(child.wait())
            threading.Thread(target=_watch, args=(child, ending), name="simulator", daemon=True).start()
            yield child.pid
        finally:
            ending.set()
            child.terminate()


def _watch(child: "subprocess.Popen[str]", ending: threading.Event) -> None:
    code = child.wait()
    if not ending.is_set():
        logger.error("the simulator has died with exit code %s: all its devices are silent; start the demo again", code)
