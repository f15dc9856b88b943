"""Plain routes beside the pages: the live snapshot, the history, health and our own metrics.

Sources: RFC 9110 (conditional requests, content negotiation), OpenMetrics 1.0.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson
from flask import Flask, Response, request

from dashboard.fabric.answer import METRIC_NAMES
from dashboard.live import Live, Payload
from dashboard.totals import TooEarlyError, WindowError, window
from storage.store import StoreError

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class _Requests:
    """How many requests each route answered, by status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], int] = {}

    def count(self, route: str, status: int) -> None:
        with self._lock:
            self._counts[route, status] = self._counts.get((route, status), 0) + 1

    def lines(self) -> list[str]:
        with self._lock:
            counts = sorted(self._counts.items())
        return [
            "# TYPE tokenwatt_http_requests counter",
            *(f'tokenwatt_http_requests_total{{route="{r}",status="{s}"}} {n}' for (r, s), n in counts),
        ]


def register(server: Flask, live: Live) -> None:
    """Add the routes to the server. All but the totals and one port send what `live` has, without reading the store."""
    requests = _Requests()

    @server.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "other"
        if route.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
            requests.count(route, response.status_code)
        return response

    def send(ready: Callable[[], Payload | None]) -> Response:
        payload = ready()
        return _text("not ready yet\n", 503) if payload is None else _conditional(payload)

    server.add_url_rule("/api/v1/snapshot", "snapshot", lambda: send(lambda: live.snapshot))
    server.add_url_rule("/api/v1/history", "history", lambda: send(lambda: live.history))
    server.add_url_rule("/api/v1/fabric", "fabric", lambda: _fabric(live))
    server.add_url_rule("/api/v1/fabric/port", "fabric_port", lambda: _fabric_port(live))
    server.add_url_rule("/api/v1/facility", "facility", lambda: send(live.facility))
    server.add_url_rule("/api/v1/totals", "totals", lambda: _totals(live))
    # Dash answers every other path with its page, also those of a mistyped client.
    server.add_url_rule("/api/<path:path>", "no_api", lambda path: _text(f"no such path: /api/{path}\n", 404))
    server.add_url_rule("/healthz", "healthz", lambda: _text("ok\n", 200))
    server.add_url_rule("/readyz", "readyz", lambda: _ready(live.problem))
    server.add_url_rule("/metrics", "metrics", lambda: _metrics(live, requests))


def _conditional(payload: Payload) -> Response:
    """Return the payload, compressed if the client takes gzip; 304 without body if it has this one."""
    zipped = request.accept_encodings["gzip"] > 0
    # The two encodings are two representations, so each has its own strong tag.
    etag = f"{payload.etag}-gzip" if zipped else payload.etag
    response = Response(payload.gzipped if zipped else payload.body, mimetype="application/json")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Vary"] = "Accept-Encoding"
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(etag)
    return response.make_conditional(request)  # type: ignore[return-value]


def _fabric(live: Live) -> Response:
    """Return the fabric with the metric of the query on its ports."""
    metric = request.args.get("metric") or METRIC_NAMES[0]
    if metric not in METRIC_NAMES:
        return _json({"error": f"metric {metric!r} is none of {', '.join(METRIC_NAMES)}"}, 400)
    payload = live.fabric(metric)
    return _text("not ready yet\n", 503) if payload is None else _conditional(payload)


def _fabric_port(live: Live) -> Response:
    """Return one port in depth; mistakes as {"error": ...}."""
    device, interface = (request.args.get(name, "") for name in ("device", "interface"))
    try:
        payload = live.fabric_port(device, interface)
    except StoreError as error:
        return _json({"error": str(error)}, 503)
    if payload is None:
        return _json({"error": f"nobody tells of a port {interface!r} of {device!r}"}, 404)
    return _conditional(payload)


def _totals(live: Live) -> Response:
    """Return the growth of all counters over the window of the query; mistakes as {"error": ...}."""
    try:
        start, end = window(request.args.get("start"), request.args.get("end"))
        found = live.totals(start, end)
    except WindowError as error:
        return _json({"error": str(error)}, 400)
    except TooEarlyError as error:
        return _json({"error": str(error), "data_time": error.data_time}, 409)
    except StoreError as error:
        return _json({"error": str(error)}, 503)
    return _json(asdict(found), 200)


def _json(content: Mapping[str, Any], status: int) -> Response:
    body = orjson.dumps(content)
    return Response(body, status=status, mimetype="application/json", headers={"Cache-Control": "no-store"})


def _text(text: str, status: int) -> Response:
    return Response(text, status=status, mimetype="text/plain", headers={"Cache-Control": "no-store"})


def _ready(problem: str) -> Response:
    return _text(f"{problem}\n", 503) if problem else _text("ready\n", 200)


def _metrics(live: Live, requests: _Requests) -> Response:
    told = [*_families("tokenwatt_dashboard", live.numbers()), *_families("tokenwatt_collector", live.stats())]
    body = "\n".join([*told, *requests.lines(), "# EOF", ""])
    return Response(body, content_type=OPENMETRICS, headers={"Cache-Control": "no-store"})


def _families(prefix: str, numbers: Mapping[str, float]) -> list[str]:
    """Return one family per number; a name that ends in _total is a counter."""
    lines: list[str] = []
    for name, value in sorted(numbers.items()):
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"# TYPE {prefix}_{name.removesuffix('_total')} {kind}")
        lines.append(f"{prefix}_{name} {float(value)!r}")
    return lines
