"""What a profile may say: its keys, one model each; `docs/profiles.md` shows them in use.

How a protocol reads `at`, `type`, `each`, `match` and `transport` stands in that protocol's module.
"""

from collections.abc import Callable, Hashable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from collectors.fluids import Fluid
from collectors.reading import Reading, compile_readings
from storage.config import InvalidValueError, parse_duration

Raw = int | float | str | bool

T = TypeVar("T")

#: where in a profile a mistake stands, by keys and list numbers, and what is wrong with what stands there
Mistake = tuple[tuple[object, ...], InvalidValueError]

Protocol = Literal["snmp", "modbus", "redfish", "mqtt", "gnmi", "exposition"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PointSpec(_Strict):
    """One reading and where it goes.

    Value = offset + scale * raw / 2**frac_bits, in `unit`, then turned to the base unit.
    """

    #: measurement.field of the schema
    to: str
    #: address in the protocol's own notation; of several, the first that the device has
    at: str | tuple[str, ...]
    #: wire type where the protocol has none of its own (Modbus): u16 i16 u32 i32 u64 f32 string
    type: str = "u16"
    scale: float = 1.0
    offset: float = 0.0
    frac_bits: int = 0
    #: unit after scaling; None means the field's base unit already
    unit: str | None = None
    #: raw values that mean "no value", before scaling
    null_if: tuple[Raw, ...] = ()
    #: row variable -> weight: the raw value is multiplied by 10^(weight x variable), summed over all of them
    scale_from: Mapping[str, int] = Field(default_factory=dict)
    #: row variable that the raw value is multiplied by
    factor_from: str = ""
    #: lowest and highest raw value that this reading is for; others belong to another reading of the same address
    applies: tuple[float | None, float | None] = (None, None)
    #: row variable -> its value -> factor of the raw value: {amperes: {0: 1, 1: 0.1}} for a device-wide setting
    scale_if: Mapping[str, Mapping[Raw, float]] = Field(default_factory=dict)
    #: row variable -> its value -> unit after scaling, in place of `unit`: {degrees: {0: C, 1: F}}
    unit_if: Mapping[str, Mapping[Raw, str]] = Field(default_factory=dict)
    #: bits (32) of a counter that wraps before 64, or the raw value at which it begins anew (9999001): it goes on where
    #: it wrapped, and is told apart from one that was reset
    wrap: Annotated[int, Field(ge=16)] | None = None
    #: plausible range in `unit`, after scaling
    min: float | None = None
    max: float | None = None
    #: raw value -> state number of the schema, or null for "no value"
    enum: Mapping[Raw, int | None] | None = None
    #: state of the raw values that `enum` does not name; without it they are refused
    otherwise: int | None = None
    #: bit number -> name; each bit becomes a row of `alarm_bits` with that name in the tag `bit`
    flags: Mapping[int, str] | None = None
    tags: Mapping[str, str] = Field(default_factory=dict)
    #: fast: each poll; medium: each `poll.medium` (SNMP only); slow: each `poll.slow`
    every: Literal["fast", "medium", "slow"] = "fast"
    #: what to set on the device where this reading is not there; told by `tokenwatt probe`
    hint: str = ""

    @field_validator("scale", "offset", "frac_bits", "min", "max", "wrap", mode="before")
    @classmethod
    def _no_truth(cls, value: object) -> object:
        if isinstance(value, bool):  # pydantic takes true for 1
            raise InvalidValueError(f"must be a number, not {str(value).lower()}", "write a number, or leave it out")
        return value

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the candidate addresses in order."""
        return (self.at,) if isinstance(self.at, str) else self.at


class Derived(_Strict):
    """A value computed from the readings of one poll; exactly one rule is set (rules: `collectors/derived.py`)."""

    #: measurement.field of the schema
    to: str
    #: tags of the result; `{circuit}` takes that tag of the rows, and there is one result for each of its values
    tags: Mapping[str, str] = Field(default_factory=dict)
    #: sum the field `to` over the rows whose tags match these patterns (fnmatch); no sum if an expected row is missing
    sum: Mapping[str, str] | None = None
    #: heat carried by each loop that has flow, supply and return temperature: water | pg25
    heat: Fluid | None = None
    #: value at the first point minus that at the second: [coolant.pressure_pascals, filter_in, filter_out]
    difference: tuple[str, str, str] | None = None
    #: median of a field over the rows whose tags match: [power.voltage_volts, {circuit: "psu-*", side: output}]
    median: tuple[str, Mapping[str, str]] | None = None
    #: largest deviation from the mean, over the mean, of a field over the rows whose tags match:
    #: [power.current_amperes, {phase: "L*", side: input}]
    imbalance: tuple[str, Mapping[str, str]] | None = None
    #: quotient of a field over two rows: [power.active_watts, {circuit: total, side: output}, {circuit: total,
    #: side: input}]
    quotient: tuple[str, Mapping[str, str], Mapping[str, str]] | None = None
    #: supply of one loop above that of another, in kelvins: [tcs, fws]
    approach: tuple[str, str] | None = None
    #: supply of each selected loop above the dew point of the air, told or computed from temperature and humidity
    dew_margin: Literal[True] | None = None
    #: dew point of the air at each point that has temperature and humidity
    dew_point: Literal[True] | None = None
    #: voltage difference of two poles over their sum: [positive, negative]
    poles: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> "Derived":
        rules = sorted(type(self).model_fields.keys() - {"to", "tags"})
        given = [rule for rule in rules if getattr(self, rule) is not None]
        if len(given) != 1:
            hint = f"keep one of {', '.join(given)}" if given else "add the rule that makes the value"
            raise InvalidValueError(f"a derived value has exactly one of {', '.join(rules)}", hint)
        return self


class Group(_Strict):
    """Readings that repeat over rows: table indexes, unit ids, URIs, label sets."""

    #: how rows are found, in the protocol's own terms; empty means one row
    each: Mapping[str, Any] = Field(default_factory=dict)
    #: tags of those of its points whose measurement has them; `{name}` is replaced by the row's variables
    tags: Mapping[str, str] = Field(default_factory=dict)
    points: tuple[PointSpec, ...]


class Poll(_Strict):
    """Suggested cadence; an interval that the site gives a target wins."""

    fast: str = "10s"
    medium: str = "60s"
    slow: str = "300s"
    #: time that a poll of this model may take at least; a target's shorter timeout is raised to it
    deadline: str = "0s"

    @field_validator("fast", "medium", "slow", "deadline", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        parse_duration(value)
        return value

    @field_validator("fast")
    @classmethod
    def _whole_milliseconds(cls, value: str) -> str:
        if not parse_duration(value) or parse_duration(value) % timedelta(milliseconds=1):
            reason = f"{value} is finer than a millisecond, or none"
            raise InvalidValueError(reason, "time stamps lie on whole milliseconds")
        return value


class Profile(_Strict):
    """What one device model (exporter, server) says and how to ask for it."""

    profile: str
    model: str
    kind: str
    protocol: Protocol
    #: document, revision, page that the addresses come from
    source: str
    extends: str | None = None
    #: which common tag carries the target's name
    identity: Literal["device", "host", "endpoint"] = "device"
    #: how the device is recognised, in the protocol's own terms
    match: Mapping[str, Any] = Field(default_factory=dict)
    #: protocol switches; the target's options win
    transport: Mapping[str, Any] = Field(default_factory=dict)
    poll: Poll = Poll()
    groups: tuple[Group, ...]
    derived: tuple[Derived, ...] = ()
    #: measurement.field that this device never gives -> why; told by `tokenwatt probe`
    lacks: Mapping[str, str] = Field(default_factory=dict)

    @cached_property
    def readings(self) -> Mapping[tuple[int, int], Reading]:
        """Return each entry made ready to run, by the identities of its group and its point."""
        return {(id(g), id(made.spec)): made for g in self.groups for made in compile_readings(g)}

    def once(self, make: Callable[..., T], *arguments: Hashable) -> T:
        """Return what `make` makes of this profile, made once for all of its devices: nobody may change it."""
        key = (make, *arguments)
        if key not in self._made:
            self._made[key] = make(self, *arguments)
        found: T = self._made[key]
        return found

    @cached_property
    def _made(self) -> dict[tuple[object, ...], Any]:
        return {}

    def __copy__(self) -> Self:
        """Return a profile of its own: what was made of this one need not fit it."""
        copied = super().__copy__()
        for made in ("readings", "_made"):
            copied.__dict__.pop(made, None)
        return copied
