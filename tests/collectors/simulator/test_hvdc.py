"""HVDC shelves and the faults of power shelves as raw Modbus frames tell them."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from collectors.simulator import modbus
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Service

START = 1_760_000_000.0
INPUT, HOLDING = 4, 3


@dataclass(slots=True)
class Site:
    """A factory whose clock stands still unless told, and its Modbus servers."""

    factory: Factory
    service: Service

    async def read(self, name: str, unit: int, start: int, count: int, function: int = INPUT) -> Sequence[int]:
        """Return registers, or the exception as a negative number alone."""
        url = next(device.url for device in self.service.devices if device.name == name)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(struct.pack(">HHHBBHH", 1, 0, 6, unit, function, start, count))
        head = await reader.readexactly(9)
        values = await reader.readexactly(head[8]) if head[7] == function else b""
        writer.close()
        await writer.wait_closed()
        return struct.unpack(f">{count}H", values) if head[7] == function else [-head[8]]

    def inject(self, kind: str, name: str) -> None:
        self.factory.faults.inject(kind, name, self.factory.state.time)
        self.factory.advance(self.factory.state.time + 1.0)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    factory = Factory(build_layout(64), seed=1, start=START)
    service = await modbus.start(factory, lambda: START)
    yield Site(factory, service)
    await service.close()
    assert factory.after_step == []


def u32(high: int, low: int) -> int:
    return high << 16 | low


def i16(raw: int) -> int:
    return raw - 0x10000 if raw & 0x8000 else raw


async def test_every_shelf_is_served_with_the_profile_of_its_bus(site: Site) -> None:
    profiles = {device.name: (device.profile, device.interval_seconds) for device in site.service.devices}
    assert profiles == {
        "shelf-a01": ("ocp_hpr_shelf", 2.0),
        "shelf-a02": ("generic_hvdc_400", 2.0),
        "shelf-b01": ("ocp_hpr_shelf", 2.0),
        "shelf-b02": ("generic_hvdc_800", 2.0),
        "cdu-1": ("supermicro_scdu", 2.0),
    }


async def test_a_bipolar_shelf_tells_bus_poles_power_and_insulation(site: Site) -> None:
    shelves = site.factory.state.shelves
    said = await site.read("shelf-a02", 1, 0, 17)
    assert said[0] / 10 == pytest.approx(float(shelves.bus_volts[1]), abs=0.051)
    assert said[1] / 10 == pytest.approx(float(shelves.positive_volts[1]), abs=0.051)
    assert i16(said[2]) / 10 == pytest.approx(float(shelves.negative_volts[1]), abs=0.051)
    # power is handed to the poles by halves
    poles = said[3] * said[1] / 100 - said[4] * i16(said[2]) / 100
    assert poles == pytest.approx(float(shelves.output_watts[1]), rel=0.01)
    assert u32(said[5], said[6]) == round(float(shelves.output_watts[1]))
    assert said[7] / 1e3 == pytest.approx(float(shelves.ripple_volts[1]), abs=0.001)
    assert [said[10], said[11]] == [round(float(ohms) / 1e3) for ohms in shelves.insulation_ohms[1]]
    assert (said[12], said[13], said[16]) == (0, 7, 8_000)
    assert u32(said[14], said[15]) == round(float(shelves.input_watts[1]))


async def test_a_shelf_of_800_volts_knows_no_midpoint(site: Site) -> None:
    said = await site.read("shelf-b02", 1, 0, 17)
    assert said[1:3] == (0, 0)
    assert said[3] == said[4]
    assert said[3] / 10 * said[0] / 10 == pytest.approx(u32(said[5], said[6]), rel=0.01)


async def test_rectifiers_share_the_load_of_both_feeds(site: Site) -> None:
    shelves = site.factory.state.shelves
    each = [await site.read("shelf-a02", unit, 0, 10) for unit in range(11, 18)]
    assert [said[9] for said in each] == [1, 2, 1, 2, 1, 2, 1]
    assert {said[7] for said in each} == {1}
    for slot, said in enumerate(each):
        assert u32(said[2], said[3]) == round(float(shelves.psu_output_watts[1, slot]))
        assert u32(said[4], said[5]) == round(float(shelves.psu_input_watts[1, slot]))
        assert said[0] / 10 * said[1] / 100 == pytest.approx(float(shelves.psu_output_watts[1, slot]), rel=0.01)
        assert said[6] == 2_770
    assert await site.read("shelf-a02", 18, 0, 10) == [-0x0B]
    assert await site.read("shelf-a02", 1, 17, 1) == [-2]


async def test_lowest_and_highest_voltage_begin_anew_when_they_are_read(site: Site) -> None:
    site.inject("bus_sag", "shelf-a02")
    site.factory.faults.clear("bus_sag", "shelf-a02")
    for _ in range(5):
        site.factory.advance(site.factory.state.time + 1.0)
    ripple = 0.5 * float(site.factory.state.shelves.ripple_volts[1])
    low, high = await site.read("shelf-a02", 1, 8, 2)
    assert low / 10 == pytest.approx(0.95 * 798 - ripple, abs=3)
    assert high / 10 > 795
    site.factory.advance(site.factory.state.time + 1.0)
    await site.read("shelf-a02", 1, 0, 8)  # without them
    low, high = await site.read("shelf-a02", 1, 8, 2)
    assert low / 10 > 795


async def test_faults_of_the_bus_are_told_with_their_alarm_bits(site: Site) -> None:
    site.inject("insulation_low", "shelf-b02")
    site.inject("bus_sag", "shelf-b02")
    site.inject("pole_imbalance", "shelf-a02")
    said = await site.read("shelf-b02", 1, 0, 17)
    assert said[12] == 1 << 0 | 1 << 2
    assert said[10] == pytest.approx(60, rel=0.3)
    assert said[0] / 10 < 770
    said = await site.read("shelf-a02", 1, 0, 17)
    shift = (said[1] + i16(said[2])) / (said[1] - i16(said[2]))
    assert shift == pytest.approx(0.03, abs=0.006)
    assert said[12] == 0


@pytest.mark.parametrize(
    ("shelf", "unit", "function", "register"), [("shelf-a01", 209, HOLDING, 79), ("shelf-b02", 12, INPUT, 0)]
)
async def test_a_silent_supply_works_on(site: Site, shelf: str, unit: int, function: int, register: int) -> None:
    index = [each.name for each in site.factory.layout.shelves].index(shelf)
    site.inject("unit_silent", f"{shelf}/{unit}")
    assert await site.read(shelf, unit, register, 1, function) == [-0x0B]
    assert (await site.read(shelf, unit + 1, register, 1, function))[0] > 0
    assert site.factory.state.shelves.psu_output_watts[index, 1] > 0
    if function == INPUT:
        assert (await site.read(shelf, 1, 12, 1))[0] == 1 << 4


async def test_kilowatts_for_watts_leave_volts_and_amperes_right(site: Site) -> None:
    before = await site.read("shelf-a01", 208, 79, 11, HOLDING)
    hvdc = await site.read("shelf-a02", 1, 0, 17)
    site.inject("kw_for_w", "shelf-a01")
    site.inject("kw_for_w", "shelf-a02")
    after = await site.read("shelf-a01", 208, 79, 11, HOLDING)
    for place in (3, 8):  # output 82, input 87
        assert after[place] == pytest.approx(before[place] / 1000, abs=1.5)
    assert after[1] == pytest.approx(before[1], rel=0.1)
    said = await site.read("shelf-a02", 1, 0, 17)
    assert u32(said[5], said[6]) == pytest.approx(u32(hvdc[5], hvdc[6]) / 1000, abs=2)
    assert said[3] == pytest.approx(hvdc[3], rel=0.1)
    rectifier = await site.read("shelf-a02", 11, 0, 10)
    assert u32(rectifier[4], rectifier[5]) < 10


async def test_a_failed_supply_says_so(site: Site) -> None:
    site.inject("psu_lost", "shelf-a01/208")
    site.inject("psu_lost", "shelf-b02/11")
    assert (await site.read("shelf-a01", 208, 60, 2, HOLDING)) == (1 << 0 | 1 << 8, 1 << 8 | 1 << 11)
    assert (await site.read("shelf-b02", 11, 0, 8)) == (0, 0, 0, 0, 0, 0, 2_770, 3)


async def test_an_hpr_supply_names_itself_and_remembers_its_bus(site: Site) -> None:
    words = await site.read("shelf-a01", 209, 24, 16, HOLDING)
    assert struct.pack(">16H", *words).rstrip(b"\0") == b"SHELF-A01-02"
    highest, lowest, high, low = await site.read("shelf-a01", 209, 113, 4, HOLDING)
    volts = float(site.factory.state.shelves.bus_volts[0]) * 1024
    assert lowest <= low <= volts <= high <= highest
    assert (await site.read("shelf-a01", 209, 103, 1, HOLDING))[0] == 50.5 * 1024
    site.inject("bus_sag", "shelf-a01")
    assert (await site.read("shelf-a01", 209, 114, 1, HOLDING))[0] < 47.95 * 1024
