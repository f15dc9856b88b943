"""System programs that tests talk to for real: find them, start them on a free port, stop them."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port of 127.0.0.1 that nobody has, for a server that is told its port or for one that is not there.

    It lies below those that the system gives to a socket that names none, and each worker of the tests has a range of
    its own: nobody takes it before it is used.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 12_000 + 2_000 * (worker % 10) + secrets.randbelow(2_000)
        with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Return whether something on 127.0.0.1 accepts connections on that port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], object], seconds: float = 60.0, what: str = "the condition") -> None:
    """Wait until `condition()` is true; fail the test when that takes too long."""
    deadline, pause_s = time.monotonic() + seconds, 0.02
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true in {seconds:g} s")
        time.sleep(pause_s)
        pause_s = min(1.25 * pause_s, 0.25)  # whom it asks has work of its own


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
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
