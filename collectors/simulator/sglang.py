"""The page that an SGLang server prints for one engine: names, labels, buckets and number format of sglang 0.5.23.

Source: sgl-project/sglang, python/sglang/srt/observability/metrics_collector.py; prometheus_client in multiprocess
mode, which prints neither `_created` nor process_start_time_seconds: a restart shows in the counters alone, and a
series is not there before its first count.

The engine runs as two data-parallel replicas of four GPUs. Its scheduler counts tokens as they pass, once per log
interval (`--decode-log-interval 10`); its tokenizer counts those of a request when it ends. With
`--enable-metrics-for-all-schedulers` and priority scheduling each rank repeats what its replica counts and gauges come
per priority too: whoever adds up all rows counts four times.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host
from collectors.simulator.state import Counters
from collectors.simulator.vllm import Histogram, go_float

#: iterations of the decoder between two log lines
LOG_INTERVAL_ITERATIONS = 10
REPLICAS, RANKS = 2, 4
#: slots of the KV cache of one replica, in tokens
CACHE_TOKENS = 1_600_000
#: one request in so many does not stream; one in so many has priority 1
NOT_STREAMING, URGENT = 5, 10
STREAMING = ("true", "false")
TTFT_BOUNDS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0)
ITL_BOUNDS = (0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6,
              0.8, 1.0, 2.0, 4.0, 6.0, 8.0)  # fmt: skip
E2E_BOUNDS = (*TTFT_BOUNDS, 600.0, 1200.0, 1800.0, 2400.0)

#: name -> type and help, in the order of the page
FAMILIES = {
    "num_running_reqs": ("gauge", "The number of running requests."),
    "num_queue_reqs": ("gauge", "The number of requests in the waiting queue."),
    "gen_throughput": ("gauge", "The generation throughput (token/s)."),
    "cache_hit_rate": ("gauge", "The prefix cache hit rate."),
    "token_usage": ("gauge", "The token usage."),
    "num_used_tokens": ("gauge", "The number of used tokens."),
    "max_total_num_tokens": ("gauge", "Maximum total number of tokens in the KV cache pool."),
    "num_retracted_requests_total": ("counter", "Total number of retracted requests."),
    "realtime_tokens_total": ("counter", "Total number of tokens processed (updated on each log interval)."),
    "scheduler_idle_seconds_total": ("counter", "Total time that the scheduler had nothing to run."),
    "prompt_tokens_total": ("counter", "Number of prefill tokens processed."),
    "generation_tokens_total": ("counter", "Number of generation tokens processed."),
    "cached_tokens_total": ("counter", "Number of cached prompt tokens by source (device/host/storage)."),
    "num_requests_total": ("counter", "Number of requests processed."),
    "num_aborted_requests_total": ("counter", "Number of requests aborted."),
    "time_to_first_token_seconds": ("histogram", "Histogram of time to first token in seconds."),
    "inter_token_latency_seconds": ("histogram", "Histogram of inter-token latency in seconds."),
    "e2e_request_latency_seconds": ("histogram", "Histogram of End-to-end request latency in seconds"),
}


class Row(NamedTuple):
    """One line of the page: its family, what stands behind the family's name, its own labels, its number."""

    family: str
    suffix: str
    labels: str
    value: float


