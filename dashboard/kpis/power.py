"""Power of racks, IT and facility, without counting a watt twice; PUE and headroom."""

from collections.abc import Sequence
from typing import Literal

from dashboard.kpis.efficiency import Quality, Ratio, quality
from dashboard.kpis.windows import Bools, Floats
from dashboard.kpis.words import percent

RackSource = Literal["power_shelf", "rack_pdu", "rack"]
#: what tells a rack's power, best first; the others are cross-checks
RACK_SOURCES: tuple[RackSource, ...] = ("power_shelf", "rack_pdu", "rack")
#: a facility meter may read this much under IT before one of the two is wrong
PUE_TOLERANCE = 0.02
#: a source that tells less than this share of what the rack's GPUs draw is wrong: a rack draws more than its boards
_DOUBT_RATIO, _DOUBT_WATTS = 0.9, 200.0


def pue(facility_joules: float, it_joules: float, coverages: Sequence[float]) -> Ratio:
    """Return facility J / IT J = PUE (J/J) of this interval; the annual ratio is the standard's PUE.

    Withheld when coverage fails, when IT is zero, and when the facility reads less than its IT: then one is wrong.
    Source: ISO/IEC 30134-2.
    """
    found = quality(*coverages)
    if found is Quality.INVALID:
        return Ratio(None, found, f"only {percent(min(coverages))} of the sources are known")
    if it_joules <= 0:
        return Ratio(None, Quality.INVALID, "no IT power")
    value = facility_joules / it_joules
    if value < 1.0 - PUE_TOLERANCE:
        return Ratio(None, Quality.INVALID, f"facility reads {percent(value)} of its IT: a meter or its scope is wrong")
    return Ratio(value, found)


def headroom_watts(limit_watts: float, watts: float) -> float:
    """Return limit W - drawn W = W that may still be added; negative when the limit is passed."""
    return limit_watts - watts


def implausible(watts: Floats, board_watts: Floats) -> Bools:
    """Return where a rack would draw less than its GPUs (kW for W). Units: W; NaN where it is not known as a whole."""
    wrong: Bools = (watts < _DOUBT_RATIO * board_watts) & (board_watts > _DOUBT_WATTS)
    return wrong
