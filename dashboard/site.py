"""What the site is, read from `inventory` points: rows, racks, hosts, loops, meters; and where each GPU stands."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pandas as pd

from storage.store import Store

#: the inventory comes hourly and on change; a day without it and the site is unknown
INVENTORY_AGE = timedelta(hours=25)
#: where GPUs go that no inventory names
UNPLACED = "unplaced"
#: all kinds but links, which are as many as ports and are read by the fabric alone
_KINDS = ("site", "row", "rack", "host", "shelf", "pdu", "cdu", "loop", "feed", "switch", "meter", "engine")
_FIELDS = ("present", "expected_count", "rated_watts", "rated_flow_liters_per_second")


@dataclass(frozen=True, slots=True)
class Host:
    """A node and how many GPUs it should have."""

    name: str
    rack: str
    gpus: int


@dataclass(frozen=True, slots=True)
class Rack:
    """A rack and what stands in it; empty tuples where the inventory names nothing."""

    name: str
    row: str
    hosts: tuple[str, ...] = ()
    shelves: tuple[str, ...] = ()
    pdus: tuple[str, ...] = ()
    cdu: str = ""
    rated_watts: float | None = None
    rated_flow_liters_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Shelf:
    """A power shelf or rack PDU: where it stands, how many supplies it should have, what it is rated for in all."""

    name: str
    rack: str
    supplies: int | None = None
    rated_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed (A or B) of the building: what it may carry, and the racks behind it."""

    name: str
    rated_watts: float | None = None
    #: shelves and PDUs that hang on it
    parts: tuple[str, ...] = ()
    racks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cdu:
    """A coolant distribution unit and the racks on its technology loops."""

    name: str
    racks: tuple[str, ...] = ()
    rated_watts: float | None = None
    rated_flow_liters_per_second: float | None = None
    loops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """The site graph. Racks, hosts and CDUs are in natural order: row, then name, numbers by value."""

    name: str = ""
    rows: tuple[str, ...] = ()
    racks: tuple[Rack, ...] = ()
    hosts: tuple[Host, ...] = ()
    cdus: tuple[Cdu, ...] = ()
    #: meter -> scope (node, rack, it, facility)
    meters: Mapping[str, str] = field(default_factory=dict)
    #: inference engine (endpoint) -> host
    engines: Mapping[str, str] = field(default_factory=dict)
    #: meter, feed, shelf or PDU -> what it feeds
    feeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: the building's feeds, in natural order
    power_feeds: tuple[Feed, ...] = ()
    #: shelf or PDU -> what it is
    shelves: Mapping[str, Shelf] = field(default_factory=dict)
    #: switch -> hosts behind it
    uplinks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: switch -> its rack, "" where it stands in none
    switches: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected_gpus(self) -> int:
        """Return the number of GPUs that the inventory expects."""
        return sum(host.gpus for host in self.hosts)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which cell of the floor is which GPU; cells are ordered by row, rack, host, index."""

    #: row -> its racks as (name, first cell, cells), both in natural order
    rows: tuple[tuple[str, tuple[tuple[str, int, int], ...]], ...]
    #: per cell: the GPU's UUID, or `host:index` for one that is expected and was never seen
    gpus: tuple[str, ...]
    #: per cell: its rack, its host
    racks: tuple[str, ...]
    hosts: tuple[str, ...]
    #: hash of all of it
    hash: str


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return the key that sorts names as people do: A2 before A10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)


def read_site(store: Store) -> Site:
    """Return the site graph that the inventory points tell; an empty site where there are none.

    Raises:
        StoreError: the store does not answer.
    """
    return build_site(store.latest("inventory", _FIELDS, INVENTORY_AGE, {"kind": _KINDS}))


def build_site(inventory: pd.DataFrame) -> Site:
    """Return the site graph of an inventory frame (columns: the measurement's tags and fields)."""
    records = [{str(name): value for name, value in row.items()} for row in inventory.to_dict("records")]
    rows = [row for row in records if _number(row["present"]) != 0]
    if any(row["synthetic"] != "true" for row in rows):  # real and simulated sites are never mixed
        rows = [row for row in rows if row["synthetic"] != "true"]
    holds, cools = _edges(rows, "contains"), _edges(rows, "cools")
    rated, flow = _ratings(rows, "rated_watts"), _ratings(rows, "rated_flow_liters_per_second")
    racks = tuple(_rack(rack, row, holds, cools, rated, flow) for rack, row in _placed_racks(rows, holds))
    hosts = _hosts(rows, racks)
    cdus, feeds = _named(rows, "cdu"), _children(rows, "feeds")
    shelves = _shelves(rows, racks, rated)
    return Site(
        name=next(iter(_named(rows, "site")), next((row["site"] for row in rows if row["site"]), "")),
        rows=tuple(sorted({rack.row for rack in racks}, key=natural)),
        racks=racks,
        hosts=hosts,
        cdus=tuple(Cdu(c, _cooled(cools, c), rated.get(c), flow.get(c), _of_kind(cools, c, "loop")) for c in cdus),
        meters=MappingProxyType({row["id"]: row["scope"] for row in rows if row["kind"] == "meter" and row["scope"]}),
        engines=MappingProxyType({row["id"]: row["parent"] for row in rows if row["kind"] == "engine"}),
        feeds=feeds,
        power_feeds=tuple(_feed(name, rated.get(name), feeds, racks) for name in _named(rows, "feed")),
        shelves=shelves,
        uplinks=_children(rows, "uplinks"),
        switches=_switches(rows),
    )


def place(
    site: Site, gpus: Sequence[str], hosts: Sequence[str], racks: Sequence[str], indexes: Sequence[str]
) -> Layout:
    """Return the floor: a cell for each expected GPU and for each one seen.

    The four sequences hold one element per GPU seen: UUID, host, rack tag, index ("" where unknown). Of two GPUs with
    the same host and index the later in the list stands there (a replaced board).
    """
    slots: dict[str, dict[int, str]] = {host.name: {} for host in site.hosts}
    known = {host.name: host for host in site.hosts}
    where = {host.name: host.rack for host in site.hosts}
    row_of = {rack.name: rack.row for rack in site.racks}
    for gpu, host, rack, index in zip(gpus, hosts, racks, indexes, strict=True):
        taken = slots.setdefault(host, {})
        where.setdefault(host, rack if rack in row_of else UNPLACED)
        number = int(index) if index.isdigit() else next(i for i in range(len(taken) + 1) if i not in taken)
        taken[number] = gpu
    order = {rack.name: i for i, rack in enumerate(site.racks)}
    cells: list[tuple[str, str, str]] = []
    for host in sorted(slots, key=lambda h: (order.get(where[h], len(order)), natural(h))):
        expected = known[host].gpus if host in known else 0
        numbers = sorted(set(range(expected)) | set(slots[host]))
        cells += [(where[host], host, slots[host].get(i, f"{host}:{i}")) for i in numbers]
    return _layout(site, cells, row_of)


def _layout(site: Site, cells: list[tuple[str, str, str]], row_of: Mapping[str, str]) -> Layout:
    spans: dict[str, tuple[int, int]] = {}
    for i, (rack, _, _) in enumerate(cells):
        start, count = spans.get(rack, (i, 0))
        spans[rack] = (start, count + 1)
    rows: dict[str, list[tuple[str, int, int]]] = {}
    for rack, (start, count) in spans.items():
        rows.setdefault(row_of.get(rack, UNPLACED), []).append((rack, start, count))
    told = tuple((row, tuple(racks)) for row, racks in rows.items())
    gpus = tuple(gpu for _, _, gpu in cells)
    digest = hashlib.blake2b(repr((site.name, told, gpus)).encode(), digest_size=8).hexdigest()
    return Layout(told, gpus, tuple(rack for rack, _, _ in cells), tuple(host for _, host, _ in cells), digest)


def _number(value: Any) -> float | None:
    """Return a field's number, or None where the frame has none."""
    return None if value is None or pd.isna(value) else float(value)


def _edges(rows: Iterable[Mapping[str, Any]], relation: str) -> list[tuple[str, str, str]]:
    """Return (parent, kind, id) of each relation of that name."""
    return [(row["parent"], row["kind"], row["id"]) for row in rows if row["relation"] == relation]


def _ratings(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, float]:
    pairs = ((row["id"], _number(row[name])) for row in rows)
    return {key: value for key, value in pairs if value is not None}


def _named(rows: Iterable[Mapping[str, Any]], kind: str) -> list[str]:
    return sorted({row["id"] for row in rows if row["kind"] == kind}, key=natural)


def _of_kind(edges: Iterable[tuple[str, str, str]], parent: str, kind: str) -> tuple[str, ...]:
    return tuple(sorted({child for up, what, child in edges if up == parent and what == kind}, key=natural))


def _placed_racks(rows: list[dict[str, Any]], holds: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Return (rack, row) in natural order of row, then rack."""
    named_rows = set(_named(rows, "row"))
    parents = {child: up for up, kind, child in holds if kind == "rack" and up in named_rows}
    tagged = {row["id"]: row["row"] for row in rows if row["kind"] == "rack" and row["row"]}
    pairs = [(rack, parents.get(rack) or tagged.get(rack, "")) for rack in _named(rows, "rack")]
    return sorted(pairs, key=lambda pair: (natural(pair[1]), natural(pair[0])))


def _rack(
    name: str,
    row: str,
    holds: list[tuple[str, str, str]],
    cools: list[tuple[str, str, str]],
    rated: Mapping[str, float],
    flow: Mapping[str, float],
) -> Rack:
    hosts, shelves, pdus = (_of_kind(holds, name, kind) for kind in ("host", "shelf", "pdu"))
    cdu = _cooler(cools, name)
    return Rack(name, row, hosts, shelves, pdus, cdu, rated.get(name), flow.get(name))


def _cooler(cools: list[tuple[str, str, str]], rack: str) -> str:
    """Return the CDU of a rack: its own, else that of its loop."""
    above = next((up for up, kind, child in cools if kind == "rack" and child == rack), "")
    return next((up for up, kind, child in cools if kind == "loop" and child == above), above)


def _cooled(cools: list[tuple[str, str, str]], cdu: str) -> tuple[str, ...]:
    """Return the racks of a CDU: on it, and on its loops."""
    loops = _of_kind(cools, cdu, "loop")
    found = {rack for up in (cdu, *loops) for rack in _of_kind(cools, up, "rack")}
    return tuple(sorted(found, key=natural))


def _feed(name: str, rated: float | None, feeds: Mapping[str, tuple[str, ...]], racks: tuple[Rack, ...]) -> Feed:
    """Return a feed with what hangs on it, through whatever stands between."""
    below: dict[str, None] = {}
    waiting = [name]
    while waiting:
        for child in feeds.get(waiting.pop(), ()):
            if child not in below:
                below[child] = None
                waiting.append(child)
    fed = (r.name for r in racks if r.name in below or any(part in below for part in (*r.shelves, *r.pdus)))
    parts = {part for rack in racks for part in (*rack.shelves, *rack.pdus) if part in below}
    return Feed(name, rated, tuple(sorted(parts, key=natural)), tuple(fed))


def _shelves(rows: list[dict[str, Any]], racks: tuple[Rack, ...], rated: Mapping[str, float]) -> Mapping[str, Shelf]:
    held = [row for row in rows if row["kind"] in ("shelf", "pdu")]
    counts = _ratings(held, "expected_count")
    where = {part: rack.name for rack in racks for part in (*rack.shelves, *rack.pdus)}
    names = sorted({row["id"] for row in held}, key=natural)
    return MappingProxyType(
        {
            name: Shelf(name, where.get(name, ""), int(counts[name]) if name in counts else None, rated.get(name))
            for name in names
        }
    )


def _hosts(rows: list[dict[str, Any]], racks: tuple[Rack, ...]) -> tuple[Host, ...]:
    counts = _ratings([row for row in rows if row["kind"] == "host"], "expected_count")
    return tuple(Host(host, rack.name, int(counts.get(host, 0))) for rack in racks for host in rack.hosts)


def _switches(rows: list[dict[str, Any]]) -> Mapping[str, str]:
    """Return switch -> rack, in natural order: by its relation, else by its tag."""
    racks = set(_named(rows, "rack"))
    named = {row["id"]: row["rack"] for row in rows if row["kind"] == "switch"}
    held = {row["id"]: row["parent"] for row in rows if row["kind"] == "switch" and row["parent"] in racks}
    found = {**named, **held}
    return MappingProxyType({name: found[name] for name in sorted(found, key=natural)})


def _children(rows: Iterable[Mapping[str, Any]], relation: str) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for parent, _, child in _edges(rows, relation):
        found.setdefault(parent, set()).add(child)
    return MappingProxyType({up: tuple(sorted(ids, key=natural)) for up, ids in found.items()})
