"""Power of racks, IT and facility, without counting a watt twice; PUE and headroom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dashboard.kpis.efficiency import OK_COVERAGE, Quality, Ratio, quality
from dashboard.kpis.windows import Floats, Ints

RackSource = Literal["power_shelf", "rack_pdu", "rack"]
#: what tells a rack's power, best first; the others are cross-checks
RACK_SOURCES: tuple[RackSource, ...] = ("power_shelf", "rack_pdu", "rack")
#: a facility meter may read this much under IT before one of the two is wrong
PUE_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class RackEnergy:
    """One element per rack."""

    joules: Floats
    #: covered share of the window, 0 to 1, of the source that was taken
    coverage: Floats
    #: index into RACK_SOURCES; -1 where the rack has no source
    source: Ints


def rack_energy(
    rack: Ints, source: Ints, joules: Floats, covered: Floats, expected: Floats, window: float
) -> RackEnergy:
    """Return each rack's energy from one kind of source. Units: J = sum over the rack's devices of that kind.

    `rack`, `source` (index into RACK_SOURCES), `joules` and `covered` hold one element per device; `expected` is
    racks x sources, the number of devices by inventory. Taken is the first source that is fully covered, else the best
    covered one, so a silent PDU never halves a rack that its building system sees.
    """
    sums, known, seen = (np.zeros(expected.shape) for _ in range(3))
    np.add.at(sums, (rack, source), joules)
    np.add.at(known, (rack, source), covered)
    np.add.at(seen, (rack, source), 1.0)
    share = np.minimum(known / np.maximum(np.maximum(expected, seen) * max(window, 1e-9), 1e-9), 1.0)
    full = share >= OK_COVERAGE
    chosen = np.where(full.any(axis=1), full.argmax(axis=1), share.argmax(axis=1))
    rows = np.arange(len(chosen))
    told = share[rows, chosen] > 0
    return RackEnergy(
        joules=np.where(told, sums[rows, chosen], 0.0),
        coverage=np.where(told, share[rows, chosen], 0.0),
        source=np.where(told, chosen, -1),
    )


def pue(facility_joules: float, it_joules: float, coverages: Sequence[float]) -> Ratio:
    """Return facility J / IT J = PUE (J/J) of this interval; the annual ratio is the standard's PUE.

    Withheld when coverage fails, when IT is zero, and when the facility reads less than its IT: then one is wrong.
    Source: ISO/IEC 30134-2.
    """
    found = quality(*coverages)
    if found is Quality.INVALID:
        return Ratio(None, found, f"only {min(coverages):.0%} of the sources are known")
    if it_joules <= 0:
        return Ratio(None, Quality.INVALID, "no IT power")
    value = facility_joules / it_joules
    if value < 1.0 - PUE_TOLERANCE:
        return Ratio(None, Quality.INVALID, f"facility reads {value:.0%} of its IT: a meter or its scope is wrong")
    return Ratio(value, found)


def headroom_watts(limit_watts: float, watts: float) -> float:
    """Return limit W - drawn W = W that may still be added; negative when the limit is passed."""
    return limit_watts - watts
