"""The ledger against an observer who scrapes every page: over restarts, a scale-down and resets nothing is lost."""

from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from collectors.simulator.amd import AmdPage
from collectors.simulator.dcgm import DcgmPage
from collectors.simulator.factory import Factory
from collectors.simulator.faults import find_script, load_script
from collectors.simulator.layout import Host, build_layout
from collectors.simulator.sglang import SglangPage
from collectors.simulator.vllm import VllmPage

START = 1_760_000_000.0
SCRAPE_SECONDS = 5
#: counter -> the total that it belongs to, and how many of its units make a token or a joule
COUNTERS = {
    "vllm:generation_tokens_total": ("output", 1.0),
    "vllm:prompt_tokens_total": ("input", 1.0),
    "sglang:generation_tokens_total": ("output", 1.0),
    "sglang:prompt_tokens_total": ("input", 1.0),
    "sglang:realtime_tokens_total": ("live", 1.0),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("joules", 1e3),
    "gpu_energy_consumed": ("joules", 1e6),
}

Render = Callable[[float], str]


class Observer:
    """Adds up what counters grow by, as anyone can who sees them every few seconds: less than before is a new start."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], float] = {}
        self.totals: dict[str, float] = defaultdict(float)

    def see(self, name: str, sample: Sample) -> None:
        total, units = COUNTERS[sample.name]
        labels = {
            k: v for k, v in sample.labels.items() if k not in ("pod", "container", "namespace", "kfd_process_id")
        }
        if labels.get("tp_rank", "0") == "0" and labels.get("mode", "decode") == "decode":
            self.count((name, sample.name, *map(str, sorted(labels.items()))), total, sample.value / units)

    def count(self, series: tuple[str, ...], total: str, value: float) -> None:
        before = self._last.get(series, value)
        self.totals[total] += value - before if value >= before else value
        self._last[series] = value


def pages(factory: Factory) -> Iterator[tuple[str, Render]]:
    """Yield every page with the name of its device; on the first SGLang all ranks count."""
    first = True
    for host in factory.layout.hosts:
        if host.gpu_source != "nvml":
            page = AmdPage(factory, host) if host.gpu_source == "amd" else DcgmPage(factory, host)
            yield host.name, page.render
        if host.engine is not None and host.deployment == "reasoning":
            yield f"sglang-{host.name}", SglangPage(factory, host, host.engine, all_ranks=first).render
            first = False
        elif host.engine is not None:
            yield f"vllm-{host.name}", VllmPage(factory, host, host.engine).render


def counters(text: str) -> Iterator[Sample]:
    """Yield the samples of the counters that matter; without their types, so that no name is changed."""
    lines = [line for line in text.splitlines() if line.startswith(tuple(COUNTERS))]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        yield from family.samples


def watch(factory: Factory, seconds: int) -> Observer:
    """Look at each device every five seconds, at a second of its own; at all of them first and last."""
    observer, devices = Observer(), list(pages(factory))
    nvml = next(host for host in factory.layout.hosts if host.gpu_source == "nvml")
    for second in range(seconds + 1):
        factory.advance(START + second)
        for number, (name, render) in enumerate(devices):
            due = second in (0, seconds) or (second + number) % SCRAPE_SECONDS == 0
            if due and name not in factory.refused:
                for sample in counters(render(START + second)):
                    observer.see(name, sample)
        if second % SCRAPE_SECONDS == 0 or second == seconds:
            _read_boards(factory, nvml, observer)
    return observer


def _read_boards(factory: Factory, host: Host, observer: Observer) -> None:
    gpus = factory.state.gpus
    for gpu in range(host.gpu_start, host.gpu_start + host.gpu_count):
        if not gpus.lost[gpu]:
            observer.count((host.name, str(gpu)), "joules", float(gpus.energy_joules.base[gpu]))


@pytest.fixture
def factory() -> Factory:
    return Factory(build_layout(64), seed=1, start=START)


def test_all_tokens_are_seen_over_restarts_and_a_scale_down(factory: Factory) -> None:
    load_script(find_script("gpu"), factory.faults, start=START - 27, speed=1.0)
    observer = watch(factory, 90)
    truth = factory.truth(START, START + 90)
    assert factory.faults.known == ()
    # whole tokens on the pages: less than one for each of up to four series of six engines, at both ends
    assert observer.totals["output"] == pytest.approx(truth.final_output_tokens, abs=50)
    assert observer.totals["input"] == pytest.approx(truth.final_input_tokens, abs=50)
    assert truth.final_output_tokens > 1e6


def test_the_unseen_energy_is_that_of_bare_boards_between_a_poll_and_their_reset(factory: Factory) -> None:
    load_script(find_script("gpu"), factory.faults, start=START - 27, speed=1.0)
    observer = watch(factory, 90)
    truth = factory.truth(START, START + 90)
    # eight boards of the NVML host and two others, at 95 W and 3 % of noise, for five seconds at most
    assert 0 <= truth.gpu_board_joules - observer.totals["joules"] < 10 * 95 * 1.1 * SCRAPE_SECONDS
    assert truth.gpu_board_joules > 1e6


def test_only_a_crash_hides_tokens(factory: Factory) -> None:
    host = next(h for h in factory.layout.hosts if h.deployment == "code")
    factory.faults.inject("engine_crash", host.name, START + 33)
    rate = factory.state.engines.output_tokens.rate[host.engine]
    observer = watch(factory, 80)
    unseen = factory.truth(START, START + 80).final_output_tokens - observer.totals["output"]
    assert 0.5 * rate < unseen < SCRAPE_SECONDS * 1.1 * rate


def test_without_faults_both_clocks_count_the_same_within_the_running_requests(factory: Factory) -> None:
    factory.advance(START + 60)
    truth = factory.truth(START, START + 60)
    assert truth.final_output_tokens == pytest.approx(truth.output_tokens, rel=0.02)
    assert truth.final_input_tokens == pytest.approx(truth.input_tokens, rel=0.02)
