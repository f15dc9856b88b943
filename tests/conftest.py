"""The order of the tests: files that mostly wait come first, files that need the machine for themselves last."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the files with slow tests to the front, those with live ones to the end; all else stays as collected."""
    slow, live = ({item.path for item in items if item.get_closest_marker(name)} for name in ("slow", "live"))
    items.sort(key=lambda item: (item.path in live, item.path not in slow))
