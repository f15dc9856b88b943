"""From raw answers to points: scale once, refuse what cannot be true, merge by series."""

from collections.abc import Mapping

from collectors.collector import PollResult, Target
from collectors.profile import Group, PointSpec, Profile, Raw


class Batch:
    """Gather the raw readings of one poll and turn them into points.

    Row variables fill the `{name}` placeholders of group and point tags. Readings of one poll that end in the same
    measurement and tags become one point.
    """

    def __init__(self, target: Target, profile: Profile) -> None:
        raise NotImplementedError

    def add(self, group: Group, spec: PointSpec, raw: Raw, row: Mapping[str, str] | None = None) -> None:
        """Take one raw reading; a blank, implausible or malformed one is kept as a rejection, never raised."""
        raise NotImplementedError

    def miss(self, what: str) -> None:
        """Note a reading that the profile asks for and the device did not give."""
        raise NotImplementedError

    def finish(self, time_ns: int) -> PollResult:
        """Return the points, the profile's derived values included, all stamped `time_ns`."""
        raise NotImplementedError
