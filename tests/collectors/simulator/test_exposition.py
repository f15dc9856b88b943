"""The metrics pages of the simulator, over HTTP, against the factory's own state."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
import pytest
from devices import target_of
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from collectors.collector import DeviceRefusedError, DeviceTimeoutError, PollResult
from collectors.exposition import collector
from collectors.exposition.text import Parser
from collectors.profile import load_profile
from collectors.simulator import exposition as simulator
from collectors.simulator.dcgm import DcgmPage
from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host, build_layout
from collectors.simulator.service import Device, Service
from collectors.simulator.vllm import E2E_BOUNDS, Histogram, VllmPage, go_float
from storage.point import Point

START = 1_760_000_000.0


@dataclass(slots=True)
class Site:
    """A factory of 64 GPUs, its pages, and the clock that both live by."""

    factory: Factory
    now: float
    service: Service = field(init=False)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.factory.advance(self.now)

    def device(self, name: str) -> Device:
        return next(device for device in self.service.devices if device.name == name)

    def host(self, fits: Callable[[Host], bool]) -> Host:
        """Return the first host on dcgm-exporter that fits and does what it is for."""
        working = {"inference": "busy", "training": "busy", "none": "unallocated_idle"}
        return next(
            host
            for host in self.factory.layout.hosts
            if host.gpu_source == "dcgm" and fits(host) and self.condition(host) == working[host.workload]
        )

    def condition(self, host: Host) -> str:
        return self.factory.state.gpus.condition[host.gpu_start]

    def vllm(self) -> Host:
        return self.host(lambda host: host.workload == "inference" and host.deployment != "reasoning")

    async def page(self, name: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(self.device(name).url) as response:
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return await response.text()

    async def poll(self, name: str, timeout: timedelta = timedelta(seconds=20)) -> PollResult:
        device = self.device(name)
        opened = collector.open_collector(target_of(device, timeout=timeout), load_profile(device.profile or ""))
        try:
            return await opened.poll(int(self.now * 1e9))
        finally:
            await opened.aclose()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(Factory(build_layout(64), seed=1, start=START), START + 0.25)
    made.service = await simulator.start(made.factory, lambda: made.now)
    yield made
    await made.service.close()


def gpus(result: PollResult) -> list[Point]:
    return [point for point in result.points if point.measurement == "gpu"]


def gpu(result: PollResult, uuid: str) -> Point:
    return next(point for point in gpus(result) if point.tags["gpu"] == uuid)


def test_every_dcgm_host_and_every_engine_is_a_device(site: Site) -> None:
    hosts = site.factory.layout.hosts
    by_profile = {
        profile: {device.name for device in site.service.devices if device.profile == profile}
        for profile in ("dcgm_exporter", "amd_exporter", "vllm", "sglang")
    }
    assert by_profile["dcgm_exporter"] == {host.name for host in hosts if host.gpu_source == "dcgm"}
    assert by_profile["amd_exporter"] == {host.name for host in hosts if host.gpu_source == "amd"}
    serving = [host for host in hosts if host.engine is not None]
    assert by_profile["vllm"] == {f"vllm-{host.name}" for host in serving if host.deployment != "reasoning"}
    assert by_profile["sglang"] == {f"sglang-{host.name}" for host in serving if host.deployment == "reasoning"}
    assert {len(names) for names in by_profile.values()} == {6, 1, 4, 2}
    assert {device.interval_seconds for device in site.service.devices} == {5.0}


async def test_gpu_readings_are_those_of_the_factory(site: Site) -> None:
    host = site.host(lambda h: h.workload == "inference")
    site.pass_time(3)
    result = await site.poll(host.name)
    assert (result.missing, result.rejected) == ((), ())
    state = site.factory.state.gpus
    for place in range(host.gpu_count):
        at = host.gpu_start + place
        fields = gpu(result, site.factory.layout.gpu_uuids[at]).fields
        assert fields["power_watts"] == pytest.approx(state.power_watts[at], abs=1e-6)
        assert fields["energy_joules_total"] == pytest.approx(
            state.energy_joules.base[at] + state.energy_joules.rate[at] * 0.25, abs=1.1e-3
        )
        assert fields["utilization_ratio"] == pytest.approx(state.utilization_ratio[at], abs=0.005001)
        assert fields["tensor_active_ratio"] == pytest.approx(state.tensor_active_ratio[at], abs=1e-6)
        assert fields["memory_used_bytes"] == pytest.approx(state.memory_used_bytes[at], abs=2**20)
        assert fields["temperature_celsius"] == math.floor(state.temperature_celsius[at])
        assert fields["power_limit_watts"] == state.power_limit_watts
        assert fields["clock_event_mask"] == state.clock_event_mask[at]
        assert fields["throttle_power_seconds_total"] == pytest.approx(
            state.throttle_power_seconds.at(site.now)[at], abs=1e-6
        )


async def test_energy_between_two_polls_is_power_times_time(site: Site) -> None:
    host = site.host(lambda h: h.workload == "training")
    uuid = site.factory.layout.gpu_uuids[host.gpu_start]
    before = gpu(await site.poll(host.name), uuid).fields["energy_joules_total"]
    watts = []
    for _ in range(20):
        watts.append(float(site.factory.state.gpus.power_watts[host.gpu_start]))
        site.pass_time(1)
    watts.append(float(site.factory.state.gpus.power_watts[host.gpu_start]))
    after = gpu(await site.poll(host.name), uuid).fields["energy_joules_total"]
    # from a quarter past the first second to a quarter past the last
    joules = 0.75 * watts[0] + sum(watts[1:-1]) + 0.25 * watts[-1]
    assert float(after) - float(before) == pytest.approx(joules, abs=2e-3)


async def test_lost_gpu_vanishes_and_the_others_stay(site: Site) -> None:
    host = site.host(lambda h: h.workload == "inference")
    site.factory.faults.inject("gpu_lost", f"{host.name}/3", site.now)
    site.pass_time(2)
    result = await site.poll(host.name)
    lost = site.factory.layout.gpu_uuids[host.gpu_start + 3]
    assert len(gpus(result)) == 7
    assert lost not in await site.page(host.name)
    site.factory.faults.clear("gpu_lost", f"{host.name}/3")
    site.pass_time(2)
    assert len(gpus(await site.poll(host.name))) == 8


async def test_pod_stands_on_assigned_gpus_only(site: Site) -> None:
    busy = site.host(lambda h: h.workload == "inference")
    free = site.host(lambda h: h.workload == "none")
    assert {p.tags["pod"] for p in gpus(await site.poll(busy.name))} == {f"{busy.deployment}-{busy.name}"}
    assert all("pod" not in point.tags for point in gpus(await site.poll(free.name)))


async def test_tokens_and_requests_are_those_of_the_factory(site: Site) -> None:
    host = site.vllm()
    site.pass_time(5)
    result = await site.poll(f"vllm-{host.name}")
    assert (result.missing, result.rejected) == ((), ())
    engines, at = site.factory.state.engines, host.engine
    assert at is not None
    fields = next(point for point in result.points if point.measurement == "inference").fields

    def count(counters: object) -> int:
        return math.floor(counters.at(site.now)[at])  # type: ignore[attr-defined]

    assert fields["output_tokens_total"] == count(engines.output_tokens)
    assert fields["input_tokens_total"] == count(engines.prompt_tokens)
    assert fields["input_cached_tokens_total"] == count(engines.cached_tokens)
    assert fields["input_computed_tokens_total"] == count(engines.prompt_tokens) - count(engines.cached_tokens)
    assert fields["requests_ok_total"] == count(engines.requests_ok)
    assert fields["requests_aborted_total"] == count(engines.requests_aborted)
    assert fields["requests_running"] == round(engines.running[at])
    assert fields["kv_cache_ratio"] == pytest.approx(engines.kv_ratio[at])


async def test_latency_between_two_polls_is_the_mean_that_held(site: Site) -> None:
    host = site.vllm()
    polls = []
    for _ in range(2):
        result = await site.poll(f"vllm-{host.name}")
        polls.append(next(point for point in result.points if point.measurement == "inference").fields)
        mean = float(site.factory.state.engines.itl_seconds[host.engine or 0])
        site.pass_time(1)
    seconds = float(polls[1]["itl_seconds_sum"]) - float(polls[0]["itl_seconds_sum"])
    gaps = float(polls[1]["itl_seconds_count"]) - float(polls[0]["itl_seconds_count"])
    assert gaps > 100
    assert seconds / gaps == pytest.approx(mean, rel=1e-3)


async def test_buckets_grow_and_agree_with_the_count(site: Site) -> None:
    host = site.vllm()
    name = "vllm:e2e_request_latency_seconds"
    last: list[float] = [0.0] * (len(E2E_BOUNDS) + 1)
    for _ in range(4):
        page = Parser().parse(await site.page(f"vllm-{host.name}"))
        buckets = list(page.samples[f"{name}_bucket"].values())
        assert buckets == sorted(buckets)
        assert all(now >= before for now, before in zip(buckets, last, strict=True))
        assert [buckets[-1]] == list(page.samples[f"{name}_count"].values())
        last = buckets
        site.pass_time(30)


def test_histogram_mean_lies_between_its_bucket_bounds() -> None:
    histogram = Histogram((0.5, 1.0, 2.0, 4.0))
    histogram.grow(100_000, 1.0)
    *below, total, count, seconds = histogram.values()
    assert (total, count, seconds) == (100_000, 100_000, 100_000)
    at_most = sum(b * n for b, n in zip((0.5, 1.0, 2.0, 4.0), _fresh(below), strict=True))
    at_least = sum(b * n for b, n in zip((0.0, 0.5, 1.0, 2.0), _fresh(below), strict=True))
    assert at_least < seconds < at_most * 1.05


def _fresh(cumulative: list[float]) -> list[float]:
    return [after - before for before, after in zip([0.0, *cumulative], cumulative, strict=False)]


async def test_engine_restart_resets_counters_and_moves_the_start_time(site: Site) -> None:
    host = site.vllm()
    before = Parser().parse(await site.page(f"vllm-{host.name}")).samples
    site.factory.faults.inject("engine_restart", host.name, site.now)
    site.pass_time(45)
    after = Parser().parse(await site.page(f"vllm-{host.name}")).samples
    assert after["process_start_time_seconds"][""] > before["process_start_time_seconds"][""]
    for name in ("vllm:generation_tokens_total", "vllm:e2e_request_latency_seconds_count"):
        assert next(iter(after[name].values())) < next(iter(before[name].values()))


async def test_pages_satisfy_prometheus_client(site: Site) -> None:
    host = site.vllm()
    for name in (host.name, f"vllm-{host.name}"):
        text = await site.page(name)
        printed = sum(not line.startswith("#") for line in text.splitlines())
        assert sum(len(family.samples) for family in text_string_to_metric_families(text)) == printed


@pytest.mark.parametrize("value", [0.0, 0.2, 72.0, 559774.0, 2211001.0, 1e7, 1760000000.25, 123456789.125, 1e-7])
def test_numbers_look_as_those_of_prometheus_client(value: float) -> None:
    assert go_float(value) == floatToGoString(value)


async def test_silent_device_does_not_answer_and_comes_back(site: Site) -> None:
    name = site.service.devices[0].name
    site.factory.silent.add(name)
    with pytest.raises(DeviceTimeoutError):
        await site.poll(name, timeout=timedelta(seconds=0.3))
    other = site.service.devices[-1].name
    assert (await site.poll(other)).points
    site.factory.silent.discard(name)
    assert (await site.poll(name)).points


async def test_slow_device_answers_late(site: Site) -> None:
    name = site.service.devices[0].name
    site.factory.slow[name] = 0.3
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert (await site.poll(name)).points
    assert loop.time() - start >= 0.3


async def test_server_that_is_gone_refuses_and_its_exporter_answers(site: Site) -> None:
    host = site.vllm()
    site.factory.faults.inject("scale_down", host.name, site.now)
    site.pass_time(20)
    with pytest.raises(DeviceRefusedError):
        await site.poll(f"vllm-{host.name}")
    assert len(gpus(await site.poll(host.name))) == 8
    assert all("pod" not in point.tags for point in gpus(await site.poll(host.name)))
    site.factory.faults.clear("scale_down", host.name)
    site.pass_time(25)
    fields = (await site.poll(f"vllm-{host.name}")).points[0].fields
    # back since the clearing step at second 21 and the 20 s of loading: four seconds and a quarter at work
    engines = site.factory.state.engines
    assert fields["output_tokens_total"] == pytest.approx(4.25 * engines.output_tokens.rate[host.engine], rel=0.05)


async def test_stale_exporter_repeats_its_page_until_it_is_cured(site: Site) -> None:
    host = site.host(lambda h: h.workload == "training")
    site.factory.faults.inject("exporter_stale", host.name, site.now)
    site.pass_time(2)
    first = await site.page(host.name)
    site.pass_time(30)
    assert await site.page(host.name) == first
    site.factory.faults.clear("exporter_stale", host.name)
    site.pass_time(2)
    assert await site.page(host.name) != first


async def test_unknown_path_is_not_found(site: Site) -> None:
    url = site.service.devices[0].url.replace("/metrics", "/nothing")
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 404


def test_pages_are_cheap(site: Site) -> None:
    host = site.vllm()
    assert host.engine is not None
    for page, limit in ((DcgmPage(site.factory, host), 1.5e-3), (VllmPage(site.factory, host, host.engine), 1.5e-3)):
        page.render(site.now)
        assert min(_cpu_seconds(page, site) for _ in range(5)) < limit


def _cpu_seconds(page: DcgmPage | VllmPage, site: Site) -> float:
    site.pass_time(1)
    start = time.process_time()
    for step in range(20):
        page.render(site.now + step / 100)
    return (time.process_time() - start) / 20
