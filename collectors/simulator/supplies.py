"""The power supplies of a shelf, each a Modbus unit of its own."""

from collections.abc import Sequence

from collectors.simulator.factory import Factory


class Supplies:
    """The supplies of one shelf of the factory by their unit ids, in the order of the slots."""

    def __init__(self, factory: Factory, index: int, units: Sequence[int]) -> None:
        self._factory = factory
        self._index = index
        self.slots = {unit: slot for slot, unit in enumerate(units)}

    def find(self, number: int) -> int | None:
        """Return the slot of the supply that answers at a unit id, or None where none does."""
        slot = self.slots.get(number)
        if slot is None or self._factory.state.shelves.psu_silent[self._index, slot]:
            return None
        return slot
