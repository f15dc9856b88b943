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
from collections.abc import Sequence
from dataclasses import dataclass

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, ProtocolError, Target
from collectors.modbus.address import READ_FUNCTIONS, Address
from collectors.modbus.gateway import Gateway, Link, LostError, StrayError, UnconnectedError

__all__ = ["Address", "Connection", "FailedSpanError", "NoTimeError", "RefusedSpanError", "UnreachedError", "Wire"]

#: transaction, protocol, length of what follows it, unit, function, first, number of values
_REQUEST = struct.Struct(">HHHBBHH")

#: these exceptions speak of the registers asked for
_REFUSALS = {1: "illegal function", 2: "illegal address", 3: "illegal value"}
#: these of a gateway that does not reach the unit
_UNREACHED = {10: "gateway path unavailable", 11: "no answer to the gateway"}
_FAILURES = {4: "device failure", 5: "acknowledge", 6: "busy", 7: "negative acknowledge", 8: "memory parity error"}


class RefusedSpanError(Exception):
    """The unit answers, but has not all of the registers asked for."""


class FailedSpanError(CollectError):
    """The unit answers, and could not read these registers this time."""


class UnreachedError(DeviceTimeoutError):
    """A gateway says that the unit does not answer."""


class NoTimeError(DeviceTimeoutError):
    """Time ran out before a whole request was made: nobody knows whether the unit would have answered."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How a device wants to be asked."""

    #: of one request
    timeout_s: float = 1.0
    #: quiet between an answer and the next request
    pause_s: float = 0.0
    #: after a time-out the connection is kept, for gateways that allow few of them
    keeps: bool = False


class Connection:
    """One device, asked over the connection of its address; what ended is opened anew when it is next needed."""

    def __init__(
        self, target: Target, timeout_s: float = 1.0, wire: Wire | None = None, gateway: Gateway | None = None
    ) -> None:
        """`gateway` is shared with other targets of the address; without one the connection is this device's own."""
        self.where = f"{target.name} {target.address}"
        self._wire = wire or Wire(timeout_s)
        self._gateway = gateway or Gateway(target.address)
        #: the connection that was asked last
        self._link: Link | None = None
        self._links = 0
        self.requests = 0

    @property
    def reconnects(self) -> int:
        """Return how often a connection took the place of another."""
        return max(self._links - 1, 0)

    async def open(self, timeout_s: float = float("inf")) -> None:
        """Connect unless connected.

        Raises:
            DeviceTimeoutError, DeviceRefusedError: no connection.
            NoTimeError: others of the gateway were asked all the time.
        """
        link = self._gateway.link
        if link is not None and link.is_open and link is self._link:
            return
        asked_at = asyncio.get_running_loop().time()
        left_s = await self._wait_for_turn(self.where, timeout_s)
        try:
            await self._connect(asked_at, left_s)
        finally:
            self._gateway.release()

    def close(self) -> None:
        """Close, unless others are asked over the same connection; again is harmless."""
        self._link = None
        self._gateway.leave(self)

    async def read(self, unit: int, address: Address, timeout_s: float = float("inf")) -> Sequence[int]:
        """Return the registers, or the bits as 0 and 1.

        Raises:
            RefusedSpanError: exceptions 1, 2, 3.
            FailedSpanError: exceptions 4 to 9, and codes that nobody knows.
            DeviceTimeoutError: no answer in time; UnreachedError: exceptions 10, 11.
            NoTimeError: `timeout_s` was too short for a turn and a whole request.
            DeviceRefusedError: no connection, or it was closed.
            ProtocolError: an answer to something else, or of another length.
        """
        what = f"{self.where}: unit {unit} {address}"
        asked_at = asyncio.get_running_loop().time()
        left_s = await self._wait_for_turn(what, timeout_s)
        try:
            async with asyncio.timeout(min(left_s, self._wire.timeout_s + self._gateway.pause_s)):
                link = self._gateway.link
                if link is None or link is not self._link or not link.is_usable:
                    link = await self._connect(asked_at, left_s)
                return _check(await self._exchange(link, unit, address), address, what)
        except TimeoutError as e:
            if not self._wire.keeps:
                self._gateway.drop()
            if left_s < self._wire.timeout_s:
                raise NoTimeError(f"{what}: cut short") from e
            raise DeviceTimeoutError(f"{what}: timeout") from e
        except LostError as e:
            self._gateway.drop()
            kind = ProtocolError if isinstance(e, StrayError) else DeviceRefusedError
            raise kind(f"{what}: {e}") from e
        except (ProtocolError, asyncio.CancelledError):
            self._gateway.drop()
            raise
        finally:
            self._gateway.release()

    async def _wait_for_turn(self, what: str, timeout_s: float) -> float:
        """Hold the gateway; return what time is left. Units: s."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        if self._link is None:
            self._gateway.join(self, self._wire.pause_s)
        try:
            await self._gateway.acquire(timeout_s)
        except TimeoutError as e:
            raise NoTimeError(f"{what}: the gateway was busy with its other devices") from e
        left_s = timeout_s - (loop.time() - asked_at)
        if left_s <= 0.0:  # to begin and give up at once would cost the others their connection
            self._gateway.release()
            raise NoTimeError(f"{what}: the gateway was busy with its other devices")
        return left_s

    async def _connect(self, asked_at: float, left_s: float) -> Link:
        try:
            link = await self._gateway.connect(asked_at, min(left_s, self._wire.timeout_s))
        except UnconnectedError as e:
            kind = DeviceTimeoutError if e.is_timeout else DeviceRefusedError
            raise kind(f"{self.where}: connect: {e.reason}") from e
        if link is not self._link:
            self._link = link
            self._links += 1
        return link

    async def _exchange(self, link: Link, unit: int, address: Address) -> bytes:
        if address.function not in READ_FUNCTIONS.values():
            raise ValueError(f"function {address.function} does not read")
        self.requests += 1
        return await self._gateway.ask(link, _REQUEST, unit, address.function, address.start, address.count)


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
