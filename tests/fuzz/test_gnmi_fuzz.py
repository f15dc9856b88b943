"""Broken gNMI notifications by the hundred thousand: nothing crashes, nothing that cannot be true is stored.

One notification of a sound round is damaged, as bytes of the wire or in the object that it carries, and the round goes
the way of a poll: parsed as protobuf, parsed as JSON, turned into points. The other notifications must bring what they
would have brought alone, and the other rows of a damaged table too. Each case depends on its number alone; a failure
names it. Environment: TOKENWATT_FUZZ_CASES the number of cases (10000; all: `make fuzz`), TOKENWATT_FUZZ_CASE one case
to run alone.
"""

import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
import pytest
from gnmi_site import START, small_profile
from google.protobuf.message import DecodeError
from pygnmi.spec.v080 import gnmi_pb2

from collectors.collector import CollectError, PollResult, Target
from collectors.gnmi import answers as gnmi_answers
from collectors.gnmi import map as gnmi_map
from collectors.gnmi.answers import Round
from collectors.gnmi.collector import GnmiCollector
from collectors.gnmi.health import Health
from collectors.profile import Group, PointSpec, Profile
from storage.point import Point
from storage.schema import MEASUREMENTS

CASES = int(os.environ.get("TOKENWATT_FUZZ_CASES", "10000"))
ONLY = os.environ.get("TOKENWATT_FUZZ_CASE")
CHUNKS = 10
#: cases that one collector reads, so that one of them can be run again alone with those before it
BLOCK = 200
_SHOWN = 1500

PORTS = ("Ethernet0", "Ethernet8")
LEAVES = (
    *("", "N/A", "None", "inf", "-inf", "nan", "NaN", "1e400", "-1", "-0", "1_000", "0x1F", " 7", "1,2", "١٢", "true"),
    *("18446744073709551615", "18446744073709551616", "9" * 400, "-9223372036854775808", "1e-08", "9007199254740993"),
    *(None, True, -1, 2**63, 1.5, 1e308, [], {}, ["1"], {"a": {"b": "1"}}, "up\n", "\x00", "é", "x" * 5000, "{", "{}"),
)
KEYS = (
    "",
    ":",
    "::",
    "etp1:",
    ":3",
    "etp1:3:periodic:x",
    "etp1:999999999999",
    "Ethernet",
    "Ethernet9999",
    "etp99",
    "\n",
)
ROWS = (None, "", "1", 5, [], [{}], {}, {"": ""}, True)

Random = random.Random
#: path -> its answer
Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sound:
    """A round as a healthy switch sends it, and its points."""

    database: str
    answers: Mapping[str, Any]
    points: Sequence[Point]


def profile() -> Profile:
    """Return counters, queues, links, optics and sensors: a row per port, per port and queue, per lane, per name."""
    queues = {"target": "COUNTERS_DB", "path": "COUNTERS/Ethernet*/Queues", "as": ["port", "queue"]}
    optics = {"target": "STATE_DB", "path": "TRANSCEIVER_DOM_SENSOR", "as": ["port"]}
    states = {"up": 1, "down": 0}
    more = (
        Group(
            each=queues,
            tags={"interface": "{port}", "queue": "{queue}"},
            points=(
                PointSpec(to="queue.packets_total", at="SAI_QUEUE_STAT_PACKETS"),
                PointSpec(to="queue.ecn_marked_packets_total", at="SAI_QUEUE_STAT_WRED_ECN_MARKED_PACKETS"),
            ),
        ),
        Group(
            each=optics,
            tags={"interface": "{port}"},
            points=(
                PointSpec(to="transceiver.temperature_celsius", at="temperature", unit="C", every="slow"),
                PointSpec(to="transceiver.rx_power_watts", at="rx1power", unit="dBm", every="slow"),
            ),
        ),
        Group(
            each={"target": "COUNTERS_DB", "path": "COUNTERS/Ethernet*", "as": ["port"]},
            tags={"interface": "{port}", "priority": "3"},
            points=(
                PointSpec(to="pfc.rx_pause_seconds_total", at="SAI_PORT_STAT_PFC_3_RX_PAUSE_DURATION_US", unit="us"),
                PointSpec(to="pfc.watchdog_stormed", at="WD", enum={"stormed": 1, **dict.fromkeys(states, 0)}),
            ),
        ),
    )
    base = small_profile()
    return base.model_copy(update={"groups": (*base.groups, *more)})


