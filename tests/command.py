"""The command `tokenwatt` as a user runs it: in a process of its own, or parsed only."""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer.main

import tokenwatt

ROOT = Path(__file__).parents[1]
START_SECONDS = 100.0


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.err, self.err


@dataclass(slots=True)
class Running:
    """A command that has not ended yet."""

    process: subprocess.Popen[str]
    log: Path
    said: list[str] = field(default_factory=list)

    def line(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """Return the match in the next line of standard output that has one; fail when none comes in time."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if not selector.select(timeout=0.5):
                    continue
                line = self.process.stdout.readline()
                self.said.append(line)
                if found := re.search(pattern, line):
                    return found
                if not line:
                    break
        pytest.fail(f"no {pattern!r} in {seconds:g} s; out: {self.said!r}; err: {self.log.read_text()[-2000:]!r}")

    def url(self) -> str:
        """Return the address that the command prints once it listens."""
        return self.line(r"http://[\w.]+:\d+").group()

    def stop(self, number: signal.Signals, seconds: float = 60.0) -> Answer:
        """Send a signal, wait for the end and return the answer."""
        self.process.send_signal(number)
        return self.end(seconds)

    def end(self, seconds: float = 60.0) -> Answer:
        """Wait for the end and return the answer."""
        rest, _ = self.process.communicate(timeout=seconds)
        return Answer(self.process.returncode, "".join(self.said) + rest, self.log.read_text())


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command: output at once, in one wide line each."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "240", "NO_COLOR": "1", "PYTHONPATH": str(ROOT), **more}


def run(*arguments: object, seconds: float = 100.0, cwd: Path = ROOT, **variables: str) -> Answer:
    """Run `tokenwatt` in a process of its own to its end."""
    command = [sys.executable, "-m", "tokenwatt", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=seconds, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def _heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(
    *arguments: object,
    log: Path,
    stdin: int | None = subprocess.DEVNULL,
    cwd: Path = ROOT,
    own_group: bool = False,
    **variables: str,
) -> Iterator[Running]:
    """Run `tokenwatt` while the block runs; `log` takes its standard error.

    `own_group`: in a process group of its own, as a terminal makes one.
    """
    command = [sys.executable, "-m", "tokenwatt", *map(str, arguments)]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            cwd=cwd,
            env=environment(**variables),
            start_new_session=own_group,
            # A shell that starts us in its background has us, and whom we start, ignore Ctrl-C; a terminal does not.
            preexec_fn=_heed_ctrl_c if own_group else None,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Running(process, log)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: Sequence[object]) -> Answer:
    """Run `tokenwatt` to its end in this process: for commands that start quickly and are called often."""
    monkeypatch.setattr(sys, "argv", ["tokenwatt", *map(str, arguments)])
    before = signal.getsignal(signal.SIGTERM)
    capsys.readouterr()
    code: object = 0
    try:
        tokenwatt.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(code, int)
    return Answer(code, *capsys.readouterr())


def subcommands() -> Mapping[str, Any]:
    """Return the click command of each subcommand."""
    group: Any = typer.main.get_command(tokenwatt.app)
    found: Mapping[str, Any] = group.commands
    return found


def parse(arguments: Sequence[str]) -> Mapping[str, Any]:
    """Return the parameters that a subcommand takes from these arguments, without running it; fail where it refuses."""
    name, *rest = arguments
    commands = subcommands()
    assert name in commands, f"tokenwatt has no command {name!r}"
    command = commands[name]
    if own := getattr(command, "commands", None):
        assert rest, f"tokenwatt {name} needs one of {', '.join(own)}"
        assert rest[0] in own, f"tokenwatt {name} has no command {rest[0]!r}"
        command, rest = own[rest[0]], rest[1:]
    try:
        parameters: Mapping[str, Any] = command.make_context(name, list(rest)).params
    except Exception as error:  # noqa: BLE001 - typer carries its own click, whose errors have no public name
        pytest.fail(f"tokenwatt {' '.join(arguments)}: {getattr(error, 'message', error)}")
    return parameters


def offspring(pid: int) -> set[int]:
    """Return the processes that a process started, and those that they started (Linux)."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    while new := {child for child, parent in parents.items() if parent in {pid, *found}} - found:
        found |= new
    return found


def lives(pid: int) -> bool:
    """Return whether a process runs; a zombie does not (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def rows(database: Path, measurement: str) -> list[dict[str, Any]]:
    """Return a measurement's rows with their tags, the oldest first, as they lie in a store that nobody has open."""
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.execute(
            f'SELECT * FROM main."{measurement}" JOIN series."{measurement}" USING (sid) ORDER BY time_ns'
        )
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def peek(database: Path, measurement: str) -> list[dict[str, Any]]:
    """Return the rows of a store that another process has open, read from a copy; none while it is just written."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / database.name
        try:
            for path in (database, database.with_name(f"{database.name}.wal")):
                shutil.copyfile(path, copy.with_name(path.name))
            duckdb.connect(str(copy)).close()  # replays the log, which a reader alone may not
            return rows(copy, measurement)
        except (OSError, duckdb.Error):
            return []


def grown(database: Path, good: Callable[[], bool]) -> Callable[[], bool]:
    """Return the condition `good`, asked only when the open store has written since: a look costs a copy."""
    log = database.with_name(f"{database.name}.wal")
    before = 0

    def condition() -> bool:
        nonlocal before
        size = log.stat().st_size if log.exists() else 0
        asked, before = size != before, size
        return asked and good()

    return condition
