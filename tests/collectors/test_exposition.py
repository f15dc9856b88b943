"""Metrics pages over real HTTP: golden pages, the profile's words, failures, and Debian's node_exporter."""

import asyncio
import gzip
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from services import free_port, listens, program, running

from collectors import exposition
from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    PollResult,
    ProtocolError,
    Target,
)
from collectors.exposition import ExpositionCollector
from collectors.profile import Profile, load_profile
from storage.config import ConfigError, Secret
from storage.point import Point

DATA = Path(__file__).parent / "data" / "expositions"
TIME_NS = 1_760_000_000 * 10**9
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page(name: str) -> str:
    return (DATA / f"{name}.prom").read_text()


def target(url: str = "http://127.0.0.1:1/metrics", **more: Any) -> Target:
    return Target("engine-1", "exposition", url, **more)


def read(text: str, profile: str | Profile, polls: int = 1) -> PollResult:
    """Return the last of some polls of one page, without the network."""
    collector = ExpositionCollector(target(), load_profile(profile) if isinstance(profile, str) else profile)
    for _ in range(polls):
        result = collector.read(text, TIME_NS)
    return result


def one(result: PollResult, measurement: str, **tags: str) -> Point:
    found = [p for p in result.points if p.measurement == measurement and tags.items() <= dict(p.tags).items()]
    assert len(found) == 1, found
    return found[0]


def profile_of(points: list[dict[str, object]], **each: object) -> Profile:
    group = {"each": each, "tags": {"model": "{model}", "engine": "{engine}", "tenant": "{team}"}, "points": points}
    return Profile.model_validate(
        {
            "profile": "x",
            "model": "x",
            "kind": "inference",
            "protocol": "exposition",
            "source": "a test",
            "groups": [group],
        }
    )


@asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/metrics"
    finally:
        await runner.cleanup()


async def poll(url: str, profile: str = "vllm", **more: Any) -> PollResult:
    collector = exposition.open_collector(target(url, **more), load_profile(profile))
    try:
        return await collector.poll(TIME_NS)
    finally:
        await collector.aclose()


# --- golden pages, values read by eye


def test_vllm_engines_are_rows() -> None:
    result = read(page("vllm_0.33.0_generated"), "vllm")
    engine = one(result, "inference", engine="1")
    assert dict(engine.tags) == {
        "endpoint": "engine-1",
        "server": "vllm",
        "model": "meta-llama/Llama-3.1-70B-Instruct",
        "engine": "1",
    }
    assert engine.time_ns == TIME_NS
    assert dict(engine.fields) == {
        "output_tokens_total": 21554.0,
        "input_tokens_total": 2134815.0,
        "input_computed_tokens_total": 1597503.0,
        "input_cached_tokens_total": 537312.0,
        "requests_ok_total": 140.0 + 21.0,
        "requests_aborted_total": 0.0,
        "requests_failed_total": 0.0,
        "preemptions_total": 3.0,
        "requests_running": 22.0,
        "requests_waiting": 1.0,
        "kv_cache_ratio": 0.5067951466272763,
        "awake": 1,
        "ttft_seconds_sum": 267.5012577583931,
        "ttft_seconds_count": 1004.0,
        "itl_seconds_sum": 638.1217694034716,
        "itl_seconds_count": 21554.0,
        "e2e_seconds_sum": 868.6087214752798,
        "e2e_seconds_count": 161.0,
    }
    assert one(result, "inference_latency", engine="1", metric="ttft", le="0.25").fields == {"count_total": 597.0}
    assert one(result, "inference_latency", engine="0", metric="ttft", le="+Inf").fields == {"count_total": 1043.0}
    assert (result.missing, result.rejected) == ((), ())


def test_old_vllm_names_are_understood() -> None:
    text = """
vllm:num_requests_running{model_name="m"} 3.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.25
vllm:time_per_output_token_seconds_sum{model_name="m"} 12.5
vllm:time_per_output_token_seconds_count{model_name="m"} 500.0
vllm:generation_tokens_total{model_name="m"} 500.0
"""
    point = one(read(text, "vllm"), "inference")
    assert "engine" not in point.tags
    assert point.fields["kv_cache_ratio"] == 0.25
    assert (point.fields["itl_seconds_sum"], point.fields["itl_seconds_count"]) == (12.5, 500.0)