def fields_of(number: int) -> dict[str, str]:
    """Return the leaves of one row: all tables of this round have the same ones, for brevity."""
    return {
        "SAI_PORT_STAT_IF_IN_OCTETS": str(10**15 + number),
        "SAI_PORT_STAT_IF_OUT_OCTETS": str(10**14 + number),
        "SAI_PORT_STAT_PFC_3_RX_PAUSE_DURATION_US": str(1000 + number),
        "SAI_QUEUE_STAT_PACKETS": str(10**12 + number),
        "SAI_QUEUE_STAT_WRED_ECN_MARKED_PACKETS": str(number),
        "oper_status": "up",
        "admin_status": "up",
        "alias": f"etp{number + 1}",
        "temperature": f"{40 + number}.5",
        "rx1power": f"-{number}.5",
    }


def sound_answers() -> dict[str, Table]:
    """Return what a switch of two ports answers, by database and path, in the shapes of facts of SONiC."""
    rows = [fields_of(number) for number in range(len(PORTS))]
    by_alias = {row["alias"]: row for row in rows}
    return {
        "COUNTERS_DB": {
            "COUNTERS/Ethernet*": by_alias,
            "COUNTERS/Ethernet*/Queues": {
                f"{alias}:{queue}": row for alias, row in by_alias.items() for queue in (3, 4)
            },
            "COUNTERS_PORT_NAME_MAP": {name: f"oid:0x{0x1000000000002 + at:x}" for at, name in enumerate(PORTS)},
        },
        "APPL_DB": {"PORT_TABLE": {**dict(zip(PORTS, rows, strict=True)), "PortInitDone": {"lanes": "0"}}},
        "STATE_DB": {
            "TRANSCEIVER_DOM_SENSOR": dict(zip(PORTS, rows, strict=True)),
            "TEMPERATURE_INFO": {"Switch Card": rows[0], "PSU-1 Temp 1": rows[1]},
        },
    }


@cache
def sound_notification(database: str, path: str) -> Any:
    return notification(database, path, SOUND[database][path])


@cache
def sound_bytes(database: str, path: str) -> bytes:
    response = gnmi_pb2.SubscribeResponse(update=sound_notification(database, path))
    raw: bytes = response.SerializeToString(deterministic=True)
    return raw


def notification(database: str, path: str, value: Any) -> Any:
    update = gnmi_pb2.Update(
        path=gnmi_answers.make_path(path), val=gnmi_pb2.TypedValue(json_ietf_val=orjson.dumps(value))
    )
    return gnmi_pb2.Notification(timestamp=int(START * 1e9), prefix=gnmi_pb2.Path(target=database), update=[update])


# --- damage of the object that a notification carries: each returns the keys of the rows that it may have changed


def _change_leaf(rng: Random, table: Table) -> set[str]:
    key = rng.choice(list(table))
    if isinstance(table[key], dict) and table[key]:
        table[key] = {**table[key], rng.choice(list(table[key])): rng.choice(LEAVES)}
    return {key}


def _drop_leaf(rng: Random, table: Table) -> set[str]:
    key = rng.choice(list(table))
    if isinstance(table[key], dict) and table[key]:
        table[key] = dict(list(table[key].items())[rng.randrange(len(table[key])) :])
    return {key}


def _change_row(rng: Random, table: Table) -> set[str]:
    key = rng.choice(list(table))
    table[key] = rng.choice(ROWS)
    return {key}


def _drop_row(rng: Random, table: Table) -> set[str]:
    key = rng.choice(list(table))
    del table[key]
    return {key}


def _add_row(rng: Random, table: Table) -> set[str]:
    key = rng.choice(KEYS) if rng.randrange(2) else "".join(chr(rng.randrange(1, 300)) for _ in range(rng.randrange(9)))
    table[key] = rng.choice(list(table.values()))
    return {key}


def _rename_row(rng: Random, table: Table) -> set[str]:
    key = rng.choice(list(table))
    new = rng.choice(KEYS)
    table[new] = table.pop(key)
    return {key, new}


OBJECT_DAMAGES = (_change_leaf, _change_leaf, _change_leaf, _drop_leaf, _change_row, _drop_row, _add_row, _rename_row)


# --- damage of the bytes of the message


def _flip(rng: Random, raw: bytearray) -> None:
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)


def _overwrite(rng: Random, raw: bytearray) -> None:
    raw[rng.randrange(len(raw))] = rng.choice((0, 0x22, 0x2C, 0x30, 0x39, 0x3A, 0x5C, 0x7B, 0x7D, 0x7F, 0x80, 0xFF))


def _cut(rng: Random, raw: bytearray) -> None:
    start = rng.randrange(len(raw))
    del raw[start : start + rng.randint(1, 40)]


def _repeat(rng: Random, raw: bytearray) -> None:
    start = rng.randrange(len(raw))
    raw[start:start] = raw[start : start + rng.randint(1, 40)]


def _end_early(rng: Random, raw: bytearray) -> None:
    del raw[rng.randrange(len(raw)) :]


BYTE_DAMAGES: tuple[Callable[[Random, bytearray], None], ...] = (_flip, _flip, _overwrite, _cut, _repeat, _end_early)


