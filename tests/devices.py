"""Targets of simulated devices, as site.yaml would make them, and the numbers that came of a poll."""

from datetime import timedelta

from collectors.address import parse_target_url
from collectors.collector import PollResult, Target
from collectors.simulator.service import Device
from storage.config import Secret


def target_of(device: Device, *, timeout: timedelta = timedelta(seconds=60)) -> Target:
    """Return the target that polls this device."""
    url = parse_target_url(device.url)
    return Target(
        name=device.name,
        protocol=url.protocol,
        address=url.address,
        profile=device.profile,
        interval=timedelta(seconds=device.interval_seconds),
        timeout=timeout,
        username=url.username,
        password=url.password or (Secret(device.password) if device.password else None),
        priv_password=Secret(device.priv_password) if device.priv_password else None,
        options=url.options,
    )


def numbers(result: PollResult, measurement: str, **tags: str) -> dict[str, float]:
    """Return the fields of all points that carry these tags."""
    found: dict[str, float] = {}
    for point in result.points:
        if point.measurement == measurement and tags.items() <= point.tags.items():
            found.update({name: float(value) for name, value in point.fields.items()})
    return found
