"""What a profile may say of rows, scales and cadence: mistakes are told with line and key, and what each means."""

from pathlib import Path

import pytest

from collectors.collector import Target
from collectors.decode import Batch
from collectors.profile import Group, PointSpec, Profile, load_profile
from collectors.row_rules import Rule
from collectors.snmp_rows import Each, RowSearch
from collectors.snmp_session import Value
from storage.config import ConfigError

HEAD = "profile: x\nmodel: M\nkind: switch\nprotocol: {protocol}\nsource: none\ngroups:\n  - points:\n"

# text of the point on line 8, protocol, key, words of the reason
BROKEN = {
    "a gauge that wraps": ("to: switch.cpu_ratio, at: '1', wrap: 32", "snmp", "wrap", "is a gauge: it does not wrap"),
    "a wrap of other bits": ("to: interface.rx_errors_total, at: '1', wrap: 16", "snmp", "wrap", "is not allowed"),
    "a scaled state": (
        "to: interface.oper_up, at: '1', enum: {1: 1}, scale_from: {a: 1}",
        "snmp",
        "scale_from",
        "only numbers",
    ),
    "a text times a variable": ("to: switch.version, at: '1', factor_from: a", "snmp", "factor_from", "only numbers"),
    "a default without states": (
        "to: interface.oper_up, at: '1', otherwise: 1",
        "snmp",
        "otherwise",
        "no state of an `enum`",
    ),
    "a default that is no state": (
        "to: interface.oper_up, at: '1', enum: {1: 1}, otherwise: 7",
        "snmp",
        "otherwise",
        "7 is no state",
    ),
    "a range upside down": ("to: fan.speed_rpm, at: '1', applies: [9, 1]", "snmp", "applies", "9 is above 1"),
    "a cadence that modbus lacks": (
        "to: fan.speed_rpm, at: '1', every: medium",
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
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (8, f"groups[0].points[0].{key}")
    assert reason in problem.reason


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


async def test_an_index_of_names_gives_the_last_one_what_is_left() -> None:
    agent = Agent({"9.0.17.3": "spine-1"})
    each = Each.model_validate({"column": "9", "index": ["mark", "port", "rest"], "labels": {"system": "9"}})
    rows = await RowSearch(agent).rows(each, {})
    assert rows == [{"index": "0.17.3", "mark": "0", "port": "17", "rest": "3", "system": "spine-1"}]


def test_the_number_before_is_made_of_a_named_part_of_the_index() -> None:
    rule = Rule.model_validate({"from": "port", "add": -1, "text": "Ethernet{value}"})
    assert rule.apply({"index": "0.17.3", "port": "17"}) == "Ethernet16"
