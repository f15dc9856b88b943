"""Faults: each does what it says, to its object alone, for as long as it was asked to."""

from pathlib import Path

import numpy as np
import pytest

from collectors.simulator.factory import Factory
from collectors.simulator.faults import KINDS, SLOW_SECONDS, load_script
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


def test_restarted_engine_counts_from_zero_and_serves_again(factory: Factory) -> None:
    engine = factory.layout.hosts[0].engine
    assert factory.state.engines.output_tokens.base[engine] > 1e6
    factory.faults.inject("engine_restart", "node-a01-1", START + 5)
    factory.advance(START + 10)
    engines = factory.state.engines
    assert engines.start_time[engine] == START + 5
    assert engines.output_tokens.at(START + 10.5, engine) == 0.0
    assert engines.requests_ok.at(START + 10.5, engine) == 0.0
    assert conditions(factory, "node-a01-1") == {"busy"}
    truth = factory.truth(START, START + 10)
    factory.advance(START + 30)
    tokens = factory.state.engines.output_tokens.at(START + 30.0, engine)
    assert 5 * 4_000 < tokens < 5 * 15_000
    assert truth.output_tokens > 0


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
    with pytest.raises(ValueError, match=r"unknown fault: 'leek', did you mean 'leak'\? Allowed: device_silent, "):
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


def test_every_kind_says_what_it_does() -> None:
    assert all(kind.help.endswith(".") for kind in KINDS.values())


def test_the_shipped_script_fits_the_default_site(factory: Factory) -> None:
    factory.faults.register_devices(switch.name for switch in factory.layout.switches)
    script = Path(__file__).parents[3] / "config" / "demo.yaml"
    load_script(script, factory.faults, start=START, speed=1.0)
    assert [fault.kind for fault in factory.faults.known] == ["gpu_lost", "feed_lost", "leak", "device_silent"]
