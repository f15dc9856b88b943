"""Counters that began anew: SONiC's start at 0 after a reboot, a configuration reload, or a restart of its syncd.

The ports' own counters are watched, as all others restart with them: a counter that is lower than a poll before began
anew, for 64 bits do not wrap. When half of the ports fall in one round it is the device's event, else each port's.

Source: sonic-net/sonic-swss `orchagent/flexcounter*`; RFC 2863, section 3.1.4, for what a discontinuity means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage.point import FieldValue, Point
from storage.schema import MEASUREMENTS

COUNTERS = frozenset(name for name, each in MEASUREMENTS["interface"].fields.items() if each.kind == "counter")


@dataclass(slots=True)
class ResetWatch:
    """The ports' counters of the last round."""

    #: counters that fell since the collector was opened
    resets: int = 0
    _last: dict[str, Mapping[str, FieldValue]] = field(default_factory=dict)

    def look(self, points: Sequence[Point]) -> list[str]:
        """Return the ports with a counter that fell; [""] when it is the whole device."""
        fallen, seen = [], 0
        for point in points:
            if point.measurement != "interface" or (port := point.tags.get("interface")) is None:
                continue
            before = self._last.get(port)
            seen += 1
            if before is not None and (count := _fallen(before, point.fields)):
                self.resets += count
                fallen.append(port)
            self._last[port] = point.fields if before is None else {**before, **point.fields}
        return [""] if len(fallen) > 1 and 2 * len(fallen) >= seen else fallen


def _fallen(before: Mapping[str, FieldValue], after: Mapping[str, FieldValue]) -> int:
    count = 0
    for name, value in after.items():
        if name in COUNTERS:
            old = before.get(name)
            # text is no counter's value; a schema of numbers makes both comparable
            if old is not None and not isinstance(value, str) and not isinstance(old, str) and value < old:
                count += 1
    return count
