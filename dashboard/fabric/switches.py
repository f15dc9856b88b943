"""Each switch as a whole: does it answer, what is wrong with it, what it draws."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from dashboard.facility import GAUGE_AGE, SENSOR_FAULT, stamps
from dashboard.kpis.fabric import switch_watts
from dashboard.recent import accepted
from dashboard.site import natural
from storage.store import Store

OK, PARTIAL, AGENT_MISSING, SILENT = "ok", "partial", "agent_missing", "silent"
#: `device.state` and `switch.agent_state` -> a switch's state
_ENDED = {0: OK, 1: PARTIAL, 2: "unreachable", 3: "unauthorised", 4: "malformed", 5: "unknown", 6: "maintenance"}
_AGENT = {0: OK, 1: PARTIAL, 2: AGENT_MISSING, 3: "unreachable"}
#: switches of these states tell of their ports
TELLING = (OK, PARTIAL)
#: time between two looks at power, fans and temperatures, and at what hardly changes. Units: s
HEALTH_EVERY, FACTS_EVERY = 30.0, 60.0
_HEALTH_AGE = timedelta(seconds=200)
_FACTS_AGE = timedelta(minutes=15)
#: a fan or supply that is critical or off
_FAILED = 2
_POLLED = {"protocol": ("snmp", "gnmi")}
#: profiles of any agent: what they poll is a switch only where the inventory says so
_GENERIC = {"protocol": ("snmp",), "profile": ("net_snmp",)}
_POLL = (
    "up",
    "state",
    "poll_seconds",
    "last_success_age_seconds",
    "requests_total",
    "timeouts_total",
    "reconnects_total",
    "counter_resets_total",
    "missing_values",
)
_NOW = ("agent_state", "map_state", "counter_refresh_seconds", "clock_skew_seconds", "cpu_ratio", "memory_used_bytes")
_FACTS = ("version", "hwsku", "uptime_seconds", "memory_total_bytes")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SwitchNow:
    """A switch now; None where unknown. Units are in the names."""

    name: str
    rack: str = ""
    protocol: str = ""
    #: ok partial agent_missing unreachable unauthorised malformed unknown maintenance silent
    state: str = SILENT
    error: str = ""
    #: since a poll brought something. Units: s
    age: float | None = None
    version: str = ""
    hwsku: str = ""
    uptime_seconds: float | None = None
    cpu_ratio: float | None = None
    memory_ratio: float | None = None
    watts: float | None = None
    temperature_celsius: float | None = None
    fans_failed: int | None = None
    supplies_failed: int | None = None
    #: worst leak detector: 0 dry, 1 warning, 2 critical, 3 sensor fault
    leak: int | None = None
    poll_seconds: float | None = None
    refresh_seconds: float | None = None
    #: "fresh", "stale", "" where it is not told
    map: str = ""
    clock_skew_seconds: float | None = None
    requests: int | None = None
    timeouts: int | None = None
    resets: int | None = None
    reconnects: int | None = None
    missing: int | None = None
    watts_side: str = ""
    #: the name that counts of a switch that is polled under several, "" where that is its own
    same_as: str = ""

    @property
    def tells(self) -> bool:
        """Return whether it tells of its ports."""
        return self.state in TELLING


@dataclass(frozen=True, slots=True)
class Health:
    """What was read of the switches' insides, by switch."""

    time: float = -np.inf
    watts: Mapping[str, tuple[float | None, str]] = field(default_factory=dict)
    celsius: Mapping[str, float] = field(default_factory=dict)
    fans_failed: Mapping[str, int] = field(default_factory=dict)
    supplies_failed: Mapping[str, int] = field(default_factory=dict)
    leaks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All switches, in natural order, and what the next look needs of this one."""

    time: float
    switches: tuple[SwitchNow, ...]
    health: Health = Health()
    facts_time: float = -np.inf
    facts: Mapping[str, Row] = field(default_factory=dict)


def strangers(store: Store, switches: Iterable[str], *, real: bool) -> frozenset[str]:
    """Return the hosts that are polled as switches are, by the agent that any Linux runs, and are none.

    Raises:
        StoreError: the store does not answer.
    """
    frame = accepted(store.latest("device", ["up"], _FACTS_AGE, _GENERIC), real=real)
    return frozenset(_newest(frame)) - frozenset(switches)


def read(
    store: Store,
    old: Fleet | None,
    racks: Mapping[str, str],
    known: Iterable[str],
    now: float,
    *,
    real: bool,
    none: Collection[str] = (),
) -> Fleet:
    """Return the switches: `racks`, those of the inventory with their rack; `known`, those whose ports are known.

    `none`: devices that are no switches, whatever is told of them.

    Raises:
        StoreError: the store does not answer.
    """
    facts, read_at = (old.facts, old.facts_time) if old else ({}, -np.inf)
    if now - read_at >= FACTS_EVERY or (old and _is_young(old, facts)):
        frame = accepted(store.latest("switch", _FACTS, _FACTS_AGE), real=real)
        facts, read_at = {**facts, **_newest(frame)}, now
    told = _newest(accepted(store.latest("switch", _NOW, GAUGE_AGE), real=real))
    polls = _newest(accepted(store.latest("device", _POLL, GAUGE_AGE, _POLLED), real=real))
    errors = _newest(accepted(store.latest("device", ["error"], GAUGE_AGE, _POLLED), real=real))
    names = sorted({*racks, *known, *told, *facts} - set(none), key=natural)
    health = old.health if old else Health()
    if now - health.time >= HEALTH_EVERY:
        health = _health(store, names, now, real=real)
    before = {switch.name: switch for switch in old.switches} if old else {}
    elapsed = now - old.time if old else 0.0
    switches = []
    for name in names:
        rows = (polls.get(name), told.get(name, {}), facts.get(name, {}))
        rack = racks.get(name) or next((str(row["rack"]) for row in rows if row and row.get("rack")), "")
        switch = _switch(name, rack, rows, errors.get(name), before.get(name), elapsed, now)
        switches.append(_with_health(switch, health))
    return Fleet(now, tuple(switches), health, read_at, facts)


def _is_young(old: Fleet, facts: Mapping[str, Row]) -> bool:
    """Return whether a switch tells that did not say yet what it is."""
    return any(switch.tells and switch.name not in facts for switch in old.switches)


def _newest(frame: pd.DataFrame) -> dict[str, Row]:
    """Return the newest row of each device, with its stamp as `seconds` (epoch s)."""
    rows: dict[str, Row] = {}
    for row, seconds in zip(frame.to_dict("records"), stamps(frame) if len(frame) else [], strict=True):
        name = str(row["device"] or row["host"])
        if name not in rows or rows[name]["seconds"] < seconds:
            rows[name] = {**{str(key): value for key, value in row.items()}, "seconds": seconds}
    return rows


def _number(row: Row | None, name: str) -> float | None:
    value = row.get(name) if row else None
    return None if value is None or value != value else float(value)


def _count(row: Row | None, name: str) -> int | None:
    value = _number(row, name)
    return None if value is None else int(value)


def _switch(
    name: str,
    rack: str,
    rows: tuple[Row | None, Row, Row],
    error: Row | None,
    before: SwitchNow | None,
    elapsed: float,
    now: float,
) -> SwitchNow:
    poll, told, facts = rows
    if poll is None and not told:
        return _silenced(before or SwitchNow(name, rack), elapsed)
    used, total = _number(told, "memory_used_bytes"), _number(facts, "memory_total_bytes")
    mapped = _number(told, "map_state")
    return SwitchNow(
        name=name,
        rack=rack,
        protocol=str(poll["protocol"]) if poll else "",
        state=_state(poll, told),
        # An error stands only as long as the newest poll tells of one.
        error=str(error["error"]) if error and poll and error["seconds"] >= poll["seconds"] else "",
        age=_age(poll, told, now),
        version=_text(facts, "version"),
        hwsku=_text(facts, "hwsku"),
        uptime_seconds=_number(facts, "uptime_seconds"),
        cpu_ratio=_number(told, "cpu_ratio"),
        memory_ratio=used / total if used is not None and total else None,
        poll_seconds=_number(poll, "poll_seconds"),
        refresh_seconds=_number(told, "counter_refresh_seconds"),
        map="" if mapped is None else ("stale" if mapped else "fresh"),
        clock_skew_seconds=_number(told, "clock_skew_seconds"),
        requests=_count(poll, "requests_total"),
        timeouts=_count(poll, "timeouts_total"),
        resets=_count(poll, "counter_resets_total"),
        reconnects=_count(poll, "reconnects_total"),
        missing=_count(poll, "missing_values"),
    )


def _silenced(before: SwitchNow, elapsed: float) -> SwitchNow:
    """Return a switch of which no collector tells any more: what was known of it, older."""
    age = None if before.age is None else before.age + elapsed
    error = before.error or "no collector tells of it: is its target configured and the collector running?"
    return replace(before, state=SILENT, error=error, age=age, poll_seconds=None, refresh_seconds=None)


def _state(poll: Row | None, told: Row) -> str:
    """Return the worse of how the last poll ended and of what the switch's own agent says."""
    ended = _ENDED.get(_count(poll, "state") or 0, OK)
    agent = _number(told, "agent_state")
    if ended not in (OK, PARTIAL) or agent is None:
        return ended
    said = _AGENT.get(int(agent), OK)
    return said if said != OK else ended


