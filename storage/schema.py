"""Every measurement: its tags, fields, units, kinds, plausible ranges and meaning. The single source of truth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["gauge", "counter", "state", "text"]

#: tags that any measurement may carry, in this order, before its own
COMMON_TAGS = ("site", "row", "rack", "host", "device", "source", "synthetic")


@dataclass(frozen=True, slots=True)
class Field:
    """One quantity of a measurement."""

    name: str
    #: SI base unit as written in the name: watts, joules, celsius, ratio, ...; "" for counts and states
    unit: str
    kind: Kind
    help: str
    #: plausible range in `unit`; None where open
    low: float | None = None
    high: float | None = None
    #: meaning of each value of a state field
    states: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One kind of thing that is measured."""

    name: str
    help: str
    #: COMMON_TAGS and then its own, in the order in which stores and line protocol write them
    tags: tuple[str, ...]
    fields: Mapping[str, Field]


#: filled by the storage room from the data model: name -> Measurement
MEASUREMENTS: Mapping[str, Measurement] = {}
