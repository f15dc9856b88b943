"""The other half of the coolant distribution units, each a Redfish service with the DMTF cooling schemas.

Every reading is computed from the factory's state when it is asked for, with the decimals that such devices give.
Clients log in (user `monitor`) and carry a session token; resources have an ETag; anything that would change the device
is refused.

Source: DMTF DSP0266 1.20; DSP8010 2025.4 (CoolingUnit 1.5, CoolantConnector 1.3, Pump 1.2, LeakDetector 1.6,
Reservoir 1.0, EnvironmentMetrics 1.5).
"""

import asyncio
import json
import secrets
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from collectors.simulator.factory import Factory
from collectors.simulator.service import Device, Service

_USER = "monitor"
_CDU = "/redfish/v1/ThermalEquipment/CDUs/1"
_SESSIONS = "/redfish/v1/SessionService/Sessions"

Resource = Mapping[str, Any]


def _reading(value: float, decimals: int = 2) -> Resource:
    return {"Reading": round(float(value), decimals)}


def _status(is_good: bool) -> Resource:
    return {"State": "Enabled" if is_good else "UnavailableOffline", "Health": "OK" if is_good else "Critical"}


class _CduTree:
    """The resources of one CDU by their path."""

    def __init__(self, factory: Factory, index: int) -> None:
        self._factory = factory
        self._index = index
        self._makers: Mapping[str, Callable[[], Resource]] = {
            "/redfish/v1": self._root,
            "/redfish/v1/SessionService": lambda: {"Name": "Session Service", "Sessions": {"@odata.id": _SESSIONS}},
            "/redfish/v1/ThermalEquipment": lambda: {
                "Name": "Cooling Equipment",
                "CDUs": {"@odata.id": "/redfish/v1/ThermalEquipment/CDUs"},
            },
            "/redfish/v1/ThermalEquipment/CDUs": lambda: _collection("CDU Collection", [_CDU]),
            _CDU: self._unit,
            f"{_CDU}/PrimaryCoolantConnectors": lambda: _members(f"{_CDU}/PrimaryCoolantConnectors", "1"),
            f"{_CDU}/PrimaryCoolantConnectors/1": self._primary,
            f"{_CDU}/SecondaryCoolantConnectors": lambda: _members(f"{_CDU}/SecondaryCoolantConnectors", "1"),
            f"{_CDU}/SecondaryCoolantConnectors/1": self._secondary,
            f"{_CDU}/Pumps": lambda: _members(f"{_CDU}/Pumps", "1", "2"),
            f"{_CDU}/Pumps/1": lambda: self._pump(0),
            f"{_CDU}/Pumps/2": lambda: self._pump(1),
            f"{_CDU}/Reservoirs": lambda: _members(f"{_CDU}/Reservoirs", "1"),
            f"{_CDU}/Reservoirs/1": self._reservoir,
            f"{_CDU}/LeakDetection": lambda: {
                "Name": "Leak Detection",
                "LeakDetectors": {"@odata.id": f"{_CDU}/LeakDetection/LeakDetectors"},
            },
            f"{_CDU}/LeakDetection/LeakDetectors": lambda: _members(f"{_CDU}/LeakDetection/LeakDetectors", "Moisture"),
            f"{_CDU}/LeakDetection/LeakDetectors/Moisture": self._leak,
            f"{_CDU}/EnvironmentMetrics": self._environment,
        }

    def get(self, path: str) -> Resource | None:
        """Return the resource at this path, or None."""
        maker = self._makers.get(path)
        if maker is None:
            return None
        return {"@odata.id": path, "Id": path.rsplit("/", 1)[-1], **maker()}

    def _root(self) -> Resource:
        return {
            "@odata.type": "#ServiceRoot.v1_20_0.ServiceRoot",
            "Name": "Redfish Service",
            "RedfishVersion": "1.20.0",
            "ThermalEquipment": {"@odata.id": "/redfish/v1/ThermalEquipment"},
            "SessionService": {"@odata.id": "/redfish/v1/SessionService"},
            "Links": {"Sessions": {"@odata.id": _SESSIONS}},
        }

    def _unit(self) -> Resource:
        cdu = self._factory.layout.cdus[self._index]
        parts = ("PrimaryCoolantConnectors", "SecondaryCoolantConnectors", "Pumps", "Reservoirs", "LeakDetection")
        return {
            "@odata.type": "#CoolingUnit.v1_5_0.CoolingUnit",
            "Name": cdu.name,
            "EquipmentType": "CDU",
            "CoolingCapacityWatts": cdu.rated_watts,
            "Status": _status(bool(self._factory.state.cdus.pump_ok[self._index].all())),
            "Coolant": {"CoolantType": "Water", "AdditiveName": "Propylene glycol", "AdditivePercent": 25},
            **{part: {"@odata.id": f"{_CDU}/{part}"} for part in (*parts, "EnvironmentMetrics")},
        }

    def _primary(self) -> Resource:
        cdus, index = self._factory.state.cdus, self._index
        return {
            **_connector("Facility water"),
            "SupplyTemperatureCelsius": _reading(cdus.fws_supply_celsius[index], 3),
            "ReturnTemperatureCelsius": _reading(cdus.fws_return_celsius[index], 3),
            "SupplyPressurekPa": _reading(cdus.fws_supply_pascals[index] / 1e3),
            "ReturnPressurekPa": _reading(cdus.fws_return_pascals[index] / 1e3),
            "FlowLitersPerMinute": _reading(cdus.fws_flow_liters_per_second[index] * 60),
            "HeatRemovedkW": _reading(cdus.heat_watts[index] / 1e3, 3),
            "ValvePositionPercent": _reading(cdus.valve_ratio[index] * 100),
        }

    def _secondary(self) -> Resource:
        cdus, index = self._factory.state.cdus, self._index
        return {
            **_connector("Technology coolant"),
            "SupplyTemperatureCelsius": _reading(cdus.tcs_supply_celsius[index], 3),
            "ReturnTemperatureCelsius": _reading(cdus.tcs_return_celsius[index], 3),
            "SupplyPressurekPa": _reading(cdus.tcs_supply_pascals[index] / 1e3),
            "ReturnPressurekPa": _reading(cdus.tcs_return_pascals[index] / 1e3),
            "FlowLitersPerMinute": _reading(cdus.tcs_flow_liters_per_second[index] * 60),
            "HeatRemovedkW": _reading(cdus.heat_watts[index] / 1e3, 3),
        }

    def _pump(self, pump: int) -> Resource:
        cdus, index = self._factory.state.cdus, self._index
        return {
            "@odata.type": "#Pump.v1_2_0.Pump",
            "Name": f"Pump {pump + 1}",
            "PumpType": "Liquid",
            "Status": _status(bool(cdus.pump_ok[index, pump])),
            "PumpSpeedPercent": {
                **_reading(cdus.pump_ratio[index, pump] * 100),
                "SpeedRPM": round(float(cdus.pump_rpm[index, pump])),
            },
        }

    def _reservoir(self) -> Resource:
        level = self._factory.state.cdus.level_ratio[self._index]
        return {
            "@odata.type": "#Reservoir.v1_0_2.Reservoir",
            "Name": "Reservoir",
            "ReservoirType": "Inline",
            "FluidLevelStatus": "OK" if level > 0.4 else "Warning",
            "FluidLevelPercent": _reading(level * 100),
        }

    def _leak(self) -> Resource:
        is_dry = not self._factory.state.cdus.leak[self._index]
        return {
            "@odata.type": "#LeakDetector.v1_6_0.LeakDetector",
            "Name": "Drip tray",
            "LeakDetectorType": "Moisture",
            "DetectorState": "OK" if is_dry else "Critical",
            "Status": {"State": "Enabled", "Health": "OK" if is_dry else "Critical"},
        }

    def _environment(self) -> Resource:
        cdus, index = self._factory.state.cdus, self._index
        return {
            "@odata.type": "#EnvironmentMetrics.v1_5_0.EnvironmentMetrics",
            "Name": "Environment",
            "TemperatureCelsius": _reading(cdus.ambient_celsius[index]),
            "HumidityPercent": _reading(cdus.humidity_ratio[index] * 100),
            "DewPointCelsius": _reading(cdus.dew_point_celsius[index]),
            "PowerWatts": _reading(cdus.power_watts[index]),
        }


