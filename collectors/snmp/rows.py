"""The rows of an SNMP table and how they are found; `collectors/snmp/collector.py` tells how a profile writes them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from pydantic import Field

from collectors.row_rules import Patterns, Row, Rule, Strict, Times, make_variables, matches
from collectors.snmp.client import Value


class Each(Strict):
    """The rows of one group: the value of `each`."""

    column: str | None = None
    union: tuple[str, ...] = ()
    index: tuple[str, ...] | re.Pattern[str] = ()
    labels: Mapping[str, str] = Field(default_factory=dict)
    times: Mapping[str, Times] = Field(default_factory=dict)
    set: Mapping[str, tuple[Rule, ...]] = Field(default_factory=dict)
    where: Mapping[str, Patterns] = Field(default_factory=dict)
    require: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)
    #: a row that `require` leaves out withholds what is derived from its readings
    withhold: bool = False
    #: row variable -> scalar of the device that gives it to every row
    settings: Mapping[str, str] = Field(default_factory=dict)
    #: its counters are read just after the agent refreshed them, and stamped with that instant
    anchored: bool = False
    #: a device without any such row lacks nothing
    optional: bool = False

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that are walked for rows; none means scalars."""
        return (self.column, *self.union) if self.column else self.union

    @property
    def is_plain(self) -> bool:
        """Return whether it is one row without any variable."""
        return not self.columns and not self.settings

    def parts(self, index: str, given: Mapping[str, str]) -> Row | None:
        """Return the variables that an index holds, or None where it is not the index of such a row.

        What they alone rule out is left out here: labels of a row cost requests, those of hundreds cost time.
        """
        row = {"index": index, **given}
        if isinstance(self.index, tuple):
            names = self.index
            row.update(zip(names, index.split(".", len(names) - 1), strict=False) if names else ())
        elif found := self.index.search(index):
            row.update(found.groupdict(""))
        else:
            return None
        return row if matches(row, {name: wanted for name, wanted in self._early.items() if name in row}) else None

    @cached_property
    def _early(self) -> Mapping[str, Patterns]:
        later = self.labels.keys() | self.set.keys()
        return {name: wanted for name, wanted in self.where.items() if name not in later}

    def row(self, parts: Row, labels: Mapping[str, str]) -> Row | None:
        """Return all variables of a row, or None where `where` leaves it out."""
        row = make_variables(self.set, {**parts, **labels})
        return row if matches(row, self.where) else None


class Asks(Protocol):
    """What a search needs of `SnmpClient`."""

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """Return the values of those instances that the agent has."""
        ...

    async def walk(self, column: str) -> dict[str, Value]:
        """Return index -> value of a column."""
        ...


class RowSearch:
    """One search for the rows of all tables: a column is walked once, an instance asked once, whoever wants it.

    A search that a deadline cut goes on where it was; `forget` begins another.
    """

    def __init__(self, client: Asks) -> None:
        self._client = client
        self._walked: dict[str, dict[str, Value]] = {}
        self._got: dict[str, Value | None] = {}

    async def rows(self, each: Each, given: Mapping[str, str]) -> list[Row]:
        """Return the rows of one table in the order of their indexes; scalars are one row with an empty index.

        Raises:
            CollectError: no answer, or one that is no SNMP.
        """
        if not each.columns:
            scalars = each.row({"index": "", **given}, {})
            return [] if scalars is None else [scalars]
        found = [parts for index in await self._indexes(each.columns) if (parts := each.parts(index, given))]
        labels = {name: await self._cells(at, found) for name, at in each.labels.items()}
        rows = []
        for number, parts in enumerate(found):
            texts = {name: text for name, cells in labels.items() if (text := cells[number]) is not None}
            row = each.row(parts, texts)
            if row is not None:
                rows.append(row)
        return rows

    async def settings(self, tables: Iterable[Each]) -> dict[str, str]:
        """Return the settings of the device that these tables want: OID -> value as text; each is asked once."""
        wanted = list(dict.fromkeys(oid for each in tables for oid in each.settings.values()))
        got = await self._client.get(wanted) if wanted else {}
        return {oid: str(value) for oid, value in got.items() if value != ""}

    def column(self, column: str) -> dict[str, Value]:
        """Return instance -> value of a column that was walked in this search; nothing for another."""
        return {f"{column}.{index}": value for index, value in self._walked.get(column, {}).items() if index}

    def forget(self) -> None:
        """Drop what was read: the next search asks again."""
        self._walked.clear()
        self._got.clear()

    async def _indexes(self, columns: Iterable[str]) -> list[str]:
        indexes: set[str] = set()
        for column in columns:
            if column not in self._walked:
                walked = await self._client.walk(column)
                self._walked[column] = walked
                self._got.update({f"{column}.{index}": value for index, value in walked.items()})
            # Rows without an index are a quirk of SONiC's agent.
            indexes.update(index for index in self._walked[column] if index)
        return sorted(indexes, key=_numeric)

    async def _cells(self, at: str, rows: Sequence[Row]) -> list[str | None]:
        """Return a label's text for each row: what a walk brought, and by GET what it left out; None for none."""
        oids = [at.format(**row) if "{" in at else f"{at}.{row['index']}" for row in rows]
        left = list(dict.fromkeys(oid for oid in oids if oid not in self._got))
        self._got.update(dict.fromkeys(left) | await self._client.get(left) if left else {})
        return [None if self._got[oid] in (None, "") else str(self._got[oid]) for oid in oids]


def part_doubles(tables: Sequence[Sequence[Row]]) -> tuple[list[list[Row]], list[str]]:
    """Leave out the rows of ports that bear another port's name; return the rows of each table and a line for each.

    Of several ports of one name that one keeps it whose ifIndex fits it (`EthernetN` has N + 1), else the first.
    """
    claims: dict[str, dict[str, None]] = {}
    for row in (row for rows in tables for row in rows if row.get("interface")):
        claims.setdefault(row["interface"], {})[_port(row)] = None
    lost: dict[tuple[str, str], str] = {}
    for name, ports in claims.items():
        if len(ports) > 1:
            own = name.removeprefix("Ethernet")
            keeper = str(int(own) + 1) if own.isdecimal() and str(int(own) + 1) in ports else next(iter(ports))
            lost |= {(name, port): keeper for port in ports if port != keeper}
    lines = [
        f"ifIndex {port} is left out: it calls itself {name!r}, which is ifIndex {keeper}"
        for (name, port), keeper in lost.items()
    ]
    kept = [[row for row in rows if (row.get("interface", ""), _port(row)) not in lost] for rows in tables]
    return (kept, lines) if lost else ([list(rows) for rows in tables], [])


def _port(row: Row) -> str:
    return row.get("port") or row["index"]


def _numeric(index: str) -> tuple[int, ...]:
    return tuple(map(int, index.split(".")))
