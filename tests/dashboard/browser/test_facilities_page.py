"""The facilities page in a real browser: a real server, a real store, a site of stated watts that goes on telling."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import CUT, Opener, Watched, first_look, query
from facility_site import FacilitySite
from plant import Plant
from playwright.sync_api import Page, Route
from services import until

from dashboard.live import Live
from dashboard.settings import DashboardSettings
from dashboard.web import serving
from storage.duckdb import DuckDBStore

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.service("chromium"), pytest.mark.timeout(240)]

#: what must not be cut off
WORDS = ".number, .unit, .label span, .under i, .under b, h2 span, h2 small, .aside, .fact dd"
#: words of the drawings that stand over one another or outside of their picture
COLLIDING = """
[...document.querySelectorAll('svg.mimic')].flatMap((picture) => {
  const room = picture.getBoundingClientRect();
  const words = [...picture.querySelectorAll('text:not(.digit)')].filter((node) => node.textContent.trim());
  const boxes = words.map((node) => [node, node.getBoundingClientRect()]);
  const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 5 && b.top < a.bottom - 5;
  const out = boxes.filter(([, box]) => box.right > room.right + 1 || box.bottom > room.bottom + 1);
  const pairs = boxes.flatMap(([a, one], i) =>
    boxes.slice(i + 1).filter(([, other]) => over(one, other)).map(([b]) => `${a.textContent} over ${b.textContent}`));
  return [...out.map(([node]) => `outside: ${node.textContent}`), ...pairs];
})
"""
#: parts of the card of alarms that stand over the next one, with more alarms than it had room for
OVERLAP = """
(() => {
  const list = document.querySelector('.findings .alarms');
  const row = list.firstElementChild;
  for (let i = 0; i < 4; i++) list.append(row.cloneNode(true));
  const parts = [...document.querySelector('.findings').children].map((node) => [node, node.getBoundingClientRect()]);
  const end = (node) => node.getBoundingClientRect().bottom;
  const ends = parts.map(([node]) => Math.max(end(node), ...[...node.querySelectorAll('*')].map(end)));
  return parts.slice(1).filter(([, box], i) => ends[i] > box.top + 1).map(([node]) => node.textContent.slice(0, 40));
})()
"""
#: what of the page changes when it is painted again as it is
CHANGED = """
(() => {
  const seen = new MutationObserver(() => {});
  seen.observe(document.querySelector('main'), {subtree: true, childList: true, attributes: true, characterData: true});
  TokenWatt.paint();
  const nodes = seen.takeRecords().map(({target}) => (target.nodeType === 1 ? target : target.parentElement));
  seen.disconnect();
  return [...new Set(nodes.map((node) => node.closest('[data-widget]')?.dataset.widget || node.className))];
})()
"""
NAMELESS = """
[...document.querySelectorAll('button, a, input, [role=button], [tabindex="0"]')]
  .filter((node) => node.offsetParent !== null || node.ownerSVGElement)
  .filter((node) => !node.closest('.ag-root-wrapper'))
  .filter((node) => !(node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') || node.title
    || node.textContent.trim() || node.labels?.length))
  .map((node) => node.outerHTML.slice(0, 120))
