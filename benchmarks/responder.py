"""Many SONiC-like SNMP v2c agents in one process, lean enough not to be the bottleneck of who asks them.

Run: `python benchmarks/responder.py --agents 256 --ports 64 --cpu 1`. It binds one loopback port per agent, prints
`{"ports": [...]}`, then obeys lines on its standard input: `silent 77` lets the last 77 agents swallow requests, and
any line prints what was answered so far; it ends with its input. Varbinds are encoded once per refresh of 5 s, as the
agent's cache does it, an answer once per refresh and question; agents refresh in four phases. Counters move at known
rates.
"""

import argparse
import bisect
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator

INTEGER, OCTETS, OID, COUNTER32, GAUGE32, TICKS, COUNTER64 = 0x02, 0x04, 0x06, 0x41, 0x42, 0x43, 0x46
GET, GET_NEXT, RESPONSE, GET_BULK = 0xA0, 0xA1, 0xA2, 0xA5
NO_SUCH_INSTANCE, END_OF_MIB = b"\x81\x00", b"\x82\x00"
REFRESH_S, PHASES = 5.0, 4
LARGEST = 8000
PRIORITIES = QUEUES = 8
IF, IFX = "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1"
PFC, QUEUE, SENSOR = "1.3.6.1.4.1.9.9.813.1.2.1", "1.3.6.1.4.1.9.9.580.1.5.5.1.4", "1.3.6.1.2.1.99.1.1.1"
DESCR = b"SONiC Software Version: SONiC.202411.1 - HwSku: BENCH-64x400G - Distribution: Debian 12 - Kernel: 6.1"
#: units per second on port 1; port n counts n times as fast
BYTES, PACKETS, FRAMES = 10**9, 10**6, 100

#: what an OID holds: tag, start, growth per second; text as it is
Cell = tuple[int, int | bytes | str, int]


def cells(ports: int) -> Iterator[tuple[str, Cell]]:
    """Yield OID and content of everything that one agent has."""
    yield "1.3.6.1.2.1.1.1.0", (OCTETS, DESCR, 0)
    yield "1.3.6.1.2.1.1.2.0", (OID, "1.3.6.1.4.1.8072.3.2.10", 0)
    yield "1.3.6.1.2.1.1.3.0", (TICKS, 10**6, 100)
    yield "1.3.6.1.2.1.25.1.1.0", (TICKS, 2 * 10**6, 100)
    yield "1.3.6.1.4.1.6027.3.10.1.2.9.1.3.1", (GAUGE32, 20, 0)
    yield "1.3.6.1.4.1.6027.3.10.1.2.9.1.5.1", (GAUGE32, 40, 0)
    yield "1.3.6.1.4.1.2021.4.5.0", (INTEGER, 16 * 2**20, 0)
    for port in range(1, ports + 1):
        yield from port_cells(port)
    for psu in (1, 2):
        yield f"1.3.6.1.4.1.9.9.117.1.1.2.1.2.{psu}", (INTEGER, 2, 0)
        for sensor, kind, value in ((1, 8, 45_000), (3, 6, 450_000), (4, 5, 37_500), (5, 4, 12_000)):
            for column, cell in enumerate((kind, 9, 3, value, 1), 1):
                yield f"{SENSOR}.{column}.60{psu}2400{sensor}0", (INTEGER, cell, 0)


