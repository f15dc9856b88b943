"""A recorded SNMP device on a real UDP port whose answers a test changes, and which notes what it was asked."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from collectors.collector import PollResult, Target
from collectors.profile import Profile, load_profile
from collectors.recording import load_recording
from collectors.simulator.mib import Mib
from collectors.simulator.quirks import Quirks
from collectors.simulator.replay_snmp import read_mib
from collectors.simulator.snmp_agent import Agent
from collectors.snmp import collector as snmp
from storage.point import FieldValue

GOLDEN = Path(__file__).parent / "collectors" / "golden"
START_NS = 1_760_000_000_000_000_000

Answers = dict[str, tuple[str, int | str]]


def golden(profile: str) -> Answers:
    """Return the answers of a profile's golden case: OID -> (type, value)."""
    recorded: Mapping[str, Any] = load_recording(GOLDEN / f"{profile}.yaml").answers["snmp"]
    return {oid: (typed[0], typed[1]) for oid, typed in recorded.items()}


def without(answers: Answers, *prefixes: str) -> Answers:
    """Return the answers without those whose OIDs begin so."""
    return {oid: typed for oid, typed in answers.items() if not oid.startswith(prefixes)}


def pdu_type(message: bytes) -> int:
    """Return the tag of the PDU in a v1 or v2c message: 0xA0 GET, 0xA1 GETNEXT, 0xA3 SET, 0xA5 GETBULK."""
    rest = message[2:] if message[1] < 0x80 else message[2 + (message[1] & 0x7F) :]
    for _ in ("version", "community"):
        rest = rest[2 + rest[1] :]
    return rest[0]


@dataclass(frozen=True, slots=True)
class _Healthy:
    quirks: Mapping[str, Quirks] = field(default_factory=dict)
    agents_dead: frozenset[str] = frozenset()


class Device(asyncio.DatagramProtocol):
    """One agent and the messages that it took."""

    def __init__(self, mib: Mib) -> None:
        self.agent = Agent("pdu-9", mib, "2c", "")
        self.messages: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None

    def say(self, answers: Answers) -> None:
        """Answer this from now on."""
        self.agent.mib = read_mib(answers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Note the message; answer a read."""
        self.messages.append(data)
        answer = self.agent.answer(_Healthy(), data, b"public", time.time())
        if answer and self._transport is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def served(mib: Mib) -> AsyncIterator[tuple[Target, Device]]:
    """Serve an agent as the target pdu-9 while the block runs."""
    loop = asyncio.get_running_loop()
    transport, device = await loop.create_datagram_endpoint(lambda: Device(mib), ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    try:
        yield Target("pdu-9", "snmp", f"127.0.0.1:{port}", username="public", timeout=timedelta(seconds=20)), device
    finally:
        transport.close()
        # The socket closes in the loop's next round.
        await asyncio.sleep(0)


async def poll(profile: str | Profile, *states: Answers, every_s: int = 10) -> list[PollResult]:
    """Return what polls of a device give, one for each state that it is in, `every_s` seconds apart."""
    read = load_profile(profile) if isinstance(profile, str) else profile
    async with served(read_mib(states[0])) as (target, device):
        collector = snmp.open_collector(target, read)
        results = []
        for number, answers in enumerate(states):
            device.say(answers)
            results.append(await collector.poll(START_NS + number * every_s * 10**9))
        await collector.aclose()
    return results


def fields(result: PollResult, measurement: str, device: str = "pdu-9", **tags: str) -> dict[str, FieldValue]:
    """Return the fields of the series with these tags; none where it did not come."""
    wanted = {"device": device, **tags}
    found: dict[str, FieldValue] = {}
    for point in result.points:
        if point.measurement == measurement and wanted.items() <= point.tags.items():
            found.update(point.fields)
    return found
