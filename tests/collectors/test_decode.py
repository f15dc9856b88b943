"""Raw answers become points in base units, or a reason for each that does not."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from collectors.collector import PollResult, Target
from collectors.decode import Batch
from collectors.profile import Profile, Raw
from collectors.unwrap import Unwrap
from storage.schema import MEASUREMENTS

TARGET = Target(
    "shelf-a01",
    "modbus",
    "10.0.0.1:502",
    tags={"site": "S", "source": "c1", "synthetic": "true", "row": "A", "rack": "A01"},
)
PLACE = {"site": "S", "row": "A", "rack": "A01", "device": "shelf-a01", "source": "c1", "synthetic": "true"}


def make(*points: Mapping[str, Any], tags: Mapping[str, str] | None = None, **keys: Any) -> Profile:
    groups = [{"tags": tags or {}, "points": [{"at": "0", **point} for point in points]}]
    head = {"profile": "p", "model": "M", "kind": "k", "protocol": "modbus", "source": "none"}
    return Profile.model_validate({**head, "groups": groups, **keys})


def poll(profile: Profile, raws: Sequence[Raw], row: Mapping[str, str] | None = None) -> PollResult:
    batch = Batch(TARGET, profile)
    for spec, raw in zip(profile.groups[0].points, raws, strict=True):
        batch.add(profile.groups[0], spec, raw, row)
    return batch.finish(7)


def one(raw: Raw, **point: Any) -> float | int | str | None:
    """Return what becomes of one raw reading, or None where it was refused or is no value."""
    result = poll(make(point), [raw])
    return next(iter(result.points[0].fields.values())) if result.points else None


def reason(raw: Raw, **point: Any) -> str:
    result = poll(make(point), [raw])
    assert not result.points
    (text,) = result.rejected
    return text


def test_the_registers_of_a_power_supply_meet_the_worked_numbers() -> None:
    points = [
        {"to": "bus.voltage_volts", "frac_bits": 10, "unit": "V"},
        {"to": "power.current_amperes", "frac_bits": 6, "unit": "A", "tags": {"side": "output"}},
        {"to": "power.active_watts", "frac_bits": 3, "unit": "W", "tags": {"side": "output"}},
        {"to": "power.active_watts", "frac_bits": 3, "unit": "W", "tags": {"side": "input"}},
        {"to": "power.voltage_volts", "frac_bits": 6, "unit": "V", "tags": {"side": "input"}},
        {"to": "power.current_amperes", "frac_bits": 10, "unit": "A", "tags": {"side": "input"}},
        {"to": "environment.temperature_celsius", "frac_bits": 7, "unit": "C", "tags": {"point": "inlet"}},
        {"to": "power.power_factor_ratio", "frac_bits": 9, "tags": {"side": "input"}},
    ]
    result = poll(make(*points), [51405, 6208, 38955, 39954, 17728, 18649, 3520, 507])
    got = {(p.measurement, p.tags.get("side", "-")): p.fields for p in result.points}
    assert got["bus", "-"] == {"voltage_volts": pytest.approx(50.2002, abs=5e-5)}
    assert got["power", "output"] == {"current_amperes": 97.0, "active_watts": 4869.375}
    assert got["power", "input"] == {
        "active_watts": 4994.25,
        "voltage_volts": 277.0,
        "current_amperes": pytest.approx(18.212, abs=5e-4),
        "power_factor_ratio": pytest.approx(0.9902, abs=5e-5),
    }
    assert got["environment", "-"] == {"temperature_celsius": 27.5}
    assert not result.rejected


UNITS = [  # field, unit, raw, base value
    ("power.active_watts", "kW", 1.5, 1500.0),
    ("power.apparent_volt_amperes", "kVA", 2, 2000.0),
    ("power.voltage_volts", "mV", 50_200, 50.2),
    ("power.current_amperes", "mA", 18_212, 18.212),
    ("power.energy_joules_total", "kWh", 0.5, 1.8e6),
    ("power.energy_joules_total", "Wh", 2, 7200.0),
    ("gpu.energy_joules_total", "mJ", 5_000, 5.0),
    ("gpu.energy_joules_total", "uJ", 5_000_000, 5.0),
    ("coolant.temperature_celsius", "F", 104, 40.0),
    ("coolant.temperature_celsius", "K", 313.15, 40.0),
    ("coolant.approach_celsius", "K", 3, 3.0),
    ("coolant.dew_margin_celsius", "F", 9, 5.0),
    ("environment.humidity_ratio", "%", 41, 0.41),
    ("coolant.flow_liters_per_second", "L/min", 177, 2.95),
    ("coolant.flow_liters_per_second", "gpm", 10, 0.6309020),
    ("coolant.flow_liters_per_second", "m3/h", 3.6, 1.0),
    ("coolant.pressure_pascals", "kPa", 150, 150_000.0),
    ("coolant.pressure_pascals", "bar", 1.5, 150_000.0),
    ("coolant.pressure_pascals", "psi", 18.4, 126_863.5),
    ("coolant.conductivity_siemens_per_meter", "uS/cm", 1000, 0.1),
    ("coolant.conductivity_siemens_per_meter", "mS/cm", 1, 0.1),
    ("coolant.turbidity_ntu", "NTU", 4, 4.0),
    ("coolant.pump_speed_rpm", "rpm", 2900, 2900.0),
    ("gpu.memory_used_bytes", "MiB", 2, 2_097_152.0),
    ("gpu.memory_used_bytes", "GB", 2, 2e9),
    ("gpu.sm_clock_hertz", "MHz", 1980, 1.98e9),
    ("interface.speed_bits_per_second", "Gbit/s", 400, 4e11),
    ("bus.insulation_ohms", "kohm", 500, 5e5),
    ("gpu.throttle_power_seconds_total", "us", 2_500_000, 2.5),
    ("gpu.throttle_power_seconds_total", "ns", 2_500_000_000, 2.5),
    ("transceiver.rx_power_watts", "dBm", 0, 0.001),
    ("transceiver.rx_power_watts", "dBm", -30, 1e-6),
    ("transceiver.rx_power_watts", "mW", 0.5, 0.0005),
]


@pytest.mark.parametrize(("to", "unit", "raw", "expected"), UNITS)
def test_units_become_base_units(to: str, unit: str, raw: float, expected: float) -> None:
    assert one(raw, to=to, unit=unit) == pytest.approx(expected, rel=1e-6)


def test_scale_offset_and_fraction_bits_come_before_the_unit() -> None:
    # rackmon's battery temperatures: raw x 0.1 minus 273.15 degC
    assert one(3001, to="battery.temperature_celsius", scale=0.1, offset=-273.15, unit="C") == pytest.approx(26.95)
    assert one(212, to="battery.temperature_celsius", scale=0.5, offset=-2, unit="F") == pytest.approx(40.0)
    assert one(-200, to="transceiver.rx_power_watts", scale=0.1, unit="dBm") == pytest.approx(1e-5)


@pytest.mark.parametrize(("raw", "expected"), [(117, 1170.0), ("117", 1170.0), (" 1.5e1 ", 150.0), (True, 10.0)])
def test_numbers_may_come_as_text(raw: Raw, expected: float) -> None:
    value = one(raw, to="power.active_watts", scale=10)
    assert value == expected
    assert isinstance(value, float)


BAD = [  # raw, point, words
    (-1, {"null_if": [-1]}, "blank value"),
    ("-1", {"null_if": [-1]}, "blank value"),
    (-1, {"null_if": ["-1"]}, "blank value"),
    ("N/A", {"null_if": ["N/A"]}, "blank value"),
    (999.9, {"null_if": [999.9]}, "blank value"),
    (math.nan, {}, "not finite"),
    (math.inf, {}, "not finite"),
    (-math.inf, {}, "not finite"),
    ("nan", {}, "not finite"),
    (10**400, {}, "not finite"),
    ("many", {}, "not a number"),
    ("", {}, "not a number"),
    ("1_000", {}, "not a number"),
    ("0x10", {}, "not a number"),
    (None, {}, "not a number"),
    (b"12", {}, "not a number"),
    ([1], {}, "not a number"),
    (61, {"max": 60, "unit": "kW"}, "61000 is above 60000 watts"),
    (4, {"min": 5}, "4 is below 5 watts"),
    (-3, {}, "-3 is below 0 watts; fed back, or current transformers turned round"),
    (2e9, {}, "2e+09 is above 1e+09 watts"),
]


@pytest.mark.parametrize(("raw", "point", "words"), BAD)
def test_what_says_nothing_is_refused_with_its_reason(raw: Any, point: dict[str, Any], words: str) -> None:
    text = reason(raw, to="power.active_watts", tags={"circuit": "total"}, **point)
    shown = repr(raw) if len(repr(raw)) <= 60 else repr(raw)[:60] + "..."
    assert text == f"power.active_watts[circuit=total]={shown}: {words}"


def test_a_long_answer_is_cut_in_the_message() -> None:
    assert reason("x" * 1000, to="power.active_watts") == f"power.active_watts='{'x' * 59}...: not a number"


def test_a_power_of_minus_infinity_is_refused() -> None:
    assert "not finite" in reason(1e6, to="transceiver.rx_power_watts", unit="dBm")


def test_states_are_mapped_and_unknown_ones_refused() -> None:
    health = {"OK": 0, "Warning": 1, "Critical": 2, "Absent": None}
    point = {"to": "leak.state", "enum": health}
    assert one("Warning", **point) == 1
    assert one(" OK ", **point) == 0
    result = poll(make(point), ["Absent"])
    assert not result.points
    assert not result.rejected
    assert reason("Melted", **point) == "leak.state='Melted': not among the profile's states"


@pytest.mark.parametrize("raw", [2, "2", 2.0])
def test_states_match_as_number_and_as_text(raw: Raw) -> None:
    assert one(raw, to="interface.oper_up", enum={1: 1, 2: 0}) == 0
    assert one(raw, to="interface.oper_up", enum={"1": 1, "2": 0}) == 0


def test_booleans_are_states() -> None:
    assert one(True, to="interface.oper_up") == 1
    assert one(False, to="interface.oper_up") == 0
    assert one(True, to="leak.state", enum={True: 2, False: 0}) == 2


def test_states_stay_whole() -> None:
    value = one("1", to="interface.oper_up")
    assert value == 1
    assert isinstance(value, int)
    assert one(2**63 + 1, to="gpu.clock_event_mask") == 2**63 + 1
    assert reason(0.5, to="interface.oper_up") == "interface.oper_up=0.5: not a whole number"
    assert reason(7, to="leak.state") == "leak.state=7: 7 is above 3"


def test_texts_are_kept_without_the_space_around_them() -> None:
    assert one(" SONiC.202505 ", to="switch.version") == "SONiC.202505"
    assert one(17, to="switch.version") == "17"
    assert reason(" ", to="switch.version") == "switch.version=' ': blank value"
    assert reason("n/a", to="switch.version", null_if=["n/a"]) == "switch.version='n/a': blank value"


def test_each_named_bit_is_a_row() -> None:
    point = {"to": "alarm_bits.active", "flags": {0: "ac_under_voltage", 10: "relay_off", 11: "psu{unit}_pfc_fail"}}
    result = poll(make(point), [0b1000_0000_0001], {"unit": "3"})
    assert {p.tags["bit"]: p.fields["active"] for p in result.points} == {
        "ac_under_voltage": 1,
        "relay_off": 0,
        "psu3_pfc_fail": 1,
    }
    assert reason("x", **point).endswith("='x': not a whole number")
    assert reason(0xFFFF, null_if=[0xFFFF], **point).endswith("=65535: blank value")


def test_tags_are_the_target_s_then_the_group_s_then_the_point_s() -> None:
    profile = make(
        {"to": "power.active_watts", "tags": {"side": "input", "circuit": "{phase}{unit}", "feed": "{feed}"}},
        {"to": "coolant.valve_ratio"},
        tags={"circuit": "total", "kind": "psu", "phase": "L{phase}", "loop": "tcs"},
    )
    power, coolant = poll(profile, [1, 0.5], {"phase": "1", "unit": "a"}).points
    assert power.tags == PLACE | {"kind": "psu", "circuit": "1a", "side": "input", "phase": "L1"}
    assert coolant.tags == PLACE | {"kind": "psu", "loop": "tcs"}
    for point in (power, coolant):
        known = MEASUREMENTS[point.measurement].tags
        assert list(point.tags) == [name for name in known if name in point.tags]
    assert power.time_ns == 7


def test_a_dash_leaves_the_tag_out_and_takes_the_target_s_away() -> None:
    profile = make({"to": "coolant.valve_ratio", "tags": {"point": "-", "rack": "-"}})
    (point,) = poll(profile, [0.5]).points
    assert point.tags == {name: value for name, value in PLACE.items() if name != "rack"}


def test_a_gateway_names_device_and_rack_itself() -> None:
    profile = make({"to": "power.active_watts", "tags": {"device": "{rack}", "rack": "{rack}"}})
    (point,) = poll(profile, [1.0], {"rack": "B07"}).points
    assert point.tags["device"] == point.tags["rack"] == "B07"
    assert list(point.tags) == ["site", "row", "rack", "device", "source", "synthetic"]


def test_a_row_that_names_the_target_joins_the_target_s_own_point() -> None:
    profile = make({"to": "power.active_watts"}, {"to": "power.voltage_volts", "tags": {"device": "{device}"}})
    (point,) = poll(profile, [1.0, 2.0], {"device": "shelf-a01"}).points
    assert point.fields == {"active_watts": 1.0, "voltage_volts": 2.0}


@pytest.mark.parametrize(("identity", "tag"), [("device", "device"), ("host", "host"), ("endpoint", "endpoint")])
def test_the_profile_says_which_tag_names_the_target(identity: str, tag: str) -> None:
    profile = make({"to": "inference.awake"}, identity=identity)
    (point,) = poll(profile, [1]).points
    assert point.tags[tag] == "shelf-a01"
    assert [name for name in ("device", "host", "endpoint") if name in point.tags] == [tag]


def test_the_host_of_the_inventory_wins_over_the_target_s_name() -> None:
    profile = make({"to": "gpu.power_watts", "tags": {"gpu": "GPU-1"}}, identity="host")
    batch = Batch(Target("dcgm-1", "exposition", "http://x", tags={"host": "node-1"}), profile)
    batch.add(profile.groups[0], profile.groups[0].points[0], 300.0)
    assert batch.finish(0).points[0].tags == {"host": "node-1", "gpu": "GPU-1"}


def test_tags_that_the_measurement_lacks_do_not_come_from_the_target() -> None:
    profile = make({"to": "leak.state"})
    batch = Batch(Target("x", "modbus", "y", tags={"scope": "rack", "rack": "A01"}), profile)
    batch.add(profile.groups[0], profile.groups[0].points[0], 0)
    assert batch.finish(0).points[0].tags == {"rack": "A01", "device": "x"}


def test_a_second_reading_of_one_series_is_refused_not_mixed() -> None:
    profile = make({"to": "power.active_watts"})
    batch = Batch(TARGET, profile)
    for unit, raw in (("1", 10.0), ("2", 20.0)):
        batch.add(profile.groups[0], profile.groups[0].points[0], raw, {"unit": unit})
    result = batch.finish(0)
    assert [p.fields for p in result.points] == [{"active_watts": 10.0}]
    assert result.rejected == ("power.active_watts=20.0: a second reading for the same series",)


SUM = {
    "to": "power.active_watts",
    "tags": {"kind": "power_shelf", "circuit": "total", "side": "input"},
    "sum": {"circuit": "psu*"},
}
SUPPLY = {"to": "power.active_watts", "tags": {"circuit": "psu{unit}", "side": "input"}, "null_if": [-1]}


def shelf(raws: Mapping[str, float], missing: Sequence[str] = ()) -> PollResult:
    profile = make(SUPPLY, derived=[SUM])
    group = profile.groups[0]
    batch = Batch(TARGET, profile)
    for unit, raw in raws.items():
        batch.add(group, group.points[0], raw, {"unit": unit})
    for unit in missing:
        batch.miss(f"unit {unit}: no answer", group, None, {"unit": unit})
    return batch.finish(0)


def test_derived_values_are_points_of_the_target() -> None:
    total = next(p for p in shelf({"1": 100.0, "2": 50.0}).points if p.tags["circuit"] == "total")
    assert total.fields == {"active_watts": 150.0}
    assert total.tags == PLACE | {"kind": "power_shelf", "circuit": "total", "side": "input"}


def test_a_supply_that_is_silent_or_blank_withholds_the_total() -> None:
    silent, blank = shelf({"1": 100.0}, missing=["2"]), shelf({"1": 100.0, "2": -1})
    for result in (silent, blank):
        assert [p.tags["circuit"] for p in result.points] == ["psu1"]
    assert silent.missing == ("unit 2: no answer",)
    assert blank.rejected == ("power.active_watts[circuit=psu2,side=input]=-1: blank value",)


def test_an_implausible_derived_value_is_refused() -> None:
    result = shelf({"1": 6e8, "2": 6e8})
    assert all(p.tags["circuit"] != "total" for p in result.points)
    (text,) = result.rejected
    assert text.endswith("=1200000000.0: 1.2e+09 is above 1e+09 watts")


def test_a_missing_reading_that_is_not_part_of_a_group_withholds_nothing() -> None:
    profile = make(SUPPLY, derived=[SUM])
    batch = Batch(TARGET, profile)
    batch.add(profile.groups[0], profile.groups[0].points[0], 5.0, {"unit": "1"})
    batch.miss("a table is gone")
    assert len(batch.finish(0).points) == 2


def test_a_point_made_by_the_protocol_module_decodes_like_the_profile_s() -> None:
    profile = make({"to": "power.current_amperes", "unit": "A"})
    group, spec = profile.groups[0], profile.groups[0].points[0]
    batch = Batch(TARGET, profile)
    batch.add(group, spec.model_copy(update={"scale": 0.001, "tags": {"phase": "{phase}"}}), 7467, {"phase": "1"})
    batch.add(group, spec, 12.0, {"phase": "1"})
    assert [(p.tags.get("phase"), p.fields["current_amperes"]) for p in batch.finish(0).points] == [
        ("1", pytest.approx(7.467)),
        (None, 12.0),
    ]


def test_an_empty_poll_has_no_points() -> None:
    assert Batch(TARGET, make({"to": "leak.state"})).finish(0) == PollResult((), (), ())


def test_rows_without_end_do_not_fill_the_memory() -> None:
    profile = make({"to": "leak.state", "tags": {"detector": "{n}"}})
    group, spec = profile.groups[0], profile.groups[0].points[0]
    series = profile.readings[id(group), id(spec)].series
    for number in range(50_000):
        series.fill((("n", str(number)),))
    assert len(series) <= 20_000


def test_a_hundred_thousand_readings_cost_less_than_two_cpu_seconds() -> None:
    """A floor that no busy machine misses: 20,000 values per second must stay small beside the network's cost."""
    names = ("active_watts", "voltage_volts", "current_amperes", "frequency_hertz", "power_factor_ratio")
    points = [{"to": f"power.{name}", "scale": 0.01, "tags": {"circuit": "{unit}"}} for name in names]
    profile = make(*points)
    rows = [{"unit": str(number)} for number in range(200)]
    begun = time.process_time()
    for stamp in range(100):
        batch = Batch(TARGET, profile)
        for row in rows:
            for spec in profile.groups[0].points:
                batch.add(profile.groups[0], spec, 5000 if "hertz" in spec.to else 50, row)
        assert len(batch.finish(stamp).points) == 200
    assert time.process_time() - begun < 2.0


