"""Every class of Modbus gear, polled over TCP with its profile: it tells the factory's state, to its resolution."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from devices import numbers, target_of

from collectors.collector import PollResult
from collectors.modbus import collector
from collectors.profile import Library, Profile, load_profile
from collectors.simulator.factory import Factory
from collectors.simulator.gear.classes import CLASSES
from collectors.simulator.gear.serve import start_gear
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Device, Service

START = 1_760_000_000.0
MODBUS = [name for name, (protocol, _, _) in CLASSES.items() if protocol == "modbus"]
SILENT_UNIT, NO_SUCH_REGISTER = 0x0B, 0x02


@dataclass(slots=True)
class Site:
    """A factory of four racks whose clock stands still unless told, and one device of every class."""

    factory: Factory
    service: Service

    def device(self, kind: str) -> Device:
        return next(device for device in self.service.devices if device.profile == kind)

    async def poll(self, kind: str) -> PollResult:
        opened = collector.open_collector(target_of(self.device(kind)), load_profile(kind))
        try:
            return await opened.poll(int(self.factory.state.time * 1e9))
        finally:
            await opened.aclose()

    def inject(self, kind: str, name: str, seconds: int = 1) -> None:
        self.factory.faults.inject(kind, name, self.factory.state.time)
        self.pass_time(seconds)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.factory.advance(self.factory.state.time + 1.0)

    async def read(self, kind: str, unit: int, function: int, first: int, count: int) -> Sequence[int]:
        """Return the registers of a raw request, or its exception as a negative number alone."""
        port = int(self.device(kind).url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(struct.pack(">HHHBBHH", 7, 0, 6, unit, function, first, count))
        head = await reader.readexactly(9)
        values = await reader.readexactly(head[8]) if head[7] == function else b""
        writer.close()
        await writer.wait_closed()
        return struct.unpack(f">{count}H", values) if head[7] == function else [-head[8]]


@asynccontextmanager
async def playing(factory: Factory) -> AsyncIterator[Site]:
    service = await start_gear(factory, MODBUS, lambda: factory.state.time)
    yield Site(factory, service)
    await service.close()
    assert factory.after_step == []


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Yield a site in which anything may go wrong."""
    async with playing(Factory(build_layout(64), seed=1, start=START)) as made:
        yield made


@pytest.fixture(scope="module")
def sound() -> Factory:
    """Return a factory that no test may harm."""
    return Factory(build_layout(64), seed=1, start=START)


@pytest.fixture
async def sound_site(sound: Factory) -> AsyncIterator[Site]:
    """Yield a site of that factory: its time does not pass."""
    async with playing(sound) as made:
        yield made


@pytest.fixture(scope="module")
def every() -> list[Profile]:
    """Return all profiles of Modbus devices."""
    return Library().of_protocol("modbus")


def active_bits(result: PollResult) -> set[str]:
    return {
        point.tags["bit"] for point in result.points if point.measurement == "alarm_bits" and point.fields["active"]
    }


#: class -> first units of its supplies, and how many there are
SUPPLIES = {"ocp_orv3_shelf": (200, 201, 202, 203, 204, 205, 232), "ocp_hpr_shelf": (208, 209, 210, 211, 212, 213, 218)}


