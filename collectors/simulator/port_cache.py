"""What the SNMP agent of a switch knows of its ports' counters: each table as it was at its last refresh.

SONiC's agent refreshes each table every 5 s + randint(-2, 2), each by a clock of its own. The refreshes are played when
they are due, whether anybody asks or not, on the clock that is passed in.

Source: sonic-net/sonic-snmpagent `src/ax_interface/mib.py` (MIBUpdater.run).
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.simulator.sonic import Leaf

PERIOD_SECONDS, SPREAD_SECONDS = 5, 2

#: table -> counters of `state.switches` that it shows
TABLES: Mapping[str, tuple[str, ...]] = {
    "ifTable": (
        "rx_bytes",
        "rx_unicast",
        "rx_discards",
        "rx_errors",
        "tx_bytes",
        "tx_unicast",
        "tx_discards",
        "tx_errors",
    ),
    "ifXTable": ("rx_bytes", "rx_unicast", "tx_bytes", "tx_unicast"),
    "pfc": ("pfc_rx", "pfc_tx"),
    "queue": ("tx_unicast", "tx_bytes", "queue_drops", "queue_drop_bytes"),
}


@dataclass(slots=True)
class _Table:
    names: tuple[str, ...]
    #: epoch seconds of the next refresh
    due: float
    #: counter -> by port, at the last refresh
    counts: dict[str, list[int]] = field(default_factory=dict)


class PortCache:
    """The tables of one switch."""

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf
        self._rng = random.Random(leaf.switch.name)
        now = leaf.factory.state.time
        self._tables = {name: _Table(names, now) for name, names in TABLES.items()}
        for table in self._tables.values():
            self._read(table, now)
            table.due = now + PERIOD_SECONDS * self._rng.random()
        leaf.factory.before_step.append(self.refresh)

    def refresh(self, now: float) -> None:
        """Make the refreshes that are due until `now` (epoch seconds)."""
        for table in self._tables.values():
            if table.due <= now:
                self._refresh(table, now)

    def count(self, table: str, name: str, port: int, now: float) -> int:
        """Return a counter of a port as the agent has it at `now` (epoch seconds); exact without the cache."""
        if not self._leaf.quirks.cache:
            return self._leaf.counter(name, port, now)
        found = self._tables[table]
        if found.due <= now:
            self._refresh(found, now)
        return found.counts[name][port]

    def _refresh(self, table: _Table, now: float) -> None:
        at = -math.inf
        while table.due <= now:
            at = table.due
            table.due += PERIOD_SECONDS + self._rng.randint(-SPREAD_SECONDS, SPREAD_SECONDS)
        self._read(table, at)

    def _read(self, table: _Table, at: float) -> None:
        table.counts = {name: self._leaf.counters(name, at) for name in table.names}
