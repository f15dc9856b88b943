"""Our SNMP collector and trap receiver against net-snmp's own agent, with the interfaces of this machine."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from services import free_port, program, running

from collectors.collector import AuthenticationError, DeviceTimeoutError, PollResult, Target, Trap
from collectors.poller import OK, UNREACHABLE, Poller, open_collector
from collectors.profile import Library
from collectors.runtime import Fleet, Runtime
from collectors.snmp.traps import Door, TrapReceiver
from collectors.snmp.traps_port import open_port
from storage.config import Secret
from storage.point import Point

pytestmark = [pytest.mark.service("snmpd"), pytest.mark.service("snmptrap"), pytest.mark.xdist_group("real")]

AUTH, PRIV = "auth-of-the-test", "priv-of-the-test"
NET = Path("/sys/class/net")
#: SNMPv1 GET of sysUpTime.0, community public (RFC 1157)
GET = bytes.fromhex("302602010004067075626c6963a019020101020100020100300e300c06082b060102010103000500")
COLD_START, LINK_DOWN = "1.3.6.1.6.3.1.1.5.1", "1.3.6.1.6.3.1.1.5.3"
#: field -> file of the kernel's statistics
KERNEL = {
    "rx_bytes_total": "rx_bytes",
    "tx_bytes_total": "tx_bytes",
    "rx_errors_total": "rx_errors",
    "tx_errors_total": "tx_errors",
    "rx_discards_total": "rx_dropped",
    "tx_discards_total": "tx_dropped",
}
TRAFFIC_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Agent:
    """One snmpd that may be started more than once."""

    folder: Path
    port: int

    @contextmanager
    def running(self, *lines: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run it with further lines of configuration, until the block ends."""
        conf = self.folder / "snmpd-own.conf"
        own = f"agentaddress udp:127.0.0.1:{self.port}\nrocommunity public 127.0.0.1\nrouser watt priv\n"
        conf.write_text(own + f"createUser watt SHA-256 {AUTH} AES {PRIV}\nsysName this-machine\n" + "\n".join(lines))
        setting = ["env", f"SNMP_PERSISTENT_DIR={self.folder}", f"SNMPCONFPATH={self.folder}", "MIBS="]
        command = [*setting, program("snmpd"), "-f", "-C", "-c", conf, "-Lf", self.folder / "snmpd.log", "-r"]
        with running(command, self.answers) as process:
            yield process

    def answers(self) -> bool:
        """Return whether it answers v1."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            probe.connect(("127.0.0.1", self.port))
            try:
                probe.send(GET)
                return bool(probe.recv(1500))
            except OSError:
                return False

    def v2c(self, community: str = "public", timeout_s: float = 20.0) -> Target:
        """Return the target that asks it with a community."""
        return self._target(community, timeout_s, {"version": "2c"})

    def v3(self, user: str = "watt", auth: str = AUTH, priv: str = PRIV, timeout_s: float = 20.0) -> Target:
        """Return the target that asks it over SNMPv3 with SHA-256 and AES-128."""
        options = {"version": "3", "auth": "sha256", "priv": "aes128"}
        return self._target(user, timeout_s, options, Secret(auth), Secret(priv))

    def _target(self, user: str, timeout_s: float, options: Mapping[str, str], *passwords: Secret) -> Target:
        return Target(
            "this-machine",
            "snmp",
            f"127.0.0.1:{self.port}",
            "net_snmp",
            timeout=timedelta(seconds=timeout_s),
            username=user,
            password=passwords[0] if passwords else None,
            priv_password=passwords[1] if passwords else None,
            options=options,
        )


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path, free_port(socket.SOCK_DGRAM))


async def ask(target: Target, time_ns: int = 0) -> PollResult:
    collector = open_collector(target, Library().profile("net_snmp"))
    try:
        return await collector.poll(time_ns)
    finally:
        await collector.aclose()


def interfaces(points: Mapping[int, Point] | PollResult) -> dict[str, Mapping[str, float | int | str]]:
    assert isinstance(points, PollResult)
    return {p.tags["interface"]: p.fields for p in points.points if p.measurement == "interface"}


def kernel() -> dict[tuple[str, str], int]:
    """Return (interface, field) -> the kernel's own count."""
    return {
        (path.name, field): int((path / "statistics" / name).read_text())
        for path in NET.iterdir()
        if (path / "statistics").is_dir()
        for field, name in KERNEL.items()
    }