@pytest.mark.parametrize("kind", SUPPLIES)
async def test_a_50_volt_shelf_tells_each_supply_and_their_sum(sound_site: Site, kind: str) -> None:
    result = await sound_site.poll(kind)
    assert (result.missing, result.rejected) == ((), ())
    shelves = sound_site.factory.state.shelves
    for slot, unit in enumerate(SUPPLIES[kind]):
        given = numbers(result, "power", circuit=f"psu-{unit}", side="output")
        taken = numbers(result, "power", circuit=f"psu-{unit}", side="input")
        assert given["active_watts"] == pytest.approx(shelves.psu_output_watts[0, slot], abs=1 / 16)
        assert taken["active_watts"] == pytest.approx(shelves.psu_input_watts[0, slot], abs=1 / 16)
        assert given["voltage_volts"] == pytest.approx(shelves.bus_volts[0], abs=1 / 2048)
        amperes = shelves.psu_output_watts[0, slot] / shelves.bus_volts[0]
        assert given["current_amperes"] == pytest.approx(amperes, abs=1 / 128)
        assert given["state"] == 0
    # Seven supplies, each cut to an eighth of a watt.
    total = numbers(result, "power", circuit="total", side="input")
    assert total["active_watts"] == pytest.approx(shelves.input_watts[0], abs=7 / 16)
    assert numbers(result, "bus", pole="total")["voltage_volts"] == pytest.approx(shelves.bus_volts[0], abs=1 / 2048)
    inlet = numbers(result, "environment", point=f"psu-{SUPPLIES[kind][0]}-inlet")
    assert inlet["temperature_celsius"] == pytest.approx(shelves.inlet_celsius[0], abs=1 / 256)


async def test_a_lost_and_a_mute_supply_of_an_orv3_shelf_are_told_apart(site: Site) -> None:
    # Faults are named by the units of the layout: its second and third supply.
    site.inject("psu_lost", "shelf-a01/209")
    site.inject("unit_silent", "shelf-a01/210")
    result = await site.poll("ocp_orv3_shelf")
    states = {unit: numbers(result, "power", circuit=f"psu-{unit}", side="output").get("state") for unit in (200, 201)}
    assert states == {200: 0, 201: 2}
    assert {"psu-201-ac-not-ok", "psu-201-pfc-failed"} <= active_bits(result)
    assert numbers(result, "power", circuit="psu-202") == {}
    assert numbers(result, "power", circuit="psu-201", side="input")["active_watts"] == 0


async def test_a_shelf_controller_tells_which_module_failed_and_which_is_mute(site: Site) -> None:
    quiet = await site.poll("ocp_pmm")
    assert (quiet.missing, quiet.rejected, active_bits(quiet)) == ((), (), set())
    # The second of the first six supplies, and the first of the second controller: the seventh.
    site.inject("psu_lost", "shelf-a01/209")
    site.inject("unit_silent", "shelf-a01/218", seconds=5)
    bits = active_bits(await site.poll("ocp_pmm"))
    assert {bit for bit in bits if bit.startswith("pmm-32")} == {"pmm-32-module-2", "pmm-32-module-alerts"}
    assert {bit for bit in bits if bit.startswith("pmm-33")} == {"pmm-33-module-communication", "pmm-33-module-1-fault"}
    # Time-outs of the controller's first module: one a second.
    assert await site.read("ocp_pmm", 33, 3, 102, 2) == (5, 0)


@pytest.mark.parametrize("kind", ["generic_hvdc_800", "generic_hvdc_400"])
async def test_an_hvdc_shelf_tells_bus_poles_and_rectifiers(sound_site: Site, kind: str) -> None:
    result = await sound_site.poll(kind)
    assert (result.missing, result.rejected) == ((), ())
    index = next(row for row, shelf in enumerate(sound_site.factory.layout.shelves) if f"generic_{shelf.bus}" == kind)
    shelves, bus = sound_site.factory.state.shelves, numbers(result, "bus", pole="total")
    assert bus["voltage_volts"] == pytest.approx(shelves.bus_volts[index], abs=0.051)
    assert bus["ripple_volts"] == pytest.approx(shelves.ripple_volts[index], abs=0.00051)
    positive = numbers(result, "bus", pole="positive")
    assert positive["insulation_ohms"] == pytest.approx(shelves.insulation_ohms[index, 0], abs=500)
    if kind == "generic_hvdc_400":
        assert positive["voltage_volts"] == pytest.approx(shelves.positive_volts[index], abs=0.051)
        negative = numbers(result, "bus", pole="negative")["voltage_volts"]
        assert negative == pytest.approx(shelves.negative_volts[index], abs=0.051)
    for slot in range(7):
        rectifier = numbers(result, "power", circuit=f"psu-{11 + slot}", side="output")
        assert rectifier["active_watts"] == pytest.approx(shelves.psu_output_watts[index, slot], abs=0.51)
    taken = numbers(result, "power", circuit="total", side="input")["active_watts"]
    assert taken == pytest.approx(shelves.input_watts[index], abs=0.51)


