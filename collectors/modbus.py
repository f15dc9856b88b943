"""Modbus TCP: power shelves, coolant distribution units and meters, each polled through one connection.

Only function codes 1 to 4 (read coils, discrete inputs, holding registers, input registers) ever leave, and one request
at a time, because most gateways serve a serial line behind it.

How a profile with `protocol: modbus` is read:

transport:
    max_span: 60       most registers in one request (the protocol allows 125)
    gap: 4             neighbours up to this many unused registers apart share a request
    word_order: big    `little`: the low word of u32 i32 u64 f32 comes first
    timeout: 1s        time-out of one request
    retries: 1         repetitions of a request that timed out, for a unit that answered the last time
each:
    {units: [208, 209], as: psu, probe: "holding:79"}
    One row per unit id; the row variable `psu` (default `unit`) holds the id. With `probe` the rows are the units that
    answer a read of that register, asked at the first poll and again each `poll.slow`. Until the first round is done,
    a unit not yet asked is missing, so that no sum is too small; afterwards a unit that never answered is no part of
    the device, and one that did answer and is silent now is missing. Without `probe` each unit is expected. An empty
    `each` is unit 1.
at:
    "holding:79", "input:30", "discrete:2", "coil:7": zero-based numbers as sent on the wire. A `string` carries its
    length in registers: "holding:24:16". Coils and discrete inputs give 0 or 1. Of several addresses, the first that
    the unit has.
type:
    u16 i16 u32 i32 u64 f32 string
match:
    {units: [208], at: "holding:79", type: u16, min: 1, max: 65534}: one of these units answers with a plausible value.

A span that the unit refuses (exceptions 1, 2, 3) is halved until its readings stand alone; the split is remembered. A
reading that it refuses alone is missing in that poll, afterwards only where a sum needs it.
A silent unit is left alone for 1, 2, 4 .. 60 s, and a poll ends in time with what it has.

Source: Modbus Application Protocol V1.1b3; `facebook/openbmc` rackmon for the practice of probing unit ids.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collectors.collector import CollectError, Collector, DeviceRefusedError, DeviceTimeoutError, PollResult, Target
from collectors.decode import Batch
from collectors.modbus_client import Address, Connection, RefusedSpanError, decode, parse_address
from collectors.profile import Group, PointSpec, Profile
from storage.config import ConfigError, Problem, parse_duration

#: part of the target's time-out that a poll uses, so that what came is still handed on
_BUDGET = 0.9
_BACK_OFF_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Reading:
    """One point of a group and the addresses that are left to try for it."""

    spec: PointSpec
    addresses: tuple[Address, ...]

    @property
    def address(self) -> Address:
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class _Span:
    """Readings that share one request, in the order of their addresses."""

    readings: tuple[_Reading, ...]

    @property
    def address(self) -> Address:
        first = self.readings[0].address
        end = max(r.address.start + r.address.count for r in self.readings)
        return Address(first.function, first.start, end - first.start)


@dataclass(slots=True)
class _Row:
    """One unit as one group sees it."""

    group: Group
    unit: int
    variables: Mapping[str, str]
    probe: Address | None
    fast: list[_Span]
    slow: list[_Span]
    #: readings that the unit refused
    lacking: list[PointSpec] = field(default_factory=list)
    #: None: not asked yet
    present: bool | None = None
    failures: int = 0
    #: loop time before which a silent unit is left alone
    retry_at: float = 0.0


def _make_spans(readings: Iterable[_Reading], max_span: int, gap: int) -> list[_Span]:
    spans: list[_Span] = []
    for reading in sorted(readings, key=lambda r: (r.address.function, r.address.start)):
        here = reading.address
        last = spans[-1].address if spans else None
        if (
            last is not None
            and last.function == here.function
            and here.start - (last.start + last.count) <= gap
            and here.start + here.count - last.start <= max_span
        ):
            spans[-1] = _Span((*spans[-1].readings, reading))
        else:
            spans.append(_Span((reading,)))
    return spans


def _make_rows(profile: Profile, max_span: int, gap: int) -> list[_Row]:
    problems: list[Problem] = []
    rows: list[_Row] = []
    for index, group in enumerate(profile.groups):
        try:
            rows += _group_rows(group, max_span, gap)
        except (ValueError, TypeError) as e:
            problems.append(Problem(f"{profile.profile}.yaml", 0, f"groups[{index}]", str(e)))
    if problems:
        raise ConfigError(problems)
    return rows


def _group_rows(group: Group, max_span: int, gap: int) -> list[_Row]:
    each = group.each
    if unknown := set(each) - {"units", "as", "probe"}:
        raise ValueError(f"each: {', '.join(sorted(unknown))} unknown; a Modbus group has units, as, probe")
    probe = parse_address(str(each["probe"]), "u16") if "probe" in each else None
    readings = [_Reading(p, tuple(parse_address(a, p.type) for a in p.addresses)) for p in group.points]
    fast = _make_spans((r for r in readings if r.spec.every == "fast"), max_span, gap)
    slow = _make_spans((r for r in readings if r.spec.every == "slow"), max_span, gap)
    name = str(each.get("as", "unit"))
    return [
        _Row(group, int(unit), {name: str(unit)}, probe, list(fast), list(slow), present=None if probe else True)
        for unit in each.get("units", [1])
    ]


class ModbusCollector:
    """Poll the units behind one Modbus TCP address."""

    def __init__(self, target: Target, profile: Profile) -> None:
        self._target = target
        self._profile = profile
        options: Mapping[str, Any] = {**profile.transport, **target.options}
        self._word_order = str(options.get("word_order", "big"))
        self._budget_s = target.timeout.total_seconds() * _BUDGET
        try:
            self._retries = int(options.get("retries", 1))
            self._timeout_s = min(parse_duration(options.get("timeout", "1s")).total_seconds(), self._budget_s / 2)
            max_span, gap = int(options.get("max_span", 60)), int(options.get("gap", 4))
        except ValueError as e:
            raise ConfigError([Problem(f"{profile.profile}.yaml", 0, "transport", f"{target.name}: {e}")]) from e
        self._slow_s = parse_duration(profile.poll.slow).total_seconds()
        self._rows = _make_rows(profile, max_span, gap)
        #: a sum must not be made without one of its parts, whatever the reason
        self._summed = {rule.to for rule in profile.derived if rule.sum is not None}
        self._connection = Connection(target, self._timeout_s)
        self._deadline = 0.0
        self._next_slow = 0.0
        #: every unit id was asked once
        self._is_explored = False

    async def poll(self, time_ns: int) -> PollResult:
        """Read each unit's registers once and return the points.

        Raises:
            CollectError: not connected, or no unit answered.
        """
        now = _now()
        self._deadline = now + self._budget_s
        await self._connection.open()
        is_slow = now >= self._next_slow
        if is_slow:
            self._next_slow = now + self._slow_s
            for row in self._rows:
                row.present = row.present or None
        batch = Batch(self._target, self._profile)
        error = await self._poll_known(batch, is_slow)
        if error is not None:
            self._connection.close()
            raise error
        return batch.finish(time_ns)

    async def aclose(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def _poll_known(self, batch: Batch, is_slow: bool) -> CollectError | None:
        """Read all rows, those that answer first; return why nothing came, or None."""
        answered, error = 0, None
        for row in sorted((r for r in self._rows if r.present), key=lambda r: r.failures):
            failed = await self._read_row(row, batch, is_slow)
            answered += failed is None
            error = error or failed
        for row in await self._explore():
            answered += await self._read_row(row, batch, True) is None
        for row in self._rows:
            if row.present is None and not self._is_explored:
                self._miss(row, row.group.points, batch, "not asked yet")
        self._is_explored = self._is_explored or all(row.present is not None for row in self._rows)
        if answered or not self._is_explored:
            return None
        return error or self._nobody()

    def _nobody(self) -> CollectError:
        units = sorted({row.unit for row in self._rows})
        return DeviceTimeoutError(
            f"{self._target.name} {self._target.address}: none of the {len(units)} units {units[0]} to {units[-1]} "
            f"of profile {self._profile.profile} answers"
        )

    async def _explore(self) -> list[_Row]:
        """Ask the units not known yet and return those that answer.

        The first round takes what time the poll has left; later rounds end for this poll at the first silent unit.
        """
        found: list[_Row] = []
        for row in self._rows:
            if row.probe is None or row.present is not None:
                continue
            if self._deadline - _now() < self._timeout_s:
                break
            try:
                await self._connection.read(row.unit, row.probe, self._deadline - _now())
                row.present = True
                found.append(row)
            except DeviceTimeoutError:
                row.present = False
                if self._is_explored:
                    break
            except DeviceRefusedError:
                raise
            except (CollectError, RefusedSpanError):
                row.present = False
        return found

    async def _read_row(self, row: _Row, batch: Batch, is_slow: bool) -> CollectError | None:
        """Read one unit's spans into the batch; return why the unit gave nothing, or None."""
        spans = [*row.fast, *row.slow] if is_slow else list(row.fast)
        done: set[int] = set()
        self._miss(row, (spec for spec in row.lacking if spec.to in self._summed), batch, "illegal address")
        error: CollectError | None = None
        if _now() < row.retry_at:
            error = DeviceTimeoutError(f"{self._name(row)}: silent")
        for span in spans:
            if error is not None:
                break
            try:
                await self._read_span(row, span, batch)
                done.add(id(span))
            except DeviceRefusedError:
                raise
            except CollectError as e:
                error = e
                row.failures += 1
                row.retry_at = _now() + min(_BACK_OFF_LIMIT_S, 2.0 ** (row.failures - 1))
        if error is None:
            row.failures = 0
            return None
        left = [reading.spec for span in spans if id(span) not in done for reading in span.readings]
        self._miss(row, left, batch, str(error))
        return error

    async def _read_span(self, row: _Row, span: _Span, batch: Batch) -> None:
        address = span.address
        try:
            values = await self._read(row, address)
        except RefusedSpanError:
            await self._split(row, span, batch)
            return
        for reading in span.readings:
            here = reading.address
            part = values[here.start - address.start : here.start - address.start + here.count]
            raw = decode(part, here, reading.spec.type, self._word_order)
            batch.add(row.group, reading.spec, raw, row.variables)

    async def _read(self, row: _Row, address: Address) -> Sequence[int]:
        # A unit that was silent the last time gets one chance only: its neighbours are waiting.
        for _ in range(0 if row.failures else self._retries):
            try:
                return await self._connection.read(row.unit, address, self._left(row, address))
            except DeviceTimeoutError:
                continue
        return await self._connection.read(row.unit, address, self._left(row, address))

    def _left(self, row: _Row, address: Address) -> float:
        left = self._deadline - _now()
        if left <= 0:
            raise DeviceTimeoutError(f"{self._name(row)} {address}: no time left in this poll")
        return left

    async def _split(self, row: _Row, span: _Span, batch: Batch) -> None:
        """Replace a refused span by its halves, or its single reading by that reading's next address."""
        spans = row.fast if span in row.fast else row.slow
        at = spans.index(span)
        readings = span.readings
        if len(readings) > 1:
            middle = len(readings) // 2
            parts = [_Span(readings[:middle]), _Span(readings[middle:])]
        elif len(readings[0].addresses) > 1:
            parts = [_Span((_Reading(readings[0].spec, readings[0].addresses[1:]),))]
        else:
            parts = []
            row.lacking.append(readings[0].spec)
            self._miss(row, [readings[0].spec], batch, "illegal address")
        spans[at : at + 1] = parts
        for part in parts:
            await self._read_span(row, part, batch)

    def _miss(self, row: _Row, specs: Iterable[PointSpec], batch: Batch, why: str) -> None:
        for spec in specs:
            batch.miss(f"unit {row.unit} {spec.at}: {why}", row.group, spec, row.variables)

    def _name(self, row: _Row) -> str:
        return f"{self._target.name} {self._target.address}: unit {row.unit}"


