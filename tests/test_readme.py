"""What the README says can be typed, can be typed; what it names, exists."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ROOT, parse, started, subcommands

from collectors.probe import target_of
from collectors.profile import list_profiles
from collectors.simulator.check import TOLERANCE

README = (ROOT / "README.md").read_text("utf-8")
PROSE = re.sub(r"(?ms)^```.*?^```\n", "", README)
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = re.compile(r"(?:\.venv/bin/)?tokenwatt$")


def commands() -> Iterator[list[str]]:
    """Yield the words of each command line in the fenced blocks and, where it is a whole command, in the prose."""
    for language, block in re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", README):
        assert language == "sh", f"what is in a block of {language!r} is checked by nobody"
        for line in block.splitlines():
            if words := shlex.split(line, comments=True):
                yield words
    for code in re.findall(r"`((?:make|tokenwatt) [^`]+)`", PROSE):
        yield shlex.split(code)


COMMANDS = list(commands())


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_there_are_commands_of_both_programs() -> None:
    programs = {words[0] for words in COMMANDS}
    assert programs == {"make", "tokenwatt", ".venv/bin/tokenwatt"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_is_one_that_its_program_takes(words: list[str]) -> None:
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert subprocess.run(["make", "-n", *targets], capture_output=True, check=False).returncode == 0
        for setting in set(words[1:]) - set(targets):
            assert setting.startswith("ARGS=")
            parse([*targets, *shlex.split(setting.removeprefix("ARGS="))])
    elif words[1:] != ["--help"]:
        assert PROGRAM.match(words[0])
        parse(words[1:])


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[1:2] == ["probe"]], ids=" ".join)
def test_each_device_that_is_probed_has_a_right_url(words: list[str]) -> None:
    target = target_of(str(parse(words[1:])["device"]))
    assert target.profile in (None, *list_profiles())


def test_the_first_two_commands_do_all_the_work() -> None:
    """What `make demo` and `make test` need before they can run is made by themselves."""
    for target in ("demo", "test"):
        steps = subprocess.run(["make", "-n", "-B", target], capture_output=True, text=True, check=True).stdout
        assert "uv sync --frozen" in steps
        assert f".venv/bin/{'tokenwatt demo' if target == 'demo' else 'pytest'}" in steps
    assert re.search(r"(?m)^make test$", (ROOT / ".ci" / "run").read_text("utf-8"))


def test_every_make_target_is_phony_and_helped() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"(?m)^([a-z]+):.*##", makefile))
    phony = re.search(r"(?m)^\.PHONY: (.*)$", makefile)
    assert phony
    assert targets == set(phony[1].split())
    shown = subprocess.run(["make", "--no-print-directory", "help"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in shown.splitlines()} == targets


def test_the_list_of_commands_is_complete() -> None:
    sentence = re.search(r"`tokenwatt --help` lists all commands[^.]*\.", PROSE)
    assert sentence
    assert set(re.findall(r"`(\w+)`", sentence[0])) == subcommands().keys()


def test_numbers_are_those_of_the_program() -> None:
    most = re.search(r"up to ([\d,]+) GPUs", PROSE)
    assert most
    gpus = int(most[1].replace(",", ""))
    assert parse(["demo", "--gpus", str(gpus)])["gpus"] == gpus
    with pytest.raises(pytest.fail.Exception, match="less than or equal"):
        parse(["demo", "--gpus", str(gpus + 8)])
    assert f"more than {TOLERANCE:.0%}".replace("%", " %") in PROSE


def links(document: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text("utf-8")):
        if not re.match(r"https?://|#|mailto:", target):
            yield target.partition("#")[0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    missing = [target for target in links(document) if not (document.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("name", ["wall", "facilities", "fabric"])
def test_the_readme_shows_the_screens(name: str) -> None:
    (picture,) = re.findall(rf"!\[[^]]+\]\((docs/images/{name}-[^)]+)\)", README)
    head = (ROOT / picture).read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    assert width / height == pytest.approx(1920 / 1080, rel=0.01)


def test_files_that_it_names_exist() -> None:
    files = r"`([\w.-]+/[\w./*-]*|[\w-]+\.(?:yml|yaml|toml|md))`"
    named = set(re.findall(files, PROSE))
    assert len(named) > 5
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


@pytest.mark.parametrize(
    "script", sorted({words[words.index("--faults") + 1] for words in COMMANDS if "--faults" in words})
)
def test_its_scripts_of_faults_can_be_played(tmp_path: Path, script: str) -> None:
    options = ("--dir", tmp_path / "site", "--faults", script)
    with started("simulate", *options, log=tmp_path / "stderr.log") as simulator:
        simulator.line("^ready$")