AMPERES = {"to": "power.current_amperes", "unit": "A", "scale_if": {"amperes": {0: 1, 1: 0.1}}}
WARMTH = {"to": "environment.temperature_celsius", "unit_if": {"degrees": {0: "C", "1": "F"}}, "scale": 0.1, "max": 180}


def scaled(point: Mapping[str, Any], raw: Raw, row: Mapping[str, str]) -> tuple[Any, str]:
    """Return the value of one reading in a row, or None and why there is none."""
    result = poll(make(point), [raw], row)
    value = next(iter(result.points[0].fields.values())) if result.points else None
    return value, " ".join(result.rejected)


@pytest.mark.parametrize(
    ("raw", "setting", "amperes"), [(54, "0", 54.0), (54, "1", 5.4), ("54", " 1 ", 5.4), (54.0, "1.0", 5.4)]
)
def test_a_device_wide_setting_chooses_the_scale(raw: Raw, setting: str, amperes: float) -> None:
    assert scaled(AMPERES, raw, {"amperes": setting}) == (pytest.approx(amperes), "")


def test_a_setting_chooses_the_unit_and_the_limits_stand_in_that_unit() -> None:
    assert scaled(WARMTH, 250, {"degrees": "0"}) == (pytest.approx(25.0), "")
    assert scaled(WARMTH, 770, {"degrees": "1"}) == (pytest.approx(25.0), "")  # (77 F - 32) / 1.8
    assert scaled(WARMTH, 1750, {"degrees": "1"}) == (pytest.approx(79.444444), "")
    # 181 F are 82.8 degC, above the limit of 180 F
    assert "above 82.2222 celsius" in scaled(WARMTH, 1810, {"degrees": "1"})[1]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({}, "its scale is not told: amperes is not known"),
        ({"amperes": ""}, "its scale is not told: amperes is not known"),
        ({"amperes": "2"}, "its scale is not told by amperes='2'"),
    ],
)
def test_a_reading_whose_setting_is_not_known_is_refused(row: Mapping[str, str], why: str) -> None:
    value, text = scaled(AMPERES, 54, row)
    assert value is None
    assert text.endswith(why)


