"""A TCP relay between a client and a server that keeps what passed, and whose plug can be pulled."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Wire:
    """Relay connections on a fixed port of 127.0.0.1 to a server's port; keep every byte of each direction."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        # It never listens: it keeps the port ours while the plug is pulled, and who connects then is refused.
        self._keeper = socket.socket()
        self._keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._keeper.bind(("127.0.0.1", 0))
        self.port: int = self._keeper.getsockname()[1]
        #: what clients sent, one buffer per connection
        self.sent: list[bytearray] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def plug(self) -> None:
        """Listen; again on the same port after `pull`."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port, reuse_port=True)

    async def pull(self) -> None:
        """Stop listening and break all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def close(self) -> None:
        """Give the port back, after `pull`."""
        self._keeper.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        kept = bytearray()
        self.sent.append(kept)
        ends, pumps = [writer], list[asyncio.Task[None]]()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
            ends.append(far_writer)
            pumps += [asyncio.create_task(_pump(*way)) for way in ((reader, far_writer, kept), (far_reader, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            # Nothing is awaited before both ends are closed: a cancellation may come here too.
            for end in ends:
                end.transport.abort()
            for pump in pumps:
                pump.cancel()
            closing = [end.wait_closed() for end in ends]
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*pumps, *closing, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray | None = None) -> None:
    while data := await reader.read(65_536):
        if kept is not None:
            kept += data
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def tapped(server_port: int) -> AsyncIterator[Wire]:
    """Relay to `server_port` while the block runs."""
    wire = Wire(server_port)
    await wire.plug()
    try:
        yield wire
    finally:
        await wire.pull()
        wire.close()
