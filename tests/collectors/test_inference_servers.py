"""TensorRT-LLM, Triton, TGI, NIM and llama.cpp: each page decodes to exactly the points that a person reads off it."""

import pytest
from pages import exactly, page, read, told

# --- TensorRT-LLM and Triton

TRTLLM = "server=trtllm model=nvidia/Llama-3.1-70B-FP8 metric="


def test_trtllm_serve() -> None:
    assert exactly("trtllm_serve_main", "trtllm") == {
        "inference server=trtllm level=engine clock=final model=nvidia/Llama-3.1-70B-FP8": {
            "output_tokens_total": 187600.0,
            "input_tokens_total": 938000.0,
            "input_cached_tokens_total": 138000.0,
            "input_computed_tokens_total": 938000.0 - 138000.0,
            "start_time_seconds": 1759990100.0,
            "requests_ok_total": 400.0 + 60.0,
            "requests_aborted_total": 9.0,
            "requests_failed_total": 3.0 + 1.0,
            "requests_running": 31.0,
            "requests_waiting": 2.0,
            "kv_cache_ratio": 0.375,
            "ttft_seconds_sum": 70.25,
            "ttft_seconds_count": 469.0,
            "tpot_seconds_sum": 5.5,
            "tpot_seconds_count": 468.0,
            "e2e_seconds_sum": 1876.5,
            "e2e_seconds_count": 469.0,
            "spec_accepted_total": 90000.0,
            "spec_draft_total": 120000.0,
        },
        f"inference_latency {TRTLLM}ttft le=0.25": {"count_total": 460.0},
        f"inference_latency {TRTLLM}ttft le=+Inf": {"count_total": 469.0},
        f"inference_latency {TRTLLM}tpot le=0.01": {"count_total": 210.0},
        f"inference_latency {TRTLLM}tpot le=+Inf": {"count_total": 468.0},
        f"inference_latency {TRTLLM}e2e le=5.0": {"count_total": 390.0},
        f"inference_latency {TRTLLM}e2e le=+Inf": {"count_total": 469.0},
    }


@pytest.mark.parametrize("prefix", ["trtllm_", "trtllm:"])
def test_trtllm_of_five_families_with_either_prefix(prefix: str) -> None:
    text = page("trtllm_dynamo_docs_example_part").replace("trtllm_", prefix)
    tags = "inference_latency server=trtllm model=Qwen/Qwen3-0.6B metric=ttft"
    assert told(read(text, "trtllm").points) == {
        "inference server=trtllm level=engine clock=final model=Qwen/Qwen3-0.6B": {
            "requests_ok_total": 150.0 + 5.0,
            "ttft_seconds_sum": 8.75,
            "ttft_seconds_count": 150.0,
        },
        f"{tags} le=0.01": {"count_total": 0.0},
        f"{tags} le=0.05": {"count_total": 12.0},
    }


def test_triton_tokens_and_its_own_gpu_metrics() -> None:
    result = read(page("triton_trtllm_gpu"), "triton")
    board = "gpu gpu=GPU-{} vendor=nvidia exporter=triton"
    assert told(result.points) == {
        "inference server=triton level=engine clock=final model=tensorrt_llm": {
            "output_tokens_total": 480000.0,
            "input_tokens_total": 2400000.0,
            "requests_ok_total": 1200.0 + 34.0,
            "requests_failed_total": 2.0 + 1.0,
            "requests_aborted_total": 11.0,
            "requests_running": 22.0,
            "requests_waiting": 4.0,
            "kv_cache_ratio": 1560 / 6240,
            # microseconds: 2.4e9 and 6.8e7
            "e2e_seconds_sum": pytest.approx(2400.0 + 68.0),
            "e2e_seconds_count": 1234.0,
        },
        "inference server=triton level=engine clock=final model=preprocessing": {
            "requests_ok_total": 1234.0,
            "requests_failed_total": 0.0,
            "e2e_seconds_sum": pytest.approx(3.702),
            "e2e_seconds_count": 1234.0,
        },
        board.format("11111111-2222-3333-4444-555555555555"): {
            "power_watts": 412.5,
            "power_limit_watts": 700.0,
            "energy_joules_total": 1485000.25,
            "utilization_ratio": 0.93,
            "memory_used_bytes": 70 * 2.0**30,
            "memory_total_bytes": 80 * 2.0**30,
        },
        # no board draws nothing: its 0 W is refused
        board.format("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"): {
            "power_limit_watts": 700.0,
            "energy_joules_total": 255000.5,
            "utilization_ratio": 0.0,
            "memory_used_bytes": 512 * 2.0**20,
            "memory_total_bytes": 80 * 2.0**30,
        },
    }
    assert [line.partition("[")[0] for line in result.rejected] == ["gpu.power_watts"]


