"""The section `storage:` of site.yaml, and the one place that turns it into a store."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.config import Duration, InvalidValueError, Secret
from storage.store import Store

#: a `path` for a store that lives and dies with the process
MEMORY = ":memory:"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InfluxDBSettings(_Strict):
    """Where an InfluxDB 2.x server is and how it lets us in."""

    url: str = Field(pattern=r"^https?://[^/]+")
    org: str = Field(min_length=1)
    bucket: str = Field(default="tokenwatt", min_length=1)
    token: Secret
    #: a write or query that takes longer counts as failed
    timeout: Duration = timedelta(seconds=10)


class BatchSettings(_Strict):
    """How points are gathered before they are written."""

    #: time between writes: what is gathered meanwhile goes in one
    interval: Duration = Field(default=timedelta(seconds=1), gt=timedelta(0))
    #: most points in one write
    size: int = Field(default=20_000, gt=0)
    #: most points that wait while the store is away; beyond, the oldest are dropped and counted
    queue: int = Field(default=500_000, gt=0)
    #: time that closing may take to write what still waits
    close_timeout: Duration = timedelta(seconds=10)


class StorageSettings(_Strict):
    """Which store holds the points."""

    #: duckdb: one file, one process; influxdb: a server that many share
    engine: Literal["duckdb", "influxdb"] = "duckdb"
    #: the DuckDB file; a relative one starts at the folder of site.yaml; ":memory:" keeps nothing
    path: Path = Path("tokenwatt.duckdb")
    influxdb: InfluxDBSettings | None = None
    batch: BatchSettings = BatchSettings()

    @model_validator(mode="after")
    def _server_is_named(self) -> "StorageSettings":
        if self.engine == "influxdb" and self.influxdb is None:
            raise InvalidValueError("engine influxdb needs its server", "add influxdb: {url, org, bucket, token}")
        return self


def open_store(settings: StorageSettings, folder: Path = Path()) -> Store:
    """Return the store that the settings name; `folder` is where a relative path starts. Loads that engine only.

    Raises:
        StoreError: it cannot be opened.
    """
    if settings.influxdb is not None and settings.engine == "influxdb":
        from storage.influxdb import InfluxDBStore

        return InfluxDBStore(settings.influxdb)
    from storage.duckdb import DuckDBStore

    return DuckDBStore(MEMORY if str(settings.path) == MEMORY else folder / settings.path.expanduser())
