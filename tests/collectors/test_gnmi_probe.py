"""What `examine` says of a switch: what it offers, what is missing, and which setting enables it."""

import pytest
from gnmi_site import Site

from collectors.collector import DeviceRefusedError
from collectors.gnmi import collector as gnmi
from collectors.profile import load_profile


async def examined(site: Site) -> list[str]:
    return list(await gnmi.examine(site.target(), load_profile("sonic_gnmi")))


def line(lines: list[str], start: str) -> str:
    found = [one for one in lines if one.startswith(start)]
    assert len(found) == 1, (start, lines)
    return found[0]


async def test_healthy_switch_is_described(site: Site) -> None:
    lines = await examined(site)
    assert line(lines, "gNMI ") == "gNMI 0.7.0, encodings JSON, JSON_IETF, PROTO, models sonic-db 0.1.0"
    assert "COUNTERS/Ethernet* (64 rows)" in line(lines, "COUNTERS_DB:")
    assert line(lines, "TLS:") == "TLS: off: names, passwords and counters go in clear"
    assert "POLL of COUNTERS/Ethernet*: accepted, a round takes" in line(lines, "POLL")
    assert line(lines, "SAMPLE") == "SAMPLE of COUNTERS/Ethernet*: proven by a second value"
    assert line(lines, "ON_CHANGE") == "ON_CHANGE of PORT_TABLE: accepted: link changes are told at once"
    assert line(lines, "map of ports") == "map of ports: fresh, 64 ports"
    # one stream at a time, each on a connection of its own
    assert len(set(site.service.connections)) == len(site.service.connections) == 3


async def test_weaknesses_are_told(site: Site) -> None:
    site.quirks.no_poll = site.quirks.silent_sample = site.quirks.no_ecn = True
    lines = await examined(site)
    assert "POLL of COUNTERS/Ethernet*: refused:" in line(lines, "POLL")
    assert "silent after its first value" in line(lines, "SAMPLE")
    ecn = next(one for one in lines if "queue.ecn_marked_packets_total" in one)
    assert ecn.startswith("absent: ")
    assert "FLEX_COUNTER_TABLE|WRED_ECN_QUEUE" in ecn


async def test_stale_map_is_told(site: Site) -> None:
    site.quirks.stale_map = True
    assert "restart the telemetry or gnmi container" in line(await examined(site), "the map of ports is stale")


async def test_switch_that_is_away_is_an_error(site: Site) -> None:
    await site.close()
    with pytest.raises(DeviceRefusedError, match="Capabilities"):
        await examined(site)
