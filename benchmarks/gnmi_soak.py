"""Two databases of one simulated switch, streamed side by side: `python benchmarks/gnmi_soak.py [seconds]`.

The server is the simulator's, with a port of its own on loopback and its weaknesses on: a second Subscribe on one TCP
connection ends the first. Nothing is measured against a peer here: it shows that COUNTERS_DB and APPL_DB both go
on. Printed for each: complete rounds of how many due, rounds without points, the longest time between two, reconnects.
The process ends with 1 when a round is missing or a stream was opened anew.
"""

import asyncio
import resource
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from gnmi_site import NAME, Site, small_profile  # noqa: E402

from collectors.collector import CollectError, Target  # noqa: E402
from collectors.gnmi.collector import GnmiCollector  # noqa: E402
from collectors.profile import Profile  # noqa: E402

PERIOD_S = 2.0


@dataclass(slots=True)
class Tally:
    """What one database brought."""

    rounds: int = 0
    gaps: int = 0
    longest_s: float = 0.0
    last: float = field(default_factory=time.monotonic)

    def count(self, points: int) -> None:
        now = time.monotonic()
        self.rounds += points > 0
        self.gaps += points == 0
        if points:
            self.longest_s = max(self.longest_s, now - self.last)
            self.last = now


def fast_profile() -> Profile:
    """Return counters and links alone, both read with each poll."""
    counters, links, _ = small_profile().groups
    points = tuple(spec.model_copy(update={"every": "fast"}) for spec in links.points)
    return small_profile().model_copy(update={"groups": (counters, links.model_copy(update={"points": points}))})


async def soak(seconds: float) -> int:
    site = Site()
    await site.open()
    target = Target(
        NAME,
        "gnmi",
        f"127.0.0.1:{site.port}",
        options={"tls": "off", "on_change": "off"},
        interval=timedelta(seconds=PERIOD_S),
    )
    collector = GnmiCollector(target, fast_profile())
    tallies = {"COUNTERS_DB": Tally(), "APPL_DB": Tally()}
    start, cpu, due, errors, reconnects = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF), 0, 0, 0
    while time.monotonic() - start < seconds:
        due += 1
        site.pass_time(PERIOD_S)
        try:
            result = await collector.poll(due * int(PERIOD_S * 1e9))
        except CollectError as error:
            errors += 1
            print(error, flush=True)
        else:
            reconnects = result.reconnects
            ports = [point.fields for point in result.points if point.measurement == "interface"]
            tallies["COUNTERS_DB"].count(sum("rx_bytes_total" in fields for fields in ports))
            tallies["APPL_DB"].count(sum("oper_up" in fields for fields in ports))
        await asyncio.sleep(max(0.0, start + due * PERIOD_S - time.monotonic()))
    streams = {source.database: source.stream.rounds for source in collector._sources if source.stream}
    used = resource.getrusage(resource.RUSAGE_SELF)
    await collector.aclose()
    await site.close()
    cpu_s = used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime
    print(f"{due} polls of {len(site.switch.ports)} ports in {time.monotonic() - start:.0f} s, {errors} failed")
    for name, tally in tallies.items():
        alive = f"its one stream brought {streams.get(name, 0)} of them"
        print(f"{name}: {tally.rounds} rounds ({alive}), {tally.gaps} gaps, at most {tally.longest_s:.2f} s apart")
    print(f"reconnects {reconnects}, {cpu_s:.1f} CPU s, the simulator's included")
    # the first round is the probe's, by Get
    whole = all(tally.rounds == due and streams.get(name) == due - 1 for name, tally in tallies.items())
    return 0 if whole and not errors and not reconnects else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(soak(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)))
