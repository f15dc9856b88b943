"""What readings of one device say against each other: each rule on both sides of its limit, and what must not alarm."""

import math
from collections.abc import Mapping, Sequence

import pytest

from collectors.checks import Checked, Checks
from collectors.fluids import heat_watts
from collectors.profile_model import Derived
from storage.point import FieldValue, Point

SECOND = 1_000_000_000
SHELF_TOTALS = (
    Derived(
        to="power.active_watts",
        sum={"circuit": "psu-*", "side": "output"},
        tags={"kind": "power_shelf", "circuit": "total", "side": "output"},
    ),
)
TCS_HEAT = (Derived(to="coolant.heat_watts", heat="pg25", tags={"loop": "tcs"}),)


def row(measurement: str, tags: str, at_s: float = 0.0, **fields: FieldValue) -> Point:
    """Return a point of the device shelf-1; tags are written kind=meter,side=input."""
    own = dict(part.split("=") for part in tags.split(",") if part)
    return Point(measurement, {"rack": "A01", "device": "shelf-1", **own}, fields, round(at_s * SECOND))


def power(tags: str, **fields: FieldValue) -> Point:
    names = {"w": "active_watts", "va": "apparent_volt_amperes", "v": "voltage_volts", "a": "current_amperes"}
    names |= {"pf": "power_factor_ratio", "rated": "rated_watts"}
    return row("power", tags, 0.0, **{names[name]: value for name, value in fields.items()})


def loop(at_s: float = 0.0, *, supply: float = 45.0, back: float = 55.0, **carrier: FieldValue) -> list[Point]:
    return [
        row("coolant", "kind=cdu,loop=tcs,point=supply", at_s, temperature_celsius=supply),
        row("coolant", "kind=cdu,loop=tcs,point=return", at_s, temperature_celsius=back),
        row("coolant", "kind=cdu,loop=tcs", at_s, **carrier),
    ]


def fields_of(checked: Checked) -> dict[str, Mapping[str, FieldValue]]:
    """Return the fields left, by the tags of their row."""
    return {
        " ".join(v for k, v in p.tags.items() if k not in ("rack", "device")): p.fields
        for p in checked.points
        if p.measurement != "check"
    }


def failed_rules(checked: Checked) -> list[str]:
    return [p.tags["rule"] for p in checked.points if p.measurement == "check" and p.fields["failed"] == 1]


def check(*points: Point, derived: Sequence[Derived] = ()) -> Checked:
    return Checks().check(points, derived)


OUT = "kind=power_shelf,circuit=psu-208,side=output"
IN = "kind=power_shelf,circuit=psu-208,side=input"
METER = "kind=meter,circuit=total,side=input"
PHASE = "kind=rack_pdu,circuit=phase,phase=1,side=input"


@pytest.mark.parametrize(
    ("tags", "fields"),
    [
        (OUT, {"w": 4869.0, "v": 50.2, "a": 97.0}),  # 4869.4 W
        (OUT, {"w": 4640.0, "v": 50.2, "a": 97.0}),  # 4.7 % below
        (METER, {"w": 100_200.0, "v": 400.0, "a": 150.0, "pf": 0.965}),  # sqrt(3) x 400 x 150 x 0.965 = 100 286
        (METER, {"w": 100_200.0, "v": 231.0, "a": 150.0, "pf": 0.965}),  # 3 x 231 x 150 x 0.965 = 100 312
        (PHASE, {"w": 3_000.0, "v": 230.0, "a": 13.2, "pf": 0.985}),  # 2990 W
        (PHASE, {"w": 1_780.0, "v": 400.0, "a": 7.8, "pf": 0.985}),  # 400 V between lines: 3073 / sqrt(3) = 1774
        (PHASE, {"w": 3_000.0, "v": 230.0, "a": 13.2, "pf": -0.985}),  # a leading factor
        (PHASE, {"w": 3_000.0, "v": 230.0, "a": 13.2, "pf": 0.0}),  # a factor that is not known
        (PHASE, {"w": 40.0, "v": 230.0, "a": 0.3, "pf": 0.9}),  # 62 W: too small to prove anything
        (PHASE, {"w": 560.0, "v": 230.0, "a": 3.0, "pf": 1.0}),  # amperes in whole numbers: 2 to 4 A
        (IN, {"w": 5.0, "v": 277.0, "a": 0.0, "pf": 0.1}),
        (OUT, {"w": 0.0, "v": 0.0, "a": 0.0}),  # a dead supply
        (METER, {"w": 1_500.0, "va": 1_600.0, "pf": 0.97}),
        (METER, {"w": 5_000.0, "va": 6_500.0, "pf": 0.95}),  # factor of the fundamental wave, with harmonics
        ("kind=switch,circuit=psu-1,side=input", {"w": 300.0, "v": 230.0, "a": 1.4}),
    ],
)
def test_powers_that_agree_pass_as_they_are(tags: str, fields: Mapping[str, float]) -> None:
    point = power(tags, **fields)
    checked = check(point)
    assert list(checked.points) == [point]
    assert checked.rejected == ()


