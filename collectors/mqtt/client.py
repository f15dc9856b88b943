"""One MQTT connection that only subscribes, kept up by a task of its own, and what was heard on it.

Source: OASIS MQTT 3.1.1, sections 3.2.2.3 (return codes) and 3.3 (PUBLISH).
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Self

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from collectors.collector import AuthenticationError, CollectError, DeviceRefusedError, DeviceTimeoutError, Target

logger = logging.getLogger(__name__)

_BACK_OFF_LIMIT_S = 30.0
#: most bytes of one message; metadata has some hundred
_MAX_PAYLOAD = 65_536
#: most malformed topics that are remembered until the next poll
_MAX_MALFORMED = 100
#: most topics, and most characters of one, that are remembered: a large site has some ten thousand
_MAX_TOPICS = 30_000
_MAX_TOPIC = 1024
#: most bytes of metadata that are remembered: of one topic some hundred
_MAX_METADATA = 32 << 20
#: most characters of a text of metadata, and most entries of a list
_MAX_TEXT, _MAX_ENTRIES = 256, 2000
#: a time stamp of the device counts when it is so near to our clock. Units: s
_CLOCK_S = 5.0
#: turns of the loop that a farewell needs, and some more
_TURNS = 5
#: return codes of SUBACK from here on are refusals
_DENIED = 128
#: return codes of CONNACK that a person must act on: MQTT 3.1.1, and their names in MQTT 5
_CREDENTIALS = (4, 5, 134, 135)


@dataclass(frozen=True, slots=True)
class Value:
    """The newest message of one value topic."""

    raw: object
    quality: object
    #: loop time at which it was true: of its own time stamp where that is to be believed, else of its arrival
    time: float
    #: who published it: the building system as "", an integration by its name
    publisher: str = ""


@dataclass(slots=True)
class Board:
    """What the broker has said since the connection came up; keys are the topics' tails."""

    #: loop time of the newest heartbeat, or of the connection
    heartbeat: float
    metadata: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    #: loop time of the newest heartbeat of each client of the building system, by tail
    heartbeats: dict[str, float] = field(default_factory=dict)
    #: heartbeats' metadata: tail -> the topics that it speaks for
    scopes: dict[str, str] = field(default_factory=dict)
    #: topics of messages that could not be read, since the last poll
    malformed: list[str] = field(default_factory=list)
    #: topic filters that the broker does not let us listen to
    denied: Sequence[str] = ()
    #: bytes of each topic's metadata as they came, and of all
    sizes: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def resize(self, tail: str, size: int) -> bool:
        """Count a topic's metadata of so many bytes, 0 for none; return whether there is room for it."""
        total = self.size - self.sizes.get(tail, 0) + size
        if size and total > _MAX_METADATA:
            return False
        self.size = total
        self.sizes.pop(tail, None)
        if size:
            self.sizes[tail] = size
        return True

    def refuse(self, topic: str) -> None:
        """Note a message that is not taken."""
        if len(self.malformed) < _MAX_MALFORMED:
            self.malformed.append(topic[:_MAX_TEXT])


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the broker."""

    topic: str
    payload: object
    #: it lay at the broker already
    is_retained: bool = False


@dataclass(frozen=True, slots=True)
class Topics:
    """What is subscribed to and how topics are read."""

    filters: Sequence[str]
    #: prefixes; what follows is the tail: objectType/pointType/anything
    metadata: str
    values: str
    #: likewise of values of integrations, whose name stands in place of the +; or ""
    integrations: str
    #: objectType/pointType of the heartbeat, or ""
    heartbeat: str
    #: objectType/pointType of the points that are asked for
    wanted: Collection[str]
    #: keys of metadata that are of use
    keys: Collection[str]

    def publisher(self, topic: str) -> tuple[str, str] | None:
        """Return who publishes this value and its tail; None for a topic of no value."""
        if topic.startswith(self.values):
            return "", topic.removeprefix(self.values)
        head, plus, rest = self.integrations.partition("+")
        if not plus or not topic.startswith(head):
            return None
        name, _, tail = topic.removeprefix(head).partition("/")
        is_value = bool(name) and f"/{tail}".startswith(rest)
        return (name, f"/{tail}".removeprefix(rest)) if is_value else None


def point_of(tail: str) -> str:
    """Return the objectType/pointType of a topic's tail; the rest is the publisher's own business."""
    return "/".join(tail.split("/", 2)[:2])


def _tls_context(target: Target) -> ssl.SSLContext | None:
    """Return how to check the broker and what to show it, as the options `tls`, `ca`, `cert`, `key` say."""
    options = target.options
    mode = options.get("tls", "off")
    if mode == "off":
        return None
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except OSError as e:
        raise AuthenticationError(f"{target.name} {target.address}: ca, cert or key: {str(e)!r}") from e
    if mode == "insecure":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Client(aiomqtt.Client):
    """aiomqtt's client, whose messages may be heard where they come in.

    Its queue has no end that fits: a flood fills the memory, or drops metadata. A topic that cannot be, no UTF-8 or
    with a wildcard, would end its connection and keep paho busy with that one message. And a connection whose greeting
    did not come, or was a refusal, would stay open, one more with each attempt.
    """

    hear: Callable[[Message], None] | None = None

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            # A cancelled one would raise in the library's callback and keep the socket open.
            self._connected = asyncio.Future()
            self._client.disconnect()
            for _ in range(_TURNS):  # of the loop, which writes the farewell and closes
                await asyncio.sleep(0)
            raise

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        try:
            if self.hear is None:
                super()._on_message(client, userdata, message)
            else:
                self.hear(Message(message.topic, message.payload, bool(message.retain)))
        except ValueError as e:
            logger.debug("%s:%s: message passed over: %s", self._hostname, self._port, e)


def make_client(target: Target, hear: Callable[[Message], None] | None = None) -> aiomqtt.Client:
    """Return a client for the target's broker, not yet connected; with `hear` its `messages` stay empty.

    Raises:
        AuthenticationError: a certificate or key cannot be read.
    """
    host, _, port = target.address.rpartition(":")
    client = _Client(
        host.strip("[]"),
        int(port),
        username=target.username or None,
        password=target.password.reveal() if target.password else None,
        # Some brokers refuse an empty one. 3.1.1 section 3.1.3.1: up to 23 letters and digits are taken by all; a fixed
        # one would have two collectors of one broker throw each other out for ever.
        identifier=f"tokenwatt{token_hex(6)}",
        timeout=target.timeout.total_seconds(),
        tls_context=_tls_context(target),
    )
    client.hear = hear
    return client


async def subscribe(client: aiomqtt.Client, target: Target, filters: Sequence[str]) -> Sequence[str]:
    """Subscribe to these topic filters; return those that the broker refuses.

    Raises:
        AuthenticationError: it refuses all of them.
    """
    codes = await client.subscribe([(topic, 0) for topic in filters])
    told = [getattr(code, "value", code) for code in codes]
    denied = [topic for topic, code in zip(filters, told, strict=False) if code >= _DENIED]
    if len(denied) == len(filters):
        raise AuthenticationError(
            f"{target.name} {target.address}: the broker refuses to subscribe {', '.join(denied)}: "
            f"give user {target.username!r} the right to read them"
        )
    return denied


def explain(target: Target, error: aiomqtt.MqttError) -> CollectError:
    """Return our error for the library's."""
    text = f"{target.name} {target.address}: {str(error)!r}"
    code = getattr(error, "rc", None)
    if isinstance(error, MqttConnectError) and getattr(code, "value", code) in _CREDENTIALS:
        return AuthenticationError(f"{text}; check user and password")
    if "CERTIFICATE" in text:
        return AuthenticationError(f"{text}; name its authority with ca=")
    return DeviceTimeoutError(text) if "timed out" in str(error) else DeviceRefusedError(text)


