"""Light in optical modules: levels in dBm, margins in dB, dark lanes. Pure, one element per lane; NaN is unknown.

Source: SFF-8636 and CMIS (lane monitors, alarm thresholds); dBm = 10 x log10(power / 1 mW).
"""

import numpy as np

from dashboard.kpis.windows import Bools, Floats, Ints

_MILLIWATT = 1e-3


def dbm(watts: Floats) -> Floats:
    """Return optical power as people read it. Units: dBm = 10 x log10(W / 0.001); NaN for darkness."""
    lit = watts > 0
    return np.where(lit, 10.0 * np.log10(np.where(lit, watts, 1.0) / _MILLIWATT), np.nan)


def is_dark(rx_watts: Floats, rx_dark: Floats) -> Bools:
    """Return which lanes get no light: the module says so, or the power is 0."""
    dark: Bools = (rx_dark == 1) | (rx_watts <= 0)
    return dark


def margin_db(rx_watts: Floats, low_watts: Floats) -> Floats:
    """Return how far the power received lies above the module's low alarm limit. Units: dB; negative below it."""
    return dbm(rx_watts) - dbm(low_watts)


def lowest(values: Floats, port: Ints, count: int) -> Floats:
    """Return each port's lowest value; NaN where none is known."""
    found = np.full(count, np.inf)
    known = (port >= 0) & ~np.isnan(values)
    np.minimum.at(found, port[known], values[known])
    return np.where(np.isinf(found), np.nan, found)


def spread_db(rx_dbm: Floats, port: Ints, count: int) -> Floats:
    """Return highest minus lowest power among each port's lit lanes. Units: dB; NaN with fewer than two."""
    lit = (port >= 0) & ~np.isnan(rx_dbm)
    several = np.bincount(port[lit], minlength=count) > 1
    return np.where(several, -lowest(-rx_dbm, port, count) - lowest(rx_dbm, port, count), np.nan)


def dark_lanes(dark: Bools, port: Ints, count: int) -> Ints:
    """Return the number of dark lanes of each port."""
    return np.bincount(port[(port >= 0) & dark], minlength=count)
