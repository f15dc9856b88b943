"""Which profile a page belongs to, and where a server's page is."""

import pytest
from aiohttp import web
from pages import Handler, page, poll, profile_of, serve, target

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    ProtocolError,
    UnknownDeviceError,
)
from collectors.exposition import collector as exposition
from collectors.exposition.match import choose
from collectors.profile import Profile, load_profile
from storage.config import ConfigError

#: of the same shape as the shipped ones
POINT: dict[str, object] = {"to": "inference.output_tokens_total", "at": ["vllm:tokens", "tokens"]}


def known(**matches: dict[str, object]) -> list[Profile]:
    return [profile_of([POINT], name=name, match=match) for name, match in matches.items()]


SHIPPED = known(
    vllm={"prefix": "vllm:", "rank": 2},
    sglang={"prefix": "sglang:", "rank": 2},
    dynamo={"prefix": ["dynamo_frontend_", "dynamo_component_"], "rank": 1},
    triton={"prefix": "nv_"},
    triton_gpus={"prefix": "nv_gpu_", "without": "nv_inference_", "rank": 1},
    nim={"metrics": ["num_request_max", "prompt_tokens_total"]},
)


@pytest.mark.parametrize(
    ("names", "profile"),
    [
        (["dynamo_component_a", "dynamo_component_b", "dynamo_component_c", "vllm:tokens"], "vllm"),
        (["dynamo_frontend_a", "dynamo_component_a", "python_gc"], "dynamo"),
        (["nv_inference_count", "nv_gpu_power_usage", "nv_gpu_utilization", "nv_energy_consumption"], "triton"),
        (["nv_gpu_power_usage", "nv_gpu_utilization", "nv_energy_consumption"], "triton_gpus"),
        (["num_request_max", "prompt_tokens_total", "python_gc", "process_cpu"], "nim"),
        (["sglang:a", "vllm:a", "vllm:b"], "vllm"),
    ],
)
def test_engines_win_over_what_passes_them_through_then_most_names_win(names: list[str], profile: str) -> None:
    assert choose("here", names, SHIPPED).profile == profile
    assert choose("here", names, SHIPPED[::-1]).profile == profile


@pytest.mark.parametrize("names", [["prompt_tokens_total"], ["num_request_max", "go_threads"], ["xvllm:a"]])
def test_a_page_that_no_match_fits_is_unknown(names: list[str]) -> None:
    with pytest.raises(UnknownDeviceError, match="here: server unknown"):
        choose("here", names, SHIPPED)


@pytest.mark.parametrize(
    "match", [{"prefix": ""}, {"prefixes": "a"}, {"paths": "metrics"}, {"rank": "high"}, {"metrics": ["a", ""]}]
)
def test_a_wrong_match_is_refused_before_anything_starts(match: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="x: match"):
        exposition.open_collector(target(), profile_of([POINT], match=match))


@pytest.mark.parametrize(
    ("file", "profile"),
    [
        ("vllm_0.33.0_generated", "vllm"),
        ("dcgm_exporter_4.8_h100x8_SYNTHETIC", "dcgm_exporter"),
        ("dcgm_exporter_t4_datadog", "dcgm_exporter"),
        ("node_exporter_1.5.0", "node_exporter"),
    ],
)
async def test_endpoint_is_recognised(file: str, profile: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=page(file))

    candidates = [load_profile(name) for name in ("node_exporter", "dcgm_exporter", "vllm")]
    async with serve(answer) as url:
        assert (await exposition.identify(target(url), candidates)).profile == profile


async def test_unknown_endpoint_names_what_it_says_and_what_was_tried() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="tgi_queue_size 1\ntgi_batch_current_size 2\ngo_threads 3\n")

    async with serve(answer) as url:
        with pytest.raises(CollectError, match=r"server unknown.* tgi_, go_; profiles tried: vllm \(vllm:\)"):
            await exposition.identify(target(url), [load_profile("vllm")])


# --- where the page is


def site(**pages: str) -> Handler:
    """Return a server of these pages by path, `_` for /; another path is not found."""

    async def answer(request: web.Request) -> web.Response:
        found = pages.get(request.path.strip("/").replace("/", "_") or "_")
        return web.Response(text=found) if found is not None else web.Response(status=404)

    return answer


LANDING = "<html><body><a href='/metrics'>Metrics</a></body></html>"
STATISTICS = '[{"cpuMemUsage": 0, "gpuMemUsage": 1, "iter": 5}]'
TOKENS = "vllm:tokens 5\n"


@pytest.mark.parametrize(
    "pages",
    [
        {"_": LANDING, "metrics": TOKENS},
        {"metrics": STATISTICS, "prometheus_metrics": TOKENS},
        {"v1_metrics": TOKENS},
        {"_": TOKENS},
        {"metrics": "go_threads 5\n", "own_page": TOKENS},
    ],
)
async def test_a_url_without_a_path_finds_the_page(pages: dict[str, str]) -> None:
    profiles = known(vllm={"prefix": "vllm:", "paths": "/own/page"})
    async with serve(site(**pages)) as url:
        bare = url.removesuffix("/metrics")
        assert (await exposition.identify(target(bare), profiles)).profile == "vllm"
        assert [dict(point.fields) for point in (await poll(bare + "/", profiles[0])).points] == [
            {"output_tokens_total": 5}
        ]


async def test_the_page_that_was_found_is_kept() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=TOKENS) if request.path == "/v1/metrics" else web.Response(status=404)

    async with serve(answer) as url:
        collector = exposition.open_collector(target(url.removesuffix("/metrics")), SHIPPED[0])
        for time_ns in (1, 2):
            assert (await collector.poll(time_ns)).points
        await collector.aclose()
    assert asked == ["/", "/prometheus/metrics", "/v1/metrics", "/v1/metrics"]


async def test_a_path_that_is_given_is_the_only_one_asked() -> None:
    async with serve(site(metrics=TOKENS)) as url:
        with pytest.raises(ProtocolError, match=r"/other: HTTP 404 'Not Found'; is the path right\?"):
            await exposition.identify(target(url.replace("/metrics", "/other")), SHIPPED)


async def test_of_several_failures_the_most_telling_is_raised() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=401 if request.path == "/v1/metrics" else 404)

    async with serve(answer) as url:
        with pytest.raises(AuthenticationError, match="/v1/metrics: HTTP 401"):
            await exposition.identify(target(url.removesuffix("/metrics")), SHIPPED)
    async with serve(site(metrics="go_threads 5\n")) as url:
        with pytest.raises(UnknownDeviceError, match="/metrics: server unknown: its metrics begin with go_"):
            await exposition.identify(target(url.removesuffix("/metrics")), SHIPPED)
    with pytest.raises(DeviceRefusedError, match="cannot connect"):
        await exposition.identify(target(url.removesuffix("/metrics")), SHIPPED)


async def test_a_server_before_its_first_request_is_recognised_by_what_it_announces() -> None:
    text = "# TYPE vllm:tokens counter\n# TYPE python_gc counter\npython_gc 5\n"
    async with serve(site(metrics=text)) as url:
        assert (await exposition.identify(target(url), SHIPPED)).profile == "vllm"


async def test_a_page_without_samples_is_no_page_of_metrics() -> None:
    async with serve(site(metrics="# TYPE vllm:tokens counter\n# EOF\n")) as url:
        with pytest.raises(ProtocolError, match="not a page of metrics: empty page"):
            await exposition.identify(target(url), SHIPPED)
