"""Power and coolant as the browser gets them: `GET /api/v1/facility` (ETag, gzip), base units, null where unknown.

```json
{"schema": 1, "time": 1760000000.1, "data_time": 1759999999.0, "synthetic": true,
 "summary": {"racks": 5, "racks_metered": 5, "supplies": 28, "supplies_gone": 0, "parts_silent": 0, "units": 2, "leaks": 0,
   "checks_failed": 0, "headroom_ratio": 0.41, "feed_headroom_watts": 41000.0, "liquid_watts": 60000.0, "watts": 78000.0,
   "liquid_heat_ratio": 0.82, "coverage": 1.0},
 "limits": {"dew_margin_low": {"warning": 5.0, "critical": 2.0}, "reservoir_low": {"warning": 0.4, "critical": 0.2},
   "bus_headroom_low": {"warning": 0.15, "critical": 0.05}, "feed_failover_overload": {"warning": 0.9, "critical": 1.0}},
 "racks": [{"name": "A02", "row": "A", "watts": 19800.0, "source": "power_shelf", "output_watts": 19300.0,
   "p99_watts": 20100.0, "p99_seconds": 3600.0, "usable_watts": 33000.0, "headroom_ratio": 0.39, "stranded_watts": 11250.0,
   "running": 7, "needed": 4, "spare": 3, "silent": ["shelf-a02 psu-13"], "age": 1.2, "coverage": 1.0,
   "heat": {"liquid_watts": 16300.0, "balance_ratio": 0.0},
   "shelves": [{"name": "shelf-a02", "expected": 7, "unheard": 0, "coverage": 1.0, "unit_watts": 5500.0, "input_watts": 19800.0,
     "output_watts": 19300.0, "efficiency_ratio": 0.975, "share_error_ratio": 0.011, "load_ratio": 0.5, "age": 1.2, "answers": true,
     "bus": {"kind": "+/-400 V", "volts": 799.2, "set_point_volts": 800.0, "set_point_source": "told", "deviation_ratio": -0.001,
       "positive_volts": 399.8, "negative_volts": -399.4, "imbalance_ratio": 0.0005, "min_volts": 798.0, "max_volts": 800.1,
       "ripple_volts": 0.4, "amperes": 24.1, "insulation_ohms": 5e6, "ohms_per_volt": 6256.0, "ground_fault": false, "age": 1.2},
     "supplies": [["psu-11", "A", 2830.0, 2760.0, 3.45, 0.011, 0.975, "ok", 1.2]]}]}],
 "supply_columns": ["name", "feed", "input_watts", "output_watts", "output_amperes", "share_error_ratio", "efficiency_ratio",
   "state", "age"],
 "shelves": [],
 "feeds": [{"name": "feed-a", "watts": 39000.0, "rated_watts": 80000.0, "load_ratio": 0.49, "racks": ["A01", "A02"],
   "parts": ["shelf-a01", "shelf-a02"], "supplies": 4, "supplies_lost": 0, "lost": false, "age": 2.1}],
 "failovers": [{"feeds": ["feed-a", "feed-b"], "watts": 78000.0, "rated_watts": 80000.0, "ratio": 0.975, "headroom_watts": 2000.0,
   "racks": ["A01", "A02"]}],
 "ac": [{"name": "pdu-n01", "kind": "rack_pdu", "rack": "N01", "watts": 1170.0, "rated_watts": 22000.0, "load_ratio": 0.17,
   "imbalance_ratio": 0.02, "lost": [], "age": 3.0,
   "phases": [{"name": "1", "volts": 230.1, "amperes": 1.7, "watts": 390.0, "rated_amperes": 10.0}]}],
 "units": [{"name": "cdu-1", "racks": ["A01"], "tcs": {"supply_celsius": 32.0, "return_celsius": 42.0, "rise_celsius": 10.0,
     "flow_liters_per_second": 0.8, "supply_pascals": 2.6e5, "return_pascals": 1.2e5, "differential_pressure_pascals": 1.4e5,
     "heat_watts": 32000.0, "heat_reported_watts": null, "valve_ratio": null}, "fws": {}, "approach_celsius": 4.0,
   "rated_approach_celsius": 5.0, "effectiveness_ratio": 0.71, "dew_point_celsius": 11.2, "dew_margin_celsius": 20.8,
   "heat_watts": 32000.0, "rated_watts": 100000.0, "load_ratio": 0.32, "flow_liters_per_joule": 2.5e-5,
   "least_flow_liters_per_second": 0.35, "flow_margin_ratio": 2.3, "rated_flow_liters_per_second": null,
   "pumps": [{"name": "1", "running": true, "fault": false, "speed_ratio": 0.6, "speed_rpm": 2160.0, "silent": false,
     "age": 2.0}],
   "pumps_running": 1, "pumps_needed": 1, "level_ratio": 0.85, "filter_pascals": 15000.0, "filter_ratio": null, "ph": 7.5,
   "conductivity_siemens_per_meter": 0.44, "turbidity_ntu": 4.0, "heat_mismatch_ratio": null, "age": 2.0, "coverage": 1.0}],
 "batteries": [{"device": "bbu-a01", "unit": "64", "rack": "A01", "state": "ready", "charge_ratio": 1.0, "health_ratio": 0.98,
   "volts": 50.1, "amperes": 0.0, "energy_joules": null, "runtime_seconds": 240.0, "temperature_celsius": 26.0, "silent": false,
   "age": 3.0}],
 "leaks": [{"device": "A01", "rack": "A01", "detector": "rope", "level": "rack", "state": "normal", "last": "normal", "age": 4.0}],
 "checks": [{"device": "shelf-a01", "rack": "A01", "rule": "product", "subject": "power[circuit=psu-208]", "text": "4.87 W ...",
   "deviation_ratio": -0.999, "failures": 12, "since": 1759999900.0, "age": 1.0}],
 "silent": [{"device": "shelf-a01", "rack": "A01", "parts": ["psu-208"], "why": "unit 208: no answer", "unheard": 0,
   "expected": 7}],
 "refused": [{"device": "main", "rack": "", "text": "power.active_watts[circuit=total]=-4200: -4200 is below 0 watts; fed back, or ...",
   "age": 1.0}]}
```

`supplies` are rows of `supply_columns`. A supply's `state`: ok warning failed off lost silent (`lost`: carries nothing while the
others do; `silent`: tells nothing for 3 of its periods). `bus.kind`: 48 V, 400 V, 800 V, +/-400 V. `set_point_source`: set (in
site.yaml), told (by the device), usual (median of the last hour). `spare`: supplies that may fail before the load is too much.
`shelves`: those that stand in no known rack. `feeds.supplies` counts those that say on which feed they hang. `ac`: meters and rack
PDUs. A loop's `valve_ratio` and pressures are null where it has none. `leaks`: every detector; state normal warning critical
sensor_fault silent, `last` what it last told. `limits`: of the settings, null where that level is not used. A shelf's `unheard`: supplies of the
inventory that never told of themselves while others do; `coverage` (k of n): the supplies that its power speaks of, 1 where the shelf measures
the whole itself; a rack's: of its source. `checks.since`: first of the failures that go on, at most an hour before they were first seen.
`silent.parts` told of themselves and tell nothing; `unheard` of `expected` never did, for the 30 s that the device answers.
`refused`: readings of devices that answer in full and were not taken, in the words of their collector. Values older than 3 of their periods are null.
"""  # noqa: E501

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dashboard.facility_settings import Above, Below, Rules
from dashboard.plant.checks import Check
from dashboard.plant.coolant import LoopNow, UnitNow
from dashboard.plant.gaps import Refused
from dashboard.plant.racks import RackPower
from dashboard.plant.shelves import GONE, ShelfNow, SupplyNow
from dashboard.plant.view import View
from dashboard.snapshot import Snapshot

