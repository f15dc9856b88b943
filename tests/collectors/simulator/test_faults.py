"""Faults: each does what it says, to its object alone, for as long as it was asked to."""

import re
from pathlib import Path

import numpy as np
import pytest

from collectors.simulator.effects import KINDS, SLOW_SECONDS
from collectors.simulator.factory import Factory
from collectors.simulator.faults import ScriptError, find_script, load_script
from collectors.simulator.layout import build_layout

START = 1_760_000_000.0


@pytest.fixture
def factory() -> Factory:
    return Factory(build_layout(64), seed=1, start=START)


def conditions(factory: Factory, host: str) -> set[str]:
    found = next(item for item in factory.layout.hosts if item.name == host)
    return set(factory.state.gpus.condition[found.gpu_start : found.gpu_start + found.gpu_count])


def busy_host(factory: Factory, workload: str = "inference") -> int:
    hosts = factory.layout.hosts
    busy = (i for i, h in enumerate(hosts) if h.workload == workload and conditions(factory, h.name) == {"busy"})
    return next(busy)


def test_a_fault_begins_and_ends_on_whole_seconds(factory: Factory) -> None:
    factory.faults.inject("leak", "A02", START + 10.5, 20)
    seen = []
    for second in range(1, 41):
        factory.advance(START + second)
        seen.append(int(factory.state.racks.leak[1]))
    assert seen == [0] * 10 + [1] * 20 + [0] * 10
    assert factory.faults.known == ()


def test_a_fault_without_seconds_stays_until_cleared(factory: Factory) -> None:
    factory.faults.inject("leak", "cdu-2", START)
    factory.advance(START + 100)
    assert factory.state.cdus.leak.tolist() == [0, 1]
    assert factory.faults.clear("leak", "cdu-2") == 1
    assert factory.faults.clear("leak", "cdu-2") == 0
    factory.advance(START + 101)
    assert factory.state.cdus.leak.tolist() == [0, 0]


def test_lost_gpu_is_dark_hangs_its_host_and_comes_back_with_energy_at_zero(factory: Factory) -> None:
    index = busy_host(factory)
    host = factory.layout.hosts[index]
    gpu = host.gpu_start + 3
    factory.faults.inject("gpu_lost", factory.layout.gpu_uuids[gpu], START, 10)
    factory.advance(START + 5)
    gpus, engines = factory.state.gpus, factory.state.engines
    assert bool(gpus.lost[gpu])
    assert (gpus.xid[gpu], gpus.power_watts[gpu], gpus.condition[gpu]) == (79, 0.0, "lost")
    assert gpus.condition[gpu + 1] == "stalled"
    assert engines.output_tokens.rate[host.engine] == 0.0
    assert engines.running[host.engine] > 0
    assert gpus.lost.sum() == 1
    assert factory.layout.gpu_uuids[gpu] not in {item["gpu"] for item in factory.idle()}
    factory.advance(START + 12)
    gpus = factory.state.gpus
    assert conditions(factory, host.name) == {"busy"}
    assert gpus.xid[gpu] == 0
    assert 0 < gpus.energy_joules.at(START + 12.0, gpu) < 5_000


def test_gpus_may_be_called_by_host_and_place(factory: Factory) -> None:
    factory.faults.inject("gpu_lost", "node-a01-1/7", START)
    factory.advance(START + 1)
    assert np.flatnonzero(factory.state.gpus.lost).tolist() == [7]


def test_throttled_rack_is_hot_slow_and_gives_less(factory: Factory) -> None:
    engine = factory.layout.hosts[0].engine
    before = factory.state.engines.output_tokens.rate[engine]
    factory.faults.inject("gpu_throttle", "A01", START)
    factory.advance(START + 60)
    gpus = factory.state.gpus
    assert (gpus.temperature_celsius[:8] > 75).all()
    assert (gpus.clock_event_mask[:8] & 0x60 == 0x60).all()
    assert (gpus.throttle_thermal_seconds.rate[:8] > 0.01).all()
    assert (gpus.sm_clock_hertz[:8] < 0.65 * gpus.sm_clock_max_hertz).all()
    assert factory.state.engines.output_tokens.rate[engine] < 0.75 * before
    assert (gpus.clock_event_mask[16:] & 0x60 == 0).all()
    assert set(gpus.condition[:8]) == {"busy"}


