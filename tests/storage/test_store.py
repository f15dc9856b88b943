"""What every store promises. Times are stated in seconds after T0, values worked out by hand."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS
from storage.store import Aggregate, Store

#: divisible by 60 s
T0 = datetime(2025, 10, 9, 8, 0, tzinfo=UTC)
GPU_TAGS = list(MEASUREMENTS["gpu"].tags)
MINUTE = timedelta(minutes=1)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def gpu(name: str, seconds: float, rack: str = "A01", **fields: FieldValue) -> Point:
    time_ns = int(T0.timestamp()) * 10**9 + round(seconds * 1e9)
    return Point("gpu", {"site": "DEMO-1", "rack": rack, "gpu": name}, fields, time_ns)


def fresh(name: str, age: float, tags: Mapping[str, str] | None = None, **fields: FieldValue) -> Point:
    return Point("gpu", {"gpu": name, **(tags or {})}, fields, time.time_ns() - round(age * 1e9))


def windows(store: Store, aggregate: Aggregate, field: str = "power_watts", **options: object) -> pd.DataFrame:
    options = {"every": MINUTE, "start": at(0), "end": at(600)} | options
    return store.range("gpu", [field], aggregate=aggregate, **options)  # type: ignore[arg-type]


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[object, ...]]:
    """Return (columns..., seconds after T0, last column) per row."""
    seconds = (frame["time"] - pd.Timestamp(T0)).dt.total_seconds()
    return list(zip(*(frame[column] for column in columns), seconds, frame[frame.columns[-1]], strict=True))


def test_latest_gives_the_newest_value_of_each_field(store: Store) -> None:
    store.write([fresh("G1", 30, power_watts=500.0, temperature_celsius=60.0), fresh("G1", 20, power_watts=510.0)])
    store.write([fresh("G2", 10, {"site": "DEMO-1"}, power_watts=300)])
    frame = store.latest("gpu", ["power_watts", "temperature_celsius"], timedelta(seconds=60))
    assert list(frame.columns) == [*GPU_TAGS, "time", "power_watts", "temperature_celsius"]
    assert frame["gpu"].tolist() == ["G1", "G2"]
    assert frame["site"].tolist() == ["", "DEMO-1"]
    assert frame["power_watts"].tolist() == [510.0, 300.0]
    assert frame["temperature_celsius"].iloc[0] == 60.0
    assert pd.isna(frame["temperature_celsius"].iloc[1])
    assert str(frame["time"].dtype) == "datetime64[ns, UTC]"
    age = (pd.Timestamp.now("UTC") - frame["time"]).dt.total_seconds()
    assert age.tolist() == pytest.approx([20, 10], abs=5)


def test_latest_leaves_out_what_is_older_than_asked_and_keeps_what_lies_ahead(store: Store) -> None:
    store.write(
        [fresh("OLD", 90, power_watts=1.0), fresh("NEW", 30, power_watts=2.0), fresh("FAST", -30, power_watts=3.0)]
    )
    frame = store.latest("gpu", ["power_watts"], timedelta(seconds=60))
    assert frame["gpu"].tolist() == ["FAST", "NEW"]


def test_latest_speaks_of_the_fields_asked_for_alone(store: Store) -> None:
    store.write([fresh("G1", 10, temperature_celsius=60.0), fresh("G2", 10, power_watts=2.0)])
    assert store.latest("gpu", ["power_watts"], MINUTE)["gpu"].tolist() == ["G2"]


def test_latest_filters_by_one_tag_value_or_several(store: Store) -> None:
    store.write([fresh(f"G{n}", 5, {"rack": rack}, power_watts=n) for n, rack in enumerate(["A", "B", "C"])])
    store.write([fresh("G3", 5, power_watts=3)])

    def found(where: Mapping[str, str | list[str]]) -> list[str]:
        return store.latest("gpu", ["power_watts"], MINUTE, where)["gpu"].tolist()

    assert found({"rack": "B"}) == ["G1"]
    assert found({"rack": ["A", "C"]}) == ["G0", "G2"]
    assert found({"rack": ["A", "C"], "gpu": "G2"}) == ["G2"]
    assert found({"rack": ""}) == ["G3"]
    assert found({"rack": "Z"}) == []
    assert found({"rack": []}) == []


def test_states_and_texts_come_back(store: Store) -> None:
    now = time.time_ns()
    fields = {"code": 79, "severity": 2, "text": 'fallen "off"\nthe bus, é'}
    store.write([Point("gpu_event", {"gpu": "G1", "kind": "xid"}, fields, now)])
    store.write([Point("gpu_event", {"gpu": "G2", "kind": "xid"}, {"code": 13}, now)])
    frame = store.latest("gpu_event", ["code", "severity", "text"], MINUTE)
    assert frame["code"].tolist() == [79.0, 13.0]
    assert frame["text"].iloc[0] == 'fallen "off"\nthe bus, é'
    assert pd.isna(frame["text"].iloc[1])
    assert pd.isna(frame["severity"].iloc[1])


def test_the_same_points_again_change_nothing(store: Store) -> None:
    points = [gpu(f"G{n}", 10 * tick, power_watts=float(n + tick), lost=0) for n in range(3) for tick in range(4)]
    store.write(points)
    before = store.range("gpu", ["power_watts", "lost"], at(0), at(60), every=None, aggregate="mean")
    store.write(points)
    store.write(points[::-1] + points)
    after = store.range("gpu", ["power_watts", "lost"], at(0), at(60), every=None, aggregate="mean")
    pd.testing.assert_frame_equal(before, after)
    assert len(after) == 12


def test_points_of_one_series_and_time_merge_field_by_field_and_the_later_wins(store: Store) -> None:
    store.write([gpu("G1", 0, power_watts=1.0, temperature_celsius=50.0)])
    store.write([gpu("G1", 0, power_watts=2.0, memory_used_bytes=3.0), gpu("G1", 10, power_watts=9.0)])
    store.write([gpu("G1", 0, sm_clock_hertz=4.0), gpu("G1", 0, power_watts=5.0), gpu("G1", 0, sm_clock_hertz=6.0)])
    names = ["power_watts", "temperature_celsius", "memory_used_bytes", "sm_clock_hertz"]
    frame = store.range("gpu", names, at(0), at(10), every=None, aggregate="last")
    assert frame[names].to_numpy().tolist() == [[5.0, 50.0, 3.0, 6.0]]


def test_late_points_find_their_place(store: Store) -> None:
    store.write([gpu("G1", 20, power_watts=20.0)])
    store.write([gpu("G1", 0, power_watts=0.0), gpu("G1", 30, power_watts=30.0)])
    store.write([gpu("G1", 10, power_watts=10.0), gpu("G1", 20, power_watts=21.0)])
    frame = store.range("gpu", ["power_watts"], at(0), at(60), every=None, aggregate="last")
    assert rows(frame) == [(0, 0), (10, 10), (20, 21), (30, 30)]


def test_raw_range_holds_its_start_and_not_its_end(store: Store) -> None:
    store.write([gpu("G1", second, power_watts=second) for second in (-0.000000001, 0, 59.999999999, 60)])
    frame = store.range("gpu", ["power_watts"], at(0), at(60), every=None, aggregate="mean", where={"rack": "A01"})
    assert len(frame) == 2
    assert frame["time"].iloc[1].nanosecond == 999
    assert frame.attrs["tier"] == "raw"


def test_windows_are_aligned_to_the_epoch_and_empty_ones_absent(store: Store) -> None:
    store.write([gpu("G1", second, power_watts=second) for second in (30, 59, 60, 200)])
    frame = windows(store, "mean", start=at(25), end=at(400))
    assert list(frame.columns) == [*GPU_TAGS, "time", "power_watts"]
    assert rows(frame) == [(0, 44.5), (60, 60), (180, 200)]


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [("mean", 25.0), ("min", 10.0), ("max", 40.0), ("last", 30.0), ("sum", 100.0), ("p50", 25.0)],
)
def test_each_aggregate_of_one_series(store: Store, aggregate: Aggregate, expected: float) -> None:
    store.write([gpu("G1", second, power_watts=watts) for second, watts in enumerate((10.0, 40.0, 20.0, 30.0))])
    assert rows(windows(store, aggregate)) == [(0, expected)]


def test_percentiles_lie_between_the_samples_around_them(store: Store) -> None:
    store.write([gpu("G1", second, power_watts=float(second)) for second in range(21)])
    # 95 % of the way from 0 to 20: exactly the sample 19, so that ways to interpolate do not matter.
    assert rows(windows(store, "p95")) == [(0, 19.0)]


@pytest.mark.parametrize(
    ("aggregate", "a01"),
    # G1 has 10 and 20, G2 has 40 and 60 and G3, in another rack, 1.
    [("mean", 32.5), ("min", 10.0), ("max", 60.0), ("last", 60.0), ("sum", 130.0), ("p50", 32.5)],
)
def test_series_of_the_same_tags_become_one(store: Store, aggregate: Aggregate, a01: float) -> None:
    store.write([gpu("G1", 0, power_watts=10.0), gpu("G1", 20, power_watts=20.0), gpu("G2", 0, power_watts=40.0)])
    store.write([gpu("G2", 30, power_watts=60.0), gpu("G3", 0, rack="B01", power_watts=1.0)])
    frame = windows(store, aggregate, by=["rack"])
    assert list(frame.columns) == ["rack", "time", "power_watts"]
    assert rows(frame, "rack") == [("A01", 0, a01), ("B01", 0, 1.0)]


def test_series_without_a_tag_are_a_group_of_their_own(store: Store) -> None:
    store.write([gpu("G1", 0, rack="", power_watts=1.0), gpu("G2", 0, rack="", power_watts=2.0)])
    store.write([gpu("G3", 0, power_watts=4.0)])
    assert rows(windows(store, "sum", by=["rack"]), "rack") == [("", 0, 3.0), ("A01", 0, 4.0)]


def test_increase_counts_from_the_last_value_before_each_window(store: Store) -> None:
    counts = {-30: 100, 0: 130, 30: 160, 60: 200, 119: 260}
    store.write([gpu("G1", second, energy_joules_total=count) for second, count in counts.items()])
    frame = windows(store, "increase", "energy_joules_total")
    # 100 -> 160 and 160 -> 260: nothing between two windows is lost, nothing before the first sample is made up.
    assert rows(frame) == [(0, 60.0), (60, 100.0)]
    assert rows(windows(store, "increase", "energy_joules_total", start=at(-60))) == [
        (-60, 0.0),
        (0, 60.0),
        (60, 100.0),
    ]


def test_increase_survives_a_counter_that_starts_again(store: Store) -> None:
    counts = {0: 1000, 10: 1010, 20: 5, 30: 8, 70: 3}
    store.write([gpu("G1", second, energy_joules_total=count) for second, count in counts.items()])
    # +10, then 5 since the restart, +3; in the next window 3 since another restart.
    assert rows(windows(store, "increase", "energy_joules_total")) == [(0, 18.0), (60, 3.0)]


def test_a_gap_hides_no_growth(store: Store) -> None:
    store.write([gpu("G1", second, energy_joules_total=count) for second, count in ((0, 0), (10, 10), (500, 990))])
    assert rows(windows(store, "increase", "energy_joules_total")) == [(0, 10.0), (480, 980.0)]
    # 980 J in the 490 s since the sample before.
    assert rows(windows(store, "rate", "energy_joules_total")) == [(0, 1.0), (480, 2.0)]


def test_rate_of_a_half_full_window_is_not_half(store: Store) -> None:
    store.write([gpu("G1", second, energy_joules_total=700.0 * second) for second in range(0, 95, 5)])
    frame = windows(store, "rate", "energy_joules_total")
    assert rows(frame) == [(0, pytest.approx(700.0)), (60, pytest.approx(700.0))]


def test_growth_of_several_series_is_summed(store: Store) -> None:
    for name, slope in (("G1", 100.0), ("G2", 300.0)):
        store.write([gpu(name, second, energy_joules_total=slope * second) for second in range(0, 120, 10)])
    store.write(
        [gpu("G3", 0, rack="B01", energy_joules_total=1.0), gpu("G3", 60, rack="B01", energy_joules_total=61.0)]
    )
    rate = windows(store, "rate", "energy_joules_total", by=["rack"], where={"rack": ["A01", "B01"]})
    assert rows(rate, "rack") == [("A01", 0, 400.0), ("A01", 60, 400.0), ("B01", 60, 1.0)]
    growth = windows(store, "increase", "energy_joules_total", by=["rack"])
    # In the first window the counters are seen from 0 s to 50 s, in the second from 50 s to 110 s.
    assert rows(growth, "rack") == [("A01", 0, 20000.0), ("A01", 60, 24000.0), ("B01", 0, 0.0), ("B01", 60, 60.0)]


def test_fields_of_one_question_do_not_disturb_each_other(store: Store) -> None:
    store.write(
        [gpu("G1", 0, energy_joules_total=0.0, nvlink_tx_bytes_total=7.0), gpu("G1", 10, energy_joules_total=5.0)]
    )
    store.write([gpu("G1", 20, nvlink_tx_bytes_total=9.0), gpu("G1", 70, energy_joules_total=6.0)])
    names = ["nvlink_tx_bytes_total", "energy_joules_total"]
    frame = store.range("gpu", names, at(0), at(120), every=MINUTE, aggregate="increase")
    assert frame["nvlink_tx_bytes_total"].iloc[0] == 2.0
    assert pd.isna(frame["nvlink_tx_bytes_total"].iloc[1])
    assert frame["energy_joules_total"].tolist() == [5.0, 1.0]


def test_text_in_windows_has_a_last_value_and_no_mean(store: Store) -> None:
    tags, t0 = {"rule": "leak", "object": "A01"}, int(T0.timestamp()) * 10**9
    store.write([Point("alarm", tags, {"text": text}, t0 + n * 10**9) for n, text in enumerate(("one", "two"))])
    frame = store.range("alarm", ["text"], at(0), at(60), every=MINUTE, aggregate="last")
    assert frame["text"].tolist() == ["two"]
    with pytest.raises(ValueError, match=r"alarm\.text is text"):
        store.range("alarm", ["text"], at(0), at(60), every=MINUTE, aggregate="mean")


@pytest.mark.parametrize("every", [None, MINUTE])
@pytest.mark.parametrize("by", [(), ("rack",)])
def test_no_data_is_no_rows_in_the_same_shape(store: Store, every: timedelta | None, by: tuple[str, ...]) -> None:
    store.write([gpu("G1", 0, power_watts=1.0, lost=0)])
    names = ["power_watts", "lost"]
    full = store.range("gpu", names, at(0), at(60), every=every, aggregate="mean", by=by)
    empty = store.range("gpu", names, at(600), at(660), every=every, aggregate="mean", by=by)
    assert len(full) == 1
    assert len(empty) == 0
    pd.testing.assert_series_equal(full.dtypes, empty.dtypes)


def test_latest_of_nothing_has_every_column(store: Store) -> None:
    frame = store.latest("leak", ["state"], MINUTE)
    assert list(frame.columns) == [*MEASUREMENTS["leak"].tags, "time", "state"]
    assert len(frame) == 0


@pytest.mark.parametrize(
    ("bad", "error", "named"),
    [
        (Point("gpus", {"gpu": "G1"}, {"power_watts": 1.0}, 1), KeyError, "did you mean gpu"),
        (Point("gpu", {"gpu": "G1", "pid": "7"}, {"power_watts": 1.0}, 1), KeyError, "gpu.pid"),
        (Point("gpu", {"gpu": "G1"}, {"power_wats": 1.0}, 1), KeyError, "gpu.power_watts"),
        (Point("gpu", {"gpu": "G1"}, {"power_watts": float("nan")}, 1), ValueError, "gpu.power_watts"),
        (Point("gpu", {"gpu": "G1"}, {"power_watts": "1"}, 1), ValueError, "gpu.power_watts"),
        (Point("gpu", {"gpu": "G1"}, {"lost": 0.5}, 1), ValueError, "gpu.lost"),
        (Point("gpu_info", {"gpu": "G1"}, {"driver": 580.1}, 1), ValueError, "gpu_info.driver"),
    ],
)
def test_a_bad_point_is_named_and_nothing_of_its_batch_written(
    store: Store, bad: Point, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        store.write([gpu("G1", 0, power_watts=1.0), bad])
    assert len(store.range("gpu", ["power_watts"], at(0), at(60), every=None, aggregate="last")) == 0
    store.write([gpu("G1", 0, power_watts=1.0)])
    assert len(store.range("gpu", ["power_watts"], at(0), at(60), every=None, aggregate="last")) == 1


def test_numbers_take_the_fields_type_and_not_pythons(store: Store) -> None:
    store.write([gpu("G1", 0, power_watts=1, lost=True)])
    store.write([gpu("G1", 10, power_watts=1.5, lost=0.0)])
    frame = store.range("gpu", ["power_watts", "lost"], at(0), at(60), every=None, aggregate="last")
    assert frame[["power_watts", "lost"]].to_numpy().tolist() == [[1.0, 1.0], [1.5, 0.0]]


def test_unknown_names_in_questions_are_refused(store: Store) -> None:
    with pytest.raises(KeyError, match="did you mean gpu"):
        store.latest("gpus", ["power_watts"], MINUTE)
    with pytest.raises(KeyError, match=r"gpu\.power_wats"):
        store.latest("gpu", ["power_wats"], MINUTE)
    with pytest.raises(KeyError, match=r"did you mean gpu\.rack"):
        store.latest("gpu", ["power_watts"], MINUTE, {"racks": "A"})
    with pytest.raises(KeyError, match=r"did you mean gpu\.rack"):
        windows(store, "mean", by=["racks"])
    with pytest.raises(ValueError, match="at least one field"):
        store.latest("gpu", [], MINUTE)
    with pytest.raises(ValueError, match="no time zone"):
        windows(store, "mean", start=datetime(2025, 1, 1))
    with pytest.raises(ValueError, match="not positive"):
        windows(store, "mean", every=timedelta(0))
