"""The profile over a real gRPC socket: a server plays the recorded answers, the collector asks it like a switch."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from pygnmi.spec.v080 import gnmi_pb2, gnmi_pb2_grpc

from collectors.collector import Target
from collectors.gnmi import collector as gnmi
from collectors.profile import load_profile

CASES = Path(__file__).parent / "data" / "gnmi"


@dataclass
class Recorded(gnmi_pb2_grpc.gNMIServicer):  # type: ignore[misc]
    """A switch that has the paths of one case, and NOT_FOUND for every other."""

    answers: dict[str, Any]

    async def Get(self, request: Any, context: Any) -> Any:
        found = [self._notification(request.prefix, path) for path in request.path]
        if None in found:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such path")
        return gnmi_pb2.GetResponse(notification=found)

    async def Subscribe(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        wanted = (await anext(aiter(requests))).subscribe
        if wanted.mode != gnmi_pb2.SubscriptionList.Mode.POLL:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "only POLL here")
        while True:
            for one in wanted.subscription:
                notification = self._notification(wanted.prefix, one.path)
                if notification is None:
                    await context.abort(grpc.StatusCode.NOT_FOUND, "no such path")
                yield gnmi_pb2.SubscribeResponse(update=notification)
            yield gnmi_pb2.SubscribeResponse(sync_response=True)
            if await anext(aiter(requests), None) is None:
                return

    def _notification(self, prefix: Any, path: Any) -> Any:
        found = self.answers.get(f"{prefix.target} {'/'.join(element.name for element in path.elem)}")
        if found is None:
            return None
        value = gnmi_pb2.TypedValue(json_ietf_val=json.dumps(found).encode())
        return gnmi_pb2.Notification(timestamp=1, prefix=prefix, update=[gnmi_pb2.Update(path=path, val=value)])


async def test_a_switch_on_a_socket_gives_every_measurement_of_the_profile() -> None:
    server = grpc.aio.server()
    gnmi_pb2_grpc.add_gNMIServicer_to_server(Recorded(json.loads((CASES / "healthy.json").read_text())), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    target = Target(
        "leaf-1",
        "gnmi",
        f"127.0.0.1:{port}",
        options={"tls": "off"},
        timeout=timedelta(seconds=20),
        tags={"rack": "N1"},
    )
    collector = gnmi.open_collector(target, load_profile("sonic_gnmi"))
    try:
        results = [await collector.poll(number * 30 * 10**9) for number in (1, 2)]
    finally:
        await collector.aclose()
        await server.stop(None)
    for number, result in enumerate(results, 1):
        points = {
            (p.measurement, *(v for k, v in p.tags.items() if k not in ("device", "rack"))): p for p in result.points
        }
        octets = points["interface", "Ethernet0", "etp1", "port"]
        assert octets.fields["rx_bytes_total"] == float(2**53 + 1)
        assert octets.time_ns == number * 30 * 10**9
        assert octets.tags == {
            "rack": "N1",
            "device": "leaf-1",
            "interface": "Ethernet0",
            "alias": "etp1",
            "kind": "port",
        }
        assert points["pfc", "Ethernet0", "3"].fields["rx_pause_seconds_total"] == 2.5
        assert points["power", "switch", "total", "output"].fields["active_watts"] == 750.0
        assert points["inventory", "link", "node-a01-1.example", "leaf-1", "links", "Ethernet0"].fields["present"] == 1
        assert result.rejected == ()
        kinds = {p.measurement for p in result.points}
        told = "interface pfc queue priority_group lag_member transceiver power fan environment inventory switch"
        assert kinds >= set(told.split())
