"""Cables: who is behind which port."""

import pytest

from collectors.simulator.layout import Layout, build_layout
from collectors.simulator.links import find_links


@pytest.fixture(params=[8, 64, 256, 520, 10_240], scope="module")
def layout(request: pytest.FixtureRequest) -> Layout:
    return build_layout(request.param)


def test_every_port_has_one_neighbour_and_no_end_has_two(layout: Layout) -> None:
    links = find_links(layout)
    ends = [(far.system, far.port) for cables in links for far in cables.neighbors.values()]
    assert len(ends) == len(set(ends)) == sum(len(switch.ports) for switch in layout.switches)


def test_hosts_are_behind_the_ports_of_their_nics(layout: Layout) -> None:
    links = dict(zip((switch.name for switch in layout.switches), find_links(layout), strict=True))
    for host in layout.hosts:
        for nic, port in enumerate(host.ports):
            far = links[host.switch].neighbors[port]
            assert (far.system, far.port) == (host.name, f"eth{nic}")


def test_uplinks_go_to_spines_and_a_lag_to_one_of_them(layout: Layout) -> None:
    taken = {(host.switch, port) for host in layout.hosts for port in host.ports}
    for switch, cables in zip(layout.switches, find_links(layout), strict=True):
        free = [port for port in range(len(switch.ports)) if (switch.name, port) not in taken]
        assert list(cables.uplinks) == free
        assert all(cables.neighbors[port].system.startswith("spine-") for port in free)
        assert list(cables.lag) == free[-2:]
        assert len({cables.neighbors[port].system for port in cables.lag}) <= 1
