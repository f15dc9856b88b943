"""What faults do: their kinds, the objects that they fall on, and their effects together.

Some kinds drain a host first, as an orderly operator does: its engine takes no more requests and ends those that run,
then it stands idle until every scraper has seen its last counts. Before a GPU is reset the engine is stopped, too, and
the bare boards are seen once more. Only then the fault itself begins.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np

from collectors.simulator.layout import Layout
from collectors.simulator.plant_faults import (
    PLANT_KINDS,
    PlantEffects,
    PlantKind,
    list_plant_objects,
    no_plant_effects,
)
from collectors.simulator.state import Bools, Ints
from collectors.simulator.switch_faults import (
    SWITCH_KINDS,
    FabricEffects,
    Index,
    SwitchKind,
    list_switch_objects,
    no_fabric_effects,
)
from collectors.simulator.workload import Mode

#: how late a device_slow device answers
SLOW_SECONDS = 2.0
#: the kind that follows when a stopped engine comes back, and how long it loads its model
LOADING, LOADING_SECONDS = "engine_loading", 20.0
#: how long a draining host works on; it then stands idle for one scrape and this much more
FINISHING_SECONDS = 3.0
MARGIN_SECONDS = 6.0


class Stage(IntEnum):
    """How far a fault is that drains its host; others have begun at once."""

    FINISHING = 0
    IDLE = 1
    STOPPED = 2
    BEGUN = 3


@dataclass(slots=True)
class Effects:
    """What all present faults together do, in the layout's order."""

    modes: Ints
    gpu_lost: Bools
    #: being reset: gone for a while and back with counters at zero
    gpu_away: Bools
    throttled: Bools
    fabric: FabricEffects
    plant: PlantEffects
    slowed_hosts: Bools
    #: ending their last requests
    draining: Bools
    #: hosts whose inference server is not there
    server_down: Bools
    rack_leak: Ints
    cdu_leak: Ints
    supplies_ok: Bools
    pumps_ok: Bools
    silent: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    slow: dict[str, float] = field(default_factory=dict)


