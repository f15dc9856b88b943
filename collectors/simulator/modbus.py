"""Power shelves and half of the coolant distribution units, each a Modbus TCP server with its maker's registers.

Registers are computed from the factory's state when they are asked for, with the device's own scaling. A unit id that
no power supply has is answered as gateways do, with exception 0x0B.

The server is our own, because the one of pymodbus 3.16 sends a late answer under the transaction id of the request that
came after it: a slow device would hand out the values of another unit.

Source: Modbus Application Protocol V1.1b3; facebook/openbmc rackmon2 map orv3_hpr_psu; Supermicro LCS-SCDU-200AR001
register list.
"""

import asyncio
import math
import struct
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from collectors.simulator.factory import Factory
from collectors.simulator.service import Device, Service

#: above this many GPUs shelves are polled every 10 s
_LARGE = 1024
_MAINS_HERTZ = 50.0
_POWER_FACTOR = 507 / 512
_CDU_VOLTS = 400.0

#: transaction, protocol, length (of what follows it), unit
_HEADER = struct.Struct(">HHHB")
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _GATEWAY_NO_ANSWER = 0x01, 0x02, 0x03, 0x0B

Registers = Mapping[int, int]


class _Device(Protocol):
    """What one server answers from: the registers of a unit, or None for a unit that is not there."""

    name: str

    def registers(self, unit: int) -> Registers | None: ...

    def discrete_inputs(self, unit: int) -> Registers: ...


def _u16(value: float) -> int:
    return min(max(round(value), 0), 0xFFFF)


def _i16(value: float) -> int:
    return min(max(round(value), -0x8000), 0x7FFF) & 0xFFFF


class _ShelfDevice:
    """One ORv3 HPR power shelf; registers 52 to 118 of each supply, those that a poller reads filled."""

    def __init__(self, factory: Factory, index: int) -> None:
        self._factory = factory
        self._index = index
        shelf = factory.layout.shelves[index]
        self.name = shelf.name
        self._slots = {unit: slot for slot, unit in enumerate(shelf.units)}

    def registers(self, unit: int) -> Registers | None:
        slot = self._slots.get(unit)
        if slot is None:
            return None
        shelves, index = self._factory.state.shelves, self._index
        input_watts = float(shelves.psu_input_watts[index, slot])
        output_watts = float(shelves.psu_output_watts[index, slot])
        input_volts = shelves.input_volts
        bus_volts = float(shelves.bus_volts[index])
        alarm = 0 if shelves.psu_ok[index, slot] else 1 << 0 | 1 << 8
        celsius = float(shelves.inlet_celsius[index])
        registers = dict.fromkeys(range(52, 119), 0)
        registers |= {
            60: alarm,
            65: _u16(input_watts * 8),
            66: _u16(input_watts / input_volts / _POWER_FACTOR * 1024),
            69: _i16(celsius * 128),
            70: _i16((celsius + 12.0) * 128),
            79: _u16(bus_volts * 1024),
            80: _u16(output_watts / bus_volts * 64),
            82: _u16(output_watts * 8),
            84: _u16(_MAINS_HERTZ),
            86: _u16(_POWER_FACTOR * 512),
            87: _u16(input_watts * 8),
            88: _u16(input_volts * 64),
            89: _u16(input_watts / input_volts / _POWER_FACTOR * 1024),
        }
        return registers

    def discrete_inputs(self, unit: int) -> Registers:
        return {}


