"""`tokenwatt profile`: what it lists, tests, drafts and refuses, against devices played over their real protocols."""

import json
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from command import Answer, call, started
from services import free_port

from collectors.profile import PACKAGED, list_profiles, load_profile
from collectors.profile_schema import text
from collectors.recording import load_recording

GOLDEN = Path(__file__).parent / "golden"
#: a device that no packaged profile knows, on each protocol
DEVICES: Mapping[str, str] = {
    "modbus": """
source: a test
modbus:
  3:
    holding: {10: [0x4202, 0, 0x4229, 0x8000, 5, 0, 0, 0, 0xFFFE], 40: [0x4143, 0x4D45, 0x2043, 0x4455]}
    discrete: {0: [0, 0, 0, 0, 1]}
""",
    "snmp": """
source: a test
snmp:
  1.3.6.1.2.1.1.1.0: [text, ACME meter]
  1.3.6.1.2.1.1.2.0: [oid, 1.3.6.1.4.1.99999.1]
  1.3.6.1.2.1.1.3.0: [ticks, 100]
  1.3.6.1.4.1.99999.2.1.0: [int, 42]
  1.3.6.1.4.1.99999.3.1.2.1.1: [int, 230]
  1.3.6.1.4.1.99999.3.1.2.1.2: [int, 231]
  1.3.6.1.4.1.99999.3.1.3.1.1: [text, L1]
  1.3.6.1.4.1.99999.3.1.3.1.2: [text, L2]
""",
    "redfish": """
source: a test
redfish:
  /redfish/v1: {Vendor: ACME, ThermalEquipment: {"@odata.id": /redfish/v1/ThermalEquipment}}
  /redfish/v1/ThermalEquipment: {CDUs: {"@odata.id": /redfish/v1/ThermalEquipment/CDUs}}
  /redfish/v1/ThermalEquipment/CDUs: {Members: [{"@odata.id": /redfish/v1/ThermalEquipment/CDUs/A}]}
  /redfish/v1/ThermalEquipment/CDUs/A: {Loops: {"@odata.id": /redfish/v1/ThermalEquipment/CDUs/A/Loops}}
  /redfish/v1/ThermalEquipment/CDUs/A/Loops: {Members: [{"@odata.id": /redfish/v1/ThermalEquipment/CDUs/A/Loops/1}]}
  /redfish/v1/ThermalEquipment/CDUs/A/Loops/1: {FlowLitersPerMinute: {Reading: 120.0}, Foam: {Reading: 3}}
""",
    "mqtt": """
source: a test
mqtt:
  - topic: Hall/Metadata/Rack/RackLiquidFlow/a
    retain: true
    payload: {objectType: Rack, pointType: RackLiquidFlow, rackLocationId: A01, engUnit: L/min}
  - topic: Hall/Metadata/Rack/Smell/a
    retain: true
    payload: {objectType: Rack, pointType: Smell, rackLocationId: A01, engUnit: ppm}
  - {topic: Hall/Value/Rack/RackLiquidFlow/a, payload: {value: 30.0, quality: 1, timestamp: now}}
  - {topic: Hall/Value/Rack/Smell/a, payload: {value: 7, quality: 1, timestamp: now}}
""",
}
OPTIONS = {"modbus": ("--unit", "3"), "mqtt": ("--listen", "0.8")}

Tokenwatt = Callable[..., Answer]


