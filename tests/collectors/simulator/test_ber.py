"""SNMPv2c messages as bytes, against pysnmp's own codec."""

from typing import Any

import pytest
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c

from collectors.simulator import ber

OIDS = ((1, 0, 8802, 1, 1, 2), (1, 3, 6, 1, 2, 1, 1, 3, 0), (1, 3, 6, 1, 4, 1, 9, 9, 580, 2**31 - 1, 128, 127))


def message(pdu: Any, *counts: int) -> bytes:
    v2c.apiPDU.set_defaults(pdu)
    pdu.setComponentByPosition(0, rfc1902.Integer32(4711))
    if counts:
        v2c.apiBulkPDU.set_non_repeaters(pdu, counts[0])
        v2c.apiBulkPDU.set_max_repetitions(pdu, counts[1])
    v2c.apiPDU.set_varbinds(pdu, [(oid, v2c.null) for oid in OIDS])
    whole = v2c.Message()
    v2c.apiMessage.set_defaults(whole)
    v2c.apiMessage.set_community(whole, "public")
    v2c.apiMessage.set_pdu(whole, pdu)
    return bytes(encoder.encode(whole))


@pytest.mark.parametrize(
    ("pdu", "tag", "counts"),
    [
        (v2c.GetRequestPDU(), ber.GET, ()),
        (v2c.GetNextRequestPDU(), ber.GETNEXT, ()),
        (v2c.GetBulkRequestPDU(), ber.GETBULK, (1, 20)),
    ],
)
def test_requests_of_pysnmp_are_read(pdu: Any, tag: int, counts: tuple[int, ...]) -> None:
    found = ber.read_request(message(pdu, *counts))
    assert found == ber.Request(tag, b"public", 4711, *(counts or (0, 0)), list(OIDS))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((ber.INTEGER, -1), rfc1902.Integer32(-1)),
        ((ber.INTEGER, 128), rfc1902.Integer32(128)),
        ((ber.OCTETS, b"x" * 300), rfc1902.OctetString(b"x" * 300)),
        ((ber.OBJECT_ID, (1, 3, 6, 1)), rfc1902.ObjectIdentifier((1, 3, 6, 1))),
        ((ber.COUNTER32, 2**32 - 1), rfc1902.Counter32(2**32 - 1)),
        ((ber.COUNTER64, 2**64 - 1), rfc1902.Counter64(2**64 - 1)),
        ((ber.COUNTER64, 0), rfc1902.Counter64(0)),
        ((ber.TICKS, 4_294_967_295), rfc1902.TimeTicks(4_294_967_295)),
        ((ber.GAUGE32, 400_000), rfc1902.Gauge32(400_000)),
        (ber.NO_INSTANCE, rfc1905.noSuchInstance),
        (ber.END_OF_MIB, rfc1905.endOfMibView),
    ],
)
def test_answers_are_what_pysnmp_understands(value: ber.Value, expected: Any) -> None:
    whole, rest = decoder.decode(
        ber.write_message(ber.RESPONSE, b"public", 4711, [(OIDS[2], value)]), asn1Spec=v2c.Message()
    )
    pdu = v2c.apiMessage.get_pdu(whole)
    ((oid, found),) = v2c.apiPDU.get_varbinds(pdu)
    assert rest == b""
    assert (oid.asTuple(), found) == (OIDS[2], expected)
    assert int(v2c.apiPDU.get_request_id(pdu)) == 4711


def test_what_is_no_v2c_read_is_left_to_others() -> None:
    whole = message(v2c.GetRequestPDU())
    version_1 = whole.replace(b"\x02\x01\x01\x04\x06public", b"\x02\x01\x00\x04\x06public")
    for wrong in (b"", b"\x30", b"\x30\x80", whole[:-1], version_1, message(v2c.SetRequestPDU()), b"\xff" * 40):
        with pytest.raises(ber.NotReadError):
            ber.read_request(wrong)


def test_every_cut_of_a_request_is_refused_and_none_crashes() -> None:
    whole = message(v2c.GetBulkRequestPDU(), 0, 10)
    for length in range(len(whole)):
        with pytest.raises(ber.NotReadError):
            ber.read_request(whole[:length])
