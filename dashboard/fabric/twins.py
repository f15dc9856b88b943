"""Switches that are one, polled under several names: one of the names counts, the others are left out."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from dashboard.fabric.switches import SwitchNow
from dashboard.site import natural

_PROTOCOLS = ("gnmi", "snmp")


def groups(pairs: Iterable[tuple[str, str]]) -> list[set[str]]:
    """Return the names of each switch that has several; of A and B, B and C all three are one."""
    found: list[set[str]] = []
    for pair in pairs:
        joined = [group for group in found if group & {*pair}]
        found = [group for group in found if group not in joined] + [set(pair).union(*joined)]
    return found


def paired(
    switches: Sequence[SwitchNow], pairs: Iterable[tuple[str, str]], inventory: Container[str]
) -> tuple[SwitchNow, ...]:
    """Return the switches, each name that is left out with the one that counts.

    It is one that answers, then one of the inventory, then what gNMI tells before SNMP, then the first by name.
    """

    def rank(switch: SwitchNow) -> tuple[bool, bool, int, object]:
        protocol = _PROTOCOLS.index(switch.protocol) if switch.protocol in _PROTOCOLS else len(_PROTOCOLS)
        return not switch.tells, switch.name not in inventory, protocol, natural(switch.name)

    same_as: dict[str, str] = {}
    for names in groups(pairs):
        ranked = sorted((switch for switch in switches if switch.name in names), key=rank)
        same_as |= {switch.name: ranked[0].name for switch in ranked[1:]}
    return tuple(replace(switch, same_as=same_as.get(switch.name, "")) for switch in switches)
