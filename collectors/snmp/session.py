"""What any SNMP engine of ours does, and what a target says of how to be asked.

Two engines keep this promise, `collectors/snmp/gufo.py` and `collectors/snmp/pysnmp.py`; `collectors/snmp/client.py`
chooses between them and adds what none of them has: sizes of PDUs, retries, requests one at a time.

Source: RFC 3416 (protocol operations), RFC 3414 (USM), RFC 7860 (SHA-2), RFC 3826 (AES-128),
draft-reeder-snmpv3-usm-3desede (3DES and the key extension of aes192c, aes256c).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from collectors.collector import CollectError, Target

#: what an agent may answer, octet strings as text
Value = int | float | str

Version = Literal["1", "2c", "3"]
Engine = Literal["gufo", "pysnmp"]

VERSIONS: tuple[Version, ...] = ("1", "2c", "3")
ENGINES: tuple[Engine, ...] = ("gufo", "pysnmp")
AUTHS: Mapping[str, str] = {name: name for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")} | {
    "sha": "sha1"
}
PRIVS: Mapping[str, str] = {
    name: name for name in ("des", "3des", "aes128", "aes192", "aes256", "aes192c", "aes256c")
} | {"aes": "aes128"}

#: rows after which a walk is cut: a chassis of 1,000 ports with optics has 30,000 sensors, nothing has that many
WALK_ROWS = 50_000
#: rows that one request of a walk asks for
REPETITIONS = 20

T = TypeVar("T")


class UnreadableError(Exception):
    """An answer of no use for what was asked in one PDU: too large, an error-status, or it does not decode."""


class ErrorStatusError(UnreadableError):
    """The agent itself said that something is wrong with one of the instances, or that they are too many."""


class SnmpSession(Protocol):
    """One device asked by one engine; at most one request at any time, each sent once."""

    #: requests sent since it was made, and how often it began anew: after silence, after an answer of no use
    requests: int
    reconnects: int

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """Return, by one GET, the values of those instances that the agent has.

        Raises:
            UnreadableError: asked for less, or alone, the instances may be had.
            CollectError: no answer, wrong credentials.
        """
        ...

    async def walk(self, column: str) -> dict[str, Value]:
        """Return index -> value of a column: to its end, to the first OID that does not grow, or to `WALK_ROWS`.

        Raises:
            UnreadableError: an answer on the way does not decode.
            CollectError: no answer, wrong credentials.
        """
        ...

    def close(self) -> None:
        """Forget the device: the next request begins anew, with its keys and its clock."""
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """How a target wants to be asked, checked."""

    #: name and address, for messages
    where: str
    host: str
    port: int
    version: Version
    community: str = ""
    user: str = ""
    #: algorithms by the names of `AUTHS` and `PRIVS`, "" for none
    auth: str = ""
    priv: str = ""
    auth_password: str = ""
    priv_password: str = ""
    context: str = ""
    engine: Engine = "gufo"

    def __repr__(self) -> str:
        """Return what may be shown: no passwords, no community."""
        return f"Login({self.where}, version {self.version})"


def read_login(target: Target) -> Login:
    """Return how a target wants to be asked; pysnmp is chosen for what gufo-snmp lacks: 3DES and contexts.

    Raises:
        CollectError: a version, an algorithm or an address that SNMP does not know, or a password that is missing.
    """
    where, options = f"{target.name} {target.address}", target.options
    host, port = _split_address(target.address, where)
    version = _choose({name: name for name in VERSIONS}, options.get("version", "2c"), "version", where)
    engine = _choose({name: name for name in ENGINES}, options.get("engine", "gufo"), "engine", where)
    if version != "3":
        if options.get("context"):
            raise CollectError(f"{where}: context={options['context']!r} exists in SNMPv3 alone: add version=3")
        return Login(where, host, port, version, community=target.username or "public", engine=engine)
    if not target.username:
        raise CollectError(f"{where}: SNMPv3 needs a user name: snmp://user@host?version=3")
    auth = _choose(AUTHS, options["auth"], "auth", where) if "auth" in options else ""
    priv = _choose(PRIVS, options["priv"], "priv", where) if "priv" in options else ""
    if priv and not auth:
        raise CollectError(f"{where}: priv without auth does not exist in SNMPv3: add auth=sha256")
    secrets = []
    for option, key, secret in (("auth", "password", target.password), ("priv", "priv_password", target.priv_password)):
        secrets.append(secret.reveal() if option in options and secret else "")
        if option in options and len(secrets[-1]) < 8:
            what = f"{option}={options[option]} needs a password of 8 characters or more"
            raise CollectError(f"{where}: {what}: give it as {key} of the target in site.yaml, and ask it by its name")
    context = options.get("context", "")
    if (priv == "3des" or context) and engine == "gufo":
        what = f"context={context!r}" if context else "priv=3des"
        if options.get("engine"):
            raise CollectError(f"{where}: engine=gufo has no {what}: leave engine out, or write engine=pysnmp")
        engine = "pysnmp"
    return Login(where, host, port, version, "", target.username, auth, priv, secrets[0], secrets[1], context, engine)


def _choose(table: Mapping[str, T], name: str, option: str, where: str) -> T:
    try:
        return table[name.lower().replace("-", "")]
    except KeyError:
        raise CollectError(f"{where}: {option}={name!r} is not one of {', '.join(table)}") from None


def _split_address(address: str, where: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        return host.strip("[]"), int(port)
    if ":" in address.strip("[]") and not address.startswith("["):
        raise CollectError(f"{where}: address {address!r} is not host:port")
    return address.strip("[]"), 161


def as_text(octets: bytes) -> str:
    """Return an octet string as text; what is no UTF-8 is replaced."""
    return octets.decode("utf-8", "replace").rstrip("\0")


class Column:
    """The rows of one walk: takes them in order and says when to stop, for engines whose walks never do."""

    def __init__(self, column: str) -> None:
        self.rows: dict[str, Value] = {}
        self._prefix = column + "."
        self._last: tuple[int, ...] = ()

    def take(self, oid: str, value: Value | None) -> bool:
        """Take one row; return whether the walk may go on."""
        key = tuple(map(int, oid.split(".")))
        if key <= self._last or len(self.rows) >= WALK_ROWS:
            return False
        self._last = key
        if oid.startswith(self._prefix):
            if value is not None:
                self.rows[oid[len(self._prefix) :]] = value
            return True
        # The bare column is a quirk of SONiC's agent and goes before its rows.
        return oid == self._prefix[:-1]
