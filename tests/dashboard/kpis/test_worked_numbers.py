"""The worked numbers of the KPI definition (4.3) and rules E4 to E16, each by hand."""

import math

import numpy as np
import pytest

from dashboard.kpis.chain import chain
from dashboard.kpis.cooling import return_celsius, total, worst_supply_celsius
from dashboard.kpis.cost import cost_per_million_tokens, idle_cost_per_hour
from dashboard.kpis.efficiency import (
    Quality,
    coverage,
    facility_tokens_per_joule,
    grams_co2_per_million_tokens,
    joules_per_token,
    matched,
    quality,
    share_outside,
    tokens_per_joule,
    useful_watts,
)
from dashboard.kpis.energy import board_energy
from dashboard.kpis.power import headroom_watts, pue
from dashboard.kpis.sources import one_source
from dashboard.kpis.windows import Samples

NAN = math.nan


def one(*samples: tuple[float, float]) -> Samples:
    times, values = (np.array(column, dtype=float) for column in zip(*samples, strict=True))
    return Samples(np.zeros(len(samples), dtype=np.int64), times, values, 1)


def nothing() -> Samples:
    return Samples(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), 1)


LIMIT = np.array([700.0])
STEPS = tuple(float(t) for t in range(0, 61, 5))


def test_llama_70b_on_four_h100() -> None:
    full = tokens_per_joule(6827 * 60, 2548 * 60, 4, (1.0, 1.0))
    assert full.value == pytest.approx(2.68, abs=0.005)
    assert joules_per_token(6827 * 60, 2548 * 60) == pytest.approx(0.373, abs=0.0005)
    small = tokens_per_joule(470 * 60, 1764 * 60, 4, (1.0, 1.0))
    assert small.value == pytest.approx(0.27, abs=0.005)
    assert joules_per_token(470 * 60, 1764 * 60) == pytest.approx(3.76, abs=0.01)


def test_node_factor_and_pue() -> None:
    assert facility_tokens_per_joule(2.68, 0.65, 1.3) == pytest.approx(1.34, abs=0.001)


def test_carbon_of_a_million_tokens() -> None:
    assert grams_co2_per_million_tokens(0.373, 1.3, 400) == pytest.approx(54, abs=0.2)
    assert grams_co2_per_million_tokens(0.373 / 0.65, 1.3, 400) == pytest.approx(83, abs=0.2)


def test_cost_of_a_million_tokens_on_b200() -> None:
    assert cost_per_million_tokens(1.95, 4791.6) == pytest.approx(0.113, abs=0.0005)
    assert cost_per_million_tokens(1.95, 0) is None


def test_useful_watts() -> None:
    assert useful_watts(0.77, 0.68, 0.85, 0.97) == pytest.approx(0.43, abs=0.005)


def test_a_hundred_idle_h100_for_eight_hours() -> None:
    hour = idle_cost_per_hour(100, 100 * 109.0, 1.30, 0.08, 1.3)
    assert 8 * hour == pytest.approx(1049, abs=0.5)
    assert 8 * (hour - 130) == pytest.approx(9, abs=0.1)


def test_e4_the_boards_counter_wins_over_its_power() -> None:
    energy = board_energy(one(*((t, 500 * t) for t in STEPS)), one(*((t, 400.0) for t in STEPS)), LIMIT, 0.0, 60.0)
    assert energy.joules[0] == pytest.approx(30_000)
    assert energy.by_counter[0]


def test_e4_an_impossibly_fast_counter_is_not_believed() -> None:
    energy = board_energy(one(*((t, 1000 * t) for t in STEPS)), one(*((t, 400.0) for t in STEPS)), LIMIT, 0.0, 60.0)
    assert energy.joules[0] == pytest.approx(24_000)
    assert not energy.by_counter[0]


def test_e4_without_a_counter_power_is_integrated() -> None:
    energy = board_energy(nothing(), one(*((t, 400.0) for t in STEPS)), np.array([NAN]), 0.0, 60.0)
    assert energy.joules[0] == pytest.approx(24_000)
    assert energy.covered[0] == 60


