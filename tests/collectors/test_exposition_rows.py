"""The profile's words: labels, filter, combine, parts, page, blank, and the arithmetic of an address."""

import pytest
from pages import one, page, profile_of, read, target

from collectors.collector import ProtocolError
from collectors.exposition import collector as exposition
from storage.config import ConfigError

TOKENS: dict[str, object] = {"to": "inference.output_tokens_total", "at": "tokens_total"}


@pytest.mark.parametrize(("combine", "expected"), [("sum", 12.0), ("max", 7.0), ("first", 5.0)])
def test_samples_of_one_row_are_combined(combine: str, expected: float) -> None:
    text = 'tokens_total{model="m",rank="0"} 5\ntokens_total{model="m",rank="1"} 7\n'
    result = read(text, profile_of([TOKENS], labels=["model"], combine=combine))
    assert one(result, "inference", model="m").fields == {"output_tokens_total": expected}


def test_filter_leaves_rows_out() -> None:
    text = 'tokens_total{model="m",tp_rank="0"} 5\ntokens_total{model="m",tp_rank="1"} 7\ntokens_total{model="n"} 9\n'
    result = read(text, profile_of([TOKENS], labels=["model"], filter={"tp_rank": "0"}))
    assert [point.fields["output_tokens_total"] for point in result.points] == [5]
    empty = read(text, profile_of([TOKENS], labels=["model"], filter={"tp_rank": ""}))
    assert [point.tags["model"] for point in empty.points] == ["n"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ('{why="stop"}', 1.0),
        ('{why=~"stop|length"}', 3.0),
        ('{why!="stop"}', 14.0),
        ('{why!~"stop|length", model="m"}', 12.0),
        ('{why=~"sto"}', None),
    ],
)
def test_promql_matchers(selector: str, expected: float | None) -> None:
    text = "".join(
        f'done_total{{model="m",why="{why}"}} {n}\n' for why, n in (("stop", 1), ("length", 2), ("abort", 12))
    )
    profile = profile_of([{"to": "inference.requests_ok_total", "at": f"done_total{selector}"}], labels=["model"])
    result = read(text, profile)
    assert [point.fields.get("requests_ok_total") for point in result.points] == (
        [] if expected is None else [expected]
    )


def test_first_address_that_is_present_wins() -> None:
    profile = profile_of([{"to": "inference.kv_cache_ratio", "at": ["fresh", "old"]}], labels=["model"])
    assert one(read('old{model="m"} 0.5\n', profile), "inference").fields["kv_cache_ratio"] == 0.5
    assert one(read('old{model="m"} 0.5\nfresh{model="m"} 0.7\n', profile), "inference").fields["kv_cache_ratio"] == 0.7


def test_spellings_of_a_label_and_labels_that_disagree() -> None:
    profile = profile_of([TOKENS], labels=["model|model_name"], also=["team|team_alias", "engine"])
    text = 'tokens_total{model_name="m",team_alias="blue",engine="0"} 1\ntokens_total{model="m",engine="1"} 2\n'
    point = one(read(text, profile), "inference")
    assert dict(point.tags) == {"device": "engine-1", "model": "m", "tenant": "blue"}
    assert point.fields == {"output_tokens_total": 3}


@pytest.mark.parametrize(
    ("each", "at", "message"),
    [
        ({"label": ["x"]}, "a", "label"),
        ({"combine": "mean"}, "a", "combine"),
        ({"filter": {"a": "("}}, "a", "unterminated"),
        ({}, "a b", "neither a matcher nor"),
        ({}, "1a", "no metric name"),
        ({}, "a{b=c}", "no matcher"),
        ({}, 'a{b=~"("}', "unterminated"),
        ({}, "mean(a)", "'mean' is none of sum, max, min, first"),
        ({}, "max(a", r"no \) behind a"),
        ({}, "a / ", "no metric name"),
        ({}, "a + b - c", "do not mix"),
        ({"blank": ["low..high"]}, "a", r"neither a number nor low\.\.high"),
        ({"blank": ["9..1"]}, "a", "lower number first"),
        ({"optional": ["inference.awake"]}, "a", "inference.awake is no point of this group"),
        ({"labels": ["user_email"]}, "a", "'user_email' tells of a person"),
        ({"also": ["team|api_key_alias"]}, "a", "'api_key_alias' tells of a person"),
    ],
)
def test_wrong_words_are_refused_before_anything_starts(each: dict[str, object], at: str, message: str) -> None:
    profile = profile_of([{"to": "inference.output_tokens_total", "at": at}], **each)
    with pytest.raises(ConfigError, match=message):
        exposition.open_collector(target(), profile)


