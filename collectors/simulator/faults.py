"""What goes wrong on request: kinds of faults, their objects, when they begin and end.

A fault is injected live or written in a YAML file, a list of `{at, kind, object, seconds}`: `at` and `seconds` are
simulated seconds (the simulator's speed divides them); without `seconds` it stays until cleared. Live faults count real
seconds. Faults begin and end with a step of the physics, on the whole second, and last one step at least.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from collectors.simulator.layout import Layout
from collectors.simulator.state import STEP_SECONDS, Bools, Ints
from collectors.simulator.workload import Mode

#: how late a device_slow device answers
SLOW_SECONDS = 2.0
#: how long an engine loads its model after a restart, when the fault does not say
LOADING_SECONDS = 20.0

Index = tuple[int, ...]


class ScriptError(ValueError):
    """A file of faults is wrong; one line per mistake."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault from `start` to `end` (epoch seconds; end None: until cleared)."""

    kind: str
    object: str
    start: float
    end: float | None

    def holds(self, now: float) -> bool:
        """Return whether the fault is there at `now`."""
        return self.start <= now and (self.end is None or now < self.end)


@dataclass(slots=True)
class Effects:
    """What all present faults together do, in the layout's order."""

    modes: Ints
    gpu_lost: Bools
    throttled: Bools
    stormed: Bools
    slowed_hosts: Bools
    rack_leak: Ints
    cdu_leak: Ints
    supplies_ok: Bools
    pumps_ok: Bools
    silent: set[str] = field(default_factory=set)
    slow: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    help: str
    #: class of its objects, a key of `list_objects`
    objects: str
    apply: Callable[[Effects, str, Index], None]


def _lose_gpu(effects: Effects, name: str, at: Index) -> None:
    host, gpu = at
    effects.gpu_lost[gpu] = True
    if effects.modes[host] in (Mode.SERVE, Mode.TRAIN):
        effects.modes[host] = Mode.STALLED


def _set_mode(mode: Mode) -> Callable[[Effects, str, Index], None]:
    def apply(effects: Effects, name: str, at: Index) -> None:
        effects.modes[at] = mode

    return apply


def _throttle(effects: Effects, name: str, at: Index) -> None:
    effects.throttled[at] = True


def _storm(effects: Effects, name: str, at: Index) -> None:
    host, *port = at
    effects.stormed[tuple(port)] = True
    if host >= 0:
        effects.slowed_hosts[host] = True


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


KINDS: Mapping[str, Kind] = {
    "gpu_lost": Kind(
        "A GPU falls off the bus (Xid 79), its host hangs; back with its energy at zero.", "gpu", _lose_gpu
    ),
    "gpu_throttle": Kind("The cold plates of a rack starve: hot GPUs, low clocks, fewer tokens.", "rack", _throttle),
    "idle_job": Kind("A host keeps context and memory but has no work: parked.", "host in use", _set_mode(Mode.PARKED)),
    "stalled": Kind("A host spins at 100 % and low power without tokens.", "host in use", _set_mode(Mode.STALLED)),
    "reserved": Kind("A host has a job assigned but no process.", "host in use", _set_mode(Mode.RESERVED)),
    "pfc_storm": Kind("Pause frames flood a port; the host behind it works at 70 %.", "port", _storm),
    "leak": Kind("A leak rope gets wet.", "rack or cdu", _leak),
    "feed_lost": Kind("Half of a rack's power supplies lose their input.", "rack", _lose_feed),
    "psu_lost": Kind(
        "A power supply fails and the others carry its load; the last one of a shelf stays.", "psu", _lose_supply
    ),
    "engine_restart": Kind(
        "An engine starts anew: counters at zero, 20 s of loading.", "serving host", _set_mode(Mode.LOADING)
    ),
    "pump_lost": Kind("The first pump of a CDU stops, the other one speeds up.", "cdu", _lose_pump),
    "device_silent": Kind("A device stops answering.", "device", _silence),
    "device_slow": Kind("A device answers two seconds late.", "device", _slow),
}


def list_objects(layout: Layout) -> dict[str, dict[str, Index]]:
    """Return, per class of objects, each object's name and where it stands in the arrays.

    GPUs are called by UUID or `node-a01-1/0`, ports `leaf-1/Ethernet0`, power supplies by Modbus unit `shelf-a01/208`.
    """
    hosts: dict[str, Index] = {host.name: (index,) for index, host in enumerate(layout.hosts)}
    racks: dict[str, Index] = {rack.name: (index,) for index, rack in enumerate(layout.racks)}
    cdus: dict[str, Index] = {cdu.name: (index,) for index, cdu in enumerate(layout.cdus)}
    gpus: dict[str, Index] = {}
    behind: dict[tuple[str, int], int] = {}
    for index, host in enumerate(layout.hosts):
        for place in range(host.gpu_count):
            gpu = host.gpu_start + place
            gpus[f"{host.name}/{place}"] = gpus[layout.gpu_uuids[gpu]] = (index, gpu)
        behind.update({(host.switch, port): index for port in host.ports})
    return {
        "gpu": gpus,
        "host in use": {host.name: hosts[host.name] for host in layout.hosts if host.workload != "none"},
        "serving host": {host.name: hosts[host.name] for host in layout.hosts if host.engine is not None},
        "rack": racks,
        "cdu": cdus,
        "rack or cdu": {n: (*at, -1) for n, at in racks.items()} | {n: (-1, *at) for n, at in cdus.items()},
        "psu": {
            f"{shelf.name}/{unit}": (row, column)
            for row, shelf in enumerate(layout.shelves)
            for column, unit in enumerate(shelf.units)
        },
        "port": {
            f"{switch.name}/{port}": (behind.get((switch.name, column), -1), row, column)
            for row, switch in enumerate(layout.switches)
            for column, port in enumerate(switch.ports)
        },
        "device": {},
    }


