"""GPU exporters: recorded and made pages to points, values read by eye."""

import pytest
from aiohttp import web
from pages import TIME_NS, one, page, read, serve

from collectors.collector import Target
from collectors.exposition.collector import identify
from collectors.exposition.match import Match
from collectors.probe import not_given
from collectors.profile import Profile, load_profile
from storage.config import ConfigError

GPU_PROFILES = ("amd_exporter", "dcgm_exporter", "intel_xpum", "telegraf_nvidia_smi")


# --- dcgm-exporter


def test_dcgm_slices_boards_jobs_and_links() -> None:
    result = read(page("dcgm_exporter_mig_links_SYNTHETIC"), "dcgm_exporter")
    sliced, whole = (f"GPU-aaaa0000-0000-4000-8000-00000000000{n}" for n in (1, 2))
    boards = {p.tags["gpu"]: p for p in result.points if p.measurement == "gpu" and "mig" not in p.tags}
    assert set(boards) == {sliced, whole}
    # both slices repeat the board's 301.25 W, and one of them a blank memory temperature
    assert boards[sliced].fields == {
        "power_watts": 301.25,
        "energy_joules_total": 7_200_000.0,
        "memory_temperature_celsius": 71.0,
    }
    assert dict(boards[whole].tags) == {
        "host": "engine-1",
        "gpu": whole,
        "gpu_index": "1",
        "model": "NVIDIA H100 80GB HBM3",
        "vendor": "nvidia",
        "job": "48211",
        "exporter": "dcgm",
    }
    assert boards[whole].fields == {
        "power_watts": 655.5,
        "energy_joules_total": 9_300_000.0,
        "temperature_celsius": 64.0,
        "throttle_power_seconds_total": 42.5,
        "rows_remapped_total": 2 + 3,
        "row_remap_pending": 1,
        "recovery_action": 1,
        "nvlink_recovery_total": 4 + 5,
        "memory_used_bytes": 60_000 * 2**20,
    }
    assert one(result, "gpu", mig="1").fields == {"memory_used_bytes": 30_000 * 2**20, "sm_active_ratio": 0.6125}
    assert one(result, "gpu", mig="2").fields == {"memory_used_bytes": 1_000 * 2**20, "sm_active_ratio": 0.0}
    assert one(result, "gpu", mig="2").tags["pod"] == "small-1"
    assert len(result.rejected) == 1
    assert "2147483632" in result.rejected[0]


def test_dcgm_labels_tell_what_a_board_is() -> None:
    result = read(page("dcgm_exporter_mig_links_SYNTHETIC"), "dcgm_exporter")
    info = one(result, "gpu_info", gpu="GPU-aaaa0000-0000-4000-8000-000000000002")
    assert dict(info.tags) == {"host": "engine-1", "gpu": "GPU-aaaa0000-0000-4000-8000-000000000002"}
    assert info.fields == {
        "driver": "550.144.03",
        "vbios": "96.00.89.00.01",
        "serial": "1650000000002",
        "pci_bus_id": "00000000:2A:00.0",
    }


def test_dcgm_default_page_gives_every_board() -> None:
    result = read(page("dcgm_exporter_4.8_h100x8_SYNTHETIC"), "dcgm_exporter")
    boards = [p for p in result.points if p.measurement == "gpu"]
    assert [p.tags["gpu_index"] for p in boards] == list("01234567")
    assert {p.tags["exporter"] for p in boards} == {"dcgm"}
    ghost = one(result, "gpu", gpu_index="6")
    assert (ghost.fields["utilization_ratio"], "pod" in ghost.tags) == (1.0, False)
    assert one(result, "gpu_info", gpu=boards[0].tags["gpu"]).fields["driver"] == "570.172.08"
    assert (result.missing, result.rejected) == ((), ())


@pytest.mark.parametrize("label", ["UUID", "uuid", "gpu_uuid"])
def test_dcgm_spellings_of_the_uuid(label: str) -> None:
    text = f'DCGM_FI_DEV_POWER_USAGE{{gpu="0",{label}="GPU-1"}} 300\n'
    assert one(read(text, "dcgm_exporter"), "gpu", gpu="GPU-1").fields == {"power_watts": 300.0}


def test_dcgm_later_field_names() -> None:
    text = """
DCGM_FI_DEV_BOARD_POWER_WATTS{gpu="0",UUID="GPU-1"} 301.5
DCGM_FI_DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS{gpu="0",UUID="GPU-1"} 700
DCGM_FI_DEV_GPU_TEMP_CELSIUS{gpu="0",UUID="GPU-1"} 61
DCGM_FI_DEV_GPU_TEMP_MARGIN_CELSIUS{gpu="0",UUID="GPU-1"} 24
"""
    assert one(read(text, "dcgm_exporter"), "gpu").fields == {
        "power_watts": 301.5,
        "power_limit_watts": 700.0,
        "temperature_celsius": 61.0,
        "temperature_margin_celsius": 24.0,
    }


