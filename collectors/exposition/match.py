"""Which profile a metrics page belongs to: the word `match` of a profile (see `collectors/exposition/collector.py`)."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, field_validator

from collectors.collector import UnknownDeviceError
from collectors.profile import Profile

#: where exporters and servers have their page, tried where a URL has no path. `/metrics` comes last:
#: on some servers it is JSON that each reading empties
USUAL_PATHS = ("/prometheus/metrics", "/v1/metrics", "/metrics")

_BEGINNING = re.compile(r"[a-zA-Z0-9]+[:_]?")
#: beginnings of names told of an unknown page
_TOLD = 8


class Match(BaseModel):
    """How a page is recognised: the value of `match`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    rank: int = 0
    paths: tuple[str, ...] = ()

    @field_validator("prefix", "metrics", "without", "paths", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("prefix", "metrics", "without")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value):
            raise ValueError("an empty text would fit every metric")
        return value

    @field_validator("paths")
    @classmethod
    def _from_the_root(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(path.startswith("/") for path in value):
            raise ValueError("a path begins with /")
        return value

    def score(self, names: Collection[str]) -> tuple[int, int] | None:
        """Return how well a page with metrics of these names fits, to compare with others, or None where it does not.

        `prefix` alone, `metrics` alone, or both must hold; a match that says neither fits nothing.
        """
        own = sum(name.startswith(self.prefix) for name in names) if self.prefix else 0
        named = all(name in names for name in self.metrics)
        if not named or not (own or (self.metrics and not self.prefix)):
            return None
        if self.without and any(name.startswith(self.without) for name in names):
            return None
        return self.rank, own or len(self.metrics)


def choose(where: str, names: Collection[str], candidates: Sequence[Profile]) -> Profile:
    """Return the profile that a page with metrics of these names fits best: highest rank, then most names.

    Raises:
        UnknownDeviceError: none fits; says what the names begin with and which profiles were tried.
    """
    matches = {profile.profile: Match.model_validate(dict(profile.match)) for profile in candidates}
    scores = {name: score for name, match in matches.items() if (score := match.score(names)) is not None}
    best = max((p for p in candidates if p.profile in scores), key=lambda p: scores[p.profile], default=None)
    if best is not None:
        return best
    seen = Counter(found[0] for name in names if (found := _BEGINNING.match(name)))
    begin = ", ".join(prefix for prefix, _ in seen.most_common(_TOLD))
    told = (f"{name} ({', '.join(match.prefix or match.metrics)})" for name, match in matches.items())
    tried = ", ".join(told) or "none"
    raise UnknownDeviceError(f"{where}: server unknown: its metrics begin with {begin}; profiles tried: {tried}")


def possible_urls(address: str, paths: Sequence[str] = ()) -> list[str]:
    """Return where a target's page may be: its URL, and for one without a path the usual paths of its server too."""
    parts = urlsplit(address)
    if parts.path not in ("", "/"):
        return [address]
    return [address, *(urlunsplit(parts._replace(path=path)) for path in dict.fromkeys((*paths, *USUAL_PATHS)))]
