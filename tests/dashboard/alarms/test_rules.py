"""Each rule: what it says, how urgent, and what it leaves to another."""

from dataclasses import replace

import pytest

from dashboard.alarms.findings import Bit, Finding, HostNow, Scene, Supply
from dashboard.alarms.rules import find
from dashboard.facility import MAINTENANCE, SENSOR_FAULT, CduNow, DeviceNow, Leak, RackNow
from dashboard.kpis.efficiency import Quality
from dashboard.number import Number, withheld
from dashboard.settings import DashboardSettings, Targets


def rack(name: str, **now: object) -> RackNow:
    usual = RackNow(name, "A", 8_000.0, 10_000.0, 32.0, 42.0, 1.0, 1.0, 0)
    return replace(usual, **now)  # type: ignore[arg-type]


def host(name: str, rack: str, **now: object) -> HostNow:
    return replace(HostNow(name, rack, 8, 8, 0, 0, {}), **now)  # type: ignore[arg-type]


def cdu(**now: object) -> CduNow:
    usual = CduNow("cdu-1", ("A01", "A02"), 32.0, 42.0, 28.0, 37.0, 2.0, 15e3, (0.7,), 1e5, 20_000.0, 2.0, 1.0)
    return replace(usual, **now)  # type: ignore[arg-type]


NONE = withheld("", "site", "", "no data")
HEALTHY = Scene(
    settings=DashboardSettings(targets=Targets(pue=1.3, tokens_per_joule_it=3.4)),
    racks=(rack("A01"), rack("A02")),
    hosts=(host("n1", "A01"), host("n2", "A01"), host("n3", "A02"), host("n4", "A02")),
    cdus=(cdu(),),
    leaks=(),
    devices=(DeviceNow("n1", "A01", True, 1.0), DeviceNow("leaf-1", "N01", True, 1.0)),
    supplies=(),
    bits=(),
    numbers={"pue": NONE, "tokens_per_joule_it": NONE},
    uplinks={"leaf-1": ("n1", "n2")},
)


def found(**change: object) -> list[Finding]:
    return find(replace(HEALTHY, **change))  # type: ignore[arg-type]


def told(**change: object) -> list[tuple[str, int]]:
    return [(finding.title, finding.priority) for finding in found(**change)]


def test_a_healthy_site_says_nothing() -> None:
    assert found() == []


def test_leak() -> None:
    (leak,) = found(leaks=(Leak("cdu-1", "A01", "rack", 1), Leak("tray", "A01", "tray", 2)))
    assert (leak.title, leak.priority, leak.place, leak.impact) == ("Leak in rack A01", 1, "Row A", "16 GPUs")
    assert told(leaks=(Leak("cdu-1", "", "hall", 2),)) == [("Leak in cdu-1", 1)]
    assert found(leaks=(Leak("cdu-1", "", "hall", 2),))[0].racks == ("A01", "A02")


def test_a_broken_leak_sensor_is_no_leak() -> None:
    assert told(leaks=(Leak("cdu-1", "A01", "rack", 3),)) == [("Leak sensor broken in rack A01", 3)]


def test_a_dead_rack_is_one_alarm() -> None:
    dead = {
        "racks": (rack("A01", watts=0.0), rack("A02")),
        "hosts": (host("n1", "A01", live=0), host("n2", "A01", live=0), host("n3", "A02")),
        "devices": (
            DeviceNow("n1", "A01", False, 60.0),
            DeviceNow("shelf", "A01", False, 60.0),
            DeviceNow("x", "", True, 0),
        ),
    }
    assert told(**dead) == [("No power in rack A01", 1)]


def test_a_rack_that_draws_power_but_says_nothing_lost_its_telemetry() -> None:
    silent = (host("n1", "A01", live=0), host("n2", "A01", live=0), host("n3", "A02"))
    assert told(hosts=silent) == [("Telemetry lost in rack A01", 3)]


def test_lost_gpus_by_host() -> None:
    assert told(hosts=(host("n1", "A01", lost=2, live=6), host("n3", "A02"))) == [("2 GPUs lost on n1", 2)]


def test_throttled_rack_but_not_one_board() -> None:
    assert told(hosts=(host("n1", "A01", throttled=1), host("n2", "A01"))) == []
    assert told(hosts=(host("n1", "A01", throttled=4), host("n2", "A01"))) == [
        ("GPUs slowed by heat or power brake in rack A01", 2)
    ]


@pytest.mark.parametrize(
    ("idle", "expected"),
    [
        ({"parked": 2}, [("2 GPUs parked on n1", 3)]),
        ({"stalled": 1}, [("1 GPU stalled on n1", 2)]),
        ({"parked": 8}, [("8 GPUs parked on n1", 3)]),
        ({"unallocated_idle": 8}, []),
    ],
)
def test_idle_gpus_by_host(idle: dict[str, int], expected: list[tuple[str, int]]) -> None:
    assert told(hosts=(host("n1", "A01", idle=idle), host("n2", "A01"), host("n3", "A02"))) == expected


