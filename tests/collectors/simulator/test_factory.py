"""The physics: power and heat are conserved, counters are exact, truth is what a poller can integrate."""

import sys
import time
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from collectors.simulator.cooling import LIQUID_RATIO, carry, pg25_heat_per_liter, water_heat_per_liter
from collectors.simulator.factory import IDLE_CONDITIONS, Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.ledger import Ledger, Totals
from collectors.simulator.power import supply_efficiency
from collectors.simulator.state import Counters

START = 1_760_000_000.0


def build(gpus: int = 64, seed: int = 1, speed: float = 1.0, start: float = START) -> Factory:
    return Factory(build_layout(gpus, seed=seed), seed=seed, start=start, speed=speed)


def every_array(value: Any) -> list[np.ndarray]:
    """Return all arrays in a state, however deep."""
    if isinstance(value, np.ndarray):
        return [value]
    if is_dataclass(value):
        return [array for item in fields(value) for array in every_array(getattr(value, item.name))]
    return []


def test_power_is_handed_on_from_board_to_meter() -> None:
    factory = build()
    for second in range(1, 121):
        factory.advance(START + second)
        state = factory.state
        boards = state.gpus.power_watts.reshape(-1, 8).sum(axis=1)
        assert (state.nodes.power_watts > boards + 1_000.0).all()
        nodes = [state.nodes.power_watts[2 * rack : 2 * rack + 2].sum() for rack in range(4)]
        assert state.shelves.output_watts == pytest.approx(np.array(nodes) * 1.004)
        assert state.shelves.psu_output_watts.sum(axis=1) == pytest.approx(state.shelves.output_watts)
        assert state.shelves.psu_input_watts.sum(axis=1) == pytest.approx(state.shelves.input_watts)
        efficiency = state.shelves.output_watts / state.shelves.input_watts
        assert ((efficiency > 0.94) & (efficiency < 0.98)).all()
        assert state.pdus.watts.sum() * 0.945 == pytest.approx(state.switches.psu_watts.sum())
        facility, it, *_ = state.meters.watts
        assert it == pytest.approx(state.shelves.input_watts.sum() + state.pdus.watts.sum())
        assert 1.05 < facility / it < 1.4


def test_facility_power_is_all_loads_and_the_transformers_loss() -> None:
    state = build().state
    facility, it, *_ = state.meters.watts
    pumps, liquid = state.cdus.power_watts.sum(), state.cdus.heat_watts.sum()
    house = 0.01 * (4 * 33_000.0 + 22_000.0)
    plant = 0.045 * liquid + (it + pumps - liquid) / 4.5
    assert facility * (1 - 0.012) == pytest.approx(it + pumps + house + plant)


def test_heat_given_is_heat_carried_and_heat_stored() -> None:
    factory = build()
    stored = factory._cooling.stored_joules.copy()
    given = carried = 0.0
    factory.faults.inject("idle_job", "node-a01-1", START + 30)
    for second in range(1, 301):
        factory.advance(START + second)
        given = given + factory.state.shelves.output_watts * LIQUID_RATIO
        carried = carried + factory.state.racks.heat_watts
    stored = factory._cooling.stored_joules - stored
    assert stored == pytest.approx(given - carried)
    # a host that stops working leaves the loop carrying more than it gets, but no more than the plates held
    assert stored[0] < 0
    assert abs(stored[0]) < 25 * 6_000.0


def test_shown_heat_is_exactly_that_of_flow_and_temperatures() -> None:
    factory = build(gpus=512)
    for second in range(1, 31):
        factory.advance(START + second)
        racks, cdus = factory.state.racks, factory.state.cdus
        mean = 0.5 * (racks.supply_celsius + racks.return_celsius)
        rise = racks.return_celsius - racks.supply_celsius
        expected = pg25_heat_per_liter(mean) * racks.flow_liters_per_second * rise
        assert racks.heat_watts == pytest.approx(expected, rel=1e-12)
        mean = 0.5 * (cdus.tcs_supply_celsius + cdus.tcs_return_celsius)
        rise = cdus.tcs_return_celsius - cdus.tcs_supply_celsius
        expected = pg25_heat_per_liter(mean) * cdus.tcs_flow_liters_per_second * rise
        assert cdus.heat_watts == pytest.approx(expected, rel=1e-12)
        mean = 0.5 * (cdus.fws_supply_celsius + cdus.fws_return_celsius)
        rise = cdus.fws_return_celsius - cdus.fws_supply_celsius
        assert cdus.heat_watts == pytest.approx(water_heat_per_liter(mean) * cdus.fws_flow_liters_per_second * rise)
        assert cdus.heat_watts.sum() == pytest.approx(racks.heat_watts.sum())
        assert ((cdus.tcs_supply_celsius - cdus.fws_supply_celsius > 3) & (rise > 5)).all()


