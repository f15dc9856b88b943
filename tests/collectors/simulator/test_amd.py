"""The page of AMD's exporter: names, labels and units, against the factory's own state."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from collectors.simulator.amd import AmdPage
from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host, build_layout

START = 1_760_000_000.0


@pytest.fixture
def factory() -> Factory:
    made = Factory(build_layout(64), seed=1, start=START)
    made.advance(START + 3)
    return made


def amd_host(factory: Factory) -> Host:
    return next(host for host in factory.layout.hosts if host.gpu_source == "amd")


def render(factory: Factory, now: float) -> dict[str, list[Sample]]:
    """Return the samples of each family, in the order of the GPUs."""
    text = AmdPage(factory, amd_host(factory)).render(now)
    return {family.name: list(family.samples) for family in text_string_to_metric_families(text)}


def test_units_are_those_of_the_exporter(factory: Factory) -> None:
    gpus, first = factory.state.gpus, amd_host(factory).gpu_start
    page = render(factory, START + 3.5)
    for place in range(8):
        at = first + place
        joules = gpus.energy_joules.base[at] + 0.5 * gpus.power_watts[at]
        assert page["gpu_energy_consumed"][place].value == pytest.approx(joules * 1e6, abs=1)
        assert page["gpu_package_power"][place].value == int(gpus.power_watts[at])
        assert page["gpu_gfx_activity"][place].value == round(gpus.utilization_ratio[at] * 100)
        assert page["gpu_prof_sm_active"][place].value == round(gpus.sm_active_ratio[at] * 100)
        assert page["gpu_junction_temperature"][place].value == int(gpus.temperature_celsius[at])
        used, total = page["gpu_used_vram"][place].value, page["gpu_total_vram"][place].value
        # 288 GB of memory, 88 % of it taken by a serving engine
        assert total == pytest.approx(288 * 1024, rel=1e-3)
        assert used == pytest.approx(0.88 * total, abs=1)
        assert page["gpu_free_vram"][place].value == total - used
    clocks = {sample.labels["clock_type"]: sample for sample in page["gpu_clock"]}
    assert clocks["system"].value == int(gpus.sm_clock_hertz[first + 7] / 1e6)
    assert clocks.keys() == {"system", "memory"}


def test_energy_is_a_gauge_that_counts(factory: Factory) -> None:
    text = AmdPage(factory, amd_host(factory)).render(START + 3)
    kinds = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    assert set(kinds.values()) == {"gauge"}
    at = amd_host(factory).gpu_start
    watts = [factory.state.gpus.power_watts[at]]
    before = render(factory, START + 3)["gpu_energy_consumed"][0].value
    for second in (4, 5):
        factory.advance(START + second)
        watts.append(factory.state.gpus.power_watts[at])
    after = render(factory, START + 5.5)["gpu_energy_consumed"][0].value
    assert after - before == pytest.approx((watts[0] + watts[1] + 0.5 * watts[2]) * 1e6, abs=2)


def test_labels_name_board_partition_and_pod(factory: Factory) -> None:
    host = amd_host(factory)
    for place, sample in enumerate(render(factory, START + 3)["gpu_power_usage"]):
        labels = sample.labels
        assert labels["gpu_uuid"] == factory.layout.gpu_uuids[host.gpu_start + place]
        assert not labels["gpu_uuid"].startswith("GPU-")
        assert (labels["gpu_id"], labels["gpu_partition_id"]) == (str(place), "0")
        assert (labels["gpu_compute_partition_type"], labels["gpu_memory_partition_type"]) == ("spx", "nps1")
        assert (labels["hostname"], labels["card_model"]) == (host.name, "AMD Instinct MI355X")
        assert (labels["pod"], labels["container"]) == (f"{host.deployment}-{host.name}", "main")
        assert (labels["job_id"], labels["deployment_mode"]) == ("", "baremetal")
    factory.faults.inject("scale_down", host.name, START + 3)
    factory.advance(START + 20)
    freed = render(factory, START + 20)["gpu_power_usage"][0].labels
    assert (freed["pod"], freed["namespace"], freed["kfd_process_id"]) == ("", "", "")


def test_gpu_that_is_reset_is_away_and_counts_from_zero(factory: Factory) -> None:
    host = amd_host(factory)
    factory.faults.inject("gpu_reset", f"{host.name}/2", START + 3)
    factory.advance(START + 25)
    page = render(factory, START + 25)
    assert [sample.labels["gpu_id"] for sample in page["gpu_power_usage"]] == list("0134567")
    assert page["gpu_nodes_total"][0].value == 7
    # drained for 20 s, away for 5 s
    factory.advance(START + 29)
    energy = render(factory, START + 29)["gpu_energy_consumed"][2].value
    assert energy == pytest.approx(1 * factory.state.gpus.power_watts[host.gpu_start + 2] * 1e6, rel=0.1)
