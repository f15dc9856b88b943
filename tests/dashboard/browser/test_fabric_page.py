"""The fabric page in a real browser: a real server, a real store, a fabric of stated rates that goes on telling."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import CUT, Opener, Watched, path_of, query
from fabric_site import ERROR
from playwright.sync_api import Page, Route
from services import until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.service("chromium"), pytest.mark.timeout(240)]

CANVAS = "document.querySelector('[data-widget=ports] canvas')"
#: colour at a place within a port's cell, as parts of its width and height
PIXEL = """
([block, port, right, down]) => {
  const canvas = document.querySelector('[data-widget=ports] canvas');
  const box = TokenWatt.portBox(canvas.plan, canvas.plan.blocks[block], port, 0);
  const ratio = window.devicePixelRatio;
  const at = [box.x + box.width * right, box.y + box.height * down].map((v) => Math.round(v * ratio));
  return [...canvas.getContext('2d').getImageData(...at, 1, 1).data].slice(0, 3);
}
"""
CENTRE = """
([block, port]) => {
  const canvas = document.querySelector('[data-widget=ports] canvas');
  const corner = canvas.getBoundingClientRect();
  const box = TokenWatt.portBox(canvas.plan, canvas.plan.blocks[block], port, 0);
  return [corner.left + box.x + box.width / 2, corner.top + box.y + box.height / 2];
}
"""
TOKEN = "(name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()"
#: text of a port's row, by column
ROW = """
(id) => Object.fromEntries([...document.querySelectorAll(`[data-widget] ~ .table-room [row-id="${id}"] [col-id]`)]
  .map((cell) => [cell.getAttribute('col-id'), cell.innerText.trim()]))