@pytest.mark.parametrize(
    ("liters_per_minute", "supply", "returned", "liquid", "kilowatts"),
    [
        (42.0, 30.0, 40.0, water_heat_per_liter, 29.08),
        (177.0, 45.0, 55.0, water_heat_per_liter, 121.9),
        (177.0, 45.0, 55.0, pg25_heat_per_liter, 118.3),
        (179.6, 35.0, 45.0, pg25_heat_per_liter, 120.0),
    ],
)
def test_published_heat_examples(
    liters_per_minute: float, supply: float, returned: float, liquid: Any, kilowatts: float
) -> None:
    warm, heat = carry(np.array([kilowatts * 1e3]), np.array([liters_per_minute / 60]), np.array([supply]), liquid)
    assert warm == pytest.approx([returned], abs=0.01)
    assert heat == pytest.approx([kilowatts * 1e3])


def test_supplies_are_best_near_half_load() -> None:
    loads = np.array([0.05, 0.3, 0.55, 1.0])
    low, third, best, full = supply_efficiency(loads)
    assert low < third < best > full
    assert best == pytest.approx(0.975, abs=0.001)


def test_counters_are_exact_within_a_step_and_continuous_between_steps() -> None:
    factory = build()
    factory.advance(START + 5)
    energy = factory.state.gpus.energy_joules
    base, watts = energy.base.copy(), factory.state.gpus.power_watts.copy()
    assert energy.at(START + 5.375) == pytest.approx(base + 0.375 * watts, rel=1e-15)
    assert energy.at(START + 5.375, 3) == pytest.approx(base[3] + 0.375 * watts[3], rel=1e-15)
    late = energy.at(START + 6.25)
    assert late == pytest.approx(base + watts, rel=1e-15)
    factory.advance(START + 6.25)
    assert factory.state.time == START + 6
    assert factory.state.gpus.energy_joules.at(START + 6) == pytest.approx(late, rel=1e-15)


def test_counters_count_what_gauges_say() -> None:
    factory = build()
    meters, nodes = factory.state.meters.energy_joules, factory.state.nodes.energy_joules
    before = [factory.state.gpus.energy_joules.base.sum(), nodes.base.sum(), *meters.base]
    shelves, pdus = (part.energy_joules.base.sum() for part in (factory.state.shelves, factory.state.pdus))
    factory.advance(START + 50)
    truth = factory.truth(START, START + 50)
    state = factory.state
    after = [
        state.gpus.energy_joules.base.sum(),
        state.nodes.energy_joules.base.sum(),
        *state.meters.energy_joules.base,
    ]
    moved = [b - a for a, b in zip(before, after, strict=True)]
    expected = [truth.gpu_board_joules, truth.node_joules, truth.facility_joules, truth.it_joules]
    expected += [truth.feed_a_joules, truth.feed_b_joules]
    assert moved == pytest.approx(expected, rel=1e-6)
    racks = state.shelves.energy_joules.base.sum() - shelves
    assert racks == pytest.approx(truth.rack_joules, rel=1e-6)
    network = state.pdus.energy_joules.base.sum() - pdus
    assert racks + network == pytest.approx(truth.it_joules, rel=1e-6)


