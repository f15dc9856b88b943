"""The DMTF mock-ups through our profiles: every value that stands in a tree comes out as it stands there."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import call
from redfish_service import TREES, served
from services import free_port, listens, until

from collectors.profile import load_profile
from collectors.redfish import collector as redfish
from storage.point import Point

#: tree -> profile, and the branches of the tree that it reads
CASES = {
    "public-cooling-unit": ("redfish_cdu", ("ThermalEquipment/CDUs/",)),
    "public-pdu": ("redfish_rack_pdu", ("PowerEquipment/RackPDUs/",)),
    "public-power-shelf": ("redfish_power_shelf", ("PowerEquipment/PowerShelves/", "Chassis/")),
}
#: sensor in the DMTF schemas -> our field and the factor from its unit to ours
SENSORS = {
    **dict.fromkeys(("SupplyTemperatureCelsius", "ReturnTemperatureCelsius"), ("coolant.temperature_celsius", 1.0)),
    **dict.fromkeys(("SupplyPressurekPa", "ReturnPressurekPa"), ("coolant.pressure_pascals", 1000.0)),
    "DeltaPressurekPa": ("coolant.differential_pressure_pascals", 1000.0),
    "FlowLitersPerMinute": ("coolant.flow_liters_per_second", 1 / 60),
    "HeatRemovedkW": ("coolant.heat_reported_watts", 1000.0),
    "PumpSpeedPercent": ("coolant.pump_speed_ratio", 0.01),
    "TemperatureCelsius": ("environment.temperature_celsius", 1.0),
    "HumidityPercent": ("environment.humidity_ratio", 0.01),
    **dict.fromkeys(
        ("PowerWatts", "PolyPhasePowerWatts", "InputPowerWatts", "OutputPowerWatts"), ("power.active_watts", 1.0)
    ),
    **dict.fromkeys(("Voltage", "PolyPhaseVoltage", "InputVoltage", "RailVoltage"), ("power.voltage_volts", 1.0)),
    **dict.fromkeys(
        ("CurrentAmps", "PolyPhaseCurrentAmps", "InputCurrentAmps", "RailCurrentAmps"), ("power.current_amperes", 1.0)
    ),
    "FrequencyHz": ("power.frequency_hertz", 1.0),
    "EnergykWh": ("power.energy_joules_total", 3.6e6),
    "FanSpeedPercent": ("fan.speed_ratio", 0.01),
}
#: further numbers of a sensor
BESIDE = {
    "ApparentVA": ("power.apparent_volt_amperes", 1.0),
    "PowerFactor": ("power.power_factor_ratio", 1.0),
}
#: numbers that stand alone
PLAIN = {"RatedCurrentAmps": "power.rated_amperes", "PowerCapacityWatts": "power.rated_watts"}
#: sensors that have no place of their own: the difference of two that are read
NOT_READ = {"DeltaTemperatureCelsius"}
#: what the profiles make of several readings
DERIVED = {
    "coolant.heat_watts",
    "coolant.approach_celsius",
    "coolant.dew_margin_celsius",
    "environment.dew_point_celsius",
    "power.imbalance_ratio",
}

Found = Counter[tuple[str, float]]


def standing(tree: str, branches: tuple[str, ...]) -> Found:
    """Return every value under these branches of a tree: our field and the value in its unit."""
    found: Found = Counter()
    for file in (TREES / tree).rglob("index.json"):
        if str(file.relative_to(TREES / tree)).startswith(branches):
            for name, value in json.loads(file.read_text()).items():
                found.update(_values(name, value))
    return found


def _values(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if name in PLAIN:
        yield PLAIN[name], float(value)
    for sensor in _sensors(value):
        assert name in SENSORS.keys() | NOT_READ, f"{name} is neither read nor left out on purpose"
        if name in NOT_READ:
            continue
        field, factor = SENSORS[name]
        yield field, round(sensor["Reading"] * factor, 9)
        yield from ((field, round(sensor[key] * scale, 9)) for key, (field, scale) in BESIDE.items() if key in sensor)
        if "SpeedRPM" in sensor:
            yield "fan.speed_rpm", float(sensor["SpeedRPM"])


def _sensors(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the sensors of a property: itself, the items of its list, the lines of a polyphase one."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, Mapping) and "Reading" in one:
            yield one
        elif isinstance(one, Mapping):
            yield from (line for key, line in one.items() if key.startswith(("Line", "Neutral")))


def told(points: list[Point]) -> Found:
    """Return what the points say: field and value, without what is derived, states, and the bus bar's second row."""
    numbers = (
        (f"{p.measurement}.{name}", value)
        for p in points
        for name, value in p.fields.items()
        if p.measurement not in ("bus", "leak") and not name.endswith("state")
        if (p.tags.get("circuit"), p.tags.get("side")) != ("total", "output")
    )
    return Counter((field, round(float(value), 9)) for field, value in numbers if field not in DERIVED)


@pytest.mark.parametrize("tree", CASES)
async def test_every_value_of_a_tree_comes_out_as_it_stands(tree: str) -> None:
    name, branches = CASES[tree]
    async with served(tree) as service:
        collector = redfish.open_collector(service.target(), load_profile(name))
        result = await collector.poll(1)
        await collector.aclose()
    assert result.missing == result.rejected == ()
    expected = standing(tree, branches)
    assert sum(expected.values()) >= 15
    assert told(list(result.points)) == expected


@contextmanager
def sushy_static(tree: Path) -> Iterator[int]:
    """Serve a tree by sushy-tools' static emulator; yield its port."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "sushy-static"), "-i", "127.0.0.1", "-p", str(port), "-m", str(tree)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: listens(port), what="sushy-static")
            yield port
        finally:
            process.terminate()


@pytest.mark.parametrize("tree", CASES)
def test_a_foreign_server_is_recognised_and_probed(
    tree: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, branches = CASES[tree]
    with sushy_static(TREES / tree) as port:
        url = f"redfish://127.0.0.1:{port}?tls=off"
        answer = call(capsys, monkeypatch, ["probe", url, "--format", "json", "--timeout", "30"])
    assert answer.code == 0, answer.err
    points = [Point(p["measurement"], p["tags"], p["fields"], p["time_ns"]) for p in json.loads(answer.out)]
    assert told(points) == standing(tree, branches)
    assert f"profile {name}" in answer.err
