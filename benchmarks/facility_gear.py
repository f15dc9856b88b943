"""Many devices of power and coolant in one process, lean enough not to be the bottleneck of who asks them.

Run: `python benchmarks/facility_gear.py --modbus 300 --snmp 300 --redfish 100 --cpu 1`. They are the simulator's
classes and play the shelves, PDUs and CDUs of a factory whose physics steps each second; what a thing says is worked
out once a second, for all devices that play it. It prints `{"devices": [...]}` and obeys lines on its standard input:
`silent 10` lets the last 10 % of each protocol swallow what they are asked, `record` notes from then on what the first
device of each class is asked, any line prints the CPU used and what was noted; it ends with its input.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from aiohttp import web

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from responder import content, wrap  # noqa: E402

from collectors.simulator import redfish, snmp  # noqa: E402
from collectors.simulator.factory import Factory  # noqa: E402
from collectors.simulator.gear.classes import CLASSES, list_played  # noqa: E402
from collectors.simulator.gear.modbus_past import Past  # noqa: E402
from collectors.simulator.gear.modbus_serve import ModbusDevice, Served, serve  # noqa: E402
from collectors.simulator.layout import Layout, build_layout  # noqa: E402
from collectors.simulator.modbus_link import Unit  # noqa: E402
from collectors.simulator.redfish_tree import SESSIONS, STREAM, Tree  # noqa: E402
from collectors.simulator.service import Device  # noqa: E402
from collectors.simulator.snmp_agent import Agent, Weaknesses  # noqa: E402

GPUS = 128
SUPPLIES = 6
USER = "monitor"
#: half of the Modbus devices are HPR shelves, a quarter HVDC shelves, a quarter CDUs
MODBUS = ("ocp_hpr_shelf", "generic_hvdc_400", "ocp_hpr_shelf", "supermicro_scdu",
          "ocp_hpr_shelf", "generic_hvdc_800", "ocp_hpr_shelf", "generic_cdu")  # fmt: skip
SNMP = ("apc_rpdu2", "raritan_pdu2", "servertech_sentry4", "vertiv_v5", "eaton_epdu", "eltek_smartpack2")
REDFISH = {"redfish_cdu": "cdus", "redfish_rack_pdu": "pdus", "redfish_power_shelf": "shelves"}
#: seconds between two polls: as in the demo
EVERY = {
    "ocp_hpr_shelf": 2.0,
    "generic_hvdc_400": 2.0,
    "generic_hvdc_800": 2.0,
    "supermicro_scdu": 5.0,
    "generic_cdu": 5.0,
}
EVERY_OTHER = 10.0

#: class and index of what is played
Played = tuple[str, int]


class Desk:
    """What the devices share: the answers of this second, who is silent, and what was asked."""

    def __init__(self) -> None:
        self.held: dict[Any, Any] = {}
        self.silent: set[str] = set()
        self.asked: Counter[tuple[Any, ...]] = Counter()
        #: the first device of each class, while it is noted what that is asked
        self.watched: set[str] = set()

    def hold(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Return what was made under that key in this second."""
        if key not in self.held:
            self.held[key] = make()
        return self.held[key]

    def note(self, name: str, *what: Any) -> None:
        """Note what a device was asked."""
        if name in self.watched:
            self.asked[name.rpartition("-")[0], *what] += 1


class HeldDevice:
    """A Modbus device whose units say the same for a second."""

    def __init__(self, desk: Desk, name: str, played: Played, device: ModbusDevice) -> None:
        self.name = name
        self._desk = desk
        self._played = played
        self._device = device

    def unit(self, number: int) -> Unit | None:
        """Return the tables of a unit as they are in this second."""
        found: Unit | None = self._desk.hold((*self._played, number), lambda: self._device.unit(number))
        return found

    def was_read(self, number: int, function: int, start: int, count: int) -> None:
        """Pass on that values were told."""
        self._desk.note(self.name, number, function, start, count)
        self._device.was_read(number, function, start, count)


