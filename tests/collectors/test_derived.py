"""Sums, heat and differences, against the worked numbers of the field."""

from collections.abc import Mapping, Sequence

import pytest

from collectors.derived import Gap, Row, derive, imbalance
from collectors.profile import Derived
from collectors.series import make_series


def row(measurement: str, tags: Mapping[str, str], **fields: float) -> Row:
    return Row(make_series(measurement, tags), dict(fields))


def gap(measurement: str, field: str, **tags: str) -> Gap:
    return Gap(make_series(measurement, tags), field)


def seen(found: Sequence[Row | Gap]) -> list[tuple[dict[str, str], dict[str, float]]]:
    """Return tags and fields of the rows; none of what is withheld."""
    return [(dict(r.series.tags), dict(r.fields)) for r in found if isinstance(r, Row)]  # type: ignore[arg-type]


def withheld(found: Sequence[Row | Gap]) -> list[tuple[dict[str, str], str]]:
    return [(dict(g.series.tags), g.field) for g in found if isinstance(g, Gap)]


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
    silent = [gap("power", "active_watts", circuit="psu3", side="input")]
    found = derive(TOTAL, SUPPLIES, silent)
    assert seen(found) == []
    assert withheld(found) == [({"kind": "power_shelf", "circuit": "total", "side": "input"}, "active_watts")]
    for other in (("active_watts", "output"), ("current_amperes", "input")):
        assert seen(derive(TOTAL, SUPPLIES, [gap("power", other[0], circuit="psu3", side=other[1])]))


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


@pytest.mark.parametrize(
    ("amperes", "ratio"),
    [((12.55, 12.64, 12.59), 0.0037), ((5.60, 3.69, 5.60), 0.2565), ((8.02, 8.66, 6.91), 0.1212)],
)
def test_imbalance_meets_the_worked_numbers(amperes: tuple[float, ...], ratio: float) -> None:
    assert imbalance(amperes) == pytest.approx(ratio, abs=5e-5)


PHASES = [
    row("power", {"circuit": "phase", "side": "input", "phase": f"L{number}"}, current_amperes=value)
    for number, value in enumerate((5.60, 3.69, 5.60), start=1)
]
IMBALANCE = Derived(
    to="power.imbalance_ratio",
    tags={"circuit": "total", "side": "input"},
    imbalance=("power.current_amperes", {"phase": "L*"}),
)


def test_imbalance_of_phases_is_told_of_the_whole() -> None:
    # mean 4.96333, the furthest is 3.69: 1.27333 / 4.96333
    ((tags, fields),) = seen(derive(IMBALANCE, PHASES, []))
    assert tags == {"circuit": "total", "side": "input"}
    assert fields["imbalance_ratio"] == pytest.approx(0.256548, abs=1e-6)


def test_imbalance_needs_all_rows_that_were_asked_for() -> None:
    missing = [gap("power", "current_amperes", circuit="phase", side="input", phase="L3")]
    found = derive(IMBALANCE, PHASES[:2], missing)
    assert (seen(found), len(withheld(found))) == ([], 1)


@pytest.mark.parametrize("values", [(), (5.0,), (0.0, 0.0), (-1.0, 1.0)])
def test_no_imbalance_of_one_value_or_of_nothing(values: tuple[float, ...]) -> None:
    rows = [row("power", {"phase": f"L{n}"}, current_amperes=value) for n, value in enumerate(values)]
    assert derive(IMBALANCE, rows, []) == []


def test_a_tag_in_braces_makes_one_result_for_each_of_its_values() -> None:
    rule = Derived(
        to="power.active_watts", tags={"circuit": "{circuit}", "side": "input"}, sum={"phase": "L*", "side": "input"}
    )
    rows = [
        row("power", {"circuit": "a", "phase": "L1", "side": "input"}, active_watts=1.0),
        row("power", {"circuit": "a", "phase": "L2", "side": "input"}, active_watts=2.0),
        row("power", {"circuit": "b", "phase": "L1", "side": "input"}, active_watts=4.0),
    ]
    found = derive(rule, rows, [gap("power", "active_watts", circuit="b", phase="L2", side="input")])
    assert seen(found) == [({"circuit": "a", "side": "input"}, {"active_watts": 3.0})]
    assert withheld(found) == [({"circuit": "b", "side": "input"}, "active_watts")]


EFFICIENCY = Derived(
    to="power.efficiency_ratio",
    tags={"circuit": "{circuit}"},
    quotient=(
        "power.active_watts",
        {"circuit": "psu*", "side": "output"},
        {"circuit": "psu*", "side": "input"},
    ),
)


def test_a_quotient_is_one_row_over_another() -> None:
    # 4869.375 W / 4994.25 W; psu2 tells its input alone
    ((tags, fields),) = seen(derive(EFFICIENCY, SUPPLIES, []))
    assert tags == {"circuit": "psu1"}
    assert fields["efficiency_ratio"] == pytest.approx(0.97500, abs=5e-6)


@pytest.mark.parametrize(
    "rows",
    [
        SUPPLIES[2:3],
        SUPPLIES[:1],
        [SUPPLIES[2], row("power", {"circuit": "psu1", "side": "input"}, active_watts=0.0)],
        [*SUPPLIES, row("power", {"circuit": "psu1", "side": "output", "feed": "B"}, active_watts=1.0)],
        [
            row("power", {"circuit": "psu1", "side": "output"}, active_watts=8.0),
            row("power", {"circuit": "psu1", "side": "input"}, active_watts=49.9),
        ],
    ],
    ids=["no divisor", "no dividend", "divisor of 0", "two dividends", "a supply that idles"],
)
def test_no_quotient_unless_it_is_one_over_one(rows: list[Row]) -> None:
    assert seen(derive(EFFICIENCY, rows, [])) == []


