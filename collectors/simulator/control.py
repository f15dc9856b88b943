"""The simulator's own door: what really happened, what is idle, which faults to play. JSON over HTTP on loopback.

`GET /truth?start=&end=` (epoch seconds), `GET /idle`, `GET /faults` (kinds and faults), `POST /faults` with
`{"kind": "leak", "object": "A01", "seconds": 60}`, `DELETE /faults?kind=&object=`, `POST /faults/delay` with
`{"seconds": 20}`, which puts off all faults that have not begun. Mistakes come back as status 400 and
`{"error": "..."}`.
"""

import json
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial

from aiohttp import web

from collectors.simulator.effects import KINDS
from collectors.simulator.factory import Factory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Control:
    """The listening control server."""

    url: str
    close: Callable[[], Awaitable[None]]


async def start_control(factory: Factory, clock: Callable[[], float]) -> Control:
    """Serve the factory's truth and faults on a port of 127.0.0.1 that the system picks."""
    app = web.Application(middlewares=[_tell_mistakes])
    app.router.add_get("/truth", partial(_get_truth, factory))
    app.router.add_get("/idle", partial(_get_idle, factory))
    app.router.add_get("/faults", partial(_get_faults, factory))
    app.router.add_post("/faults", partial(_post_fault, factory, clock))
    app.router.add_delete("/faults", partial(_delete_fault, factory))
    app.router.add_post("/faults/delay", partial(_delay_faults, factory, clock))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    return Control(f"http://127.0.0.1:{port}", runner.cleanup)


@web.middleware
async def _tell_mistakes(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=400)


async def _get_truth(factory: Factory, request: web.Request) -> web.Response:
    start, end = _seconds(request, "start"), _seconds(request, "end")
    return web.json_response({"seconds": end - start} | asdict(factory.truth(start, end)))


async def _get_idle(factory: Factory, _: web.Request) -> web.Response:
    return web.json_response(factory.idle())


async def _get_faults(factory: Factory, _: web.Request) -> web.Response:
    kinds = {name: {"help": kind.help, "object": kind.objects} for name, kind in KINDS.items()}
    return web.json_response({"kinds": kinds, "faults": [asdict(fault) for fault in factory.faults.known]})


async def _post_fault(factory: Factory, clock: Callable[[], float], request: web.Request) -> web.Response:
    body = await _body(request)
    if not isinstance(body, dict) or not {"kind", "object"} <= body.keys() <= {"kind", "object", "seconds"}:
        raise ValueError('give {"kind": ..., "object": ...} and, if it shall end, "seconds"')
    seconds = body.get("seconds")
    if not isinstance(seconds, int | float | None):
        raise ValueError(f"seconds is {seconds!r}: give a number")
    fault = factory.faults.inject(str(body["kind"]), str(body["object"]), clock(), seconds)
    logger.info("simulator: fault %s on %s", fault.kind, fault.object)
    return web.json_response(asdict(fault), status=201)


async def _delay_faults(factory: Factory, clock: Callable[[], float], request: web.Request) -> web.Response:
    body = await _body(request)
    seconds = body.get("seconds") if isinstance(body, dict) and body.keys() == {"seconds"} else None
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise ValueError('give {"seconds": ...}, a number; below 0 they come earlier')
    return web.json_response({"delayed": factory.faults.delay(clock(), seconds)})


async def _body(request: web.Request) -> object:
    try:
        body: object = await request.json()
    except json.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    return body


async def _delete_fault(factory: Factory, request: web.Request) -> web.Response:
    cleared = factory.faults.clear(request.query.get("kind", ""), request.query.get("object", ""))
    return web.json_response({"cleared": cleared})


def _seconds(request: web.Request, name: str) -> float:
    text = request.query.get(name, "")
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}: give epoch seconds") from error
