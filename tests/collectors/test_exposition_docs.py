"""The page on metrics pages says what the code does: its options, and its example of a profile."""

import re
from pathlib import Path

from pages import one, read

from collectors.address import PAGE_OPTIONS
from collectors.exposition.match import USUAL_PATHS, choose
from collectors.exposition.text import Parser
from collectors.profile import Library, load_profile

DOC = (Path(__file__).parents[2] / "docs" / "sources" / "exposition.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", DOC, re.S)
    assert len(found) == 1
    return str(found[0])


def test_the_example_of_a_profile_reads_the_example_of_a_page(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(block("yaml"))
    profile = load_profile("acme", (tmp_path,))
    shipped = Library().of_protocol("exposition")
    assert choose("", Parser().parse(block("text")).samples, [*shipped, profile]) is profile
    result = read(block("text"), profile)
    assert (len(result.points), result.missing, result.rejected) == (1, (), ())
    point = one(result, "inference")
    assert dict(point.tags) == {"endpoint": "engine-1", "server": "acme", "level": "engine", "model": "llama"}
    assert dict(point.fields) == {
        "output_tokens_total": 700 + 500,
        "input_tokens_total": 9000,
        "kv_cache_ratio": 30 / 120,
        "ttft_seconds_sum": 2.5,
        "ttft_seconds_count": 50,
        "start_time_seconds": 1.76e9,
    }


def test_every_option_and_usual_path_is_told() -> None:
    for name, values in PAGE_OPTIONS.items():
        for value in values or ("",):
            assert f"{name}: {value}" in DOC, name
    assert ", ".join(f"`{path}`" for path in USUAL_PATHS) in DOC
