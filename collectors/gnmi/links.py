"""Links of ports: what PORT_TABLE says of them, told at once where the device speaks of changes.

`LinkTable` knows the last state of each port, from polls and changes alike, and turns a difference into a
`switch_event`. `LinkWatch` keeps an ON_CHANGE subscription of PORT_TABLE on a connection of its own, proven when the
device has sent the whole table and `sync_response`; one that refuses it is asked again each hour. Its points bear the
tags that polls give them, for they are made by the same groups of the profile.

What a change looks like depends on the image: the whole table, `{port: {...}}` of one port, the port in the path, or
(old ones) the bare fields of one port, which its alias names.

Source: sonic-net/sonic-gnmi `sonic_data_client/db_client.go` (`dbTableKeySubscribe`).
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collectors.collector import CollectError
from collectors.gnmi.answers import read_notifications
from collectors.gnmi.client import GnmiClient
from collectors.gnmi.errors import PollRefusedError
from collectors.gnmi.rows import Ports
from collectors.gnmi.source import RETRY_S, rest_s
from collectors.gnmi.stream import Changes
from storage.point import Point

PORT_DATABASE, PORT_TABLE = "APPL_DB", "PORT_TABLE"

Push = Callable[[Sequence[Point]], None]
#: port -> the fields of PORT_TABLE that came
Fields = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Link:
    """What is known of one port; None where the table does not say."""

    admin: str | None
    oper: str | None

    def event(self) -> tuple[int, str]:
        """Return severity and text of having come to this state."""
        if self.admin == "down":
            return 0, "port switched off"
        return (0, "link up") if self.oper == "up" else (1, "link down")


@dataclass(slots=True)
class LinkTable:
    """The last state of each port."""

    links: dict[str, Link] = field(default_factory=dict)

    def see(self, table: Fields) -> dict[str, Link]:
        """Take what was told of some ports; return those whose state is another than before, not those seen first."""
        changed = {}
        for port, fields in table.items():
            before = self.links.get(port)
            if before and before.oper == fields.get("oper_status") and before.admin == fields.get("admin_status"):
                continue
            link = Link(*(_state(fields, name, before) for name in ("admin_status", "oper_status")))
            if link.oper is None and link.admin is None:
                continue
            self.links[port] = link
            if before is not None and before != link:
                changed[port] = link
        return changed


def _state(fields: Mapping[str, Any], name: str, before: Link | None) -> str | None:
    told = fields.get(name)
    if told in ("up", "down"):
        return str(told)
    return None if before is None else before.admin if name == "admin_status" else before.oper


def read_ports(answer: object, ports: Ports) -> dict[str, Mapping[str, Any]]:
    """Return port -> fields of what PORT_TABLE or a change of it says; `ports` names the bare fields of one port."""
    if not isinstance(answer, Mapping):
        return {}
    rows = {name: row for name, row in answer.items() if isinstance(row, Mapping)}
    if rows:
        return {name: row for name, row in rows.items() if name.startswith("Ethernet")}
    name = ports.names.get(str(answer.get("alias", "")))
    return {name: answer} if name else {}


@dataclass(slots=True)
class LinkWatch:
    """The ON_CHANGE subscription of one device."""

    client: GnmiClient
    #: makes the points of the ports that changed, and takes what was told; called with the table that came
    make: Callable[[Fields], Sequence[Point]]
    ports: Callable[[], Ports]
    clock: Callable[[], float] = time.monotonic
    #: "": not proven yet, "on", or why it is not
    state: str = ""
    #: changes whose port could not be told, or that came while nobody could take them
    dropped: int = 0
    reconnects: int = 0
    _failures: int = 0
    _task: asyncio.Task[None] | None = None

    def start(self, push: Push) -> None:
        """Begin to listen, once; `push` takes the points."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(push))

    async def aclose(self) -> None:
        """End the subscription."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, push: Push) -> None:
        while True:
            changes = Changes(self.client, PORT_DATABASE, PORT_TABLE)
            changes.start()
            try:
                await self._listen(changes, push)
            except PollRefusedError as error:
                self.state, rest = str(error), RETRY_S
            except CollectError as error:
                self._failures += 1
                self.state = str(error)
                rest = max(1.0, rest_s(f"{self.client.where} links", self._failures, error.rest_seconds))
            finally:
                self.dropped += changes.dropped
                await changes.aclose()
            self.reconnects += 1
            await asyncio.sleep(rest)

    async def _listen(self, changes: Changes, push: Push) -> None:
        """Push what comes until the subscription ends.

        Raises:
            CollectError: why the device ended it.
        """
        while True:
            for notification in await changes.fetch():
                self._tell(notification, push)
            if changes.synced:
                self.state, self._failures = "on", 0

    def _tell(self, notification: Any, push: Push) -> None:
        answers, broken = read_notifications([notification], (PORT_TABLE,))
        table = read_ports(answers.get(PORT_TABLE), self.ports())
        self.dropped += bool(broken) or (PORT_TABLE in answers and not table)
        if points := self.make(table):
            push(points)
