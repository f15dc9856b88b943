"""Redfish services of the simulated site: CDUs, nodes' BMCs, and for tests power shelves, rack PDUs, leak detectors.

Every reading is computed from the factory's state when it is asked for, with the decimals that such devices give.
Clients log in (user `monitor`) and carry a session token; resources have an ETag; collections are expanded; events go
out over one stream per client; anything that would change the device is refused.

Source: DMTF DSP0266 1.20.
"""

import asyncio
import json
import secrets
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from collectors.simulator.factory import Factory
from collectors.simulator.redfish_cdu import Cdu
from collectors.simulator.redfish_leak import LeakBox
from collectors.simulator.redfish_power import Node, RackPdu, Shelf
from collectors.simulator.redfish_tree import SESSIONS, STREAM, Event, Tree
from collectors.simulator.service import Device, Service

_USER = "monitor"
#: read as often as shelves and CDUs over other protocols
_PLANT = ("redfish_cdu", "redfish_power_shelf")
#: nodes have a BMC of their own in sites up to so many GPUs
BMC_GPUS = 128
#: how often a stream looks for what has changed
_LOOK_SECONDS = 0.25

Maker = Callable[[Factory, int, Callable[[], float]], "Cdu | Node | RackPdu | Shelf | LeakBox"]
#: profile -> class of the device that it reads, made of the factory and an index into its layout
CLASSES: Mapping[str, Maker] = {
    "redfish_cdu": Cdu,
    "redfish_environment": Node,
    "redfish_rack_pdu": RackPdu,
    "redfish_power_shelf": Shelf,
    "redfish_leak_detectors": LeakBox,
}


class _Server:
    """One device's web server: sessions, resources, ETags, events."""

    def __init__(self, factory: Factory, name: str, tree: Tree, password: str) -> None:
        self._factory = factory
        self._name = name
        self._tree = tree
        self._password = password
        self._tokens: dict[str, str] = {}

    def app(self) -> web.Application:
        """Return the application with all its routes."""
        app = web.Application(middlewares=[self._behave])
        app.router.add_post(SESSIONS, self._log_in)
        app.router.add_delete(SESSIONS + "/{token}", self._log_out)
        app.router.add_get(STREAM, self._tell)
        app.router.add_get("/{path:.*}", self._get)
        return app

    @web.middleware
    async def _behave(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Answer late, or not at all, where a fault says so."""
        if self._name in self._factory.silent:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("silent")
        if delay := self._factory.slow.get(self._name, 0.0):
            await asyncio.sleep(delay)
        answer: web.StreamResponse = await handler(request)
        if not answer.prepared:
            answer.headers["OData-Version"] = "4.0"
        return answer

    async def _log_in(self, request: web.Request) -> web.Response:
        try:
            wanted = await request.json()
        except ValueError:
            return _error(400, "Base.1.18.MalformedJSON")
        if not isinstance(wanted, dict) or (wanted.get("UserName"), wanted.get("Password")) != (_USER, self._password):
            return _error(401, "Base.1.18.NoValidSession")
        number, token = str(len(self._tokens) + 1), secrets.token_hex(16)
        self._tokens[number] = token
        headers = {"X-Auth-Token": token, "Location": f"{SESSIONS}/{number}"}
        return web.json_response({"Id": number, "UserName": _USER}, status=201, headers=headers)

    async def _log_out(self, request: web.Request) -> web.Response:
        known = self._tokens.pop(request.match_info["token"], None)
        return web.Response(status=204) if known else _error(404, "Base.1.18.ResourceMissingAtURI")

    def _knows(self, request: web.Request) -> bool:
        return request.headers.get("X-Auth-Token") in self._tokens.values()

    async def _get(self, request: web.Request) -> web.Response:
        path = request.path.rstrip("/")
        if path != "/redfish/v1" and not self._knows(request):
            return _error(401, "Base.1.18.NoValidSession")
        is_expanded = "$expand" in request.query
        resource = self._tree.expanded(path) if is_expanded else self._tree.get(path)
        if resource is None:
            return _error(404, "Base.1.18.ResourceMissingAtURI")
        body = json.dumps(resource).encode()
        etag = f'"{zlib.crc32(body):08x}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, content_type="application/json", headers={"ETag": etag})

    async def _tell(self, request: web.Request) -> web.StreamResponse:
        if not self._knows(request):
            return _error(401, "Base.1.18.NoValidSession")
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await stream.prepare(request)
        await stream.write(b": hello\n\n")
        known = {path: tell() for path, tell in self._tree.watched.items()}
        number = 0
        while self._name not in self._factory.silent:
            await asyncio.sleep(_LOOK_SECONDS)
            for path, tell in self._tree.watched.items():
                if (event := tell()) != known[path]:
                    known[path], number = event, number + 1
                    await stream.write(_event(number, path, event, self._factory.state.time))
        return stream


def _event(number: int, path: str, event: Event, now: float) -> bytes:
    record = {
        "EventId": str(number),
        "MemberId": "1",
        "EventType": "Alert",
        "EventTimestamp": datetime.fromtimestamp(now, UTC).isoformat(),
        "MessageId": event[0],
        "MessageSeverity": event[1],
        "OriginOfCondition": {"@odata.id": path},
    }
    body = {"@odata.type": "#Event.v1_11_0.Event", "Id": str(number), "Name": "Event", "Events": [record]}
    return f"id: {number}\ndata: {json.dumps(body)}\n\n".encode()


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": code.rsplit(".", 1)[-1]}}, status=status)


async def serve(
    factory: Factory, wanted: Sequence[tuple[str, str, int]], clock: Callable[[], float] = time.time
) -> Service:
    """Serve devices, each given as profile, name and index into the layout, on ports of their own of 127.0.0.1."""
    runners: list[web.AppRunner] = []
    devices: list[Device] = []
    for profile, name, index in wanted:
        password = secrets.token_urlsafe(9)
        tree = CLASSES[profile](factory, index, clock).tree()
        runner = web.AppRunner(_Server(factory, name, tree, password).app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"redfish://{_USER}@127.0.0.1:{runner.addresses[0][1]}?tls=off"
        host = factory.layout.hosts[index].name if profile == "redfish_environment" else ""
        interval = factory.layout.plant_seconds if profile in _PLANT else 5.0
        devices.append(Device(name, url, profile, interval, password=password, host=host))

    async def close() -> None:
        await asyncio.gather(*(runner.cleanup() for runner in runners))

    return Service(tuple(devices), close)


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Serve each CDU with protocol redfish, and in small sites the BMC of each node."""
    layout = factory.layout
    wanted = [("redfish_cdu", cdu.name, index) for index, cdu in enumerate(layout.cdus) if cdu.protocol == "redfish"]
    if layout.gpus <= BMC_GPUS:
        wanted += [("redfish_environment", f"bmc-{host.name}", index) for index, host in enumerate(layout.hosts)]
    return await serve(factory, wanted, clock)
