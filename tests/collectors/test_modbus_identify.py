"""Which profile fits a Modbus device, and what is said where none does."""

import struct
from dataclasses import replace
from datetime import timedelta

import pytest
from modbus_bus import MemoryLoop, all_but_in_memory, answering, registers, run_in_memory
from services import free_port

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, Target, UnknownDeviceError
from collectors.modbus import collector as modbus
from collectors.profile import Library, Profile

#: a meter: 230 V to neutral and 50 Hz as float32
METER = {0: 0x4366, 1: 0x0000, 18: 0x4248, 19: 0x0000}


def target(port: int, **options: str) -> Target:
    return Target("dev-1", "modbus", f"127.0.0.1:{port}", timeout=timedelta(seconds=20), options=options)


def candidates() -> list[Profile]:
    return Library().of_protocol("modbus")


async def test_a_meter_behind_a_gateway_is_recognised_under_the_unit_that_the_target_names() -> None:
    asked: set[int] = set()

    async def gateway(unit: int, pdu: bytes) -> bytes:
        asked.add(unit)
        start, count = struct.unpack(">HH", pdu[1:])
        numbers = range(start, start + count)
        if unit != 7:
            return bytes((pdu[0] | 0x80, 11))
        if pdu[0] != 4 or any(number not in METER for number in numbers):
            return bytes((pdu[0] | 0x80, 2))
        return registers(4, *(METER[number] for number in numbers))

    async with answering(gateway) as port:
        found = await modbus.identify(target(port, unit="7"), candidates())
        assert found.profile == "generic_meter"
        assert asked == {7}
        # Without its number nobody finds it: the standing in for a whole range of units would be a guess.
        with pytest.raises(DeviceTimeoutError, match="name profile and unit"):
            await modbus.identify(target(port), candidates())


async def test_a_device_that_answers_and_fits_nothing_is_unknown() -> None:
    async def zeros(unit: int, pdu: bytes) -> bytes:
        count = struct.unpack(">HH", pdu[1:])[1]
        return registers(pdu[0], *[0] * count)

    async with answering(zeros) as port:
        with pytest.raises(UnknownDeviceError, match=r"dev-1 127.*fits none of .* generic_cdu, .*profile new"):
            await modbus.identify(target(port), candidates())


def test_a_silent_unit_is_asked_once_for_all_profiles() -> None:
    asked: list[int] = []
    ours = [profile for profile in candidates() if profile.match["units"] == [1]]
    assert len(ours) > 3

    async def work(loop: MemoryLoop) -> None:
        with pytest.raises(DeviceTimeoutError, match=r"unit 1 .*timeout; no unit of the profiles .* answers"):
            await modbus.identify(replace(target(502), timeout=timedelta(seconds=1)), ours)

    run_in_memory(all_but_in_memory(1, asked), work)
    assert asked == [1]


async def test_nobody_at_the_address_is_told_as_refused() -> None:
    with pytest.raises(DeviceRefusedError, match="connect"):
        await modbus.identify(target(free_port()), candidates())


async def test_a_wrong_unit_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(CollectError, match="unit='x' is no unit id"):
        await modbus.identify(target(502, unit="x"), candidates())
