"""What several files of collectors' tests are given."""

from collections.abc import AsyncIterator

import pytest
from gnmi_site import Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Yield a simulated switch that speaks gNMI in clear."""
    made = Site()
    await made.open()
    yield made
    await made.close()
