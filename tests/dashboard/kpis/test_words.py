"""How numbers are written in sentences."""

import pytest

from dashboard.kpis.words import percent


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.754, "75 %"),
        (0.1, "10 %"),
        (0.031, "3.1 %"),
        (0.01, "1.0 %"),
        (0.0042, "0.4 %"),
        (0.0005, "0.05 %"),
        (1e-6, "<0.01 %"),
        (-0.25, "\u221225 %"),
        (-0.031, "\u22123.1 %"),
        (1.2, "120 %"),
    ],
)
def test_a_share_has_its_space_and_as_many_digits_as_it_needs(ratio: float, text: str) -> None:
    assert percent(ratio) == text