class _CduDevice:
    """One Supermicro CDU: unit 1, float32 with the low word first, two leak inputs."""

    def __init__(self, factory: Factory, index: int) -> None:
        self._factory = factory
        self._index = index
        self.name = factory.layout.cdus[index].name

    def registers(self, unit: int) -> Registers | None:
        if unit != 1:
            return None
        registers = dict.fromkeys(range(5000, 5040), 0)
        for number, value in self._values().items():
            high, low = struct.unpack(">HH", struct.pack(">f", value))
            registers[number], registers[number + 1] = low, high
        return registers

    def discrete_inputs(self, unit: int) -> Registers:
        return dict.fromkeys(range(1, 24), 0) | {2: int(self._factory.state.cdus.leak[self._index] > 0)}

    def _values(self) -> Mapping[int, float]:
        """Return each reading by its register, in the device's units."""
        cdus, index = self._factory.state.cdus, self._index
        return {
            5000: cdus.tcs_supply_celsius[index],
            5004: cdus.tcs_return_celsius[index],
            5010: cdus.tcs_supply_pascals[index] / 1e3,
            5014: cdus.tcs_return_pascals[index] / 1e3,
            5018: cdus.filter_in_pascals[index] / 1e3,
            5020: cdus.filter_out_pascals[index] / 1e3,
            5022: cdus.tcs_flow_liters_per_second[index] * 60,
            5024: cdus.ambient_celsius[index],
            5026: cdus.humidity_ratio[index] * 100,
            5028: cdus.dew_point_celsius[index],
            5030: cdus.ph[index],
            5032: cdus.conductivity_siemens_per_meter[index] * 1e4,
            5034: cdus.turbidity_ntu[index],
            5036: cdus.power_watts[index] / 1e3,
            5038: cdus.power_watts[index] / (math.sqrt(3) * _CDU_VOLTS * _POWER_FACTOR),
        }


class _Link(asyncio.Protocol):
    """One client's connection: read requests in, answers or exceptions out, in order."""

    def __init__(self, factory: Factory, device: _Device, links: set["_Link"]) -> None:
        self._factory = factory
        self._device = device
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
        while len(self._buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= 254:
                if self.transport is not None:
                    self.transport.abort()
                return
            end = _HEADER.size - 1 + length
            if len(self._buffer) < end:
                return
            pdu, self._buffer = self._buffer[_HEADER.size : end], self._buffer[end:]
            if self._device.name not in self._factory.silent:
                answer = _answer(self._device, unit, pdu)
                self._send(_HEADER.pack(transaction, 0, len(answer) + 1, unit) + answer)

    def _send(self, frame: bytes) -> None:
        delay = self._factory.slow.get(self._device.name, 0.0)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._write, frame)
        else:
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        if self.transport is not None:
            self.transport.write(frame)


def _answer(device: _Device, unit: int, pdu: bytes) -> bytes:
    """Return the answer to one request: values, or function + 0x80 and an exception code."""
    function = pdu[0]
    if function not in (1, 2, 3, 4):
        return bytes((function | 0x80, _ILLEGAL_FUNCTION))
    registers = device.registers(unit)
    if registers is None:
        return bytes((function | 0x80, _GATEWAY_NO_ANSWER))
    if len(pdu) != 5:
        return bytes((function | 0x80, _ILLEGAL_VALUE))
    start, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= (2000 if function <= 2 else 125):
        return bytes((function | 0x80, _ILLEGAL_VALUE))
    table: Mapping[int, int] = device.discrete_inputs(unit) if function == 2 else registers if function == 3 else {}
    if any(number not in table for number in range(start, start + count)):
        return bytes((function | 0x80, _ILLEGAL_ADDRESS))
    values = [table[number] for number in range(start, start + count)]
    if function == 2:
        packed = sum(bit << place for place, bit in enumerate(values)).to_bytes((count + 7) // 8, "little")
    else:
        packed = struct.pack(f">{count}H", *values)
    return bytes((function, len(packed))) + packed


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Serve each power shelf and each CDU with protocol modbus on its own port of 127.0.0.1."""
    layout = factory.layout
    devices: list[tuple[_Device, str, float]] = [
        (_ShelfDevice(factory, index), "ocp_hpr_shelf", 5.0 if layout.gpus <= _LARGE else 10.0)
        for index in range(len(layout.shelves))
    ]
    devices += [
        (_CduDevice(factory, index), "supermicro_scdu", 5.0)
        for index, cdu in enumerate(layout.cdus)
        if cdu.protocol == "modbus"
    ]
    links: set[_Link] = set()
    servers: list[asyncio.Server] = []
    found: list[Device] = []
    for device, profile, interval in devices:
        server = await asyncio.get_running_loop().create_server(partial(_Link, factory, device, links), "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        found.append(Device(device.name, f"modbus://127.0.0.1:{port}", profile, interval))

    async def close() -> None:
        for server in servers:
            server.close()
        for link in list(links):
            if link.transport is not None:
                link.transport.abort()
        for server in servers:
            await server.wait_closed()

    return Service(tuple(found), close)