def test_a_reading_without_its_unit_is_refused() -> None:
    assert scaled(WARMTH, 250, {"degrees": "K"})[1].endswith("its unit is not told by degrees='K'")


ENERGY = {"to": "power.energy_joules_total", "unit": "Wh", "wrap": 9_999_001}


def test_a_counter_goes_on_where_it_wrapped_from_poll_to_poll() -> None:
    """It stood at 9,998,990 Wh, grew by 20 Wh and began anew at 9,999,001: 9,999,010 Wh, then 9 Wh more."""
    profile, unwrap, told = make(ENERGY), Unwrap(10.0), []
    for number, raw in enumerate([9_998_970, 9_998_990, 9, 18]):
        batch = Batch(TARGET, profile, unwrap)
        batch.add(profile.groups[0], profile.groups[0].points[0], raw)
        told.append(batch.finish(number * 10 * 10**9).points[0].fields["energy_joules_total"])
    assert told == [9_998_970 * 3600, 9_998_990 * 3600, 9_999_010 * 3600, 9_999_019 * 3600]


def test_a_derived_value_that_cannot_be_true_withholds_what_is_made_of_it() -> None:
    derived = [
        {"to": "power.active_watts", "tags": {"circuit": "a"}, "sum": {"circuit": "x"}},
        {"to": "power.active_watts", "tags": {"circuit": "total"}, "sum": {"circuit": "[ab]"}},
    ]
    points = [
        {"to": "power.active_watts", "tags": {"circuit": "x", "phase": "L1"}},
        {"to": "power.active_watts", "tags": {"circuit": "x", "phase": "L2"}},
        {"to": "power.active_watts", "tags": {"circuit": "b"}},
    ]
    result = poll(make(*points, derived=derived), [0.9e9, 0.9e9, 5.0])
    assert [p.tags["circuit"] for p in result.points] == ["x", "x", "b"]
    assert len(result.rejected) == 1