@dataclass(slots=True)
class Case:
    """A round with one damaged notification."""

    database: str
    path: str
    notifications: list[Any]
    #: keys of rows that were damaged, None where any may be
    keys: set[str] | None
    shown: str


def make_case(number: int, sound: Sequence[Sound]) -> Case | None:
    """Return the round of a case; None where the damaged bytes are no message: gRPC ends the stream then."""
    rng = random.Random(number)
    chosen = sound[rng.choice((0, 0, 0, 1, 2, 2))]
    path = rng.choice(list(chosen.answers))
    # what others say of the round comes first or last
    others = [sound_notification(chosen.database, name) for name in chosen.answers if name != path]
    if rng.randrange(2):
        table = dict(chosen.answers[path])
        keys: set[str] = set()
        for _ in range(rng.randint(1, 2)):
            keys |= rng.choice(OBJECT_DAMAGES)(rng, table) if table else set()
        return Case(chosen.database, path, [*others, notification(chosen.database, path, table)], keys, repr(table))
    inside = rng.randrange(2)  # of the JSON alone, so that the message around it stays whole
    raw = bytearray(orjson.dumps(chosen.answers[path]) if inside else sound_bytes(chosen.database, path))
    for _ in range(rng.randint(1, 3)):
        if raw:
            rng.choice(BYTE_DAMAGES)(rng, raw)
    if inside:
        damaged = notification(chosen.database, path, None)
        damaged.update[0].val.json_ietf_val = bytes(raw)
        return Case(chosen.database, path, [*others, damaged], None, repr(bytes(raw)))
    try:
        response = gnmi_pb2.SubscribeResponse.FromString(bytes(raw))
    except DecodeError:
        return None
    told = [response.update] if response.HasField("update") else []
    return Case(
        chosen.database, path, [*told, *others] if rng.randrange(2) else [*others, *told], None, repr(bytes(raw))
    )


# --- what must hold, whatever the message


def wrong(points: Sequence[Point], ports: Mapping[str, str]) -> Iterator[str]:
    """Yield what a round brought that must not be."""
    for point in points:
        own = MEASUREMENTS[point.measurement]
        for tag, text in point.tags.items():
            if tag not in own.tags or not text:
                yield f"tag {tag}={text!r}"
            if tag in ("point", "queue") and (len(text) > 64 or not text.isprintable() or text != text.strip()):
                yield f"tag {tag}={text!r} is no name"
        if point.tags.get("interface", PORTS[0]) not in ports:
            yield f"there is no port {point.tags['interface']!r}"
        for name, value in point.fields.items():
            field = own.fields[name]
            low, high = (
                -math.inf if field.low is None else field.low,
                math.inf if field.high is None else field.high,
            )
            if isinstance(value, str):
                if field.kind != "text":
                    yield f"{point.measurement}.{name} is text: {value!r}"
            elif not math.isfinite(value) or not low <= value <= high:
                yield f"{point.measurement}.{name} cannot be: {value!r}"
            elif field.kind == "state" and value not in field.states:
                yield f"{point.measurement}.{name} is no state: {value!r}"


def disturbed(case: Case, sound: Sound, points: Sequence[Point]) -> Iterator[str]:
    """Yield the points of other paths, and of other rows of a damaged table, that are not as they were."""
    if case.path in ("PORT_TABLE", "COUNTERS_PORT_NAME_MAP"):
        return  # names and map of the ports: all others hang on them
    told = [_paths(one, sound.answers) for one in case.notifications]
    if sum(names == told[at] for names in told for at in range(len(told))) > len(told) or None in told:
        return  # the damaged notification speaks of another's path
    found = {_key(point): point.fields for point in points}
    for point in sound.points:
        if point.measurement.startswith("switch") or not _is_neighbour(case, point):
            continue
        if found.get(_key(point)) != point.fields:
            yield f"{point.measurement} {dict(point.tags)} was {dict(point.fields)}, is {found.get(_key(point))}"


