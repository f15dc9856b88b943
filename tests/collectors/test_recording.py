"""Recordings: how they are read, played over the real protocols, and held against what a poll gives."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collectors.collector import PollResult
from collectors.mqtt.client import make_client
from collectors.probe import target_of
from collectors.recording import Recording, differences, expectation, load_recording
from collectors.simulator.replay import play
from collectors.simulator.replay_modbus import read_units
from collectors.simulator.replay_redfish import read_tree
from collectors.simulator.replay_snmp import read_mib
from collectors.snmp.client import SnmpClient
from storage.config import ConfigError
from storage.point import Point

HEAD = "profile: apc_rpdu2\nsource: a test\n"
SNMP = HEAD + "snmp: {1.3.6.1.2.1.1.2.0: [oid, 1.3.6.1.4.1.318.1.3.4.6]}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "device.yaml"
    path.write_text(text)
    return path


def test_a_recording_is_read_whole(tmp_path: Path) -> None:
    expect = "expect:\n  - {measurement: power, tags: {phase: 1}, fields: {active_watts: 1170}}\nmissing: 2\n"
    recording = load_recording(write(tmp_path, SNMP + "options: {tls: off}\n" + expect))
    assert (recording.protocol, recording.profile, recording.missing) == ("snmp", "apc_rpdu2", 2)
    assert recording.options == {"tls": "off"}
    assert recording.answers == {"snmp": {"1.3.6.1.2.1.1.2.0": ("oid", "1.3.6.1.4.1.318.1.3.4.6")}}
    assert recording.expect is not None
    assert recording.expect[0].tags == {"phase": "1"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (HEAD, 1, "one protocol's answers, not none"),
        (SNMP + "modbus: {}\n", 1, "one protocol's answers, not snmp, modbus"),
        (SNMP + "expects: []\n", 4, "expects: unknown key (did you mean 'expect'?"),
        (SNMP.replace("[oid,", "[oidd,"), 3, "'oidd' is not allowed"),
        (HEAD + "modbus: {1: {holdings: {0: [1]}}}\n", 3, "'holdings' is not allowed"),
        (HEAD + "modbus:\n  1:\n    holding: {0: [x]}\n", 5, "must be a whole number, not 'x'"),
        (SNMP + "expect:\n  - {measurement: powr, fields: {}}\n", 5, "did you mean power"),
        (SNMP + "expect:\n  - measurement: power\n    fields: {watts: 1}\n", 6, "power.watts"),
        (SNMP + "expect:\n  - measurement: power\n    tags: {loop: tcs}\n    fields: {}\n", 6, "power.loop"),
    ],
)
def test_a_mistake_in_a_recording_is_told_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recording(write(tmp_path, text))
    assert words in str(caught.value)
    assert caught.value.problems[0].line == line


TOTAL = {"kind": "rack_pdu", "circuit": "total"}
PHASE = {"kind": "rack_pdu", "circuit": "phase", "phase": "1"}


def recorded(*expect: tuple[dict[str, str], dict[str, float]], missing: int = 0) -> Recording:
    points = [{"measurement": "power", "tags": tags, "fields": fields} for tags, fields in expect]
    return Recording.model_validate({"snmp": {}, "expect": points, "missing": missing})


def polled(*points: tuple[dict[str, str], dict[str, Any]], missing: tuple[str, ...] = ()) -> PollResult:
    return PollResult([Point("power", {"device": "x", **tags}, fields, 1) for tags, fields in points], missing)


def test_a_poll_that_gives_exactly_what_is_expected_does_not_differ() -> None:
    result = polled((TOTAL, {"active_watts": 1170.0}), (PHASE, {"current_amperes": 5.4, "state": 0}), missing=("x",))
    expected = recorded((PHASE, {"state": 0, "current_amperes": 5.4}), (TOTAL, {"active_watts": 1170}), missing=1)
    assert differences(expected, result) == []


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (polled(), ["power[circuit=total,kind=rack_pdu]: did not come"]),
        (polled((TOTAL, {"active_watts": 1170.01})), ["active_watts: 1170.01, expected 1170"]),
        (polled((TOTAL, {"active_watts": "1170"})), ["active_watts: '1170', expected 1170"]),
        (polled((TOTAL, {"state": 0})), ["active_watts: did not come, expected 1170", "state: came, not expected: 0"]),
        (polled((TOTAL, {"active_watts": 1170}), (PHASE, {"state": 0})), ["phase=1]: came, not expected: state=0"]),
        (polled((TOTAL, {"active_watts": 1170}), missing=("a",)), ["missing: 1 readings, expected 0"]),
    ],
)
def test_each_difference_is_told(result: PollResult, told: list[str]) -> None:
    lines = differences(recorded((TOTAL, {"active_watts": 1170})), result)
    assert len(lines) == len(told)
    assert all(line.endswith(words) for line, words in zip(lines, told, strict=True)), lines


def test_numbers_agree_within_a_millionth_of_their_size() -> None:
    expected = recorded((TOTAL, {"energy_joules_total": 3.6e12}))
    assert differences(expected, polled((TOTAL, {"energy_joules_total": 3.6e12 + 3e6}))) == []
    assert len(differences(expected, polled((TOTAL, {"energy_joules_total": 3.6e12 + 4e6})))) == 1


def test_common_tags_are_compared_where_the_recording_names_them() -> None:
    one, two = {**TOTAL, "device": "A01"}, {**TOTAL, "device": "A02"}
    result = polled((one, {"active_watts": 1}), (two, {"active_watts": 2}))
    assert differences(recorded((two, {"active_watts": 2}), (one, {"active_watts": 1})), result) == []
    assert len(differences(recorded((one, {"active_watts": 2}), (two, {"active_watts": 1})), result)) == 2


def test_what_came_can_be_expected_from_then_on() -> None:
    two = polled(({**TOTAL, "device": "A01"}, {"active_watts": 1}), ({**TOTAL, "device": "A02"}, {"active_watts": 2}))
    assert [row["tags"]["device"] for row in expectation(two)] == ["A01", "A02"]
    one = polled((TOTAL, {"active_watts": 1170.0}))
    assert expectation(one) == [{"measurement": "power", "tags": TOTAL, "fields": {"active_watts": 1170.0}}]
    assert differences(Recording.model_validate({"snmp": {}, "expect": expectation(two)}), two) == []


async def test_played_oids_are_read_by_get_and_walked_in_order() -> None:
    values = {
        "1.3.6.1.4.1.9.2.10": ["counter64", 2**40],
        "1.3.6.1.4.1.9.2.9": ["int", -5],
        "1.3.6.1.4.1.9.1.0": ["hex", "c2 b0 43"],
        "1.3.6.1.4.1.9.3.0": ["text", "leaf"],
    }
    async with play({"snmp": values}, Path()) as url:
        client = SnmpClient(target_of(url))
        assert await client.get(["1.3.6.1.4.1.9.1.0", "1.3.6.1.4.1.9.4.0"]) == {"1.3.6.1.4.1.9.1.0": "°C"}
        assert await client.walk("1.3.6.1.4.1.9.2") == {"9": -5, "10": 2**40}
        assert list(await client.walk("1.3.6.1.4.1.9")) == ["1.0", "2.9", "2.10", "3.0"]
        client.close()


MODBUS = {7: {"holding": {10: [1, -2]}, "input": {10: [0xC8CD]}, "discrete": {2: [0, 1]}, "coil": {0: [1]}}}


@pytest.mark.parametrize(
    ("unit", "function", "start", "count", "answer"),
    [
        (7, 3, 10, 2, "03 04 0001 fffe"),
        (7, 4, 10, 1, "04 02 c8cd"),
        (7, 2, 2, 2, "02 01 02"),
        (7, 1, 0, 1, "01 01 01"),
        (7, 3, 10, 3, "83 02"),
        (7, 4, 11, 1, "84 02"),
        (7, 3, 10, 126, "83 03"),
        (7, 6, 10, 1, "86 01"),
        (8, 3, 10, 1, "83 0b"),
    ],
)
async def test_played_registers_answer_as_a_gateway_does(
    unit: int, function: int, start: int, count: int, answer: str
) -> None:
    async with play({"modbus": MODBUS}, Path()) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        ask = bytes((function,)) + start.to_bytes(2, "big") + count.to_bytes(2, "big")
        writer.write(b"\x12\x34\0\0\0\x06" + bytes((unit,)) + ask)
        expected = bytes.fromhex(answer)
        head = b"\x12\x34\0\0" + (len(expected) + 1).to_bytes(2, "big") + bytes((unit,))
        assert await reader.readexactly(len(head) + len(expected)) == head + expected
        writer.close()
        await writer.wait_closed()


async def test_played_resources_answer_get_alone_and_confirm_by_etag(tmp_path: Path) -> None:
    chassis = tmp_path / "tree" / "Chassis" / "1"
    chassis.mkdir(parents=True)
    (tmp_path / "tree" / "index.json").write_text('{"Name": "root"}')
    (chassis / "index.json").write_text('{"Name": "of the tree"}')
    answers = {"redfish": {"tree": "tree", "/redfish/v1/Chassis/2": {"Name": "beside it"}}}
    async with (
        play(answers, tmp_path) as url,
        aiohttp.ClientSession(url.replace("redfish", "http").split("?")[0]) as http,
    ):

        async def ask(method: str, path: str, **headers: str) -> tuple[int, Any, str]:
            async with http.request(method, path, headers=headers) as answer:
                body = await answer.read()
                return answer.status, json.loads(body) if answer.status == 200 else None, answer.headers.get("ETag", "")

        status, body, etag = await ask("GET", "/redfish/v1/Chassis/1/")
        assert (status, body) == (200, {"Name": "of the tree"})
        assert (await ask("GET", "/redfish/v1/Chassis/1", **{"If-None-Match": etag}))[0] == 304
        assert (await ask("GET", "/redfish/v1/"))[1] == {"Name": "root"}
        assert (await ask("GET", "/redfish"))[1] == {"v1": "/redfish/v1/"}
        assert (await ask("GET", "/redfish/v1/Chassis/2"))[1] == {"Name": "beside it"}
        assert (await ask("GET", "/redfish/v1/Chassis/3"))[0] == 404
        assert (await ask("GET", "/redfish/v1/Chassis/1?$expand=."))[0] == 501
        assert (await ask("PATCH", "/redfish/v1/Chassis/1"))[0] == 405


async def test_played_messages_are_there_at_once_when_retained_and_told_over_and_over_when_not() -> None:
    messages = [
        {"topic": "a/kept", "retain": True, "payload": {"objectType": "Rack"}},
        {"topic": "a/told", "payload": {"value": "now", "quality": 1}},
        {"topic": "a/text", "payload": "no JSON"},
    ]
    heard: list[tuple[str, bool, bytes]] = []
    async with play({"mqtt": messages}, Path()) as url, make_client(target_of(url)) as client:
        await client.subscribe("a/#")
        async with asyncio.timeout(60):
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                heard.append((str(message.topic), bool(message.retain), message.payload))
                if len(heard) == 5:
                    break
    assert ("a/kept", True, b'{"objectType": "Rack"}') in heard
    told = [json.loads(payload) for topic, _, payload in heard if topic == "a/told"]
    assert len(told) == 2
    assert all(each["value"] > 1.7e12 for each in told), "milliseconds since 1970"
    assert told[0]["value"] < told[1]["value"]
    assert ("a/text", False, b"no JSON") in heard


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: play({"expect": []}, Path()), "exactly one of snmp, modbus, redfish, mqtt, not none"),
        (lambda: read_mib({"1.3.x": ["int", 1]}), "1.3.x: "),
        (lambda: read_mib({"1.3.6": ["bits", 1]}), "1.3.6: 'bits' is no type: int, gauge"),
        (lambda: read_mib({"1.3.6": ["hex", "xyz"]}), "1.3.6: "),
        (lambda: read_units({1: {"holding": {0: [70_000]}}}), "unit 1 holding 0: 70000 is not -32768 to 65535"),
        (lambda: read_units({1: {"coil": {3: [2]}}}), "unit 1 coil 3: 2 is not 0 to 1"),
        (lambda: read_units({1: {"holding": {65_535: [1, 1]}}}), "unit 1 holding 65536"),
        (lambda: read_tree({"/etc": {}}, Path()), "'/etc' is no path under /redfish/v1"),
        (lambda: read_tree({"tree": "nowhere"}, Path("/tmp")), "/tmp/nowhere/index.json, the service root"),
    ],
)
def test_what_cannot_be_played_is_named(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