FACILITY = [
    row("coolant", {"kind": "cdu", "loop": "tcs", "point": "supply"}, temperature_celsius=33.0),
    row("coolant", {"kind": "cdu", "loop": "fws", "point": "supply"}, temperature_celsius=30.0),
    row("coolant", {"kind": "cdu", "loop": "fws", "point": "return"}, temperature_celsius=38.0),
]


def test_approach_is_one_supply_above_the_other() -> None:
    rule = Derived(to="coolant.approach_celsius", approach=("tcs", "fws"))
    assert seen(derive(rule, FACILITY, [])) == [({"kind": "cdu", "loop": "tcs"}, {"approach_celsius": 3.0})]
    assert derive(rule, FACILITY[:1], []) == []
    assert derive(rule, FACILITY[1:], []) == []


def test_approach_is_told_of_each_unit_apart() -> None:
    def of(device: str, celsius: float) -> list[Row]:
        return [
            row("coolant", {**r.series.tags, "device": device}, temperature_celsius=celsius + number)
            for number, r in enumerate(FACILITY[:2])
        ]

    rule = Derived(to="coolant.approach_celsius", approach=("fws", "tcs"), tags={"kind": "cdu"})
    found = seen(derive(rule, [*of("a", 20.0), *of("b", 25.0)], []))
    assert [(tags["device"], tags["loop"], fields) for tags, fields in found] == [
        ("a", "fws", {"approach_celsius": 1.0}),
        ("b", "fws", {"approach_celsius": 1.0}),
    ]


DEW = Derived(to="environment.dew_point_celsius", dew_point=True)
MARGIN = Derived(to="coolant.dew_margin_celsius", dew_margin=True, tags={"loop": "tcs"})


def test_a_dew_point_is_made_of_temperature_and_humidity() -> None:
    rows = [row("environment", {"point": "ambient"}, temperature_celsius=26.5, humidity_ratio=0.41)]
    ((tags, fields),) = seen(derive(DEW, rows, []))
    assert tags == {"point": "ambient"}
    assert fields["dew_point_celsius"] == pytest.approx(12.18, abs=0.005)


def test_a_dew_point_that_the_device_tells_is_left_alone() -> None:
    rows = [row("environment", {}, temperature_celsius=26.5, humidity_ratio=0.41, dew_point_celsius=12.0)]
    assert derive(DEW, rows, []) == []


def test_the_margin_is_taken_to_the_highest_dew_point() -> None:
    air = [
        row("environment", {"point": "front"}, dew_point_celsius=12.0),
        row("environment", {"point": "back"}, temperature_celsius=30.0, humidity_ratio=0.6),  # 21.39
    ]
    ((tags, fields),) = seen(derive(MARGIN, [*FACILITY, *air], []))
    assert tags == {"kind": "cdu", "loop": "tcs"}
    assert fields["dew_margin_celsius"] == pytest.approx(33.0 - 21.39, abs=0.005)


@pytest.mark.parametrize(
    "missing",
    [
        [gap("environment", "dew_point_celsius", point="back")],
        [gap("environment", "humidity_ratio", point="back"), gap("environment", "temperature_celsius", point="back")],
    ],
    ids=["told", "made"],
)
def test_the_margin_is_withheld_while_a_dew_point_is_not_known(missing: list[Gap]) -> None:
    air = row("environment", {"point": "front"}, dew_point_celsius=12.0)
    found = derive(MARGIN, [*FACILITY, air], missing)
    assert (seen(found), len(withheld(found))) == ([], 1)


def test_a_thermometer_without_a_hygrometer_withholds_no_margin() -> None:
    air = row("environment", {"point": "front"}, dew_point_celsius=12.0)
    missing = [gap("environment", "temperature_celsius", point="door")]
    assert [f for _, f in seen(derive(MARGIN, [*FACILITY, air], missing))] == [{"dew_margin_celsius": 21.0}]
    assert derive(MARGIN, FACILITY, []) == []


def test_the_air_of_another_device_is_not_this_one_s() -> None:
    loops = [row("coolant", {**FACILITY[0].series.tags, "device": name}, temperature_celsius=33.0) for name in "ab"]
    air = [row("environment", {"device": name}, dew_point_celsius=dew) for name, dew in (("a", 10.0), ("c", 30.0))]
    found = seen(derive(MARGIN, [*loops, *air], []))
    assert [(tags["device"], fields) for tags, fields in found] == [("a", {"dew_margin_celsius": 23.0})]


POLES = Derived(to="bus.imbalance_ratio", poles=("positive", "negative"))


def test_the_poles_difference_is_taken_over_their_sum() -> None:
    # | 404 - 396 | / 800
    rows = [
        row("bus", {"pole": pole}, voltage_volts=volts)
        for pole, volts in (("positive", 404.0), ("negative", -396.0), ("total", 800.0))
    ]
    ((tags, fields),) = seen(derive(POLES, rows, []))
    assert tags == {"pole": "total"}
    assert fields["imbalance_ratio"] == pytest.approx(0.01)
    assert derive(POLES, rows[1:], []) == []
    dead = [row("bus", {"pole": pole}, voltage_volts=0.0) for pole in ("positive", "negative")]
    assert derive(POLES, dead, []) == []
