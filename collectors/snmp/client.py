"""SNMP requests that keep their promises, whichever engine sends them.

- one request at a time, one retry, on a fresh session: an SNMPv3 agent that restarted is a stranger to the old one;
- a PDU that fails as a whole is asked in halves until the culprit stands alone: it hides none of its neighbours. Where
  no culprit is found the PDU was too large, and the size that works is remembered (`collectors/snmp/pdu_size.py`);
- an instance that gufo-snmp cannot decode even alone is asked by pysnmp from then on;
- what the agent does not have is left out: the caller compares what came with what it asked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import timedelta
from typing import TypeVar

from collectors.collector import AuthenticationError, DeviceRefusedError, DeviceTimeoutError, ProtocolError, Target
from collectors.snmp.pdu_size import PduSize
from collectors.snmp.session import ErrorStatusError, Login, SnmpSession, UnreadableError, read_login
from collectors.snmp.session import Value as Value

#: what one request may wait, where the poll's deadline leaves room for two. Units: s
REQUEST_S = 5.0
#: largest share of a poll's deadline that one request may wait: two tries fit
REQUEST_SHARE = 0.4
#: instances that are asked alone; an agent with more of them is beyond such help
STRANGE = 100

T = TypeVar("T")


class SnmpClient:
    """One device and at most one request to it at any time."""

    def __init__(
        self, target: Target, patience: timedelta = timedelta(), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Check the target's options; open nothing. Requests wait at least as in a poll of `patience`.

        Raises:
            CollectError: a version, an algorithm or an address that SNMP does not know.
        """
        self._login = read_login(target)
        self.where = self._login.where
        self._request_s = min(REQUEST_S, REQUEST_SHARE * max(target.timeout, patience).total_seconds())
        self._monotonic = monotonic
        self._size = PduSize()
        self._session = _open_session(self._login, self._request_s)
        self._other: SnmpSession | None = None
        #: instances that spoil any PDU they are in, and those of them that only pysnmp can read
        self._strange: set[str] = set()
        self._foreign: set[str] = set()
        self._lock = asyncio.Lock()

    @property
    def requests(self) -> int:
        """Return the number of requests sent."""
        return self._session.requests + (self._other.requests if self._other else 0)

    @property
    def reconnects(self) -> int:
        """Return how often a session was opened anew."""
        return self._session.reconnects

    async def get(self, oids: Sequence[str], into: MutableMapping[str, Value] | None = None) -> dict[str, Value]:
        """Return the values of those instances that the agent has, in PDUs of at most 40.

        `into` takes them as they come, so that what came before an error or a deadline is not lost.

        Raises:
            CollectError: no answer, wrong credentials, or an answer that is no SNMP.
        """
        values: dict[str, Value] = {}
        crowd = [oid for oid in oids if oid not in self._strange] if self._strange else oids
        start = 0
        while start < len(crowd):
            chunk = crowd[start : start + self._size.take(self._monotonic())]
            start += len(chunk)
            _put(await self._get_chunk(chunk), values, into)
        for oid in self._strange.intersection(oids) if self._strange else ():
            _put(await self._get_strange(oid), values, into)
        return values

    async def walk(self, column: str) -> dict[str, Value]:
        """Return index -> value of a table's column; cut at 50,000 rows and at the first OID that does not grow.

        Raises:
            CollectError: no answer, wrong credentials, or an answer that is no SNMP.
        """
        try:
            return await self._try(lambda: self._session.walk(column))
        except UnreadableError as error:
            raise ProtocolError(f"{self.where}: walk of {column}: {error}") from error

    def close(self) -> None:
        """Drop the sessions; the next request opens others."""
        self._session.close()
        if self._other is not None:
            self._other.close()

    async def _get_chunk(self, oids: Sequence[str]) -> dict[str, Value]:
        try:
            return await self._try(lambda: self._session.get(oids))
        except UnreadableError:
            pass
        known = len(self._strange)
        values, carried = await self._halves(oids)
        if len(self._strange) == known:
            self._size.shrink(carried, self._monotonic())
        return values

    async def _halves(self, oids: Sequence[str]) -> tuple[dict[str, Value], int]:
        """Return what comes of smaller requests, and the largest number of instances that one of them carried."""
        if len(oids) == 1:
            return await self._get_culprit(oids[0]), 1
        values: dict[str, Value] = {}
        carried = 1
        middle = len(oids) // 2
        for half in (oids[:middle], oids[middle:]):
            try:
                came, size = await self._try(lambda half=half: self._session.get(half)), len(half)  # type: ignore[misc]
            except UnreadableError:
                came, size = await self._halves(half)
            values.update(came)
            carried = max(carried, size)
        return values, carried

    async def _get_culprit(self, oid: str) -> dict[str, Value]:
        """Ask for an instance that failed alone once more, and remember it: its neighbours shall not suffer again."""
        if len(self._strange) < STRANGE:
            self._strange.add(oid)
        return await self._get_strange(oid)

    async def _get_strange(self, oid: str) -> dict[str, Value]:
        if oid not in self._foreign:
            try:
                values = await self._try(lambda: self._session.get([oid]))
            except ErrorStatusError:
                return {}
            except UnreadableError:
                self._foreign.add(oid)
            else:
                self._strange.discard(oid)
                return values
        return await self._get_foreign(oid)

    async def _get_foreign(self, oid: str) -> dict[str, Value]:
        if self._login.engine == "pysnmp":
            return {}
        if self._other is None:
            self._other = _open_session(self._login, self._request_s, "pysnmp")
        try:
            async with self._lock:
                return await self._other.get([oid])
        except (UnreadableError, DeviceTimeoutError, ProtocolError):
            # pysnmp answers what it cannot decode with silence.
            return {}

    async def _try(self, request: Callable[[], Awaitable[T]]) -> T:
        async with self._lock:
            try:
                return await request()
            except (DeviceTimeoutError, DeviceRefusedError, AuthenticationError):
                pass
            return await request()


def _put(came: dict[str, Value], values: dict[str, Value], into: MutableMapping[str, Value] | None) -> None:
    values.update(came)
    if into is not None:
        into.update(came)


def _open_session(login: Login, timeout_s: float, engine: str = "") -> SnmpSession:
    """Return the session of the engine that fits; pysnmp is loaded by the first device that needs it."""
    if (engine or login.engine) == "pysnmp":
        from collectors.snmp.pysnmp import PysnmpSession

        return PysnmpSession(login, timeout_s)
    from collectors.snmp.gufo import GufoSession

    return GufoSession(login, timeout_s)
