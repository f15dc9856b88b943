"""Faults of power and coolant in the physics: each on its object alone, and what comes of it."""

import numpy as np
import pytest

from collectors.simulator.cooling import pg25_heat_per_liter
from collectors.simulator.factory import Factory
from collectors.simulator.faults import find_script, load_script
from collectors.simulator.layout import build_layout
from collectors.simulator.plant_faults import places_of

START = 1_760_000_000.0


@pytest.fixture
def factory() -> Factory:
    """A site with shelves A01 HPR, A02 +/-400 V, B01 HPR, B02 800 V; cdu-1 cools A01 and A02, cdu-2 the others."""
    return Factory(build_layout(64), seed=1, start=START)


def test_buses_hold_their_set_point_but_for_a_droop_and_poles_stand_around_the_midpoint(factory: Factory) -> None:
    for second in range(1, 121):
        factory.advance(START + second)
        shelves = factory.state.shelves
        assert shelves.set_point_volts.tolist() == [50.5, 800.0, 50.5, 800.0]
        # droop of 0.75 to 1.2 % at full load, meters wander by 0.05 %
        assert (np.abs(shelves.bus_volts / shelves.set_point_volts - 1) < 0.013).all()
        assert np.isnan(shelves.positive_volts).tolist() == [True, False, True, True]
        assert shelves.positive_volts[1] - shelves.negative_volts[1] == pytest.approx(shelves.bus_volts[1])
        skew = (shelves.positive_volts[1] + shelves.negative_volts[1]) / shelves.bus_volts[1]
        assert abs(skew) < 0.006
        assert (shelves.insulation_ohms > 4e6).all()
        assert ((shelves.ripple_volts > 0) & (shelves.ripple_volts < 0.006 * shelves.bus_volts)).all()


def test_both_feeds_make_the_it_power_and_one_can_carry_it_at_full_load(factory: Factory) -> None:
    factory.advance(START + 5)
    _, it, feed_a, feed_b = factory.state.meters.watts
    assert feed_a + feed_b == pytest.approx(it)
    # of seven supplies four hang on feed A, with the PDU of the switches
    assert feed_a > feed_b > 0.4 * it
    electrics = factory._electrics
    full, plant = np.full(64, 1_000.0), factory._effects.plant
    electrics.step_racks(full, np.ones((4, 7), dtype=np.bool_), plant)
    electrics.step_site(0.0, 0.0)
    rated = factory.layout.meters[2].rated_watts
    assert 0.93 < electrics.meters.watts[1] / rated < 1.0


def test_a_lost_feed_moves_its_power_to_the_other_one(factory: Factory) -> None:
    factory.advance(START + 4)
    before = factory.state.meters.watts[3]
    for rack in factory.layout.racks:
        factory.faults.inject("feed_lost", rack.name, START + 4)
    factory.advance(START + 5)
    _, it, feed_a, feed_b = factory.state.meters.watts
    assert before > 20_000
    assert feed_b == 0.0
    assert feed_a == pytest.approx(it)


def test_a_sagging_bus_sags_alone(factory: Factory) -> None:
    factory.faults.inject("bus_sag", "shelf-a01", START + 1, 10)
    factory.faults.inject("bus_sag", "shelf-b02", START + 1, 10)
    factory.advance(START + 5)
    volts = factory.state.shelves.bus_volts
    assert volts[0] == 47.9
    assert volts[3] == pytest.approx(0.95 * 800, rel=0.01)
    assert volts[1] > 790
    assert volts[2] > 49.5
    factory.advance(START + 12)
    assert factory.state.shelves.bus_volts[0] > 49.5


def test_a_shifted_midpoint_changes_the_poles_and_not_the_bus(factory: Factory) -> None:
    factory.faults.inject("pole_imbalance", "shelf-a02", START + 1)
    factory.advance(START + 5)
    shelves = factory.state.shelves
    positive, negative = abs(shelves.positive_volts[1]), abs(shelves.negative_volts[1])
    assert abs(positive - negative) / (positive + negative) == pytest.approx(0.03, abs=0.006)
    assert positive + negative == pytest.approx(shelves.bus_volts[1])
    assert shelves.bus_volts[1] > 790


def test_a_damp_pole_leaks_and_the_other_one_does_not(factory: Factory) -> None:
    factory.faults.inject("insulation_low", "shelf-b02", START + 1)
    factory.advance(START + 5)
    ohms = factory.state.shelves.insulation_ohms
    assert ohms[3, 0] == pytest.approx(60e3, rel=0.3)
    assert ohms[3, 1] > 4e6
    assert (ohms[:3] > 4e6).all()


