"""What an SNMP agent offers beyond the points of its profile: the lines that `tokenwatt probe` prints under them.

SONiC's agent loses ports in walks, refreshes each table by its own clock and leaves tables out without a word: each of
these is measured here, and told with the setting of the switch that changes it.

Source: sonic-net/sonic-snmpagent (walks #369; `ax_interface/mib.py` refreshes each 5 s, 2 s more or less).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from collectors.collector import Target
from collectors.profile import Profile
from collectors.row_rules import Row
from collectors.snmp.client import SnmpClient, Value
from collectors.snmp.rows import RowSearch
from collectors.snmp.tables import read_groups

SYS_DESCR, SYS_OBJECT_ID = "1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.2.0"
SYS_UPTIME, SYS_NAME = "1.3.6.1.2.1.1.3.0", "1.3.6.1.2.1.1.5.0"
HR_UPTIME = "1.3.6.1.2.1.25.1.1.0"
IF, IFX = "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1"
SENSOR_STATUS, SENSOR_TYPE = "1.3.6.1.2.1.99.1.1.1.5", "1.3.6.1.2.1.99.1.1.1.1"
PFC_RECEIVED = "1.3.6.1.4.1.9.9.813.1.2.1.3"
QUEUE_STATISTICS = "1.3.6.1.4.1.9.9.580.1.5.5.1.4"

#: counters that a walk may cut short
COLUMNS: Mapping[str, str] = {
    "ifHCInOctets": f"{IFX}.6",
    "ifHCInUcastPkts": f"{IFX}.7",
    "ifHCOutOctets": f"{IFX}.10",
    "ifHCOutUcastPkts": f"{IFX}.11",
    "ifInDiscards": f"{IF}.13",
    "ifInErrors": f"{IF}.14",
    "ifOutDiscards": f"{IF}.19",
    "ifOutErrors": f"{IF}.20",
}
#: what a table is for: a column of it, and what to set where it does not answer
TABLES: Mapping[str, tuple[str, str]] = {
    "parts (ENTITY-MIB)": ("1.3.6.1.2.1.47.1.1.1.1.5", "the platform tells pmon nothing: show platform inventory"),
    "state of supplies": ("1.3.6.1.4.1.9.9.117.1.1.2.1.2", "pmon's psud is off: show platform psustatus"),
    "neighbours (LLDP)": ("1.0.8802.1.1.2.1.4.1.1.9", "enable the lldp container, and run lldpd on the hosts"),
    "CPU and memory": ("1.3.6.1.4.1.6027.3.10.1.2.9.1", "the image has no Dell host table: CPU needs gNMI"),
    "memory installed": ("1.3.6.1.4.1.2021.4.5", "snmpd's view leaves UCD-SNMP-MIB out"),
}
#: ifIndex of EthernetN, PortChannelN, VlanN and of the management port
SCHEMES: Mapping[str, Mapping[str, int]] = {
    "community images (EthernetN = N + 1, PortChannelN = 1000 + N, VlanN = 2000 + N, ethN = 10000 + N)": {
        "Ethernet": 1,
        "PortChannel": 1000,
        "Vlan": 2000,
        "eth": 10000,
    },
    "Edgecore and Dell Enterprise (EthernetN = N + 1, mgmt = 1000, PortChannelN = 10000 + N, VlanN = 30000 + N)": {
        "Ethernet": 1,
        "PortChannel": 10000,
        "Vlan": 30000,
        "eth": 1000,
    },
}
#: an agent that refreshes its tables answers late
PATIENCE = timedelta(seconds=20)
_SONIC = re.compile(r"SONiC Software Version: SONiC\.(\S+).*HwSku: (\S+)", re.DOTALL)
_NUMBERED = re.compile(r"(Ethernet|PortChannel|Vlan|eth)(\d+)")
#: ports that stand for all where a table is sampled, and queues that a port may have
_SAMPLED = 4
_QUEUES = 20
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Watch:
    """How the refresh of the counters is watched."""

    #: changes to see before a period is told
    changes: int = 4
    every_s: float = 0.5
    limit_s: float = 30.0
    clock: Callable[[], float] | None = None
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


async def examine(target: Target, profile: Profile, watch: Watch | None = None) -> Sequence[str]:
    """Return what the agent offers: version, numbering, cut walks, refresh, tables that answer or not; a line each.

    Raises:
        CollectError: it does not answer, or not in SNMP.
    """
    client = SnmpClient(target, PATIENCE)
    try:
        lines = [_identity(await client.get([SYS_DESCR, SYS_OBJECT_ID, SYS_NAME, SYS_UPTIME, HR_UPTIME]))]
        # Of a switch whose counters are cached there is more to tell than of a server or a rack PDU.
        ports = await _interfaces(client, target, profile) if "anchor" in profile.transport else []
        if ports:
            lines += [_numbering(ports), await _census(client, ports), *await _walks(client, ports)]
            lines += await _tables(client, ports)
            lines.append(await _refresh(client, ports, watch or Watch()))
        return lines
    finally:
        client.close()


def _identity(system: Mapping[str, Value]) -> str:
    descr = " ".join(str(system.get(SYS_DESCR, "")).replace('"', "").split())
    found = _SONIC.search(descr)
    who = f"SONiC {found[1]}, HwSKU {found[2]}" if found else f"{descr!r}, sysObjectID {system.get(SYS_OBJECT_ID, '-')}"
    clocks = [
        f"{what} up {ticks / 100:.0f} s"
        for what, oid in (("host", HR_UPTIME), ("snmpd", SYS_UPTIME))
        if isinstance(ticks := system.get(oid), int)
    ]
    return ", ".join([who, f"sysName {system.get(SYS_NAME, '-')}", *clocks])


async def _interfaces(client: SnmpClient, target: Target, profile: Profile) -> list[Row]:
    """Return the rows of the profile's interfaces, each with `interface`, `kind` and its `index`; none where none."""
    for table in read_groups(profile, target):
        if any(spec.to == "interface.rx_bytes_total" for spec in table.group.points):
            return await RowSearch(client).rows(table.each, table.given)
    return []