"""
ORDER = (
    "[...document.querySelectorAll('.ag-center-cols-container [row-id]')]"
    ".sort((a, b) => a.getAttribute('row-index') - b.getAttribute('row-index'))"
    ".map((row) => row.getAttribute('row-id'))"
)
#: what must not be cut off
WORDS = ".number, .unit, .label span, .under i, h2 span, h2 small, .legend span, .metrics button"


def rows(page: Page) -> list[str]:
    return list(page.evaluate(ORDER))


def tile(page: Page, label: str) -> str:
    return page.locator(f"[data-widget=fabric_tile][aria-label^='{label},']").get_attribute("aria-label") or ""


def clean(made: Watched, fabric_url: str) -> None:
    """Nothing failed, nothing was refused by the policy, nothing was asked of another host."""
    assert made.errors == []
    assert made.hosts == {urlsplit(fabric_url).netloc}


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
    assert page.locator("#tip div").all_inner_texts() == [
        "leaf-1 · Ethernet0 (etp1)", "Utilisation 50.0 %", "to node-1 mlx5_0, 2 GPUs",
    ]  # fmt: skip
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
    assert page.locator(".worst .aside").inner_text() == "3 abnormal ports · 1 of 8 shown"


def test_a_port_opens_by_click_and_closes_by_escape(
    opened: Callable[..., Watched], fabric_url: str, tmp_path: Path
) -> None:
    fabric = opened()
    page = fabric.page
    drawer = page.locator(".drawer")
    assert not drawer.is_visible()
    page.mouse.click(*page.evaluate(CENTRE, [0, 0]))
    until(lambda: drawer.is_visible() and drawer.locator(".gpu").count() == 2, 20, "the port with its GPUs")
    assert (query(page)["switch"], query(page)["port"]) == ("leaf-1", "Ethernet0")
    assert drawer.locator("h2").inner_text().startswith("leaf-1 Ethernet0")
    facts = dict(
        zip(drawer.locator(".top dt").all_inner_texts(), drawer.locator(".top dd").all_inner_texts(), strict=False)
    )
    assert facts["Neighbour"] == "node-1 mlx5_0"
    assert (facts["Speed"], facts["Receives"], facts["Sends"]) == ("400 Gbit/s", "200 Gbit/s", "100 Gbit/s")
    assert facts["Used"] == "50.0 %"
    assert drawer.locator(".gpu b").all_inner_texts() == ["80 %", "80 %"]
    until(lambda: drawer.locator(".js-plotly-plot .main-svg").count() >= 1, 20, "the traffic of the last hour")
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
    until(drawer.is_visible, 20, "the port")
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


def test_colours_of_the_system_leave_what_colour_tells(opened: Callable[..., Watched]) -> None:
    page = opened().page
    page.emulate_media(forced_colors="active")
    looks = "(node) => getComputedStyle(node)"
    chosen = page.locator(".metrics [aria-checked=true]").evaluate(f"(node) => ({looks})(node).outlineStyle")
    swatch = page.locator(".legend .mark-down").first.evaluate(f"(node) => ({looks})(node).forcedColorAdjust")
    assert (chosen, swatch) == ("solid", "none")


def test_an_address_opens_a_port_with_its_lanes(opened: Callable[..., Watched]) -> None:
    page = opened("?switch=leaf-1&port=Ethernet40").page
    drawer = page.locator(".drawer")
    until(lambda: drawer.locator(".margin").count() == 4, 20, "four lanes")
    assert "0.5 dB above its alarm limit" in drawer.locator(".title p").inner_text()
    first, second = (drawer.locator("tbody tr").nth(i).locator("th, td").all_inner_texts() for i in (0, 1))
    assert first[:4] == ["Lane 1", "−6.0 dBm", "0.0 dBm", "8.00 mA"]
    assert first[4].split("\n")[0] == "4.0 dB"
    assert (second[1], second[4].split()[0]) == ("−9.5 dBm", "0.5")
    assert drawer.locator("tbody tr").nth(0).locator(".chip").count() == 0
    assert drawer.locator("tbody tr").nth(1).locator(".chip").count() == 1
    drawer.get_by_label("Close").click()
    assert not drawer.is_visible()


def test_a_port_that_nobody_knows_says_so(opened: Callable[..., Watched]) -> None:
    page = opened("?switch=leaf-1&port=Ethernet999").page
    until(lambda: "Nobody tells of this port." in page.locator(".drawer").inner_text(), 20, "the word")


def test_keys_walk_the_ports_and_open_one(opened: Callable[..., Watched]) -> None:
    page = opened().page
    page.locator("[data-widget=ports]").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#say").inner_text() == "leaf-1 · Ethernet16 (etp3), Utilisation 99.0 %"
    page.keyboard.press("Enter")
    until(lambda: query(page).get("port") == "Ethernet16", 30, "the port in the address")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.widget") == "ports"


def test_the_table_opens_a_port_by_key(opened: Callable[..., Watched]) -> None:
    page = opened().page
    until(lambda: len(rows(page)) == 8, 30, "the rows")
    page.locator('[row-id="leaf-1 Ethernet32"] [col-id=reason]').click()
    until(lambda: query(page).get("port") == "Ethernet32", 30, "the port of the row")
    until(lambda: page.locator(".drawer th", has_text="Priority").count() == 1, 20, "its priorities")
    cells = (
        page.locator(".drawer tr", has=page.locator("th", has_text=re.compile("^3$"))).locator("td").all_inner_texts()
    )
    assert cells[0] == "100 /s"
    assert cells[2].startswith("60.0 %")


def test_switches_say_why_they_are_not_seen(opened: Callable[..., Watched]) -> None:
    page = opened().page
    until(lambda: page.locator(".switches tbody tr").count() == 2, 20, "two switches")
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


def aged(page: Page, seconds: float) -> None:
    """Answer with a fabric whose newest data is that old."""

    def age(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        body = answer.json()
        body["data_time"] = body["time"] - seconds
        route.fulfill(status=200, headers={"Date": answer.headers["date"]}, body=json.dumps(body))

    page.route(re.compile(r"/api/v1/fabric(\?|$)"), age)


@pytest.mark.parametrize(("seconds", "state"), [(90, "stale"), (200, "lost")])
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
    until(lambda: path_of(fabric.page) == "/facilities" and fabric.state() == "live", 20, "live elsewhere")


def test_a_page_that_was_left_comes_back_whole(opened: Callable[..., Watched], fabric_url: str) -> None:
    fabric = opened()
    page = fabric.page
    page.keyboard.press("1")
    until(lambda: page.locator(".wall").count() == 1, 30, "the wall")
    page.keyboard.press("4")
    until(lambda: page.evaluate(f"Boolean({CANVAS}?.plan)") and len(rows(page)) == 8, 30, "picture and table again")
    clean(fabric, fabric_url)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_page_is_whole_on_a_desk(opened: Callable[..., Watched], tmp_path: Path, scheme: str) -> None:
    page = opened(scheme=scheme).page
    until(lambda: len(rows(page)) == 8, 30, "the rows")
    assert page.evaluate("document.documentElement.scrollWidth") == 1920
    assert page.evaluate(CUT, WORDS) == []
    surface = page.evaluate(TOKEN, "surface")
    grid = page.evaluate("getComputedStyle(document.querySelector('.ag-root-wrapper')).backgroundColor")
    assert [int(part) for part in re.findall(r"\d+", grid)][:3] == [int(surface[i : i + 2], 16) for i in (1, 3, 5)]
    page.screenshot(path=tmp_path / f"fabric-{scheme}.png", full_page=True)


def test_page_fits_a_phone(opened: Callable[..., Watched], tmp_path: Path) -> None:
    page = opened("", 390, 844).page
    until(lambda: len(rows(page)) == 8, 30, "the rows")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    plan = page.evaluate(f"({{perLine: {CANVAS}.plan.perLine, full: {CANVAS}.parentElement.dataset.full}})")
    assert plan == {"perLine": 16, "full": "true"}
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    page.evaluate("TokenWatt.fabric.open('leaf-1', 'Ethernet8')")
    until(lambda: page.locator(".drawer").is_visible(), 30, "the drawer")
    assert page.locator(".drawer").bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}


def test_far_wall_is_one_picture(opened: Callable[..., Watched]) -> None:
    page = opened("?far").page
    until(lambda: page.evaluate("document.documentElement.dataset.mode") == "wall", 30, "a wall")
    assert page.locator(".tile:visible").count() == 4
    assert not page.locator(".table-room").is_visible()
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
        1920,
        1080,
    ]
    # 5 m at a 55 inch panel: 6.3 px of a 1920 wide picture per metre is the limit of reading.
    assert page.evaluate(f"{CANVAS}.plan.title") / 1.35 >= 6.3 * 5
    assert page.evaluate(CUT, WORDS) == []


def test_everything_that_can_be_used_has_a_name(opened: Callable[..., Watched]) -> None:
    page = opened("?switch=leaf-1&port=Ethernet0").page
    until(lambda: page.locator(".drawer .gpu").count() == 2, 20, "the drawer")
    nameless = page.evaluate(
        """[...document.querySelectorAll('main button, main input, .drawer button, [tabindex="0"]')]
        .filter((node) => !node.closest('.ag-tokens') && node.offsetParent)
        .filter((node) => !(node.getAttribute('aria-label') || node.textContent.trim() || node.labels?.length))
        .map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    assert page.locator("[role=radio][aria-checked=true]").count() == 1
    label = page.locator(".drawer").get_attribute("aria-labelledby")
    assert page.locator(f"#{label}").inner_text().startswith("leaf-1 Ethernet0")
    small = page.evaluate(
        """[...document.querySelectorAll('main button, .drawer button, .toolbar input[type=search]')]
        .filter((node) => node.offsetParent && !node.closest('.ag-tokens'))
        .filter((node) => node.getBoundingClientRect().height < 36).map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert small == []


@pytest.mark.parametrize(
    ("switches", "ports", "width", "height", "fits"),
    [
        (1, 32, 1836, 376, True),
        (2, 64, 1836, 376, True),
        (8, 64, 1836, 376, True),
        (8, 64, 354, 900, True),
        (40, 128, 1836, 376, False),
        (256, 64, 1836, 376, False),
        (256, 64, 354, 500, False),
    ],
)
def test_ports_plan_fits_any_fabric(
    opened: Callable[..., Watched], switches: int, ports: int, width: int, height: int, fits: bool
) -> None:
    """Every port has a cell of its own, large enough to see; few switches fit, many scroll."""
    page = opened().page
    found: dict[str, Any] = page.evaluate(
        """([switches, ports, width, height]) => {
          const list = Array.from({length: switches}, () => ({ports: Array.from({length: ports})}));
          const plan = TokenWatt.portsPlan(list, {width, height, k: 1, far: false});
          const seen = new Set();
          let outside = 0;
          plan.blocks.forEach((block, i) => {
            for (let port = 0; port < ports; port++) {
              const box = TokenWatt.portBox(plan, block, port, 0);
              const hit = TokenWatt.portAt(plan, box.x + box.width / 2, box.y + box.height / 2);
              seen.add(hit && hit.block === block && hit.port === port ? `${i} ${port}` : null);
              if (box.x < 0 || box.x + box.width > width + 0.01 || box.y + box.height > plan.height + 0.01) outside++;
            }
          });
          const {cell, high, height: full} = plan;
          return {seen: seen.size, missed: seen.has(null), outside, cell, high, height: full};
        }""",
        [switches, ports, width, height],
    )
    assert (found["seen"], found["missed"], found["outside"]) == (switches * ports, False, 0)
    assert min(found["cell"], found["high"]) >= 9
    assert (found["height"] <= height) == fits


def test_a_large_fabric_draws_no_more_than_its_window(fabric_url: str, watched: Opener) -> None:
    """256 switches of 64 ports: the canvas stays as large as its window, and scrolling moves what is on it."""
    fabric = watched()

    def multiply(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        body = answer.json()
        one = next(switch for switch in body["switches"] if switch["ports"])
        ports = [[f"Ethernet{i * 8}", f"etp{i + 1}", i / 64, "ok"] for i in range(64)]
        body["switches"] = [{**one, "name": f"sw-{i + 1}", "ports": ports} for i in range(256)]
        route.fulfill(status=200, headers={"Date": answer.headers["date"]}, body=json.dumps(body))

    page = fabric.page
    page.route(re.compile(r"/api/v1/fabric(\?|$)"), multiply)
    page.goto(f"{fabric_url}/fabric")
    until(lambda: page.evaluate(f"{CANVAS}?.plan?.blocks.length === 256"), 60, "256 switches")
    view = page.evaluate(f"[{CANVAS}.clientHeight, {CANVAS}.parentElement.clientHeight, {CANVAS}.plan.height]")
    assert view[0] == view[1] < view[2] / 4
    page.locator("[data-widget=ports]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    until(
        lambda: page.evaluate(f"{CANVAS}.parentElement.scrollTop") > view[2] - view[1] - 30,
        10,
        "the end of the picture",
    )
    assert page.locator("#say").inner_text().startswith("sw-256 · Ethernet504")
    assert fabric.errors == []
