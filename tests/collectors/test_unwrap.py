"""Counters that wrap, begin anew, fall and come back: what is written of them, worked out by hand."""

from array import array
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.unwrap import WRAP, BootClock, Keep, Unwrap, modulus

INTERVAL_S = 10.0


def written(
    readings: list[int | None],
    *,
    narrow: bool = False,
    gaps: dict[int, float] | None = None,
    boots: set[int] | None = None,
) -> list[int]:
    """Return what is written for one counter, read each 10 s; None is a poll that did not bring it."""
    unwrap, now, told = Unwrap(INTERVAL_S), 0.0, []
    for number, raw in enumerate(readings):
        now += (gaps or {}).get(number, INTERVAL_S)
        unwrap.begin(number in (boots or set()))
        if raw is not None:
            told.append(unwrap.take("5", {"c": raw}, {"c": WRAP} if narrow else {}, now)["c"])
    return told


def test_a_32_bit_counter_goes_on_where_it_wrapped() -> None:
    assert written([WRAP - 100, 50, 200], narrow=True) == [WRAP - 100, WRAP + 50, WRAP + 200]


def test_each_wrap_counts() -> None:
    assert written([WRAP - 1, 0, WRAP - 1, 0], narrow=True) == [WRAP - 1, WRAP, 2 * WRAP - 1, 2 * WRAP]


ENERGY = 9_999_001


def energy(readings: list[int], period_s: float = INTERVAL_S) -> list[int]:
    """Return what is written for a counter that ends at 9,999,000."""
    unwrap, told = Unwrap(INTERVAL_S), []
    for number, raw in enumerate(readings):
        unwrap.begin(False)
        told.append(unwrap.take("5", {"c": raw}, {"c": ENERGY}, number * period_s)["c"])
    return told


def test_bits_and_ends_are_told_apart() -> None:
    assert (modulus(16), modulus(32), modulus(ENERGY)) == (65_536, WRAP, ENERGY)


def test_a_counter_goes_on_where_it_began_anew_at_its_own_end() -> None:
    assert energy([9_998_990, 9, 18]) == [9_998_990, 9_999_010, 9_999_019]


def test_a_counter_that_a_user_reset_far_from_its_end_did_not_wrap() -> None:
    """From 6,000,000 to 3 would be a growth of 4 million; it grew by 5 before, so 3 can have come since the reset."""
    assert energy([5_999_995, 6_000_000, 3, 8]) == [5_999_995, 6_000_000, 3, 8]


def test_a_slow_counter_wraps_over_its_own_period() -> None:
    """Read each 300 s by a collector that polls each 10 s; before the second reading its period is not known."""
    assert energy([9_998_000, 9_998_500, 0, 500], period_s=300.0) == [9_998_000, 9_998_500, 9_999_001, 9_999_501]


def test_a_fast_counter_of_few_bits_wraps_at_its_pace() -> None:
    unwrap, told = Unwrap(INTERVAL_S), []
    for number, raw in enumerate([0, 20_000, 40_000, 60_000, 14_464]):
        unwrap.begin(False)
        told.append(unwrap.take("5", {"c": raw}, {"c": 65_536}, number * INTERVAL_S)["c"])
    assert told == [0, 20_000, 40_000, 60_000, 80_000]


def test_a_fall_by_less_than_half_the_range_is_no_wrap() -> None:
    assert written([2**31 + 10, 20], narrow=True) == [2**31 + 10, 2**31 + 10]


def test_a_32_bit_counter_does_not_wrap_where_a_64_bit_counter_of_its_row_fell() -> None:
    unwrap = Unwrap(INTERVAL_S)
    unwrap.begin(False)
    unwrap.take("5", {"wide": 10**12, "narrow": WRAP - 1}, {"narrow": WRAP}, 0.0)
    unwrap.begin(False)
    found = unwrap.take("5", {"wide": 0, "narrow": 9}, {"narrow": WRAP}, 10.0)
    # It did not grow before, so 9 cannot be told to have come since: the interval counts nothing.
    assert found == {"wide": 0, "narrow": WRAP - 1}
    scope, resets = unwrap.finish()
    assert (scope, resets[0].row, set(resets[0].columns)) == ("port", "5", {"wide", "narrow"})


def test_a_64_bit_counter_never_wraps_at_32_bits() -> None:
    assert written([WRAP - 100, 50]) == [WRAP - 100, WRAP - 100]


def test_a_reset_to_zero_is_written_as_it_is() -> None:
    """It grew by 1000 in each interval before, so 800 can be what came since the reset."""
    assert written([5_000, 6_000, 800, 1_800]) == [5_000, 6_000, 800, 1_800]


