"""What goes wrong with power and coolant: the kinds of faults of shelves, CDUs and rack PDUs, and their effects."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from collectors.simulator.layout import Layout
from collectors.simulator.state import Bools
from collectors.simulator.switch_faults import Index

#: sensors of a CDU that can stick -> the array of `Cdus` that they read
SENSORS: Mapping[str, str] = {
    "flow": "tcs_flow_liters_per_second",
    "supply_temperature": "tcs_supply_celsius",
    "return_temperature": "tcs_return_celsius",
    "supply_pressure": "tcs_supply_pascals",
}
#: the phase that a rack PDU loses: L2
LOST_PHASE = 1


@dataclass(slots=True)
class PlantEffects:
    """Effects on shelves, CDUs, rack PDUs, and shelf x supply, in the layout's order."""

    #: the bus voltage has fallen
    sagging: Bools
    #: the midpoint of a bipolar bus has moved
    shifted: Bools
    #: the positive pole's insulation is bad
    damp: Bools
    #: supplies that work and do not answer
    mute: Bools
    #: CDUs whose loop gets too little
    starved: Bools
    #: rack PDUs that miss a phase
    phase_lost: Bools
    #: CDU and name of its sensor that repeats its value
    stuck: set[tuple[int, str]] = field(default_factory=set)
    #: names of devices that give kilowatts where watts are asked
    kilowatts: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class PlantKind:
    """One kind of fault of power or coolant."""

    help: str
    objects: str
    apply: Callable[[PlantEffects, str, Index], None]


def _mark(name: str) -> Callable[[PlantEffects, str, Index], None]:
    """Return what sets one of the arrays at an object."""

    def apply(effects: PlantEffects, _: str, at: Index) -> None:
        getattr(effects, name)[at] = True

    return apply


def _stick(effects: PlantEffects, name: str, at: Index) -> None:
    effects.stuck.add((at[0], name.partition("/")[2]))


def _confuse(effects: PlantEffects, name: str, _: Index) -> None:
    effects.kilowatts.add(name)


PLANT_KINDS: Mapping[str, PlantKind] = {
    "low_flow": PlantKind(
        "The loop of a CDU gets 40 % of the flow that it needs: the same heat, a hotter return.",
        "cdu",
        _mark("starved"),
    ),
    "bus_sag": PlantKind("The bus of a shelf falls to 47.9 V, an HVDC one by 5 %.", "shelf", _mark("sagging")),
    "pole_imbalance": PlantKind("The midpoint of a +/-400 V bus moves by 3 %.", "hvdc_400 shelf", _mark("shifted")),
    "insulation_low": PlantKind("The positive pole of an HVDC bus gets damp: 60 kohm.", "hvdc shelf", _mark("damp")),
    "phase_loss": PlantKind("A rack PDU loses phase L2, the others carry its load.", "pdu", _mark("phase_lost")),
    "sensor_stuck": PlantKind("A sensor of a CDU repeats its value for ever.", "sensor", _stick),
    "unit_silent": PlantKind("A power supply works and does not answer on its bus.", "psu", _mark("mute")),
    "kw_for_w": PlantKind("A device gives its watts divided by 1000.", "shelf or pdu", _confuse),
}


def no_plant_effects(layout: Layout) -> PlantEffects:
    """Return the effects of no fault at all."""
    shelves = len(layout.shelves)
    return PlantEffects(
        sagging=np.zeros(shelves, dtype=np.bool_),
        shifted=np.zeros(shelves, dtype=np.bool_),
        damp=np.zeros(shelves, dtype=np.bool_),
        mute=np.zeros((shelves, len(layout.shelves[0].units)), dtype=np.bool_),
        starved=np.zeros(len(layout.cdus), dtype=np.bool_),
        phase_lost=np.zeros(len(layout.pdus), dtype=np.bool_),
    )