def _now() -> float:
    return asyncio.get_running_loop().time()


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one Modbus TCP device; nothing is opened yet.

    Raises:
        ConfigError: addresses or types in the profile that Modbus does not have.
    """
    if profile is None:
        raise ValueError(f"{target.name}: a Modbus target needs a profile")
    return ModbusCollector(target, profile)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Return the first profile one of whose `match` units answers with a plausible value.

    Raises:
        CollectError: no connection, or none fits; the message names the profiles tried.
    """
    connection = Connection(target, min(1.0, target.timeout.total_seconds()))
    await connection.open()
    try:
        for profile in candidates:
            if profile.match and await _fits(connection, profile):
                return profile
    finally:
        connection.close()
    names = ", ".join(profile.profile for profile in candidates)
    raise CollectError(f"{target.name} {target.address}: fits none of the profiles {names}; name one in the target")


async def _fits(connection: Connection, profile: Profile) -> bool:
    match = profile.match
    type_ = str(match.get("type", "u16"))
    address = parse_address(str(match["at"]), type_)
    for unit in match["units"]:
        try:
            values = await connection.read(int(unit), address, 1.0)
        except DeviceRefusedError:
            raise
        except (CollectError, RefusedSpanError):
            continue
        raw = decode(values, address, type_, str(profile.transport.get("word_order", "big")))
        return isinstance(raw, int | float) and match.get("min", raw) <= raw <= match.get("max", raw)
    return False
