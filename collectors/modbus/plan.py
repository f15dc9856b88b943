"""What is to be read of a Modbus device: units, their rows, and spans of neighbours that share a request."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collectors.modbus.address import Address, parse_address
from collectors.profile import Group, PointSpec, Profile, Raw


@dataclass(frozen=True, slots=True)
class Reading:
    """One point of a group and the addresses that are left to try for it."""

    spec: PointSpec
    addresses: tuple[Address, ...]

    @property
    def address(self) -> Address:
        """Return the one that is tried."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class Span:
    """Readings that share one request, in the order of their addresses."""

    readings: tuple[Reading, ...]
    address: Address


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that a unit is set to: a variable of its row."""

    name: str
    address: Address
    type: str
    #: raw value as text -> what the variable says; None: the number itself
    map: Mapping[str, str] | None

    def value(self, raw: Raw) -> str | None:
        """Return what the variable says, or None where the profile does not know the raw value."""
        text = str(raw)
        return text if self.map is None else self.map.get(text)


@dataclass(frozen=True, slots=True)
class _Layout:
    """One group as all units of all devices begin with it: a shelf has seventy, a site hundreds of shelves."""

    group: Group
    #: row variable that holds the unit id
    variable: str
    probe: Address | None
    settings: Sequence[Setting]
    #: fast and slow spans
    whole: tuple[Sequence[Span], Sequence[Span]]
    is_once: bool


@dataclass(slots=True)
class Row:
    """One unit as one group sees it."""

    group: Group
    unit: int
    variables: Mapping[str, str]
    probe: Address | None
    settings: list[Setting]
    #: its fast and slow spans before any was refused
    whole: tuple[Sequence[Span], Sequence[Span]]
    fast: list[Span] = field(init=False)
    slow: list[Span] = field(init=False)
    #: readings that the unit refused, at all of their addresses
    lacking: list[PointSpec] = field(default_factory=list)
    #: those of which this was told already
    told: set[int] = field(default_factory=set)
    #: what it tells is the device's: the first unit that answers is enough
    is_once: bool = False
    #: None: not asked yet
    present: bool | None = None
    #: its slow readings are due
    is_slow_due: bool = True

    def __post_init__(self) -> None:
        """Begin with whole spans; the lists are the row's own."""
        self.fast, self.slow = list(self.whole[0]), list(self.whole[1])

    def spans(self) -> list[Span]:
        """Return what is to be read now."""
        return [*self.fast, *self.slow] if self.is_slow_due else list(self.fast)

    def set(self, name: str, value: str | None) -> None:
        """Set a variable, or take it out."""
        others = {known: text for known, text in self.variables.items() if known != name}
        self.variables = others if value is None else {**others, name: value}

    def refuse(self, spec: PointSpec) -> bool:
        """Leave a reading out from here on; return whether that is news."""
        self.lacking.append(spec)
        is_news = id(spec) not in self.told
        self.told.add(id(spec))
        return is_news

    @property
    def refuses_all(self) -> bool:
        """Return whether the unit refused every reading."""
        return bool(self.lacking) and not (self.fast or self.slow)

    def reset(self) -> None:
        """Ask for everything as if for the first time, in whole spans."""
        self.fast, self.slow = list(self.whole[0]), list(self.whole[1])
        self.is_slow_due = True
        self.lacking.clear()

    def restore(self) -> None:
        """Ask again for what was refused: a device that starts, or a gateway, refuses what it has."""
        for reading in _readings(self.lacking):
            (self.fast if reading.spec.every == "fast" else self.slow).append(make_span((reading,)))
        self.lacking.clear()

    def replace(self, span: Span, parts: Iterable[Span]) -> None:
        """Put parts in the place of a span, for good."""
        spans = self.fast if span in self.fast else self.slow
        at = spans.index(span)
        spans[at : at + 1] = parts


@dataclass(slots=True)
class Unit:
    """One unit id, all its rows, and how it has behaved."""

    number: int
    rows: list[Row] = field(default_factory=list)
    #: cycles in a row in which it was silent, or refused everything
    failures: int = 0
    why: str = "silent"
    #: the last poll ended before it was read to the end: the next begins with it
    was_late: bool = False
    #: loop time before which a silent unit is left alone
    retry_at: float = 0.0

    @property
    def present(self) -> list[Row]:
        """Return the rows that are known to be there."""
        return [row for row in self.rows if row.present]


