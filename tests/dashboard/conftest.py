"""Fixtures of the dashboard's tests: an empty store, and a small site of stated rates."""

import time
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from leaf import Leaf
from plant import Plant

from dashboard import api
from dashboard.live import Live
from storage.duckdb import DuckDBStore


@pytest.fixture
def store() -> Iterator[DuckDBStore]:
    """An empty store in memory."""
    made = DuckDBStore(":memory:")
    yield made
    made.close()


@pytest.fixture
def plant(store: DuckDBStore) -> Plant:
    """The site of the class, with its inventory and no readings yet."""
    made = Plant(store, float(int(time.time())))
    made.inventory()
    return made


@pytest.fixture
def leaf(store: DuckDBStore) -> Leaf:
    """A leaf switch that told nothing yet."""
    return Leaf(store, float(int(time.time())))


@pytest.fixture
def client(live: Live) -> FlaskClient:
    """A client of the routes over `live`, which each file makes for itself."""
    server = Flask("test")
    api.register(server, live)
    return server.test_client()
