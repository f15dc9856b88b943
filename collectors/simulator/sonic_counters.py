"""The counters of a SONiC switch by the virtual paths of its gNMI server, as JSON text.

All ports are written at once: each counter array is read once, a port is one `%` of a text in which everything that
stays zero already stands.

Source: sonic-net/sonic-gnmi `sonic_data_client/virtual_db.go` for paths and shapes; sonic-net/sonic-swss `orchagent/`
(port_rates.lua, pfc_detect_*.lua, portsorch.cpp) for fields.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from collectors.simulator.optics import BINS
from collectors.simulator.sai_fields import (
    ECN,
    GROUP_STAT,
    LOSSLESS,
    MOVING,
    PACKET_BYTES,
    PORT_STAT,
    QUEUE_STAT,
    QUEUE_STILL,
    QUEUES,
    STILL,
    WATCHDOG_STILL,
)
from collectors.simulator.sonic import Leaf

#: queues that the PFC watchdog watches
WATCHED = (3, 4)
#: a switch whose map of names is stale does not know so many of its last ports
STALE_PORTS = 8
#: error bits that a codeword beyond repair leaves, and bits per second of a port
LEFT_BITS, PORT_BITS_PER_SECOND = 17.0, 425e9

Fields = dict[str, str]
Column = Callable[[Leaf, float], Sequence[object]]


class Counters:
    """The virtual paths of one switch."""

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf

    def known(self) -> range:
        """Return the ports that the server's map of names has."""
        ports = len(self._leaf.switch.ports)
        return range(ports - STALE_PORTS if self._leaf.quirks.stale_map else ports)

    def ports(self, now: float, keys: Sequence[str]) -> str:
        """Return `{key: {field: "123"}}` of all known ports; `keys` names them by port number."""
        columns, template = self._port_columns()
        rows = zip(*(column(self._leaf, now) for column in columns), strict=True)
        known = [(keys[port], row) for port, row in zip(self.known(), rows, strict=False)]
        text = "{" + ",".join([f'"{key}":' + template % row for key, row in known]) + "}"
        return self._without_missing(text)

    def port(self, port: int, now: float) -> Fields:
        """Return the flat object of one port."""
        columns, template = self._port_columns()
        fields: Fields = json.loads(template % tuple(column(self._leaf, now)[port] for column in columns))
        for field in self._missing().get(self._leaf.switch.ports[port], ()):
            fields.pop(field, None)
        return fields

    def queues(self, now: float, ports: Sequence[int]) -> str:
        """Return `{"alias:3": {...}, "alias:3:periodic": {...}}` of these ports."""
        leaf, quirks = self._leaf, self._leaf.quirks
        template = _queue_template(quirks.no_ecn, quirks.no_pause)
        columns = [column(leaf, now) for column in _queue_columns(quirks.no_ecn, quirks.no_pause).values()]
        aliases = leaf.switch.aliases
        rows = {port: tuple(column[port] for column in columns) for port in ports}
        texts = [(template % row).replace("#", aliases[port]) for port, row in rows.items()]
        return self._without_missing("{" + ",".join(texts) + "}")

    def watchdog(self, now: float, ports: Sequence[int]) -> dict[str, Fields]:
        """Return `{"alias:3": {PFC_WD_...}}` of these ports; empty where no watchdog runs."""
        if self._leaf.quirks.no_pause:
            return {}
        queues = json.loads(self.queues(now, ports))
        return {
            key: {field: text for field, text in fields.items() if field.startswith("PFC_WD_")}
            for key, fields in queues.items()
            if key.endswith(tuple(f":{queue}" for queue in WATCHED))
        }

    def groups(self, ports: Sequence[int]) -> dict[str, Fields]:
        """Return the watermarks of the priority groups of these ports."""
        leaf, state, row = self._leaf, self._leaf.state, self._leaf.index
        shared, room = state.shared_watermark_bytes[row].tolist(), state.xoff_watermark_bytes[row].tolist()
        still = {f"{GROUP_STAT}SHARED_WATERMARK_BYTES": "0", f"{GROUP_STAT}XOFF_ROOM_WATERMARK_BYTES": "0"}
        found: dict[str, Fields] = {}
        for port in ports:
            for group in range(QUEUES):
                found[f"{leaf.switch.aliases[port]}:{group}"] = still
            found[f"{leaf.switch.aliases[port]}:{LOSSLESS}"] = {
                f"{GROUP_STAT}SHARED_WATERMARK_BYTES": str(int(shared[port])),
                f"{GROUP_STAT}XOFF_ROOM_WATERMARK_BYTES": str(int(room[port])),
            }
        return found

    def rates(self, port: int) -> Fields:
        """Return what port_rates.lua works out for a port: bytes and packets per second, bit error ratios."""
        state, at = self._leaf.state, (self._leaf.index, port)
        rates = {
            "RX_BPS": state.rx_bytes.rate[at],
            "TX_BPS": state.tx_bytes.rate[at],
            "RX_PPS": state.rx_unicast.rate[at],
            "TX_PPS": state.tx_unicast.rate[at],
            "FEC_PRE_BER": state.fec_corrected_bits.rate[at] / PORT_BITS_PER_SECOND,
            "FEC_PRE_BER_MAX": state.pre_fec_ber[at],
            "FEC_POST_BER": LEFT_BITS * state.fec_uncorrected.rate[at] / PORT_BITS_PER_SECOND,
            "FEC_MAX_T": state.fec_max_symbols[at],
        }
        return {field: f"{rate:.14g}" for field, rate in rates.items()}

    def _port_columns(self) -> tuple[tuple[Column, ...], str]:
        quirks = self._leaf.quirks
        columns = _port_columns(quirks.no_pause, quirks.estimated_pause)
        return tuple(columns.values()), _port_template(quirks.no_pause, quirks.estimated_pause)

    def _missing(self) -> dict[str, set[str]]:
        """Return the cells that the database lacks, by port or by port and queue."""
        found: dict[str, set[str]] = {}
        for cell in self._leaf.quirks.missing:
            row, _, field = cell.partition(" ")
            found.setdefault(row, set()).add(field)
        return found

    def _without_missing(self, text: str) -> str:
        missing = self._missing()
        if not missing:
            return text
        alias_of = dict(zip(self._leaf.switch.ports, self._leaf.switch.aliases, strict=True))
        rows = json.loads(text)
        for row, gone in missing.items():
            port, colon, queue = row.partition(":")
            for key in (row, f"{alias_of.get(port, port)}{colon}{queue}"):
                for field in gone:
                    rows.get(key, {}).pop(field, None)
        return json.dumps(rows)