SCHEMA = 1
#: rules whose limits the page draws
LIMITS = ("dew_margin_low", "reservoir_low", "bus_headroom_low", "feed_failover_overload")
SUPPLY_COLUMNS = (
    "name", "feed", "input_watts", "output_watts", "output_amperes", "share_error_ratio", "efficiency_ratio", "state",
    "age",
)  # fmt: skip


def to_json(view: View, last: Snapshot | None, rules: Rules) -> dict[str, Any]:
    """Return the view in plain values.

    `last`: the newest snapshot, whose numbers stand in the summary; `rules`: whose limits stand beside the values.
    """
    seen = view.seen
    data_time = seen.data_time if seen else None
    return {
        "schema": SCHEMA,
        "time": round(view.time, 3),
        "data_time": None if data_time is None else round(data_time, 3),
        "synthetic": bool(last and last.synthetic),
        "summary": _summary(view, last),
        "limits": {rule: _limits(getattr(rules, rule)) for rule in LIMITS},
        "racks": [_rack(rack, view) for rack in view.racks],
        "supply_columns": SUPPLY_COLUMNS,
        "shelves": [_shelf(shelf) for shelf in view.loose],
        "feeds": [_plain(asdict(feed)) for feed in view.feeds],
        "failovers": [_plain(asdict(group)) for group in view.failovers],
        "ac": [_plain(asdict(device)) for device in view.ac],
        "units": [_unit(unit) for unit in view.units],
        "batteries": [_plain(asdict(battery)) for battery in view.batteries],
        "leaks": [_plain(asdict(leak)) for leak in view.leaks],
        "checks": [_check(check, view.time) for check in view.checks],
        "silent": [asdict(silent) for silent in view.silent],
        "refused": [_refused(one, view.time) for one in view.refused],
    }


