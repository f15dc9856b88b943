"""LLDP of a SONiC switch: itself, its ports, and who is at the other end of each.

Played: scalars stand without `.0`, the chassis id is text, the remote table's timeMark is 0 where the table of
management addresses has the real one; Dell has the real one in both.

Source: sonic-net/sonic-snmpagent `src/sonic_ax_impl/mibs/ieee802_1ab.py`; IEEE 802.1AB-2005 (LLDP-MIB).
"""

from collectors.simulator.ber import INTEGER, OCTETS
from collectors.simulator.links import Neighbor
from collectors.simulator.mib import MibBuilder
from collectors.simulator.sonic import Leaf

LLDP = (1, 0, 8802, 1, 1, 2, 1)
LOCAL, LOCAL_PORT = (*LLDP, 3), (*LLDP, 3, 7, 1)
REMOTE, REMOTE_ADDRESS = (*LLDP, 4, 1, 1), (*LLDP, 4, 2, 1)
MAC_ADDRESS, INTERFACE_NAME, LOCALLY_ASSIGNED = 4, 5, 7
IPV4, IF_INDEX = 1, 2
#: bridge and router
CAPABILITIES = b"\x28\x00"
#: hundredths of a second after the start at which all neighbours were seen
TIME_MARK = 4_217


def add(mib: MibBuilder, leaf: Leaf, *, real_time_mark: bool) -> None:
    """Add the LLDP tables of a switch."""
    mib.constant((*LOCAL, 1), MAC_ADDRESS)
    for column, text in ((2, leaf.mac), (3, leaf.switch.name), (4, leaf.description)):
        mib.text((*LOCAL, column), text)
    for column in (5, 6):
        mib.text((*LOCAL, column), CAPABILITIES)
    for port, name in enumerate(leaf.switch.ports):
        index = int(name.removeprefix("Ethernet")) + 1
        mib.constant((*LOCAL_PORT, 2, index), LOCALLY_ASSIGNED)
        mib.text((*LOCAL_PORT, 3, index), leaf.switch.aliases[port])
        mib.text((*LOCAL_PORT, 4, index), name)
        if (neighbor := leaf.links.neighbors.get(port)) is not None:
            _add_neighbor(mib, neighbor, index, port + 1, TIME_MARK if real_time_mark else 0)


def _add_neighbor(mib: MibBuilder, neighbor: Neighbor, index: int, remote: int, mark: int) -> None:
    system = "SONiC" if neighbor.system.startswith("spine") else "Linux"
    columns: tuple[tuple[int, int | str | bytes], ...] = (
        (4, MAC_ADDRESS),
        (5, neighbor.chassis),
        (6, INTERFACE_NAME),
        (7, neighbor.port),
        (8, neighbor.description),
        (9, neighbor.system),
        (10, system),
        (11, CAPABILITIES),
        (12, CAPABILITIES),
    )
    for column, value in columns:
        raw = value.encode() if isinstance(value, str) else value
        mib.fixed((*REMOTE, column, mark, index, remote), (INTEGER if isinstance(raw, int) else OCTETS, raw))
    place = (TIME_MARK, index, remote, IPV4, len(neighbor.address), *neighbor.address)
    mib.constant((*REMOTE_ADDRESS, 3, *place), IF_INDEX)
    mib.constant((*REMOTE_ADDRESS, 4, *place), index)
    mib.object_id((*REMOTE_ADDRESS, 5, *place), (1, 3, 6, 1, 2, 1, 2, 2, 1, 1))
