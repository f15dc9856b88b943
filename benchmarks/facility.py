"""Power and coolant polled on one core: 300 Modbus, 300 SNMP and 100 Redfish devices, then 10 % of them black-holed.

Run: `python benchmarks/facility.py [--seconds 12] [--parts start all holes alone budget peers] [--profile]`; under five
minutes with the defaults. The devices are `benchmarks/facility_gear.py` on another core: HPR shelves of six supplies
and HVDC shelves every 2 s, CDUs every 5 s, PDUs and DC plants of six makers and Redfish CDUs, PDUs and shelves every
10 s. The collector is our `Runtime` with the packaged profiles, as `tokenwatt collect` runs it without a store. After
its start, in which units, rows and trees are found, each part lasts `--seconds`; what is read each 60 s or more seldom
falls into a part only if that is long enough. Printed: share of the core, polls answered, requests, how late polls
began against their own grid.

Parts: `start` what a device costs that is polled for the first time, and the next time, one device after the other;
`all` together; `holes` the same with 10 % of each protocol swallowing what they are asked: how late the others began;
`alone` each protocol by itself; `budget` 300 CDUs read some 3 times a second each; `peers` what the same reads
cost without us: pymodbus (one client a device, no retries) reading the same spans without decoding, aiohttp getting and
parsing the same resources without looking at them. SNMP's peer is in `benchmarks/snmp.py`. Nothing is asserted.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from pymodbus.client import AsyncModbusTcpClient

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from one_core import Held, Lines, Players, Seen, percentile, run_on_core  # noqa: E402

from collectors.address import parse_target_url  # noqa: E402
from collectors.collector import Target  # noqa: E402
from collectors.poller import Poller  # noqa: E402
from collectors.profile import Library  # noqa: E402
from collectors.runtime import Fleet, Runtime  # noqa: E402
from storage.config import Secret  # noqa: E402

PARTS = ("start", "all", "holes", "alone", "budget", "peers")
PROTOCOLS = ("modbus", "snmp", "redfish")
SILENT_PERCENT = 10
#: a fleet has started when for its longest interval no device was down and hardly a poll fell out; so long it may take
START_SECONDS = 60.0
CALM_RATIO = 0.97
#: how long it is noted what one device of each class is asked
NOTED_SECONDS = 12.0
#: share of the interval that a poll may take, as in the demo
TIMEOUT_RATIO = 0.8
#: class and seconds of the facts' budget: 3 reads a second
BUDGET_CLASS, BUDGET_SECONDS = "supermicro_scdu", 1.0
LOGIN = "/redfish/v1/SessionService/Sessions"


def list_targets(gear: Players) -> list[Target]:
    """Return what the players play."""
    return [_target(device) for device in gear.ready["devices"]]


def _target(device: Mapping[str, Any]) -> Target:
    url = parse_target_url(device["url"])
    interval = timedelta(seconds=device["interval"])
    return Target(
        name=device["name"],
        protocol=url.protocol,
        address=url.address,
        profile=device["profile"],
        interval=interval,
        timeout=TIMEOUT_RATIO * interval,
        username=url.username,
        password=url.password or (Secret(device["password"]) if device["password"] else None),
        options=url.options,
    )


class Clocks:
    """CPU of both processes and the wall, since it was made. Units: s."""

    def __init__(self, gear: Players) -> None:
        self._gear = gear
        self.theirs: float = gear.tell("count")["cpu"]
        self.cpu, self.wall, self.held = time.process_time(), time.monotonic(), Held()
        self.told = ""

    def stop(self) -> tuple[float, float]:
        """Return the CPU that this process used and the time that passed."""
        self.cpu, self.wall = time.process_time() - self.cpu, time.monotonic() - self.wall
        self.told, self.theirs = self.held.told(), self._gear.tell("count")["cpu"] - self.theirs
        return self.cpu, self.wall

    def print(self) -> None:
        """Print what may have held us up."""
        print(f"  {self.told}; the players' own core {self.theirs / self.wall:6.1%}")


@asynccontextmanager
async def polling(targets: Sequence[Target]) -> AsyncIterator[Seen]:
    """Poll these targets while the block runs, after they have started."""
    seen, stop = Seen(), asyncio.Event()
    running = asyncio.create_task(Runtime(Fleet(targets, Library()), seen.put).run(stop))
    await start(seen, targets)
    try:
        yield seen
    finally:
        stop.set()
        await running
        gc.collect()


async def start(seen: Seen, targets: Sequence[Target]) -> None:
    """Wait until each target was polled and polls keep to their grid; print how long that took and what it cost."""
    began, cpu = time.monotonic(), time.process_time()
    calm = max(target.interval.total_seconds() for target in targets)
    due = sum(calm / target.interval.total_seconds() for target in targets)
    known: set[str] = set()
    while time.monotonic() - began < START_SECONDS:
        seen.forget()
        await asyncio.sleep(calm)
        known |= seen.polls.keys()
        polls = sum(map(len, seen.polls.values()))
        if len(known) == len(targets) and not seen.down and CALM_RATIO * due <= polls <= due / CALM_RATIO + 1:
            break
    took, used = time.monotonic() - began, time.process_time() - cpu
    print(f"{len(targets)} devices started in {took:.0f} s, with {used:.1f} s of CPU; {len(known)} were polled")


async def watch(what: str, gear: Players, targets: Sequence[Target], seen: Seen, seconds: float) -> None:
    """Let it run for a while and print how it went."""
    seen.forget()
    silent, asked_before = set(gear.tell("count")["silent"]), dict(seen.requests)
    clocks = Clocks(gear)
    await asyncio.sleep(seconds)
    cpu, wall = clocks.stop()
    asked = {name: count - asked_before.get(name, 0) for name, count in seen.requests.items()}
    print(f"{what}: {len(targets)} devices, {wall:.0f} s")
    print(f"  share of one core {cpu / wall:6.1%}   {seen.points / wall:,.0f} points per second")
    alive = [target for target in targets if target.name not in silent]
    present = [protocol for protocol in PROTOCOLS if any(target.protocol == protocol for target in alive)]
    for protocol in present:
        print_polls(protocol, [target for target in alive if target.protocol == protocol], seen, asked, wall)
    if silent:
        print(f"  black-holed {len(silent)}, of them seen down {len(seen.down & silent)}")
    elif len(present) == 1:
        polls = sum(map(len, seen.polls.values()))
        print(f"  {cpu / polls * 1e3:.2f} ms of CPU per poll, {cpu / sum(asked.values()) * 1e6:.0f} us per request")
    clocks.print()


def print_polls(protocol: str, targets: Sequence[Target], seen: Seen, asked: Mapping[str, int], wall: float) -> None:
    """Print how the polls of one protocol went."""
    polls = [poll for target in targets for poll in seen.polls.get(target.name, ())]
    due = sum(wall / target.interval.total_seconds() for target in targets)
    requests = sum(asked.get(target.name, 0) for target in targets) / wall
    took, late = [each[0] * 1e3 for each in polls], [each[1] * 1e3 for each in polls]
    print(
        f"  {protocol:8} polls {len(polls):6,} of {due:6,.0f} due; {requests:6,.0f} requests/s;"
        f" late p50 {percentile(late, 0.5):5.1f} p99 {percentile(late, 0.99):6.1f} max {percentile(late, 1.0):6.1f} ms;"
        f" took p50 {percentile(took, 0.5):5.0f} p99 {percentile(took, 0.99):5.0f} ms;"
        f" down {sum(each.name in seen.down for each in targets)}"
    )


async def run_start(gear: Players) -> None:
    """Poll each device for the first time and then once more, and print what that costs by protocol.

    The first device of each class is polled before: what its profile and libraries cost once is no device's own.
    """
    for protocol in PROTOCOLS:
        targets = [target for target in list_targets(gear) if target.protocol == protocol]
        own = [replace(target, timeout=timedelta(seconds=START_SECONDS)) for target in targets]
        first = {target.profile: target for target in reversed(own)}
        library, shared = Library(), dict[str, Any]()
        known = [Poller(target, library, shared=shared) for target in first.values()]
        fresh = [Poller(target, library, shared=shared) for target in own if target is not first[target.profile]]
        await cpu_of(known)
        began, more = await cpu_of(fresh), await cpu_of(fresh)
        down = sum(poller.health.last_success is None for poller in fresh)
        for poller in (*known, *fresh):
            await poller.aclose()
        count = max(1, len(fresh))
        print(f"start of {protocol}: {len(fresh)} devices one after the other, {down} of them down")
        print(f"  {began / count * 1e3:.2f} ms of CPU for the first poll, {more / count * 1e3:.2f} ms for the next")


async def cpu_of(pollers: Sequence[Poller]) -> float:
    """Poll each of them once; return the CPU that took. Units: s."""
    began = time.process_time()
    for poller in pollers:
        await poller.poll(time.time_ns())
    return time.process_time() - began


async def run_ours(chosen: argparse.Namespace, gear: Players) -> None:
    """Poll all together, with holes, and each protocol by itself."""
    targets = list_targets(gear)
    if {"all", "holes"} & set(chosen.parts):
        async with polling(targets) as seen:
            if "all" in chosen.parts:
                await watch("all together", gear, targets, seen, chosen.seconds)
            if "holes" in chosen.parts:
                gear.tell(f"silent {SILENT_PERCENT}")
                await watch(f"{SILENT_PERCENT} % black-holed", gear, targets, seen, chosen.seconds)
        gear.tell("silent 0")
    if "alone" in chosen.parts:
        for protocol in PROTOCOLS:
            own = [target for target in targets if target.protocol == protocol]
            async with polling(own) as seen:
                await watch(f"{protocol} alone", gear, own, seen, chosen.seconds)


async def run_budget(chosen: argparse.Namespace) -> None:
    """Poll 300 CDUs as the facts' budget counts: 3 reads a second each."""
    gear = Players(
        "facility_gear.py", "--modbus", str(chosen.modbus), "--snmp", "0", "--redfish", "0", "--kinds", BUDGET_CLASS
    )
    every = timedelta(seconds=BUDGET_SECONDS)
    targets = [replace(target, interval=every, timeout=TIMEOUT_RATIO * every) for target in list_targets(gear)]
    try:
        async with polling(targets) as seen:
            await watch(f"budget, {BUDGET_CLASS} every {BUDGET_SECONDS:g} s", gear, targets, seen, chosen.seconds)
    finally:
        gear.close()


