"""Recorded devices, played over their real protocol on a port of 127.0.0.1.

A recording is plain data, `docs/contracts.md` section 7; the protocol's own part is handed to the protocol's player,
and a player imports its libraries only when it plays.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

PROTOCOLS = ("snmp", "modbus", "redfish", "mqtt")


def play(recording: Mapping[str, Any], folder: Path, port: int = 0) -> AbstractAsyncContextManager[str]:
    """Return the player of a recording: it yields the URL to poll while its block runs.

    Folders that the recording names are relative to `folder`, the one of its file; port 0 picks one.

    Raises:
        ValueError: the recording has none or several of the protocols; when opened: what in it cannot be played.
    """
    found = [protocol for protocol in PROTOCOLS if protocol in recording]
    if len(found) != 1:
        raise ValueError(f"a recording has exactly one of {', '.join(PROTOCOLS)}, not {', '.join(found) or 'none'}")
    recorded = recording[found[0]]
    match found[0]:
        case "snmp":
            from collectors.simulator import replay_snmp

            return replay_snmp.played(recorded, port)
        case "modbus":
            from collectors.simulator import replay_modbus

            return replay_modbus.played(recorded, port)
        case "redfish":
            from collectors.simulator import replay_redfish

            return replay_redfish.played(recorded, folder, port)
        case _:
            from collectors.simulator import replay_mqtt

            return replay_mqtt.played(recorded, port)
