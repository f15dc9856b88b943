"""Device profiles: what a device model says, as data.

A profile is one YAML file in `collectors/profiles/` (or in the site's own folder, which wins by name). Files whose name
begins with `_` are shared parts for `extends`. How a protocol reads `each` and `at` stands in that protocol's module.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PACKAGED = Path(__file__).parent / "profiles"

Raw = int | float | str | bool


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    #: plausible range in `unit`, after scaling
    min: float | None = None
    max: float | None = None
    #: raw value -> state number of the schema, or null for "no value"
    enum: Mapping[Raw, int | None] | None = None
    #: bit number -> name; each bit becomes a row of `alarm_bits` with that name in the tag `bit`
    flags: Mapping[int, str] | None = None
    tags: Mapping[str, str] = Field(default_factory=dict)
    #: fast: each poll; slow: each `poll.slow`
    every: Literal["fast", "slow"] = "fast"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the candidate addresses in order."""
        return (self.at,) if isinstance(self.at, str) else self.at


class Derived(_Strict):
    """A value computed from the readings of one poll; exactly one rule is set (rules: `collectors/derived.py`)."""

    to: str
    tags: Mapping[str, str] = Field(default_factory=dict)
    #: sum the field `to` over the rows whose tags match these patterns (fnmatch); no sum if an expected row is missing
    sum: Mapping[str, str] | None = None
    #: heat carried by each loop that has flow, supply and return temperature: water | pg25
    heat: Literal["water", "pg25"] | None = None
    #: value at the first point minus that at the second: [coolant.pressure_pascals, filter_in, filter_out]
    difference: tuple[str, str, str] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> "Derived":
        if sum(rule is not None for rule in (self.sum, self.heat, self.difference)) != 1:
            raise ValueError("a derived value has exactly one of sum, heat, difference")
        return self


class Group(_Strict):
    """Readings that repeat over rows: table indexes, unit ids, URIs, label sets."""

    #: how rows are found, in the protocol's own terms; empty means one row
    each: Mapping[str, Any] = Field(default_factory=dict)
    #: tags of every point of the group; `{name}` is replaced by the row's variables
    tags: Mapping[str, str] = Field(default_factory=dict)
    points: tuple[PointSpec, ...]


class Poll(_Strict):
    """Suggested cadence; the target's interval wins."""

    fast: str = "10s"
    slow: str = "300s"


class Profile(_Strict):
    """What one device model (exporter, server) says and how to ask for it."""

    profile: str
    model: str
    kind: str
    protocol: Literal["snmp", "modbus", "redfish", "mqtt", "gnmi", "exposition"]
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


def load_profile(name: str, folders: Sequence[Path] = (PACKAGED,)) -> Profile:
    """Return the profile `name`, with its `extends` resolved, from the first folder that has it.

    Raises:
        ConfigError: every mistake with file, line and key: unknown keys, fields that the schema lacks, units that do
            not fit the field, two readings for one (to, tags).
    """
    raise NotImplementedError


def list_profiles(folders: Sequence[Path] = (PACKAGED,)) -> Sequence[str]:
    """Return the names of all profiles in these folders, sorted, without shared parts."""
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml") if not path.stem.startswith("_")})