def make_traffic() -> None:
    """Send a megabyte over the loopback, which is there on every machine."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as giver,
    ):
        taker.bind(("127.0.0.1", 0))
        for _ in range(TRAFFIC_BYTES // 10_000):
            giver.sendto(bytes(10_000), taker.getsockname())


@pytest.mark.parametrize("version", ["2c", "3"])
async def test_octet_counters_equal_the_kernel_s_within_one_poll(agent: Agent, version: str) -> None:
    """The agent reads the kernel anew each few seconds: one interval of the profile must do."""
    target = agent.v2c() if version == "2c" else agent.v3()
    with agent.running():
        collector = open_collector(target, Library().profile("net_snmp"))
        first = interfaces(await collector.poll(0))
        assert first.keys() == {interface for interface, _ in kernel()}
        before = kernel()
        make_traffic()
        low = kernel()
        assert low["lo", "rx_bytes_total"] - before["lo", "rx_bytes_total"] >= TRAFFIC_BYTES
        told: dict[tuple[str, str], float | int | str] = {}
        async with asyncio.timeout(60):
            for number in range(1, 10**6):
                fields = interfaces(await collector.poll(number * 10**9))
                high = kernel()
                told = {(interface, field): fields[interface][field] for interface, field in low}
                if all(float(told[key]) >= low[key] for key in low):
                    break
                await asyncio.sleep(0.2)
        assert {key: (told[key], high[key]) for key in told if float(told[key]) > high[key]} == {}
        await collector.aclose()


async def test_what_the_profile_says_of_an_interface_is_what_the_kernel_says(agent: Agent) -> None:
    with agent.running():
        result = await ask(agent.v2c())
    by_name = {p.tags["interface"]: p for p in result.points if p.measurement == "interface"}
    for path in NET.iterdir():
        if not (path / "statistics").is_dir():
            continue
        point = by_name[path.name]
        assert point.fields["admin_up"] == int((path / "flags").read_text(), 16) & 1  # IFF_UP
        assert point.tags["device"] == "this-machine"
    assert by_name["lo"].fields["oper_up"] == 1
    (switch,) = [p for p in result.points if p.measurement == "switch"]
    total = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1])
    assert switch.fields["memory_total_bytes"] == total * 1024
    assert switch.fields["uptime_seconds"] == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=60)
    assert switch.fields["agent_state"] == 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"auth": "another-password"}, "authentication password"),
        ({"user": "stranger"}, "user"),
        # The agent drops what it cannot decipher: only the discovery before tells it from a dead one.
        ({"priv": "another-password"}, "privacy password"),
    ],
)
async def test_wrong_credentials_are_named_and_not_shown(agent: Agent, wrong: dict[str, str], named: str) -> None:
    with agent.running(), pytest.raises(AuthenticationError) as caught:
        await ask(agent.v3(**wrong, timeout_s=6.0))
    told = str(caught.value)
    assert told.startswith(f"this-machine 127.0.0.1:{agent.port}: GET of 1.3.6.1.2.1.1.3.0")
    assert named in told
    assert "another-password" not in told


async def test_a_wrong_community_is_a_silence_that_says_so(agent: Agent) -> None:
    with agent.running(), pytest.raises(DeviceTimeoutError, match="community that the agent does not accept"):
        await ask(agent.v2c("wrong", timeout_s=6.0))


@pytest.mark.parametrize("version", ["2c", "3"])
async def test_an_agent_that_dies_is_unreachable_and_comes_back(agent: Agent, version: str) -> None:
    """With SNMPv3 its engine has other boots and another time after the restart."""
    now = 0.0
    target = agent.v2c(timeout_s=6.0) if version == "2c" else agent.v3(timeout_s=6.0)
    poller = Poller(target, Library(), monotonic=lambda: now)
    states = []
    for alive in (True, False, True):
        now += 100.0
        if alive:
            with agent.running():
                points = [await poller.poll(10**9), await poller.poll(2 * 10**9)][-1]
        else:
            points = await poller.poll(3 * 10**9)
        states.append((poller.health.state, points[-1].fields["up"], any(p.measurement == "interface" for p in points)))
    assert states == [(OK, 1, True), (UNREACHABLE, 0, False), (OK, 1, True)]
    await poller.aclose()


@asynccontextmanager
async def hearing(target: Target) -> AsyncIterator[tuple[TrapReceiver, list[Trap]]]:
    taken: list[Trap] = []
    receiver = TrapReceiver(("127.0.0.1", 0), [Door(target, taken.append)])
    await receiver.start()
    try:
        yield receiver, taken
    finally:
        await receiver.aclose()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


V3 = f"-v 3 -u watt -l authPriv -a SHA-256 -A {AUTH} -x AES -X {PRIV}"


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("2c", "trapsink 127.0.0.1:{port} public"),
        ("2c", "trap2sink 127.0.0.1:{port} public"),
        ("2c", "informsink 127.0.0.1:{port} public"),
        ("3", "trapsess " + V3 + " 127.0.0.1:{port}"),
        ("3", "trapsess -Ci " + V3 + " 127.0.0.1:{port}"),
    ],
)
async def test_the_agent_s_own_traps_are_taken(agent: Agent, version: str, line: str) -> None:
    """It tells of its start, in each version, as a trap and as an inform."""
    target = agent.v2c() if version == "2c" else agent.v3()
    async with hearing(target) as (receiver, taken):
        process = asyncio.to_thread(_start, agent, line.format(port=receiver.port))
        stop = await process
        try:
            await until(lambda: taken)
        finally:
            stop()
        assert receiver.counts.dropped.total() == 0
    assert taken[0].name == COLD_START


def _start(agent: Agent, line: str) -> Callable[[], None]:
    """Start the agent in a thread, so that its informs are answered meanwhile; return what stops it."""
    context = agent.running(line)
    context.__enter__()
    return lambda: context.__exit__(None, None, None)


async def test_a_link_that_goes_down_is_told_between_two_polls(agent: Agent, tmp_path: Path) -> None:
    """A linkDown of the loopback, from net-snmp's command, through the runtime: stamped beside the polls' grid."""
    told: list[Point] = []
    with open_port(("127.0.0.1", 0)) as probe:
        listen = ("127.0.0.1", probe.getsockname()[1])
    stop = asyncio.Event()
    index = int((NET / "lo" / "ifindex").read_text())
    with agent.running():
        fleet = Fleet((agent.v2c(),), Library(), traps=listen)
        run = asyncio.create_task(Runtime(fleet, told.extend).run(stop))
        await until(lambda: [p for p in told if p.measurement == "device" and p.fields["up"]])
        before = {p.time_ns for p in told if p.measurement == "interface"}
        for _ in range(2):
            await tell_link_down(listen[1], index, tmp_path)
        await until(lambda: len(downs(told)) == 2)
        await until(lambda: [p for p in told if p.fields.get("traps_total") == 2])
        stop.set()
        await run
    first, second = downs(told)
    assert first.tags["interface"] == "lo"
    assert first.time_ns < second.time_ns
    assert not {first.time_ns, second.time_ns} & before
    assert first.time_ns % 1_000_000


def downs(points: list[Point]) -> list[Point]:
    of_loopback = [p for p in points if p.measurement == "interface" and p.tags["interface"] == "lo"]
    return [point for point in of_loopback if point.fields.get("oper_up") == 0]


async def tell_link_down(port: int, index: int, folder: Path) -> None:
    column = "1.3.6.1.2.1.2.2.1"
    told = {f"{column}.1.{index}": index, f"{column}.7.{index}": 1, f"{column}.8.{index}": 2}
    varbinds = [part for oid, value in told.items() for part in (oid, "i", str(value))]
    command = [str(program("snmptrap")), "-v", "2c", "-c", "public", f"127.0.0.1:{port}", "", LINK_DOWN, *varbinds]
    setting = {"MIBS": "", "SNMPCONFPATH": str(folder), "SNMP_PERSISTENT_DIR": str(folder)}
    process = await asyncio.create_subprocess_exec(*command, env=setting)
    assert await process.wait() == 0
