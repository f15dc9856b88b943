"""What a protocol server of the simulator hands back once it listens."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """One simulated device and how to poll it, as it goes into `site.yaml`."""

    name: str
    url: str
    #: a profile's name, or None for NVML
    profile: str | None
    interval_seconds: float
    password: str = ""
    priv_password: str = ""
    #: the host that it speaks of, where its own name is not in the inventory
    host: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """Listening devices of one protocol. Each module offers `async def start(factory, clock=time.time) -> Service`."""

    devices: tuple[Device, ...]
    close: Callable[[], Awaitable[None]]
