"""Heat from the racks to the facility water: rack loops, coolant distribution units, their pumps.

In every state shown, heat_watts == rho(T) cp(T) V (T_return - T_supply) to rounding, with T the mean of both. What the
racks give off and what the loop carries differ only while the cold plates warm up or cool down (time constant 20 s).
"""

from collections.abc import Callable

import numpy as np

from collectors.simulator.layout import Layout
from collectors.simulator.noise import Wander, lag
from collectors.simulator.plant_faults import SENSORS, PlantEffects
from collectors.simulator.state import Bools, Cdus, Floats, Ints, RackLoops

#: share of a shelf's output that the cold plates catch; the rest and the shelf's own loss go to the room's air
LIQUID_RATIO = 0.85
LOOP_TAU_SECONDS = 20.0
FLOW_TAU_SECONDS = 30.0
TCS_RISE_KELVIN = 10.0
FWS_RISE_KELVIN = 8.0
TCS_SUPPLY_CELSIUS = 32.0
APPROACH_KELVIN = 4.0
#: a CDU's own power: electronics, and pumps at full flow as a share of its rating
CDU_STANDING_RATIO = 0.001
CDU_PUMP_RATIO = 0.02
#: flow of the rated flow: what valves always let through, what one pump alone gives, what both give
LEAST_FLOW_RATIO, ONE_PUMP_FLOW_RATIO, FULL_FLOW_RATIO = 0.25, 0.8, 1.15
#: what is left of the flow in a starved loop, and how soon it is gone
STARVED_FLOW_RATIO, STARVED_TAU_SECONDS = 0.4, 4.0
#: turbulence, as a share of the flow
FLUTTER_RATIO = 0.003
#: what a leak takes from a reservoir, and how fast a dry one is filled again
LEAKED_RATIO_PER_SECOND, FILL_TAU_SECONDS = 0.0005, 60.0


def pg25_heat_per_liter(celsius: Floats) -> Floats:
    """Return what a liter of PG25 (25 % propylene glycol by mass) holds. Units: J/(L K), at 5 to 90 degrees Celsius.

    Source: fits to CoolProp 8, INCOMP::MPG-25%, within 0.011 %.
    """
    rho = 1025.813 + celsius * (-0.2444925 + celsius * (-0.00440142 + celsius * 1.434573e-5))
    cp = 3871.269 + celsius * (2.514211 - celsius * 0.001867118)
    return rho * cp / 1000.0


def water_heat_per_liter(celsius: Floats) -> Floats:
    """Return what a liter of water holds. Units: J/(L K), at 5 to 90 degrees Celsius.

    Source: fits to CoolProp 8 at 101325 Pa, within 0.012 %.
    """
    rho = 1000.112 + celsius * (0.01309585 + celsius * (-0.005869762 + celsius * 1.592583e-5))
    cp = 4216.764 + celsius * (-2.74896 + celsius * (0.06872273 + celsius * (-7.038866e-4 + celsius * 2.935129e-6)))
    return rho * cp / 1000.0


def carry(
    heat_watts: Floats, liters_per_second: Floats, supply_celsius: Floats, liquid: Callable[[Floats], Floats]
) -> tuple[Floats, Floats]:
    """Return the return temperature (Celsius) of a loop that carries `heat_watts`, and the heat (W) it then shows."""
    rise = heat_watts / (liters_per_second * liquid(supply_celsius))
    for _ in range(3):
        rise = heat_watts / (liters_per_second * liquid(supply_celsius + 0.5 * rise))
    returned = supply_celsius + rise
    heat = liquid(0.5 * (supply_celsius + returned)) * liters_per_second * (returned - supply_celsius)
    return returned, heat


