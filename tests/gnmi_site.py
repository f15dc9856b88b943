"""A simulated SONiC switch that speaks gNMI on 127.0.0.1, the clocks that it and our collector live by, and taps."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from pygnmi.spec.v080 import gnmi_pb2, gnmi_pb2_grpc

from collectors.collector import PollResult, Target
from collectors.gnmi.collector import GnmiCollector
from collectors.profile import Group, PointSpec, Poll, Profile, load_profile
from collectors.simulator import gnmi as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.sonic import Leaf
from storage.config import Secret
from storage.point import Point

START = 1_760_000_000.0
#: the second of two leaf switches speaks gNMI
LEAF, NAME = 1, "leaf-2"


class Tapped(simulator.SwitchService):
    """The simulator's switch, with the requests that it got, databases that hang, and credentials that it wants."""

    def __init__(self, leaf: Leaf, clock: Any) -> None:
        super().__init__(leaf, clock)
        self.requests: list[Any] = []
        #: databases whose answers stop until they are taken out
        self.hung: set[str] = set()
        #: last elements of paths that Get does not find
        self.lost: set[str] = set()
        #: metadata that each call must carry, and what is said where it does not
        self.wanted: Mapping[str, str] = {}
        self.refusal: tuple[Any, str] = (grpc.StatusCode.UNAUTHENTICATED, "Invalid Username or Password")
        self.answered = 0
        #: what each connection has asked a Subscribe for
        self.connections: list[str] = []

    async def Get(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        await self._guard(context)
        await self._hang(request.prefix.target)
        if any(path.elem[-1].name in self.lost for path in request.path):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such path")
        return await super().Get(request, context)

    async def Capabilities(self, request: Any, context: Any) -> Any:
        await self._guard(context)
        return await super().Capabilities(request, context)

    async def Subscribe(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await self._guard(context)
        self.connections.append(context.peer())
        seen = []

        async def passed() -> AsyncIterator[Any]:
            async for request in requests:
                self.requests.append(request)
                seen.append(request)
                yield request

        async for response in super().Subscribe(passed(), context):
            await self._hang(seen[0].subscribe.prefix.target)
            self.answered += 1
            yield response

    async def _guard(self, context: Any) -> None:
        given = dict(context.invocation_metadata())
        if not self.wanted.items() <= given.items():
            await context.abort(*self.refusal)

    async def _hang(self, database: str) -> None:
        while database in self.hung:
            await asyncio.sleep(0.02)


@dataclass(slots=True)
class Site:
    """A factory, the server of its gNMI switch, and the clock that both live by."""

    factory: Factory = field(default_factory=lambda: Factory(build_layout(64), seed=1, start=START))
    now: float = START + 0.25
    port: int = 0
    server: Any = None
    service: Any = None
    #: seconds of the collector's monotonic clock
    seconds: float = 1000.0

    @property
    def quirks(self) -> Any:
        return self.factory.quirks[NAME]

    @property
    def switch(self) -> Any:
        return self.factory.layout.switches[LEAF]

    async def open(self, credentials: Any = None) -> None:
        self.service = Tapped(Leaf(self.factory, LEAF), lambda: self.now)
        self.server, self.port = await serve(self.service, self.port, credentials)

    async def close(self) -> None:
        await self.server.stop(None)

    def pass_time(self, seconds: float) -> None:
        """Let the factory and the collector's clock go on."""
        self.seconds += seconds
        for _ in range(int(seconds)):
            self.now += 1.0
            self.factory.advance(self.now)

    def target(self, timeout_s: float = 10.0, interval_s: float = 10.0, **options: str) -> Target:
        return Target(
            NAME,
            "gnmi",
            f"127.0.0.1:{self.port}",
            timeout=timedelta(seconds=timeout_s),
            interval=timedelta(seconds=interval_s),
            username="admin",
            password=Secret("sesame"),
            options={"tls": "off", **options},
            tags={"site": "S1", "rack": "N01"},
        )

    def collector(self, target: Target | None = None, profile: Profile | None = None) -> GnmiCollector:
        made = load_profile("sonic_gnmi") if profile is None else profile
        return GnmiCollector(target or self.target(), made, lambda: self.seconds, lambda: int(self.now * 1e9))

    async def poll(self, collector: GnmiCollector) -> PollResult:
        return await collector.poll(int(self.now * 1e9))


async def serve(service: Any, port: int = 0, credentials: Any = None) -> tuple[Any, int]:
    """Serve gNMI on 127.0.0.1; return the server and its port."""
    server = grpc.aio.server(options=simulator.OPTIONS)
    gnmi_pb2_grpc.add_gNMIServicer_to_server(service, server)
    address = f"127.0.0.1:{port}"
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    return server, bound


def small_profile() -> Profile:
    """Return a profile of few paths in three databases: counters, links, temperatures."""
    counters = {"target": "COUNTERS_DB", "path": "COUNTERS/Ethernet*", "as": ["port"]}
    links = {"target": "APPL_DB", "path": "PORT_TABLE", "as": ["port"], "where": {"port": "Ethernet*"}}
    sensors = {"target": "STATE_DB", "path": "TEMPERATURE_INFO", "as": ["sensor"]}
    tags = {"interface": "{port}", "alias": "{alias}", "kind": "port"}
    states = {"up": 1, "down": 0}
    return Profile(
        profile="small",
        model="t",
        kind="switch",
        protocol="gnmi",
        source="t",
        poll=Poll(fast="10s", slow="30s"),
        groups=(
            Group(
                each=counters,
                tags=tags,
                points=(
                    PointSpec(to="interface.rx_bytes_total", at="SAI_PORT_STAT_IF_IN_OCTETS"),
                    PointSpec(to="interface.tx_bytes_total", at="SAI_PORT_STAT_IF_OUT_OCTETS"),
                ),
            ),
            Group(
                each=links,
                tags=tags,
                points=(
                    PointSpec(to="interface.oper_up", at="oper_status", enum=states, every="slow"),
                    PointSpec(to="interface.admin_up", at="admin_status", enum=states, every="slow"),
                ),
            ),
            Group(
                each=sensors,
                tags={"point": "{sensor}"},
                points=(PointSpec(to="environment.temperature_celsius", at="temperature", unit="C", every="slow"),),
            ),
        ),
    )


def of(points: Sequence[Point], measurement: str, **tags: str) -> Point:
    found = [p for p in points if p.measurement == measurement and tags.items() <= p.tags.items()]
    assert len(found) == 1, (measurement, tags, len(found))
    return found[0]


def every(points: Sequence[Point], measurement: str, **tags: str) -> list[Point]:
    return [p for p in points if p.measurement == measurement and tags.items() <= p.tags.items()]


async def until(condition: Any, what: str = "the condition") -> None:
    """Wait until `condition()` is true; ten seconds are long enough for anything on this machine."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def json_value(text: str) -> Any:
    return gnmi_pb2.TypedValue(json_ietf_val=text.encode())
