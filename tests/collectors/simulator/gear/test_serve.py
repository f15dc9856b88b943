"""Every class of SNMP gear, polled over UDP with its profile: what comes is the factory's state, to its resolution."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from devices import numbers, target_of

from collectors.collector import PollResult
from collectors.profile import load_profile
from collectors.simulator import snmp as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.gear.classes import CLASSES, PDU_CLASSES
from collectors.simulator.gear.serve import start_gear
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Device, Service
from collectors.snmp import collector

START = 1_760_000_000.0
#: enough racks for two PDUs
GPUS = 2560
SNMP = [name for name, (protocol, _, _) in CLASSES.items() if protocol == "snmp"]


@dataclass(slots=True)
class Site:
    """A factory, one device of every class, and the clock that they live by."""

    factory: Factory
    now: float
    service: Service = field(init=False)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.factory.advance(self.now)

    def device(self, kind: str) -> Device:
        return next(device for device in self.service.devices if device.profile == kind)

    async def poll(self, kind: str) -> PollResult:
        opened = collector.open_collector(target_of(self.device(kind)), load_profile(kind))
        try:
            return await opened.poll(int(self.now * 1e9))
        finally:
            await opened.aclose()


@pytest.fixture(scope="module")
def factory() -> Factory:
    made = Factory(build_layout(GPUS), seed=1, start=START)
    for second in range(1, 4):
        made.advance(START + second)
    return made


@pytest.fixture
async def site(factory: Factory) -> AsyncIterator[Site]:
    made = Site(factory, factory.state.time + 0.25)
    made.service = await start_gear(factory, SNMP, lambda: made.now)
    yield made
    await made.service.close()


#: class -> its resolution of watts, volt-amperes, the power factor, amperes, volts, and joules
RESOLUTIONS = {
    "apc_rpdu2": (10, 10, 0.01, 0.1, 1, 3.6e5),
    "raritan_pdu2": (1, 1, 0.01, 0.001, 1, 3600),
    "servertech_sentry4": (1, 1, 0.01, 0.01, 0.1, 3.6e5),
    "vertiv_v5": (1, 1, 0.01, 0.01, 0.1, 3600),
    "eaton_epdu": (1, 1, 0.001, 0.001, 0.001, 3600),
}


@pytest.mark.parametrize("kind", PDU_CLASSES)
async def test_a_rack_pdu_of_each_maker_tells_what_it_draws(site: Site, kind: str) -> None:
    site.pass_time(3)
    result = await site.poll(kind)
    assert (result.missing, result.rejected) == ((), ())
    pdus, total = site.factory.state.pdus, numbers(result, "power", circuit="total", side="input")
    watts, volt_amperes, factor, amperes, volts, joules = RESOLUTIONS[kind]
    assert total["active_watts"] == pytest.approx(pdus.watts[0], abs=watts / 2 + 1e-6)
    assert total["apparent_volt_amperes"] == pytest.approx(pdus.volt_amperes[0], abs=volt_amperes / 2 + 1e-6)
    assert total["power_factor_ratio"] == pytest.approx(pdus.watts[0] / pdus.volt_amperes[0], abs=factor / 2 + 1e-9)
    energy = float(pdus.energy_joules.at(site.now, 0))
    assert 0 <= energy - total["energy_joules_total"] < joules + 1e-3
    for phase in range(3):
        own = numbers(result, "power", circuit="phase", phase=str(phase + 1))
        assert own["current_amperes"] == pytest.approx(pdus.phase_amperes[0, phase], abs=amperes / 2 + 1e-9)
        assert own["voltage_volts"] == pytest.approx(pdus.phase_volts[0, phase], abs=volts / 2 + 1e-9)
    mean = pdus.phase_amperes[0].mean()
    apart = abs(pdus.phase_amperes[0] - mean).max() / mean
    assert total["imbalance_ratio"] == pytest.approx(apart, abs=1.5 * amperes / mean)


async def test_a_dc_plant_tells_bus_rectifiers_and_those_that_failed(site: Site) -> None:
    shelf = site.factory.layout.shelves[0]
    site.factory.faults.inject("psu_lost", f"{shelf.name}/{shelf.units[1]}", site.now)
    site.pass_time(2)
    result = await site.poll("eltek_smartpack2")
    site.factory.faults.clear("psu_lost", f"{shelf.name}/{shelf.units[1]}")
    assert (result.missing, result.rejected) == ((), ())
    shelves = site.factory.state.shelves
    amperes = shelves.output_watts[0] / shelves.bus_volts[0]
    assert numbers(result, "bus", pole="total")["voltage_volts"] == pytest.approx(shelves.bus_volts[0], abs=0.0051)
    output = numbers(result, "power", circuit="total", side="output")
    assert output["current_amperes"] == pytest.approx(amperes, abs=0.051)
    assert output["state"] == 1
    states = [numbers(result, "power", circuit=f"psu-{n}", side="output")["state"] for n in (1, 2, 3)]
    assert states == [0, 2, 0]
    each = [numbers(result, "power", circuit=f"psu-{n + 1}", side="output") for n in range(len(shelf.units))]
    assert sum(one["current_amperes"] for one in each) == pytest.approx(amperes, abs=0.05 * len(each) + 0.05)


async def test_a_cdu_tells_its_loop_over_snmp(site: Site) -> None:
    result = await site.poll("supermicro_scdu_snmp")
    assert (result.missing, result.rejected) == ((), ())
    cdus, loop = site.factory.state.cdus, numbers(result, "coolant", loop="tcs")
    assert loop["flow_liters_per_second"] == pytest.approx(cdus.tcs_flow_liters_per_second[0], abs=0.005 / 60 + 1e-9)
    supply = numbers(result, "coolant", loop="tcs", point="supply")["temperature_celsius"]
    assert supply == pytest.approx(cdus.tcs_supply_celsius[0], abs=0.0051)
    assert loop["heat_watts"] == pytest.approx(cdus.heat_watts[0], rel=0.01)
    assert loop["heat_reported_watts"] == pytest.approx(cdus.heat_watts[0], abs=5.1)


async def test_rack_pdus_of_a_site_come_from_the_makers_in_turn(factory: Factory) -> None:
    service = await simulator.start(factory, lambda: START)
    kinds = [device.profile for device in service.devices if device.name.startswith("pdu-")]
    await service.close()
    assert kinds == [PDU_CLASSES[n % 5] for n in range(len(factory.layout.pdus))]
    assert kinds[:2] == ["apc_rpdu2", "raritan_pdu2"]


async def test_more_gear_than_the_site_has_plays_its_devices_again(factory: Factory) -> None:
    service = await start_gear(factory, ["vertiv_v5"] * 3 + ["eaton_epdu"], lambda: START)
    await service.close()
    assert [device.name for device in service.devices] == ["vertiv_v5-1", "vertiv_v5-2", "vertiv_v5-3", "eaton_epdu-1"]


async def test_gear_that_does_not_exist_is_named_with_what_does(factory: Factory) -> None:
    with pytest.raises(KeyError, match=r"no class 'vertiv': apc_rpdu2, raritan_pdu2"):
        await start_gear(factory, ["vertiv"], lambda: START)


async def test_kilowatts_for_watts_come_from_the_pdu_that_is_told_so(site: Site) -> None:
    name = site.factory.layout.pdus[0].name
    site.factory.faults.inject("kw_for_w", name, site.now)
    site.pass_time(2)
    result = await site.poll("eaton_epdu")
    site.factory.faults.clear("kw_for_w", name)
    total = numbers(result, "power", circuit="total", side="input")
    assert total["active_watts"] == pytest.approx(site.factory.state.pdus.watts[0] / 1000, abs=0.5)
    assert total["apparent_volt_amperes"] == pytest.approx(site.factory.state.pdus.volt_amperes[0], abs=0.5)
