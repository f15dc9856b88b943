"""What goes wrong on request: which faults are to come, which are present, and the scripts that plan them.

A fault is injected live or written in a YAML file, a list of `{at, kind, object, seconds}`: `at` and `seconds` are
simulated seconds (the simulator's speed divides them); without `seconds` it lasts as long as its kind does, most of
them until cleared. Live faults count real seconds. Faults begin and end with a step of the physics, on the whole
second, and last one step at least; `seconds` holds the draining too.

A script need not know a site's names: `any dcgm gpu` is the first GPU of the first host that fits and that no entry
before has taken, `any sglang dcgm host` a host. The words: nvml dcgm amd vllm sglang serving training, then host or
gpu. Only hosts at work are taken. `any training port` is the first port of such a host's NICs, `any snmp port` one on a
switch of that protocol (snmp, gnmi), `any uplink port` one that leads to a spine; `any gnmi switch` a switch. `any
hvdc_400 shelf` is a power shelf, `any hpr psu` a supply, `any hvdc rack` a rack with such a bus (hpr, hvdc, hvdc_400,
hvdc_800), `any modbus cdu` a CDU, `any redfish flow sensor` one of its sensors, `any pdu` a rack PDU; of those that fit
the one whose device was taken least often.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from collectors.simulator.effects import (
    KINDS,
    LOADING,
    LOADING_SECONDS,
    Effects,
    Stage,
    drain,
    drain_seconds,
    list_objects,
    no_effects,
)
from collectors.simulator.layout import Host, Layout
from collectors.simulator.links import find_links
from collectors.simulator.plant_faults import pick_in_plant
from collectors.simulator.state import STEP_SECONDS, Ints
from collectors.simulator.switch_faults import SWITCH_KINDS, Index, pick_in_fabric
from collectors.simulator.workload import Mode

#: class of objects -> the words of which the last one picks one of it
_THINGS: Mapping[str, tuple[str, ...]] = {
    "gpu": ("gpu",),
    "host": ("host",),
    "host in use": ("host",),
    "serving host": ("host",),
    "port": ("port",),
    "switch": ("switch",),
    "SNMP switch": ("switch",),
    "liquid-cooled switch": ("switch",),
    "rack": ("rack",),
    "rack or cdu": ("rack", "cdu"),
    "shelf": ("shelf",),
    "hvdc shelf": ("shelf",),
    "hvdc_400 shelf": ("shelf",),
    "psu": ("psu",),
    "pdu": ("pdu",),
    "shelf or pdu": ("shelf", "pdu"),
    "cdu": ("cdu",),
    "sensor": ("sensor",),
}
_PLANT_THINGS = frozenset({"rack", "shelf", "psu", "pdu", "cdu", "sensor"})
#: the scripts that come with the simulator
SCRIPTS = Path(__file__).with_name("scripts")


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


class Faults:
    """The faults of one factory: those to come, those present, and their effects."""

    def __init__(self, layout: Layout, modes: Ints) -> None:
        self._layout = layout
        self._modes = modes
        self._objects = list_objects(layout)
        self._links = find_links(layout)
        self._known: tuple[Fault, ...] = ()
        self._present: tuple[tuple[Fault, Stage], ...] = ()

    @property
    def known(self) -> tuple[Fault, ...]:
        """Return the faults that are present or to come."""
        return self._known

    def register_devices(self, names: Iterable[str]) -> None:
        """Make the names of polled devices known as objects of device_silent and device_slow."""
        self._objects["device"].update((name, ()) for name in names)

    def inject(self, kind: str, name: str, start: float, seconds: float | None = None) -> Fault:
        """Plan a fault at `start` (epoch seconds) for `seconds` (None: as long as its kind lasts, or until cleared).

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
        drained = max(self._drain_seconds(kind), default=0.0)
        if seconds is None and (own := KINDS[kind].seconds) is not None:
            seconds = drained + own
        end = None if seconds is None else start + max(seconds, drained + STEP_SECONDS)
        fault = Fault(kind, name, start, end)
        self._known += (fault,)
        return fault

    def clear(self, kind: str, name: str) -> int:
        """End all faults of this kind on this object with the next step; return how many there were."""
        kept = tuple(fault for fault in self._known if (fault.kind, fault.object) != (kind, name))
        gone = len(self._known) - len(kept)
        self._known = kept
        return gone

    def delay(self, now: float, seconds: float) -> int:
        """Put off the faults that have not begun at `now` (epoch seconds); return how many those are.

        With `seconds` below 0 they come earlier.
        """
        later = [fault for fault in self._known if fault.start > now]
        self._known = tuple(_shift(fault, seconds) if fault in later else fault for fault in self._known)
        return len(later)

    def find(self, fault: Fault) -> Index:
        """Return where the fault's object stands in the arrays."""
        return self._objects[KINDS[fault.kind].objects][fault.object]

    def step(self, now: float) -> tuple[Fault, ...] | None:
        """Move on to `now` (epoch seconds); return the faults that began, or None when nothing began or ended.

        One that drains its host first begins after that. When a stopped engine is let go, its loading begins.
        """
        self._known = tuple(fault for fault in self._known if fault.end is None or now < fault.end)
        before = dict(self._present)
        for fault, stage in self._present:
            if stage >= Stage.STOPPED and fault not in self._known:
                self._load_engine(fault, now)
        present = tuple((fault, self._stage(fault, now)) for fault in self._known if fault.holds(now))
        if present == self._present:
            return None
        self._present = present
        return tuple(fault for fault, stage in present if stage == Stage.BEGUN and before.get(fault) != stage)

    def effects(self) -> Effects:
        """Return what the present faults do together."""
        effects = no_effects(self._layout, self._modes)
        for fault, stage in self._present:
            if stage == Stage.BEGUN:
                KINDS[fault.kind].apply(effects, fault.object, self.find(fault))
            else:
                drain(effects, self.find(fault)[0], stage)
        hosts = self._layout.hosts
        effects.refused = {
            self._layout.server_of(hosts[host])
            for host in effects.server_down.nonzero()[0].tolist()
            if hosts[host].engine is not None
        }
        effects.supplies_ok[~effects.supplies_ok.any(axis=1), 0] = True
        return effects

    def pick(self, kind: str, words: str, taken: set[str]) -> str:
        """Return the object that `any ... host`, gpu, port, shelf and so on names; note what it takes in `taken`.

        Raises:
            ValueError: there is no such kind, it falls on other things, or no host is left that fits.
        """
        if kind not in KINDS:
            raise ValueError(_unknown("fault", kind, KINDS))
        _, *roles, thing = words.split()
        objects = KINDS[kind].objects
        if thing not in _THINGS.get(objects, ()):
            raise ValueError(f"{kind} takes a {objects}, not {words!r}")
        if thing in _PLANT_THINGS:
            return self._pick_in_plant(words, thing, roles, objects, taken)
        if kind in SWITCH_KINDS:
            return pick_in_fabric(self._layout, self._links, kind, roles, self._objects[objects], taken)
        for host, mode in zip(self._layout.hosts, self._modes.tolist(), strict=True):
            name = f"{host.name}/0" if thing == "gpu" else host.name
            fits = set(roles) <= self._roles(host) and name in self._objects[objects]
            if fits and mode in (Mode.SERVE, Mode.TRAIN) and host.name not in taken:
                taken.add(host.name)
                return name
        raise ValueError(f"no host at work is left for {words!r} in a site of {self._layout.gpus} GPUs")

    def _pick_in_plant(self, words: str, thing: str, roles: Sequence[str], objects: str, taken: set[str]) -> str:
        found = pick_in_plant(self._layout, thing, roles, self._objects[objects], taken)
        if found is None:
            raise ValueError(f"there is no {words.removeprefix('any ')!r} in a site of {self._layout.gpus} GPUs")
        return found

    def _roles(self, host: Host) -> set[str]:
        serving = {"serving", self._layout.server_of(host).split("-")[0]} if host.engine is not None else {"training"}
        return serving | {host.gpu_source}

    def _drain_seconds(self, kind: str) -> tuple[float, ...]:
        return drain_seconds(KINDS[kind], self._layout.scrape_seconds)

    def _stage(self, fault: Fault, now: float) -> Stage:
        limits = self._drain_seconds(fault.kind)
        return Stage(sum(now - fault.start >= limit for limit in limits)) if limits else Stage.BEGUN

    def _load_engine(self, fault: Fault, now: float) -> None:
        host = self._layout.hosts[self.find(fault)[0]] if KINDS[fault.kind].restarts else None
        if host is not None and host.engine is not None:
            self._known += (Fault(LOADING, host.name, now, now + LOADING_SECONDS),)


def _shift(fault: Fault, seconds: float) -> Fault:
    return replace(fault, start=fault.start + seconds, end=None if fault.end is None else fault.end + seconds)


def find_script(text: str) -> Path:
    """Return the file of a script: a path, or the name of one that comes with the simulator.

    Raises:
        ScriptError: there is neither; the message names those that come with it.
    """
    packaged = {path.stem: path for path in sorted(SCRIPTS.glob("*.yaml"))}
    if text in packaged:
        return packaged[text]
    path = Path(text)
    if path.is_file():
        return path
    raise ScriptError(f"{text}: no such file, and no script of that name; scripts: {', '.join(packaged)}")


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
    taken: set[str] = set()
    mistakes = [
        f"{path}: entry {number}: {mistake}"
        for number, entry in enumerate(entries, start=1)
        if (mistake := _plan(entry, faults, start, speed, taken))
    ]
    if mistakes:
        raise ScriptError("\n".join(mistakes))


def _plan(entry: object, faults: Faults, start: float, speed: float, taken: set[str]) -> str:
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
        kind, name = str(entry.get("kind")), str(entry.get("object"))
        name = faults.pick(kind, name, taken) if name.startswith("any ") else name
        faults.inject(kind, name, start + at / speed, real)
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
