"""Files that people write: YAML with positions, secrets from outside, and every mistake told at once."""

from dataclasses import dataclass


class Secret:
    """A value that prints as `<secret>`; `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: where, what, and the way out."""

    file: str
    #: 1-based; 0 when the file as a whole is meant
    line: int
    #: dotted path: storage.engine, collectors.targets[3].url
    key: str
    reason: str
    #: what would be right: allowed values, or the command that helps
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.reason}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(Exception):
    """Everything that is wrong with the files, found in one pass."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems
