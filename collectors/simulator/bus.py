"""The bus bars of the power shelves: voltage under load, poles to earth, ripple, insulation.

An HPR shelf holds 50.5 V. An HVDC shelf holds 800 V, either between two wires or as +400 V and -400 V to an earthed
midpoint. All droop a little with their load.
"""

import numpy as np

from collectors.simulator.layout import Layout
from collectors.simulator.noise import Wander
from collectors.simulator.plant_faults import PlantEffects
from collectors.simulator.state import Bools, Floats, Shelves

HPR_VOLTS, HVDC_VOLTS = 50.5, 800.0
#: fall of the voltage from no load to full load
HPR_DROOP_VOLTS, HVDC_DROOP_VOLTS = 0.6, 6.0
#: where a bus sags to: HPR as a volt meter reads it, HVDC as a share of its voltage
HPR_SAG_VOLTS, HVDC_SAG_RATIO = 47.9, 0.95
#: peak to peak at no load and what full load adds
HPR_RIPPLE_VOLTS, HVDC_RIPPLE_VOLTS = (0.08, 0.08), (1.2, 1.6)
#: the midpoint's shift, as the share by which one pole grows and the other one shrinks
SHIFT_RATIO = 0.03
SOUND_OHMS, FAULTY_OHMS = 5e6, 6e4


class Buses:
    """One bus bar per shelf; tells `Shelves` what its meters read."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        kinds = np.array([shelf.bus for shelf in layout.shelves])
        self._is_hvdc: Bools = kinds != "hpr"
        self._is_bipolar: Bools = kinds == "hvdc_400"
        count = len(layout.shelves)
        self._volts = Wander(rng, count, tau_seconds=20.0, sigma=1.0)
        self._skew = Wander(rng, count, tau_seconds=60.0, sigma=0.001)
        self._ripple = Wander(rng, count, tau_seconds=5.0, sigma=0.05)
        self._insulation = Wander(rng, 2 * count, tau_seconds=300.0, sigma=0.05)

    def step(self, shelves: Shelves, load: Floats, plant: PlantEffects) -> None:
        """Set the buses for shelves at `load` (0 to 1 of what their supplies can give)."""
        hvdc = self._is_hvdc
        shelves.set_point_volts = np.where(hvdc, HVDC_VOLTS, HPR_VOLTS)
        held = shelves.set_point_volts - np.where(hvdc, HVDC_DROOP_VOLTS, HPR_DROOP_VOLTS) * np.minimum(load, 1.5)
        held += np.where(hvdc, 0.4, 0.02) * self._volts.step()
        sagging = np.where(hvdc, HVDC_SAG_RATIO * held, HPR_SAG_VOLTS)
        shelves.bus_volts = np.where(plant.sagging, sagging, held)
        self._step_poles(shelves, plant)
        least, more = (np.where(hvdc, high, low) for low, high in zip(HPR_RIPPLE_VOLTS, HVDC_RIPPLE_VOLTS, strict=True))
        shelves.ripple_volts = (least + more * np.minimum(load, 1.5)) * (1.0 + self._ripple.step())

    def _step_poles(self, shelves: Shelves, plant: PlantEffects) -> None:
        skew = self._skew.step() + np.where(plant.shifted, SHIFT_RATIO, 0.0)
        half = np.where(self._is_bipolar, 0.5 * shelves.bus_volts, np.nan)
        shelves.positive_volts, shelves.negative_volts = half * (1.0 + skew), -half * (1.0 - skew)
        sound = np.exp(self._insulation.step()).reshape(-1, 2)
        ohms = np.full(sound.shape, SOUND_OHMS)
        ohms[plant.damp, 0] = FAULTY_OHMS
        shelves.insulation_ohms = ohms * sound
