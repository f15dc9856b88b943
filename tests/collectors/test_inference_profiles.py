"""vLLM and SGLang: each page decodes to exactly the points that a person reads off it."""

import re

import pytest
from pages import exactly, page, read, told

from collectors.profile import load_profile
from storage.schema import MEASUREMENTS

PROFILES = ("vllm", "sglang", "trtllm", "triton", "tgi", "nim", "dynamo", "llamacpp", "litellm")


@pytest.mark.parametrize("name", PROFILES)
def test_each_quantity_is_read_or_the_profile_says_why_not(name: str) -> None:
    profile = load_profile(name)
    known = {spec.to for group in profile.groups for spec in group.points}
    wanted = {f"inference.{field}" for field in MEASUREMENTS["inference"].fields}
    assert wanted - known == set(profile.lacks)
    assert all(profile.lacks.values())


# --- vLLM

VLLM = "inference server=vllm level=engine model=meta-llama/Llama-3.1-70B-Instruct engine="
VLLM_BUCKET = "inference_latency server=vllm model=meta-llama/Llama-3.1-70B-Instruct engine="
VLLM_BUCKETS = {
    "time_to_first_token": "ttft",
    "inter_token_latency": "itl",
    "request_time_per_output_token": "tpot",
    "e2e_request_latency": "e2e",
}


def test_vllm_engines() -> None:
    points = exactly("vllm_0.33.0_generated", "vllm")
    assert points.pop(VLLM + "0") == {
        "output_tokens_total": 23097.0,
        "input_tokens_total": 2211001.0,
        "input_computed_tokens_total": 1651227.0,
        "input_cached_tokens_total": 559774.0,
        "start_time_seconds": 1795297731.0499058,
        "requests_ok_total": 141.0 + 25.0,
        "requests_aborted_total": 0.0,
        "requests_failed_total": 0.0,
        "preemptions_total": 4.0,
        "requests_running": 72.0,
        "requests_waiting": 1.0,
        "kv_cache_ratio": 0.20070205397506982,
        "awake": 1,
        "ttft_seconds_sum": 277.3191375621459,
        "ttft_seconds_count": 1043.0,
        "tpot_seconds_sum": 4.979999999999997,
        "tpot_seconds_count": 166.0,
        "itl_seconds_sum": 683.0689363289029,
        "itl_seconds_count": 23097.0,
        "e2e_seconds_sum": 914.8808127449988,
        "e2e_seconds_count": 166.0,
    }
    second = points.pop(VLLM + "1")
    assert (second["output_tokens_total"], second["input_tokens_total"]) == (21554.0, 2134815.0)
    assert (second["requests_ok_total"], second["requests_running"]) == (140.0 + 21.0, 22.0)
    # what is left are the buckets: any bound that the page has, and no other
    line = re.compile(r'^vllm:(\w+)_seconds_bucket\{engine="(\d)",le="([^"]+)",model_name="[^"]+"\} (\S+)$', re.M)
    assert points == {
        f"{VLLM_BUCKET}{engine} metric={VLLM_BUCKETS[family]} le={bound}": {"count_total": float(count)}
        for family, engine, bound, count in line.findall(page("vllm_0.33.0_generated"))
        if family in VLLM_BUCKETS
    }
    assert points[f"{VLLM_BUCKET}1 metric=ttft le=0.25"] == {"count_total": 597.0}


