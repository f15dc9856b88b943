"""What an agent's tables are asked for in a poll, and what of its answers becomes readings.

An address that the device never answered is told once and asked again only each `poll.slow`; one that it once answered
is asked for ever, and counted as missing where it does not come.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from collectors.decode import Batch
from collectors.poller import slot_ns
from collectors.profile import PointSpec, Poll
from collectors.series import Variables
from collectors.snmp.plan import Plan
from collectors.snmp.session import Value
from collectors.snmp.tables import AGENT, Address, Table, first_value
from storage.config import parse_duration

#: how many rows a line about missing instances names
NAMED_ROWS = 3

#: values of `switch.agent_state`
OK, PARTIAL, MISSING = range(3)


@dataclass(frozen=True, slots=True)
class Due:
    """Which readings a poll takes beside the fast ones."""

    medium: bool
    slow: bool


class Schedule:
    """When the slower readings of a device are due: on a grid of its own, lest all devices be searched at once."""

    def __init__(self, poll: Poll, name: str) -> None:
        self._medium_ns = parse_duration(poll.medium) // timedelta(microseconds=1) * 1000
        self._slow_ns = parse_duration(poll.slow) // timedelta(microseconds=1) * 1000
        self._name = name
        self._medium_at_ns: int | None = None
        self._slow_at_ns: int | None = None

    def due(self, time_ns: int) -> Due:
        """Return what is due at this poll."""
        slow = self._slow_at_ns is None or time_ns - self._slow_at_ns >= self._slow_ns
        medium = slow or self._medium_at_ns is None or time_ns - self._medium_at_ns >= self._medium_ns
        return Due(medium, slow)

    def done(self, due: Due, time_ns: int) -> None:
        """Note that a poll brought what was due."""
        if due.medium:
            self._medium_at_ns = slot_ns(self._name, self._medium_ns, time_ns)
        if due.slow:
            self._slow_at_ns = slot_ns(self._name, self._slow_ns, time_ns)

    def reset(self) -> None:
        """Make everything due with the next poll."""
        self._medium_at_ns = self._slow_at_ns = None


class Answers:
    """The tables of one device and what it is known to answer of them."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.plans = [Plan(table) for table in tables]
        #: whether the profile asks how much of the agent answers
        self.tells_state = any(a.oid == AGENT for t in tables for _, found in t.addresses for a in found)
        #: addresses that answered since start, that did not in this slow period, and that were told to be missing
        self._seen: set[Address] = set()
        self._absent: set[Address] = set()
        self._told: set[Address] = set()
        self._asked = self._answered = 0

    @property
    def knows_rows(self) -> bool:
        """Return whether rows were found of any table that the device must have."""
        needed = [plan for plan in self.plans if plan.needed]
        return not needed or any(plan.table.rows for plan in needed)

    def forget_absent(self) -> None:
        """Ask again for what was not there."""
        self._absent.clear()

    def instances(self, due: Due, *, anchored: bool | None = None) -> list[str]:
        """Return every instance of this poll once; with `anchored` those of tables that are (or are not) alone."""
        wanted: dict[str, None] = {}
        for plan in self.plans:
            specs = plan.table.due(due.slow, due.medium)
            if not specs or anchored not in (None, plan.table.each.anchored):
                continue
            wanted.update(dict.fromkeys(plan.required))
            for _, addresses in specs:
                for address in self._candidates(addresses):
                    wanted.update(dict.fromkeys(plan.instances(address)))
        wanted.pop(AGENT, None)
        return list(wanted)

    def decode(self, values: dict[str, Value], due: Due, batch: Batch, anchored: Batch) -> int:
        """Put the readings into their batches; return how much of the tables came: OK, PARTIAL or MISSING.

        Scalars come last: one of them is that very state.
        """
        self._asked = self._answered = 0
        tables = [plan for plan in self.plans if plan.table.each.columns]
        for plan in tables:
            self._decode(plan, values, due, anchored if plan.table.each.anchored else batch)
        state = self._state(tables)
        values[AGENT] = state
        for plan in self.plans:
            if not plan.table.each.columns:
                self._decode(plan, values, due, batch)
        return state

    def _state(self, tables: Sequence[Plan]) -> int:
        if tables and not self.knows_rows:
            return MISSING
        if self._answered == self._asked:
            return OK
        return PARTIAL if self._answered else MISSING

    def _candidates(self, addresses: tuple[Address, ...]) -> list[Address]:
        """Return the addresses to try, in order: none behind one that is known to answer, none known to be absent."""
        tried = []
        for address in addresses:
            if address not in self._absent:
                tried.append(address)
            if address in self._seen:
                break
        return tried

    def _decode(self, plan: Plan, values: Mapping[str, Value], due: Due, batch: Batch) -> None:
        table = plan.table
        specs = table.due(due.slow, due.medium)
        if not specs:
            return
        if not table.wanted():
            if table.each.columns and not table.each.optional:
                batch.miss(f"{table.group.points[0].to}: no rows at {', '.join(table.each.columns)}")
            return
        alive, rows, absent = plan.living(values)
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            batch.miss(f"{table.group.points[0].to}: no such instance at {absent[0]}{more}: rows unknown")
        dead = plan.dead(alive) if table.each.withhold else ()
        self._asked += len(absent)
        tried = [self._candidates(addresses) for _, addresses in specs]
        columns = [
            (spec, self._raws(plan, candidates, alive, values))
            for (spec, _), candidates in zip(specs, tried, strict=True)
        ]
        missed = batch.add_columns(table.group, rows, columns)
        for (spec, raws), candidates, silent in zip(columns, tried, missed, strict=True):
            known = any(address in self._seen for address in candidates)
            if table.each.columns and known:
                self._asked += len(raws)
                self._answered += len(raws) - len(silent)
            if silent:
                self._note_silence(spec, candidates, silent, len(raws), batch)
            if known and (silent or absent):
                batch.withhold(table.group, spec, silent or rows.variables)
            if dead:
                batch.withhold(table.group, spec, dead)

    def _raws(
        self, plan: Plan, candidates: Sequence[Address], alive: Sequence[int] | None, values: Mapping[str, Value]
    ) -> list[Value | None]:
        """Return a reading of each row that counts, None where it did not come."""
        if len(candidates) == 1 and candidates[0].pattern is None:
            instances = plan.instances(candidates[0])
            found = [values.get(oid) for oid in (instances if alive is None else [instances[n] for n in alive])]
            if candidates[0] not in self._seen and any(value is not None for value in found):
                self._seen.add(candidates[0])
            return found
        wanted = plan.table.wanted()
        rows = wanted if alive is None else [wanted[number] for number in alive]
        return [first_value(candidates, row, values, self._seen) for row in rows]

    def _note_silence(
        self, spec: PointSpec, candidates: Sequence[Address], silent: Iterable[Variables], rows: int, batch: Batch
    ) -> None:
        """Report missing instances; an address that never answered is told once and left alone for a while."""
        silent = list(silent)
        never = [address for address in candidates if address not in self._seen]
        fresh = not self._told.issuperset(candidates) or len(never) < len(candidates)
        if len(silent) == rows:
            self._absent.update(never)
        self._told.update(candidates)
        if candidates and fresh:
            named = ", ".join(index for row in silent[:NAMED_ROWS] if (index := dict(row).get("index", "")))
            where = f" for {len(silent)} of {rows} rows ({named})" if named else ""
            batch.miss(f"{spec.to}: no such instance at {' or '.join(a.oid for a in candidates)}{where}")
