"""One Modbus TCP connection that can only read: one request in flight, answers matched to it exactly.

The wire is our own: a request is twelve bytes, and pymodbus' client passes over answers that are not the one asked for,
takes one whose transaction id is 0, reads a wrong byte count as fewer registers, and costs twice the CPU (72 us against
36 us per read on one core, the peer's share included). pymodbus' server is the peer of the tests.

What is no answer to the request in flight is never taken. An answer that a request given up may still get is passed
over; any other stray one, a frame that is no Modbus, or one of another length ends the connection, and the next request
opens a new one. So does a time-out, unless `after_timeout: keep`: some gateways give a late answer under the ids of the
request that came after it, which only a closed connection tells apart.

Source: Modbus Application Protocol V1.1b3, sections 6.1 to 6.4 and 7; Modbus Messaging on TCP/IP V1.0b, section 3.1.3.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, ProtocolError, Target
from collectors.modbus_address import READ_FUNCTIONS, Address

__all__ = ["Address", "Connection", "FailedSpanError", "RefusedSpanError", "UnreachedError", "Wire"]

#: transaction, protocol, length of what follows it, unit
_HEADER = struct.Struct(">HHHB")
_REQUEST = struct.Struct(">HHHBBHH")
#: unit, function and a code at least; 253 bytes of PDU and the unit at most
_SHORTEST, _LONGEST = 3, 254
#: requests given up whose answers may still come on a connection that is kept
_REMEMBERED = 64

#: these exceptions speak of the registers asked for
_REFUSALS = {1: "illegal function", 2: "illegal address", 3: "illegal value"}
#: these of a gateway that does not reach the unit
_UNREACHED = {10: "gateway path unavailable", 11: "no answer to the gateway"}
_FAILURES = {4: "device failure", 5: "acknowledge", 6: "busy", 7: "negative acknowledge", 8: "memory parity error"}

_Ids = tuple[int, int]


class RefusedSpanError(Exception):
    """The unit answers, but has not all of the registers asked for."""


class FailedSpanError(CollectError):
    """The unit answers, and could not read these registers this time."""


class UnreachedError(DeviceTimeoutError):
    """A gateway says that the unit does not answer."""


class _LostError(Exception):
    """The connection ended while an answer was awaited; the message is why."""


class _StrayError(_LostError):
    """It ended because what came is no answer to the request."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How a device wants to be asked."""

    #: of one request
    timeout_s: float = 1.0
    #: quiet between an answer and the next request
    pause_s: float = 0.0
    #: after a time-out the connection is kept, for gateways that allow few of them
    keeps: bool = False


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
        self._end(_LostError("connection closed"))

    def data_received(self, data: bytes) -> None:
        """Take whole frames; what belongs to no request ends the connection."""
        self._buffer += data
        while self.is_open and len(self._buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not _SHORTEST <= length <= _LONGEST:
                self._end(_StrayError(f"{self._buffer[: _HEADER.size].hex()} begins no Modbus frame"))
                return
            end = _HEADER.size - 1 + length
            if len(self._buffer) < end:
                return
            pdu, self._buffer = self._buffer[_HEADER.size : end], self._buffer[end:]
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
            self._end(_StrayError(f"came transaction {ids[0]} of unit {ids[1]}, asked was {asked}"))

    def _end(self, error: _LostError) -> None:
        self.is_open = False
        awaited, self._awaited = self._awaited, None
        if awaited is not None and not awaited[1].done():
            awaited[1].set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, frame: bytes, ids: _Ids) -> bytes:
        """Send a request and return the PDU that answers it.

        Raises:
            _LostError: the connection ended, or what came is no answer to it.
        """
        if not self.is_open or self._transport is None:
            raise _LostError("connection closed")
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
        self._end(_LostError("closed by us"))


