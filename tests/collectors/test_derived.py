"""Sums, heat and differences, against the worked numbers of the field."""

from collections.abc import Mapping

import pytest

from collectors.derived import Fluid, Gap, Row, density, derive, heat_watts, specific_heat
from collectors.profile import Derived
from collectors.series import make_series


def row(measurement: str, tags: Mapping[str, str], **fields: float) -> Row:
    return Row(make_series(measurement, tags), dict(fields))


def seen(rows: list[Row]) -> list[tuple[dict[str, str], dict[str, float]]]:
    return [(dict(r.series.tags), dict(r.fields)) for r in rows]  # type: ignore[arg-type]


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


def test_fluid_properties_at_40_degrees() -> None:
    assert density("water", 40) == pytest.approx(992.3, abs=0.05)
    assert specific_heat("water", 40) == pytest.approx(4178.8, abs=0.05)
    assert density("pg25", 40) == pytest.approx(1009.9, abs=0.05)
    assert specific_heat("pg25", 40) == pytest.approx(3968.8, abs=0.05)


@pytest.mark.parametrize(("supply", "back"), [(0.0, 9.9), (90.0, 90.2), (-20.0, 20.0)])
def test_no_heat_outside_the_range_of_the_fit(supply: float, back: float) -> None:
    assert heat_watts("water", 1.0, supply, back) is None


def test_heat_of_a_loop_that_flows_backwards_is_negative() -> None:
    forth = heat_watts("water", 1.0, 30, 40)
    assert forth is not None
    assert heat_watts("water", 1.0, 40, 30) == pytest.approx(-forth)


LOOP = [
    row("coolant", {"kind": "cdu", "loop": "tcs"}, flow_liters_per_second=177 / 60),
    row("coolant", {"kind": "cdu", "loop": "tcs", "point": "supply"}, temperature_celsius=45.0),
    row("coolant", {"kind": "cdu", "loop": "tcs", "point": "return"}, temperature_celsius=55.0),
    row("coolant", {"kind": "cdu", "loop": "fws", "point": "-"}, flow_liters_per_second=42 / 60),
    row("coolant", {"kind": "cdu", "loop": "fws", "point": "supply"}, temperature_celsius=30.0),
    row("coolant", {"kind": "cdu", "loop": "fws", "point": "return"}, temperature_celsius=40.0),
]


def test_each_loop_gets_its_heat_on_the_tags_of_its_flow() -> None:
    rule = Derived(to="coolant.heat_watts", heat="water")
    (tcs, tcs_heat), (fws, fws_heat) = seen(derive(rule, LOOP, []))
    assert tcs == {"kind": "cdu", "loop": "tcs"}
    assert fws == {"kind": "cdu", "loop": "fws"}
    assert tcs_heat["heat_watts"] == pytest.approx(121_900, rel=1e-3)
    assert fws_heat["heat_watts"] == pytest.approx(29_080, rel=1e-3)


def test_tags_of_a_heat_rule_choose_the_loop() -> None:
    rule = Derived(to="coolant.heat_watts", heat="pg25", tags={"loop": "tcs"})
    ((tags, fields),) = seen(derive(rule, LOOP, []))
    assert tags["loop"] == "tcs"
    assert fields["heat_watts"] == pytest.approx(118_300, rel=1e-3)


@pytest.mark.parametrize("lacking", range(3))
def test_no_heat_without_flow_supply_or_return(lacking: int) -> None:
    rows = [r for number, r in enumerate(LOOP[:3]) if number != lacking]
    assert derive(Derived(to="coolant.heat_watts", heat="water"), rows, []) == []


def test_heat_that_the_device_gave_is_left_alone() -> None:
    rows = [*LOOP[1:3], row("coolant", LOOP[0].series.tags, flow_liters_per_second=3.0, heat_watts=7.0)]
    assert derive(Derived(to="coolant.heat_watts", heat="water"), rows, []) == []


