"""The factory's SNMP switches and collectors that ask them, all by one clock that tests move."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from devices import target_of

from collectors.collector import PollResult, Target
from collectors.profile import Profile, load_profile
from collectors.simulator import snmp as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.quirks import Quirks
from collectors.simulator.service import Service
from collectors.snmp.anchor import Clock
from collectors.snmp.collector import SnmpCollector
from storage.point import Point

START_NS = 1_760_000_000 * 10**9
SECOND_NS = 10**9
#: four racks of them have one leaf switch by SNMP v2c, sixteen another by v3
GPUS = 256
#: a poll that takes long shortens its wait for a refresh: on a busy machine the first one does
PATIENCE = timedelta(seconds=60)


@dataclass(slots=True)
class Switches:
    """A factory, its agents, and the clock that agents and collectors live by."""

    factory: Factory
    now_ns: int = START_NS + SECOND_NS // 4
    service: Service = field(init=False)
    _opened: list[SnmpCollector] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.now_ns / SECOND_NS

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now_ns, lambda: self.now, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        end = self.now_ns + round(seconds * SECOND_NS)
        while self.now_ns < end:
            self.now_ns = min(end, (self.now_ns // SECOND_NS + 1) * SECOND_NS)
            self.factory.advance(self.now)

    def pass_to(self, second: float) -> None:
        """Move to so many seconds after the start; never back."""
        self.pass_time(max(0.0, (START_NS - self.now_ns) / SECOND_NS + second))

    def quirks(self, name: str) -> Quirks:
        return self.factory.quirks[name]

    def target(self, name: str, interval_s: float = 10.0) -> Target:
        device = next(device for device in self.service.devices if device.name == name)
        return replace(target_of(device), interval=timedelta(seconds=interval_s))

    def open(
        self, name: str, profile: Profile | None = None, interval_s: float = 10.0, timeout: timedelta = PATIENCE
    ) -> SnmpCollector:
        target = replace(self.target(name, interval_s), timeout=timeout)
        made = SnmpCollector(target, profile or load_profile("sonic_snmp"), self.clock)
        self._opened.append(made)
        return made

    async def poll(self, opened: SnmpCollector) -> PollResult:
        return await opened.poll(self.now_ns // 10**6 * 10**6)

    async def close(self) -> None:
        for opened in self._opened:
            await opened.aclose()
        await self.service.close()


@asynccontextmanager
async def running_switches(seed: int = 1) -> AsyncIterator[Switches]:
    """Serve the switches of a factory until the end."""
    made = Switches(Factory(build_layout(GPUS), seed=seed, start=START_NS / SECOND_NS))
    made.service = await simulator.start(made.factory, lambda: made.now)
    try:
        yield made
    finally:
        await made.close()


def points_of(result: PollResult, measurement: str, **tags: str) -> list[Point]:
    """Return the points of a measurement with these tags."""
    return [p for p in result.points if p.measurement == measurement and tags.items() <= p.tags.items()]


def value_of(result: PollResult, path: str, **tags: str) -> float:
    """Return the one value of a field (`interface.rx_bytes_total`) among the points with these tags."""
    measurement, _, name = path.partition(".")
    values = [p.fields[name] for p in points_of(result, measurement, **tags) if name in p.fields]
    assert len(values) == 1, (path, tags, values)
    assert not isinstance(values[0], str)
    return float(values[0])
