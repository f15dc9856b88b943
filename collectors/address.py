"""The URL of a target: which protocol, which address, which switches. The table is in docs/contracts.md, section 1."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from storage.config import InvalidValueError, Secret, suggest

#: right form of each scheme, for the hints
FORMS: Mapping[str, str] = {
    "snmp": "snmp://community@host:161?version=2c or snmp://user@host:161?version=3&auth=sha256&priv=aes128",
    "http": "http://host:port/metrics",
    "https": "https://host:port/metrics",
    "modbus": "modbus://host:502",
    "redfish": "redfish://user@host:443",
    "gnmi": "gnmi://host:port?tls=off",
    "mqtt": "mqtt://host:1883",
    "nvml": "nvml:// or nvml:///path/libnvidia-ml.so.1?workload=on",
}
_TLS = ("on", "off")
#: option -> its values, None where any text may stand
_OPTIONS: Mapping[str, Mapping[str, tuple[str, ...] | None]] = {
    # trap_from: other addresses that its traps come from, commas between; priorities: those of
    # PFC and queues that are read, or all
    "snmp": {
        "version": ("1", "2c", "3"),
        "auth": None,
        "priv": None,
        "context": None,
        "engine": ("gufo", "pysnmp"),
        "trap_from": None,
        "priorities": None,
    },
    "modbus": {
        "word_order": ("big", "little"),
        "timeout": None,
        "retries": None,
        "max_span": None,
        "gap": None,
        "pause": None,
        "after_timeout": ("reconnect", "keep"),
        "unit": None,
    },
    # primary_loop: what a CDU with one loop calls primary; level: where leak detectors hang; the others pick rows
    "redfish": {
        "tls": (*_TLS, "insecure"),
        "max_connections": ("1", "2"),
        "expand": ("auto", "off"),
        "events": _TLS,
        "primary_loop": ("fws", "tcs"),
        "level": ("tray", "switch", "rack", "hall"),
        **dict.fromkeys(("chassis", "cdu", "pdu", "shelf", "main", "branch", "psu", "outlet", "group", "detector")),
    },
    "gnmi": {
        "tls": _TLS,
        "ca": None,
        "cert": None,
        "key": None,
        "server_name": None,
        "auth": ("password", "jwt"),
        "mode": ("poll", "sample", "get"),
        "on_change": _TLS,
        "priorities": None,
    },
    "mqtt": {"tls": (*_TLS, "insecure"), "ca": None, "cert": None, "key": None},
    # release: a file; while it is there NVML is let go, so that a driver can be unloaded or a GPU be reset
    "nvml": {"release": None, "workload": ("on", "off")},
}
#: switches of a page's target; they stand under `options`, since its query belongs to the server
PAGE_OPTIONS: Mapping[str, tuple[str, ...] | None] = {
    "tls": ("on", "insecure"),
    "ca": None,
    "cert": None,
    "key": None,
    "server_name": None,
}
#: switches that name files
PATHS = ("ca", "cert", "key", "release")


def _port_of(protocol: str, options: Mapping[str, str]) -> int | None:
    """Return the port that a protocol has by convention (IANA), or None where there is none to rely on."""
    encrypted = options.get("tls", "off" if protocol == "mqtt" else "on") != "off"
    ports = {"snmp": 161, "modbus": 502, "redfish": 443 if encrypted else 80, "mqtt": 8883 if encrypted else 1883}
    return ports.get(protocol)


@dataclass(frozen=True, slots=True)
class TargetUrl:
    """What a target's URL says."""

    #: the module that asks: snmp modbus redfish mqtt gnmi nvml exposition
    protocol: str
    #: host:port, a whole URL for exposition, a library's path or "" for nvml
    address: str
    username: str = ""
    password: Secret | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    profile: str | None = None
    #: the URL named no port, and the protocol's own stands in the address
    port_left_out: bool = field(default=False, compare=False)


