"""What the NVML agent costs on a host with 8 GPUs, against a naive poller: `python benchmarks/nvml.py [seconds]`.

Both ask the simulated library: a C library behind the real binding. Each of its calls looks at the times of two files,
and its wait for events wakes 20 times a second; that is part of the figures. The peer reads the same quantities the
plain way: every call of every board each second, from one process with pynvml, as `nvidia-smi --loop=1` does. The
agent's promise: under 1 % of one core and 80 MB.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from nvml_scenario import nvml_host, say  # noqa: E402

from collectors.collector import Target  # noqa: E402
from collectors.nvml import collector as nvml  # noqa: E402
from collectors.nvml.collector import NvmlCollector  # noqa: E402

PERIOD_S = 5.0
PEER = """
import ctypes, json, sys, time
import pynvml as p
p.nvmlLib = ctypes.CDLL(sys.argv[1])
p.nvmlInit()
F = [(i, 0) for i in (82, 74, 75, 76, 271, 185, 186, 197, 198, 230, 38, 45, 52, 59)]
F += [(138, 0xFFFFFFFF), (139, 0xFFFFFFFF)]
asked = 0.0
def ask(name, *arguments, **options):
    global asked
    start = time.perf_counter()
    try:
        return getattr(p, name)(*arguments, **options)
    except p.NVMLError:
        return None
    finally:
        asked += time.perf_counter() - start
def board(i):
    h = ask("nvmlDeviceGetHandleByIndex", i)
    values = [ask(f"nvmlDeviceGet{n}", h) for n in (
        "UUID", "Name", "PowerUsage", "EnforcedPowerLimit", "TotalEnergyConsumption", "UtilizationRates",
        "MarginTemperature", "CurrentClocksEventReasons", "RemappedRows", "PcieReplayCounter", "CurrPcieLinkGeneration",
        "CurrPcieLinkWidth", "ComputeRunningProcesses_v3", "VbiosVersion", "Serial", "PciInfo_v3", "MigMode",
        "ModuleId")]
    values += [ask("nvmlDeviceGetMemoryInfo", h, version=p.nvmlMemory_v2), ask("nvmlDeviceGetTemperatureV", h, 0)]
    values += [ask("nvmlDeviceGetClockInfo", h, k) for k in (1, 2)] + [ask("nvmlDeviceGetMaxClockInfo", h, 1)]
    values += [ask("nvmlDeviceGetTotalEccErrors", h, k, 0) for k in (0, 1)]
    values += [ask("nvmlDeviceGetNvLinkState", h, link) for link in range(18)]
    values += [v.value.ullVal for v in ask("nvmlDeviceGetFieldValues", h, F)]
    fabric, place = p.c_nvmlGpuFabricInfo_v3_t(), p.c_nvmlPlatformInfo_v2_t()
    ask("nvmlDeviceGetGpuFabricInfoV", h, ctypes.byref(fabric))
    ask("nvmlDeviceGetPlatformInfo", h, ctypes.byref(place))
    first, second, wanted = samples[i]
    ask("nvmlGpmSampleGet", h, second)
    wanted.sample1, wanted.sample2 = first, second
    ask("nvmlGpmMetricsGet", wanted)
    samples[i] = second, first, wanted
    return [str(value) for value in values]
def metrics():
    m = p.c_nvmlGpmMetricsGet_t()
    m.version, m.numMetrics = 1, 4
    for place, metric in enumerate((2, 3, 5, 10)):
        m.metrics[place].metricId = metric
    return m
count = p.nvmlDeviceGetCount()
samples = [(p.nvmlGpmSampleAlloc(), p.nvmlGpmSampleAlloc(), metrics()) for _ in range(count)]
for i in range(count):
    p.nvmlGpmSampleGet(p.nvmlDeviceGetHandleByIndex(i), samples[i][0])
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    time.sleep(1 - time.time() % 1)
    json.dumps([board(i) for i in range(count)])
print(asked)
"""


@dataclass
class Cost:
    """What a process used up: CPU and time in NVML per second, resident memory."""

    name: str
    cpu_share: float
    nvml_share: float
    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.name:<24}{self.cpu_share:8.2%} of one core   {self.memory_bytes / 1e6:6.1f} MB"
            f"   {self.nvml_share * 1e3:6.2f} ms in NVML per second"
        )


def cpu_seconds(pid: int) -> float:
    """Return user and system time of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def agent(library: Path, seconds: float) -> tuple[Cost, Cost]:
    """Return what the agent costs once it is up: its process, and the parent that turns answers into points."""
    collector = nvml.open_collector(Target("host", "nvml", str(library)), None)
    assert isinstance(collector, NvmlCollector)
    asked: list[tuple[float, float]] = []
    try:
        await poll(collector, asked)
        pid = collector._worker.pid
        assert pid is not None
        began, start, own = cpu_seconds(pid), time.monotonic(), time.process_time()
        while time.monotonic() - start < seconds:
            await asyncio.sleep(PERIOD_S)
            await poll(collector, asked)
        span = time.monotonic() - start
        worker = Cost("agent, its process", (cpu_seconds(pid) - began) / span, 0.0, resident_bytes(pid))
        parent = Cost("agent, in the collector", (time.process_time() - own) / span, 0.0, resident_bytes(os.getpid()))
    finally:
        await collector.aclose()
    if len(asked) > 1:
        (first_at, first), (last_at, last) = asked[0], asked[-1]
        worker.nvml_share = (last - first) / (last_at - first_at)
    return worker, parent


async def poll(collector: NvmlCollector, asked: list[tuple[float, float]]) -> None:
    result = await collector.poll(time.time_ns())
    assert sum(point.measurement == "gpu" for point in result.points) == 8
    times = [float(point.fields["seconds_total"]) for point in result.points if point.measurement == "nvml_call"]
    if times:
        asked.append((time.monotonic(), sum(times)))


def peer(library: Path, seconds: float) -> Cost:
    """Return what the naive poller costs."""
    process = subprocess.Popen([sys.executable, "-c", PEER, library, str(seconds)], stdout=subprocess.PIPE, text=True)
    time.sleep(1.5)
    began, start = cpu_seconds(process.pid), time.monotonic()
    time.sleep(max(1.0, seconds - 3))
    span, used, memory = time.monotonic() - start, cpu_seconds(process.pid) - began, resident_bytes(process.pid)
    asked = json.loads(process.communicate()[0])
    return Cost("naive, all each second", used / span, asked / seconds, memory)


def main() -> None:
    """Print the figures of one run; both are measured for the same span, one after the other."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 130.0
    with tempfile.TemporaryDirectory(prefix="nvml-benchmark-") as folder:
        library = nvml_host(Path(folder))
        say(Path(folder), "-1 power 700000")
        worker, parent = asyncio.run(agent(library, seconds))
        naive = peer(library, seconds)
    print(worker, parent, naive, sep="\n")
    print(f"naive over agent: {naive.cpu_share / worker.cpu_share:.1f} times the CPU")
    kept = worker.cpu_share < 0.01 and worker.memory_bytes < 80e6
    print(f"promise of 1 % of one core and 80 MB: {'kept' if kept else 'BROKEN'}")


if __name__ == "__main__":
    main()
