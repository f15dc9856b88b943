"""What goes wrong in the fabric: the kinds of faults of ports and switches, and what they do together."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from collectors.simulator.layout import Layout
from collectors.simulator.links import Links
from collectors.simulator.state import Bools, Ints

#: how long a switch needs to boot
REBOOT_SECONDS = 20.0
SUPPLIES_PER_SWITCH = 2

Index = tuple[int, ...]


@dataclass(slots=True)
class FabricEffects:
    """Effects on switch x port, switch, and switch x power supply."""

    stormed: Bools
    down: Bools
    shut: Bools
    flapping: Bools
    dimmed: Bools
    congested: Bools
    rebooting: Bools
    supplies_ok: Bools
    leak: Ints
    #: names of switches whose SNMP subagent is gone
    agents_dead: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class SwitchKind:
    """One kind of fault of the fabric."""

    help: str
    objects: str
    apply: Callable[[FabricEffects, str, Index], None]
    seconds: float | None = None
    #: the host behind the port works at less than its load
    slows: bool = False
    #: the device does not answer meanwhile
    silences: bool = False


def _mark(name: str) -> Callable[[FabricEffects, str, Index], None]:
    """Return what sets one of the arrays at a port: its index is host, switch, port."""

    def apply(effects: FabricEffects, _: str, at: Index) -> None:
        getattr(effects, name)[at[-2:]] = True

    return apply


def _reboot(effects: FabricEffects, _: str, at: Index) -> None:
    effects.rebooting[at] = True


def _kill_agent(effects: FabricEffects, name: str, _: Index) -> None:
    effects.agents_dead.add(name)


def _lose_supply(effects: FabricEffects, _: str, at: Index) -> None:
    effects.supplies_ok[at] = False


def _leak(effects: FabricEffects, _: str, at: Index) -> None:
    effects.leak[at] = 1


SWITCH_KINDS: Mapping[str, SwitchKind] = {
    "pfc_storm": SwitchKind(
        "Pause frames flood a port; the host behind it works at 70 %.", "port", _mark("stormed"), slows=True
    ),
    "port_down": SwitchKind("A port loses its link.", "port", _mark("down"), slows=True),
    "port_shut": SwitchKind("An operator shuts a port.", "port", _mark("shut"), slows=True),
    "port_flapping": SwitchKind(
        "A port loses its link for three seconds in every ten.", "port", _mark("flapping"), slows=True
    ),
    "optics_dim": SwitchKind(
        "The light that a port receives fades by 6 dB within 12 s: bit errors, then codewords beyond repair.",
        "port",
        _mark("dimmed"),
    ),
    "congestion": SwitchKind(
        "The lossless queue of a port is full: packets marked by ECN, some dropped.",
        "port",
        _mark("congested"),
        slows=True,
    ),
    "switch_reboot": SwitchKind(
        "A switch starts anew: silent and without links for 20 s, then all its counters begin at zero.",
        "switch",
        _reboot,
        seconds=REBOOT_SECONDS,
        silences=True,
    ),
    "snmp_agent_dead": SwitchKind(
        "The SNMP subagent of a switch dies: its tables are gone while system and host answer.",
        "SNMP switch",
        _kill_agent,
    ),
    "switch_psu_lost": SwitchKind(
        "A power supply of a switch fails and the other one carries its load; the last one stays.",
        "switch psu",
        _lose_supply,
    ),
    "switch_leak": SwitchKind("A leak rope in a liquid-cooled switch gets wet.", "liquid-cooled switch", _leak),
}


def list_switch_objects(layout: Layout) -> dict[str, dict[str, Index]]:
    """Return the switches by class of objects; a power supply is called `leaf-1/PSU1`."""
    switches: dict[str, Index] = {switch.name: (row,) for row, switch in enumerate(layout.switches)}
    supplies = range(SUPPLIES_PER_SWITCH)
    return {
        "switch": switches,
        "SNMP switch": {s.name: switches[s.name] for s in layout.switches if s.protocol == "snmp"},
        "liquid-cooled switch": {s.name: switches[s.name] for s in layout.switches if s.liquid_cooled},
        "switch psu": {f"{name}/PSU{psu + 1}": (*at, psu) for name, at in switches.items() for psu in supplies},
    }


def pick_in_fabric(
    layout: Layout, links: Sequence[Links], kind: str, roles: Sequence[str], allowed: Collection[str], taken: set[str]
) -> str:
    """Return the first port or switch of which all roles are true and that is not in `taken`; note it there.

    A switch may be taken once by each kind. Roles: snmp, gnmi of a switch; of a port those of its switch, uplink, or
    serving, training of the host behind it.

    Raises:
        ValueError: none is left.
    """
    thing = "port" if SWITCH_KINDS[kind].objects == "port" else "switch"
    for name, true in _candidates(layout, links, thing):
        key = name if thing == "port" else f"{kind} {name}"
        if set(roles) <= true and name in allowed and key not in taken:
            taken.add(key)
            return name
    raise ValueError(
        f"no {thing} is left for {' '.join(('any', *roles, thing))!r} in a site of {layout.gpus} GPUs; "
        "words: snmp gnmi uplink serving training"
    )


def _candidates(layout: Layout, links: Sequence[Links], thing: str) -> Iterator[tuple[str, set[str]]]:
    """Yield ports or switches and what is true of each; of a host's ports the first only."""
    works = {"inference": {"serving"}, "training": {"training"}, "none": set()}
    first = {(host.switch, host.ports[0]): works[host.workload] for host in layout.hosts}
    for switch, cables in zip(layout.switches, links, strict=True):
        if thing == "switch":
            yield switch.name, {switch.protocol}
            continue
        for port, name in enumerate(switch.ports):
            if port in cables.uplinks and port not in cables.lag:
                yield f"{switch.name}/{name}", {switch.protocol, "uplink"}
            elif (work := first.get((switch.name, port))) is not None:
                yield f"{switch.name}/{name}", {switch.protocol, *work}


def no_fabric_effects(layout: Layout) -> FabricEffects:
    """Return the effects of no fault at all."""
    count = len(layout.switches)

    def ports() -> Bools:
        return np.zeros((count, len(layout.switches[0].ports)), dtype=np.bool_)

    return FabricEffects(
        stormed=ports(),
        down=ports(),
        shut=ports(),
        flapping=ports(),
        dimmed=ports(),
        congested=ports(),
        rebooting=np.zeros(count, dtype=np.bool_),
        supplies_ok=np.ones((count, SUPPLIES_PER_SWITCH), dtype=np.bool_),
        leak=np.zeros(count, dtype=np.int64),
    )
