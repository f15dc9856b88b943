"""Profiles: every mistake with file, line, key and way out; parents merged; all packaged ones sound."""

from pathlib import Path

import pytest

from collectors.profile import PACKAGED, list_profiles, load_profile
from storage.config import ConfigError, Problem

HEAD = "profile: x\nmodel: M\nkind: cdu\nprotocol: modbus\nsource: none\n"  # lines 1 to 5
GROUP = HEAD + "groups:\n  - points:\n"  # lines 6 and 7; the first point stands on line 8


def write(folder: Path, text: str, name: str = "x") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, "utf-8")
    return path


def problems(folder: Path, text: str) -> list[Problem]:
    write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_profile("x", [folder])
    return caught.value.problems


def point(text: str) -> str:
    return f"{GROUP}      - {{{text}}}\n"


VALVE = "to: coolant.valve_ratio, at: 'input:1'"
# text, line, key, words of the reason, words of the hint
BROKEN = {
    "unknown key": (point(f"{VALVE}, scal: 2"), 8, "groups[0].points[0].scal", "unknown key", "did you mean 'scale'?"),
    "unknown key at the top": (point(VALVE) + "derive: []\n", 9, "derive", "unknown key", "did you mean 'derived'?"),
    "missing address": (point("to: coolant.valve_ratio"), 8, "groups[0].points[0].at", "is missing", ""),
    "no address": (point("to: coolant.valve_ratio, at: []"), 8, "groups[0].points[0].at", "names no address", "one"),
    "number as address": (
        point("to: coolant.valve_ratio, at: 5"), 8, "groups[0].points[0].at", "must be text or a list, not 5", "quotes",
    ),
    "unknown protocol": (point(VALVE).replace("modbus", "modbuss"), 4, "protocol", "is not allowed", "'modbus'?"),
    "unknown measurement": (
        point("to: cooling.valve_ratio, at: 'input:1'"), 8, "groups[0].points[0].to", "no field 'cooling.valve_ratio'",
        "did you mean 'coolant.valve_ratio'?",
    ),
    "unknown field": (
        point("to: coolant.valve_ratios, at: 'input:1'"), 8, "groups[0].points[0].to", "no field",
        "did you mean 'coolant.valve_ratio'?",
    ),
    "unit that does not fit": (
        point("to: coolant.flow_liters_per_second, at: 'input:1', unit: kW"), 8, "groups[0].points[0].unit",
        "'kW' does not fit flow_liters_per_second", "L/s, L/min",
    ),
    "unit where there is none": (
        point("to: coolant.ph, at: 'input:1', unit: '%'"), 8, "groups[0].points[0].unit", "'%' does not fit ph",
        "leave",
    ),
    "unknown tag of a point": (
        point(f"{VALVE}, tags: {{lop: tcs}}"), 8, "groups[0].points[0].tags.lop", "coolant has no tag 'lop'", "'loop'?",
    ),
    "number as tag": (
        point(f"{VALVE}, tags: {{pump: 1}}"), 8, "groups[0].points[0].tags.pump", "must be text, not 1", "quotes",
    ),
    "tag that no measurement of the group has": (
        GROUP.replace("  - points", "  - tags: {phase: L1}\n    points") + f"      - {{{VALVE}}}\n", 7,
        "groups[0].tags.phase", "no measurement of this group", "allowed",
    ),
    "state that does not exist": (
        point("to: leak.state, at: 'input:1', enum: {OK: 0, Bad: 9}"), 8, "groups[0].points[0].enum.Bad",
        "9 is no state of leak.state", "2 critical",
    ),
    "word as state": (
        point("to: leak.state, at: 'input:1', enum: {OK: normal}"), 8, "groups[0].points[0].enum.OK",
        "whole number", "",
    ),
    "flags elsewhere": (
        point(f"{VALVE}, flags: {{0: wet}}"), 8, "groups[0].points[0].flags", "go together", "both or neither",
    ),
    "alarm bits without flags": (
        point("to: alarm_bits.active, at: 'input:1'"), 8, "groups[0].points[0].flags", "go together", "both or neither",
    ),
    "range upside down": (point(f"{VALVE}, min: 1, max: 0"), 8, "groups[0].points[0].min", "1 is above max 0", "swap"),
    "too many fraction bits": (point(f"{VALVE}, frac_bits: 99"), 8, "groups[0].points[0].frac_bits", "99", "0 to 63"),
    "scale that is no number": (point(f"{VALVE}, scale: .nan"), 8, "groups[0].points[0].scale", "must be a number", ""),
    "one field twice": (
        point(VALVE) + f"      - {{{VALVE}}}\n", 9, "groups[0].points[1].to", "the same field and tags as points[0]",
        "in one `at`",
    ),
    "one bit twice": (
        point("to: alarm_bits.active, at: 'input:1', flags: {0: wet, 3: wet}"), 8, "groups[0].points[0].flags[3]",
        "'wet' is there already", "another name",
    ),
    "cadence without a unit": (point(VALVE) + "poll: {fast: '5'}\n", 9, "poll.fast", "'5' is no duration", "5s"),
    "cadence of no time": (
        point(VALVE) + "poll: {fast: 0s}\n", 9, "poll.fast", "0s is finer than a millisecond, or none",
        "whole milliseconds",
    ),
    "other name": (point(VALVE).replace("profile: x", "profile: y"), 1, "profile", "'y' is not the file's name", "x"),
    "no rule": (
        point(VALVE) + "derived:\n  - {to: coolant.heat_watts}\n", 10, "derived[0]",
        "exactly one of approach, dew_margin", "",
    ),
    "heat of something else": (
        point(VALVE) + "derived:\n  - {to: power.active_watts, heat: water}\n", 10, "derived[0].to",
        "coolant.heat_watts", "",
    ),
    "heat of an unknown fluid": (
        point(VALVE) + "derived:\n  - {to: coolant.heat_watts, heat: pg52}\n", 10, "derived[0].heat", "is not allowed",
        "'pg25'",
    ),
    "sum over an unknown tag": (
        point(VALVE) + "derived:\n  - {to: power.active_watts, sum: {circut: a}}\n", 10, "derived[0].sum.circut",
        "power has no tag", "'circuit'?",
    ),
    "difference of an unknown field": (
        point(VALVE) + "derived:\n  - {to: coolant.approach_celsius, difference: [coolant.temp, a, b]}\n", 10,
        "derived[0].difference[0]", "no field 'coolant.temp'", "coolant.",
    ),
    "median over an unknown tag": (
        point(VALVE) + "derived:\n  - {to: bus.voltage_volts, median: [power.voltage_volts, {circut: a}]}\n", 10,
        "derived[0].median[1].circut", "power has no tag", "'circuit'?",
    ),
    "derived into an unknown field": (
        point(VALVE) + "derived:\n  - {to: coolant.heat_wats, heat: water}\n", 10, "derived[0].to", "no field",
        "'coolant.heat_watts'?",
    ),
    "unknown parent": ("extends: _none\n" + point(VALVE), 1, "extends", "no shared part '_none'", ""),
    "parent that is no name": ("extends: ../x\n" + point(VALVE), 1, "extends", "no shared part", ""),
    "own parent": ("extends: x\n" + point(VALVE), 1, "extends", "in a circle: x -> x", "out"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_profile_says_where_what_and_how(tmp_path: Path, name: str) -> None:
    text, line, key, reason, hint = BROKEN[name]
    (problem,) = problems(tmp_path, text)
    assert (problem.file, problem.line, problem.key) == (str(tmp_path / "x.yaml"), line, key)
    assert reason in problem.reason
    assert hint in problem.hint


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    text = (
        point("to: coolant.flow, at: 'input:1'")
        + "      - {to: leak.state, at: 'input:1', unit: V, tags: {nowhere: a}}\n"
    )
    assert [p.key for p in problems(tmp_path, text)] == [
        "groups[0].points[0].to",
        "groups[0].points[1].tags.nowhere",
        "groups[0].points[1].unit",
    ]


@pytest.mark.parametrize("name", ["apc_rpdu", "../profiles/apc_rpdu2", "_if_mib", "", "a/b", "x\0"])
def test_a_profile_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no profile") as caught:
        load_profile(name)
    if name == "apc_rpdu":
        assert caught.value.problems[0].hint == "did you mean 'apc_rpdu2'?"


def test_a_child_is_merged_over_its_parents(tmp_path: Path) -> None:
    write(
        tmp_path,
        "transport: {gap: 4, retries: 0}\nmodel: from grandparent\ngroups:\n"
        "  - points: [{to: coolant.valve_ratio, at: 'input:1'}]\n",
        "_a",
    )
    write(tmp_path, "extends: _a\ntransport: {retries: 1, max_span: 20}\nidentity: host\n", "_b")
    write(
        tmp_path,
        "extends: _b\nprofile: x\nkind: cdu\nprotocol: modbus\nsource: none\ntransport: {gap: 8}\ngroups:\n"
        "  - points: [{to: leak.state, at: 'input:2'}]\n"
        "derived: [{to: coolant.valve_ratio, median: [coolant.valve_ratio, {}], tags: {kind: cdu}}]\n",
    )
    profile = load_profile("x", [tmp_path])
    assert profile.model == "from grandparent"
    assert profile.identity == "host"
    assert profile.transport == {"gap": 8, "retries": 1, "max_span": 20}
    assert [p.to for g in profile.groups for p in g.points] == ["coolant.valve_ratio", "leak.state"]
    assert len(profile.derived) == 1


def test_a_mistake_in_a_parent_is_told_with_the_parent_s_line(tmp_path: Path) -> None:
    write(tmp_path, "# shared\ngroups:\n  - points: [{to: coolant.valve, at: 'input:1'}]\n", "_a")
    write(tmp_path, "extends: _a\n" + point(VALVE))
    with pytest.raises(ConfigError) as caught:
        load_profile("x", [tmp_path])
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "_a.yaml"), 3)


