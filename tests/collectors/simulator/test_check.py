"""The demo's proof, against the real control server and a page that answers as the dashboard does."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from collectors.simulator.check import EXPECTED, CheckError, Row, check
from collectors.simulator.control import start_control
from collectors.simulator.factory import Factory
from collectors.simulator.faults import Fault
from collectors.simulator.layout import build_layout

START = 1_760_000_000.0
SINCE, UNTIL, NOW = START + 12.4, START + 72.4, START + 76.4


class Page:
    """A dashboard's `/readyz` and `/api/v1/snapshot`, whose numbers a test may bend."""

    def __init__(self, factory: Factory, snapshot: dict[str, Any]) -> None:
        self.factory = factory
        self.snapshot = snapshot
        #: alarms that it shows: rule, object, and the factory's seconds from which to which
        self.alarms: list[tuple[str, str, float, float]] = []
        #: each look at it takes a second of the factory, up to this one
        self.plays_until = 0.0
        #: what it says once the last fault is over, and what its totals are off by
        self.later: dict[str, Any] | None = None
        self.off = {"output_tokens": 1.0, "input_tokens": 1.0, "gpu_board_joules": 1.0}
        self.planned: tuple[Fault, ...] = ()
        self.beyond = dict.fromkeys(self.off, 0.0)
        self.asked: tuple[float, float] = (0.0, 0.0)
        self.refusals = 0
        self.url = ""

    async def readyz(self, _: web.Request) -> web.Response:
        self.refusals -= 1
        if self.refusals >= 0:
            return web.Response(status=503, text="no data yet")
        return web.Response(text="ok")

    async def get(self, _: web.Request) -> web.Response:
        if self.factory.state.time < self.plays_until:
            self.factory.advance(self.factory.state.time + 1)
            self.later = true_snapshot(self.factory, later=min(self.factory.state.time - START - 80, 100.0))
        over = self.later is not None and self.factory.state.time > START + 100
        time = self.factory.state.time
        alarms = [{"rule": rule, "object": name} for rule, name, begin, end in self.alarms if begin <= time < end]
        said = self.later if over and self.later is not None else self.snapshot
        told = {"time": time} if self.plays_until else {}
        return web.json_response(said | {"alarms": alarms} | told)

    async def totals(self, request: web.Request) -> web.Response:
        self.asked = (float(request.query["start"]), float(request.query["end"]))
        truth = self.factory.truth(*self.asked)
        totals = {
            "output_tokens": truth.final_output_tokens * self.off["output_tokens"],
            "input_tokens": truth.final_input_tokens * self.off["input_tokens"],
            "gpu_board_joules": truth.gpu_board_joules * self.off["gpu_board_joules"],
        }
        for name, amount in self.beyond.items():
            if amount:
                totals[name] += math.copysign(0.001 * totals[name], amount) + amount
        return web.json_response(totals | {"resets": 3, "series": {"inference": 6, "gpu": 64}})


def number(value: float | None, why: str = "", later: float = 0.0) -> dict[str, Any]:
    return {"value": value, "from": SINCE + later, "to": UNTIL + later, "coverage": 1.0, "why": why}


def true_snapshot(factory: Factory, later: float = 0.0) -> dict[str, Any]:
    """Return the snapshot of a dashboard that makes no error, worked out from the factory's own counters."""
    truth = factory.truth(SINCE + later, UNTIL + later)
    joules = {
        "gpu_board": truth.gpu_board_joules,
        "node": truth.node_joules,
        "rack": truth.rack_joules,
        "it": truth.it_joules,
        "facility": truth.facility_joules,
    }
    numbers = {f"{boundary}_watts": number(energy / 60.0, later=later) for boundary, energy in joules.items()}
    numbers |= {
        f"tokens_per_joule_{boundary}": number(truth.output_tokens / e, later=later) for boundary, e in joules.items()
    }
    numbers["output_tokens_per_second"] = number(truth.output_tokens / 60.0, later=later)
    numbers["input_tokens_per_second"] = number(truth.input_tokens / 60.0, later=later)
    numbers["coolant_heat_watts"] = number(truth.coolant_heat_joules / 60.0, later=later)
    numbers["pue"] = number(truth.facility_joules / truth.it_joules, later=later)
    numbers["liquid_heat_ratio"] = number(truth.coolant_heat_joules / truth.rack_joules, later=later)
    # 8 nodes of 10,300 W and 2 switches of 1,000 W are 97 % of a feed, to 100 W; both feeds make the IT power
    numbers["feed_headroom_watts"] = number(87_000.0 - truth.it_joules / 60.0, later=later)
    idle = [{"gpu": item["gpu"], "state": item["state"]} for item in factory.idle()]
    return {"time": NOW + later, "numbers": numbers, "idle": {"gpus": [*idle, {"gpu": "GPU-light", "state": "light"}]}}


