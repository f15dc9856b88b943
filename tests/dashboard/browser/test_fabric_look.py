"""The fabric page in a real browser on a desk, a phone and a wall; fabrics of any size."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import CUT, Opener, Watched
from fabric_page import CANVAS, TOKEN, WORDS, rows
from playwright.sync_api import Route
from services import until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.service("chromium"), pytest.mark.timeout(240)]


def test_colours_of_the_system_leave_what_colour_tells(opened: Callable[..., Watched]) -> None:
    page = opened().page
    page.emulate_media(forced_colors="active")
    looks = "(node) => getComputedStyle(node)"
    chosen = page.locator(".metrics [aria-checked=true]").evaluate(f"(node) => ({looks})(node).outlineStyle")
    swatch = page.locator(".legend .mark-down").first.evaluate(f"(node) => ({looks})(node).forcedColorAdjust")
    assert (chosen, swatch) == ("solid", "none")


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
    until(lambda: page.locator(".drawer .gpu").count() == 2, 30, "the drawer")
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
        30,
        "the end of the picture",
    )
    assert page.locator("#say").inner_text().startswith("sw-256 · Ethernet504")
    assert fabric.errors == []
