"""The real thing for a browser: a demo factory of 64 GPUs, and Debian's chromium."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browsing import Demo, Opener, Watched, announced, answers, first_look
from fabric_site import telling
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from services import program, until

from dashboard.live import Live
from dashboard.settings import DashboardSettings
from dashboard.web import serving
from storage.duckdb import DuckDBStore

ROOT = Path(__file__).parents[3]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    log = tmp_path_factory.mktemp("demo") / "stderr.log"
    command = [sys.executable, "-m", "tokenwatt", "demo", "--gpus", "64", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            url = announced(process)
            until(lambda: answers(f"{url}/readyz"), 90, f"{url} to be ready")
            for view in ("fabric", "facility"):
                first_look(url, view)
            yield Demo(url, process)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the session: while it lives, its event loop lets no asyncio test run in this process.
    with sync_playwright() as playwright:
        # The shell draws the page alone, the whole program its own windows too, at twice the cost.
        found = shutil.which("chromium-headless-shell") or program("chromium")
        chromium = playwright.chromium.launch(executable_path=str(found), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Opener]:
    contexts: list[BrowserContext] = []

    def make(width: int = 1920, height: int = 1080, scheme: str = "dark") -> Watched:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        found = Watched(context.new_page())
        found.page.on("console", lambda said: said.type == "error" and found.errors.append(said.text))
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("request", lambda request: found.hosts.add(urlsplit(request.url).netloc))
        return found

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def fabric_url() -> Iterator[str]:
    """Serve a fabric of stated rates that goes on telling; yield its address."""
    store = DuckDBStore(":memory:")
    with telling(store):
        live = Live(store, DashboardSettings())
        live.start()
        with serving(live, DashboardSettings(), None, 0) as address:
            first_look(address, "fabric")
            yield address
        live.close()
    store.close()


@pytest.fixture
def opened(fabric_url: str, watched: Opener) -> Callable[..., Watched]:
    """Open the fabric page and wait until its picture and its table are there."""

    def make(query: str = "", *size: int, scheme: str = "dark") -> Watched:
        made = watched(*size, scheme=scheme)
        made.page.goto(f"{fabric_url}/fabric{query}")
        until(lambda: made.state() == "live", 60, "the page to be live")
        until(
            lambda: made.page.evaluate("Boolean(document.querySelector('[data-widget=ports] canvas')?.plan)"),
            60,
            "the picture",
        )
        return made

    return make
