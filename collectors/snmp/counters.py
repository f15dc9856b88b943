"""The counters of an agent's tables on their way to points: unwrapped, their resets told (`collectors/unwrap.py`)."""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field

from collectors.row_rules import Row
from collectors.snmp.plan import Plan
from collectors.snmp.session import Value
from collectors.unwrap import Reset, Scope, Unwrap, describe, modulus
from storage.schema import MEASUREMENTS


@dataclass(slots=True)
class _Row:
    """A row of the device, whichever tables read of it: its name, its instances, what each is of, and its field.

    A counter goes by its row's name and its column, so that it stays itself where the device numbers its rows anew.
    """

    interface: str
    columns: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResetEvent:
    """Counters of a port, or of the whole device (`interface` is empty), that began anew."""

    interface: str
    text: str


class Counters:
    """The counters of one device."""

    def __init__(self, interval_s: float) -> None:
        """`interval_s` is the time between polls. Units: s."""
        self._unwrap = Unwrap(interval_s)
        self._rows: dict[str, _Row] = {}
        #: column -> raw value at which it begins anew
        self._narrow: dict[str, int] = {}
        #: resets since start
        self.resets = 0

    def prepare(self, plans: Iterable[Plan]) -> None:
        """Take the rows of a new search."""
        self._rows.clear()
        self._narrow.clear()
        for plan in plans:
            for spec, addresses in plan.table.addresses:
                measurement, _, name = spec.to.partition(".")
                if MEASUREMENTS[measurement].fields[name].kind != "counter":
                    continue
                for address in addresses:
                    column = f"{address.oid} {address.times}"
                    if spec.wrap:
                        self._narrow[column] = modulus(spec.wrap)
                    for row, oid in zip(plan.table.wanted(), plan.instances(address), strict=True):
                        self._add(plan, row, oid, column, spec.to)

    def take(self, values: MutableMapping[str, Value], booted: bool, now_s: float) -> list[ResetEvent]:
        """Replace the counters among `values` by what is to be written; return what began anew.

        `booted` says that the device booted since the last poll.
        """
        unwrap = self._unwrap
        unwrap.begin(booted)
        for key, row in self._rows.items():
            raw = {column: value for oid, column in row.columns.items() if type(value := values.get(oid)) is int}
            if raw:
                written = unwrap.take(key, raw, self._narrow, now_s)
                if written is not raw:
                    values.update({oid: written[column] for oid, column in row.columns.items() if column in written})
        scope, resets = unwrap.finish()
        events = self._events(scope, resets) if resets else []
        self.resets += len(events)
        return events

    def _add(self, plan: Plan, row: Row | None, oid: str, column: str, to: str) -> None:
        # Tables over the same columns read of the same rows: ports, whose packets and errors stand in different tables.
        own = row.get("interface") or row["index"] if row else ""
        key = f"{plan.table.each.columns} {own}" if row else ""
        known = self._rows.setdefault(key, _Row(row.get("interface", "") if row else ""))
        known.columns.setdefault(oid, column)
        known.fields.setdefault(column, to)

    def _events(self, scope: Scope, resets: list[Reset]) -> list[ResetEvent]:
        if scope == "device":
            return [ResetEvent("", f"counters of {len(resets)} rows began anew")]
        events: dict[str, ResetEvent] = {}
        for reset in resets:
            row = self._rows[reset.row]
            text = describe(row.fields[column] for column in reset.columns if column in row.fields)
            events.setdefault(row.interface, ResetEvent(row.interface, text))
        return list(events.values())
