import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.config import Secret
from storage.settings import InfluxDBSettings, StorageSettings, open_store
from storage.store import Store

INFLUX = ("TOKENWATT_TEST_INFLUX_URL", "TOKENWATT_TEST_INFLUX_TOKEN", "TOKENWATT_TEST_INFLUX_ORG")


@pytest.fixture(params=["duckdb", "influxdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Every store, empty. No package registry carries an InfluxDB 2.x server: one must be named from outside."""
    if request.param == "influxdb":
        if not all(os.environ.get(name) for name in INFLUX):
            pytest.skip(f"set {', '.join(INFLUX)} to test against an InfluxDB 2.x server")
        url, token, org = (os.environ[name] for name in INFLUX)
        server = InfluxDBSettings(url=url, token=Secret(token), org=org, bucket=f"tokenwatt-test-{uuid.uuid4()}")
        opened = open_store(StorageSettings(engine="influxdb", influxdb=server))
    else:
        opened = open_store(StorageSettings(path=Path("points.duckdb")), tmp_path)
    yield opened
    opened.close()