def _connector(name: str) -> Resource:
    return {
        "@odata.type": "#CoolantConnector.v1_3_0.CoolantConnector",
        "Name": name,
        "CoolantConnectorType": "Pair",
        "Status": {"State": "Enabled", "Health": "OK"},
    }


def _members(path: str, *names: str) -> Resource:
    return _collection(path.rsplit("/", 1)[-1], [f"{path}/{name}" for name in names])


def _collection(name: str, paths: Sequence[str]) -> Resource:
    return {"Name": name, "Members@odata.count": len(paths), "Members": [{"@odata.id": path} for path in paths]}


class _Server:
    """One CDU's web server: sessions, resources, ETags."""

    def __init__(self, factory: Factory, index: int, password: str) -> None:
        self._factory = factory
        self._name = factory.layout.cdus[index].name
        self._tree = _CduTree(factory, index)
        self._password = password
        self._tokens: dict[str, str] = {}

    def app(self) -> web.Application:
        """Return the application with all its routes."""
        app = web.Application(middlewares=[self._behave])
        app.router.add_post(_SESSIONS, self._log_in)
        app.router.add_delete(_SESSIONS + "/{token}", self._log_out)
        app.router.add_get("/{path:.*}", self._get)
        return app

    @web.middleware
    async def _behave(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Answer late, or not at all, where a fault says so."""
        if self._name in self._factory.silent:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("silent")
        if delay := self._factory.slow.get(self._name, 0.0):
            await asyncio.sleep(delay)
        answer: web.StreamResponse = await handler(request)
        answer.headers["OData-Version"] = "4.0"
        return answer

    async def _log_in(self, request: web.Request) -> web.Response:
        try:
            wanted = await request.json()
        except ValueError:
            return _error(400, "Base.1.18.MalformedJSON")
        if not isinstance(wanted, dict) or (wanted.get("UserName"), wanted.get("Password")) != (_USER, self._password):
            return _error(401, "Base.1.18.NoValidSession")
        number, token = str(len(self._tokens) + 1), secrets.token_hex(16)
        self._tokens[number] = token
        headers = {"X-Auth-Token": token, "Location": f"{_SESSIONS}/{number}"}
        return web.json_response({"Id": number, "UserName": _USER}, status=201, headers=headers)

    async def _log_out(self, request: web.Request) -> web.Response:
        known = self._tokens.pop(request.match_info["token"], None)
        return web.Response(status=204) if known else _error(404, "Base.1.18.ResourceMissingAtURI")

    async def _get(self, request: web.Request) -> web.Response:
        path = request.path.rstrip("/")
        is_open = path == "/redfish/v1"
        if not is_open and request.headers.get("X-Auth-Token") not in self._tokens.values():
            return _error(401, "Base.1.18.NoValidSession")
        resource = self._tree.get(path)
        if resource is None:
            return _error(404, "Base.1.18.ResourceMissingAtURI")
        body = json.dumps(resource).encode()
        etag = f'"{zlib.crc32(body):08x}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, content_type="application/json", headers={"ETag": etag})


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": code.rsplit(".", 1)[-1]}}, status=status)


async def start(factory: Factory, clock: Callable[[], float] = time.time) -> Service:
    """Serve each CDU with protocol redfish on its own port of 127.0.0.1."""
    runners: list[web.AppRunner] = []
    devices: list[Device] = []
    for index, cdu in enumerate(factory.layout.cdus):
        if cdu.protocol != "redfish":
            continue
        password = secrets.token_urlsafe(9)
        runner = web.AppRunner(_Server(factory, index, password).app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        url = f"redfish://{_USER}@127.0.0.1:{port}?tls=off"
        devices.append(Device(cdu.name, url, "redfish_cdu", 5.0, password=password))

    async def close() -> None:
        await asyncio.gather(*(runner.cleanup() for runner in runners))

    return Service(tuple(devices), close)
