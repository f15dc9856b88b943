"""The rules of the fabric: ports and switches. A switch that is down has its own alarm, and its ports have none.

What follows from one cause is one alarm: many ports of one switch with the same trouble, all links of a host that is
gone, bit errors of a port that gets too little light. Each alarm names the GPUs behind it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dashboard.alarms.findings import Finding, PortFault, Scene
from dashboard.alarms.words import say_gpus, where_is
from dashboard.fabric.switches import AGENT_MISSING, PARTIAL, SwitchNow

#: kind of trouble -> how one port's alarm begins, and several ports'
_TITLES = {
    "port_down": ("Link down", "links down"),
    "port_flapping": ("Link flaps", "links flap"),
    "pfc_storm": ("PFC storm", "ports with a PFC storm"),
    "pfc_watchdog": ("PFC watchdog acts", "ports held by the PFC watchdog"),
    "fec_uncorrected": ("FEC fails", "ports where FEC fails"),
    "pre_fec_ber": ("Bit errors", "ports with bit errors"),
    "optics_dark": ("Optics dark", "ports with dark optics"),
    "optics_margin": ("Optics weak", "ports with weak optics"),
    "optics_spread": ("Optics uneven", "ports with uneven optics"),
    "port_errors": ("Broken packets", "ports with broken packets"),
    "port_discards": ("Dropped packets", "ports that drop packets"),
    "congestion": ("Congestion", "ports congested"),
}
RULES = tuple(_TITLES)
#: troubles of one port that come from one another, the cause or the gravest first
_CHAINS = (
    ("optics_dark", "fec_uncorrected", "optics_margin", "pre_fec_ber", "optics_spread", "port_errors"),
    ("pfc_watchdog", "pfc_storm", "port_discards", "congestion"),
)
_MOST_TEXTS = 3
_LEAKING = (1, 2)


def find(scene: Scene) -> Iterator[Finding]:
    """Yield what is the matter with the fabric."""
    by_kind: dict[tuple[str, str], list[PortFault]] = defaultdict(list)
    by_host: dict[str, list[PortFault]] = defaultdict(list)
    resting = {host.name for host in scene.hosts if host.maintenance}
    gone = _gone(scene) - resting
    for fault in _causes(scene.fabric.faults):
        if fault.kind == "port_down" and fault.host in gone:
            by_host[fault.host].append(fault)
        # The port of a host that was taken out of service is down because of that.
        elif not (fault.kind == "port_down" and fault.host in resting):
            by_kind[fault.kind, fault.device].append(fault)
    yield from (_of_host(scene, host, faults) for host, faults in by_host.items())
    for (kind, device), faults in by_kind.items():
        if len(faults) > scene.settings.alarms.fabric.fold_ports:
            yield _folded(scene, kind, device, faults)
        else:
            yield from (_single(scene, fault) for fault in faults)
    for switch in scene.fabric.switches:
        yield from _switch(scene, switch)


def _gone(scene: Scene) -> set[str]:
    """Return the hosts whose GPUs do not answer while others' do: without any the collectors are the matter."""
    lost = {host.name for host in scene.hosts if host.gpus and not host.live}
    return lost if any(host.live for host in scene.hosts) else set()


def _causes(faults: Sequence[PortFault]) -> Iterator[PortFault]:
    """Yield the faults; of those of one port that come from one another the gravest alone, in the words of all."""
    chains: dict[tuple[str, str, int], list[PortFault]] = defaultdict(list)
    for fault in faults:
        chain = next((number for number, kinds in enumerate(_CHAINS) if fault.kind in kinds), None)
        if chain is None:
            yield fault
        else:
            chains[fault.device, fault.interface, chain].append(fault)
    for (_, _, chain), linked in chains.items():
        linked.sort(key=lambda fault: (fault.priority, _CHAINS[chain].index(fault.kind)))
        yield replace(linked[0], text=", ".join(fault.text for fault in linked[:_MOST_TEXTS]))


def _impact(gpus: int) -> str:
    return say_gpus(gpus) if gpus else ""


def _racks(scene: Scene, faults: Sequence[PortFault]) -> tuple[str, ...]:
    """Return the racks of the hosts behind these ports, else the switch's own."""
    of_host = {host.name: host.rack for host in scene.hosts}
    behind = dict.fromkeys(of_host[fault.host] for fault in faults if fault.host in of_host)
    return tuple(behind) or tuple(dict.fromkeys(fault.rack for fault in faults if fault.rack))


def _single(scene: Scene, fault: PortFault) -> Finding:
    end = f" to {fault.neighbor}" if fault.neighbor else ""
    detail = "" if fault.kind == "port_down" else f": {fault.text}"
    title = f"{_TITLES[fault.kind][0]} on {fault.device} {fault.interface}{end}{detail}"
    name = f"{fault.device} {fault.interface}"
    place, racks = where_is(scene, fault.device, fault.rack), _racks(scene, [fault])
    return Finding(fault.kind, name, fault.priority, title, place, _impact(fault.gpus), racks)


def _folded(scene: Scene, kind: str, device: str, faults: Sequence[PortFault]) -> Finding:
    behind = sum({fault.host: fault.gpus for fault in faults if fault.host}.values())
    worst = min(fault.priority for fault in faults)
    title = f"{len(faults)} {_TITLES[kind][1]} on {device}"
    return Finding(
        kind, device, worst, title, where_is(scene, device, faults[0].rack), _impact(behind), _racks(scene, faults)
    )


def _of_host(scene: Scene, host: str, faults: Sequence[PortFault]) -> Finding:
    """Return what is said of the links to a host of which no GPU tells any more."""
    links = "Link" if len(faults) == 1 else f"{len(faults)} links"
    title, racks = f"{links} down to {host}, whose GPUs do not answer", _racks(scene, faults)
    worst, gpus = min(fault.priority for fault in faults), max(fault.gpus for fault in faults)
    return Finding(
        "port_down", host, worst, title, where_is(scene, host, racks[0] if racks else ""), _impact(gpus), racks
    )


def _switch(scene: Scene, switch: SwitchNow) -> Iterator[Finding]:
    name, place = switch.name, where_is(scene, switch.name, switch.rack)
    racks = (switch.rack,) if switch.rack else ()
    why = f": {switch.error}" if switch.error else ""

    def say(rule: str, priority: int, title: str, impact: str) -> Finding:
        return Finding(rule, name, priority, title, place, impact, racks)

    if switch.leak in _LEAKING:
        yield say("leak_detected", 1, f"Leak in switch {name}", "equipment at risk")
    if switch.state == AGENT_MISSING:
        yield say("switch_agent", 3, f"{name} answers without its counters: restart its SNMP agent", "ports unseen")
    if switch.state == PARTIAL:
        yield say("switch_partial", 4, f"{name} tells only part of what was asked{why}", "some values unseen")
    if switch.map == "stale" and switch.tells:
        title = f"Port map of {name} is stale: restart its telemetry or gnmi container"
        yield say("switch_map", 3, title, "ports mixed up or unseen")
    if switch.fans_failed:
        fans = "1 fan" if switch.fans_failed == 1 else f"{switch.fans_failed} fans"
        yield say("switch_fan", 3, f"{fans} failed in {name}", "cooling of the switch")
