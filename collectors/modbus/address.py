"""What Modbus registers can hold: addresses, types, word orders, and how a raw reading comes out of them.

Source: Modbus Application Protocol V1.1b3, sections 4.3, 4.4 and 6.1 to 6.4.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from collectors.profile import Raw
from storage.config import InvalidValueError, suggest

#: table -> read function; there is no other way from here to a device
READ_FUNCTIONS: Mapping[str, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_TABLES = {function: table for table, function in READ_FUNCTIONS.items()}

#: which word comes first where a value spans several registers; `swapped`: the bytes within each word too
WordOrder = Literal["big", "little", "big_swapped", "little_swapped"]
WORD_ORDERS: tuple[WordOrder, ...] = get_args(WordOrder)

#: number type -> (registers, struct format)
NUMBERS: Mapping[str, tuple[int, str]] = {
    "u16": (1, "H"),
    "i16": (1, "h"),
    "u32": (2, "I"),
    "i32": (2, "i"),
    "u64": (4, "Q"),
    "i64": (4, "q"),
    "f32": (2, "f"),
    "f64": (4, "d"),
}
#: most registers in one request
MOST_REGISTERS = 125

_ADDRESS = re.compile(r"([a-z]+):(\d{1,9})(?::(\d{1,9})|\.(\d{1,2})(?:-(\d{1,2}))?)?")
_FORMS = "holding:79, input:30, discrete:2, coil:7, holding:24:16 for a string, holding:60.8 for a bit"


@dataclass(frozen=True, slots=True)
class Address:
    """Neighbouring registers or bits of one table."""

    function: int
    start: int
    count: int
    #: of a single register, the lowest of the bits that are meant and how many they are
    bits: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{_TABLES.get(self.function, self.function)} {self.start}"


@dataclass(frozen=True, slots=True)
class WireType:
    """How the registers of a reading make a number or a text."""

    name: str
    #: 0 for a string, whose address says it
    registers: int
    format: str
    #: None: the profile's
    order: WordOrder | None

    @property
    def is_integer(self) -> bool:
        """Return whether it has bits."""
        return self.format in tuple("HhIiQq")


def _make_types() -> Mapping[str, WireType]:
    types = {"string": WireType("string", 0, "", None)}
    for name, (registers, form) in NUMBERS.items():
        types[name] = WireType(name, registers, form, None)
        if registers > 1:
            types |= {f"{name}-{order}": WireType(name, registers, form, order) for order in WORD_ORDERS}
    return types


#: type as a profile writes it -> what it means; `f32-little` has a word order of its own
TYPES: Mapping[str, WireType] = _make_types()


def wire_type(text: str) -> WireType:
    """Return what a profile's `type` means.

    Raises:
        InvalidValueError: Modbus has none of that name.
    """
    found = TYPES.get(text)
    if found is None:
        known = [*NUMBERS, "string", *(f"f32-{order}" for order in WORD_ORDERS)]
        raise InvalidValueError(f"{text!r} is no Modbus type", suggest(text, known))
    return found


def parse_address(text: str, type_: str) -> Address:
    """Return where `text` points, with the registers of its type.

    Raises:
        InvalidValueError: unknown table or type, a number outside 0 to 65535, a bit of something that has none.
    """
    wire = wire_type(type_)
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise InvalidValueError(f"{text!r} is no Modbus address", f"write {_FORMS}")
    table, number, length, low, high = match.groups()
    if table not in READ_FUNCTIONS:
        raise InvalidValueError(f"{text!r}: there is no table {table!r}", suggest(table, READ_FUNCTIONS))
    function, start = READ_FUNCTIONS[table], int(number)
    count = _count(text, function, wire, length)
    if start + count > 65536:
        hint = "numbers are zero-based as sent on the wire: 0 to 65535; 40080 of a manual is often holding:79"
        raise InvalidValueError(f"{text!r} ends at register {start + count - 1}", hint)
    return Address(function, start, count, None if low is None else _bits(text, function, wire, low, high))


def _count(text: str, function: int, wire: WireType, length: str | None) -> int:
    if function <= 2:
        if wire.name != "u16" or length:
            raise InvalidValueError(f"{text!r}: coils and discrete inputs are single bits", "leave `type` out")
        return 1
    if wire.name != "string":
        if length:
            hint = f"write type: string, or {text.removesuffix(f':{length}')}"
            raise InvalidValueError(f"{text!r}: a length is for strings", hint)
        return wire.registers
    count = int(length or 0)
    if not 1 <= count <= MOST_REGISTERS:
        raise InvalidValueError(f"{text!r}: a string says its length in registers", "holding:24:16; 1 to 125")
    return count


def _bits(text: str, function: int, wire: WireType, low: str, high: str | None) -> tuple[int, int]:
    first, last = int(low), int(high or low)
    if function <= 2 or wire.name != "u16":
        raise InvalidValueError(f"{text!r}: bits are those of one register", "write type: u16, or leave the bit out")
    if not first <= last <= 15:
        raise InvalidValueError(f"{text!r}: a register has the bits 0 to 15", "holding:60.8, holding:60.4-7")
    return first, last - first + 1


def decode(values: Sequence[int], address: Address, type_: str, word_order: str) -> Raw:
    """Return the raw reading in these registers (or this bit); strings without trailing NUL and blanks."""
    if address.bits is not None:
        low, width = address.bits
        return values[0] >> low & (1 << width) - 1
    wire = TYPES[type_]
    if address.function <= 2 or wire.format == "H":
        return values[0]
    if wire.name == "string":
        return struct.pack(f">{len(values)}H", *values).rstrip(b"\0 ").decode("ascii", "replace")
    return _number(values, wire, wire.order or cast(WordOrder, word_order))


def _number(values: Sequence[int], wire: WireType, order: WordOrder) -> int | float:
    words = values if order.startswith("big") or wire.registers == 1 else values[::-1]
    swapped = order.endswith("_swapped") and wire.registers > 1
    packed = struct.pack(f"{'<' if swapped else '>'}{len(words)}H", *words)
    number: int | float = struct.unpack(f">{wire.format}", packed)[0]
    return number