def make_span(readings: tuple[Reading, ...]) -> Span:
    """Return readings, by rising address, as one request."""
    first = readings[0].address
    end = max(reading.address.start + reading.address.count for reading in readings)
    return Span(readings, Address(first.function, first.start, end - first.start))


def make_spans(readings: Iterable[Reading], max_span: int, gap: int) -> list[Span]:
    """Return the fewest requests: neighbours up to `gap` unused registers apart share one of at most `max_span`."""
    spans: list[Span] = []
    for reading in sorted(readings, key=lambda r: (r.address.function, r.address.start, r.address.count)):
        here = reading.address
        last = spans[-1].address if spans else None
        if (
            last is not None
            and last.function == here.function
            and here.start - (last.start + last.count) <= gap
            and here.start + here.count - last.start <= max_span
        ):
            spans[-1] = make_span((*spans[-1].readings, reading))
        else:
            spans.append(make_span((reading,)))
    return spans


def halve(span: Span) -> list[Span]:
    """Return what to ask in place of a refused span: its halves, or its reading's next address, or nothing."""
    if len(span.readings) > 1:
        middle = len(span.readings) // 2
        return [make_span(span.readings[:middle]), make_span(span.readings[middle:])]
    [reading] = span.readings
    return [make_span((Reading(reading.spec, reading.addresses[1:]),))] if len(reading.addresses) > 1 else []


def parse_setting(name: str, entry: Any) -> Setting:
    """Return one of `each.settings`: an address, or {at, type, map}.

    Raises:
        InvalidValueError: no address.
    """
    section: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"at": entry}
    type_ = str(section.get("type", "u16"))
    known = section.get("map")
    texts = None if known is None else {str(raw): str(text) for raw, text in known.items()}
    return Setting(name, parse_address(str(section["at"]), type_), type_, texts)


def make_units(profile: Profile, max_span: int, gap: int, unit: int | None) -> list[Unit]:
    """Return the units of a checked profile in the order in which it names them; `unit` stands in for its only one."""
    units: dict[int, Unit] = {}
    for layout in profile.once(_read_layouts, max_span, gap):
        for number in [unit] if unit is not None else unit_ids(layout.group.each):
            units.setdefault(number, Unit(number)).rows.append(_make_row(layout, number))
    return list(units.values())


def unit_ids(each: Mapping[str, Any]) -> list[int]:
    """Return the unit ids that a group names; 1 where it names none."""
    return list(each.get("units", [1]))


def only_unit(profile: Profile) -> int | None:
    """Return the unit id that all groups of a profile share, or None where there are several."""
    numbers = {number for group in profile.groups for number in unit_ids(group.each)}
    return numbers.pop() if len(numbers) == 1 else None


def _read_layouts(profile: Profile, max_span: int, gap: int) -> list[_Layout]:
    return [_read_layout(group, max_span, gap) for group in profile.groups]


def _read_layout(group: Group, max_span: int, gap: int) -> _Layout:
    each = group.each
    return _Layout(
        group,
        str(each.get("as", "unit")),
        parse_address(str(each["probe"]), "u16") if "probe" in each else None,
        [parse_setting(name, entry) for name, entry in each.get("settings", {}).items()],
        (_spans(group, "fast", max_span, gap), _spans(group, "slow", max_span, gap)),
        is_once=bool(each.get("once", False)),
    )


def _spans(group: Group, every: str, max_span: int, gap: int) -> list[Span]:
    return make_spans(_readings(spec for spec in group.points if spec.every == every), max_span, gap)


def _make_row(layout: _Layout, number: int) -> Row:
    return Row(
        layout.group,
        number,
        {layout.variable: str(number)},
        layout.probe,
        list(layout.settings),
        layout.whole,
        is_once=layout.is_once,
        present=None if layout.probe else True,
    )


def _readings(specs: Iterable[PointSpec]) -> Iterator[Reading]:
    for spec in specs:
        yield Reading(spec, tuple(parse_address(at, spec.type) for at in spec.addresses))
