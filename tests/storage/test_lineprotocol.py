import math
from collections.abc import Mapping

import influxdb_client
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.lineprotocol import Encoder, encode
from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS, Field

TIME_NS = 1_760_000_000_123_456_789
TRICKY = st.text(st.sampled_from(' ,="\\\n\r\t#-{}$%aé日\U0001f525'), min_size=1, max_size=8) | st.text(min_size=1)


def of_peer(point: Point) -> str:
    """Return the line that InfluxData's own encoder writes for the same series, kinds and values."""
    kinds = MEASUREMENTS[point.measurement].fields
    peer = influxdb_client.Point(point.measurement).time(point.time_ns)
    for tag, value in point.tags.items():
        peer.tag(tag, value)
    for name, value in point.fields.items():
        exact = {"state": int, "text": str}.get(kinds[name].kind, float)
        peer.field(name, exact(value))
    return str(peer.to_line_protocol()) + "\n"


def in_peers_order(point: Point) -> Point:
    """The peer sorts tags and fields by name; both orders mean the same."""
    return Point(point.measurement, point.tags, dict(sorted(point.fields.items())), point.time_ns)


def values_of(field: Field) -> st.SearchStrategy[FieldValue]:
    if field.kind == "text":
        return TRICKY | st.just("")
    if field.kind == "state":
        return st.integers(-(2**63), 2**63 - 1) | st.booleans()
    return st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60) | st.booleans()


@st.composite
def points(draw: st.DrawFn) -> Point:
    own = draw(st.sampled_from(list(MEASUREMENTS.values())))
    # One tag at a time: the order of several is ours, the peer's is alphabetical.
    tags = {draw(st.sampled_from(own.tags)): draw(TRICKY)}
    names = draw(st.lists(st.sampled_from(list(own.fields)), min_size=1, max_size=6, unique=True))
    fields = {name: draw(values_of(own.fields[name])) for name in names}
    return Point(own.name, tags, fields, draw(st.integers(0, 2**63 - 1)))


@given(points())
@example(Point("gpu", {"model": "B200 \\"}, {"power_watts": 1e16, "lost": 0}, TIME_NS))
@example(Point("gpu", {}, {"memory_used_bytes": 2**53 + 1, "memory_total_bytes": -(2**53) - 1}, TIME_NS))
@example(Point("alarm", {"rule": "a=b,c d"}, {"text": 'say "\\"\n', "value": 0.0, "limit": -0.0}, TIME_NS))
@example(Point("kpi", {"name": "pue"}, {"value": 1.0, "numerator": 10.05, "denominator": 1e-7, "quality": 2}, TIME_NS))
def test_lines_are_those_of_influxdatas_own_encoder(point: Point) -> None:
    assert encode([in_peers_order(point)]).decode() == of_peer(point)


@given(st.lists(points(), max_size=20))
def test_what_an_encoder_remembers_changes_nothing(several: list[Point]) -> None:
    encoder = Encoder()
    encoder.encode(several)
    assert encoder.encode(several) == b"".join(encode([point]) for point in several)


def test_tags_are_written_in_the_order_of_the_schema_and_empty_ones_left_out() -> None:
    point = Point("gpu", {"gpu": "GPU-1", "model": "", "site": "DEMO-1"}, {"power_watts": 612.5}, TIME_NS)
    assert encode([point]) == f"gpu,site=DEMO-1,gpu=GPU-1 power_watts=612.5 {TIME_NS}\n".encode()


@pytest.mark.parametrize("watts", [612, 612.0, np.float64(612), np.float32(612), np.int64(612)])
@pytest.mark.parametrize("lost", [1, 1.0, True, np.int32(1), np.float64(1)])
def test_a_fields_type_hangs_on_the_schema_alone(watts: float, lost: int) -> None:
    point = Point("gpu", {"gpu": "GPU-1"}, {"power_watts": watts, "lost": lost}, TIME_NS)
    assert encode([point]) == f"gpu,gpu=GPU-1 power_watts=612,lost=1i {TIME_NS}\n".encode()


@pytest.mark.parametrize(
    ("measurement", "tags", "fields", "named"),
    [
        ("gpus", {}, {"power_watts": 1.0}, "measurement 'gpus'"),
        ("gpu", {"pid": "7"}, {"power_watts": 1.0}, "tag 'gpu.pid'"),
        ("gpu", {}, {"watts": 1.0}, "field 'gpu.watts'"),
    ],
)
def test_unknown_names_are_refused(
    measurement: str, tags: Mapping[str, str], fields: Mapping[str, FieldValue], named: str
) -> None:
    with pytest.raises(KeyError, match=named):
        encode([Point(measurement, tags, fields, TIME_NS)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "612"])
def test_values_that_are_no_numbers_are_refused_even_in_a_known_shape(value: FieldValue) -> None:
    encoder = Encoder()
    encoder.encode([Point("gpu", {"gpu": "GPU-1"}, {"power_watts": 1.0, "utilization_ratio": 0.5}, TIME_NS)])
    with pytest.raises(ValueError, match=r"gpu\.power_watts="):
        encoder.encode([Point("gpu", {"gpu": "GPU-1"}, {"power_watts": value, "utilization_ratio": 0.5}, TIME_NS)])


def test_a_point_without_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="without fields"):
        encode([Point("gpu", {"gpu": "GPU-1"}, {}, TIME_NS)])
