"""Which findings each fault must show as, how soon, and which of a dashboard's findings belong to no fault.

A finding is an alarm of the snapshot: a rule and its object. It belongs to a fault when it begins while that is there,
or up to half a minute later, on one of the fault's places (object, device, rack, loop), and its rule is one that the
fault must show as or brings along. A fault of which nothing is said here may show as anything at its places, and as
anything that speaks of the whole site.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: a finding may begin that long after its fault ended
GRACE_SECONDS = 30.0
#: so may one that speaks of the whole site: its numbers are means over a minute, and such rules dwell for another
SITE_GRACE_SECONDS = 180.0
#: object of the findings that speak of the whole site
_SITE = "site"
#: findings about idle GPUs, which the simulated site has without any fault
_IDLE = "idle_"


@dataclass(frozen=True, slots=True)
class Expected:
    """What one kind of fault must be seen as."""

    #: any of these
    rules: tuple[str, ...]
    #: from the fault's begin to the first snapshot that tells it
    seconds: float
    #: direct consequences
    along: tuple[str, ...] = ()
    #: the fault falsifies a reading that enters the site's numbers
    falsifies: bool = False


#: kind of fault -> findings. Times: dwell of the rule, one poll and what leads to the screen.
EXPECTED: Mapping[str, Expected] = {
    "leak": Expected(("leak_detected",), 5, ("device_alarm", "reservoir_low")),
    "pump_lost": Expected(("pump_failed",), 30, ("pump_redundancy_lost", "device_alarm", "coolant_supply_high")),
    "low_flow": Expected(
        ("coolant_flow_low",), 45, ("coolant_return_high", "delta_t_out", "filter_dp_high"), falsifies=True
    ),
    "psu_lost": Expected(("supply_lost",), 15, ("shelf_redundancy_lost", "share_error", "device_alarm")),
    # 2 s until it is polled, 1 s until it is stored, 2 s until it is looked at, 2 s of dwell, 1 s of the look
    "bus_sag": Expected(("bus_voltage",), 8, ("device_alarm",)),
    "pole_imbalance": Expected(("bus_pole_imbalance",), 20),
    "insulation_low": Expected(("insulation_low",), 15, ("device_alarm",)),
    "phase_loss": Expected(("phase_lost",), 30, ("ac_imbalance", "ac_phase_overload")),
    "sensor_stuck": Expected(("value_implausible",), 85, ("heat_mismatch", "heat_balance"), falsifies=True),
    "unit_silent": Expected(("part_silent",), 20, ("device_alarm",), falsifies=True),
    "kw_for_w": Expected(("value_implausible",), 30, ("heat_balance",), falsifies=True),
}


def falsifies(kind: str) -> bool:
    """Return whether a fault may keep the site's numbers wrong for a while; one that nothing is said of may."""
    return kind not in EXPECTED or EXPECTED[kind].falsifies


@dataclass(frozen=True, slots=True)
class Seen:
    """How a fault was seen: after how many seconds and by which rule; None where it was not."""

    kind: str
    object: str
    seconds: float | None
    limit: float
    what: str


class Watch:
    """The findings of a dashboard while faults come and go."""

    def __init__(self, snapshot: Mapping[str, Any], patience: float = 1.0) -> None:
        """`patience` multiplies the times within which faults must be seen, for slow machines."""
        self._patience = patience
        self._active = _alarms(snapshot)
        # Idle GPUs are the site's own; whatever else stands before any fault belongs to none.
        self._before = {alarm for alarm in self._active if alarm[0].startswith(_IDLE)}
        self._faults: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._seen: dict[tuple[str, str], tuple[float, str]] = {}
        self._strangers: set[tuple[str, str]] = set(self._active - self._before)

    def look(self, snapshot: Mapping[str, Any], faults: Iterable[Mapping[str, Any]]) -> None:
        """Take in the findings of a snapshot and the faults that are present or to come."""
        self._faults |= {(fault["kind"], fault["object"]): fault for fault in faults}
        active, time = _alarms(snapshot), float(snapshot["time"])
        for alarm in sorted(active - self._active):
            owners = [fault for fault in self._faults.values() if _belongs(alarm, fault, time)]
            for fault in owners:
                expected = EXPECTED.get(fault["kind"])
                if expected is not None and alarm[0] in expected.rules:
                    key = (fault["kind"], fault["object"])
                    self._seen.setdefault(key, (time - float(fault["start"]), " on ".join(alarm)))
            if not owners and alarm not in self._before:
                self._strangers.add(alarm)
        self._active = active

    def seen(self) -> Iterator[Seen]:
        """Yield how each fault was seen of which it is said what it must be seen as."""
        for kind, name in self._faults:
            if kind in EXPECTED:
                seconds, what = self._seen.get((kind, name), (None, f"no {' or '.join(EXPECTED[kind].rules)}"))
                yield Seen(kind, name, seconds, EXPECTED[kind].seconds * self._patience, what)

    @property
    def strangers(self) -> tuple[str, ...]:
        """Return the findings that belong to no fault, those that stood before any among them."""
        return tuple(" on ".join(alarm) for alarm in sorted(self._strangers))


def _alarms(snapshot: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((alarm["rule"], alarm["object"]) for alarm in snapshot["alarms"])


def _belongs(alarm: tuple[str, str], fault: Mapping[str, Any], time: float) -> bool:
    """Return whether a finding that began at `time` (epoch seconds) comes of a fault."""
    rule, name = alarm
    expected = EXPECTED.get(fault["kind"])
    late = 0.0 if fault["end"] is None else time - float(fault["end"])
    if time < fault["start"]:
        return False
    if expected is None and name == _SITE:
        return late <= SITE_GRACE_SECONDS
    if late > GRACE_SECONDS:
        return False
    if expected is None:
        return _is_at(name, fault["places"])
    return rule in (*expected.rules, *expected.along) and _is_at(name, fault["places"])


def _is_at(name: str, places: Iterable[str]) -> bool:
    """Return whether an alarm's object is one of the places, or a part of it: `shelf-a01/208` or `cdu-1 pump 2`."""
    return any(re.match(rf"{re.escape(place)}(?![\w-])", name) for place in places)
