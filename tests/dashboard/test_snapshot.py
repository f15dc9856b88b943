"""The snapshot of the stated site, number by number, from real points in a real store."""

import base64
import time
from collections.abc import Callable

import orjson
import pytest
from plant import Plant

from dashboard import settings as s
from dashboard.alarms.findings import FabricNow, PortFault
from dashboard.fabric.switches import SwitchNow
from dashboard.gpus import CELL_IDLE, CELL_LOST, CELL_NO_DATA
from dashboard.kpis.efficiency import Quality
from dashboard.settings import DashboardSettings
from dashboard.site import Site, read_site
from dashboard.snapshot import Snapshot, build, to_json
from storage.duckdb import DuckDBStore

SETTINGS = DashboardSettings()


def shot(plant: Plant, previous: Snapshot | None = None, after: float = 1.0) -> Snapshot:
    """Return the snapshot `after` seconds past the plant's now."""
    plant.settle()
    site = previous.site if previous else read_site(plant.store)
    return build(plant.store, site, SETTINGS, previous, plant.now + after)


def values(snapshot: Snapshot) -> dict[str, float | None]:
    return {name: number.value for name, number in snapshot.numbers.items()}


def test_every_number_of_a_healthy_site(plant: Plant) -> None:
    plant.run()
    found = values(shot(plant))
    expected = {
        "output_tokens_per_second": 4 * 1000,
        "input_tokens_per_second": 4 * 3000,
        "gpu_board_watts": 8 * 500,
        "rack_watts": 2 * 3000,
        "it_watts": 2 * 3000 + 400,
        "facility_watts": 8000,
        "tokens_per_joule_gpu_board": 4000 / 4000,
        "tokens_per_joule_rack": 4000 / 6000,
        "tokens_per_joule_it": 4000 / 6400,
        "tokens_per_joule_facility": 4000 / 8000,
        "pue": 8000 / 6400,
        "it_headroom_watts": 22_000 - 6400,
        "gpus_total": 8,
        "gpus_seen": 8,
        "gpus_idle": 0,
        "gpus_idle_ratio": 0,
        "idle_watts": 0,
        "idle_cost_per_hour": 0,
        "coolant_supply_celsius": 32,
        "coolant_return_celsius": 42,
        "coolant_heat_watts": 6000,
        "coolant_flow_liters_per_second": 1.5,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["node_watts"] is None
    assert shot(plant).numbers["node_watts"].why == "no node meter"


def test_each_number_says_what_it_speaks_of(plant: Plant) -> None:
    plant.run()
    told = to_json(shot(plant), "1", 2.0)["numbers"]["tokens_per_joule_it"]
    assert (told["to"], told["from"]) == (plant.now, plant.now - 60)
    assert told["age"] == pytest.approx(1.0)
    assert (told["unit"], told["boundary"], told["coverage"], told["quality"]) == ("tokens/J", "it", 1.0, 0)
    assert "output tokens /" in told["formula"]
    assert set(told) == {
        "value", "unit", "boundary", "coverage", "quality", "from", "to", "age", "limit", "target", "formula", "why"
    }  # fmt: skip


def test_an_empty_store_withholds_everything(store: DuckDBStore) -> None:
    made = build(store, read_site(store), SETTINGS, None, 1.76e9)
    assert {number.value for number in made.numbers.values()} == {None}
    assert all(number.why for number in made.numbers.values())
    assert made.numbers["tokens_per_joule_it"].quality is Quality.INVALID
    assert orjson.loads(orjson.dumps(to_json(made, "1", 2.0)))["cells"] == ""


def test_an_inventory_without_readings_shows_its_floor_without_data(plant: Plant) -> None:
    made = shot(plant)
    assert list(made.cells) == [CELL_NO_DATA] * 8
    assert made.layout.gpus[:3] == ("node-1:0", "node-1:1", "node-2:0")
    assert made.states == {"unknown": 8}
    assert values(made)["gpus_seen"] == 0
    assert made.numbers["gpus_idle"].value is None


def test_young_data_speaks_of_a_shorter_window(plant: Plant) -> None:
    plant.run(start=-20.0)
    number = shot(plant).numbers["output_tokens_per_second"]
    assert (number.start, number.end) == (plant.now - 20, plant.now)
    assert number.value == pytest.approx(4000)


def test_under_ten_seconds_of_data_say_nothing(plant: Plant) -> None:
    plant.run(start=-5.0)
    assert values(shot(plant))["gpu_board_watts"] is None


def test_a_ratio_of_young_sources_speaks_of_the_time_that_both_know(plant: Plant) -> None:
    plant.run(end=-6.0, step=3.0, skip=("main",))
    tags = {"circuit": "total", "side": "input", "scope": "facility", "device": "main", "kind": "meter"}
    for at in range(-21, 1, 3):
        plant.put("power", tags, {"active_watts": 8000.0}, at)
    ratio = shot(plant).numbers["tokens_per_joule_facility"]
    assert (ratio.start, ratio.end) == (plant.now - 21, plant.now - 6)
    assert (ratio.value, ratio.coverage) == (pytest.approx(0.5), pytest.approx(1.0))


def test_a_missing_host_lowers_coverage_and_is_not_made_up_for(plant: Plant) -> None:
    plant.run(skip=("node-1",))
    made = shot(plant)
    board = made.numbers["gpu_board_watts"]
    assert (board.value, board.coverage, board.quality) == (pytest.approx(3000), 0.75, Quality.PARTIAL)
    assert made.numbers["tokens_per_joule_gpu_board"].value == pytest.approx(1.0)
    assert made.numbers["tokens_per_joule_gpu_board"].coverage == 0.75


def test_e9_tokens_of_a_host_without_energy_do_not_flatter_the_ratio(plant: Plant) -> None:
    plant.run(skip=("GPU-node-1-0", "GPU-node-1-1"))
    made = shot(plant)
    assert made.numbers["output_tokens_per_second"].value == pytest.approx(4000)
    # 3 hosts x 1,000 tokens/s over 6 boards x 500 W
    assert made.numbers["tokens_per_joule_gpu_board"].value == pytest.approx(1.0)
    assert made.numbers["tokens_per_joule_gpu_board"].quality is Quality.PARTIAL


def test_most_hosts_missing_withholds_the_value(plant: Plant) -> None:
    plant.run(skip=("node-1", "node-2", "node-3"))
    board = shot(plant).numbers["gpu_board_watts"]
    assert (board.value, board.why) == (None, "only 25 % of the sources are known")


def test_a_counter_reset_in_the_window_loses_only_what_nobody_saw(plant: Plant) -> None:
    before, after = plant.engine_fields, plant.engine_fields

    def restarted(at: float) -> dict[str, float]:
        fields = after(at)
        return {**fields, "output_tokens_total": 1000.0 * (at + 32.5)} if at > -32.5 else before(at)

    plant.engine_fields = restarted  # type: ignore[method-assign]
    plant.run()
    # Each engine restarted 2.5 s after its sample at -35 s; 2.5 s of 60 s were never told to anyone.
    assert values(shot(plant))["output_tokens_per_second"] == pytest.approx(4000 * 57.5 / 60)


def test_e15_a_stale_series_leaves_the_sums_after_fifteen_seconds(plant: Plant) -> None:
    plant.run(end=-20.0)
    plant.run(start=-15.0, skip=("node-2",))
    board = shot(plant).numbers["gpu_board_watts"]
    # node-2 told 40 of the 60 seconds: 2 boards x 500 W x 40 s are known, and 6 x 500 W x 60 s of the others.
    assert board.end == plant.now
    assert board.value == pytest.approx((6 * 500 * 60 + 2 * 500 * 40) / 60)
    assert board.coverage == pytest.approx((6 * 60 + 2 * 40) / (8 * 60))


def test_a_lost_gpu_is_lost_at_once_and_counts_no_watt(plant: Plant) -> None:
    def lost(at: float) -> None:
        plant.put("gpu", plant.gpu_tags("node-3", 1), {"lost": 1}, at)

    plant.run(skip=("GPU-node-3-1",), also=lost)
    made = shot(plant)
    cell = made.layout.gpus.index("GPU-node-3-1")
    assert made.cells[cell] == CELL_LOST
    assert made.states["lost"] == 1
    assert made.numbers["gpu_board_watts"].value == pytest.approx(3500)
    alarm = made.alarms[0].finding
    assert (alarm.rule, alarm.priority, alarm.title) == ("gpu_lost", 2, "1 GPU lost on node-3")


def test_a_gpu_that_its_exporter_leaves_out_is_lost_and_a_silent_host_is_not(plant: Plant) -> None:
    plant.run(end=-35.0)
    plant.run(start=-30.0, skip=("GPU-node-3-1", "node-1"))
    made = shot(plant)
    assert made.cells[made.layout.gpus.index("GPU-node-3-1")] == CELL_LOST
    assert {made.cells[made.layout.gpus.index(f"GPU-node-1-{n}")] for n in (0, 1)} == {CELL_NO_DATA}
    assert made.states["lost"] == 1


def test_one_source_per_rack(plant: Plant) -> None:
    def cross_checks(at: float) -> None:
        whole = {"circuit": "total", "side": "input", "scope": "rack", "rack": "A01"}
        plant.put("power", {**whole, "device": "A01", "kind": "rack"}, {"active_watts": 2900.0}, at)
        plant.put("power", {**whole, "device": "pdu-x", "kind": "rack_pdu"}, {"active_watts": 3100.0}, at)

    plant.run(also=cross_checks)
    assert values(shot(plant))["it_watts"] == pytest.approx(6400)


def test_a_silent_shelf_is_replaced_by_the_building_system(plant: Plant) -> None:
    def building(at: float) -> None:
        whole = {"circuit": "total", "side": "input", "scope": "rack", "rack": "A01"}
        plant.put("power", {**whole, "device": "A01", "kind": "rack"}, {"active_watts": 2900.0}, at)

    plant.run(skip=("shelf-A01",), also=building)
    made = shot(plant)
    assert values(made)["it_watts"] == pytest.approx(6300)
    assert made.numbers["it_watts"].quality is Quality.OK


def test_it_by_its_meter_where_racks_are_not_metered(plant: Plant) -> None:
    def meter(at: float) -> None:
        tags = {"circuit": "total", "side": "input", "scope": "it", "device": "it-meter", "kind": "meter"}
        plant.put("power", tags, {"active_watts": 6500.0}, at)

    plant.run(skip=("shelf-A01", "shelf-A02", "pdu-N01"), also=meter)
    assert values(shot(plant))["it_watts"] == pytest.approx(6500)
    assert values(shot(plant))["pue"] == pytest.approx(8000 / 6500)


def test_a_slow_meter_and_fast_racks_meet_in_one_window(plant: Plant) -> None:
    plant.run(skip=("main",))
    tags = {"circuit": "total", "side": "input", "scope": "facility", "device": "main", "kind": "meter"}
    for at in (-102.0, -72.0, -42.0, -12.0):
        plant.put("power", tags, {"active_watts": 8000.0}, at)
    made = shot(plant)
    assert made.numbers["pue"].end == plant.now - 12
    assert made.numbers["pue"].value == pytest.approx(1.25)
    assert made.numbers["it_watts"].end == plant.now


def test_a_gateway_does_not_count_tokens_twice(plant: Plant) -> None:
    def gateway(at: float) -> None:
        tags = {"endpoint": "gw", "server": "litellm", "level": "gateway", "model": "m"}
        plant.put("inference", tags, {"output_tokens_total": 4000.0 * (at + 500)}, at)

    plant.run(also=gateway)
    assert values(shot(plant))["output_tokens_per_second"] == pytest.approx(4000)


def test_the_live_counter_is_preferred_to_that_of_finished_requests(plant: Plant) -> None:
    def live(at: float) -> None:
        tags = {
            "endpoint": "vllm-node-1",
            "server": "vllm",
            "model": "m",
            "engine": "0",
            "host": "node-1",
            "rack": "A01",
        }
        plant.put("inference", tags, {"live_output_tokens_total": 1e6 + 1500.0 * at}, at)

    plant.run(also=live)
    assert values(shot(plant))["output_tokens_per_second"] == pytest.approx(4500)


def test_ticks_read_only_what_is_new_and_agree_with_a_fresh_start(plant: Plant) -> None:
    plant.run(end=-30.0)
    made = shot(plant, after=-29.0)
    for at in (-25.0, -20.0, -15.0, -10.0, -5.0, 0.0):
        plant.run(start=at, end=at)
        made = shot(plant, made, after=at + 1)
    fresh = values(shot(plant))
    assert made.seq == 7
    for name, value in values(made).items():
        assert value == (None if fresh[name] is None else pytest.approx(fresh[name])), name


def test_e18_points_that_come_late_are_found_by_the_next_tick(plant: Plant) -> None:
    plant.run(end=-10.0)
    plant.run(start=-5.0, end=0.0, skip=("node-1",))
    first = shot(plant)
    for at in (-5.0, 0.0):
        for index in (0, 1):
            plant.put("gpu", plant.gpu_tags("node-1", index), plant.gpu_fields(at), at)
    second = shot(plant, first, after=2.0)
    assert first.numbers["gpu_board_watts"].end == plant.now - 10
    assert second.numbers["gpu_board_watts"].end == plant.now
    assert second.numbers["gpu_board_watts"].value == pytest.approx(4000)


def test_a_gpu_that_changes_its_pod_is_the_same_gpu(plant: Plant) -> None:
    original: Callable[[str, int], dict[str, str]] = plant.gpu_tags

    def tagged(pod: str) -> Callable[[str, int], dict[str, str]]:
        return lambda host, index: {**original(host, index), "pod": pod}

    plant.gpu_tags = tagged("old")  # type: ignore[method-assign]
    plant.run(end=-30.0)
    plant.gpu_tags = tagged("new")  # type: ignore[method-assign]
    plant.run(start=-25.0)
    made = shot(plant)
    assert len(made.layout.gpus) == 8
    assert values(made)["gpu_board_watts"] == pytest.approx(4000)


def test_e17_real_and_simulated_data_are_never_summed(store: DuckDBStore) -> None:
    simulated = Plant(store, float(int(time.time())), common={"site": "S1", "synthetic": "true"})
    simulated.inventory()
    simulated.run()
    before = shot(simulated)
    assert before.synthetic
    real = Plant(store, simulated.now, hosts={"real-1": "A01"})
    real.inventory()
    real.run()
    real.settle()
    after = build(store, read_site(store), SETTINGS, before, real.now + 2)
    assert not after.synthetic
    assert values(after)["gpu_board_watts"] == pytest.approx(1000)
    assert values(after)["output_tokens_per_second"] == pytest.approx(1000)


def test_heat_comes_from_the_other_loop_where_the_first_is_silent(plant: Plant) -> None:
    def second(at: float) -> None:
        cdu = {"device": "cdu-2", "kind": "cdu", "point": "-"}
        plant.put("coolant", {**cdu, "loop": "fws"}, {"heat_watts": 2000.0}, at)
        plant.put("coolant", {**cdu, "loop": "tcs"}, {"heat_reported_watts": 2100.0}, at)

    plant.run(also=second)
    heat = shot(plant).numbers["coolant_heat_watts"]
    assert heat.value == pytest.approx(8000)
    assert (heat.start, heat.end, heat.coverage) == (plant.now - 60, plant.now, 1.0)


def test_an_unplaced_gpu_has_a_rack_of_its_own_at_the_end(plant: Plant) -> None:
    plant.hosts["stranger"] = "Z9"
    plant.run()
    layout = to_json(shot(plant), "1", 2.0)["layout"]
    assert layout["rows"][-1] == {"name": "unplaced", "racks": [{"name": "unplaced", "start": 8, "count": 2}]}
    assert layout["gpus"][8:] == ["GPU-stranger-0", "GPU-stranger-1"]


def test_a_parked_gpu_is_idle_from_the_first_snapshot_on(plant: Plant) -> None:
    settings = DashboardSettings(idle=s.Idle(hold=s.Hold(parked="60s")))  # type: ignore[arg-type]
    working = plant.gpu_fields

    def parked(at: float) -> None:
        fields = {**working(at), "utilization_ratio": 0.0, "power_watts": 100.0, "energy_joules_total": 1e6 + 100 * at}
        plant.put("gpu", plant.gpu_tags("node-2", 0), fields, at)

    plant.run(start=-300.0, skip=("GPU-node-2-0",), also=parked)
    plant.settle()
    site: Site = read_site(plant.store)
    made = build(plant.store, site, settings, None, plant.now + 1)
    (entry,) = made.idle_gpus
    assert (entry["gpu"], entry["rack"], entry["host"], entry["state"]) == ("GPU-node-2-0", "A01", "node-2", "parked")
    assert plant.now - entry["since"] > 200
    assert "power 14 % of limit" in entry["reason"]
    assert made.cells[made.layout.gpus.index("GPU-node-2-0")] == CELL_IDLE
    found = values(made)
    assert (found["gpus_idle"], found["gpus_idle_ratio"], found["idle_watts"]) == (1, 1 / 8, 100)
    assert found["idle_cost_per_hour"] == pytest.approx(1.95 + 0.1 * 1.25 * 0.08)
    assert made.alarms[-1].finding.title == "1 GPU parked on node-2"


def test_the_whole_answer_has_the_shape_of_the_contract(plant: Plant) -> None:
    plant.run()
    plant.put("device", {"device": "leaf-2", "protocol": "snmp"}, {"up": 0, "last_success_age_seconds": 12.0}, 0.0)
    plant.put("device", {"device": "leaf-1", "protocol": "snmp"}, {"up": 1, "last_success_age_seconds": 0.0}, 0.0)
    plant.put("bus", {"device": "shelf-A01", "rack": "A01", "pole": "total"}, {"voltage_volts": 50.1}, 0.0)
    plant.put("leak", {"device": "cdu-1", "rack": "A01", "detector": "rope", "level": "rack"}, {"state": 2}, 0.0)
    told = orjson.loads(orjson.dumps(to_json(shot(plant), "0.1.0", 2.0)))
    assert told["site"] == {"name": "S1", "gpus": 8, "racks": 3}
    assert base64.b64decode(told["cells"]) == bytes([80] * 8)
    assert told["idle"] == {"gpus": [], "states": {"busy": 8}}
    assert told["bus"] == [{"rack": "A01", "volts": 50.1}]
    assert told["devices"] == {
        "up": 1, "total": 2, "down": [{"device": "leaf-2", "age": pytest.approx(13.0)}], "maintenance": [],
        "unknown": [],
    }  # fmt: skip
    assert told["sources"] == {
        "gpus": {"exporters": {"unknown": 8}, "doubled": 0, "by_counter": 8, "by_power": 0, "prefer": "counter",
                 "suspect": 0, "suspects": []},
        "models": [{"model": "m", "level": "engine", "tokens_per_second": {"engine": pytest.approx(4000)}}],
        "unmapped_tokens_ratio": 0.0, "unmapped_energy_ratio": 0.0, "clocks_ahead": {},
    }  # fmt: skip
    assert told["counts"] == [1, 0, 0, 0]
    assert told["alarms"][0] == {
        "rule": "leak_detected", "object": "A01", "priority": 1, "title": "Leak in rack A01", "place": "Row A",
        "impact": "4 GPUs", "racks": ["A01"], "since": plant.now + 1, "ack": False,
    }  # fmt: skip
    rack = told["racks"][0]
    assert (rack["name"], rack["row"], rack["watts"], rack["rated_watts"], rack["leak"]) == (
        "A01",
        "A",
        3000,
        10_000,
        2,
    )
    cdu = told["cdus"][0]
    assert (cdu["name"], cdu["racks"], cdu["heat_watts"], cdu["age"]) == ("cdu-1", ["A01", "A02"], 6000, 1.0)


def test_a_silent_rack_is_one_alarm_not_one_per_device(plant: Plant) -> None:
    def devices(at: float) -> None:
        for host in ("node-1", "node-2"):
            plant.put("device", {"device": host, "rack": "A01", "protocol": "nvml"}, {"up": 0}, at)
        plant.put("device", {"device": "node-3", "rack": "A02", "protocol": "nvml"}, {"up": 1}, at)

    plant.run(skip=("node-1", "node-2"), also=devices)
    made = shot(plant)
    made = shot(plant, made, after=12.0)
    assert [alarm.finding.title for alarm in made.alarms] == ["Telemetry lost in rack A01"]


def test_failed_supplies_by_state_or_by_the_shelfs_own_bits(plant: Plant) -> None:
    plant.run()
    for bit, active in (("psu-208-fan", 1), ("psu-208-dcdc", 1), ("psu-209-fan", 0), ("door-open", 1)):
        plant.put("alarm_bits", {"device": "shelf-A01", "rack": "A01", "bit": bit}, {"active": active}, 0)
    phase = {"device": "pdu-N01", "rack": "N01", "kind": "rack_pdu", "circuit": "phase", "phase": "L1"}
    plant.put("power", phase, {"state": 2}, 0)
    plant.put("power", {**phase, "phase": "L2"}, {"state": 0}, 0)
    made = shot(plant, shot(plant), after=12.0)
    assert [alarm.finding.title for alarm in made.alarms] == [
        "Power supply L1 failed in pdu-N01",
        "Power supply psu-208 failed in shelf-A01",
        "shelf-A01 reports door-open",
    ]


def test_the_fabric_s_faults_are_alarms_and_reasons_and_counted(plant: Plant) -> None:
    fault = PortFault("pfc_storm", "leaf-1", "Ethernet8", "N01", "node-1", "node-1", 2, 2, "paused 55 % of the time")
    switches = (SwitchNow("leaf-1", "N01", state="ok"), SwitchNow("leaf-2", "N01", state="agent_missing"))
    fabric = FabricNow(
        (fault,), switches, ports_down=0, abnormal=1, notes={"node-1": "Ethernet8 of leaf-1 paused 55 %"}
    )
    usual = plant.gpu_fields
    plant.gpu_fields = lambda at: {**usual(at), "utilization_ratio": 0.0, "power_watts": 80.0}  # type: ignore[method-assign]
    plant.engine_fields = lambda at: {  # type: ignore[method-assign]
        "output_tokens_total": 1e6, "input_tokens_total": 3e6, "requests_running": 4.0, "requests_waiting": 0.0,
    }  # fmt: skip
    plant.run(start=-400)
    plant.settle()
    site, settings = read_site(plant.store), DashboardSettings()
    made = build(plant.store, site, settings, None, plant.now + 1, fabric)
    made = build(plant.store, site, settings, made, plant.now + 13, fabric)
    titles = [alarm.finding.title for alarm in made.alarms]
    assert "PFC storm on leaf-1 Ethernet8 to node-1: paused 55 % of the time" in titles
    assert "leaf-2 answers without its counters: restart its SNMP agent" in titles
    reasons = {row["host"]: row["reason"] for row in made.idle_gpus}
    assert reasons["node-1"].endswith("; fabric: Ethernet8 of leaf-1 paused 55 %")
    assert "fabric" not in reasons["node-2"]
    assert to_json(made, "0", 2.0)["fabric"] == {"switches": 2, "ok": 1, "ports_down": 0, "abnormal": 1}


def test_a_rack_without_power_is_said_so(plant: Plant) -> None:
    plant.run(skip=("node-1", "node-2", "shelf-A01"), also=lambda at: plant.put(
        "power",
        {"circuit": "total", "side": "input", "scope": "rack", "rack": "A01", "device": "A01", "kind": "rack"},
        {"active_watts": 0.0}, at,
    ))  # fmt: skip
    (alarm, *_) = shot(plant).alarms
    assert (alarm.finding.title, alarm.finding.priority) == ("No power in rack A01", 1)