def _counter(name: str) -> Column:
    return lambda leaf, now: leaf.counters(name, now)


def _pauses(leaf: Leaf, now: float) -> list[int]:
    seconds = leaf.state.pfc_rx_pause_seconds.at(now, leaf.index)
    pauses: list[int] = (1e6 * seconds).astype(np.int64).tolist()
    return pauses


def _bin(number: int) -> Column:
    def column(leaf: Leaf, now: float) -> list[int]:
        counts: list[int] = leaf.state.fec_bins.at(now, (leaf.index, slice(None), number)).astype(np.int64).tolist()
        return counts

    return column


@lru_cache(maxsize=4)
def _port_columns(no_pause: bool, estimated: bool) -> dict[str, Column]:
    columns: dict[str, Column] = {PORT_STAT + field: _counter(name) for field, name in MOVING.items()}
    columns |= {f"{PORT_STAT}IF_IN_FEC_CODEWORD_ERRORS_S{number}": _bin(number) for number in range(BINS)}
    if not no_pause:
        columns[_pause_field(LOSSLESS, estimated)] = _pauses
    return columns


@lru_cache(maxsize=4)
def _port_template(no_pause: bool, estimated: bool) -> str:
    fields = dict.fromkeys(_port_columns(no_pause, estimated), "%d") | {PORT_STAT + field: "0" for field in STILL}
    if not no_pause:
        fields |= {_pause_field(priority, estimated): "0" for priority in WATCHED if priority != LOSSLESS}
    return json.dumps(fields)


