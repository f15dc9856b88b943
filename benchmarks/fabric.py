"""A fabric polled on one core: 256 switches of 64 ports every 30 s with PFC and queues, then 30 % of them black-holed.

Run: `python benchmarks/fabric.py [--switches 256] [--ports 64] [--interval 30] [--seconds 90] [--profile]`. The agents
are `benchmarks/responder.py` on another core; the collector is our `Runtime` with the profile `sonic_snmp`, anchored to
the agents' refresh, as `tokenwatt collect` runs it without a store. Two intervals to find the rows and the refresh,
then `--seconds` with all agents, then as long with the last 30 % silent. Printed for each: share of the core, varbinds
per second, polls, and how late they began against their own grid (p50, p99, most) as a share of the interval; of the
silent ones only that they are down. Optics are left out. Nothing is asserted: read the figures.
"""

import argparse
import asyncio
import cProfile
import json
import logging
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from collectors.collector import Target  # noqa: E402
from collectors.profile import Library  # noqa: E402
from collectors.runtime import Fleet, Runtime  # noqa: E402
from storage.point import Point  # noqa: E402

SILENT_RATIO = 0.3
OURS, THEIRS = 0, 1


@dataclass(slots=True)
class Seen:
    """What the runtime gave since the last look."""

    points: int = 0
    #: device -> seconds of its polls, and how late they began
    polls: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)

    def put(self, points: Sequence[Point]) -> None:
        """Take a batch as the writer would."""
        now_ns = time.time_ns()
        self.points += len(points)
        for point in points:
            if point.measurement != "device":
                continue
            name, took = point.tags["device"], float(point.fields["poll_seconds"])
            if point.fields["up"]:
                late = (now_ns - point.time_ns) / 1e9 - took
                self.polls.setdefault(name, []).append((took, late))
            else:
                self.down.add(name)


class Lines(logging.Handler):
    """Counts what would be logged, and keeps the first tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: dict[str, int] = {}
        self.unexpected: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Count by the words of the message, names and numbers left out."""
        words = record.getMessage().split(": ", 1)[-1][:60]
        self.counts[words] = self.counts.get(words, 0) + 1
        if record.exc_info and record.exc_info[1] is not None:
            self.unexpected.append(repr(record.exc_info[1]))


class Agents:
    """The responder's process."""

    def __init__(self, switches: int, ports: int) -> None:
        command = [sys.executable, str(ROOT / "benchmarks" / "responder.py"), "--cpu", str(THEIRS)]
        command += ["--agents", str(switches), "--ports", str(ports)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports: list[int] = self._read()["ports"]

    def tell(self, line: str) -> dict[str, float]:
        """Send a line and return what was answered so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        found: dict[str, float] = self._read()
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, list[int]] | dict[str, float]:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def waited_s() -> float:
    """Return how long this process was ready to run and another one had the core; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def percentile(values: Sequence[float], ratio: float) -> float:
    """Return the value under which that share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(ratio * len(ordered)))] if ordered else float("nan")


async def watch(what: str, seen: Seen, agents: Agents, chosen: argparse.Namespace, silent: set[str]) -> None:
    """Let it run for a while and print how it went."""
    seen.points, seen.polls, seen.down = 0, {}, set()
    before, cpu, wall, waited = agents.tell("count"), time.process_time(), time.monotonic(), waited_s()
    await asyncio.sleep(chosen.seconds)
    after, cpu, wall = agents.tell("count"), time.process_time() - cpu, time.monotonic() - wall
    polls = [each for name, found in seen.polls.items() if name not in silent for each in found]
    took, late = [each[0] for each in polls], [each[1] for each in polls]
    due = (chosen.switches - len(silent)) * wall / chosen.interval
    print(f"{what}: {chosen.switches} switches x {chosen.ports} ports every {chosen.interval:g} s, {wall:.0f} s")
    print(f"  share of one core      {cpu / wall:8.1%}   ({cpu / max(len(polls), 1) * 1000:.1f} ms per answered poll)")
    print(f"  varbinds               {(after['varbinds'] - before['varbinds']) / wall:8,.0f} per second")
    print(f"  points                 {seen.points / wall:8,.0f} per second")
    print(f"  polls answered         {len(polls):8,d}   of {due:,.0f} due; down: {len(seen.down & silent)} silent,"
          f" {len(seen.down - silent)} others")  # fmt: skip
    print(f"  poll p50, p99          {percentile(took, 0.5):8.3f} s {percentile(took, 0.99):8.3f} s")
    shares = [percentile(late, ratio) / chosen.interval for ratio in (0.5, 0.99, 1.0)]
    print(f"  began late p50 p99 max {shares[0]:8.2%} {shares[1]:8.2%} {shares[2]:8.2%} of the interval")
    print(f"  waited for the core    {(waited_s() - waited) / wall:8.1%}   of the time, others had it")
    print(f"  responder's own core   {(after['cpu'] - before['cpu']) / wall:8.1%}")


async def run(chosen: argparse.Namespace, agents: Agents) -> None:
    """Poll the fabric, first alive, then with holes."""
    targets = [
        Target(
            f"leaf-{number:03d}", "snmp", f"127.0.0.1:{port}", "sonic_snmp",
            interval=timedelta(seconds=chosen.interval), timeout=timedelta(seconds=chosen.timeout), username="public",
        )
        for number, port in enumerate(agents.ports)
    ]  # fmt: skip
    seen, stop, lines = Seen(), asyncio.Event(), Lines()
    logging.getLogger("collectors").addHandler(lines)
    logging.getLogger("collectors").propagate = False
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    running = asyncio.create_task(Runtime(Fleet(targets, Library()), seen.put).run(stop))
    await asyncio.sleep(2 * chosen.interval + 5)
    await watch("all answer", seen, agents, chosen, set())
    holes = int(chosen.switches * SILENT_RATIO)
    agents.tell(f"silent {holes}")
    silent = {target.name for target in targets[chosen.switches - holes :]}
    await watch(f"{holes} are black-holed", seen, agents, chosen, silent)
    stop.set()
    await running
    print("logged: " + ("; ".join(f"{count} x {words!r}" for words, count in lines.counts.items()) or "nothing"))
    for what in dict.fromkeys(lines.unexpected):
        print(f"  unexpected: {what}")


def main() -> None:
    """Run it once; four minutes with the defaults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--switches", type=int, default=256)
    parser.add_argument("--ports", type=int, default=64)
    parser.add_argument("--interval", type=float, default=30.0, help="seconds between two polls of a switch")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds that a poll may take")
    parser.add_argument("--seconds", type=float, default=90.0, help="of each part")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    chosen = parser.parse_args()
    agents = Agents(chosen.switches, chosen.ports)
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {OURS})
    try:
        if chosen.profile:
            profile = cProfile.Profile()
            profile.runcall(lambda: asyncio.run(run(chosen, agents)))
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        else:
            asyncio.run(run(chosen, agents))
    finally:
        agents.close()


if __name__ == "__main__":
    main()
