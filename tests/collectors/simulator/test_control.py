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
    assert body["faults"] == [fault | {"places": ["A01", "shelf-a01"]}]
    assert body["kinds"].keys() == KINDS.keys()
    assert body["kinds"]["leak"]["object"] == "rack or cdu"
    status, body = await ask("DELETE", f"{control.url}/faults?kind=leak&object=A01")
    assert (status, body) == (200, {"cleared": 1})
    factory.advance(START + 2)
    assert not factory.state.racks.leak.any()


async def test_ratings_of_the_meters_are_told(control: Control) -> None:
    # 132 kW of racks and 22 kW of PDU; a feed carries 8 nodes of 10.3 kW and 2 switches of 1 kW at 97 %
    assert await ask("GET", f"{control.url}/ratings") == (
        200,
        {"meter-main": 200_200.0, "meter-it": 154_000.0, "feed-a": 87_000.0, "feed-b": 87_000.0},
    )


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


async def test_quirks_are_listed_switched_and_put_back(factory: Factory, control: Control) -> None:
    status, body = await ask("GET", f"{control.url}/quirks")
    assert (status, list(body)) == (200, ["leaf-1", "leaf-2"])
    assert (body["leaf-1"]["cache"], body["leaf-1"]["agent"], body["leaf-1"]["missing"]) == (True, "ok", [])
    quirk = {"device": "leaf-1", "name": "agent", "value": "dead"}
    status, body = await ask("POST", f"{control.url}/quirks", json=quirk)
    assert (status, body["agent"], factory.quirks["leaf-1"].agent) == (200, "dead", "dead")
    cells = ["Ethernet40 SAI_PORT_STAT_IF_IN_OCTETS"]
    await ask("POST", f"{control.url}/quirks", json={"device": "leaf-1", "name": "missing", "value": cells})
    assert (await ask("GET", f"{control.url}/quirks"))[1]["leaf-1"]["missing"] == cells
    assert factory.quirks["leaf-2"].agent == "ok"
    status, body = await ask("DELETE", f"{control.url}/quirks?device=leaf-1")
    assert (status, body["agent"], body["missing"]) == (200, "ok", [])


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        (
            "POST",
            "/quirks",
            {"device": "leaf-9", "name": "cache", "value": True},
            "no switch 'leaf-9': there are leaf-1",
        ),
        ("POST", "/quirks", {"device": "leaf-1", "name": "cash", "value": True}, "no quirk 'cash': there are cache"),
        ("POST", "/quirks", {"device": "leaf-1", "name": "agent", "value": "ill"}, "give ok, hung, dead"),
        ("POST", "/quirks", {"device": "leaf-1"}, 'give {"device": ..., "name": ..., "value": ...}'),
        ("DELETE", "/quirks?device=leaf", None, "no switch 'leaf'"),
        ("POST", "/rates", {"port": "leaf-1/Ethernet0", "rates": {"octets": 1}}, "no counter of a port: octets"),
        ("POST", "/rates", {"port": "leaf-1/Ethernet3", "rates": {"rx_bytes": 1}}, "no port 'Ethernet3' on leaf-1"),
        ("POST", "/rates", {"port": "leaf-1/Ethernet0", "rates": {"rx_bytes": -1}}, "rates of 0 or more"),
        ("POST", "/rates", {"port": "leaf-1/Ethernet0"}, 'give {"port"'),
        ("POST", "/restart", {"device": "leaf-1", "what": "rack"}, 'give {"device": ..., "what": "switch" or "snmp"}'),
        ("POST", "/restart", {"device": "leaf-9", "what": "snmp"}, "no switch 'leaf-9'"),
        ("POST", "/traps", {"to": "127.0.0.1"}, "to is '127.0.0.1': give an address and a UDP port"),
        ("POST", "/traps", {"at": "127.0.0.1:162"}, 'give {"to": "127.0.0.1:9162"}'),
    ],
)
async def test_mistakes_about_switches_are_told(
    control: Control, method: str, path: str, body: object, reason: str
) -> None:
    status, answer = await ask(method, f"{control.url}{path}", json=body)
    assert status == 400
    assert reason in answer["error"]


async def test_rates_restarts_and_traps_are_set_from_outside(factory: Factory, control: Control) -> None:
    body: dict[str, Any] = {"port": "leaf-1/Ethernet0", "rates": {"rx_bytes": 1.25e8}}
    assert (await ask("POST", f"{control.url}/rates", json=body))[0] == 200
    factory.advance(START + 2)
    assert factory.state.switches.rx_bytes.rate[0, 0] == 1.25e8
    assert (await ask("DELETE", f"{control.url}/rates?device=leaf-1"))[0] == 200
    factory.advance(START + 3)
    assert factory.state.switches.rx_bytes.rate[0, 0] != 1.25e8
    assert (await ask("POST", f"{control.url}/restart", json={"device": "leaf-1", "what": "snmp"}))[0] == 200
    assert factory.state.switches.snmp_start[0] == START + 3
    assert (await ask("POST", f"{control.url}/restart", json={"device": "leaf-1", "what": "switch"}))[0] == 200
    assert factory.state.switches.boot_time[0] == START + 3
    assert await ask("POST", f"{control.url}/traps", json={"to": "127.0.0.1:9162"}) == (200, {"to": "127.0.0.1:9162"})
    assert factory.traps_to == ("127.0.0.1", 9162)
    await ask("POST", f"{control.url}/traps", json={"to": None})
    assert factory.traps_to is None
