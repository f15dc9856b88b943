"""SNMP devices: switches, rack PDUs, DC plants, any agent. The wire is `collectors/snmp/client.py`.

How a profile of `protocol: snmp` reads:

- `match`: `sysobjectid_prefix`, `sysdescr` (a regular expression) and `has` (an instance that the agent answers); all
  that are given must fit. A match of sysDescr beats any other, then one of `has`, then the longer prefix.
- `each: {}`: scalars; `at` is a full instance (`1.3.6.1.2.1.25.1.1.0`).
- `each: {column: OID, index: [a, b]}`: one row per index that a walk of that column finds; walked again each
  `poll.slow` and after a restart of the agent. The index is the row variable `index`, its parts are `a` and `b` (the
  last name takes what is left); `index: regex` with named groups takes it apart and leaves out the rows that it does
  not fit. `union: [OID, ...]` walks several columns and takes every index of any of them. `optional: true`: a device
  without any such row lacks nothing.
- `labels: {name: OID}`: columns whose text becomes row variables; with braces (`column.{a}`) the cell of another
  table. `times: {name: {default: [...], all: [...], option: name}}` reads the rows once for each value of a variable,
  as the target's option chooses. `target` is the target's own name. `set: {variable: [rule, ...]}`: variables made from
  others, the first rule that fits wins. A rule has `from` (a variable, `index` by default) and may have `match` (a
  regular expression), `map` (value -> text), `add` (an integer added to it), `text` (`{value}` or `\\1`), `when`.
- `where: {variable: pattern or patterns}` keeps the rows whose variables match (fnmatch).
- `settings: {name: OID}`: scalars of the device that become variables of each row, also of `each: {settings: ...}`
  alone, which is one row of scalars. `scale_if` and `unit_if` use them. They are read again with the rows.
- `require: {OID: [integers]}`: columns read with each poll; a row is left out unless every one has such a value; with
  `withhold: true` what is derived from its readings (a sum, an imbalance) is then withheld.
- `at` of a row is a column, its instance is `column.index`; with braces (`column.{index}.3`) it is the instance itself.
  ` /regex/` behind an OID takes the first group of the text. Of several addresses the first that answers counts.
- `at: agent` is how much of the tables answered: 0 all that ever did, 1 a part, 2 nothing, so that a dead or hung
  subagent under a living agent shows (SONiC: sysUpTime answers, the counters do not).
- `transport: {anchor: column}` and `each: {anchored: true}`: the counters of these tables are taken just after the
  agent refreshed them and stamped with that instant (`collectors/snmp/anchor.py`). `wrap: 32`: `collectors/unwrap.py`.

Instances are always fetched by GET: SONiC's walks stop at the first missing cell. An address that this device never
answered is asked again only each `poll.slow`.

Source: RFC 3418 (system group), RFC 2863 (IF-MIB); facts of SONiC's agent: sonic-net/sonic-snmpagent.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from collectors.collector import (
    CollectError,
    Collector,
    DeviceTimeoutError,
    PollResult,
    ProtocolError,
    Target,
    Trap,
    UnknownDeviceError,
)
from collectors.decode import Batch
from collectors.profile import Profile
from collectors.snmp.anchor import Anchor, Clock, Refresh
from collectors.snmp.answers import MISSING, Answers, Due, Schedule
from collectors.snmp.check import check_profile as check_profile
from collectors.snmp.client import SnmpClient, Value
from collectors.snmp.counters import Counters, ResetEvent
from collectors.snmp.links import read_link
from collectors.snmp.plan import Plan
from collectors.snmp.probe import examine as examine
from collectors.snmp.rows import RowSearch, part_doubles
from collectors.snmp.tables import Table, read_groups
from collectors.unwrap import BootClock
from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS

SYS_DESCR = "1.3.6.1.2.1.1.1.0"
SYS_OBJECT_ID = "1.3.6.1.2.1.1.2.0"
SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
HR_UPTIME = "1.3.6.1.2.1.25.1.1.0"
IF_NUMBER, IF_NAME = "1.3.6.1.2.1.2.1.0", "1.3.6.1.2.1.31.1.1.1.1"
#: what the agent itself answers though its subagents do not
GREETING = (SYS_UPTIME, HR_UPTIME)

#: shares of a poll's deadline: for the tables, so that a hung subagent leaves time to ask the agent itself, and for
#: waiting for refreshes
TABLES_SHARE, WAIT_SHARE = 0.8, 0.5
#: a clock that made less than this share of the way (1 / 1.5) was set back
CLOCK_SHARE = 1.5
#: a poll may begin so much after its stamp
LATE_NS = 3_000_000_000
BACKWARDS = "this host's clock was set back: octets and packets are left out until it has caught up"
#: notifications of unknown ports that one poll tells of
STRANGE_LINKS = 5
#: how well a profile fits that does not: by sysDescr, by an instance of its own, by the length of its prefix
NO_FIT = (0, 0, 0)
#: an agent is given so long to say what it is
IDENTIFY = timedelta(seconds=10)


class SnmpCollector:
    """One agent, asked for what its profile says."""

    def __init__(self, target: Target, profile: Profile, clock: Clock | None = None) -> None:
        """Check the target and the profile's groups; open nothing.

        Raises:
            ConfigError: a group that SNMP does not understand.
            CollectError: the target's options are wrong.
        """
        self._target = target
        self._profile = profile
        self._clock = clock or Clock()
        self._deadline_s = target.timeout.total_seconds()
        self._client = SnmpClient(target, monotonic=self._clock.monotonic)
        self._answers = Answers(read_groups(profile, target))
        self._search = RowSearch(self._client)
        self._schedule = Schedule(profile.poll, target.name)
        self._counters = Counters(target.interval.total_seconds())
        column = profile.transport.get("anchor")
        self._anchor = Anchor(str(column), self._clock) if column else None
        self._restarts, self._boots = BootClock(), BootClock()
        self._booted = False
        #: the interfaces' number and names when their rows were last checked
        self._names: dict[str, Value] = {}
        self._rows_known = False
        #: the refresh that this poll's anchored counters were taken after
        self._refresh: Refresh | None = None
        self._agent = 0
        self._polls = 0
        #: stamp of the last anchored points, also in monotonic seconds; when this poll began; whether the clock was set
        #: back since; notifications of ports that nobody knows
        self._anchored_ns, self._anchored_s, self._began_s, self._set_back = 0, 0.0, 0.0, False
        self._strange_links: list[str] = []
        #: lines about what a search for rows found odd, to be told
        self._odd: list[str] = []

    async def poll(self, time_ns: int) -> PollResult:
        """Read scalars, then the tables' instances; return their points stamped `time_ns`, anchored ones otherwise.

        Raises:
            CollectError: no answer, or none of what the profile asks for.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._poll(time_ns)
        except TimeoutError as error:
            raise DeviceTimeoutError(f"{self._client.where}: poll not complete in {self._deadline_s:g} s") from error

    async def aclose(self) -> None:
        """Drop the session."""
        self._client.close()

    def take_trap(self, trap: Trap, time_ns: int) -> Sequence[Point]:
        """Return the state that a linkUp or linkDown tells; nothing for another, or for a port that nobody knows."""
        link = read_link(trap)
        if link is None:
            return ()
        batch, found = Batch(self._target, self._profile), ""
        for plan in self._answers.plans:
            for row in plan.table.rows if plan.table.each.columns else ():
                if row["index"] != link.index:
                    continue
                for spec, _ in plan.table.addresses:
                    if spec.to in link.states and found in ("", row["interface"]):
                        batch.add(plan.table.group, spec, link.states[spec.to], row)
                        found = row["interface"]
        if not found:
            if len(self._strange_links) < STRANGE_LINKS:
                self._strange_links.append(link.index)
            return ()
        return (*batch.finish(time_ns).points, self._event("link", link.severity, link.text, found, time_ns))

    async def _poll(self, time_ns: int) -> PollResult:
        due = self._schedule.due(time_ns)
        self._began_s = self._clock.monotonic()
        values = await self._greet()
        began, hung, self._refresh = asyncio.get_running_loop().time(), "", None
        try:
            async with asyncio.timeout(TABLES_SHARE * self._deadline_s):
                if due.medium and self._rows_known:
                    await self._check_rows()
                if due.slow or not self._rows_known:
                    await self._find_rows()
                await self._read(values, due, began)
        except (TimeoutError, DeviceTimeoutError) as error:
            hung = await self._explain_silence(error, values)
        self._check(values, hung)
        return self._result(values, due, time_ns, hung)

    async def _greet(self) -> dict[str, Value]:
        """Ask the agent itself for its clocks."""
        sent_s = self._clock.monotonic()
        try:
            values = await self._client.get(GREETING)
        except CollectError:
            # What was learned of the session, above all that its keys are right, may be wrong by now.
            self._client.close()
            raise
        # When a clock was read lies between request and receipt.
        unsure_s = (self._clock.monotonic() - sent_s) / 2
        uptime, boot = values.get(SYS_UPTIME), values.get(HR_UPTIME)
        if self._restarts.booted(uptime if isinstance(uptime, int) else None, sent_s + unsure_s, unsure_s):
            self._rows_known = False  # indexes may have moved
        if self._boots.booted(boot if isinstance(boot, int) else None, sent_s + unsure_s, unsure_s):
            self._booted = True
        return values

    async def _check_rows(self) -> None:
        """Have the rows searched anew where the number of interfaces is another, or an index has another name."""
        if not self._names:
            return
        found = await self._client.get(list(self._names))
        self._rows_known = not found or found == self._names

    async def _find_rows(self) -> None:
        """Walk for the rows of every table; each column is walked once, whichever tables ask for it."""
        plans = self._answers.plans
        interfaces = any(IF_NAME in plan.table.each.columns for plan in plans)
        names = await self._client.get([IF_NUMBER]) if interfaces else {}
        told = await self._search.settings(plan.table.each for plan in plans)
        searched = [await self._search.rows(p.table.each, {**p.table.given, **_settings(p.table, told)}) for p in plans]
        # From here on nothing waits: a deadline must not leave the rows of some tables new and of others old.
        found, self._odd = part_doubles(searched)
        self._odd += _untold([plan for plan, rows in zip(plans, found, strict=True) if rows], told)
        needed = [rows for plan, rows in zip(plans, found, strict=True) if plan.needed]
        self._names = {**names, **self._search.column(IF_NAME)}
        for plan, rows in zip(plans, found, strict=True):
            # An agent whose tables are gone for a moment must not lose us the rows: they are asked for by GET.
            plan.table.rows = rows if rows or not plan.table.each.columns else plan.table.rows
        self._search.forget()
        self._answers.forget_absent()
        for plan in plans:
            plan.refresh()
        self._counters.prepare(plans)
        # Where nothing was found, what comes back may have other indexes: it is searched again before it is read.
        self._rows_known = not needed or any(needed)

    async def _read(self, values: dict[str, Value], due: Due, began: float) -> None:
        """Read the instances into `values`, anchored ones first, just after a refresh."""
        anchor, indexes = self._anchor, self._anchored_indexes()
        if anchor is None or not indexes:
            await self._client.get([oid for oid in self._answers.instances(due) if oid not in values], values)
            return
        watched = anchor.instances(indexes)
        refresh = self._refresh = await anchor.wait(self._client.get, watched, self._left(began))
        await self._client.get(self._answers.instances(due, anchored=True), values)
        anchor.note(values, indexes)
        if not watched and (watched := anchor.instances(indexes)):  # it was idle and is no more
            refresh = self._refresh = await anchor.wait(self._client.get, watched, self._left(began))
            await self._client.get(self._answers.instances(due, anchored=True), values)
        rest = self._answers.instances(due, anchored=False)
        await self._client.get([oid for oid in rest if oid not in values], values)
        self._polls += 1
        # The first poll shall not be kept waiting for it.
        if refresh is not None and (self._polls == 2 or (due.slow and self._polls > 1)):
            await self._time_refresh(anchor, watched, refresh, began)

    async def _time_refresh(self, anchor: Anchor, watched: Sequence[str], refresh: Refresh, began: float) -> None:
        """Wait for the refresh after this one, where the deadline allows; what was read counts without it too."""
        try:
            await anchor.wait(self._client.get, watched, self._left(began), refresh)
        except DeviceTimeoutError:
            return

    def _left(self, began: float) -> float:
        """Return the time that a poll may still wait for a refresh. Units: s."""
        return max(0.0, WAIT_SHARE * self._deadline_s - (asyncio.get_running_loop().time() - began))

    def _anchored_indexes(self) -> list[str]:
        rows = (row for plan in self._answers.plans if plan.table.each.anchored for row in plan.table.rows)
        return list(dict.fromkeys(row["index"] for row in rows))

    async def _explain_silence(self, error: Exception, values: Mapping[str, Value]) -> str:
        """Return what to tell of tables that do not answer in time; raise where the agent itself does not either."""
        if isinstance(error, TimeoutError):
            error = DeviceTimeoutError(f"tables not complete in {TABLES_SHARE * self._deadline_s:g} s")
        if not self._answers.tells_state and not values.keys() - set(GREETING):
            raise error
        await self._client.get([SYS_UPTIME])
        return f"the agent answers, its tables do not: a subagent hangs or is slow: {error}"

    def _check(self, values: Mapping[str, Value], hung: str) -> None:
        asked = self._answers.instances(Due(medium=True, slow=True))
        if not hung and not any(oid in values for oid in asked):
            raise ProtocolError(
                f"{self._client.where}: the agent answers but has nothing of profile {self._profile.profile!r}: "
                "its subagent is missing, its view excludes it, or another profile fits"
            )

    def _result(self, values: dict[str, Value], due: Due, time_ns: int, hung: str) -> PollResult:
        refresh = self._refresh
        stamp = self._stamp(refresh, time_ns)
        batch = Batch(self._target, self._profile)
        anchored = batch if stamp == time_ns else Batch(self._target, self._profile)
        for line in (*([hung] if hung else []), *([BACKWARDS] if self._set_back else []), *self._odd):
            batch.miss(line)
        self._odd = []
        for index in self._strange_links:
            batch.miss(f"notification of a link at ifIndex {index}, which no row has")
        self._strange_links.clear()
        resets = self._counters.take(values, self._booted, self._clock.monotonic())
        self._booted = False
        state = self._answers.decode(values, due, batch, anchored)
        if not hung:
            self._schedule.done(due, time_ns)
        events = [*self._reset_events(resets, time_ns), *self._agent_events(state, hung, time_ns)]
        result = batch.finish(time_ns)
        points, missing, rejected = self._with_refresh(result.points, time_ns), result.missing, result.rejected
        if anchored is batch or stamp is None:
            points = self._with_age(points, refresh, time_ns)
        if anchored is not batch:
            theirs = anchored.finish(stamp or time_ns)
            points = [*points, *(self._with_age(theirs.points, refresh, time_ns) if stamp else [])]
            missing, rejected = (*missing, *theirs.missing), (*rejected, *theirs.rejected)
        requests, anew = self._client.requests, self._counters.resets
        again = self._client.reconnects
        return PollResult([*points, *events], missing, rejected, requests=requests, reconnects=again, resets=anew)

    def _stamp(self, refresh: Refresh | None, time_ns: int) -> int | None:
        """Return the stamp of anchored points: the refresh, else the poll's; None where they must not be told.

        Nothing is told twice, and nothing at a time that would make a rate of it too high by half: the clock was set.
        """
        self._set_back = False
        if self._anchor is None:
            return time_ns
        if self._anchor.stale and refresh is None:
            return None
        stamp, at_s = (time_ns, self._began_s) if refresh is None else (refresh.time_ns, refresh.at_s)
        least_ns = (at_s - self._anchored_s) / CLOCK_SHARE * 1e9 - (LATE_NS if refresh is None else 0)
        self._set_back = bool(self._anchored_ns) and stamp - self._anchored_ns < max(1.0, least_ns)
        if self._set_back:
            return None
        self._anchored_ns, self._anchored_s = stamp, at_s
        return stamp

    def _with_age(self, points: Sequence[Point], refresh: Refresh | None, time_ns: int) -> Sequence[Point]:
        """Add how old the counters of the ports are, where a refresh was waited for and one is known."""
        last = refresh or (self._anchor.last if self._anchor and self._anchor.waited else None)
        if last is None:
            return points
        age = {"counter_age_seconds": max(0.0, (time_ns - last.time_ns) / 1e9)}
        return [replace(p, fields={**p.fields, **age}) if p.measurement == "interface" else p for p in points]

    def _with_refresh(self, points: Sequence[Point], time_ns: int) -> Sequence[Point]:
        """Add the time between two refreshes to the switch's own point."""
        if self._anchor is None or self._anchor.period_s is None:
            return points
        fields: dict[str, FieldValue] = {"counter_refresh_seconds": self._anchor.period_s}
        self._anchor.period_s = None
        own = self._tags("switch")
        for number, point in enumerate(points):
            if point.measurement == "switch" and point.tags == own:
                changed = replace(point, fields={**point.fields, **fields})
                return [*points[:number], changed, *points[number + 1 :]]
        return [*points, Point("switch", own, fields, time_ns)]

    def _reset_events(self, resets: Sequence[ResetEvent], time_ns: int) -> list[Point]:
        return [self._event("reset", 0, reset.text, reset.interface, time_ns) for reset in resets]

    def _agent_events(self, state: int, hung: str, time_ns: int) -> list[Point]:
        """Tell once that the tables went away or came back; back, everything is asked for anew."""
        before, self._agent = self._agent, state
        if (state == MISSING) == (before == MISSING) or not self._answers.tells_state:
            return []
        if state == MISSING:
            text = hung or "the agent answers, its tables are gone: a subagent is dead"
            return [self._event("agent", 1, text, "", time_ns)]
        self._rows_known = False
        self._schedule.reset()
        return [self._event("agent", 0, "its tables answer again", "", time_ns)]

    def _event(self, kind: str, severity: int, text: str, interface: str, time_ns: int) -> Point:
        tags = self._tags("switch_event", interface=interface, kind=kind)
        return Point("switch_event", tags, {"severity": severity, "text": text}, time_ns)

    def _tags(self, measurement: str, **own: str) -> dict[str, str]:
        tags = {self._profile.identity: self._target.name, **self._target.tags, **own}
        return {name: tags[name] for name in MEASUREMENTS[measurement].tags if tags.get(name)}