class Faults:
    """The faults of one factory: those to come, those present, and their effects."""

    def __init__(self, layout: Layout, modes: Ints) -> None:
        self._layout = layout
        self._modes = modes
        self._objects = list_objects(layout)
        self._known: tuple[Fault, ...] = ()
        self._present: tuple[Fault, ...] = ()

    @property
    def known(self) -> tuple[Fault, ...]:
        """Return the faults that are present or to come."""
        return self._known

    def register_devices(self, names: Iterable[str]) -> None:
        """Make the names of polled devices known as objects of device_silent and device_slow."""
        self._objects["device"].update((name, ()) for name in names)

    def inject(self, kind: str, name: str, start: float, seconds: float | None = None) -> Fault:
        """Plan a fault at `start` (epoch seconds) for `seconds` (None: until cleared).

        Raises:
            ValueError: an unknown kind or object, with what is allowed; a duration that is not above zero.
        """
        if kind not in KINDS:
            raise ValueError(_unknown("fault", kind, KINDS))
        allowed = self._objects[KINDS[kind].objects]
        if name not in allowed:
            raise ValueError(_unknown(f"{KINDS[kind].objects} for {kind}", name, allowed))
        if seconds is not None and not seconds > 0:
            raise ValueError(f"{kind} of {name!r}: seconds is {seconds}; give a duration above 0, or leave it out")
        if kind == "engine_restart" and seconds is None:
            seconds = LOADING_SECONDS
        end = None if seconds is None else start + max(seconds, STEP_SECONDS)
        fault = Fault(kind, name, start, end)
        self._known += (fault,)
        return fault

    def clear(self, kind: str, name: str) -> int:
        """End all faults of this kind on this object with the next step; return how many there were."""
        kept = tuple(fault for fault in self._known if (fault.kind, fault.object) != (kind, name))
        gone = len(self._known) - len(kept)
        self._known = kept
        return gone

    def find(self, fault: Fault) -> Index:
        """Return where the fault's object stands in the arrays."""
        return self._objects[KINDS[fault.kind].objects][fault.object]

    def step(self, now: float) -> tuple[Fault, ...] | None:
        """Move on to `now` (epoch seconds); return the faults that began, or None when nothing began or ended."""
        self._known = tuple(fault for fault in self._known if fault.end is None or now < fault.end)
        present = tuple(fault for fault in self._known if fault.holds(now))
        if present == self._present:
            return None
        began = tuple(fault for fault in present if fault not in self._present)
        self._present = present
        return began

    def effects(self) -> Effects:
        """Return what the present faults do together."""
        layout = self._layout
        racks, cdus, hosts = len(layout.racks), len(layout.cdus), len(layout.hosts)
        effects = Effects(
            modes=self._modes.copy(),
            gpu_lost=np.zeros(layout.gpus, dtype=np.bool_),
            throttled=np.zeros(racks, dtype=np.bool_),
            stormed=np.zeros((len(layout.switches), len(layout.switches[0].ports)), dtype=np.bool_),
            slowed_hosts=np.zeros(hosts, dtype=np.bool_),
            rack_leak=np.zeros(racks, dtype=np.int64),
            cdu_leak=np.zeros(cdus, dtype=np.int64),
            supplies_ok=np.ones((racks, len(layout.shelves[0].units)), dtype=np.bool_),
            pumps_ok=np.ones((cdus, 2), dtype=np.bool_),
        )
        for fault in self._present:
            KINDS[fault.kind].apply(effects, fault.object, self.find(fault))
        effects.supplies_ok[~effects.supplies_ok.any(axis=1), 0] = True
        return effects


def load_script(path: Path, faults: Faults, *, start: float, speed: float) -> None:
    """Plan the faults of a YAML file, `at` simulated seconds after `start` (epoch seconds).

    Raises:
        ScriptError: every mistake of the file at once, each with its entry.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: not YAML: {error}") from error
    if not isinstance(entries, list):
        raise ScriptError(f"{path}: give a list of {{at, kind, object, seconds}}")
    mistakes = [
        f"{path}: entry {number}: {mistake}"
        for number, entry in enumerate(entries, start=1)
        if (mistake := _plan(entry, faults, start, speed))
    ]
    if mistakes:
        raise ScriptError("\n".join(mistakes))


def _plan(entry: object, faults: Faults, start: float, speed: float) -> str:
    """Plan one entry of a script; return what is wrong with it, or nothing."""
    if not isinstance(entry, dict):
        return f"{entry!r} is not a mapping with at, kind, object, seconds"
    if unknown := set(entry) - {"at", "kind", "object", "seconds"}:
        return f"unknown key {sorted(map(str, unknown))}; allowed: at, kind, object, seconds"
    at, seconds = entry.get("at", 0), entry.get("seconds")
    if not isinstance(at, int | float) or not isinstance(seconds, int | float | None):
        return f"at and seconds are numbers of seconds, not {at!r} and {seconds!r}"
    try:
        real = None if seconds is None else seconds / speed
        faults.inject(str(entry.get("kind")), str(entry.get("object")), start + at / speed, real)
    except ValueError as error:
        return str(error)
    return ""


def _unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """Say that a name is unknown, what it may have meant, and what is allowed."""
    names = sorted(allowed)
    close: Sequence[str] = difflib.get_close_matches(name, names, n=1)
    meant = f", did you mean {close[0]!r}?" if close else "."
    shown = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"unknown {what}: {name!r}{meant} Allowed: {shown or 'none'}"
