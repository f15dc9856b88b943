"""The NVML agent in this process, on the simulator's library, with a clock of the test's own."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pynvml
import pytest
from nvml_scenario import forbidden_calls, nvml_host, say

from collectors.nvml.agent.calls import attach
from collectors.nvml.agent.driver import Driver
from collectors.nvml.agent.settings import Settings
from storage.schema import MEASUREMENTS

#: where Linux has the boards of the simulator
ADDRESSES = tuple(f"0000:{bus}:00.0" for bus in ("19", "2a", "3b", "4c", "5d", "6e", "7f", "90"))


@dataclass
class Host:
    """A host of 8 boards at 1 kW, and the agent on it."""

    directory: Path
    now: float = 1000.0
    settings: dict[str, Any] = field(default_factory=dict)
    _driver: Driver | None = None

    @property
    def driver(self) -> Driver:
        if self._driver is None:
            library = str(self.directory / "libnvidia-ml.so.1")
            attach(library)
            given: dict[str, Any] = {each: str(self.directory / each) for each in ("devices", "nodes")}
            given |= {"event_wait_s": 0.02, "workload": False, **self.settings}
            self._driver = Driver(Settings(library=library, **given), lambda: self.now)
        return self._driver

    def say(self, *lines: str) -> None:
        say(self.directory, *lines)

    def place(self, nodes: Iterable[int]) -> None:
        """Say at which NUMA node Linux has each board; -1 for none."""
        for address, node in zip(ADDRESSES, nodes, strict=True):
            device = self.directory / "devices" / address
            device.mkdir(parents=True, exist_ok=True)
            (device / "numa_node").write_text(f"{node}\n")

    def after(self, seconds: float) -> dict[str, Any]:
        """Let time pass and return what the agent then says; the answer is heard."""
        self.now += seconds
        self.driver.tick()
        answer = self.driver.answer()
        self.driver.resume(len(answer.get("events", ())))
        return json.loads(json.dumps(answer))  # type: ignore[no-any-return]

    def values(self, answer: dict[str, Any], index: int = 0, mig: str = "") -> dict[str, Any]:
        found = next(board for board in answer["gpus"] if (board["index"], board["mig"]) == (index, mig))
        assert found["values"].keys() <= MEASUREMENTS["gpu"].fields.keys()
        return found["values"]  # type: ignore[no-any-return]

    def watched(self) -> set[str]:
        """Return the boards that the event thread is registered for."""
        watch = self.driver._watch
        assert watch is not None
        return set(watch._boards)

    def registrations(self) -> int:
        """Return how often a board was registered for events; what comes before is not told."""
        watch = self.driver._watch
        assert watch is not None
        return int(watch._calls.counts["nvmlDeviceRegisterEvents"][0])

    @staticmethod
    def until(is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not is_so() and time.monotonic() < end:
            time.sleep(0.01)

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 0.2) -> dict[str, Any]:
        """Return the first answer that fits; the event thread runs on the system's clock."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            answer = self.after(seconds)
            if wanted(answer):
                return answer
            time.sleep(0.02)
        raise AssertionError(answer)


@contextmanager
def agent_host(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Give a host of 8 boards while the block runs, and see that no forbidden call was made."""
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    nvml_host(directory, seconds=2.0)
    made = Host(directory)
    yield made
    made.say()
    made.driver.close()
    assert forbidden_calls(directory) == []