#: class -> first unit, cells, resolution of its current
BATTERIES = {"ocp_orv3_bbu": (64, 11, 0.001), "ocp_hpr_bbu": (48, 13, 0.01)}


@pytest.mark.parametrize("kind", BATTERIES)
async def test_batteries_float_full_until_the_bus_sags_and_then_give(site: Site, kind: str) -> None:
    first, cells, amperes = BATTERIES[kind]
    floating = numbers(await site.poll(kind), "battery", unit=str(first))
    # A full cell has 3.3 + 0.85 V.
    assert floating["voltage_volts"] == pytest.approx(cells * 4.15, abs=0.001)
    assert (floating["charge_ratio"], floating["state"], floating["current_amperes"]) == (1.0, 0, 0.0)
    site.inject("bus_sag", "shelf-a01", seconds=20)
    result = await site.poll(kind)
    assert result.missing == ()
    given = numbers(result, "battery", unit=str(first + 5))
    # A quarter of the shelf's output comes from six modules of 720 kJ each.
    watts = float(site.factory.state.shelves.output_watts[0]) / 24
    assert given["state"] == 2
    assert given["charge_ratio"] == pytest.approx(1 - 19.5 * watts / 720e3, abs=0.006)
    volts = cells * (3.3 + 0.85 * given["charge_ratio"])
    assert given["voltage_volts"] == pytest.approx(volts, abs=cells * 0.85 * 0.006)
    assert given["current_amperes"] == pytest.approx(-watts / given["voltage_volts"], abs=amperes + 0.001)
    minutes = given["charge_ratio"] * 720e3 / watts / 60
    assert given["runtime_seconds"] == pytest.approx(60 * minutes, abs=60)
    assert given["temperature_celsius"] == pytest.approx(site.factory.state.shelves.inlet_celsius[0] + 4, abs=0.051)


async def test_a_battery_that_gave_is_charged_again(site: Site) -> None:
    site.inject("bus_sag", "shelf-a01", seconds=20)
    site.factory.faults.clear("bus_sag", "shelf-a01")
    site.pass_time(2)
    charging = numbers(await site.poll("ocp_hpr_bbu"), "battery", unit="48")
    assert charging["state"] == 1
    # 300 W into 13 cells that are nearly full.
    assert charging["current_amperes"] == pytest.approx(300 / charging["voltage_volts"], abs=0.011)


async def test_a_pumping_unit_tells_its_loop_and_its_parts(sound_site: Site) -> None:
    result = await sound_site.poll("ocp_rpu")
    cdus, loop = sound_site.factory.state.cdus, numbers(result, "coolant", loop="tcs")
    assert result.missing == ()
    assert loop["flow_liters_per_second"] == pytest.approx(cdus.tcs_flow_liters_per_second[0], abs=0.051 / 60)
    for point in ("supply", "return"):
        own = numbers(result, "coolant", loop="tcs", point=point)
        assert own["temperature_celsius"] == pytest.approx(getattr(cdus, f"tcs_{point}_celsius")[0], abs=0.051)
        assert own["pressure_pascals"] == pytest.approx(getattr(cdus, f"tcs_{point}_pascals")[0], abs=51)
    assert numbers(result, "coolant", pump="2")["pump_speed_rpm"] == pytest.approx(cdus.pump_rpm[0, 1], abs=0.51)
    total = numbers(result, "power", circuit="total", side="input")["active_watts"]
    assert total == pytest.approx(cdus.power_watts[0], abs=0.11)
    # Its register of heat ends at 6,553.5 W: what is above is no reading.
    assert "heat_reported_watts" not in loop
    assert loop["heat_watts"] == pytest.approx(cdus.heat_watts[0], rel=0.02)


