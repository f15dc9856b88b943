"""The routes of the fabric over a real producer and a real store, with Flask's test client."""

import gzip
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from leaf import Leaf
from plant import Clock, Plant

from dashboard.live import Live
from dashboard.settings import DashboardSettings


@pytest.fixture
def clock(plant: Plant) -> Clock:
    return Clock(plant.now + 5)


@pytest.fixture
def leaf(plant: Plant) -> Leaf:
    return Leaf(plant.store, plant.now)


@pytest.fixture
def live(plant: Plant, leaf: Leaf, clock: Clock) -> Iterator[Live]:
    plant.run()
    plant.settle()
    made = Live(plant.store, DashboardSettings(), clock=clock)
    yield made
    made.close()


def look(live: Live) -> None:
    live.tick()
    live.tick_fabric()


def ask(client: FlaskClient, device: str, interface: str) -> str:
    return f"/api/v1/fabric/port?{urlencode({'device': device, 'interface': interface})}"


def test_before_the_first_look(client: FlaskClient) -> None:
    assert client.get("/api/v1/fabric").status_code == 503
    assert client.get(ask(client, "leaf-1", "Ethernet0")).status_code == 404


def test_the_view_by_metric_compressed_and_conditional(
    client: FlaskClient, live: Live, leaf: Leaf, clock: Clock
) -> None:
    leaf.run()
    look(live)
    plain = client.get("/api/v1/fabric")
    zipped = client.get("/api/v1/fabric?metric=utilization", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(zipped.data) == plain.data
    assert plain.json["metric"] == plain.json["metrics"][0]["name"] == "utilization"
    assert plain.json["switches"][0]["ports"][3] == ["Ethernet24", "etp4", 0.08, "ok"]
    other = client.get("/api/v1/fabric?metric=flaps_per_hour")
    assert other.json["metric"] == "flaps_per_hour"
    assert len({plain.headers["ETag"], zipped.headers["ETag"], other.headers["ETag"]}) == 3
    held = {"If-None-Match": plain.headers["ETag"]}
    assert client.get("/api/v1/fabric", headers=held).status_code == 304
    clock.now += 10
    live.tick_fabric()
    assert client.get("/api/v1/fabric", headers=held).status_code == 200


def test_an_unknown_metric_is_named_with_those_that_there_are(client: FlaskClient, live: Live) -> None:
    look(live)
    answer = client.get("/api/v1/fabric?metric=jitter")
    assert answer.status_code == 400
    assert answer.json["error"].startswith("metric 'jitter' is none of utilization, error_ppm")


def test_a_site_without_switches_has_an_empty_view(client: FlaskClient, live: Live, plant: Plant) -> None:
    plant.settle()
    look(live)
    told = client.get("/api/v1/fabric").json
    # The plant's inventory names leaf-1, of which nobody tells.
    assert [(switch["name"], switch["state"], switch["hosts"]) for switch in told["switches"]] == [
        ("leaf-1", "silent", ["node-1", "node-2", "node-3", "node-10"])
    ]
    assert (told["worst"], told["data_time"], told["summary"]["ports"]) == ([], None, 0)


def test_one_port_in_depth(client: FlaskClient, live: Live, leaf: Leaf) -> None:
    corrected = {"fec_corrected_total": 10.0, "fec_corrected_bits_total": 4250.0}
    leaf.also = lambda number, at: {
        **{name: each * (at + 4000) for name, each in corrected.items()},
        "fec_uncorrected_total": 2.0, "fec_max_symbols": 2.0, "rx_discards_total": 5.0 * (at + 4000),
    }  # fmt: skip
    leaf.run(start=-1800)
    leaf.link("Ethernet0", "node-1", "eth3")
    for lane, watts in (("1", 1e-3), ("2", 0.0)):
        leaf.put("transceiver", {"interface": "Ethernet0", "lane": lane}, {"rx_power_watts": watts}, -20)
    module = {"temperature_celsius": 45.0, "rx_power_low_watts": 1e-4, "model": "Q56", "serial": "X1"}
    leaf.put("transceiver", {"interface": "Ethernet0"}, module, -20)
    for at in range(-120, 1, 10):
        paused = {"rx_frames_total": 12.0 * (at + 200), "rx_pause_seconds_total": 0.25 * (at + 200)}
        leaf.put("pfc", {"interface": "Ethernet0", "priority": "3"}, {**paused, "watchdog_stormed": 0}, at)
        queue = {"packets_total": 1000.0 * (at + 200), "ecn_marked_packets_total": 20.0 * (at + 200)}
        queue |= {"bytes_total": 1e6 * (at + 200), "dropped_packets_total": 0.5 * (at + 200), "watermark_bytes": 9e4}
        leaf.put("queue", {"interface": "Ethernet0", "queue": "3"}, queue, at)
    leaf.put("switch_event", {"interface": "Ethernet0", "kind": "link"}, {"severity": 1, "text": "link down"}, -300)
    leaf.put("switch_event", {"kind": "reset"}, {"severity": 0, "text": "counters began anew"}, -200)
    leaf.put("switch_event", {"interface": "Ethernet8", "kind": "link"}, {"severity": 1, "text": "link down"}, -100)
    leaf.settle()
    look(live)
    answer = client.get(ask(client, "leaf-1", "Ethernet0"))
    told = answer.json
    assert (told["port"]["neighbor"], told["port"]["neighbor_interface"], told["port"]["gpus"]) == ("node-1", "eth3", 2)
    assert told["lanes"] == [
        {
            "lane": "1",
            "rx_power_dbm": 0.0,
            "tx_power_dbm": None,
            "bias_amperes": None,
            "margin_db": 10.0,
            "dark": False,
        },
        {
            "lane": "2",
            "rx_power_dbm": None,
            "tx_power_dbm": None,
            "bias_amperes": None,
            "margin_db": None,
            "dark": True,
        },
    ]
    assert told["module"] == {"model": "Q56", "serial": "X1", "temperature_celsius": 45.0, "voltage_volts": None}
    assert told["priorities"] == [
        {"priority": "3", "rx_frames_per_second": 12.0, "tx_frames_per_second": None, "pause_ratio": 0.25,
         "pause_source": "measured", "stormed": False, "storms": 0}
    ]  # fmt: skip
    assert told["queues"] == [
        {"queue": "3", "bytes_per_second": 1e6, "dropped_per_second": 0.5, "ecn_ratio": 0.02, "watermark_bytes": 9e4}
    ]
    # 4,250 corrected bits per second of 8 x 53.125e9.
    assert told["fec"] == {
        "corrected_per_second": 10.0, "uncorrected_total": 2.0, "pre_ber": 1e-8, "pre_ber_source": "computed",
        "max_symbols": 2.0,
    }  # fmt: skip
    assert [(gpu["gpu"], gpu["host"], gpu["state"], gpu["busy"]) for gpu in told["gpus"]] == [
        (f"GPU-node-1-{number}", "node-1", "busy", 0.8) for number in (0, 1)
    ]
    assert [(event["kind"], event["severity"], event["text"]) for event in told["events"]] == [
        ("reset", 0, "counters began anew"), ("link", 1, "link down"),
    ]  # fmt: skip
    held = {"If-None-Match": answer.headers["ETag"]}
    assert client.get(ask(client, "leaf-1", "Ethernet0"), headers=held).status_code == 304


def test_an_hour_of_one_port(client: FlaskClient, live: Live, leaf: Leaf, plant: Plant) -> None:
    leaf.also = lambda number, at: {"rx_discards_total": 5.0 * (at + 4000)}
    leaf.run(start=-1800)
    for at in range(-1800, 1, 10):
        leaf.put("pfc", {"interface": "Ethernet0", "priority": "3"}, {"rx_pause_seconds_total": 0.25 * (at + 4000)}, at)
    leaf.settle()
    look(live)
    told = client.get(ask(client, "leaf-1", "Ethernet0")).json["series"]
    assert (told["step"], told["start"] % 30, len(told["rx_bits_per_second"])) == (30, 0, 121)
    first = round((plant.now - 1800 - told["start"]) // 30)
    assert told["rx_bits_per_second"][first - 1] is None
    for step in (first + 1, 115):
        named = [told[name][step] for name in ("rx_bits_per_second", "tx_bits_per_second", "pause_ratio")]
        assert [*named, told["discards_per_second"][step]] == [8e9, 4e9, 0.25, 5]


def test_an_hour_of_a_port_that_is_polled_each_thirty_seconds_has_no_holes(
    client: FlaskClient, live: Live, leaf: Leaf, plant: Plant
) -> None:
    leaf.protocol = "snmp"
    leaf.run(start=-1800)
    look(live)
    told = client.get(ask(client, "leaf-1", "Ethernet8")).json["series"]
    assert told["step"] == 60
    first = round((plant.now - 1800 - told["start"]) // 60)
    assert {round(value / 1e6) for value in told["rx_bits_per_second"][first + 1 : 60]} == {16_000}


def test_a_port_that_nobody_tells_of(client: FlaskClient, live: Live, leaf: Leaf) -> None:
    leaf.run()
    look(live)
    answer = client.get(ask(client, "leaf-1", "Ethernet1"))
    assert (answer.status_code, answer.json) == (404, {"error": "nobody tells of a port 'Ethernet1' of 'leaf-1'"})
    assert client.get("/api/v1/fabric/port").status_code == 404


def test_the_snapshot_counts_the_fabric_and_alarms_of_it(
    client: FlaskClient, live: Live, leaf: Leaf, clock: Clock
) -> None:
    leaf.also = lambda number, at: {"oper_up": 0} if number == 1 else {}
    leaf.link("Ethernet8", "node-3")
    leaf.run()
    look(live)
    live.tick()
    clock.now += 12
    live.tick()
    told = client.get("/api/v1/snapshot").json
    assert told["fabric"] == {"switches": 1, "ok": 1, "ports_down": 1, "abnormal": 1}
    assert [(a["title"], a["priority"], a["impact"], a["racks"]) for a in told["alarms"]] == [
        ("Link down on leaf-1 Ethernet8 to node-3", 2, "2 GPUs", ["A02"])
    ]


def test_when_the_store_fails_the_last_view_stays(client: FlaskClient, live: Live, leaf: Leaf, clock: Clock) -> None:
    leaf.run()
    look(live)
    before = client.get("/api/v1/fabric").data
    leaf.store.close()
    clock.now += 10
    live.tick_fabric()
    assert client.get("/api/v1/fabric").data == before
    answer = client.get(ask(client, "leaf-1", "Ethernet0"))
    assert answer.status_code == 503
    assert "closed" in answer.json["error"]