def test_a_metric_that_the_server_lacks_is_named() -> None:
    missing = read('vllm:generation_tokens_total{model_name="m"} 5\n', "vllm").missing
    assert "inference.input_tokens_total: no sample of vllm:prompt_tokens_total" in missing
    # optional ones are not
    assert not [line for line in missing if "sleep_state" in line or "by_source" in line]


def test_histograms_are_read_each_slow_period_only() -> None:
    collector = ExpositionCollector(target(), load_profile("vllm"))
    text = page("vllm_0.33.0_generated")
    counts = [
        sum(p.measurement == "inference_latency" for p in collector.read(text, TIME_NS + s * 10**9).points)
        for s in (0, 5, 55, 60, 65)
    ]
    assert counts[0] == 2 * (23 + 20 + 20 + 22)
    assert counts == [counts[0], 0, 0, counts[0], 0]


def test_dcgm_gpus_are_rows() -> None:
    result = read(page("dcgm_exporter_4.8_h100x8_SYNTHETIC"), "dcgm_exporter")
    assert len(result.points) == 8
    busy = one(result, "gpu", gpu_index="0")
    assert dict(busy.tags) == {
        "host": "engine-1",
        "gpu": "GPU-5f1c0000-9b1e-4c1d-a0f3-012345678900",
        "gpu_index": "0",
        "model": "NVIDIA H100 80GB HBM3",
        "vendor": "nvidia",
        "namespace": "prod-llm",
        "pod": "llama-70b-0-7c9d",
    }
    assert busy.fields["power_watts"] == pytest.approx(612.4)
    assert busy.fields["energy_joules_total"] == pytest.approx(380854830.555)
    assert busy.fields["sm_clock_hertz"] == pytest.approx(1.755e9)
    assert busy.fields["utilization_ratio"] == pytest.approx(0.97)
    assert busy.fields["memory_used_bytes"] == pytest.approx(72000 * 2**20)
    assert busy.fields["tensor_active_ratio"] == pytest.approx(0.2134)
    bare = one(result, "gpu", gpu_index="5")
    assert "pod" not in bare.tags
    assert bare.fields["power_watts"] == pytest.approx(71.3)
    assert bare.fields["memory_used_bytes"] == 0
    assert bare.fields["row_remap_failure"] == 0
    assert (result.missing, result.rejected) == ((), ())


def test_old_dcgm_spelling_and_rows_without_uuid() -> None:
    result = read(page("dcgm_exporter_t4_datadog"), "dcgm_exporter")
    first = one(result, "gpu", gpu="GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e")
    assert first.fields["power_watts"] == pytest.approx(8.969)
    assert first.fields["energy_joules_total"] == pytest.approx(128996.013)
    # the page's dummy rows have no UUID: without identity there is no series
    assert all(point.tags["gpu"].startswith("GPU-") for point in result.points)


@pytest.mark.parametrize("blank", ["9223372036854775794", "2147483632", "140737488355328.000000", "NaN", "+Inf", "-1"])
def test_blank_values_of_dcgm_are_rejected(blank: str) -> None:
    fields = ("POWER_USAGE", "GPU_TEMP", "SM_CLOCK", "GPU_UTIL", "FB_USED")
    text = "".join(f'DCGM_FI_DEV_{name}{{gpu="0",UUID="GPU-1"}} {blank}\n' for name in fields)
    result = read(text + 'DCGM_FI_DEV_MEM_CLOCK{gpu="0",UUID="GPU-1"} 2619\n', "dcgm_exporter")
    written = set(one(result, "gpu").fields) - {"memory_clock_hertz"}
    # 2147483632 MiB and 1.4e14 MiB are beyond the schema; so is everything else
    assert written == set()
    assert len(result.rejected) == len(fields)


