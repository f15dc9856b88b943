"""The last hour of rack power over a real store: what the live view does not believe is no part of it."""

from typing import Any

import orjson
import pytest
from plant import Clock, Plant

from dashboard.live import Live
from dashboard.settings import DashboardSettings

SHELF = {"device": "shelf-A01", "rack": "A01", "kind": "power_shelf", "circuit": "total", "side": "input"}
BUILDING = {"device": "A01", "rack": "A01", "kind": "rack", "scope": "rack", "circuit": "total", "side": "input"}
FAILING = {"device": "shelf-A01", "rack": "A01", "rule": "product", "subject": "power[circuit=total]"}


def both(live: Live) -> tuple[dict[str, Any], list[float | None]]:
    """Return the live IT power, and the hour of it."""
    live.tick()
    live.tick_history()
    assert live.snapshot is not None
    assert live.history is not None
    now: dict[str, Any] = orjson.loads(live.snapshot.body)["numbers"]["it_watts"]
    hour: list[float | None] = orjson.loads(live.history.body)["series"]["it_watts"]
    return now, hour


@pytest.mark.parametrize(
    ("shelf", "building", "it_watts", "live_watts"),
    [
        # 3,000 W of each rack and 400 W of the network rack.
        ({"active_watts": 3000.0}, None, 6400.0, 6400.0),
        # kW for W: 3 W of a rack whose four GPUs draw 2,000 W. Two of three racks are left: too few for the hour.
        ({"active_watts": 3.0}, None, None, 3400.0),
        ({"active_watts": 3.0}, 3010.0, 6410.0, 6410.0),
        # Both of its sources are wrong: 0.9 x 2,000 W is the least that is believed.
        ({"active_watts": 3.0}, 1799.0, None, 3400.0),
        ({"active_watts": 3.0}, 1801.0, 5201.0, 5201.0),
        # Its collector withholds what failed a check: the shelf tells its volts alone.
        ({"voltage_volts": 50.0}, None, None, 3400.0),
        ({"voltage_volts": 50.0}, 3010.0, 6410.0, 6410.0),
    ],
)
def test_the_hour_and_the_live_view_leave_out_the_same_rack_power(
    plant: Plant, shelf: dict[str, float], building: float | None, it_watts: float | None, live_watts: float
) -> None:
    def write(at: float) -> None:
        plant.put("power", SHELF, shelf, at)
        if "active_watts" not in shelf:
            plant.put("check", FAILING, {"failed": 1, "failures_total": 200.0 + at, "text": "a reading in kW?"}, at)
        if building is not None:
            plant.put("power", BUILDING, {"active_watts": building}, at)

    plant.run(start=-100, skip=("shelf-A01",), also=write)
    plant.settle()
    now, hour = both(Live(plant.store, DashboardSettings(), clock=lambda: plant.now + 1))
    assert hour[-1] == (it_watts if it_watts is None else pytest.approx(it_watts))
    assert now["value"] == pytest.approx(live_watts)
    assert (now["quality"] == 0) == (it_watts is not None)


def test_what_was_wrong_and_is_mended_stays_left_out_of_its_part_of_the_hour(plant: Plant) -> None:
    """A dashboard that starts later saw nothing of it; one that runs on keeps it."""
    clock = Clock(plant.now + 1)

    def write(at: float) -> None:
        plant.put("power", SHELF, {"active_watts": 3.0 if at < -200 else 3000.0}, at)
        plant.put("power", BUILDING, {"active_watts": 3010.0}, at)

    plant.run(start=-500, step=10, skip=("shelf-A01",), also=write)
    plant.settle()
    fresh = Live(plant.store, DashboardSettings(), clock=clock)
    hour = both(fresh)[1]
    # 20 steps before the end are 400 s, 5 of them 100 s.
    assert (hour[-20], hour[-5]) == (pytest.approx(6410), pytest.approx(6400))
    assert None not in hour[-20:]
    clock.now += 20
    again = both(fresh)[1]
    assert (again[-21], again[-6]) == (hour[-20], hour[-5])
