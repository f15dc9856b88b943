"""Broken metrics pages by the hundred thousand: nothing crashes, and nothing that cannot be true is stored.

Excerpts of every recorded page and of the simulator's pages, a whole page now and then, are damaged and read by the
page's own profile and by one other. Each case depends on its number alone; a failure names it. Environment:
TOKENWATT_FUZZ_CASES the number of cases (10000; all: `make fuzz`), TOKENWATT_FUZZ_CASE one case to run alone.
"""

import asyncio
import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import aiohttp
import pytest
from pages import DATA, TIME_NS, target

from collectors.collector import CollectError, PollResult
from collectors.exposition.collector import ExpositionCollector
from collectors.exposition.each import PERSONAL
from collectors.exposition.match import choose
from collectors.exposition.text import Parser
from collectors.profile import Library, Profile
from collectors.simulator import exposition as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from storage.schema import MEASUREMENTS

CASES = int(os.environ.get("TOKENWATT_FUZZ_CASES", "10000"))
ONLY = os.environ.get("TOKENWATT_FUZZ_CASE")
CHUNKS = 10
#: length of a failing page in the message; its number gives it all
_SHOWN = 2000

#: stands in labels that tell of a person, and must never be seen again
SECRET = "eve@example.com"
SECRET_LABELS = sorted(PERSONAL)

#: what DCGM prints for "no value", as 32 and 64 bit integers and as a float; NVIDIA/DCGM dcgm_fields.h
DCGM_BLANKS = (*range(2**31 - 16, 2**31), *range(2**63 - 16, 2**63), 2**47)
#: what AMD says for "not supported" in 32 and 64 bits, and in 16 bits, which sizes and counters may well reach
AMD_BLANKS = (2**32 - 1, 2**64 - 1)
AMD_BLANK_16 = 2**16 - 1
BLANKS = {"dcgm_exporter": DCGM_BLANKS, "amd_exporter": AMD_BLANKS}

VALUES = (
    *("NaN", "+Inf", "-Inf", "Inf", "nan", "0", "-0", "-1", "-1.5e+300", "1e400", "1.7976931348623157e+308", "5e-324"),
    *("1.15891634176e+011", "3.545990503e+0", "1E5", "0x1F", "1_000", "1,5", "", "--1", "1e", "12abc", "١٢", "1 2 3"),
    *map(str, (*DCGM_BLANKS, *AMD_BLANKS, AMD_BLANK_16)),
    *("140737488355328.000000", "9.223372036854775794e+18", "4294967295.0", "1.8446744073709552e+19", "-2147483648"),
)
GARBAGE = (
    "{",
    "}",
    '"',
    "\\",
    "=",
    ",",
    "#",
    "\n",
    "\r",
    "\x00",
    "é",
    "\ufffd",
    " ",
    "\t",
    '\\"',
    '"} 5',
    "{a=",
    "# EOF",
)

Lines = list[str]
Random = random.Random


@dataclass(frozen=True, slots=True)
class Source:
    """A sound page and the profile that knows it, if any does."""

    lines: Sequence[str]
    profile: str


# --- damage: each takes the lines of a page and changes them in place


def _delete(rng: Random, lines: Lines) -> None:
    del lines[rng.randrange(len(lines))]


def _duplicate(rng: Random, lines: Lines) -> None:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))


def _change_value(rng: Random, lines: Lines) -> None:
    at = rng.randrange(len(lines))
    lines[at] = f"{lines[at].rpartition(' ')[0]} {rng.choice(VALUES)}"


def _change_all_values(rng: Random, lines: Lines) -> None:
    value = rng.choice(VALUES)
    lines[:] = [line if line.startswith("#") else f"{line.rpartition(' ')[0]} {value}" for line in lines]


def _put_garbage(rng: Random, lines: Lines) -> None:
    at = rng.randrange(len(lines))
    here = rng.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:here] + rng.choice(GARBAGE) + lines[at][here + rng.randrange(4) :]