def _pause_field(priority: int, estimated: bool) -> str:
    return f"{'EST_PORT_STAT_' if estimated else PORT_STAT}PFC_{priority}_RX_PAUSE_DURATION_US"


@lru_cache(maxsize=4)
def _queue_columns(no_ecn: bool, no_watchdog: bool) -> dict[str, Column]:
    """Return what moves on the lossless queue; the fill comes last, for the row of watermarks."""
    columns: dict[str, Column] = {
        f"{QUEUE_STAT}PACKETS": _counter("tx_unicast"),
        f"{QUEUE_STAT}BYTES": _counter("tx_bytes"),
        f"{QUEUE_STAT}DROPPED_PACKETS": _counter("queue_drops"),
        f"{QUEUE_STAT}DROPPED_BYTES": _counter("queue_drop_bytes"),
        f"{QUEUE_STAT}CURR_OCCUPANCY_BYTES": lambda leaf, _: leaf.state.queue_fill_bytes[leaf.index].tolist(),
    }
    if not no_ecn:
        marked, dropped = _counter("ecn_marked"), _counter("wred_drops")
        columns[ECN[0]] = marked
        columns[ECN[1]] = lambda leaf, now: [PACKET_BYTES * count for count in leaf.counters("ecn_marked", now)]
        columns[ECN[2]] = dropped
    if not no_watchdog:
        drops = _counter("watchdog_drops")
        columns |= {
            "PFC_WD_STATUS": lambda leaf, _: [
                "stormed" if stormed else "operational" for stormed in leaf.state.stormed[leaf.index].tolist()
            ],
            "PFC_WD_QUEUE_STATS_DEADLOCK_DETECTED": lambda leaf, _: leaf.state.storms_detected[leaf.index].tolist(),
            "PFC_WD_QUEUE_STATS_DEADLOCK_RESTORED": lambda leaf, _: leaf.state.storms_restored[leaf.index].tolist(),
            "PFC_WD_QUEUE_STATS_TX_DROPPED_PACKETS": drops,
        }
    columns["watermark"] = lambda leaf, _: leaf.state.queue_watermark_bytes[leaf.index].tolist()
    return columns


@lru_cache(maxsize=4)
def _queue_template(no_ecn: bool, no_watchdog: bool) -> str:
    """Return the text of one port's queues: `#` stands for the port, what moves is a `%`."""
    moving = _queue_columns(no_ecn, no_watchdog)
    rows: dict[str, Fields] = {}
    for queue in range(QUEUES):
        shown = {field: "%s" if field == "PFC_WD_STATUS" else "%d" for field in moving if field != "watermark"}
        watched = queue in WATCHED and not no_watchdog
        if queue != LOSSLESS:
            shown = {field: "operational" if field == "PFC_WD_STATUS" else "0" for field in shown}
        if not watched:
            shown = {field: text for field, text in shown.items() if not field.startswith("PFC_WD_")}
        fixed = dict.fromkeys(QUEUE_STILL, "0")
        if watched:
            fixed |= {f"PFC_WD_QUEUE_STATS_{name}": "0" for name in WATCHDOG_STILL}
            fixed |= {"PFC_WD_ACTION": "drop", "PFC_WD_DETECTION_TIME": "200000", "PFC_WD_RESTORATION_TIME": "400000"}
        rows[f"#:{queue}"] = shown | {field: text for field, text in fixed.items() if field not in shown}
        filled = "%d" if queue == LOSSLESS else "0"
        rows[f"#:{queue}:periodic"] = {f"{QUEUE_STAT}SHARED_WATERMARK_BYTES": filled}
    return json.dumps(rows)[1:-1]
