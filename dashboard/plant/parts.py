"""Batteries and leak detectors, each with its age."""

from dataclasses import dataclass

from dashboard.plant.read import BATTERY, LEAK, Seen

_STATES = {0: "ready", 1: "charging", 2: "discharging", 3: "fault", 4: "off"}
_LEAKS = {0: "normal", 1: "warning", 2: "critical", 3: "sensor_fault"}


@dataclass(frozen=True, slots=True)
class BatteryNow:
    """A battery or capacitor unit now; None where unknown. `age`: of its newest reading, s."""

    device: str
    unit: str
    rack: str
    state: str
    charge_ratio: float | None
    health_ratio: float | None
    volts: float | None
    amperes: float | None
    energy_joules: float | None
    runtime_seconds: float | None
    temperature_celsius: float | None
    silent: bool
    age: float


@dataclass(frozen=True, slots=True)
class LeakNow:
    """A leak detector now. `state`: normal, warning, critical, sensor_fault, or silent; `last`: as it was last told."""

    device: str
    rack: str
    detector: str
    level: str
    state: str
    age: float
    last: str = ""


def batteries(seen: Seen, now: float) -> tuple[BatteryNow, ...]:
    """Return every battery that told of itself within the hour."""
    held = seen[BATTERY]
    fresh, newest, stale = held.fresh(now), held.newest().tolist(), held.stale(now).tolist()

    def tell(i: int, name: str) -> float | None:
        value: float = fresh[name][i]
        return None if value != value else value

    return tuple(
        BatteryNow(
            device=device,
            unit=unit,
            rack=rack,
            state="" if (state := tell(i, "state")) is None else _STATES.get(int(state), ""),
            charge_ratio=tell(i, "charge_ratio"),
            health_ratio=tell(i, "health_ratio"),
            volts=tell(i, "voltage_volts"),
            amperes=tell(i, "current_amperes"),
            energy_joules=tell(i, "energy_joules"),
            runtime_seconds=tell(i, "runtime_seconds"),
            temperature_celsius=tell(i, "temperature_celsius"),
            silent=stale[i],
            age=max(0.0, now - newest[i]),
        )
        for i, (rack, device, unit) in enumerate(held.rows())
    )


def leaks(seen: Seen, now: float) -> tuple[LeakNow, ...]:
    """Return every leak detector that told of itself within the hour."""
    held = seen[LEAK]
    stale, newest = held.stale(now).tolist(), held.newest().tolist()
    last = [_LEAKS.get(int(state), "critical") for state in held.values[:, 0].tolist()]
    return tuple(
        LeakNow(device, rack, detector, level, "silent" if stale[i] else last[i], max(0.0, now - newest[i]), last[i])
        for i, (rack, device, detector, level) in enumerate(held.rows())
    )
