"""A leaf switch whose every rate is stated, written as the collectors write it: anchored by SNMP, in rounds by gNMI."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from storage.duckdb import DuckDBStore
from storage.point import Point

Fields = Mapping[str, float | int | str]

SPEED = 4e11
#: when an anchored poll saw the counters move, after its own stamp. Units: s
ANCHORS = (1.2, 3.9, 0.4, 2.7)


@dataclass
class Leaf:
    """A switch of four ports, 400 Gbit/s each over 8 lanes. Port k receives (k + 1) x 1e9 bytes/s and sends half of it,
    in packets of 1,000 bytes; nothing is lost, nothing pauses.
    """

    store: DuckDBStore
    #: epoch s
    now: float
    name: str = "leaf-1"
    protocol: str = "gnmi"
    rack: str = "N01"
    ports: tuple[str, ...] = ("Ethernet0", "Ethernet8", "Ethernet16", "Ethernet24")
    source: str = "c1"
    synthetic: bool = False
    #: (port number, seconds from now) -> fields that a port has besides, or instead
    also: Callable[[int, float], Fields] = lambda port, at: {}
    pending: list[Point] = field(default_factory=list)

    def put(self, measurement: str, tags: Mapping[str, str], fields: Fields, at: float) -> None:
        """Add one point; `at` in seconds from now, to the millisecond."""
        common = {"site": "S1", "source": self.source, "synthetic": "true" if self.synthetic else ""}
        own = {} if measurement == "inventory" else {"device": self.name, "rack": self.rack}
        known = {name: value for name, value in {**common, **own, **tags}.items() if value}
        self.pending.append(Point(measurement, known, dict(fields), round((self.now + at) * 1e3) * 1_000_000))

    def settle(self) -> None:
        """Write what was added."""
        self.store.write(self.pending)
        self.pending.clear()

    def counters(self, port: int, at: float) -> dict[str, float | int | str]:
        """Return the counters of a port at a moment; they stood at 1e15 bytes now."""
        octets = 1e15 + (port + 1) * 1e9 * at
        fields: dict[str, float | int | str] = {"rx_bytes_total": octets, "tx_bytes_total": octets / 2}
        for way, share in (("rx", 1.0), ("tx", 0.5)):
            fields |= {f"{way}_unicast_total": share * octets / 1000}
            fields |= {f"{way}_{what}_total": 0.0 for what in ("errors", "discards")}
        return {**fields, **self.also(port, at)}

    def status(self, port: int, at: float) -> dict[str, float | int | str]:
        """Return the state of a port."""
        told = self.also(port, at)
        usual: Fields = {"admin_up": 1, "oper_up": 1, "speed_bits_per_second": SPEED, "lanes": 8.0}
        return {name: told.get(name, value) for name, value in usual.items()}

    def poll(self, at: float, skip: tuple[str, ...] = (), state: int = 0, error: str = "", up: int = 1) -> None:
        """Add one poll; `skip` names ports without counters."""
        anchor = at + ANCHORS[round(at / 30) % len(ANCHORS)] if self.protocol == "snmp" else at
        for number, port in enumerate(self.ports):
            tags = {"interface": port, "alias": f"etp{number + 1}", "kind": "port"}
            status = self.status(number, at)
            self.put("interface", tags, status, at)
            if port not in skip:
                counters = {k: v for k, v in self.counters(number, anchor).items() if k not in status}
                self.put("interface", tags, counters, anchor)
        self.health(at, state, error, up)

    def health(self, at: float, state: int = 0, error: str = "", up: int = 1) -> None:
        """Add what the collector tells of the poll and the switch of itself."""
        tags = {"protocol": self.protocol, "profile": f"sonic_{self.protocol}"}
        fields: dict[str, float | int | str] = {"up": up, "state": state, "poll_seconds": 0.3}
        fields |= {"requests_total": 100.0, "timeouts_total": 2.0, "missing_values": 0.0}
        fields |= {"last_success_age_seconds": 0.0 if up else 40.0}
        self.put("device", tags, {**fields, "error": error} if error else fields, at)
        if up:
            self.put("switch", {}, {"agent_state": 0, "cpu_ratio": 0.2, "version": "SONiC.202411", "hwsku": "X"}, at)

    def run(self, start: float = -120.0, end: float = 0.0, skip: tuple[str, ...] = ()) -> None:
        """Add polls from `start` to `end`: each 10 s by gNMI, each 30 s by SNMP, and write them."""
        step = 30.0 if self.protocol == "snmp" else 10.0
        at = start
        while at <= end:
            self.poll(at, skip)
            at += step
        self.settle()

    def link(self, port: str, neighbor: str, interface: str = "eth0", at: float = -60.0) -> None:
        """Add a neighbour as LLDP tells it."""
        tags = {"kind": "link", "relation": "links", "parent": self.name, "interface": port, "id": neighbor}
        self.put("inventory", tags, {"present": 1, "neighbor_interface": interface}, at)
