"""Every profile against a recorded device, over the real protocol: all that a poll gives, and nothing else."""

from pathlib import Path

import pytest

from collectors.profile import Library
from collectors.recording import differences, load_recording, poll_recorded
from collectors.simulator.replay import play

GOLDEN = Path(__file__).parent / "golden"
#: profile -> where its answers are tested
ELSEWHERE = {
    "net_snmp": "test_snmp_real.py asks the server itself",
    "sonic_snmp": "test_snmp_real.py and test_snmp_states.py play recorded switches with the faults of their agents",
}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
async def test_a_recorded_device_gives_exactly_what_is_expected(path: Path) -> None:
    recording = load_recording(path)
    profile = Library().profile(recording.profile)
    assert path.stem.startswith(profile.profile), "a case bears the name of its profile"
    assert recording.source, "nobody knows where it comes from"
    assert recording.expect, "it expects nothing"
    async with play(recording.answers, path.parent) as url:
        result = await poll_recorded(recording, url, profile, 5)
    assert differences(recording, result) == [], f"missing: {result.missing}, rejected: {result.rejected}"


def test_every_profile_of_a_device_has_a_golden_case() -> None:
    library = Library()
    wanted = {p.profile for protocol in ("snmp", "modbus", "redfish", "mqtt") for p in library.of_protocol(protocol)}
    assert ELSEWHERE.keys() < wanted
    recorded = {load_recording(path).profile for path in GOLDEN.glob("*.yaml")}
    assert wanted - recorded - ELSEWHERE.keys() == set()
