"""What the energy brought: tokens per joule, coverage and quality. Rules E9 to E13 and E16 of the KPI definition."""

from dataclasses import dataclass
from enum import IntEnum

from dashboard.kpis.windows import Bools, Floats
from dashboard.kpis.words import percent

#: both coverages at least: the value stands (E11)
OK_COVERAGE = 0.95
#: both coverages at least: the value is shown as partial; below, it is withheld (E11)
PARTIAL_COVERAGE = 0.5
#: energy below this per GPU means that the power is missing (E12). Units: J
LEAST_JOULES = 1.0
#: a group takes part in a ratio when this share of the window is known on both sides (E9)
GROUP_COVERAGE = 0.9


class Quality(IntEnum):
    """How far to trust a number."""

    OK = 0
    PARTIAL = 1
    INVALID = 2


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of sums: the value, or None and why it is withheld."""

    value: float | None
    quality: Quality
    why: str = ""


def coverage(covered_seconds: float, expected: float, window_seconds: float) -> float:
    """Return covered seconds over expected seconds, 0 to 1 (E10): s / (count x s)."""
    if expected <= 0 or window_seconds <= 0:
        return 0.0
    return min(1.0, covered_seconds / (expected * window_seconds))


def quality(*coverages: float) -> Quality:
    """Return the quality that these coverages allow (E11); the worst of them decides."""
    worst = min(coverages)
    if worst >= OK_COVERAGE:
        return Quality.OK
    return Quality.PARTIAL if worst >= PARTIAL_COVERAGE else Quality.INVALID


def tokens_per_joule(tokens: float, joules: float, gpus: int, coverages: tuple[float, ...]) -> Ratio:
    """Return sum of tokens / sum of joules = tokens/J = (tokens/s) / W (E16).

    0 tokens give 0, a valid answer (E13). Below 1 J per GPU the power is missing and the value is withheld (E12).
    Nothing is scaled up for what is missing (E11).
    """
    found = quality(*coverages)
    if found is Quality.INVALID:
        return Ratio(None, found, f"only {percent(min(coverages))} of the sources are known")
    if joules < LEAST_JOULES * max(gpus, 1):
        return Ratio(None, Quality.INVALID, "energy is missing")
    return Ratio(tokens / joules, found)


def joules_per_token(tokens: float, joules: float) -> float | None:
    """Return J / tokens = J per token; None without tokens, never infinity (E13)."""
    return joules / tokens if tokens > 0 else None


def matched(tokens_covered: Floats, engines: Floats, energy_covered: Floats, meters: Floats, window: float) -> Bools:
    """Return which groups (hosts, racks) take part in a ratio: known on both sides over the same time (E9).

    Arguments hold one element per group: covered seconds of its engines, how many engines are expected, covered
    seconds of its energy sources, how many of those are expected. Units: s. A group without engines needs energy only.
    """
    need = GROUP_COVERAGE * window
    told: Bools = (tokens_covered >= need * engines) & (energy_covered >= need * meters) & (meters > 0)
    return told


def share_outside(amounts: Floats, outside: Bools) -> float | None:
    """Return the share of the sum that belongs nowhere (E14): sum of the amounts outside / sum; None of nothing."""
    total = float(amounts.sum())
    return float(amounts[outside].sum()) / total if total > 0 else None


def facility_tokens_per_joule(board: float, node_factor: float, pue: float) -> float:
    """Return board tokens/J x (board J / IT J) / (facility J / IT J) = tokens per facility joule, an estimate."""
    return board * node_factor / pue


def useful_watts(*stages: float) -> float:
    """Return the product of the stages from facility watt to delivered token: (W/W) x (W/W) x ... = W/W."""
    product = 1.0
    for stage in stages:
        product *= stage
    return product


def grams_co2_per_million_tokens(joules_per_output_token: float, pue: float, grams_per_kwh: float) -> float:
    """Return J/token x 1e6 tokens x PUE / 3.6e6 J/kWh x g/kWh = g per million tokens."""
    return joules_per_output_token * 1e6 * pue / 3.6e6 * grams_per_kwh
