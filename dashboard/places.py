"""Where each series of the live tables belongs: GPU to cell, host and rack; engine to host; power source to rack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dashboard.kpis.power import RACK_SOURCES
from dashboard.kpis.windows import Floats, Ints
from dashboard.recent import Names, Recent
from dashboard.site import Layout, Site, place


@dataclass(frozen=True, slots=True)
class Places:
    """The floor, and where each GPU series stands on it. Kept while neither the site nor the GPUs' tags change."""

    site: Site
    tags: Mapping[str, Names]
    layout: Layout
    #: hosts of the floor, in the order of their cells; GPUs that each should have
    hosts: tuple[str, ...]
    gpus_of_host: Floats
    rack_of_host: tuple[str, ...]
    #: per GPU series: its cell, host (index into `hosts`); -1 for a GPU that stands nowhere any more
    cell: Ints
    host: Ints
    #: per cell: index of its GPU series, -1 for one never seen; its host
    series: Ints
    cell_host: Ints


def gpu_places(site: Site, gpu: Recent, old: Places | None) -> Places:
    """Return where the GPUs stand; the very same object while nothing changed."""
    if old is not None and old.site is site and old.tags is gpu.tags:
        return old
    expected = {host.name for host in site.hosts}
    present = np.zeros(gpu.count, dtype=bool)
    present[gpu.series] = True
    hosts = gpu.tags["host"]
    rows = [i for i in range(gpu.count) if present[i] or hosts[i] in expected]
    doubles = _doubles(np.flatnonzero(present).tolist(), hosts, gpu.tags["gpu_index"])
    # A board that answers takes the cell of one that is gone; one whose cell another that answers has, a free one.
    rows.sort(key=lambda i: (bool(present[i]), i in doubles))
    uuids = gpu.keys.to_numpy(dtype=object)
    named, on_host, in_rack = [[column[i] for i in rows] for column in (uuids, hosts, gpu.tags["rack"])]
    layout = place(site, named, on_host, in_rack, ["" if i in doubles else gpu.tags["gpu_index"][i] for i in rows])
    return _places(site, gpu, layout, uuids)


def _doubles(series: Sequence[int], hosts: Names, indexes: Names) -> set[int]:
    """Return those of the series that have host and index of an earlier one: each vendor counts its boards from 0."""
    seen: set[tuple[str, str]] = set()
    doubles = set[int]()
    for i in series:
        slot = (hosts[i], indexes[i])
        if indexes[i] and slot in seen:
            doubles.add(i)
        seen.add(slot)
    return doubles


def _places(site: Site, gpu: Recent, layout: Layout, uuids: Names) -> Places:
    names = tuple(dict.fromkeys(layout.hosts))
    number = {name: i for i, name in enumerate(names)}
    cell_host = np.array([number[host] for host in layout.hosts], dtype=np.int64)
    rack_of = dict(zip(layout.hosts, layout.racks, strict=True))
    series_of = {uuid: i for i, uuid in enumerate(uuids)}
    series = np.array([series_of.get(name, -1) for name in layout.gpus], dtype=np.int64)
    cell = np.full(gpu.count, -1, dtype=np.int64)
    cells = np.flatnonzero(series >= 0)
    cell[series[cells]] = cells
    host = np.where(cell >= 0, cell_host[np.maximum(cell, 0)] if len(cell_host) else -1, -1)
    counts = np.bincount(cell_host, minlength=len(names)).astype(np.float64)
    racks = tuple(rack_of[name] for name in names)
    return Places(site, gpu.tags, layout, names, counts, racks, cell, host, series, cell_host)


def engine_hosts(site: Site, inference: Recent, hosts: Sequence[str]) -> Ints:
    """Return the host of each inference series as an index into `hosts`; -1 where it is not known.

    The series' own tag `host` wins over the inventory.
    """
    number = {name: i for i, name in enumerate(hosts)}
    tagged, endpoints = inference.tags["host"], inference.tags["endpoint"]
    named = (host or site.engines.get(endpoint, "") for host, endpoint in zip(tagged, endpoints, strict=True))
    return np.array([number.get(host, -1) for host in named], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class PowerPlaces:
    """What each power series is the input of."""

    #: index into the site's racks, -1 for none
    rack: Ints
    #: index into RACK_SOURCES, -1 for what is no source of rack power
    source: Ints
    #: index into the hosts of the floor for node meters, -1 for the rest
    host: Ints
    #: meter scope: node, rack, it, facility, or ""
    meter: npt.NDArray[np.object_]
    #: racks x sources: how many devices the inventory expects
    expected: Floats


def power_places(site: Site, tags: Mapping[str, Names], hosts: Sequence[str]) -> PowerPlaces:
    """Return what each whole-device input is the input of; `tags`: rack, device, kind, host, scope per series."""
    rack_number = {rack.name: i for i, rack in enumerate(site.racks)}
    owner = {part: i for i, rack in enumerate(site.racks) for part in (*rack.shelves, *rack.pdus, rack.name)}
    host_number = {name: i for i, name in enumerate(hosts)}
    kinds = {kind: i for i, kind in enumerate(RACK_SOURCES)}
    columns = zip(tags["rack"], tags["device"], tags["kind"], tags["host"], tags["scope"], strict=True)
    rack, source, host, meter = [], [], [], []
    for in_rack, device, kind, on_host, scope in columns:
        rack.append(rack_number.get(in_rack, owner.get(device, -1)))
        source.append(kinds.get(kind, -1))
        host.append(host_number.get(on_host or device, -1) if kind == "node" else -1)
        meter.append((site.meters.get(device) or scope) if kind == "meter" else "")
    expected = np.array([[len(r.shelves), len(r.pdus), 0] for r in site.racks], dtype=np.float64)
    return PowerPlaces(
        np.array(rack, dtype=np.int64),
        np.array(source, dtype=np.int64),
        np.array(host, dtype=np.int64),
        np.array(meter, dtype=object),
        expected.reshape(len(site.racks), len(RACK_SOURCES)),
    )
