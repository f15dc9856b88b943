"""Numbers and texts as Modbus registers of 16 bits, the high word and the first character first."""

import struct
from collections.abc import Mapping


def u16(value: float) -> int:
    """Return a register without sign; what does not fit is cut."""
    return min(max(round(value), 0), 0xFFFF)


def i16(value: float) -> int:
    """Return a register in two's complement; what does not fit is cut."""
    return min(max(round(value), -0x8000), 0x7FFF) & 0xFFFF


def u32(first: int, value: float) -> Mapping[int, int]:
    """Return two registers without sign; what does not fit is cut."""
    high, low = divmod(min(max(round(value), 0), 0xFFFF_FFFF), 0x10000)
    return {first: high, first + 1: low}


def f32_swapped(first: int, value: float) -> Mapping[int, int]:
    """Return two registers of a float of 32 bits, the low word first."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return {first: low, first + 1: high}


def text(first: int, count: int, value: str) -> Mapping[int, int]:
    """Return `count` registers of ASCII, filled up with zeros."""
    padded = value.encode("ascii")[: 2 * count].ljust(2 * count, b"\0")
    return {first + place: word for place, (word,) in enumerate(struct.iter_unpack(">H", padded))}
