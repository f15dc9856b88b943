"""What devices that answer leave unsaid: parts that tell nothing, and readings that their collector refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.plant.coolant import UnitNow
from dashboard.plant.parts import BatteryNow
from dashboard.plant.read import BATTERY, BUS, COOLANT, POWER, Seen
from dashboard.plant.shelves import ShelfNow
from dashboard.site import Site, natural

#: `device.state` of a poll that brought all that was asked for, and only a part of it
_OK, _PARTIAL = 0, 1
#: a device that answers has told of all its parts after so long. Units: s
FIRST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Silent:
    """Parts of one device that tell nothing, while the device answers: they did before, or never did."""

    device: str
    rack: str
    parts: tuple[str, ...]
    #: what the device's last poll lacked, in its collector's words
    why: str
    #: supplies that never told of themselves, of so many that there should be; 0 of 0 where all did
    unheard: int = 0
    expected: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A reading of a device that its collector did not take: power that is fed back, what no sensor can tell."""

    device: str
    rack: str
    #: in its collector's words
    text: str
    #: of the poll, epoch s
    time: float


def refused(seen: Seen, site: Site) -> tuple[Refused, ...]:
    """Return what was refused of power and coolant gear in its last poll, but for what a check tells."""
    told = {name: device for name, device in seen.devices.items() if device.up and device.state == _OK and device.error}
    if not told:
        return ()
    gear = {*site.meters, *site.shelves, *(cdu.name for cdu in site.cdus)}
    gear.update(*(seen[table].tags["device"].tolist() for table in (POWER, BUS, BATTERY, COOLANT)))
    checked = {(check.device, check.text) for check in seen.checks if check.text}
    racks = {name: shelf.rack for name, shelf in site.shelves.items()}
    return tuple(
        Refused(name, told[name].rack or racks.get(name, ""), told[name].error, told[name].time)
        for name in sorted(told.keys() & gear, key=natural)
        if not any(name == device and text.startswith(_why(told[name].error)) for device, text in checked)
    )


def _why(error: str) -> str:
    """Return why a reading was refused, "row=value: why", as far as its collector kept it."""
    return error.partition(": ")[2] or error


def silent(
    seen: Seen,
    made: Sequence[ShelfNow],
    units: Sequence[UnitNow],
    batteries: Sequence[BatteryNow],
    answering: Mapping[str, float],
    now: float,
) -> tuple[Silent, ...]:
    """Return what tells nothing of devices that have answered since without it, with what their last poll lacked.

    `answering`: shelf -> the first look at which it answered, epoch s.
    """
    found, unheard = _fell_silent(made, units, batteries), _unheard(made, answering, now)
    told = []
    for name in dict.fromkeys((*found, *unheard)):
        device, shelf = seen.devices.get(name), unheard.get(name)
        if device is None or not device.up:
            continue
        rack, ages = found.get(name, (shelf.rack if shelf else "", {}))
        parts = tuple(part for part, age in ages.items() if device.time > now - age)
        if parts or shelf:
            why = device.error if device.state == _PARTIAL else ""
            never = (shelf.unheard, shelf.expected) if shelf else (0, 0)
            told.append(Silent(name, rack, parts, why, *never))
    return tuple(told)


def _fell_silent(
    made: Sequence[ShelfNow], units: Sequence[UnitNow], batteries: Sequence[BatteryNow]
) -> dict[str, tuple[str, dict[str, float]]]:
    """Return device -> (rack, its parts that tell nothing, with the age of what they told last, s)."""
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for shelf in made:
        for supply in shelf.supplies if shelf.answers else ():
            if supply.state == "silent":
                found.setdefault(shelf.name, (shelf.rack, {}))[1][supply.name] = supply.age
    for unit in units:
        for pump in unit.pumps:
            if pump.silent:
                found.setdefault(unit.name, ("", {}))[1][f"pump {pump.name}"] = pump.age
    for battery in batteries:
        if battery.silent:
            found.setdefault(battery.device, (battery.rack, {}))[1][f"battery {battery.unit}"] = battery.age
    return found


def _unheard(made: Sequence[ShelfNow], answering: Mapping[str, float], now: float) -> dict[str, ShelfNow]:
    """Return the shelves that have answered for long enough for all of their supplies to tell, and some never did."""
    return {
        shelf.name: shelf for shelf in made if shelf.unheard and now - answering.get(shelf.name, now) >= FIRST_SECONDS
    }
