"""What a profile may say of rows, scales and cadence: mistakes are told with line and key, and what each means."""

from pathlib import Path

import pytest

from collectors.collector import Target
from collectors.decode import Batch
from collectors.profile import Group, PointSpec, Profile, load_profile
from collectors.row_rules import Rule
from collectors.snmp.rows import Each, RowSearch
from collectors.snmp.session import Value
from storage.config import ConfigError

HEAD = "profile: x\nmodel: M\nkind: switch\nprotocol: {protocol}\nsource: none\ngroups:\n  - points:\n"

# text of the point on line 8, protocol, key, words of the reason
BROKEN = {
    "a gauge that wraps": ("to: switch.cpu_ratio, at: '1.3', wrap: 32", "snmp", "wrap", "is a gauge: it does not wrap"),
    "a wrap at nothing": ("to: interface.rx_errors_total, at: '1.3', wrap: 1", "snmp", "wrap", "greater than or equal"),
    "a scaled state": (
        "to: interface.oper_up, at: '1.3', enum: {1: 1}, scale_from: {a: 1}",
        "snmp",
        "scale_from",
        "only numbers",
    ),
    "a text times a variable": ("to: switch.version, at: '1.3', factor_from: a", "snmp", "factor_from", "only numbers"),
    "a default without states": (
        "to: interface.oper_up, at: '1.3', otherwise: 1",
        "snmp",
        "otherwise",
        "no state of an `enum`",
    ),
    "a default that is no state": (
        "to: interface.oper_up, at: '1.3', enum: {1: 1}, otherwise: 7",
        "snmp",
        "otherwise",
        "7 is no state",
    ),
    "a range upside down": ("to: fan.speed_rpm, at: '1.3', applies: [9, 1]", "snmp", "applies", "9 is above 1"),
    "a cadence that modbus lacks": (
        "to: fan.speed_rpm, at: '1.3', every: medium",
        "modbus",
        "every",
        "knows fast and slow only",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_point_says_where_and_what(tmp_path: Path, name: str) -> None:
    text, protocol, key, reason = BROKEN[name]
    (tmp_path / "x.yaml").write_text(f"{HEAD.format(protocol=protocol)}      - {{{text}}}\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile("x", [tmp_path])
    found = [p for p in caught.value.problems if p.key == f"groups[0].points[0].{key}" and reason in p.reason]
    assert [p.line for p in found] == [8]


def profile_of(*groups: Group) -> Profile:
    return Profile(profile="test", model="test", kind="switch", protocol="snmp", source="test", groups=groups)


def read(spec: PointSpec, raw: int, **row: str) -> tuple[float | int | str | None, tuple[str, ...]]:
    """Return what becomes of one raw value in a row, and what is rejected."""
    group = Group(points=(spec,))
    batch = Batch(Target("leaf-9", "snmp", "127.0.0.1:161"), profile_of(group))
    batch.add(group, spec, raw, row)
    result = batch.finish(1)
    values = [value for point in result.points for value in point.fields.values()]
    return values[0] if values else None, tuple(result.rejected)


def test_a_value_is_scaled_by_powers_of_ten_and_by_a_factor_of_its_row() -> None:
    scaled = PointSpec(to="power.active_watts", at="1", scale_from={"thousands": 3, "precision": -1})
    assert read(scaled, 8728, thousands="-1", precision="4") == (8728e-7, ())
    assert read(scaled, 5, thousands="1", precision="0") == (5000.0, ())
    times = PointSpec(to="switch.memory_used_bytes", at="1", factor_from="total", scale=0.01, unit="KiB")
    assert read(times, 25, total="16384000") == (0.25 * 16384000 * 1024, ())


@pytest.mark.parametrize("row", [{}, {"a": "many"}, {"a": "999"}])
def test_a_row_that_does_not_tell_its_scale_gives_nothing(row: dict[str, str]) -> None:
    value, rejected = read(PointSpec(to="power.active_watts", at="1", scale_from={"a": 1}), 5, **row)
    assert value is None
    assert len(rejected) == 1
    assert "scale" in rejected[0]


def test_a_value_that_another_reading_is_for_is_left_out_without_a_word() -> None:
    percent = PointSpec(to="fan.speed_ratio", at="1", unit="%", applies=(0, 100))
    turns = PointSpec(to="fan.speed_rpm", at="1", applies=(101, None))
    assert [read(percent, raw) for raw in (0, 100, 101, 5698)] == [(0.0, ()), (1.0, ()), (None, ()), (None, ())]
    assert [read(turns, raw) for raw in (0, 100, 101, 5698)] == [(None, ()), (None, ()), (101.0, ()), (5698.0, ())]
    only_zero = PointSpec(to="fan.speed_rpm", at="1", applies=(None, 0))
    assert [read(only_zero, raw) for raw in (0, 1)] == [(0.0, ()), (None, ())]


def test_otherwise_is_the_state_of_every_other_value() -> None:
    dark = PointSpec(to="transceiver.rx_dark", at="1", enum={0: 1}, otherwise=0, null_if=(10**9,))
    assert [read(dark, raw)[0] for raw in (0, 1, 8728)] == [1, 0, 0]
    value, rejected = read(dark, 10**9)
    assert value is None
    assert rejected == ("transceiver.rx_dark=1000000000: blank value",)


EACH = "      column: 1.3.6.1.4.1.318.1.1.26.4.3.1.2\n      labels: {module: 1.3.6.1.4.1.318.1.1.26.4.3.1.2}\n"
TAGS = '    tags: {circuit: "branch-{module}"}\n'
POINT = "      - {to: power.active_watts, at: '1.3.6.1.4.1.318.1.1.26.4.3.1.5', null_if: [-1]}\n"
WHOLE = (
    "profile: x\nmodel: M\nkind: rack_pdu\nprotocol: snmp\nsource: none\n"
    "match: {sysobjectid_prefix: 1.3.6.1.4.1.318}\ntransport: {}\ngroups:\n  - each:\n"
    f"{EACH}{TAGS}    points:\n{POINT}"
)

# what stands there, what is written in its place, line, key, part of the reason, part of the hint
SNMP_MISTAKES = {
    "an OID with letters": ("26.4.3.1.5'", "26.4.3.1.five'", 14, "points[0].at", "is no OID", "numbers with dots"),
    "a pattern without slashes": ("26.4.3.1.5'", "26.4.3.1.5 (x)'", 14, "points[0].at", "slashes", "OID /regex/"),
    "a pattern without a group": ("26.4.3.1.5'", "26.4.3.1.5 /x/'", 14, "points[0].at", "no group", "put ( )"),
    "a pattern that is none": ("26.4.3.1.5'", "26.4.3.1.5 /(x/'", 14, "points[0].at", "no regular", "mend it"),
    "the agent in a table": ("1.3.6.1.4.1.318.1.1.26.4.3.1.5", "agent", 14, "points[0].at", "whole device", "move it"),
    "a variable that the rows lack": ("{module}", "{modul}", 12, "tags.circuit", "no variable 'modul'", "'module'"),
    "a variable in an address": ("4.3.1.5'", "4.3.1.5.{x}'", 14, "points[0].at", "no variable 'x'", "module"),
    "a scale by no variable": (
        "null_if: [-1]", "scale_if: {amps: {0: 1}}", 14, "points[0].scale_if.amps", "no variable 'amps'", "module",
    ),
    "a unit by no variable": (
        "null_if: [-1]", "unit_if: {unit: {0: W}}", 14, "points[0].unit_if.unit", "no variable 'unit'", "module",
    ),
    "a factor by no variable": ("null_if: [-1]", "factor_from: n", 14, "points[0].factor_from", "no variable 'n'", ""),
    "a column that is no OID": ("column: 1.3", "column: iso.3", 10, "each.column", "is no OID", "numbers with dots"),
    "a label that is no OID": ("module: 1.3", "module: x.3", 11, "each.labels.module", "is no OID", "numbers"),
    "a misspelt key of the rows": ("labels:", "lables:", 11, "each.lables", "unknown key", "did you mean 'labels'?"),
    "rows without a column": ("column: 1.3.6.1.4.1.318.1.1.26.4.3.1.2", "settings: {}", 11, "each.labels", "is of rows",
                              "add `column"),
    "a rule from no variable": (
        "labels: {", "set: {module: [{from: modul}]}\n      labels: {m: 1.3, ", 11, "each.set.module[0].from",
        "no variable 'modul'", "",
    ),
    "rows kept by no variable": (
        "labels: {", "where: {modul: '1'}\n      labels: {", 11, "each.where.modul", "no variable", "'module'",
    ),
    "a setting that is no OID": ("labels: {", "settings: {a: b}\n      labels: {", 11, "each.settings.a", "no OID", ""),
    "a misspelt key of the match": ("sysobjectid_prefix", "sysobjectid", 6, "match.sysobjectid", "unknown key",
                                    "'sysobjectid_prefix'"),
    "a prefix that is no OID": ("1.3.6.1.4.1.318}", "apc}", 6, "match.sysobjectid_prefix", "no OID", "numbers"),
    "a pattern of the match": ("sysobjectid_prefix: 1.3.6.1.4.1.318", "sysdescr: (", 6, "match.sysdescr",
                               "no regular", "mend"),
    "a key of the transport": ("transport: {}", "transport: {anker: 1.3}", 7, "transport.anker", "unknown key",
                               "allowed: anchor"),
}  # fmt: skip


@pytest.mark.parametrize("name", SNMP_MISTAKES)
def test_what_snmp_does_not_understand_is_told_with_its_line_and_the_way_out(tmp_path: Path, name: str) -> None:
    old, new, line, key, reason, hint = SNMP_MISTAKES[name]
    assert old in WHOLE
    (tmp_path / "x.yaml").write_text(WHOLE.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile("x", [tmp_path])
    problem = next(p for p in caught.value.problems if p.key.removeprefix("groups[0].") == key)
    assert problem.line == line
    assert reason in problem.reason
    assert hint in problem.hint


def test_the_profile_that_the_mistakes_are_made_in_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(WHOLE, "utf-8")
    assert load_profile("x", [tmp_path]).profile == "x"


class Agent:
    """A table of instances, and what was asked of it."""

    def __init__(self, cells: dict[str, Value]) -> None:
        self.cells = cells
        self.walked: list[str] = []
        self.got: list[str] = []

    async def walk(self, column: str) -> dict[str, Value]:
        self.walked.append(column)
        return {oid[len(column) + 1 :]: value for oid, value in self.cells.items() if oid.startswith(f"{column}.")}

    async def get(self, oids: "list[str] | tuple[str, ...]") -> dict[str, Value]:
        self.got += oids
        return {oid: self.cells[oid] for oid in oids if oid in self.cells}


async def test_an_index_is_taken_apart_and_joins_the_cell_of_another_table() -> None:
    agent = Agent({"1.1.1000000931": 6, "1.1.501020120": 2, "1.1.": 0, "2.1.9": "etp3"})
    index = r"^1(?=\d{9}$)0*(?P<port>\d+)(?P<sensor>\d)(?P<lane>\d)$"
    each = Each.model_validate({"column": "1.1", "index": index, "labels": {"name": "2.1.{port}"}})
    search = RowSearch(agent)
    expected = [
        {"index": "1000000931", "port": "9", "sensor": "3", "lane": "1", "name": "etp3", "target": "leaf-9"},
    ]
    assert await search.rows(each, {"target": "leaf-9"}) == expected
    assert await search.rows(each, {"target": "leaf-9"}) == expected
    assert (agent.walked, agent.got) == (["1.1"], ["2.1.9"])
    search.forget()
    await search.rows(each, {"target": "leaf-9"})
    assert agent.walked == ["1.1", "1.1"]


async def test_a_setting_is_asked_once_for_all_tables_and_given_to_each_row() -> None:
    agent = Agent({"5.1": 61, "5.2": 62, "2.15.0": 1})
    rows = Each.model_validate({"column": "5", "settings": {"amperes": "2.15.0"}})
    scalars = Each.model_validate({"settings": {"amperes": "2.15.0", "degrees": "2.16.0"}})
    search = RowSearch(agent)
    told = await search.settings([rows, scalars])
    assert (told, agent.got) == ({"2.15.0": "1"}, ["2.15.0", "2.16.0"])
    given = {"amperes": told["2.15.0"]}
    assert await search.rows(rows, given) == [{"index": "1", "amperes": "1"}, {"index": "2", "amperes": "1"}]
    assert await search.rows(scalars, given) == [{"index": "", "amperes": "1"}]
    in_tenths = Each.model_validate({"settings": {"amperes": "2.15.0"}, "where": {"amperes": "0"}})
    assert await search.rows(in_tenths, given) == []


async def test_profiles_without_settings_ask_for_none() -> None:
    agent = Agent({"5.1": 61})
    assert await RowSearch(agent).settings([Each.model_validate({"column": "5"}), Each()]) == {}
    assert agent.got == []


async def test_an_index_of_names_gives_the_last_one_what_is_left() -> None:
    agent = Agent({"9.0.17.3": "spine-1"})
    each = Each.model_validate({"column": "9", "index": ["mark", "port", "rest"], "labels": {"system": "9"}})
    rows = await RowSearch(agent).rows(each, {})
    assert rows == [{"index": "0.17.3", "mark": "0", "port": "17", "rest": "3", "system": "spine-1"}]


def test_the_number_before_is_made_of_a_named_part_of_the_index() -> None:
    rule = Rule.model_validate({"from": "port", "add": -1, "text": "Ethernet{value}"})
    assert rule.apply({"index": "0.17.3", "port": "17"}) == "Ethernet16"