class HeldAgent(Agent):
    """An SNMP agent that gives the same answer to the same question for a second."""

    desk: Desk
    played: Played

    def answer(self, factory: Weaknesses, message: bytes, community: bytes, now: float) -> bytes | None:
        """Return the answer to a v2c read."""
        begin, _ = content(message, 0)
        pdu = content(message, content(message, begin)[1])[1]
        low, _ = content(message, pdu)
        _, number_end = content(message, low)
        key = (*self.played, message[pdu], message[number_end:])
        varbinds = self.desk.held.get(key)
        if varbinds is None:
            made = super().answer(factory, message, community, now)
            if not made:
                return made
            varbinds = self.desk.held[key] = _varbinds(made)
        head = message[begin:pdu]
        return wrap(0x30, head + wrap(0xA2, message[low:number_end] + b"\x02\x01\x00\x02\x01\x00" + varbinds))


def _varbinds(answer: bytes) -> bytes:
    """Return the list of varbinds of an answer, whole."""
    at = content(answer, 0)[0]
    for _ in range(2):  # version, community
        at = content(answer, at)[1]
    at = content(answer, at)[0]
    for _ in range(3):  # number, error, its index
        at = content(answer, at)[1]
    return answer[at : content(answer, at)[1]]


class HeldTree:
    """A Redfish service: sessions, resources with ETag, one silent stream of events."""

    def __init__(self, desk: Desk, name: str, played: Played, tree: Tree) -> None:
        self.name = name
        self.password = secrets.token_urlsafe(9)
        self._desk = desk
        self._played = played
        self._tree = tree
        self._token = secrets.token_hex(16)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if self.name in self._desk.silent:
            await asyncio.sleep(3600)
        path = request.path.rstrip("/")
        if request.method == "POST":
            headers = {"X-Auth-Token": self._token, "Location": f"{SESSIONS}/1"}
            return web.json_response({"Id": "1"}, status=201, headers=headers)
        if path != "/redfish/v1" and request.headers.get("X-Auth-Token") != self._token:
            return web.json_response({}, status=401)
        if request.method == "DELETE":
            return web.Response(status=204)
        return await self._tell(request) if path == STREAM else self._get(request, path)

    def _get(self, request: web.BaseRequest, path: str) -> web.Response:
        is_expanded = "$expand" in request.query
        key = (*self._played, path, is_expanded)
        found = self._desk.hold(key, lambda: self._make(path, is_expanded))
        if found is None:
            return web.json_response({}, status=404)
        self._desk.note(self.name, request.path_qs)
        body, etag = found
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, content_type="application/json", headers={"ETag": etag})

    def _make(self, path: str, is_expanded: bool) -> tuple[bytes, str] | None:
        resource = self._tree.expanded(path) if is_expanded else self._tree.get(path)
        if resource is None:
            return None
        body = json.dumps(resource).encode()
        return body, f'"{hash(body):x}"'

    async def _tell(self, request: web.BaseRequest) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b": hello\n\n")
        await asyncio.sleep(3600)
        return stream


def plan(layout: Layout, kinds: Iterable[str], played: Mapping[str, str], count: int) -> list[tuple[str, str, int]]:
    """Return name, class and index of what is played for `count` devices."""
    there, seen = list_played(layout), Counter[str]()
    found = []
    for kind in islice(cycle(kinds), count):
        indices = there[played[kind]]
        found.append((f"{kind}-{seen[kind] + 1}", kind, indices[seen[kind] % len(indices)]))
        seen[kind] += 1
    return found


async def play_modbus(factory: Factory, desk: Desk, kinds: Sequence[str], count: int) -> Sequence[Device]:
    """Serve the Modbus devices."""
    past = Past(factory)
    wanted = plan(factory.layout, kinds, {kind: CLASSES[kind][1] for kind in kinds}, count)
    served = [
        Served(HeldDevice(desk, name, (kind, index), CLASSES[kind][2](factory, index, past)), name, kind, EVERY[kind])
        for name, kind, index in wanted
    ]
    return (await serve(factory, served, past.close)).devices


