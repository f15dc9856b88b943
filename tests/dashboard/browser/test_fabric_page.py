"""The fabric page in a real browser: a real server, a real store, a fabric of stated rates that goes on telling."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import Opener, Watched, path_of, query
from fabric_page import CANVAS, CENTRE, PIXEL, ROW, TOKEN, clean, rows, tile
from fabric_site import ERROR
from playwright.sync_api import Page, Route
from services import until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.service("chromium"), pytest.mark.timeout(240)]


def test_tiles_count_what_the_switches_said(opened: Callable[..., Watched], fabric_url: str) -> None:
    fabric = opened()
    page = fabric.page
    assert tile(page, "Switches ok") == "Switches ok, 1, of 2, leaf-2 unreachable, abnormal"
    assert tile(page, "Ports up") == "Ports up, 6, of 8, 1 down · 1 admin down, abnormal"
    assert tile(page, "Abnormal ports") == "Abnormal ports, 3, 2 GPUs behind, 1 high · 2 medium, abnormal"
    assert tile(page, "Highest pause").startswith("Highest pause, 60.0, %, leaf-1 etp5, limit ≤ ")
    # Nobody has to act on a port that is used: no alarm, no frame.
    assert re.match(r"Highest use, 99\.0, %, leaf-1 etp3, limit ≤ 90 %$", tile(page, "Highest use"))
    until(
        lambda: tile(page, "Switch power").startswith("Switch power, 900, W, output"),
        60,
        "the power of the one that tells",
    )
    note = page.locator("[data-widget=fabric_note]").inner_text()
    assert re.fullmatch(r"values up to \d\d:\d\d:\d\d UTC · 1 of 2 switches, 8 of 8 ports seen", note)
    clean(fabric, fabric_url)


def test_picture_shows_states_by_colour_and_mark(opened: Callable[..., Watched], fabric_url: str) -> None:
    fabric = opened()
    page = fabric.page
    orange, ink = ([int(page.evaluate(TOKEN, name)[i : i + 2], 16) for i in (1, 3, 5)] for name in ("p2", "p2i"))
    down, full, half, idle, off = (0, 1), (0, 2), (0, 0), (0, 6), (0, 3)
    assert page.evaluate(PIXEL, [*down, 0.15, 0.5]) == orange
    assert page.evaluate(PIXEL, [*down, 0.48, 0.48]) == ink  # the cross
    assert page.evaluate(PIXEL, [*full, 0.15, 0.5]) == orange
    assert page.evaluate(PIXEL, [*full, 0.48, 0.5]) == ink  # the triangle
    brightness = [sum(page.evaluate(PIXEL, [*cell, 0.5, 0.5])) for cell in (half, idle, off)]
    assert brightness[0] > brightness[1] + 60 > brightness[2] + 60
    said = {
        kind: page.locator(f".ports .legend [data-kind={kind}]").inner_text().split()
        for kind in ("bad", "down", "flagged", "admin_down")
    }
    assert {kind: words[-1] for kind, words in said.items()} == {
        "bad": "1",
        "down": "1",
        "flagged": "2",
        "admin_down": "1",
    }
    assert said["bad"][:3] == ["≥", "98", "%"]
    assert page.locator(".ports .legend [data-kind=stale], .ports .legend [data-kind=unknown]").count() == 0
    clean(fabric, fabric_url)


def test_table_for_screen_readers_says_what_the_picture_shows(opened: Callable[..., Watched]) -> None:
    page = opened().page
    until(lambda: page.locator(".ports-table tr").count() == 3, 30, "the table behind the picture")
    leaf1, leaf2 = page.locator(".ports-table tr").all()[1:]
    cells = leaf1.locator("th, td").all_text_contents()
    assert cells[:4] == ["leaf-1", "N01", "ok", "8"]
    assert cells[-1] == (
        "Ethernet8 down 0 %, Ethernet16 beyond limit 99.0 %, Ethernet32 abnormal by another metric 20.0 %, "
        "Ethernet40 abnormal by another metric 10.0 %"
    )
    assert leaf2.locator("th, td").all_text_contents()[:4] == ["leaf-2", "N01", "unreachable", "0"]


def test_pointer_on_a_port_says_who_it_is(opened: Callable[..., Watched]) -> None:
    page = opened().page
    page.mouse.move(*page.evaluate(CENTRE, [0, 0]))
    until(lambda: page.locator("#tip").is_visible(), 30, "the tooltip")
    said = ["leaf-1 · Ethernet0 (etp1)", "Utilisation 50.0 %", "to node-1 mlx5_0, 2 GPUs"]
    until(lambda: page.locator("#tip div").all_inner_texts() == said, 30, "who it is")
    page.mouse.move(*page.evaluate(CENTRE, [0, 4]))
    until(lambda: "paused 60 % of the time" in page.locator("#tip").inner_text(), 30, "the reason")


def test_metric_is_chosen_by_pointer_and_key_and_stays_in_the_address(
    opened: Callable[..., Watched], fabric_url: str
) -> None:
    fabric = opened()
    page = fabric.page
    assert page.locator("[role=radio]").count() == 9
    page.locator("[data-metric=pause_ratio]").click()
    until(lambda: page.evaluate("TokenWatt.fabric.body.metric") == "pause_ratio", 30, "the metric")
    assert query(page)["metric"] == "pause_ratio"
    assert (
        page.locator("[role=radio][aria-checked=true]").inner_text()
        == page.locator("[data-metric=pause_ratio]").inner_text()
    )
    assert page.locator(".ports .legend [data-kind=bad]").inner_text().split()[-1] == "1"
    assert page.locator(".ports .legend [data-kind=absent]").inner_text().split()[-1] == "5"
    page.locator("[data-metric=pause_ratio]").press("ArrowRight")
    until(lambda: page.evaluate("TokenWatt.fabric.body.metric") == "ecn_ratio", 30, "the next metric")
    page.locator("h1").click()
    page.keyboard.press("Shift+M")
    until(lambda: page.evaluate("TokenWatt.fabric.body.metric") == "pause_ratio", 30, "the one before")
    page.reload()
    until(lambda: page.evaluate("TokenWatt.fabric.body?.metric") == "pause_ratio", 30, "the metric after a reload")
    clean(fabric, fabric_url)


def test_an_unknown_metric_in_the_address_is_dropped(opened: Callable[..., Watched]) -> None:
    page = opened("?metric=nonsense").page
    assert page.evaluate("TokenWatt.fabric.body.metric") == "utilization"
    assert "metric" not in query(page)


def test_worst_ports_come_first_with_their_reason(opened: Callable[..., Watched], fabric_url: str) -> None:
    fabric = opened()
    page = fabric.page
    until(lambda: len(rows(page)) == 8, 30, "the rows")
    assert rows(page)[:3] == ["leaf-1 Ethernet8", "leaf-1 Ethernet32", "leaf-1 Ethernet40"]
    down, paused = (page.evaluate(ROW, f"leaf-1 Ethernet{n}") for n in (8, 32))
    assert (down["priority"], down["neighbor"], down["gpus"], down["reason"]) == (
        "2",
        "node-2 mlx5_0",
        "2",
        "link down",
    )
    assert (down["rx_bits_per_second"], down["pause_ratio"]) == ("0", "—")
    assert (paused["rx_bits_per_second"], paused["tx_bits_per_second"]) == ("80.0", "40.0")
    assert (paused["utilization"], paused["pause_ratio"].split()) == ("20.0", ["60.0", "m"]) or paused[
        "pause_ratio"
    ] == "60.0m"
    assert page.locator(".worst .aside").inner_text() == "3 abnormal ports"
    clean(fabric, fabric_url)


def test_sort_and_filter_stay_while_values_change(opened: Callable[..., Watched]) -> None:
    page = opened().page
    until(lambda: len(rows(page)) == 8, 30, "the rows")
    page.locator(".ag-header-cell[col-id=utilization]").click()
    until(lambda: rows(page)[0] == "leaf-1 Ethernet16", 30, "the busiest first")
    page.evaluate("document.querySelector('.ag-center-cols-container [row-id=\"leaf-1 Ethernet0\"]').mine = true")
    before = page.evaluate("TokenWatt.fabric.body.time")
    until(lambda: page.evaluate("TokenWatt.fabric.body.time") > before, 40, "the next look at the fabric")
    assert rows(page)[:3] == ["leaf-1 Ethernet16", "leaf-1 Ethernet0", "leaf-1 Ethernet32"]
    assert page.evaluate("document.querySelector('.ag-center-cols-container [row-id=\"leaf-1 Ethernet0\"]').mine")
    page.get_by_label("Filter ports").fill("node-")
    until(lambda: sorted(rows(page)) == ["leaf-1 Ethernet0", "leaf-1 Ethernet8"], 30, "two rows")
    page.get_by_label("Abnormal only").check()
    until(lambda: rows(page) == ["leaf-1 Ethernet8"], 30, "one row")
    aside = page.locator(".worst .aside")
    until(lambda: aside.inner_text() == "3 abnormal ports · 1 of 8 shown", 30, "how many are shown")


def test_a_switch_is_as_urgent_here_as_in_its_alarm_and_what_it_does_not_tell_is_a_dash(
    opened: Callable[..., Watched],
) -> None:
    page = opened().page
    states = ["ok", "maintenance", "partial", "agent_missing", "unreachable", "unknown"]
    told = "(states) => states.map((state) => TokenWatt.fabric.switchPriority({state}))"
    assert page.evaluate(told, states) == [0, 0, 4, 3, 3, 3]
    row = page.locator(".switches tbody tr").filter(has_text="leaf-1")
    heads = page.locator(".switches thead th").all_inner_texts()
    cells = dict(zip(heads[1:], row.locator("td").all_inner_texts(), strict=True))
    # The site's switches tell of no fan, no leak and no reset.
    assert [cells[name] for name in ("Fans", "Leak", "Resets")] == ["—"] * 3


def test_switches_say_why_they_are_not_seen(opened: Callable[..., Watched]) -> None:
    page = opened().page
    until(lambda: page.locator(".switches tbody tr").count() == 2, 30, "two switches")
    heads = page.locator(".switches thead th").all_inner_texts()
    first, second = (
        dict(zip(heads, row.locator("th, td").all_inner_texts(), strict=True))
        for row in page.locator(".switches tbody tr").all()
    )
    assert first["Switch"].split() == ["leaf-2", "N01"]
    assert first["State"].split("\n")[-1] == "unreachable"
    assert (first["Last error"], first["Speaks"], first["Timeouts"]) == (ERROR, "snmp", "3")
    assert (second["State"], second["Speaks"], second["Map"], second["CPU, memory"]) == (
        "ok",
        "gnmi",
        "fresh",
        "20 % · —",
    )
    assert second["Version"].split() == ["202411.3", "TW6400"]
    assert page.locator(".switches .aside").inner_text() == "1 of 2 switches not seen in full"


def test_a_switch_under_two_names_is_left_out_once_and_says_so(
    fabric_url: str, watched: Opener, tmp_path: Path
) -> None:
    fabric = watched()

    def double(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        body = answer.json()
        one = next(switch for switch in body["switches"] if switch["name"] == "leaf-1")
        body["switches"].append({**one, "name": "10.0.0.1", "same_as": "leaf-1", "ports": [], "state": "partial"})
        route.fulfill(status=200, headers={"Date": answer.headers["date"]}, body=json.dumps(body))

    page = fabric.page
    page.route(re.compile(r"/api/v1/fabric(\?|$)"), double)
    page.goto(f"{fabric_url}/fabric")
    row = page.locator(".switches tbody tr").filter(has_text="10.0.0.1")
    until(lambda: row.count() == 1, 60, "the other name")
    assert row.locator("td").first.inner_text().split("\n") == ["left out", "counts as leaf-1"]
    assert page.locator(".switches .aside").inner_text() == "1 of 2 switches not seen in full, 1 name left out"
    assert tile(page, "Switches ok") == "Switches ok, 1, of 2, leaf-2 unreachable, abnormal"
    assert page.evaluate(f"{CANVAS}.plan.blocks.length") == 2
    page.screenshot(path=tmp_path / "twin.png", full_page=True)
    assert fabric.errors == []


def aged(page: Page, seconds: float) -> None:
    """Answer with a fabric whose newest data is that old."""

    def age(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        body = answer.json()
        body["data_time"] = body["time"] - seconds
        route.fulfill(status=200, headers={"Date": answer.headers["date"]}, body=json.dumps(body))

    page.route(re.compile(r"/api/v1/fabric(\?|$)"), age)


@pytest.mark.parametrize(("seconds", "state"), [(65, "stale"), (200, "lost")])
def test_dead_collectors_of_switches_do_not_look_live(
    fabric_url: str, watched: Opener, seconds: float, state: str
) -> None:
    """The snapshot is live all the while; only what the switches told is old."""
    fabric = watched()
    aged(fabric.page, seconds)
    fabric.page.goto(f"{fabric_url}/fabric")
    until(lambda: fabric.state() == state, 60, state)
    assert fabric.page.locator("#lost").is_visible() == (state == "lost")
    dimmed = "closest('.card')" if state == "lost" else "closest('canvas')"
    opacity = fabric.page.evaluate(f"getComputedStyle({CANVAS}.{dimmed}).opacity")
    assert float(opacity) < 0.6
    if state == "lost":
        assert re.match(
            r"No data for 2\d\d s\. Values are from \d\d:\d\d:\d\d UTC\.", fabric.page.locator("#lost").inner_text()
        )
    # The other pages look at nothing of it.
    fabric.page.keyboard.press("2")
    until(lambda: path_of(fabric.page) == "/facilities" and fabric.state() == "live", 30, "live elsewhere")


def test_a_page_that_was_left_comes_back_whole(opened: Callable[..., Watched], fabric_url: str) -> None:
    fabric = opened()
    page = fabric.page
    page.keyboard.press("1")
    until(lambda: page.locator(".wall").count() == 1, 30, "the wall")
    page.keyboard.press("4")
    until(lambda: page.evaluate(f"Boolean({CANVAS}?.plan)") and len(rows(page)) == 8, 30, "picture and table again")
    clean(fabric, fabric_url)
