"""What is at the other end of each port: the neighbour by LLDP, the host that it is, and the GPUs in that host."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dashboard.fabric.places import Roster
from dashboard.fabric.read import Links
from dashboard.kpis.windows import Ints
from dashboard.recent import Names

#: cables that two switches must share to be one, and switches that are compared of those that share one
_SHARED, _COMPARED = 2, 3


@dataclass(frozen=True, slots=True)
class Ends:
    """The other end of each port; "" where it is not known. `gpus` are those of `host`."""

    roster: Roster
    links: Links
    gpus_of_host: Mapping[str, int]
    neighbor: Names
    neighbor_interface: Names
    host: Names
    gpus: Ints
    #: pairs of switches that are one, polled under two names
    doubled: Sequence[tuple[str, str]]


def ends(of: Roster, links: Links, tagged: Names, gpus_of_host: Mapping[str, int], old: Ends | None) -> Ends:
    """Return the other ends; the very same object while nothing changed. `tagged`: neighbours that tags name."""
    if old is not None and old.roster is of and old.links is links and old.gpus_of_host == gpus_of_host:
        return old
    names = Hosts(gpus_of_host)
    told = [links.neighbors.get(pair, ("", "")) for pair in zip(of.device, of.interface, strict=True)]
    neighbor = np.array([name or tag for (name, _), tag in zip(told, tagged, strict=True)], dtype=object)
    host = np.array([names.find(name) for name in neighbor], dtype=object)
    gpus = np.array([gpus_of_host.get(name, 0) for name in host], dtype=np.int64)
    far = np.array([end for _, end in told], dtype=object)
    return Ends(of, links, gpus_of_host, neighbor, far, host, gpus, doubled(links.neighbors))


def doubled(neighbors: Mapping[tuple[str, str], tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the pairs of switches that are one: most of their ports lead to the very same ports of neighbours.

    `neighbors`: (switch, interface) -> (neighbour, its interface).
    """
    # Names that several ports of one switch see, `localhost` above all, tell nothing.
    seen = Counter((switch, *far) for (switch, _), far in neighbors.items())
    vague = {(name, end) for (_, name, end), count in seen.items() if count > 1}
    switches: dict[tuple[str, str, str], list[str]] = {}
    cabled: Counter[str] = Counter()
    for (switch, port), (name, end) in neighbors.items():
        if end and (name, end) not in vague:
            switches.setdefault((port, name, end), []).append(switch)
            cabled[switch] += 1
    shared = Counter(pair for names in switches.values() for pair in combinations(sorted(names)[:_COMPARED], 2))
    return [
        pair
        for pair, count in sorted(shared.items())
        if count >= _SHARED and 2 * count > min(cabled[name] for name in pair)
    ]


class Hosts:
    """Names of hosts as neighbours tell them: with or without their domain, in any case of letters."""

    def __init__(self, names: Iterable[str]) -> None:
        self._whole: dict[str, str] = {}
        self._short: dict[str, str] = {}
        for name in names:
            self._whole[name.casefold()] = name
            short = name.casefold().partition(".")[0]
            # Two hosts of one short name are told apart by nothing: it names neither.
            self._short[short] = "" if self._short.get(short, name) != name else name

    def find(self, neighbor: str) -> str:
        """Return the host of that name: the whole name first, then what stands before the first dot; "" for none."""
        key = neighbor.casefold()
        return self._whole.get(key) or self._short.get(key.partition(".")[0], "") if key else ""
