import re

import pytest

from storage.schema import COMMON_TAGS, MEASUREMENTS, UNITS, Field, Measurement, check_value, field_of, measurement

FIELDS = [(own, field) for own in MEASUREMENTS.values() for field in own.fields.values()]


@pytest.mark.parametrize("own", MEASUREMENTS.values(), ids=lambda own: own.name)
def test_tags_are_the_common_ones_then_its_own_each_once(own: Measurement) -> None:
    assert own.tags[: len(COMMON_TAGS)] == COMMON_TAGS
    assert len(set(own.tags)) == len(own.tags)
    assert not set(own.tags) & set(own.fields), "InfluxDB cannot tell a tag from a field of the same name"


@pytest.mark.parametrize(("own", "field"), FIELDS, ids=lambda part: part.name)
def test_name_kind_and_unit_agree(own: Measurement, field: Field) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", field.name)
    assert field.help
    # The rule of the data model: cumulative counters end in _total, or are the parts of a summary.
    assert (field.kind == "counter") == bool(re.search(r"_total$|_seconds_sum$|_seconds_count$", field.name))
    assert field.unit in ("", *UNITS)
    assert field.unit in field.name
    assert "percent" not in field.name
    assert field.low is None or field.high is None or field.low < field.high
    if field.unit == "ratio":
        assert field.high is not None
        assert field.high <= 2


def test_states_bound_the_plausible_range() -> None:
    leak = field_of("leak.state")
    assert dict(leak.states) == {0: "normal", 1: "warning", 2: "critical", 3: "sensor_fault"}
    assert (leak.low, leak.high) == (0, 3)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("gpu.power_watts", "watts"),
        ("gpu.throttle_power_seconds_total", "seconds"),
        ("coolant.flow_liters_per_second", "liters_per_second"),
        ("power.apparent_volt_amperes", "volt_amperes"),
        ("interface.speed_bits_per_second", "bits_per_second"),
        ("inference.ttft_seconds_sum", "seconds"),
        ("inference.ttft_seconds_count", ""),
        ("inference.output_tokens_total", ""),
        ("gpu.clock_event_mask", ""),
    ],
)
def test_unit_is_read_from_the_name(path: str, unit: str) -> None:
    assert field_of(path).unit == unit


def test_unknown_names_are_refused_with_what_comes_near() -> None:
    with pytest.raises(KeyError, match=r"did you mean gpu\.power_watts"):
        field_of("gpu.power_wats")
    with pytest.raises(KeyError, match="did you mean coolant"):
        measurement("coolan")
    with pytest.raises(KeyError, match="field 'gpu' is not"):
        field_of("gpu")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("gpu.power_watts", float("nan"), "left out"),
        ("gpu.power_watts", "612", "does not hold text"),
        ("gpu_info.driver", 580.0, "text only"),
        ("leak.state", 1.5, "whole numbers"),
        ("leak.state", 2**63, "64 bits"),
    ],
)
def test_values_that_a_field_cannot_hold_are_named(path: str, value: float | str, reason: str) -> None:
    own = measurement(path.split(".")[0])
    with pytest.raises(ValueError, match=rf"{path}=.*{reason}"):
        check_value(own, field_of(path), value)
