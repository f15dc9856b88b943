"""Leaves of text become values, and a profile's words about rows are checked when they are read."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collectors.collector import CollectError, PollResult, Target
from collectors.decode import Batch
from collectors.gnmi.leaves import read_address, read_digits, read_leaf, read_light, read_text
from collectors.gnmi.rows import Ports, parse_leaf, read_tables
from collectors.profile import Profile
from storage.config import ConfigError

TARGET = Target("leaf-1", "gnmi", "10.0.0.1:8080", options={"tls": "off"})
NO_PORTS = Ports({}, {})


def make(each: Mapping[str, Any], *points: Mapping[str, Any], **keys: Any) -> Profile:
    group = {"each": {"target": "DB", "path": "T", **each}, "points": points, **keys}
    head = {"profile": "p", "model": "M", "kind": "switch", "protocol": "gnmi", "source": "none"}
    return Profile.model_validate({**head, "groups": [group]})


def read(profile: Profile, *answers: object, target: Target = TARGET) -> PollResult:
    """Return what the last of these answers gives."""
    tables = read_tables(profile, target)
    for answer in answers:
        batch = Batch(target, profile)
        for table in tables:
            table.add(answer, NO_PORTS, slow=True, batch=batch)
    return batch.finish(0)


def counter(*leaves: object) -> PollResult:
    """Return what a counter becomes in rows with these leaves; None stands for a row without it."""
    profile = make({"as": ["port"]}, {"to": "interface.rx_bytes_total", "at": "X"}, tags={"interface": "{port}"})
    return read(profile, {f"p{n}": {} if leaf is None else {"X": leaf} for n, leaf in enumerate(leaves)})


def fields(result: PollResult) -> list[Any]:
    return [value for point in result.points for value in point.fields.values()]


@given(st.integers())
@example(2**53 + 1)
@example(2**64 - 1)
@example(-(10**30))
def test_whole_numbers_stay_exact(number: int) -> None:
    assert parse_leaf(str(number)) == number
    assert type(parse_leaf(str(number))) is int
    assert parse_leaf(f" {number}\n") == number


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e-08)
@example(-5.4)
def test_decimals_keep_every_digit(number: float) -> None:
    assert parse_leaf(repr(number)) == number
    assert parse_leaf(f"{number:e}") == float(f"{number:e}")


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.text()) | st.binary())
@example("1_000")
@example("٣")
@example("²")
@example("9" * 5000)
@example("0x10")
def test_nothing_breaks_the_parser_and_no_number_is_infinite(leaf: object) -> None:
    value = parse_leaf(leaf)
    assert value is None or isinstance(value, str | int) or math.isfinite(value)
    assert read_text(leaf) is None or isinstance(read_text(leaf), str)


@pytest.mark.parametrize("leaf", ["1_000", "0x10", "٣", "²", "1 2", "--1", "1e", ".", "e5", "9" * 5000])
def test_what_only_looks_like_a_number_stays_text(leaf: str) -> None:
    assert parse_leaf(leaf) == leaf


@pytest.mark.parametrize("leaf", ["", " ", "N/A", "n/a", "None", "NONE", "null", None, {}, [], b"1"])
def test_no_value_is_absent(leaf: object) -> None:
    assert read_leaf(leaf) is None
    assert read_text(leaf) is None


@pytest.mark.parametrize("leaf", ["inf", "-inf", "+inf", "Infinity", "nan", "NaN", math.inf, math.nan])
def test_what_is_not_finite_is_absent_and_counted(leaf: object) -> None:
    assert parse_leaf(leaf) is None
    result = counter(leaf, "5")
    assert fields(result) == [5.0]
    assert len(result.rejected) == 1
    assert result.rejected[0].endswith(": not finite")


def test_true_and_false_stay_words_and_booleans() -> None:
    assert [parse_leaf(leaf) for leaf in ("true", "false", True, False)] == ["true", "false", True, False]


def test_no_light_is_no_power_in_decibels() -> None:
    assert read_light("-inf") is None
    assert read_light("-3.5") == -3.5
    assert read_light("inf") == math.inf


@given(st.lists(st.integers(min_value=0, max_value=2**70), min_size=1, max_size=9))
def test_a_column_of_digits_is_what_each_leaf_alone_would_be(numbers: list[int]) -> None:
    assert fields(counter(*map(str, numbers))) == [float(number) for number in numbers]


@given(
    st.lists(st.sampled_from(["7", "-1", "1.5", "1e3", "N/A", "x", "nan", "1_0", "", " 8 "]), min_size=2, max_size=9)
)
def test_mixed_columns_read_each_leaf_as_if_it_were_alone(leaves: list[str]) -> None:
    together, alone = counter(*leaves), [counter(leaf) for leaf in leaves]
    assert fields(together) == [value for result in alone for value in fields(result)]
    assert len(together.rejected) == sum(len(result.rejected) for result in alone)


def test_functions_make_values_of_leaves() -> None:
    row = {
        "lanes": "1,2, 3,",
        "none": "N/A",
        "time": "Mon Nov 17 14:03:10 2025",
        "when": "yesterday",
        "light": "-inf",
        "power": "-2.5",
        "lock": json.dumps({"0": "T*", "1": 3, "2": "12.5"}),
        "maker": "ACME",
        "model": "Q56",
        "leak": "None",
    }

    def value(at: str) -> object:
        return read_address(at).column([row], [{"verdict": "good"}], read_leaf)[0]

    assert value("count(lanes)") == 3
    assert value("count(none)") is None
    assert value("time(time)") == 1763388190  # date -u -d "2025-11-17 14:03:10" +%s
    assert value("time(when)") == "yesterday"
    assert [value(f"dark({name})") for name in ("light", "power", "none")] == [1, 0, None]
    assert [value(f"json(lock, {name})") for name in "0123"] == ["T*", 3, 12.5, None]
    assert value("json(maker, 0)") == "ACME"
    assert value("join(maker, model)") == "ACME Q56"
    assert value("join(none, model)") == "Q56"
    assert value("text(leak)") == "None"
    assert value("row(verdict)") == "good"
    assert value("Total Supplied Power") is None


def test_a_time_that_is_none_is_refused_with_its_text() -> None:
    profile = make({}, {"to": "interface.last_down_time_seconds", "at": "time(T)"})
    result = read(profile, {"T": "yesterday"})
    assert result.rejected == ("interface.last_down_time_seconds='yesterday': not a number",)


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("counts(lanes)", r"there is no function 'counts'; did you mean 'count'\?"),
        ("json(lock)", "json takes 2 names"),
        ("count()", "count takes 1 name$"),
        ("PFC_{priority}_RX", r"\{priority\} is no variable of `times` that keys do not give \(none\)"),
    ],
)
def test_an_address_that_does_not_read_is_refused_when_the_profile_is_opened(at: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"p: groups\[0\]\.points: at: .*{reason}"):
        read_tables(make({}, {"to": "interface.lanes", "at": at}), TARGET)


def test_times_repeat_a_row_and_the_target_s_option_chooses() -> None:
    times = {"priority": {"default": [3], "all": [0, 3], "option": "priorities"}}
    point = {"to": "pfc.rx_frames_total", "at": "P{priority}"}
    profile = make({"as": ["port"], "times": times}, point, tags={"interface": "{port}", "priority": "{priority}"})
    answer = {"a": {"P0": "10", "P3": "13"}, "b": {"P0": "20", "P3": "23"}}

    def chosen(**options: str) -> dict[tuple[str, str], Any]:
        result = read(profile, answer, target=Target("t", "gnmi", "x:1", options=options))
        return {(p.tags["interface"], p.tags["priority"]): p.fields["rx_frames_total"] for p in result.points}

    assert chosen() == {("a", "3"): 13.0, ("b", "3"): 23.0}
    assert chosen(priorities="all") == {**chosen(), ("a", "0"): 10.0, ("b", "0"): 20.0}
    assert chosen(priorities="0") == {("a", "0"): 10.0, ("b", "0"): 20.0}
    with pytest.raises(CollectError, match="t x:1: option priorities='0,7': '7' is not one of 0, 3 or all"):
        chosen(priorities="0,7")


def test_labels_are_read_again_with_each_answer() -> None:
    each = {"as": ["psu"], "labels": {"presence": "presence"}, "where": {"presence": "true"}}
    profile = make(each, {"to": "power.active_watts", "at": "W"}, tags={"circuit": "{psu}"})
    there, gone = {"A": {"presence": "true", "W": "5"}}, {"A": {"presence": "false", "W": "5"}}
    assert fields(read(profile, there)) == [5.0]
    assert fields(read(profile, there, gone)) == []
    assert fields(read(profile, there, gone, there)) == [5.0]


def test_two_keys_for_one_series_are_refused_not_mixed() -> None:
    profile = make({"as": ["port"]}, {"to": "interface.rx_bytes_total", "at": "X"}, tags={"kind": "port"})
    result = read(profile, {"a": {"X": "1"}, "b": {"X": "2"}})
    assert fields(result) == [1.0]
    assert result.rejected == ("interface.rx_bytes_total[kind=port]=2.0: a second reading for the same series",)


def test_rows_of_an_answer_that_changes_its_keys_are_found_anew() -> None:
    profile = make({"as": ["port", "queue"]}, {"to": "queue.bytes_total", "at": "X"}, tags={"queue": "{queue}"})
    first, second = {"a:1": {"X": "1"}, "odd": {}}, {"a:1": {"X": "1"}, "a:2": {"X": "2"}}
    assert fields(read(profile, first)) == [1.0]
    assert fields(read(profile, first, second)) == [1.0, 2.0]
    assert fields(read(profile, second, first, first)) == [1.0]


@pytest.mark.parametrize("between", [None, {}, {"a": {}}, "text"])
def test_rows_come_back_after_an_answer_without_them(between: object) -> None:
    profile = make({"as": ["port"]}, {"to": "interface.rx_bytes_total", "at": "X"}, tags={"interface": "{port}"})
    answer = {"a": {"X": "1"}, "b": {"X": "2"}}
    assert fields(read(profile, answer, between, answer)) == [1.0, 2.0]


def test_a_row_that_was_away_has_not_lost_what_it_never_had() -> None:
    points = [{"to": "interface.rx_bytes_total", "at": "X"}, {"to": "interface.tx_bytes_total", "at": "Y"}]
    profile = make({"as": ["port"]}, *points, tags={"interface": "{port}"})
    bare, whole = {"X": "1"}, {"X": "2", "Y": "3"}
    assert read(profile, {"a": whole, "b": bare}).missing == ("interface.tx_bytes_total: no Y in 1 of 2 rows (b)",)
    assert read(profile, {"a": whole, "b": bare}, {"a": whole}, {"a": whole, "b": bare}).missing == ()
    assert read(profile, {"a": whole, "b": whole}, {"a": whole}, {"a": whole, "b": bare}).missing == (
        "interface.tx_bytes_total: no Y in 1 of 2 rows (b)",
    )


def test_whole_columns_of_counters_are_read_as_single_leaves_are() -> None:
    points = [{"to": f"interface.{way}_bytes_total", "at": way} for way in ("rx", "tx")]
    profile = make({"as": ["port"]}, *points, tags={"interface": "{port}"})
    whole = {"a": {"rx": "9007199254740993", "tx": "0"}, "b": {"rx": "18446744073709551615", "tx": "7"}}
    assert fields(read(profile, whole)) == [float(2**53 + 1), 0.0, float(2**64 - 1), 7.0]
    for odd, found in (("N/A", [1.0]), ("-1", [1.0]), ("1e3", [1.0, 1000.0]), ("9" * 400, [1.0]), ("²", [1.0])):
        assert fields(read(profile, whole, {"a": {"rx": "1", "tx": odd}})) == found


@given(st.lists(st.text('0123456789.,-eE"[]{}: \n²٣', max_size=6), min_size=1, max_size=4))
@example(["1,2", "3"])
@example(['"a', 'b",1'])
@example(["[1", "0],2"])
@example(["-0"])
@example(["9" * 400])
@example(["1e3"])
def test_only_texts_that_are_digits_each_are_read_as_digits_together(texts: list[str]) -> None:
    found = read_digits(texts)
    if all(text.isdecimal() and text.isascii() and str(int(text)) == text and len(text) < 9 for text in texts):
        assert found == [float(text) for text in texts]
    if found is not None:
        assert found == [float(text) for text in texts]
        assert all(text.strip().isdecimal() for text in texts)


def test_a_leaf_that_comes_to_rows_that_all_lacked_it_is_read_and_told_when_it_goes() -> None:
    points = [{"to": "interface.rx_bytes_total", "at": "X"}, {"to": "interface.tx_bytes_total", "at": "Y"}]
    profile = make({"as": ["port"]}, *points, tags={"interface": "{port}"})
    bare, whole = {"a": {"X": "1"}, "b": {"X": "2"}}, {"a": {"X": "3", "Y": "4"}, "b": {"X": "5"}}
    assert sorted(fields(read(profile, bare, bare, whole))) == [3.0, 4.0, 5.0]
    gone = read(profile, bare, bare, whole, bare)
    assert fields(gone) == [1.0, 2.0]
    assert gone.missing == ("interface.tx_bytes_total: no Y in 1 of 2 rows (a)",)


def test_keys_without_end_do_not_fill_the_memory() -> None:
    profile = make({"as": ["port"]}, {"to": "interface.rx_bytes_total", "at": "X"}, tags={"kind": "port"})
    tables = read_tables(profile, TARGET)
    for turn in range(30):
        answer = {f"p{turn}-{n}": {"X": "1"} for n in range(1000)}
        tables[0].add(answer, NO_PORTS, slow=True, batch=Batch(TARGET, profile))
    assert len(tables[0]._parts[0].seen) <= 22_000
