"""One switch that is polled under two names, over a real store: it counts once."""

from dataclasses import replace

import pytest
from fabric_view import view
from leaf import Leaf

from dashboard.fabric.answer import to_json
from dashboard.fabric.links import doubled
from dashboard.fabric.switches import SwitchNow
from dashboard.fabric.twins import groups, paired


def cables(*switches: str, port: int = 0, end: str = "mlx5_{n}") -> dict[tuple[str, str], tuple[str, str]]:
    """Return four hosts at the ports of each of these switches."""
    return {(s, f"Ethernet{8 * n + port}"): (f"node-{n}", end.format(n=n)) for s in switches for n in range(4)}


def tell(leaf: Leaf, name: str, until: float = 0.0) -> None:
    """Write half a minute of the same switch under this name, with its power and the same neighbours."""
    one = replace(leaf, name=name, pending=[])
    one.also = lambda number, at: {"oper_up": 0} if number == 3 else {}
    one.run(start=until - 30, end=until)
    for number, host in ((0, "node-1"), (8, "node-2")):
        one.link(f"Ethernet{number}", host, "mlx5_0", -20)
    one.put("power", {"kind": "switch", "side": "input", "circuit": "total"}, {"active_watts": 450.0}, -10)
    one.settle()


def test_a_switch_under_two_names_counts_once_and_the_page_is_told_which(leaf: Leaf) -> None:
    tell(leaf, "10.0.0.1")
    tell(leaf, "leaf-1")
    made = view(leaf)
    told = to_json(made, "utilization")
    # The inventory names leaf-1: its four ports, one of them down, and its 450 W.
    names = ("switches", "switches_ok", "ports", "up", "down", "watts")
    assert [told["summary"][name] for name in names] == [1, 1, 4, 3, 1, 450]
    assert [(one["name"], one["same_as"], len(one["ports"])) for one in told["switches"]] == [
        ("10.0.0.1", "leaf-1", 0), ("leaf-1", "", 4),
    ]  # fmt: skip
    assert {row["switch"] for row in told["worst"]} == {"leaf-1"}
    assert [(fault.device, fault.kind) for fault in made.now.faults] == [("leaf-1", "port_down")]
    assert ([one.name for one in made.now.switches], made.now.ports_down, made.now.abnormal) == (["leaf-1"], 1, 1)
    assert made.hints == (
        "10.0.0.1, leaf-1: one switch under two names, by the neighbours of its ports: leaf-1 counts alone; "
        "poll it once",
    )


def test_of_two_names_the_one_that_answers_counts(leaf: Leaf) -> None:
    tell(leaf, "10.0.0.1")
    tell(leaf, "leaf-1", until=-100.0)
    for at in range(-90, 1, 10):
        leaf.health(at, state=2, error="leaf-1: no answer", up=0)
    made = view(leaf)
    assert [(one.name, one.same_as) for one in made.fleet.switches] == [("10.0.0.1", ""), ("leaf-1", "10.0.0.1")]
    # It answers again: both are at once what they were.
    tell(leaf, "10.0.0.1", until=40.0)
    tell(leaf, "leaf-1", until=40.0)
    assert [one.same_as for one in view(leaf, made, after=45).fleet.switches] == ["leaf-1", ""]


@pytest.mark.parametrize(
    ("switches", "inventory", "counts"),
    [
        # one that answers, one of the inventory, gNMI before SNMP, the first by name: in this order
        ([("a", "unreachable", "gnmi"), ("b", "partial", "snmp")], {"a"}, "b"),
        ([("a", "ok", "gnmi"), ("b", "ok", "snmp")], {"b"}, "b"),
        ([("a", "ok", "snmp"), ("b", "ok", "gnmi")], set(), "b"),
        ([("leaf-10", "ok", "gnmi"), ("leaf-9", "ok", "gnmi")], set(), "leaf-9"),
        # of which only one is a switch that anything is known of
        ([("a", "silent", "")], set(), "a"),
    ],
)
def test_which_name_counts(switches: list[tuple[str, str, str]], inventory: set[str], counts: str) -> None:
    known = [SwitchNow(name, state=state, protocol=protocol) for name, state, protocol in switches]
    pair = (switches[0][0], switches[1][0] if len(switches) > 1 else "unheard")
    found = paired(known, [pair], inventory)
    assert [one.name for one in found if not one.same_as] == [counts]
    assert {one.same_as for one in found if one.same_as} <= {counts}


def test_three_names_of_one_switch_are_one_and_two_switches_stay_two() -> None:
    pairs = [("a", "b"), ("d", "e"), ("b", "c")]
    assert sorted(sorted(group) for group in groups(pairs)) == [["a", "b", "c"], ["d", "e"]]
    known = [SwitchNow(name, state="ok") for name in "abcdef"]
    assert [one.same_as for one in paired(known, pairs, ())] == ["", "a", "a", "", "d", ""]
    # What is no pair any more counts again.
    assert [one.same_as for one in paired(paired(known, pairs, ()), [], ())] == [""] * 6


@pytest.mark.parametrize(
    ("neighbors", "pairs"),
    [
        ({**cables("leaf-1", "leaf-2"), **cables("leaf-3", port=4)}, [("leaf-1", "leaf-2")]),
        # rails: each host has a card at every switch
        ({**cables("leaf-1", end="mlx5_0"), **cables("leaf-2", end="mlx5_1")}, []),
        # a port whose name the neighbour does not tell, and one cable alone, prove nothing
        (cables("leaf-1", "leaf-2", end=""), []),
        (dict(list(cables("leaf-1").items())[:1] + list(cables("leaf-2").items())[:1]), []),
        ({(s, f"Ethernet{n}"): ("localhost", "eth0") for s in ("leaf-1", "leaf-2") for n in range(4)}, []),
    ],
)
def test_switches_are_one_where_the_very_same_ports_lie_behind_theirs(
    neighbors: dict[tuple[str, str], tuple[str, str]], pairs: list[tuple[str, str]]
) -> None:
    assert doubled(neighbors) == pairs
