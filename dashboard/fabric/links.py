"""What is at the other end of each port: the neighbour by LLDP, the host that it is, and the GPUs in that host."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from dashboard.fabric.places import Roster
from dashboard.fabric.read import Links
from dashboard.kpis.windows import Ints
from dashboard.recent import Names


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
    return Ends(of, links, gpus_of_host, neighbor, far, host, gpus)


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
