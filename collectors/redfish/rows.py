"""Which resources a profile reads of one service, and how they are read: member by member, or a collection at once.

`$expand` gives all members of a collection in one answer. Some services drop properties then, or do not answer at all:
so it is tried where the service root says that it is there, and compared with the members themselves; a service that
fails once is not asked so again.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    ProtocolError,
)
from collectors.redfish.client import ROOT, NoResourceError, Session
from collectors.redfish.each import Options, Table, fits
from collectors.redfish.paths import Resource, fill

logger = logging.getLogger(__name__)

#: members that a collection may have: what says more is no collection of a device
_MOST_MEMBERS = 2000
#: resources that a pattern may stand for
_MOST_ROWS = 20_000
_EXPAND = "?$expand=.($levels=1)"
#: share of a look's time that the first collection which hangs may take; each further one takes half of the one before
_HANG_BUDGET = 0.5
#: share of the time left that collections read at once may take, so that their members can be read yet
_EXPAND_BUDGET = 0.5

Outcome = Resource | CollectError | NoResourceError


@dataclass(frozen=True, slots=True)
class Row:
    """One resource as one group sees it."""

    table: Table
    uri: str
    variables: Mapping[str, str]


async def gather(session: Session, uris: Collection[str], deadline: float, *, whole: bool) -> dict[str, Outcome]:
    """Return each resource, or why it did not come by `deadline` (loop time)."""
    # One that did not come the last time shall not keep the others waiting again.
    ordered = sorted(uris, key=lambda uri: (uri in session.late, uri))
    tasks = {uri: asyncio.ensure_future(session.get(uri, whole=whole)) for uri in ordered}
    if not tasks:
        return {}
    try:
        await asyncio.wait(tasks.values(), timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    return {uri: _outcome(f"{session.where}: GET {uri}", task) for uri, task in tasks.items()}


def _outcome(what: str, task: "asyncio.Future[Resource]") -> Outcome:
    if task.cancelled():
        return DeviceTimeoutError(f"{what}: timeout")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, CollectError | NoResourceError):
        return error
    raise error


@dataclass(slots=True)
class Finder:
    """Finds the rows of all groups; collections and other resources are read once per look."""

    session: Session
    options: Options
    #: time of the whole look. Units: s
    time_s: float = float("inf")
    #: collection -> its members
    collections: dict[str, Sequence[str]] = field(default_factory=dict)
    #: groups whose rows are not known, and why: a collection that does not come as it should
    failed: list[tuple[Table, CollectError]] = field(default_factory=list)
    _looked_at: dict[str, Resource] = field(default_factory=dict)
    #: what did not come in this look: several groups ask for the same
    _lost: dict[str, CollectError] = field(default_factory=dict)
    _hangs: int = 0

    async def rows(self, tables: Sequence[Table]) -> Sequence[Row]:
        """Return the rows of all groups, each with its variables; one that is broken or hangs leaves the others whole.

        Raises:
            CollectError: the service does not answer, or no group's rows can be known.
        """
        rows: list[Row] = []
        for number, table in enumerate(tables):
            try:
                rows += await self._rows(table)
            except (ProtocolError, AuthenticationError, DeviceTimeoutError, DeviceRefusedError) as e:
                # A log-in that is refused is not tried for each group.
                if isinstance(e, AuthenticationError) and number == len(self.failed):
                    raise
                self.failed.append((table, e))
        if tables and len(self.failed) == len(tables):
            raise self.failed[0][1]
        return rows

    async def _rows(self, table: Table) -> Sequence[Row]:
        found = await self.expand(table.parts)
        rows = [
            Row(table, uri, {**self.options.variables, **dict(zip(table.names, taken, strict=True))})
            for uri, taken in found
        ]
        wanted = [row for row in rows if self.options.wants(row.variables)]
        return [row for row in wanted if not table.of or await self._fits(table, row)]

    async def expand(self, parts: Sequence[str]) -> Sequence[tuple[str, tuple[str, ...]]]:
        """Return the URIs that a pattern stands for, each with the last parts of what its stars stand for."""
        found: list[tuple[str, tuple[str, ...]]] = [("", ())]
        for part in parts:
            if part != "*":
                found = [(uri + part, taken) for uri, taken in found]
                continue
            deeper = []
            for uri, taken in found:
                if uri not in self.collections:
                    self.collections[uri] = await self._members(uri)
                deeper += [(member, (*taken, member.rsplit("/", 1)[-1])) for member in self.collections[uri]]
            found = deeper
            if len(found) > _MOST_ROWS:
                raise ProtocolError(f"{self.session.where}: {''.join(parts)}: more than {_MOST_ROWS} resources")
        return found

    async def exists(self, parts: Sequence[str]) -> bool:
        """Return whether a pattern stands for any resource."""
        found = await self.expand(parts)
        return bool(found) and (parts[-1] == "*" or bool(await self._look_at(found[0][0])))

    async def _fits(self, table: Table, row: Row) -> bool:
        if self.options.names(table):
            return True
        return fits(await self._look_at(fill(table.of, row.variables)), table.where)

    async def _look_at(self, uri: str) -> Resource:
        """Return a resource that is not polled, empty where there is none."""
        if uri not in self._looked_at:
            try:
                self._looked_at[uri] = await self._get(uri)
            except NoResourceError:
                self._looked_at[uri] = {}
        return self._looked_at[uri]

    async def _get(self, uri: str) -> Resource:
        """Return a resource, asked for once in a look; one that hangs takes half of the look's time at most."""
        if uri in self._lost:
            raise self._lost[uri]
        try:
            async with asyncio.timeout(self.time_s * _HANG_BUDGET / 2**self._hangs):
                return await self.session.get(uri)
        except TimeoutError as e:
            self._hangs += 1
            self._lost[uri] = DeviceTimeoutError(f"{self.session.where}: GET {uri}: timeout")
            raise self._lost[uri] from e
        except (ProtocolError, DeviceTimeoutError, DeviceRefusedError) as e:
            self._lost[uri] = e
            raise

    async def _members(self, uri: str) -> Sequence[str]:
        try:
            collection = await self._get(uri)
        except NoResourceError:
            return ()
        links = collection.get("Members") or []
        if not isinstance(links, list) or len(links) > _MOST_MEMBERS:
            raise ProtocolError(f"{self.session.where}: GET {uri}: Members is no list of at most {_MOST_MEMBERS}")
        paths = [link.get("@odata.id") for link in links if isinstance(link, Mapping)]
        return list(dict.fromkeys(path.rstrip("/") for path in paths if isinstance(path, str)))


