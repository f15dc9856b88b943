"""The rows of an SNMP table; `collectors/snmp.py` tells how a profile writes it."""

from collections.abc import Mapping
from functools import cached_property

from pydantic import Field

from collectors.row_rules import Patterns, Row, Rule, Strict, make_variables, matches


class Each(Strict):
    """The rows of one group: the value of `each`."""

    column: str | None = None
    union: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    labels: Mapping[str, str] = Field(default_factory=dict)
    set: Mapping[str, tuple[Rule, ...]] = Field(default_factory=dict)
    where: Mapping[str, Patterns] = Field(default_factory=dict)
    require: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that are walked for rows; none means scalars."""
        return (self.column, *self.union) if self.column else self.union

    def row(self, index: str, labels: Mapping[str, str]) -> Row | None:
        """Return the variables of a row, or None where `where` leaves it out."""
        row = {"index": index, **labels}
        if self.index:
            parts = index.split(".", len(self.index) - 1)
            row.update(zip(self.index, parts, strict=False))
        row = make_variables(self.set, row)
        return row if matches(row, self.where) else None
