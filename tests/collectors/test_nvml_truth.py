"""What of a sample is believed, and what the driver's events mean."""

import pytest

from collectors.nvml.agent.calls import binding_complaint
from collectors.nvml.agent.interval import Interval
from collectors.nvml.agent.reads import unhealthy
from collectors.nvml.agent.truth import Energy, impossible
from collectors.nvml.events import describe


def believed(readings: list[tuple[float, float]], watts: float = 700.0, energy: Energy | None = None) -> list[bool]:
    """Return which of (seconds, joules) readings of one board at a limit of 1 kW are believed."""
    energy = energy or Energy()
    return [not energy.judge(joules, seconds, watts, 1000.0) for seconds, joules in readings]


def test_energy_that_grows_faster_than_the_limit_allows_is_refused() -> None:
    assert believed([(0, 1e6), (5, 1e6 + 6000), (10, 3.69e12), (15, 1e6 + 12000)]) == [True, True, False, True]


def test_energy_may_catch_up_after_it_stood_still() -> None:
    assert believed([(0, 1e6), (1, 1e6), (2, 1e6), (3, 1e6 + 2100)]) == [True] * 4


def test_energy_reset_is_believed_and_told() -> None:
    energy = Energy()
    assert believed([(0, 1e6), (5, 100.0), (10, 3600.0)], energy=energy) == [True, True, True]
    assert energy.was_reset


def test_energy_that_falls_a_little_is_a_glitch_unless_it_stays() -> None:
    energy = Energy()
    assert believed([(0, 1e6), (1, 9e5), (2, 1e6 + 1400)], energy=energy) == [True, False, True]
    assert not energy.was_reset
    assert believed([(3, 9e5), (4, 9e5), (5, 9e5)], energy=energy) == [False, False, True]
    assert energy.was_reset


def test_any_fall_is_a_reset_when_nvml_was_opened_again() -> None:
    energy = Energy()
    believed([(0, 1e6)], energy=energy)
    energy.reopened = True
    assert believed([(60, 9e5)], energy=energy) == [True]
    assert energy.was_reset


def test_energy_that_stands_still_under_load_is_refused_until_it_moves() -> None:
    frozen = [(0.0, 1e6), (4.0, 1e6), (6.0, 1e6), (606.0, 1e6), (607.0, 1e6 + 100)]
    assert believed(frozen) == [True, True, False, False, True]
    assert believed(frozen, watts=71.0) == [True] * 5


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("power_watts", -0.001, True),
        ("power_watts", 2000.0, False),
        ("power_instant_watts", 2000.1, True),
        ("utilization_ratio", 1.0, False),
        ("utilization_ratio", 1.01, True),
        ("sm_active_ratio", -0.01, True),
        ("sm_clock_hertz", 9e9, False),
    ],
)
def test_impossible_samples(name: str, value: float, refused: bool) -> None:
    assert bool(list(impossible({name: value}, 1000.0))) is refused


def test_power_has_no_upper_end_while_the_limit_is_unknown() -> None:
    assert list(impossible({"power_watts": 2500.0}, None)) == []


def test_interval_without_samples_says_nothing() -> None:
    assert Interval().values() == {}


@pytest.mark.parametrize(
    ("mask", "wrong"),
    [
        (0, 0),
        (0b1_10_10_10_10, 0),
        (0b01, 1),
        (0b0100, 4),
        (0b010000, 16),
        (0b01000000, 64),
        (1 << 8, 0),
        (5 << 8, 5 << 8),
    ],
)
def test_fabric_mask(mask: int, wrong: int) -> None:
    assert unhealthy(mask) == wrong


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (0x8, 79, ("xid", 79, 2)),
        (0x8, 43, ("xid", 43, 0)),
        (0x8, 31, ("xid", 31, 1)),
        (0x8, 9999, ("xid", 9999, 1)),
        (0x2, 0, ("remap", 0x2, 2)),
        (0x400, 0, ("remap", 0x400, 1)),
        (0x800, 0, ("remap", 0x800, 2)),
        (0x4000, 0, ("lost", 0x4000, 2)),
        (0x8000, 4, ("reset", 4, 2)),
        (0x8000, 0, ("reset", 0, 0)),
    ],
)
def test_events_of_the_driver(kind: int, data: int, expected: tuple[str, int, int]) -> None:
    name, fields = describe({"type": kind, "data": data})
    assert (name, fields["code"], fields["severity"]) == expected
    assert fields["text"]


@pytest.mark.parametrize(
    ("xid", "severity", "text"),
    [
        (38, 1, "firmware error of the driver"),  # immediate action: ignore
        (109, 2, "context switch"),  # reset the GPU
        (136, 2, "training of a link"),
        (147, 1, "TREX"),  # no fatal case in the catalogue
        (155, 2, "on purpose"),
        (156, 2, "retired"),
        (160, 0, "channel"),
        (162, 0, "power smoothing"),
        (165, 1, "power smoothing"),
        (167, 2, "PCIe"),
        (41, 1, "copy engine"),
        (133, 1, "copy engine"),
    ],
)
def test_xid_is_as_bad_as_the_catalogue_has_it(xid: int, severity: int, text: str) -> None:
    fields = describe({"type": 0x8, "data": xid})[1]
    assert fields["severity"] == severity
    assert text in str(fields["text"])


def test_recovery_action_is_told_in_words() -> None:
    assert (
        describe({"type": 0x8000, "data": 4})[1]["text"]
        == "the driver asks for an end of all work on the GPU, then its reset"
    )


def test_binding_that_is_installed_is_the_right_one() -> None:
    assert binding_complaint() == ""
