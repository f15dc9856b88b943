"""Mistakes in Modbus profiles: each is told at its place with what would be right."""

from pathlib import Path

import pytest

from collectors.modbus.check import check_profile
from collectors.profile import Library, load_profile
from storage.config import ConfigError

GOOD = """\
profile: own
model: own
kind: power_shelf
protocol: modbus
source: this test
match: {units: [1], at: "holding:8:8", type: string, text: "A*", and: [{at: "input:1", min: 1, not: true}]}
transport: {max_span: 60, gap: 4, timeout: 1s, retries: 1, word_order: big, pause: 20ms, after_timeout: keep}
groups:
  - each:
      units: [208, 209]
      as: psu
      probe: "holding:79"
      once: false
      settings: {tenths: "holding:15", feed: {at: "holding:9", map: {1: A, 2: B}}}
    tags: {circuit: "psu-{psu}", feed: "{feed}"}
    points:
      - {to: power.current_amperes, at: "holding:80", scale_if: {tenths: {0: 1, 1: 0.1}}}
      - {to: power.active_watts, at: ["input:82", "input:83"], type: u32-little, tags: {side: output}}
      - {to: alarm_bits.active, at: "holding:60", flags: {0: "low_{psu}"}}
      - {to: leak.state, at: "holding:61.8", enum: {0: 0, 1: 2}, tags: {detector: "pan-{psu}"}}
      - {to: leak.state, at: "discrete:2", enum: {0: 0, 1: 2}, tags: {detector: "hall-{psu}"}}
"""


def load(folder: Path, text: str) -> None:
    (folder / "own.yaml").write_text(text)
    load_profile("own", [folder])


def test_the_profile_that_the_mistakes_are_made_in_has_none(tmp_path: Path) -> None:
    load(tmp_path, GOOD)


def test_the_packaged_profiles_have_none() -> None:
    assert [mistake for profile in Library().of_protocol("modbus") for mistake in check_profile(profile)] == []


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("max_span: 60", "max_span: 126", "7: transport.max_span: 126 is no whole number of 1 to 125"),
        ("gap: 4", "gapp: 4", "7: transport.gapp: unknown key.*did you mean 'gap'"),
        ("timeout: 1s", "timeout: 1", "7: transport.timeout: 1 is no duration"),
        ("retries: 1", "retries: many", "7: transport.retries: 'many' is no whole number of 0 to 5"),
        ("word_order: big", "word_order: low", "7: transport.word_order: 'low' is none of big, little"),
        ("pause: 20ms", "pause: 20", "7: transport.pause: 20 is no duration"),
        ("after_timeout: keep", "after_timeout: kep", "7: transport.after_timeout: .*did you mean 'keep'"),
        ("units: [1]", "units: [256]", r"6: match.units\[0\]: 256 is no unit id.*0 to 255"),
        ('text: "A*"', "min: 3", "6: match.type: text and type: string go together"),
        ('{at: "input:1", min: 1, not: true}', "{min: 1}", r"6: match.and\[0\]: names no address"),
        ('and: [{at: "input:1", min: 1, not: true}]', "und: 3", "6: match.und: unknown key.*did you mean 'and'"),
        ("min: 1, not", "min: low, not", r"6: match.and\[0\].min: 'low' is no number"),
        ("units: [208, 209]", "units: 208", "10: groups\\[0\\].each.units: must be a list of unit ids"),
        ("units: [208, 209]", "units: [208, 208]", r"10: groups\[0\].each.units\[1\]: unit 208 is there already"),
        ("as: psu", "as: 3", "11: groups\\[0\\].each.as: 3 is no name of a variable"),
        ("as: psu", "az: psu", "11: groups\\[0\\].each.az: unknown key"),
        ('probe: "holding:79"', 'probe: "holding 79"', "12: groups\\[0\\].each.probe: .*is no Modbus address"),
        ("once: false", "once: maybe", "13: groups\\[0\\].each.once: must be true or false"),
        ('tenths: "holding:15"', 'tenths: "hold:15"', "each.settings.tenths: .*did you mean 'holding'"),
        ('{at: "holding:9", map', "{map", "each.settings.feed: names no address"),
        ("map: {1: A, 2: B}", "maps: {1: A, 2: B}", "each.settings.feed.maps: unknown key.*did you mean 'map'"),
        ("map: {1: A, 2: B}", "map: A", "each.settings.feed.map: must be a mapping"),
        (
            'circuit: "psu-{psu}"',
            'circuit: "psu-{psuu}"',
            r"15: groups\[0\].tags.circuit: .*did you mean 'psu'",
        ),
        ('"pan-{psu}"', '"pan-{unit}"', r"20: groups\[0\].points\[3\].tags.detector: no row .* variable 'unit'"),
        ('"holding:80"', '"holding:65536"', r"17: groups\[0\].points\[0\].at: .*ends at register 65536.*zero-based"),
        ('"holding:80"', '"40080"', r"17: groups\[0\].points\[0\].at: '40080' is no Modbus address.*holding:79"),
        ('"holding:80"', '"register:80"', r"points\[0\].at: .*there is no table 'register'"),
        ('"holding:80"', '"holding:80:2"', r"points\[0\].at: .*a length is for strings"),
        ("scale_if: {tenths:", "scale_if: {tenth:", r"points\[0\].scale_if.tenth: .*did you mean 'tenths'"),
        ('"input:83"]', '"input:65535"]', r"18: groups\[0\].points\[1\].at\[1\]: .*ends at register 65536"),
        ("type: u32-little", "type: u32-midle", r"points\[1\].type: 'u32-midle' is no Modbus type"),
        (
            "type: u32-little",
            "type: uint32",
            r"points\[1\].type: 'uint32' is no Modbus type.*did you mean",
        ),
        ("type: u32-little", "type: string", r"points\[1\].type: power.active_watts is a gauge: string does not fit"),
        (
            'flags: {0: "low_{psu}"}',
            "flags: {16: low}",
            r"19: .*points\[2\].flags\[16\]: u16 has no bit 16.*0 to 15",
        ),
        ('"holding:60"', '"holding:60", type: f32', r"points\[2\].flags.*: f32 has no bit 0.*flags need type: u16"),
        ('"holding:61.8"', '"holding:61.16"', r"points\[3\].at: .*a register has the bits 0 to 15"),
        ('"holding:61.8"', '"holding:61.7-4"', r"points\[3\].at: .*a register has the bits 0 to 15"),
        ('"holding:61.8"', '"holding:61.8", type: u32', r"points\[3\].at: .*bits are those of one register"),
        ('"discrete:2"', '"discrete:2", type: i16', r"21: groups\[0\].points\[4\].at: .*single bits.*leave `type` out"),
    ],
)
def test_a_mistake_is_told_with_line_key_reason_and_fix(good: str, bad: str, told: str, tmp_path: Path) -> None:
    assert GOOD.count(good) == 1
    with pytest.raises(ConfigError, match=rf"own\.yaml:{told}" if told[0].isdigit() else told):
        load(tmp_path, GOOD.replace(good, bad))