@pytest.mark.parametrize(
    ("kind", "condition", "low", "high"),
    [("idle_job", "parked", 0.13, 0.25), ("stalled", "stalled", 0.13, 0.30), ("reserved", "reserved_idle", 0.0, 0.13)],
)
def test_idle_hosts_fall_to_their_level(factory: Factory, kind: str, condition: str, low: float, high: float) -> None:
    host = factory.layout.hosts[0]
    before = len(factory.idle())
    factory.faults.inject(kind, host.name, START + 4, 30)
    factory.advance(START + 20)
    gpus = factory.state.gpus
    assert conditions(factory, host.name) == {condition}
    assert set(gpus.condition_since[:8]) == {START + 4}
    share = gpus.power_watts[:8] / gpus.power_limit_watts
    assert ((share > low) & (share < high)).all()
    assert factory.state.engines.output_tokens.rate[host.engine] == 0.0
    assert len(factory.idle()) == before + 8
    if kind == "stalled":
        assert (gpus.utilization_ratio[:8] == 1.0).all()
        assert not gpus.tensor_active_ratio[:8].any()
        assert (gpus.dram_active_ratio[:8] < 0.02).all()
    factory.advance(START + 40)
    assert conditions(factory, host.name) == {"busy"}
    assert len(factory.idle()) == before


def test_pfc_storm_floods_one_port_and_slows_its_host(factory: Factory) -> None:
    index = busy_host(factory)
    host = factory.layout.hosts[index]
    switches = factory.state.switches
    row = [switch.name for switch in factory.layout.switches].index(host.switch)
    port = host.ports[2]
    rate = factory.state.engines.output_tokens.rate[host.engine]
    factory.faults.inject("pfc_storm", f"{host.switch}/{factory.layout.switches[row].ports[port]}", START)
    factory.advance(START + 2)
    assert switches.pfc_rx.rate[row, port] > 10_000
    assert 0.3 < switches.pfc_rx_pause_seconds.rate[row, port] < 1.0
    assert (switches.pfc_rx.rate > 1_000).sum() == 1
    assert switches.tx_bytes.rate[row, port] < 0.5 * switches.rx_bytes.rate[row, port]
    assert factory.state.engines.output_tokens.rate[host.engine] < 0.8 * rate


def test_lost_feed_moves_the_load_to_the_other_supplies(factory: Factory) -> None:
    before = factory.state.shelves.output_watts[0]
    volts = factory.state.shelves.bus_volts[0]
    factory.faults.inject("feed_lost", "A01", START)
    factory.advance(START + 2)
    shelves = factory.state.shelves
    assert shelves.psu_ok[0].tolist() == [True, False, True, False, True, False, True]
    assert not shelves.psu_input_watts[0, ~shelves.psu_ok[0]].any()
    assert shelves.output_watts[0] == pytest.approx(before, rel=0.1)
    assert shelves.psu_output_watts[0].sum() == pytest.approx(shelves.output_watts[0])
    assert shelves.bus_volts[0] < volts
    assert shelves.psu_ok[1:].all()


def test_a_shelf_over_its_rest_brakes_its_gpus_until_it_is_whole(factory: Factory) -> None:
    shelf = factory.layout.shelves[0]
    for unit in shelf.units[:-1]:
        factory.faults.inject("psu_lost", f"{shelf.name}/{unit}", START, 30)
    factory.advance(START + 10)
    gpus = factory.state.gpus
    working = np.array([condition == "busy" for condition in gpus.condition])
    braked = gpus.clock_event_mask & 0x80 != 0
    assert braked[:8].all()
    assert (braked == (working & (np.arange(64) < 16))).all()
    factory.advance(START + 33)
    assert not (factory.state.gpus.clock_event_mask & 0x80).any()


def test_the_last_supply_of_a_shelf_stays(factory: Factory) -> None:
    shelf = factory.layout.shelves[0]
    for unit in shelf.units:
        factory.faults.inject("psu_lost", f"{shelf.name}/{unit}", START)
    factory.advance(START + 2)
    assert factory.state.shelves.psu_ok[0].sum() == 1
    assert np.isfinite(factory.state.shelves.input_watts).all()


