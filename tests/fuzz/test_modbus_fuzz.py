"""Malformed Modbus answers by the hundred thousand: nothing crashes, nothing that cannot be true is stored.

Six units stand behind one gateway. In each round the four in the middle answer damaged frames, and the poll goes its
real way: bytes into the connection, frames, registers, points. The units at both ends must bring what they always
bring, and a round later, all sound again, every unit must. Each round depends on its number alone; a failure names it.
Environment: TOKENWATT_FUZZ_CASES the number of damaged answers (10000; all: `make fuzz`), TOKENWATT_FUZZ_CASE one
round to run alone.

Beside it a few hundred go over a real socket.
"""

import asyncio
import math
import os
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from modbus_bus import MemoryLoop, Request, frame, registers, run_in_memory

from collectors.collector import CollectError, PollResult, Target
from collectors.modbus.address import Address
from collectors.modbus.client import Connection, RefusedSpanError, Wire
from collectors.modbus.collector import ModbusCollector, open_collector
from collectors.profile import Profile
from storage.schema import MEASUREMENTS

CASES = int(os.environ.get("TOKENWATT_FUZZ_CASES", "10000"))
ONLY = os.environ.get("TOKENWATT_FUZZ_CASE")
CHUNKS = 3
#: share of the damaged answers that go through whole polls; the rest end at the connection
POLLED = 0.3
SOCKET_ROUNDS = 40
#: rounds that one collector sees: what units refused keeps its spans small from there on
BLOCK = 6
#: after that long a silent unit is asked again, and what was refused too
REST_S = 601.0

UNITS, DAMAGED = range(1, 7), range(2, 6)
#: registers 0 to 10: f32 volts, u16 percent, i16 amperes, u16 state, u64 joules, u16 alarms, u16 tenths of a kelvin
SOUND = (0x4248, 0x0000, 87, 0xFFF6, 1, 0, 0, 1, 0, 0b101, 2982)
WHOLE = Address(3, 0, len(SOUND))
SOUND_FIELDS = {
    "voltage_volts": 50.0,
    "charge_ratio": 87 * 0.01,
    "current_amperes": -10.0,
    "state": 1,
    "energy_joules": 65536.0,
    "temperature_celsius": 2982 * 0.1 - 273.15,
}
#: what another unit says: plausible, and never this one's
FOREIGN = (0x4249, 0x0000, 88, 0xFFF7, 2, 0, 0, 2, 0, 0b111, 2992)
#: raw registers that a decoder may stumble over
SPECIAL = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FC0, 0x7F80, 0xFF80, 0x7F7F, 0x0001, 0x8001, 0x4248)

PROFILE = Profile.model_validate(
    {
        "profile": "fuzzed",
        "model": "own",
        "kind": "bbu",
        "protocol": "modbus",
        "source": "this test",
        "transport": {"timeout": "1s", "retries": 1},
        "groups": [
            {
                "each": {"units": list(UNITS)},
                "tags": {"unit": "{unit}"},
                "points": [
                    {"to": "battery.voltage_volts", "at": "holding:0", "type": "f32"},
                    {"to": "battery.charge_ratio", "at": "holding:2", "unit": "%"},
                    {"to": "battery.current_amperes", "at": "holding:3", "type": "i16"},
                    {"to": "battery.state", "at": "holding:4", "enum": {0: 0, 1: 1, 2: 2, 3: 3}},
                    {"to": "battery.energy_joules", "at": "holding:5", "type": "u64"},
                    {"to": "alarm_bits.active", "at": "holding:9", "flags": {0: "{unit}-low", 2: "{unit}-hot"}},
                    {"to": "battery.temperature_celsius", "at": "holding:10", "scale": 0.1, "unit": "K"},
                ],
            }
        ],
    }
)

Random = random.Random


def whole(request: Request) -> bytes:
    """Return the sound answer to a request for all registers or some."""
    transaction, unit, pdu = request
    start, count = struct.unpack(">HH", pdu[1:])
    return frame(transaction, unit, registers(3, *SOUND[start : start + count]))


def _values(request: Request, chance: Random) -> Sequence[bytes | None]:
    count = struct.unpack(">HH", request[2][1:])[1]
    made = [chance.choice(SPECIAL) if chance.random() < 0.5 else chance.getrandbits(16) for _ in range(count)]
    return [frame(request[0], request[1], registers(3, *made))]


