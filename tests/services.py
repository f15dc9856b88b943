"""System programs that tests talk to for real: find them, start them on a free port, stop them."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

#: program -> the Debian package that holds it
PACKAGES = {
    "chromium": "chromium",
    "mosquitto": "mosquitto",
    "snmpd": "snmpd",
    "snmpget": "snmp",
    "snmpwalk": "snmp",
    "snmptrap": "snmp",
    "snmpinform": "snmp",
    "victoria-metrics": "victoria-metrics",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "cc": "gcc",
}


def program(name: str) -> Path:
    """Return the path of a system program; without it the test fails in CI and is skipped elsewhere."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        message = f"{name} is missing; install with: apt-get install {PACKAGES.get(name, name)}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return Path(found)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Return whether something on 127.0.0.1 accepts connections on that port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], object], seconds: float = 20.0, what: str = "the condition") -> None:
    """Wait until `condition()` is true; fail the test when that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true in {seconds:g} s")
        time.sleep(0.02)


@contextmanager
def running(command: Sequence[str | Path], ready: Callable[[], object]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs; the block begins when `ready()` is true.

    Its output goes to /dev/null unless it dies early: then the test fails with the last lines of it.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            until(lambda: process.poll() is not None or ready(), what=f"{command[0]} to be ready")
            if process.poll() is not None:
                output = process.stdout.read() if process.stdout else b""
                pytest.fail(f"{command[0]} ended with {process.returncode}: {output[-2000:].decode(errors='replace')}")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
