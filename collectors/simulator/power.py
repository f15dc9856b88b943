"""Electric power from the board to the grid. What one stage gives the next one takes; losses are named.

node = boards + the rest of the node; shelf output = nodes + busbar loss; shelf input = output / efficiency;
PDU = switch supplies / efficiency; IT = shelves + PDUs = feed A + feed B; facility = (IT + cooling + house) / (1 -
transformer loss). Supplies with an even place and the PDUs hang on feed A, supplies with an odd place on feed B.
"""

import math

import numpy as np

from collectors.simulator.bus import Buses
from collectors.simulator.layout import FEEDS, GPUS_PER_HOST, Layout
from collectors.simulator.noise import Wander
from collectors.simulator.plant_faults import LOST_PHASE, PlantEffects
from collectors.simulator.state import Bools, Counters, Floats, Ints, Meters, Nodes, Pdus, Shelves

#: CPUs, NICs, memory, drives and fans of a node: standing part, and part that follows the boards
NODE_STANDING_WATTS = 1_300.0
NODE_FOLLOWING_RATIO = 0.085
BUSBAR_LOSS_RATIO = 0.004
PDU_POWER_FACTOR = 0.985
NETWORK_SUPPLY_EFFICIENCY = 0.945
TRANSFORMER_LOSS_RATIO = 0.012
HOUSE_RATIO = 0.01
#: electricity per heat: dry coolers and their pumps, chillers behind the room's air (COP 4.5)
DRY_COOLER_RATIO = 0.045
CHILLER_RATIO = 1.0 / 4.5


def supply_efficiency(load: Floats) -> Floats:
    """Return output over input of an HPR supply at `load` (0 to 1): best, about 0.975, around 55 %."""
    efficiency: Floats = 0.9775 - 0.018 * (load - 0.55) ** 2 - 0.0012 / np.maximum(load, 0.02)
    return efficiency


class Electrics:
    """Nodes, power shelves, PDUs and meters."""

    def __init__(self, layout: Layout, rng: np.random.Generator, start: float) -> None:
        self._rng = rng
        self._first_host: Ints = np.cumsum([0, *(len(rack.hosts) for rack in layout.racks[:-1])])
        self._pdu_of = [[p.name for p in layout.pdus].index(switch.pdu) for switch in layout.switches]
        self._psu_rated = layout.shelves[0].psu_rated_watts
        racks, supplies = len(layout.racks), len(layout.shelves[0].units)
        self._share = 1.0 + 0.008 * rng.standard_normal((racks, supplies))
        self._standing = NODE_STANDING_WATTS * (1.0 + 0.03 * rng.standard_normal(len(layout.hosts)))
        self._phases = rng.dirichlet([400.0, 400.0, 400.0], len(layout.pdus))
        self._house_watts = HOUSE_RATIO * sum(m.rated_watts for m in layout.meters if m.scope == "it")
        self._meters = [meter.scope or meter.name for meter in layout.meters]
        own = rng.spawn(1)[0]
        self._buses = Buses(layout, own)
        self._grid = Wander(rng, 2, tau_seconds=60.0, sigma=1.0)
        self._inlet = Wander(rng, racks, tau_seconds=300.0, sigma=0.4)
        self.braked: Bools = np.zeros(racks, dtype=np.bool_)
        self.nodes = Nodes(np.zeros(len(layout.hosts)), _counters(rng, (len(layout.hosts),), 4e9, start))
        self.shelves = _initial_shelves(racks, supplies, rng, start)
        self.pdus = _initial_pdus(len(layout.pdus), rng, start)
        self.meters = _initial_meters(len(layout.meters), rng, own, start)

    def step_racks(self, board_watts: Floats, supplies_ok: Bools, plant: PlantEffects) -> None:
        """Feed the nodes from their shelves; one over what is left of its rating brakes its GPUs until it is whole."""
        boards = board_watts.reshape(-1, GPUS_PER_HOST).sum(axis=1)
        self.nodes.power_watts = boards * (1.0 + NODE_FOLLOWING_RATIO) + self._standing
        self.nodes.energy_joules.rate = self.nodes.power_watts
        shelves = self.shelves
        output = np.add.reduceat(self.nodes.power_watts, self._first_host) * (1.0 + BUSBAR_LOSS_RATIO)
        weight = self._share * supplies_ok
        shelves.psu_ok = supplies_ok
        shelves.output_watts = output
        shelves.psu_output_watts = weight * (output / weight.sum(axis=1))[:, None]
        load = shelves.psu_output_watts / self._psu_rated
        shelves.psu_input_watts = shelves.psu_output_watts / supply_efficiency(load)
        shelves.input_watts = shelves.psu_input_watts.sum(axis=1)
        shelves.energy_joules.rate = shelves.input_watts
        capacity = supplies_ok.sum(axis=1) * self._psu_rated
        shelves.psu_silent = plant.mute
        self._buses.step(shelves, output / capacity, plant)
        shelves.inlet_celsius = 25.5 + self._inlet.step() + 2.0 * output / capacity
        self.braked = ~supplies_ok.all(axis=1) & (self.braked | (output > capacity))

    def step_network(self, switch_watts: Floats, phase_lost: Bools) -> None:
        """Feed the switches (output watts of each) from the PDUs of the network racks."""
        pdus = self.pdus
        drawn = np.bincount(self._pdu_of, weights=switch_watts, minlength=pdus.watts.size)
        pdus.watts = drawn / NETWORK_SUPPLY_EFFICIENCY
        pdus.energy_joules.rate = pdus.watts
        pdus.volt_amperes = pdus.watts / PDU_POWER_FACTOR
        pdus.phase_volts = 230.0 + 0.4 * self._rng.standard_normal(pdus.phase_volts.shape)
        pdus.phase_volts[phase_lost, LOST_PHASE] = 0.0
        shares = self._phases * (pdus.phase_volts > 0.0)
        shares /= shares.sum(axis=1, keepdims=True)
        volts = np.where(pdus.phase_volts > 0.0, pdus.phase_volts, 1.0)
        pdus.phase_amperes = shares * pdus.volt_amperes[:, None] / volts

    def step_site(self, liquid_heat_watts: float, cdu_watts: float) -> None:
        """Add up what the meters see; `liquid_heat_watts` goes to dry coolers, all other heat to chillers."""
        it = float(self.shelves.input_watts.sum() + self.pdus.watts.sum())
        air = max(0.0, it + cdu_watts - liquid_heat_watts)
        cooling = cdu_watts + DRY_COOLER_RATIO * liquid_heat_watts + CHILLER_RATIO * air
        facility = (it + cooling + self._house_watts) / (1.0 - TRANSFORMER_LOSS_RATIO)
        feed_b = float(self.shelves.psu_input_watts[:, 1::2].sum())
        watts = {"facility": facility, "it": it, FEEDS[0]: it - feed_b, FEEDS[1]: feed_b}
        meters = self.meters
        meters.watts = np.array([watts[name] for name in self._meters])
        meters.energy_joules.rate = meters.watts
        volts, hertz = self._grid.step()
        meters.volts = np.full(meters.watts.size, 400.0 + 0.8 * volts)
        meters.hertz = np.full(meters.watts.size, 50.0 + 0.01 * hertz)
        meters.amperes = meters.watts / (math.sqrt(3.0) * meters.volts * meters.power_factor)


