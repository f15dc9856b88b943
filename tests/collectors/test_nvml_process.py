"""The NVML process and its supervision: noise, signals, long intervals, slow starts, ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from nvml_scenario import nvml_host, say

from collectors.collector import DeviceRefusedError, DeviceTimeoutError, PollResult, Target
from collectors.nvml import process as nvml_process
from collectors.nvml.agent.settings import Settings
from collectors.nvml.collector import NvmlCollector
from collectors.simulator import nvml_python
from storage.point import Point

TIME_NS = 1_760_000_000 * 10**9
HOUR_NS = 3600 * 10**9


def target(seconds: float = 20.0) -> Target:
    return Target("node-1", "nvml", "", timeout=timedelta(seconds=seconds))


def collector_of(library: Path, release: str = "") -> NvmlCollector:
    return NvmlCollector(target(), Settings(str(library), fast_s=3600.0, workload=False, release=release))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return nvml_host(tmp_path, seconds=2.0)


@pytest.fixture
async def collector(library: Path, tmp_path: Path) -> AsyncIterator[NvmlCollector]:
    made = collector_of(library)
    yield made
    say(tmp_path)
    await made.aclose()


def boards(result: PollResult, measurement: str = "gpu") -> list[Point]:
    return [point for point in result.points if point.measurement == measurement]


async def hang(collector: NvmlCollector, directory: Path) -> None:
    """Poll a driver that hangs until the poll is given up."""
    say(directory, "-1 hang 1")
    collector._target = target(0.3)
    with pytest.raises(DeviceTimeoutError):
        await collector.poll(TIME_NS)
    collector._target = target()


async def test_what_a_library_prints_is_no_answer(library: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noisy = library.with_name("noisy.py")
    own = Path(nvml_python.__file__).read_text()
    noisy.write_text(f"{own}\nimport os\nos.write(1, b'NVRM: half a line ')\nprint('and more', flush=True)\n")
    collector = collector_of(noisy)
    try:
        assert len(boards(await collector.poll(TIME_NS))) == 8
    finally:
        await collector.aclose()
    assert "NVRM: half a line and more" in capfd.readouterr().err


async def test_interrupt_from_the_terminal_does_not_reach_the_process(collector: NvmlCollector) -> None:
    await collector.poll(TIME_NS)
    pid = collector._worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    assert len(boards(await collector.poll(TIME_NS))) == 8
    assert collector._worker.pid == pid


async def test_answer_that_came_between_two_rare_polls_is_no_silence(
    collector: NvmlCollector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collector.poll(TIME_NS)
    pid = collector._worker.pid
    await hang(collector, tmp_path)
    process = collector._worker._process
    assert process is not None
    assert process.stdout is not None
    say(tmp_path)
    while not process.stdout._buffer:  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
    monkeypatch.setattr(nvml_process, "SILENCE_S", 0.0)
    assert len(boards(await collector.poll(TIME_NS))) == 8
    assert collector._worker.pid == pid


async def test_first_answer_may_take_longer(
    collector: NvmlCollector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without persistence mode opening NVML starts each board; a process killed for that would never come up.
    monkeypatch.setattr(nvml_process, "SILENCE_S", 0.0)
    say(tmp_path, "-1 hang 1")
    poll = asyncio.create_task(collector.poll(TIME_NS))
    while collector._worker.pid is None:
        await asyncio.sleep(0.01)
    poll.cancel()
    await asyncio.wait([poll])
    pid = collector._worker.pid
    await hang(collector, tmp_path)
    assert collector._worker.pid == pid
    say(tmp_path)
    assert len(boards(await collector.poll(TIME_NS))) == 8


async def test_closing_during_a_poll_starts_no_other_process(
    collector: NvmlCollector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await collector.poll(TIME_NS)
    say(tmp_path, "-1 hang 1")
    poll = asyncio.create_task(collector.poll(TIME_NS))
    while collector._worker._asked_at is None:
        await asyncio.sleep(0)
    await collector.aclose()
    with pytest.raises(DeviceRefusedError, match="was ended while it was asked"):
        await poll
    assert collector._worker.pid is None
    assert caplog.records == []


async def test_driver_that_was_changed_gets_another_process(
    collector: NvmlCollector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await collector.poll(TIME_NS)
    pid = collector._worker.pid
    say(tmp_path, "-1 error 18")
    for _ in range(2):
        with pytest.raises(DeviceRefusedError, match="the driver was upgraded under the library"):
            await collector.poll(TIME_NS)
    say(tmp_path)
    assert len(boards(await collector.poll(TIME_NS))) == 8
    assert collector._worker.pid != pid
    assert caplog.records == []


async def test_process_that_can_only_refuse_is_not_started_at_each_poll(library: Path) -> None:
    away = library.rename(library.with_name("away"))
    collector = collector_of(library)
    try:
        for ends in (1, 2, 3, 3, 3):
            with pytest.raises(DeviceRefusedError, match="install the NVIDIA driver"):
                await collector.poll(TIME_NS)
            assert collector._worker._ends == ends
        away.rename(library)
        collector._worker._start_at = 0.0
        assert len(boards(await collector.poll(TIME_NS))) == 8
        assert collector._worker._ends == 0
    finally:
        await collector.aclose()


async def test_release_file_that_cannot_be_looked_at_is_not_there(library: Path, tmp_path: Path) -> None:
    collector = collector_of(library, release=str(tmp_path / ("x" * 300)))
    try:
        assert len(boards(await collector.poll(TIME_NS))) == 8
    finally:
        await collector.aclose()


async def test_identity_is_told_although_the_clock_was_put_back(collector: NvmlCollector) -> None:
    assert len(boards(await collector.poll(TIME_NS), "gpu_info")) == 8
    assert len(boards(await collector.poll(TIME_NS - 10 * HOUR_NS), "gpu_info")) == 8
    assert boards(await collector.poll(TIME_NS - 10 * HOUR_NS + 1), "gpu_info") == []
