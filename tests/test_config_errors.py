"""Broken files through `tokenwatt check`: each ends with 2, file, line, key and way out, and without a traceback."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Answer, call, run

SITE = """\
collectors:
  site: DC1
  inventory: inventory.csv
  profiles: profiles
  targets:
    - {name: pdu-1, url: "snmp://public@10.0.0.1", profile: mine}
storage:
  engine: duckdb
dashboard:
  tick: 2s
"""
INVENTORY = """\
kind,id,parent,relation,scope,expected_count,rated_watts
site,DC1,,contains,,,
row,A,DC1,contains,,,
rack,A01,A,contains,rack,,132000
pdu,pdu-1,A01,contains,rack,,
host,node-1,A01,contains,,8,
"""
PROFILE = """\
profile: mine
model: A rack PDU
kind: rack_pdu
protocol: snmp
source: its MIB
groups:
  - tags: {kind: rack_pdu, circuit: total, side: input}
    points:
      - {to: power.active_watts, at: 1.3.6.1.4.1.318.1.0, unit: W}
"""
FILES = {"site.yaml": SITE, "inventory.csv": INVENTORY, "profiles/mine.yaml": PROFILE}

#: file, what stands there, what we write instead, and what is told: line, key, words
BROKEN = {
    "empty file": ("site.yaml", SITE, "", 0, "", "is empty"),
    "a list": ("site.yaml", SITE, "- a\n", 1, "", "is not a mapping"),
    "tab": ("site.yaml", "  engine: duckdb", "\tengine: duckdb", 8, "", "a tab in the indentation"),
    "open quote": ("site.yaml", "site: DC1", 'site: "DC1', 6, "", "is not YAML"),
    "no section collectors": ("site.yaml", "collectors:", "collector:", 1, "collector", "did you mean 'collectors'?"),
    "key twice": ("site.yaml", "  tick: 2s", "  tick: 2s\n  tick: 3s", 11, "dashboard.tick", "first on line 10"),
    "unknown key": ("site.yaml", "engine: duckdb", "engin: duckdb", 8, "storage.engin", "did you mean 'engine'?"),
    "unknown engine": ("site.yaml", "duckdb", "sqlite", 8, "storage.engine", "allowed: duckdb, influxdb"),
    "engine without its server": ("site.yaml", "duckdb", "influxdb", 7, "storage", "needs its server"),
    "port out of range": ("site.yaml", "tick: 2s", "port: 70000", 10, "dashboard.port", "less than or equal to 65535"),
    "port in words": ("site.yaml", "tick: 2s", "port: http", 10, "dashboard.port", "must be a whole number"),
    "tick without unit": ("site.yaml", "tick: 2s", "tick: 2", 10, "dashboard.tick", "2 is no duration"),
    "tick too long": ("site.yaml", "tick: 2s", "tick: 2h", 9, "dashboard", "tick must lie between 200ms and 60s"),
    "PUE under one": (
        "site.yaml", "tick: 2s", "targets: {pue: 0.9}", 10, "dashboard.targets.pue", "greater than or equal to 1",
    ),
    "limits swapped": (
        "site.yaml", "tick: 2s", "limits: {coolant_supply_celsius: [45, 17]}", 10, "dashboard.limits", "low must be",
    ),
    "ratio in percent": (
        "site.yaml", "tick: 2s", "alarms: {flow_ratio: 50}", 10, "dashboard.alarms.flow_ratio", "less than or equal",
    ),
    "no site's name": ("site.yaml", "  site: DC1\n", "", 1, "collectors.site", "is missing"),
    "site's name with spaces": ("site.yaml", "DC1", "DC 1", 2, "collectors.site", "'DC 1' is no name"),
    "variable not set": ("site.yaml", "DC1", "${NO_SUCH_SITE}", 2, "collectors.site", "NO_SUCH_SITE is not set"),
    "no such folder": ("site.yaml", "profiles: profiles", "profiles: none", 4, "collectors.profiles", "is no folder"),
    "target without URL": (
        "site.yaml", 'url: "snmp://public@10.0.0.1", ', "", 6, "collectors.targets[0].url", "is missing",
    ),
    "unknown scheme": ("site.yaml", "snmp://", "snmpv3://", 6, "collectors.targets[0].url", "did you mean 'snmp'?"),
    "port of a URL": ("site.yaml", "10.0.0.1", "10.0.0.1:99999", 6, "collectors.targets[0].url", "malformed"),
    "unknown profile": ("site.yaml", "profile: mine", "profile: mime", 6, "collectors.targets[0].profile", "'mine'?"),
    "profile of another protocol": (
        "site.yaml", "profile: mine", "profile: vllm", 6, "collectors.targets[0].profile", "speaks exposition",
    ),
    "plain password": (
        "site.yaml", "profile: mine", "password: hunter2", 6, "collectors.targets[0].password", "in plain text",
    ),
    "interval too short": (
        "site.yaml", "profile: mine", "interval: 10ms", 6, "collectors.targets[0].interval", "500ms to 1h",
    ),
    "name twice": (
        "site.yaml", "storage:", '    - {name: pdu-1, url: "nvml://"}\nstorage:', 7, "collectors.targets[1].name",
        "name of targets[0] already",
    ),
    "no inventory": ("site.yaml", "inventory.csv", "none.csv", 0, "", "does not exist"),
    "unknown kind": ("inventory.csv", "pdu,pdu-1", "pud,pdu-1", 5, "kind", "did you mean 'pdu'?"),
    "unknown column": ("inventory.csv", "rated_watts", "rated_wats", 1, "rated_wats", "did you mean 'rated_watts'?"),
    "unknown relation": ("inventory.csv", "A,contains,rack", "A,contain,rack", 4, "relation", "mean 'contains'?"),
    "unknown parent": ("inventory.csv", "pdu-1,A01", "pdu-1,A99", 5, "parent", "there is no 'A99'"),
    "parent of a wrong kind": ("inventory.csv", "node-1,A01", "node-1,A", 6, "parent", "'A' is a row"),
    "unknown scope": ("inventory.csv", "contains,rack,,132000", "contains,hall,,132000", 4, "scope", "unknown scope"),
    "rating with its unit": ("inventory.csv", "132000", "132kW", 4, "rated_watts", "'132kW' is no number"),
    "half a GPU": ("inventory.csv", "contains,,8,", "contains,,7.5,", 6, "expected_count", "'7.5' is no whole number"),
    "line twice": ("inventory.csv", "row,A,DC1,contains,,,", "row,A,DC1,contains,,,\n" * 2, 4, "id", "line 3 already"),
    "cells too many": ("inventory.csv", "host,node-1,A01", "host,node-1,a,b,A01", 6, "", "9 cells under 7 columns"),
    "semicolons": ("inventory.csv", INVENTORY, INVENTORY.replace(",", ";"), 1, "", "separated by commas"),
    "key of a profile": ("profiles/mine.yaml", "model:", "modell:", 2, "modell", "did you mean 'model'?"),
    "name of a profile": ("profiles/mine.yaml", "profile: mine", "profile: yours", 1, "profile", "not the file's name"),
    "field of the schema": (
        "profiles/mine.yaml", "power.active_watts", "power.activ_watts", 9, "groups[0].points[0].to",
        "did you mean 'power.active_watts'?",
    ),
    "unit of another quantity": (
        "profiles/mine.yaml", "unit: W", "unit: V", 9, "groups[0].points[0].unit", "W",
    ),
    "address of a profile": (
        "profiles/mine.yaml", "at: 1.3.6.1.4.1.318.1.0", "at: sysUpTime.0", 9, "groups[0].points[0].at", "OID",
    ),
    "password of SNMPv3 missing": (
        "site.yaml", "snmp://public@10.0.0.1", "snmp://me@10.0.0.1?version=3&auth=sha256", 6, "collectors.targets[0]",
        "needs a password",
    ),
    "tag of another measurement": (
        "profiles/mine.yaml", "side: input", "pump: one", 7, "groups[0].tags.pump", "no measurement",
    ),
    "unknown protocol": ("profiles/mine.yaml", "protocol: snmp", "protocol: smnp", 4, "protocol", "mean 'snmp'?"),
    "parent of a profile": (
        "profiles/mine.yaml", "source:", "extends: _none\nsource:", 5, "extends", "there is no shared part '_none'",
    ),
    "YAML of a profile": ("profiles/mine.yaml", "groups:", "groups: [", 7, "", "is not YAML"),
}  # fmt: skip

Check = Callable[[Path], Answer]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Check:
    return lambda path: call(capsys, monkeypatch, ("check", path))


def write(folder: Path, **changed: str) -> Path:
    """Write the three files, some of them changed (`site_yaml=...`); return the site's."""
    (folder / "profiles").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(changed.get(re.sub(r"\W", "_", name), text))
    return folder / "site.yaml"


