"""Properties of coolants and air against CoolProp, and the worked numbers of the field within 0.1 %."""

import pytest
from CoolProp.CoolProp import PropsSI

from collectors.fluids import Fluid, density, dew_point_celsius, heat_watts, specific_heat

COOLPROP: dict[Fluid, str] = {"water": "Water", "pg25": "INCOMP::MPG-25%"}
KELVIN = 273.15
ATMOSPHERE, LOOP = 101_325.0, 300_000.0


@pytest.mark.parametrize("fluid", COOLPROP)
@pytest.mark.parametrize("pascals", [ATMOSPHERE, LOOP])
def test_properties_stay_within_a_two_thousandth_of_coolprop(fluid: Fluid, pascals: float) -> None:
    for celsius in range(5, 91):
        state = ("T", celsius + KELVIN, "P", pascals, COOLPROP[fluid])
        assert density(fluid, celsius) == pytest.approx(PropsSI("D", *state), rel=5e-4)
        assert specific_heat(fluid, celsius) == pytest.approx(PropsSI("C", *state), rel=5e-4)


def test_properties_at_40_degrees() -> None:
    assert density("water", 40) == pytest.approx(992.3, rel=1e-3)
    assert specific_heat("water", 40) == pytest.approx(4178.8, rel=1e-3)
    assert density("pg25", 40) == pytest.approx(1009.9, rel=1e-3)
    assert specific_heat("pg25", 40) == pytest.approx(3968.8, rel=1e-3)


HEAT = [  # fluid, L/min, supply degC, return degC, W
    ("water", 5.3, 16.1, 20.7, 1698),
    ("water", 42, 30, 40, 29_080),
    ("water", 177, 45, 55, 121_900),
    ("pg25", 177, 45, 55, 118_300),
    ("water", 173.9, 40, 50, 120_000),
    ("pg25", 179.6, 40, 50, 120_000),
]


@pytest.mark.parametrize(("fluid", "flow", "supply", "back", "watts"), HEAT)
def test_heat_meets_the_worked_numbers(fluid: Fluid, flow: float, supply: float, back: float, watts: float) -> None:
    assert heat_watts(fluid, flow / 60, supply, back) == pytest.approx(watts, rel=1e-3)


@pytest.mark.parametrize(("supply", "back"), [(0.0, 9.9), (90.0, 90.2), (-20.0, 20.0)])
def test_no_heat_outside_the_range_of_the_fit(supply: float, back: float) -> None:
    assert heat_watts("water", 1.0, supply, back) is None


def test_heat_of_a_loop_that_flows_backwards_is_negative() -> None:
    forth = heat_watts("water", 1.0, 30, 40)
    assert forth is not None
    assert heat_watts("water", 1.0, 40, 30) == pytest.approx(-forth)


@pytest.mark.parametrize(("supply", "flow"), [(25, 59), (30, 71), (35, 89), (40, 119), (45, 177)])
def test_the_published_flows_of_a_135_kw_rack_return_at_55_degrees(supply: float, flow: float) -> None:
    """90 % of 135 kW go into the water; what the flow carries per kelvin gives the return temperature."""
    at_limit = heat_watts("water", flow / 60, supply, 55.0)
    assert at_limit is not None
    returned = supply + 0.9 * 135_000 / at_limit * (55.0 - supply)
    assert 54.8 <= round(returned, 1) <= 55.0


@pytest.mark.parametrize(("celsius", "humidity", "dew"), [(26.5, 0.41, 12.18), (30, 0.60, 21.39), (20, 1.0, 20.0)])
def test_dew_points(celsius: float, humidity: float, dew: float) -> None:
    assert dew_point_celsius(celsius, humidity) == pytest.approx(dew, rel=1e-3)


@pytest.mark.parametrize(("celsius", "humidity"), [(20.0, 0.0), (20.0, -0.1), (20.0, 1.01), (-300.0, 0.5)])
def test_no_dew_point_of_air_that_cannot_be(celsius: float, humidity: float) -> None:
    assert dew_point_celsius(celsius, humidity) is None
