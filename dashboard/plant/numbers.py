"""The live numbers of power and coolant that stand in the snapshot beside the others."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dashboard.kpis import hvdc
from dashboard.kpis.efficiency import coverage
from dashboard.kpis.windows import integral, span
from dashboard.number import Number, number, withheld
from dashboard.plant.feeds import groups
from dashboard.plant.view import View
from dashboard.site import Feed
from dashboard.tables import Tables


def feed_headroom_number(tables: Tables) -> Number:
    """Return what is left when the worst feed is lost. Units: W = rating of those that stay - mean power of all."""
    formula = "rating of the feeds that stay - mean power of all feeds, the worst feed lost"
    feeds = {feed.name: feed for feed in tables.site.power_feeds}
    paired = [names for names in groups(tables.site.power_feeds) if len(names) > 1]
    if not paired:
        return withheld("W", "facility", formula, "the inventory names no two feeds with a shelf or rack in common")
    unrated = [name for names in paired for name in names if not feeds[name].rated_watts]
    if unrated:
        return withheld("W", "facility", formula, f"the inventory lacks the rating of {', '.join(unrated)}")
    return _headroom(tables, feeds, paired, formula)


def _headroom(tables: Tables, feeds: Mapping[str, Feed], paired: list[list[str]], formula: str) -> Number:
    devices, kinds = tables.power.tags["device"], tables.power.tags["kind"]
    names = [name for group in paired for name in group]
    chosen = np.isin(devices.astype(str), names) & (kinds == "meter")
    samples = tables.power.samples("active_watts").only(chosen)
    window = span(samples, tables.now, tables.window_seconds)
    if window is None:
        return withheld("W", "facility", formula, "no feed is metered: its meter has the feed's name")
    seconds = window[1] - window[0]
    drawn = integral(samples, *window)
    joules = {name: float(drawn.amount[chosen & (devices == name)].sum()) for name in names}
    covered = {name: float(drawn.covered[chosen & (devices == name)].sum()) for name in names}
    share = min(coverage(covered[name], 1, seconds) for name in names)
    # The mean over what is known: a gap is not a time without load.
    watts = {name: joules[name] / covered[name] if covered[name] > 0 else 0.0 for name in names}
    rated = [[feeds[name].rated_watts or 0.0 for name in group] for group in paired]
    left = [
        (value, sum(ratings) - max(ratings))
        for group, ratings in zip(paired, rated, strict=True)
        if (value := hvdc.failover_headroom([watts[name] for name in group], ratings)) is not None
    ]
    value, stays = min(left)
    told = number(value, "W", "facility", formula, window=window, coverage=share)
    most = tables.settings.alarms.facility.feed_failover_overload.warning
    return told if most is None else replace(told, limit=max(0.0, (1.0 - most) * stays))


def bus_headroom_number(plant: View) -> Number:
    """Return the least share of usable power that any rack has left. Units: W/W."""
    formula = "1 - 99th percentile of the last hour's load / usable power of its supplies, the worst rack"
    held = [rack for rack in plant.racks if rack.shelves]
    known = [rack for rack in held if rack.headroom_ratio is not None]
    if not known:
        why = "no rack has a rated power shelf" if not held else "load or rating of the supplies is not known"
        return withheld("ratio", "rack", formula, why)
    window = (plant.time - max(rack.p99_seconds for rack in known), plant.time)
    return number(plant.headroom_ratio, "ratio", "rack", formula, window=window, coverage=len(known) / len(held))
