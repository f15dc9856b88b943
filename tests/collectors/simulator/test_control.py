"""The control server over real HTTP."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import aiohttp
import pytest

from collectors.simulator.control import Control, start_control
from collectors.simulator.factory import Factory
from collectors.simulator.faults import KINDS
from collectors.simulator.layout import build_layout

START = 1_760_000_000.0


@pytest.fixture
def factory() -> Factory:
    return Factory(build_layout(64), seed=1, start=START)


@pytest.fixture
async def control(factory: Factory) -> AsyncIterator[Control]:
    control = await start_control(factory, lambda: factory.state.time + 0.5)
    yield control
    await control.close()


async def ask(method: str, url: str, **options: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as answer:
        return answer.status, await answer.json()


async def test_truth_is_the_factorys(factory: Factory, control: Control) -> None:
    factory.advance(START + 60)
    status, body = await ask("GET", f"{control.url}/truth?start={START + 5.5}&end={START + 50}")
    assert status == 200
    assert body == {"seconds": 44.5} | asdict(factory.truth(START + 5.5, START + 50))


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("start=1&end=2", "no truth from 1.0 to 2.0"),
        ("end=2", "start is '': give epoch seconds"),
        (f"start={START}&end=soon", "end is 'soon': give epoch seconds"),
        (f"start={START}&end=nan", "no truth from"),
    ],
)
async def test_truth_refuses_windows_it_does_not_know(control: Control, query: str, reason: str) -> None:
    status, body = await ask("GET", f"{control.url}/truth?{query}")
    assert status == 400
    assert reason in body["error"]


async def test_idle_lists_the_idle_gpus(factory: Factory, control: Control) -> None:
    status, body = await ask("GET", f"{control.url}/idle")
    assert (status, body) == (200, factory.idle())
    assert {item["state"] for item in body} == {"parked", "unallocated_idle"}


async def test_fault_is_posted_seen_and_cleared(factory: Factory, control: Control) -> None:
    status, fault = await ask("POST", f"{control.url}/faults", json={"kind": "leak", "object": "A01", "seconds": 60})
    assert (status, fault) == (201, {"kind": "leak", "object": "A01", "start": START + 0.5, "end": START + 60.5})
    factory.advance(START + 1)
    assert factory.state.racks.leak.tolist() == [1, 0, 0, 0]
    status, body = await ask("GET", f"{control.url}/faults")
    assert body["faults"] == [fault]
    assert body["kinds"].keys() == KINDS.keys()
    assert body["kinds"]["leak"]["object"] == "rack or cdu"
    status, body = await ask("DELETE", f"{control.url}/faults?kind=leak&object=A01")
    assert (status, body) == (200, {"cleared": 1})
    factory.advance(START + 2)
    assert not factory.state.racks.leak.any()


async def test_faults_to_come_are_put_off(factory: Factory, control: Control) -> None:
    factory.faults.inject("leak", "A01", START, 60)
    factory.faults.inject("leak", "A02", START + 5, 60)
    status, body = await ask("POST", f"{control.url}/faults/delay", json={"seconds": 10})
    assert (status, body) == (200, {"delayed": 1})
    assert [fault.start for fault in factory.faults.known] == [START, START + 15]
    await ask("POST", f"{control.url}/faults/delay", json={"seconds": -4})
    assert [fault.start for fault in factory.faults.known] == [START, START + 11]
    for wrong in ({"seconds": float("inf")}, {"seconds": "long"}, {"second": 1}, []):
        status, body = await ask("POST", f"{control.url}/faults/delay", json=wrong)
        assert status == 400
        assert body["error"].startswith('give {"seconds": ...}, a number')


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"kind": "leak", "object": "A1"}', "did you mean 'A01'"),
        ('{"kind": "leek", "object": "A01"}', "did you mean 'leak'"),
        ('{"kind": "leak", "object": "A01", "seconds": "long"}', "seconds is 'long'"),
        ('{"kind": "leak", "object": "A01", "seconds": -1}', "seconds is -1"),
        ('{"kind": "leak"}', "give {"),
        ('{"kind": "leak", "object": "A01", "second": 1}', "give {"),
        ("[]", "give {"),
        ("leak", "not JSON"),
    ],
)
async def test_a_wrong_fault_is_refused_with_the_way_out(
    factory: Factory, control: Control, body: str, reason: str
) -> None:
    status, answer = await ask("POST", f"{control.url}/faults", data=body)
    assert status == 400
    assert reason in answer["error"]
    assert factory.faults.known == ()