def test_vllm_v0_names() -> None:
    text = """
vllm:num_requests_running{model_name="m"} 3.0
vllm:num_requests_swapped{model_name="m"} 1.0
vllm:num_requests_waiting{model_name="m"} 2.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.25
vllm:prompt_tokens_total{model_name="m"} 9000.0
vllm:generation_tokens_total{model_name="m"} 500.0
vllm:num_preemptions_total{model_name="m"} 0.0
vllm:request_success_total{finished_reason="stop",model_name="m"} 8.0
vllm:request_success_total{finished_reason="abort",model_name="m"} 2.0
vllm:time_to_first_token_seconds_sum{model_name="m"} 1.5
vllm:time_to_first_token_seconds_count{model_name="m"} 10.0
vllm:time_per_output_token_seconds_sum{model_name="m"} 12.5
vllm:time_per_output_token_seconds_count{model_name="m"} 490.0
vllm:e2e_request_latency_seconds_sum{model_name="m"} 14.0
vllm:e2e_request_latency_seconds_count{model_name="m"} 10.0
vllm:request_generation_tokens_sum{model_name="m"} 480.0
vllm:avg_generation_throughput_toks_per_s{model_name="m"} 77.0
"""
    result = read(text, "vllm")
    assert told(result.points) == {
        "inference server=vllm level=engine model=m": {
            "output_tokens_total": 500.0,
            "input_tokens_total": 9000.0,
            "requests_ok_total": 8.0,
            "requests_aborted_total": 2.0,
            "preemptions_total": 0.0,
            "requests_running": 3.0,
            "requests_waiting": 2.0,
            "kv_cache_ratio": 0.25,
            "ttft_seconds_sum": 1.5,
            "ttft_seconds_count": 10.0,
            "itl_seconds_sum": 12.5,
            "itl_seconds_count": 490.0,
            "e2e_seconds_sum": 14.0,
            "e2e_seconds_count": 10.0,
        }
    }
    assert (result.missing, result.rejected) == ((), ())


def test_vllm_of_several_api_servers_counts_each_engine_once() -> None:
    # Pages of several processes carry no creation times; the process' start stands for the engine's.
    text = """
process_start_time_seconds 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="m",api_server="0"} 300
vllm:generation_tokens_total{engine="0",model_name="m",api_server="1"} 200
vllm:generation_tokens_total{engine="1",model_name="m",api_server="0"} 70
vllm:kv_cache_usage_perc{engine="0",model_name="m",api_server="0"} 0.7
vllm:kv_cache_usage_perc{engine="0",model_name="m",api_server="1"} 0.7
"""
    assert told(read(text, "vllm").points) == {
        "inference server=vllm level=engine model=m engine=0": {
            "output_tokens_total": 500.0,
            "kv_cache_ratio": 0.7,
            "start_time_seconds": 1.7e9,
        },
        "inference server=vllm level=engine model=m engine=1": {
            "output_tokens_total": 70.0,
            "start_time_seconds": 1.7e9,
        },
    }


def test_vllm_estimates_speculation_and_sleep() -> None:
    text = """
vllm:generation_tokens_total{engine="0",model_name="m"} 10
vllm:estimated_flops_per_gpu_total{engine="0",model_name="m"} 1.2e+15
vllm:estimated_read_bytes_per_gpu_total{engine="0",model_name="m"} 8e+12
vllm:estimated_write_bytes_per_gpu_total{engine="0",model_name="m"} 2e+11
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 900
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 610
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="awake"} 0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="weights_offloaded"} 1
"""
    assert told(read(text, "vllm").points) == {
        "inference server=vllm level=engine model=m engine=0": {
            "output_tokens_total": 10.0,
            "flops_total": 1.2e15,
            "device_read_bytes_total": 8e12,
            "device_written_bytes_total": 2e11,
            "spec_draft_total": 900.0,
            "spec_accepted_total": 610.0,
            "awake": 0,
        }
    }


# --- SGLang

SGLANG = "server=sglang model=Qwen/Qwen3-235B-A22B metric="


