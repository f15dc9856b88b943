"""The engine for what gufo-snmp lacks, on pysnmp: 3DES, SNMPv3 contexts, and answers that gufo-snmp cannot decode.

It costs 30 to 80 times the CPU per instance: for few devices. One `SnmpEngine` serves all devices of an event loop, for
making one takes 0.13 s. Users are kept by engine id there, which is asked first: two devices may know one user by two
passwords.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from gufo.snmp import SnmpError, SnmpVersion, User
from gufo.snmp.aio import SnmpSession
from pyasn1.type import univ
from pysnmp.entity.engine import SnmpEngine
from pysnmp.error import PySnmpError
from pysnmp.hlapi.v3arch import asyncio as hlapi
from pysnmp.proto import errind, rfc1902, rfc1905

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    ProtocolError,
)
from collectors.snmp.session import REPETITIONS, Column, ErrorStatusError, Login, UnreadableError, Value, as_text

AUTHS = {
    "": hlapi.USM_AUTH_NONE,
    "md5": hlapi.USM_AUTH_HMAC96_MD5,
    "sha1": hlapi.USM_AUTH_HMAC96_SHA,
    "sha224": hlapi.USM_AUTH_HMAC128_SHA224,
    "sha256": hlapi.USM_AUTH_HMAC192_SHA256,
    "sha384": hlapi.USM_AUTH_HMAC256_SHA384,
    "sha512": hlapi.USM_AUTH_HMAC384_SHA512,
}
PRIVS = {
    "": hlapi.USM_PRIV_NONE,
    "des": hlapi.USM_PRIV_CBC56_DES,
    "3des": hlapi.USM_PRIV_CBC168_3DES,
    "aes128": hlapi.USM_PRIV_CFB128_AES,
    "aes192": hlapi.USM_PRIV_CFB192_AES_BLUMENTHAL,
    "aes256": hlapi.USM_PRIV_CFB256_AES_BLUMENTHAL,
    "aes192c": hlapi.USM_PRIV_CFB192_AES,
    "aes256c": hlapi.USM_PRIV_CFB256_AES,
}
#: error-status of an agent that gives the user no rights: noAccess, authorizationError
NO_RIGHTS = (6, 16)

_REASONS: dict[type[errind.ErrorIndication], str] = {
    errind.UnknownUserName: "the agent does not know SNMPv3 user {user!r}",
    errind.UnknownSecurityName: "the agent does not know SNMPv3 user {user!r}",
    errind.WrongDigest: "the authentication password or protocol (auth={auth}) of user {user!r} is wrong",
    errind.AuthenticationFailure: "the authentication password or protocol (auth={auth}) of user {user!r} is wrong",
    errind.DecryptionError: "the privacy password or protocol (priv={priv}) of user {user!r} is wrong",
    errind.UnsupportedSecurityLevel: "the agent does not take user {user!r} at this security level: see auth=, priv=",
    errind.UnknownCommunityName: "the agent refuses this community",
}


class _Shared:
    """The engine of one event loop and how many sessions use it: made with the first, closed with the last."""

    def __init__(self) -> None:
        self._engine: SnmpEngine | None = None
        self._users = 0

    def take(self) -> SnmpEngine:
        if self._engine is None:
            self._engine = SnmpEngine()
        self._users += 1
        return self._engine

    def give_back(self) -> None:
        self._users -= 1
        if self._users == 0 and self._engine is not None:
            self._engine.close_dispatcher()
            self._engine = None


#: an engine lives on the event loop that it was made in
_SHARED: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


class PysnmpSession:
    """One device asked by pysnmp."""

    def __init__(self, login: Login, timeout_s: float) -> None:
        """`timeout_s` is what one request may wait. Units: s."""
        self.requests = self.reconnects = 0
        self._opened = 0
        self._login = login
        self._timeout_s = timeout_s
        self._shared: _Shared | None = None
        self._peer: tuple[Any, Any, Any, Any] | None = None
        self._deciphered = False

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """Return, by one GET, the values of those instances that the agent has; see `SnmpSession`."""
        what = f"GET of {oids[0]}" + (f" and {len(oids) - 1} more" if len(oids) > 1 else "")
        answer = await self._ask("get", oids, what)
        return {oid: plain for oid, value in answer if (plain := _plain(value)) is not None}

    async def walk(self, column: str) -> dict[str, Value]:
        """Return index -> value of a column; see `SnmpSession`."""
        found, at, what = Column(column), column, f"walk of {column}"
        while True:
            answer = await self._ask("next" if self._login.version == "1" else "bulk", [at], what)
            if not answer:
                return found.rows
            for oid, value in answer:
                if isinstance(value, rfc1905.EndOfMibView) or not found.take(oid, _plain(value)):
                    return found.rows
            at = answer[-1][0]

    def close(self) -> None:
        """Forget the device."""
        self._peer = None
        self._deciphered = False
        if self._shared is not None:
            self._shared.give_back()
            self._shared = None

    async def _ask(self, kind: str, oids: Sequence[str], what: str) -> list[tuple[str, Any]]:
        try:
            peer = self._peer or await self._open()
            objects = [hlapi.ObjectType(hlapi.ObjectIdentity(oid)) for oid in oids]
            self.requests += 1
            if kind == "bulk":
                answer = await hlapi.bulk_cmd(*peer, 0, REPETITIONS, *objects, lookupMib=False)
            else:
                command = hlapi.get_cmd if kind == "get" else hlapi.next_cmd
                answer = await command(*peer, *objects, lookupMib=False)
        except (PySnmpError, OSError) as error:
            self._peer = None
            raise DeviceRefusedError(f"{self._login.where}: {what}: {error}") from error
        except BaseException:
            self._peer = None
            raise
        indication, status, _, bindings = answer
        if indication:
            self._peer = None
            raise self._explain(indication, what)
        if int(status) in NO_RIGHTS:
            raise AuthenticationError(f"{self._login.where}: {what}: the agent gives the user or community no rights")
        if int(status) == 2 and kind == "next":
            return []  # the end of v1's view
        if int(status):
            raise ErrorStatusError(f"error-status {int(status)}")
        self._deciphered = True
        return [(str(oid), value) for oid, value in bindings]

    async def _open(self) -> tuple[Any, Any, Any, Any]:
        login = self._login
        self.reconnects, self._opened = self._opened, self._opened + 1
        if self._shared is None:
            self._shared = _SHARED.setdefault(asyncio.get_running_loop(), _Shared())
            engine = self._shared.take()
            self._engine = engine
        kind = hlapi.Udp6TransportTarget if ":" in login.host else hlapi.UdpTransportTarget
        transport = await kind.create((login.host, login.port), timeout=self._timeout_s, retries=0)
        context = hlapi.ContextData(contextName=login.context.encode())
        self._peer = (self._engine, await self._credentials(transport.transport_address[0]), transport, context)
        return self._peer

    async def _credentials(self, address: str) -> Any:
        login = self._login
        if login.version != "3":
            return hlapi.CommunityData(login.community, mpModel=0 if login.version == "1" else 1)
        return hlapi.UsmUserData(
            login.user,
            login.auth_password or None,
            login.priv_password or None,
            authProtocol=AUTHS[login.auth],
            privProtocol=PRIVS[login.priv],
            securityEngineId=rfc1902.OctetString(await self._engine_id(address)),
        )

    async def _engine_id(self, address: str) -> bytes:
        """Return the agent's engine id; asking for it takes no user."""
        login = self._login
        self.requests += 1
        session = SnmpSession(address, login.port, user=User.default(), version=SnmpVersion.v3, timeout=self._timeout_s)
        try:
            await session.refresh()
        except TimeoutError as error:
            raise DeviceTimeoutError(
                f"{login.where}: discovery: no answer in {self._timeout_s:.1f} s: agent or network down, wrong port, "
                "or no SNMPv3 there"
            ) from error
        except SnmpError as error:
            raise ProtocolError(f"{login.where}: discovery: answer does not decode: {str(error)!r}") from error
        return session.get_engine_id()

    def _explain(self, indication: errind.ErrorIndication, what: str) -> CollectError | UnreadableError:
        login = self._login
        where = f"{login.where}: {what}"
        if isinstance(indication, errind.RequestTimedOut):
            if login.priv and not self._deciphered:
                return AuthenticationError(
                    f"{where}: the agent told its engine id, but answers user {login.user!r} nothing encrypted: the "
                    f"privacy password or protocol (priv={login.priv}) is wrong"
                )
            return DeviceTimeoutError(
                f"{where}: no answer in {self._timeout_s:.1f} s: agent or network down, wrong port"
            )
        reason = next((text for kind, text in _REASONS.items() if isinstance(indication, kind)), None)
        if reason is not None:
            told = reason.format(user=login.user, auth=login.auth or "none", priv=login.priv or "none")
            return AuthenticationError(f"{where}: {told}")
        if isinstance(indication, errind.TooBig | errind.DeserializationError):
            return UnreadableError(str(indication))
        return ProtocolError(f"{where}: {str(indication)!r}")


def _plain(value: Any) -> Value | None:
    """Return a value as gufo-snmp would, None for an exception (noSuchObject, noSuchInstance, endOfMibView)."""
    if isinstance(value, rfc1905.NoSuchObject | rfc1905.NoSuchInstance | rfc1905.EndOfMibView | rfc1905.UnSpecified):
        return None
    if isinstance(value, rfc1902.IpAddress):
        return str(value.prettyPrint())
    if isinstance(value, univ.OctetString):
        return as_text(value.asOctets())
    return int(value) if isinstance(value, univ.Integer) else str(value)