def engine_state(factory: Factory, host: str) -> tuple[float, float, set[str]]:
    """Return what an engine makes per second, how many requests run, and which servers refuse."""
    engine = next(item.engine for item in factory.layout.hosts if item.name == host)
    engines = factory.state.engines
    return float(engines.output_tokens.rate[engine]), float(engines.running[engine]), factory.refused


def test_restarted_engine_is_drained_gone_loading_and_counts_from_zero(factory: Factory) -> None:
    engine, host = factory.layout.hosts[0].engine, "node-a01-1"
    rate, *_ = engine_state(factory, host)
    factory.faults.inject("engine_restart", host, START)
    factory.advance(START + 2)
    finishing, running, refused = engine_state(factory, host)
    assert 0.4 * rate < finishing < 0.6 * rate
    assert factory.state.engines.prompt_tokens.rate[engine] == 0.0
    assert refused == set()
    for second in range(3, 14):  # idle for one scrape of 5 s and 6 s to spare
        factory.advance(START + second)
        assert engine_state(factory, host) == (0.0, 0.0, set())
        assert conditions(factory, host) == {"parked"}
    last = factory.state.engines.output_tokens.base[engine]
    assert last > 1e6
    for second in range(14, 18):
        factory.advance(START + second)
        assert engine_state(factory, host) == (0.0, 0.0, {"vllm-node-a01-1"})
        assert conditions(factory, host) == {"reserved_idle"}
    for second in range(18, 38):
        factory.advance(START + second)
        assert engine_state(factory, host) == (0.0, 0.0, {"vllm-node-a01-1"})
        assert conditions(factory, host) == {"busy"}
        assert factory.state.engines.start_time[engine] == START + 18
        assert factory.state.engines.output_tokens.at(START + second + 0.5)[engine] == 0.0
    factory.advance(START + 43)
    rate, running, refused = engine_state(factory, host)
    assert (refused, running > 0) == (set(), True)
    tokens = factory.state.engines.output_tokens.base[engine]
    assert tokens == pytest.approx(5 * rate, rel=0.05)
    assert factory.faults.known == ()


def test_crashed_engine_loses_what_it_made_since_the_last_scrape_and_the_truth_keeps_it(factory: Factory) -> None:
    engine = factory.layout.hosts[0].engine
    factory.advance(START + 10)
    seen = factory.state.engines.output_tokens.base[engine]
    factory.faults.inject("engine_crash", "node-a01-1", START + 13)
    factory.advance(START + 13)
    assert factory.refused == {"vllm-node-a01-1"}
    made = factory.state.engines.output_tokens.base[engine] - seen
    assert made > 3 * 4_000
    others = [host.engine for host in factory.layout.hosts if host.engine is not None and host.engine != engine]
    served = factory.state.engines.output_tokens.base[others].sum()
    factory.advance(START + 36)
    assert factory.state.engines.output_tokens.base[engine] == 0.0
    assert factory.state.engines.start_time[engine] == START + 17
    elsewhere = factory.state.engines.output_tokens.base[others].sum() - served
    assert factory.truth(START + 13, START + 36).output_tokens == pytest.approx(elsewhere, rel=1e-9)
    assert factory.truth(START + 10, START + 13).output_tokens > made


def test_scaled_down_engine_is_away_and_its_gpus_are_free_until_it_is_cleared(factory: Factory) -> None:
    factory.faults.inject("scale_down", "node-a01-1", START)
    factory.advance(START + 60)
    assert conditions(factory, "node-a01-1") == {"unallocated_idle"}
    assert engine_state(factory, "node-a01-1") == (0.0, 0.0, {"vllm-node-a01-1"})
    assert not factory.state.gpus.assigned[:8].any()
    factory.faults.clear("scale_down", "node-a01-1")
    factory.advance(START + 61)
    assert [(fault.kind, fault.end) for fault in factory.faults.known] == [("engine_loading", START + 81)]
    factory.advance(START + 81)
    assert (conditions(factory, "node-a01-1"), factory.refused) == ({"busy"}, set())
    assert factory.state.engines.output_tokens.base[0] == 0.0


