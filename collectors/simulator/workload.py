"""What the factory is asked to do: load curves of the deployments, tokens and latencies of the engines.

A load is the share of what an engine can give, 0 to about 1. Tokens follow load and clocks. Requests obey Little's
law: running = requests per second x seconds per request.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from collectors.simulator.layout import Layout
from collectors.simulator.noise import Wander
from collectors.simulator.state import STEP_SECONDS, Bools, Counters, Engines, Floats, Ints

#: what an engine still does while it ends its last requests
DRAINING_LOAD_RATIO = 0.5


class Mode(IntEnum):
    """What a GPU does; the order is that of the tables in `board.py`."""

    SERVE = 0
    TRAIN = 1
    LOADING = 2
    STALLED = 3
    PARKED = 4
    RESERVED = 5
    FREE = 6
    LOST = 7


@dataclass(frozen=True, slots=True)
class Model:
    """What eight B200 do with one model at full load (figures after ML.ENERGY and InferenceX, rounded)."""

    output_per_second: float
    prompt_tokens: float
    output_tokens: float
    cached_ratio: float
    itl_seconds: float
    ttft_seconds: float


MODELS = {
    "llama-3.1-70b": Model(14_000.0, 1_400.0, 420.0, 0.35, 0.022, 0.28),
    "deepseek-r1": Model(6_500.0, 2_100.0, 1_500.0, 0.45, 0.028, 0.60),
    "qwen3-235b-a22b": Model(9_500.0, 3_200.0, 640.0, 0.55, 0.020, 0.45),
    "qwen3-32b": Model(19_000.0, 900.0, 260.0, 0.30, 0.014, 0.15),
}


def initial_modes(layout: Layout, rng: np.random.Generator) -> Ints:
    """Return the mode of each host at start.

    From four serving hosts on, one in 25 of them (at least one) is parked; from 40 on, one in 80 is reserved. The first
    host always serves, and so do those with GPUs of AMD, whose exporter says nothing of the power limit that idle
    boards are told by.
    """
    by_workload = {"inference": Mode.SERVE, "training": Mode.TRAIN, "none": Mode.FREE}
    modes = np.array([by_workload[host.workload] for host in layout.hosts], dtype=np.int64)
    known_limit = np.array([host.gpu_source != "amd" for host in layout.hosts])
    serving = np.flatnonzero((modes == Mode.SERVE) & known_limit)[1:]
    parked = max(1, serving.size // 25) if serving.size >= 3 else 0
    reserved = serving.size // 80
    picked = rng.choice(serving, size=parked + reserved, replace=False)
    modes[picked[:parked]] = Mode.PARKED
    modes[picked[parked:]] = Mode.RESERVED
    return modes


class Demand:
    """Load of each host: a slow curve per deployment, noise of 2 % with a memory of 90 s, a spread between hosts."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        groups = [deployment.name for deployment in layout.deployments]
        count = len(groups) + 1  # the last one is the training job
        self._group = np.array(
            [groups.index(host.deployment) if host.deployment else count - 1 for host in layout.hosts], dtype=np.int64
        )
        self._level = np.append(rng.uniform(0.66, 0.80, count - 1), 0.92)
        self._swing = np.append(np.ones(count - 1), 0.1)
        self._day, self._hour = rng.uniform(0.0, 2.0 * np.pi, (2, count))
        self._noise = Wander(rng, count, tau_seconds=90.0, sigma=0.015)
        self._host_noise = Wander(rng, len(layout.hosts), tau_seconds=120.0, sigma=0.01)
        self._spread = 1.0 + 0.02 * rng.standard_normal(len(layout.hosts))

    def step(self, elapsed: float) -> Floats:
        """Return the load of each host `elapsed` simulated seconds after the start."""
        day = 0.16 * np.sin(2.0 * np.pi * elapsed / 86_400.0 + self._day)
        hour = 0.04 * np.sin(2.0 * np.pi * elapsed / 2_400.0 + self._hour)
        level = self._level + self._swing * (day + hour + self._noise.step())
        load: Floats = np.clip(level[self._group] * self._spread + self._host_noise.step(), 0.02, 1.0)
        return load


