"""What the Redfish trees of all simulated devices share: the service root, collections, readings, events."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Resource = Mapping[str, Any]
Maker = Callable[[], Resource]
#: path -> what is there now
Makers = dict[str, Maker]

SESSIONS = "/redfish/v1/SessionService/Sessions"
EVENTS = "/redfish/v1/EventService"
STREAM = "/redfish/v1/EventService/SSE"

#: message and severity of an event of a resource
Event = tuple[str, str]


class Tree:
    """The resources of one device by their path."""

    def __init__(self, branches: Sequence[str], makers: Makers, watched: Mapping[str, Callable[[], Event]]) -> None:
        """`branches`: what the service root has; `watched`: resources that tell of it when their state changes."""
        self.watched = watched
        self._makers: Makers = {
            "/redfish/v1": lambda: _root(branches),
            "/redfish/v1/SessionService": lambda: {"Name": "Session Service", **link("Sessions", SESSIONS)},
            EVENTS: lambda: {"Name": "Event Service", "ServiceEnabled": True, "ServerSentEventUri": STREAM},
            **makers,
        }

    def get(self, path: str) -> Resource | None:
        """Return the resource at this path, or None."""
        maker = self._makers.get(path)
        if maker is None:
            return None
        return {"@odata.id": path, "Id": path.rsplit("/", 1)[-1], **maker()}

    def expanded(self, path: str) -> Resource | None:
        """Return a collection with its members in it, as `$expand=.($levels=1)` asks."""
        whole = self.get(path)
        if whole is None or "Members" not in whole:
            return whole
        return {**whole, "Members": [self.get(member["@odata.id"]) for member in whole["Members"]]}


def _root(branches: Sequence[str]) -> Resource:
    return {
        "@odata.type": "#ServiceRoot.v1_20_0.ServiceRoot",
        "Name": "Redfish Service",
        "RedfishVersion": "1.20.0",
        "ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": True, "Levels": True, "MaxLevels": 1}},
        **{branch: {"@odata.id": f"/redfish/v1/{branch}"} for branch in (*branches, "SessionService", "EventService")},
        "Links": {"Sessions": {"@odata.id": SESSIONS}},
    }


def link(name: str, path: str) -> Resource:
    """Return a property that refers to a resource."""
    return {name: {"@odata.id": path}}


def reading(value: float, decimals: int = 2) -> Resource:
    """Return the excerpt of a sensor with the decimals that it shows."""
    return {"Reading": round(float(value), decimals)}


def status(is_good: bool) -> Resource:
    """Return the status of a part that works, or of one that has failed."""
    return {"State": "Enabled" if is_good else "UnavailableOffline", "Health": "OK" if is_good else "Critical"}


def members(path: str, *names: str) -> Makers:
    """Return a collection and its path."""
    links = [{"@odata.id": f"{path}/{name}"} for name in names]
    found = {"Name": path.rsplit("/", 1)[-1], "Members@odata.count": len(links), "Members": links}
    return {path: lambda: found}
