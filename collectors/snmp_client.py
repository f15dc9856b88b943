"""SNMP v1, v2c and v3 requests that keep their promises, on gufo-snmp.

gufo-snmp is fast but trusting; each guard here answers a fault that was reproduced:

- it hides error-status and noSuchInstance: what came back is compared with what was asked, by the caller;
- one bad value or an answer over 4,080 bytes fails the whole PDU: the chunk is halved until the culprit stands alone;
- it never retries, and an SNMPv3 agent that restarted is a stranger to it: one retry, on a fresh session;
- its walks go on for ever when an agent's OIDs do not grow: a walk stops there, and at a cap of rows.

Source: RFC 3416 (protocol operations), RFC 3414 (USM), RFC 7860 (SHA-2), RFC 3826 (AES-128).
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from gufo.snmp import (
    Aes128Key,
    Aes192Key,
    Aes256Key,
    DesKey,
    Md5Key,
    Sha1Key,
    Sha224Key,
    Sha256Key,
    Sha384Key,
    Sha512Key,
    SnmpAuthError,
    SnmpError,
    SnmpVersion,
    User,
)
from gufo.snmp.aio import SnmpSession

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    ProtocolError,
    Target,
)

#: what an agent may answer, octet strings as text
Value = int | float | str

#: instances per GET: about 1.3 kB of answer for 64-bit counters, so that no datagram is fragmented
CHUNK = 40
#: rows after which a walk is cut: no device has that many ports or sensors
WALK_ROWS = 5000
#: share of the poll's deadline that one request may wait: two tries fit
REQUEST_SHARE = 0.4

AUTH_KEYS = {
    "md5": Md5Key,
    "sha": Sha1Key,
    "sha1": Sha1Key,
    "sha224": Sha224Key,
    "sha256": Sha256Key,
    "sha384": Sha384Key,
    "sha512": Sha512Key,
}
PRIV_KEYS = {"des": DesKey, "aes": Aes128Key, "aes128": Aes128Key, "aes192": Aes192Key, "aes256": Aes256Key}
VERSIONS = {"1": SnmpVersion.v1, "2c": SnmpVersion.v2c, "3": SnmpVersion.v3}

T = TypeVar("T")


class SnmpClient:
    """One device and at most one request to it at any time."""

    def __init__(self, target: Target) -> None:
        """Check the target's options; open nothing.

        Raises:
            CollectError: a version, an algorithm or an address that SNMP does not know.
        """
        self.where = f"{target.name} {target.address}"
        self._host, self._port = _split_address(target.address, self.where)
        self._version = _choose(VERSIONS, target.options.get("version", "2c"), "version", self.where)
        self._user = _make_user(target, self.where) if self._version is SnmpVersion.v3 else None
        self._community = target.username or "public"
        self._request_s = target.timeout.total_seconds() * REQUEST_SHARE
        self._chunk = CHUNK
        self._session: SnmpSession | None = None
        self._discovered = False

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """Return the values of those instances that the agent has, in PDUs of at most 40.

        Raises:
            CollectError: no answer, wrong credentials, or an answer that is no SNMP.
        """
        values: dict[str, Value] = {}
        start = 0
        while start < len(oids):
            chunk = oids[start : start + self._chunk]
            values.update(await self._get_chunk(chunk))
            start += len(chunk)
        return values

    async def walk(self, column: str) -> dict[str, Value]:
        """Return index -> value of a table's column; rows without an index (a SONiC quirk) are dropped.

        Raises:
            CollectError: no answer, wrong credentials, or an answer that is no SNMP.
        """
        try:
            return await self._ask(lambda session: _collect(session.fetch(column), column), f"walk of {column}")
        except ProtocolError:
            # A bulk answer over 4,080 bytes does not decode; row by row it does.
            return await self._ask(lambda session: _collect(session.getnext(column), column), f"walk of {column}")

    def close(self) -> None:
        """Drop the session; the next request opens another."""
        self._session = None

    async def _get_chunk(self, oids: Sequence[str]) -> dict[str, Value]:
        what = f"GET of {oids[0]}" + (f" and {len(oids) - 1} more" if len(oids) > 1 else "")
        try:
            answer = await self._ask(lambda session: session.get_many(oids), what)
        except ProtocolError:
            if len(oids) == 1:
                return {}
            return await self._halves(oids)
        if not answer and len(oids) > 1:
            return await self._get_after_nothing(oids)
        return _plain_all(answer)

    async def _get_after_nothing(self, oids: Sequence[str]) -> dict[str, Value]:
        """Tell the reasons for an empty answer apart: v1's noSuchName for all, a tooBig that gufo hides, none there."""
        if self._version is SnmpVersion.v1:
            return await self._halves(oids)
        half = len(oids) // 2
        answer = await self._ask(lambda session: session.get_many(oids[:half]), f"GET of {oids[0]}")
        if not answer:
            return {}
        self._chunk = half
        return {**_plain_all(answer), **await self._get_chunk(oids[half:])}

    async def _halves(self, oids: Sequence[str]) -> dict[str, Value]:
        middle = len(oids) // 2
        return {**await self._get_chunk(oids[:middle]), **await self._get_chunk(oids[middle:])}

    async def _ask(self, request: Callable[[SnmpSession], Awaitable[T]], what: str) -> T:
        try:
            return await self._try(request)
        except (TimeoutError, SnmpAuthError):
            pass
        except (SnmpError, OSError) as error:
            raise self._explain(error, what) from error
        try:
            return await self._try(request)
        except (SnmpError, OSError) as error:
            raise self._explain(error, what) from error

    async def _try(self, request: Callable[[SnmpSession], Awaitable[T]]) -> T:
        try:
            if self._session is None:
                self._session = await self._open()
            return await request(self._session)
        except BaseException:
            # An answer still under way must not meet the next request, and an agent that restarted is discovered anew.
            self._session = None
            raise

    async def _open(self) -> SnmpSession:
        self._discovered = False
        session = SnmpSession(
            await _resolve(self._host, self._port),
            self._port,
            community=self._community,
            user=self._user,
            version=self._version,
            timeout=self._request_s,
            max_repetitions=20,
        )
        try:
            await session.refresh()
        finally:
            self._discovered = self._user is not None and bool(session.get_engine_id())
        return session

    def _explain(self, error: Exception, what: str) -> CollectError:
        if isinstance(error, TimeoutError):
            return DeviceTimeoutError(
                f"{self.where}: {what}: no answer in {self._request_s:.1f} s, asked twice: {self._silence()}"
            )
        if isinstance(error, SnmpAuthError):
            refused = "the SNMPv3 user, its authentication password or protocol" if self._user else "this community"
            return AuthenticationError(f"{self.where}: {what}: the agent refuses {refused}, or gives it no rights")
        if isinstance(error, SnmpError):
            return ProtocolError(f"{self.where}: {what}: answer does not decode: {str(error)!r}")
        return DeviceRefusedError(f"{self.where}: {what}: {error}")

    def _silence(self) -> str:
        if self._discovered:
            return "it told its engine id and takes the user, so the privacy password or protocol is wrong"
        if self._user is not None:
            return "agent or network down, wrong port, or no SNMPv3 there"
        return "agent or network down, wrong port, or a community that the agent does not accept from here"


