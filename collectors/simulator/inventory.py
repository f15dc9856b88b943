"""The simulated site as an inventory: one row per relation, the columns of `inventory.csv`."""

import csv
import io
from collections.abc import Iterator, Mapping

from collectors.simulator.layout import Layout, Meter
from collectors.simulator.plant_faults import loop_of

COLUMNS = (
    "kind",
    "id",
    "parent",
    "relation",
    "model",
    "scope",
    "expected_count",
    "rated_watts",
    "rated_flow_liters_per_second",
)

Row = dict[str, str | int | float]


def write_inventory(layout: Layout, engines: Mapping[str, str]) -> str:
    """Return the CSV text; `engines` gives the target name of the inference server of each serving host."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(layout, engines))
    return text.getvalue()


def _rows(layout: Layout, engines: Mapping[str, str]) -> Iterator[Row]:
    yield _row("site", layout.site, "", "contains")
    for row in layout.rows:
        yield _row("row", row, layout.site, "contains")
    for meter in layout.meters:
        kind = "meter" if meter.scope else "feed"
        yield _row(kind, meter.name, layout.site, "contains", scope=meter.scope, rated_watts=meter.rated_watts)
    for feed in _feeds(layout):
        yield _row("feed", feed.name, _meter(layout), "feeds")
    for cdu in layout.cdus:
        yield _row("cdu", cdu.name, layout.site, "contains", rated_watts=cdu.rated_watts)
        yield _row("loop", loop_of(cdu.name), layout.site, "contains")
        yield _row("loop", loop_of(cdu.name), cdu.name, "cools")
    yield from _racks(layout)
    yield from _hosts(layout, engines)
    yield from _network(layout)


def _racks(layout: Layout) -> Iterator[Row]:
    for rack, shelf in zip(layout.racks, layout.shelves, strict=True):
        flow = round(rack.rated_flow_liters_per_second, 4)
        yield _row(
            "rack",
            rack.name,
            rack.row,
            "contains",
            scope="rack",
            expected_count=len(rack.hosts),
            rated_watts=rack.rated_watts,
            rated_flow_liters_per_second=flow,
        )
        yield _row("rack", rack.name, loop_of(rack.cdu), "cools")
        yield _row("rack", rack.name, shelf.name, "feeds")
        rated = len(shelf.units) * shelf.psu_rated_watts
        yield _row(
            "shelf", shelf.name, rack.name, "contains", scope="rack", expected_count=len(shelf.units), rated_watts=rated
        )
        for feed in _feeds(layout):
            yield _row("shelf", shelf.name, feed.name, "feeds")


def _hosts(layout: Layout, engines: Mapping[str, str]) -> Iterator[Row]:
    models = {host: deployment.model for deployment in layout.deployments for host in deployment.hosts}
    for host in layout.hosts:
        count = host.gpu_count
        yield _row("host", host.name, host.rack, "contains", model=host.gpu_model, expected_count=count)
        yield _row("host", host.name, host.switch, "uplinks")
        if host.name in engines:
            yield _row("engine", engines[host.name], host.name, "contains", model=models[host.name])


def _network(layout: Layout) -> Iterator[Row]:
    for pdu in layout.pdus:
        yield _row("rack", pdu.rack, "N", "contains", scope="rack", rated_watts=pdu.rated_watts)
        yield _row("rack", pdu.rack, pdu.name, "feeds")
        yield _row("pdu", pdu.name, pdu.rack, "contains", scope="rack", rated_watts=pdu.rated_watts)
        yield _row("pdu", pdu.name, _feeds(layout)[0].name, "feeds")
    stands = {pdu.name: pdu.rack for pdu in layout.pdus}
    for switch in layout.switches:
        yield _row("switch", switch.name, stands[switch.pdu], "contains")
        yield _row("switch", switch.name, switch.pdu, "feeds")


def _meter(layout: Layout) -> str:
    """Return the meter behind which both feeds stand."""
    return next(meter.name for meter in layout.meters if meter.scope == "it")


def _feeds(layout: Layout) -> tuple[Meter, ...]:
    """Return feed A and feed B."""
    return tuple(meter for meter in layout.meters if not meter.scope)


def _row(kind: str, name: str, parent: str, relation: str, **columns: str | int | float) -> Row:
    return {"kind": kind, "id": name, "parent": parent, "relation": relation, **columns}