def test_temperatures_of_another_loop_do_not_count() -> None:
    assert derive(Derived(to="coolant.heat_watts", heat="water"), [LOOP[0], *LOOP[4:]], []) == []


SUPPLIES = [
    row("power", {"kind": "psu", "circuit": "psu1", "side": "input"}, active_watts=4994.25),
    row("power", {"kind": "psu", "circuit": "psu2", "side": "input"}, active_watts=5000.0),
    row("power", {"kind": "psu", "circuit": "psu1", "side": "output"}, active_watts=4869.375),
    row("power", {"kind": "psu", "circuit": "psu3", "side": "input"}, voltage_volts=277.0),
]
TOTAL = Derived(
    to="power.active_watts",
    tags={"kind": "power_shelf", "circuit": "total", "side": "input"},
    sum={"circuit": "psu*", "side": "input"},
)


def test_a_sum_takes_the_rows_that_match() -> None:
    ((tags, fields),) = seen(derive(TOTAL, SUPPLIES, []))
    assert tags == {"kind": "power_shelf", "circuit": "total", "side": "input"}
    assert fields == {"active_watts": pytest.approx(9994.25)}


def test_a_sum_is_withheld_while_one_of_its_rows_is_missing() -> None:
    def gap(field: str, **tags: str) -> list[Gap]:
        return [Gap(make_series("power", tags), field)]

    assert derive(TOTAL, SUPPLIES, gap("active_watts", circuit="psu3", side="input")) == []
    assert derive(TOTAL, SUPPLIES, gap("active_watts", circuit="psu3", side="output"))
    assert derive(TOTAL, SUPPLIES, gap("current_amperes", circuit="psu3", side="input"))


def test_there_is_no_sum_of_nothing() -> None:
    assert derive(TOTAL, [], []) == []


def test_a_tag_that_a_row_lacks_reads_as_a_dash() -> None:
    rule = Derived(to="power.active_watts", tags={"circuit": "total"}, sum={"phase": "-"})
    rows = [row("power", {"phase": "L1"}, active_watts=1.0), row("power", {"circuit": "a"}, active_watts=2.0)]
    assert seen(derive(rule, rows, [])) == [({"circuit": "total"}, {"active_watts": 2.0})]


def test_a_difference_is_the_first_point_minus_the_second() -> None:
    rows = [
        row("coolant", {"loop": "tcs", "point": "filter_in"}, pressure_pascals=250_000.0),
        row("coolant", {"loop": "tcs", "point": "filter_out"}, pressure_pascals=210_000.0),
        row("coolant", {"loop": "fws", "point": "filter_in"}, pressure_pascals=1.0),
    ]
    rule = Derived(
        to="coolant.differential_pressure_pascals",
        difference=("coolant.pressure_pascals", "filter_in", "filter_out"),
        tags={"point": "filter_in"},
    )
    assert seen(derive(rule, rows, [])) == [
        ({"loop": "tcs", "point": "filter_in"}, {"differential_pressure_pascals": 40_000.0})
    ]
    plain = rule.model_copy(update={"tags": {}})
    assert seen(derive(plain, rows, [])) == [({"loop": "tcs"}, {"differential_pressure_pascals": 40_000.0})]


def test_a_median_takes_what_came_of_one_field() -> None:
    rule = Derived(
        to="bus.voltage_volts",
        tags={"pole": "total"},
        median=("power.voltage_volts", {"circuit": "psu-*", "side": "output"}),
    )
    volts = {"psu-1": 50.1, "psu-2": 50.3, "psu-3": 0.0, "total": 277.0}
    rows = [row("power", {"circuit": c, "side": "output"}, voltage_volts=v) for c, v in volts.items()]
    assert seen(derive(rule, rows, [])) == [({"pole": "total"}, {"voltage_volts": 50.1})]
    assert derive(rule, rows[3:], []) == []
