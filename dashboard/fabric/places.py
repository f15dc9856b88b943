"""Who the fabric's ports are, and to which port each series belongs. Kept while no tag changes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.fabric.read import Links
from dashboard.kpis.windows import Bools, Floats, Ints
from dashboard.recent import Names, Recent
from dashboard.site import natural

_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True)
class Roster:
    """The ports, by switch and name in natural order: those that report, and the LAGs that their members tell of."""

    tags: Mapping[str, Names]
    lags: Mapping[tuple[str, str], tuple[str, bool]]
    #: switch and interface, joined
    keys: pd.Index
    device: Names
    interface: Names
    #: per series of the ports: its port
    codes: Ints
    #: per port: the LAG that it belongs to, -1 without; whether it carries its share there
    lag: Ints
    selected: Floats

    @property
    def count(self) -> int:
        """Return the number of ports."""
        return len(self.device)

    @property
    def bundles(self) -> Bools:
        """Return which are LAGs whose members are known."""
        found = np.zeros(self.count, dtype=bool)
        found[self.lag[self.lag >= 0]] = True
        return found

    def find(self, device: str, interface: str) -> int:
        """Return a port's number, -1 for one that nobody tells of."""
        return int(self.keys.get_indexer(pd.Index([device + _SEPARATOR + interface], dtype=object))[0])

    def ports(self, device: Names, interface: Names) -> Ints:
        """Return the port of each pair of names; -1 where it is none."""
        return self.keys.get_indexer(_joined(device, interface)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a port has several of: priorities, queues. One element per part; two sources of one are one part."""

    tags: Mapping[str, Names]
    roster: Roster
    #: the part's own name
    name: Names
    port: Ints
    #: per series: its part
    codes: Ints

    @property
    def count(self) -> int:
        """Return the number of parts."""
        return len(self.port)


def _joined(device: Names, interface: Names, *others: Names) -> pd.Index:
    parts = zip(device, interface, *others, strict=True)
    return pd.Index([_SEPARATOR.join(names) for names in parts], dtype=object)


def roster(recent: Recent, links: Links, old: Roster | None) -> Roster:
    """Return the ports; the very same object while nothing changed."""
    if old is not None and old.tags is recent.tags and old.lags == links.lags:
        return old
    series = list(zip(recent.tags["device"], recent.tags["interface"], strict=True))
    known = {device for device, _ in series}
    bundles = {(device, lag) for (device, _), (lag, _) in links.lags.items() if device in known}
    places = {*series, *bundles}
    order = {name: natural(name) for name in {name for place in places for name in place}}
    names = sorted(places, key=lambda place: (order[place[0]], order[place[1]]))
    number = {name: i for i, name in enumerate(names)}
    device, interface = (np.array([name[i] for name in names], dtype=object) for i in (0, 1))
    lag, selected = np.full(len(names), -1), np.zeros(len(names))
    for (switch, port), (bundle, chosen) in links.lags.items():
        at = number.get((switch, port))
        if at is not None:
            lag[at], selected[at] = number[switch, bundle], chosen
    codes = np.array([number[name] for name in series], dtype=np.int64)
    return Roster(recent.tags, links.lags, _joined(device, interface), device, interface, codes, lag, selected)


def parts(recent: Recent, of: Roster, tag: str, old: Parts | None) -> Parts:
    """Return the parts that `tag` tells apart; the very same object while nothing changed."""
    if old is not None and old.tags is recent.tags and old.roster is of:
        return old
    tags = recent.tags
    codes, _ = pd.factorize(_joined(tags["device"], tags["interface"], tags[tag]))
    first = winners(codes, -np.arange(len(codes), dtype=np.float64), int(codes.max(initial=-1)) + 1)
    ports = of.ports(tags["device"][first], tags["interface"][first])
    return Parts(tags, of, tags[tag][first], ports, codes.astype(np.int64))


def winners(codes: Ints, freshness: Floats, count: int) -> Ints:
    """Return for each of `count` things the freshest of its series; -1 for one without."""
    order = np.lexsort((freshness, codes))
    rows = np.full(count, -1)
    rows[codes[order]] = order
    return rows
