"""One port of the fabric in a real browser: its drawer, how it opens and closes, what stands in it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import Watched, query
from fabric_page import CENTRE, clean, rows
from services import until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.service("chromium"), pytest.mark.timeout(240)]


def test_a_port_opens_by_click_and_closes_by_escape(
    opened: Callable[..., Watched], fabric_url: str, tmp_path: Path
) -> None:
    fabric = opened()
    page = fabric.page
    drawer = page.locator(".drawer")
    assert not drawer.is_visible()
    page.mouse.click(*page.evaluate(CENTRE, [0, 0]))
    until(lambda: drawer.is_visible() and drawer.locator(".gpu").count() == 2, 30, "the port with its GPUs")
    assert (query(page)["switch"], query(page)["port"]) == ("leaf-1", "Ethernet0")
    assert drawer.locator("h2").inner_text().startswith("leaf-1 Ethernet0")
    facts = dict(
        zip(drawer.locator(".top dt").all_inner_texts(), drawer.locator(".top dd").all_inner_texts(), strict=False)
    )
    assert facts["Neighbour"] == "node-1 mlx5_0"
    assert (facts["Speed"], facts["Receives"], facts["Sends"]) == ("400 Gbit/s", "200 Gbit/s", "100 Gbit/s")
    assert facts["Used"] == "50.0 %"
    assert drawer.locator(".gpu b").all_inner_texts() == ["80 %", "80 %"]
    until(lambda: drawer.locator(".js-plotly-plot .main-svg").count() >= 1, 30, "the traffic of the last hour")
    assert page.evaluate("document.activeElement.id") == "port-title"
    page.screenshot(path=tmp_path / "port.png")
    page.keyboard.press("Escape")
    until(lambda: not drawer.is_visible(), 30, "the drawer to close")
    assert "port" not in query(page)
    clean(fabric, fabric_url)


def test_the_way_back_closes_a_port_and_leaves_the_page_as_it_is(
    opened: Callable[..., Watched], fabric_url: str
) -> None:
    fabric = opened()
    page = fabric.page
    drawer = page.locator(".drawer")
    page.evaluate("document.querySelector('main').dataset.mine = 'kept'")
    page.mouse.click(*page.evaluate(CENTRE, [0, 0]))
    until(drawer.is_visible, 30, "the port")
    page.evaluate("TokenWatt.fabric.open('leaf-1', 'Ethernet16')")  # one step back closes, however many were looked at
    page.go_back()
    until(lambda: not drawer.is_visible(), 30, "the drawer to close")
    assert "port" not in query(page)
    page.go_forward()
    until(lambda: drawer.is_visible() and query(page)["port"] == "Ethernet16", 30, "the last port again")
    page.keyboard.press("Escape")
    until(lambda: not drawer.is_visible(), 30, "the drawer to close")
    # Dash did not make the page anew.
    assert page.evaluate("document.querySelector('main').dataset.mine") == "kept"
    clean(fabric, fabric_url)


def test_a_chart_of_what_stands_at_zero_has_the_unit_of_its_largest_value(opened: Callable[..., Watched]) -> None:
    page = opened().page
    unit = page.evaluate("""() => {
      const room = document.createElement('div'), small = document.createElement('small');
      Object.assign(room.style, {width: '400px', height: '200px'});
      document.querySelector('main').append(room);
      const series = {rx: [1e9, 2e9, 0]};
      const live = {history: {time: 'x', start: 1.76e9, step: 30, series}, snapshot: TokenWatt.live.snapshot};
      TokenWatt.drawChart(room, {form: 'bits', from_zero: true, lines: [{series: 'rx', name: 'rx'}]}, live, small);
      return small.textContent;
    }""")
    assert unit.startswith("Gbit/s,")


def test_an_address_opens_a_port_with_its_lanes(opened: Callable[..., Watched]) -> None:
    page = opened("?switch=leaf-1&port=Ethernet40").page
    drawer = page.locator(".drawer")
    until(lambda: drawer.locator(".margin").count() == 4, 30, "four lanes")
    assert "0.5 dB above its alarm limit" in drawer.locator(".title p").inner_text()
    first, second = (drawer.locator("tbody tr").nth(i).locator("th, td").all_inner_texts() for i in (0, 1))
    assert first[:4] == ["Lane 1", "−6.0 dBm", "0.0 dBm", "8.00 mA"]
    assert first[4].split("\n")[0] == "4.0 dB"
    assert (second[1], second[4].split()[0]) == ("−9.5 dBm", "0.5")
    assert drawer.locator("tbody tr").nth(0).locator(".chip").count() == 0
    assert drawer.locator("tbody tr").nth(1).locator(".chip").count() == 1
    drawer.get_by_label("Close").click()
    until(lambda: not drawer.is_visible(), 30, "the drawer to close")


def test_a_port_that_nobody_knows_says_so(opened: Callable[..., Watched]) -> None:
    page = opened("?switch=leaf-1&port=Ethernet999").page
    until(lambda: "Nobody tells of this port." in page.locator(".drawer").inner_text(), 30, "the word")


def test_keys_walk_the_ports_and_open_one(opened: Callable[..., Watched]) -> None:
    page = opened().page
    page.locator("[data-widget=ports]").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#say").inner_text() == "leaf-1 · Ethernet16 (etp3), Utilisation 99.0 %"
    page.keyboard.press("Enter")
    until(lambda: query(page).get("port") == "Ethernet16", 30, "the port in the address")
    page.keyboard.press("Escape")
    until(lambda: page.evaluate("document.activeElement.dataset.widget") == "ports", 30, "the picture to have the keys")


def test_the_table_opens_a_port_by_key(opened: Callable[..., Watched]) -> None:
    page = opened().page
    until(lambda: len(rows(page)) == 8, 30, "the rows")
    page.locator('[row-id="leaf-1 Ethernet32"] [col-id=reason]').click()
    until(lambda: query(page).get("port") == "Ethernet32", 30, "the port of the row")
    until(lambda: page.locator(".drawer th", has_text="Priority").count() == 1, 30, "its priorities")
    cells = (
        page.locator(".drawer tr", has=page.locator("th", has_text=re.compile("^3$"))).locator("td").all_inner_texts()
    )
    assert cells[0] == "100 /s"
    assert cells[2].startswith("60.0 %")
