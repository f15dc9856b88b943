"""The dashboard in a real browser, on a real demo factory."""

import json
import re
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browsing import CUT, Demo, Opener, path_of
from playwright.sync_api import Route
from services import until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.service("chromium"), pytest.mark.timeout(240)]

PATHS = ["/", "/facilities", "/efficiency", "/fabric"]

#: what must not be cut off
WORDS = (
    ".number, .unit, .label span, .label small, .under i, .under b, h2 span, h2 small, .aside, .legend span, "
    ".site, .clock, .simulated, .impact"
)
DRAWN = """
(() => {
  const canvas = document.querySelector('[data-widget=floor] canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4 * 101) if (data[i + 3]) colours.add(data.slice(i, i + 3).join());
  return colours.size;
})()
"""


def test_wall_is_alive_on_one_screen(demo: Demo, watched: Opener, tmp_path: Path) -> None:
    wall = watched()
    wall.open(demo.url)
    page = wall.page
    before = wall.numbers()
    until(lambda: wall.numbers() != before, 40, "a number on the wall to change")
    until(lambda: page.locator(".js-plotly-plot .main-svg").count() >= 3, 60, "three charts")
    size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size == [1920, 1080]
    assert page.evaluate(CUT, WORDS) == []
    assert page.evaluate(DRAWN) > 1
    assert page.locator(".simulated").is_visible()
    assert page.locator(".modebar").count() == 0
    page.screenshot(path=tmp_path / "wall-dark.png")
    assert wall.errors == []
    assert wall.hosts == {urlsplit(demo.url).netloc}


def test_floor_says_in_text_what_it_draws(demo: Demo, watched: Opener) -> None:
    wall = watched()
    wall.open(demo.url)
    page = wall.page
    cells = page.locator("[data-widget=floor] table tr td:nth-of-type(1)").all_inner_texts()
    assert sum(int(cell) for cell in cells) == 64
    box = page.locator("[data-widget=floor] canvas").bounding_box()
    assert box is not None
    rack = page.evaluate(
        "(({x, y, name}) => [x, y, name])(document.querySelector('[data-widget=floor] canvas').plan.racks[0])"
    )
    page.mouse.move(box["x"] + rack[0] + 5, box["y"] + rack[1] + 5)
    until(lambda: page.locator("#tip").is_visible(), 30, "the tooltip")
    assert re.match(rf"{rack[2]} · GPU 0 · ", page.locator("#tip").inner_text())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_page_is_whole_on_a_desk(demo: Demo, watched: Opener, tmp_path: Path, path: str, scheme: str) -> None:
    desk = watched(scheme=scheme)
    desk.open(demo.url + path)
    page = desk.page
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    until(
        lambda: page.evaluate("[...document.querySelectorAll('[data-widget]')].every((n) => n.childNodes.length)"), 30
    )
    assert page.evaluate("document.documentElement.scrollWidth") == 1920
    assert page.evaluate(CUT, WORDS) == []
    assert page.locator(".simulated").is_visible()
    page.screenshot(path=tmp_path / f"{path.strip('/') or 'wall'}-{scheme}.png")
    assert desk.errors == []


@pytest.mark.parametrize("path", PATHS)
def test_page_fits_a_phone(demo: Demo, watched: Opener, tmp_path: Path, path: str) -> None:
    phone = watched(390, 844)
    phone.open(demo.url + path)
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
    assert phone.page.locator(".simulated").is_visible()
    phone.page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert phone.errors == []


