"""What one tick knows of the site: the live tables, and where their series belong."""

from dataclasses import dataclass

from dashboard.kpis.windows import Ints
from dashboard.places import Places, PowerPlaces
from dashboard.recent import Query, Recent
from dashboard.settings import DashboardSettings
from dashboard.site import Site

GPU = Query(
    "gpu",
    identity=("gpu",),
    tags=("gpu", "host", "rack", "gpu_index", "deployment", "pod"),
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
    identity=("endpoint", "model", "engine", "role"),
    tags=("endpoint", "host", "server", "model"),
    fields=(
        "output_tokens_total",
        "live_output_tokens_total",
        "input_tokens_total",
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

    @property
    def window_seconds(self) -> float:
        """Return the length of the window that rates speak of. Units: s."""
        return self.settings.window.total_seconds()
