"""What the building system's metadata says of the site: which meter feeds what, which unit cools what.

Rows of `inventory` that carry the tag `device`, the building system's: the lines of the site's own file have none, and
of two that contradict each other the site's counts. Only objects whose own metadata was heard are told of: what
`servesId` names beside them has no kind. They are told with each poll of the first minute, in which metadata comes bit
by bit, later when something changes, and once an hour.

Source: NVIDIA dsx-exchange, companion guide, "Equipment Identifier Modes": an associate has no relations of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from collectors.mqtt.profile import Served
from storage.point import Point
from storage.schema import MEASUREMENTS

TELL_S = 3600.0
FIRST_S = 60.0
#: kind of the parent -> kinds that it may feed or cool, as in `collectors/inventory.py`
_FED = frozenset(("row", "rack", "host", "shelf", "pdu", "cdu", "switch", "meter", "feed"))
_CHILDREN: Mapping[str, frozenset[str]] = {"feeds": _FED, "cools": frozenset(("rack", "host", "loop"))}

#: kind and id of the served, relation, id of the one that serves
Edge = tuple[str, str, str, str]


class Topology:
    """What was told of the site by one building system."""

    def __init__(self, types: Mapping[str, Served], tags: Mapping[str, str]) -> None:
        """`types` says what objects of each type are; `tags` are those of every row."""
        self._types = types
        self._tags = tags
        self._told: frozenset[Edge] = frozenset()
        self._told_s = -TELL_S
        self._begun_s: float | None = None

    def points(self, metadata: Iterable[Mapping[str, Any]], time_ns: int) -> list[Point]:
        """Return the rows to tell: those that changed, the vanished ones with `present` 0, or all where that is due."""
        if not self._types:
            return []
        edges, now_s = self._edges(metadata), time_ns / 1e9
        if self._begun_s is None:
            self._begun_s = now_s
        gone = self._told - edges
        is_due = abs(now_s - self._told_s) >= TELL_S or abs(now_s - self._begun_s) < FIRST_S
        if edges == self._told and not is_due:
            return []
        told = edges if is_due else edges - self._told
        self._told, self._told_s = edges, now_s if is_due else self._told_s
        rows = [*((edge, 1) for edge in sorted(told)), *((edge, 0) for edge in sorted(gone))]
        return [self._point(edge, present, time_ns) for edge, present in rows]

    def _edges(self, metadata: Iterable[Mapping[str, Any]]) -> frozenset[Edge]:
        kinds: dict[str, str] = {}
        serves: dict[tuple[str, str], set[str]] = {}
        for body in metadata:
            served = self._types.get(str(body.get("objectType")))
            name = body.get("rackLocationId") or body.get("objectId")
            if served is None or not isinstance(name, str):
                continue
            kinds[name] = served.kind
            children = body.get("servesId")
            if served.relation and isinstance(children, list):
                serves.setdefault((name, served.relation), set()).update(c for c in children if isinstance(c, str))
        return frozenset(
            (kinds[child], child, relation, parent)
            for (parent, relation), children in serves.items()
            for child in children
            if child != parent and kinds.get(child) in _CHILDREN[relation]
        )

    def _point(self, edge: Edge, present: int, time_ns: int) -> Point:
        kind, child, relation, parent = edge
        tags = {**self._tags, "kind": kind, "id": child, "parent": parent, "relation": relation}
        known = MEASUREMENTS["inventory"].tags
        return Point("inventory", {tag: tags[tag] for tag in known if tags.get(tag)}, {"present": present}, time_ns)
