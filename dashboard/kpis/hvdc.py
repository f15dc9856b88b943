"""Supplies and buses: what they can carry, how evenly they share, how far the bus is from what it should be."""

import math
from collections.abc import Sequence
from typing import TypeVar

from dashboard.kpis.windows import Floats

Numbers = TypeVar("Numbers", float, Floats)

#: a supply under this share of its rating says nothing of its efficiency
LEAST_LOAD = 0.10


def efficiency(output_watts: float, input_watts: float, rated_watts: float | None) -> float | None:
    """Return output W / input W (W/W); None below 10 % load, or where the input is none.

    Without a known rating only a supply that gives something is judged.
    """
    if input_watts <= 0 or output_watts <= 0 or output_watts < LEAST_LOAD * (rated_watts or 0.0):
        return None
    return output_watts / input_watts


def usable_watts(units: int, unit_watts: float, reserve: int | None) -> float:
    """Return (n - r) x W of one, or half of n x W where `reserve` is None (N+N). Units: W."""
    return units * unit_watts / 2 if reserve is None else max(units - reserve, 0) * unit_watts


def headroom_ratio(p99_watts: float, usable: float) -> float | None:
    """Return 1 - W drawn (99th percentile) / W usable (W/W); below 0 when passed; None where nothing is usable."""
    return 1.0 - p99_watts / usable if usable > 0 else None


def stranded_watts(provisioned: float, p99_watts: float, reserve_watts: float) -> float:
    """Return W provisioned - (W drawn, 99th percentile + W held in reserve) = W that nobody can use."""
    return provisioned - (p99_watts + reserve_watts)


def units_needed(watts: float, unit_watts: float) -> int:
    """Return how many supplies the load takes: W / W of one, rounded up; one at least."""
    return max(1, math.ceil(watts / unit_watts - 1e-9))


def whole_above(watts: Numbers, told: Numbers, expected: int) -> Numbers:
    """Return the W over which a shelf's own reading speaks of all its supplies, not only of those that tell `watts`.

    That is more than half of what the silent ones would add at an even share. `told`: how many tell; not 0.
    """
    return watts * (1.0 + 0.5 * (expected - told) / told)


def share_errors(values: Sequence[float]) -> list[float]:
    """Return the deviation of each from their mean, over that mean (A/A); none where they are no load."""
    mean = sum(values) / len(values) if values else 0.0
    return [(value - mean) / mean for value in values] if mean > 0 else []


def imbalance(values: Sequence[float]) -> float | None:
    """Return max |x - mean| / mean of at least two currents (A/A); None without load."""
    errors = share_errors(values) if len(values) > 1 else []
    return max(map(abs, errors), default=None)


def pole_imbalance(positive_volts: float, negative_volts: float) -> float | None:
    """Return ||V+| - |V-|| / (|V+| + |V-|) (V/V); None where both are nothing."""
    plus, minus = abs(positive_volts), abs(negative_volts)
    return abs(plus - minus) / (plus + minus) if plus + minus > 0 else None


def ohms_per_volt(insulation_ohms: float, bus_volts: float) -> float | None:
    """Return ohm to earth / V of the bus (ohm/V). Source: ISO 16315 asks for 500."""
    return insulation_ohms / abs(bus_volts) if bus_volts else None


def failover_headroom(watts: Sequence[float], rated: Sequence[float]) -> float | None:
    """Return what is left when the worst feed is lost: W of the others' ratings - W of all. Units: W.

    None with fewer than two feeds.
    """
    return min(sum(rated) - lost for lost in rated) - sum(watts) if len(rated) > 1 else None


def failover_ratio(watts: Sequence[float], rated: Sequence[float]) -> float | None:
    """Return the load of those that stay when the worst feed is lost: W of all / W of the others' ratings (W/W)."""
    left = min((sum(rated) - lost for lost in rated), default=0.0) if len(rated) > 1 else 0.0
    return sum(watts) / left if left > 0 else None
