"""Modbus TCP peers that say what a test wants: on a real port, and in memory on a loop whose clock jumps."""

import asyncio
import selectors
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")

#: one request: transaction, unit, PDU
Request = tuple[int, int, bytes]
#: what comes back for a request: pieces of bytes as they arrive, None closes the connection
Answer = Callable[[Request], Sequence[bytes | None]]

_HEADER = struct.Struct(">HHHB")


def frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    """Return an answer as it stands on the wire."""
    return _HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu


def registers(function: int, *values: int) -> bytes:
    """Return the PDU that carries registers."""
    return struct.pack(f">BB{len(values)}H", function, 2 * len(values), *values)


def all_but(silent: int, asked: list[int]) -> Callable[[int, bytes], Awaitable[bytes | None]]:
    """Return an `answer` of one register, 7, by all units but a silent one; `asked` takes what units were asked."""

    async def answer(unit: int, pdu: bytes) -> bytes | None:
        asked.append(unit)
        return None if unit == silent else registers(3, 7)

    return answer


def all_but_in_memory(silent: int, asked: list[int]) -> Answer:
    """Return what `all_but` does for `run_in_memory`, where a time-out costs no time and none comes by chance."""

    def answer(request: Request) -> Sequence[bytes]:
        transaction, unit, _ = request
        asked.append(unit)
        return [] if unit == silent else [frame(transaction, unit, registers(3, 7))]

    return answer


@asynccontextmanager
async def answering(answer: Callable[[int, bytes], Awaitable[bytes | None]]) -> AsyncIterator[int]:
    """Serve on a port of 127.0.0.1, which is yielded: `answer(unit, pdu)` gives the PDU to send, or None for silence.

    A ConnectionError that it raises ends that connection.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while True:
                    transaction, _, length, unit = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                    pdu = await answer(unit, await reader.readexactly(length - 1))
                    if pdu is not None:
                        writer.write(frame(transaction, unit, pdu))
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


class _Jumping(selectors.DefaultSelector):
    """Let the time pass that the loop would wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "all wait for ever"
        self.now += max(timeout, 0.0)
        return super().select(0)


class _Pipe(asyncio.Transport):
    """One connection: what is written is answered on the next turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, answer: Answer) -> None:
        super().__init__()
        self._loop, self._protocol, self._answer = loop, protocol, answer
        self._is_open = True

    def write(self, data: Any) -> None:
        transaction, _, _, unit = _HEADER.unpack_from(data)
        for piece in self._answer((transaction, unit, bytes(data[_HEADER.size :]))):
            self._loop.call_soon(self._deliver, piece)

    def _deliver(self, piece: bytes | None) -> None:
        if piece is None:
            self.abort()
        elif self._is_open:
            self._protocol.data_received(piece)

    def abort(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.call_soon(self._protocol.connection_lost, None)

    close = abort


class MemoryLoop(asyncio.SelectorEventLoop):
    """A loop that connects to `answer` alone."""

    def __init__(self, answer: Answer) -> None:
        self._clock = _Jumping()
        super().__init__(self._clock)
        self._peer = answer

    def time(self) -> float:
        return self._clock.now

    def pass_time(self, seconds: float) -> None:
        self._clock.now += seconds

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        protocol = protocol_factory()
        pipe = _Pipe(self, protocol, self._peer)
        protocol.connection_made(pipe)
        return pipe, protocol


def run_in_memory(answer: Answer, work: Callable[[MemoryLoop], Coroutine[Any, Any, T]]) -> T:
    """Return what `work` returns, with `answer` at the other end of every connection."""
    loop = MemoryLoop(answer)
    try:
        return loop.run_until_complete(work(loop))
    finally:
        loop.close()
