"""A fabric of two switches whose every rate is stated, and that goes on telling: what a page of it must show."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from plant import Fields, Plant

from storage.duckdb import DuckDBStore

#: Units: bit/s
SPEED = 400e9
#: bytes per second of each port of leaf-1: 50 %, nothing, 99 %, nothing, 20 % and so on of 400 Gbit/s
RATES = {0: 25e9, 8: 0.0, 16: 49.5e9, 24: 0.0, 32: 10e9, 40: 5e9, 48: 0.0, 56: 5e9}
DOWN, ADMIN_DOWN, PAUSED, DIM = "Ethernet8", "Ethernet24", "Ethernet32", "Ethernet40"
#: of leaf-1 on its priority 3
PAUSE_RATIO = 0.6
ERROR = "leaf-2 10.0.0.2:161: no answer: is the agent running, is the community right?"


class Fabric(Plant):
    """The small site, with leaf-1 that answers over gNMI and leaf-2 that does not answer over SNMP.

    Of leaf-1: Ethernet0 leads to node-1 and its two GPUs; Ethernet8 is down and leads to node-2; Ethernet16 is used to
    99 %; Ethernet24 is switched off; Ethernet32 is paused 60 % of the time; lane 2 of Ethernet40 gets 0.5 dB more
    light than its low alarm; the others are well. Each port has its counters every two seconds.
    """

    def switches(self) -> None:
        """Add the inventory of the fabric: the second switch and what LLDP tells."""
        self._part("switch", "leaf-2", "N01")
        for number, host in ((0, "node-1"), (8, "node-2")):
            tags = {
                "kind": "link",
                "relation": "links",
                "parent": "leaf-1",
                "interface": f"Ethernet{number}",
                "id": host,
            }
            self.put("inventory", tags, {"present": 1, "neighbor_interface": "mlx5_0"}, -100)

    def tell(self, at: float) -> None:
        """Add what leaf-1 says at `at`, and that leaf-2 says nothing."""
        self.write_gpus(at)
        for number in RATES:
            self._port(number, at)
        self._optics(at)
        frames = {"rx_frames_total": 100.0 * (at + 1e4), "tx_frames_total": 0.0}
        paused = {**frames, "rx_pause_seconds_total": PAUSE_RATIO * (at + 1e4)}
        self.put("pfc", {"device": "leaf-1", "interface": PAUSED, "priority": "3"}, paused, at)
        self._switch("leaf-1", "gnmi", {"up": 1, "state": 0, "poll_seconds": 0.2}, at)
        self._switch(
            "leaf-2",
            "snmp",
            {"up": 0, "state": 2, "poll_seconds": 2.0, "last_success_age_seconds": at + 900.0, "error": ERROR},
            at,
        )
        told = {"agent_state": 0, "map_state": 0, "version": "SONiC.202411.3", "hwsku": "TW6400", "cpu_ratio": 0.2}
        self.put("switch", {"device": "leaf-1", "rack": "N01"}, told, at)
        supply = {"device": "leaf-1", "rack": "N01", "kind": "switch", "circuit": "1", "side": "output"}
        self.put("power", supply, {"active_watts": 900.0}, at)

    def _port(self, number: int, at: float) -> None:
        octets = RATES[number] * (at + 1e4)
        name = f"Ethernet{number}"
        packets = octets / 1000.0
        fields: Fields = {
            "rx_bytes_total": octets,
            "tx_bytes_total": octets / 2,
            "rx_unicast_total": packets,
            "tx_unicast_total": packets / 2,
            "rx_errors_total": 0.0,
            "rx_discards_total": 0.0,
            "speed_bits_per_second": SPEED,
            "admin_up": int(name != ADMIN_DOWN),
            "oper_up": int(name not in (DOWN, ADMIN_DOWN)),
            "lanes": 4,
        }
        self.put("interface", {**self._of(name), "alias": f"etp{number // 8 + 1}", "kind": "port"}, fields, at)

    def _of(self, interface: str) -> dict[str, str]:
        return {"device": "leaf-1", "interface": interface, "rack": "N01"}

    def _optics(self, at: float) -> None:
        """Add the lanes of one port: the low alarm is 0.1 mW, the second lane gets 0.5 dB more, the others 4 dB."""
        for lane in range(1, 5):
            power = 1e-4 * 10 ** ((0.5 if lane == 2 else 4.0) / 10)
            light = {"rx_power_watts": power, "tx_power_watts": 1e-3, "bias_amperes": 0.008}
            self.put("transceiver", {**self._of(DIM), "lane": str(lane)}, light, at)
        self.put("transceiver", self._of(DIM), {"rx_power_low_watts": 1e-4, "model": "ACME DR4"}, at)

    def _switch(self, name: str, protocol: str, fields: Mapping[str, float | int | str], at: float) -> None:
        counted = {"requests_total": 100.0 + at, "timeouts_total": 3.0, "last_success_age_seconds": 0.0}
        self.put("device", {"device": name, "protocol": protocol, "rack": "N01"}, {**counted, **fields}, at)


@contextmanager
def telling(store: DuckDBStore, since: float = -120.0) -> Iterator[Fabric]:
    """Yield a fabric that has told since `since` (s from now) and goes on every two seconds until the block ends."""
    made = Fabric(store, float(int(time.time())), common={"site": "S1", "source": "c1", "synthetic": "true"})
    made.inventory()
    made.switches()
    at = since
    while at <= 0:
        made.tell(at)
        at += 2.0
    made.settle()
    stop = threading.Event()

    def feed() -> None:
        nonlocal at
        while not stop.wait(0.2):
            while made.now + at <= time.time():
                made.tell(at)
                at += 2.0
            made.settle()

    thread = threading.Thread(target=feed, name="fabric")
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join()
