"""The producer: one thread makes one snapshot per tick for all browsers, others the history and the fabric.

What they made is kept as ready bytes; of the fabric those that somebody asked for.
"""

import gzip
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from dashboard import history, snapshot
from dashboard.fabric import answer
from dashboard.fabric.port import port_detail
from dashboard.fabric.view import View, update
from dashboard.facility import CLOCK_REFUSED_SECONDS
from dashboard.plant import answer as plant_answer
from dashboard.plant import view as plant_view
from dashboard.power_hour import Watched
from dashboard.settings import DashboardSettings
from dashboard.site import Site, read_site
from dashboard.totals import Totals, totals
from storage.store import Store, StoreError

logger = logging.getLogger(__name__)

HISTORY_SECONDS = 20.0
FABRIC_SECONDS = 10.0
#: share of a core that looking at power and coolant may take: at a small site it is done at each tick
_PLANT_SHARE = 0.2
#: ports in depth that are kept until the next look at the fabric
_PORTS_KEPT = 64
SITE_SECONDS = 30.0
#: a snapshot older than this is none. Units: s
READY_SECONDS = 10.0
#: without new data for longer, nothing here is live. Units: s
LOST_SECONDS = 60.0
#: bodies above this are compressed for speed, not for size. Units: bytes
LARGE = 100_000
#: the producer leaves at least this share of a core to others
_REST = 0.5


@dataclass(frozen=True, slots=True)
class Payload:
    """One answer, ready to be sent; `etag` without quotes."""

    seq: int
    etag: str
    body: bytes
    gzipped: bytes


