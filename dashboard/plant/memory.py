"""What the next look at power and coolant needs of this one: the last hour of loads and voltages, and who is there."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from dashboard.plant import hour, racks
from dashboard.plant.hour import Hour
from dashboard.plant.roster import Roster
from dashboard.plant.shelves import ShelfNow

#: a bus further than this from its usual voltage does not change what is usual
_USUAL_RATIO = 0.02


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept from look to look."""

    #: rack -> output of its supplies, shelf -> voltage of its bus, over the last hour
    load_hour: Hour = field(default_factory=Hour)
    volts_hour: Hour = field(default_factory=Hour)
    #: their 99th percentile and median, each with the seconds that it speaks of
    p99: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    roster: Roster | None = None
    #: shelf that answers -> the first look at which it did, epoch s
    answering: Mapping[str, float] = field(default_factory=dict)

    @property
    def carried(self) -> Mapping[str, float]:
        """Return rack -> what its supplies carry, the 99th percentile. Units: W."""
        return {rack: watts for rack, (watts, _) in self.p99.items()}


def remember(before: Memory, listed: Roster, made: Sequence[ShelfNow], wrong: Set[str], now: float) -> Memory:
    """Return the memory after a look at these shelves. `wrong`: racks whose shelves cannot be right."""
    load, p99 = _load(before, [shelf for shelf in made if shelf.rack not in wrong], now)
    volts, usual = _volts(before, made, now)
    answering = {shelf.name: before.answering.get(shelf.name, now) for shelf in made if shelf.answers}
    return Memory(load, volts, p99, usual, listed, answering)


def _load(before: Memory, made: Sequence[ShelfNow], now: float) -> tuple[Hour, Mapping[str, tuple[float, float]]]:
    """Return the hour of each rack's load and its 99th percentile."""
    if hour.number_of(now) <= before.load_hour.slot:
        return before.load_hour, before.p99
    outputs = {rack: racks.output_of(own) for rack, own in racks.by_rack(made).items() if rack}
    grown = hour.add(before.load_hour, now, {rack: watts for rack, watts in outputs.items() if watts is not None})
    return grown, grown.percentile(0.99)


def _volts(before: Memory, made: Sequence[ShelfNow], now: float) -> tuple[Hour, Mapping[str, tuple[float, float]]]:
    """Return the hour of each bus's voltage and its median. A bus that is off does not shift what is usual."""
    if hour.number_of(now) <= before.volts_hour.slot:
        return before.volts_hour, before.usual
    usual = before.usual
    volts = {shelf.name: shelf.bus.volts for shelf in made if shelf.bus is not None and shelf.bus.volts is not None}
    near = {
        name: value
        for name, value in volts.items()
        if name not in usual or abs(value / usual[name][0] - 1) <= _USUAL_RATIO
    }
    grown = hour.add(before.volts_hour, now, near)
    return grown, grown.percentile(0.5)
