"""One poll of a Modbus device: unit by unit, what came and what did not."""

import asyncio
from collections.abc import Collection, Iterable, Sequence

from collectors.collector import CollectError
from collectors.decode import Batch
from collectors.modbus.address import Address, decode
from collectors.modbus.client import Connection, FailedSpanError, NoTimeError, RefusedSpanError
from collectors.modbus.plan import Row, Setting, Span, Unit, halve
from collectors.profile import PointSpec

_BACK_OFF_LIMIT_S = 60.0
#: what is said of a unit that has nothing of what is asked for
REFUSES = "refuses all its registers"

_Job = tuple[Row, Setting | Span]


class Reader:
    """Read units into a batch until the deadline; a unit that fails keeps what is left of it, to be asked again."""

    def __init__(
        self, connection: Connection, batch: Batch, deadline: float, word_order: str, summed: Collection[str]
    ) -> None:
        """`summed`: the fields that a sum needs, of which nothing may be left out in silence."""
        self._connection = connection
        self._batch = batch
        self._deadline = deadline
        self._word_order = word_order
        self._summed = summed
        self._jobs: dict[int, list[_Job]] = {}
        self._errors: dict[int, CollectError] = {}
        #: groups that are read of one unit alone, and were; what others lacked of them
        self._once: set[int] = set()
        self._spare: dict[tuple[int, int], tuple[Row, PointSpec, str]] = {}
        #: units that gave something
        self._gave: set[int] = set()
        #: why there is no connection any more
        self._down: CollectError | None = None
        #: units that answered to the end
        self.answered = 0

    @property
    def error(self) -> CollectError | None:
        """Return what went wrong first, or None."""
        return next(iter(self._errors.values()), None)

    @property
    def left_s(self) -> float:
        """Return what time this poll has left. Units: s."""
        return self._deadline - now()

    async def read(self, unit: Unit, rows: Iterable[Row] = ()) -> bool:
        """Read these rows of a unit, and what an earlier call left of it; return whether it answered to the end."""
        jobs = self._jobs.setdefault(unit.number, [])
        for row in rows:
            if id(row.group) in self._once:
                continue
            self._note(row, (spec for spec in row.lacking if spec.to in self._summed), "illegal address")
            jobs += [(row, setting) for setting in row.settings]
            jobs += [(row, span) for span in row.spans()]
        failed: CollectError | None = None
        self._errors.pop(unit.number, None)
        while jobs:
            try:
                if id(jobs[0][0].group) not in self._once:
                    await self._do(unit, *jobs[0])
                self._gave.add(unit.number)
            except FailedSpanError as e:
                failed = e
                self._miss([jobs[0]], e)
            except CollectError as e:
                self._errors[unit.number] = e
                return False
            jobs.pop(0)
        if failed is not None and unit.number not in self._gave:
            self._errors[unit.number] = failed
            return False
        self.answered += 1
        if unit.present and all(row.refuses_all for row in unit.present):
            # A device that starts refuses all that it has; in ten minutes it is long since up.
            for row in unit.present:
                row.reset()
            _rest(unit, REFUSES)
            return True
        unit.failures = 0
        for row in unit.present:
            row.is_slow_due = row.is_slow_due and failed is not None
            if row.is_once:
                self._once.add(id(row.group))
        return True

    def leave(self, unit: Unit) -> None:
        """Leave a silent unit alone in this poll: all of it is missing."""
        why = f"{unit.why} in {unit.failures} polls in a row"
        for row in unit.present:
            self._note(row, (reading.spec for span in row.spans() for reading in span.readings), why)

    def close(self, units: Iterable[Unit]) -> None:
        """Note what is missing of the units that failed; leave those alone for a while that had their chance."""
        for unit in units:
            error = self._errors.get(unit.number)
            unit.was_late = isinstance(error, NoTimeError)
            if error is None:
                continue
            self._miss(self._jobs.get(unit.number, ()), error)
            if error is not self._down and not unit.was_late:
                _rest(unit, "silent")
        for row, spec, why in self._spare.values():
            if id(row.group) not in self._once:
                self._batch.miss(_missing(row, spec, why), row.group, spec, row.variables)

    async def ask(self, unit: Unit, address: Address) -> Sequence[int]:
        """Return the values at one address.

        Raises:
            RefusedSpanError: the unit has not all of them.
            CollectError: no connection, no answer, an answer to something else, or no time.
        """
        left = self.left_s
        if left <= 0:
            raise NoTimeError(f"{self._connection.where}: unit {unit.number} {address}: no time left in this poll")
        await self._open(left)
        return await self._connection.read(unit.number, address, left)

    async def _open(self, left: float) -> None:
        if self._down is None:
            try:
                await self._connection.open(left)
            except CollectError as e:
                self._down = e
        if self._down is not None:
            raise self._down

    async def _do(self, unit: Unit, row: Row, what: Setting | Span) -> None:
        if isinstance(what, Span):
            await self._read_span(unit, row, what)
            return
        if not row.is_slow_due:
            return
        try:
            values = await self.ask(unit, what.address)
        except RefusedSpanError:
            row.settings.remove(what)
            return
        row.set(what.name, what.value(decode(values, what.address, what.type, self._word_order)))

    async def _read_span(self, unit: Unit, row: Row, span: Span) -> None:
        address = span.address
        try:
            values = await self.ask(unit, address)
        except RefusedSpanError:
            await self._split(unit, row, span)
            return
        for reading in span.readings:
            here = reading.address
            part = values[here.start - address.start : here.start - address.start + here.count]
            self._batch.add(
                row.group, reading.spec, decode(part, here, reading.spec.type, self._word_order), row.variables
            )

    async def _split(self, unit: Unit, row: Row, span: Span) -> None:
        """Replace a refused span by what is left to try of it, and read that now."""
        parts = halve(span)
        row.replace(span, parts)
        for spec in (reading.spec for reading in span.readings if not parts):
            if row.refuse(spec) or spec.to in self._summed:
                self._note(row, [spec], "illegal address")
        # What stands behind it in the queue is put off, so that a failure leaves no part out.
        jobs = self._jobs[unit.number]
        jobs[1:1] = [(row, part) for part in parts]

    def _miss(self, jobs: Iterable[_Job], error: CollectError) -> None:
        why = str(error).removeprefix(f"{self._connection.where}: ").rpartition(": ")[2]
        for row, what in jobs:
            if isinstance(what, Span):
                self._note(row, (reading.spec for reading in what.readings), why)

    def _note(self, row: Row, specs: Iterable[PointSpec], why: str) -> None:
        for spec in specs:
            if row.is_once:
                self._spare[id(row.group), id(spec)] = (row, spec, why)
            else:
                self._batch.miss(_missing(row, spec, why), row.group, spec, row.variables)

    def wait_for(self, row: Row) -> None:
        """Note a row that is not known yet: no sum may leave it out. For the rest of it one line speaks."""
        summed = [spec for spec in row.group.points if spec.to in self._summed]
        self._note(row, summed or row.group.points[:1], "not asked yet")


def _rest(unit: Unit, why: str) -> None:
    """Leave a unit alone for a while: 1, 2, 4 .. 60 s."""
    unit.failures += 1
    unit.why = why
    unit.retry_at = now() + min(_BACK_OFF_LIMIT_S, 2.0 ** min(unit.failures - 1, 10))


def _missing(row: Row, spec: PointSpec, why: str) -> str:
    return f"unit {row.unit} {spec.addresses[0]}: {why}"


def now() -> float:
    """Return the loop's time. Units: s."""
    return asyncio.get_running_loop().time()
