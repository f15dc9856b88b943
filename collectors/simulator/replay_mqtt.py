"""A recording of MQTT messages, played by a broker: retained ones lie there, all others are told over and over.

A broker hands a message that is not retained only to those who listen already: so the publisher repeats itself, as a
building management system does, only faster.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from collectors.simulator.broker import Broker

_REPEAT_SECONDS = 0.1
#: in place of a number: the present time in milliseconds, for heartbeats and time stamps
NOW = "now"


@asynccontextmanager
async def played(
    recorded: Sequence[Mapping[str, Any]], port: int = 0, clock: Callable[[], float] = time.time
) -> AsyncIterator[str]:
    """Run a broker on a port of 127.0.0.1, 0 picks one, that tells the messages while the block runs; yield the URL."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    for message in recorded:
        if message.get("retain"):
            await broker.retain_message(None, message["topic"], _payload(message.get("payload"), clock()), 0)
    # The broker has no public way to tell the port that the system picked.
    port = broker._servers["default"].instance.sockets[0].getsockname()[1]
    values = [message for message in recorded if not message.get("retain")]
    task = asyncio.create_task(_tell(broker, values, clock), name="recorded messages")
    try:
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # What waits for listeners is told to nobody any more; the broker would complain of it.
        while not broker._broadcast_queue.empty():
            broker._broadcast_queue.get_nowait()
        await broker.shutdown()


async def _tell(broker: Broker, messages: Sequence[Mapping[str, Any]], clock: Callable[[], float]) -> None:
    while True:
        # What is told to nobody waits in the broker.
        for message in messages if broker.subscriptions else ():
            await broker.internal_message_broadcast(message["topic"], _payload(message.get("payload"), clock()), 0)
        await asyncio.sleep(_REPEAT_SECONDS)


def _payload(payload: Any, now: float) -> bytes:
    """Return a message's bytes: JSON of a mapping or list, text as it stands, nothing of null."""
    if payload is None:
        return b""
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, Mapping):
        payload = {key: round(now * 1e3) if value == NOW else value for key, value in payload.items()}
    return json.dumps(payload).encode()
