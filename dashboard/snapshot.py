"""The one live view of a site, computed once per tick for all browsers (contract: docs/contracts.md section 3)."""

import base64
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dashboard import facility, faults, gpus, idle, provenance, replay
from dashboard.alarms import engine, rules
from dashboard.alarms.findings import Doubt, FabricNow, HostNow, Scene, Trust
from dashboard.boundaries import Boundary, boundaries, doubtful, rack_energies, rack_window
from dashboard.heat import heat_number, liquid_ratio_number
from dashboard.kpis import cooling
from dashboard.kpis.cost import idle_cost_per_hour
from dashboard.kpis.windows import Bools, Floats, Ints, tally
from dashboard.number import Number, number, to_plain, withheld
from dashboard.numbers import (
    efficiency_numbers,
    headroom_number,
    it_limit_watts,
    power_numbers,
    pue_number,
    token_numbers,
    with_aims,
)
from dashboard.observe import Observation, observe
from dashboard.places import Places, engine_hosts, gpu_places, power_places
from dashboard.plant import view as plants
from dashboard.plant.numbers import bus_headroom_number, feed_headroom_number
from dashboard.settings import DashboardSettings
from dashboard.site import Layout, Site
from dashboard.tables import Tables
from storage.store import Store

SCHEMA = 1
#: before the fabric was looked at, and where there is none
NO_FABRIC = FabricNow()