async def run_peers(chosen: argparse.Namespace, gear: Players) -> None:
    """Do the same reads without us."""
    asked = await record(gear)
    for protocol, library, work in (("modbus", "pymodbus", read_modbus), ("redfish", "aiohttp", read_redfish)):
        targets = [target for target in list_targets(gear) if target.protocol == protocol]
        if not targets:
            continue
        count = [0]
        tasks = [asyncio.create_task(work(target, asked[str(target.profile)], count)) for target in targets]
        await asyncio.sleep(max(target.interval.total_seconds() for target in targets) + 2)
        before, clocks = count[0], Clocks(gear)
        await asyncio.sleep(chosen.seconds)
        cpu, wall = clocks.stop()
        reads = count[0] - before
        print(f"{library} alone, {len(targets)} devices: the same reads, nothing decoded, {wall:.0f} s")
        print(
            f"  share of one core {cpu / wall:6.1%}   {reads / wall:,.0f} requests/s, {cpu / reads * 1e6:.0f} us each"
        )
        clocks.print()
        await end(tasks)


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End what reads for ever, and tell of what ended by itself."""
    for task in tasks:
        task.cancel()
    for failed in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(failed, asyncio.CancelledError):
            print(f"  ended early: {failed!r}")
    gc.collect()


async def record(gear: Players) -> Mapping[str, list[tuple[Any, ...]]]:
    """Return what a device of each class is asked in its fast tier."""
    first = [target for target in list_targets(gear) if target.name.endswith("-1") and target.protocol != "snmp"]
    async with polling(first):
        gear.tell("record")
        await asyncio.sleep(NOTED_SECONDS)
        asked = gear.tell("count")["asked"]
    intervals = {target.profile: target.interval.total_seconds() for target in first}
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for kind, *what, times in asked:
        if times >= 0.5 * NOTED_SECONDS / intervals[kind]:
            found[kind].append(tuple(what))
    return found


async def each_interval(target: Target, read: Callable[[], Awaitable[None]]) -> None:
    """Read at the target's phase of its interval, for ever."""
    interval = target.interval.total_seconds()
    phase = interval * (hash(target.name) % 997) / 997
    while True:
        now = time.time()
        await asyncio.sleep(interval - (now - phase) % interval)
        await read()