@pytest.mark.parametrize(
    ("tags", "fields", "rule", "text"),
    [
        (OUT, {"w": 4.869, "v": 50.2, "a": 97.0}, "product", "50.2 V x 97 A is 4869 W: a reading in kW?"),
        (OUT, {"w": 4_869_400.0, "v": 50.2, "a": 97.0}, "product", "50.2 V x 97 A is 4869 W: a reading in mW?"),
        (OUT, {"w": 2_811.0, "v": 50.2, "a": 97.0}, "product", "off by sqrt(3)"),
        (OUT, {"w": 486.9, "v": 50.2, "a": 97.0}, "product", "a decimal place?"),
        (OUT, {"w": 4_400.0, "v": 50.2, "a": 97.0}, "product", "is 4869 W"),
        (METER, {"w": 100.2, "v": 400.0, "a": 150.0, "pf": 0.965}, "product", "a reading in kW?"),
        (PHASE, {"w": 3.0, "v": 230.0, "a": 13.2}, "product", "230 V x 13.2 A is"),
        (PHASE, {"w": 3_600.0, "v": 230.0, "a": 13.2}, "product", "230 V x 13.2 A is 3036 W"),
        (METER, {"w": 1.5, "va": 1_600.0, "pf": 0.97}, "product", "1600 VA x PF 0.97 is 1552 W: a reading in kW?"),
        (METER, {"w": 1.5, "va": 1_600.0}, "product", "1600 VA is 1600 W: a reading in kW?"),
        (METER, {"w": 1_901.0, "va": 1_601.0}, "apparent", "1901 W is more than 1601 VA"),
        (METER, {"w": 1_753.0, "va": 1_601.0, "pf": 0.99}, "apparent", "1753 W is more than 1601 VA"),
    ],
)
def test_watts_that_contradict_volts_and_amperes_are_withheld_with_the_likely_mistake(
    tags: str, fields: Mapping[str, float], rule: str, text: str
) -> None:
    checked = check(power(tags, **fields))
    assert failed_rules(checked) == [rule]
    assert "active_watts" not in {name for own in fields_of(checked).values() for name in own}
    assert text in checked.rejected[0]
    assert checked.rejected[0].startswith("power.active_watts[kind=")
    told = next(p for p in checked.points if p.measurement == "check")
    assert text in str(told.fields["text"])


def test_watts_above_the_apparent_power_doubt_both() -> None:
    # 1.02 x 1600 VA = 1632 W and the 50 W that prove nothing, each with the 1 VA and W that both may be rounded to
    at_limit = check(power(METER, w=1_681.5, va=1_600.5, pf=0.99))
    assert failed_rules(at_limit) == []
    beyond = check(power(METER, w=1_690.5, va=1_600.5, pf=0.99))
    assert failed_rules(beyond) == ["apparent"]
    assert fields_of(beyond) == {"meter total input": {"power_factor_ratio": 0.99}}
    assert len(beyond.rejected) == 2


