"""Any gear on ports of 127.0.0.1, for tests and benchmarks: more of it than the site has, and of any maker."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from collectors.simulator import snmp
from collectors.simulator.factory import Factory
from collectors.simulator.gear import modbus_serve
from collectors.simulator.gear.classes import CLASSES, list_played
from collectors.simulator.gear.modbus_past import Past
from collectors.simulator.service import Service
from collectors.simulator.snmp_agent import Agent

Clock = Callable[[], float]
#: name of a device, its class, the index of what it plays in the layout
Named = tuple[str, str, int]
#: how often shelves are to be read, and all other Modbus gear. Units: s
SHELF_SECONDS, MODBUS_SECONDS = 2.0, 5.0


async def _serve_snmp(factory: Factory, devices: Sequence[Named], clock: Clock) -> Service:
    agents = [Agent(name, CLASSES[kind][2](factory, index), "2c", kind) for name, kind, index in devices]
    return await snmp.serve(factory, agents, clock)


async def _serve_modbus(factory: Factory, devices: Sequence[Named], _: Clock) -> Service:
    past = Past(factory)
    served = [
        modbus_serve.Served(
            CLASSES[kind][2](factory, index, past),
            name,
            kind,
            SHELF_SECONDS if CLASSES[kind][1].endswith("shelves") else MODBUS_SECONDS,
        )
        for name, kind, index in devices
    ]
    return await modbus_serve.serve(factory, served, past.close)


#: protocol -> what serves its devices
SERVERS: dict[str, Callable[[Factory, Sequence[Named], Clock], Awaitable[Service]]] = {
    "snmp": _serve_snmp,
    "modbus": _serve_modbus,
}


async def start_gear(factory: Factory, names: Sequence[str], clock: Clock = time.time) -> Service:
    """Serve one device for each name of a class; the second `raritan_pdu2` is called `raritan_pdu2-2`.

    The nth of a class plays the nth PDU, shelf, CDU or meter of the layout, from the first again where there are no
    more; a shelf class plays the shelves of its bus.

    Raises:
        KeyError: there is no such class; the message names those that there are.
        ValueError: the layout has nothing that a class could play.
    """
    if unknown := [name for name in names if name not in CLASSES]:
        raise KeyError(f"no class {unknown[0]!r}: {', '.join(CLASSES)}")
    services = [await SERVERS[protocol](factory, own, clock) for protocol, own in _by_protocol(factory, names).items()]

    async def close() -> None:
        for service in services:
            await service.close()

    return Service(tuple(device for service in services for device in service.devices), close)


def _by_protocol(factory: Factory, names: Sequence[str]) -> Mapping[str, Sequence[Named]]:
    there = list_played(factory.layout)
    seen: Counter[str] = Counter()
    found: dict[str, list[Named]] = {}
    for kind in names:
        protocol, played, _ = CLASSES[kind]
        indices = there[played]
        if not indices:
            raise ValueError(f"{kind} plays {played}, and the layout has none: build a larger one, of 64 GPUs or more")
        found.setdefault(protocol, []).append((f"{kind}-{seen[kind] + 1}", kind, indices[seen[kind] % len(indices)]))
        seen[kind] += 1
    return found
