"""The server store on the wire: against a server that plays back answers, and against a real one (VictoriaMetrics)."""

import gzip
import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from services import free_port, listens, program, running, until

from storage.config import Secret
from storage.influxdb import InfluxDBStore
from storage.point import Point
from storage.settings import InfluxDBSettings
from storage.store import StoreError, StoreRejectedError, StoreUnavailableError

TIME_NS = 1_760_000_000_000_000_000
START, END = (datetime.fromtimestamp(1_760_000_000 + s, UTC) for s in (0, 600))
POINT = Point("gpu", {"site": "DEMO-1", "gpu": "GPU-1"}, {"power_watts": 612.5, "lost": 0}, TIME_NS)
MINUTE = timedelta(minutes=1)


@dataclass
class Wire:
    """What the server got, and what it answers next: (status, body), the last one again and again."""

    url: str = ""
    requests: list[tuple[str, dict[str, list[str]], dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=lambda: [(204, b"")])

    def paths(self) -> list[str]:
        return [path for path, *_ in self.requests]


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            url = urlsplit(self.path)
            wire.requests.append((url.path, parse_qs(url.query), dict(self.headers), body))
            status, answer = wire.answers.pop(0) if len(wire.answers) > 1 else wire.answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            self.headers["Content-Length"] = "0"
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        wire.url = f"http://127.0.0.1:{server.server_port}"
        yield wire
        server.shutdown()
        thread.join()


def store_at(url: str) -> InfluxDBStore:
    settings = InfluxDBSettings(
        url=url, org="factory", bucket="site", token=Secret("t0k3n"), timeout=timedelta(seconds=20)
    )
    return InfluxDBStore(settings)


@pytest.fixture
def store(wire: Wire) -> Iterator[InfluxDBStore]:
    opened = store_at(wire.url)
    yield opened
    opened.close()


def test_a_write_is_one_request_of_compressed_lines(wire: Wire, store: InfluxDBStore) -> None:
    store.write([POINT, POINT])
    [(path, query, headers, body)] = wire.requests
    assert path == "/api/v2/write"
    assert query == {"org": ["factory"], "bucket": ["site"], "precision": ["ns"]}
    assert headers["Authorization"] == "Token t0k3n"
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == b"gpu,site=DEMO-1,gpu=GPU-1 power_watts=612.5,lost=0i 1760000000000000000\n" * 2


def test_no_points_are_no_request(wire: Wire, store: InfluxDBStore) -> None:
    store.write([])
    assert wire.requests == []


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (400, StoreRejectedError, "field type conflict"),
        (413, StoreRejectedError, "field type conflict"),
        (422, StoreRejectedError, "field type conflict"),
        (401, StoreUnavailableError, "storage.influxdb.token"),
        (403, StoreUnavailableError, "lacks rights"),
        (429, StoreUnavailableError, "429"),
        (500, StoreUnavailableError, "500"),
        (503, StoreUnavailableError, "503"),
    ],
)
def test_answers_say_whether_a_second_try_can_help(
    wire: Wire, store: InfluxDBStore, status: int, error: type[StoreError], hint: str
) -> None:
    wire.answers = [(status, b'{"code":"x","message":"field type conflict"}')]
    with pytest.raises(error, match=hint) as raised:
        store.write([POINT])
    assert wire.url in str(raised.value)
    assert "t0k3n" not in str(raised.value)
    assert len(wire.requests) == 1


def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = store_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailableError, match="no answer"):
        store.write([POINT])
    with pytest.raises(StoreUnavailableError, match="no answer"):
        store.latest("gpu", ["power_watts"], MINUTE)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.write([POINT])


def test_a_missing_bucket_is_made_once(wire: Wire, store: InfluxDBStore) -> None:
    organization = json.dumps({"orgs": [{"id": "0123456789abcdef", "name": "factory"}]}).encode()
    missing = (404, b'{"code":"not found","message":"bucket \\"site\\" not found"}')
    wire.answers = [missing, (200, organization), (201, b'{"id":"1","name":"site","retentionRules":[]}'), (204, b"")]
    store.write([POINT])
    assert wire.paths() == ["/api/v2/write", "/api/v2/orgs", "/api/v2/buckets", "/api/v2/write"]
    assert json.loads(wire.requests[2][3])["name"] == "site"


def test_bad_points_are_refused_before_anything_is_sent(wire: Wire, store: InfluxDBStore) -> None:
    with pytest.raises(KeyError, match=r"gpu\.power_watts"):
        store.write([POINT, Point("gpu", {}, {"power_wats": 1.0}, TIME_NS)])
    assert wire.requests == []


