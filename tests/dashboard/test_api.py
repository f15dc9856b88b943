"""The live routes over a real producer and a real store, with Flask's test client."""

import gzip
import time
from collections.abc import Iterator

import orjson
import pytest
from flask.testing import FlaskClient
from plant import Clock, Plant
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dashboard.live import Live
from dashboard.settings import DashboardSettings


@pytest.fixture
def clock(plant: Plant) -> Clock:
    return Clock(plant.now + 1)


@pytest.fixture
def live(plant: Plant, clock: Clock) -> Iterator[Live]:
    plant.run(start=-600.0)
    plant.settle()
    made = Live(plant.store, DashboardSettings(), lambda: {"points_written_total": 7.0, "queue_points": 0.0}, clock)
    yield made
    made.close()


def test_before_the_first_snapshot(client: FlaskClient) -> None:
    assert client.get("/api/v1/snapshot").status_code == 503
    assert client.get("/api/v1/history").status_code == 503
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.text) == (503, "no snapshot yet\n")


def test_snapshot_plain_and_compressed(client: FlaskClient, live: Live) -> None:
    live.tick()
    plain = client.get("/api/v1/snapshot")
    zipped = client.get("/api/v1/snapshot", headers={"Accept-Encoding": "gzip"})
    refused = client.get("/api/v1/snapshot", headers={"Accept-Encoding": "gzip;q=0"})
    assert plain.json["numbers"]["it_watts"]["value"] == pytest.approx(6400)
    assert "Content-Encoding" not in plain.headers
    assert "Content-Encoding" not in refused.headers
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.data) == plain.data
    for answer in (plain, zipped):
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.mimetype == "application/json"
    assert plain.headers["ETag"] != zipped.headers["ETag"]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_who_has_it_gets_304_until_the_next_tick(client: FlaskClient, live: Live, clock: Clock, encoding: str) -> None:
    live.tick()
    accept = {"Accept-Encoding": encoding}
    etag = client.get("/api/v1/snapshot", headers=accept).headers["ETag"]
    again = client.get("/api/v1/snapshot", headers={**accept, "If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")
    clock.now += 2
    live.tick()
    assert client.get("/api/v1/snapshot", headers={**accept, "If-None-Match": etag}).status_code == 200


def test_history_of_ten_minutes(client: FlaskClient, live: Live, plant: Plant) -> None:
    live.tick()
    live.tick_history()
    told = client.get("/api/v1/history").json
    assert (told["step"], {len(values) for values in told["series"].values()}) == (20, {180})
    assert told["start"] % 20 == 0
    last = {name: values[-1] for name, values in told["series"].items()}
    assert last == pytest.approx({
        "tokens_per_joule_it": 4000 / 6400, "it_watts": 6400, "facility_watts": 8000, "output_tokens_per_second": 4000,
        "gpus_idle": None, "pue": 1.25, "coolant_supply_celsius": 32, "coolant_return_celsius": 42,
    })  # fmt: skip
    first = round((plant.now - 600 - told["start"]) / 20)
    assert told["series"]["it_watts"][first - 2] is None
    assert told["series"]["it_watts"][first + 2] == pytest.approx(6400)


def test_history_grows_by_what_is_new(client: FlaskClient, live: Live, plant: Plant, clock: Clock) -> None:
    live.tick()
    live.tick_history()
    before = client.get("/api/v1/history").json
    plant.facility_watts = 9600.0
    plant.run(start=5.0, end=60.0)
    plant.settle()
    clock.now += 60
    live.tick()
    live.tick_history()
    after = client.get("/api/v1/history").json
    assert after["start"] == before["start"] + 60
    assert after["series"]["facility_watts"][:-8] == before["series"]["facility_watts"][3:-5]
    assert after["series"]["facility_watts"][-1] > before["series"]["facility_watts"][-1]


def test_e18_points_that_come_minutes_late_change_the_steps_that_they_belong_to(
    client: FlaskClient, live: Live, plant: Plant, clock: Clock
) -> None:
    live.tick()
    live.tick_history()
    before = client.get("/api/v1/history").json
    building = {"circuit": "total", "side": "input", "scope": "facility", "device": "main", "kind": "meter"}
    for at in range(-400, -300, 5):
        plant.put("power", building, {"active_watts": 12_000.0}, at)
    plant.settle()
    clock.now += 20
    live.tick_history()
    after = client.get("/api/v1/history").json
    step = int((plant.now - 340 - after["start"]) // 20)
    assert before["series"]["facility_watts"][step + 1] == pytest.approx(8000)
    assert after["series"]["facility_watts"][step] == pytest.approx(12_000)


def test_when_the_store_fails_the_last_snapshot_stays_and_readyz_says_why(
    client: FlaskClient, live: Live, plant: Plant, clock: Clock
) -> None:
    live.tick()
    first = client.get("/api/v1/snapshot").data
    assert client.get("/readyz").status_code == 200
    plant.store.close()
    clock.now += 2
    live.tick()
    live.tick_history()
    assert client.get("/api/v1/snapshot").data == first
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "closed" in ready.text


def test_an_old_snapshot_is_not_ready(client: FlaskClient, live: Live, clock: Clock) -> None:
    live.tick()
    clock.now += 11
    ready = client.get("/readyz")
    assert (ready.status_code, ready.text) == (503, "the newest snapshot is 11.0 s old\n")


def test_metrics_are_openmetrics(client: FlaskClient, live: Live, clock: Clock) -> None:
    live.tick()
    client.get("/api/v1/snapshot")
    clock.now += 3
    answer = client.get("/metrics")
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    told = {s.name: s.value for family in text_string_to_metric_families(answer.text) for s in family.samples}
    assert told["tokenwatt_dashboard_gpus"] == 8
    assert told["tokenwatt_dashboard_snapshot_age_seconds"] == pytest.approx(3)
    assert told["tokenwatt_dashboard_snapshots_total"] == 1
    assert told["tokenwatt_collector_points_written_total"] == 7
    assert told["tokenwatt_http_requests_total"] == 1


def test_the_threads_produce_and_end(plant: Plant) -> None:
    plant.run()
    plant.settle()
    live = Live(plant.store, DashboardSettings(tick="200ms"))  # type: ignore[arg-type]
    live.start()
    deadline = time.monotonic() + 60
    while (live.history is None or live.snapshot is None or live.snapshot.seq < 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    live.close()
    assert live.snapshot is not None
    assert live.snapshot.seq >= 3
    assert live.history is not None
    seq = live.snapshot.seq
    live.close()
    assert live.snapshot.seq == seq


def test_the_site_is_looked_at_again(plant: Plant, live: Live, clock: Clock) -> None:
    live.tick()
    plant.hosts["node-11"] = "A02"
    plant.inventory()
    plant.settle()
    clock.now += 31
    live.tick()
    assert live.snapshot is not None
    assert orjson.loads(live.snapshot.body)["site"]["gpus"] == 10
