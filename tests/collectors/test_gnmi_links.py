"""Links that change reach the store between polls, with the tags that polls give them."""

from collections.abc import Sequence
from typing import Any

import pytest
from gnmi_site import LEAF, Site, every, of, small_profile, until

from collectors.collector import Pushing
from collectors.gnmi.collector import GnmiCollector
from collectors.gnmi.links import Link, LinkTable, read_ports
from collectors.gnmi.rows import Ports
from storage.point import Point

UP, DOWN = {"admin_status": "up", "oper_status": "up"}, {"admin_status": "up", "oper_status": "down"}
PORTS = Ports({"etp1": "Ethernet0"}, {"Ethernet0": "etp1"})


async def listening(site: Site, **options: str) -> tuple[GnmiCollector, list[Point]]:
    """Return a collector whose ON_CHANGE is proven, and the list that takes what it pushes."""
    pushed: list[Point] = []

    def push(points: Sequence[Point]) -> None:
        pushed.extend(points)

    opened = site.collector(site.target(**options), small_profile())
    assert isinstance(opened, Pushing)
    opened.listen(push)
    await site.poll(opened)
    return opened, pushed


def set_link(site: Site, port: int, up: bool) -> None:
    site.factory.state.switches.oper_up[LEAF, port] = up


@pytest.mark.parametrize(
    "told",
    [
        {"Ethernet0": DOWN, "PortInitDone": {"lanes": "0"}},
        {**DOWN, "alias": "etp1"},
    ],
)
def test_change_is_understood_in_the_shapes_of_all_images(told: dict[str, Any]) -> None:
    found = read_ports(told, PORTS)
    assert list(found) == ["Ethernet0"]
    assert found["Ethernet0"]["oper_status"] == "down"


def test_bare_fields_that_no_alias_names_are_no_port() -> None:
    assert read_ports({**DOWN, "alias": "etp9"}, PORTS) == {}
    assert read_ports("down", PORTS) == {}


def test_state_that_is_seen_first_is_no_change_and_words_that_are_none_are_no_state() -> None:
    table = LinkTable()
    assert table.see({"Ethernet0": UP}) == {}
    assert table.see({"Ethernet0": {"oper_status": "N/A"}, "Ethernet8": {"oper_status": ""}}) == {}
    assert table.see({"Ethernet0": {"oper_status": "down"}}) == {"Ethernet0": Link("up", "down")}
    assert list(table.links) == ["Ethernet0"]


@pytest.mark.parametrize(
    ("link", "event"),
    [
        (Link("up", "up"), (0, "link up")),
        (Link("up", "down"), (1, "link down")),
        (Link("down", "down"), (0, "port switched off")),
        (Link(None, "down"), (1, "link down")),
    ],
)
def test_only_a_link_that_is_meant_to_work_is_a_warning(link: Link, event: tuple[int, str]) -> None:
    assert link.event() == event


async def test_link_down_and_up_are_pushed_at_once_with_the_tags_of_polls(site: Site) -> None:
    opened, pushed = await listening(site)
    await until(lambda: opened._watch.state == "on")
    assert pushed == []
    polled = of((await site.poll(opened)).points, "interface", interface="Ethernet16").tags
    set_link(site, 2, up=False)
    await until(lambda: len(pushed) == 2)
    down, event = pushed
    assert (down.tags, down.fields) == (polled, {"oper_up": 0, "admin_up": 1})
    assert down.time_ns == int(site.now * 1e9)
    assert event.tags == {"site": "S1", "rack": "N01", "device": "leaf-2", "interface": "Ethernet16", "kind": "link"}
    assert event.fields == {"severity": 1, "text": "link down"}
    set_link(site, 2, up=True)
    await until(lambda: len(pushed) == 4)
    assert (pushed[2].fields["oper_up"], pushed[3].fields["text"]) == (1, "link up")
    site.pass_time(30)
    assert not every((await site.poll(opened)).points, "switch_event"), "what was told is not told by the poll again"
    await opened.aclose()


async def test_on_change_off_leaves_link_changes_to_the_polls(site: Site) -> None:
    opened, pushed = await listening(site, on_change="off")
    site.pass_time(30)
    set_link(site, 2, up=False)
    event = of((await site.poll(opened)).points, "switch_event", kind="link")
    assert (event.tags["interface"], event.fields["text"]) == ("Ethernet16", "link down")
    assert pushed == []
    assert not any(one.HasField("subscribe") and one.subscribe.mode == 0 for one in site.service.requests[4:])
    await opened.aclose()


async def test_watch_comes_back_with_the_server(site: Site) -> None:
    opened, pushed = await listening(site)
    await until(lambda: opened._watch.state == "on")
    await site.close()
    await until(lambda: opened._watch.state != "on")
    assert "connection refused, lost, or ended" in opened._watch.state
    set_link(site, 2, up=False)
    await site.open()
    await until(lambda: pushed)
    # it went down while nobody was told: the whole table, which comes first, says so
    assert pushed[-1].fields == {"severity": 1, "text": "link down"}
    await opened.aclose()
