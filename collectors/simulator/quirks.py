"""What a SONiC switch of the simulator plays of the weaknesses that real ones have, each switched while it is served.

Source: sonic-net/sonic-snmpagent (walks #369, cache), sonic-net/sonic-gnmi (maps, SAMPLE #541, one Subscribe #644).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

#: quirks that are more than on or off, and what they take
CHOICES: Mapping[str, tuple[str, ...]] = {
    "agent": ("ok", "hung", "dead"),
    "vendor": ("community", "edgecore", "dell"),
}
#: port, queue where there is one, field
CELL = re.compile(r"(\w+)(?::\d+)? (\w+)")


@dataclass(slots=True)
class Quirks:
    """The weaknesses of one switch; the defaults are those of a healthy switch of the community's images."""

    #: SNMP: tables are refreshed each 5 s (3 to 7), each table by its own clock; off: counters are exact
    cache: bool = True
    #: SNMP: a walk jumps to the next column at the first cell that is missing; off: it goes on
    truncated_walks: bool = True
    #: cells that the counters database lacks: "Ethernet40 SAI_PORT_STAT_IF_IN_OCTETS"
    missing: set[str] = field(default_factory=set)
    #: SNMP: hung answers system and host only, late or never else; dead answers noSuchInstance for all tables at once
    agent: Literal["ok", "hung", "dead"] = "ok"
    #: SNMP: numbering of ifIndex and names: community Ethernet N -> N + 1; edgecore and dell have their own
    vendor: Literal["community", "edgecore", "dell"] = "community"
    #: gNMI: a second Subscribe on a TCP connection ends the first
    one_subscribe: bool = True
    #: gNMI: the map of names is that of the process' start: `Ethernet*` gives what was there then, or {}
    stale_map: bool = False
    #: gNMI: SAMPLE of COUNTERS/Ethernet* brings its first update and then nothing
    silent_sample: bool = False
    #: gNMI: POLL is refused
    no_poll: bool = False
    #: gNMI: every Subscribe is refused, "Server connections are at capacity."
    at_capacity: bool = False
    #: no queue has ECN counters: FLEX_COUNTER_TABLE|WRED_ECN_QUEUE is off
    no_ecn: bool = False
    #: no port has the time that its peer paused it: the PFC watchdog is off
    no_pause: bool = False
    #: the pause time is Broadcom's estimate (EST_PORT_STAT_...)
    estimated_pause: bool = False


def names() -> tuple[str, ...]:
    """Return the names of all quirks."""
    return tuple(each.name for each in fields(Quirks))


def switch(quirks: Quirks, name: str, value: object, ports: Collection[str]) -> None:
    """Set one quirk of a switch with these ports.

    Raises:
        ValueError: no such quirk, or a value that it does not take; the message says what is allowed.
    """
    if name not in names():
        raise ValueError(f"no quirk {name!r}: there are {', '.join(names())}")
    if name == "missing":
        setattr(quirks, name, _cells(value, ports))
    elif name in CHOICES:
        if value not in CHOICES[name]:
            raise ValueError(f"{name} is {value!r}: give {', '.join(CHOICES[name])}")
        setattr(quirks, name, value)
    elif isinstance(value, bool):
        setattr(quirks, name, value)
    else:
        raise ValueError(f"{name} is {value!r}: give true or false")


def _cells(value: object, ports: Collection[str]) -> set[str]:
    """Return cells as a set, each a port or `port:queue` and a field of the counters database."""
    way_out = 'give a list of cells like "Ethernet40 SAI_PORT_STAT_IF_IN_OCTETS" or "Ethernet40:3 SAI_QUEUE_STAT_BYTES"'
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError(f"missing is {value!r}: {way_out}")
    for cell in value:
        found = CELL.fullmatch(cell) if isinstance(cell, str) else None
        if found is None:
            raise ValueError(f"missing has {cell!r}: {way_out}")
        if found[1] not in ports:
            raise ValueError(f"missing has {cell!r}, but there is no port {found[1]}: {way_out}")
    return set(value)