async def _collect(rows: AsyncIterator[tuple[str, object]], column: str) -> dict[str, Value]:
    """Read a walk to its end, to the first OID that does not grow, or to the cap."""
    found: dict[str, Value] = {}
    last: tuple[int, ...] = ()
    async for oid, value in rows:
        key = tuple(map(int, oid.split(".")))
        if key <= last or len(found) >= WALK_ROWS:
            break
        last = key
        if value is not None and oid.startswith(column + "."):
            found[oid[len(column) + 1 :]] = _plain(value)
    return found


def _plain_all(answer: Mapping[str, object]) -> dict[str, Value]:
    return {oid: _plain(value) for oid, value in answer.items() if value is not None}


def _plain(value: object) -> Value:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")
    return value if isinstance(value, int | float | str) else str(value)


def _choose(table: dict[str, T], name: str, option: str, where: str) -> T:
    try:
        return table[name.lower().replace("-", "")]
    except KeyError:
        raise CollectError(f"{where}: {option}={name!r} is not one of {', '.join(table)}") from None


def _split_address(address: str, where: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        return host.strip("[]"), int(port)
    if ":" in address.strip("[]") and not address.startswith("["):
        raise CollectError(f"{where}: address {address!r} is not host:port")
    return address.strip("[]"), 161


def _make_user(target: Target, where: str) -> User:
    if not target.username:
        raise CollectError(f"{where}: SNMPv3 needs a user name: snmp://user@host?version=3")
    auth = _choose(AUTH_KEYS, target.options["auth"], "auth", where) if "auth" in target.options else None
    priv = _choose(PRIV_KEYS, target.options["priv"], "priv", where) if "priv" in target.options else None
    if priv and not auth:
        raise CollectError(f"{where}: priv without auth does not exist in SNMPv3: add auth=sha256")
    for option, algorithm, secret in (("auth", auth, target.password), ("priv", priv, target.priv_password)):
        if algorithm and (secret is None or len(secret.reveal()) < 8):
            raise CollectError(f"{where}: {option}={target.options[option]} needs a password of 8 characters or more")
    return User(
        target.username,
        auth_key=auth(target.password.reveal().encode()) if auth and target.password else None,
        priv_key=priv(target.priv_password.reveal().encode()) if priv and target.priv_password else None,
    )


async def _resolve(host: str, port: int) -> str:
    """Return the host's IP address: gufo-snmp knows no names."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return str(found[0][4][0])
