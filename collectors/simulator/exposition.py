"""The metrics pages of all hosts: dcgm-exporter and vLLM, on one HTTP server with a path per host."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from collectors.simulator.dcgm import DcgmPage
from collectors.simulator.factory import Factory
from collectors.simulator.service import Device, Service
from collectors.simulator.vllm import VllmPage

#: above this many GPUs pages are scraped every 10 s
_LARGE = 1024
#: how often a silent device looks whether it may speak again
_SILENCE_SECONDS = 0.2


class _Pages:
    """Every page by its path, with the name of the device that it belongs to."""

    def __init__(self, factory: Factory, clock: Callable[[], float]) -> None:
        self._factory = factory
        self._clock = clock
        self.devices: dict[str, tuple[str, str, DcgmPage | VllmPage]] = {}
        for host in factory.layout.hosts:
            if host.gpu_source == "dcgm":
                self.devices[f"/{host.name}/metrics"] = (host.name, "dcgm_exporter", DcgmPage(factory, host))
            if host.engine is not None:
                page = VllmPage(factory, host, host.engine)
                self.devices[f"/{host.name}/vllm/metrics"] = (f"vllm-{host.name}", "vllm", page)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one scrape with the numbers of this very moment, or late, or not at all."""
        found = self.devices.get(request.path)
        if found is None:
            return web.Response(status=404, text="404 page not found\n")
        name, _, page = found
        while name in self._factory.silent:
            await asyncio.sleep(_SILENCE_SECONDS)
        await asyncio.sleep(self._factory.slow.get(name, 0.0))
        body = page.render(self._clock()).encode()
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Serve `/<host>/metrics` (dcgm-exporter) and `/<host>/vllm/metrics` (vLLM) on a free port of 127.0.0.1."""
    pages = _Pages(factory, clock)
    app = web.Application()
    app.router.add_get("/{path:.*}", pages.answer)
    # A client that gave up cancels its handler, so that nothing piles up behind a silent device.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    interval = 5.0 if factory.layout.gpus <= _LARGE else 10.0
    devices = tuple(
        Device(name, f"http://{host}:{port}{path}", profile, interval)
        for path, (name, profile, _) in pages.devices.items()
    )
    return Service(devices, runner.cleanup)
