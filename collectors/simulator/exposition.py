"""The metrics pages of all hosts on one HTTP server, a path each: GPU exporters and inference servers."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from collectors.simulator.amd import AmdPage
from collectors.simulator.dcgm import DcgmPage
from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host
from collectors.simulator.service import Device, Service
from collectors.simulator.sglang import SglangPage
from collectors.simulator.vllm import VllmPage

#: how often a silent device looks whether it may speak again
_SILENCE_SECONDS = 0.2


class Page(Protocol):
    """What one server prints."""

    def render(self, now: float) -> str:
        """Return the page as it is at `now` (epoch seconds)."""
        ...


class _Pages:
    """Every page by its path, with the name of the device that it belongs to."""

    def __init__(self, factory: Factory, clock: Callable[[], float]) -> None:
        self._factory = factory
        self._clock = clock
        self._stale: dict[str, bytes] = {}
        self.devices: dict[str, tuple[str, str, Page]] = {}
        for host in factory.layout.hosts:
            if host.gpu_source == "dcgm":
                self.devices[f"/{host.name}/metrics"] = (host.name, "dcgm_exporter", DcgmPage(factory, host))
            if host.gpu_source == "amd":
                self.devices[f"/{host.name}/metrics"] = (host.name, "amd_exporter", AmdPage(factory, host))
        self._add_servers(factory)

    def _add_servers(self, factory: Factory) -> None:
        """Give every serving host its inference server; the first SGLang lets all its ranks count."""
        seen: set[str] = set()
        for host in factory.layout.hosts:
            if host.engine is None:
                continue
            name = factory.layout.server_of(host)
            server = name.split("-")[0]
            page = _server_page(factory, host, host.engine, server, first=server not in seen)
            self.devices[f"/{host.name}/{server}/metrics"] = (name, server, page)
            seen.add(server)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one scrape with the numbers of this very moment, or old ones, or late, or not at all."""
        found = self.devices.get(request.path)
        if found is None:
            return web.Response(status=404, text="404 page not found\n")
        name, _, page = found
        if name in self._factory.refused:
            return _hang_up(request)
        while name in self._factory.silent:
            await asyncio.sleep(_SILENCE_SECONDS)
        await asyncio.sleep(self._factory.slow.get(name, 0.0))
        return web.Response(
            body=self._body(name, page), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    def _body(self, name: str, page: Page) -> bytes:
        if name not in self._factory.stale:
            self._stale.pop(name, None)
        elif name in self._stale:
            return self._stale[name]
        body = page.render(self._clock()).encode()
        if name in self._factory.stale:
            self._stale[name] = body
        return body


def _hang_up(request: web.Request) -> web.Response:
    """Break the connection off; nobody sees the answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _server_page(factory: Factory, host: Host, engine: int, server: str, *, first: bool) -> Page:
    if server == "sglang":
        return SglangPage(factory, host, engine, all_ranks=first)
    return VllmPage(factory, host, engine)


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Serve `/<host>/metrics` (dcgm or AMD) and `/<host>/vllm/metrics` (or sglang) on a free port of 127.0.0.1."""
    pages = _Pages(factory, clock)
    app = web.Application()
    app.router.add_get("/{path:.*}", pages.answer)
    # A client that gave up cancels its handler, so that nothing piles up behind a silent device.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    devices = tuple(
        Device(name, f"http://{host}:{port}{path}", profile, factory.layout.scrape_seconds)
        for path, (name, profile, _) in pages.devices.items()
    )
    return Service(devices, runner.cleanup)
