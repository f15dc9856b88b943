"""What Modbus gear remembers beyond the factory's present state: bus extremes, charge of batteries, mute supplies."""

import numpy as np

from collectors.simulator.bus_history import BusHistory
from collectors.simulator.factory import Factory
from collectors.simulator.state import STEP_SECONDS, Bools, Floats

#: below this share of its set point a bus is held up by the batteries
DISCHARGING_BELOW_RATIO = 0.97
#: what the batteries of a shelf then carry of its output, together
CARRIED_RATIO = 0.25
#: modules in a battery shelf
MODULES = 6
#: what six modules hold, and how fast they take it back
SHELF_JOULES, CHARGE_WATTS = MODULES * 720e3, MODULES * 300.0


class Past:
    """The memory of all devices of one service; it follows the factory's steps until it is closed."""

    def __init__(self, factory: Factory) -> None:
        shelves = factory.state.shelves
        self._factory = factory
        self.history = BusHistory(factory)
        #: of each shelf's batteries, 0 to 1
        self.charge_ratio: Floats = np.ones(shelves.bus_volts.size)
        #: what they give (above 0) or take. Units: W, per shelf
        self.battery_watts: Floats = np.zeros(shelves.bus_volts.size)
        #: seconds in which each supply did not answer its shelf controller
        self.mute_seconds: Floats = np.zeros(shelves.psu_silent.shape)
        factory.after_step.append(self._step)

    def close(self) -> None:
        """Follow the factory no more."""
        self.history.close()
        self._factory.after_step.remove(self._step)

    def is_discharging(self) -> Bools:
        """Return whose batteries hold up their bus."""
        shelves = self._factory.state.shelves
        sags: Bools = shelves.bus_volts < DISCHARGING_BELOW_RATIO * shelves.set_point_volts
        return sags & (self.charge_ratio > 0.0)

    def _step(self, _: float) -> None:
        shelves = self._factory.state.shelves
        self.charge_ratio = np.clip(self.charge_ratio - self.battery_watts * STEP_SECONDS / SHELF_JOULES, 0.0, 1.0)
        given, taken = CARRIED_RATIO * shelves.output_watts, np.where(self.charge_ratio < 1.0, CHARGE_WATTS, 0.0)
        self.battery_watts = np.where(self.is_discharging(), given, -taken)
        self.mute_seconds = self.mute_seconds + shelves.psu_silent * STEP_SECONDS
