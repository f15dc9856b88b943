"""The Redis databases of a SONiC switch as its gNMI server shows them: every leaf is text.

Source: sonic-net/sonic-gnmi `sonic_data_client/{virtual_db,db_client}.go` for paths and shapes; field names as syncd,
orchagent and pmon write them.
"""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from collectors.simulator.sonic import LANES_PER_PORT, PSU_VOLTS, Leaf

DATABASES = ("APPL_DB", "ASIC_DB", "COUNTERS_DB", "CONFIG_DB", "FLEX_COUNTER_DB", "STATE_DB")

#: queue and priority of lossless traffic
LOSSLESS = 3
QUEUES = 8
#: bits of an RS(544,514) codeword, and the share of codewords that a good 400G link corrects
CODEWORD_BITS = 5440
CORRECTED_RATIO = 2e-4

#: SAI name -> counter of the factory's state; the rest of the packet counters stay at 0
_PORT_COUNTERS = {
    "SAI_PORT_STAT_IF_IN_OCTETS": "rx_bytes",
    "SAI_PORT_STAT_IF_OUT_OCTETS": "tx_bytes",
    "SAI_PORT_STAT_IF_IN_UCAST_PKTS": "rx_unicast",
    "SAI_PORT_STAT_IF_OUT_UCAST_PKTS": "tx_unicast",
    "SAI_PORT_STAT_IF_IN_DISCARDS": "rx_discards",
    "SAI_PORT_STAT_IF_OUT_DISCARDS": "tx_discards",
    "SAI_PORT_STAT_IF_IN_ERRORS": "rx_errors",
    "SAI_PORT_STAT_IF_OUT_ERRORS": "tx_errors",
}
_ZEROS = (
    "SAI_PORT_STAT_IF_IN_MULTICAST_PKTS",
    "SAI_PORT_STAT_IF_OUT_MULTICAST_PKTS",
    "SAI_PORT_STAT_IF_IN_BROADCAST_PKTS",
    "SAI_PORT_STAT_IF_OUT_BROADCAST_PKTS",
    "SAI_PORT_STAT_IF_IN_FEC_NOT_CORRECTABLE_FRAMES",
)

Fields = dict[str, str]


class UnknownPathError(Exception):
    """The switch has no such table, port or field; the message is the server's."""


