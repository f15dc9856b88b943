"""Whose word counts: sources of a board, levels of a model, token clocks, resets, what is mapped."""

import pytest
from plant import Plant

from dashboard import settings as s
from dashboard.settings import DashboardSettings
from dashboard.site import read_site
from dashboard.snapshot import Snapshot, build


def shot(
    plant: Plant, previous: Snapshot | None = None, after: float = 1.0, settings: DashboardSettings | None = None
) -> Snapshot:
    """Return the snapshot `after` seconds past the plant's now."""
    plant.settle()
    site = previous.site if previous else read_site(plant.store)
    return build(plant.store, site, settings or DashboardSettings(), previous, plant.now + after)


def titles(snapshot: Snapshot) -> list[str]:
    return [alarm.finding.title for alarm in snapshot.alarms]


def engine(host: str = "node-1", **tags: str) -> dict[str, str]:
    known = {"endpoint": f"vllm-{host}", "server": "vllm", "model": "m", "engine": "0", "host": host, "rack": "A01"}
    return {**known, **tags}


def board(plant: Plant, exporter: str, watts: float, at: float) -> None:
    fields = {**plant.gpu_fields(at), "power_watts": watts, "energy_joules_total": 5e6 + watts * at}
    plant.put("gpu", {**plant.gpu_tags("node-1", 0), "exporter": exporter}, fields, at)


def test_of_two_sources_of_a_board_the_better_one_counts_and_the_other_is_counted(plant: Plant) -> None:
    def both(at: float) -> None:
        board(plant, "telegraf", 900.0, at)
        board(plant, "dcgm", 600.0, at)

    plant.run(skip=("GPU-node-1-0",), also=both)
    made = shot(plant)
    assert made.numbers["gpu_board_watts"].value == pytest.approx(7 * 500 + 600)
    assert (made.numbers["gpus_total"].value, len(made.layout.gpus)) == (8, 8)
    told = made.sources["gpus"]
    assert (told["exporters"], told["doubled"]) == ({"unknown": 7, "dcgm": 1}, 1)


def test_when_the_better_source_falls_silent_the_other_takes_its_place(plant: Plant) -> None:
    plant.run(end=-20.0, skip=("GPU-node-1-0",), also=lambda at: board(plant, "nvml", 500.0, at))
    plant.run(start=-15.0, skip=("GPU-node-1-0",))
    for at in range(-120, 1, 5):
        board(plant, "dcgm", 600.0, at)
    silent = shot(plant)
    assert silent.numbers["gpu_board_watts"].value == pytest.approx(7 * 500 + 600)
    assert silent.numbers["gpu_board_watts"].coverage == 1.0
    # It comes back: for its first minute the one that is known goes on, then it is taken again.
    plant.run(start=5.0, end=10.0, skip=("GPU-node-1-0",))
    for at in (5.0, 10.0):
        board(plant, "nvml", 500.0, at)
        board(plant, "dcgm", 600.0, at)
    back = shot(plant, silent, after=11.0)
    assert back.sources["gpus"]["exporters"]["nvml"] == 1
    assert back.numbers["gpu_board_watts"].value == pytest.approx(4000)


def test_boards_of_one_host_with_one_index_are_all_counted(plant: Plant) -> None:
    """Each vendor counts its boards from 0, and each container the boards that it has."""

    def other(at: float) -> None:
        tags = {"host": "node-1", "rack": "A01", "gpu": "amd-1", "gpu_index": "0", "vendor": "amd", "exporter": "amd"}
        plant.put("gpu", tags, {"power_watts": 600.0, "energy_joules_total": 1e6 + 600 * at}, at)

    plant.run(also=other)
    made = shot(plant)
    assert made.numbers["gpu_board_watts"].value == pytest.approx(8 * 500 + 600)
    assert (made.numbers["gpus_total"].value, len(set(made.layout.gpus))) == (9, 9)


def test_a_slice_of_a_board_is_no_board(plant: Plant) -> None:
    def mig(at: float) -> None:
        for slice_ in ("1g.10gb/7", "1g.10gb/8"):
            tags = {**plant.gpu_tags("node-1", 0), "mig": slice_, "exporter": "dcgm"}
            plant.put("gpu", tags, {"power_watts": 500.0, "energy_joules_total": 1e6 + 500 * at}, at)

    plant.run(also=mig)
    made = shot(plant)
    assert made.numbers["gpu_board_watts"].value == pytest.approx(4000)
    assert made.numbers["gpus_total"].value == 8


