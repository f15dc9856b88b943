"""SNMPv3 notifications: the user-based security model on the receiving side. Messages and ciphers are pysnmp's.

A trap is signed with keys of its sender's engine id, whichever that is: keys are localised for the id that the message
tells, so no id needs to be known before. An inform is signed with keys of ours: a sender asks for it first and gets a
Report. pysnmp's own engine is not used: it costs 130 ms to make, keeps a reference of each message, and takes the time
of any message as the peer's, so that a recorded trap may be played again.

Source: RFC 3412 section 7, RFC 3414 section 3.2, RFC 7860 (SHA-2), RFC 3826 (AES-128), draft-blumenthal-aes-usm-04.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyasn1.codec.ber import encoder
from pyasn1.type import univ
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c
from pysnmp.proto.mpmod.rfc3412 import ScopedPDU, SNMPv3Message
from pysnmp.proto.secmod.rfc3414 import service as usm

from collectors.snmp.session import Login
from collectors.snmp.traps_message import CODEC_ERRORS, Heard, MalformedError, RefusedError, decode, is_inform, read_v2

AUTH, PRIV, REPORTABLE = 1, 2, 4
MAX_SIZE = 65_507
#: a message may be so old. Units: s
WINDOW_S = 150
#: engines whose clocks are remembered; authenticated ones alone
ENGINES = 10_000
UNKNOWN_ENGINE = (1, 3, 6, 1, 6, 3, 15, 1, 1, 4, 0)
NOT_IN_TIME = (1, 3, 6, 1, 6, 3, 15, 1, 1, 2, 0)
#: epoch seconds of 2020-01-01: minutes since then count our starts, so that no file must
EPOCH = 1_577_836_800

SERVICES = usm.SnmpUSMSecurityModel
SHA2 = usm.hmacsha2.HmacSha2
#: by the names of `collectors/snmp/session.py`
AUTHS: Mapping[str, tuple[int, ...]] = {
    "": usm.noauth.NoAuth.SERVICE_ID,
    "md5": usm.hmacmd5.HmacMd5.SERVICE_ID,
    "sha1": usm.hmacsha.HmacSha.SERVICE_ID,
    "sha224": SHA2.SHA224_SERVICE_ID,
    "sha256": SHA2.SHA256_SERVICE_ID,
    "sha384": SHA2.SAH384_SERVICE_ID,
    "sha512": SHA2.SHA512_SERVICE_ID,
}
PRIVS: Mapping[str, tuple[int, ...]] = {
    "": usm.nopriv.NoPriv.SERVICE_ID,
    "des": usm.des.Des.SERVICE_ID,
    "3des": usm.des3.Des3.SERVICE_ID,
    "aes128": usm.aes.Aes.SERVICE_ID,
    "aes192": usm.aes192.AesBlumenthal192.SERVICE_ID,
    "aes256": usm.aes256.AesBlumenthal256.SERVICE_ID,
    "aes192c": usm.aes192.Aes192.SERVICE_ID,
    "aes256c": usm.aes256.Aes256.SERVICE_ID,
}


class User:
    """The SNMPv3 user of a target, with what its messages must be protected by."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self.name = login.user.encode()
        self.auth: Any = SERVICES.AUTH_SERVICES[AUTHS[login.auth]] if login.auth else None
        self.priv: Any = SERVICES.PRIV_SERVICES[PRIVS[login.priv]] if login.priv else None
        #: of msgFlags: no less, and no more, is taken
        self.level = (AUTH if login.auth else 0) | (PRIV if login.priv else 0)

    @cached_property
    def _masters(self) -> tuple[Any, Any]:
        login = self._login
        return (
            self.auth.hash_passphrase(login.auth_password.encode()) if self.auth else None,
            self.priv.hash_passphrase(AUTHS[login.auth], login.priv_password.encode()) if self.priv else None,
        )

    def keys(self, engine_id: bytes) -> tuple[Any, Any]:
        """Return the keys of authentication and privacy for messages of that engine, None where there is none."""
        auth, priv = self._masters
        engine = univ.OctetString(engine_id)
        return (
            self.auth.localize_key(auth, engine) if self.auth else None,
            self.priv.localize_key(AUTHS[self._login.auth], priv, engine) if self.priv else None,
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message as it came, opened as far as no key is needed."""

    data: bytes
    message_id: int
    flags: int
    engine_id: bytes
    boots: int
    seconds: int
    user: bytes
    digest: Any
    salt: Any
    body: Any


def open_sealed(data: bytes) -> Sealed:
    """Return a message of version 3.

    Raises:
        MalformedError: it is none, or of another security model.
    """
    message: Any = decode(data, SNMPv3Message())
    try:
        header, security = message[1], decode(bytes(message[2].asOctets()), usm.UsmSecurityParameters())
        own: Any = security
        if int(header[3]) != 3:
            raise MalformedError(f"security model {int(header[3])} is not the user-based one")
        engine_id, boots, seconds, user, digest, salt = (own[n] for n in range(6))
        (flags,) = header[2].asNumbers()
        body = message[3].getComponent()
        where = (int(header[0]), int(flags), bytes(engine_id), int(boots), int(seconds), bytes(user))
        return Sealed(data, *where, digest, salt, body)
    except CODEC_ERRORS as error:
        raise MalformedError(f"does not decode: {type(error).__name__}") from error


@dataclass(slots=True)
class Usm:
    """Our engine: who we are for those who send informs, and what we know of the clocks of those who send traps."""

    #: the same with each start, for senders remember it
    name: str
    epoch_s: float
    monotonic: Callable[[], float] = time.monotonic
    engine_id: bytes = b""
    #: rises with each start
    boots: int = 0
    _started: float = 0.0
    _reports: int = 0
    #: engine id -> boots, newest time
    _clocks: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # RFC 3411, SnmpEngineID: enterprise 20408 (pysnmp), octets by our own rule.
        self.engine_id = bytes.fromhex("80004fb805") + hashlib.sha256(f"tokenwatt {self.name}".encode()).digest()[:12]
        self.boots = max(1, int(self.epoch_s - EPOCH) // 60)
        self._started = self.monotonic()

    def discover(self, sealed: Sealed) -> bytes | None:
        """Return the Report for who wants an answer and does not know our engine id, None for all others."""
        if not sealed.flags & REPORTABLE or sealed.engine_id == self.engine_id:
            return None
        return self._report(sealed, UNKNOWN_ENGINE, None)

    def read(self, sealed: Sealed, user: User) -> Heard:
        """Return the notification, or the Report that an inform of another time needs.

        Raises:
            RefusedError: not signed or not enciphered by this user, or too old.
            MalformedError: the PDU is no notification.
        """
        wanted = bool(sealed.flags & REPORTABLE)
        if sealed.user != user.name or sealed.flags & (AUTH | PRIV) != user.level:
            raise RefusedError("another user, or not the target's level of security")
        if (sealed.engine_id == self.engine_id) != wanted:
            raise RefusedError("a trap is signed for its sender's engine, an inform for ours")
        keys = user.keys(sealed.engine_id)
        if user.auth:
            _authenticate(sealed, user, keys[0])
            if wanted and not self._in_time(sealed):
                return Heard(None, self._report(sealed, NOT_IN_TIME, user))
            if not wanted:
                self._follow(sealed)
        scoped = _decipher(sealed, user, keys[1])
        pdu = scoped[2].getComponent()
        trap = read_v2(pdu)
        return Heard(trap, self._respond(sealed, user, scoped, pdu) if wanted and is_inform(pdu) else None)

    @property
    def _seconds(self) -> int:
        return int(self.monotonic() - self._started)

    def _in_time(self, sealed: Sealed) -> bool:
        return sealed.boots == self.boots and abs(sealed.seconds - self._seconds) <= WINDOW_S

    def _follow(self, sealed: Sealed) -> None:
        """Remember the sender's clock; refuse what is older than what it has told (RFC 3414, 3.2.7b)."""
        boots, newest = self._clocks.get(sealed.engine_id, (0, 0))
        if (sealed.boots, sealed.seconds + WINDOW_S) < (boots, newest):
            raise RefusedError(
                f"told before: engine boots {sealed.boots}, time {sealed.seconds}, last {boots}, {newest}"
            )
        if sealed.engine_id in self._clocks or len(self._clocks) < ENGINES:
            self._clocks[sealed.engine_id] = max((boots, newest), (sealed.boots, sealed.seconds))

    def _report(self, sealed: Sealed, counter: tuple[int, ...], user: User | None) -> bytes:
        self._reports += 1
        pdu = rfc1905.ReportPDU()
        v2c.apiPDU.set_defaults(pdu)
        v2c.apiPDU.set_request_id(pdu, 0)
        v2c.apiPDU.set_varbinds(pdu, [(counter, rfc1902.Counter32(self._reports & 0xFFFFFFFF))])
        return self._seal(sealed, user, AUTH if user else 0, self.engine_id, b"", pdu)

    def _respond(self, sealed: Sealed, user: User, scoped: Any, pdu: Any) -> bytes:
        answer = v2c.apiPDU.get_response(pdu)
        v2c.apiPDU.set_varbinds(answer, v2c.apiPDU.get_varbinds(pdu))
        return self._seal(sealed, user, user.level, bytes(scoped[0]), bytes(scoped[1]), answer)

    def _seal(self, sealed: Sealed, user: User | None, level: int, engine: bytes, context: bytes, pdu: Any) -> bytes:
        """Return the message that answers `sealed`, protected at that level with the user's keys for our engine."""
        auth, priv = user.keys(self.engine_id) if user else (None, None)
        boots, seconds = self.boots, self._seconds
        body, salt = _sequence(_octets(engine), _octets(context), encoder.encode(pdu)), b""
        if user and level & PRIV:
            enciphered, salted = user.priv.encrypt_data(priv, (boots, seconds, None), body)
            body, salt = _octets(bytes(enciphered)), bytes(salted)
        digest = bytes(user.auth.digest_length) if user and level & AUTH else b""
        name = _octets(user.name if user else b"")
        security = _sequence(
            _octets(self.engine_id), _integer(boots), _integer(seconds), name, _octets(digest), _octets(salt)
        )
        header = _sequence(_integer(sealed.message_id), _integer(MAX_SIZE), _octets(bytes([level])), _integer(3))
        whole = _sequence(_integer(3), header, _octets(security), body)
        return bytes(user.auth.authenticate_outgoing_message(auth, whole)) if user and level & AUTH else whole


def _authenticate(sealed: Sealed, user: User, key: Any) -> None:
    try:
        user.auth.authenticate_incoming_message(key, sealed.digest, sealed.data)
    except CODEC_ERRORS as error:
        raise RefusedError("signed with another authentication password or protocol") from error


def _decipher(sealed: Sealed, user: User, key: Any) -> Any:
    """Return the scoped PDU."""
    if not user.priv:
        if not isinstance(sealed.body, ScopedPDU):
            raise RefusedError("enciphered, and the target has no privacy password")
        return sealed.body
    wrong = "enciphered with another privacy password or protocol"
    try:
        plain = user.priv.decrypt_data(key, (sealed.boots, sealed.seconds, sealed.salt), sealed.body)
        return decode(bytes(plain), ScopedPDU(), padded=True)
    except CODEC_ERRORS as error:
        raise RefusedError(wrong) from error
    except MalformedError as error:
        raise RefusedError(wrong) from error


def _sequence(*parts: bytes) -> bytes:
    return _wrap(0x30, b"".join(parts))


def _wrap(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _octets(content: bytes) -> bytes:
    return _wrap(0x04, content)


def _integer(number: int) -> bytes:
    return bytes(encoder.encode(univ.Integer(number)))