"""


@contextmanager
def telling(store: DuckDBStore) -> Iterator[FacilitySite]:
    """Yield a site that has told for half a minute and goes on every two seconds until the block ends."""
    plant = Plant(store, float(int(time.time())), common={"site": "S1", "source": "c1", "synthetic": "true"})
    plant.inventory()
    site = FacilitySite(plant)
    site.inventory()
    stop = threading.Event()
    at = -30.0

    def tell() -> None:
        nonlocal at
        while plant.now + at <= time.time():
            site.write(at)
            plant.write_power(at, skip=("shelf-A01", "shelf-A02"))
            at += 2.0
        plant.settle()

    def feed() -> None:
        while not stop.wait(0.2):
            tell()

    tell()
    thread = threading.Thread(target=feed, name="facility")
    thread.start()
    try:
        yield site
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def facility() -> Iterator[tuple[FacilitySite, str]]:
    """Serve the site; yield it and the address."""
    store = DuckDBStore(":memory:")
    with telling(store) as site:
        settings = DashboardSettings(tick=timedelta(seconds=1))
        live = Live(store, settings)
        live.start()
        with serving(live, settings, None, 0) as address:
            first_look(address, "facility")
            yield site, address
        live.close()
    store.close()


@pytest.fixture
def site(facility: tuple[FacilitySite, str]) -> FacilitySite:
    return facility[0]


@pytest.fixture
def opened(facility: tuple[FacilitySite, str], watched: Opener) -> Callable[..., Watched]:
    """Open the page and wait until it is live and its drawings are there."""

    def make(query: str = "", *size: int, scheme: str = "dark") -> Watched:
        made = watched(*size, scheme=scheme)
        made.page.goto(f"{facility[1]}/facilities{query}")
        until(lambda: made.state() == "live", 60, "the page to be live")
        until(lambda: made.page.locator("[data-widget=power_path] :is(.door, .link)").count() == 3, 30, "three racks")
        return made

    return make


def drawn(page: Page, of: str) -> str:
    """Return the words of a drawing without their spaces: a unit stands apart from its value without one."""
    return re.sub(r"\s", "", "|".join(page.locator(f"{of} text:not(.digit)").all_text_contents()))


def rack(page: Page, name: str) -> str:
    return drawn(page, f".path g:has(> .door[data-rack={name}])")


def sound(made: Watched, url: str) -> None:
    """Nothing failed, nothing was asked of another host."""
    assert made.errors == []
    assert made.hosts == {urlsplit(url).netloc}


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_first_screen_of_a_desk_is_whole(
    opened: Callable[..., Watched], facility: tuple[FacilitySite, str], tmp_path: Path, scheme: str
) -> None:
    desk = opened(scheme=scheme)
    page = desk.page
    page.screenshot(path=tmp_path / f"facilities-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") == 1920
    assert page.evaluate(CUT, WORDS) == []
    assert page.evaluate(COLLIDING) == []
    assert page.evaluate(NAMELESS) == []
    bottoms = page.evaluate(
        "['.loops', '.power', '.findings'].map((name) => document.querySelector(name).getBoundingClientRect().bottom)"
    )
    assert max(bottoms) <= 1080
    sound(desk, facility[1])


def test_drawings_say_what_the_site_states(opened: Callable[..., Watched]) -> None:
    page = opened().page
    # 0.125 L/s; supply 32, return 42 and facility water 28 degC; dew point 12; level 80 %; 5 of 10 kW; two pumps.
    loops = "7.50L/min|32.0°C|42.0°C|28.0°C|10.0Krise|4.0K|20.0K|80%|50%of10.0kW|2of2·60%|1needed"
    until(lambda: all(words in drawn(page, ".loops") for words in loops.split("|")), 30, loops)
    # 4 supplies of 731.25 W: 3,000 W in; 2,925 W of the 6,000 W that three can give; two of them carry that.
    line = "4of4,needs2|±400V|800.0V|0.0%of800.0V|400.0/−400.0V|5.00kΩ/V|3.00kW|gives2.92kW|51%"
    assert [words for words in line.split("|") if words not in rack(page, "A01")] == []
    # Both feeds on the one that stays: 6.4 kW of 10 kW.
    feeds = "feed-a|feed-b|3.20kW|of10.0kW|64%of10.0kW|3.60kWleft"
    assert [words for words in feeds.split("|") if words not in drawn(page, ".power")] == []
    assert "No leak" in page.locator("[data-widget=leaks]").inner_text()
    label = page.locator("[data-widget=tile][aria-label^='Bus headroom']").get_attribute("aria-label") or ""
    assert label.startswith("Bus headroom, 51.2, %, limit ≥ 15.0")


def test_an_answer_that_changes_nothing_changes_nothing_on_the_page(opened: Callable[..., Watched]) -> None:
    page = opened().page
    page.evaluate("TokenWatt.paint()")
    assert page.evaluate(CHANGED) == []


def test_the_page_fits_a_phone(opened: Callable[..., Watched], tmp_path: Path) -> None:
    phone = opened("", 390, 844)
    page = phone.page
    page.screenshot(path=tmp_path / "facilities-phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(CUT, WORDS) == []
    assert page.evaluate(NAMELESS) == []
    assert page.locator("svg.mimic").count() == 0  # there is no room for them: the same in words
    assert "4 of 4 work" in page.locator("[data-widget=power_path]").inner_text()
    # 8 of 16 A on each phase of the rack PDU.
    words = page.locator("[data-widget=power_path]").inner_text().split()
    assert words[words.index("rating") - 4 : words.index("rating")] == ["50", "%", "of", "its"]
    assert page.evaluate(OVERLAP) == []
    page.locator("[data-widget=power_path] [data-rack=A01]").click()
    until(lambda: page.locator(".drawer tbody tr").count() == 4, 30, "its supplies")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert phone.errors == []


def test_a_leak_shows(opened: Callable[..., Watched], site: FacilitySite) -> None:
    page = opened().page
    leaks = page.locator("[data-widget=leaks]")
    assert leaks.locator(".chip").count() == 0
    site.leak = 2
    try:
        until(lambda: "A01: leak" in leaks.inner_text(), 30, "the leak")
        until(lambda: leaks.locator(".chip.p1").count() == 1, 30, "its priority")
        assert "0 of 1 detector dry" in leaks.inner_text()
        until(lambda: "Leak in rack A01" in page.locator("[data-widget=alarms]").inner_text(), 30, "its alarm")
    finally:
        site.leak = 0


def test_a_lost_feed_shows(opened: Callable[..., Watched], site: FacilitySite) -> None:
    page = opened().page
    assert page.locator(".path .dead").count() == 0
    site.feeds = {"feed-a": 0.0, "feed-b": 6400.0}
    try:
        until(lambda: page.locator(".path .equipment.abnormal.p1").count() == 1, 30, "the feed's alarm")
        until(lambda: "feed-a|lost" in drawn(page, ".power"), 30, "the lost feed")
        assert page.locator(".path .wire.dead").count() >= 2  # from its box, and its bar
    finally:
        site.feeds = {"feed-a": 3200.0, "feed-b": 3200.0}


def test_a_failed_supply_is_crossed_and_told_with_shape_and_digit(
    opened: Callable[..., Watched], site: FacilitySite
) -> None:
    page = opened().page
    site.supply_state["shelf-A02", "psu-13"] = 2
    try:
        until(lambda: "3of4,needs2" in rack(page, "A02"), 30, "three supplies")
        until(lambda: page.locator(".door[data-rack=A02] .digit").count() == 1, 30, "the alarm at the rack")
        assert page.locator(".path .supply.failed + .cross").count() == 1
        assert page.locator(".door[data-rack=A02] .digit").text_content() == "2"
        assert (page.locator(".door[data-rack=A02]").get_attribute("aria-label") or "").endswith(", High")
    finally:
        del site.supply_state["shelf-A02", "psu-13"]


def test_supplies_that_do_not_tell_are_shown_as_such(opened: Callable[..., Watched]) -> None:
    """One of a shelf that was never heard, and a shelf that is silent as a whole."""
    page = opened().page

    def without(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        body: dict[str, Any] = answer.json()
        part, none = body["racks"][:2]
        part["shelves"][0]["supplies"].pop()
        part["shelves"][0] |= {"unheard": 1, "coverage": 0.75}
        part |= {"running": 3, "coverage": 0.75}
        none["shelves"][0]["answers"] = False
        none |= {"running": 0, "needed": None}
        body["silent"] = [{"device": "shelf-A01", "rack": "A01", "parts": [], "why": "", "unheard": 1, "expected": 4}]
        route.fulfill(status=200, headers={"Date": answer.headers["date"]}, body=json.dumps(body))

    page.route("**/api/v1/facility", without)
    until(lambda: "3of4,needs2" in rack(page, "A01"), 30, "three of four supplies")
    assert "75%covered" in rack(page, "A01")
    assert page.locator(".path g:has(> .door[data-rack=A01]) .supply.silent").count() == 1
    assert "silent" in rack(page, "A02")
    assert "of4" not in rack(page, "A02")
    assert "shelf-A01: 1 of 4 supplies never answered" in page.locator("[data-widget=doubts]").inner_text()
    page.locator(".door[data-rack=A01]").click()
    drawer = page.locator(".drawer")
    until(lambda: drawer.locator("tbody tr").count() == 3, 30, "its supplies")
    assert "1 more supply of the inventory never answered" in drawer.inner_text()


def test_power_that_is_fed_back_says_why_it_is_unknown(opened: Callable[..., Watched], tmp_path: Path) -> None:
    page = opened().page
    why = "\u22124200 is below 0 watts; fed back, or current transformers turned round"
    text = f"power.active_watts[kind=meter,circuit=total]=-4200: {why}".replace("\u2212", "-")

    def refused(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        body: dict[str, Any] = answer.json()
        meter = next(one for one in body["ac"] if one["name"] == "feed-a")
        meter["watts"] = None
        body["racks"][0] |= {"watts": None, "source": "", "output_watts": None}
        body["refused"] = [
            {"device": "feed-a", "rack": "", "text": text, "age": 1.0},
            {"device": "shelf-A01", "rack": "A01", "text": text, "age": 1.0},
        ]
        route.fulfill(status=200, headers={"Date": answer.headers["date"]}, body=json.dumps(body))

    page.route("**/api/v1/facility", refused)
    doubts, meters = page.locator("[data-widget=doubts]"), page.locator("[data-widget=meters] tbody")
    until(lambda: f"feed-a: active watts left out\n{why}" in doubts.inner_text(), 30, "the list")
    row = meters.locator("tr", has_text="feed-a")
    assert row.locator("td").nth(1).inner_text().split("\n") == ["—", why]
    assert "readingleftout" in rack(page, "A01")
    page.screenshot(path=tmp_path / "refused.png")
    page.locator(".door[data-rack=A01]").click()
    notes = page.locator(".drawer .notes")
    until(lambda: notes.count() == 1 and why in notes.inner_text(), 30, "the drawer")
    page.screenshot(path=tmp_path / "refused-drawer.png")


def test_a_check_shows_its_text(opened: Callable[..., Watched], site: FacilitySite) -> None:
    page = opened().page
    doubts = page.locator("[data-widget=doubts]")
    assert "agree" in doubts.inner_text()
    failed = time.time()
    site.check("cdu-1", "heat", "5.0 kW computed, 9.0 kW reported: which sensor drifts?", failed - site.plant.now)
    until(lambda: "which sensor drifts?" in doubts.inner_text(), 30, "the check")
    assert "cdu-1: reported and computed heat differ" in doubts.inner_text()
    assert "failed 3 times" in doubts.inner_text()
    assert page.evaluate(f"Math.abs(document.querySelector('[data-widget=doubts] .when').dataset.since - {failed}) < 1")


def test_a_rack_opens_and_closes_by_key(opened: Callable[..., Watched], facility: tuple[FacilitySite, str]) -> None:
    desk = opened()
    page = desk.page
    drawer = page.locator(".drawer")
    door = page.locator(".door[data-rack=A01]")
    door.focus()
    page.keyboard.press("Enter")
    until(lambda: drawer.is_visible() and drawer.locator("tbody tr").count() == 4, 30, "the rack with its supplies")
    assert query(page) == {"rack": "A01"}
    assert drawer.locator("h2").inner_text().startswith("Rack A01")
    first = drawer.locator("tbody tr").first.locator("th, td").all_inner_texts()
    assert first[:8] == ["psu-11", "ok", "A", "750 W", "731 W", "914 mA", "0.0 %", "97.5 %"]
    assert re.fullmatch(r"\d+ s", first[8])
    page.keyboard.press("Escape")
    until(lambda: not drawer.is_visible(), 30, "the drawer to close")
    until(lambda: page.evaluate("document.activeElement.dataset.rack") == "A01", 30, "the door to have the keys")
    page.reload()
    until(lambda: page.locator(".door").count() == 3, 30, "the page again")
    assert not drawer.is_visible()
    sound(desk, facility[1])


def test_the_table_of_racks_opens_one_and_keeps_its_filter(opened: Callable[..., Watched]) -> None:
    page = opened().page
    table = page.locator(".racks .ag-center-cols-container [row-id]")
    page.locator(".racks").scroll_into_view_if_needed()
    until(lambda: table.count() == 3, 30, "the rows")
    cell = table.locator("xpath=../*[@row-id='A01']//*[@col-id='headroom_ratio']")
    assert float(cell.inner_text()) == pytest.approx(51.25, abs=0.06)  # 1 - 2,925 / 6,000
    page.get_by_label("Filter racks").fill("A0")
    until(lambda: table.count() == 2, 30, "two rows")
    before = page.evaluate("TokenWatt.facility.body.time")
    until(lambda: page.evaluate("TokenWatt.facility.body.time") > before, 30, "the next answer")
    assert table.count() == 2
    cell.click()
    page.keyboard.press("Enter")
    until(lambda: page.locator(".drawer").is_visible(), 30, "the rack")


def test_what_is_old_looks_old_and_what_is_lost_is_grey(opened: Callable[..., Watched]) -> None:
    """The snapshot lives; only the answer about the facility is old."""
    made = opened()
    age = 30.0

    def old(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        body: dict[str, Any] = answer.json()
        body["data_time"] = body["time"] - age
        route.fulfill(status=200, headers={"Date": answer.headers["date"]}, body=json.dumps(body))

    made.page.route("**/api/v1/facility", old)
    until(lambda: made.state() == "stale", 30, "stale")
    assert made.page.evaluate("getComputedStyle(document.querySelector('svg.mimic')).opacity") == "0.55"
    age = 90.0
    until(lambda: made.state() == "lost", 30, "lost")
    assert made.page.evaluate("getComputedStyle(document.querySelector('.card')).opacity") == "0.42"
    said = re.match(r"No data for (\d+) s", made.page.locator("#lost").inner_text())
    assert said is not None
    assert int(said.group(1)) >= 90
