"""The process that talks to NVML, so that a driver that hangs or crashes takes nothing else with it.

It reads lines on standard input, each a number and the number of the last answer that was read: `7 6`. It answers with
one line of JSON: `{"request": 7, "gpus": [...], "events": [...]}`, or `{"request": 7, "error": 9, "text": "Driver Not
Loaded"}`, or `{"request": 7, "released": "/run/..."}`. Of several requests only the last is answered, so nothing piles
up. What an answer said and nobody read is said again. It samples by itself in between, and ends with its input. Values
are in SI units under the schema's names.

    python -P worker.py '{"library": "/path/libnvidia-ml.so.1", "fast_s": 1}'

It runs by its path and imports of ours only `collectors.nvml.agent`: `collectors` itself is an empty package, so that
costs nothing. One thread asks NVML and answers, another waits for events.

Source: NVIDIA nvml.h, API 13; nvidia-ml-py 13 (`pynvml`), which also works with older drivers.
"""

import json
import os
import select
import signal
import sys
import time
from typing import Any

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

LIBRARY_NOT_FOUND, NO_BINDING = 12, -1
REQUESTS, NOISE = 0, 2
#: between the two samples that GPM needs, when NVML was just opened
FIRST_PAUSE_S = 0.12
CALLS_PERIOD_S = 60.0


def main(arguments: list[str]) -> None:
    """Answer requests until the input ends."""
    # Ctrl-C at a terminal reaches this process too; the one that started it says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _keep_output()
    try:
        from collectors.nvml.agent.calls import binding_complaint
    except ImportError as error:
        _refuse(answers, NO_BINDING, f"{error}: pip install nvidia-ml-py")
        return
    if complaint := binding_complaint():
        _refuse(answers, NO_BINDING, complaint)
        return
    from collectors.nvml.agent.calls import attach
    from collectors.nvml.agent.settings import Settings

    settings = Settings(**json.loads(arguments[0])) if arguments else Settings()
    try:
        attach(settings.library)
    except OSError as error:
        _refuse(answers, LIBRARY_NOT_FOUND, str(error))
        return
    Loop(settings, answers).run()


def _keep_output() -> int:
    """Return where answers go; whatever a library prints goes to standard error from here on."""
    answers = os.dup(1)
    os.dup2(NOISE, 1)
    return answers


def _refuse(answers: int, code: int, text: str) -> None:
    """Answer one request with why there can be no other answer, and end; the next process may fare better."""
    if numbers := _last_request(os.read(REQUESTS, 1 << 16)):
        _write(answers, {"request": numbers[0], "error": code, "text": text, "ends": True})


def _last_request(data: bytes) -> tuple[int, int] | None:
    lines = data.split()
    return (int(lines[-2]), int(lines[-1])) if len(lines) >= 2 else None


def _write(answers: int, answer: dict[str, Any]) -> None:
    data = json.dumps(answer, separators=(",", ":")).encode() + b"\n"
    while data:
        data = data[os.write(answers, data) :]


class Loop:
    """Samples on its own grid and answers in between, all in one thread."""

    def __init__(self, settings: Any, answers: int) -> None:
        from collectors.nvml.agent.driver import Driver

        self._driver = Driver(settings)
        self._answers = answers
        self._period = settings.fast_s
        self._calls_at = 0.0
        #: of the last answer: its number and how many events it told
        self._answered, self._told_events = 0, 0
        self._is_warm = False

    def run(self) -> None:
        """Go on until the input ends."""
        data, due = b"", time.monotonic()
        while True:
            wait = max(0.0, due - time.monotonic())
            if select.select([REQUESTS], [], [], wait)[0]:
                more = os.read(REQUESTS, 1 << 16)
                if not more:
                    break
                data += more
                if data.endswith(b"\n"):
                    due = self._serve(data, due)
                    data = b""
            else:
                self._sample()
                due = max(due + self._period, time.monotonic())
        self._driver.close()

    def _serve(self, data: bytes, due: float) -> float:
        """Answer the last of the requests; return when the next sample is due."""
        request = _last_request(data)
        assert request is not None
        number, heard = request
        self._driver.resume(self._told_events if heard == self._answered else -1)
        if not self._driver.samples or self._driver.is_released():
            self._sample()
            due = time.monotonic() + self._period
        answer = {"request": number, **self._driver.answer()}
        self._answered, self._told_events = number, len(answer.get("events", ()))
        if time.monotonic() >= self._calls_at:
            self._calls_at = time.monotonic() + CALLS_PERIOD_S
            answer["calls"] = self._driver.context.calls.counts
        _write(self._answers, answer)
        return due

    def _sample(self) -> None:
        self._driver.tick()
        if not self._is_warm and self._driver.is_open:
            self._is_warm = True
            if any(each.gpm for board in self._driver.boards.values() for each in (board, *board.instances.values())):
                time.sleep(FIRST_PAUSE_S)
                self._driver.tick()


if __name__ == "__main__":
    main(sys.argv[1:])
