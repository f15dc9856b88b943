"""Counters of gNMI that go back, begin anew, or do so all at once: what is written of them, worked out by hand."""

from collections.abc import Mapping

from collectors.gnmi.resets import Counters
from storage.point import Point

INTERVAL_S = 10.0
OCTETS, FRAMES = "rx_bytes_total", "rx_frames_total"


def port(name: str, octets: float) -> Point:
    return Point("interface", {"device": "leaf-1", "interface": name}, {OCTETS: octets, "oper_up": 1}, 0)


def priority(name: str, frames: float, pause_seconds: float = 0.0) -> Point:
    tags = {"device": "leaf-1", "interface": name, "priority": "3"}
    return Point("pfc", tags, {FRAMES: frames, "rx_pause_seconds_total": pause_seconds}, 0)


class Polls:
    """One device, polled each ten seconds."""

    def __init__(self) -> None:
        self.counters, self.now = Counters(INTERVAL_S), 0.0

    def take(self, *points: Point) -> tuple[list[Point], Mapping[str, str]]:
        self.now += INTERVAL_S
        return self.counters.take(points, self.now)

    def written(self, field: str, *points: Point) -> float:
        value = self.take(*points)[0][0].fields[field]
        assert not isinstance(value, str)
        return value


def test_a_pfc_counter_that_goes_back_a_little_counts_nothing_and_goes_on() -> None:
    """A reader would count the whole million as what came since a reset."""
    polls = Polls()
    told = [polls.written(FRAMES, priority("Ethernet0", value)) for value in (1e6, 1e6 + 50, 1e6 + 45, 1e6 + 60)]
    assert told == [1e6, 1e6 + 50, 1e6 + 50, 1e6 + 60]


def test_a_pause_time_that_is_estimated_anew_never_falls() -> None:
    polls = Polls()
    seconds = [priority("Ethernet0", 5.0, value) for value in (700.0, 700.5, 690.0, 690.25)]
    assert [polls.written("rx_pause_seconds_total", each) for each in seconds] == [700.0, 700.5, 700.5, 700.75]


def test_what_is_no_counter_stays_and_points_without_counters_are_the_same_ones() -> None:
    polls, state = Polls(), Point("switch", {"device": "leaf-1"}, {"cpu_ratio": 0.5}, 0)
    polls.take(port("Ethernet0", 9e9), state)
    made, _ = polls.take(port("Ethernet0", 8e9), state)
    assert (made[0].fields, made[1]) == ({OCTETS: 9e9, "oper_up": 1}, state)


def test_a_port_that_was_made_anew_is_one_event_and_its_neighbours_are_none() -> None:
    polls = Polls()
    others = [port(f"Ethernet{8 * n}", 1e12) for n in range(1, 8)]
    polls.take(port("Ethernet0", 1e12), priority("Ethernet0", 4e3), *others)
    polls.take(port("Ethernet0", 1e12 + 1e9), priority("Ethernet0", 4e3 + 20), *others)
    # a billion came in the last interval, so half a billion can be what came since it began anew
    made, told = polls.take(port("Ethernet0", 5e8), priority("Ethernet0", 10), *others)
    assert told == {"Ethernet0": "interface.rx_bytes_total, pfc.rx_frames_total began anew"}
    assert (made[0].fields[OCTETS], made[1].fields[FRAMES]) == (5e8, 10)
    assert polls.counters.resets == 1


def test_a_boot_is_seen_though_most_ports_are_idle_and_is_told_once() -> None:
    """Two of 64 ports carry traffic; a switch that was away for minutes tells what it counted since."""
    polls = Polls()
    idle = [port(f"Ethernet{8 * n}", 0.0) for n in range(2, 64)]
    queue = Point("queue", {"device": "leaf-1", "interface": "Ethernet0", "queue": "3"}, {"packets_total": 7e9}, 0)
    polls.take(port("Ethernet0", 1e15), port("Ethernet8", 2e15), *idle, queue)
    polls.now += 300.0
    made, told = polls.take(port("Ethernet0", 3e12), port("Ethernet8", 4e12), *idle)
    assert told == {"": "counters of 64 rows began anew"}
    assert [point.fields[OCTETS] for point in made[:2]] == [3e12, 4e12]
    # queues are read less often: theirs is the same boot
    late = Point(queue.measurement, queue.tags, {"packets_total": 6e6}, 0)
    made, told = polls.take(port("Ethernet0", 3e12), port("Ethernet8", 4e12), *idle, late)
    assert (made[-1].fields["packets_total"], told, polls.counters.resets) == (6e6, {}, 1)


def test_counters_that_all_go_back_a_little_are_no_boot() -> None:
    polls = Polls()
    polls.take(*(port(f"Ethernet{n}", 1e15) for n in range(8)))
    made, told = polls.take(*(port(f"Ethernet{n}", 1e15 - 1e6) for n in range(8)))
    assert {point.fields[OCTETS] for point in made} == {1e15}
    assert list(told) == [""]


def test_a_port_that_gets_another_alias_keeps_its_counters() -> None:
    polls = Polls()
    told = []
    for alias, octets in (("etp1", 1e12), ("etp1", 9e11), ("Eth1/1", 9e11 + 5)):
        point = port("Ethernet0", octets)
        told.append(polls.written(OCTETS, Point(point.measurement, {**point.tags, "alias": alias}, point.fields, 0)))
    assert told == [1e12, 1e12, 1e12 + 5]
