"""What we claim about SNMP polling, against Debian's snmp_exporter and against pysnmp, on one agent in one run.

Run: `python benchmarks/snmp.py [--seconds 5] [--profile]`. One SONiC-like agent of 64 ports (`benchmarks/responder.py`)
on one core, whoever asks it on the other. All read the same instances: 14 columns of ifTable and ifXTable and PFC
frames of 8 priorities in both directions, 1,920 varbinds; the exporter by bulk walks, pysnmp (v3arch, no MIB look-up)
and we by GET. CPU seconds of the asking process; pysnmp's is a process of its own. The collector's line is the whole
way from the request to points, with the profile `sonic_snmp`. `--profile` prints where its time goes. Absolute figures
depend on the machine and its load; the ratios are what counts.
"""

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from collectors.collector import Target  # noqa: E402
from collectors.profile import Library  # noqa: E402
from collectors.snmp.client import SnmpClient  # noqa: E402
from collectors.snmp.collector import SnmpCollector  # noqa: E402

PORTS, PRIORITIES = 64, 8
IF, IFX, PFC = "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1", "1.3.6.1.4.1.9.9.813.1.2.1"
COLUMNS = [*(f"{IFX}.{n}" for n in range(6, 14)), *(f"{IF}.{n}" for n in (7, 8, 13, 14, 19, 20))]
#: of the asking process, and of the agent
OURS, THEIRS = 0, 1
INTERVAL_NS = 30 * 10**9


def instances() -> list[str]:
    """Return the OIDs that everybody reads."""
    found = [f"{column}.{port}" for port in range(1, PORTS + 1) for column in COLUMNS]
    for port in range(1, PORTS + 1):
        found += [f"{PFC}.{column}.{port}.{priority}" for column in (2, 3) for priority in range(PRIORITIES)]
    return found


