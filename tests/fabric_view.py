"""A look at the fabric of a stated leaf switch, and what tests read from it."""

from typing import Any

from leaf import Leaf

from dashboard.fabric.answer import port_json, to_json
from dashboard.fabric.view import View, update
from dashboard.settings import DashboardSettings
from dashboard.site import Site

SETTINGS = DashboardSettings()
SITE = Site(switches={"leaf-1": "N01"}, uplinks={"leaf-1": ("node-1", "node-2")})
GPUS = {"node-1": 8, "node-2": 8}


def view(leaf: Leaf, old: View | None = None, after: float = 5.0, site: Site = SITE) -> View:
    """Write what was added and return the view, `after` seconds from the leaf's now."""
    leaf.settle()
    return update(leaf.store, site, SETTINGS, old, leaf.now + after, gpus_of_host=dict(GPUS))


def port(made: View, interface: str, device: str = "leaf-1") -> dict[str, Any]:
    """Return one port's row."""
    return port_json(made, made.roster.find(device, interface))


def states(made: View) -> list[str]:
    """Return the states of the ports of the only switch."""
    (switch,) = to_json(made, "utilization")["switches"]
    return [state for _, _, _, state in switch["ports"]]