def _counters(rng: np.random.Generator, shape: tuple[int, ...], scale: float, start: float) -> Counters:
    return Counters(base=np.floor(scale * rng.uniform(0.2, 1.0, shape)), rate=np.zeros(shape), time=start)


def _initial_shelves(racks: int, supplies: int, rng: np.random.Generator, start: float) -> Shelves:
    return Shelves(
        input_watts=np.zeros(racks),
        output_watts=np.zeros(racks),
        psu_input_watts=np.zeros((racks, supplies)),
        psu_output_watts=np.zeros((racks, supplies)),
        psu_ok=np.ones((racks, supplies), dtype=np.bool_),
        psu_silent=np.zeros((racks, supplies), dtype=np.bool_),
        input_volts=277.0,
        set_point_volts=np.zeros(racks),
        bus_volts=np.zeros(racks),
        positive_volts=np.full(racks, np.nan),
        negative_volts=np.full(racks, np.nan),
        ripple_volts=np.zeros(racks),
        insulation_ohms=np.zeros((racks, 2)),
        inlet_celsius=np.full(racks, 26.0),
        energy_joules=_counters(rng, (racks,), 1e10, start),
    )


def _initial_pdus(count: int, rng: np.random.Generator, start: float) -> Pdus:
    return Pdus(
        watts=np.zeros(count),
        volt_amperes=np.zeros(count),
        phase_amperes=np.zeros((count, 3)),
        phase_volts=np.full((count, 3), 230.0),
        energy_joules=_counters(rng, (count,), 5e9, start),
    )


def _initial_meters(count: int, rng: np.random.Generator, own: np.random.Generator, start: float) -> Meters:
    scoped, feeds = _counters(rng, (count - len(FEEDS),), 1e12, start), _counters(own, (len(FEEDS),), 1e12, start)
    return Meters(
        watts=np.zeros(count),
        volts=np.full(count, 400.0),
        amperes=np.zeros(count),
        power_factor=np.full(count, 0.975),
        hertz=np.full(count, 50.0),
        energy_joules=Counters(np.append(scoped.base, feeds.base), np.zeros(count), start),
    )
