import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from storage.config import ConfigError, load_yaml
from storage.settings import StorageSettings, open_store

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, text: str) -> StorageSettings:
    file = tmp_path / "storage.yaml"
    file.write_text(text)
    return load_yaml(file, StorageSettings, {"TOKEN": "t0k3n"})


def test_defaults_are_one_file_beside_the_sites(tmp_path: Path) -> None:
    settings = load(tmp_path, "{}")
    store = open_store(settings, tmp_path)
    store.close()
    assert (tmp_path / "tokenwatt.duckdb").exists()
    assert settings == StorageSettings()


def test_a_path_may_be_absolute_or_memory(tmp_path: Path) -> None:
    open_store(StorageSettings(path=tmp_path / "deep" / "x.duckdb"), Path("/nowhere")).close()
    assert (tmp_path / "deep" / "x.duckdb").exists()
    open_store(load(tmp_path, 'path: ":memory:"'), tmp_path).close()
    assert not list(tmp_path.glob("*memory*"))


def test_a_server_is_named_with_its_secret_from_outside(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "engine: influxdb\ninfluxdb: {url: 'http://127.0.0.1:8086', org: factory, token: '${TOKEN}', timeout: 3s}\n",
    )
    assert settings.influxdb is not None
    assert settings.influxdb.token.reveal() == "t0k3n"
    assert settings.influxdb.timeout == timedelta(seconds=3)
    assert "t0k3n" not in repr(settings)
    open_store(settings, tmp_path).close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: influxdb\n", "needs its server"),
        ("engine: postgres\n", "duckdb"),
        ("pathh: x\n", "did you mean"),
        ("batch: {interval: 0s}\n", "batch.interval"),
        ("influxdb: {url: '127.0.0.1:8086', org: x, token: '${TOKEN}'}\n", "influxdb.url"),
        ("influxdb: {url: 'http://a', org: x, token: t0k3n}\n", "plain text"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"storage\.yaml:1: ") as raised:
        load(tmp_path, text)
    assert said in str(raised.value)
    assert "t0k3n" not in str(raised.value)


def test_only_the_chosen_engine_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from storage.settings import StorageSettings, open_store\n"
        "assert not {'duckdb', 'influxdb_client'} & set(sys.modules)\n"
        "open_store(StorageSettings(), Path(sys.argv[1])).close()\n"
        "assert 'influxdb_client' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, env=environment, check=True, timeout=60)