def _flipped(request: Request, chance: Random) -> Sequence[bytes | None]:
    wire = bytearray(whole(request))
    for _ in range(chance.randint(1, 4)):
        wire[chance.randrange(len(wire))] ^= 1 << chance.randrange(8)
    return [bytes(wire)]


def _cut(request: Request, chance: Random) -> Sequence[bytes | None]:
    wire = whole(request)
    return [wire[: chance.randrange(len(wire))]]


def _trailing(request: Request, chance: Random) -> Sequence[bytes | None]:
    return [whole(request) + chance.randbytes(chance.randint(1, 30))]


def _doubled(request: Request, chance: Random) -> Sequence[bytes | None]:
    return [whole(request), whole(request)]


def _pieces(request: Request, chance: Random) -> Sequence[bytes | None]:
    wire = whole(request)
    at = chance.randrange(1, len(wire))
    return [wire[:at], wire[at:]]


def _exception(request: Request, chance: Random) -> Sequence[bytes | None]:
    code = chance.choice((*range(13), chance.randrange(256)))
    return [frame(request[0], request[1], bytes((chance.choice((0x83, 0x83, 0x83, 0x84, 0x81, 0x80, 0xFF)), code)))]


def _foreign(request: Request, chance: Random) -> Sequence[bytes | None]:
    transaction = chance.choice(
        (request[0], 0, request[0] - 1 & 0xFFFF, request[0] + 1 & 0xFFFF, chance.getrandbits(16))
    )
    unit = chance.choice((request[1], 0, 1, 6, chance.randrange(256)))
    unit = unit ^ 1 if (transaction, unit) == request[:2] else unit
    return [frame(transaction, unit, registers(3, *FOREIGN))]


def _other_function(request: Request, chance: Random) -> Sequence[bytes | None]:
    return [frame(request[0], request[1], registers(chance.randrange(256), *SOUND))]


def _other_count(request: Request, chance: Random) -> Sequence[bytes | None]:
    return [
        frame(request[0], request[1], registers(3, *(chance.getrandbits(16) for _ in range(chance.randrange(125)))))
    ]


def _other_byte_count(request: Request, chance: Random) -> Sequence[bytes | None]:
    pdu = bytearray(registers(3, *SOUND))
    pdu[1] = chance.randrange(256)
    return [frame(request[0], request[1], bytes(pdu))]


def _other_length(request: Request, chance: Random) -> Sequence[bytes | None]:
    wire = bytearray(whole(request))
    wire[4:6] = struct.pack(">H", chance.choice((0, 1, 2, 3, 254, 255, 0xFFFF, chance.getrandbits(16))))
    return [bytes(wire)]


def _noise(request: Request, chance: Random) -> Sequence[bytes | None]:
    return [chance.randbytes(chance.randint(1, 300))]


def _nothing(request: Request, chance: Random) -> Sequence[bytes | None]:
    return []


def _closed(request: Request, chance: Random) -> Sequence[bytes | None]:
    return [None]


def _cut_and_closed(request: Request, chance: Random) -> Sequence[bytes | None]:
    return [*_cut(request, chance), None]


Damage = Callable[[Request, Random], Sequence[bytes | None]]
DAMAGES: Sequence[Damage] = (
    *(_values, _values, _flipped, _cut, _trailing, _doubled, _pieces, _exception, _exception, _foreign),
    *(_other_function, _other_count, _other_byte_count, _other_length, _noise, _nothing, _closed, _cut_and_closed),
)


class Gateway:
    """Answers soundly, but in a damaged round the units in the middle: each its first request, others by chance."""

    def __init__(self) -> None:
        self.chance: Random | None = None
        self.damaged = 0
        self._done: set[int] = set()
        self.damages = DAMAGES

    def damage(self, number: int | None) -> None:
        self.chance = None if number is None else Random(number)
        self._done = set()

    def answer(self, request: Request) -> Sequence[bytes | None]:
        unit = request[1]
        if self.chance is None or unit not in DAMAGED or (unit in self._done and self.chance.random() < 0.1):
            return [whole(request)]
        self._done.add(unit)
        self.damaged += 1
        return self.chance.choice(self.damages)(request, self.chance)


def make(timeout: str = "1s", port: int = 502) -> ModbusCollector:
    target = Target("gw-1", "modbus", f"127.0.0.1:{port}", timeout=timedelta(seconds=30), options={"timeout": timeout})
    made = open_collector(target, PROFILE)
    assert isinstance(made, ModbusCollector)
    return made


