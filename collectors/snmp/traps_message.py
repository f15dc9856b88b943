"""SNMP notifications on the wire: v1 and v2c messages read, v1's told as v2's, informs answered. The codec is pysnmp's.

Source: RFC 1157 (v1 traps), RFC 3416 (v2 notifications, 4.2.6 and 4.2.7), RFC 3584 section 3.1 (v1 to v2).
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import univ
from pysnmp.error import PySnmpError
from pysnmp.proto import rfc1902
from pysnmp.proto.api import v1, v2c

from collectors.collector import Trap

SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
SNMP_TRAP_OID = "1.3.6.1.6.3.1.1.4.1.0"
#: coldStart, warmStart, linkDown, linkUp, authenticationFailure, egpNeighborLoss are .1 to .6 of it
GENERIC = "1.3.6.1.6.3.1.1.5"
SPECIFIC = 6

#: what pysnmp and pyasn1 raise on bytes that are no SNMP
CODEC_ERRORS: tuple[type[Exception], ...] = (
    PyAsn1Error,
    PySnmpError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)

T = TypeVar("T")


class MalformedError(Exception):
    """The datagram is no SNMP notification; the message says why."""


class RefusedError(Exception):
    """It is one, but not from whom it must be; the message says why."""


class AmbiguousError(Exception):
    """It may be from several targets; the message names them."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands outside of a message's PDU: enough to refuse it cheaply."""

    #: 0 is v1, 1 is v2c, 3 is v3
    version: int
    #: of v1 and v2c
    community: bytes = b""


@dataclass(frozen=True, slots=True)
class Heard:
    """A notification, and the datagram that an inform is answered with."""

    trap: Trap | None
    answer: bytes | None = None


def read_envelope(data: bytes) -> Envelope:
    """Return version and community without a look at the rest.

    Raises:
        MalformedError: no SNMP message.
    """
    try:
        start, end = _content(data, 0, 0x30)
        version_at, version_end = _content(data, start, 0x02)
        version = int.from_bytes(data[version_at:version_end], "big", signed=True)
        if end != len(data) or version not in (0, 1, 3):
            raise MalformedError(f"version {version} in {len(data)} bytes")
        if version == 3:
            return Envelope(version)
        low, high = _content(data, version_end, 0x04)
        return Envelope(version, data[low:high])
    except IndexError:
        raise MalformedError(f"{len(data)} bytes end too early") from None


def _content(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return where the content of the element at `at` begins and ends (X.690, definite lengths)."""
    if data[at] != tag:
        raise MalformedError(f"tag {data[at]:#x} instead of {tag:#x}")
    length, start = data[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[at + 2 : start], "big")
    if not start <= start + length <= len(data):
        raise IndexError
    return start, start + length


def decode(data: bytes, spec: T, *, padded: bool = False) -> T:
    """Return the element that `data` is, of the type of `spec`; a block cipher pads it.

    Raises:
        MalformedError: it is something else.
    """
    try:
        element, rest = decoder.decode(data, asn1Spec=spec)
    except CODEC_ERRORS as error:
        raise MalformedError(f"does not decode: {type(error).__name__}") from error
    if rest and not padded:
        raise MalformedError(f"{len(rest)} bytes behind its end")
    decoded: T = element
    return decoded


def read_message(data: bytes, version: int) -> Heard:
    """Return the notification in a message of v1 or v2c.

    Raises:
        MalformedError: no SNMP, or no notification.
    """
    api: Any = v1 if version == 0 else v2c
    message = decode(data, api.Message())
    try:
        pdu = api.apiMessage.get_pdu(message)
        if version == 0:
            return Heard(_read_v1(pdu))
        trap = read_v2(pdu)
        return Heard(trap, _answer(message, pdu) if is_inform(pdu) else None)
    except CODEC_ERRORS as error:
        raise MalformedError(f"does not decode: {type(error).__name__}") from error


def is_inform(pdu: Any) -> bool:
    """Return whether the sender waits for an answer."""
    return bool(pdu.tagSet == v2c.InformRequestPDU.tagSet)


def _answer(message: Any, pdu: Any) -> bytes:
    answer = v2c.apiMessage.get_response(message)
    v2c.apiPDU.set_varbinds(v2c.apiMessage.get_pdu(answer), v2c.apiPDU.get_varbinds(pdu))
    return bytes(encoder.encode(answer))


def read_v2(pdu: Any) -> Trap:
    """Return what a trap or an inform of v2c or v3 tells.

    Raises:
        MalformedError: another PDU, or one that does not say what happened.
    """
    if pdu.tagSet not in (v2c.SNMPv2TrapPDU.tagSet, v2c.InformRequestPDU.tagSet):
        raise MalformedError(f"{type(pdu).__name__} is no notification")
    values = _plain_all(v2c.apiPDU.get_varbinds(pdu))
    name = values.pop(SNMP_TRAP_OID, None)
    if not isinstance(name, str):
        raise MalformedError("it has no snmpTrapOID")
    return Trap(name, values)


def _read_v1(pdu: Any) -> Trap:
    if pdu.tagSet != v1.TrapPDU.tagSet:
        raise MalformedError(f"{type(pdu).__name__} is no notification")
    api = v1.apiTrapPDU
    values = {SYS_UPTIME: int(api.get_timestamp(pdu)), **_plain_all(api.get_varbinds(pdu))}
    generic = int(api.get_generic_trap(pdu))
    if generic == SPECIFIC:
        return Trap(f"{api.get_enterprise(pdu)}.0.{int(api.get_specific_trap(pdu))}", values)
    return Trap(f"{GENERIC}.{generic + 1}", values)


def _plain_all(varbinds: Any) -> dict[str, int | float | str]:
    plain = {str(oid): _plain(value) for oid, value in varbinds}
    return {oid: value for oid, value in plain.items() if value is not None}


def _plain(value: Any) -> int | str | None:
    """Return a value as `collectors/snmp/client.py` gives those of an answer."""
    if isinstance(value, rfc1902.IpAddress) or type(value).__name__ in ("IpAddress", "NetworkAddress"):
        return str(value.prettyPrint())
    if isinstance(value, univ.Null):
        return None
    if isinstance(value, univ.OctetString):
        return bytes(value.asOctets()).decode("utf-8", "replace").rstrip("\0")
    if isinstance(value, univ.ObjectIdentifier):
        return str(value)
    return int(value) if isinstance(value, univ.Integer) else None
