"""The parts of a SONiC switch and their sensors: entPhysicalTable, entPhySensorTable, states of the power supplies.

A sensor's index tells what it is: `M NN DD II S L` for modules (2 chassis, 5 fan drawer, 6 power supply), `1 ifIndex S
L` for ports, lane 0 being the whole module. A lane that the module does not have reads 0 and is unavailable.

Source: sonic-net/sonic-snmpagent `src/sonic_ax_impl/mibs/ietf/{physical_entity_mib,rfc3433,sensor_data}.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from collectors.simulator.mib import MibBuilder
from collectors.simulator.optics import ELECTRICAL_LANES, OPTICAL_LANES
from collectors.simulator.sonic import FAN_RPM, FANS, PSU_VOLTS, Leaf

PHYSICAL = (1, 3, 6, 1, 2, 1, 47, 1, 1, 1, 1)
SENSOR = (1, 3, 6, 1, 2, 1, 99, 1, 1, 1)
#: cefcFRUPowerOperStatus
PSU_STATE = (1, 3, 6, 1, 4, 1, 9, 9, 117, 1, 1, 2, 1, 2)
PSU_OK, PSU_FAILED = 2, 7

#: entPhySensorType
CELSIUS, VOLTS, AMPERES, WATTS, UNKNOWN = 8, 4, 5, 6, 2
UNITS, MILLI = 9, 8
OK, UNAVAILABLE = 1, 2
#: entPhysicalClass
CHASSIS, SUPPLY, FAN, SENSOR_CLASS, PORT = 3, 6, 7, 8, 10
CHASSIS_INDEX, MANAGEMENT_INDEX = 1, 200_000_000
#: the digit S of an index
TEMPERATURE, TX_POWER, RX_POWER, BIAS, VOLTAGE = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True)
class _Sensor:
    index: int
    name: str
    kind: int
    scale: int
    precision: int
    inside: int


def add(mib: MibBuilder, leaf: Leaf, *, rpm: bool) -> None:
    """Add all parts and sensors of a switch; fans in RPM or in percent."""
    _add_part(mib, CHASSIS_INDEX, leaf.switch.name, CHASSIS, 0, ("ACME", "TW6400-64x400G", f"TW64{leaf.index:06d}"))
    _add_part(mib, MANAGEMENT_INDEX, "MGMT", 9, CHASSIS_INDEX)
    celsius = _Sensor(200_990_110, "Temperature sensor for chassis", CELSIUS, UNITS, 3, MANAGEMENT_INDEX)
    _add_sensor(mib, celsius, lambda: 1000 * leaf.temperature_celsius)
    for fan in range(FANS):
        _add_fan(mib, leaf, fan, rpm=rpm)
    for supply in range(leaf.supplies):
        _add_supply(mib, leaf, supply)
    for port, name in enumerate(leaf.switch.ports):
        _add_module(mib, leaf, port, 10**9 + 100 * (int(name.removeprefix("Ethernet")) + 1))


def _add_fan(mib: MibBuilder, leaf: Leaf, fan: int, *, rpm: bool) -> None:
    drawer = 500_000_000 + (fan + 1) * 1_000_000
    _add_part(mib, drawer, f"FanTray{fan + 1}", FAN, CHASSIS_INDEX, ("ACME", "FT-64", f"F{leaf.index:04d}{fan}"))
    sensor = _Sensor(drawer + 20_120, f"Tachometer sensor for FanTray{fan + 1} fan 1", UNKNOWN, UNITS, 0, drawer)
    _add_sensor(mib, sensor, lambda: (FAN_RPM if rpm else 100) * leaf.fan_ratio)


def _add_supply(mib: MibBuilder, leaf: Leaf, supply: int) -> None:
    """Add one power supply under SONiC's index scheme: 6 NN 24 00 S 0 for supply NN and sensor S."""
    unit, name = 600_000_000 + (supply + 1) * 1_000_000, f"PSU {supply + 1}"
    _add_part(mib, unit, name, SUPPLY, CHASSIS_INDEX, ("ACME", "PS-1500", f"P{leaf.index:04d}{supply}"))
    mib.integer((*PSU_STATE, supply + 1), lambda: PSU_OK if leaf.psu_ok(supply) else PSU_FAILED)

    def sensor(digit: int, what: str, kind: int) -> _Sensor:
        return _Sensor(unit + 240_000 + 10 * digit, f"{what} sensor for {name}", kind, UNITS, 3, unit)

    _add_sensor(mib, sensor(1, "Temperature", CELSIUS), lambda: 1000 * leaf.temperature_celsius)
    _add_sensor(mib, sensor(3, "Power", WATTS), lambda: 1000 * leaf.psu_watts(supply))
    _add_sensor(mib, sensor(4, "Current", AMPERES), lambda: 1000 * leaf.psu_watts(supply) / PSU_VOLTS)
    _add_sensor(mib, sensor(5, "Voltage", VOLTS), lambda: 1000 * PSU_VOLTS * leaf.psu_ok(supply))