Apply = Callable[[Effects, str, Index], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    help: str
    #: class of its objects, a key of `list_objects`
    objects: str
    apply: Apply
    #: its host is drained before: not at all, until it is idle, or until its engine is stopped
    drains: Literal["no", "idle", "stopped"] = "no"
    #: the engine of its host comes back afterwards and counts from zero
    restarts: bool = False
    #: how long it lasts when it is not said, draining left out; None: until cleared
    seconds: float | None = None


def drain(effects: Effects, host: int, stage: Stage) -> None:
    """Let a host end its requests, then hold its GPUs without work, then stop what holds them."""
    if effects.modes[host] in (Mode.FREE, Mode.RESERVED):
        return
    if stage == Stage.STOPPED:
        effects.modes[host] = Mode.RESERVED
        effects.server_down[host] = True
    elif stage == Stage.FINISHING:
        effects.draining[host] = True
    else:
        effects.modes[host] = Mode.PARKED


def drain_seconds(kind: Kind, scrape_seconds: float) -> tuple[float, ...]:
    """Return when a draining host is idle, stopped, and ready, counted from the fault's start. Units: s."""
    idle = FINISHING_SECONDS + scrape_seconds + MARGIN_SECONDS
    stopped = idle + scrape_seconds + 1.0
    stages = {"no": (), "idle": (FINISHING_SECONDS, idle, idle), "stopped": (FINISHING_SECONDS, idle, stopped)}
    return stages[kind.drains]


def _lose_gpu(effects: Effects, name: str, at: Index) -> None:
    host, gpu = at
    effects.gpu_lost[gpu] = True
    if effects.modes[host] in (Mode.SERVE, Mode.TRAIN):
        effects.modes[host] = Mode.STALLED


def _set_mode(mode: Mode) -> Apply:
    def apply(effects: Effects, name: str, at: Index) -> None:
        effects.modes[at] = mode

    return apply


def _stop_server(mode: Mode) -> Apply:
    def apply(effects: Effects, name: str, at: Index) -> None:
        effects.modes[at] = mode
        effects.server_down[at] = True

    return apply


def _reset_gpus(effects: Effects, host: int, gpus: slice) -> None:
    effects.gpu_away[gpus] = True
    effects.server_down[host] = True
    if effects.modes[host] != Mode.FREE:
        effects.modes[host] = Mode.RESERVED


def _reset_gpu(effects: Effects, name: str, at: Index) -> None:
    host, gpu = at
    _reset_gpus(effects, host, slice(gpu, gpu + 1))


def _reload_driver(effects: Effects, name: str, at: Index) -> None:
    host, first, last = at
    _reset_gpus(effects, host, slice(first, last))


def _throttle(effects: Effects, name: str, at: Index) -> None:
    effects.throttled[at] = True


def _on_fabric(kind: SwitchKind) -> Apply:
    """Return what plays a fault of the fabric; a port's index begins with the host behind it, or -1."""

    def apply(effects: Effects, name: str, at: Index) -> None:
        kind.apply(effects.fabric, name, at)
        if kind.slows and at[0] >= 0:
            effects.slowed_hosts[at[0]] = True
        if kind.silences:
            effects.silent.add(name)

    return apply


def _on_plant(kind: PlantKind) -> Apply:
    def apply(effects: Effects, name: str, at: Index) -> None:
        kind.apply(effects.plant, name, at)

    return apply


def _leak(effects: Effects, name: str, at: Index) -> None:
    rack, cdu = at
    if rack >= 0:
        effects.rack_leak[rack] = 1
    if cdu >= 0:
        effects.cdu_leak[cdu] = 1


def _lose_feed(effects: Effects, name: str, at: Index) -> None:
    effects.supplies_ok[at[0], 1::2] = False


def _lose_supply(effects: Effects, name: str, at: Index) -> None:
    effects.supplies_ok[at] = False


def _lose_pump(effects: Effects, name: str, at: Index) -> None:
    effects.pumps_ok[at[0], 0] = False


def _silence(effects: Effects, name: str, at: Index) -> None:
    effects.silent.add(name)


def _slow(effects: Effects, name: str, at: Index) -> None:
    effects.slow[name] = SLOW_SECONDS


def _go_stale(effects: Effects, name: str, at: Index) -> None:
    effects.stale.add(name)


KINDS: Mapping[str, Kind] = {
    "gpu_lost": Kind(
        "A GPU falls off the bus (Xid 79), its host hangs; back with its energy at zero.", "gpu", _lose_gpu
    ),
    "gpu_throttle": Kind("The cold plates of a rack starve: hot GPUs, low clocks, fewer tokens.", "rack", _throttle),
    "idle_job": Kind("A host keeps context and memory but has no work: parked.", "host in use", _set_mode(Mode.PARKED)),
    "stalled": Kind("A host spins at 100 % and low power without tokens.", "host in use", _set_mode(Mode.STALLED)),
    "reserved": Kind("A host has a job assigned but no process.", "host in use", _set_mode(Mode.RESERVED)),
    "leak": Kind("A leak rope gets wet.", "rack or cdu", _leak),
    "feed_lost": Kind("Half of a rack's power supplies lose their input.", "rack", _lose_feed),
    "psu_lost": Kind(
        "A power supply fails and the others carry its load; the last one of a shelf stays.", "psu", _lose_supply
    ),
    LOADING: Kind(
        "An inference server starts: refused until its model is loaded, then counters from zero.",
        "serving host",
        _stop_server(Mode.LOADING),
        seconds=LOADING_SECONDS,
    ),
    "engine_restart": Kind(
        "An engine is drained, gone for some seconds, and starts anew: counters at zero, 20 s of loading.",
        "serving host",
        _stop_server(Mode.RESERVED),
        drains="idle",
        restarts=True,
        seconds=4.0,
    ),
    "engine_crash": Kind(
        "An engine dies at work: what it made since the last scrape is seen by nobody; it starts anew.",
        "serving host",
        _stop_server(Mode.RESERVED),
        restarts=True,
        seconds=4.0,
    ),
    "scale_down": Kind(
        "An engine is drained and taken away; its GPUs are free until it starts anew.",
        "serving host",
        _stop_server(Mode.FREE),
        drains="idle",
        restarts=True,
    ),
    "gpu_reset": Kind(
        "A GPU is reset, its host drained before: away for some seconds, then its counters begin at zero.",
        "gpu",
        _reset_gpu,
        drains="stopped",
        restarts=True,
        seconds=5.0,
    ),
    "driver_reload": Kind(
        "The GPU driver of a host is reloaded, the host drained before: all its GPUs count from zero.",
        "host",
        _reload_driver,
        drains="stopped",
        restarts=True,
        seconds=6.0,
    ),
    "exporter_stale": Kind("A GPU exporter repeats what it said, for ever fresh.", "exporter", _go_stale),
    "pump_lost": Kind("The first pump of a CDU stops, the other one speeds up.", "cdu", _lose_pump),
    "device_silent": Kind("A device stops answering.", "device", _silence),
    "device_slow": Kind("A device answers two seconds late.", "device", _slow),
    **{
        name: Kind(kind.help, kind.objects, _on_fabric(kind), seconds=kind.seconds)
        for name, kind in SWITCH_KINDS.items()
    },
    **{name: Kind(kind.help, kind.objects, _on_plant(kind)) for name, kind in PLANT_KINDS.items()},
}


def list_objects(layout: Layout) -> dict[str, dict[str, Index]]:
    """Return, per class of objects, each object's name and where it stands in the arrays.

    GPUs are called by UUID or `node-a01-1/0`, ports `leaf-1/Ethernet0`.
    """
    hosts: dict[str, Index] = {host.name: (index,) for index, host in enumerate(layout.hosts)}
    racks: dict[str, Index] = {rack.name: (index,) for index, rack in enumerate(layout.racks)}
    plant = list_plant_objects(layout)
    gpus: dict[str, Index] = {}
    behind: dict[tuple[str, int], int] = {}
    for index, host in enumerate(layout.hosts):
        for place in range(host.gpu_count):
            gpu = host.gpu_start + place
            gpus[f"{host.name}/{place}"] = gpus[layout.gpu_uuids[gpu]] = (index, gpu)
        behind.update({(host.switch, port): index for port in host.ports})
    return {
        "gpu": gpus,
        "host": {h.name: (*hosts[h.name], h.gpu_start, h.gpu_start + h.gpu_count) for h in layout.hosts},
        "exporter": {host.name: () for host in layout.hosts if host.gpu_source != "nvml"},
        "host in use": {host.name: hosts[host.name] for host in layout.hosts if host.workload != "none"},
        "serving host": {host.name: hosts[host.name] for host in layout.hosts if host.engine is not None},
        "rack": racks,
        "rack or cdu": {n: (*at, -1) for n, at in racks.items()} | {n: (-1, *at) for n, at in plant["cdu"].items()},
        "port": {
            f"{switch.name}/{port}": (behind.get((switch.name, column), -1), row, column)
            for row, switch in enumerate(layout.switches)
            for column, port in enumerate(switch.ports)
        },
        "device": {},
        **plant,
        **list_switch_objects(layout),
    }


def no_effects(layout: Layout, modes: Ints) -> Effects:
    """Return the effects of no fault at all, with hosts in `modes`."""
    racks, cdus, hosts = len(layout.racks), len(layout.cdus), len(layout.hosts)
    return Effects(
        modes=modes.copy(),
        gpu_lost=np.zeros(layout.gpus, dtype=np.bool_),
        gpu_away=np.zeros(layout.gpus, dtype=np.bool_),
        throttled=np.zeros(racks, dtype=np.bool_),
        fabric=no_fabric_effects(layout),
        plant=no_plant_effects(layout),
        slowed_hosts=np.zeros(hosts, dtype=np.bool_),
        draining=np.zeros(hosts, dtype=np.bool_),
        server_down=np.zeros(hosts, dtype=np.bool_),
        rack_leak=np.zeros(racks, dtype=np.int64),
        cdu_leak=np.zeros(cdus, dtype=np.int64),
        supplies_ok=np.ones((racks, len(layout.shelves[0].units)), dtype=np.bool_),
        pumps_ok=np.ones((cdus, 2), dtype=np.bool_),
    )
