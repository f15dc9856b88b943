"""One Redfish session: reads resources, writes nothing but its own log-in and log-out.

Source: DMTF DSP0266 1.20, sections 7.2 (GET, ETag), 8 (status codes), 13 (authentication, server-sent events).
"""

import asyncio
import json
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    ProtocolError,
    Target,
)
from collectors.redfish.paths import Resource as Resource

logger = logging.getLogger(__name__)

ROOT = "/redfish/v1/"
SESSIONS = "/redfish/v1/SessionService/Sessions"

#: a management controller is a small computer; some allow four clients in all
CONNECTIONS = 2
#: how long to keep away from a device that is busy and does not say for how long, and at most
BUSY_SECONDS, LONGEST_BUSY_SECONDS = 5.0, 600.0
#: the service as a whole has too much to do: it says for how long
_BUSY = (429, 503)
#: the resource is elsewhere on the device: iLO knows it by its name with a slash at the end
_MOVED = (301, 302, 303, 307, 308)
#: accounts are locked after a few wrong passwords: after each the device is left alone four times as long, at most this
_REFUSAL_SECONDS, _LONGEST_REFUSAL_SECONDS = 30.0, 300.0
#: answers 401 in a row to a password that goes with each request: one resource alone may refuse it for its rights
_DENIALS = 2
#: least time between two log-ins for the sake of a refused token: each takes a place in a small table
_RENEWAL_SECONDS = 30.0
#: largest answer that is read; a whole metric report has some 100 kB
_LARGEST_BODY = 8 << 20
#: what a refused log-in may come from
_FULL = "; its table of sessions may be full: end those of others"
_FEW = 100
#: an idle connection is kept longer than the time to the next poll
_KEEP_ALIVE_SECONDS = 30.0
#: an event stream that says nothing for so long may be dead: it is opened anew
_SILENCE_SECONDS = 900.0

#: resources of this device: no other host, nothing outside the service
_OWN_PATH = re.compile(r"/redfish/v1(?!.*/(?:\.|%2[eE]){1,2}(?:[/?#]|$))(/[^\x00-\x20\\]*)?")
#: resource of a session as services name it; nothing else is ever deleted
_SESSION_PATH = re.compile(r"/redfish/v1/(?:SessionService/)?Sessions/[\w@-][\w@.-]*/?")


class NoResourceError(Exception):
    """The device has no such resource (404, 410)."""


@dataclass(slots=True)
class _Cached:
    etag: str
    body: Resource


@dataclass(slots=True)
class Answer:
    """One answer of the device."""

    status: int
    headers: Mapping[str, str]
    body: object = None