def _add_module(mib: MibBuilder, leaf: Leaf, port: int, base: int) -> None:
    name, state, row = leaf.switch.ports[port], leaf.factory.state, leaf.index
    made = (leaf.module_vendor, leaf.module_part, leaf.module_serial(port))
    _add_part(mib, base, name, PORT, CHASSIS_INDEX, made)
    _add_sensor(
        mib,
        _Sensor(base + 10 * TEMPERATURE, f"DOM Temperature Sensor for {name}", CELSIUS, UNITS, 6, base),
        lambda: 1e6 * state.switches.module_celsius[row, port],
    )
    _add_sensor(
        mib,
        _Sensor(base + 10 * VOLTAGE, f"DOM Voltage Sensor for {name}", VOLTS, UNITS, 4, base),
        lambda: 1e4 * state.switches.module_volts[row, port],
    )
    for lane in range(1, ELECTRICAL_LANES + 1):
        _add_lane(mib, leaf, port, base, lane)


def _add_lane(mib: MibBuilder, leaf: Leaf, port: int, base: int, lane: int) -> None:
    name = leaf.switch.ports[port]
    readings: tuple[tuple[int, str, int, int, Callable[[], float]], ...] = (
        (TX_POWER, "TX Power", WATTS, 4, lambda: 1e4 * _milliwatts(leaf.tx_dbm(port, lane))),
        (RX_POWER, "RX Power", WATTS, 4, lambda: 1e4 * _milliwatts(leaf.rx_dbm(port, lane))),
        (BIAS, "TX Bias", AMPERES, 3, lambda: 1e6 * leaf.bias_amperes(port, lane)),
    )
    for digit, what, kind, precision, value in readings:
        at = _Sensor(base + 10 * digit + lane, f"DOM {what} Sensor for {name}/{lane}", kind, MILLI, precision, base)
        if lane <= OPTICAL_LANES:
            _add_sensor(mib, at, value)
        else:
            _add_unavailable(mib, at)


def _milliwatts(dbm: float) -> float:
    """Return a power in mW; no light at all is 0."""
    return 0.0 if math.isinf(dbm) else 10.0 ** (dbm / 10.0)


def _add_sensor(mib: MibBuilder, sensor: _Sensor, value: Callable[[], float]) -> None:
    _add_scale(mib, sensor, OK)
    mib.integer((*SENSOR, 4, sensor.index), value)
    _add_part(mib, sensor.index, sensor.name, SENSOR_CLASS, sensor.inside)


def _add_unavailable(mib: MibBuilder, sensor: _Sensor) -> None:
    """Add a sensor that reads 0 and says so; it has no row among the parts."""
    _add_scale(mib, sensor, UNAVAILABLE)
    mib.constant((*SENSOR, 4, sensor.index), 0)


def _add_scale(mib: MibBuilder, sensor: _Sensor, status: int) -> None:
    columns = ((1, sensor.kind), (2, sensor.scale), (3, sensor.precision), (5, status))
    for column, value in columns:
        mib.constant((*SENSOR, column, sensor.index), value)


def _add_part(
    mib: MibBuilder, index: int, name: str, kind: int, inside: int, made: tuple[str, str, str] | None = None
) -> None:
    """Add a row of entPhysicalTable; what was `made` tells maker, model and serial number and can be exchanged."""
    mib.text((*PHYSICAL, 2, index), name)
    mib.constant((*PHYSICAL, 4, index), inside)
    mib.constant((*PHYSICAL, 5, index), kind)
    mib.text((*PHYSICAL, 7, index), name)
    if made is None:
        return
    maker, model, serial = made
    for column, text in ((8, "A1"), (11, serial), (12, maker), (13, model)):
        mib.text((*PHYSICAL, column, index), text)
    mib.constant((*PHYSICAL, 16, index), 1)