def test_a_fall_to_a_large_value_counts_nothing_and_goes_on() -> None:
    assert written([10**12, 10**12 + 1_000, 5 * 10**11, 5 * 10**11 + 1_000]) == [
        10**12,
        10**12 + 1_000,
        10**12 + 1_000,
        10**12 + 2_000,
    ]


def test_a_fall_that_is_taken_back_leaves_no_trace() -> None:
    assert written([10**9, 10**9 + 10, 9 * 10**8, 10**9 + 30, 10**9 + 40]) == [
        10**9,
        10**9 + 10,
        10**9 + 10,
        10**9 + 30,
        10**9 + 40,
    ]


def test_after_a_boot_every_counter_is_what_the_device_says() -> None:
    assert written([10**12, 10**12 + 5, 3 * 10**9], boots={2}) == [10**12, 10**12 + 5, 3 * 10**9]


def test_a_boot_counts_though_the_tables_come_polls_later() -> None:
    assert written([10**12, 10**12 + 5, None, None, 3 * 10**9], boots={2}) == [10**12, 10**12 + 5, 3 * 10**9]


def test_a_boot_takes_back_what_was_added_for_wraps() -> None:
    assert written([WRAP - 1, 5, 3], narrow=True, boots={2}) == [WRAP - 1, WRAP + 5, 3]


def test_a_wrap_cannot_be_told_over_a_gap_of_more_than_five_intervals() -> None:
    assert written([WRAP - 1, 7], narrow=True, gaps={1: 50.0}) == [WRAP - 1, WRAP + 7]
    assert written([WRAP - 1, 7], narrow=True, gaps={1: 50.1}) == [WRAP - 1, WRAP - 1]


@pytest.mark.parametrize(("fallen", "scope"), [(1, "port"), (3, "port"), (4, "device"), (8, "device")])
def test_a_reset_of_most_rows_is_the_device(fallen: int, scope: str) -> None:
    unwrap = Unwrap(INTERVAL_S)
    for now, low in ((0.0, 0), (10.0, fallen)):
        unwrap.begin(False)
        for row in range(8):
            unwrap.take(str(row), {"c": 0 if row < low else 1_000}, {}, now)
    told, resets = unwrap.finish()
    assert (told, len(resets)) == (scope, fallen)


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40), st.integers(0, WRAP - 1))
def test_growth_under_half_the_range_is_written_exactly(growth: list[int], start: int) -> None:
    true = [start]
    for each in growth:
        true.append(true[-1] + each)
    found = written([value % WRAP for value in true], narrow=True)
    assert [b - a for a, b in pairwise(found)] == growth


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=40), st.booleans())
def test_what_is_written_falls_only_to_what_may_have_come_since(readings: list[int], narrow: bool) -> None:
    """A reader counts the whole value after a fall: it is never more than twice the growth before it."""
    readings = [value % WRAP for value in readings] if narrow else readings
    found = written(list(readings), narrow=narrow)
    growth = 0
    for number, (a, b) in enumerate(pairwise(found)):
        assert b >= 0
        if b < a:
            assert b == readings[number + 1] <= 2 * growth
        growth = max(growth, b - a, readings[number + 1] - readings[number])


def test_the_boot_clock_goes_back_by_more_than_five_seconds() -> None:
    clock = BootClock()
    assert not clock.booted(100_000, 0.0)
    assert not clock.booted(100_600, 10.0)  # 4 s behind
    assert not clock.booted(101_600, 20.0)
    assert clock.booted(2_000, 30.0)
    assert not clock.booted(3_000, 40.0)


def test_the_boot_clock_wraps_after_497_days() -> None:
    clock = BootClock()
    assert not clock.booted(2**32 - 500, 0.0)
    assert not clock.booted(500, 10.0)
    assert not clock.booted(None, 20.0)
    assert clock.booted(100, 30.0)


@pytest.mark.parametrize("keep", [tuple, partial(array, "d")])
@pytest.mark.parametrize("rare", [("a", "b", "c"), ("c", "a", "b")])
def test_columns_that_are_read_less_often_are_compared_with_their_own_last_reading(
    keep: Keep, rare: tuple[str, ...]
) -> None:
    """Wherever the column stands that each second reading lacks; to 50 from 90 came by no growth: it goes on."""
    unwrap, told = Unwrap(INTERVAL_S, keep), []
    values = [{"a": 10, "b": 20}, {"a": 11, "b": 21, "c": 90}, {"a": 12, "b": 22}, {"a": 13, "b": 23, "c": 50}]
    for number, each in enumerate(values):
        raw = {column: each[column] for column in rare if column in each}
        unwrap.begin(False)
        told.append(dict(unwrap.take("5", raw, {}, number * INTERVAL_S)))
    assert told == [*values[:3], {"a": 13, "b": 23, "c": 90}]
