"""The counters of an agent's tables on their way to points: unwrapped, their resets told (`collectors/unwrap.py`)."""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field

from collectors.row_rules import Row
from collectors.snmp_plan import Plan
from collectors.snmp_session import Value
from collectors.unwrap import BootClock, Reset, Scope, Unwrap
from storage.schema import MEASUREMENTS

#: columns that a text of a reset names
NAMED = 3


@dataclass(slots=True)
class _Row:
    """A row of the device, whichever tables read of it: its name, its instances, and the field that each is of."""

    interface: str
    oids: list[str] = field(default_factory=list)
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
        self._boot = BootClock()
        self._rows: dict[str, _Row] = {}
        self._narrow: set[str] = set()
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
                    oids = plan.instances(address)
                    self._narrow.update(oids if spec.wrap == 32 else ())
                    for row, oid in zip(plan.table.wanted(), oids, strict=True):
                        self._add(plan, row, oid, spec.to)

    def take(self, values: MutableMapping[str, Value], boot_ticks: int | None, now_s: float) -> list[ResetEvent]:
        """Replace the counters among `values` by what is to be written; return what began anew.

        `boot_ticks` is the device's boot clock in 1/100 s, None where it has none.
        """
        unwrap = self._unwrap
        unwrap.begin(self._boot.booted(boot_ticks, now_s))
        for key, row in self._rows.items():
            raw = {oid: value for oid in row.oids if type(value := values.get(oid)) is int}
            if raw:
                written = unwrap.take(key, raw, self._narrow, now_s)
                if written is not raw:
                    values.update(written)
        scope, resets = unwrap.finish()
        events = self._events(scope, resets) if resets else []
        self.resets += len(events)
        return events

    def _add(self, plan: Plan, row: Row | None, oid: str, to: str) -> None:
        # Tables over the same columns read of the same rows: ports, whose packets and errors stand in different tables.
        key = f"{plan.table.each.columns} {row['index']}" if row else ""
        known = self._rows.setdefault(key, _Row(row.get("interface", "") if row else ""))
        if oid not in known.fields:
            known.oids.append(oid)
            known.fields[oid] = to

    def _events(self, scope: Scope, resets: list[Reset]) -> list[ResetEvent]:
        if scope == "device":
            return [ResetEvent("", f"counters of {len(resets)} rows began anew")]
        events: dict[str, ResetEvent] = {}
        for reset in resets:
            row = self._rows[reset.row]
            names = list(dict.fromkeys(row.fields[oid] for oid in reset.columns))
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            text = f"{', '.join(names[:NAMED])}{more} began anew"
            events.setdefault(row.interface, ResetEvent(row.interface, text))
        return list(events.values())
