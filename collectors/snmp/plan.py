"""The instances of one table, worked out once for its rows: a switch has thousands, and they are asked each poll."""

from collections.abc import Mapping, Sequence

from collectors.row_rules import Row
from collectors.series import Rows, Variables
from collectors.snmp.session import Value
from collectors.snmp.tables import Address, Table


class Plan:
    """One table and what follows from its rows."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._rows: Sequence[Row] | None = None
        self._instances: dict[Address, Sequence[str]] = {}
        self._required: Sequence[tuple[str, tuple[int, ...], Sequence[str]]] = ()
        self._all = Rows(())
        self._alive: tuple[tuple[int, ...], Rows] = ((), Rows(()))
        self.refresh()

    @property
    def needed(self) -> bool:
        """Return whether the device must have rows of this table."""
        return bool(self.table.each.columns) and not self.table.each.optional

    def refresh(self) -> None:
        """Begin anew where the table's rows were searched again."""
        if self.table.rows is self._rows:
            return
        self._rows = self.table.rows
        self._instances.clear()
        rows = self.table.wanted()
        self._required = [
            (column, allowed, [f"{column}.{row['index']}" for row in rows if row])
            for column, allowed in self.table.each.require.items()
        ]
        self._all = Rows([_variables(row) for row in rows])
        self._alive = ((), Rows(()))

    def instances(self, address: Address) -> Sequence[str]:
        """Return the instance of an address in each row."""
        found = self._instances.get(address)
        if found is None:
            found = self._instances[address] = [address.instance(row) for row in self.table.wanted()]
        return found

    def dead(self, alive: Sequence[int] | None) -> Sequence[Variables]:
        """Return the rows that do not count now; None of `living` are all."""
        if alive is None or len(alive) == len(self._all.variables):
            return ()
        return [row for number, row in enumerate(self._all.variables) if number not in alive]

    @property
    def required(self) -> Sequence[str]:
        """Return the instances that say which rows count."""
        return [oid for _, _, oids in self._required for oid in oids]

    def living(self, values: Mapping[str, Value]) -> tuple[Sequence[int] | None, Rows, list[str]]:
        """Return the numbers of the rows that count now (None: all), those rows, and what did not come of `require`."""
        if not self._required:
            return None, self._all, []
        absent = [oid for _, _, oids in self._required for oid in oids if oid not in values]
        alive = tuple(
            number
            for number in range(len(self.table.rows))
            if all(values.get(oids[number]) in allowed for _, allowed, oids in self._required)
        )
        if alive != self._alive[0]:
            self._alive = (alive, Rows([_variables(self.table.rows[number]) for number in alive]))
        return alive, self._alive[1], absent


def _variables(row: Row | None) -> tuple[tuple[str, str], ...]:
    return tuple(row.items()) if row else ()
