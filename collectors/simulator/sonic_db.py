"""The Redis databases of a SONiC switch as its gNMI server shows them: every leaf is text.

Source: sonic-net/sonic-gnmi `sonic_data_client/{virtual_db,db_client,non_db_client}.go` for paths and shapes.
"""

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from collectors.simulator.sonic import VERSION, Leaf
from collectors.simulator.sonic_counters import Counters, Fields
from collectors.simulator.sonic_tables import PORT_OID, QUEUE_OID, QUEUES, tables

DATABASES = ("APPL_DB", "ASIC_DB", "COUNTERS_DB", "CONFIG_DB", "FLEX_COUNTER_DB", "STATE_DB")
#: what the server reads of the host itself; in SAMPLE mode only
OTHERS = "OTHERS"


class UnknownPathError(Exception):
    """The switch has no such table, port or field; the message is the server's."""


class Json(str):
    """A value that is JSON text already."""

    __slots__ = ()


class SonicDatabases:
    """The databases of one switch."""

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf
        switch = leaf.switch
        self._by_name = {name: port for port, name in enumerate(switch.ports)}
        self._by_alias = {alias: port for port, alias in enumerate(switch.aliases)}
        self._counters = Counters(leaf)
        self._tables = tables(leaf)

    def read(self, database: str, path: Sequence[str], now: float) -> Any:
        """Return what lies at a path at `now` (epoch seconds): text, an object, or JSON text of an object of objects.

        Raises:
            UnknownPathError: there is nothing of that name.
        """
        if database == OTHERS:
            return self._others("/".join(path), now)
        if database == "COUNTERS_DB" and path:
            if path[0] == "INTERFACE_COUNTERS" and len(path) == 1:
                return Json(self._counters.ports(now, self._leaf.switch.ports))
            if len(path) > 1 and path[0] in ("COUNTERS", "RATES", "PERIODIC_WATERMARKS", "USER_WATERMARKS"):
                return self._virtual(path[0], path[1], path[2:], now)
        table = self._tables.get((database, path[0])) if path else None
        if table is None:
            raise UnknownPathError(f"{database}: no table at path {'/'.join(path)}")
        found: Any = table()
        for name in path[1:]:
            if not isinstance(found, Mapping) or name not in found:
                raise UnknownPathError(f"{database}: no key at path {'/'.join(path)}")
            found = found[name]
        return found

    def _virtual(self, table: str, port: str, rest: Sequence[str], now: float) -> Any:
        """Read a virtual path: aliases under a wildcard, a flat object for one port; object identifiers as they are."""
        if port.startswith("oid:"):
            return self._object(table, port, now)
        ports, counters = self._matching(port), self._counters
        last = rest[0] if len(rest) == 1 else None
        if len(rest) > 1:
            raise UnknownPathError(f"COUNTERS_DB: no counters at path {'/'.join(rest)}")
        if table == "COUNTERS" and last == "Queues":
            return Json(counters.queues(now, ports))
        if table == "COUNTERS" and last == "Pfcwd":
            if not (found := counters.watchdog(now, ports)):
                raise UnknownPathError("COUNTERS_DB: PFC_WD is not configured")
            return found
        if table in ("PERIODIC_WATERMARKS", "USER_WATERMARKS"):
            if last != "PriorityGroups":
                raise UnknownPathError(f"COUNTERS_DB: no watermarks at path {'/'.join(rest)}")
            return counters.groups(ports)
        if table == "COUNTERS" and port == "Ethernet*" and last is None:
            return Json(counters.ports(now, self._leaf.switch.aliases))
        return self._fields(table, ports, "*" in port, last, now)

    def _fields(self, table: str, ports: Sequence[int], wild: bool, field: str | None, now: float) -> Any:
        aliases = self._leaf.switch.aliases
        if table == "COUNTERS" and wild and field is not None:
            rows = json.loads(self._counters.ports(now, aliases))
            found = {port: rows[aliases[port]] for port in ports}
        else:
            found = {port: self._row(table, port, now) for port in ports}
        if field is None:
            return {aliases[port]: fields for port, fields in found.items()} if wild else found[ports[0]]
        if not wild:
            return found[ports[0]].get(field, "")
        return {aliases[port]: {field: fields[field]} for port, fields in found.items() if field in fields}

    def _row(self, table: str, port: int, now: float) -> Fields:
        return self._counters.rates(port) if table == "RATES" else self._counters.port(port, now)

    def _object(self, table: str, name: str, now: float) -> Fields:
        """Read a hash by its object identifier: a port's, or a queue's counters."""
        try:
            number = int(name.removeprefix("oid:"), 16)
        except ValueError:
            number = -1
        ports = len(self._leaf.switch.ports)
        if 0 <= (port := number - PORT_OID) < ports and table in ("COUNTERS", "RATES"):
            return self._row(table, port, now)
        port, queue = divmod(number - QUEUE_OID, QUEUES)
        if 0 <= port < ports and table == "COUNTERS":
            queues = json.loads(self._counters.queues(now, [port]))
            return dict(queues[f"{self._leaf.switch.aliases[port]}:{queue}"])
        raise UnknownPathError(f"COUNTERS_DB: no key {table}:{name}")

    def _matching(self, pattern: str) -> list[int]:
        known = self._counters.known()
        if "*" in pattern:
            return [port for name, port in self._by_name.items() if port in known and fnmatchcase(name, pattern)]
        port = self._by_name.get(pattern, self._by_alias.get(pattern, -1))
        if port not in known:
            raise UnknownPathError(f"COUNTERS_DB: {pattern} not a valid SONiC interface")
        return [port]

    def _others(self, path: str, now: float) -> Fields | dict[str, Any]:
        """Read what the server knows of its host. Source: sonic-gnmi `non_db_client.go`."""
        leaf = self._leaf
        kib = {
            "mem_total": int(leaf.memory_total_bytes / 1024),
            "mem_available": int((leaf.memory_total_bytes - leaf.memory_used_bytes) / 1024),
        }
        found: dict[str, dict[str, Any]] = {
            "osversion/build": {"build_version": VERSION, "error": ""},
            "proc/uptime": {"total": round(leaf.uptime_seconds(now), 2), "idle": 0.0},
            "proc/loadavg": {"last1min": 4 * leaf.cpu_ratio, "last5min": 4 * leaf.cpu_ratio, "last15min": 0.6},
            "proc/meminfo": kib,
            "platform/cpu": {"cpu_all": {"id": "all", "100ms": 100 * leaf.cpu_ratio, "1s": 100 * leaf.cpu_ratio}},
        }
        if path not in found:
            raise UnknownPathError(f"{OTHERS}: no path {path}")
        return found[path]
