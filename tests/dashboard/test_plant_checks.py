"""Since when the readings of a device contradict each other."""

from facility_site import FacilitySite
from plant import Plant

from dashboard.plant.checks import Check, look


def seen(plant: Plant, at: float, old: tuple[Check, ...] = (), looked: float | None = None) -> tuple[Check, ...]:
    """Look at `at`; `looked`: of the last look, both in seconds from the plant's now."""
    plant.settle()
    before = None if looked is None else plant.now + looked
    return look(plant.store, old, before, plant.now + at, real=False, refused=())


def since(plant: Plant, checks: tuple[Check, ...]) -> dict[str, float]:
    return {check.rule: check.since - plant.now for check in checks}


def tell(plant: Plant, rule: str, rows: dict[float, int]) -> None:
    for at, failed in rows.items():
        FacilitySite(plant).check("cdu-1", rule, "it differs", at, failed)


def test_the_first_look_finds_the_first_failure_after_the_last_pass(plant: Plant) -> None:
    tell(plant, "heat", {-80: 1, -70: 1, -60: 0, -50: 1, -40: 1})
    tell(plant, "order", {-3500: 1, -50: 1})
    tell(plant, "stuck", {-80: 1, -40: 0})
    assert since(plant, seen(plant, 0)) == {"heat": -50, "order": -3500}


def test_a_later_look_keeps_it_and_finds_what_came_since(plant: Plant) -> None:
    tell(plant, "heat", {-50: 1})
    first = seen(plant, -45)
    # The second one came late, with a stamp before that look.
    tell(plant, "heat", {-40: 1, -30: 1})
    tell(plant, "order", {-48: 1, -38: 1})
    second = seen(plant, -28, first, -45)
    assert since(plant, second) == {"heat": -50, "order": -48}
    # What passed and fails anew is a new one.
    tell(plant, "heat", {-20: 0})
    tell(plant, "order", {-18: 1})
    third = seen(plant, -15, second, -28)
    assert since(plant, third) == {"order": -48}
    tell(plant, "heat", {-10: 1})
    assert since(plant, seen(plant, -5, third, -15)) == {"heat": -10, "order": -48}