@dataclass(frozen=True, slots=True)
class Memory:
    """What the next tick needs of this one."""

    observation: Observation
    places: Places
    verdicts: idle.Verdicts
    timers: Mapping[engine.Key, engine.Timer]
    told: provenance.Provenance


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The site at one tick. Times are epoch seconds; units are SI."""

    seq: int
    time: float
    data_time: float | None
    synthetic: bool
    site: Site
    numbers: Mapping[str, Number]
    layout: Layout
    #: one byte per cell
    cells: bytes
    idle_gpus: Sequence[Mapping[str, Any]]
    states: Mapping[str, int]
    alarms: Sequence[engine.Alarm]
    racks: Sequence[facility.RackNow]
    cdus: Sequence[facility.CduNow]
    buses: Sequence[tuple[str, float]]
    devices: Sequence[facility.DeviceNow]
    #: where the numbers come from
    sources: Mapping[str, Any]
    fabric: FabricNow
    #: sources of rack power that count nowhere
    doubts: Sequence[Doubt]
    memory: Memory


def build(
    store: Store,
    site: Site,
    settings: DashboardSettings,
    previous: Snapshot | None,
    now: float,
    fabric: FabricNow = NO_FABRIC,
    plant: plants.View = plants.NOTHING,
) -> Snapshot:
    """Return the snapshot at `now` (epoch s), with what `previous` remembers.

    `fabric`, `plant`: as they were last looked at.

    Raises:
        StoreError: the store does not answer; `previous` stays good for the next try.
    """
    memory = previous.memory if previous else None
    seen = observe(store, settings, memory.observation if memory else None, now)
    tables = _tables(site, settings, seen, memory, now, fabric.notes)
    tables, doubts = _trusted(replace(tables, heard=_heard(tables, plant)))
    fleet = gpus.observe(tables, _verdicts(store, tables, memory), faults.fell_off(tables, seen.slow.events))
    racks = facility.racks(site, _rack_watts(tables), seen.coolant, seen.leaks)
    cdus = facility.cdus(site, seen.coolant, now)
    numbers = _doubted(_numbers(tables, boundaries(tables), fleet, cdus, plant), doubts, plant)
    told = memory.told if memory and now - memory.told.time < provenance.EVERY_SECONDS else None
    told = told or provenance.look(tables, seen.boards, fleet)
    timers = memory.timers if memory else {}
    scene = _scene(tables, seen, fleet, racks, cdus, numbers, told, fabric)
    scene = replace(scene, plant=plant, doubts=doubts, held=engine.held(timers))
    timers = engine.step(timers, rules.find(scene), settings.alarms, now)
    return Snapshot(
        seq=previous.seq + 1 if previous else 1,
        time=now,
        data_time=seen.data_time,
        synthetic=seen.data_time is not None and not seen.real,
        site=site,
        numbers=numbers,
        layout=tables.places.layout,
        cells=gpus.cells(tables.places, fleet),
        idle_gpus=gpus.idle_list(tables, fleet),
        states=gpus.state_counts(tables.places, fleet),
        alarms=engine.alarms(timers),
        racks=racks,
        cdus=cdus,
        buses=seen.buses,
        devices=seen.devices,
        sources=provenance.to_plain(told, settings.energy.prefer, seen.clocks_ahead),
        fabric=fabric,
        doubts=doubts,
        memory=Memory(seen, tables.places, fleet.verdicts, timers, told),
    )


def _scene(
    tables: Tables,
    seen: Observation,
    fleet: gpus.Fleet,
    racks: Sequence[facility.RackNow],
    cdus: Sequence[facility.CduNow],
    numbers: Mapping[str, Number],
    told: provenance.Provenance,
    fabric: FabricNow,
) -> Scene:
    resting = {device.host or device.name for device in seen.devices if device.state == facility.MAINTENANCE}
    trust = Trust(told.unmapped_tokens_ratio, told.unmapped_energy_ratio, told.suspects, seen.clocks_ahead)
    return Scene(
        settings=tables.settings,
        racks=racks,
        hosts=_hosts(tables, fleet, resting),
        cdus=cdus,
        leaks=seen.leaks,
        devices=seen.devices,
        supplies=seen.slow.supplies,
        bits=seen.slow.bits,
        numbers=numbers,
        uplinks=tables.site.uplinks,
        faults=faults.faults(tables, seen.slow.events, seen.slow.verdicts),
        trust=trust,
        fabric=fabric,
    )


def _tables(
    site: Site,
    settings: DashboardSettings,
    seen: Observation,
    memory: Memory | None,
    now: float,
    notes: Mapping[str, str],
) -> Tables:
    places = gpu_places(site, seen.gpu, memory.places if memory else None)
    return Tables(
        site=site,
        settings=settings,
        now=now,
        gpu=seen.gpu,
        inference=seen.inference,
        power=seen.power,
        heat=seen.heat,
        places=places,
        power_places=power_places(site, seen.power.tags, places.hosts),
        engine_host=engine_hosts(site, seen.inference, places.hosts),
        window_seconds=seen.window,
        fabric_notes=notes,
    )


def _heard(tables: Tables, plant: plants.View) -> Floats | None:
    """Return per power series the share of its supplies that it speaks of; None where every one speaks of all."""
    shares = {shelf.name: shelf.coverage for shelf in plant.shelves if shelf.answers and shelf.coverage < 1}
    if not shares:
        return None
    devices, kinds = tables.power.tags["device"], tables.power.tags["kind"]
    told = [shares.get(d, 1.0) if k == "power_shelf" else 1.0 for d, k in zip(devices, kinds, strict=True)]
    return np.array(told, dtype=np.float64)


def _trusted(tables: Tables) -> tuple[Tables, Sequence[Doubt]]:
    """Return the tables without sources of rack power that cannot be right, and what they are."""
    doubted, told = doubtful(tables)
    return (replace(tables, doubted=doubted) if told else tables), [Doubt(*one) for one in told]


def _doubted(numbers: dict[str, Number], doubts: Sequence[Doubt], plant: plants.View) -> dict[str, Number]:
    """Return the numbers, those of rack power with what was left out of them."""
    lacking = [f"rack {doubt.rack} left out: {doubt.text}" for doubt in doubts]
    lacking += [
        f"{rack.name}: {rack.coverage:.0%} of its supplies are known"
        for rack in plant.racks
        if rack.source == "power_shelf" and rack.coverage < 1
    ]
    why = "; ".join(lacking[:3])
    names = ("rack_watts", "it_watts") if why else ()
    return numbers | {name: replace(numbers[name], why=numbers[name].why or why) for name in names}


def _verdicts(store: Store, tables: Tables, memory: Memory | None) -> idle.Verdicts:
    """Return the verdicts of the last tick, in the order of this tick's GPUs."""
    keys = tables.gpu.keys
    if memory is None:
        return replay.verdicts(store, tables)
    before = memory.observation.gpu.keys
    if before is keys:
        return memory.verdicts
    rows: Ints = before.get_indexer(keys).astype(np.int64)
    return idle.extend(memory.verdicts, rows, tables.now)


def _rack_watts(tables: Tables) -> dict[str, float]:
    """Return the mean power of each metered rack over the window, network racks included. Units: W."""
    window = rack_window(tables)
    if window is None:
        return {}
    energy, seconds = rack_energies(tables, window), window[1] - window[0]
    pairs = zip(tables.site.racks, energy.joules, energy.covered, strict=True)
    return {r.name: float(joules / seconds) for r, joules, covered in pairs if covered >= 0.5 * seconds}