def test_label_blocks_are_taken_apart_once_per_endpoint() -> None:
    result = read(page("dcgm_exporter_4.8_h100x8_SYNTHETIC"), "dcgm_exporter", polls=3)
    assert len(result.points) == 8


# --- several samples of one row


@pytest.mark.parametrize(("combine", "expected"), [("min", 5.0), ("max", 7.0)])
def test_an_address_may_say_how_its_samples_combine(combine: str, expected: float) -> None:
    text = 'tokens_total{model="m",rank="0"} 5\ntokens_total{model="m",rank="1"} 7\n'
    profile = profile_of([{**TOKENS, "at": f'{combine}(tokens_total{{rank=~"0|1"}})'}], labels=["model"])
    assert one(read(text, profile), "inference").fields == {"output_tokens_total": expected}


RANKS = """
tokens_total{model="m",tp_rank="0",pp_rank="0",dp_rank="0",priority=""} 100
tokens_total{model="m",tp_rank="0",pp_rank="0",dp_rank="0",priority="5"} 40
tokens_total{model="m",tp_rank="1",pp_rank="0",dp_rank="0"} 100
tokens_total{model="m",tp_rank="0",pp_rank="1",dp_rank="0"} 99
tokens_total{model="m",tp_rank="2",pp_rank="0",dp_rank="1"} 30
tokens_total{model="m",tp_rank="3",pp_rank="0",dp_rank="1"} 30
"""


def test_ranks_that_repeat_each_other_count_once_and_data_parallel_ranks_add_up() -> None:
    # SGLang with --enable-dp-attention: the second data-parallel rank has no tensor-parallel rank 0.
    each = {"labels": ["model"], "filter": {"priority": ""}, "combine": "max", "parts": ["dp_rank"]}
    assert one(read(RANKS, profile_of([TOKENS], **each)), "inference").fields == {"output_tokens_total": 130}


def test_ranks_chosen_by_label_with_a_missing_label_as_empty() -> None:
    filters = {"priority": "", "tp_rank": "0|", "pp_rank": "0|"}
    profile = profile_of([TOKENS], labels=["model"], filter=filters)
    assert one(read(RANKS, profile), "inference").fields == {"output_tokens_total": 100}
    older = 'tokens_total{model="m",dp_rank="0"} 4\ntokens_total{model="m",dp_rank="1"} 6\n'
    assert one(read(older, profile), "inference").fields == {"output_tokens_total": 10}


# --- metrics of the page as a whole

START: dict[str, object] = {
    "to": "inference.start_time_seconds",
    "at": ["max(tokens_created)", "process_start_time_seconds"],
}


def test_the_start_of_the_process_goes_to_every_row() -> None:
    profile = profile_of([TOKENS, START], labels=["model"], page=["process_start_time_seconds"])
    text = 'tokens_total{model="m"} 5\ntokens_total{model="n"} 7\nprocess_start_time_seconds 1.76e+09\n'
    result = read(text, profile)
    assert {point.tags["model"]: dict(point.fields) for point in result.points} == {
        "m": {"output_tokens_total": 5, "start_time_seconds": 1.76e9},
        "n": {"output_tokens_total": 7, "start_time_seconds": 1.76e9},
    }
    assert result.missing == ()


def test_the_start_of_a_row_s_own_series_wins_and_the_latest_counts() -> None:
    profile = profile_of([TOKENS, START], labels=["model"], page="process_start_time_seconds")
    text = """
tokens_total{model="m",why="stop"} 5
tokens_total{model="m",why="length"} 2
tokens_created{model="m",why="stop"} 1.76e+09
tokens_created{model="m",why="length"} 1.76001e+09
process_start_time_seconds 1.7e+09
"""
    assert one(read(text, profile), "inference").fields == {"output_tokens_total": 7, "start_time_seconds": 1.76001e9}


