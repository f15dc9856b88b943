"""SNMP devices: switches, rack PDUs, DC plants, any agent. The wire is `collectors/snmp_client.py`.

How a profile of `protocol: snmp` reads:

- `match`: `sysobjectid_prefix` and `sysdescr` (a regular expression); a match of sysDescr beats any prefix, a longer
  prefix a shorter one.
- `each: {}`: scalars; `at` is a full instance (`1.3.6.1.2.1.25.1.1.0`).
- `each: {column: OID, index: [a, b]}`: one row per index that a walk of that column finds; walked again each
  `poll.slow` and after a restart of the agent. The index is the row variable `index`, its parts are `a` and `b` (the
  last name takes what is left). `union: [OID, ...]` walks several columns and takes every index of any of them.
- `labels: {name: OID}`: columns whose text becomes row variables. `set: {variable: [rule, ...]}`: variables made from
  others, the first rule that fits wins. A rule has `from` (a variable, `index` by default) and may have `match` (a
  regular expression), `map` (value -> text), `add` (an integer added to it), `text` (`{value}` or `\\1`), `when`.
- `where: {variable: pattern or patterns}` keeps the rows whose variables match (fnmatch).
- `require: {OID: [integers]}`: columns read with each poll; a row is left out unless every one has such a value.
- `at` of a row is a column, its instance is `column.index`; with braces (`column.{index}.3`) it is the instance itself.
  ` /regex/` behind an OID takes the first group of the text. Of several addresses the first that answers counts.
- `at: agent` is how much of the tables answered: 0 all that ever did, 1 a part, 2 nothing, so that a dead subagent
  under a living agent shows (SONiC: sysUpTime answers, the counters do not).

Instances are always fetched by GET: SONiC's walks stop at the first missing cell. An address that this device never
answered is asked again only each `poll.slow`.

Source: RFC 3418 (system group), RFC 2863 (IF-MIB); facts of SONiC's agent: sonic-net/sonic-snmpagent.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence

from collectors.collector import CollectError, Collector, DeviceTimeoutError, PollResult, ProtocolError, Target
from collectors.decode import Batch
from collectors.profile import PointSpec, Profile
from collectors.row_rules import Row
from collectors.snmp_client import SnmpClient, Value
from collectors.snmp_rows import Each
from collectors.snmp_tables import AGENT, Address, Table, first_value, read_groups
from storage.config import parse_duration

SYS_DESCR = "1.3.6.1.2.1.1.1.0"
SYS_OBJECT_ID = "1.3.6.1.2.1.1.2.0"
SYS_UPTIME = "1.3.6.1.2.1.1.3.0"

#: how many rows a line about missing instances names
NAMED_ROWS = 3


class SnmpCollector:
    """One agent, asked for what its profile says."""

    def __init__(self, target: Target, profile: Profile) -> None:
        """Check the target and the profile's groups; open nothing.

        Raises:
            ConfigError: a group that SNMP does not understand.
            CollectError: the target's options are wrong.
        """
        self._target = target
        self._profile = profile
        self._client = SnmpClient(target)
        self._tables = read_groups(profile)
        self._slow_ns = int(parse_duration(profile.poll.slow).total_seconds() * 1e9)
        self._last_slow_ns: int | None = None
        self._uptime = 0
        self._rows_known = False
        #: columns walked for the present search: a search that a deadline cut goes on with the next poll
        self._walked: dict[str, Mapping[str, Value]] = {}
        #: addresses that answered since start, that did not in this slow period, and that were told to be missing
        self._seen: set[Address] = set()
        self._absent: set[Address] = set()
        self._told: set[Address] = set()

    async def poll(self, time_ns: int) -> PollResult:
        """Read scalars, then the tables' instances; return their points stamped `time_ns`.

        Raises:
            CollectError: no answer, or none of what the profile asks for.
        """
        try:
            async with asyncio.timeout(self._target.timeout.total_seconds()):
                return await self._poll(time_ns)
        except TimeoutError as error:
            raise DeviceTimeoutError(
                f"{self._client.where}: poll not complete in {self._target.timeout.total_seconds():g} s"
            ) from error

    async def aclose(self) -> None:
        """Drop the session."""
        self._client.close()

    async def _poll(self, time_ns: int) -> PollResult:
        slow = self._last_slow_ns is None or time_ns - self._last_slow_ns >= self._slow_ns
        restarted = self._restarted((await self._client.get([SYS_UPTIME])).get(SYS_UPTIME))
        if slow or restarted:
            self._rows_known = False
        if not self._rows_known:
            await self._find_rows()
        values = await self._client.get(self._instances(slow))
        if not values:
            raise ProtocolError(
                f"{self._client.where}: the agent answers but has nothing of profile {self._profile.profile!r}: "
                "its subagent is missing, its view excludes it, or another profile fits"
            )
        values[AGENT] = self._agent_state(slow, values)
        batch = Batch(self._target, self._profile)
        for table in self._tables:
            self._decode(table, values, slow, batch)
        if slow:
            self._last_slow_ns = time_ns
        return batch.finish(time_ns)

    def _restarted(self, uptime: Value | None) -> bool:
        """Tell whether sysUpTime went back: indexes may have moved."""
        before, self._uptime = self._uptime, uptime if isinstance(uptime, int) else self._uptime
        return self._uptime < before

    async def _find_rows(self) -> None:
        """Walk for the rows of every table; each column is walked once, whichever tables ask for it."""
        for table in self._tables:
            # An agent whose tables are gone for a moment must not lose us the rows: they are asked for by GET.
            table.rows = await self._rows_of(table.each) or table.rows
        self._walked.clear()
        self._absent.clear()
        self._rows_known = True

    async def _rows_of(self, each: Each) -> list[Row]:
        for column in each.columns:
            if column not in self._walked:
                self._walked[column] = await self._client.walk(column)
        # Rows without an index are a quirk of SONiC's agent.
        indexes = sorted({index for column in each.columns for index in self._walked[column] if index}, key=_numeric)
        labels = {name: await self._cells(column, indexes) for name, column in each.labels.items()}
        rows = []
        for index in indexes:
            texts = {name: str(cells[index]) for name, cells in labels.items() if cells.get(index, "") != ""}
            row = each.row(index, texts)
            if row is not None:
                rows.append(row)
        return rows

    async def _cells(self, column: str, indexes: Sequence[str]) -> Mapping[str, Value]:
        """Return a column's cells: what a walk brought, and by GET what it left out."""
        cells = dict(self._walked.get(column, {}))
        left = {f"{column}.{index}": index for index in indexes if index not in cells}
        values = await self._client.get(list(left))
        return cells | {left[oid]: value for oid, value in values.items() if oid in left}

    def _candidates(self, addresses: tuple[Address, ...]) -> list[Address]:
        """Return the addresses to try, in order: none behind one that is known to answer, none known to be absent."""
        tried = []
        for address in addresses:
            if address not in self._absent:
                tried.append(address)
            if address in self._seen:
                break
        return tried

    def _instances(self, slow: bool) -> list[str]:
        """Return every instance of this poll once, row by row."""
        wanted: dict[str, None] = {}
        for table in self._tables:
            due = table.due(slow)
            for row in table.wanted() if due else ():
                if row is not None:
                    wanted.update(dict.fromkeys(f"{column}.{row['index']}" for column in table.each.require))
                for _, addresses in due:
                    wanted.update(dict.fromkeys(address.instance(row) for address in self._candidates(addresses)))
        wanted.pop(AGENT, None)
        return list(wanted)

    def _agent_state(self, slow: bool, values: Mapping[str, Value]) -> int:
        """Return how much of what the tables ever answered came now: 0 all, 1 a part, 2 nothing."""
        asked = answered = 0
        for table in self._tables:
            known = [address for _, found in table.due(slow) for address in found if address in self._seen]
            oids = [address.instance(row) for row in table.rows for address in known]
            asked += len(oids)
            answered += sum(oid in values for oid in oids)
        tables = any(table.each.columns for table in self._tables)
        if tables and not any(table.rows for table in self._tables):
            return 2
        return 0 if answered == asked else 1 if answered else 2

    def _decode(self, table: Table, values: Mapping[str, Value], slow: bool, batch: Batch) -> None:
        if table.each.columns and not table.rows:
            batch.miss(f"{table.group.points[0].to}: no rows at {', '.join(table.each.columns)}")
        rows = [row for row in table.wanted() if row is None or self._is_alive(table.each, row, values, batch)]
        for spec, addresses in table.due(slow):
            candidates = self._candidates(addresses)
            silent = []
            for row in rows:
                value = first_value(candidates, row, values, self._seen)
                if value is None:
                    silent.append("" if row is None else row["index"])
                else:
                    batch.add(table.group, spec, value, row)
            if silent:
                self._note_silence(spec, candidates, silent, len(rows), batch)

    def _is_alive(self, each: Each, row: Row, values: Mapping[str, Value], batch: Batch) -> bool:
        for column, allowed in each.require.items():
            value = values.get(f"{column}.{row['index']}")
            if value not in allowed:
                came = "no such instance" if value is None else f"{value!r}"
                batch.miss(f"row {row['index']}: {column} is {came}, not one of {', '.join(map(str, allowed))}")
                return False
        return True

    def _note_silence(
        self, spec: PointSpec, candidates: Sequence[Address], silent: list[str], rows: int, batch: Batch
    ) -> None:
        """Report missing instances; an address that never answered is told once and left alone for a while."""
        never = [address for address in candidates if address not in self._seen]
        fresh = not self._told.issuperset(candidates) or len(never) < len(candidates)
        if len(silent) == rows:
            self._absent.update(never)
        self._told.update(candidates)
        if candidates and fresh:
            named = ", ".join(index for index in silent[:NAMED_ROWS] if index)
            where = f" for {len(silent)} of {rows} rows ({named})" if named else ""
            batch.miss(f"{spec.to}: no such instance at {' or '.join(a.oid for a in candidates)}{where}")


