"""Frontends and gateways, which server a page is, restarts, and what never becomes a tag."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pages import TIME_NS, exactly, page, read, told

from collectors.collector import Target, UnknownDeviceError
from collectors.exposition.collector import ExpositionCollector, identify
from collectors.probe import not_given
from collectors.profile import Library, load_profile

MODEL = "meta-llama/Llama-3.1-70B-Instruct"


@asynccontextmanager
async def serve(pages: dict[str, str]) -> AsyncIterator[str]:
    """Serve pages by path on a loopback port and yield the server's root."""

    async def answer(request: web.Request) -> web.Response:
        if request.path not in pages:
            return web.Response(status=404)
        return web.Response(text=pages[request.path], content_type="text/plain")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def recognised(url: str) -> str:
    """Return the name of the profile that a server's page is recognised by, of all that speak this protocol."""
    return (await identify(Target("engine-1", "exposition", url), Library().of_protocol("exposition"))).profile


# --- Dynamo


def test_dynamo_frontend() -> None:
    tags = f"inference_latency server=dynamo model={MODEL} metric="
    assert exactly("dynamo_frontend", "dynamo") == {
        f"inference server=dynamo level=frontend model={MODEL}": {
            "output_tokens_total": 410000.0,
            "input_tokens_total": 2032000.0,
            "input_cached_tokens_total": 512000.0,
            "requests_ok_total": 900.0 + 100.0,
            "requests_failed_total": 3.0 + 1.0,
            "requests_aborted_total": 12.0,
            "requests_running": 40.0,
            "requests_waiting": 6.0,
            "ttft_seconds_sum": 303.0,
            "ttft_seconds_count": 1010.0,
            "itl_seconds_sum": 7361.5,
            "itl_seconds_count": 408990.0,
            "e2e_seconds_sum": 7620.0,
            "e2e_seconds_count": 1016.0,
        },
        f"{tags}ttft le=0.0022": {"count_total": 0.0},
        f"{tags}ttft le=+Inf": {"count_total": 1010.0},
        f"{tags}itl le=0.019": {"count_total": 350000.0},
        f"{tags}itl le=+Inf": {"count_total": 408990.0},
        f"{tags}e2e le=8": {"count_total": 700.0},
        f"{tags}e2e le=+Inf": {"count_total": 1016.0},
    }


def test_a_dynamo_worker_tells_as_its_engine() -> None:
    points = told(read(page("dynamo_worker_vllm"), "vllm").points)
    assert points == {
        f"inference server=vllm level=engine model={MODEL} engine=0": {
            "output_tokens_total": 411500.0,
            "input_tokens_total": 2032000.0,
            "requests_running": 34.0,
        }
    }


def test_a_dynamo_worker_without_engine_metrics_counts_no_tokens() -> None:
    own = "".join(line for line in page("dynamo_worker_vllm").splitlines(keepends=True) if "vllm:" not in line)
    points = told(read(own, "dynamo").points)
    assert points == {f"inference server=dynamo level=frontend model={MODEL} engine=0": {"kv_cache_ratio": 0.31}}


# --- LiteLLM


def test_litellm_teams() -> None:
    gateway = "inference server=litellm level=gateway clock=final"
    latency = "inference_latency server=litellm model=llama-70b tenant=research metric="
    assert exactly("litellm_proxy", "litellm") == {
        f"{gateway} model=llama-70b tenant=research": {
            "output_tokens_total": 40000.0 + 2000.0,
            "input_tokens_total": 90000.0,
            "input_cached_tokens_total": 25000.0,
            "spend_dollars_total": 1.25 + 0.5,
            "start_time_seconds": 1.7598e9,
            "ttft_seconds_sum": 16.5,
            "ttft_seconds_count": 55.0,
            "e2e_seconds_sum": 190.5,
            "e2e_seconds_count": 77.0,
        },
        f"{gateway} model=llama-70b tenant=shop": {
            "output_tokens_total": 8000.0,
            "input_tokens_total": 30000.0,
            "start_time_seconds": 1.7598e9,
        },
        # "None" is no team
        f"{gateway} model=llama-70b": {"output_tokens_total": 500.0, "start_time_seconds": 1.7598e9},
        gateway: {"requests_running": 9.0},
        f"{latency}ttft le=0.5": {"count_total": 50.0},
        f"{latency}ttft le=+Inf": {"count_total": 55.0},
        f"{latency}e2e le=2.5": {"count_total": 60.0},
        f"{latency}e2e le=+Inf": {"count_total": 77.0},
    }


def test_litellm_keeps_no_personal_data() -> None:
    text = page("litellm_proxy")
    personal = set(
        re.findall(r'(?:user|user_email|end_user|hashed_api_key|api_key_alias|team|model_id)="([^"]+)"', text)
    ) - {"None", "shop"}
    assert {"ada", "ada@example.org", "customer-7", "bob-ci", "default_user_id"} <= personal
    result = read(text, "litellm")
    said = {value for point in result.points for value in point.tags.values()}
    assert said.isdisjoint(personal)
    assert not any("example.org" in line for line in (*result.rejected, *result.missing))


