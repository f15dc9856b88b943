"""Power and coolant of the stated site: supplies, buses, feeds, a coolant unit; each reading can be changed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from plant import Plant

SHELVES = ("shelf-A01", "shelf-A02")
SUPPLIES = ("psu-11", "psu-12", "psu-13", "psu-14")


@dataclass
class FacilitySite:
    """Two shelves of four 2 kW supplies (odd ones on feed B), 800 V of two poles, feeds of 10 kW, a unit of two pumps.

    Per supply 750 W in and 731.25 W out (97.5 %), so a shelf takes 3,000 W and gives 2,925 W; a feed carries 3,200 W.
    """

    plant: Plant
    #: (shelf, supply) -> (input, output) W; those not named are as above
    supply_watts: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    supply_state: dict[tuple[str, str], int] = field(default_factory=dict)
    #: what tells nothing: (shelf, supply), a device's name, ("pump", "1")
    silent: set[object] = field(default_factory=set)
    #: field of the bus -> its value, by shelf and pole
    bus: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    feeds: dict[str, float] = field(default_factory=lambda: {"feed-a": 3200.0, "feed-b": 3200.0})
    #: (loop, point) -> fields of cdu-1
    coolant: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    pumps: dict[str, dict[str, float]] = field(default_factory=dict)
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    battery: dict[str, float] = field(default_factory=dict)
    leak: int = 0
    dew_point: float = 12.0

    def __post_init__(self) -> None:
        for shelf in SHELVES:
            self.bus[shelf, "total"] = {"voltage_volts": 800.0, "set_point_volts": 800.0, "ripple_volts": 0.5}
            self.bus[shelf, "positive"] = {"voltage_volts": 400.0, "insulation_ohms": 5e6}
            self.bus[shelf, "negative"] = {"voltage_volts": -400.0, "insulation_ohms": 4e6}
        self.coolant |= {
            ("tcs", "supply"): {"temperature_celsius": 32.0, "pressure_pascals": 3e5},
            ("tcs", "return"): {"temperature_celsius": 42.0, "pressure_pascals": 1e5},
            ("tcs", "-"): {
                "flow_liters_per_second": 0.125, "heat_watts": 5000.0, "heat_reported_watts": 5050.0,
                "level_ratio": 0.8, "ph": 7.5,
            },
            ("tcs", "filter_in"): {"differential_pressure_pascals": 20e3},
            ("fws", "supply"): {"temperature_celsius": 28.0},
            ("fws", "return"): {"temperature_celsius": 36.0},
        }  # fmt: skip
        for pump in ("1", "2"):
            self.pumps[pump] = {"pump_speed_ratio": 0.6, "pump_state": 1}
        for phase in ("L1", "L2", "L3"):
            self.phases[phase] = {"voltage_volts": 230.0, "current_amperes": 8.0, "rated_amperes": 16.0}
        self.battery = {"charge_ratio": 1.0, "health_ratio": 0.98, "runtime_seconds": 240.0, "state": 0}

    def inventory(self) -> None:
        """Name shelves, feeds and loop beside what the plant names."""
        put = self._part
        for shelf in SHELVES:
            put("shelf", shelf, shelf.removeprefix("shelf-"), expected_count=4, rated_watts=8000.0)
            for feed in self.feeds:
                put("shelf", shelf, feed, relation="feeds")
        for feed in self.feeds:
            put("feed", feed, "S1", rated_watts=10_000.0)
        put("cdu", "cdu-1", "S1", rated_watts=10_000.0, rated_flow_liters_per_second=0.25)

    def _part(self, kind: str, name: str, parent: str, *, relation: str = "contains", **ratings: float) -> None:
        tags = {"kind": kind, "id": name, "parent": parent, "relation": relation}
        self.plant.put("inventory", tags, {"present": 1, **ratings}, -199)

    def write(self, at: float) -> None:
        """Write one reading of everything; `at` in seconds from the plant's now."""
        for shelf in SHELVES:
            if shelf not in self.silent:
                self._shelf(shelf, at)
        put = self.plant.put
        for feed, watts in self.feeds.items():
            meter = {"device": feed, "kind": "meter", "circuit": "total", "side": "input"}
            put("power", meter, {"active_watts": watts}, at)
        pdu = {"device": "pdu-N01", "rack": "N01", "kind": "rack_pdu", "circuit": "phase", "side": "input"}
        for phase, fields in self.phases.items():
            put("power", {**pdu, "phase": phase}, fields, at)
        self._unit(at)
        bbu = {"device": "bbu-A01", "rack": "A01", "unit": "64"}
        put("battery", bbu, self.battery, at)
        put("leak", {"device": "A01", "rack": "A01", "detector": "rope", "level": "rack"}, {"state": self.leak}, at)
        put("device", {"device": "bbu-A01", "rack": "A01"}, {"up": 1, "state": 0}, at)

    def _shelf(self, shelf: str, at: float) -> None:
        rack, put = shelf.removeprefix("shelf-"), self.plant.put
        whole = {"device": shelf, "rack": rack, "kind": "power_shelf"}
        partial = False
        for number, supply in enumerate(SUPPLIES):
            if (shelf, supply) in self.silent:
                partial = True
                continue
            given, output = self.supply_watts.get((shelf, supply), (750.0, 731.25))
            tags = {**whole, "circuit": supply, "feed": "AB"[number % 2]}
            put("power", {**tags, "side": "input"}, {"active_watts": given}, at)
            fields: dict[str, float] = {"active_watts": output, "current_amperes": output / 800.0}
            if (shelf, supply) in self.supply_state:
                fields["state"] = self.supply_state[shelf, supply]
            put("power", {**tags, "side": "output"}, fields, at)
        if not partial:
            pairs = [self.supply_watts.get((shelf, supply), (750.0, 731.25)) for supply in SUPPLIES]
            for side, watts in zip(("input", "output"), map(sum, zip(*pairs, strict=True)), strict=True):
                put("power", {**whole, "circuit": "total", "side": side, "scope": "rack"}, {"active_watts": watts}, at)
        for pole in ("total", "positive", "negative"):
            put("bus", {"device": shelf, "rack": rack, "pole": pole}, self.bus[shelf, pole], at)
        health: dict[str, float | str] = {"up": 1, "state": int(partial)}
        if partial:
            health["error"] = "unit 12: no answer"
        put("device", {"device": shelf, "rack": rack}, health, at)

    def _unit(self, at: float) -> None:
        put = self.plant.put
        for (loop, point), fields in self.coolant.items():
            if fields:
                put("coolant", {"device": "cdu-1", "kind": "cdu", "loop": loop, "point": point}, fields, at)
        for pump, fields in self.pumps.items():
            if ("pump", pump) not in self.silent:
                put("coolant", {"device": "cdu-1", "kind": "cdu", "loop": "tcs", "pump": pump}, fields, at)
        air = {"device": "cdu-1", "point": "ambient"}
        put("environment", air, {"dew_point_celsius": self.dew_point}, at)
        put("device", {"device": "cdu-1"}, {"up": 1, "state": 0}, at)

    def check(self, device: str, rule: str, text: str, at: float, failed: int = 1) -> None:
        """Write that a device's readings contradict each other."""
        tags = {"device": device, "rule": rule, "subject": "power"}
        self.plant.put("check", tags, {"failed": failed, "failures_total": 3, "text": text}, at)

    def run(self, times: Iterable[float]) -> None:
        """Write a reading at each of these times, and settle."""
        for at in times:
            self.write(at)
        self.plant.settle()
