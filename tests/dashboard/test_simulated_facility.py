"""Five minutes of the simulated 64-GPU site, fast forward: no rule of power or coolant speaks up without a cause."""

import time
from collections.abc import Iterator

import pytest
from plant import Plant

from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from dashboard.alarms.engine import alarms
from dashboard.alarms.levels import is_rule
from dashboard.plant import view
from dashboard.settings import DashboardSettings
from dashboard.site import read_site
from dashboard.snapshot import Snapshot, build
from storage.duckdb import DuckDBStore

SETTINGS = DashboardSettings()
SECONDS, STEP = 300, 10


@pytest.fixture
def factory() -> Factory:
    made = Factory(build_layout(64), seed=1, start=float(int(time.time())))
    made.advance(made.state.time + 60)
    return made


def name_site(factory: Factory, plant: Plant) -> None:
    layout = factory.layout
    rows = [("site", layout.site, "", "contains", {})]
    rows += [("row", row, layout.site, "contains", {}) for row in layout.rows]
    for cdu in layout.cdus:
        rows.append(("cdu", cdu.name, layout.site, "contains", {"rated_watts": cdu.rated_watts}))
    for rack, shelf in zip(layout.racks, layout.shelves, strict=True):
        rows.append(("rack", rack.name, rack.row, "contains", {"rated_watts": rack.rated_watts}))
        rows.append(("rack", rack.name, rack.cdu, "cools", {}))
        units = len(shelf.units)
        rated = {"expected_count": units, "rated_watts": units * shelf.psu_rated_watts}
        rows.append(("shelf", shelf.name, rack.name, "contains", rated))
    for kind, name, parent, relation, fields in rows:
        tags = {"kind": kind, "id": name, "parent": parent, "relation": relation}
        plant.put("inventory", tags, {"present": 1, **fields}, 0)


def readings(factory: Factory, plant: Plant, at: float) -> None:
    """Write what the devices of the site show at this moment."""
    layout, state, put = factory.layout, factory.state, plant.put
    for i, shelf in enumerate(layout.shelves):
        whole = {"device": shelf.name, "rack": shelf.rack, "kind": "power_shelf"}
        for side, watts in (("input", state.shelves.psu_input_watts), ("output", state.shelves.psu_output_watts)):
            for j, unit in enumerate(shelf.units):
                tags = {**whole, "circuit": f"psu-{unit}", "side": side}
                put("power", tags, {"active_watts": float(watts[i, j])}, at)
            put("power", {**whole, "circuit": "total", "side": side}, {"active_watts": float(watts[i].sum())}, at)
        bus = {"device": shelf.name, "rack": shelf.rack, "pole": "total"}
        put("bus", bus, {"voltage_volts": float(state.shelves.bus_volts[i])}, at)
        put("device", {"device": shelf.name, "rack": shelf.rack}, {"up": 1, "state": 0}, at)
    for i, cdu in enumerate(layout.cdus):
        _unit(factory, plant, i, cdu.name, at)
    for i, rack in enumerate(layout.racks):
        loop = {"device": rack.name, "rack": rack.name, "kind": "rack", "loop": "tcs"}
        flow, heat = float(state.racks.flow_liters_per_second[i]), float(state.racks.heat_watts[i])
        put("coolant", loop, {"flow_liters_per_second": flow, "heat_watts": heat}, at)


def _unit(factory: Factory, plant: Plant, i: int, name: str, at: float) -> None:
    state, put = factory.state.cdus, plant.put
    unit = {"device": name, "kind": "cdu"}
    for loop in ("tcs", "fws"):
        for point in ("supply", "return"):
            value = float(getattr(state, f"{loop}_{point}_celsius")[i])
            put("coolant", {**unit, "loop": loop, "point": point}, {"temperature_celsius": value}, at)
        flow = float(getattr(state, f"{loop}_flow_liters_per_second")[i])
        fields = {"flow_liters_per_second": flow, "heat_watts": float(state.heat_watts[i])}
        if loop == "tcs":
            fields |= {"level_ratio": float(state.level_ratio[i]), "ph": float(state.ph[i])}
        put("coolant", {**unit, "loop": loop}, fields, at)
    for pump in (0, 1):
        tags = {**unit, "loop": "tcs", "pump": str(pump + 1)}
        put("coolant", tags, {"pump_speed_ratio": float(state.pump_ratio[i, pump])}, at)
    put(
        "environment",
        {"device": name, "point": "ambient"},
        {"dew_point_celsius": float(state.dew_point_celsius[i])},
        at,
    )


def play(factory: Factory, store: DuckDBStore) -> Iterator[Snapshot]:
    """Yield a snapshot each ten seconds of five minutes."""
    plant = Plant(store, factory.state.time)
    name_site(factory, plant)
    plant.settle()
    site, seen, last = read_site(store), None, None
    for at in range(0, SECONDS + 1, STEP):
        factory.advance(plant.now + at)
        readings(factory, plant, at)
        plant.settle()
        seen = view.update(store, site, SETTINGS, seen, plant.now + at + 1)
        last = build(store, site, SETTINGS, last, plant.now + at + 1, plant=seen)
        yield last


def test_a_healthy_site_has_no_finding_of_power_or_coolant(factory: Factory, store: DuckDBStore) -> None:
    last = None
    for last in play(factory, store):
        pending = [timer.finding for timer in last.memory.timers.values() if is_rule(timer.finding.rule)]
        assert [(finding.rule, finding.title) for finding in pending] == []
    assert last is not None
    assert not [alarm for alarm in alarms(last.memory.timers) if is_rule(alarm.finding.rule)]
    assert 0.2 < (last.numbers["bus_headroom_ratio"].value or 0.0) < 0.8
    # 85 % of what the shelves give goes into the coolant, and they give 97.5 % of what they take.
    assert last.numbers["liquid_heat_ratio"].value == pytest.approx(0.85 * 0.975, rel=0.03)
