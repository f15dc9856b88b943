"""The inventory: every mistake with its line, every thing with its place, one point per line."""

from pathlib import Path

import pytest

from collectors.inventory import Inventory, load_inventory
from storage.config import ConfigError, Problem
from storage.schema import MEASUREMENTS

HEAD = "kind,id,parent,relation,model,scope,expected_count,rated_watts,rated_flow_liters_per_second\n"
SITE = HEAD + "site,S,,contains\nrow,A,S,contains\nrack,A01,A,contains\n"  # lines 2 to 4
FULL = SITE + (
    "cdu,cdu-1,A,contains,,,,600000,10\n"
    "rack,A01,cdu-1,cools\n"
    "host,node-1,A01,contains,NVIDIA B200,,8\n"
    "engine,vllm-1,node-1,contains,llama\n"
    'meter,"meter, main",S,contains,,facility\n'
    "shelf,shelf-1,A01,contains,,rack,6,198000\n"
    "switch,leaf-1,A,contains\n"
    "host,node-1,leaf-1,uplinks\n"
)


def load(folder: Path, text: str) -> Inventory:
    path = folder / "inventory.csv"
    path.write_text(text, "utf-8")
    return load_inventory(path)


def problems(folder: Path, text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return caught.value.problems


# text, line, key, words of the reason, words of the hint
BROKEN = {
    "empty": ("", 0, "", "is empty", "kind,id,parent,relation"),
    "notes only": ("# nothing yet\n\n", 0, "", "is empty", "kind,id"),
    "unknown column": (HEAD.replace("model", "modell") + "site,S,,contains\n", 1, "modell", "unknown", "'model'?"),
    "semicolons": ("kind;id;parent;relation\n", 1, "kind;id;parent;relation", "unknown column", "by commas"),
    "column twice": ("kind,id,id,parent,relation\n", 1, "id", "in the head twice", "keep one"),
    "missing column": ("kind,id,relation\nsite,S,contains\n", 1, "parent", "is missing", "the head is"),
    "too many cells": (HEAD + "site,S,,contains,,,,,,x\n", 2, "", "10 cells under 9 columns", "quotes"),
    "open quote": (HEAD + 'site,"S,,contains\n', 2, "", "is not CSV", "quotes"),
    "unknown kind": (SITE + "server,x,A01,contains\n", 5, "kind", "unknown kind 'server'", "allowed: cdu"),
    "misspelt kind": (SITE + "hosst,x,A01,contains\n", 5, "kind", "unknown kind 'hosst'", "did you mean 'host'?"),
    "unknown relation": (SITE + "host,x,A01,contain\n", 5, "relation", "unknown relation", "did you mean 'contains'?"),
    "relation of another kind": (SITE + "meter,x,A01,cools\n", 5, "relation", "cools is not for a meter", "rack"),
    "no id": (SITE + "host,,A01,contains\n", 5, "id", "is empty", "as its target"),
    "no parent": (SITE + "host,x,,contains\n", 5, "parent", "is missing", "contains it"),
    "site with a parent": (HEAD + "site,S,World,contains\n", 2, "parent", "stands in nothing", "empty"),
    "unknown parent": (SITE + "host,x,A10,contains\n", 5, "parent", "there is no 'A10'", "did you mean 'A01'?"),
    "parent of another kind": (SITE + "host,x,A,contains\n", 5, "parent", "'A' is a row", "kind and relation"),
    "unknown scope": (SITE + "meter,m,A,contains,,building\n", 5, "scope", "unknown scope 'building'", "facility"),
    "no number": (SITE + "host,x,A01,contains,,,8 GPUs\n", 5, "expected_count", "'8 GPUs' is no whole", "digits"),
    "part of a thing": (SITE + "host,x,A01,contains,,,1.5\n", 5, "expected_count", "no whole number", "digits"),
    "watts with a unit": (SITE + "host,x,A01,contains,,,,10 kW\n", 5, "rated_watts", "'10 kW' is no number", "unit"),
    "less than nothing": (SITE + "host,x,A01,contains,,,,-1\n", 5, "rated_watts", "'-1' is no number", ""),
    "not finite": (SITE + "host,x,A01,contains,,,,nan\n", 5, "rated_watts", "'nan' is no number", ""),
    "line twice": (SITE + "rack,A01,A,contains\n", 5, "id", "stands on line 4 already", "keep one"),
    "two places": (
        SITE + "row,B,S,contains\nrack,A01,B,contains\n", 6, "parent", "stands in 'A' already, on line 4", "one place",
    ),
    "two kinds": (SITE + "host,A01,A01,uplinks\n", 5, "kind", "'A01' is a rack on line 4", "one kind"),
    "circle of feeds": (
        SITE + "pdu,p,A,contains\npdu,q,A,contains\npdu,p,q,feeds\npdu,q,p,feeds\n", 8, "parent", "feeds in a circle",
        "take one out",
    ),
    "own parent": (SITE + "pdu,p,A,contains\npdu,p,p,feeds\n", 6, "parent", "feeds in a circle: p, p", "out"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_inventory_says_where_what_and_how(tmp_path: Path, name: str) -> None:
    text, line, key, reason, hint = BROKEN[name]
    found = [p for p in problems(tmp_path, text) if (p.line, p.key) == (line, key)]
    assert found
    assert found[0].file == str(tmp_path / "inventory.csv")
    assert reason in found[0].reason
    assert hint in found[0].hint


def test_a_thing_that_contains_itself_is_refused(tmp_path: Path) -> None:
    text = HEAD + "site,S,,contains\nrow,A,A01,contains\nrack,A01,A,contains\n"
    reasons = [p.reason for p in problems(tmp_path, text)]
    assert any("contains in a circle: " in reason for reason in reasons)
    assert any("'A01' is a rack: contains of a row needs site" in reason for reason in reasons)


def test_all_mistakes_come_at_once_and_none_follows_from_another(tmp_path: Path) -> None:
    text = HEAD + "sitee,S,,contains\nrow,A,S,contains\nrack,A01,A,contain\nhost,h,A01,contains,,,many\n"
    assert [(p.line, p.key) for p in problems(tmp_path, text)] == [(2, "kind"), (4, "relation"), (5, "expected_count")]


def test_a_missing_inventory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: does not exist"):
        load_inventory(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("vllm-1", {"row": "A", "rack": "A01", "host": "node-1"}),
        ("node-1", {"row": "A", "rack": "A01", "host": "node-1"}),
        ("shelf-1", {"row": "A", "rack": "A01"}),
        ("A01", {"row": "A", "rack": "A01"}),
        ("cdu-1", {"row": "A"}),
        ("meter, main", {}),
        ("S", {}),
        ("nobody", {}),
    ],
)
def test_a_thing_stands_where_its_holders_stand(tmp_path: Path, name: str, place: dict[str, str]) -> None:
    assert load(tmp_path, FULL).locate(name) == place


def test_places_hold_the_scope_too(tmp_path: Path) -> None:
    places = load(tmp_path, FULL).places()
    assert places["shelf-1"] == {"row": "A", "rack": "A01", "scope": "rack"}
    assert places["meter, main"] == {"scope": "facility"}
    assert set(places) == {"S", "A", "A01", "cdu-1", "node-1", "vllm-1", "meter, main", "shelf-1", "leaf-1"}


def test_each_line_is_a_point(tmp_path: Path) -> None:
    inventory = load(tmp_path, FULL)
    points = inventory.points({"site": "S", "source": "c1", "synthetic": "true"}, 5)
    assert len(points) == len(inventory.items) == 11
    host = next(p for p in points if p.tags["id"] == "node-1" and p.tags["relation"] == "contains")
    assert host.tags == {
        "site": "S", "row": "A", "rack": "A01", "host": "node-1", "source": "c1", "synthetic": "true",
        "kind": "host", "id": "node-1", "parent": "A01", "relation": "contains", "model": "NVIDIA B200",
    }  # fmt: skip
    assert host.fields == {"present": 1, "expected_count": 8.0}
    known = MEASUREMENTS["inventory"]
    for point in points:
        assert list(point.tags) == [name for name in known.tags if name in point.tags]
        assert set(point.fields) <= set(known.fields)
        assert point.time_ns == 5
        assert "" not in point.tags.values()


def test_notes_blank_lines_and_a_byte_order_mark_do_not_count(tmp_path: Path) -> None:
    text = '\ufeff# a note, with "quotes\n\n' + SITE.replace("row,A", "# row,B\n row , A ")
    assert [item.id for item in load(tmp_path, text).items] == ["S", "A", "A01"]
    (problem,) = problems(tmp_path, text + "host,x,A09,contains\n")
    assert problem.line == 8


def test_an_empty_inventory_knows_nothing() -> None:
    assert Inventory().locate("x") == {}
    assert Inventory().places() == {}
    assert Inventory().points({"site": "S"}, 0) == []