def open_collector(target: Target, profile: Profile | None) -> Collector:
    """Return the collector of one SNMP agent; nothing is opened yet.

    Raises:
        CollectError: no profile, or the target's options are wrong.
        ConfigError: the profile has a group that SNMP does not understand.
    """
    if profile is None:
        raise CollectError(f"{target.name} {target.address}: SNMP needs a profile")
    return SnmpCollector(target, profile)


async def identify(target: Target, candidates: Sequence[Profile]) -> Profile:
    """Ask the agent what it is and return the profile that fits best.

    Raises:
        CollectError: no answer, or no candidate fits; names what the agent says and the candidates.
    """
    client = SnmpClient(target)
    try:
        answer = await client.get([SYS_DESCR, SYS_OBJECT_ID])
    finally:
        client.close()
    descr = " ".join(str(answer.get(SYS_DESCR, "")).replace('"', "").split())
    object_id = str(answer.get(SYS_OBJECT_ID, ""))
    scored = [(score, profile) for profile in candidates if (score := _score(profile, descr, object_id)) > (0, 0)]
    if not scored:
        names = ", ".join(profile.profile for profile in candidates)
        raise CollectError(f"{client.where}: sysObjectID {object_id}, sysDescr {descr!r}: none of {names} fits")
    return max(scored, key=lambda pair: pair[0])[1]


def _score(profile: Profile, descr: str, object_id: str) -> tuple[int, int]:
    """Return how well a profile fits, (0, 0) where it does not."""
    prefix, pattern = profile.match.get("sysobjectid_prefix"), profile.match.get("sysdescr")
    if prefix and not f"{object_id}.".startswith(f"{prefix}."):
        return (0, 0)
    if pattern and not re.search(pattern, descr):
        return (0, 0)
    return (1 if pattern else 0, len(prefix.split(".")) if prefix else 0)


def _numeric(index: str) -> tuple[int, ...]:
    return tuple(map(int, index.split(".")))
