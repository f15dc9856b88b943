"""Totals over one window: exact growth of stated counters through resets, hand-overs, doubled sources, late ends."""

import time
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from plant import Plant

from dashboard import api, totals
from dashboard.live import Live
from dashboard.settings import DashboardSettings
from dashboard.totals import TooEarlyError, Totals
from storage.duckdb import DuckDBStore

ENGINE = {"endpoint": "e1", "server": "vllm", "model": "org/M-1", "engine": "0"}


@pytest.fixture
def site(store: DuckDBStore) -> Plant:
    """An empty site whose now is a whole second."""
    return Plant(store, float(int(time.time())))


def ask(site: Plant, start: float, end: float, after: float = 1.0, prefer: str = "counter") -> Totals:
    site.settle()
    now = site.now
    return totals.totals(site.store, now + start, now + end, now + after, real=False, prefer=prefer)  # type: ignore[arg-type]


def engine(site: Plant, at: float, tokens: float, **tags: str) -> None:
    site.put("inference", {**ENGINE, **tags}, {"output_tokens_total": tokens}, at)


def board(site: Plant, at: float, joules: float | None, watts: float | None = None, exporter: str = "nvml") -> None:
    fields = {"energy_joules_total": joules, "power_watts": watts, "power_limit_watts": 700.0}
    known = {name: value for name, value in fields.items() if value is not None}
    site.put("gpu", {"gpu": "GPU-1", "host": "n1", "exporter": exporter}, known, at)


def every(start: int, end: int, step: int = 5) -> range:
    return range(start, end + 1, step)


def test_growth_over_exactly_the_window(site: Plant) -> None:
    site.run(start=-120.0)
    found = ask(site, -62.5, -3.0)
    # 59.5 s x 4 engines x 1,000 and 3,000 tokens/s, x 8 boards x 500 W; the edges fall between samples
    assert (found.output_tokens, found.input_tokens) == (pytest.approx(238_000), pytest.approx(714_000))
    assert found.gpu_board_joules == pytest.approx(238_000)
    assert (found.resets, found.series) == (0, {"inference": 4, "gpu": 8})


def test_a_reset_counts_the_new_value(site: Plant) -> None:
    for at in every(-60, -30):
        engine(site, at, 50_000 + 100 * (at + 60))
    for at in every(-25, 0):
        engine(site, at, 100 * (at + 28))  # began again 28 s before now
    found = ask(site, -60, 0)
    # 30 s x 100 before, 28 s x 100 after: the 2 s in between were told to nobody
    assert (found.output_tokens, found.resets) == (pytest.approx(5_800), 1)


def test_a_vanished_series_counts_up_to_its_last_sample_and_a_new_one_from_its_first(site: Plant) -> None:
    for at in every(-100, -40):
        engine(site, at, 1e6 + 10 * at)
    for at in every(-30, 0):
        engine(site, at, 5e6 + 20 * at, endpoint="e2")
    # 50 s x 10 and 30 s x 20; neither the million that vanished nor the five millions that appeared count
    assert ask(site, -90, 0).output_tokens == pytest.approx(1_100)


def test_a_gateway_fills_in_for_its_engines_and_never_adds_to_them(site: Plant) -> None:
    gateway = {"endpoint": "gw", "server": "litellm", "level": "gateway", "model": "m-1", "engine": ""}
    for at in every(-100, 0):
        engine(site, at, 1e4 + 12 * at, **gateway, tenant="a")
        engine(site, at, 2e4 + 8 * at, **gateway, tenant="b")
    for at in every(-60, -30):
        engine(site, at, 1e6 + 50 * at)
    # engines speak for 30 s x 50; the gateway's tenants for the 30 s before and the 30 s after, 20 tokens/s together
    assert ask(site, -90, 0).output_tokens == pytest.approx(1_500 + 30 * 20 + 30 * 20)


def test_reports_read_the_final_clock(site: Plant) -> None:
    for at in every(-60, 0):
        fields = {"output_tokens_total": 1e4 + 10 * at, "live_output_tokens_total": 1e4 + 99 * at}
        site.put("inference", ENGINE, fields, at)
    assert ask(site, -50, 0).output_tokens == pytest.approx(500)


def test_two_sources_of_one_board_are_one_board(site: Plant) -> None:
    for at in every(-100, 0):
        board(site, at, 9e5 + 400 * at, 400.0, "dcgm")
    for at in every(-100, -40):
        board(site, at, 1e6 + 500 * at, 500.0)
    found = ask(site, -90, 0)
    # NVML fell silent 40 s ago: the other source is taken for the whole window, the two are never mixed
    assert (found.gpu_board_joules, found.series["gpu"]) == (pytest.approx(36_000), 1)


def test_what_a_source_told_before_another_took_over_counts(site: Plant) -> None:
    for at in every(-400, -200):
        board(site, at, 1e6 + 500 * at, 500.0)
    for at in every(-170, 0):
        board(site, at, 1e6 + 500 * at, 500.0, "dcgm")
    found = ask(site, -390, -2)
    # NVML tells of 190 s, dcgm-exporter of 168 s; what went on in the 30 s between them nobody told
    assert (found.gpu_board_joules, found.resets, found.series["gpu"]) == (pytest.approx(358 * 500), 0, 1)


