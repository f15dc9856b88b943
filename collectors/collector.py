"""What a collector is: the device it asks, what it promises, how it fails.

Errors: CollectError            this poll brought nothing; the runtime counts it and tries again
          DeviceTimeoutError    no answer in time
          DeviceRefusedError    refused, or closed
          AuthenticationError   credentials or rights are wrong: a person must act
          ProtocolError         an answer that the protocol does not allow
          UnknownDeviceError    it answers, and no profile fits: nothing is guessed
          MaintenanceError      released on purpose, by a person

Messages read `cdu-3 10.0.0.7:502: register 40101: illegal address`; foreign text is quoted with %r.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, runtime_checkable

from storage.config import Secret
from storage.point import Point


class CollectError(Exception):
    """One poll failed as a whole; the message names device, address, what was asked, what came."""

    #: leave the device alone for at least so long: asking again sooner cannot help. Units: s
    rest_seconds: float = 0.0


class DeviceTimeoutError(CollectError):
    """The device did not answer in time."""


class DeviceRefusedError(CollectError):
    """The connection was refused or closed."""


class AuthenticationError(CollectError):
    """The device rejects the credentials or their rights."""


class ProtocolError(CollectError):
    """The answer breaks the protocol."""


class UnknownDeviceError(CollectError):
    """The device answers, but no profile fits it; the message says what it looks like."""


class MaintenanceError(CollectError):
    """A person has released the device for maintenance; it is not asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """One device to poll. All of it is checked configuration; nothing of it is secret but the passwords."""

    #: the inventory's name; becomes the tag `device` (or `host`, `endpoint`, as the profile says)
    name: str
    #: snmp modbus redfish mqtt gnmi nvml exposition: the module that asks it
    protocol: str
    #: host:port for connection protocols, a whole URL for http ones, a library path or "" for nvml
    address: str
    #: the profile's stem, or None to ask the device what it is
    profile: str | None = None
    #: time between polls; the grid that timestamps are aligned to
    interval: timedelta = timedelta(seconds=5)
    #: deadline of one poll; `collectors.timing` raises it to what the profile needs before a collector is opened
    timeout: timedelta = timedelta(seconds=3)
    username: str = ""
    password: Secret | None = None
    #: SNMPv3 privacy password
    priv_password: Secret | None = None
    #: protocol switches as text, from the URL's query: tls, version, auth, priv, unit, ...
    options: Mapping[str, str] = field(default_factory=dict)
    #: tags put on each of its points: location from the inventory (site, row, rack), and the site's own
    tags: Mapping[str, str] = field(default_factory=dict)
    #: the site gives no interval: the profile's `poll.fast` is it, once known and whenever it changes
    follows_profile: bool = False


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll brought."""

    points: Sequence[Point]
    #: what the profile asks for and this device did not give: "sensor 100000101: no such instance"
    missing: Sequence[str] = ()
    #: readings that were refused (sentinel, implausible, malformed): "power.active_watts=-1: blank value"
    rejected: Sequence[str] = ()
    #: since the collector was opened: requests sent, connections opened anew, counters that began anew
    requests: int = 0
    reconnects: int = 0
    resets: int = 0


class Collector(Protocol):
    """Ask one device. The constructor checks only and opens nothing; the first packet leaves in `poll`."""

    async def poll(self, time_ns: int) -> PollResult:
        """Poll once and stamp every point with `time_ns`. One deadline, no unbounded retry; reconnects by being called.

        Raises:
            CollectError: the device gave nothing.
        """
        ...

    async def aclose(self) -> None:
        """Close connections and child processes; calling it again does nothing."""
        ...


@runtime_checkable
class Pushing(Protocol):
    """A collector that a device tells of changes between polls: a trap, an ON_CHANGE notification."""

    def listen(self, push: Callable[[Sequence[Point]], None]) -> None:
        """Hand points to `push` as they come, until closed; called once, before the first poll."""
        ...


@dataclass(frozen=True, slots=True)
class Trap:
    """One SNMP notification of a device, of any version (RFC 3584 says how v1 becomes v2)."""

    #: snmpTrapOID: 1.3.6.1.6.3.1.1.5.3 is linkDown
    name: str
    #: instance -> value, octet strings as text
    values: Mapping[str, int | float | str]


@runtime_checkable
class TakesTraps(Protocol):
    """A collector that understands its device's notifications."""

    def take_trap(self, trap: Trap, time_ns: int) -> Sequence[Point]:
        """Return what a notification tells, stamped `time_ns`; nothing where it says nothing of use."""
        ...