@dataclass(slots=True)
class Expander:
    """Reads collections at once where that was seen to give what their members give."""

    session: Session
    #: never again, once it failed; unknown until the service root was read
    is_off: bool
    _asked_root: bool = False
    #: collection -> its members, where it works
    _works: dict[str, frozenset[str]] = field(default_factory=dict)

    async def read(self, wanted: Collection[str], deadline: float) -> dict[str, Resource]:
        """Return those of the wanted resources that collections give; fewer where one fails."""
        found: dict[str, Resource] = {}
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(now + (deadline - now) * _EXPAND_BUDGET):
                for uri, members in list(self._works.items()):
                    if members <= set(wanted):
                        found |= await self._expanded(uri, members)
        except TimeoutError:
            self._give_up(f"{self.session.where}: too slow")
        except (ProtocolError, NoResourceError, DeviceTimeoutError) as error:
            self._give_up(str(error))
        except CollectError as error:
            logger.debug("%s", error)
        return found

    async def learn(
        self, collections: Mapping[str, Sequence[str]], resources: Mapping[str, Outcome], deadline: float
    ) -> None:
        """Try each collection of several members and compare what comes with the members themselves."""
        self._works.clear()
        try:
            async with asyncio.timeout_at(deadline):
                if self.is_off or not await self._is_offered():
                    return
                for uri, members in collections.items():
                    plain = {member: resources.get(member) for member in members}
                    if len(members) > 1 and all(isinstance(one, Mapping) for one in plain.values()):
                        await self._try(uri, plain)
        except TimeoutError:
            logger.debug("%s: no time left to try $expand", self.session.where)
        except (ProtocolError, NoResourceError, DeviceTimeoutError) as error:
            self._give_up(str(error))
        except CollectError as error:
            logger.debug("%s", error)

    async def _try(self, uri: str, plain: Mapping[str, object]) -> None:
        members = frozenset(plain)
        found = await self._expanded(uri, members)
        if lacking := next((member for member in sorted(members) if not agrees(plain[member], found[member])), None):
            raise ProtocolError(f"{self.session.where}: GET {uri}{_EXPAND}: gives less of {lacking} than GET {lacking}")
        self._works[uri] = members

    async def _expanded(self, uri: str, members: Collection[str]) -> dict[str, Resource]:
        answer = await self.session.get(uri + _EXPAND, whole=True)
        found = {str(one["@odata.id"]).rstrip("/"): one for one in _resources(answer)}
        if not set(members) <= found.keys():
            raise ProtocolError(f"{self.session.where}: GET {uri}{_EXPAND}: members are missing")
        return {member: found[member] for member in members}

    async def _is_offered(self) -> bool:
        if not self._asked_root:
            root = await self.session.get(ROOT)
            features = root.get("ProtocolFeaturesSupported")
            query = features.get("ExpandQuery") if isinstance(features, Mapping) else None
            self.is_off = not isinstance(query, Mapping) or query.get("NoLinks") is not True
            self._asked_root = True
        return not self.is_off

    def _give_up(self, why: str) -> None:
        logger.info("$expand is not used: %s", why)
        self.is_off = True
        self._works.clear()


def _resources(answer: Resource) -> Iterator[Resource]:
    members = answer.get("Members")
    for one in members if isinstance(members, list) else ():
        if isinstance(one, dict) and "@odata.id" in one:
            yield one


def agrees(plain: object, other: object) -> bool:
    """Return whether the other answer has every property of the plain one, of its kind; values may have moved on."""
    if isinstance(plain, Mapping):
        return isinstance(other, Mapping) and all(
            key in other and agrees(value, other[key]) for key, value in plain.items() if not key.startswith("@")
        )
    if isinstance(plain, list):
        return isinstance(other, list) and len(plain) == len(other) and all(map(agrees, plain, other))
    if plain is None or other is None:
        return plain is other
    numbers = isinstance(plain, int | float) and isinstance(other, int | float)
    return numbers or type(plain) is type(other)
