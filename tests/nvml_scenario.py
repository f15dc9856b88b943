"""Say what the simulated NVML library shows: `nvml.scenario` beside it, as docs/contracts.md section 5 gives it."""

import asyncio
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from services import program

from collectors.simulator import nvml as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.nvml_python import STATE, STEP_SECONDS
from collectors.simulator.service import Service

SCENARIO = "nvml.scenario"
FORBIDDEN = "nvml.forbidden"


def say(library_dir: Path, *lines: str) -> None:
    """Replace the scenario at once by these lines, each `gpu key value`; none at all: only the factory speaks.

    An event (`xid`, `event`) is one that comes after the board was registered: what stands there before is old.
    """
    simulator.replace_file(library_dir / SCENARIO, "".join(f"{line}\n" for line in lines).encode())


def forbidden_calls(library_dir: Path) -> list[str]:
    """Return the calls that an agent must not make and that were made, in order."""
    path = library_dir / FORBIDDEN
    return path.read_text().split() if path.exists() else []


def nvml_host(directory: Path, *, seconds: float = 60.0) -> Path:
    """Put a library of 8 boards and the state of a factory that ran for some seconds into a folder; return the library.

    The factory stands still afterwards, and so do its counters: where a scenario says `power`, the energy grows.
    """
    factory = Factory(build_layout(16), seed=1, start=time.time() - seconds - STEP_SECONDS)
    factory.advance(factory.state.time + seconds)
    host = factory.layout.hosts[0]
    library = directory / simulator.LIBRARY
    simulator.replace_file(library, _library().read_bytes())
    columns = simulator.read_columns(factory, host)
    simulator.replace_file(directory / STATE, simulator.encode_state(factory, host, columns))
    return library


async def start_simulator(factory: Factory, directory: Path) -> Service:
    """Start the simulator with a library that it built before: the compiler takes a second of the CPU each time."""
    return await simulator.start(factory, time.time, directory, await asyncio.to_thread(_library))


#: answers expressions over `n` (pynvml) and `h` (the handles of the boards at the start), one per line, in JSON
_CHILD = """
import ctypes, json, sys, time
import pynvml as n

def gpm(handle, *ids, between=0.0, instance=None):
    def take(sample):
        if instance is None:
            n.nvmlGpmSampleGet(handle, sample)
        else:
            n.nvmlGpmMigSampleGet(handle, instance, sample)
        return sample
    got = n.c_nvmlGpmMetricsGet_t(version=n.NVML_GPM_METRICS_GET_VERSION, numMetrics=len(ids))
    got.sample1 = take(n.nvmlGpmSampleAlloc())
    time.sleep(between)
    got.sample2 = take(n.nvmlGpmSampleAlloc())
    for place, metric in enumerate(ids):
        got.metrics[place].metricId = metric
    n.nvmlGpmMetricsGet(got)
    n.nvmlGpmSampleFree(got.sample1)
    n.nvmlGpmSampleFree(got.sample2)
    return [m.nvmlReturn or m.value for m in got.metrics[: len(ids)]]

def fields(handle, *ids):
    got = n.nvmlDeviceGetFieldValues(handle, list(ids))
    read = {1: "uiVal", 3: "ullVal", 5: "siVal"}
    return [None if v.nvmlReturn else getattr(v.value, read[v.valueType]) for v in got]

def listen(mask, *handles):
    made = n.nvmlEventSetCreate()
    for handle in handles:
        n.nvmlDeviceRegisterEvents(handle, mask, made)
    return made

def wait(listening, milliseconds=0):
    event = n.nvmlEventSetWait_v2(listening, milliseconds)
    return [n.nvmlDeviceGetUUID(event.device) if not lost(event.device) else None, event.eventType, event.eventData]

def lost(handle):
    try:
        n.nvmlDeviceGetUUID(handle)
    except n.NVMLError:
        return True
    return False

def structure(kind, call, handle):
    made = kind()
    call(handle, ctypes.byref(made))
    return {name: _plain(getattr(made, name)) for name, *_ in kind._fields_}

def _plain(value):
    if isinstance(value, bytes):
        return value.decode("latin1")
    return value if isinstance(value, (int, str)) else list(value)

def keep(name, value):
    globals()[name] = value

n.nvmlInit()
h = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
print("true", flush=True)
for line in sys.stdin:
    try:
        answer = eval(line)
    except n.NVMLError as error:
        answer = f"error {error.value}"
    print(json.dumps(answer), flush=True)
"""


class Binding:
    """The real binding in a process of its own, which loads the library as it would load the driver's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, expression: str) -> Any:
        """Return what an expression gives, `error <code>` for an NVML error."""
        self.begin(expression)
        return self.end()

    def begin(self, expression: str) -> None:
        """Ask, and do not wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{expression}\n")
        self._process.stdin.flush()

    def end(self) -> Any:
        """Return the answer to what was asked."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def binding(library: Path) -> Iterator[Binding]:
    """Run the real binding over a library while the block runs."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        try:
            asked = Binding(process)
            assert asked.end()  # it has the handles
            yield asked
        finally:
            process.kill()


@cache
def _library() -> Path:
    program("cc")
    directory = Path(tempfile.mkdtemp(prefix="nvml-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = asyncio.run(simulator.build_library(directory))
    assert library is not None
    return library
