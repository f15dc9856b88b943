"""SGLang's page: its families and labels, both token clocks, the ranks that repeat a count."""

import math
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host, build_layout
from collectors.simulator.sglang import SglangPage

START = 1_760_000_000.0
DOCUMENTED = Path(__file__).parents[1] / "data" / "expositions" / "sglang_docs.prom"
MODES = ("decode", "prefill_compute", "prefill_cache")


@pytest.fixture
def factory() -> Factory:
    return Factory(build_layout(64), seed=1, start=START)


def reasoning(factory: Factory) -> Host:
    return next(host for host in factory.layout.hosts if host.deployment == "reasoning")


def page_of(factory: Factory, *, all_ranks: bool = False) -> SglangPage:
    host = reasoning(factory)
    assert host.engine is not None
    return SglangPage(factory, host, host.engine, all_ranks=all_ranks)


def samples(text: str, name: str, **labels: str) -> list[Sample]:
    every = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return [
        sample
        for sample in every
        if sample.name == f"sglang:{name}" and all(sample.labels.get(k) == v for k, v in labels.items())
    ]


def total(text: str, name: str, **labels: str) -> float:
    return sum(sample.value for sample in samples(text, name, **labels))


def types(text: str) -> dict[str, str]:
    return {words[2]: words[3] for line in text.splitlines() if (words := line.split())[:2] == ["#", "TYPE"]}


def test_page_reads_as_prometheus_client_reads_it(factory: Factory) -> None:
    text = page_of(factory).render(START + 0.5)
    printed = sum(not line.startswith("#") for line in text.splitlines())
    assert sum(len(family.samples) for family in text_string_to_metric_families(text)) == printed
    for line in text.splitlines():
        if "{" in line:
            names = [part.split("=")[0] for part in line[line.index("{") + 1 : line.rindex("}")].split(",")]
            assert names == sorted(names)


def test_families_have_the_types_that_the_documentation_shows(factory: Factory) -> None:
    shown, printed = types(DOCUMENTED.read_text()), types(page_of(factory).render(START + 0.5))
    # renamed to inter_token_latency_seconds; of single functions, off by default
    gone = {"sglang:time_per_output_token_seconds", "sglang:func_latency_seconds"}
    assert shown.keys() - printed.keys() == gone
    assert {name: printed[name] for name in shown.keys() - gone} == {name: shown[name] for name in shown.keys() - gone}


def test_labels_say_engine_type_ranks_and_streaming(factory: Factory) -> None:
    text = page_of(factory).render(START + 0.5)
    own = {"model_name": "deepseek-r1", "engine_type": "unified"}
    ranks = {"tp_rank": "0", "pp_rank": "0", "moe_ep_rank": "0"}
    assert [s.labels for s in samples(text, "num_running_reqs")] == [own | ranks | {"dp_rank": dp} for dp in "01"]
    modes = {(s.labels["dp_rank"], s.labels["mode"]) for s in samples(text, "realtime_tokens_total")}
    assert modes == {(dp, mode) for dp in "01" for mode in MODES}
    for name in ("generation_tokens_total", "prompt_tokens_total", "num_requests_total"):
        assert [s.labels for s in samples(text, name)] == [own | {"is_streaming": it} for it in ("true", "false")]
    assert [s.labels for s in samples(text, "cached_tokens_total")] == [own | {"cache_source": "device"}]


def test_live_counters_follow_the_engine_by_less_than_a_log_interval(factory: Factory) -> None:
    page, engines, at = page_of(factory), factory.state.engines, reasoning(factory).engine
    rate = engines.output_tokens.rate[at]
    behind = []
    for hundredths in range(30, 100):
        now = START + hundredths / 100
        passed = engines.output_tokens.at(now)[at]
        behind.append(passed - total(page.render(now), "realtime_tokens_total", mode="decode"))
    # ten decode iterations, and what floors cut off
    assert 0 <= min(behind) < 0.1 * rate
    assert 0.1 * rate < max(behind) <= 10 * engines.itl_seconds[at] * rate + 2
    prompt = sum(total(page.render(START + 0.99), "realtime_tokens_total", mode=mode) for mode in MODES[1:])
    assert prompt == pytest.approx(engines.prompt_tokens.at(START + 0.99)[at], rel=1e-4)