class SglangPage:
    """One engine's page. Its lines are made once per set of series that have begun, then only numbers change."""

    def __init__(self, factory: Factory, host: Host, engine: int, *, all_ranks: bool = False) -> None:
        models = {deployment.name: deployment.model for deployment in factory.layout.deployments}
        self._factory = factory
        self._engine = engine
        self._ranks = range(RANKS) if all_ranks else range(1)
        self._priorities = all_ranks
        self._own = f'engine_type="unified",model_name="{models[host.deployment]}"'
        self._itl = Histogram(ITL_BOUNDS)
        self._ttft = {streams: Histogram(TTFT_BOUNDS) for streams in STREAMING}
        self._e2e = {streams: Histogram(E2E_BOUNDS) for streams in STREAMING}
        self._throughput = 0.0
        self._template: tuple[bytes, str] = (b"", "")

    def render(self, now: float) -> str:
        """Return the page as it is at `now` (epoch seconds)."""
        rows = [*self._scheduler(now), *self._tokenizer(now)]
        kept = [row for row in rows if row.value or FAMILIES[row.family][0] != "counter"]
        begun = bytes(bool(row.value) or FAMILIES[row.family][0] != "counter" for row in rows)
        if self._template[0] != begun:
            self._template = (begun, self._lines(kept))
        return self._template[1] % tuple(go_float(row.value) for row in kept)

    def _lines(self, rows: Iterable[Row]) -> str:
        lines: list[str] = []
        head = ""
        for row in rows:
            name = f"sglang:{row.family}"
            if row.family != head:
                head = row.family
                kind, words = FAMILIES[head]
                lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
            lines.append(f"{name}{row.suffix}{{{self._sorted(row.labels)}}} %s")
        return "\n".join(lines) + "\n"

    def _sorted(self, labels: str) -> str:
        """Return the engine's labels and a row's, in alphabetical order as prometheus_client prints them."""
        priority = ',priority=""' if self._priorities and "priority" not in labels else ""
        every = f"{self._own}{priority},{labels}".rstrip(",").split(",")
        return ",".join(sorted(every))

    def _count(self, counters: Counters, now: float) -> int:
        part = slice(self._engine, self._engine + 1)
        return math.floor(float(counters.at(now, part)[0]))

    def _scheduler(self, now: float) -> Iterator[Row]:
        """Yield what every rank of every replica prints, family by family."""
        engines, i = self._factory.state.engines, self._engine
        interval = LOG_INTERVAL_ITERATIONS * float(engines.itl_seconds[i])
        logged = now - (now - float(engines.start_time[i])) % interval
        prompt, cached = self._count(engines.prompt_tokens, logged), self._count(engines.cached_tokens, logged)
        if rate := float(engines.output_tokens.rate[i]):
            self._throughput = rate  # it keeps the last value when nothing runs, as SGLang's does
        usage = float(engines.kv_ratio[i])
        modes = {"decode": self._count(engines.output_tokens, logged), "prefill_compute": prompt - cached,
                 "prefill_cache": cached}  # fmt: skip
        yield from self._queue("num_running_reqs", round(float(engines.running[i])))
        yield from self._queue("num_queue_reqs", round(float(engines.waiting[i])))
        yield from self._repeat("gen_throughput", self._throughput / REPLICAS)
        yield from self._repeat("cache_hit_rate", cached / prompt if prompt else 0.0)
        yield from self._repeat("token_usage", usage)
        yield from self._repeat("num_used_tokens", float(round(usage * CACHE_TOKENS)))
        yield from self._repeat("max_total_num_tokens", float(CACHE_TOKENS))
        yield from self._share("num_retracted_requests_total", self._count(engines.preemptions, now))
        for replica, rank in self._places():
            for mode, count in modes.items():
                labels = f'{_rank(replica, rank)},mode="{mode}"'
                yield Row("realtime_tokens_total", "", labels, float(_part(count, replica)))
        idle = float(engines.idle_seconds.at(now, slice(i, i + 1))[0])
        yield from self._repeat("scheduler_idle_seconds_total", idle)

    def _tokenizer(self, now: float) -> Iterator[Row]:
        """Yield what the one tokenizer prints: it counts a request when it ends."""
        engines, i = self._factory.state.engines, self._engine
        ended = self._count(engines.requests_ok, now)
        aborted = self._count(engines.requests_aborted, now)
        tokens = self._count(engines.finished_output_tokens, now)
        prompts = self._count(engines.finished_prompt_tokens, now)
        self._itl.grow(max(0, self._count(engines.output_tokens, now) - ended), float(engines.itl_seconds[i]))
        for streams, count in _split(ended):
            self._ttft[streams].grow(count, float(engines.ttft_seconds[i]))
            self._e2e[streams].grow(count, float(engines.e2e_seconds[i]))
        yield from _streams("prompt_tokens_total", prompts)
        yield from _streams("generation_tokens_total", tokens)
        cached = self._count(engines.finished_cached_tokens, now)
        yield Row("cached_tokens_total", "", 'cache_source="device"', float(cached))
        yield from _streams("num_requests_total", ended)
        yield Row("num_aborted_requests_total", "", "", float(aborted))
        for streams in STREAMING:
            yield from _histogram("time_to_first_token_seconds", self._ttft[streams], f'is_streaming="{streams}"')
        yield from _histogram("inter_token_latency_seconds", self._itl, "")
        for streams in STREAMING:
            yield from _histogram("e2e_request_latency_seconds", self._e2e[streams], f'is_streaming="{streams}"')

    def _places(self) -> Iterator[tuple[int, int]]:
        return ((replica, rank) for replica in range(REPLICAS) for rank in self._ranks)

    def _repeat(self, family: str, value: float) -> Iterator[Row]:
        return (Row(family, "", _rank(*place), value) for place in self._places())

    def _share(self, family: str, count: int) -> Iterator[Row]:
        return (Row(family, "", _rank(*place), float(_part(count, place[0]))) for place in self._places())

    def _queue(self, family: str, count: int) -> Iterator[Row]:
        """Yield a queue's length: all requests, then per priority where the server schedules by it."""
        for place in self._places():
            here = _part(count, place[0])
            yield Row(family, "", _rank(*place), float(here))
            if self._priorities:
                urgent = here // URGENT
                for priority, some in (("0", here - urgent), ("1", urgent)):
                    yield Row(family, "", f'{_rank(*place)},priority="{priority}"', float(some))


def _rank(replica: int, rank: int) -> str:
    return f'dp_rank="{replica}",moe_ep_rank="0",pp_rank="0",tp_rank="{rank}"'


def _part(count: int, replica: int) -> int:
    """Return what one replica has of a count, so that none of them ever goes back."""
    return (count + replica) // REPLICAS


def _split(count: int) -> tuple[tuple[str, int], ...]:
    whole = count // NOT_STREAMING
    return (STREAMING[0], count - whole), (STREAMING[1], whole)


def _streams(family: str, count: int) -> Iterator[Row]:
    return (Row(family, "", f'is_streaming="{streams}"', float(some)) for streams, some in _split(count))


def _histogram(family: str, histogram: Histogram, labels: str) -> Iterator[Row]:
    *buckets, count, total = histogram.values()
    yield Row(family, "_sum", labels, total)
    for bound, below in zip((*histogram.bounds, "+Inf"), buckets, strict=True):
        yield Row(family, "_bucket", f'{labels},le="{bound}"'.lstrip(","), below)
    yield Row(family, "_count", labels, count)
