"""A recording of Modbus units, played as a Modbus TCP server.

What the recording lacks is refused as a device does: a register with exception 2, a unit with 0x0B, a gateway's.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from collectors.simulator.modbus_link import TABLES, Link, Unit, answer_read

#: unit -> table -> first number -> values from there on
Units = Mapping[int, Mapping[str, Mapping[int, Sequence[int]]]]


def read_units(recorded: Units) -> Mapping[int, Unit]:
    """Return the tables of each unit, number by number; negative registers are their two's complement.

    Raises:
        ValueError: a table, number or value that Modbus does not have; the message says where.
    """
    return {unit: {name: _numbered(unit, name, runs) for name, runs in each.items()} for unit, each in recorded.items()}


def _numbered(unit: int, name: str, runs: Mapping[int, Sequence[int]]) -> Mapping[int, int]:
    if name not in TABLES.values():
        raise ValueError(f"unit {unit}: {name!r} is no table: {', '.join(TABLES.values())}")
    low, high = (0, 1) if name in ("coil", "discrete") else (-0x8000, 0xFFFF)
    table: dict[int, int] = {}
    for first, values in runs.items():
        for number, value in enumerate(values, first):
            if not 0 <= number <= 0xFFFF or not low <= value <= high:
                raise ValueError(f"unit {unit} {name} {number}: {value} is not {low} to {high} at 0 to 65535")
            table[number] = value & 0xFFFF
    return table


@asynccontextmanager
async def played(recorded: Units, port: int = 0) -> AsyncIterator[str]:
    """Serve the units on a port of 127.0.0.1, 0 picks one, while the block runs; yield the URL."""
    units = read_units(recorded)
    links: set[Link] = set()

    def answer(unit: int, pdu: bytes) -> bytes:
        return answer_read(units.get(unit), pdu)

    server = await asyncio.get_running_loop().create_server(partial(Link, answer, links), "127.0.0.1", port)
    try:
        yield f"modbus://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for link in list(links):
            if link.transport is not None:
                link.transport.abort()
        await server.wait_closed()
