"""What a switch does not tell and which of its settings makes it tell. Once per switch; equal hints are one."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dashboard.fabric.links import Ends
from dashboard.fabric.places import Parts
from dashboard.fabric.ports import OK, Ports
from dashboard.fabric.read import Seen
from dashboard.fabric.switches import Fleet, SwitchNow
from dashboard.kpis.fabric import ber_disagrees, suspect
from dashboard.kpis.windows import Bools, Floats, Ints
from dashboard.recent import Names, Recent

_NAMED = 3
_ECN = {
    "gnmi": "no ECN counters: enable FLEX_COUNTER_TABLE|WRED_ECN_QUEUE",
    "snmp": "no ECN counters over SNMP: poll it by gNMI instead",
}
_PAUSE = {
    "gnmi": "no pause time: start the PFC watchdog (pfcwd start)",
    "snmp": "no pause time over SNMP, only the bound that frames give: poll it by gNMI instead",
}
#: clocks of switch and collector may differ by so much. Units: s
_SKEW_SECONDS = 2.0
_MOST = 50
_TWICE = "one switch under two names, by the neighbours of its ports: {} counts alone; poll it once"


def hints(seen: Seen, ports: Ports, pfc: Parts, queues: Parts, fleet: Fleet, ends: Ends) -> tuple[str, ...]:
    """Return what operators can change, as `switches: hint`; of many hints the first."""
    by_hint: dict[str, list[str]] = {}
    lacks = _lacks(seen, ports, pfc, queues)
    for switch in fleet.switches:
        for hint in _of_switch(switch, lacks) if switch.tells and not switch.same_as else ():
            by_hint.setdefault(hint, []).append(switch.name)
    counts = {switch.name: switch.same_as or switch.name for switch in fleet.switches}
    twice = (f"{_named(pair)}: {_TWICE.format(counts.get(pair[0], pair[0]))}" for pair in ends.doubled)
    return (*twice, *(f"{_named(names)}: {hint}" for hint, names in by_hint.items()))[:_MOST]


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _lacks(seen: Seen, ports: Ports, pfc: Parts, queues: Parts) -> Callable[[str], Iterator[str]]:
    """Return what tells for a switch which of the kinds of data it lacks, or which are not to be trusted."""
    marked = _tell(seen.queues, queues, "ecn_marked_packets_total")
    paused = _tell(seen.pfc, pfc, "rx_pause_seconds_total", "rx_pause_estimated_seconds_total")
    have_queues, have_pfc = (_devices(part.roster.device, part.port) for part in (queues, pfc))
    up, device = (ports.state == OK) & ports.physical, ports.roster.device
    uncounted = set(device[up & np.isnan(_octets(seen, ports))])
    impossible = set(device[suspect(ports.values["utilization"])])
    apart = set(device[ber_disagrees(ports.values["computed_ber"], ports.values["own_ber"])])

    def of(name: str) -> Iterator[str]:
        if name in have_queues - marked:
            yield "ecn"
        if name in have_pfc - paused:
            yield "pause"
        if name in uncounted:
            yield "octets"
        if name in impossible:
            yield "speed"
        if name in apart:
            yield "ber"

    return of


def _devices(device: Names, port: Ints) -> set[str]:
    held = np.zeros(len(device), dtype=bool)
    held[port[port >= 0]] = True
    return set(device[held])


def _tell(recent: Recent, of: Parts, *names: str) -> set[str]:
    """Return the switches of which any series has one of these fields."""
    known: Bools = np.zeros(len(recent.times), dtype=bool)
    for name in names:
        known |= ~np.isnan(recent.values[name])
    telling = np.zeros(recent.count, dtype=bool)
    telling[recent.series[known]] = True
    return set(recent.tags["device"][telling])


def _octets(seen: Seen, ports: Ports) -> Floats:
    """Return each port's newest octets ever seen; NaN without."""
    known = np.full(ports.roster.count, np.nan)
    np.fmax.at(known, ports.roster.codes, seen.counters.values)
    known[ports.roster.bundles] = 0.0
    return known


def _of_switch(switch: SwitchNow, lacks: Callable[[str], Iterator[str]]) -> Iterator[str]:
    protocol = "snmp" if switch.protocol == "snmp" else "gnmi"
    said = {
        "ecn": _ECN[protocol],
        "pause": _PAUSE[protocol],
        "octets": "ports without 64-bit octet counters: their traffic is not known",
        "speed": "traffic over the speed of a port: its speed is told wrongly",
        "ber": "its own bit error ratio differs from that of its corrected bits by more than a factor of three",
    }
    yield from (said[what] for what in lacks(switch.name))
    if switch.map == "stale":
        yield "stale port map: restart the telemetry or gnmi container"
    if switch.clock_skew_seconds is not None and abs(switch.clock_skew_seconds) > _SKEW_SECONDS:
        yield "its clock is off by more than 2 s: set NTP"