def port_cells(port: int) -> Iterator[tuple[str, Cell]]:
    """Yield the cells of a port: its names, states, octets, packets, PFC of 8 priorities and 8 queues."""
    name = f"Ethernet{port - 1}".encode()
    for oid in (f"{IF}.2.{port}", f"{IFX}.18.{port}"):
        yield oid, (OCTETS, name, 0)
    yield f"{IFX}.1.{port}", (OCTETS, f"etp{port}".encode(), 0)
    for column, value in ((3, 6), (7, 1), (8, 1)):
        yield f"{IF}.{column}.{port}", (INTEGER, value, 0)
    for column in (13, 14, 19, 20):
        yield f"{IF}.{column}.{port}", (COUNTER32, 7 * port, 1)
    yield f"{IFX}.15.{port}", (GAUGE32, 400_000, 0)
    for first in (6, 10):
        yield f"{IFX}.{first}.{port}", (COUNTER64, 2**53 + port, BYTES * port)
        for column in (first + 1, first + 2, first + 3):
            yield f"{IFX}.{column}.{port}", (COUNTER64, 2**40 + port, PACKETS * port)
    for priority in range(PRIORITIES):
        for column in (2, 3):
            yield f"{PFC}.{column}.{port}.{priority}", (COUNTER64, priority, FRAMES * port)
    for queue in range(1, QUEUES + 1):
        for stat in range(1, 9):
            yield f"{QUEUE}.{port}.2.{queue}.{stat}", (COUNTER64, queue, PACKETS if stat < 5 else 1)


def wrap(tag: int, content: bytes) -> bytes:
    """Return a BER element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    return bytes((tag, 0x82, size >> 8, size & 0xFF)) + content


def encode_oid(oid: tuple[int, ...]) -> bytes:
    """Return the content of an OBJECT IDENTIFIER."""
    found = bytearray((oid[0] * 40 + oid[1],))
    for part in oid[2:]:
        groups = [part & 0x7F]
        while part := part >> 7:
            groups.append(0x80 | part & 0x7F)
        found += bytes(reversed(groups))
    return bytes(found)


def decode_oid(content: bytes) -> tuple[int, ...]:
    """Return the numbers of an OBJECT IDENTIFIER."""
    found, part = [content[0] // 40, content[0] % 40], 0
    for byte in content[1:]:
        part = part << 7 | byte & 0x7F
        if byte < 0x80:
            found.append(part)
            part = 0
    return tuple(found)


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of an OID in dots."""
    return tuple(map(int, text.split(".")))