def broken(folder: Path, name: str) -> tuple[Path, Path]:
    """Write the files with one mistake in; return the site's and the one with the mistake."""
    file, found, instead, *_ = BROKEN[name]
    assert found in FILES[file]
    path = write(folder, **{re.sub(r"\W", "_", file): FILES[file].replace(found, instead, 1)})
    return path, folder / ("none.csv" if "none.csv" in instead else file)


def test_the_files_are_right_before_they_are_broken(check: Check, tmp_path: Path) -> None:
    path = write(tmp_path)
    assert check(path) == Answer(0, f"{path}: ok, 1 targets\n", "")


def assert_told(answer: Answer, file: Path, name: str) -> None:
    line, key, words = BROKEN[name][3:]
    assert (answer.code, answer.out) == (2, "")
    where = f"error {file}" + (f":{line}" if line else "") + (f": {key}: " if key else ": ")
    told = [each for each in answer.err.splitlines() if each.startswith(where)]
    assert told, answer.err
    assert words in told[0]
    assert all(each.startswith("error ") for each in answer.err.splitlines())
    assert "hunter2" not in answer.err


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_ends_with_2_file_line_key_and_way_out(check: Check, tmp_path: Path, name: str) -> None:
    path, file = broken(tmp_path, name)
    assert_told(check(path), file, name)


