"""What a switch's answers tell of itself: a stale map, a wrong clock, counters that began anew, links that changed.

Everything is learned from rounds that were asked for anyway; nothing here asks.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.collector import Target
from collectors.gnmi.answers import Round
from collectors.gnmi.links import PORT_DATABASE, PORT_TABLE, Fields, LinkTable, read_ports
from collectors.gnmi.map import MapGuard
from collectors.gnmi.resets import Counters
from collectors.gnmi.rows import Each, Ports
from collectors.profile import Profile
from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS

MAP_DATABASE, MAP_PATH, PORTS_PATH = "COUNTERS_DB", "COUNTERS_PORT_NAME_MAP", "COUNTERS/Ethernet*"

#: a clock that is further off than the schema takes says nothing; from here on a person is told. Units: s
SKEW_LIMIT_S, SKEW_TOLD_S = 1e6, 2.0
#: events of one instant get stamps of their own, so that a store does not take one for another. Units: ns
EVENT_STEP_NS = 1_000

#: what the part of a key between its colons looks like: names of ports, sensors and supplies, numbers of queues
_SANE = re.compile(r"[!-~]([ -~]{0,62}[!-~])?")
#: what stands for no rows: one that is none, so that a table which looks at its keys forgets those it had
_NO_ROWS: Mapping[str, None] = {"": None}
#: interfaces that COUNTERS_PORT_NAME_MAP does not have
_OTHER = re.compile(r"(PortChannel|Vlan|Loopback|eth)\d{1,5}")


@dataclass(slots=True)
class Health:
    """The state of one switch across rounds."""

    target: Target
    profile: Profile
    map: MapGuard = field(default_factory=MapGuard)
    _links: LinkTable = field(default_factory=LinkTable)
    _counters: Counters = field(init=False)
    _skew_s: float | None = None
    #: path and variables of a table -> what its keys were judged by, and those that are rows
    _kept: dict[tuple[str, ...], tuple[tuple[object, ...], frozenset[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._counters = Counters(self.target.interval.total_seconds())

    @property
    def reset_count(self) -> int:
        """Return how many resets were told since the collector was opened: of a port, or of the whole device."""
        return self._counters.resets

    def look(self, answers: Mapping[tuple[str, str], Any], ports: Ports, now: float, now_ns: int) -> list[Point]:
        """Take what a round says of the map and the links; return the events of it. `now` is monotonic seconds."""
        events = []
        if (MAP_DATABASE, MAP_PATH) in answers:
            # A process that started before its ports has nothing at the wildcard's path, or {}.
            counters = answers.get((MAP_DATABASE, PORTS_PATH)) or {}
            became = self.map.look(counters, answers[MAP_DATABASE, MAP_PATH], ports, now)
            if became is not None:
                text = self.map.text() if became else "the map of ports is fresh again"
                events.append(self.event("map", 1 if became else 0, text, now_ns))
        table = read_ports(answers.get((PORT_DATABASE, PORT_TABLE)), ports)
        known = {port: fields for port, fields in table.items() if self.map.has(port)}
        return [*events, *self.links_seen(known, now_ns)]

    def links_seen(self, table: Fields, now_ns: int) -> list[Point]:
        """Take the states of some ports, polled or told; return an event for each that changed."""
        changed = self._links.see(table)
        return [
            self.event("link", *link.event(), now_ns + number * EVENT_STEP_NS, port)
            for number, (port, link) in enumerate(changed.items())
        ]

    def keep(self, each: Each, answer: object, ports: Ports) -> object:
        """Return the rows of an answer: objects, of ports that are there, with keys that are names."""
        if not isinstance(answer, dict):
            return _NO_ROWS if each.names else {}
        if not each.names:
            return answer
        table = (each.path, *each.names)
        known = (frozenset(answer), self.map.fresh, ports)
        before, good = self._kept.get(table, ((), frozenset()))
        if before != known:
            good = frozenset(key for key in answer if self._is_row(each, key, ports))
            self._kept[table] = known, good
        if len(good) == len(answer) and set(map(type, answer.values())) <= {dict}:
            return answer
        return {key: row for key, row in answer.items() if key in good and isinstance(row, dict)} or _NO_ROWS

    def with_state(self, points: Sequence[Point], rounds: Mapping[str, Sequence[Round]], time_ns: int) -> list[Point]:
        """Return the points with what is known of map and clock in the switch's own row."""
        fields: dict[str, FieldValue] = {}
        if self.map.fresh:
            fields["map_state"] = int(self.map.stale)
        self._skew_s = _skew_s([one for each in rounds.values() for one in each])
        if self._skew_s is not None:
            fields["clock_skew_seconds"] = self._skew_s
        if not fields:
            return list(points)
        own = Point("switch", self._tags("switch"), fields, time_ns)
        # The profile may have made the row already: two points of one series at one time are one.
        made = (n for n, p in enumerate(points) if p.measurement == "switch" and p.tags == own.tags)
        at = next(made, len(points))
        had = points[at].fields if at < len(points) else {}
        return [*points[:at], replace(own, fields={**had, **fields}), *points[at + 1 :]]

    def skew_line(self) -> str:
        """Return what to tell of the switch's clock, or ""."""
        if self._skew_s is None or abs(self._skew_s) <= SKEW_TOLD_S:
            return ""
        side = "ahead of" if self._skew_s > 0 else "behind"
        return f"switch.clock_skew_seconds: its clock is {abs(self._skew_s):.1f} s {side} ours: check NTP on both"

    def unwrap(self, points: Sequence[Point], now: float, now_ns: int) -> tuple[list[Point], list[Point]]:
        """Return the points with counters that fall only where they began anew, and an event for each port that did.

        When it is the device there is one event. `now` is monotonic seconds.
        """
        made, anew = self._counters.take(points, now)
        events = [
            self.event("reset", 0, text, now_ns + number * EVENT_STEP_NS, port)
            for number, (port, text) in enumerate(anew.items())
        ]
        return made, events

    def event(self, kind: str, severity: int, text: str, time_ns: int, port: str = "") -> Point:
        """Return a `switch_event`."""
        tags = self._tags("switch_event", interface=port, kind=kind)
        return Point("switch_event", tags, {"severity": severity, "text": text}, time_ns)

    def _tags(self, measurement: str, **own: str) -> dict[str, str]:
        tags = {self.profile.identity: self.target.name, **self.target.tags, **own}
        return {name: tags[name] for name in MEASUREMENTS[measurement].tags if tags.get(name)}

    def _is_row(self, each: Each, key: str, ports: Ports) -> bool:
        parts = each.parts(key)
        if parts is None:
            return True  # no row of this group; what `as` does not fit is left out there
        if not all(map(_SANE.fullmatch, parts.values())):
            return False
        port = parts.get("port")
        return port is None or self._is_port(ports.names.get(port, port))

    def _is_port(self, name: str) -> bool:
        """Return whether a port is there; groups and VLANs have maps of their own."""
        return (
            self.map.has(name)
            if name.startswith("Ethernet")
            else not self.map.fresh or _OTHER.fullmatch(name) is not None
        )


def _skew_s(rounds: Sequence[Round]) -> float | None:
    """Return the device's clock minus ours, by the round that was answered fastest. Units: s."""
    known = [(one.wait_ns, one.skew_ns) for one in rounds if one.skew_ns is not None]
    skew_s = min(known)[1] / 1e9 if known else SKEW_LIMIT_S + 1
    return skew_s if abs(skew_s) <= SKEW_LIMIT_S else None