def test_pods_that_share_a_board_count_its_links_once() -> None:
    text = "".join(
        f'DCGM_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS{{nvlink="{link}",gpu_uuid="GPU-1",pod="{pod}"}} {events}\n'
        for link, events in ((0, 4), (1, 5))
        for pod in ("a", "b")
    )
    assert one(read(text, "dcgm_exporter"), "gpu").fields == {"nvlink_recovery_total": 9.0}


def test_xids_and_rates_of_dcgm_are_not_taken_for_events_and_counters() -> None:
    text = """
DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} 300
DCGM_FI_DEV_XID_ERRORS{UUID="GPU-1"} 79
DCGM_EXP_XID_ERRORS_COUNT{UUID="GPU-1",xid="79",window_size_in_ms="300000"} 2
DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL{UUID="GPU-1"} 31583387
DCGM_FI_PROF_PCIE_TX_BYTES{UUID="GPU-1"} 62161500
"""
    result = read(text, "dcgm_exporter")
    assert [(p.measurement, dict(p.fields)) for p in result.points] == [("gpu", {"power_watts": 300.0})]
    told = "\n".join(not_given(load_profile("dcgm_exporter"), result))
    assert "gpu_event.code: DCGM_FI_DEV_XID_ERRORS keeps the last Xid" in told
    assert "gpu.power_limit_watts: add `DCGM_FI_DEV_ENFORCED_POWER_LIMIT, gauge, W` to the counters file" in told


def labelled(label: str) -> Profile:
    group = {
        "each": {"labels": ["uuid"]},
        "tags": {"gpu": "{uuid}"},
        "points": [{"to": "gpu.power_watts", "at": "watts"}, {"to": "gpu_info.driver", "at": ["driver", label]}],
    }
    about = {"profile": "x", "model": "x", "kind": "gpu", "protocol": "exposition", "source": "a test"}
    return Profile.model_validate({**about, "groups": [group]})


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (['uuid="a",driver="1"'], ["1"]),
        (['uuid="a",release="2"'], ["2"]),
        (['uuid="a",pod="x",driver="1"', 'uuid="a",pod="y",driver="1"'], ["1"]),
        (['uuid="a",pod="x",driver="1"', 'uuid="a",pod="y",driver="2"'], []),
        (['uuid="a"'], []),
    ],
)
def test_a_text_field_takes_the_label_that_all_samples_of_its_row_have(rows: list[str], told: list[str]) -> None:
    result = read("".join(f"watts{{{row}}} 100\n" for row in rows), labelled("release"))
    assert [p.fields["driver"] for p in result.points if p.measurement == "gpu_info"] == told
    assert result.missing == ()


def test_a_text_field_takes_no_label_that_tells_of_a_person() -> None:
    with pytest.raises(ConfigError, match="user_email"):
        read('watts{uuid="a"} 1\n', labelled("user_email"))


# --- AMD


def test_amd_boards_whole_and_partitioned() -> None:
    result = read(page("amd_device_metrics_exporter_mi300x_SYNTHETIC"), "amd_exporter")
    whole = one(result, "gpu", gpu="72ff740f-0000-1000-804c-3b58bf67050e")
    # two pods share it: its namespace is theirs, its pod is neither
    assert dict(whole.tags) == {
        "host": "engine-1",
        "gpu": "72ff740f-0000-1000-804c-3b58bf67050e",
        "gpu_index": "0",
        "model": "102-G30211-0C",
        "vendor": "amd",
        "namespace": "ai",
        "exporter": "amd",
    }
    assert whole.fields == pytest.approx(
        {
            "power_watts": 748.0,
            "energy_joules_total": 1.4e14 / 1e6,
            "temperature_celsius": 76.0,
            "utilization_ratio": 0.87,
            "memory_copy_ratio": 0.41,
            "tensor_active_ratio": 0.235,
            # the fastest of the domains that know their clock
            "sm_clock_hertz": 1.540e9,
            "memory_clock_hertz": 1.292e9,
            "pcie_replay_total": 3.0,
            "ecc_corrected_total": 12.0,
            "ecc_uncorrected_total": 0.0,
            "memory_used_bytes": 183_265 * 2**20,
            "memory_total_bytes": 196_592 * 2**20,
        }
    )
    # of a partitioned board partition 0 tells power and energy; partition 1 says 0, and is no board
    parted = one(result, "gpu", gpu="94ff740f-0000-1000-80a1-0c7d1e0d9a11")
    assert parted.tags["job"] == "771"
    assert parted.fields == {"power_watts": 310.0, "energy_joules_total": 2.5e7}
    assert len([p for p in result.points if p.measurement == "gpu"]) == 2
    assert len(result.rejected) == 1  # the memory temperature 65535
    info = one(result, "gpu_info", gpu=whole.tags["gpu"])
    assert info.fields == {"driver": "6.14.14", "vbios": "022.040.003.043", "serial": "692432000578"}


