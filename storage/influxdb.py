"""A store on an InfluxDB 2.x server. Whatever takes line protocol at /api/v2/write can be written to.

Sources: InfluxDB v2 API reference (`/api/v2/write`, `/api/v2/query`); annotated CSV reference; influxdb-client 1.50.
"""

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import pandas as pd
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.dialect import Dialect
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService
from urllib3.exceptions import HTTPError

from storage import flux
from storage.lineprotocol import Encoder
from storage.point import Point
from storage.question import LOOKBACK, check_question, epoch_ns, to_ns
from storage.schema import Measurement, check_tags
from storage.settings import InfluxDBSettings
from storage.store import ALL, Aggregate, StoreError, StoreRejectedError, StoreUnavailableError, Tags

#: answers that no second try can better: bad lines, a body too large, values that do not fit
_REJECTED = (400, 413, 422)
_HINTS = {401: "check storage.influxdb.token", 403: "the token lacks rights", 404: "check storage.influxdb.org"}
#: how the values of several series in one window become one, as pandas names it
_ACROSS: Mapping[Aggregate, str] = {
    "mean": "mean",
    "min": "min",
    "max": "max",
    "last": "last",
    "sum": "sum",
    "p50": "mean",
    "p95": "mean",
    "increase": "sum",
    "rate": "sum",
}
#: how far ahead of ours the clock of a device may run
_AHEAD = timedelta(days=1)