def test_a_page_wide_metric_alone_makes_no_row() -> None:
    profile = profile_of([TOKENS, START], labels=["model"], page=["process_start_time_seconds"])
    result = read("process_start_time_seconds 1.76e+09\n", profile)
    assert result.points == ()
    assert result.missing == ("inference.output_tokens_total: no sample of tokens_total",)


def test_some_fields_of_a_group_may_be_optional() -> None:
    each = {"labels": ["model"], "optional": ["inference.start_time_seconds"]}
    assert read('tokens_total{model="m"} 5\n', profile_of([TOKENS, START], **each)).missing == ()
    assert read('tokens_created{model="m"} 1.76e9\n', profile_of([TOKENS, START], **each)).missing == (
        "inference.output_tokens_total: no sample of tokens_total",
    )


# --- arithmetic

BLOCKS = """
blocks{kind="used",model="m"} 30
blocks{kind="max",model="m"} 120
blocks{kind="used",model="n"} 5
blocks{kind="max",model="n"} 0
blocks{kind="used",model="o"} 5
"""


def test_a_quotient_has_a_value_where_both_parts_are_and_the_divisor_is_not_zero() -> None:
    at = 'blocks{kind="used"} / blocks{kind="max"}'
    result = read(BLOCKS, profile_of([{"to": "inference.kv_cache_ratio", "at": at}], labels=["model"]))
    assert {point.tags["model"]: dict(point.fields) for point in result.points} == {"m": {"kv_cache_ratio": 0.25}}
    assert result.rejected == ()


@pytest.mark.parametrize(
    ("at", "expected"), [("active - scheduled", 8.0), ("active + scheduled + active", 22.0), ("active + absent", None)]
)
def test_sums_and_differences(at: str, expected: float | None) -> None:
    result = read("active 10\nscheduled 2\n", profile_of([{"to": "inference.requests_waiting", "at": at}]))
    assert [point.fields["requests_waiting"] for point in result.points] == ([] if expected is None else [expected])
    assert len(result.missing) == (expected is None)


def test_a_difference_below_zero_is_refused() -> None:
    profile = profile_of([{"to": "inference.requests_waiting", "at": "active - scheduled"}])
    result = read("active 1\nscheduled 2\n", profile)
    assert (result.points, result.rejected) == ((), ("inference.requests_waiting=-1.0: -1 is below 0",))


def test_a_sum_of_candidates_falls_back_to_fewer_terms() -> None:
    profile = profile_of(
        [{"to": "gpu.memory_total_bytes", "at": ["used + free + reserved", "used + free"], "unit": "MiB"}]
    )
    assert one(read("used 1000\nfree 24\n", profile), "gpu").fields == {"memory_total_bytes": 2**30}
    assert one(read("used 1000\nfree 16\nreserved 8\n", profile), "gpu").fields == {"memory_total_bytes": 2**30}


# --- blank samples

BLANKS = ["2147483632..2147483647", 140737488355328, "9223372036854775792..9223372036854775807"]


@pytest.mark.parametrize("blank", ["2147483632", "140737488355328.000000", "9223372036854775794", "NaN", "+Inf", "-1"])
def test_a_blank_sample_withholds_the_sum_that_it_belongs_to(blank: str) -> None:
    text = f'tokens_total{{model="m",rank="0"}} 5\ntokens_total{{model="m",rank="1"}} {blank}\n'
    text += 'tokens_total{model="n"} 1\n'
    result = read(text, profile_of([TOKENS], labels=["model"], blank=BLANKS))
    assert [(point.tags["model"], dict(point.fields)) for point in result.points] == [("n", {"output_tokens_total": 1})]
    assert len(result.rejected) == 1
    assert result.rejected[0].startswith("inference.output_tokens_total[model=m]='blank ")