class Listener:
    """Listen to one broker; the first packet leaves with the first `ready`."""

    def __init__(self, target: Target, topics: Topics) -> None:
        self._target = target
        self._topics = topics
        self._task: asyncio.Task[None] | None = None
        self._error: CollectError | None = None
        #: the first attempt has come to an end, good or bad
        self._settled = asyncio.Event()
        self._board: Board | None = None
        #: told of each message once it stands on the board, with its topic
        self.heard: Callable[[Board, str], None] | None = None

    async def ready(self, timeout_s: float) -> Board:
        """Return what has been heard; the first call starts to listen and waits for the connection.

        Raises:
            CollectError: there is no connection.
        """
        if self._task is not None and self._task.done():
            ended, self._task = self._task, None
            ended.result()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"mqtt {self._target.name}")
        where = f"{self._target.name} {self._target.address}"
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError as e:
            raise DeviceTimeoutError(f"{where}: connect: timeout") from e
        if self._board is None:
            raise self._error or DeviceRefusedError(f"{where}: not connected")
        return self._board

    async def close(self) -> None:
        """Leave the broker; again is harmless."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        """Listen for ever, reconnecting after 1, 2, 4 .. 30 s."""
        wait_s = 1.0
        while True:
            try:
                await self._listen()
            except aiomqtt.MqttError as e:
                self._error = explain(self._target, e)
            except CollectError as e:
                self._error = e
            if self._board is not None:
                wait_s = 1.0
            self._board = None
            self._settled.set()
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _BACK_OFF_LIMIT_S)

    async def _listen(self) -> None:
        board = Board(heartbeat=_now())
        async with make_client(self._target, lambda message: self._take(board, message)) as client:
            board.denied = await subscribe(client, self._target, self._topics.filters)
            board.heartbeat = _now()
            self._board = board
            self._settled.set()
            async for _ in client.messages:  # none comes: it waits for the connection's end
                pass

    def _take(self, board: Board, message: Message) -> None:
        take(board, self._topics, message, _now(), time.time())
        if self.heard is not None:
            # What goes wrong there must not come back into the library's reading.
            asyncio.get_running_loop().call_soon(self.heard, board, message.topic)


def take(board: Board, topics: Topics, message: Message, now: float, clock: float) -> None:
    """Put a message on the board; `now` is the loop's time, `clock` seconds since the epoch. Nothing makes it raise."""
    topic = message.topic
    if topic.startswith(topics.metadata):
        _take_metadata(board, topics, message, now)
        return
    found = topics.publisher(topic)
    if found is None:
        return
    publisher, tail = found
    point = point_of(tail)
    if point == topics.heartbeat and not publisher and _is_room(board.heartbeats, tail):
        board.heartbeat = board.heartbeats[tail] = now
    if point not in topics.wanted:
        return
    body = _parse(message.payload)
    if body is None or not _is_room(board.values, tail):
        board.refuse(topic)
        return
    told = _time(body.get("timestamp"), now, clock, is_retained=message.is_retained)
    board.values[tail] = Value(_scalar(body.get("value")), _scalar(body.get("quality")), told, publisher)