def test_parents_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path, "extends: _b\n", "_a")
    write(tmp_path, "extends: _a\n", "_b")
    (problem,) = problems(tmp_path, "extends: _a\n" + point(VALVE))
    assert problem.reason == "goes in a circle: x -> _a -> _b -> _a"


def test_the_site_s_own_folder_wins_and_may_use_packaged_parts(tmp_path: Path) -> None:
    write(tmp_path, point(VALVE).replace("model: M", "model: ours"))
    other = tmp_path / "packaged"
    other.mkdir()
    write(other, point(VALVE))
    write(other, "kind: switch\n", "_shared")
    write(
        tmp_path,
        "extends: _shared\n" + point(VALVE).replace("profile: x", "profile: y").replace("kind: cdu\n", ""),
        "y",
    )
    assert load_profile("x", [tmp_path, other]).model == "ours"
    assert load_profile("x", [other, tmp_path]).model == "M"
    assert load_profile("y", [tmp_path, other]).kind == "switch"
    assert list_profiles([tmp_path, other]) == ["x", "y"]


def test_a_group_s_tag_goes_to_the_points_that_can_have_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        GROUP.replace("  - points", "  - tags: {circuit: psu, kind: psu}\n    points")
        + "      - {to: power.active_watts, at: 'input:1', tags: {kind: rectifier}}\n"
        + "      - {to: environment.temperature_celsius, at: 'input:2', tags: {point: inlet}}\n",
    )
    profile = load_profile("x", [tmp_path])
    power, environment = profile.readings.values()
    assert power.series.fill(()).tags == {"kind": "rectifier", "circuit": "psu"}
    assert environment.series.fill(()).tags == {"point": "inlet"}


def test_cadences_are_checked_text(tmp_path: Path) -> None:
    write(tmp_path, point(VALVE) + "poll: {fast: 500ms, slow: 1h}\n")
    assert load_profile("x", [tmp_path]).poll.fast == "500ms"


@pytest.mark.parametrize("name", list_profiles([PACKAGED]))
def test_every_packaged_profile_is_sound(name: str) -> None:
    profile = load_profile(name)
    assert profile.source
    assert len(profile.readings) == sum(len(group.points) for group in profile.groups)