def test_truth_is_the_integral_of_the_gauges() -> None:
    factory = build()
    factory.faults.inject("gpu_throttle", "B01", START + 20, 15)
    since, until = START + 3.25, START + 57.6
    sglang = [host.deployment == "reasoning" for host in factory.layout.hosts if host.engine is not None]

    def final(passing: Counters, finished: Counters) -> float:
        return float(np.where(sglang, finished.rate, passing.rate).sum())

    sums = dict.fromkeys((item.name for item in fields(Totals)), 0.0)
    for second in range(60):
        factory.advance(START + second)
        overlap = max(0.0, min(until, START + second + 1) - max(since, START + second))
        state = factory.state
        rates = {
            "output_tokens": state.engines.output_tokens.rate.sum(),
            "input_tokens": state.engines.prompt_tokens.rate.sum(),
            "final_output_tokens": final(state.engines.output_tokens, state.engines.finished_output_tokens),
            "final_input_tokens": final(state.engines.prompt_tokens, state.engines.finished_prompt_tokens),
            "gpu_board_joules": state.gpus.power_watts.sum(),
            "node_joules": state.nodes.power_watts.sum(),
            "rack_joules": state.shelves.psu_input_watts.sum(),
            "it_joules": state.meters.watts[1],
            "facility_joules": state.meters.watts[0],
            "coolant_heat_joules": state.cdus.heat_watts.sum(),
            "rack_liquid_joules": state.racks.heat_watts.sum(),
            "feed_a_joules": state.shelves.psu_input_watts[:, 0::2].sum() + state.pdus.watts.sum(),
            "feed_b_joules": state.shelves.psu_input_watts[:, 1::2].sum(),
        }
        for name, rate in rates.items():
            sums[name] += float(rate) * overlap
    assert asdict(factory.truth(since, until)) == pytest.approx(sums, rel=1e-9)


def test_truth_reaches_into_the_present_step_and_no_further() -> None:
    factory = build()
    factory.advance(START + 10)
    watts = float(factory.state.gpus.power_watts.sum())
    assert factory.truth(START + 10.2, START + 10.7).gpu_board_joules == pytest.approx(0.5 * watts)
    for start, end in ((START, START + 12.0), (START - 1, START + 1), (START + 5, START + 5), (START + 6, START + 5)):
        with pytest.raises(ValueError, match="no truth from"):
            factory.truth(start, end)


def test_ledger_keeps_two_hours() -> None:
    ledger = Ledger(START)
    names = [item.name for item in fields(Totals)]
    for second in range(1, 7_401):
        ledger.set_rates(Totals(*(float(second * place) for place in range(len(names)))))
        ledger.step(START + second)
    end = START + 7_400
    # rates 201 .. 7400 per second in the last two hours
    assert ledger.between(end - 7_200, end).input_tokens == pytest.approx(7_200 * (201 + 7_400) / 2)
    assert ledger.between(end - 7_200.5, end - 7_199.5).node_joules == pytest.approx(3 * (200 + 201) / 2)
    with pytest.raises(ValueError, match="no truth from"):
        ledger.between(START, end)


def test_a_jump_of_the_clock_is_held_and_counted() -> None:
    factory = build(gpus=8)
    watts = float(factory.state.gpus.power_watts.sum())
    factory.advance(START + 3_600)
    assert factory.state.time == START + 3_600
    assert factory.truth(START + 100, START + 3_500).gpu_board_joules == pytest.approx(3_400 * watts)


def test_a_clock_that_goes_back_changes_nothing() -> None:
    factory = build(gpus=8)
    factory.advance(START + 10)
    watts = factory.state.gpus.power_watts.copy()
    factory.advance(START + 4)
    assert factory.state.time == START + 10
    assert (factory.state.gpus.power_watts == watts).all()


def test_same_seed_gives_the_same_history() -> None:
    one, two, other = build(seed=5), build(seed=5), build(seed=6)
    for factory in (one, two, other):
        factory.advance(START + 50)
    same = [
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(every_array(one.state), every_array(two.state), strict=True)
    ]
    assert all(same)
    assert len(same) > 80
    assert not np.array_equal(one.state.gpus.power_watts, other.state.gpus.power_watts)
    assert one.state.gpus.condition == two.state.gpus.condition


