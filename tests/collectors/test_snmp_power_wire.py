"""What leaves us for an SNMP device, byte by byte: reads, whatever is asked and however the device answers."""

import ast
from pathlib import Path

import pytest
from snmp_device import START_NS, Answers, golden, pdu_type, served
from snmp_recordings import DATA, read_agent

from collectors.collector import CollectError, Target, UnknownDeviceError
from collectors.profile import Library, Profile
from collectors.simulator.mib import Mib
from collectors.simulator.replay_snmp import read_mib
from collectors.snmp import collector as snmp

GET, GETNEXT, SET, GETBULK = 0xA0, 0xA1, 0xA3, 0xA5
SNMP = {profile.profile: profile for profile in Library().of_protocol("snmp")}
#: a device of another kind, for the profiles whose cases are written elsewhere
SWITCH = DATA / "sonic_snmp" / "community.agent"
PDUS = sorted(SNMP.keys() - {"sonic_snmp", "net_snmp"})


def answers_of(profile: str) -> Mib:
    return read_mib(golden(profile)) if profile in PDUS else read_agent(SWITCH.read_text("utf-8"))


async def ask_everything(target: Target, profile: Profile) -> None:
    """Recognise the device, poll it with all that is slow, examine it as `tokenwatt probe` does."""
    await snmp.identify(target, list(SNMP.values()))
    still = {key: value for key, value in profile.transport.items() if key != "anchor"}
    profile = profile.model_copy(update={"transport": still})
    collector = snmp.open_collector(target, profile)
    for second in (0, 10, 300):
        await collector.poll(START_NS + second * 10**9)
    await snmp.examine(target, profile)
    await collector.aclose()


@pytest.mark.parametrize("name", SNMP)
async def test_only_reads_are_sent_whatever_is_asked(name: str) -> None:
    async with served(answers_of(name)) as (target, device):
        await ask_everything(target, SNMP[name])
        kinds = {pdu_type(message) for message in device.messages}
    assert kinds <= {GET, GETNEXT, GETBULK}
    assert GET in kinds


async def test_only_reads_are_sent_to_a_device_that_is_not_what_it_should_be() -> None:
    """One that knows nothing, and one that answers another profile's questions."""
    strange: Answers = {"1.3.6.1.2.1.1.3.0": ("ticks", 1)}
    async with served(read_mib(strange)) as (target, device):
        with pytest.raises(UnknownDeviceError):
            await snmp.identify(target, [SNMP[name] for name in PDUS])
        for name in PDUS:
            with pytest.raises(CollectError):
                await snmp.open_collector(target, SNMP[name]).poll(START_NS)
        assert {pdu_type(message) for message in device.messages} <= {GET, GETNEXT, GETBULK}


def test_a_set_would_be_seen_as_one() -> None:
    """sysContact.0 = "a", SNMPv2c, community private; lengths in the short and in the long form."""
    binds = bytes.fromhex("300f300d06082b060102010104000401") + b"a"
    pdu = bytes([SET, 9 + len(binds)]) + bytes.fromhex("020101020100020100") + binds
    body = bytes.fromhex("020101") + b"\x04\x07private" + pdu
    assert pdu_type(bytes([0x30, len(body)]) + body) == SET
    assert pdu_type(bytes([0x30, 0x82, 0, len(body)]) + body) == SET


def test_the_engines_name_no_way_to_write() -> None:
    """Methods of gufo-snmp and pysnmp that send a SET, and the PDU itself."""
    package = Path(snmp.__file__).parent
    names = set()
    for name in ("gufo", "pysnmp", "client", "session"):
        for node in ast.walk(ast.parse((package / f"{name}.py").read_text("utf-8"))):
            names |= {node.attr} if isinstance(node, ast.Attribute) else set()
            names |= {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom | ast.Import) else set()
    assert {"get_many", "get_cmd", "bulk_cmd"} <= names
    assert not names & {"set", "set_many", "set_cmd", "SetRequestPDU", "SetCommandGenerator"}


@pytest.mark.parametrize("name", PDUS)
async def test_each_model_is_recognised_among_all_profiles(name: str) -> None:
    async with served(answers_of(name)) as (target, device):
        found = await snmp.identify(target, list(SNMP.values()))
        assert len(device.messages) == 1
    assert found.profile == name


async def test_a_profile_with_an_instance_of_its_own_fits_no_device_that_lacks_it() -> None:
    """The agent of another device of the same maker does not have the value list."""
    other = {oid: typed for oid, typed in golden("supermicro_scdu_snmp").items() if ".10876.301." not in oid}
    async with served(read_mib(other)) as (target, _):
        with pytest.raises(UnknownDeviceError, match="none of supermicro_scdu_snmp fits"):
            await snmp.identify(target, [SNMP["supermicro_scdu_snmp"]])
