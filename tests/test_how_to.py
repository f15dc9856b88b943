"""The page "bring your own CDU", followed as a new user would: each command, each file, each output that it shows."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ROOT, call, grown, parse, peek, rows, started
from services import until

PAGE = (ROOT / "docs" / "how-to-bring-your-own-cdu.md").read_text("utf-8")
#: the port that the page plays the unit on
PORT = "1502"
BLOCK = re.compile(r"(?ms)^```(\w+)\n(.*?)^```$")


def blocks() -> Iterator[tuple[str, str]]:
    """Yield language and text of each fenced block, in the order of the page."""
    for language, text in BLOCK.findall(PAGE):
        assert language in ("sh", "text", "yaml"), f"what is in a block of {language!r} is checked by nobody"
        yield language, text


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_following_the_page_ends_with_the_unit_in_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    answer = ""
    shown: set[str] = set()
    # The unit is played on a port of its own, and the page's commands are given that port.
    with started("profile", "play", "docs/examples/acme-cdu.yaml", log=tmp_path / "play.log") as unit:
        played = unit.line(r"answers at modbus://127\.0\.0\.1:(\d+)")[1]
        said = unit.said[-1]
        for language, text in blocks():
            if language == "text":
                assert lines(answer.replace(played, PORT)) == lines(text)
            elif language == "yaml":
                follow_file(text, tmp_path, played)
            else:
                commands = text.strip().splitlines()
                if "profile play" in text:
                    answer = said
                elif "tokenwatt up" in text:
                    see_it_polled(tmp_path)
                else:
                    answers = [call(capsys, monkeypatch, shlex.split(c.replace(PORT, played))[1:]) for c in commands]
                    assert [each.code for each in answers] == [0] * len(answers), answers
                    answer = answers[-1].out + answers[-1].err
                shown.update(commands)
    assert len(shown) == 7


def follow_file(text: str, folder: Path, port: str) -> None:
    """Write a file that the page shows whole; of one that it shows a part of, the part must be there."""
    name = re.match(r"# ([\w./]+)\n", text)
    if name:
        (folder / name[1]).write_text(text.replace(PORT, port))
    else:
        assert text in (folder / "profiles" / "acme_cdu.yaml").read_text("utf-8")


def see_it_polled(folder: Path) -> None:
    database = folder / "tokenwatt.duckdb"
    with started("up", "--config", folder / "site.yaml", "--port", "0", log=folder / "up.log") as product:
        product.line("TokenWatt is up")
        until(grown(database, lambda: bool(peek(database, "coolant"))))
    stored = [row for row in rows(database, "coolant") if row.get("temperature_celsius") == 32.5]
    assert {(row["device"], row["loop"], row["point"]) for row in stored} == {("cdu-7", "tcs", "supply")}


@pytest.mark.parametrize("command", re.findall(r"`tokenwatt ([^`]+)`", BLOCK.sub("", PAGE)))
def test_each_command_in_the_prose_is_one_that_can_be_typed(command: str) -> None:
    parse(shlex.split(command))


def test_every_register_of_the_list_is_in_the_example_and_in_the_profile() -> None:
    listed = {int(number) for row in re.findall(r"(?m)^\| holding ([\d, ]+) \|", PAGE) for number in row.split(",")}
    profile = next(text for _, text in blocks() if text.startswith("# profiles/acme_cdu.yaml"))
    assert {int(number) for number in re.findall(r'"holding:(\d+)"', profile)} == listed