@pytest.mark.parametrize(
    ("given", "taken", "is_wrong"),
    [
        (4_869.0, 4_990.0, False),
        (0.0, 0.0, False),
        (45.0, 0.0, False),  # a supply that stands by feeds a little back
        (5_100.0, 5_000.0, False),  # 1.02
        (5_170.3, 5_000.3, True),  # 1.02 x 5000.3 + 50 = 5150.3
        (4_869.3, 4.9903, True),
    ],
)
def test_more_out_than_in_doubts_both_sides(given: float, taken: float, *, is_wrong: bool) -> None:
    checked = check(power(OUT, w=given), power(IN, w=taken))
    assert (failed_rules(checked) == ["efficiency"]) is is_wrong
    assert (fields_of(checked) == {}) is is_wrong


def test_a_discharging_battery_may_give_more_than_comes_in() -> None:
    points = [power(OUT, w=4_869.3), power(IN, w=100.3)]
    assert failed_rules(check(*points)) == ["efficiency"]
    assert failed_rules(check(*points, row("battery", "unit=bbu", state=2))) == []


def test_an_input_in_kw_is_found_though_the_output_is_in_kw_too() -> None:
    # Volts and amperes say 4869 W; of 4.99 W nothing of the kind can come.
    checked = check(power(OUT, w=4.869, v=50.2, a=97.0), power(IN, w=4.99))
    assert sorted(failed_rules(checked)) == ["efficiency", "product"]
    assert fields_of(checked) == {"power_shelf psu-208 output": {"voltage_volts": 50.2, "current_amperes": 97.0}}


def phases(total: float, *each: float) -> list[Point]:
    parts = [power(f"kind=rack_pdu,circuit=phase,phase={n},side=input", w=w) for n, w in enumerate(each, 1)]
    return [power("kind=rack_pdu,circuit=total,side=input", w=total), *parts]


@pytest.mark.parametrize(
    ("points", "is_wrong"),
    [
        (phases(3_000.0, 990.0, 1_010.0, 1_000.0), False),
        (phases(3_000.0, 1_050.0, 1_050.0, 1_050.0), False),  # 5 % of 3150 and 50 W
        (phases(3_000.3, 1_150.1, 1_150.1, 1_150.1), True),  # 450 W over, 172.5 + 50 allowed
        (phases(3.0003, 990.1, 1_010.1, 1_000.1), True),
        (phases(3_000.3, 990.1, 1_010.1), False),  # the third phase was not told
        (phases(120.0, 30.0, 30.0, 30.0), False),
    ],
)
def test_three_phases_add_up_to_the_total_which_is_doubted_else(points: Sequence[Point], *, is_wrong: bool) -> None:
    checked = check(*points)
    assert (failed_rules(checked) == ["sum"]) is is_wrong
    assert ("rack_pdu total input" not in fields_of(checked)) is is_wrong
    assert sum("phase" in name for name in fields_of(checked)) == len(points) - 1


def test_outlets_may_be_some_of_all_but_never_more_than_the_total() -> None:
    total = power("kind=rack_pdu,circuit=total,side=input", w=3_000.3)
    few = [power(f"kind=rack_pdu,circuit=outlet-{n},side=input", w=200.1) for n in range(4)]
    many = [power(f"kind=rack_pdu,circuit=outlet-{n},side=input", w=200.1) for n in range(20)]
    assert failed_rules(check(total, *few)) == []
    assert failed_rules(check(total, *many)) == ["sum"]


def test_devices_of_one_gateway_are_judged_each_by_itself() -> None:
    total = power("device=a,kind=rack_pdu,circuit=total,side=input", w=100.3)
    parts = [power(f"device=b,kind=rack_pdu,circuit=outlet-{n},side=input", w=900.1) for n in range(4)]
    assert failed_rules(check(total, *parts)) == []


def test_what_was_summed_of_withheld_watts_is_withheld_too() -> None:
    good = power("kind=power_shelf,circuit=psu-209,side=output", w=4_800.0, v=50.0, a=96.0)
    wrong = power(OUT, w=4.8, v=50.0, a=96.0)
    total = power("kind=power_shelf,circuit=total,side=output", w=4_804.8)
    checked = check(good, wrong, total, derived=SHELF_TOTALS)
    left = fields_of(checked)
    assert "power_shelf total output" not in left
    assert left["power_shelf psu-209 output"]["active_watts"] == 4_800.0
    assert any("is made of readings that are withheld" in text for text in checked.rejected)