def test_final_counters_hold_back_what_running_requests_have_not_ended(factory: Factory) -> None:
    page, at = page_of(factory), reasoning(factory).engine
    for second in range(1, 61):
        factory.advance(START + second)
        text = page.render(START + second)
        running = total(text, "num_running_reqs")
        assert running > 100
        live = factory.state.engines.output_tokens.base[at]
        held = live - total(text, "generation_tokens_total")
        # of 1500 tokens a running request has made half
        assert held == pytest.approx(running * 750, rel=0.05)


def test_clocks_agree_once_the_engine_is_drained(factory: Factory) -> None:
    page, host = page_of(factory), reasoning(factory)
    factory.faults.inject("engine_restart", host.name, START)
    factory.advance(START + 9)
    text = page.render(START + 9.9)
    assert total(text, "num_running_reqs") == 0
    assert total(text, "generation_tokens_total") == total(text, "realtime_tokens_total", mode="decode") > 1e6
    prompt = total(text, "prompt_tokens_total")
    assert prompt == sum(total(text, "realtime_tokens_total", mode=mode) for mode in MODES[1:])
    assert total(text, "cached_tokens_total") == total(text, "realtime_tokens_total", mode="prefill_cache")


def test_counters_never_go_back_while_the_engine_lives(factory: Factory) -> None:
    page, host = page_of(factory, all_ranks=True), reasoning(factory)
    factory.faults.inject("stalled", host.name, START + 10, 10)
    last: Counter[tuple[str, ...]] = Counter()
    for quarter in range(1, 160):
        now = START + quarter / 4
        factory.advance(now)
        for sample in (s for f in text_string_to_metric_families(page.render(now)) for s in f.samples):
            if sample.name.endswith(("_total", "_count", "_sum", "_bucket")):
                key = (sample.name, *map(str, sorted(sample.labels.items())))
                assert sample.value >= last[key], (quarter, key)
                last[key] = math.floor(sample.value)


def test_each_rank_repeats_what_its_replica_counts(factory: Factory) -> None:
    one, all_ranks = page_of(factory).render(START + 0.9), page_of(factory, all_ranks=True).render(START + 0.9)
    for name in ("realtime_tokens_total", "num_retracted_requests_total"):
        assert total(all_ranks, name) == 4 * total(one, name)
        assert total(all_ranks, name, tp_rank="0", pp_rank="0", priority="") == total(one, name)
    queue = samples(all_ranks, "num_running_reqs", tp_rank="3", dp_rank="1")
    by_priority = {sample.labels["priority"]: sample.value for sample in queue}
    assert by_priority[""] == by_priority["0"] + by_priority["1"]
    assert total(all_ranks, "num_running_reqs", tp_rank="0", priority="") == total(one, "num_running_reqs")
    # the tokenizer is one, whatever the ranks do
    assert total(all_ranks, "generation_tokens_total") == total(one, "generation_tokens_total")


def test_a_series_is_not_there_before_its_first_count(factory: Factory) -> None:
    page, host = page_of(factory), reasoning(factory)
    assert "_created" not in page.render(START + 0.5)
    assert "process_start_time_seconds" not in page.render(START + 0.5)
    factory.faults.inject("engine_crash", host.name, START)
    # 4 s gone, 20 s of loading, then 12 s at work: no request of 42 s has ended
    factory.advance(START + 36)
    text = page.render(START + 36.5)
    assert samples(text, "generation_tokens_total") == []
    assert samples(text, "cached_tokens_total") == []
    rate = factory.state.engines.output_tokens.rate[host.engine]
    assert total(text, "realtime_tokens_total", mode="decode") == pytest.approx(12.5 * rate, rel=0.05)


def test_throughput_keeps_its_last_value_when_nothing_runs(factory: Factory) -> None:
    page, host = page_of(factory), reasoning(factory)
    busy = total(page.render(START + 0.5), "gen_throughput")
    factory.faults.inject("idle_job", host.name, START + 1)
    factory.advance(START + 30)
    text = page.render(START + 30)
    assert total(text, "gen_throughput") == busy > 1000
    assert total(text, "num_running_reqs") == 0
    idle = samples(text, "scheduler_idle_seconds_total", dp_rank="0")[0].value
    factory.advance(START + 40)
    after = samples(page.render(START + 40), "scheduler_idle_seconds_total", dp_rank="0")[0].value
    assert after - idle == pytest.approx(10.0)
