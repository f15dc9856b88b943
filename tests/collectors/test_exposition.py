"""Recorded pages to points, values read by eye, and Debian's node_exporter."""

from datetime import timedelta
from pathlib import Path

import pytest
from pages import TIME_NS, one, page, poll, read, target
from services import free_port, listens, program, running

from collectors.exposition import collector as exposition
from collectors.exposition.collector import ExpositionCollector
from collectors.profile import load_profile


def test_vllm_engines_are_rows() -> None:
    result = read(page("vllm_0.33.0_generated"), "vllm")
    engine = one(result, "inference", engine="1")
    assert dict(engine.tags) == {
        "endpoint": "engine-1",
        "server": "vllm",
        "level": "engine",
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
        "tpot_seconds_sum": 4.829999999999996,
        "tpot_seconds_count": 161.0,
        "start_time_seconds": 1795297731.0499177,
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
    assert len([point for point in result.points if point.measurement == "gpu"]) == 8
    busy = one(result, "gpu", gpu_index="0")
    assert dict(busy.tags) == {
        "host": "engine-1",
        "gpu": "GPU-5f1c0000-9b1e-4c1d-a0f3-012345678900",
        "gpu_index": "0",
        "model": "NVIDIA H100 80GB HBM3",
        "vendor": "nvidia",
        "namespace": "prod-llm",
        "pod": "llama-70b-0-7c9d",
        "exporter": "dcgm",
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