def test_a_board_without_power_limit_and_processes_is_judged_by_its_use(plant: Plant) -> None:
    def amd(at: float) -> None:
        tags = {**plant.gpu_tags("node-1", 0), "vendor": "amd", "exporter": "amd"}
        plant.put("gpu", tags, {"utilization_ratio": 0.9, "power_watts": 600.0, "memory_used_bytes": 1e11}, at)

    plant.run(skip=("GPU-node-1-0",), also=amd)
    made = shot(plant)
    assert made.states == {"busy": 8}
    assert made.numbers["gpu_board_watts"].value == pytest.approx(7 * 500 + 600)
    assert made.sources["gpus"]["by_power"] == 1


def test_live_input_is_computed_and_cached_together_and_never_added_to_the_final_count(plant: Plant) -> None:
    def live(at: float) -> None:
        fields = {
            "live_input_computed_tokens_total": 1e6 + 500.0 * at,
            "live_input_cached_tokens_total": 1e5 + 200 * at,
        }
        plant.put("inference", engine(), fields, at)

    plant.run(also=live)
    # three engines by 3,000 tokens/s, the one with a live clock by 500 + 200
    assert shot(plant).numbers["input_tokens_per_second"].value == pytest.approx(9_700)


def test_a_frontend_takes_over_when_all_engines_of_its_model_fall_silent(plant: Plant) -> None:
    front = engine(endpoint="front", server="dynamo", level="frontend", model="org/M", host="")
    hosts = ("node-1", "node-2", "node-3", "node-10")

    def frontend(at: float) -> None:
        plant.put("inference", front, {"output_tokens_total": 1e6 + 3900.0 * at}, at)

    plant.run(end=-30.0, also=frontend)
    before = shot(plant, after=-29.0)
    assert before.numbers["output_tokens_per_second"].value == pytest.approx(4000)
    (model,) = before.sources["models"]
    assert (model["model"], model["level"]) == ("m", "engine")
    assert model["tokens_per_second"] == pytest.approx({"engine": 4000, "frontend": 3900})
    for at in range(-25, 1, 5):
        frontend(at)
        plant.write_gpus(at)
        plant.write_power(at)
    after = shot(plant, before)
    assert after.sources["models"][0]["level"] == "frontend"
    tokens = after.memory.observation
    assert {host for host in hosts if f"vllm-{host}" in str(tokens.inference.keys)} == set(hosts)
    # 30 s by the engines' counters, 30 s by the frontend's; one of five expected endpoints answers for the whole
    assert after.numbers["output_tokens_per_second"].value is None
    assert "only" in after.numbers["output_tokens_per_second"].why


def test_e2_an_engine_that_restarts_with_a_higher_value_is_reset_by_its_start_time(plant: Plant) -> None:
    began = plant.now - 30

    def restarted(at: float) -> None:
        old, new = 100.0 + 10 * (at + 120), 2_000.0 + 1000 * (at + 30)
        fields = {"output_tokens_total": old if at < -30 else new, "start_time_seconds": 1e9 if at < -30 else began}
        plant.put("inference", engine(endpoint="vllm-node-1"), fields, at)

    plant.run(skip=("node-1",), also=lambda at: (plant.write_gpus(at, ("node-2", "node-3", "node-10")), restarted(at)))
    # node-1: 25 s x 10, then the whole 2,000 since its start, then 30 s x 1,000; three others 1,000 each
    expected = (25 * 10 + 2_000 + 30_000) / 60 + 3_000
    assert shot(plant).numbers["output_tokens_per_second"].value == pytest.approx(expected)


def test_scale_down_costs_coverage_only_where_the_inventory_expects_the_engine(plant: Plant) -> None:
    def spare(at: float) -> None:
        if at <= -30:
            plant.put("inference", engine(endpoint="spare"), {"output_tokens_total": 1e6 + 1000.0 * at}, at)

    plant.run(also=spare)
    rate = shot(plant).numbers["output_tokens_per_second"]
    # its 30 s x 1,000 tokens count, the place that it left does not
    assert (rate.value, rate.coverage) == (pytest.approx(4_500), 1.0)
    plant.run(start=5.0, end=60.0, skip=("node-1",))
    gone = shot(plant, after=61.0).numbers["output_tokens_per_second"]
    assert gone.coverage == pytest.approx(0.75)


