"""What a status of gRPC means for us: one table from codes and texts to our errors, each with the way out.

Texts of TLS are grpcio's own (1.7x to 1.8x); those of refusals are sonic-net/sonic-gnmi's `gnmi_server/server.go` and
`client_subscribe.go`.
"""

import grpc

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    ProtocolError,
)

#: seconds to leave a stream or device alone: wrong credentials, broken trust, no free subscription
CREDENTIALS_REST_S, TRUST_REST_S, CAPACITY_REST_S = 300.0, 60.0, 60.0

#: what SONiC says while all its subscriptions are taken
AT_CAPACITY = "Server connections are at capacity"
#: what grpcio itself says, as INTERNAL, when the connection breaks while it writes; no server's words
BROKEN_WRITE = "Internal error from Core"

_REFUSALS = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.OK, grpc.StatusCode.ABORTED)

#: what TLS says -> what to do about it; a person must act
_TRUST = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by an authority that we trust: give it as option ca"),
    ("Hostname Verification", "its certificate has another name: give the name in it as option server_name"),
    ("security handshaker", "a file of ca, cert or key holds no usable PEM, or key does not belong to cert"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS: set tls=off"),
)


class PollRefusedError(ProtocolError):
    """The device does not take this path or this mode; another may work."""


def explain(
    where: str, code: grpc.StatusCode, details: str | None, what: str, *, tls: bool, shown: bool
) -> CollectError:
    """Return our error for a status of gRPC; `shown` says that we show a client certificate."""
    text = f"{where}: {what}: {code.name} {details!r}"
    details = details or ""
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        hint = "give a fresh token" if "expired" in details else "check user, password, token or client certificate"
        return _resting(AuthenticationError(f"{text}: {hint}"), CREDENTIALS_REST_S)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeviceTimeoutError(text)
    if AT_CAPACITY in details:
        hint = "other clients hold all of its subscriptions (its threshold, 100 unless set)"
        return _resting(DeviceRefusedError(f"{text}: {hint}"), CAPACITY_REST_S)
    if code in _LOST or (code is grpc.StatusCode.INTERNAL and details == BROKEN_WRITE):
        return _lost(text, details, tls, shown)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ProtocolError(f"{text}: an answer over the device's limit (4 MiB unless set): ask for less of it")
    return PollRefusedError(text) if code in _REFUSALS else ProtocolError(text)


def _lost(text: str, details: str, tls: bool, shown: bool) -> CollectError:
    for word, hint in _TRUST:
        if word in details:
            return _resting(AuthenticationError(f"{text}: TLS fails: {hint}"), TRUST_REST_S)
    if "errors resolving" in details:
        return DeviceRefusedError(f"{text}: no address is known for this name: check it, or write the address")
    hint = ""
    if "too_many_pings" in details:
        hint = " (it finds our pings too frequent)"
    elif "Socket closed" in details and not tls:
        hint = " (a server with TLS needs tls=on)"
    elif "Socket closed" in details:
        # A server that wants a certificate hangs up without a word.
        hint = " (does it trust our cert?)" if shown else " (does it want a client certificate: options cert and key?)"
    return DeviceRefusedError(f"{text}: connection refused, lost, or ended by the device{hint}")


def _resting(error: CollectError, seconds: float) -> CollectError:
    error.rest_seconds = seconds
    return error