def test_keys_change_page_and_theme(demo: Demo, watched: Opener) -> None:
    desk = watched()
    desk.open(demo.url)
    page = desk.page
    for key, expected in (("2", "/facilities"), ("3", "/efficiency"), ("4", "/fabric"), ("1", "/")):
        page.keyboard.press(key)
        until(lambda expected=expected: path_of(page) == expected, 30, f"key {key}")  # type: ignore[misc]
        until(lambda: any(text != "—" for text in desk.numbers()), 30, "numbers without waiting for a request")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.goto(f"{demo.url}/?theme=dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert desk.errors == []


def test_far_wall_shows_less_and_larger(demo: Demo, watched: Opener) -> None:
    wall = watched()
    wall.open(f"{demo.url}/?far")
    assert wall.page.locator(".tile:visible").count() == 4
    assert wall.page.evaluate("document.documentElement.scrollHeight") == 1080
    sizes = wall.page.evaluate(
        "[...document.querySelectorAll('.number')].map((n) => parseFloat(getComputedStyle(n).fontSize))"
    )
    assert max(sizes) == 96
    assert wall.page.evaluate(CUT, WORDS) == []


def test_panel_of_another_site_says_so(demo: Demo, watched: Opener) -> None:
    wall = watched()
    wall.open(f"{demo.url}/?site=SOMEWHERE")
    assert wall.page.locator(".wrong-site").inner_text() == "This panel is set to SOMEWHERE"


def test_dead_collectors_do_not_look_live(demo: Demo, watched: Opener) -> None:
    """The server answers each tick; only the data in its answers is old."""
    wall = watched()

    def age(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        body = answer.json()
        body["data_time"] = body["time"] - 25  # stale from 20 s on, lost from 60 s on
        route.fulfill(status=200, headers={"Date": answer.headers["date"]}, body=json.dumps(body))

    wall.page.route("**/api/v1/snapshot", age)
    wall.page.goto(demo.url)
    until(lambda: wall.state() == "stale", 30, "stale")
    said = re.fullmatch(r"Stale (\d+) s", wall.page.locator(".freshness .word").inner_text())
    assert said is not None
    assert int(said.group(1)) >= 25


def test_wrong_clock_of_the_panel_does_not_matter(demo: Demo, watched: Opener) -> None:
    wall = watched()
    wall.page.clock.install(time="2020-01-01T00:00:00Z")
    wall.open(demo.url)
    shown = wall.page.locator(".clock b").inner_text()
    seconds = sum(int(part) * size for part, size in zip(shown.split(":"), (3600, 60, 1), strict=True))
    # Six years off is what must not be; a page that is not let run stands still for some seconds.
    assert abs((time.time() - seconds + 43200) % 86400 - 43200) < 60
    assert wall.errors == []


def test_silent_server_turns_stale_then_lost_then_live(demo: Demo, watched: Opener, tmp_path: Path) -> None:
    wall = watched()
    wall.page.clock.install()
    wall.open(demo.url)
    page = wall.page
    demo.process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: wall.state() == "stale", 30, "stale")
        assert re.fullmatch(r"Stale \d+ s", page.locator(".freshness .word").inner_text())
        page.screenshot(path=tmp_path / "wall-stale.png")
        page.clock.fast_forward(60_000)
        until(lambda: wall.state() == "lost", 30, "lost")
        said = page.locator("#lost").inner_text()
        assert re.fullmatch(r"No data for \d+ s\. Values are from \d\d:\d\d:\d\d UTC\. Simulated data\.", said)
        assert page.evaluate("getComputedStyle(document.querySelector('.card')).opacity") == "0.42"
        page.screenshot(path=tmp_path / "wall-lost.png")
    finally:
        demo.process.send_signal(signal.SIGCONT)
    # The panel's clock ran ahead by a minute: the server's next answers set it right.
    until(lambda: wall.state() == "live", 60, "live again")
    assert not page.locator("#lost").is_visible()


@pytest.mark.parametrize(
    ("gpus", "rack", "row"), [(8, 8, 1), (16, 8, 2), (64, 16, 4), (512, 32, 8), (2048, 72, 40), (10_240, 72, 15)]
)
def test_floor_plan_fits_any_site(demo: Demo, watched: Opener, gpus: int, rack: int, row: int) -> None:
    """Every GPU has a cell of its own inside the picture, large enough to see."""
    wall = watched()
    wall.open(demo.url)
    counts = [min(rack, gpus - start) for start in range(0, gpus, rack)]
    racks = [{"start": i * rack, "count": count} for i, count in enumerate(counts)]
    rows = [
        {
            "name": f"R{i // row}",
            "racks": [{**r, "name": f"R{i // row}{j:02d}"} for j, r in enumerate(racks[i : i + row])],
        }
        for i in range(0, len(racks), row)
    ]
    layout = {"rows": [*rows, {"name": "N", "racks": [{"name": "N01", "start": gpus, "count": 0}]}]}
    plan = wall.page.evaluate(
        "(layout) => TokenWatt.floorPlan(layout, {width: 1200, height: 430, k: 1, far: false})", layout
    )
    assert len(plan["racks"]) == len(racks)
    assert plan["smallest"] >= 3
    assert all(not label["text"].startswith("N") for label in plan["rowLabels"])
    boxes = [(r["x"], r["y"], r["x"] + plan["rack"]["width"], r["y"] + plan["rack"]["height"]) for r in plan["racks"]]
    assert all(x0 >= 0 and y0 >= 0 and x1 <= 1200 and y1 <= 430 for x0, y0, x1, y1 in boxes)
    for i, a in enumerate(boxes):
        assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for b in boxes[i + 1 :])
    found = wall.page.evaluate(
        """([layout, gpus]) => {
          const plan = TokenWatt.floorPlan(layout, {width: 1200, height: 430, k: 1, far: false});
          const seen = new Set();
          for (const rack of plan.racks) for (let i = 0; i < rack.count; i++) {
            const x = rack.x + (i % plan.grid.cols + 0.5) * plan.cell.width;
            const y = rack.y + (Math.floor(i / plan.grid.cols) + 0.5) * plan.cell.height;
            seen.add(TokenWatt.gpuAt(plan, x, y)?.gpu);
          }
          return seen.size === gpus && !seen.has(undefined);
        }""",
        [layout, gpus],
    )
    assert found