class InfluxDBStore:
    """Keep points in a bucket of an InfluxDB server; the first write makes the bucket when it is missing.

    A percentile that falls between two samples is their mean here, and interpolated in DuckDB.
    """

    def __init__(self, settings: InfluxDBSettings) -> None:
        """Take the settings; the first packet leaves with the first call."""
        self._settings = settings
        self._encoder = Encoder()
        self._client: InfluxDBClient | None = InfluxDBClient(
            url=settings.url,
            token=settings.token.reveal(),
            org=settings.org,
            timeout=round(settings.timeout.total_seconds() * 1000),
        )

    def write(self, points: Sequence[Point]) -> None:
        """Keep all points with one request, or raise; see `Store.write`.

        After StoreRejectedError the server may have kept the points that it found right.
        """
        if not points:
            return
        body = gzip.compress(self._encoder.encode(points), compresslevel=1)
        with self._errors() as client:
            try:
                self._post(client, body)
            except ApiException as error:
                if error.status != 404:
                    raise
                self._make_bucket(client)
                self._post(client, body)

    def latest(self, measurement: str, fields: Sequence[str], within: timedelta, where: Tags = ALL) -> pd.DataFrame:
        """Return the newest value of each field per series; see `Store.latest`."""
        own = check_question(measurement, fields)
        check_tags(own, where)
        now = time.time_ns()
        rows = self._rows(own, fields, where, now - to_ns(within), now + to_ns(_AHEAD), flux.latest)
        newest = rows.groupby(list(own.tags), sort=False)["ns"].transform("max")
        return flux.wide(rows.assign(ns=newest), list(own.tags), fields, own)

    def range(
        self,
        measurement: str,
        fields: Sequence[str],
        start: datetime,
        end: datetime,
        *,
        every: timedelta | None,
        aggregate: Aggregate,
        by: Sequence[str] = (),
        where: Tags = ALL,
    ) -> pd.DataFrame:
        """Return samples or windows of [start, end); see `Store.range`.

        The growth into the first sample counts from the last one before `start`, if it is no older than `LOOKBACK` (or
        `every`, when that is longer).
        """
        own = check_question(measurement, fields, every, aggregate)
        check_tags(own, (*by, *where))
        first, last = epoch_ns(start), epoch_ns(end)
        if every is None:
            rows = self._rows(own, fields, where, first, last, lambda samples: samples)
            return flux.wide(rows, list(own.tags), fields, own)
        rows = self._windows(own, fields, where, (first, last), to_ns(every), aggregate)
        keys = list(by or own.tags)
        if by:
            rows = rows.sort_values(["time", *own.tags])
            rows = rows.groupby([*keys, "ns", "_field"])["_value"].agg(_ACROSS[aggregate]).reset_index()
        return flux.wide(rows, keys, fields, own)

    def close(self) -> None:
        """Close the connections; calling it again does nothing."""
        client, self._client = self._client, None
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]

    def _windows(
        self,
        own: Measurement,
        fields: Sequence[str],
        where: Tags,
        span: tuple[int, int],
        every: int,
        aggregate: Aggregate,
    ) -> pd.DataFrame:
        """Return long rows, one per series, field and window: `time` of its last sample or start, `ns` of its start."""
        first, last = span
        if aggregate in ("increase", "rate"):
            before = first - max(to_ns(LOOKBACK), every)
            rows = self._rows(own, fields, where, before, last, lambda s: flux.growth(s, every, first))
        else:
            rows = self._rows(own, fields, where, first, last, lambda s: flux.windows(s, aggregate, every))
        rows = rows.assign(time=rows["ns"], ns=rows["ns"] - rows["ns"] % every)
        if aggregate == "rate":
            seconds = self._rows(own, fields, where, before, last, lambda s: flux.growing(s, every, first))
            seconds = seconds.assign(ns=seconds["ns"] - seconds["ns"] % every).rename(columns={"_value": "seconds"})
            rows = rows.merge(seconds, on=[*own.tags, "_field", "ns"])
            rows["_value"] = rows["_value"] / rows.pop("seconds")
        return rows

    def _rows(
        self,
        own: Measurement,
        fields: Sequence[str],
        where: Tags,
        start: int,
        end: int,
        pipe: Callable[[str], str],
    ) -> pd.DataFrame:
        """Return long rows: the tags, `_field`, `ns`, `_value`. Text is asked for apart, since a table has one type."""
        answers = []
        texts = [name for name in fields if own.fields[name].kind == "text"]
        for names, number in (([name for name in fields if name not in texts], True), (texts, False)):
            if names:
                samples = flux.source(self._settings.bucket, own, names, where, start, end)
                answer = self._query(flux.table(pipe(samples), own, number=number))
                answers.append(flux.parse(answer, own, number=number))
        return pd.concat(answers, ignore_index=True)

    def _query(self, query: str) -> bytes:
        with self._errors() as client:
            dialect = Dialect(header=True, annotations=[])  # type: ignore[no-untyped-call]
            response = client.query_api().query_raw(query, dialect=dialect)
            try:
                return bytes(response.data)
            finally:
                response.release_conn()

    def _post(self, client: InfluxDBClient, body: bytes) -> None:
        service = WriteService(client.api_client)  # type: ignore[no-untyped-call]
        service.post_write(  # type: ignore[no-untyped-call]
            self._settings.org,
            self._settings.bucket,
            body,
            precision="ns",
            content_encoding="gzip",
            content_type="text/plain; charset=utf-8",
        )

    def _make_bucket(self, client: InfluxDBClient) -> None:
        try:
            client.buckets_api().create_bucket(bucket_name=self._settings.bucket, org=self._settings.org)
        except ApiException as error:
            if error.status != 422:  # another process made it meanwhile
                raise

    @contextmanager
    def _errors(self) -> Iterator[InfluxDBClient]:
        """Give the client, and turn what it raises into StoreError."""
        if self._client is None:
            raise StoreError(f"{self._settings.url}: the store is closed")
        try:
            yield self._client
        except ApiException as error:
            kind = StoreRejectedError if error.status in _REJECTED else StoreUnavailableError
            raise kind(f"{self._settings.url}: {_reason(error)}") from error
        except (InfluxDBError, HTTPError, OSError) as error:
            raise StoreUnavailableError(f"{self._settings.url}: no answer: {error}") from error


def _reason(error: ApiException) -> str:
    """Return the status, what the server says, and the way out."""
    text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body or ""
    try:
        text = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        pass
    hint = _HINTS.get(error.status)
    return f"HTTP {error.status} {error.reason}: {text[:500]!r}" + (f"; {hint}" if hint else "")
