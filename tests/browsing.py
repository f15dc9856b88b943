"""What browser tests hold in hand: a running demo, and a page with what went wrong in it."""

import re
import selectors
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page
from services import until

START_SECONDS = 90

#: text of what a selector finds that is cut off: wider than the box that shows it, or outside of its card
CUT = """
(words) => [...document.querySelectorAll(words)]
  .filter((node) => node.offsetParent && node.textContent.trim() && !node.closest('.drawer'))
  .filter((node) => {
    const inside = (node.closest('.card') || node.closest('.header')).getBoundingClientRect();
    const box = node.getBoundingClientRect();
    const cut = getComputedStyle(node).display !== 'inline' && node.scrollWidth > node.clientWidth + 1;
    return cut || box.right > inside.right + 1 || box.left < inside.left - 1 || box.bottom > inside.bottom + 1;
  })
  .map((node) => node.className + ': ' + node.textContent)
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """A running `tokenwatt demo`."""

    url: str
    process: subprocess.Popen[str]


def announced(process: subprocess.Popen[str]) -> str:
    """Return the address that the program prints once it listens."""
    assert process.stdout is not None
    said = ""
    deadline = time.monotonic() + START_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline and process.poll() is None:
            if not selector.select(timeout=1):
                continue
            said += process.stdout.readline()
            if found := re.search(r"http://[\w.]+:\d+", said):
                return found.group()
    pytest.fail(f"tokenwatt demo printed no address in {START_SECONDS} s: {said!r}")


def first_look(address: str, view: str) -> None:
    """Wait until view and history are there: a page that asks before is told 503, an error on its console."""
    until(lambda: answers(f"{address}/api/v1/{view}") and answers(f"{address}/api/v1/history"), 60, f"a look at {view}")


def answers(url: str) -> bool:
    """Return whether the server answers with 200."""
    try:
        with urlopen(url, timeout=30) as response:  # our own loopback address
            return bool(response.status == 200)
    except OSError:
        return False


# Of the address the page itself is asked: `page.url` is a copy that stands still while a test waits.
def path_of(page: Page) -> str:
    """Return the path of the page's address."""
    return str(page.evaluate("location.pathname"))


def query(page: Page) -> dict[str, str]:
    """Return the options in the page's address."""
    found = parse_qs(page.evaluate("location.search.slice(1)"), keep_blank_values=True)
    return {name: values[0] for name, values in found.items()}


@dataclass(slots=True)
class Watched:
    """A page and what went wrong in it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def state(self) -> str:
        """Return live, stale, lost or connecting."""
        return str(self.page.evaluate("document.documentElement.dataset.live"))

    def numbers(self) -> list[str]:
        """Return the values of the tiles as they are read."""
        return self.page.locator(".tile .number").all_inner_texts()

    def open(self, url: str, *, tiles: int = 4) -> None:
        """Open a page and wait until it is live and its tiles hold numbers."""
        self.page.goto(url)
        until(lambda: self.state() == "live", 60, f"{url} to be live")
        until(lambda: sum(text != "—" for text in self.numbers()) >= tiles, 90, f"numbers on {url}")


Opener = Callable[..., Watched]
