"""The engine for polling: gufo-snmp, fast but trusting. Each guard here answers a fault that was reproduced:

- it hides error-status (genErr, tooBig) as an empty answer: an empty answer is asked again by its ends, one by one;
- an answer over 4,080 bytes or one bad value fails the whole PDU;
- its walks go on for ever when an agent's OIDs do not grow;
- a wrong user and a wrong password look the same to it, and a wrong privacy password is silence to most agents: silence
  is the latter where the agent told its engine id before it and tells it again right after it. An agent that went, or
  a network that loses much, does not.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from gufo.snmp import (
    Aes128Key,
    Aes192Key,
    Aes256Key,
    DesKey,
    Md5Key,
    NoSuchInstance,
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
from gufo.snmp.user import KeyExpansion

from collectors.collector import AuthenticationError, DeviceRefusedError, DeviceTimeoutError
from collectors.snmp.session import REPETITIONS, Column, ErrorStatusError, Login, UnreadableError, Value, as_text

AUTH_KEYS = {
    "md5": Md5Key,
    "sha1": Sha1Key,
    "sha224": Sha224Key,
    "sha256": Sha256Key,
    "sha384": Sha384Key,
    "sha512": Sha512Key,
}
PRIV_KEYS = {
    "des": DesKey,
    "aes128": Aes128Key,
    "aes192": Aes192Key,
    "aes256": Aes256Key,
    "aes192c": Aes192Key,
    "aes256c": Aes256Key,
}
VERSIONS = {"1": SnmpVersion.v1, "2c": SnmpVersion.v2c, "3": SnmpVersion.v3}

T = TypeVar("T")


class GufoSession:
    """One device asked by gufo-snmp."""

    def __init__(self, login: Login, timeout_s: float) -> None:
        """`timeout_s` is what one request may wait. Units: s."""
        self.requests = self.reconnects = 0
        self._opened = 0
        #: sessions that brought nothing
        self._tried = 0
        self._login = login
        self._timeout_s = timeout_s
        self._user = _make_user(login) if login.version == "3" else None
        self._session: SnmpSession | None = None
        #: the device told its engine id; it answered a request
        self._accepted = False
        self._deciphered = False

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """Return, by one GET, the values of those instances that the agent has; see `SnmpSession`."""
        what = f"GET of {oids[0]}" + (f" and {len(oids) - 1} more" if len(oids) > 1 else "")
        answer = await self._ask(lambda session: session.get_many(oids), what)
        if not answer:
            await self._check_emptiness(oids)
        return {oid: _plain(value) for oid, value in answer.items() if value is not None}

    async def walk(self, column: str) -> dict[str, Value]:
        """Return index -> value of a column; see `SnmpSession`."""
        try:
            return await self._ask(lambda session: self._collect(session.fetch(column), column), f"walk of {column}")
        except UnreadableError:
            # A bulk answer over 4,080 bytes does not decode; row by row it does.
            return await self._ask(lambda session: self._collect(session.getnext(column), column), f"walk of {column}")

    def close(self) -> None:
        """Forget the device, and that its privacy key was once right."""
        self._session = None
        self._deciphered = False

    async def _check_emptiness(self, oids: Sequence[str]) -> None:
        """Raise UnreadableError unless the agent says of the first and the last instance that there is no such one."""
        if self._login.version == "1":
            raise ErrorStatusError("noSuchName")  # of one of them
        for oid in dict.fromkeys((oids[0], oids[-1])):
            if not await self._is_absent(oid):
                raise ErrorStatusError("error-status")

    async def _is_absent(self, oid: str) -> bool:
        try:
            await self._ask(lambda session: session.get(oid), f"GET of {oid}")
        except NoSuchInstance:
            return True
        return False

    async def _collect(self, rows: AsyncIterator[tuple[str, object]], column: str) -> dict[str, Value]:
        found, number = Column(column), 0
        async for oid, value in rows:
            number += 1
            if not found.take(oid, None if value is None else _plain(value)):
                break
        self.requests += number // REPETITIONS
        return found.rows

    async def _ask(self, request: Callable[[SnmpSession], Awaitable[T]], what: str) -> T:
        try:
            session = self._session or await self._open()
            self.requests += 1
            answer = await request(session)
        except NoSuchInstance:
            raise
        except TimeoutError as error:
            self._session = None
            self._tried += not (self._accepted or self._deciphered)
            raise await self._explain_silence(what) from error
        except SnmpAuthError as error:
            self._session = None
            raise AuthenticationError(f"{self._login.where}: {what}: {self._explain_refusal()}") from error
        except SnmpError as error:
            self._session = None
            raise UnreadableError(f"answer does not decode: {str(error)!r}") from error
        except OSError as error:
            self._session = None
            self._tried += 1
            raise DeviceRefusedError(f"{self._login.where}: {what}: {error}") from error
        except BaseException:
            # An answer still under way must not meet the next request.
            self._session = None
            raise
        self._deciphered = True
        return answer

    async def _open(self) -> SnmpSession:
        self._accepted = False
        self.reconnects, self._opened = self._opened, self._opened + 1
        session = await self._make(self._user, self._timeout_s)
        if self._user is not None:
            self.requests += 2
            try:
                await session.refresh()
            finally:
                # The second of its two requests is encrypted: most agents are silent where they cannot read it.
                self._accepted = bool(session.get_engine_id())
        self._session = session
        return session

    async def _make(self, user: User | None, timeout_s: float) -> SnmpSession:
        login = self._login
        addresses = await _resolve(login.host, login.port)
        return SnmpSession(
            # A name may have an address that nobody answers at, IPv6's above all: each session takes the next one.
            addresses[self._tried % len(addresses)],
            login.port,
            community=login.community,
            user=user,
            version=VERSIONS[login.version],
            timeout=timeout_s,
            max_repetitions=REPETITIONS,
        )

    async def _tells_engine(self) -> bool:
        """Return whether the agent tells its engine id now, which takes no user."""
        self.requests += 1
        try:
            session = await self._make(User.default(), self._timeout_s)
            await session.refresh()
        except (SnmpError, OSError):
            return False
        return bool(session.get_engine_id())

    async def _explain_silence(self, what: str) -> DeviceTimeoutError | AuthenticationError:
        where = self._login.where
        if self._accepted and self._login.priv and not self._deciphered and await self._tells_engine():
            return AuthenticationError(
                f"{where}: {what}: the agent told its engine id and takes user {self._login.user!r}, but answers "
                f"nothing encrypted: the privacy password or protocol (priv={self._login.priv}) is wrong"
            )
        if self._login.version == "3":
            why = "agent or network down, wrong port, or no SNMPv3 there"
        else:
            why = "agent or network down, wrong port, or a community that the agent does not accept from here"
        return DeviceTimeoutError(f"{where}: {what}: no answer in {self._timeout_s:.1f} s: {why}")

    def _explain_refusal(self) -> str:
        login = self._login
        if login.version != "3":
            return "the agent refuses this community, or gives it no rights"
        # A report of a wrong digest and one of a wrong privacy key look the same to gufo-snmp.
        doubts = [f"authentication password or protocol (auth={login.auth or 'none'})"]
        doubts += [f"privacy password or protocol (priv={login.priv})"] if login.priv else []
        return (
            f"the agent refuses SNMPv3 user {login.user!r}: the user, its {' or its '.join(doubts)} is wrong, "
            "or it has no rights at this security level"
        )


def _make_user(login: Login) -> User:
    return User(
        login.user,
        auth_key=AUTH_KEYS[login.auth](login.auth_password.encode()) if login.auth else None,
        priv_key=PRIV_KEYS[login.priv](login.priv_password.encode()) if login.priv else None,
        key_expansion=KeyExpansion.Cisco if login.priv.endswith("c") else KeyExpansion.Blumenthal,
    )


def _plain(value: object) -> Value:
    if isinstance(value, bytes):
        return as_text(value)
    return value if isinstance(value, int | float | str) else str(value)


async def _resolve(host: str, port: int) -> list[str]:
    """Return the host's IP addresses: gufo-snmp knows no names."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))
