"""gNMI to one device: channels, credentials, Get, Capabilities and POLL subscriptions on grpc.aio.

SONiC's server decides the shape: one Subscribe per TCP connection (a second one kills the first), so each stream has a
channel with a connection pool of its own; every round ends with `sync_response`; whole tables exceed gRPC's default
message size; pings more often than every five minutes are punished. Nothing reconnects by itself: after an error the
channel is closed and the next request opens another.

A token (`auth=jwt`, given as the target's password) goes along as metadata `access_token`, as SONiC wants it. To fetch
one is not built: the service (`gnoi.sonic_jwt`) is in no published package.

Source: gNMI specification 0.8.0 (sections 3.2, 3.3, 3.5.1.5); sonic-net/sonic-gnmi `gnmi_server/client_subscribe.go`,
`gnmi_server/jwtAuth.go`.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
from pygnmi.spec.v080 import gnmi_pb2, gnmi_pb2_grpc

from collectors.collector import AuthenticationError, CollectError, DeviceRefusedError, ProtocolError, Target
from collectors.gnmi.answers import Answers, Round, make_path, poll_request
from collectors.gnmi.errors import CREDENTIALS_REST_S, PollRefusedError, explain

__all__ = ["GnmiClient", "GnmiStream", "PollRefusedError", "make_path"]

#: A frozen peer is noticed 8 s after a ping; SONiC ends connections that ping more often than each 300 s.
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.http2.ping_timeout_ms", 8_000),
)
#: what a round may hold before its `sync_response`; the largest switches need a tenth of it
ROUND_NOTIFICATIONS, ROUND_BYTES = 100_000, 256 << 20
#: option -> its values
CHOICES: Mapping[str, tuple[str, ...]] = {
    "tls": ("on", "off"),
    "auth": ("password", "jwt"),
    "mode": ("poll", "sample", "get"),
    "on_change": ("on", "off"),
}


@dataclass(slots=True)
class GnmiStream:
    """One POLL subscription: a set of paths of one database target, on a connection of its own."""

    client: "GnmiClient"
    database: str
    paths: tuple[str, ...]
    #: complete rounds since the connection was opened
    rounds: int = field(default=0, init=False)
    _channel: Any = field(default=None, init=False)
    _call: Any = field(default=None, init=False)
    _complete: bool = field(default=False, init=False)

    async def poll(self) -> Answers:
        """Return one complete round, parsed.

        Raises:
            PollRefusedError: the device refuses the mode or a path.
            CollectError: no connection, wrong credentials, a broken value, or the stream ended.
        """
        answers, broken = (await self.ask()).read()
        if broken:
            raise ProtocolError(f"{self.client.where}: {self._what}: {broken[0]}")
        return answers

    async def ask(self) -> Round:
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
            raise self._explained(error.code(), error.details()) from error
        except asyncio.InvalidStateError as error:
            # gRPC says so when the stream ended while we wrote.
            raise await self._ended() from error
        finally:
            if not self._complete:
                await self.aclose()

    @property
    def channel(self) -> Any:
        """Return the stream's connection for a Get beside it, or None while it is closed."""
        return self._channel

    async def aclose(self) -> None:
        """Cancel the stream and close its connection; the next poll opens another."""
        call, channel = self._call, self._channel
        self._call = self._channel = None
        self.rounds = 0
        if call is not None:
            call.cancel()
        if channel is not None:
            await channel.close()

    @property
    def _what(self) -> str:
        return f"Subscribe {self.database} {', '.join(self.paths)}"

    async def _round(self) -> Round:
        self._complete = False
        sent = self.client.wall_ns()
        if self._call is None:
            metadata = self.client.metadata()
            self._channel = self.client.open_channel()
            self._call = _subscribe(self._channel)(metadata=metadata)
            await self._call.write(poll_request(self.database, self.paths))
        else:
            await self._call.write(gnmi_pb2.SubscribeRequest(poll=gnmi_pb2.Poll()))
        self.client.requests += 1
        found, size = Round(self.paths), 0
        while True:
            answer = await self._call.read()
            if answer is grpc.aio.EOF:
                raise await self._ended()
            response, count = answer
            size += count
            if response.HasField("update"):
                found.notifications.append(response.update)
                if len(found.notifications) == 1:
                    found.stamp(sent, self.client.wall_ns())
                if len(found.notifications) > ROUND_NOTIFICATIONS or size > ROUND_BYTES:
                    told = f"{len(found.notifications)} notifications, {size} bytes"
                    raise ProtocolError(
                        f"{self.client.where}: {self._what}: {told} and no sync_response: stream closed"
                    )
            if response.HasField("sync_response"):
                self._complete = True
                self.rounds += 1
                return found

    async def _ended(self) -> CollectError:
        return self._explained(await self._call.code(), await self._call.details())

    def _explained(self, code: grpc.StatusCode, details: str | None) -> CollectError:
        error = self.client.explain(code, details, self._what)
        if isinstance(error, PollRefusedError) and self.rounds:
            # SONiC ends every stream as INVALID_ARGUMENT, whatever the reason: what worked was not refused.
            return DeviceRefusedError(f"{error}: stream ended by the device")
        return error