def test_amd_early_page() -> None:
    result = read(page("amd_device_metrics_exporter_mini_old"), "amd_exporter")
    board = one(result, "gpu")
    assert (board.tags["gpu"], board.tags["vendor"]) == ("6699c0a8-4200-4242-037f-f97e6cae0f09", "amd")
    assert board.fields == {"power_watts": 41.0, "utilization_ratio": 0.0, "memory_total_bytes": 68_702 * 2**20}
    assert one(result, "gpu_info").fields == {"serial": "692247001282"}
    assert (result.missing, result.rejected) == ((), ())


@pytest.mark.parametrize(
    ("text", "watts"),
    [
        ('gpu_package_power{gpu_uuid="a"} 700\ngpu_average_package_power{gpu_uuid="a"} 0\n', 700.0),
        ('gpu_package_power{gpu_uuid="a"} 65535\ngpu_average_package_power{gpu_uuid="a"} 255\n', 255.0),
        ('gpu_power_usage{gpu_uuid="a"} 41\n', 41.0),
        ('amd_gpu_package_power{gpu_uuid="a"} 700\n', 700.0),
    ],
)
def test_amd_power_by_order(text: str, watts: float) -> None:
    assert one(read(text, "amd_exporter"), "gpu").fields == {"power_watts": watts}


def test_amd_without_uuid_goes_by_serial_number() -> None:
    text = 'gpu_package_power{gpu_id="0",serial_number="692432000578",gpu_partition_id="0"} 700\n'
    assert one(read(text, "amd_exporter"), "gpu").tags["gpu"] == "692432000578"


def test_amd_guest_without_identity_is_told_as_missing() -> None:
    result = read('gpu_gfx_activity{gpu_id="0",serial_number="",gpu_uuid=""} 5\n', "amd_exporter")
    assert result.points == ()
    assert [line for line in result.missing if line.startswith("gpu.power_watts")]


# --- Intel


def test_xpum_board_of_two_tiles() -> None:
    result = read(page("intel_xpum_rest_SYNTHETIC"), "intel_xpum")
    board = one(result, "gpu")
    assert dict(board.tags) == {
        "host": "engine-1",
        "gpu": "00000000-0000-0029-0000-002f0bd58086",
        "model": "Intel(R) Data Center GPU Max 1550",
        "vendor": "intel",
        "namespace": "ai",
        "pod": "infer-0",
        "exporter": "xpum",
    }
    assert board.fields == {
        # the board's row, neither its tiles' nor the card's
        "power_watts": 412.25,
        "energy_joules_total": 5_123_456.789,
        # a ratio, whatever the help text says
        "utilization_ratio": 0.735,
        "sm_active_ratio": 1 - 0.25,
        "dram_active_ratio": 0.31,
        "temperature_celsius": 54.0,
        "memory_temperature_celsius": 47.0,
        "sm_clock_hertz": 1.55e9,
        "memory_used_bytes": 3.0e10 + 1.2e10,
        "pcie_tx_bytes_total": 6.0e12,
        "pcie_rx_bytes_total": 7.0e12,
    }
    assert one(result, "gpu_info").fields == {"pci_bus_id": "0000:29:00.0"}
    assert (result.missing, result.rejected) == ((), ())


def test_xpumd_page() -> None:
    result = read(page("intel_xpumd_SYNTHETIC"), "intel_xpum")
    board = one(result, "gpu")
    assert (board.tags["gpu"], board.tags["vendor"], board.tags["exporter"]) == ("8680-5e20-0000", "intel", "xpum")
    assert board.fields == {
        # the card, not the package inside it
        "power_watts": 131.5,
        "energy_joules_total": 81_234.5,
        "utilization_ratio": 0.9375,
        "temperature_celsius": 61.0,
        "memory_temperature_celsius": 72.0,
        "sm_clock_hertz": 2.4e9,
        "memory_used_bytes": 8 * 2**30,
        "memory_total_bytes": 25_669_140_480.0,
        "pcie_tx_bytes_total": 2000.0,
        "pcie_rx_bytes_total": 1000.0,
    }
    assert (result.missing, result.rejected) == ((), ())


