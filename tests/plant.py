"""A small site whose every rate is stated, so that each number on the screen can be worked out by hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from storage.duckdb import DuckDBStore
from storage.point import Point

Fields = Mapping[str, float | int | str]


class Clock:
    """A clock that the test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Plant:
    """Two racks of two hosts of two GPUs, a shelf per rack, a network rack with a PDU, a CDU, a facility meter.

    Per GPU 500 W; per host 1,000 output and 3,000 input tokens/s; per shelf 3,000 W; PDU 400 W; facility 8,000 W.
    """

    store: DuckDBStore
    now: float
    common: dict[str, str] = field(default_factory=lambda: {"site": "S1", "source": "c1"})
    hosts: dict[str, str] = field(
        default_factory=lambda: {"node-1": "A01", "node-2": "A01", "node-3": "A02", "node-10": "A02"}
    )
    gpu_watts: float = 500.0
    tokens_per_second: float = 1000.0
    shelf_watts: float = 3000.0
    pdu_watts: float = 400.0
    facility_watts: float = 8000.0

    pending: list[Point] = field(default_factory=list)

    def put(self, measurement: str, tags: Mapping[str, str], fields: Fields, at: float) -> None:
        """Add one point; `at` in seconds from `now`."""
        known = {name: value for name, value in {**self.common, **tags}.items() if value}
        self.pending.append(Point(measurement, known, fields, round((self.now + at) * 1e9)))

    def settle(self) -> None:
        """Write what was added."""
        self.store.write(self.pending)
        self.pending.clear()

    def inventory(self) -> None:
        for rack in ("A01", "A02"):
            self._part("rack", rack, "A", rated_watts=10_000.0, rated_flow_liters_per_second=1.0)
            self._part("shelf", f"shelf-{rack}", rack)
            self._part("rack", rack, "cdu-1", relation="cools")
        self._part("site", "S1", "")
        self._part("row", "A", "S1")
        self._part("rack", "N01", "A", rated_watts=2_000.0)
        self._part("pdu", "pdu-N01", "N01")
        self._part("cdu", "cdu-1", "S1", rated_watts=50_000.0, rated_flow_liters_per_second=2.0)
        self._part("meter", "main", "S1", scope="facility")
        self._part("switch", "leaf-1", "N01")
        for host, rack in self.hosts.items():
            self._part("host", host, rack, expected_count=2)
            self._part("engine", f"vllm-{host}", host)
            self._part("host", host, "leaf-1", relation="uplinks")

    def _part(
        self, kind: str, name: str, parent: str, *, relation: str = "contains", scope: str = "", **ratings: float
    ) -> None:
        tags = {"kind": kind, "id": name, "parent": parent, "relation": relation, "scope": scope}
        self.put("inventory", tags, {"present": 1, **ratings}, -200)

    def gpu_tags(self, host: str, index: int) -> dict[str, str]:
        return {"host": host, "rack": self.hosts[host], "gpu": f"GPU-{host}-{index}", "gpu_index": str(index)}

    def gpu_fields(self, at: float) -> dict[str, float]:
        """Return a working GPU at `at`; its energy counter stood at 1 MJ at `now`."""
        return {
            "power_watts": self.gpu_watts,
            "energy_joules_total": 1e6 + self.gpu_watts * at,
            "power_limit_watts": 700.0,
            "utilization_ratio": 0.8,
            "process_count": 1.0,
            "memory_used_bytes": 6e10,
        }

    def write_gpus(self, at: float, skip: tuple[str, ...] = ()) -> None:
        for host in self.hosts:
            for index in (0, 1):
                tags = self.gpu_tags(host, index)
                if host not in skip and tags["gpu"] not in skip:
                    self.put("gpu", tags, self.gpu_fields(at), at)

    def engine_fields(self, at: float) -> dict[str, float]:
        return {
            "output_tokens_total": 1e6 + self.tokens_per_second * at,
            "input_tokens_total": 3e6 + 3 * self.tokens_per_second * at,
            "requests_running": 4.0,
            "requests_waiting": 0.0,
        }

    def write_engines(self, at: float, skip: tuple[str, ...] = ()) -> None:
        for host, rack in self.hosts.items():
            tags = {
                "endpoint": f"vllm-{host}",
                "server": "vllm",
                "model": "m",
                "engine": "0",
                "host": host,
                "rack": rack,
            }
            if host not in skip:
                self.put("inference", tags, self.engine_fields(at), at)

    def write_power(self, at: float, skip: tuple[str, ...] = ()) -> None:
        whole = {"circuit": "total", "side": "input"}
        for rack in ("A01", "A02"):
            shelf = {**whole, "device": f"shelf-{rack}", "rack": rack, "kind": "power_shelf", "scope": "rack"}
            if shelf["device"] not in skip:
                self.put("power", shelf, {"active_watts": self.shelf_watts}, at)
        pdu = {**whole, "device": "pdu-N01", "rack": "N01", "kind": "rack_pdu", "scope": "rack"}
        if "pdu-N01" not in skip:
            self.put("power", pdu, {"active_watts": self.pdu_watts}, at)
        main = {**whole, "device": "main", "kind": "meter", "scope": "facility"}
        if "main" not in skip:
            self.put("power", main, {"active_watts": self.facility_watts}, at)

    def write_coolant(self, at: float) -> None:
        cdu = {"device": "cdu-1", "kind": "cdu", "loop": "tcs"}
        self.put("coolant", {**cdu, "point": "supply"}, {"temperature_celsius": 32.0}, at)
        self.put("coolant", {**cdu, "point": "return"}, {"temperature_celsius": 42.0}, at)
        self.put("coolant", {**cdu, "point": "-"}, {"flow_liters_per_second": 1.5, "heat_watts": 6000.0}, at)
        self.put("coolant", {**cdu, "loop": "fws", "point": "-"}, {"heat_watts": 5900.0}, at)

    def run(
        self,
        start: float = -120.0,
        end: float = 0.0,
        step: float = 5.0,
        skip: tuple[str, ...] = (),
        also: Callable[[float], None] = lambda at: None,
    ) -> None:
        """Write everything from `start` to `end`, every `step` seconds."""
        at = start
        while at <= end:
            self.write_gpus(at, skip)
            self.write_engines(at, skip)
            self.write_power(at, skip)
            self.write_coolant(at)
            also(at)
            at += step
