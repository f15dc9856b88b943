"""The fabric as one view, made every ten seconds for all browsers (contract: docs/contracts.md section 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dashboard.alarms.findings import FabricNow
from dashboard.fabric.faults import Judged, host_notes, judge
from dashboard.fabric.hints import hints
from dashboard.fabric.links import Ends, ends
from dashboard.fabric.optics import OpticsNow, optics_now
from dashboard.fabric.places import Parts, Roster, parts, roster
from dashboard.fabric.ports import DOWN, Ports, ports
from dashboard.fabric.read import Seen, look
from dashboard.fabric.switches import Fleet, read, strangers
from dashboard.fabric.twins import paired
from dashboard.kpis.windows import Bools
from dashboard.settings import DashboardSettings
from dashboard.site import Site
from storage.store import Store

#: without switches we look for some again after this time. Units: s
ABSENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class View:
    """The fabric at one look. Times are epoch seconds."""

    time: float
    seen: Seen
    roster: Roster
    pfc: Parts
    queues: Parts
    optics: OpticsNow
    ports: Ports
    fleet: Fleet
    ends: Ends
    judged: Judged
    #: switch -> hosts behind it
    hosts: Mapping[str, Sequence[str]]
    hints: Sequence[str]
    #: what the snapshot takes of it
    now: FabricNow

    @property
    def empty(self) -> bool:
        """Return whether the site has no switch."""
        return not self.fleet.switches and not self.roster.count

    @property
    def data_time(self) -> float | None:
        """Return the stamp of the newest counter; None without any."""
        newest = float(self.seen.counters.times.max(initial=-np.inf))
        return newest if np.isfinite(newest) else None

    @property
    def synthetic(self) -> bool:
        """Return whether it is of simulated switches."""
        return self.seen.ports.synthetic and not self.seen.ports.real


def update(
    store: Store,
    site: Site,
    settings: DashboardSettings,
    old: View | None,
    now: float,
    *,
    gpus_of_host: Mapping[str, int],
    real: bool = False,
    refused: Sequence[str] = (),
) -> View:
    """Return the view at `now` (epoch s), grown from the last one.

    `gpus_of_host`: GPUs by host of the floor; `real`: leave simulated data out; `refused`: collectors not believed.

    Raises:
        StoreError: the store does not answer; `old` stays good for the next try.
    """
    if old is not None and old.empty and not site.switches and now - old.seen.time < ABSENT_SECONDS:
        return replace(old, time=now)
    before = old.seen if old else None
    hosts = strangers(store, site.switches, real=real)
    seen = look(store, before, now, real=real, refused=refused, without=hosts)
    if seen.ports.mixed and not real and not (before and before.ports.mixed):
        seen, real = look(store, None, now, real=True, refused=refused, without=hosts), True
    real = real or seen.ports.real
    of = roster(seen.ports, seen.links, old.roster if old else None)
    pfc = parts(seen.pfc, of, "priority", old.pfc if old else None)
    queues = parts(seen.queues, of, "queue", old.queues if old else None)
    light = optics_now(seen.optics, of, old.optics if old else None)
    alarms = settings.alarms
    fleet = read(store, old.fleet if old else None, site.switches, dict.fromkeys(of.device), now, real=real, none=hosts)
    telling = _telling(of, fleet)
    made = ports(seen, of, pfc, queues, light, alarms.fabric.event_hold.total_seconds(), telling)
    far = ends(of, seen.links, made.neighbor, gpus_of_host, old.ends if old else None)
    fleet = replace(fleet, switches=paired(fleet.switches, far.doubled, site.switches))
    made = _without(made, [switch.name for switch in fleet.switches if switch.same_as])
    judged = judge(made, far, telling, alarms)
    told = _now(made, fleet, judged, host_notes(made, far, telling, alarms))
    said = hints(seen, made, pfc, queues, fleet, far)
    return View(now, seen, of, pfc, queues, light, made, fleet, far, judged, _hosts(site, far), said, told)


def _without(made: Ports, names: Sequence[str]) -> Ports:
    """Return the ports, those of these switches as what counts nowhere."""
    return replace(made, gone=made.gone | np.isin(made.roster.device, names)) if names else made


def _now(made: Ports, fleet: Fleet, judged: Judged, notes: Mapping[str, str]) -> FabricNow:
    """Return what the snapshot takes of the fabric; each switch once."""
    return FabricNow(
        faults=tuple(judged.faults),
        switches=tuple(switch for switch in fleet.switches if not switch.same_as),
        ports_down=int((made.physical & (made.state == DOWN)).sum()),
        abnormal=int((abnormal(judged) & ~made.gone).sum()),
        notes=notes,
    )


def abnormal(judged: Judged) -> Bools:
    """Return which ports need a person: their worst trouble has priority 1 to 3."""
    found: Bools = (judged.priority > 0) & (judged.priority <= 3)
    return found


def _telling(of: Roster, fleet: Fleet) -> Bools:
    """Return which ports' switch answers: the troubles of the others are its own."""
    silent = {switch.name for switch in fleet.switches if not switch.tells}
    return np.array([device not in silent for device in of.device], dtype=bool)


def _hosts(site: Site, far: Ends) -> dict[str, Sequence[str]]:
    """Return switch -> hosts: those that LLDP names, else those of the inventory, which speaks of no port."""
    found: dict[str, dict[str, None]] = {}
    for device, host in zip(far.roster.device[far.host != ""], far.host[far.host != ""], strict=True):
        found.setdefault(device, {})[host] = None
    return {**site.uplinks, **{device: tuple(hosts) for device, hosts in found.items()}}
