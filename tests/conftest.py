"""The order of the tests: files that mostly wait come first, lest one worker be left alone with them at the end."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the files with slow tests to the front; all else stays as it was collected."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
