"""What goes over gNMI's wire: paths, subscriptions, and the values that notifications carry.

Reading and parsing are apart: a stream keeps notifications as they came, `read_notifications` parses them when the
poll wants them, so that a large answer never holds the reading of another up.

Source: gNMI specification 0.8.0 (sections 2.2, 2.3, 3.5.1); sonic-net/sonic-gnmi `sonic_data_client/db_client.go`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from pygnmi.spec.v080 import gnmi_pb2

#: answers by path as it was asked; a path that the device has no data for is left out
Answers = Mapping[str, Any]
Names = tuple[str, ...]

#: characters of a broken value that a message shows
_SHOWN = 80
_ELEMENT = re.compile(r"((?:\\.|[^/\\\[\]]|\[[^\]]*\])+)")
_KEY = re.compile(r"\[([^=\]]+)=([^\]]*)\]")


@dataclass(slots=True)
class Round:
    """One complete answer to all paths of a subscription, not parsed yet."""

    paths: tuple[str, ...]
    notifications: list[Any] = field(default_factory=list)
    #: the device's clock minus ours, by the middle between request and first answer. Units: ns
    skew_ns: int | None = None
    #: time between the two; the skew is no better known than half of it. Units: ns
    wait_ns: int = 0

    def stamp(self, sent_ns: int, received_ns: int) -> None:
        """Learn the skew from the first notification; an unset time stamp says nothing."""
        stamp = self.notifications[0].timestamp if self.notifications else 0
        if stamp > 0:
            self.wait_ns = received_ns - sent_ns
            self.skew_ns = stamp - (sent_ns + received_ns) // 2

    def read(self) -> tuple[dict[str, Any], list[str]]:
        """Return the answers by path, and a line for each value that does not parse."""
        return read_notifications(self.notifications, self.paths)


def make_path(text: str) -> Any:
    """Return the gNMI path of `COUNTERS/Ethernet*`, `interfaces/interface[name=Eth1/1]`; `\\/` is a slash in a name."""
    elements = []
    for part in _ELEMENT.findall(text):
        name = _KEY.sub("", part).replace("\\/", "/")
        elements.append(gnmi_pb2.PathElem(name=name, key=dict(_KEY.findall(part))))
    return gnmi_pb2.Path(elem=elements)


def poll_request(database: str, paths: Sequence[str]) -> Any:
    """Return the first message of a POLL subscription."""
    return _subscribe(database, "POLL", [gnmi_pb2.Subscription(path=make_path(path)) for path in paths])


def sample_request(database: str, paths: Sequence[str], interval_ns: int) -> Any:
    """Return the first message of a STREAM subscription that wants every path each `interval_ns`."""
    mode = gnmi_pb2.SubscriptionMode.SAMPLE
    wanted = [gnmi_pb2.Subscription(path=make_path(p), mode=mode, sample_interval=interval_ns) for p in paths]
    return _subscribe(database, "STREAM", wanted)


def change_request(database: str, paths: Sequence[str]) -> Any:
    """Return the first message of a STREAM subscription that wants what changes, when it changes."""
    mode = gnmi_pb2.SubscriptionMode.ON_CHANGE
    return _subscribe(database, "STREAM", [gnmi_pb2.Subscription(path=make_path(p), mode=mode) for p in paths])


def _subscribe(database: str, mode: str, wanted: Sequence[Any]) -> Any:
    return gnmi_pb2.SubscribeRequest(
        subscribe=gnmi_pb2.SubscriptionList(
            prefix=gnmi_pb2.Path(target=database),
            mode=gnmi_pb2.SubscriptionList.Mode.Value(mode),
            encoding=gnmi_pb2.Encoding.JSON_IETF,
            subscription=wanted,
        )
    )


def read_notifications(notifications: Sequence[Any], paths: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values under the paths that they were asked by, and a line for each one that does not parse.

    A value below an asked path becomes a part of that path's object; a deleted path has none; what was not asked for
    is left out. A broken value costs its own path alone.
    """
    asked = _asked(tuple(paths))
    answers: dict[str, Any] = {}
    broken: list[str] = []
    for notification in notifications:
        prefix = _names(notification.prefix)
        for update in notification.update:
            path, rest = _find(asked, prefix, _names(update.path))
            if path is None:
                continue
            try:
                _put(answers, path, rest, decode(update.val))
            except orjson.JSONDecodeError as error:
                answers.pop(path, None)
                broken.append(f"{path}: a value is no JSON: {error.doc[:_SHOWN]!r}: {error.msg}")
        for deleted in notification.delete:
            path, rest = _find(asked, prefix, _names(deleted))
            if path is not None:
                _remove(answers, path, rest)
    return answers, broken


def decode(value: Any) -> Any:
    """Return a typed value as Python's; JSON leaves stay as they were sent.

    Raises:
        JSONDecodeError: a JSON value that is none.
    """
    kind = value.WhichOneof("value")
    if kind == "decimal_val":
        # As text, like SONiC's own leaves: exact, and read where a number is wanted.
        digits = value.decimal_val.digits
        return f"{digits}e-{value.decimal_val.precision}"
    if kind not in ("json_ietf_val", "json_val"):
        return None if kind is None else getattr(value, kind)
    raw: bytes = getattr(value, kind)
    return orjson.loads(raw) if raw else None


@lru_cache(maxsize=1024)
def _asked(paths: tuple[str, ...]) -> Mapping[Names, str]:
    return {_names(make_path(path)): path for path in paths}


def _names(path: Any) -> Names:
    return tuple([element.name for element in path.elem])


def _find(asked: Mapping[Names, str], prefix: Names, names: Names) -> tuple[str | None, Names]:
    """Return the path that a name was asked by, and what the name has beyond it."""
    for full in (names, prefix + names) if prefix else (names,):
        for length in range(len(full), 0, -1):
            path = asked.get(full[:length])
            if path is not None:
                return path, full[length:]
    return None, ()


def _put(answers: dict[str, Any], path: str, rest: Names, value: Any) -> None:
    if not rest:
        answers[path] = value
        return
    parent = answers.setdefault(path, {})
    for name in rest[:-1]:
        if not isinstance(parent, dict):
            return
        parent = parent.setdefault(name, {})
    if isinstance(parent, dict):
        parent[rest[-1]] = value


def _remove(answers: dict[str, Any], path: str, rest: Names) -> None:
    if not rest:
        answers.pop(path, None)
        return
    parent = answers.get(path)
    for name in rest[:-1]:
        parent = parent.get(name) if isinstance(parent, dict) else None
    if isinstance(parent, dict):
        parent.pop(rest[-1], None)
