"""The files in `config/` load as they are, and what they show commented out are the defaults."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from collectors.inventory import load_inventory
from collectors.settings import build_targets
from dashboard.settings import DashboardSettings
from storage.config import load_yaml
from storage.settings import StorageSettings
from tokenwatt import Site

CONFIG = Path(__file__).parents[1] / "config"
SECRETS = {"SNMP_AUTH": "a", "SNMP_PRIV": "b", "INFLUX_TOKEN": "c"}


def uncommented(folder: Path) -> Site:
    """Return the sample with every setting switched on."""
    text = re.sub(r"(?m)^( *)#(?=[\w-])", r"\1", (CONFIG / "site.yaml").read_text("utf-8"))
    (folder / "profiles").mkdir()
    (folder / "secret").write_text("s\n")
    (folder / "site.yaml").write_text(text.replace("/run/secrets/cdu-1", "secret"), "utf-8")
    (folder / "inventory.csv").write_text((CONFIG / "inventory.csv").read_text("utf-8"), "utf-8")
    return load_yaml(folder / "site.yaml", Site, SECRETS)


def test_the_sample_loads_and_is_all_defaults() -> None:
    site = load_yaml(CONFIG / "site.yaml", Site, {})
    assert site.dashboard == DashboardSettings()
    assert site.storage == StorageSettings()
    assert site.collectors.targets == ()
    assert site.collectors.inventory == CONFIG / "inventory.csv"


def keys(model: BaseModel) -> dict[str, object]:
    """Return the settings by dotted name, without those that have no default."""
    found: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        inner = keys(value) if isinstance(value, BaseModel) else {"": value}
        found |= {f"{name}.{key}".rstrip("."): each for key, each in inner.items()}
    return found


@pytest.mark.parametrize(
    ("section", "examples"),
    [("dashboard", {"targets", "limits.facility_watts", "limits.it_watts"}), ("storage", {"influxdb"})],
)
def test_what_is_commented_out_are_the_defaults(tmp_path: Path, section: str, examples: set[str]) -> None:
    shown = keys(getattr(uncommented(tmp_path), section))
    defaults = keys(DashboardSettings() if section == "dashboard" else StorageSettings())
    compared = {key for key in defaults if not any(key.startswith(example) for example in examples)}
    assert {key: shown[key] for key in compared} == {key: defaults[key] for key in compared}


@pytest.mark.parametrize(("section", "model"), [("dashboard", DashboardSettings()), ("storage", StorageSettings())])
def test_every_setting_is_shown(section: str, model: BaseModel) -> None:
    text = (CONFIG / "site.yaml").read_text("utf-8").partition(f"\n{section}:")[2]
    examples = ("targets", "influxdb")
    names = {part for key in keys(model) for part in key.split(".") if not key.startswith(examples)}
    missing = {name for name in names if not re.search(rf"(?m)^ +#?{name}:", text)}
    assert missing == set()


def test_the_examples_are_targets(tmp_path: Path) -> None:
    site = uncommented(tmp_path)
    assert site.collectors.inventory is not None
    targets = build_targets(site.collectors, load_inventory(site.collectors.inventory))
    assert {target.protocol for target in targets} == {"nvml", "exposition", "snmp", "modbus", "redfish", "mqtt"}
    assert next(t for t in targets if t.name == "shelf-a01").tags["rack"] == "A01"


def test_the_sample_inventory_loads() -> None:
    inventory = load_inventory(CONFIG / "inventory.csv")
    assert inventory.locate("vllm-a01-1") == {"row": "A", "rack": "A01", "host": "node-a01-1"}
    assert inventory.places()["meter-main"]["scope"] == "facility"
