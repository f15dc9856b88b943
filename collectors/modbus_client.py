"""One Modbus TCP connection that can only read: addresses, types, time-outs, and exceptions mapped to our errors.

Source: Modbus Application Protocol V1.1b3, sections 6.1 to 6.4 and 7.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, ProtocolError, Target
from collectors.profile import Raw

#: table -> read function; there is no other way from here to a device
READ_FUNCTIONS: Mapping[str, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_TABLES = {function: table for table, function in READ_FUNCTIONS.items()}

#: type -> (registers, struct format)
_TYPES = {"u16": (1, ">H"), "i16": (1, ">h"), "u32": (2, ">I"), "i32": (2, ">i"), "u64": (4, ">Q"), "f32": (2, ">f")}

#: these exceptions speak of the registers asked for; all others speak of the unit
_REFUSALS = {1: "illegal function", 2: "illegal address", 3: "illegal value"}
_FAILURES = {4: "device failure", 5: "acknowledge", 6: "busy", 10: "gateway path unavailable", 11: "gateway: no answer"}


class RefusedSpanError(Exception):
    """The unit answers, but has not all of the registers asked for."""


@dataclass(frozen=True, slots=True)
class Address:
    """Neighbouring registers or bits of one table."""

    function: int
    start: int
    count: int

    def __str__(self) -> str:
        return f"{_TABLES[self.function]} {self.start}"


def parse_address(text: str, type_: str) -> Address:
    """Return where `text` ("holding:79", for strings "holding:24:16") points, with the registers of its type.

    Raises:
        ValueError: unknown table or type, or a number outside 0 to 65535.
    """
    table, _, rest = text.partition(":")
    number, _, length = rest.partition(":")
    if table not in READ_FUNCTIONS:
        raise ValueError(f"{text!r}: the table is one of {', '.join(READ_FUNCTIONS)}")
    if type_ != "string" and type_ not in _TYPES:
        raise ValueError(f"type {type_!r} is none of {', '.join(_TYPES)}, string")
    function = READ_FUNCTIONS[table]
    start, count = int(number), 1
    if function > 2:
        count = int(length) if type_ == "string" else _TYPES[type_][0]
    if start < 0 or not 0 < count <= 125 or start + count > 65536:
        raise ValueError(f"{text!r}: outside 0 to 65535, or not 1 to 125 registers")
    return Address(function, start, count)


def decode(values: Sequence[int], address: Address, type_: str, word_order: str) -> Raw:
    """Return the raw reading in these registers (or this bit); strings without trailing NUL and blanks."""
    if address.function <= 2:
        return values[0]
    if type_ == "string":
        return b"".join(v.to_bytes(2, "big") for v in values).rstrip(b"\0 ").decode("ascii", "replace")
    words = values if word_order == "big" else values[::-1]
    number: int | float = struct.unpack(_TYPES[type_][1], b"".join(w.to_bytes(2, "big") for w in words))[0]
    return number


class Connection:
    """One TCP connection to one device, one request in flight."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        self._where = f"{target.name} {target.address}"
        host, _, port = target.address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._timeout_s = timeout_s
        self._client: AsyncModbusTcpClient | None = None

    async def open(self) -> None:
        """Connect unless connected.

        Raises:
            DeviceTimeoutError, DeviceRefusedError: no connection.
        """
        if self._client is not None and self._client.connected:
            return
        self.close()
        # pymodbus gives up a connection after a few silent units, also when only some behind a gateway are dead, and
        # reconnects by itself: time-out, patience and reconnecting are ours.
        client = AsyncModbusTcpClient(
            self._host, port=self._port, retries=0, reconnect_delay=0, timeout=self._timeout_s * 4
        )
        client.set_max_no_responses(1_000_000)
        self._client = client
        try:
            async with asyncio.timeout(self._timeout_s):
                connected = await client.connect()
        except TimeoutError as e:
            self.close()
            raise DeviceTimeoutError(f"{self._where}: connect: timeout") from e
        if not connected:
            self.close()
            raise DeviceRefusedError(f"{self._where}: connect: refused or unreachable")

    def close(self) -> None:
        """Close; again is harmless."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def read(self, unit: int, address: Address, timeout_s: float) -> Sequence[int]:
        """Return the registers, or the bits as 0 and 1.

        Raises:
            RefusedSpanError: exceptions 1, 2, 3.
            CollectError: any other exception, no answer, a closed connection, a wrong length.
        """
        what = f"{self._where}: unit {unit} {address}"
        client = self._client
        if client is None or not client.connected:
            raise DeviceRefusedError(f"{what}: connection closed")
        reads: Mapping[int, Callable[..., Any]] = {
            1: client.read_coils,
            2: client.read_discrete_inputs,
            3: client.read_holding_registers,
            4: client.read_input_registers,
        }
        try:
            async with asyncio.timeout(min(timeout_s, self._timeout_s)):
                answer = await reads[address.function](address.start, count=address.count, device_id=unit)
        except TimeoutError as e:
            if not client.connected:
                raise DeviceRefusedError(f"{what}: connection closed") from e
            raise DeviceTimeoutError(f"{what}: timeout") from e
        except ModbusException as e:
            raise ProtocolError(f"{what}: {str(e)!r}") from e
        return _check(answer, address, what)


def _check(answer: ModbusPDU, address: Address, what: str) -> Sequence[int]:
    if answer.isError():
        code = answer.exception_code
        if code in _REFUSALS:
            raise RefusedSpanError(f"{what}: {_REFUSALS[code]}")
        raise CollectError(f"{what}: exception {code} ({_FAILURES.get(code, 'unknown')})")
    # Bits come in whole bytes; pymodbus passes a wrong byte count on as fewer registers.
    values = [int(bit) for bit in answer.bits[: address.count]] if address.function <= 2 else list(answer.registers)
    if answer.function_code != address.function or len(values) != address.count:
        raise ProtocolError(
            f"{what}: asked function {address.function} for {address.count} values, "
            f"came function {answer.function_code} with {len(values)}"
        )
    return values
