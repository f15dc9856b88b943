"""The broker of the simulator: amqtt's, which takes its connections with it."""

import asyncio
from typing import Any

import amqtt.broker

#: longest wait for what a connection that was cut off still does
_END_S = 5.0


class Broker(amqtt.broker.Broker):  # type: ignore[misc]  # it ships no types
    """Close each connection once it is done with: amqtt leaves open what says no hello, or breaks as it closes it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._met: dict[asyncio.Task[Any] | None, asyncio.StreamWriter] = {}

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one client to its end."""
        task = asyncio.current_task()
        self._met[task] = writer
        try:
            await super().stream_connected(reader, writer, listener_name)
        finally:
            del self._met[task]
            writer.close()

    async def shutdown(self) -> None:
        """Stop, and cut off those that have not even said hello."""
        await super().shutdown()
        for writer in self._met.values():
            writer.transport.abort()
        if tasks := [task for task in self._met if task is not None]:
            await asyncio.wait(tasks, timeout=_END_S)