@pytest.fixture
def tokenwatt(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tokenwatt:
    return lambda *arguments: call(capsys, monkeypatch, ("profile", *arguments))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Write a recording of one register, and a profile that reads it."""
    (tmp_path / "thing.yaml").write_text(
        "profile: thing\nmodel: a thing\nkind: cdu\nprotocol: modbus\nsource: a test\ngroups:\n"
        "  - points: [{to: coolant.ph, at: 'holding:0', scale: 0.1, tags: {kind: cdu}}]\n"
    )
    path = tmp_path / "thing.rec.yaml"
    path.write_text("profile: thing\nsource: a test\nmodbus: {1: {holding: {0: [72]}}}\n")
    return path


def test_all_profiles_are_listed_with_what_they_speak(tokenwatt: Tokenwatt) -> None:
    lines = tokenwatt("list").out.splitlines()
    assert [line.split()[0] for line in lines] == list_profiles()
    assert {line.split()[1] for line in lines} == {"exposition", "snmp", "modbus", "redfish", "gnmi", "mqtt"}


def test_a_list_can_be_narrowed_and_shows_one_s_own(tokenwatt: Tokenwatt, recording: Path) -> None:
    answer = tokenwatt("list", "--protocol", "modbus", "--profiles", recording.parent.as_posix())
    assert answer.code == 2, "a recording in a folder of profiles is no profile"
    recording.unlink()
    lines = tokenwatt("list", "--protocol", "modbus", "--profiles", recording.parent.as_posix()).out.splitlines()
    assert ["thing", "modbus", "cdu", "a", "thing"] in [line.split() for line in lines]
    assert {line.split()[1] for line in lines} == {"modbus"}


def test_what_is_expected_is_written_once_and_then_held_against(tokenwatt: Tokenwatt, recording: Path) -> None:
    profile = recording.with_name("thing.yaml")
    first = tokenwatt("test", profile, "--against", recording)
    assert (first.code, "no `expect`" in first.out, "ph 7.2" in first.out) == (0, True, True)
    assert tokenwatt("test", profile, "--against", recording, "--write-expect").code == 0
    assert "all as expected" in tokenwatt("test", profile, "--against", recording).out
    again = tokenwatt("test", profile, "--against", recording, "--write-expect")
    assert (again.code, "has an `expect` already" in " ".join(again.err.split())) == (2, True)
    recording.write_text(recording.read_text().replace("[72]", "[73]"))
    differs = tokenwatt("test", profile, "--against", recording)
    assert differs.code == 1
    assert "differs coolant[kind=cdu] ph: 7.3" in differs.err
    assert "expected 7.2" in differs.err


def test_readings_that_contradict_each_other_are_told(tokenwatt: Tokenwatt, tmp_path: Path) -> None:
    """230 V x 10 A is 2300 W: a profile that takes kilowatts for watts says 2.3 W."""
    tags = "tags: {kind: meter, circuit: total, side: input}"
    (tmp_path / "meter.yaml").write_text(
        "profile: meter\nmodel: a meter\nkind: meter\nprotocol: modbus\nsource: a test\ngroups:\n  - points:\n"
        f"      - {{to: power.voltage_volts, at: 'holding:0', {tags}}}\n"
        f"      - {{to: power.current_amperes, at: 'holding:1', {tags}}}\n"
        f"      - {{to: power.active_watts, at: 'holding:2', scale: 0.1, {tags}}}\n"
    )
    (tmp_path / "meter.rec.yaml").write_text("source: a test\nmodbus: {1: {holding: {0: [230, 10, 23]}}}\n")
    answer = tokenwatt("test", tmp_path / "meter.yaml", "--against", tmp_path / "meter.rec.yaml")
    assert (answer.code, "active_watts    2.3" in answer.out) == (0, True), answer.out
    assert "implausible power.active_watts[" in answer.err
    assert "a reading in kW?" in answer.err


def test_a_packaged_profile_is_held_against_its_golden_case(tokenwatt: Tokenwatt) -> None:
    answer = tokenwatt("test", "generic_meter", "--against", GOLDEN / "generic_meter.yaml")
    assert answer.code == 0, answer.err
    assert answer.out.rstrip().endswith("0 readings missing: all as expected")


def test_a_folder_of_redfish_resources_is_a_device(tokenwatt: Tokenwatt, tmp_path: Path) -> None:
    for path, resource in yaml.safe_load(DEVICES["redfish"])["redfish"].items():
        folder = tmp_path / "tree" / path.removeprefix("/redfish/v1").strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").write_text(json.dumps(resource))
    (tmp_path / "loops.yaml").write_text(
        "profile: loops\nmodel: loops\nkind: cdu\nprotocol: redfish\nsource: a test\ngroups:\n"
        "  - each: {uri: '/redfish/v1/ThermalEquipment/CDUs/*/Loops/*', as: [cdu, loop]}\n"
        "    points: [{to: coolant.flow_liters_per_second, at: FlowLitersPerMinute.Reading, unit: L/min}]\n"
    )
    answer = tokenwatt("test", tmp_path / "loops.yaml", "--against", tmp_path / "tree")
    assert (answer.code, "flow_liters_per_second 2 " in answer.out) == (0, True), answer


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("test", "generic_metre", "--against", "x.yaml"), 2, "there is no profile 'generic_metre' (did you mean"),
        (("test", "./generic_meter.yaml", "--against", "x.yaml"), 2, "there is no file ./generic_meter.yaml"),
        (("test", "generic_meter", "--against", "x.yaml"), 2, "there is no file or folder x.yaml; a device is a URL"),
        (
            ("test", "generic_meter", "--against", "GOLDEN/apc_rpdu2.yaml"),
            2,
            "answers of snmp, the profile",
        ),
        (("test", "generic_meter", "--against", "PROFILE"), 2, "unknown key"),
        (("test", "generic_meter", "--against", "snmp://public@127.0.0.1:PORT"), 2, "speaks modbus, snmp://"),
        (("test", "generic_meter", "--against", "modbus://127.0.0.1:PORT"), 1, "refused or unreachable"),
        (("test", "generic_meter", "--against", "modbus://127.0.0.1:PORT", "--write-expect"), 2, "is for recordings"),
        (("test", "generic_meter", "--against", "modbuss://127.0.0.1"), 2, "unknown scheme 'modbuss': did you mean"),
        (("list", "--protocol", "modbuz"), 2, "no profile speaks 'modbuz': did you mean 'modbus'"),
        (("new", "x.yaml"), 2, "there is no file x.yaml; a device is a URL"),
        (("new", "modbus://127.0.0.1:PORT"), 1, "refused or unreachable"),
        (("new", "http://127.0.0.1:PORT/metrics"), 1, "exposition is not walked, only snmp, modbus, redfish, mqtt"),
        (("new", "modbus://127.0.0.1:PORT", "--registers", "9-1"), 2, "'9-1' is no span"),
        (("new", "GOLDEN/generic_meter.yaml", "--unit", "9"), 1, "unit 9 has no register from 0 to 199"),
        (("new", "GOLDEN/generic_meter.yaml", "-o", "GOLDEN/generic_meter.yaml"), 2, "is there already"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(
    tokenwatt: Tokenwatt, arguments: tuple[str, ...], code: int, words: str
) -> None:
    profile = str(GOLDEN.parents[2] / "collectors" / "profiles" / "generic_meter.yaml")
    port = str(free_port())
    filled = [a.replace("GOLDEN", str(GOLDEN)).replace("PROFILE", profile).replace("PORT", port) for a in arguments]
    answer = tokenwatt(*filled)
    said = " ".join(answer.err.replace("│", " ").split())
    assert (answer.code, words in said) == (code, True), said


def test_a_profile_s_file_is_found_by_what_people_call_it(tokenwatt: Tokenwatt, recording: Path) -> None:
    bare = tokenwatt("test", recording.with_name("thing"), "--against", recording)
    assert (bare.code, "thing.yaml" in "".join(bare.err.replace("│", " ").split())) == (2, True)
    recording.with_name("thing.yaml").rename(recording.with_name("thing.yml"))
    other = tokenwatt("test", recording.with_name("thing.yml"), "--against", recording)
    assert (other.code, "to thing.yaml)" in other.err) == (2, True)


def test_a_register_number_as_lists_count_it_is_told_apart(tokenwatt: Tokenwatt, recording: Path) -> None:
    """Register 1 of the holding registers is 40001 in a list and 0 on the wire."""
    profile = recording.with_name("thing.yaml")
    more = "      - {to: coolant.valve_ratio, at: 'holding:40001', tags: {kind: cdu}}\n"
    head, point = profile.read_text().split("  - points: [")
    profile.write_text(f"{head}  - points:\n      - {point.rstrip()[:-1]}\n{more}")
    answer = tokenwatt("test", profile, "--against", recording)
    assert "missing unit 1 holding:40001: illegal address" in answer.err
    assert "note 40001 of a register list is mostly holding:0 here" in answer.err


def test_a_draft_of_numbers_that_a_unit_lacks_says_which_may_be_meant(tokenwatt: Tokenwatt, tmp_path: Path) -> None:
    device = tmp_path / "device.yaml"
    device.write_text("modbus: {1: {holding: {0: [72]}, discrete: {0: [1]}}}\n")
    answer = tokenwatt("new", device, "--registers", "40001-40010", "-o", tmp_path / "mine.yaml")
    assert answer.code == 0
    assert "no register from 40001 to 40010" in answer.err
    assert "try --registers 0-9." in answer.err


def test_a_port_that_is_taken_is_told_by_its_option(tokenwatt: Tokenwatt, recording: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = tokenwatt("play", recording, "--port", taken.getsockname()[1])
    assert (answer.code, "--port" in answer.err, "name another" in answer.err) == (2, True, True)


def test_a_broker_s_recording_without_expectation_is_heard_to_its_end(tokenwatt: Tokenwatt, tmp_path: Path) -> None:
    """Metadata lie at the broker, values come one after the other: the first look sees none of them."""
    rooms = [f"r{number}" for number in range(20)]
    told = [{"objectType": "Rack", "pointType": "RackLiquidFlow", "rackLocationId": r, "engUnit": "LPM"} for r in rooms]
    value = {"value": 30.0, "quality": 1, "timestamp": "now"}
    messages = [
        *({"topic": f"BMS/v1/PUB/Metadata/Rack/RackLiquidFlow/{m['rackLocationId']}", "retain": True, "payload": m}
          for m in told),
        *({"topic": f"BMS/v1/PUB/Value/Rack/RackLiquidFlow/{room}", "payload": value} for room in rooms),
        {"topic": "BMS/v1/PUB/Metadata/System/HeartbeatTimestampBms/h", "retain": True,
         "payload": {"objectType": "System", "pointType": "HeartbeatTimestampBms"}},
        {"topic": "BMS/v1/PUB/Value/System/HeartbeatTimestampBms/h",
         "payload": {"value": 1.0, "quality": 1, "timestamp": "now"}},
    ]  # fmt: skip
    path = tmp_path / "bms.rec.yaml"
    path.write_text(yaml.safe_dump({"source": "a test", "mqtt": messages}))
    answer = tokenwatt("test", "nvidia_dsx_bms", "--against", path, "--write-expect")
    assert answer.code == 0, answer.err
    flows = [e for e in yaml.safe_load(path.read_text())["expect"] if "flow_liters_per_second" in e["fields"]]
    assert [e["fields"]["flow_liters_per_second"] for e in flows] == [0.5] * 20


Draw = Callable[[str], Path]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for drafts: to walk a device takes its time, once is enough."""
    return tmp_path_factory.mktemp("drafts")


@pytest.fixture
def draw(tokenwatt: Tokenwatt, drawn: Path) -> Draw:
    """Return the folder of a protocol's unknown device: device.yaml, its draft mine.yaml, seen.yaml as recorded."""

    def made(protocol: str) -> Path:
        folder = drawn / protocol
        if not folder.exists():
            folder.mkdir()
            (folder / "device.yaml").write_text(DEVICES[protocol])
            files = (folder / "device.yaml", "-o", folder / "mine.yaml", "--record", folder / "seen.yaml")
            answer = tokenwatt("new", *files, "--kind", "cdu", *OPTIONS.get(protocol, ()))
            assert answer.code == 0, answer.err
        return folder

    return made


@pytest.mark.parametrize("protocol", DEVICES)
def test_a_draft_loads_without_a_mistake_and_its_recording_plays_the_same_device(
    tokenwatt: Tokenwatt, draw: Draw, tmp_path: Path, protocol: str
) -> None:
    folder = draw(protocol)
    profile = load_profile("mine", (folder, PACKAGED))
    assert (profile.profile, profile.kind, profile.protocol) == ("mine", "cdu", protocol)
    assert load_recording(folder / "seen.yaml").profile == "mine"
    again = tmp_path / "own" / "mine.yaml"
    answer = tokenwatt("new", folder / "seen.yaml", "-o", again, "--kind", "cdu", *OPTIONS.get(protocol, ()))
    assert answer.code == 0, answer.err
    assert again.read_text().replace("seen.yaml", "device.yaml") == (folder / "mine.yaml").read_text()


def test_a_modbus_draft_shows_floats_texts_and_runs_of_zeros(draw: Draw) -> None:
    text = (draw("modbus") / "mine.yaml").read_text()
    assert "transport: {word_order: big}" in text
    assert '#- {to: ?.?, at: "holding:10", type: f32}  # 32.5; ' in text
    assert '#- {to: ?.?, at: "holding:12", type: f32}  # 42.375; ' in text
    assert '#- {to: ?.?, at: "holding:14", type: u16}  # 5\n' in text
    assert '#- {to: ?.?, at: "holding:15", type: u16}  # 0, as are all up to 17\n' in text
    assert '#- {to: ?.?, at: "holding:18", type: i16}  # 65534, as i16 -2\n' in text
    assert "#- {to: ?.?, at: \"holding:40:4\", type: string}  # 'ACME CDU'\n" in text
    assert '#- {to: ?.?, at: "discrete:4"}  # 1\n' in text
    assert "points: []" in text


def test_a_line_of_a_draft_becomes_a_point_when_it_says_where_it_goes(
    draw: Draw, tokenwatt: Tokenwatt, tmp_path: Path
) -> None:
    folder = draw("modbus")
    text = (folder / "mine.yaml").read_text().replace("points: []", "points:")
    text = text.replace('#- {to: ?.?, at: "holding:10"', '- {to: coolant.temperature_celsius, at: "holding:10"')
    (tmp_path / "mine.yaml").write_text(text)
    answer = tokenwatt("test", tmp_path / "mine.yaml", "--against", folder / "device.yaml")
    assert (answer.code, "temperature_celsius 32.5" in answer.out) == (0, True), answer


def test_an_snmp_draft_tells_tables_from_scalars(draw: Draw) -> None:
    text = (draw("snmp") / "mine.yaml").read_text()
    assert "model: ACME meter\n" in text
    assert "match: {sysobjectid_prefix: 1.3.6.1.4.1.99999.1}" in text
    assert "  - each: {}\n" in text
    assert "#- {to: ?.?, at: 1.3.6.1.4.1.99999.2.1.0}  # 42\n" in text
    assert "  - each: {column: 1.3.6.1.4.1.99999.3.1.2}\n" in text
    assert "#- {to: ?.?, at: 1.3.6.1.4.1.99999.3.1.3}  # 1.1: 'L1', 1.2: 'L2'\n" in text


def test_a_device_that_a_packaged_profile_fits_is_told_of_and_mapped_as_it_does(tokenwatt: Tokenwatt) -> None:
    answer = tokenwatt("new", GOLDEN / "apc_rpdu2.yaml")
    assert "# The packaged profile apc_rpdu2 fits this device already" in answer.out
    assert answer.out.count("- {to: power.active_watts, at: 1.3.6.1.4.1.318.1.1.26.4.3.1.5, ") == 1


def test_a_table_that_several_packaged_groups_read_keeps_the_rows_of_each(tokenwatt: Tokenwatt, tmp_path: Path) -> None:
    """Raritan's inlet table holds numbers, scaled by the row's decimals, and states, which are not."""
    assert tokenwatt("new", GOLDEN / "raritan_pdu2.yaml", "-o", tmp_path / "mine.yaml").code == 0
    points = [spec for group in load_profile("mine", (tmp_path, PACKAGED)).groups for spec in group.points]
    assert {bool(spec.scale_from) for spec in points} == {True, False}


def test_a_redfish_draft_maps_properties_by_their_name(draw: Draw) -> None:
    text = (draw("redfish") / "mine.yaml").read_text()
    assert "- each: {uri: /redfish/v1/ThermalEquipment/CDUs/*/Loops/*, as: [cdu, loop]}" in text
    assert "- {to: coolant.flow_liters_per_second, at: FlowLitersPerMinute.Reading, unit: L/min" in text
    assert "#- {to: ?.?, at: Foam.Reading}  # 3\n" in text


def test_an_mqtt_draft_maps_point_types_and_shows_the_rest(draw: Draw) -> None:
    text = (draw("mqtt") / "mine.yaml").read_text()
    assert "subscribe: [Hall/Metadata/#, Hall/Value/#]" in text
    assert "- {to: coolant.flow_liters_per_second, at: Rack/RackLiquidFlow, unit: L/min" in text
    assert "#- {to: ?.?, at: Rack/Smell, unit: ppm}  # 7 ppm at Hall/Metadata/Rack/Smell/a\n" in text


def test_the_schema_is_that_which_is_published(tokenwatt: Tokenwatt) -> None:
    answer = tokenwatt("schema")
    assert (answer.code, json.loads(answer.out)) == (0, json.loads(text()))


def test_a_played_recording_is_polled_like_a_device_until_it_is_stopped(
    tokenwatt: Tokenwatt, recording: Path, tmp_path: Path
) -> None:
    with started("profile", "play", recording, log=tmp_path / "play.log") as player:
        url = player.line(r"thing.rec.yaml answers at (modbus://127\.0\.0\.1:\d+)   Ctrl-C stops")[1]
        answer = tokenwatt("test", recording.with_name("thing.yaml"), "--against", url)
        assert (answer.code, "ph 7.2" in answer.out) == (0, True), answer
        player.process.send_signal(signal.SIGINT)
        assert player.process.wait(20) == 0