def test_a_fault_that_is_cleared_while_it_drains_leaves_the_engine_alone(factory: Factory) -> None:
    counted = factory.state.engines.output_tokens.base[0]
    factory.faults.inject("engine_restart", "node-a01-1", START)
    factory.advance(START + 8)
    factory.faults.clear("engine_restart", "node-a01-1")
    factory.advance(START + 30)
    assert factory.state.engines.output_tokens.base[0] > counted
    assert factory.faults.known == ()


def test_reloaded_driver_takes_all_gpus_of_a_drained_host_and_their_counters(factory: Factory) -> None:
    factory.faults.inject("driver_reload", "node-a01-1", START)
    factory.advance(START + 15)  # drained for 14 s, then its engine is stopped and its boards are bare
    assert factory.refused == {"vllm-node-a01-1"}
    assert (factory.state.gpus.power_watts[:8] < 0.13 * factory.state.gpus.power_limit_watts).all()
    assert not factory.state.gpus.lost.any()
    factory.advance(START + 20)
    gpus = factory.state.gpus
    assert np.flatnonzero(gpus.lost).tolist() == list(range(8))
    assert (gpus.power_watts[:8].sum(), gpus.xid.sum()) == (0.0, 0)
    factory.advance(START + 27)  # away for 6 s
    gpus = factory.state.gpus
    assert not gpus.lost.any()
    for counters in (gpus.energy_joules, gpus.nvlink_tx_bytes, gpus.throttle_power_seconds):
        assert (counters.base[:8] <= 1.05 * counters.rate[:8]).all()  # one second since they came back
        assert (counters.base[8:] > 1.0).all()
    assert engine_state(factory, "node-a01-1")[2] == {"vllm-node-a01-1"}
    factory.advance(START + 47)
    assert engine_state(factory, "node-a01-1")[0] > 4_000


def test_gpu_of_a_training_host_is_reset_alone(factory: Factory) -> None:
    host = factory.layout.hosts[busy_host(factory, "training")]
    factory.faults.inject("gpu_reset", f"{host.name}/5", START)
    factory.advance(START + 21)
    assert np.flatnonzero(factory.state.gpus.lost).tolist() == [host.gpu_start + 5]
    assert conditions(factory, host.name) == {"reserved_idle", "lost"}
    factory.advance(START + 26)
    assert conditions(factory, host.name) == {"busy"}
    assert np.flatnonzero(factory.state.gpus.energy_joules.base < 5_000).tolist() == [host.gpu_start + 5]
    assert factory.faults.known == ()


def test_draining_takes_longer_where_scrapes_are_rarer() -> None:
    factory = Factory(build_layout(1_032), seed=1, start=START)
    fault = factory.faults.inject("engine_restart", "node-a01-1", START)
    # 3 s of work, one scrape of 10 s and 6 s to spare, gone for 4 s
    assert fault.end == START + 23
    assert factory.faults.inject("scale_down", "node-a01-1", START, 1.0).end == START + 20


def test_faults_to_come_are_put_off_and_present_ones_stay(factory: Factory) -> None:
    factory.faults.inject("leak", "A01", START, 5)
    factory.faults.inject("leak", "A02", START + 10, 5)
    factory.faults.inject("pump_lost", "cdu-1", START + 20)
    assert factory.faults.delay(START + 2, 30.0) == 2
    assert [(f.start, f.end) for f in factory.faults.known] == [
        (START, START + 5),
        (START + 40, START + 45),
        (START + 50, None),
    ]


def test_lost_pump_leaves_a_warmer_loop_on_one_pump(factory: Factory) -> None:
    before, heat = factory.state.cdus.tcs_supply_celsius[0], factory.state.cdus.heat_watts[0]
    speed = factory.state.cdus.pump_ratio[0, 1]
    factory.faults.inject("pump_lost", "cdu-1", START)
    for second in (60, 120, 180):
        factory.advance(START + second)
    cdus = factory.state.cdus
    assert cdus.pump_ok[0].tolist() == [False, True]
    assert cdus.pump_rpm[0, 0] == 0.0
    assert cdus.pump_ratio[0, 1] > 1.1 * speed
    assert cdus.tcs_supply_celsius[0] > before + 0.8
    assert cdus.heat_watts[0] == pytest.approx(heat, rel=0.1)
    assert cdus.pump_ok[1].all()


