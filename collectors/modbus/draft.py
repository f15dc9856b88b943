"""What a Modbus unit has: its registers and inputs are read in spans, and pairs that look like float32 are shown so."""

import math
import struct
from collections.abc import Mapping, Sequence

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, Target
from collectors.drafting import Draft, DraftGroup, Found, Walk
from collectors.modbus.address import READ_FUNCTIONS, Address
from collectors.modbus.client import Connection, FailedSpanError, RefusedSpanError
from collectors.profile import Library

#: registers of one request; bits could be more, but then a refusal would cost more
_SPAN = 50
#: a span without an answer is not asked in halves
_TIMEOUT_S = 2.0
#: float32 of a device in use: magnitudes of measured quantities
_SMALLEST, _LARGEST = 1e-3, 1e7
_BITS = ("discrete", "coil")
_REGISTERS = ("holding", "input")
_TABLES = (*_REGISTERS, *_BITS)
#: registers of printable letters that make a text
_LETTERS = 4
#: float pairs that make a map one of float32
_ENOUGH = 2

Runs = Mapping[int, Sequence[int]]


async def draft(target: Target, library: Library, walk: Walk) -> Draft:
    """Return what the unit `walk.unit` has among the numbers of the walk, nothing mapped: numbers have no names.

    Raises:
        CollectError: no connection, or the unit has none of these registers.
    """
    connection = Connection(target, _TIMEOUT_S)
    await connection.open()
    try:
        tables = {table: await _read(connection, walk, table) for table in _TABLES}
    finally:
        connection.close()
    tables = {table: runs for table, runs in tables.items() if runs}
    if not tables:
        raise CollectError(
            f"{target.name} {target.address}: unit {walk.unit} has no register from "
            f"{walk.registers[0]} to {walk.registers[1]} and no input from {walk.inputs[0]} to {walk.inputs[1]}; "
            "name other numbers with --registers and --inputs, another unit with --unit"
        )
    order = _word_order([runs for table, runs in tables.items() if table in _REGISTERS])
    found = [each for table, runs in tables.items() for each in _found(table, runs, order)]
    return Draft(
        "modbus",
        f"unknown Modbus device, unit {walk.unit}",
        [DraftGroup({"units": [walk.unit]}, found)],
        {walk.unit: {table: {first: list(values) for first, values in runs.items()} for table, runs in tables.items()}},
        transport={"word_order": order or "big"},
        notes=_notes(order, walk, has_registers=not tables.keys().isdisjoint(_REGISTERS)),
    )


def _notes(order: str, walk: Walk, *, has_registers: bool) -> Sequence[str]:
    if not has_registers:
        first, last = walk.registers
        told = f"Unit {walk.unit} has no register from {first} to {last}: name others with --registers."
        meant = f"{first % 10_000 - 1}-{last % 10_000 - 1}"
        counted = f" Lists that begin at 40001 or 30001 mean 0: try --registers {meant}."
        return [told + (counted if _is_counted(first) and _is_counted(last) else "")]
    if not order:
        return ["No pair of registers looks like float32: u32, i32 and f32 need the word order of the register list."]
    return [f"Pairs look like float32 with the {'low' if order == 'little' else 'high'} word first; see the values."]


def _is_counted(number: int) -> bool:
    """Return whether a number may be one of a list that counts holding registers from 40001, inputs from 30001."""
    return number // 10_000 in (3, 4) and number % 10_000 > 0


async def _read(connection: Connection, walk: Walk, table: str) -> Runs:
    """Return the numbers that the unit has in one table, as runs of neighbours."""
    values: dict[int, int] = {}
    low, high = walk.inputs if table in _BITS else walk.registers
    waiting = [(at, min(at + _SPAN - 1, high)) for at in range(low, high + 1, _SPAN)]
    while waiting:
        first, last = waiting.pop(0)
        address = Address(READ_FUNCTIONS[table], first, last - first + 1)
        try:
            got = await connection.read(walk.unit, address, _TIMEOUT_S)
        except RefusedSpanError:
            if first < last:
                middle = (first + last) // 2
                waiting[:0] = [(first, middle), (middle + 1, last)]
            continue
        except FailedSpanError:
            continue
        except (DeviceRefusedError, DeviceTimeoutError):
            # A unit that is silent for a table it lacks is silent for all of it.
            if values:
                raise
            return {}
        values.update(enumerate(got, first))
    return _runs(values)


def _runs(values: Mapping[int, int]) -> Runs:
    runs: dict[int, list[int]] = {}
    first = last = -2
    for number in sorted(values):
        if number != last + 1:
            first = number
        runs.setdefault(first, []).append(values[number])
        last = number
    return runs


def _float(high: int, low: int) -> float:
    number: float = struct.unpack(">f", struct.pack(">HH", high, low))[0]
    return number


def _looks_measured(number: float) -> bool:
    return math.isfinite(number) and _SMALLEST <= abs(number) <= _LARGEST


def _word_order(tables: Sequence[Runs]) -> str:
    """Return the order in which more aligned pairs look like float32: big, little, or "" where hardly any does."""
    counts = {"big": 0, "little": 0}
    for values in (values for runs in tables for values in runs.values()):
        for one, other in zip(values[::2], values[1::2], strict=False):
            counts["big"] += _looks_measured(_float(one, other))
            counts["little"] += _looks_measured(_float(other, one))
    best = max(counts, key=lambda order: counts[order])
    return best if counts[best] >= _ENOUGH else ""


def _found(table: str, runs: Runs, order: str) -> list[Found]:
    found: list[Found] = []
    for first, values in runs.items():
        at = 0
        while at < len(values):
            count, each = _next(table, first + at, values[at:], order)
            found.append(each)
            at += count
    return found


def _next(table: str, number: int, values: Sequence[int], order: str) -> tuple[int, Found]:
    """Return how many numbers the next reading takes, and the reading."""
    address = f"{table}:{number}"
    is_bit = table in _BITS
    if (zeros := _zeros(values, "" if is_bit else order)) > 2:
        found = Found(address, f"0, as are all up to {number + zeros - 1}", {} if is_bit else {"type": "u16"})
        return zeros, found
    if is_bit:
        return 1, Found(address, str(values[0]))
    if text := _text(address, values):
        return text
    if len(values) > 1 and order:
        high, low = values[1::-1] if order == "little" else values[:2]
        number_seen, other = _float(high, low), _float(low, high)
        if _looks_measured(number_seen):
            seen = f"{number_seen:.6g}; with the words swapped {other:.3g}; as u16 {values[0]}, {values[1]}"
            return 2, Found(address, seen, {"type": "f32"})
    value = values[0]
    signed = f", as i16 {value - 0x10000}" if value >= 0x8000 else ""
    return 1, Found(address, f"{value}{signed}", {"type": "i16" if signed else "u16"})


def _text(address: str, values: Sequence[int]) -> tuple[int, Found] | None:
    """Return the text that some printable registers in a row hold."""
    letters = b""
    for value in values:
        pair = value.to_bytes(2, "big")
        if not all(0x20 <= byte < 0x7F for byte in pair.rstrip(b"\0")) or not value:
            break
        letters += pair
    count = len(letters) // 2
    return (
        (count, Found(f"{address}:{count}", repr(letters.decode()), {"type": "string"})) if count >= _LETTERS else None
    )


def _zeros(values: Sequence[int], order: str) -> int:
    """Return how many zeros come first, without the low word of a float behind them."""
    count = next((n for n, each in enumerate(values) if each), len(values))
    ends = count < len(values) and order == "little" and _looks_measured(_float(values[count], 0))
    return count - 1 if count and ends else count