def _numbering(ports: Sequence[Row]) -> str:
    told = [(found[1], int(found[2]), int(row["index"])) for row in ports if (found := _numbered(row))]
    for scheme, first in SCHEMES.items():
        # The management port of Edgecore and Dell is 1000 whatever its number.
        if all(index == first[kind] + (0 if first[kind] == 1000 and kind == "eth" else n) for kind, n, index in told):
            return (
                f"numbering: that of {scheme}; nothing is derived from it but EthernetN where the switch says aliases"
            )
    return (
        "numbering: its own; ports with an alias alone are named EthernetN for ifIndex N + 1, which may be wrong here"
    )


def _numbered(row: Row) -> re.Match[str] | None:
    # A name that was made from the index proves nothing.
    names = (row.get("descr", ""), row.get("name", ""))
    return next((found for name in names if (found := _NUMBERED.fullmatch(name))), None)


async def _census(client: SnmpClient, ports: Sequence[Row]) -> str:
    states = await client.get([f"{IF}.8.{row['index']}" for row in ports])
    counts = []
    for kind, word in (("port", "ports"), ("lag", "LAGs"), ("vlan", "VLANs"), ("mgmt", "management ports")):
        own = [row for row in ports if row.get("kind") == kind]
        up = sum(states.get(f"{IF}.8.{row['index']}") == 1 for row in own)
        counts.append(f"{len(own)} {word} ({up} up)")
    other = sum(row.get("kind") not in ("port", "lag", "vlan", "mgmt") for row in ports)
    return "interfaces: " + ", ".join([*counts, *([f"{other} others"] if other else [])])


async def _walks(client: SnmpClient, ports: Sequence[Row]) -> list[str]:
    """Return a line for each column whose walk ends early, and one for ports that it does not have at all."""
    lines = []
    for name, column in COLUMNS.items():
        walked = await client.walk(column)
        lost = [row for row in ports if row["index"] not in walked]
        if not lost:
            continue
        got = await client.get([f"{column}.{row['index']}" for row in lost])
        gone = [row["interface"] for row in lost if f"{column}.{row['index']}" not in got]
        line = f"walk of {name}: {len(ports) - len(lost)} of {len(ports)} rows; {len(got)} more by GET, as polled here"
        if gone:
            what = "no HC counter" if "HC" in name else "no counter"
            line += f"; {what}: {_some(gone)}: enable FLEX_COUNTER_TABLE|PORT"
        lines.append(line)
    return lines or [f"walks: none of {len(COLUMNS)} counter columns is cut short"]


