"""The section `dashboard:` of `site.yaml`: where it listens, what it aims at, when it speaks up. SI base units."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dashboard.facility_settings import Gear, Rules
from storage.config import Duration

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Hold(_Strict):
    """How long a GPU must look idle before it is called so.

    Source: gpu-pruner (30 min), Alibaba PAI-DSW culler (60 min); shorter where people wait for the answer.
    """

    parked: Duration = timedelta(minutes=30)
    reserved_idle: Duration = timedelta(minutes=15)
    unallocated_idle: Duration = timedelta(minutes=30)
    stalled: Duration = timedelta(minutes=2)
    starved: Duration = timedelta(minutes=2)
    ghost: Duration = timedelta(minutes=5)


class Idle(_Strict):
    """When a GPU is idle."""

    hold: Hold = Hold()
    #: a GPU, pod or engine that is new is left alone for this long
    grace: Duration = timedelta(seconds=300)
    #: activity without tokens must last this long to end an idle state: health checks are no work
    leave: Duration = timedelta(seconds=30)
    #: activity and power are means over this span
    window: Duration = timedelta(seconds=15)
    #: a board under this share of its power limit, with a process on it, is parked
    parked_power_ratio: Share = 0.25
    #: a board under this share of its power limit does no work, whatever its utilization says
    working_power_ratio: Share = 0.30
    #: a board under this share of its power limit holds no context
    bare_power_ratio: Share = 0.13


class Targets(_Strict):
    """What the site aims at; none is shown where none is set."""

    pue: Annotated[float, Field(ge=1)] | None = None
    tokens_per_joule_gpu_board: Positive | None = None
    tokens_per_joule_node: Positive | None = None
    tokens_per_joule_rack: Positive | None = None
    tokens_per_joule_it: Positive | None = None
    tokens_per_joule_facility: Positive | None = None
    output_tokens_per_second: Positive | None = None
    #: idle GPUs over those that could work
    gpus_idle_ratio: Share | None = None


class Limits(_Strict):
    """What must not be passed."""

    facility_watts: Positive | None = None
    it_watts: Positive | None = None
    #: [low, high] of the technology loop's supply; ASHRAE W45 tolerates 45 degC
    coolant_supply_celsius: tuple[float, float] = (17.0, 45.0)
    #: the GB300 coolant table is computed for a return of 55 degC
    coolant_return_celsius: float = 55.0

    @model_validator(mode="after")
    def _in_order(self) -> "Limits":
        if self.coolant_supply_celsius[0] >= self.coolant_supply_celsius[1]:
            raise ValueError("coolant_supply_celsius is [low, high] and low must be under high")
        return self


class Energy(_Strict):
    """How the energy of GPU boards is known."""

    #: what is taken where a board's own counter and the integral of its power are both good
    prefer: Literal["counter", "trapezoid"] = "counter"


class Cost(_Strict):
    """What an hour of a GPU and a kilowatt-hour cost."""

    #: capital and operation of one GPU for one hour, without energy
    gpu_hour: Annotated[float, Field(ge=0)] = 1.95
    tariff_per_kwh: Annotated[float, Field(ge=0)] = 0.08
    currency: Annotated[str, Field(min_length=1, max_length=8)] = "$"


class Fabric(_Strict):
    """When a switch port needs a person."""

    #: share of the time that a port's peer holds it back from which it is a storm
    pause_ratio: Share = 0.5
    #: the same from which it is named as a reason of idle GPUs behind it
    pause_reason_ratio: Share = 0.1
    #: share of packets marked with congestion from which it is told, and from which it needs a person
    ecn_ratio: Share = 0.01
    ecn_high_ratio: Share = 0.1
    #: broken and dropped packets per million
    error_ppm: Positive = 10.0
    discard_ppm: Positive = 100.0
    #: of a window with fewer bad packets than this nothing is said
    least_packets: Positive = 10.0
    #: bit error ratio before FEC; FEC itself gives up near 2.4e-4
    pre_fec_ber: Positive = 1e-5
    #: light received above the module's own low alarm limit, and between its lanes
    optics_margin_db: float = 1.0
    optics_spread_db: Positive = 3.0
    #: a flap, a PFC watchdog's catch or a broken codeword is an alarm for this long
    event_hold: Duration = timedelta(minutes=5)
    #: congestion must last this long
    congestion_on_delay: Duration = timedelta(minutes=2)
    #: more ports of one switch with the same trouble than this are one alarm
    fold_ports: Annotated[int, Field(ge=1)] = 3

    @model_validator(mode="after")
    def _in_order(self) -> "Fabric":
        if self.ecn_ratio > self.ecn_high_ratio:
            raise ValueError("ecn_ratio must not be over ecn_high_ratio")
        if not timedelta(minutes=1) <= self.event_hold <= timedelta(hours=1):
            raise ValueError("event_hold must lie between 1m and 1h")
        return self


class Alarms(_Strict):
    """When something needs a person."""

    #: how long a condition must hold before it is an alarm, and how long it must be gone before it is none
    on_delay: Duration = timedelta(seconds=10)
    off_delay: Duration = timedelta(seconds=30)
    #: delays of temperatures, flows and efficiency, which move slowly
    slow_on_delay: Duration = timedelta(seconds=60)
    slow_off_delay: Duration = timedelta(seconds=120)
    #: delay of what is wrong with the data: tokens or energy that belong nowhere, counters that disagree
    trust_on_delay: Duration = timedelta(minutes=15)
    #: share of the site's tokens or GPU energy that may belong to no known host or engine
    unmapped_ratio: Share = 0.05
    #: an event of a GPU (an Xid) is an alarm for this long
    event_hold: Duration = timedelta(minutes=15)
    #: share of a rack's GPUs that are idle from which the rack is named, not its hosts
    idle_rack_ratio: Share = 0.25
    #: share of a rack's GPUs that are throttled from which the rack is named
    throttled_rack_ratio: Share = 0.25
    #: a loop's flow under this share of its rated flow is low
    flow_ratio: Share = 0.5
    #: pause frames received per second on one port and priority from which it is a storm
    pfc_frames_per_second: Positive = 1000.0
    #: a rack under this share of its rated power, with no GPU answering, has no power
    dead_rack_power_ratio: Share = 0.01
    fabric: Fabric = Fabric()
    facility: Rules = Rules()


class DashboardSettings(_Strict):
    """The section `dashboard:`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8060
    title: Annotated[str, Field(min_length=1, max_length=80)] = "TokenWatt"
    #: time between two snapshots
    tick: Duration = timedelta(seconds=2)
    #: span that rates and mean powers speak of; MLPerf Power asks for at least 60 s
    window: Duration = timedelta(seconds=60)
    idle: Idle = Idle()
    targets: Targets = Targets()
    limits: Limits = Limits()
    energy: Energy = Energy()
    cost: Cost = Cost()
    gear: Gear = Gear()
    alarms: Alarms = Alarms()

    @model_validator(mode="after")
    def _sensible(self) -> "DashboardSettings":
        if not timedelta(milliseconds=200) <= self.tick <= timedelta(seconds=60):
            raise ValueError("tick must lie between 200ms and 60s")
        if not timedelta(seconds=10) <= self.window <= timedelta(minutes=10):
            raise ValueError("window must lie between 10s and 10m")
        return self