class Session:
    """Talk to one device over at most `connections` connections, logged in once.

    With a user name a session token is taken (`POST Sessions`) and given back by `close`; a device without a session
    service gets Basic authentication.
    """

    def __init__(self, target: Target, connections: int = CONNECTIONS, wall: Callable[[], float] = time.time) -> None:
        """`wall` tells the epoch seconds, for a device that names the instant to come back at."""
        self.where = f"{target.name} {target.address}"
        #: requests sent, connections opened
        self.requests = 0
        self.opened = 0
        self._limit = connections
        self._wall = wall
        self._username = target.username
        self._password = target.password
        tls = target.options.get("tls", "on")
        self._base = f"{'http' if tls == 'off' else 'https'}://{target.address}"
        self._ssl: bool | ssl.SSLContext = tls != "insecure"
        self._timeout = aiohttp.ClientTimeout(total=target.timeout.total_seconds())
        self._keep_alive = _KEEP_ALIVE_SECONDS + 2 * target.interval.total_seconds()
        self._http: aiohttp.ClientSession | None = None
        #: one per connection: a request that waits for one sees what the one before it learnt
        self._slots = asyncio.Semaphore(connections)
        self._headers: dict[str, str] = {}
        #: resource of our own session
        self._session_uri: str | None = None
        self._login = asyncio.Lock()
        #: loop time until which nobody tries the password again, and what came of it; how often in a row
        self._refusal: tuple[float, AuthenticationError] | None = None
        self._refusals = 0
        self._denials = 0
        #: loop time of the last log-in for the sake of a refused token
        self._renewed_at = -_RENEWAL_SECONDS
        #: where resources are that answered with a redirection
        self._moved: dict[str, str] = {}
        #: resources whose last answer did not come in time: others are asked before them
        self.late: set[str] = set()
        self._cache: dict[str, _Cached] = {}
        #: None until an ETag was seen to change with its resource; one that stays says nothing and would hide a leak
        self._trusts_etags: bool | None = None
        #: loop time until which the device asked to be left alone
        self._busy_until = 0.0

    @property
    def reconnects(self) -> int:
        """Return how many connections took the place of one that was lost."""
        return max(0, self.opened - self._limit)

    async def get(self, uri: str, *, whole: bool = False) -> Resource:
        """Return one resource; `whole`: sent again in any case, also where it is said to be unchanged.

        Raises:
            NoResourceError: the device has none there.
            CollectError: it does not answer, refuses us, is busy, or answers something that is no JSON object.
        """
        await self.log_in()
        used = dict(self._headers)
        answer = await self._fetch(uri, used | self._condition(uri, whole))
        if answer.status == 401 and "X-Auth-Token" in used and await self._renew(used):
            answer = await self._fetch(uri, self._headers | self._condition(uri, whole))
        if "Authorization" in used:
            self._count_denials(uri, answer.status)
        return self._take(uri, answer)

    def _count_denials(self, uri: str, status: int) -> None:
        self._denials = self._denials + 1 if status == 401 else 0
        self._refusals = 0 if status == 200 else self._refusals
        if self._denials >= _DENIALS:
            self._headers, self._denials = {}, 0
            raise self._refuse(AuthenticationError(f"{self.where}: GET {uri}: 401; check user and password"))

    async def _fetch(self, uri: str, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a GET, behind one redirection on the same device at most."""
        answer = await self._request("GET", self._moved.get(uri, uri), headers=headers)
        to = self._own(answer.headers.get("Location", "")) if answer.status in _MOVED else ""
        if to and to != uri:
            answer = await self._request("GET", to, headers=headers)
            if answer.status == 200:
                self._moved[uri] = to
        return answer

    def _own(self, location: str) -> str:
        """Return the path of a location that is on this device and asked in the same way, else nothing."""
        try:
            parts = urlsplit(location)
        except ValueError:
            return ""
        is_own = f"{parts.scheme}://{parts.netloc}" in ("://", self._base)
        path = parts._replace(scheme="", netloc="", fragment="").geturl()
        return path if is_own and _OWN_PATH.fullmatch(path) else ""

    @asynccontextmanager
    async def stream(self, uri: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an event stream; it holds one of the connections until the block ends.

        Raises:
            CollectError: as of `get`, and when the stream ends or falls silent for too long.
        """
        await self.log_in()
        what = f"{self.where}: GET {uri}"
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", **self._headers}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.total, sock_read=_SILENCE_SECONDS)
        async with self._slots:
            self._check(uri, what)
            self.requests += 1
            with explained(what):
                async with self._open().get(uri, headers=headers, timeout=timeout, allow_redirects=False) as answer:
                    if answer.status != 200 or answer.content_type != "text/event-stream":
                        raise ProtocolError(
                            f"{what}: status {answer.status}, {answer.content_type!r} is no event stream"
                        )
                    yield answer.content.iter_any()

    def keep(self, uris: Collection[str]) -> None:
        """Forget the resources that are not among these."""
        for uri in self._cache.keys() - set(uris):
            del self._cache[uri]
        self.late &= set(uris)
        if len(self._moved) > 2 * len(uris) + _FEW:
            self._moved.clear()

    async def close(self) -> None:
        """Log out and close the connections; a device that does not answer is left as it is."""
        http = self._http
        if http is None:
            return
        await self._log_out(self._headers)
        self._http = None
        self._headers = {}
        await http.close()

    def _condition(self, uri: str, whole: bool) -> dict[str, str]:
        cached = self._cache.get(uri) if self._trusts_etags and not whole else None
        return {"If-None-Match": cached.etag} if cached else {}

    def _take(self, uri: str, answer: Answer) -> Resource:
        what, status = f"{self.where}: GET {uri}", answer.status
        if status == 304 and uri in self._cache:
            return self._cache[uri].body
        if status in (404, 410):
            raise NoResourceError(f"{what}: {status}")
        if status in (401, 403):
            raise AuthenticationError(f"{what}: {status}, user {self._username!r}; check user, password and its role")
        if status in _BUSY:
            raise self._busy(what, answer)
        if status in _MOVED:
            raise ProtocolError(f"{what}: {status} to {answer.headers.get('Location', '')[:200]!r}: not followed")
        if status != 200 or not isinstance(answer.body, dict):
            raise ProtocolError(f"{what}: status {status}, {type(answer.body).__name__} instead of a JSON object")
        self._remember(uri, answer.headers.get("ETag", ""), answer.body)
        return answer.body

    def _remember(self, uri: str, etag: str, body: Resource) -> None:
        known = self._cache.pop(uri, None)
        if known is not None and known.body != body and self._trusts_etags is not False:
            self._trusts_etags = known.etag != etag
            if not self._trusts_etags:
                logger.info("%s: %s changed and its ETag did not: ETags are not trusted", self.where, uri)
        # What cannot be sent back as it came is no use.
        if etag.isascii() and etag.isprintable() and etag:
            self._cache[uri] = _Cached(etag, body)

    def _busy(self, what: str, answer: Answer, hint: str = "") -> CollectError:
        wait = retry_after(answer.headers, self._wall())
        self._busy_until = asyncio.get_running_loop().time() + wait
        error = CollectError(f"{what}: {answer.status} busy, retry after {wait:g} s{hint}")
        error.rest_seconds = wait
        return error

    async def _renew(self, used: Mapping[str, str]) -> bool:
        """Log in again, once: a restarted device has forgotten the token; return False where that was just done."""
        if self._headers == used:
            now = asyncio.get_running_loop().time()
            if now - self._renewed_at < _RENEWAL_SECONDS:
                return False
            self._renewed_at = now
            self._headers = {}
            await self._log_out(used)
        await self.log_in()
        return True

    async def _log_out(self, headers: Mapping[str, str]) -> None:
        uri, self._session_uri = self._session_uri, None
        if uri is not None:
            try:
                await self._request("DELETE", uri, headers=headers)
            except CollectError as error:
                logger.debug("log-out: %s", error)

    async def log_in(self) -> None:
        """Log in unless that was done, or there is no user name.

        Raises:
            CollectError: the device does not let us in, or does not answer.
        """
        if not self._username or self._headers:
            return
        async with self._login:
            self._check_refusal()
            if not self._headers:
                try:
                    await self._post_session()
                except AuthenticationError as e:
                    raise self._refuse(e) from e.__cause__

    def _check_refusal(self) -> None:
        """Raise what came of the password lately."""
        if self._refusal is not None and asyncio.get_running_loop().time() < self._refusal[0]:
            raise self._refusal[1]

    def _refuse(self, error: AuthenticationError) -> AuthenticationError:
        """Return the error of a wrong password, which stands for all who want to try it for a while."""
        error.rest_seconds = min(_REFUSAL_SECONDS * 4.0**self._refusals, _LONGEST_REFUSAL_SECONDS)
        self._refusals = min(self._refusals + 1, 10)
        # The time counts from the answer on: many a controller takes seconds to refuse.
        self._refusal = asyncio.get_running_loop().time() + error.rest_seconds, error
        return error

    async def _post_session(self) -> None:
        password = self._password.reveal() if self._password else ""
        what = f"{self.where}: log-in as {self._username!r}"
        answer = await self._request("POST", SESSIONS, body={"UserName": self._username, "Password": password})
        if answer.status in (200, 201) and "X-Auth-Token" in answer.headers:
            self._headers = {"X-Auth-Token": answer.headers["X-Auth-Token"]}
            self._refusals = 0
            # Some devices give a whole URL; the token goes nowhere else but back to the same device.
            uri = urlsplit(answer.headers.get("Location", "")).path
            self._session_uri = uri if _SESSION_PATH.fullmatch(uri) else None
        elif answer.status in (404, 405, 501):
            self._headers = {"Authorization": aiohttp.encode_basic_auth(self._username, password)}
        elif answer.status in (400, 401, 403):
            raise AuthenticationError(f"{what}: {answer.status}; check user and password")
        elif answer.status in _BUSY:
            raise self._busy(what, answer, _FULL)
        else:
            raise CollectError(f"{what}: status {answer.status}{_FULL if answer.status == 507 else ''}")

    async def _request(
        self, method: str, uri: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        what = f"{self.where}: {method} {uri}"
        async with self._slots:
            self._check(uri, what)
            self.requests += 1
            with explained(what):
                self.late.add(uri)
                async with self._open().request(
                    method, uri, headers=headers, json=body, allow_redirects=False
                ) as answer:
                    is_wanted = method == "GET" and answer.status == 200
                    found = json.loads(await _body(answer, what)) if is_wanted else None
                    self.late.discard(uri)
                    return Answer(answer.status, answer.headers, found)

    def _check(self, uri: str, what: str) -> None:
        """Raise CollectError where the device is not to be asked."""
        if not _OWN_PATH.fullmatch(uri):
            raise ProtocolError(f"{what}: not a path on this device")
        self._check_refusal()
        left = self._busy_until - asyncio.get_running_loop().time()
        if left > 0:
            error = CollectError(f"{what}: busy, asked to wait {left:.0f} s more")
            error.rest_seconds = left
            raise error

    def _open(self) -> aiohttp.ClientSession:
        if self._http is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(self._count)
            self._http = aiohttp.ClientSession(
                self._base,
                connector=aiohttp.TCPConnector(limit=self._limit, ssl=self._ssl, keepalive_timeout=self._keep_alive),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
            )
        return self._http

    async def _count(self, *_: object) -> None:
        self.opened += 1


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what aiohttp and JSON raise into our errors."""
    try:
        yield
    except TimeoutError as e:
        raise DeviceTimeoutError(f"{what}: timeout") from e
    except aiohttp.ClientConnectorCertificateError as e:
        hint = "trust its authority or use tls=insecure"
        raise AuthenticationError(f"{what}: certificate: {str(e)!r}; {hint}") from e
    except aiohttp.ClientConnectionError as e:
        raise DeviceRefusedError(f"{what}: {str(e)!r}") from e
    except (aiohttp.ClientError, ValueError, RecursionError) as e:
        raise ProtocolError(f"{what}: {str(e)[:200]!r}") from e


async def _body(answer: aiohttp.ClientResponse, what: str) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > _LARGEST_BODY:
            raise ProtocolError(f"{what}: more than {_LARGEST_BODY >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Return the seconds for which `Retry-After` asks, as a number or a date; `now` is epoch seconds.

    A date is measured by the device's own clock where its answer tells it: many run wrong. Nonsense counts as 5 s.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), LONGEST_BUSY_SECONDS))
    until, device = _epoch(text), _epoch(headers.get("Date", ""))
    if until is None:
        return BUSY_SECONDS
    return min(max(until - (now if device is None else device), 0.0), LONGEST_BUSY_SECONDS)


def _epoch(text: str) -> float | None:
    """Return the epoch seconds of an HTTP date."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
