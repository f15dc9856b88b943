"""Mistakes that people make in profiles: each told with its file and line, its key, the reason and the way out.

Each case is a good profile in which one piece of text is replaced by another.
"""

from pathlib import Path

import pytest

from collectors.profile import load_profile
from storage.config import ConfigError, Problem

GOOD = {
    "modbus": """\
profile: unit
model: CDU of a maker
kind: cdu
protocol: modbus
source: register list, revision 3
transport: {max_span: 60, timeout: 1s, word_order: big}
match: {units: [1], at: "input:0", min: 1, max: 100}
poll: {fast: 5s, slow: 60s}
groups:
  - each: {units: [1], as: unit, settings: {amperes: "holding:15"}}
    tags: {kind: cdu, loop: tcs}
    points:
      - {to: coolant.temperature_celsius, at: "input:0", type: f32, unit: C, min: 0, max: 90, tags: {point: supply}}
      - {to: coolant.temperature_celsius, at: "input:2", type: f32, unit: C, tags: {point: return}}
      - {to: coolant.flow_liters_per_second, at: "input:4", type: f32, unit: L/min}
      - {to: power.current_amperes, at: "input:6", scale_if: {amperes: {0: 1, 1: 0.1}}, unit: A}
      - {to: power.energy_joules_total, at: "input:8", type: u32, unit: Wh, wrap: 9999001}
      - {to: leak.state, at: "discrete:0", enum: {0: 0, 1: 2}, tags: {detector: zone}}
      - {to: alarm_bits.active, at: "input:10", flags: {0: pump, 3: filter}}
derived:
  - {to: coolant.heat_watts, heat: pg25, tags: {loop: tcs}}
""",
    "snmp": """\
profile: unit
model: rack PDU of a maker
kind: rack_pdu
protocol: snmp
source: MIB of the maker
match: {sysobjectid_prefix: 1.3.6.1.4.1.99999.1}
groups:
  - each: {column: 1.3.6.1.4.1.99999.1.4.1, index: [module], settings: {amperes: 1.3.6.1.4.1.99999.1.9.0}}
    tags: {kind: rack_pdu, circuit: "{module}", side: input}
    points:
      - {to: power.active_watts, at: 1.3.6.1.4.1.99999.1.4.5, scale: 10, null_if: [-1]}
      - {to: power.current_amperes, at: 1.3.6.1.4.1.99999.1.4.6, scale_if: {amperes: {0: 1, 1: 0.1}}}
      - {to: power.current_amperes, at: "1.3.6.1.4.1.99999.1.4.7 /(\\\\d+)/", tags: {phase: L1}}
derived:
  - {to: power.active_watts, sum: {circuit: "*", side: input}, tags: {circuit: total, side: input}}
""",
    "redfish": """\
profile: unit
model: CDU of a maker
kind: cdu
protocol: redfish
source: DSP2046 2025.4
transport: {max_connections: 1, expand: auto}
match: {root_has: ThermalEquipment}
groups:
  - each: {uri: "/redfish/v1/ThermalEquipment/CDUs/*/Pumps/*", as: [cdu, pump]}
    tags: {kind: cdu, pump: "{pump}"}
    points:
      - {to: coolant.pump_speed_ratio, at: PumpSpeedPercent.Reading, unit: "%"}
""",
    "mqtt": """\
profile: unit
model: building management system
kind: bms
protocol: mqtt
source: contract of the building
transport:
  subscribe: ["BMS/v1/PUB/#"]
  metadata: BMS/v1/PUB/Metadata/
  values: BMS/v1/PUB/Value/
  variables: {rack: rackLocationId}
  units: {kW: kW}
  stale_after: 250s
match: {topic: "BMS/v1/PUB/#"}
groups:
  - tags: {kind: rack, rack: "{rack}"}
    points:
      - {to: power.active_watts, at: Rack/RackPower, unit: kW, tags: {circuit: total}}
""",
    "gnmi": """\
profile: unit
model: switch of a maker
kind: switch
protocol: gnmi
source: model of the maker
match: {model: sonic-db}
groups:
  - each: {target: COUNTERS_DB, path: "COUNTERS/Ethernet*", as: [port]}
    tags: {interface: "{port}"}
    points:
      - {to: interface.rx_bytes_total, at: SAI_PORT_STAT_IF_IN_OCTETS}
""",
    "exposition": """\
profile: unit
model: exporter of a maker
kind: exporter
protocol: exposition
source: repository of the maker
match: {prefix: acme_}
groups:
  - each: {labels: [unit], combine: sum, filter: {zone: "a|b"}}
    tags: {kind: cdu, pump: "{unit}"}
    points:
      - {to: coolant.pump_speed_ratio, at: 'acme_speed{zone="a"}', unit: "%"}
""",
}