def _flip_bytes(rng: Random, lines: Lines) -> None:
    at = rng.randrange(len(lines))
    raw = bytearray(lines[at].encode())
    for _ in range(rng.randint(1, 3)):
        if raw:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    lines[at] = raw.decode(errors="replace")


def _rename_label(rng: Random, lines: Lines) -> None:
    at = rng.randrange(len(lines))
    head, equals, tail = lines[at].partition('="')
    if equals:
        name = rng.choice(("engine", "UUID", "model_name", "le", "pod", "gpu", "0bad", "", "model", "GPU_I_ID", "x"))
        lines[at] = f"{head[: len(head) - len(head.lstrip())]}{head.rpartition('{')[0]}{{{name}{equals}{tail}"


def _empty_labels(rng: Random, lines: Lines) -> None:
    at = rng.randrange(len(lines))
    name, brace, tail = lines[at].partition("{")
    if brace:
        lines[at] = f"{name}{rng.choice(('', '{}', '{,}'))} {tail.rpartition(' ')[2]}"


def _put_time_or_exemplar(rng: Random, lines: Lines) -> None:
    at = rng.randrange(len(lines))
    lines[at] += rng.choice(
        (" 1760000000123", " 1760000000.123", " -5", ' # {trace_id="x"} 0.5 1760000000', " # {}", "  ")
    )


def _swap_line_ends(rng: Random, lines: Lines) -> None:
    lines[:] = [line + "\r" for line in lines]


def _blow_up_name(rng: Random, lines: Lines) -> None:
    at = rng.randrange(len(lines))
    lines[at] = lines[at].replace("_", rng.choice(("__", "", "_total_", ":")), 1)


DAMAGES: tuple[Callable[[Random, Lines], None], ...] = (
    *(_change_value, _change_value, _change_value, _change_all_values, _delete, _duplicate, _put_garbage, _put_garbage),
    *(_flip_bytes, _rename_label, _empty_labels, _put_time_or_exemplar, _swap_line_ends, _blow_up_name),
)


def _put_person(rng: Random, lines: Lines) -> None:
    for at in range(len(lines)):
        if "{" in lines[at] and not rng.randrange(3):
            label = f'{rng.choice(SECRET_LABELS)}="{SECRET}",'
            lines[at] = lines[at].replace("{", "{" + label, 1)


def excerpt(rng: Random, source: Source) -> Lines:
    """Return neighbouring lines of a page, or lines from all over it, or rarely all of it."""
    lines = source.lines
    if not rng.randrange(1000):
        return list(lines)
    count = min(rng.randint(5, 40), len(lines))
    if rng.randrange(2):
        start = rng.randrange(len(lines) - count + 1)
        return list(lines[start : start + count])
    return rng.sample(lines, count)


def make_case(number: int, sources: Sequence[Source]) -> tuple[str, str]:
    """Return the page of a case, and the profile that it is for."""
    rng = random.Random(number)
    source = rng.choice(sources)
    lines = excerpt(rng, source)
    if not rng.randrange(8):
        other = excerpt(rng, rng.choice(sources))[:20]
        lines = [line for pair in zip(lines, other, strict=False) for line in pair] + lines[len(other) :]
    for _ in range(rng.randint(1, 6)):
        if lines:
            rng.choice(DAMAGES)(rng, lines)
    if not rng.randrange(4):
        _put_person(rng, lines)
    text = "\n".join(lines)
    return (text[: rng.randrange(len(text) + 1)] if not rng.randrange(4) else text + "\n"), source.profile


# --- what must hold, whatever the page


def forbidden(profile: Profile) -> dict[str, frozenset[float]]:
    """Return the values that each GPU field would have if a blank of this exporter were stored."""
    found: dict[str, set[float]] = {}
    for reading in profile.readings.values():
        if reading.spec.to.startswith("gpu.") and reading.plain:
            blanks = list(BLANKS.get(profile.profile, ()))
            if profile.profile == "amd_exporter" and reading.into.kind == "gauge" and reading.into.unit != "bytes":
                blanks.append(AMD_BLANK_16)
            values = {reading.factor * raw + reading.offset for raw in blanks}
            found.setdefault(reading.spec.to, set()).update(values)
    return {path: frozenset(values) for path, values in found.items()}