@pytest.fixture
async def site() -> AsyncIterator[tuple[Page, str]]:
    factory = Factory(build_layout(64), seed=1, start=START)
    factory.advance(START + 60)
    factory.advance(START + 80)
    control = await start_control(factory, lambda: START + 80)
    page = Page(factory, true_snapshot(factory))
    app = web.Application()
    app.router.add_get("/readyz", page.readyz)
    app.router.add_get("/api/v1/snapshot", page.get)
    app.router.add_get("/api/v1/totals", page.totals)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    page.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield page, control.url
    await runner.cleanup()
    await control.close()


async def run(page: Page, control: str, **options: float) -> tuple[dict[str, Row], bool]:
    rows, ok = await asyncio.to_thread(check, page.url, control, **({"seconds": 0.0, "settle_seconds": 0.0} | options))
    return {row.quantity: row for row in rows}, ok


async def test_true_numbers_pass(site: tuple[Page, str]) -> None:
    rows, ok = await run(*site)
    assert ok
    assert rows.keys() == {*EXPECTED, "idle_gpus"}
    assert all(row.error == pytest.approx(0.0, abs=1e-6) for row in rows.values())
    assert rows["idle_gpus"].truth == 16


def bend(name: str, factor: float) -> Callable[[dict[str, Any]], None]:
    def apply(snapshot: dict[str, Any]) -> None:
        snapshot["numbers"][name]["value"] *= factor

    return apply


@pytest.mark.parametrize("name", sorted(EXPECTED))
async def test_an_error_of_more_than_one_percent_fails(site: tuple[Page, str], name: str) -> None:
    page, control = site
    bend(name, 1.009)(page.snapshot)
    rows, ok = await run(page, control)
    assert ok
    assert rows[name].error == pytest.approx(0.009, abs=1e-5)
    bend(name, 1.012 / 1.009)(page.snapshot)
    rows, ok = await run(page, control)
    assert not ok
    assert [row.quantity for row in rows.values() if not row.ok] == [name]


async def test_a_withheld_number_fails_but_for_nodes_that_nobody_measures(site: tuple[Page, str]) -> None:
    page, control = site
    numbers = page.snapshot["numbers"]
    numbers["node_watts"] = number(None, "no node meter")
    del numbers["tokens_per_joule_node"]
    rows, ok = await run(page, control)
    assert ok
    assert "node_watts" not in rows
    numbers["it_watts"] = number(None, "coverage 0.4")
    del numbers["pue"]
    rows, ok = await run(page, control)
    assert not ok
    assert rows["it_watts"].note == "withheld: coverage 0.4"
    assert rows["pue"].note == "withheld: not in the snapshot"
    assert rows["pue"].shown is None
    assert rows["pue"].truth is None


async def test_idle_gpus_must_be_the_same_ones(site: tuple[Page, str]) -> None:
    page, control = site
    gpus = page.snapshot["idle"]["gpus"]
    missed = gpus[0]["gpu"]
    gpus[0] = {"gpu": "GPU-busy", "state": "parked"}
    rows, ok = await run(page, control)
    assert not ok
    assert rows["idle_gpus"].note == f"missing: {missed}; extra: GPU-busy"
    assert (rows["idle_gpus"].shown, rows["idle_gpus"].truth) == (16, 16)
    assert not rows["idle_gpus"].ok


async def run_with_faults(page: Page, control: str) -> tuple[dict[str, Row], bool]:
    """Plan a fault that begins too early; let it pass as soon as the check has put it where it shall be."""
    factory = page.factory
    factory.faults.inject("feed_lost", "A01", START + 85, 10)

    async def pass_by() -> None:
        async with asyncio.timeout(60):
            while (NOW + 15) not in {fault.start for fault in factory.faults.known}:
                await asyncio.sleep(0.01)
        page.planned = factory.faults.known
        for second in range(80, 181):
            factory.advance(START + second)
        page.later = true_snapshot(factory, later=100.0)

    passing = asyncio.create_task(pass_by())
    rows = await run(page, control, calm_seconds=0.0, look_seconds=0.05)
    await passing
    return rows


async def test_totals_over_all_faults_are_compared(site: tuple[Page, str]) -> None:
    page, control = site
    rows, ok = await run_with_faults(page, control)
    assert ok
    assert page.asked == (NOW + 5, UNTIL + 100)
    # moved from second 85 to 10 s after the window's start, for the 10 s that it lasts
    assert [(fault.start, fault.end) for fault in page.planned] == [(NOW + 15, NOW + 25)]
    assert rows.keys() == {*EXPECTED, "idle_gpus", *(f"total_{name}" for name in page.off)}
    assert {rows[f"total_{name}"].note for name in page.off} == {"91 s, 3 resets"}
    tokens = page.factory.truth(NOW + 5, UNTIL + 100).final_output_tokens
    assert rows["total_output_tokens"].truth == pytest.approx(tokens)