def _subscribe(channel: Any) -> Any:
    """Return the call that answers with each message and its size, which costs as much as reading when asked later."""
    return channel.stream_stream(
        "/gnmi.gNMI/Subscribe",
        request_serializer=gnmi_pb2.SubscribeRequest.SerializeToString,
        response_deserializer=lambda data: (gnmi_pb2.SubscribeResponse.FromString(data), len(data)),
    )


class GnmiClient:
    """How one device is reached and what its errors mean."""

    def __init__(self, target: Target, wall_ns: Callable[[], int] = time.time_ns) -> None:
        """Check the target's options; open nothing.

        Raises:
            CollectError: an option that gNMI does not know.
        """
        self.where = f"{target.name} {target.address}"
        self.wall_ns = wall_ns
        #: messages sent, of any kind
        self.requests = 0
        self.options = target.options
        self._target = target
        self._tls = target.options.get("tls", "on") != "off"
        for name, allowed in CHOICES.items():
            value = target.options.get(name, allowed[0])
            if value not in allowed:
                hint = "; gRPC cannot skip the check of a certificate: give its CA with ca=file" * (name == "tls")
                raise CollectError(f"{self.where}: {name}={value!r} is not one of {', '.join(allowed)}{hint}")
        if self.jwt and target.password is None:
            raise CollectError(f"{self.where}: auth=jwt needs the token as the target's password")

    @property
    def jwt(self) -> bool:
        """Return whether a token stands for user and password."""
        return self.options.get("auth") == "jwt"

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what goes along with each call.

        Raises:
            AuthenticationError: the token has expired.
        """
        password = self._target.password.reveal() if self._target.password else ""
        if self.jwt:
            self._check_token(password)
            return (("access_token", password),)
        return (("username", self._target.username), ("password", password)) if self._target.username else ()

    def open_channel(self) -> Any:
        """Return a channel with a connection of its own; it connects with the first request.

        Raises:
            CollectError: a certificate file cannot be read.
        """
        options: list[tuple[str, int | str]] = list(CHANNEL_OPTIONS)
        if not self._tls:
            return grpc.aio.insecure_channel(self._target.address, options=options)
        if "server_name" in self.options:
            options.append(("grpc.ssl_target_name_override", self.options["server_name"]))
        credentials = grpc.ssl_channel_credentials(*(self._read(name) for name in ("ca", "key", "cert")))
        return grpc.aio.secure_channel(self._target.address, credentials, options=options)

    async def get(self, database: str, path: str, channel: Any = None) -> Any:
        """Return the value of one path by Get, or None where there is none.

        Raises:
            CollectError: no connection, wrong credentials, or the device refuses the path.
        """
        found = await self.get_round(database, (path,), channel)
        answers, broken = found.read()
        if broken:
            raise ProtocolError(f"{self.where}: Get {database} {broken[0]}")
        return answers.get(path)

    async def get_round(self, database: str, paths: Sequence[str], channel: Any = None) -> Round:
        """Return the answer of one Get of several paths; the device refuses all of them for one that it lacks.

        Raises:
            CollectError: as `get`.
        """
        request = gnmi_pb2.GetRequest(
            prefix=gnmi_pb2.Path(target=database),
            path=[make_path(path) for path in paths],
            encoding=gnmi_pb2.Encoding.JSON_IETF,
        )
        sent = self.wall_ns()
        response = await self._unary("Get", request, f"Get {database} {', '.join(paths)}", channel)
        found = Round(tuple(paths), list(response.notification))
        found.stamp(sent, self.wall_ns())
        return found

    async def models(self) -> list[str]:
        """Return the names of the data models that the device supports.

        Raises:
            CollectError: no connection, wrong credentials, or no gNMI there.
        """
        return [model.name for model in (await self.capabilities()).supported_models]

    async def capabilities(self) -> Any:
        """Return the device's CapabilityResponse.

        Raises:
            CollectError: as `models`.
        """
        return await self._unary("Capabilities", gnmi_pb2.CapabilityRequest(), "Capabilities")

    def explain(self, code: grpc.StatusCode, details: str | None, what: str) -> CollectError:
        """Return our error for a status of gRPC."""
        return explain(self.where, code, details, what, tls=self._tls, shown="cert" in self.options)

    async def _unary(self, method: str, request: Any, what: str, channel: Any = None) -> Any:
        used = channel if channel is not None else self.open_channel()
        self.requests += 1
        try:
            return await getattr(gnmi_pb2_grpc.gNMIStub(used), method)(request, metadata=self.metadata())
        except grpc.aio.AioRpcError as error:
            raise self.explain(error.code(), error.details(), what) from error
        finally:
            if channel is None:
                await used.close()

    def _read(self, option: str) -> bytes | None:
        path = self.options.get(option)
        if path is None:
            return None
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise CollectError(f"{self.where}: {option}={path}: {error.strerror}") from error

    def _check_token(self, token: str) -> None:
        end = token_end(token)
        if end is not None and end * 1e9 <= self.wall_ns():
            when = datetime.fromtimestamp(end, UTC).isoformat()
            error = AuthenticationError(f"{self.where}: the token expired at {when}: give a fresh one as password")
            error.rest_seconds = CREDENTIALS_REST_S
            raise error


def token_end(token: str) -> float | None:
    """Return when a JWT expires (epoch seconds), or None where it does not tell. Source: RFC 7519, section 4.1.4."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    end = claims.get("exp") if isinstance(claims, dict) else None
    return float(end) if isinstance(end, int | float) and 0 < end < 1e11 else None
