"""One connection: whose answer is taken, when it is opened anew, how it is paced."""

import asyncio
import struct

import pytest
from modbus_bus import MemoryLoop, Request, frame, registers, run_in_memory

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, ProtocolError, Target
from collectors.modbus.client import Address, Connection, FailedSpanError, RefusedSpanError, UnreachedError, Wire

TARGET = Target("cdu-3", "modbus", "10.0.0.7:502")
TWO = Address(3, 10, 2)


def error_of(*pieces: bytes | None, address: Address = TWO) -> Exception:
    """Return what a read raises that is answered so; the request is transaction 1 of unit 9."""

    async def work(loop: MemoryLoop) -> Exception:
        connection = Connection(TARGET)
        with pytest.raises((CollectError, RefusedSpanError)) as caught:
            await connection.read(9, address)
        connection.close()
        return caught.value

    return run_in_memory(lambda _: pieces, work)


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (
            frame(2, 9, registers(3, 1, 2)),
            ProtocolError,
            "came transaction 2 of unit 9, asked was transaction 1",
        ),
        (frame(0, 9, registers(3, 1, 2)), ProtocolError, "came transaction 0 of unit 9"),
        (frame(1, 8, registers(3, 1, 2)), ProtocolError, "came transaction 1 of unit 8"),
        (frame(1, 9, registers(4, 1, 2)), ProtocolError, "came function 4"),
        (frame(1, 9, registers(3, 1)), ProtocolError, "with 2 bytes in 2"),
        (frame(1, 9, registers(3, 1, 2, 3)), ProtocolError, "with 6 bytes in 6"),
        (frame(1, 9, registers(3, 1, 2) + b"\0"), ProtocolError, "with 4 bytes in 5"),
        (frame(1, 9, b"\x83\x02\x00"), ProtocolError, "came function 131"),
        (frame(1, 9, b"\x84\x02"), ProtocolError, "came function 132"),
        (b"HTTP/1.1 400 Bad Request\r\n", ProtocolError, "485454502f312e begins no Modbus frame"),
        (b"\0\1\0\0\0\2\x09\x83", ProtocolError, "begins no Modbus frame"),
        (None, DeviceRefusedError, "connection closed"),
        (frame(1, 9, registers(3, 1, 2))[:9], DeviceTimeoutError, "timeout"),
        (frame(1, 9, b"\x83\x01"), RefusedSpanError, "illegal function"),
        (frame(1, 9, b"\x83\x02"), RefusedSpanError, "illegal address"),
        (frame(1, 9, b"\x83\x03"), RefusedSpanError, "illegal value"),
        (frame(1, 9, b"\x83\x04"), FailedSpanError, r"exception 4 \(device failure\)"),
        (frame(1, 9, b"\x83\x06"), FailedSpanError, r"exception 6 \(busy\)"),
        (frame(1, 9, b"\x83\x77"), FailedSpanError, r"exception 119 \(unknown\)"),
        (frame(1, 9, b"\x83\x0a"), UnreachedError, r"exception 10 \(gateway path unavailable\)"),
        (frame(1, 9, b"\x83\x0b"), UnreachedError, r"exception 11 \(no answer to the gateway\)"),
    ],
)
def test_what_is_no_answer_to_the_request_is_an_error_that_says_so(
    answer: bytes | None, kind: type[Exception], reason: str
) -> None:
    error = error_of(answer)
    assert type(error) is kind
    assert error.args
    with pytest.raises(kind, match=rf"cdu-3 10\.0\.0\.7:502: unit 9 holding 10: .*{reason}"):
        raise error


def test_bits_are_unpacked_from_the_lowest_on() -> None:
    async def work(loop: MemoryLoop) -> list[int]:
        connection = Connection(TARGET)
        values = list(await connection.read(9, Address(2, 0, 10)))
        connection.close()
        return values

    packed = frame(1, 9, bytes((2, 2, 0b1000_0101, 0b10)))
    assert run_in_memory(lambda _: [packed[:8], packed[8:]], work) == [1, 0, 1, 0, 0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(("keeps", "reconnects"), [(False, 1), (True, 0)])
def test_a_late_answer_is_never_taken_for_the_next_one(keeps: bool, reconnects: int) -> None:
    held: list[bytes] = []

    def late(request: Request) -> list[bytes]:
        transaction, unit, _ = request
        if unit == 1:
            held.append(frame(transaction, unit, registers(3, 666, 666)))
            return []
        return [*held, frame(transaction, unit, registers(3, 7, 8))]

    async def work(loop: MemoryLoop) -> tuple[list[int], int]:
        connection = Connection(TARGET, wire=Wire(1.0, 0.0, keeps))
        with pytest.raises(DeviceTimeoutError):
            await connection.read(1, TWO)
        try:
            values = await connection.read(2, TWO)
        except ProtocolError:
            # On a new connection an old answer is a stranger: it ends that one too.
            held.clear()
            values = await connection.read(2, TWO)
        return list(values), connection.reconnects

    values, seen = run_in_memory(late, work)
    assert values == [7, 8]
    assert seen >= reconnects
    assert keeps is (seen == 0)


def test_a_doubled_answer_costs_a_connection_and_no_wrong_value() -> None:
    def doubled(request: Request) -> list[bytes]:
        transaction, unit, _ = request
        return [frame(transaction, unit, registers(3, unit, unit))] * 2

    async def work(loop: MemoryLoop) -> tuple[list[list[int]], int]:
        connection = Connection(TARGET)
        values = []
        for unit in (1, 2, 3):
            values.append(list(await connection.read(unit, TWO)))
            await asyncio.sleep(0)
        return values, connection.reconnects

    assert run_in_memory(doubled, work) == ([[1, 1], [2, 2], [3, 3]], 2)


def test_a_pause_passes_between_an_answer_and_the_next_request() -> None:
    sent: list[float] = []

    async def work(loop: MemoryLoop) -> None:
        connection = Connection(TARGET, wire=Wire(1.0, pause_s=0.02))
        for _ in range(3):
            await connection.read(1, TWO)
        loop.pass_time(5.0)
        await connection.read(1, TWO)
        connection.close()

    def answer(request: Request) -> list[bytes]:
        sent.append(asyncio.get_running_loop().time())
        return [frame(request[0], request[1], registers(3, 1, 2))]

    run_in_memory(answer, work)
    assert sent == pytest.approx([0.0, 0.02, 0.04, 5.04])


def test_a_poll_that_is_cut_off_leaves_no_connection_that_waits_for_its_answer() -> None:
    async def work(loop: MemoryLoop) -> int:
        connection = Connection(TARGET)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.read(1, TWO)
        with pytest.raises(DeviceTimeoutError):
            await connection.read(1, TWO)
        return connection.reconnects

    assert run_in_memory(lambda _: [], work) == 1


def test_only_reads_can_be_built() -> None:
    sent: list[bytes] = []

    async def work(loop: MemoryLoop) -> None:
        connection = Connection(TARGET)
        for function in (0, 5, 6, 8, 15, 16, 22, 23, 43):
            with pytest.raises(ValueError, match=f"function {function} does not read"):
                await connection.read(1, Address(function, 0, 1))
        connection.close()

    run_in_memory(lambda request: sent.append(struct.pack(">B", request[1])) or [], work)
    assert sent == []
