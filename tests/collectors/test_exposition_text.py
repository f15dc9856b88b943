"""The line parser: what the format allows, what it does not, and the same samples as prometheus_client's own parser."""

import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from collectors.exposition import text as exposition_text
from collectors.exposition.text import Page, Parser, parse_labels

PAGES = sorted((Path(__file__).parent / "data" / "expositions").glob("*.prom"))


def samples(parser: Parser, page: Page) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (name, tuple(sorted(parser.labels(block).items()))): value
        for name, series in page.samples.items()
        for block, value in series.items()
    }


def oracle(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)  # it keeps whole numbers as int
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_samples_are_those_of_prometheus_client(path: Path) -> None:
    text = path.read_text()
    parser = Parser()
    got, want = samples(parser, parser.parse(text)), oracle(text)
    # prometheus_client adds `_total` to counters that lack it; we keep names as printed.
    unnamed = {(name.removesuffix("_total"), labels): value for (name, labels), value in want.items()}
    assert len(got) == len(want)
    for key, value in got.items():
        expected = want.get(key, unnamed.get(key))
        assert expected is not None, key
        assert value == expected or (math.isnan(value) and math.isnan(expected))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("m 1", 1.0),
        ("m 1.15891634176e+011", 1.15891634176e11),
        ("m 3.545990503e+0", 3.545990503),
        ("m -7", -7.0),
        ("m +Inf", math.inf),
        ("m -Inf", -math.inf),
        ("m 12 1760000000123", 12.0),
        ("m{} 3", 3.0),
        ('m{a="b"} 5', 5.0),
        ('m{a="b",} 5', 5.0),
        ('m {a="b"} 5', 5.0),
        ('  m{ a = "b" , c="d" } 5 1760000000123', 5.0),
        ('m{a="b"}5', 5.0),
        ("m\t9", 9.0),
        ("m 9\r", 9.0),
        ("\tm\t9", 9.0),
        ('m\t{a="b"}\t9', 9.0),
        ('m{a="}"} 9', 9.0),
        ('m{a="b{c=\\"d\\"}"} 9', 9.0),
        ('m{a="#"} 9 1760000000.123', 9.0),
        ("m 1e-05", 0.00001),
        ("m 9.223372036854775807e+18", 9.223372036854775807e18),
        ('m{a="b"} 5 # {trace_id="x"} 0.67', 5.0),
        ('m 5 # {trace_id="x"} 0.67 1760000000.1', 5.0),
    ],
)
def test_lawful_lines_are_read(line: str, value: float) -> None:
    for names in (None, {"m"}):
        page = Parser().parse(f"# TYPE m gauge\n{line}\n# EOF\n", names)
        assert [list(series.values()) for series in page.samples.values()] == [[value]], names
        assert page.types == {"m": "gauge"}
        assert page.rejected == []


OPENMETRICS = """# TYPE vllm_tokens counter
# UNIT vllm_tokens tokens
# HELP vllm_tokens Tokens \\"made\\".
vllm_tokens_total{model="m"} 17.0 1760000000.250 # {trace_id="4bf92f"} 3.0 1760000000.1
vllm_tokens_created{model="m"} 1759990000.5 1760000000.250
# TYPE build info
build_info{version="1.2"} 1
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
wait_seconds_bucket{le="0.5"} 2 # {} 0.25
wait_seconds_bucket{le="+Inf"} 3
wait_seconds_count 3
wait_seconds_sum 2.5
# EOF
"""


def test_openmetrics_gives_the_samples_of_prometheus_client() -> None:
    parser = Parser()
    page = parser.parse(OPENMETRICS)
    want = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in openmetrics.text_string_to_metric_families(OPENMETRICS)
        for sample in family.samples
    }
    assert samples(parser, page) == want
    assert page.samples["vllm_tokens_total"] == {'model="m"': 17.0}
    assert page.types == {"vllm_tokens": "counter", "build": "info", "wait_seconds": "histogram"}
    assert page.rejected == []


def test_a_page_with_windows_line_ends_is_read() -> None:
    text = 'm{a="1"} 5\nm{a="2"} 7 1760000000123\nn 3\n'
    assert Parser().parse(text.replace("\n", "\r\n")) == Parser().parse(text)


def test_nan_is_a_sample() -> None:
    assert math.isnan(Parser().parse("m NaN\n").samples["m"][""])


@pytest.mark.parametrize(
    "line", ["m", "m{", 'm{a="b" 5', "m{a=b} 5", 'm{a="b"} ', 'm{a="b"} five', "m 1_000", "m 1 2 3", 'm{a="b"x="c"} 1']
)
def test_malformed_lines_are_rejected_and_named(line: str) -> None:
    page = Parser().parse(f"other 1\n{line}\n", {"m", "other"})
    assert page.samples == {"other": {"": 1.0}}
    assert len(page.rejected) == 1
    assert re.fullmatch(r"line 2 'm( [^']*)?': no sample", page.rejected[0])


def test_rejections_tell_no_labels() -> None:
    page = Parser().parse('m{user="eve"} 1\nm{user="eve"} 2\nm{user="mallory} 3\nuser="trent" 4\n')
    assert page.rejected == ["line 2 'm': printed twice", "line 3 'm': no sample", "line 4 'user': no sample"]


def test_escapes_and_braces_in_labels() -> None:
    block = r'path="C:\\dir",text="say \"hi\"\nand {go}",empty=""'
    assert parse_labels(block) == {"path": "C:\\dir", "text": 'say "hi"\nand {go}', "empty": ""}
    page = Parser().parse(f"m{{{block}}} 1\n")
    assert page.samples == {"m": {block: 1.0}}


def test_only_the_names_asked_for_are_read() -> None:
    page = Parser().parse('a{x="1"} 1\nb{broken 2\na_total 3\n', {"a"})
    assert page.samples == {"a": {'x="1"': 1.0}}
    assert page.rejected == []


def test_a_sample_printed_twice_counts_once() -> None:
    page = Parser().parse('m{a="1"} 5\nm{a="1"} 7\n')
    assert page.samples == {"m": {'a="1"': 5.0}}
    assert page.rejected == ["line 2 'm': printed twice"]


def test_label_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition_text, "MAX_BLOCKS", 10)
    parser = Parser()
    for poll in range(5):
        parser.parse("".join(f'm{{a="{poll}-{i}"}} 1\n' for i in range(8)))
        assert len(parser._blocks) <= 18


def test_parser_is_many_times_cheaper_than_prometheus_client() -> None:
    text = (Path(__file__).parent / "data" / "expositions" / "vllm_0.33.0_generated.prom").read_text()
    parser = Parser()
    own, theirs = (
        min(_cpu_seconds(run) for _ in range(3)) for run in (lambda: parser.parse(text), lambda: oracle(text))
    )
    assert theirs / own > 6, f"{theirs:.4f} s against {own:.4f} s"


def _cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='m{}="\\,# \t\n+-.e19NaNInf_:ü', max_size=120))
def test_any_text_is_read_or_rejected(text: str) -> None:
    page = Parser().parse(text)
    assert all(name for name in page.samples)
