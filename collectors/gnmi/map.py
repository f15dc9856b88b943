"""The guard against a stale map of ports.

SONiC's telemetry process reads the map from port names to counters once: ports that come later are missing from
`COUNTERS/Ethernet*`, ports that left are still told, and a process that started before its ports says `{}`, until its
container is restarted. `COUNTERS_PORT_NAME_MAP` itself is always fresh: it says which ports there are, and where the
counters of the missing ones lie.

Source: sonic-net/sonic-gnmi `sonic_data_client/virtual_db.go` (`initCountersPortNameMap`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.gnmi.rows import Ports

#: seconds for which the two may differ: a port that is being made is in one a little earlier
GRACE_S = 60.0
REMEDY = "restart the telemetry or gnmi container"

_PORT = re.compile(r"Ethernet(-[A-Z][A-Za-z]*)?\d{1,5}")
_OID = re.compile(r"oid:0x[0-9a-f]{1,16}")


def read_map(answer: object) -> dict[str, str]:
    """Return port -> object id of COUNTERS_PORT_NAME_MAP; what is neither is left out."""
    return {
        name: oid
        for name, oid in (answer.items() if isinstance(answer, Mapping) else ())
        if isinstance(oid, str) and _PORT.fullmatch(name) and _OID.fullmatch(oid)
    }


@dataclass(slots=True)
class MapGuard:
    """Compare what the wildcard tells with the fresh map, round by round."""

    #: the fresh map; empty while it was never read
    fresh: Mapping[str, str] = field(default_factory=dict)
    stale: bool = False
    #: ports whose counters the wildcard cannot give: absent from it, or moved since it was first compared
    lost: tuple[str, ...] = ()
    #: ports that it still tells of though they are gone
    gone: tuple[str, ...] = ()
    _first: dict[str, str] = field(default_factory=dict)
    _differs_since: float | None = None

    def look(self, counters: object, answer: object, ports: Ports, now: float) -> bool | None:
        """Compare one round; `now` is monotonic seconds. Return whether the map became stale, None for no change."""
        fresh = self.fresh if answer == self.fresh else read_map(answer)
        if not fresh or not isinstance(counters, Mapping):
            return None
        self.fresh = fresh
        told = {ports.names.get(key, key) for key in counters}
        self.lost = tuple(name for name, oid in fresh.items() if name not in told or self._has_moved(name, oid))
        self.gone = tuple(sorted(told - fresh.keys()))
        if not self.lost and not self.gone:
            self._differs_since = None
            return self._become(stale=False)
        if self._differs_since is None:
            self._differs_since = now
        if now - self._differs_since > GRACE_S:
            return self._become(stale=True)
        return None

    def restart(self) -> None:
        """Forget where the counters lay: the process behind the wildcard may be another one."""
        self._first.clear()

    def has(self, port: str) -> bool:
        """Return whether there is such a port, as far as the fresh map was read."""
        return not self.fresh or port in self.fresh

    def oid_paths(self) -> tuple[str, ...]:
        """Return the paths of the counters that the wildcard cannot give, while the map is stale."""
        return tuple(f"COUNTERS/{self.fresh[name]}" for name in self.lost) if self.stale else ()

    def text(self) -> str:
        """Return what is wrong, for people."""
        parts = [f"{len(names)} ports {what} ({names[0]} ...)" for what, names in self._parts() if names]
        return f"the map of ports is stale: {', '.join(parts)}: {REMEDY}"

    def _parts(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (("lost", self.lost), ("gone but still told", self.gone))

    def _has_moved(self, name: str, oid: str) -> bool:
        return self._first.setdefault(name, oid) != oid

    def _become(self, *, stale: bool) -> bool | None:
        changed = stale != self.stale
        self.stale = stale
        return stale if changed else None