def test_pods_that_share_a_gpu_do_not_count_it_twice() -> None:
    text = "".join(
        f'DCGM_FI_DEV_{name}{{gpu="0",UUID="GPU-1",namespace="prod",pod="{pod}"}} {value}\n'
        for name, value in (("POWER_USAGE", 300), ("TOTAL_ENERGY_CONSUMPTION", 5_000_000), ("FB_USED", 1000))
        for pod in ("a", "b")
    )
    point = one(read(text, "dcgm_exporter"), "gpu")
    assert point.fields["power_watts"] == 300
    assert point.fields["energy_joules_total"] == 5000
    assert point.tags["namespace"] == "prod"
    assert "pod" not in point.tags


def test_mig_slices_repeat_the_board_which_counts_once() -> None:
    # The board's power stands on each slice's row: NVIDIA/dcgm-exporter issue 317.
    text = "".join(
        f'DCGM_FI_DEV_{name}{{gpu="0",UUID="GPU-1",GPU_I_PROFILE="1g.6gb",GPU_I_ID="{slice_id}"}} {value}\n'
        for name, values in (("POWER_USAGE", (52.6, 52.7)), ("FB_USED", (100, 200)))
        for slice_id, value in zip((3, 4), values, strict=True)
    )
    result = read(text, "dcgm_exporter")
    boards = [point for point in result.points if "mig" not in point.tags]
    assert [point.fields for point in boards] == [{"power_watts": 52.7}]
    assert one(result, "gpu", mig="3").fields == {"memory_used_bytes": 100 * 2**20}
    assert one(result, "gpu", mig="4").fields == {"memory_used_bytes": 200 * 2**20}


def test_workload_labels_of_a_federating_prometheus() -> None:
    text = 'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1",pod="dcgm-x",exported_pod="llama-0",exported_namespace="prod"} 300\n'
    point = one(read(text, "dcgm_exporter"), "gpu")
    assert (point.tags["pod"], point.tags["namespace"]) == ("llama-0", "prod")


def test_node_exporter_ports() -> None:
    result = read(page("node_exporter_1.5.0"), "node_exporter")
    port = one(result, "interface")
    assert dict(port.tags) == {"host": "engine-1", "interface": "eth0", "kind": "port"}
    assert port.fields["rx_bytes_total"] == 5.11527695e8
    assert port.fields["oper_up"] == 1
    assert port.fields["flaps_total"] == 1
    assert "speed_bits_per_second" not in port.fields
    assert [line for line in result.rejected if "speed" in line]


def test_node_exporter_sensors() -> None:
    text = """
node_network_speed_bytes{device="eth0"} 1.25e+10
node_hwmon_temp_celsius{chip="platform_coretemp_0",sensor="temp1"} 41
node_hwmon_power_average_watt{chip="power_meter_acpi",sensor="power1"} 812
node_rapl_package_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0"} 262143.5
"""
    result = read(text, "node_exporter")
    assert one(result, "interface").fields == {"speed_bits_per_second": 1e11}
    assert one(result, "environment", point="platform_coretemp_0 temp1").fields == {"temperature_celsius": 41}
    assert one(result, "power", circuit="power_meter_acpi power1").fields == {"active_watts": 812}
    assert one(result, "power", circuit="cpu-0").fields == {"energy_joules_total": 262143.5}


# --- the profile's words

TOKENS: dict[str, object] = {"to": "inference.output_tokens_total", "at": "tokens_total"}


@pytest.mark.parametrize(("combine", "expected"), [("sum", 12.0), ("max", 7.0), ("first", 5.0)])
def test_samples_of_one_row_are_combined(combine: str, expected: float) -> None:
    text = 'tokens_total{model="m",rank="0"} 5\ntokens_total{model="m",rank="1"} 7\n'
    result = read(text, profile_of([TOKENS], labels=["model"], combine=combine))
    assert one(result, "inference", model="m").fields == {"output_tokens_total": expected}


