"""Metrics pages for tests: the recorded ones, and what a profile makes of them."""

from collections.abc import Iterable
from pathlib import Path

from collectors.collector import PollResult, Target
from collectors.exposition import ExpositionCollector
from collectors.profile import Profile, load_profile
from storage.point import FieldValue, Point

DATA = Path(__file__).parent / "collectors" / "data" / "expositions"
TIME_NS = 1_760_000_000 * 10**9

#: "measurement tag=value ..." without the target's own tags -> fields
Told = dict[str, dict[str, FieldValue]]


def page(name: str) -> str:
    """Return a recorded page by its stem."""
    return (DATA / f"{name}.prom").read_text("utf-8")


def read(text: str, profile: str | Profile) -> PollResult:
    """Return what the profile makes of a page, without the network."""
    target = Target("engine-1", "exposition", "http://127.0.0.1:1/metrics")
    loaded = load_profile(profile) if isinstance(profile, str) else profile
    return ExpositionCollector(target, loaded).read(text, TIME_NS)


def told(points: Iterable[Point], measurement: str = "") -> Told:
    """Return points as text and fields, for comparison with what a person reads off the page."""
    found: Told = {}
    for point in points:
        if point.measurement.startswith(measurement):
            own = {name: value for name, value in point.tags.items() if value != "engine-1"}
            key = " ".join([point.measurement, *(f"{name}={value}" for name, value in own.items())])
            assert key not in found, f"two points of {key}"
            found[key] = dict(point.fields)
    return found


def exactly(name: str, profile: str) -> Told:
    """Return what a recorded page tells, and make sure that nothing of it was missing or refused."""
    result = read(page(name), profile)
    assert (result.missing, result.rejected) == ((), ())
    return told(result.points)
