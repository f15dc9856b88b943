"""Gateways and units that are slow, or start, in the middle of the polls: who waits for whom, and for how long."""

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from modbus_bus import MemoryLoop, Request, frame, registers, run_in_memory

from collectors.address import parse_target_url
from collectors.collector import CollectError, PollResult, Target
from collectors.modbus.collector import open_collector
from collectors.profile import Profile

ILLEGAL_ADDRESS = b"\x83\x02"


def profile(units: Sequence[int]) -> Profile:
    points = [
        {"to": "power.active_watts", "at": "holding:0"},
        {"to": "power.voltage_volts", "at": "holding:1"},
        {"to": "power.current_amperes", "at": "holding:2"},
    ]
    group = {"each": {"units": list(units)}, "tags": {"kind": "power_shelf", "circuit": "psu-{unit}"}, "points": points}
    return Profile.model_validate(
        {"profile": "x", "model": "own", "kind": "power_shelf", "protocol": "modbus", "source": "-", "groups": [group]}
    )


class Gateway:
    """Answers each request for 3 registers after some time; `says` may give another PDU."""

    def __init__(self) -> None:
        self.delay: Callable[[int], float] = lambda _: 0.0
        self.says: Callable[[int], bytes | None] = lambda _: None
        self.loop: MemoryLoop | None = None
        self.requests = 0

    def answer(self, request: Request) -> Sequence[bytes]:
        transaction, unit, pdu = request
        self.requests += 1
        assert self.loop is not None
        self.loop.pass_time(self.delay(unit))
        start, count = struct.unpack(">HH", pdu[1:])
        sound = registers(3, *(90, 50, 2)[start : start + count])
        return [frame(transaction, unit, self.says(unit) or sound)]


def circuits(result: PollResult) -> set[str]:
    return {point.tags["circuit"] for point in result.points}


def target(**options: str) -> Target:
    return Target("gw-1", "modbus", "10.0.0.9:502", timeout=timedelta(seconds=3), options=options)


def test_units_that_a_poll_has_no_time_for_are_read_first_in_the_next() -> None:
    gateway = Gateway()
    # 40 units of 100 ms each take 4 s, and a poll has 2.7 s.
    gateway.delay = lambda _: 0.1
    units = range(1, 41)

    async def work(loop: MemoryLoop) -> None:
        gateway.loop = loop
        collector = open_collector(target(), profile(units))
        first, second = await collector.poll(1), await collector.poll(2)
        assert circuits(first) < {f"psu-{unit}" for unit in units}
        assert "psu-40" in circuits(second)
        assert circuits(first) | circuits(second) == {f"psu-{unit}" for unit in units}
        await collector.aclose()

    run_in_memory(gateway.answer, work)


def test_one_unit_slow_by_nine_tenths_of_a_second_costs_the_others_nothing() -> None:
    gateway = Gateway()
    gateway.delay = lambda unit: 0.9 if unit == 3 else 0.002

    async def work(loop: MemoryLoop) -> None:
        gateway.loop = loop
        collector = open_collector(target(), profile(range(1, 201)))
        for number in range(3):
            result = await collector.poll(number)
            assert len(circuits(result)) == 200
            assert result.missing == ()
        await collector.aclose()

    run_in_memory(gateway.answer, work)


def test_a_unit_that_refuses_all_while_it_starts_is_back_within_its_rest_and_in_whole_spans() -> None:
    gateway = Gateway()

    async def work(loop: MemoryLoop) -> None:
        gateway.loop = loop
        collector = open_collector(target(), profile([1, 2]))
        gateway.says = lambda unit: ILLEGAL_ADDRESS if unit == 2 else None
        assert circuits(await collector.poll(1)) == {"psu-1"}
        resting = await collector.poll(2)
        assert "unit 2 holding:0: refuses all its registers in 1 polls in a row" in resting.missing
        loop.pass_time(1.0)
        assert circuits(await collector.poll(3)) == {"psu-1"}
        gateway.says = lambda _: None
        loop.pass_time(2.0)
        assert circuits(await collector.poll(4)) == {"psu-1", "psu-2"}
        gateway.requests = 0
        assert circuits(await collector.poll(5)) == {"psu-1", "psu-2"}
        assert gateway.requests == 2
        await collector.aclose()

    run_in_memory(gateway.answer, work)


def test_a_device_that_starts_every_minute_is_read_between() -> None:
    gateway = Gateway()

    async def work(loop: MemoryLoop) -> None:
        gateway.loop = loop
        collector = open_collector(target(), profile([1]))
        came = 0
        for second in range(300):
            gateway.says = lambda _, now=second: ILLEGAL_ADDRESS if now % 60 < 5 else None  # type: ignore[misc]
            with suppress(CollectError):
                came += len((await collector.poll(second)).points)
            loop.pass_time(1.0)
        gateway.says = lambda _: ILLEGAL_ADDRESS
        for number in range(2):
            with pytest.raises(CollectError, match=r"gw-1 10\.0\.0\.9:502: has none of the registers of profile x"):
                await collector.poll(number)
        await collector.aclose()
        # Of 275 polls in which it is up; after each start it rests for 4 s at most.
        assert came >= 275 - 5 * 4

    run_in_memory(gateway.answer, work)


@pytest.mark.parametrize("options", [{"unit": "7"}, {"after_timeout": "keep"}, {"unit": "0", "pause": "20ms"}])
def test_what_the_collector_understands_may_stand_in_the_url(options: dict[str, str]) -> None:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    url = parse_target_url(f"modbus://10.0.0.9:502?{query}")
    assert url.options == options
    open_collector(target(**url.options), profile([1]))
