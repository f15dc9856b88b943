"""What the gNMI collector makes of leaves, paths, options and profiles; `simulator/test_gnmi.py` has the wire."""

import socket
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygnmi.spec.v080 import gnmi_pb2

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, Target
from collectors.gnmi import collector as gnmi
from collectors.gnmi.client import GnmiClient, make_path
from collectors.gnmi.rows import Ports, parse_leaf
from collectors.profile import Group, PointSpec, Profile, load_profile
from storage.config import ConfigError

TARGET = Target("leaf-9", "gnmi", "127.0.0.1:8080", options={"tls": "off"}, timeout=timedelta(seconds=3))


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("123", 123),
        ("-5.4", -5.4),
        ("1.2e-08", 1.2e-08),
        ("18446744073709551615", 2**64 - 1),
        ("true", "true"),
        ("up", "up"),
        ("1,2,3,4", "1,2,3,4"),
        (7, 7),
        ("", None),
        ("N/A", None),
        ("None", None),
        ("inf", None),
        ("-inf", None),
        ("nan", None),
        (None, None),
        ({"nested": "1"}, None),
    ],
)
def test_leaf_is_a_number_where_its_text_is_one(leaf: object, value: object) -> None:
    assert parse_leaf(leaf) == value
    assert type(parse_leaf(leaf)) is type(value)


@given(st.integers(min_value=-(2**70), max_value=2**70))
def test_integers_of_any_size_stay_exact(number: int) -> None:
    assert parse_leaf(str(number)) == number


@given(st.text())
def test_no_text_breaks_the_parser_or_becomes_a_number_that_is_none(text: str) -> None:
    value = parse_leaf(text)
    assert value is None or isinstance(value, str) or value == value


def test_paths_keep_wildcards_keys_and_slashes_in_names() -> None:
    assert [e.name for e in make_path("COUNTERS/Ethernet*/Queues").elem] == ["COUNTERS", "Ethernet*", "Queues"]
    keyed = make_path("interfaces/interface[name=Eth1/1]/state")
    assert keyed.elem[1] == gnmi_pb2.PathElem(name="interface", key={"name": "Eth1/1"})
    assert [e.name for e in make_path(r"COUNTERS/Eth1\/1").elem] == ["COUNTERS", "Eth1/1"]


def test_ports_go_by_their_sonic_name_whatever_they_came_by() -> None:
    ports = Ports.read({"Ethernet0": {"alias": "etp1"}, "PortInitDone": {"lanes": "0"}, "Ethernet8": "odd"})
    assert ports.rename({"port": "etp1"}) == {"port": "Ethernet0", "alias": "etp1"}
    assert ports.rename({"port": "Ethernet0", "queue": "3"}) == {"port": "Ethernet0", "queue": "3", "alias": "etp1"}
    assert ports.rename({"port": "etp9"}) == {"port": "etp9", "alias": ""}
    assert ports.rename({"psu": "PSU 1"}) == {"psu": "PSU 1"}


def test_name_without_an_address_is_told_as_such() -> None:
    details = "errors resolving leaf-9:8080: [field:hostname lookup error:address lookup failed]"
    error = GnmiClient(TARGET).explain(grpc.StatusCode.UNAVAILABLE, details, "Capabilities")
    assert isinstance(error, DeviceRefusedError)
    assert str(error).endswith("no address is known for this name: check it, or write the address")


async def test_closed_port_is_refused_with_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    collector = gnmi.open_collector(replace(TARGET, address=address), load_profile("sonic_gnmi"))
    with pytest.raises(DeviceRefusedError, match=f"leaf-9 {address}: Get COUNTERS_DB"):
        await collector.poll(0)
    await collector.aclose()
    with pytest.raises(DeviceRefusedError, match="Capabilities"):
        await gnmi.identify(replace(TARGET, address=address), [load_profile("sonic_gnmi")])


async def test_port_that_accepts_and_says_nothing_is_a_timeout() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        target = replace(TARGET, address=address, timeout=timedelta(milliseconds=300))
        collector = gnmi.open_collector(target, load_profile("sonic_gnmi"))
        with pytest.raises(DeviceTimeoutError, match=f"leaf-9 {address}: poll not complete in 0.3 s"):
            await collector.poll(0)
        await collector.aclose()


def test_wrong_options_are_refused_before_anything_is_opened() -> None:
    with pytest.raises(CollectError, match=r"tls='insecure' is not one of on, off; .* give its CA with ca=file"):
        gnmi.open_collector(replace(TARGET, options={"tls": "insecure"}), load_profile("sonic_gnmi"))
    with pytest.raises(CollectError, match="needs a profile"):
        gnmi.open_collector(TARGET, None)


async def test_missing_certificate_file_is_named() -> None:
    target = replace(TARGET, options={"tls": "on", "ca": "/no/such/ca.pem"})
    collector = gnmi.open_collector(target, load_profile("sonic_gnmi"))
    with pytest.raises(CollectError, match=r"ca=/no/such/ca\.pem: No such file"):
        await collector.poll(0)


def test_profile_that_gnmi_does_not_understand_is_refused_with_its_places() -> None:
    points = (PointSpec(to="switch.uptime_seconds", at="uptime"),)
    groups = (Group(each={"target": "STATE_DB"}, points=points), Group(each={"oid": "1.3"}, points=points))
    strange = Profile(profile="test", model="t", kind="switch", protocol="gnmi", source="t", groups=groups)
    with pytest.raises(ConfigError) as caught:
        gnmi.open_collector(TARGET, strange)
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["groups[0].each.path", "groups[1].each.target", "groups[1].each.path", "groups[1].each.oid"]