def _take_metadata(board: Board, topics: Topics, message: Message, now: float) -> None:
    tail = message.topic.removeprefix(topics.metadata)
    point = point_of(tail)
    if point not in topics.wanted and point != topics.heartbeat:
        return
    if message.payload == b"":
        board.metadata.pop(tail, None)
        board.scopes.pop(tail, None)
        board.resize(tail, 0)
        return
    body = _parse(message.payload)
    if body is not None and point == topics.heartbeat:
        if isinstance(scope := _scalar(body.get("scope")), str) and scope and _is_room(board.scopes, tail):
            board.scopes[tail] = scope
            board.heartbeats.setdefault(tail, now)
    elif body is None or not _is_room(board.metadata, tail) or not board.resize(tail, _size(message)):
        board.refuse(message.topic)
    else:
        kept = {key: _bounded(body[key]) for key in topics.keys if key in body}
        if board.metadata.get(tail) != kept:
            board.metadata[tail] = kept


def _size(message: Message) -> int:
    return len(message.payload) if isinstance(message.payload, bytes | bytearray) else 0


def _is_room(known: Mapping[str, object], tail: str) -> bool:
    return tail in known or (len(known) < _MAX_TOPICS and len(tail) <= _MAX_TOPIC)


def _time(stamp: object, now: float, clock: float, *, is_retained: bool) -> float:
    """Return the loop time of a value: a stamp that is near our clock, or of a message that lay there, is believed."""
    if isinstance(stamp, bool) or not isinstance(stamp, int | float) or not 0.0 < stamp < 1e15:
        return now
    age = clock - stamp / 1e3
    return now - max(0.0, age) if is_retained or abs(age) <= _CLOCK_S else now


def _scalar(value: object) -> object:
    """Return a JSON value that takes no memory; long text is cut, unprintable text empty, all else its type."""
    if isinstance(value, str):
        return value[:_MAX_TEXT] if value.isprintable() else ""
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**64):
        return value
    return f"<{type(value).__name__}>"


def _bounded(value: object) -> object:
    if isinstance(value, list):
        return [_bounded_entry(entry) for entry in value[:_MAX_ENTRIES]]
    return _scalar(value)


def _bounded_entry(entry: object) -> object:
    if isinstance(entry, dict):
        return {str(key)[:_MAX_TEXT]: _scalar(value) for key, value in list(entry.items())[:8]}
    return _scalar(entry)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _parse(payload: object) -> Mapping[str, Any] | None:
    if not isinstance(payload, bytes | bytearray) or len(payload) > _MAX_PAYLOAD:
        return None
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
