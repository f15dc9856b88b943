"""Whatever prints metrics as text over HTTP: inference servers, GPU and host exporters.

How a profile of `protocol: exposition` reads:

- `match: {prefix: "vllm:"}`: the endpoint is recognised by metric names that begin so; the most names win.
- `each: {labels: [model_name, engine]}`: samples with equal values of these labels are one row; the labels are its
  variables. `"UUID|uuid"` gives the spellings of a label: the first that is present counts, the first of all names the
  variable. Without `labels` the page is one row.
- `also: [pod]`: further labels that become variables without making rows; empty where the samples of a row disagree.
- `filter: {device: "eth.*"}`: only samples whose label matches as a whole; a missing label counts as empty.
- `combine: sum | max | first`: what becomes of several samples of one row (sum).
- `optional: true`: an endpoint without these metrics is complete all the same.
- `at: metric` or `at: 'metric{reason=~"stop|length", engine!="1"}'` with PromQL's matchers `= != =~ !~`; of several
  addresses, the first of which this page has a sample.
- points with `every: slow` are read each `poll.slow`, histogram buckets for instance.

A page is asked for uncompressed (on a local network gzip costs twice the CPU), gzip is understood, redirects are
followed. `username` and password make basic authentication, a password alone is a bearer token.

Source: Prometheus text format 0.0.4 (`collectors/exposition_text.py`).
"""

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Sequence

import aiohttp

from collectors.collector import (
    AuthenticationError,
    CollectError,
    Collector,
    DeviceRefusedError,
    DeviceTimeoutError,
    PollResult,
    ProtocolError,
    Target,
    UnknownDeviceError,
)
from collectors.decode import Batch
from collectors.exposition_rows import Table
from collectors.exposition_text import Parser
from collectors.profile import Profile
from storage.config import ConfigError, Problem, parse_duration

#: a longer page is refused. Units: bytes, decompressed
MAX_BYTES = 32 * 2**20

_ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4,*/*;q=0.1"
_PREFIX = re.compile(r"[a-zA-Z0-9]+[:_]?")


class ExpositionCollector:
    """Scrape one endpoint and turn its page into points."""

    def __init__(self, target: Target, profile: Profile) -> None:
        """Check the profile's groups; open nothing.

        Raises:
            ConfigError: a group that this protocol does not understand.
        """
        self._target = target
        self._profile = profile
        self._parser = Parser()
        self._tables = _read_groups(profile, self._parser)
        self._metrics = {
            slow: frozenset[str]().union(*(table.metrics(slow=slow) for table in self._tables))
            for slow in (False, True)
        }
        self._slow_ns = int(parse_duration(profile.poll.slow).total_seconds() * 1e9)
        self._last_slow_ns: int | None = None
        self._session: aiohttp.ClientSession | None = None

    async def poll(self, time_ns: int) -> PollResult:
        """Scrape once and stamp every point with `time_ns`.

        Raises:
            DeviceTimeoutError: no whole page within the target's timeout.
            DeviceRefusedError: nothing listens there, or it hangs up.
            AuthenticationError: 401, 403 or a certificate that cannot be trusted.
            ProtocolError: another status, a page that is too long or that has none of the profile's metrics.
        """
        if self._session is None:
            self._session = _open_session(self._target)
        return self.read(await _fetch(self._session, self._target), time_ns)

    def read(self, text: str, time_ns: int) -> PollResult:
        """Return what a page says, every point stamped `time_ns`.

        Raises:
            ProtocolError: the page has none of the profile's metrics.
        """
        slow = self._last_slow_ns is None or time_ns - self._last_slow_ns >= self._slow_ns
        page = self._parser.parse(text, self._metrics[slow])
        if not page.samples:
            raise ProtocolError(f"{_where(self._target)}: no metric of {self._profile.profile} in it: {_excerpt(text)}")
        batch = Batch(self._target, self._profile)
        for table in self._tables:
            table.read(page, batch, slow=slow)
        if slow:
            self._last_slow_ns = time_ns
        result = batch.finish(time_ns)
        return PollResult(result.points, result.missing, (*result.rejected, *page.rejected))

    async def aclose(self) -> None:
        """Close the connection; calling it again does nothing."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one endpoint; nothing is opened yet.

    Raises:
        CollectError: no profile.
        ConfigError: the profile has a group that this protocol does not understand.
    """
    if profile is None:
        raise CollectError(f"{_where(target)}: a metrics page needs a profile")
    return ExpositionCollector(target, profile)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Scrape once and return the profile whose prefix most metrics have.

    Raises:
        CollectError: no page, or no candidate fits; names what the page holds and the candidates.
    """
    async with _open_session(target) as session:
        text = await _fetch(session, target)
    metrics = Parser().parse(text).samples
    if not metrics:
        raise ProtocolError(f"{_where(target)}: not a page of metrics: {_excerpt(text)}")
    prefixes = {profile.profile: str(profile.match.get("prefix", "")) for profile in candidates}
    scores = {name: sum(metric.startswith(p) for metric in metrics) if p else 0 for name, p in prefixes.items()}
    best = max(candidates, key=lambda profile: scores[profile.profile], default=None)
    if best is None or not scores[best.profile]:
        seen = Counter(found[0] for metric in metrics if (found := _PREFIX.match(metric)))
        tried = ", ".join(f"{name} ({prefix})" for name, prefix in prefixes.items()) or "none"
        begin = ", ".join(prefix for prefix, _ in seen.most_common(8))
        what = f"its metrics begin with {begin}; profiles tried: {tried}"
        raise UnknownDeviceError(f"{_where(target)}: server unknown: {what}")
    return best


def _read_groups(profile: Profile, parser: Parser) -> list[Table]:
    tables, problems = [], []
    for index, group in enumerate(profile.groups):
        try:
            tables.append(Table(group, parser))
        except (ValueError, re.error) as error:
            problems.append(Problem(profile.profile, 0, f"groups[{index}]", str(error), "see collectors/exposition.py"))
    if problems:
        raise ConfigError(problems)
    return tables


def _open_session(target: Target) -> aiohttp.ClientSession:
    headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
    if target.password is not None:
        secret = target.password.reveal()
        own = aiohttp.encode_basic_auth(target.username, secret) if target.username else f"Bearer {secret}"
        headers["Authorization"] = own
    return aiohttp.ClientSession(
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=1),
        timeout=aiohttp.ClientTimeout(),
    )


async def _fetch(session: aiohttp.ClientSession, target: Target) -> str:
    """Return the page; every failure of the library becomes one of our tree, here alone."""
    where = _where(target)
    try:
        async with asyncio.timeout(target.timeout.total_seconds()), session.get(target.address) as response:
            if response.status != 200:
                raise _status_error(where, response.status, response.reason or "")
            return await _read(where, response)
    except TimeoutError as e:
        raise DeviceTimeoutError(f"{where}: no whole page within {target.timeout.total_seconds():g} s") from e
    except (aiohttp.ClientSSLError, ssl.SSLError) as e:
        raise AuthenticationError(f"{where}: TLS fails: {e}; trust the server's certificate on this host") from e
    except aiohttp.ClientConnectorError as e:
        raise DeviceRefusedError(f"{where}: cannot connect: {e.os_error}") from e
    except (aiohttp.ClientConnectionError, ConnectionError) as e:
        raise DeviceRefusedError(f"{where}: the connection broke: {e or type(e).__name__}") from e
    except (aiohttp.ClientError, ValueError) as e:
        raise ProtocolError(f"{where}: not HTTP as it should be: {type(e).__name__}: {e}") from e


def _status_error(where: str, status: int, reason: str) -> CollectError:
    what = f"{where}: HTTP {status} {reason!r}"
    if status in (401, 403):
        return AuthenticationError(f"{what}: give the target a password (a token), or a username and a password")
    hint = "; is the path right?" if status == 404 else ""
    return ProtocolError(what + hint)


async def _read(where: str, response: aiohttp.ClientResponse) -> str:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise ProtocolError(f"{where}: the page is longer than {MAX_BYTES >> 20} MiB")
    return body.decode(errors="replace")


def _excerpt(text: str) -> str:
    line = next((line for line in text.splitlines() if line and not line.startswith("#")), "")
    return f"begins with {line[:80]!r}" if line else "empty page"


def _where(target: Target) -> str:
    return f"{target.name} {target.address}"
