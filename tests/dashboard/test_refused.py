"""Readings that a collector refused, as `device.error` tells of them: why the power of a meter or rack is unknown."""

import pytest
from plant import Plant

from dashboard.plant.gaps import Refused
from dashboard.plant.view import View, update
from dashboard.settings import DashboardSettings
from dashboard.site import read_site

FED_BACK = (
    "power.active_watts[kind=meter,circuit=total]=-4.2: -4200 is below 0 watts; fed back, or current transformers"
)
WHOLE = {"kind": "meter", "circuit": "total", "side": "input"}
DOUBT = "50.2 V x 97 A is 4869 W: a reading in kW?"
PRODUCT = {"device": "shelf-A01", "rack": "A01", "rule": "product", "subject": "power[circuit=total]"}


def tell(plant: Plant, device: str, rack: str = "", **health: float | str) -> None:
    plant.put("device", {"device": device, "rack": rack}, {"up": 1, "state": 0, **health}, 0)


def seen(plant: Plant, old: View | None = None, after: float = 1.0) -> View:
    plant.settle()
    return update(plant.store, read_site(plant.store), DashboardSettings(), old, plant.now + after)


def test_power_that_is_fed_back_is_unknown_and_says_why(plant: Plant) -> None:
    plant.put("power", {**WHOLE, "device": "main", "scope": "facility"}, {"voltage_volts": 400.0}, 0)
    tell(plant, "main", error=FED_BACK)
    made = seen(plant)
    (meter,) = made.ac
    assert (meter.name, meter.watts) == ("main", None)
    assert made.refused == (Refused("main", "", FED_BACK, plant.now),)
    # Once the site consumes again nothing is refused.
    plant.put("device", {"device": "main"}, {"up": 1, "state": 0}, 10)
    assert seen(plant, made, 11).refused == ()


def test_one_that_never_told_anything_else_is_known_by_the_inventory(plant: Plant) -> None:
    tell(plant, "main", error=FED_BACK)
    tell(plant, "pdu-N01", error=FED_BACK)
    assert [(one.device, one.rack) for one in seen(plant).refused] == [("main", ""), ("pdu-N01", "N01")]


@pytest.mark.parametrize(
    ("device", "health"),
    [
        # A host and a switch have pages of their own.
        ("node-1", {"error": FED_BACK}),
        ("leaf-1", {"error": FED_BACK}),
        # What does not answer is silent, and a part that is missing is told as such.
        ("main", {"error": "main: no answer", "up": 0, "state": 2}),
        ("main", {"error": "unit 12: no answer", "state": 1}),
        ("main", {}),
    ],
)
def test_what_is_no_refused_reading_of_power_and_coolant(plant: Plant, device: str, health: dict[str, float]) -> None:
    tell(plant, device, **health)
    assert seen(plant).refused == ()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (f"power.active_watts[circuit=total]=4.87: {DOUBT}", 0),
        # Cut by the collector.
        (f"power.active_watts[circuit=total]=4.87: {DOUBT[:-6]}", 0),
        (FED_BACK, 1),
    ],
)
def test_what_a_check_tells_is_told_once(plant: Plant, error: str, told: int) -> None:
    plant.put("check", PRODUCT, {"failed": 1, "failures_total": 3.0, "text": DOUBT}, 0)
    tell(plant, "shelf-A01", "A01", error=error)
    made = seen(plant)
    assert (len(made.checks), len(made.refused)) == (1, told)
