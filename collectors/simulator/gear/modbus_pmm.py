"""Shelf controllers (PMM) of power shelves: one Modbus unit per six supplies.

Only listed registers exist. Source: facebook/openbmc rackmon2 map orv3_hpr_pmm_psu.
"""

from collections.abc import Mapping, Sequence

from collectors.simulator.factory import Factory
from collectors.simulator.gear.modbus_past import Past
from collectors.simulator.gear.modbus_serve import ModbusDevice
from collectors.simulator.modbus_link import Unit
from collectors.simulator.words import text, u16, u32

FIRST_UNIT, MOST_UNITS, SLOTS = 32, 11, 6
UP_SECONDS = 30 * 86_400
MODULE_COMMUNICATION, MODULE_ALERTS = 1 << 4, 1 << 8


class PowerShelfController(ModbusDevice):
    """The controllers of one shelf of the factory."""

    def __init__(self, factory: Factory, index: int, past: Past) -> None:
        self._factory = factory
        self._index = index
        self._past = past
        self._opened = factory.state.time
        self.name = factory.layout.shelves[index].name
        count = len(factory.layout.shelves[index].units)
        self._slots = [range(first, min(first + SLOTS, count)) for first in range(0, count, SLOTS)][:MOST_UNITS]

    def unit(self, number: int) -> Unit | None:
        """Return the tables of a controller, or None where there is none."""
        place = number - FIRST_UNIT
        if not 0 <= place < len(self._slots):
            return None
        return {"holding": {**self._label(place), **self._states(self._slots[place])}}

    def _label(self, place: int) -> Mapping[int, int]:
        up = UP_SECONDS + self._factory.state.time - self._opened
        return {
            **text(0, 8, "03-400001"),
            **text(8, 8, "SIMULATED"),
            **text(16, 8, "SIM-PMM"),
            **text(24, 8, "04/2024"),
            **text(32, 16, f"{self.name}-PMM{place + 1}".upper()),
            **text(48, 4, "W03"),
            **text(52, 4, "1.0"),
            **text(56, 4, "2.2.0"),
            **u32(76, up),
            **u32(78, up),
            **u32(80, self._factory.state.time),
            82: 128,
            83: 0,
            84: place,
            85: place,
            86: 1,
        }

    def _states(self, slots: Sequence[int]) -> Mapping[int, int]:
        shelves = self._factory.state.shelves
        present = (1 << len(slots)) - 1
        failed = sum(1 << place for place, slot in enumerate(slots) if not shelves.psu_ok[self._index, slot])
        mute = sum(1 << place for place, slot in enumerate(slots) if shelves.psu_silent[self._index, slot])
        timeouts = [u16(self._past.mute_seconds[self._index, slot]) for slot in slots]
        return {
            87: present,
            88: failed,
            89: MODULE_ALERTS * bool(failed) | MODULE_COMMUNICATION * bool(mute),
            90: present,
            91: 0,
            92: 1,
            93: mute << 1,
            94: 0,
            95: 0,
            **dict.fromkeys(range(96, 96 + SLOTS), 0),
            **dict.fromkeys(range(102, 102 + SLOTS), 0),
            **dict(enumerate(timeouts, 102)),
        }