@pytest.mark.parametrize("combine", ["max", "min", "first"])
def test_other_combinations_pass_over_blank_samples(combine: str) -> None:
    text = 'tokens_total{model="m",pod="a"} NaN\ntokens_total{model="m",pod="b"} 7\n'
    result = read(text, profile_of([TOKENS], labels=["model"], combine=combine))
    assert one(result, "inference").fields == {"output_tokens_total": 7}
    alone = read('tokens_total{model="m"} NaN\n', profile_of([TOKENS], labels=["model"], combine=combine))
    assert (alone.points, len(alone.rejected)) == ((), 1)


def test_an_address_with_blank_samples_alone_gives_way_to_the_next() -> None:
    profile = profile_of([{"to": "inference.kv_cache_ratio", "at": ["usage", "used / most"]}])
    assert one(read("usage NaN\nused 1\nmost 4\n", profile), "inference").fields == {"kv_cache_ratio": 0.25}
    assert read("usage NaN\n", profile).rejected == ("inference.kv_cache_ratio='blank nan': not a number",)


def test_a_part_without_a_value_withholds_the_sum_of_parts() -> None:
    text = 'tokens_total{dp="0",tp="0"} 5\ntokens_total{dp="0",tp="1"} NaN\ntokens_total{dp="1",tp="0"} %s\n'
    profile = profile_of([TOKENS], combine="max", parts=["dp"])
    assert one(read(text % "2", profile), "inference").fields == {"output_tokens_total": 7}
    assert read(text % "NaN", profile).points == ()


def test_negative_samples_stand_where_a_field_may_be_negative() -> None:
    profile = profile_of([{"to": "gpu.temperature_margin_celsius", "at": "limit - hottest"}])
    assert one(read("limit -5\nhottest 3\n", profile), "gpu").fields == {"temperature_margin_celsius": -8}


# --- text


def test_a_text_field_takes_a_label_that_the_row_s_samples_agree_on() -> None:
    points: list[dict[str, object]] = [
        {"to": "gpu.power_watts", "at": "power"},
        {"to": "gpu_info.driver", "at": ["DRIVER", "driver_version"]},
        {"to": "gpu_info.serial", "at": "serial"},
    ]
    text = 'power{model="m",driver_version="570.1",serial="a"} 300\npower{model="m",serial="b"} 300\n'
    result = read(text, profile_of(points, labels=["model"], combine="max"))
    assert one(result, "gpu_info").fields == {"driver": "570.1"}
    assert (result.missing, result.rejected) == ((), ())


# --- what is nobody's business

PERSON = (
    'hashed_api_key="88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",api_key_alias="eve-laptop",'
    'user="eve",user_email="eve@example.com",end_user="customer-7"'
)


def test_personal_labels_never_leave_the_parser() -> None:
    text = "".join(
        f'litellm_output_tokens_metric_total{{{PERSON},team_alias="{team}",model="m"}} {tokens}\n'
        for team, tokens in (("blue", "50"), ("red", "70"), ("red", "70"), ("green", "NaN"))
    )
    text += f'litellm_output_tokens_metric_total{{{PERSON},team_alias="grey"\n'
    profile = profile_of(
        [{"to": "inference.output_tokens_total", "at": "litellm_output_tokens_metric_total"}],
        labels=["model", "team|team_alias"],
    )
    result = read(text, profile)
    assert {point.tags["tenant"]: point.fields["output_tokens_total"] for point in result.points} == {
        "blue": 50,
        "red": 70,
    }
    assert len(result.rejected) == 3
    told = repr(result)
    assert not [secret for secret in ("eve", "example.com", "88dc28d0", "customer-7") if secret in told]


def test_a_page_without_the_profile_s_metrics_is_told_without_its_labels() -> None:
    with pytest.raises(ProtocolError) as refused:
        read(f"other_total{{{PERSON}}} 5\n", profile_of([TOKENS]))
    assert "begins with 'other_total'" in str(refused.value)


def test_a_server_before_its_first_request_has_no_points_and_is_no_error() -> None:
    profile = profile_of([TOKENS], match={"prefix": "tokens_"}, labels=["model"])
    result = read("# TYPE tokens_total counter\n# TYPE python_gc counter\npython_gc 1\n", profile)
    assert (result.points, len(result.missing)) == ((), 1)