async def test_a_cdu_after_the_template_tells_both_loops_and_its_pumps(site: Site) -> None:
    site.inject("pump_lost", "cdu-1")
    result = await site.poll("generic_cdu")
    # Pumps 3 and 4 do not exist.
    assert all("input:1" in missing for missing in result.missing)
    assert {missing.partition(":1")[2][0] for missing in result.missing} == {"2", "3"}
    assert result.rejected == ()
    cdus = site.factory.state.cdus
    for loop in ("tcs", "fws"):
        flow = numbers(result, "coolant", loop=loop)["flow_liters_per_second"]
        assert flow == pytest.approx(getattr(cdus, f"{loop}_flow_liters_per_second")[0], rel=1e-6)
        for point in ("supply", "return"):
            own = numbers(result, "coolant", loop=loop, point=point)
            assert own["temperature_celsius"] == pytest.approx(getattr(cdus, f"{loop}_{point}_celsius")[0], rel=1e-6)
            assert own["pressure_pascals"] == pytest.approx(getattr(cdus, f"{loop}_{point}_pascals")[0], rel=1e-6)
    tcs = numbers(result, "coolant", loop="tcs")
    assert tcs["heat_reported_watts"] == pytest.approx(cdus.heat_watts[0], rel=1e-6)
    assert tcs["conductivity_siemens_per_meter"] == pytest.approx(cdus.conductivity_siemens_per_meter[0], rel=1e-6)
    room = numbers(result, "environment", point="ambient")
    assert room["dew_point_celsius"] == pytest.approx(cdus.dew_point_celsius[0], rel=1e-6)
    assert room["humidity_ratio"] == pytest.approx(cdus.humidity_ratio[0], rel=1e-6)
    assert [numbers(result, "coolant", pump=pump)["pump_state"] for pump in ("1", "2")] == [2, 1]


async def test_a_supermicro_cdu_among_the_gear_tells_its_loop(sound_site: Site) -> None:
    result = await sound_site.poll("supermicro_scdu")
    assert (result.missing, result.rejected) == ((), ())
    loop = numbers(result, "coolant", loop="tcs")
    assert loop["heat_watts"] == pytest.approx(sound_site.factory.state.cdus.heat_watts[0], rel=1e-4)


async def test_a_meter_tells_the_feed_of_the_site(site: Site) -> None:
    site.pass_time(3)
    result = await site.poll("generic_meter")
    assert (result.missing, result.rejected) == ((), ())
    meters, total = site.factory.state.meters, numbers(result, "power", circuit="total", side="input")
    assert total["active_watts"] == pytest.approx(meters.watts[0], rel=1e-6)
    assert total["apparent_volt_amperes"] == pytest.approx(meters.watts[0] / meters.power_factor[0], rel=1e-6)
    assert total["frequency_hertz"] == pytest.approx(meters.hertz[0], rel=1e-6)
    energy = float(meters.energy_joules.at(site.factory.state.time, 0))
    assert 0 <= energy - total["energy_joules_total"] < 3600
    phases = [numbers(result, "power", circuit="phase", phase=phase) for phase in "123"]
    assert sum(phase["active_watts"] for phase in phases) == pytest.approx(meters.watts[0], rel=1e-6)
    # An even load: V to neutral x A x power factor, three times.
    product = sum(phase["voltage_volts"] * phase["current_amperes"] for phase in phases) * total["power_factor_ratio"]
    assert product == pytest.approx(meters.watts[0], rel=1e-5)


@pytest.mark.parametrize(("kind", "leaky"), [("ocp_rpu", "internal"), ("generic_cdu", "zone-1")])
async def test_a_leak_shows_at_the_detector_that_gets_wet(site: Site, kind: str, leaky: str) -> None:
    site.inject("leak", "cdu-1")
    result = await site.poll(kind)
    wet = {point.tags["detector"] for point in result.points if point.measurement == "leak" and point.fields["state"]}
    assert wet == {leaky}


