"""Work for the pollers' process that a test can name: a child process imports it."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from storage.point import Point


async def tell_without_pause(_: Path, give: Callable[[Sequence[Point]], None], stopped: asyncio.Event) -> None:
    """Give a point that holds the process id every millisecond."""
    number = 0
    while not stopped.is_set():
        number += 1
        give([Point("collector", {"collector": str(os.getpid())}, {"points_written_total": number}, number)])
        await asyncio.sleep(0.001)