@pytest.mark.parametrize(("begins", "seen"), [(-1470, 1_950), (-2000, 1_980)])
def test_no_time_is_told_twice_when_a_source_comes_back(site: Plant, begins: int, seen: int) -> None:
    """The counter of the one that comes back spans the whole of its absence, which the other told."""
    for at in every(-2000, -1500):
        board(site, at, 1e7 + 500 * at, 500.0)
    for at in every(begins, -700 if begins > -2000 else 0):
        board(site, at, 1e7 + 500 * at, 500.0, "dcgm")
    for at in every(-695, 0):
        board(site, at, 1e7 + 500 * at, 500.0)
    assert ask(site, -1990, -10).gpu_board_joules == pytest.approx(seen * 500)


def test_power_stands_in_where_the_counter_is_missing(site: Plant) -> None:
    for at in every(-100, -50):
        board(site, at, 1e6 + 500 * at, 500.0)
    for at in every(-45, 0):
        board(site, at, None, 300.0)
    # counter: 40 s x 500; power: the step from 500 to 300 W takes 5 s (400 W), then 45 s x 300
    assert ask(site, -90, 0).gpu_board_joules == pytest.approx(20_000 + 2_000 + 13_500)


def test_a_counter_that_is_refreshed_every_thirty_seconds_is_exact_between_its_changes(site: Plant) -> None:
    for at in every(-300, 0):
        refreshed = at // 30 * 30
        board(site, at, 1e6 + 400 * refreshed, 9_99.0 if at % 30 else 400.0)  # power between refreshes is wrong
    assert ask(site, -200, -60).gpu_board_joules == pytest.approx(140 * 400)


def test_a_counter_that_moves_at_every_second_poll_is_exact_between_its_changes(site: Plant) -> None:
    for at in every(-300, 0):
        board(site, at, 1e6 + 400 * (at // 10 * 10), 400.0)
    assert ask(site, -200, -63).gpu_board_joules == pytest.approx(137 * 400)


def test_parts_of_a_long_window_meet(site: Plant) -> None:
    step = 20
    for at in every(-4000, 0, step):
        if not -1900 <= at <= -1200:  # silent over the edges of parts: the counter went on (E3)
            board(site, at, 1e7 + 250 * at, 250.0)
    assert ask(site, -3990, -10).gpu_board_joules == pytest.approx(3_980 * 250)


def test_an_end_that_not_all_have_told_of_is_too_early(site: Plant) -> None:
    for at in every(-60, 0):
        engine(site, at, 100.0 * (at + 60))
        if at <= -5:
            board(site, at, 1e6 + 500 * at, 500.0)
    with pytest.raises(TooEarlyError) as early:
        ask(site, -50, -2)
    assert early.value.data_time == site.now - 5
    # 16 s without a word and the board is no longer waited for: 40 s x 500 W are what it told
    assert ask(site, -45, -2, after=11.0).gpu_board_joules == pytest.approx(20_000)


def test_the_trapezoid_where_the_settings_prefer_it(site: Plant) -> None:
    for at in every(-100, 0):
        board(site, at, 1e6 + 500 * at, 450.0)
    assert ask(site, -90, 0).gpu_board_joules == pytest.approx(45_000)
    assert ask(site, -90, 0, prefer="trapezoid").gpu_board_joules == pytest.approx(40_500)


@pytest.fixture
def client(plant: Plant) -> Iterator[FlaskClient]:
    plant.run()
    plant.settle()
    live = Live(plant.store, DashboardSettings(), clock=lambda: plant.now + 1)
    server = Flask("test")
    api.register(server, live)
    yield server.test_client()
    live.close()


def test_the_route(client: FlaskClient, plant: Plant) -> None:
    told = client.get("/api/v1/totals", query_string={"start": plant.now - 60, "end": plant.now})
    assert told.status_code == 200
    assert told.json == {
        "start": plant.now - 60, "end": plant.now, "output_tokens": pytest.approx(240_000),
        "input_tokens": pytest.approx(720_000), "gpu_board_joules": pytest.approx(240_000), "resets": 0,
        "series": {"inference": 4, "gpu": 8},
    }  # fmt: skip


@pytest.mark.parametrize(
    "query",
    ["", "start=1", "start=a&end=b", "start=nan&end=2", "start=5&end=4", "start=1&end=inf", "start=1&end=7300"],
)
def test_what_is_no_window_is_refused(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/api/v1/totals?{query}")
    assert answer.status_code == 400
    assert "start" in answer.json["error"]


def test_an_end_ahead_of_the_data_is_a_conflict(client: FlaskClient, plant: Plant) -> None:
    answer = client.get("/api/v1/totals", query_string={"start": plant.now - 60, "end": plant.now + 1})
    assert answer.status_code == 409
    assert answer.json["data_time"] == plant.now
    assert "ask again later" in answer.json["error"]


def test_a_store_that_does_not_answer_is_said_so(client: FlaskClient, plant: Plant) -> None:
    plant.store.close()
    answer = client.get("/api/v1/totals", query_string={"start": plant.now - 60, "end": plant.now})
    assert answer.status_code == 503
    assert "closed" in answer.json["error"]