def parse_target_url(url: str) -> TargetUrl:
    """Return what the URL says; a password in it never shows in an error.

    Raises:
        InvalidValueError: what is wrong with it, and the right form.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise InvalidValueError("the URL has no scheme", f"write one of: {', '.join(f'{s}://' for s in FORMS)}")
    if scheme not in FORMS:
        raise InvalidValueError(f"unknown scheme {scheme!r}", suggest(scheme, FORMS))
    if any(c.isspace() or not c.isprintable() for c in url):
        raise _wrong(scheme, "the URL holds a space or a control character")
    if "#" in url:
        raise _wrong(scheme, "the URL has a part behind #: write %23 for a # in a password")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise _wrong(scheme, "its host or its port is malformed") from e
    if "@" in parts.path + parts.query and scheme not in ("http", "https"):
        raise _wrong(scheme, "an @ stands behind the host: write %2F and %3F for / and ? in a password")
    parse = _PARSERS.get(scheme, _parse_address)
    return parse(parts, port)


def _wrong(scheme: str, reason: str) -> InvalidValueError:
    return InvalidValueError(reason, f"write {FORMS[scheme]}")


def _parse_page(parts: SplitResult, port: int | None) -> TargetUrl:
    if not parts.hostname:
        raise _wrong(parts.scheme, "the URL has no host")
    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return TargetUrl("exposition", address, *_user(parts))


def _parse_library(parts: SplitResult, port: int | None) -> TargetUrl:
    if parts.netloc:
        raise _wrong("nvml", "a library's path begins with a third slash")
    options, _ = _options(parts)
    return TargetUrl("nvml", unquote(parts.path), options=options)


def _parse_address(parts: SplitResult, port: int | None) -> TargetUrl:
    scheme = parts.scheme
    if not parts.hostname:
        raise _wrong(scheme, "the URL has no host")
    if parts.path not in ("", "/"):
        raise _wrong(scheme, f"{scheme} has no path: {parts.path!r}")
    options, profile = _options(parts)
    left_out = port is None
    port = _port_of(scheme, options) if port is None else port
    if not port:
        raise _wrong(scheme, "the URL has no port")
    username, password = _user(parts)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if scheme == "snmp" and password is not None:
        raise _wrong("snmp", "an SNMP URL holds no password: give it as `password` (v3) or write the community alone")
    url = TargetUrl(scheme, f"{host}:{port}", username, password, options, profile, left_out)
    if scheme == "snmp" and options:
        _check_snmp(username, options)
    return url


def parse_options(pairs: Sequence[str]) -> dict[str, str]:
    """Return the switches that `name=value` texts say.

    Raises:
        InvalidValueError: one without =, or a name twice.
    """
    options = dict(pair.split("=", maxsplit=1) for pair in pairs if "=" in pair)
    if len(options) < len(pairs):
        raise InvalidValueError("an option is name=value, each name once", "write for example tls=insecure")
    return options


def add_options(url: TargetUrl, more: Mapping[str, str], username: str = "") -> TargetUrl:
    """Return the URL with further switches, as a target has them under `options`; `username` is the target's own.

    Raises:
        InvalidValueError: a switch that the protocol does not know, a value that it does not take, one that stands in
            the URL too; `at` says which.
    """
    for name, value in more.items():
        try:
            check_option(url.protocol, name, value)
        except InvalidValueError as error:
            raise InvalidValueError(error.reason, error.hint, (name,)) from error
        if name in url.options:
            raise InvalidValueError(f"{name} stands in the URL too", "keep one of them", (name,))
    options = {**url.options, **more}
    if url.protocol == "snmp" and options:
        _check_snmp(username or url.username, options)
    port = _port_of(url.protocol, options) if url.port_left_out else None
    address = f"{url.address.rpartition(':')[0]}:{port}" if port else url.address
    return replace(url, options=options, address=address)


def check_option(protocol: str, name: str, value: str) -> None:
    """Raise InvalidValueError when the protocol has no such switch, or the switch no such value."""
    known = _OPTIONS.get(protocol, PAGE_OPTIONS)
    if name not in known:
        raise InvalidValueError(f"{_called(protocol)} has no option {name!r}", suggest(name, known))
    allowed = known[name]
    if not value or value not in (allowed or (value,)):
        hint = f"allowed: {', '.join(allowed)}" if allowed else f"write {name}=value"
        raise InvalidValueError(f"{name}={value!r} is not allowed", hint)


def _called(protocol: str) -> str:
    return "a metrics page" if protocol == "exposition" else protocol


def _check_snmp(username: str, options: Mapping[str, str]) -> None:
    if options.get("version", "2c") != "3":
        if keys := options.keys() & {"auth", "priv"}:
            raise _wrong("snmp", f"{' and '.join(sorted(keys))} need version=3")
    elif not username:
        raise _wrong("snmp", "version=3 needs a user")
    elif "priv" in options and "auth" not in options:
        raise _wrong("snmp", "priv without auth does not exist in SNMPv3")


def _user(parts: SplitResult) -> tuple[str, Secret | None]:
    password = None if parts.password is None else Secret(unquote(parts.password))
    return unquote(parts.username or ""), password


def _options(parts: SplitResult) -> tuple[dict[str, str], str | None]:
    """Return the checked options of the query, and the profile that it may name."""
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as e:
        raise _wrong(parts.scheme, "the part behind ? is not name=value&name=value") from e
    options = dict(pairs)
    profile = options.pop("profile", None) if parts.scheme != "nvml" else None
    if len(options) + (profile is not None) < len(pairs):
        raise _wrong(parts.scheme, "an option stands in the URL twice")
    for name, value in options.items():
        if name not in _OPTIONS[parts.scheme]:
            raise _no_option(parts.scheme, name)
        check_option(parts.scheme, name, value)
    return options, profile


def _no_option(scheme: str, name: str) -> InvalidValueError:
    """Return the error for a switch that a URL of this scheme cannot have: the near one, else all and the form."""
    hint = suggest(name, [*_OPTIONS[scheme], *(["profile"] if scheme != "nvml" else [])])
    form = "" if hint.startswith("did you mean") else f"; write {FORMS[scheme]}"
    return InvalidValueError(f"{scheme} has no option {name!r}", hint + form)


_PARSERS: Mapping[str, Callable[[SplitResult, int | None], TargetUrl]] = {
    "http": _parse_page,
    "https": _parse_page,
    "nvml": _parse_library,
}