def _settings(table: Table, told: Mapping[str, str]) -> Mapping[str, str]:
    """Return the settings of the device that a table's rows have as variables."""
    return {name: told[oid] for name, oid in table.each.settings.items() if oid in told}


def _untold(plans: Sequence[Plan], told: Mapping[str, str]) -> list[str]:
    """Return a line for each setting that rows of these tables need and the device does not tell."""
    wanted = {oid: name for plan in plans for name, oid in plan.table.each.settings.items()}
    return [
        f"setting {name!r}: no such instance at {oid}: readings that need it are refused"
        for oid, name in wanted.items()
        if oid not in told
    ]


def open_collector(target: Target, profile: Profile | None, clock: Clock | None = None) -> Collector:
    """Return the collector of one SNMP agent; nothing is opened yet. `clock` is the machine's without it.

    Raises:
        CollectError: no profile, or the target's options are wrong.
        ConfigError: the profile has a group that SNMP does not understand.
    """
    if profile is None:
        raise CollectError(f"{target.name} {target.address}: SNMP needs a profile")
    return SnmpCollector(target, profile, clock)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Ask the agent what it is and return the profile that fits best.

    Raises:
        CollectError: no answer, or no candidate fits; names what the agent says and the candidates.
    """
    client = SnmpClient(target, IDENTIFY)
    try:
        own = [str(profile.match["has"]) for profile in candidates if "has" in profile.match]
        answer = await client.get([SYS_DESCR, SYS_OBJECT_ID, *dict.fromkeys(own)])
    finally:
        client.close()
    descr = " ".join(str(answer.get(SYS_DESCR, "")).replace('"', "").split())
    object_id = str(answer.get(SYS_OBJECT_ID, ""))
    scored = [
        (score, profile) for profile in candidates if (score := _score(profile, descr, object_id, answer)) > NO_FIT
    ]
    if not scored:
        names = ", ".join(profile.profile for profile in candidates)
        raise UnknownDeviceError(f"{client.where}: sysObjectID {object_id}, sysDescr {descr!r}: none of {names} fits")
    return max(scored, key=lambda pair: pair[0])[1]


def _score(profile: Profile, descr: str, object_id: str, answer: Mapping[str, Value]) -> tuple[int, int, int]:
    """Return how well a profile fits, NO_FIT where it does not."""
    prefix, pattern = profile.match.get("sysobjectid_prefix"), profile.match.get("sysdescr")
    own = profile.match.get("has")
    if prefix and not f"{object_id}.".startswith(f"{prefix}."):
        return NO_FIT
    if pattern and not re.search(pattern, descr):
        return NO_FIT
    if own and own not in answer:
        return NO_FIT
    return (1 if pattern else 0, 1 if own else 0, len(prefix.split(".")) if prefix else 0)
