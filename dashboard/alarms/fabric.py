"""The rules of the fabric: ports and switches. A switch that is down has its own alarm, and its ports have none.

Many ports of one switch with the same trouble are one alarm; each alarm names the GPUs behind it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from dashboard.alarms.findings import Finding, PortFault, Scene
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
_LEAKING = (1, 2)


def find(scene: Scene) -> Iterator[Finding]:
    """Yield what is the matter with the fabric."""
    by_kind: dict[tuple[str, str], list[PortFault]] = defaultdict(list)
    resting = {host.name for host in scene.hosts if host.maintenance}
    for fault in scene.fabric.faults:
        # The port of a host that was taken out of service is down because of that.
        if not (fault.kind == "port_down" and fault.host in resting):
            by_kind[fault.kind, fault.device].append(fault)
    for (kind, device), faults in by_kind.items():
        if len(faults) > scene.settings.alarms.fabric.fold_ports:
            yield _folded(scene, kind, device, faults)
        else:
            yield from (_single(scene, fault) for fault in faults)
    for switch in scene.fabric.switches:
        yield from _switch(switch)


def _place(rack: str) -> str:
    return f"Rack {rack}" if rack else "Fabric"


def _impact(gpus: int) -> str:
    return f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else ""


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
    place, racks = _place(fault.rack), _racks(scene, [fault])
    return Finding(fault.kind, name, fault.priority, title, place, _impact(fault.gpus), racks)


def _folded(scene: Scene, kind: str, device: str, faults: Sequence[PortFault]) -> Finding:
    behind = sum({fault.host: fault.gpus for fault in faults if fault.host}.values())
    worst = min(fault.priority for fault in faults)
    title = f"{len(faults)} {_TITLES[kind][1]} on {device}"
    return Finding(kind, device, worst, title, _place(faults[0].rack), _impact(behind), _racks(scene, faults))


def _switch(switch: SwitchNow) -> Iterator[Finding]:
    name, place = switch.name, _place(switch.rack)
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
