"""The SNMP collector against Debian's snmpd: real agent, real protocol, figures checked against the kernel."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from services import free_port, program, running

from collectors.collector import AuthenticationError, CollectError, DeviceTimeoutError, ProtocolError, Target
from collectors.profile import Group, PointSpec, Profile, load_profile
from collectors.snmp import collector as snmp
from collectors.snmp.client import SnmpClient
from storage.config import ConfigError, Secret
from storage.point import Point

pytestmark = pytest.mark.service("snmpd")

NOW_NS = 1_760_000_000_000_000_000
AUTH_PASSWORD, PRIV_PASSWORD = "auth-of-the-test", "priv-of-the-test"
LO_STATISTICS = Path("/sys/class/net/lo/statistics")


@dataclass(frozen=True, slots=True)
class Agent:
    """A running snmpd."""

    target: Target

    @property
    def v3(self) -> Target:
        options = {"version": "3", "auth": "sha256", "priv": "aes128"}
        return replace(
            self.target,
            username="watt",
            password=Secret(AUTH_PASSWORD),
            priv_password=Secret(PRIV_PASSWORD),
            options=options,
        )


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Run snmpd unprivileged on loopback, with a v2c community and a v3 user (SHA-256, AES-128)."""
    folder = tmp_path_factory.mktemp("snmpd")
    port = free_port(socket.SOCK_DGRAM)
    conf = folder / "own.conf"
    conf.write_text(
        f"agentaddress udp:127.0.0.1:{port}\nrocommunity public 127.0.0.1\n"
        f"createUser watt SHA-256 {AUTH_PASSWORD} AES {PRIV_PASSWORD}\nrouser watt priv\n"
        "sysDescr a test's agent\nsysName leaf-9\n"
    )
    command = ["env", f"SNMP_PERSISTENT_DIR={folder}", f"SNMPCONFPATH={folder}", "MIBS="]
    command += [str(program("snmpd")), "-f", "-C", "-c", str(conf), "-Lf", str(folder / "log"), "-r"]
    with running(command, lambda: udp_answers(port)):
        yield Agent(Target("leaf-9", "snmp", f"127.0.0.1:{port}", username="public", timeout=timedelta(seconds=20)))


def udp_answers(port: int) -> bool:
    """Return whether an agent answers GET sysUpTime.0 of community public, in SNMPv1."""
    request = bytes.fromhex("302602010004067075626c6963a019020101020100020100300e300c06082b060102010103000500")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        probe.connect(("127.0.0.1", port))
        try:
            probe.send(request)
            return bool(probe.recv(1500))
        except OSError:
            return False


def of(points: "tuple[Point, ...] | list[Point]", measurement: str, **tags: str) -> Point:
    """Return the one point of a measurement with these tags."""
    found = [p for p in points if p.measurement == measurement and tags.items() <= p.tags.items()]
    assert len(found) == 1, found
    return found[0]


async def poll(target: Target, profile: Profile) -> list[Point]:
    collector = snmp.open_collector(target, profile)
    try:
        return list((await collector.poll(NOW_NS)).points)
    finally:
        await collector.aclose()


def scalars(*points: PointSpec) -> Profile:
    return profile_of(Group(points=points))


def profile_of(*groups: Group) -> Profile:
    return Profile(profile="test", model="test", kind="switch", protocol="snmp", source="test", groups=groups)


async def test_counters_follow_the_traffic_they_count(agent: Agent) -> None:
    """A megabyte sent through lo shows as a megabyte, plus headers, once the agent's cache has turned over."""
    collector = snmp.open_collector(agent.target, load_profile("net_snmp"))
    before = of(list((await collector.poll(NOW_NS)).points), "interface", interface="lo").fields["rx_bytes_total"]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        sink.bind(("127.0.0.1", 0))
        for _ in range(100):
            out.sendto(bytes(10_000), sink.getsockname())
    sent = int((LO_STATISTICS / "rx_bytes").read_text())
    seen = before
    for number in range(1, 3000):
        result = await collector.poll(NOW_NS + number * 10**10)
        seen = of(list(result.points), "interface", interface="lo").fields["rx_bytes_total"]
        if seen >= sent:
            break
    assert seen - before >= 1_000_000
    await collector.aclose()


