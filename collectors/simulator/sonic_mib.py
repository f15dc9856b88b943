"""The MIB of a SONiC switch with the quirks that a collector must stand.

Played: names are aliases, the column ifIndex is off by one, 32-bit columns hold the low bits, columns of constants and
states carry an extra row without an index, ifLastChange is always 0, the management port counts nothing.

Source: sonic-net/sonic-snmpagent `src/sonic_ax_impl/mibs/` (ietf/rfc1213.py, rfc2863.py, rfc3433.py, vendor/cisco).
"""

from collections.abc import Callable
from functools import partial

from collectors.simulator.mib import Mib, MibBuilder, Oid
from collectors.simulator.sonic import PSU_VOLTS, Leaf

NET_SNMP_LINUX = (1, 3, 6, 1, 4, 1, 8072, 3, 2, 10)
HR_UPTIME = (1, 3, 6, 1, 2, 1, 25, 1, 1, 0)
IF = (1, 3, 6, 1, 2, 1, 2, 2, 1)
IFX = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1)
PHYSICAL = (1, 3, 6, 1, 2, 1, 47, 1, 1, 1, 1)
SENSOR = (1, 3, 6, 1, 2, 1, 99, 1, 1, 1)
PFC = (1, 3, 6, 1, 4, 1, 9, 9, 813, 1, 2, 1)
HOST_LOAD = (1, 3, 6, 1, 4, 1, 6027, 3, 10, 1, 2, 9, 1)
UCD_MEMORY = (1, 3, 6, 1, 4, 1, 2021, 4)

ETHERNET_CSMACD = 6
UP, DOWN = 1, 2
MANAGEMENT_INDEX = 10000
#: entPhySensorType
CELSIUS, VOLTS, AMPERES, WATTS, UNKNOWN = 8, 4, 5, 6, 2
UNITS_SCALE = 9

#: ifXTable column -> counter of the state; the rest of the packet columns stay at 0
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
#: priority 3 is the lossless class
_LOSSLESS = 3
_PRIORITIES = 8


def build(leaf: Leaf) -> Mib:
    """Return the MIB of one switch."""
    mib = MibBuilder()
    mib.system(leaf.description, NET_SNMP_LINUX, leaf.switch.name, leaf.uptime_seconds)
    mib.ticks(HR_UPTIME, leaf.uptime_seconds)
    for port in range(len(leaf.switch.ports)):
        _add_port(mib, leaf, port)
    _add_management_port(mib)
    _add_stray_rows(mib)
    _add_host(mib, leaf)
    _add_sensors(mib, leaf)
    return mib.build()


def if_index(port_name: str) -> int:
    """Return the ifIndex of EthernetN: N + 1."""
    return int(port_name.removeprefix("Ethernet")) + 1


def _add_port(mib: MibBuilder, leaf: Leaf, port: int) -> None:
    index = if_index(leaf.switch.ports[port])
    alias = leaf.switch.aliases[port]
    _add_names(mib, index, alias, leaf.switch.ports[port], leaf.switch.speed_bits_per_second)
    mib.constant((*IF, 7, index), UP)
    mib.integer((*IF, 8, index), lambda: UP if leaf.is_up(port) else DOWN)
    for column, name in _COUNTERS_32.items():
        mib.counter32((*IF, column, index), partial(leaf.counter, name, port))
    for column, name in _COUNTERS_64.items():
        mib.counter64((*IFX, column, index), partial(leaf.counter, name, port))
    for column in _ZERO_64:
        mib.counter64((*IFX, column, index), lambda _: 0)
    for priority in range(_PRIORITIES):
        for column, name in ((2, "pfc_tx"), (3, "pfc_rx")):
            count = partial(leaf.counter, name, port) if priority == _LOSSLESS else lambda _: 0
            mib.counter64((*PFC, column, index, priority), count)


