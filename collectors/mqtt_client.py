"""One MQTT connection that only subscribes, kept up by a task of its own, and what was heard on it.

Source: OASIS MQTT 3.1.1, sections 3.2.2.3 (return codes) and 3.3 (PUBLISH).
"""

import asyncio
import json
import ssl
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from collectors.collector import AuthenticationError, CollectError, DeviceRefusedError, DeviceTimeoutError, Target

_BACK_OFF_LIMIT_S = 30.0
#: most bytes of one message; metadata has some hundred
_MAX_PAYLOAD = 65_536
#: most malformed topics that are remembered until the next poll
_MAX_MALFORMED = 100
#: return codes of CONNACK that a person must act on: MQTT 3.1.1, and their names in MQTT 5
_CREDENTIALS = (4, 5, 134, 135)


@dataclass(frozen=True, slots=True)
class Value:
    """The newest message of one value topic."""

    raw: object
    quality: object
    #: loop time of its arrival
    arrived: float


@dataclass(slots=True)
class Board:
    """What the broker has said since the connection came up; keys are the topics' tails."""

    #: loop time of the newest heartbeat, or of the connection
    heartbeat: float
    metadata: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    #: topics of messages that could not be read, since the last poll
    malformed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Topics:
    """What is subscribed to and how topics are read."""

    filters: Sequence[str]
    #: prefixes; what follows is the tail: objectType/pointType/anything
    metadata: str
    values: str
    #: objectType/pointType of the heartbeat, or ""
    heartbeat: str
    #: objectType/pointType of the points that are asked for
    wanted: Collection[str]


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


def make_client(target: Target) -> aiomqtt.Client:
    """Return a client for the target's broker, not yet connected.

    Raises:
        AuthenticationError: a certificate or key cannot be read.
    """
    host, _, port = target.address.rpartition(":")
    return aiomqtt.Client(
        host.strip("[]"),
        int(port),
        username=target.username or None,
        password=target.password.reveal() if target.password else None,
        timeout=target.timeout.total_seconds(),
        tls_context=_tls_context(target),
    )


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

    async def ready(self, timeout_s: float) -> Board:
        """Return what has been heard; the first call starts to listen and waits for the connection.

        Raises:
            CollectError: there is no connection.
        """
        if self._task is not None and self._task.done():
            self._task.result()
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
        async with make_client(self._target) as client:
            await client.subscribe([(topic, 0) for topic in self._topics.filters])
            self._board = Board(heartbeat=_now())
            self._settled.set()
            async for message in client.messages:
                self._take(self._board, str(message.topic), message.payload)

    def _take(self, board: Board, topic: str, payload: object) -> None:
        topics = self._topics
        is_metadata = topic.startswith(topics.metadata)
        if not is_metadata and not topic.startswith(topics.values):
            return
        tail = topic.removeprefix(topics.metadata if is_metadata else topics.values)
        point = point_of(tail)
        if point == topics.heartbeat and not is_metadata:
            board.heartbeat = _now()
        if point not in topics.wanted:
            return
        if is_metadata and payload == b"":
            board.metadata.pop(tail, None)
            return
        body = _parse(payload)
        if body is None:
            if len(board.malformed) < _MAX_MALFORMED:
                board.malformed.append(topic)
        elif is_metadata:
            board.metadata[tail] = body
        else:
            board.values[tail] = Value(body.get("value"), body.get("quality"), _now())


def _now() -> float:
    return asyncio.get_running_loop().time()


def _parse(payload: object) -> Mapping[str, Any] | None:
    if not isinstance(payload, bytes | bytearray) or len(payload) > _MAX_PAYLOAD:
        return None
    try:
        body = json.loads(payload)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
