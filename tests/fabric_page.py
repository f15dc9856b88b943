"""What tests of the fabric page ask of it: colours and places of its picture, rows of its table, its tiles."""

from urllib.parse import urlsplit

from browsing import Watched
from playwright.sync_api import Page

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
    """Return the ports of the table, from the top down."""
    return list(page.evaluate(ORDER))


def tile(page: Page, label: str) -> str:
    """Return what a tile says to those who do not see it."""
    return page.locator(f"[data-widget=fabric_tile][aria-label^='{label},']").get_attribute("aria-label") or ""


def clean(made: Watched, fabric_url: str) -> None:
    """Nothing failed, nothing was refused by the policy, nothing was asked of another host."""
    assert made.errors == []
    assert made.hosts == {urlsplit(fabric_url).netloc}
