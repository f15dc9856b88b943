"""Power shelves, rack PDUs and nodes as Redfish resources.

Source: DMTF DSP8010 2025.4 (PowerDistribution 1.6, PowerDistributionMetrics 1.4, Circuit 1.9, PowerSupply 1.6,
PowerSupplyMetrics 1.2, EnvironmentMetrics 1.5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from collectors.simulator.factory import Factory
from collectors.simulator.redfish_tree import Event, Makers, Resource, Tree, link, members, reading, status

_SHELF = "/redfish/v1/PowerEquipment/PowerShelves/1"
_SUPPLIES = "/redfish/v1/Chassis/Shelf/PowerSubsystem/PowerSupplies"
_PDU = "/redfish/v1/PowerEquipment/RackPDUs/1"
_NODE = "/redfish/v1/Chassis/Node"
_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Shelf:
    """One power shelf: its sum, its DC branch, its supplies."""

    factory: Factory
    index: int
    clock: Callable[[], float]

    def tree(self) -> Tree:
        """Return its resources."""
        units = [str(unit) for unit in self.factory.layout.shelves[self.index].units]
        makers: Makers = {
            "/redfish/v1/PowerEquipment": lambda: link("PowerShelves", "/redfish/v1/PowerEquipment/PowerShelves"),
            **members("/redfish/v1/PowerEquipment/PowerShelves", "1"),
            _SHELF: self._shelf,
            f"{_SHELF}/Metrics": self._metrics,
            **members(f"{_SHELF}/Branches", "DC"),
            f"{_SHELF}/Branches/DC": self._branch,
            **members("/redfish/v1/Chassis", "Shelf"),
            "/redfish/v1/Chassis/Shelf": lambda: {"Name": "Shelf", "ChassisType": "Shelf"},
            **members(_SUPPLIES, *units),
        }
        watched: dict[str, Callable[[], Event]] = {}
        for place, unit in enumerate(units):
            makers[f"{_SUPPLIES}/{unit}"] = partial(self._supply, place)
            makers[f"{_SUPPLIES}/{unit}/Metrics"] = partial(self._supply_metrics, place)
            watched[f"{_SUPPLIES}/{unit}"] = partial(self._event, place)
        return Tree(("PowerEquipment", "Chassis"), makers, watched)

    def _event(self, place: int) -> Event:
        is_good = bool(self.factory.state.shelves.psu_ok[self.index, place])
        return ("Power.1.2.PowerSupplyRestored", "OK") if is_good else ("Power.1.2.PowerSupplyFailed", "Critical")

    def _watts(self, watts: float) -> Resource:
        return _watts(self.factory, self.factory.layout.shelves[self.index].name, watts)

    def _shelf(self) -> Resource:
        is_good = bool(self.factory.state.shelves.psu_ok[self.index].all())
        return {
            "@odata.type": "#PowerDistribution.v1_6_0.PowerDistribution",
            "Name": self.factory.layout.shelves[self.index].name,
            "EquipmentType": "PowerShelf",
            "Status": {"State": "Enabled", "Health": "OK" if is_good else "Warning"},
        }

    def _metrics(self) -> Resource:
        shelves, index = self.factory.state.shelves, self.index
        joules = float(shelves.energy_joules.at(self.clock(), index))
        return {
            "@odata.type": "#PowerDistributionMetrics.v1_4_0.PowerDistributionMetrics",
            "Name": "Summary",
            "PowerWatts": self._watts(shelves.input_watts[index]),
            "EnergykWh": reading(joules / _JOULES_PER_KWH, 3),
            "TemperatureCelsius": reading(shelves.inlet_celsius[index], 1),
        }

    def _branch(self) -> Resource:
        shelves, index = self.factory.state.shelves, self.index
        volts, watts = float(shelves.bus_volts[index]), float(shelves.output_watts[index])
        return {
            "@odata.type": "#Circuit.v1_9_0.Circuit",
            "Name": "Bus bar",
            "CircuitType": "Bus",
            "VoltageType": "DC",
            "BreakerState": "Normal",
            "Voltage": reading(volts),
            "CurrentAmps": reading(watts / volts),
            "PowerWatts": self._watts(watts),
        }

    def _supply(self, place: int) -> Resource:
        shelf = self.factory.layout.shelves[self.index]
        return {
            "@odata.type": "#PowerSupply.v1_6_0.PowerSupply",
            "Name": f"Supply {place + 1}",
            "PowerCapacityWatts": shelf.psu_rated_watts,
            "Status": status(bool(self.factory.state.shelves.psu_ok[self.index, place])),
        }

    def _supply_metrics(self, place: int) -> Resource:
        shelves, at = self.factory.state.shelves, (self.index, place)
        if shelves.psu_silent[at]:
            return {"Name": "Metrics", "InputPowerWatts": None, "OutputPowerWatts": None}
        volts, watts = float(shelves.bus_volts[self.index]), float(shelves.psu_output_watts[at])
        is_good = bool(shelves.psu_ok[at])
        return {
            "@odata.type": "#PowerSupplyMetrics.v1_2_0.PowerSupplyMetrics",
            "Name": "Metrics",
            "InputPowerWatts": self._watts(shelves.psu_input_watts[at]),
            "InputVoltage": reading(shelves.input_volts),
            "OutputPowerWatts": self._watts(watts),
            "RailVoltage": [reading(volts if is_good else 0.0)],
            "RailCurrentAmps": [reading(watts / volts)],
        }


@dataclass(frozen=True, slots=True)
class RackPdu:
    """One three-phase rack PDU: its sum and its mains."""

    factory: Factory
    index: int
    clock: Callable[[], float]

    def tree(self) -> Tree:
        """Return its resources."""
        makers: Makers = {
            "/redfish/v1/PowerEquipment": lambda: link("RackPDUs", "/redfish/v1/PowerEquipment/RackPDUs"),
            **members("/redfish/v1/PowerEquipment/RackPDUs", "1"),
            _PDU: lambda: {"Name": "PDU", "EquipmentType": "RackPDU", "Status": {"State": "Enabled", "Health": "OK"}},
            f"{_PDU}/Metrics": self._metrics,
            **members(f"{_PDU}/Mains", "AC1"),
            f"{_PDU}/Mains/AC1": self._mains,
        }
        return Tree(("PowerEquipment",), makers, {})

    def _power(self) -> Resource:
        pdus, index = self.factory.state.pdus, self.index
        name = self.factory.layout.pdus[index].name
        watts, volt_amperes = float(pdus.watts[index]), float(pdus.volt_amperes[index])
        factor = round(watts / volt_amperes, 3) if volt_amperes > 0 else None
        return {**_watts(self.factory, name, watts), "ApparentVA": round(volt_amperes, 1), "PowerFactor": factor}

    def _metrics(self) -> Resource:
        joules = float(self.factory.state.pdus.energy_joules.at(self.clock(), self.index))
        return {
            "@odata.type": "#PowerDistributionMetrics.v1_4_0.PowerDistributionMetrics",
            "Name": "Summary",
            "PowerWatts": self._power(),
            "EnergykWh": reading(joules / _JOULES_PER_KWH, 3),
        }

    def _mains(self) -> Resource:
        pdus, index = self.factory.state.pdus, self.index
        amperes, volts = pdus.phase_amperes[index], pdus.phase_volts[index]
        return {
            "@odata.type": "#Circuit.v1_9_0.Circuit",
            "Name": "Mains",
            "CircuitType": "Mains",
            "PhaseWiringType": "ThreePhase5Wire",
            "VoltageType": "AC",
            "BreakerState": "Normal",
            "PowerWatts": self._power(),
            "PolyPhaseCurrentAmps": {f"Line{phase + 1}": reading(amperes[phase]) for phase in range(3)},
            "PolyPhaseVoltage": {f"Line{phase + 1}ToNeutral": reading(volts[phase], 1) for phase in range(3)},
        }


@dataclass(frozen=True, slots=True)
class Node:
    """One node's BMC: the power of the whole node, and of a board within it."""

    factory: Factory
    index: int
    clock: Callable[[], float]

    def tree(self) -> Tree:
        """Return its resources."""
        makers: Makers = {
            **members("/redfish/v1/Systems", "Node"),
            **members("/redfish/v1/Chassis", "Node", "Baseboard"),
            _NODE: lambda: {"Name": "Node", "ChassisType": "RackMount"},
            f"{_NODE}/EnvironmentMetrics": self._environment,
            "/redfish/v1/Chassis/Baseboard": lambda: {"ChassisType": "Module", "Links": link("ContainedBy", _NODE)},
            "/redfish/v1/Chassis/Baseboard/EnvironmentMetrics": self._baseboard,
        }
        return Tree(("Systems", "Chassis"), makers, {})

    def _environment(self) -> Resource:
        nodes = self.factory.state.nodes
        joules = float(nodes.energy_joules.at(self.clock(), self.index))
        return {
            "@odata.type": "#EnvironmentMetrics.v1_5_0.EnvironmentMetrics",
            "Name": "Node",
            "PowerWatts": reading(nodes.power_watts[self.index], 1),
            "EnergykWh": reading(joules / _JOULES_PER_KWH, 4),
        }

    def _baseboard(self) -> Resource:
        host = self.factory.layout.hosts[self.index]
        boards = self.factory.state.gpus.power_watts[host.gpu_start : host.gpu_start + host.gpu_count]
        return {"Name": "Baseboard", "PowerWatts": reading(float(boards.sum()), 1)}


def _watts(factory: Factory, name: str, watts: float) -> Resource:
    """Return a device's watts, or its kilowatts where a fault has it mistake them."""
    return reading(watts / 1000, 4) if name in factory.kilowatts else reading(watts, 1)
