"""What one tick knows of the site: the live tables, and where their series belong."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashboard.kpis.windows import Bools, Floats, Ints
from dashboard.places import Places, PowerPlaces
from dashboard.recent import Query, Recent
from dashboard.settings import DashboardSettings
from dashboard.site import Site

GPU = Query(
    "gpu",
    # one counter per source: those of two sources are never read as one
    identity=("gpu", "exporter"),
    tags=("gpu", "exporter", "host", "rack", "gpu_index", "deployment", "pod"),
    fields=(
        "energy_joules_total",
        "power_watts",
        "power_limit_watts",
        "utilization_ratio",
        "sm_active_ratio",
        "tensor_active_ratio",
        "dram_active_ratio",
        "memory_used_bytes",
        "process_count",
        "clock_event_mask",
        "throttle_thermal_seconds_total",
        "throttle_brake_seconds_total",
        "lost",
    ),
    where={"mig": ("", "-")},  # a slice's board is a series of its own
)
INFERENCE = Query(
    "inference",
    # a gateway has a counter per tenant, a worker may pass on its engine's counters beside its own
    identity=("endpoint", "level", "model", "engine", "role", "tenant"),
    tags=("endpoint", "host", "level", "clock", "model"),
    fields=(
        "output_tokens_total",
        "live_output_tokens_total",
        "input_tokens_total",
        "live_input_computed_tokens_total",
        "live_input_cached_tokens_total",
        "start_time_seconds",
        "requests_running",
        "requests_waiting",
    ),
)
POWER = Query(
    "power",
    identity=("device", "kind", "rack", "host", "feed", "phase"),
    tags=("device", "kind", "rack", "host", "scope"),
    fields=("active_watts",),
    where={"circuit": "total", "side": "input"},
)
HEAT = Query(
    "coolant",
    identity=("device", "loop"),
    tags=("device", "loop"),
    fields=("heat_watts", "heat_reported_watts"),
    where={"kind": "cdu", "point": ("", "-"), "pump": ("", "-")},
)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one tick."""

    site: Site
    settings: DashboardSettings
    #: epoch seconds
    now: float
    gpu: Recent
    inference: Recent
    power: Recent
    heat: Recent
    places: Places
    power_places: PowerPlaces
    #: per inference series: its host, as an index into `places.hosts`; -1 where unknown
    engine_host: Ints
    #: length of the window that rates speak of. Units: s
    window_seconds: float
    #: host -> what its switch ports suffer that can hold its GPUs up
    fabric_notes: Mapping[str, str] = field(default_factory=dict)
    #: per power series: it cannot be right and counts nowhere; None before that was looked at
    doubted: Bools | None = None
    #: per power series: share of the device's supplies that it speaks of; None where every one speaks of all
    heard: Floats | None = None
