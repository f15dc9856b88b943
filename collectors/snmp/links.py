"""What a notification says of a link: linkUp and linkDown.

The ifIndex is that of a varbind's instance: SONiC's column ifIndex holds the index minus 1. Source: RFC 2863 section 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.collector import Trap

LINK_DOWN, LINK_UP = "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4"
IF_ENTRY, IFX_ENTRY = "1.3.6.1.2.1.2.2.1.", "1.3.6.1.2.1.31.1.1.1."
IF_INDEX, IF_ADMIN_STATUS = f"{IF_ENTRY}1.", f"{IF_ENTRY}7."

#: ifOperStatus and ifAdminStatus
UP, DOWN = 1, 2


@dataclass(frozen=True, slots=True)
class Link:
    """A link that went up or down."""

    index: str
    #: measurement.field -> raw value, as ifOperStatus and ifAdminStatus have it
    states: Mapping[str, int]
    severity: int
    text: str


def read_link(trap: Trap) -> Link | None:
    """Return what a linkUp or linkDown says, None for another notification or one that names no port."""
    if trap.name not in (LINK_UP, LINK_DOWN):
        return None
    index = _if_index(trap.values)
    if index is None:
        return None
    up = trap.name == LINK_UP
    states = {"interface.oper_up": UP if up else DOWN}
    admin = trap.values.get(f"{IF_ADMIN_STATUS}{index}")
    if admin in (UP, DOWN):
        states["interface.admin_up"] = int(admin)
    wanted = admin != DOWN
    return Link(index, states, 0 if up or not wanted else 1, "link up" if up else "link down")


def _if_index(values: Mapping[str, int | float | str]) -> str | None:
    """Return the instance of any column of ifTable or ifXTable; without an instance, ifIndex as it stands."""
    for oid in values:
        for entry in (IF_ENTRY, IFX_ENTRY):
            _, _, index = oid.removeprefix(entry).partition(".")
            if oid.startswith(entry) and index.isdecimal():
                return index
    told = values.get(IF_INDEX.rstrip("."))
    return str(told) if isinstance(told, int) else None
