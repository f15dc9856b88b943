"""gNMI to one device: POLL subscriptions, Get and Capabilities on grpc.aio.

SONiC's server decides the shape: one Subscribe per TCP connection (a second one kills the first), so each stream has a
channel with a connection pool of its own; every answer ends with `sync_response`; whole tables exceed gRPC's default
message size; pings more often than every five minutes are punished. Nothing reconnects by itself: after an error the
channel is closed and the next request opens another.

Source: gNMI specification 0.8.0 (sections 3.2, 3.3, 3.5.1.5); sonic-net/sonic-gnmi `gnmi_server/client_subscribe.go`.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
from pygnmi.spec.v080 import gnmi_pb2, gnmi_pb2_grpc

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    ProtocolError,
    Target,
)

#: answers by path as it was asked; a path that the device has no data for is left out
Answers = Mapping[str, Any]

CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),
)
TLS_MODES = ("on", "off")
#: what grpcio itself says, as INTERNAL, when the connection breaks while it writes; no server's words
BROKEN_WRITE = "Internal error from Core"

_ELEMENT = re.compile(r"((?:\\.|[^/\\\[\]]|\[[^\]]*\])+)")
_KEY = re.compile(r"\[([^=\]]+)=([^\]]*)\]")


class PollRefusedError(ProtocolError):
    """The device does not take this subscription; Get may work."""


@dataclass(slots=True)
class GnmiStream:
    """One POLL subscription: a set of paths of one database target, on a connection of its own."""

    client: "GnmiClient"
    database: str
    paths: tuple[str, ...]
    _channel: Any = field(default=None, init=False)
    _call: Any = field(default=None, init=False)
    _complete: bool = field(default=False, init=False)

    async def poll(self) -> Answers:
        """Return one complete round; a stream that ended since the last one is opened anew.

        Raises:
            PollRefusedError: the device refuses the mode or a path.
            CollectError: no connection, wrong credentials, or the stream ended.
        """
        if self._call is not None and self._call.done():
            await self.aclose()
        try:
            return await self._round()
        except grpc.aio.AioRpcError as error:
            raise self.client.explain(error.code(), error.details(), self._what) from error
        except orjson.JSONDecodeError as error:
            raise self.client.no_json(error, self._what) from error
        except asyncio.InvalidStateError as error:
            # gRPC says so when the stream ended while we wrote.
            raise await self._ended() from error
        finally:
            if not self._complete:
                await self.aclose()

    async def aclose(self) -> None:
        """Cancel the stream and close its connection; the next poll opens another."""
        call, channel = self._call, self._channel
        self._call = self._channel = None
        if call is not None:
            call.cancel()
        if channel is not None:
            await channel.close()

    @property
    def _what(self) -> str:
        return f"Subscribe {self.database} {', '.join(self.paths)}"

    async def _round(self) -> Answers:
        self._complete = False
        if self._call is None:
            self._channel = self.client.open_channel()
            self._call = gnmi_pb2_grpc.gNMIStub(self._channel).Subscribe(metadata=self.client.metadata)
            await self._call.write(_subscription(self.database, self.paths))
        else:
            await self._call.write(gnmi_pb2.SubscribeRequest(poll=gnmi_pb2.Poll()))
        answers: dict[str, Any] = {}
        while True:
            response = await self._call.read()
            if response is grpc.aio.EOF:
                raise await self._ended()
            if response.HasField("sync_response"):
                self._complete = True
                return answers
            _take(response.update, self.paths, answers)

    async def _ended(self) -> CollectError:
        return self.client.explain(await self._call.code(), await self._call.details(), self._what)


class GnmiClient:
    """How one device is reached and what its errors mean."""

    def __init__(self, target: Target) -> None:
        """Check the target's options; open nothing.

        Raises:
            CollectError: an option that gNMI does not know.
        """
        self.where = f"{target.name} {target.address}"
        self.metadata = _metadata(target)
        self._address = target.address
        self._options = target.options
        if target.options.get("tls", "on") not in TLS_MODES:
            raise CollectError(
                f"{self.where}: tls={target.options['tls']!r} is not one of {', '.join(TLS_MODES)}; "
                "gRPC cannot skip the check of a certificate: give its CA with ca=file"
            )

    def open_channel(self) -> Any:
        """Return a channel with a connection of its own; it connects with the first request.

        Raises:
            CollectError: a certificate file cannot be read.
        """
        options: list[tuple[str, int | str]] = list(CHANNEL_OPTIONS)
        if self._options.get("tls", "on") == "off":
            return grpc.aio.insecure_channel(self._address, options=options)
        if "server_name" in self._options:
            options.append(("grpc.ssl_target_name_override", self._options["server_name"]))
        credentials = grpc.ssl_channel_credentials(*(self._read(name) for name in ("ca", "key", "cert")))
        return grpc.aio.secure_channel(self._address, credentials, options=options)

    async def get(self, database: str, path: str) -> Any:
        """Return the value of one path by Get, or None where there is none.

        Raises:
            CollectError: no connection, wrong credentials, or the device refuses the path.
        """
        request = gnmi_pb2.GetRequest(
            prefix=gnmi_pb2.Path(target=database), path=[make_path(path)], encoding=gnmi_pb2.Encoding.JSON_IETF
        )
        response = await self._unary("Get", request, f"Get {database} {path}")
        answers: dict[str, Any] = {}
        try:
            for notification in response.notification:
                _take(notification, (path,), answers)
        except orjson.JSONDecodeError as error:
            raise self.no_json(error, f"Get {database} {path}") from error
        return answers.get(path)

    async def models(self) -> list[str]:
        """Return the names of the data models that the device supports.

        Raises:
            CollectError: no connection, wrong credentials, or no gNMI there.
        """
        response = await self._unary("Capabilities", gnmi_pb2.CapabilityRequest(), "Capabilities")
        return [model.name for model in response.supported_models]

    def explain(self, code: grpc.StatusCode, details: str | None, what: str) -> CollectError:
        """Return our error for a status of gRPC."""
        text = f"{self.where}: {what}: {code.name} {details!r}"
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return AuthenticationError(f"{text}: check user, password or client certificate")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeviceTimeoutError(text)
        lost = code is grpc.StatusCode.INTERNAL and details == BROKEN_WRITE
        if lost or code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.OK):
            hint = "" if self._options.get("tls", "on") == "off" else " (a server without TLS needs tls=off)"
            return DeviceRefusedError(f"{text}: connection refused, lost, or ended by the device{hint}")
        refusals = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
        return PollRefusedError(text) if code in refusals else ProtocolError(text)

    def no_json(self, error: orjson.JSONDecodeError, what: str) -> ProtocolError:
        """Return our error for a value that does not parse."""
        return ProtocolError(f"{self.where}: {what}: a value is no JSON: {error.doc[:80]!r}: {error.msg}")

    async def _unary(self, method: str, request: Any, what: str) -> Any:
        channel = self.open_channel()
        try:
            return await getattr(gnmi_pb2_grpc.gNMIStub(channel), method)(request, metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            raise self.explain(error.code(), error.details(), what) from error
        finally:
            await channel.close()

    def _read(self, option: str) -> bytes | None:
        path = self._options.get(option)
        if path is None:
            return None
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise CollectError(f"{self.where}: {option}={path}: {error.strerror}") from error


def make_path(text: str) -> Any:
    """Return the gNMI path of `COUNTERS/Ethernet*`, `interfaces/interface[name=Eth1/1]`; `\\/` is a slash in a name."""
    elements = []
    for part in _ELEMENT.findall(text):
        name = _KEY.sub("", part).replace("\\/", "/")
        elements.append(gnmi_pb2.PathElem(name=name, key=dict(_KEY.findall(part))))
    return gnmi_pb2.Path(elem=elements)


def _subscription(database: str, paths: Sequence[str]) -> Any:
    return gnmi_pb2.SubscribeRequest(
        subscribe=gnmi_pb2.SubscriptionList(
            prefix=gnmi_pb2.Path(target=database),
            mode=gnmi_pb2.SubscriptionList.Mode.POLL,
            encoding=gnmi_pb2.Encoding.JSON_IETF,
            subscription=[gnmi_pb2.Subscription(path=make_path(path)) for path in paths],
        )
    )


def _take(notification: Any, paths: Sequence[str], answers: dict[str, Any]) -> None:
    """Keep a notification's values under the path that they were asked by; a deleted path has none."""
    asked = {_names(make_path(path)): path for path in paths}
    prefix = _names(notification.prefix)
    for update in notification.update:
        names = _names(update.path)
        path = asked.get(names) or asked.get(prefix + names)
        if path is not None:
            answers[path] = _decode(update.val)
    for deleted in notification.delete:
        answers.pop(asked.get(_names(deleted), ""), None)


def _names(path: Any) -> tuple[str, ...]:
    return tuple(element.name for element in path.elem)


def _decode(value: Any) -> Any:
    """Return a typed value as Python's; JSON leaves stay as they were sent."""
    kind = value.WhichOneof("value")
    if kind not in ("json_ietf_val", "json_val"):
        return None if kind is None else getattr(value, kind)
    raw: bytes = getattr(value, kind)
    return orjson.loads(raw) if raw else None


def _metadata(target: Target) -> tuple[tuple[str, str], ...]:
    if not target.username:
        return ()
    password = target.password.reveal() if target.password else ""
    return (("username", target.username), ("password", password))
