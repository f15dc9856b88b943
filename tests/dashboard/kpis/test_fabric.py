"""What ports' counters say, each by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.kpis import fabric
from dashboard.kpis.windows import Floats, Samples

NAN = math.nan


def series(*samples: tuple[float, float]) -> Samples:
    times, values = (np.array(column, dtype=float) for column in zip(*samples, strict=True))
    return Samples(np.zeros(len(samples), dtype=np.int64), times, values, 1)


def rate(*samples: tuple[float, float], least: float = 10.0) -> float:
    read = series(*samples)
    return float(fabric.grown(read, fabric.pairs(read, least)).per_second[0])


def column(*values: float) -> Floats:
    return np.array(values, dtype=float)


def test_a_rate_is_taken_between_the_stamps_themselves() -> None:
    # Anchored stamps lie between the instants of the poll: 9.2 s and 10.9 s apart, 1,250 bytes/s throughout.
    assert rate((0.0, 0.0), (10.9, 13_625.0), (20.1, 25_125.0)) == pytest.approx(1250)


def test_a_rate_needs_ten_seconds_and_no_more_than_it_needs() -> None:
    assert math.isnan(rate((0.0, 0.0), (5.0, 5e3)))
    # 5 s polls: the last two steps, in which 100 + 300 came; the 9,000 before are past.
    assert rate((0.0, 0.0), (5.0, 9e3), (10.0, 9.1e3), (15.0, 9.4e3)) == pytest.approx(40)


def test_a_queue_s_rate_needs_thirty_seconds() -> None:
    assert math.isnan(rate((0.0, 0.0), (10.0, 10.0), (20.0, 20.0), least=30.0))
    assert rate((0.0, 0.0), (10.0, 10.0), (20.0, 20.0), (30.0, 60.0), least=30.0) == pytest.approx(2)


def test_a_reset_gives_neither_a_negative_rate_nor_a_spike() -> None:
    assert math.isnan(rate((0.0, 5e9), (10.0, 6e9), (20.0, 1e6)))
    assert rate((0.0, 5e9), (10.0, 6e9), (20.0, 1e6), (30.0, 2e6)) == pytest.approx(1e5)
    # A LAG that lost a member falls by a little only.
    assert math.isnan(rate((0.0, 8e9), (30.0, 7.9e9)))


def test_a_long_silence_tells_no_rate() -> None:
    # Period 10 s; 60 s of silence are more than five of them.
    assert math.isnan(rate((0.0, 0.0), (10.0, 1e3), (20.0, 2e3), (80.0, 9e6)))


@given(st.lists(st.tuples(st.floats(0.5, 60), st.floats(0, 1e12)), min_size=2, max_size=20), st.floats(0, 1e6))
def test_whatever_a_counter_does_its_rate_is_never_negative_nor_above_its_steepest_rise(
    steps: list[tuple[float, float]], begin: float
) -> None:
    times = begin + np.cumsum([step for step, _ in steps])
    values = np.array([value for _, value in steps])
    found = rate(*zip(times.tolist(), values.tolist(), strict=True))
    rises = np.maximum(np.diff(values), 0) / np.diff(times)
    assert math.isnan(found) or 0 <= found <= rises.max() * (1 + 1e-9)


@given(st.lists(st.floats(8, 12), min_size=4, max_size=12), st.floats(1, 5e10))
def test_a_steady_flow_has_its_own_rate_whatever_the_stamps(steps: list[float], flow: float) -> None:
    times = np.cumsum(steps)
    assert rate(*zip(times.tolist(), (flow * times).tolist(), strict=True)) == pytest.approx(flow, rel=1e-6)


def test_utilization_of_the_busier_direction() -> None:
    # 400 Gbit/s: 30 GB/s in are 0.6, 42.5 GB/s out 0.85.
    assert fabric.utilization(column(30e9), column(42.5e9), column(4e11)) == pytest.approx([0.85])
    assert fabric.utilization(column(30e9), column(NAN), column(4e11)) == pytest.approx([0.6])


@pytest.mark.parametrize("speed", [0.0, NAN])
def test_without_a_speed_there_is_no_utilization(speed: float) -> None:
    assert np.isnan(fabric.utilization(column(1e9), column(1e9), fabric.usable_speed(column(speed), column(1))))


def test_forty_gigabit_of_a_dead_port_is_no_speed() -> None:
    assert np.isnan(fabric.usable_speed(column(40e9), column(0)))
    assert fabric.usable_speed(column(40e9), column(1)) == 40e9


def test_more_than_a_hundred_and_five_percent_is_suspect_and_not_clamped() -> None:
    share = fabric.utilization(column(53e9, 52e9), column(0, 0), column(4e11, 4e11))
    assert share == pytest.approx([1.06, 1.04])
    assert fabric.suspect(share).tolist() == [True, False]


def test_bad_packets_per_million() -> None:
    # 5 broken of 2,000,000: 2.5 ppm.
    assert fabric.ppm(column(5), column(2e6)) == pytest.approx([2.5])
    assert fabric.ppm(column(3), column(0)) == [1e6]
    assert np.isnan(fabric.ppm(column(0), column(0)))
    assert np.isnan(fabric.ppm(column(NAN), column(100)))


def test_ecn_needs_a_hundred_packets() -> None:
    assert fabric.ecn_ratio(column(5), column(100)) == pytest.approx([0.05])
    assert np.isnan(fabric.ecn_ratio(column(5), column(99)))


def test_the_bound_of_a_pause_by_frames() -> None:
    # One frame holds 400 Gbit/s for 65535 x 512 bit / 4e11 = 83.9 us: 1,000 per second are 8.39 %.
    assert fabric.pause_bound(column(1000), column(4e11)) == pytest.approx([0.08388480])
    assert fabric.pause_bound(column(25_000), column(4e11)) == [1.0]
    assert np.isnan(fabric.pause_bound(column(1000), column(0)))


def test_a_pause_is_measured_before_it_is_estimated_before_it_is_bounded() -> None:
    ratio, source = fabric.pause_ratio(column(0.1, NAN, NAN, NAN), column(0.2, 0.3, NAN, NAN), column(1, 1, 0.9, NAN))
    assert ratio[:3] == pytest.approx([0.1, 0.3, 0.9])
    assert [fabric.PAUSE_SOURCES[i] if i >= 0 else "" for i in source] == ["measured", "estimated", "bound", ""]
    assert fabric.pause_ratio(column(1.02), column(NAN), column(NAN))[0] == [1.0]


def test_a_port_s_pause_is_its_worst_priority_among_those_known_best() -> None:
    ratio, source = fabric.worst_pause(
        column(0.1, 0.4, 0.9, 0.7), np.array([0, 0, 2, 2]), np.array([0, 0, 0, 1]), count=3
    )
    assert ratio[:2].tolist() == [0.4, 0.7]
    assert source.tolist() == [0, 2, -1]


@pytest.mark.parametrize(
    ("speed", "lanes", "signalling"),
    [(10e9, 1, 10.3125e9), (100e9, 4, 25.78125e9), (400e9, 8, 53.125e9), (800e9, 8, 106.25e9), (1.6e12, 8, 212.5e9)],
)
def test_bit_errors_before_fec(speed: float, lanes: float, signalling: float) -> None:
    # As many corrected bits as one in 1e8 of those that pass.
    corrected = 1e-8 * lanes * signalling
    assert fabric.pre_fec_ber(column(corrected), column(speed), column(lanes)) == pytest.approx([1e-8])


def test_an_unknown_lane_speed_tells_no_bit_errors() -> None:
    assert np.isnan(fabric.pre_fec_ber(column(10), column(4e11), column(3)))
    assert np.isnan(fabric.pre_fec_ber(column(10), column(4e11), column(NAN)))


def test_the_switch_s_own_bit_errors_may_differ_by_a_factor_of_three() -> None:
    computed, own = column(1e-8, 1e-8, 1e-8, 1e-13, NAN), column(2.9e-8, 3.1e-8, 0.0, 1e-15, 1e-8)
    assert fabric.ber_disagrees(computed, own).tolist() == [False, True, True, False, False]


def test_events_per_hour_do_not_explode_while_little_is_known() -> None:
    assert fabric.per_hour(column(2, 1, 0), column(1800, 30, 0))[:2] == pytest.approx([4.0, 12.0])
    assert np.isnan(fabric.per_hour(column(0), column(0)))


def test_a_fall_of_the_state_is_a_flap() -> None:
    read = series((0, 1), (10, 0), (20, 0), (30, 1), (40, 0))
    assert fabric.falls(read).tolist() == [True, False, False, True]


def test_a_lag_is_the_sum_of_the_members_that_carry_their_share() -> None:
    values, group = column(1e9, 2e9, NAN, 4e9), np.array([0, 0, 0, 1])
    assert fabric.sum_members(values, group, np.array([True, True, True, False]), 2)[0] == 3e9
    assert np.isnan(fabric.sum_members(values, group, np.array([True, True, True, False]), 2)[1])


def test_a_switch_draws_what_its_supplies_give_out_unless_it_tells_its_input() -> None:
    # 72 W + 66 W = 138 W, of two of three supplies.
    assert fabric.switch_watts(NAN, NAN, column(72, 66, NAN)) == (138.0, "output")
    assert fabric.switch_watts(NAN, 140.0, column(72, 66)) == (140.0, "output")
    assert fabric.switch_watts(155.0, 138.0, column(72, 66)) == (155.0, "input")
    assert fabric.switch_watts(NAN, NAN, column()) == (None, "")
    assert fabric.WATTS_NOTE["output"] == "output, PSU loss not included"
