"""Every mistake in a file comes back with its file, line, key, reason and way out."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from storage.config import ConfigError, Duration, Problem, RelativePath, Secret, load_yaml, parse_duration


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Strict):
    url: str
    token: Secret | None = None
    timeout: Duration = timedelta(seconds=10)


class Store(Strict):
    engine: Literal["duckdb", "influxdb"] = "duckdb"
    size: int = Field(default=100, gt=0)
    ratio: float = 0.5
    wait: bool = True
    path: RelativePath = Path("data")
    servers: tuple[Server, ...] = ()
    names: tuple[str, ...] = ()


class Site(Strict):
    store: Store = Store()
    allow_plaintext_secrets: bool = False


ENVIRONMENT = {"TOKEN": "s3cret", "PORT": "8080", "EMPTY": "", "EVIL": "x\nstore: {size: 7}"}


def load(folder: Path, text: str | bytes) -> Site:
    path = folder / "site.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_yaml(path, Site, ENVIRONMENT)


def problems(folder: Path, text: str | bytes) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    for problem in caught.value.problems:
        assert problem.file == str(folder / "site.yaml")
    return caught.value.problems


# text, line, key, words of the reason, words of the hint
BROKEN = {
    "empty": ("", 0, "", "is empty", "example"),
    "only a note": ("# nothing\n", 0, "", "is empty", "example"),
    "a list": ("- a\n- b\n", 1, "", "not a mapping", "key: value"),
    "a word": ("hello\n", 1, "", "not a mapping", "key: value"),
    "tab": ("store:\n\tsize: 3\n", 2, "", "a tab", "spaces"),
    "open bracket": ("store:\n  names: [a, b\nmore: 1\n", 3, "", "is not YAML", "brackets"),
    "two documents": ("store: {}\n---\nstore: {}\n", 2, "", "is not YAML", ""),
    "not UTF-8": (b"store:\n  path: caf\xe9\n", 2, "", "not UTF-8", "UTF-8"),
    "control character": ("store:\n  path: a\x01b\n", 2, "", "is not YAML", ""),
    "nested too deeply": ("a:\n  " + "[" * 300 + "]" * 300, 2, "", "nested too deeply", "50 levels"),
    "tag": ("store: !!python/object:os.system {}\n", 1, "store", "tag", "plain values"),
    "own alias": ("store: &a\n  names: *a\n", 1, "store.names", "contains itself", ""),
    "list as key": ("store:\n  [a, b]: 1\n", 2, "store", "one word", "quote"),
    "key twice": ("store:\n  size: 1\n  wait: true\n  size: 2\n", 4, "store.size", "first on line 2", "keep one"),
    "section twice": ("store: {}\nstore: {}\n", 2, "store", "first on line 1", "keep one"),
    "unknown key": ("store:\n  sizes: 1\n", 2, "store.sizes", "unknown key", "did you mean 'size'?"),
    "unknown section": ("stores: {}\n", 1, "stores", "unknown key", "did you mean 'store'?"),
    "unknown key, none near": ("store:\n  zzz: 1\n", 2, "store.zzz", "unknown key", "allowed: engine, names"),
    "unknown key in a list": (
        "store:\n  servers:\n    - url: x\n    - url: y\n      tokn: z\n", 5, "store.servers[1].tokn", "unknown key",
        "did you mean 'token'?",
    ),
    "missing key in a list": (
        "store:\n  servers:\n    - url: x\n    - timeout: 1s\n", 4, "store.servers[1].url", "is missing", "",
    ),
    "unknown choice": (
        "store:\n  engine: duckbd\n", 2, "store.engine", "'duckbd' is not allowed", "did you mean 'duckdb'?",
    ),
    "text for a number": ("store:\n  size: many\n", 2, "store.size", "must be a whole number, not 'many'", ""),
    "part of a number": ("store:\n  size: 1.5\n", 2, "store.size", "must be a whole number, not 1.5", ""),
    "number out of range": ("store:\n  size: 0\n", 2, "store.size", "greater than 0, not 0", ""),
    "word for a ratio": ("store:\n  ratio: half\n", 2, "store.ratio", "must be a number, not 'half'", ""),
    "word for a switch": ("store:\n  wait: maybe\n", 2, "store.wait", "true or false, not 'maybe'", ""),
    "number for text": ("store:\n  names: [a, 5]\n", 2, "store.names[1]", "must be text, not 5", "quotes"),
    "text for a list": ("store:\n  names: a\n", 2, "store.names", "must be a list", "- item"),
    "text for a section": ("store: here\n", 1, "store", "must be a mapping", "key: value"),
    "text in a list of sections": (
        "store:\n  servers: [x]\n", 2, "store.servers[0]", "must be a mapping", "key: value",
    ),
    "no value": ("store:\n  size:\n", 2, "store.size", "must be a whole number, not empty", ""),
    "duration without unit": (
        "store:\n  servers: [{url: x, timeout: 5}]\n", 2, "store.servers[0].timeout", "5 is no duration", "500ms, 5s",
    ),
    "duration with an unknown unit": (
        "store:\n  servers: [{url: x, timeout: 5 sec}]\n", 2, "store.servers[0].timeout", "'5 sec' is no duration",
        "5s",
    ),
    "variable not set": ("store:\n  path: ${HOMER}/x\n", 2, "store.path", "HOMER is not set", "export HOMER="),
    "malformed variable": ("store:\n  path: ${A-B}\n", 2, "store.path", "is no variable", "${NAME}"),
    "open variable": ("store:\n  path: ${TOKEN\n", 2, "store.path", "is no variable", "${NAME}"),
    "plain secret": (
        "store:\n  servers:\n    - {url: x, token: hunter2}\n", 3, "store.servers[0].token", "plain text", "file:/path",
    ),
    "plain default of a secret": (
        "store:\n  servers:\n    - {url: x, token: '${NONE:-hunter2}'}\n", 3, "store.servers[0].token", "plain text",
        "file:/path",
    ),
    "number as secret": (
        "store:\n  servers:\n    - {url: x, token: 12}\n", 3, "store.servers[0].token", "must be text", "quote",
    ),
    "secret's file missing": (
        "store:\n  servers:\n    - {url: x, token: 'file:/none/here'}\n", 3, "store.servers[0].token",
        "cannot be read: No such file", "file:/path",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_says_where_what_and_how(tmp_path: Path, name: str) -> None:
    text, line, key, reason, hint = BROKEN[name]
    (problem,) = problems(tmp_path, text)
    assert (problem.line, problem.key) == (line, key)
    assert reason in problem.reason
    assert hint in problem.hint
    assert "hunter2" not in str(problem)


def test_all_mistakes_come_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    found = problems(tmp_path, "store:\n  wait: 3\n  size: -1\n  nams: []\nmore: 1\n")
    assert [(p.line, p.key) for p in found] == [(2, "store.wait"), (3, "store.size"), (4, "store.nams"), (5, "more")]


def test_a_problem_reads_file_line_key_reason_hint() -> None:
    assert str(Problem("site.yaml", 3, "a.b", "is wrong", "do this")) == "site.yaml:3: a.b: is wrong (do this)"
    assert str(Problem("site.yaml", 0, "", "is empty")) == "site.yaml: is empty"


def test_what_is_no_file_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: does not exist"):
        load_yaml(tmp_path / "none.yaml", Site)
    with pytest.raises(ConfigError, match="is a directory"):
        load_yaml(tmp_path, Site)


def test_an_unreadable_file_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        load_yaml(path, Site)


def test_words_of_yaml_1_1_stay_words(tmp_path: Path) -> None:
    site = load(tmp_path, "store:\n  names: [off, yes, 12:30:00, 2024-01-01, '5', 0b1, 1_000]\n  ratio: 1e-3\n")
    assert site.store.names == ("off", "yes", "12:30:00", "2024-01-01", "5", "0b1", "1_000")
    assert site.store.ratio == 0.001


def test_both_readers_of_yaml_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: {b: [1, '1', 1.5, true, null, ~, x], 2: \"y\", c: }\n"
    path = tmp_path / "x.yaml"
    path.write_text(text)
    from storage.document import read_document

    fast = read_document(path)
    monkeypatch.delattr("yaml.CBaseLoader")
    slow = read_document(path)
    assert fast == slow == {"a": {"b": [1, "1", 1.5, True, None, None, "x"], 2: "y", "c": None}}


def test_a_section_whose_keys_are_all_commented_out_is_empty(tmp_path: Path) -> None:
    assert load(tmp_path, "store:\n  #size: 5\n") == Site()
    assert load(tmp_path, "store:\n  servers:\n    #- {url: x}\n").store.servers == ()


def test_a_mapping_can_be_merged_into_another(tmp_path: Path) -> None:
    text = "store:\n  servers:\n    - &one {url: x, timeout: 1s}\n    - {<<: *one, url: y}\n"
    first, second = load(tmp_path, text).store.servers
    assert (first.url, second.url) == ("x", "y")
    assert second.timeout == timedelta(seconds=1)


def test_aliases_of_aliases_cost_no_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert len(problems(tmp_path, "\n".join(lines))) == 30  # each an unknown key, and no list of 10^30 was built


def test_variables_are_replaced_inside_values_only(tmp_path: Path) -> None:
    site = load(
        tmp_path,
        "store:\n  size: ${PORT}\n  names: ['${EVIL}', 'a${PORT}b', '${NONE:-c}', '${EMPTY:-d}', '$${PORT}']\n",
    )
    assert site.store.size == 8080
    assert site.store.names == ("x\nstore: {size: 7}", "a8080b", "c", "d", "${PORT}")


def test_the_environment_of_the_process_counts_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TOKENWATT_TEST_SIZE", "3")
    (tmp_path / "site.yaml").write_text("store: {size: '${TOKENWATT_TEST_SIZE}'}\n")
    assert load_yaml(tmp_path / "site.yaml", Site).store.size == 3


def test_secrets_come_from_the_environment_or_a_file_and_never_show(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from file\n")
    site = load(
        tmp_path, "store:\n  servers:\n    - {url: x, token: '${TOKEN}'}\n    - {url: y, token: 'file:token'}\n"
    )
    first, second = site.store.servers
    assert first.token is not None
    assert second.token is not None
    assert first.token.reveal() == "s3cret"
    assert second.token.reveal() == "from file"
    shown = f"{site!r} {site} {site.model_dump_json()}"
    assert shown.count("<secret>") >= 6
    assert "s3cret" not in shown
    assert "from file" not in shown


def test_a_simulated_site_may_hold_secrets_in_plain_text(tmp_path: Path) -> None:
    text = "allow_plaintext_secrets: true\nstore:\n  servers: [{url: x, token: hunter2}]\n"
    token = load(tmp_path, text).store.servers[0].token
    assert token is not None
    assert token.reveal() == "hunter2"


def test_a_secret_that_went_to_the_wrong_key_does_not_show(tmp_path: Path) -> None:
    for text in ("store:\n  size: ${TOKEN}\n", "store:\n  engine: ${TOKEN}\n", "store:\n  servers: ['${TOKEN}']\n"):
        (problem,) = problems(tmp_path, text)
        assert "s3cret" not in str(problem)


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, "store: {path: x/y}\n").store.path == tmp_path / "x/y"
    assert load(tmp_path, "store: {path: /x/y}\n").store.path == Path("/x/y")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("5s", 5), ("0.5s", 0.5), ("2m", 120), ("1h", 3600), ("1d", 86400)]
)
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["5", "-5s", "s", "5 s", "1h30m", "1e3s", "", "PT5S", 5, None, True])
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)
