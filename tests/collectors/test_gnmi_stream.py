"""Readers of streams: what nobody fetches is bounded, and the word that a table is complete is heard."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gnmi_site import Site, json_value, serve, until
from pygnmi.spec.v080 import gnmi_pb2, gnmi_pb2_grpc

from collectors.collector import DeviceRefusedError, ProtocolError
from collectors.gnmi import client as gnmi_client
from collectors.gnmi.answers import read_notifications
from collectors.gnmi.client import GnmiClient, GnmiStream
from collectors.gnmi.stream import CHANGES_KEPT, Changes, Sampler


async def test_sampled_values_are_read_while_nobody_fetches_them_and_the_newest_counts(site: Site) -> None:
    sampler = Sampler(GnmiClient(site.target()), "COUNTERS_DB", ("COUNTERS/Ethernet*",), 1.0)
    sampler.start()
    before = int(site.factory.state.switches.rx_bytes.at(site.now, (1, 0)))
    await until(lambda: sampler.dropped >= 1)
    site.pass_time(60)
    told = site.service.answered
    await until(lambda: sampler.dropped >= 2 and site.service.answered > told)
    answers, _ = (await sampler.fetch(5.0)).read()
    newest = int(answers["COUNTERS/Ethernet*"]["etp1"]["SAI_PORT_STAT_IF_IN_OCTETS"])
    assert newest == int(site.factory.state.switches.rx_bytes.at(site.now, (1, 0))) > before
    await sampler.aclose()


class Flood(gnmi_pb2_grpc.gNMIServicer):
    """A server with more changes at once than anybody keeps."""

    sent = 0

    async def Subscribe(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await anext(requests)
        path = gnmi_pb2.Path(elem=[gnmi_pb2.PathElem(name="PORT_TABLE")])
        for self.sent in range(1, CHANGES_KEPT + 501):
            update = gnmi_pb2.Update(path=path, val=json_value(f'{{"Ethernet0": {{"number": "{self.sent}"}}}}'))
            yield gnmi_pb2.SubscribeResponse(update=gnmi_pb2.Notification(update=[update]))
        yield gnmi_pb2.SubscribeResponse(sync_response=True)
        await asyncio.Event().wait()


async def test_changes_that_nobody_takes_are_bounded_and_the_oldest_go_first() -> None:
    flood = Flood()
    server, port = await serve(flood)
    site = Site(port=port)
    changes = Changes(GnmiClient(site.target()), "APPL_DB", "PORT_TABLE")
    changes.start()
    await until(lambda: changes.synced)
    assert flood.sent == CHANGES_KEPT + 500
    assert changes.dropped == 500
    found = [read_notifications([one], ("PORT_TABLE",))[0]["PORT_TABLE"] for one in await changes.fetch()]
    assert [one["Ethernet0"]["number"] for one in (found[0], found[-1])] == ["501", str(CHANGES_KEPT + 500)]
    assert len(found) == CHANGES_KEPT
    await changes.aclose()
    await server.stop(None)


class Slow(gnmi_pb2_grpc.gNMIServicer):
    """A server that says only later that the table, which it has sent, is complete."""

    def __init__(self) -> None:
        self.complete = asyncio.Event()

    async def Subscribe(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await anext(requests)
        update = gnmi_pb2.Update(path=gnmi_pb2.Path(elem=[gnmi_pb2.PathElem(name="PORT_TABLE")]), val=json_value("{}"))
        yield gnmi_pb2.SubscribeResponse(update=gnmi_pb2.Notification(update=[update]))
        await self.complete.wait()
        yield gnmi_pb2.SubscribeResponse(sync_response=True)


async def test_word_that_the_table_is_complete_is_heard_without_another_change() -> None:
    slow = Slow()
    server, port = await serve(slow)
    changes = Changes(GnmiClient(Site(port=port).target()), "APPL_DB", "PORT_TABLE")
    changes.start()
    assert (len(await changes.fetch()), changes.synced) == (1, False)
    slow.complete.set()
    assert await changes.fetch() == []
    assert changes.synced
    with pytest.raises(DeviceRefusedError, match="ended by the device"):
        await changes.fetch()
    await changes.aclose()
    await server.stop(None)


class Endless(gnmi_pb2_grpc.gNMIServicer):
    """A server whose round never ends."""

    async def Subscribe(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        request = await anext(requests)
        update = gnmi_pb2.Update(path=request.subscribe.subscription[0].path, val=json_value("{}"))
        while True:
            yield gnmi_pb2.SubscribeResponse(update=gnmi_pb2.Notification(update=[update]))


@pytest.mark.parametrize(("limit", "most"), [("ROUND_NOTIFICATIONS", 50), ("ROUND_BYTES", 2_000)])
async def test_round_that_never_ends_is_given_up_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(gnmi_client, limit, most)
    server, port = await serve(Endless())
    stream = GnmiStream(GnmiClient(Site(port=port).target()), "COUNTERS_DB", ("COUNTERS/Ethernet*",))
    with pytest.raises(ProtocolError, match=r"notifications, .* bytes and no sync_response: stream closed"):
        await stream.ask()
    assert stream.channel is None
    await server.stop(None)