class Cooling:
    """Rack loops and CDUs."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self._first_rack: Ints = np.cumsum([0, *(len(cdu.racks) for cdu in layout.cdus[:-1])])
        self._cdu = np.repeat(np.arange(len(layout.cdus)), [len(cdu.racks) for cdu in layout.cdus])
        self._rated_flow = np.array([rack.rated_flow_liters_per_second for rack in layout.racks])
        self._cdu_flow = np.add.reduceat(self._rated_flow, self._first_rack)
        self._cdu_rated = np.array([cdu.rated_watts for cdu in layout.cdus])
        count = len(layout.cdus)
        self._setpoint = TCS_SUPPLY_CELSIUS + 0.3 * rng.standard_normal(count)
        self._wander = Wander(rng, count, tau_seconds=120.0, sigma=0.06)
        self._air = Wander(rng, count, tau_seconds=600.0, sigma=0.5)
        self._offset = np.zeros(count)
        own = rng.spawn(1)[0]
        #: flow as the valves set it, and how it flutters around that
        self._steady_flow = np.zeros(len(layout.racks))
        self._flutter = Wander(own, len(layout.racks), tau_seconds=1.5, sigma=FLUTTER_RATIO)
        self._filter = Wander(own, count, tau_seconds=60.0, sigma=0.01)
        self._level = Wander(own, count, tau_seconds=120.0, sigma=0.001)
        self._lost_level = np.zeros(count)
        #: what stuck sensors repeat
        self._held: dict[tuple[int, str], float] = {}
        #: heat in the cold plates that the loops have yet to carry, since the start; J
        self.stored_joules = np.zeros(len(layout.racks))
        self.racks = _initial_racks(self._rated_flow)
        self.cdus = _initial_cdus(count, rng)
        self._full_level = self.cdus.level_ratio

    def step(self, output_watts: Floats, pumps_ok: Bools, rack_leak: Ints, cdu_leak: Ints, plant: PlantEffects) -> None:
        """Carry away the heat of `output_watts` per rack for one second."""
        self._step_supply(pumps_ok)
        self._step_racks(output_watts * LIQUID_RATIO, pumps_ok, rack_leak, plant.starved[self._cdu])
        self._step_technology_side(pumps_ok, cdu_leak)
        self._step_facility_side()
        self._hold_stuck(plant.stuck)

    def _step_supply(self, pumps_ok: Bools) -> None:
        """A CDU on one pump gets 1.5 K warmer, slowly."""
        self._offset += lag(60.0) * (np.where(pumps_ok.all(axis=1), 0.0, 1.5) - self._offset)
        self.cdus.tcs_supply_celsius = self._setpoint + self._offset + self._wander.step()
        self.racks.supply_celsius = self.cdus.tcs_supply_celsius[self._cdu]

    def _step_racks(self, given_watts: Floats, pumps_ok: Bools, leak: Ints, starved: Bools) -> None:
        racks = self.racks
        first = not racks.heat_watts.any()
        heat = given_watts if first else racks.heat_watts + lag(LOOP_TAU_SECONDS) * (given_watts - racks.heat_watts)
        wanted = heat / (pg25_heat_per_liter(racks.supply_celsius + 0.5 * TCS_RISE_KELVIN) * TCS_RISE_KELVIN)
        most = np.where(pumps_ok.all(axis=1), FULL_FLOW_RATIO, ONE_PUMP_FLOW_RATIO)[self._cdu]
        wanted = np.clip(wanted, LEAST_FLOW_RATIO * self._rated_flow, most * self._rated_flow)
        wanted = np.where(starved, STARVED_FLOW_RATIO * wanted, wanted)
        change = 1.0 if first else np.where(starved, lag(STARVED_TAU_SECONDS), lag(FLOW_TAU_SECONDS))
        self._steady_flow = self._steady_flow + change * (wanted - self._steady_flow)
        flow = self._steady_flow * (1.0 + self._flutter.step())
        racks.flow_liters_per_second = flow
        racks.return_celsius, racks.heat_watts = carry(heat, flow, racks.supply_celsius, pg25_heat_per_liter)
        self.stored_joules += given_watts - racks.heat_watts
        part = flow / self._rated_flow
        racks.differential_pressure_pascals = 20e3 + 60e3 * part**2
        racks.valve_ratio = np.clip(0.1 + 0.75 * part, 0.0, 1.0)
        racks.leak = leak

    def _step_technology_side(self, pumps_ok: Bools, leak: Ints) -> None:
        cdus = self.cdus
        flow = np.add.reduceat(self.racks.flow_liters_per_second, self._first_rack)
        heat = np.add.reduceat(self.racks.heat_watts, self._first_rack)
        cdus.tcs_flow_liters_per_second = flow
        cdus.tcs_return_celsius, cdus.heat_watts = carry(heat, flow, cdus.tcs_supply_celsius, pg25_heat_per_liter)
        part = flow / self._cdu_flow
        head = 60e3 + 140e3 * part**2
        cdus.tcs_return_pascals = np.full(flow.size, 120e3)
        cdus.tcs_supply_pascals = cdus.tcs_return_pascals + head
        cdus.filter_in_pascals = cdus.tcs_supply_pascals + 8e3 + 22e3 * part**2 * (1.0 + self._filter.step())
        cdus.filter_out_pascals = cdus.tcs_supply_pascals + 8e3
        speed = np.minimum((0.25 + 0.5 * part) * np.where(pumps_ok.all(axis=1), 1.0, 1.3), 1.0)
        cdus.pump_ok = pumps_ok
        cdus.pump_ratio = speed[:, None] * pumps_ok
        cdus.pump_rpm = 3_600.0 * cdus.pump_ratio
        cdus.power_watts = self._cdu_rated * (CDU_STANDING_RATIO + CDU_PUMP_RATIO * part**3)
        cdus.ambient_celsius = 25.0 + self._air.step()
        cdus.humidity_ratio = 0.42 - 0.01 * self._air.value
        cdus.dew_point_celsius = _dew_point(cdus.ambient_celsius, cdus.humidity_ratio)
        cdus.leak = leak
        filled = self._lost_level * (1.0 - lag(FILL_TAU_SECONDS))
        self._lost_level = np.where(leak > 0, self._lost_level + LEAKED_RATIO_PER_SECOND, filled)
        cdus.level_ratio = np.clip(self._full_level - self._lost_level + self._level.step(), 0.0, 1.0)

    def _hold_stuck(self, stuck: set[tuple[int, str]]) -> None:
        """Let stuck sensors repeat what they read last; the coolant itself flows on."""
        self._held = {key: value for key, value in self._held.items() if key in stuck}
        for row, sensor in stuck:
            readings: Floats = getattr(self.cdus, SENSORS[sensor])
            readings[row] = self._held.setdefault((row, sensor), float(readings[row]))

    def _step_facility_side(self) -> None:
        cdus = self.cdus
        supply = self._setpoint - APPROACH_KELVIN + 0.5 * self._wander.value
        wanted = cdus.heat_watts / (water_heat_per_liter(supply + 0.5 * FWS_RISE_KELVIN) * FWS_RISE_KELVIN)
        first = not cdus.fws_flow_liters_per_second.any()
        change = 1.0 if first else lag(FLOW_TAU_SECONDS)
        flow = cdus.fws_flow_liters_per_second + change * (wanted - cdus.fws_flow_liters_per_second)
        cdus.fws_supply_celsius = supply
        cdus.fws_flow_liters_per_second = flow
        cdus.fws_return_celsius, _ = carry(cdus.heat_watts, flow, supply, water_heat_per_liter)
        part = flow * FWS_RISE_KELVIN * 4_150.0 / self._cdu_rated
        cdus.fws_supply_pascals = np.full(flow.size, 350e3)
        cdus.fws_return_pascals = cdus.fws_supply_pascals - 40e3 - 60e3 * part**2
        cdus.valve_ratio = np.clip(0.1 + 0.8 * part, 0.0, 1.0)


def _dew_point(celsius: Floats, humidity: Floats) -> Floats:
    """Return the dew point (Celsius) by Magnus with the constants 17.625 and 243.04."""
    gamma = np.log(humidity) + 17.625 * celsius / (243.04 + celsius)
    dew: Floats = 243.04 * gamma / (17.625 - gamma)
    return dew


def _initial_racks(rated_flow: Floats) -> RackLoops:
    count = rated_flow.size
    return RackLoops(
        heat_watts=np.zeros(count),
        flow_liters_per_second=0.5 * rated_flow,
        supply_celsius=np.full(count, TCS_SUPPLY_CELSIUS),
        return_celsius=np.full(count, TCS_SUPPLY_CELSIUS),
        differential_pressure_pascals=np.zeros(count),
        valve_ratio=np.zeros(count),
        leak=np.zeros(count, dtype=np.int64),
    )


def _initial_cdus(count: int, rng: np.random.Generator) -> Cdus:
    def zeros() -> Floats:
        return np.zeros(count)

    return Cdus(
        tcs_supply_celsius=np.full(count, TCS_SUPPLY_CELSIUS),
        tcs_return_celsius=np.full(count, TCS_SUPPLY_CELSIUS),
        tcs_flow_liters_per_second=zeros(),
        tcs_supply_pascals=zeros(),
        tcs_return_pascals=zeros(),
        filter_in_pascals=zeros(),
        filter_out_pascals=zeros(),
        fws_supply_celsius=zeros(),
        fws_return_celsius=zeros(),
        fws_flow_liters_per_second=zeros(),
        fws_supply_pascals=zeros(),
        fws_return_pascals=zeros(),
        valve_ratio=zeros(),
        heat_watts=zeros(),
        pump_ratio=np.zeros((count, 2)),
        pump_rpm=np.zeros((count, 2)),
        pump_ok=np.ones((count, 2), dtype=np.bool_),
        power_watts=zeros(),
        level_ratio=rng.uniform(0.78, 0.92, count),
        ph=rng.uniform(7.4, 7.7, count),
        conductivity_siemens_per_meter=rng.uniform(0.43, 0.45, count),
        turbidity_ntu=rng.uniform(3.0, 6.0, count),
        ambient_celsius=np.full(count, 25.0),
        humidity_ratio=np.full(count, 0.42),
        dew_point_celsius=np.full(count, 11.0),
        leak=np.zeros(count, dtype=np.int64),
    )
