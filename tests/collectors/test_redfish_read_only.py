"""Nothing is written: every request on the socket is a GET, a log-in, or the end of our own session."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable

import pytest
from devices import target_of
from redfish_service import CDU, STREAM, served
from wire import Wire, tapped

from collectors.collector import CollectError, Target
from collectors.profile import Library, Profile
from collectors.redfish import collector as redfish
from collectors.simulator import redfish as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from storage.config import Secret

START = 1_760_000_000.0
REQUEST = re.compile(rb"(?:^|\r\n\r\n|\})([A-Z]+) (/\S*) HTTP/1\.1\r\n")
SESSIONS = "/redfish/v1/SessionService/Sessions"
PROFILES = Library().of_protocol("redfish")


def requests(wire: Wire) -> Iterable[tuple[str, str]]:
    for sent in wire.sent:
        yield from ((method.decode(), path.decode()) for method, path in REQUEST.findall(bytes(sent)))


async def check(wire: Wire) -> None:
    """Assert that only our own session was written, once the relay has taken note of the last connection's end."""
    relays = [task for task in asyncio.all_tasks() if "Wire._relay" in repr(task.get_coro())]
    if relays:
        await asyncio.wait(relays, timeout=60)
    seen = Counter((method, path) for method, path in requests(wire) if method != "GET")
    for (method, path), _ in seen.items():
        is_log_in = (method, path) == ("POST", SESSIONS)
        assert is_log_in or (method == "DELETE" and re.fullmatch(SESSIONS + r"/\w+", path)), (method, path)
    assert any(method == "GET" for method, _ in requests(wire))
    # No other method hides between the requests that were recognised.
    text = b"".join(bytes(sent) for sent in wire.sent)
    assert not re.search(rb"\b(PATCH|PUT|OPTIONS|TRACE|CONNECT) /", text)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.profile)
async def test_all_a_profile_does_to_a_device_is_reading(profile: Profile) -> None:
    factory = Factory(build_layout(64), seed=1, start=START)
    service = await simulator.serve(factory, [(profile.profile, "device", 0)], lambda: START)
    plain = target_of(service.devices[0])
    async with tapped(int(plain.address.rpartition(":")[2])) as wire:
        target = Target(**{**_fields(plain), "address": f"127.0.0.1:{wire.port}"})
        assert await redfish.identify(target, PROFILES) == profile
        collector = redfish.RedfishCollector(target, profile)
        collector.listen(lambda _: None)
        for time_ns in range(1, 4):
            assert (await collector.poll(time_ns)).points
        await collector.aclose()
        await redfish.examine(target, profile)
        await check(wire)
    await service.close()


async def test_neither_do_errors_lead_to_a_write() -> None:
    profile = next(profile for profile in PROFILES if profile.profile == "redfish_cdu")
    async with served() as service, tapped(service.port) as wire:
        target = service.target(address=f"127.0.0.1:{wire.port}", username="watt", password=Secret("hour"))
        service.token = "nobody's"
        service.overlay["/redfish/v1/EventService"] = {"ServerSentEventUri": STREAM}
        service.overlay["/redfish/v1"] = {"ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": True}}}
        collector = redfish.RedfishCollector(target, profile)
        collector.listen(lambda _: None)
        await collector.poll(1)
        for time_ns, mood in enumerate(("token", "garbage", "location", "busy"), start=2):
            service.token = "forgotten" if mood == "token" else service.token
            service.overlay[f"{CDU}/Pumps/1"] = b"\x00\xff" if mood == "garbage" else {"Members": None}
            service.location = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
            service.busy = "0" if mood == "busy" else None
            try:
                await collector.poll(time_ns)
            except CollectError:
                continue
        service.busy = None
        await collector.aclose()
        await check(wire)


def _fields(target: Target) -> dict[str, object]:
    return {name: getattr(target, name) for name in Target.__dataclass_fields__}