class Connection:
    """One device asked over one connection at a time; what ended is opened anew when it is next needed."""

    def __init__(self, target: Target, timeout_s: float = 1.0, wire: Wire | None = None) -> None:
        self.where = f"{target.name} {target.address}"
        host, _, port = target.address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._wire = wire or Wire(timeout_s)
        self._link: Link | None = None
        self._transaction = 0
        self._free_at = 0.0
        self._opened = 0
        self.requests = 0

    @property
    def timeout_s(self) -> float:
        """Return the time-out of one request. Units: s."""
        return self._wire.timeout_s

    @property
    def reconnects(self) -> int:
        """Return how often a connection was opened anew."""
        return max(self._opened - 1, 0)

    async def open(self, timeout_s: float = float("inf")) -> None:
        """Connect unless connected.

        Raises:
            DeviceTimeoutError, DeviceRefusedError: no connection.
        """
        if self._link is not None and self._link.is_usable:
            return
        self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(timeout_s, self._wire.timeout_s)):
                _, self._link = await loop.create_connection(Link, self._host, self._port)
        except TimeoutError as e:
            raise DeviceTimeoutError(f"{self.where}: connect: timeout") from e
        except OSError as e:
            reason = e.strerror or str(e)
            raise DeviceRefusedError(f"{self.where}: connect: refused or unreachable: {reason!r}") from e
        self._opened += 1

    def close(self) -> None:
        """Close; again is harmless."""
        if self._link is not None:
            self._link.close()
            self._link = None

    async def read(self, unit: int, address: Address, timeout_s: float = float("inf")) -> Sequence[int]:
        """Return the registers, or the bits as 0 and 1.

        Raises:
            RefusedSpanError: exceptions 1, 2, 3.
            FailedSpanError: exceptions 4 to 9, and codes that nobody knows.
            DeviceTimeoutError: no answer in time; UnreachedError: exceptions 10, 11.
            DeviceRefusedError: no connection, or it was closed.
            ProtocolError: an answer to something else, or of another length.
        """
        what = f"{self.where}: unit {unit} {address}"
        try:
            async with asyncio.timeout(min(timeout_s, self._wire.timeout_s + self._wire.pause_s)):
                return _check(await self._exchange(unit, address), address, what)
        except TimeoutError as e:
            if not self._wire.keeps:
                self.close()
            raise DeviceTimeoutError(f"{what}: timeout") from e
        except _LostError as e:
            self.close()
            kind = ProtocolError if isinstance(e, _StrayError) else DeviceRefusedError
            raise kind(f"{what}: {e}") from e
        except (ProtocolError, asyncio.CancelledError):
            self.close()
            raise

    async def _exchange(self, unit: int, address: Address) -> bytes:
        await self.open()
        assert self._link is not None
        loop = asyncio.get_running_loop()
        if self._wire.pause_s and (wait := self._free_at - loop.time()) > 0:
            await asyncio.sleep(wait)
        self._transaction = self._transaction % 0xFFFF + 1
        frame = _request(self._transaction, unit, address)
        self.requests += 1
        try:
            return await self._link.ask(frame, (self._transaction, unit))
        finally:
            self._free_at = loop.time() + self._wire.pause_s


def _request(transaction: int, unit: int, address: Address) -> bytes:
    """Return the frame of a read; nothing else can be made here."""
    if address.function not in READ_FUNCTIONS.values():
        raise ValueError(f"function {address.function} does not read")
    return _REQUEST.pack(transaction, 0, 6, unit, address.function, address.start, address.count)


def _check(pdu: bytes, address: Address, what: str) -> Sequence[int]:
    """Return the values of an answer that is exactly what was asked for."""
    function, code = pdu[0], pdu[1]
    if function == address.function | 0x80 and len(pdu) == 2:
        raise _exception(code, what)
    size = (address.count + 7) // 8 if address.function <= 2 else 2 * address.count
    if function != address.function or code != size or len(pdu) != size + 2:
        raise ProtocolError(
            f"{what}: asked function {address.function} for {address.count} values in {size} bytes, "
            f"came function {function} with {code} bytes in {len(pdu) - 2}"
        )
    if address.function <= 2:
        return [pdu[2 + place // 8] >> place % 8 & 1 for place in range(address.count)]
    return struct.unpack_from(f">{address.count}H", pdu, 2)


def _exception(code: int, what: str) -> Exception:
    if code in _REFUSALS:
        return RefusedSpanError(f"{what}: {_REFUSALS[code]}")
    if code in _UNREACHED:
        return UnreachedError(f"{what}: exception {code} ({_UNREACHED[code]})")
    return FailedSpanError(f"{what}: exception {code} ({_FAILURES.get(code, 'unknown')})")