class Serving:
    """The inference engines: tokens, requests, latencies."""

    def __init__(self, layout: Layout, rng: np.random.Generator, start: float) -> None:
        models = {deployment.name: MODELS[deployment.model] for deployment in layout.deployments}
        serving = [(index, models[host.deployment]) for index, host in enumerate(layout.hosts) if host.deployment]
        count = len(serving)
        self.hosts: Ints = np.array([index for index, _ in serving], dtype=np.int64)
        self._peak = np.array([model.output_per_second for _, model in serving])
        self._prompt = np.array([model.prompt_tokens for _, model in serving])
        self._output = np.array([model.output_tokens for _, model in serving])
        self._cached = np.array([model.cached_ratio for _, model in serving])
        self._itl = np.array([model.itl_seconds for _, model in serving])
        self._ttft = np.array([model.ttft_seconds for _, model in serving])
        self._noise = Wander(rng, count, tau_seconds=60.0, sigma=0.01)
        uptime = rng.uniform(3_600.0, 86_400.0, count)
        served = self._peak * uptime * 0.6
        requests = served / self._output
        self.state = Engines(
            start_time=start - uptime,
            output_tokens=_counters(served, start),
            prompt_tokens=_counters(requests * self._prompt, start),
            cached_tokens=_counters(requests * self._prompt * self._cached, start),
            finished_output_tokens=_counters(served, start),
            finished_prompt_tokens=_counters(requests * self._prompt, start),
            finished_cached_tokens=_counters(requests * self._prompt * self._cached, start),
            requests_ok=_counters(requests, start),
            requests_aborted=_counters(requests * 0.002, start),
            preemptions=_counters(requests * 0.0005, start),
            idle_seconds=_counters(uptime * 0.1, start),
            running=np.zeros(count),
            waiting=np.zeros(count),
            kv_ratio=np.zeros(count),
            ttft_seconds=self._ttft.copy(),
            itl_seconds=self._itl.copy(),
            e2e_seconds=self._ttft + self._output * self._itl,
        )

    def step(self, load: Floats, clock_ratio: Floats, modes: Ints, draining: Bools) -> None:
        """Serve one second: all arguments are per host; one that drains ends its requests and takes no more."""
        state, modes, ends = self.state, modes[self.hosts], draining[self.hosts]
        serves: Bools = modes == Mode.SERVE
        load, clock = load[self.hosts], clock_ratio[self.hosts]
        busy = np.where(serves, load * clock * (1.0 + self._noise.step()), 0.0)
        crowd = load / np.maximum(clock, 0.1)
        output = self._peak * busy
        requests = output / self._output
        taken = np.where(ends, 0.0, requests)
        state.output_tokens.rate = output
        state.prompt_tokens.rate = taken * self._prompt
        state.cached_tokens.rate = taken * self._prompt * self._cached
        state.requests_ok.rate = requests
        state.requests_aborted.rate = requests * 0.002
        state.preemptions.rate = requests * np.where(crowd > 0.95, 0.01, 0.0002)
        state.itl_seconds = self._itl * (0.7 + 0.4 * crowd)
        state.ttft_seconds = self._ttft * (0.6 + 0.6 * crowd**3)
        state.e2e_seconds = state.ttft_seconds + self._output * state.itl_seconds
        stuck: Bools = modes == Mode.STALLED
        in_flight = requests * state.e2e_seconds
        state.running = np.rint(np.where(stuck, 24.0, in_flight))
        state.waiting = np.rint(np.where(serves & ~ends, np.maximum(crowd - 0.9, 0.0) * 200.0, 0.0))
        state.kv_ratio = np.where(stuck, 0.3, np.where(serves, np.clip(0.1 + 0.75 * crowd, 0.0, 0.99), 0.0))
        state.idle_seconds.rate = np.where(state.running == 0.0, 1.0, 0.0)
        self._finish(in_flight, stuck)

    def _finish(self, in_flight: Floats, stuck: Bools) -> None:
        """Count what requests bring at their end: a running one holds back its prompt and half of its answer."""
        for counter, finished, held in self._clocks(in_flight):
            behind = counter.base - finished.base
            due = counter.rate + (behind - held) / STEP_SECONDS
            finished.rate = np.where(stuck, 0.0, np.maximum(due, 0.0))

    def settle(self) -> None:
        """Let the counters of ended requests stand where the running ones would have left them."""
        state = self.state
        for counter, finished, held in self._clocks(state.requests_ok.rate * state.e2e_seconds):
            finished.base = np.maximum(np.floor(counter.base - held), 0.0)

    def _clocks(self, in_flight: Floats) -> tuple[tuple[Counters, Counters, Floats], ...]:
        """Return each counter, its twin for ended requests, and how many tokens the running ones hold back."""
        state, prompts = self.state, in_flight * self._prompt
        return (
            (state.output_tokens, state.finished_output_tokens, in_flight * self._output / 2.0),
            (state.prompt_tokens, state.finished_prompt_tokens, prompts),
            (state.cached_tokens, state.finished_cached_tokens, prompts * self._cached),
        )

    def restart(self, engines: Ints, now: float) -> None:
        """Start these engines anew at `now` (epoch seconds): every counter begins at zero."""
        state = self.state
        state.start_time = state.start_time.copy()
        state.start_time[engines] = now
        for name in Engines.__slots__:
            if isinstance(counters := getattr(state, name), Counters):
                counters.reset(engines)


def _counters(base: Floats, time: float) -> Counters:
    return Counters(base=np.floor(base), rate=np.zeros_like(base), time=time)