def test_e4_without_both_nothing_is_covered() -> None:
    energy = board_energy(nothing(), nothing(), LIMIT, 0.0, 60.0)
    assert energy.covered[0] == 0


def test_e5_counter_and_power_that_disagree_are_suspect() -> None:
    close = board_energy(one(*((t, 410 * t) for t in STEPS)), one(*((t, 400.0) for t in STEPS)), LIMIT, 0.0, 60.0)
    apart = board_energy(one(*((t, 430 * t) for t in STEPS)), one(*((t, 400.0) for t in STEPS)), LIMIT, 0.0, 60.0)
    assert not close.suspect[0]
    assert apart.suspect[0]
    assert apart.joules[0] == pytest.approx(25_800)


def test_e6_a_frozen_counter_gives_way_to_power() -> None:
    energy = board_energy(one(*((t, 5e6) for t in STEPS)), one(*((t, 400.0) for t in STEPS)), LIMIT, 0.0, 60.0)
    assert energy.joules[0] == pytest.approx(24_000)


def test_e6_a_counter_that_is_repeated_for_thirty_seconds_gives_way_to_power() -> None:
    stairs = one(*((t, 400 * 30 * (t // 30)) for t in STEPS))
    energy = board_energy(stairs, one(*((t, 400.0) for t in STEPS)), LIMIT, 20.0, 50.0)
    assert energy.joules[0] == pytest.approx(12_000)


def test_e10_coverage() -> None:
    assert coverage(7 * 60.0, 8, 60.0) == 0.875
    assert coverage(0.0, 0, 60.0) == 0
    assert coverage(9 * 60.0, 8, 60.0) == 1


@pytest.mark.parametrize(
    ("coverages", "expected"),
    [
        ((0.95, 1.0), Quality.OK),
        ((0.949, 1.0), Quality.PARTIAL),
        ((1.0, 0.5), Quality.PARTIAL),
        ((1.0, 0.499), Quality.INVALID),
    ],
)
def test_e11_the_worse_coverage_decides(coverages: tuple[float, ...], expected: Quality) -> None:
    assert quality(*coverages) is expected


def test_e11_nothing_is_scaled_up_and_half_is_withheld() -> None:
    assert tokens_per_joule(100, 100, 1, (1.0, 0.8)).value == 1.0
    assert tokens_per_joule(100, 100, 1, (1.0, 0.4)).value is None


def test_e12_tokens_without_energy_are_invalid() -> None:
    ratio = tokens_per_joule(1000, 3.0, 4, (1.0, 1.0))
    assert (ratio.value, ratio.quality, ratio.why) == (None, Quality.INVALID, "energy is missing")


def test_e16_groups_are_a_ratio_of_sums_never_a_mean_of_ratios() -> None:
    # 100 tokens for 10 J and 100 tokens for 1,000 J: 200 / 1,010, not (10 + 0.1) / 2
    assert tokens_per_joule(100 + 100, 10 + 1000, 2, (1.0,)).value == pytest.approx(0.19802, rel=1e-4)


def test_e14_what_belongs_nowhere_is_a_share_of_the_whole() -> None:
    assert share_outside(np.array([30.0, 60.0, 10.0]), np.array([False, False, True])) == pytest.approx(0.1)
    assert share_outside(np.zeros(2), np.array([True, False])) is None


def test_e4_power_stands_in_before_and_after_the_counter() -> None:
    counter, power = one((10, 1000), (20, 6000)), one(*((t, 500.0) for t in range(0, 31, 5)))
    whole = board_energy(counter, power, LIMIT, 0.0, 30.0)
    assert (whole.joules[0], whole.covered[0], whole.by_counter[0]) == (pytest.approx(15_000), pytest.approx(30), True)
    inner = board_energy(counter, power, LIMIT, 0.0, 30.0, edges=(False, False))
    assert (inner.joules[0], inner.covered[0]) == (pytest.approx(5_000), pytest.approx(10))


def test_e6_a_frozen_counter_of_a_board_without_a_known_limit() -> None:
    counter, power = one(*((t, 7e6) for t in STEPS)), one(*((t, 250.0) for t in STEPS))
    found = board_energy(counter, power, np.array([np.nan]), 0.0, 60.0)
    assert (found.joules[0], found.by_counter[0]) == (pytest.approx(15_000), False)


def test_e13_no_tokens_are_zero_per_joule_and_no_joules_per_token() -> None:
    assert tokens_per_joule(0, 1000, 4, (1.0, 1.0)).value == 0
    assert joules_per_token(0, 1000) is None


def test_e9_groups_count_only_when_both_sides_are_known() -> None:
    # engine and GPUs; GPUs half known; engine silent; training host without engine; host without meters
    told = matched(
        np.array([60.0, 60, 0, 0, 60]), np.array([1.0, 1, 1, 0, 1]), np.array([480.0, 240, 480, 480, 0]),
        np.array([8.0, 8, 8, 8, 0]), 60.0,
    )  # fmt: skip
    assert told.tolist() == [True, False, False, True, False]


def test_one_source_per_rack() -> None:
    # Rack 0: shelf, PDU, building system; rack 1: one of two PDUs silent, building system whole; rack 2: one PDU.
    racks = one_source(
        group=np.array([0, 0, 0, 1, 1, 2]),
        source=np.array([0, 1, 2, 1, 2, 1]),
        joules=np.array([600.0, 610, 590, 300, 640, 50]),
        covered=np.full(6, 60.0),
        expected=np.array([[1.0, 1, 0], [0, 2, 0], [0, 1, 0]]),
        window=60.0,
    )
    assert racks.joules.tolist() == [600, 640, 50]
    assert racks.source.tolist() == [0, 2, 1]
    assert racks.coverage.tolist() == [1, 1, 1]


def test_a_rack_whose_only_source_is_half_silent_tells_what_is_there() -> None:
    racks = one_source(np.array([0]), np.array([1]), np.array([300.0]), np.array([60.0]), np.array([[0.0, 2, 0]]), 60.0)
    assert (racks.joules[0], racks.coverage[0]) == (300, 0.5)


def test_a_rack_without_source_has_none() -> None:
    nobody = np.empty(0, dtype=np.int64)
    racks = one_source(nobody, nobody, np.empty(0), np.empty(0), np.array([[1.0, 0, 0]]), 60.0)
    assert (racks.joules[0], racks.coverage[0], racks.source[0]) == (0, 0, -1)


def test_pue_and_what_is_not_one() -> None:
    assert pue(1120.0, 1000.0, [1.0, 1.0]).value == pytest.approx(1.12)
    assert pue(900.0, 1000.0, [1.0, 1.0]).value is None
    assert pue(1120.0, 0.0, [1.0, 1.0]).value is None
    assert pue(1120.0, 1000.0, [1.0, 0.3]).value is None


def test_headroom() -> None:
    assert headroom_watts(132_000, 120_000) == 12_000
    assert headroom_watts(100_000, 120_000) == -20_000


def test_coolant_of_two_units() -> None:
    assert worst_supply_celsius(np.array([32.0, 34.0, NAN])) == 34
    # (40 x 2 + 46 x 4) / 6 = 44
    assert return_celsius(np.array([40.0, 46.0]), np.array([2.0, 4.0])) == pytest.approx(44)
    assert return_celsius(np.array([40.0, 46.0]), np.array([2.0, NAN])) == 46
    assert return_celsius(np.array([NAN]), np.array([2.0])) is None
    assert worst_supply_celsius(np.array([NAN])) is None


def test_a_sum_of_what_is_known() -> None:
    assert total(np.array([100.0, NAN, 95.0])) == 195
    assert total(np.full(3, NAN)) is None


def test_chain_shows_the_losses_between_known_neighbours() -> None:
    stages = chain({"facility": 1300.0, "it": 1000.0, "rack": 950.0, "node": None, "gpu_board": 650.0})
    assert [stage.boundary for stage in stages] == ["facility", "it", "rack", "gpu_board"]
    assert [stage.loss_watts for stage in stages] == [None, 300, 50, 300]
    assert stages[1].share == pytest.approx(1 / 1.3)
