"""The simulator's own door: what really happened, what is idle, which faults to play. JSON over HTTP on loopback.

`GET /truth?start=&end=` (epoch seconds), `GET /idle`, `GET /faults` (kinds, and faults with the places that they can be
seen at), `GET /ratings` (of the meters, in W), `POST /faults` with
`{"kind": "leak", "object": "A01", "seconds": 60}`, `DELETE /faults?kind=&object=`, `POST /faults/delay` with
`{"seconds": 20}`, which puts off all faults that have not begun. `GET /quirks` the weaknesses of each switch, `POST
/quirks` with `{"device": "leaf-1", "name": "agent", "value": "dead"}`, `DELETE /quirks?device=leaf-1` for its defaults.
`POST /rates` with `{"port": "leaf-1/Ethernet0", "rates": {"rx_bytes": 1.25e8}}` lets counters of `state.switches` grow
by so much per second, `DELETE /rates?device=leaf-1` ends that; `POST /restart` with `{"device": "leaf-1", "what":
"switch"}` starts a switch anew at once, with `snmp` its SNMP container; `POST /traps` with `{"to": "127.0.0.1:9162"}`
lets the SNMP switches send linkDown, linkUp and coldStart there, `{"to": null}` nowhere. Mistakes come back as status
400 and `{"error": "..."}`.
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
from collectors.simulator.plant_faults import places_of
from collectors.simulator.quirks import Quirks
from collectors.simulator.quirks import switch as switch_quirk

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
    app.router.add_get("/ratings", partial(_get_ratings, factory))
    app.router.add_get("/faults", partial(_get_faults, factory))
    app.router.add_post("/faults", partial(_post_fault, factory, clock))
    app.router.add_delete("/faults", partial(_delete_fault, factory))
    app.router.add_post("/faults/delay", partial(_delay_faults, factory, clock))
    app.router.add_get("/quirks", partial(_get_quirks, factory))
    app.router.add_post("/quirks", partial(_post_quirk, factory))
    app.router.add_delete("/quirks", partial(_delete_quirks, factory))
    app.router.add_post("/rates", partial(_post_rates, factory))
    app.router.add_delete("/rates", partial(_delete_rates, factory))
    app.router.add_post("/restart", partial(_post_restart, factory))
    app.router.add_post("/traps", partial(_post_traps, factory))
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
    known = [asdict(fault) | {"places": places_of(factory.layout, fault.object)} for fault in factory.faults.known]
    return web.json_response({"kinds": kinds, "faults": known})


async def _get_ratings(factory: Factory, _: web.Request) -> web.Response:
    return web.json_response({meter.name: meter.rated_watts for meter in factory.layout.meters})


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


async def _get_quirks(factory: Factory, _: web.Request) -> web.Response:
    return web.json_response({name: _as_json(quirks) for name, quirks in factory.quirks.items()})


async def _post_quirk(factory: Factory, request: web.Request) -> web.Response:
    body = await _body(request)
    if not isinstance(body, dict) or body.keys() != {"device", "name", "value"}:
        raise ValueError('give {"device": ..., "name": ..., "value": ...}')
    device = _device(factory, body["device"])
    ports = next(switch.ports for switch in factory.layout.switches if switch.name == device)
    switch_quirk(factory.quirks[device], str(body["name"]), body["value"], ports)
    logger.info("simulator: quirk %s of %s is %r", body["name"], device, body["value"])
    return web.json_response(_as_json(factory.quirks[device]))


async def _delete_quirks(factory: Factory, request: web.Request) -> web.Response:
    device = _device(factory, request.query.get("device", ""))
    factory.quirks[device] = Quirks()
    return web.json_response(_as_json(factory.quirks[device]))


async def _post_rates(factory: Factory, request: web.Request) -> web.Response:
    body = await _body(request)
    rates = body.get("rates") if isinstance(body, dict) and body.keys() == {"port", "rates"} else None
    if not isinstance(rates, dict) or not all(_is_rate(rate) for rate in rates.values()):
        raise ValueError('give {"port": "leaf-1/Ethernet0", "rates": {"rx_bytes": 1.25e8}}, rates of 0 or more')
    device, _, port = str(body["port"]).partition("/") if isinstance(body, dict) else ("", "", "")
    factory.hold_rates(device, port, **rates)
    return web.json_response({"held": rates})


async def _delete_rates(factory: Factory, request: web.Request) -> web.Response:
    factory.release_rates(request.query.get("device", ""))
    return web.json_response({})


async def _post_restart(factory: Factory, request: web.Request) -> web.Response:
    body = await _body(request)
    restarts = {"switch": factory.reboot_switch, "snmp": factory.restart_snmp}
    what = body.get("what") if isinstance(body, dict) and body.keys() == {"device", "what"} else None
    if not isinstance(body, dict) or what not in restarts:
        raise ValueError('give {"device": ..., "what": "switch" or "snmp"}')
    restarts[what](str(body["device"]))
    return web.json_response({})


async def _post_traps(factory: Factory, request: web.Request) -> web.Response:
    body = await _body(request)
    if not isinstance(body, dict) or body.keys() != {"to"}:
        raise ValueError('give {"to": "127.0.0.1:9162"}, or {"to": null} for nowhere')
    to = body["to"]
    host, _, port = to.rpartition(":") if isinstance(to, str) else ("", "", "")
    if to is not None and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"to is {to!r}: give an address and a UDP port, 127.0.0.1:9162")
    factory.traps_to = (host, int(port)) if host else None
    return web.json_response({"to": to})


def _device(factory: Factory, name: object) -> str:
    if not isinstance(name, str) or name not in factory.quirks:
        raise ValueError(f"no switch {name!r}: there are {', '.join(factory.quirks)}")
    return name


def _as_json(quirks: Quirks) -> dict[str, object]:
    return asdict(quirks) | {"missing": sorted(quirks.missing)}


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _seconds(request: web.Request, name: str) -> float:
    text = request.query.get(name, "")
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}: give epoch seconds") from error
