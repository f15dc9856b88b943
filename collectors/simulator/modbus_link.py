"""Modbus TCP as a server that is read: frames in, values or exceptions out, from plain tables.

Source: Modbus Application Protocol V1.1b3, sections 4, 6.1 to 6.4 and 7; Modbus Messaging on TCP/IP V1.0b, section 3.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping

#: read function -> table
TABLES: Mapping[int, str] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, GATEWAY_NO_ANSWER = 0x01, 0x02, 0x03, 0x0B

#: transaction, protocol, length (of what follows it), unit
_HEADER = struct.Struct(">HHHB")

#: table -> number -> register or bit
Unit = Mapping[str, Mapping[int, int]]


def answer_read(unit: Unit | None, pdu: bytes) -> bytes:
    """Return the answer to one request: values, or function + 0x80 and an exception code; None is no such unit."""
    function = pdu[0]
    if function not in TABLES:
        return bytes((function | 0x80, ILLEGAL_FUNCTION))
    if unit is None:
        return bytes((function | 0x80, GATEWAY_NO_ANSWER))
    if len(pdu) != 5:
        return bytes((function | 0x80, ILLEGAL_VALUE))
    start, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= (2000 if function <= 2 else 125):
        return bytes((function | 0x80, ILLEGAL_VALUE))
    table = unit.get(TABLES[function], {})
    if any(number not in table for number in range(start, start + count)):
        return bytes((function | 0x80, ILLEGAL_ADDRESS))
    values = [table[number] for number in range(start, start + count)]
    if function <= 2:
        packed = sum(bit << place for place, bit in enumerate(values)).to_bytes((count + 7) // 8, "little")
    else:
        packed = struct.pack(f">{count}H", *values)
    return bytes((function, len(packed))) + packed


class Link(asyncio.Protocol):
    """One client's connection; `answer` gets unit and PDU, and gives the PDU to send or None for silence.

    `delay` says by how many seconds an answer is late.
    """

    def __init__(
        self, answer: Callable[[int, bytes], bytes | None], links: set["Link"], delay: Callable[[], float] = float
    ) -> None:
        self._answer = answer
        self._delay = delay
        self._links = links
        self._buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._links.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.transport = None
        self._links.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer every whole frame; what is no Modbus ends the connection."""
        self._buffer += data
        while self.transport is not None and len(self._buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= 254:
                self.transport.abort()
                return
            end = _HEADER.size - 1 + length
            if len(self._buffer) < end:
                return
            pdu, self._buffer = self._buffer[_HEADER.size : end], self._buffer[end:]
            answer = self._answer(unit, pdu)
            if answer is not None:
                self._send(_HEADER.pack(transaction, 0, len(answer) + 1, unit) + answer)

    def _send(self, frame: bytes) -> None:
        if delay := self._delay():
            asyncio.get_running_loop().call_later(delay, self._write, frame)
        else:
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        if self.transport is not None:
            self.transport.write(frame)
