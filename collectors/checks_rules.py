"""What readings of one device at one instant say against each other; `docs/plausibility.md` tells why each is as it is.

Each rule is a function of the device's rows that yields what it found. Limits widen by what a reading moved since the
poll before, up to half its size: a device does not read all of its values at the same moment.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from storage.point import Point
from storage.schema import COMMON_TAGS

#: differences below it prove nothing: small loads, supplies that stand by. Units: W, and share of the rating
FLOOR_WATTS, FLOOR_RATIO = 50.0, 0.01
APPARENT_RATIO = EFFICIENCY_RATIO = 1.02
PRODUCT_RATIO = SUM_RATIO = 0.05
#: against VA times power factor: devices tell the factor of the fundamental wave, which harmonics lower
APPARENT_PRODUCT_RATIO = 0.25
#: power factor below which no load that matters works, where none is told
LEAST_POWER_FACTOR = 0.1
HEAT_RATIO = 0.25
#: two temperature sensors disagree by so much at rest. Units: K
SENSOR_KELVIN = 0.5
#: below it a loop stands still. Units: L/s
LEAST_FLOW = 0.02
#: a return below its supply by more than this is none: with a load that is known, and without. Units: K
ORDER_KELVIN, ORDER_KELVIN_ALONE = 1.0, 3.0
LOAD_WATTS = 1000.0
#: temperature rises below it are too uncertain for heat. Units: K
LEAST_RISE_KELVIN = 2.0
#: largest share of a reading that a change since the last poll excuses
_EXCUSED_RATIO = 0.5
#: `battery.state`
_DISCHARGING = 2
_PHASES = 3

_SQRT3 = math.sqrt(3.0)
#: V x A is multiplied by: a whole device may count its phases any way, a phase may be measured against another
_ANY, _PHASE, _ONE = (1.0, _SQRT3, 3.0), (1.0, 1.0 / _SQRT3), (1.0,)
_DC_KINDS = ("power_shelf", "psu", "rectifier")
_QUANTA = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
#: factors of a product, their unit, and the coarsest resolution that devices give them with
_FACTORS: Mapping[str, tuple[str, float]] = {
    "voltage_volts": ("V", 1.0),
    "current_amperes": ("A", 1.0),
    "apparent_volt_amperes": ("VA", 1000.0),
    "power_factor_ratio": ("", 0.01),
}

#: too small or too large by -> the likely mistake; {} is the unit
_SLIPS: Sequence[tuple[float, str]] = (
    (1e-3, "a reading in k{}?"),
    (1e3, "a reading in m{}?"),
    (1e-6, "a reading in M{}?"),
    (1.0 / 60.0, "per second taken for per minute?"),
    (60.0, "per minute taken for per second?"),
    (1.0 / _SQRT3, "off by sqrt(3): phase voltage taken for line voltage?"),
    (_SQRT3, "off by sqrt(3): line voltage taken for phase voltage?"),
    (0.1, "a decimal place?"),
    (10.0, "a decimal place?"),
    (0.01, "two decimal places?"),
    (100.0, "two decimal places?"),
)
_SLIP_RATIO = 0.12


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction."""

    rule: str
    subject: str
    #: what contradicts what, with numbers
    text: str
    #: how far apart, relative to what was to be expected; None where it says nothing
    deviation: float | None
    #: the row that it speaks of
    row: Point
    #: the readings that are not to be used: their row and field
    doubted: tuple[tuple[Point, str], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which rows of a device belong together, as numbers of rows: the same from poll to poll."""

    #: rows of power, what V x A may have to be multiplied by to give VA, whether direct current flows
    power: Sequence[tuple[int, tuple[float, ...], bool]]
    #: input and output of each circuit that has both
    pairs: Sequence[tuple[int, int]]
    #: total, what its parts are called, the parts
    sums: Sequence[tuple[int, str, Sequence[int]]]
    #: flow and heat, supply, return of each loop
    loops: Sequence[tuple[int, int, int]]
    batteries: Sequence[int]
    #: rows that tell of a load which a loop cools
    loads: Sequence[int]


class Rows:
    """The rows of one device in one poll, and the same rows one poll before."""

    def __init__(self, points: Sequence[Point], layout: Layout, before: Callable[[Point], Point | None]) -> None:
        self.points = points
        self.layout = layout
        self._before = before
        self._doubted: set[tuple[int, str]] = set()

    def doubt(self, finding: Finding) -> None:
        """Take the readings of a finding out of what later rules trust."""
        self._doubted.update((id(point), name) for point, name in finding.doubted)

    def trusts(self, point: Point, name: str) -> bool:
        """Return whether no rule so far doubts a reading."""
        return not self._doubted or (id(point), name) not in self._doubted

    def moved(self, point: Point, *names: str) -> float:
        """Return by how much readings of a row changed since the poll before, relative; 0 where that is not known."""
        before = self._before(point)
        if before is None:
            return 0.0
        shares = (_change(before.fields.get(name), point.fields.get(name)) for name in names)
        return min(_EXCUSED_RATIO, sum(shares))


def make_layout(points: Sequence[Point], numbers: Iterable[int]) -> Layout:
    """Return how the rows of one device, those of these numbers, belong together."""
    of = {kind: [n for n in numbers if points[n].measurement == kind] for kind in ("power", "coolant", "battery")}
    power = [(n, _factors(points[n].tags), _is_direct(points[n].tags)) for n in of["power"]]
    pairs = _pairs(points, of["power"])
    loads = [n for n in of["power"] if points[n].tags.get("kind") == "rack"]
    return Layout(power, pairs, _sums(points, of["power"]), _loops(points, of["coolant"]), of["battery"], loads)


def _pairs(points: Sequence[Point], numbers: Iterable[int]) -> Sequence[tuple[int, int]]:
    sides: dict[tuple[str | None, ...], dict[str, int]] = {}
    for number in numbers:
        tags = points[number].tags
        circuit = (tags.get("kind"), tags.get("circuit"), tags.get("phase"), tags.get("scope"))
        sides.setdefault(circuit, {})[tags.get("side", "")] = number
    return [(both["input"], both["output"]) for both in sides.values() if both.keys() >= {"input", "output"}]


def _sums(points: Sequence[Point], numbers: Iterable[int]) -> Sequence[tuple[int, str, Sequence[int]]]:
    totals: list[tuple[int, tuple[str | None, ...]]] = []
    parts: dict[tuple[tuple[str | None, ...], str], list[int]] = {}
    for number in numbers:
        tags = points[number].tags
        circuit, whole = tags.get("circuit", ""), (tags.get("kind"), tags.get("side"))
        if "phase" in tags and circuit in ("total", "phase", ""):
            parts.setdefault((whole, "phase"), []).append(number)
        elif circuit == "total":
            totals.append((number, whole))
        else:
            parts.setdefault((whole, circuit.partition("-")[0]), []).append(number)
    return [(n, family, members) for n, mine in totals for (whole, family), members in parts.items() if whole == mine]


def _loops(points: Sequence[Point], numbers: Iterable[int]) -> Sequence[tuple[int, int, int]]:
    loops: dict[tuple[str | None, ...], dict[str, int]] = {}
    for number in numbers:
        tags = points[number].tags
        if "pump" not in tags:
            loops.setdefault((tags.get("kind"), tags.get("loop")), {})[tags.get("point", "-")] = number
    whole = (loop for loop in loops.values() if loop.keys() >= {"-", "supply", "return"})
    return [(loop["-"], loop["supply"], loop["return"]) for loop in whole]


def _change(before: object, after: object) -> float:
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return 0.0
    largest = max(abs(before), abs(after))
    return abs(after - before) / largest if largest else 0.0


def own_tags(point: Point) -> Mapping[str, str]:
    """Return a row's tags without those that say where it stands and who tells of it."""
    return {name: value for name, value in point.tags.items() if name not in COMMON_TAGS}


def subject(point: Point) -> str:
    """Return the row's name in `check`: power psu-208 output."""
    words = (value for name, value in own_tags(point).items() if name not in ("kind", "scope"))
    return " ".join([point.measurement, *words])


def _get(point: Point, name: str) -> float | None:
    value = point.fields.get(name)
    return value if isinstance(value, int | float) else None


def _floor(point: Point, rated: str = "rated_watts") -> float:
    return max(FLOOR_WATTS, FLOOR_RATIO * (_get(point, rated) or 0.0))


def quantum(value: float | None, coarsest: float = 1000.0) -> float:
    """Return the coarsest resolution that a reading may have: 0.1 for 0.3 A, 1 for 3 A; 0 for a fine one."""
    size = abs(value or 0.0)
    return next((q for q in _QUANTA if q <= min(size, coarsest) and abs(size / q - round(size / q)) < 1e-6), 0.0)


def slip(value: float, expected: float) -> str:
    """Return the mistake that a reading in W and its expected value give away, or ""."""
    ratio = value / expected if expected else 0.0
    likely = (text for factor, text in _SLIPS if abs(ratio / factor - 1.0) <= _SLIP_RATIO)
    return f": {text.format('W')}" if (text := next(likely, "")) else ""


def _deviation(value: float, expected: float) -> float:
    return value / expected - 1.0 if expected else 2.0


def _factors(tags: Mapping[str, str]) -> tuple[float, ...]:
    """Return what V x A may have to be multiplied by to give the row's VA."""
    if "phase" in tags:
        return _PHASE
    circuit = tags.get("circuit", "")
    if circuit.startswith("outlet") or _is_direct(tags):
        return _ONE
    return _ANY


def _is_direct(tags: Mapping[str, str]) -> bool:
    """Return whether a row is of direct current: what rectifiers put out."""
    return tags.get("side") == "output" and tags.get("kind") in _DC_KINDS


def check_product(rows: Rows) -> Iterator[Finding]:
    """W within 5 % of V x A x PF."""
    points = rows.points
    for number, factors, is_direct in rows.layout.power:
        fields = points[number].fields
        watts = fields.get("active_watts")
        if watts is None:
            continue
        volts, amperes = fields.get("voltage_volts"), fields.get("current_amperes")
        if volts is not None and amperes is not None:
            product = abs(volts * amperes)  # type: ignore[operator, arg-type]
            # The usual case at the least cost; all else is looked at more closely.
            expected = product * abs(fields.get("power_factor_ratio", 1.0))  # type: ignore[arg-type]
            if abs(watts - expected) > PRODUCT_RATIO * expected + FLOOR_WATTS:
                names = ("voltage_volts", "current_amperes")
                yield from _against(rows, points[number], product, factors, names, is_direct=is_direct)
        elif "apparent_volt_amperes" in fields:
            product = float(fields["apparent_volt_amperes"])
            yield from _against(rows, points[number], product, _ONE, ("apparent_volt_amperes",), is_direct=is_direct)


def _against(
    rows: Rows, point: Point, product: float, factors: tuple[float, ...], names: Sequence[str], *, is_direct: bool
) -> Iterator[Finding]:
    """Yield a finding where W does not fit a product of other readings in any meaning that it may have."""
    watts = float(point.fields["active_watts"])
    share = PRODUCT_RATIO if len(names) == 2 else APPARENT_PRODUCT_RATIO
    power_factor = abs(_get(point, "power_factor_ratio") or 0.0) or (1.0 if is_direct else None)
    meanings = [factor * product * (power_factor or 1.0) for factor in factors]
    if _fits(watts, meanings, share, FLOOR_WATTS, is_factor_known=power_factor is not None):
        return
    excused = rows.moved(point, "active_watts", *names, "power_factor_ratio") + _coarseness(point, names)
    share += min(_EXCUSED_RATIO, excused)
    if _fits(watts, meanings, share, _floor(point) + quantum(watts), is_factor_known=power_factor is not None):
        return
    nearest = min(meanings, key=lambda meaning: abs(meaning - watts))
    expected = next((meaning for meaning in meanings if slip(watts, meaning)), nearest)
    text = f"{_told(point, names)} is {expected:.4g} W{slip(watts, expected)}"
    yield Finding("product", subject(point), text, _deviation(watts, expected), point, ((point, "active_watts"),))


def _fits(watts: float, meanings: Sequence[float], share: float, floor: float, *, is_factor_known: bool) -> bool:
    if is_factor_known:
        return any(abs(watts - meaning) <= share * max(watts, meaning) + floor for meaning in meanings)
    return LEAST_POWER_FACTOR * min(meanings) - floor <= watts <= (1.0 + share) * max(meanings) + floor


def _coarseness(point: Point, names: Iterable[str]) -> float:
    """Return by what share a product may be off because its factors are coarse."""
    values = ((_get(point, name), _FACTORS[name][1]) for name in (*names, "power_factor_ratio"))
    return sum(quantum(value, coarsest) / abs(value) for value, coarsest in values if value)


def _told(point: Point, names: Sequence[str]) -> str:
    parts = [f"{_get(point, name):.4g} {_FACTORS[name][0]}" for name in names]
    power_factor = _get(point, "power_factor_ratio")
    return " x ".join(parts if power_factor is None else [*parts, f"PF {abs(power_factor):.3g}"])


def check_apparent(rows: Rows) -> Iterator[Finding]:
    """W at most 1.02 VA."""
    for number, _, _ in rows.layout.power:
        point = rows.points[number]
        if "apparent_volt_amperes" not in point.fields:
            continue
        watts, apparent = _get(point, "active_watts"), float(point.fields["apparent_volt_amperes"])
        if watts is None or watts <= APPARENT_RATIO * apparent + FLOOR_WATTS or not rows.trusts(point, "active_watts"):
            continue
        slack = _floor(point) + quantum(watts) + quantum(apparent)
        slack += rows.moved(point, "active_watts", "apparent_volt_amperes") * watts
        if watts > APPARENT_RATIO * apparent + slack:
            text = f"{watts:.4g} W is more than {apparent:.4g} VA{slip(watts, apparent)}"
            doubted = ((point, "active_watts"), (point, "apparent_volt_amperes"))
            yield Finding("apparent", subject(point), text, _deviation(watts, apparent), point, doubted)


def check_efficiency(rows: Rows) -> Iterator[Finding]:
    """Output at most 1.02 input, for each circuit that tells both; not while a battery feeds the output."""
    points = rows.points
    for taking, giving in rows.layout.pairs:
        fed, point = points[taking], points[giving]
        taken, given = fed.fields.get("active_watts"), point.fields.get("active_watts")
        if taken is None or given is None or not rows.trusts(fed, "active_watts"):
            continue
        if not rows.trusts(point, "active_watts"):
            # Volts and amperes contradicted it: they stand in for it.
            given = abs((_get(point, "voltage_volts") or 0.0) * (_get(point, "current_amperes") or 0.0))
        if given > EFFICIENCY_RATIO * taken + FLOOR_WATTS:  # type: ignore[operator]
            yield from _loss(rows, fed, point, float(taken), float(given))


def _loss(rows: Rows, fed: Point, point: Point, taken: float, given: float) -> Iterator[Finding]:
    if any(rows.points[number].fields.get("state") == _DISCHARGING for number in rows.layout.batteries):
        return
    slack = max(_floor(fed), _floor(point)) + quantum(taken) + quantum(given)
    slack += max(rows.moved(fed, "active_watts"), rows.moved(point, "active_watts")) * given
    if given > EFFICIENCY_RATIO * taken + slack:
        text = f"{given:.4g} W come out of {taken:.4g} W{slip(taken, given)}"
        doubted = [(row, "active_watts") for row in (fed, point) if rows.trusts(row, "active_watts")]
        yield Finding("efficiency", subject(fed), text, _deviation(given, taken), fed, tuple(doubted))


def check_sum(rows: Rows) -> Iterator[Finding]:
    """The parts of a device against its total: three phases within 5 %; other parts, which may be some, at most it."""
    points = rows.points
    for number, family, numbers in rows.layout.sums:
        whole = points[number].fields.get("active_watts")
        watts = [points[part].fields.get("active_watts") for part in numbers]
        known: list[float] = [value for value in watts if value is not None]  # type: ignore[misc]
        if whole is None or not known:
            continue
        added, is_complete = sum(known), family == "phase" and len(known) >= _PHASES
        over = added - whole if not is_complete else abs(added - whole)  # type: ignore[operator]
        if over > SUM_RATIO * max(whole, added) + FLOOR_WATTS:  # type: ignore[operator]
            members = [points[part] for part in numbers if "active_watts" in points[part].fields]
            yield from _parts_against(rows, points[number], family, members)


def _parts_against(rows: Rows, total: Point, family: str, members: Sequence[Point]) -> Iterator[Finding]:
    whole = float(total.fields["active_watts"])
    added = sum(float(part.fields["active_watts"]) for part in members)
    over = abs(added - whole)
    if not all(rows.trusts(point, "active_watts") for point in (total, *members)):
        return
    slack = _floor(total) + quantum(whole) + sum(quantum(_get(part, "active_watts")) for part in members)
    moves = max(rows.moved(point, "active_watts") for point in (total, *members))
    if over > (SUM_RATIO + moves) * max(whole, added) + slack:
        text = f"{len(members)} of {family} add up to {added:.4g} W{slip(whole, added)}"
        yield Finding("sum", subject(total), text, _deviation(whole, added), total, ((total, "active_watts"),))


def check_order(rows: Rows) -> Iterator[Finding]:
    """Return above supply where a loop flows and carries heat."""
    for numbers in rows.layout.loops:
        carrier, supply, back, flow = _loop(rows, numbers)
        if supply is None or back is None or back >= supply - ORDER_KELVIN or (flow or 0.0) < LEAST_FLOW:
            continue
        loads = [_get(carrier, "heat_reported_watts")]
        loads += [_get(rows.points[number], "active_watts") for number in rows.layout.loads]
        if back < supply - ORDER_KELVIN_ALONE or any(load is not None and load >= LOAD_WATTS for load in loads):
            text = f"return {back:.4g} degC is below supply {supply:.4g} degC: sensors or ports changed over?"
            doubted = ((carrier, "heat_watts"),) if "heat_watts" in carrier.fields else ()
            yield Finding("order", subject(carrier), text, None, carrier, doubted)


def _loop(rows: Rows, numbers: tuple[int, int, int]) -> tuple[Point, float | None, float | None, float | None]:
    """Return a loop's row of flow and heat, its supply and return temperature, its flow."""
    carrier, supply, back = (rows.points[number] for number in numbers)
    name = "temperature_celsius"
    return carrier, _get(supply, name), _get(back, name), _get(carrier, "flow_liters_per_second")


def check_heat(rows: Rows) -> Iterator[Finding]:
    """Heat as the device reports it within 25 % of what flow and temperatures give."""
    for numbers in rows.layout.loops:
        carrier, supply, back, _ = _loop(rows, numbers)
        told, computed = _get(carrier, "heat_reported_watts"), _get(carrier, "heat_watts")
        if told is None or computed is None or computed <= 0.0 or not rows.trusts(carrier, "heat_watts"):
            continue
        if supply is None or back is None or back - supply < LEAST_RISE_KELVIN:
            continue
        slack = computed * 2.0 * SENSOR_KELVIN / (back - supply) + LOAD_WATTS + quantum(told)
        share = HEAT_RATIO + rows.moved(carrier, "heat_watts", "heat_reported_watts")
        if abs(told - computed) > share * max(told, computed) + slack:
            text = f"{told:.4g} W reported, {computed:.4g} W by flow and temperatures{slip(told, computed)}"
            doubted = ((carrier, "heat_reported_watts"), (carrier, "heat_watts"))
            yield Finding("heat", subject(carrier), text, _deviation(told, computed), carrier, doubted)


Rule = Callable[[Rows], Iterator[Finding]]
#: what an earlier rule doubts a later one does not use
RULES: Sequence[Rule] = (check_product, check_apparent, check_efficiency, check_sum, check_order, check_heat)
