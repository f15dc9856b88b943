"""What several files of collectors' tests are given."""

from collections.abc import AsyncIterator

import pytest
from gnmi_site import Site
from redfish_service import Service, served


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Yield a simulated switch that speaks gNMI in clear."""
    made = Site()
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Serve the DMTF mock-up of a cooling unit over Redfish."""
    async with served() as made:
        yield made