def test_filter_leaves_rows_out() -> None:
    text = 'tokens_total{model="m",tp_rank="0"} 5\ntokens_total{model="m",tp_rank="1"} 7\ntokens_total{model="n"} 9\n'
    result = read(text, profile_of([TOKENS], labels=["model"], filter={"tp_rank": "0"}))
    assert [point.fields["output_tokens_total"] for point in result.points] == [5]
    empty = read(text, profile_of([TOKENS], labels=["model"], filter={"tp_rank": ""}))
    assert [point.tags["model"] for point in empty.points] == ["n"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ('{why="stop"}', 1.0),
        ('{why=~"stop|length"}', 3.0),
        ('{why!="stop"}', 14.0),
        ('{why!~"stop|length", model="m"}', 12.0),
        ('{why=~"sto"}', None),
    ],
)
def test_promql_matchers(selector: str, expected: float | None) -> None:
    text = "".join(
        f'done_total{{model="m",why="{why}"}} {n}\n' for why, n in (("stop", 1), ("length", 2), ("abort", 12))
    )
    profile = profile_of([{"to": "inference.requests_ok_total", "at": f"done_total{selector}"}], labels=["model"])
    result = read(text, profile)
    assert [point.fields.get("requests_ok_total") for point in result.points] == (
        [] if expected is None else [expected]
    )


def test_first_address_that_is_present_wins() -> None:
    profile = profile_of([{"to": "inference.kv_cache_ratio", "at": ["fresh", "old"]}], labels=["model"])
    assert one(read('old{model="m"} 0.5\n', profile), "inference").fields["kv_cache_ratio"] == 0.5
    assert one(read('old{model="m"} 0.5\nfresh{model="m"} 0.7\n', profile), "inference").fields["kv_cache_ratio"] == 0.7


def test_spellings_of_a_label_and_labels_that_disagree() -> None:
    profile = profile_of([TOKENS], labels=["model|model_name"], also=["team|team_alias", "engine"])
    text = 'tokens_total{model_name="m",team_alias="blue",engine="0"} 1\ntokens_total{model="m",engine="1"} 2\n'
    point = one(read(text, profile), "inference")
    assert dict(point.tags) == {"device": "engine-1", "model": "m", "tenant": "blue"}
    assert point.fields == {"output_tokens_total": 3}


@pytest.mark.parametrize(
    ("each", "at", "message"),
    [
        ({"label": ["x"]}, "a", "label"),
        ({"combine": "mean"}, "a", "combine"),
        ({"filter": {"a": "("}}, "a", "unterminated"),
        ({}, "a b", "no metric name"),
        ({}, "a{b=c}", "no matcher"),
        ({}, 'a{b=~"("}', "unterminated"),
    ],
)
def test_wrong_words_are_refused_before_anything_starts(each: dict[str, object], at: str, message: str) -> None:
    profile = profile_of([{"to": "inference.output_tokens_total", "at": at}], **each)
    with pytest.raises(ConfigError, match=message):
        exposition.open_collector(target(), profile)


def test_label_blocks_are_taken_apart_once_per_endpoint() -> None:
    result = read(page("dcgm_exporter_4.8_h100x8_SYNTHETIC"), "dcgm_exporter", polls=3)
    assert len(result.points) == 8


SEEDS = [page(name) for name in ("vllm_0.33.0_generated", "dcgm_exporter_t4_datadog")]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), which=st.sampled_from([0, 1]))
def test_mutated_pages_never_crash_nor_store_nan(data: st.DataObject, which: int) -> None:
    text = SEEDS[which][-12_000:]
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 30))
        put = data.draw(st.text(alphabet='{}"=,\\ \n0123456789.eE+-NaInf_#', max_size=8))
        text = text[:at] + put + text[at + cut :]
    try:
        result = read(text, ("vllm", "dcgm_exporter")[which])
    except ProtocolError:
        return
    for point in result.points:
        assert all(not isinstance(value, float) or math.isfinite(value) for value in point.fields.values())
        assert all(point.tags.values())


# --- HTTP


