"""What becomes of a poll on its way: contradictions are withheld and told, energy is integrated, health counts both."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from collectors.collector import Target
from collectors.poller import Poller
from collectors.profile import Library
from collectors.simulator.replay_mqtt import NOW, played
from storage.point import Point

SECOND = 1_000_000_000
METER = {"objectType": "PowerMeter", "objectId": "meter-1", "servesId": []}


def messages(**told: tuple[float, str]) -> list[Mapping[str, Any]]:
    """Return what a building system publishes of one meter: point -> value and unit."""
    listed: list[Mapping[str, Any]] = []
    for point, (value, unit) in told.items():
        metadata = {**METER, "pointType": point, **({"engUnit": unit} if unit else {})}
        body = {"value": value, "timestamp": NOW, "quality": 1}
        listed += [
            {"topic": f"BMS/v1/PUB/Metadata/PowerMeter/{point}/x", "retain": True, "payload": metadata},
            {"topic": f"BMS/v1/PUB/Value/PowerMeter/{point}/x", "payload": body},
        ]
    return listed


@pytest.fixture
async def poller() -> AsyncIterator[Callable[[str], Poller]]:
    made: list[Poller] = []

    def make(url: str) -> Poller:
        address = url.removeprefix("mqtt://")
        target = Target("bms", "mqtt", address, "nvidia_dsx_bms", timedelta(seconds=10), timedelta(seconds=60))
        made.append(Poller(target, Library()))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


async def heard(poller: Poller, names: set[str]) -> int:
    """Poll until these fields of power, and others, have been heard; return the epoch second after that poll."""
    async with asyncio.timeout(60):
        for second in count():
            points = await poller.poll(second * SECOND)
            if names <= {name for point in of(points, "power") for name in point.fields}:
                return second + 1
            await asyncio.sleep(0.02)
    raise AssertionError


def of(points: list[Point], measurement: str) -> list[Point]:
    return [point for point in points if point.measurement == measurement]


async def test_kilowatts_taken_for_watts_never_leave_the_collector(poller: Callable[[str], Poller]) -> None:
    # sqrt(3) x 400 V x 150 A x 0.965 is 100.3 kW; told are 100.2 W
    told = messages(ActivePower=(100.2, "W"), Voltage=(400.0, "V"), Current=(150.0, "A"), PowerFactor=(0.965, ""))
    async with played(told) as url:
        polled = poller(url)
        at = await heard(polled, {"voltage_volts", "current_amperes", "power_factor_ratio"})
        points = await polled.poll(at * SECOND)
    (row,) = of(points, "power")
    assert row.fields == {"voltage_volts": 400.0, "current_amperes": 150.0, "power_factor_ratio": 0.965}
    (failed,) = of(points, "check")
    assert failed.tags == {"device": "meter-1", "rule": "product", "subject": "power total input"}
    assert failed.fields["failed"] == 1
    assert "a reading in kW?" in str(failed.fields["text"])
    (health,) = of(points, "device")
    assert health.fields["values_rejected_total"] == failed.fields["failures_total"]


async def test_energy_goes_with_each_power(poller: Callable[[str], Poller]) -> None:
    async with played(messages(ActivePower=(100.0, "kW"))) as url:
        polled = poller(url)
        at = await heard(polled, {"active_watts"})
        (first,) = of(await polled.poll((at + 10) * SECOND), "power")
        (second,) = of(await polled.poll((at + 20) * SECOND), "power")
        (third,) = of(await polled.poll((at + 100) * SECOND), "power")
    grown = float(second.fields["integrated_joules_total"]) - float(first.fields["integrated_joules_total"])
    assert grown == pytest.approx(1_000_000.0)
    assert third.fields["integrated_joules_total"] == second.fields["integrated_joules_total"]
    assert third.fields["integrated_gap_seconds_total"] == 80.0


async def test_power_that_is_fed_back_is_refused_and_said_with_the_device(poller: Callable[[str], Poller]) -> None:
    told = messages(ActivePower=(-4.2, "kW"), Voltage=(400.0, "V"))
    async with played(told) as url:
        polled = poller(url)
        at = await heard(polled, {"voltage_volts"})
        points = await polled.poll(at * SECOND)
    (row,) = of(points, "power")
    assert "active_watts" not in row.fields
    (health,) = of(points, "device")
    assert "-4200 is below 0 watts; fed back, or current transformers turned round" in str(health.fields["error"])
    assert health.fields["state"] == 0