@pytest.mark.parametrize("name", ["output_tokens", "input_tokens", "gpu_board_joules"])
@pytest.mark.parametrize(("factor", "passes"), [(0.9991, True), (0.9988, False), (1.0012, False)])
async def test_totals_must_agree_within_a_thousandth(
    site: tuple[Page, str], name: str, factor: float, passes: bool
) -> None:
    page, control = site
    page.off[name] = factor
    rows, ok = await run_with_faults(page, control)
    assert ok == passes
    assert rows[f"total_{name}"].error == pytest.approx(abs(factor - 1), abs=1e-9)
    assert [row.quantity for row in rows.values() if not row.ok] == ([] if passes else [f"total_{name}"])


@pytest.mark.parametrize(
    ("total", "joules", "passes"),
    [("gpu_board_joules", -550, True), ("gpu_board_joules", -650, False), ("gpu_board_joules", 50, False),
     ("output_tokens", -50, False)],
)  # fmt: skip
async def test_energy_of_bare_boards_before_a_reset_may_be_missing(
    site: tuple[Page, str], total: str, joules: float, passes: bool
) -> None:
    page, control = site
    page.factory.faults.inject("gpu_reset", "node-a02-1/0", START + 85)
    # one board of 100 W at most for 6 s, beyond a thousandth of all
    page.beyond[total] = joules
    _, ok = await run_with_faults(page, control)
    assert ok == passes


async def run_with_a_leak(page: Page, control: str, *alarms: tuple[str, str, float, float]) -> dict[str, Row]:
    """Let a rope be wet for 10 s from the 92nd second on, under the alarms given."""
    page.factory.faults.inject("leak", "A01", START + 85, 10)
    page.alarms = [(rule, name, START + begin, START + end) for rule, name, begin, end in alarms]
    page.plays_until = START + 180
    # six looks before the leak is put where it shall be, from where it begins 10 s after the totals' window
    rows, _ = await run(page, control, calm_seconds=3.0, look_seconds=0.01)
    return rows


async def test_a_leak_must_be_found_in_time_and_nothing_else(site: tuple[Page, str]) -> None:
    rows = await run_with_a_leak(*site, ("idle_parked", "node-a02-1", 0, 180), ("leak_detected", "A01", 97, 150))
    leak = next(fault for fault in rows if fault.startswith("finding"))
    assert leak == "finding leak on A01"
    assert (rows[leak].truth, rows[leak].note) == (5.0, "leak_detected on A01")
    assert rows[leak].shown is not None
    assert rows["no other findings"].ok


async def test_a_finding_that_belongs_to_no_fault_is_named(site: tuple[Page, str]) -> None:
    rows = await run_with_a_leak(*site, ("bus_voltage", "shelf-b02", 120, 150))
    assert (rows["finding leak on A01"].ok, rows["finding leak on A01"].note) == (False, "no leak_detected")
    assert (rows["no other findings"].ok, rows["no other findings"].note) == (False, "bus_voltage on shelf-b02")


async def test_faults_that_last_for_ever_are_not_waited_for(site: tuple[Page, str]) -> None:
    page, control = site
    page.factory.faults.inject("leak", "A01", START + 85)
    rows, ok = await run(page, control)
    assert ok
    assert rows.keys() == {*EXPECTED, "idle_gpus"}


async def test_waits_for_a_dashboard_that_is_not_ready_yet(site: tuple[Page, str]) -> None:
    page, control = site
    page.refusals = 2
    _, ok = await run(page, control)
    assert ok


async def test_gives_up_with_the_dashboards_own_reason(site: tuple[Page, str]) -> None:
    page, control = site
    page.refusals = 1_000
    with pytest.raises(CheckError, match=r"readyz: not ready within 1 s: status 503: 'no data yet'"):
        await run(page, control, timeout_seconds=1.0)


async def test_says_what_is_missing_in_an_answer(site: tuple[Page, str]) -> None:
    page, control = site
    page.snapshot = {"numbers": {}}
    with pytest.raises(CheckError, match="not as agreed: KeyError"):
        await run(page, control)


async def test_says_why_the_truth_is_not_told(site: tuple[Page, str]) -> None:
    page, control = site
    page.snapshot["numbers"]["pue"]["from"] = START - 100
    with pytest.raises(CheckError, match=r"status 400: .*no truth from"):
        await run(page, control)


async def test_says_that_nobody_listens(site: tuple[Page, str]) -> None:
    with pytest.raises(CheckError, match=r"127\.0\.0\.1:9/readyz: not ready within 0 s"):
        await asyncio.to_thread(check, "http://127.0.0.1:9", site[1], seconds=0.0, timeout_seconds=0.0)
