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
import sys
import time
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from one_core import Held, Lines, Players, Seen, percentile, run_on_core  # noqa: E402

from collectors.collector import Target  # noqa: E402
from collectors.profile import Library  # noqa: E402
from collectors.runtime import Fleet, Runtime  # noqa: E402

SILENT_RATIO = 0.3


async def watch(what: str, seen: Seen, agents: Players, chosen: argparse.Namespace, silent: set[str]) -> None:
    """Let it run for a while and print how it went."""
    seen.forget()
    before, cpu, wall, held = agents.tell("count"), time.process_time(), time.monotonic(), Held()
    await asyncio.sleep(chosen.seconds)
    told = held.told()
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
    print(f"  {told}")
    print(f"  responder's own core   {(after['cpu'] - before['cpu']) / wall:8.1%}")


async def run(chosen: argparse.Namespace, agents: Players) -> None:
    """Poll the fabric, first alive, then with holes."""
    targets = [
        Target(
            f"leaf-{number:03d}", "snmp", f"127.0.0.1:{port}", "sonic_snmp",
            interval=timedelta(seconds=chosen.interval), timeout=timedelta(seconds=chosen.timeout), username="public",
        )
        for number, port in enumerate(agents.ready["ports"])
    ]  # fmt: skip
    seen, stop, lines = Seen(), asyncio.Event(), Lines()
    running = asyncio.create_task(Runtime(Fleet(targets, Library()), seen.put).run(stop))
    await asyncio.sleep(2 * chosen.interval + 5)
    await watch("all answer", seen, agents, chosen, set())
    holes = int(chosen.switches * SILENT_RATIO)
    agents.tell(f"silent {holes}")
    silent = {target.name for target in targets[chosen.switches - holes :]}
    await watch(f"{holes} are black-holed", seen, agents, chosen, silent)
    stop.set()
    await running
    lines.print()


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
    agents = Players("responder.py", "--agents", str(chosen.switches), "--ports", str(chosen.ports))
    try:
        run_on_core(lambda: run(chosen, agents), rows=25 * chosen.profile)
    finally:
        agents.close()


if __name__ == "__main__":
    main()