def test_e7_the_window_grows_where_tokens_are_counted_at_the_end_of_long_requests(plant: Plant) -> None:
    tgi = engine(endpoint="tgi", server="tgi", model="big", host="node-1")

    def slow(at: float) -> None:
        ended = at // 100 * 100
        plant.put(
            "inference",
            {**tgi, "clock": "final"},
            {"output_tokens_total": 1e5 + 50 * ended, "requests_running": 2.0},
            at,
        )
        if at % 60 == 0:
            for le, share in (("60", 0.0), ("120", 1.0), ("+Inf", 1.0)):
                tags = {**tgi, "metric": "e2e", "le": le}
                plant.put("inference_latency", tags, {"count_total": share * (at + 1000) // 10}, at)

    plant.run(start=-600.0, also=slow)
    first = shot(plant)
    # the 95th percentile lies at 60 + 0.95 x 60 = 117 s: twice that, of what the first look has read
    assert first.memory.observation.window == pytest.approx(234)
    number = first.numbers["output_tokens_per_second"]
    assert number.end is not None
    assert number.start is not None
    assert number.end - number.start > 120


def test_a_final_count_says_nothing_of_requests_that_still_run(plant: Plant) -> None:
    def tgi(at: float) -> None:
        tags = engine("node-1", server="tgi", clock="final")
        plant.put("inference", tags, {"output_tokens_total": 5e5, "requests_running": 3.0, "requests_waiting": 0.0}, at)
        for index in (0, 1):
            fields = {**plant.gpu_fields(at), "utilization_ratio": 0.3, "power_watts": 150.0}
            plant.put("gpu", plant.gpu_tags("node-1", index), fields, at)

    plant.run(start=-600.0, skip=("node-1",), also=tgi)
    assert "stalled" not in shot(plant).states


def test_e5_boards_whose_counter_and_power_disagree_are_named(plant: Plant) -> None:
    plant.run(skip=("GPU-node-1-0",), also=lambda at: board(plant, "nvml", 500.0, at))
    for at in range(-120, 1, 5):
        tags = {**plant.gpu_tags("node-1", 0), "exporter": "nvml"}
        plant.put("gpu", tags, {"power_watts": 560.0}, at)
    made = shot(plant)
    assert made.sources["gpus"]["suspects"] == ["GPU-node-1-0"]
    assert made.numbers["gpu_board_watts"].value == pytest.approx(4000)
    by_power = DashboardSettings(energy=s.Energy(prefer="trapezoid"))
    assert shot(plant, settings=by_power).numbers["gpu_board_watts"].value == pytest.approx(4060)


def test_e14_tokens_without_a_host_are_told_after_a_quarter_of_an_hour(plant: Plant) -> None:
    settings = DashboardSettings(alarms=s.Alarms(trust_on_delay="20s"))  # type: ignore[arg-type]

    def stray(at: float) -> None:
        plant.put("inference", engine(endpoint="stray", host=""), {"output_tokens_total": 1e6 + 1000.0 * at}, at)

    plant.run(also=stray)
    made = shot(plant, settings=settings)
    assert made.sources["unmapped_tokens_ratio"] == pytest.approx(0.2)
    assert titles(made) == []
    plant.run(start=5.0, end=30.0, also=stray)
    made = shot(plant, made, after=31.0, settings=settings)
    assert titles(made) == ["20 % of the tokens come from engines on no known host: add them to the inventory"]
    assert DashboardSettings().alarms.trust_on_delay.total_seconds() == 900


def test_e14_energy_that_works_for_no_known_engine(plant: Plant) -> None:
    plant.run()
    plant.settle()
    lab = Plant(plant.store, plant.now, hosts={"lab-1": "A02"})
    host = {"kind": "host", "id": "lab-1", "parent": "A02", "relation": "contains"}
    lab.put("inventory", host, {"present": 1, "expected_count": 2}, -100)
    for at in range(-120, 1, 5):
        lab.write_gpus(at)
    lab.settle()
    # 2 busy boards of 10, each 500 W, without engine, pod or deployment
    assert shot(plant).sources["unmapped_energy_ratio"] == pytest.approx(0.2)


def test_e15_a_clock_ahead_is_told_and_one_far_ahead_refused(plant: Plant) -> None:
    plant.run()
    for name, ahead in (("c2", 10.0), ("c3", 40.0)):
        device = {"device": f"d-{name}", "source": name, "protocol": "nvml"}
        plant.put("device", device, {"up": 1, "last_success_age_seconds": 0.0}, ahead)
        for at in range(-120, 1, 5):
            tags = {"host": f"h-{name}", "gpu": f"GPU-{name}", "source": name, "exporter": "nvml"}
            plant.put("gpu", tags, {"power_watts": 300.0, "utilization_ratio": 0.5}, at)
    at_once = DashboardSettings(alarms=s.Alarms(on_delay="0s"))  # type: ignore[arg-type]
    made = shot(plant, settings=at_once)
    assert made.sources["clocks_ahead"] == {"c2": 9.0, "c3": 39.0}
    assert [(alarm.finding.object, alarm.finding.priority) for alarm in made.alarms] == [("c3", 2), ("c2", 3)]
    assert "GPU-c2" in made.layout.gpus
    assert "GPU-c3" not in made.layout.gpus
