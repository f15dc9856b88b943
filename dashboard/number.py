"""One live number: a value that never stands without unit, boundary, window, age, coverage and formula."""

from dataclasses import asdict, dataclass
from typing import Any

from dashboard.kpis.efficiency import Quality, quality
from dashboard.kpis.words import percent


@dataclass(frozen=True, slots=True)
class Number:
    """A value in base units, or None and why it is withheld (contract: docs/contracts.md section 3)."""

    value: float | None
    unit: str
    #: gpu_board, node, rack, it, facility, site, cdu
    boundary: str
    #: share of what the inventory expects that is known, 0 to 1
    coverage: float
    quality: Quality
    #: window it speaks of, epoch s; None where nothing is known
    start: float | None
    end: float | None
    formula: str
    why: str = ""
    #: an upper limit (a lower one of what is better high), or (low, high)
    limit: float | tuple[float, float] | None = None
    target: float | None = None


def number(
    value: float | None, unit: str, boundary: str, formula: str, *, window: tuple[float, float] | None, coverage: float
) -> Number:
    """Return a number whose quality follows from its coverage; below half of the sources it is withheld (E11)."""
    found = quality(coverage)
    if value is None or window is None or found is Quality.INVALID:
        why = "no data" if coverage == 0 else f"only {percent(coverage)} of the sources are known"
        start, end = window or (None, None)
        return Number(None, unit, boundary, coverage, Quality.INVALID, start, end, formula, why)
    return Number(float(value), unit, boundary, coverage, found, *window, formula)


def withheld(unit: str, boundary: str, formula: str, why: str) -> Number:
    """Return a number without value that says why."""
    return Number(None, unit, boundary, 0.0, Quality.INVALID, None, None, formula, why)


def to_plain(given: Number, now: float) -> dict[str, Any]:
    """Return the number as it goes to the browser; `age` = now - to. Units: s."""
    plain = asdict(given)
    plain["from"], plain["to"] = plain.pop("start"), plain.pop("end")
    plain["age"] = None if given.end is None else round(max(0.0, now - given.end), 3)
    return plain
