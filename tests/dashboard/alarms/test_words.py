"""How alarms write numbers: as many digits as tell them apart, the sign that people write."""

import pytest

from dashboard.alarms.words import beside, signed


@pytest.mark.parametrize(
    ("value", "bound", "texts"),
    [
        (2.9, 3.4, ("2.90", "3.40")),
        (0.597, 0.6, ("0.597", "0.600")),
        (1.25004, 1.25, ("1.25004", "1.25000")),
        (0.6, 0.6, ("0.600000", "0.600000")),
    ],
)
def test_a_value_and_its_bound_are_told_apart(value: float, bound: float, texts: tuple[str, str]) -> None:
    assert beside(value, bound) == texts


def test_a_voltage_has_its_sign() -> None:
    assert (signed(411.2), signed(-386.8)) == ("+411", "\u2212387")