@pytest.mark.parametrize("name", ["unknown key", "rating with its unit", "field of the schema"])
def test_so_it_does_from_a_shell(tmp_path: Path, name: str) -> None:
    path, file = broken(tmp_path, name)
    assert_told(run("check", path), file, name)


def test_several_mistakes_are_told_at_once_in_the_order_of_their_lines(check: Check, tmp_path: Path) -> None:
    text = SITE.replace("snmp://", "smnp://").replace("duckdb", "duckbd").replace("tick: 2s", "tock: 2s")
    path = write(tmp_path, site_yaml=text.replace("DC1", '"D C"'))
    answer = check(path)
    assert answer.code == 2
    assert [line.split(": ")[0] for line in answer.err.splitlines()] == [f"error {path}:{n}" for n in (2, 6, 8, 10)]


def test_several_mistakes_of_an_inventory_are_told_at_once(check: Check, tmp_path: Path) -> None:
    text = INVENTORY.replace("132000", "many").replace("pdu,pdu-1", "pud,pdu-1").replace("contains,,8", "contain,,8")
    answer = check(write(tmp_path, inventory_csv=text))
    assert answer.code == 2
    inventory = tmp_path / "inventory.csv"
    assert [line.split(": ")[0] for line in answer.err.splitlines()] == [f"error {inventory}:{n}" for n in (4, 5, 6)]


def test_mistakes_of_inventory_and_profiles_are_told_together(check: Check, tmp_path: Path) -> None:
    """Also those of a profile that no target names: a device may turn out to be that one."""
    path = write(tmp_path, inventory_csv=INVENTORY.replace("132000", "many"))
    (tmp_path / "profiles" / "other.yaml").write_text(PROFILE.replace("model:", "modell:"))
    (tmp_path / "profiles" / "mine.yaml").write_text(PROFILE.replace("kind: rack_pdu\nproto", "king: x\nproto"))
    answer = check(path)
    assert answer.code == 2
    places = {line.split(": ")[0].removeprefix(f"error {tmp_path}/") for line in answer.err.splitlines()}
    assert places >= {"inventory.csv:4", "profiles/other.yaml:2", "profiles/mine.yaml:3"}


def test_a_file_that_is_not_there_and_a_folder(check: Check, tmp_path: Path) -> None:
    missing = tmp_path / "site.yaml"
    assert check(missing) == Answer(2, "", f"error {missing}: does not exist (check the path)\n")
    assert check(tmp_path) == Answer(2, "", f"error {tmp_path}: is a directory, not a file (name the file in it)\n")


def test_bytes_that_are_no_text(check: Check, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(b"collectors:\n  site: caf\xe9\n")
    assert check(path) == Answer(2, "", f"error {path}:2: is not UTF-8 text (save it as UTF-8)\n")
