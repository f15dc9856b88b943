"""Modbus TCP: power shelves, coolant distribution units and meters, each polled through one connection.

Only function codes 1 to 4 (read coils, discrete inputs, holding registers, input registers) ever leave, and one request
at a time, because most gateways serve a serial line behind it. Targets of the same host:port share one connection and
take turns, request by request, whatever their profiles are.

How a profile with `protocol: modbus` is read:

transport:
    max_span: 60       most registers in one request (the protocol allows 125)
    gap: 4             neighbours up to this many unused registers apart share a request
    word_order: big    which word of a value over several registers comes first: big (the high one), little; with
                       `_swapped` the bytes of each word change places too. A point has its own as `type: f32-little`
    timeout: 1s        time-out of one request
    retries: 1         repetitions of a request that failed, once the other units were asked
    pause: 20ms        quiet between an answer and the next request, for slow gateways (none)
    after_timeout: reconnect   a late answer can then never be taken for another; `keep` the connection of a gateway
                       that allows few
each:
    {units: [208, 209], as: psu, probe: "holding:79", settings: {feed: {at: "input:9", map: {1: A, 2: B}}}}
    One row per unit id; the row variable `psu` (default `unit`) holds the id. With `probe` the rows are the units that
    answer a read of that register, asked at the first poll and again each `poll.slow`. Until the first round is done,
    a unit not yet asked is missing, so that no sum is too small; afterwards a unit that never answered is no part of
    the device, and one that did answer and is silent now is missing. Without `probe` each unit is expected. An empty
    `each` is unit 1; the target's `unit` (`modbus://host:502?unit=7`) takes the place of a profile's only unit id.
    With `once: true` the readings are the device's, and each unit could tell them: the first that answers does.
    `settings` are registers of the unit, read each `poll.slow` before anything else, that become row variables: the
    number, or what `map` says for it (a number that `map` lacks leaves the variable out).
at:
    "holding:79", "input:30", "discrete:2", "coil:7": zero-based numbers as sent on the wire. A `string` carries its
    length in registers: "holding:24:16". "holding:60.8" is bit 8 of that register, 0 or 1, "holding:60.4-7" the number
    in bits 4 to 7; bit 0 is the lowest. Coils and discrete inputs give 0 or 1. Of several addresses, the first that
    the unit has.
type:
    u16 i16 u32 i32 u64 i64 f32 f64 string
match:
    {units: [208], at: "holding:79", type: u16, min: 1, max: 65534, and: [{at: "holding:8:8", type: string, text: "A*"},
    {at: "input:1", min: 1, not: true}]}
    The first of these units that answers there fulfils all conditions: a raw value within limits, a text by pattern;
    `not`: it does not, or has no such register.

A span that the unit refuses (exceptions 1, 2, 3) is halved until its readings stand alone; the split is remembered. A
reading that it refuses alone is missing in that poll, afterwards only where a sum needs it; it is tried again each ten
minutes.
A unit that does not answer (silence, exceptions 10 and 11, a lost connection, an answer to something else) costs its
neighbours one time-out in that poll: it is asked again after them, and then left alone for 1, 2, 4 .. 60 s; of those
whose time has come, one is asked per poll until it answers. So is one that refuses everything: it may be starting.
A poll ends in time with what it has; the next begins with the units that it had no time for.

Source: Modbus Application Protocol V1.1b3; `facebook/openbmc` rackmon for the practice of probing unit ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collectors.collector import CollectError, Collector, DeviceRefusedError, DeviceTimeoutError, PollResult, Target
from collectors.decode import Batch
from collectors.modbus.address import Address
from collectors.modbus.check import TRANSPORT, UNIT_IDS, check_profile
from collectors.modbus.client import Connection, FailedSpanError, RefusedSpanError, UnreachedError, Wire
from collectors.modbus.gateway import Gateway, Gateways
from collectors.modbus.identify import find
from collectors.modbus.plan import Row, Unit, make_units, only_unit
from collectors.modbus.reader import REFUSES, Reader, now
from collectors.profile import Profile, refuse_mistakes
from collectors.timing import first_period_s
from storage.config import InvalidValueError, parse_duration

__all__ = ["ModbusCollector", "check_profile", "identify", "make_shared", "open_collector"]

#: part of the target's time-out that a poll uses, so that what came is still handed on
_BUDGET = 0.9
#: what a unit refused is asked for again after that long, with the slow readings
_RESTORE_S = 600.0


class ModbusCollector:
    """Poll the units behind one Modbus TCP address."""

    def __init__(self, target: Target, profile: Profile, gateway: Gateway | None = None) -> None:
        self._target = target
        self._profile = profile
        options = _options(target, profile)
        self._budget_s = target.timeout.total_seconds() * _BUDGET
        self._timeout_s = min(options.get("timeout", 1.0), self._budget_s / 2)
        self._slow_s = parse_duration(profile.poll.slow).total_seconds()
        self._until_slow_s = first_period_s(target.name, self._slow_s)
        self._retries: int = options.get("retries", 1)
        self._word_order: str = options.get("word_order", "big")
        self._units = make_units(
            profile, options.get("max_span", 60), options.get("gap", 4), _own_unit(target, profile)
        )
        self._summed = {rule.to for rule in profile.derived if rule.sum is not None}
        keeps = options.get("after_timeout") == "keep"
        wire = Wire(self._timeout_s, options.get("pause", 0.0), keeps)
        self._connection = Connection(target, wire=wire, gateway=gateway)
        self._next_slow = 0.0
        self._next_restore = 0.0
        #: some unit ids are to be asked whether they are there
        self._has_unknown = True
        #: every unit id was asked once
        self._is_explored = False

    async def poll(self, time_ns: int) -> PollResult:
        """Read each unit's registers once and return the points.

        Raises:
            CollectError: not connected, or no unit answered.
        """
        started = now()
        await self._connection.open(self._budget_s)
        if started >= self._next_slow:
            self._next_slow, self._until_slow_s = started + self._until_slow_s, self._slow_s
            self._has_unknown = True
            for row in self._rows():
                row.is_slow_due = True
                row.present = row.present or None
                if started >= self._next_restore:
                    row.restore()
            if started >= self._next_restore:
                self._next_restore = started + _RESTORE_S
        batch = Batch(self._target, self._profile)
        reader = Reader(self._connection, batch, started + self._budget_s, self._word_order, self._summed)
        await self._read(reader)
        if not reader.answered and self._is_explored:
            raise reader.error or self._nobody()
        made = batch.finish(time_ns)
        if self._is_explored and not (made.points or made.rejected):
            raise self._nothing()
        requests, reconnects = self._connection.requests, self._connection.reconnects
        return PollResult(made.points, made.missing, made.rejected, requests, reconnects, made.resets)

    async def aclose(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self) -> Iterator[Row]:
        return (row for unit in self._units for row in unit.rows)

    async def _read(self, reader: Reader) -> None:
        """Read the units that answer, then again those that just did not, then those that may have come back."""
        # Those that the last poll had no time for go first: one slow unit must not starve those behind it for ever.
        known = sorted((unit for unit in self._units if unit.present), key=lambda unit: not unit.was_late)
        silent = [unit for unit in known if unit.failures]
        late = [unit for unit in known if not unit.failures and not await reader.read(unit, unit.present)]
        for _ in range(self._retries):
            late = [unit for unit in late if not await reader.read(unit)]
        for unit, rows in await self._explore(reader):
            await reader.read(unit, rows)
        await _revive(silent, reader)
        reader.close(self._units)
        if not self._is_explored:
            unknown = [row for row in self._rows() if row.present is None]
            for row in unknown:
                reader.wait_for(row)
            self._is_explored = not unknown

    async def _explore(self, reader: Reader) -> list[tuple[Unit, list[Row]]]:
        """Ask for the rows not known yet and return those that are there, by their units.

        The first round takes what time the poll has left; later rounds end for this poll at the first silent unit.
        """
        found: list[tuple[Unit, list[Row]]] = []
        for unit in self._units if self._has_unknown else ():
            rows = [row for row in unit.rows if row.probe is not None and row.present is None]
            for probe in dict.fromkeys(row.probe for row in rows if row.probe is not None):
                if reader.left_s < self._timeout_s:
                    return found
                is_there = await _has(reader, unit, probe)
                for row in rows:
                    row.present = bool(is_there) if row.probe == probe else row.present
                if is_there is None and self._is_explored:
                    return found
            if there := [row for row in rows if row.present]:
                found.append((unit, there))
        self._has_unknown = False
        return found

    def _nothing(self) -> CollectError:
        return CollectError(f"{self._connection.where}: has none of the registers of profile {self._profile.profile}")

    def _nobody(self) -> CollectError:
        if any(unit.failures and unit.why == REFUSES for unit in self._units):
            return self._nothing()
        units = sorted({unit.number for unit in self._units})
        return DeviceTimeoutError(
            f"{self._connection.where}: none of the {len(units)} units {units[0]} to {units[-1]} "
            f"of profile {self._profile.profile} answers"
        )


async def _has(reader: Reader, unit: Unit, probe: Address) -> bool | None:
    """Return whether a unit has that register, or None where its silence cost time."""
    try:
        await reader.ask(unit, probe)
    except (RefusedSpanError, FailedSpanError, UnreachedError):
        return False
    except DeviceRefusedError:
        raise
    except CollectError:
        return None
    return True


async def _revive(silent: Sequence[Unit], reader: Reader) -> None:
    """Ask one of the silent units whose time has come, and as long as they answer the next one."""
    is_blocked = False
    for unit in sorted(silent, key=lambda each: each.retry_at):
        if is_blocked or unit.retry_at > now():
            reader.leave(unit)
            continue
        is_blocked = not await reader.read(unit, unit.present)
        if not is_blocked and not unit.failures:
            # What kept one silent often kept all: a gateway that is back.
            for other in silent:
                other.retry_at = 0.0


def _options(target: Target, profile: Profile) -> Mapping[str, Any]:
    """Return the checked switches: the profile's, and the target's over them. Units: s."""
    options = dict(profile.once(_transport))
    for key in TRANSPORT.keys() & target.options.keys():
        try:
            options[key] = TRANSPORT[key](target.options[key])
        except InvalidValueError as e:
            raise CollectError(f"{target.name} {target.address}: {key}: {e.reason}: {e.hint}") from e
    return options


def _transport(profile: Profile) -> Mapping[str, Any]:
    """Return the switches of a profile that is written as Modbus wants."""
    refuse_mistakes(profile)
    return {key: TRANSPORT[key](value) for key, value in profile.transport.items()}


def _unit(target: Target) -> int | None:
    """Return the unit id that the target's option `unit` names, or None."""
    text = target.options.get("unit")
    if text is None:
        return None
    if not text.isdecimal() or int(text) not in UNIT_IDS:
        raise CollectError(f"{target.name} {target.address}: unit={text!r} is no unit id: 0 to 255")
    return int(text)


def _own_unit(target: Target, profile: Profile) -> int | None:
    unit = _unit(target)
    if unit is not None and only_unit(profile) is None:
        raise CollectError(
            f"{target.name} {target.address}: unit={unit}: the profile {profile.profile} has several units of its own: "
            "leave unit out"
        )
    return unit


def make_shared() -> Gateways:
    """Return what the targets of one collector share."""
    return Gateways()


def open_collector(target: Target, profile: Profile | None, shared: Gateways | None = None) -> Collector:
    """Return the collector of one Modbus TCP device; nothing is opened yet.

    Raises:
        ConfigError: the profile is not written as Modbus wants.
        CollectError: the target's options are wrong.
    """
    if profile is None:
        raise ValueError(f"{target.name}: a Modbus target needs a profile")
    return ModbusCollector(target, profile, shared.at(target.address) if shared else None)


async def identify(target: Target, candidates: Sequence[Profile], shared: Gateways | None = None) -> Profile:
    """Return the profile whose `match` fits; of several, the one that looks at the fewest unit ids.

    Raises:
        UnknownDeviceError: it answers, and none fits; the message names the profiles tried.
        CollectError: no connection, or no unit answers.
    """
    return await find(target, candidates, _unit(target), shared.at(target.address) if shared else None)
