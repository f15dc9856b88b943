"""The coolant distribution units as Redfish resources.

Source: DMTF DSP8010 2025.4 (CoolingUnit 1.5, CoolantConnector 1.3, Pump 1.2, LeakDetector 1.6, Reservoir 1.0, Filter
1.1, EnvironmentMetrics 1.5).
"""

from collections.abc import Callable
from functools import partial

from collectors.simulator.factory import Factory
from collectors.simulator.redfish_tree import Event, Makers, Resource, Tree, link, members, reading, status

_CDU = "/redfish/v1/ThermalEquipment/CDUs/1"
_DETECTORS = f"{_CDU}/LeakDetection/LeakDetectors"
_PARTS = ("PrimaryCoolantConnectors", "SecondaryCoolantConnectors", "Pumps", "Reservoirs", "Filters", "LeakDetection")


class Cdu:
    """One CDU: a connector per loop, two pumps, a reservoir, a filter, a leak detector."""

    def __init__(self, factory: Factory, index: int, _: Callable[[], float]) -> None:
        self._factory = factory
        self._index = index

    def tree(self) -> Tree:
        """Return its resources."""
        makers: Makers = {
            "/redfish/v1/ThermalEquipment": lambda: link("CDUs", "/redfish/v1/ThermalEquipment/CDUs"),
            **members("/redfish/v1/ThermalEquipment/CDUs", "1"),
            _CDU: self._unit,
            **members(f"{_CDU}/PrimaryCoolantConnectors", "1"),
            f"{_CDU}/PrimaryCoolantConnectors/1": self._primary,
            **members(f"{_CDU}/SecondaryCoolantConnectors", "1"),
            f"{_CDU}/SecondaryCoolantConnectors/1": self._secondary,
            **members(f"{_CDU}/Pumps", "1", "2"),
            **{f"{_CDU}/Pumps/{pump + 1}": partial(self._pump, pump) for pump in range(2)},
            **members(f"{_CDU}/Reservoirs", "1"),
            f"{_CDU}/Reservoirs/1": self._reservoir,
            **members(f"{_CDU}/Filters", "1"),
            f"{_CDU}/Filters/1": self._filter,
            f"{_CDU}/LeakDetection": lambda: link("LeakDetectors", _DETECTORS),
            **members(_DETECTORS, "Moisture"),
            f"{_DETECTORS}/Moisture": self._leak,
            f"{_CDU}/EnvironmentMetrics": self._environment,
        }
        watched: dict[str, Callable[[], Event]] = {f"{_DETECTORS}/Moisture": self._leak_event}
        for pump in range(2):
            watched[f"{_CDU}/Pumps/{pump + 1}"] = partial(self._pump_event, pump)
        return Tree(("ThermalEquipment",), makers, watched)

    def _leak_event(self) -> Event:
        is_dry = not self._factory.state.cdus.leak[self._index]
        if is_dry:
            return "Environmental.1.4.LeakDetectedNormal", "OK"
        return "Environmental.1.4.LeakDetectedCritical", "Critical"

    def _pump_event(self, pump: int) -> Event:
        is_good = bool(self._factory.state.cdus.pump_ok[self._index, pump])
        return ("Environmental.1.4.PumpRestored", "OK") if is_good else ("Environmental.1.4.PumpFailed", "Critical")

    def _unit(self) -> Resource:
        cdu = self._factory.layout.cdus[self._index]
        return {
            "@odata.type": "#CoolingUnit.v1_5_0.CoolingUnit",
            "Name": cdu.name,
            "EquipmentType": "CDU",
            "CoolingCapacityWatts": cdu.rated_watts,
            "Status": status(bool(self._factory.state.cdus.pump_ok[self._index].all())),
            "Coolant": {"CoolantType": "Water", "AdditiveName": "Propylene glycol", "AdditivePercent": 25},
            **{part: {"@odata.id": f"{_CDU}/{part}"} for part in (*_PARTS, "EnvironmentMetrics")},
        }

    def _primary(self) -> Resource:
        valve = self._factory.state.cdus.valve_ratio[self._index]
        return {**self._connector("Facility water", "fws"), "ValvePositionPercent": reading(valve * 100)}

    def _secondary(self) -> Resource:
        return self._connector("Technology coolant", "tcs")

    def _connector(self, name: str, loop: str) -> Resource:
        """Return what both connectors tell; `loop` is the prefix of its state (fws, tcs)."""
        cdus = self._factory.state.cdus

        def read(what: str) -> float:
            return float(getattr(cdus, f"{loop}_{what}")[self._index])

        return {
            "@odata.type": "#CoolantConnector.v1_3_0.CoolantConnector",
            "Name": name,
            "CoolantConnectorType": "Pair",
            "Status": {"State": "Enabled", "Health": "OK"},
            "SupplyTemperatureCelsius": reading(read("supply_celsius"), 3),
            "ReturnTemperatureCelsius": reading(read("return_celsius"), 3),
            "SupplyPressurekPa": reading(read("supply_pascals") / 1e3),
            "ReturnPressurekPa": reading(read("return_pascals") / 1e3),
            "FlowLitersPerMinute": reading(read("flow_liters_per_second") * 60),
            "HeatRemovedkW": reading(cdus.heat_watts[self._index] / 1e3, 3),
        }

    def _pump(self, pump: int) -> Resource:
        cdus, index = self._factory.state.cdus, self._index
        return {
            "@odata.type": "#Pump.v1_2_0.Pump",
            "Name": f"Pump {pump + 1}",
            "PumpType": "Liquid",
            "Status": status(bool(cdus.pump_ok[index, pump])),
            "PumpSpeedPercent": {
                **reading(cdus.pump_ratio[index, pump] * 100),
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
            "FluidLevelPercent": reading(level * 100),
        }

    def _filter(self) -> Resource:
        cdus, index = self._factory.state.cdus, self._index
        return {
            "@odata.type": "#Filter.v1_1_0.Filter",
            "Name": "Filter of the technology loop",
            "DeltaLiquidPressurekPa": reading((cdus.filter_in_pascals - cdus.filter_out_pascals)[index] / 1e3),
        }

    def _leak(self) -> Resource:
        return leak_detector("Drip tray", bool(self._factory.state.cdus.leak[self._index]))

    def _environment(self) -> Resource:
        cdus, index = self._factory.state.cdus, self._index
        return {
            "@odata.type": "#EnvironmentMetrics.v1_5_0.EnvironmentMetrics",
            "Name": "Environment",
            "TemperatureCelsius": reading(cdus.ambient_celsius[index]),
            "HumidityPercent": reading(cdus.humidity_ratio[index] * 100),
            "DewPointCelsius": reading(cdus.dew_point_celsius[index]),
            "PowerWatts": reading(cdus.power_watts[index]),
        }


def leak_detector(name: str, is_wet: bool) -> Resource:
    """Return a leak detector as it stands."""
    return {
        "@odata.type": "#LeakDetector.v1_6_0.LeakDetector",
        "Name": name,
        "LeakDetectorType": "Moisture",
        "DetectorState": "Critical" if is_wet else "OK",
        "Status": {"State": "Enabled", "Health": "Critical" if is_wet else "OK"},
    }
