"""The light at each port: lanes against the module's own limits. Worked out when modules were read anew."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.fabric.places import Roster
from dashboard.fabric.read import Optics
from dashboard.kpis import optics as light
from dashboard.kpis.windows import Floats, Ints
from dashboard.recent import Names


@dataclass(frozen=True, slots=True)
class OpticsNow:
    """Lanes and modules; one element per row of the frame of lanes."""

    optics: Optics
    roster: Roster
    port: Ints
    lane: Names
    rx_dbm: Floats
    margin_db: Floats
    dark: Floats
    #: per port
    values: Mapping[str, Floats]


def optics_now(optics: Optics, of: Roster, old: OpticsNow | None) -> OpticsNow:
    """Return the light at each port; the very same object while nothing was read."""
    if old is not None and old.optics is optics and old.roster is of:
        return old
    frame = optics.lanes
    port = placed(frame, of)
    rx, dark = column(frame, "rx_power_watts"), column(frame, "rx_dark")
    lane = frame["lane"].to_numpy(dtype=object) if len(frame) else np.empty(0, dtype=object)
    low = _low_limits(optics.limits, of)
    unlit = light.is_dark(rx, dark)
    # A module says at once that a lane is dark; the power it tells may still be that of a minute ago.
    rx = np.where(unlit, np.nan, rx)
    margin, levels = light.margin_db(rx, np.append(low, np.nan)[port]), light.dbm(rx)
    values = {
        "rx_power_dbm": light.lowest(levels, port, of.count),
        "optics_margin_db": light.lowest(margin, port, of.count),
        "optics_spread_db": light.spread_db(levels, port, of.count),
        "dark_lanes": light.dark_lanes(unlit, port, of.count).astype(np.float64),
    }
    return OpticsNow(optics, of, port, lane, levels, margin, unlit.astype(np.float64), values)


def placed(frame: pd.DataFrame, of: Roster) -> Ints:
    """Return the port of each row of a frame; -1 where it is none."""
    if not len(frame):
        return np.empty(0, dtype=np.int64)
    return of.ports(*(frame[tag].to_numpy(dtype=object) for tag in ("device", "interface")))


def column(frame: pd.DataFrame, name: str) -> Floats:
    """Return a column as numbers; empty without rows."""
    return frame[name].to_numpy(dtype=np.float64) if len(frame) else np.empty(0)


def _low_limits(limits: pd.DataFrame, of: Roster) -> Floats:
    """Return each port's low alarm limit of the power received. Units: W; NaN where its module tells none."""
    low = np.full(of.count, np.nan)
    port, told = placed(limits, of), column(limits, "rx_power_low_watts")
    known = (port >= 0) & (told > 0)
    low[port[known]] = told[known]
    return low
