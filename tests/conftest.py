"""The order of the tests: files that mostly wait come first, those that want a calm machine beside the small ones."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the files with slow tests to the front, those with live ones behind three quarters; browsers stand apart.

    A browser alone fills a core: two at once make each other late. Live tests take minutes and little of the machine.
    """
    marked = {name: [*_files(items, name)] for name in ("slow", "live", "browser")}
    files = sorted(_files(items), key=lambda path: (path in marked["live"], path not in marked["slow"]))
    calm = [path for path in files if path not in marked["browser"] + marked["live"]]
    for path in marked["live"]:
        calm.insert(3 * len(files) // 4, path)
    for number, path in enumerate(marked["browser"]):
        calm.insert(number * len(files) // (len(marked["browser"]) + 1), path)
    place = {path: number for number, path in enumerate(calm)}
    items.sort(key=lambda item: place[item.path])


def _files(items: list[pytest.Item], marker: str = "") -> dict[Path, None]:
    """Return the files with a test of this marker, or all, in their order."""
    return {item.path: None for item in items if not marker or item.get_closest_marker(marker)}