def check_plausible(result: PollResult) -> None:
    for point in result.points:
        for name, value in point.fields.items():
            field = MEASUREMENTS[point.measurement].fields[name]
            assert not isinstance(value, str)
            assert math.isfinite(value), (point, name)
            assert field.low is None or value >= field.low, (point, name)
            assert field.high is None or value <= field.high, (point, name)


def check_units(result: PollResult, units: Sequence[int]) -> None:
    found: Mapping[str, Mapping[str, object]] = {
        point.tags["unit"]: point.fields for point in result.points if point.measurement == "battery"
    }
    bits = {point.tags["bit"]: point.fields["active"] for point in result.points if point.measurement == "alarm_bits"}
    for unit in units:
        assert found[str(unit)] == SOUND_FIELDS, unit
        assert (bits[f"{unit}-low"], bits[f"{unit}-hot"]) == (1, 1)


async def one_round(collector: ModbusCollector, gateway: Gateway, number: int, rest: Callable[[], None]) -> None:
    """Poll with damaged answers, twice, and once with sound ones."""
    gateway.damage(number)
    for _ in range(2):
        damaged = await collector.poll(1)
        check_plausible(damaged)
        check_units(damaged, (1, 6))
        rest()
    gateway.damage(None)
    sound = await collector.poll(2)
    check_units(sound, list(UNITS))
    assert sound.missing == ()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_damaged_answers_store_nothing_implausible_and_disturb_no_neighbour(chunk: int) -> None:
    gateway = Gateway()

    async def work(loop: MemoryLoop) -> None:
        collector = make()
        number = first = chunk * 1_000_000
        while gateway.damaged < POLLED * CASES / CHUNKS and (ONLY is None or number <= int(ONLY)):
            if number % BLOCK == 0:
                await collector.aclose()
                collector = make()
            if ONLY is None or first <= int(ONLY) // BLOCK * BLOCK <= number:
                try:
                    await one_round(collector, gateway, number, lambda: loop.pass_time(REST_S))
                except (AssertionError, CollectError, KeyError) as e:
                    raise AssertionError(f"TOKENWATT_FUZZ_CASE={number}: {e}") from e
            number += 1
        await collector.aclose()

    run_in_memory(gateway.answer, work)


async def read_soundly(connection: Connection) -> Sequence[int]:
    """Return what a neighbour says; what arrives late may cost it one request, not two."""
    with suppress(CollectError):
        return await connection.read(1, WHOLE)
    return await connection.read(1, WHOLE)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_damaged_answer_is_refused_or_whole_and_the_next_one_is_right(keeps: bool) -> None:
    gateway = Gateway()

    async def work(loop: MemoryLoop) -> None:
        connection = Connection(Target("gw-1", "modbus", "127.0.0.1:502"), wire=Wire(1.0, 0.0, keeps))
        number = 0
        while gateway.damaged < (1 - POLLED) * CASES / 2:
            number += 1
            gateway.damage(number)
            with suppress(CollectError, RefusedSpanError):
                values = await connection.read(3, WHOLE)
                assert len(values) == len(SOUND), number
                assert tuple(values) != FOREIGN, number
            gateway.damage(None)
            assert tuple(await read_soundly(connection)) == SOUND, number
        connection.close()

    run_in_memory(gateway.answer, work)


async def test_damaged_answers_over_a_real_socket_disturb_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway()
    # Those that time alone may end are played in memory.
    ended_by_time = (_nothing, _cut, _other_length, _flipped, _noise)
    gateway.damages = [each for each in DAMAGES if each not in ended_by_time]
    rested = 0.0

    def rest() -> None:
        nonlocal rested
        rested += REST_S

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                pdu = await reader.readexactly(length - 1)
                for piece in gateway.answer((transaction, unit, pdu)):
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort()

    loop = asyncio.get_running_loop()
    for module in ("collectors.modbus.collector", "collectors.modbus.reader"):
        monkeypatch.setattr(f"{module}.now", lambda: loop.time() + rested)
    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    collector = make("20s", server.sockets[0].getsockname()[1])
    try:
        for number in range(SOCKET_ROUNDS):
            await one_round(collector, gateway, number, rest)
    finally:
        await collector.aclose()
        server.close()
        await server.wait_closed()
    assert gateway.damaged >= 4 * SOCKET_ROUNDS
