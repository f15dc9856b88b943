"""What a SONiC switch knows of itself, shared by its SNMP agent and its gNMI server.

Source: sonic-net/sonic-snmpagent and sonic-net/sonic-gnmi for names and texts; the figures are the factory's.
"""

from dataclasses import dataclass

from collectors.simulator.factory import Factory
from collectors.simulator.layout import Switch

VERSION = "SONiC.202411.3-8f2a1c7d0"
HWSKU = "ACS-TW6400-64x400G"
KERNEL = "6.1.0-22-2-amd64"
#: supply voltage that the power supplies give out
PSU_VOLTS = 12.0
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

    def counter(self, name: str, port: int, now: float) -> int:
        """Return a counter of `state.switches` for one port at `now` (epoch seconds)."""
        return int(getattr(self.factory.state.switches, name).at(now, (self.index, port)))

    def pause_seconds(self, port: int, now: float) -> float:
        """Return how long the port's peer told it to pause the lossless class, at `now` (epoch seconds). Units: s."""
        return float(self.factory.state.switches.pfc_rx_pause_seconds.at(now, (self.index, port)))

    def uptime_seconds(self, now: float) -> float:
        """Return the time since the switch booted. Units: s."""
        return max(0.0, now - float(self.factory.state.switches.boot_time[self.index]))

    def is_up(self, port: int) -> bool:
        """Return whether the port's link works."""
        return bool(self.factory.state.switches.oper_up[self.index, port])

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
