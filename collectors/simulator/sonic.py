"""What a SONiC switch knows of itself, shared by its SNMP agent and its gNMI server.

Source: sonic-net/sonic-snmpagent and sonic-net/sonic-gnmi for names and texts; the figures are the factory's.
"""

import math
from dataclasses import dataclass

import numpy as np

from collectors.simulator.factory import Factory
from collectors.simulator.layout import Switch
from collectors.simulator.links import Links
from collectors.simulator.quirks import Quirks
from collectors.simulator.state import Switches

VERSION = "SONiC.202411.3-8f2a1c7d0"
HWSKU = "ACS-TW6400-64x400G"
KERNEL = "6.1.0-22-2-amd64"
#: supply voltage that the power supplies give out
PSU_VOLTS = 12.0
#: of the supplies: output over input, and the mains
PSU_EFFICIENCY, MAINS_VOLTS, PSU_RATED_WATTS = 0.94, 230.0, 1_500.0
#: what a fan does at full speed
FAN_RPM = 12_000.0
FANS = 4
LANES_PER_PORT = 8


@dataclass(frozen=True, slots=True)
class Leaf:
    """One switch of the factory; counters are exact at the moment they are asked for."""

    factory: Factory
    index: int

    @property
    def switch(self) -> Switch:
        """Return its place in the layout."""
        return self.factory.layout.switches[self.index]

    @property
    def description(self) -> str:
        """Return sysDescr as SONiC's agent writes it."""
        return f"SONiC Software Version: {VERSION} - HwSku: {HWSKU} - Distribution: Debian 12.7 - Kernel: {KERNEL}"

    @property
    def quirks(self) -> Quirks:
        """Return its weaknesses."""
        return self.factory.quirks[self.switch.name]

    @property
    def state(self) -> Switches:
        """Return the state of all switches; this one's row is `index`."""
        return self.factory.state.switches

    @property
    def links(self) -> Links:
        """Return its cables."""
        return self.factory.links[self.index]

    @property
    def mac(self) -> str:
        """Return its MAC address."""
        return f"02:30:00:00:{self.index >> 8:02x}:{self.index & 0xFF:02x}"

    @property
    def address(self) -> tuple[int, int, int, int]:
        """Return its management address as it tells it."""
        return 10, 0, self.index >> 8, 1 + (self.index & 0xFF) % 254

    def counters(self, name: str, now: float) -> list[int]:
        """Return a counter of `state.switches` for all ports at `now` (epoch seconds)."""
        counts: list[int] = getattr(self.state, name).at(now, self.index).astype(np.int64).tolist()
        return counts

    def snmp_uptime_seconds(self, now: float) -> float:
        """Return the time since the SNMP container started. Units: s."""
        return max(0.0, now - float(self.state.snmp_start[self.index]))

    def counter(self, name: str, port: int, now: float) -> int:
        """Return a counter of `state.switches` for one port at `now` (epoch seconds)."""
        return int(getattr(self.factory.state.switches, name).at(now, (self.index, port)))

    def uptime_seconds(self, now: float) -> float:
        """Return the time since the switch booted. Units: s."""
        return max(0.0, now - float(self.factory.state.switches.boot_time[self.index]))

    def is_up(self, port: int) -> bool:
        """Return whether the port's link works."""
        return bool(self.factory.state.switches.oper_up[self.index, port])

    def is_admin_up(self, port: int) -> bool:
        """Return whether the port is meant to work."""
        return bool(self.state.admin_up[self.index, port])

    def psu_ok(self, supply: int) -> bool:
        """Return whether a power supply works."""
        return bool(self.state.psu_ok[self.index, supply])

    @property
    def module_vendor(self) -> str:
        """Return the maker of its optical modules."""
        return "ACME"

    @property
    def module_part(self) -> str:
        """Return their part number."""
        return "Q56-400G-DR4"

    def module_serial(self, port: int) -> str:
        """Return the serial number of a port's optical module."""
        return f"Q{self.index:04d}{port:03d}"

    def rx_dbm(self, port: int, lane: int) -> float:
        """Return the power received on a lane, from 1; -inf while the peer sends no light. Units: dBm."""
        return float(self.state.rx_dbm[self.index, port, lane - 1]) if self.is_up(port) else -math.inf

    def tx_dbm(self, port: int, lane: int) -> float:
        """Return the power sent on a lane; -inf where the port is shut. Units: dBm."""
        return float(self.state.tx_dbm[self.index, port, lane - 1]) if self.is_admin_up(port) else -math.inf

    def bias_amperes(self, port: int, lane: int) -> float:
        """Return the bias current of a lane's laser. Units: A."""
        return float(self.state.bias_amperes[self.index, port, lane - 1]) if self.is_admin_up(port) else 0.0

    def flaps(self, port: int) -> int:
        """Return how often the link went down."""
        return int(self.factory.state.switches.flaps[self.index, port])

    @property
    def supplies(self) -> int:
        """Return the number of power supplies."""
        return int(self.factory.state.switches.psu_watts.shape[1])

    def psu_watts(self, supply: int) -> float:
        """Return the output of one power supply. Units: W."""
        return float(self.factory.state.switches.psu_watts[self.index, supply])

    @property
    def temperature_celsius(self) -> float:
        """Return the chassis temperature. Units: C."""
        return float(self.factory.state.switches.temperature_celsius[self.index])

    @property
    def fan_ratio(self) -> float:
        """Return the speed of the fans over their rated speed."""
        return float(self.factory.state.switches.fan_ratio[self.index])

    @property
    def cpu_ratio(self) -> float:
        """Return the share of the CPU in use."""
        return float(self.factory.state.switches.cpu_ratio[self.index])

    @property
    def memory_used_bytes(self) -> float:
        """Return the memory in use. Units: bytes."""
        return float(self.factory.state.switches.memory_used_bytes[self.index])

    @property
    def memory_total_bytes(self) -> float:
        """Return the memory installed. Units: bytes."""
        return float(self.factory.state.switches.memory_total_bytes)


def leaves(factory: Factory, protocol: str) -> list[Leaf]:
    """Return the switches that speak `protocol` (snmp, gnmi)."""
    return [Leaf(factory, i) for i, switch in enumerate(factory.layout.switches) if switch.protocol == protocol]


def poll_seconds(factory: Factory) -> float:
    """Return how often to poll a switch or PDU: SONiC counts anew each 5 s, so 10 s; 30 s in large sites. Units: s."""
    return 10.0 if factory.layout.gpus <= 1024 else 30.0