def _paths(one: Any, asked: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the asked paths that a notification speaks of, None when it deletes."""
    wanted = {tuple(path.split("/")): path for path in asked}
    names = [tuple(element.name for element in update.path.elem) for update in one.update]
    prefix = tuple(element.name for element in one.prefix.elem)
    hit = [
        next(
            (wanted[full[:n]] for full in (name, prefix + name) for n in range(len(full), 0, -1) if full[:n] in wanted),
            "",
        )
        for name in names
    ]
    return None if one.delete else tuple(hit) or ("",)


def _key(point: Point) -> tuple[object, ...]:
    return (point.measurement, *sorted(point.tags.items()))


#: measurements that each path makes; two paths that feed one row damage each other's
_MADE = {
    "COUNTERS/Ethernet*": ("interface", "pfc"),
    "COUNTERS/Ethernet*/Queues": ("queue",),
    "TRANSCEIVER_DOM_SENSOR": ("transceiver",),
    "TEMPERATURE_INFO": ("environment",),
}


def _is_neighbour(case: Case, point: Point) -> bool:
    if point.measurement not in _MADE[case.path]:
        return True
    if case.keys is None:
        return False
    names = {PORTS[int(key[3:].split(":")[0]) - 1] for key in case.keys if key[:3] == "etp" and key[3:4] in ("1", "2")}
    queues = {key.rpartition(":")[2] for key in case.keys}
    hit = point.tags.get("interface") in names | case.keys or point.tags.get("point") in case.keys
    return not (hit and (point.measurement != "queue" or point.tags["queue"] in queues))


# --- the run


def open_collector() -> GnmiCollector:
    return GnmiCollector(TARGET, PROFILE, lambda: 0.0, lambda: int(START * 1e9))


def read(collector: GnmiCollector, database: str, notifications: Sequence[Any], number: int) -> PollResult:
    paths = tuple(SOUND[database])
    rounds = {database: [Round(paths, list(notifications))]}
    try:
        return collector.read(rounds, [], int(START * 1e9) + number * 10**10, slow=True)
    except CollectError:
        raise
    except Exception as error:
        shown = repr([str(one) for one in notifications])[:_SHOWN]
        raise AssertionError(f"case {number}: {error!r} from {shown}") from error


SOUND = sound_answers()
PROFILE = profile()
TARGET = Target("leaf-2", "gnmi", "127.0.0.1:1", options={"tls": "off"}, tags={"site": "S1"})


def read_sound(collector: GnmiCollector) -> list[Sound]:
    """Let a collector read a sound round of each database; return their points."""
    found = []
    # twice: the first round of the counters does not know the ports' names yet
    for database in (*SOUND, *SOUND):
        told = [sound_notification(database, path) for path in SOUND[database]]
        result = read(collector, database, told, 0)
        found.append(Sound(database, SOUND[database], result.points))
    return found[len(SOUND) :]


def run(numbers: Sequence[int]) -> tuple[int, int]:
    """Read the cases; return how many brought points, and how many were no message. Fail with the first mistake."""
    collector, sound, brought, refused = open_collector(), [], 0, 0
    ports = dict(SOUND["COUNTERS_DB"]["COUNTERS_PORT_NAME_MAP"])
    for at, number in enumerate(numbers):
        if at % BLOCK == 0:
            collector = open_collector()
            sound = read_sound(collector)
        case = make_case(number, sound)
        if case is None:
            refused += 1
            continue
        found = check(collector, case, number, sound, ports)
        brought += found
        if case.path in ("PORT_TABLE", "COUNTERS_PORT_NAME_MAP"):
            read(
                collector, case.database, [sound_notification(case.database, path) for path in SOUND[case.database]], 0
            )
    return brought, refused


def check(collector: GnmiCollector, case: Case, number: int, sound: Sequence[Sound], ports: Mapping[str, str]) -> bool:
    own = next(one for one in sound if one.database == case.database)
    try:
        result = read(collector, case.database, case.notifications, number)
    except CollectError:
        return False
    found = [*wrong(result.points, ports), *disturbed(case, own, result.points)]
    if found:
        pytest.fail(f"case {number}: {'; '.join(found[:3])} from {case.path} {case.shown[:_SHOWN]}")
    return bool(result.points)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_damaged_notifications_bring_nothing_that_cannot_be_true(chunk: int) -> None:
    numbers = range(chunk, CASES, CHUNKS) if ONLY is None else range(int(ONLY), int(ONLY) + (chunk == 0))
    brought, refused = run(numbers)
    # a fuzz whose messages are all refused, or never, would prove nothing
    assert ONLY is not None or (brought > len(numbers) / 2 and refused > len(numbers) / 100)


def _no_guard(monkeypatch: pytest.MonkeyPatch, guard: str) -> None:
    if guard == "keys":
        monkeypatch.setattr(Health, "keep", lambda self, each, answer, ports: answer)
    elif guard == "map":
        monkeypatch.setattr(gnmi_map.MapGuard, "has", lambda self, port: True)
    elif guard == "json":
        monkeypatch.setattr(Round, "read", _read_strictly)


def _read_strictly(self: Round) -> tuple[dict[str, Any], list[str]]:
    """Return the answers as one that takes a broken value for a broken round does."""
    answers, broken = gnmi_answers.read_notifications(self.notifications, self.paths)
    return ({}, broken) if broken else (answers, broken)


@pytest.mark.parametrize("guard", ["keys", "map", "json"])
def test_without_a_guard_the_fuzz_fails(monkeypatch: pytest.MonkeyPatch, guard: str) -> None:
    _no_guard(monkeypatch, guard)
    with pytest.raises(BaseException, match=r"case \d+: "):
        run(range(3000))