def csv(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


def flux_of(wire: Wire, request: int = -1) -> str:
    return str(json.loads(wire.requests[request][3])["query"])


def test_latest_lays_the_newest_values_side_by_side(wire: Wire, store: InfluxDBStore) -> None:
    wire.answers = [(200, csv(
        ",result,table,_field,_time,_value,gpu,rack",
        ",_result,0,power_watts,2025-10-09T08:53:20.5Z,612.5,GPU-2,A01",
        ",_result,0,temperature_celsius,2025-10-09T08:53:10Z,61,GPU-2,A01",
        ",_result,0,power_watts,2025-10-09T08:53:20.123456789Z,90,GPU-1,",
    ))]  # fmt: skip
    frame = store.latest("gpu", ["power_watts", "temperature_celsius"], MINUTE, {"site": ["a", '"${b}']})
    assert frame["gpu"].tolist() == ["GPU-1", "GPU-2"]
    assert frame["rack"].tolist() == ["", "A01"]
    assert frame["site"].tolist() == ["", ""]
    assert frame["power_watts"].tolist() == [90.0, 612.5]
    assert frame["temperature_celsius"].isna().tolist() == [True, False]
    assert frame["time"].astype("int64").tolist() == [TIME_NS + 123_456_789, TIME_NS + 500_000_000]
    query = flux_of(wire)
    assert '(r["site"] == "a" or r["site"] == "\\"\\x24{b}")' in query
    assert query.index("last()") < query.index("group()")


def test_an_empty_answer_has_every_column(wire: Wire, store: InfluxDBStore) -> None:
    wire.answers = [(200, b"\r\n")]
    for frame in (
        store.latest("gpu", ["power_watts"], MINUTE),
        store.range("gpu", ["power_watts"], START, END, every=MINUTE, aggregate="mean"),
    ):
        assert len(frame) == 0
        assert frame.columns[-3:].tolist() == ["exporter", "time", "power_watts"]
    grouped = store.range("gpu", ["power_watts"], START, END, every=MINUTE, aggregate="rate", by=["rack"])
    assert grouped.columns.tolist() == ["rack", "time", "power_watts"]


def test_windows_of_several_series_become_one(wire: Wire, store: InfluxDBStore) -> None:
    wire.answers = [(200, csv(
        ",result,table,_field,_time,_value,gpu,rack",
        ",_result,0,power_watts,2025-10-09T08:53:20Z,100,GPU-1,A01",
        ",_result,0,power_watts,2025-10-09T08:54:00Z,110,GPU-1,A01",
        ",_result,0,power_watts,2025-10-09T08:53:20Z,300,GPU-2,A01",
    ))]  # fmt: skip
    frame = store.range("gpu", ["power_watts"], START, END, every=MINUTE, aggregate="mean", by=["rack"])
    # 08:53:20 is where the range cuts the first window; the window itself began at 08:53:00.
    assert frame["time"].dt.strftime("%H:%M:%S").tolist() == ["08:53:00", "08:54:00"]
    assert frame["power_watts"].tolist() == [200.0, 110.0]
    assert "aggregateWindow(every: 60000000000ns, fn: mean" in flux_of(wire)


def test_rate_is_growth_over_the_time_in_which_it_grew(wire: Wire, store: InfluxDBStore) -> None:
    head = ",result,table,_field,_time,_value,gpu,rack"
    wire.answers = [
        (200, csv(head, ",_result,0,energy_joules_total,2025-10-09T08:54:00Z,6000,GPU-1,A01")),
        (200, csv(head, ",_result,0,energy_joules_total,2025-10-09T08:54:00Z,20,GPU-1,A01")),
    ]
    frame = store.range("gpu", ["energy_joules_total"], START, END, every=MINUTE, aggregate="rate")
    assert frame["energy_joules_total"].tolist() == [300.0]
    assert "difference(nonNegative: true, keepFirst: true, initialZero: true)" in flux_of(wire, 0)
    assert "elapsed(unit: 1ns)" in flux_of(wire, 1)
    # Counters are read from before the start, to see what the first sample grew from.
    assert f"start: time(v: {TIME_NS - 600 * 10**9})" in flux_of(wire, 0)


def test_an_error_within_an_answer_is_no_answer(wire: Wire, store: InfluxDBStore) -> None:
    wire.answers = [(200, csv(",error,reference", ",out of memory,897"))]
    with pytest.raises(StoreUnavailableError, match="out of memory"):
        store.latest("gpu", ["power_watts"], MINUTE)


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    command: list[str | Path] = [
        program("victoria-metrics"), f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={tmp_path / 'vm'}",
        "-retentionPeriod=100y", "-loggerLevel=ERROR", "-memory.allowedBytes=64MB",
    ]  # fmt: skip
    with running(command, lambda: listens(port)):
        yield f"http://127.0.0.1:{port}"


def exported(url: str, series: str) -> list[tuple[dict[str, str], list[int], list[float]]]:
    with urllib.request.urlopen(f"{url}/internal/force_flush", timeout=60) as response:
        response.read()
    with urllib.request.urlopen(f"{url}/api/v1/export?match={quote(series)}", timeout=60) as response:
        lines = [json.loads(line) for line in response]
    return [(line["metric"], line["timestamps"], line["values"]) for line in lines]


@pytest.mark.service("victoria-metrics")
def test_what_is_written_to_victoriametrics_is_there(victoria: str) -> None:
    store = store_at(victoria)
    tags = {"site": "DEMO-1", "rack": "A 01", "gpu": "GPU-1", "model": 'B200, "rev=2" é'}
    points = [
        Point(
            "gpu", tags, {"power_watts": 600 + n / 8, "energy_joules_total": 10**13 + n, "lost": 0}, TIME_NS + n * 10**9
        )
        for n in range(5)
    ]
    store.write(points)
    store.close()
    until(lambda: exported(victoria, "gpu_power_watts"), what="VictoriaMetrics to show the points")
    [(labels, times, values)] = exported(victoria, "gpu_power_watts")
    assert {name: labels[name] for name in tags} == tags
    assert times == [(TIME_NS + n * 10**9) // 10**6 for n in range(5)]
    assert values == [600 + n / 8 for n in range(5)]
    assert exported(victoria, "gpu_energy_joules_total")[0][2] == [10**13 + n for n in range(5)]
    assert exported(victoria, "gpu_lost")[0][2] == [0] * 5
