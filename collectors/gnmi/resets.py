"""Counters of ports, priorities and queues on their way to points: none falls but where it began anew.

SONiC's begin at 0 after a reboot, a configuration reload, a restart of its syncd, or a breakout of their port. The rule
is that of SNMP (`collectors/unwrap.py`); gNMI tells no boot clock, so a boot is what most ports show together.

Source: sonic-net/sonic-swss `orchagent/flexcounter*`; RFC 2863, section 3.1.4, for what a discontinuity means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from collectors.unwrap import Unwrap, describe
from storage.point import Point
from storage.schema import MEASUREMENTS

#: measurement -> its counters; those of ports and of their parts
COUNTERS = {
    name: frozenset(field for field, each in MEASUREMENTS[name].fields.items() if each.kind == "counter")
    for name in ("interface", "pfc", "queue", "priority_group")
}
#: 64 bits wide, all of them
_NARROW: Mapping[str, int] = {}


class Counters:
    """The counters of one device."""

    def __init__(self, interval_s: float) -> None:
        """`interval_s` is the time between polls. Units: s."""
        self._unwrap = Unwrap(interval_s)
        #: resets since the collector was opened
        self.resets = 0

    def take(self, points: Sequence[Point], now_s: float) -> tuple[list[Point], Mapping[str, str]]:
        """Return the points with what is to be written of their counters, and port -> text of what began anew.

        The port is "" when it is the whole device. `now_s` is monotonic seconds.
        """
        rows: dict[str, tuple[int, Mapping[str, float]]] = {}
        for number, point in enumerate(points):
            names = COUNTERS.get(point.measurement)
            if names is None:
                continue
            # A counter's value is never text.
            raw = cast(Mapping[str, float], {name: value for name, value in point.fields.items() if name in names})
            if raw:
                rows[_key(point)] = number, raw
        self._begin(points, rows)
        made = list(points)
        for key, (number, raw) in rows.items():
            written = self._unwrap.take(key, raw, _NARROW, now_s)
            if written is not raw:
                made[number] = replace(points[number], fields={**points[number].fields, **written})
        anew = self._anew(points, rows)
        self.resets += len(anew)
        return made, anew

    def _begin(self, points: Sequence[Point], rows: Mapping[str, tuple[int, Mapping[str, float]]]) -> None:
        if not any(self._unwrap.falls(key, raw) for key, (_, raw) in rows.items()):
            self._unwrap.begin(False, calm=True)
            return
        ports = {key: raw for key, (number, raw) in rows.items() if points[number].measurement == "interface"}
        self._unwrap.begin(self._unwrap.booted(ports))

    def _anew(self, points: Sequence[Point], rows: Mapping[str, tuple[int, object]]) -> Mapping[str, str]:
        scope, resets = self._unwrap.finish()
        if not resets:
            return {}
        if scope == "device":
            return {"": f"counters of {len(resets)} rows began anew"}
        names: dict[str, list[str]] = {}
        for reset in resets:
            point = points[rows[reset.row][0]]
            columns = [f"{point.measurement}.{column}" for column in reset.columns]
            names.setdefault(point.tags.get("interface", ""), []).extend(columns)
        return {port: describe(each) for port, each in names.items()}


def _key(point: Point) -> str:
    """Return what a row stays itself by, though its alias or its rack changes."""
    tags = point.tags
    return f"{point.measurement} {tags.get('interface')} {tags.get('priority') or tags.get('queue')}"