#: class -> a unit that it has and a register that this unit lacks, with the function that asks; a unit that it lacks
GAPS = {
    "ocp_orv3_shelf": (200, 3, 65, 206),
    "ocp_hpr_shelf": (208, 3, 119, 214),
    "ocp_pmm": (32, 3, 110, 34),
    "ocp_orv3_bbu": (64, 3, 120, 70),
    "ocp_hpr_bbu": (48, 3, 130, 54),
    "generic_hvdc_800": (1, 4, 17, 10),
    "generic_hvdc_400": (11, 4, 10, 18),
    "ocp_rpu": (12, 3, 36_890, 13),
    "supermicro_scdu": (1, 3, 5_040, 2),
    "generic_cdu": (1, 4, 44, 2),
    "generic_meter": (1, 4, 20, 2),
}


@pytest.mark.parametrize("kind", MODBUS)
async def test_what_a_device_lacks_is_refused(sound_site: Site, kind: str) -> None:
    unit, function, register, stranger = GAPS[kind]
    assert await sound_site.read(kind, unit, function, register, 1) == [-NO_SUCH_REGISTER]
    assert await sound_site.read(kind, unit, function, register - 1, 2) == [-NO_SUCH_REGISTER]
    assert await sound_site.read(kind, stranger, function, 0, 1) == [-SILENT_UNIT]


@pytest.mark.parametrize("kind", MODBUS)
async def test_gear_is_recognised_by_what_it_says_of_itself(sound_site: Site, every: list[Profile], kind: str) -> None:
    assert (await collector.identify(target_of(sound_site.device(kind)), every)).profile == kind


async def test_a_silent_one_is_silent_by_the_name_of_the_gear(site: Site) -> None:
    device = site.device("generic_meter")
    site.factory.silent.add(device.name)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(device.url.rpartition(":")[2]))
    writer.write(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 0, 1))
    await writer.drain()
    # The other gear answers while this one does not.
    assert await site.read("generic_cdu", 1, 4, 100, 1) == (round(site.factory.state.cdus.pump_ratio[0, 0] * 1000),)
    site.factory.silent.clear()
    writer.write(struct.pack(">HHHBBHH", 2, 0, 6, 1, 4, 0, 1))
    assert struct.unpack(">H", (await reader.readexactly(11))[:2]) == (2,)
    writer.close()
    await writer.wait_closed()


async def test_several_of_a_class_play_the_shelves_of_their_bus_in_turn() -> None:
    factory = Factory(build_layout(64), seed=1, start=START)
    service = await start_gear(factory, ["ocp_hpr_shelf"] * 3 + ["generic_hvdc_400"], lambda: START)
    site = Site(factory, service)
    names = [device.name for device in service.devices]
    serials = []
    for name in names[:3]:
        only = Site(factory, Service(tuple(d for d in service.devices if d.name == name), service.close))
        words = await only.read("ocp_hpr_shelf", 208, 3, 24, 6)
        serials.append(struct.pack(">6H", *words).rstrip(b"\0").decode())
    rectifiers = await site.read("generic_hvdc_400", 1, 4, 13, 1)
    await service.close()
    assert names == ["ocp_hpr_shelf-1", "ocp_hpr_shelf-2", "ocp_hpr_shelf-3", "generic_hvdc_400-1"]
    assert serials == ["SHELF-A01-01", "SHELF-B01-01", "SHELF-A01-01"]
    assert rectifiers == (7,)


async def test_gear_that_the_site_has_nothing_for_says_so() -> None:
    factory = Factory(build_layout(16), seed=1, start=START)
    with pytest.raises(ValueError, match="generic_hvdc_800 plays hvdc_800 shelves, and the layout has none"):
        await start_gear(factory, ["generic_hvdc_800"], lambda: START)
