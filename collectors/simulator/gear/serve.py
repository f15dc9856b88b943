"""Any gear on ports of 127.0.0.1, for tests and benchmarks: more of it than the site has, and of any maker."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from collectors.simulator import snmp
from collectors.simulator.factory import Factory
from collectors.simulator.gear.classes import CLASSES, count_played
from collectors.simulator.service import Service
from collectors.simulator.snmp_agent import Agent

Clock = Callable[[], float]
#: name of a device, its class, its place in the layout
Named = tuple[str, str, int]


async def _serve_snmp(factory: Factory, devices: Sequence[Named], clock: Clock) -> Service:
    agents = [Agent(name, CLASSES[kind][2](factory, index), "2c", kind) for name, kind, index in devices]
    return await snmp.serve(factory, agents, clock)


#: protocol -> what serves its devices
SERVERS: dict[str, Callable[[Factory, Sequence[Named], Clock], Awaitable[Service]]] = {"snmp": _serve_snmp}


async def start_gear(factory: Factory, names: Sequence[str], clock: Clock = time.time) -> Service:
    """Serve one device for each name of a class; the second `raritan_pdu2` is called `raritan_pdu2-2`.

    The nth of a class plays the nth PDU, shelf or CDU of the layout, from the first again where there are no more.

    Raises:
        KeyError: there is no such class; the message names those that there are.
    """
    if unknown := [name for name in names if name not in CLASSES]:
        raise KeyError(f"no class {unknown[0]!r}: {', '.join(CLASSES)}")
    services = [await SERVERS[protocol](factory, own, clock) for protocol, own in _by_protocol(factory, names).items()]

    async def close() -> None:
        for service in services:
            await service.close()

    return Service(tuple(device for service in services for device in service.devices), close)


def _by_protocol(factory: Factory, names: Sequence[str]) -> Mapping[str, Sequence[Named]]:
    there = count_played(factory.layout)
    seen: Counter[str] = Counter()
    found: dict[str, list[Named]] = {}
    for kind in names:
        protocol, played, _ = CLASSES[kind]
        found.setdefault(protocol, []).append((f"{kind}-{seen[kind] + 1}", kind, seen[kind] % there[played]))
        seen[kind] += 1
    return found