def test_sglang_ranks_priorities_and_both_clocks() -> None:
    assert exactly("sglang_0.5.23_dp_attention", "sglang") == {
        "inference server=sglang level=engine clock=final model=Qwen/Qwen3-235B-A22B": {
            # two data-parallel engines, each told by two tensor-parallel ranks, of which the fresher counts
            "live_output_tokens_total": 100000.0 + 70000.0,
            "live_input_computed_tokens_total": 500000.0 + 300000.0,
            "live_input_cached_tokens_total": 40000.0 + 10000.0,
            "requests_running": 6.0 + 4.0,
            "requests_waiting": 3.0 + 1.0,
            "preemptions_total": 2.0,
            # shares and times are not added
            "kv_cache_ratio": 0.62,
            "scheduler_idle_seconds_total": 80.25,
            "flops_total": 4.5e17,
            "device_read_bytes_total": 8e14,
            "device_written_bytes_total": 2e13,
            # finished requests, split by priority without a total
            "output_tokens_total": 90000.0 + 60000.0 + 15000.0,
            "input_tokens_total": 500000.0 + 200000.0 + 140000.0,
            "input_cached_tokens_total": 30000.0 + 12000.0 + 3000.0,
            "requests_ok_total": 300.0 + 50.0,
            "requests_aborted_total": 7.0,
            "ttft_seconds_sum": 60.5 + 100.25,
            "ttft_seconds_count": 350.0,
            "itl_seconds_sum": 2400.0,
            "itl_seconds_count": 149700.0,
            "e2e_seconds_sum": 2460.5,
            "e2e_seconds_count": 300.0,
        },
        f"inference_latency {SGLANG}ttft le=0.1": {"count_total": 121.0},
        f"inference_latency {SGLANG}ttft le=+Inf": {"count_total": 350.0},
        f"inference_latency {SGLANG}itl le=0.02": {"count_total": 148000.0},
        f"inference_latency {SGLANG}itl le=+Inf": {"count_total": 149700.0},
        f"inference_latency {SGLANG}e2e le=10.0": {"count_total": 280.0},
        f"inference_latency {SGLANG}e2e le=+Inf": {"count_total": 300.0},
    }


def test_sglang_ranks_of_a_plain_pipeline_do_not_double() -> None:
    text = "".join(
        f'sglang:realtime_tokens_total{{model_name="m",engine_type="unified",mode="decode",tp_rank="{tp}",pp_rank="{pp}"}}'
        " 1000\n"
        for tp in range(4)
        for pp in range(2)
    )
    assert told(read(text, "sglang").points) == {
        "inference server=sglang level=engine clock=final model=m": {"live_output_tokens_total": 1000.0}
    }


def test_sglang_early_names() -> None:
    points = exactly("sglang_docs", "sglang")
    assert points.pop("inference server=sglang level=engine clock=final model=meta-llama/Llama-3.1-8B-Instruct") == {
        "output_tokens_total": 7557572.0,
        "input_tokens_total": 8128902.0,
        "requests_running": 162.0,
        "requests_waiting": 2826.0,
        "kv_cache_ratio": 0.28,
        "ttft_seconds_sum": 2351897.9474117756,
        "ttft_seconds_count": 11008.0,
        "itl_seconds_sum": 866964.5791549598,
        "itl_seconds_count": 7400757.0,
        "e2e_seconds_sum": 3116093.850019932,
        "e2e_seconds_count": 11228.0,
    }
    tags = "inference_latency server=sglang model=meta-llama/Llama-3.1-8B-Instruct"
    assert points[f"{tags} metric=itl le=0.1"] == {"count_total": 4950195.0}
    assert points[f"{tags} metric=e2e le=60.0"] == {"count_total": 1513.0}
    # 21 bounds of time to first token, 16 of the whole, 19 per token
    assert len(points) == 21 + 16 + 19


def test_sglang_disaggregated_roles() -> None:
    labels = 'model_name="m",tp_rank="0",pp_rank="0"'
    text = f"""
sglang:realtime_tokens_total{{{labels},engine_type="prefill",mode="prefill_compute"}} 7000
sglang:num_running_reqs{{{labels},engine_type="prefill"}} 1
sglang:num_queue_reqs{{{labels},engine_type="prefill"}} 2
sglang:num_prefill_inflight_queue_reqs{{{labels},engine_type="prefill"}} 5
sglang:num_decode_transfer_queue_reqs{{{labels},engine_type="prefill"}} 0
sglang:prompt_tokens_total{{model_name="m",engine_type="prefill"}} 6500
"""
    result = read(text + text.replace("prefill", "decode").replace("decode_compute", "decode"), "sglang")
    assert told(result.points) == {
        "inference server=sglang level=engine clock=final model=m role=prefill": {
            "live_input_computed_tokens_total": 7000.0,
            "requests_running": 1.0,
            "requests_waiting": 2.0 + 5.0 + 0.0,
            "input_tokens_total": 6500.0,
        },
        "inference server=sglang level=engine clock=final model=m role=decode": {
            "live_output_tokens_total": 7000.0,
            "requests_running": 1.0,
            "requests_waiting": 2.0,
            "input_tokens_total": 6500.0,
        },
    }
