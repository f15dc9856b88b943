"""What a rack PDU of the factory measures, for the agents of all makers."""

from collectors.simulator.factory import Factory
from collectors.simulator.state import Pdus

PHASES = range(3)
JOULES_PER_WATT_HOUR = 3600.0
#: mains of the hall, as long as the factory says nothing else
MAINS_HERTZ = 50.0
#: rating of each line and of the breakers behind it. Units: A
LINE_AMPERES = 32
#: the card has run that long when the factory opens. Units: s
UPTIME_SECONDS = 40 * 86400.0


class PduReadings:
    """One rack PDU, read whenever it is asked."""

    def __init__(self, factory: Factory, index: int) -> None:
        self._factory = factory
        self._index = index
        self._opened = factory.state.time
        self.name = factory.layout.pdus[index].name
        self.rated_watts = factory.layout.pdus[index].rated_watts

    @property
    def _pdus(self) -> Pdus:
        return self._factory.state.pdus

    @property
    def _kilo(self) -> float:
        return 1e3 if self.name in self._factory.kilowatts else 1.0

    def uptime(self, now: float) -> float:
        """Return how long the card has run at `now`. Units: s."""
        return UPTIME_SECONDS + now - self._opened

    def watts(self) -> float:
        """Return the active power as the device says it. Units: W."""
        return float(self._pdus.watts[self._index]) / self._kilo

    def volt_amperes(self) -> float:
        """Return the apparent power. Units: VA."""
        return float(self._pdus.volt_amperes[self._index])

    def power_factor(self) -> float:
        """Return active over apparent power; 0 without load."""
        pdus = self._pdus
        apparent = float(pdus.volt_amperes[self._index])
        return float(pdus.watts[self._index]) / apparent if apparent else 0.0

    def watt_hours(self, now: float) -> float:
        """Return the energy counter at `now`. Units: Wh."""
        return float(self._pdus.energy_joules.at(now, self._index)) / JOULES_PER_WATT_HOUR

    def amperes(self, phase: int) -> float:
        """Return the current of a phase. Units: A."""
        return float(self._pdus.phase_amperes[self._index, phase])

    def volts(self, phase: int) -> float:
        """Return the voltage of a phase to the neutral. Units: V."""
        return float(self._pdus.phase_volts[self._index, phase])

    def phase_volt_amperes(self, phase: int) -> float:
        """Return the apparent power of a phase. Units: VA."""
        return self.amperes(phase) * self.volts(phase)

    def phase_watts(self, phase: int) -> float:
        """Return the active power of a phase as the device says it. Units: W."""
        return self.phase_volt_amperes(phase) * self.power_factor() / self._kilo

    def load(self, phase: int) -> float:
        """Return the current of a phase over its rating."""
        return self.amperes(phase) / LINE_AMPERES
