"""The operator's page on SONiC by gNMI says what the profile reads."""

import re
from pathlib import Path

from collectors.profile import load_profile

DOC = (Path(__file__).parents[2] / "docs" / "sources" / "sonic_gnmi.md").read_text("utf-8")
PROFILE = load_profile("sonic_gnmi")


def test_every_table_that_is_read_is_named() -> None:
    for group in PROFILE.groups:
        database, path = group.each["target"], group.each["path"]
        assert database in DOC
        assert path.removeprefix("TRANSCEIVER") in DOC, path


def test_every_setting_that_a_hint_names_is_on_the_page() -> None:
    hints = {spec.hint for group in PROFILE.groups for spec in group.points if spec.hint}
    commands = {found for hint in hints for found in re.findall(r"counterpoll [\w-]+ enable|pfcwd start_default", hint)}
    assert len(commands) == 6
    assert [command for command in sorted(commands) if command not in DOC] == []


def test_what_the_switch_never_gives_is_told_as_in_the_profile() -> None:
    end = DOC.partition("## What is not there")[2]
    assert dict(re.findall(r"(?m)^- `([\w.]+)`: (.+)\.$", end)) == dict(PROFILE.lacks)
