"""Variables of a row made from others, and the rows that a profile wants: shared by SNMP and gNMI."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

Row = dict[str, str]
Patterns = str | tuple[str, ...]


class Strict(BaseModel):
    """Text that people write: numbers may stand for text, unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Rule(Strict):
    """One way to make a row variable from another."""

    source: str = Field("index", alias="from")
    match: re.Pattern[str] | None = None
    map: Mapping[str, str] | None = None
    add: int | None = None
    text: str = "{value}"
    when: Mapping[str, Patterns] = Field(default_factory=dict)

    def apply(self, row: Row) -> str | None:
        """Return the variable's value for this row, or None where the rule does not fit."""
        value = row.get(self.source)
        if not value or not matches(row, self.when):
            return None
        found = self.match.search(value) if self.match else None
        if self.match and found is None:
            return None
        if self.map is not None:
            return self.map.get(value)
        if self.add is not None:
            if not value.isdecimal():
                return None
            value = str(int(value) + self.add)
        text = found.expand(self.text) if found else self.text
        return text.replace("{value}", value)


class Times(Strict):
    """Values that one variable takes in turn: the rows are read once for each of them."""

    #: values where the target's options do not choose
    default: tuple[str, ...]
    #: values that exist, those of the option's word `all`
    all: tuple[str, ...]
    #: the target's option that chooses: `all`, or values with commas between
    option: str | None = None

    def chosen(self, options: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values of a target with these options.

        Raises:
            ValueError: the option names a value that does not exist.
        """
        text = options.get(self.option, "") if self.option else ""
        if not text:
            return self.default
        wanted = self.all if text == "all" else tuple(part.strip() for part in text.split(","))
        if strange := [value for value in wanted if value not in self.all]:
            raise ValueError(f"{self.option}={text!r}: {strange[0]!r} is not one of {', '.join(self.all)} or all")
        return tuple(dict.fromkeys(wanted))


def make_variables(rules: Mapping[str, tuple[Rule, ...]], row: Row) -> Row:
    """Return the row with the variables that the rules make; of each variable the first rule that fits wins."""
    made = dict(row)
    for name, choices in rules.items():
        value = next((text for rule in choices if (text := rule.apply(made))), None)
        if value is not None:
            made[name] = value
    return made


def matches(row: Mapping[str, str], wanted: Mapping[str, Patterns]) -> bool:
    """Return whether every variable named fits one of its patterns (fnmatch)."""
    for name, patterns in wanted.items():
        one_of = (patterns,) if isinstance(patterns, str) else patterns
        if not any(fnmatchcase(row.get(name, ""), pattern) for pattern in one_of):
            return False
    return True