async def play_snmp(factory: Factory, desk: Desk, count: int) -> Sequence[Device]:
    """Serve the SNMP devices."""
    mibs: dict[Played, Any] = {}
    agents: list[Agent] = []
    for name, kind, index in plan(factory.layout, SNMP, {kind: CLASSES[kind][1] for kind in SNMP}, count):
        if (kind, index) not in mibs:
            mibs[kind, index] = CLASSES[kind][2](factory, index)
        agent = HeldAgent(name, mibs[kind, index], "2c", kind)
        agent.desk, agent.played = desk, (kind, index)
        agents.append(agent)
    found = (await snmp.serve(factory, agents, time.time)).devices
    return [replace(device, interval_seconds=EVERY_OTHER) for device in found]


async def play_redfish(factory: Factory, desk: Desk, count: int) -> Sequence[Device]:
    """Serve the Redfish devices."""
    trees: dict[Played, Tree] = {}
    found = []
    for name, kind, index in plan(factory.layout, REDFISH, REDFISH, count):
        if (kind, index) not in trees:
            trees[kind, index] = redfish.CLASSES[kind](factory, index, time.time).tree()
        held = HeldTree(desk, name, (kind, index), trees[kind, index])
        runner = web.ServerRunner(web.Server(held.handle, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"redfish://{USER}@127.0.0.1:{runner.addresses[0][1]}?tls=off"
        found.append(Device(name, url, kind, EVERY_OTHER, password=held.password))
    return found


async def play(chosen: argparse.Namespace) -> None:
    """Serve until the standard input ends."""
    layout = build_layout(GPUS)
    layout = replace(layout, shelves=tuple(replace(each, units=each.units[:SUPPLIES]) for each in layout.shelves))
    factory, desk, ended = Factory(layout, seed=1, start=time.time()), Desk(), asyncio.Event()
    parts = [
        await play_modbus(factory, desk, chosen.kinds or MODBUS, chosen.modbus),
        await play_snmp(factory, desk, chosen.snmp),
        await play_redfish(factory, desk, chosen.redfish),
    ]
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), obey, factory, desk, parts, ended)
    devices = [
        {"name": d.name, "url": d.url, "profile": d.profile, "interval": d.interval_seconds, "password": d.password}
        for part in parts
        for d in part
    ]
    print(json.dumps({"devices": devices}), flush=True)
    while not ended.is_set():
        factory.advance(time.time())
        desk.held.clear()
        try:
            await asyncio.wait_for(ended.wait(), 1.0 - time.time() % 1.0)
        except TimeoutError:
            continue
    # Connections are still open, and nobody waits for their end.
    os._exit(0)


def obey(factory: Factory, desk: Desk, parts: Sequence[Sequence[Device]], ended: asyncio.Event) -> None:
    """Do what a line on the standard input says."""
    words = os.read(sys.stdin.fileno(), 1000).split()
    if not words:
        ended.set()
        return
    if words[0] == b"silent":
        names = {device.name for part in parts for device in part[len(part) - len(part) * int(words[1]) // 100 :]}
        factory.silent -= desk.silent
        factory.silent |= names
        desk.silent = names
    if words[0] == b"record":
        desk.asked.clear()
        desk.watched = {device.name for part in parts for device in part if device.name.endswith("-1")}
    asked = [[*what, times] for what, times in desk.asked.items()]
    print(json.dumps({"cpu": time.process_time(), "silent": sorted(desk.silent), "asked": asked}), flush=True)


def main() -> None:
    """Serve, tell where, obey."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modbus", type=int, default=300)
    parser.add_argument("--kinds", nargs="*", help="classes of the Modbus devices, in turn; a mix without it")
    parser.add_argument("--snmp", type=int, default=300)
    parser.add_argument("--redfish", type=int, default=100)
    parser.add_argument("--cpu", type=int, default=-1, help="the core to run on; -1: any")
    chosen = parser.parse_args()
    if chosen.cpu >= 0:
        os.sched_setaffinity(0, {chosen.cpu})
    asyncio.run(play(chosen))


if __name__ == "__main__":
    main()
