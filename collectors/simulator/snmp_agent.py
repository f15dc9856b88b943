"""One SNMP agent of the simulator: what it answers to a read, with the weaknesses of the switch that it plays.

On a SONiC switch the tables come from a subagent behind snmpd. While it hangs, requests for them are never answered;
when it is dead they are not there; system and host groups answer on, for they are snmpd's own.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from collectors.simulator.ber import GET, GETBULK, NotReadError, Oid, Request, VarBind, read_request, write_message
from collectors.simulator.mib import Mib
from collectors.simulator.quirks import Quirks

#: an answer with more varbinds would not fit into a datagram
MOST_VARBINDS = 1_000
#: what SONiC's subagent serves: interfaces, routes, bridge, entity, sensors, Cisco's and Dell's tables, LLDP
TABLES: tuple[Oid, ...] = (
    (1, 0, 8802),
    (1, 3, 6, 1, 2, 1, 2),
    (1, 3, 6, 1, 2, 1, 4),
    (1, 3, 6, 1, 2, 1, 17),
    (1, 3, 6, 1, 2, 1, 31),
    (1, 3, 6, 1, 2, 1, 47),
    (1, 3, 6, 1, 2, 1, 99),
    (1, 3, 6, 1, 4, 1, 9),
    (1, 3, 6, 1, 4, 1, 6027),
)
_HEALTHY = Quirks()


class SilentError(Exception):
    """The agent gives no answer to this request."""


class Weaknesses(Protocol):
    """What an agent is told of its switch's weaknesses, as the factory knows them."""

    @property
    def quirks(self) -> Mapping[str, Quirks]:
        """Those that are always there, by the device's name."""
        ...

    @property
    def agents_dead(self) -> Container[str]:
        """Devices whose subagent is down."""
        ...


@dataclass(slots=True)
class Agent:
    """One device: what it says and which version it speaks. Its MIB may be exchanged while it is served."""

    name: str
    mib: Mib
    version: str
    profile: str
    #: makes the MIB anew when a quirk changes what is in it
    remake: Callable[[], Mib] | None = None
    _made: tuple[str, frozenset[str]] = field(default=("community", frozenset()), init=False)
    _host: tuple[Mib, Mib] | None = field(default=None, init=False)

    def read(self, factory: Weaknesses, oids: Sequence[Oid], now: float) -> list[VarBind]:
        """Answer a GET at `now` (epoch seconds).

        Raises:
            SilentError: the subagent hangs.
        """
        mib = self._present(factory, oids)
        return [(oid, mib.read(oid, now)) for oid in oids]

    def read_next(self, factory: Weaknesses, oids: Sequence[Oid], now: float) -> list[VarBind]:
        """Answer a GETNEXT.

        Raises:
            SilentError: the subagent hangs.
        """
        mib = self._present(factory, ())
        quirks = factory.quirks.get(self.name, _HEALTHY)
        found = [mib.read_next(oid, now, truncated=quirks.truncated_walks) for oid in oids]
        self._present(factory, [oid for oid, _ in found])
        return found

    def answer(self, factory: Weaknesses, message: bytes, community: bytes, now: float) -> bytes | None:
        """Return the answer to a v2c read, empty where there is none; None for what this agent reads elsewhere."""
        try:
            request = read_request(message)
        except NotReadError:
            return None
        if request.community != community or self.version != "2c":
            return None
        try:
            binds = self._binds(factory, request, now)
        except SilentError:
            return b""
        return write_message(0xA2, community, request.number, binds)

    def _binds(self, factory: Weaknesses, request: Request, now: float) -> list[VarBind]:
        if request.pdu == GET:
            return self.read(factory, request.oids, now)
        if request.pdu != GETBULK:
            return self.read_next(factory, request.oids, now)
        first = self.read_next(factory, request.oids[: request.non_repeaters], now)
        repeated = list(request.oids[request.non_repeaters :])
        room = MOST_VARBINDS // max(1, len(repeated))
        for _ in range(min(request.max_repetitions, room) if repeated else 0):
            found = self.read_next(factory, repeated, now)
            first += found
            repeated = [oid for oid, _ in found]
        return first

    def _present(self, factory: Weaknesses, oids: Sequence[Oid]) -> Mib:
        """Return what there is to read now; `oids` are those that the request touches."""
        quirks = factory.quirks.get(self.name, _HEALTHY)
        if self.remake is not None and (wanted := (quirks.vendor, frozenset(quirks.missing))) != self._made:
            self.mib, self._made = self.remake(), wanted
        if quirks.agent == "dead" or self.name in factory.agents_dead:
            return self._without_tables()
        if quirks.agent == "hung" and any(is_table(oid) for oid in oids):
            raise SilentError(self.name)
        return self.mib

    def _without_tables(self) -> Mib:
        if self._host is None or self._host[0] is not self.mib:
            self._host = (self.mib, self.mib.part(lambda oid: not is_table(oid)))
        return self._host[1]


def is_table(oid: Oid) -> bool:
    """Return whether SONiC's subagent serves this instance."""
    return any(oid[: len(table)] == table for table in TABLES)