async def _tables(client: SnmpClient, ports: Sequence[Row]) -> list[str]:
    front = [row for row in ports if row.get("kind") == "port"][:_SAMPLED]
    answered: list[str] = []
    silent: list[str] = []
    for what, setting in (await _pfc(client, front), await _queues(client, front), await _sensors(client)):
        (silent if setting else answered).append(f"{what}: {setting}" if setting else what)
    for what, (column, setting) in TABLES.items():
        rows = await client.walk(column)
        if rows:
            answered.append(f"{what} ({len(rows)} rows)")
        else:
            silent.append(f"{what}: {setting}")
    return [*([f"answers: {', '.join(answered)}"] if answered else []), *(f"silent: {line}" for line in silent)]


async def _pfc(client: SnmpClient, front: Sequence[Row]) -> tuple[str, str]:
    oids = {f"{PFC_RECEIVED}.{row['index']}.{n}": n for row in front for n in range(8)}
    there = sorted({oids[oid] for oid in await client.get(list(oids)) if oid in oids})
    if not there:
        return "PFC by priority", "the image's agent has no CISCO-PFC-EXT-MIB, or FLEX_COUNTER_TABLE|PORT is off"
    return f"PFC of priorities {_ranges(there)} (read: option priorities)", ""


async def _queues(client: SnmpClient, front: Sequence[Row]) -> tuple[str, str]:
    oids = {f"{QUEUE_STATISTICS}.{row['index']}.2.{n + 1}.1": n for row in front for n in range(_QUEUES)}
    there = sorted({oids[oid] for oid in await client.get(list(oids)) if oid in oids})
    if not there:
        return "queue statistics", "enable FLEX_COUNTER_TABLE|QUEUE; max_queues in STATE_DB BUFFER_MAX_PARAM_TABLE"
    return f"unicast queues {_ranges(there)} (read: option priorities)", ""


async def _sensors(client: SnmpClient) -> tuple[str, str]:
    found = await client.walk(SENSOR_TYPE)
    if not found:
        return "sensors", "pmon tells none: show platform temperature, show interfaces transceiver eeprom --dom"
    status = await client.get([f"{SENSOR_STATUS}.{index}" for index in found if index])
    return f"sensors ({sum(value == 1 for value in status.values())} live of {len(found)})", ""


async def _refresh(client: SnmpClient, ports: Sequence[Row], watch: Watch) -> str:
    """Watch the busiest port's octets for some changes, and tell the time between them."""
    octets = await client.get([f"{IFX}.6.{row['index']}" for row in ports])
    numbers = {oid: value for oid, value in octets.items() if isinstance(value, int)}
    if not numbers:
        return "refresh of the counters: not seen, no port has octets"
    oid = max(numbers, key=lambda each: numbers[each])
    seen = [at async for at in _changes(client, oid, numbers[oid], watch)]
    if len(seen) < 2:
        return (
            f"refresh of the counters: {len(seen)} seen in {watch.limit_s:g} s: no traffic, "
            "or the agent is stuck: systemctl restart snmp"
        )
    gaps = [later - earlier for earlier, later in pairwise(seen)]
    return (
        f"refresh of the counters: each {sum(gaps) / len(gaps):.1f} s ({min(gaps):.1f} to {max(gaps):.1f}, "
        f"{len(gaps)} seen): polls wait for it"
    )


async def _changes(client: SnmpClient, oid: str, value: Value, watch: Watch) -> AsyncIterator[float]:
    """Yield the instants at which one instance changed. Units: s."""
    clock = watch.clock or asyncio.get_running_loop().time
    end, left = clock() + watch.limit_s, watch.changes
    while left and clock() < end:
        await watch.pause(watch.every_s)
        now = (await client.get([oid])).get(oid, value)
        if now != value:
            value, left = now, left - 1
            yield clock()


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers in order as text: 0-3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