@contextmanager
def agent() -> Iterator[int]:
    """Run the responder on the other core; yield its port."""
    command = [sys.executable, str(ROOT / "benchmarks" / "responder.py"), "--ports", str(PORTS), "--cpu", str(THEIRS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield json.loads(process.stdout.readline())["ports"][0]
        finally:
            process.stdin.close()


def target(port: int) -> Target:
    """Return the agent as a target."""
    return Target("leaf-1", "snmp", f"127.0.0.1:{port}", "sonic_snmp", timeout=timedelta(seconds=20), username="public")


async def rate(work: Callable[[int], Awaitable[int]], seconds: float) -> float:
    """Return what `work` counts per CPU second of this process; it gets the number of its call."""
    await work(0)
    done, number, start, until = 0, 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until:
        number += 1
        done += await work(number)
    return done / (time.process_time() - start)


async def by_client(port: int, seconds: float) -> float:
    """Return varbinds per CPU second of our client."""
    client, oids = SnmpClient(target(port)), instances()

    async def once(_: int) -> int:
        values = await client.get(oids)
        assert len(values) == len(oids), f"{len(values)} of {len(oids)}"
        return len(values)

    try:
        return await rate(once, seconds)
    finally:
        client.close()


async def by_collector(port: int, seconds: float) -> tuple[float, float, float]:
    """Return values per CPU second of whole polls, values in one of them, and its CPU milliseconds."""
    collector = SnmpCollector(target(port), Library().profile("sonic_snmp"))
    per_poll = 0

    async def once(number: int) -> int:
        nonlocal per_poll
        result = await collector.poll(time.time_ns() // INTERVAL_NS * INTERVAL_NS + number * INTERVAL_NS)
        per_poll = sum(len(point.fields) for point in result.points)
        return per_poll

    try:
        found = await rate(once, seconds)
    finally:
        await collector.aclose()
    return found, per_poll, per_poll / found * 1000


async def by_pysnmp(port: int, seconds: float) -> float:
    """Return varbinds per CPU second of pysnmp."""
    from pysnmp.hlapi import v3arch as hlapi

    engine, oids = hlapi.SnmpEngine(), instances()
    transport = await hlapi.UdpTransportTarget.create(("127.0.0.1", port), timeout=5, retries=0)
    credentials, context = hlapi.CommunityData("public", mpModel=1), hlapi.ContextData()

    async def once(number: int) -> int:
        chunk = oids[number * 40 % len(oids) :][:40]
        asked = [hlapi.ObjectType(hlapi.ObjectIdentity(oid)) for oid in chunk]
        failed, status, _, varbinds = await hlapi.get_cmd(
            engine, credentials, transport, context, *asked, lookupMib=False
        )
        assert not failed, failed
        assert not status, status
        return len(varbinds)

    return await rate(once, seconds)


def exporter_module() -> dict[str, object]:
    """Return the configuration of snmp_exporter that walks the columns which we read."""
    one = [{"labelname": "ifIndex", "type": "gauge"}]
    two = [*one, {"labelname": "priority", "type": "gauge"}]
    pfc = [f"{PFC}.2", f"{PFC}.3"]
    metrics = [
        {"name": f"m{number}", "oid": column, "type": "counter", "help": "-", "indexes": two if column in pfc else one}
        for number, column in enumerate([*COLUMNS, *pfc])
    ]
    walk = {"walk": [*COLUMNS, *pfc], "metrics": metrics, "version": 2, "max_repetitions": 25, "timeout": "5s"}
    return {"fabric": {**walk, "auth": {"community": "public"}}}


def cpu_seconds(pid: int) -> float:
    """Return what a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def by_exporter(port: int, seconds: float) -> float:
    """Return varbinds per CPU second of Debian's snmp_exporter."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        file = Path(folder) / "snmp.yml"
        file.write_text(json.dumps(exporter_module()))  # JSON is YAML
        command = ["prometheus-snmp-exporter", f"--config.file={file}", f"--web.listen-address={listen}"]
        url = f"http://{listen}/snmp?module=fabric&target=127.0.0.1:{port}"
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=lambda: pin(OURS)) as process:
            try:
                return scrape_many(process.pid, url, seconds)
            finally:
                process.terminate()


def scrape_many(pid: int, url: str, seconds: float) -> float:
    """Scrape again and again; return varbinds per CPU second of the exporter."""
    deadline = time.monotonic() + 20
    while scrape(url) == 0:
        if time.monotonic() > deadline:
            raise OSError(f"{url}: snmp_exporter gives no samples")
        time.sleep(0.1)
    done, start, until = 0, cpu_seconds(pid), time.monotonic() + seconds
    while time.monotonic() < until:
        came = scrape(url)
        assert came == len(instances()), f"snmp_exporter read {came} of {len(instances())}"
        done += came
    return done / (cpu_seconds(pid) - start)


def scrape(url: str) -> int:
    """Return the samples of a page."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return sum(line.startswith(b"m") for line in answer)
    except OSError:
        return 0


def pin(core: int) -> None:
    """Stay on one core, where there are two."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {core})


def child(port: int, seconds: float) -> float:
    """Run pysnmp in a process of its own."""
    command = [sys.executable, __file__, "--pysnmp", str(port), "--seconds", str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def show(what: str, ours: float, theirs: float) -> None:
    """Print a peer's figure and how many times as much we do."""
    print(f"  {what:<44} {theirs:12,.0f} varbinds per CPU-second; ours is {ours / theirs:6.1f} times that")


def main() -> None:
    """Run everything once; about four times `--seconds`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--profile", action="store_true", help="print where the collector's time goes")
    parser.add_argument("--pysnmp", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.pysnmp:
        print(asyncio.run(by_pysnmp(chosen.pysnmp, chosen.seconds)))
        return
    with agent() as port:
        pin(OURS)
        print(f"{len(instances())} varbinds of one agent, 64 ports")
        ours = asyncio.run(by_client(port, chosen.seconds))
        print(f"  {'our client':<44} {ours:12,.0f} varbinds per CPU-second")
        values, per_poll, ms = asyncio.run(by_collector(port, chosen.seconds))
        print(
            f"  {'our collector, to points':<44} {values:12,.0f} values per CPU-second, {per_poll} a poll, {ms:.1f} ms"
        )
        if shutil.which("prometheus-snmp-exporter"):
            show("Debian's snmp_exporter", ours, by_exporter(port, chosen.seconds))
        else:
            print("  prometheus-snmp-exporter is missing: apt-get install prometheus-snmp-exporter")
        show("pysnmp, v3arch, lookupMib=False", ours, child(port, chosen.seconds))
        if chosen.profile:
            profile = cProfile.Profile()
            profile.runcall(lambda: asyncio.run(by_collector(port, chosen.seconds)))
            pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