def list_plant_objects(layout: Layout) -> dict[str, dict[str, Index]]:
    """Return shelves, CDUs, rack PDUs and their parts by class of objects.

    Power supplies are called by Modbus unit `shelf-a01/208`, sensors `cdu-1/flow`.
    """
    shelves: dict[str, Index] = {shelf.name: (row,) for row, shelf in enumerate(layout.shelves)}
    pdus: dict[str, Index] = {pdu.name: (row,) for row, pdu in enumerate(layout.pdus)}
    return {
        "shelf": shelves,
        "hvdc shelf": {s.name: shelves[s.name] for s in layout.shelves if s.bus != "hpr"},
        "hvdc_400 shelf": {s.name: shelves[s.name] for s in layout.shelves if s.bus == "hvdc_400"},
        "psu": {
            f"{shelf.name}/{unit}": (row, column)
            for row, shelf in enumerate(layout.shelves)
            for column, unit in enumerate(shelf.units)
        },
        "pdu": pdus,
        "shelf or pdu": shelves | pdus,
        "cdu": {cdu.name: (row,) for row, cdu in enumerate(layout.cdus)},
        "sensor": {f"{cdu.name}/{sensor}": (row,) for row, cdu in enumerate(layout.cdus) for sensor in SENSORS},
    }


def pick_in_plant(
    layout: Layout, thing: str, roles: Sequence[str], allowed: Collection[str], taken: set[str]
) -> str | None:
    """Return the object of which all roles are true and whose device was taken least often; note that in `taken`.

    Roles: hpr, hvdc, hvdc_400, hvdc_800 of a shelf, of its supplies and of its rack; modbus, redfish of a CDU and of
    its sensors, besides the sensor's own name. None where nothing fits.
    """

    def times(device: str) -> int:
        return sum(key.startswith(f"{device} ") for key in taken)

    fits = [(name, name.partition("/")[0]) for name, true in _candidates(layout, thing) if set(roles) <= true]
    found = min((each for each in fits if each[0] in allowed), key=lambda each: times(each[1]), default=None)
    if found is None:
        return None
    taken.add(f"{found[1]} {times(found[1])}")
    return found[0]


def _candidates(layout: Layout, thing: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the objects that a word names and what is true of each; of a shelf's supplies the first only."""
    for shelf in layout.shelves:
        true = {shelf.bus, "hvdc"} if shelf.bus != "hpr" else {"hpr"}
        names = {"shelf": shelf.name, "rack": shelf.rack, "psu": f"{shelf.name}/{shelf.units[0]}"}
        if thing in names:
            yield names[thing], true
    for cdu in layout.cdus:
        if thing == "cdu":
            yield cdu.name, {cdu.protocol}
        elif thing == "sensor":
            yield from ((f"{cdu.name}/{sensor}", {cdu.protocol, sensor}) for sensor in SENSORS)
    if thing == "pdu":
        yield from ((pdu.name, set()) for pdu in layout.pdus)


def places_of(layout: Layout, name: str) -> tuple[str, ...]:
    """Return the object, its device, and where that stands or what hangs on it: rack, server, loop and cooled racks."""
    device = name.partition("/")[0]
    places = [name, device]
    for rack in layout.racks:
        if device in (rack.name, rack.shelf):
            places += [rack.name, rack.shelf]
    places += [pdu.rack for pdu in layout.pdus if pdu.name == device]
    for host in layout.hosts:
        if device == host.name or device in layout.gpu_uuids[host.gpu_start : host.gpu_start + host.gpu_count]:
            places += [host.name, host.rack] + ([layout.server_of(host)] if host.deployment else [])
    for cdu in layout.cdus:
        if cdu.name == device:
            places += [loop_of(cdu.name), *cdu.racks]
    return tuple(dict.fromkeys(places))


def loop_of(cdu: str) -> str:
    """Return the name of a CDU's technology loop: `tcs-1` of `cdu-1`."""
    return f"tcs-{cdu.rpartition('-')[2]}"
