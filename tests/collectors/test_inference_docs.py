"""The pages on inference servers say what the profiles do: every field, every metric, every reason."""

import re
from pathlib import Path

import pytest

from collectors.profile import Profile, load_profile

SOURCES = Path(__file__).parents[2] / "docs" / "sources"
PROFILES = ("vllm", "sglang", "trtllm", "triton", "tgi", "nim", "dynamo", "llamacpp", "litellm")
OUTLINE = [
    "What to set on the server",
    "URL and port",
    "What you get",
    "Limits and traps",
    "What it does not give, and why",
]
ROW = re.compile(r"^\| `([a-z0-9_.]+)`( [a-z0-9]+)? \| (.+) \| ([^|]+) \|$", re.M)


def doc(name: str) -> str:
    return (SOURCES / f"{name}.md").read_text("utf-8")


def read_by(profile: Profile) -> dict[str, tuple[str, ...]]:
    """Return field (and latency) -> addresses, as the profile has them."""
    return {
        " ".join([spec.to, *filter(None, [spec.tags.get("metric")])]): spec.addresses
        for group in profile.groups
        for spec in group.points
    }


@pytest.mark.parametrize("name", PROFILES)
def test_the_table_is_the_profile(name: str) -> None:
    table = {
        field + which: tuple(text.replace("\\|", "|").strip("`") for text in metrics.split(", else "))
        for field, which, metrics, _ in ROW.findall(doc(name))
    }
    assert table == read_by(load_profile(name))


@pytest.mark.parametrize("name", PROFILES)
def test_each_page_has_the_same_outline_and_every_reason(name: str) -> None:
    text = doc(name)
    assert re.findall(r"(?m)^## (.+)$", text) == OUTLINE
    *_, end = text.split("## ")
    said = {
        (f"inference.{field}", why)
        for fields, why in re.findall(r"(?m)^- ((?:`\w+`(?:, )?)+): (.+)\.$", end)
        for field in re.findall(r"\w+", fields)
    }
    assert said == set(load_profile(name).lacks.items())


@pytest.mark.parametrize("name", PROFILES)
def test_the_index_names_page_level_and_profile(name: str) -> None:
    rows = re.findall(r"(?m)^\| \[[^\]]+\]\((\w+)\.md\) \| (engine|frontend|gateway) \|.+$", doc("README"))
    groups = load_profile(name).groups
    assert (name, next(g.tags["level"] for g in groups if "level" in g.tags)) in rows


def test_live_fields_are_the_only_ones_called_live() -> None:
    for name in PROFILES:
        for field, _, _, clock in ROW.findall(doc(name)):
            tokens = field.endswith("_tokens_total")
            assert (clock != "-" and not clock.startswith("each")) == tokens, (name, field)
            assert not (field.startswith("inference.live_") and clock != "live"), (name, field)


def test_every_page_stands_in_the_index() -> None:
    pages = {path.name for path in SOURCES.glob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\((\w+\.md)\)", doc("README")))