async def test_gzip_is_understood() -> None:
    body = gzip.compress(page("vllm_0.33.0_generated").encode())

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})

    async with serve(answer) as url:
        assert one(await poll(url), "inference", engine="0").fields["output_tokens_total"] == 23097.0


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationError), (403, AuthenticationError), (404, ProtocolError), (500, ProtocolError)],
)
async def test_status_is_named(status: int, error: type[CollectError]) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serve(answer) as url:
        with pytest.raises(error, match=f"engine-1 {url}: HTTP {status}"):
            await poll(url)


async def test_nobody_listens() -> None:
    port = free_port()
    with pytest.raises(DeviceRefusedError, match=rf"engine-1 http://127.0.0.1:{port}/: cannot connect"):
        await poll(f"http://127.0.0.1:{port}/")


async def test_no_answer_in_time() -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serve(answer) as url:
        with pytest.raises(DeviceTimeoutError, match=r"no whole page within 0\.2 s"):
            await poll(url, timeout=timedelta(seconds=0.2))


async def test_server_that_hangs_up() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serve(answer) as url:
        with pytest.raises(DeviceRefusedError, match="the connection broke"):
            await poll(url)


async def test_page_cut_short() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"vllm:generation_tokens_total 1\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serve(answer) as url:
        with pytest.raises((ProtocolError, DeviceRefusedError)):
            await poll(url)


async def test_page_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MAX_BYTES", 2**20)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with serve(answer) as url:
        with pytest.raises(ProtocolError, match="longer than 1 MiB"):
            await poll(url)


async def test_login_page_is_no_exposition() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")

    async with serve(answer) as url:
        with pytest.raises(ProtocolError, match=r"no metric of vllm in it: begins with '<html>"):
            await poll(url)
        with pytest.raises(ProtocolError, match="not a page of metrics"):
            await exposition.identify(target(url), [load_profile("vllm")])


@pytest.mark.parametrize(("username", "expected"), [("eve", "Basic ZXZlOnNlc2FtZQ=="), ("", "Bearer sesame")])
async def test_credentials_are_sent_and_kept_over_a_redirect(username: str, expected: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != expected:
            return web.Response(status=401)
        if request.path == "/metrics":
            raise web.HTTPTemporaryRedirect("/metrics/")
        return web.Response(text=page("vllm_0.33.0_generated"))

    async with serve(answer) as url:
        result = await poll(url, username=username, password=Secret("sesame"))
        assert one(result, "inference", engine="0")
        with pytest.raises(AuthenticationError) as refused:
            await poll(url, username=username, password=Secret("open"))
        assert "open" not in str(refused.value)


async def test_credentials_do_not_follow_to_another_server() -> None:
    seen: list[str | None] = []

    async def other(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(text=page("vllm_0.33.0_generated"))

    async with serve(other) as elsewhere:

        async def answer(_: web.Request) -> web.Response:
            raise web.HTTPFound(elsewhere)

        async with serve(answer) as url:
            await poll(url, password=Secret("sesame"))
    assert seen == [None]


async def test_next_poll_reconnects() -> None:
    collector = exposition.open_collector(target(f"http://127.0.0.1:{(port := free_port())}/"), load_profile("vllm"))
    with pytest.raises(DeviceRefusedError):
        await collector.poll(TIME_NS)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=page("vllm_0.33.0_generated"))

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        assert (await collector.poll(TIME_NS)).points
    finally:
        await collector.aclose()
        await collector.aclose()
        await runner.cleanup()


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


@pytest.mark.service("prometheus-node-exporter")
async def test_real_node_exporter() -> None:
    port = free_port()
    command = [program("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{port}"]
    with running(command, lambda: listens(port)):
        url = f"http://127.0.0.1:{port}/metrics"
        own = await exposition.identify(target(url), [load_profile(name) for name in ("vllm", "node_exporter")])
        assert own.profile == "node_exporter"
        result = await poll(url, "node_exporter", timeout=timedelta(seconds=20))
    ports = [point for point in result.points if point.measurement == "interface"]
    assert all(port.tags["interface"] != "lo" for port in ports)
    real = {path.name for path in Path("/sys/class/net").iterdir()} - {"lo"}
    assert {port.tags["interface"] for port in ports} <= real
    assert result.missing == () or not ports
