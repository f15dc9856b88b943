"""What a service tells between polls: server-sent events that say which resource to read at once.

An event is a hint, never a reading: the resource itself is read again. So an event without `MemberId`, `EventType` or
`OriginOfCondition`, or with a time that nobody can read, does no harm.

Source: DMTF DSP0266 1.20, section 13.6; registries Environmental 1.4 and Power 1.2; WHATWG HTML, server-sent events.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from collectors.collector import CollectError
from collectors.redfish.client import NoResourceError, Session

logger = logging.getLogger(__name__)

_SERVICE = "/redfish/v1/EventService"
#: largest event that is taken; larger ones are passed over
_LARGEST = 256 << 10
_MOST_EVENTS = 1000
#: time between two rounds of reading: a storm of events costs no more than fast polls. Units: s
CALM_S = 1.0
BACK_OFF_LIMIT_S = 60.0

#: beginning of a message's name -> measurements whose resources it speaks of
_SPEAKS_OF: Mapping[str, frozenset[str]] = {
    prefix: frozenset(measurements.split())
    for prefixes, measurements in (
        ("Leak", "leak"),
        ("Pump FlowRate Pressure FluidLevel FluidQuality Valve Filter Reservoir CoolingUnit", "coolant"),
        ("PrimaryCoolantConnector SecondaryCoolantConnector", "coolant"),
        ("Temperature", "coolant environment"),
        ("Humidity", "environment"),
        ("Fan", "fan"),
        ("Voltage Current Power Frequency Circuit Outlet Breaker", "power bus"),
        ("LossOfInputPower LineInputPower Chassis", "power bus"),
    )
    for prefix in prefixes.split()
}


@dataclass(frozen=True, slots=True)
class Hint:
    """What an event bids us read: the resource it comes from, or all that tell of these measurements."""

    origin: str
    measurements: frozenset[str]

    def concerns(self, uri: str, measurements: Collection[str], known: Collection[str]) -> bool:
        """Return whether the resource at `uri` is meant; `known` are all that are read."""
        if self.origin in known:
            return uri == self.origin
        return not self.measurements.isdisjoint(measurements)


class EventParser:
    """Cuts a stream of bytes into the data of its events."""

    def __init__(self) -> None:
        #: the beginning of a line, in the parts that it came in
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, part: bytes) -> Iterator[str]:
        """Yield the data of each event that this part completes; events that are too large are passed over."""
        first, *lines = part.split(b"\n")
        if lines:
            lines = [b"".join((*self._rest, first)), *lines]
            first = lines.pop()
            self._rest, self._rest_size = [], 0
        for line in lines:
            yield from self._take(line)
        self._rest.append(first)
        self._rest_size += len(first)
        if self._rest_size > _LARGEST:
            self._rest, self._rest_size, self._size = [], 0, _LARGEST + 1

    def _take(self, line: bytes) -> Iterator[str]:
        if not line.strip():
            yield from self._end()
        elif line.startswith(b"data:"):
            self._size += len(line)
            if self._size > _LARGEST:
                self._data.clear()
            else:
                self._data.append(line[5:].removesuffix(b"\r").removeprefix(b" "))

    def _end(self) -> Iterator[str]:
        data, size = self._data, self._size
        self._data, self._size = [], 0
        if data and size <= _LARGEST:
            yield b"\n".join(data).decode("utf-8", "replace")


def read_hints(text: str) -> Sequence[Hint]:
    """Return what the records of one event bid us read; nothing where it is no event, or says nothing of use."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    records = event.get("Events") if isinstance(event, Mapping) else None
    hints = (_hint(one) for one in (records if isinstance(records, list) else [])[:_MOST_EVENTS])
    return [hint for hint in hints if hint is not None]


def _hint(record: object) -> Hint | None:
    if not isinstance(record, Mapping):
        return None
    name = record.get("MessageId")
    link = record.get("OriginOfCondition")
    uri = link.get("@odata.id") if isinstance(link, Mapping) else link
    origin = uri.rstrip("/") if isinstance(uri, str) else ""
    measurements = _measurements(name.rsplit(".", 1)[-1]) if isinstance(name, str) else frozenset()
    return Hint(origin, measurements) if origin or measurements else None


def _measurements(message: str) -> frozenset[str]:
    if "Leak" in message:  # also a vendor's own LiquidLeakDetected
        return frozenset(("leak",))
    return next((own for prefix, own in _SPEAKS_OF.items() if message.startswith(prefix)), frozenset())


class Watch:
    """Listens to one service's events until closed; reads again what they name, once per `calm_s` at most."""

    def __init__(
        self,
        session: Session,
        read_again: Callable[[Sequence[Hint]], Awaitable[None]],
        calm_s: float = CALM_S,
        back_off_s: float = 1.0,
    ) -> None:
        """`back_off_s` is the first pause before a lost stream is opened again; it doubles up to a minute."""
        self._session = session
        self._read_again = read_again
        self._calm_s = calm_s
        self._back_off_s = back_off_s
        self._pending: dict[Hint, None] = {}
        self._woken = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Listen from now on; again does nothing."""
        if not self._tasks:
            self._tasks = (asyncio.create_task(self._listen()), asyncio.create_task(self._answer()))

    async def close(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = ()

    async def _listen(self) -> None:
        failures = 0
        while (uri := await self._uri()) is not None:
            if uri:
                failures = 0 if await self._follow(uri) else failures
            await asyncio.sleep(min(BACK_OFF_LIMIT_S, self._back_off_s * 2.0 ** min(failures, 10)))
            failures += 1

    async def _uri(self) -> str | None:
        """Return where events are told; None where the service has no such place, "" where it does not say now."""
        try:
            service = await self._session.get(_SERVICE)
        except NoResourceError:
            return None
        except CollectError as error:
            logger.debug("%s", error)
            return ""
        uri = service.get("ServerSentEventUri")
        return uri if isinstance(uri, str) and uri else None

    async def _follow(self, uri: str) -> bool:
        """Take the events of one stream until it ends; return whether any came."""
        parser, came, size = EventParser(), False, 0
        try:
            async with self._session.stream(uri) as parts:
                async for part in parts:
                    came = True
                    for text in parser.feed(part):
                        self._take(read_hints(text))
                    size += len(part)
                    if size > _LARGEST:
                        # A flood waits at the device, not in our processor.
                        size = 0
                        await asyncio.sleep(self._calm_s)
        except CollectError as error:
            logger.debug("%s", error)
        return came

    def _take(self, hints: Sequence[Hint]) -> None:
        self._pending.update(dict.fromkeys(hints[: _MOST_EVENTS - len(self._pending)]))
        if self._pending:
            self._woken.set()

    async def _answer(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            hints, self._pending = list(self._pending), {}
            await self._read_again(hints)
            await asyncio.sleep(self._calm_s)