def _limits(rule: Above | Below) -> dict[str, float | None]:
    return {"warning": rule.warning, "critical": rule.critical}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with seven digits, which is more than any device has."""
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return _plain(value)
    return [_number(each) for each in value] if isinstance(value, list | tuple) else value


def _summary(view: View, last: Snapshot | None) -> dict[str, Any]:
    shelves = view.shelves
    numbers = last.numbers if last else {}
    watts = [rack.watts for rack in view.racks if rack.watts is not None]
    heat = [unit.heat_watts for unit in view.units if unit.heat_watts is not None]
    supplies = [supply for shelf in shelves for supply in shelf.supplies]
    told = [unit.coverage for unit in view.units] + [float(rack.watts is not None) for rack in view.racks]

    def tell(name: str) -> float | None:
        return numbers[name].value if name in numbers else None

    return _plain(
        {
            "racks": len(view.racks),
            "racks_metered": len(watts),
            "supplies": len(supplies),
            "supplies_gone": sum(supply.state in GONE for supply in supplies),
            "parts_silent": sum(len(silent.parts) + silent.unheard for silent in view.silent),
            "units": len(view.units),
            "leaks": sum(leak.state in ("warning", "critical") for leak in view.leaks),
            "checks_failed": len(view.checks),
            "headroom_ratio": view.headroom_ratio,
            "feed_headroom_watts": tell("feed_headroom_watts"),
            "liquid_watts": sum(heat) if heat else None,
            "watts": sum(watts) if watts else None,
            "liquid_heat_ratio": tell("liquid_heat_ratio"),
            "coverage": sum(told) / len(told) if told else 0.0,
        }
    )


def _rack(rack: RackPower, view: View) -> dict[str, Any]:
    heat = next((one for one in view.heats if one.name == rack.name), None)
    ages = [shelf.age for shelf in rack.shelves if shelf.age is not None]
    return _plain(
        {
            "name": rack.name,
            "row": rack.row,
            "watts": rack.watts,
            "source": rack.source,
            "output_watts": rack.output_watts,
            "p99_watts": rack.p99_watts,
            "p99_seconds": rack.p99_seconds,
            "usable_watts": rack.usable_watts,
            "headroom_ratio": rack.headroom_ratio,
            "stranded_watts": rack.stranded_watts,
            "running": rack.running,
            "needed": rack.needed,
            "spare": rack.spare,
            "silent": list(rack.silent),
            "age": max(ages, default=None),
            "coverage": rack.coverage,
            "heat": {"liquid_watts": heat.liquid_watts, "balance_ratio": heat.balance_ratio} if heat else None,
            "shelves": [_shelf(shelf) for shelf in rack.shelves],
        }
    )


def _shelf(shelf: ShelfNow) -> dict[str, Any]:
    return _plain(
        {
            "name": shelf.name,
            "expected": shelf.expected,
            "unheard": shelf.unheard,
            "coverage": shelf.coverage if shelf.answers else 0.0,
            "unit_watts": shelf.unit_watts,
            "input_watts": shelf.input_watts,
            "output_watts": shelf.output_watts,
            "efficiency_ratio": shelf.efficiency_ratio,
            "share_error_ratio": shelf.share_error_ratio,
            "load_ratio": shelf.load_ratio,
            "age": shelf.age,
            "answers": shelf.answers,
            "bus": asdict(shelf.bus) if shelf.bus else None,
            "supplies": [_supply(supply) for supply in shelf.supplies],
        }
    )


def _supply(supply: SupplyNow) -> list[Any]:
    return [getattr(supply, name) for name in SUPPLY_COLUMNS]


def _unit(unit: UnitNow) -> dict[str, Any]:
    told = asdict(unit) | {"pumps_running": unit.pumps_running}
    return _plain(told | {"tcs": _loop(unit.tcs), "fws": _loop(unit.fws)})


def _loop(loop: LoopNow) -> dict[str, Any]:
    return asdict(loop) | {"rise_celsius": loop.rise_celsius}


def _check(check: Check, now: float) -> dict[str, Any]:
    return {
        "device": check.device,
        "rack": check.rack,
        "rule": check.rule,
        "subject": check.subject,
        "text": check.text,
        "deviation_ratio": check.deviation,
        "failures": int(check.failures),
        "since": round(check.since, 3),
        "age": round(max(0.0, now - check.time), 3),
    }


def _refused(one: Refused, now: float) -> dict[str, Any]:
    return {
        "device": one.device,
        "rack": one.rack,
        "text": one.text,
        "age": round(max(0.0, now - one.time), 3),
    }