def test_a_lost_phase_loads_the_others_with_the_same_power(factory: Factory) -> None:
    factory.faults.inject("phase_loss", "pdu-n01", START + 1)
    factory.advance(START + 2)
    pdus = factory.state.pdus
    assert (pdus.phase_volts[0, 1], pdus.phase_amperes[0, 1]) == (0.0, 0.0)
    assert (pdus.phase_volts[0, [0, 2]] > 225).all()
    carried = (pdus.phase_volts * pdus.phase_amperes).sum(axis=1)
    assert carried == pytest.approx(pdus.volt_amperes)
    assert pdus.watts[0] == pytest.approx(factory.state.switches.psu_watts.sum() / 0.945)


def test_a_starved_loop_carries_the_same_heat_with_less_coolant(factory: Factory) -> None:
    factory.advance(START + 30)
    cdus = factory.state.cdus
    flow, heat, back = cdus.tcs_flow_liters_per_second, cdus.heat_watts, cdus.tcs_return_celsius
    factory.faults.inject("low_flow", "cdu-2", START + 31, 60)
    factory.advance(START + 60)
    cdus = factory.state.cdus
    assert cdus.tcs_flow_liters_per_second / flow == pytest.approx([1.0, 0.4], abs=0.05)
    assert cdus.heat_watts / heat == pytest.approx([1.0, 1.0], abs=0.05)
    # the rise of 10 K becomes one of 25 K
    assert back[1] == pytest.approx(42.0, abs=2.0)
    assert cdus.tcs_return_celsius[1] == pytest.approx(57.0, abs=3.0)
    rise = cdus.tcs_return_celsius - cdus.tcs_supply_celsius
    mean = cdus.tcs_supply_celsius + 0.5 * rise
    assert cdus.heat_watts == pytest.approx(pg25_heat_per_liter(mean) * cdus.tcs_flow_liters_per_second * rise)
    factory.advance(START + 110)
    factory.advance(START + 160)
    assert factory.state.cdus.tcs_flow_liters_per_second[1] > 0.8 * flow[1]


def test_a_stuck_sensor_repeats_what_it_read_while_the_coolant_flows_on(factory: Factory) -> None:
    factory.advance(START + 10)
    factory.faults.inject("sensor_stuck", "cdu-1/flow", START + 11, 40)
    shown, real, heat = [], [], []
    for second in range(11, 60):
        factory.advance(START + second)
        shown.append(float(factory.state.cdus.tcs_flow_liters_per_second[0]))
        real.append(float(factory.state.racks.flow_liters_per_second[:2].sum()))
        heat.append(float(factory.state.cdus.heat_watts.sum() - factory.state.racks.heat_watts.sum()))
    assert set(shown[:40]) == {real[0]}
    assert len(set(real)) == len(real)
    assert shown[40:] == real[40:]
    assert max(map(abs, heat)) < 1e-3


def test_a_wet_cdu_loses_coolant_and_is_filled_again(factory: Factory) -> None:
    full = factory.state.cdus.level_ratio[0]
    factory.faults.inject("leak", "cdu-1", START + 1, 100)
    for second in range(1, 101):
        factory.advance(START + second)
    # 100 s at 0.05 % each, and the gauge's noise of 0.1 %
    assert factory.state.cdus.level_ratio[0] == pytest.approx(full - 0.05, abs=0.006)
    for second in range(101, 501):
        factory.advance(START + second)
    assert factory.state.cdus.level_ratio[0] == pytest.approx(full, abs=0.006)


@pytest.mark.parametrize("gpus", [64, 72, 1_024, 10_240])
def test_the_script_fits_every_site_and_gives_each_object_a_pause(gpus: int) -> None:
    factory = Factory(build_layout(gpus), seed=1, start=START)
    load_script(find_script("facility"), factory.faults, start=START, speed=1.0)
    faults = factory.faults.known
    kinds = "leak pump_lost low_flow psu_lost bus_sag pole_imbalance insulation_low phase_loss sensor_stuck"
    assert {fault.kind for fault in faults} == {*kinds.split(), "unit_silent", "kw_for_w"}
    spans: dict[str, list[tuple[float, float]]] = {}
    for fault in faults:
        assert fault.end is not None
        spans.setdefault(fault.object.partition("/")[0], []).append((fault.start, fault.end))
    for times in spans.values():
        pauses = [later[0] - earlier[1] for earlier, later in zip(sorted(times), sorted(times)[1:], strict=False)]
        assert all(pause >= 15 for pause in pauses)
    assert max(fault.end or 0.0 for fault in faults) - START <= 180


def test_places_lead_from_a_part_to_its_rack_and_from_a_cdu_to_what_it_cools(factory: Factory) -> None:
    layout = factory.layout
    assert places_of(layout, "shelf-a02/11") == ("shelf-a02/11", "shelf-a02", "A02")
    assert places_of(layout, "A01") == ("A01", "shelf-a01")
    assert places_of(layout, "cdu-2/flow") == ("cdu-2/flow", "cdu-2", "tcs-2", "B01", "B02")
    assert places_of(layout, "pdu-n01") == ("pdu-n01", "N01")
    assert places_of(layout, "node-a02-2/3") == ("node-a02-2/3", "node-a02-2", "A02", "sglang-node-a02-2")
