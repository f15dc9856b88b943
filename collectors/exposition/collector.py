"""Whatever prints metrics as text over HTTP: inference servers, GPU and host exporters.

How a profile of `protocol: exposition` reads:

- `match: {prefix: "vllm:"}`: the endpoint is recognised by metric names that begin so. `prefix` may be a list;
  `metrics: [num_request_max, prompt_tokens_total]` must all be on the page, for servers whose names have no beginning
  of their own; `without: ["vllm:"]` are beginnings that must not be there. Of several profiles that fit, the highest
  `rank` (0) wins, then the most names: engines rank above the frontends that pass their metrics through. Families that
  a page announces (`# TYPE`) without a sample count too: a server before its first request is recognised.
- `match: {paths: [/metrics/all]}`: where the page of this server may be when the target's URL has no path; the URL
  itself is asked first, after these `/prometheus/metrics`, `/v1/metrics` and `/metrics`; the first page that fits is
  kept.
- `each: {labels: [model_name, engine]}`: samples with equal values of these labels are one row; the labels are its
  variables. `"UUID|uuid"` gives the spellings of a label: the first that is present counts, the first of all names the
  variable. Without `labels` the page is one row. No other label leaves this module, and labels that tell of a person, a
  key or a request (`collectors/exposition/each.py`, PERSONAL) are refused here.
- `also: [pod]`: further labels that become variables without making rows; empty where the samples of a row disagree.
- `filter: {device: "eth.*"}`: only samples whose label matches as a whole; a missing label counts as empty, so that
  `priority: ""` takes the samples without it and `tp_rank: "0|"` those with 0 or without.
- `combine: sum | max | min | first`: what becomes of several samples of one row (sum).
- `parts: [dp_rank]`: samples with equal values of these labels too are one part of their row: `combine` makes one value
  of each part, and the parts are added. `combine: max` with `parts: [dp_rank]` takes ranks that repeat each other once.
- `page: [process_start_time_seconds]`: metrics of the page as a whole: their sample (of several the largest) goes to
  every row that the group has on this page; `labels` and `filter` do not touch them.
- `blank: ["2147483632..2147483647", 140737488355328]`: samples of these values say nothing. `max`, `min` and `first`
  pass over them while the row has others, a sum is withheld; what is withheld counts as rejected. NaN, infinities, and
  negative samples of fields that cannot be negative are blank always.
- `optional: true`, or `optional: [inference.start_time_seconds]` for some of its fields: an endpoint without these
  metrics is complete all the same.
- `at: metric` or `at: 'metric{reason=~"stop|length", engine!="1"}'` with PromQL's matchers `= != =~ !~`; of several
  addresses, the first of which this page has a sample that is not blank.
- `at: 'max(vllm:generation_tokens_created)'`: `sum max min first` over all samples of a row, whatever `combine` says.
- `at: 'used{kind="used"} / used{kind="max"}'`, `at: "a - b"`, `at: "a + b + c"`: rows that have all of them; nothing is
  divided by zero. One kind of operator in an address; `scale` and `unit` apply to the result.
- a text field takes a label of its row: `{to: gpu_info.driver, at: [DCGM_FI_DRIVER_VERSION, driver_version]}`, the
  first of them that the samples of the group's other points have and agree on; a page without it is complete.
- points with `every: slow` are read each `poll.slow`, histogram buckets for instance. `x_sum` and `x_count` of
  histograms and summaries, `x_created` and `x_info` are metrics like others, by the name that is printed.

How a page is asked for: `collectors/exposition/http.py`. It is asked for uncompressed (on a local network gzip costs
twice the CPU), gzip is understood; redirects are followed on the same host. `username` and `password` make basic
authentication, a password alone is a bearer token. Options: `tls` on, insecure; `ca`, `cert`, `key`, `server_name`.

Source: Prometheus text format 0.0.4 (`collectors/exposition/text.py`).
"""

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError

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
from collectors.exposition.check import check_profile as check_profile
from collectors.exposition.http import Client
from collectors.exposition.match import Match, choose, possible_urls
from collectors.exposition.rows import Table
from collectors.exposition.text import Page, Parser
from collectors.profile import Profile
from storage.config import ConfigError, Problem, parse_duration

#: a longer page is read beside the event loop: other polls must not wait for it. Units: characters
LONG_PAGE = 2**18

_T = TypeVar("_T")


