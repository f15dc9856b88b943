"""SNMPv2c messages as bytes, as far as an agent that is read needs them: some 30 times cheaper than pysnmp's.

Source: RFC 1905 and RFC 3416 (PDUs), RFC 2578 (types), X.690 (basic encoding rules, definite lengths).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

Oid = tuple[int, ...]
#: a tag and what it holds: a number, text as bytes, an object identifier, or nothing
Value = tuple[int, int | bytes | Oid | None]

INTEGER, OCTETS, NULL, OBJECT_ID, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
COUNTER32, GAUGE32, TICKS, COUNTER64 = 0x41, 0x42, 0x43, 0x46
NO_INSTANCE: Value = (0x81, None)
END_OF_MIB: Value = (0x82, None)
GET, GETNEXT, RESPONSE, GETBULK, TRAP = 0xA0, 0xA1, 0xA2, 0xA5, 0xA7
VERSION_2C = 1

VarBind = tuple[Oid, Value]


class NotReadError(Exception):
    """A message that this module does not read: another version, another request, or no BER at all."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to read; the counts belong to GETBULK and are 0 otherwise."""

    pdu: int
    community: bytes
    number: int
    non_repeaters: int
    max_repetitions: int
    oids: Sequence[Oid]


def read_request(message: bytes) -> Request:
    """Read a v2c GET, GETNEXT or GETBULK.

    Raises:
        NotReadError: it is something else.
    """
    try:
        (body,) = _expect(message, SEQUENCE)
        version, community, pdu = _items(body)
        if version != (INTEGER, bytes([VERSION_2C])) or pdu[0] not in (GET, GETNEXT, GETBULK):
            raise NotReadError("no v2c request to read")
        number, first, second, binds = _items(pdu[1])
        counts = [_integer(each[1]) if pdu[0] == GETBULK else 0 for each in (first, second)]
        oids = [decode_oid(next(_items(bind))[1]) for _, bind in _items(binds[1])]
        return Request(pdu[0], community[1], _integer(number[1]), max(0, counts[0]), max(0, counts[1]), oids)
    except (ValueError, IndexError, StopIteration) as error:
        raise NotReadError("no BER") from error


def write_message(pdu: int, community: bytes, number: int, binds: Sequence[VarBind]) -> bytes:
    """Return a v2c message without an error: an answer, or a trap."""
    listed = b"".join(_wrap(SEQUENCE, encode_oid(oid) + encode_value(value)) for oid, value in binds)
    zero = _wrap(INTEGER, b"\0")
    body = _wrap(INTEGER, _two_complement(number)) + zero + zero + _wrap(SEQUENCE, listed)
    return _wrap(SEQUENCE, _wrap(INTEGER, bytes([VERSION_2C])) + _wrap(OCTETS, community) + _wrap(pdu, body))


def encode_value(value: Value) -> bytes:
    """Return the bytes of one value."""
    tag, held = value
    if isinstance(held, int):
        # Unsigned types need a leading zero byte as soon as their highest bit is set: two's complement gives it.
        return _wrap(tag, _two_complement(held))
    if isinstance(held, tuple):
        return encode_oid(held)
    return _wrap(tag, held or b"")


@lru_cache(maxsize=1 << 16)
def encode_oid(oid: Oid) -> bytes:
    """Return an object identifier with its tag and length."""
    if len(oid) < 2:
        return _wrap(OBJECT_ID, bytes(oid) or b"\0")
    out = bytearray([40 * oid[0] + oid[1]])
    for part in oid[2:]:
        groups = [part & 0x7F]
        while part := part >> 7:
            groups.append(0x80 | part & 0x7F)
        out += bytes(reversed(groups))
    return _wrap(OBJECT_ID, bytes(out))


@lru_cache(maxsize=1 << 16)
def decode_oid(content: bytes) -> Oid:
    """Return an object identifier from its content.

    Raises:
        ValueError: it is empty or ends in the middle of a number.
    """
    if not content or content[-1] & 0x80:
        raise ValueError("no object identifier")
    parts: list[int] = []
    part = 0
    for byte in content:
        part = part << 7 | byte & 0x7F
        if not byte & 0x80:
            parts.append(part)
            part = 0
    first = min(parts[0] // 40, 2)
    return (first, parts[0] - 40 * first, *parts[1:])


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element.

    Raises:
        ValueError: an element reaches beyond the data.
    """
    at, end = 0, len(data)
    while at < end:
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > end:
            raise ValueError("an element is cut off")
        yield tag, data[at : at + length]
        at += length


def _expect(data: bytes, tag: int) -> list[bytes]:
    found = [content for given, content in _items(data) if given == tag]
    if len(found) != 1:
        raise ValueError("not one element")
    return found


def _integer(content: bytes) -> int:
    return int.from_bytes(content, "big", signed=True)


def _two_complement(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def _wrap(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