def test_devices_fall_silent_and_answer_late_by_name(factory: Factory) -> None:
    with pytest.raises(ValueError, match="unknown device for device_silent: 'cdu-1'"):
        factory.faults.inject("device_silent", "cdu-1", START)
    factory.faults.register_devices(["cdu-1", "leaf-1"])
    factory.faults.inject("device_silent", "cdu-1", START, 5)
    factory.faults.inject("device_slow", "leaf-1", START, 5)
    factory.advance(START + 1)
    assert (factory.silent, factory.slow) == ({"cdu-1"}, {"leaf-1": SLOW_SECONDS})
    factory.advance(START + 6)
    assert (factory.silent, factory.slow) == (set(), {})


def test_unknown_names_are_told_with_what_is_meant(factory: Factory) -> None:
    with pytest.raises(
        ValueError, match=r"unknown fault: 'leek', did you mean 'leak'\? Allowed: bus_sag, congestion, device_silent, "
    ):
        factory.faults.inject("leek", "A01", START)
    with pytest.raises(ValueError, match="unknown rack or cdu for leak: 'A03', did you mean 'A02'"):
        factory.faults.inject("leak", "A03", START)
    with pytest.raises(ValueError, match="unknown serving host for engine_restart: 'leaf-1'"):
        factory.faults.inject("engine_restart", "leaf-1", START)
    with pytest.raises(ValueError, match="seconds is 0"):
        factory.faults.inject("leak", "A01", START, 0)


def test_script_runs_at_the_simulators_speed(tmp_path: Path) -> None:
    factory = Factory(build_layout(64), seed=1, start=START, speed=10.0)
    script = tmp_path / "faults.yaml"
    script.write_text(
        "- {at: 100, kind: leak, object: B01, seconds: 200}\n- {at: 50, kind: pump_lost, object: cdu-1}\n"
    )
    load_script(script, factory.faults, start=START, speed=10.0)
    seen = []
    for second in range(1, 36):
        factory.advance(START + second)
        seen.append(int(factory.state.racks.leak[2]))
    assert seen == [0] * 9 + [1] * 20 + [0] * 6
    assert not factory.state.cdus.pump_ok[0, 0]


def test_script_tells_every_mistake_at_once(tmp_path: Path, factory: Factory) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text("- {at: 1, kind: leek, object: A01}\n- {at: x, kind: leak, object: A01}\n- {sec: 1}\n- 5\n")
    with pytest.raises(ValueError, match="entry 1: unknown fault") as caught:
        load_script(script, factory.faults, start=START, speed=1.0)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["entry 1", "entry 2", "entry 3", "entry 4"]
    script.write_text("kind: leak")
    with pytest.raises(ValueError, match="give a list of"):
        load_script(script, factory.faults, start=START, speed=1.0)
    script.write_text("[")
    with pytest.raises(ValueError, match="not YAML"):
        load_script(script, factory.faults, start=START, speed=1.0)


def test_script_may_name_objects_by_what_they_are(tmp_path: Path, factory: Factory) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text(
        "- {kind: driver_reload, object: any nvml host}\n"
        "- {kind: gpu_reset, object: any amd gpu}\n"
        "- {kind: engine_restart, object: any sglang dcgm host}\n"
        "- {kind: engine_crash, object: any serving host}\n"
        "- {kind: idle_job, object: any training host}\n"
    )
    load_script(script, factory.faults, start=START, speed=1.0)
    # hosts 0 (NVML), 1 (AMD) and 2 serve chat, 3 and 4 reasoning, 5 code; 2 is parked, 6 trains, 7 is free
    assert conditions(factory, "node-a02-1") == {"parked"}
    assert [fault.object for fault in factory.faults.known] == [
        "node-a01-1",
        "node-a01-2/0",
        "node-a02-2",
        "node-b01-1",
        "node-b02-1",
    ]