@pytest.mark.parametrize("gpus", [8, 64, 1_032])
def test_levels_tell_idle_from_busy(gpus: int) -> None:
    factory = build(gpus=gpus)
    factory.advance(START + 60)
    state = factory.state.gpus
    share = state.power_watts / state.power_limit_watts
    for gpu, condition in enumerate(state.condition):
        p, activity, processes = share[gpu], state.sm_active_ratio[gpu], state.process_count[gpu]
        if condition == "busy":
            assert p >= 0.30
            assert activity >= 0.05
            assert state.tensor_active_ratio[gpu] >= 0.01
            assert processes == 1
        elif condition == "parked":
            assert 0.13 < p < 0.25
            assert (activity, processes, state.assigned[gpu]) == (0.0, 1, True)
        else:
            assert p < 0.13
            assert (activity, processes) == (0.0, 0)
            assert state.assigned[gpu] == (condition == "reserved_idle")


def test_a_small_site_has_one_parked_host_and_one_free_host() -> None:
    factory = build()
    states = [item["state"] for item in factory.idle()]
    assert sorted(states) == ["parked"] * 8 + ["unallocated_idle"] * 8
    assert {item["since"] for item in factory.idle()} == {START}
    assert build(gpus=8).idle() == []


def test_idle_gpus_stay_the_same_without_faults() -> None:
    factory = build(gpus=1_032)
    before = factory.idle()
    factory.advance(START + 60)
    assert factory.idle() == before
    assert 0.08 < len(before) / 1_032 < 0.2
    assert {item["state"] for item in before} <= IDLE_CONDITIONS


def test_engines_serve_at_the_rates_of_their_models() -> None:
    factory = build(gpus=1_032)
    factory.advance(START + 60)
    layout, engines = factory.layout, factory.state.engines
    for host in layout.hosts:
        if host.engine is None:
            continue
        rate = engines.output_tokens.rate[host.engine]
        if factory.state.gpus.condition[host.gpu_start] != "busy":
            assert (rate, engines.running[host.engine]) == (0.0, 0.0)
        elif host.deployment == "chat-70b":
            assert 5_000 < rate < 14_000
            requests = engines.requests_ok.rate[host.engine]
            assert engines.running[host.engine] == pytest.approx(requests * engines.e2e_seconds[host.engine], abs=0.5)
    assert (engines.cached_tokens.rate < engines.prompt_tokens.rate + 1e-9).all()


def test_speed_hurries_the_load_and_not_the_joules() -> None:
    slow, fast = build(seed=2), build(seed=2, speed=600.0)
    for factory in (slow, fast):
        factory.advance(START + 60)
    for factory in (slow, fast):
        truth = factory.truth(START, START + 60)
        counted = factory.state.gpus.energy_joules
        assert isinstance(counted, Counters)
        assert truth.gpu_board_joules / 60 == pytest.approx(factory.state.gpus.power_watts.sum(), rel=0.2)
    slow_load = slow.state.engines.output_tokens.rate
    assert not np.allclose(slow_load, fast.state.engines.output_tokens.rate, rtol=0.02)
    with pytest.raises(ValueError, match="speed is 0"):
        build(speed=0.0)


def test_bursts_of_training_fill_its_ports_only() -> None:
    factory = build()
    hosts = {host.workload: host for host in factory.layout.hosts}
    names = [switch.name for switch in factory.layout.switches]
    most = {"training": 0.0, "none": 0.0}
    for second in range(1, 19):
        factory.advance(START + second)
        for workload in most:
            host = hosts[workload]
            rate = factory.state.switches.rx_bytes.rate[names.index(host.switch), host.ports[0]]
            most[workload] = max(most[workload], float(rate) * 8)
    assert 200e9 < most["training"] < 400e9
    assert most["none"] < 1e6


def test_a_step_of_10240_gpus_is_cheap(capsys: pytest.CaptureFixture[str]) -> None:
    factory = build(gpus=10_240)
    begin = time.process_time()
    factory.advance(START + 50)
    milliseconds = (time.process_time() - begin) / 50 * 1e3
    with capsys.disabled():
        sys.stdout.write(f"\nsimulator: {milliseconds:.2f} ms of CPU per step of 10,240 GPUs\n")
    assert milliseconds < 20.0
