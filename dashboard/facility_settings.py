"""Settings of power and coolant: what the gear is rated for, and each rule's limits and delays. SI base units.

Limits without a source of the device's own are those of the product's rule table; every one can be set per site.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.config import Duration

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Delays(_Strict):
    """How long a condition must hold before it is an alarm, and be gone before it is none."""

    dwell: Duration = timedelta(0)
    clear_dwell: Duration = timedelta(seconds=30)


class _Levels(Delays):
    #: where it is told, and where it is gone again; the same for what cannot wait. None: this level is not used
    warning: float | None = None
    warning_clear: float | None = None
    critical: float | None = None
    critical_clear: float | None = None

    def pairs(self) -> tuple[tuple[float | None, float | None], tuple[float | None, float | None]]:
        """Return (set, clear) of the warning and of the critical level."""
        return (self.warning, self.warning_clear), (self.critical, self.critical_clear)


class Above(_Levels):
    """A value that must not be above its limits."""

    @model_validator(mode="after")
    def _in_order(self) -> "Above":
        for name, (limit, clear) in zip(("warning", "critical"), self.pairs(), strict=True):
            if limit is not None and clear is not None and clear > limit:
                raise ValueError(f"{name}_clear must not be over {name}: the value has to fall under it")
        return self


class Below(_Levels):
    """A value that must not be below its limits."""

    @model_validator(mode="after")
    def _in_order(self) -> "Below":
        for name, (limit, clear) in zip(("warning", "critical"), self.pairs(), strict=True):
            if limit is not None and clear is not None and clear < limit:
                raise ValueError(f"{name}_clear must not be under {name}: the value has to rise over it")
        return self


class Band(Delays):
    """A value that must stay between two; told again as well only `hysteresis` inside them."""

    low: float
    high: float
    hysteresis: Annotated[float, Field(ge=0)]


class Quality(Delays):
    """What the coolant must be like: [low, high] each; None where no contract fixes it."""

    ph: tuple[float, float] = (7.2, 7.9)
    ph_critical: tuple[float, float] = (7.0, 8.0)
    conductivity_siemens_per_meter: tuple[float, float] | None = None
    turbidity_ntu: tuple[float, float] | None = None


def _above(dwell: float, warning: float, clear: float, critical: float, critical_clear: float) -> Above:
    return Above(
        dwell=timedelta(seconds=dwell),
        warning=warning,
        warning_clear=clear,
        critical=critical,
        critical_clear=critical_clear,
    )


def _below(dwell: float, warning: float, clear: float, critical: float, critical_clear: float) -> Below:
    return Below(
        dwell=timedelta(seconds=dwell),
        warning=warning,
        warning_clear=clear,
        critical=critical,
        critical_clear=critical_clear,
    )


def _after(dwell: float, clear: float = 30.0) -> Delays:
    return Delays(dwell=timedelta(seconds=dwell), clear_dwell=timedelta(seconds=clear))


def _slowly(rule: Above, clear_dwell: float) -> Above:
    return rule.model_copy(update={"clear_dwell": timedelta(seconds=clear_dwell)})


class Rules(_Strict):
    """Each rule of power and coolant by its id."""

    leak_detected: Delays = _after(0, 60)
    leak_sensor_fault: Delays = _after(15)
    #: flow over the least flow that keeps the return at its limit
    coolant_flow_low: Below = _below(15, 1.15, 1.25, 1.0, 1.1).model_copy(update={"clear_dwell": timedelta(seconds=60)})
    #: supply above the dew point, K
    dew_margin_low: Below = _below(60, 5.0, 5.5, 2.0, 2.5)
    #: return above supply, K
    delta_t_out: Band = Band(low=4.0, high=15.0, hysteresis=1.0, dwell=timedelta(minutes=5))
    #: approach above the rated one, K
    approach_high: Above = _above(600, 2.0, 1.0, 5.0, 3.0)
    #: pressure drop of a filter over that of the clean one, both at the same flow
    filter_dp_high: Above = _above(300, 1.5, 1.4, 2.0, 1.8)
    pump_failed: Delays = _after(10)
    pump_redundancy_lost: Delays = _after(10)
    #: fill of the reservoir
    reservoir_low: Below = _below(60, 0.40, 0.45, 0.20, 0.25)
    coolant_quality: Quality = Quality(dwell=timedelta(minutes=10))
    #: heat that the unit reports over the heat that flow and temperatures give, minus 1
    heat_mismatch: Above = _above(600, 0.10, 0.07, 0.25, 0.20)
    #: deviation from the set point
    bus_voltage: Above = _slowly(_above(2, 0.02, 0.015, 0.05, 0.04), 10)
    bus_pole_imbalance: Above = _above(10, 0.02, 0.015, 0.05, 0.04)
    #: ohm per volt of the bus
    insulation_low: Below = _below(5, 500.0, 550.0, 100.0, 120.0)
    #: share of the usable power that is left
    bus_headroom_low: Below = _below(60, 0.15, 0.18, 0.05, 0.08)
    supply_lost: Delays = _after(2)
    feed_lost: Delays = _after(2)
    shelf_redundancy_lost: Delays = _after(2)
    #: largest deviation of a supply's current from the mean
    share_error: Above = Above(dwell=timedelta(minutes=1), warning=0.10, warning_clear=0.08)
    #: efficiency under the rated one
    rectifier_efficiency_low: Above = Above(dwell=timedelta(minutes=15), warning=0.015, warning_clear=0.01)
    bbu_soc_low: Below = _below(5, 0.90, 0.93, 0.50, 0.53)
    bbu_soh_low: Below = _below(5, 0.80, 0.82, 0.70, 0.72)
    bbu_discharging: Delays = _after(2)
    bbu_runtime_low: Below = Below(dwell=timedelta(seconds=5), critical=60.0, critical_clear=90.0)
    #: current of a phase over its rating
    ac_phase_overload: Above = _slowly(_above(30, 0.80, 0.77, 0.95, 0.92), 120)
    #: largest deviation of a phase current from their mean
    ac_imbalance: Above = _above(600, 0.15, 0.12, 0.30, 0.25)
    phase_lost: Delays = _after(2)
    #: load of the feeds that stay when the worst one is lost
    feed_failover_overload: Above = _above(300, 0.90, 0.87, 1.00, 0.97)
    #: the parts have been silent for three of their periods already
    part_silent: Delays = _after(0)
    value_implausible: Delays = _after(10)
    #: heat into liquid and air against the power drawn; from half of it on it is shown
    heat_balance: Above = Above(dwell=timedelta(minutes=10), warning=0.10, warning_clear=0.08)

    @model_validator(mode="before")
    @classmethod
    def _keep_the_rest(cls, given: Any) -> Any:
        """Take what a rule does not say from its default: a site that sets one limit keeps the others."""
        if not isinstance(given, dict):
            return given
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        return {
            name: {**defaults[name].model_dump(), **rule} if isinstance(rule, dict) and name in defaults else rule
            for name, rule in given.items()
        }


class Filter(_Strict):
    """Pressure drop of a clean filter, and the flow at which it was measured."""

    pascals: Positive
    liters_per_second: Positive


class Gear(_Strict):
    """What the gear of the site is rated for, where the gear itself does not tell."""

    #: supplies that may fail: n+1, n+2, ..., or n+n where each of two feeds carries all
    redundancy: Annotated[str, Field(pattern=r"^n\+([0-9]|n)$")] = "n+1"
    #: feeds that carry nothing while no other is lost
    reserve_feeds: tuple[str, ...] = ()
    #: share of the usable power that is held in reserve
    reserve_ratio: Share = 0.05
    #: device -> voltage that its bus is set to
    bus_volts: Mapping[str, Positive] = Field(default_factory=dict)
    #: efficiency of the supplies at their working point
    supply_efficiency_ratio: Share | None = None
    #: liquid of the technology loops
    coolant: Literal["pg25", "water"] = "pg25"
    #: coolant supply above facility supply at rated load, K: of all units, and by unit
    approach_celsius: Positive = 5.0
    approaches: Mapping[str, Positive] = Field(default_factory=dict)
    #: unit -> pumps that stand by for the others, in turns
    standby_pumps: Mapping[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    #: unit -> its clean filter
    filters: Mapping[str, Filter] = Field(default_factory=dict)
    #: share of a rack's power that its coolant takes; the heat balance of a rack needs it
    liquid_ratio: Share | None = None
    #: supplies and pumps under this share of their rating, loops under this share of theirs, are not judged
    least_load_ratio: Share = 0.20
    coolant_load_ratio: Share = 0.30

    @property
    def spare_supplies(self) -> int | None:
        """Return how many supplies may fail; None for half of them."""
        held = self.redundancy.removeprefix("n+")
        return None if held == "n" else int(held)