def test_a_total_that_the_device_tells_itself_stays() -> None:
    wrong = power(OUT, w=4.8, v=50.0, a=96.0)
    total = power("kind=power_shelf,circuit=total,side=output", w=9_600.0)
    left = fields_of(check(wrong, total, derived=SHELF_TOTALS))
    assert left["power_shelf total output"] == {"active_watts": 9_600.0}


HEAT = 118_288.8  # 177 L/min of PG25 from 45 to 55 degC


@pytest.mark.parametrize(
    ("told", "is_wrong"),
    [
        (HEAT, False),
        # 25 % of the larger one, and one kelvin of ten: 11.8 kW, and 1 kW
        (HEAT * 1.45, False),
        (HEAT * 1.50, True),
        (HEAT * 0.65, False),
        (HEAT * 0.60, True),
        (HEAT / 1000.0, True),
    ],
)
def test_reported_heat_far_from_the_computed_doubts_both(told: float, *, is_wrong: bool) -> None:
    checked = check(*loop(flow_liters_per_second=2.95, heat_watts=HEAT, heat_reported_watts=told))
    assert (failed_rules(checked) == ["heat"]) is is_wrong
    left = fields_of(checked)["cdu tcs"]
    assert ("heat_watts" not in left and "heat_reported_watts" not in left) is is_wrong
    assert left["flow_liters_per_second"] == 2.95
    if told == HEAT / 1000.0:
        assert "118.3 W reported, 1.183e+05 W by flow and temperatures: a reading in kW?" in checked.rejected[0]


def test_heat_over_a_small_rise_proves_nothing() -> None:
    points = loop(back=46.5, flow_liters_per_second=2.95, heat_watts=HEAT * 0.15, heat_reported_watts=HEAT)
    assert failed_rules(check(*points)) == []


@pytest.mark.parametrize(
    ("back", "flow", "reported", "is_wrong"),
    [
        (44.2, 2.95, 50_000.0, False),  # sensors differ
        (43.9, 2.95, 50_000.0, True),
        (43.9, 2.95, 0.0, False),  # no load
        (41.9, 2.95, 0.0, True),  # nothing cools a loop by 3 K
        (41.9, 0.0, 50_000.0, False),  # it stands still
    ],
)
def test_return_below_supply_doubts_the_heat_made_of_them(
    back: float, flow: float, reported: float, *, is_wrong: bool
) -> None:
    points = loop(back=back, flow_liters_per_second=flow, heat_watts=-9_000.0, heat_reported_watts=reported)
    checked = check(*points)
    assert ("order" in failed_rules(checked)) is is_wrong
    left = fields_of(checked)
    assert ("heat_watts" not in left["cdu tcs"]) is is_wrong
    assert left["cdu tcs return"] == {"temperature_celsius": back}


def test_a_step_of_the_load_between_two_readings_is_no_contradiction() -> None:
    checks = Checks()
    assert failed_rules(checks.check([power(OUT, w=2_000.3), power(IN, w=2_080.3)])) == []
    # The output was read just after the load rose, the input just before.
    assert failed_rules(checks.check([power(OUT, w=3_000.3), power(IN, w=2_080.3)])) == []
    assert failed_rules(checks.check([power(OUT, w=3_000.3), power(IN, w=2_080.3)])) == ["efficiency"]


def test_a_mistake_of_units_is_found_in_the_first_poll_that_has_it() -> None:
    checks = Checks()
    assert failed_rules(checks.check([power(OUT, w=4_869.0, v=50.2, a=97.0)])) == []
    assert failed_rules(checks.check([power(OUT, w=4.869, v=50.2, a=97.0)])) == ["product"]


