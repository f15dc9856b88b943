"""A Redfish service for tests: a DMTF mock-up on a port, what it was asked, and how it behaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from collectors.collector import Target

TREES = Path(__file__).parent / "collectors" / "data" / "redfish"
CDU = "/redfish/v1/ThermalEquipment/CDUs/1"
SESSIONS = "/redfish/v1/SessionService/Sessions"
STREAM = "/redfish/v1/EventService/SSE"


@dataclass(slots=True)
class Service:
    """One tree of resources, served."""

    tree: Path = TREES / "public-cooling-unit"
    port: int = 0
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    #: path -> body instead of the file's; bytes are sent as they are
    overlay: dict[str, object] = field(default_factory=dict)
    has_sessions: bool = True
    location: str = f"http://127.0.0.1{SESSIONS}/7"
    etag: str = ""
    busy: str | None = None
    #: headers of the answer that says so
    busy_headers: dict[str, str] = field(default_factory=dict)
    #: "" for a service that does not know $expand, else good, drops, refuses, garbles
    expand: str = ""
    token: str = ""
    logins: int = 0
    #: Authorization headers seen
    credentials: set[str] = field(default_factory=set)
    #: open connections, the most at once, and all that there were
    open: int = 0
    most_open: int = 0
    opened: int = 0
    #: what goes out over the event stream; None ends it
    events: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue)
    streams: int = 0

    def target(self, **changes: object) -> Target:
        made = Target(
            "cdu-9", "redfish", f"127.0.0.1:{self.port}", options={"tls": "off"}, timeout=timedelta(seconds=20)
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    @property
    def paths(self) -> list[str]:
        """Return the paths that were asked for, in order."""
        return [path for _, path, _ in self.requests]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.credentials.add(request.headers.get("Authorization", ""))
        if request.path == STREAM:
            return await self._stream(request)
        response = await self._answer(request)
        self.requests.append((request.method, request.path_qs, response.status))
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path.rstrip("/")
        if self.busy is not None:
            return web.Response(status=503, headers={"Retry-After": self.busy, **self.busy_headers})
        if path == SESSIONS and request.method == "POST":
            return await self._log_in(request)
        if request.method == "DELETE" and path == f"{SESSIONS}/7":
            return web.Response(status=204)
        if request.method != "GET":
            return web.Response(status=405)
        if self.token and request.headers.get("X-Auth-Token") != self.token:
            return web.Response(status=401)
        if "$expand" in request.query:
            return self._expanded(path)
        if self.etag and request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304)
        return self._plain(path)

    def _plain(self, path: str) -> web.Response:
        headers = {"ETag": self.etag} if self.etag else {}
        body = self.body(path)
        return web.Response(status=404) if body is None else web.Response(body=body, headers=headers)

    def body(self, path: str) -> bytes | None:
        """Return what stands at a path."""
        if path in self.overlay:
            own = self.overlay[path]
            return own if isinstance(own, bytes) else json.dumps(own).encode()
        file = self.tree / path.removeprefix("/redfish/v1").strip("/") / "index.json"
        return file.read_bytes() if file.is_file() else None

    def _expanded(self, path: str) -> web.Response:
        if self.expand in ("", "refuses"):
            return web.Response(status=501)
        if self.expand == "garbles":
            return web.Response(body=b'{"Members": [{"@odata.id": "/redfish')
        collection: dict[str, Any] = json.loads(self.body(path) or b"{}")
        members = [json.loads(self.body(one["@odata.id"]) or b"{}") for one in collection["Members"]]
        if self.expand == "drops":
            members = [{key: one[key] for key in one if key != "Status"} for one in members]
        return web.json_response({**collection, "Members": members})

    async def _log_in(self, request: web.Request) -> web.Response:
        self.logins += 1
        if not self.has_sessions:
            return web.Response(status=404)
        if await request.json() != {"UserName": "watt", "Password": "hour"}:
            return web.Response(status=401)
        self.token = f"token-{self.logins}"
        return web.json_response({}, status=201, headers={"X-Auth-Token": self.token, "Location": self.location})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.streams += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while (part := await self.events.get()) is not None:
            await response.write(part)
        return response


class _Counting(asyncio.Protocol):
    """Pass everything on to aiohttp's own protocol and count connections."""

    def __init__(self, service: Service, inner: Any) -> None:
        self._service = service
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        service = self._service
        service.opened += 1
        service.open += 1
        service.most_open = max(service.most_open, service.open)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        found: bool | None = self._inner.eof_received()
        return found

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.open -= 1
        self._inner.connection_lost(exc)


@asynccontextmanager
async def served(tree: str = "public-cooling-unit") -> AsyncIterator[Service]:
    """Serve a mock-up on a port of 127.0.0.1 while the block runs."""
    made = Service(TREES / tree)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    loop = asyncio.get_running_loop()
    factory = runner.server
    assert factory is not None
    server = await loop.create_server(lambda: _Counting(made, factory()), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.events.put_nowait(None)
        server.close()
        await runner.cleanup()