def test_xpum_percentages_of_early_versions_are_refused() -> None:
    text = 'xpum_power_watts{uuid="a"} 100\nxpum_engine_ratio{uuid="a"} 73.5\n'
    result = read(text, "intel_xpum")
    assert one(result, "gpu").fields == {"power_watts": 100.0}
    assert len(result.rejected) == 1


# --- Telegraf


def test_telegraf_board() -> None:
    result = read(page("telegraf_nvidia_smi_SYNTHETIC"), "telegraf_nvidia_smi")
    board = one(result, "gpu")
    assert dict(board.tags) == {
        "host": "engine-1",
        "gpu": "GPU-bbbb0000-0000-4000-8000-000000000001",
        "gpu_index": "0",
        "model": "NVIDIA H100 80GB HBM3",
        "vendor": "nvidia",
        "exporter": "telegraf",
    }
    assert board.fields == {
        # the mean, not the 655.25 W of that instant
        "power_watts": 612.5,
        "power_limit_watts": 700.0,
        "utilization_ratio": 0.97,
        "memory_copy_ratio": 0.48,
        "memory_used_bytes": 72_000 * 2**20,
        "memory_reserved_bytes": 555 * 2**20,
        "memory_total_bytes": 81_559 * 2**20,
        "temperature_celsius": 63.0,
        "memory_temperature_celsius": 71.0,
        "temperature_margin_celsius": 24.0,
        "sm_clock_hertz": 1.755e9,
        "memory_clock_hertz": 2.619e9,
        "throttle_power_seconds_total": 125.0,
        "throttle_thermal_seconds_total": 2.5,
        "throttle_brake_seconds_total": 0.0,
        "throttle_sync_seconds_total": 0.0,
        "pcie_generation": 5.0,
        "pcie_width": 16.0,
        "rows_remapped_total": 1 + 2,
    }
    info = one(result, "gpu_info")
    assert info.fields == {"driver": "570.172.08", "vbios": "96.00.89.00.01", "serial": "1650000000003"}
    assert (result.missing, result.rejected) == ((), ())


def test_telegraf_of_an_old_driver_gives_what_it_has() -> None:
    text = 'nvidia_smi_power_draw{uuid="GPU-1",index="0"} 71.3\nnvidia_smi_temperature_gpu{uuid="GPU-1",index="0"} 31\n'
    result = read(text, "telegraf_nvidia_smi")
    assert one(result, "gpu").fields == {"power_watts": 71.3, "temperature_celsius": 31.0}
    told = "\n".join(not_given(load_profile("telegraf_nvidia_smi"), result))
    assert "gpu.energy_joules_total: nvidia-smi does not print the energy counter" in told


# --- which is which


PAGES = {
    "amd_device_metrics_exporter_mi300x_SYNTHETIC": "amd_exporter",
    "amd_device_metrics_exporter_mini_old": "amd_exporter",
    "dcgm_exporter_4.8_h100x8_SYNTHETIC": "dcgm_exporter",
    "dcgm_exporter_mig_links_SYNTHETIC": "dcgm_exporter",
    "dcgm_exporter_t4_datadog": "dcgm_exporter",
    "intel_xpum_rest_SYNTHETIC": "intel_xpum",
    "intel_xpumd_SYNTHETIC": "intel_xpum",
    "telegraf_nvidia_smi_SYNTHETIC": "telegraf_nvidia_smi",
}


@pytest.mark.parametrize(("name", "profile"), PAGES.items())
async def test_pages_of_gpu_exporters_are_recognised(name: str, profile: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=page(name))

    async with serve(answer) as url:
        asked = Target("node-1", "exposition", url)
        candidates = [load_profile(other) for other in (*GPU_PROFILES, "node_exporter", "vllm")]
        assert (await identify(asked, candidates)).profile == profile


@pytest.mark.parametrize(("name", "profile"), PAGES.items())
def test_every_row_of_a_gpu_says_who_tells_and_which_gpu(name: str, profile: str) -> None:
    points = [p for p in read(page(name), profile).points if p.measurement == "gpu"]
    assert points
    assert all(p.tags.get("exporter") and p.tags.get("vendor") and p.tags.get("gpu") for p in points)
    assert all(p.time_ns == TIME_NS for p in points)


def test_an_exporter_of_other_units_is_not_taken_for_telegraf() -> None:
    match = Match.model_validate(dict(load_profile("telegraf_nvidia_smi").match))
    assert match.score(["nvidia_smi_temperature_gpu", "nvidia_smi_power_draw_watts"]) is None
    assert match.score(["nvidia_smi_temperature_gpu", "nvidia_smi_power_draw"]) is not None
