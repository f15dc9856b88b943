"""The worked numbers of power and coolant, each within 0.1 %, and what gives no number."""

from collections.abc import Callable

import pytest

from collectors import fluids as polled
from dashboard.kpis import cooling, facility, fluids, hvdc

MWH = 3.6e9
IT, TOTAL, REUSED, COMPUTE = 1000 * MWH, 1120 * MWH, 300 * MWH, 926 * MWH
LITERS_PER_MINUTE = 1 / 60


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facility.pue(TOTAL, IT), 1.12),
        (facility.partial_pue(IT, 120 * MWH), 1.12),
        (facility.reuse_factor(REUSED, TOTAL), 0.267857),
        (facility.reuse_effectiveness(TOTAL, REUSED, IT), 0.82),
        (facility.water_usage(450_000, IT), 0.45),
        (facility.carbon_usage(TOTAL, 0.35, IT), 0.392),
        (facility.it_usage(IT, COMPUTE), 1.0799),
        (facility.total_usage(TOTAL, IT, COMPUTE), 1.2095),
        (facility.cooling_efficiency(900 * MWH, 90 * MWH), 10.0),
        (fluids.heat_watts("water", 5.3 * LITERS_PER_MINUTE, 16.1, 20.7), 1698),
        (fluids.heat_watts("water", 42 * LITERS_PER_MINUTE, 30, 40), 29_080),
        (fluids.heat_watts("water", 177 * LITERS_PER_MINUTE, 45, 55), 121_900),
        # 120 kW at 10 K: water at a mean of 45 degC, PG25 at one of 40 degC.
        (fluids.least_flow("water", 120e3, 40, 50), 173.9 * LITERS_PER_MINUTE),
        (fluids.least_flow("pg25", 120e3, 35, 45), 179.6 * LITERS_PER_MINUTE),
        (cooling.flow_per_watt(180 * LITERS_PER_MINUTE, 120e3), 1.5 * LITERS_PER_MINUTE / 1e3),
        (cooling.approach_celsius(32.0, 28.5), 3.5),
        (cooling.effectiveness(42.0, 32.0, 29.5), 0.8),
        # Four times the pressure at twice the flow is the same filter.
        (cooling.corrected_pascals(40e3, 2.0, 1.0), 10e3),
        (cooling.heat_balance_ratio(85e3, 12e3, 100e3), 0.03),
        (cooling.mismatch_ratio(110e3, 100e3), 0.10),
        (fluids.dew_point_celsius(26.5, 0.41), 12.18),
        (fluids.dew_point_celsius(30.0, 0.60), 21.39),
        (hvdc.efficiency(4869.375, 4994.25, 5500), 0.97500),
        (hvdc.usable_watts(8, 33e3, None), 132e3),
        (hvdc.usable_watts(7, 5500, 1), 33e3),
        (hvdc.headroom_ratio(120e3, 132e3), 0.090909),
        (hvdc.stranded_watts(132e3, 104.5e3, 6.6e3), 20.9e3),
        (hvdc.pole_imbalance(412.0, -388.0), 0.03),
        (hvdc.ohms_per_volt(400e3, 800.0), 500),
        (hvdc.ohms_per_volt(80e3, -800.0), 100),
        (hvdc.imbalance([12.55, 12.64, 12.59]), 0.003706),
        (hvdc.imbalance([5.60, 3.69, 5.60]), 0.25655),
        (hvdc.imbalance([8.02, 8.66, 6.91]), 0.12124),
        (hvdc.failover_headroom([40e3, 35e3], [100e3, 90e3]), 15e3),
        (hvdc.failover_ratio([40e3, 35e3], [100e3, 90e3]), 75 / 90),
        # Of three feeds two stay: 2 x 50 kW for 90 kW.
        (hvdc.failover_headroom([30e3] * 3, [50e3] * 3), 10e3),
    ],
)
def test_worked_numbers(found: float, expected: float) -> None:
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("celsius", "flow"), [(25, 59), (30, 71), (35, 89), (40, 119), (45, 177)])
def test_the_published_flow_table_is_a_return_limit_of_55_degrees(celsius: float, flow: float) -> None:
    # 135 kW, 90 % of it liquid; the table is in whole liters per minute.
    found = [fluids.least_flow("water", 0.9 * 135e3, celsius, limit) for limit in (54.8, 55.0)]
    most, least = (each / LITERS_PER_MINUTE for each in found if each is not None)
    assert least - 0.5 <= flow <= most + 0.5


@pytest.mark.parametrize(("fluid", "expected"), [("water", 121.9), ("pg25", 118.3)])
def test_what_177_liters_a_minute_carry(fluid: fluids.Fluid, expected: float) -> None:
    # The coarser fits of older tables differ by up to 0.5 % in specific heat.
    assert fluids.heat_watts(fluid, 177 * LITERS_PER_MINUTE, 45, 55) == pytest.approx(expected * 1e3, rel=5e-3)


@pytest.mark.parametrize("fluid", ["water", "pg25"])
@pytest.mark.parametrize("celsius", [5.0, 20.0, 40.0, 60.0, 90.0])
def test_the_collectors_take_the_same_properties(fluid: fluids.Fluid, celsius: float) -> None:
    polled_per_liter = polled.density(fluid, celsius) * polled.specific_heat(fluid, celsius) / 1000
    assert fluids.heat_per_liter(fluid, celsius) == pytest.approx(polled_per_liter, rel=1e-12)
    assert fluids.dew_point_celsius(celsius, 0.5) == pytest.approx(polled.dew_point_celsius(celsius, 0.5), rel=1e-12)


@pytest.mark.parametrize(
    "nothing",
    [
        lambda: facility.pue(1.0, 0.0),
        lambda: facility.total_usage(1.0, 0.0, 1.0),
        lambda: fluids.heat_per_liter("water", 4.9),
        lambda: fluids.heat_per_liter("pg25", 90.1),
        lambda: fluids.least_flow("water", 1e3, 55.0, 55.0),
        lambda: fluids.dew_point_celsius(20.0, 0.0),
        lambda: fluids.dew_point_celsius(20.0, 1.01),
        lambda: cooling.corrected_pascals(1e3, 0.19, 1.0),
        lambda: cooling.flow_per_watt(1.0, 0.0),
        lambda: cooling.effectiveness(30.0, 29.0, 30.0),
        lambda: cooling.heat_balance_ratio(1.0, 1.0, 0.0),
        lambda: cooling.mismatch_ratio(1.0, 0.0),
        # 9.9 % of 5.5 kW.
        lambda: hvdc.efficiency(544.0, 560.0, 5500),
        lambda: hvdc.efficiency(0.0, 50.0, None),
        lambda: hvdc.headroom_ratio(1.0, 0.0),
        lambda: hvdc.imbalance([5.0]),
        lambda: hvdc.imbalance([0.0, 0.0]),
        lambda: hvdc.pole_imbalance(0.0, 0.0),
        lambda: hvdc.ohms_per_volt(1.0, 0.0),
        lambda: hvdc.failover_headroom([1.0], [2.0]),
        lambda: hvdc.failover_ratio([1.0], [2.0]),
    ],
)
def test_what_gives_no_number(nothing: Callable[[], float | None]) -> None:
    assert nothing() is None


def test_supplies_that_a_load_needs() -> None:
    assert [hvdc.units_needed(watts, 5500) for watts in (0.0, 5500.0, 5501.0, 33_000.0)] == [1, 1, 2, 6]
    assert hvdc.share_errors([90.0, 110.0]) == pytest.approx([-0.1, 0.1])
    assert hvdc.usable_watts(1, 5500, 2) == 0
