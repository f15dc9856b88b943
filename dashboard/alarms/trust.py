"""Readings that cannot be: parts that fell silent, readings of one device or of a rack that contradict each other."""

from collections import defaultdict
from collections.abc import Iterator

from dashboard.alarms.findings import Finding, Scene
from dashboard.alarms.power import folded
from dashboard.alarms.words import cooled, rack_place, those
from dashboard.plant.read import Check

_LONGEST = 160


def find(scene: Scene) -> Iterator[Finding]:
    """Yield what is the matter with the readings of power and coolant."""
    spoken = folded(scene)
    for silent in scene.plant.silent:
        parts = [part for part in silent.parts if (silent.device, part) not in spoken]
        if not parts:
            continue
        racks = those(silent.rack) or cooled(scene, silent.device)
        what = parts[0] if len(parts) == 1 else f"{len(parts)} parts"
        title, place = f"No answer from {what} of {silent.device}", rack_place(scene, silent.rack)
        yield Finding("part_silent", silent.device, 3, title, place, silent.why or ", ".join(parts[:3]), racks)
    by_device: dict[tuple[str, str], list[Check]] = defaultdict(list)
    for check in scene.plant.checks:
        by_device[check.device, check.rack].append(check)
    for (device, rack), checks in by_device.items():
        first = checks[0].text or f"{checks[0].rule} of {checks[0].subject}"
        more = f" (and {len(checks) - 1} more)" if len(checks) > 1 else ""
        racks = those(rack) or cooled(scene, device)
        title = f"Readings of {device} left out: {first}"[:_LONGEST] + more
        yield Finding("value_implausible", device, 3, title, rack_place(scene, rack), "readings left out", racks)
    for doubt in scene.doubts:
        title = f"Power of rack {doubt.rack} left out: {doubt.text}"
        place = rack_place(scene, doubt.rack)
        yield Finding("value_implausible", doubt.rack, 3, title, place, "power of the rack", (doubt.rack,))