class ExpositionCollector:
    """Scrape one endpoint and turn its page into points."""

    def __init__(self, target: Target, profile: Profile) -> None:
        """Check the profile and the target's options; open nothing.

        Raises:
            ConfigError: a profile that this protocol does not understand.
            CollectError: options that a metrics page does not have.
        """
        self._target = target
        self._profile = profile
        self._client = Client(target)
        self._parser = Parser()
        self._match, self._tables = _read_profile(profile, self._parser)
        self._metrics = {
            slow: frozenset[str]().union(*(table.metrics(slow=slow) for table in self._tables))
            for slow in (False, True)
        }
        self._slow_ns = int(parse_duration(profile.poll.slow).total_seconds() * 1e9)
        self._last_slow_ns: int | None = None
        self._urls = possible_urls(target.address, self._match.paths)
        #: held while a page is read
        self._reading = threading.Lock()
        #: where the page was found
        self._url: str | None = None if len(self._urls) > 1 else target.address

    async def poll(self, time_ns: int) -> PollResult:
        """Scrape once and stamp every point with `time_ns`.

        Raises:
            DeviceTimeoutError: no whole page within the target's timeout.
            DeviceRefusedError: nothing listens there, or it hangs up.
            AuthenticationError: 401, 403 or a certificate that cannot be trusted.
            ProtocolError: another status, a page that is too long or that has none of the profile's metrics.
        """
        if self._url is not None:
            return await self._read(self._url, time_ns)
        errors = []
        for url in self._urls:
            try:
                result = await self._read(url, time_ns)
            except (DeviceTimeoutError, DeviceRefusedError):
                raise
            except CollectError as error:
                errors.append(error)
            else:
                self._url = url
                return result
        raise _most_telling(errors)

    def read(self, text: str, time_ns: int) -> PollResult:
        """Return what a page says, every point stamped `time_ns`.

        Raises:
            ProtocolError: the page has none of the profile's metrics.
        """
        slow = self._last_slow_ns is None or time_ns - self._last_slow_ns >= self._slow_ns
        page = self._parser.parse(text, self._metrics[slow])
        if not page.samples and not self._announces(page):
            raise ProtocolError(f"{_where(self._target)}: no metric of {self._profile.profile} in it: {_excerpt(text)}")
        batch = Batch(self._target, self._profile)
        for table in self._tables:
            table.read(page, batch, slow=slow)
        if slow:
            self._last_slow_ns = time_ns
        result = batch.finish(time_ns)
        return PollResult(result.points, result.missing, (*result.rejected, *page.rejected))

    async def _read(self, url: str, time_ns: int) -> PollResult:
        text = await self._client.get(url)
        return await _beside(text, lambda: self._read_alone(text, time_ns))

    def _read_alone(self, text: str, time_ns: int) -> PollResult:
        if not self._reading.acquire(blocking=False):
            raise DeviceTimeoutError(f"{_where(self._target)}: the page before it is still being read")
        try:
            return self.read(text, time_ns)
        finally:
            self._reading.release()

    async def aclose(self) -> None:
        """Close the connection; calling it again does nothing."""
        await self._client.aclose()

    def metrics(self, *, slow: bool) -> frozenset[str]:
        """Return the metrics that it reads of a page, those of slow points if asked for."""
        return self._metrics[slow]

    def _announces(self, page: Page) -> bool:
        """Tell whether the page names families of this server that have no sample yet, as before a first request."""
        return bool(self._match.prefix) and any(family.startswith(self._match.prefix) for family in page.types)


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one endpoint; nothing is opened yet.

    Raises:
        CollectError: no profile, or options that a metrics page does not have.
        ConfigError: the profile has a group or a match that this protocol does not understand.
    """
    if profile is None:
        raise CollectError(f"{_where(target)}: a metrics page needs a profile")
    return ExpositionCollector(target, profile)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Scrape once and return the profile that the page fits best; a URL without a path is tried at the usual paths.

    Raises:
        UnknownDeviceError: a page of metrics that no candidate fits; names what it holds and the candidates.
        CollectError: no page of metrics.
    """
    paths = [path for profile in candidates for path in Match.model_validate(dict(profile.match)).paths]
    errors = []
    client = Client(target)
    try:
        for url in possible_urls(target.address, paths):
            try:
                return await _identify(f"{target.name} {url}", await client.get(url), candidates)
            except (DeviceTimeoutError, DeviceRefusedError):
                raise
            except CollectError as error:
                errors.append(error)
    finally:
        await client.aclose()
    raise _most_telling(errors)


async def _beside(text: str, read: Callable[[], _T]) -> _T:
    """Return what `read` makes of a page, a long one in a thread of its own."""
    return read() if len(text) < LONG_PAGE else await asyncio.to_thread(read)


async def _identify(where: str, text: str, candidates: Sequence[Profile]) -> Profile:
    return await _beside(text, lambda: _identify_page(where, text, candidates))


def _identify_page(where: str, text: str, candidates: Sequence[Profile]) -> Profile:
    page = Parser().parse(text)
    if not page.samples:
        raise ProtocolError(f"{where}: not a page of metrics: {_excerpt(text)}")
    return choose(where, {*page.samples, *page.types}, candidates)


def _most_telling(errors: Sequence[CollectError]) -> CollectError:
    """Return what to say where no path brought a page that fits: an unknown server before a refusal before the rest."""
    kinds = (UnknownDeviceError, AuthenticationError, CollectError)
    return next(error for kind in kinds for error in errors if isinstance(error, kind))


def _read_profile(profile: Profile, parser: Parser) -> tuple[Match, list[Table]]:
    match, tables, problems = Match(), [], []
    try:
        match = Match.model_validate(dict(profile.match))
    except ValidationError as error:
        problems.append(_problem(profile, "match", error))
    for index, group in enumerate(profile.groups):
        try:
            tables.append(Table(group, parser))
        except (ValueError, re.error) as error:
            problems.append(_problem(profile, f"groups[{index}]", error))
    if problems:
        raise ConfigError(problems)
    return match, tables


def _problem(profile: Profile, key: str, error: Exception) -> Problem:
    return Problem(profile.profile, 0, key, str(error), "see collectors/exposition/collector.py")


def _excerpt(text: str) -> str:
    line = next((line for line in text.splitlines() if line and not line.startswith("#")), "")
    # Never the labels, which may tell of a person.
    return f"begins with {line.partition('{')[0][:80]!r}" if line else "empty page"


def _where(target: Target) -> str:
    return f"{target.name} {target.address}"
