"""Readings that cannot be: parts that fell silent, readings of one device or of a rack that contradict each other."""

from collections import defaultdict
from collections.abc import Iterator

from dashboard.alarms.findings import Finding, Scene
from dashboard.alarms.power import folded
from dashboard.alarms.words import cooled, those, where_is
from dashboard.plant.checks import Check

_LONGEST = 160


def _silent(scene: Scene) -> Iterator[Finding]:
    """Parts that tell nothing. On a lost feed it is the feed's; which feed an unheard supply hangs on nobody knows."""
    spoken, shelves = folded(scene), {shelf.name for shelf in scene.plant.shelves}
    dark = {part for feed in scene.plant.feeds if feed.lost for part in feed.parts}
    for silent in scene.plant.silent:
        parts = [part for part in silent.parts if (silent.device, part) not in spoken]
        unheard = 0 if silent.device in dark else silent.unheard
        if not parts and not unheard:
            continue
        what = parts[0] if len(parts) == 1 else f"{len(parts)} parts"
        title = f"No answer from {what} of {silent.device}"
        if unheard:
            title = f"{silent.expected - unheard - len(parts)} of {silent.expected} supplies of {silent.device} answer"
        racks = those(silent.rack) or cooled(scene, silent.device)
        place = where_is(scene, silent.device, silent.rack)
        hit = "power partly unknown" if silent.device in shelves else "readings missing"
        yield Finding("part_silent", silent.device, 3, title, place, hit, racks)


def find(scene: Scene) -> Iterator[Finding]:
    """Yield what is the matter with the readings of power and coolant."""
    yield from _silent(scene)
    by_device: dict[tuple[str, str], list[Check]] = defaultdict(list)
    for check in scene.plant.checks:
        by_device[check.device, check.rack].append(check)
    for (device, rack), checks in by_device.items():
        first = checks[0].text or f"{checks[0].rule} of {checks[0].subject}"
        more = f" (and {len(checks) - 1} more)" if len(checks) > 1 else ""
        racks = those(rack) or cooled(scene, device)
        title = f"Readings of {device} left out: {first}"[:_LONGEST] + more
        place = where_is(scene, device, rack)
        yield Finding("value_implausible", device, 3, title, place, "readings left out", racks)
    for doubt in scene.doubts:
        title = f"Power of rack {doubt.rack} left out: {doubt.text}"
        place = where_is(scene, doubt.rack, doubt.rack)
        yield Finding("value_implausible", doubt.rack, 3, title, place, "power of the rack", (doubt.rack,))
