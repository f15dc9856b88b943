"""The page that a vLLM v1 server prints for one engine: names, labels, buckets and number format of vllm 0.33.

Source: vllm 0.33.0, vllm/v1/metrics/loggers.py; prometheus_client's text format. Buckets agree with sum and count: each
observation is spread over them by a log-normal distribution around the mean that held when it was made.
"""

import math

from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host

TTFT_BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
               80.0, 160.0, 640.0, 2560.0)  # fmt: skip
ITL_BOUNDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
              80.0)  # fmt: skip
E2E_BOUNDS = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
              960.0, 1920.0, 7680.0)  # fmt: skip
#: width of the latencies' distribution, natural logarithm
SPREAD = 0.5
#: one request in so many ends at its length limit
LENGTH_LIMITED = 7


class Histogram:
    """One latency of one engine, as its buckets, sum and count have grown so far."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.count = 0
        self.sum = 0.0
        self._below = [0.0] * len(bounds)

    def grow(self, count: int, mean: float) -> None:
        """Take the observations up to `count`, whose mean is `mean` seconds; fewer than before is a new start."""
        if count < self.count:
            self.count, self.sum, self._below = 0, 0.0, [0.0] * len(self.bounds)
        fresh = count - self.count
        if fresh and mean > 0.0:
            self.sum += fresh * mean
            shares = (_lognormal_share(bound / mean) for bound in self.bounds)
            self._below = [below + fresh * share for below, share in zip(self._below, shares, strict=True)]
        self.count = count

    def values(self) -> list[float]:
        """Return the cumulative buckets, +Inf last, then count and sum, in the order in which they are printed."""
        return [*(float(math.floor(below)) for below in self._below), float(self.count), float(self.count), self.sum]


def _lognormal_share(ratio: float) -> float:
    """Return the share of observations up to `ratio` times their mean."""
    return 0.5 * (1.0 + math.erf((math.log(ratio) + SPREAD**2 / 2) / (SPREAD * math.sqrt(2.0))))


def go_float(value: float) -> str:
    """Return the number as Go and prometheus_client print it: 72.0, 2.211001e+06."""
    text = repr(value)
    dot = text.find(".")
    if dot <= 6 or "e" in text:
        return text
    digits = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0").rstrip(".")
    return f"{digits}e+{dot - 1:02d}"


class VllmPage:
    """One engine's page. Its lines are made once, then only numbers change."""

    def __init__(self, factory: Factory, host: Host, engine: int) -> None:
        models = {deployment.name: deployment.model for deployment in factory.layout.deployments}
        self._factory = factory
        self._engine = engine
        self._ttft, self._itl, self._e2e = Histogram(TTFT_BOUNDS), Histogram(ITL_BOUNDS), Histogram(E2E_BOUNDS)
        self._template = _template(models[host.deployment])

    def render(self, now: float) -> str:
        """Return the page as it is at `now` (epoch seconds)."""
        engines, i = self._factory.state.engines, self._engine
        part = slice(i, i + 1)
        output, prompt, cached, ok, aborted, preempted = (
            float(math.floor(counters.at(now, part)[0]))
            for counters in (
                engines.output_tokens,
                engines.prompt_tokens,
                engines.cached_tokens,
                engines.requests_ok,
                engines.requests_aborted,
                engines.preemptions,
            )
        )
        finished = int(ok + aborted)
        self._ttft.grow(finished, float(engines.ttft_seconds[i]))
        self._itl.grow(max(0, int(output) - finished), float(engines.itl_seconds[i]))
        self._e2e.grow(finished, float(engines.e2e_seconds[i]))
        created = float(engines.start_time[i])
        waiting, limited = float(round(engines.waiting[i])), ok // LENGTH_LIMITED
        values = [created, float(round(engines.running[i])), waiting, waiting, 0.0, 1.0, 0.0, 0.0]
        values += [float(engines.kv_ratio[i]), prompt, created, cached, created, preempted, created, prompt, created]
        values += [prompt - cached, cached, 0.0, created, cached, created, output, created]
        values += [ok - limited, limited, aborted, 0.0, created]
        for histogram in (self._ttft, self._itl, self._e2e):
            values += [*histogram.values(), created]
        return self._template % tuple(map(go_float, values))


#: family, its type, its help and, where it is split, the label and its values; in the order of the page
_FAMILIES = (
    ("num_requests_running", "gauge", "Number of requests in model execution batches.", "", ()),
    ("num_requests_waiting", "gauge", "Number of requests waiting to be processed.", "", ()),
    ("num_requests_waiting_by_reason", "gauge", "Number of waiting requests by reason.", "reason",
     ("capacity", "deferred")),
    ("engine_sleep_state", "gauge", "Engine sleep state.", "sleep_state",
     ("awake", "weights_offloaded", "discard_all")),
    ("kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", "", ()),
    ("prefix_cache_queries", "counter", "Prefix cache queries, in terms of number of queried tokens.", "", ()),
    ("prefix_cache_hits", "counter", "Prefix cache hits, in terms of number of cached tokens.", "", ()),
    ("num_preemptions", "counter", "Cumulative number of preemption from the engine.", "", ()),
    ("prompt_tokens", "counter", "Number of prefill tokens processed.", "", ()),
    ("prompt_tokens_by_source", "counter", "Number of prompt tokens by source.", "source",
     ("local_compute", "local_cache_hit", "external_kv_transfer")),
    ("prompt_tokens_cached", "counter", "Number of cached prompt tokens (local + external).", "", ()),
    ("generation_tokens", "counter", "Number of generation tokens processed.", "", ()),
    ("request_success", "counter", "Count of successfully processed requests.", "finished_reason",
     ("stop", "length", "abort", "error")),
)  # fmt: skip
_HISTOGRAMS = (
    ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", TTFT_BOUNDS),
    ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", ITL_BOUNDS),
    ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", E2E_BOUNDS),
)


def _template(model: str) -> str:
    """Return the page with a gap for each number, in the order in which `render` fills them."""
    own = f'engine="0",model_name="{model}"'
    lines = _head("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.")
    lines.append("process_start_time_seconds %s")
    for short, kind, words, label, values in _FAMILIES:
        name = f"vllm:{short}_total" if kind == "counter" else f"vllm:{short}"
        lines += _head(name, kind, words)
        lines += [f'{name}{{{own},{label}="{value}"}} %s' for value in values] or [f"{name}{{{own}}} %s"]
        if kind == "counter":
            lines += [*_head(f"vllm:{short}_created", "gauge", words), f"vllm:{short}_created{{{own}}} %s"]
    for short, words, bounds in _HISTOGRAMS:
        name = f"vllm:{short}"
        lines += _head(name, "histogram", words)
        lines += [f'{name}_bucket{{engine="0",le="{le}",model_name="{model}"}} %s' for le in (*bounds, "+Inf")]
        lines += [f"{name}_count{{{own}}} %s", f"{name}_sum{{{own}}} %s"]
        lines += [*_head(f"{name}_created", "gauge", words), f"{name}_created{{{own}}} %s"]
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