@pytest.mark.parametrize(
    ("to", "kind", "raw", "is_refused"),
    [  # 32.5 is 0x42020000: with its words in the other order 0x00004202, which is 2.37e-41
        ("coolant.temperature_celsius", "f32", 2.37e-41, True),
        ("coolant.flow_liters_per_second", "f32", 2.37e-41, True),
        ("power.active_watts", "f64-little", -3e-300, True),
        ("coolant.temperature_celsius", "f32", 1.9e-20, True),  # 32.53 likewise
        ("coolant.temperature_celsius", "f32", 0.0, False),
        ("coolant.temperature_celsius", "f32", -0.01, False),
        ("coolant.flow_liters_per_second", "f32", 1e-9, False),  # what a filter leaves of a flow that stopped
        ("coolant.flow_liters_per_second", "f32", 0.0, False),
        ("transceiver.pre_fec_ber", "u16", 1e-35, False),
    ],
)
def test_a_float_that_is_next_to_nothing_has_its_words_in_the_other_order(
    to: str, kind: str, raw: float, is_refused: bool
) -> None:
    profile = make({"to": to, "type": kind})
    result = poll(profile, [raw])
    assert bool(result.rejected) == is_refused == (not result.points)
    assert all("are its words in the other order?" in line for line in result.rejected)