class Table:
    """What the agents of one phase hold, encoded anew each refresh."""

    def __init__(self, ports: int, phase_s: float) -> None:
        found = sorted((numbers(oid), cell) for oid, cell in cells(ports))
        self._cells = [cell for _, cell in found]
        self._numbers = [oid for oid, _ in found]
        self._oids = [encode_oid(oid) for oid in self._numbers]
        self._index = {oid: number for number, oid in enumerate(self._oids)}
        self._after: dict[bytes, int] = {}
        self._next = 0.0
        self.varbinds: list[bytes] = []
        #: question -> answer and its number of varbinds, until the next refresh
        self.answers: dict[bytes, tuple[bytes, int]] = {}
        self._started = time.monotonic()
        self.refresh(self._started)
        self._next -= phase_s

    def refresh(self, now: float) -> None:
        """Encode everything as it is now, when it is time to."""
        if now < self._next:
            return
        self._next = now + REFRESH_S
        age = now - self._started
        self.varbinds = [self._varbind(oid, cell, age) for oid, cell in zip(self._oids, self._cells, strict=True)]
        self.answers.clear()

    def _varbind(self, oid: bytes, cell: Cell, age: float) -> bytes:
        tag, start, rate = cell
        if isinstance(start, bytes):
            value = start
        elif isinstance(start, str):
            value = encode_oid(numbers(start))
        else:
            count = (start + int(rate * age)) & (2**64 - 1 if tag == COUNTER64 else 2**32 - 1)
            value = count.to_bytes(count.bit_length() // 8 + 1, "big")
        return wrap(0x30, wrap(OID, oid) + wrap(tag, value))

    def get(self, asked: list[bytes]) -> list[bytes]:
        """Return the varbinds of these instances."""
        index, varbinds = self._index, self.varbinds
        return [
            varbinds[index[oid]] if oid in index else wrap(0x30, wrap(OID, oid) + NO_SUCH_INSTANCE) for oid in asked
        ]

    def following(self, oid: bytes, count: int) -> list[bytes]:
        """Return the varbinds of the next `count` instances."""
        at = self._index.get(oid)
        if at is None:
            at = self._after.get(oid)
            if at is None:
                at = self._after[oid] = bisect.bisect_left(self._numbers, decode_oid(oid)) - 1
        found = self.varbinds[at + 1 : at + 1 + count]
        return found or [wrap(0x30, wrap(OID, oid) + END_OF_MIB)]

    def answer(self, kind: int, repetitions: int, question: bytes) -> tuple[bytes, int]:
        """Return the varbind list that answers one, and how many it holds."""
        key = bytes((kind, repetitions & 0xFF)) + question
        known = self.answers.get(key)
        if known is not None:
            return known
        asked = list(read_oids(question))
        if kind == GET:
            found = self.get(asked)
        else:
            found = [varbind for oid in asked for varbind in self.following(oid, repetitions)]
        content = b"".join(found)
        while len(content) > LARGEST:
            found = found[: len(found) // 2]
            content = b"".join(found)
        made = self.answers[key] = (wrap(0x30, content), len(found))
        return made


def read_oids(varbinds: bytes) -> Iterator[bytes]:
    """Yield the OIDs of a list of varbinds, each shorter than 128 bytes."""
    at = 0
    while at < len(varbinds):
        size = varbinds[at + 3]
        yield varbinds[at + 4 : at + 4 + size]
        at += 2 + varbinds[at + 1]


def content(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at `at` begins and ends."""
    length, start = data[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[at + 2 : start], "big")
    return start, start + length


def respond(data: bytes, table: Table) -> tuple[bytes, int]:
    """Return the answer to a request of v2c, and its number of varbinds."""
    begin, _ = content(data, 0)
    _, version_end = content(data, begin)
    _, community_end = content(data, version_end)
    kind = data[community_end]
    at, _ = content(data, community_end)
    _, id_end = content(data, at)
    _, first_end = content(data, id_end)
    start, second_end = content(data, first_end)
    low, high = content(data, second_end)
    repetitions = int.from_bytes(data[start:second_end], "big") if kind == GET_BULK else 1
    varbinds, number = table.answer(kind, repetitions, data[low:high])
    pdu = wrap(RESPONSE, data[at:id_end] + b"\x02\x01\x00\x02\x01\x00" + varbinds)
    return wrap(0x30, data[begin:community_end] + pdu), number


def serve(agents: list[socket.socket], tables: list[Table]) -> None:
    """Answer until the standard input ends."""
    silent: set[socket.socket] = set()
    served = requests = 0
    with selectors.DefaultSelector() as selector:
        for number, agent in enumerate(agents):
            selector.register(agent, selectors.EVENT_READ, tables[number % len(tables)])
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        while True:
            events = selector.select(0.05)
            now = time.monotonic()
            for table in tables:
                table.refresh(now)
            for key, _ in events:
                if key.data is None:
                    words = os.read(sys.stdin.fileno(), 1000).split()
                    if not words:
                        return
                    if words[0] == b"silent":
                        silent = set(agents[len(agents) - int(words[1]) :])
                    used = time.process_time()
                    print(json.dumps({"varbinds": served, "requests": requests, "cpu": used}), flush=True)
                    continue
                data, where = key.fileobj.recvfrom(65_535)  # type: ignore[union-attr]
                if key.fileobj in silent:
                    continue
                answer, number = respond(data, key.data)
                served += number
                requests += 1
                key.fileobj.sendto(answer, where)  # type: ignore[union-attr]


def main() -> None:
    """Bind, tell the ports, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1)
    parser.add_argument("--ports", type=int, default=64)
    parser.add_argument("--cpu", type=int, default=-1, help="the core to run on; -1: any")
    chosen = parser.parse_args()
    if chosen.cpu >= 0:
        os.sched_setaffinity(0, {chosen.cpu})
    agents = []
    for _ in range(chosen.agents):
        agent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        agent.bind(("127.0.0.1", 0))
        agents.append(agent)
    tables = [Table(chosen.ports, phase * REFRESH_S / PHASES) for phase in range(min(PHASES, chosen.agents))]
    print(json.dumps({"ports": [agent.getsockname()[1] for agent in agents]}), flush=True)
    serve(agents, tables)


if __name__ == "__main__":
    main()