def _age(poll: Row | None, told: Row, now: float) -> float | None:
    if poll is None:
        return _positive(now - told["seconds"])
    since = _number(poll, "last_success_age_seconds")
    if since is None:
        return None  # it never answered
    return _positive(since + now - poll["seconds"])


def _positive(seconds: float) -> float:
    return round(max(0.0, seconds), 3)


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _with_health(switch: SwitchNow, health: Health) -> SwitchNow:
    watts, side = health.watts.get(switch.name, (None, ""))
    return replace(
        switch,
        watts=watts,
        watts_side=side,
        temperature_celsius=health.celsius.get(switch.name),
        fans_failed=health.fans_failed.get(switch.name),
        supplies_failed=health.supplies_failed.get(switch.name),
        leak=health.leaks.get(switch.name),
    )


def _health(store: Store, names: Sequence[str], now: float, *, real: bool) -> Health:
    """Return what the insides of these switches say.

    Raises:
        StoreError: the store does not answer.
    """

    def ask(measurement: str, *fields: str, **where: str) -> pd.DataFrame:
        frame = accepted(store.latest(measurement, fields, _HEALTH_AGE, where), real=real)
        return frame[frame["device"].isin(names)]

    power = ask("power", "active_watts", "state", kind="switch")
    supplies = ask("power", "state", kind="psu")
    fans, air = ask("fan", "state"), ask("environment", "temperature_celsius")
    wet = ask("leak", "state", level="switch")
    hottest = air.groupby("device")["temperature_celsius"].max() if len(air) else pd.Series(dtype=float)
    worst: dict[str, int] = {}
    wet = wet.dropna(subset=["state"])
    for device, state in zip(wet["device"], wet["state"].astype(int), strict=True):
        worst[device] = max(worst.get(device, 0), state, key=(0, SENSOR_FAULT, 1, 2).index)
    failed = power[power["circuit"] != "total"]
    return Health(
        time=now,
        watts={str(name): _watts(rows) for name, rows in power.groupby("device")},
        celsius={str(name): float(value) for name, value in hottest.dropna().items()},
        fans_failed=_failed(fans),
        supplies_failed=_failed(pd.concat([failed, supplies])),
        leaks=worst,
    )


def _failed(frame: pd.DataFrame) -> dict[str, int]:
    """Return how many parts failed, of each device that tells the state of any."""
    told = frame.dropna(subset=["state"])
    failed = (told["state"] >= _FAILED).groupby(told["device"]).sum()
    return {str(name): int(count) for name, count in failed.items()}


def _watts(rows: pd.DataFrame) -> tuple[float | None, str]:
    known = rows.dropna(subset=["active_watts"])
    whole = known[known["circuit"] == "total"]

    def total(side: str) -> float:
        return float(whole.loc[whole["side"] == side, "active_watts"].sum(min_count=1))

    parts = known[(known["circuit"] != "total") & (known["side"] == "output")]["active_watts"]
    return switch_watts(total("input"), total("output"), parts.to_numpy(dtype=np.float64))