def test_things_of_the_facility_take_turns(tmp_path: Path, factory: Factory) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text(
        "- {kind: bus_sag, object: any hpr shelf}\n"
        "- {kind: unit_silent, object: any hpr psu}\n"
        "- {kind: kw_for_w, object: any hpr shelf}\n"
        "- {kind: kw_for_w, object: any pdu}\n"
        "- {kind: insulation_low, object: any hvdc_800 shelf}\n"
        "- {kind: leak, object: any redfish cdu}\n"
        "- {kind: leak, object: any hvdc_400 rack}\n"
        "- {kind: sensor_stuck, object: any modbus return_temperature sensor}\n"
    )
    load_script(script, factory.faults, start=START, speed=1.0)
    assert [fault.object for fault in factory.faults.known] == [
        "shelf-a01",
        "shelf-b01/208",
        "shelf-a01",
        "pdu-n01",
        "shelf-b02",
        "cdu-2",
        "A02",
        "cdu-1/return_temperature",
    ]


@pytest.mark.parametrize(
    ("kind", "words", "reason"),
    [
        ("gpu_reset", "any amd host", "gpu_reset takes a gpu, not 'any amd host'"),
        ("engine_restart", "any training host", "no host at work is left for 'any training host' in a site of 64 GPUs"),
        ("leak", "any dcgm host", "leak takes a rack or cdu, not 'any dcgm host'"),
        ("engine_restart", "any tgi host", "no host at work is left for 'any tgi host'"),
        ("bus_sag", "any modbus shelf", "there is no 'modbus shelf' in a site of 64 GPUs"),
        ("pole_imbalance", "any hvdc_800 shelf", "there is no 'hvdc_800 shelf'"),
        ("low_flow", "any pdu", "low_flow takes a cdu, not 'any pdu'"),
        ("leek", "any dcgm host", "unknown fault: 'leek', did you mean 'leak'"),
    ],
)
def test_words_that_fit_nothing_are_told(tmp_path: Path, factory: Factory, kind: str, words: str, reason: str) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text(f"- {{kind: {kind}, object: {words}}}\n")
    with pytest.raises(ScriptError, match=reason):
        load_script(script, factory.faults, start=START, speed=1.0)


def test_scripts_are_found_by_path_or_by_name(tmp_path: Path) -> None:
    script = tmp_path / "mine.yaml"
    script.write_text("[]")
    assert find_script(str(script)) == script
    assert find_script("gpu").parts[-3:] == ("simulator", "scripts", "gpu.yaml")
    with pytest.raises(
        ScriptError, match=r"gpus: no such file, and no script of that name; scripts: fabric, facility, gpu$"
    ):
        find_script("gpus")


@pytest.mark.parametrize("gpus", [64, 128, 1_024, 10_240])
def test_the_packaged_script_fits_every_site_from_64_gpus_on(gpus: int) -> None:
    factory = Factory(build_layout(gpus), seed=1, start=START)
    load_script(find_script("gpu"), factory.faults, start=START, speed=1.0)
    faults = factory.faults.known
    hosts = {host.name: host for host in factory.layout.hosts}
    hit = {fault.object.split("/")[0] for fault in faults}
    assert len(hit) == len(faults) == 6
    assert {hosts[name].gpu_source for name in hit} == {"nvml", "dcgm", "amd"}
    restarted = {factory.layout.server_of(hosts[f.object]).split("-")[0] for f in faults if f.kind == "engine_restart"}
    assert restarted == {"vllm", "sglang"}
    assert {fault.kind for fault in faults} == {"engine_restart", "scale_down", "gpu_reset", "driver_reload"}
    # with 20 s of loading, over a good minute after the first one begins
    ends = [fault.end + 20 for fault in faults if fault.end is not None]
    assert len(ends) == 6
    assert max(ends) - min(fault.start for fault in faults) < 80


def test_every_kind_says_what_it_does() -> None:
    assert all(kind.help.endswith(".") for kind in KINDS.values())


def test_the_shipped_script_fits_the_default_site(factory: Factory) -> None:
    factory.faults.register_devices(switch.name for switch in factory.layout.switches)
    script = Path(__file__).parents[3] / "config" / "demo.yaml"
    load_script(script, factory.faults, start=START, speed=1.0)
    assert [fault.kind for fault in factory.faults.known] == ["gpu_lost", "feed_lost", "leak", "device_silent"]
    told = re.search(r"^# Kinds: ((?:.*\n# )*?.*)\.$", script.read_text(), re.MULTILINE)
    assert told is not None
    assert set(told[1].replace("#", "").split()) == KINDS.keys()