class SonicDatabases:
    """The databases of one switch."""

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf
        switch = leaf.switch
        self._by_name = {name: port for port, name in enumerate(switch.ports)}
        self._by_alias = {alias: port for port, alias in enumerate(switch.aliases)}
        self._tables: Mapping[tuple[str, str], Callable[[], Mapping[str, Any]]] = {
            ("COUNTERS_DB", "COUNTERS_PORT_NAME_MAP"): self._name_map,
            ("APPL_DB", "PORT_TABLE"): self._port_table,
            ("STATE_DB", "PSU_INFO"): self._psu_info,
            ("STATE_DB", "FAN_INFO"): self._fan_info,
            ("STATE_DB", "TEMPERATURE_INFO"): self._temperature_info,
        }

    def read(self, database: str, path: Sequence[str], now: float) -> Any:
        """Return what lies at a path at `now` (epoch seconds): text, an object, or an object of objects.

        Raises:
            UnknownPathError: there is nothing of that name.
        """
        if database == "COUNTERS_DB" and len(path) > 1 and path[0] == "COUNTERS":
            return self._counters(path[1], path[2:], now)
        table = self._tables.get((database, path[0])) if path else None
        if table is None:
            raise UnknownPathError(f"{database}: no table at path {'/'.join(path)}")
        found: Any = table()
        for name in path[1:]:
            if not isinstance(found, Mapping) or name not in found:
                raise UnknownPathError(f"{database}: no key at path {'/'.join(path)}")
            found = found[name]
        return found

    def _counters(self, port: str, rest: Sequence[str], now: float) -> Any:
        """Read a virtual path: aliases under a wildcard, a flat object for one port."""
        wild = "*" in port
        ports = self._matching(port)
        if list(rest) == ["Queues"]:
            return {key: queue for number in ports for key, queue in self._queues(number, now).items()}
        if len(rest) > 1:
            raise UnknownPathError(f"COUNTERS_DB: no counters at path {'/'.join(rest)}")
        objects = {number: self._port_counters(number, now) for number in ports}
        aliases = self._leaf.switch.aliases
        if not rest:
            return {aliases[number]: found for number, found in objects.items()} if wild else objects[ports[0]]
        field = rest[0]
        if not wild:
            return objects[ports[0]].get(field, "")
        return {aliases[number]: {field: found[field]} for number, found in objects.items() if field in found}

    def _matching(self, pattern: str) -> list[int]:
        names = {**self._by_name, **self._by_alias}
        if "*" in pattern:
            return [port for name, port in self._by_name.items() if fnmatchcase(name, pattern)]
        if pattern not in names:
            raise UnknownPathError(f"COUNTERS_DB: {pattern} not a valid SONiC interface")
        return [names[pattern]]

    def _port_counters(self, port: int, now: float) -> Fields:
        leaf = self._leaf
        counts = {field: leaf.counter(name, port, now) for field, name in _PORT_COUNTERS.items()}
        counts.update(dict.fromkeys(_ZEROS, 0))
        codewords = 8 * counts["SAI_PORT_STAT_IF_IN_OCTETS"] // CODEWORD_BITS
        corrected = int(codewords * CORRECTED_RATIO)
        counts["SAI_PORT_STAT_IF_IN_FEC_CORRECTABLE_FRAMES"] = corrected
        counts["SAI_PORT_STAT_IF_IN_FEC_SYMBOL_ERRORS"] = corrected + corrected // 10
        for priority in range(QUEUES):
            lossless = priority == LOSSLESS
            counts[f"SAI_PORT_STAT_PFC_{priority}_RX_PKTS"] = leaf.counter("pfc_rx", port, now) if lossless else 0
            counts[f"SAI_PORT_STAT_PFC_{priority}_TX_PKTS"] = leaf.counter("pfc_tx", port, now) if lossless else 0
        for priority in (LOSSLESS, LOSSLESS + 1):
            paused = leaf.pause_seconds(port, now) if priority == LOSSLESS else 0.0
            counts[f"SAI_PORT_STAT_PFC_{priority}_RX_PAUSE_DURATION_US"] = int(1e6 * paused)
        return {field: str(count) for field, count in counts.items()}

    def _queues(self, port: int, now: float) -> dict[str, Fields]:
        """Return the queues of a port: all RDMA traffic goes through the lossless one."""
        leaf, alias = self._leaf, self._leaf.switch.aliases[port]
        used = {
            "SAI_QUEUE_STAT_PACKETS": leaf.counter("tx_unicast", port, now),
            "SAI_QUEUE_STAT_BYTES": leaf.counter("tx_bytes", port, now),
            "SAI_QUEUE_STAT_DROPPED_PACKETS": 0,
            "SAI_QUEUE_STAT_WRED_ECN_MARKED_PACKETS": leaf.counter("ecn_marked", port, now),
        }
        queues: dict[str, Fields] = {}
        for queue in range(QUEUES):
            queues[f"{alias}:{queue}"] = {
                field: str(count if queue == LOSSLESS else 0) for field, count in used.items()
            }
            queues[f"{alias}:{queue}:periodic"] = {"SAI_QUEUE_STAT_SHARED_WATERMARK_BYTES": "0"}
        return queues

    def _name_map(self) -> Fields:
        return {name: f"oid:0x{0x1000000000002 + port:x}" for name, port in self._by_name.items()}

    def _port_table(self) -> dict[str, Fields]:
        leaf, switch = self._leaf, self._leaf.switch
        table: dict[str, Fields] = {"PortConfigDone": {"count": str(len(switch.ports))}, "PortInitDone": {"lanes": "0"}}
        for port, name in enumerate(switch.ports):
            first = port * LANES_PER_PORT + 1
            up = leaf.is_up(port)
            table[name] = {
                "alias": switch.aliases[port],
                "admin_status": "up",
                "oper_status": "up" if up else "down",
                "speed": str(int(switch.speed_bits_per_second / 1e6)),
                "lanes": ",".join(str(lane) for lane in range(first, first + LANES_PER_PORT)),
                "mtu": "9100",
                "fec": "rs",
                # both directions: each flap is a down and an up
                "flap_count": str(2 * leaf.flaps(port) - (0 if up else 1) if leaf.flaps(port) else 0),
            }
        return table

    def _psu_info(self) -> dict[str, Fields]:
        leaf = self._leaf
        table = {}
        for supply in range(leaf.supplies):
            watts = leaf.psu_watts(supply)
            table[f"PSU {supply + 1}"] = {
                "presence": "true",
                "status": "true",
                "power": f"{watts:.3f}",
                "voltage": f"{PSU_VOLTS:.1f}",
                "current": f"{watts / PSU_VOLTS:.3f}",
                "temp": f"{leaf.temperature_celsius:.1f}",
                "input_voltage": "N/A",
                "power_overload": "False",
            }
        return table

    def _fan_info(self) -> dict[str, Fields]:
        speed = str(round(100 * self._leaf.fan_ratio))
        fan = {"presence": "true", "status": "true", "direction": "exhaust", "speed": speed, "speed_target": speed}
        return {"FanTray1-Fan1": fan}

    def _temperature_info(self) -> dict[str, Fields]:
        sensor = {
            "temperature": f"{self._leaf.temperature_celsius:.3f}",
            "high_threshold": "75.0",
            "warning_status": "False",
        }
        return {"Switch Card": sensor}
