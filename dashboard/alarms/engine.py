"""From findings to alarms: a condition must hold before it is one, and be gone before it is none. Clock passed in.

Source: ANSI/ISA-18.2, on-delay and off-delay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dashboard.alarms.findings import Finding
from dashboard.alarms.levels import is_rule
from dashboard.facility_settings import Delays
from dashboard.settings import Alarms

#: no delay: water and lost power cannot wait, idle GPUs have waited already, what a board or port reports has happened
_AT_ONCE = ("rack_no_power", "port_flapping", "pfc_watchdog", "fec_uncorrected")
#: what moves slowly, or means something only when it lasts
_SLOW = (
    "coolant_supply_high",
    "coolant_supply_low",
    "coolant_return_high",
    "throttled",
    "pue_high",
    "efficiency_low",
)
#: what is wrong with the data rather than with the site
_LASTING = ("unmapped_tokens", "unmapped_energy", "energy_suspect", "switch_partial")
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Timer:
    """One condition over time. Epoch seconds."""

    finding: Finding
    #: since when it holds
    since: float
    #: since when it is gone; None while it holds
    gone: float | None
    active: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """An active alarm."""

    finding: Finding
    since: float
    ack: bool = False


def step(timers: Mapping[Key, Timer], findings: Sequence[Finding], settings: Alarms, now: float) -> dict[Key, Timer]:
    """Return the timers after what was found at `now` (epoch s)."""
    found = {(finding.rule, finding.object): finding for finding in findings}
    after: dict[Key, Timer] = {}
    for key, finding in found.items():
        timer = timers.get(key) or Timer(finding, now, None, active=False)
        active = timer.active or now - timer.since >= on_delay(finding.rule, settings)
        after[key] = Timer(finding, timer.since, None, active)
    for key, timer in timers.items():
        gone = now if timer.gone is None else timer.gone
        if key not in found and timer.active and now - gone < off_delay(timer.finding.rule, settings):
            after[key] = replace(timer, gone=gone)
    return after


def held(timers: Mapping[Key, Timer]) -> dict[Key, int]:
    """Return the level of each condition that holds, as an alarm or not yet one."""
    return {key: timer.finding.level for key, timer in timers.items() if timer.gone is None}


def alarms(timers: Mapping[Key, Timer]) -> tuple[Alarm, ...]:
    """Return the active alarms: by priority, then the newest first, then by name."""
    active = [timer for timer in timers.values() if timer.active]
    active.sort(key=lambda t: (t.finding.priority, -t.since, t.finding.rule, t.finding.object))
    return tuple(Alarm(timer.finding, timer.since) for timer in active)


def counts(active: Sequence[Alarm]) -> tuple[int, int, int, int]:
    """Return how many alarms have priority 1, 2, 3, 4."""
    first, second, third, fourth = (sum(alarm.finding.priority == p for alarm in active) for p in (1, 2, 3, 4))
    return first, second, third, fourth


def on_delay(rule: str, settings: Alarms) -> float:
    """Return how long a condition must hold before it is an alarm. Units: s."""
    if is_rule(rule):
        return _delays(rule, settings).dwell.total_seconds()
    if rule in _AT_ONCE or rule.startswith(("idle_", "gpu_")):
        return 0.0
    if rule in _LASTING:
        return settings.trust_on_delay.total_seconds()
    if rule == "congestion":
        return settings.fabric.congestion_on_delay.total_seconds()
    return (settings.slow_on_delay if rule in _SLOW else settings.on_delay).total_seconds()


def off_delay(rule: str, settings: Alarms) -> float:
    """Return how long a condition must be gone before its alarm ends. Units: s."""
    if is_rule(rule):
        return _delays(rule, settings).clear_dwell.total_seconds()
    return (settings.slow_off_delay if rule in _SLOW else settings.off_delay).total_seconds()


def _delays(rule: str, settings: Alarms) -> Delays:
    delays: Delays = getattr(settings.facility, rule)
    return delays
