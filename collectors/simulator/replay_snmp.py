"""A recording of OIDs, played as an SNMP v2c agent that is only read."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from collectors.simulator import ber
from collectors.simulator.mib import Mib, MibBuilder
from collectors.simulator.quirks import Quirks
from collectors.simulator.snmp_agent import Agent

COMMUNITY = "public"

_NUMBERS: Mapping[str, int] = {
    "int": ber.INTEGER,
    "gauge": ber.GAUGE32,
    "counter32": ber.COUNTER32,
    "counter64": ber.COUNTER64,
    "ticks": ber.TICKS,
}
_TEXTS = ("oid", "text", "hex")
#: types of a recorded value
TYPES = (*_NUMBERS, *_TEXTS)


@dataclass(frozen=True, slots=True)
class _Healthy:
    """A device without faults."""

    quirks: Mapping[str, Quirks] = field(default_factory=dict)
    agents_dead: frozenset[str] = frozenset()


def read_mib(recorded: Mapping[str, Sequence[Any]]) -> Mib:
    """Return the MIB of a recording: OID -> [type, value].

    Raises:
        ValueError: an OID, type or value that SNMP does not have; the message says which.
    """
    mib = MibBuilder()
    for oid, typed in recorded.items():
        try:
            kind, value = typed
            mib.fixed(_oid(str(oid)), _value(str(kind), value))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{oid}: {error}") from error
    return mib.build()


def _value(kind: str, value: Any) -> ber.Value:
    if kind in _NUMBERS:
        return _NUMBERS[kind], int(value)
    if kind == "oid":
        return ber.OBJECT_ID, _oid(str(value))
    if kind in _TEXTS:
        return ber.OCTETS, bytes.fromhex(str(value)) if kind == "hex" else str(value).encode()
    raise ValueError(f"{kind!r} is no type: {', '.join(TYPES)}")


def _oid(text: str) -> ber.Oid:
    return tuple(int(part) for part in text.strip(".").split("."))


class _Port(asyncio.DatagramProtocol):
    """The agent's UDP port; what is no v2c read stays without an answer."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._agent.answer(_Healthy(), data, COMMUNITY.encode(), time.time())
        if answer and self._transport is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def played(recorded: Mapping[str, Sequence[Any]], port: int = 0) -> AsyncIterator[str]:
    """Serve the OIDs on a port of 127.0.0.1, 0 picks one, while the block runs; yield the URL."""
    agent = Agent("recording", read_mib(recorded), "2c", "")
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Port(agent), ("127.0.0.1", port))
    try:
        yield f"snmp://{COMMUNITY}@127.0.0.1:{transport.get_extra_info('sockname')[1]}?version=2c"
    finally:
        transport.close()
        # The socket closes in the loop's next round.
        await asyncio.sleep(0)