def _hosts(tables: Tables, fleet: gpus.Fleet, resting: Set[str]) -> list[HostNow]:
    """Return the GPUs of each host of the floor, counted by what is so; `resting`: hosts in maintenance."""
    places, state = tables.places, fleet.verdicts.state
    placed, count = places.host >= 0, len(places.hosts)
    lost = state == idle.LOST

    def per_host(which: Bools) -> list[int]:
        return [int(number) for number in tally(places.host[placed], which[placed], count)]

    live, gone, hot = (per_host(which) for which in (fleet.signals.live & ~lost, lost, fleet.throttled))
    by_state = {idle.STATES[s]: per_host(state == s) for s in idle.IDLE if (state == s).any()}
    sizes = places.gpus_of_host.astype(int).tolist()
    idle_of = [{s: n[i] for s, n in by_state.items() if n[i]} for i in range(count)]
    return [
        HostNow(name, rack, sizes[i], live[i], gone[i], hot[i], idle_of[i], name in resting)
        for i, (name, rack) in enumerate(zip(places.hosts, places.rack_of_host, strict=True))
    ]


def _numbers(
    tables: Tables,
    bounds: Sequence[Boundary],
    fleet: gpus.Fleet,
    cdus: Sequence[facility.CduNow],
    plant: plants.View,
) -> dict[str, Number]:
    watts = power_numbers(bounds)
    limit = it_limit_watts(tables.settings, [rack.rated_watts for rack in tables.site.racks])
    found = {
        **token_numbers(tables),
        **watts,
        **efficiency_numbers(tables, bounds),
        "it_headroom_watts": headroom_number(watts["it_watts"], limit),
        "pue": pue_number(tables, bounds),
        "coolant_heat_watts": heat_number(tables, len(cdus)),
        "liquid_heat_ratio": liquid_ratio_number(tables),
        "feed_headroom_watts": feed_headroom_number(tables),
        "bus_headroom_ratio": bus_headroom_number(plant),
    }
    found |= _gpu_numbers(tables, fleet, found["pue"].value or 1.0)
    return with_aims(found | _coolant_numbers(tables.now, cdus), tables.settings, limit)


def _gpu_numbers(tables: Tables, fleet: gpus.Fleet, pue: float) -> dict[str, Number]:
    """Return how many GPUs there are, are seen, are idle, and what the idle ones cost and draw."""
    total = len(tables.places.layout.gpus)
    if not total:
        names = ("gpus_total", "gpus_seen", "gpus_idle", "gpus_idle_ratio", "idle_watts", "idle_cost_per_hour")
        return {name: withheld("", "site", "", "no GPU is known") for name in names}
    placed = tables.places.cell >= 0
    state = fleet.verdicts.state
    idle_now = placed & idle.is_idle(state)
    seen, lost = int((placed & fleet.signals.live).sum()), int((placed & (state == idle.LOST)).sum())
    count, watts = int(idle_now.sum()), float(np.nan_to_num(fleet.watts[idle_now]).sum())
    cost = tables.settings.cost
    now, known = (tables.now, tables.now), seen / total
    money = idle_cost_per_hour(count, watts, cost.gpu_hour, cost.tariff_per_kwh, pue)
    idle_formula = "GPUs parked, reserved but idle, unallocated, stalled or stuck"

    def tell(value: float | None, unit: str, boundary: str, formula: str, coverage: float) -> Number:
        return number(value, unit, boundary, formula, window=now, coverage=coverage)

    return {
        "gpus_total": tell(total, "", "site", "GPUs of the inventory and others that report", 1.0),
        "gpus_seen": tell(seen, "", "site", "GPUs whose newest sample is younger than 3 periods", 1.0),
        "gpus_idle": tell(count, "", "site", idle_formula, known),
        "gpus_idle_ratio": tell(
            count / max(total - lost, 1), "ratio", "site", f"{idle_formula} / GPUs not lost", known
        ),
        "idle_watts": tell(watts, "W", "gpu_board", "sum of board power of idle GPUs", known),
        "idle_cost_per_hour": tell(
            money, f"{cost.currency}/h", "facility", "idle GPUs x cost of a GPU hour + idle watts x PUE x tariff", known
        ),
    }