def test_litellm_without_teams_is_one_tenantless_row_per_model() -> None:
    text = "".join(
        f'litellm_output_tokens_metric_total{{model="{model}",user="{user}"}} {count}\n'
        for model, user, count in (("a", "x", 5), ("a", "y", 6), ("b", "x", 7))
    )
    assert told(read(text, "litellm").points) == {
        "inference server=litellm level=gateway clock=final model=a": {"output_tokens_total": 11.0},
        "inference server=litellm level=gateway clock=final model=b": {"output_tokens_total": 7.0},
    }


# --- which server a page is

SERVERS = {
    "vllm_0.33.0_generated": "vllm",
    "sglang_0.5.23_dp_attention": "sglang",
    "sglang_docs": "sglang",
    "trtllm_serve_main": "trtllm",
    "trtllm_dynamo_docs_example_part": "trtllm",
    "triton_trtllm_gpu": "triton",
    "triton_trtllm_backend_readme": "triton",
    "tgi_router": "tgi",
    "nim_1.x": "nim",
    "dynamo_frontend": "dynamo",
    "dynamo_worker_vllm": "vllm",
    "llamacpp_server": "llamacpp",
    "litellm_proxy": "litellm",
}


@pytest.mark.parametrize(("name", "server"), SERVERS.items())
async def test_a_page_is_recognised_as_its_own_server(name: str, server: str) -> None:
    async with serve({"/metrics": page(name)}) as root:
        assert await recognised(f"{root}/metrics") == server


@pytest.mark.parametrize(
    ("path", "name", "server"),
    [("/prometheus/metrics", "trtllm_serve_main", "trtllm"), ("/v1/metrics", "nim_1.x", "nim")],
)
async def test_a_server_is_found_at_its_usual_path(path: str, name: str, server: str) -> None:
    async with serve({path: page(name), "/metrics": "[]"}) as root:
        assert await recognised(root) == server


@pytest.mark.parametrize(
    ("engine", "server"), [("sglang:num_running_reqs", "sglang"), ("trtllm_num_requests_running", "trtllm")]
)
async def test_a_worker_page_belongs_to_its_engine_however_much_else_is_on_it(engine: str, server: str) -> None:
    text = page("dynamo_frontend") + f'{engine}{{model_name="m"}} 1\n'
    async with serve({"/metrics": text}) as root:
        assert await recognised(f"{root}/metrics") == server


async def test_bare_names_beside_an_engines_own_are_no_nim() -> None:
    text = page("nim_1.x") + page("vllm_0.33.0_generated")
    async with serve({"/metrics": text}) as root:
        assert await recognised(f"{root}/metrics") == "vllm"


async def test_a_renamed_frontend_is_unknown_rather_than_guessed() -> None:
    text = page("dynamo_frontend").replace("dynamo_frontend", "acme_llm")
    async with serve({"/metrics": text}) as root:
        with pytest.raises(UnknownDeviceError, match="acme_"):
            await recognised(f"{root}/metrics")


# --- restarts and words for people


@pytest.mark.parametrize("name", ["vllm_0.33.0_generated", "sglang_0.5.23_dp_attention", "trtllm_serve_main"])
def test_counters_are_kept_raw_over_a_restart(name: str) -> None:
    profile = load_profile(SERVERS[name])
    collector = ExpositionCollector(Target("engine-1", "exposition", "http://127.0.0.1:1/metrics"), profile)
    before = collector.read(page(name), TIME_NS)
    fresh = re.sub(r"(generation_tokens_total\{[^}]*\}) \S+", r"\1 8.0", page(name))
    after = collector.read(fresh, TIME_NS + 5 * 10**9)
    counts = [
        [p.fields["output_tokens_total"] for p in result.points if p.measurement == "inference"]
        for result in (before, after)
    ]
    samples = len(re.findall(r"(?m)^\w+[:_]generation_tokens_total\{", page(name)))
    assert sum(map(float, counts[1])) == 8.0 * samples < sum(map(float, counts[0]))


def test_what_a_server_does_not_give_is_said_with_the_way_to_get_it() -> None:
    lines = not_given(load_profile("vllm"), read(page("vllm_0.33.0_generated"), "vllm"))
    assert "inference.flops_total: start the server with --enable-mfu-metrics" in lines
    assert "inference.spec_draft_total: printed with speculative decoding (--speculative-config)" in lines
    assert any(line.startswith("inference.scheduler_idle_seconds_total: ") for line in lines)
    lines = not_given(load_profile("trtllm"), read(page("trtllm_dynamo_docs_example_part"), "trtllm"))
    assert [line for line in lines if line.startswith("inference.output_tokens_total: set return_perf_metrics: true")]


def test_each_engine_names_its_level() -> None:
    levels = dict.fromkeys(set(SERVERS.values()), "engine") | {"dynamo": "frontend", "litellm": "gateway"}
    for name, level in levels.items():
        groups = load_profile(name).groups
        said = {g.tags["level"] for g in groups if any(spec.to.startswith("inference.") for spec in g.points)}
        assert said == {level}, name
        assert {g.tags["server"] for g in groups if "server" in g.tags} == {name}