MISTAKES = [  # protocol, text, replaced by, line, key, beginning of the reason, beginning of the hint
    ("modbus", "scale_if: {amperes: {0: 1, 1: 0.1}}", "scael_if: {amperes: {0: 1, 1: 0.1}}",
     16, "groups[0].points[3].scael_if", "unknown key", "did you mean 'scale_if'?"),
    ("modbus", "coolant.flow_liters_per_second", "coolant.flow_litres_per_second",
     15, "groups[0].points[2].to", "the schema has no field", "did you mean 'coolant.flow_liters_per_second'?"),
    ("modbus", "unit: L/min", "unit: l/min",
     15, "groups[0].points[2].unit", "the unit 'l/min' does not fit", "did you mean 'L/min'?"),
    ("modbus", "tags: {detector: zone}", "tags: {detektor: zone}",
     18, "groups[0].points[5].tags.detektor", "leak has no tag 'detektor'", "did you mean 'detector'?"),
    ("modbus", "tags: {kind: cdu, loop: tcs}", "tags: {kind: cdu, lopp: tcs}",
     11, "groups[0].tags.lopp", "no measurement of this group has", "did you mean 'loop'?"),
    ("modbus", "enum: {0: 0, 1: 2}", "enum: {0: 0, 1: 7}",
     18, "groups[0].points[5].enum[1]", "7 is no state of leak.state", "states: 0 normal, 1 warning, 2"),
    ("modbus", ", flags: {0: pump, 3: filter}", "",
     19, "groups[0].points[6].flags", "flags and alarm_bits.active go", "set both or neither"),
    ("modbus", "flags: {0: pump, 3: filter}", "flags: {0: pump, 3: pump}",
     19, "groups[0].points[6].flags[3]", "a bit 'pump' is there already", "give it another name"),
    ("modbus", "flags: {0: pump, 3: filter}", "flags: {0: pump, 16: filter}",
     19, "groups[0].points[6].flags[16]", "u16 has no bit 16", "bits 0 to 15"),
    ("modbus", "min: 0, max: 90", "min: 90, max: 0",
     13, "groups[0].points[0].min", "90 is above max 0", "swap them"),
    ("modbus", "min: 0, max: 90", "min: 500, max: 900",
     13, "groups[0].points[0].min", "no value is left:", "limits stand in `unit`; check"),
    ("modbus", '"input:2", type: f32, unit: C, tags: {point: return}',
     '"input:2", type: f32, unit: C, tags: {point: supply}',
     14, "groups[0].points[1].to", "the same field and tags as points[0]", "give one of them another tag,"),
    ("modbus", "protocol: modbus\n", "protocol: modbus\nextends: _generic\n",
     5, "extends", "there is no shared part '_generic'", "a shared part is a file"),
    ("modbus", "protocol: modbus\n", "protocol: modbus\nextends: unit\n",
     5, "extends", "goes in a circle: unit -> unit", "take one `extends` out"),
    ("modbus", 'at: "input:4"', 'at: "inputs:4"',
     15, "groups[0].points[2].at", "'inputs:4': there is no table", "did you mean 'input'?"),
    ("modbus", 'at: "input:4"', 'at: "input:40004x"',
     15, "groups[0].points[2].at", "'input:40004x' is no Modbus address", "write holding:79, input:30,"),
    ("modbus", 'at: "input:4"', 'at: "input:65535"',
     15, "groups[0].points[2].at", "'input:65535' ends at register 65536", "numbers are zero-based as sent"),
    ("modbus", "type: f32, unit: L/min", "type: f23, unit: L/min",
     15, "groups[0].points[2].type", "'f23' is no Modbus type", "did you mean 'f32'?"),
    ("modbus", "units: [1], as", "units: [300], as",
     10, "groups[0].each.units[0]", "300 is no unit id", "0 to 255"),
    ("modbus", "units: [1], as", "unit: [1], as",
     10, "groups[0].each.unit", "unknown key", "did you mean 'units'?"),
    ("modbus", "max_span: 60", "max_spam: 60",
     6, "transport.max_spam", "unknown key", "did you mean 'max_span'?"),
    ("modbus", "max_span: 60", "max_span: 200",
     6, "transport.max_span", "200 is no whole number of 1 to 125", "1 to 125"),
    ("modbus", "timeout: 1s", "timeout: 1",
     6, "transport.timeout", "1 is no duration", "a number and its unit: 500ms,"),
    ("modbus", "word_order: big", "word_order: bigg",
     6, "transport.word_order", "'bigg' is none of big, little,", "did you mean 'big'?"),
    ("modbus", "fast: 5s", "fast: 5",
     8, "poll.fast", "5 is no duration", "a number and its unit: 500ms,"),
    ("modbus", "heat: pg25, ", "",
     21, "derived[0]", "a derived value has exactly one of", "add the rule that makes the"),
    ("modbus", "heat: pg25, ", "heat: pg25, approach: [tcs, fws], ",
     21, "derived[0]", "a derived value has exactly one of", "keep one of approach, heat"),
    ("modbus", "heat: pg25", "heat: pg52",
     21, "derived[0].heat", "'pg52' is not allowed", "did you mean 'pg25'?"),
    ("modbus", "to: coolant.heat_watts, heat", "to: coolant.heat_reported_watts, heat",
     21, "derived[0].to", "heat goes to coolant.heat_watts", "write to: coolant.heat_watts"),
    ("modbus", "unit: L/min", "unit: L/min, wrap: 32",
     15, "groups[0].points[2].wrap", "coolant.flow_liters_per_second is a", "leave it out"),
    ("modbus", "scale_if: {amperes", "scale_if: {ampere",
     16, "groups[0].points[3].scale_if.ampere", "no row of this group has a variable", "did you mean 'amperes'?"),
    ("modbus", "    points:\n      - {to: coolant.temp", "\tpoints:\n      - {to: coolant.temp",
     12, "", "a tab in the indentation", "YAML is indented with spaces"),
    ("modbus", "kind: cdu\n", "kind: cdu\nkind: cdu\n",
     4, "kind", "stands here again, first on line 3", "keep one of them"),
    ("modbus", "protocol: modbus", "protocol: modbuss",
     4, "protocol", "'modbuss' is not allowed", "did you mean 'modbus'?"),
    ("modbus", "profile: unit", "profile: cdu",
     1, "profile", "'cdu' is not the file's name", "write profile: unit"),
    ("modbus", "source: register list, revision 3\n", "",
     1, "source", "is missing", "add `source: …`"),
    ("modbus", "unit: L/min}", "unit: L/min, frac_bits: 80}",
     15, "groups[0].points[2].frac_bits", "80 is out of range", "0 to 63"),
    ("modbus", "unit: L/min}", "unit: L/min, scale: 0}",
     15, "groups[0].points[2].scale", "makes every value 0", "leave it out for 1"),
    ("modbus", "unit: L/min}", "unit: L/min, every: hourly}",
     15, "groups[0].points[2].every", "'hourly' is not allowed", "allowed: fast, medium, slow"),
    ("modbus", "unit: L/min}", "unit: L/min, every: medium}",
     15, "groups[0].points[2].every", "modbus knows fast and slow only", "write fast or slow"),
    ("modbus", 'at: "input:0", min', "min",
     7, "match", "names no address", "add at: holding:N"),
    ("modbus", "  - {to: coolant.heat_watts, heat: pg25, tags: {loop: tcs}}",
     "  - {to: coolant.approach_celsius, approach: [tcs, tcs]}",
     21, "derived[0].approach", "both are 'tcs'", "name two different ones"),
    ("modbus", "  - {to: coolant.heat_watts, heat: pg25, tags: {loop: tcs}}",
     "  - {to: coolant.dew_margin_celsius, dew_margin: true}",
     21, "derived[0].dew_margin", "nothing in this profile tells of", "add a point for"),
    ("modbus", "  - {to: coolant.heat_watts, heat: pg25, tags: {loop: tcs}}",
     '  - {to: power.active_watts, imbalance: [power.current_amperes, {phase: "L*"}]}',
     21, "derived[0].to", "imbalance is a ratio,", "name a field that ends in _ratio"),
    ("modbus", "unit: L/min", "unit: lpm",
     15, "groups[0].points[2].unit", "the unit 'lpm' does not fit", "write L/min; "),
    ("modbus", "unit: C, min", "unit: degC, min",
     13, "groups[0].points[0].unit", "the unit 'degC' does not fit", "write C; "),
    ("modbus", "unit: L/min}", "unit: L/min, scale: 0,1}",
     15, "groups[0].points[2][1]", "1 is no key", "a number has a point, no comma: 0.1"),
    ("modbus", "unit: L/min}", 'unit: L/min, scale: "0,1"}',
     15, "groups[0].points[2].scale", "must be a number, not '0,1'", "write 0.1"),
    ("modbus", "unit: L/min}", "unit: L/min, scale: true}",
     15, "groups[0].points[2].scale", "must be a number, not true", "write a number, or leave it out"),
    ("modbus", "unit: L/min}", "unit: %}",
     15, "", "is not YAML: found character", 'put it in quotes: "%"'),
    ("modbus", "unit: L/min}", "unit: L/min, null_if: 65535}",
     15, "groups[0].points[2].null_if", "must be a list, not 65535", "write [65535]"),
    ("modbus", "type: u32, unit: Wh", "type: u32, unit: Wh, null_if: [-1]",
     17, "groups[0].points[4].null_if[0]", "u32 is never -1", "write 4294967295, or another `type`"),
    ("modbus", "enum: {0: 0, 1: 2}", "enum: {0: normal, 1: 2}",
     18, "groups[0].points[5].enum[0]", "must be a whole number, not 'normal'", "the number of the state, not"),
    ("modbus", '"input:4", type: f32', '"coil:4"',
     15, "groups[0].points[2].at", "'coil:4' is one bit", "write holding:N or input:N;"),
    ("modbus", "loop: tcs}\n    points", "loop: TCS}\n    points",
     11, "groups[0].tags.loop", "coolant knows no loop 'TCS'", "write tcs"),
    ("modbus", "loop: tcs}\n    points", "loop: secondary}\n    points",
     11, "groups[0].tags.loop", "coolant knows no loop 'secondary'", "allowed: fws, tcs"),
    ("modbus", "heat: pg25, tags: {loop: tcs}", "heat: pg25, tags: {loop: Tcs}",
     21, "derived[0].tags.loop", "coolant knows no loop 'Tcs'", "write tcs"),
    ("modbus", "tags: {point: return}", "tags: {point: Return}",
     14, "groups[0].points[1].tags.point", "coolant knows no point 'Return'", "write return"),
    ("modbus", "derived:\n", '  - each: {units: [1], as: unit, settings: {amperes: "holding:15"}}\n'
     '    points: [{to: leak.state, at: "discrete:1", enum: {0: 0}, tags: {detector: zone}}]\nderived:\n',
     21, "groups[1].points[0].to", "the same field and tags as discrete:0 in another group", "give one of them"),
    ("snmp", "at: 1.3.6.1.4.1.99999.1.4.5", "at: 1.3.6.1.4.1.vendor.1.4.5",
     11, "groups[0].points[0].at", "'1.3.6.1.4.1.vendor.1.4.5' is no OID", "an OID is numbers with dots"),
    ("snmp", "column: 1.3", "colum: 1.3",
     8, "groups[0].each.colum", "unknown key", "did you mean 'column'?"),
    ("snmp", "sysobjectid_prefix: 1", "sysobjectid: 1",
     6, "match.sysobjectid", "unknown key", "did you mean 'sysobjectid_prefix'?"),
    ("snmp", 'circuit: "{module}"', 'circuit: "{modul}"',
     9, "groups[0].tags.circuit", "the rows of this group have no", "did you mean 'module'?"),
    ("snmp", "scale_if: {amperes", "scale_if: {ampere",
     12, "groups[0].points[1].scale_if.ampere", "the rows of this group have no", "did you mean 'amperes'?"),
    ("snmp", "/(\\\\d+)/", "/(\\\\d+/",
     13, "groups[0].points[2].at", "'(\\\\d+' is no regular expression:", "escape it, or mend it"),
    ("snmp", "settings: {amperes: 1.3.6.1.4.1.99999.1.9.0}", "settings: {amperes: one}",
     8, "groups[0].each.settings.amperes", "'one' is no OID", "an OID is numbers with dots"),
    ("snmp", "sum: {circuit", "sum: {circuits",
     15, "derived[0].sum.circuits", "power has no tag 'circuits'", "did you mean 'circuit'?"),
    ("redfish", "/redfish/v1/ThermalEquipment/CDUs", "/ThermalEquipment/CDUs",
     9, "groups[0].each.uri", "'/ThermalEquipment/CDUs/*/Pumps/*'", "uri:"),
    ("redfish", "max_connections: 1", "max_connection: 1",
     6, "transport.max_connection", "unknown key", "did you mean 'max_connections'?"),
    ("redfish", "expand: auto", "expand: always",
     6, "transport.expand", "'always' is no such way", "auto or off"),
    ("redfish", "root_has:", "roothas:",
     7, "match.roothas", "unknown key", "did you mean 'root_has'?"),
    ("redfish", "PumpSpeedPercent.Reading", "PumpSpeedPercent..Reading",
     12, "groups[0].points[0].at", "'PumpSpeedPercent..Reading' is no", "names with dots between them,"),
    ("redfish", 'pump: "{pump}"', 'pump: "{pmup}"',
     10, "groups[0].tags.pump", "there is no row variable 'pmup'", "did you mean 'pump'?"),
    ("mqtt", "stale_after: 250s", "stale_after: 250",
     12, "transport.stale_after", "'250' is no duration", "a number and its unit: 500ms,"),
    ("mqtt", "Rack/RackPower", "RackPower",
     17, "groups[0].points[0].at", "'RackPower' is no", "write objectType/pointType:"),
    ("mqtt", 'BMS/v1/PUB/#"]', 'BMS/#/PUB"]',
     7, "transport.subscribe[0]", "'BMS/#/PUB' is no topic filter", "# stands for the rest and + for"),
    ("mqtt", 'rack: "{rack}"', 'rack: "{rakc}"',
     15, "groups[0].tags.rack", "there is no variable 'rakc'", "did you mean 'rack'?"),
    ("gnmi", "target: COUNTERS_DB, ", "",
     8, "groups[0].each.target", "is missing", "add target: …"),
    ("gnmi", "model: sonic-db", "modell: sonic-db",
     6, "match.modell", "unknown key", "did you mean 'model'?"),
    ("gnmi", "at: SAI_PORT_STAT_IF_IN_OCTETS", "at: drak(SAI_PORT_STAT_IF_IN_OCTETS)",
     11, "groups[0].points[0].at", "'drak(SAI_PORT_STAT_IF_IN_OCTETS)':", "write a leaf, or"),
    ("exposition", "labels:", "label:",
     8, "groups[0].each.label", "unknown key", "did you mean 'labels'?"),
    ("exposition", "combine: sum", "combine: mean",
     8, "groups[0].each.combine", "'mean' is not allowed", "allowed: first, max, min, sum"),
    ("exposition", 'zone: "a|b"', 'zone: "a(b"',
     8, "groups[0].each.filter.zone", "'a(b' is no regular expression:", "escape it, or mend it"),
    ("exposition", "labels: [unit]", "labels: [user_email]",
     8, "groups[0].each.labels", "'user_email' tells of a person, a", "leave it out, or write another"),
    ("exposition", "prefix: acme_", "prefx: acme_",
     6, "match.prefx", "unknown key", "did you mean 'prefix'?"),
    ("exposition", 'zone="a"', "zone=a",
     11, "groups[0].points[0].at", "'acme_speed{zone=a}': 'zone=a' is", "write metric,"),
    ("exposition", '"{unit}"', '"{untis}"',
     9, "groups[0].tags.pump", "the rows of this group have no", "did you mean 'unit'?"),
]  # fmt: skip


