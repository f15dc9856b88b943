"""The rows of a gNMI answer and their leaves; `collectors/gnmi.py` tells how a profile writes them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from collectors.decode import Batch
from collectors.profile import Group, PointSpec, Profile, Raw
from collectors.row_rules import Patterns, Rule, Strict, make_variables, matches
from storage.config import ConfigError, Problem

_NO_VALUE = frozenset({"", "n/a", "none", "null", "inf", "+inf", "-inf", "nan"})
_INTEGER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


#: the variables of a row, and its object
RowFields = tuple[dict[str, str], Mapping[str, Any]]


class Each(Strict):
    """The rows of one group: the value of `each`."""

    target: str
    path: str
    names: tuple[str, ...] = Field((), alias="as")
    set: Mapping[str, tuple[Rule, ...]] = Field(default_factory=dict)
    where: Mapping[str, Patterns] = Field(default_factory=dict)

    def rows(self, answer: object, ports: "Ports") -> Iterator[RowFields]:
        """Yield the variables and the object of each row."""
        if not isinstance(answer, Mapping):
            return
        if not self.names:
            yield {}, answer
            return
        for key, fields in answer.items():
            parts = key.rsplit(":", len(self.names) - 1)
            if len(parts) == len(self.names) and isinstance(fields, Mapping):
                row = make_variables(self.set, ports.rename(dict(zip(self.names, parts, strict=True))))
                if matches(row, self.where):
                    yield row, fields


@dataclass(frozen=True, slots=True)
class Ports:
    """SONiC's names of the ports and their aliases."""

    names: Mapping[str, str]
    aliases: Mapping[str, str]

    @classmethod
    def read(cls, table: object) -> "Ports":
        """Read PORT_TABLE; what is no port, or has no alias, is left out."""
        found = {
            name: str(fields["alias"])
            for name, fields in (table.items() if isinstance(table, Mapping) else ())
            if isinstance(fields, Mapping) and fields.get("alias")
        }
        return cls({alias: name for name, alias in found.items()}, found)

    def rename(self, row: dict[str, str]) -> dict[str, str]:
        """Return the row with its port under SONiC's name, and its alias where it has one."""
        if "port" in row:
            row["port"] = self.names.get(row["port"], row["port"])
            row["alias"] = self.aliases.get(row["port"], "")
        return row


def parse_leaf(leaf: object) -> Raw | None:
    """Return a leaf as a number where its text is one, exact beyond 2^53, as text otherwise; None for "no value"."""
    if isinstance(leaf, bool | int | float):
        return leaf
    if not isinstance(leaf, str) or leaf.strip().lower() in _NO_VALUE:
        return None
    text = leaf.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def add_all(group: Group, spec: PointSpec, rows: Sequence[RowFields], batch: Batch) -> None:
    """Add one point of each row to the batch; rows that lack it are told once."""
    silent = []
    for row, fields in rows:
        value = next((leaf for name in spec.addresses if (leaf := parse_leaf(fields.get(name))) is not None), None)
        if value is None:
            silent.append(row)
        else:
            batch.add(group, spec, value, row)
    for row in silent[:1]:
        what = f"{spec.to}: no {' or '.join(spec.addresses)} in {len(silent)} of {len(rows)} rows"
        batch.miss(f"{what} ({' '.join(row.values())})", group, spec, row)


def read_groups(profile: Profile) -> list[tuple[Group, Each]]:
    """Return the groups of a profile and how their rows are found.

    Raises:
        ConfigError: a group that gNMI does not understand.
    """
    groups, problems = [], []
    for number, group in enumerate(profile.groups):
        try:
            groups.append((group, Each.model_validate(dict(group.each))))
        except ValidationError as error:
            for found in error.errors():
                place = ".".join(map(str, found["loc"]))
                problems.append(Problem(profile.profile, 0, f"groups[{number}].each.{place}", found["msg"]))
    if problems:
        raise ConfigError(problems)
    return groups