async def read_modbus(target: Target, spans: Sequence[tuple[Any, ...]], count: list[int]) -> None:
    """Read the same registers with pymodbus."""
    host, _, port = target.address.rpartition(":")
    client = AsyncModbusTcpClient(host, port=int(port), timeout=1, retries=0)
    await client.connect()
    by_function = {
        2: client.read_discrete_inputs,
        3: client.read_holding_registers,
        4: client.read_input_registers,
    }

    async def read() -> None:
        for unit, function, start, number in spans:
            found = await by_function[function](start, count=number, device_id=unit)
            if found.isError():
                raise RuntimeError(f"{target.name} {unit} {function} {start} {number}: {found}")
            count[0] += 1

    try:
        await each_interval(target, read)
    finally:
        client.close()


async def read_redfish(target: Target, paths: Sequence[tuple[Any, ...]], count: list[int]) -> None:
    """Get and parse the same resources with aiohttp."""
    base = f"http://{target.address}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session:
        login = {"UserName": target.username, "Password": target.password.reveal() if target.password else ""}
        async with session.post(base + LOGIN, json=login) as answer:
            headers = {"X-Auth-Token": answer.headers["X-Auth-Token"]}

        async def read() -> None:
            for (path,) in paths:
                async with session.get(base + path, headers=headers) as answer:
                    await answer.json()
                count[0] += 1

        await each_interval(target, read)


async def run(chosen: argparse.Namespace) -> None:
    """Run the parts that were chosen."""
    lines = Lines()
    gear = Players(
        "facility_gear.py", *(word for name in PROTOCOLS for word in (f"--{name}", str(getattr(chosen, name))))
    )
    try:
        if "start" in chosen.parts:
            await run_start(gear)
        await run_ours(chosen, gear)
        if "peers" in chosen.parts:
            await run_peers(chosen, gear)
    finally:
        gear.close()
    if "budget" in chosen.parts:
        await run_budget(chosen)
    lines.print()


def main() -> None:
    """Run it once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modbus", type=int, default=300)
    parser.add_argument("--snmp", type=int, default=300)
    parser.add_argument("--redfish", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    chosen = parser.parse_args()
    run_on_core(lambda: run(chosen), rows=40 * chosen.profile)


if __name__ == "__main__":
    main()
