"""The MIB of a SONiC switch with the quirks that a collector must stand.

Played: names are aliases, the column ifIndex is off by one, 32-bit columns hold the low bits, columns of constants and
states carry an extra row without an index, ifLastChange is always 0, the management port counts nothing, a LAG is the
sum of its members that are up, tables are as old as their last refresh, cells of which the counters database has
nothing are missing. Vendors number and name their interfaces each in its own way.

Source: sonic-net/sonic-snmpagent `src/sonic_ax_impl/mibs/` (ietf/rfc1213.py, rfc2863.py, vendor/cisco); public captures
of an Edgecore and of a Dell switch for their numbering.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from collectors.simulator import sonic_entity, sonic_lldp
from collectors.simulator.ber import COUNTER32, COUNTER64, GAUGE32, TICKS, Oid
from collectors.simulator.links import LAG, LAG_NUMBER, VLAN, VLAN_NUMBER
from collectors.simulator.mib import Mib, MibBuilder
from collectors.simulator.port_cache import PortCache
from collectors.simulator.sonic import Leaf

NET_SNMP_LINUX = (1, 3, 6, 1, 4, 1, 8072, 3, 2, 10)
DELL_SWITCH = (1, 3, 6, 1, 4, 1, 4413, 1, 2, 1, 2, 1)
HR_UPTIME = (1, 3, 6, 1, 2, 1, 25, 1, 1, 0)
IF_NUMBER = (1, 3, 6, 1, 2, 1, 2, 1, 0)
IF = (1, 3, 6, 1, 2, 1, 2, 2, 1)
IFX = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1)
PFC = (1, 3, 6, 1, 4, 1, 9, 9, 813, 1, 2, 1)
#: csqIfQosGroupStats
QUEUE = (1, 3, 6, 1, 4, 1, 9, 9, 580, 1, 5, 5, 1, 4)
HOST_LOAD = (1, 3, 6, 1, 4, 1, 6027, 3, 10, 1, 2, 9, 1)
UCD_MEMORY = (1, 3, 6, 1, 4, 1, 2021, 4)

ETHERNET_CSMACD, LAG_TYPE, VLAN_TYPE = 6, 161, 136
UP, DOWN = 1, 2
MANAGEMENT_INDEX = 10000
#: ifHighSpeed of an interface whose speed is not known. Units: Mbit/s
UNKNOWN_MEGABITS = 40_000
#: priority and queue 3 are the lossless class
LOSSLESS = 3
CLASSES = 8
EGRESS = 2

#: column -> counter of the state; the rest of the packet columns stay at 0
_COUNTERS_64 = {6: "rx_bytes", 7: "rx_unicast", 10: "tx_bytes", 11: "tx_unicast"}
_ZERO_64 = (8, 9, 12, 13)
_COUNTERS_32 = {
    10: "rx_bytes",
    11: "rx_unicast",
    13: "rx_discards",
    14: "rx_errors",
    16: "tx_bytes",
    17: "tx_unicast",
    19: "tx_discards",
    20: "tx_errors",
}
_ZERO_32 = (12, 15, 18)
_ZERO_IFX_32 = (2, 3, 4, 5)
#: columns that the agent answers without an index, too
_STRAY_IF, _STRAY_IFX = (6, 7, 8, 9, 22), (14, 16, 17, 19)
#: field of the counters database -> columns that show it
_CELLS: dict[str, tuple[Oid, ...]] = {
    "IF_IN_OCTETS": ((*IF, 10), (*IFX, 6)),
    "IF_IN_UCAST_PKTS": ((*IF, 11), (*IFX, 7)),
    "IF_IN_NON_UCAST_PKTS": ((*IF, 12),),
    "IF_IN_DISCARDS": ((*IF, 13),),
    "IF_IN_ERRORS": ((*IF, 14),),
    "IF_IN_UNKNOWN_PROTOS": ((*IF, 15),),
    "IF_IN_MULTICAST_PKTS": ((*IFX, 2), (*IFX, 8)),
    "IF_IN_BROADCAST_PKTS": ((*IFX, 3), (*IFX, 9)),
    "IF_OUT_OCTETS": ((*IF, 16), (*IFX, 10)),
    "IF_OUT_UCAST_PKTS": ((*IF, 17), (*IFX, 11)),
    "IF_OUT_NON_UCAST_PKTS": ((*IF, 18),),
    "IF_OUT_DISCARDS": ((*IF, 19),),
    "IF_OUT_ERRORS": ((*IF, 20),),
    "IF_OUT_QLEN": ((*IF, 21),),
    "IF_OUT_MULTICAST_PKTS": ((*IFX, 4), (*IFX, 12)),
    "IF_OUT_BROADCAST_PKTS": ((*IFX, 5), (*IFX, 13)),
}
#: the statistics of a queue, as the counters database calls them
_QUEUE_STATS = {"PACKETS": 1, "BYTES": 2, "DROPPED_PACKETS": 5, "DROPPED_BYTES": 6}


@dataclass(frozen=True, slots=True)
class Numbering:
    """How a vendor numbers and names interfaces."""

    management: int
    lag_base: int
    vlan_base: int
    #: what ifDescr holds: the alias, or SONiC's name
    names: bool

    @classmethod
    def of(cls, vendor: str) -> "Numbering":
        """Return the numbering of community, edgecore or dell images."""
        if vendor == "community":
            return cls(MANAGEMENT_INDEX, 1_000, 2_000, names=False)
        return cls(1_000, 10_000, 30_000, names=vendor == "edgecore")


def build(leaf: Leaf, cache: PortCache | None = None) -> Mib:
    """Return the MIB of one switch under its present vendor and with its present missing cells.

    `cache` keeps the ages of its tables from one MIB to the next.
    """
    cache = cache or PortCache(leaf)
    quirks, mib = leaf.quirks, MibBuilder()
    numbers = Numbering.of(quirks.vendor)
    dell = quirks.vendor == "dell"
    described = f'"{leaf.description}\n"' if dell else leaf.description
    mib.system(described, DELL_SWITCH if dell else NET_SNMP_LINUX, leaf.switch.name, leaf.snmp_uptime_seconds)
    mib.ticks(HR_UPTIME, leaf.uptime_seconds)
    _add_interfaces(mib, leaf, cache, numbers)
    _add_host(mib, leaf)
    sonic_entity.add(mib, leaf, rpm=dell)
    sonic_lldp.add(mib, leaf, real_time_mark=dell)
    for cell in quirks.missing:
        for oid, column in _cell(leaf, cell):
            mib.miss(oid, column)
    return mib.build()


def if_index(port_name: str) -> int:
    """Return the ifIndex of EthernetN: N + 1."""
    return int(port_name.removeprefix("Ethernet")) + 1


def _add_interfaces(mib: MibBuilder, leaf: Leaf, cache: PortCache, numbers: Numbering) -> None:
    for port in range(len(leaf.switch.ports)):
        _add_port(mib, leaf, cache, port, numbers)
    _add_management_port(mib, numbers)
    _add_vlan(mib, numbers)
    if leaf.links.lag:
        _add_lag(mib, leaf, cache, numbers)
    mib.constant(IF_NUMBER, len(leaf.switch.ports) + 2 + bool(leaf.links.lag))
    for column in _STRAY_IF:
        mib.constant((*IF, column), 0)
    for column in _STRAY_IFX:
        mib.constant((*IFX, column), 0)


def _add_port(mib: MibBuilder, leaf: Leaf, cache: PortCache, port: int, numbers: Numbering) -> None:
    name, alias = leaf.switch.ports[port], _alias(leaf, port)
    index = if_index(name)
    speed = leaf.switch.speed_bits_per_second
    _add_names(mib, index, alias, name if numbers.names else alias, ETHERNET_CSMACD, name)
    mib.constant_gauge((*IF, 5, index), speed)
    mib.constant_gauge((*IFX, 15, index), speed / 1e6)
    mib.integer((*IF, 7, index), lambda: UP if leaf.is_admin_up(port) else DOWN)
    mib.integer((*IF, 8, index), lambda: UP if leaf.is_up(port) else DOWN)
    for column, counter in _COUNTERS_32.items():
        mib.counter32((*IF, column, index), partial(cache.count, "ifTable", counter, port))
    for column, counter in _COUNTERS_64.items():
        mib.counter64((*IFX, column, index), partial(cache.count, "ifXTable", counter, port))
    _add_zeros(mib, index)
    for priority in range(CLASSES):
        _add_class(mib, cache, port, index, priority)


def _add_class(mib: MibBuilder, cache: PortCache, port: int, index: int, priority: int) -> None:
    """Add PFC of a priority and the statistics of the queue of that number, which the agent counts from 1."""
    queue = (*QUEUE, index, EGRESS, priority + 1)
    pauses = [(*PFC, column, index, priority) for column in (2, 3)]
    mib.zero(COUNTER64, [*pauses, *((*queue, stat) for stat in range(1, 9))])
    if priority != LOSSLESS:
        return
    for oid, counter in zip(pauses, ("pfc_tx", "pfc_rx"), strict=True):
        mib.counter64(oid, partial(cache.count, "pfc", counter, port))
    for stat, counter in ((1, "tx_unicast"), (2, "tx_bytes"), (5, "queue_drops"), (6, "queue_drop_bytes")):
        mib.counter64((*queue, stat), partial(cache.count, "queue", counter, port))


def _add_names(mib: MibBuilder, index: int, name: str, descr: str, kind: int, description: str) -> None:
    mib.constant((*IF, 1, index), index - 1)
    mib.text((*IF, 2, index), descr)
    mib.constant((*IF, 3, index), kind)
    mib.constant((*IF, 4, index), 9100)
    mib.text((*IF, 6, index), "")
    mib.zero(TICKS, [(*IF, 9, index), (*IFX, 19, index)])
    mib.text((*IFX, 1, index), name)
    mib.text((*IFX, 18, index), description)
    for column, value in ((14, 2), (16, 1), (17, 1)):
        mib.constant((*IFX, column, index), value)


def _add_zeros(mib: MibBuilder, index: int) -> None:
    mib.zero(COUNTER32, [*((*IF, column, index) for column in _ZERO_32), *((*IFX, c, index) for c in _ZERO_IFX_32)])
    mib.zero(GAUGE32, [(*IF, 21, index)])
    mib.zero(COUNTER64, ((*IFX, column, index) for column in _ZERO_64))


def _add_still(mib: MibBuilder, index: int) -> None:
    """Add an interface that is up and counts nothing."""
    mib.constant((*IF, 7, index), UP)
    mib.constant((*IF, 8, index), UP)
    _add_zeros(mib, index)
    mib.zero(COUNTER32, ((*IF, column, index) for column in _COUNTERS_32))
    mib.zero(COUNTER64, ((*IFX, column, index) for column in _COUNTERS_64))


def _add_management_port(mib: MibBuilder, numbers: Numbering) -> None:
    _add_names(mib, numbers.management, "eth0", "eth0", ETHERNET_CSMACD, "Management")
    mib.constant_gauge((*IF, 5, numbers.management), 1e9)
    mib.constant_gauge((*IFX, 15, numbers.management), 1_000)
    _add_still(mib, numbers.management)


def _add_vlan(mib: MibBuilder, numbers: Numbering) -> None:
    index = numbers.vlan_base + VLAN_NUMBER
    _add_names(mib, index, VLAN, VLAN, VLAN_TYPE, "")
    mib.constant_gauge((*IF, 5, index), 2**32)
    mib.constant_gauge((*IFX, 15, index), UNKNOWN_MEGABITS)
    _add_still(mib, index)


def _add_lag(mib: MibBuilder, leaf: Leaf, cache: PortCache, numbers: Numbering) -> None:
    index = numbers.lag_base + LAG_NUMBER
    speed = leaf.switch.speed_bits_per_second

    def members() -> list[int]:
        return [port for port in leaf.links.lag if leaf.is_up(port)]

    def total(table: str, counter: str) -> Callable[[float], int]:
        return lambda now: sum(cache.count(table, counter, port, now) for port in members())

    _add_names(mib, index, LAG, LAG, LAG_TYPE, "")
    _add_zeros(mib, index)
    mib.constant((*IF, 7, index), UP)
    mib.integer((*IF, 8, index), lambda: UP if members() else DOWN)
    mib.zero(GAUGE32, [(*IF, 5, index)])
    mib.gauge((*IFX, 15, index), lambda: speed / 1e6 * len(members()))
    for column, counter in _COUNTERS_32.items():
        mib.counter32((*IF, column, index), total("ifTable", counter))
    for column, counter in _COUNTERS_64.items():
        mib.counter64((*IFX, column, index), total("ifXTable", counter))


def _add_host(mib: MibBuilder, leaf: Leaf) -> None:
    for column in (2, 3, 4):
        mib.gauge((*HOST_LOAD, column, 1), lambda: 100 * leaf.cpu_ratio)
    mib.gauge((*HOST_LOAD, 5, 1), lambda: 100 * leaf.memory_used_bytes / leaf.memory_total_bytes)
    mib.integer((*UCD_MEMORY, 5, 0), lambda: leaf.memory_total_bytes / 1024)
    mib.integer((*UCD_MEMORY, 6, 0), lambda: (leaf.memory_total_bytes - leaf.memory_used_bytes) / 1024)


def _alias(leaf: Leaf, port: int) -> str:
    """Return the alias of a port: `etp1`, on Dell `Eth1/1`."""
    return f"Eth1/{port + 1}" if leaf.quirks.vendor == "dell" else leaf.switch.aliases[port]


def _cell(leaf: Leaf, cell: str) -> Iterator[tuple[Oid, Oid]]:
    """Yield the instances that show a field of the counters database, and the column of each."""
    row, _, name = cell.partition(" ")
    port, _, queue = row.partition(":")
    if port not in leaf.switch.ports:
        return
    index, field = if_index(port), name.removeprefix("SAI_PORT_STAT_")
    for column in _CELLS.get(field, ()):
        yield (*column, index), column
    if field.startswith("PFC_") and field.endswith(("_RX_PKTS", "_TX_PKTS")):
        column = (*PFC, 3 if field.endswith("_RX_PKTS") else 2)
        yield (*column, index, int(field.split("_")[1])), column
    stat = _QUEUE_STATS.get(name.removeprefix("SAI_QUEUE_STAT_"))
    if queue and stat is not None:
        yield (*QUEUE, index, EGRESS, int(queue) + 1, stat), QUEUE
