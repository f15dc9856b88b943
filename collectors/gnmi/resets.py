"""Counters of ports, priorities and queues on their way to points: none falls but where it began anew.

SONiC's begin at 0 after a reboot, a configuration reload, a restart of its syncd, or a breakout of their port. The rule
is that of SNMP (`collectors/unwrap.py`); gNMI tells no boot clock, so a boot is what most ports show together.

Source: sonic-net/sonic-swss `orchagent/flexcounter*`; RFC 2863, section 3.1.4, for what a discontinuity means.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from collectors.unwrap import Reset, Unwrap, describe
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
        # Counters come as floats, so that an array of them is as exact.
        self._unwrap = Unwrap(interval_s, partial(array, "d"))
        #: resets since the collector was opened
        self.resets = 0

    def take(self, points: Sequence[Point], now_s: float) -> tuple[list[Point], Mapping[str, str]]:
        """Return the points with what is to be written of their counters, and port -> text of what began anew.

        The port is "" when it is the whole device. `now_s` is monotonic seconds.
        """
        counting = {_key(point): number for number, point in enumerate(points) if point.measurement in COUNTERS}
        rows = {key: raw for key, number in counting.items() if (raw := _counters(points[number]))}
        self._begin(rows)
        made = list(points)
        for key, raw in rows.items():
            written = self._unwrap.take(key, raw, _NARROW, now_s)
            if written is not raw:
                point = points[counting[key]]
                made[counting[key]] = replace(point, fields={**point.fields, **written})
        scope, resets = self._unwrap.finish()
        if not resets:
            return made, {}
        every = {"": f"counters of {len(resets)} rows began anew"}
        anew = every if scope == "device" else _each(resets, {key: points[number] for key, number in counting.items()})
        self.resets += len(anew)
        return made, anew

    def _begin(self, rows: Mapping[str, Mapping[str, float]]) -> None:
        if self._unwrap.any_falls(rows):
            ports = {key: raw for key, raw in rows.items() if key.startswith("interface ")}
            self._unwrap.begin(self._unwrap.booted(ports))
        else:
            self._unwrap.begin(False, calm=True)


def _each(resets: Sequence[Reset], points: Mapping[str, Point]) -> Mapping[str, str]:
    """Return port -> text of what began anew there."""
    names: dict[str, list[str]] = {}
    for reset in resets:
        point = points[reset.row]
        columns = [f"{point.measurement}.{column}" for column in reset.columns]
        names.setdefault(point.tags.get("interface", ""), []).extend(columns)
    return {port: describe(each) for port, each in names.items()}


def _counters(point: Point) -> Mapping[str, float]:
    """Return the counters among the fields of a point: most often all of them."""
    names, fields = COUNTERS[point.measurement], point.fields
    own = fields if fields.keys() <= names else {name: value for name, value in fields.items() if name in names}
    return cast(Mapping[str, float], own)  # a counter's value is never text


def _key(point: Point) -> str:
    """Return what a row stays itself by, though its alias or its rack changes."""
    tags = point.tags
    return f"{point.measurement} {tags.get('interface')} {tags.get('priority') or tags.get('queue')}"
