"""Nothing but reads leaves for a Modbus device: seen at the socket over all profiles, and in the sources."""

import ast
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from modbus_bus import answering
from wire import tapped

from collectors.collector import CollectError, Target
from collectors.modbus import collector as modbus
from collectors.profile import Library, Profile
from collectors.recording import load_recording
from collectors.simulator.replay import play

GOLDEN = Path(__file__).parent / "golden"
COLLECTORS = Path(__file__).parents[2] / "collectors"


@cache
def profiles() -> Sequence[Profile]:
    return Library().of_protocol("modbus")


NAMES = sorted(path.stem for path in GOLDEN.glob("*.yaml") if load_recording(path).modbus)


def requests(sent: bytes) -> Iterator[tuple[int, int]]:
    """Yield function code and length of each request in a client's bytes, which hold nothing else."""
    at = 0
    while at < len(sent):
        _, protocol, length, _, function = struct.unpack_from(">HHHBB", sent, at)
        assert protocol == 0
        yield function, length
        at += 6 + length
    assert at == len(sent)


def target(port: int) -> Target:
    return Target("dev-1", "modbus", f"127.0.0.1:{port}", timeout=timedelta(seconds=20))


@pytest.mark.parametrize("name", NAMES)
async def test_a_device_is_recognised_by_its_own_profile_alone_and_only_read(name: str) -> None:
    recording = load_recording(GOLDEN / f"{name}.yaml")
    async with play(recording.answers, GOLDEN) as url, tapped(int(url.rpartition(":")[2])) as wire:
        fitting = []
        for profile in profiles():
            with suppress(CollectError):
                fitting.append((await modbus.identify(target(wire.port), [profile])).profile)
        assert fitting == [recording.profile]
        # The device's own profile, and one that it refuses throughout.
        stranger = next(p for p in profiles() if p.profile != recording.profile)
        for profile in (Library().profile(recording.profile), stranger):
            collector = modbus.open_collector(target(wire.port), profile)
            for stamp in (1, 2):
                with suppress(CollectError):
                    await collector.poll(stamp)
            await collector.aclose()
        sent = b"".join(wire.sent)
    seen = set(requests(sent))
    assert {function for function, _ in seen} <= {1, 2, 3, 4}
    # unit, function, start, count: no room for a value
    assert {length for _, length in seen} == {6}


async def test_silence_strange_answers_and_lost_connections_bring_forth_nothing_but_reads() -> None:
    answers: list[bytes | None] = [*(b"\x83" + bytes((code,)) for code in (1, 2, 6, 11)), b"\x10\0\0\0\1", b"", None]

    seen: set[tuple[int, int]] = set()

    async def strange(unit: int, pdu: bytes) -> bytes | None:
        seen.add((pdu[0], len(pdu)))
        answers.append(answers.pop(0))
        if answers[-1] is None:
            raise ConnectionResetError
        return answers[-1] or None

    async with answering(strange) as port:
        await poll_all(port)
    # Function, start, count: no room for a value.
    assert {length for _, length in seen} == {5}
    assert {function for function, _ in seen} == {2, 3, 4}


async def poll_all(port: int) -> None:
    """Poll with every profile, twice, a peer that answers nothing of use."""
    for profile in profiles():
        quick = replace(target(port), options={"timeout": "20ms"}, timeout=timedelta(seconds=0.3))
        collector = modbus.open_collector(quick, profile)
        for stamp in (1, 2):
            with suppress(CollectError):
                await collector.poll(stamp)
        await collector.aclose()


def test_no_source_of_the_collectors_names_a_function_that_writes() -> None:
    for path in sorted((COLLECTORS / "modbus").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        writes = {name for name in names if name.startswith(("write_", "mask_write", "readwrite"))}
        assert not writes, path.name
        # A client that can write is not even there.
        assert not [module for module in modules if module.partition(".")[0] == "pymodbus"], path.name
