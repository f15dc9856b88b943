"""A host whose NVML is ours, asked through the real binding in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from nvml_scenario import Binding, binding, nvml_host


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder with the library and 8 boards."""
    nvml_host(tmp_path)
    return tmp_path


@pytest.fixture
def ask(host: Path) -> Iterator[Binding]:
    with binding(host / "libnvidia-ml.so.1") as asked:
        yield asked
