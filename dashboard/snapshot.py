"""The one live view of a site, computed once per tick for all browsers (contract: docs/contracts.md section 3)."""

import base64
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dashboard import facility, faults, gpus, idle, provenance, replay
from dashboard.alarms import engine, rules
from dashboard.alarms.findings import Doubt, FabricNow, HostNow, Scene, Trust
from dashboard.boundaries import doubtful, rack_energies, rack_window
from dashboard.kpis.windows import Bools, Floats, Ints, tally
from dashboard.number import Number, to_plain
from dashboard.observe import Observation, observe
from dashboard.places import Places, engine_hosts, gpu_places, power_places
from dashboard.plant import view as plants
from dashboard.settings import DashboardSettings
from dashboard.site import Layout, Site
from dashboard.site_numbers import site_numbers
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
    look = _look(store, site, settings, previous.memory if previous else None, now, fabric, plant)
    timers = previous.memory.timers if previous else {}
    scene = replace(_scene(look), fabric=fabric, plant=plant, held=engine.held(timers))
    timers = engine.step(timers, rules.find(scene), settings.alarms, now)
    seen, places = look.seen, look.tables.places
    return Snapshot(
        seq=previous.seq + 1 if previous else 1,
        time=now,
        data_time=seen.data_time,
        synthetic=seen.data_time is not None and not seen.real,
        site=site,
        numbers=look.numbers,
        layout=places.layout,
        cells=gpus.cells(places, look.fleet),
        idle_gpus=gpus.idle_list(look.tables, look.fleet),
        states=gpus.state_counts(places, look.fleet),
        alarms=engine.alarms(timers),
        racks=look.racks,
        cdus=look.cdus,
        buses=seen.buses,
        devices=seen.devices,
        sources=provenance.to_plain(look.told, settings.energy.prefer, seen.clocks_ahead),
        fabric=fabric,
        doubts=look.doubts,
        memory=Memory(seen, places, look.fleet.verdicts, timers, look.told),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What one tick sees and works out, before anything is judged."""

    tables: Tables
    seen: Observation
    fleet: gpus.Fleet
    racks: Sequence[facility.RackNow]
    cdus: Sequence[facility.CduNow]
    numbers: Mapping[str, Number]
    told: provenance.Provenance
    doubts: Sequence[Doubt]


def _look(
    store: Store,
    site: Site,
    settings: DashboardSettings,
    memory: Memory | None,
    now: float,
    fabric: FabricNow,
    plant: plants.View,
) -> _Look:
    seen = observe(store, settings, memory.observation if memory else None, now)
    tables = _tables(site, settings, seen, memory, now, fabric.notes)
    tables, doubts = _trusted(replace(tables, heard=_heard(tables, plant)))
    fleet = gpus.observe(tables, _verdicts(store, tables, memory), faults.fell_off(tables, seen.slow.events))
    cdus = facility.cdus(site, seen.coolant, now)
    told = memory.told if memory and now - memory.told.time < provenance.EVERY_SECONDS else None
    return _Look(
        tables=tables,
        seen=seen,
        fleet=fleet,
        racks=facility.racks(site, _rack_watts(tables), seen.coolant, seen.leaks),
        cdus=cdus,
        numbers=site_numbers(tables, fleet, cdus, plant, doubts),
        told=told or provenance.look(tables, seen.boards, fleet),
        doubts=doubts,
    )


def _scene(look: _Look) -> Scene:
    """Return what the rules look at, but for fabric, power and coolant."""
    tables, seen, told = look.tables, look.seen, look.told
    resting = {device.host or device.name for device in seen.devices if device.state == facility.MAINTENANCE}
    return Scene(
        settings=tables.settings,
        racks=look.racks,
        hosts=_hosts(tables, look.fleet, resting),
        cdus=look.cdus,
        leaks=seen.leaks,
        devices=seen.devices,
        supplies=seen.slow.supplies,
        bits=seen.slow.bits,
        numbers=look.numbers,
        uplinks=tables.site.uplinks,
        faults=faults.faults(tables, seen.slow.events, seen.slow.verdicts),
        trust=Trust(told.unmapped_tokens_ratio, told.unmapped_energy_ratio, told.suspects, seen.clocks_ahead),
        doubts=look.doubts,
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