def test_idle_gpus_all_over_a_rack_are_one_alarm() -> None:
    few = (host("n1", "A01", idle={"parked": 1}), host("n2", "A01", idle={"parked": 1}))
    assert told(hosts=few) == [("1 GPU parked on n1", 3), ("1 GPU parked on n2", 3)]
    many = (host("n1", "A01", idle={"parked": 2}), host("n2", "A01", idle={"parked": 2}))
    assert told(hosts=many) == [("4 GPUs parked in rack A01", 3)]


def test_silent_devices() -> None:
    up, down = DeviceNow("x", "", True, 0.0), DeviceNow("leaf-1", "N01", False, 20.0)
    (finding,) = found(devices=(up, down))
    assert (finding.title, finding.priority, finding.impact) == ("No answer from leaf-1", 3, "16 GPUs")
    assert finding.place == "Rack N01"
    several = tuple(DeviceNow(f"d{i}", "N01", False, 20.0) for i in range(3))
    assert told(devices=(up, *several)) == [("3 devices silent in rack N01", 3)]
    assert told(devices=several) == [("No device answers (3)", 2)]


def test_a_place_is_what_holds_a_thing() -> None:
    """Of a rack its row, of what stands in a rack that rack; whatever the rule."""
    leaks = (Leak("A01", "A01", "rack", 2), Leak("rope-7", "A02", "tray", SENSOR_FAULT))
    devices = (DeviceNow("shelf-A02", "A02", True, 1.0, MAINTENANCE), DeviceNow("leaf-1", "", True, 1.0, MAINTENANCE))
    bits = (Bit("cdu-1", "", "door open"), Bit("main", "", "relay open"))
    assert {f.object: f.place for f in found(leaks=leaks, devices=devices, bits=bits)} == {
        "A01": "Row A", "rope-7": "Rack A02", "shelf-A02": "Rack A02", "leaf-1": "Fabric", "cdu-1": "Cooling",
        "main": "Site",
    }  # fmt: skip


def test_coolant_temperatures() -> None:
    assert told(cdus=(cdu(tcs_supply_celsius=46.0),)) == [("Coolant supply 46.0 °C at cdu-1, limit 45 °C", 2)]
    assert told(cdus=(cdu(tcs_supply_celsius=12.0),)) == [("Coolant supply 12.0 °C at cdu-1, lowest 17 °C", 2)]
    assert told(cdus=(cdu(tcs_return_celsius=56.5),)) == [("Coolant return 56.5 °C at cdu-1, limit 55 °C", 2)]


def test_a_pump_that_stands_while_another_runs() -> None:
    assert told(cdus=(cdu(pumps=(0.0, 0.57)),)) == [("Pump 1 of cdu-1 stopped", 2)]
    assert told(cdus=(cdu(pumps=(0.0, 0.0)),)) == []
    assert told(cdus=(cdu(pumps=()),)) == []


def test_flow_is_low_against_what_the_load_needs() -> None:
    # Rack at 80 % load needs 0.5 x 1.0 x 0.8 = 0.4 L/s.
    assert told(racks=(rack("A01", flow_liters_per_second=0.41), rack("A02"))) == []
    assert told(racks=(rack("A01", flow_liters_per_second=0.39), rack("A02"))) == [("Coolant flow low in rack A01", 2)]
    idle = rack("A01", flow_liters_per_second=0.1, watts=500.0)
    assert told(racks=(idle, rack("A02"))) == []


def test_a_cdus_flow_alarm_folds_those_of_its_racks() -> None:
    dry = tuple(rack(name, flow_liters_per_second=0.0) for name in ("A01", "A02"))
    assert told(racks=dry, cdus=(cdu(tcs_flow_liters_per_second=0.0),)) == [("Coolant flow low at cdu-1", 2)]


def test_power_supplies() -> None:
    one = (Supply("shelf-1", "A01", "psu2"),)
    assert told(supplies=one) == [("Power supply psu2 failed in shelf-1", 2)]
    assert told(supplies=(*one, Supply("shelf-1", "A01", "psu3"))) == [("2 power supplies failed in shelf-1", 2)]


def test_alarms_that_a_device_raises_itself() -> None:
    (finding,) = found(bits=(Bit("cdu-1", "", "pump-1-fault"),))
    assert (finding.title, finding.priority, finding.racks) == ("cdu-1 reports pump-1-fault", 3, ("A01", "A02"))
    assert told(bits=(Bit("x", "A01", "a"), Bit("x", "A01", "b"))) == [("x reports 2 alarms", 3)]


def test_targets() -> None:
    number = Number(1.41, "", "facility", 1.0, Quality.OK, 0.0, 60.0, "")
    assert told(numbers={"pue": number, "tokens_per_joule_it": NONE}) == [("PUE 1.41 above its target of 1.30", 3)]
    slow = replace(number, value=2.9)
    assert told(numbers={"pue": NONE, "tokens_per_joule_it": slow}) == [
        ("Tokens per watt 2.90 below the target of 3.40", 3)
    ]