def wrong(result: PollResult, blanks: dict[str, frozenset[float]]) -> Iterator[str]:
    """Yield what a poll brought that must not be."""
    if SECRET in repr(result):
        yield "a personal label got through"
    for point in result.points:
        own = MEASUREMENTS[point.measurement]
        for tag, text in point.tags.items():
            if tag not in own.tags or tag in PERSONAL or not text:
                yield f"tag {tag}={text!r}"
        for name, value in point.fields.items():
            field = own.fields[name]
            path = f"{point.measurement}.{name}"
            low, high = (
                (-math.inf if field.low is None else field.low),
                (math.inf if field.high is None else field.high),
            )
            if isinstance(value, str):
                if field.kind != "text":
                    yield f"{path} is text: {value!r}"
            elif not math.isfinite(value) or not low <= value <= high:
                yield f"{path} cannot be: {value!r}"
            elif field.kind == "counter" and value < 0:
                yield f"{path} counts below zero: {value!r}"
            elif field.kind == "state" and (value != int(value) or (field.states and int(value) not in field.states)):
                yield f"{path} is no state: {value!r}"
            elif value in blanks.get(path, ()):
                yield f"{path} is a blank value: {value!r}"


@pytest.fixture(scope="module")
def profiles() -> list[Profile]:
    return Library().of_protocol("exposition")


async def simulated() -> list[str]:
    """Return one page of each kind of server that the simulator plays, after some minutes of load."""
    now = 1_760_000_000.0
    factory = Factory(build_layout(64), seed=3, start=now)
    for _ in range(120):
        now += 5.0
        factory.advance(now)
    service = await simulator.start(factory, lambda: now)
    try:
        kinds = {device.profile: device.url for device in service.devices}
        async with aiohttp.ClientSession() as session:
            return [await (await session.get(url)).text() for url in kinds.values()]
    finally:
        await service.close()


@pytest.fixture(scope="module")
def sources(profiles: list[Profile]) -> list[Source]:
    pages = [path.read_text() for path in sorted(DATA.glob("*.prom"))] + asyncio.run(simulated())
    return [Source(text.splitlines(), _profile_of(text, profiles)) for text in pages]


def _profile_of(text: str, profiles: list[Profile]) -> str:
    page = Parser().parse(text)
    return choose("", {*page.samples, *page.types}, profiles).profile


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_damaged_pages_bring_nothing_that_cannot_be_true(
    chunk: int, sources: list[Source], profiles: list[Profile]
) -> None:
    collectors = {profile.profile: ExpositionCollector(target(), profile) for profile in profiles}
    blanks = {profile.profile: forbidden(profile) for profile in profiles}
    names = sorted(collectors)
    numbers = range(chunk, CASES, CHUNKS) if ONLY is None else range(int(ONLY), int(ONLY) + (chunk == 0))
    read = 0
    for number in numbers:
        text, own = make_case(number, sources)
        for name in (own, names[number // CHUNKS % len(names)]):
            try:
                result = collectors[name].read(text, TIME_NS + number * 5 * 10**9)
            except CollectError as error:
                found = ["a personal label got through"] if SECRET in str(error) else []
            except Exception as error:
                raise AssertionError(f"case {number}, {name}: {error!r} from {text[:_SHOWN]!r}") from error
            else:
                found = list(wrong(result, blanks[name]))
                read += bool(result.points)
            if found:
                pytest.fail(f"case {number}, {name}: {'; '.join(found)} from {text[:_SHOWN]!r}")
    # a fuzz whose pages are all refused would prove nothing
    assert ONLY is not None or read > len(numbers) / 3