def test_such_a_float_is_refused_in_rows_that_choose_its_scale_too() -> None:
    value, why = scaled({**AMPERES, "type": "f32"}, 2.37e-41, {"amperes": "0"})
    assert (value, "are its words in the other order?" in why) == (None, True)


def test_rows_of_a_large_gateway_are_finished_bit_by_bit_and_all_the_same() -> None:
    points = [
        {"to": "coolant.temperature_celsius", "at": "s", "tags": {"point": "supply"}},
        {"to": "coolant.temperature_celsius", "at": "r", "tags": {"point": "return"}},
        {"to": "coolant.flow_liters_per_second", "at": "f"},
    ]
    rule = {"to": "coolant.heat_watts", "heat": "water", "tags": {"loop": "tcs"}}
    profile = make(*points, tags={"kind": "rack", "loop": "tcs", "device": "{rack}", "rack": "{rack}"}, derived=[rule])
    (group,) = profile.groups
    made = []
    for _ in range(2):
        batch = Batch(TARGET, profile)
        for rack in range(1_200):
            for spec, raw in zip(group.points, (30.0, 40.0, 1.0), strict=True):
                batch.add(group, spec, raw, {"rack": f"R{rack}"})
        made.append(batch)
    # 1200 racks' heat and 3600 rows, 500 at a time, and the end of the rule
    assert sum(1 for _ in made[0].steps(1)) == 2 + 1 + 7
    result = made[1].finish(1)
    heats = [point for point in result.points if "heat_watts" in point.fields]
    assert len(heats) == 1_200
    assert {point.tags["device"] for point in heats} == {f"R{rack}" for rack in range(1_200)}
