"""One Redfish session: reads resources, writes nothing but its own log-in and log-out.

Source: DMTF DSP0266 1.20, sections 7.2 (GET, ETag), 8 (status codes), 13 (authentication).
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
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

logger = logging.getLogger(__name__)

ROOT = "/redfish/v1/"
_SESSIONS = "/redfish/v1/SessionService/Sessions"

#: a management controller is a small computer; some allow four clients in all
_CONNECTIONS = 2
#: how long to keep away from a device that is busy and does not say for how long
_BUSY_SECONDS = 5.0
#: requests that wait for a log-in share its refusal: accounts are locked after a few wrong passwords
_REFUSAL_SECONDS = 1.0

Resource = Mapping[str, Any]


class NoResourceError(Exception):
    """The device has no such resource (404, 410)."""


@dataclass(slots=True)
class _Cached:
    etag: str
    body: Resource


class Session:
    """Talk to one device over at most two connections, logged in once.

    With a user name a session token is taken (`POST Sessions`) and given back by `close`; a device without a session
    service gets Basic authentication.
    """

    def __init__(self, target: Target) -> None:
        self._where = f"{target.name} {target.address}"
        self._username = target.username
        self._password = target.password
        tls = target.options.get("tls", "on")
        self._base = f"{'http' if tls == 'off' else 'https'}://{target.address}"
        self._ssl: bool | ssl.SSLContext = tls != "insecure"
        self._timeout = aiohttp.ClientTimeout(total=target.timeout.total_seconds())
        self._http: aiohttp.ClientSession | None = None
        self._headers: dict[str, str] = {}
        #: resource of our own session
        self._session_uri: str | None = None
        self._login: asyncio.Lock | None = None
        self._refusal: tuple[float, AuthenticationError] | None = None
        self._cache: dict[str, _Cached] = {}
        #: loop time until which the device asked to be left alone
        self._busy_until = 0.0

    async def get(self, uri: str) -> Resource:
        """Return one resource.

        Raises:
            NoResourceError: the device has none there.
            CollectError: it does not answer, refuses us, is busy, or answers something that is no JSON object.
        """
        left = self._busy_until - asyncio.get_running_loop().time()
        if left > 0:
            raise CollectError(f"{self._where}: GET {uri}: busy, asked to wait {left:.0f} s more")
        await self._authenticate()
        used = dict(self._headers)
        status, headers, body = await self._request("GET", uri, headers=used | self._condition(uri))
        if status == 401 and self._username:
            # A restarted device has forgotten the token: log in again, once.
            if self._headers == used:
                self._headers = {}
                self._session_uri = None
            await self._authenticate()
            status, headers, body = await self._request("GET", uri, headers=self._headers | self._condition(uri))
        return self._take(uri, status, headers, body)

    async def close(self) -> None:
        """Log out and close the connections; a device that does not answer is left as it is."""
        http, uri = self._http, self._session_uri
        if http is None:
            return
        if uri is not None:
            self._session_uri = None
            try:
                await self._request("DELETE", uri, headers=self._headers)
            except CollectError as error:
                logger.debug("log-out: %s", error)
        self._http = None
        self._headers = {}
        await http.close()

    def _condition(self, uri: str) -> dict[str, str]:
        cached = self._cache.get(uri)
        return {"If-None-Match": cached.etag} if cached else {}

    def _take(self, uri: str, status: int, headers: Mapping[str, str], body: object) -> Resource:
        what = f"{self._where}: GET {uri}"
        if status == 304 and uri in self._cache:
            return self._cache[uri].body
        if status in (404, 410):
            raise NoResourceError(f"{what}: {status}")
        if status in (401, 403):
            raise AuthenticationError(f"{what}: {status}, user {self._username!r}; check user, password and its role")
        if status == 503:
            wait = _retry_after(headers.get("Retry-After", ""))
            self._busy_until = asyncio.get_running_loop().time() + wait
            raise CollectError(f"{what}: 503 busy, retry after {wait:g} s")
        if status != 200 or not isinstance(body, dict):
            raise ProtocolError(f"{what}: status {status}, {type(body).__name__} instead of a JSON object")
        if etag := headers.get("ETag"):
            self._cache[uri] = _Cached(etag, body)
        return body

    async def _authenticate(self) -> None:
        if not self._username or self._headers:
            return
        if self._login is None:
            self._login = asyncio.Lock()
        async with self._login:
            now = asyncio.get_running_loop().time()
            if self._refusal is not None and now - self._refusal[0] < _REFUSAL_SECONDS:
                raise self._refusal[1]
            if not self._headers:
                try:
                    await self._log_in()
                except AuthenticationError as e:
                    self._refusal = now, e
                    raise

    async def _log_in(self) -> None:
        password = self._password.reveal() if self._password else ""
        status, headers, _ = await self._request(
            "POST", _SESSIONS, json={"UserName": self._username, "Password": password}
        )
        if status in (200, 201) and "X-Auth-Token" in headers:
            self._headers = {"X-Auth-Token": headers["X-Auth-Token"]}
            # Some devices give a whole URL; the token goes nowhere else but back to the same device.
            self._session_uri = urlsplit(headers.get("Location", "")).path or None
        elif status in (404, 405, 501):
            self._headers = {"Authorization": aiohttp.encode_basic_auth(self._username, password)}
        elif status in (400, 401, 403):
            raise AuthenticationError(f"{self._where}: log-in as {self._username!r}: {status}; check user and password")
        else:
            raise CollectError(f"{self._where}: log-in as {self._username!r}: status {status}")

    async def _request(
        self, method: str, uri: str, headers: Mapping[str, str] | None = None, json: object = None
    ) -> tuple[int, Mapping[str, str], object]:
        if self._http is None:
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=self._ssl)
            jar = aiohttp.DummyCookieJar()
            self._http = aiohttp.ClientSession(self._base, connector=connector, timeout=self._timeout, cookie_jar=jar)
        what = f"{self._where}: {method} {uri}"
        if not uri.startswith("/"):
            raise ProtocolError(f"{what}: not a path on this device")
        try:
            async with self._http.request(method, uri, headers=headers, json=json, allow_redirects=False) as answer:
                body: object = None
                if method == "GET" and answer.status == 200:
                    body = await answer.json(content_type=None)
                return answer.status, answer.headers, body
        except TimeoutError as e:
            raise DeviceTimeoutError(f"{what}: timeout") from e
        except aiohttp.ClientConnectorCertificateError as e:
            raise AuthenticationError(
                f"{what}: certificate: {str(e)!r}; trust its authority or use tls=insecure"
            ) from e
        except aiohttp.ClientConnectionError as e:
            raise DeviceRefusedError(f"{what}: {str(e)!r}") from e
        except (aiohttp.ClientError, ValueError) as e:
            raise ProtocolError(f"{what}: {str(e)!r}") from e


def _retry_after(text: str) -> float:
    """Return the seconds that `Retry-After` names; dates and nonsense count as the default."""
    return float(min(int(text), 600)) if text.strip().isdigit() else _BUSY_SECONDS