def test_triton_gauges_of_the_last_iteration_are_no_counters() -> None:
    assert exactly("triton_trtllm_backend_readme", "triton") == {
        "inference server=triton level=engine clock=final model=tensorrt_llm": {
            "requests_ok_total": 0.0,
            "requests_failed_total": 0.0,
            # the server is idle: `scheduled` still says 1
            "requests_running": 0.0,
            "requests_waiting": 0.0,
            "kv_cache_ratio": pytest.approx(1 / 6239),
            "e2e_seconds_sum": 0.0,
            "e2e_seconds_count": 0.0,
        }
    }


def test_triton_v1_iteration_gauges_are_not_read() -> None:
    text = """
nv_inference_request_success{model="m",version="1"} 3
nv_trt_llm_v1_metrics{model="m",v1_specific_metric="total_generation_tokens",version="1"} 17
nv_trt_llm_v1_metrics{model="m",v1_specific_metric="total_context_tokens",version="1"} 5
"""
    fields = told(read(text, "triton").points)["inference server=triton level=engine clock=final model=m"]
    assert fields == {"requests_ok_total": 3.0, "e2e_seconds_count": 3.0}


# --- servers that count when a request ends


def test_tgi() -> None:
    assert exactly("tgi_router", "tgi") == {
        "inference server=tgi level=engine clock=final": {
            "output_tokens_total": 25500.0,
            "input_tokens_total": 99450.0,
            "requests_ok_total": 150.0,
            "requests_failed_total": 4.0 + 1.0,
            "requests_aborted_total": 2.0,
            "requests_running": 8.0,
            "requests_waiting": 3.0,
            "tpot_seconds_sum": 2.7,
            "tpot_seconds_count": 150.0,
            "e2e_seconds_sum": 480.75,
            "e2e_seconds_count": 150.0,
        },
        "inference_latency server=tgi metric=tpot le=0.02": {"count_total": 140.0},
        "inference_latency server=tgi metric=tpot le=+Inf": {"count_total": 150.0},
        "inference_latency server=tgi metric=e2e le=1.5": {"count_total": 30.0},
        "inference_latency server=tgi metric=e2e le=3.375": {"count_total": 110.0},
        "inference_latency server=tgi metric=e2e le=+Inf": {"count_total": 150.0},
    }


def test_nim_1() -> None:
    tags = "inference_latency server=nim model=meta/llama-3.1-8b-instruct metric="
    assert exactly("nim_1.x", "nim") == {
        "inference server=nim level=engine model=meta/llama-3.1-8b-instruct": {
            "output_tokens_total": 128000.0,
            "input_tokens_total": 640000.0,
            "start_time_seconds": 1.7599e9,
            "requests_ok_total": 635.0,
            "requests_failed_total": 5.0,
            "requests_running": 12.0,
            "requests_waiting": 0.0,
            "kv_cache_ratio": 0.125,
            "ttft_seconds_sum": 44.5,
            "ttft_seconds_count": 640.0,
            "tpot_seconds_sum": 4.75,
            "tpot_seconds_count": 640.0,
            "e2e_seconds_sum": 960.25,
            "e2e_seconds_count": 640.0,
        },
        f"{tags}ttft le=0.1": {"count_total": 590.0},
        f"{tags}ttft le=+Inf": {"count_total": 640.0},
        f"{tags}tpot le=0.01": {"count_total": 630.0},
        f"{tags}tpot le=+Inf": {"count_total": 640.0},
        f"{tags}e2e le=2.5": {"count_total": 600.0},
        f"{tags}e2e le=+Inf": {"count_total": 640.0},
    }


def test_llamacpp() -> None:
    assert exactly("llamacpp_server", "llamacpp") == {
        "inference server=llamacpp level=engine clock=final": {
            "output_tokens_total": 25000.0,
            # prompt_tokens_total leaves out what the cache had
            "input_computed_tokens_total": 8500.0,
            "input_cached_tokens_total": 1500.0,
            "input_tokens_total": 8500.0 + 1500.0,
            "requests_running": 3.0,
            "requests_waiting": 1.0,
            "spec_accepted_total": 3000.0,
            "spec_draft_total": 4000.0,
        }
    }


def test_llamacpp_early_names_and_a_cache_that_is_not_a_number() -> None:
    text = """
tokens_predicted_total 300
tokens_evaluated_total 4000
requests_processing 2
requests_deferred 0
predicted_tokens_seconds 41.5
kv_cache_usage_ratio NaN
"""
    result = read(text, "llamacpp")
    assert told(result.points) == {
        "inference server=llamacpp level=engine clock=final": {
            "output_tokens_total": 300.0,
            "input_computed_tokens_total": 4000.0,
            "requests_running": 2.0,
            "requests_waiting": 0.0,
        }
    }
    assert [line.partition("[")[0] for line in result.rejected] == ["inference.kv_cache_ratio"]
