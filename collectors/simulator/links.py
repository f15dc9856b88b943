"""Which cable goes where: the neighbour behind each port of a switch, its link aggregation group, its VLAN."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collectors.simulator.layout import Layout

LAG, LAG_NUMBER, LAG_MEMBERS = "PortChannel1", 1, 2
VLAN, VLAN_NUMBER = "Vlan100", 100


@dataclass(frozen=True, slots=True)
class Neighbor:
    """Who speaks LLDP at the other end of a port."""

    system: str
    port: str
    description: str
    chassis: str  # aa:bb:cc:dd:ee:ff
    address: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Links:
    """The cables of one switch, by port number."""

    neighbors: Mapping[int, Neighbor]
    uplinks: Sequence[int]
    #: ports of its link aggregation group; none where no uplink is left
    lag: Sequence[int]


def find_links(layout: Layout) -> tuple[Links, ...]:
    """Return the cables of each switch: hosts behind the ports of their NICs, spine switches behind the rest.

    A NIC is called as Linux calls it, eth0 to eth7. The last two uplinks of a leaf are one group.
    """
    spines = 2 if len(layout.switches) <= 8 else 4
    cables: list[dict[int, Neighbor]] = [{} for _ in layout.switches]
    row = {switch.name: index for index, switch in enumerate(layout.switches)}
    for number, host in enumerate(layout.hosts):
        for nic, port in enumerate(host.ports):
            cables[row[host.switch]][port] = _host(number, host.name, nic)
    used = [0] * spines
    found = []
    for taken, switch in zip(cables, layout.switches, strict=True):
        free = [port for port in range(len(switch.ports)) if port not in taken]
        for place, port in enumerate(free):
            spine = place * spines // len(free)
            taken[port] = _spine(spine, used[spine])
            used[spine] += 1
        lag = tuple(free[-LAG_MEMBERS:]) if len(free) >= LAG_MEMBERS else ()
        found.append(Links(taken, tuple(free), lag))
    return tuple(found)


def mac(kind: int, number: int, port: int = 0) -> str:
    """Return a locally administered MAC address."""
    parts = (0x02, kind, number >> 16 & 0xFF, number >> 8 & 0xFF, number & 0xFF, port)
    return ":".join(f"{part:02x}" for part in parts)


def _host(number: int, name: str, nic: int) -> Neighbor:
    address = (10, 1 + number // 65_536, number // 256 % 256, number % 256)
    return Neighbor(name, f"eth{nic}", f"eth{nic}", mac(0x10, number), address)


def _spine(number: int, port: int) -> Neighbor:
    name = f"Ethernet{8 * port}"
    return Neighbor(f"spine-{number + 1}", name, f"etp{port + 1}", mac(0x20, number), (10, 0, 255, 1 + number))