def _coolant_numbers(now: float, cdus: Sequence[facility.CduNow]) -> dict[str, Number]:
    """Return the site's coolant from its CDUs: worst supply, mixed return, flow."""

    def column(name: str) -> Floats:
        return np.array([getattr(cdu, name) for cdu in cdus], dtype=np.float64)

    supply, back = column("tcs_supply_celsius"), column("tcs_return_celsius")
    flow = column("tcs_flow_liters_per_second")
    oldest = max((cdu.age for cdu in cdus if cdu.age is not None), default=None)
    window = None if oldest is None else (now - oldest, now - oldest)

    def tell(value: float | None, unit: str, formula: str, readings: Floats) -> Number:
        known = float(np.mean(~np.isnan(readings))) if len(readings) else 0.0
        return number(value, unit, "cdu", formula, window=window, coverage=known)

    mixed = "flow-weighted mean of the CDUs' technology-loop return (the warmest, where a flow is unknown)"
    return {
        "coolant_supply_celsius": tell(
            cooling.worst_supply_celsius(supply), "degC", "warmest technology-loop supply of the CDUs", supply
        ),
        "coolant_return_celsius": tell(cooling.return_celsius(back, flow), "degC", mixed, back),
        "coolant_flow_liters_per_second": tell(
            cooling.total(flow), "L/s", "sum over CDUs of technology-loop flow", flow
        ),
    }


def to_json(snapshot: Snapshot, build_version: str, tick_seconds: float) -> dict[str, Any]:
    """Return the snapshot as the browser gets it: plain values, base units, epoch seconds."""
    layout = snapshot.layout
    return {
        "schema": SCHEMA,
        "seq": snapshot.seq,
        "build": build_version,
        "time": round(snapshot.time, 3),
        "data_time": None if snapshot.data_time is None else round(snapshot.data_time, 3),
        "tick_seconds": tick_seconds,
        "synthetic": snapshot.synthetic,
        "site": {"name": snapshot.site.name, "gpus": len(layout.gpus), "racks": len(snapshot.site.racks)},
        "numbers": {name: to_plain(value, snapshot.time) for name, value in snapshot.numbers.items()},
        "layout_hash": layout.hash,
        "layout": {
            "rows": [
                {"name": row, "racks": [{"name": name, "start": start, "count": count} for name, start, count in held]}
                for row, held in layout.rows
            ],
            "gpus": list(layout.gpus),
        },
        "cells": base64.b64encode(snapshot.cells).decode(),
        "idle": {"gpus": list(snapshot.idle_gpus), "states": dict(snapshot.states)},
        "alarms": [_alarm(alarm) for alarm in snapshot.alarms],
        "counts": list(engine.counts(snapshot.alarms)),
        "racks": [asdict(rack) for rack in snapshot.racks],
        "cdus": [asdict(cdu) for cdu in snapshot.cdus],
        "bus": [{"rack": rack, "volts": volts} for rack, volts in snapshot.buses],
        "devices": _devices(snapshot.devices),
        "sources": dict(snapshot.sources),
        "fabric": _fabric(snapshot.fabric),
    }


def _alarm(alarm: engine.Alarm) -> dict[str, Any]:
    told = asdict(alarm.finding)
    del told["level"]
    return {**told, "since": round(alarm.since, 3), "ack": alarm.ack}


def _fabric(fabric: FabricNow) -> dict[str, int]:
    """Return how many switches there are and are well, and how many ports are down or need a person."""
    well = sum(switch.state == "ok" for switch in fabric.switches)
    return {
        "switches": len(fabric.switches),
        "ok": well,
        "ports_down": fabric.ports_down,
        "abnormal": fabric.abnormal,
    }


def _devices(devices: Sequence[facility.DeviceNow]) -> dict[str, Any]:
    """Return how many devices answer, and the names of those that do not, are in maintenance, or unknown servers."""
    by_state = {
        word: [device.name for device in devices if device.state == state]
        for word, state in (("maintenance", facility.MAINTENANCE), ("unknown", facility.UNKNOWN_SERVER))
    }
    aside = {name for names in by_state.values() for name in names}
    up = sum(device.up for device in devices)
    down = [{"device": d.name, "age": d.age} for d in devices if not d.up and d.name not in aside]
    return {"up": up, "total": len(devices), "down": down, **by_state}
