"""One page over HTTP: credentials, TLS, redirects, compression, a cap on length; each failure as one of our tree."""

import asyncio
import ssl
import zlib
from collections.abc import Mapping

import aiohttp
from yarl import URL

from collectors.address import PAGE_OPTIONS
from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    ProtocolError,
    Target,
)
from storage.config import suggest

#: a longer page is refused. Units: bytes, decompressed
MAX_BYTES = 32 * 2**20
#: redirects followed for one page
MAX_REDIRECTS = 5

_ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4,*/*;q=0.1"
_REDIRECTS = (301, 302, 303, 307, 308)
#: zlib's window bits that take a gzip or a zlib header
_ANY_HEADER = 47


class Client:
    """Ask one server, over one connection that is kept from page to page."""

    def __init__(self, target: Target) -> None:
        """Check the target's options; open nothing.

        Raises:
            CollectError: an option that does not exist, or two that exclude each other.
        """
        _check_options(target)
        self._target = target
        self._tls: ssl.SSLContext | bool | None = None
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str) -> str:
        """Return the page at `url`.

        Raises:
            DeviceTimeoutError: no whole page within the target's timeout.
            DeviceRefusedError: nothing listens there, or it hangs up.
            AuthenticationError: 401, 403, or TLS that one of the two sides does not trust.
            ProtocolError: another status, a redirect to elsewhere, a page that is too long or badly packed.
        """
        where = f"{self._target.name} {url}"
        try:
            async with asyncio.timeout(self._target.timeout.total_seconds()):
                return await self._ask(where, URL(url))
        except TimeoutError as e:
            limit = self._target.timeout.total_seconds()
            raise DeviceTimeoutError(f"{where}: no whole page within {limit:g} s") from e
        except (aiohttp.ClientError, OSError, ValueError) as e:
            error = _told(where, e, "cert" in self._target.options)
            if isinstance(error, AuthenticationError):
                # Certificates are renewed in place: the next page is asked for with the files as they are then.
                await self.aclose()
            raise error from e

    async def aclose(self) -> None:
        """Close the connection; calling it again does nothing."""
        session, self._session, self._tls = self._session, None, None
        if session is not None:
            await session.close()

    async def _ask(self, where: str, url: URL) -> str:
        if self._session is None:
            self._session = _open_session()
        if self._tls is None:
            self._tls = _trust(where, self._target.options)
        name = self._target.options.get("server_name")
        headers = _credentials(self._target)
        for _ in range(MAX_REDIRECTS + 1):
            asked = self._session.get(url, headers=headers, ssl=self._tls, server_hostname=name, allow_redirects=False)
            async with asked as response:
                if response.status not in _REDIRECTS:
                    if response.status != 200:
                        raise _status_error(where, response.status, response.reason or "")
                    return await _read(where, response)
                target = _redirect(where, url, response.headers.get("Location", ""))
            if not _keeps_credentials(url, target):
                headers = {}
            url = target
        raise ProtocolError(f"{where}: more than {MAX_REDIRECTS} redirects, the last one to {str(url)!r}")


def _check_options(target: Target) -> None:
    where = f"{target.name} {target.address}"
    for name, value in target.options.items():
        if name not in PAGE_OPTIONS:
            raise CollectError(f"{where}: a metrics page has no option {name!r}; {suggest(name, PAGE_OPTIONS)}")
        allowed = PAGE_OPTIONS[name]
        if allowed is not None and value not in allowed:
            raise CollectError(f"{where}: {name}={value!r} is not allowed; allowed: {', '.join(allowed)}")
    if "key" in target.options and "cert" not in target.options:
        raise CollectError(f"{where}: `key` without `cert`: give the client certificate that it belongs to")
    if "ca" in target.options and target.options.get("tls") == "insecure":
        raise CollectError(f"{where}: `ca` says whom to trust, tls=insecure trusts anyone: keep one of them")


def _open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"Accept": _ACCEPT, "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=1),
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
    )


def _credentials(target: Target) -> dict[str, str]:
    if target.password is None:
        return {}
    secret = target.password.reveal()
    own = aiohttp.encode_basic_auth(target.username, secret) if target.username else f"Bearer {secret}"
    return {"Authorization": own}


def _trust(where: str, options: Mapping[str, str]) -> ssl.SSLContext | bool:
    """Return how to check the server and what to show it; True is this host's own trust, False none."""
    insecure = options.get("tls") == "insecure"
    if not options.keys() & {"ca", "cert"}:
        return not insecure
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except (OSError, ValueError) as e:
        files = ", ".join(f"{name} {options[name]!r}" for name in ("ca", "cert", "key") if name in options)
        raise AuthenticationError(f"{where}: cannot read {files}: {e}; PEM files are wanted") from e
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _redirect(where: str, asked: URL, location: str) -> URL:
    """Return where a redirect leads.

    Raises:
        ProtocolError: nowhere, to another host, or from https to http.
    """
    target = asked.join(URL(location))
    if not location or target.scheme not in ("http", "https"):
        raise ProtocolError(f"{where}: a redirect without a place to go: {location!r}")
    target = target.with_user(None)
    way = f"{where}: redirects to {str(target)!r}"
    if target.host != asked.host:
        raise ProtocolError(f"{way}, another host: give the target that URL if it is to be trusted")
    if asked.scheme == "https" and target.scheme == "http":
        raise ProtocolError(f"{way}, without TLS: give the target the https URL that it means, often one ending in /")
    return target


def _keeps_credentials(asked: URL, target: URL) -> bool:
    return asked.origin() == target.origin() or (asked.scheme, target.scheme) == ("http", "https")


def _status_error(where: str, status: int, reason: str) -> CollectError:
    what = f"{where}: HTTP {status} {reason!r}"
    if status in (401, 403):
        return AuthenticationError(f"{what}: give the target a password (a token), or a username and a password")
    hint = "; is the path right?" if status == 404 else ""
    return ProtocolError(what + hint)


def _told(where: str, error: Exception, shows_certificate: bool) -> CollectError:
    """Return one of our errors for one of the library's."""
    tls = error if isinstance(error, ssl.SSLError) else error.__cause__ or error.__context__
    if isinstance(error, aiohttp.ClientSSLError) or isinstance(tls, ssl.SSLError):
        return AuthenticationError(f"{where}: TLS fails: {error or tls}; {_tls_hint(f'{error} {tls}')}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return DeviceRefusedError(f"{where}: cannot connect: {error.os_error}")
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        # TLS 1.3 learns of a missing client certificate behind the handshake, and some servers just hang up then.
        wanted = " https:" in where and not shows_certificate
        hint = "; does it want a client certificate (options cert and key)?" if wanted else ""
        return DeviceRefusedError(f"{where}: the connection broke: {error or type(error).__name__}{hint}")
    return ProtocolError(f"{where}: not HTTP as it should be: {type(error).__name__}: {error}")


def _tls_hint(said: str) -> str:
    said = said.lower().replace("_", " ")
    if "wrong version number" in said or "record layer failure" in said:
        return "does it speak http, not https?"
    if "certificate required" in said or "handshake failure" in said or "unknown ca" in said:
        return "the server wants a client certificate that it trusts: options cert and key"
    if "hostname mismatch" in said or "ip address mismatch" in said:
        return "give the name in its certificate as option server_name"
    if "key values mismatch" in said:
        return "cert and key do not belong together"
    return "name its authority with option ca, or trust it on this host"


async def _read(where: str, response: aiohttp.ClientResponse) -> str:
    packing = response.headers.get("Content-Encoding", "").strip().lower()
    if packing not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise ProtocolError(f"{where}: packed as {packing!r}; only gzip and deflate are understood")
    body = bytearray()
    unpack = _Unpacker() if packing not in ("", "identity") else None
    try:
        async for chunk in response.content.iter_any():
            body += unpack.take(chunk, MAX_BYTES + 1 - len(body)) if unpack else chunk
            if len(body) > MAX_BYTES:
                raise ProtocolError(f"{where}: the page is longer than {MAX_BYTES >> 20} MiB")
    except zlib.error as e:
        raise ProtocolError(f"{where}: not {packing} as its header says: {e}") from e
    if unpack and not unpack.complete:
        raise ProtocolError(f"{where}: the {packing} page ends before its end")
    return body.decode(errors="replace")


class _Unpacker:
    """Undo gzip or deflate piece by piece, never giving more than asked for, however much a piece would blow up to."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_ANY_HEADER)

    @property
    def complete(self) -> bool:
        """Tell whether the packed stream has come to its end."""
        return self._stream.eof

    def take(self, chunk: bytes, limit: int) -> bytes:
        """Return at most `limit` bytes of what the chunk holds."""
        out = self._stream.decompress(chunk, limit)
        while (rest := self._stream.unused_data) and len(out) < limit:
            # gzip allows several members one behind the other
            self._stream = zlib.decompressobj(_ANY_HEADER)
            out += self._stream.decompress(rest, limit - len(out))
        return out
