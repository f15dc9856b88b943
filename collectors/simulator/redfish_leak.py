"""A rack's leak controller as Redfish resources. Source: DMTF DSP8010 2025.4 (LeakDetection 1.2, LeakDetector 1.6)."""

from collections.abc import Callable

from collectors.simulator.factory import Factory
from collectors.simulator.redfish_cdu import leak_detector
from collectors.simulator.redfish_tree import Event, Makers, Resource, Tree, members

_DETECTORS = "/redfish/v1/Chassis/Rack/ThermalSubsystem/LeakDetection/LeakDetectors"


class LeakBox:
    """One rack's leak rope."""

    def __init__(self, factory: Factory, index: int, _: Callable[[], float]) -> None:
        self._factory = factory
        self._index = index

    def tree(self) -> Tree:
        """Return its resources."""
        makers: Makers = {
            **members("/redfish/v1/Chassis", "Rack"),
            **members(_DETECTORS, "Rope"),
            f"{_DETECTORS}/Rope": self._rope,
        }
        return Tree(("Chassis",), makers, {f"{_DETECTORS}/Rope": self._event})

    @property
    def _is_wet(self) -> bool:
        return bool(self._factory.state.racks.leak[self._index])

    def _rope(self) -> Resource:
        return leak_detector("Rope", self._is_wet)

    def _event(self) -> Event:
        state = ("LeakDetectedCritical", "Critical") if self._is_wet else ("LeakDetectedNormal", "OK")
        return f"Environmental.1.4.{state[0]}", state[1]