class Live:
    """What the browsers see now. `start` begins the threads, `close` ends them; every method is safe in any thread.

    While the store does not answer, the last snapshot stays and grows old, and `problem` says why.
    """

    def __init__(
        self,
        store: Store,
        settings: DashboardSettings,
        stats: Callable[[], Mapping[str, float]] = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`stats`: what the collecting side tells of itself, name -> number; `clock`: epoch seconds."""
        self.settings = settings
        self.stats = stats
        self.snapshot: Payload | None = None
        self.history: Payload | None = None
        self._store, self._clock = store, clock
        self._boot = secrets.token_hex(4)
        self._build = _version()
        self._site: tuple[float, Site] | None = None
        self._last: snapshot.Snapshot | None = None
        self._hour: history.History | None = None
        self._view: View | None = None
        self._looks = 0
        self._fabric_cost = self._fabric_cpu = 0.0
        #: what was asked of the last look, ready; guarded by its lock
        self._fabric_ready: dict[str, Payload] = {}
        self._fabric_lock = threading.Lock()
        self._plant = plant_view.NOTHING
        self._plant_cost = self._plant_spent = self._plant_cpu = 0.0
        self._plant_ready: Payload | None = None
        self._plant_lock = threading.Lock()
        self._idle: deque[tuple[float, float]] = deque(maxlen=int(3600 / settings.tick.total_seconds()) + 1)
        #: shelf whose power spoke of a part of its supplies, rack whose power was doubted -> when last, epoch s
        self._in_part: dict[str, float] = {}
        self._doubted: dict[str, float] = {}
        self._error = ""
        self._ticks = self._failures = 0
        self._cost = self._cpu_total = 0.0
        self._one_question = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to make snapshots and the history."""
        tick = self.settings.tick.total_seconds()
        works = (
            ("snapshot", self.tick, tick),
            ("history", self.tick_history, HISTORY_SECONDS),
            ("fabric", self.tick_fabric, FABRIC_SECONDS),
        )
        for name, work, seconds in works:
            thread = threading.Thread(target=self._repeat, args=(work, seconds), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End the threads and wait for them; calling it again does nothing."""
        self._stop.set()
        while self._threads:
            self._threads.pop().join()

    def tick(self) -> None:
        """Make one snapshot now. An error of the store is kept in `problem` and logged when it is new."""
        began, cpu = time.monotonic(), time.thread_time()
        try:
            made = self._make(self._clock())
        except StoreError as e:
            self._failures += 1
            self._fail(str(e))
            return
        self._fail("")
        self._last = made
        self._doubted = _within_hour(self._doubted, (doubt.rack for doubt in made.doubts), made.time)
        tick = max(self.settings.tick.total_seconds(), self._cost / _REST)
        self.snapshot = self._pack(snapshot.to_json(made, self._build, tick), made.seq, "s")
        idle = made.numbers["gpus_idle"].value
        if idle is not None:
            self._idle.append((made.time, idle))
        self._ticks += 1
        self._cost = time.monotonic() - began
        self._cpu_total += time.thread_time() - cpu

    def tick_history(self) -> None:
        """Make the history now. While the store does not answer the last one stays."""
        site, last = self._site[1] if self._site else None, self._last
        if site is None or last is None:
            return
        now, places = self._clock(), last.memory.places
        racks = dict(zip(places.hosts, places.rack_of_host, strict=True))
        watched = Watched(self._in_part, self._doubted, racks)
        try:
            self._hour = history.update(
                self._store, site, self._hour, now, tuple(self._idle), real=self._real, watched=watched
            )
        except StoreError as e:
            logger.debug("history: %s", e)
            return
        self.history = self._pack(history.to_json(self._hour), int(now), "h")

    def tick_fabric(self) -> None:
        """Look at the fabric now. While the store does not answer the last view stays and grows old."""
        site, last = self._site[1] if self._site else None, self._last
        if site is None or last is None:
            return
        began, cpu = time.monotonic(), time.thread_time()
        places, ahead = last.memory.places, last.memory.observation.clocks_ahead
        try:
            view = update(
                self._store,
                site,
                self.settings,
                self._view,
                self._clock(),
                gpus_of_host=dict(zip(places.hosts, places.gpus_of_host.astype(int).tolist(), strict=True)),
                real=self._real,
                refused=[collector for collector, seconds in ahead.items() if seconds > CLOCK_REFUSED_SECONDS],
            )
        except StoreError as e:
            logger.debug("fabric: %s", e)
            return
        with self._fabric_lock:
            self._view, self._looks = view, self._looks + 1
            self._fabric_ready.clear()
        self._fabric_cost = time.monotonic() - began
        self._fabric_cpu += time.thread_time() - cpu

    def fabric(self, metric: str) -> Payload | None:
        """Return the fabric with one of `answer.METRIC_NAMES` on its ports; None before the first look."""
        with self._fabric_lock:
            view = self._view
            if view is None:
                return None
            if metric not in self._fabric_ready:
                content = answer.to_json(view, metric)
                self._fabric_ready[metric] = self._pack(content, self._looks, f"f-{metric}-")
            return self._fabric_ready[metric]

    def fabric_port(self, device: str, interface: str) -> Payload | None:
        """Return one port in depth; None for one that nobody tells of.

        Raises:
            StoreError: the store does not answer.
        """
        with self._fabric_lock:
            view, looks = self._view, self._looks
            port = view.roster.find(device, interface) if view else -1
            known = self._fabric_ready.get(f"{device}\x1f{interface}")
        if view is None or port < 0 or known is not None:
            return known
        with self._one_question:
            content = port_detail(self._store, view, self._last, port, self._clock())
        made = self._pack(content, looks, f"p{port}-")
        with self._fabric_lock:
            if looks == self._looks and len(self._fabric_ready) < _PORTS_KEPT:
                self._fabric_ready[f"{device}\x1f{interface}"] = made
        return made

    def facility(self) -> Payload | None:
        """Return power and coolant as they were last looked at; None before the first look."""
        with self._plant_lock:
            if self._plant.seen is None:
                return None
            if self._plant_ready is None:
                content = plant_answer.to_json(self._plant, self._last, self.settings.alarms.facility)
                self._plant_ready = self._pack(content, int(1000 * self._plant.time), "p")
            return self._plant_ready

    def totals(self, start: float, end: float) -> Totals:
        """Return the growth of all counters over [start, end] (epoch s); one question at a time.

        Raises:
            TooEarlyError: not all that lives has told of `end` yet.
            StoreError: the store does not answer.
        """
        with self._one_question:
            prefer = self.settings.energy.prefer
            return totals(self._store, start, end, self._clock(), real=self._real, prefer=prefer)

    @property
    def _real(self) -> bool:
        """Return whether real devices report: simulated ones are then left out."""
        return bool(self._last and self._last.data_time is not None and not self._last.synthetic)

    @property
    def problem(self) -> str:
        """Return why the live view is not to be trusted, "" while it is."""
        if self._error:
            return self._error
        if self._last is None:
            return "no snapshot yet"
        age = self._clock() - self._last.time
        limit = max(READY_SECONDS, 3 * self.settings.tick.total_seconds())
        if age > limit:
            return f"the newest snapshot is {age:.1f} s old"
        silence = self._clock() - self._last.data_time if self._last.data_time else 0.0
        return f"no data for {silence:.0f} s: are the collectors running?" if silence > LOST_SECONDS else ""

    def numbers(self) -> dict[str, float]:
        """Return what the producer tells of itself. Units are in the names."""
        last = self._last
        own = {
            "snapshot_age_seconds": self._clock() - last.time if last else None,
            "data_age_seconds": self._clock() - last.data_time if last and last.data_time else None,
            "tick_seconds": self.settings.tick.total_seconds(),
            "build_seconds": self._cost,
            "build_cpu_seconds_total": self._cpu_total,
            "snapshots_total": float(self._ticks),
            "snapshot_failures_total": float(self._failures),
            "snapshot_bytes": float(len(self.snapshot.body)) if self.snapshot else None,
            "fabric_build_seconds": self._fabric_cost,
            "fabric_cpu_seconds_total": self._fabric_cpu,
            "fabric_looks_total": float(self._looks),
            "fabric_ports": float(self._view.roster.count) if self._view else None,
            "facility_build_seconds": self._plant_cost,
            "facility_cpu_seconds_total": self._plant_cpu,
            "gpus": float(len(last.layout.gpus)) if last else None,
            "alarms": float(len(last.alarms)) if last else None,
        }
        return {name: value for name, value in own.items() if value is not None}

    def _make(self, now: float) -> snapshot.Snapshot:
        if self._site is None or not self._site[1].racks or now - self._site[0] >= SITE_SECONDS:
            read = read_site(self._store)
            # The same object while nothing changed: what was derived from it is kept.
            known = self._site[1] if self._site and self._site[1] == read else read
            self._site = (now, known)
        view, site = self._view, self._site[1]
        seen = view.now if view else snapshot.NO_FABRIC
        self._look_at_plant(site, now)
        return snapshot.build(self._store, site, self.settings, self._last, now, seen, self._plant)

    def _look_at_plant(self, site: Site, now: float) -> None:
        """Look at power and coolant, unless the last look cost too much to do so at each tick."""
        if self._plant.seen is not None and now - self._plant.time < self._plant_spent / _PLANT_SHARE:
            return
        began, cpu = time.monotonic(), time.thread_time()
        ahead = self._last.memory.observation.clocks_ahead if self._last else {}
        refused = [collector for collector, seconds in ahead.items() if seconds > CLOCK_REFUSED_SECONDS]
        doubted = {(doubt.rack, doubt.source) for doubt in self._last.doubts} if self._last else set()
        view = plant_view.update(
            self._store, site, self.settings, self._plant, now, real=self._real, refused=refused, doubted=doubted
        )
        self._in_part = _within_hour(self._in_part, (s.name for s in view.shelves if s.coverage < 1.0), now)
        with self._plant_lock:
            self._plant, self._plant_ready = view, None
        self._plant_cost = time.monotonic() - began
        self._plant_spent = time.thread_time() - cpu
        self._plant_cpu += self._plant_spent

    def _fail(self, reason: str) -> None:
        if reason and not self._error:
            logger.warning("snapshot: %s", reason)
        elif self._error and not reason:
            logger.info("snapshot: the store answers again")
        self._error = reason

    def _pack(self, content: Mapping[str, Any], seq: int, kind: str) -> Payload:
        body = orjson.dumps(content)
        zipped = gzip.compress(body, 1 if len(body) > LARGE else 6, mtime=0)
        return Payload(seq, f"{kind}{self._boot}-{seq}", body, zipped)

    def _repeat(self, work: Callable[[], None], seconds: float) -> None:
        """Call `work` every so many seconds; what takes long is called less often, never twice in a row."""
        while not self._stop.is_set():
            began = time.monotonic()
            work()
            cost = time.monotonic() - began
            if self._stop.wait(max(seconds - cost, cost * (1 / _REST - 1)) if self._ready(work) else 0.2):
                return

    def _ready(self, work: Callable[[], None]) -> bool:
        """Return whether the first result is there; until then we look more often."""
        waited = {self.tick_history: self.history, self.tick_fabric: self._view}
        return work not in waited or waited[work] is not None


def _within_hour(known: Mapping[str, float], told: Iterable[str], now: float) -> dict[str, float]:
    """Return name -> when it was told last, epoch s, over the hour; a new one, for other threads read the old."""
    kept = {name: time for name, time in known.items() if now - time < history.SECONDS}
    return kept | dict.fromkeys(told, now)


def _version() -> str:
    try:
        return version("tokenwatt")
    except PackageNotFoundError:
        return "0"
