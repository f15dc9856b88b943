"""How often a target is polled and how long one poll may take: what its site says, and what its profile says."""

import zlib
from dataclasses import replace
from datetime import timedelta

from collectors.collector import Target
from collectors.profile_model import Profile
from storage.config import parse_duration

#: where neither the target nor its profile says otherwise
INTERVAL = timedelta(seconds=5)


def cadence(profile: Profile | None) -> timedelta:
    """Return the time between two polls that a profile suggests."""
    return parse_duration(profile.poll.fast) if profile else INTERVAL


def first_period_s(name: str, period_s: float) -> float:
    """Return the first of a target's periods: half of it to all, fixed by its name.

    Devices that began together are then not searched together for ever after. Units: s.
    """
    return period_s * (0.5 + 0.5 * (zlib.crc32(name.encode()) % 1000) / 1000)


def timed(target: Target, profile: Profile | None) -> Target:
    """Return the target as it is polled by this profile: with its cadence, unless the site gives one, and its deadline.

    The larger of the site's `timeout` and the profile's `poll.deadline` holds. It may be longer than the interval: what
    falls due while a poll is under way is skipped and counted, so that two polls of a target never overlap.
    """
    if profile is None:
        return target
    interval = cadence(profile) if target.follows_profile else target.interval
    return replace(target, interval=interval, timeout=max(target.timeout, parse_duration(profile.poll.deadline)))