def test_a_failure_is_told_each_poll_and_for_ten_minutes_after() -> None:
    checks = Checks()

    def poll(at_s: float, watts: float) -> list[Mapping[str, FieldValue]]:
        point = row("power", OUT, at_s, active_watts=watts, voltage_volts=50.2, current_amperes=97.0)
        told = [p for p in checks.check([point]).points if p.measurement == "check"]
        assert all(p.time_ns == point.time_ns for p in told)
        for p in told:
            common = {"rack": "A01", "device": "shelf-1"}
            assert p.tags == {**common, "rule": "product", "subject": "power psu-208 output"}
        return [p.fields for p in told]

    assert poll(0.0, 4_869.0) == []
    first, second = poll(5.0, 4.869), poll(10.0, 4.869)
    assert [(f[0]["failed"], f[0]["failures_total"]) for f in (first, second)] == [(1, 1), (1, 2)]
    assert first[0]["deviation_ratio"] == pytest.approx(4.869 / 4869.4 - 1.0)
    assert poll(15.0, 4_869.0) == [{"failed": 0, "failures_total": 2}]
    assert poll(609.0, 4_869.0) == [{"failed": 0, "failures_total": 2}]
    assert poll(611.0, 4_869.0) == []
    assert poll(616.0, 4_869_000.0)[0]["failures_total"] == 3
    assert poll(621.0, 4_869_000.0)[0]["deviation_ratio"] == 2.0


def test_boards_and_ports_pass_untouched() -> None:
    points = [
        Point("gpu", {"gpu": "GPU-1"}, {"power_watts": 700.0}, 1),
        Point("interface", {"device": "leaf-1", "interface": "Ethernet0"}, {"rx_bytes_total": 1.0}, 1),
    ]
    assert list(check(*points).points) == points


class Device:
    """Three noisy readings of a coolant unit, one of which may hang; 5 s between polls."""

    def __init__(self, checks: Checks) -> None:
        self.checks = checks
        self.number = 0
        self.held: dict[str, float] = {}

    def poll(self, amplitude: float = 1.0, resolution: float = 0.0) -> Checked:
        self.number += 1
        at_s = 5.0 * self.number
        wave = {
            "temperature": 45.0 + amplitude * 0.31 * math.sin(1.7 * self.number),
            "flow": 3.0 + amplitude * 0.11 * math.sin(2.3 * self.number),
            "pressure": 3e5 + amplitude * 900.0 * math.sin(2.9 * self.number),
        }
        wave |= self.held
        if resolution:
            wave["temperature"] = round(wave["temperature"] / resolution) * resolution
        return self.checks.check(
            [
                row("coolant", "kind=cdu,loop=tcs,point=supply", at_s, temperature_celsius=wave["temperature"]),
                row("coolant", "kind=cdu,loop=tcs,point=return", at_s, temperature_celsius=55.0),
                row("coolant", "kind=cdu,loop=tcs", at_s, flow_liters_per_second=wave["flow"]),
                row("coolant", "kind=cdu,loop=tcs,point=filter_in", at_s, pressure_pascals=wave["pressure"]),
            ],
            TCS_HEAT,
        )

    def polls_until_failed(self, most: int) -> int:
        return next((n for n in range(1, most + 1) if failed_rules(self.poll())), most)


def test_a_noisy_reading_that_stands_still_while_others_move_is_stuck_and_told_after_100_s() -> None:
    device = Device(Checks())
    for _ in range(20):
        assert failed_rules(device.poll()) == []
    device.held = {"flow": 3.0}
    # It typically changes every 5 s: more than 20 x 5 s without a change. The first poll changes to the held value.
    assert device.polls_until_failed(100) == 22
    checked = device.poll()
    told = next(p for p in checked.points if p.measurement == "check")
    assert told.tags["subject"] == "coolant tcs flow_liters_per_second"
    assert "a sensor that hangs?" in str(told.fields["text"])
    assert fields_of(checked).keys() == {"cdu tcs supply", "cdu tcs return", "cdu tcs filter_in"}
    device.held = {}
    device.poll()
    assert failed_rules(device.poll()) == []


