"""The guard against a stale map of ports, keys that are no ports, and counters that began anew."""

from collections.abc import AsyncIterator

import pytest
from gnmi_site import LEAF, Site, every, of, small_profile

from collectors.gnmi.collector import GnmiCollector
from collectors.gnmi.map import MapGuard, read_map
from collectors.gnmi.rows import Ports

FRESH = {"Ethernet0": "oid:0x1000000000002", "Ethernet8": "oid:0x1000000000003"}
PORTS = Ports({"etp1": "Ethernet0", "etp2": "Ethernet8"}, {"Ethernet0": "etp1", "Ethernet8": "etp2"})


@pytest.fixture
async def opened(site: Site) -> AsyncIterator[GnmiCollector]:
    made = site.collector(profile=small_profile())
    yield made
    await made.aclose()


def test_map_has_ports_and_object_ids_only() -> None:
    told = {**FRESH, "Ethernet-BP0": "oid:0xa", "CPU": "oid:0x1", "Ethernet16": "x", "Ethernet\n": "oid:0x2", "E": 5}
    assert read_map(told) == {**FRESH, "Ethernet-BP0": "oid:0xa"}
    assert read_map("Ethernet0") == {}


@pytest.mark.parametrize("keys", [("etp1", "etp2"), ("Ethernet0", "Ethernet8"), ("etp1", "Ethernet8")])
def test_names_and_aliases_are_the_same_ports(keys: tuple[str, ...]) -> None:
    guard = MapGuard()
    guard.look({key: {} for key in keys}, FRESH, PORTS, 0.0)
    assert (guard.lost, guard.gone, guard.stale) == ((), (), False)


def test_difference_is_stale_after_a_minute_and_heals_at_once() -> None:
    guard = MapGuard()
    assert [guard.look({"etp1": {}}, FRESH, PORTS, now) for now in (0.0, 30.0, 60.0, 61.0, 70.0)] == [
        None,
        None,
        None,
        True,
        None,
    ]
    assert guard.oid_paths() == ("COUNTERS/oid:0x1000000000003",)
    assert guard.text().endswith("1 ports lost (Ethernet8 ...): restart the telemetry or gnmi container")
    assert guard.look({"etp1": {}, "etp2": {}}, FRESH, PORTS, 80.0) is False
    assert guard.oid_paths() == ()


def test_difference_that_goes_away_within_the_minute_is_none() -> None:
    guard = MapGuard()
    changes = [guard.look(told, FRESH, PORTS, now) for told, now in (({}, 0.0), ({"etp1": {}, "etp2": {}}, 50.0))]
    assert changes == [None, None]
    assert guard.look({}, FRESH, PORTS, 70.0) is None


def test_port_that_moved_to_another_object_is_lost_until_the_process_restarts() -> None:
    guard = MapGuard()
    told = {"etp1": {}, "etp2": {}}
    guard.look(told, FRESH, PORTS, 0.0)
    moved = {**FRESH, "Ethernet8": "oid:0x1000000000099"}
    guard.look(told, moved, PORTS, 10.0)
    assert guard.lost == ("Ethernet8",)
    guard.restart()
    guard.look(told, moved, PORTS, 20.0)
    assert guard.lost == ()


def test_port_that_left_is_gone_though_it_is_still_told() -> None:
    guard = MapGuard()
    guard.look({"etp1": {}, "etp2": {}}, {"Ethernet0": FRESH["Ethernet0"]}, PORTS, 0.0)
    assert guard.gone == ("Ethernet8",)
    assert [guard.has("Ethernet0"), guard.has("Ethernet8")] == [True, False]


async def test_stale_map_is_told_its_ports_are_read_by_object_and_it_heals(site: Site, opened: GnmiCollector) -> None:
    assert of((await site.poll(opened)).points, "switch").fields["map_state"] == 0
    site.quirks.stale_map = True
    told, states = [], []
    for _ in range(9):
        site.pass_time(10)
        result = await site.poll(opened)
        told += every(result.points, "switch_event", kind="map")
        states.append(of(result.points, "switch").fields["map_state"])
    # the difference is first seen after 10 s and is older than a minute 70 s later
    assert states == [0] * 7 + [1] * 2
    assert [event.fields["severity"] for event in told] == [1]
    assert "restart the telemetry or gnmi container" in str(told[0].fields["text"])
    assert told[0].tags == {"site": "S1", "rack": "N01", "device": "leaf-2", "kind": "map"}
    received = site.factory.state.switches.rx_bytes
    for port, name in enumerate(site.switch.ports):
        fields = of(every(result.points, "interface", interface=name), "interface").fields
        assert fields["rx_bytes_total"] == int(received.at(site.now, (LEAF, port)))
    site.quirks.stale_map = False
    site.pass_time(10)
    result = await site.poll(opened)
    assert of(result.points, "switch").fields["map_state"] == 0
    assert of(result.points, "switch_event", kind="map").fields["severity"] == 0


async def test_counters_that_began_anew_are_one_event_for_the_device(site: Site, opened: GnmiCollector) -> None:
    site.pass_time(10)
    assert (await site.poll(opened)).resets == 0
    site.factory.reboot_switch("leaf-2")
    site.pass_time(10)
    result = await site.poll(opened)
    event = of(result.points, "switch_event", kind="reset")
    assert "interface" not in event.tags
    assert (result.resets, event.fields["text"]) == (1, f"counters of {len(site.switch.ports)} rows began anew")
    site.pass_time(10)
    assert not every((await site.poll(opened)).points, "switch_event")