async def test_v3_brings_the_same_series_as_v2c(agent: Agent) -> None:
    profile = load_profile("net_snmp")
    by_v2c, by_v3 = await poll(agent.target, profile), await poll(agent.v3, profile)
    series = {(p.measurement, *p.tags.items(), *p.fields) for p in by_v2c}
    assert series == {(p.measurement, *p.tags.items(), *p.fields) for p in by_v3}
    assert of(by_v3, "switch").fields["version"] == "a test's agent"


async def test_v3_with_a_wrong_authentication_password_is_told_as_such(agent: Agent) -> None:
    wrong = replace(agent.v3, password=Secret("not-the-password"))
    with pytest.raises(AuthenticationError, match=r"leaf-9 127\.0\.0\.1:\d+: .*authentication password") as caught:
        await poll(wrong, load_profile("net_snmp"))
    assert "not-the-password" not in str(caught.value)


async def test_v3_with_an_unknown_user_is_an_authentication_error(agent: Agent) -> None:
    with pytest.raises(AuthenticationError, match="user"):
        await poll(replace(agent.v3, username="nobody"), load_profile("net_snmp"))


async def test_v3_with_a_wrong_privacy_password_names_it(agent: Agent) -> None:
    wrong = replace(agent.v3, priv_password=Secret("not-the-password"), timeout=timedelta(seconds=3))
    with pytest.raises(AuthenticationError, match=r"takes user 'watt', but .* the privacy password .* is wrong"):
        await poll(wrong, load_profile("net_snmp"))


async def test_wrong_community_is_a_timeout_that_names_the_community(agent: Agent) -> None:
    wrong = replace(agent.target, username="private", timeout=timedelta(seconds=4))
    with pytest.raises(DeviceTimeoutError, match="community"):
        await poll(wrong, load_profile("net_snmp"))


async def test_silent_port_is_a_timeout_that_names_the_address() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        target = Target("leaf-9", "snmp", f"127.0.0.1:{port}", timeout=timedelta(milliseconds=400))
        with pytest.raises(DeviceTimeoutError, match=f"leaf-9 127.0.0.1:{port}"):
            await poll(target, load_profile("net_snmp"))
        with pytest.raises(DeviceTimeoutError):
            await snmp.identify(target, [load_profile("net_snmp")])


async def test_v1_gives_what_is_there_though_one_missing_instance_spoils_its_pdu(agent: Agent) -> None:
    profile = scalars(
        PointSpec(to="switch.uptime_seconds", at="1.3.6.1.2.1.25.1.1.0", scale=0.01),
        PointSpec(to="switch.memory_total_bytes", at="1.3.6.1.4.1.2021.4.5.0", scale=1024),
        PointSpec(to="switch.cpu_ratio", at="1.3.6.1.4.1.6027.3.10.1.2.9.1.3.1"),
    )
    collector = snmp.open_collector(replace(agent.target, options={"version": "1"}), profile)
    result = await collector.poll(NOW_NS)
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert of(list(result.points), "switch").fields["memory_total_bytes"] == int(total.split()[1]) * 1024
    assert result.missing == ("switch.cpu_ratio: no such instance at 1.3.6.1.4.1.6027.3.10.1.2.9.1.3.1",)
    await collector.aclose()


async def test_what_the_agent_never_had_is_told_once_and_asked_again_each_slow_period(agent: Agent) -> None:
    absent = PointSpec(to="switch.cpu_ratio", at="1.3.6.1.4.1.6027.3.10.1.2.9.1.3.1")
    profile = scalars(PointSpec(to="switch.uptime_seconds", at="1.3.6.1.2.1.25.1.1.0", scale=0.01), absent)
    collector = snmp.open_collector(agent.target, profile)
    missing = [(await collector.poll(NOW_NS + second * 10**9)).missing for second in (0, 10, 300, 310)]
    assert [len(lines) for lines in missing] == [1, 0, 0, 0]
    await collector.aclose()


