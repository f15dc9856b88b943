"""The page on SONiC by SNMP says what the profile does: every field with its OIDs and cadence, every reason."""

import re
from pathlib import Path

from collectors.profile import load_profile

SOURCES = Path(__file__).parents[2] / "docs" / "sources"
PAGE = (SOURCES / "sonic_snmp.md").read_text("utf-8")
PROFILE = load_profile("sonic_snmp")
ROW = re.compile(r"^\| `(\w+\.\w+)` \| (.+?) \| (\d+ s) \| [^|]+ \|$", re.M)


def test_the_table_is_the_profile() -> None:
    cadence = {"fast": PROFILE.poll.fast, "medium": PROFILE.poll.medium, "slow": PROFILE.poll.slow}
    read: dict[str, tuple[set[str], set[str]]] = {}
    for spec in (spec for group in PROFILE.groups for spec in group.points):
        oids, each = read.setdefault(spec.to, (set(), set()))
        oids.update(address.split(" ")[0] for address in spec.addresses)
        each.add(cadence[spec.every].replace("s", " s"))
    assert {field: (set(re.findall("`([^`]+)`", oids)), {each}) for field, oids, each in ROW.findall(PAGE)} == read


def test_the_page_has_every_reason_and_the_outline_of_the_others() -> None:
    *_, end = PAGE.split("## ")
    assert dict(re.findall(r"(?m)^- `([\w.]+)`: (.+)\.$", end)) == dict(PROFILE.lacks)
    assert re.findall(r"(?m)^## (.+)$", PAGE) == [
        "What to set on it",
        "URL and port",
        "What you get",
        "Limits and traps",
        "What it does not give, and why",
    ]


def test_every_setting_that_a_hint_names_is_on_the_page_and_the_index_names_the_page() -> None:
    hints = " ".join(spec.hint for group in PROFILE.groups for spec in group.points)
    for setting in set(re.findall(r"FLEX_COUNTER_TABLE\|\w+|BUFFER_MAX_PARAM_TABLE|max_queues", hints)):
        assert setting in PAGE
    assert "(sonic_snmp.md)" in (SOURCES / "README.md").read_text("utf-8")
