"""The stores that a simulated site can name."""

from collections.abc import Mapping
from typing import Any

#: section `storage:` of site.yaml; a server's address and token come from the environment of who reads it
STORES: Mapping[str, dict[str, Any]] = {
    "duckdb": {"engine": "duckdb", "path": "tokenwatt.duckdb"},
    "influxdb": {
        "engine": "influxdb",
        "influxdb": {
            "url": "${INFLUX_URL}",
            "token": "${INFLUX_TOKEN}",
            "org": "${INFLUX_ORG}",
            "bucket": "${INFLUX_BUCKET}",
        },
    },
}
