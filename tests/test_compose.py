"""docker-compose.yml, Dockerfile and .env.example held against the command line and the settings."""

import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import ROOT, parse

import tokenwatt
from collectors.simulator.stores import STORES
from storage.config import Secret, load_yaml
from storage.duckdb import DuckDBStore
from storage.point import Point
from storage.settings import StorageSettings

TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
COMPOSE: Mapping[str, Any] = yaml.safe_load(TEXT)
SERVICES: Mapping[str, Any] = COMPOSE["services"]
OURS = ("simulate", "collect", "serve")
VARIABLE = re.compile(r"\$\{(\w+)(.*?)\}")
#: keys of a service's environment that let somebody in
SECRET = re.compile(r"PASSWORD|TOKEN|USERNAME")
EXAMPLE = (ROOT / "config" / "compose.env.example").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def texts(value: object) -> Iterator[str]:
    """Yield all text in a document."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    else:
        yield str(value)


def variables() -> dict[str, str]:
    """Return the variables that the file takes from `.env`, with what follows the name."""
    return {found[1]: found[2] for text in texts(COMPOSE) for found in VARIABLE.finditer(text)}


def test_the_services_are_the_roles_and_their_store() -> None:
    assert set(SERVICES) == {"influxdb", *OURS}
    assert re.fullmatch(r"influxdb:2\.\d+", SERVICES["influxdb"]["image"])


@pytest.mark.parametrize("service", OURS)
def test_each_command_is_one_that_the_program_takes(service: str) -> None:
    command = SERVICES[service]["command"]
    assert command[0] == service
    parameters = parse(command)
    if service == "simulate":
        assert (str(parameters["directory"]), parameters["storage"]) == ("/site", "influxdb")
    else:
        assert str(parameters["config"]) == "/site/site.yaml"


def environments() -> dict[str, str]:
    """Return what the file sets for `collect`, with its variables filled in."""
    return {key: VARIABLE.sub("from-env", str(value)) for key, value in SERVICES["collect"]["environment"].items()}


def test_variables_of_the_generated_site_are_exactly_those_that_are_set(tmp_path: Path) -> None:
    storage = STORES["influxdb"]
    wanted = {found[1] for text in texts(storage) for found in VARIABLE.finditer(text)}
    for service in OURS:
        assert set(SERVICES[service]["environment"]) == wanted
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump({"storage": storage, "collectors": {"site": "S"}}))
    settings = load_yaml(path, tokenwatt.Site, environments()).storage
    assert settings.engine == "influxdb"
    assert settings.influxdb is not None
    assert settings.influxdb.token == Secret("from-env")
    server = SERVICES["influxdb"]["environment"]
    assert settings.influxdb.url == "http://influxdb:8086"
    assert settings.influxdb.org == server["DOCKER_INFLUXDB_INIT_ORG"]
    assert settings.influxdb.bucket == server["DOCKER_INFLUXDB_INIT_BUCKET"]
    assert server["DOCKER_INFLUXDB_INIT_ADMIN_TOKEN"] == SERVICES["collect"]["environment"]["INFLUX_TOKEN"]


def test_no_secret_has_a_default() -> None:
    for service in SERVICES.values():
        for key, value in service["environment"].items():
            if SECRET.search(key):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), key
    assert {name for name, rest in variables().items() if not rest.startswith(":?")} == set()


def test_the_example_names_each_variable_and_no_value() -> None:
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    assert all(line.endswith("=") for line in lines)
    assert {line.rstrip("=") for line in lines} == variables().keys()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_each_service_says_whether_it_is_well(service: str) -> None:
    assert {"test", "interval", "timeout", "retries"} <= SERVICES[service]["healthcheck"].keys()


@pytest.mark.parametrize(("age_s", "code"), [(10, 0), (600, 1)])
def test_a_collector_is_well_while_points_arrive(tmp_path: Path, age_s: int, code: int) -> None:
    (tmp_path / "site.yaml").write_text("collectors:\n  site: S\n")
    store = DuckDBStore(tmp_path / "tokenwatt.duckdb")
    tags = {"site": "S", "source": "c", "device": "pdu-1", "protocol": "snmp"}
    store.write([Point("device", tags, {"up": 1}, time.time_ns() - age_s * 10**9)])
    store.close()
    kind, python, option, program = SERVICES["collect"]["healthcheck"]["test"]
    assert (kind, python, option) == ("CMD", "python", "-c")
    program = program.replace("/site", str(tmp_path), 1).replace('Path("/site")', f'Path("{tmp_path}")')
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False).returncode == code


def test_what_depends_on_a_service_waits_until_it_is_well() -> None:
    for name in ("collect", "serve"):
        waits = SERVICES[name]["depends_on"]
        assert waits == {each: {"condition": "service_healthy"} for each in ("influxdb", "simulate")}


def test_volumes_are_declared_and_only_the_simulator_writes_the_site() -> None:
    mounts = {name: [str(each).split(":") for each in s.get("volumes", [])] for name, s in SERVICES.items()}
    used = {mount[0] for each in mounts.values() for mount in each}
    assert used == COMPOSE["volumes"].keys()
    assert [name for name, each in mounts.items() for mount in each if mount[0] == "site" and "ro" not in mount] == [
        "simulate"
    ]


def test_nothing_listens_beyond_this_host() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8060:8060"]
    assert parse(SERVICES["serve"]["command"])["port"] == 8060


@pytest.mark.parametrize("service", OURS)
def test_containers_of_ours_hold_few_rights(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["image"] == f"tokenwatt:{project()['version']}"


def project() -> Mapping[str, Any]:
    found: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def test_the_image_holds_every_package() -> None:
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
    sources = {source for each in copied for source in each.split()}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {each.lstrip("/") for each in wheel["include"]} <= sources
    assert {"pyproject.toml", "uv.lock", project()["readme"], *project()["license-files"]} <= sources
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_starts_the_program_without_root() -> None:
    assert 'ENTRYPOINT ["tokenwatt"]' in DOCKERFILE
    assert "tokenwatt" in project()["scripts"]
    assert re.search(r"(?m)^USER (?!root)\w+$", DOCKERFILE)


def test_the_sample_site_shows_the_store_that_the_file_sets_up() -> None:
    """Uncommented, the sample's server has the keys that the simulator writes, and its token comes from outside."""
    sample = (ROOT / "config" / "site.yaml").read_text("utf-8")
    block = re.search(r"(?m)^  #influxdb:\n((?:    #.*\n)+)", sample)
    assert block
    shown = yaml.safe_load(re.sub(r"(?m)^    #", "", block[1]))
    assert shown.keys() >= STORES["influxdb"]["influxdb"].keys()
    assert shown["token"] == "${INFLUX_TOKEN}"
    assert StorageSettings.model_validate({"engine": "influxdb", "influxdb": shown})