def _add_names(mib: MibBuilder, index: int, alias: str, description: str, speed: float) -> None:
    mib.constant((*IF, 1, index), index - 1)
    mib.text((*IF, 2, index), alias)
    mib.constant((*IF, 3, index), ETHERNET_CSMACD)
    mib.constant((*IF, 4, index), 9100)
    mib.gauge((*IF, 5, index), lambda: speed)
    mib.text((*IF, 6, index), "")
    mib.ticks((*IF, 9, index), lambda _: 0.0)
    mib.text((*IFX, 1, index), alias)
    mib.gauge((*IFX, 15, index), lambda: speed / 1e6)
    mib.text((*IFX, 18, index), description)


def _add_management_port(mib: MibBuilder) -> None:
    index = MANAGEMENT_INDEX
    _add_names(mib, index, "eth0", "Management", 1e9)
    mib.constant((*IF, 7, index), UP)
    mib.constant((*IF, 8, index), UP)
    for column in _COUNTERS_32:
        mib.counter32((*IF, column, index), lambda _: 0)
    for column in (*_COUNTERS_64, *_ZERO_64):
        mib.counter64((*IFX, column, index), lambda _: 0)


def _add_stray_rows(mib: MibBuilder) -> None:
    """Add what the agent returns under the bare OID of a column."""
    for column in (6, 7, 8, 9, 22):
        mib.constant((*IF, column), 0)
    for column in (14, 16, 17, 19):
        mib.constant((*IFX, column), 0)


def _add_host(mib: MibBuilder, leaf: Leaf) -> None:
    for column in (2, 3, 4):
        mib.gauge((*HOST_LOAD, column, 1), lambda: 100 * leaf.cpu_ratio)
    mib.gauge((*HOST_LOAD, 5, 1), lambda: 100 * leaf.memory_used_bytes / leaf.memory_total_bytes)
    mib.integer((*UCD_MEMORY, 5, 0), lambda: leaf.memory_total_bytes / 1024)
    mib.integer((*UCD_MEMORY, 6, 0), lambda: (leaf.memory_total_bytes - leaf.memory_used_bytes) / 1024)


def _add_sensors(mib: MibBuilder, leaf: Leaf) -> None:
    for supply in range(leaf.supplies):
        _add_supply(mib, leaf, supply)
    _add_sensor(mib, 200_990_110, "Chassis temperature", CELSIUS, 3, lambda: 1000 * leaf.temperature_celsius)
    _add_sensor(mib, 501_020_120, "FanTray 1 fan 1", UNKNOWN, 0, lambda: 100 * leaf.fan_ratio)


def _add_supply(mib: MibBuilder, leaf: Leaf, supply: int) -> None:
    """Add one power supply under SONiC's index scheme: 6 NN 24 00 S 0 for supply NN and sensor S."""
    base = 600_240_000 + (supply + 1) * 1_000_000
    name = f"PSU {supply + 1}"
    _add_sensor(mib, base + 10, f"Temperature for {name}", CELSIUS, 3, lambda: 1000 * leaf.temperature_celsius)
    _add_sensor(mib, base + 30, f"Power for {name}", WATTS, 3, lambda: 1000 * leaf.psu_watts(supply))
    _add_sensor(mib, base + 40, f"Current for {name}", AMPERES, 3, lambda: 1000 * leaf.psu_watts(supply) / PSU_VOLTS)
    _add_sensor(mib, base + 50, f"Voltage for {name}", VOLTS, 3, lambda: 1000 * PSU_VOLTS)


def _add_sensor(mib: MibBuilder, index: int, name: str, kind: int, precision: int, value: Callable[[], float]) -> None:
    cells: tuple[tuple[Oid, int], ...] = (
        ((*SENSOR, 1, index), kind),
        ((*SENSOR, 2, index), UNITS_SCALE),
        ((*SENSOR, 3, index), precision),
        ((*SENSOR, 5, index), 1),
    )
    for oid, cell in cells:
        mib.constant(oid, cell)
    mib.integer((*SENSOR, 4, index), value)
    mib.text((*PHYSICAL, 2, index), name)
    mib.text((*PHYSICAL, 7, index), name)