def test_heat_is_withheld_with_the_flow_that_it_was_made_of() -> None:
    checks, failed = Checks(), []
    for number in range(80):
        flow = 3.0 if number > 30 else 3.0 + 0.11 * math.sin(2.3 * number)
        supply = 45.0 + 0.31 * math.sin(1.7 * number)
        heat = heat_watts("pg25", flow, supply, 55.0)
        assert heat is not None
        points = loop(5.0 * number, supply=supply, flow_liters_per_second=flow, heat_watts=heat)
        pressure = {"pressure_pascals": 3e5 + number % 7}
        points.append(row("coolant", "kind=cdu,loop=tcs,point=filter_in", 5.0 * number, **pressure))
        checked = checks.check(points, TCS_HEAT)
        if failed_rules(checked):
            failed.append(number)
            assert "cdu tcs" not in fields_of(checked)
    assert failed


def test_all_that_stand_still_together_are_not_stuck() -> None:
    device = Device(Checks())
    for _ in range(20):
        device.poll()
    device.held = {"temperature": 45.0, "flow": 3.0, "pressure": 3e5}
    assert device.polls_until_failed(200) == 200


def test_a_reading_at_rest_at_zero_is_not_stuck() -> None:
    device = Device(Checks())
    for _ in range(20):
        device.poll()
    device.held = {"flow": 0.0}
    assert device.polls_until_failed(200) == 200


def test_a_constant_was_never_noisy_and_cannot_be_stuck() -> None:
    device = Device(Checks())
    device.held = {"flow": 3.0}
    assert device.polls_until_failed(200) == 200


def test_a_coarse_reading_may_rest_for_minutes() -> None:
    device = Device(Checks())
    for _ in range(40):
        assert failed_rules(device.poll(resolution=0.1)) == []
    assert [failed_rules(device.poll(amplitude=0.1, resolution=1.0)) for _ in range(200)] == [[]] * 200


def test_a_smooth_reading_that_is_finer_than_its_changes_is_stuck_too() -> None:
    checks, first = Checks(), 0
    for number in range(80):
        # It climbs without noise, a little faster all the time, and never rests.
        flow = 3.0 + 1e-5 * (number + 1) ** 2.5 if number < 40 else 3.5
        points = [
            row("coolant", "kind=cdu,loop=tcs,point=supply", 5.0 * number, temperature_celsius=40.0 + math.sin(number)),
            row("coolant", "kind=cdu,loop=tcs,point=return", 5.0 * number, temperature_celsius=50.0 + math.cos(number)),
            row("coolant", "kind=cdu,loop=tcs", 5.0 * number, flow_liters_per_second=flow),
        ]
        first = first or (number if failed_rules(checks.check(points)) else 0)
    # 100 s after poll 40, in the poll after that
    assert first == 61


def test_a_total_made_of_withheld_watts_is_not_stuck_besides() -> None:
    checks = Checks()
    for number in range(80):
        wrong = number > 30
        watts = 4_800.0 + 7.0 * math.sin(2.1 * number)
        parts = [
            row(
                "power",
                OUT,
                5.0 * number,
                active_watts=4.8 if wrong else watts,
                voltage_volts=watts / 96.0,
                current_amperes=96.0,
            ),
            row("power", IN, 5.0 * number, active_watts=watts * 1.03),
            row("power", IN.replace("208", "209"), 5.0 * number, active_watts=watts * 1.04),
        ]
        told = float(parts[0].fields["active_watts"])
        total = row("power", "kind=power_shelf,circuit=total,side=output", 5.0 * number, active_watts=told)
        assert failed_rules(checks.check([*parts, total], SHELF_TOTALS)) == (["product"] if wrong else [])


def test_memory_is_bounded_and_forgets_after_an_hour() -> None:
    checks = Checks()
    checks.check([row("power", f"kind=rack_pdu,circuit=outlet-{n}", 0.0, active_watts=1.0) for n in range(500)])
    assert len(checks) == 500
    checks.check([row("power", "kind=rack_pdu,circuit=outlet-0", 5_000.0, active_watts=2.0)])
    assert len(checks) <= 2
    for poll in range(50):
        checks.check([row("power", f"kind=rack_pdu,circuit=x{poll}-{n}", 1.0, active_watts=1.0) for n in range(500)])
    assert len(checks) <= 20_000
