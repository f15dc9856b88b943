"""Power shelves and CDUs over Modbus: our collector against the simulator's own server, and raw frames against it."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from devices import target_of
from wire import tapped

from collectors.collector import Collector, DeviceRefusedError, DeviceTimeoutError, PollResult, Target
from collectors.modbus import collector
from collectors.modbus.client import Address, Connection
from collectors.profile import load_profile
from collectors.simulator import modbus as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Device, Service
from storage.point import Point

START = 1_760_000_000.0
START_NS = 1_760_000_000_000_000_000


@dataclass(slots=True)
class Site:
    """A factory whose clock stands still unless told, and its Modbus servers."""

    factory: Factory
    service: Service = field(init=False)
    opened: list[Collector] = field(default_factory=list)

    def device(self, name: str) -> Device:
        return next(device for device in self.service.devices if device.name == name)

    def open(self, name: str, **changes: object) -> Collector:
        target = replace(target_of(self.device(name), timeout=timedelta(seconds=20)), **changes)  # type: ignore[arg-type]
        made = collector.open_collector(target, load_profile(target.profile or ""))
        self.opened.append(made)
        return made

    def inject(self, kind: str, name: str) -> None:
        self.factory.faults.register_devices(device.name for device in self.service.devices)
        self.factory.faults.inject(kind, name, self.factory.state.time, None)
        self.factory.advance(self.factory.state.time + 1.0)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(Factory(build_layout(64), seed=1, start=START))
    made.service = await simulator.start(made.factory, lambda: START)
    yield made
    for each in made.opened:
        await each.aclose()
    await made.service.close()


def of(result: PollResult, measurement: str, **tags: str) -> Point:
    found = [p for p in result.points if p.measurement == measurement and tags.items() <= p.tags.items()]
    assert len(found) == 1, (measurement, tags, len(found))
    return found[0]


async def test_a_shelf_says_what_the_factory_knows_to_the_resolution_of_its_registers(site: Site) -> None:
    result = await site.open("shelf-a01").poll(START_NS)
    shelves, shelf = site.factory.state.shelves, site.factory.layout.shelves[0]
    assert result.missing == ()
    assert result.rejected == ()
    for slot, unit in enumerate(shelf.units):
        power_in = of(result, "power", circuit=f"psu-{unit}", side="input")
        power_out = of(result, "power", circuit=f"psu-{unit}", side="output")
        watts = float(shelves.psu_input_watts[0, slot])
        assert power_in.fields["active_watts"] == pytest.approx(watts, abs=1 / 16)
        assert power_in.fields["voltage_volts"] == pytest.approx(277.0, abs=1 / 128)
        assert power_in.fields["current_amperes"] == pytest.approx(watts / 277.0 / (507 / 512), abs=1 / 2048)
        assert power_out.fields["active_watts"] == pytest.approx(float(shelves.psu_output_watts[0, slot]), abs=1 / 16)
        assert power_out.fields["voltage_volts"] == pytest.approx(float(shelves.bus_volts[0]), abs=1 / 2048)
        assert power_in.time_ns == START_NS
    total_in = of(result, "power", circuit="total", side="input", kind="power_shelf")
    total_out = of(result, "power", circuit="total", side="output", kind="power_shelf")
    half_steps = len(shelf.units) / 16
    assert total_in.fields["active_watts"] == pytest.approx(float(shelves.input_watts[0]), abs=half_steps)
    assert total_out.fields["active_watts"] == pytest.approx(float(shelves.output_watts[0]), abs=half_steps)
    assert of(result, "bus", pole="total").fields["voltage_volts"] == pytest.approx(shelves.bus_volts[0], abs=1 / 2048)
    inlet = of(result, "environment", point=f"psu-{shelf.units[0]}-inlet").fields["temperature_celsius"]
    assert inlet == pytest.approx(float(shelves.inlet_celsius[0]), abs=1 / 256)


@pytest.mark.parametrize(("name", "index"), [("shelf-a02", 1), ("shelf-b02", 3)])
async def test_an_hvdc_shelf_says_what_the_factory_knows(site: Site, name: str, index: int) -> None:
    result = await site.open(name).poll(START_NS)
    shelves = site.factory.state.shelves
    assert result.rejected == ()
    bus = of(result, "bus", pole="total").fields
    assert bus["voltage_volts"] == pytest.approx(float(shelves.bus_volts[index]), abs=0.051)
    total_in = of(result, "power", circuit="total", side="input", kind="power_shelf")
    assert total_in.fields["active_watts"] == pytest.approx(float(shelves.input_watts[index]), abs=4)
    unit = site.factory.layout.shelves[index].units[2]
    output = of(result, "power", circuit=f"psu-{unit}", side="output").fields["active_watts"]
    assert output == pytest.approx(float(shelves.psu_output_watts[index, 2]), abs=0.51)
    if name == "shelf-a02":
        negative = of(result, "bus", pole="negative").fields["voltage_volts"]
        assert negative == pytest.approx(float(shelves.negative_volts[index]), abs=0.051)


async def test_a_cdu_says_what_the_factory_knows_to_single_precision(site: Site) -> None:
    result = await site.open("cdu-1").poll(START_NS)
    cdus = site.factory.state.cdus
    assert result.missing == ()
    loop = {"kind": "cdu", "loop": "tcs"}
    supply, back = (
        of(result, "coolant", point="supply", **loop).fields,
        of(result, "coolant", point="return", **loop).fields,
    )
    whole = next(p for p in result.points if p.measurement == "coolant" and "point" not in p.tags).fields
    single = pytest.approx
    assert supply["temperature_celsius"] == single(float(cdus.tcs_supply_celsius[0]), rel=1e-6)
    assert back["temperature_celsius"] == single(float(cdus.tcs_return_celsius[0]), rel=1e-6)
    assert supply["pressure_pascals"] == single(float(cdus.tcs_supply_pascals[0]), rel=1e-6)
    assert whole["flow_liters_per_second"] == single(float(cdus.tcs_flow_liters_per_second[0]), rel=1e-6)
    assert whole["ph"] == single(float(cdus.ph[0]), rel=1e-6)
    conductivity = float(cdus.conductivity_siemens_per_meter[0])
    assert whole["conductivity_siemens_per_meter"] == single(conductivity, rel=1e-6)
    drop = float(cdus.tcs_supply_pascals[0] - cdus.tcs_return_pascals[0])
    assert whole["differential_pressure_pascals"] == single(drop, rel=1e-5)
    assert whole["heat_watts"] == single(float(cdus.heat_watts[0]), rel=1e-5)
    power = of(result, "power", circuit="total").fields["active_watts"]
    assert power == single(float(cdus.power_watts[0]), rel=1e-6)
    assert of(result, "environment", point="ambient").fields["humidity_ratio"] == single(float(cdus.humidity_ratio[0]))
    assert of(result, "leak", detector="cdu").fields["state"] == 0


async def test_a_leak_reaches_the_next_poll(site: Site) -> None:
    cdu = site.open("cdu-1")
    await cdu.poll(START_NS)
    site.inject("leak", "cdu-1")
    assert of(await cdu.poll(START_NS), "leak", detector="cdu").fields["state"] == 2


async def test_a_failed_supply_gives_its_load_to_the_others(site: Site) -> None:
    unit = site.factory.layout.shelves[0].units[0]
    site.inject("psu_lost", f"shelf-a01/{unit}")
    result = await site.open("shelf-a01").poll(START_NS)
    assert of(result, "power", circuit=f"psu-{unit}", side="output").fields["active_watts"] == 0.0
    assert of(result, "alarm_bits", bit=f"psu-{unit}-pfc").fields["active"] == 1
    total = of(result, "power", circuit="total", side="output").fields["active_watts"]
    assert total == pytest.approx(float(site.factory.state.shelves.output_watts[0]), abs=1.0)


async def test_a_silent_shelf_times_out_and_comes_back(site: Site) -> None:
    shelf = site.open("shelf-a01", options={"timeout": "250ms"})

    async def whole() -> PollResult:
        """A busy machine may take longer than that for one answer, and such a unit is left alone for a while."""
        async with asyncio.timeout(60):
            while True:
                with suppress(DeviceTimeoutError):
                    if not (result := await shelf.poll(START_NS)).missing:
                        return result
                await asyncio.sleep(0.05)

    await whole()
    site.factory.silent.add("shelf-a01")
    with pytest.raises(DeviceTimeoutError, match=r"shelf-a01 127\.0\.0\.1:\d+: unit 208 holding \d+: timeout"):
        await shelf.poll(START_NS)
    site.factory.silent.clear()
    assert of(await whole(), "power", circuit="total", side="input")


async def test_a_late_answer_is_not_taken_for_the_next_one(site: Site) -> None:
    site.factory.slow["shelf-a01"] = 0.1
    first, second, *_ = site.factory.layout.shelves[0].units
    connection = Connection(target_of(site.device("shelf-a01")), timeout_s=20.0)
    await connection.open()
    with pytest.raises(DeviceTimeoutError):
        await connection.read(first, Address(3, 87, 1), 0.05)
    [raw] = await connection.read(second, Address(3, 87, 1), 20.0)
    watts = site.factory.state.shelves.psu_input_watts[0]
    assert raw == round(float(watts[1]) * 8)
    assert raw != round(float(watts[0]) * 8)
    connection.close()


async def test_only_read_functions_leave(site: Site) -> None:
    for name in ("shelf-a01", "cdu-1"):
        target = target_of(site.device(name))
        async with tapped(int(target.address.rpartition(":")[2])) as wire:
            polled = site.open(name, address=f"127.0.0.1:{wire.port}")
            await polled.poll(START_NS)
            await polled.poll(START_NS)
            functions = {function for sent in wire.sent for function in function_codes(bytes(sent))}
            assert functions
            assert functions <= {1, 2, 3, 4}
            await polled.aclose()


async def test_a_broken_connection_is_told_and_mended(site: Site) -> None:
    target = target_of(site.device("shelf-a01"))
    async with tapped(int(target.address.rpartition(":")[2])) as wire:
        shelf = site.open("shelf-a01", address=f"127.0.0.1:{wire.port}")
        await shelf.poll(START_NS)
        await wire.pull()
        with pytest.raises(DeviceRefusedError, match=r"shelf-a01 127\.0\.0\.1"):
            await shelf.poll(START_NS)
        await wire.plug()
        assert of(await shelf.poll(START_NS), "power", circuit="total", side="input")
        await shelf.aclose()


@pytest.mark.parametrize(
    ("unit", "request_", "answer"),
    [
        (208, struct.pack(">BHH", 6, 94, 0), b"\x86\x01"),  # write: illegal function
        (208, struct.pack(">BHH", 3, 130, 1), b"\x83\x02"),  # outside the map: illegal address
        (208, struct.pack(">BHH", 3, 52, 126), b"\x83\x03"),  # too many: illegal value
        (33, struct.pack(">BHH", 3, 79, 1), b"\x83\x0b"),  # no such unit: gateway
        (208, struct.pack(">BHH", 3, 88, 1), b"\x03\x02" + struct.pack(">H", 277 * 64)),
    ],
)
async def test_the_server_answers_as_the_protocol_says(site: Site, unit: int, request_: bytes, answer: bytes) -> None:
    port = int(target_of(site.device("shelf-a01")).address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    frame = struct.pack(">HHHB", 77, 0, len(request_) + 1, unit) + request_
    for byte in frame:  # in pieces, as a slow network delivers
        writer.write(bytes((byte,)))
        await writer.drain()
    header = await reader.readexactly(7)
    assert header == struct.pack(">HHHB", 77, 0, len(answer) + 1, unit)
    assert await reader.readexactly(len(answer)) == answer
    writer.close()
    await writer.wait_closed()


async def test_identify_tells_shelf_and_cdu_apart(site: Site) -> None:
    candidates = [load_profile("supermicro_scdu"), load_profile("ocp_hpr_shelf")]
    for name, profile in (("shelf-b01", "ocp_hpr_shelf"), ("cdu-1", "supermicro_scdu")):
        target: Target = replace(target_of(site.device(name)), profile=None)
        assert (await collector.identify(target, candidates)).profile == profile


def function_codes(sent: bytes) -> list[int]:
    """Return the function code of each request in a client's bytes."""
    codes, at = [], 0
    while at < len(sent):
        length = struct.unpack_from(">H", sent, at + 4)[0]
        codes.append(sent[at + 7])
        at += 6 + length
    return codes