async def test_of_several_addresses_the_first_that_answers_counts(agent: Agent) -> None:
    at = ("1.3.6.1.4.1.6027.3.10.1.2.9.1.3.1", "1.3.6.1.2.1.25.1.1.0")
    points = await poll(agent.target, scalars(PointSpec(to="switch.uptime_seconds", at=at, scale=0.01)))
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert of(points, "switch").fields["uptime_seconds"] == pytest.approx(uptime, abs=5.0)


async def test_an_answer_too_large_for_one_datagram_is_read_in_halves(agent: Agent) -> None:
    """64 texts of about 60 bytes in one PDU pass the 4,080 bytes that gufo-snmp takes; every one still comes."""
    client = SnmpClient(agent.target)
    descriptions = await client.walk("1.3.6.1.2.1.1.9.1.3")
    assert len(descriptions) >= 5
    assert max(map(len, descriptions.values())) > 20
    answer = await client._get_chunk([f"1.3.6.1.2.1.1.9.1.3.{index}" for index in descriptions] * 20)
    assert answer == {f"1.3.6.1.2.1.1.9.1.3.{index}": text for index, text in descriptions.items()}


async def test_an_agent_with_nothing_of_the_profile_is_a_protocol_error(agent: Agent) -> None:
    with pytest.raises(ProtocolError, match="nothing of profile 'apc_rpdu2'"):
        await poll(agent.target, load_profile("apc_rpdu2"))


async def test_identify_takes_the_most_specific_profile(agent: Agent) -> None:
    candidates = [load_profile(name) for name in ("apc_rpdu2", "sonic_snmp", "net_snmp")]
    assert (await snmp.identify(agent.target, candidates)).profile == "net_snmp"
    with pytest.raises(CollectError, match=r"sysObjectID 1\.3\.6\.1\.4\.1\.8072\..*none of apc_rpdu2, sonic_snmp fits"):
        await snmp.identify(agent.target, candidates[:2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"version": "4"}}, "version='4' is not one of 1, 2c, 3"),
        ({"options": {"version": "3"}, "username": ""}, "needs a user"),
        ({"options": {"version": "3", "auth": "sha3"}, "username": "a"}, "auth='sha3' is not one of md5"),
        ({"options": {"version": "3", "auth": "sha256"}, "username": "a"}, "needs a password of 8"),
        ({"options": {"version": "3", "priv": "aes"}, "username": "a"}, "priv without auth"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(change: dict[str, object], words: str) -> None:
    target = replace(Target("leaf-9", "snmp", "127.0.0.1:1161"), **change)  # type: ignore[arg-type]
    with pytest.raises(CollectError, match=r"leaf-9 127\.0\.0\.1:1161: ") as caught:
        snmp.open_collector(target, load_profile("net_snmp"))
    assert words in str(caught.value)


def test_profiles_that_snmp_does_not_understand_are_refused_with_their_places() -> None:
    point = PointSpec(to="switch.uptime_seconds", at="1.3.6.1.2.1.25.1.1.0")
    strange = profile_of(
        Group(each={"colum": "1.3.6.1.2.1.2.2.1.2"}, points=(point,)),
        Group(points=(PointSpec(to="switch.uptime_seconds", at="sysUpTime.0"),)),
        Group(points=(PointSpec(to="switch.version", at="1.3.6.1.2.1.1.1.0 /(/"),)),
    )
    with pytest.raises(ConfigError) as caught:
        snmp.open_collector(Target("leaf-9", "snmp", "127.0.0.1:1161"), strange)
    assert [problem.key for problem in caught.value.problems] == ["groups[0].each.colum", "groups[1]", "groups[2]"]
