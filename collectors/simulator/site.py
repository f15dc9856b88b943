"""A whole simulated site: every device served over its protocol, and the files that say how to poll it."""

import asyncio
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml

from collectors.simulator import exposition, gnmi, modbus, mqtt, nvml, redfish, snmp
from collectors.simulator.control import start_control
from collectors.simulator.factory import Factory
from collectors.simulator.faults import load_script
from collectors.simulator.inventory import write_inventory
from collectors.simulator.layout import Layout, build_layout
from collectors.simulator.service import Device, Service
from collectors.simulator.state import STEP_SECONDS

logger = logging.getLogger(__name__)

PROTOCOLS = (exposition, snmp, gnmi, modbus, redfish, mqtt)
#: an impatient operator's idle rules: a demo shows in seconds what a site is told after half an hour
IDLE_HOLD = "10s"
#: share of the interval that a poll may take
TIMEOUT_RATIO = 0.8
#: the section `storage:` of the site that is written
EMBEDDED: Mapping[str, Any] = {"engine": "duckdb", "path": "tokenwatt.duckdb"}


async def simulate(
    directory: Path,
    gpus: int = 64,
    seed: int = 1,
    speed: float = 1.0,
    faults_file: Path | None = None,
    clock: Callable[[], float] = time.time,
    storage: Mapping[str, Any] = EMBEDDED,
    child: bool = False,
) -> None:
    """Serve a site of `gpus` GPUs until SIGINT or SIGTERM; write its files into `directory`, then print `ready`.

    A `child` ends with its standard input too, so that it never outlives who started it.

    Raises:
        ValueError: a number of GPUs, a speed or a fault script that cannot be played; no file is written then.
        OSError: the directory cannot be written.
    """
    layout = build_layout(gpus, seed=seed)
    factory = Factory(layout, seed=seed, start=clock(), speed=speed)
    stopped = asyncio.Event()
    async with AsyncExitStack() as stack:
        devices = await start_services(factory, directory, clock, stack)
        factory.faults.register_devices(device.name for device in devices)
        if faults_file is not None:
            load_script(faults_file, factory.faults, start=factory.start, speed=speed)
        control = await start_control(factory, clock)
        stack.push_async_callback(control.close)
        write_files(directory, layout, devices, control.url, storage)
        _stop_on_signals(stopped, stack)
        if child:
            _stop_with_stdin(stopped)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await tick(factory, clock, stopped)


async def start_services(
    factory: Factory, directory: Path, clock: Callable[[], float], stack: AsyncExitStack
) -> tuple[Device, ...]:
    """Start every protocol's servers, to be closed by `stack`; return all devices."""
    directory.mkdir(parents=True, exist_ok=True)
    devices: list[Device] = []

    def take(service: Service) -> None:
        stack.push_async_callback(service.close)
        devices.extend(service.devices)

    take(await nvml.start(factory, clock, directory))
    for module in PROTOCOLS:
        take(await module.start(factory, clock))
    return tuple(devices)


async def tick(factory: Factory, clock: Callable[[], float], stopped: asyncio.Event) -> None:
    """Advance the factory on every whole second until `stopped`."""
    while not stopped.is_set():
        now = clock()
        factory.advance(now)
        try:
            await asyncio.wait_for(stopped.wait(), math.floor(now) + STEP_SECONDS - now)
        except TimeoutError:
            continue


def write_files(
    directory: Path, layout: Layout, devices: Sequence[Device], control: str, storage: Mapping[str, Any] = EMBEDDED
) -> None:
    """Write `inventory.csv`, `site.yaml` and `control.json`, each at once or not at all."""
    _replace(directory / "inventory.csv", write_inventory(layout, _engines(layout, devices)))
    head = "# Written by `tokenwatt simulate`: where the simulated devices listen, until it ends.\n"
    site = yaml.safe_dump(_site(layout, devices, storage), sort_keys=False, allow_unicode=True)
    _replace(directory / "site.yaml", head + site)
    _replace(directory / "control.json", json.dumps({"url": control, "pid": os.getpid()}) + "\n")


def _site(layout: Layout, devices: Sequence[Device], storage: Mapping[str, Any]) -> dict[str, Any]:
    facility = next(meter.rated_watts for meter in layout.meters if meter.scope == "facility")
    it = next(meter.rated_watts for meter in layout.meters if meter.scope == "it")
    states = ("parked", "reserved_idle", "unallocated_idle", "stalled")
    return {
        "allow_plaintext_secrets": True,
        "storage": dict(storage),
        "collectors": {
            "site": layout.site,
            "synthetic": True,
            "inventory": "inventory.csv",
            "targets": [_target(device) for device in devices],
        },
        "dashboard": {
            "idle": {"hold": dict.fromkeys(states, IDLE_HOLD), "grace": "0s", "leave": IDLE_HOLD},
            "targets": {"pue": 1.25, "tokens_per_joule_it": 0.6, "gpus_idle_ratio": 0.15},
            "limits": {"facility_watts": facility, "it_watts": it},
        },
    }


def _target(device: Device) -> dict[str, str]:
    optional = {"profile": device.profile, "password": device.password, "priv_password": device.priv_password}
    optional["host"] = device.host
    target = {"name": device.name, "url": device.url, "interval": f"{device.interval_seconds:g}s"}
    # Thousands of devices play on one core here: a slow answer says nothing about the device.
    target["timeout"] = f"{TIMEOUT_RATIO * device.interval_seconds:g}s"
    return target | {key: value for key, value in optional.items() if value}


def _engines(layout: Layout, devices: Sequence[Device]) -> dict[str, str]:
    """Return the target name of each serving host's inference server: `vllm-<host>` or `sglang-<host>`."""
    names = {device.name for device in devices}
    serving = {host.name: layout.server_of(host) for host in layout.hosts if host.engine is not None}
    return {host: name for host, name in serving.items() if name in names}


def _replace(path: Path, text: str) -> None:
    """Write a file so that nobody sees half of it, and only its owner the whole: there are passwords in it."""
    draft = path.with_name(path.name + ".new")
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _stop_on_signals(stopped: asyncio.Event, stack: AsyncExitStack) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
        stack.callback(loop.remove_signal_handler, number)


def _stop_with_stdin(stopped: asyncio.Event) -> None:
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def end() -> None:
        loop.remove_reader(stdin)  # an ended input stays readable
        stopped.set()

    loop.add_reader(stdin, end)
