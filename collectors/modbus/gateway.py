"""The TCP connection to one Modbus address, and the turns of those who share it.

A gateway serves a slow line and allows few connections. So all targets of one host:port are asked over one connection,
one request at a time, each in the order in which it came: a device of seventy units waits as long for its next request
as a meter does. What is no answer to the request in flight ends the connection.
"""

import asyncio
import struct
from collections import deque
from ipaddress import ip_address

#: transaction, protocol, length of what follows it, unit
HEADER = struct.Struct(">HHHB")
#: unit, function and a code at least; 253 bytes of PDU and the unit at most
_SHORTEST, _LONGEST = 3, 254
#: requests given up whose answers may still come on a connection that is kept
_REMEMBERED = 64
#: time after which the next address of a host name is tried beside the one before
_NEXT_ADDRESS_S = 0.25

_Ids = tuple[int, int]


class LostError(Exception):
    """The connection ended while an answer was awaited; the message is why."""


class StrayError(LostError):
    """It ended because what came is no answer to the request."""


class UnconnectedError(Exception):
    """There is no connection: the reason, and whether time ran out."""

    def __init__(self, reason: str, is_timeout: bool) -> None:
        super().__init__(reason, is_timeout)
        self.reason = reason
        self.is_timeout = is_timeout


class Link(asyncio.Protocol):
    """The bytes of one connection: frames in, each matched with what is awaited."""

    def __init__(self) -> None:
        self.is_open = False
        self._buffer = b""
        self._awaited: tuple[_Ids, asyncio.Future[bytes]] | None = None
        self._given_up: deque[_Ids] = deque(maxlen=_REMEMBERED)
        self._transport: asyncio.Transport | None = None

    @property
    def is_usable(self) -> bool:
        """Return whether it may be asked: open, and without the beginning of what nobody waits for."""
        return self.is_open and not self._buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is awaited."""
        self._end(LostError("connection closed"))

    def data_received(self, data: bytes) -> None:
        """Take whole frames; what belongs to no request ends the connection."""
        self._buffer += data
        while self.is_open and len(self._buffer) >= HEADER.size:
            transaction, protocol, length, unit = HEADER.unpack_from(self._buffer)
            if protocol != 0 or not _SHORTEST <= length <= _LONGEST:
                self._end(StrayError(f"{self._buffer[: HEADER.size].hex()} begins no Modbus frame"))
                return
            end = HEADER.size - 1 + length
            if len(self._buffer) < end:
                return
            pdu, self._buffer = self._buffer[HEADER.size : end], self._buffer[end:]
            self._take((transaction, unit), pdu)

    def _take(self, ids: _Ids, pdu: bytes) -> None:
        if self._awaited is not None and self._awaited[0] == ids:
            future, self._awaited = self._awaited[1], None
            if not future.done():
                future.set_result(pdu)
        elif ids in self._given_up:
            self._given_up.remove(ids)
        else:
            asked = "nothing" if self._awaited is None else "transaction {} of unit {}".format(*self._awaited[0])
            self._end(StrayError(f"came transaction {ids[0]} of unit {ids[1]}, asked was {asked}"))

    def _end(self, error: LostError) -> None:
        self.is_open = False
        awaited, self._awaited = self._awaited, None
        if awaited is not None and not awaited[1].done():
            awaited[1].set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, frame: bytes, ids: _Ids) -> bytes:
        """Send a request and return the PDU that answers it.

        Raises:
            LostError: the connection ended, or what came is no answer to it.
        """
        if not self.is_open or self._transport is None:
            raise LostError("connection closed")
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._awaited = (ids, future)
        try:
            self._transport.write(frame)
            return await future
        finally:
            if self._awaited is not None:
                self._awaited = None
                self._given_up.append(ids)

    def close(self) -> None:
        """Close; again is harmless."""
        self._end(LostError("closed by us"))


class Gateway:
    """One host:port: one connection at a time, shared by all who ask there."""

    def __init__(self, address: str) -> None:
        """`address` is host:port, an IPv6 host in brackets."""
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        # A name may stand for two addresses of which one is dead: the other is tried meanwhile.
        self._next_address_s = None if _is_address(self._host) else _NEXT_ADDRESS_S
        self._gate = asyncio.Lock()
        self._users: set[int] = set()
        #: why there was no connection, and the loop time of the attempt's end
        self._failure: tuple[float, UnconnectedError] | None = None
        self._transaction = 0
        self._quiet_until = 0.0
        #: longest quiet that one of those who ask wants between an answer and the next request. Units: s
        self.pause_s = 0.0
        self.link: Link | None = None

    def join(self, user: object, pause_s: float) -> None:
        """Count one who asks here; again is harmless."""
        self._users.add(id(user))
        self.pause_s = max(self.pause_s, pause_s)

    def leave(self, user: object) -> None:
        """Forget one who asked here; the last one closes the connection."""
        self._users.discard(id(user))
        if not self._users:
            self.drop()

    def drop(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self.link is not None:
            self.link.close()
            self.link = None

    async def acquire(self, timeout_s: float) -> None:
        """Wait for one's turn; it ends with `release`.

        Raises:
            TimeoutError: others had theirs all the time.
        """
        if not self._gate.locked():
            await self._gate.acquire()
            return
        async with asyncio.timeout(timeout_s):
            await self._gate.acquire()

    def release(self) -> None:
        """End one's turn."""
        self._gate.release()

    async def connect(self, asked_at: float, timeout_s: float) -> Link:
        """Return the connection, opened unless it is usable; to be called in one's turn.

        An attempt that failed since `asked_at` (loop time) counts for all who waited for it.

        Raises:
            UnconnectedError: no connection.
        """
        if self.link is not None and self.link.is_usable:
            return self.link
        if self._failure is not None and self._failure[0] > asked_at:
            raise UnconnectedError(*self._failure[1].args)
        self.drop()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, self.link = await loop.create_connection(
                    Link, self._host, self._port, happy_eyeballs_delay=self._next_address_s
                )
        except TimeoutError as e:
            raise self._failed("timeout", True) from e
        except (OSError, UnicodeError) as e:  # a host name with an empty label is no text of a name for the resolver
            reason = (e.strerror if isinstance(e, OSError) else None) or str(e)
            raise self._failed(f"refused or unreachable: {reason!r}", False) from e
        return self.link

    def _failed(self, reason: str, is_timeout: bool) -> "UnconnectedError":
        error = UnconnectedError(reason, is_timeout)
        self._failure = asyncio.get_running_loop().time(), error
        return error

    async def ask(self, link: Link, request: struct.Struct, unit: int, *rest: int) -> bytes:
        """Send a request once the line is quiet, and return the PDU that answers it.

        Raises:
            LostError: the connection ended, or what came is no answer to it.
        """
        loop = asyncio.get_running_loop()
        if (wait := self._quiet_until - loop.time()) > 0:
            await asyncio.sleep(wait)
        self._transaction = self._transaction % 0xFFFF + 1
        try:
            return await link.ask(request.pack(self._transaction, 0, 6, unit, *rest), (self._transaction, unit))
        finally:
            if self.pause_s:
                self._quiet_until = loop.time() + self.pause_s


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Gateways:
    """The gateways of one collector."""

    def __init__(self) -> None:
        self._known: dict[str, Gateway] = {}

    def at(self, address: str) -> Gateway:
        """Return the gateway of one host:port."""
        return self._known.setdefault(address.lower(), Gateway(address))