def problems(folder: Path, text: str) -> list[Problem]:
    (folder / "unit.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile("unit", [folder])
    return caught.value.problems


@pytest.mark.parametrize("protocol", GOOD)
def test_the_profiles_without_a_mistake_load(tmp_path: Path, protocol: str) -> None:
    (tmp_path / "unit.yaml").write_text(GOOD[protocol], "utf-8")
    assert load_profile("unit", [tmp_path]).protocol == protocol


@pytest.mark.parametrize(
    ("protocol", "text", "other", "line", "key", "reason", "hint"),
    MISTAKES,
    ids=[f"{m[0]}:{m[2][:40]}" for m in MISTAKES],
)
def test_a_mistake_is_told_with_its_place_and_the_way_out(
    tmp_path: Path, protocol: str, text: str, other: str, line: int, key: str, reason: str, hint: str
) -> None:
    assert GOOD[protocol].count(text)
    (problem,) = problems(tmp_path, GOOD[protocol].replace(text, other, 1))
    assert (problem.file, problem.line, problem.key) == (str(tmp_path / "unit.yaml"), line, key)
    assert problem.reason.startswith(reason)
    assert problem.hint.startswith(hint)
    assert problem.hint


def test_a_mistake_of_a_protocol_in_a_parent_is_told_with_the_parent_s_line(tmp_path: Path) -> None:
    """The group of the parent comes first in the merged profile; each keeps its number in its own file."""
    shared = 'groups:\n  - points: [{to: coolant.ph, at: "inputs:0"}]\n'
    (tmp_path / "_shared.yaml").write_text(shared, "utf-8")
    text = GOOD["modbus"].replace("kind: cdu\n", "kind: cdu\nextends: _shared\n", 1).replace("input:4", "input:four")
    found = problems(tmp_path, text)
    assert [(Path(p.file).name, p.line, p.key) for p in found] == [
        ("_shared.yaml", 2, "groups[0].points[0].at"),
        ("unit.yaml", 16, "groups[0].points[2].at"),
    ]


def test_a_message_reads_as_file_line_key_reason_and_fix(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD["redfish"].replace("max_connections", "max_connection"))
    where = f"{tmp_path / 'unit.yaml'}:6"
    assert str(problem) == f"{where}: transport.max_connection: unknown key (did you mean 'max_connections'?)"


def test_two_mistakes_of_one_line_are_both_told(tmp_path: Path) -> None:
    broken = "unit: C, unit_if: {amperes: {0: C, 1: X}}, tags: {point: return}"
    found = problems(tmp_path, GOOD["modbus"].replace("unit: C, tags: {point: return}", broken))
    assert [(p.line, p.key) for p in found] == [
        (14, "groups[0].points[1].unit_if.amperes[1]"),
        (14, "groups[0].points[1].unit"),
    ]


def test_a_misspelt_field_is_not_told_again_as_an_input_that_nothing_gives(tmp_path: Path) -> None:
    missing = GOOD["modbus"].replace("coolant.flow_liters_per_second", "coolant.ph").replace(", unit: L/min", "")
    (problem,) = problems(tmp_path, missing)
    assert problem.reason == "nothing in this profile gives coolant.flow_liters_per_second"


@pytest.mark.parametrize(
    ("unit", "hint"),
    [
        ("LPM", "write L/min; "),
        ("m³/h", "write m3/h; "),
        ("gal/min", "write gpm; "),
        ("percent", "liters_per_second: "),
    ],
)
def test_a_unit_of_other_letters_leads_to_the_one_of_that_meaning(tmp_path: Path, unit: str, hint: str) -> None:
    (problem,) = problems(tmp_path, GOOD["modbus"].replace("unit: L/min", f'unit: "{unit}"'))
    assert problem.hint.startswith(hint)


def test_a_unit_that_may_be_two_is_not_guessed(tmp_path: Path) -> None:
    watts = "power.active_watts, at: 1.3.6.1.4.1.99999.1.4.5, scale: 10"
    (problem,) = problems(tmp_path, GOOD["snmp"].replace(watts, f"{watts}, unit: mw"))
    assert problem.hint.startswith("did you mean 'MW' or 'mW'?")


@pytest.mark.parametrize(("kind", "values"), [("i16", "[-1, 32767]"), ("u16", "[65535]"), ("f32", "[-999, 1e30]")])
def test_blank_values_that_a_type_can_give_are_taken(tmp_path: Path, kind: str, values: str) -> None:
    text = GOOD["modbus"].replace("type: f32, unit: L/min", f"type: {kind}, unit: L/min, null_if: {values}")
    (tmp_path / "unit.yaml").write_text(text, "utf-8")
    assert len(load_profile("unit", [tmp_path]).groups[0].points[2].null_if) == values.count(",") + 1


@pytest.mark.parametrize(
    ("file", "name", "hint"),
    [
        ("unit.yml", "unit", "rename {folder}/unit.yml to unit.yaml"),
        ("unit.YAML", "unit", "rename {folder}/unit.YAML to unit.yaml"),
        ("unit.yaml", "unit.yaml", "write unit"),
        ("Unit.yaml", "unit", "write Unit"),
        ("acme/unit.yaml", "unit", "{folder}/acme/unit.yaml is in a folder of its own: move it to {folder}"),
    ],
)
def test_a_profile_that_lies_elsewhere_is_found_for_the_one_who_asks(
    tmp_path: Path, file: str, name: str, hint: str
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(GOOD["modbus"], "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile(name, [tmp_path])
    assert caught.value.problems[0].hint == hint.format(folder=tmp_path)


def test_a_file_whose_name_no_profile_can_have_is_told_by_that_file(tmp_path: Path) -> None:
    path = tmp_path / "unit (copy).yaml"
    path.write_text(GOOD["modbus"], "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile("unit (copy)", [tmp_path])
    assert [(p.file, p.hint) for p in caught.value.problems] == [(str(path), "rename the file: unit_copy.yaml")]


def test_units_of_one_bus_are_told_apart_by_a_tag(tmp_path: Path) -> None:
    """The reading of a second unit would stand for that of the first whenever that one is refused."""
    head = GOOD["modbus"].split("groups:")[0]
    point = "{to: power.current_amperes, at: 'input:0'}"
    group = f"groups:\n  - each: {{units: [1, 2], as: pdu}}\n    points:\n      - {point}\n"
    (problem,) = problems(tmp_path, head + group)
    assert (problem.line, problem.key) == (12, "groups[0].points[0].to")
    assert problem.reason == "the same field and tags for each of 2 units"
    assert problem.hint.startswith("tell them apart by a tag with {pdu}")
    (tmp_path / "unit.yaml").write_text(head + group.replace("0'}", "0', tags: {circuit: 'pdu-{pdu}'}}"), "utf-8")
    assert load_profile("unit", [tmp_path]).groups


def test_a_recording_among_the_profiles_is_told_as_such(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "profile: unit\nmodbus: {1: {holding: {0: [1]}}}\n")
    assert problem.reason == "is no profile: it looks like a recording, for it has `modbus`"


def test_an_empty_file_leads_to_examples_of_profiles(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "# nothing yet\n")
    assert problem.hint == "docs/profiles.md has examples; `tokenwatt profile new` drafts one"
